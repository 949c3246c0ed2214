/**
 * Everything that reads: the half of a store that a writer and a reader share.
 *
 * A read sees the journal as it was when the read began: the bound is taken once, so an append that
 * happens while an iterator is being walked is not part of it.
 *
 * @module
 */

import type { StoreFs } from "../platform/fs.ts";
import { assertKnownKeys, assertUint } from "./assert.ts";
import { backupJournal, type BackupOptions, type BackupReport } from "./copies/backup.ts";
import {
  Compaction,
  type CompactionOptions,
  type CompactionReport,
  type LifecycleHost,
} from "./compaction/compaction.ts";
import { prune, type PruneOptions, type PruneReport } from "./compaction/prune.ts";
import { Coordinate } from "./coordinate.ts";
import { Cursor, type CursorHost, type CursorOptions } from "./cursor.ts";
import { CorruptionError, SerializationError, StoreClosedError, StoreIoError } from "./errors.ts";
import { type EventIndex, ROW_NONE } from "./index/event_index.ts";
import { EventKind } from "./event_kind.ts";
import { Holders } from "./holders.ts";
import { bytesEqual, NO_BYTES } from "./hash.ts";
import {
  type EventId,
  formatId,
  ID_SIZE,
  idempotencyId,
  type OperationKey,
  parseIdInto,
} from "./ids.ts";
import { NAME_UNKNOWN } from "./index/interner.ts";
import {
  type CopyPlan,
  type CopyReport,
  type CopySource,
  planCopy,
  snapshotJournal,
  type SnapshotOptions,
} from "./copies/journal_copy.ts";
import type { OpenReport } from "./open_report.ts";
import { printAs } from "./print.ts";
import { invalid, Receipt, type ReceiptVerification, verifySignature } from "./receipt.ts";
import { QUARANTINE_NAME } from "./recovery.ts";
import { Region, type RegionLike } from "./region.ts";
import { findName, type RowRange, rowsOf } from "./index/region_query.ts";
import { Signal } from "./signal.ts";
import { lastIdOf } from "./segment_log.ts";
import { withIo } from "./io.ts";
import { type EventSource, type LogPosition, StoredEvent } from "./stored_event.ts";
import type { FrontierView } from "./watermarks/frontier_view.ts";
import type { ResolvedOptions } from "./store_options.ts";

/** Which part of a region to walk, and in which direction. */
export interface EventsOptions {
  /** Only events after this sequence; -1 is in front of everything. */
  readonly after?: number;
  /** Only events before this sequence. */
  readonly before?: number;
  /** At most this many. */
  readonly limit?: number;
  /** Newest first. */
  readonly reverse?: boolean;
}

/** What a store holds. */
export interface StoreStats {
  /** Events in the journal, the store's own included. */
  readonly eventCount: number;
  /** Events of those that a retention has taken out of queries. */
  readonly retiredCount: number;
  /** Events of those that are hidden for ever, because their fence was cancelled. */
  readonly cancelledCount: number;
  /** Events of those that are hidden until their fence is committed. */
  readonly stagedCount: number;
  /** The sequence the journal begins at: 0, unless it has been pruned. */
  readonly firstSequence: number;
  /** The sequence the next event will have. */
  readonly nextSequence: number;
  /**
   * Events with a sequence below this are known to survive a power cut; `undefined` in a reader, which
   * cannot know.
   */
  readonly durableSequence: number | undefined;
  /** Entities that have an event. */
  readonly entityCount: number;
  /** Segment files. */
  readonly segmentCount: number;
  /** Bytes of segment headers and frames. */
  readonly logBytes: number;
  /**
   * Bytes of all files in the directory and in its `quarantine/`, by their sizes: space that the writer has
   * taken in advance included, and files that are shared with a fork in full.
   */
  readonly diskBytes: number;
  /** Bytes of memory the index takes. */
  readonly indexBytes: number;
}

/** Why a walk over ancestors ended. */
export type AncestorBoundary =
  /** The start is not in the journal. */
  | { readonly type: "NoAnchor" }
  /** As many as were asked for; the last one has an ancestor. */
  | { readonly type: "LimitReached" }
  /** The last one is the first of its chain: the lineage is complete. */
  | { readonly type: "ReachedGenesis" }
  /** No event has the hash that `child` names as its predecessor's. */
  | { readonly type: "MissingParent"; readonly child: EventId }
  /** An event could not be read; `error` says why. */
  | { readonly type: "ReadFailure"; readonly eventId: EventId; readonly error: Error };

/** An event and those before it in its entity's lane. */
export interface AncestorWalk {
  /** The start first, then its predecessor, and so on. */
  readonly ancestors: readonly StoredEvent[];
  /** Why it ended there. */
  readonly boundary: AncestorBoundary;
}

/** What opening gives to a reader. */
export interface ReaderFacts {
  readonly dir: string;
  readonly openReport: OpenReport;
  readonly source: EventSource;
  readonly options: ResolvedOptions;
  /** Sixteen bytes. */
  readonly storeId: Uint8Array;
}

/** The reading half of a store. */
export abstract class JournalReader {
  /** The canonical directory. */
  readonly dir: string;
  /** What opening it found and did. */
  readonly openReport: OpenReport;
  /**
   * What events are read from.
   *
   * @internal
   */
  protected readonly source: EventSource;
  /**
   * Options with their defaults.
   *
   * @internal
   */
  protected readonly options: ResolvedOptions;
  /**
   * Whether {@linkcode close} has been called.
   *
   * @internal
   */
  protected closed = false;
  /**
   * Raised whenever events have become visible through this handle, and woken when it is closed.
   *
   * @internal
   */
  protected readonly visibility: Signal = new Signal();
  /**
   * Who needs this store to stay open.
   *
   * @internal
   */
  protected readonly holders: Holders = new Holders();
  readonly #storeId: Uint8Array;
  #cursorHost: CursorHost | undefined;

  /**
   * Made by the functions that open.
   *
   * @internal
   */
  protected constructor(facts: ReaderFacts) {
    this.dir = facts.dir;
    this.openReport = facts.openReport;
    this.source = facts.source;
    this.options = facts.options;
    this.#storeId = facts.storeId;
    // Printing a store should not print its index.
    Object.defineProperty(this, "source", { enumerable: false });
    Object.defineProperty(this, "options", { enumerable: false });
    Object.defineProperty(this, "visibility", { enumerable: false });
    Object.defineProperty(this, "holders", { enumerable: false });
  }

  /** Which journal this is: a UUID that stays with it when it is moved or copied. */
  get storeId(): string {
    return formatId(this.#storeId);
  }

  /** The event with this id, or `undefined`. */
  get(eventId: EventId | string): StoredEvent | undefined {
    const index = this.#index("get an event");
    const row = findEvent(index, eventId);
    return row === ROW_NONE ? undefined : this.#eventAt(row);
  }

  /**
   * The event that was appended under this idempotency key, or `undefined`.
   *
   * @throws {IdError} when it is no key.
   */
  getByKey(idempotencyKey: string | OperationKey): StoredEvent | undefined {
    const index = this.#index("get an event");
    const row = findVisible(index, idempotencyId(idempotencyKey));
    return row === ROW_NONE ? undefined : this.#eventAt(row);
  }

  /** The event at this place in the journal, or `undefined`. */
  at(globalSequence: number): StoredEvent | undefined {
    const index = this.#index("get an event");
    const row = globalSequence - this.source.firstSequence;
    if (!Number.isInteger(row) || row < index.firstRow || row >= index.count) return undefined;
    return index.isHidden(row) ? undefined : this.#eventAt(row);
  }

  /**
   * The newest event of an entity's lane, or `undefined`. Its clock is what `expectedClock` has to be
   * for the next append, unless fences have staged or cancelled events behind it: see
   * {@linkcode headClock}.
   */
  latest(entity: string, lane = 0): StoredEvent | undefined {
    const index = this.#index("get an event");
    const number = findName(index.entities, entity);
    if (number === NAME_UNKNOWN) return undefined;
    let row = index.headOf(index.findChain(number, assertUint("lane", lane, 2 ** 32 - 1)));
    while (row >= index.firstRow && index.isHidden(row)) row = index.previousOf(row);
    return row < index.firstRow ? undefined : this.#eventAt(row);
  }

  /**
   * The clock an entity's lane is at, which is what `expectedClock` has to be for the next append. Events
   * that a fence has staged or cancelled count: they have their place in the chain for ever, though
   * nobody may see them.
   */
  headClock(entity: string, lane = 0): "none" | number {
    const index = this.#index("look up a clock");
    const number = findName(index.entities, entity);
    assertUint("lane", lane, 2 ** 32 - 1);
    const chain = number === NAME_UNKNOWN ? -1 : index.findChain(number, lane);
    return index.hasHead(chain) ? index.headClockOf(chain) : "none";
  }

  /**
   * The events of exactly this entity, in commit order: what a fold over one entity reads. A region's
   * `entity` also selects what is below it (`order:1` and `order:1:line:2`), and every lane; this does
   * not.
   *
   * @param options `lane` narrows to one lane, which is where clocks count; default: all lanes.
   * @throws {RangeError} as {@linkcode events}.
   *
   * @example Fold one account, and append where it was read
   * ```ts
   * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
   * import assert from "node:assert/strict";
   *
   * using store = Store.open("journal", { fs: new MemoryFs() });
   * const account = { entity: "account:1", scope: "bank" };
   * for (const amount of [10, 20]) store.append(account, EventKind.DATA, { amount });
   *
   * let balance = 0;
   * let clock: "none" | number = "none";
   * for (const event of store.byEntity("account:1", { lane: 0 })) {
   *   balance += (event.payload as { amount: number }).amount;
   *   clock = event.clock;
   * }
   * store.append(account, EventKind.DATA, { amount: -balance }, { expectedClock: clock });
   * assert.equal(balance, 30);
   * ```
   */
  byEntity(
    entity: string,
    options: EventsOptions & { readonly lane?: number } = {},
  ): IterableIterator<StoredEvent> {
    const index = this.#index("query");
    const { lane, ...rest } = options;
    if (lane !== undefined) assertUint("lane", lane, 2 ** 32 - 1);
    const { start, end, reverse, limit, firstSequence } = this.#rangeOf(rest);
    const number = findName(index.entities, entity);
    const rows = number === NAME_UNKNOWN ? [] : index.byEntity.rows(number, start, end, reverse);
    const isWanted = (row: number) =>
      !index.isRetired(row) && !index.isCancelled(row) &&
      (lane === undefined || index.laneOf(index.chainOf(row)) === lane);
    return eventsOf(this.source, { rows, isWanted, limit, firstSequence });
  }

  /** All events of a region, in commit order. */
  query(region: RegionLike = Region.all()): StoredEvent[] {
    return [...this.events(region)];
  }

  /**
   * A page of a region: at most `limit` events after `after`, in commit order. `undefined` starts at
   * the beginning. The sequence of the last event of a page is the `after` of the next; an empty page
   * is the end.
   */
  queryAfter(region: RegionLike, after: number | undefined, limit: number): StoredEvent[] {
    return [...this.events(region, after === undefined ? { limit } : { after, limit })];
  }

  /**
   * The events of a region one by one, in commit order or against it. Nothing is read from the log
   * until an event's payload or header is touched, so stopping early costs nothing.
   *
   * @throws {RangeError} when a bound is not a whole number of at least 0; `after` may be -1.
   *
   * @example The last two events of an entity
   * ```ts
   * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
   * import assert from "node:assert/strict";
   *
   * using store = Store.open("journal", { fs: new MemoryFs() });
   * const user = { entity: "user:1", scope: "app" };
   * for (const n of [1, 2, 3]) store.append(user, EventKind.DATA, { n });
   *
   * const newest = [...store.events({ entity: "user:1" }, { reverse: true, limit: 2 })];
   * assert.deepEqual(newest.map((event) => event.payload), [{ n: 3 }, { n: 2 }]);
   * ```
   */
  events(
    region: RegionLike = Region.all(),
    options: EventsOptions = {},
  ): IterableIterator<StoredEvent> {
    const index = this.#index("query");
    const { start, end, reverse, limit, firstSequence } = this.#rangeOf(options);
    const rows = rowsOf(index, Region.from(region), { start, end, reverse });
    return eventsOf(this.source, { rows, isWanted: () => true, limit, firstSequence });
  }

  /**
   * A cursor over the events of a region: an ordered pull that goes on with what is appended later. The
   * cursor of a writer learns of an append at once; that of a reader when {@linkcode Cursor.pullBatch}
   * looks, or somebody calls `refresh`.
   *
   * @param options `from` goes on where another cursor was; `gaps` observes cancelled fences.
   * @throws {RangeError} when `from` lies behind the end of the journal, or a number is out of range.
   * @throws {RegionError} when the region has a filter that no event could match.
   * @throws {StoreClosedError} after {@linkcode close}.
   */
  cursor(region: RegionLike = Region.all(), options: CursorOptions = {}): Cursor {
    this.#index("follow events");
    return new Cursor(this.cursorHost(), Region.from(region), options);
  }

  /**
   * What cursors, and whatever delivers events, need of this journal.
   *
   * @internal
   */
  cursorHost(): CursorHost {
    const { fs, clock, scheduler } = this.options;
    return this.#cursorHost ??= {
      dir: this.dir,
      fs,
      clock,
      scheduler,
      source: this.source,
      visibility: this.visibility,
      isClosed: () => this.closed,
      refresh: this.refreshOf(),
      makeDurable: (sequence) => this.makeDurable(sequence),
    };
  }

  /**
   * How to look for what another process has appended; nothing in a writer.
   *
   * @internal
   */
  protected refreshOf(): (() => number) | undefined {
    return undefined;
  }

  /**
   * Makes the event with this sequence, and those before it, survive a power cut. Does nothing when it is
   * known that they do.
   *
   * @throws {StoreIoError} when a reader cannot sync.
   * @throws {WriterCrashedError} when a writer cannot.
   * @internal
   */
  protected abstract makeDurable(sequence: number): void;

  /**
   * The event with this id and those before it in its entity's lane, newest first, at most `limit`.
   * Every step checks that the hash which the younger event names is the older one's; the walk checks
   * events that a fence hides too, and leaves them out. Never throws for what it finds in the log;
   * `boundary` says why it ended.
   */
  walkAncestors(eventId: EventId | string, limit = Infinity): AncestorWalk {
    const index = this.#index("walk ancestors");
    const { firstSequence } = this.source;
    assertLimit("walk ancestors", limit);
    const ancestors: StoredEvent[] = [];
    const end = (boundary: AncestorBoundary): AncestorWalk => ({ ancestors, boundary });
    let row = findEvent(index, eventId);
    if (row === ROW_NONE) return end({ type: "NoAnchor" });
    let child: StoredEvent | undefined;
    while (ancestors.length < limit) {
      const event = new StoredEvent(this.source, row + firstSequence);
      try {
        if (child !== undefined && !bytesEqual(child.prevHash, event.eventHash)) {
          return end({ type: "MissingParent", child: child.eventId });
        }
        // Touching the payload now is what makes a damaged event a boundary and not a surprise.
        void event.payload;
      } catch (error) {
        if (
          error instanceof CorruptionError || error instanceof SerializationError ||
          error instanceof StoreIoError
        ) {
          return end({ type: "ReadFailure", eventId: idOf(index, row), error });
        }
        throw error;
      }
      if (!index.isHidden(row)) ancestors.push(event);
      child = event;
      row = index.previousOf(row);
      // What has been pruned is no genesis.
      if (row < index.firstRow) {
        return end(
          child.clock === 0
            ? { type: "ReachedGenesis" }
            : { type: "MissingParent", child: child.eventId },
        );
      }
    }
    return end({ type: "LimitReached" });
  }

  /**
   * The events that an event follows from: its cause, the cause of that, and so on to the one that
   * began it, at most `limit`. Ends early where a cause is not in this journal.
   */
  causes(eventId: EventId | string, limit = Infinity): StoredEvent[] {
    const index = this.#index("follow causes");
    assertLimit("follow causes", limit);
    const causes: StoredEvent[] = [];
    let row = findEvent(index, eventId);
    while (row !== ROW_NONE && causes.length < limit) {
      // A cause is always older, so this ends.
      row = index.causeOf(row);
      if (row < index.firstRow) break;
      if (!index.isHidden(row)) causes.push(this.#eventAt(row));
    }
    return causes;
  }

  /** The events that name this one as their cause, in commit order. */
  effects(eventId: EventId | string): StoredEvent[] {
    const index = this.#index("follow effects");
    const row = findEvent(index, eventId);
    if (row === ROW_NONE) return [];
    const effects: StoredEvent[] = [];
    for (const effect of index.effectsOf(row, index.visibleCount)) {
      if (!index.isCancelled(effect)) effects.push(this.#eventAt(effect));
    }
    return effects;
  }

  /**
   * What the journal holds. Lists its directory, for the sizes of files.
   *
   * @throws {StoreIoError} when the directory cannot be listed.
   */
  stats(): StoreStats {
    const index = this.#index("take stock");
    let logBytes = 0;
    for (const segment of this.source.log.segments) logBytes += segment.end;
    return {
      eventCount: index.count - index.firstRow,
      retiredCount: retiredCountOf(index),
      cancelledCount: index.cancelledWithin(index.firstRow, index.count),
      stagedCount: index.count - index.visibleCount,
      firstSequence: this.source.firstSequence + index.firstRow,
      nextSequence: this.source.firstSequence + index.count,
      durableSequence: this.durableSequence,
      entityCount: entityCountOf(index),
      segmentCount: this.source.log.segments.length,
      logBytes,
      diskBytes: withIo("take stock", () => diskBytesOf(this.options.fs, this.dir)),
      indexBytes: index.memorySize,
    };
  }

  /**
   * Events with a sequence below this are known to survive a power cut; `undefined` in a reader, which
   * cannot know.
   */
  abstract get durableSequence(): number | undefined;

  /**
   * The sequence that the next event to become visible will have.
   *
   * @internal
   */
  get endSequence(): number {
    return this.source.firstSequence + this.#index("take stock").visibleCount;
  }

  /**
   * How far everything has come: six watermarks, for the journal and for each lane, at one moment. A reader
   * beside a writer knows only what it has read: to it, that is durable.
   */
  abstract frontier(): FrontierView;

  /**
   * Checks a receipt against the journal and the keys the store was opened with. The first difference
   * is the reason.
   */
  verifyReceipt(receipt: Receipt): ReceiptVerification {
    const index = this.#index("verify a receipt");
    assertReceipt(receipt);
    if (receipt.storeId !== this.storeId) return invalid("StoreMismatch");
    const row = findEvent(index, receipt.eventId);
    if (row === ROW_NONE) return invalid("MissingCommittedEvent");
    const event = this.#eventAt(row);
    if (event.globalSequence !== receipt.globalSequence) return invalid("SequenceMismatch");
    if (!this.#isPlausible(event, receipt.position)) {
      return invalid("DiskPositionMismatch");
    }
    if (!bytesEqual(event.contentHash, receipt.contentHash)) return invalid("ContentHashMismatch");
    if (!extensionsEqual(event.extensions, receipt.extensions)) {
      return invalid("ExtensionsMismatch");
    }
    if (
      !bytesEqual(event.headerBytes, receipt.header) ||
      !bytesEqual(event.eventHash, receipt.eventHash)
    ) return invalid("EventHashMismatch");
    return verifySignature(receipt, this.options.verifyingKeys);
  }

  /** Like {@linkcode verifyReceipt}, and the event has to be a denial. */
  verifyDenialReceipt(receipt: Receipt): ReceiptVerification {
    const index = this.#index("verify a receipt");
    assertReceipt(receipt);
    const row = findEvent(index, receipt.eventId);
    if (row !== ROW_NONE && index.kindOf(row) !== EventKind.SYSTEM_DENIAL) {
      return invalid("DenialKindMismatch");
    }
    return this.verifyReceipt(receipt);
  }

  /**
   * Copies the journal to `target`, which must not exist, or be an empty directory. The copy is a journal of
   * its own with the same id: the same events, receipts and idempotency keys, and nothing done to one
   * side reaches the other.
   *
   * It holds what this handle shows now: a writer syncs first, a reader in another process copies beside a
   * live writer, up to the last whole group it has seen. Locks, quarantine and index files stay behind.
   *
   * A copy that fails leaves nothing behind that opens as a journal. Nobody else may write to `target`
   * meanwhile.
   *
   * @throws {CopyTargetError} when the copy cannot go there; nothing was written.
   * @throws {CopySourceError} when another process keeps replacing segments: copy again when it is done.
   * @throws {CorruptionError} when a frame is not sound; `batpak verify` says more.
   * @throws {StoreClosedError} after {@linkcode close}.
   * @throws {StoreIoError} when the system refuses a file operation, as on a full disk.
   * @throws {WriterCrashedError} of a writer that cannot sync: copy through a reader.
   *
   * @example A copy that opens
   * ```ts
   * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
   * import assert from "node:assert/strict";
   *
   * const fs = new MemoryFs();
   * using store = Store.open("journal", { fs });
   * const receipt = store.append({ entity: "user:1", scope: "app" }, EventKind.DATA, "hello");
   *
   * const report = store.snapshot("copy");
   *
   * assert.equal(report.events, 2); // the open is an event too
   * using copy = Store.openReadOnly("copy", { fs });
   * assert.equal(copy.verifyReceipt(receipt).valid, true);
   * ```
   */
  snapshot(target: string, options: SnapshotOptions = {}): CopyReport {
    return snapshotJournal(this.copySource("take a snapshot"), target, options);
  }

  /**
   * Copies the journal to `target` as a backup: its files beside a `manifest.json` with the BLAKE3 of each,
   * signed when the store has a signing key. A backup does not open as a journal; `restoreBackup` makes it
   * one, and `verifyBackup` checks it.
   *
   * What is copied, where to, and what happens when it fails is as with {@linkcode snapshot}.
   *
   * @throws {BackupError} when the manifest would be too large, at some 100,000 segments.
   * @throws as {@linkcode snapshot}.
   *
   * @example A signed backup
   * ```ts
   * import { MemoryFs, SigningKey, Store, verifyBackup } from "@batpak/batpak";
   * import assert from "node:assert/strict";
   *
   * const fs = new MemoryFs();
   * const key = SigningKey.fromSeed(new Uint8Array(32).fill(7));
   * using store = Store.open("journal", { fs, signingKeys: [key] });
   * store.backup("backup");
   *
   * const { signature } = verifyBackup("backup", { fs, verifyingKeys: [key.publicKey] });
   * assert.equal(signature, "signed");
   * ```
   */
  backup(target: string, options: BackupOptions = {}): BackupReport {
    return backupJournal(this.copySource("back up"), target, options);
  }

  /**
   * Says what a copy to `target` would consist of, and refuses where it could not go. Writes nothing
   * there.
   *
   * @throws as {@linkcode snapshot}.
   */
  planCopy(target: string): CopyPlan {
    return planCopy(this.copySource("plan a copy"), target);
  }

  /**
   * Says what `compact` would do with these options, and does nothing: the report of a dry run, also from
   * a reader beside a live writer. It is about what this handle shows.
   *
   * @throws {RangeError} when a number is out of its range.
   * @throws {StoreClosedError} after {@linkcode close}.
   * @throws {TypeError} when an option or a rule is none.
   *
   * @example What a limit would erase
   * ```ts
   * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
   * import assert from "node:assert/strict";
   *
   * const fs = new MemoryFs();
   * using store = Store.open("journal", { fs, segmentMaxBytes: 1000 });
   * const user = { entity: "user:1", scope: "app" };
   * for (let n = 0; n < 20; n++) store.append(user, EventKind.DATA, { n });
   *
   * using reader = Store.openReadOnly("journal", { fs });
   * const { eventsErased, body } = reader.planCompaction({
   *   strategy: { type: "tombstone", keep: { maxCount: 10 } },
   * });
   *
   * assert.deepEqual([eventsErased, body.dryRun], [10, true]);
   * assert.deepEqual(store.query({ entity: "user:1" })[0].payload, { n: 0 });
   * ```
   */
  planCompaction(options: CompactionOptions = {}): CompactionReport {
    const action = "plan a compaction";
    this.#index(action);
    const host = {
      ...this.#planHost(),
      clock: this.options.clock,
      assertWritable: () => void this.#index(action),
      newId: () => new Uint8Array(ID_SIZE),
      sync: () => {},
      footers: this.options.coldStart.footers,
      release: () => {},
    };
    return new Compaction(host, { ...options, dryRun: true }).finish();
  }

  /**
   * Says what `prune` would do with these options, and does nothing: the report of a dry run, also from a
   * reader beside a live writer. It is about what this handle shows.
   *
   * @throws {RangeError} when `below` is no whole number of at least 0.
   * @throws {StoreClosedError} after {@linkcode close}.
   * @throws {TypeError} when an option is none, or nothing says what to remove.
   *
   * @example How much would go
   * ```ts
   * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
   * import assert from "node:assert/strict";
   *
   * const fs = new MemoryFs();
   * using store = Store.open("journal", { fs, segmentMaxBytes: 1000 });
   * const user = { entity: "user:1", scope: "app" };
   * for (let n = 0; n < 20; n++) store.append(user, EventKind.DATA, { n });
   *
   * using reader = Store.openReadOnly("journal", { fs });
   * const { eventsPruned, firstSequence } = reader.planPrune({ below: 10 });
   *
   * assert.ok(eventsPruned > 0 && eventsPruned === firstSequence);
   * assert.equal(store.stats().eventCount, 21); // the open is an event too
   * ```
   */
  planPrune(options: PruneOptions): PruneReport {
    this.#index("plan a prune");
    const host = { ...this.#planHost(), signer: undefined, verifyingKeys: [] };
    return withIo("plan a prune", () => prune(host, options, true));
  }

  /** What a compaction or prune looks at that changes nothing. */
  #planHost(): LifecycleHost {
    return {
      fs: this.options.fs,
      dir: this.dir,
      source: this.source,
      storeId: this.#storeId,
      seal: () => {},
    };
  }

  /**
   * What a copy is made from. A writer syncs first, a reader looks again when files have been replaced.
   *
   * @internal
   */
  protected copySource(action: string): CopySource {
    if (this.closed) throw new StoreClosedError(action);
    const { fs, clock, signingKeys } = this.options;
    return {
      fs,
      clock,
      dir: this.dir,
      storeId: this.#storeId,
      signingKeys,
      view: () => this.source,
      refresh: undefined,
    };
  }

  /**
   * Keeps the store from being closed until the returned function is called.
   *
   * @param name who it is, for the one who wants to close it.
   * @param onGone called when it is closed all the same, by `using`.
   * @throws {StoreClosedError} when it is closed already.
   * @internal
   */
  hold(name: string, onGone: () => void): () => void {
    if (this.closed) throw new StoreClosedError(`begin ${name}`);
    return this.holders.add(name, onGone);
  }

  /**
   * Refuses what nobody may be in the way of.
   *
   * @throws {StoreInUseError} naming who holds the store.
   *
   * @internal
   */
  assertNotHeld(action: string): void {
    this.holders.assertNone(action);
  }

  /**
   * Lets go of files and locks. Reads fail afterwards; a second call does nothing.
   *
   * @throws {StoreInUseError} while workers follow the store: stop and join them first.
   */
  abstract close(): void;

  /** As {@linkcode close}, and never refused: workers that follow the store are told to stop. */
  abstract [Symbol.dispose](): void;

  /**
   * The receipt of a row, as it was first given.
   *
   * @internal
   */
  protected receiptOf(row: number): Receipt {
    const event = this.#eventAt(row);
    const { segmentId, offset, size } = event.position;
    return new Receipt(
      this.#storeId,
      event.headerBytes,
      undefined,
      segmentId,
      offset,
      size,
      this.options.signingKeys.at(-1),
      true,
    );
  }

  /** Whether a frame can have been where a receipt says. Compaction moves frames within its segments. */
  #isPlausible({ globalSequence, position: found }: StoredEvent, claimed: LogPosition): boolean {
    const { log, firstSequence } = this.source;
    const segment = log.segments[log.segmentIndexOf(globalSequence - firstSequence)];
    if (segment.merge !== undefined) {
      return claimed.segmentId >= segment.id && claimed.segmentId <= lastIdOf(segment);
    }
    return found.segmentId === claimed.segmentId && found.offset === claimed.offset &&
      found.size === claimed.size;
  }

  #rangeOf(
    options: EventsOptions,
  ): RowRange & {
    readonly reverse: boolean;
    readonly limit: number;
    readonly firstSequence: number;
  } {
    assertKnownKeys("query", options, EVENTS_OPTIONS);
    const { after, before, limit = Infinity, reverse = false } = options;
    // An `after` of -1 is in front of everything: what a caller who counts from there has read.
    for (const [name, bound, min] of [["after", after, -1], ["before", before, 0]] as const) {
      if (bound !== undefined && !(Number.isInteger(bound) && bound >= min)) {
        throw new RangeError(
          `Cannot query with ${name} ${bound}: give a whole number, at least ${min}`,
        );
      }
    }
    assertLimit("query", limit);
    const { firstSequence, index } = this.source;
    return {
      start: after === undefined
        ? index.firstRow
        : Math.max(index.firstRow, after + 1 - firstSequence),
      end: before === undefined
        ? index.visibleCount
        : Math.min(index.visibleCount, Math.max(0, before - firstSequence)),
      reverse,
      limit,
      firstSequence,
    };
  }

  #eventAt(row: number): StoredEvent {
    return new StoredEvent(this.source, row + this.source.firstSequence);
  }

  #index(action: string): EventIndex {
    if (this.closed) throw new StoreClosedError(action);
    return this.source.index;
  }
}

/** Where the store puts its own events. */
export const LIFECYCLE_COORDINATE: Coordinate = Coordinate.of("batpak:store", "batpak:lifecycle");

const EVENTS_OPTIONS: ReadonlySet<string> = new Set(["after", "before", "limit", "reverse"]);

printAs(JournalReader, ({ dir, storeId }) => ({ dir, storeId }));

/** The row of an id given as text. In Deno an array for each would cost more than the search. */
function findEvent(index: EventIndex, eventId: string): number {
  parseIdInto(eventId, idScratch, 0);
  return findVisible(index, idScratch);
}

/** The row of an id, unless no reader may see it. */
function findVisible(index: EventIndex, id: Uint8Array): number {
  const row = index.findId(id, 0);
  return row !== ROW_NONE && index.isHidden(row) ? ROW_NONE : row;
}

function idOf(index: EventIndex, row: number): EventId {
  return formatId(index.idBytesOf(row), index.idStartOf(row));
}

/** How many entities have an event. After a prune in this handle the index counts those that had one. */
function entityCountOf(index: EventIndex): number {
  const { firstRow, entities } = index;
  if (firstRow === 0) return index.entityCount;
  let count = 0;
  for (let entity = 0; entity < entities.count; entity++) {
    if (index.byEntity.last(entity) >= firstRow) count++;
  }
  return count;
}

/** How many events have left queries. After a prune in this handle the index counts those that had. */
function retiredCountOf(index: EventIndex): number {
  const { firstRow, retiredCount } = index;
  if (firstRow === 0 || retiredCount === 0) return retiredCount;
  let count = 0;
  for (let row = firstRow; row < index.count; row++) if (index.isRetired(row)) count++;
  return count;
}

/** Bytes of the files of a journal. One that goes while it is looked at has none. */
function diskBytesOf(fs: StoreFs, dir: string): number {
  const quarantine = `${dir}/${QUARANTINE_NAME}`;
  let bytes = 0;
  for (const folder of fs.stat(quarantine)?.kind === "dir" ? [dir, quarantine] : [dir]) {
    for (const { name, kind } of fs.list(folder)) {
      if (kind === "file") bytes += fs.stat(`${folder}/${name}`)?.size ?? 0;
    }
  }
  return bytes;
}

const idScratch = new Uint8Array(ID_SIZE);

function assertLimit(action: string, limit: number): void {
  if (limit === Infinity || (Number.isInteger(limit) && limit >= 0)) return;
  throw new RangeError(`Cannot ${action} with limit ${limit}: give a whole number, at least 0`);
}

function assertReceipt(receipt: unknown): void {
  if (receipt instanceof Receipt) return;
  throw new TypeError("Cannot verify what is not a Receipt: read it with Receipt.fromClaim()");
}

function* eventsOf(
  source: EventSource,
  walk: {
    readonly rows: Iterable<number>;
    readonly isWanted: (row: number) => boolean;
    readonly limit: number;
    /** As it was when the walk was asked for: a reader may begin anew meanwhile. */
    readonly firstSequence: number;
  },
): IterableIterator<StoredEvent> {
  const { rows, isWanted, limit, firstSequence } = walk;
  if (limit === 0) return;
  let count = 0;
  for (const row of rows) {
    if (!isWanted(row)) continue;
    yield new StoredEvent(source, row + firstSequence);
    if (++count >= limit) return;
  }
}

function extensionsEqual(
  a: Readonly<Record<string, Uint8Array>>,
  b: Readonly<Record<string, Uint8Array>>,
): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length &&
    keys.every((key) => bytesEqual(a[key], b[key] ?? NO_BYTES));
}
