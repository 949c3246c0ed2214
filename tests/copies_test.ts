// Spec 8.2, 8.4, 8.6: copies between processes.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, realpathSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type JournalReader, restoreBackup, Store, verifyBackup, verifyJournal } from "../mod.ts";
import { runtime } from "../platform/runtime.ts";
import { commandHere, inTempDir } from "../platform/testdata/processes.ts";

const WRITER = testdata("store_writer.ts");
const TOUR = testdata("copies_tour.ts");

function testdata(name: string): string {
  return fileURLToPath(new URL(`testdata/${name}`, import.meta.url));
}

test(
  "copies taken while another process writes are clean prefixes of the journal, and verify",
  { timeout: 60_000 },
  () =>
    inTempDir(async (folder) => {
      const seed = Number(process.env.BATPAK_SEED ?? Date.now() % 1_000_000);
      const dir = `${folder}/journal`;
      const [command, ...args] = commandHere(WRITER, folder);
      const writer = spawn(command, [...args, dir, `${seed + 1}`], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const closed = once(writer, "close");
      let lines = 0;
      const spoke = new Promise<void>((resolve) => {
        writer.stdout.setEncoding("utf8").on("data", (text: string) => {
          lines += text.split("\n").length - 1;
          if (lines > 200) resolve();
        });
      });
      await Promise.race([spoke, closed]);
      const copies: { dir: string; nextSequence: number }[] = [];
      {
        using reader = Store.openReadOnly(dir);
        for (let round = 0; round < 6; round++) {
          const before = lines;
          const snapshot = reader.snapshot(`${folder}/snapshot-${round}`);
          copies.push({ dir: snapshot.target, nextSequence: snapshot.nextSequence });
          const backup = reader.backup(`${folder}/backup-${round}`);
          assert.deepEqual(verifyBackup(backup.target).findings, [], `BATPAK_SEED=${seed}`);
          const restored = restoreBackup(backup.target, `${folder}/restored-${round}`);
          copies.push({ dir: restored.target, nextSequence: restored.nextSequence });
          // The writer goes on while we do all this, and we take in what it wrote.
          while (lines === before && writer.exitCode === null) {
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
          assert.ok(reader.refresh() > 0, `BATPAK_SEED=${seed}`);
        }
      }
      writer.kill("SIGKILL");
      await closed;

      using final = Store.openReadOnly(dir);
      const all = hashesOf(final);
      const sizes = new Set<number>();
      for (const { dir: copied, nextSequence } of copies) {
        assert.deepEqual(verifyJournal(copied).findings, [], `BATPAK_SEED=${seed}`);
        using copy = Store.open(copied);
        assert.deepEqual(copy.openReport.repairs, [], "it ends at a whole group");
        assert.deepEqual(hashesOf(copy).slice(0, nextSequence), all.slice(0, nextSequence));
        sizes.add(nextSequence);
      }
      assert.ok(sizes.size >= 6, `${sizes.size} different prefixes, BATPAK_SEED=${seed}`);
      const segments = readdirSync(`${copies.at(-1)!.dir}`).filter((name) => /fbat$/.test(name));
      assert.ok(segments.length > 1);
    }),
);

/** The ids of all events, in order. */
function hashesOf(reader: JournalReader): string[] {
  return reader.query().map(({ eventId, globalSequence }) => `${globalSequence} ${eventId}`);
}

test("a program that may read and write one directory can make every copy in it", () =>
  inTempDir((folder) => {
    const dir = `${realpathSync(folder)}/inside`;
    const outside = `${realpathSync(folder)}/outside`;
    mkdirSync(outside);
    const [command, ...args] = commandHere(TOUR, dir);
    const { stdout, stderr, status } = spawnSync(command, [...args, dir, outside], {
      encoding: "utf8",
    });
    assert.equal(stderr, "");
    assert.equal(status, 0);
    assert.deepEqual(JSON.parse(stdout), {
      events: 21,
      shared: true,
      intact: [true, true, true],
      backup: true,
      // And it really was shut in.
      outsideCode: runtime.name === "deno" ? "EACCES" : "copied",
    });
  }));
