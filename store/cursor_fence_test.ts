import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs } from "../platform/memory.ts";
import { runtime } from "../platform/runtime.ts";
import { KIND, openReader, openStore, USER } from "../tests/support/journal.ts";
import type { Cursor } from "./cursor.ts";
import type { Fence } from "./fence.ts";
import type { Store } from "./store.ts";

const { clock, scheduler } = runtime;
const LONG_MS = 20_000;
const REGION = { entity: "user" };
const GAPS = { gaps: { kind: "enabled", capacity: 8 } } as const;

/** An event that is never seen. Its fence begins in the sequence before, and ends in the one behind. */
function appendCancelled(store: Store, lane = 0): number {
  using fence = store.beginFence();
  return stage(store, fence, lane);
}

function stage(store: Store, fence: Fence, lane: number): number {
  const { nextSequence } = store.stats();
  fence.append(USER, KIND, "staged", { lane });
  return nextSequence;
}

function append(store: Store, lane = 0): number {
  return store.append(USER, KIND, "visible", { lane }).globalSequence;
}

function drain(cursor: Cursor): number[] {
  const sequences: number[] = [];
  for (let event = cursor.poll(); event !== undefined; event = cursor.poll()) {
    sequences.push(event.globalSequence);
  }
  return sequences;
}

test("C-08 a cursor that takes one at a time steps over a cancelled fence", () => {
  using store = openStore(new MemoryFs());
  const cursor = store.cursor(REGION);
  const first = append(store);
  appendCancelled(store);
  const last = append(store);
  assert.deepEqual(cursor.pollBatch(1).map((event) => event.globalSequence), [first]);
  assert.deepEqual(cursor.pollBatch(1).map((event) => event.globalSequence), [last]);
  assert.deepEqual(cursor.pollBatch(1), []);
});

test("C-16 a cursor that observes gaps says once what a cancelled fence hides", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  const first = append(store);
  const hidden = appendCancelled(store);
  const last = append(store);
  using reader = openReader(fs);
  for (const journal of [store, reader]) {
    const cursor = journal.cursor(REGION, GAPS);
    assert.deepEqual(drain(cursor), [first, last]);
    assert.deepEqual(cursor.takeGaps(), [{
      expectedSequence: first + 1,
      deliveredSequence: last,
      cancelledRanges: [{ start: hidden, end: hidden + 1 }],
    }]);
    assert.deepEqual(cursor.takeGaps(), []);
  }
});

test("C-18 a gap buffer of 1 keeps the newest of two cancelled fences", () => {
  using store = openStore(new MemoryFs());
  append(store);
  appendCancelled(store);
  const second = append(store);
  const hidden = appendCancelled(store);
  const last = append(store);
  const cursor = store.cursor(REGION, { gaps: { kind: "enabled", capacity: 1 } });
  assert.equal(drain(cursor).length, 3);
  assert.deepEqual(cursor.takeGaps(), [{
    expectedSequence: second + 1,
    deliveredSequence: last,
    cancelledRanges: [{ start: hidden, end: hidden + 1 }],
  }]);
});

test("C-20 a cursor over lane 0 explains a hole by a cancelled event of lane 1", () => {
  using store = openStore(new MemoryFs());
  const first = append(store);
  const hidden = appendCancelled(store, 1);
  const second = append(store);
  const cursor = store.cursor({ ...REGION, lane: 0 }, GAPS);
  assert.deepEqual(drain(cursor), [first, second]);
  assert.deepEqual(cursor.takeGaps(), [{
    expectedSequence: first + 1,
    deliveredSequence: second,
    cancelledRanges: [{ start: hidden, end: hidden + 1 }],
  }]);
});

test("committing a fence wakes a cursor that waits, and gives it all of it", async () => {
  using store = openStore(new MemoryFs(), { clock });
  const cursor = store.cursor(REGION);
  const fence = store.beginFence();
  const staged = [0, 1, 2].map((lane) => stage(store, fence, lane));
  assert.deepEqual(drain(cursor), []);
  scheduler.delay(10, () => fence.commit());
  const batch = await cursor.pullBatch(10, { timeoutMs: LONG_MS });
  assert.ok(batch.kind === "many");
  assert.deepEqual(batch.items.map((event) => event.globalSequence), staged);
});

test("a cursor of a reader sees a fence when it is committed, at once, and what it staged before", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  using reader = openReader(fs);
  const cursor = reader.cursor(REGION);
  const fence = store.beginFence();
  const staged = [0, 1].map((lane) => stage(store, fence, lane));
  reader.refresh();
  assert.deepEqual(drain(cursor), []);
  fence.commit();
  reader.refresh();
  assert.deepEqual(drain(cursor), staged);
});
