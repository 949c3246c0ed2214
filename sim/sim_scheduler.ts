/**
 * Waiting in simulated time: everything that asked to be called back later is called in an order that a seed
 * decides, one thing at a time.
 *
 * Between two calls the event loop gets a real turn, in which all promises that have become ready go
 * on. How long that takes makes no difference: nothing else happens meanwhile, and simulated time stands
 * still. So what happens, and in which order, depends on the seed alone, as long as everybody waits through
 * the scheduler and nobody for the real world.
 *
 * @module
 */

import { runtime } from "../platform/runtime.ts";
import type { Cancel, Scheduler } from "../platform/scheduler.ts";
import { SimClock } from "./sim_clock.ts";
import { SimRandom } from "./sim_random.ts";

/** How a simulation is scheduled. */
export interface SimSchedulerOptions {
  /** Decides the order. Default 0. */
  readonly seed?: number;
  /** The time that passes. Default a clock of its own. */
  readonly clock?: SimClock;
  /**
   * Who comes first of those whose time has come: `"random"`, the default, or `"fifo"`, who has waited
   * longest.
   */
  readonly order?: "random" | "fifo";
  /** A real turn of the event loop. Default that of the runtime. */
  readonly realTurn?: () => Promise<void>;
}

/** When a run ends. */
export interface SimRunOptions {
  /** So many calls and it is given up. Default 100,000. */
  readonly stepsMax?: number;
}

interface Waiting {
  readonly dueUs: number;
  readonly callback: () => void;
}

/** A delay longer than this counts as this: as with real timers. */
const DELAY_MS_MAX = 2 ** 31 - 1;

/** Nobody is left to wake whoever a run was waiting for. */
export class SimDeadlockError extends Error {
  /** Always `"SimDeadlockError"`. */
  override readonly name = "SimDeadlockError";
}

/** A scheduler on simulated time; see the top of the file. */
export class SimScheduler implements Scheduler {
  /** The time that passes. */
  readonly clock: SimClock;
  readonly #random: SimRandom;
  readonly #order: "random" | "fifo";
  readonly #realTurn: () => Promise<void>;
  #waiting: Waiting[] = [];
  #stepCount = 0;

  /** Nothing is waiting yet. */
  constructor(options: SimSchedulerOptions = {}) {
    this.clock = options.clock ?? new SimClock();
    this.#random = new SimRandom(options.seed ?? 0).stream("scheduler");
    this.#order = options.order ?? "random";
    this.#realTurn = options.realTurn ?? (() => runtime.scheduler.turn());
  }

  /** Calls so far. */
  get stepCount(): number {
    return this.#stepCount;
  }

  /** How many are waiting to be called. */
  get waitingCount(): number {
    return this.#waiting.length;
  }

  /** Calls back once so much simulated time has passed, and its turn has come. */
  delay(delayMs: number, callback: () => void): Cancel {
    const delayUs = Math.min(DELAY_MS_MAX, Math.max(0, delayMs)) * 1000;
    const waiting = { dueUs: this.clock.monotonicUs() + delayUs, callback };
    this.#waiting.push(waiting);
    return () => {
      const index = this.#waiting.indexOf(waiting);
      if (index !== -1) this.#waiting.splice(index, 1);
    };
  }

  /** Is fulfilled when its turn has come, without time passing. */
  turn(): Promise<void> {
    return new Promise((resolve) => void this.delay(0, resolve));
  }

  /**
   * Runs the simulation until something has happened, and returns what.
   *
   * @param until a promise to be settled, or a condition to be met.
   * @throws {SimDeadlockError} when nobody is waiting and it has not happened, or never will.
   */
  async run<T>(until: Promise<T> | (() => boolean), options: SimRunOptions = {}): Promise<T> {
    const { stepsMax = 100_000 } = options;
    let isSettled = false;
    const settled = () => void (isSettled = true);
    if (typeof until !== "function") until.then(settled, settled);
    const isDone = typeof until === "function" ? until : () => isSettled;
    for (let step = 0;; step++) {
      await this.#realTurn();
      if (isDone()) break;
      if (step === stepsMax) throw new SimDeadlockError(`Cannot go on: ${stepsMax} calls, no end`);
      if (!this.step()) {
        throw new SimDeadlockError("Cannot go on: nobody is waiting to be called back");
      }
    }
    return typeof until === "function" ? undefined as T : await until;
  }

  /** Makes one call, letting time pass until one is due; says whether there was one to make. */
  step(): boolean {
    if (this.#waiting.length === 0) return false;
    let nowUs = this.clock.monotonicUs();
    const firstUs = this.#waiting.reduce((first, { dueUs }) => Math.min(first, dueUs), Infinity);
    if (firstUs > nowUs) {
      this.clock.advance(firstUs - nowUs);
      nowUs = this.clock.monotonicUs();
    }
    const due = this.#waiting.filter(({ dueUs }) => dueUs <= nowUs);
    const chosen = this.#order === "fifo"
      ? due.reduce((first, next) => next.dueUs < first.dueUs ? next : first)
      : this.#random.pick(due);
    this.#waiting.splice(this.#waiting.indexOf(chosen), 1);
    this.#stepCount++;
    chosen.callback();
    return true;
  }
}
