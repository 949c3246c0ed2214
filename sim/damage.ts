/**
 * What becomes of files over the years: damage to a disk that nobody is using. Each of these returns another
 * disk, on which the damage is durable, and leaves the one it was given alone.
 *
 * @module
 */

import type { SimFs } from "./sim_fs.ts";

const PAGE_SIZE = 4096;

/** Reads a file and puts another one in its place. */
export function edited(fs: SimFs, path: string, edit: (bytes: Uint8Array) => Uint8Array): SimFs {
  const disk = fs.snapshot();
  return disk.withFile(path, edit(disk.readFile(path, Number.MAX_SAFE_INTEGER)));
}

/** Flips one bit: bit 0 is the lowest of the byte at `offset`. */
export function flipBit(fs: SimFs, path: string, offset: number, bit = 0): SimFs {
  return edited(fs, path, (bytes) => {
    if (offset >= bytes.byteLength) throw outside(path, offset);
    bytes[offset] ^= 1 << bit;
    return bytes;
  });
}

/** Fills a page of 4,096 bytes, or what there is of it, with zeros. */
export function zeroPage(fs: SimFs, path: string, page: number, pageSize = PAGE_SIZE): SimFs {
  return edited(fs, path, (bytes) => {
    if (page * pageSize >= bytes.byteLength) throw outside(path, page * pageSize);
    return bytes.fill(0, page * pageSize, (page + 1) * pageSize);
  });
}

/** A write that went to the wrong place: page `source` stands at `target` too. */
export function duplicatePage(
  fs: SimFs,
  path: string,
  { source, target, pageSize = PAGE_SIZE }: { source: number; target: number; pageSize?: number },
): SimFs {
  return edited(fs, path, (bytes) => {
    const end = Math.min((source + 1) * pageSize, bytes.byteLength);
    if (source * pageSize >= end) throw outside(path, source * pageSize);
    if (target * pageSize >= bytes.byteLength) throw outside(path, target * pageSize);
    return bytes.copyWithin(target * pageSize, source * pageSize, end);
  });
}

/** Cuts a file. */
export function truncate(fs: SimFs, path: string, size: number): SimFs {
  return edited(fs, path, (bytes) => {
    if (size > bytes.byteLength) throw outside(path, size);
    return bytes.subarray(0, size);
  });
}

/** Two files change places. */
export function swapFiles(fs: SimFs, one: string, other: string): SimFs {
  const disk = fs.snapshot();
  const bytes = disk.readFile(one, Number.MAX_SAFE_INTEGER);
  return disk.withFile(one, disk.readFile(other, Number.MAX_SAFE_INTEGER)).withFile(other, bytes);
}

/** A file is again what it was on another disk: an older one, or one of another journal. */
export function staleCopy(fs: SimFs, path: string, other: SimFs, otherPath: string = path): SimFs {
  return fs.withFile(path, other.readFile(otherPath, Number.MAX_SAFE_INTEGER));
}

/** A file is gone. */
export function missing(fs: SimFs, path: string): SimFs {
  return fs.withFile(path, undefined);
}

function outside(path: string, offset: number): RangeError {
  return new RangeError(`Cannot damage "${path}" at offset ${offset}: it is not that long`);
}
