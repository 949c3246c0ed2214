// A process with a store in a worker and many callers of it. It prints the key of every durable append that
// was answered, until it is killed.
import process from "node:process";
import { StoreClient } from "../store_client.ts";
import { EventKind } from "../../../store/event_kind.ts";

const [dir] = process.argv.slice(2);
const worker = new Worker(new URL("./store_worker.ts", import.meta.url), { type: "module" });
await new Promise((resolve) => worker.addEventListener("message", resolve, { once: true }));
worker.postMessage({ dir });
const client = await StoreClient.connect(worker);
const kind = EventKind.custom(0xF, 1);
process.stdout.write("open\n");
await Promise.all(Array.from({ length: 256 }, async (_, caller) => {
  for (let n = 0;; n++) {
    const idempotencyKey = `${caller}-${n}`;
    await client.append({ entity: `caller:${caller}`, scope: "app" }, kind, n, {
      idempotencyKey,
      durability: "durable",
    });
    process.stdout.write(`${idempotencyKey}\n`);
  }
}));
