// Real crashes: kill -9 at any moment, power cuts of a disk, disks that are really full, syncs that the
// kernel refuses, fights for the lock. This is the short version; `deno task torture` goes on for as long as one likes.
import assert from "node:assert/strict";
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { type JournalReader, Store, verifyJournal } from "../mod.ts";
import { ORDER, PLACED } from "./support_api/journal.ts";
import { mountCuttableDisk, mountThinDisk, noSmallDisk } from "./support_api/small_disk.ts";
import type { Counts } from "./support_api/stress_audit.ts";
import { killWhenFull, squeezeJournals, SQUEEZES } from "./support_api/torture_disk.ts";
import { Kills } from "./support_api/torture_kills.ts";
import { fight } from "./support_api/torture_lock.ts";
import { noStrace, programBeside, programHere } from "./support_api/torture_programs.ts";
import { failSync } from "./support_api/torture_sync.ts";

const ROUNDS = Number(process.env.BATPAK_TORTURE_ROUNDS ?? 6);
const TIMEOUT_MS = 120_000;
const SEED = Number(process.env.BATPAK_SEED ?? Date.now() % 1_000_000);
const HERE = programHere();
const BESIDE = programBeside();

/** Runs `action` with a directory that stays when it fails: the same seed does not give the same moments. */
async function withEvidence(action: (root: string) => Promise<void>): Promise<void> {
  const root = realpathSync(mkdtempSync(join(tmpdir(), "batpak-torture-")));
  try {
    await action(root);
  } catch (error) {
    const about = `BATPAK_SEED=${SEED} deno task test tests/torture_test.ts; see ${root}`;
    throw new Error(`${(error as Error).message}: ${about}`, { cause: error });
  }
  rmSync(root, { recursive: true });
}

test(
  "whatever a process does when it is killed, what it was told stays, and what it was not is whole or absent",
  { timeout: TIMEOUT_MS },
  () =>
    withEvidence(async (root) => {
      const counts: Counts = {};
      const programs = BESIDE === undefined ? [HERE] : [HERE, BESIDE];
      const canTrace = cannotTrace === undefined;
      const kills = new Kills({ root, seed: SEED, programs, canTrace, counts });
      for (let round = 0; round < ROUNDS; round++) await kills.round();
      kills.finish();
      const killed = (counts["kills after a delay"] ?? 0) +
        (counts["kills in front of a system call"] ?? 0);
      const about = `BATPAK_SEED=${SEED}: ${JSON.stringify(counts)}`;
      assert.ok(killed > ROUNDS / 2, about);
      for (const name of ["acknowledged append", "receipts verified", "events delivered"]) {
        assert.ok((counts[name] ?? 0) > 0, `no ${name}: ${about}`);
      }
    }),
);

const noTmpfs = noSmallDisk("tmpfs");
const noExt4 = noSmallDisk("ext4");
const cannotTrace = noStrace();
for (const reason of new Set([noTmpfs, noExt4, cannotTrace])) {
  if (reason !== undefined) console.log(`tests/torture_test.ts skips what ${reason}`);
}

test(
  "on a disk that is really full every error has a type, and nothing acknowledged is lost",
  { skip: noTmpfs ?? false, timeout: TIMEOUT_MS },
  async () => {
    const counts: Counts = {};
    squeezeJournals("tmpfs", { seed: SEED, squeezes: SQUEEZES.length, counts });
    await killWhenFull("tmpfs", { seed: SEED, kills: 1, programs: [HERE], counts });
    const about = `BATPAK_SEED=${SEED}: ${JSON.stringify(counts)}`;
    assert.ok((counts["tmpfs full: errors"] ?? 0) >= 5, about);
    assert.equal(counts["tmpfs full: kills"], 1, about);
  },
);

test(
  "what was durable survives a power cut of a real disk, and nothing of the rest is half there",
  { skip: noExt4 ?? false, timeout: TIMEOUT_MS },
  () =>
    withEvidence(async (root) => {
      const counts: Counts = {};
      using disk = mountCuttableDisk(16 << 20, "data=writeback");
      const options = { root, seed: SEED, programs: [HERE], canTrace: false, counts, disk };
      const kills = new Kills(options);
      // A process may be stopped before it was told of anything: then there is nothing to hold it to.
      const isEnough = (cut: number) =>
        cut >= ROUNDS / 2 && ((counts["receipts verified"] ?? 0) > 0 || cut >= ROUNDS * 5);
      let cuts = 0;
      for (; !isEnough(cuts); cuts++) await kills.round();
      kills.finish();
      const about = `BATPAK_SEED=${SEED}: ${JSON.stringify(counts)}`;
      assert.equal(counts["power cuts"], cuts, about);
      assert.ok((counts["receipts verified"] ?? 0) > 0, about);
    }),
);

test(
  "a sync that the kernel refuses stops the writer, and the next open loses nothing",
  { skip: cannotTrace ?? false, timeout: TIMEOUT_MS },
  () =>
    withEvidence(async (root) => {
      // The first sync is that of the open. With this seed the fifth is of an append.
      const order = { call: "fdatasync", nth: 5, seed: 2, counts: {} } as const;
      const { stopped } = await failSync(HERE, join(root, "journal"), order);
      assert.equal(stopped, 1);
    }),
);

// An open after a failed sync wrote the end of the newest segment once more where it was, said that it was
// durable, and ext4 gave zeros for it when it was mounted again. Now the segment gets a new file.
test(
  "what an open after a failed sync has shown is there when a real disk is mounted again",
  { skip: noExt4 ?? noTmpfs ?? false, timeout: TIMEOUT_MS },
  () => {
    using disk = mountThinDisk();
    const dir = join(disk.dir, "journal");
    const open = () => Store.open(dir, { sync: { everyNEvents: 0 } });
    const written = new Map<string, number>();
    const write = (store: Store, count: number) => {
      for (let i = 0; i < count; i++) {
        const { eventId, globalSequence } = store.append(ORDER, PLACED, "x".repeat(2_000));
        written.set(eventId, globalSequence);
      }
    };
    const check = (reader: JournalReader) => {
      for (const [id, sequence] of written) assert.equal(reader.get(id)?.globalSequence, sequence);
    };
    const stopped = open();
    write(stopped, 50);
    stopped.sync();
    disk.fillBelow();
    const untilRefused = () => {
      for (let i = 0; i < 200; i++) {
        write(stopped, 20);
        stopped.sync();
      }
    };
    assert.throws(untilRefused, { code: "WRITER_CRASHED" });
    assert.throws(() => stopped.close(), { code: "WRITER_CRASHED" });

    disk.freeBelow();
    const store = open();
    check(store);
    write(store, 5);
    store.close();
    disk.remount();
    using reader = Store.openReadOnly(dir);
    check(reader);
    assert.deepEqual(verifyJournal(dir).findings, []);
  },
);

test(
  "of those who fight for a journal one owns it at a time, also when owners are killed or stopped",
  { timeout: TIMEOUT_MS },
  () =>
    withEvidence(async (root) => {
      const counts: Counts = {};
      const programs = [HERE, BESIDE ?? HERE];
      await fight({ root, seed: SEED, seconds: 2, fighters: 3, programs, counts });
      const about = `BATPAK_SEED=${SEED}: ${JSON.stringify(counts)}`;
      for (const name of ["lock: contests won", "lock: contests lost"]) {
        assert.ok((counts[name] ?? 0) > 3, `${name}: ${about}`);
      }
    }),
);
