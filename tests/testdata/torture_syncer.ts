/**
 * Appends to a journal on a disk of which one sync fails, and says in lines what became of it:
 * `sequence id` of every event that it has a receipt for, `refused` when a call failed and the store went
 * on, `stopped` when its writer gave up, as it has to, and `done` in the end.
 */
import { writeSync } from "node:fs";
import process from "node:process";
import {
  bindCursor,
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
const say = (line: string) => void writeSync(1, `${line}\n`);
const acknowledged = new Map<string, number>();
const AT = { entity: "thing:1", scope: "sync" };

function acknowledge(receipts: readonly Receipt[]): void {
  for (const { globalSequence, eventId } of receipts) {
    acknowledged.set(eventId, globalSequence);
    say(`${globalSequence} ${eventId}`);
  }
}

function ensure(isTrue: boolean, what: string): void {
  if (!isTrue) throw new Error(what);
}

/** It is ours, and has what the system said in it. */
function assertFault(error: unknown): void {
  let cause = error;
  while (cause instanceof Error && !(cause instanceof IoFault)) cause = cause.cause;
  const isTyped = error instanceof StoreError && cause instanceof IoFault && cause.code === "EIO";
  ensure(isTyped, `the error is ${(error as Error).stack}`);
}

function mustStop(what: string, action: () => void): void {
  try {
    action();
  } catch (error) {
    ensure(error instanceof WriterCrashedError, `${what}: ${(error as Error).stack}`);
    return;
  }
  throw new Error(`${what} goes on behind a sync that has failed`);
}

function checkAll(store: Store): void {
  for (const [id, sequence] of acknowledged) {
    ensure(store.get(id)?.globalSequence === sequence, `${sequence} is lost`);
  }
}

/** The writer has stopped: nothing but reads and an open go on. */
function checkStopped(store: Store): void {
  const durable = store.durableSequence;
  mustStop("an append", () => store.append(AT, EventKind.DATA, "more"));
  mustStop("a batch", () => store.appendBatch([{ ...AT, kind: EventKind.DATA, payload: "more" }]));
  mustStop("a fence", () => store.beginFence());
  mustStop("a sync", () => store.sync());
  mustStop("a compaction", () => store.compact());
  ensure(store.durableSequence === durable, "more is durable than before");
  checkAll(store);
  mustStop("a close", () => store.close());
  say("stopped");
}

function open(): Store {
  for (;;) {
    try {
      const store = Store.open(dir, { segmentMaxBytes: 4_000, sync: { everyNEvents: 7 } });
      checkAll(store);
      return store;
    } catch (error) {
      assertFault(error);
      say("refused");
    }
  }
}

try {
  let store = open();
  for (let i = 0; i < 60; i++) {
    try {
      const dice = random();
      const payload = "x".repeat(random() * 300);
      const durability = random() < 0.3 ? "durable" : "written";
      if (dice < 0.7) {
        acknowledge([store.append(AT, EventKind.DATA, payload, { durability })]);
      } else if (dice < 0.85) {
        const item = { ...AT, kind: EventKind.DATA, payload };
        acknowledge(store.appendBatch([item, item, item], { durability }));
      } else if (dice < 0.9) {
        using fence = store.beginFence();
        fence.append(AT, EventKind.DATA, payload);
        acknowledge(fence.commit());
      } else if (dice < 0.95) {
        using bound = bindCursor(store, { scope: AT.scope }, "syncer");
        bound.cursor.pollBatch(5);
        bound.commit();
      } else {
        const { outcome, cause } = store.compact({ minSegments: 1, seal: true });
        if (outcome === "failed") {
          say("refused");
          ensure(cause instanceof Error, "a failure has a cause");
        }
      }
    } catch (error) {
      assertFault(error);
      let isStopped = false;
      try {
        store.sync();
      } catch (again) {
        isStopped = again instanceof WriterCrashedError;
      }
      if (isStopped) {
        checkStopped(store);
        store = open();
      } else {
        checkAll(store);
        say("refused");
      }
    }
  }
  store.close();
  say("done");
} catch (error) {
  say(`broken ${JSON.stringify((error as Error).stack)}`);
}
