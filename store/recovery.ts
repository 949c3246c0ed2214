/**
 * Reading a journal back from its segments, and repairing its end.
 *
 * {@linkcode JournalLoader} walks the segments in order and gives each whole group of frames to the
 * index: once for the writer, under the lock, and again and again for a reader beside a live writer. It
 * changes nothing.
 *
 * Only {@linkcode repairEnd} writes, and only the writer calls it. It tells two things apart:
 *
 * - A **torn tail**: the newest segment ends in something that is not a whole group, and no frame that
 *   belongs behind it follows. That is what a crash leaves. The bytes are kept in `quarantine/`, then
 *   cut. The copy is durable before the cut, and has a name that depends on its bytes alone, so a
 *   crash between the two repeats the work and changes nothing.
 * - **Corruption**: sound frames follow the damage, or the damage is in a sealed segment. Those bytes
 *   were once whole, and cutting them could lose what was acknowledged. The open is refused.
 *
 * @module
 */

import { crc32 } from "../platform/checksum.ts";
import type { Clock } from "../platform/clock.ts";
import { IoFault, type StoreFile, type StoreFs } from "../platform/fs.ts";
import { BASE_RECORD_NAME, readBaseRecord } from "./compaction/base_record.ts";
import { MARKER_NAME } from "./compaction/compaction_marker.ts";
import { MANIFEST_NAME } from "./copies/backup_manifest.ts";
import { readU32 } from "./bytes.ts";
import { CorruptionError, FutureVersionError } from "./errors.ts";
import { validateCoordinate } from "./coordinate.ts";
import { type EventIndex, STATE_ERASED, STATE_RETIRED } from "./index/event_index.ts";
import {
  clockOf,
  ENTITY_OFFSET,
  entitySizeOf,
  erasureOf,
  FRAME_BODY_SIZE_MIN,
  FRAME_HEADER_SIZE,
  groupRemainingOf,
  laneOf,
  payloadStartOf,
  readUtf8,
  scopeSizeOf,
  scopeStartOf,
  sequenceOf,
  timestampOf,
} from "./frame.ts";
import {
  endOfDamagedFrame,
  findFrameAfter,
  FrameScanner,
  readRange,
  type ScanResult,
} from "./frame_scanner.ts";
import { blake3, bytesEqual } from "./hash.ts";
import type { SavedJournal } from "./index/index_file.ts";
import { NAME_UNKNOWN } from "./index/interner.ts";
import {
  decodeSegmentHeader,
  FORMAT_VERSION,
  SEGMENT_HEADER_SIZE_MAX,
  type SegmentHeader,
} from "./segment_header.ts";
import {
  decodeFooter,
  FOOTER_HEADER_SIZE,
  footerProblem,
  footerSizeOf,
  isOfFrames,
} from "./index/segment_footer.ts";
import { STORE_META_NAME } from "./store_meta.ts";
import type { TailPolicy } from "./store_options.ts";
import { lastIdOf, type Segment, type SegmentLog, segmentName } from "./segment_log.ts";
import { readSegmentSet, type SegmentFile, type SegmentSet } from "./compaction/segment_set.ts";

/** The directory that cut bytes are kept in. */
export const QUARANTINE_NAME = "quarantine";

/** Something that recovery repaired. */
export interface Repair {
  /** The segment that was repaired. */
  readonly segmentId: number;
  /** Where the cut bytes began. */
  readonly offset: number;
  /** How many bytes were cut, zeros at the end not counted. */
  readonly size: number;
  /** Why they were no event. */
  readonly reason: string;
  /** The copy of the cut bytes, relative to the journal's directory. */
  readonly quarantine: string;
}

/** Where a walk over the segments came to rest. */
export interface LoadStop {
  /** What stands behind the last whole group of the last segment. */
  readonly result: ScanResult | "incomplete group";
  /** Where scanning stopped: behind the last sound frame, whether or not its group is whole. */
  readonly offset: number;
  /** Why, when the result is `"damaged"`. */
  readonly reason: string;
  /** Sequence of the last frame of the group that is not whole, or -1. */
  readonly groupEnd: number;
  /** Frames of that group that were read. */
  readonly groupCount: number;
  /** Size of the last segment's file when it was looked at. */
  readonly fileSize: number;
}

/** What the loader works on. */
export interface LoaderOptions {
  readonly fs: StoreFs;
  readonly dir: string;
  readonly index: EventIndex;
  readonly log: SegmentLog;
  /** Sixteen bytes that every segment has to repeat; unknown when `store.meta` is missing. */
  readonly storeId: Uint8Array | undefined;
  /** Whether the footers of sealed segments may stand in for their frames. */
  readonly footers: boolean;
  /** For how long things took. */
  readonly clock: Clock;
  /** Whether a writer loads, who then puts the directory in order. */
  readonly isWriter?: boolean;
}

/**
 * A file is not the one it was: a writer is compacting or pruning the journal beside us. Whoever reads
 * begins again.
 */
export class LayoutChange extends Error {
  /** The class, for messages and logs. */
  override readonly name = "LayoutChange";
}

/** A segment header that has been checked, and where the frames behind it start. */
interface OpenedHeader {
  readonly path: string;
  readonly header: SegmentHeader;
  /** CRC-32 of the header's bytes. */
  readonly headerCrc: number;
  readonly framesStart: number;
}

/** Where the footer of a sealed segment is. */
interface FooterRange {
  /** The header of the segment behind. */
  readonly next: SegmentHeader;
  /** Where the frames end, and the footer begins. */
  readonly end: number;
  readonly fileSize: number;
}

/** Walks segments in order, adding whole groups to the index. */
export class JournalLoader {
  /** Sequence of row 0. */
  firstSequence = 0;
  /** The latest timestamp seen, in microseconds. */
  lastTimestampUs = 0;
  /** Which journal this is, once a segment or `store.meta` has said so. */
  storeId: Uint8Array | undefined;
  /** Bytes of frames read so far. */
  scannedSize = 0;
  /** A last segment without a whole header. It holds no event. */
  stub: { readonly id: number; readonly path: string } | undefined;
  /** Footers used, the events they gave, and how long that took. */
  footerCount = 0;
  footerEntries = 0;
  footersUs = 0;
  /** What was odd and harmless. */
  readonly oddities: string[] = [];
  /** The newest segment that an index file knew in this journal, and how far; see {@linkcode resume}. */
  synced: { readonly id: number; readonly end: number } | undefined;
  /** Which files the journal is made of, as of the last load. */
  set: SegmentSet | undefined;
  /** Files whose events stand in a merged segment before them. */
  readonly superseded: string[] = [];

  readonly #options: LoaderOptions;
  /** Checksum of the last frame that was read, and how many rows there were with it. */
  #lastChecksum = 0;
  #lastChecksumCount = -1;
  /** The last stop that turned out to be a torn end, or one in the making. */
  #harmless: { readonly segment: Segment; readonly offset: number } | undefined;
  /** Bodies of a group that is not whole yet, and where each frame starts. */
  readonly #group: { readonly body: Uint8Array; readonly offset: number }[] = [];

  /** @param options what to read, and where to put it. */
  constructor(options: LoaderOptions) {
    this.#options = options;
    this.storeId = options.storeId;
  }

  /**
   * Goes on from what an index file knew: enters its segments without reading their frames. The index
   * holds its rows already.
   *
   * @returns why the file does not fit what is here, or `undefined`. The loader is of no use then.
   * @throws {CorruptionError} when a segment header is damaged.
   */
  resume(saved: SavedJournal): string | undefined {
    const { fs, dir, index, log } = this.#options;
    this.set = readSegmentSet(fs, dir, { storeId: this.storeId, thorough: false });
    const { files, pending, base } = this.set;
    if (pending !== undefined) return "a compaction was cut short";
    if (saved.firstSequence !== (base?.firstSequence ?? 0) || !this.#beginAtBase(true)) {
      return "the journal has been pruned since";
    }
    const waiting = [...files];
    const last = saved.segments.at(-1);
    for (const [i, known] of saved.segments.entries()) {
      this.#skipSuperseded(waiting);
      const next = waiting.shift();
      // With all before it as they were, the last one has not been replaced by anything.
      if (known === last && next === undefined && i > 0) this.#remember(known, saved);
      if (next?.id !== known.id) return `segment ${known.id} is not there`;
      const opened = this.#openHeader(next, waiting.length === 0);
      if (opened === undefined) {
        if (known === last && i > 0) this.#remember(known, saved);
        return `segment ${known.id} has no header`;
      }
      if (opened.headerCrc !== known.headerCrc || opened.framesStart !== known.framesStart) {
        return `segment ${known.id} is not the one it knew`;
      }
      if (known === last) this.#remember(known, saved);
      const fileSize = fs.stat(opened.path)?.size ?? 0;
      if (fileSize < known.end) {
        const missing = known.end - fileSize;
        return `segment ${known.id} has lost its end: ${missing} bytes of events that it knew are gone`;
      }
      const segment = this.#enter(opened, known.firstRow);
      segment.end = known.end;
    }
    if (this.storeId === undefined || !bytesEqual(this.storeId, saved.storeId)) {
      return "it belongs to another journal";
    }
    this.lastTimestampUs = saved.lastTimestampUs;
    if (index.count === 0) return undefined;
    try {
      const body = log.readBody(index.count - 1);
      const hash = blake3(body.subarray(0, payloadStartOf(body, 0)));
      return bytesEqual(hash, saved.lastHash) ? undefined : "the last event is not the one it knew";
    } catch (error) {
      if (error instanceof CorruptionError) return `the last event it knew is not there`;
      throw error;
    } finally {
      // The journal may still be refused, and nobody would close them then.
      log.closeFiles();
    }
  }

  /** Everything that an index file knows was durable before it was saved, so no crash takes it. */
  #remember({ id, end }: SavedJournal["segments"][number], { storeId }: SavedJournal): void {
    if (this.storeId === undefined || !bytesEqual(this.storeId, storeId)) return;
    this.synced = { id, end };
  }

  /**
   * Refuses a log whose sound frames end before a place that had been synced: what would be appended now
   * would stand in the place of acknowledged events.
   *
   * @throws {CorruptionError} naming where they end.
   */
  assertReaches(synced: { readonly id: number; readonly end: number }): void {
    const { dir, log } = this.#options;
    const segment = log.segments.find(({ id }) => id === synced.id);
    if (segment !== undefined && segment.end >= synced.end) return;
    throw new CorruptionError({
      path: `${dir}/${segmentName(synced.id)}`,
      segmentId: synced.id,
      offset: segment?.end ?? 0,
      reason:
        `its events end here, and the index file knows events up to offset ${synced.end}: restore the ` +
        'segment from a copy, or give them up by opening with tailPolicy "cutAtDamage"',
    });
  }

  /**
   * Reads everything there is from where the last call stopped.
   *
   * @returns where it stopped, or `undefined` when there is no segment yet.
   * @throws {CorruptionError} when a sealed segment is damaged, or the segments do not follow another.
   * @throws {FutureVersionError} when a segment was written by a newer program.
   * @throws {LayoutChange} when a segment was replaced while it was being read.
   */
  load(): LoadStop | undefined {
    const { fs, dir, log, isWriter = false } = this.#options;
    this.#leaveWithdrawnSegment();
    this.set = readSegmentSet(fs, dir, { storeId: this.storeId, thorough: isWriter });
    const lastId = log.segments.at(-1)?.id ?? 0;
    const waiting = this.set.files.filter(({ id }) => id > lastId);
    if (log.segments.length === 0) {
      this.#beginAtBase(false);
      const first = waiting.shift();
      if (first === undefined) {
        if (this.storeId === undefined) return undefined;
        // It is written after the first segment.
        throw new CorruptionError({
          path: `${this.#options.dir}/${STORE_META_NAME}`,
          offset: 0,
          reason: noSegments(fs, dir),
        });
      }
      const opened = this.#openHeader(first, waiting.length === 0);
      if (opened === undefined) return undefined;
      this.#enter(opened);
    }
    for (;;) {
      const segment = log.segments[log.segments.length - 1];
      this.#skipSuperseded(waiting);
      const next = waiting.shift();
      // The next header says where this segment has to end, so it comes first.
      const opened = next === undefined ? undefined : this.#openHeader(next, waiting.length === 0);
      if (opened === undefined && segment.merge !== undefined) {
        this.#refuse(
          segment,
          segment.merge.framesEnd,
          "the segments behind it are missing: compaction leaves the newest one alone",
        );
      }
      const stop = this.#scan(opened?.header);
      if (opened === undefined) return stop;
      this.#enter(opened);
    }
  }

  /** Leaves out files whose events stand in the merged segment that was read last. */
  #skipSuperseded(waiting: SegmentFile[]): void {
    const last = this.#options.log.segments.at(-1);
    while (last !== undefined && waiting.length > 0 && waiting[0].id <= lastIdOf(last)) {
      this.superseded.push(waiting[0].name);
      waiting.shift();
    }
  }

  /**
   * Takes in what stands before the first segment, when older ones have been pruned.
   *
   * @param isResumed when the index holds it already; says whether it holds all of it.
   */
  #beginAtBase(isResumed: boolean): boolean {
    const { fs, dir, index } = this.#options;
    const facts = this.set?.base;
    if (facts === undefined) return true;
    let isKnown = true;
    const path = `${dir}/${BASE_RECORD_NAME}`;
    const file = fs.open(path, "read");
    try {
      const decoded = readBaseRecord(file, (head) => {
        if (isResumed) {
          isKnown &&= index.confirmBaseChain(head);
          return;
        }
        const { entity, lane } = head;
        const known = index.entities.find(entity, 0, entity.byteLength);
        if (known !== NAME_UNKNOWN && index.findChain(known, lane) >= 0) {
          return "it names a chain twice";
        }
        index.addBaseChain(head);
      });
      if (decoded.type === "corrupt") {
        throw new CorruptionError({ path, offset: 0, reason: decoded.reason });
      }
      if (decoded.type === "future" || decoded.base.firstSequence !== facts.firstSequence) {
        throw new LayoutChange(`"${path}" was replaced while it was being read`);
      }
    } finally {
      file.close();
    }
    this.firstSequence = facts.firstSequence;
    this.lastTimestampUs = facts.lastTimestampUs;
    return isKnown;
  }

  /**
   * Whether a writer has replaced or removed segments that were read here. Sizes do not tell: what is
   * retired has the size of what is erased. So this looks at every header, some 10 µs each.
   *
   * @param withLast also at that of the newest segment, which {@linkcode load} looks at itself.
   */
  isLayoutChanged(withLast: boolean): boolean {
    const { fs, index, log } = this.#options;
    const count = withLast ? log.segments.length : log.segments.length - 1;
    for (let i = 0; i < count; i++) {
      const segment = log.segments[i];
      // One that has no event yet may have been taken back, which is no such change: `load` sees to it.
      if (segment.firstRow === index.count && log.segments.length > 1) continue;
      if (fs.stat(segment.path) === undefined) return true;
      const file = fs.open(segment.path, "read");
      try {
        if (!isHeaderOf(segment, file)) return true;
      } finally {
        file.close();
      }
    }
    return false;
  }

  /**
   * As {@linkcode load}, for a reader beside a live writer: what stands behind the last whole group may
   * be a group that is being written. A sound frame behind it says otherwise, because a group is written
   * only after the one before; so if there is one, and the damage is still there on a second look, the
   * journal is refused. Going on would show a prefix as if it were everything.
   *
   * @param thorough also looks behind zeros, which are nearly always space the writer has taken in
   * advance, and megabytes of it: worth it once.
   * @throws {CorruptionError} also when sound frames follow damage in the last segment.
   */
  loadBesideWriter(thorough: boolean): void {
    for (let stop = this.load(); stop !== undefined;) {
      const { log } = this.#options;
      const segment = log.segments[log.segments.length - 1];
      const { offset, result } = stop;
      if (result === "end" || (result === "zeros" && !thorough)) return;
      if (this.#isHarmless(segment, stop)) return;
      const behind = this.#frameBehind(segment, stop);
      if (behind < 0) {
        this.#harmless = { segment, offset };
        return;
      }
      stop = this.load();
      if (
        stop !== undefined && stop.offset === offset && stop.result !== "end" &&
        log.segments[log.segments.length - 1] === segment
      ) {
        const reason = `${reasonOf(stop)}, but a sound frame follows at offset ${behind}`;
        this.#refuse(segment, offset, reason);
      }
    }
  }

  /** Whether this stop has been looked behind before. */
  #isHarmless(segment: Segment, stop: LoadStop): boolean {
    return this.#harmless?.segment === segment && this.#harmless.offset === stop.offset;
  }

  #frameBehind(segment: Segment, stop: LoadStop): number {
    const file = this.#options.fs.open(segment.path, "read");
    try {
      // A frame may end in zeros, so it is looked for in all there is.
      const end = Math.min(stop.fileSize, file.size());
      const { offset, groupEnd, groupCount } = stop;
      const due = this.firstSequence + this.#options.index.count + groupCount;
      return findFrameBehind(file, { offset, end, due, groupEnd });
    } finally {
      file.close();
    }
  }

  /**
   * A writer that cannot go on with a new segment takes it back, or has compacted it since. A reader that
   * had already gone over to it goes back, and looks for itself what comes next.
   */
  #leaveWithdrawnSegment(): void {
    const { fs, index, log } = this.#options;
    const segment = log.segments.at(-1);
    if (segment === undefined || segment.firstRow < index.count || log.segments.length < 2) return;
    const isSame = fs.stat(segment.path) !== undefined &&
      this.#readHeader(segment.path).headerCrc === segment.headerCrc;
    if (!isSame) log.segments.pop();
  }

  #readHeader(
    path: string,
  ): { readonly decoded: ReturnType<typeof decodeSegmentHeader>; readonly headerCrc: number } {
    const file = this.#options.fs.open(path, "read");
    try {
      const bytes = new Uint8Array(Math.min(file.size(), SEGMENT_HEADER_SIZE_MAX));
      const size = readFully(file, bytes, 0);
      const decoded = decodeSegmentHeader(bytes.subarray(0, size));
      const end = decoded.type === "header" ? decoded.end : 0;
      return { decoded, headerCrc: crc32(bytes.subarray(0, end)) };
    } finally {
      file.close();
    }
  }

  /** The header of a segment of this journal that follows the current one; `undefined` for a stub. */
  #openHeader({ id, name }: SegmentFile, last: boolean): OpenedHeader | undefined {
    const path = `${this.#options.dir}/${name}`;
    const refuse = (reason: string): never => {
      throw new CorruptionError({ path, segmentId: id, offset: 0, reason });
    };
    const previous = this.#options.log.segments.at(-1);
    if (previous !== undefined && id !== lastIdOf(previous) + 1) {
      refuse(`segment ${lastIdOf(previous)} is the one before it: others are missing`);
    }
    const { decoded, headerCrc } = this.#readHeader(path);
    switch (decoded.type) {
      case "future":
        throw new FutureVersionError({ path, found: decoded.version, supported: FORMAT_VERSION });
      case "corrupt":
        return refuse(decoded.reason);
      case "cut":
        if (!last) return refuse("the header is cut short");
        if (!this.#isStub(path) || (previous === undefined && this.storeId !== undefined)) {
          return refuse("the header is damaged");
        }
        this.stub = { id, path };
        return undefined;
    }
    const { header, end } = decoded;
    if (header.segmentId !== id) refuse(`the header says it is segment ${header.segmentId}`);
    this.storeId ??= header.storeId;
    if (!bytesEqual(header.storeId, this.storeId)) refuse("the segment belongs to another journal");
    if (previous === undefined) this.#checkFirst(header, refuse);
    return { path, header, headerCrc, framesStart: end };
  }

  /** Checks that the journal may begin with this segment. */
  #checkFirst(header: SegmentHeader, refuse: (reason: string) => never): void {
    const { base, pending } = this.set ?? {};
    const { dir } = this.#options;
    for (
      const [name, storeId] of [
        [MARKER_NAME, pending?.marker.storeId],
        [BASE_RECORD_NAME, base?.storeId],
      ] as const
    ) {
      if (storeId === undefined || bytesEqual(storeId, header.storeId)) continue;
      const reason = "it belongs to another journal";
      throw new CorruptionError({ path: `${dir}/${name}`, offset: 0, reason });
    }
    if (base === undefined) {
      if (header.firstSequence === 0 && header.previousSize === 0) return;
      refuse(
        `segments before it are missing: it begins at sequence ${header.firstSequence}, and there ` +
          `is no ${BASE_RECORD_NAME} to say that they were pruned`,
      );
    } else if (
      header.firstSequence !== base.firstSequence ||
      !bytesEqual(header.previousHash, base.lastHash)
    ) {
      refuse(
        `the segment does not continue what was pruned: it begins at sequence ` +
          `${header.firstSequence}, and ${BASE_RECORD_NAME} ends before ${base.firstSequence}`,
      );
    }
  }

  /** Whether a file without a whole header is too short to have had one, and holds no event. */
  #isStub(path: string): boolean {
    const file = this.#options.fs.open(path, "read");
    try {
      const size = file.size();
      return size < SEGMENT_HEADER_SIZE_MAX && findFrameAfter(file, 0, size) < 0;
    } finally {
      file.close();
    }
  }

  /** Makes a segment the current one, now that the one before has been read to its end. */
  #enter(
    { path, header, headerCrc, framesStart }: OpenedHeader,
    firstRow = this.#options.index.count,
  ): Segment {
    const { log } = this.#options;
    const { segmentId: id, merge } = header;
    const expected = this.firstSequence + firstRow;
    if (header.firstSequence !== expected) {
      throw new CorruptionError({
        path,
        segmentId: id,
        offset: 0,
        reason: `the segment begins at sequence ${header.firstSequence}, and ${expected} is next`,
      });
    }
    const segment: Segment = {
      id,
      path,
      firstRow,
      framesStart,
      end: framesStart,
      headerCrc,
      ...(merge !== undefined && { merge }),
    };
    log.segments.push(segment);
    return segment;
  }

  /**
   * Reads the current segment from its known end, as far as the file goes, or up to where it was sealed:
   * the header of the `next` one says where that is.
   */
  #scan(next: SegmentHeader | undefined): LoadStop {
    const { fs, log, index } = this.#options;
    const sealedSize = next?.previousSize;
    const segment = log.segments[log.segments.length - 1];
    const { merge } = segment;
    if (merge !== undefined && merge.sealedSize !== sealedSize) {
      this.#refuse(
        segment,
        0,
        `the segment stands for one sealed with ${merge.sealedSize} bytes, and the next one ` +
          `follows one of ${sealedSize}`,
      );
    }
    const sealedEnd = merge?.framesEnd ?? sealedSize;
    const known = index.count;
    const file = fs.open(segment.path, "read");
    try {
      if (!isHeaderOf(segment, file)) {
        throw new LayoutChange(`"${segment.path}" was replaced while it was being read`);
      }
      if (this.#isTakenBack(file, segment)) {
        throw new LayoutChange(`the newest events of "${segment.path}" were taken back`);
      }
      const fileSize = file.size();
      if (sealedEnd !== undefined && fileSize < sealedEnd) {
        this.#refuse(
          segment,
          fileSize,
          `the sealed segment ends here, and ${sealedEnd - fileSize} bytes are missing`,
        );
      }
      if (next !== undefined && sealedEnd !== undefined) {
        this.#takeFooter(file, segment, { next, end: sealedEnd, fileSize });
      }
      const scanner = new FrameScanner(file, segment.end, sealedEnd ?? fileSize);
      this.#group.length = 0;
      let groupEnd = -1;
      let result: ScanResult;
      while ((result = scanner.next()) === "frame") {
        const expected = this.firstSequence + index.count + this.#group.length;
        const { bytes, body, offset } = scanner;
        const sequence = sequenceOf(bytes, body);
        const remaining = groupRemainingOf(bytes, body);
        if (sequence !== expected) {
          this.#refuse(
            segment,
            offset,
            `the event has sequence ${sequence}, and ${expected} is next`,
          );
        }
        if (groupEnd >= 0 && sequence + remaining !== groupEnd) {
          this.#refuse(segment, offset, "the event does not belong to the group around it");
        }
        if (remaining > 0) {
          groupEnd = sequence + remaining;
          this.#group.push({ body: scanner.copyBody(), offset });
          continue;
        }
        // Checked to the last one before the first is added: a group is never seen in part.
        const clocks = this.#group.length === 0 ? undefined : new Map<string, number>();
        for (const staged of this.#group) {
          this.#check(segment, staged.body, 0, staged.offset, clocks);
        }
        this.#check(segment, bytes, body, offset, clocks);
        for (const staged of this.#group) {
          this.#add(staged.body, 0, staged.body.byteLength, staged.offset);
        }
        this.#add(bytes, body, body + scanner.bodySize, offset);
        this.#lastChecksum = readU32(bytes, body - FRAME_HEADER_SIZE + 4);
        this.#lastChecksumCount = index.count;
        this.#group.length = 0;
        groupEnd = -1;
        this.scannedSize += scanner.nextOffset - segment.end;
        segment.end = scanner.nextOffset;
      }
      if (sealedEnd !== undefined && (result !== "end" || this.#group.length > 0)) {
        this.#refuse(
          segment,
          scanner.offset,
          result === "damaged"
            ? scanner.reason
            : result === "end"
            ? "the sealed segment ends inside a group"
            : "the sealed segment has no frame here",
        );
      }
      // A reader may have the file open that a writer has renewed since, and what is new is not in it.
      if (index.count > known) log.reopen(segment);
      return {
        result: result === "end" && this.#group.length > 0 ? "incomplete group" : result,
        offset: scanner.offset,
        reason: scanner.reason,
        groupEnd,
        groupCount: this.#group.length,
        fileSize,
      };
    } finally {
      file.close();
    }
  }

  /**
   * Whether the last frame that was read here is not there any more. A writer cuts off what it could not
   * write as a whole, and a reader may have seen all of it before: the next events stand in its place.
   */
  #isTakenBack(file: StoreFile, segment: Segment): boolean {
    const { index } = this.#options;
    const row = index.count - 1;
    // Rows that came from an index were durable, and nothing that is durable is taken back.
    if (this.#lastChecksumCount !== index.count || row < segment.firstRow) return false;
    const checksum = new Uint8Array(4);
    const size = readFully(file, checksum, index.offsetOf(row) + 4);
    return size < 4 || readU32(checksum, 0) !== this.#lastChecksum;
  }

  /** Adds all rows of a sealed segment from the footer behind its frames, if it has one that fits. */
  #takeFooter(file: StoreFile, segment: Segment, range: FooterRange): void {
    const { footers, clock, index } = this.#options;
    const { end, fileSize } = range;
    if (!footers || this.set?.pending !== undefined) return;
    if (fileSize === end || segment.end !== segment.framesStart) return;
    const startedUs = clock.monotonicUs();
    const problem = this.#problemOfFooter(file, segment, range);
    if (problem === undefined) {
      this.footerCount++;
      this.footerEntries += index.count - segment.firstRow;
      segment.end = end;
    } else {
      this.oddities.push(`the index footer of segment ${segment.id} was not used: ${problem}`);
    }
    this.footersUs += clock.monotonicUs() - startedUs;
  }

  /** Why the footer cannot be used; when it can, its rows are in the index afterwards. */
  #problemOfFooter(file: StoreFile, segment: Segment, range: FooterRange): string | undefined {
    const { index } = this.#options;
    const { next, end, fileSize } = range;
    let bytes: ReturnType<typeof readFooter>;
    try {
      bytes = readFooter(file, end, fileSize);
    } catch (error) {
      // Bytes that nobody needs are no reason to refuse the journal.
      if (error instanceof IoFault) return error.message;
      throw error;
    }
    if (typeof bytes === "string") return bytes;
    const decoded = decodeFooter(bytes);
    if (decoded.type === "unusable") return decoded.reason;
    const { columns } = decoded;
    const first = this.firstSequence + index.count;
    const place = {
      firstSequence: first,
      count: next.firstSequence - first,
      framesEnd: end,
      lastHash: next.previousHash,
      lastTimestampUsBefore: this.lastTimestampUs,
    };
    if (!isOfFrames(columns, place)) return "it is of other frames";
    const problem = index.addSegment(columns, segment.framesStart);
    if (problem === undefined) this.lastTimestampUs = columns.lastTimestampUs;
    return problem;
  }

  /**
   * Checks what a frame alone cannot say. `clocks` are those of the chains that earlier frames of the
   * same group have moved on.
   */
  #check(
    segment: Segment,
    bytes: Uint8Array,
    body: number,
    offset: number,
    clocks: Map<string, number> | undefined,
  ): void {
    const { index } = this.#options;
    const entitySize = entitySizeOf(bytes, body);
    const entity = index.entities.find(bytes, body + ENTITY_OFFSET, entitySize);
    const scopeStart = scopeStartOf(bytes, body);
    const scopeSize = scopeSizeOf(bytes, body);
    if (
      entity === NAME_UNKNOWN || index.scopes.find(bytes, scopeStart, scopeSize) === NAME_UNKNOWN
    ) {
      const entityText = readUtf8(bytes, body + ENTITY_OFFSET, entitySize);
      const scopeText = readUtf8(bytes, scopeStart, scopeSize);
      if (entityText === undefined || scopeText === undefined) {
        this.#refuse(segment, offset, "a name is not UTF-8");
      }
      try {
        validateCoordinate(entityText, scopeText);
      } catch (error) {
        this.#refuse(segment, offset, (error as Error).message);
      }
    }
    if (timestampOf(bytes, body) < this.lastTimestampUs) {
      this.#refuse(segment, offset, "the event is older than the one before");
    }
    const lane = laneOf(bytes, body);
    const known = entity === NAME_UNKNOWN ? -1 : index.findChain(entity, lane);
    let expected = index.hasHead(known) ? index.headClockOf(known) + 1 : 0;
    const clock = clockOf(bytes, body);
    if (clocks !== undefined) {
      const chain = `${lane} ${readUtf8(bytes, body + ENTITY_OFFSET, entitySize)}`;
      expected = clocks.get(chain) ?? expected;
      clocks.set(chain, clock + 1);
    }
    if (clock !== expected) {
      this.#refuse(
        segment,
        offset,
        `the event has clock ${clock} on its entity's lane ${lane}, and ${expected} is next`,
      );
    }
  }

  #add(bytes: Uint8Array, body: number, end: number, offset: number): void {
    const timestampUs = timestampOf(bytes, body);
    if (timestampUs > this.lastTimestampUs) this.lastTimestampUs = timestampUs;
    const { index } = this.#options;
    const row = index.add(bytes, body, offset, undefined);
    const erasure = erasureOf(bytes, body, end);
    if (erasure !== undefined) {
      index.setState(row, erasure === "erased" ? STATE_ERASED : STATE_RETIRED);
    }
  }

  #refuse(segment: Segment, offset: number, reason: string): never {
    throw new CorruptionError({ path: segment.path, segmentId: segment.id, offset, reason });
  }
}

/**
 * Why a directory with `store.meta` and without a segment is no journal: somebody may have opened a
 * backup, which has its segments a folder further down.
 */
export function noSegments(fs: StoreFs, dir: string): string {
  return fs.stat(`${dir}/${MANIFEST_NAME}`) === undefined
    ? "there is a journal here, and all its segments are missing"
    : `this looks like a backup, because it has ${MANIFEST_NAME} and no segment: "batpak restore" makes ` +
      'a journal of it, and "batpak restore --verify-only" checks it, as restoreBackup and ' +
      "verifyBackup do";
}

/** Whether a file still begins with the header that was read when the segment was entered. */
function isHeaderOf(segment: Segment, file: StoreFile): boolean {
  const header = new Uint8Array(segment.framesStart);
  const size = readFully(file, header, 0);
  return size === header.byteLength && crc32(header) === segment.headerCrc;
}

/** What the repairs work on: what was loaded, and where the loading stopped. */
export interface RepairOptions extends Pick<LoaderOptions, "fs" | "dir" | "index" | "log"> {
  readonly loader: JournalLoader;
  readonly stop: LoadStop | undefined;
  readonly tailPolicy: TailPolicy;
}

/**
 * Puts the end of the journal in order after {@linkcode JournalLoader.load}: keeps what is not a whole
 * group in `quarantine/` and cuts it off, and removes a segment that never got its header. Says what it
 * did; nothing, when the end was clean.
 *
 * @throws {CorruptionError} when the tail policy forbids it, as the default one does when sound frames
 * follow the damage; nothing has been changed then.
 */
export function repairEnd(options: RepairOptions): Repair[] {
  const { stub } = options.loader;
  if (stub !== undefined && options.tailPolicy === "failClosed") {
    throw new CorruptionError({
      path: stub.path,
      segmentId: stub.id,
      offset: 0,
      reason: 'the segment has no whole header, but the tail policy is "failClosed"',
    });
  }
  const repairs: Repair[] = [];
  const tail = repairTail(options);
  if (tail !== undefined) repairs.push(tail);
  const { fs, dir, loader } = options;
  if (loader.stub !== undefined) {
    repairs.push(removeStub(fs, dir, loader.stub));
    loader.stub = undefined;
  }
  return repairs;
}

function repairTail(options: RepairOptions): Repair | undefined {
  const { fs, dir, log, loader, stop } = options;
  const segment = log.segments.at(-1);
  if (segment === undefined || stop === undefined || stop.fileSize === segment.end) {
    return undefined;
  }

  const file = fs.open(segment.path, "write");
  try {
    const used = lastUsedOffset(file, segment.end, stop.fileSize) - segment.end;
    // Space the writer had taken in advance. It is used again, so it stays.
    if (used === 0) return undefined;
    if (stop.result === "footer" && stop.offset === segment.end) {
      const footer = readFooter(file, segment.end, stop.fileSize);
      if (typeof footer !== "string" && footerProblem(footer) === undefined) {
        // Sealed, and then the next segment was not begun: this one goes on.
        file.resize(segment.end);
        file.sync("all");
        loader.oddities.push(`removed the index footer of segment ${segment.id}, which goes on`);
        return undefined;
      }
    }
    const refuse = (reason: string): never => {
      throw new CorruptionError({
        path: segment.path,
        segmentId: segment.id,
        offset: stop.offset,
        reason: `${reasonOf(stop)}, but ${reason}`,
      });
    };
    const end = segment.end + used;
    const { offset, groupEnd, groupCount } = stop;
    const due = loader.firstSequence + options.index.count + groupCount;
    const { tailPolicy } = options;
    if (tailPolicy === "failClosed") refuse('the tail policy is "failClosed"');
    if (tailPolicy === "repair") {
      // A frame may end in zeros, so it is looked for in all there is.
      const behind = findFrameBehind(file, { offset, end: stop.fileSize, due, groupEnd });
      if (behind >= 0) refuse(`a sound frame follows at offset ${behind}`);
    }
    const kept = keep(fs, dir, { file, id: segment.id, offset: segment.end, end });
    file.resize(segment.end);
    file.sync("all");
    return {
      segmentId: segment.id,
      offset: segment.end,
      size: used,
      reason: reasonOf(stop),
      quarantine: kept,
    };
  } finally {
    file.close();
  }
}

/** The bytes behind the frames, when they claim to be an index footer of that size; else why not. */
export function readFooter(
  file: StoreFile,
  start: number,
  end: number,
): Uint8Array<ArrayBuffer> | string {
  const header = new Uint8Array(FOOTER_HEADER_SIZE);
  const size = footerSizeOf(header.subarray(0, readFully(file, header, start)));
  if (size !== end - start) {
    return size === 0
      ? "the bytes behind the frames are no index footer"
      : `it claims ${size} bytes, and there are ${end - start}`;
  }
  const bytes = new Uint8Array(size);
  return readFully(file, bytes, start) === size ? bytes : "it is cut short";
}

/** The offset behind the last byte that is not zero, at least `start`. */
function lastUsedOffset(file: StoreFile, start: number, end: number): number {
  // A file that a writer has cut back meanwhile may end before `start`.
  const block = new Uint8Array(Math.min(1 << 20, Math.max(0, end - start)));
  for (let blockEnd = end; blockEnd > start;) {
    const blockStart = Math.max(start, blockEnd - block.byteLength);
    for (
      let i = readFully(file, block.subarray(0, blockEnd - blockStart), blockStart);
      i > 0;
      i--
    ) {
      if (block[i - 1] !== 0) return blockStart + i;
    }
    blockEnd = blockStart;
  }
  return start;
}

/**
 * The offset of a frame that shows that damage is not just a torn end, or -1.
 *
 * A frame inside the damaged one's own payload is somebody's data and does not count, and neither does
 * one whose sequence has no place here. Nor does a frame of the torn group itself: it is all one write,
 * and its pages reach the disk in any order.
 */
export function findFrameBehind(
  file: StoreFile,
  options: {
    /** Where the damage is. */
    readonly offset: number;
    /** Where to stop looking. */
    readonly end: number;
    /** The sequence that the damaged frame should have. */
    readonly due: number;
    /** The last sequence of the group around it, or -1. */
    readonly groupEnd: number;
  },
): number {
  const { offset, end, due, groupEnd } = options;
  const own = endOfDamagedFrame(file, offset, end, due);
  const from = own < 0 ? offset + 1 : own;
  const last = due + Math.ceil((end - offset) / FRAME_BODY_SIZE_MIN);
  return findFrameAfter(file, from, end, (bytes, body) => {
    const sequence = sequenceOf(bytes, body);
    if (sequence <= due || sequence > last) return false;
    return groupEnd < 0 || sequence + groupRemainingOf(bytes, body) !== groupEnd;
  });
}

function reasonOf(stop: LoadStop): string {
  switch (stop.result) {
    case "damaged":
      return stop.reason;
    case "cut":
      return "the frame is cut short";
    case "zeros":
      return "there is no frame here";
    case "footer":
      return "there is an index footer here";
    default:
      return "the group is not whole";
  }
}

/** A file without a whole header never held an event: a copy that stopped, or a disk that filled up. */
function removeStub(
  fs: StoreFs,
  dir: string,
  stub: { readonly id: number; readonly path: string },
): Repair {
  const file = fs.open(stub.path, "read");
  let size: number;
  let quarantine = "";
  try {
    size = file.size();
    if (lastUsedOffset(file, 0, size) > 0) {
      quarantine = keep(fs, dir, { file, id: stub.id, offset: 0, end: size });
    }
  } finally {
    file.close();
  }
  fs.remove(stub.path);
  fs.syncDir(dir);
  return {
    segmentId: stub.id,
    offset: 0,
    size,
    reason: "the segment has no whole header",
    quarantine,
  };
}

/** Keeps bytes under a name made of their place and checksum; the same bytes give the same file. */
function keep(
  fs: StoreFs,
  dir: string,
  cut: {
    readonly file: StoreFile;
    readonly id: number;
    readonly offset: number;
    readonly end: number;
  },
): string {
  const { file, id, offset, end } = cut;
  let checksum = 0;
  forEachBlock(file, offset, end, (block) => checksum = crc32(block, checksum));
  const digits = checksum.toString(16).padStart(8, "0");
  const name = `${QUARANTINE_NAME}/${segmentName(id)}.${offset}.${digits}`;
  fs.createDirAll(`${dir}/${QUARANTINE_NAME}`);
  const staged = fs.stage(`${dir}/${QUARANTINE_NAME}`);
  try {
    forEachBlock(file, offset, end, (block) => staged.append(block));
    staged.publish(`${dir}/${name}`);
  } catch (error) {
    staged.discard();
    throw error;
  }
  fs.syncDir(dir);
  return name;
}

/** Reads a range in blocks of at most 1 MiB, each valid until the next. */
function forEachBlock(
  file: StoreFile,
  start: number,
  end: number,
  action: (block: Uint8Array) => void,
): void {
  const block = new Uint8Array(Math.min(1 << 20, end - start));
  for (let at = start; at < end;) {
    const size = readFully(file, block.subarray(0, Math.min(block.byteLength, end - at)), at);
    if (size === 0) return;
    action(block.subarray(0, size));
    at += size;
  }
}

/** Reads until `target` is full or the file ends, and says how much there was. */
export function readFully(file: StoreFile, target: Uint8Array, position: number): number {
  return readRange(file, target, 0, target.byteLength, position);
}
