/**
 * Whoever drives a store in a simulation, and writes down what it was promised.
 *
 * Each call tells an {@linkcode Oracle}, by marks in the trace, what it is about to ask, asks the store, and
 * tells what was answered. An error of the store is written down as what it promises, and thrown on.
 *
 * @module
 */

import {
  type BatchItem,
  type BatchOptions,
  bindCursor,
  type CompactionOptions,
  type CompactionReport,
  type DurableCursor,
  EventKind,
  type Fence,
  type FenceTicket,
  type PruneOptions,
  type Receipt,
  Store,
  type StoreOptions,
  WriterCrashedError,
} from "../mod.ts";
import { toHex } from "../store/hash.ts";
import type { OracleFact, Submission } from "./oracle.ts";
import { SimClock } from "./sim_clock.ts";
import { SimEntropy } from "./sim_entropy.ts";
import type { SimFs } from "./sim_fs.ts";

/** The mark that carries an {@linkcode OracleFact}. */
export const FACT_MARK = "oracle";

/** Where a driver's journal is. */
export const DRIVER_DIR = "/journal";

/** What an event of a driver is like; the rest is made up. */
export interface DriverEvent {
  /** Whose it is. Default `"user:1"`. */
  readonly entity?: string;
  /** Where. Default `"app"`. */
  readonly scope?: string;
  /** Its lane. Default 0. */
  readonly lane?: number;
  /** Its idempotency key. Default none. */
  readonly key?: string;
  /** Bytes of its payload, at least 4. Default 20. */
  readonly size?: number;
}

const KIND = EventKind.custom(0xc, 0x7);

/** Drives a store; see the top of the file. */
export class Driver {
  /** The disk. */
  fs: SimFs;
  /** What the store was opened with last. */
  readonly options: StoreOptions;
  readonly #clock = new SimClock();
  #store: Store | undefined;
  #lives = 0;
  #groups = 0;
  #fences = 0;
  #fence: { readonly fence: Fence; readonly number: number } | undefined;
  #events = 0;
  /** Payloads by sequence: of what is erased later, nobody else knows them. */
  readonly #payloads = new Map<number, string>();

  /** Drives a store on this disk. Opens nothing yet. */
  constructor(fs: SimFs, options: StoreOptions = {}) {
    this.fs = fs;
    this.options = options;
  }

  /** The store, which has to be open. */
  get store(): Store {
    if (this.#store === undefined) throw new Error("Cannot drive a store that was not opened");
    return this.#store;
  }

  /** Puts a fact into the trace. */
  tell(fact: OracleFact): void {
    this.fs.mark(FACT_MARK, fact);
  }

  /** Goes on with another disk: what a crash has left. */
  moveTo(fs: SimFs): void {
    this.fs = fs;
    this.#store = this.#fence = undefined;
  }

  /** Another driver, who goes on from here on a disk of its own, in the same way each time. */
  on(fs: SimFs): Driver {
    const copy = new Driver(fs, this.options);
    copy.#lives = this.#lives;
    copy.#groups = this.#groups;
    copy.#fences = this.#fences;
    copy.#events = this.#events;
    for (const [sequence, payload] of this.#payloads) copy.#payloads.set(sequence, payload);
    return copy;
  }

  /**
   * Opens the store.
   *
   * @param opened called when it is open, before the driver looks what is in it.
   */
  open(opened?: () => void): Store {
    const entropy = new SimEntropy(this.#lives++);
    const store = Store.open(DRIVER_DIR, {
      ...this.options,
      fs: this.fs,
      clock: this.#clock,
      entropy,
    });
    this.#store = store;
    opened?.();
    const found = new Map<string, number>();
    const { firstSequence, nextSequence } = store.stats();
    for (let sequence = firstSequence; sequence < nextSequence; sequence++) {
      const event = store.at(sequence);
      if (event === undefined || EventKind.isReserved(event.kind)) continue;
      const { payloadBytes } = event;
      const payload = payloadBytes === undefined ? undefined : toHex(payloadBytes);
      found.set(payload ?? this.#payloads.get(sequence) ?? "", sequence);
    }
    this.tell({ type: "opened", found });
    return store;
  }

  /** Appends an event. */
  append(event: DriverEvent = {}, durability: "written" | "durable" = "written"): Receipt {
    const item = this.#item(event);
    const { entity, scope, kind, payload, ...options } = item;
    const [receipt] = this.#submit([item], () => [
      this.store.append({ entity, scope }, kind, payload, { ...options, durability }),
    ]);
    return receipt;
  }

  /** Appends events as a batch. */
  batch(events: readonly DriverEvent[], options: BatchOptions = {}): Receipt[] {
    const items = events.map((event) => this.#item(event));
    return this.#submit(items, () => this.store.appendBatch(items, options));
  }

  /** Begins a fence. */
  beginFence(): void {
    this.#fence = { fence: this.store.beginFence(), number: ++this.#fences };
  }

  /** Stages a group behind the fence: as a batch when it has more than one event. */
  stage(events: readonly DriverEvent[]): void {
    const { fence, number } = this.#fence!;
    const items = events.map((event) => this.#item(event));
    const group = this.#submitted(items, number);
    let tickets: FenceTicket[];
    try {
      tickets = fence.appendBatch(items);
    } catch (error) {
      if (!(error instanceof WriterCrashedError)) this.tell({ type: "refused", group });
      throw error;
    }
    const sequences = tickets.map(({ globalSequence }) => globalSequence);
    this.tell({ type: "acknowledged", group, sequences });
    this.#durable();
  }

  /** Ends the fence. */
  endFence(end: "commit" | "cancel"): void {
    const { fence, number } = this.#fence!;
    if (end === "cancel") {
      fence.cancel();
      this.tell({ type: "uncommitted", fence: number });
      this.#fence = undefined;
      return;
    }
    this.tell({ type: "committing", fence: number });
    try {
      this.tell({ type: "committed", fence: number, receipts: fence.commit() });
    } catch (error) {
      if (!(error instanceof WriterCrashedError)) this.tell({ type: "uncommitted", fence: number });
      throw error;
    }
    this.#fence = undefined;
    this.#durable();
  }

  /** Makes everything durable. */
  sync(): void {
    this.store.sync();
    this.#durable();
  }

  /** Closes the store. */
  close(): void {
    const { nextSequence } = this.store.stats();
    this.store.close();
    this.#store = undefined;
    this.tell({ type: "durable", below: nextSequence });
  }

  /** A cursor with a checkpoint; to be closed by the caller. */
  bind(id: string, region: { readonly entity?: string; readonly scope?: string }): BoundDriver {
    const bound = bindCursor(this.store, region, id);
    return {
      bound,
      commit: () => {
        const { position, started } = bound.cursor.position;
        this.tell({ type: "checkpointing", id, region, sequence: started ? position : -1 });
        bound.commit();
        this.tell({ type: "checkpointed", id });
        this.#durable();
      },
    };
  }

  /** Compacts the journal. Rules are functions here, so that what they erase is known before. */
  compact(options: CompactionOptions = {}): CompactionReport {
    const { strategy } = options;
    if (
      strategy !== undefined && strategy.type !== "merge" && typeof strategy.keep === "function"
    ) {
      const { keep } = strategy;
      const given = this.store.query().filter((event) => !keep(event));
      this.tell({ type: "erasing", sequences: given.map((event) => event.globalSequence) });
    }
    const report = this.store.compact(options);
    if (report.outcome === "performed") this.tell({ type: "erased" });
    this.#durable();
    return report;
  }

  /** Removes the oldest segments. */
  prune(options: PruneOptions): void {
    this.tell({ type: "pruning", below: options.below });
    const { outcome, firstSequence } = this.store.prune(options);
    if (outcome === "performed") this.tell({ type: "pruned", first: firstSequence });
    this.#durable();
  }

  /** Copies the journal. */
  copy(how: "snapshot" | "fork", target: string): void {
    this.tell({ type: "copying", target });
    const { nextSequence: next } = how === "fork"
      ? this.store.fork(target, { share: "hardlink" })
      : this.store.snapshot(target);
    this.tell({ type: "copied", target, next });
    this.#durable();
  }

  #durable(): void {
    this.tell({ type: "durable", below: this.store.durableSequence });
  }

  #item({ entity = "user:1", scope = "app", lane = 0, key, size = 20 }: DriverEvent) {
    const payload = new Uint8Array(size);
    for (let i = 0; i < size; i++) payload[i] = i * 7 + this.#events * 13 + 1;
    new DataView(payload.buffer).setUint32(0, ++this.#events);
    return {
      entity,
      scope,
      lane,
      kind: KIND,
      payload,
      payloadEncoding: "opaque" as const,
      ...(key === undefined ? {} : { idempotencyKey: key }),
    };
  }

  #submitted(items: readonly BatchItem<Uint8Array>[], fence?: number): number {
    const group = ++this.#groups;
    const events = items.map(({ entity, scope, lane = 0, kind, payload, idempotencyKey }) => {
      const key = idempotencyKey === undefined ? {} : { key: String(idempotencyKey) };
      return { entity, scope, lane, kind: kind as number, payload, ...key } satisfies Submission;
    });
    this.tell({ type: "submitted", group, events, ...(fence === undefined ? {} : { fence }) });
    return group;
  }

  #submit(items: readonly BatchItem<Uint8Array>[], append: () => Receipt[]): Receipt[] {
    const group = this.#submitted(items);
    let receipts: Receipt[];
    try {
      receipts = append();
    } catch (error) {
      // After a failed sync the events may be there or not; after any other failure they are not.
      if (!(error instanceof WriterCrashedError)) this.tell({ type: "refused", group });
      throw error;
    }
    const sequences = receipts.map(({ globalSequence }) => globalSequence);
    sequences.forEach((sequence, i) => this.#payloads.set(sequence, toHex(items[i].payload)));
    this.tell({ type: "acknowledged", group, sequences, receipts });
    this.#durable();
    return receipts;
  }
}

/** A cursor whose commits are written down. */
export interface BoundDriver {
  /** The cursor. */
  readonly bound: DurableCursor;
  /** Commits, and tells. */
  readonly commit: () => void;
}
