/**
 * Copies of a journal: snapshots, forks, and what backups are made of.
 *
 * A copy holds what the handle shows when it begins, a clean prefix of the journal: sealed segments whole,
 * with whatever stands behind their frames, and the newest one up to its last whole group. Locks,
 * quarantine, index files and cursors stay behind.
 *
 * The order makes a half-made copy look like none: `store.meta` first, then the segments from the newest
 * to the oldest. A directory with `store.meta` and without the first segment is refused by every open,
 * so nothing counts until the last file has its name, and by then everything else is durable.
 *
 * A reader copies beside a live writer, who may replace sealed segments while it compacts. A segment is
 * believed only as long as its header and its last frame are where the index says; otherwise the copy is
 * undone, the reader looks again, and the copy begins anew.
 *
 * @module
 */

import type { Clock } from "../../platform/clock.ts";
import {
  type ClonePreference,
  type CloneStrategy,
  IoFault,
  type StoreFile,
  type StoreFs,
} from "../../platform/fs.ts";
import { assert, assertKnownKeys } from "../assert.ts";
import { BASE_RECORD_NAME } from "../compaction/base_record.ts";
import { CopyTarget } from "./copy_target.ts";
import { CopySourceError, CorruptionError } from "../errors.ts";
import { evidenceHash } from "../evidence.ts";
import {
  bodyProblem,
  checksumMatches,
  FRAME_BODY_SIZE_MIN,
  FRAME_HEADER_SIZE,
  payloadStartOf,
  readFrameSize,
  sequenceOf,
} from "../frame.ts";
import { FrameScanner, type ReadableFile, readRange } from "../frame_scanner.ts";
import { blake3, Blake3Stream, bytesEqual, toHex } from "../hash.ts";
import { formatId } from "../ids.ts";
import { withIo } from "../io.ts";
import type { SigningKey } from "../receipt.ts";
import { decodeSegmentHeader } from "../segment_header.ts";
import { segmentName } from "../segment_log.ts";
import {
  decodeStoreMeta,
  encodeStoreMeta,
  STORE_META_NAME,
  STORE_META_SIZE_MAX,
} from "../store_meta.ts";
import type { EventSource } from "../stored_event.ts";

/** The version of the body of a {@linkcode CopyReport}. */
const REPORT_VERSION = 1;
const BLOCK_SIZE = 1 << 20;
/** How often a copy begins before it gives up on a journal that keeps changing. */
const ATTEMPT_COUNT_MAX = 5;

/** How far a copy is. */
export interface CopyProgress {
  /** Bytes copied so far; begins again when the copy has to. */
  readonly bytes: number;
  /** Bytes there are. */
  readonly totalBytes: number;
}

/** Options of a snapshot. */
export interface SnapshotOptions {
  /**
   * Whether every frame that is copied is checked, checksum and sequence, and the copy refused when one is
   * not sound. Default `true`. `false` saves time and copies damage along.
   */
  readonly verify?: boolean;
  /** Called at the start and after each piece: 1 MiB, or one event where that is larger. */
  readonly onProgress?: (progress: CopyProgress) => void;
}

/** Options of a fork. */
export interface ForkOptions {
  /**
   * How sealed segments are shared, if it can be done: `"reflink"` shares blocks of the disk until one side
   * changes, `"hardlink"` shares the file, `"copy"` shares nothing. Each falls back to the next. Default
   * `"reflink"`.
   */
  readonly share?: ClonePreference;
  /** Whether every frame is read and checked, also of what is shared. Default `false`. */
  readonly verify?: boolean;
  /** Called at the start, after each shared file, and after each piece of what is copied. */
  readonly onProgress?: (progress: CopyProgress) => void;
}

/** A segment of a copy. */
export interface CopiedSegment {
  /** From 1. */
  readonly segmentId: number;
  /** Its name. */
  readonly file: string;
  /** Bytes. */
  readonly size: number;
  /** How it came there. */
  readonly strategy: CloneStrategy;
}

/** What a snapshot or fork consists of. */
export interface CopyReport {
  /** What was made. */
  readonly kind: "snapshot" | "fork";
  /** Which journal; the copy has the same id. */
  readonly storeId: string;
  /** The directory of the copy, absolute. */
  readonly target: string;
  /** In order. */
  readonly segments: readonly CopiedSegment[];
  /** Files made, segments included. */
  readonly files: number;
  /** Events in the copy. */
  readonly events: number;
  /** The sequence the next event of the copy will have. */
  readonly nextSequence: number;
  /** Event hash of the newest event, in hex; `null` when there is none. */
  readonly lastEventHash: string | null;
  /** Bytes of all files. */
  readonly bytes: number;
  /** How many segments came there in which way. */
  readonly strategyCounts: Readonly<Record<CloneStrategy, number>>;
  /** Microseconds it took. */
  readonly elapsedUs: number;
  /**
   * BLAKE3 in hex over everything here but `target` and `elapsedUs`: equal for two copies of the same
   * events made in the same way.
   */
  readonly bodyHash: string;
}

/** What a copy would consist of. */
export interface CopyPlan {
  /** Which journal. */
  readonly storeId: string;
  /** The directory of the copy, absolute. */
  readonly target: string;
  /** In order. A sealed segment may be shared by a fork; the newest one never is. */
  readonly segments: readonly {
    readonly segmentId: number;
    readonly file: string;
    readonly size: number;
    readonly sealed: boolean;
  }[];
  /** Files, segments included, and for a backup without its manifest. */
  readonly files: number;
  /** Events. */
  readonly events: number;
  /** The sequence the next event of the copy would have. */
  readonly nextSequence: number;
  /** Bytes of all files. */
  readonly bytes: number;
}

/** A journal to be copied, as its handle gives it. */
export interface CopySource {
  readonly fs: StoreFs;
  readonly clock: Clock;
  /** Canonical. */
  readonly dir: string;
  /** Sixteen bytes. */
  readonly storeId: Uint8Array;
  /** The last one signs backups. */
  readonly signingKeys: readonly SigningKey[];
  /** What the handle shows now; asked again in every attempt. */
  readonly view: () => EventSource;
  /** Looks at the directory again; `undefined` for a writer, under whom nothing changes. */
  readonly refresh: (() => void) | undefined;
}

/** A segment as it was when a copy began. */
export interface SurveyedSegment {
  readonly id: number;
  readonly path: string;
  readonly name: string;
  readonly sealed: boolean;
  /** Everything in front of the frames. */
  readonly header: Uint8Array;
  /** Where the frames end. */
  readonly end: number;
  /** Bytes to be copied. */
  readonly size: number;
  /** Sequence of its first frame. */
  readonly firstSequence: number;
}

/** A journal as it was when a copy began. */
export interface Survey {
  readonly storeId: string;
  /** At least one, in order. */
  readonly segments: readonly SurveyedSegment[];
  /** The bytes of `store.meta`. */
  readonly meta: Uint8Array;
  /** The base record of a pruned journal. */
  readonly base: { readonly size: number; readonly digest: string } | undefined;
  readonly events: number;
  readonly nextSequence: number;
  readonly lastEventHash: string | null;
  /** Bytes of all files. */
  readonly bytes: number;
}

/** Copies what the source shows; see {@linkcode JournalReader.snapshot}. */
export function snapshotJournal(
  source: CopySource,
  path: string,
  options: SnapshotOptions,
): CopyReport {
  assertKnownKeys("take a snapshot", options, SNAPSHOT_OPTIONS);
  const { verify = true, onProgress } = options;
  return copyJournal(source, path, { kind: "snapshot", share: "copy", verify, onProgress });
}

/** Copies what the source shows and shares what it can; see {@linkcode Store.fork}. */
export function forkJournal(source: CopySource, path: string, options: ForkOptions): CopyReport {
  assertKnownKeys("fork", options, FORK_OPTIONS);
  const { share = "reflink", verify = false, onProgress } = options;
  if (!SHARES.has(share)) {
    throw new TypeError(
      `Cannot fork with share ${JSON.stringify(share)}: there are ${[...SHARES].join(", ")}`,
    );
  }
  return copyJournal(source, path, { kind: "fork", share, verify, onProgress });
}

/** Says what a copy would consist of, and refuses where it could not go. Writes nothing. */
export function planCopy(source: CopySource, path: string): CopyPlan {
  return attemptCopy(source, path, (survey, target) => ({
    storeId: survey.storeId,
    target: target.dir,
    segments: survey.segments.map(({ id, name, size, sealed }) => ({
      segmentId: id,
      file: name,
      size,
      sealed,
    })),
    files: fileCountOf(survey),
    events: survey.events,
    nextSequence: survey.nextSequence,
    bytes: survey.bytes,
  }));
}

/** Files a copy consists of. */
export function fileCountOf({ segments, base }: Survey): number {
  return segments.length + (base === undefined ? 1 : 2);
}

/**
 * Runs `attempt` with what is to be copied and where to. When it finds that a segment has been replaced,
 * the source looks again and another attempt is made.
 */
export function attemptCopy<T>(
  source: CopySource,
  path: string,
  attempt: (survey: Survey, target: CopyTarget) => T,
): T {
  return withIo(`copy "${source.dir}" to "${path}"`, () => {
    for (let attempts = 1;; attempts++) {
      try {
        const target = CopyTarget.check(source.fs, path, source.dir);
        return attempt(survey(source), target);
      } catch (error) {
        if (!(error instanceof SegmentReplaced)) throw error;
        const { path: file, segmentId, offset, message: reason } = error;
        // Under a writer nobody replaces anything, so it is damage.
        if (source.refresh === undefined) {
          throw new CorruptionError({ path: file, segmentId, offset, reason });
        }
        if (attempts === ATTEMPT_COUNT_MAX) {
          throw new CopySourceError({ path: file, reason, attempts });
        }
        source.refresh();
      }
    }
  });
}

/** A file is another one than the index speaks of. */
class SegmentReplaced extends Error {
  readonly path: string;
  readonly segmentId: number | undefined;
  readonly offset: number;

  constructor(path: string, segmentId: number | undefined, offset: number, reason: string) {
    super(reason);
    this.path = path;
    this.segmentId = segmentId;
    this.offset = offset;
  }
}

function copyJournal(
  source: CopySource,
  path: string,
  options: {
    readonly kind: CopyReport["kind"];
    readonly share: ClonePreference;
    readonly verify: boolean;
    readonly onProgress: SnapshotOptions["onProgress"];
  },
): CopyReport {
  const { clock } = source;
  const { kind, share, verify } = options;
  const startedUs = clock.monotonicUs();
  return attemptCopy(source, path, (survey, target) => {
    const copier = new Copier(source, survey, { verify, onProgress: options.onProgress });
    const segments: CopiedSegment[] = [];
    target.fill(() => {
      copier.begin();
      target.publish(STORE_META_NAME, (staged) => copier.meta((bytes) => staged.append(bytes)));
      if (survey.base !== undefined) {
        target.publish(BASE_RECORD_NAME, (staged) => copier.base((bytes) => staged.append(bytes)));
      }
      // From the newest to the oldest: the copy counts when the oldest has its name, and not before.
      for (const segment of survey.segments.toReversed()) {
        const { id, name, size } = segment;
        let strategy: CloneStrategy = "copy";
        if (share === "copy" || !segment.sealed) {
          target.publish(
            name,
            (staged) => copier.segment(segment, (bytes) => staged.append(bytes)),
          );
        } else {
          strategy = target.publishClone(name, {
            source: segment.path,
            preference: share,
            check: (path) => copier.clone(segment, path),
          });
        }
        segments.unshift({ segmentId: id, file: name, size, strategy });
      }
    });
    const body = {
      kind,
      storeId: survey.storeId,
      segments,
      files: fileCountOf(survey),
      events: survey.events,
      nextSequence: survey.nextSequence,
      lastEventHash: survey.lastEventHash,
      bytes: survey.bytes,
      strategyCounts: countStrategies(segments),
    };
    return {
      ...body,
      target: target.dir,
      elapsedUs: Math.round(clock.monotonicUs() - startedUs),
      bodyHash: evidenceHash({ schemaVersion: REPORT_VERSION, ...body }),
    };
  });
}

/** Looks at everything that is to be copied, and at whether it is what the index speaks of. */
function survey(source: CopySource): Survey {
  const { fs, dir, storeId } = source;
  const { log, index, firstSequence } = source.view();
  const segments: SurveyedSegment[] = [];
  let lastEventHash: string | null = null;
  let createdUs = 0;
  for (const [i, { id, path, firstRow, framesStart, end }] of log.segments.entries()) {
    const sealed = i + 1 < log.segments.length;
    const nextRow = sealed ? log.segments[i + 1].firstRow : index.count;
    const replaced = (offset: number, reason: string): never => {
      throw new SegmentReplaced(path, id, offset, reason);
    };
    const file = openSource(fs, path, id);
    try {
      const header = readHeader(file, framesStart);
      const decoded = decodeSegmentHeader(header);
      if (decoded.type !== "header" || decoded.end !== framesStart) {
        return replaced(0, "it has another header");
      }
      if (!bytesEqual(decoded.header.storeId, storeId)) replaced(0, "it is of another journal");
      if (decoded.header.firstSequence !== firstSequence + firstRow) {
        replaced(0, `it begins at sequence ${decoded.header.firstSequence}`);
      }
      const fileSize = file.size();
      if (fileSize < end) replaced(fileSize, `it has ${fileSize} bytes, and ${end} were expected`);
      if (nextRow > firstRow) {
        const offset = index.offsetOf(nextRow - 1);
        const isLast = nextRow === index.count;
        const sequence = firstSequence + nextRow - 1;
        const frame = readLastFrame(file, { offset, end, sequence, whole: isLast });
        if (frame === undefined) return replaced(offset, "its last frame is elsewhere");
        if (isLast) lastEventHash = hashOfEvent(frame, { path, segmentId: id, offset });
      }
      if (i === 0) createdUs = Number(decoded.header.createdNs / 1000n);
      segments.push({
        id,
        path,
        name: segmentName(id),
        sealed,
        header,
        end,
        size: sealed ? fileSize : end,
        firstSequence: firstSequence + firstRow,
      });
    } finally {
      file.close();
    }
  }
  assert(segments.length > 0, "an open journal has a segment");
  const meta = readMeta(source, createdUs);
  const base = surveyBase(fs, dir);
  let bytes = meta.byteLength + (base?.size ?? 0);
  for (const { size } of segments) bytes += size;
  return {
    storeId: formatId(storeId),
    segments,
    meta,
    base,
    events: index.count - index.firstRow,
    nextSequence: firstSequence + index.count,
    lastEventHash,
    bytes,
  };
}

/** The bytes of `store.meta`; made anew when it is missing, as the next writable open would. */
function readMeta({ fs, dir, storeId }: CopySource, createdUs: number): Uint8Array {
  const path = `${dir}/${STORE_META_NAME}`;
  if (fs.stat(path) === undefined) return encodeStoreMeta({ storeId, createdUs });
  const bytes = fs.readFile(path, STORE_META_SIZE_MAX);
  const decoded = decodeStoreMeta(bytes);
  if (decoded.type !== "meta" || !bytesEqual(decoded.meta.storeId, storeId)) {
    throw new SegmentReplaced(path, undefined, 0, "it is not the one of this journal");
  }
  return bytes;
}

function surveyBase(fs: StoreFs, dir: string): Survey["base"] {
  const path = `${dir}/${BASE_RECORD_NAME}`;
  if (fs.stat(path) === undefined) return undefined;
  const hash = new Blake3Stream();
  const size = readWhole(fs, path, (bytes) => hash.update(bytes));
  return { size, digest: toHex(hash.digest()) };
}

function readHeader(file: StoreFile, size: number): Uint8Array {
  const header = new Uint8Array(size);
  return header.subarray(0, readRange(file, header, 0, size, 0));
}

/**
 * The frame of the last event of a segment, whole or the beginning of it; `undefined` when it is not
 * where the index says.
 */
function readLastFrame(
  file: StoreFile,
  options: {
    readonly offset: number;
    readonly end: number;
    readonly sequence: number;
    readonly whole: boolean;
  },
): Uint8Array | undefined {
  const { offset, end, sequence, whole } = options;
  const size = end - offset;
  if (size < FRAME_HEADER_SIZE + FRAME_BODY_SIZE_MIN) return undefined;
  const frame = new Uint8Array(whole ? size : FRAME_HEADER_SIZE + FRAME_BODY_SIZE_MIN);
  if (readRange(file, frame, 0, frame.byteLength, offset) < frame.byteLength) return undefined;
  const isThere = readFrameSize(frame, 0, size) === size - FRAME_HEADER_SIZE &&
    sequenceOf(frame, FRAME_HEADER_SIZE) === sequence;
  return isThere ? frame : undefined;
}

/** The event hash in hex of a whole frame. */
function hashOfEvent(
  frame: Uint8Array,
  place: { readonly path: string; readonly segmentId: number; readonly offset: number },
): string {
  const body = frame.subarray(FRAME_HEADER_SIZE);
  const reason = checksumMatches(frame, 0, body.byteLength)
    ? bodyProblem(body, 0, body.byteLength)
    : "the frame's checksum does not match";
  if (reason !== undefined) throw new CorruptionError({ ...place, reason });
  return toHex(blake3(body.subarray(0, payloadStartOf(body, 0))));
}

/** Where copied bytes go. They are borrowed: the next read overwrites them. */
export type Sink = (bytes: Uint8Array) => void;

/** Reads the files of a surveyed journal, piece by piece, and says how far it is. */
export class Copier {
  readonly #source: CopySource;
  readonly #survey: Survey;
  readonly #verify: boolean;
  readonly #onProgress: SnapshotOptions["onProgress"];
  readonly #block: Uint8Array = new Uint8Array(BLOCK_SIZE);
  #bytes = 0;

  /** @param options `verify` checks every frame. */
  constructor(
    source: CopySource,
    survey: Survey,
    options: { readonly verify: boolean; readonly onProgress: SnapshotOptions["onProgress"] },
  ) {
    this.#source = source;
    this.#survey = survey;
    this.#verify = options.verify;
    this.#onProgress = options.onProgress;
  }

  /** Says that nothing has been copied yet. */
  begin(): void {
    this.#advance(0);
  }

  /** `store.meta`. */
  meta(sink: Sink): void {
    sink(this.#survey.meta);
    this.#advance(this.#survey.meta.byteLength);
  }

  /** The base record. A writer that has pruned meanwhile has replaced it. */
  base(sink: Sink): void {
    const { fs, dir } = this.#source;
    const path = `${dir}/${BASE_RECORD_NAME}`;
    const hash = new Blake3Stream();
    const size = readWhole(fs, path, (bytes) => {
      hash.update(bytes);
      sink(bytes);
      this.#advance(bytes.byteLength);
    }, this.#block);
    const { base } = this.#survey;
    if (size !== base?.size || toHex(hash.digest()) !== base.digest) {
      throw new SegmentReplaced(path, undefined, 0, "it has other bytes");
    }
  }

  /** A segment: header, frames, and of a sealed one what stands behind them. */
  segment(segment: SurveyedSegment, sink: Sink): void {
    const { fs } = this.#source;
    const { id, path, sealed, size, end, header } = segment;
    const file = openSource(fs, path, id);
    try {
      this.#checkIdentity(segment, file);
      const copy = (bytes: Uint8Array): void => {
        sink(bytes);
        this.#advance(bytes.byteLength);
      };
      copy(header);
      if (this.#verify) this.#scan(segment, teeOf(file, copy));
      else this.#read(segment, file, { start: header.byteLength, end, sink: copy });
      if (sealed) this.#read(segment, file, { start: end, end: size, sink: copy });
    } finally {
      file.close();
    }
  }

  /** Checks a segment that has been cloned. */
  clone(segment: SurveyedSegment, path: string): void {
    const file = this.#source.fs.open(path, "read");
    try {
      this.#checkIdentity(segment, file);
      if (this.#verify) this.#scan(segment, file);
    } finally {
      file.close();
    }
    this.#advance(segment.size);
  }

  #checkIdentity(segment: SurveyedSegment, file: StoreFile): void {
    const { id, path, header, sealed, size } = segment;
    if (!bytesEqual(readHeader(file, header.byteLength), header)) {
      throw new SegmentReplaced(path, id, 0, "it has another header than when the copy began");
    }
    const fileSize = file.size();
    if (sealed ? fileSize !== size : fileSize < size) {
      throw new SegmentReplaced(
        path,
        id,
        Math.min(fileSize, size),
        `it has ${fileSize} bytes, and had ${size} when the copy began`,
      );
    }
  }

  /** Checks every frame, and that they end where the index says. */
  #scan(segment: SurveyedSegment, file: ReadableFile): void {
    const { header, end } = segment;
    const scanner = new FrameScanner(file, header.byteLength, end);
    let sequence = segment.firstSequence;
    let result = scanner.next();
    while (result === "frame") {
      const found = sequenceOf(scanner.bytes, scanner.body);
      if (found !== sequence) {
        this.#refuse(
          segment,
          scanner.offset,
          `the event has sequence ${found}, and ${sequence} is next`,
        );
      }
      sequence++;
      result = scanner.next();
    }
    if (result !== "end") {
      const reason = result === "damaged"
        ? scanner.reason
        : result === "cut"
        ? "the frame is cut short"
        : "there is no frame here";
      this.#refuse(segment, scanner.offset, reason);
    }
  }

  #read(
    segment: SurveyedSegment,
    file: StoreFile,
    range: { readonly start: number; readonly end: number; readonly sink: Sink },
  ): void {
    const { start, end, sink } = range;
    const block = this.#block;
    for (let at = start; at < end;) {
      const count = readRange(file, block, 0, Math.min(block.byteLength, end - at), at);
      if (count === 0) this.#refuse(segment, at, "the file has become shorter");
      sink(block.subarray(0, count));
      at += count;
    }
  }

  /** What the file that still has the name says is damage; a file that has lost it says nothing. */
  #refuse(segment: SurveyedSegment, offset: number, reason: string): never {
    const { id, path, header } = segment;
    const file = openSource(this.#source.fs, path, id);
    try {
      if (!bytesEqual(readHeader(file, header.byteLength), header)) {
        throw new SegmentReplaced(path, id, offset, reason);
      }
    } finally {
      file.close();
    }
    throw new CorruptionError({ path, segmentId: id, offset, reason });
  }

  #advance(size: number): void {
    this.#bytes += size;
    this.#onProgress?.({ bytes: this.#bytes, totalBytes: this.#survey.bytes });
  }
}

/** A file whose bytes go to `sink` as they are read, which has to happen from front to back. */
function teeOf(file: StoreFile, sink: Sink): ReadableFile {
  let next = -1;
  return {
    readAt(target, targetStart, size, position) {
      const count = file.readAt(target, targetStart, size, position);
      assert(next === -1 || next === position, "a scanner reads every byte once, in order");
      next = position + count;
      if (count > 0) sink(target.subarray(targetStart, targetStart + count));
      return count;
    },
  };
}

/** Reads a file from front to back and says how long it was. */
export function readWhole(
  fs: StoreFs,
  path: string,
  sink: Sink,
  block: Uint8Array = new Uint8Array(BLOCK_SIZE),
): number {
  const file = fs.open(path, "read");
  try {
    for (let at = 0;;) {
      const count = readRange(file, block, 0, block.byteLength, at);
      if (count > 0) sink(block.subarray(0, count));
      at += count;
      if (count < block.byteLength) return at;
    }
  } finally {
    file.close();
  }
}

function openSource(fs: StoreFs, path: string, id: number): StoreFile {
  try {
    return fs.open(path, "read");
  } catch (error) {
    if (error instanceof IoFault && error.code === "ENOENT") {
      throw new SegmentReplaced(path, id, 0, "it is gone");
    }
    throw error;
  }
}

function countStrategies(segments: readonly CopiedSegment[]): Record<CloneStrategy, number> {
  const counts = { reflink: 0, hardlink: 0, copy: 0 };
  for (const { strategy } of segments) counts[strategy]++;
  return counts;
}

const SNAPSHOT_OPTIONS: ReadonlySet<string> = new Set(["verify", "onProgress"]);
const FORK_OPTIONS: ReadonlySet<string> = new Set(["share", "verify", "onProgress"]);
const SHARES: ReadonlySet<string> = new Set<ClonePreference>(["reflink", "hardlink", "copy"]);
