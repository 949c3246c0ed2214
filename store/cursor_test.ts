import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs } from "../platform/memory.ts";
import { runtime } from "../platform/runtime.ts";
import { DIR, KIND, openReader, openStore, USER } from "../tests/support/journal.ts";
import { withTempDir } from "../tests/support/temp_dir.ts";
import type { Cursor } from "./cursor.ts";
import { StoreClosedError } from "./errors.ts";
import type { EventIndex } from "./index/event_index.ts";
import type { JournalReader } from "./journal_reader.ts";
import { Store } from "./store.ts";
import type { StoredEvent } from "./stored_event.ts";

const { clock, scheduler } = runtime;
const LONG_MS = 20_000;
const REGION = { entity: "user" };

/** A store whose waits are real, with so many events of {@linkcode USER}: 1, 2, … */
function storeWith(count: number, options: Parameters<typeof openStore>[1] = {}): Store {
  const store = openStore(new MemoryFs(), { clock, ...options });
  for (let n = 1; n <= count; n++) store.append(USER, KIND, n);
  return store;
}

function sequencesOf(events: readonly StoredEvent[]): number[] {
  return events.map(({ globalSequence }) => globalSequence);
}

/** Everything a cursor has, in batches of `max`. */
function drain(cursor: Cursor, max = 3): number[] {
  const sequences: number[] = [];
  for (;;) {
    const events = cursor.pollBatch(max);
    if (events.length === 0) return sequences;
    assert.ok(events.length <= max);
    sequences.push(...sequencesOf(events));
  }
}

test("C-01 S000-18 polling gives every event of a region in order, across segments", () => {
  using store = storeWith(5, { segmentMaxBytes: 400 });
  assert.ok(store.stats().segmentCount > 1);
  const cursor = store.cursor(REGION);
  const seen: number[] = [];
  for (let event = cursor.poll(); event !== undefined; event = cursor.poll()) {
    seen.push(event.globalSequence);
  }
  assert.deepEqual(seen, [1, 2, 3, 4, 5]);
});

test("C-02 pollBatch() gives exactly as many as it was asked for", () => {
  using store = storeWith(10);
  for (const [requests, sizes] of [[[3, 3, 100, 100], [3, 3, 4, 0]], [[3, 100, 10], [3, 7, 0]]]) {
    const cursor = store.cursor(REGION);
    const batches = requests.map((max) => sequencesOf(cursor.pollBatch(max)));
    assert.deepEqual(batches.map(({ length }) => length), sizes);
    assert.deepEqual(batches.flat(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  }
});

test("C-03 an empty cursor stays empty and where it is, however it is asked", () => {
  using store = storeWith(0);
  const cursor = store.cursor(REGION);
  for (let n = 0; n < 5; n++) {
    assert.equal(cursor.poll(), undefined);
    assert.deepEqual(cursor.pollBatch(n), []);
    assert.deepEqual(cursor.position, { position: 0, started: false });
  }
});

test("C-04 the first event of a cursor over everything has sequence 0", () => {
  using store = storeWith(1);
  const cursor = store.cursor();
  assert.equal(cursor.poll()?.globalSequence, 0);
  assert.deepEqual(cursor.position, { position: 0, started: true });
  assert.equal(cursor.poll()?.globalSequence, 1);
});

test("C-05 a cursor gives what is appended after it was made, and after it came to the end", () => {
  using store = storeWith(0);
  // Nobody has used any of the names yet.
  const cursors = [
    store.cursor(REGION),
    store.cursor({ scope: "app" }),
    store.cursor({ tags: ["new"] }),
    store.cursor({ kind: KIND }),
    store.cursor({ entity: "user:1", scope: "app", kind: KIND, lane: 0, tags: ["new"] }),
  ];
  for (const cursor of cursors) assert.deepEqual(drain(cursor), []);
  for (let n = 1; n <= 3; n++) {
    store.append(USER, KIND, n, { tags: ["new"] });
    for (const cursor of cursors) assert.deepEqual(drain(cursor), [n]);
  }
});

test("C-05 a cursor over a prefix gives entities that begin later, few or many", () => {
  using store = storeWith(1);
  const cursor = store.cursor(REGION);
  assert.deepEqual(drain(cursor), [1]);
  for (let n = 2; n <= 40; n++) {
    store.append({ entity: n % 3 === 0 ? `other:${n}` : `user:${n}`, scope: "app" }, KIND, n);
    assert.deepEqual(drain(cursor), n % 3 === 0 ? [] : [n]);
  }
});

test("C-06 calls of poll() never repeat an event", () => {
  using store = storeWith(5);
  const cursor = store.cursor(REGION);
  const first = [cursor.poll(), cursor.poll(), cursor.poll()];
  const rest = [cursor.poll(), cursor.poll(), cursor.poll()];
  assert.deepEqual(first.map((event) => event?.globalSequence), [1, 2, 3]);
  assert.deepEqual(rest.map((event) => event?.globalSequence), [4, 5, undefined]);
});

test("C-07 events of four producers that take turns all come, in batches of 50", async () => {
  using store = storeWith(0);
  const produce = async (producer: number) => {
    for (let n = 0; n < 25; n++) {
      store.append({ entity: `user:${producer}`, scope: "app" }, KIND, n);
      await scheduler.turn();
    }
  };
  const cursor = store.cursor(REGION);
  const seen: number[] = [];
  const consume = async () => {
    while (seen.length < 100) {
      const batch = await cursor.pullBatch(50, { timeoutMs: LONG_MS });
      assert.notEqual(batch.kind, "empty");
      if (batch.kind === "many") seen.push(...sequencesOf(batch.items));
      if (batch.kind === "one") seen.push(batch.item.globalSequence);
    }
  };
  await Promise.all([consume(), ...[0, 1, 2, 3].map(produce)]);
  assert.deepEqual(seen, Array.from({ length: 100 }, (_, i) => i + 1));
});

test("C-09 a cursor over a lane gives that lane and no other; paged queries agree", () => {
  using store = storeWith(0);
  for (let n = 1; n <= 9; n++) store.append(USER, KIND, n, { lane: n % 3 });
  const region = { entity: "user", lane: 2 };
  const cursor = store.cursor(region);
  assert.deepEqual(drain(cursor, 2), [2, 5, 8]);
  assert.equal(cursor.poll(), undefined);
  const page = store.queryAfter(region, 2, 2);
  assert.deepEqual(sequencesOf(page), [5, 8]);
});

test("C-10 a cursor from a position gives the smallest sequences behind it; clocks are inclusive", () => {
  using store = storeWith(10);
  const from = { position: 4, started: true };
  assert.deepEqual(sequencesOf(store.cursor({}, { from }).pollBatch(3)), [5, 6, 7]);
  assert.deepEqual(drain(store.cursor({ clock: [2, 5], entity: "user" })), [3, 4, 5, 6]);
  assert.deepEqual(drain(store.cursor({ clock: [2, 5] }, { from })), [5, 6]);
});

/** As if fences had been cancelled, or one were open: only what an index says about it. */
function withFences(
  reader: JournalReader,
  { cancelled = [], visible }: { cancelled?: [number, number][]; visible?: () => number },
): void {
  const { index }: { index: EventIndex } = reader.cursorHost().source;
  const ranges = cancelled.map(([start, end]) => ({ start, end }));
  index.isHidden = (row) => ranges.some(({ start, end }) => row >= start && row < end);
  index.cancelledRanges = () => ranges;
  if (visible) Object.defineProperty(index, "visibleCount", { get: visible });
}

test("C-08 a cursor that takes one at a time steps over rows that are hidden", () => {
  using store = storeWith(6);
  withFences(store, { cancelled: [[2, 5]] });
  const cursor = store.cursor(REGION);
  assert.deepEqual([1, 2, 3, 4].map(() => cursor.pollBatch(1)[0]?.globalSequence), [
    1,
    5,
    6,
    undefined,
  ]);
});

test("a cursor stops in front of rows that are not visible yet, and gives them all at once after", () => {
  using store = storeWith(6);
  let visible = 3;
  withFences(store, { visible: () => visible });
  const cursor = store.cursor(REGION);
  assert.deepEqual(drain(cursor), [1, 2]);
  assert.deepEqual(drain(cursor), []);
  visible = 7;
  assert.deepEqual(sequencesOf(cursor.pollBatch(10)), [3, 4, 5, 6]);
});

test("C-16 a cursor that observes gaps says once what a cancelled fence hides", () => {
  using store = storeWith(3);
  withFences(store, { cancelled: [[2, 3]] });
  const cursor = store.cursor(REGION, { gaps: { kind: "enabled", capacity: 8 } });
  assert.deepEqual(drain(cursor), [1, 3]);
  assert.deepEqual(cursor.takeGaps(), [
    { expectedSequence: 2, deliveredSequence: 3, cancelledRanges: [{ start: 2, end: 3 }] },
  ]);
  assert.deepEqual(cursor.takeGaps(), []);
});

test("C-16 what a region leaves out is no gap", () => {
  using store = storeWith(3);
  const cursor = store.cursor({ clock: [2, 2] }, { gaps: { kind: "enabled", capacity: 8 } });
  assert.deepEqual(drain(cursor), [3]);
  assert.deepEqual(cursor.takeGaps(), []);
});

test("C-17 a cursor that does not observe gaps has none", () => {
  using store = storeWith(3);
  withFences(store, { cancelled: [[2, 3]] });
  for (const options of [{}, { gaps: { kind: "disabled" } as const }]) {
    const cursor = store.cursor(REGION, options);
    assert.deepEqual(drain(cursor), [1, 3]);
    assert.deepEqual(cursor.takeGaps(), []);
  }
});

test("C-18 a gap buffer of 1 keeps the newest of two holes", () => {
  using store = storeWith(5);
  withFences(store, { cancelled: [[2, 3], [4, 5]] });
  const cursor = store.cursor(REGION, { gaps: { kind: "enabled", capacity: 1 } });
  assert.deepEqual(drain(cursor), [1, 3, 5]);
  assert.deepEqual(cursor.takeGaps(), [
    { expectedSequence: 4, deliveredSequence: 5, cancelledRanges: [{ start: 4, end: 5 }] },
  ]);
});

test("C-20 a cursor over lane 0 explains a hole by a cancelled event of lane 1", () => {
  using store = storeWith(0);
  for (const lane of [0, 1, 0]) store.append(USER, KIND, lane, { lane });
  withFences(store, { cancelled: [[2, 3]] });
  const gaps = { kind: "enabled", capacity: 8 } as const;
  const cursor = store.cursor({ ...REGION, lane: 0 }, { gaps });
  assert.deepEqual(drain(cursor), [1, 3]);
  const observed = { expectedSequence: 2, deliveredSequence: 3 };
  const range = { start: 2, end: 3 };
  assert.deepEqual(cursor.takeGaps(), [{ ...observed, cancelledRanges: [range] }]);

  // What is of the lane itself follows behind what hides it for all.
  store.append(USER, KIND, "lane 1", { lane: 1 });
  const other = store.cursor({ ...REGION, lane: 1 }, { gaps });
  assert.deepEqual(drain(other), [4]);
  assert.deepEqual(other.takeGaps(), [
    { expectedSequence: 0, deliveredSequence: 4, cancelledRanges: [range, range] },
  ]);
});

test("C-23 pullBatch() waits for its time when there is nothing, and says so", async () => {
  using store = storeWith(0);
  const startMs = clock.monotonicUs() / 1000;
  const batch = await store.cursor(REGION).pullBatch(10, { timeoutMs: 60 });
  assert.deepEqual(batch, { kind: "empty" });
  assert.ok(clock.monotonicUs() / 1000 - startMs >= 60);
});

test("C-24 pullBatch() without time gives one event that is there, or several", async () => {
  using store = storeWith(3);
  const cursor = store.cursor(REGION);
  const one = await cursor.pullBatch(1, { timeoutMs: 0 });
  assert.ok(one.kind === "one");
  assert.equal(one.item.eventId, store.at(1)?.eventId);
  const many = await cursor.pullBatch(10, { timeoutMs: 0 });
  assert.ok(many.kind === "many");
  assert.deepEqual(sequencesOf(many.items), [2, 3]);
  assert.deepEqual(await cursor.pullBatch(10, { timeoutMs: 0 }), { kind: "empty" });
});

test("pullBatch() of 0 events is empty at once, and does not move", async () => {
  using store = storeWith(1);
  const cursor = store.cursor(REGION);
  assert.deepEqual(await cursor.pullBatch(0, { timeoutMs: LONG_MS }), { kind: "empty" });
  assert.deepEqual(cursor.pollBatch(0), []);
  assert.equal(cursor.position.started, false);
});

test("C-22 an append wakes pullBatch(), long before its time", async () => {
  using store = storeWith(0);
  const startMs = clock.monotonicUs() / 1000;
  const pulled = store.cursor(REGION).pullBatch(10, { timeoutMs: LONG_MS });
  // An event of another region wakes it too, and is not what it waits for.
  scheduler.delay(5, () => store.append({ entity: "other", scope: "app" }, KIND, 0));
  scheduler.delay(10, () => store.append(USER, KIND, 1));
  const batch = await pulled;
  assert.ok(batch.kind === "one");
  assert.equal(batch.item.payload, 1);
  assert.ok(clock.monotonicUs() / 1000 - startMs < LONG_MS / 2);
});

test("closing a store wakes the cursors that wait, and they throw", async () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { clock });
  const reader = openReader(fs, { clock });
  for (const closing of [reader, store]) {
    const cursor = closing.cursor(REGION);
    const pulled = cursor.pullBatch(1, { timeoutMs: LONG_MS });
    const iterated = (async () => {
      for await (const _ of closing.cursor(REGION).batches({ max: 1 })) assert.fail("no event");
    })();
    scheduler.delay(5, () => closing.close());
    await assert.rejects(pulled, StoreClosedError);
    await assert.rejects(iterated, StoreClosedError);
    assert.throws(() => cursor.poll(), StoreClosedError);
    assert.throws(() => closing.cursor(REGION), StoreClosedError);
  }
});

test("aborting a pull loses no event", async () => {
  using store = storeWith(0);
  const cursor = store.cursor(REGION);
  const controller = new AbortController();
  const pulled = cursor.pullBatch(1, { timeoutMs: LONG_MS, signal: controller.signal });
  const reason = new Error("enough");
  controller.abort(reason);
  store.append(USER, KIND, 1);
  await assert.rejects(pulled, (error) => error === reason);
  assert.equal(cursor.position.started, false);
  assert.equal(cursor.poll()?.payload, 1);
  const late = cursor.pullBatch(1, { timeoutMs: 0, signal: controller.signal });
  await assert.rejects(late, (error) => error === reason);
});

test("batches() gives what is there and what comes, and ends when it is aborted", async () => {
  using store = storeWith(5);
  const cursor = store.cursor(REGION);
  const controller = new AbortController();
  const batches: number[][] = [];
  for await (const batch of cursor.batches({ max: 2, signal: controller.signal })) {
    batches.push(sequencesOf(batch));
    if (batches.length === 3) scheduler.delay(5, () => store.append(USER, KIND, "late"));
    if (batches.length === 4) scheduler.delay(5, () => controller.abort());
  }
  assert.deepEqual(batches, [[1, 2], [3, 4], [5], [6]]);
  for await (const _ of cursor.batches({ max: 2, signal: controller.signal })) assert.fail();
  await assert.rejects(cursor.batches({ max: 0 }).next(), RangeError);
});

test("restore() goes back and forth; events behind the position come again", () => {
  using store = storeWith(5);
  for (const like of [REGION, {}]) {
    const cursor = store.cursor(like);
    drain(cursor);
    const end = cursor.position;
    assert.deepEqual(end, { position: 5, started: true });
    cursor.restore({ position: 2, started: true });
    assert.deepEqual(drain(cursor), [3, 4, 5]);
    cursor.restore({ position: 0, started: false });
    assert.deepEqual(drain(cursor), like === REGION ? [1, 2, 3, 4, 5] : [0, 1, 2, 3, 4, 5]);
    cursor.restore({ position: 3, started: true });
    assert.deepEqual(cursor.position, { position: 3, started: true });
    cursor.restore(end);
    assert.deepEqual(drain(cursor), []);
  }
});

test("restore() refuses what is no position, and one behind the end of the journal", () => {
  using store = storeWith(2);
  const cursor = store.cursor(REGION);
  cursor.poll();
  const wrong = [
    { position: -1, started: true },
    { position: 1.5, started: true },
    { position: 1, started: false },
    { position: 1, started: "yes" as never },
    { position: 3, started: true },
  ];
  for (const position of wrong) {
    assert.throws(() => cursor.restore(position), RangeError);
    assert.throws(() => store.cursor(REGION, { from: position }), RangeError);
  }
  assert.equal(cursor.poll()?.globalSequence, 2);
});

test("a cursor refuses numbers that are none, and options that nobody reads", async () => {
  using store = storeWith(1);
  const cursor = store.cursor(REGION);
  for (const max of [-1, 1.5, NaN, Infinity]) {
    assert.throws(() => cursor.pollBatch(max), RangeError);
    await assert.rejects(cursor.pullBatch(max, { timeoutMs: 0 }), RangeError);
  }
  for (const timeoutMs of [-1, NaN]) {
    await assert.rejects(cursor.pullBatch(1, { timeoutMs }), RangeError);
  }
  assert.throws(() => store.cursor(REGION, { form: undefined } as never), TypeError);
  for (const waits of [{ refreshMinMs: 0 }, { refreshMinMs: 2, refreshMaxMs: 1 }]) {
    assert.throws(() => store.cursor(REGION, waits), RangeError);
  }
  assert.equal(cursor.poll()?.payload, 1);
});

test("retired events are left out, also when they retire under the cursor", () => {
  using store = storeWith(20, { segmentMaxBytes: 1000 });
  const cursor = store.cursor(REGION);
  assert.deepEqual(sequencesOf(cursor.pollBatch(2)), [1, 2]);
  store.compact({ strategy: { type: "retention", keep: { maxCount: 5 } } });
  assert.ok(store.stats().retiredCount > 3);
  const left = sequencesOf(store.query(REGION)).filter((sequence) => sequence > 2);
  assert.ok(left.length < 18);
  assert.deepEqual(drain(cursor), left);
});

test("pruned events are absent, and the cursor goes on behind them", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, { segmentMaxBytes: 1000 });
  for (let n = 1; n <= 20; n++) store.append(USER, KIND, n);
  const cursor = store.cursor(REGION);
  assert.deepEqual(sequencesOf(cursor.pollBatch(2)), [1, 2]);
  const { firstSequence } = store.prune({ below: 10 });
  assert.ok(firstSequence > 3);
  assert.deepEqual(drain(cursor)[0], firstSequence);
  assert.deepEqual(cursor.position, { position: 20, started: true });
});

test("a cursor of a reader sees what refresh() takes in, and nothing by itself", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  using reader = openReader(fs);
  const cursor = reader.cursor(REGION);
  store.append(USER, KIND, 1);
  assert.deepEqual(drain(cursor), []);
  reader.refresh();
  assert.deepEqual(drain(cursor), [1]);
});

test("a cursor of a reader looks by itself while it waits", async () => {
  const fs = new MemoryFs();
  using store = openStore(fs, { clock });
  using reader = openReader(fs, { clock });
  const cursor = reader.cursor(REGION, { refreshMaxMs: 5 });
  store.append(USER, KIND, 1);
  const there = await cursor.pullBatch(10, { timeoutMs: 0 });
  assert.ok(there.kind === "one");
  scheduler.delay(30, () => store.append(USER, KIND, 2));
  const came = await cursor.pullBatch(10, { timeoutMs: LONG_MS });
  assert.ok(came.kind === "one");
  assert.equal(came.item.globalSequence, 2);
});

test("a reader looks again after 1 ms, 2, 4 and so on up to 50", async () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  const delays: number[] = [];
  let nowUs = 0;
  using reader = openReader(fs, {
    clock: { bootId: "test", nowUs: () => 0, monotonicUs: () => nowUs },
    scheduler: {
      delay(delayMs, callback) {
        delays.push(delayMs);
        nowUs += delayMs * 1000;
        const cancel = scheduler.delay(0, callback);
        return cancel;
      },
      turn: () => scheduler.turn(),
    },
  });
  await reader.cursor(REGION).pullBatch(1, { timeoutMs: 200 });
  assert.deepEqual(delays, [1, 2, 4, 8, 16, 32, 50, 50, 37]);
  assert.equal(store.stats().eventCount, 1);
});

test("a cursor of a reader goes on where it was when the journal is read anew", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, { segmentMaxBytes: 1000 });
  for (let n = 1; n <= 20; n++) store.append(USER, KIND, n);
  using reader = openReader(fs);
  const cursors = [REGION, {}, { scope: "app", kind: KIND }].map((like) => reader.cursor(like));
  for (const cursor of cursors) cursor.pollBatch(12);
  const before = cursors.map(({ position }) => position.position);
  assert.deepEqual(before, [12, 11, 12]);
  store.prune({ below: 10 });
  store.append(USER, KIND, 21);
  const { index } = reader.cursorHost().source;
  reader.refresh();
  assert.notEqual(reader.cursorHost().source.index, index);
  for (const [i, cursor] of cursors.entries()) {
    assert.deepEqual(
      drain(cursor),
      Array.from({ length: 21 - before[i] }, (_, n) => before[i] + n + 1),
    );
  }
});

test("a cursor works on real files, for the writer and for a reader beside it", async () => {
  await withTempDir(async (dir) => {
    using store = Store.open(`${dir}/${DIR}`, { segmentMaxBytes: 2000 });
    using reader = Store.openReadOnly(`${dir}/${DIR}`);
    const cursors = [store.cursor(REGION), reader.cursor(REGION)];
    for (let n = 1; n <= 50; n++) store.append(USER, KIND, n);
    for (const cursor of cursors) {
      const batch = await cursor.pullBatch(100, { timeoutMs: LONG_MS });
      assert.ok(batch.kind === "many");
      assert.deepEqual(batch.items.map(({ payload }) => payload), [...Array(51).keys()].slice(1));
    }
  });
});
