/**
 * Receipts: the proof that an event was appended, complete enough to be checked by somebody who has
 * nothing but the receipt and a public key.
 *
 * A receipt carries the header bytes of its event. Their BLAKE3 is the event hash, which covers every
 * field of the event, the hash of its payload and the hash of the event before it. The signature, when
 * the store has a key, is Ed25519 over 57 bytes: version 2, the store's id, the sequence as u64, the
 * event hash. A signature is made when it is first asked for, so a receipt nobody reads costs nothing.
 *
 * @module
 */

import { ed25519Signer, ed25519Verify } from "../platform/ed25519.ts";
import { writeU64 } from "./bytes.ts";
import type { Coordinate } from "./coordinate.ts";
import { Coordinate as Coordinates, validateCoordinate } from "./coordinate.ts";
import { ConfigurationError } from "./errors.ts";
import { EventKind } from "./event_kind.ts";
import {
  clockOf,
  CONTENT_HASH_OFFSET,
  ENTITY_OFFSET,
  entitySizeOf,
  EVENT_ID_OFFSET,
  extensionsOf,
  headerProblem,
  kindOf,
  laneOf,
  PREV_HASH_OFFSET,
  readUtf8,
  scopeSizeOf,
  scopeStartOf,
  sequenceOf,
  timestampOf,
} from "./frame.ts";
import { blake3, bytesEqual, fromHex, HASH_SIZE, toHex } from "./hash.ts";
import { EventId, formatId, ID_SIZE, parseId } from "./ids.ts";
import { printAs } from "./print.ts";
import type { LogPosition } from "./stored_event.ts";

const SIGNATURE_SIZE = 64;
const RECEIPT_VERSION = 2;
/** No header of ours is larger: names, 32 tags, and extensions of 64 MiB at most. */
const HEADER_HEX_MAX = 2 * (65 << 20);

/** A key pair that signs receipts, made by {@linkcode SigningKey.fromSeed}. Its seed cannot be printed. */
export class SigningKey {
  readonly #keyId: Uint8Array;
  readonly #publicKey: Uint8Array;
  readonly #sign: (message: Uint8Array) => Uint8Array;

  private constructor(publicKey: Uint8Array, sign: (message: Uint8Array) => Uint8Array) {
    this.#publicKey = publicKey.slice();
    this.#keyId = blake3(publicKey);
    this.#sign = sign;
  }

  /**
   * The key pair of a 32-byte secret seed.
   *
   * @throws {ConfigurationError} when the seed has another size.
   */
  static fromSeed(seed: Uint8Array): SigningKey {
    if (!(seed instanceof Uint8Array) || seed.byteLength !== 32) {
      throw new ConfigurationError("signingKeys", "a seed is a Uint8Array of 32 bytes");
    }
    const signer = ed25519Signer(seed);
    return new SigningKey(signer.publicKey, (message) => signer.sign(message));
  }

  /** Names the key: BLAKE3 of the public key; a copy. */
  get keyId(): Uint8Array {
    return this.#keyId.slice();
  }

  /** The 32-byte public key, which verifiers need; a copy. */
  get publicKey(): Uint8Array {
    return this.#publicKey.slice();
  }

  /** The 64-byte signature of a message. */
  sign(message: Uint8Array): Uint8Array {
    return this.#sign(message);
  }

  /** Only what is public. */
  toJSON(): { keyId: string; publicKey: string } {
    return { keyId: toHex(this.keyId), publicKey: toHex(this.publicKey) };
  }
}

/** A receipt as plain data, for JSON and for other programs. Hashes and bytes are lower-case hex. */
export interface ReceiptClaim {
  /** The version of the receipt, 2. */
  readonly version: number;
  /** Which journal. */
  readonly storeId: string;
  /** The id of the event. */
  readonly eventId: string;
  /** Its place in the journal. */
  readonly globalSequence: number;
  /** Where its frame is. */
  readonly position: LogPosition;
  /** BLAKE3 of its payload. */
  readonly contentHash: string;
  /** BLAKE3 of `header`. */
  readonly eventHash: string;
  /** Every field of the event but the payload, as the log holds it. */
  readonly header: string;
  /** Names the signing key; `null` when unsigned. */
  readonly keyId: string | null;
  /** The signature; `null` when unsigned. */
  readonly signature: string | null;
}

/**
 * The proof that an event was appended. Not made by callers; {@linkcode Receipt.fromClaim} reads one
 * back from JSON, to be verified.
 */
export class Receipt {
  /**
   * Whether this append wrote nothing, because its idempotency key was known: the receipt is that of the
   * first one. Not part of what a receipt proves, nor of its JSON.
   */
  readonly replayed: boolean;
  /** Place in the journal. */
  readonly globalSequence: number;
  readonly #segmentId: number;
  readonly #offset: number;
  readonly #size: number;
  readonly #storeId: Uint8Array;
  readonly #header: Uint8Array;
  readonly #signer: SigningKey | undefined;
  #eventHash: Uint8Array | undefined;
  #signature: Uint8Array | null | undefined;
  #keyId: Uint8Array | null | undefined;

  /**
   * Made by the store, for every append, so the facts come one by one and nothing is built around
   * them. `header` is kept and must not change.
   *
   * @internal
   */
  constructor(
    storeId: Uint8Array,
    header: Uint8Array,
    eventHash: Uint8Array | undefined,
    segmentId: number,
    offset: number,
    size: number,
    signer: SigningKey | undefined,
    replayed = false,
  ) {
    this.replayed = replayed;
    this.globalSequence = sequenceOf(header, 0);
    this.#storeId = storeId;
    this.#header = header;
    this.#eventHash = eventHash;
    this.#segmentId = segmentId;
    this.#offset = offset;
    this.#size = size;
    this.#signer = signer;
  }

  /**
   * Reads a receipt back from its plain form, without judging it: {@linkcode verifyReceipt} does.
   *
   * @throws {TypeError} when the form itself is broken, or its readable fields contradict its header.
   */
  static fromClaim(claim: ReceiptClaim): Receipt {
    const refuse = (reason: string): never => {
      throw new TypeError(`Cannot read the receipt: ${reason}`);
    };
    if (typeof claim !== "object" || claim === null) refuse("it is not an object");
    if (claim.version !== RECEIPT_VERSION) refuse(`it has version ${String(claim.version)}`);
    const header = bytesOf(claim.header, undefined);
    if (header === undefined) return refuse("the header is not hexadecimal");
    const problem = headerProblem(header);
    if (problem !== undefined) refuse(problem);
    const entity = readUtf8(header, ENTITY_OFFSET, entitySizeOf(header, 0));
    const scope = readUtf8(header, scopeStartOf(header, 0), scopeSizeOf(header, 0));
    if (entity === undefined || scope === undefined) return refuse("a name is not UTF-8");
    try {
      validateCoordinate(entity, scope);
    } catch (error) {
      refuse((error as Error).message);
    }
    const eventHash = bytesOf(claim.eventHash, HASH_SIZE) ??
      refuse("the event hash is not 32 bytes");
    const { segmentId, offset, size } = claim.position ?? {};
    for (const part of [segmentId, offset, size]) {
      if (!Number.isSafeInteger(part) || part < 0) refuse("the position is not three numbers");
    }
    if (!EventId.is(claim.storeId)) refuse("the store id is not a UUID in lower case");
    const storeId = parseId(claim.storeId);
    const receipt = new Receipt(
      storeId,
      header,
      eventHash,
      segmentId,
      offset,
      size,
      undefined,
    );
    if (
      claim.eventId !== receipt.eventId || claim.globalSequence !== receipt.globalSequence ||
      claim.contentHash !== toHex(receipt.contentHash)
    ) refuse("its fields contradict its header");
    receipt.#keyId = claim.keyId === null
      ? null
      : bytesOf(claim.keyId, HASH_SIZE) ?? refuse("the key id is not 32 bytes");
    receipt.#signature = claim.signature === null
      ? null
      : bytesOf(claim.signature, SIGNATURE_SIZE) ?? refuse("the signature is not 64 bytes");
    return receipt;
  }

  /**
   * A receipt that was made in another realm, from what {@linkcode bareHeader} and the getters gave
   * there. The bytes are kept.
   *
   * @internal
   */
  static carried(facts: {
    readonly storeId: Uint8Array;
    readonly header: Uint8Array;
    readonly position: LogPosition;
    readonly replayed: boolean;
    readonly keyId: Uint8Array | null;
    readonly signature: Uint8Array | null;
  }): Receipt {
    const { storeId, header, position, replayed } = facts;
    const { segmentId, offset, size } = position;
    const receipt: Receipt = new Receipt(
      storeId,
      header,
      undefined,
      segmentId,
      offset,
      size,
      undefined,
      replayed,
    );
    receipt.#keyId = facts.keyId;
    receipt.#signature = facts.signature;
    return receipt;
  }

  /**
   * The header itself and no copy: not for callers.
   *
   * @internal
   */
  get bareHeader(): Uint8Array {
    return this.#header;
  }
  /** Where the frame is. */
  get position(): LogPosition {
    return { segmentId: this.#segmentId, offset: this.#offset, size: this.#size };
  }
  /** Which journal. */
  get storeId(): string {
    return formatId(this.#storeId);
  }
  /** The id of the event. */
  get eventId(): EventId {
    return formatId(this.#header, EVENT_ID_OFFSET);
  }
  /** Its place in its entity's lane. */
  get clock(): number {
    return clockOf(this.#header, 0);
  }
  /** The lane. */
  get lane(): number {
    return laneOf(this.#header, 0);
  }
  /** What it says. */
  get kind(): EventKind {
    return EventKind.fromRaw(kindOf(this.#header, 0));
  }
  /** Whose fact it is, and where. */
  get coordinate(): Coordinate {
    const header = this.#header;
    const entity = readUtf8(header, ENTITY_OFFSET, entitySizeOf(header, 0)) ?? "";
    const scope = readUtf8(header, scopeStartOf(header, 0), scopeSizeOf(header, 0)) ?? "";
    return Coordinates.of(entity, scope);
  }
  /** Microseconds since 1970. */
  get timestampUs(): number {
    return timestampOf(this.#header, 0);
  }
  /** BLAKE3 of the payload, as a copy. */
  get contentHash(): Uint8Array {
    return this.#header.slice(CONTENT_HASH_OFFSET, CONTENT_HASH_OFFSET + HASH_SIZE);
  }
  /** Event hash of the event before it in its entity's lane, as a copy; zeros for the first. */
  get prevHash(): Uint8Array {
    return this.#header.slice(PREV_HASH_OFFSET, PREV_HASH_OFFSET + HASH_SIZE);
  }
  /** BLAKE3 of the header, as a copy. */
  get eventHash(): Uint8Array {
    return (this.#eventHash ??= blake3(this.#header)).slice();
  }
  /** Every field of the event but the payload, as the log holds it; a copy. */
  get header(): Uint8Array {
    return this.#header.slice();
  }
  /** The receipt extensions, as copies. */
  get extensions(): Readonly<Record<string, Uint8Array>> {
    return Object.fromEntries(extensionsOf(this.#header, 0));
  }
  /** Names the signing key, as a copy; `null` when unsigned. */
  get keyId(): Uint8Array | null {
    if (this.#keyId === undefined) this.#keyId = this.#signer?.keyId ?? null;
    return this.#keyId?.slice() ?? null;
  }
  /** The Ed25519 signature, made at the first touch, as a copy; `null` when unsigned. */
  get signature(): Uint8Array | null {
    if (this.#signature === undefined) {
      this.#signature = this.#signer?.sign(this.cover()) ?? null;
    }
    return this.#signature?.slice() ?? null;
  }

  /** The bytes that are signed. */
  cover(): Uint8Array {
    const cover = new Uint8Array(1 + ID_SIZE + 8 + HASH_SIZE);
    cover[0] = RECEIPT_VERSION;
    cover.set(this.#storeId, 1);
    writeU64(cover, 1 + ID_SIZE, this.globalSequence);
    cover.set(this.eventHash, 1 + ID_SIZE + 8);
    return cover;
  }

  /** The receipt as plain data, signature included. */
  toJSON(): ReceiptClaim {
    const { keyId, signature } = this;
    return {
      version: RECEIPT_VERSION,
      storeId: this.storeId,
      eventId: this.eventId,
      globalSequence: this.globalSequence,
      position: this.position,
      contentHash: toHex(this.contentHash),
      eventHash: toHex(this.eventHash),
      header: toHex(this.#header),
      keyId: keyId === null ? null : toHex(keyId),
      signature: signature === null ? null : toHex(signature),
    };
  }
}

printAs(Receipt, ({ eventId, globalSequence, coordinate, kind, clock, lane, replayed }) => ({
  eventId,
  globalSequence,
  coordinate: String(coordinate),
  kind: EventKind.format(kind),
  clock,
  lane,
  replayed,
}));

/** Why a receipt is not valid. */
export type ReceiptFailure =
  /** No event has its id, or none that is visible. */
  | "MissingCommittedEvent"
  /** It is of another journal. */
  | "StoreMismatch"
  /** The event with its id has another sequence. */
  | "SequenceMismatch"
  /** The event's frame is elsewhere. */
  | "DiskPositionMismatch"
  /** The event has another payload. */
  | "ContentHashMismatch"
  /** The event has other receipt extensions. */
  | "ExtensionsMismatch"
  /** Another field of the event differs, or its place in the chain does. */
  | "EventHashMismatch"
  /** The event is not a denial. */
  | "DenialKindMismatch"
  /** It is unsigned, and there are keys. */
  | "UnsignedReceiptRejected"
  /** It names a key but has no signature. */
  | "MissingSignature"
  /** It has a signature but names no key. */
  | "ZeroKeyWithSignature"
  /** None of the keys is the one it names. */
  | "UnknownSigningKey"
  /** The signature is not of that key over these facts. */
  | "InvalidSignature"
  /** The payload given is not the one the receipt is for. */
  | "PayloadMismatch";

/** What checking a receipt found. `"unsigned"` is valid only where there are no keys. */
export type ReceiptVerification =
  | { readonly valid: true; readonly outcome: "signed" | "unsigned" }
  | { readonly valid: false; readonly outcome: "invalid"; readonly reason: ReceiptFailure };

/**
 * Checks a receipt without the journal: that its header has the event hash it says, that the payload,
 * if given, is the one it is for, and that one of `publicKeys` signed it. Without keys, an unsigned
 * receipt is accepted and says so.
 *
 * @param options `publicKeys` are 32 bytes each; `payload` are the stored payload bytes.
 *
 * @example Check a receipt somewhere else
 * ```ts
 * import { EventKind, MemoryFs, Receipt, SigningKey, Store, verifyReceipt } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const key = SigningKey.fromSeed(new Uint8Array(32).fill(7));
 * using store = Store.open("journal", { fs: new MemoryFs(), signingKeys: [key] });
 * const receipt = store.append({ entity: "user:1", scope: "app" }, EventKind.DATA, "hello");
 * const text = JSON.stringify(receipt);
 *
 * const copy = Receipt.fromClaim(JSON.parse(text));
 * assert.deepEqual(verifyReceipt(copy, { publicKeys: [key.publicKey] }), {
 *   valid: true,
 *   outcome: "signed",
 * });
 * ```
 */
export function verifyReceipt(
  receipt: Receipt,
  options: { readonly publicKeys?: readonly Uint8Array[]; readonly payload?: Uint8Array } = {},
): ReceiptVerification {
  const { publicKeys = [], payload } = options;
  if (!bytesEqual(blake3(receipt.header), receipt.eventHash)) return invalid("EventHashMismatch");
  if (payload !== undefined && !bytesEqual(blake3(payload), receipt.contentHash)) {
    return invalid("PayloadMismatch");
  }
  return verifySignature(receipt, publicKeys);
}

/** The signature part of {@linkcode verifyReceipt}. */
export function verifySignature(
  receipt: Receipt,
  publicKeys: readonly Uint8Array[],
): ReceiptVerification {
  const { keyId, signature } = receipt;
  const named = keyId !== null && keyId.some((byte) => byte !== 0);
  if (signature === null) {
    if (named) return invalid("MissingSignature");
    return publicKeys.length === 0
      ? { valid: true, outcome: "unsigned" }
      : invalid("UnsignedReceiptRejected");
  }
  if (!named) return invalid("ZeroKeyWithSignature");
  const publicKey = publicKeys.find((key) => bytesEqual(blake3(key), keyId));
  if (publicKey === undefined) return invalid("UnknownSigningKey");
  return ed25519Verify(publicKey, receipt.cover(), signature)
    ? { valid: true, outcome: "signed" }
    : invalid("InvalidSignature");
}

/** A refusal. */
export function invalid(reason: ReceiptFailure): ReceiptVerification {
  return { valid: false, outcome: "invalid", reason };
}

function bytesOf(text: unknown, size: number | undefined): Uint8Array | undefined {
  if (typeof text !== "string" || text.length > HEADER_HEX_MAX) return undefined;
  const bytes = fromHex(text);
  return size === undefined || bytes?.byteLength === size ? bytes : undefined;
}
