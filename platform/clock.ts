/**
 * Time, as the store needs it: a wall clock for timestamps, a monotonic one for waiting, and a marker
 * that says which run of the machine's process a monotonic value belongs to.
 *
 * Everything that reaches disk, a receipt or a report comes from a {@linkcode Clock}, so a test that
 * brings its own clock brings all of time.
 *
 * @module
 */

/** A source of time. */
export interface Clock {
  /** Microseconds since the Unix epoch. May step backwards; the store clamps what it records. */
  nowUs(): number;
  /** Microseconds since some fixed point of this process; never goes backwards. */
  monotonicUs(): number;
  /**
   * Names the epoch of `monotonicUs`. Two monotonic values can only be compared when their boot ids
   * are equal.
   */
  readonly bootId: string;
}
