/**
 * The event loop's own timers and turns.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import type { Cancel, Scheduler } from "./scheduler.ts";

/** The longest a timer of the event loop can take, in milliseconds: it counts with 31 bits. */
const DELAY_MS_MAX = 2 ** 31 - 1;

/** The scheduler of the running realm. */
export class SystemScheduler implements Scheduler {
  /** As {@linkcode Scheduler.delay}. A delay that is waiting keeps the program running. */
  delay(delayMs: number, callback: () => void): Cancel {
    const timer = setTimeout(callback, Math.min(DELAY_MS_MAX, Math.max(0, delayMs)));
    return () => clearTimeout(timer);
  }

  /** As {@linkcode Scheduler.turn}. */
  turn(): Promise<void> {
    return new Promise((resolve) => void setImmediate(resolve));
  }
}
