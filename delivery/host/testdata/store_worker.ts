// A worker that has a store. It says "ready", and is then told where the store is, and how it is served.
import { Store } from "../../../store/store.ts";
import type { StoreOptions } from "../../../store/store_options.ts";
import { type ServeOptions, serveStore } from "../../worker.ts";

interface Order {
  readonly dir: string;
  readonly store?: StoreOptions;
  readonly serve?: ServeOptions;
}

const scope = globalThis as unknown as {
  addEventListener(type: string, listener: (event: MessageEvent) => void): void;
  postMessage(message: unknown): void;
};
let isServing = false;
scope.addEventListener("message", ({ data }: MessageEvent<Order>) => {
  // Clients knock meanwhile.
  if (isServing || data.dir === undefined) return;
  isServing = true;
  serveStore(() => Store.open(data.dir, data.store), data.serve);
});
scope.postMessage("ready");
