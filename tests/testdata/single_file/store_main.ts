// A program that is built into one executable with its store worker: it appends, closes, and says what is
// there.
import process from "node:process";
import { BlockingStoreClient, EventKind, StoreClient } from "../../../mod.ts";

const worker = new Worker(new URL("./store_worker.ts", import.meta.url), { type: "module" });
const client = await StoreClient.connect(worker);
const user = { entity: "user:1", scope: "app" };
const receipts = await Promise.all(
  Array.from(
    { length: 100 },
    (_, n) => client.append(user, EventKind.DATA, { n }, { durability: "durable" }),
  ),
);
const blocking = BlockingStoreClient.connect(client.openPort());
const payload = blocking.latest("user:1")?.payload;
blocking.close();
const { eventCount, durableSequence } = await client.stats();
await client.shutdown();
process.stdout.write(
  JSON.stringify({ lastClock: receipts[99].clock, payload, eventCount, durableSequence }),
);
