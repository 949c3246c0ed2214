/**
 * Appends behind fences to the journal in the directory it is given, until somebody ends it, and compacts it
 * now and then. Says of every fence how it ended: `commit name` or `cancel name`, one a line, before the next.
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { EventKind, Store } from "../../mod.ts";

const [, , dir, seed] = process.argv;
const store = Store.open(dir, { segmentMaxBytes: 20_000, sync: { everyNEvents: 50 } });
writeSync(1, "ready\n");

let random = Number(seed);
for (let count = 0;; count++) {
  random = (random * 48_271) % 0x7fffffff;
  const name = `${seed}/${count}`;
  const of = 1 + random % 40;
  const at = { entity: `order:${random % 7}`, scope: "shop" };
  const fence = store.beginFence();
  for (let i = 0; i < of; i++) {
    fence.append(at, EventKind.DATA, { name, i, of }, { lane: random % 3 });
  }
  if (random % 3 === 0) fence.cancel();
  else fence.commit();
  writeSync(1, `${random % 3 === 0 ? "cancel" : "commit"} ${name}\n`);
  if (count % 60 === 59) store.compact({ minSegments: 2 });
}
