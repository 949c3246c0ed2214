/**
 * Surgery on index files and footers: every section by name, as a view to write through, and the
 * checksum made to fit again. What is forged with it is damage that no checksum shows.
 *
 * @module
 */
import { crc32 } from "../../platform/checksum.ts";
import { writeU32 } from "../../store/bytes.ts";

/** The typed arrays of a format by name. Writing to one writes to the bytes. */
export interface Sections {
  /** A number, as an array of one. */
  number(name: string): Float64Array;
  /** Words. */
  words(name: string): Uint32Array;
  /** Bytes, without what fills them up to a multiple of 8. */
  bytes(name: string): Uint8Array;
  /** Every name, in the order of the bytes, with where it starts. */
  readonly places: ReadonlyMap<string, number>;
}

/** Bytes before the image of either format. */
const HEADER_SIZE = 16;

/** The index file with `change` applied and the checksum made to fit. */
export function forgedIndexFile(
  bytes: Uint8Array,
  change: (sections: Sections) => void,
): Uint8Array<ArrayBuffer> {
  const copy = bytes.slice();
  change(indexFileSections(copy));
  sealIndexFile(copy);
  return copy;
}

/** The footer with `change` applied and the checksum made to fit. */
export function forgedFooter(
  bytes: Uint8Array,
  change: (sections: Sections) => void,
): Uint8Array<ArrayBuffer> {
  const copy = bytes.slice();
  change(footerSections(copy));
  sealFooter(copy);
  return copy;
}

/** Makes the checksum of an index file fit. */
export function sealIndexFile(bytes: Uint8Array): void {
  writeU32(bytes, 8, crc32(bytes.subarray(HEADER_SIZE)));
}

/** Makes the checksum of a footer fit. */
export function sealFooter(bytes: Uint8Array): void {
  writeU32(bytes, 8, crc32(bytes.subarray(12)));
}

/** Where everything stands in a sound index file. */
export function indexFileSections(bytes: Uint8Array): Sections {
  const walk = new Walk(bytes);
  walk.number("orderMark");
  walk.bytes("storeId", 16);
  walk.number("firstSequence");
  walk.number("lastTimestampUs");
  walk.bytes("lastHash", 32);
  const segments = walk.number("segmentCount");
  for (let i = 0; i < segments; i++) {
    for (const field of ["id", "firstRow", "framesStart", "end", "headerCrc"]) {
      walk.number(`segment${i}.${field}`);
    }
  }
  const count = walk.number("count");
  walk.number("staged");
  for (const name of ["entities", "scopes", "tags"]) walk.names(name);
  for (const name of ["byEntity", "byScope", "byTag", "byKind"]) {
    const lists = walk.number(`${name}.listCount`);
    const used = walk.number(`${name}.arenaUsed`);
    for (const part of ["heads", "tails", "counts"]) walk.words(`${name}.${part}`, lists);
    walk.words(`${name}.arena`, used);
  }
  walk.words("kinds", walk.number("kindCount"));
  walk.words("tagArena", walk.number("tagArenaUsed"));
  const chains = walk.number("chainCount");
  for (const part of ["Entity", "Lane", "Head", "Clock"]) walk.words(`chain${part}`, chains);
  walk.bytes("chainHasBase", chains);
  // One chunk: its columns share a section.
  const capacity = count + (-count & 7);
  const start = walk.at;
  for (const column of ["eventId", ...ROW_WORDS, "kind", "state"]) {
    const width = column === "eventId" ? 16 : column === "kind" ? 2 : column === "state" ? 1 : 4;
    if (width === 4) walk.words(column, capacity);
    else walk.bytes(column, capacity * width);
  }
  walk.end(start + capacity * 47);
  return walk;
}

/** Where everything stands in a sound footer. */
export function footerSections(bytes: Uint8Array): Sections {
  const walk = new Walk(bytes);
  walk.number("orderMark");
  walk.number("firstSequence");
  const count = walk.number("count");
  walk.number("framesEnd");
  walk.number("lastTimestampUs");
  walk.bytes("lastHash", 32);
  for (const name of ["entities", "scopes", "tags"]) walk.names(name);
  const chains = walk.number("chainCount");
  walk.words("chainEntity", chains);
  walk.words("chainLane", chains);
  walk.words("tagArena", walk.number("tagArenaUsed"));
  walk.bytes("eventId", count * 16);
  for (const column of ["offset", "chain", "scope", "clock", "cause", "tagSet"]) {
    walk.words(column, count);
  }
  walk.bytes("kind", count * 2);
  walk.bytes("state", count);
  walk.end(bytes.byteLength);
  return walk;
}

const ROW_WORDS = ["offset", "chain", "scope", "clock", "previous", "cause", "tagSet"];

class Walk implements Sections {
  readonly places = new Map<string, number>();
  readonly #sizes = new Map<string, number>();
  readonly #bytes: Uint8Array;
  at = HEADER_SIZE;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  number(name: string): Float64Array & number {
    const known = this.places.has(name);
    if (!known) this.#place(name, 8);
    const view = new Float64Array(this.#bytes.buffer, this.#startOf(name), 1);
    // While walking, the value says how much follows; afterwards, the view is what is asked for.
    return (known ? view : view[0]) as Float64Array & number;
  }

  words(name: string, count = -1): Uint32Array {
    if (count >= 0) this.#place(name, count * 4);
    return new Uint32Array(
      this.#bytes.buffer,
      this.#startOf(name),
      (this.#sizes.get(name) ?? 0) / 4,
    );
  }

  bytes(name: string, size = -1): Uint8Array {
    if (size >= 0) this.#place(name, size);
    return new Uint8Array(this.#bytes.buffer, this.#startOf(name), this.#sizes.get(name));
  }

  names(name: string): void {
    const count = this.number(`${name}.count`);
    const arenaSize = this.number(`${name}.arenaSize`);
    this.words(`${name}.starts`, count + 1);
    this.bytes(`${name}.arena`, arenaSize);
  }

  end(expected: number): void {
    if (this.at !== expected || expected > this.#bytes.byteLength) {
      throw new Error(`the sections end at ${this.at}, not at ${expected}`);
    }
  }

  #place(name: string, size: number): void {
    this.places.set(name, this.at);
    this.#sizes.set(name, size);
    this.at += size + (-size & 7);
  }

  #startOf(name: string): number {
    const start = this.places.get(name);
    if (start === undefined) throw new Error(`there is no section ${name}`);
    return this.#bytes.byteOffset + start;
  }
}
