/**
 * Checkpoints: where a consumer got to, in a file.
 *
 * `cursors/<id>.ckpt` in the directory of the journal is one MessagePack map. Readers of it go by the
 * names, and tolerate others and what stands behind the map.
 *
 * | Key               | Type            | Notes                                                       |
 * | ----------------- | --------------- | ----------------------------------------------------------- |
 * | `position`        | uint            | sequence of the last event that was handled                 |
 * | `started`         | bool            | whether any was; without, the position is 0                 |
 * | `process_boot_ns` | uint or nil     | kept as it is; nil is written, and may be missing           |
 * | `region_identity` | string or nil   | `Region.identity()`; may be missing                         |
 * | `event_id`        | bin(16) or nil  | the id of the event at `position`; may be missing           |
 * | `checksum`        | uint32          | CRC-32 of every byte in front of this number; may be missing |
 *
 * Written last, the checksum is what tells a flipped bit from a position: without it a consumer that had
 * handled nothing could be made to skip the first event. Older files have none.
 *
 * A checkpoint is replaced as a whole, so a crash leaves the old one or the new one. `<id>.lock` beside it
 * is locked by whoever works under the id, and stays when they go.
 *
 * @module
 */

import { Decoder, Encoder } from "@msgpack/msgpack";
import { crc32 } from "../platform/checksum.ts";
import { type FileLock, IoFault, type StoreFs } from "../platform/fs.ts";
import { runtime } from "../platform/runtime.ts";
import { isStagedName } from "../platform/staged_file.ts";
import { readU32, writeU32 } from "../store/bytes.ts";
import { StoreError, StoreIoError } from "../store/errors.ts";
import { type EventId, formatId, ID_SIZE, parseId } from "../store/ids.ts";
import { withIo } from "../store/io.ts";
import { CheckpointId } from "./checkpoint_id.ts";

/** The directory in that of the journal. */
export const CURSORS_NAME = "cursors";
const CHECKPOINT_SUFFIX = ".ckpt";
const LOCK_SUFFIX = ".lock";
/** No region's identity comes near: 32 tags of 256 bytes, percent-encoded, and two names of 1,024. */
const CHECKPOINT_SIZE_MAX = 64 * 1024;

/** Where a consumer got to. */
export interface Checkpoint {
  /** The sequence of the last event that was handled; 0 when none was. */
  readonly position: number;
  /** Whether any event was handled. */
  readonly started: boolean;
  /** Reserved: kept as it is, and written as `null`. */
  readonly processBootNs: number | bigint | null;
  /** The identity of the region that was followed, or `null` in an old file. */
  readonly regionIdentity: string | null;
  /** The event at `position`, or `null` when it is not known. */
  readonly eventId: EventId | null;
}

/** What {@linkcode saveCheckpoint} takes: only the position has to be there. */
export type CheckpointInit =
  & Pick<Checkpoint, "position" | "started">
  & Partial<Checkpoint>;

/** A file in `cursors/`. */
export type CheckpointListing =
  | {
    /** It is a checkpoint. */
    readonly type: "checkpoint";
    /** Its name. */
    readonly id: CheckpointId;
    /** The file. */
    readonly path: string;
    /** What it says. */
    readonly checkpoint: Checkpoint;
    /** Whether a consumer is working under it; only when `consumers` was asked for. */
    readonly isBusy?: boolean;
  }
  | {
    /** It cannot be read. */
    readonly type: "broken";
    /** What stands in front of `.ckpt`. */
    readonly id: string;
    /** The file. */
    readonly path: string;
    /** Why. */
    readonly error: StoreError;
    /** Whether a consumer is working under it; only when `consumers` was asked for. */
    readonly isBusy?: boolean;
  };

/** What {@linkcode listCheckpoints} looks at. */
export interface ListCheckpointsOptions extends CheckpointOptions {
  /**
   * Whether to find out who is working. The system can only be asked by taking each lock for a moment, so
   * a consumer that starts in just that moment is told that its checkpoint is busy. Default false.
   */
  readonly consumers?: boolean;
}

/** Where files are. */
export interface CheckpointOptions {
  /** Default: the files of the runtime. */
  readonly fs?: StoreFs;
}

/**
 * The file of a checkpoint does not say where its consumer got to. Nothing was delivered, and nothing was
 * changed. Restore the file from a copy, or remove it to begin again from the first event.
 */
export class CheckpointCorruptError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "CheckpointCorruptError";
  /** Stable, for programs. */
  override readonly code = "CHECKPOINT_CORRUPT";
  /** The file. */
  readonly path: string;
  /** What is wrong with it. */
  readonly reason: string;

  /**
   * Says what happened.
   *
   * @param reason without a full stop; `cause` is what a decoder said.
   */
  constructor(path: string, reason: string, cause?: unknown) {
    super(
      `Cannot go on from "${path}": ${reason}. Restore the file, or remove it to begin again`,
      { cause },
    );
    this.path = path;
    this.reason = reason;
  }
}

/**
 * The checkpoint is of a consumer of other events. Nothing was delivered: use another id for the new
 * region, or remove the file to begin again from the first event.
 */
export class CheckpointRegionMismatchError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "CheckpointRegionMismatchError";
  /** Stable, for programs. */
  override readonly code = "CHECKPOINT_REGION_MISMATCH";
  /** The file. */
  readonly path: string;
  /** The identity that it was saved with, or `null` when it says none. */
  readonly stored: string | null;
  /** The identity of the region that was asked for. */
  readonly expected: string;

  /**
   * Says what happened.
   *
   * @param path the file; `stored` and `expected` are the two identities.
   */
  constructor(path: string, stored: string | null, expected: string) {
    super(
      `Cannot go on from "${path}" with region "${expected}": it was saved with ` +
        (stored === null ? "none" : `"${stored}"`) + ". Use another id for another region",
    );
    this.path = path;
    this.stored = stored;
    this.expected = expected;
  }
}

/**
 * A checkpoint could not be written. The one before is still there, so what was handled since comes again.
 * The `cause` says why: make room, or fix permissions, and start the consumer again.
 */
export class CheckpointWriteError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "CheckpointWriteError";
  /** Stable, for programs. */
  override readonly code = "CHECKPOINT_WRITE";
  /** The checkpoint. */
  readonly id: CheckpointId;

  /**
   * Says what happened.
   *
   * @param id the checkpoint; `cause` is what the system, or the writer, said.
   */
  constructor(id: CheckpointId, cause: unknown) {
    const reason = cause instanceof Error ? `: ${cause.message}` : "";
    super(`Cannot save checkpoint "${id}"${reason}`, { cause });
    this.id = id;
  }
}

/**
 * The checkpoint is about events that this journal does not have: the journal lost its end, or another one
 * took its place. Going on would skip events, so nothing was delivered. Remove the file to begin again from
 * the first event, or save one at a position that is known to be right.
 */
export class CheckpointAheadError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "CheckpointAheadError";
  /** Stable, for programs. */
  override readonly code = "CHECKPOINT_AHEAD";
  /** The file. */
  readonly path: string;
  /** The position that it says. */
  readonly position: number;
  /** The sequence that the next event of the journal will have. */
  readonly nextSequence: number;

  /**
   * Says what happened.
   *
   * @param path the file; at `position` there is no event, or another one than was handled.
   */
  constructor(path: string, position: number, nextSequence: number) {
    const found = position < nextSequence
      ? "the journal has another event there"
      : `the journal ends before sequence ${nextSequence}`;
    super(
      `Cannot go on from "${path}" at position ${position}: ${found}, so it lost its end or was ` +
        "replaced. Remove the file to begin again, or save one at a position that is known",
    );
    this.path = path;
    this.position = position;
    this.nextSequence = nextSequence;
  }
}

/** Somebody else works under this id, here or in another process. Wait until they end, or use another id. */
export class CheckpointBusyError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "CheckpointBusyError";
  /** Stable, for programs. */
  override readonly code = "CHECKPOINT_BUSY";
  /** The checkpoint. */
  readonly id: CheckpointId;

  /**
   * Says what happened.
   *
   * @param id the checkpoint.
   */
  constructor(id: CheckpointId) {
    super(`Cannot use checkpoint "${id}": another consumer is working under it`);
    this.id = id;
  }
}

/**
 * Writes a checkpoint, atomically and durably: for moving a consumer that is not running.
 *
 * It does not look at the journal. A position behind the journal's end is refused by the consumer that goes
 * on from it; one that is too far within the journal skips events, as asked for.
 *
 * @param dir the directory of the journal.
 * @throws {CheckpointBusyError} when a consumer is working under the id.
 * @throws {CheckpointIdError} when it is no id.
 * @throws {CheckpointWriteError} when it could not be written; the one before is still there.
 * @throws {TypeError} when the record is none.
 *
 * @example Begin again from the start
 * ```ts
 * import { loadCheckpoint, MemoryFs, Region, saveCheckpoint, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const fs = new MemoryFs();
 * using store = Store.open("journal", { fs });
 * const regionIdentity = Region.entity("order").identity();
 * saveCheckpoint(store.dir, "mailer", { position: 0, started: true, regionIdentity }, { fs });
 *
 * assert.equal(loadCheckpoint(store.dir, "mailer", { fs })?.position, 0);
 * assert.equal(loadCheckpoint(store.dir, "nobody", { fs }), undefined);
 * ```
 */
export function saveCheckpoint(
  dir: string,
  id: string,
  record: CheckpointInit,
  options: CheckpointOptions = {},
): void {
  const file = new CheckpointFile(dir, CheckpointId.parse(id), options.fs ?? runtime.fs);
  const bytes = encodeCheckpoint(record);
  const lock = file.lock();
  try {
    file.publish(bytes);
  } finally {
    lock.release();
  }
}

/**
 * Reads a checkpoint, or `undefined` when there is none.
 *
 * @param dir the directory of the journal.
 * @throws {CheckpointCorruptError} when the file is no checkpoint.
 * @throws {CheckpointIdError} when it is no id.
 * @throws {StoreIoError} when the file cannot be read.
 */
export function loadCheckpoint(
  dir: string,
  id: string,
  options: CheckpointOptions = {},
): Checkpoint | undefined {
  return new CheckpointFile(dir, CheckpointId.parse(id), options.fs ?? runtime.fs).load();
}

/**
 * Every checkpoint of a journal, sorted by name. One that cannot be read is listed with its error.
 *
 * @param dir the directory of the journal.
 * @throws {StoreIoError} when the directory cannot be listed, or a lock cannot be asked for.
 */
export function listCheckpoints(
  dir: string,
  options: ListCheckpointsOptions = {},
): CheckpointListing[] {
  const fs = options.fs ?? runtime.fs;
  const folder = `${dir}/${CURSORS_NAME}`;
  const listings: CheckpointListing[] = [];
  const entries = withIo("list checkpoints", () => {
    fs.rejectSymlink(folder, "checkpoints");
    return fs.stat(folder) === undefined ? [] : fs.list(folder);
  });
  for (const { name } of entries) {
    if (!name.endsWith(CHECKPOINT_SUFFIX)) continue;
    const id = name.slice(0, -CHECKPOINT_SUFFIX.length);
    const path = `${folder}/${name}`;
    const busy = options.consumers === true ? { isBusy: isLocked(fs, folder, id) } : {};
    try {
      const checkpoint = loadCheckpoint(dir, id, { fs });
      // It may have been removed since the list was made.
      if (checkpoint === undefined) continue;
      listings.push({ type: "checkpoint", id: CheckpointId.parse(id), path, checkpoint, ...busy });
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      listings.push({ type: "broken", id, path, error, ...busy });
    }
  }
  return listings;
}

/** Makes no lock file: where there is none, nobody has the lock. */
function isLocked(fs: StoreFs, folder: string, id: string): boolean {
  const path = `${folder}/${id}${LOCK_SUFFIX}`;
  return withIo("list checkpoints", () => {
    if (fs.stat(path) === undefined) return false;
    const lock = fs.tryLock(path);
    lock?.release();
    return lock === undefined;
  });
}

/**
 * Removes a checkpoint, durably: the next consumer with this id begins with the first event. Also one that
 * cannot be read.
 *
 * @param dir the directory of the journal.
 * @returns whether there was one.
 * @throws {CheckpointBusyError} when a consumer is working under the id.
 * @throws {CheckpointIdError} when it is no id.
 * @throws {CheckpointWriteError} when nothing can be locked there.
 * @throws {StoreIoError} when the file cannot be removed.
 *
 * @example Begin again from the start
 * ```ts
 * import { bindCursor, MemoryFs, removeCheckpoint, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const fs = new MemoryFs();
 * using store = Store.open("journal", { fs });
 * {
 *   using mailer = bindCursor(store, { entity: "order" }, "mailer");
 *   mailer.commit();
 * }
 * assert.equal(removeCheckpoint(store.dir, "mailer", { fs }), true);
 * assert.equal(removeCheckpoint(store.dir, "mailer", { fs }), false);
 * ```
 */
export function removeCheckpoint(
  dir: string,
  id: string,
  options: CheckpointOptions = {},
): boolean {
  const fs = options.fs ?? runtime.fs;
  return new CheckpointFile(dir, CheckpointId.parse(id), fs).remove();
}

/**
 * The file of one checkpoint.
 *
 * @internal
 */
export class CheckpointFile {
  /** The checkpoint. */
  readonly id: CheckpointId;
  /** Where it is, or will be. */
  readonly path: string;
  readonly #folder: string;
  readonly #fs: StoreFs;

  constructor(dir: string, id: CheckpointId, fs: StoreFs) {
    this.id = id;
    this.#folder = `${dir}/${CURSORS_NAME}`;
    this.path = `${this.#folder}/${id}${CHECKPOINT_SUFFIX}`;
    this.#fs = fs;
  }

  /**
   * Takes the id for the caller alone, and makes the directory when there is none.
   *
   * @throws {CheckpointBusyError} when somebody has it.
   * @throws {CheckpointWriteError} when the lock cannot be made: neither could the checkpoint.
   */
  lock(): FileLock {
    let lock: FileLock | undefined;
    try {
      this.#fs.createDirAll(this.#folder);
      this.#fs.rejectSymlink(this.#folder, "checkpoints");
      lock = this.#fs.tryLock(`${this.#folder}/${this.id}${LOCK_SUFFIX}`);
    } catch (error) {
      throw new CheckpointWriteError(this.id, error);
    }
    if (lock === undefined) throw new CheckpointBusyError(this.id);
    return lock;
  }

  /**
   * Removes what saves left behind that a crash cut off. Under the caller's own lock.
   *
   * Somebody may be saving under another id right now, and whoever saves has the lock of the id. So
   * nothing is removed unless every lock there is can be had, and nobody can save while they are held.
   */
  tidy(): void {
    const staged = () => this.#fs.list(this.#folder).filter(({ name }) => isStagedName(name));
    const locks: FileLock[] = [];
    try {
      if (staged().length === 0) return;
      const names = () =>
        this.#fs.list(this.#folder).filter(({ name }) => name.endsWith(LOCK_SUFFIX));
      const known = names();
      for (const { name } of known) {
        if (name === `${this.id}${LOCK_SUFFIX}`) continue;
        const lock = this.#fs.tryLock(`${this.#folder}/${name}`);
        if (lock === undefined) return;
        locks.push(lock);
      }
      const leftovers = staged();
      if (names().length > known.length) return;
      for (const { name } of leftovers) this.#fs.removeIfPresent(`${this.#folder}/${name}`);
    } catch (error) {
      // Leftovers harm nobody; the next one may remove them.
      if (!(error instanceof IoFault)) throw error;
    } finally {
      for (const lock of locks) lock.release();
    }
  }

  /** As {@linkcode loadCheckpoint}. */
  load(): Checkpoint | undefined {
    let bytes: Uint8Array;
    try {
      this.#fs.rejectSymlink(this.#folder, "checkpoints");
      this.#fs.rejectSymlink(this.path, "a checkpoint");
      bytes = this.#fs.readFile(this.path, CHECKPOINT_SIZE_MAX);
    } catch (error) {
      if (!(error instanceof IoFault)) throw error;
      if (error.code === "ENOENT") return undefined;
      if (error.code === "EFBIG") {
        throw new CheckpointCorruptError(
          this.path,
          "the file is too large for a checkpoint",
          error,
        );
      }
      throw new StoreIoError(`load checkpoint "${this.id}"`, error);
    }
    const found = decodeCheckpoint(bytes);
    if (found.type === "checkpoint") return found.checkpoint;
    throw new CheckpointCorruptError(this.path, found.reason, found.cause);
  }

  /** As {@linkcode removeCheckpoint}. */
  remove(): boolean {
    return withIo(`remove checkpoint "${this.id}"`, () => {
      this.#fs.rejectSymlink(this.#folder, "checkpoints");
      // Looked for first: a lock would make the directory.
      if (this.#fs.stat(this.path) === undefined) {
        // It may have been removed by somebody whose sync has failed.
        if (this.#fs.stat(this.#folder) !== undefined) this.#fs.syncDir(this.#folder);
        return false;
      }
      const lock = this.lock();
      try {
        const wasThere = this.#fs.removeIfPresent(this.path);
        // Otherwise a power cut could bring it back, and the next consumer would not begin at the start.
        if (wasThere) this.#fs.syncDir(this.#folder);
        return wasThere;
      } finally {
        lock.release();
      }
    });
  }

  /**
   * Replaces the file. Under the caller's lock.
   *
   * @throws {CheckpointWriteError} when that fails.
   */
  publish(bytes: Uint8Array): void {
    try {
      this.#fs.publish(this.path, bytes);
    } catch (error) {
      throw new CheckpointWriteError(this.id, error);
    }
  }
}

const encoder = new Encoder({ useBigInt64: true });
// A file of 64 KiB may claim arrays in arrays: bounded, they take a few megabytes.
const decoder = new Decoder({
  useBigInt64: true,
  maxArrayLength: 16,
  maxMapLength: 64,
  maxStrLength: CHECKPOINT_SIZE_MAX,
  maxBinLength: CHECKPOINT_SIZE_MAX,
  maxExtLength: CHECKPOINT_SIZE_MAX,
});

/**
 * The bytes of a checkpoint.
 *
 * @throws {TypeError} when the record is none.
 * @internal
 */
export function encodeCheckpoint(record: CheckpointInit): Uint8Array {
  const { position, started, processBootNs = null, regionIdentity = null, eventId = null } = record;
  const problem = problemOf(position, started, processBootNs, regionIdentity);
  if (problem !== undefined) throw new TypeError(`Cannot save a checkpoint: ${problem}`);
  const bytes = encoder.encode({
    position: uint(position),
    started,
    process_boot_ns: processBootNs === null ? null : uint(processBootNs),
    region_identity: regionIdentity,
    event_id: eventId === null ? null : parseId(eventId),
    // As large as they come, so that it takes four bytes whatever it will be.
    checksum: 0xffff_ffff,
  });
  const checksumOffset = bytes.byteLength - 4;
  writeU32(bytes, checksumOffset, crc32(bytes.subarray(0, checksumOffset)));
  return bytes;
}

type DecodeResult =
  | { readonly type: "checkpoint"; readonly checkpoint: Checkpoint }
  | { readonly type: "corrupt"; readonly reason: string; readonly cause?: unknown };

/** The key of the checksum, and the marker of a uint32 behind it. */
const CHECKSUM_KEY = Uint8Array.of(0xa8, ...new TextEncoder().encode("checksum"), 0xce);

/** Reads the bytes of a checkpoint. What stands behind the map, and keys of others, do not count. */
function decodeCheckpoint(bytes: Uint8Array): DecodeResult {
  const isSound = isChecksumSound(bytes);
  if (isSound === false) return { type: "corrupt", reason: "the checksum does not match" };
  let value: unknown;
  try {
    for (const first of decoder.decodeMulti(bytes)) {
      value = first;
      break;
    }
  } catch (cause) {
    return { type: "corrupt", reason: "it is not MessagePack", cause };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return { type: "corrupt", reason: "it is not a map" };
  }
  const fields = value as Readonly<Record<string, unknown>>;
  const position = numberOf(fields.position);
  const processBootNs = numberOf(fields.process_boot_ns ?? null);
  const regionIdentity = fields.region_identity ?? null;
  const eventId = fields.event_id ?? null;
  const { started, checksum } = fields;
  if (checksum !== undefined && isSound === undefined) {
    return { type: "corrupt", reason: '"checksum" is no checksum' };
  }
  const problem = problemOf(position, started, processBootNs, regionIdentity) ??
    (eventId === null || (eventId instanceof Uint8Array && eventId.byteLength === ID_SIZE)
      ? undefined
      : `"event_id" is not ${ID_SIZE} bytes`);
  if (problem !== undefined) return { type: "corrupt", reason: problem };
  return {
    type: "checkpoint",
    checkpoint: {
      position: position as number,
      started: started as boolean,
      processBootNs: processBootNs as number | bigint | null,
      regionIdentity: regionIdentity as string | null,
      eventId: eventId === null ? null : formatId(eventId as Uint8Array),
    },
  };
}

/**
 * Whether a checkpoint's checksum is right; `undefined` when it has none. The bytes are searched for it, and not
 * the map: a flipped bit in the size of the map would leave the last entry out of it.
 */
function isChecksumSound(bytes: Uint8Array): boolean | undefined {
  for (let at = bytes.byteLength - CHECKSUM_KEY.byteLength; at >= 0; at--) {
    if (!CHECKSUM_KEY.every((byte, i) => bytes[at + i] === byte)) continue;
    const offset = at + CHECKSUM_KEY.byteLength;
    return offset + 4 <= bytes.byteLength &&
      readU32(bytes, offset) === crc32(bytes.subarray(0, offset));
  }
  return undefined;
}

/** Which field is not what it has to be. */
function problemOf(
  position: unknown,
  started: unknown,
  processBootNs: unknown,
  regionIdentity: unknown,
): string | undefined {
  if (!Number.isSafeInteger(position) || (position as number) < 0) {
    return '"position" is no sequence';
  }
  if (typeof started !== "boolean") return '"started" is neither true nor false';
  if (!started && position !== 0) return "it has a position and has not started";
  const isTime = processBootNs === null ||
    (typeof processBootNs === "bigint" && processBootNs >= 0n && processBootNs < 2n ** 64n) ||
    (Number.isSafeInteger(processBootNs) && (processBootNs as number) >= 0);
  if (!isTime) return '"process_boot_ns" is no time';
  if (regionIdentity !== null && typeof regionIdentity !== "string") {
    return '"region_identity" is no text';
  }
  return undefined;
}

/** The encoder writes numbers of more than 32 bits as floats, unless they are bigints. */
function uint(value: number | bigint): number | bigint {
  return typeof value === "number" && value > 0xffff_ffff ? BigInt(value) : value;
}

/** A number as the caller knows it: only what is not safe stays a bigint. */
function numberOf(value: unknown): unknown {
  return typeof value === "bigint" && value <= BigInt(Number.MAX_SAFE_INTEGER)
    ? Number(value)
    : value;
}
