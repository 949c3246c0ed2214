/**
 * What a client and a host say to each other through a port.
 *
 * Appends and their answers are frequent, so they travel as bytes, as many in one message as there are:
 *
 * | Offset | Size | Request        | Answer                                              |
 * | -----: | ---: | -------------- | --------------------------------------------------- |
 * |      0 |    4 | size of it all | size of it all                                      |
 * |      4 |    4 | id             | id of the request                                   |
 * |      8 |    1 | bits: 1 durable, 2 a batch, 4 there is more to say | 0 receipts, 1 an error |
 * |      9 |    1 | 0              | 0                                                   |
 * |     10 |    2 | drafts         | receipts                                            |
 * |     12 |      | u32 size and MessagePack of {@linkcode MoreOptions}, if any; drafts | receipts, or the error |
 *
 * A receipt is: bits (1 replayed, 2 signed), u64 segment, u32 offset, u32 size of the frame, u32 size of
 * the header, the header, and when signed 32 bytes of key id and 64 of signature. Everything else is rare
 * and travels as objects: see {@linkcode CallMessage}.
 *
 * @module
 */

import { Decoder, encode } from "@msgpack/msgpack";
import type { CompiledCondition } from "../../store/append.ts";
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from "../../store/bytes.ts";
import { HASH_SIZE } from "../../store/hash.ts";
import { boundLengths } from "../../store/length_bound.ts";
import { Receipt } from "../../store/receipt.ts";
import type { Region, RegionFilters } from "../../store/region.ts";
import { draftEnd, encodeDraft, MalformedMessage } from "./draft_codec.ts";
import type { GrowingBytes } from "./growing_bytes.ts";

/** Both sides have to say the same. */
export const PROTOCOL_VERSION = 2;

/** The first message of a client on its channel. */
export interface HelloMessage {
  readonly type: "hello";
  readonly version: number;
  /** It is no client but a line of many: see `shared_line.ts`. */
  readonly line?: true;
  /** Held for as long as the realm of the client lives. One that blocks cannot hold any. */
  readonly lifeline?: string;
  /** Rung after each answer: of a client that blocks. */
  readonly bell?: SharedArrayBuffer;
}

/** The answer to a {@linkcode HelloMessage}. */
export interface WelcomeMessage {
  readonly type: "welcome";
  readonly version: number;
  readonly storeId: string;
  readonly dir: string;
  /** Requests and bytes a client may have on their way at a time. */
  readonly inFlightMax: { readonly requests: number; readonly bytes: number };
  readonly limits: AppendLimits;
  /** Held for as long as the realm of the store lives. */
  readonly lifeline: string;
  /** The watermarks, in shared memory. */
  readonly frontier: SharedArrayBuffer;
}

/** What an append may take. */
export type AppendLimits = Readonly<
  Record<"singleAppendMaxBytes" | "batchMaxSize" | "batchMaxBytes", number>
>;

/** Anything a client asks for but appends. */
export interface CallMessage {
  readonly type: "call";
  readonly id: number;
  readonly name: string;
  readonly args: readonly unknown[];
}

/** The answer to a {@linkcode CallMessage}. */
export type CallAnswer =
  | { readonly type: "done"; readonly id: number; readonly value: unknown }
  | { readonly type: "failed"; readonly id: number; readonly error: Uint8Array };

/** What else a client says. */
export type ClientNotice =
  /** It goes. */
  | { readonly type: "bye" }
  /** Nobody waits any more for what this call waits for. */
  | { readonly type: "abandon"; readonly id: number }
  /** Is somebody there? */
  | { readonly type: "ping" }
  /** A further client will speak through this port. */
  | { readonly type: "open"; readonly port: MessagePort; readonly mayShutdown: boolean };

/** What else a host says. */
export type HostNotice =
  | { readonly type: "pong" }
  /** This is the end of the connection. The error says why. */
  | { readonly type: "end"; readonly error: Uint8Array };

/** What an append says beyond its drafts. */
export interface MoreOptions {
  readonly failIf?: readonly PlainCondition[];
  /** The fence it goes through, by its token. */
  readonly fence?: number;
}

/** A condition that can be sent. */
export interface PlainCondition {
  readonly region: RegionFilters;
  readonly after?: number;
}

const HEADER_SIZE = 12;
const DURABLE = 1;
const BATCH = 2;
const MORE = 4;
const REPLAYED = 1;
const SIGNED = 2;
const RECEIPT_FIXED_SIZE = 21;
const SIGNATURE_SIZE = 64;
/** What comes with an append beside its drafts takes no more. */
const MORE_SIZE_MAX = 1 << 20;

/** Begins a request behind what is in `out`. The drafts follow, then {@linkcode endRecord}. */
export function beginRequest(
  out: GrowingBytes,
  request: { id: number; durable: boolean; batchCount: number | undefined },
  more: MoreOptions | undefined,
): number {
  const { id, durable, batchCount } = request;
  const start = out.reserve(HEADER_SIZE);
  const { bytes } = out;
  writeU32(bytes, start + 4, id);
  bytes[start + 8] = (durable ? DURABLE : 0) | (batchCount === undefined ? 0 : BATCH) |
    (more === undefined ? 0 : MORE);
  bytes[start + 9] = 0;
  writeU16(bytes, start + 10, batchCount ?? 1);
  out.size = start + HEADER_SIZE;
  if (more !== undefined) {
    const encoded = encode(more, { ignoreUndefined: true });
    const at = out.reserve(4);
    writeU32(out.bytes, at, encoded.byteLength);
    out.size = at + 4;
    out.append(encoded);
  }
  return start;
}

/** Writes the size of a request or an answer that began at `start`, and returns it. */
export function endRecord(out: GrowingBytes, start: number): number {
  const size = out.size - start;
  writeU32(out.bytes, start, size);
  return size;
}

/** Adds a draft to a request. */
export const addDraft: typeof encodeDraft = encodeDraft;

/** The requests of a message, one after the other; one object for all of them. */
export class RequestReader {
  id = 0;
  size = 0;
  durable = false;
  isBatch = false;
  more: MoreOptions | undefined;
  count = 0;
  /** Where the drafts begin. */
  drafts = 0;
  readonly bytes: Uint8Array;
  #next = 0;

  constructor(message: Uint8Array) {
    this.bytes = message;
  }

  /**
   * Goes on to the next request, if there is one.
   *
   * @throws {MalformedMessage} when there is something else.
   */
  next(): boolean {
    const { bytes } = this;
    const start = this.#next;
    if (start === bytes.byteLength) return false;
    if (bytes.byteLength - start < HEADER_SIZE) {
      throw new MalformedMessage("a request is cut short");
    }
    const size = readU32(bytes, start);
    const end = start + size;
    if (size < HEADER_SIZE || end > bytes.byteLength) {
      throw new MalformedMessage("a request has a size that it cannot have");
    }
    const bits = bytes[start + 8];
    this.size = size;
    this.id = readU32(bytes, start + 4);
    this.durable = (bits & DURABLE) !== 0;
    this.isBatch = (bits & BATCH) !== 0;
    this.count = readU16(bytes, start + 10);
    this.more = undefined;
    if (bits > 7 || (!this.isBatch && this.count !== 1)) {
      throw new MalformedMessage("a request says what no request can say");
    }
    let at = start + HEADER_SIZE;
    if ((bits & MORE) !== 0) {
      const moreSize = at + 4 <= end ? readU32(bytes, at) : Infinity;
      if (moreSize > MORE_SIZE_MAX || at + 4 + moreSize > end) {
        throw new MalformedMessage("the options of a request are cut short");
      }
      this.more = decodeMore(bytes.subarray(at + 4, at + 4 + moreSize));
      at += 4 + moreSize;
    }
    this.drafts = at;
    for (let i = 0; i < this.count; i++) at = draftEnd(bytes, at, end);
    if (at !== end) throw new MalformedMessage("a request is longer than what is in it");
    this.#next = end;
    return true;
  }
}

const moreDecoder = boundLengths(new Decoder());

function decodeMore(bytes: Uint8Array): MoreOptions {
  let more: unknown;
  try {
    more = moreDecoder.decode(bytes);
  } catch (cause) {
    throw new MalformedMessage("the options of a request are not MessagePack", { cause });
  }
  if (typeof more !== "object" || more === null) {
    throw new MalformedMessage("the options of a request are no options");
  }
  return more as MoreOptions;
}

/** Conditions as they can be sent. */
export function plainConditions(conditions: readonly CompiledCondition[]): PlainCondition[] {
  return conditions.map(({ region, after }) => ({ region: plainRegion(region), after }));
}

/** A region as filters, which can be sent. */
export function plainRegion(region: Region): RegionFilters {
  const { entityPrefix, scope, fact, clockRange, lane, tags } = region;
  return {
    entity: entityPrefix,
    scope,
    kind: fact?.type === "exact" ? fact.kind : fact?.type === "any" ? "any" : undefined,
    category: fact?.type === "category" ? fact.category : undefined,
    clock: clockRange === undefined ? undefined : [clockRange.start, clockRange.end],
    lane,
    tags,
  };
}

/** Writes an answer that is the receipts of an append. */
export function writeReceipts(out: GrowingBytes, id: number, receipts: readonly Receipt[]): void {
  const start = beginAnswer(out, id, 0, receipts.length);
  for (let i = 0; i < receipts.length; i++) writeReceipt(out, receipts[i]);
  endRecord(out, start);
}

/** Writes an answer that is one receipt. */
export function writeOneReceipt(out: GrowingBytes, id: number, receipt: Receipt): void {
  const start = beginAnswer(out, id, 0, 1);
  writeReceipt(out, receipt);
  endRecord(out, start);
}

/** Writes an answer that is an error. */
export function writeFailure(out: GrowingBytes, id: number, error: Uint8Array): void {
  const start = beginAnswer(out, id, 1, 0);
  out.append(error);
  endRecord(out, start);
}

function beginAnswer(out: GrowingBytes, id: number, type: number, count: number): number {
  const start = out.reserve(HEADER_SIZE);
  const { bytes } = out;
  writeU32(bytes, start + 4, id);
  bytes[start + 8] = type;
  bytes[start + 9] = 0;
  writeU16(bytes, start + 10, count);
  out.size = start + HEADER_SIZE;
  return start;
}

function writeReceipt(out: GrowingBytes, receipt: Receipt): void {
  const header = receipt.bareHeader;
  const { segmentId, offset, size } = receipt.position;
  // Made here, where the key is: the other realm could not.
  const { signature } = receipt;
  const at = out.reserve(RECEIPT_FIXED_SIZE + header.byteLength + HASH_SIZE + SIGNATURE_SIZE);
  const { bytes } = out;
  bytes[at] = (receipt.replayed ? REPLAYED : 0) | (signature === null ? 0 : SIGNED);
  writeU64(bytes, at + 1, segmentId);
  writeU32(bytes, at + 9, offset);
  writeU32(bytes, at + 13, size);
  writeU32(bytes, at + 17, header.byteLength);
  bytes.set(header, at + RECEIPT_FIXED_SIZE);
  out.size = at + RECEIPT_FIXED_SIZE + header.byteLength;
  if (signature === null) return;
  out.append(receipt.keyId!);
  out.append(signature);
}

/** The answers of a message, one after the other. What comes from a host of ours is not judged. */
export class AnswerReader {
  id = 0;
  isFailure = false;
  count = 0;
  readonly #bytes: Uint8Array;
  readonly #storeId: Uint8Array;
  #at = 0;
  #next = 0;

  constructor(message: Uint8Array, storeId: Uint8Array) {
    this.#bytes = message;
    this.#storeId = storeId;
  }

  /** Goes on to the next answer, if there is one. */
  next(): boolean {
    const bytes = this.#bytes;
    const start = this.#next;
    if (start >= bytes.byteLength) return false;
    this.#next = start + readU32(bytes, start);
    this.id = readU32(bytes, start + 4);
    this.isFailure = bytes[start + 8] !== 0;
    this.count = readU16(bytes, start + 10);
    this.#at = start + HEADER_SIZE;
    return true;
  }

  /** The error. */
  error(): Uint8Array {
    return this.#bytes.subarray(this.#at, this.#next);
  }

  /** The next receipt of this answer. Its bytes stay in the message. */
  receipt(): Receipt {
    const bytes = this.#bytes;
    const at = this.#at;
    const bits = bytes[at];
    const headerStart = at + RECEIPT_FIXED_SIZE;
    const headerEnd = headerStart + readU32(bytes, at + 17);
    const signed = (bits & SIGNED) !== 0;
    const keyEnd = headerEnd + HASH_SIZE;
    this.#at = signed ? keyEnd + SIGNATURE_SIZE : headerEnd;
    return Receipt.carried({
      storeId: this.#storeId,
      header: bytes.subarray(headerStart, headerEnd),
      position: {
        segmentId: readU64(bytes, at + 1),
        offset: readU32(bytes, at + 9),
        size: readU32(bytes, at + 13),
      },
      replayed: (bits & REPLAYED) !== 0,
      keyId: signed ? bytes.subarray(headerEnd, keyEnd) : null,
      signature: signed ? bytes.subarray(keyEnd, this.#at) : null,
    });
  }
}
