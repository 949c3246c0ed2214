/**
 * Reads a journal beside those who fight for it, until somebody kills it: sometimes through a new handle,
 * sometimes through one it has. Says in lines how much it has seen, and what should never be.
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { JournalNotFoundError, Store } from "../../mod.ts";
import { type OnlookerNote, TOKEN } from "../support_api/torture_lock.ts";

const dir = process.argv[2];
const words = new Int32Array(new SharedArrayBuffer(4));
const say = (note: OnlookerNote) => void writeSync(1, JSON.stringify(note) + "\n");
let highest = 0;
let looks = 0;

try {
  for (;;) {
    Atomics.wait(words, 0, 0, 10);
    try {
      using reader = Store.openReadOnly(dir);
      for (let i = 0; i < 5; i++) {
        reader.refresh();
        const tokens = reader.query(TOKEN);
        if (tokens.length < highest) {
          say({ t: "broken", what: `${highest} events were seen, and now ${tokens.length}` });
        }
        const odd = tokens.findIndex(({ clock }, i) => clock !== i);
        if (odd >= 0) say({ t: "broken", what: `clock ${tokens[odd].clock} at place ${odd}` });
        highest = tokens.length;
        if (++looks % 10 === 0) say({ t: "seen", seen: highest });
        Atomics.wait(words, 0, 0, 5);
      }
    } catch (error) {
      // Nobody has begun it yet.
      if (!(error instanceof JournalNotFoundError) || highest > 0) throw error;
    }
  }
} catch (error) {
  say({ t: "broken", what: `${(error as Error).stack}` });
}
