import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type Contestant,
  figureOf,
  growthExponent,
  median,
  quantile,
  race,
  sampleLatencies,
} from "./measure.ts";

const noPause = () => Promise.resolve();

test("race() lets all take turns, and turns the order around from round to round", async () => {
  const turns: string[] = [];
  const contestant = (name: string, isAsync = false): Contestant => ({
    name,
    slice() {
      turns.push(name);
      return isAsync ? Promise.resolve(1) : 1;
    },
  });
  await race([contestant("a"), contestant("b", true)], { slices: 3, warmUps: 1, pause: noPause });
  assert.equal(turns.join(""), "ba" + "ab" + "ba" + "ab");
});

test("race() returns the events and the time of every counted slice", async () => {
  const busy = (name: string, events: number, ms: number): Contestant => ({
    name,
    slice() {
      const startMs = performance.now();
      while (performance.now() - startMs < ms);
      return events;
    },
  });
  const [few, many] = await race([busy("few", 10, 2), busy("many", 1000, 2)], {
    slices: 5,
    warmUps: 2,
    pause: noPause,
  });
  assert.deepEqual(few.map(({ events }) => events), [10, 10, 10, 10, 10]);
  assert.deepEqual(many.map(({ events }) => events), [1000, 1000, 1000, 1000, 1000]);
  for (const { elapsedMs } of [...few, ...many]) assert.ok(elapsedMs >= 2);
});

test("race() waits for a slice that is a promise", async () => {
  const contestant: Contestant = {
    name: "a",
    slice: () => new Promise((resolve) => setTimeout(() => resolve(7), 5)),
  };
  const [[lap]] = await race([contestant], { slices: 1, warmUps: 0, pause: noPause });
  assert.equal(lap.events, 7);
  assert.ok(lap.elapsedMs > 3);
});

test("race() keeps getting ready and resting off the clock, and lets a pause end it", async () => {
  const steps: string[] = [];
  const wait = () => {
    const startMs = performance.now();
    while (performance.now() - startMs < 60);
  };
  const contestant: Contestant = {
    name: "a",
    ready() {
      wait();
      steps.push("ready");
    },
    slice: () => steps.push("slice"),
    rest() {
      wait();
      steps.push("rest");
    },
  };
  const [laps] = await race([contestant], { slices: 1, warmUps: 1, pause: noPause });
  assert.deepEqual(steps, ["ready", "slice", "rest", "ready", "slice", "rest"]);
  assert.ok(laps[0].elapsedMs < 60, `${laps[0].elapsedMs} ms`);
  const stop = new Error("enough");
  const pause = () => Promise.reject(stop);
  await assert.rejects(race([contestant], { slices: 3, warmUps: 2, pause }), stop);
  assert.equal(steps.length, 6);
});

test("median() is the value in the middle, or between the two in the middle", () => {
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([10, 2, 4, 100]), 7);
  assert.throws(() => median([]), RangeError);
});

test("figureOf() says the median, how far half of the samples lie from it, and all of them", () => {
  assert.deepEqual(figureOf([100, 90, 104, 1000, 99]), {
    median: 100,
    spread: 0.04,
    samples: [100, 90, 104, 1000, 99],
  });
  assert.deepEqual(figureOf([123456.7]), { median: 123500, spread: 0, samples: [123500] });
  assert.deepEqual(figureOf([0, 0]), { median: 0, spread: 0, samples: [0, 0] });
});

test("growthExponent() is 1 for a cost that grows with size, 2 for one that grows with its square", () => {
  const points = (costOf: (events: number) => number) =>
    [1000, 4000, 16_000].map((events) => ({ events, cost: costOf(events) }));
  const close = (actual: number, expected: number) =>
    assert.ok(Math.abs(actual - expected) < 1e-12, `${actual}, not ${expected}`);
  close(growthExponent(points((n) => 3 * n)), 1);
  close(growthExponent(points((n) => 0.5 * n * n)), 2);
  close(growthExponent(points(() => 7)), 0);
  // Least squares by hand, in powers of four: (0, 0), (1, 1), (2, 3) have the slope 1.5.
  close(
    growthExponent([
      { events: 1, cost: 1 },
      { events: 4, cost: 4 },
      { events: 16, cost: 64 },
    ]),
    1.5,
  );
  assert.throws(() => growthExponent([{ events: 1, cost: 1 }]), RangeError);
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
