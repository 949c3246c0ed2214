/**
 * Which events a compaction leaves without their payload: a rule is asked about every event of the sealed
 * segments, in steps of bounded work. Nothing is changed here.
 *
 * @module
 */

import { assert, assertKnownKeys, assertUint } from "../assert.ts";
import { STATE_PRESENT, STATE_RETIRED } from "../index/event_index.ts";
import { EventKind } from "../event_kind.ts";
import { erasedFrameSize, timestampOf } from "../frame.ts";
import { Region, type RegionLike } from "../region.ts";
import { rowsOf } from "../index/region_query.ts";
import { type EventSource, StoredEvent } from "../stored_event.ts";

/**
 * Which events keep their payload: a function that is asked about each and says so, or limits. The
 * function may look at everything an event has; of one that was erased before, the payload is `undefined`.
 */
export type RetentionRule = ((event: StoredEvent) => boolean) | RetentionLimits;

/**
 * How much is kept, at least one limit. An event keeps its payload when every limit that is given leaves
 * room for it, counted from the newest.
 */
export interface RetentionLimits {
  /** Events at most this old, in microseconds by the store's clock. */
  readonly maxAgeUs?: number;
  /** At most this many events. */
  readonly maxCount?: number;
  /** As many of the newest as have at most this many bytes in the log. */
  readonly maxBytes?: number;
  /** The events that the limits are about; others keep their payload. Default: all but the store's own. */
  readonly region?: RegionLike;
}

/** A set of rows, a bit for each. */
export class RowSet {
  /** How many rows are in it. */
  count = 0;
  readonly #start: number;
  readonly #bits: Uint8Array;

  /** Rows from `start` up to `end` may be added. */
  constructor(start: number, end: number) {
    this.#start = start;
    this.#bits = new Uint8Array((end - start + 7) >>> 3);
  }

  /** Adds a row that is not in it. */
  add(row: number): void {
    const at = row - this.#start;
    this.#bits[at >>> 3] |= 1 << (at & 7);
    this.count++;
  }

  /** Whether a row is in it. */
  has(row: number): boolean {
    const at = row - this.#start;
    return (this.#bits[at >>> 3] & (1 << (at & 7))) !== 0;
  }
}

/** The caller's rule failed. Its error is the `cause`. */
export class RuleFailure extends Error {
  /** The class, for messages and logs. */
  override readonly name = "RuleFailure";
}

/** A rule that has been checked. */
export type CompiledRule =
  | { readonly type: "predicate"; readonly keep: (event: StoredEvent) => boolean }
  | {
    readonly type: "limits";
    readonly maxAgeUs: number;
    readonly maxCount: number;
    readonly maxBytes: number;
    readonly region: Region;
  };

/**
 * Checks a rule.
 *
 * @throws {TypeError} when it is none, or limits nothing.
 * @throws {RangeError} when a limit is no whole number of at least 0.
 * @throws {RegionError} when its region is not one.
 */
export function compileRule(rule: RetentionRule): CompiledRule {
  if (typeof rule === "function") return { type: "predicate", keep: rule };
  if (typeof rule !== "object" || rule === null) {
    throw new TypeError("Cannot compact by this rule: give a function or limits");
  }
  assertKnownKeys("compact", rule, LIMITS);
  const { maxAgeUs, maxCount, maxBytes, region } = rule;
  if (maxAgeUs === undefined && maxCount === undefined && maxBytes === undefined) {
    throw new TypeError(
      "Cannot compact by a rule without a limit: give maxAgeUs, maxCount or maxBytes",
    );
  }
  const limit = (name: string, value: number | undefined) =>
    value === undefined ? Infinity : assertUint(name, value, Number.MAX_SAFE_INTEGER);
  return {
    type: "limits",
    maxAgeUs: limit("maxAgeUs", maxAgeUs),
    maxCount: limit("maxCount", maxCount),
    maxBytes: limit("maxBytes", maxBytes),
    region: region === undefined ? Region.all() : Region.from(region),
  };
}

const LIMITS: ReadonlySet<string> = new Set(["maxAgeUs", "maxCount", "maxBytes", "region"]);

/** What {@linkcode judge} works on. */
export interface Judgement {
  readonly source: EventSource;
  readonly rule: CompiledRule;
  /** Whether the events are to leave queries too, which those without a payload may still have to. */
  readonly retires: boolean;
  /** The rows of the sealed segments. */
  readonly start: number;
  readonly end: number;
  /** Microseconds since 1970. */
  readonly nowUs: number;
  /** Work between two steps, in bytes of frames. */
  readonly stepMaxBytes: number;
  /** Called after the caller's code has run; throws when it has closed the store. */
  readonly assertOpen: () => void;
}

/** Rows looked at between two steps, when only the index is. */
const STEP_ROWS = 16_384;

/**
 * Finds the rows that are to lose their payload; yields after each bounded piece of work.
 *
 * The store's own events are never among them, nor is one that has lost all it can lose. Those of
 * cancelled fences always are. What an open fence has staged is not there yet: it counts for no limit, and
 * no rule is asked about it.
 *
 * @throws {RuleFailure} when the caller's function throws.
 */
export function* judge(judgement: Judgement): Generator<void, RowSet> {
  return judgement.rule.type === "predicate"
    ? yield* judgeOneByOne(judgement, judgement.rule.keep)
    : yield* judgeByLimits(judgement, judgement.rule);
}

function* judgeOneByOne(
  judgement: Judgement,
  keep: (event: StoredEvent) => boolean,
): Generator<void, RowSet> {
  const { source, start, end, stepMaxBytes, assertOpen } = judgement;
  const doomed = new RowSet(start, end);
  const visibleEnd = Math.min(end, source.index.visibleCount);
  let bytes = 0;
  for (let row = start; row < visibleEnd; row++) {
    if (!isEligible(judgement, row)) continue;
    // Nobody can read it any more, so nobody is asked.
    if (source.index.isCancelled(row)) {
      doomed.add(row);
      continue;
    }
    let isKept: boolean;
    try {
      isKept = keep(new StoredEvent(source, row + source.firstSequence));
    } catch (error) {
      assertOpen();
      const reason = error instanceof Error ? error.message : String(error);
      throw new RuleFailure(
        `the rule failed on the event at sequence ${row + source.firstSequence}: ${reason}`,
        { cause: error },
      );
    }
    assertOpen();
    if (typeof isKept !== "boolean") {
      throw new RuleFailure(
        `the rule says ${String(isKept)} about the event at sequence ${
          row + source.firstSequence
        }, where it should say true or false`,
      );
    }
    if (!isKept) doomed.add(row);
    bytes += frameSizeOf(source, row);
    if (bytes >= stepMaxBytes) {
      bytes = 0;
      yield;
    }
  }
  return doomed;
}

function* judgeByLimits(
  judgement: Judgement,
  rule: CompiledRule & { readonly type: "limits" },
): Generator<void, RowSet> {
  const { source, start, end, nowUs } = judgement;
  const { index } = source;
  const doomed = new RowSet(start, end);
  const firstYoungRow = rule.maxAgeUs === Infinity
    ? 0
    : findRowSince(source, start, nowUs - rule.maxAgeUs);
  for (const range of index.cancelledRanges()) {
    const last = Math.min(end, range.end);
    for (let row = Math.max(start, range.start); row < last; row++) {
      if (isEligible(judgement, row)) doomed.add(row);
    }
  }
  let isFull = false;
  let count = 0;
  let bytes = 0;
  let looked = 0;
  const range = { start, end: index.visibleCount, reverse: true };
  for (const row of rowsOf(index, rule.region, range)) {
    if (++looked % STEP_ROWS === 0) yield;
    if (EventKind.isReserved(index.kindOf(row) as EventKind)) continue;
    if (!isFull) {
      count++;
      bytes += frameSizeOf(source, row);
      isFull = count > rule.maxCount || bytes > rule.maxBytes || row < firstYoungRow;
    }
    // The active segment is not compacted, but what is in it counts.
    if (isFull && row < end && isEligible(judgement, row)) doomed.add(row);
  }
  return doomed;
}

function isEligible({ source, retires }: Judgement, row: number): boolean {
  const { index } = source;
  if (EventKind.isReserved(index.kindOf(row) as EventKind)) return false;
  const state = index.stateOf(row);
  return retires ? state !== STATE_RETIRED : state === STATE_PRESENT;
}

/** The first row of an event that is not older than a time. Times never run backwards, so it is near. */
function findRowSince(source: EventSource, start: number, timeUs: number): number {
  let low = start;
  let high = source.index.count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const body = source.log.locate(middle);
    if (timestampOf(source.log.located, body) < timeUs) low = middle + 1;
    else high = middle;
  }
  return low;
}

function frameSizeOf({ index, log }: EventSource, row: number): number {
  return log.frameEndOf(row, log.segmentIndexOf(row)) - index.offsetOf(row);
}

/** How many bytes smaller the frames of each segment get; yields after each bounded piece of work. */
export function* measure(
  source: EventSource,
  doomed: RowSet,
  options: {
    /** Where each segment's rows start, and behind the last, where they end. */
    readonly bounds: readonly number[];
    readonly stepMaxBytes: number;
  },
): Generator<void, number[]> {
  const { bounds, stepMaxBytes } = options;
  const saved: number[] = [];
  let bytes = 0;
  for (let i = 0; i + 1 < bounds.length; i++) {
    let sum = 0;
    for (let row = bounds[i]; row < bounds[i + 1]; row++) {
      if (!doomed.has(row)) continue;
      const size = frameSizeOf(source, row);
      const body = source.log.locate(row);
      sum += size - erasedFrameSize(source.log.located, body);
      bytes += size;
      if (bytes >= stepMaxBytes) {
        bytes = 0;
        yield;
      }
    }
    assert(sum >= 0, "a frame without its payload is not larger");
    saved.push(sum);
  }
  return saved;
}
