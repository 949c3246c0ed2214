/**
 * BLAKE3-256, the only hash of the journal.
 *
 * The WebAssembly module is compiled once, at import, so that everything after it is synchronous. One
 * hasher serves the realm: a call runs to its end before the next can begin. A second one serves
 * whatever comes piece by piece. Short inputs take the faster way of `blake3_chunk.ts`.
 *
 * @module
 */

import { createBLAKE3 } from "hash-wasm";
import { assert } from "./assert.ts";
import { blake3Chunk, CHUNK_SIZE_MAX } from "./blake3_chunk.ts";

/** Bytes of a digest. */
export const HASH_SIZE = 32;

/** No bytes. */
export const NO_BYTES: Uint8Array = new Uint8Array(0);

const hasher = await createBLAKE3();
const streamHasher = await createBLAKE3();

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
  if (end - start <= CHUNK_SIZE_MAX) blake3Chunk(bytes, start, end, target, 0);
  else target.set(hasher.init().update(bytes.subarray(start, end)).digest("binary"));
}

/**
 * A digest of bytes that come piece by piece. Several may be under way at a time: whoever calls takes the
 * one hasher, and the state of the one before is put aside.
 */
export class Blake3Stream {
  /** Whose state the hasher holds. */
  static #holder: Blake3Stream | undefined;
  /** The state, while another stream has the hasher. */
  #state: Uint8Array | undefined;
  #begun = false;

  /** Adds bytes. */
  update(bytes: Uint8Array): void {
    this.#take();
    streamHasher.update(bytes);
  }

  /** The 32-byte digest of all bytes so far. Ends the stream. */
  digest(): Uint8Array {
    this.#take();
    Blake3Stream.#holder = undefined;
    return streamHasher.digest("binary");
  }

  #take(): void {
    const holder = Blake3Stream.#holder;
    if (holder === this) return;
    if (holder !== undefined) holder.#state = streamHasher.save();
    if (this.#state !== undefined) streamHasher.load(this.#state);
    else {
      assert(!this.#begun, "a stream that has ended takes no more bytes");
      streamHasher.init();
    }
    this.#begun = true;
    this.#state = undefined;
    Blake3Stream.#holder = this;
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
