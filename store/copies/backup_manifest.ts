/**
 * `manifest.json`: what a backup consists of, and what makes it one.
 *
 * ```json
 * { "body": { … }, "bodyHash": "…", "keyId": null, "signature": null }
 * ```
 *
 * The body names the journal, how far it goes, and every file with its size and the BLAKE3 of its bytes;
 * its keys are those of {@linkcode BackupBody}. `backupId` is the evidence hash of the rest of the body,
 * `bodyHash` that of all of it, so neither depends on how the JSON is written. A signature is Ed25519 over
 * 33 bytes: `04`, which no receipt begins with, and the body hash.
 *
 * Reading believes nothing: at most 16 MiB, every field of the type it has to have, no field that is not
 * known, and names only of files that a journal consists of, so that no name leads out of the backup.
 *
 * @module
 */

import { ed25519Verify } from "../../platform/ed25519.ts";
import { evidenceHash } from "../evidence.ts";
import { blake3, bytesEqual, fromHex, HASH_SIZE, toHex } from "../hash.ts";
import { EventId } from "../ids.ts";
import { BASE_RECORD_NAME } from "../compaction/base_record.ts";
import type { SigningKey } from "../receipt.ts";
import { segmentIdOf } from "../segment_log.ts";
import { STORE_META_NAME } from "../store_meta.ts";

/** The name of the file. */
export const MANIFEST_NAME = "manifest.json";
/** The directory in a backup that has the segments: beside `store.meta` they would be a journal. */
export const SEGMENTS_NAME = "segments";
/** The most bytes a manifest may have: room for some 100,000 files. */
export const MANIFEST_SIZE_MAX: number = 16 << 20;
const SCHEMA_VERSION = 1;
/** The first byte of what is signed; receipts have 02. */
const COVER_PREFIX = 4;

/** A file of a backup. */
export interface BackupFile {
  /** Relative to the backup: `store.meta`, `journal.base` or `segments/NNNNNN.fbat`. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** BLAKE3 of its bytes, in hex. */
  readonly digest: string;
}

/** What a manifest says. */
export interface BackupBody {
  /** 1. */
  readonly schemaVersion: number;
  /** Evidence hash of everything else here. */
  readonly backupId: string;
  /** Which journal. */
  readonly storeId: string;
  /** When it was made, in microseconds since 1970. */
  readonly createdUs: number;
  /** Events in it. */
  readonly events: number;
  /** The sequence the next event would have. */
  readonly nextSequence: number;
  /** Event hash of the newest event, in hex; `null` when there is none. */
  readonly lastEventHash: string | null;
  /** Every file but the manifest, by name. */
  readonly files: readonly BackupFile[];
}

/** Which promise of a backup a finding is about, in the order of the list. */
export type BackupFindingType =
  /** There is no manifest, or it cannot be read for what it is. */
  | "Manifest"
  /** A newer program made it; nothing else was looked at. */
  | "UnsupportedSchemaVersion"
  /** It names a file that no journal consists of. */
  | "ForbiddenFile"
  /** It names a file twice. */
  | "DuplicateFile"
  /** It lacks a file without which there is no journal. */
  | "IncompleteManifest"
  /** Its hash, or its id, is not that of what it says. */
  | "BodyHashMismatch"
  /** There are keys to verify it with, and it is not signed. */
  | "UnsignedManifest"
  /** None of the keys is the one that signed it. */
  | "UnknownSigningKey"
  /** The signature is not of that key over this body. */
  | "InvalidSignature"
  /** A file it names is not there. */
  | "MissingFile"
  /** There is something it does not name. */
  | "UnexpectedFile"
  /** A file cannot be read. */
  | "UnreadableFile"
  /** A file has another size. */
  | "SizeMismatch"
  /** A file has other bytes. */
  | "DigestMismatch"
  /** A file has the bytes it names, and they are of another journal, or of none. */
  | "ForeignFile";

/** Something about a backup that is not as it should be. */
export interface BackupFinding {
  /** Which promise it breaks. */
  readonly type: BackupFindingType;
  /** The file, relative to the backup. */
  readonly file: string;
  /** What is wrong with it. */
  readonly reason: string;
  /** What it should be, where that is one value. */
  readonly expected?: string | number;
  /** What it is. */
  readonly observed?: string | number;
}

const FINDING_TYPES: readonly BackupFindingType[] = [
  "Manifest",
  "UnsupportedSchemaVersion",
  "ForbiddenFile",
  "DuplicateFile",
  "IncompleteManifest",
  "BodyHashMismatch",
  "UnsignedManifest",
  "UnknownSigningKey",
  "InvalidSignature",
  "MissingFile",
  "UnexpectedFile",
  "UnreadableFile",
  "SizeMismatch",
  "DigestMismatch",
  "ForeignFile",
];

/** Findings by type in the order of the list, then by file, then by reason. */
export function sortFindings(findings: readonly BackupFinding[]): BackupFinding[] {
  const orderOf = ({ type }: BackupFinding) => FINDING_TYPES.indexOf(type);
  return findings.toSorted((a, b) =>
    orderOf(a) - orderOf(b) || compare(a.file, b.file) || compare(a.reason, b.reason)
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** A manifest as it is written: JSON with sorted keys and without blanks, one line. */
export function encodeManifest(
  facts: Omit<BackupBody, "schemaVersion" | "backupId">,
  signer: SigningKey | undefined,
): { readonly body: BackupBody; readonly bodyHash: string; readonly bytes: Uint8Array } {
  const rest = { schemaVersion: SCHEMA_VERSION, ...facts };
  const body: BackupBody = { ...rest, backupId: evidenceHash(rest) };
  const bodyHash = evidenceHash(body);
  const envelope = {
    body,
    bodyHash,
    keyId: signer === undefined ? null : toHex(signer.keyId),
    signature: signer === undefined ? null : toHex(signer.sign(coverOf(bodyHash))),
  };
  const bytes = new TextEncoder().encode(`${canonicalJson(envelope)}\n`);
  return { body, bodyHash, bytes };
}

/** What reading a manifest gives. */
export interface ManifestAudit {
  /** What it says; `undefined` when that is not known. */
  readonly body: BackupBody | undefined;
  /** `"unchecked"` when it is signed and there was no key to check it with. */
  readonly signature: "unsigned" | "unchecked" | "signed" | "invalid";
  /** What is wrong with it. */
  readonly findings: readonly BackupFinding[];
}

/** Reads a manifest and holds it to itself. Never throws for what it finds. */
export function auditManifest(bytes: Uint8Array, keys: readonly Uint8Array[]): ManifestAudit {
  const findings: BackupFinding[] = [];
  let signature: ManifestAudit["signature"] = "unsigned";
  const report = (
    type: BackupFindingType,
    reason: string,
    about: Partial<BackupFinding> = {},
  ): void => void findings.push({ type, file: MANIFEST_NAME, reason, ...about });
  const end = (body?: BackupBody): ManifestAudit => ({ body, signature, findings });

  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    report("Manifest", "it is not JSON");
    return end();
  }
  if (!isRecord(parsed) || !isRecord(parsed.body)) {
    report("Manifest", "it is not an object with a body");
    return end();
  }
  const { body } = parsed;
  const { schemaVersion } = body;
  if (schemaVersion !== SCHEMA_VERSION) {
    if (typeof schemaVersion !== "number") report("Manifest", "it has no schema version");
    else {
      report(
        "UnsupportedSchemaVersion",
        `it has schema version ${schemaVersion}, and this program reads ${SCHEMA_VERSION}`,
        { expected: SCHEMA_VERSION, observed: schemaVersion },
      );
    }
    return end();
  }
  const problem = problemOf(parsed, ENVELOPE_FIELDS) ?? problemOf(body, BODY_FIELDS) ??
    firstOf(body.files as unknown[], (file, i) => {
      const reason = isRecord(file) ? problemOf(file, FILE_FIELDS) : "it is not an object";
      return reason === undefined ? undefined : `file ${i}: ${reason}`;
    });
  if (problem !== undefined) {
    report("Manifest", problem);
    return end();
  }
  const manifest = body as unknown as BackupBody;
  const names = new Set<string>();
  for (const { name } of manifest.files) {
    if (!isBackupName(name)) {
      report("ForbiddenFile", `it names ${JSON.stringify(abridged(name))}, which is no journal's`);
    } else if (names.has(name)) {
      report("DuplicateFile", "the manifest names it twice", { file: name });
    }
    names.add(name);
  }
  for (
    const [what, isThere] of [
      [STORE_META_NAME, names.has(STORE_META_NAME)],
      ["a segment", [...names].some((name) => name.startsWith(`${SEGMENTS_NAME}/`))],
    ] as const
  ) {
    if (!isThere) report("IncompleteManifest", `it does not name ${what}`);
  }
  const { backupId, ...rest } = manifest;
  for (
    const [what, claimed, computed] of [
      ["id", backupId, evidenceHash(rest)],
      ["body hash", parsed.bodyHash as string, evidenceHash(manifest)],
    ] as const
  ) {
    if (claimed === computed) continue;
    const about = { expected: computed, observed: claimed };
    report("BodyHashMismatch", `its ${what} is not that of what it says`, about);
  }
  signature = verifyManifest(parsed as unknown as Envelope, keys, report);
  return end(manifest);
}

interface Envelope {
  readonly bodyHash: string;
  readonly keyId: string | null;
  readonly signature: string | null;
}

function verifyManifest(
  { bodyHash, keyId, signature }: Envelope,
  keys: readonly Uint8Array[],
  report: (type: BackupFindingType, reason: string) => void,
): ManifestAudit["signature"] {
  if (keyId === null && signature === null) {
    if (keys.length > 0) report("UnsignedManifest", "it is not signed");
    return "unsigned";
  }
  if (keys.length === 0) return "unchecked";
  const id = fromHex(keyId ?? "");
  const key = keys.find((key) => id !== undefined && bytesEqual(blake3(key), id));
  if (key === undefined) report("UnknownSigningKey", "none of the keys is the one that signed it");
  else if (!ed25519Verify(key, coverOf(bodyHash), fromHex(signature ?? "") ?? new Uint8Array(0))) {
    report("InvalidSignature", "the signature is not of that key over this body");
  } else return "signed";
  return "invalid";
}

/** The bytes that are signed. */
function coverOf(bodyHash: string): Uint8Array {
  const cover = new Uint8Array(1 + HASH_SIZE);
  cover[0] = COVER_PREFIX;
  cover.set(fromHex(bodyHash) ?? [], 1);
  return cover;
}

/** Whether a backup may hold a file of this name. */
function isBackupName(name: string): boolean {
  if (name === STORE_META_NAME || name === BASE_RECORD_NAME) return true;
  const prefix = `${SEGMENTS_NAME}/`;
  return name.startsWith(prefix) && segmentIdOf(name.slice(prefix.length)) !== undefined;
}

type Fields = Readonly<Record<string, (value: unknown) => boolean>>;

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isHash = (value: unknown): boolean => isHexOf(value, HASH_SIZE);
const isHashOrNull = (value: unknown): boolean => value === null || isHash(value);
const isString = (value: unknown): boolean => typeof value === "string" && value.isWellFormed();

const ENVELOPE_FIELDS: Fields = {
  body: isRecord,
  bodyHash: isHash,
  keyId: isHashOrNull,
  signature: (value) => value === null || isHexOf(value, 64),
};
const BODY_FIELDS: Fields = {
  backupId: isHash,
  createdUs: isCount,
  events: isCount,
  files: Array.isArray,
  lastEventHash: isHashOrNull,
  nextSequence: isCount,
  schemaVersion: isCount,
  storeId: (value) => EventId.is(value),
};
const FILE_FIELDS: Fields = { digest: isHash, name: isString, size: isCount };

/** What is wrong with the fields of an object, if anything. */
function problemOf(record: Record<string, unknown>, fields: Fields): string | undefined {
  for (const name of Object.keys(record)) {
    if (!Object.hasOwn(fields, name)) return `it has a field ${JSON.stringify(abridged(name))}`;
  }
  for (const [name, isRight] of Object.entries(fields)) {
    if (!Object.hasOwn(record, name)) return `it has no field "${name}"`;
    if (!isRight(record[name])) return `its field "${name}" is not what it should be`;
  }
  return undefined;
}

function firstOf<T, R>(
  items: readonly T[],
  find: (item: T, index: number) => R | undefined,
): R | undefined {
  for (let i = 0; i < items.length; i++) {
    const found = find(items[i], i);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isHexOf(value: unknown, size: number): boolean {
  return typeof value === "string" && value.length === 2 * size && /^[0-9a-f]*$/.test(value);
}

function abridged(text: string): string {
  return text.length <= 64 ? text : `${text.slice(0, 63)}…`;
}

/** JSON without blanks, the keys of every object in order. */
function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, item) => {
    if (!isRecord(item)) return item;
    return Object.fromEntries(Object.entries(item).sort(([a], [b]) => compare(a, b)));
  });
}
