/**
 * Those who follow, as contestants: a handler is given every event in batches, and decodes each payload.
 * With a checkpoint, where it got to is durable after each batch. Every one of them adds up the totals,
 * so nobody wins by leaving something out.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type CursorWorkerAction, startCursorWorker, Store, type StoredEvent } from "../../mod.ts";
import type { StoreFs } from "../../platform/fs.ts";
import type { Fixture, JournalFixture } from "./library.ts";
import { type Order, SCOPE, totalCentsUpTo } from "./orders.ts";
import type { Answer, PeerFollowing, PeerTable } from "./peer.ts";
import { Realm } from "./realm.ts";
import type { Subject } from "./writers.ts";

/** How somebody follows. */
export interface FollowerOptions {
  readonly batchSize: number;
  /** Whether each batch ends with a durable checkpoint. */
  readonly saves: boolean;
}

/** What a handler has to know. */
export interface FollowTask {
  /** How many events there are. */
  readonly events: number;
}

/** A handler that adds up the totals of all orders, and says the sum after the last one. */
export function totalsHandler(
  { events }: FollowTask,
  onSum: (sum: number) => void,
): (batch: readonly StoredEvent[]) => CursorWorkerAction {
  let sum = 0;
  let count = 0;
  return (batch) => {
    for (const event of batch) sum += (event.payload as Order).totalCents;
    count += batch.length;
    if (count < events) return "continue";
    onSum(sum);
    return "stop";
  };
}

/** No slice goes on where another one got to. */
let sliceCount = 0;

/** Follows a journal with a cursor worker; each slice goes from the first event to the last. */
export class JournalFollower implements Subject {
  readonly name = "batpak";
  readonly #store: Store;
  readonly #task: FollowTask;
  readonly #options: FollowerOptions & { readonly ownRealm: boolean };
  readonly #expected: number;
  #realm: Realm | undefined;

  /** @param options with `ownRealm` the handler runs in a Web Worker. */
  constructor(
    journal: JournalFixture,
    fs: StoreFs,
    options: FollowerOptions & { readonly ownRealm: boolean },
  ) {
    this.#store = Store.open(journal.path, { fs });
    this.#task = { events: journal.events };
    this.#options = options;
    this.#expected = totalCentsUpTo(journal.events);
  }

  /** The realm has loaded its modules before the clock starts. */
  async ready(): Promise<void> {
    if (this.#options.ownRealm) this.#realm = await Realm.start("follow");
  }

  async slice(): Promise<number> {
    const { batchSize, saves } = this.#options;
    const options = {
      batchSize,
      ...(saves && { checkpointId: `bench-${sliceCount++}` }),
    };
    const region = { scope: SCOPE };
    let sum: number | undefined;
    if (this.#realm === undefined) {
      const handler = totalsHandler(this.#task, (total) => sum = total);
      await startCursorWorker(this.#store, region, options, handler).join();
    } else {
      const { worker } = this.#realm;
      const total = this.#realm.next<{ readonly sum: number }>("sum");
      await startCursorWorker(this.#store, region, { ...options, worker, init: this.#task }).join();
      ({ sum } = await total);
    }
    assert.equal(sum, this.#expected, "a follower saw what was written");
    return this.#task.events;
  }

  rest(): void {
    this.#realm?.end();
    this.#realm = undefined;
  }

  close(): void {
    this.rest();
    this.#store.close();
  }
}

/** Follows the table of a peer that can be asked for what comes after an event. */
export class PeerFollower implements Subject {
  readonly name: string;
  readonly #table: PeerTable;
  readonly #fixture: Fixture;
  readonly #following: PeerFollowing;
  readonly #expected: number;

  /** @param table opened to be durable. */
  constructor(name: string, table: PeerTable, fixture: Fixture, following: PeerFollowing) {
    this.name = name;
    this.#table = table;
    this.#fixture = fixture;
    this.#following = following;
    this.#expected = totalCentsUpTo(fixture.events);
  }

  slice(): number {
    assert.equal(this.#table.followTotals?.(this.#following), this.#expected, this.name);
    return this.#fixture.events;
  }

  close(): Answer<void> {
    return this.#table.close();
  }
}
