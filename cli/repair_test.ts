import assert from "node:assert/strict";
import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { test } from "node:test";
import { EventKind, type Receipt, Store } from "../mod.ts";
import { flipBit, inTempDir, runHere, segmentPath } from "../tests/command.ts";

function fill(dir: string) {
  using store = Store.open(dir);
  return Array.from(
    { length: 5 },
    (_, n) => store.append({ entity: "e", scope: "s" }, EventKind.DATA, n),
  );
}

test("repair has nothing to do after a clean close", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    const { code, out } = await runHere(["repair", dir]);
    assert.deepEqual([code, out], [0, "Nothing to repair.\n"]);
  });
});

test("repair cuts a torn tail and says what it cut", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    appendFileSync(segmentPath(dir), new Uint8Array([0, 0, 1, 0, 1, 2, 3, 4, 5]));
    const { code, out } = await runHere(["repair", dir, "--json"]);
    assert.equal(code, 0);
    const { repairs, cutBytes, events, oddities } = JSON.parse(out);
    assert.deepEqual([repairs.length, cutBytes, events, oddities], [1, 9, 7, []]);
    assert.equal((await runHere(["verify", dir])).code, 0);
  });
});

// The note said that the bytes "are kept in", and then nothing.
test("a repair that kept nothing says so", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    writeFileSync(`${dir}/000002.fbat`, "");
    const { code, err } = await runHere(["repair", dir]);
    assert.equal(code, 0);
    assert.match(
      err,
      /end of segment 2: 0 bytes .*; nothing was kept, because the file was empty/m,
    );
    assert.doesNotMatch(err, /kept in/);
  });
});

test("repair refuses damage that sound events follow, until it is told to give them up", async () => {
  await inTempDir(async (dir) => {
    const receipts = fill(dir);
    const { offset, size } = receipts[2].position;
    flipBit(segmentPath(dir), offset + size - 1);
    const before = readFileSync(segmentPath(dir));
    const refused = await runHere(["repair", dir]);
    assert.equal(refused.code, 3);
    assert.match(
      refused.err,
      new RegExp(
        `offset ${offset}: .* a sound frame follows .*Nothing was changed.*--cut-at-damage`,
      ),
    );
    const json = await runHere(["repair", dir, "--json"]);
    assert.equal(json.code, 3);
    const { code, segmentId, offset: at } = JSON.parse(json.err).error;
    assert.deepEqual([code, segmentId, at], ["CORRUPTION", 1, offset]);
    assert.deepEqual(readFileSync(segmentPath(dir)), before);
    assert.equal(existsSync(`${dir}/quarantine`), false);

    const cut = await runHere(["repair", dir, "--cut-at-damage"]);
    assert.equal(cut.code, 0, cut.err);
    assert.match(cut.err, /repaired the end of segment 1: .* were cut \(.*checksum.*quarantine/);
    // Of the events 2 to 4 and the close, all but the damaged one were sound.
    assert.match(cut.out, /^Cut .*, 3 sound events among them; what remains: 3 events\.\n$/);
    assert.equal(readdirSync(`${dir}/quarantine`).length, 1);
    assert.equal((await runHere(["verify", dir])).code, 0);
    const { out } = await runHere(["query", dir]);
    assert.deepEqual(out.trim().split("\n").map((line) => JSON.parse(line).payload), [0, 1]);
  });
});

test("repair --cut-at-damage gives up the group around the damage, and counts it", async () => {
  await inTempDir(async (dir) => {
    let damaged: Receipt;
    {
      using store = Store.open(dir);
      const item = (payload: string) =>
        ({ entity: "e", scope: "s", kind: EventKind.DATA, payload }) as const;
      store.append({ entity: "e", scope: "s" }, EventKind.DATA, "kept");
      [, , damaged] = store.appendBatch([item("a"), item("b"), item("c"), item("d")]);
    }
    const { offset, size } = damaged.position;
    flipBit(segmentPath(dir), offset + size - 1);
    const { code, out, err } = await runHere(["repair", dir, "--cut-at-damage", "--json"]);
    assert.equal(code, 0, err);
    const { events, soundEventsCut } = JSON.parse(out);
    // The open and "kept"; a, b and d of the group, and the close.
    assert.deepEqual([events, soundEventsCut], [2, 4]);
    const help = (await runHere(["repair", "--help"])).out.replace(/\s+/g, " ");
    assert.match(help, /gives up the events behind it, and the whole group that it is in/);
  });
});

test("repair gives up events that were synced and are gone only when it is told to", async () => {
  await inTempDir(async (dir) => {
    const receipts = fill(dir);
    const path = segmentPath(dir);
    const { offset } = receipts[3].position;
    const cut = readFileSync(path).subarray(0, offset);
    writeFileSync(path, cut);
    const refused = await runHere(["repair", dir]);
    assert.equal(refused.code, 3);
    assert.match(refused.err, /Cannot repair: index\.fbati says that it knows 3 events more/);
    assert.match(refused.err, /Nothing was changed.*--cut-at-damage/);
    assert.deepEqual(readFileSync(path), cut);
    assert.equal((await runHere(["repair", dir, "--cut-at-damage"])).code, 0);
    assert.equal((await runHere(["verify", dir])).code, 0);
    using store = Store.openReadOnly(dir);
    assert.equal(store.query({ entity: "e" }).length, 3);
  });
});

test("repair never cuts an older segment", async () => {
  await inTempDir(async (dir) => {
    {
      using store = Store.open(dir, { segmentMaxBytes: 1000 });
      for (let n = 0; n < 10; n++) store.append({ entity: "e", scope: "s" }, EventKind.DATA, n);
    }
    const segments = readdirSync(dir).filter((name) => name.endsWith(".fbat"));
    assert.ok(segments.length > 1);
    // In the open event, whose frame comes first.
    flipBit(`${dir}/000001.fbat`, 600);
    const { code, out, err } = await runHere(["repair", dir, "--cut-at-damage"]);
    assert.equal(code, 3, err);
    assert.equal(out, "");
    assert.equal(existsSync(`${dir}/quarantine`), false);
  });
});

test("repair says what it restored, and that it cut nothing", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    rmSync(`${dir}/store.meta`);
    const { code, out, err } = await runHere(["repair", dir]);
    assert.deepEqual([code, out], [0, "Nothing to cut.\n"]);
    assert.match(err, /store\.meta was missing; it has been written again/);
    writeFileSync(`${dir}/extra.fbat`, "");
    const json = await runHere(["repair", dir, "--json"]);
    assert.deepEqual(JSON.parse(json.out).oddities.length, 1);
  });
});

test("repair exits with 5 while somebody writes", async () => {
  await inTempDir(async (dir) => {
    using _writer = Store.open(dir);
    assert.equal((await runHere(["repair", dir])).code, 5);
  });
});

test("repair begins no journal", async () => {
  await inTempDir(async (dir) => {
    const { code, err } = await runHere(["repair", `${dir}/nowhere`]);
    assert.equal(code, 1);
    assert.doesNotMatch(err, /begin one/);
    assert.equal(existsSync(`${dir}/nowhere`), false);
  });
});
