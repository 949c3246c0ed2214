/**
 * Opening a journal: everything that happens before there is a handle.
 *
 * For writing, under the lock, in an order that makes a refused open leave the directory as it was: read
 * everything; let whatever can refuse the journal refuse it; only then repair, tidy up, and make what is
 * missing. For reading, nothing is changed at all.
 *
 * @module
 */

import { type FileLock, IoFault, type StoreFs } from "../platform/fs.ts";
import { isStagedName } from "../platform/staged_file.ts";
import { assert } from "./assert.ts";
import {
  CorruptionError,
  FutureVersionError,
  InvalidClockError,
  JournalNotFoundError,
} from "./errors.ts";
import type { EventRegistry } from "./event_definition.ts";
import { type LoadedJournal, loadJournal } from "./index/cold_start.ts";
import { INDEX_FILE_NAME } from "./index/index_file.ts";
import { ID_SIZE, NO_HASH, payloadStartOf } from "./frame.ts";
import { blake3 } from "./hash.ts";
import { IdGenerator } from "./ids.ts";
import { NAME_UNKNOWN } from "./index/interner.ts";
import { findName } from "./index/region_query.ts";
import { LIFECYCLE_COORDINATE } from "./journal_reader.ts";
import type { OpenReport } from "./open_report.ts";
import { readRange } from "./frame_scanner.ts";
import { type JournalLoader, QUARANTINE_NAME, repairEnd } from "./recovery.ts";
import { segmentIdOf, type SegmentLog, segmentName } from "./segment_log.ts";
import { settleCompaction } from "./compaction/segment_set.ts";
import { SegmentWriter } from "./segment_writer.ts";
import {
  decodeStoreMeta,
  encodeStoreMeta,
  STORE_META_NAME,
  STORE_META_SIZE_MAX,
} from "./store_meta.ts";
import type { ResolvedOptions } from "./store_options.ts";
import type { EventSource } from "./stored_event.ts";
import { type FindingType, verifyAndNote } from "./verify.ts";

/** The canonical path of a directory that has to be there. */
export function canonicalJournal(fs: StoreFs, dir: string): string {
  try {
    return fs.canonicalize(dir);
  } catch (error) {
    if (error instanceof IoFault && error.code === "ENOENT") {
      throw new JournalNotFoundError(dir, error);
    }
    throw error;
  }
}

/** What opening for writing gives, before there is a report of its duration. */
export interface OpenedFacts {
  readonly dir: string;
  readonly source: EventSource;
  readonly options: ResolvedOptions;
  readonly storeId: Uint8Array;
  readonly writer: SegmentWriter;
  readonly lock: FileLock;
  readonly registry: EventRegistry;
  readonly ids: IdGenerator;
  readonly lastTimestampUs: number;
  readonly found: Omit<OpenReport, "elapsedUs" | "phaseRestoreIndexUs">;
}

/** Under the lock: reads, repairs, and makes what is missing. */
export function openForWriting(
  dir: string,
  options: ResolvedOptions,
  registry: EventRegistry,
  lock: FileLock,
): OpenedFacts {
  const { fs, clock, entropy } = options;
  const known = readStoreId(dir, options);
  const loaded = loadJournal(dir, options, {
    storeId: known,
    isWriter: true,
    walk: (loader) => loader.load(),
  });
  const { source, loader, result: stop } = loaded;
  const { index, log } = source;
  if (options.chainVerification === "recompute" && log.segments.length > 0) {
    refuseUnlessIntact(dir, options);
  }
  readLifecycleHead(source);
  const nowUs = Math.max(loader.lastTimestampUs, Math.floor(clock.nowUs()));
  if (!(nowUs >= 0 && nowUs <= Number.MAX_SAFE_INTEGER)) throw new InvalidClockError(nowUs);
  // Whatever can refuse the journal has had its say: from here on, things are changed.
  const { tailPolicy } = options;
  const repairs = repairEnd({ fs, dir, index, log, loader, stop, tailPolicy });
  // It would go on to know what has been given up.
  if (tailPolicy === "cutAtDamage") fs.removeIfPresent(`${dir}/${INDEX_FILE_NAME}`);
  const oddities = [...loader.oddities, ...settle(fs, dir, loader, log), ...tidy(fs, dir)];

  const ids = new IdGenerator(entropy);
  let storeId = loader.storeId;
  if (storeId === undefined) {
    storeId = new Uint8Array(ID_SIZE);
    ids.fill(storeId, 0, nowUs);
  }
  const found = {
    ...loaded.facts,
    mode: "write",
    segments: log.segments.length,
    repairs,
    oddities,
  } as const;
  // A crash between a rename and the sync of its directory leaves names that are not durable yet.
  fs.syncDir(dir);
  renewNewest(fs, dir, loaded);
  const writer = new SegmentWriter({ fs, dir, log, syncMode: options.syncMode });
  try {
    if (log.segments.length === 0) {
      writer.begin({
        storeId,
        segmentId: 1,
        createdNs: BigInt(nowUs) * 1000n,
        firstSequence: 0,
        previousSize: 0,
        previousHash: NO_HASH,
      });
    }
    // The segments come first: store.meta without one means that they have been lost.
    if (known === undefined) {
      if (index.count > 0) {
        oddities.push(
          `${STORE_META_NAME} was missing; it has been written again from the segments`,
        );
      }
      fs.publish(`${dir}/${STORE_META_NAME}`, encodeStoreMeta({ storeId, createdUs: nowUs }));
    }
  } catch (error) {
    writer.release();
    throw error;
  }
  const { lastTimestampUs } = loader;
  return {
    dir,
    source,
    options,
    storeId,
    writer,
    lock,
    registry,
    ids,
    lastTimestampUs,
    found,
  };
}

/**
 * Reads the newest of the store's own events, which an index did not look at: the event of this open follows
 * it in its chain, and so has to name its hash. When it is damaged, that has to be known before anything is
 * changed.
 *
 * @throws {CorruptionError} when it is.
 */
function readLifecycleHead({ index, log }: EventSource): void {
  const entity = findName(index.entities, LIFECYCLE_COORDINATE.entity);
  const chain = entity === NAME_UNKNOWN ? -1 : index.findChain(entity, 0);
  if (index.headOf(chain) < index.firstRow || index.isHeadHashKnown(chain)) return;
  try {
    const body = log.readBody(index.headOf(chain));
    index.setHeadHash(chain, blake3(body.subarray(0, payloadStartOf(body, 0))));
  } finally {
    // Files may be renamed and cut from here on, and nobody would close them if the open is refused.
    log.closeFiles();
  }
}

/**
 * Gives the newest segment a new file with the same bytes, durable under the same name. When a sync has
 * failed, the system may have forgotten that pages have to be written: they read back as if nothing had
 * happened, and a power cut takes them. To write them once more where they are does not help everywhere:
 * ext4 keeps blocks whose first write failed marked as unwritten, lets every later sync of them succeed,
 * and reads zeros once the file system is mounted again. A new file has blocks of its own. Nobody can ask
 * whether a sync has failed. What an index file knows was durable when it was saved, so after a clean close
 * there is nothing to do.
 */
function renewNewest(fs: StoreFs, dir: string, { source, facts }: LoadedJournal<unknown>): void {
  const { index, log } = source;
  const segment = log.segments.at(-1);
  const row = facts.indexFileEntries;
  if (segment === undefined || row >= index.count || segment.firstRow >= index.count) return;
  const file = fs.open(segment.path, "read");
  try {
    const staged = fs.stage(dir);
    try {
      const block = new Uint8Array(Math.min(1 << 20, segment.end));
      for (let at = 0; at < segment.end;) {
        const size = readRange(file, block, 0, Math.min(block.byteLength, segment.end - at), at);
        assert(size > 0, "the lock keeps the segment from becoming shorter");
        staged.append(block.subarray(0, size));
        at += size;
      }
      // Readers have the old file open until they refresh, and everything they know is in it.
      staged.publish(segment.path);
    } finally {
      staged.discard();
    }
  } finally {
    file.close();
  }
  log.reopen(segment);
}

/**
 * Ends a compaction that was cut short, and removes what compactions and prunes have left behind. Says
 * what it did; names what it leaves alone.
 */
function settle(fs: StoreFs, dir: string, loader: JournalLoader, log: SegmentLog): string[] {
  const oddities: string[] = [];
  const { pending, leftovers = [] } = loader.set ?? {};
  if (pending !== undefined) {
    oddities.push(settleCompaction(fs, dir, pending));
    for (const segment of log.segments) {
      const path = `${dir}/${segmentName(segment.id)}`;
      if (segment.path !== path) log.relocate(segment, path);
    }
  }
  // What says that they do not count has to be durable before they go.
  if (leftovers.some(({ removable }) => removable)) fs.syncDir(dir);
  for (const { name, reason, removable } of leftovers) {
    if (!removable) oddities.push(`ignored ${name}: ${reason}`);
    else if (fs.removeIfPresent(`${dir}/${name}`)) oddities.push(`removed ${name}: ${reason}`);
  }
  for (const name of loader.superseded) {
    oddities.push(`ignored ${name}: its events stand in a merged segment`);
  }
  return oddities;
}

/** Removes what interrupted writes left, and says so; names what only looks like a segment. */
function tidy(fs: StoreFs, dir: string): string[] {
  const oddities: string[] = [];
  const quarantine = `${dir}/${QUARANTINE_NAME}`;
  const folders = fs.stat(quarantine)?.kind === "dir" ? [dir, quarantine] : [dir];
  for (const folder of folders) {
    for (const { name, kind } of fs.list(folder)) {
      if (kind === "file" && isStagedName(name)) {
        // Only the owner of the lock stages files here, so this one's owner is dead.
        fs.remove(`${folder}/${name}`);
        oddities.push(`removed ${name}, left by an interrupted write`);
      } else if (name.endsWith(".fbat") && segmentIdOf(name) === undefined) {
        oddities.push(`ignored ${name}, which is not named like a segment`);
      }
    }
  }
  return oddities;
}

/** The id in `store.meta`; `undefined` when there is no such file. */
export function readStoreId(dir: string, options: ResolvedOptions): Uint8Array | undefined {
  const path = `${dir}/${STORE_META_NAME}`;
  const info = options.fs.stat(path);
  if (info === undefined) return undefined;
  if (info.size > STORE_META_SIZE_MAX) {
    throw new CorruptionError({ path, offset: 0, reason: `the file has ${info.size} bytes` });
  }
  const decoded = decodeStoreMeta(options.fs.readFile(path, STORE_META_SIZE_MAX));
  switch (decoded.type) {
    case "meta":
      return decoded.meta.storeId;
    case "future":
      throw new FutureVersionError({
        path,
        found: decoded.version,
        supported: decoded.supported,
      });
    case "corrupt":
      throw new CorruptionError({ path, offset: 0, reason: decoded.reason });
  }
}

/**
 * Hashes everything, and throws the first finding.
 *
 * @throws {IoFault} when something could not be read: that says nothing about what is there.
 */
export function refuseUnlessIntact(dir: string, options: ResolvedOptions): void {
  // A torn end is repaired, what a compaction left is put in order, and a missing store.meta written
  // again; none of it speaks against the rest.
  const { fs, verifyingKeys } = options;
  const { report, fault } = verifyAndNote(dir, { fs, verifyingKeys });
  // What cannot be read now may be as sound as ever: whoever is told of damage repairs, or restores.
  if (fault !== undefined) throw fault;
  const findings = report.findings.filter(({ type, file }) =>
    !DEALT_WITH.has(type) && file !== STORE_META_NAME
  );
  const first = findings[0];
  if (first === undefined) return;
  throw new CorruptionError({
    path: `${dir}/${first.file}`,
    segmentId: first.segmentId,
    offset: first.offset,
    reason: findings.length === 1
      ? first.reason
      : `${first.reason} (and ${findings.length - 1} more)`,
  });
}

/** Findings of verification that say nothing against the frames. */
const DEALT_WITH: ReadonlySet<FindingType> = new Set(["tail", "unusable", "index", "leftover"]);

/** Tells whoever wants to know. */
export function observe(options: ResolvedOptions, report: OpenReport): void {
  try {
    options.openReportObserver?.(report);
  } catch {
    // The journal is open; what an onlooker thinks of that is its own affair.
  }
}
