import { test } from "node:test";
import assert from "node:assert/strict";
import { runtime } from "../platform/runtime.ts";
import { Signal } from "./signal.ts";

const { scheduler } = runtime;
const LONG_MS = 20_000;

test("C-21 a Signal counts from 0, one for each time it is raised", () => {
  const signal = new Signal();
  assert.equal(signal.count, 0);
  signal.raise();
  signal.raise();
  assert.equal(signal.count, 2);
});

test("C-22 Signal.park() waits about the whole time when nothing happens", async () => {
  const startMs = performance.now();
  await new Signal().park(0, 60, { scheduler });
  assert.ok(performance.now() - startMs >= 50);
});

test("C-22 raising a Signal wakes everybody who parks, long before their time", async () => {
  const signal = new Signal();
  const startMs = performance.now();
  const parked = [1, 2, 3].map(() => signal.park(0, LONG_MS, { scheduler }));
  assert.equal(signal.parkedCount, 3);
  scheduler.delay(10, () => signal.raise());
  await Promise.all(parked);
  assert.ok(performance.now() - startMs < LONG_MS / 2);
  assert.equal(signal.parkedCount, 0);
});

test("Signal.park() does not wait for what has happened since the look", async () => {
  const signal = new Signal();
  const seen = signal.count;
  signal.raise();
  await signal.park(seen, LONG_MS, { scheduler });
  assert.equal(signal.parkedCount, 0);
});

test("Signal.wake() wakes without counting", async () => {
  const signal = new Signal();
  const parked = signal.park(0, LONG_MS, { scheduler });
  signal.wake();
  await parked;
  assert.equal(signal.count, 0);
});

test("Signal.park() ends when its AbortSignal aborts, at once when it has", async () => {
  const signal = new Signal();
  const controller = new AbortController();
  const parked = signal.park(0, LONG_MS, { scheduler, signal: controller.signal });
  controller.abort();
  await parked;
  await signal.park(0, LONG_MS, { scheduler, signal: controller.signal });
  assert.equal(signal.parkedCount, 0);
});
