/**
 * The machine's time, in real microseconds.
 *
 * `Date.now()` follows the wall clock, in milliseconds. `performance.now()` counts finer than microseconds,
 * and knows nothing of corrections. So we count from an anchor, and look at the wall clock about once
 * a millisecond: when the two have drifted apart, somebody set the clock or the machine slept, and
 * the anchor moves. Looking every time would double the cost of a call.
 *
 * @module
 */
import type { Clock } from "./clock.ts";

/** A correction smaller than this, in microseconds, waits. `Date.now()` alone is off by up to 1,000. */
const DRIFT_US_MAX = 4_000;
/** How long a look at the wall clock is good for. */
const CHECK_INTERVAL_US = 1_000;

/**
 * The system clock. Follows corrections of the wall clock within about a millisecond of use, so `nowUs` may
 * step in either direction. Touches no ambient clock before its first use.
 */
export class SystemClock implements Clock {
  /** Wall time at which `performance.now()` was 0. */
  #anchorUs = NaN;
  /** When to look at the wall clock again, on the scale of `monotonicUs`. */
  #checkAtUs = -1;
  #bootId: string | undefined;

  /** Microseconds since the Unix epoch. */
  nowUs(): number {
    const elapsedUs = performance.now() * 1_000;
    if (elapsedUs >= this.#checkAtUs) this.#check(elapsedUs);
    return Math.floor(this.#anchorUs + elapsedUs);
  }

  /** Microseconds since this realm began. */
  monotonicUs(): number {
    return Math.floor(performance.now() * 1_000);
  }

  /**
   * A random name, made on first use. Realms of one process start at different moments, so each
   * has its own, and so does each `SystemClock`.
   */
  get bootId(): string {
    return this.#bootId ??= crypto.randomUUID();
  }

  #check(elapsedUs: number): void {
    this.#checkAtUs = elapsedUs + CHECK_INTERVAL_US;
    const wallUs = Date.now() * 1_000;
    if (Number.isNaN(this.#anchorUs)) this.#anchorUs = performance.timeOrigin * 1_000;
    const driftUs = wallUs - (this.#anchorUs + elapsedUs);
    if (Math.abs(driftUs) > DRIFT_US_MAX) this.#anchorUs = wallUs - elapsedUs;
  }
}

/**
 * Makes a {@linkcode Clock} of a function that says what time it is, and of nothing else: the monotonic
 * time is the highest value the function has returned so far.
 *
 * @param nowUs returns microseconds since the Unix epoch; negative values pass through
 * @param bootId the name of the monotonic epoch; say the same one again to continue it
 *
 * @example A clock that ticks once per question
 * ```ts
 * import { clockFrom } from "@batpak/batpak";
 * import { equal } from "node:assert/strict";
 *
 * let ticks = 0;
 * const clock = clockFrom(() => ++ticks);
 * equal(clock.nowUs(), 1);
 * equal(clock.nowUs(), 2);
 * ```
 */
export function clockFrom(nowUs: () => number, bootId = "clock-from-function"): Clock {
  let highestUs = -Infinity;
  return {
    nowUs,
    monotonicUs: () => highestUs = Math.max(highestUs, nowUs()),
    bootId,
  };
}
