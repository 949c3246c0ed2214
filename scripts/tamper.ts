/**
 * Tampering with a copy of a journal, as the quickstart does to show that it is found out. FORMAT.md
 * has the bytes: a frame is its size, its CRC-32, and its body, whose last bytes are the payload.
 *
 * @module
 */
import { closeSync, openSync, readdirSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import type { LogPosition } from "../mod.ts";

const CHECKSUM_OFFSET = 4;
const BODY_OFFSET = 8;

/** The file of a segment. */
export function segmentFile(dir: string, segmentId: number): string {
  const pattern = new RegExp(`^0*${segmentId}\\.fbat$`);
  const name = readdirSync(dir).find((name) => pattern.test(name));
  if (name === undefined) throw new RangeError(`Cannot find segment ${segmentId} in "${dir}"`);
  return join(dir, name);
}

/** Flips one bit of the last payload byte of the event at `position`. Returns where that is. */
export function flipByte(dir: string, position: LogPosition): number {
  const at = position.offset + position.size - 1;
  edit(dir, position, (frame) => frame[frame.byteLength - 1] ^= 1);
  return at;
}

/** Makes the checksum of the event at `position` right again, as a forger would. */
export function repairChecksum(dir: string, position: LogPosition): void {
  edit(dir, position, (frame) => {
    new DataView(frame.buffer).setUint32(CHECKSUM_OFFSET, crc32(frame.subarray(BODY_OFFSET)));
  });
}

function edit(dir: string, position: LogPosition, change: (frame: Uint8Array) => void): void {
  const { segmentId, offset, size } = position;
  const fd = openSync(segmentFile(dir, segmentId), "r+");
  try {
    const frame = new Uint8Array(size);
    readSync(fd, frame, 0, size, offset);
    change(frame);
    writeSync(fd, frame, 0, size, offset);
  } finally {
    closeSync(fd);
  }
}
