/**
 * Random bytes that a seed repeats.
 *
 * @module
 */

import type { Entropy } from "../platform/entropy.ts";
import { SimRandom } from "./sim_random.ts";

/** Bytes of a seed: the same ones in the same order each time. */
export class SimEntropy implements Entropy {
  readonly #random: SimRandom;
  #forkCount = 0;

  /** @param source a seed, or a stream to draw from. */
  constructor(source: number | SimRandom) {
    this.#random = typeof source === "number"
      ? new SimRandom(source).stream("entropy")
      : source.stream("entropy");
  }

  /** Fills `target` completely. */
  fill(target: Uint8Array): void {
    this.#random.fill(target);
  }

  /** Another source, different from this one and from every other fork of it. */
  fork(): SimEntropy {
    return new SimEntropy(this.#random.stream(`fork ${this.#forkCount++}`));
  }
}
