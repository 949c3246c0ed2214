/**
 * `journal.base`: what stands in front of the first segment once older ones have been pruned.
 *
 * It is all that the rest of the journal needs of what is gone: where the sequence goes on, and for every
 * chain that had an event, the clock and hash of its newest one. So the rest still verifies, and appends
 * go on where their chains were.
 *
 * | Offset | Size | Field             | Type   | Notes                                             |
 * | -----: | ---: | ----------------- | ------ | ------------------------------------------------- |
 * |      0 |    6 | magic             | ASCII  | `FBATJB`                                          |
 * |      6 |    2 | `version`         | u16 BE | 1; a larger one is refused, whatever follows      |
 * |      8 |    4 | `headChecksum`    | u32 BE | CRC-32 of offsets 12 to 100                       |
 * |     12 |   16 | `storeId`         | bytes  | which journal                                     |
 * |     28 |    4 | `firstSegmentId`  | u32 BE | the segment that is the first one now             |
 * |     32 |    8 | `firstSequence`   | u64 BE | its first sequence: as many events are gone       |
 * |     40 |    8 | `lastTimestampUs` | u64 BE | of the last event before it                       |
 * |     48 |   32 | `lastHash`        | bytes  | event hash of that event                          |
 * |     80 |    4 | `chainCount`      | u32 BE | chains that had an event                          |
 * |     84 |    8 | `chainsSize`      | u64 BE | bytes of the chains                               |
 * |     92 |    8 | reserved          | bytes  | zeros                                             |
 * |    100 |    n | chains            |        | one behind the other, see below                   |
 * |      + |   32 | `keyId`           | bytes  | BLAKE3 of the public key; zeros when unsigned     |
 * |      + |   64 | `signature`       | bytes  | Ed25519 over the cover; zeros when unsigned       |
 * |      + |    4 | `checksum`        | u32 BE | CRC-32 of everything in front of it               |
 *
 * A chain is u16 size of the entity, the entity, u32 lane, u32 clock, 32 bytes of event hash. The cover
 * is 57 bytes: `03`, store id (16), first sequence (u64), BLAKE3 of the file up to `keyId` (32).
 *
 * A million chains make a file of some 60 MB, so it is written and read piece by piece.
 *
 * @module
 */

import { crc32 } from "../../platform/checksum.ts";
import { ed25519Verify } from "../../platform/ed25519.ts";
import type { StagedFile, StoreFile } from "../../platform/fs.ts";
import { assert } from "../assert.ts";
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from "../bytes.ts";
import { validateCoordinate } from "../coordinate.ts";
import { ID_SIZE, isZero, readUtf8 } from "../frame.ts";
import { readRange } from "../frame_scanner.ts";
import { blake3, Blake3Stream, bytesEqual, HASH_SIZE } from "../hash.ts";

/** The name of the file. */
export const BASE_RECORD_NAME = "journal.base";
const VERSION = 1;
const MAGIC = Uint8Array.of(0x46, 0x42, 0x41, 0x54, 0x4a, 0x42);
const STORE_ID = 12;
const FIRST_SEGMENT_ID = STORE_ID + ID_SIZE;
const FIRST_SEQUENCE = FIRST_SEGMENT_ID + 4;
const LAST_TIMESTAMP = FIRST_SEQUENCE + 8;
const LAST_HASH = LAST_TIMESTAMP + 8;
const CHAIN_COUNT = LAST_HASH + HASH_SIZE;
const CHAINS_SIZE = CHAIN_COUNT + 4;
const RESERVED = CHAINS_SIZE + 8;
/** Bytes in front of the chains. */
const HEAD_SIZE = RESERVED + 8;
const SIGNATURE_SIZE = 64;
/** Bytes behind the chains. */
const TRAILER_SIZE = HASH_SIZE + SIGNATURE_SIZE + 4;
/** Bytes of a chain besides its entity. */
const CHAIN_FIXED_SIZE = 2 + 4 + 4 + HASH_SIZE;
const ENTITY_SIZE_MAX = 1024;
const COVER_PREFIX = 3;
const BLOCK_SIZE = 1 << 20;

/** The facts of a base record, without its chains. */
export interface BaseFacts {
  /** Which journal, sixteen bytes. */
  readonly storeId: Uint8Array;
  /** The segment that the journal begins with. */
  readonly firstSegmentId: number;
  /** The sequence it begins at, which is how many events are gone. */
  readonly firstSequence: number;
  /** Microseconds since 1970: the time of the last event that is gone. */
  readonly lastTimestampUs: number;
  /** Its event hash. */
  readonly lastHash: Uint8Array;
  /** How many chains had an event. */
  readonly chainCount: number;
  /** Bytes of the chains: the sum of {@linkcode chainSize}. */
  readonly chainsSize: number;
}

/** The newest event of a chain that is gone. */
export interface BaseChain {
  /** UTF-8. Borrowed: the next chain overwrites it, when it was read. */
  readonly entity: Uint8Array;
  readonly lane: number;
  readonly clock: number;
  readonly eventHash: Uint8Array;
}

/** What signs: a `SigningKey` is one. */
export interface BaseSigner {
  readonly keyId: Uint8Array;
  sign(message: Uint8Array): Uint8Array;
}

/** A whole base record that has been read. */
export interface BaseRecord extends BaseFacts {
  /** Names the key that signed it; `undefined` when it is unsigned. */
  readonly keyId: Uint8Array | undefined;
  /** The signature, over {@linkcode cover}. */
  readonly signature: Uint8Array;
  /** What was signed. */
  readonly cover: Uint8Array;
  /** Bytes of the file. */
  readonly size: number;
}

/** What {@linkcode readBaseRecord} and {@linkcode readBaseHead} found. */
export type BaseResult<T> =
  | { readonly type: "base"; readonly base: T }
  | { readonly type: "future"; readonly version: number; readonly supported: number }
  | { readonly type: "corrupt"; readonly reason: string };

/** Why none of these public keys vouches for a record, or `undefined` when one does. */
export function signatureProblem(
  { keyId, signature, cover }: BaseRecord,
  keys: readonly Uint8Array[],
): string | undefined {
  if (keyId === undefined) return "it is not signed";
  const key = keys.find((key) => bytesEqual(blake3(key), keyId));
  if (key === undefined) return "it was signed by a key that is not among those given";
  return ed25519Verify(key, cover, signature) ? undefined : "its signature is not of its key";
}

/** Bytes of a chain in the record. */
export function chainSize(entitySize: number): number {
  return CHAIN_FIXED_SIZE + entitySize;
}

/** Writes a record into a staged file: the facts, then every chain, then {@linkcode finish}. */
export class BaseRecordWriter {
  readonly #staged: StagedFile;
  readonly #facts: BaseFacts;
  readonly #block: Uint8Array = new Uint8Array(BLOCK_SIZE);
  readonly #hash = new Blake3Stream();
  #used = HEAD_SIZE;
  #checksum = 0;
  #chainCount = 0;
  #chainsSize = 0;

  /** @param staged is published, or discarded, by the caller. */
  constructor(staged: StagedFile, facts: BaseFacts) {
    this.#staged = staged;
    this.#facts = facts;
    const block = this.#block;
    block.set(MAGIC);
    writeU16(block, 6, VERSION);
    block.set(facts.storeId, STORE_ID);
    writeU32(block, FIRST_SEGMENT_ID, facts.firstSegmentId);
    writeU64(block, FIRST_SEQUENCE, facts.firstSequence);
    writeU64(block, LAST_TIMESTAMP, facts.lastTimestampUs);
    block.set(facts.lastHash, LAST_HASH);
    writeU32(block, CHAIN_COUNT, facts.chainCount);
    writeU64(block, CHAINS_SIZE, facts.chainsSize);
    writeU32(block, 8, crc32(block.subarray(STORE_ID, HEAD_SIZE)));
  }

  /** Adds a chain. */
  add({ entity, lane, clock, eventHash }: BaseChain): void {
    const size = chainSize(entity.byteLength);
    if (this.#used + size > this.#block.byteLength) this.#flush();
    const block = this.#block;
    let at = this.#used;
    writeU16(block, at, entity.byteLength);
    block.set(entity, at + 2);
    at += 2 + entity.byteLength;
    writeU32(block, at, lane);
    writeU32(block, at + 4, clock);
    block.set(eventHash, at + 8);
    this.#used += size;
    this.#chainCount++;
    this.#chainsSize += size;
  }

  /** Writes what stands behind the chains. */
  finish(signer: BaseSigner | undefined): void {
    const { chainCount, chainsSize } = this.#facts;
    assert(
      this.#chainCount === chainCount && this.#chainsSize === chainsSize,
      "a base record has the chains it says it has",
    );
    this.#flush();
    const trailer = new Uint8Array(TRAILER_SIZE);
    if (signer !== undefined) {
      trailer.set(signer.keyId);
      trailer.set(signer.sign(coverOf(this.#facts, this.#hash.digest())), HASH_SIZE);
    }
    const checksumOffset = TRAILER_SIZE - 4;
    writeU32(trailer, checksumOffset, crc32(trailer.subarray(0, checksumOffset), this.#checksum));
    this.#staged.append(trailer);
  }

  #flush(): void {
    const bytes = this.#block.subarray(0, this.#used);
    this.#hash.update(bytes);
    this.#checksum = crc32(bytes, this.#checksum);
    this.#staged.append(bytes);
    this.#used = 0;
  }
}

/** Reads what stands in front of the chains: enough to know which segments count. */
export function readBaseHead(file: StoreFile): BaseResult<BaseFacts> {
  const bytes = new Uint8Array(HEAD_SIZE);
  const size = readRange(file, bytes, 0, HEAD_SIZE, 0);
  if (size < STORE_ID || !MAGIC.every((byte, i) => bytes[i] === byte)) {
    return corrupt("the file does not begin with FBATJB");
  }
  const version = readU16(bytes, 6);
  if (version > VERSION) return { type: "future", version, supported: VERSION };
  if (size < HEAD_SIZE) return corrupt(`the file has ${size} bytes`);
  if (version !== VERSION || readU32(bytes, 8) !== crc32(bytes.subarray(STORE_ID))) {
    return corrupt("the checksum of its head does not match");
  }
  const base: BaseFacts = {
    storeId: bytes.slice(STORE_ID, STORE_ID + ID_SIZE),
    firstSegmentId: readU32(bytes, FIRST_SEGMENT_ID),
    firstSequence: readU64(bytes, FIRST_SEQUENCE),
    lastTimestampUs: readU64(bytes, LAST_TIMESTAMP),
    lastHash: bytes.slice(LAST_HASH, LAST_HASH + HASH_SIZE),
    chainCount: readU32(bytes, CHAIN_COUNT),
    chainsSize: readU64(bytes, CHAINS_SIZE),
  };
  const { firstSegmentId, firstSequence, lastTimestampUs, chainCount, chainsSize } = base;
  if (
    firstSegmentId < 2 || firstSequence < 1 || !Number.isSafeInteger(firstSequence) ||
    !Number.isSafeInteger(lastTimestampUs) || !Number.isSafeInteger(chainsSize) ||
    chainCount < 1 || chainCount > firstSequence || !isZero(bytes, RESERVED, HEAD_SIZE)
  ) return corrupt("it has a number out of its range");
  if (file.size() !== HEAD_SIZE + chainsSize + TRAILER_SIZE) {
    return corrupt(`the file has ${file.size()} bytes, and its head speaks of ${chainsSize} more`);
  }
  return { type: "base", base };
}

/**
 * Reads a whole record and gives every chain to `onChain`, whose answer, when it is one, is what is wrong
 * with that chain. What was given counts only once the result is `"base"`.
 */
export function readBaseRecord(
  file: StoreFile,
  onChain: (chain: BaseChain) => string | undefined = () => undefined,
): BaseResult<BaseRecord> {
  const head = readBaseHead(file);
  if (head.type !== "base") return head;
  const facts = head.base;
  const chainsEnd = HEAD_SIZE + facts.chainsSize;
  const hash = new Blake3Stream();
  let checksum = 0;
  let chainCount = 0;
  const block = new Uint8Array(Math.min(BLOCK_SIZE, Math.max(HEAD_SIZE, chainsEnd)));
  // Bytes of a chain that the block before cut off stand in front.
  let carried = 0;
  for (let position = 0; position < chainsEnd;) {
    const wanted = Math.min(block.byteLength - carried, chainsEnd - position);
    if (readRange(file, block, carried, wanted, position) < wanted) {
      return corrupt("the file ends early");
    }
    const fresh = block.subarray(carried, carried + wanted);
    hash.update(fresh);
    checksum = crc32(fresh, checksum);
    const filled = carried + wanted;
    let at = position === 0 ? HEAD_SIZE : 0;
    for (;;) {
      if (at + 2 > filled) break;
      const entitySize = readU16(block, at);
      if (entitySize < 1 || entitySize > ENTITY_SIZE_MAX) {
        return corrupt(`it has an entity of ${entitySize} bytes`);
      }
      const end = at + chainSize(entitySize);
      if (end > filled) break;
      const entity = block.subarray(at + 2, at + 2 + entitySize);
      at += 2 + entitySize;
      const problem = entityProblem(entity) ?? onChain({
        entity,
        lane: readU32(block, at),
        clock: readU32(block, at + 4),
        eventHash: block.subarray(at + 8, end),
      });
      if (problem !== undefined) return corrupt(problem);
      chainCount++;
      at = end;
    }
    position += wanted;
    carried = filled - at;
    block.copyWithin(0, at, filled);
  }
  const trailer = new Uint8Array(TRAILER_SIZE);
  if (readRange(file, trailer, 0, TRAILER_SIZE, chainsEnd) < TRAILER_SIZE) {
    return corrupt("the file ends early");
  }
  const checksumOffset = TRAILER_SIZE - 4;
  checksum = crc32(trailer.subarray(0, checksumOffset), checksum);
  if (checksum !== readU32(trailer, checksumOffset)) return corrupt("the checksum does not match");
  if (carried > 0 || chainCount !== facts.chainCount) {
    return corrupt(`it has ${chainCount} chains and says ${facts.chainCount}`);
  }
  const isSigned = !isZero(trailer, 0, checksumOffset);
  return {
    type: "base",
    base: {
      ...facts,
      keyId: isSigned ? trailer.slice(0, HASH_SIZE) : undefined,
      signature: trailer.slice(HASH_SIZE, checksumOffset),
      cover: coverOf(facts, hash.digest()),
      size: chainsEnd + TRAILER_SIZE,
    },
  };
}

/** The bytes that are signed. */
function coverOf(facts: BaseFacts, digest: Uint8Array): Uint8Array {
  const cover = new Uint8Array(1 + ID_SIZE + 8 + HASH_SIZE);
  cover[0] = COVER_PREFIX;
  cover.set(facts.storeId, 1);
  writeU64(cover, 1 + ID_SIZE, facts.firstSequence);
  cover.set(digest, 1 + ID_SIZE + 8);
  return cover;
}

function entityProblem(entity: Uint8Array): string | undefined {
  const text = readUtf8(entity, 0, entity.byteLength);
  if (text === undefined) return "an entity is not UTF-8";
  try {
    validateCoordinate(text, "scope");
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

function corrupt(reason: string): { readonly type: "corrupt"; readonly reason: string } {
  return { type: "corrupt", reason };
}
