/**
 * What is left on a disk that answered syncs and did not do them.
 *
 * A sync of a file makes everything durable that was written to it before, and one of a directory every name
 * that changed in it. So it makes no difference whether an earlier one was done, too: what is left of a file,
 * or of the names in a directory, is decided by the last of its syncs that was really done.
 *
 * @module
 */

import type { CrashImage, CrashSpace, DiskHistory, ImageId, WalkLimits } from "./crash_images.ts";
import { shapeOf } from "./image_set.ts";
import { RATES } from "./image_space.ts";
import type { SimDisk } from "./sim_disk.ts";
import type { SimRandom } from "./sim_random.ts";

/** Everything that a lying disk may leave; see the top of the file. */
export class LyingSpace implements CrashSpace {
  /** In how many ways it can lie. */
  readonly ways: number;
  /** Nothing is left out. */
  readonly isEndless = false;
  readonly #history: DiskHistory;
  readonly #random: SimRandom;
  /** Of each file and directory, the steps of the trace that were to sync it. */
  readonly #syncs: readonly (readonly number[])[];

  /**
   * What may be left of a disk to which this has happened.
   *
   * @param random decides what is drawn.
   */
  constructor(history: DiskHistory, random: SimRandom) {
    this.#history = history;
    this.#random = random;
    const syncs = new Map<number, number[]>();
    for (let i = 0; i < history.position; i++) {
      const step = history.trace[i];
      if (step.type !== "sync" && step.type !== "syncDir") continue;
      if (step.outcome !== "honored") continue;
      const same = syncs.get(step.node);
      if (same === undefined) syncs.set(step.node, [i]);
      else same.push(i);
    }
    this.#syncs = [...syncs.values()];
    this.ways = this.#syncs.reduce((product, { length }) => product * (length + 1), 1);
  }

  /** One image. A list says for each file and directory how many of its syncs count. */
  image(id: ImageId): CrashImage {
    const counts = typeof id === "number" ? this.#draw(id) : id;
    const dropped = new Set(this.#syncs.flatMap((syncs, i) => syncs.slice(counts[i])));
    const left = this.#without(dropped);
    const { shape, files } = shapeOf(left.listing());
    return {
      id,
      paths: [...files.keys()],
      key: (pool) => ({
        shape,
        contents: [...files.values()].flatMap(({ durable }) => [durable.size, pool.idOf(durable)]),
      }),
      build: () => left.image(),
    };
  }

  /** All images that are not known when it is their turn. */
  *walk({ pool, isKnown, work }: WalkLimits): Generator<CrashImage, boolean> {
    const counts = this.#syncs.map(() => 0);
    for (let left = work; left > 0; left--) {
      const image = this.image(counts.slice());
      if (!isKnown(image.key(pool))) yield image;
      let i = 0;
      while (i < counts.length && ++counts[i] > this.#syncs[i].length) counts[i++] = 0;
      if (i === counts.length) return true;
    }
    return false;
  }

  #draw(nth: number): number[] {
    if (nth < 2) return this.#syncs.map(({ length }) => length * nth);
    const random = this.#random.stream(`image ${nth}`);
    const rate = random.pick(RATES);
    return this.#syncs.map(({ length }) => random.chance(rate) ? length : random.below(length + 1));
  }

  #without(dropped: ReadonlySet<number>): SimDisk {
    const { base, trace, position } = this.#history;
    const disk = base.clone();
    for (let i = 0; i < position; i++) if (!dropped.has(i)) disk.apply(trace[i]);
    return disk;
  }
}
