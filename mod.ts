/**
 * **batpak**: an embedded, tamper-evident event journal for Deno and Bun. One directory, one writer,
 * many readers, no server.
 *
 * @example A journal of orders
 * ```ts
 * import { defineEvent, MemoryFs, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const orderPlaced = defineEvent<{ totalCents: number }>({ name: "order.placed", kind: "F:001" });
 *
 * // Without `fs` this is a directory on disk.
 * using store = Store.open("orders", { fs: new MemoryFs() });
 * const receipt = store.append({ entity: "order:1001", scope: "shop" }, orderPlaced, {
 *   totalCents: 1200,
 * }, { expectedClock: "none", idempotencyKey: "checkout-77" });
 *
 * const [event] = store.query({ entity: "order:1001" });
 * assert.equal(event.eventId, receipt.eventId);
 * assert.equal(event.decode(orderPlaced).totalCents, 1200);
 * ```
 *
 * @module
 */

export {
  type BlockingClientOptions,
  BlockingStoreClient,
} from "./delivery/host/blocking_store_client.ts";
export { ClientFence, type StagedEvent } from "./delivery/host/client_fence.ts";
export { HostError, type HostFailure } from "./delivery/host/host_error.ts";
export {
  type ClientAppendOptions,
  type ClientOptions,
  type GateOption,
  StoreClient,
} from "./delivery/host/store_client.ts";
export { type ServeOptions, StoreHost } from "./delivery/host/store_host.ts";
export type { CanalHandle } from "./delivery/canal.ts";
export {
  type Checkpoint,
  CheckpointAheadError,
  CheckpointBusyError,
  CheckpointCorruptError,
  type CheckpointInit,
  type CheckpointListing,
  type CheckpointOptions,
  CheckpointRegionMismatchError,
  CheckpointWriteError,
  listCheckpoints,
  type ListCheckpointsOptions,
  loadCheckpoint,
  removeCheckpoint,
  saveCheckpoint,
} from "./delivery/checkpoint.ts";
export * from "./delivery/checkpoint_id.ts";
export {
  CursorWorker,
  type CursorWorkerOptions,
  type CursorWorkerSettings,
  type ResolvedCursorWorkerSettings,
  startCursorWorker,
} from "./delivery/cursor_worker.ts";
export { bindCursor, type BindOptions, DurableCursor } from "./delivery/durable_cursor.ts";
export * from "./delivery/never_skip.ts";
export type { CursorWorkerHandler } from "./delivery/function_unit.ts";
export {
  type CursorWorkerAction,
  type CursorWorkerContext,
  HandlerCrash,
  type HandlerUnit,
  UnitDeath,
} from "./delivery/handler_unit.ts";
export { BatchTooLargeError, type RealmOptions } from "./delivery/realm/realm_unit.ts";
export type { RestartPolicy } from "./delivery/restart_budget.ts";
export {
  type CursorWorkerCallbacks,
  type CursorWorkerEnd,
  CursorWorkerError,
  type CursorWorkerState,
  type CursorWorkerStatus,
} from "./delivery/supervisor.ts";
export {
  AlreadyConsumedError,
  AtLeastOnce,
  OBSERVATION_KEY_SIZE,
  ObservationKey,
  ObservedOnce,
} from "./delivery/witness.ts";
export { type AppendCondition, type AppendOptions, EventFlags } from "./store/append.ts";
export {
  type BackupFile,
  type BackupFinding,
  type BackupFindingType,
  type BackupOptions,
  type BackupReport,
  type BackupVerification,
  restoreBackup,
  type RestoreOptions,
  type RestoreReport,
  verifyBackup,
  type VerifyBackupOptions,
} from "./store/copies/backup.ts";
export type { BackupBody } from "./store/copies/backup_manifest.ts";
export {
  Compaction,
  type CompactionEvidence,
  type CompactionFinding,
  type CompactionMerge,
  type CompactionOptions,
  type CompactionProgress,
  type CompactionReport,
  type CompactionStrategy,
} from "./store/compaction/compaction.ts";
export * from "./store/coordinate.ts";
export {
  type CanalBatch,
  Cursor,
  type CursorOptions,
  type CursorPosition,
  type PullOptions,
} from "./store/cursor.ts";
export type { CursorGapConfig, GapObservation, SequenceRange } from "./store/cursor_gaps.ts";
export * from "./store/errors.ts";
export * from "./store/event_definition.ts";
export * from "./store/event_kind.ts";
export {
  EXTENSION_COUNT_MAX,
  EXTENSION_KEY_SIZE_MAX,
  ExtensionKeyError,
  type ExtensionKeyRefusal,
  type Extensions,
} from "./store/extensions.ts";
export {
  Fence,
  FenceActiveError,
  FenceCancelledError,
  FenceNotActiveError,
  type FenceState,
  FenceTicket,
} from "./store/fence.ts";
export * from "./store/gates.ts";
export { StoreInUseError } from "./store/holders.ts";
export {
  type CausationId,
  type CorrelationId,
  EventId,
  type EventIdNamespace,
  IDEMPOTENCY_KEY_SIZE_MAX,
  IdError,
  type IdRefusal,
  OperationKey,
} from "./store/ids.ts";
export type {
  CopiedSegment,
  CopyPlan,
  CopyProgress,
  CopyReport,
  ForkOptions,
  SnapshotOptions,
} from "./store/copies/journal_copy.ts";
export {
  ImportEventError,
  type ImportOptions,
  type ImportReport,
  ImportSourceClosedError,
  previewImport,
} from "./store/copies/import_events.ts";
export {
  IMPORT_NAMESPACE_SIZE_MAX,
  type ImportProvenance,
  importProvenance,
  ImportProvenanceError,
  type ImportProvenanceFailure,
} from "./store/copies/import_provenance.ts";
export {
  type AncestorBoundary,
  type AncestorWalk,
  type EventsOptions,
  JournalReader,
  type StoreStats,
} from "./store/journal_reader.ts";
export type { IndexFileStatus, OpenReport } from "./store/open_report.ts";
export {
  Receipt,
  type ReceiptClaim,
  type ReceiptFailure,
  type ReceiptVerification,
  SigningKey,
  verifyReceipt,
} from "./store/receipt.ts";
export type { Repair } from "./store/recovery.ts";
export * from "./store/region.ts";
export type {
  PruneEvidence,
  PruneFinding,
  PruneOptions,
  PruneReport,
} from "./store/compaction/prune.ts";
export type { RetentionLimits, RetentionRule } from "./store/compaction/retention.ts";
export { ReadOnlyStore } from "./store/read_only_store.ts";
export {
  type BatchItem,
  type BatchOptions,
  type DenialRequest,
  type DurabilityGate,
  Store,
} from "./store/store.ts";
export type { ReadOptions, StoreOptions, TailPolicy } from "./store/store_options.ts";
export { type EventJson, type LogPosition, StoredEvent } from "./store/stored_event.ts";
export { TAG_COUNT_MAX, TAG_SIZE_MAX, TagError, type TagRefusal } from "./store/tags.ts";
export {
  type Finding,
  type FindingType,
  verifyJournal,
  type VerifyOptions,
  type VerifyReport,
} from "./store/verify.ts";

export {
  FrontierView,
  InvariantViolationError,
  type LaneFrontierView,
  type WatermarkKind,
} from "./store/watermarks/frontier_view.ts";
export { AppliedProgress } from "./store/watermarks/applied_progress.ts";
export { compareHlc, HLC_ORIGIN, type HlcPoint } from "./store/watermarks/hlc_point.ts";
export {
  type FrontierState,
  LaneNotSharedError,
  SharedFrontier,
} from "./store/watermarks/shared_frontier.ts";
export { type WaitOptions, WaitTimeoutError } from "./store/watermarks/wait.ts";

export type { Clock } from "./platform/clock.ts";
export type { Entropy } from "./platform/entropy.ts";
export type { Cancel, Scheduler } from "./platform/scheduler.ts";
export * from "./platform/fs.ts";
export { type MemoryFault, MemoryFs, type MemoryOp } from "./platform/memory.ts";
export type { WorkerLike } from "./platform/realm.ts";
export { clockFrom } from "./platform/system_clock.ts";
