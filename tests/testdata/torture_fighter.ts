/**
 * Opens a journal for writing whenever it can, appends, and goes, over and over, until somebody kills it.
 * Says what happened in lines: see `torture_lock.ts`.
 */
import { closeSync, openSync, readFileSync, unlinkSync, writeSync } from "node:fs";
import process from "node:process";
import { EventKind, Store, StoreLockedError } from "../../mod.ts";
import { seededRandom } from "../support_api/journal.ts";
import { type FighterNote, type FighterOrder, TOKEN } from "../support_api/torture_lock.ts";

const { dir, witness, name, seed }: FighterOrder = JSON.parse(process.argv[2]);
const random = seededRandom(seed);
const words = new Int32Array(new SharedArrayBuffer(4));
const sleep = (ms: number) => void Atomics.wait(words, 0, 0, ms);
const say = (note: FighterNote) => void writeSync(1, JSON.stringify(note) + "\n");

/** Makes the witness, and says whose was there, if the last owner could not take it along. */
function bearWitness(): string | null {
  let found: string | null = null;
  for (;;) {
    try {
      const fd = openSync(witness, "wx");
      writeSync(fd, name);
      closeSync(fd);
      return found;
    } catch (error) {
      if ((error as { code?: string }).code !== "EEXIST" || found !== null) throw error;
      found = readFileSync(witness, "utf8");
      unlinkSync(witness);
    }
  }
}

function ownIt(store: Store, ms: number): void {
  const opened = store.stats().nextSequence - 1;
  say({ t: "won", ms, opened, found: bearWitness() });
  const count = 1 + Math.floor(random() * 8);
  for (let i = 0; i < count; i++) {
    const expectedClock = store.headClock(TOKEN.entity);
    const { globalSequence, clock } = store.append(TOKEN, EventKind.DATA, { name, i }, {
      expectedClock,
      durability: random() < 0.2 ? "durable" : "written",
    });
    say({ t: "ack", sequence: globalSequence, clock });
    sleep(random() * 6);
    const now = readFileSync(witness, "utf8");
    if (now !== name) say({ t: "broken", what: `the witness is ${now}'s` });
  }
  say({ t: "leaving" });
  unlinkSync(witness);
  store.close();
  say({ t: "left" });
}

try {
  for (;;) {
    const startMs = performance.now();
    let store: Store | undefined;
    try {
      store = Store.open(dir, { segmentMaxBytes: 20_000 });
    } catch (error) {
      if (!(error instanceof StoreLockedError)) throw error;
      say({ t: "lost", ms: Math.round(performance.now() - startMs) });
    }
    if (store !== undefined) {
      ownIt(store, Math.round(performance.now() - startMs));
      // Somebody else's turn.
      sleep(5 + random() * 20);
    } else sleep(random() * 4);
  }
} catch (error) {
  say({ t: "broken", what: `${(error as Error).stack}` });
}
