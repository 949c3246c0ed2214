/**
 * Drafts as bytes: what a client has prepared, on its way to the realm that appends it.
 *
 * | Offset | Size | Field           | Notes                                                        |
 * | -----: | ---: | --------------- | ------------------------------------------------------------ |
 * |      0 |    2 | parts           | bits: which of the optional parts follow                     |
 * |      2 |    2 | kind            |                                                              |
 * |      4 |    2 | payload version |                                                              |
 * |      6 |    1 | flags           |                                                              |
 * |      7 |    1 | encoding        | 0 MessagePack, 1 opaque                                      |
 * |      8 |    2 | entity size     | bytes of UTF-8                                               |
 * |     10 |    2 | scope size      | bytes of UTF-8                                               |
 * |     12 |    4 | payload size    |                                                              |
 * |     16 |      | parts           | event id 16, correlation id 16, causation id 16, expected clock 4, lane 4, depth 4, causation item 2, tags, extensions |
 * |        |      | entity, scope   |                                                              |
 * |        |      | payload         |                                                              |
 *
 * Integers are big-endian. Tags are a u16 count, then u16 size and bytes of each; extensions a u16 count,
 * then u16 size and bytes of the key, u32 size and bytes of the value.
 *
 * Whoever decodes does not trust whoever encoded: lengths are bounded before they are used, and tags,
 * extensions and kinds go through the same checks as in an append.
 *
 * @module
 */

import { type AppendDraft, refuseKind } from "../../store/append.ts";
import { readU16, readU32, writeU16, writeU32 } from "../../store/bytes.ts";
import type { EventKind } from "../../store/event_kind.ts";
import { normalizeExtensions } from "../../store/extensions.ts";
import { ID_SIZE, isZero, PAYLOAD_OPAQUE, readUtf8, writeUtf8 } from "../../store/frame.ts";
import { normalizeTags } from "../../store/tags.ts";
import type { GrowingBytes } from "./growing_bytes.ts";

const FIXED_SIZE = 16;
const KEYED = 1;
const CORRELATED = 2;
const CAUSED = 4;
const EXPECTS_NONE = 8;
const EXPECTS_CLOCK = 16;
const HAS_LANE = 32;
const HAS_DEPTH = 64;
const HAS_CAUSATION_ITEM = 128;
const HAS_TAGS = 256;
const HAS_EXTENSIONS = 512;
const PARTS_MAX = 1023;
const NAME_SIZE_MAX = 1024;
const LIST_COUNT_MAX = 32;

/** Bytes that are no draft. Never the fault of a caller: one side of the connection is not ours. */
export class MalformedMessage extends Error {
  /** The class, for messages and logs. */
  override readonly name = "MalformedMessage";
}

/** Writes a draft behind what is in `out`. */
export function encodeDraft(out: GrowingBytes, draft: AppendDraft): void {
  const { payload, entitySize, scopeSize, tags, extensions, expectedClock } = draft;
  let bound = FIXED_SIZE + 3 * ID_SIZE + 14 + entitySize + scopeSize + payload.byteLength;
  if (tags.length > 0) {
    bound += 2;
    for (const tag of tags) bound += 2 + tag.length * 3;
  }
  if (extensions.length > 0) {
    bound += 2;
    for (const [key, value] of extensions) bound += 6 + key.length + value.byteLength;
  }
  const start = out.reserve(bound);
  const { bytes } = out;
  let parts = 0;
  let at = start + FIXED_SIZE;
  if (draft.keyed) {
    parts |= KEYED;
    at = writeId(bytes, at, draft.eventId);
  }
  if (draft.correlated) {
    parts |= CORRELATED;
    at = writeId(bytes, at, draft.correlationId);
  }
  if (!isZero(draft.causationId, 0, ID_SIZE)) {
    parts |= CAUSED;
    at = writeId(bytes, at, draft.causationId);
  }
  if (expectedClock === "none") parts |= EXPECTS_NONE;
  else if (expectedClock !== undefined) {
    parts |= EXPECTS_CLOCK;
    writeU32(bytes, at, expectedClock);
    at += 4;
  }
  if (draft.lane !== 0) {
    parts |= HAS_LANE;
    writeU32(bytes, at, draft.lane);
    at += 4;
  }
  if (draft.depth !== 0) {
    parts |= HAS_DEPTH;
    writeU32(bytes, at, draft.depth);
    at += 4;
  }
  if (draft.causationItem !== undefined) {
    parts |= HAS_CAUSATION_ITEM;
    writeU16(bytes, at, draft.causationItem);
    at += 2;
  }
  if (tags.length > 0) {
    parts |= HAS_TAGS;
    writeU16(bytes, at, tags.length);
    at += 2;
    for (const tag of tags) {
      const size = writeUtf8(bytes, at + 2, tag);
      writeU16(bytes, at, size);
      at += 2 + size;
    }
  }
  if (extensions.length > 0) {
    parts |= HAS_EXTENSIONS;
    writeU16(bytes, at, extensions.length);
    at += 2;
    for (const [key, value] of extensions) {
      writeU16(bytes, at, writeUtf8(bytes, at + 2, key));
      at += 2 + key.length;
      writeU32(bytes, at, value.byteLength);
      bytes.set(value, at + 4);
      at += 4 + value.byteLength;
    }
  }
  for (let i = 0; i < entitySize; i++) bytes[at + i] = draft.entityBytes[i];
  at += entitySize;
  for (let i = 0; i < scopeSize; i++) bytes[at + i] = draft.scopeBytes[i];
  at += scopeSize;
  bytes.set(payload, at);
  writeU16(bytes, start, parts);
  writeU16(bytes, start + 2, draft.kind);
  writeU16(bytes, start + 4, draft.payloadVersion);
  bytes[start + 6] = draft.flags;
  bytes[start + 7] = draft.payloadEncoding;
  writeU16(bytes, start + 8, entitySize);
  writeU16(bytes, start + 10, scopeSize);
  writeU32(bytes, start + 12, payload.byteLength);
  out.size = at + payload.byteLength;
}

/**
 * Where the draft that begins at `start` ends. Only its sizes have been looked at.
 *
 * @throws {MalformedMessage} when it does not end by `end`.
 */
export function draftEnd(bytes: Uint8Array, start: number, end: number): number {
  const at = new Reader(bytes, start, end);
  at.skip(FIXED_SIZE);
  const parts = readU16(bytes, start);
  if (parts > PARTS_MAX) throw new MalformedMessage("a draft has parts that nobody knows");
  let size = 0;
  for (const bit of [KEYED, CORRELATED, CAUSED]) if ((parts & bit) !== 0) size += ID_SIZE;
  for (const bit of [EXPECTS_CLOCK, HAS_LANE, HAS_DEPTH]) if ((parts & bit) !== 0) size += 4;
  if ((parts & HAS_CAUSATION_ITEM) !== 0) size += 2;
  at.skip(size);
  if ((parts & HAS_TAGS) !== 0) {
    for (let count = at.count(); count > 0; count--) at.skip(at.u16());
  }
  if ((parts & HAS_EXTENSIONS) !== 0) {
    for (let count = at.count(); count > 0; count--) {
      at.skip(at.u16());
      at.skip(at.u32());
    }
  }
  at.skip(readU16(bytes, start + 8) + readU16(bytes, start + 10));
  at.skip(readU32(bytes, start + 12));
  return at.offset;
}

/**
 * Fills a draft from bytes that {@linkcode draftEnd} has measured. The payload is a view of them.
 *
 * @throws {StoreError} as an append throws for what is said; nothing has been done then.
 * @throws {MalformedMessage} when a client of ours would never say it.
 */
export function decodeDraft(bytes: Uint8Array, start: number, draft: AppendDraft): void {
  const parts = readU16(bytes, start);
  const kind = readU16(bytes, start + 2);
  const encoding = bytes[start + 7];
  const entitySize = readU16(bytes, start + 8);
  const scopeSize = readU16(bytes, start + 10);
  const payloadSize = readU32(bytes, start + 12);
  if (entitySize > NAME_SIZE_MAX || scopeSize > NAME_SIZE_MAX || encoding > PAYLOAD_OPAQUE) {
    throw new MalformedMessage("a name or an encoding of a draft is not possible");
  }
  refuseKind(kind as EventKind, false);
  let at = start + FIXED_SIZE;
  draft.keyed = (parts & KEYED) !== 0;
  if (draft.keyed) at = readId(bytes, at, draft.eventId);
  draft.correlated = (parts & CORRELATED) !== 0;
  if (draft.correlated) at = readId(bytes, at, draft.correlationId);
  if ((parts & CAUSED) !== 0) at = readId(bytes, at, draft.causationId);
  else for (let i = 0; i < ID_SIZE; i++) draft.causationId[i] = 0;
  draft.expectedClock = (parts & EXPECTS_NONE) !== 0 ? "none" : undefined;
  if ((parts & EXPECTS_CLOCK) !== 0) {
    draft.expectedClock = readU32(bytes, at);
    at += 4;
  }
  draft.lane = 0;
  if ((parts & HAS_LANE) !== 0) {
    draft.lane = readU32(bytes, at);
    at += 4;
  }
  draft.depth = 0;
  if ((parts & HAS_DEPTH) !== 0) {
    draft.depth = readU32(bytes, at);
    at += 4;
  }
  draft.causationItem = undefined;
  if ((parts & HAS_CAUSATION_ITEM) !== 0) {
    draft.causationItem = readU16(bytes, at);
    at += 2;
  }
  draft.tags = NONE;
  if ((parts & HAS_TAGS) !== 0) {
    const tags: string[] = [];
    const count = readU16(bytes, at);
    at += 2;
    for (let i = 0; i < count; i++) {
      const size = readU16(bytes, at);
      tags.push(textOf(bytes, at + 2, size));
      at += 2 + size;
    }
    draft.tags = normalizeTags(tags);
  }
  draft.extensions = NONE;
  let countedSize = payloadSize;
  if ((parts & HAS_EXTENSIONS) !== 0) {
    const extensions: Record<string, Uint8Array> = Object.create(null);
    const count = readU16(bytes, at);
    at += 2;
    for (let i = 0; i < count; i++) {
      const keySize = readU16(bytes, at);
      const key = textOf(bytes, at + 2, keySize);
      at += 2 + keySize;
      const size = readU32(bytes, at);
      extensions[key] = bytes.subarray(at + 4, at + 4 + size);
      at += 4 + size;
      countedSize += 3 + keySize + 5 + size;
    }
    draft.extensions = normalizeExtensions(extensions);
  }
  draft.entity = textOf(bytes, at, entitySize);
  for (let i = 0; i < entitySize; i++) draft.entityBytes[i] = bytes[at + i];
  draft.entitySize = entitySize;
  at += entitySize;
  draft.scope = textOf(bytes, at, scopeSize);
  for (let i = 0; i < scopeSize; i++) draft.scopeBytes[i] = bytes[at + i];
  draft.scopeSize = scopeSize;
  at += scopeSize;
  draft.kind = kind;
  draft.payloadVersion = readU16(bytes, start + 4);
  draft.flags = bytes[start + 6];
  draft.payloadEncoding = encoding;
  draft.payload = bytes.subarray(at, at + payloadSize);
  draft.countedSize = countedSize;
}

/** Walks over lengths that somebody else has written. */
class Reader {
  offset: number;
  readonly #bytes: Uint8Array;
  readonly #end: number;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.offset = start;
    this.#end = end;
  }

  skip(size: number): void {
    if (size > this.#end - this.offset) throw new MalformedMessage("a draft is cut short");
    this.offset += size;
  }

  u16(): number {
    this.skip(2);
    return readU16(this.#bytes, this.offset - 2);
  }

  u32(): number {
    this.skip(4);
    return readU32(this.#bytes, this.offset - 4);
  }

  count(): number {
    const count = this.u16();
    if (count > LIST_COUNT_MAX) throw new MalformedMessage(`a draft has a list of ${count}`);
    return count;
  }
}

function writeId(target: Uint8Array, at: number, id: Uint8Array): number {
  for (let i = 0; i < ID_SIZE; i++) target[at + i] = id[i];
  return at + ID_SIZE;
}

function readId(bytes: Uint8Array, at: number, target: Uint8Array): number {
  for (let i = 0; i < ID_SIZE; i++) target[i] = bytes[at + i];
  return at + ID_SIZE;
}

function textOf(bytes: Uint8Array, start: number, size: number): string {
  const text = readUtf8(bytes, start, size);
  if (text === undefined) throw new MalformedMessage("a text of a draft is not UTF-8");
  return text;
}

const NONE: readonly never[] = Object.freeze([]);
