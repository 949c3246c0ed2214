/**
 * Reading a segment from front to back, frame by frame, in large reads. Recovery, verification and
 * followers all stand on this: it says what it found and never decides what that means.
 *
 * @module
 */

import type { StoreFile } from "../platform/fs.ts";
import {
  bodyProblem,
  checksumMatches,
  claimedBodySize,
  FRAME_BODY_SIZE_MAX,
  FRAME_BODY_SIZE_MIN,
  FRAME_CUT,
  FRAME_HEADER_SIZE,
  FRAME_NONE,
  FRAME_SIZE_INVALID,
  readFrameSize,
} from "./frame.ts";
import { readU32 } from "./bytes.ts";
import { FOOTER_MAGIC } from "./index/segment_footer.ts";

/** Bytes read at a time: little at first, because a follower mostly finds nothing new. */
const READ_SIZE_MIN = 1 << 16;
const READ_SIZE_MAX = 1 << 20;

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
  /** What begins like the index footer of a sealed segment. */
  | "footer"
  /** Something that is not a frame of ours; `reason` says why. */
  | "damaged";

/** As much of a file as reading takes. */
export type ReadableFile = Pick<StoreFile, "readAt">;

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

  readonly #file: ReadableFile;
  readonly #end: number;
  #next: number;
  #readSize = READ_SIZE_MIN;
  /** The file offset of `bytes[0]`, and how many bytes of it are filled. */
  #windowStart: number;
  #windowSize = 0;

  /** Reads frames of `file` from `start` up to `end`. The file is not closed. */
  constructor(file: ReadableFile, start: number, end: number) {
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
    let size = readFrameSize(this.bytes, at, this.#windowSize);
    if (size === FRAME_CUT && this.#windowStart + this.#windowSize < this.#end) {
      at = this.#fill(start, FRAME_HEADER_SIZE + readU32(this.bytes, at));
      size = readFrameSize(this.bytes, at, this.#windowSize);
    }
    if (size === FRAME_NONE) return "zeros";
    // Also when the file has become shorter than the range since somebody measured it.
    if (size === FRAME_CUT) return "cut";
    if (size === FRAME_SIZE_INVALID) {
      if (readU32(this.bytes, at) === FOOTER_MAGIC) return "footer";
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
      const wanted = Math.min(Math.max(this.#readSize, size), this.#end - start);
      this.#readSize = Math.min(READ_SIZE_MAX, this.#readSize * 4);
      const carried = Math.max(0, have);
      if (wanted > this.bytes.byteLength) {
        const larger = new Uint8Array(wanted);
        larger.set(this.bytes.subarray(this.#windowSize - carried, this.#windowSize));
        this.bytes = larger;
      } else {
        this.bytes.copyWithin(0, this.#windowSize - carried, this.#windowSize);
      }
      const missing = wanted - carried;
      const read = readRange(this.#file, this.bytes, carried, missing, start + carried);
      this.#windowStart = start;
      this.#windowSize = carried + read;
    }
    return start - this.#windowStart;
  }
}

/** Bytes searched at a time, and how much two windows share so that no beginning is missed. */
const SEARCH_SIZE = 1 << 20;
const SEARCH_OVERLAP = FRAME_HEADER_SIZE + 4;

/**
 * The offset of the first sound frame of `file` that begins at or after `start` and ends by `end`, or
 * -1. `accept` may turn one down, and the search goes on behind its first byte.
 *
 * Looks for the constant bytes that begin every body, and checks what they belong to. A budget of
 * checked bytes keeps hostile input from making that quadratic; when it is used up, the next candidate
 * counts as sound, because a caller must then not call the damage harmless.
 */
export function findFrameAfter(
  file: StoreFile,
  start: number,
  end: number,
  accept: (bytes: Uint8Array, body: number) => boolean = () => true,
): number {
  let budget = 64 * 1024 * 1024 + (end - start) * 4;
  const window = new Uint8Array(Math.max(0, Math.min(SEARCH_SIZE, end - start)));
  for (let base = start; end - base >= SEARCH_OVERLAP; base += SEARCH_SIZE - SEARCH_OVERLAP + 1) {
    const size = readRange(file, window, 0, Math.min(window.byteLength, end - base), base);
    for (let at = 0; at + SEARCH_OVERLAP <= size; at++) {
      if (
        window[at + 8] !== 0xdc || window[at + 9] !== 0x00 || window[at + 10] !== 20 ||
        window[at + 11] !== 0xcf
      ) continue;
      const bodySize = readU32(window, at);
      if (bodySize < FRAME_BODY_SIZE_MIN || bodySize > FRAME_BODY_SIZE_MAX) continue;
      const offset = base + at;
      const frameSize = FRAME_HEADER_SIZE + bodySize;
      if (offset + frameSize > end) continue;
      if (budget < 0) return offset;
      budget -= frameSize;
      let bytes = window;
      let frameStart = at;
      if (at + frameSize > size) {
        bytes = new Uint8Array(frameSize);
        frameStart = 0;
        if (readRange(file, bytes, 0, frameSize, offset) < frameSize) continue;
      }
      const body = frameStart + FRAME_HEADER_SIZE;
      if (
        checksumMatches(bytes, frameStart, bodySize) &&
        bodyProblem(bytes, body, bodySize) === undefined && accept(bytes, body)
      ) return offset;
    }
  }
  return -1;
}

/** A header this long says where its frame ends; a longer one is not asked. */
const TRUSTED_HEADER_SIZE_MAX = 1 << 16;

/**
 * Where the damaged frame at `offset` ends by its own word, or -1 when its word is not worth much. Its
 * size and the size of its payload each say so, and no single error changes both alike; its sequence
 * has to be the one that is due. Whatever stands before that end is part of it, also when it looks like
 * a frame: somebody's payload may hold the frames of another journal.
 */
export function endOfDamagedFrame(
  file: StoreFile,
  offset: number,
  end: number,
  sequence: number,
): number {
  const bytes = new Uint8Array(Math.max(0, Math.min(TRUSTED_HEADER_SIZE_MAX, end - offset)));
  const size = readRange(file, bytes, 0, bytes.byteLength, offset);
  const bodySize = claimedBodySize(bytes.subarray(0, size), FRAME_HEADER_SIZE, sequence);
  if (bodySize < 0 || bodySize !== readU32(bytes, 0)) return -1;
  return offset + FRAME_HEADER_SIZE + bodySize;
}

/** Reads until `size` bytes are there or the file ends, and says how many there were. */
export function readRange(
  file: ReadableFile,
  target: Uint8Array,
  targetStart: number,
  size: number,
  position: number,
): number {
  let filled = 0;
  while (filled < size) {
    const count = file.readAt(target, targetStart + filled, size - filled, position + filled);
    if (count === 0) break;
    filled += count;
  }
  return filled;
}
