/**
 * The machine's randomness.
 *
 * @module
 */
import type { Entropy } from "./entropy.ts";

/** The most that `getRandomValues` fills in one call. */
const FILL_SIZE_MAX = 65_536;

/**
 * Cryptographically secure random bytes from the runtime. `getRandomValues` rather than `node:crypto`: 16
 * bytes cost the same in Deno (0.07 µs), and in Bun 0.02 µs instead of 0.55 µs.
 */
export class SystemEntropy implements Entropy {
  /**
   * Fills `target` completely, whatever its size.
   *
   * @throws {TypeError} when `target` is on shared memory
   */
  fill(target: Uint8Array): void {
    // The type system does not let us say that the memory is not shared.
    const own = target as Uint8Array<ArrayBuffer>;
    if (own.byteLength <= FILL_SIZE_MAX) {
      crypto.getRandomValues(own);
      return;
    }
    for (let start = 0; start < own.byteLength; start += FILL_SIZE_MAX) {
      crypto.getRandomValues(own.subarray(start, start + FILL_SIZE_MAX));
    }
  }
}
