import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { test } from "node:test";
import { EventKind, Store, verifyBackup, verifyJournal } from "../mod.ts";
import { flipBit, inTempDir, runHere, runProcess } from "../tests/command.ts";

function fill(dir: string, count = 10): void {
  using store = Store.open(dir, { segmentMaxBytes: 1000 });
  for (let n = 0; n < count; n++) store.append({ entity: "e", scope: "s" }, EventKind.DATA, { n });
}

/** How many segments a journal has: its first event holds durations, so that varies. */
function segmentsIn(dir: string): number {
  const count = readdirSync(dir).filter((name) => name.endsWith(".fbat")).length;
  assert.ok(count > 1);
  return count;
}

function payloadsIn(dir: string): unknown[] {
  using reader = Store.openReadOnly(dir);
  return reader.query({ kind: EventKind.DATA }).map(({ payload }) => payload);
}

test("snapshot copies a journal, also beside a live writer, and says what it copied", async () => {
  await inTempDir(async (folder) => {
    const dir = `${folder}/journal`;
    fill(dir);
    using _writer = Store.open(dir);
    const text = await runProcess(["snapshot", dir, `${folder}/a`]);
    assert.equal(text.code, 0, text.err);
    const segments = segmentsIn(dir);
    assert.match(text.out, /^Copied 13 events in \d segments, \d\.\d kB, to .*\/a\n$/);
    assert.ok(text.out.includes(` in ${segments} segments`));
    assert.equal(text.err, "");
    const json = await runHere(["snapshot", dir, `${folder}/b`, "--json", "--no-verify"]);
    assert.equal(json.code, 0);
    const report = JSON.parse(json.out);
    assert.deepEqual([report.kind, report.dryRun], ["snapshot", false]);
    assert.equal(report.events, 13);
    assert.equal(report.segments.length, segments);
    for (const copy of ["a", "b"]) {
      assert.equal(verifyJournal(`${folder}/${copy}`).findingCount, 0);
      assert.deepEqual(payloadsIn(`${folder}/${copy}`), payloadsIn(dir));
    }
  });
});

test("fork shares what it can, and needs the lock", async () => {
  await inTempDir(async (folder) => {
    const dir = `${folder}/journal`;
    fill(dir);
    const text = await runHere(["fork", dir, `${folder}/a`, "--share", "hardlink"]);
    assert.equal(text.code, 0, text.err);
    assert.match(text.out, /\(\d segments? shared by hard link, 1 segment copied\)\n$/);
    const json = await runHere(["fork", dir, `${folder}/b`, "--share", "copy", "--json"]);
    const { strategyCounts } = JSON.parse(json.out);
    assert.deepEqual(strategyCounts, { reflink: 0, hardlink: 0, copy: segmentsIn(`${folder}/b`) });
    assert.equal(verifyJournal(`${folder}/a`).findingCount, 0);
    assert.equal(verifyJournal(`${folder}/b`).findingCount, 0);
    using _writer = Store.open(dir);
    assert.equal((await runHere(["fork", dir, `${folder}/c`])).code, 5);
    assert.equal(existsSync(`${folder}/c`), false);
    const wrong = await runHere(["fork", dir, `${folder}/c`, "--share", "magic"]);
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /reflink, hardlink, copy/);
  });
});

test("backup makes a backup, and says the hash of its manifest", async () => {
  await inTempDir(async (folder) => {
    const dir = `${folder}/journal`;
    fill(dir);
    const text = await runHere(["backup", dir, `${folder}/a`]);
    assert.equal(text.code, 0, text.err);
    const { intact, manifestHash } = verifyBackup(`${folder}/a`);
    assert.equal(intact, true);
    assert.match(text.out, /^Backed up 12 events in \d segments, /);
    assert.ok(text.out.endsWith(`; the manifest's hash is ${manifestHash}\n`), text.out);
    const json = await runHere(["backup", dir, `${folder}/b`, "--json"]);
    assert.equal(JSON.parse(json.out).manifestHash, verifyBackup(`${folder}/b`).manifestHash);
  });
});

test("--dry-run says what would be copied, and writes nothing anywhere", async () => {
  await inTempDir(async (folder) => {
    const dir = `${folder}/journal`;
    fill(dir);
    const before = readdirSync(dir).map((name) => readFileSync(`${dir}/${name}`));
    for (const command of ["snapshot", "fork", "backup"]) {
      const text = await runHere([command, dir, `${folder}/copy`, "--dry-run"]);
      assert.equal(text.code, 0, text.err);
      assert.match(
        text.out,
        /^Would copy 12 events in \d segments, .* to .*\/copy\. Nothing was written\.\n$/,
      );
      const json = JSON.parse(
        (await runHere([command, dir, `${folder}/copy`, "--dry-run", "--json"])).out,
      );
      const files = segmentsIn(dir) + 1;
      assert.deepEqual([json.dryRun, json.events, json.files], [true, 12, files]);
      const refused = await runHere([command, dir, dir, "--dry-run"]);
      assert.equal(refused.code, 2);
    }
    assert.deepEqual(readdirSync(folder), ["journal"]);
    assert.deepEqual(readdirSync(dir).map((name) => readFileSync(`${dir}/${name}`)), before);
  });
});

test("a target that is refused is a wrong command line, and the journal is not even opened", async () => {
  await inTempDir(async (folder) => {
    const dir = `${folder}/journal`;
    fill(dir);
    symlinkSync(`${folder}/elsewhere`, `${folder}/link`);
    const before = readdirSync(dir).map((name) => readFileSync(`${dir}/${name}`));
    for (const command of ["snapshot", "fork", "backup"]) {
      for (
        const [target, reason] of [
          [dir, "SameDirectory"],
          [`${dir}/copy`, "InsideSource"],
          [folder, "AroundSource"],
          [`${folder}/link`, "SymbolicLink"],
        ]
      ) {
        const { code, out, err } = await runHere([command, dir, target, "--json"]);
        assert.equal(code, 2);
        assert.equal(out, "");
        const { error } = JSON.parse(err);
        assert.deepEqual([error.code, error.reason], ["COPY_TARGET", reason]);
      }
    }
    assert.deepEqual(readdirSync(dir).map((name) => readFileSync(`${dir}/${name}`)), before);
  });
});

test("copies begin no journal, and those that read it refuse a damaged one with exit code 3", async () => {
  await inTempDir(async (folder) => {
    const dir = `${folder}/journal`;
    for (const command of ["snapshot", "fork", "backup"]) {
      const { code, err } = await runHere([command, dir, `${folder}/copy`]);
      assert.equal(code, 1);
      assert.match(err, /Cannot read a journal in .*the directory does not exist\n$/);
    }
    assert.deepEqual(readdirSync(folder), []);
    fill(dir);
    flipBit(`${dir}/000002.fbat`, 400);
    // A fork shares the files and reads nothing of them.
    for (const command of ["snapshot", "backup"]) {
      assert.equal((await runHere([command, dir, `${folder}/copy`])).code, 3);
    }
    assert.deepEqual(readdirSync(folder), ["journal"]);
  });
});

test("copies show progress on a terminal", async () => {
  await inTempDir(async (folder) => {
    const dir = `${folder}/journal`;
    {
      using store = Store.open(dir);
      for (let n = 0; n < 3; n++) {
        store.append({ entity: "e", scope: "s" }, EventKind.DATA, new Uint8Array(1_000_000));
      }
    }
    let nowMs = 0;
    const host = { isErrorTerminal: true, nowMs: () => nowMs += 200 };
    const { code, err } = await runHere(["backup", dir, `${folder}/copy`], { host });
    assert.equal(code, 0);
    assert.match(err, /Backing up: [\d,]+ kB, [\d,]+ kB\/s, \d+ %/);
    assert.ok(err.endsWith("\r\x1b[K"), "the line is taken away");
  });
});
