/**
 * A life of a journal, drawn from a seed: some of everything that writes, and a note of where each operation
 * stands in the trace of its disk.
 *
 * Operations are dealt from a deck, again and again, so that a few decks hold each kind a few times, in an
 * order of their own. The first ones are not drawn: a crash must never come before there is something to
 * lose.
 *
 * @module
 */

import {
  EventKind,
  type JournalReader,
  listCheckpoints,
  type Receipt,
  type StoreOptions,
} from "../mod.ts";
import { Driver, DRIVER_DIR, type DriverEvent } from "./driver.ts";
import type { SimFs } from "./sim_fs.ts";
import { SimRandom } from "./sim_random.ts";

/** What a journal can go through. */
export type LifeOpKind =
  | "append"
  | "durable append"
  | "batch"
  | "durable batch"
  | "sync"
  | "fence"
  | "cancelled fence"
  | "checkpoint"
  | "merge"
  | "erasure"
  | "prune"
  | "close"
  | "open";

/** An operation that was done. */
export interface LifeOp {
  /** What it was. */
  readonly kind: LifeOpKind;
  /** Its first step of the trace. */
  readonly start: number;
  /** Behind its last one. */
  readonly end: number;
  /** Whether a journal says what only this operation has brought about; without, nothing can be said. */
  readonly isThere?: (reader: JournalReader, fs: SimFs) => boolean;
}

/** How its journal is opened: so small segments that every few events roll. */
export const LIFE_OPTIONS: StoreOptions = { segmentMaxBytes: 900 };

/** One deal of it is 21 operations. */
const DECK: readonly LifeOpKind[] = [
  ...Array.from({ length: 6 }, () => "append" as const),
  ...Array.from({ length: 3 }, () => "durable append" as const),
  ...Array.from({ length: 2 }, () => "batch" as const),
  ...Array.from({ length: 2 }, () => "durable batch" as const),
  "sync",
  "fence",
  "cancelled fence",
  "checkpoint",
  "merge",
  "erasure",
  "prune",
  "close",
];

/** What a life begins with. */
const PRELUDE: readonly LifeOpKind[] = ["open", "append", "append", "sync"];

/** Events that a prune leaves, and whose payloads an erasure leaves. */
const KEPT_BY_PRUNE = 20;
const KEPT_BY_ERASURE = 10;
/** So that there are always several segments, and a prune finds some to take. */
const MERGED_MAX_BYTES = 2500;

/** The operations of a seed. */
export function lifeOf(seed: number, steps: number): LifeOpKind[] {
  const random = new SimRandom(seed).stream("life");
  const kinds = [...PRELUDE];
  while (kinds.length < steps) kinds.push(...random.shuffle([...DECK]));
  return kinds.slice(0, Math.max(steps, PRELUDE.length));
}

/** Carries operations out. */
export class LifeDriver {
  /** What was done. */
  readonly ops: LifeOp[] = [];
  /** What drives the store. */
  readonly driver: Driver;
  readonly #random: SimRandom;
  #keys = 0;

  /** Opens nothing yet. */
  constructor(fs: SimFs, seed: number, options: StoreOptions = LIFE_OPTIONS) {
    this.driver = new Driver(fs, options);
    this.#random = new SimRandom(seed).stream("events");
  }

  /** Carries out some operations. */
  run(kinds: readonly LifeOpKind[]): void {
    for (const kind of kinds) {
      this.do(kind);
      // Somebody has to open it again.
      if (kind === "close") this.do("open");
    }
  }

  /** Carries out one. */
  do(kind: LifeOpKind): void {
    const { fs } = this.driver;
    const start = fs.trace.length;
    const isThere = this.#do(kind);
    const op = { kind, start, end: fs.trace.length };
    this.ops.push(isThere === undefined ? op : { ...op, isThere });
  }

  #do(kind: LifeOpKind): LifeOp["isThere"] {
    const { driver } = this;
    switch (kind) {
      case "open":
        return void driver.open();
      case "append":
        return holds([driver.append(this.#event())]);
      case "durable append":
        return holds([driver.append(this.#event(), "durable")]);
      case "batch":
        return holds(driver.batch(this.#events()));
      case "durable batch":
        return holds(driver.batch(this.#events(), { durability: "durable" }));
      case "sync":
        return void driver.sync();
      case "fence":
      case "cancelled fence": {
        const { nextSequence } = driver.store.stats();
        driver.beginFence();
        driver.stage(this.#events());
        driver.stage([this.#event()]);
        driver.endFence(kind === "fence" ? "commit" : "cancel");
        // In front of the first staged event stands the one that says that a fence has begun.
        return (reader) => isListed(reader, nextSequence + 1);
      }
      case "checkpoint": {
        const { bound, commit } = driver.bind("reader", { scope: "app" });
        using _bound = bound;
        const before = bound.committed.position;
        bound.cursor.pollBatch(1 + this.#random.below(4));
        commit();
        const { position } = bound.committed;
        if (position === before) return undefined;
        return (_reader, fs) =>
          listCheckpoints(DRIVER_DIR, { fs }).some((found) =>
            found.type === "checkpoint" && found.checkpoint.position === position
          );
      }
      case "merge": {
        const { segmentCount: before } = driver.store.stats();
        driver.compact({ minSegments: 2, mergedSegmentMaxBytes: MERGED_MAX_BYTES });
        const { segmentCount } = driver.store.stats();
        if (segmentCount === before) return undefined;
        return (reader) => reader.stats().segmentCount === segmentCount;
      }
      case "erasure": {
        const { nextSequence } = driver.store.stats();
        const erased = () => driver.store.query().filter(({ isErased }) => isErased);
        const { length: before } = erased();
        const keep = ({ globalSequence }: { readonly globalSequence: number }) =>
          globalSequence >= nextSequence - KEPT_BY_ERASURE;
        driver.compact({
          minSegments: 1,
          mergedSegmentMaxBytes: MERGED_MAX_BYTES,
          strategy: { type: "tombstone", keep },
        });
        const after = erased();
        if (after.length === before) return undefined;
        const last = after[after.length - 1].globalSequence;
        return (reader) => reader.at(last)?.isErased === true;
      }
      case "prune": {
        const { nextSequence, firstSequence: before } = driver.store.stats();
        driver.prune({ below: Math.max(0, nextSequence - KEPT_BY_PRUNE) });
        const { firstSequence } = driver.store.stats();
        if (firstSequence === before) return undefined;
        return (reader) => reader.stats().firstSequence === firstSequence;
      }
      case "close": {
        const { nextSequence } = driver.store.stats();
        driver.close();
        return (reader) => reader.at(nextSequence)?.kind === EventKind.SYSTEM_CLOSE_COMPLETED;
      }
    }
  }

  #event(): DriverEvent {
    const random = this.#random;
    return {
      entity: `user:${random.below(3)}`,
      scope: random.chance(0.8) ? "app" : "shop",
      lane: random.below(2),
      size: 4 + random.below(random.chance(0.1) ? 900 : 60),
      ...(random.chance(0.4) ? { key: `key ${this.#keys++}` } : {}),
    };
  }

  /** For a batch, whose items have keys all of them or none. */
  #events(): DriverEvent[] {
    const isKeyed = this.#random.chance(0.5);
    return Array.from({ length: 2 + this.#random.below(3) }, () => {
      const { key: _key, ...event } = this.#event();
      return isKeyed ? { ...event, key: `key ${this.#keys++}` } : event;
    });
  }
}

function holds(receipts: readonly Receipt[]): LifeOp["isThere"] {
  return (reader) =>
    receipts.every(({ globalSequence, eventId }) =>
      reader.at(globalSequence)?.eventId === eventId && isListed(reader, globalSequence)
    );
}

function isListed(reader: JournalReader, sequence: number): boolean {
  return reader.query({}).some(({ globalSequence }) => globalSequence === sequence);
}
