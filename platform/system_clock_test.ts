import assert from "node:assert/strict";
import { test } from "node:test";
import { clockFrom, SystemClock } from "./system_clock.ts";

test("SystemClock agrees with Date.now() to a few milliseconds", () => {
  const clock = new SystemClock();
  for (let round = 0; round < 1_000; round++) {
    assert.ok(Math.abs(clock.nowUs() / 1_000 - Date.now()) < 10);
  }
});

test("SystemClock resolves microseconds", () => {
  const clock = new SystemClock();
  const seen = new Set<number>();
  for (let round = 0; round < 10_000; round++) seen.add(clock.nowUs() % 1_000);
  assert.ok(seen.size > 50, `${seen.size} different values`);
  assert.ok([...seen].every(Number.isInteger));
});

test("SystemClock follows the wall clock when somebody sets it", () => {
  const clock = new SystemClock();
  const realNow = Date.now;
  for (const correctionMs of [0, 60_000, -60_000, 5]) {
    try {
      Date.now = () => realNow() + correctionMs;
      const soon = performance.now() + 2;
      while (performance.now() < soon);
      assert.ok(Math.abs(clock.nowUs() / 1_000 - Date.now()) < 10, `${correctionMs} ms`);
    } finally {
      Date.now = realNow;
    }
  }
});

test("SystemClock.monotonicUs() never goes back", () => {
  const clock = new SystemClock();
  let last = clock.monotonicUs();
  for (let round = 0; round < 10_000; round++) {
    const next = clock.monotonicUs();
    assert.ok(next >= last && Number.isInteger(next));
    last = next;
  }
});

test("SystemClock.bootId stays, and is nobody else's", () => {
  const clock = new SystemClock();
  assert.equal(clock.bootId, clock.bootId);
  assert.notEqual(clock.bootId, new SystemClock().bootId);
});

test("clockFrom() tells the time it is told, and keeps the monotonic one from falling", () => {
  const times = [10, -5, 7, 20];
  const clock = clockFrom(() => times.shift()!);
  assert.equal(clock.nowUs(), 10);
  assert.equal(clock.nowUs(), -5);
  assert.equal(clock.monotonicUs(), 7);
  assert.equal(clock.monotonicUs(), 20);
  times.push(3);
  assert.equal(clock.monotonicUs(), 20);
  assert.equal(clock.bootId, "clock-from-function");
  assert.equal(clockFrom(() => 0, "mine").bootId, "mine");
});
