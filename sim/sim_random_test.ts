import assert from "node:assert/strict";
import { test } from "node:test";
import { Fold64, SimRandom } from "./sim_random.ts";

test("SimRandom is wyrand: the known answers of seeds 0 and 99", () => {
  const zero = new SimRandom(0);
  const hex = () => {
    const { hi, lo } = zero.nextU64();
    return hi.toString(16).padStart(8, "0") + lo.toString(16).padStart(8, "0");
  };
  assert.deepEqual([hex(), hex(), hex()], [
    "9a45cd888d59f0d6",
    "01445b6a189663f5",
    "1842218b97e7a496",
  ]);
  const random = new SimRandom(99);
  assert.deepEqual(
    [random.nextU32(), random.nextU32(), random.nextU32(), random.nextU32()],
    [3722878671, 2040101349, 1524156944, 3578465170],
  );
});

test("ofHalves() gives the generator of the seed that the halves make", () => {
  assert.equal(SimRandom.ofHalves(11, 7).nextU32(), new SimRandom(11 * 2 ** 32 + 7).nextU32());
});

test("SimRandom draws the operation plans that the reference draws from its seeds", () => {
  // Three in six append, two a batch of one to three, one a sync.
  const plan = (seed: number): string => {
    const random = new SimRandom(seed);
    const ops: string[] = [];
    for (let i = 0; i < 12; i++) {
      const which = random.nextU32() % 6;
      ops.push(which < 3 ? "A" : which < 5 ? `B${1 + random.nextU32() % 3}` : "S");
    }
    return ops.join(" ");
  };
  assert.equal(plan(48104590831), "B3 A B2 A A S S A B2 A S B1");
  assert.equal(plan(1677852679), "A A A A S S S B1 B3 A A A");
  assert.equal(plan(1677852678), "B2 B2 B2 A A S B3 S B1 B2 B2 B1");
});

test("stream() depends on the seed and the name, and draws nothing", () => {
  const random = new SimRandom(7);
  const first = random.stream("faults").nextU32();
  assert.equal(random.stream("faults").nextU32(), first);
  assert.notEqual(random.stream("crash").nextU32(), first);
  assert.notEqual(new SimRandom(8).stream("faults").nextU32(), first);
  assert.equal(random.nextU32(), new SimRandom(7).nextU32());
});

test("below(), between() and chance() keep to their bounds, and reach them", () => {
  const random = new SimRandom(5);
  const seen = new Set<number>();
  for (let i = 0; i < 200; i++) seen.add(random.between(3, 6));
  assert.deepEqual([...seen].sort(), [3, 4, 5, 6]);
  assert.equal(random.below(1), 0);
  assert.equal(random.chance(0), false);
  assert.equal(random.chance(1), true);
});

test("shuffle() keeps every item, and fill() every byte outside its range", () => {
  const random = new SimRandom(11);
  assert.deepEqual(random.shuffle([1, 2, 3, 4, 5]).sort(), [1, 2, 3, 4, 5]);
  const bytes = new Uint8Array(9);
  random.fill(bytes, 2, 8);
  assert.deepEqual([bytes[0], bytes[1], bytes[8]], [0, 0, 0]);
  assert.notDeepEqual([...bytes.subarray(2, 8)], [0, 0, 0, 0, 0, 0]);
});

test("SimRandom takes whole seeds up to 2^53 - 1, and nothing else", () => {
  new SimRandom(Number.MAX_SAFE_INTEGER);
  for (const seed of [-1, 0.5, NaN, 2 ** 53]) {
    assert.throws(() => new SimRandom(seed), RangeError);
  }
});

test("Fold64 is FNV-1a", () => {
  assert.equal(`${new Fold64().fold(0)}`, "a8c7f832281a39c5");
  assert.equal(`${new Fold64().fold(1)}`, "89cd31291d2aefa4");
  assert.equal(`${new Fold64().bytes(new TextEncoder().encode("foobar"))}`, "85944171f73967e8");
});
