/**
 * Chance, as the store needs it: bytes nobody can guess, or, in a simulation, bytes that a seed
 * repeats exactly.
 *
 * @module
 */

/** A source of random bytes. */
export interface Entropy {
  /** Fills `target` completely. */
  fill(target: Uint8Array): void;
}
