/**
 * Small copies out of large arrays. In Deno a new array costs about 1 µs whatever its size, a view of
 * an existing one a fiftieth of that, so the copies that every append and every read makes share slabs.
 *
 * What comes out is for the store's own use: it is a view, and its `buffer` holds other copies too. A
 * kept copy keeps its slab, which is small on purpose.
 *
 * @module
 */

const SLAB_SIZE = 32 * 1024;
/** Larger copies get an array of their own, so that a slab always holds several. */
const SHARED_SIZE_MAX = 4 * 1024;

/** Makes copies of bytes. */
export class Slab {
  #slab: Uint8Array = new Uint8Array(0);
  #used = 0;

  /** A copy of `bytes` from `start` up to `end`. Nobody else writes to it. */
  copy(bytes: Uint8Array, start: number, end: number): Uint8Array {
    const size = end - start;
    if (size > SHARED_SIZE_MAX) return bytes.slice(start, end);
    if (this.#used + size > this.#slab.byteLength) {
      this.#slab = new Uint8Array(SLAB_SIZE);
      this.#used = 0;
    }
    const copy = this.#slab.subarray(this.#used, this.#used + size);
    this.#used += size;
    copy.set(bytes.subarray(start, end));
    return copy;
  }
}
