/**
 * Gaps: what a cursor can say about sequences it went past because a fence was cancelled.
 *
 * @module
 */

import { assertKnownKeys } from "./assert.ts";

/** Whether a cursor keeps what it learns about cancelled fences, and how much of it. */
export type CursorGapConfig =
  | {
    /** Nothing is kept: the default. */
    readonly kind: "disabled";
  }
  | {
    /** Kept until {@linkcode Cursor.takeGaps} takes it. */
    readonly kind: "enabled";
    /** As many observations, at least 1; another one takes the place of the oldest. */
    readonly capacity: number;
  };

/** Sequences from `start` up to but not including `end`. */
export interface SequenceRange {
  /** The first. */
  readonly start: number;
  /** The one behind the last. */
  readonly end: number;
}

/** That cancelled fences lie between an event and the one that a cursor gave before it. */
export interface GapObservation {
  /** The sequence that would have been next. */
  readonly expectedSequence: number;
  /** The sequence that came. */
  readonly deliveredSequence: number;
  /**
   * What fences hid between the two, as far as it lies there. With a region of one lane, what of that is
   * of the lane follows behind.
   */
  readonly cancelledRanges: readonly SequenceRange[];
}

/**
 * Adds to `found` what `ranges`, which are ascending and apart, have in common with the sequences from
 * `start` up to but not including `end`. Ranges that only touch have nothing in common.
 *
 * @internal
 */
export function addIntersections(
  found: SequenceRange[],
  ranges: readonly SequenceRange[],
  start: number,
  end: number,
  offset = 0,
): void {
  // The first range that ends behind the start.
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ranges[middle].end + offset > start) high = middle;
    else low = middle + 1;
  }
  for (let i = low; i < ranges.length && ranges[i].start + offset < end; i++) {
    const from = Math.max(start, ranges[i].start + offset);
    const to = Math.min(end, ranges[i].end + offset);
    if (from < to) found.push({ start: from, end: to });
  }
}

/**
 * The newest observations, up to a capacity.
 *
 * @internal
 */
export class GapBuffer {
  readonly #capacity: number;
  /** A ring: the oldest stands at `#oldest` once it is full. */
  #kept: GapObservation[] = [];
  #oldest = 0;

  /** @param config 0 kept when it is disabled. */
  constructor(config: CursorGapConfig) {
    this.#capacity = capacityOf(config);
  }

  /** Whether anything is kept. */
  get isEnabled(): boolean {
    return this.#capacity > 0;
  }

  /** Keeps one more, and lets go of the oldest when there are too many. */
  push(observation: GapObservation): void {
    if (this.#kept.length < this.#capacity) {
      this.#kept.push(observation);
    } else if (this.#capacity > 0) {
      this.#kept[this.#oldest] = observation;
      this.#oldest = (this.#oldest + 1) % this.#capacity;
    }
  }

  /** All of them, oldest first; afterwards there are none. */
  take(): GapObservation[] {
    const kept = [...this.#kept.slice(this.#oldest), ...this.#kept.slice(0, this.#oldest)];
    this.#kept = [];
    this.#oldest = 0;
    return kept;
  }
}

function capacityOf(config: CursorGapConfig): number {
  if (config.kind === "disabled") return 0;
  if (config.kind !== "enabled") {
    throw new TypeError('Cannot follow with these gaps: "kind" is "enabled" or "disabled"');
  }
  assertKnownKeys("observe gaps", config, new Set(["kind", "capacity"]));
  const { capacity } = config;
  if (Number.isSafeInteger(capacity) && capacity >= 1) return capacity;
  throw new RangeError(
    `Cannot keep ${capacity} gap observations: give a whole number, at least 1, or disable them`,
  );
}
