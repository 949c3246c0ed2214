/**
 * Backups: a journal's files beside a manifest that says what they are.
 *
 * ```
 * manifest.json   store.meta   [journal.base]   segments/000001.fbat   segments/000002.fbat   …
 * ```
 *
 * A backup is no journal: `store.meta` without a segment beside it is refused by every open, so nobody
 * writes to it by mistake. It is a backup once it has its manifest, which comes last.
 *
 * {@linkcode restoreBackup} makes it a journal again. Every byte is hashed on its way, and files get
 * their names in the order of a copy, the oldest segment last, so a restore that fails leaves nothing
 * that opens.
 *
 * @module
 */

import { type FileKind, IoFault, type StoreFs } from "../../platform/fs.ts";
import { runtime } from "../../platform/runtime.ts";
import { assertKnownKeys } from "../assert.ts";
import {
  auditManifest,
  type BackupBody,
  type BackupFile,
  type BackupFinding,
  type BackupFindingType,
  encodeManifest,
  MANIFEST_NAME,
  MANIFEST_SIZE_MAX,
  type ManifestAudit,
  SEGMENTS_NAME,
  sortFindings,
} from "./backup_manifest.ts";
import { CopyTarget } from "./copy_target.ts";
import { BackupError, CopyTargetError, InvalidClockError } from "../errors.ts";
import { BASE_RECORD_NAME } from "../compaction/base_record.ts";
import { evidenceHash } from "../evidence.ts";
import { blake3, Blake3Stream, bytesEqual, toHex } from "../hash.ts";
import { parseId } from "../ids.ts";
import { withIo } from "../io.ts";
import {
  attemptCopy,
  Copier,
  type CopyProgress,
  type CopySource,
  readWhole,
  type SnapshotOptions,
} from "./journal_copy.ts";
import { decodeSegmentHeader, SEGMENT_HEADER_SIZE_MAX } from "../segment_header.ts";
import { segmentIdOf } from "../segment_log.ts";
import { decodeStoreMeta, STORE_META_NAME } from "../store_meta.ts";

export type { BackupFile, BackupFinding, BackupFindingType } from "./backup_manifest.ts";

/** The version of the body of a {@linkcode RestoreReport}. */
const PROOF_VERSION = 1;
/** As many findings as a report lists. */
const FINDING_COUNT_MAX = 1000;

/** Options of a backup: those of a snapshot. */
export type BackupOptions = SnapshotOptions;

/** What a backup consists of. */
export interface BackupReport extends Omit<BackupBody, "schemaVersion"> {
  /** What was made. */
  readonly kind: "backup";
  /** The directory of the backup, absolute. */
  readonly target: string;
  /** Bytes of all files but the manifest. */
  readonly bytes: number;
  /** BLAKE3 of the manifest's bytes, in hex. */
  readonly manifestHash: string;
  /** Evidence hash of the manifest's body, which is what a signature covers. */
  readonly bodyHash: string;
  /** Whether it is signed. */
  readonly signed: boolean;
  /** Microseconds it took. */
  readonly elapsedUs: number;
}

/** Options of {@linkcode verifyBackup}. */
export interface VerifyBackupOptions {
  /** Files. Default: those of the runtime. */
  readonly fs?: StoreFs;
  /** Public keys of 32 bytes. When there are any, one of them has to have signed the backup. */
  readonly verifyingKeys?: readonly Uint8Array[];
  /** Called after each block of at most 1 MiB. */
  readonly onProgress?: (progress: CopyProgress) => void;
}

/** Options of {@linkcode restoreBackup}. */
export interface RestoreOptions extends VerifyBackupOptions {
  /** Reads and checks everything, the target too, and writes nothing. Default `false`. */
  readonly dryRun?: boolean;
}

/** What {@linkcode verifyBackup} found. */
export interface BackupVerification {
  /** Whether there is no finding. */
  readonly intact: boolean;
  /** BLAKE3 of the manifest's bytes, in hex; `undefined` when they could not be read. */
  readonly manifestHash: string | undefined;
  /** What the manifest says; `undefined` when that is not known. */
  readonly manifest: BackupBody | undefined;
  /** `"unchecked"` when it is signed and no key was given. */
  readonly signature: "unsigned" | "unchecked" | "signed" | "invalid";
  /** The files that were read, with their sizes and digests, by name. */
  readonly files: readonly BackupFile[];
  /** Bytes of those. */
  readonly bytes: number;
  /** Sorted by type, in the order of {@linkcode BackupFindingType}, then by file. Ends after 1,000. */
  readonly findings: readonly BackupFinding[];
  /** How many findings there were. */
  readonly findingCount: number;
}

/** The proof that a journal is what a backup says: every byte was hashed on its way. */
export interface RestoreReport {
  /** What was made. */
  readonly kind: "restore";
  /** BLAKE3 of the manifest's bytes, in hex. */
  readonly manifestHash: string;
  /** Which backup. */
  readonly backupId: string;
  /** Which journal. */
  readonly storeId: string;
  /** Whether the manifest's signature was checked. */
  readonly signature: "unsigned" | "unchecked" | "signed";
  /** Events in it. */
  readonly events: number;
  /** The sequence the next event will have. */
  readonly nextSequence: number;
  /** The files as they were read, by name. */
  readonly files: readonly BackupFile[];
  /** Bytes of those. */
  readonly bytes: number;
  /** Always empty: with a finding there is no proof. */
  readonly findings: readonly BackupFinding[];
  /** The directory of the journal, absolute. */
  readonly target: string;
  /** BLAKE3 in hex over everything here but `target`. */
  readonly bodyHash: string;
}

/** Makes a backup of what the source shows; see {@linkcode JournalReader.backup}. */
export function backupJournal(
  source: CopySource,
  path: string,
  options: BackupOptions,
): BackupReport {
  assertKnownKeys("back up", options, BACKUP_OPTIONS);
  const { clock } = source;
  const { verify = true, onProgress } = options;
  const startedUs = clock.monotonicUs();
  const createdUs = Math.floor(clock.nowUs());
  if (!(createdUs >= 0 && createdUs <= Number.MAX_SAFE_INTEGER)) {
    throw new InvalidClockError(createdUs);
  }
  return attemptCopy(source, path, (survey, target) => {
    const copier = new Copier(source, survey, { verify, onProgress });
    const signer = source.signingKeys.at(-1);
    const files: BackupFile[] = [];
    const { storeId, events, nextSequence, lastEventHash, bytes } = survey;
    const manifest = target.fill(() => {
      const add = (name: string, read: (sink: (bytes: Uint8Array) => void) => void): void => {
        target.publish(name, (staged) => {
          const hash = new Blake3Stream();
          let size = 0;
          read((bytes) => {
            hash.update(bytes);
            size += bytes.byteLength;
            staged.append(bytes);
          });
          files.push({ name, size, digest: toHex(hash.digest()) });
        });
      };
      copier.begin();
      add(STORE_META_NAME, (sink) => copier.meta(sink));
      if (survey.base !== undefined) add(BASE_RECORD_NAME, (sink) => copier.base(sink));
      target.makeDir(SEGMENTS_NAME);
      for (const segment of survey.segments.toReversed()) {
        add(`${SEGMENTS_NAME}/${segment.name}`, (sink) => copier.segment(segment, sink));
      }
      files.sort(byName);
      const made = encodeManifest(
        { storeId, createdUs, events, nextSequence, lastEventHash, files },
        signer,
      );
      if (made.bytes.byteLength > MANIFEST_SIZE_MAX) {
        throw new BackupError("back up to", path, [{
          type: "Manifest",
          file: MANIFEST_NAME,
          reason: `it would have ${made.bytes.byteLength} bytes, and at most ` +
            `${MANIFEST_SIZE_MAX} are read: the journal has too many segments`,
        }]);
      }
      target.publish(MANIFEST_NAME, (staged) => staged.append(made.bytes));
      return made;
    });
    const { schemaVersion: _, ...facts } = manifest.body;
    return {
      kind: "backup",
      ...facts,
      target: target.dir,
      bytes,
      manifestHash: toHex(blake3(manifest.bytes)),
      bodyHash: manifest.bodyHash,
      signed: signer !== undefined,
      elapsedUs: Math.round(clock.monotonicUs() - startedUs),
    };
  });
}

/**
 * Checks a backup against its manifest: every file, its size and the BLAKE3 of its bytes, that nothing is
 * missing and nothing was added, and the signature when there are keys. Changes nothing, and reports
 * whatever it finds, also that there is no backup.
 *
 * Without keys, somebody who can write to the backup can replace it by another one that is sound in
 * itself. Sign backups, or keep `manifestHash` elsewhere.
 *
 * @throws {TypeError} when an option is wrong.
 *
 * @example Verify a backup
 * ```ts
 * import { EventKind, MemoryFs, Store, verifyBackup } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const fs = new MemoryFs();
 * using store = Store.open("journal", { fs });
 * store.append({ entity: "user:1", scope: "app" }, EventKind.DATA, "hello");
 * const { manifestHash } = store.backup("backup");
 *
 * const verification = verifyBackup("backup", { fs });
 * assert.equal(verification.intact, true);
 * assert.equal(verification.manifestHash, manifestHash);
 * ```
 */
export function verifyBackup(dir: string, options: VerifyBackupOptions = {}): BackupVerification {
  assertKnownKeys("verify a backup", options, VERIFY_OPTIONS);
  assertBackupDir(dir);
  const reader = new BackupReader(dir, options);
  reader.look();
  if (reader.manifest !== undefined) {
    for (const file of reader.manifest.files) {
      if (reader.isThere(file.name)) reader.read(file, () => {});
    }
  }
  return reader.verification();
}

/** Where a journal is restored to. */
function targetOf(fs: StoreFs, target: string, source: string): CopyTarget {
  try {
    return CopyTarget.check(fs, target, source);
  } catch (error) {
    if (!(error instanceof CopyTargetError)) throw error;
    throw new CopyTargetError(error.reason, error.path, "restore");
  }
}

/**
 * Makes a journal in `target` from the backup in `source`. `target` must not exist, or be an empty
 * directory.
 *
 * Every byte is hashed on its way, and nothing is left of a restore that fails. What comes back is the
 * proof: which manifest, which files, and their digests as they were read.
 *
 * @throws {BackupError} when the backup has a finding; {@linkcode verifyBackup} lists all of them.
 * @throws {CopyTargetError} when the journal cannot go there; nothing was written.
 * @throws {StoreIoError} when the system refuses a file operation.
 * @throws {TypeError} when an option is wrong.
 *
 * @example Restore a journal
 * ```ts
 * import { EventKind, MemoryFs, restoreBackup, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const fs = new MemoryFs();
 * {
 *   using store = Store.open("journal", { fs });
 *   store.append({ entity: "user:1", scope: "app" }, EventKind.DATA, "hello");
 *   store.backup("backup");
 * }
 * const { findings } = restoreBackup("backup", "restored", { fs });
 *
 * assert.deepEqual(findings, []);
 * using restored = Store.open("restored", { fs });
 * assert.equal(restored.query({ entity: "user:1" })[0].payload, "hello");
 * ```
 */
export function restoreBackup(
  source: string,
  target: string,
  options: RestoreOptions = {},
): RestoreReport {
  assertKnownKeys("restore", options, RESTORE_OPTIONS);
  assertBackupDir(source);
  const { fs = runtime.fs, dryRun = false } = options;
  return withIo(`restore "${source}" to "${target}"`, () => {
    const reader = new BackupReader(source, options);
    reader.look();
    reader.refuseFindings();
    const to = targetOf(fs, target, fs.canonicalize(source));
    const manifest = reader.manifest!;
    // The order of a copy: store.meta, the base record, then the newest segment to the oldest.
    const small = manifest.files.filter(({ name }) => !name.startsWith(SEGMENTS_NAME));
    const segments = manifest.files.filter(({ name }) => name.startsWith(SEGMENTS_NAME));
    const order = [
      ...small.sort((a, b) => rankOf(a.name) - rankOf(b.name)),
      ...segments.sort((a, b) => idOf(b.name) - idOf(a.name)),
    ];
    const read = (file: BackupFile, sink: (bytes: Uint8Array) => void): void => {
      reader.read(file, sink);
      reader.refuseFindings();
    };
    if (dryRun) { for (const file of order) read(file, () => {}); }
    else {
      to.fill(() => {
        for (const file of order) {
          const name = file.name.slice(file.name.lastIndexOf("/") + 1);
          to.publish(name, (staged) => read(file, (bytes) => staged.append(bytes)));
        }
      });
    }
    const { files, bytes, manifestHash, signature } = reader.verification();
    const { backupId, storeId, events, nextSequence } = manifest;
    const body = {
      kind: "restore",
      manifestHash: manifestHash!,
      backupId,
      storeId,
      signature: signature as RestoreReport["signature"],
      events,
      nextSequence,
      files,
      bytes,
      findings: [],
    } as const;
    const bodyHash = evidenceHash({ schemaVersion: PROOF_VERSION, ...body });
    return { ...body, target: to.dir, bodyHash };
  });
}

/** Reads a backup, and gathers what is wrong with it. */
class BackupReader {
  /** What the manifest says, when that is known. */
  manifest: BackupBody | undefined;

  readonly #fs: StoreFs;
  readonly #dir: string;
  readonly #options: VerifyBackupOptions;
  readonly #findings: BackupFinding[] = [];
  /** Names that are there, as the manifest writes them. */
  readonly #there = new Map<string, FileKind>();
  readonly #files: BackupFile[] = [];
  #manifestHash: string | undefined;
  #signature: ManifestAudit["signature"] = "unsigned";
  #bytes = 0;
  #totalBytes = 0;
  #handingOn = false;

  constructor(dir: string, options: VerifyBackupOptions) {
    this.#fs = options.fs ?? runtime.fs;
    this.#dir = dir;
    this.#options = options;
    for (const key of options.verifyingKeys ?? []) {
      if (key instanceof Uint8Array && key.byteLength === 32) continue;
      throw new TypeError("Cannot verify a backup: a public key is a Uint8Array of 32 bytes");
    }
  }

  /** Reads the manifest, and compares it with what is there. */
  look(): void {
    const bytes = this.#reading(
      MANIFEST_NAME,
      "Manifest",
      () => this.#fs.readFile(`${this.#dir}/${MANIFEST_NAME}`, MANIFEST_SIZE_MAX),
      "this is no backup: ",
    );
    if (bytes === undefined) return;
    this.#manifestHash = toHex(blake3(bytes));
    const audit = auditManifest(bytes, this.#options.verifyingKeys ?? []);
    this.#findings.push(...audit.findings);
    this.#signature = audit.signature;
    this.manifest = audit.body;
    if (audit.body === undefined) return;
    if (!this.#list()) return;
    const { files } = audit.body;
    const named = new Set(files.map(({ name }) => name));
    for (const name of named) {
      if (!this.#there.has(name)) this.#report("MissingFile", name, "it is not there");
    }
    for (const name of this.#there.keys()) {
      if (name !== MANIFEST_NAME && !named.has(name)) {
        this.#report("UnexpectedFile", name, "the manifest does not name it");
      }
    }
    for (const { size } of files) this.#totalBytes += size;
  }

  /** Whether a file that the manifest names is there. */
  isThere(name: string): boolean {
    return this.#there.has(name);
  }

  /** Reads a file that the manifest names, hands on its bytes, and compares them with it. */
  read(file: BackupFile, sink: (bytes: Uint8Array) => void): void {
    const { name } = file;
    const path = `${this.#dir}/${name}`;
    const hash = new Blake3Stream();
    let head: Uint8Array | undefined;
    let count = 0;
    const size = this.#reading(name, "UnreadableFile", () => {
      // Opening a pipe would wait for somebody to write to it.
      if (this.#there.get(name) !== "file") return undefined;
      const info = this.#fs.stat(path);
      if (info?.size !== file.size) return info?.size ?? 0;
      return readWhole(this.#fs, path, (bytes) => {
        head ??= bytes.slice(0, SEGMENT_HEADER_SIZE_MAX);
        count += bytes.byteLength;
        hash.update(bytes);
        // What fails there is no fault of the backup.
        this.#handingOn = true;
        sink(bytes);
        this.#handingOn = false;
        this.#bytes += bytes.byteLength;
        this.#options.onProgress?.({ bytes: this.#bytes, totalBytes: this.#totalBytes });
      });
    });
    if (size === undefined) {
      if (this.#there.get(name) !== "file") {
        this.#report("UnreadableFile", name, "it is not a regular file");
      }
      return;
    }
    if (size !== file.size) {
      this.#report("SizeMismatch", name, `it has ${size} bytes, and should have ${file.size}`, {
        expected: file.size,
        observed: size,
      });
      return;
    }
    const digest = toHex(hash.digest());
    this.#files.push({ name, size: count, digest });
    if (digest !== file.digest) {
      this.#report("DigestMismatch", name, "its bytes are not those that were backed up", {
        expected: file.digest,
        observed: digest,
      });
      return;
    }
    const reason = this.#foreign(name, head ?? new Uint8Array(0));
    if (reason !== undefined) this.#report("ForeignFile", name, reason);
  }

  /** Throws what has been found. */
  refuseFindings(): void {
    if (this.#findings.length === 0) return;
    const findings = sortFindings(this.#findings).slice(0, FINDING_COUNT_MAX);
    throw new BackupError("restore", this.#dir, findings);
  }

  /** Everything found so far. */
  verification(): BackupVerification {
    return {
      intact: this.#findings.length === 0,
      manifestHash: this.#manifestHash,
      manifest: this.manifest,
      signature: this.#signature,
      files: this.#files.toSorted(byName),
      bytes: this.#bytes,
      findings: sortFindings(this.#findings).slice(0, FINDING_COUNT_MAX),
      findingCount: this.#findings.length,
    };
  }

  /** Takes down what is there; says whether that could be found out. */
  #list(): boolean {
    return this.#reading(".", "UnreadableFile", () => {
      for (const { name, kind } of this.#fs.list(this.#dir)) {
        if (name !== SEGMENTS_NAME || kind !== "dir") this.#there.set(name, kind);
      }
      // Without it every segment is missing, and each of them is a finding.
      if (this.#fs.stat(`${this.#dir}/${SEGMENTS_NAME}`)?.kind === "dir") {
        for (const { name, kind } of this.#fs.list(`${this.#dir}/${SEGMENTS_NAME}`)) {
          this.#there.set(`${SEGMENTS_NAME}/${name}`, kind);
        }
      }
      return true;
    }) ?? false;
  }

  /** Why a file that has its digest is not of this journal: then the manifest was made for another. */
  #foreign(name: string, head: Uint8Array): string | undefined {
    const storeId = parseId(this.manifest!.storeId);
    if (name === STORE_META_NAME) {
      const decoded = decodeStoreMeta(head);
      if (decoded.type === "corrupt") return decoded.reason;
      if (decoded.type === "future") return "a newer program wrote it";
      return bytesEqual(decoded.meta.storeId, storeId) ? undefined : "it is of another journal";
    }
    if (!name.startsWith(SEGMENTS_NAME)) return undefined;
    const decoded = decodeSegmentHeader(head);
    if (decoded.type === "corrupt") return decoded.reason;
    if (decoded.type === "future") return "a newer program wrote it";
    if (decoded.type === "cut") return "its header is cut short";
    const { header } = decoded;
    if (!bytesEqual(header.storeId, storeId)) return "it is of another journal";
    return header.segmentId === idOf(name) ? undefined : `it is segment ${header.segmentId}`;
  }

  /** Runs `action`; what the system refuses is a finding. */
  /** @param ifMissing what it means when there is no such file. */
  #reading<T>(
    file: string,
    type: BackupFindingType,
    action: () => T,
    ifMissing = "",
  ): T | undefined {
    try {
      return action();
    } catch (error) {
      if (this.#handingOn || !(error instanceof IoFault)) throw error;
      this.#report(type, file, (error.code === "ENOENT" ? ifMissing : "") + error.message);
      return undefined;
    }
  }

  #report(
    type: BackupFindingType,
    file: string,
    reason: string,
    about: Partial<BackupFinding> = {},
  ): void {
    this.#findings.push({ type, file, reason, ...about });
  }
}

function assertBackupDir(dir: string): void {
  if (typeof dir === "string" && dir !== "") return;
  throw new TypeError("Cannot read a backup: the directory is not a path");
}

function byName(a: BackupFile, b: BackupFile): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

function rankOf(name: string): number {
  return name === STORE_META_NAME ? 0 : 1;
}

/** The segment id in a name that the manifest may have. */
function idOf(name: string): number {
  return segmentIdOf(name.slice(SEGMENTS_NAME.length + 1)) ?? 0;
}

const BACKUP_OPTIONS: ReadonlySet<string> = new Set(["verify", "onProgress"]);
const VERIFY_OPTIONS: ReadonlySet<string> = new Set(["fs", "verifyingKeys", "onProgress"]);
const RESTORE_OPTIONS: ReadonlySet<string> = new Set([...VERIFY_OPTIONS, "dryRun"]);
