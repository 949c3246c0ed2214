/**
 * A realm that has a store and serves it. It says "ready", and is then told the directory.
 *
 * @module
 */
import { Store } from "../../../mod.ts";
import { serveStore } from "../../../delivery/worker.ts";

const scope = globalThis as unknown as {
  addEventListener(type: string, listener: (event: MessageEvent) => void, options: object): void;
  postMessage(message: unknown): void;
};
scope.addEventListener("message", ({ data }) => serveStore(() => Store.open(data as string)), {
  once: true,
});
scope.postMessage("ready");
