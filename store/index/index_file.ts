/**
 * `index.fbati`: the whole index as one file, saved at close and now and then, so that opening a million
 * events is one read.
 *
 * | Offset | Size | Field      | Type   | Notes                                    |
 * | -----: | ---: | ---------- | ------ | ---------------------------------------- |
 * |      0 |    6 | magic      | ASCII  | `FBATIX`                                 |
 * |      6 |    2 | `version`  | u16 BE | 2                                        |
 * |      8 |    4 | `checksum` | u32 BE | CRC-32 of everything from offset 16      |
 * |     12 |    4 |            |        | zeros                                    |
 * |     16 |    n | image      |        | see `image.ts`; the sections below       |
 *
 * The image: order mark, journal id (16 bytes), first sequence, latest timestamp, event hash of the last
 * row (32 bytes), count of segments, and of each: id, first row, where its frames start, where they end,
 * CRC-32 of its header. Then the index (`EventIndex.save`).
 *
 * The end of the last segment is the watermark: everything behind it is read from the log. The file is
 * believed only where every segment it names is there with the very header it had, and the last event
 * it knows has the hash it had. So a file of another journal, or of an earlier or later state that is not
 * a prefix of this one, is left alone, and the frames are read.
 *
 * @module
 */

import { crc32 } from "../../platform/checksum.ts";
import { IoFault, type StoreFile, type StoreFs } from "../../platform/fs.ts";
import { readU16, readU32, writeU16, writeU32 } from "../bytes.ts";
import { EventIndex } from "./event_index.ts";
import { ID_SIZE, NO_HASH, payloadStartOf } from "../frame.ts";
import { readRange } from "../frame_scanner.ts";
import { blake3, HASH_SIZE } from "../hash.ts";
import { assertImage, ImageError, ImageReader, ImageWriter, ORDER_MARK } from "./image.ts";
import type { EventSource } from "../stored_event.ts";

/** The name of the file. */
export const INDEX_FILE_NAME = "index.fbati";
const MAGIC = Uint8Array.of(0x46, 0x42, 0x41, 0x54, 0x49, 0x58);
const INDEX_FILE_VERSION = 2;
const HEADER_SIZE = 16;
/** One array has to hold the file. A journal of more than some fifty million events has footers instead. */
const FILE_SIZE_MAX = 2 ** 32 - 2 ** 20;
const SEGMENT_COUNT_MAX = 1_000_000;

/** A segment as the index file knew it. */
export interface SavedSegment {
  readonly id: number;
  readonly firstRow: number;
  readonly framesStart: number;
  /** Where its frames ended. */
  readonly end: number;
  /** CRC-32 of its header. */
  readonly headerCrc: number;
}

/** What stands in front of the index. */
export interface SavedJournal {
  /** Sixteen bytes. */
  readonly storeId: Uint8Array;
  /** Sequence of row 0. */
  readonly firstSequence: number;
  /** Latest timestamp, in microseconds. */
  readonly lastTimestampUs: number;
  /** Event hash of the last row; zeros when there is none. */
  readonly lastHash: Uint8Array;
  /** Never empty. */
  readonly segments: readonly SavedSegment[];
}

/** The bytes of an index file, in parts to be written one behind the other. */
export function encodeIndexFile(journal: SavedJournal, index: EventIndex): Uint8Array[] {
  const image = new ImageWriter();
  image.number(ORDER_MARK);
  image.bytes(journal.storeId);
  image.number(journal.firstSequence);
  image.number(journal.lastTimestampUs);
  image.bytes(journal.lastHash);
  image.number(journal.segments.length);
  for (const { id, firstRow, framesStart, end, headerCrc } of journal.segments) {
    for (const value of [id, firstRow, framesStart, end, headerCrc]) image.number(value);
  }
  index.save(image);
  const header = new Uint8Array(HEADER_SIZE);
  header.set(MAGIC);
  writeU16(header, 6, INDEX_FILE_VERSION);
  let checksum = 0;
  for (const part of image.parts) checksum = crc32(part, checksum);
  writeU32(header, 8, checksum);
  return [header, ...image.parts];
}

/** What {@linkcode saveIndexFile} saves. */
export interface SaveOptions {
  readonly fs: StoreFs;
  readonly dir: string;
  /** Sixteen bytes. */
  readonly storeId: Uint8Array;
  readonly source: EventSource;
  /** Latest timestamp, in microseconds. */
  readonly lastTimestampUs: number;
}

/**
 * Saves the index of a journal as it is now. Everything in it has to be durable in the log.
 *
 * @throws {IoFault} when that fails; the file of before is still there.
 */
export function saveIndexFile(options: SaveOptions): void {
  const { fs, dir, storeId, source, lastTimestampUs } = options;
  const { index, log, firstSequence } = source;
  let lastHash = NO_HASH;
  if (index.count > 0) {
    const body = log.readBody(index.count - 1);
    lastHash = blake3(body.subarray(0, payloadStartOf(body, 0)));
  }
  const { segments } = log;
  publishIndexFile(
    fs,
    dir,
    { storeId, firstSequence, lastTimestampUs, lastHash, segments },
    index,
  );
}

/** Publishes an index file. */
export function publishIndexFile(
  fs: StoreFs,
  dir: string,
  journal: SavedJournal,
  index: EventIndex,
): void {
  const parts = encodeIndexFile(journal, index);
  // Nobody could read it back.
  if (parts.reduce((size, part) => size + part.byteLength, 0) > FILE_SIZE_MAX) return;
  const staged = fs.stage(dir);
  try {
    for (const part of parts) staged.append(part);
    staged.publish(`${dir}/${INDEX_FILE_NAME}`);
  } catch (error) {
    staged.discard();
    throw error;
  }
}

/** What {@linkcode readIndexFile} found. */
export type IndexFileResult =
  | { readonly type: "index"; readonly journal: SavedJournal; readonly index: EventIndex }
  | { readonly type: "missing" }
  /** It cannot be used, which costs time and nothing else. */
  | { readonly type: "unusable"; readonly reason: string };

/** Reads the index file of a journal, and says why when it is of no use. */
export function readIndexFile(fs: StoreFs, dir: string): IndexFileResult {
  const read = readIndexBytes(fs, dir);
  return read.type === "bytes" ? decodeIndexFile(read.bytes) : read;
}

/** The bytes of the index file of a journal. */
export function readIndexBytes(
  fs: StoreFs,
  dir: string,
):
  | { readonly type: "bytes"; readonly bytes: Uint8Array<ArrayBuffer> }
  | Exclude<IndexFileResult, { readonly type: "index" }> {
  try {
    const path = `${dir}/${INDEX_FILE_NAME}`;
    const info = fs.stat(path);
    if (info === undefined) return { type: "missing" };
    // Opening a pipe would wait for somebody to write to it.
    if (info.kind !== "file") return unusable("it is not a regular file");
    const file = fs.open(path, "read");
    try {
      const bytes = readWhole(file);
      return typeof bytes === "string" ? unusable(bytes) : { type: "bytes", bytes };
    } finally {
      file.close();
    }
  } catch (error) {
    if (!(error instanceof IoFault)) throw error;
    return error.code === "ENOENT" ? { type: "missing" } : unusable(error.message);
  }
}

/** Reads the bytes of an index file. The index keeps them. */
export function decodeIndexFile(bytes: Uint8Array<ArrayBuffer>): IndexFileResult {
  const problem = headerProblem(bytes);
  if (problem !== undefined) return unusable(problem);
  if (crc32(bytes.subarray(HEADER_SIZE)) !== readU32(bytes, 8)) {
    return unusable("its checksum does not match");
  }
  try {
    const image = new ImageReader(bytes.subarray(HEADER_SIZE));
    const journal = decodeJournal(image);
    const index = EventIndex.restore(image);
    assertImage(image.rest === 0, "it goes on behind its end");
    assertImage(
      journal.segments[journal.segments.length - 1].firstRow <= index.count,
      "a segment begins behind the last row",
    );
    return { type: "index", journal, index };
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    return unusable(`it is damaged: ${error.message}`);
  }
}

/** What is wrong in front of the image, or `undefined`. */
function headerProblem(bytes: Uint8Array): string | undefined {
  if (bytes.byteLength < HEADER_SIZE) return "it is cut short";
  for (let i = 0; i < MAGIC.byteLength; i++) {
    if (bytes[i] !== MAGIC[i]) return "it does not begin with FBATIX";
  }
  const version = readU16(bytes, 6);
  if (version !== INDEX_FILE_VERSION) {
    return `it has version ${version}, and this program reads ${INDEX_FILE_VERSION}`;
  }
  // The checksum begins behind them.
  return readU32(bytes, 12) === 0 ? undefined : "its header has something where zeros belong";
}

function decodeJournal(image: ImageReader): SavedJournal {
  assertImage(image.number() === ORDER_MARK, "it was written by a machine of another byte order");
  const storeId = image.bytes(ID_SIZE);
  const firstSequence = image.count(Number.MAX_SAFE_INTEGER);
  const lastTimestampUs = image.count(Number.MAX_SAFE_INTEGER);
  const lastHash = image.bytes(HASH_SIZE);
  const count = image.count(SEGMENT_COUNT_MAX);
  assertImage(count > 0, "it names no segment");
  const segments: SavedSegment[] = [];
  for (let i = 0; i < count; i++) {
    const segment = {
      id: image.count(2 ** 32),
      firstRow: image.count(2 ** 32),
      framesStart: image.count(2 ** 32),
      end: image.count(2 ** 32),
      headerCrc: image.count(2 ** 32),
    };
    const previous = segments.at(-1);
    assertImage(
      segment.framesStart <= segment.end &&
        (previous === undefined
          ? segment.firstRow === 0
          : previous.id < segment.id && previous.firstRow <= segment.firstRow),
      "its segments do not follow one another",
    );
    segments.push(segment);
  }
  return { storeId, firstSequence, lastTimestampUs, lastHash, segments };
}

/** All bytes of a file, in memory of their own, or what is wrong with its size. */
function readWhole(file: StoreFile): Uint8Array<ArrayBuffer> | string {
  const size = file.size();
  if (size > FILE_SIZE_MAX) return `it has ${size} bytes`;
  // What is no index file is not worth its memory.
  const header = new Uint8Array(Math.min(size, HEADER_SIZE));
  const problem = headerProblem(
    header.subarray(0, readRange(file, header, 0, header.byteLength, 0)),
  );
  if (problem !== undefined) return problem;
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = new Uint8Array(size);
  } catch (error) {
    if (error instanceof RangeError) return `there is no memory for its ${size} bytes`;
    throw error;
  }
  return readRange(file, bytes, 0, size, 0) === size ? bytes : "it is cut short";
}

function unusable(reason: string): { readonly type: "unusable"; readonly reason: string } {
  return { type: "unusable", reason };
}
