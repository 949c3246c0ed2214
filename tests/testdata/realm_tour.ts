/** A program whose handler runs in a realm that may read the journal's directory, and nothing else. */
import { EventKind, startCursorWorker, Store } from "../../mod.ts";
import process from "node:process";

const [, , dir] = process.argv;
const store = Store.open(`${dir}/journal`, { segmentMaxBytes: 3_000 });
for (let n = 0; n < 100; n++) {
  store.append({ entity: "order:1", scope: "shop" }, EventKind.DATA, { n });
}
const options = { type: "module", deno: { permissions: { read: [store.dir] } } };
const realm = new Worker(
  new URL("./realm_tour_worker.ts", import.meta.url),
  options as WorkerOptions,
);
let said: unknown;
realm.addEventListener("message", ({ data }) => said = data.said ?? said);
await startCursorWorker(store, { entity: "order" }, { worker: realm, init: store.dir }).join();
store.close();
console.log(JSON.stringify(said));
