// Fences between processes: readers beside a writer that commits, cancels, compacts and is killed.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { EventKind, type JournalReader, Store, type StoredEvent, verifyJournal } from "../mod.ts";
import { commandHere, inTempDir } from "../platform/testdata/processes.ts";
import { seededRandom } from "./support_api/journal.ts";

const WRITER = fileURLToPath(new URL("testdata/fence_writer.ts", import.meta.url));
const ROUNDS = Number(process.env.BATPAK_KILLS ?? 5);
const REGION = { kind: EventKind.DATA };

interface Payload {
  readonly name: string;
  readonly i: number;
  readonly of: number;
}

/** Names of the fences in order. Fails unless each is whole and in one piece. */
function fencesOf(events: readonly StoredEvent[], about: string): string[] {
  const names: string[] = [];
  let next = 0;
  for (const event of events) {
    const { name, i, of } = event.payload as Payload;
    if (next === 0) names.push(name);
    assert.deepEqual([name, i], [names.at(-1), next], `a fence is torn: ${about}`);
    next = (next + 1) % of;
  }
  assert.equal(next, 0, `the last fence is torn: ${about}`);
  return names;
}

test(
  "readers beside a writer that is killed see whole fences, all that were committed, none cancelled",
  { timeout: 90_000 },
  () =>
    inTempDir(async (dir) => {
      const seed = Number(process.env.BATPAK_SEED ?? Date.now() % 1_000_000);
      const random = seededRandom(seed);
      Store.open(dir).close();
      using reader = Store.openReadOnly(dir);
      const cursor = reader.cursor(REGION);
      const followed: StoredEvent[] = [];
      const committed: string[] = [];
      const cancelled = new Set<string>();
      let looks = 0;
      for (let round = 0; round < ROUNDS; round++) {
        const about = `BATPAK_SEED=${seed}, round ${round}`;
        const [command, ...args] = commandHere(WRITER, dir);
        const child = spawn(command, [...args, dir, `${seed + round + 1}`], {
          stdio: ["ignore", "pipe", "inherit"],
        });
        const closed = once(child, "close");
        let output = "";
        child.stdout.setEncoding("utf8");
        child.stdout.on("data", (text: string) => void (output += text));
        await Promise.race([once(child.stdout, "data"), closed]);
        assert.match(output, /^ready\n/, about);
        const endMs = performance.now() + 100 + random() * 300;
        while (performance.now() < endMs) {
          reader.refresh();
          followed.push(...cursor.pollBatch(1000));
          const newest = [...reader.events(REGION, { reverse: true, limit: 200 })].reverse();
          fencesOf(newest.slice(firstWhole(newest)), about);
          looks++;
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
        child.kill("SIGKILL");
        await closed;
        // A last line without its end was being said.
        for (const line of output.split("\n").slice(1, -1)) {
          const [end, name] = line.split(" ");
          if (end === "commit") committed.push(name);
          else cancelled.add(name);
        }
        check(reader, about);
        const store = Store.open(dir);
        check(store, about);
        store.close();
        check(reader, about);
        followed.push(...cursor.pollBatch(1_000_000));
        assert.deepEqual(
          followed.map(({ globalSequence }) => globalSequence),
          reader.query(REGION).map(({ globalSequence }) => globalSequence),
          `the cursor skipped or repeated: ${about}`,
        );
      }
      assert.deepEqual(verifyJournal(dir).findings, []);
      assert.ok(committed.length > 20 && cancelled.size > 5 && looks > 20, `${committed.length}`);

      function check(journal: JournalReader, about: string): void {
        if (journal === reader) reader.refresh();
        const names = new Set(fencesOf(journal.query(REGION), about));
        for (const name of committed) assert.ok(names.has(name), `${name} is lost: ${about}`);
        for (const name of names) assert.ok(!cancelled.has(name), `${name} is seen: ${about}`);
      }
    }),
);

/** Where the first fence begins that is there from its start. */
function firstWhole(events: readonly StoredEvent[]): number {
  const first = events.findIndex(({ payload }) => (payload as Payload).i === 0);
  return first === -1 ? events.length : first;
}
