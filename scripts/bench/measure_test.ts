import assert from "node:assert/strict";
import { test } from "node:test";
import { type Contestant, median, quantile, race, sampleLatencies } from "./measure.ts";

const noPause = () => Promise.resolve();

test("race() lets all take turns, and turns the order around from round to round", async () => {
  const turns: string[] = [];
  const contestant = (name: string): Contestant => ({
    name,
    slice() {
      turns.push(name);
      return 1;
    },
  });
  await race([contestant("a"), contestant("b")], { slices: 3, warmUps: 1, pause: noPause });
  assert.equal(turns.join(""), "ba" + "ab" + "ba" + "ab");
});

test("race() counts the events of a slice against its time", async () => {
  const busy = (name: string, events: number, ms: number): Contestant => ({
    name,
    slice() {
      const startMs = performance.now();
      while (performance.now() - startMs < ms);
      return events;
    },
  });
  const rates = await race([busy("few", 10, 2), busy("many", 1000, 2)], {
    slices: 5,
    warmUps: 0,
    pause: noPause,
  });
  // A slice takes at least its 2 ms, so no rate can be higher than this.
  assert.ok(rates.get("few")! > 0 && rates.get("few")! <= 10 / 0.002);
  assert.ok(rates.get("many")! > 0 && rates.get("many")! <= 1000 / 0.002);
});

test("race() keeps a rest off the clock, and lets a pause end it", async () => {
  let rests = 0;
  const contestant: Contestant = { name: "a", slice: () => 1, rest: () => rests++ };
  await race([contestant], { slices: 3, warmUps: 2, pause: noPause });
  assert.equal(rests, 5);
  const stop = new Error("enough");
  const pause = () => Promise.reject(stop);
  await assert.rejects(race([contestant], { slices: 3, warmUps: 2, pause }), stop);
  assert.equal(rests, 5);
});

test("median() is the value in the middle, or between the two in the middle", () => {
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([10, 2, 4, 100]), 7);
  assert.throws(() => median([]), RangeError);
});

test("quantile() is a value that was measured", () => {
  const sorted = Float64Array.from({ length: 100 }, (_, i) => i + 1);
  assert.equal(quantile(sorted, 0.5), 50);
  assert.equal(quantile(sorted, 0.99), 99);
  assert.equal(quantile(Float64Array.of(7), 0.99), 7);
  assert.throws(() => quantile(new Float64Array(0), 0.5), RangeError);
});

test("sampleLatencies() times every call", () => {
  let calls = 0;
  const { p50us, p99us } = sampleLatencies(() => calls++, 1000);
  assert.equal(calls, 1000);
  assert.ok(p50us >= 0 && p99us >= p50us);
});
