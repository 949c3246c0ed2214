/**
 * Cursors: an ordered pull over the visible events of a region, for as long as the journal grows.
 *
 * The promise, which everything that delivers events is built on: a cursor gives every visible event of
 * its region exactly once, in commit order, those included that are appended after it was made. Its place
 * is a sequence, and sequences never change, so segments may roll, be compacted or pruned under it, and
 * a reader may read its journal anew.
 *
 * A cursor keeps its place only in memory, and never writes. `bindCursor()` keeps it on disk.
 *
 * @module
 */

import type { Clock } from "../platform/clock.ts";
import type { StoreFs } from "../platform/fs.ts";
import type { Scheduler } from "../platform/scheduler.ts";
import { assertKnownKeys, assertUint } from "./assert.ts";
import { addIntersections, type CursorGapConfig, GapBuffer } from "./cursor_gaps.ts";
import type { GapObservation, SequenceRange } from "./cursor_gaps.ts";
import { StoreClosedError } from "./errors.ts";
import { RegionWalk } from "./index/region_walk.ts";
import { printAs } from "./print.ts";
import type { Region } from "./region.ts";
import type { Signal } from "./signal.ts";
import { type EventSource, StoredEvent } from "./stored_event.ts";

/** How far a cursor has come. */
export interface CursorPosition {
  /** The sequence of the last event it gave; 0 when it has not started. */
  readonly position: number;
  /** Whether it has given any. Sequence 0 is an event, so the position alone could not say. */
  readonly started: boolean;
}

/** Nothing, one event, or several: what a pull gives. */
export type CanalBatch<T> =
  | {
    /** Nothing came in the time there was. */
    readonly kind: "empty";
  }
  | {
    /** Exactly one. */
    readonly kind: "one";
    /** It. */
    readonly item: T;
  }
  | {
    /** At least two. */
    readonly kind: "many";
    /** They, in order. */
    readonly items: readonly T[];
  };

/** Where a cursor starts, and what it keeps. */
export interface CursorOptions {
  /** Where another one was. Default: in front of everything. */
  readonly from?: CursorPosition;
  /** Whether holes that cancelled fences left are observed. Default: they are not. */
  readonly gaps?: CursorGapConfig;
  /**
   * How long a cursor of a reader waits, at first, before it looks again for what the writer in another
   * process has appended; each time in vain doubles it. In milliseconds, above 0. Default 1. A cursor of
   * a writer is told, and never looks.
   */
  readonly refreshMinMs?: number;
  /** The longest of these waits. Default 50, or `refreshMinMs` when that is more. */
  readonly refreshMaxMs?: number;
}

/** How long to wait, and what ends it early. */
export interface PullOptions {
  /** At least 0; `Infinity` waits for ever. */
  readonly timeoutMs: number;
  /** Ends the wait. */
  readonly signal?: AbortSignal;
}

/**
 * What a cursor, and whatever is built on it, needs of the journal it follows.
 *
 * @internal
 */
export interface CursorHost {
  readonly dir: string;
  readonly fs: StoreFs;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly source: EventSource;
  /** Raised when more has become visible, woken at the close. */
  readonly visibility: Signal;
  isClosed(): boolean;
  /** Takes in what another process has appended; a writer need not look. */
  readonly refresh: (() => number) | undefined;
  /** Makes the event with this sequence, and those before it, survive a power cut. */
  makeDurable(sequence: number): void;
}

const START: CursorPosition = Object.freeze({ position: 0, started: false });
const CURSOR_OPTIONS: ReadonlySet<string> = new Set([
  "from",
  "gaps",
  "refreshMinMs",
  "refreshMaxMs",
]);

/**
 * An ordered pull over the visible events of a region; made by {@linkcode JournalReader.cursor}. Several
 * cursors know nothing of one another.
 *
 * @example Read what is there, and then what comes
 * ```ts
 * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * using store = Store.open("journal", { fs: new MemoryFs() });
 * const user = { entity: "user:1", scope: "app" };
 * const cursor = store.cursor({ entity: "user" });
 * assert.equal(cursor.poll(), undefined);
 *
 * for (const n of [1, 2, 3]) store.append(user, EventKind.DATA, { n });
 * assert.deepEqual(cursor.pollBatch(2).map((event) => event.payload), [{ n: 1 }, { n: 2 }]);
 * assert.deepEqual(cursor.poll()?.payload, { n: 3 });
 * assert.deepEqual(cursor.position, { position: 3, started: true });
 * ```
 */
export class Cursor {
  /** Which events it gives. */
  readonly region: Region;
  readonly #host: CursorHost;
  readonly #gaps: GapBuffer;
  readonly #refreshMinMs: number;
  readonly #refreshMaxMs: number;
  #position: CursorPosition = START;
  /** The position's own numbers, without an object for each event. */
  #last = 0;
  #started = false;
  /** Sequences below this have been gone past. */
  #next = 0;
  #walk: RegionWalk | undefined;
  /** Rows of the batch being taken. */
  readonly #rows: number[] = [];
  /** How many retractions it has heeded. */
  #retractionsSeen: number;

  /**
   * Made by a store.
   *
   * @internal
   */
  constructor(host: CursorHost, region: Region, options: CursorOptions = {}) {
    assertKnownKeys("follow", options, CURSOR_OPTIONS);
    const { from, gaps = { kind: "disabled" }, refreshMinMs = 1 } = options;
    const { refreshMaxMs = Math.max(50, refreshMinMs) } = options;
    if (!(refreshMinMs > 0 && refreshMaxMs >= refreshMinMs)) {
      throw new RangeError(
        `Cannot wait ${refreshMinMs} to ${refreshMaxMs} ms between two looks: give a range above 0`,
      );
    }
    this.region = region;
    this.#host = host;
    this.#retractionsSeen = host.source.retractions.length;
    this.#gaps = new GapBuffer(gaps);
    this.#refreshMinMs = refreshMinMs;
    this.#refreshMaxMs = refreshMaxMs;
    if (from !== undefined) this.restore(from);
  }

  /** How far it has come. */
  get position(): CursorPosition {
    this.#heedRetractions();
    const { position, started } = this.#position;
    if (position !== this.#last || started !== this.#started) {
      this.#position = Object.freeze({ position: this.#last, started: this.#started });
    }
    return this.#position;
  }

  /**
   * The next event, or `undefined` when there is none so far. Never waits.
   *
   * @throws {StoreClosedError} when the store has been closed.
   */
  poll(): StoredEvent | undefined {
    return this.pollBatch(1)[0];
  }

  /**
   * The next events, at most `max`, in commit order; none when there are none so far. Never waits.
   *
   * @throws {RangeError} when `max` is no whole number of at least 0.
   * @throws {StoreClosedError} when the store has been closed.
   */
  pollBatch(max: number): StoredEvent[] {
    const { source } = this.#host;
    const rows = this.#takeRows(max);
    const { firstSequence } = source;
    const events: StoredEvent[] = [];
    for (let i = 0; i < rows.length; i++) {
      events.push(new StoredEvent(source, rows[i] + firstSequence));
    }
    return events;
  }

  /**
   * As {@linkcode pollBatch}, only the sequences: for somebody in another realm who reads for himself.
   *
   * @internal
   */
  pollSequences(max: number): number[] {
    const rows = this.#takeRows(max);
    const { firstSequence } = this.#host.source;
    return rows.map((row) => row + firstSequence);
  }

  /**
   * The next events, at most `max`; waits up to `timeoutMs` until there is one. Does not wait for more
   * than one, and at once gives nothing when `max` is 0.
   *
   * A cursor of a reader looks for what the writer has appended, with growing pauses: up to
   * `refreshMaxMs` may pass before an event is seen.
   *
   * @throws {RangeError} when `max` is no whole number of at least 0, or `timeoutMs` is no time.
   * @throws {StoreClosedError} when the store has been closed, also while waiting.
   * @throws {JournalChangingError} of a reader, as {@linkcode ReadOnlyStore.refresh}. Nothing is lost.
   * @throws the reason of `signal` when it aborts. No event is lost: the next pull gives it.
   */
  async pullBatch(max: number, options: PullOptions): Promise<CanalBatch<StoredEvent>> {
    const { timeoutMs, signal } = options;
    if (!(timeoutMs >= 0)) {
      throw new RangeError(`Cannot wait ${timeoutMs} ms: give a time of at least 0`);
    }
    const { clock, refresh, scheduler, visibility } = this.#host;
    const deadlineMs = clock.monotonicUs() / 1000 + timeoutMs;
    for (let pauseMs = this.#refreshMinMs;; pauseMs = Math.min(pauseMs * 2, this.#refreshMaxMs)) {
      signal?.throwIfAborted();
      // Taken before the look: what becomes visible after the look is not slept through.
      const seen = visibility.count;
      let events = this.pollBatch(max);
      if (events.length === 0 && max > 0 && refresh !== undefined && refresh() > 0) {
        events = this.pollBatch(max);
      }
      if (events.length > 1) return { kind: "many", items: events };
      if (events.length === 1) return { kind: "one", item: events[0] };
      const leftMs = deadlineMs - clock.monotonicUs() / 1000;
      if (max === 0 || !(leftMs > 0)) return { kind: "empty" };
      const waitMs = refresh === undefined ? leftMs : Math.min(leftMs, pauseMs);
      await visibility.park(seen, waitMs, { scheduler, signal });
    }
  }

  /**
   * Batches of at most `max` events, none of them empty, for as long as the store is open. Ends when
   * `signal` aborts, and loses nothing: the next pull goes on behind the last batch that was given.
   *
   * @throws {RangeError} when `max` is no whole number of at least 1.
   * @throws as {@linkcode pullBatch}.
   *
   * @example Everything that happens to orders
   * ```ts
   * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
   * import assert from "node:assert/strict";
   *
   * using store = Store.open("journal", { fs: new MemoryFs() });
   * store.append({ entity: "order:1", scope: "shop" }, EventKind.DATA, "placed");
   *
   * const seen: unknown[] = [];
   * for await (const batch of store.cursor({ entity: "order" }).batches({ max: 100 })) {
   *   for (const event of batch) seen.push(event.payload);
   *   if (seen.length === 2) break;
   *   store.append({ entity: "order:1", scope: "shop" }, EventKind.DATA, "shipped");
   * }
   * assert.deepEqual(seen, ["placed", "shipped"]);
   * ```
   */
  async *batches(
    options: { readonly max: number; readonly signal?: AbortSignal },
  ): AsyncIterableIterator<readonly StoredEvent[]> {
    const { max, signal } = options;
    if (max === 0) throw new RangeError("Cannot take batches of 0 events: give at least 1");
    while (!isAborted(signal)) {
      let batch: CanalBatch<StoredEvent>;
      try {
        batch = await this.pullBatch(max, { timeoutMs: Infinity, signal });
      } catch (error) {
        if (isAborted(signal) && error === signal?.reason) return;
        throw error;
      }
      if (batch.kind === "many") yield batch.items;
      else if (batch.kind === "one") yield [batch.item];
    }
  }

  /** The gaps observed since the last call, oldest first; none when they are not enabled. */
  takeGaps(): GapObservation[] {
    return this.#gaps.take();
  }

  /**
   * Goes to where a cursor was: forth or back. The next event is the first one behind.
   *
   * @throws {RangeError} when it is no position, or lies behind the end of the journal: going on from
   * there would skip what is appended next.
   */
  restore(position: CursorPosition): void {
    const { position: last, started } = position;
    const isPosition = Number.isSafeInteger(last) && last >= 0 && typeof started === "boolean" &&
      (started || last === 0);
    if (!isPosition) {
      throw new RangeError(
        `Cannot go to position ${last}, started ${started}: give what a cursor said`,
      );
    }
    if (started && last >= this.#endSequence) {
      this.#host.refresh?.();
      if (last >= this.#endSequence) {
        throw new RangeError(
          `Cannot go to position ${last}: the journal ends before sequence ${this.#endSequence}`,
        );
      }
    }
    this.#goTo(position);
  }

  #goTo({ position, started }: CursorPosition): void {
    this.#last = position;
    this.#started = started;
    this.#next = started ? position + 1 : 0;
    this.#retractionsSeen = this.#host.source.retractions.length;
  }

  /** Goes back to where the writer has taken events back: others stand there now, or will. */
  #heedRetractions(): void {
    const { retractions } = this.#host.source;
    if (this.#retractionsSeen === retractions.length) return;
    // It may have gone past more than it has given.
    const next = { position: this.#next - 1, started: this.#next > 0 };
    const { position, started } = withoutRetracted(next, retractions, this.#retractionsSeen);
    this.#next = started ? position + 1 : 0;
    if (this.#started && this.#last >= this.#next) {
      this.#last = started ? position : 0;
      this.#started = started;
    }
    this.#retractionsSeen = retractions.length;
  }

  get #endSequence(): number {
    const { firstSequence, index } = this.#host.source;
    // What a fence has staged may be seen one day, and would be skipped.
    return firstSequence + index.visibleCount;
  }

  /** The rows of the next events, and goes past them. The list is used again for the next ones. */
  #takeRows(max: number): number[] {
    assertUint("max", max, Number.MAX_SAFE_INTEGER);
    if (this.#host.isClosed()) throw new StoreClosedError("follow events");
    this.#heedRetractions();
    const { source } = this.#host;
    const { index, firstSequence } = source;
    // A reader that has read its journal anew has another index.
    let walk = this.#walk;
    if (walk?.index !== index) this.#walk = walk = new RegionWalk(index, this.region);
    const rows = this.#rows;
    const start = Math.max(index.firstRow, this.#next - firstSequence);
    const next = walk.take(start, index.visibleCount, max, rows);
    this.#next = Math.max(this.#next, next + firstSequence);
    if (rows.length === 0) return rows;
    if (this.#gaps.isEnabled) this.#observe(rows, firstSequence);
    this.#last = rows[rows.length - 1] + firstSequence;
    this.#started = true;
    return rows;
  }

  /** Notes which of the sequences between two events a cancelled fence hides. */
  #observe(rows: readonly number[], firstSequence: number): void {
    const cancelled = this.#host.source.index.cancelledRanges();
    if (cancelled.length === 0) return;
    let expected = this.#started ? this.#last + 1 : 0;
    for (const row of rows) {
      const delivered = row + firstSequence;
      if (delivered > expected) {
        const cancelledRanges: SequenceRange[] = [];
        addIntersections(cancelledRanges, cancelled, expected, delivered, firstSequence);
        const { length } = cancelledRanges;
        for (let i = 0; i < length; i++) this.#addOfLane(cancelledRanges, cancelledRanges[i]);
        if (length > 0) {
          this.#gaps.push({
            expectedSequence: expected,
            deliveredSequence: delivered,
            cancelledRanges,
          });
        }
      }
      expected = delivered + 1;
    }
  }

  /** Adds what of a cancelled range is of the region's lane, when it has one. */
  #addOfLane(found: SequenceRange[], { start, end }: SequenceRange): void {
    const { lane } = this.region;
    if (lane === undefined) return;
    const { index, firstSequence } = this.#host.source;
    let from = -1;
    for (let sequence = start; sequence <= end; sequence++) {
      const row = sequence - firstSequence;
      const isOfLane = sequence < end && index.laneOf(index.chainOf(row)) === lane;
      if (isOfLane && from < 0) from = sequence;
      if (!isOfLane && from >= 0) {
        found.push({ start: from, end: sequence });
        from = -1;
      }
    }
  }
}

/**
 * Where a position is left when some of what is in front of it has been taken back.
 *
 * @param seen how many retractions there were when the position was taken.
 * @internal
 */
export function withoutRetracted(
  position: CursorPosition,
  retractions: readonly number[],
  seen: number,
): CursorPosition {
  let next = position.started ? position.position + 1 : 0;
  for (let i = seen; i < retractions.length; i++) next = Math.min(next, retractions[i]);
  if (position.started && next === position.position + 1) return position;
  return next === 0 ? START : { position: next - 1, started: true };
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

printAs(Cursor, ({ region, position }) => ({ region: region.identity(), ...position }));
