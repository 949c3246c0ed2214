import assert from "node:assert/strict";
import { existsSync, mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { bindCursor, EventKind, saveCheckpoint, Store } from "../mod.ts";
import { inTempDir, parseLines, runHere } from "../tests/command.ts";

const IDENTITY = "entity=order|scope=*|fact=none|clock=*";

/** A journal whose orders are at 1, 2 and 3, and another event at 4. */
function newJournal(dir: string): Store {
  const store = Store.open(dir);
  for (const n of [1, 2, 3]) {
    store.append({ entity: `order:${n}`, scope: "shop" }, EventKind.DATA, n);
  }
  store.append({ entity: "other", scope: "shop" }, EventKind.DATA, 0);
  return store;
}

test("cursors says that there is none, and makes nothing", () =>
  inTempDir(async (dir) => {
    newJournal(dir).close();
    const ran = await runHere(["cursors", dir]);
    assert.deepEqual(ran, { code: 0, out: "There is no checkpoint.\n", err: "" });
    assert.deepEqual(await runHere(["cursors", dir, "--json"]), { code: 0, out: "", err: "" });
    assert.ok(!existsSync(`${dir}/cursors`));
    const nowhere = await runHere(["cursors", `${dir}/nowhere`]);
    assert.equal(nowhere.code, 1);
    assert.match(nowhere.err, /^batpak: Cannot read a journal in /);
  }));

test("cursors lists positions, regions and how far each is behind, beside a writer and a consumer", () =>
  inTempDir(async (dir) => {
    using store = newJournal(dir);
    using mailer = bindCursor(store, { entity: "order" }, "mailer");
    mailer.cursor.pollBatch(1);
    mailer.commit();
    {
      using audit = bindCursor(store, {}, "audit log");
      audit.commit();
    }
    saveCheckpoint(dir, "old", { position: 2, started: true });
    const { code, out, err } = await runHere(["cursors", dir]);
    assert.deepEqual({ code, err }, { code: 0, err: "" });
    assert.deepEqual(out.split("\n"), [
      "checkpoint  position    behind           region",
      "audit log          -         5           entity=*|scope=*|fact=none|clock=*",
      `mailer             1         2  working  ${IDENTITY}`,
      "old                2  2 of all           unknown",
      "",
    ]);
    const json = parseLines((await runHere(["cursors", dir, "--json"])).out);
    const folder = `${realpathSync(dir)}/cursors`;
    assert.deepEqual(json[1], {
      id: "mailer",
      path: `${folder}/mailer.ckpt`,
      position: 1,
      regionIdentity: IDENTITY,
      lag: 2,
      lagOf: "region",
      isBusy: true,
    });
    assert.deepEqual(
      json.map(({ id, position, lag, lagOf, isBusy }) => [id, position, lag, lagOf, isBusy]),
      [
        ["audit log", null, 5, "region", false],
        ["mailer", 1, 2, "region", true],
        ["old", 2, 2, "journal", false],
      ],
    );
    // Asking took nothing from anybody.
    mailer.cursor.pollBatch(9);
    mailer.commit();
    assert.equal(parseLines((await runHere(["cursors", dir, "--json"])).out)[1].lag, 0);
  }));

test("cursors lists what no consumer could go on from with the reason, and the exit code is 3", () =>
  inTempDir(async (dir) => {
    newJournal(dir).close();
    mkdirSync(`${dir}/cursors`);
    writeFileSync(`${dir}/cursors/torn.ckpt`, "");
    saveCheckpoint(dir, "ahead", { position: 99, started: true, regionIdentity: IDENTITY });
    saveCheckpoint(dir, "sound", { position: 3, started: true, regionIdentity: IDENTITY });
    const listed = await runHere(["cursors", dir, "--json"]);
    assert.equal(listed.code, 3);
    const rows = parseLines(listed.out);
    const codes = rows.map(({ id, problem }) => [id, (problem as { code: string })?.code]);
    assert.deepEqual(codes, [
      ["ahead", "CHECKPOINT_AHEAD"],
      ["sound", undefined],
      ["torn", "CHECKPOINT_CORRUPT"],
    ]);
    assert.equal(rows[0].lag, null);
    assert.equal(rows[2].position, null);
    const { code, out } = await runHere(["cursors", dir]);
    assert.equal(code, 3);
    assert.match(out, /^ahead +99 +\? +broken +entity=order/m);
    assert.match(out, /^torn +- +\? +broken +unknown$/m);
    assert.match(out, /^\ntorn: Cannot go on from ".*torn\.ckpt": /m);
  }));

test("cursors --remove forgets a checkpoint, also a broken one, but none that somebody works under", () =>
  inTempDir(async (dir) => {
    using store = newJournal(dir);
    mkdirSync(`${dir}/cursors`);
    writeFileSync(`${dir}/cursors/torn.ckpt`, "");
    {
      using mailer = bindCursor(store, { entity: "order" }, "mailer");
      mailer.cursor.pollBatch(2);
      mailer.commit();
      const busy = await runHere(["cursors", dir, "--remove", "mailer"]);
      assert.equal(busy.code, 5);
      assert.match(busy.err, /^batpak: Cannot use checkpoint "mailer": another consumer /);
    }
    const removed = await runHere(["cursors", dir, "--remove", "mailer"]);
    assert.equal(removed.code, 0, removed.err);
    assert.equal(
      removed.out,
      'Removed checkpoint "mailer": the next consumer under it begins with the first event of its ' +
        "region.\n",
    );
    using again = bindCursor(store, { entity: "order" }, "mailer");
    assert.equal(again.cursor.poll()?.globalSequence, 1);
    const torn = await runHere(["cursors", dir, "--remove", "torn", "--json"]);
    assert.deepEqual(torn, { code: 0, out: '{"removed":"torn"}\n', err: "" });
    const gone = await runHere(["cursors", dir, "--remove", "torn"]);
    assert.deepEqual([gone.code, gone.err], [
      1,
      'batpak: Cannot find checkpoint "torn" of this journal\n',
    ]);
    assert.equal((await runHere(["cursors", dir, "--remove", "../x"])).code, 2);
  }));
