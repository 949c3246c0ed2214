/**
 * Forks and imports on disks that crash and lie, from a seed.
 *
 * The reference has such runs, and its seeds and digests stand in our corpus: a digest is made of counts, so
 * it says the same of every store that keeps the same promises. Two things are not as they are there. What is
 * copied is not durable before it is synced, and syncs of copies may lie like all others; so a lying disk can
 * take a fork, and does. And whatever is found is held to its source event by event, not only counted.
 *
 * @module
 */

import {
  CompactionError,
  CorruptionError,
  EventKind,
  FutureVersionError,
  type ImportReport,
  JournalNotFoundError,
  type JournalReader,
  Store,
  type StoredEvent,
  type StoreOptions,
  verifyJournal,
} from "../mod.ts";
import { bytesEqual, toHex } from "../store/hash.ts";
import { OracleViolation } from "./oracle.ts";
import { SimClock } from "./sim_clock.ts";
import { SimEntropy } from "./sim_entropy.ts";
import { SimFs } from "./sim_fs.ts";
import { Fold64 } from "./sim_random.ts";

/** What a crash has left of what was begun: all or some of it, nothing, or something that does not open. */
export type RecoveryClass = "committedPrefix" | "rolledBack" | "refused";

/** What {@linkcode classifyJournal} found. */
export interface Classified {
  /** What is left. */
  readonly outcome: RecoveryClass;
  /** Its events, the store's own included. */
  readonly events: number;
  /** Why it does not open. */
  readonly reason?: string;
}

/** How a run of this file ended. */
export interface CopyRun extends Classified {
  /** Events of the source. */
  readonly source: number;
  /** Sixteen digits over seed and counts. */
  readonly digest: string;
}

/** How an import ended that was cut short and repeated. */
export interface ImportRun {
  /** Events that were to be imported. */
  readonly source: number;
  /** Events that were, in the end. */
  readonly target: number;
  /** How many of them had survived the crash. */
  readonly deduplicated: number;
  /** Sixteen digits over seed and counts. */
  readonly digest: string;
}

const KIND = EventKind.custom(0xc, 0x2);
const SOURCE = "/source";
const TARGET = "/target";
const NAMESPACE = "source-fault";
/** In one seed of five, the disk drops one sync in four. */
const LIE_RATE = 0.25;

const CLASS_TOKENS: Readonly<Record<RecoveryClass, number>> = {
  committedPrefix: 0xc001,
  rolledBack: 0xc002,
  refused: 0xc003,
};

/** Whether the disk of a seed lies. */
export function isLyingSeed(seed: number): boolean {
  return seed % 5 === 0;
}

/**
 * Says what is in a directory. Damage is a refusal; whatever else an open throws is no answer to that
 * question, and thrown on.
 */
export function classifyJournal(fs: SimFs, dir: string): Classified {
  let reader: JournalReader;
  try {
    reader = Store.openReadOnly(dir, { fs, clock: new SimClock(), chainVerification: "recompute" });
  } catch (error) {
    if (error instanceof JournalNotFoundError) return { outcome: "rolledBack", events: 0 };
    if (isRefusal(error)) return { outcome: "refused", events: 0, reason: error.message };
    throw error;
  }
  using found = reader;
  const { eventCount: events } = found.stats();
  return { outcome: events === 0 ? "rolledBack" : "committedPrefix", events };
}

/** Whether an open has said, in a type of its own, that it will not go on with these files. */
export function isRefusal(error: unknown): error is Error {
  return error instanceof CorruptionError || error instanceof FutureVersionError ||
    error instanceof CompactionError;
}

/**
 * Forks a journal of a few segments, and cuts the power behind it.
 *
 * @throws when an honest disk has less than all of it, or any disk something else than the source.
 */
export function runForkFault(seed: number): CopyRun {
  const fs = diskOf(seed ^ 0xf00f00, isLyingSeed(seed));
  const store = open(fs, SOURCE, 1, { segmentMaxBytes: 512, sync: { everyNEvents: 1 } });
  fill(store, 3 + seed % 5, 0);
  store.sync();
  const lines = new Set(linesOf(store));
  const { eventCount: source } = store.stats();
  store.fork(TARGET);
  const after = fs.crash();
  const { outcome, events, reason } = classifyJournal(after, TARGET);
  const isWhole = outcome === "committedPrefix" && events === source;
  check(isWhole || isLyingSeed(seed), `an honest disk keeps the fork of seed ${seed}`);
  if (outcome === "committedPrefix") {
    using fork = Store.openReadOnly(TARGET, { fs: after });
    for (const line of linesOf(fork)) check(lines.has(line), `the source of ${seed} has ${line}`);
    // A segment whose sync was dropped is a torn tail, when it is the newest.
    const { findings } = verifyJournal(TARGET, { fs: after });
    const isSound = findings.every(({ type }) => type === "tail" && isLyingSeed(seed));
    check(isSound, `the fork of seed ${seed} verifies`);
  }
  const digest = digestOf(seed, CLASS_TOKENS[outcome], events);
  return { outcome, events, source, digest, ...(reason === undefined ? {} : { reason }) };
}

/** How the disk of an import treats it. */
export interface ImportFaultOptions {
  /**
   * Pages whose sync is dropped, from 0. Without, a seed that lies drops syncs of all files by a schedule
   * of its own.
   */
  readonly dropped?: ReadonlySet<number>;
}

/**
 * Imports a journal page by page, cuts the power, and imports it again.
 *
 * @throws when the second import does not complete the first: when something is missing, there twice, or
 * not what it is in the source.
 */
export function runImportFault(seed: number, options: ImportFaultOptions = {}): ImportRun {
  const { dropped } = options;
  const sourceFs = new SimFs({ seed });
  const filled = open(sourceFs, SOURCE, 1);
  fill(filled, 4 + seed % 5, 0);
  filled.close();
  using source = Store.openReadOnly(SOURCE, { fs: sourceFs, clock: new SimClock() });
  const wanted = ownEvents(source);

  const fs = diskOf(seed ^ 0x1b000001, isLyingSeed(seed) && dropped === undefined);
  const settings = {
    sync: { everyNEvents: 1 },
    coldStart: { indexFile: false, footers: false },
  };
  const store = open(fs, TARGET, 2, settings);
  let page = 0;
  const arm = () => {
    fs.disarm();
    if (dropped?.has(page)) fs.armFaultOn("Sync", 1, { instead: "lie", path: ".fbat" });
  };
  arm();
  const first = importAll(store, source, () => {
    fs.assertAllFired();
    page++;
    arm();
  });
  check(first.imported === wanted.length && page === wanted.length, "every event is one page");

  const after = fs.crash();
  let target: Store;
  try {
    target = open(after, TARGET, 3, settings);
  } catch (error) {
    if (!(isLyingSeed(seed) && isRefusal(error))) throw error;
    // Nobody can go on with it, so whoever owns it begins anew.
    after.removeDirAll(TARGET);
    target = open(after, TARGET, 3, settings);
  }
  const second = importAll(target, source);
  const { deduplicated } = second;
  check(
    second.imported + deduplicated === wanted.length,
    "an import and its repetition are the whole",
  );
  check(isLyingSeed(seed) || deduplicated === wanted.length, "an honest disk lost nothing");
  const found = ownEvents(target);
  check(found.length === wanted.length, `${found.length} of ${wanted.length} events are there`);
  wanted.forEach((event, i) => assertCarried(found[i], event));
  target.close();
  const { findingCount } = verifyJournal(TARGET, { fs: after });
  check(findingCount === 0, "what was imported verifies");
  const digest = digestOf(seed, wanted.length, found.length, deduplicated);
  return { source: wanted.length, target: found.length, deduplicated, digest };
}

/** Imports a journal into itself, twice: what is there doubles, once. */
export function runImportSameStore(seed: number): ImportRun & { readonly events: number } {
  const fs = new SimFs({ seed });
  const store = open(fs, SOURCE, 1, { segmentMaxBytes: 512 });
  const count = 8 + seed % 17;
  fill(store, count, 200 + seed % 80);
  const chunkSize = 1 + seed % 4;
  const { imported } = store.importEvents(store, { namespace: NAMESPACE, chunkSize });
  check(imported === count, "what was there when it began was imported");
  const again = store.importEvents(store, { namespace: NAMESPACE, chunkSize });
  // Copies of the first import are not imported once more, under any of their two names.
  check(again.imported === 0, "nothing is imported twice");
  const { deduplicated } = again;
  check(deduplicated === count, "all of it is known");
  const { eventCount: events } = store.stats();
  const { length: target } = ownEvents(store);
  check(target === 2 * count, "it has doubled once");
  store.close();
  check(verifyJournal(SOURCE, { fs }).findingCount === 0, "and verifies");
  const digest = digestOf(seed, imported, deduplicated, events);
  return { source: count, target, deduplicated, events, digest };
}

function diskOf(seed: number, isLying: boolean): SimFs {
  const lies = { syncLie: LIE_RATE, dirSyncLie: LIE_RATE };
  // An exclusive or of numbers has 32 bits and a sign.
  return new SimFs({ seed: seed >>> 0, ...(isLying ? { faults: lies } : {}) });
}

function open(fs: SimFs, dir: string, life: number, options: StoreOptions = {}): Store {
  return Store.open(dir, { fs, clock: new SimClock(), entropy: new SimEntropy(life), ...options });
}

/** Each event of another entity. */
function fill(store: Store, count: number, fillerSize: number): void {
  for (let n = 0; n < count; n++) {
    const payload = fillerSize === 0 ? { n } : { n, filler: "x".repeat(fillerSize) };
    store.append({ entity: `entity:${n}`, scope: "faults" }, KIND, payload);
  }
}

function importAll(store: Store, source: JournalReader, onProgress?: () => void): ImportReport {
  return store.importEvents(source, {
    namespace: NAMESPACE,
    chunkSize: 1,
    ...(onProgress === undefined ? {} : { onProgress }),
  });
}

function ownEvents(reader: JournalReader): StoredEvent[] {
  return reader.query().filter(({ kind }) => kind === KIND);
}

function linesOf(reader: JournalReader): string[] {
  return reader.query().map(({ globalSequence, eventId, eventHash }) =>
    `${globalSequence} ${eventId} ${toHex(eventHash)}`
  );
}

function assertCarried(found: StoredEvent, event: StoredEvent): void {
  const about = `the copy of ${event.globalSequence}`;
  check(found.entity === event.entity && found.scope === event.scope, `${about} is at its place`);
  check(found.clock === event.clock, `${about} has its clock`);
  check(bytesEqual(found.contentHash, event.contentHash), `${about} has its content hash`);
  check(bytesEqual(found.payloadBytes!, event.payloadBytes!), `${about} has its payload`);
}

function check(condition: boolean, promise: string): void {
  if (!condition) throw new OracleViolation(`it is not true that ${promise}`);
}

function digestOf(...tokens: readonly number[]): string {
  const digest = new Fold64();
  for (const token of tokens) digest.fold(token);
  return digest.toString();
}
