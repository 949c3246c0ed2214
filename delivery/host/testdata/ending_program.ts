// A process that uses a store in a worker and one in its own realm, closes both, and has nothing more to do.
import process from "node:process";
import { MemoryFs } from "../../../platform/memory.ts";
import { EventKind } from "../../../store/event_kind.ts";
import { Store } from "../../../store/store.ts";
import { StoreClient } from "../store_client.ts";
import { StoreHost } from "../store_host.ts";

const [dir] = process.argv.slice(2);
const user = { entity: "user:1", scope: "app" };
const worker = new Worker(new URL("./store_worker.ts", import.meta.url), { type: "module" });
await new Promise((resolve) => worker.addEventListener("message", resolve, { once: true }));
worker.postMessage({ dir });
const client = await StoreClient.connect(worker);
// Another one shares its line; a line that has ended is made again.
const second = await StoreClient.connect(worker);
await second.append(user, EventKind.DATA, 1);
await second.close();
const child = await StoreClient.connect(client.openPort());
await child.append(user, EventKind.DATA, 1);
await child.close();
await client.close();
const last = await StoreClient.connect(worker);
await last.append(user, EventKind.DATA, 1);
await last.shutdown();

const host = new StoreHost(Store.open("journal", { fs: new MemoryFs() }));
const local = await StoreClient.connect(host.openPort());
await local.append(user, EventKind.DATA, 1);
await local.close();
host.close();
process.stdout.write("done\n");
