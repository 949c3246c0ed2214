/**
 * Names as small numbers: every entity, scope and tag is stored once, as UTF-8 bytes in one arena, and
 * found by its bytes. A scan of frames interns without ever making a string; strings are made when
 * somebody asks, and kept.
 *
 * @module
 */

import { readUtf8 } from "../frame.ts";
import { assertImage, type ImageReader, type ImageWriter } from "./image.ts";

/** Says that a name is not interned. */
export const NAME_UNKNOWN: number = -1;

/** A growing set of names, numbered from 0 in the order they came. */
export class Interner {
  #arena: Uint8Array = new Uint8Array(256);
  #arenaSize = 0;
  /** Start of each name in the arena; one more entry than there are names. */
  #starts: Uint32Array = new Uint32Array(16);
  #hashes: Uint32Array = new Uint32Array(16);
  #count = 0;
  /** Open addressing; 0 is empty, else number + 1. */
  #table: Uint32Array = new Uint32Array(32);
  readonly #texts: (string | undefined)[] = [];

  /** How many names there are. */
  get count(): number {
    return this.#count;
  }

  /** The number of a name given by its bytes, or `NAME_UNKNOWN`. */
  find(bytes: Uint8Array, start: number, size: number): number {
    const mask = this.#table.length - 1;
    const hash = hashBytes(bytes, start, size);
    for (let slot = hash & mask;; slot = (slot + 1) & mask) {
      const entry = this.#table[slot];
      if (entry === 0) return NAME_UNKNOWN;
      if (this.#hashes[entry - 1] === hash && this.#equals(entry - 1, bytes, start, size)) {
        return entry - 1;
      }
    }
  }

  /** Adds a name that {@linkcode find} did not find, and returns its number. */
  add(bytes: Uint8Array, start: number, size: number): number {
    const number = this.#count;
    if (number + 1 >= this.#starts.length) {
      this.#starts = grown(this.#starts);
      this.#hashes = grown(this.#hashes);
    }
    if (this.#arenaSize + size > this.#arena.byteLength) {
      const arena = new Uint8Array(Math.max(this.#arena.byteLength * 2, this.#arenaSize + size));
      arena.set(this.#arena);
      this.#arena = arena;
    }
    for (let i = 0; i < size; i++) this.#arena[this.#arenaSize + i] = bytes[start + i];
    this.#starts[number] = this.#arenaSize;
    this.#arenaSize += size;
    this.#starts[number + 1] = this.#arenaSize;
    this.#hashes[number] = hashBytes(bytes, start, size);
    this.#count = number + 1;
    if (this.#count * 2 > this.#table.length) this.#rehash();
    else this.#place(number);
    return number;
  }

  /** The name as text, the same string each time. */
  text(number: number): string {
    const known = this.#texts[number];
    if (known !== undefined) return known;
    const start = this.#starts[number];
    const text = readUtf8(this.#arena, start, this.#starts[number + 1] - start) ?? "";
    // Numbers are asked for in any order; a hole would turn the list into a dictionary.
    while (this.#texts.length <= number) this.#texts.push(undefined);
    this.#texts[number] = text;
    return text;
  }

  /** The bytes that hold all names; a name stands from {@linkcode startOf} up to the next one's start. */
  get arena(): Uint8Array {
    return this.#arena;
  }

  /** Where a name starts in {@linkcode arena}; for `count`, where the last one ends. */
  startOf(number: number): number {
    return this.#starts[number];
  }

  /** Adds the names to an image. */
  save(image: ImageWriter): void {
    image.number(this.#count);
    image.number(this.#arenaSize);
    image.words(this.#starts, this.#count + 1);
    image.bytes(this.#arena.subarray(0, this.#arenaSize));
  }

  /** The names of an image. Their bytes stay where they are. */
  static restore(image: ImageReader): Interner {
    const names = new Interner();
    const count = image.count(image.rest / 4);
    const arenaSize = image.count(image.rest);
    const starts = image.words(count + 1);
    assertImage(starts[0] === 0 && starts[count] === arenaSize, "names have no bytes");
    names.#arena = image.bytes(arenaSize);
    names.#arenaSize = arenaSize;
    names.#starts = starts;
    names.#hashes = new Uint32Array(count + 1);
    let capacity = names.#table.length;
    while (capacity < count * 2) capacity *= 2;
    names.#table = new Uint32Array(capacity);
    for (let number = 0; number < count; number++) {
      const start = starts[number];
      const end = starts[number + 1];
      // Before the bytes are looked at: a start beyond them would be walked to.
      assertImage(start <= end && end <= arenaSize, "names overlap");
      assertImage(names.find(names.#arena, start, end - start) < 0, "a name is there twice");
      names.#hashes[number] = hashBytes(names.#arena, start, end - start);
      names.#place(number);
    }
    names.#count = count;
    return names;
  }

  /** Bytes of memory in the typed arrays. */
  get memorySize(): number {
    return this.#arena.byteLength + this.#starts.byteLength + this.#hashes.byteLength +
      this.#table.byteLength;
  }

  #equals(number: number, bytes: Uint8Array, start: number, size: number): boolean {
    const nameStart = this.#starts[number];
    if (this.#starts[number + 1] - nameStart !== size) return false;
    for (let i = 0; i < size; i++) {
      if (this.#arena[nameStart + i] !== bytes[start + i]) return false;
    }
    return true;
  }

  #place(number: number): void {
    const mask = this.#table.length - 1;
    let slot = this.#hashes[number] & mask;
    while (this.#table[slot] !== 0) slot = (slot + 1) & mask;
    this.#table[slot] = number + 1;
  }

  #rehash(): void {
    this.#table = new Uint32Array(this.#table.length * 2);
    for (let number = 0; number < this.#count; number++) this.#place(number);
  }
}

/** A copy of twice the length. */
export function grown(array: Uint32Array): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(Math.max(16, array.length * 2));
  larger.set(array);
  return larger;
}

/** FNV-1a with a final mix, so that names that differ in their last byte spread over the table. */
function hashBytes(bytes: Uint8Array, start: number, size: number): number {
  let hash = 0x811c9dc5;
  for (let i = start; i < start + size; i++) hash = Math.imul(hash ^ bytes[i], 0x01000193);
  hash ^= hash >>> 15;
  return Math.imul(hash, 0x2c1b3c6d) >>> 0;
}
