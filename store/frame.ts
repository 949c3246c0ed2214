/**
 * Frames: one event each, the unit of writing and of crash recovery.
 *
 * | Offset | Size | Field      | Type   | Notes                                   |
 * | -----: | ---: | ---------- | ------ | --------------------------------------- |
 * |      0 |    4 | `size`     | u32 BE | bytes of the body, never 0              |
 * |      4 |    4 | `checksum` | u32 BE | CRC-32 of the body                      |
 * |      8 |    n | `body`     | bytes  | one MessagePack array of twenty elements |
 *
 * Every element in front of the strings has a fixed width, so its place is a constant and nobody has to
 * parse MessagePack to read a header, and still any MessagePack tool prints a body:
 *
 * | Body offset | Element          | Encoding | Body offset | Element             | Encoding          |
 * | ----------: | ---------------- | -------- | ----------: | ------------------- | ----------------- |
 * |           3 | globalSequence   | uint64   |          95 | payloadEncoding     | uint8             |
 * |          12 | eventId          | bin8(16) |          97 | payloadVersion      | uint16            |
 * |          30 | correlationId    | bin8(16) |         100 | groupRemaining      | uint16            |
 * |          48 | causationId      | bin8(16) |         103 | prevHash            | bin8(32)          |
 * |          66 | timestampUs      | uint64   |         137 | contentHash         | bin8(32)          |
 * |          75 | clock            | uint32   |         171 | entity              | str16             |
 * |          80 | lane             | uint32   |             | scope               | str16             |
 * |          85 | depth            | uint32   |             | tags                | array16 of str16  |
 * |          90 | kind             | uint16   |             | receipt extensions  | map16 str16→bin32 |
 * |          93 | flags            | uint8    |             | payload, last       | bin32, nil, false |
 *
 * `contentHash` is BLAKE3 of the payload bytes. The event hash is BLAKE3 of the body up to the payload
 * element, so it covers every field above, `prevHash` and `contentHash` included. A payload erased
 * later changes nothing that is hashed: `nil` stands for one that is gone while its event stays in
 * every answer, `false` for one whose event queries leave out as well.
 *
 * Encoding asserts, because a bad frame would be our bug. Decoding reports, because bad bytes are the
 * disk's doing: each length is bounded before it is used, and a run of zeros is never a frame.
 *
 * @module
 */

import { crc32 } from "../platform/checksum.ts";
import { assert } from "./assert.ts";
import { HASH_SIZE } from "./hash.ts";
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from "./bytes.ts";

/** Bytes in front of every body. */
export const FRAME_HEADER_SIZE = 8;
/** The largest body we read or write. */
export const FRAME_BODY_SIZE_MAX = 256 * 1024 * 1024;
/** The largest number of frames in one atomic group. */
export const GROUP_COUNT_MAX = 4096;
/** Bytes of an id. */
export const ID_SIZE = 16;

/** How a payload is to be read. */
export const PAYLOAD_MESSAGEPACK = 0;
/** The caller's own bytes. */
export const PAYLOAD_OPAQUE = 1;
/** Reserved for encrypted payloads, which this version never writes. */
export const PAYLOAD_ENCRYPTED = 2;

const MSGPACK_NIL = 0xc0;
const MSGPACK_FALSE = 0xc2;
const MSGPACK_BIN8 = 0xc4;
const MSGPACK_BIN32 = 0xc6;
const MSGPACK_UINT8 = 0xcc;
const MSGPACK_UINT16 = 0xcd;
const MSGPACK_UINT32 = 0xce;
const MSGPACK_UINT64 = 0xcf;
const MSGPACK_STR16 = 0xda;
const MSGPACK_ARRAY16 = 0xdc;
const MSGPACK_MAP16 = 0xde;
const ELEMENT_COUNT = 20;

// Offsets of the MessagePack marker of each fixed element, from the start of the body.
const SEQUENCE = 3;
const EVENT_ID = SEQUENCE + 9;
const CORRELATION_ID = EVENT_ID + 2 + ID_SIZE;
const CAUSATION_ID = CORRELATION_ID + 2 + ID_SIZE;
const TIMESTAMP = CAUSATION_ID + 2 + ID_SIZE;
const CLOCK = TIMESTAMP + 9;
const LANE = CLOCK + 5;
const DEPTH = LANE + 5;
const KIND = DEPTH + 5;
const FLAGS = KIND + 3;
const PAYLOAD_ENCODING = FLAGS + 2;
const PAYLOAD_VERSION = PAYLOAD_ENCODING + 2;
const GROUP_REMAINING = PAYLOAD_VERSION + 3;
const PREV_HASH = GROUP_REMAINING + 3;
const CONTENT_HASH = PREV_HASH + 2 + HASH_SIZE;
const ENTITY = CONTENT_HASH + 2 + HASH_SIZE;

/** The smallest body: one-byte entity and scope, no tags or extensions, an erased payload. */
export const FRAME_BODY_SIZE_MIN: number = ENTITY + (3 + 1) * 2 + 3 + 3 + 1;

/** Where the event id's sixteen bytes start in a body. */
export const EVENT_ID_OFFSET: number = EVENT_ID + 2;
/** Where the correlation id's sixteen bytes start in a body. */
export const CORRELATION_ID_OFFSET: number = CORRELATION_ID + 2;
/** Where the causation id's sixteen bytes start in a body; all zero means none. */
export const CAUSATION_ID_OFFSET: number = CAUSATION_ID + 2;
/** Where the previous event hash starts in a body. */
export const PREV_HASH_OFFSET: number = PREV_HASH + 2;
/** Where the content hash starts in a body. */
export const CONTENT_HASH_OFFSET: number = CONTENT_HASH + 2;
/** Where the entity's UTF-8 bytes start in a body. */
export const ENTITY_OFFSET: number = ENTITY + 3;

/** The fixed part of every body, with its markers in place and its values zero. */
const TEMPLATE = makeTemplate();
/** The places of the markers in {@linkcode TEMPLATE}, for checking. */
const MARKER_OFFSETS = Uint8Array.of(
  SEQUENCE,
  EVENT_ID,
  EVENT_ID + 1,
  CORRELATION_ID,
  CORRELATION_ID + 1,
  CAUSATION_ID,
  CAUSATION_ID + 1,
  TIMESTAMP,
  CLOCK,
  LANE,
  DEPTH,
  KIND,
  FLAGS,
  PAYLOAD_ENCODING,
  PAYLOAD_VERSION,
  GROUP_REMAINING,
  PREV_HASH,
  PREV_HASH + 1,
  CONTENT_HASH,
  CONTENT_HASH + 1,
  ENTITY,
);

function makeTemplate(): Uint8Array {
  const bytes = new Uint8Array(ENTITY + 1);
  bytes[0] = MSGPACK_ARRAY16;
  writeU16(bytes, 1, ELEMENT_COUNT);
  bytes[SEQUENCE] = bytes[TIMESTAMP] = MSGPACK_UINT64;
  for (const id of [EVENT_ID, CORRELATION_ID, CAUSATION_ID]) {
    bytes[id] = MSGPACK_BIN8;
    bytes[id + 1] = ID_SIZE;
  }
  bytes[CLOCK] = bytes[LANE] = bytes[DEPTH] = MSGPACK_UINT32;
  bytes[KIND] = bytes[PAYLOAD_VERSION] = bytes[GROUP_REMAINING] = MSGPACK_UINT16;
  bytes[FLAGS] = bytes[PAYLOAD_ENCODING] = MSGPACK_UINT8;
  for (const hash of [PREV_HASH, CONTENT_HASH]) {
    bytes[hash] = MSGPACK_BIN8;
    bytes[hash + 1] = HASH_SIZE;
  }
  bytes[ENTITY] = MSGPACK_STR16;
  return bytes;
}

/**
 * An event on its way into a buffer. One draft is reused for every append, so it is all public fields
 * and no behaviour; byte arrays are borrowed, never kept.
 */
export class FrameDraft {
  /** Place in the journal. */
  globalSequence = 0;
  /** Sixteen bytes each; a causation id of zeros means none. */
  readonly eventId: Uint8Array = new Uint8Array(ID_SIZE);
  readonly correlationId: Uint8Array = new Uint8Array(ID_SIZE);
  readonly causationId: Uint8Array = new Uint8Array(ID_SIZE);
  /** Microseconds since 1970. */
  timestampUs = 0;
  /** Place in the entity's lane. */
  clock = 0;
  lane = 0;
  depth = 0;
  /** Raw kind, 16 bits. */
  kind = 0;
  /** Eight bits. */
  flags = 0;
  payloadEncoding: number = PAYLOAD_MESSAGEPACK;
  payloadVersion = 0;
  /** Frames of the same group that follow. */
  groupRemaining = 0;
  /** Hash of the previous event of the chain, from `prevHashStart`. */
  prevHash: Uint8Array = NO_HASH;
  prevHashStart = 0;
  readonly contentHash: Uint8Array = new Uint8Array(HASH_SIZE);
  entity = "";
  scope = "";
  tags: readonly string[] = NO_TAGS;
  extensions: readonly (readonly [string, Uint8Array])[] = NO_EXTENSIONS;
  payload: Uint8Array = new Uint8Array(0);
}

/** Thirty-two zeros: the hash in front of the first event of a chain. */
export const NO_HASH: Uint8Array = new Uint8Array(HASH_SIZE);
const NO_TAGS: readonly string[] = [];
const NO_EXTENSIONS: readonly (readonly [string, Uint8Array])[] = [];

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** An upper bound for the bytes {@linkcode encodeFrame} will need. */
export function frameSizeBound(draft: FrameDraft): number {
  // UTF-8 needs at most three bytes for each UTF-16 code unit.
  let size = FRAME_HEADER_SIZE + ENTITY + 3 + draft.entity.length * 3 + 3 + draft.scope.length * 3 +
    3 + 3 + 5 + draft.payload.byteLength;
  const { tags, extensions } = draft;
  for (let i = 0; i < tags.length; i++) size += 3 + tags[i].length * 3;
  for (let i = 0; i < extensions.length; i++) {
    size += 3 + extensions[i][0].length + 5 + extensions[i][1].byteLength;
  }
  return size;
}

/**
 * Writes the body of a draft, all but its checksum, at `start + FRAME_HEADER_SIZE`, and returns where
 * the payload element begins: the event hash covers the body up to there. {@linkcode sealFrame} then
 * finishes the frame.
 */
export function encodeFrame(draft: FrameDraft, target: Uint8Array, start: number): number {
  const body = start + FRAME_HEADER_SIZE;
  target.set(TEMPLATE, body);
  writeU64(target, body + SEQUENCE + 1, draft.globalSequence);
  copyId(draft.eventId, target, body + EVENT_ID_OFFSET);
  copyId(draft.correlationId, target, body + CORRELATION_ID_OFFSET);
  copyId(draft.causationId, target, body + CAUSATION_ID_OFFSET);
  writeU64(target, body + TIMESTAMP + 1, draft.timestampUs);
  writeU32(target, body + CLOCK + 1, draft.clock);
  writeU32(target, body + LANE + 1, draft.lane);
  writeU32(target, body + DEPTH + 1, draft.depth);
  writeU16(target, body + KIND + 1, draft.kind);
  target[body + FLAGS + 1] = draft.flags;
  target[body + PAYLOAD_ENCODING + 1] = draft.payloadEncoding;
  writeU16(target, body + PAYLOAD_VERSION + 1, draft.payloadVersion);
  writeU16(target, body + GROUP_REMAINING + 1, draft.groupRemaining);
  copyHash(draft.prevHash, draft.prevHashStart, target, body + PREV_HASH_OFFSET);
  copyHash(draft.contentHash, 0, target, body + CONTENT_HASH_OFFSET);

  let at = writeStr16(target, body + ENTITY, draft.entity);
  at = writeStr16(target, at, draft.scope);
  const { tags, extensions } = draft;
  target[at] = MSGPACK_ARRAY16;
  writeU16(target, at + 1, tags.length);
  at += 3;
  for (let i = 0; i < tags.length; i++) at = writeStr16(target, at, tags[i]);
  target[at] = MSGPACK_MAP16;
  writeU16(target, at + 1, extensions.length);
  at += 3;
  for (let i = 0; i < extensions.length; i++) {
    at = writeStr16(target, at, extensions[i][0]);
    at = writeBin32(target, at, extensions[i][1]);
  }
  return at;
}

/**
 * Writes the payload element at `payloadStart`, then the size and checksum in front, and returns the
 * end of the frame.
 */
export function sealFrame(
  target: Uint8Array,
  start: number,
  payloadStart: number,
  payload: Uint8Array,
): number {
  const body = start + FRAME_HEADER_SIZE;
  const end = writeBin32(target, payloadStart, payload);
  assert(end - body <= FRAME_BODY_SIZE_MAX, "a frame body stays below its maximum");
  writeU32(target, start, end - body);
  writeU32(target, start + 4, crc32(target.subarray(body, end)));
  return end;
}

function copyId(source: Uint8Array, target: Uint8Array, start: number): void {
  for (let i = 0; i < ID_SIZE; i++) target[start + i] = source[i];
}

function copyHash(
  source: Uint8Array,
  sourceStart: number,
  target: Uint8Array,
  start: number,
): void {
  for (let i = 0; i < HASH_SIZE; i++) target[start + i] = source[sourceStart + i];
}

function writeStr16(target: Uint8Array, at: number, text: string): number {
  const size = writeUtf8(target, at + 3, text);
  target[at] = MSGPACK_STR16;
  writeU16(target, at + 1, size);
  return at + 3 + size;
}

function writeBin32(target: Uint8Array, at: number, bytes: Uint8Array): number {
  target[at] = MSGPACK_BIN32;
  writeU32(target, at + 1, bytes.byteLength);
  target.set(bytes, at + 5);
  return at + 5 + bytes.byteLength;
}

/** Writes UTF-8 and returns its size. Names are nearly always ASCII, and a plain loop beats a call. */
export function writeUtf8(target: Uint8Array, start: number, text: string): number {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 0x7f) {
      const { read, written } = utf8Encoder.encodeInto(text, target.subarray(start));
      assert(read === text.length && written <= 0xffff, "the target has room for the text");
      return written;
    }
    target[start + i] = unit;
  }
  assert(text.length <= 0xffff, "a name fits a str16");
  return text.length;
}

/** Reads UTF-8; `undefined` when the bytes are not that. */
export function readUtf8(bytes: Uint8Array, start: number, size: number): string | undefined {
  if (size < 64) {
    let text = "";
    for (let i = start; i < start + size; i++) {
      if (bytes[i] > 0x7f) return decodeUtf8(bytes, start, size);
      text += String.fromCharCode(bytes[i]);
    }
    return text;
  }
  return decodeUtf8(bytes, start, size);
}

function decodeUtf8(bytes: Uint8Array, start: number, size: number): string | undefined {
  try {
    return utf8Decoder.decode(bytes.subarray(start, start + size));
  } catch {
    return undefined;
  }
}

/**
 * What stands at an offset: a body size, or one of the three ways in which nothing does.
 * {@linkcode readFrameSize} answers with a number so that a scan of a million frames allocates nothing.
 */
export const FRAME_NONE = 0;
/** The frame is longer than the bytes there are: the end was cut, or is still being written. */
export const FRAME_CUT: number = -1;
/** No frame of ours has such a size. */
export const FRAME_SIZE_INVALID: number = -2;

/**
 * The body size of the frame at `start`, `FRAME_NONE` at zeros or the end, `FRAME_CUT` or
 * `FRAME_SIZE_INVALID`. Only the size has been looked at.
 */
export function readFrameSize(bytes: Uint8Array, start: number, end: number): number {
  if (start >= end) return FRAME_NONE;
  if (end - start < FRAME_HEADER_SIZE) return isZero(bytes, start, end) ? FRAME_NONE : FRAME_CUT;
  const size = readU32(bytes, start);
  if (size === 0) return readU32(bytes, start + 4) === 0 ? FRAME_NONE : FRAME_SIZE_INVALID;
  if (size < FRAME_BODY_SIZE_MIN || size > FRAME_BODY_SIZE_MAX) return FRAME_SIZE_INVALID;
  return size > end - start - FRAME_HEADER_SIZE ? FRAME_CUT : size;
}

/** Whether a range holds nothing but zeros. */
export function isZero(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    if (bytes[i] !== 0) return false;
  }
  return true;
}

/** Whether the checksum of the frame at `start` fits its body. */
export function checksumMatches(bytes: Uint8Array, start: number, bodySize: number): boolean {
  const body = start + FRAME_HEADER_SIZE;
  return crc32(bytes.subarray(body, body + bodySize)) === readU32(bytes, start + 4);
}

/**
 * What is wrong with the frame at `start`, which should take `frameSize` bytes and be of the event at
 * `sequence`, or `undefined`. After this, every reader below stays inside the body.
 */
export function frameProblem(
  bytes: Uint8Array,
  start: number,
  frameSize: number,
  sequence: number,
): string | undefined {
  const size = frameSize - FRAME_HEADER_SIZE;
  if (readFrameSize(bytes, start, start + frameSize) !== size) {
    return "the frame has another size than when it was written";
  }
  if (!checksumMatches(bytes, start, size)) return "the frame's checksum does not match";
  const problem = bodyProblem(bytes, start + FRAME_HEADER_SIZE, size);
  if (problem !== undefined) return problem;
  if (sequenceOf(bytes, start + FRAME_HEADER_SIZE) !== sequence) {
    return "the frame is of another event";
  }
  return undefined;
}

/**
 * The size a body has by the size of its payload, or -1 when its header is not sound or not all there.
 * For bytes whose checksum does not match: only the header needs to be.
 */
export function claimedBodySize(bytes: Uint8Array, body: number, sequence: number): number {
  const end = bytes.byteLength;
  if (end - body < FRAME_BODY_SIZE_MIN || markerProblem(bytes, body) !== undefined) return -1;
  if (sequenceOf(bytes, body) !== sequence) return -1;
  let at = skipStr16(bytes, body + ENTITY, end);
  if (at >= 0) at = skipStr16(bytes, at, end);
  if (at >= 0) at = skipTags(bytes, at, end);
  if (at >= 0) at = skipExtensions(bytes, at, end);
  if (at < 0 || at + 5 > end || bytes[at] !== MSGPACK_BIN32) return -1;
  return at + 5 + readU32(bytes, at + 1) - body;
}

/**
 * What is wrong with the layout of a body of `size` bytes at `body`, or `undefined`. After this, every
 * reader below stays inside the body.
 */
export function bodyProblem(bytes: Uint8Array, body: number, size: number): string | undefined {
  if (size < FRAME_BODY_SIZE_MIN) return `a body of ${size} bytes is too short for an event`;
  const problem = markerProblem(bytes, body);
  if (problem !== undefined) return problem;
  if (readU32(bytes, body + SEQUENCE + 1) > 0x1fffff) return "the sequence is not a safe integer";
  if (readU32(bytes, body + TIMESTAMP + 1) > 0x1fffff) return "the timestamp is not a safe integer";
  const end = body + size;
  let at = skipStr16(bytes, body + ENTITY, end);
  if (at < 0) return "the entity runs past the body";
  at = skipStr16(bytes, at, end);
  if (at < 0) return "the scope runs past the body";
  at = skipTags(bytes, at, end);
  if (at < 0) return "the tags run past the body";
  at = skipExtensions(bytes, at, end);
  if (at < 0) return "the receipt extensions run past the body";
  if (at + 1 === end && (bytes[at] === MSGPACK_NIL || bytes[at] === MSGPACK_FALSE)) {
    return undefined;
  }
  if (at + 5 > end || bytes[at] !== MSGPACK_BIN32) return "the payload has another type";
  if (at + 5 + readU32(bytes, at + 1) !== end) return "the payload does not end with the body";
  return undefined;
}

function markerProblem(bytes: Uint8Array, body: number): string | undefined {
  if (bytes[body] !== MSGPACK_ARRAY16 || readU16(bytes, body + 1) !== ELEMENT_COUNT) {
    return `the body is not an array of ${ELEMENT_COUNT} elements`;
  }
  for (let i = 0; i < MARKER_OFFSETS.length; i++) {
    const offset = MARKER_OFFSETS[i];
    if (bytes[body + offset] !== TEMPLATE[offset]) {
      return `the element at body offset ${offset} has another type`;
    }
  }
  return undefined;
}

function skipStr16(bytes: Uint8Array, at: number, end: number): number {
  if (at + 3 > end || bytes[at] !== MSGPACK_STR16) return -1;
  const next = at + 3 + readU16(bytes, at + 1);
  return next > end ? -1 : next;
}

function skipTags(bytes: Uint8Array, at: number, end: number): number {
  if (at + 3 > end || bytes[at] !== MSGPACK_ARRAY16) return -1;
  const count = readU16(bytes, at + 1);
  at += 3;
  for (let i = 0; i < count && at >= 0; i++) at = skipStr16(bytes, at, end);
  return at;
}

function skipExtensions(bytes: Uint8Array, at: number, end: number): number {
  if (at + 3 > end || bytes[at] !== MSGPACK_MAP16) return -1;
  const count = readU16(bytes, at + 1);
  at += 3;
  for (let i = 0; i < count; i++) {
    at = skipStr16(bytes, at, end);
    if (at < 0 || at + 5 > end || bytes[at] !== MSGPACK_BIN32) return -1;
    at += 5 + readU32(bytes, at + 1);
    if (at > end) return -1;
  }
  return at;
}

/** Place in the journal. These readers trust a body that {@linkcode bodyProblem} found sound. */
export function sequenceOf(bytes: Uint8Array, body: number): number {
  return readU64(bytes, body + SEQUENCE + 1);
}
/** Microseconds since 1970. */
export function timestampOf(bytes: Uint8Array, body: number): number {
  return readU64(bytes, body + TIMESTAMP + 1);
}
/** Place in the entity's lane. */
export function clockOf(bytes: Uint8Array, body: number): number {
  return readU32(bytes, body + CLOCK + 1);
}
/** The lane. */
export function laneOf(bytes: Uint8Array, body: number): number {
  return readU32(bytes, body + LANE + 1);
}
/** The caller's depth label. */
export function depthOf(bytes: Uint8Array, body: number): number {
  return readU32(bytes, body + DEPTH + 1);
}
/** The raw kind. */
export function kindOf(bytes: Uint8Array, body: number): number {
  return readU16(bytes, body + KIND + 1);
}
/** The eight flag bits. */
export function flagsOf(bytes: Uint8Array, body: number): number {
  return bytes[body + FLAGS + 1];
}
/** How to read the payload. */
export function payloadEncodingOf(bytes: Uint8Array, body: number): number {
  return bytes[body + PAYLOAD_ENCODING + 1];
}
/** The version the payload was written with; 0 when untyped. */
export function payloadVersionOf(bytes: Uint8Array, body: number): number {
  return readU16(bytes, body + PAYLOAD_VERSION + 1);
}
/** Frames of the same group that follow. */
export function groupRemainingOf(bytes: Uint8Array, body: number): number {
  return readU16(bytes, body + GROUP_REMAINING + 1);
}
/** UTF-8 bytes of the entity, which start at `ENTITY_OFFSET`. */
export function entitySizeOf(bytes: Uint8Array, body: number): number {
  return readU16(bytes, body + ENTITY + 1);
}
/** Where the scope's UTF-8 bytes start. */
export function scopeStartOf(bytes: Uint8Array, body: number): number {
  return body + ENTITY + 3 + entitySizeOf(bytes, body) + 3;
}
/** UTF-8 bytes of the scope. */
export function scopeSizeOf(bytes: Uint8Array, body: number): number {
  return readU16(bytes, scopeStartOf(bytes, body) - 2);
}
/** Where the tags element starts. */
export function tagsStartOf(bytes: Uint8Array, body: number): number {
  const scope = scopeStartOf(bytes, body);
  return scope + readU16(bytes, scope - 2);
}
/** How many tags there are. */
export function tagCountOf(bytes: Uint8Array, body: number): number {
  return readU16(bytes, tagsStartOf(bytes, body) + 1);
}
/** The tags. */
export function tagsOf(bytes: Uint8Array, body: number): string[] {
  const tags: string[] = [];
  let at = tagsStartOf(bytes, body);
  const count = readU16(bytes, at + 1);
  at += 3;
  for (let i = 0; i < count; i++) {
    const size = readU16(bytes, at + 1);
    tags.push(readUtf8(bytes, at + 3, size) ?? "");
    at += 3 + size;
  }
  return tags;
}
/** The receipt extensions, as copies, in their stored order. */
export function extensionsOf(bytes: Uint8Array, body: number): [string, Uint8Array][] {
  const extensions: [string, Uint8Array][] = [];
  let at = skipTags(bytes, tagsStartOf(bytes, body), bytes.byteLength);
  const count = readU16(bytes, at + 1);
  at += 3;
  for (let i = 0; i < count; i++) {
    const keySize = readU16(bytes, at + 1);
    const key = readUtf8(bytes, at + 3, keySize) ?? "";
    at += 3 + keySize;
    const size = readU32(bytes, at + 1);
    extensions.push([key, bytes.slice(at + 5, at + 5 + size)]);
    at += 5 + size;
  }
  return extensions;
}
/** Where the payload element starts: the end of what the event hash covers. */
export function payloadStartOf(bytes: Uint8Array, body: number): number {
  const end = bytes.byteLength;
  return skipExtensions(bytes, skipTags(bytes, tagsStartOf(bytes, body), end), end);
}
/** The payload bytes as a view, or `undefined` when they were erased. */
export function payloadOf(bytes: Uint8Array, body: number): Uint8Array | undefined {
  const at = payloadStartOf(bytes, body);
  if (bytes[at] !== MSGPACK_BIN32) return undefined;
  return bytes.subarray(at + 5, at + 5 + readU32(bytes, at + 1));
}

/** What has become of the payload of the body from `body` up to `end`. */
export function erasureOf(bytes: Uint8Array, body: number, end: number): Erasure | undefined {
  // Nearly every body ends in other bytes, and then nobody has to find where its payload starts.
  const last = bytes[end - 1];
  if (last !== MSGPACK_NIL && last !== MSGPACK_FALSE) return undefined;
  if (payloadStartOf(bytes, body) !== end - 1) return undefined;
  return last === MSGPACK_NIL ? "erased" : "retired";
}

/** How a payload is gone: its event stays in every answer, or queries leave the event out too. */
export type Erasure = "erased" | "retired";

/** Bytes of the frame around a sound body once its payload is erased. */
export function erasedFrameSize(bytes: Uint8Array, body: number): number {
  return FRAME_HEADER_SIZE + payloadStartOf(bytes, body) - body + 1;
}

/**
 * Copies the frame of a sound body without its payload to `start` of `target`, and returns its size.
 * Its header, and with it the event hash, stays as it is.
 */
export function eraseFrame(
  bytes: Uint8Array,
  body: number,
  erasure: Erasure,
  target: Uint8Array,
  start: number,
): number {
  const headerSize = payloadStartOf(bytes, body) - body;
  const targetBody = start + FRAME_HEADER_SIZE;
  const end = targetBody + headerSize + 1;
  target.set(bytes.subarray(body, body + headerSize), targetBody);
  target[end - 1] = erasure === "erased" ? MSGPACK_NIL : MSGPACK_FALSE;
  writeU32(target, start, end - targetBody);
  writeU32(target, start + 4, crc32(target.subarray(targetBody, end)));
  return end - start;
}

/** What is wrong with a header standing alone, as a receipt carries it, or `undefined`. */
export function headerProblem(header: Uint8Array): string | undefined {
  const body = new Uint8Array(header.byteLength + 1);
  body.set(header);
  body[header.byteLength] = MSGPACK_NIL;
  return bodyProblem(body, 0, body.byteLength);
}
