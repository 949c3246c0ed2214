// A worker that listens once its imports are there, as the simplest ones do.
import { EventKind } from "../../mod.ts";
import { AtLeastOnce } from "../../delivery/worker.ts";

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent) => void;
  postMessage(message: unknown): void;
};
scope.onmessage = ({ data }) =>
  scope.postMessage([data, EventKind.DATA, typeof AtLeastOnce === "function"]);
