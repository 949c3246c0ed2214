/**
 * The log for reading: which segments there are, and the frame of any row. Sealed segments are read
 * through a bounded set of open files; the newest bytes come from the writer's own buffer.
 *
 * Reads that follow one another in the file are served from one window of 256 KiB, so that a walk over
 * neighbouring events costs a system call now and then, while a single `get` reads exactly its frame.
 * Whoever keeps bytes gets a copy: nothing done to them reaches another reader.
 *
 * @module
 */

import type { StoreFile, StoreFs } from "../platform/fs.ts";
import { IoFault } from "../platform/fs.ts";
import { CorruptionError, StoreClosedError, StoreIoError } from "./errors.ts";
import type { EventIndex } from "./index/event_index.ts";
import { readRange } from "./frame_scanner.ts";
import { NO_BYTES } from "./hash.ts";
import type { MergeFacts } from "./segment_header.ts";
import { Slab } from "./slab.ts";
import { FRAME_HEADER_SIZE, frameProblem } from "./frame.ts";

const WINDOW_SIZE = 256 * 1024;
const SCRATCH_SIZE = 16 * 1024;
/** Two reads this close count as neighbours. */
const NEIGHBOUR_DISTANCE = 8 * 1024;

/** One segment file. */
export interface Segment {
  /** From 1. */
  readonly id: number;
  /** The file. */
  path: string;
  /** Row of its first event, also when it has none yet. */
  readonly firstRow: number;
  /** Where its frames start. */
  readonly framesStart: number;
  /** CRC-32 of its header: what tells it from another file under its name. */
  readonly headerCrc: number;
  /** Where its frames end, as far as they are known. */
  end: number;
  /** Only of a segment that compaction made. */
  readonly merge?: MergeFacts;
}

/** The last of the ids that a segment stands for. */
export function lastIdOf({ id, merge }: Segment): number {
  return merge?.lastSegmentId ?? id;
}

/** The writer's newest bytes: `bytes[0]` stands at file offset `start` of the last segment. */
export interface Tail {
  bytes: Uint8Array;
  start: number;
}

/** The name of a segment's file. */
export function segmentName(id: number): string {
  return `${String(id).padStart(6, "0")}.fbat`;
}

/** The segment id in a file name, or `undefined` when it is not a segment's. */
export function segmentIdOf(name: string): number | undefined {
  if (!/^\d{6,15}\.fbat$/.test(name)) return undefined;
  const id = Number(name.slice(0, -5));
  return id >= 1 && segmentName(id) === name ? id : undefined;
}

/** Every segment of an open journal, and the way to the frame of a row. */
export class SegmentLog {
  /** In order of id; the last one is active. */
  readonly segments: Segment[] = [];
  /** Set by the writer. */
  tail: Tail | undefined;
  /** What {@linkcode locate} found, and how many bytes the body has. */
  located: Uint8Array = NO_BYTES;
  locatedSize = 0;

  readonly #fs: StoreFs;
  readonly #index: EventIndex;
  readonly #firstSequence: () => number;
  readonly #fdBudget: number;
  /** Open files by segment id, least recently used first. */
  readonly #files = new Map<number, StoreFile>();
  readonly #copies = new Slab();
  #closed = false;

  /** Where a single frame is read, before it is copied out. */
  #scratch: Uint8Array = NO_BYTES;
  #window: Uint8Array = NO_BYTES;
  #windowSegment = -1;
  #windowStart = 0;
  #windowEnd = 0;
  #lastSegment = -1;
  #lastStart = 0;
  #lastEnd = 0;
  #segmentHint = 0;

  /** @param options `firstSequence` gives the sequence of row 0; `fdBudget` bounds the open files. */
  constructor(
    fs: StoreFs,
    index: EventIndex,
    options: { readonly fdBudget: number; readonly firstSequence: () => number },
  ) {
    this.#fs = fs;
    this.#index = index;
    this.#fdBudget = options.fdBudget;
    this.#firstSequence = options.firstSequence;
  }

  /** The row the next event will have. */
  get nextRow(): number {
    return this.#index.count;
  }

  /** The position in `segments` of the segment that holds a row. */
  segmentIndexOf(row: number): number {
    const segments = this.segments;
    const hint = this.#segmentHint;
    if (
      hint < segments.length && segments[hint].firstRow <= row &&
      (hint + 1 === segments.length || row < segments[hint + 1].firstRow)
    ) return hint;
    let low = 0;
    let high = segments.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (segments[middle].firstRow <= row) low = middle;
      else high = middle - 1;
    }
    return this.#segmentHint = low;
  }

  /** Where a row's frame ends in its segment. */
  frameEndOf(row: number, segmentIndex: number): number {
    const segment = this.segments[segmentIndex];
    const next = row + 1;
    const nextFirst = segmentIndex + 1 < this.segments.length
      ? this.segments[segmentIndex + 1].firstRow
      : this.#index.count;
    return next < nextFirst ? this.#index.offsetOf(next) : segment.end;
  }

  /**
   * A copy of the body of a row's frame, its checksum and layout checked.
   *
   * @throws as {@linkcode locate}.
   */
  readBody(row: number): Uint8Array {
    return this.copyOfLocated(this.locate(row));
  }

  /** A copy of the body that {@linkcode locate} found at `body`. */
  copyOfLocated(body: number): Uint8Array {
    return this.#copies.copy(this.located, body, body + this.locatedSize);
  }

  /**
   * Finds the body of a row's frame, checksum and layout checked, and returns where it starts in
   * {@linkcode located}. Those bytes are borrowed: the next read may overwrite them.
   *
   * @throws {CorruptionError} when the bytes are not the frame that was written there.
   * @throws {StoreIoError} when the file cannot be read.
   * @throws {StoreClosedError} after {@linkcode close}.
   */
  locate(row: number): number {
    if (this.#closed) throw new StoreClosedError("read an event");
    const segmentIndex = this.segmentIndexOf(row);
    const segment = this.segments[segmentIndex];
    const start = this.#index.offsetOf(row);
    const end = this.frameEndOf(row, segmentIndex);
    const tail = this.tail;
    let bytes: Uint8Array;
    let at: number;
    if (
      tail !== undefined && segmentIndex === this.segments.length - 1 && start >= tail.start
    ) {
      bytes = tail.bytes;
      at = start - tail.start;
    } else if (
      this.#windowSegment === segmentIndex && start >= this.#windowStart && end <= this.#windowEnd
    ) {
      bytes = this.#window;
      at = start - this.#windowStart;
    } else {
      try {
        bytes = this.#read(segmentIndex, start, end);
      } catch (error) {
        if (error instanceof IoFault) throw new StoreIoError("read an event", error);
        throw error;
      }
      at = bytes === this.#window ? start - this.#windowStart : 0;
    }
    const problem = frameProblem(bytes, at, end - start, row + this.#firstSequence());
    if (problem !== undefined) {
      this.forget();
      throw new CorruptionError({
        path: segment.path,
        segmentId: segment.id,
        offset: start,
        reason: problem,
      });
    }
    this.#lastSegment = segmentIndex;
    this.#lastStart = start;
    this.#lastEnd = end;
    this.located = bytes;
    this.locatedSize = end - start - FRAME_HEADER_SIZE;
    return at + FRAME_HEADER_SIZE;
  }

  /**
   * Puts other segments in the place of `count` of them from `index` on, in one turn. Nothing of what was
   * read from the old ones is used again.
   */
  replace(index: number, count: number, segments: readonly Segment[]): void {
    for (const { id } of this.segments.splice(index, count, ...segments)) this.#closeFile(id);
    this.#segmentHint = 0;
    this.forget();
  }

  /** Says that a segment's file has another name now. */
  relocate(segment: Segment, path: string): void {
    segment.path = path;
    this.#closeFile(segment.id);
  }

  /** Reads a segment from whatever file has its name by now. */
  reopen(segment: Segment): void {
    this.#closeFile(segment.id);
  }

  #closeFile(id: number): void {
    this.#files.get(id)?.close();
    this.#files.delete(id);
  }

  /** Forgets buffered bytes, so that the next read goes to the file. */
  forget(): void {
    this.#windowSegment = this.#lastSegment = -1;
  }

  /** Closes every file. Later reads open them again. */
  closeFiles(): void {
    for (const file of this.#files.values()) file.close();
    this.#files.clear();
  }

  /** Closes every file. Later reads fail. */
  close(): void {
    this.#closed = true;
    this.closeFiles();
    this.#window = this.#scratch = this.located = NO_BYTES;
    this.tail = undefined;
    this.forget();
  }

  #read(segmentIndex: number, start: number, end: number): Uint8Array {
    const segment = this.segments[segmentIndex];
    const file = this.#open(segment);
    const sameSegment = this.#lastSegment === segmentIndex;
    const forwards = sameSegment && start >= this.#lastEnd &&
      start - this.#lastEnd < NEIGHBOUR_DISTANCE;
    const backwards = sameSegment && end <= this.#lastStart &&
      this.#lastStart - end < NEIGHBOUR_DISTANCE;
    if ((forwards || backwards) && end - start <= WINDOW_SIZE) {
      // Frames of the writer's buffer are in the file too, and a frame never changes once written.
      const windowStart = forwards ? start : Math.max(segment.framesStart, end - WINDOW_SIZE);
      const windowEnd = forwards ? Math.min(segment.end, start + WINDOW_SIZE) : end;
      if (this.#window.byteLength === 0) this.#window = new Uint8Array(WINDOW_SIZE);
      this.#windowSegment = -1;
      const size = readRange(file, this.#window, 0, windowEnd - windowStart, windowStart);
      // A file that has become shorter fails where the frame asked for is not whole, and only there.
      if (windowStart + size >= end) {
        this.#windowSegment = segmentIndex;
        this.#windowStart = windowStart;
        this.#windowEnd = windowStart + size;
        return this.#window;
      }
    }
    const size = end - start;
    let bytes = this.#scratch;
    if (size > bytes.byteLength) {
      bytes = new Uint8Array(Math.max(size, SCRATCH_SIZE));
      if (size <= SCRATCH_SIZE) this.#scratch = bytes;
    }
    this.#fill(file, segment, bytes, start, end);
    return bytes;
  }

  #fill(
    file: StoreFile,
    segment: Segment,
    target: Uint8Array,
    start: number,
    end: number,
  ): void {
    const size = readRange(file, target, 0, end - start, start);
    if (size === end - start) return;
    throw new CorruptionError({
      path: segment.path,
      segmentId: segment.id,
      offset: start + size,
      reason: `unexpected EOF: the file ended before requested length ${end - start}`,
    });
  }

  #open(segment: Segment): StoreFile {
    const known = this.#files.get(segment.id);
    if (known !== undefined) {
      if (this.#files.size > 1) {
        this.#files.delete(segment.id);
        this.#files.set(segment.id, known);
      }
      return known;
    }
    if (this.#files.size >= this.#fdBudget) {
      const [oldest, oldestFile] = this.#files.entries().next().value as [number, StoreFile];
      this.#files.delete(oldest);
      oldestFile.close();
    }
    const file = this.#fs.open(segment.path, "read");
    this.#files.set(segment.id, file);
    return file;
  }
}
