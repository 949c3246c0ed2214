/**
 * Time that moves only when a simulation says so.
 *
 * @module
 */

import type { Clock } from "../platform/clock.ts";

/** When simulated time begins, in microseconds since the epoch: in the year 2033. */
export const SIM_START_US = 2_000_000_000_000_000;

/** A clock that a simulation moves. The wall may jump and stand still; the monotonic time never goes back. */
export class SimClock implements Clock {
  #wallUs: number;
  #monotonicUs = 0;
  #bootId: string;
  #bootCount = 1;
  #script: number[] = [];

  /** @param startUs what the wall shows first. */
  constructor(startUs: number = SIM_START_US) {
    this.#wallUs = startUs;
    this.#bootId = "sim-boot-1";
  }

  /** Names the run of the machine; see {@linkcode reboot}. */
  get bootId(): string {
    return this.#bootId;
  }

  /** What the wall shows. Takes the next step of the script first, when there is one. */
  nowUs(): number {
    const stepUs = this.#script.shift();
    if (stepUs !== undefined) {
      this.#wallUs += stepUs;
      if (stepUs > 0) this.#monotonicUs += stepUs;
    }
    return this.#wallUs;
  }

  /** Microseconds since the boot. */
  monotonicUs(): number {
    return this.#monotonicUs;
  }

  /** Lets time pass; less than nothing counts as nothing. Returns what the wall shows then. */
  advance(us: number): number {
    if (us > 0) {
      this.#wallUs += us;
      this.#monotonicUs += us;
    }
    return this.#wallUs;
  }

  /** Somebody sets the wall clock, forwards or back. No time passes. */
  jump(us: number): void {
    this.#wallUs += us;
  }

  /**
   * What the next looks at the wall will show, each as microseconds since the look before: 0 is a clock that
   * stands still, less is one that was set back. After the last it goes on as usual.
   */
  script(stepsUs: readonly number[]): void {
    this.#script = [...stepsUs];
  }

  /** The machine starts again: the monotonic time begins anew, under another name. The wall goes on. */
  reboot(): void {
    this.#bootId = `sim-boot-${++this.#bootCount}`;
    this.#monotonicUs = 0;
  }
}
