import assert from "node:assert/strict";
import { readdirSync, realpathSync, statSync } from "node:fs";
import { test } from "node:test";
import { EventKind, type Receipt, Store } from "../mod.ts";
import { flipBit, inTempDir, parseLines, runHere, segmentPath } from "../tests/command.ts";

const PLACED = EventKind.custom(0xf, 1);
const SHIPPED = EventKind.custom(0xf, 2);

/** Three orders: the second is shipped because it was placed. */
function fill(dir: string): Receipt[] {
  using store = Store.open(dir);
  const at = (n: number) => ({ entity: `order:${n}`, scope: "shop" });
  const first = store.append(at(1), PLACED, { n: 1 }, { tags: ["red"] });
  const second = store.append(at(2), PLACED, { n: 2 }, { tags: ["red", "blue"] });
  const shipped = store.append(at(2), SHIPPED, { n: 3 }, { causationId: second.eventId });
  const third = store.append({ entity: "orders", scope: "other" }, EventKind.DATA, { n: 4 }, {
    lane: 5,
    causationId: shipped.eventId,
  });
  return [first, second, shipped, third];
}

async function queried(dir: string, ...args: string[]): Promise<unknown[]> {
  const { code, out, err } = await runHere(["query", dir, ...args]);
  assert.equal(code, 0, err);
  return parseLines(out).map(({ payload }) => (payload as { n?: number }).n ?? payload);
}

test("get prints the whole event as JSON", async () => {
  await inTempDir(async (dir) => {
    const [, second] = fill(dir);
    const text = await runHere(["get", dir, second.eventId]);
    assert.equal(text.code, 0);
    const event = JSON.parse(text.out);
    assert.equal(event.eventId, second.eventId);
    assert.equal(event.kind, "0xF001");
    assert.deepEqual(event.payload, { n: 2 });
    const json = await runHere(["get", dir, second.eventId.toUpperCase(), "--json"]);
    assert.equal(json.out, `${JSON.stringify(event)}\n`);
  });
});

test("get exits with 1 when there is no such event", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    const id = "0196f3b2-8c00-7abc-8def-0123456789ab";
    const { code, out, err } = await runHere(["get", dir, id, "--json"]);
    assert.equal(code, 1);
    assert.equal(out, "");
    assert.deepEqual(JSON.parse(err).error.code, "NOT_FOUND");
  });
});

test("query selects by every filter", async () => {
  await inTempDir(async (dir) => {
    const receipts = fill(dir);
    assert.deepEqual(await queried(dir), [1, 2, 3, 4]);
    assert.deepEqual(await queried(dir, "--entity", "order"), [1, 2, 3]);
    assert.deepEqual(await queried(dir, "--entity", "order:2"), [2, 3]);
    assert.deepEqual(await queried(dir, "--scope", "other"), [4]);
    assert.deepEqual(await queried(dir, "--kind", "F:002"), [3]);
    assert.deepEqual(await queried(dir, "--category", "f"), [1, 2, 3]);
    assert.deepEqual(await queried(dir, "--category", "15"), [1, 2, 3]);
    assert.deepEqual(await queried(dir, "--tag", "red"), [1, 2]);
    assert.deepEqual(await queried(dir, "--tag", "red", "--tag", "blue"), [2]);
    assert.deepEqual(await queried(dir, "--lane", "5"), [4]);
    assert.deepEqual(await queried(dir, "--limit", "2"), [1, 2]);
    assert.deepEqual(await queried(dir, "--limit", "0"), []);
    assert.deepEqual(await queried(dir, "--reverse", "--limit", "2"), [4, 3]);
    assert.deepEqual(await queried(dir, "--after", `${receipts[1].globalSequence}`), [3, 4]);
    assert.deepEqual(await queried(dir, "--entity", "nobody"), []);
  });
});

test("query shows the store's own events only when it is asked to", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    assert.equal((await queried(dir, "--system")).length, 6);
    assert.equal((await queried(dir, "--kind", "0x0008")).length, 1);
    assert.equal((await queried(dir, "--category", "0")).length, 2);
  });
});

test("query prints what JSON lacks in the form that append reads", async () => {
  await inTempDir(async (dir) => {
    const payload = { bytes: new Uint8Array([1]), big: 2n ** 60n, when: new Date(0), odd: NaN };
    {
      using store = Store.open(dir);
      store.append({ entity: "e", scope: "s" }, EventKind.DATA, payload);
    }
    const [{ payload: printed }] = parseLines((await runHere(["query", dir])).out);
    const args = ["append", dir, "--entity", "e", "--scope", "s", JSON.stringify(printed)];
    assert.equal((await runHere(args)).code, 0);
    using store = Store.openReadOnly(dir);
    assert.deepEqual(store.query({ entity: "e" })[1].payload, payload);
  });
});

test("walk prints ancestors newest first and says why it ended", async () => {
  await inTempDir(async (dir) => {
    const [, second, shipped] = fill(dir);
    const all = await runHere(["walk", dir, shipped.eventId]);
    assert.equal(all.code, 0);
    const ids = parseLines(all.out).map(({ eventId }) => eventId);
    assert.deepEqual(ids, [shipped.eventId, second.eventId]);
    assert.match(all.err, /reached the first event of its lane/);

    const one = await runHere(["walk", dir, shipped.eventId, "--limit", "1", "--json"]);
    assert.equal(parseLines(one.out).length, 1);
    assert.deepEqual(JSON.parse(one.err), { boundary: { type: "LimitReached" } });
  });
});

test("walk --causes and --effects follow the causation graph", async () => {
  await inTempDir(async (dir) => {
    const [, second, shipped, third] = fill(dir);
    const causes = await runHere(["walk", dir, third.eventId, "--causes"]);
    assert.deepEqual(parseLines(causes.out).map(({ eventId }) => eventId), [
      shipped.eventId,
      second.eventId,
    ]);
    assert.match(causes.err, /reached an event without a cause/);
    const effects = await runHere(["walk", dir, second.eventId, "--effects"]);
    assert.deepEqual(parseLines(effects.out).map(({ eventId }) => eventId), [shipped.eventId]);
    const both = await runHere(["walk", dir, second.eventId, "--effects", "--causes"]);
    assert.equal(both.code, 2);
  });
});

test("walk exits with 1 when there is no such event", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    const id = "0196f3b2-8c00-7abc-8def-0123456789ab";
    for (const args of [[], ["--causes"], ["--effects"]]) {
      assert.equal((await runHere(["walk", dir, id, ...args])).code, 1);
    }
  });
});

test("a command that meets damage exits with 3", async () => {
  await inTempDir(async (dir) => {
    const [first] = fill(dir);
    const { offset, size } = first.position;
    flipBit(segmentPath(dir), offset + size - 1);
    const { code, err } = await runHere(["query", dir, "--json"]);
    assert.equal(code, 3);
    const { error } = JSON.parse(err);
    assert.equal(error.code, "CORRUPTION");
    assert.equal(error.segmentId, 1);
    assert.equal(error.offset, offset);
    const hint = `Run "batpak verify ${realpathSync(dir)}" for all that is wrong there`;
    assert.equal(error.hint, hint);
    const text = await runHere(["query", dir]);
    assert.equal(text.code, 3);
    assert.ok(text.err.endsWith(`\n${hint}\n`), text.err);
  });
});

test("stats counts events, entities, segments, bytes and kinds", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    const facts = JSON.parse((await runHere(["stats", dir, "--json"])).out);
    assert.equal(facts.eventCount, 6);
    assert.equal(facts.nextSequence, 6);
    assert.equal(facts.segmentCount, 1);
    assert.ok(facts.logBytes > 0);
    assert.ok(facts.indexBytes > 0);
    assert.deepEqual(facts.kinds, [
      { kind: "0x0008", name: "SYSTEM_OPEN_COMPLETED", count: 1 },
      { kind: "0x0009", name: "SYSTEM_CLOSE_COMPLETED", count: 1 },
      { kind: "0x1000", name: "DATA", count: 1 },
      { kind: "0xF001", count: 2 },
      { kind: "0xF002", count: 1 },
    ]);
    assert.deepEqual([facts.retiredCount, facts.firstSequence], [0, 0]);
    const sizes = readdirSync(dir).map((name) => statSync(`${dir}/${name}`).size);
    assert.equal(facts.diskBytes, sizes.reduce((sum, size) => sum + size, 0));
    const text = (await runHere(["stats", dir])).out;
    assert.match(text, /^events +6$/m);
    assert.match(text, /^on disk +\d/m);
    assert.match(text, /^0xF001 +2$/m);
    assert.doesNotMatch(text, /retired|first sequence/);
  });
});

test("stats adds up where events were retired and pruned", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    const args = ["--strategy", "retention", "--max-count", "1", "--kind", "F:001", "--seal"];
    await runHere(["compact", dir, ...args, "--min-segments", "1"]);
    const facts = JSON.parse((await runHere(["stats", dir, "--json"])).out);
    const counted = facts.kinds.reduce(
      (sum: number, { count }: { count: number }) => sum + count,
      0,
    );
    assert.deepEqual([facts.retiredCount, counted], [1, facts.eventCount - 1]);
    const retired = (await runHere(["stats", dir])).out;
    assert.match(retired, /^retired +1$/m);
    assert.match(retired, /^retired, of any kind +1$/m);
    const pruned = JSON.parse((await runHere(["prune", dir, "--below", "9", "--json"])).out);
    assert.equal(pruned.outcome, "performed");
    const text = (await runHere(["stats", dir])).out;
    assert.match(text, new RegExp(`^first sequence +${pruned.firstSequence}$`, "m"));
    assert.doesNotMatch(text, /retired/);
  });
});

test("get says what an id is", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    const { code, err } = await runHere(["get", dir, "order:1"]);
    assert.equal(code, 2);
    assert.match(err, /An id is a UUID, as 0196f3b2-\S+: "query" prints each event with its own/);
  });
});
