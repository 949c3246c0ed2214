/**
 * Cold start: from a directory to an index, by the shortest way that gives the same answers.
 *
 * 1. `index.fbati`, when it fits the segments that are there, gives everything up to its watermark.
 * 2. A sealed segment behind that gives its rows by its footer, when that fits.
 * 3. Everything else is read frame by frame: what stands behind the watermark in its own segment, the
 *    active segment, and whatever 1 and 2 were of no use for.
 *
 * Indexes are accelerators, never authorities. One that is missing, damaged, stale, foreign or from a
 * newer program costs the time of reading frames, and a line in the report. When the log does not go on
 * from where an index says it does, everything is read again without any, and that verdict counts.
 *
 * @module
 */

import { CorruptionError } from "../errors.ts";
import { EventIndex } from "./event_index.ts";
import { EventKind, isKnownKind } from "../event_kind.ts";
import { INDEX_FILE_NAME, type IndexFileResult, readIndexFile } from "./index_file.ts";
import type { IndexFileStatus, OpenReport } from "../open_report.ts";
import { JournalLoader } from "../recovery.ts";
import { SegmentLog } from "../segment_log.ts";
import type { ResolvedOptions } from "../store_options.ts";
import type { EventSource } from "../stored_event.ts";

/** The part of an open report that says where the index came from. */
export type ColdStartFacts = Pick<
  OpenReport,
  | "path"
  | "chunks"
  | "restoredEntries"
  | "indexFileEntries"
  | "footerEntries"
  | "tailEntries"
  | "indexFile"
  | "scannedBytes"
  | "phaseIndexFileUs"
  | "phaseFootersUs"
  | "phaseFramesUs"
  | "unknownReservedKinds"
>;

/** A journal that has been read. */
export interface LoadedJournal<T> {
  readonly source: EventSource;
  readonly loader: JournalLoader;
  /** What the walk over the log returned. */
  readonly result: T;
  readonly facts: ColdStartFacts;
}

/** What to read, and for whom. */
export interface LoadRequest<T> {
  /** The id in `store.meta`, when there is one. */
  readonly storeId: Uint8Array | undefined;
  /** Whether a writer loads, who then puts the directory in order. */
  readonly isWriter: boolean;
  /** Reads the log from where the loader stands. Called again when it throws a `CorruptionError`. */
  readonly walk: (loader: JournalLoader) => T;
}

/**
 * Reads a journal: what indexes give first, then what `walk` reads of the log.
 *
 * @throws {CorruptionError} when the frames say so, or when they end before what the index file says was
 * synced. That is all an index is ever believed.
 */
export function loadJournal<T>(
  dir: string,
  options: ResolvedOptions,
  load: LoadRequest<T>,
): LoadedJournal<T> {
  const request = { dir, options, ...load };
  const { indexFile, footers } = options.coldStart;
  // Whoever hashes everything, or cuts at the first damage, wants the frames' own word.
  const wanted = (indexFile || footers) && options.chainVerification !== "recompute" &&
    options.tailPolicy !== "cutAtDamage";
  if (!wanted) return attempt(request, false);
  const noted: Noted = { synced: undefined };
  let loaded: LoadedJournal<T>;
  try {
    loaded = attempt(request, true, noted);
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error;
    loaded = attempt(request, false);
    loaded.loader.oddities.unshift(
      `the indexes were left aside, because the log does not follow them: ${error.reason}`,
    );
  }
  const { loader, source } = loaded;
  try {
    if (noted.synced !== undefined) loader.assertReaches(noted.synced);
  } catch (error) {
    source.log.close();
    throw error;
  }
  return loaded;
}

/** What an attempt has learned, also when it fails. */
interface Noted {
  synced: JournalLoader["synced"];
}

interface PlacedRequest<T> extends LoadRequest<T> {
  readonly dir: string;
  readonly options: ResolvedOptions;
}

function attempt<T>(
  request: PlacedRequest<T>,
  useIndexes: boolean,
  noted: Noted = { synced: undefined },
): LoadedJournal<T> {
  const { dir, options, walk } = request;
  const { clock } = options;
  const startedUs = clock.monotonicUs();
  let unused: string | undefined;
  let indexFile: IndexFileStatus = "notTried";
  let journal: ReturnType<typeof prepare> | undefined;
  if (useIndexes && options.coldStart.indexFile) {
    const found = readIndexFile(options.fs, dir);
    indexFile = found.type === "index"
      ? "loaded"
      : found.type === "missing"
      ? "missing"
      : "ignored";
    if (found.type === "unusable") unused = found.reason;
    if (found.type === "index") {
      journal = prepare(request, useIndexes, found);
      unused = journal.loader.resume(found.journal);
      noted.synced = journal.loader.synced;
      if (unused !== undefined) {
        journal.source.log.close();
        journal = undefined;
        indexFile = "ignored";
      }
    }
  }
  journal ??= prepare(request, useIndexes);
  const { source, loader } = journal;
  if (unused !== undefined) loader.oddities.push(`${INDEX_FILE_NAME} was not used: ${unused}`);
  const { index } = source;
  const indexFileEntries = index.count;
  const indexedUs = clock.monotonicUs();
  const result = walk(loader);
  source.firstSequence = loader.firstSequence;
  const walkUs = Math.round(clock.monotonicUs() - indexedUs);
  const { footerEntries, footerCount } = loader;
  const phaseFootersUs = Math.min(walkUs, Math.round(loader.footersUs));
  const tailEntries = index.count - indexFileEntries - footerEntries;
  return {
    source,
    loader,
    result,
    facts: {
      path: indexFile === "loaded" ? "index" : footerCount > 0 ? "footers" : "frames",
      chunks: (indexFile === "loaded" ? 1 : 0) + footerCount + (tailEntries > 0 ? 1 : 0),
      restoredEntries: index.count,
      indexFileEntries,
      footerEntries,
      tailEntries,
      indexFile,
      scannedBytes: loader.scannedSize,
      phaseIndexFileUs: Math.round(indexedUs - startedUs),
      phaseFootersUs,
      phaseFramesUs: walkUs - phaseFootersUs,
      unknownReservedKinds: unknownReservedKinds(index),
    },
  };
}

/** An index, saved or empty, its log, and the loader that goes on from there. */
function prepare<T>(
  request: PlacedRequest<T>,
  useIndexes: boolean,
  saved?: IndexFileResult & { readonly type: "index" },
): { source: EventSource; loader: JournalLoader } {
  const { dir, options, storeId, isWriter } = request;
  const { fs, fdBudget, clock } = options;
  const index = saved?.index ?? new EventIndex();
  const log: SegmentLog = new SegmentLog(fs, index, {
    fdBudget,
    firstSequence: () => loader.firstSequence,
  });
  const footers = useIndexes && options.coldStart.footers;
  const loader = new JournalLoader({ fs, dir, index, log, storeId, footers, clock, isWriter });
  // Where it begins is known once it has been loaded.
  return { source: { index, log, firstSequence: 0, retractions: [] }, loader };
}

/** How often each kind occurs that only a store may append and this program does not know. */
function unknownReservedKinds(index: EventIndex): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const [raw, list] of index.kinds()) {
    const kind = raw as EventKind;
    if (!EventKind.isReserved(kind) || isKnownKind(kind)) continue;
    counts[EventKind.format(kind)] = index.byKind.count(list);
  }
  return counts;
}
