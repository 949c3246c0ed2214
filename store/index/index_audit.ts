/**
 * The part of verification that is about indexes: an index file or a footer that says something else than
 * the frames would make reads give wrong answers, and nothing that is hashed would show it.
 *
 * While verification reads the frames, the index is built anew from them. Two indexes of the same frames
 * have the same bytes, so comparing is comparing bytes.
 *
 * @module
 */

import { crc32 } from "../../platform/checksum.ts";
import { IoFault, type StoreFile, type StoreFs } from "../../platform/fs.ts";
import type { BaseChain, BaseFacts } from "../compaction/base_record.ts";
import { writeU32 } from "../bytes.ts";
import { EventIndex, STATE_ERASED, STATE_RETIRED } from "./event_index.ts";
import type { Erasure } from "../frame.ts";
import type { FrameScanner } from "../frame_scanner.ts";
import { bytesEqual, HASH_SIZE } from "../hash.ts";
import {
  decodeIndexFile,
  encodeIndexFile,
  readIndexBytes,
  type SavedJournal,
  type SavedSegment,
} from "./index_file.ts";
import { readFooter } from "../recovery.ts";
import { decodeFooter, encodeFooter, footerProblem, isOfFrames } from "./segment_footer.ts";

/** What an index turned out to be. */
export interface IndexFinding {
  /**
   * `"index"` contradicts the frames; `"lost"` knows more than there is; `"unusable"` cannot be used, and
   * opening does without it.
   */
  readonly type: "index" | "lost" | "unusable";
  readonly reason: string;
}

/** Compares saved indexes with the frames they were made from. */
export class IndexAudit {
  readonly #fs: StoreFs;
  readonly #dir: string;
  readonly #index = new EventIndex();
  readonly #segments: (SavedSegment & { end: number })[] = [];
  readonly #lastHash: Uint8Array = new Uint8Array(HASH_SIZE);
  #lastTimestampUs = 0;
  /** What it was when the current segment began. */
  #lastTimestampUsBefore = 0;
  #storeId: Uint8Array | undefined;
  #firstSequence = 0;
  #bytes: Uint8Array<ArrayBuffer> | undefined;
  #saved: SavedJournal | undefined;
  /** The sequence behind the last event that it knows. */
  #savedEnd = 0;
  /** The segment that it ends in. */
  #watermark: SavedSegment | undefined;
  #compared = false;

  constructor(fs: StoreFs, dir: string) {
    this.#fs = fs;
    this.#dir = dir;
  }

  /** Reads the index file. To be called first. */
  readIndexFile(): IndexFinding | undefined {
    const read = readIndexBytes(this.#fs, this.#dir);
    if (read.type === "missing") return undefined;
    if (read.type === "unusable") return read;
    const decoded = decodeIndexFile(read.bytes);
    if (decoded.type !== "index") {
      return decoded.type === "unusable" ? decoded : undefined;
    }
    this.#bytes = read.bytes;
    this.#saved = decoded.journal;
    this.#watermark = decoded.journal.segments.at(-1);
    this.#savedEnd = decoded.journal.firstSequence + decoded.index.count;
    return undefined;
  }

  /** Says that older events have been pruned. */
  begin(base: BaseFacts): void {
    this.#firstSequence = base.firstSequence;
    this.#lastTimestampUs = base.lastTimestampUs;
  }

  /** Takes the head of a chain that began among them. */
  addBaseChain(head: BaseChain): void {
    this.#index.addBaseChain(head);
  }

  /** Begins a segment, in order. */
  enter(segment: Omit<SavedSegment, "firstRow" | "end">, storeId: Uint8Array): void {
    this.#storeId = storeId;
    this.#lastTimestampUsBefore = this.#lastTimestampUs;
    const { id, framesStart, headerCrc } = segment;
    this.#segments.push({
      id,
      framesStart,
      headerCrc,
      firstRow: this.#index.count,
      end: framesStart,
    });
  }

  /** Takes the frame that a scanner of the current segment stands at. Called for every event. */
  add(
    scanner: FrameScanner,
    eventHash: Uint8Array,
    timestampUs: number,
    erasure: Erasure | undefined,
  ): void {
    // Nobody asks for heads here, so their hashes are not kept.
    const row = this.#index.add(scanner.bytes, scanner.body, scanner.offset, undefined);
    if (erasure !== undefined) {
      this.#index.setState(row, erasure === "erased" ? STATE_ERASED : STATE_RETIRED);
    }
    const segment = this.#segments[this.#segments.length - 1];
    segment.end = scanner.nextOffset;
    for (let i = 0; i < HASH_SIZE; i++) this.#lastHash[i] = eventHash[i];
    this.#lastTimestampUs = timestampUs;
  }

  /** Whether the frames read so far are those that the index file knows. */
  get isAtWatermark(): boolean {
    const segment = this.#segments.at(-1);
    return segment !== undefined && !this.#compared && segment.end === this.#watermark?.end &&
      segment.id === this.#watermark.id;
  }

  /** Compares the index file, if the frames read so far are those it knows. */
  compareIndexFile(): IndexFinding | undefined {
    const saved = this.#saved;
    if (!this.isAtWatermark || saved === undefined || this.#storeId === undefined) return undefined;
    this.#compared = true;
    const expected = encodeIndexFile({
      storeId: this.#storeId,
      firstSequence: this.#firstSequence,
      lastTimestampUs: this.#lastTimestampUs,
      lastHash: this.#lastHash,
      segments: this.#segments,
    }, this.#index);
    if (partsEqual(expected, this.#bytes)) return undefined;
    // What opening leaves aside gives no wrong answer.
    const isForeign = saved.segments.some((segment, i) =>
      segment.headerCrc !== this.#segments[i]?.headerCrc
    );
    if (isForeign) return { type: "unusable", reason: "it is of other segments" };
    if (!bytesEqual(saved.lastHash, this.#lastHash)) {
      return { type: "unusable", reason: OTHER_STATE };
    }
    return { type: "index", reason: "it does not say what the frames say: remove it" };
  }

  /** Compares the footer behind the frames of the current segment, which end at `end`. */
  compareFooter(file: StoreFile, end: number, fileSize: number): IndexFinding | undefined {
    const segment = this.#segments[this.#segments.length - 1];
    let bytes: ReturnType<typeof readFooter>;
    try {
      bytes = readFooter(file, end, fileSize);
    } catch (error) {
      if (error instanceof IoFault) return { type: "unusable", reason: error.message };
      throw error;
    }
    if (typeof bytes === "string") return { type: "unusable", reason: bytes };
    const problem = footerProblem(bytes);
    if (problem !== undefined) return { type: "unusable", reason: problem };
    const count = this.#index.count - segment.firstRow;
    if (count === 0) return { type: "unusable", reason: "it stands behind no frame" };
    const firstSequence = this.#firstSequence + segment.firstRow;
    const expected = encodeFooter(this.#index, {
      start: segment.firstRow,
      end: this.#index.count,
      firstSequence,
      framesEnd: end,
      lastTimestampUs: this.#lastTimestampUs,
      lastHash: this.#lastHash,
    });
    forgetPrunedCauses(bytes, segment.firstRow);
    if (partsEqual([expected], bytes)) return undefined;
    const decoded = decodeFooter(bytes);
    if (decoded.type === "unusable") return decoded;
    const place = {
      firstSequence,
      count,
      framesEnd: end,
      lastHash: this.#lastHash,
      lastTimestampUsBefore: this.#lastTimestampUsBefore,
    };
    return isOfFrames(decoded.columns, place)
      ? { type: "index", reason: "it does not say what the frames say" }
      : { type: "unusable", reason: "it is of other frames" };
  }

  /** Says that an index file was never met on the way: it is of a state that is not this one. */
  finish(): IndexFinding | undefined {
    const saved = this.#saved;
    if (saved === undefined || this.#compared) return undefined;
    const lost = this.#savedEnd - this.#firstSequence - this.#index.count;
    const isOurs = this.#segments.length > 0 &&
      this.#segments.every(({ headerCrc }, i) => saved.segments[i]?.headerCrc === headerCrc);
    // It was saved when they were durable.
    return lost > 0 && isOurs
      ? { type: "lost", reason: `it knows ${lost} events more: the end of the log is gone` }
      : { type: "unusable", reason: OTHER_STATE };
  }
}

/** A cause in front of the first row has been pruned since: nobody can say any more that there was one. */
function forgetPrunedCauses(bytes: Uint8Array<ArrayBuffer>, firstRow: number): void {
  const decoded = decodeFooter(bytes);
  if (decoded.type !== "footer") return;
  // The columns are the bytes of the footer.
  const { cause } = decoded.columns;
  let isChanged = false;
  for (let i = 0; i < cause.length; i++) {
    if (cause[i] <= firstRow + i) continue;
    cause[i] = 0;
    isChanged = true;
  }
  if (isChanged) writeU32(bytes, 8, crc32(bytes.subarray(12)));
}
const OTHER_STATE = "it is of another state of the journal";

function partsEqual(parts: readonly Uint8Array[], bytes: Uint8Array | undefined): boolean {
  if (bytes === undefined) return false;
  let at = 0;
  for (const part of parts) {
    if (at + part.byteLength > bytes.byteLength) return false;
    if (!rangeEqual(part, bytes, at)) return false;
    at += part.byteLength;
  }
  return at === bytes.byteLength;
}

/** Whether `part` stands at an offset of `bytes`. Nearly everything is aligned, and words are faster. */
function rangeEqual(part: Uint8Array, bytes: Uint8Array, at: number): boolean {
  let i = 0;
  if ((part.byteOffset & 3) === 0 && ((bytes.byteOffset + at) & 3) === 0) {
    const count = part.byteLength >>> 2;
    const a = new Uint32Array(part.buffer, part.byteOffset, count);
    const b = new Uint32Array(bytes.buffer, bytes.byteOffset + at, count);
    for (let k = 0; k < count; k++) if (a[k] !== b[k]) return false;
    i = count * 4;
  }
  for (; i < part.byteLength; i++) if (part[i] !== bytes[at + i]) return false;
  return true;
}
