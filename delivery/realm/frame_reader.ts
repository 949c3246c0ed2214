/**
 * Reads events from segment files, without an index, by the places that the owner of the journal gave.
 *
 * Frames that are near each other are read with one call, into a buffer of their own that the events are
 * views of. A file is used only when its header is the one that the owner has in mind, so a file that a
 * compaction has put under the same name is noticed; and each frame is held to its size, its checksum,
 * its layout and its sequence, as every read of a store does.
 *
 * Files stay open from one batch to the next. A cursor goes forward, so those of segments that lie behind
 * are closed, and {@linkcode FrameReader.closeFiles} lets go of the rest: an open file keeps the space of
 * one that was removed.
 *
 * @module
 */

import { crc32 } from "../../platform/checksum.ts";
import type { StoreFile, StoreFs } from "../../platform/fs.ts";
import { IoFault } from "../../platform/fs.ts";
import { FRAME_BODY_SIZE_MAX, FRAME_HEADER_SIZE, frameProblem } from "../../store/frame.ts";
import { NUMBERS_PER_FRAME, type PlacedSegment } from "../../store/frame_places.ts";
import { readRange } from "../../store/frame_scanner.ts";
import { SEGMENT_HEADER_SIZE_MAX } from "../../store/segment_header.ts";
import { StoredEvent } from "../../store/stored_event.ts";
import type { FrameProblem } from "./protocol.ts";

/** Bytes that lie between two frames of a batch and are read all the same, to save a call. */
const GAP_SIZE_MAX = 8 * 1024;
/** Frames are read together up to this size; one that is larger, alone. */
const RUN_SIZE_MAX = 1024 * 1024;

/** A frame could not be read where it was said to be. */
export class UnreadableFrame extends Error {
  /** What, where and why. */
  readonly problem: FrameProblem;

  /** Carries the problem to whoever tells the host. */
  constructor(problem: FrameProblem) {
    super(problem.reason);
    this.problem = problem;
  }
}

interface OpenSegment {
  readonly file: StoreFile;
  readonly headerCrc: number;
  readonly segmentId: number;
}

/** Reads batches. */
export class FrameReader {
  readonly #fs: StoreFs;
  readonly #fdBudget: number;
  /** By path, least recently opened first. */
  readonly #files = new Map<string, OpenSegment>();

  /** @param options `fdBudget` bounds the files that are open at a time. */
  constructor(fs: StoreFs, { fdBudget }: { readonly fdBudget: number }) {
    this.#fs = fs;
    this.#fdBudget = fdBudget;
  }

  /** How many files are open. */
  get openCount(): number {
    return this.#files.size;
  }

  /**
   * The events of a batch. Each stands alone, and holds on to the bytes that were read with it.
   *
   * @throws {UnreadableFrame} when one of them cannot be read; nothing of the batch is returned.
   */
  read(segments: readonly PlacedSegment[], frames: Float64Array): StoredEvent[] {
    const events: StoredEvent[] = new Array(frames.length / NUMBERS_PER_FRAME);
    let next = 0;
    this.#closeBehind(segments[0].id);
    for (const segment of segments) {
      const end = next + segment.count;
      while (next < end) next = this.#readRun(segment, frames, next, end, events);
    }
    return events;
  }

  /** Closes every file. The next batch opens what it needs. */
  closeFiles(): void {
    for (const { file } of this.#files.values()) file.close();
    this.#files.clear();
  }

  /** Reads frame `start` and those near it, before frame `end`, and returns the one after them. */
  #readRun(
    segment: PlacedSegment,
    frames: Float64Array,
    start: number,
    end: number,
    events: StoredEvent[],
  ): number {
    const runStart = frames[start * NUMBERS_PER_FRAME + 1];
    let runEnd = runStart + frames[start * NUMBERS_PER_FRAME + 2];
    let stop = start + 1;
    for (; stop < end; stop++) {
      const offset = frames[stop * NUMBERS_PER_FRAME + 1];
      const frameEnd = offset + frames[stop * NUMBERS_PER_FRAME + 2];
      if (offset < runEnd || offset - runEnd > GAP_SIZE_MAX) break;
      if (frameEnd - runStart > RUN_SIZE_MAX) break;
      runEnd = frameEnd;
    }
    if (runEnd - runStart > Math.max(RUN_SIZE_MAX, FRAME_HEADER_SIZE + FRAME_BODY_SIZE_MAX)) {
      throw unreadable(segment, frames, start, "no frame of ours has such a size");
    }
    const bytes = new Uint8Array(runEnd - runStart);
    const wasOpen = this.#files.has(segment.path);
    let readSize: number;
    try {
      readSize = readRange(this.#open(segment, frames, start), bytes, 0, bytes.length, runStart);
    } catch (error) {
      if (error instanceof IoFault) throw refused(segment, frames, start, error);
      throw error;
    }
    for (let i = start; i < stop; i++) {
      const sequence = frames[i * NUMBERS_PER_FRAME];
      const offset = frames[i * NUMBERS_PER_FRAME + 1];
      const size = frames[i * NUMBERS_PER_FRAME + 2];
      const at = offset - runStart;
      const problem = at + size > readSize
        ? "unexpected EOF: the file ended before the frame did"
        : frameProblem(bytes, at, size, sequence);
      if (problem !== undefined) {
        if (!wasOpen) throw unreadable(segment, frames, i, problem);
        // After a crash the newest segment gets a new file of the same name, and this one stays behind.
        this.#close(segment.path);
        return this.#readRun(segment, frames, start, end, events);
      }
      const body = bytes.subarray(at + FRAME_HEADER_SIZE, at + size);
      events[i] = StoredEvent.fromFrame(body, { segmentId: segment.id, offset, size });
    }
    return stop;
  }

  #open(segment: PlacedSegment, frames: Float64Array, start: number): StoreFile {
    const { id, path, headerCrc, headerSize } = segment;
    const known = this.#files.get(path);
    if (known !== undefined) {
      if (known.headerCrc === headerCrc) return known.file;
      this.#close(path);
    }
    if (this.#files.size >= this.#fdBudget) {
      const [oldest] = this.#files.keys();
      this.#close(oldest);
    }
    const file = this.#fs.open(path, "read");
    let isExpected = false;
    try {
      const header = new Uint8Array(Math.min(headerSize, SEGMENT_HEADER_SIZE_MAX));
      const size = readRange(file, header, 0, header.byteLength, 0);
      isExpected = size === headerSize && crc32(header) === headerCrc;
    } finally {
      if (!isExpected) file.close();
    }
    if (!isExpected) throw unreadable(segment, frames, start, "the header is of another segment");
    this.#files.set(path, { file, headerCrc, segmentId: id });
    return file;
  }

  #closeBehind(segmentId: number): void {
    for (const [path, open] of this.#files) {
      if (open.segmentId < segmentId) this.#close(path);
    }
  }

  #close(path: string): void {
    this.#files.get(path)?.file.close();
    this.#files.delete(path);
  }
}

function unreadable(
  { id, path, headerCrc }: PlacedSegment,
  frames: Float64Array,
  i: number,
  reason: string,
  fault?: FrameProblem["fault"],
): UnreadableFrame {
  return new UnreadableFrame({
    sequence: frames[i * NUMBERS_PER_FRAME],
    path,
    segmentId: id,
    headerCrc,
    offset: frames[i * NUMBERS_PER_FRAME + 1],
    reason,
    ...(fault !== undefined && { fault }),
  });
}

function refused(
  segment: PlacedSegment,
  frames: Float64Array,
  i: number,
  { code, op, cause, message }: IoFault,
): UnreadableFrame {
  const reason = cause instanceof Error ? cause.message : message;
  return unreadable(segment, frames, i, reason, { code, op });
}
