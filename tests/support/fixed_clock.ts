/**
 * Time that moves only when a test says so.
 *
 * @module
 */
import type { Clock } from "../../platform/clock.ts";

/** A clock that steps by `stepUs` at each look, so that timestamps differ and are known. */
export class FixedClock implements Clock {
  /** Always `"test"`. */
  readonly bootId = "test";
  /** What the next look at the wall will say. */
  wallUs: number;
  /** How far each look moves the wall. */
  stepUs: number;
  #monotonicUs = 0;

  /** Starts on 14 November 2023, unless told otherwise. */
  constructor(wallUs = 1_700_000_000_000_000, stepUs = 1) {
    this.wallUs = wallUs;
    this.stepUs = stepUs;
  }

  /** The wall, which then moves on. */
  nowUs(): number {
    const nowUs = this.wallUs;
    this.wallUs += this.stepUs;
    return nowUs;
  }

  /** One microsecond later each time. */
  monotonicUs(): number {
    return this.#monotonicUs++;
  }
}
