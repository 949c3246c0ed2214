/**
 * LMDB, through the `lmdb` package: events by sequence, sequences by id, and sequences by entity and
 * clock, each in a database of its own, all three in one transaction. Values are MessagePack whose field
 * names are stored once for all, which the package offers and which makes reading three times as fast.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  type Durability,
  type EventRow,
  type Peer,
  PeerFiles,
  type PeerFollowing,
  type PeerSearch,
  type PeerTable,
} from "./peer.ts";

/** Where `install_peers.ts` puts what Deno's installer cannot install. */
export const PEERS_DIR: string = fileURLToPath(new URL("./peers", import.meta.url));

/** The part of the package that is used here. */
interface Lmdb {
  open(options: Record<string, unknown>): LmdbRoot;
}

interface LmdbRoot {
  openDB<V>(options: Record<string, unknown>): LmdbDatabase<V>;
  transaction(work: () => void): Promise<void>;
  transactionSync(work: () => void): void;
  close(): Promise<void>;
}

interface LmdbDatabase<V> {
  putSync(key: LmdbKey, value: V, options?: { noOverwrite: boolean }): boolean;
  get(key: LmdbKey): V | undefined;
  getRange(
    options: { start?: LmdbKey; reverse?: boolean; limit?: number },
  ): Iterable<{ key: LmdbKey; value: V }>;
}

type LmdbKey = string | number | (string | number)[];

/** Loads the package from where `deno task bench:peers` installs it. */
export function findLmdb(dir: string = PEERS_DIR): PeerSearch {
  let lmdb: Lmdb;
  try {
    // Deno resolves the package's own imports only when it is required; Bun does either way.
    lmdb = createRequire(join(dir, "package.json"))("lmdb") as Lmdb;
  } catch (error) {
    const { code, name } = error as { code?: string; name: string };
    // The message would name a path of this machine.
    const reason = code === "MODULE_NOT_FOUND"
      ? 'not installed: "deno task bench:peers" does that'
      : `it does not load: ${code ?? name}`;
    return { missing: { name: "lmdb", reason } };
  }
  const facts = readFileSync(join(dir, "node_modules", "lmdb", "package.json"), "utf8");
  const { version } = JSON.parse(facts) as { version: string };
  return { peer: lmdbPeer(lmdb, version) };
}

/**
 * `noSync` leaves writing back to the system, as our `written` does, and writing through the map is
 * faster still. What they give up is more than we do: a power cut may damage the whole database.
 */
const OPTIONS: Readonly<Record<Durability, Record<string, boolean>>> = {
  written: { noSync: true, useWritemap: true },
  // Otherwise the call may return before the sync.
  durable: { overlappingSync: false },
};

function lmdbPeer({ open }: Lmdb, version: string): Peer {
  return {
    name: "lmdb",
    version,
    settings: {
      written: "noSync, useWritemap, MessagePack values with shared structures",
      durable: "a sync for each transaction, MessagePack values with shared structures",
    },
    isAsync: false,
    canCheck: false,
    open: (path, durability) => new LmdbTable(open({ path, ...OPTIONS[durability] }), path),
  };
}

/** What is stored of an event; its sequence is the key. */
type LmdbEvent = Omit<EventRow, "seq">;

const ONLY_NEW = { noOverwrite: true } as const;

class LmdbTable implements PeerTable {
  readonly #root: LmdbRoot;
  readonly #files: PeerFiles;
  readonly #events: LmdbDatabase<LmdbEvent>;
  readonly #ids: LmdbDatabase<number>;
  readonly #clocks: LmdbDatabase<number>;

  constructor(root: LmdbRoot, path: string) {
    this.#root = root;
    this.#files = new PeerFiles([join(path, "data.mdb")]);
    this.#events = root.openDB({
      name: "events",
      encoding: "msgpack",
      sharedStructuresKey: Symbol.for("structures"),
    });
    this.#ids = root.openDB({ name: "ids", encoding: "msgpack" });
    this.#clocks = root.openDB({ name: "clocks", encoding: "msgpack" });
  }

  insert(row: EventRow): void {
    this.#root.transactionSync(() => this.#put(row));
  }

  insertBatch(rows: readonly EventRow[]): void {
    this.#root.transactionSync(() => {
      for (const row of rows) this.#put(row);
    });
  }

  totalCentsOf(id: string): number {
    const seq = this.#ids.get(id);
    const event = seq === undefined ? undefined : this.#events.get(seq);
    if (event === undefined) throw new Error(`There is no event ${id}`);
    return event.order.totalCents;
  }

  latestTotalCents(): number {
    for (const { value } of this.#events.getRange({ reverse: true, limit: 1 })) {
      return value.order.totalCents;
    }
    throw new Error("There is no event");
  }

  sumTotals(): number {
    let sum = 0;
    for (const { value } of this.#events.getRange({ start: 1 })) sum += value.order.totalCents;
    return sum;
  }

  sumClocks(): number {
    let sum = 0;
    for (const { value } of this.#events.getRange({ start: 1 })) sum += value.clock;
    return sum;
  }

  /** Whoever calls meanwhile is in the same transaction, and has one sync with the others. */
  insertShared(row: EventRow): Promise<void> {
    return this.#root.transaction(() => this.#put(row));
  }

  followTotals({ batchSize, saves }: PeerFollowing): number {
    const checkpoints = this.#root.openDB<number>({ name: "checkpoints", encoding: "msgpack" });
    let sum = 0;
    for (let last = 0;;) {
      const start = last;
      for (const { key, value } of this.#events.getRange({ start: start + 1, limit: batchSize })) {
        sum += value.order.totalCents;
        last = key as number;
      }
      if (last === start) return sum;
      if (saves) checkpoints.putSync("bench", last);
    }
  }

  check(): void {
    throw new Error("LMDB has no check of itself");
  }

  settle(): void {
    this.#files.settle();
  }

  async close(): Promise<void> {
    await this.#root.close();
    this.#files.close();
  }

  #put({ seq, id, entity, scope, kind, clock, ts, order }: EventRow): void {
    this.#events.putSync(seq, { id, entity, scope, kind, clock, ts, order });
    if (!this.#ids.putSync(id, seq, ONLY_NEW)) throw new Error(`The id ${id} is taken`);
    if (!this.#clocks.putSync([entity, clock], seq, ONLY_NEW)) {
      throw new Error(`${entity} has a clock ${clock} already`);
    }
  }
}
