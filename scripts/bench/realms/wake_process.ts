/**
 * A reader in another process that notes how late its handler gets each event. Told the directory and the
 * number of events, it says "ready", and at the end the list.
 *
 * @module
 */
import process from "node:process";
import { startCursorWorker, Store } from "../../../mod.ts";
import { SCOPE } from "../orders.ts";
import { latenessHandler } from "../wake_ups.ts";

const [, , dir, events] = process.argv;
const reader = Store.openReadOnly(dir);
const handler = latenessHandler({ events: Number(events) }, (latenessUs) => {
  console.log(JSON.stringify([...latenessUs]));
});
const worker = startCursorWorker(reader, { scope: SCOPE }, {}, handler);
console.log("ready");
await worker.join();
reader.close();
