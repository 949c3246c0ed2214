/**
 * `store.meta`: which journal a directory holds.
 *
 * | Offset | Size | Field      | Type   | Notes                                           |
 * | -----: | ---: | ---------- | ------ | ----------------------------------------------- |
 * |      0 |    6 | magic      | ASCII  | `FBATSM`                                        |
 * |      6 |    2 | `version`  | u16 BE | 1; a larger one is refused, whatever follows    |
 * |      8 |    4 | `checksum` | u32 BE | CRC-32 of everything from offset 12             |
 * |     12 |   16 | `storeId`  | bytes  | a UUIDv7, minted at the first writable open     |
 * |     28 |    8 | `createdUs`| u64 BE | microseconds since 1970                         |
 *
 * The id is a lineage: it stays with the journal when the directory is moved or copied, and every
 * segment repeats it, so that a file of another journal is recognised.
 *
 * @module
 */

import { crc32 } from "../platform/checksum.ts";
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from "./bytes.ts";
import { ID_SIZE } from "./frame.ts";

/** The name of the file. */
export const STORE_META_NAME = "store.meta";
/** Bytes of the file. */
export const STORE_META_SIZE: number = 12 + ID_SIZE + 8;
/** The most bytes we are willing to read: a newer version may have more, and has to be recognised. */
export const STORE_META_SIZE_MAX: number = 1 << 20;
const VERSION = 1;
const MAGIC = Uint8Array.of(0x46, 0x42, 0x41, 0x54, 0x53, 0x4d);

/** The facts of `store.meta`. */
export interface StoreMeta {
  /** Sixteen bytes. */
  readonly storeId: Uint8Array;
  /** Microseconds since 1970. */
  readonly createdUs: number;
}

/** What {@linkcode decodeStoreMeta} found. */
export type StoreMetaResult =
  | { readonly type: "meta"; readonly meta: StoreMeta }
  | { readonly type: "future"; readonly version: number; readonly supported: number }
  | { readonly type: "corrupt"; readonly reason: string };

/** The bytes of `store.meta`. */
export function encodeStoreMeta(meta: StoreMeta): Uint8Array {
  const bytes = new Uint8Array(STORE_META_SIZE);
  bytes.set(MAGIC);
  writeU16(bytes, 6, VERSION);
  bytes.set(meta.storeId, 12);
  writeU64(bytes, 12 + ID_SIZE, meta.createdUs);
  writeU32(bytes, 8, crc32(bytes.subarray(12)));
  return bytes;
}

/** Reads `store.meta`. */
export function decodeStoreMeta(bytes: Uint8Array): StoreMetaResult {
  if (bytes.byteLength < 12 || !MAGIC.every((byte, i) => bytes[i] === byte)) {
    return { type: "corrupt", reason: "the file does not begin with FBATSM" };
  }
  const version = readU16(bytes, 6);
  if (version > VERSION) return { type: "future", version, supported: VERSION };
  if (bytes.byteLength !== STORE_META_SIZE) {
    return { type: "corrupt", reason: `the file has ${bytes.byteLength} bytes` };
  }
  if (version !== VERSION || readU32(bytes, 8) !== crc32(bytes.subarray(12))) {
    return { type: "corrupt", reason: "the checksum does not match" };
  }
  const createdUs = readU64(bytes, 12 + ID_SIZE);
  if (!Number.isSafeInteger(createdUs)) {
    return { type: "corrupt", reason: "the creation time is not a safe integer" };
  }
  return { type: "meta", meta: { storeId: bytes.slice(12, 12 + ID_SIZE), createdUs } };
}
