/**
 * Chance that a seed repeats.
 *
 * @module
 */
import type { Entropy } from "../../platform/entropy.ts";

/** Pseudorandom numbers from a 32-bit seed (mulberry32); the same seed, the same numbers. */
export class SeededEntropy implements Entropy {
  #state: number;

  /** Any whole number will do. */
  constructor(seed = 1) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 up to but not including `end`. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * end);
  }

  /** Fills `target` completely. */
  fill(target: Uint8Array): void {
    for (let i = 0; i < target.byteLength; i++) target[i] = this.below(256);
  }

  /** That many bytes. */
  bytes(size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    this.fill(bytes);
    return bytes;
  }
}
