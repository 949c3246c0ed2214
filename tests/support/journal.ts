/**
 * Small journals in memory, the same bytes each time.
 *
 * @module
 */
import { MemoryFs } from "../../platform/memory.ts";
import type { StoreFs } from "../../platform/fs.ts";
import { EventKind } from "../../store/event_kind.ts";
import type { ReadOnlyStore } from "../../store/read_only_store.ts";
import { type BatchItem, Store } from "../../store/store.ts";
import type { ReadOptions, StoreOptions } from "../../store/store_options.ts";
import type { JournalReader } from "../../store/journal_reader.ts";
import { FixedClock } from "./fixed_clock.ts";
import { readTree } from "./journal_bytes.ts";
import { SeededEntropy } from "./seeded_entropy.ts";

/** Where every journal of these tests is. */
export const DIR = "journal";
/** A coordinate to append at. */
export const USER = Object.freeze({ entity: "user:1", scope: "app" });
/** A kind to append with. */
export const KIND = EventKind.DATA;

/** No index file and no footers: what is tested is what frames give. */
export const FRAMES_ONLY = Object.freeze({ indexFile: false, footers: false });

/**
 * Opens for writing, with a clock and chance that repeat themselves, and with frames only: what indexes
 * add has tests of its own.
 */
export function openStore(fs: StoreFs, options: StoreOptions = {}): Store {
  return Store.open(DIR, {
    fs,
    clock: new FixedClock(),
    entropy: new SeededEntropy(),
    sync: { everyNEvents: 0 },
    coldStart: FRAMES_ONLY,
    ...options,
  });
}

/** Opens for reading. */
export function openReader(fs: StoreFs, options: ReadOptions = {}): ReadOnlyStore {
  return Store.openReadOnly(DIR, {
    fs,
    clock: new FixedClock(),
    coldStart: FRAMES_ONLY,
    ...options,
  });
}

/** An item of a batch at {@linkcode USER}. */
export function item(payload: unknown, more: Partial<BatchItem> = {}): BatchItem {
  return { ...USER, kind: KIND, payload, ...more };
}

/** Payloads of everything but the store's own events, in commit order. */
export function payloadsOf(reader: JournalReader): unknown[] {
  return reader.query({ kind: KIND }).map(({ payload }) => payload);
}

/** Runs `work` on a new journal and gives back the files it left, as a killed process leaves them. */
export function killedJournal(
  work: (store: Store, fs: MemoryFs) => void,
  options: StoreOptions = {},
): Map<string, Uint8Array> {
  const fs = new MemoryFs();
  const store = openStore(fs, options);
  work(store, fs);
  return readTree(fs.snapshot(), DIR);
}

/** Runs `work` on a new journal, closes it, and gives back its files. */
export function closedJournal(
  work: (store: Store) => void,
  options: StoreOptions = {},
): Map<string, Uint8Array> {
  const fs = new MemoryFs();
  const store = openStore(fs, options);
  work(store);
  store.close();
  return readTree(fs, DIR);
}
