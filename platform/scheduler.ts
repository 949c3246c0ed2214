/**
 * Waiting, as the library needs it. Whoever waits is handed a {@linkcode Scheduler}, so a simulation that
 * brings its own decides what happens meanwhile, and in which order.
 *
 * @module
 */

/** Calls off what was asked for. A second call, or one that comes too late, does nothing. */
export type Cancel = () => void;

/** A source of later. */
export interface Scheduler {
  /**
   * Calls back once, after at least so many milliseconds of real time, unless it is called off. Never
   * calls back before it returns.
   *
   * @param delayMs at least 0; more than 24 days count as 24 days.
   */
  delay(delayMs: number, callback: () => void): Cancel;
  /** Is fulfilled in a later turn of the event loop, after messages that were waiting have been delivered. */
  turn(): Promise<void>;
}
