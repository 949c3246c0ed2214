/**
 * Appends to the journal in the directory it is given until somebody ends it, and says so of every
 * event that it has a receipt for: `sequence id payload`, one a line, written before the next append.
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { EventKind, type Receipt, Store } from "../../mod.ts";

const [, , dir, seed] = process.argv;
const store = Store.open(dir, { segmentMaxBytes: 20_000, sync: { everyNEvents: 50 } });
writeSync(1, "ready\n");

let count = 0;
let random = Number(seed);
for (;;) {
  random = (random * 48_271) % 0x7fffffff;
  const entity = `order:${random % 7}`;
  const kind = EventKind.DATA;
  const payload = { seed, count: count++, filling: "x".repeat(random % 400) };
  const of = 2 + random % 9;
  const receipts: readonly Receipt[] = random % 4 === 0
    ? store.appendBatch(
      Array.from({ length: of }, (_, i) => ({
        entity,
        scope: "shop",
        kind,
        payload: { ...payload, of, i },
      })),
    )
    : [store.append({ entity, scope: "shop" }, kind, payload, {
      durability: random % 5 === 0 ? "durable" : "written",
      idempotencyKey: `${seed}/${payload.count}`,
    })];
  for (const { globalSequence, eventId } of receipts) {
    writeSync(1, `${globalSequence} ${eventId} ${payload.count}\n`);
  }
}
