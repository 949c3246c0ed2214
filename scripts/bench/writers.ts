/**
 * Those who write, as contestants: each goes on from slice to slice with the next orders. Between its
 * turns, off the clock, it makes its files durable, so that nobody's sync has to wait for pages that
 * somebody else has left behind.
 *
 * @module
 */
import { rmSync } from "node:fs";
import { type BatchItem, Store, type StoreOptions } from "../../mod.ts";
import { formatId, IdGenerator } from "../../store/ids.ts";
import { runtime } from "../../platform/runtime.ts";
import type { Contestant } from "./measure.ts";
import { clockOf, entityOf, ORDER_PLACED, orderOf, SCOPE } from "./orders.ts";
import type { Answer, EventRow, Peer, PeerTable } from "./peer.ts";
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
  close(): Answer<void>;
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
  /** Where the slice ends; a batch does not go past it. */
  #sliceEnd = Infinity;

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
    this.#sliceEnd = this.#next + this.#eventsPerSlice;
    while (this.#next < this.#sliceEnd) this.call();
    this.#sliceEnd = Infinity;
    return this.#eventsPerSlice;
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
    const count = Math.min(BATCH_EVENTS, this.#sliceEnd - this.#next);
    this.#store.appendBatch(makeBatch(this.#next, count));
    this.#next += count;
  }
}

/** Builds the batch that starts with order `start`. */
export function makeBatch(start: number, count: number = BATCH_EVENTS): BatchItem[] {
  const items: BatchItem[] = [];
  for (let n = start; n < start + count; n++) {
    items.push({ entity: entityOf(n), scope: SCOPE, kind: ORDER_PLACED, payload: orderOf(n) });
  }
  return items;
}

/** Writes a whole journal in every slice, from the first event on: what so many events cost. */
export class JournalGrower implements Subject {
  readonly name = "batpak";
  readonly #path: () => string;
  readonly #options: WriterOptions;
  readonly #storeOptions: StoreOptions;
  #current: { readonly dir: string; readonly writer: JournalWriter } | undefined;

  /** @param path a directory that is not there yet, anew in every call. */
  constructor(path: () => string, options: WriterOptions, storeOptions: StoreOptions) {
    this.#path = path;
    this.#options = options;
    this.#storeOptions = storeOptions;
  }

  ready(): void {
    const dir = this.#path();
    this.#current = { dir, writer: new JournalWriter(dir, this.#options, this.#storeOptions) };
  }

  slice(): number {
    return this.#current!.writer.slice();
  }

  rest(): void {
    this.close();
  }

  close(): void {
    if (this.#current === undefined) return;
    const { dir, writer } = this.#current;
    this.#current = undefined;
    writer.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Makes the rows that peers store, one order after the other. */
export class RowMaker {
  /** The ids of every so many orders, beginning with the first. */
  readonly sampledIds: string[] = [];
  readonly #sampleStep: number;
  readonly #generator = new IdGenerator(runtime.entropy);
  readonly #idBytes = new Uint8Array(16);
  #next = 0;

  /** @param sampleStep keep the id of every order whose number divides by this; of none by default. */
  constructor(sampleStep = Infinity) {
    this.#sampleStep = sampleStep;
  }

  /** The row of the next order. */
  next(): EventRow {
    const n = this.#next++;
    const ts = Math.floor(runtime.clock.nowUs());
    // Ids in order of time, like the journal's: random ones would scatter over the index.
    this.#generator.fill(this.#idBytes, 0, ts);
    const id = formatId(this.#idBytes);
    if (n % this.#sampleStep === 0) this.sampledIds.push(id);
    return {
      seq: n + 1,
      id,
      entity: entityOf(n),
      scope: SCOPE,
      kind: ORDER_PLACED,
      clock: clockOf(n),
      ts,
      order: orderOf(n),
    };
  }
}

/** Writes to a peer. */
export class PeerWriter implements Subject {
  readonly name: string;
  readonly #peer: Peer;
  readonly #table: PeerTable;
  readonly #rows: RowMaker;
  readonly #eventsPerSlice: number;
  /** Events of a transaction. */
  readonly #unit: number;

  /** @param table an empty one. */
  constructor(
    peer: Peer,
    table: PeerTable,
    options: WriterOptions,
    rows: RowMaker = new RowMaker(),
  ) {
    this.name = peer.name;
    this.#peer = peer;
    this.#table = table;
    this.#rows = rows;
    this.#eventsPerSlice = Math.ceil(options.eventsPerSlice / (peer.shareOfSlice ?? 1));
    this.#unit = options.mode === "batch" ? BATCH_EVENTS : 1;
  }

  slice(): Answer<number> {
    return this.#peer.isAsync ? this.#sliceLater() : this.#sliceNow();
  }

  rest(): void {
    this.#table.settle();
  }

  close(): Answer<void> {
    return this.#table.close();
  }

  #sliceNow(): number {
    for (let left = this.#eventsPerSlice; left > 0; left -= this.#unit) this.#write(left);
    return this.#eventsPerSlice;
  }

  async #sliceLater(): Promise<number> {
    for (let left = this.#eventsPerSlice; left > 0; left -= this.#unit) await this.#write(left);
    return this.#eventsPerSlice;
  }

  #write(left: number): Answer<void> {
    if (this.#unit === 1) return this.#table.insert(this.#rows.next());
    const rows: EventRow[] = [];
    for (let i = Math.min(this.#unit, left); i > 0; i--) rows.push(this.#rows.next());
    return this.#table.insertBatch(rows);
  }
}

/** Writes frames with a bare loop. */
export class RawWriter implements Subject {
  readonly name = "raw-fdatasync";
  readonly #file: RawFile;
  readonly #eventsPerSlice: number;

  readonly #unit: number;

  /** Makes the file at `path` with room for `count` frames, and syncs once for each `unit` of them. */
  constructor(
    path: string,
    frames: Frames,
    options: { count: number; eventsPerSlice: number; unit?: number },
  ) {
    this.#file = new RawFile(path, frames, options.count);
    this.#eventsPerSlice = options.eventsPerSlice;
    this.#unit = options.unit ?? 1;
  }

  slice(): number {
    for (let left = this.#eventsPerSlice; left > 0; left -= this.#unit) {
      this.#file.append(Math.min(left, this.#unit));
    }
    return this.#eventsPerSlice;
  }

  close(): void {
    this.#file.close();
  }
}
