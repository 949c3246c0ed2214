// Spec 3.8: the journal between processes. Locks, readers beside a writer, and writers that are killed.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type JournalReader, Store, StoreLockedError, verifyJournal } from "../mod.ts";
import { commandHere, inTempDir, start } from "../platform/testdata/processes.ts";
import { seededRandom } from "./support_api/journal.ts";

const HOLDER = testdata("store_holder.ts");
const WRITER = testdata("store_writer.ts");
const COMPACTOR = testdata("store_compactor.ts");
const STEPPER = testdata("store_stepper.ts");
const KILLS = Number(process.env.BATPAK_KILLS ?? 15);
const ORDER = { entity: "order:1", scope: "shop" };

function testdata(name: string): string {
  return fileURLToPath(new URL(`testdata/${name}`, import.meta.url));
}

test("a writer in another process keeps us out, until it is killed; readers come and go", () =>
  inTempDir(async (dir) => {
    const holder = await start([...commandHere(HOLDER, dir), dir]);
    assert.equal(holder.firstLine, "open 1");
    assert.throws(() => Store.open(dir), StoreLockedError);
    Store.openReadOnly(dir).close();
    assert.throws(() => Store.open(dir), { code: "STORE_LOCKED" });
    await holder.kill("SIGKILL");
    // The kernel let go of the lock, and the open event of the dead one is there.
    using store = Store.open(dir);
    assert.equal(store.stats().nextSequence, 2);
    assert.deepEqual(store.openReport.repairs, []);
  }));

test("we keep a writer in another process out, and it says which directory is locked", () =>
  inTempDir(async (dir) => {
    const store = Store.open(dir);
    const refused = await start([...commandHere(HOLDER, dir), dir]);
    assert.equal(refused.firstLine, `STORE_LOCKED ${store.dir}`);
    await refused.kill("SIGKILL");
    store.close();
    const holder = await start([...commandHere(HOLDER, dir), dir]);
    // Our open and close, and its open.
    assert.equal(holder.firstLine, "open 3");
    await holder.kill("SIGTERM");
  }));

test("a reader beside a writer in another process sees it grow, by whole groups, over rolls", () =>
  inTempDir(async (dir) => {
    const writer = new Conversation(commandHere(STEPPER, dir).concat(dir));
    await writer.listen();
    using reader = Store.openReadOnly(dir);
    let total = 0;
    for (const size of [1, 2, 20, 1, 40, 3, 3, 10]) {
      writer.say(String(size));
      // Looked at while it writes: whole groups or nothing.
      reader.refresh();
      assertWholeGroups(reader.query({ entity: ORDER.entity }).map(({ payload }) => payload));
      const nextSequence = Number(await writer.listen());
      reader.refresh();
      total += size;
      assert.equal(reader.stats().nextSequence, nextSequence);
      assert.equal(reader.query({ entity: ORDER.entity }).length, total);
    }
    assert.ok(reader.stats().segmentCount > 2);
    await writer.kill();
    reader.refresh();
    assert.equal(reader.query({ entity: ORDER.entity }).length, total);
    assert.equal(verifyJournal(dir).findingCount, 0);
  }));

test(
  "a writer killed at any moment loses no event that it had a receipt for",
  { timeout: 90_000 },
  () =>
    inTempDir(async (dir) => {
      const seed = Number(process.env.BATPAK_SEED ?? Date.now() % 1_000_000);
      const random = seededRandom(seed);
      const acknowledged: { sequence: number; id: string }[] = [];
      for (let round = 0; round < KILLS; round++) {
        const about = `BATPAK_SEED=${seed}, round ${round}`;
        const command = [...commandHere(WRITER, dir), dir, `${seed + round + 1}`];
        // Now and then before it says a word: while it opens, and repairs what the last one left.
        const lines = await killedAfter(command, random() * 60, random() < 0.75);
        for (const line of lines) {
          const [sequence, id] = line.split(" ");
          acknowledged.push({ sequence: Number(sequence), id });
        }
        // As the next program finds it: first a reader, which repairs nothing, then a writer.
        if (round > 0) {
          using reader = Store.openReadOnly(dir);
          for (const { sequence, id } of acknowledged) {
            assert.equal(reader.get(id)?.globalSequence, sequence, `lost to readers: ${about}`);
          }
        }
        const store = Store.open(dir);
        assert.ok(store.openReport.repairs.length <= 1, about);
        for (const { sequence, id } of acknowledged) {
          assert.equal(store.get(id)?.globalSequence, sequence, `${id} is lost: ${about}`);
        }
        assertWholeGroups(store.query({ scope: "shop" }).map(({ payload }) => payload), about);
        store.close();
        assert.deepEqual(verifyJournal(dir).findings, [], about);
      }
      assert.ok(acknowledged.length > KILLS, `seed ${seed}: ${acknowledged.length} events`);
      assert.ok(readdirSync(dir).filter((name) => name.endsWith(".fbat")).length > 1);
    }),
);

test(
  "a process that compacts and prunes, killed at any moment, loses nothing that it had not given up",
  { timeout: 90_000 },
  () =>
    inTempDir(async (dir) => {
      const seed = Number(process.env.BATPAK_SEED ?? Date.now() % 1_000_000);
      const random = seededRandom(seed);
      const acknowledged = new Map<number, string>();
      let mayBeGone = 0;
      let settled = 0;
      for (let round = 0; round < KILLS; round++) {
        const about = `BATPAK_SEED=${seed}, round ${round}`;
        const command = [...commandHere(COMPACTOR, dir), dir, `${seed + round + 1}`];
        for (const line of await killedAfter(command, random() * 80, random() < 0.8)) {
          const [first, second] = line.split(" ");
          if (first === "pruning") mayBeGone = Math.max(mayBeGone, Number(second));
          else acknowledged.set(Number(first), second);
        }
        // A reader first, which changes nothing, then a writer, who puts things in order.
        const check = (store: JournalReader) => {
          const { nextSequence, eventCount } = store.stats();
          const begins = nextSequence - eventCount;
          assert.ok(begins <= mayBeGone, `${begins} of ${mayBeGone}: ${about}`);
          for (const [sequence, id] of acknowledged) {
            if (sequence < begins) continue;
            const event = store.get(id);
            assert.equal(event?.globalSequence, sequence, `${id} is lost: ${about}`);
            // The rule gives up those whose number a third of all have, and no other.
            const isGiven = Number.parseInt(id.slice(-1), 16) % 3 === 0;
            if (event.isErased) assert.ok(isGiven, about);
            else assert.equal((event.payload as { filling: string }).filling[0], "x", about);
          }
        };
        if (round > 0) {
          using reader = Store.openReadOnly(dir);
          check(reader);
        }
        const store = Store.open(dir);
        check(store);
        if (store.openReport.oddities.some((oddity) => /compact|pruned/.test(oddity))) settled++;
        store.close();
        const left = readdirSync(dir).filter((name) => /compact|\.stage/.test(name));
        assert.deepEqual(left, [], about);
        const { findings } = verifyJournal(dir);
        assert.deepEqual(findings.filter(({ type }) => type !== "unusable"), [], about);
      }
      assert.ok(acknowledged.size > KILLS, `seed ${seed}: ${acknowledged.size} events`);
      // Over many kills some hit a compaction; a few may hit none.
      if (KILLS >= 100) assert.ok(settled > 0, `seed ${seed}`);
    }),
);

/** Checks that of every group, whose items number themselves `i` of `of`, each is there or none. */
function assertWholeGroups(payloads: readonly unknown[], about = ""): void {
  let expected = 0;
  for (const payload of payloads) {
    const { i = 0, of = 1 } = payload as { i?: number; of?: number };
    assert.equal(i, expected, about);
    expected = (i + 1) % of;
  }
  assert.equal(expected, 0, about);
}

/**
 * Runs a writer for a while, from its first word on or from its start, kills it, and says which lines
 * it had finished.
 */
async function killedAfter(
  [command, ...args]: string[],
  delayMs: number,
  patient: boolean,
): Promise<string[]> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const closed = once(child, "close");
  let output = "";
  child.stdout.setEncoding("utf8");
  const spoke = new Promise<void>((resolve) => {
    child.stdout.on("data", (text: string) => {
      output += text;
      resolve();
    });
  });
  if (patient) {
    await Promise.race([spoke, closed]);
    assert.match(output, /^ready\n/);
  }
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  child.kill("SIGKILL");
  await closed;
  // A last line without its end was being said.
  return output.split("\n").slice(1, -1);
}

/** A process that answers line for line. */
class Conversation {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor([command, ...args]: string[]) {
    this.#child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  say(line: string): void {
    this.#child.stdin!.write(`${line}\n`);
  }

  async listen(): Promise<string> {
    const { value, done } = await this.#lines.next();
    assert.ok(!done, "the process is still there");
    return value;
  }

  async kill(): Promise<void> {
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }
}
