/**
 * A program with a cursor worker in a realm of its own, to be built into one executable together with the
 * worker's file. Given a directory, it appends, waits until everything was handled, and says what came of it.
 */
import { EventKind, startCursorWorker, Store } from "../../../mod.ts";
import process from "node:process";

const [dir] = process.argv.slice(2);
using store = Store.open(dir, { segmentMaxBytes: 20_000 });
for (let n = 0; n < 500; n++) {
  store.append({ entity: `order:${n}`, scope: "shop" }, EventKind.DATA, { n });
}

const started = new Worker(new URL("./handler.ts", import.meta.url), { type: "module" });
let sum = 0;
started.addEventListener("message", ({ data }) => {
  if (typeof data.sum === "number") sum = data.sum;
});
const worker = startCursorWorker(store, { entity: "order" }, {
  checkpointId: "single-file",
  worker: started,
  init: { last: 499 },
});
await worker.join();
console.log(JSON.stringify({ sum, end: worker.status.end, committed: worker.status.committed }));
