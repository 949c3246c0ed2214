/** A worker whose user talks to it beside its work. */
import { serveCursorWorker } from "../../worker.ts";

const scope = globalThis as unknown as Worker;
scope.addEventListener("message", ({ data }) => {
  if (data?.own !== undefined) scope.postMessage({ own: data.own });
});
serveCursorWorker((batch) => {
  scope.postMessage({ own: batch.length });
  return "continue";
});
