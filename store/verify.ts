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
  clockOf,
  CONTENT_HASH_OFFSET,
  ENTITY_OFFSET,
  entitySizeOf,
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
import { JournalNotFoundError } from "./errors.ts";
import { endOfDamagedFrame, findFrameAfter, FrameScanner } from "./frame_scanner.ts";
import { blake3Into, bytesEqual, HASH_SIZE } from "./hash.ts";
import { formatId } from "./ids.ts";
import { IndexAudit, type IndexFinding } from "./index_audit.ts";
import { INDEX_FILE_NAME } from "./index_file.ts";
import { Interner, NAME_UNKNOWN } from "./interner.ts";
import { findFrameBehind, readFully } from "./recovery.ts";
import {
  decodeSegmentHeader,
  SEGMENT_HEADER_SIZE_MAX,
  type SegmentHeader,
} from "./segment_header.ts";
import { segmentIdOf, segmentName } from "./segment_log.ts";
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
  /** An index file or footer is damaged or out of date. Opening does without it, and takes longer. */
  | "unusable"
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
  /** Whether there is no finding, or none but a torn tail and indexes that opening does without. */
  readonly intact: boolean;
  /** Which journal; `undefined` when no file says so. */
  readonly storeId: string | undefined;
  /** Segments read. */
  readonly segments: number;
  /** Sound frames whose hashes were recomputed. */
  readonly events: number;
  /** Events whose payload was erased; their headers verify all the same. */
  readonly erased: number;
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
  return new Verifier(dir, options).run();
}

class Verifier {
  readonly #dir: string;
  readonly #fs: StoreFs;
  readonly #onProgress: VerifyOptions["onProgress"];
  readonly #findings: Finding[] = [];
  #findingCount = 0;
  #intact = true;
  #storeId: Uint8Array | undefined;
  #events = 0;
  #erased = 0;
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
    this.#onProgress = options.onProgress;
  }

  run(): VerifyReport {
    const ids: number[] = [];
    for (const { name, kind } of this.#list()) {
      const id = segmentIdOf(name);
      if (id === undefined) continue;
      if (kind === "other") {
        // Opening a pipe would wait for somebody to write to it.
        this.#report("file", id, 0, "it is not a regular file");
        continue;
      }
      ids.push(id);
      this.#totalBytes += this.#fs.stat(`${this.#dir}/${name}`)?.size ?? 0;
    }
    ids.sort((a, b) => a - b);
    this.#readMeta(ids.length);
    this.#audit = new IndexAudit(this.#fs, this.#dir);
    this.#reportIndex(this.#audit.readIndexFile());
    let previous: { id: number; end: number } | undefined;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i];
      if (i > 0 && id !== ids[i - 1] + 1) {
        this.#report("header", id, 0, missingSegments(ids[i - 1] + 1, id - 1));
        this.#forgetPlace();
        previous = undefined;
      }
      try {
        const last = i === ids.length - 1;
        previous = this.#verifySegment(id, last, previous, last ? -1 : this.#sealedEnd(id + 1));
      } catch (error) {
        if (!(error instanceof IoFault)) throw error;
        this.#report("file", id, 0, error.message);
        this.#forgetPlace();
        previous = undefined;
      }
    }
    this.#reportIndex(this.#audit?.finish());
    this.#progress();
    return {
      intact: this.#intact,
      storeId: this.#storeId === undefined ? undefined : formatId(this.#storeId),
      segments: ids.length,
      events: this.#events,
      erased: this.#erased,
      chains: this.#chainCount,
      bytes: this.#bytes,
      findings: this.#findings,
      findingCount: this.#findingCount,
    };
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
        if (segmentCount === 0) refuse("there is a journal here, and all its segments are missing");
      } else if (decoded.type === "corrupt") refuse(decoded.reason);
      else refuse(`it has format version ${decoded.version}, from a newer program`, "future");
    } catch (error) {
      if (!(error instanceof IoFault)) throw error;
      if (error.code !== "ENOENT") refuse(error.message);
      else if (segmentCount > 0) refuse("it is missing; opening for writing restores it");
      else throw new JournalNotFoundError(this.#dir);
    }
  }

  /** Reads one segment, and says where its frames end. */
  #verifySegment(
    id: number,
    last: boolean,
    previous: { id: number; end: number } | undefined,
    sealedEnd: number,
  ): { id: number; end: number } | undefined {
    const file = this.#fs.open(`${this.#dir}/${segmentName(id)}`, "read");
    try {
      const size = file.size();
      const head = new Uint8Array(Math.min(size, SEGMENT_HEADER_SIZE_MAX));
      const decoded = decodeSegmentHeader(head.subarray(0, readFully(file, head, 0)));
      let start: number;
      if (decoded.type === "header") {
        start = decoded.end;
        this.#verifyHeader(id, decoded.header, previous);
        const headerCrc = crc32(head.subarray(0, start));
        this.#audit?.enter({ id, framesStart: start, headerCrc }, decoded.header.storeId);
      } else {
        const isFuture = decoded.type === "future";
        start = isFuture ? -1 : this.#resync(file, id, 8, size);
        // A header that was never whole has no frames behind it, and store.meta comes after the first.
        const isStub = last && decoded.type === "cut" && start < 0 &&
          !(id === 1 && this.#storeId !== undefined);
        this.#report(
          isFuture ? "future" : isStub ? "tail" : "header",
          id,
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
      // A file that is shorter than the next header says is found out when that header is.
      const isSealed = sealedEnd >= start && sealedEnd <= size;
      const framesEnd = isSealed ? sealedEnd : size;
      const end = this.#verifyFrames(file, id, { start, size: framesEnd, last });
      if (!last && end >= 0 && end < size) {
        const finding = this.#audit?.compareFooter(file, end, size);
        if (finding !== undefined) {
          this.#report(finding.type, id, end, `the index footer: ${finding.reason}`);
        }
      }
      this.#bytes += size;
      return { id, end };
    } finally {
      file.close();
    }
  }

  /** Where the frames end of the segment before the one with this id, as far as its header can say; else -1. */
  #sealedEnd(nextId: number): number {
    try {
      const file = this.#fs.open(`${this.#dir}/${segmentName(nextId)}`, "read");
      try {
        const head = new Uint8Array(Math.min(file.size(), SEGMENT_HEADER_SIZE_MAX));
        const decoded = decodeSegmentHeader(head.subarray(0, readFully(file, head, 0)));
        return decoded.type === "header" ? decoded.header.previousSize : -1;
      } finally {
        file.close();
      }
    } catch (error) {
      // It is looked at again, and reported, when it is its turn.
      if (error instanceof IoFault) return -1;
      throw error;
    }
  }

  #reportIndex(finding: IndexFinding | undefined): void {
    if (finding === undefined) return;
    const { type, reason } = finding;
    this.#push({ type, file: INDEX_FILE_NAME, segmentId: undefined, offset: 0, reason });
  }

  #verifyHeader(
    id: number,
    header: SegmentHeader,
    previous: { id: number; end: number } | undefined,
  ): void {
    if (header.segmentId !== id) {
      this.#report("header", id, 0, `the header says it is segment ${header.segmentId}`);
    }
    this.#storeId ??= header.storeId;
    if (!bytesEqual(header.storeId, this.#storeId)) {
      this.#report("header", id, 0, `the segment belongs to journal ${formatId(header.storeId)}`);
    }
    if (this.#nextSequence >= 0 && header.firstSequence !== this.#nextSequence) {
      this.#report(
        "sequence",
        id,
        0,
        `the segment begins at sequence ${header.firstSequence}, and ${this.#nextSequence} is next`,
      );
      this.#forgetPlace();
    }
    // Where a damaged segment ends is not known, and has been reported.
    if (id === 1 && header.previousSize !== 0) {
      this.#report("header", id, 0, "the header of the first segment names one before it");
    }
    if (previous === undefined || previous.end < 0) return;
    if (previous.end !== header.previousSize) {
      this.#report(
        "header",
        previous.id,
        Math.min(previous.end, header.previousSize),
        `the segment was sealed with ${header.previousSize} bytes, and has ${previous.end}`,
      );
      this.#forgetPlace();
    } else if (
      this.#nextSequence >= 0 && !bytesEqual(header.previousHash, this.#lastHash)
    ) {
      this.#report(
        "chain",
        id,
        0,
        `the header names another event as the last one of segment ${previous.id}`,
      );
    }
  }

  /** Reads the frames of a segment, and says where they end; -1 when damage leaves that open. */
  #verifyFrames(
    file: Parameters<typeof readFully>[0],
    id: number,
    range: { readonly start: number; readonly size: number; readonly last: boolean },
  ): number {
    const { size, last } = range;
    let scanner = new FrameScanner(file, range.start, size);
    let group: OpenGroup | undefined;
    for (;;) {
      this.#reportIndex(this.#audit?.compareIndexFile());
      const result = scanner.next();
      if (result === "frame") {
        group = this.#verifyFrame(scanner, id, group);
        continue;
      }
      const offset = scanner.offset;
      if (result === "footer" && !last) {
        if (group !== undefined) this.#report("group", id, group.offset, "the group is not whole");
        return offset;
      }
      if (result === "end" || (result === "zeros" && last && isZeroTo(file, offset, size))) {
        if (group !== undefined) {
          this.#report(last ? "tail" : "group", id, group.offset, "the group is not whole");
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
          this.#report("tail", id, group?.offset ?? offset, reason);
          return offset;
        }
      }
      const own = due < 0 ? -1 : endOfDamagedFrame(file, offset, size, due);
      const found = this.#resync(file, id, own < 0 ? offset + 1 : own, size);
      if (found < 0) {
        this.#report(last ? "tail" : "frame", id, offset, reason);
        if (!last) this.#forgetPlace();
        return last ? offset : -1;
      }
      this.#report("frame", id, offset, `${reason}; the next sound frame is at offset ${found}`);
      this.#forgetPlace();
      group = undefined;
      scanner = new FrameScanner(file, found, size);
    }
  }

  /** Checks one sound frame against what came before. Returns the group that goes on behind it. */
  #verifyFrame(
    scanner: FrameScanner,
    id: number,
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
        id,
        offset,
        `the event has sequence ${sequence}, and ${this.#nextSequence} is next`,
        about(),
      );
      this.#forgetPlace();
    }
    const timestampUs = timestampOf(view, body);
    if (timestampUs < this.#lastTimestampUs) {
      this.#report("sequence", id, offset, "the event is older than the one before", about());
    }
    const payload = payloadOf(view, body);
    const eventHash = this.#scratch;
    if (payload === undefined) {
      this.#erased++;
    } else {
      blake3Into(payload, 0, payload.byteLength, eventHash);
      if (!equalAt(eventHash, view, body + CONTENT_HASH_OFFSET)) {
        this.#report("content", id, offset, "the payload does not have its content hash", about());
      }
    }
    blake3Into(view, body, payloadStartOf(view, body), eventHash);
    const invalidName = this.#nameProblem(view, body);
    if (invalidName !== undefined) this.#report("frame", id, offset, invalidName, about());
    const broken = this.#followChain(view, body, eventHash);
    if (broken !== undefined) this.#report("chain", id, offset, broken, about());

    const remaining = groupRemainingOf(view, body);
    let open = group;
    if (open !== undefined && sequence + remaining !== open.end) {
      this.#report("group", id, open.offset, "the group is not whole", about());
      open = undefined;
    }
    this.#nextSequence = sequence + 1;
    this.#lastTimestampUs = timestampUs;
    this.#lastHash.set(eventHash);
    this.#audit?.add(bytes, body, { offset, end: scanner.nextOffset }, { eventHash, timestampUs });
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
    if (head === undefined) {
      this.#chainCount++;
      lanes.set(lane, { clock, hash: eventHash.slice(), generation: this.#generation });
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
    if (follows || mayBeHidden) return undefined;
    return clock === expected
      ? "the event does not name the event hash of its predecessor: one of the two was changed"
      : `the event has clock ${clock}, and ${expected} is next`;
  }

  /** The offset of the next sound frame from `start`, or -1. */
  #resync(file: Parameters<typeof readFully>[0], id: number, start: number, size: number): number {
    const found = findFrameAfter(file, start, size);
    if (found < 0) return -1;
    const scanner = new FrameScanner(file, found, size);
    if (scanner.next() === "frame") return found;
    this.#report(
      "frame",
      id,
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
    segmentId: number,
    offset: number,
    reason: string,
    about: { globalSequence?: number; eventId?: string } = {},
  ): void {
    this.#push({ type, file: segmentName(segmentId), segmentId, offset, reason, ...about });
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
const HARMLESS: ReadonlySet<FindingType> = new Set(["tail", "unusable"]);

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
