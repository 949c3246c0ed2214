/**
 * Those who write, as contestants: each goes on from slice to slice with the next orders. Between its
 * turns, off the clock, it makes its files durable, so that nobody's sync has to wait for pages that
 * somebody else has left behind.
 *
 * @module
 */
import { type BatchItem, Store, type StoreOptions } from "../../mod.ts";
import { formatId, IdGenerator } from "../../store/ids.ts";
import { runtime } from "../../platform/runtime.ts";
import { type EventRow, EventTable, type SqliteDriver, type Synchronous } from "./event_table.ts";
import type { Contestant } from "./measure.ts";
import { clockOf, entityOf, ORDER_PLACED, orderOf, SCOPE } from "./orders.ts";
import { type Frames, RawFile } from "./raw_file.ts";

/** Events of a batch, as the names of the workloads say. */
export const BATCH_EVENTS = 256;

/** A contestant with something to let go of. */
export interface Subject extends Contestant {
  /** One call of what is measured, to be timed by itself. */
  call?(): void;
  /** What an event takes on disk, when there is a number. */
  bytesPerEvent?(): number;
  /** Lets go of files. */
  close(): void;
}

/** What a writer does: single appends in slices of so many events, durable ones, or batches. */
export interface WriterOptions {
  readonly mode: "single" | "durable" | "batch";
  readonly eventsPerSlice: number;
}

/** Writes to a journal. */
export class JournalWriter implements Subject {
  readonly name = "batpak";
  readonly call: () => void;
  readonly #store: Store;
  readonly #eventsPerSlice: number;
  #next = 0;

  /** Begins a journal in `dir`; with `storeOptions` other than the defaults only to compare. */
  constructor(dir: string, options: WriterOptions, storeOptions?: StoreOptions) {
    this.#store = Store.open(dir, storeOptions);
    this.#eventsPerSlice = options.eventsPerSlice;
    this.call = options.mode === "batch"
      ? () => this.#appendBatch()
      : options.mode === "durable"
      ? () => this.#appendDurable()
      : () => this.#append();
  }

  slice(): number {
    const start = this.#next;
    while (this.#next - start < this.#eventsPerSlice) this.call();
    return this.#next - start;
  }

  rest(): void {
    this.#store.sync();
  }

  bytesPerEvent(): number {
    const { logBytes, eventCount } = this.#store.stats();
    return logBytes / eventCount;
  }

  close(): void {
    this.#store.close();
  }

  #append(): void {
    const n = this.#next++;
    this.#store.append({ entity: entityOf(n), scope: SCOPE }, ORDER_PLACED, orderOf(n));
  }

  #appendDurable(): void {
    const n = this.#next++;
    this.#store.append({ entity: entityOf(n), scope: SCOPE }, ORDER_PLACED, orderOf(n), {
      durability: "durable",
    });
  }

  #appendBatch(): void {
    this.#store.appendBatch(makeBatch(this.#next));
    this.#next += BATCH_EVENTS;
  }
}

/** Builds the batch that starts with order `start`. */
export function makeBatch(start: number): BatchItem[] {
  const items: BatchItem[] = [];
  for (let n = start; n < start + BATCH_EVENTS; n++) {
    items.push({ entity: entityOf(n), scope: SCOPE, kind: ORDER_PLACED, payload: orderOf(n) });
  }
  return items;
}

/** Writes to a table in SQLite. */
export class TableWriter implements Subject {
  readonly name: string;
  readonly call: () => void;
  readonly #table: EventTable;
  readonly #eventsPerSlice: number;
  readonly #ids = new IdGenerator(runtime.entropy);
  readonly #idBytes = new Uint8Array(16);
  #next = 0;

  /** Begins a table in the database at `path`. */
  constructor(driver: SqliteDriver, path: string, options: WriterOptions) {
    this.name = driver.name;
    const synchronous: Synchronous = options.mode === "durable" ? "FULL" : "NORMAL";
    this.#table = new EventTable(driver, path, synchronous);
    this.#eventsPerSlice = options.eventsPerSlice;
    this.call = options.mode === "batch" ? () => this.#insertBatch() : () => this.#insert();
  }

  slice(): number {
    const start = this.#next;
    while (this.#next - start < this.#eventsPerSlice) this.call();
    return this.#next - start;
  }

  rest(): void {
    this.#table.settle();
  }

  close(): void {
    this.#table.close();
  }

  #insert(): void {
    const n = this.#next++;
    const ts = Math.floor(runtime.clock.nowUs());
    // Ids in order of time, like the journal's: random ones would scatter over the index.
    this.#ids.fill(this.#idBytes, 0, ts);
    this.#table.insert(rowOf(n, formatId(this.#idBytes), ts));
  }

  #insertBatch(): void {
    this.#table.transact(() => {
      for (let i = 0; i < BATCH_EVENTS; i++) this.#insert();
    });
  }
}

/** The row of order `n`. */
export function rowOf(n: number, id: string, ts: number): EventRow {
  return {
    id,
    entity: entityOf(n),
    scope: SCOPE,
    kind: ORDER_PLACED,
    clock: clockOf(n),
    ts,
    payload: JSON.stringify(orderOf(n)),
  };
}

/** Writes frames with a bare loop. */
export class RawWriter implements Subject {
  readonly name = "raw-fdatasync";
  readonly #file: RawFile;
  readonly #eventsPerSlice: number;

  /** Makes the file at `path` with room for `count` frames. */
  constructor(path: string, frames: Frames, options: { count: number; eventsPerSlice: number }) {
    this.#file = new RawFile(path, frames, options.count);
    this.#eventsPerSlice = options.eventsPerSlice;
  }

  slice(): number {
    for (let i = 0; i < this.#eventsPerSlice; i++) this.#file.append();
    return this.#eventsPerSlice;
  }

  close(): void {
    this.#file.close();
  }
}
