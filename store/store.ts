/**
 * The store: one directory, one writer, and the append path.
 *
 * An append is a straight line through this realm: check, encode into the writer's buffer, hash,
 * write, (sync,) index, receipt. Nothing is queued, and apart from the receipt and two hashes nothing
 * is allocated for an event. The order is the guarantee:
 *
 * 1. Everything that can refuse the append comes before the first byte is written.
 * 2. The group is written in one call. If that fails nothing of it is left, in the file or in memory.
 * 3. If this append has to be durable, or completes a sync interval, the sync comes next; when it
 *    fails the writer stops, and the append is not visible through this handle.
 * 4. Only then does the index learn of the events, all of a group in one turn, and the caller of the
 *    receipt. So nobody ever reads what was not written, or half of a group.
 *
 * @module
 */

import { Fence, FenceActiveError, type FenceHost, FenceNotActiveError } from "./fence.ts";
import { type FileLock, IoFault } from "../platform/fs.ts";
import {
  APPEND_OPTIONS,
  AppendDraft,
  type AppendOptions,
  compileConditions,
  type CompiledCondition,
  isDurable,
  prepareDraft,
} from "./append.ts";
import { assertKnownKeys } from "./assert.ts";
import {
  Compaction,
  type CompactionOptions,
  type CompactionReport,
} from "./compaction/compaction.ts";
import type { CoordinateLike } from "./coordinate.ts";
import {
  BatchError,
  ClockConflictError,
  ClockOverflowError,
  ConditionConflictError,
  CorruptionError,
  IdempotencyError,
  InvalidClockError,
  LifecycleBusyError,
  StoreClosedError,
  StoreError,
  StoreIoError,
  StoreLockedError,
  TooLargeError,
  WriterCrashedError,
} from "./errors.ts";
import { type EventDefinition, EventRegistry } from "./event_definition.ts";
import { ROW_NONE } from "./index/event_index.ts";
import { EventKind } from "./event_kind.ts";
import {
  encodeFrame,
  FRAME_HEADER_SIZE,
  frameSizeBound,
  ID_SIZE,
  NO_HASH,
  payloadStartOf,
  sealFrame,
} from "./frame.ts";
import type { Denial, DenialPayload, GateSet } from "./gates.ts";
import { blake3, blake3Into, HASH_SIZE } from "./hash.ts";
import { formatId, type IdGenerator } from "./ids.ts";
import { saveIndexFile } from "./index/index_file.ts";
import { type ImportOptions, type ImportReport, runImport } from "./copies/import_events.ts";
import { NAME_UNKNOWN } from "./index/interner.ts";
import {
  type CopyReport,
  type CopySource,
  forkJournal,
  type ForkOptions,
} from "./copies/journal_copy.ts";
import { JournalReader, LIFECYCLE_COORDINATE } from "./journal_reader.ts";
import type { OpenReport } from "./open_report.ts";
import { observe, type OpenedFacts, openForWriting } from "./opening.ts";
import { prune, type PruneOptions, type PruneReport } from "./compaction/prune.ts";
import { ReadOnlyStore } from "./read_only_store.ts";
import { Receipt } from "./receipt.ts";
import { withIo } from "./io.ts";
import { rowsOf } from "./index/region_query.ts";
import { encodeFooter } from "./index/segment_footer.ts";
import type { SegmentWriter } from "./segment_writer.ts";
import { Slab } from "./slab.ts";
import { bootstrapOf } from "./watermarks/bootstrap.ts";
import { AppliedProgress } from "./watermarks/applied_progress.ts";
import type { FrontierView, WatermarkKind } from "./watermarks/frontier_view.ts";
import type { HlcPoint } from "./watermarks/hlc_point.ts";
import type { WaitOptions } from "./watermarks/wait.ts";
import { Watermarks } from "./watermarks/watermarks.ts";
import { assertDir, type ReadOptions, resolveOptions, type StoreOptions } from "./store_options.ts";

/** The lock file of a journal. It stays when the lock goes. */
const LOCK_NAME = ".batpak.lock";
const CLOCK_MAX = 2 ** 32 - 1;
const CONFLICTS_MAX = 16;

/** One event of a batch: its coordinate and kind beside the options of a single append. */
export interface BatchItem<Input = unknown> extends Omit<AppendOptions, "failIf" | "durability"> {
  /** Whose fact it is. */
  readonly entity: string;
  /** Where. */
  readonly scope: string;
  /** What it says: a kind, or the definition of one, which also checks the payload. */
  readonly kind: EventKind | EventDefinition<Input, unknown>;
  /** What it carries. */
  readonly payload: NoInfer<Input>;
  /** Names an earlier item of the same batch, counted from 0, as its cause. Excludes `causationId`. */
  readonly causationItem?: number;
}

/** Options of a batch as a whole. */
export type BatchOptions = Pick<AppendOptions, "failIf" | "durability">;

/** A watermark to wait for after an append. */
export interface DurabilityGate extends Omit<WaitOptions, "lane"> {
  /** Which one. */
  readonly watermark: WatermarkKind;
}

/** A denial to be recorded. */
export interface DenialRequest<Context> {
  /** The kind of the event that was denied. */
  readonly proposedKind: EventKind | EventDefinition;
  /** The gates that were asked, in order. */
  readonly gates: GateSet<Context>;
  /** The denial that ended it. */
  readonly denial: Denial;
  /** BLAKE3 of the payload that was proposed, if it matters later. */
  readonly proposedContentHash?: Uint8Array;
  /** Names the pipeline, if there are several. */
  readonly pipelineId?: string;
}

/**
 * A journal open for writing. One at a time for each directory, in this process and all others.
 *
 * Everything here is synchronous. An append that returned is at least *written*: it survives the death
 * of the program. It is *durable*, and survives a power cut, after the next sync.
 *
 * @example Append, read, close
 * ```ts
 * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * using store = Store.open("journal", { fs: new MemoryFs() });
 * const order = { entity: "order:1001", scope: "shop" };
 * const placed = EventKind.custom(0xF, 1);
 *
 * const receipt = store.append(order, placed, { total: 12 }, { expectedClock: "none" });
 *
 * assert.equal(receipt.clock, 0);
 * assert.deepEqual(store.get(receipt.eventId)?.payload, { total: 12 });
 * ```
 */
export class Store extends JournalReader {
  readonly #writer: SegmentWriter;
  readonly #lock: FileLock;
  readonly #registry: EventRegistry;
  readonly #ids: IdGenerator;
  readonly #storeIdBytes: Uint8Array;
  readonly #draft: AppendDraft = new AppendDraft();
  /** Drafts of batches, kept for the next one. */
  #drafts: AppendDraft[] = [];
  readonly #copies = new Slab();
  #lastTimestampUs: number;
  #unsyncedEvents = 0;
  #durableRows: number;
  /** What is being done to the files as a whole; one such thing at a time. */
  #lifecycle: Compaction | undefined;
  /** The fence that has not ended, or whose end has still to be written. */
  #fence: Fence | undefined;
  #fenceCount = 0;
  readonly #watermarks: Watermarks;
  /** The index file is saved again at the first sync that finds so many rows. */
  #nextSaveRows = Infinity;

  private constructor(facts: OpenedFacts, openReport: OpenReport) {
    super({ ...facts, openReport });
    this.#writer = facts.writer;
    this.#lock = facts.lock;
    this.#registry = facts.registry;
    this.#ids = facts.ids;
    this.#storeIdBytes = facts.storeId;
    this.#lastTimestampUs = facts.lastTimestampUs;
    this.#durableRows = facts.source.index.count;
    const { clock, scheduler } = facts.options;
    this.#watermarks = new Watermarks({ clock, scheduler });
    this.#applied = new AppliedProgress(this.#watermarks);
    this.#writer.onStop = (cause) => this.#watermarks.poison(cause);
    this.#planNextSave();
  }

  readonly #applied: AppliedProgress;

  /**
   * Opens the journal in `dir` for writing, and begins one when there is none.
   *
   * What a crash left at the end is repaired, and the report says so. The open itself is recorded as
   * an event.
   *
   * @throws {ConfigurationError} when an option is wrong; nothing was touched.
   * @throws {EventRegistryError} when two definitions claim one kind; nothing was touched.
   * @throws {StoreLockedError} when another live handle writes here.
   * @throws {CorruptionError} when the log is damaged; `batpak verify` says more.
   * @throws {FutureVersionError} when a newer program wrote here.
   * @throws {InvalidClockError} when the clock says a time before 1970.
   * @throws {StoreIoError} when the system refuses a file operation.
   */
  static open(dir: string, options: StoreOptions = {}): Store {
    assertDir(dir);
    const resolved = resolveOptions(options);
    const registry = new EventRegistry();
    for (const definition of resolved.events) registry.add(definition);
    const { fs, clock } = resolved;
    const startedUs = clock.monotonicUs();
    const facts = withIo(`open "${dir}"`, () => {
      fs.createDirAll(dir);
      const path = fs.canonicalize(dir);
      fs.rejectSymlink(`${path}/${LOCK_NAME}`, "lock the journal");
      const lock = fs.tryLock(`${path}/${LOCK_NAME}`);
      if (lock === undefined) throw new StoreLockedError(path);
      try {
        return openForWriting(path, resolved, registry, lock);
      } catch (error) {
        lock.release();
        throw error;
      }
    });
    const restoredUs = clock.monotonicUs();
    const { index } = facts.source;
    const oddities = [...facts.found.oddities];
    if (index.isFenceOpen) {
      oddities.push(
        `cancelled a fence that a crash had left open, and its ${
          index.count - index.visibleCount
        } events with it`,
      );
    }
    const report: OpenReport = {
      ...facts.found,
      oddities,
      elapsedUs: Math.round(clock.monotonicUs() - startedUs),
      phaseRestoreIndexUs: Math.round(restoredUs - startedUs),
    };
    const store = new Store(facts, report);
    try {
      if (index.isFenceOpen) {
        const events = index.count - index.visibleCount;
        store.#record(EventKind.SYSTEM_FENCE_CANCEL, { events, recovered: true });
      }
      store.#append(
        LIFECYCLE_COORDINATE,
        EventKind.SYSTEM_OPEN_COMPLETED,
        report,
        NO_OPTIONS,
        true,
      );
      store.sync();
      store.#watermarks.reset(withIo("read the journal", () => bootstrapOf(facts.source)));
    } catch (error) {
      store.#abandon();
      throw error;
    }
    observe(resolved, report);
    return store;
  }

  /**
   * Opens a journal for reading, also beside a live writer in another process. Takes no lock, changes
   * nothing, and repairs nothing: it sees whole groups only. {@linkcode ReadOnlyStore.refresh} takes in
   * what has been appended since.
   *
   * @throws {ConfigurationError} when an option is wrong.
   * @throws {CorruptionError} when a sealed segment is damaged, or sound frames follow damage.
   * @throws {FutureVersionError} when a newer program wrote here.
   * @throws {JournalNotFoundError} when there is no journal in the directory, or no directory.
   * @throws {StoreIoError} when the directory cannot be read.
   */
  static openReadOnly(dir: string, options: ReadOptions = {}): ReadOnlyStore {
    return ReadOnlyStore.open(dir, options);
  }

  /**
   * Whether every event is known to survive a power cut; also of a store that is closed.
   *
   * @internal
   */
  get isAllDurable(): boolean {
    return this.#durableRows === this.source.index.count;
  }

  /** Events with a sequence below this are known to survive a power cut. */
  override get durableSequence(): number {
    return this.source.firstSequence + this.#durableRows;
  }

  /**
   * Appends an event and returns the proof of it.
   *
   * @param kind what it says: a kind that is not reserved, or a definition, which also checks the
   * payload and stamps its version.
   * @throws {ClockConflictError} when `expectedClock` is not where the entity is.
   * @throws {ConditionConflictError} when an event that `failIf` names exists.
   * @throws {FenceActiveError} while a fence is open.
   * @throws {CoordinateError} when the coordinate breaks a rule.
   * @throws {InvalidClockError} when the clock says a time before 1970.
   * @throws {ReservedKindError} when the kind belongs to the store.
   * @throws {SerializationError} when the payload has no MessagePack form.
   * @throws {StoreIoError} when it could not be written; nothing of it is left.
   * @throws {TooLargeError} when payload and extensions are over the limit.
   * @throws {ValidationError} when the definition refuses the payload.
   * @throws {WriterCrashedError} when a sync has failed: reopen. If it was the sync of this very
   * append, the event may be there afterwards; a retry under an idempotency key settles it.
   */
  append<Input>(
    coordinate: CoordinateLike,
    kind: EventKind | EventDefinition<Input, unknown>,
    payload: NoInfer<Input>,
    options: AppendOptions = NO_OPTIONS,
  ): Receipt {
    this.#assertWritable("append");
    if (this.#fence !== undefined) this.#assertUnfenced("append");
    return this.#append(coordinate, kind as EventKind | EventDefinition, payload, options, false);
  }

  /**
   * Appends events that become visible together or not at all, and returns their receipts in order. An
   * empty batch does nothing. A later item may name an earlier one as its cause.
   *
   * Idempotency keys stand on all items or on none; a batch whose keys are all known returns the first
   * receipts and writes nothing. `expectedClock` is for single appends; `failIf` holds for the batch.
   *
   * @throws {BatchError} naming the item that is wrong, its error as `cause`.
   * @throws {IdempotencyError} when the keys do not describe one operation.
   * @throws {TooLargeError} when there are too many items or bytes.
   * @throws {ConditionConflictError} when an event that `failIf` names exists.
   * @throws {StoreIoError} when it could not be written, or what it follows not be read; nothing of it is
   * left.
   * @throws {WriterCrashedError} when a sync has failed: reopen.
   */
  appendBatch<const Inputs extends readonly unknown[]>(
    items: { readonly [Index in keyof Inputs]: BatchItem<Inputs[Index]> },
    options: BatchOptions = NO_OPTIONS,
  ): Receipt[] {
    this.#assertWritable("append a batch");
    this.#assertUnfenced("append a batch");
    return this.#appendBatch(items, options, undefined);
  }

  #appendBatch(
    items: readonly BatchItem[],
    options: BatchOptions,
    fence: Fence | undefined,
  ): Receipt[] {
    this.#assertBatchCount(items.length);
    if (items.length === 0) return [];
    assertKnownKeys("append a batch", options, BATCH_OPTIONS);
    const conditions = compileConditions(options.failIf);
    const durable = isDurable(options.durability);
    // A schema or getter of an item may append a batch itself: that one makes drafts of its own.
    const drafts = this.#drafts;
    this.#drafts = [];
    try {
      this.#prepareBatch(items, drafts);
      this.#assertWritable("append a batch");
      this.#assertFence(fence, "append a batch");
      this.#assertBatchBytes(drafts, items.length);
      const replayed = this.#replayBatch(drafts, items.length);
      if (replayed !== undefined) {
        const rows = replayed.map((receipt) => receipt.globalSequence - this.source.firstSequence);
        if (durable) this.#syncUpTo(Math.max(...rows), "append a batch");
        return replayed;
      }
      this.#assertNoneMatches(conditions);
      return this.#commitBatch(drafts, items.length, durable);
    } finally {
      for (let i = 0; i < drafts.length; i++) drafts[i].release();
      this.#drafts = drafts;
    }
  }

  /**
   * Records that gates denied something, as an event of kind `SYSTEM_DENIAL` at the coordinate it was
   * about, with a verdict for each gate. Returns its receipt.
   *
   * @throws as {@linkcode append}.
   */
  appendDenial<Context>(
    coordinate: CoordinateLike,
    request: DenialRequest<Context>,
    options: AppendOptions = NO_OPTIONS,
  ): Receipt {
    this.#assertWritable("append a denial");
    this.#assertUnfenced("append a denial");
    const { gates, denial, proposedKind, proposedContentHash, pipelineId } = request;
    const kind = typeof proposedKind === "number" ? proposedKind : proposedKind.kind;
    const payload: DenialPayload = gates.traceDenial(denial, {
      kind,
      contentHash: proposedContentHash,
      pipelineId,
    });
    return this.#append(coordinate, EventKind.SYSTEM_DENIAL, payload, options, true);
  }

  /**
   * Appends the events of another journal again, in their order: from a handle of any kind, beside
   * whoever writes there, also from this journal itself. Each gets a place, a clock and a time here, and
   * an id made of the namespace and its id there; {@linkcode importProvenance} says where it comes from.
   * Everything else stays as it is, the payload byte for byte.
   *
   * Repeating an import adds only what is missing, so one that was interrupted, or killed, is finished
   * by repeating it. A cause that has been imported is translated; another one is left out.
   *
   * @throws {ImportEventError} naming the event that cannot be appended here; nothing of its page was.
   * @throws {ImportSourceClosedError} when the source is closed, or gets closed by a callback.
   * @throws {CorruptionError} when the source is damaged.
   * @throws {StoreIoError} when a page could not be read or written; nothing of it is left.
   * @throws {WriterCrashedError} when a sync has failed: reopen, and repeat the import.
   *
   * @example Collect the events of a shop, and later what is new
   * ```ts
   * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
   * import assert from "node:assert/strict";
   *
   * using till = Store.open("till-7", { fs: new MemoryFs() });
   * using office = Store.open("office", { fs: new MemoryFs() });
   * till.append({ entity: "sale:1", scope: "shop" }, EventKind.DATA, { cents: 450 });
   *
   * assert.equal(office.importEvents(till, { namespace: "till-7" }).imported, 1);
   * till.append({ entity: "sale:2", scope: "shop" }, EventKind.DATA, { cents: 300 });
   * const { imported, deduplicated } = office.importEvents(till, { namespace: "till-7" });
   * assert.deepEqual({ imported, deduplicated }, { imported: 1, deduplicated: 1 });
   * ```
   */
  importEvents(source: JournalReader, options: ImportOptions = {}): ImportReport {
    this.#assertWritable("import events");
    this.#assertUnfenced("import events");
    return runImport(source, options, {
      storeId: this.storeId,
      isKnown: (id) => this.source.index.findId(id, 0) !== ROW_NONE,
      writer: {
        limits: this.options,
        commit: (drafts, count, durable) => {
          this.#assertWritable("import events");
          this.#assertUnfenced("import events");
          return this.#commitBatch(drafts, count, durable)[0].globalSequence;
        },
        sync: () => this.sync(),
      },
    });
  }

  /**
   * Makes everything appended so far durable.
   *
   * @throws {WriterCrashedError} when the sync fails, or one has failed before.
   */
  sync(): void {
    this.#assertWritable("sync");
    this.#syncNow("sync");
  }

  /**
   * As {@linkcode sync}, when this event is not durable yet.
   *
   * @internal
   */
  protected override makeDurable(sequence: number): void {
    if (sequence >= this.durableSequence) this.sync();
  }

  /**
   * Copies the journal to `target`, as {@linkcode snapshot} does, and shares what it can: sealed segments
   * by reflink, else by hard link, else as copies; the newest segment is always copied. Afterwards the two
   * are isolated: a sealed segment is never changed in place, only replaced.
   *
   * Shared blocks and files are on the disk once, so a fork is fast and small, and no backup: a bad sector
   * damages both.
   *
   * @throws as {@linkcode snapshot}.
   *
   * @example Try something on a fork
   * ```ts
   * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
   * import assert from "node:assert/strict";
   *
   * const fs = new MemoryFs();
   * using store = Store.open("journal", { fs });
   * store.fork("fork", { share: "hardlink" });
   *
   * using fork = Store.open("fork", { fs });
   * fork.append({ entity: "user:1", scope: "app" }, EventKind.DATA, "only here");
   * assert.equal(store.query({ entity: "user:1" }).length, 0);
   * ```
   */
  fork(target: string, options: ForkOptions = {}): CopyReport {
    return forkJournal(this.copySource("fork"), target, options);
  }

  /**
   * What is copied is durable first.
   *
   * @internal
   */
  protected override copySource(action: string): CopySource {
    this.#assertWritable(action);
    this.#assertUnfenced(action);
    this.#syncNow(action);
    return super.copySource(action);
  }

  /**
   * Makes fewer, larger segments of the sealed ones, and erases the payloads that a rule gives up. Blocks
   * until it is done; {@linkcode compaction} does the same in steps.
   *
   * Headers stay, so sequences, chains, receipts and keyed retries survive it. A receipt then names a
   * place in the log that has moved, and {@linkcode verifyReceipt} knows that. The active segment is left
   * alone. Whatever fails before a merged segment has its name is undone and reported as outcome
   * `"failed"`; nothing is lost by it, nor by a crash at any point.
   *
   * @throws {CompactionError} when one from before cannot be settled, or this one neither finished nor
   * undone; the store goes on serving, and opening again settles it.
   * @throws {LifecycleBusyError} while another one is going on.
   * @throws {RangeError} when a number is out of its range.
   * @throws {TypeError} when an option or a rule is none.
   * @throws {WriterCrashedError} when the writer has stopped.
   *
   * @example Keep the payloads of the newest ten events
   * ```ts
   * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
   * import assert from "node:assert/strict";
   *
   * using store = Store.open("journal", { fs: new MemoryFs() });
   * const user = { entity: "user:1", scope: "app" };
   * for (let n = 0; n < 15; n++) store.append(user, EventKind.DATA, { n });
   *
   * const { outcome, eventsErased } = store.compact({
   *   strategy: { type: "tombstone", keep: { maxCount: 10 } },
   *   minSegments: 1,
   *   seal: true,
   * });
   *
   * assert.deepEqual([outcome, eventsErased], ["performed", 5]);
   * const [oldest] = store.query({ entity: "user:1" });
   * assert.deepEqual([oldest.clock, oldest.isErased, oldest.payload], [0, true, undefined]);
   * ```
   */
  compact(options: CompactionOptions = {}): CompactionReport {
    return this.compaction(options).finish();
  }

  /**
   * As {@linkcode compact}, in steps of bounded work that the caller takes when it suits: appends and
   * reads in between are fine. Until it has come to its end or is abandoned there is no other one.
   * Closing the store abandons it.
   *
   * @throws as {@linkcode compact}.
   */
  compaction(options: CompactionOptions = {}): Compaction {
    this.#assertWritable("compact");
    this.#assertIdle("compact");
    this.#assertUnfenced("compact");
    const { fs, clock, coldStart } = this.options;
    const compaction: Compaction = new Compaction({
      fs,
      clock,
      dir: this.dir,
      source: this.source,
      storeId: this.#storeIdBytes,
      footers: coldStart.footers,
      assertWritable: () => this.#assertWritable("compact"),
      newId: () => {
        const id = new Uint8Array(ID_SIZE);
        this.#ids.fill(id, 0, this.#now());
        return id;
      },
      sync: () => this.#syncNow("compact"),
      seal: () => this.#roll(),
      release: () => {
        if (this.#lifecycle === compaction) this.#lifecycle = undefined;
      },
    }, options);
    return this.#lifecycle = compaction;
  }

  /**
   * Forgets idempotency keys: an event that is pruned can be appended again under its key, and nobody
   * notices. Removes the oldest sealed segments whose events all have a sequence below `below`, and leaves
   * `journal.base`, a record of where every chain was, signed when the store has a key.
   *
   * Sequences go on, so do clocks, `expectedClock` and hashes; what is left still verifies. Events that
   * are gone are found by nothing any more, receipts of them verify only by themselves, and a walk over
   * ancestors ends there with `MissingParent`. Whole segments go, so less may go than was asked for.
   *
   * A failure before the record is in force changes nothing and is reported as outcome `"failed"`; so does
   * a crash. After that, files that could not be removed do not count, and the next open removes them.
   *
   * @throws {CompactionError} when an earlier compaction cannot be settled.
   * @throws {LifecycleBusyError} while the journal is being compacted.
   * @throws {RangeError} when `below` is no whole number of at least 0.
   * @throws {TypeError} when an option is none, or nothing says what to remove.
   * @throws {WriterCrashedError} when the writer has stopped.
   *
   * @example Forget what is older than an event
   * ```ts
   * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
   * import assert from "node:assert/strict";
   *
   * using store = Store.open("journal", { fs: new MemoryFs(), segmentMaxBytes: 1000 });
   * const user = { entity: "user:1", scope: "app" };
   * for (let n = 0; n < 20; n++) store.append(user, EventKind.DATA, { n });
   *
   * const { firstSequence } = store.prune({ below: 10 });
   *
   * assert.ok(firstSequence > 0 && firstSequence <= 10);
   * assert.equal(store.at(firstSequence - 1), undefined);
   * assert.equal(store.append(user, EventKind.DATA, "next", { expectedClock: 19 }).clock, 20);
   * ```
   */
  prune(options: PruneOptions): PruneReport {
    this.#assertWritable("prune");
    this.#assertIdle("prune");
    this.#assertUnfenced("prune");
    return withIo("prune", () =>
      prune({
        fs: this.options.fs,
        dir: this.dir,
        source: this.source,
        storeId: this.#storeIdBytes,
        seal: () => this.#roll(),
        signer: this.options.signingKeys.at(-1),
        verifyingKeys: this.options.verifyingKeys,
      }, options));
  }

  /**
   * Records the close if it can, makes everything durable, cuts the active segment to size, and
   * releases the lock. A second call does nothing.
   *
   * @throws {StoreInUseError} while workers follow the store: stop and join them first. Nothing was done.
   * @throws {WriterCrashedError} when a sync fails or has failed before. The lock is released all the
   * same, and opening again recovers.
   */
  override close(): void {
    if (this.closed) return;
    this.holders.assertNone("close");
    this.#finish();
  }

  #finish(): void {
    this.#watermarks.closing();
    this.#lifecycle?.abandon();
    try {
      // Asking latches whether it is lost.
      const fenceState = this.#fence?.state;
      this.#writer.assertAlive("close");
      if (fenceState === "open") this.#fence?.[Symbol.dispose]();
      this.#recordClose();
      // Whoever waits for the last sync is to learn of it, not only that the store is closed.
      this.#writer.sync("close");
      this.#markDurable();
      this.#writer.close("close");
      this.#saveIndex();
    } finally {
      this.#abandon();
    }
  }

  /**
   * As {@linkcode close}, and silent when the writer had stopped before: that was thrown already. Never
   * refused: workers that follow the store are told to stop, and a batch they are in the middle of is not
   * committed. `await using` a worker below the store, and that waits for it first.
   */
  override [Symbol.dispose](): void {
    if (this.closed) return;
    const stopped = this.#writer.crashed;
    try {
      this.#finish();
    } catch (error) {
      if (!(stopped && error instanceof WriterCrashedError)) throw error;
    }
  }

  /** The event is a courtesy: a full disk or a broken clock must not keep the rest from being synced. */
  #recordClose(): void {
    const { index, firstSequence } = this.source;
    const wallMs = Math.floor(this.#lastTimestampUs / 1000);
    try {
      this.#assertUnfenced("close");
      const payload = { wallMs, globalSequence: firstSequence + index.count - 1 };
      const kind = EventKind.SYSTEM_CLOSE_COMPLETED;
      this.#append(LIFECYCLE_COORDINATE, kind, payload, NO_OPTIONS, true);
    } catch (error) {
      if (error instanceof WriterCrashedError || !(error instanceof StoreError)) throw error;
    }
  }

  /**
   * Begins a fence: what is appended through it becomes visible together, or never. Until it ends, nothing
   * can be appended past it, copied, compacted or pruned; reads go on.
   *
   * @throws {FenceActiveError} when one is open.
   * @throws {StoreIoError} when it could not be written; nothing of it is left.
   * @throws {WriterCrashedError} when the writer has stopped.
   */
  beginFence(): Fence {
    this.#assertWritable("begin a fence");
    this.#assertUnfenced("begin a fence");
    const token = ++this.#fenceCount;
    this.#record(EventKind.SYSTEM_FENCE_BEGIN, { token });
    const { index, firstSequence } = this.source;
    return this.#fence = new Fence(this.#fenceHost, token, firstSequence + index.count);
  }

  /** How far everything has come: six watermarks, for the journal and for each lane, at one moment. */
  override frontier(): FrontierView {
    this.#assertOpen("look at the frontier");
    return this.#watermarks.view();
  }

  /**
   * Waits until a watermark has come to a sequence; to be there is enough. Never causes a sync: somebody
   * has to, for `durable`.
   *
   * @param target a sequence, or a point.
   * @throws {WriterCrashedError} when the writer has stopped, wherever the watermark is.
   * @throws {WaitTimeoutError} when the time is up; not before.
   * @throws {StoreClosedError} when the store is closed and the watermark is not there.
   * @throws the signal's reason, when it aborts.
   * @throws {RangeError} when the target, the lane or the time is out of its range.
   * @throws {TypeError} when the watermark or an option is none.
   *
   * @example Wait for somebody else's sync
   * ```ts
   * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
   *
   * using store = Store.open("journal", { fs: new MemoryFs() });
   * const { globalSequence } = store.append({ entity: "user:1", scope: "app" }, EventKind.DATA, 1);
   * const durable = store.waitForDurable(globalSequence, { timeoutMs: 1000 });
   * store.sync();
   * await durable;
   * ```
   */
  waitFor(kind: WatermarkKind, target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.#watermarks.waitFor(kind, target, options);
  }
  /** As {@linkcode waitFor}: an event has its place. */
  waitForAccepted(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.#watermarks.waitFor("accepted", target, options);
  }
  /** As {@linkcode waitFor}: the system has its bytes. */
  waitForWritten(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.#watermarks.waitFor("written", target, options);
  }
  /** As {@linkcode waitFor}: it survives a power cut. */
  waitForDurable(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.#watermarks.waitFor("durable", target, options);
  }
  /** As {@linkcode waitFor}: readers may see it. */
  waitForVisible(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.#watermarks.waitFor("visible", target, options);
  }
  /** As {@linkcode waitFor}: every registered projection has taken it in; see {@linkcode applied}. */
  waitForApplied(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.#watermarks.waitFor("applied", target, options);
  }
  /** As {@linkcode waitFor}: whoever follows the store has been woken for it. */
  waitForEmitted(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.#watermarks.waitFor("emitted", target, options);
  }

  /**
   * A durability gate: waits until a watermark covers what was appended. The append itself is done either
   * way; when the gate fails, the events are in the journal all the same.
   *
   * @param receipts of an append, or all of a batch.
   * @throws as {@linkcode waitFor}.
   * @throws {TypeError} when a receipt is not of an event in this journal.
   *
   * @example Answer only what a sync has covered
   * ```ts
   * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
   * import assert from "node:assert/strict";
   *
   * using store = Store.open("journal", { fs: new MemoryFs() });
   * const receipt = store.append({ entity: "user:1", scope: "app" }, EventKind.DATA, 1);
   * await assert.rejects(store.gate(receipt, { watermark: "durable", timeoutMs: 5 }), {
   *   code: "WAIT_TIMEOUT",
   * });
   * store.sync();
   * await store.gate(receipt, { watermark: "durable", timeoutMs: 5 });
   * ```
   */
  async gate(receipts: Receipt | readonly Receipt[], gate: DurabilityGate): Promise<void> {
    const { watermark, ...options } = gate;
    let last = -1;
    for (const receipt of receipts instanceof Receipt ? [receipts] : receipts) {
      const isOurs = receipt instanceof Receipt && receipt.storeId === this.storeId &&
        this.at(receipt.globalSequence)?.eventId === receipt.eventId;
      if (!isOurs) throw new TypeError("Cannot wait for a receipt of no event in this journal");
      last = Math.max(last, receipt.globalSequence);
    }
    if (last >= 0) await this.#watermarks.waitFor(watermark, last, options);
  }

  /**
   * How far each projection has come, which moves the `applied` watermark: as far as the slowest. Whoever
   * folds events registers here, and says how far it is.
   */
  get applied(): AppliedProgress {
    return this.#applied;
  }

  /**
   * The memory that a `SharedFrontier` in another realm reads the watermarks from.
   *
   * @internal
   */
  get frontierMemory(): SharedArrayBuffer {
    return this.#watermarks.memory;
  }

  readonly #fenceHost: FenceHost = {
    assertWritable: (action) => this.#assertWritable(action),
    append: (fence, coordinate, kind, payload, options) => {
      this.#assertWritable("append");
      return this.#append(coordinate, kind, payload, options, false, fence);
    },
    appendBatch: (fence, items, options) => {
      this.#assertWritable("append a batch");
      return this.#appendBatch(items, options, fence);
    },
    appendDraft: (fence, draft, failIf) => this.appendDraft(draft, failIf, fence),
    appendDrafts: (fence, drafts, count, failIf) => this.appendDrafts(drafts, count, failIf, fence),
    end: (fence, isCommit) => {
      const action = isCommit ? "commit" : "cancel";
      this.#assertWritable(`${action} a fence`);
      this.#assertFence(fence, action);
      this.#endFence(fence, isCommit);
    },
  };

  #endFence({ token, stagedCount: events }: Fence, isCommit: boolean): void {
    // What is durable before it is visible can never be seen and then lost.
    const kind = isCommit ? EventKind.SYSTEM_FENCE_COMMIT : EventKind.SYSTEM_FENCE_CANCEL;
    this.#record(kind, { token, events }, isCommit ? DURABLE : NO_OPTIONS);
    this.#fence = undefined;
  }

  /** Appends an event of the store's own. */
  #record(kind: EventKind, payload: unknown, options: AppendOptions = NO_OPTIONS): void {
    this.#append(LIFECYCLE_COORDINATE, kind, payload, options, true, this.#fence);
  }

  /** Throws when a fence is open. One that was cancelled and could not be ended is ended now. */
  #assertUnfenced(action: string): void {
    const fence = this.#fence;
    if (fence === undefined) return;
    if (fence.state === "open") throw new FenceActiveError(action);
    this.#endFence(fence, false);
  }

  /** Throws when the open fence, if any, is not the one that the caller's code began with. */
  #assertFence(fence: Fence | undefined, action: string): void {
    if (this.#fence === fence) return;
    throw fence === undefined ? new FenceActiveError(action) : new FenceNotActiveError(action);
  }

  /** Lets go of everything without a word in the log: what is left is what a crash would leave. */
  #abandon(): void {
    this.closed = true;
    this.#watermarks.close();
    this.holders.dismiss();
    try {
      this.#writer.release();
      this.source.log.close();
    } finally {
      this.#lock.release();
      // Whoever waits for more finds that there will be no more.
      this.visibility.wake();
    }
  }

  #assertOpen(action: string): void {
    if (this.closed) throw new StoreClosedError(action);
  }

  #assertWritable(action: string): void {
    this.#assertOpen(action);
    this.#writer.assertAlive(action);
  }

  #assertIdle(action: string): void {
    if (this.#lifecycle !== undefined) throw new LifecycleBusyError(action);
  }

  #assertSize(draft: AppendDraft): void {
    const limit = this.options.singleAppendMaxBytes;
    if (draft.countedSize > limit) {
      throw new TooLargeError({
        what: "an event",
        unit: "bytes",
        actual: draft.countedSize,
        limit,
        option: "singleAppendMaxBytes",
      });
    }
  }

  /**
   * Appends what was prepared in another realm, and leaves the syncs to the caller, so that many appends
   * share one: {@linkcode syncIsDue} says when the journal wants one, and an append is durable once
   * {@linkcode sync} has returned. The draft is the caller's, who has judged what is in it.
   *
   * @internal
   */
  appendDraft(draft: AppendDraft, failIf: AppendOptions["failIf"], fence?: Fence): Receipt {
    this.#assertWritable("append");
    if (fence === undefined) this.#assertUnfenced("append");
    this.#assertFence(fence, "append");
    const conditions = compileConditions(failIf);
    this.#assertSize(draft);
    if (draft.keyed) {
      const row = this.source.index.findId(draft.eventId, 0);
      if (row !== ROW_NONE) return this.receiptOf(row);
    }
    this.#assertNoneMatches(conditions);
    return this.#commit(draft, "later");
  }

  /**
   * As {@linkcode appendDraft}, for the first `count` drafts, as one batch.
   *
   * @internal
   */
  appendDrafts(
    drafts: readonly AppendDraft[],
    count: number,
    failIf: AppendOptions["failIf"],
    fence?: Fence,
  ): Receipt[] {
    this.#assertWritable("append a batch");
    if (fence === undefined) this.#assertUnfenced("append a batch");
    this.#assertFence(fence, "append a batch");
    const conditions = compileConditions(failIf);
    this.#assertBatchCount(count);
    for (let i = 0; i < count; i++) {
      try {
        this.#assertSize(drafts[i]);
      } catch (error) {
        throw batchError(i, error);
      }
    }
    this.#assertBatchBytes(drafts, count);
    const replayed = this.#replayBatch(drafts, count);
    if (replayed !== undefined) return replayed;
    this.#assertNoneMatches(conditions);
    return this.#commitBatch(drafts, count, "later");
  }

  /**
   * Whether as many events have been appended since the last sync as `sync.everyNEvents` says.
   *
   * @internal
   */
  get syncIsDue(): boolean {
    const every = this.options.syncEveryNEvents;
    return every > 0 && this.#unsyncedEvents >= every;
  }

  /**
   * The limits of an append, for whoever prepares one elsewhere.
   *
   * @internal
   */
  get appendLimits(): Readonly<
    Record<"singleAppendMaxBytes" | "batchMaxSize" | "batchMaxBytes", number>
  > {
    const { singleAppendMaxBytes, batchMaxSize, batchMaxBytes } = this.options;
    return { singleAppendMaxBytes, batchMaxSize, batchMaxBytes };
  }

  #assertBatchCount(count: number): void {
    const { batchMaxSize: limit } = this.options;
    if (count <= limit) return;
    const option = "batch.maxSize";
    throw new TooLargeError({ what: "a batch", unit: "items", actual: count, limit, option });
  }

  #assertBatchBytes(drafts: readonly AppendDraft[], count: number): void {
    let bytes = 0;
    for (let i = 0; i < count; i++) bytes += drafts[i].countedSize;
    const { batchMaxBytes: limit } = this.options;
    if (bytes <= limit) return;
    const option = "batch.maxBytes";
    throw new TooLargeError({ what: "a batch", unit: "bytes", actual: bytes, limit, option });
  }

  /** @param internal lets the store use kinds that callers may not. */
  #append(
    coordinate: CoordinateLike,
    kind: EventKind | EventDefinition,
    payload: unknown,
    options: AppendOptions,
    internal: boolean,
    fence?: Fence,
  ): Receipt {
    const conditions = compileConditions(options.failIf);
    if (options !== NO_OPTIONS) assertKnownKeys("append", options, APPEND_OPTIONS);
    const durable = isDurable(options.durability);
    const draft = this.#draft;
    prepareDraft(draft, this.#registry, coordinate, kind, payload, options, internal);
    // The caller's code has run, and may have closed the store or met a failing disk.
    this.#assertWritable("append");
    this.#assertFence(fence, "append");
    // The store has to be able to say that it opened, whatever limit the caller has set.
    if (!internal || kind === EventKind.SYSTEM_DENIAL) this.#assertSize(draft);
    if (draft.keyed) {
      const row = this.source.index.findId(draft.eventId, 0);
      if (row !== ROW_NONE) {
        if (durable) this.#syncUpTo(row, "append");
        return this.receiptOf(row);
      }
    }
    this.#assertNoneMatches(conditions);
    return this.#commit(draft, durable);
  }

  /** Writes one prepared event. */
  #commit(draft: AppendDraft, durable: boolean | "later"): Receipt {
    const { index } = this.source;
    const chain = this.#chainOf(draft);
    const { expectedClock } = draft;
    if (expectedClock !== undefined) {
      const actual = index.hasHead(chain) ? index.headClockOf(chain) : "none";
      if (actual !== expectedClock) {
        const { entity, lane } = draft;
        throw new ClockConflictError({ entity, lane, expected: expectedClock, actual });
      }
    }
    this.#continueChain(draft, chain);
    const timestampUs = this.#now();
    this.#stamp(draft, this.source.firstSequence + index.count, timestampUs, 0);
    this.#rollWhenFull();

    const writer = this.#writer;
    const start = writer.reserve(frameSizeBound(draft));
    const end = encodeInto(draft, writer.buffer, start);
    const offset = writer.end;
    writer.write(start, end);
    this.#syncWhenDue(1, durable, "append");
    const buffer = writer.buffer;
    index.add(buffer, start + FRAME_HEADER_SIZE, offset, draft.eventHash);
    writer.advance(end - start);
    this.#lastTimestampUs = timestampUs;
    this.#published(draft, Math.floor(timestampUs / 1000));
    return this.#receiptFor(draft, start, offset, end - start);
  }

  #prepareBatch(items: readonly BatchItem[], drafts: AppendDraft[]): void {
    while (drafts.length < items.length) drafts.push(new AppendDraft());
    for (let i = 0; i < items.length; i++) {
      const item = items[i];
      const draft = drafts[i];
      try {
        prepareItem(draft, this.#registry, item, i);
        this.#assertSize(draft);
      } catch (error) {
        throw batchError(i, error);
      }
      // The encoder's bytes are borrowed, and the next item takes them back.
      const { payload } = draft;
      draft.payload = this.#copies.copy(payload, 0, payload.byteLength);
    }
  }

  /** The first receipts, when every key of the batch is known; `undefined` when none is. */
  #replayBatch(drafts: readonly AppendDraft[], count: number): Receipt[] | undefined {
    let keyed = 0;
    for (let i = 0; i < count; i++) if (drafts[i].keyed) keyed++;
    if (keyed === 0) return undefined;
    if (keyed < count) {
      throw new IdempotencyError(
        `${keyed} of ${count} items have one; give all of them one or none`,
      );
    }
    const seen = new Set<string>();
    const rows: number[] = [];
    for (let i = 0; i < count; i++) {
      const id = formatId(drafts[i].eventId);
      if (seen.has(id)) throw new IdempotencyError(`item ${i} repeats the key of an earlier item`);
      seen.add(id);
      const row = this.source.index.findId(drafts[i].eventId, 0);
      if (row !== ROW_NONE) rows.push(row);
    }
    if (rows.length === 0) return undefined;
    if (rows.length < count) {
      throw new IdempotencyError(
        `${rows.length} of ${count} were used before; send the batch as it was sent first`,
      );
    }
    return rows.map((row) => this.receiptOf(row));
  }

  #commitBatch(
    drafts: readonly AppendDraft[],
    count: number,
    durable: boolean | "later",
  ): Receipt[] {
    const { index, firstSequence } = this.source;
    const timestampUs = this.#now();
    let bound = 0;
    for (let i = 0; i < count; i++) bound += frameSizeBound(drafts[i]);
    this.#rollWhenFull();
    const writer = this.#writer;
    const start = writer.reserve(bound);
    const { buffer } = writer;

    // Within the batch an item continues the chain of the item before it, which no index knows yet.
    const heads = new Map<number | string, AppendDraft>();
    let end = start;
    for (let i = 0; i < count; i++) {
      const draft = drafts[i];
      try {
        const chain = this.#chainOf(draft);
        const key = chain >= 0 ? chain : `${draft.lane} ${draft.entity}`;
        const previous = heads.get(key);
        if (previous === undefined) this.#continueChain(draft, chain);
        else this.#followDraft(draft, previous);
        heads.set(key, draft);
      } catch (error) {
        throw batchError(i, error);
      }
      this.#stamp(draft, firstSequence + index.count + i, timestampUs, count - 1 - i);
      const { causationItem } = draft;
      if (causationItem !== undefined) draft.causationId.set(drafts[causationItem].eventId);
      draft.frameStart = end;
      end = encodeInto(draft, buffer, end);
      draft.frameEnd = end;
    }
    const offset = writer.end;
    writer.write(start, end);
    this.#syncWhenDue(count, durable, "append a batch");
    const receipts: Receipt[] = [];
    for (let i = 0; i < count; i++) {
      const draft = drafts[i];
      const { frameStart, frameEnd } = draft;
      const frameOffset = offset + frameStart - start;
      index.add(buffer, frameStart + FRAME_HEADER_SIZE, frameOffset, draft.eventHash);
      receipts.push(this.#receiptFor(draft, frameStart, frameOffset, frameEnd - frameStart));
    }
    writer.advance(end - start);
    this.#lastTimestampUs = timestampUs;
    this.#publishedGroup(drafts, count, Math.floor(timestampUs / 1000));
    return receipts;
  }

  /** Moves the watermarks for an event that the index has learned of, and wakes who waits for it. */
  #published({ lane, globalSequence, kind }: AppendDraft, wallMs: number): void {
    const watermarks = this.#watermarks;
    if (this.#fence === undefined) {
      watermarks.append(lane, wallMs, globalSequence);
      this.visibility.raise();
    } else if (kind === EventKind.SYSTEM_FENCE_COMMIT || kind === EventKind.SYSTEM_FENCE_CANCEL) {
      watermarks.endFence(kind === EventKind.SYSTEM_FENCE_COMMIT, lane, wallMs, globalSequence);
      this.visibility.raise();
    } else {
      watermarks.stage(lane, wallMs, globalSequence);
    }
    if (!this.#writer.unsynced) this.#markDurable();
  }

  /** As {@linkcode Store.#published}, for a group. */
  #publishedGroup(drafts: readonly AppendDraft[], count: number, wallMs: number): void {
    const first = drafts[0].globalSequence;
    if (this.#fence === undefined) {
      this.#watermarks.appendGroup(drafts, count, wallMs, first);
      this.visibility.raise();
    } else {
      this.#watermarks.stageGroup(drafts, count, wallMs, first);
    }
    if (!this.#writer.unsynced) this.#markDurable();
  }

  /** The chain of a draft, or -1 when this is its first event. Checks names the journal does not know. */
  #chainOf(draft: AppendDraft): number {
    const { index } = this.source;
    const entity = index.entities.find(draft.entityBytes, 0, draft.entitySize);
    if (
      entity === NAME_UNKNOWN ||
      index.scopes.find(draft.scopeBytes, 0, draft.scopeSize) === NAME_UNKNOWN
    ) draft.assertCoordinate();
    return entity === NAME_UNKNOWN ? -1 : index.findChain(entity, draft.lane);
  }

  /** Puts a draft behind the newest event of its chain. */
  #continueChain(draft: AppendDraft, chain: number): void {
    const { index, log } = this.source;
    if (!index.hasHead(chain)) {
      draft.clock = 0;
      draft.prevHash = NO_HASH;
      draft.prevHashStart = 0;
      return;
    }
    const clock = index.headClockOf(chain);
    if (clock >= CLOCK_MAX) throw new ClockOverflowError(draft.entity);
    if (!index.isHeadHashKnown(chain)) {
      const body = log.readBody(index.headOf(chain));
      index.setHeadHash(chain, blake3(body.subarray(0, payloadStartOf(body, 0))));
    }
    draft.clock = clock + 1;
    draft.prevHash = index.headHashes;
    draft.prevHashStart = chain * HASH_SIZE;
  }

  #followDraft(draft: AppendDraft, previous: AppendDraft): void {
    if (previous.clock >= CLOCK_MAX) throw new ClockOverflowError(draft.entity);
    draft.clock = previous.clock + 1;
    draft.prevHash = previous.eventHash;
    draft.prevHashStart = 0;
  }

  /** Fills in what is known only now. */
  #stamp(
    draft: AppendDraft,
    sequence: number,
    timestampUs: number,
    groupRemaining: number,
  ): void {
    draft.globalSequence = sequence;
    draft.timestampUs = timestampUs;
    draft.groupRemaining = groupRemaining;
    if (!draft.keyed) this.#ids.fill(draft.eventId, 0, timestampUs);
    if (!draft.correlated) {
      for (let i = 0; i < ID_SIZE; i++) draft.correlationId[i] = draft.eventId[i];
    }
  }

  /** The time of an append: never before that of an earlier event, also when the clock steps back. */
  #now(): number {
    const nowUs = Math.floor(this.options.clock.nowUs());
    if (!(nowUs >= 0 && nowUs <= Number.MAX_SAFE_INTEGER)) throw new InvalidClockError(nowUs);
    return nowUs > this.#lastTimestampUs ? nowUs : this.#lastTimestampUs;
  }

  #rollWhenFull(): void {
    if (this.#writer.end >= this.options.segmentMaxBytes) this.#roll();
  }

  /** Seals the active segment, when it has an event, and begins the next. */
  #roll(): void {
    const { index, log, firstSequence } = this.source;
    const active = log.segments[log.segments.length - 1];
    const last = index.count - 1;
    // A segment without an event would be followed by another one for ever.
    if (active.firstRow === index.count) return;
    const body = log.readBody(last);
    const lastHash = blake3(body.subarray(0, payloadStartOf(body, 0)));
    const header = {
      storeId: this.#storeIdBytes,
      segmentId: active.id + 1,
      createdNs: BigInt(this.#now()) * 1000n,
      firstSequence: firstSequence + index.count,
      previousSize: active.end,
      previousHash: lastHash,
    };
    const footer = !this.options.coldStart.footers ? undefined : encodeFooter(index, {
      start: active.firstRow,
      end: index.count,
      firstSequence: firstSequence + active.firstRow,
      framesEnd: active.end,
      lastTimestampUs: this.#lastTimestampUs,
      lastHash,
    });
    this.#writer.roll(header, footer);
    this.#markDurable();
  }

  /** Saves the index file, if it is wanted and can be: an index is worth no error. */
  #saveIndex(): void {
    const { fs, coldStart } = this.options;
    // The rows of what was pruned are still in this handle's index, and in no other.
    if (!coldStart.indexFile || this.source.index.firstRow > 0) return;
    const { dir, source } = this;
    const storeId = this.#storeIdBytes;
    try {
      saveIndexFile({ fs, dir, storeId, source, lastTimestampUs: this.#lastTimestampUs });
    } catch (error) {
      if (!(error instanceof IoFault || error instanceof StoreError)) throw error;
    }
    this.#planNextSave();
  }

  #planNextSave(): void {
    const { indexFile, saveEveryNEvents } = this.options.coldStart;
    if (!indexFile || saveEveryNEvents === 0) return;
    const { count } = this.source.index;
    this.#nextSaveRows = count + Math.max(saveEveryNEvents, Math.floor(count / 2));
  }

  /** @param durable `"later"` leaves every sync to the caller. */
  #syncWhenDue(events: number, durable: boolean | "later", action: string): void {
    this.#unsyncedEvents += events;
    if (durable === "later") return;
    const every = this.options.syncEveryNEvents;
    if (durable || (every > 0 && this.#unsyncedEvents >= every)) {
      this.#writer.sync(action);
      this.#unsyncedEvents = 0;
      // The events of this very append are in the log and not yet in the index: the file says so.
      if (this.source.index.count >= this.#nextSaveRows) this.#saveIndex();
    }
  }

  /** A retry that has to be durable may be of an append that need not have been. */
  #syncUpTo(row: number, action: string): void {
    if (row >= this.#durableRows) this.#syncNow(action);
  }

  #syncNow(action: string): void {
    this.#writer.sync(action);
    this.#markDurable();
    if (this.source.index.count >= this.#nextSaveRows) this.#saveIndex();
  }

  /** Everything in the index has been synced. */
  #markDurable(): void {
    this.#unsyncedEvents = 0;
    this.#durableRows = this.source.index.count;
    this.#watermarks.synced();
  }

  /** Throws when an event exists that the append must not follow. */
  #assertNoneMatches(conditions: readonly CompiledCondition[]): void {
    if (conditions.length === 0) return;
    const { index, firstSequence } = this.source;
    const rows = new Set<number>();
    for (const { region, after } of conditions) {
      const start = Math.max(index.firstRow, after === undefined ? 0 : after + 1 - firstSequence);
      let count = 0;
      // What is staged behind the same fence counts, and what was cancelled never does.
      const range = { start, end: index.count, includeRetired: true };
      for (const row of rowsOf(index, region, range)) {
        rows.add(row);
        if (++count === CONFLICTS_MAX) break;
      }
    }
    if (rows.size === 0) return;
    const first = [...rows].sort((a, b) => a - b).slice(0, CONFLICTS_MAX);
    throw new ConditionConflictError(first.map((row) => ({
      globalSequence: row + firstSequence,
      eventId: formatId(index.idBytesOf(row), index.idStartOf(row)),
    })));
  }

  #receiptFor(draft: AppendDraft, start: number, offset: number, size: number): Receipt {
    const { log } = this.source;
    const body = start + FRAME_HEADER_SIZE;
    return new Receipt(
      this.#storeIdBytes,
      this.#copies.copy(this.#writer.buffer, body, draft.payloadStart),
      undefined,
      log.segments[log.segments.length - 1].id,
      offset,
      size,
      this.options.signingKeys.at(-1),
    );
  }
}

const NO_OPTIONS: AppendOptions = Object.freeze({});
const DURABLE: AppendOptions = Object.freeze({ durability: "durable" });
/** What a batch may say as a whole. */
export const BATCH_OPTIONS: ReadonlySet<string> = new Set(["failIf", "durability"]);
/** What an item of a batch may say. `expectedClock` is known, to be refused with a reason. */
export const BATCH_ITEM_KEYS: ReadonlySet<string> = new Set([
  ...[...APPEND_OPTIONS].filter((key) => !BATCH_OPTIONS.has(key)),
  "entity",
  "scope",
  "kind",
  "payload",
  "causationItem",
]);

/** Encodes a whole frame at `start` and returns its end. Sets the draft's hashes. */
function encodeInto(draft: AppendDraft, target: Uint8Array, start: number): number {
  blake3Into(draft.payload, 0, draft.payload.byteLength, draft.contentHash);
  const payloadStart = encodeFrame(draft, target, start);
  draft.payloadStart = payloadStart;
  blake3Into(target, start + FRAME_HEADER_SIZE, payloadStart, draft.eventHash);
  return sealFrame(target, start, payloadStart, draft.payload);
}

/**
 * Fills a draft with an item of a batch.
 *
 * @param index the item, counted from 0.
 */
export function prepareItem(
  draft: AppendDraft,
  registry: EventRegistry,
  item: BatchItem,
  index: number,
): void {
  assertKnownKeys("append", item, BATCH_ITEM_KEYS);
  prepareDraft(draft, registry, item, item.kind, item.payload, item);
  if (item.expectedClock !== undefined) {
    throw new TypeError("expectedClock is for single appends; give the batch a failIf instead");
  }
  draft.causationItem = item.causationItem;
  if (draft.causationItem !== undefined) assertCausationItem(item, draft.causationItem, index);
}

function assertCausationItem(item: BatchItem, causationItem: number, index: number): void {
  if (!Number.isInteger(causationItem) || causationItem < 0 || causationItem >= index) {
    throw new RangeError(`causationItem ${causationItem} is not an earlier item of the batch`);
  }
  if (item.causationId !== undefined) {
    throw new TypeError("causationItem and causationId exclude each other");
  }
}

/** What an error of an item is for the whole batch. One of the journal is no fault of an item. */
export function batchError(index: number, error: unknown): unknown {
  const isOfJournal = error instanceof WriterCrashedError || error instanceof StoreIoError ||
    error instanceof CorruptionError;
  const isOurs = error instanceof StoreError || error instanceof TypeError ||
    error instanceof RangeError;
  return isOurs && !isOfJournal ? new BatchError(index, error) : error;
}
