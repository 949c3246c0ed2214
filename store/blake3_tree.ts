/**
 * BLAKE3-256 of any number of bytes, in plain JavaScript: what `hash.ts` uses until its WebAssembly module
 * is ready, some milliseconds after the import.
 *
 * Chunks of 1,024 bytes are the leaves of a binary tree in which every left subtree is as large a power of
 * two as there can be. So each chunk that is full is joined with the subtrees before it that have its size,
 * and what is left at the end is joined from the right.
 *
 * @module
 */

import {
  blake3Chunk,
  CHUNK_SIZE_MAX,
  chunkValue,
  parentValue,
  rootDigest,
} from "./blake3_chunk.ts";

const DIGEST_SIZE = 32;

/** A digest under way. */
export class Blake3Tree {
  /** The newest chunk. It is a leaf only once more bytes have come: it may be the root. */
  readonly #chunk = new Uint8Array(CHUNK_SIZE_MAX);
  #used = 0;
  /** Chunks that are leaves already. */
  #count = 0;
  /** The chaining values of subtrees, larger ones first. */
  readonly #subtrees: Int32Array[] = [];

  /** Adds bytes. */
  update(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength;) {
      if (this.#used === CHUNK_SIZE_MAX) this.#push();
      const size = Math.min(CHUNK_SIZE_MAX - this.#used, bytes.byteLength - at);
      this.#chunk.set(bytes.subarray(at, at + size), this.#used);
      this.#used += size;
      at += size;
    }
  }

  /** The 32-byte digest of all bytes so far. */
  digest(): Uint8Array {
    const digest = new Uint8Array(DIGEST_SIZE);
    const first = this.#subtrees[0];
    if (first === undefined) {
      blake3Chunk(this.#chunk, 0, this.#used, digest, 0);
      return digest;
    }
    let right = this.#valueOfChunk();
    for (let i = this.#subtrees.length - 1; i > 0; i--) {
      const left = this.#subtrees[i].slice();
      parentValue(left, right);
      right = left;
    }
    rootDigest(first, right, digest);
    return digest;
  }

  #push(): void {
    const value = this.#valueOfChunk();
    this.#count++;
    this.#used = 0;
    let right = value;
    // As many joins as the count of leaves has zeros at its end.
    for (let leaves = this.#count; leaves % 2 === 0; leaves /= 2) {
      const left = this.#subtrees.pop() as Int32Array;
      parentValue(left, right);
      right = left;
    }
    this.#subtrees.push(right);
  }

  #valueOfChunk(): Int32Array {
    const value = new Int32Array(8);
    chunkValue(this.#chunk, this.#used, this.#count, value);
    return value;
  }
}
