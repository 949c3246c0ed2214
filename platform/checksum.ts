/**
 * CRC-32, the checksum of frames: it finds damage. Against somebody who means harm there are the hashes.
 *
 * @module
 */
import { crc32 as zlibCrc32 } from "node:zlib";

/**
 * The CRC-32 of `bytes`, as zlib and PNG compute it (polynomial 0xedb88320, reflected).
 *
 * @param seed the checksum of what came before, to go on from there; 0 starts afresh
 * @returns a number from 0 to 2³² - 1
 *
 * @example In one piece or in two
 * ```ts
 * import { equal } from "node:assert/strict";
 *
 * const bytes = new TextEncoder().encode("123456789");
 * equal(crc32(bytes), 0xcbf43926);
 * equal(crc32(bytes.subarray(4), crc32(bytes.subarray(0, 4))), 0xcbf43926);
 * ```
 */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return zlibCrc32(bytes, seed);
}
