/** Appends one batch for each line it reads, and answers with the next sequence. */
import { writeSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { EventKind, Store } from "../../mod.ts";

const store = Store.open(process.argv[2], { segmentMaxBytes: 5_000 });
writeSync(1, `${store.stats().nextSequence}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  store.appendBatch(
    Array.from({ length: Number(line) }, (_, i) => ({
      entity: "order:1",
      scope: "shop",
      kind: EventKind.DATA,
      payload: { of: Number(line), i, filling: "x".repeat(100) },
    })),
  );
  writeSync(1, `${store.stats().nextSequence}\n`);
}
