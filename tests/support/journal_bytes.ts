/**
 * Surgery on the bytes of a journal: whole trees, single segments, single frames.
 *
 * @module
 */
import { crc32 } from "../../platform/checksum.ts";
import type { StoreFs } from "../../platform/fs.ts";
import { MemoryFs } from "../../platform/memory.ts";
import { readU32, writeU16, writeU32 } from "../../store/bytes.ts";
import {
  bodyProblem,
  checksumMatches,
  CONTENT_HASH_OFFSET,
  FRAME_HEADER_SIZE,
  groupRemainingOf,
  payloadStartOf,
  PREV_HASH_OFFSET,
  readFrameSize,
  sequenceOf,
} from "../../store/frame.ts";
import { blake3 } from "../../store/hash.ts";
import { decodeSegmentHeader } from "../../store/segment_header.ts";

const FILE_SIZE_MAX = 2 ** 31;
/** Behind the MessagePack marker of element 8; see FORMAT.md. */
const KIND_OFFSET = 91;

/** Files by path, relative to the directory they were read from. */
export type Tree = ReadonlyMap<string, Uint8Array>;

/** Every file below a directory, empty directories not shown. */
export function readTree(fs: StoreFs, dir: string): Map<string, Uint8Array> {
  const tree = new Map<string, Uint8Array>();
  const walk = (path: string, prefix: string): void => {
    for (const { name, kind } of fs.list(path)) {
      if (kind === "dir") walk(`${path}/${name}`, `${prefix}${name}/`);
      else if (kind === "file") {
        tree.set(prefix + name, fs.readFile(`${path}/${name}`, FILE_SIZE_MAX));
      }
    }
  };
  walk(dir, "");
  return tree;
}

/** A `MemoryFs` that holds these files, and nothing else, in `dir`. */
export function fsOf(tree: Tree, dir = "journal"): MemoryFs {
  const fs = new MemoryFs();
  fs.createDirAll(dir);
  for (const [name, bytes] of tree) {
    const path = `${dir}/${name}`;
    if (name.includes("/")) fs.createDirAll(path.slice(0, path.lastIndexOf("/")));
    writeFile(fs, path, bytes);
  }
  return fs;
}

/** Makes a file hold exactly these bytes. */
export function writeFile(fs: StoreFs, path: string, bytes: Uint8Array): void {
  fs.removeIfPresent(path);
  const file = fs.open(path, "createNew");
  file.writeAt(bytes, 0, bytes.byteLength, 0);
  file.close();
}

/** A whole file. */
export function readFile(fs: StoreFs, path: string): Uint8Array {
  return fs.readFile(path, FILE_SIZE_MAX);
}

/** Where one frame stands. */
export interface FramePlace {
  /** Where it starts. */
  readonly offset: number;
  /** Where it ends. */
  readonly end: number;
  /** Its event's place in the journal. */
  readonly sequence: number;
  /** How many frames of its group follow. */
  readonly groupRemaining: number;
}

/** The frames of a segment that is sound up to where they end. */
export function framesOf(segment: Uint8Array): FramePlace[] {
  const decoded = decodeSegmentHeader(segment);
  if (decoded.type !== "header") throw new Error(`the segment has no header: ${decoded.type}`);
  const frames: FramePlace[] = [];
  for (let offset = decoded.end;;) {
    const size = readFrameSize(segment, offset, segment.byteLength);
    if (size <= 0 || !checksumMatches(segment, offset, size)) return frames;
    const body = offset + FRAME_HEADER_SIZE;
    if (bodyProblem(segment, body, size) !== undefined) return frames;
    const end = body + size;
    frames.push({
      offset,
      end,
      sequence: sequenceOf(segment, body),
      groupRemaining: groupRemainingOf(segment, body),
    });
    offset = end;
  }
}

/** A segment without the space that was taken in advance. */
export function trimmed(segment: Uint8Array): Uint8Array {
  const last = framesOf(segment).at(-1);
  const decoded = decodeSegmentHeader(segment);
  return segment.slice(0, last?.end ?? (decoded.type === "header" ? decoded.end : 0));
}

/** A copy with one bit flipped. */
export function flipBit(bytes: Uint8Array, offset: number, bit = 0): Uint8Array {
  const copy = bytes.slice();
  copy[offset] ^= 1 << bit;
  return copy;
}

/** Byte strings one behind the other. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((size, part) => size + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
}

/** Makes the checksum of the frame at `offset` fit its body again, as a forger would. */
export function fixChecksum(segment: Uint8Array, offset: number): void {
  const body = offset + FRAME_HEADER_SIZE;
  writeU32(segment, offset + 4, crc32(segment.subarray(body, body + readU32(segment, offset))));
}

/** Makes `contentHash` fit the payload again, and the checksum fit the body. */
export function fixContentHash(segment: Uint8Array, offset: number): void {
  const body = bodyOf(segment, offset);
  const payload = payloadStartOf(body, 0);
  body.set(blake3(body.subarray(payload + 5)), CONTENT_HASH_OFFSET);
  fixChecksum(segment, offset);
}

/** Sets the `prevHash` of a frame, and makes the checksum fit. */
export function setPrevHash(segment: Uint8Array, offset: number, hash: Uint8Array): void {
  bodyOf(segment, offset).set(hash, PREV_HASH_OFFSET);
  fixChecksum(segment, offset);
}

/** Sets the kind of a frame, and makes the checksum fit. */
export function setKind(segment: Uint8Array, offset: number, kind: number): void {
  writeU16(bodyOf(segment, offset), KIND_OFFSET, kind);
  fixChecksum(segment, offset);
}

/** The event hash of the frame at `offset`. */
export function eventHashAt(segment: Uint8Array, offset: number): Uint8Array {
  const body = bodyOf(segment, offset);
  return blake3(body.subarray(0, payloadStartOf(body, 0)));
}

/** The body of the frame at `offset`, as a view. */
export function bodyOf(segment: Uint8Array, offset: number): Uint8Array {
  const body = offset + FRAME_HEADER_SIZE;
  return segment.subarray(body, body + readU32(segment, offset));
}
