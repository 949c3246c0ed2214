/**
 * Whoever drives a store in a simulation, and writes down what it was promised.
 *
 * Each call tells an {@linkcode Oracle}, by marks in the trace, what it is about to ask, asks the store, and
 * tells what was answered. An error of the store is written down as what it promises, and thrown on.
 *
 * @module
 */

import {
  type AppendOptions,
  type BatchItem,
  type BatchOptions,
  bindCursor,
  type Compaction,
  type CompactionOptions,
  type CompactionReport,
  type DurableCursor,
  EventKind,
  type Fence,
  type ForkOptions,
  type ImportOptions,
  type PruneOptions,
  type PruneReport,
  type Receipt,
  Store,
  type StoreOptions,
  WriterCrashedError,
} from "../mod.ts";
import { MemoryFs } from "../platform/memory.ts";
import { bytesEqual, toHex } from "../store/hash.ts";
import { type OracleFact, OracleViolation, type Submission } from "./oracle.ts";
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

/** How an event is appended. */
export type DriverAppendOptions = Pick<AppendOptions, "durability" | "expectedClock" | "failIf">;

const KIND = EventKind.custom(0xc, 0x7);

/** Drives a store; see the top of the file. */
export class Driver {
  /** The disk. */
  fs: SimFs;
  /** What the store is opened with. */
  options: StoreOptions;
  /** The time that the store sees. */
  readonly clock = new SimClock();
  #store: Store | undefined;
  #lives = 0;
  #groups = 0;
  #fences = 0;
  #fence: { readonly fence: Fence; readonly number: number } | undefined;
  #events = 0;
  /** Payloads by sequence: of what is erased later, nobody else knows them. */
  readonly #payloads = new Map<number, string>();
  /** The first receipt of each key. */
  readonly #receipts = new Map<string, Receipt>();
  #compaction: { readonly compaction: Compaction; readonly erased: readonly number[] } | undefined;
  #sources = 0;
  #copies = 0;

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

  /** Whether a store is open. */
  get isOpen(): boolean {
    return this.#store !== undefined;
  }

  /** Whether a fence is open. */
  get isFenced(): boolean {
    return this.#fence !== undefined;
  }

  /** Whether a compaction has begun and not ended. */
  get isCompacting(): boolean {
    return this.#compaction !== undefined;
  }

  /** Puts a fact into the trace. */
  tell(fact: OracleFact): void {
    this.fs.mark(FACT_MARK, fact);
  }

  /** Goes on with another disk: what a crash has left. */
  moveTo(fs: SimFs): void {
    this.fs = fs;
    this.#forget();
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
      clock: this.clock,
      entropy,
    });
    this.#forget();
    this.#store = store;
    opened?.();
    const found = this.#unstruck(() => this.#found(store));
    this.tell({ type: "opened", found, first: store.stats().firstSequence });
    return store;
  }

  /** It is we who look at what is there, not the program under test. */
  #unstruck<T>(look: () => T): T {
    const { faultsArePaused } = this.fs;
    this.fs.faultsArePaused = true;
    try {
      return look();
    } finally {
      this.fs.faultsArePaused = faultsArePaused;
    }
  }

  /** Every event of ours by its payload, from some sequence on. */
  #found(store: Store, from = 0): Map<string, number> {
    const found = new Map<string, number>();
    const { firstSequence, nextSequence } = store.stats();
    for (let sequence = Math.max(from, firstSequence); sequence < nextSequence; sequence++) {
      const event = store.at(sequence);
      if (event === undefined || EventKind.isReserved(event.kind)) continue;
      const { payloadBytes } = event;
      const payload = payloadBytes === undefined
        ? this.#payloads.get(sequence) ?? ""
        : toHex(payloadBytes);
      // Nobody may have been told of it before the crash.
      this.#payloads.set(sequence, payload);
      found.set(payload, sequence);
    }
    return found;
  }

  /** Appends an event. Under a key that is known it has to be answered with the first receipt. */
  append(
    event: DriverEvent = {},
    how: "written" | "durable" | DriverAppendOptions = "written",
  ): Receipt {
    const item = this.#item(event);
    const { entity, scope, kind, payload, ...rest } = item;
    const more = typeof how === "string" ? { durability: how } : how;
    const [receipt] = this.#submit([item], () => [
      this.store.append({ entity, scope }, kind, payload, { ...rest, ...more }),
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
    const tickets = this.#refusing(group, () => fence.appendBatch(items));
    const sequences = tickets.map(({ globalSequence }) => globalSequence);
    this.#remember(sequences, items);
    this.tell({ type: "acknowledged", group, sequences });
    this.#durable();
  }

  /** Ends the fence. */
  endFence(end: "commit" | "cancel"): void {
    const { fence, number } = this.#fence!;
    if (end === "cancel") {
      // It counts even when it cannot be written.
      this.#fence = undefined;
      this.tell({ type: "uncommitted", fence: number });
      fence.cancel();
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

  /** Closes the store. It is closed even when that fails. */
  close(): void {
    const { nextSequence } = this.store.stats();
    const { store } = this;
    this.#forget();
    store.close();
    this.tell({ type: "durable", below: nextSequence });
  }

  /** A cursor with a checkpoint; to be closed by the caller. */
  bind(id: string, region: { readonly entity?: string; readonly scope?: string }): BoundDriver {
    const bound = bindCursor(this.store, region, id);
    return {
      bound,
      commit: () => {
        const { position, started } = bound.cursor.position;
        const sequence = started ? position : -1;
        this.tell({ type: "checkpointing", id, region, sequence });
        bound.commit();
        this.tell({ type: "checkpointed", id, sequence });
        this.#durable();
      },
    };
  }

  /** Compacts the journal. Rules are functions here, so that what they erase is known before. */
  compact(options: CompactionOptions = {}): CompactionReport {
    const erased = this.#erasing(options);
    return this.#compacted(this.store.compact(options), erased);
  }

  /**
   * Begins a compaction that goes on with {@linkcode compactionStep}, and takes its first step: what is
   * sealed by then is what it is about.
   */
  beginCompaction(options: CompactionOptions = {}): void {
    const erased = this.#erasing(options);
    this.#compaction = { compaction: this.store.compaction(options), erased };
    this.compactionStep();
  }

  /** Goes one step further; returns the report after the last one. */
  compactionStep(): CompactionReport | undefined {
    const { compaction, erased } = this.#compaction!;
    try {
      if (compaction.step()) return undefined;
    } catch (error) {
      this.#compaction = undefined;
      throw error;
    }
    this.#compaction = undefined;
    return this.#compacted(compaction.report!, erased);
  }

  /** Gives a compaction up. */
  abandonCompaction(): void {
    const { compaction } = this.#compaction!;
    this.#compaction = undefined;
    compaction.abandon();
  }

  /** Removes the oldest segments. */
  prune(options: PruneOptions): PruneReport {
    this.tell({ type: "pruning", below: options.below });
    const report = this.store.prune(options);
    const { outcome, firstSequence, body } = report;
    const isDurable = !body.findings.some(({ type }) => type === "CommitNotDurable");
    if (outcome === "performed" && isDurable) {
      this.tell({ type: "pruned", first: firstSequence });
    }
    this.#durable();
    return report;
  }

  /** Copies the journal; says where. */
  copy(
    how: "snapshot" | "fork",
    target: string = `/copies/${++this.#copies}`,
    share: ForkOptions["share"] = "hardlink",
  ): string {
    this.tell({ type: "copying", target });
    const { nextSequence: next } = how === "fork"
      ? this.store.fork(target, { share })
      : this.store.snapshot(target);
    this.tell({ type: "copied", target, next });
    this.#durable();
    return target;
  }

  /** Imports so many events of another journal, which is made for that and is gone afterwards. */
  importEvents(count: number, options: ImportOptions & { readonly chunkSize: number }): void {
    const namespace = `source ${++this.#sources}`;
    const entropy = new SimEntropy(SOURCE_SEED + this.#sources);
    const fs = new MemoryFs();
    const items = Array.from(
      { length: count },
      (_, n) => this.#item({ entity: `source:${n % 3}`, size: 8 + n }),
    );
    const written = Store.open("source", { fs, clock: this.clock, entropy });
    if (items.length > 0) written.appendBatch(items);
    written.close();
    using source = Store.openReadOnly("source", { fs, clock: this.clock });
    const { chunkSize } = options;
    const pages = [];
    for (let start = 0; start < count; start += chunkSize) {
      const page = items.slice(start, start + chunkSize);
      pages.push({ page, group: this.#submitted(page) });
    }
    const before = this.store.stats().nextSequence;
    let failure: { readonly error: unknown } | undefined;
    try {
      this.store.importEvents(source, { ...options, namespace });
    } catch (error) {
      failure = { error };
    }
    // Something of the store's own may have come first.
    const found = this.#unstruck(() => this.#found(this.store, before));
    for (const { page, group } of pages) {
      const sequences = page.map(({ payload }) => found.get(toHex(payload)));
      if (sequences.every((sequence) => sequence !== undefined)) {
        this.tell({ type: "acknowledged", group, sequences: sequences as number[] });
      } else if (!(failure?.error instanceof WriterCrashedError)) {
        this.tell({ type: "refused", group });
      }
    }
    if (failure !== undefined) throw failure.error;
    this.#durable();
  }

  /** What the rule of a compaction gives up; returns what of that it must not miss. */
  #erasing({ strategy = { type: "merge" }, seal = false }: CompactionOptions): readonly number[] {
    if (strategy.type === "merge" || typeof strategy.keep !== "function") return [];
    const { keep } = strategy;
    const events = this.store.query();
    // Only what is sealed is looked at, and the newest event may be in the active segment.
    const newest = Math.max(0, ...events.map(({ position }) => position.segmentId));
    const given = events.filter((event) =>
      !EventKind.isReserved(event.kind) && !event.isErased && !keep(event)
    );
    this.tell({ type: "erasing", sequences: given.map((event) => event.globalSequence) });
    return given.filter(({ position }) => seal || position.segmentId < newest)
      .map((event) => event.globalSequence);
  }

  #compacted(report: CompactionReport, erased: readonly number[]): CompactionReport {
    const { outcome, eventsErased, body } = report;
    const isDurable = !body.findings.some(({ type }) => type === "CommitNotDurable");
    if (outcome === "performed" && eventsErased < erased.length) {
      throw new OracleViolation(`${eventsErased} of ${erased.length} events were erased`);
    }
    if (outcome === "performed" && isDurable) this.tell({ type: "erased", sequences: erased });
    this.#durable();
    return report;
  }

  /** Whatever belonged to a store that is gone. */
  #forget(): void {
    this.#store = this.#fence = this.#compaction = undefined;
  }

  #remember(sequences: readonly number[], items: readonly BatchItem<Uint8Array>[]): void {
    sequences.forEach((sequence, i) => this.#payloads.set(sequence, toHex(items[i].payload)));
  }

  /** After a failed sync the events may be there or not; after any other failure they are not. */
  #refusing<T>(group: number, append: () => T): T {
    try {
      return append();
    } catch (error) {
      if (!(error instanceof WriterCrashedError)) this.tell({ type: "refused", group });
      throw error;
    }
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
    const { nextSequence } = this.store.stats();
    const keys = items.map(({ idempotencyKey: key }) =>
      key === undefined ? undefined : String(key)
    );
    const known = keys[0] === undefined ? undefined : this.store.getByKey(keys[0]);
    const group = this.#submitted(items);
    const receipts = this.#refusing(group, append);
    const isReplayed = receipts.every(({ replayed }) => replayed);
    if (isReplayed !== (known !== undefined)) {
      throw new OracleViolation(`a retry of ${keys[0]} does not say whether it is one`);
    }
    if (isReplayed) {
      if (this.store.stats().nextSequence !== nextSequence) {
        throw new OracleViolation(`a retry of ${keys[0]} has appended something`);
      }
      this.tell({ type: "refused", group });
    } else {
      const sequences = receipts.map(({ globalSequence }) => globalSequence);
      this.#remember(sequences, items);
      this.tell({ type: "acknowledged", group, sequences, receipts });
    }
    for (const [i, key] of keys.entries()) {
      if (key === undefined) continue;
      const first = isReplayed ? this.#receipts.get(key) : undefined;
      if (first !== undefined && !bytesEqual(first.header, receipts[i].header)) {
        throw new OracleViolation(`a retry of ${key} is answered with another receipt`);
      }
      this.#receipts.set(key, receipts[i]);
    }
    this.#durable();
    return receipts;
  }
}

/** No source journal draws the ids of a life. */
const SOURCE_SEED = 2_000_000;

/** A cursor whose commits are written down. */
export interface BoundDriver {
  /** The cursor. */
  readonly bound: DurableCursor;
  /** Commits, and tells. */
  readonly commit: () => void;
}
