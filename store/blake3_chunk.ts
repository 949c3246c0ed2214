/**
 * BLAKE3-256 of at most one chunk (1,024 bytes), which is nearly every hash the journal takes; and what
 * `blake3_tree.ts` makes longer ones of.
 *
 * The library behind `hash.ts` copies its input into WebAssembly and returns a new array. In Deno a new
 * array costs about 1 µs, more than the hash of a small event. This writes the digest where the caller
 * wants it and allocates nothing: 0.2 µs for 60 bytes where the library needs 1.1 µs, 0.5 µs for 190
 * bytes where it needs 1.3 µs (Deno 2.9). Tests hold it to the library, length by length.
 *
 * @module
 */

/** The most bytes {@linkcode blake3Chunk} takes. */
export const CHUNK_SIZE_MAX = 1024;
const BLOCK_SIZE = 64;

const FLAG_CHUNK_START = 1;
const FLAG_CHUNK_END = 2;
const FLAG_PARENT = 4;
const FLAG_ROOT = 8;

const IV = Int32Array.of(
  0x6a09e667,
  0xbb67ae85,
  0x3c6ef372,
  0xa54ff53a,
  0x510e527f,
  0x9b05688c,
  0x1f83d9ab,
  0x5be0cd19,
);

/** Which message word each step of each of the seven rounds takes. */
const SCHEDULE = makeSchedule();
/** The block being compressed, and the chaining value; one hash runs at a time in a realm. */
const message = new Int32Array(16);
const chaining = new Int32Array(8);
/** The number of the chunk being compressed; 0 for a parent. */
let counter = 0;

function makeSchedule(): Uint8Array {
  const permutation = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
  const schedule = new Uint8Array(7 * 16);
  let words = permutation.map((_, i) => i);
  for (let round = 0; round < 7; round++) {
    schedule.set(words, round * 16);
    words = permutation.map((i) => words[i]);
  }
  return schedule;
}

/** Writes the digest of `bytes` from `start` up to `end` to the 32 bytes of `target` at `at`. */
export function blake3Chunk(
  bytes: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
  at: number,
): void {
  compressChunk(bytes, start, end, FLAG_ROOT);
  writeChaining(target, at);
}

/**
 * Puts the chaining value of a chunk of a longer input into `value`.
 *
 * @param number of the chunk in the input, from 0.
 */
export function chunkValue(
  bytes: Uint8Array,
  size: number,
  number: number,
  value: Int32Array,
): void {
  counter = number;
  compressChunk(bytes, 0, size, 0);
  counter = 0;
  value.set(chaining);
}

/** Puts the chaining value of the parent of two into `left`. */
export function parentValue(left: Int32Array, right: Int32Array): void {
  compressParent(left, right, 0);
  left.set(chaining);
}

/** Writes the digest of the input that the two last parents, or chunks, are of. */
export function rootDigest(left: Int32Array, right: Int32Array, target: Uint8Array): void {
  compressParent(left, right, FLAG_ROOT);
  writeChaining(target, 0);
}

function compressParent(left: Int32Array, right: Int32Array, flags: number): void {
  message.set(left);
  message.set(right, 8);
  chaining.set(IV);
  compress(BLOCK_SIZE, FLAG_PARENT | flags);
}

/** Compresses a chunk into `chaining`. */
function compressChunk(bytes: Uint8Array, start: number, end: number, lastFlags: number): void {
  for (let i = 0; i < 8; i++) chaining[i] = IV[i];
  let flags = FLAG_CHUNK_START;
  let position = start;
  while (end - position > BLOCK_SIZE) {
    for (let i = 0; i < 16; i++, position += 4) {
      message[i] = bytes[position] | (bytes[position + 1] << 8) | (bytes[position + 2] << 16) |
        (bytes[position + 3] << 24);
    }
    compress(BLOCK_SIZE, flags);
    flags = 0;
  }
  const rest = end - position;
  for (let i = 0; i < 16; i++) {
    let word = 0;
    for (let j = i * 4; j < i * 4 + 4 && j < rest; j++) {
      word |= bytes[position + j] << (8 * (j & 3));
    }
    message[i] = word;
  }
  compress(rest, flags | FLAG_CHUNK_END | lastFlags);
}

function writeChaining(target: Uint8Array, at: number): void {
  for (let i = 0; i < 8; i++) {
    const word = chaining[i];
    target[at + i * 4] = word;
    target[at + i * 4 + 1] = word >>> 8;
    target[at + i * 4 + 2] = word >>> 16;
    target[at + i * 4 + 3] = word >>> 24;
  }
}

/**
 * Compresses the block in `message` into `chaining`. Sixteen locals instead of an array, and every
 * quarter round written out: the compiler keeps them in registers, and a call each would cost more
 * than the work.
 */
function compress(size: number, flags: number): void {
  const m = message;
  const S = SCHEDULE;
  const cv = chaining;
  let v0 = cv[0];
  let v1 = cv[1];
  let v2 = cv[2];
  let v3 = cv[3];
  let v4 = cv[4];
  let v5 = cv[5];
  let v6 = cv[6];
  let v7 = cv[7];
  let v8 = IV[0];
  let v9 = IV[1];
  let v10 = IV[2];
  let v11 = IV[3];
  let v12 = counter | 0;
  let v13 = (counter / 0x1_0000_0000) | 0;
  let v14 = size;
  let v15 = flags;
  let x = 0;
  for (let r = 0; r < 7 * 16; r += 16) {
    // column 0
    v0 = (v0 + v4 + m[S[r + 0]]) | 0;
    x = v12 ^ v0;
    v12 = (x >>> 16) | (x << 16);
    v8 = (v8 + v12) | 0;
    x = v4 ^ v8;
    v4 = (x >>> 12) | (x << 20);
    v0 = (v0 + v4 + m[S[r + 1]]) | 0;
    x = v12 ^ v0;
    v12 = (x >>> 8) | (x << 24);
    v8 = (v8 + v12) | 0;
    x = v4 ^ v8;
    v4 = (x >>> 7) | (x << 25);
    // column 1
    v1 = (v1 + v5 + m[S[r + 2]]) | 0;
    x = v13 ^ v1;
    v13 = (x >>> 16) | (x << 16);
    v9 = (v9 + v13) | 0;
    x = v5 ^ v9;
    v5 = (x >>> 12) | (x << 20);
    v1 = (v1 + v5 + m[S[r + 3]]) | 0;
    x = v13 ^ v1;
    v13 = (x >>> 8) | (x << 24);
    v9 = (v9 + v13) | 0;
    x = v5 ^ v9;
    v5 = (x >>> 7) | (x << 25);
    // column 2
    v2 = (v2 + v6 + m[S[r + 4]]) | 0;
    x = v14 ^ v2;
    v14 = (x >>> 16) | (x << 16);
    v10 = (v10 + v14) | 0;
    x = v6 ^ v10;
    v6 = (x >>> 12) | (x << 20);
    v2 = (v2 + v6 + m[S[r + 5]]) | 0;
    x = v14 ^ v2;
    v14 = (x >>> 8) | (x << 24);
    v10 = (v10 + v14) | 0;
    x = v6 ^ v10;
    v6 = (x >>> 7) | (x << 25);
    // column 3
    v3 = (v3 + v7 + m[S[r + 6]]) | 0;
    x = v15 ^ v3;
    v15 = (x >>> 16) | (x << 16);
    v11 = (v11 + v15) | 0;
    x = v7 ^ v11;
    v7 = (x >>> 12) | (x << 20);
    v3 = (v3 + v7 + m[S[r + 7]]) | 0;
    x = v15 ^ v3;
    v15 = (x >>> 8) | (x << 24);
    v11 = (v11 + v15) | 0;
    x = v7 ^ v11;
    v7 = (x >>> 7) | (x << 25);
    // diagonal 0
    v0 = (v0 + v5 + m[S[r + 8]]) | 0;
    x = v15 ^ v0;
    v15 = (x >>> 16) | (x << 16);
    v10 = (v10 + v15) | 0;
    x = v5 ^ v10;
    v5 = (x >>> 12) | (x << 20);
    v0 = (v0 + v5 + m[S[r + 9]]) | 0;
    x = v15 ^ v0;
    v15 = (x >>> 8) | (x << 24);
    v10 = (v10 + v15) | 0;
    x = v5 ^ v10;
    v5 = (x >>> 7) | (x << 25);
    // diagonal 1
    v1 = (v1 + v6 + m[S[r + 10]]) | 0;
    x = v12 ^ v1;
    v12 = (x >>> 16) | (x << 16);
    v11 = (v11 + v12) | 0;
    x = v6 ^ v11;
    v6 = (x >>> 12) | (x << 20);
    v1 = (v1 + v6 + m[S[r + 11]]) | 0;
    x = v12 ^ v1;
    v12 = (x >>> 8) | (x << 24);
    v11 = (v11 + v12) | 0;
    x = v6 ^ v11;
    v6 = (x >>> 7) | (x << 25);
    // diagonal 2
    v2 = (v2 + v7 + m[S[r + 12]]) | 0;
    x = v13 ^ v2;
    v13 = (x >>> 16) | (x << 16);
    v8 = (v8 + v13) | 0;
    x = v7 ^ v8;
    v7 = (x >>> 12) | (x << 20);
    v2 = (v2 + v7 + m[S[r + 13]]) | 0;
    x = v13 ^ v2;
    v13 = (x >>> 8) | (x << 24);
    v8 = (v8 + v13) | 0;
    x = v7 ^ v8;
    v7 = (x >>> 7) | (x << 25);
    // diagonal 3
    v3 = (v3 + v4 + m[S[r + 14]]) | 0;
    x = v14 ^ v3;
    v14 = (x >>> 16) | (x << 16);
    v9 = (v9 + v14) | 0;
    x = v4 ^ v9;
    v4 = (x >>> 12) | (x << 20);
    v3 = (v3 + v4 + m[S[r + 15]]) | 0;
    x = v14 ^ v3;
    v14 = (x >>> 8) | (x << 24);
    v9 = (v9 + v14) | 0;
    x = v4 ^ v9;
    v4 = (x >>> 7) | (x << 25);
  }
  cv[0] = v0 ^ v8;
  cv[1] = v1 ^ v9;
  cv[2] = v2 ^ v10;
  cv[3] = v3 ^ v11;
  cv[4] = v4 ^ v12;
  cv[5] = v5 ^ v13;
  cv[6] = v6 ^ v14;
  cv[7] = v7 ^ v15;
}
