/**
 * Receipt extensions: opaque bytes under namespaced keys, stored with an event, covered by its hash and
 * its signature, and returned in its receipt.
 *
 * A key is `prefix.field`. The prefix says who wrote it, so that two libraries never meet under one
 * key; `batpak` is ours.
 *
 * @module
 */

import { StoreError, TooLargeError } from "./errors.ts";

/** The most extensions an event may have. */
export const EXTENSION_COUNT_MAX = 32;
/** The most bytes of an extension key. */
export const EXTENSION_KEY_SIZE_MAX = 256;

/** Extensions as a caller gives them: a namespaced key for each value. */
export type Extensions = Readonly<Record<string, Uint8Array>>;

/** Extensions as they are stored: one entry for each key, ordered by the bytes of the key. */
export type ExtensionEntries = readonly (readonly [key: string, value: Uint8Array])[];

/** Why an extension key was refused, in the order of the checks. */
export type ExtensionKeyRefusal =
  | "Empty"
  | "NonAscii"
  | "TooLong"
  | "InvalidNamespaceFormat"
  | "ReservedNamespace";

/** An extension key breaks a rule. Nothing was written: name it `prefix.field`, under a prefix of yours. */
export class ExtensionKeyError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "ExtensionKeyError";
  /** Stable, for programs. */
  override readonly code = "EXTENSION_KEY";
  /** The broken rule. */
  readonly reason: ExtensionKeyRefusal;
  /** The key. */
  readonly key: string;

  /**
   * Says which rule is broken.
   *
   * @param reason the broken rule; `key` breaks it.
   */
  constructor(reason: ExtensionKeyRefusal, key: string) {
    super(`Cannot use ${JSON.stringify(abridged(key))} as extension key: ${DESCRIPTIONS[reason]}`);
    this.reason = reason;
    this.key = key;
  }
}

/**
 * The extensions as they will be stored, ordered by key. Every value is copied, so that what the
 * caller does with its arrays afterwards changes no receipt.
 *
 * @throws {ExtensionKeyError} when a key breaks a rule.
 * @throws {TooLargeError} when there are more than 32.
 * @throws {TypeError} when a value is not a `Uint8Array`.
 */
export function normalizeExtensions(input: Extensions): ExtensionEntries {
  if (typeof input !== "object" || input === null) {
    throw new TypeError("Cannot use extensions that are not an object of keys and bytes");
  }
  const keys = Object.keys(input);
  if (keys.length === 0) return NO_EXTENSIONS;
  assertCount(keys.length);
  const entries: (readonly [string, Uint8Array])[] = [];
  // Keys are ASCII, so the order of code units is the order of bytes.
  for (const key of keys.sort()) {
    validateExtensionKey(key);
    const value = input[key];
    if (!(value instanceof Uint8Array)) {
      throw new TypeError(`Cannot use the value of extension "${key}": it is not a Uint8Array`);
    }
    entries.push(Object.freeze([key, new Uint8Array(value)] as const));
  }
  return Object.freeze(entries);
}

/**
 * Checks one extension key: ASCII, at most 256 bytes, `prefix.field` of printable characters with
 * exactly one dot, and a prefix other than `batpak`.
 *
 * @throws {ExtensionKeyError} naming the first rule that is broken, in the order of
 * {@linkcode ExtensionKeyRefusal}.
 */
export function validateExtensionKey(key: string): void {
  validateText(key);
  if (!NAMESPACED_PATTERN.test(key)) throw new ExtensionKeyError("InvalidNamespaceFormat", key);
  if (key.startsWith(RESERVED_PREFIX)) throw new ExtensionKeyError("ReservedNamespace", key);
}

function validateText(key: string): void {
  if (typeof key !== "string") throw new TypeError("Cannot use an extension key that is no string");
  if (key.length === 0) throw new ExtensionKeyError("Empty", key);
  if (!ASCII_PATTERN.test(key)) throw new ExtensionKeyError("NonAscii", key);
  if (key.length > EXTENSION_KEY_SIZE_MAX) throw new ExtensionKeyError("TooLong", key);
}

/**
 * The extensions of an event of another journal, and one of the store's own in place of the one that
 * may stand under its key. The values are borrowed: nobody may change them.
 *
 * @throws {ExtensionKeyError} when a key breaks a rule, which no journal of ours holds.
 * @throws {TooLargeError} when there are more than 32.
 */
export function withStoreExtension(
  stored: ExtensionEntries,
  key: string,
  value: Uint8Array,
): ExtensionEntries {
  if (stored.length === 0) return [[key, value]];
  const entries = new Map<string, Uint8Array>();
  for (const [name, bytes] of stored) {
    // The store's own keys have a form of their own.
    if (name.startsWith(RESERVED_PREFIX)) validateText(name);
    else validateExtensionKey(name);
    entries.set(name, bytes);
  }
  entries.set(key, value);
  assertCount(entries.size);
  // Keys are ASCII, so the order of code units is the order of bytes.
  return [...entries].sort(([a], [b]) => a < b ? -1 : 1);
}

function assertCount(count: number): void {
  if (count <= EXTENSION_COUNT_MAX) return;
  throw new TooLargeError({
    what: "an event",
    unit: "extensions",
    actual: count,
    limit: EXTENSION_COUNT_MAX,
  });
}

function abridged(text: string): string {
  return text.length <= 64 ? text : `${text.slice(0, 63)}…`;
}

const NO_EXTENSIONS: ExtensionEntries = Object.freeze([]);
const RESERVED_PREFIX = "batpak.";
// deno-lint-ignore no-control-regex
const ASCII_PATTERN = /^[\x00-\x7f]*$/;
/** Two runs of printable characters, neither with a dot, around one. */
const NAMESPACED_PATTERN = /^[!-\-/-~]+\.[!-\-/-~]+$/;

const DESCRIPTIONS: Readonly<Record<ExtensionKeyRefusal, string>> = {
  Empty: "it is empty",
  NonAscii: "it is not ASCII",
  TooLong: `it has more than ${EXTENSION_KEY_SIZE_MAX} bytes`,
  InvalidNamespaceFormat:
    'write "prefix.field", both of printable characters, with exactly one dot',
  ReservedNamespace: 'the prefix "batpak" is reserved for the store',
};
