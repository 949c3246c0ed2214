/**
 * Verification: everything the bytes of a journal can be held to, without opening it.
 *
 * Opening checks checksums and stops at the first damage. This reads on: it reports every finding with
 * its segment, offset and reason, and looks for the next sound frame behind a damaged one. It checks,
 * for each event, the checksum, the layout, the payload against `contentHash`, the place in the
 * sequence, the clock, and that `prevHash` is the event hash of the event before it in its chain; for
 * each group, that it is whole; for each segment, that it follows the one before.
 *
 * What it can't see: a journal whose end was cut off between two groups, or whose newest events were
 * replaced by others that fit. Against those there are receipts, kept elsewhere.
 *
 * @module
 */

import type { DirEntry, StoreFs } from "../platform/fs.ts";
import { IoFault } from "../platform/fs.ts";
import { crc32 } from "../platform/checksum.ts";
import { runtime } from "../platform/runtime.ts";
import {
  BASE_RECORD_NAME,
  type BaseFacts,
  readBaseRecord,
  signatureProblem,
} from "./compaction/base_record.ts";
import { MARKER_NAME } from "./compaction/compaction_marker.ts";
import {
  clockOf,
  CONTENT_HASH_OFFSET,
  ENTITY_OFFSET,
  entitySizeOf,
  erasureOf,
  EVENT_ID_OFFSET,
  FRAME_HEADER_SIZE,
  groupRemainingOf,
  laneOf,
  NO_HASH,
  payloadOf,
  payloadStartOf,
  PREV_HASH_OFFSET,
  readUtf8,
  scopeSizeOf,
  scopeStartOf,
  sequenceOf,
  timestampOf,
} from "./frame.ts";
import { validateCoordinate } from "./coordinate.ts";
import { CorruptionError, FutureVersionError, JournalNotFoundError } from "./errors.ts";
import { endOfDamagedFrame, findFrameAfter, FrameScanner } from "./frame_scanner.ts";
import { blake3Into, bytesEqual, HASH_SIZE } from "./hash.ts";
import { formatId } from "./ids.ts";
import { IndexAudit, type IndexFinding } from "./index/index_audit.ts";
import { INDEX_FILE_NAME } from "./index/index_file.ts";
import { Interner, NAME_UNKNOWN } from "./index/interner.ts";
import { findFrameBehind, noSegments, readFully } from "./recovery.ts";
import {
  decodeSegmentHeader,
  type MergeFacts,
  SEGMENT_HEADER_SIZE_MAX,
  type SegmentHeader,
} from "./segment_header.ts";
import { segmentIdOf } from "./segment_log.ts";
import {
  readBase,
  readMarker,
  readSegmentSet,
  resolveSegments,
  type SegmentFile,
  SOURCE_SUFFIX,
} from "./compaction/segment_set.ts";
import { decodeStoreMeta, STORE_META_NAME, STORE_META_SIZE_MAX } from "./store_meta.ts";

/** Which promise a finding breaks. */
export type FindingType =
  /** A file cannot be read, or is not what its name says. */
  | "file"
  /** A segment header is damaged, or does not follow the segment before. */
  | "header"
  /** Bytes that are no frame where a frame should be. */
  | "frame"
  /** The payload is not the one the event was appended with. */
  | "content"
  /** The event does not follow the one before it in its entity's lane. */
  | "chain"
  /** The event is not the next one of the journal, or is older than the one before. */
  | "sequence"
  /** A group of events is not whole. */
  | "group"
  /**
   * An index file or footer is sound and says something else than the frames: reads through it give
   * wrong answers. Removing `index.fbati` helps, and so does opening with `coldStart` switched off.
   */
  | "index"
  /** The index file knows events that the log does not have any more: its end was cut off. */
  | "lost"
  /** An index file or footer is damaged or out of date. Opening does without it, and takes longer. */
  | "unusable"
  /**
   * A compaction or a prune was cut short, or left a file behind that does not count any more. Opening
   * for writing puts it in order.
   */
  | "leftover"
  /** A newer program wrote the file: nothing is known to be wrong, and nothing behind it was checked. */
  | "future"
  /** The end of the newest segment is cut short, as a crash leaves it: opening repairs that. */
  | "tail";

/** Something that is not as it was written. */
export interface Finding {
  /** Which promise it breaks. */
  readonly type: FindingType;
  /** The file, relative to the journal's directory. */
  readonly file: string;
  /** The segment, when the file is one. */
  readonly segmentId: number | undefined;
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** What is wrong there. */
  readonly reason: string;
  /** The event it is about, when the frame could be read. */
  readonly globalSequence?: number;
  /** Its id. */
  readonly eventId?: string;
}

/** What {@linkcode verifyJournal} found. */
export interface VerifyReport {
  /**
   * Whether there is no finding, or none but what opening deals with and loses nothing: a torn tail,
   * indexes out of date, leftovers.
   */
  readonly intact: boolean;
  /** Which journal; `undefined` when no file says so. */
  readonly storeId: string | undefined;
  /** Segments read. */
  readonly segments: number;
  /** Sound frames whose hashes were recomputed. */
  readonly events: number;
  /** Events whose payload was erased, retired ones included; their headers verify all the same. */
  readonly erased: number;
  /** Events of those that retention has taken out of queries. */
  readonly retired: number;
  /** Events in front of the first segment, which have been pruned. */
  readonly pruned: number;
  /** Chains followed: entities, counted once for each lane. */
  readonly chains: number;
  /** Bytes read. */
  readonly bytes: number;
  /** In the order of the files. The list ends after 1,000; `findingCount` goes on. */
  readonly findings: readonly Finding[];
  /** How many findings there were. */
  readonly findingCount: number;
}

/** Options of {@linkcode verifyJournal}. */
export interface VerifyOptions {
  /** Files. Default: those of the runtime. */
  readonly fs?: StoreFs;
  /**
   * Public keys of 32 bytes. When there are any, one of them has to have signed the record of what has
   * been pruned.
   */
  readonly verifyingKeys?: readonly Uint8Array[];
  /** Called every few thousand events with the bytes read so far and the bytes there are. */
  readonly onProgress?: (done: { bytes: number; totalBytes: number; events: number }) => void;
}

const FINDINGS_MAX = 1000;
const PROGRESS_EVENTS = 8192;

/**
 * Checks a journal's bytes from beginning to end and reports everything that is not as it was written.
 * Changes nothing and takes no lock; beside a live writer it reports the journal as it finds it.
 *
 * @throws {JournalNotFoundError} when there is no journal in the directory, or no directory.
 * @throws {IoFault} when the directory cannot be listed.
 *
 * @example Verify a journal
 * ```ts
 * import { EventKind, MemoryFs, Store, verifyJournal } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const fs = new MemoryFs();
 * {
 *   using store = Store.open("journal", { fs });
 *   store.append({ entity: "user:1", scope: "app" }, EventKind.DATA, "hello");
 * }
 * assert.equal(verifyJournal("journal", { fs }).intact, true);
 * ```
 */
export function verifyJournal(dir: string, options: VerifyOptions = {}): VerifyReport {
  return verifyFiles(dir, options).report;
}

/**
 * As {@linkcode verifyJournal}, with the calls of the system that failed: what they say in a finding is no
 * damage, only something that could not be read.
 *
 * @internal
 */
export function verifyFiles(
  dir: string,
  options: VerifyOptions = {},
): { readonly report: VerifyReport; readonly faults: readonly IoFault[] } {
  for (let attempt = 1;; attempt++) {
    const verifier = new Verifier(dir, options);
    const report = verifier.run();
    // A writer may have replaced segments while they were being read: that is no damage.
    const isDoubtful = report.findingCount > 0 && attempt < ATTEMPT_COUNT_MAX;
    if (!isDoubtful || !verifier.isLayoutChanged()) return { report, faults: verifier.faults };
  }
}

/** A journal that is compacted all the time is verified at some other time. */
const ATTEMPT_COUNT_MAX = 5;

class Verifier {
  /** Calls of the system that failed, and are findings now. */
  readonly faults: IoFault[] = [];
  readonly #dir: string;
  readonly #fs: StoreFs;
  readonly #verifyingKeys: readonly Uint8Array[];
  readonly #onProgress: VerifyOptions["onProgress"];
  readonly #findings: Finding[] = [];
  #findingCount = 0;
  #intact = true;
  #storeId: Uint8Array | undefined;
  #events = 0;
  #erased = 0;
  #retired = 0;
  #base: BaseFacts | undefined;
  /** Name and header of each segment, in order: what another look is compared with. */
  #layout = "";
  #bytes = 0;
  #totalBytes = 0;

  // The state of the journal behind the last sound frame. -1: whatever comes next is believed.
  #nextSequence = 0;
  #lastTimestampUs = 0;
  readonly #lastHash: Uint8Array = new Uint8Array(HASH_SIZE);
  /** Where hashes are computed; in Deno a new array each would cost more than the hash. */
  readonly #scratch: Uint8Array = new Uint8Array(HASH_SIZE);
  /** Chains by entity and lane, with their heads; lost when damage may have hidden a link. */
  readonly #names = new Interner();
  readonly #scopes = new Interner();
  readonly #chains = new Map<number, Map<number, ChainHead>>();
  #chainCount = 0;
  /** After damage, chains may lack a link: each is believed once. */
  #generation = 0;
  /** Builds the index again, to compare what is saved of it; given up once frames are missing. */
  #audit: IndexAudit | undefined;

  constructor(dir: string, options: VerifyOptions) {
    this.#dir = dir;
    this.#fs = options.fs ?? runtime.fs;
    this.#verifyingKeys = options.verifyingKeys ?? [];
    this.#onProgress = options.onProgress;
  }

  run(): VerifyReport {
    const entries: DirEntry[] = [];
    let segmentCount = 0;
    for (const entry of this.#list()) {
      const id = segmentIdOf(entry.name);
      if (id !== undefined && entry.kind === "other") {
        // Opening a pipe would wait for somebody to write to it.
        this.#report("file", { id, name: entry.name }, 0, "it is not a regular file");
        continue;
      }
      if (id !== undefined || entry.name.endsWith(SOURCE_SUFFIX)) segmentCount++;
      entries.push(entry);
    }
    this.#readMeta(segmentCount);
    const files = this.#resolve(entries);
    this.#layout = this.#layoutOf(files);
    for (const { name } of files) {
      this.#totalBytes += this.#fs.stat(`${this.#dir}/${name}`)?.size ?? 0;
    }
    this.#audit = new IndexAudit(this.#fs, this.#dir);
    this.#beginAtBase();
    this.#reportIndex(this.#audit?.readIndexFile());
    let previous: Verified | undefined;
    let segments = 0;
    const newestId = files.at(-1)?.id ?? 0;
    for (let i = 0; i < files.length; i++) {
      const file = files[i];
      const lastId = previous?.lastId ?? (i > 0 ? files[i - 1].id : file.id - 1);
      if (file.id <= lastId) {
        const reason = "its events stand in a merged segment before it";
        this.#push({ type: "leftover", file: file.name, segmentId: file.id, offset: 0, reason });
        continue;
      }
      segments++;
      if (file.id !== lastId + 1) {
        this.#report("header", file, 0, missingSegments(lastId + 1, file.id - 1));
        this.#forgetPlace();
        previous = undefined;
      }
      try {
        previous = this.#verifySegment(file, files[i + 1], previous, newestId);
      } catch (error) {
        if (!(error instanceof IoFault)) throw error;
        this.faults.push(error);
        this.#report("file", file, 0, error.message);
        this.#forgetPlace();
        previous = undefined;
      }
    }
    this.#reportIndex(this.#audit?.finish());
    this.#progress();
    return {
      intact: this.#intact,
      storeId: this.#storeId === undefined ? undefined : formatId(this.#storeId),
      segments,
      events: this.#events,
      erased: this.#erased,
      retired: this.#retired,
      pruned: this.#base?.firstSequence ?? 0,
      chains: this.#chainCount,
      bytes: this.#bytes,
      findings: this.#findings,
      findingCount: this.#findingCount,
    };
  }

  /** Whether the journal is made of other files by now. */
  isLayoutChanged(): boolean {
    try {
      const fs = this.#fs;
      const options = { storeId: this.#storeId, thorough: false };
      return this.#layoutOf(readSegmentSet(fs, this.#dir, options).files) !== this.#layout;
    } catch (error) {
      if (error instanceof CorruptionError || error instanceof FutureVersionError) return false;
      // A file that is gone between two looks.
      if (error instanceof IoFault) return error.code === "ENOENT";
      throw error;
    }
  }

  #layoutOf(files: readonly SegmentFile[]): string {
    const stamps = files.map(({ id, name }) => {
      try {
        return `${id} ${this.#readHead(name).stamp}`;
      } catch (error) {
        if (!(error instanceof IoFault)) throw error;
        return `${id} ${error.code}`;
      }
    });
    return stamps.join();
  }

  /** The files that are the journal; all there are, when what decides about them is damaged. */
  #resolve(entries: readonly DirEntry[]): readonly SegmentFile[] {
    const fs = this.#fs;
    const dir = this.#dir;
    const storeId = this.#storeId;
    try {
      const marker = readMarker(fs, dir, storeId);
      this.#base = readBase(fs, dir, storeId);
      const headerOf = (name: string) => {
        const { decoded } = this.#readHead(name);
        return decoded.type === "header" ? decoded.header : undefined;
      };
      const set = resolveSegments({ dir, entries, marker, base: this.#base, headerOf });
      if (set.pending !== undefined) {
        const end = set.pending.isCommitted ? "finishes" : "undoes";
        const reason = `a compaction was cut short; opening for writing ${end} it`;
        this.#push({
          type: "leftover",
          file: MARKER_NAME,
          segmentId: undefined,
          offset: 0,
          reason,
        });
      }
      for (const { name, reason } of set.leftovers) {
        this.#push({
          type: "leftover",
          file: name,
          segmentId: undefined,
          offset: 0,
          reason: `it does not count any more: ${reason}`,
        });
      }
      return set.files;
    } catch (error) {
      if (error instanceof CorruptionError || error instanceof FutureVersionError) {
        const file = error.path.slice(dir.length + 1);
        const isFuture = error instanceof FutureVersionError;
        this.#push({
          type: isFuture ? "future" : "file",
          file,
          segmentId: undefined,
          offset: 0,
          reason: isFuture
            ? `it has format version ${error.found}, from a newer program`
            : error.reason,
        });
      } else if (error instanceof IoFault) {
        this.faults.push(error);
        const file = error.path.slice(dir.length + 1);
        this.#push({ type: "file", file, segmentId: undefined, offset: 0, reason: error.message });
      } else throw error;
      this.#forgetPlace();
      return entries.flatMap(({ name }) => {
        const id = segmentIdOf(name);
        return id === undefined ? [] : [{ id, name }];
      }).sort((a, b) => a.id - b.id);
    }
  }

  /** Takes in the heads of what was pruned, so that what is left has something to follow. */
  #beginAtBase(): void {
    const base = this.#base;
    if (base === undefined) return;
    const refuse = (reason: string) => {
      this.#push({
        type: "file",
        file: BASE_RECORD_NAME,
        segmentId: undefined,
        offset: 0,
        reason,
      });
    };
    this.#nextSequence = base.firstSequence;
    this.#lastTimestampUs = base.lastTimestampUs;
    this.#lastHash.set(base.lastHash);
    this.#audit?.begin(base);
    try {
      const file = this.#fs.open(`${this.#dir}/${BASE_RECORD_NAME}`, "read");
      try {
        const result = readBaseRecord(file, (head) => {
          const { entity, lane, clock, eventHash } = head;
          let number = this.#names.find(entity, 0, entity.byteLength);
          if (number === NAME_UNKNOWN) number = this.#names.add(entity, 0, entity.byteLength);
          let lanes = this.#chains.get(number);
          if (lanes === undefined) this.#chains.set(number, lanes = new Map());
          if (lanes.has(lane)) return "it names a chain twice";
          lanes.set(lane, { clock, hash: eventHash.slice(), generation: 0, isBase: true });
          this.#audit?.addBaseChain(head);
        });
        if (result.type === "corrupt") refuse(result.reason);
        else if (result.type === "future") refuse(`it has version ${result.version}`);
        else {
          this.#bytes += result.base.size;
          this.#totalBytes += result.base.size;
          const keys = this.#verifyingKeys;
          const problem = keys.length === 0 ? undefined : signatureProblem(result.base, keys);
          if (problem !== undefined) refuse(problem);
        }
        if (result.type !== "base") this.#forgetPlace();
      } finally {
        file.close();
      }
    } catch (error) {
      if (!(error instanceof IoFault)) throw error;
      this.faults.push(error);
      refuse(error.message);
      this.#forgetPlace();
    }
  }

  #list(): DirEntry[] {
    try {
      return this.#fs.list(this.#dir);
    } catch (error) {
      if (!(error instanceof IoFault && error.code === "ENOENT")) throw error;
      throw new JournalNotFoundError(this.#dir, error);
    }
  }

  #readMeta(segmentCount: number): void {
    const refuse = (reason: string, type: FindingType = "file") => {
      this.#push({ type, file: STORE_META_NAME, segmentId: undefined, offset: 0, reason });
    };
    try {
      const path = `${this.#dir}/${STORE_META_NAME}`;
      const decoded = decodeStoreMeta(this.#fs.readFile(path, STORE_META_SIZE_MAX));
      if (decoded.type === "meta") {
        this.#storeId = decoded.meta.storeId;
        if (segmentCount === 0) refuse(noSegments(this.#fs, this.#dir));
      } else if (decoded.type === "corrupt") refuse(decoded.reason);
      else refuse(`it has format version ${decoded.version}, from a newer program`, "future");
    } catch (error) {
      if (!(error instanceof IoFault)) throw error;
      if (error.code !== "ENOENT") {
        this.faults.push(error);
        refuse(error.message);
      } else if (segmentCount > 0) refuse("it is missing; opening for writing restores it");
      else throw new JournalNotFoundError(this.#dir);
    }
  }

  /** Reads one segment, and says where its frames end. */
  #verifySegment(
    segment: SegmentFile,
    next: SegmentFile | undefined,
    previous: Verified | undefined,
    newestId: number,
  ): Verified | undefined {
    const { id, name } = segment;
    const file = this.#fs.open(`${this.#dir}/${name}`, "read");
    try {
      const size = file.size();
      const head = new Uint8Array(Math.min(size, SEGMENT_HEADER_SIZE_MAX));
      const decoded = decodeSegmentHeader(head.subarray(0, readFully(file, head, 0)));
      let start: number;
      let merge: MergeFacts | undefined;
      if (decoded.type === "header") {
        start = decoded.end;
        merge = decoded.header.merge;
        this.#verifyHeader(segment, decoded.header, previous);
        const headerCrc = crc32(head.subarray(0, start));
        this.#audit?.enter({ id, framesStart: start, headerCrc }, decoded.header.storeId);
      } else {
        const isFuture = decoded.type === "future";
        start = isFuture ? -1 : this.#resync(file, segment, 8, size);
        // A header that was never whole has no frames behind it, and store.meta comes after the first.
        const isStub = id === newestId && decoded.type === "cut" && start < 0 &&
          !(id === 1 && this.#storeId !== undefined);
        this.#report(
          isFuture ? "future" : isStub ? "tail" : "header",
          segment,
          0,
          decoded.type === "cut"
            ? "the header is cut short"
            : decoded.type === "future"
            ? `the segment has format version ${decoded.version}, from a newer program`
            : decoded.reason,
        );
        this.#forgetPlace();
        if (start < 0) return undefined;
      }
      const lastId = merge?.lastSegmentId ?? id;
      // Files that it claims to stand for are not behind it.
      const isLast = newestId <= lastId;
      if (isLast && merge !== undefined) {
        this.#report(
          "header",
          segment,
          0,
          "the segments behind it are missing: compaction leaves the newest one alone",
        );
      }
      // Only what is the newest of the journal may end in what a crash leaves.
      const last = isLast && merge === undefined;
      const sealedEnd = merge?.framesEnd ?? (next?.id === lastId + 1 ? this.#sealedEnd(next) : -1);
      // A file that is shorter than the next header says is found out when that header is.
      const isSealed = sealedEnd >= start && sealedEnd <= size;
      const framesEnd = isSealed ? sealedEnd : size;
      const end = this.#verifyFrames(file, segment, { start, size: framesEnd, last });
      if (merge !== undefined && end >= 0 && end !== merge.framesEnd) {
        const reason = `the segment was merged with ${merge.framesEnd} bytes, and has ${end}`;
        this.#report("header", segment, Math.min(end, merge.framesEnd), reason);
        this.#forgetPlace();
      }
      if (!last && end >= 0 && end < size) {
        const finding = this.#audit?.compareFooter(file, end, size);
        if (finding !== undefined) {
          this.#report(finding.type, segment, end, `the index footer: ${finding.reason}`);
        }
      }
      this.#bytes += size;
      return {
        segment,
        lastId,
        end: end < 0 ? end : merge?.sealedSize ?? end,
      };
    } finally {
      file.close();
    }
  }

  /** Where the frames end of the segment before this one, as far as its header can say; else -1. */
  #sealedEnd({ name }: SegmentFile): number {
    try {
      const { decoded } = this.#readHead(name);
      return decoded.type === "header" ? decoded.header.previousSize : -1;
    } catch (error) {
      // It is looked at again, and reported, when it is its turn.
      if (error instanceof IoFault) return -1;
      throw error;
    }
  }

  #readHead(
    name: string,
  ): { readonly decoded: ReturnType<typeof decodeSegmentHeader>; readonly stamp: number } {
    const file = this.#fs.open(`${this.#dir}/${name}`, "read");
    try {
      const head = new Uint8Array(Math.min(file.size(), SEGMENT_HEADER_SIZE_MAX));
      const decoded = decodeSegmentHeader(head.subarray(0, readFully(file, head, 0)));
      const end = decoded.type === "header" ? decoded.end : head.byteLength;
      return { decoded, stamp: crc32(head.subarray(0, end)) };
    } finally {
      file.close();
    }
  }

  #reportIndex(finding: IndexFinding | undefined): void {
    if (finding === undefined) return;
    const { type, reason } = finding;
    this.#push({ type, file: INDEX_FILE_NAME, segmentId: undefined, offset: 0, reason });
  }

  #verifyHeader(
    segment: SegmentFile,
    header: SegmentHeader,
    previous: Verified | undefined,
  ): void {
    const { id } = segment;
    if (header.segmentId !== id) {
      this.#report("header", segment, 0, `the header says it is segment ${header.segmentId}`);
    }
    this.#storeId ??= header.storeId;
    if (!bytesEqual(header.storeId, this.#storeId)) {
      const owner = formatId(header.storeId);
      this.#report("header", segment, 0, `the segment belongs to journal ${owner}`);
    }
    if (this.#nextSequence >= 0 && header.firstSequence !== this.#nextSequence) {
      this.#report(
        "sequence",
        segment,
        0,
        `the segment begins at sequence ${header.firstSequence}, and ${this.#nextSequence} is next`,
      );
      this.#forgetPlace();
    }
    // Where a damaged segment ends is not known, and has been reported.
    if (id === 1 && header.previousSize !== 0) {
      this.#report("header", segment, 0, "the header of the first segment names one before it");
    }
    const base = this.#base;
    if (base?.firstSegmentId === id && !bytesEqual(header.previousHash, base.lastHash)) {
      const reason = `the header names another event as the last one that was pruned`;
      this.#report("chain", segment, 0, reason);
    }
    if (previous === undefined || previous.end < 0) return;
    if (previous.end !== header.previousSize) {
      this.#report(
        "header",
        previous.segment,
        Math.min(previous.end, header.previousSize),
        `the segment was sealed with ${header.previousSize} bytes, and has ${previous.end}`,
      );
      this.#forgetPlace();
    } else if (
      this.#nextSequence >= 0 && !bytesEqual(header.previousHash, this.#lastHash)
    ) {
      this.#report(
        "chain",
        segment,
        0,
        `the header names another event as the last one of segment ${previous.lastId}`,
      );
    }
  }

  /** Reads the frames of a segment, and says where they end; -1 when damage leaves that open. */
  #verifyFrames(
    file: Parameters<typeof readFully>[0],
    segment: SegmentFile,
    range: { readonly start: number; readonly size: number; readonly last: boolean },
  ): number {
    const { size, last } = range;
    let scanner = new FrameScanner(file, range.start, size);
    let group: OpenGroup | undefined;
    for (;;) {
      if (this.#audit?.isAtWatermark === true) this.#reportIndex(this.#audit.compareIndexFile());
      const result = scanner.next();
      if (result === "frame") {
        group = this.#verifyFrame(scanner, segment, group);
        continue;
      }
      const offset = scanner.offset;
      if (result === "footer" && !last) {
        if (group !== undefined) {
          this.#report("group", segment, group.offset, "the group is not whole");
        }
        return offset;
      }
      if (result === "end" || (result === "zeros" && last && isZeroTo(file, offset, size))) {
        if (group !== undefined) {
          this.#report(last ? "tail" : "group", segment, group.offset, "the group is not whole");
        }
        return offset;
      }
      const reason = result === "damaged"
        ? scanner.reason
        : result === "cut"
        ? "the frame is cut short"
        : result === "footer"
        ? "there is an index footer where a frame should be"
        : "there are zeros where a frame should be";
      const due = this.#nextSequence;
      if (last && due >= 0) {
        const groupEnd = group?.end ?? -1;
        if (findFrameBehind(file, { offset, end: size, due, groupEnd }) < 0) {
          this.#report("tail", segment, group?.offset ?? offset, reason);
          return offset;
        }
      }
      const own = due < 0 ? -1 : endOfDamagedFrame(file, offset, size, due);
      const found = this.#resync(file, segment, own < 0 ? offset + 1 : own, size);
      if (found < 0) {
        this.#report(last ? "tail" : "frame", segment, offset, reason);
        if (!last) this.#forgetPlace();
        return last ? offset : -1;
      }
      this.#report(
        "frame",
        segment,
        offset,
        `${reason}; the next sound frame is at offset ${found}`,
      );
      this.#forgetPlace();
      group = undefined;
      scanner = new FrameScanner(file, found, size);
    }
  }

  /** Checks one sound frame against what came before. Returns the group that goes on behind it. */
  #verifyFrame(
    scanner: FrameScanner,
    segment: SegmentFile,
    group: OpenGroup | undefined,
  ): OpenGroup | undefined {
    const { bytes, body, offset } = scanner;
    const view = bytes.subarray(0, body + scanner.bodySize);
    const sequence = sequenceOf(view, body);
    const about = () => ({
      globalSequence: sequence,
      eventId: formatId(view, body + EVENT_ID_OFFSET),
    });
    if (this.#nextSequence >= 0 && sequence !== this.#nextSequence) {
      this.#report(
        "sequence",
        segment,
        offset,
        `the event has sequence ${sequence}, and ${this.#nextSequence} is next`,
        about(),
      );
      this.#forgetPlace();
    }
    const timestampUs = timestampOf(view, body);
    if (timestampUs < this.#lastTimestampUs) {
      this.#report("sequence", segment, offset, "the event is older than the one before", about());
    }
    const payload = payloadOf(view, body);
    const eventHash = this.#scratch;
    const erasure = erasureOf(view, body, view.byteLength);
    if (payload === undefined) {
      this.#erased++;
      if (erasure === "retired") this.#retired++;
    } else {
      blake3Into(payload, 0, payload.byteLength, eventHash);
      if (!equalAt(eventHash, view, body + CONTENT_HASH_OFFSET)) {
        this.#report(
          "content",
          segment,
          offset,
          "the payload does not have its content hash",
          about(),
        );
      }
    }
    blake3Into(view, body, payloadStartOf(view, body), eventHash);
    const invalidName = this.#nameProblem(view, body);
    if (invalidName !== undefined) this.#report("frame", segment, offset, invalidName, about());
    const broken = this.#followChain(view, body, eventHash);
    if (broken !== undefined) this.#report("chain", segment, offset, broken, about());

    const remaining = groupRemainingOf(view, body);
    let open = group;
    if (open !== undefined && sequence + remaining !== open.end) {
      this.#report("group", segment, open.offset, "the group is not whole", about());
      open = undefined;
    }
    this.#nextSequence = sequence + 1;
    this.#lastTimestampUs = timestampUs;
    this.#lastHash.set(eventHash);
    this.#audit?.add(scanner, eventHash, timestampUs, erasure);
    this.#events++;
    if (this.#events % PROGRESS_EVENTS === 0) this.#progress(offset + FRAME_HEADER_SIZE);
    if (remaining === 0) return undefined;
    return open ?? { offset, end: sequence + remaining };
  }

  /** What is wrong with the names of an event, if they are seen for the first time. */
  #nameProblem(bytes: Uint8Array, body: number): string | undefined {
    const entityStart = body + ENTITY_OFFSET;
    const entitySize = entitySizeOf(bytes, body);
    const scopeStart = scopeStartOf(bytes, body);
    const scopeSize = scopeSizeOf(bytes, body);
    const isScopeNew = this.#scopes.find(bytes, scopeStart, scopeSize) === NAME_UNKNOWN;
    if (!isScopeNew && this.#names.find(bytes, entityStart, entitySize) !== NAME_UNKNOWN) {
      return undefined;
    }
    if (isScopeNew) this.#scopes.add(bytes, scopeStart, scopeSize);
    const entity = readUtf8(bytes, entityStart, entitySize);
    const scope = readUtf8(bytes, scopeStart, scopeSize);
    if (entity === undefined || scope === undefined) return "a name is not UTF-8";
    try {
      validateCoordinate(entity, scope);
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }

  /** Moves an event's chain on to it, and says how it does not follow. */
  #followChain(bytes: Uint8Array, body: number, eventHash: Uint8Array): string | undefined {
    const nameStart = body + ENTITY_OFFSET;
    const nameSize = entitySizeOf(bytes, body);
    let entity = this.#names.find(bytes, nameStart, nameSize);
    if (entity === NAME_UNKNOWN) entity = this.#names.add(bytes, nameStart, nameSize);
    let lanes = this.#chains.get(entity);
    if (lanes === undefined) this.#chains.set(entity, lanes = new Map());
    const lane = laneOf(bytes, body);
    const clock = clockOf(bytes, body);
    const prevHash = body + PREV_HASH_OFFSET;
    const head = lanes.get(lane);
    if (head === undefined || head.isBase) this.#chainCount++;
    if (head === undefined) {
      const generation = this.#generation;
      lanes.set(lane, { clock, hash: eventHash.slice(), generation, isBase: false });
      // Once damage has hidden events, a chain may begin in the middle.
      if (this.#generation > 0) return undefined;
      if (clock !== 0) return `the chain begins at clock ${clock}`;
      return equalAt(NO_HASH, bytes, prevHash) ? undefined : "the chain begins with a predecessor";
    }
    const expected = head.clock + 1;
    const follows = clock === expected && equalAt(head.hash, bytes, prevHash);
    const mayBeHidden = head.generation !== this.#generation && clock > expected;
    head.clock = clock;
    head.hash.set(eventHash);
    head.generation = this.#generation;
    head.isBase = false;
    if (follows || mayBeHidden) return undefined;
    return clock === expected
      ? "the event does not name the event hash of its predecessor: one of the two was changed"
      : `the event has clock ${clock}, and ${expected} is next`;
  }

  /** The offset of the next sound frame from `start`, or -1. */
  #resync(
    file: Parameters<typeof readFully>[0],
    segment: SegmentFile,
    start: number,
    size: number,
  ): number {
    const found = findFrameAfter(file, start, size);
    if (found < 0) return -1;
    const scanner = new FrameScanner(file, found, size);
    if (scanner.next() === "frame") return found;
    this.#report(
      "frame",
      segment,
      found,
      "the search for the next sound frame was given up here",
    );
    return -1;
  }

  /** Some events could not be read: what comes next is taken as it is. */
  #forgetPlace(): void {
    this.#nextSequence = -1;
    this.#generation++;
  }

  #progress(extra = 0): void {
    this.#onProgress?.({
      bytes: this.#bytes + extra,
      totalBytes: this.#totalBytes,
      events: this.#events,
    });
  }

  #report(
    type: FindingType,
    segment: SegmentFile,
    offset: number,
    reason: string,
    about: { globalSequence?: number; eventId?: string } = {},
  ): void {
    this.#push({ type, file: segment.name, segmentId: segment.id, offset, reason, ...about });
  }

  #push(finding: Finding): void {
    this.#findingCount++;
    if (!HARMLESS.has(finding.type)) {
      this.#intact = false;
      // What was built from the frames lacks some from here on.
      if (finding.type !== "index") this.#audit = undefined;
    }
    if (this.#findings.length < FINDINGS_MAX) this.#findings.push(finding);
  }
}

/** What opening deals with, without losing anything that was acknowledged. */
const HARMLESS: ReadonlySet<FindingType> = new Set(["tail", "unusable", "leftover"]);

/** A group of which frames are still to come. */
interface OpenGroup {
  /** Where its first frame starts. */
  readonly offset: number;
  /** Sequence of its last frame. */
  readonly end: number;
}

interface ChainHead {
  clock: number;
  readonly hash: Uint8Array;
  generation: number;
  /** Whether the event was pruned. */
  isBase: boolean;
}

/** A segment that has been read. */
interface Verified {
  readonly segment: SegmentFile;
  /** The last of the ids it stands for. */
  readonly lastId: number;
  /** What the next header has to say about its size; -1 when damage leaves that open. */
  readonly end: number;
}

function missingSegments(first: number, last: number): string {
  return first === last
    ? `segment ${first} before it is missing`
    : `segments ${first} to ${last} before it are missing`;
}

function equalAt(hash: Uint8Array, bytes: Uint8Array, start: number): boolean {
  for (let i = 0; i < HASH_SIZE; i++) if (bytes[start + i] !== hash[i]) return false;
  return true;
}

function isZeroTo(file: Parameters<typeof readFully>[0], start: number, end: number): boolean {
  const block = new Uint8Array(1 << 16);
  for (let at = start; at < end;) {
    const count = file.readAt(block, 0, Math.min(block.byteLength, end - at), at);
    if (count === 0) return true;
    for (let i = 0; i < count; i++) if (block[i] !== 0) return false;
    at += count;
  }
  return true;
}
