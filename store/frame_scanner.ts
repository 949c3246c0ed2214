/**
 * Reading a segment from front to back, frame by frame, in large reads. Recovery, verification and
 * followers all stand on this: it says what it found and never decides what that means.
 *
 * @module
 */

import type { StoreFile } from "../platform/fs.ts";
import { assert } from "./assert.ts";
import {
  bodyProblem,
  checksumMatches,
  FRAME_CUT,
  FRAME_HEADER_SIZE,
  FRAME_NONE,
  FRAME_SIZE_INVALID,
  readFrameSize,
} from "./frame.ts";
import { readU32 } from "./bytes.ts";

/** Bytes read at a time. */
const READ_SIZE = 1 << 20;

/** What {@linkcode FrameScanner.next} found at the current offset. */
export type ScanResult =
  /** A sound frame: `bytes`, `body` and `bodySize` say where. */
  | "frame"
  /** Nothing more: the end of the range. */
  | "end"
  /** A frame of size zero: the log ends here, unless something follows. */
  | "zeros"
  /** A frame that would run past the end of the range. */
  | "cut"
  /** Something that is not a frame of ours; `reason` says why. */
  | "damaged";

/** A forward reader of frames between two offsets of a file. */
export class FrameScanner {
  /** Holds the current frame. Overwritten by the next call. */
  bytes: Uint8Array = new Uint8Array(0);
  /** Where the current body starts in `bytes`. */
  body = 0;
  /** Bytes of the current body. */
  bodySize = 0;
  /** Where the current frame starts in the file. */
  offset: number;
  /** Why the last result was `"damaged"`. */
  reason = "";

  readonly #file: StoreFile;
  readonly #end: number;
  #next: number;
  /** The file offset of `bytes[0]`, and how many bytes of it are filled. */
  #windowStart: number;
  #windowSize = 0;

  /** Reads frames of `file` from `start` up to `end`. The file is not closed. */
  constructor(file: StoreFile, start: number, end: number) {
    this.#file = file;
    this.#end = end;
    this.#next = this.offset = this.#windowStart = start;
  }

  /** Where the next frame would start. */
  get nextOffset(): number {
    return this.#next;
  }

  /** Looks at what stands at the next offset, and moves past it if it is a sound frame. */
  next(): ScanResult {
    const start = this.offset = this.#next;
    if (start >= this.#end) return "end";
    let at = this.#fill(start, FRAME_HEADER_SIZE);
    let available = this.#windowStart + this.#windowSize;
    let size = readFrameSize(this.bytes, at, this.#windowSize);
    if (size === FRAME_CUT && available < this.#end) {
      at = this.#fill(start, FRAME_HEADER_SIZE + readU32(this.bytes, at));
      available = this.#windowStart + this.#windowSize;
      size = readFrameSize(this.bytes, at, this.#windowSize);
    }
    if (size === FRAME_NONE) return "zeros";
    if (size === FRAME_CUT) {
      assert(available >= this.#end, "a cut frame runs past the range, not past the window");
      return "cut";
    }
    if (size === FRAME_SIZE_INVALID) {
      return this.#damaged(`the frame claims ${readU32(this.bytes, at)} bytes`);
    }
    if (!checksumMatches(this.bytes, at, size)) {
      return this.#damaged("the frame's checksum does not match");
    }
    this.body = at + FRAME_HEADER_SIZE;
    this.bodySize = size;
    const problem = bodyProblem(this.bytes, this.body, size);
    if (problem !== undefined) return this.#damaged(problem);
    this.#next = start + FRAME_HEADER_SIZE + size;
    return "frame";
  }

  /** A copy of the current body. */
  copyBody(): Uint8Array {
    return this.bytes.slice(this.body, this.body + this.bodySize);
  }

  #damaged(reason: string): ScanResult {
    this.reason = reason;
    return "damaged";
  }

  /** Makes `size` bytes from file offset `start` available, as far as the range goes; says where. */
  #fill(start: number, size: number): number {
    const have = this.#windowStart + this.#windowSize - start;
    if (have < Math.min(size, this.#end - start)) {
      const wanted = Math.min(Math.max(READ_SIZE, size), this.#end - start);
      const carried = Math.max(0, have);
      if (wanted > this.bytes.byteLength) {
        const larger = new Uint8Array(wanted);
        larger.set(this.bytes.subarray(this.#windowSize - carried, this.#windowSize));
        this.bytes = larger;
      } else {
        this.bytes.copyWithin(0, this.#windowSize - carried, this.#windowSize);
      }
      let filled = carried;
      while (filled < wanted) {
        const count = this.#file.readAt(this.bytes, filled, wanted - filled, start + filled);
        if (count === 0) break;
        filled += count;
      }
      this.#windowStart = start;
      this.#windowSize = filled;
    }
    return start - this.#windowStart;
  }
}

/**
 * The offset of the first sound frame at or after `start`, or -1. Looks for the constant bytes that
 * begin every body and checks what they belong to; a budget of checksummed bytes keeps hostile input
 * from making that quadratic, and an exhausted budget counts as found, because the caller must then not
 * call the damage harmless.
 */
export function findFrameAfter(bytes: Uint8Array, start: number): number {
  let budget = 64 * 1024 * 1024 + bytes.byteLength * 4;
  const last = bytes.byteLength - FRAME_HEADER_SIZE - 4;
  for (let at = start; at <= last; at++) {
    if (
      bytes[at + 8] !== 0xdc || bytes[at + 9] !== 0x00 || bytes[at + 10] !== 20 ||
      bytes[at + 11] !== 0xcf
    ) continue;
    const size = readFrameSize(bytes, at, bytes.byteLength);
    if (size <= 0) continue;
    if (budget < 0) return at;
    budget -= size;
    if (
      checksumMatches(bytes, at, size) &&
      bodyProblem(bytes, at + FRAME_HEADER_SIZE, size) === undefined
    ) return at;
  }
  return -1;
}
