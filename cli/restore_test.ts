import assert from "node:assert/strict";
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { EventKind, Store, verifyJournal } from "../mod.ts";
import { flipBit, inTempDir, runHere, runProcess } from "../tests/command.ts";

/** A backup in `folder`. */
function backUp(folder: string): string {
  using store = Store.open(`${folder}/journal`, { segmentMaxBytes: 1000 });
  for (let n = 0; n < 10; n++) store.append({ entity: "e", scope: "s" }, EventKind.DATA, { n });
  store.backup(`${folder}/backup`);
  return `${folder}/backup`;
}

test("restore makes a journal again, and says what it restored", async () => {
  await inTempDir(async (folder) => {
    const backup = backUp(folder);
    const text = await runProcess(["restore", backup, `${folder}/a`]);
    assert.equal(text.code, 0, text.err);
    assert.match(
      text.out,
      /^Restored 11 events in \d files, .* to .*\/a; every byte is as the manifest says\n$/,
    );
    const json = await runHere(["restore", backup, `${folder}/b`, "--json"]);
    const { kind, events, findings, files } = JSON.parse(json.out);
    assert.deepEqual([kind, events, findings], ["restore", 11, []]);
    assert.deepEqual(
      files.map(({ name }: { name: string }) => name.replace("segments/", "")),
      readdirSync(`${folder}/b`).sort(),
    );
    for (const dir of ["a", "b"]) assert.equal(verifyJournal(`${folder}/${dir}`).findingCount, 0);
    assert.equal((await runHere(["query", `${folder}/a`])).out.split("\n").length, 11);
  });
});

test("restore --verify-only checks a backup and restores nothing", async () => {
  await inTempDir(async (folder) => {
    const backup = backUp(folder);
    const fine = await runHere(["restore", backup, "--verify-only"]);
    assert.equal(fine.code, 0, fine.err);
    assert.match(fine.out, /^Intact: 11 events in \d files, .*, not signed\n$/);
    flipBit(`${backup}/segments/000002.fbat`, 300);
    writeFileSync(`${backup}/extra`, "");
    const damaged = await runHere(["restore", backup, `${folder}/a`, "--verify-only"]);
    assert.equal(damaged.code, 3);
    const lines = damaged.out.split("\n");
    assert.equal(lines[0], "extra, UnexpectedFile: the manifest does not name it");
    assert.match(lines[1], /^segments\/000002\.fbat, DigestMismatch: its bytes are not those/);
    assert.match(lines[2], /^DAMAGED: 2 findings\. Read \d files, /);
    const json = await runHere(["restore", backup, "--verify-only", "--json"]);
    assert.equal(json.code, 3);
    assert.deepEqual(
      JSON.parse(json.out).findings.map(({ type }: { type: string }) => type),
      ["UnexpectedFile", "DigestMismatch"],
    );
    assert.equal(existsSync(`${folder}/a`), false);
  });
});

test("restore --dry-run checks everything and writes nothing", async () => {
  await inTempDir(async (folder) => {
    const backup = backUp(folder);
    const text = await runHere(["restore", backup, `${folder}/a`, "--dry-run"]);
    assert.equal(text.code, 0, text.err);
    assert.match(
      text.out,
      /^Would restore 11 events in \d files, .*\/a\. Nothing was written\.\n$/,
    );
    const json = await runHere(["restore", backup, `${folder}/a`, "--dry-run", "--json"]);
    assert.equal(JSON.parse(json.out).dryRun, true);
    const taken = await runHere(["restore", backup, `${folder}/journal`, "--dry-run", "--json"]);
    assert.equal(taken.code, 2);
    const { error } = JSON.parse(taken.err);
    assert.equal(error.reason, "NotEmpty");
    assert.match(error.message, /^Cannot restore to ".*\/journal": /);
    assert.deepEqual(readdirSync(folder).sort(), ["backup", "journal"]);
  });
});

test("restore refuses a damaged backup with exit code 3, its findings, and nothing left", async () => {
  await inTempDir(async (folder) => {
    const backup = backUp(folder);
    flipBit(`${backup}/segments/000002.fbat`, 300);
    const text = await runHere(["restore", backup, `${folder}/a`]);
    assert.equal(text.code, 3);
    assert.match(
      text.err,
      /segments\/000002\.fbat: its bytes .*\. Nothing was restored; --verify-only lists every finding/,
    );
    const json = await runHere(["restore", backup, `${folder}/a`, "--json"]);
    const { error } = JSON.parse(json.err);
    assert.equal(error.code, "BACKUP");
    assert.equal(error.findings[0].type, "DigestMismatch");
    assert.equal(existsSync(`${folder}/a`), false);
  });
});

test("restore fails, and cries no damage, where there is no backup", async () => {
  await inTempDir(async (folder) => {
    const backup = backUp(folder);
    for (const place of [`${folder}/nowhere`, `${folder}/journal`]) {
      const { code, err } = await runHere(["restore", place, `${folder}/a`]);
      assert.equal(code, 1);
      assert.match(err, /manifest\.json: this is no backup: .*ENOENT/);
      const verified = await runHere(["restore", place, "--verify-only"]);
      assert.equal(verified.code, 1);
      assert.match(verified.out, /^Cannot tell: 1 finding\. Read 0 files, 0 bytes$/m);
    }
    rmSync(`${backup}/store.meta`);
    assert.equal((await runHere(["restore", backup, `${folder}/a`])).code, 3);
    assert.equal(existsSync(`${folder}/a`), false);
  });
});

test("a backup that is taken for a journal says what it is and what makes it one", async () => {
  await inTempDir(async (folder) => {
    const backup = backUp(folder);
    for (const command of ["query", "stats", "repair", "verify"]) {
      const { code, out, err } = await runHere([command, backup]);
      assert.equal(code, 3, command);
      assert.match(out + err, /this looks like a backup, .*"batpak restore" makes a journal of it/);
      assert.doesNotMatch(err, /Run "batpak verify/, "it would say the same again");
    }
    assert.throws(() => Store.open(backup), { name: "CorruptionError", code: "CORRUPTION" });
    rmSync(`${backup}/manifest.json`);
    const { err } = await runHere(["query", backup]);
    assert.match(err, /there is a journal here, and all its segments are missing/);
  });
});

test("restore wants a target, unless it only verifies", async () => {
  await inTempDir(async (folder) => {
    const backup = backUp(folder);
    const { code, err } = await runHere(["restore", backup]);
    assert.equal(code, 2);
    assert.match(err, /name a target, or give --verify-only/);
    const both = await runHere(["restore", backup, `${folder}/a`, "--verify-only", "--dry-run"]);
    assert.equal(both.code, 2);
  });
});
