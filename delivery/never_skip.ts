/**
 * The never-skip promise, as something that can be checked.
 *
 * > A consumer is given every visible event of its region, in commit order. It is given one again only
 * > after a restart, and only when it had not been committed. It is never given anything else.
 *
 * A {@linkcode NeverSkipChecker} is told what a consumer was given, what it committed and where it was
 * restarted, and compares that with the journal. It knows nothing of how the consumer works, so it can be
 * attached to any: a cursor, a worker, a program of one's own that reads from another process. The tests of
 * this library attach it to all of theirs.
 *
 * It keeps one bit for each sequence of the journal, so millions of events are no matter.
 *
 * @module
 */

import type { CursorPosition } from "../store/cursor.ts";
import { StoreError } from "../store/errors.ts";
import type { EventIndex } from "../store/index/event_index.ts";
import { RegionWalk } from "../store/index/region_walk.ts";
import type { JournalReader } from "../store/journal_reader.ts";
import { Region, type RegionLike } from "../store/region.ts";

/**
 * Which part of the promise was broken.
 *
 * - `"order"`: an event came after one with a higher sequence.
 * - `"repeated"`: an event came again that had been committed, or without a restart.
 * - `"committedAhead"`: something was committed that had not been given.
 * - `"skipped"`: an event of the region never came.
 * - `"foreign"`: an event came that is not of the region, or not in the journal.
 * - `"hidden"`: an event came that nobody may see: its fence was cancelled, or has not ended.
 */
export type NeverSkipRule =
  | "order"
  | "repeated"
  | "committedAhead"
  | "skipped"
  | "foreign"
  | "hidden";

/** A consumer was not given what it was promised. The rule and the first event say where to look. */
export class NeverSkipError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "NeverSkipError";
  /** Stable, for programs. */
  override readonly code = "NEVER_SKIP";
  /** Which part of the promise was broken. */
  readonly rule: NeverSkipRule;
  /** The first event that it was broken for. */
  readonly sequence: number;

  /**
   * Says what happened.
   *
   * @param rule which part was broken; `sequence` is of the first event, `reason` says how.
   */
  constructor(rule: NeverSkipRule, sequence: number, reason: string) {
    super(`Cannot vouch for the consumer (${rule}): sequence ${sequence} ${reason}`);
    this.rule = rule;
    this.sequence = sequence;
  }
}

/** What a consumer has been given so far. */
export interface NeverSkipReport {
  /** How many events were given, those that came again included. */
  readonly deliveredCount: number;
  /** How many of them came again after a restart. */
  readonly redeliveredCount: number;
  /** How often it was restarted. */
  readonly restartCount: number;
  /** Every sequence below this has been compared with the journal. */
  readonly checkedBelow: number;
}

/** As many rows are compared at a time. */
const ROWS_AT_ONCE = 4096;

/**
 * Watches over one consumer; see the top of the file. What can be seen at once throws at once, the rest at
 * the next {@linkcode check}. Afterwards it is of no more use.
 *
 * @example Watch over a consumer that leaves one out
 * ```ts
 * import { EventKind, MemoryFs, NeverSkipChecker, NeverSkipError, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * using store = Store.open("journal", { fs: new MemoryFs() });
 * for (const n of [1, 2, 3]) store.append({ entity: "order:1", scope: "shop" }, EventKind.DATA, n);
 * const region = { entity: "order" };
 *
 * const checker = new NeverSkipChecker();
 * const cursor = store.cursor(region);
 * checker.delivered(cursor.pollBatch(1));
 * cursor.poll(); // and forgets to handle it
 * checker.delivered(cursor.pollBatch(1));
 * assert.throws(
 *   () => checker.finish(store, region),
 *   (error) => error instanceof NeverSkipError && error.rule === "skipped" && error.sequence === 2,
 * );
 * ```
 */
export class NeverSkipChecker {
  readonly #given: SequenceSet;
  /** Where the consumer began. */
  readonly #from: number;
  /** The last sequence given since the last restart, or where that was; -1 in front of everything. */
  #last: number;
  #committed: number;
  #deliveredCount = 0;
  #redeliveredCount = 0;
  #restartCount = 0;
  /** The highest sequence ever given. */
  #highest: number;
  /** Sequences below this have been compared, for the region with this identity. */
  #checkedBelow: number;
  #checkedRegion: string | undefined;

  /**
   * Begins with a consumer that has been given nothing.
   *
   * @param options `from` is where it begins; default: in front of everything.
   */
  constructor(options: { readonly from?: CursorPosition } = {}) {
    const last = sequenceOf(options.from ?? { position: 0, started: false });
    this.#from =
      this.#last =
      this.#committed =
      this.#highest =
        last;
    this.#checkedBelow = last + 1;
    this.#given = new SequenceSet(last + 1);
  }

  /**
   * The consumer was given these events, in this order. To be told whether or not it handles them.
   *
   * @throws {NeverSkipError} when one is out of order, or came again and should not.
   */
  delivered(events: Iterable<{ readonly globalSequence: number }>): void {
    for (const { globalSequence } of events) this.#deliver(globalSequence);
  }

  /**
   * The consumer will go on behind this position when it is restarted: what a checkpoint says once it has
   * been written. A position that has not started is in front of everything.
   *
   * @throws {NeverSkipError} when it lies behind what was given.
   */
  committed(position: CursorPosition): void {
    const sequence = sequenceOf(position);
    if (sequence > this.#last) {
      throw new NeverSkipError(
        "committedAhead",
        sequence,
        `was committed, and the last one given is ${this.#last}`,
      );
    }
    this.#committed = Math.max(this.#committed, sequence);
  }

  /**
   * The consumer goes on behind this position: another process took over, or it was rolled back. What it
   * had been given behind the position has to come again. A position that nobody told of as committed
   * counts as committed now: the consumer died between writing it and saying so. What `loadCheckpoint`
   * returns can be handed in as it is.
   */
  restarted(position: CursorPosition = { position: 0, started: false }): void {
    this.#restartCount++;
    this.#last = sequenceOf(position);
    // What was committed does not come again, wherever it was restarted; the rest has to.
    this.#committed = Math.max(this.#committed, this.#last);
    this.#given.dropFrom(this.#committed + 1);
    this.#checkedBelow = Math.min(this.#checkedBelow, this.#committed + 1);
  }

  /**
   * A handler that does what `handler` does, and tells this checker what it is given.
   *
   * @param handler takes a batch of events first.
   */
  watching<
    Batch extends Iterable<{ readonly globalSequence: number }>,
    Rest extends unknown[],
    Result,
  >(handler: (batch: Batch, ...rest: Rest) => Result): (batch: Batch, ...rest: Rest) => Result {
    return (batch, ...rest) => {
      this.delivered(batch);
      return handler(batch, ...rest);
    };
  }

  /**
   * Compares what was given so far with the journal, up to the last event that was given. Only what has
   * come since the last check is looked at.
   *
   * Events that were pruned meanwhile are not compared; those that a retention took out of queries may
   * have been given, or not.
   *
   * @throws {NeverSkipError} at the first event that was left out, or should not have come.
   * @throws {StoreClosedError} when the store has been closed.
   */
  check(reader: JournalReader, region: RegionLike): NeverSkipReport {
    return this.#check(reader, Region.from(region), false);
  }

  /**
   * As {@linkcode check}, and the consumer has to have been given everything that is visible now.
   *
   * @throws as {@linkcode check}.
   */
  finish(reader: JournalReader, region: RegionLike): NeverSkipReport {
    return this.#check(reader, Region.from(region), true);
  }

  /** What the consumer has been given so far. */
  get report(): NeverSkipReport {
    return {
      deliveredCount: this.#deliveredCount,
      redeliveredCount: this.#redeliveredCount,
      restartCount: this.#restartCount,
      checkedBelow: this.#checkedBelow,
    };
  }

  #deliver(sequence: number): void {
    assertSequence(sequence);
    if (sequence <= this.#last || sequence <= this.#committed) {
      if (this.#given.has(sequence) || sequence <= this.#committed) {
        const reason = sequence <= this.#committed ? "and had been committed" : "without a restart";
        throw new NeverSkipError("repeated", sequence, `came again, ${reason}`);
      }
      throw new NeverSkipError("order", sequence, `came after sequence ${this.#last}`);
    }
    this.#given.add(sequence);
    this.#last = sequence;
    this.#deliveredCount++;
    if (sequence <= this.#highest) this.#redeliveredCount++;
    else this.#highest = sequence;
  }

  #check(reader: JournalReader, region: Region, isFinal: boolean): NeverSkipReport {
    const host = reader.cursorHost();
    const endOf = () => host.source.firstSequence + host.source.index.visibleCount;
    // It also refuses a store that has been closed. A reader may be behind the consumer.
    reader.cursor(region);
    if (isFinal || this.#last >= endOf()) host.refresh?.();
    const { index, firstSequence } = host.source;
    const identity = region.identity();
    if (this.#checkedRegion !== identity) {
      this.#checkedRegion = identity;
      this.#checkedBelow = this.#from + 1;
    }
    const start = Math.max(this.#checkedBelow, firstSequence + index.firstRow);
    const end = isFinal ? Math.max(endOf(), this.#last + 1) : this.#last + 1;
    const bound = Math.min(end, endOf());
    const walk = new RegionWalk(index, region, true);
    const rows: number[] = [];
    let compared = start;
    for (let at = start; at < bound;) {
      at = walk.take(at - firstSequence, bound - firstSequence, ROWS_AT_ONCE, rows) + firstSequence;
      for (const row of rows) {
        const sequence = row + firstSequence;
        this.#assertNoneGiven(index, firstSequence, compared, sequence);
        if (!this.#given.has(sequence) && !index.isRetired(row)) {
          throw new NeverSkipError("skipped", sequence, "is visible, and never came");
        }
        compared = sequence + 1;
      }
    }
    this.#assertNoneGiven(index, firstSequence, compared, end);
    this.#checkedBelow = Math.max(this.#checkedBelow, end);
    return this.report;
  }

  /** Refuses what was given of the sequences between two events of the region. */
  #assertNoneGiven(index: EventIndex, firstSequence: number, start: number, end: number): void {
    const sequence = start < end ? this.#given.next(start, end) : -1;
    if (sequence < 0) return;
    const row = sequence - firstSequence;
    if (row >= index.count) {
      throw new NeverSkipError("foreign", sequence, "came, and the journal does not have it");
    }
    if (row >= index.visibleCount || index.isHidden(row)) {
      throw new NeverSkipError("hidden", sequence, "came, and nobody may see it");
    }
    throw new NeverSkipError("foreign", sequence, "came, and is not of the region");
  }
}

/** Where a position stands; -1 in front of everything. */
function sequenceOf({ position, started }: CursorPosition): number {
  assertSequence(position);
  return started ? position : -1;
}

function assertSequence(sequence: number): void {
  if (Number.isSafeInteger(sequence) && sequence >= 0) return;
  throw new RangeError(`Cannot check sequence ${sequence}: give a whole number of at least 0`);
}

/** Sequences from a first one on, one bit each. */
class SequenceSet {
  /** The sequence of the first bit. */
  readonly #base: number;
  #words: Uint32Array = new Uint32Array(64);

  constructor(first: number) {
    this.#base = first - first % 32;
  }

  add(sequence: number): void {
    const bit = sequence - this.#base;
    const word = Math.floor(bit / 32);
    if (word >= this.#words.length) {
      const words = new Uint32Array(Math.max(this.#words.length * 2, word + 1));
      words.set(this.#words);
      this.#words = words;
    }
    this.#words[word] |= 1 << (bit % 32);
  }

  has(sequence: number): boolean {
    const bit = sequence - this.#base;
    const word = Math.floor(bit / 32);
    return bit >= 0 && word < this.#words.length && (this.#words[word] & (1 << (bit % 32))) !== 0;
  }

  /** Takes out this sequence and all behind it. */
  dropFrom(sequence: number): void {
    const bit = Math.max(0, sequence - this.#base);
    const word = Math.floor(bit / 32);
    if (word >= this.#words.length) return;
    this.#words[word] &= (1 << (bit % 32)) - 1;
    this.#words.fill(0, word + 1);
  }

  /** The first sequence of the set from `start` up to but not including `end`, or -1. */
  next(start: number, end: number): number {
    const words = this.#words;
    let bit = Math.max(0, start - this.#base);
    const endBit = Math.min(end - this.#base, words.length * 32);
    while (bit < endBit) {
      const rest = words[Math.floor(bit / 32)] >>> (bit % 32);
      if (rest === 0) {
        bit += 32 - bit % 32;
        continue;
      }
      bit += 31 - Math.clz32(rest & -rest);
      return bit < endBit ? bit + this.#base : -1;
    }
    return -1;
  }
}
