/**
 * What the readers read: the same orders, in journals of every size and in a table of each peer.
 * Everything is written when it is first asked for, and lies there until the run ends.
 *
 * @module
 */
import { Store, type StoreOptions, verifyJournal } from "../../mod.ts";
import type { StoreFs } from "../../platform/fs.ts";
import { ENTITY_COUNT, entityNames, entityOf, type Order, ORDER_PLACED } from "./orders.ts";
import type { EventReader, Peer } from "./peer.ts";
import { BATCH_EVENTS, makeBatch, PeerWriter, RowMaker } from "./writers.ts";

/** Orders that lie somewhere. */
export interface Fixture {
  /** The journal's directory, or whatever the peer was given. */
  readonly path: string;
  /** How many orders. */
  readonly events: number;
  /** The ids of some of them: of every `idStep`-th, beginning with the first. */
  readonly ids: readonly string[];
  readonly idStep: number;
}

/** A journal to read. */
export interface JournalFixture extends Fixture {
  /** Memory of the index that has grown with it, the table of ids included. */
  readonly indexBytes: number;
}

/** Ids to keep: a million strings would be in the way of what is measured. */
const IDS_MAX = 65_536;

/** What writing a fixture takes. */
export interface FixtureOptions {
  readonly path: string;
  readonly events: number;
  readonly pause: () => Promise<void>;
}

/**
 * Writes a journal in batches.
 *
 * @param options how it is opened, and how many entities there are, a thousand by default.
 */
export async function writeJournal(
  { path, events, pause }: FixtureOptions,
  { entityCount = ENTITY_COUNT, ...options }: StoreOptions & { entityCount?: number },
): Promise<JournalFixture> {
  const idStep = Math.ceil(events / IDS_MAX);
  const ids: string[] = [];
  const names = entityCount === ENTITY_COUNT ? undefined : entityNames(entityCount);
  const store = Store.open(path, options);
  try {
    for (let start = 0; start < events; start += BATCH_EVENTS) {
      if (start % (64 * BATCH_EVENTS) === 0) await pause();
      let batch = makeBatch(start, Math.min(BATCH_EVENTS, events - start));
      if (names !== undefined) {
        batch = batch.map((item, i) => ({ ...item, entity: names[(start + i) % entityCount] }));
      }
      const receipts = store.appendBatch(batch);
      for (let i = (idStep - start % idStep) % idStep; i < receipts.length; i += idStep) {
        ids.push(receipts[i].eventId);
      }
    }
    store.get(ids[0]);
    const { indexBytes } = store.stats();
    return { path, events, ids, idStep, indexBytes };
  } finally {
    store.close();
  }
}

/** Writes a table of a peer in batches. */
export async function writeTable(
  peer: Peer,
  { path, events, pause }: FixtureOptions,
): Promise<Fixture> {
  const idStep = Math.ceil(events / IDS_MAX);
  const rows = new RowMaker(idStep);
  const table = await peer.open(path, "written");
  try {
    const whole = { ...peer, shareOfSlice: 1 };
    const chunk = 64 * BATCH_EVENTS;
    for (let start = 0; start < events; start += chunk) {
      await pause();
      const eventsPerSlice = Math.min(chunk, events - start);
      await new PeerWriter(whole, table, { mode: "batch", eventsPerSlice }, rows).slice();
    }
    table.settle();
  } finally {
    await table.close();
  }
  return { path, events, ids: rows.sampledIds, idStep };
}

/** What an open restores the index from. */
export type ColdStart = "index" | "footers" | "frames";

/** Reads a journal. */
export class JournalView implements EventReader {
  readonly #journal: Fixture;
  readonly #fs: StoreFs;
  readonly #coldStart: ColdStart | undefined;
  #opened: Store | undefined;

  /**
   * @param journal is opened when it is first read, so that {@linkcode check} can do without.
   * @param coldStart how it has to be opened; however it wants to otherwise.
   */
  constructor(journal: Fixture, fs: StoreFs, coldStart?: ColdStart) {
    this.#journal = journal;
    this.#fs = fs;
    this.#coldStart = coldStart;
  }

  totalCentsOf(id: string): number {
    const event = this.#store.get(id);
    if (event === undefined) throw new Error(`There is no event ${id}`);
    return (event.payload as Order).totalCents;
  }

  latestTotalCents(): number {
    const event = this.#store.latest(entityOf(this.#journal.events - 1));
    if (event === undefined) throw new Error("There is no event");
    return (event.payload as Order).totalCents;
  }

  sumTotals(): number {
    let sum = 0;
    for (const event of this.#store.events()) {
      // The journal also keeps events of its own: that it was opened, and closed.
      if (event.kind === ORDER_PLACED) sum += (event.payload as Order).totalCents;
    }
    return sum;
  }

  sumClocks(): number {
    let sum = 0;
    let used = 0;
    for (const event of this.#store.events()) {
      // Tables hand out these five columns, so the journal has to as well.
      used += event.globalSequence + event.entity.length + event.scope.length;
      if (event.kind === ORDER_PLACED) sum += event.clock;
    }
    return used > 0 ? sum : NaN;
  }

  check(): void {
    const { intact, findings } = verifyJournal(this.#journal.path, { fs: this.#fs });
    if (!intact) throw new Error(`The journal does not verify: ${findings[0].reason}`);
  }

  close(): void {
    this.#opened?.close();
    this.#opened = undefined;
  }

  get #store(): Store {
    return this.#opened ??= this.#coldStart === undefined
      ? Store.open(this.#journal.path, { fs: this.#fs })
      : openFrom(this.#coldStart, this.#journal.path, this.#fs);
  }
}

/** An open cannot take the way that it should. */
export class ColdStartError extends Error {
  /** The class, for messages. */
  override readonly name = "ColdStartError";
}

/** Leaves out what an open would rather use. */
const INDEXES: Readonly<Record<ColdStart, { indexFile: boolean; footers: boolean }>> = {
  index: { indexFile: true, footers: true },
  footers: { indexFile: false, footers: true },
  frames: { indexFile: false, footers: false },
};

/**
 * Opens a journal from its index file, from the footers of its segments, or from its frames.
 *
 * @throws {ColdStartError} when it was opened another way: a row must be about what it says.
 */
export function openFrom(coldStart: ColdStart, dir: string, fs: StoreFs): Store {
  const store = Store.open(dir, { fs, coldStart: INDEXES[coldStart] });
  const { path } = store.openReport;
  if (path !== coldStart) {
    store.close();
    throw new ColdStartError(`the journal was opened from ${path}, not from ${coldStart}`);
  }
  return store;
}
