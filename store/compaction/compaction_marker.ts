/**
 * `compaction.pending`: what says, while segments are being replaced, which files belong together.
 *
 * | Offset | Size | Field          | Type   | Notes                                              |
 * | -----: | ---: | -------------- | ------ | -------------------------------------------------- |
 * |      0 |    6 | magic          | ASCII  | `FBATCP`                                           |
 * |      6 |    2 | `version`      | u16 BE | 1; a larger one is refused, whatever follows       |
 * |      8 |    4 | `checksum`     | u32 BE | CRC-32 of everything from offset 12                |
 * |     12 |   16 | `storeId`      | bytes  | which journal                                      |
 * |     28 |   16 | `compactionId` | bytes  | the merged segment's header says the same          |
 * |     44 |    4 | `mergedId`     | u32 BE | the id of the merged segment: the lowest source    |
 * |     48 |    8 | `stagedSize`   | u64 BE | bytes of the merged segment's file                 |
 * |     56 |    4 | `stagedCrc`    | u32 BE | CRC-32 of the whole file                           |
 * |     60 |    4 | `count`        | u32 BE | how many sources, 1 to 65,536                      |
 * |     64 |  4 n | `sourceIds`    | u32 BE | ascending; the first is `mergedId`                 |
 *
 * It is published before the first name changes and removed after the last one has. What it means for
 * the files around it is decided in `segment_set.ts`.
 *
 * @module
 */

import { crc32 } from "../../platform/checksum.ts";
import { assert } from "../assert.ts";
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from "../bytes.ts";
import { ID_SIZE } from "../frame.ts";

/** The name of the file. */
export const MARKER_NAME = "compaction.pending";
/** The most segments that one transaction takes. */
export const SOURCE_COUNT_MAX = 65_536;
/** The most bytes we are willing to read: a newer version may have more, and has to be recognised. */
export const MARKER_SIZE_MAX: number = 1 << 20;
const VERSION = 1;
const MAGIC = Uint8Array.of(0x46, 0x42, 0x41, 0x54, 0x43, 0x50);
const STORE_ID = 12;
const COMPACTION_ID = STORE_ID + ID_SIZE;
const MERGED_ID = COMPACTION_ID + ID_SIZE;
const STAGED_SIZE = MERGED_ID + 4;
const STAGED_CRC = STAGED_SIZE + 8;
const COUNT = STAGED_CRC + 4;
const SOURCE_IDS = COUNT + 4;

/** What a compaction is about to do. */
export interface CompactionMarker {
  /** Sixteen bytes. */
  readonly storeId: Uint8Array;
  /** Sixteen bytes. */
  readonly compactionId: Uint8Array;
  /** The id of the merged segment. */
  readonly mergedId: number;
  /** Bytes of the merged segment's file. */
  readonly stagedSize: number;
  /** CRC-32 of it. */
  readonly stagedCrc: number;
  /** The segments it replaces, ascending; the first is `mergedId`. */
  readonly sourceIds: readonly number[];
}

/** What {@linkcode decodeMarker} found. */
export type MarkerResult =
  | { readonly type: "marker"; readonly marker: CompactionMarker }
  | { readonly type: "future"; readonly version: number; readonly supported: number }
  | { readonly type: "corrupt"; readonly reason: string };

/** The bytes of `compaction.pending`. */
export function encodeMarker(marker: CompactionMarker): Uint8Array {
  const { sourceIds } = marker;
  assert(
    sourceIds.length >= 1 && sourceIds.length <= SOURCE_COUNT_MAX &&
      sourceIds[0] === marker.mergedId,
    "a compaction has sources, and the first gives its id to the merged segment",
  );
  const bytes = new Uint8Array(SOURCE_IDS + 4 * sourceIds.length);
  bytes.set(MAGIC);
  writeU16(bytes, 6, VERSION);
  bytes.set(marker.storeId, STORE_ID);
  bytes.set(marker.compactionId, COMPACTION_ID);
  writeU32(bytes, MERGED_ID, marker.mergedId);
  writeU64(bytes, STAGED_SIZE, marker.stagedSize);
  writeU32(bytes, STAGED_CRC, marker.stagedCrc);
  writeU32(bytes, COUNT, sourceIds.length);
  for (const [i, id] of sourceIds.entries()) writeU32(bytes, SOURCE_IDS + 4 * i, id);
  writeU32(bytes, 8, crc32(bytes.subarray(STORE_ID)));
  return bytes;
}

/** Reads `compaction.pending`. */
export function decodeMarker(bytes: Uint8Array): MarkerResult {
  const corrupt = (reason: string): MarkerResult => ({ type: "corrupt", reason });
  if (bytes.byteLength < STORE_ID || !MAGIC.every((byte, i) => bytes[i] === byte)) {
    return corrupt("the file does not begin with FBATCP");
  }
  const version = readU16(bytes, 6);
  if (version > VERSION) return { type: "future", version, supported: VERSION };
  if (bytes.byteLength < SOURCE_IDS) return corrupt(`the file has ${bytes.byteLength} bytes`);
  if (version !== VERSION || readU32(bytes, 8) !== crc32(bytes.subarray(STORE_ID))) {
    return corrupt("the checksum does not match");
  }
  const count = readU32(bytes, COUNT);
  if (count < 1 || count > SOURCE_COUNT_MAX || bytes.byteLength !== SOURCE_IDS + 4 * count) {
    return corrupt(`the file has ${bytes.byteLength} bytes and names ${count} segments`);
  }
  const mergedId = readU32(bytes, MERGED_ID);
  const stagedSize = readU64(bytes, STAGED_SIZE);
  const sourceIds: number[] = [];
  for (let i = 0; i < count; i++) {
    const id = readU32(bytes, SOURCE_IDS + 4 * i);
    if (id <= (sourceIds.at(-1) ?? 0)) return corrupt("the segments it names are not in order");
    sourceIds.push(id);
  }
  if (sourceIds[0] !== mergedId || !Number.isSafeInteger(stagedSize)) {
    return corrupt("it has a number out of its range");
  }
  return {
    type: "marker",
    marker: {
      storeId: bytes.slice(STORE_ID, STORE_ID + ID_SIZE),
      compactionId: bytes.slice(COMPACTION_ID, COMPACTION_ID + ID_SIZE),
      mergedId,
      stagedSize,
      stagedCrc: readU32(bytes, STAGED_CRC),
      sourceIds,
    },
  };
}
