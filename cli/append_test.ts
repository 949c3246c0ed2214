import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { Receipt, Store, verifyReceipt } from "../mod.ts";
import { inTempDir, parseLines, runHere } from "../tests/command.ts";

const EVENT = ["--entity", "order:1", "--scope", "shop"];

test("append prints id, sequence and clock, and says that it began a journal", async () => {
  await inTempDir(async (dir) => {
    const first = await runHere(["append", `${dir}/new`, ...EVENT, '{"total":12}']);
    assert.equal(first.code, 0);
    assert.match(first.out, /^[0-9a-f-]{36} sequence 1 clock 0\n$/);
    assert.match(first.err, /^batpak: began a new journal in .*new\n$/);

    const second = await runHere(["append", `${dir}/new`, ...EVENT, "2"]);
    assert.match(second.out, /clock 1\n$/);
    assert.equal(second.err, "");
  });
});

test("append stores what its flags say", async () => {
  await inTempDir(async (dir) => {
    const cause = "0196f3b2-8c00-7abc-8def-0123456789ab";
    const story = "0196f3b2-8c00-7abc-8def-0123456789ac";
    const { code } = await runHere([
      ...["append", dir, ...EVENT, "--kind", "F:001", "--lane", "7", "--durable"],
      ...["--tag", "a", "--tag", "b", "--causation", cause, "--correlation", story],
      '{"bytes":{"$bytes":"AAEC"},"big":{"$bigint":"9007199254740993"}}',
    ]);
    assert.equal(code, 0);
    using store = Store.openReadOnly(dir);
    const [event] = store.query({ entity: "order:1" });
    assert.equal(event.scope, "shop");
    assert.equal(event.kind, 0xf001);
    assert.equal(event.lane, 7);
    assert.deepEqual(event.tags, ["a", "b"]);
    assert.equal(event.causationId, cause);
    assert.equal(event.correlationId, story);
    assert.deepEqual(event.payload, {
      bytes: new Uint8Array([0, 1, 2]),
      big: 9007199254740993n,
    });
  });
});

test("append --json prints a receipt that verifies without the journal", async () => {
  await inTempDir(async (dir) => {
    const { out, err } = await runHere(["append", dir, ...EVENT, "--json", "1"]);
    const receipt = Receipt.fromClaim(JSON.parse(out));
    assert.deepEqual(verifyReceipt(receipt), { valid: true, outcome: "unsigned" });
    assert.equal(JSON.parse(err).note, "began");
  });
});

test("append reads the payload from standard input", async () => {
  await inTempDir(async (dir) => {
    const input = JSON.stringify({ text: "ü".repeat(10_000) });
    for (const args of [["-"], []]) {
      const { code, err } = await runHere(["append", dir, ...EVENT, ...args], { input });
      assert.equal(code, 0, err);
    }
    using store = Store.openReadOnly(dir);
    const payloads = store.query({ entity: "order:1" }).map((event) => event.payload);
    assert.deepEqual(payloads, [JSON.parse(input), JSON.parse(input)]);
  });
});

test("append without a payload asks for one on a terminal instead of waiting", async () => {
  await inTempDir(async (dir) => {
    const args = ["append", dir, ...EVENT];
    const { code, err } = await runHere(args, { host: { isInputTerminal: true } });
    assert.equal(code, 2);
    assert.match(err, /Cannot append without a payload/);
  });
});

test("append takes a payload that begins with a dash behind --", async () => {
  await inTempDir(async (dir) => {
    assert.equal((await runHere(["append", dir, ...EVENT, "--", "-5"])).code, 0);
    using store = Store.openReadOnly(dir);
    assert.equal(store.latest("order:1")?.payload, -5);
  });
});

test("append --expect exits with 4 when the entity has moved on, and writes nothing", async () => {
  await inTempDir(async (dir) => {
    const args = ["append", dir, ...EVENT, "--expect"];
    assert.equal((await runHere([...args, "0", "1"])).code, 4);
    assert.equal((await runHere([...args, "none", "1"])).code, 0);
    const text = await runHere([...args, "none", "1"]);
    assert.equal(text.code, 4);
    assert.match(text.err, /Cannot append the first event of "order:1": it is at clock 0/);
    const json = await runHere([...args, "3", "--json", "1"]);
    assert.equal(json.code, 4);
    assert.equal(json.out, "");
    const [{ error }] = parseLines(json.err) as [{ error: { conflict: unknown; code: string } }];
    assert.equal(error.code, "CLOCK_CONFLICT");
    assert.deepEqual(error.conflict, { entity: "order:1", lane: 0, expected: 3, actual: 0 });
    assert.equal((await runHere([...args, "0", "1"])).code, 0);
    using store = Store.openReadOnly(dir);
    assert.equal(store.query({ entity: "order:1" }).length, 2);
  });
});

test("append --key changes nothing the second time, and prints the first receipt as known", async () => {
  await inTempDir(async (dir) => {
    const first = await runHere(["append", dir, ...EVENT, "--key", "k", "--json", "1"]);
    const second = await runHere(["append", dir, ...EVENT, "--key", "k", "--json", "2"]);
    assert.equal(second.code, 0);
    assert.deepEqual(JSON.parse(second.out), { ...JSON.parse(first.out), replayed: true });
    assert.equal(JSON.parse(first.out).replayed, false);
    const text = await runHere(["append", dir, ...EVENT, "--key", "k", "3"]);
    assert.match(text.out, /^[0-9a-f-]{36} sequence 1 clock 0 \(known already\)\n$/);
    using store = Store.openReadOnly(dir);
    assert.equal(store.query({ entity: "order:1" }).length, 1);
  });
});

// The condition was only looked at when the journal had been begun. Nothing is made for it now.
test("append --expect with a clock conflicts where there is no journal, and begins none", async () => {
  await inTempDir(async (dir) => {
    const journal = `${dir}/journal`;
    const args = ["append", journal, ...EVENT, "--expect", "3", "1"];
    const text = await runHere(args);
    assert.equal(text.code, 4);
    assert.equal(
      text.err,
      'batpak: Cannot append an event after clock 3 of "order:1": it has no event\n',
    );
    const json = await runHere([...args, "--json"]);
    assert.equal(json.code, 4);
    const { code, conflict } = JSON.parse(json.err).error;
    assert.equal(code, "CLOCK_CONFLICT");
    assert.deepEqual(conflict, { entity: "order:1", lane: 0, expected: 3, actual: "none" });
    assert.equal(existsSync(journal), false);
  });
});

test("append refuses a number that would change, names it and the remedy, and begins no journal", async () => {
  await inTempDir(async (dir) => {
    const journal = `${dir}/journal`;
    const { code, err } = await runHere(["append", journal, ...EVENT, '{"id":9007199254740993}']);
    assert.equal(code, 2);
    assert.match(
      err,
      /9007199254740993 would be .*740992; write \{"\$bigint":"9007199254740993"\}/,
    );
    assert.doesNotMatch(err, /in a shell/);
    assert.equal((await runHere(["append", journal, ...EVENT, "1e400"])).code, 2);
    assert.equal(existsSync(journal), false);
  });
});

test("append says where the event is when its receipt cannot be printed", async () => {
  await inTempDir(async (dir) => {
    const writeOut = () => {
      throw new Error("ENOSPC: no space left on device");
    };
    const args = ["append", dir, ...EVENT, "--key", "k"];
    const text = await runHere([...args, "1"], { host: { writeOut } });
    assert.equal(text.code, 1);
    assert.match(
      text.err,
      /Cannot print the receipt: ENOSPC.*\. The event was appended at sequence 1$/m,
    );
    const json = await runHere([...args, "--json", "1"], { host: { writeOut } });
    assert.equal(json.code, 1);
    const { error } = parseLines(json.err).at(-1) as { error: Record<string, unknown> };
    const { code, globalSequence, replayed } = error;
    assert.deepEqual([code, globalSequence, replayed], ["OUTPUT", 1, true]);
    using store = Store.openReadOnly(dir);
    assert.equal(store.query({ entity: "order:1" }).length, 1);
  });
});
