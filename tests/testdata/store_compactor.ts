/**
 * Appends to the journal in the directory it is given, compacts it and prunes it, over and over, until
 * somebody ends it. Says `sequence id` of every event that it has a receipt for, and `pruning sequence`
 * before it prunes below one. Erases payloads only of events whose id ends in a digit divisible by three.
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { EventKind, Store, type StoredEvent } from "../../mod.ts";

const [, , dir, seed] = process.argv;
const store = Store.open(dir, { segmentMaxBytes: 6_000, sync: { everyNEvents: 20 } });
writeSync(1, "ready\n");

let random = Number(seed);
function below(end: number): number {
  random = (random * 48_271) % 0x7fffffff;
  return random % end;
}
const keep = ({ eventId }: StoredEvent) => Number.parseInt(eventId.slice(-1), 16) % 3 !== 0;

for (;;) {
  const compaction = store.compaction({
    strategy: below(3) === 0 ? { type: "merge" } : { type: "tombstone", keep },
    mergedSegmentMaxBytes: 20_000,
    minSegments: 1,
    stepMaxBytes: 4_096,
    seal: below(4) === 0,
  });
  do {
    const { globalSequence, eventId } = store.append(
      { entity: `order:${below(5)}`, scope: "shop" },
      EventKind.DATA,
      { filling: "x".repeat(1 + below(900)) },
    );
    writeSync(1, `${globalSequence} ${eventId}\n`);
  } while (compaction.step());
  if (below(6) === 0) {
    const { nextSequence } = store.stats();
    writeSync(1, `pruning ${nextSequence - 100}\n`);
    store.prune({ below: Math.max(0, nextSequence - 100) });
  }
}
