/**
 * Group commit, as contestants: so many callers at once, each waits until its event is durable before it
 * asks for the next.
 *
 * The journal is in a realm of its own, and each caller is a client of it with a connection of its own.
 * Peers are spared the way to another realm: their callers are in the realm that writes. Where a peer has
 * nothing for many callers, all that ask within a turn share a transaction, as one would write it.
 *
 * @module
 */
import { StoreClient } from "../../mod.ts";
import { runtime } from "../../platform/runtime.ts";
import type { Latencies } from "./measure.ts";
import { latenciesOf } from "./measure.ts";
import { entityOf, ORDER_PLACED, orderOf, SCOPE } from "./orders.ts";
import type { Answer, EventRow, Peer, PeerTable } from "./peer.ts";
import { Realm } from "./realm.ts";
import { RowMaker, type Subject } from "./writers.ts";

/** How many callers, and how much they do in a slice. */
export interface GroupOptions {
  readonly callers: number;
  readonly eventsPerSlice: number;
  /** Clients that the callers share; default: each has its own. */
  readonly clients?: number;
}

const DURABLE = { durability: "durable" } as const;

/** Clients of a store that another realm serves. */
export class HostClients implements Subject {
  readonly name = "batpak";
  readonly #realm: Realm;
  readonly #clients: readonly StoreClient[];
  readonly #options: GroupOptions;
  #next = 0;
  #bytesPerEvent = NaN;

  private constructor(realm: Realm, clients: readonly StoreClient[], options: GroupOptions) {
    this.#realm = realm;
    this.#clients = clients;
    this.#options = options;
  }

  /** Begins a journal in `dir`, in another realm, and connects to it. */
  static async start(dir: string, options: GroupOptions): Promise<HostClients> {
    const realm = await Realm.start("store");
    realm.worker.postMessage(dir);
    const clients: StoreClient[] = [];
    for (let i = options.clients ?? options.callers; i > 0; i--) {
      clients.push(await StoreClient.connect(realm.worker));
    }
    return new HostClients(realm, clients, options);
  }

  async slice(): Promise<number> {
    await callAtOnce(this.#options, (caller) => this.#append(caller));
    return this.#options.eventsPerSlice;
  }

  /** How long each of so many appends takes, all callers at work. */
  async sample(count: number): Promise<Latencies> {
    const timesUs = new Float64Array(count);
    let taken = 0;
    await callAtOnce({ ...this.#options, eventsPerSlice: count }, async (caller) => {
      const startMs = performance.now();
      await this.#append(caller);
      timesUs[taken++] = (performance.now() - startMs) * 1000;
    });
    return latenciesOf(timesUs);
  }

  async rest(): Promise<void> {
    const [client] = this.#clients;
    const { logBytes, eventCount } = await client.stats();
    this.#bytesPerEvent = logBytes / eventCount;
  }

  bytesPerEvent(): number {
    return this.#bytesPerEvent;
  }

  async close(): Promise<void> {
    await this.#clients[0].shutdown();
    this.#realm.end();
  }

  #append(caller: number): Promise<unknown> {
    const n = this.#next++;
    const client = this.#clients[caller % this.#clients.length];
    return client.append({ entity: entityOf(n), scope: SCOPE }, ORDER_PLACED, orderOf(n), DURABLE);
  }
}

/** Has so many callers call, each one call at a time, until all of them have made as many as are wanted. */
async function callAtOnce(
  { callers, eventsPerSlice }: GroupOptions,
  call: (caller: number) => Promise<unknown>,
): Promise<void> {
  let left = eventsPerSlice;
  const loops: Promise<void>[] = [];
  for (let caller = 0; caller < callers; caller++) {
    loops.push((async () => {
      while (left-- > 0) await call(caller);
    })());
  }
  await Promise.all(loops);
}

/** Callers of a peer. */
export class PeerGroup implements Subject {
  readonly name: string;
  readonly #table: PeerTable;
  readonly #options: GroupOptions;
  readonly #rows = new RowMaker();
  readonly #insert: (row: EventRow) => Promise<void>;

  /** @param table an empty one, opened to be durable. */
  constructor(peer: Peer, table: PeerTable, { eventsPerSlice, ...options }: GroupOptions) {
    this.name = peer.name;
    this.#table = table;
    this.#options = {
      ...options,
      eventsPerSlice: Math.ceil(eventsPerSlice / (peer.shareOfSlice ?? 1)),
    };
    if (table.insertShared !== undefined) {
      this.#insert = (row) => table.insertShared!(row);
    } else if (peer.isAsync) {
      this.#insert = async (row) => await table.insert(row);
    } else {
      const batch = new TurnBatch(table);
      this.#insert = (row) => batch.insert(row);
    }
  }

  async slice(): Promise<number> {
    await callAtOnce(this.#options, () => this.#insert(this.#rows.next()));
    return this.#options.eventsPerSlice;
  }

  close(): Answer<void> {
    return this.#table.close();
  }
}

/** Puts what is inserted within a turn into one transaction. */
class TurnBatch {
  readonly #table: PeerTable;
  #rows: EventRow[] = [];
  #waiting: PromiseWithResolvers<void>[] = [];

  constructor(table: PeerTable) {
    this.#table = table;
  }

  insert(row: EventRow): Promise<void> {
    if (this.#rows.push(row) === 1) void runtime.scheduler.turn().then(() => this.#commit());
    const answer = Promise.withResolvers<void>();
    this.#waiting.push(answer);
    return answer.promise;
  }

  #commit(): void {
    const rows = this.#rows;
    const waiting = this.#waiting;
    this.#rows = [];
    this.#waiting = [];
    try {
      void this.#table.insertBatch(rows);
      for (const { resolve } of waiting) resolve();
    } catch (error) {
      for (const { reject } of waiting) reject(error);
    }
  }
}
