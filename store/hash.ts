/**
 * BLAKE3-256, the only hash of the journal.
 *
 * Everything is synchronous. The WebAssembly module is compiled in the background when this file is
 * imported, and until it is ready `blake3_tree.ts` does the same work at a fraction of the speed. Waiting
 * for it at the top level would be simpler, and would lose what is posted to a worker that imports us: the
 * runtimes deliver messages while a module waits, and nobody listens yet.
 *
 * One hasher serves the realm: a call runs to its end before the next can begin. A second one serves
 * whatever comes piece by piece. Short inputs take the faster way of `blake3_chunk.ts`.
 *
 * @module
 */

import { createBLAKE3, type IHasher } from "hash-wasm";
import { assert } from "./assert.ts";
import { blake3Chunk, CHUNK_SIZE_MAX } from "./blake3_chunk.ts";
import { Blake3Tree } from "./blake3_tree.ts";

/** Bytes of a digest. */
export const HASH_SIZE = 32;

/** No bytes. */
export const NO_BYTES: Uint8Array = new Uint8Array(0);

let hasher: IHasher | undefined;
let streamHasher: IHasher | undefined;
// Where there is no WebAssembly, it stays as it is.
createBLAKE3().then((ready) => hasher = ready, () => {});
createBLAKE3().then((ready) => streamHasher = ready, () => {});

/** The BLAKE3-256 digest of `bytes`, in a new array. */
export function blake3(bytes: Uint8Array): Uint8Array {
  const digest = new Uint8Array(HASH_SIZE);
  blake3Into(bytes, 0, bytes.byteLength, digest);
  return digest;
}

/** Writes the BLAKE3-256 digest of `bytes` from `start` up to `end` to the front of `target`. */
export function blake3Into(
  bytes: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
): void {
  if (end - start <= CHUNK_SIZE_MAX) return blake3Chunk(bytes, start, end, target, 0);
  const input = bytes.subarray(start, end);
  if (hasher !== undefined) return target.set(hasher.init().update(input).digest("binary"));
  const tree = new Blake3Tree();
  tree.update(input);
  target.set(tree.digest());
}

/**
 * A digest of bytes that come piece by piece. Several may be under way at a time: whoever calls takes the
 * one hasher, and the state of the one before is put aside.
 */
export class Blake3Stream {
  /** Whose state the hasher holds. */
  static #holder: Blake3Stream | undefined;
  /** Does the work of a stream that was begun before the hasher was ready. */
  readonly #tree: Blake3Tree | undefined = streamHasher === undefined
    ? new Blake3Tree()
    : undefined;
  /** The state, while another stream has the hasher. */
  #state: Uint8Array | undefined;
  #begun = false;

  /** Adds bytes. */
  update(bytes: Uint8Array): void {
    if (this.#tree !== undefined) this.#tree.update(bytes);
    else this.#take().update(bytes);
  }

  /** The 32-byte digest of all bytes so far. Ends the stream. */
  digest(): Uint8Array {
    if (this.#tree !== undefined) return this.#tree.digest();
    const digest = this.#take().digest("binary");
    Blake3Stream.#holder = undefined;
    return digest;
  }

  #take(): IHasher {
    const hasher = streamHasher as IHasher;
    const holder = Blake3Stream.#holder;
    if (holder === this) return hasher;
    if (holder !== undefined) holder.#state = hasher.save();
    if (this.#state !== undefined) hasher.load(this.#state);
    else {
      assert(!this.#begun, "a stream that has ended takes no more bytes");
      hasher.init();
    }
    this.#begun = true;
    this.#state = undefined;
    Blake3Stream.#holder = this;
    return hasher;
  }
}

/** Whether two byte strings are equal. Not constant time: hashes here are not secrets. */
export function bytesEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.byteLength !== b.byteLength) return false;
  for (let i = 0; i < a.byteLength; i++) {
    if (a[i] !== b[i]) return false;
  }
  return true;
}

/** Lower-case hexadecimal. */
export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.byteLength; i++) text += HEX_OF_BYTE[bytes[i]];
  return text;
}

/** Bytes of lower- or upper-case hexadecimal, or `undefined` when it is not that. */
export function fromHex(text: string): Uint8Array | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.byteLength; i++) {
    bytes[i] = Number.parseInt(text.slice(i * 2, i * 2 + 2), 16);
  }
  return bytes;
}

const HEX_OF_BYTE: readonly string[] = Array.from(
  { length: 256 },
  (_, byte) => byte.toString(16).padStart(2, "0"),
);
