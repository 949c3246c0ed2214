/**
 * What the readers read: the same orders, under the same ids, in a journal and in a table of each
 * SQLite module.
 *
 * @module
 */
import { Store, verifyJournal } from "../../mod.ts";
import type { StoreFs } from "../../platform/fs.ts";
import { EventTable, type SqliteDriver } from "./event_table.ts";
import { type Order, ORDER_PLACED } from "./orders.ts";
import { BATCH_EVENTS, makeBatch, rowOf } from "./writers.ts";

/** A way to read the events. */
export interface EventReader {
  /** The total of one order, by the id of its event: a point read with its payload decoded. */
  totalCentsOf(id: string): number;
  /** The sum of all totals: every payload, decoded, in order. */
  sumTotals(): number;
  /** The sum of all clocks: sequence, entity, scope, kind and clock of every event, in order. */
  sumClocks(): number;
  /** Checks everything that can be checked. Throws when something is wrong. */
  check(): void;
  /** Lets go of files. */
  close(): void;
}

/** A journal and tables with the same events. */
export interface Library {
  /** Where the journal is. */
  readonly journalDir: string;
  /** Where the tables are, by module. */
  readonly tablePaths: ReadonlyMap<SqliteDriver["name"], string>;
  /** Ids by order. */
  readonly ids: readonly string[];
}

/** Writes at least `events` orders, in whole batches, to a journal and to a table of each module. */
export async function buildLibrary(
  events: number,
  drivers: readonly SqliteDriver[],
  { fs, path, pause }: { fs: StoreFs; path: (name: string) => string; pause: () => Promise<void> },
): Promise<Library> {
  const journalDir = path("journal");
  const store = Store.open(journalDir, { fs });
  const tablePaths = new Map(drivers.map(({ name }) => [name, path("table.db")]));
  const tables = drivers.map((driver) =>
    new EventTable(driver, tablePaths.get(driver.name)!, "NORMAL")
  );
  const ids: string[] = [];
  try {
    while (ids.length < events) {
      await pause();
      const start = ids.length;
      const receipts = store.appendBatch(makeBatch(start));
      for (const { eventId } of receipts) ids.push(eventId);
      const ts = receipts[0].timestampUs;
      for (const table of tables) {
        table.transact(() => {
          for (let n = start; n < start + BATCH_EVENTS; n++) table.insert(rowOf(n, ids[n], ts));
        });
      }
    }
  } finally {
    store.close();
    for (const table of tables) table.close();
  }
  return { journalDir, tablePaths, ids };
}

/** Reads the journal of a library. */
export class JournalView implements EventReader {
  readonly #dir: string;
  readonly #fs: StoreFs;
  #opened: Store | undefined;

  /** @param dir the journal's. It is opened when first read, so that {@linkcode check} can do without. */
  constructor(dir: string, fs: StoreFs) {
    this.#dir = dir;
    this.#fs = fs;
  }

  totalCentsOf(id: string): number {
    const event = this.#store.get(id);
    if (event === undefined) throw new Error(`There is no event ${id}`);
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
      // The table hands out these five columns, so the journal has to as well.
      used += event.globalSequence + event.entity.length + event.scope.length;
      if (event.kind === ORDER_PLACED) sum += event.clock;
    }
    return used > 0 ? sum : NaN;
  }

  check(): void {
    const { intact, findings } = verifyJournal(this.#dir, { fs: this.#fs });
    if (!intact) throw new Error(`The journal does not verify: ${findings[0].reason}`);
  }

  close(): void {
    this.#opened?.close();
  }

  get #store(): Store {
    if (this.#opened === undefined) {
      const coldStart = { indexFile: false, footers: false };
      this.#opened = Store.open(this.#dir, { fs: this.#fs, coldStart });
      const { path } = this.#opened.openReport;
      // `open-frames` is about this, and would quietly be about something else.
      if (path !== "frames") {
        throw new Error(`The journal was opened from ${path}, not from frames`);
      }
    }
    return this.#opened;
  }
}
