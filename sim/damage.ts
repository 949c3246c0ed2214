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

/** Fills a range with zeros. */
export function zeroRange(fs: SimFs, path: string, start: number, end: number): SimFs {
  return edited(fs, path, (bytes) => {
    if (end > bytes.byteLength) throw outside(path, end);
    return bytes.fill(0, start, end);
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

/** A write that went into the wrong file: page `source` of `sourcePath` stands at `target` of `path`. */
export function misdirectPage(
  fs: SimFs,
  path: string,
  { sourcePath, source, target, pageSize = PAGE_SIZE }: {
    sourcePath: string;
    source: number;
    target: number;
    pageSize?: number;
  },
): SimFs {
  const other = fs.readFile(sourcePath, Number.MAX_SAFE_INTEGER);
  const page = other.subarray(source * pageSize, (source + 1) * pageSize);
  if (page.byteLength === 0) throw outside(sourcePath, source * pageSize);
  return edited(fs, path, (bytes) => {
    const start = target * pageSize;
    if (start >= bytes.byteLength) throw outside(path, start);
    bytes.set(page.subarray(0, bytes.byteLength - start), start);
    return bytes;
  });
}

/** The same page of two files changes places. */
export function swapPages(
  fs: SimFs,
  one: string,
  other: string,
  { page, pageSize = PAGE_SIZE }: { page: number; pageSize?: number },
): SimFs {
  const place = { source: page, target: page, pageSize };
  const there = misdirectPage(fs, one, { sourcePath: other, ...place });
  const bytes = misdirectPage(fs, other, { sourcePath: one, ...place });
  return staleCopy(there, other, bytes);
}

/** Bytes stand behind the end of a file. */
export function appendBytes(fs: SimFs, path: string, tail: Uint8Array): SimFs {
  return edited(fs, path, (bytes) => {
    const longer = new Uint8Array(bytes.byteLength + tail.byteLength);
    longer.set(bytes);
    longer.set(tail, bytes.byteLength);
    return longer;
  });
}

/** A file stands under another name too. */
export function duplicateFile(fs: SimFs, path: string, target: string): SimFs {
  return fs.withFile(target, fs.readFile(path, Number.MAX_SAFE_INTEGER));
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
