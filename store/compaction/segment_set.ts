/**
 * Which files are the journal: decided from the names in a directory, the marker of a compaction that
 * may have been cut short, and the record of what has been pruned.
 *
 * {@linkcode resolveSegments} decides and touches nothing. Readers and writers both go by it, so that
 * they agree at every moment of a compaction. Only a writer puts the directory in order afterwards, with
 * {@linkcode settleCompaction}: it finishes what was committed and undoes what was not.
 *
 * | Final name of the merged id | `.compact-src` | Sources in force                            |
 * | --------------------------- | -------------- | ------------------------------------------- |
 * | has the compaction's id     | any            | the merged segment; the others are leftovers |
 * | absent                      | present        | all, the first under `.compact-src`         |
 * | is the original             | absent         | all, under their own names                  |
 * | anything else               |                | refused: nobody can tell                    |
 *
 * The commit is the moment when the final name comes to have the compaction's id. Every rule here keeps
 * one thing true: a file is removed only when another one, complete and durable, holds its events.
 *
 * @module
 */

import { crc32 } from "../../platform/checksum.ts";
import { type DirEntry, IoFault, type StoreFile, type StoreFs } from "../../platform/fs.ts";
import { BASE_RECORD_NAME, type BaseFacts, readBaseHead } from "./base_record.ts";
import {
  type CompactionMarker,
  decodeMarker,
  MARKER_NAME,
  MARKER_SIZE_MAX,
} from "./compaction_marker.ts";
import { CorruptionError, FutureVersionError } from "../errors.ts";
import { readRange } from "../frame_scanner.ts";
import { bytesEqual } from "../hash.ts";
import { INDEX_FILE_NAME } from "../index/index_file.ts";
import {
  decodeSegmentHeader,
  SEGMENT_HEADER_SIZE_MAX,
  type SegmentHeader,
} from "../segment_header.ts";
import { segmentIdOf, segmentName } from "../segment_log.ts";

/** Behind the name of a segment: a replacement that is being written. It counts for nothing. */
export const STAGED_SUFFIX = ".compact-new";
/** Behind the name of a segment: the original, while its replacement takes its name. */
export const SOURCE_SUFFIX = ".compact-src";

/** A segment of the journal, and the file it is in. */
export interface SegmentFile {
  /** Its id. */
  readonly id: number;
  /** The name of its file, which for a while may not be the usual one. */
  readonly name: string;
}

/** A file that is no longer part of the journal. */
export interface Leftover {
  /** Its name. */
  readonly name: string;
  /** What it is, for people. */
  readonly reason: string;
  /** Whether what it held is safe elsewhere, so that a writer may remove it. */
  readonly removable: boolean;
}

/** A compaction that was cut short, and how it is to end. */
export interface PendingCompaction {
  readonly marker: CompactionMarker;
  /** Whether the merged segment is in force. */
  readonly isCommitted: boolean;
}

/** Which files are the journal. */
export interface SegmentSet {
  /** Its segments, by id. */
  readonly files: readonly SegmentFile[];
  /** Files that look as if they were part of it, and are not. */
  readonly leftovers: readonly Leftover[];
  /** The compaction whose marker is there. While there is one, no saved index is to be trusted. */
  readonly pending: PendingCompaction | undefined;
  /** What has been pruned. */
  readonly base: BaseFacts | undefined;
}

/** What {@linkcode resolveSegments} decides from. */
export interface SegmentListing {
  /** The journal's directory, for messages. */
  readonly dir: string;
  /** What is in it. */
  readonly entries: readonly DirEntry[];
  /** The marker, when there is one. */
  readonly marker: CompactionMarker | undefined;
  /** The base record, when there is one. */
  readonly base: BaseFacts | undefined;
  /** The header of a file in the directory; `undefined` when it has none that can be read. */
  readonly headerOf: (name: string) => SegmentHeader | undefined;
  /** Whether the bytes of the merged segment are known not to be those that were written. */
  readonly isMergeDamaged?: boolean;
}

/**
 * Decides which files are the journal.
 *
 * @throws {CorruptionError} when a segment that the marker or the base record names is missing, or two
 * files claim to be the same segment.
 */
export function resolveSegments(listing: SegmentListing): SegmentSet {
  const { dir, entries, marker, base, headerOf } = listing;
  const finals = new Map<number, string>();
  const sources = new Map<number, string>();
  const staged: string[] = [];
  for (const { name, kind } of entries) {
    const id = segmentIdOf(name);
    const sourceId = idWithSuffix(name, SOURCE_SUFFIX);
    if (id !== undefined) {
      if (kind === "other") {
        // Opening a pipe would wait for somebody to write to it.
        throw refusal(dir, name, "it is not a regular file", id);
      }
      finals.set(id, name);
    } else if (sourceId !== undefined && kind === "file") sources.set(sourceId, name);
    else if (idWithSuffix(name, STAGED_SUFFIX) !== undefined && kind === "file") staged.push(name);
  }
  const leftovers: Leftover[] = staged.map((name) => ({
    name,
    reason: "a compaction was writing it",
    removable: true,
  }));
  const pending = marker && resolvePending(listing, marker, finals, sources);

  const files = new Map(finals);
  if (pending?.isCommitted) {
    const { mergedId, sourceIds } = pending.marker;
    for (const id of sourceIds) {
      const source = id === mergedId ? sources.get(id) : finals.get(id);
      if (source === undefined) continue;
      leftovers.push({
        name: source,
        reason: `${segmentName(mergedId)} has replaced it`,
        removable: true,
      });
      if (id !== mergedId) files.delete(id);
    }
    sources.delete(mergedId);
  } else if (pending !== undefined) {
    const { mergedId } = pending.marker;
    const source = sources.get(mergedId);
    // Whatever has its final name is the replacement, and does not count.
    if (source !== undefined) files.set(mergedId, source);
    sources.delete(mergedId);
  }
  for (const [id, name] of sources) {
    const final = finals.get(id);
    if (final === undefined) files.set(id, name);
    else {
      // It is the original of a segment that has been replaced, if its replacement says so.
      const replaced = headerOf(final);
      const source = headerOf(name);
      const removable = replaced?.merge !== undefined && source !== undefined &&
        source.segmentId === id && source.firstSequence === replaced.firstSequence &&
        bytesEqual(source.storeId, replaced.storeId);
      const reason = removable ? `${final} has replaced it` : `${final} is there too`;
      leftovers.push({ name, reason, removable });
    }
  }
  if (base !== undefined) {
    for (const [id, name] of files) {
      if (id >= base.firstSegmentId) continue;
      files.delete(id);
      leftovers.push({ name, reason: "it has been pruned", removable: true });
    }
    if (!files.has(base.firstSegmentId)) {
      throw refusal(
        dir,
        BASE_RECORD_NAME,
        `the journal begins with segment ${base.firstSegmentId} since it was pruned, and there is none`,
      );
    }
  }
  return {
    files: [...files].map(([id, name]) => ({ id, name })).sort((a, b) => a.id - b.id),
    leftovers,
    pending,
    base,
  };
}

function resolvePending(
  listing: SegmentListing,
  marker: CompactionMarker,
  finals: ReadonlyMap<number, string>,
  sources: ReadonlyMap<number, string>,
): PendingCompaction {
  const { dir, headerOf, isMergeDamaged } = listing;
  const { mergedId, sourceIds } = marker;
  const final = finals.get(mergedId);
  const merge = final === undefined ? undefined : headerOf(final)?.merge;
  const isPublished = merge !== undefined && bytesEqual(merge.compactionId, marker.compactionId);
  if (isPublished && isMergeDamaged !== true) return { marker, isCommitted: true };
  if (final !== undefined && !isPublished && sources.has(mergedId)) {
    throw refusal(
      dir,
      MARKER_NAME,
      `both ${final} and ${final}${SOURCE_SUFFIX} are there, and neither is what the compaction wrote`,
    );
  }
  for (const id of sourceIds) {
    const isThere = id === mergedId
      ? sources.has(id) || (final !== undefined && !isPublished)
      : finals.has(id);
    if (isThere) continue;
    throw refusal(
      dir,
      MARKER_NAME,
      isPublished
        ? `the merged segment ${mergedId} is damaged, and segment ${id}, which it replaced, is gone`
        : `a compaction was cut short, and segment ${id}, which it was to replace, is missing`,
    );
  }
  return { marker, isCommitted: false };
}

/** The id in a name that is a segment's with `suffix` behind it. */
function idWithSuffix(name: string, suffix: string): number | undefined {
  return name.endsWith(suffix) ? segmentIdOf(name.slice(0, -suffix.length)) : undefined;
}

function refusal(dir: string, name: string, reason: string, segmentId?: number): CorruptionError {
  return new CorruptionError({ path: `${dir}/${name}`, segmentId, offset: 0, reason });
}

/**
 * Reads the directory and decides. A directory that changes meanwhile is read again, so that a marker,
 * the names and the base record are of one moment.
 *
 * @param thorough reads a merged segment from end to end before it is taken for whole, which a writer
 * needs before it removes what the segment has replaced.
 * @throws {CorruptionError} as {@linkcode resolveSegments}, and when a file that decides is damaged or of
 * another journal.
 * @throws {FutureVersionError} when a newer program wrote one of them.
 */
export function readSegmentSet(
  fs: StoreFs,
  dir: string,
  options: { readonly storeId: Uint8Array | undefined; readonly thorough: boolean },
): SegmentSet {
  const { storeId, thorough } = options;
  for (let attempt = 0;; attempt++) {
    const marker = readMarker(fs, dir, storeId);
    const base = readBase(fs, dir, storeId);
    const entries = fs.list(dir);
    const isStill = sameMarker(marker, readMarker(fs, dir, storeId)) &&
      base?.firstSegmentId === readBase(fs, dir, storeId)?.firstSegmentId;
    if (!isStill && attempt < ATTEMPT_COUNT_MAX) continue;
    const headerOf = (name: string) => readHeader(fs, `${dir}/${name}`);
    const final = marker && segmentName(marker.mergedId);
    const isMergeDamaged = thorough && marker !== undefined && final !== undefined &&
      fs.stat(`${dir}/${final}`) !== undefined && !isAsWritten(fs, `${dir}/${final}`, marker);
    return resolveSegments({ dir, entries, marker, base, headerOf, isMergeDamaged });
  }
}

/** Directories settle; one that does not is not changed by a compaction. */
const ATTEMPT_COUNT_MAX = 16;

function sameMarker(a: CompactionMarker | undefined, b: CompactionMarker | undefined): boolean {
  return a === undefined || b === undefined ? a === b : bytesEqual(a.compactionId, b.compactionId);
}

/**
 * The marker of a compaction; `undefined` when there is none.
 *
 * @throws {CorruptionError} when it is damaged or of another journal.
 * @throws {FutureVersionError} when a newer program wrote it.
 */
export function readMarker(
  fs: StoreFs,
  dir: string,
  storeId: Uint8Array | undefined,
): CompactionMarker | undefined {
  const path = `${dir}/${MARKER_NAME}`;
  const info = fs.stat(path);
  if (info === undefined) return undefined;
  let bytes: Uint8Array;
  try {
    bytes = fs.readFile(path, MARKER_SIZE_MAX);
  } catch (error) {
    if (error instanceof IoFault && error.code === "ENOENT") return undefined;
    if (!(error instanceof IoFault && error.code === "EFBIG")) throw error;
    throw refusal(dir, MARKER_NAME, `the file has ${info.size} bytes`);
  }
  const decoded = decodeMarker(bytes);
  switch (decoded.type) {
    case "corrupt":
      throw refusal(
        dir,
        MARKER_NAME,
        `${decoded.reason}; it says which segments a compaction was replacing`,
      );
    case "future":
      throw new FutureVersionError({ path, found: decoded.version, supported: decoded.supported });
  }
  if (storeId !== undefined && !bytesEqual(decoded.marker.storeId, storeId)) {
    throw refusal(dir, MARKER_NAME, "it belongs to another journal");
  }
  return decoded.marker;
}

/**
 * The facts of the base record; `undefined` when nothing has been pruned.
 *
 * @throws {CorruptionError} when it is damaged or of another journal.
 * @throws {FutureVersionError} when a newer program wrote it.
 */
export function readBase(
  fs: StoreFs,
  dir: string,
  storeId: Uint8Array | undefined,
): BaseFacts | undefined {
  const path = `${dir}/${BASE_RECORD_NAME}`;
  if (fs.stat(path) === undefined) return undefined;
  const file = fs.open(path, "read");
  try {
    const decoded = readBaseHead(file);
    if (decoded.type === "future") {
      throw new FutureVersionError({ path, found: decoded.version, supported: decoded.supported });
    }
    if (decoded.type === "corrupt") throw refusal(dir, BASE_RECORD_NAME, decoded.reason);
    if (storeId !== undefined && !bytesEqual(decoded.base.storeId, storeId)) {
      throw refusal(dir, BASE_RECORD_NAME, "it belongs to another journal");
    }
    return decoded.base;
  } finally {
    file.close();
  }
}

/** The header of a segment's file; `undefined` when it has none that can be read. */
function readHeader(fs: StoreFs, path: string): SegmentHeader | undefined {
  const file = fs.open(path, "read");
  try {
    const bytes = new Uint8Array(Math.min(file.size(), SEGMENT_HEADER_SIZE_MAX));
    const decoded = decodeSegmentHeader(
      bytes.subarray(0, readRange(file, bytes, 0, bytes.byteLength, 0)),
    );
    return decoded.type === "header" ? decoded.header : undefined;
  } finally {
    file.close();
  }
}

/** Whether a file is what the compaction wrote, byte for byte, or another file altogether. */
function isAsWritten(fs: StoreFs, path: string, marker: CompactionMarker): boolean {
  const merge = readHeader(fs, path)?.merge;
  if (merge === undefined || !bytesEqual(merge.compactionId, marker.compactionId)) return true;
  const file = fs.open(path, "read");
  try {
    return file.size() === marker.stagedSize && checksumOf(file) === marker.stagedCrc;
  } finally {
    file.close();
  }
}

function checksumOf(file: StoreFile): number {
  const size = file.size();
  const block = new Uint8Array(Math.min(1 << 20, size));
  let checksum = 0;
  for (let at = 0; at < size;) {
    const count = readRange(file, block, 0, Math.min(block.byteLength, size - at), at);
    if (count === 0) break;
    checksum = crc32(block.subarray(0, count), checksum);
    at += count;
  }
  return checksum;
}

/**
 * Ends a compaction that was cut short, so that no marker is left: forwards when it had been committed,
 * backwards when not. A crash in the middle of it, at any point, finds the same decision again.
 *
 * @returns what was done, for people.
 */
export function settleCompaction(
  fs: StoreFs,
  dir: string,
  { marker, isCommitted }: PendingCompaction,
): string {
  const { mergedId, sourceIds } = marker;
  const final = segmentName(mergedId);
  const others = sourceIds.length === 1
    ? `segment ${mergedId}`
    : `segments ${mergedId} to ${sourceIds[sourceIds.length - 1]}`;
  if (isCommitted) {
    // The name of the merged segment has to be durable before the only other copy goes.
    fs.syncDir(dir);
    for (const id of sourceIds) {
      if (id !== mergedId) fs.removeIfPresent(`${dir}/${segmentName(id)}`);
    }
    fs.removeIfPresent(`${dir}/${final}${SOURCE_SUFFIX}`);
    fs.removeIfPresent(`${dir}/${INDEX_FILE_NAME}`);
    // And the marker is what says that they do not count, so it goes after them.
    fs.syncDir(dir);
    clearPendingCompaction(fs, dir);
    return `finished a compaction of ${others} that had been cut short`;
  }
  restoreSource(fs, dir, mergedId);
  fs.removeIfPresent(`${dir}/${final}${STAGED_SUFFIX}`);
  clearPendingCompaction(fs, dir);
  return `undid a compaction of ${others} that had been cut short`;
}

/**
 * Gives the original of a merged segment its name back. What stands under that name, if anything, is the
 * replacement: the original itself is never removed, nor written over.
 */
export function restoreSource(fs: StoreFs, dir: string, mergedId: number): void {
  const final = `${dir}/${segmentName(mergedId)}`;
  if (fs.stat(final + SOURCE_SUFFIX) !== undefined) fs.rename(final + SOURCE_SUFFIX, final);
  // Durable before the marker goes: without it nobody would look for the other name.
  fs.syncDir(dir);
}

/** Removes the marker, if there is one, durably. */
export function clearPendingCompaction(fs: StoreFs, dir: string): void {
  if (fs.removeIfPresent(`${dir}/${MARKER_NAME}`)) fs.syncDir(dir);
}
