/**
 * Where an imported event comes from: the receipt extension `batpak.import.provenance`.
 *
 * It is one MessagePack map of nine entries in this order, each in the one encoding given here, so that
 * any MessagePack tool prints it and every field behind the namespace stands at a constant distance:
 *
 * | Key                      | Encoding | Notes                                                |
 * | ------------------------ | -------- | ---------------------------------------------------- |
 * | `schema_version`         | uint16   | 1; looked at before anything else                    |
 * | `source_namespace`       | str16    | 1 to 1,024 bytes                                     |
 * | `source_store_id`        | bin8(16) | the journal it was read from                         |
 * | `source_event_id`        | bin8(16) | its id there                                         |
 * | `source_global_sequence` | uint64   | its place there                                      |
 * | `source_kind`            | uint16   | raw                                                  |
 * | `source_content_hash`    | bin8(32) | of the payload, which is the same here               |
 * | `source_event_hash`      | bin8(32) | of its header there: what its receipt there vouches for |
 * | `source_timestamp_us`    | uint64   | when it was appended there                           |
 *
 * Callers cannot write it: the prefix of the key is reserved. It is covered by the event hash, and so
 * by the signature of the receipt.
 *
 * @module
 */

import { readU16, readU64, writeU16, writeU64 } from "../bytes.ts";
import { StoreError } from "../errors.ts";
import { EventKind } from "../event_kind.ts";
import {
  CONTENT_HASH_OFFSET,
  EVENT_ID_OFFSET,
  kindOf,
  payloadStartOf,
  readUtf8,
  sequenceOf,
  timestampOf,
  writeUtf8,
} from "../frame.ts";
import { blake3Into, HASH_SIZE } from "../hash.ts";
import { type EventId, formatId, ID_SIZE } from "../ids.ts";
import { utf8Size } from "../utf8.ts";

/** The key of the extension. */
export const PROVENANCE_KEY = "batpak.import.provenance";
/** The most bytes a namespace may take in UTF-8. */
export const IMPORT_NAMESPACE_SIZE_MAX = 1024;
const SCHEMA_VERSION = 1;

/** Where an imported event comes from. */
export interface ImportProvenance {
  /** The version of this record. */
  readonly schemaVersion: number;
  /** The name under which it was imported. */
  readonly sourceNamespace: string;
  /** The journal it was read from. */
  readonly sourceStoreId: string;
  /** Its id there. */
  readonly sourceEventId: EventId;
  /** Its place there. */
  readonly sourceGlobalSequence: number;
  /** Its kind there, which is its kind here. */
  readonly sourceKind: EventKind;
  /** BLAKE3 of its payload, which is the same here. */
  readonly sourceContentHash: Uint8Array;
  /** BLAKE3 of its header there: what a receipt of the source vouches for. */
  readonly sourceEventHash: Uint8Array;
  /** When it was appended there, in microseconds since 1970. */
  readonly sourceTimestampUs: number;
}

/** Why provenance cannot be read. */
export type ImportProvenanceFailure =
  /** A newer program wrote it: upgrade this one. */
  | "FutureVersion"
  /** The bytes are not what any program of ours writes. */
  | "Malformed";

/** The provenance of an event cannot be read; the event itself can. `reason` says what to do. */
export class ImportProvenanceError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "ImportProvenanceError";
  /** Stable, for programs. */
  override readonly code = "IMPORT_PROVENANCE";
  /** What is wrong. */
  readonly reason: ImportProvenanceFailure;
  /** The schema version of the bytes, when they say one. */
  readonly found: number | undefined;
  /** The newest schema version this program reads. */
  readonly supported: number = SCHEMA_VERSION;

  /**
   * Says what is wrong.
   *
   * @param reason what is wrong; `found` is the schema version of the bytes, when they say one.
   */
  constructor(reason: ImportProvenanceFailure, found?: number) {
    super(
      reason === "FutureVersion"
        ? `Cannot read the provenance of an imported event: it has schema version ${found}, ` +
          `and this program reads up to ${SCHEMA_VERSION}; upgrade it`
        : "Cannot read the provenance of an imported event: its bytes are damaged; " +
          'run "batpak verify"',
    );
    this.reason = reason;
    this.found = found;
  }
}

/**
 * Where an imported event comes from, read from the event or from its receipt; `undefined` when it was
 * appended and not imported.
 *
 * @throws {ImportProvenanceError} when it was written by a newer program, or is damaged.
 *
 * @example Follow an event back to the journal it comes from
 * ```ts
 * import { EventKind, importProvenance, MemoryFs, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * using till = Store.open("till-7", { fs: new MemoryFs() });
 * using office = Store.open("office", { fs: new MemoryFs() });
 * const sale = till.append({ entity: "sale:1", scope: "shop" }, EventKind.DATA, { cents: 450 });
 * office.importEvents(till, { namespace: "till-7" });
 *
 * const [imported] = office.query({ entity: "sale:1" });
 * assert.equal(importProvenance(imported)?.sourceEventId, sale.eventId);
 * assert.equal(importProvenance(sale), undefined);
 * ```
 */
export function importProvenance(
  from: { readonly extensions: Readonly<Record<string, Uint8Array>> },
): ImportProvenance | undefined {
  const bytes = from.extensions[PROVENANCE_KEY];
  return bytes === undefined ? undefined : decodeProvenance(bytes);
}

const MSGPACK_MAP9 = 0x89;
const MSGPACK_MAP_MASK = 0xf0;
const MSGPACK_MAP = 0x80;
const MSGPACK_STR = 0xa0;
const MSGPACK_BIN8 = 0xc4;
const MSGPACK_UINT16 = 0xcd;
const MSGPACK_UINT64 = 0xcf;
const MSGPACK_STR16 = 0xda;

/** Everything in front of the bytes of the namespace, its length zero. */
const HEAD = Uint8Array.of(
  MSGPACK_MAP9,
  ...key("schema_version"),
  MSGPACK_UINT16,
  0,
  SCHEMA_VERSION,
  ...key("source_namespace"),
  MSGPACK_STR16,
  0,
  0,
);
const VERSION_OFFSET = 1 + key("schema_version").length + 1;
const NAMESPACE_SIZE_OFFSET = HEAD.byteLength - 2;

/** The fields behind the namespace: marker bytes, then that many bytes of value. */
const FIELDS: readonly (readonly [name: string, marker: readonly number[], size: number])[] = [
  ["source_store_id", [MSGPACK_BIN8, ID_SIZE], ID_SIZE],
  ["source_event_id", [MSGPACK_BIN8, ID_SIZE], ID_SIZE],
  ["source_global_sequence", [MSGPACK_UINT64], 8],
  ["source_kind", [MSGPACK_UINT16], 2],
  ["source_content_hash", [MSGPACK_BIN8, HASH_SIZE], HASH_SIZE],
  ["source_event_hash", [MSGPACK_BIN8, HASH_SIZE], HASH_SIZE],
  ["source_timestamp_us", [MSGPACK_UINT64], 8],
];
/** Everything behind the namespace, its values zero; and whether a byte is part of a value. */
const TAIL: Uint8Array = Uint8Array.from(
  FIELDS.flatMap(([name, marker, size]) => [...key(name), ...marker, ...zeros(size)]),
);
const TAIL_IS_VALUE: readonly boolean[] = FIELDS.flatMap(([name, marker, size]) => [
  ...[...key(name), ...marker].map(() => false),
  ...zeros(size).map(() => true),
]);
// Where each value starts, from the end of the namespace.
const [STORE_ID, EVENT_ID, SEQUENCE, KIND, CONTENT_HASH, EVENT_HASH, TIMESTAMP] = valueOffsets();

/** Writes provenance, event after event, into one array. */
export class ProvenanceEncoder {
  readonly #bytes: Uint8Array;
  /** Where the fields behind the namespace start. */
  readonly #tail: number;
  readonly #hash: Uint8Array = new Uint8Array(HASH_SIZE);

  /** @param storeId sixteen bytes. */
  constructor(namespace: string, storeId: Uint8Array) {
    const size = utf8Size(namespace);
    this.#tail = HEAD.byteLength + size;
    this.#bytes = new Uint8Array(this.#tail + TAIL.byteLength);
    this.#bytes.set(HEAD);
    writeU16(this.#bytes, NAMESPACE_SIZE_OFFSET, size);
    writeUtf8(this.#bytes, HEAD.byteLength, namespace);
    this.#bytes.set(TAIL, this.#tail);
    this.#bytes.set(storeId, this.#tail + STORE_ID);
  }

  /** The provenance of the event with this frame body. Borrowed: the next call overwrites it. */
  encode(body: Uint8Array): Uint8Array {
    const bytes = this.#bytes;
    const at = this.#tail;
    for (let i = 0; i < ID_SIZE; i++) bytes[at + EVENT_ID + i] = body[EVENT_ID_OFFSET + i];
    writeU64(bytes, at + SEQUENCE, sequenceOf(body, 0));
    writeU16(bytes, at + KIND, kindOf(body, 0));
    blake3Into(body, 0, payloadStartOf(body, 0), this.#hash);
    for (let i = 0; i < HASH_SIZE; i++) {
      bytes[at + CONTENT_HASH + i] = body[CONTENT_HASH_OFFSET + i];
      bytes[at + EVENT_HASH + i] = this.#hash[i];
    }
    writeU64(bytes, at + TIMESTAMP, timestampOf(body, 0));
    return bytes;
  }
}

/** Reads what {@linkcode ProvenanceEncoder} writes, and nothing else. */
export function decodeProvenance(bytes: Uint8Array): ImportProvenance {
  const found = schemaVersionOf(bytes);
  if (found !== undefined && found > SCHEMA_VERSION) {
    throw new ImportProvenanceError("FutureVersion", found);
  }
  if (found === undefined || bytes.byteLength < HEAD.byteLength) throw malformed(found);
  const size = readU16(bytes, NAMESPACE_SIZE_OFFSET);
  const at = HEAD.byteLength + size;
  if (
    size === 0 || size > IMPORT_NAMESPACE_SIZE_MAX || bytes[0] !== MSGPACK_MAP9 ||
    bytes.byteLength !== at + TAIL.byteLength
  ) throw malformed(found);
  for (let i = 0; i < NAMESPACE_SIZE_OFFSET; i++) if (bytes[i] !== HEAD[i]) throw malformed(found);
  for (let i = 0; i < TAIL.byteLength; i++) {
    if (!TAIL_IS_VALUE[i] && bytes[at + i] !== TAIL[i]) throw malformed(found);
  }
  const sourceNamespace = readUtf8(bytes, HEAD.byteLength, size);
  const sourceGlobalSequence = readU64(bytes, at + SEQUENCE);
  const sourceTimestampUs = readU64(bytes, at + TIMESTAMP);
  if (
    sourceNamespace === undefined || !Number.isSafeInteger(sourceGlobalSequence) ||
    !Number.isSafeInteger(sourceTimestampUs)
  ) throw malformed(found);
  return {
    schemaVersion: found,
    sourceNamespace,
    sourceStoreId: formatId(bytes, at + STORE_ID),
    sourceEventId: formatId(bytes, at + EVENT_ID),
    sourceGlobalSequence,
    sourceKind: EventKind.fromRaw(readU16(bytes, at + KIND)),
    sourceContentHash: bytes.slice(at + CONTENT_HASH, at + CONTENT_HASH + HASH_SIZE),
    sourceEventHash: bytes.slice(at + EVENT_HASH, at + EVENT_HASH + HASH_SIZE),
    sourceTimestampUs,
  };
}

function malformed(found: number | undefined): ImportProvenanceError {
  return new ImportProvenanceError("Malformed", found);
}

/** The schema version, which every later version keeps in front of all else. */
function schemaVersionOf(bytes: Uint8Array): number | undefined {
  if (bytes.byteLength < VERSION_OFFSET + 2) return undefined;
  if ((bytes[0] & MSGPACK_MAP_MASK) !== MSGPACK_MAP) return undefined;
  for (let i = 1; i < VERSION_OFFSET; i++) if (bytes[i] !== HEAD[i]) return undefined;
  return readU16(bytes, VERSION_OFFSET);
}

function valueOffsets(): readonly number[] {
  let at = 0;
  return FIELDS.map(([name, marker, size]) => {
    const start = at + key(name).length + marker.length;
    at = start + size;
    return start;
  });
}

/** A key as MessagePack: all of them are ASCII and shorter than 32. */
function key(name: string): number[] {
  return [MSGPACK_STR | name.length, ...Array.from(name, (char) => char.charCodeAt(0))];
}

function zeros(count: number): number[] {
  return new Array<number>(count).fill(0);
}
