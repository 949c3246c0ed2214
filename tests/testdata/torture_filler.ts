/**
 * Appends to a journal on a disk that gets full, goes on whatever happens, and says so in lines: `sequence
 * id` of every event that it has a receipt for, `ENOSPC` of every call that was refused for want of room.
 */
import { writeSync } from "node:fs";
import process from "node:process";
import {
  EventKind,
  IoFault,
  type Receipt,
  Store,
  StoreError,
  WriterCrashedError,
} from "../../mod.ts";
import { seededRandom } from "../support_api/journal.ts";

const [, , dir, seed] = process.argv;
const random = seededRandom(Number(seed));
const say = (line: string) => writeSync(1, `${line}\n`);
const open = () => Store.open(dir, { segmentMaxBytes: 8_000, sync: { everyNEvents: 10 } });

function isNoSpace(error: unknown): boolean {
  let cause = error;
  while (cause instanceof Error && !(cause instanceof IoFault)) cause = cause.cause;
  return error instanceof StoreError && cause instanceof IoFault && cause.code === "ENOSPC";
}

let store: Store | undefined;
try {
  for (;;) {
    try {
      store ??= open();
      const item = () => ({
        entity: `thing:${Math.floor(random() * 5)}`,
        scope: "full",
        kind: EventKind.DATA,
        payload: "x".repeat(random() * 600),
      });
      let receipts: readonly Receipt[] = [];
      if (random() < 0.3) receipts = store.appendBatch(Array.from({ length: 6 }, item));
      else if (random() < 0.05) store.compact({ minSegments: 1 });
      else {
        const { kind, payload, ...at } = item();
        receipts = [store.append(at, kind, payload)];
      }
      for (const { globalSequence, eventId } of receipts) say(`${globalSequence} ${eventId}`);
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      say("ENOSPC");
      if (!(error instanceof WriterCrashedError)) continue;
      store?.[Symbol.dispose]();
      store = undefined;
    }
  }
} catch (error) {
  say(`broken ${JSON.stringify((error as Error).stack)}`);
}
