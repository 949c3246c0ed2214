import assert from "node:assert/strict";
import { appendFileSync, existsSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { EventKind, Store } from "../mod.ts";
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
    const { repairs, cutBytes, events } = JSON.parse(out);
    assert.deepEqual([repairs.length, cutBytes, events], [1, 9, 7]);
    assert.equal((await runHere(["verify", dir])).code, 0);
  });
});

test("repair refuses damage that sound events follow, until it is told to give them up", async () => {
  await inTempDir(async (dir) => {
    const receipts = fill(dir);
    const { offset, size } = receipts[2].position;
    flipBit(segmentPath(dir), offset + size - 1);
    const refused = await runHere(["repair", dir]);
    assert.equal(refused.code, 3);
    assert.match(refused.err, new RegExp(`offset ${offset}: .* a sound frame follows`));

    const cut = await runHere(["repair", dir, "--cut-at-damage"]);
    assert.equal(cut.code, 0, cut.err);
    assert.match(cut.out, /^Cut .*; what remains: 3 events\.\n$/);
    assert.equal(readdirSync(`${dir}/quarantine`).length, 1);
    assert.equal((await runHere(["verify", dir])).code, 0);
    const { out } = await runHere(["query", dir]);
    assert.deepEqual(out.trim().split("\n").map((line) => JSON.parse(line).payload), [0, 1]);
  });
});

test("repair begins no journal", async () => {
  await inTempDir(async (dir) => {
    assert.equal((await runHere(["repair", `${dir}/nowhere`])).code, 1);
    assert.equal(existsSync(`${dir}/nowhere`), false);
  });
});
