// What the tests of the host share: a host in this realm, whose syncs are counted.
import { newChannel } from "../../../platform/realm.ts";
import { type ClientOptions, StoreClient } from "../store_client.ts";
import { type ServeOptions, StoreHost } from "../store_host.ts";
import { MemoryFs } from "../../../platform/memory.ts";
import { EventKind } from "../../../store/event_kind.ts";
import { Store } from "../../../store/store.ts";
import type { StoreOptions } from "../../../store/store_options.ts";

export const DURABLE = { durability: "durable" } as const;
export const KIND: EventKind = EventKind.custom(0xF, 1);
export const USER = { entity: "user:1", scope: "app" };

/** Files in memory that count the syncs of what is open for writing. */
export class CountingFs extends MemoryFs {
  syncCount = 0;

  override open(...args: Parameters<MemoryFs["open"]>): ReturnType<MemoryFs["open"]> {
    const file = super.open(...args);
    const sync = file.sync.bind(file);
    file.sync = (mode) => {
      this.syncCount++;
      sync(mode);
    };
    return file;
  }
}

/** A store and its host in this realm, with clients on ports. */
export class Rig {
  readonly fs = new CountingFs();
  readonly store: Store;
  readonly host: StoreHost;

  constructor(options: { store?: StoreOptions; serve?: ServeOptions } = {}) {
    this.store = Store.open("journal", { fs: this.fs, ...options.store });
    this.host = new StoreHost(this.store, options.serve);
  }

  connect(options: ClientOptions = {}): Promise<StoreClient> {
    return StoreClient.connect(this.host.openPort({ mayShutdown: true }), options);
  }

  /** A port on which nobody keeps to the protocol, with what the host says on it. */
  speak(): { port: MessagePort; heard: unknown[]; until: (count: number) => Promise<unknown[]> } {
    const { port1, port2 } = newChannel();
    this.host.accept(port1, false);
    const heard: unknown[] = [];
    let wake = () => {};
    port2.onmessage = ({ data }) => {
      heard.push(data);
      wake();
    };
    const until = async (count: number) => {
      while (heard.length < count) await new Promise<void>((resolve) => wake = resolve);
      return heard;
    };
    return { port: port2, heard, until };
  }

  /** The payloads of the user's events, in order. */
  payloads(entity: string = USER.entity): unknown[] {
    return this.store.query({ entity }).map(({ payload }) => payload);
  }

  [Symbol.dispose](): void {
    this.host.close();
  }
}

/** The error of a promise that rejects. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}
