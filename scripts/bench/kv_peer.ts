/**
 * Deno KV, in a file: events by sequence, sequences by id, and sequences by entity and clock. Every
 * operation is a promise, and every commit is synced; nothing can be set about either.
 *
 * @module
 */
import type { EventRow, Peer, PeerSearch, PeerTable } from "./peer.ts";

/** The part of Deno KV that is used here. The types come with a flag, like the thing itself. */
interface Kv {
  get<V>(key: KvKey): Promise<{ value: V | null }>;
  list<V>(
    selector: { prefix: KvKey },
    options: { batchSize?: number; reverse?: boolean; limit?: number },
  ): AsyncIterable<{ value: V }>;
  atomic(): KvOperation;
  close(): void;
}

interface KvOperation {
  check(...checks: { key: KvKey; versionstamp: string | null }[]): KvOperation;
  set(key: KvKey, value: unknown): KvOperation;
  commit(): Promise<{ ok: boolean }>;
}

type KvKey = (string | number)[];
type OpenKv = (path: string) => Promise<Kv>;

/** Finds it in Deno, when it was started with `--unstable-kv`. */
export function findKv(): PeerSearch {
  const { Deno: deno } = globalThis as {
    Deno?: { openKv?: OpenKv; version: { deno: string } };
  };
  if (deno === undefined) {
    return { missing: { name: "deno-kv", reason: "this runtime does not have it" } };
  }
  if (typeof deno.openKv !== "function") {
    return { missing: { name: "deno-kv", reason: "Deno was started without --unstable-kv" } };
  }
  return { peer: kvPeer(deno.openKv, deno.version.deno) };
}

function kvPeer(openKv: OpenKv, version: string): Peer {
  const settings =
    "one atomic operation for each event, always synced; a batch checks one key only";
  return {
    name: "deno-kv",
    version: `Deno ${version}`,
    settings: { written: settings, durable: settings },
    isAsync: true,
    canCheck: false,
    shareOfSlice: 16,
    open: async (path) => new KvTable(await openKv(path)),
  };
}

/** What is stored of an event; its sequence is in the key. */
type KvEvent = Omit<EventRow, "seq">;

/** The most that it takes. */
const LIST_BATCH_SIZE = 500;

class KvTable implements PeerTable {
  readonly #kv: Kv;

  constructor(kv: Kv) {
    this.#kv = kv;
  }

  async insert(row: EventRow): Promise<void> {
    const operation = this.#kv.atomic().check(
      { key: idKey(row), versionstamp: null },
      { key: clockKey(row), versionstamp: null },
    );
    const { ok } = await put(operation, row).commit();
    if (!ok) {
      throw new Error(`The id ${row.id} or the clock ${row.clock} of ${row.entity} is taken`);
    }
  }

  /** There may be a hundred checks in an operation, so all events stand behind the first one's. */
  async insertBatch(rows: readonly EventRow[]): Promise<void> {
    const operation = this.#kv.atomic().check({ key: idKey(rows[0]), versionstamp: null });
    for (const row of rows) put(operation, row);
    const { ok } = await operation.commit();
    if (!ok) throw new Error(`The id ${rows[0].id} is taken`);
  }

  async totalCentsOf(id: string): Promise<number> {
    const { value: seq } = await this.#kv.get<number>(["id", id]);
    const event = seq === null ? null : (await this.#kv.get<KvEvent>(["event", seq])).value;
    if (event === null) throw new Error(`There is no event ${id}`);
    return event.order.totalCents;
  }

  async latestTotalCents(): Promise<number> {
    const newest = this.#kv.list<KvEvent>({ prefix: ["event"] }, { reverse: true, limit: 1 });
    for await (const { value } of newest) return value.order.totalCents;
    throw new Error("There is no event");
  }

  async sumTotals(): Promise<number> {
    let sum = 0;
    for await (const { value } of this.#list()) sum += value.order.totalCents;
    return sum;
  }

  async sumClocks(): Promise<number> {
    let sum = 0;
    for await (const { value } of this.#list()) sum += value.clock;
    return sum;
  }

  check(): void {
    throw new Error("Deno KV has no check of itself");
  }

  /** Every commit has done it. */
  settle(): void {}

  close(): void {
    this.#kv.close();
  }

  #list(): AsyncIterable<{ value: KvEvent }> {
    return this.#kv.list<KvEvent>({ prefix: ["event"] }, { batchSize: LIST_BATCH_SIZE });
  }
}

function put(operation: KvOperation, row: EventRow): KvOperation {
  const { seq, id, entity, scope, kind, clock, ts, order } = row;
  return operation
    .set(["event", seq], { id, entity, scope, kind, clock, ts, order })
    .set(idKey(row), seq)
    .set(clockKey(row), seq);
}

function idKey({ id }: EventRow): KvKey {
  return ["id", id];
}

function clockKey({ entity, clock }: EventRow): KvKey {
  return ["clock", entity, clock];
}
