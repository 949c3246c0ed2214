/**
 * Segment headers: what stands in front of the frames of a log file.
 *
 * | Offset | Size | Field  | Type   | Notes                                    |
 * | -----: | ---: | ------ | ------ | ---------------------------------------- |
 * |      0 |    4 | magic  | ASCII  | `FBAT`                                   |
 * |      4 |    4 | `size` | u32 BE | bytes of the map, at most 64 KiB         |
 * |      8 |    n | map    | bytes  | a MessagePack map, the eight keys below  |
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
 * | `checksum`        | uint32   | CRC-32 of every byte in front of this number, magic included  |
 *
 * `previous_size` and `previous_hash` are what makes a shortened sealed segment visible: it was synced
 * before this header was written, so a shorter one has lost acknowledged events.
 *
 * @module
 */

import { decode } from "@msgpack/msgpack";
import { crc32 } from "../platform/checksum.ts";
import { readU32, writeU16, writeU32, writeU64 } from "./bytes.ts";
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
}

/** What {@linkcode decodeSegmentHeader} found. */
export type SegmentHeaderResult =
  | { readonly type: "header"; readonly header: SegmentHeader; readonly end: number }
  | { readonly type: "future"; readonly version: number }
  | { readonly type: "cut" }
  | { readonly type: "corrupt"; readonly reason: string };

/** The bytes of a segment header. */
export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const bytes = new Uint8Array(512);
  bytes.set(MAGIC);
  let at = PREFIX_SIZE;
  bytes[at++] = 0x80 | 8;
  const key = (name: string) => {
    bytes[at++] = 0xa0 | name.length;
    for (let i = 0; i < name.length; i++) bytes[at++] = name.charCodeAt(i);
  };
  const uint64 = (value: number) => {
    bytes[at] = 0xcf;
    writeU64(bytes, at + 1, value);
    at += 9;
  };
  const uint32 = (value: number) => {
    bytes[at] = 0xce;
    writeU32(bytes, at + 1, value);
    at += 5;
  };
  const bin8 = (value: Uint8Array) => {
    bytes[at] = 0xc4;
    bytes[at + 1] = value.byteLength;
    bytes.set(value, at + 2);
    at += 2 + value.byteLength;
  };
  key("version");
  bytes[at] = 0xcd;
  writeU16(bytes, at + 1, FORMAT_VERSION);
  at += 3;
  key("store_id");
  bin8(header.storeId);
  key("segment_id");
  uint32(header.segmentId);
  key("created_ns");
  bytes[at] = 0xcf;
  new DataView(bytes.buffer).setBigUint64(at + 1, header.createdNs);
  at += 9;
  key("first_sequence");
  uint64(header.firstSequence);
  key("previous_size");
  uint64(header.previousSize);
  key("previous_hash");
  bin8(header.previousHash);
  key("checksum");
  const end = at + 5;
  writeU32(bytes, 4, end - PREFIX_SIZE);
  bytes[at] = 0xce; // the checksum covers its own marker
  uint32(crc32(bytes.subarray(0, at + 1)));
  return bytes.slice(0, end);
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
  let map: Record<string, unknown>;
  try {
    map = decode(bytes.subarray(PREFIX_SIZE, end), { useBigInt64: true }) as Record<
      string,
      unknown
    >;
  } catch (error) {
    return { type: "corrupt", reason: `the header is not MessagePack: ${messageOf(error)}` };
  }
  if (map === null || typeof map !== "object") {
    return { type: "corrupt", reason: "the header is not a map" };
  }
  const version = map.version;
  if (typeof version !== "number" || !Number.isInteger(version) || version < 0) {
    return { type: "corrupt", reason: "the header has no version" };
  }
  if (version > FORMAT_VERSION) return { type: "future", version };
  if (version < FORMAT_VERSION) {
    return { type: "corrupt", reason: `format version ${version} is not one this program wrote` };
  }
  if (map.checksum !== crc32(bytes.subarray(0, end - 4))) {
    return { type: "corrupt", reason: "the header's checksum does not match" };
  }
  const firstSequence = toSafe(map.first_sequence);
  const previousSize = toSafe(map.previous_size);
  const { store_id: storeId, segment_id: segmentId, created_ns: createdNs } = map;
  const previousHash = map.previous_hash;
  if (
    !isBytes(storeId, ID_SIZE) || !isBytes(previousHash, HASH_SIZE) ||
    typeof segmentId !== "number" || segmentId < 1 || typeof createdNs !== "bigint" ||
    firstSequence === undefined || previousSize === undefined
  ) {
    return { type: "corrupt", reason: "the header lacks a field or has one of another type" };
  }
  return {
    type: "header",
    header: {
      storeId: storeId.slice(),
      segmentId,
      createdNs,
      firstSequence,
      previousSize,
      previousHash: previousHash.slice(),
    },
    end,
  };
}

function toSafe(value: unknown): number | undefined {
  if (typeof value !== "bigint" || value > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  return Number(value);
}

function isBytes(value: unknown, size: number): value is Uint8Array {
  return value instanceof Uint8Array && value.byteLength === size;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
