/**
 * Segment headers: what stands in front of the frames of a log file.
 *
 * | Offset | Size | Field  | Type   | Notes                                    |
 * | -----: | ---: | ------ | ------ | ---------------------------------------- |
 * |      0 |    4 | magic  | ASCII  | `FBAT`                                   |
 * |      4 |    4 | `size` | u32 BE | bytes of the map, at most 64 KiB         |
 * |      8 |    n | map    | bytes  | a MessagePack map, with the keys below   |
 *
 * | Key               | Encoding | Meaning                                                       |
 * | ----------------- | -------- | ------------------------------------------------------------- |
 * | `version`         | uint16   | 2; a larger one is refused before anything else is looked at  |
 * | `store_id`        | bin8(16) | which journal, the same as in `store.meta`                    |
 * | `segment_id`      | uint32   | from 1; the file is named after it                            |
 * | `created_ns`      | uint64   | nanoseconds since 1970                                        |
 * | `first_sequence`  | uint64   | sequence of the first frame, also when there is none yet      |
 * | `previous_size`   | uint64   | where the frames of the segment before end; 0 for the first   |
 * | `previous_hash`   | bin8(32) | event hash of the last frame before; zeros for the first      |
 * | `last_segment_id` | uint32   | merged only: it stands for the ids from its own up to this    |
 * | `sealed_size`     | uint64   | merged only: what the next segment's `previous_size` says     |
 * | `frames_end`      | uint64   | merged only: where its own frames end                         |
 * | `compaction_id`   | bin8(16) | merged only: which compaction made it                         |
 * | `checksum`        | uint32   | CRC-32 of every byte in front of this number, magic included  |
 *
 * A segment that compaction made of several has all twelve keys, any other the eight that are not
 * marked. A merged one continues whatever its first source continued, and the segment behind it still
 * names the size its last source had when it was sealed.
 *
 * `previous_size` and `previous_hash` are what makes a shortened sealed segment visible: it was synced
 * before this header was written, so a shorter one has lost acknowledged events.
 *
 * @module
 */

import { crc32 } from "../platform/checksum.ts";
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from "./bytes.ts";
import { ID_SIZE } from "./frame.ts";
import { HASH_SIZE } from "./hash.ts";

/** The format this program writes, and the newest it reads. */
export const FORMAT_VERSION = 2;
/** Bytes in front of the map. */
const PREFIX_SIZE = 8;
/** The largest map we are willing to read. */
const MAP_SIZE_MAX = 64 * 1024;
/** No whole header is larger than this. */
export const SEGMENT_HEADER_SIZE_MAX: number = PREFIX_SIZE + MAP_SIZE_MAX;
const MAGIC = Uint8Array.of(0x46, 0x42, 0x41, 0x54);

/** What a merged segment says besides. */
export interface MergeFacts {
  /** The id of the last segment it stands for; at least its own. */
  readonly lastSegmentId: number;
  /** Where the frames of the last source ended when it was sealed: the next segment says the same. */
  readonly sealedSize: number;
  /** Where its own frames end. */
  readonly framesEnd: number;
  /** Which compaction made it, sixteen bytes. */
  readonly compactionId: Uint8Array;
}

/** The facts of a segment header. */
export interface SegmentHeader {
  /** Which journal, sixteen bytes. */
  readonly storeId: Uint8Array;
  /** From 1. */
  readonly segmentId: number;
  /** Nanoseconds since 1970. */
  readonly createdNs: bigint;
  /** Sequence of the first frame. */
  readonly firstSequence: number;
  /** Where the frames of the segment before end, in bytes; 0 for the first segment. */
  readonly previousSize: number;
  /** Event hash of the last frame before; zeros for the first segment. */
  readonly previousHash: Uint8Array;
  /** Only in a segment that compaction made. */
  readonly merge?: MergeFacts;
}

/** What {@linkcode decodeSegmentHeader} found. */
export type SegmentHeaderResult =
  | { readonly type: "header"; readonly header: SegmentHeader; readonly end: number }
  | { readonly type: "future"; readonly version: number }
  | { readonly type: "cut" }
  | { readonly type: "corrupt"; readonly reason: string };

type Field = readonly [key: string, marker: number[], size: number];

const COMMON_FIELDS: readonly Field[] = [
  ["version", [0xcd], 2],
  ["store_id", [0xc4, ID_SIZE], ID_SIZE],
  ["segment_id", [0xce], 4],
  ["created_ns", [0xcf], 8],
  ["first_sequence", [0xcf], 8],
  ["previous_size", [0xcf], 8],
  ["previous_hash", [0xc4, HASH_SIZE], HASH_SIZE],
];
const MERGE_FIELDS: readonly Field[] = [
  ["last_segment_id", [0xce], 4],
  ["sealed_size", [0xcf], 8],
  ["frames_end", [0xcf], 8],
  ["compaction_id", [0xc4, ID_SIZE], ID_SIZE],
];
const CHECKSUM_FIELD: Field = ["checksum", [0xce], 4];

/** Where the value of each key starts, behind its MessagePack marker; its size; and the whole header. */
const LAYOUT = layOut([...COMMON_FIELDS, CHECKSUM_FIELD]);
const MERGED_LAYOUT = layOut([...COMMON_FIELDS, ...MERGE_FIELDS, CHECKSUM_FIELD]);
/** Bytes of the header of a merged segment. */
export const MERGED_HEADER_SIZE: number = MERGED_LAYOUT.template.byteLength;

interface Layout {
  /** A header with every value zero. */
  readonly template: Uint8Array;
  /** 1 for each byte that belongs to a value. */
  readonly isValue: Uint8Array;
  readonly offsets: Readonly<Record<string, number>>;
}

function layOut(fields: readonly Field[]): Layout {
  const bytes: number[] = [...MAGIC, 0, 0, 0, 0, 0x80 | fields.length];
  const values: [start: number, size: number][] = [];
  const offsets: Record<string, number> = {};
  for (const [key, marker, size] of fields) {
    bytes.push(0xa0 | key.length, ...Array.from(key, (letter) => letter.charCodeAt(0)), ...marker);
    offsets[key] = bytes.length;
    values.push([bytes.length, size]);
    for (let i = 0; i < size; i++) bytes.push(0);
  }
  const template = Uint8Array.from(bytes);
  writeU32(template, 4, template.byteLength - PREFIX_SIZE);
  const isValue = new Uint8Array(template.byteLength);
  for (const [start, size] of values) isValue.fill(1, start, start + size);
  return { template, isValue, offsets };
}

/** The bytes of a segment header. */
export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const { merge } = header;
  const { template, offsets } = merge === undefined ? LAYOUT : MERGED_LAYOUT;
  const bytes = template.slice();
  writeU16(bytes, offsets.version, FORMAT_VERSION);
  bytes.set(header.storeId, offsets.store_id);
  writeU32(bytes, offsets.segment_id, header.segmentId);
  new DataView(bytes.buffer).setBigUint64(offsets.created_ns, header.createdNs);
  writeU64(bytes, offsets.first_sequence, header.firstSequence);
  writeU64(bytes, offsets.previous_size, header.previousSize);
  bytes.set(header.previousHash, offsets.previous_hash);
  if (merge !== undefined) {
    writeU32(bytes, offsets.last_segment_id, merge.lastSegmentId);
    writeU64(bytes, offsets.sealed_size, merge.sealedSize);
    writeU64(bytes, offsets.frames_end, merge.framesEnd);
    bytes.set(merge.compactionId, offsets.compaction_id);
  }
  writeU32(bytes, offsets.checksum, crc32(bytes.subarray(0, offsets.checksum)));
  return bytes;
}

/** Reads the header at the start of a segment. Give it the whole file, or at least the first 64 KiB. */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeaderResult {
  for (let i = 0; i < MAGIC.byteLength; i++) {
    if (i >= bytes.byteLength) return { type: "cut" };
    if (bytes[i] !== MAGIC[i]) {
      return { type: "corrupt", reason: "the file does not begin with FBAT" };
    }
  }
  if (bytes.byteLength < PREFIX_SIZE) return { type: "cut" };
  const mapSize = readU32(bytes, 4);
  if (mapSize === 0 || mapSize > MAP_SIZE_MAX) {
    return { type: "corrupt", reason: `the header claims a map of ${mapSize} bytes` };
  }
  const end = PREFIX_SIZE + mapSize;
  if (end > bytes.byteLength) return { type: "cut" };
  const isMerged = end === MERGED_HEADER_SIZE;
  const { template, isValue, offsets } = isMerged ? MERGED_LAYOUT : LAYOUT;
  // The version comes first in every format, so that a newer header is known for what it is.
  const versionEnd = offsets.version + 2;
  if (end < versionEnd || !startsLike(bytes, template, isValue, versionEnd)) {
    return { type: "corrupt", reason: "the header does not begin with its version" };
  }
  const version = readU16(bytes, offsets.version);
  if (version > FORMAT_VERSION) return { type: "future", version };
  if (version < FORMAT_VERSION) {
    return { type: "corrupt", reason: `format version ${version} is not one this program wrote` };
  }
  if (end !== template.byteLength || !startsLike(bytes, template, isValue, end)) {
    return { type: "corrupt", reason: "the header lacks a field or has one of another type" };
  }
  if (readU32(bytes, offsets.checksum) !== crc32(bytes.subarray(0, offsets.checksum))) {
    return { type: "corrupt", reason: "the header's checksum does not match" };
  }
  const segmentId = readU32(bytes, offsets.segment_id);
  const firstSequence = readU64(bytes, offsets.first_sequence);
  const previousSize = readU64(bytes, offsets.previous_size);
  if (
    segmentId < 1 || !Number.isSafeInteger(firstSequence) || !Number.isSafeInteger(previousSize)
  ) {
    return { type: "corrupt", reason: "the header has a number out of its range" };
  }
  const merge = isMerged ? decodeMerge(bytes, offsets) : undefined;
  if (merge !== undefined) {
    const { lastSegmentId, sealedSize, framesEnd } = merge;
    if (
      lastSegmentId < segmentId || !Number.isSafeInteger(sealedSize) ||
      !Number.isSafeInteger(framesEnd) || framesEnd < end
    ) return { type: "corrupt", reason: "the header has a number out of its range" };
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return {
    type: "header",
    header: {
      storeId: bytes.slice(offsets.store_id, offsets.store_id + ID_SIZE),
      segmentId,
      createdNs: view.getBigUint64(offsets.created_ns),
      firstSequence,
      previousSize,
      previousHash: bytes.slice(offsets.previous_hash, offsets.previous_hash + HASH_SIZE),
      ...(merge !== undefined && { merge }),
    },
    end,
  };
}

function decodeMerge(bytes: Uint8Array, offsets: Layout["offsets"]): MergeFacts {
  return {
    lastSegmentId: readU32(bytes, offsets.last_segment_id),
    sealedSize: readU64(bytes, offsets.sealed_size),
    framesEnd: readU64(bytes, offsets.frames_end),
    compactionId: bytes.slice(offsets.compaction_id, offsets.compaction_id + ID_SIZE),
  };
}

/** Whether everything but the values is as it should be. The size in front of the map may differ. */
function startsLike(
  bytes: Uint8Array,
  template: Uint8Array,
  isValue: Uint8Array,
  end: number,
): boolean {
  // A newer header may have another number of keys.
  const isNewer = end < template.byteLength;
  for (let i = PREFIX_SIZE + (isNewer ? 1 : 0); i < end; i++) {
    if (isValue[i] === 0 && bytes[i] !== template[i]) return false;
  }
  return true;
}
