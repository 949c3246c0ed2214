/**
 * The active segment: where frames become bytes in a file.
 *
 * Frames are encoded straight into a buffer that mirrors the end of the file, and written from it with
 * one call for each group. What it holds of the file does not change, so readers take the newest events
 * from it.
 *
 * The order of things is what recovery relies on:
 *
 * - A group is one write. When it fails, the file is cut back to where it was and the cut is synced:
 *   otherwise a crash could bring back a frame that its caller was told is not there. When cutting
 *   fails too, the writer stops for good.
 * - A failed sync stops the writer for good. The system may have dropped the unwritten pages, so a
 *   later success would prove nothing about them.
 * - A segment is synced and cut to size before the next one is published, and the next one's header
 *   repeats where its frames ended. They are therefore exact: anything missing from them is damage.
 *   Behind them stands the segment's index footer, which nobody relies on.
 *
 * The file is extended ahead of the frames in large steps, because a sync that need not record a new
 * size is cheaper. The space reads as zeros, which are never a frame.
 *
 * @module
 */

import { crc32 } from "../platform/checksum.ts";
import { IoFault, type StoreFile, type StoreFs, type SyncMode } from "../platform/fs.ts";
import { assert } from "./assert.ts";
import { StoreIoError, WriterCrashedError } from "./errors.ts";
import { encodeSegmentHeader, type SegmentHeader } from "./segment_header.ts";
import { type Segment, type SegmentLog, segmentName } from "./segment_log.ts";

const BUFFER_SIZE = 1 << 20;
const EXTEND_SIZE_MIN = 64 << 10;
const EXTEND_SIZE_MAX = 4 << 20;

/** What a writer works on. */
export interface SegmentWriterOptions {
  readonly fs: StoreFs;
  readonly dir: string;
  readonly log: SegmentLog;
  readonly syncMode: SyncMode;
}

/** The one writer of a journal. */
export class SegmentWriter {
  readonly #fs: StoreFs;
  readonly #dir: string;
  readonly #log: SegmentLog;
  readonly #syncMode: SyncMode;
  #file: StoreFile | undefined;
  /** Set as soon as there is an active segment. */
  #segment!: Segment;
  #buffer: Uint8Array = new Uint8Array(0);
  /** File offset of `#buffer[0]`. */
  #bufferStart = 0;
  /** Size of the file, space taken in advance included. */
  #fileSize = 0;
  #unsynced = false;
  #crash: unknown;
  #crashed = false;
  /** Told once, when the writer stops for good. */
  onStop: ((cause: unknown) => void) | undefined;

  /** @param options the log, whose last segment becomes the active one when there is one. */
  constructor(options: SegmentWriterOptions) {
    this.#fs = options.fs;
    this.#dir = options.dir;
    this.#log = options.log;
    this.#syncMode = options.syncMode;
    const last = this.#log.segments.at(-1);
    if (last !== undefined) {
      const file = this.#fs.open(last.path, "write");
      try {
        this.#activate(last, file, file.size());
        // Whoever wrote what is there may have been killed before a sync, or have had one fail. Sealed
        // without one, it would be missing in front of the next segment after a power cut.
        this.#unsynced = true;
      } catch (error) {
        file.close();
        throw error;
      }
    }
  }

  /** The file offset behind the last frame of the active segment. */
  get end(): number {
    return this.#segment.end;
  }

  /** Whether a sync failed or a failed write could not be undone. */
  get crashed(): boolean {
    return this.#crashed;
  }

  /** Whether frames have been written since the last sync. */
  get unsynced(): boolean {
    return this.#unsynced;
  }

  /** Throws when the writer has stopped. */
  assertAlive(action: string): void {
    if (this.#crashed) throw new WriterCrashedError(action, this.#crash);
  }

  /** Makes room for `size` bytes and returns where they go in {@linkcode buffer}. */
  reserve(size: number): number {
    const start = this.#segment.end - this.#bufferStart;
    if (start + size <= this.#buffer.byteLength) return start;
    // What stood in it is in the file. Readers copy, so the same memory serves again: fresh pages
    // would cost more than the copy into them. A buffer made for one large group is let go.
    if (size > this.#buffer.byteLength || this.#buffer.byteLength > BUFFER_SIZE) {
      this.#buffer = new Uint8Array(Math.max(BUFFER_SIZE, size));
    }
    this.#bufferStart = this.#segment.end;
    this.#log.tail = { bytes: this.#buffer, start: this.#bufferStart };
    return 0;
  }

  /** The bytes that {@linkcode reserve} made room in. */
  get buffer(): Uint8Array {
    return this.#buffer;
  }

  /**
   * Writes a group that stands in the buffer from `start` to `end`.
   *
   * @throws {StoreIoError} when it could not be written; nothing of it is left.
   * @throws {WriterCrashedError} when what was written of it could not be removed.
   */
  write(start: number, end: number): void {
    const file = this.#file;
    const position = this.#segment.end;
    assert(file !== undefined, "the writer has an active segment");
    assert(start === position - this.#bufferStart, "a group is written where it was reserved");
    const size = end - start;
    if (position + size > this.#fileSize) this.#extend(file, position + size);
    try {
      file.writeAt(this.#buffer, start, size, position);
    } catch (error) {
      this.#undo(file, position, error);
    }
    if (position + size > this.#fileSize) this.#fileSize = position + size;
    this.#unsynced = true;
  }

  /** Makes the group just written part of the log. Separate, so that a sync may come first. */
  advance(size: number): void {
    this.#segment.end += size;
  }

  /**
   * Makes everything written durable.
   *
   * @throws {WriterCrashedError} when that fails; the writer has then stopped.
   */
  sync(action: string): void {
    this.assertAlive(action);
    if (!this.#unsynced) return;
    try {
      this.#file?.sync(this.#syncMode);
      this.#unsynced = false;
    } catch (error) {
      this.#stop(action, error);
    }
  }

  /**
   * Seals the active segment and begins the next. When making the next one fails, the old one goes on.
   *
   * @param footer the index footer of the old one. It is left out when it cannot be written.
   * @throws {StoreIoError} when the next segment could not be made.
   * @throws {WriterCrashedError} when the old one could not be synced or put back.
   */
  roll(header: SegmentHeader, footer?: Uint8Array): void {
    const action = `seal segment ${this.#segment.id}`;
    this.#seal(action);
    if (footer !== undefined) this.#addFooter(footer, action);
    try {
      this.begin(header);
    } catch (error) {
      if (!this.#crashed) this.#cutFooter(action);
      throw error;
    }
  }

  /** Publishes a segment with nothing but a header, and makes it the active one. */
  begin(header: SegmentHeader): void {
    const path = `${this.#dir}/${segmentName(header.segmentId)}`;
    const action = `begin segment ${header.segmentId}`;
    const bytes = encodeSegmentHeader(header);
    let file: StoreFile;
    try {
      this.#fs.publish(path, bytes);
      file = this.#fs.open(path, "write");
    } catch (error) {
      // The name may be there already. A later header must not find it, so it goes or we stop.
      try {
        this.#fs.removeIfPresent(path);
        this.#fs.syncDir(this.#dir);
      } catch {
        this.#stop(action, error);
      }
      throw ioError(action, error);
    }
    this.#file?.close();
    this.#file = undefined;
    const segment: Segment = {
      id: header.segmentId,
      path,
      firstRow: this.#log.nextRow,
      framesStart: bytes.byteLength,
      headerCrc: crc32(bytes),
      end: bytes.byteLength,
    };
    this.#log.segments.push(segment);
    this.#activate(segment, file, bytes.byteLength);
  }

  /** Syncs, cuts the file to size, and lets go of it. Throws what failed, after letting go. */
  close(action: string): void {
    try {
      if (this.#file !== undefined && !this.#crashed) this.#seal(action);
    } finally {
      this.release();
    }
  }

  /** Lets go of the file and does nothing else: what a crash would do. */
  release(): void {
    this.#file?.close();
    this.#file = undefined;
  }

  #activate(segment: Segment, file: StoreFile, fileSize: number): void {
    this.#segment = segment;
    this.#file = file;
    this.#fileSize = fileSize;
    // Too full for anything, so that the first group begins it anew.
    this.#bufferStart = segment.end - this.#buffer.byteLength;
    this.#log.tail = undefined;
  }

  #seal(action: string): void {
    this.sync(action);
    const file = this.#file;
    if (file === undefined || this.#fileSize === this.#segment.end) return;
    try {
      file.resize(this.#segment.end);
    } catch (error) {
      throw ioError(action, error);
    }
    this.#fileSize = this.#segment.end;
    try {
      file.sync("all");
    } catch (error) {
      this.#stop(action, error);
    }
  }

  /** The frames are safe already, so a footer that does not fit is no reason to fail. */
  #addFooter(footer: Uint8Array, action: string): void {
    const file = this.#file;
    if (file === undefined) return;
    try {
      file.writeAt(footer, 0, footer.byteLength, this.#segment.end);
      this.#fileSize = this.#segment.end + footer.byteLength;
      file.sync("all");
    } catch {
      this.#fileSize = this.#segment.end + footer.byteLength;
      this.#cutFooter(action);
    }
  }

  /** Frames must never be written over a footer: what would be left of it behind them looks torn. */
  #cutFooter(action: string): void {
    const file = this.#file;
    if (file === undefined || this.#fileSize === this.#segment.end) return;
    try {
      file.resize(this.#segment.end);
      this.#fileSize = this.#segment.end;
      file.sync("all");
    } catch (error) {
      this.#stop(action, error);
    }
  }

  #extend(file: StoreFile, needed: number): void {
    // As much again as there is, so that a small journal stays small.
    const size = needed + Math.min(EXTEND_SIZE_MAX, Math.max(EXTEND_SIZE_MIN, needed));
    try {
      file.resize(size);
      this.#fileSize = size;
    } catch {
      // Only a matter of speed. If the disk really is full, the write says so. But it may have happened and
      // failed all the same, and zeros that we know nothing of would stay behind a footer for ever.
      this.#fileSize = sizeOr(file, size);
    }
  }

  #undo(file: StoreFile, position: number, error: unknown): never {
    const action = "append";
    try {
      file.resize(position);
      this.#fileSize = position;
      file.sync("all");
    } catch (undoError) {
      this.#stop(action, undoError);
    }
    throw ioError(action, error);
  }

  #stop(action: string, error: unknown): never {
    this.#crashed = true;
    this.#crash = error;
    this.onStop?.(error);
    throw new WriterCrashedError(action, error);
  }
}

function ioError(action: string, error: unknown): unknown {
  return error instanceof IoFault ? new StoreIoError(action, error) : error;
}

/** The size of a file; `fallback` when the disk does not say. */
function sizeOr(file: StoreFile, fallback: number): number {
  try {
    return file.size();
  } catch (error) {
    if (!(error instanceof IoFault)) throw error;
    return fallback;
  }
}
