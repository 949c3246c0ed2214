/**
 * Ids: 16 bytes inside the journal, a lower-case UUID for everybody else.
 *
 * Text costs more than the append it describes, so ids stay bytes until somebody asks. Generated ids
 * are UUIDs of version 7:
 *
 * | Byte    | Bits | Content                                        |
 * | ------- | ---: | ---------------------------------------------- |
 * | 0 – 5   |   48 | milliseconds since 1970, from the store's clock |
 * | 6       |    4 | version, 7                                     |
 * | 6 – 7   |   12 | chance                                         |
 * | 8       |    2 | variant, binary 10                             |
 * | 8 – 15  |   62 | chance                                         |
 *
 * An {@linkcode OperationKey} is an id too, computed from what an operation is rather than drawn:
 *
 * | Size | Field        | Type   | Notes                            |
 * | ---: | ------------ | ------ | -------------------------------- |
 * |    8 | domain size  | u64 LE | bytes in UTF-8                   |
 * |    n | domain       | UTF-8  |                                  |
 * |    8 | count        | u64 LE | components                       |
 * | 8, n | per component | u64 LE, UTF-8 | size and bytes, as above |
 *
 * The key is the first 16 bytes of the BLAKE3 digest of that. Sizes stand in front of the bytes, so
 * `["ab", "c"]` and `["a", "bc"]` differ.
 *
 * @module
 */

import type { Entropy } from "../platform/entropy.ts";
import { writeU16, writeU32 } from "./bytes.ts";
import { StoreError } from "./errors.ts";
import { blake3 } from "./hash.ts";
import { utf8Size } from "./utf8.ts";

/** Bytes of an id. */
export const ID_SIZE = 16;
/** The most bytes a plain idempotency key may take in UTF-8. */
export const IDEMPOTENCY_KEY_SIZE_MAX = 1024;

/** The id of an event: a lower-case UUID of 36 characters. */
export type EventId = string & {
  /** Keeps an id from being mixed up with another string; nothing has this at run time. */
  readonly __brand: "EventId";
};

/** The id of the event that began the story an event belongs to; its own, when it began one. */
export type CorrelationId = EventId;

/** The id of the event that an event follows from. */
export type CausationId = EventId;

/** Why an id or a key was refused. */
export type IdRefusal =
  | "NotString"
  | "WrongSize"
  | "WrongLength"
  | "MissingHyphen"
  | "NotHexadecimal"
  | "EmptyKey"
  | "KeyTooLong"
  | "LoneSurrogate";

/** A text or a byte string is not an id, or a key cannot become one. The message says what is wrong. */
export class IdError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "IdError";
  /** Stable, for programs. */
  override readonly code = "ID";
  /** What is wrong. */
  readonly reason: IdRefusal;

  /**
   * Says which rule is broken.
   *
   * @param reason what is wrong; `message` says it to a person.
   */
  constructor(reason: IdRefusal, message: string) {
    super(message);
    this.reason = reason;
  }
}

/**
 * The text of the id at `offset`.
 *
 * @throws {IdError} when fewer than 16 bytes stand there.
 */
export function formatId(bytes: Uint8Array, offset = 0): EventId {
  if (bytes.byteLength - offset < ID_SIZE) {
    throw new IdError(
      "WrongSize",
      `Cannot read an id from ${bytes.byteLength - offset} bytes: an id has ${ID_SIZE}`,
    );
  }
  const hex = HEX_OF_BYTE;
  return (hex[bytes[offset]] + hex[bytes[offset + 1]] + hex[bytes[offset + 2]] +
    hex[bytes[offset + 3]] + "-" + hex[bytes[offset + 4]] + hex[bytes[offset + 5]] + "-" +
    hex[bytes[offset + 6]] + hex[bytes[offset + 7]] + "-" + hex[bytes[offset + 8]] +
    hex[bytes[offset + 9]] + "-" + hex[bytes[offset + 10]] + hex[bytes[offset + 11]] +
    hex[bytes[offset + 12]] + hex[bytes[offset + 13]] + hex[bytes[offset + 14]] +
    hex[bytes[offset + 15]]) as EventId;
}

/**
 * The 16 bytes of a UUID in lower or upper case.
 *
 * @throws {IdError} when it is not one; `reason` says why.
 */
export function parseId(text: string): Uint8Array {
  const bytes = new Uint8Array(ID_SIZE);
  parseIdInto(text, bytes, 0);
  return bytes;
}

/**
 * Writes the 16 bytes of a UUID in lower or upper case to `target`.
 *
 * @throws {IdError} when the text is not one, or `target` has no room for it. In the first case the 16
 * bytes are undefined.
 */
export function parseIdInto(text: string, target: Uint8Array, offset: number): void {
  if (typeof text !== "string") {
    throw new IdError("NotString", "Cannot read an id: it is not a string");
  }
  if (text.length !== TEXT_LENGTH) {
    throw new IdError(
      "WrongLength",
      `Cannot read an id of ${text.length} characters: an id is a UUID of ${TEXT_LENGTH}`,
    );
  }
  if (offset < 0 || target.byteLength - offset < ID_SIZE) {
    throw new IdError("WrongSize", `Cannot write an id at ${offset}: it takes ${ID_SIZE} bytes`);
  }
  let position = 0;
  for (let i = 0; i < ID_SIZE; i++) {
    if (i === 4 || i === 6 || i === 8 || i === 10) {
      if (text.charCodeAt(position) !== HYPHEN) {
        throw new IdError(
          "MissingHyphen",
          `Cannot read id "${text}": character ${position} is not a hyphen`,
        );
      }
      position++;
    }
    const high = digitOf(text, position);
    const low = digitOf(text, position + 1);
    target[offset + i] = (high << 4) | low;
    position += 2;
  }
}

function digitOf(text: string, position: number): number {
  const unit = text.charCodeAt(position);
  if (unit >= 0x30 && unit <= 0x39) return unit - 0x30;
  const lower = unit | 0x20;
  if (lower >= 0x61 && lower <= 0x66) return lower - 0x61 + 10;
  throw new IdError(
    "NotHexadecimal",
    `Cannot read id "${text}": character ${position} is not a hexadecimal digit`,
  );
}

/** The functions behind the name {@linkcode EventId}. */
export interface EventIdNamespace {
  /** The id of no event: all zeros. */
  readonly NIL: EventId;
  /**
   * The id in `text`, in lower case.
   *
   * @throws {IdError} when it is not a UUID; `reason` says why.
   */
  parse(text: string): EventId;
  /** Whether `value` is an id as the store writes it: a UUID in lower case. */
  is(value: unknown): value is EventId;
}

/**
 * Reads and recognizes ids that come from outside.
 *
 * @example Read an id from a request
 * ```ts
 * import { EventId } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const id = EventId.parse("0196F3B2-8C00-7ABC-8DEF-0123456789AB");
 *
 * assert.equal(id, "0196f3b2-8c00-7abc-8def-0123456789ab");
 * assert.ok(EventId.is(id));
 * assert.throws(() => EventId.parse("order-1001"), { reason: "WrongLength" });
 * ```
 */
export const EventId: EventIdNamespace = Object.freeze({
  NIL: "00000000-0000-0000-0000-000000000000" as EventId,
  parse: (text: string): EventId => formatId(parseId(text)),
  is: (value: unknown): value is EventId => typeof value === "string" && ID_PATTERN.test(value),
});

/**
 * Names an operation, so that trying it again is recognized: the same domain and components always
 * give the same id, and other ones never do.
 *
 * @example Transfer once, however often it is tried
 * ```ts
 * import { OperationKey } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const key = OperationKey.of("transfer", ["acct:1", "acct:2", "req:42"]);
 *
 * assert.equal(key.id, "778a4035-d27f-90aa-9ebe-02decb3aafdf");
 * ```
 */
export class OperationKey {
  readonly #bytes: Uint8Array;

  private constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /**
   * The key of the operation that `components` describe within `domain`.
   *
   * @throws {IdError} when a part is not a string, or contains half a surrogate pair: two such
   * strings could give the same bytes.
   */
  static of(domain: string, components: readonly string[]): OperationKey {
    return new OperationKey(operationDigest(domain, components));
  }

  /** The 16 bytes, in a new array. */
  get bytes(): Uint8Array {
    return this.#bytes.slice();
  }

  /** The id an event appended under this key has. */
  get id(): EventId {
    return formatId(this.#bytes);
  }

  /** The same as `id`. */
  toString(): string {
    return this.id;
  }
}

/**
 * The 16 bytes under which an idempotent append is known, in a new array. A plain string is the
 * operation of domain `batpak.idempotency` with that one component.
 *
 * @throws {IdError} when a plain string is empty, has more than 1,024 bytes in UTF-8, or contains
 * half a surrogate pair.
 */
export function idempotencyId(key: string | OperationKey): Uint8Array {
  if (key instanceof OperationKey) return key.bytes;
  validateText(key, "an idempotency key");
  if (key.length === 0) {
    throw new IdError("EmptyKey", "Cannot use an empty idempotency key");
  }
  const size = utf8Size(key);
  if (size > IDEMPOTENCY_KEY_SIZE_MAX) {
    throw new IdError(
      "KeyTooLong",
      `Cannot use an idempotency key of ${size} bytes: at most ${IDEMPOTENCY_KEY_SIZE_MAX} fit`,
    );
  }
  return operationDigest(IDEMPOTENCY_DOMAIN, [key]);
}

function operationDigest(domain: string, components: readonly string[]): Uint8Array {
  return blake3(operationBytes(domain, components)).slice(0, ID_SIZE);
}

/**
 * What an {@linkcode OperationKey} is the digest of, for whoever makes many keys that differ only in
 * the bytes at the end.
 */
export function operationBytes(domain: string, components: readonly string[]): Uint8Array {
  validateText(domain, "the domain of an operation key");
  let size = LENGTH_SIZE + utf8Size(domain) + LENGTH_SIZE;
  for (const component of components) {
    validateText(component, "a component of an operation key");
    size += LENGTH_SIZE + utf8Size(component);
  }
  const bytes = new Uint8Array(size);
  let end = writeText(bytes, 0, domain);
  end = writeLength(bytes, end, components.length);
  for (const component of components) end = writeText(bytes, end, component);
  return bytes;
}

function validateText(text: string, what: string): void {
  if (typeof text !== "string") {
    throw new IdError("NotString", `Cannot use ${what} that is not a string`);
  }
  if (!text.isWellFormed()) {
    throw new IdError("LoneSurrogate", `Cannot use ${what} that contains half a surrogate pair`);
  }
}

function writeText(target: Uint8Array, offset: number, text: string): number {
  const start = offset + LENGTH_SIZE;
  const { written } = encoder.encodeInto(text, target.subarray(start));
  writeLength(target, offset, written);
  return start + written;
}

/** Writes a u64 LE whose upper half is always zero: no string has 2^32 bytes. */
function writeLength(target: Uint8Array, offset: number, length: number): number {
  target[offset] = length;
  target[offset + 1] = length >>> 8;
  target[offset + 2] = length >>> 16;
  target[offset + 3] = length >>> 24;
  return offset + LENGTH_SIZE;
}

/**
 * Makes new ids. Chance is drawn 4 KiB at a time, so that an id costs no call and no allocation.
 *
 * Ids of one millisecond come in no particular order: the order of events is their sequence.
 */
export class IdGenerator {
  readonly #entropy: Entropy;
  readonly #pool: Uint8Array = new Uint8Array(POOL_SIZE);
  #offset: number = POOL_SIZE;

  /**
   * Makes a generator; the first id draws from `entropy`.
   *
   * @param entropy where chance comes from.
   */
  constructor(entropy: Entropy) {
    this.#entropy = entropy;
  }

  /**
   * Writes a new UUID of version 7 to the 16 bytes of `target` at `offset`.
   *
   * @param timestampUs when, in microseconds since 1970; a time before that counts as 1970.
   */
  fill(target: Uint8Array, offset: number, timestampUs: number): void {
    if (this.#offset + CHANCE_SIZE > POOL_SIZE) {
      this.#entropy.fill(this.#pool);
      this.#offset = 0;
    }
    const pool = this.#pool;
    const from = this.#offset;
    this.#offset = from + CHANCE_SIZE;

    const milliseconds = timestampUs > 0 ? Math.floor(timestampUs / 1000) : 0;
    writeU16(target, offset, Math.floor(milliseconds / 0x1_0000_0000));
    writeU32(target, offset + 2, milliseconds % 0x1_0000_0000);
    target[offset + 6] = 0x70 | (pool[from] & 0x0f);
    target[offset + 7] = pool[from + 1];
    target[offset + 8] = 0x80 | (pool[from + 2] & 0x3f);
    for (let i = 3; i < CHANCE_SIZE; i++) target[offset + 6 + i] = pool[from + i];
  }
}

const TEXT_LENGTH = 36;
const HYPHEN = 0x2d;
const LENGTH_SIZE = 8;
const IDEMPOTENCY_DOMAIN = "batpak.idempotency";
/** Bytes of chance for one id: 74 bits are needed, the other six are masked away. */
const CHANCE_SIZE = 10;
const POOL_SIZE = 4096;
const ID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const encoder = new TextEncoder();
const HEX_OF_BYTE: readonly string[] = Array.from(
  { length: 256 },
  (_, byte) => byte.toString(16).padStart(2, "0"),
);
