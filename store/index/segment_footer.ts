/**
 * Index footers: what the index knows of a sealed segment, behind its frames, so that opening need not
 * read them.
 *
 * | Offset | Size | Field      | Type   | Notes                                               |
 * | -----: | ---: | ---------- | ------ | --------------------------------------------------- |
 * |      0 |    4 | magic      | ASCII  | `FBIX`, which is larger than any frame size         |
 * |      4 |    4 | `size`     | u32 BE | bytes of the whole footer                           |
 * |      8 |    4 | `checksum` | u32 BE | CRC-32 of everything behind it                      |
 * |     12 |    2 | `version`  | u16 BE | 1                                                   |
 * |     14 |    2 |            |        | zeros                                               |
 * |     16 |    n | image      |        | see `image.ts`; the sections below                  |
 *
 * The image: order mark, first sequence, count, where the frames end, latest timestamp, event hash of
 * the last frame (32 bytes), names (entities, scopes, tags; numbered here from 0), chains (count, entity
 * and lane of each), tag arena, and a column of each row field: event id, offset, chain, scope, clock,
 * cause (how many sequences before it; 0 for none), tag set, kind, state.
 *
 * Never an authority: it is believed only where it fits the segment, its header and the next one's, and
 * `verify` compares it with the frames.
 *
 * @module
 */

import { crc32 } from "../../platform/checksum.ts";
import { assert } from "../assert.ts";
import { readU16, readU32, writeU16, writeU32 } from "../bytes.ts";
import type { EventIndex } from "./event_index.ts";
import { ID_SIZE } from "../frame.ts";
import { bytesEqual, HASH_SIZE } from "../hash.ts";
import { assertImage, ImageError, ImageReader, ImageWriter, ORDER_MARK } from "./image.ts";
import { Interner, NAME_UNKNOWN } from "./interner.ts";

/** `FBIX` as a number: what stands where a frame size would. */
export const FOOTER_MAGIC = 0x4642_4958;
/** Bytes in front of the image. */
export const FOOTER_HEADER_SIZE = 16;
const FOOTER_VERSION = 1;
/** A segment has less than 4 GiB, and its footer is a fraction of that. */
const FOOTER_SIZE_MAX = 2 ** 31;

/** The rows of one segment, with names and chains numbered from 0 within it. */
export interface SegmentColumns {
  /** Sequence of the first row. */
  readonly firstSequence: number;
  readonly count: number;
  /** Where the frames end in the segment's file. */
  readonly framesEnd: number;
  /** Latest timestamp of the journal up to here, in microseconds. */
  readonly lastTimestampUs: number;
  /** Event hash of the last frame. */
  readonly lastHash: Uint8Array;
  readonly entities: Interner;
  readonly scopes: Interner;
  readonly tags: Interner;
  readonly chainEntity: Uint32Array;
  readonly chainLane: Uint32Array;
  /** Runs of `[count, tag…]`; offset 0 is never used. */
  readonly tagArena: Uint32Array;
  readonly eventId: Uint8Array;
  readonly offset: Uint32Array;
  readonly chain: Uint32Array;
  readonly scope: Uint32Array;
  readonly clock: Uint32Array;
  /** How many sequences before the row its cause stands; 0 for none in this journal. */
  readonly cause: Uint32Array;
  readonly tagSet: Uint32Array;
  readonly kind: Uint16Array;
  readonly state: Uint8Array;
}

/** Which rows a footer is about, and what the index cannot say of them. */
export interface FooterFacts
  extends Pick<SegmentColumns, "firstSequence" | "framesEnd" | "lastTimestampUs" | "lastHash"> {
  /** Rows of the index from `start` up to but not including `end`. */
  readonly start: number;
  readonly end: number;
  /** Where frames start, when they do not stand where the index says: by row minus `start`. */
  readonly offsets?: Uint32Array;
  /** States, when they are not those of the index: by row minus `start`. */
  readonly states?: Uint8Array;
}

/** The footer of a segment whose rows the index holds. */
export function encodeFooter(index: EventIndex, facts: FooterFacts): Uint8Array {
  const { start, end } = facts;
  const count = end - start;
  assert(count > 0, "a footer stands behind events");
  const entities = new Renumbering(index.entities, index.entities.count);
  const scopes = new Renumbering(index.scopes, index.scopes.count);
  const tags = new Renumbering(index.tags, index.tags.count);
  const chains = new Uint32Array(index.chainCount);
  const chainEntity: number[] = [];
  const chainLane: number[] = [];
  const tagArena: number[] = [0];
  const eventId = new Uint8Array(count * ID_SIZE);
  const offset = new Uint32Array(count);
  const chain = new Uint32Array(count);
  const scope = new Uint32Array(count);
  const clock = new Uint32Array(count);
  const cause = new Uint32Array(count);
  const tagSet = new Uint32Array(count);
  const kind = new Uint16Array(count);
  const state = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const row = start + i;
    const ids = index.idBytesOf(row);
    const idStart = index.idStartOf(row);
    for (let k = 0; k < ID_SIZE; k++) eventId[i * ID_SIZE + k] = ids[idStart + k];
    offset[i] = facts.offsets === undefined ? index.offsetOf(row) : facts.offsets[i];
    const globalChain = index.chainOf(row);
    if (chains[globalChain] === 0) {
      chainEntity.push(entities.numberOf(index.entityOf(globalChain)));
      chainLane.push(index.laneOf(globalChain));
      chains[globalChain] = chainEntity.length;
    }
    chain[i] = chains[globalChain] - 1;
    scope[i] = scopes.numberOf(index.scopeOf(row));
    clock[i] = index.clockOf(row);
    const causeRow = index.causeOf(row);
    cause[i] = causeRow < 0 ? 0 : row - causeRow;
    const rowTags = index.tagsOf(row);
    if (rowTags.length > 0) {
      tagSet[i] = tagArena.length;
      tagArena.push(rowTags.length);
      for (const tag of rowTags) tagArena.push(tags.numberOf(tag));
    }
    kind[i] = index.kindOf(row);
    state[i] = facts.states === undefined ? index.stateOf(row) : facts.states[i];
  }

  const image = new ImageWriter();
  image.number(ORDER_MARK);
  image.number(facts.firstSequence);
  image.number(count);
  image.number(facts.framesEnd);
  image.number(facts.lastTimestampUs);
  image.bytes(facts.lastHash);
  for (const names of [entities, scopes, tags]) names.local.save(image);
  image.number(chainEntity.length);
  image.words(Uint32Array.from(chainEntity));
  image.words(Uint32Array.from(chainLane));
  image.number(tagArena.length);
  image.words(Uint32Array.from(tagArena));
  image.bytes(eventId);
  for (const column of [offset, chain, scope, clock, cause, tagSet]) image.words(column);
  image.bytes(new Uint8Array(kind.buffer));
  image.bytes(state);

  const bytes = new Uint8Array(FOOTER_HEADER_SIZE + image.size);
  writeU32(bytes, 0, FOOTER_MAGIC);
  writeU32(bytes, 4, bytes.byteLength);
  writeU16(bytes, 12, FOOTER_VERSION);
  let at = FOOTER_HEADER_SIZE;
  for (const part of image.parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  writeU32(bytes, 8, crc32(bytes.subarray(12)));
  return bytes;
}

/** What {@linkcode decodeFooter} found. */
export type FooterResult =
  | { readonly type: "footer"; readonly columns: SegmentColumns }
  /** Not one that this program can use. */
  | { readonly type: "unusable"; readonly reason: string };

/** Reads a footer; `bytes` is everything behind the frames of a sealed segment. */
export function decodeFooter(bytes: Uint8Array<ArrayBuffer>): FooterResult {
  const problem = footerProblem(bytes);
  if (problem !== undefined) return { type: "unusable", reason: problem };
  try {
    return { type: "footer", columns: decodeColumns(bytes) };
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    return { type: "unusable", reason: `it is damaged: ${error.message}` };
  }
}

/** The size that a footer claims, 0 when the bytes do not begin like one. Nothing else is checked. */
export function footerSizeOf(bytes: Uint8Array): number {
  if (bytes.byteLength < FOOTER_HEADER_SIZE || readU32(bytes, 0) !== FOOTER_MAGIC) return 0;
  const size = readU32(bytes, 4);
  return size <= FOOTER_SIZE_MAX ? size : 0;
}

/** What is wrong with the header or the checksum, or `undefined`. */
export function footerProblem(bytes: Uint8Array): string | undefined {
  const size = footerSizeOf(bytes);
  if (size === 0 || size !== bytes.byteLength) return "its size is wrong";
  if (crc32(bytes.subarray(12)) !== readU32(bytes, 8)) return "its checksum does not match";
  const version = readU16(bytes, 12);
  if (version !== FOOTER_VERSION) {
    return `it has version ${version}, and this program reads ${FOOTER_VERSION}`;
  }
  return undefined;
}

/** What a footer has to say of the segment it stands in. */
export interface FooterPlace
  extends Pick<SegmentColumns, "firstSequence" | "count" | "framesEnd" | "lastHash"> {
  /** Latest timestamp of the journal in front of the segment. */
  readonly lastTimestampUsBefore: number;
}

/** Whether a footer is of the very frames that it stands behind. */
export function isOfFrames(columns: SegmentColumns, place: FooterPlace): boolean {
  return columns.firstSequence === place.firstSequence && columns.count === place.count &&
    columns.framesEnd === place.framesEnd &&
    columns.lastTimestampUs >= place.lastTimestampUsBefore &&
    bytesEqual(columns.lastHash, place.lastHash);
}

function decodeColumns(bytes: Uint8Array<ArrayBuffer>): SegmentColumns {
  const image = new ImageReader(bytes.subarray(FOOTER_HEADER_SIZE));
  assertImage(image.number() === ORDER_MARK, "it was written by a machine of another byte order");
  const firstSequence = image.count(Number.MAX_SAFE_INTEGER);
  const count = image.count(image.rest / ID_SIZE);
  const framesEnd = image.count(2 ** 32);
  const lastTimestampUs = image.count(Number.MAX_SAFE_INTEGER);
  const lastHash = image.bytes(HASH_SIZE);
  const entities = Interner.restore(image);
  const scopes = Interner.restore(image);
  const tags = Interner.restore(image);
  const chainCount = image.count(image.rest / 8);
  const chainEntity = image.words(chainCount);
  const chainLane = image.words(chainCount);
  const tagArena = image.words(image.count(image.rest / 4));
  const eventId = image.bytes(count * ID_SIZE);
  const offset = image.words(count);
  const chain = image.words(count);
  const scope = image.words(count);
  const clock = image.words(count);
  const cause = image.words(count);
  const tagSet = image.words(count);
  const kinds = image.bytes(count * 2);
  const state = image.bytes(count);
  assertImage(image.rest === 0, "it goes on behind its end");
  return {
    firstSequence,
    count,
    framesEnd,
    lastTimestampUs,
    lastHash,
    entities,
    scopes,
    tags,
    chainEntity,
    chainLane,
    tagArena,
    eventId,
    offset,
    chain,
    scope,
    clock,
    cause,
    tagSet,
    kind: new Uint16Array(kinds.buffer, kinds.byteOffset, count),
    state,
  };
}

/** Names of the journal, numbered anew in the order in which a segment uses them. */
class Renumbering {
  readonly local = new Interner();
  readonly #names: Interner;
  /** Local number + 1 by number, 0 for none yet. */
  readonly #numbers: Uint32Array;

  constructor(names: Interner, count: number) {
    this.#names = names;
    this.#numbers = new Uint32Array(count);
  }

  numberOf(number: number): number {
    const known = this.#numbers[number];
    if (known !== 0) return known - 1;
    const start = this.#names.startOf(number);
    const local = this.local.add(
      this.#names.arena,
      start,
      this.#names.startOf(number + 1) - start,
    );
    this.#numbers[number] = local + 1;
    return local;
  }
}

/** Local names as numbers of the journal, new ones added. */
export function globalNumbers(local: Interner, names: Interner): Uint32Array {
  const numbers = new Uint32Array(local.count);
  for (let i = 0; i < local.count; i++) {
    const start = local.startOf(i);
    const size = local.startOf(i + 1) - start;
    const known = names.find(local.arena, start, size);
    numbers[i] = known === NAME_UNKNOWN ? names.add(local.arena, start, size) : known;
  }
  return numbers;
}
