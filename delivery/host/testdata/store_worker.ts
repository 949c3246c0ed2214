// A worker that has a store. It says "ready", and is then told where the store is, and how it is served.
import { Store, type StoreOptions } from "../../../mod.ts";
import { type ServeOptions, serveStore } from "../../worker.ts";

interface Order {
  readonly dir: string;
  readonly store?: StoreOptions;
  readonly serve?: ServeOptions;
}

const scope = globalThis as unknown as {
  addEventListener(type: string, listener: (event: MessageEvent) => void, options: object): void;
  postMessage(message: unknown): void;
};
scope.addEventListener("message", ({ data }: MessageEvent<Order>) => {
  serveStore(() => Store.open(data.dir, data.store), data.serve);
}, { once: true });
scope.postMessage("ready");
