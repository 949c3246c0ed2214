// The frontier of a store, its waits and its gates, by the numbers of the checklist. An open is itself an
// event, with sequence 0 in a new journal, and so are the begin and the end of a fence.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs } from "../platform/memory.ts";
import { runtime } from "../platform/runtime.ts";
import { FixedClock } from "../tests/support/fixed_clock.ts";
import { fixChecksum, readFile, writeFile } from "../tests/support/journal_bytes.ts";
import {
  DIR,
  item,
  KIND,
  openReader,
  openStore,
  payloadsOf,
  USER,
} from "../tests/support/journal.ts";
import {
  BatchError,
  CorruptionError,
  StoreClosedError,
  StoreIoError,
  WriterCrashedError,
} from "./errors.ts";
import { EventKind } from "./event_kind.ts";
import { FRAME_HEADER_SIZE } from "./frame.ts";
import type { Store } from "./store.ts";
import {
  type FrontierView,
  type LaneFrontierView,
  WATERMARK_KINDS,
  type WatermarkKind,
} from "./watermarks/frontier_view.ts";
import { compareHlc, HLC_ORIGIN, type HlcPoint } from "./watermarks/hlc_point.ts";
import { SharedFrontier } from "./watermarks/shared_frontier.ts";
import { WaitTimeoutError } from "./watermarks/wait.ts";

const LONG = { timeoutMs: 20_000 };
const NOW = { timeoutMs: 0 };

/** A store with the clock of this machine, so that waits take their time. */
function timed(fs: MemoryFs = new MemoryFs()): Store {
  return openStore(fs, { clock: runtime.clock });
}

/** Sequences in the order of the worked traces: accepted, written, durable, visible, emitted, applied. */
function sequencesOf(view: Readonly<Record<WatermarkKind, HlcPoint>> | undefined): number[] {
  if (view === undefined) return [];
  const { accepted, written, durable, visible, emitted, applied } = view;
  return [accepted, written, durable, visible, emitted, applied].map((p) => p.globalSequence);
}

function pointsOf(view: FrontierView | LaneFrontierView): HlcPoint[] {
  return WATERMARK_KINDS.map((kind) => view[kind]);
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => void runtime.scheduler.delay(ms, resolve));
}

async function elapsedOf(work: Promise<unknown>): Promise<number> {
  const startUs = runtime.clock.monotonicUs();
  await work;
  return (runtime.clock.monotonicUs() - startUs) / 1000;
}

function timeoutOf(watermark: WatermarkKind, target: number) {
  return (error: unknown) =>
    error instanceof WaitTimeoutError && error.watermark === watermark && error.target === target;
}

/** A projection as simple as can be: it has seen everything that is visible. */
function project(store: Store, id: string): void {
  store.applied.notifyApplied(id, store.frontier().visible);
}

// ---- The worked trace ----

test("the worked trace of a store: append, sync, batch, fences, projection, failed sync", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  const trace: [string, ...(number | null)[]][] = [];
  const note = (step: string) => {
    const view = store.frontier();
    const age = view.oldestPendingWriteAgeMs;
    trace.push([step, ...sequencesOf(view), view.visibleMinusDurableSeq, age]);
  };
  note("open");
  store.append(USER, KIND, 1);
  note("append 1");
  store.sync();
  note("sync");
  store.appendBatch([item(2), item(3), item(4)], { durability: "durable" });
  note("durable batch 2 to 4");
  const fence = store.beginFence();
  note("begin 5");
  fence.append(USER, KIND, 6);
  fence.append(USER, KIND, 7);
  note("stage 6 and 7");
  store.sync();
  note("sync");
  fence.cancel();
  note("cancel 8");
  store.append(USER, KIND, 9);
  note("append 9");
  const other = store.beginFence();
  other.append(USER, KIND, 11);
  note("begin 10, stage 11");
  other.commit();
  note("commit 12");
  project(store, "all");
  note("project");
  store.append(USER, KIND, 13);
  fs.failNext({ op: "sync", code: "EIO" });
  assert.throws(() => store.sync(), WriterCrashedError);
  note("failed sync");
  // Accepted, written, durable, visible, emitted, applied; visible minus durable; age.
  assert.deepEqual(trace, [
    ["open", 0, 0, 0, 0, 0, 0, 0, null],
    ["append 1", 1, 1, 0, 1, 1, 0, 1, 0],
    ["sync", 1, 1, 1, 1, 1, 0, 0, null],
    ["durable batch 2 to 4", 4, 4, 4, 4, 4, 0, 0, null],
    ["begin 5", 5, 5, 4, 5, 5, 0, 1, 0],
    ["stage 6 and 7", 7, 7, 4, 5, 5, 0, 1, 0],
    ["sync", 7, 7, 7, 5, 5, 0, -2, null],
    ["cancel 8", 8, 8, 7, 8, 8, 0, 1, 0],
    ["append 9", 9, 9, 7, 9, 9, 0, 2, 0],
    ["begin 10, stage 11", 11, 11, 7, 10, 10, 0, 3, 0],
    ["commit 12", 12, 12, 12, 12, 12, 0, 0, null],
    ["project", 12, 12, 12, 12, 12, 12, 0, null],
    ["failed sync", 13, 13, 12, 13, 13, 12, 1, 0],
  ]);
  store[Symbol.dispose]();
});

// ---- Opening ----

test("F-01 a fresh store has all six at its open event", () => {
  using store = openStore(new MemoryFs());
  const view = store.frontier();
  const wallMs = Math.floor((store.at(0)?.timestampUs ?? NaN) / 1000);
  const point = { wallMs, globalSequence: 0 };
  for (const each of pointsOf(view)) assert.deepEqual(each, point);
  assert.ok(compareHlc(point, HLC_ORIGIN) > 0);
  assert.equal(view.oldestPendingWriteAgeMs, null);
  assert.equal(view.visibleMinusDurableSeq, 0);
  assert.deepEqual(view.lanes.map(({ lane }) => lane), [0]);
  assert.equal(view.lanesComplete, true);
});

test("F-02 F-06 an open point is behind all points before it, also when the clock has gone back", () => {
  const fs = new MemoryFs();
  const first = openStore(fs, { clock: new FixedClock(1_700_000_000_000_000) });
  first.append(USER, KIND, 1);
  const before = first.frontier().accepted;
  first.close();
  using second = openStore(fs, { clock: new FixedClock(1_600_000_000_000_000) });
  const view = second.frontier();
  assert.ok(compareHlc(view.accepted, before) > 0);
  assert.equal(view.accepted.globalSequence, before.globalSequence + 2, "behind the close");
  for (const each of pointsOf(view)) assert.deepEqual(each, view.accepted);
});

test("F-03 a reader writes nothing and is where the journal is", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  store.append(USER, KIND, 1, { lane: 2 });
  store.close();
  const before = fs.snapshot().list(DIR);
  const reader = openReader(fs);
  const view = reader.frontier();
  assert.deepEqual(sequencesOf(view), [2, 2, 2, 2, 2, 2]);
  assert.deepEqual(sequencesOf(view.lane(2)), [1, 1, 1, 1, 1, 1]);
  assert.equal(view.oldestPendingWriteAgeMs, null);
  reader.close();
  assert.deepEqual(fs.list(DIR), before);
  assert.throws(() => reader.frontier(), StoreClosedError);
});

test("F-03 a reader beside an open fence: accepted is at its end, visible at its begin", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  const fence = store.beginFence();
  fence.append(USER, KIND, 2, { lane: 5 });
  using reader = openReader(fs);
  assert.deepEqual(sequencesOf(reader.frontier()), [2, 2, 2, 1, 1, 1]);
  assert.deepEqual(sequencesOf(reader.frontier().lane(5)), [2, 2, 2, 0, 0, 0]);
  fence.commit();
  reader.refresh();
  assert.deepEqual(sequencesOf(reader.frontier()), [3, 3, 3, 3, 3, 3]);
  assert.deepEqual(sequencesOf(reader.frontier().lane(5)), [2, 2, 2, 2, 2, 2]);
});

test("F-04 F-05 each close is one event that covers all before it, and the next open is behind it", () => {
  const fs = new MemoryFs();
  const closes = (store: Store) => store.query({ kind: EventKind.SYSTEM_CLOSE_COMPLETED });
  for (let run = 0; run < 3; run++) {
    const store = openStore(fs);
    const known = closes(store);
    assert.equal(known.length, run);
    for (const { payload, globalSequence } of known) {
      assert.equal((payload as HlcPoint).globalSequence, globalSequence - 1);
    }
    assert.ok(store.frontier().visible.globalSequence > (known.at(-1)?.globalSequence ?? -1));
    store.append(USER, KIND, run);
    store.close();
  }
  // Killed: no close event, and an open that is behind everything all the same.
  const killed = openStore(fs);
  killed.append(USER, KIND, 3);
  using again = openStore(fs.snapshot());
  assert.equal(closes(again).length, 3);
  assert.ok(compareHlc(again.frontier().visible, killed.frontier().visible) > 0);
  killed.close();
});

test("F-16 the open point moves on over a crash, and is that of the newest open event", () => {
  let fs = new MemoryFs();
  let before: HlcPoint = HLC_ORIGIN;
  for (let run = 0; run < 4; run++) {
    const store = openStore(fs);
    const { accepted } = store.frontier();
    assert.ok(compareHlc(accepted, before) > 0);
    const opens = store.query({ kind: EventKind.SYSTEM_OPEN_COMPLETED });
    assert.equal(accepted.globalSequence, opens.at(-1)?.globalSequence);
    store.append(USER, KIND, run);
    before = store.frontier().accepted;
    fs = fs.snapshot();
  }
});

// ---- Appends and syncs ----

test("F-08 an append is visible before it is durable", () => {
  using store = openStore(new MemoryFs(), { sync: { everyNEvents: 1000 } });
  const before = store.frontier();
  store.append(USER, KIND, 1);
  const view = store.frontier();
  assert.deepEqual(sequencesOf(view), [1, 1, 0, 1, 1, 0]);
  assert.deepEqual([view.durable, view.applied], [before.durable, before.applied]);
  assert.equal(view.oldestPendingWriteAgeMs, 0);
  assert.equal(view.visibleMinusDurableSeq, 1);
  assert.deepEqual(payloadsOf(store), [1]);
});

test("F-09 a sync makes durable what is accepted and visible", () => {
  using store = openStore(new MemoryFs(), { sync: { everyNEvents: 1000 } });
  for (const count of [1, 10]) {
    for (let i = 0; i < count; i++) store.append(USER, KIND, i);
    store.sync();
    const view = store.frontier();
    assert.deepEqual(view.durable, view.accepted);
    assert.deepEqual(view.visible, view.accepted);
    assert.equal(view.oldestPendingWriteAgeMs, null);
    assert.equal(view.visibleMinusDurableSeq, 0);
  }
});

test("F-10 with a sync for each event all five move together", () => {
  using store = openStore(new MemoryFs(), { sync: { everyNEvents: 1 } });
  for (let n = 1; n <= 5; n++) {
    store.append(USER, KIND, n);
    assert.deepEqual(sequencesOf(store.frontier()), [n, n, n, n, n, 0]);
  }
  store.sync();
  const { oldestPendingWriteAgeMs: _, ...shared } = new SharedFrontier(store.frontierMemory).view();
  const { oldestPendingWriteAgeMs: age, ...here } = store.frontier();
  assert.deepEqual({ ...shared }, { ...here });
  assert.equal(age, null);
});

test("Q1 a roll makes durable what is in the sealed segment, and not what is not written yet", () => {
  using store = openStore(new MemoryFs(), { segmentMaxBytes: 600 });
  let rolled = 0;
  for (let n = 0; n < 12; n++) {
    const before = store.stats().segmentCount;
    const { accepted } = store.frontier();
    store.append(USER, KIND, n);
    if (store.stats().segmentCount === before) continue;
    rolled++;
    assert.deepEqual(store.frontier().durable, accepted);
    assert.equal(store.frontier().accepted.globalSequence, accepted.globalSequence + 1);
  }
  assert.ok(rolled > 2);
});

test("F-11 whoever looks between any two of 300 appends sees a sound frontier", () => {
  using store = openStore(new MemoryFs());
  const shared = new SharedFrontier(store.frontierMemory);
  for (let n = 0; n < 300; n++) {
    store.append(USER, KIND, n, { lane: n % 5 });
    if (n % 50 === 49) project(store, "p");
    for (const { emitted, visible, applied } of [store.frontier(), shared.view()]) {
      assert.ok(emitted.globalSequence >= visible.globalSequence);
      assert.ok(applied.globalSequence <= visible.globalSequence);
    }
  }
});

test("F-12 applied stays where it was opened until a projection runs, and then goes with the slowest", () => {
  using store = openStore(new MemoryFs());
  for (let n = 1; n <= 5; n++) store.append(USER, KIND, n);
  const applied = () => store.frontier().applied.globalSequence;
  assert.equal(applied(), 0);
  store.applied.registerFor("Slow", USER.entity);
  project(store, "fast");
  assert.equal(applied(), 0, "the one that is silent holds it");
  project(store, "Slow:user:1");
  assert.deepEqual(store.frontier().applied, store.frontier().emitted);
  store.append(USER, KIND, 6);
  project(store, "fast");
  assert.equal(applied(), 5);
  store.applied.unregister("Slow:user:1");
  assert.equal(applied(), 6);
});

test("F-12 an applied point that nobody can see yet is refused, and takes no view along", () => {
  // Once it was believed, and every later view of the store contradicted itself. It is refused now.
  using store = openStore(new MemoryFs());
  const fence = store.beginFence();
  fence.append(USER, KIND, 2, { lane: 1 });
  const point = { wallMs: 0, globalSequence: 2 };
  assert.throws(() => store.applied.notifyApplied("p", point), RangeError);
  assert.throws(() => store.applied.notifyAppliedOnLane("p", 1, point), RangeError);
  assert.throws(() => store.applied.notifyAppliedOnLane("p", -1, HLC_ORIGIN), RangeError);
  assert.throws(
    () => store.applied.notifyApplied("p", { wallMs: 0, globalSequence: NaN }),
    RangeError,
  );
  assert.deepEqual(sequencesOf(store.frontier()), [2, 2, 0, 1, 1, 0]);
  fence.commit();
  store.applied.notifyAppliedOnLane("p", 1, point);
  assert.deepEqual(sequencesOf(store.frontier().lane(1)), [2, 2, 2, 2, 2, 2]);
  assert.deepEqual(sequencesOf(store.frontier()), [3, 3, 3, 3, 3, 2]);
});

test("F-13 an append that is refused or cannot be written moves nothing and is found by nothing", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  store.append(USER, KIND, 1);
  const before = store.frontier();
  assert.throws(() => store.append(USER, KIND, 2, { expectedClock: 7 }), {
    code: "CLOCK_CONFLICT",
  });
  for (const after of [0, 40]) {
    fs.failNext({ op: "writeAt", code: "ENOSPC", after });
    assert.throws(() => store.append(USER, KIND, 2, { lane: 3 }), StoreIoError);
    fs.failNext({ op: "writeAt", code: "ENOSPC", after });
    assert.throws(() => store.appendBatch([item(2), item(3)]), StoreIoError);
  }
  assert.deepEqual(pointsOf(store.frontier()), pointsOf(before));
  assert.deepEqual(payloadsOf(store), [1]);
  store.append(USER, KIND, 2, { lane: 3 });
  assert.deepEqual(payloadsOf(store), [1, 2]);
});

test("F-14 V-14 code of the caller that throws in an append leaves the store as it was", async () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  for (const n of [1, 2]) store.append(USER, KIND, n);
  const bad = {
    get now(): never {
      throw new Error("mine");
    },
  };
  for (let time = 0; time < 3; time++) {
    assert.throws(() => store.append(USER, KIND, bad), /mine/);
    assert.throws(() => store.appendBatch([item(1), item(bad)]), /mine/);
  }
  store.append(USER, KIND, 3);
  await store.waitForVisible(3, NOW);
  await store.waitForDurable(0, NOW);
  assert.deepEqual(payloadsOf(store), [1, 2, 3]);
  using again = openStore(fs.snapshot());
  assert.deepEqual(payloadsOf(again), [1, 2, 3]);
  assert.ok(again.frontier().accepted.globalSequence >= 3);
  assert.deepEqual(again.frontier().visible, again.frontier().accepted);
  store.close();
});

test("F-15 a batch that was written and not synced is whole after the process has died", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  fs.failNext({ op: "sync", code: "EIO" });
  assert.throws(
    () => store.appendBatch([item(1), item(2)], { durability: "durable" }),
    WriterCrashedError,
  );
  assert.deepEqual(payloadsOf(store), [], "not visible through the one that failed");
  assert.deepEqual(sequencesOf(store.frontier()), [0, 0, 0, 0, 0, 0]);
  using again = openStore(fs.snapshot());
  assert.deepEqual(payloadsOf(again), [1, 2]);
  store[Symbol.dispose]();
});

// ---- Lanes ----

test("F-17 F-18 a lane has a frontier of its own, which a reopen restores", async () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  const { globalSequence: sequence } = store.append(USER, KIND, 1, { lane: 1 });
  store.sync();
  assert.deepEqual(sequencesOf(store.frontier().lane(1)), [1, 1, 1, 1, 1, 0]);
  store.applied.notifyAppliedOnLane("p", 1, store.frontier().visible);
  for (const kind of WATERMARK_KINDS) {
    await store.waitFor(kind, sequence, NOW);
    await store.waitFor(kind, sequence, { ...NOW, lane: 1 });
  }
  await assert.rejects(
    store.waitForVisible(sequence, { ...NOW, lane: 0 }),
    timeoutOf("visible", sequence),
  );
  store.close();
  using again = openStore(fs);
  assert.deepEqual(sequencesOf(again.frontier().lane(1)), [1, 1, 1, 1, 1, 1]);
  await again.waitForVisible(sequence, { ...NOW, lane: 1 });
  await again.waitForDurable(sequence, { ...NOW, lane: 1 });
});

test("F-19 a lane that has only cancelled events stays at the origin, but for what is durable", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  const fence = store.beginFence();
  fence.append(USER, KIND, 1, { lane: 1 });
  fence.cancel();
  store.append(USER, KIND, 2);
  assert.deepEqual(sequencesOf(store.frontier().lane(1)), [2, 2, 0, 0, 0, 0]);
  assert.equal(store.latest(USER.entity, 1), undefined);
  store.close();
  using again = openStore(fs);
  assert.deepEqual(sequencesOf(again.frontier().lane(1)), [2, 2, 2, 0, 0, 0]);
  assert.equal(again.latest(USER.entity, 1), undefined);
  // A later fence publishes what it staged itself, and nothing of the one before.
  const later = again.beginFence();
  later.append(USER, KIND, 3);
  later.commit();
  assert.equal(again.frontier().lane(1)?.visible.globalSequence, 0);
});

test("a commit publishes every lane at once, for whoever looks from another realm", () => {
  const store = openStore(new MemoryFs());
  const shared = new SharedFrontier(store.frontierMemory);
  const epoch = shared.visibilityEpoch;
  const fence = store.beginFence();
  for (let lane = 0; lane < 100; lane++) fence.append(USER, KIND, lane, { lane });
  assert.equal(shared.visibilityEpoch, epoch + 1, "the begin");
  assert.equal(shared.view().visible.globalSequence, 1);
  const receipts = fence.commit();
  assert.equal(shared.visibilityEpoch, epoch + 2, "the commit, and nothing in between");
  const view = store.frontier();
  assert.equal(view.lanes.length, 100);
  for (const { lane, globalSequence } of receipts) {
    const expected = lane === 0 ? view.accepted.globalSequence : globalSequence;
    assert.equal(view.lane(lane)?.visible.globalSequence, expected);
    assert.equal(view.lane(lane)?.durable.globalSequence, expected);
  }
  store.close();
});

test("a damaged frame that opening need not read makes no open fail", () => {
  // The newest event of a lane may be an old one. Its time was read at the open, so damage that an open
  // did not look at before kept the journal from opening; now the lane has a place without a time.
  const fs = new MemoryFs();
  const options = { segmentMaxBytes: 600, coldStart: { indexFile: true, footers: true } };
  const store = openStore(fs, options);
  const { position } = store.append(USER, KIND, "on lane 4", { lane: 4 });
  for (let n = 0; n < 10; n++) store.append(USER, KIND, n);
  store.close();
  const file = fs.open(`${DIR}/00000${position.segmentId}.fbat`, "write");
  file.writeAt(new Uint8Array([0xff]), 0, 1, position.offset + 60);
  file.close();
  using again = openStore(fs, options);
  assert.deepEqual(again.frontier().lane(4)?.visible, { wallMs: 0, globalSequence: 1 });
  using reader = openReader(fs.snapshot(), { coldStart: options.coldStart });
  assert.deepEqual(reader.frontier().lane(4)?.visible, { wallMs: 0, globalSequence: 1 });
});

test("L-01 L-02 every lane has clocks and a chain of its own; no hint is lane 0", () => {
  using store = openStore(new MemoryFs());
  const zero = [1, 2].map((n) => store.append(USER, KIND, n));
  const one = [1, 2].map((n) => store.append(USER, KIND, n, { lane: 1, depth: 1 }));
  assert.deepEqual(zero.map(({ clock, lane }) => [clock, lane]), [[0, 0], [1, 0]]);
  assert.deepEqual(one.map(({ clock, lane }) => [clock, lane]), [[0, 1], [1, 1]]);
  assert.deepEqual(one[0].prevHash, new Uint8Array(32), "a branch begins a chain");
  assert.deepEqual(one[1].prevHash, one[0].eventHash);
  assert.throws(() => store.append(USER, KIND, 3, { lane: 1, expectedClock: 0 }), {
    code: "CLOCK_CONFLICT",
  });
  assert.equal(store.append(USER, KIND, 3, { lane: 1, expectedClock: 1 }).clock, 2);
  const lineage = store.walkAncestors(one[1].eventId).ancestors;
  assert.deepEqual(lineage.map(({ lane }) => lane), [1, 1], "lane 0 is no ancestor");
});

test("L-05 queries, pages and cursors of a lane give that lane, and without one everything", () => {
  using store = openStore(new MemoryFs());
  for (let n = 0; n < 9; n++) store.append(USER, KIND, n, { lane: n % 3 });
  const region = { entity: USER.entity, lane: 1 };
  const expected = [1, 4, 7];
  assert.deepEqual(store.query(region).map(({ payload }) => payload), expected);
  assert.deepEqual(store.cursor(region).pollBatch(9).map(({ payload }) => payload), expected);
  const paged: unknown[] = [];
  let after: number | undefined;
  while (paged.length < 9) {
    const [event] = store.queryAfter(region, after, 1);
    if (event === undefined) break;
    paged.push(event.payload);
    after = event.globalSequence;
  }
  assert.deepEqual(paged, expected);
  assert.equal(store.query({ entity: USER.entity }).length, 9);
});

test("L-06 the items of a batch follow their own lanes, by every way to open", () => {
  const fs = new MemoryFs();
  const options = { segmentMaxBytes: 700, coldStart: { indexFile: true, footers: true } };
  const store = openStore(fs, options);
  const lanes = [0, 1, 1, 0, 2, 1];
  const batch = (n: number) => lanes.map((lane) => item(n, { lane }));
  assert.deepEqual(store.appendBatch(batch(0)).map(({ clock }) => clock), [0, 0, 1, 1, 0, 2]);
  store.appendBatch(batch(1));
  const expected = store.frontier().lanes.map((view) => [view.lane, view.visible.globalSequence]);
  store.close();
  for (const coldStart of [{ indexFile: false, footers: false }, { indexFile: false }, {}]) {
    using again = openStore(fs.snapshot(), { ...options, coldStart });
    assert.deepEqual(lanes.map((lane) => again.headClock(USER.entity, lane)), [3, 5, 5, 3, 1, 5]);
    const found = again.frontier().lanes.map((view) => [view.lane, view.visible.globalSequence]);
    assert.deepEqual(found.slice(1), expected.slice(1));
    assert.equal(again.append(USER, KIND, 2, { lane: 2, expectedClock: 1 }).clock, 2);
  }
});

// ---- The end ----

test("F-20 X-14 a failed sync freezes durable, for good, and closing does not hang", async () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { sync: { everyNEvents: 3 } });
  for (const n of [1, 2]) store.append(USER, KIND, n);
  const frozen = store.frontier().durable;
  const waiting = store.waitForDurable(2, LONG);
  fs.failNext({ op: "sync", code: "EIO" });
  // Unlike the reference: the append that asked for the sync fails, and is not seen.
  assert.throws(() => store.append(USER, KIND, 3), WriterCrashedError);
  await assert.rejects(waiting, WriterCrashedError);
  assert.throws(() => store.append(USER, KIND, 4), WriterCrashedError);
  assert.throws(() => store.sync(), WriterCrashedError);
  assert.throws(() => store.beginFence(), WriterCrashedError);
  const view = store.frontier();
  assert.deepEqual(view.durable, frozen);
  assert.deepEqual(sequencesOf(view), [2, 2, 0, 2, 2, 0]);
  assert.deepEqual(payloadsOf(store), [1, 2], "reads go on");
  const shared = new SharedFrontier(store.frontierMemory);
  assert.equal(shared.poisoned, true);
  for (const kind of WATERMARK_KINDS) {
    await assert.rejects(store.waitFor(kind, 0, NOW), WriterCrashedError);
    await assert.rejects(shared.waitFor(kind, 0, NOW), WriterCrashedError);
  }
  assert.throws(() => store.close(), WriterCrashedError);
  await assert.rejects(store.waitForVisible(1, NOW), WriterCrashedError);
  using again = openStore(fs);
  assert.deepEqual(payloadsOf(again), [1, 2, 3]);
});

test("V-04 a failed write that cannot be undone wakes who waits, long before the time", async () => {
  const fs = new MemoryFs();
  const store = timed(fs);
  const waiting = [
    store.waitForDurable(9, LONG),
    store.waitForVisible(9, { ...LONG, lane: 3 }),
    store.waitForApplied(9, LONG),
  ];
  fs.failNext({ op: "writeAt", code: "EIO" });
  fs.failNext({ op: "resize", code: "EIO", nth: 1 });
  fs.failNext({ op: "resize", code: "EIO", nth: 2 });
  assert.throws(() => store.append(USER, KIND, 1), WriterCrashedError);
  for (const wait of waiting) await assert.rejects(wait, WriterCrashedError);
  store[Symbol.dispose]();
});

test("who waits for a sync learns that closing did it", async () => {
  // Closing synced without telling, and a wait for what is now durable failed with StoreClosedError.
  const store = openStore(new MemoryFs());
  const { globalSequence } = store.append(USER, KIND, 1);
  const durable = store.waitForDurable(globalSequence, LONG);
  const never = store.waitForDurable(99, LONG);
  const shared = new SharedFrontier(store.frontierMemory);
  store.close();
  await durable;
  await assert.rejects(never, StoreClosedError);
  await store.waitForDurable(globalSequence, NOW);
  await assert.rejects(store.waitForApplied(globalSequence, LONG), StoreClosedError);
  assert.deepEqual(sequencesOf(shared.view()), [2, 2, 2, 2, 2, 0]);
  assert.equal(shared.state, "closed");
  assert.equal(store.durableSequence, 3);
  assert.throws(() => store.frontier(), StoreClosedError);
});

test("a close that cannot sync tells who waits that the writer has stopped", async () => {
  for (const end of ["close", "dispose"] as const) {
    const fs = new MemoryFs();
    const store = openStore(fs);
    store.append(USER, KIND, 1);
    const durable = store.waitForDurable(1, LONG);
    const visible = store.waitForVisible(99, LONG);
    fs.failNext({ op: "sync", code: "EIO" });
    const ending = () => end === "close" ? store.close() : store[Symbol.dispose]();
    assert.throws(ending, WriterCrashedError);
    await assert.rejects(durable, WriterCrashedError);
    await assert.rejects(visible, WriterCrashedError);
    assert.equal(new SharedFrontier(store.frontierMemory).state, "closed");
    openStore(fs).close();
  }
});

test("an open fence ends nobody's wait, and its end ends it: committed, cancelled or closed", async () => {
  for (const end of ["commit", "cancel", "close"] as const) {
    const store = openStore(new MemoryFs());
    const fence = store.beginFence();
    const { globalSequence } = fence.append(USER, KIND, 2, { lane: 1 });
    await store.waitForWritten(globalSequence, NOW);
    await assert.rejects(store.waitForVisible(globalSequence, NOW), WaitTimeoutError);
    const journal = store.waitForVisible(globalSequence, LONG);
    const lane = store.waitForVisible(globalSequence, { timeoutMs: 40, lane: 1 });
    const outcome = lane.then(() => "visible", (error) => error.code);
    if (end === "close") store.close();
    else fence[end]();
    // The end of the fence is visible, and it is behind the event.
    await journal;
    const expected = { commit: "visible", cancel: "WAIT_TIMEOUT", close: "STORE_CLOSED" };
    assert.equal(await outcome, expected[end]);
    if (end !== "close") store.close();
  }
});

// ---- Waits ----

test("V-01 waits for what is there return within 50 ms", async () => {
  using store = timed();
  store.append(USER, KIND, 1);
  store.sync();
  project(store, "p");
  for (const kind of WATERMARK_KINDS) {
    assert.ok(await elapsedOf(store.waitFor(kind, 1, LONG)) < 50);
  }
});

test("V-02 a wait for durable ends with the sync, and not before", async () => {
  using store = timed();
  store.append(USER, KIND, 1);
  const waiting = elapsedOf(store.waitForDurable(1, LONG));
  await delay(50);
  store.sync();
  const elapsedMs = await waiting;
  assert.ok(elapsedMs >= 20 && elapsedMs < 5000, `${elapsedMs} ms`);
});

test("V-03 V-10 a wait for what does not come takes its whole time, and says for what", async () => {
  using store = timed();
  store.append(USER, KIND, 1);
  for (const [kind, target] of [["durable", 1], ["emitted", 2]] as const) {
    const waiting = assert.rejects(
      store.waitFor(kind, target, { timeoutMs: 100 }),
      timeoutOf(kind, target),
    );
    assert.ok(await elapsedOf(waiting) >= 80);
  }
});

test("V-05 appends that move nothing nearer satisfy no wait", async () => {
  using store = timed();
  const waiting = assert.rejects(
    store.waitForVisible(1000, { timeoutMs: 60 }),
    timeoutOf("visible", 1000),
  );
  for (let n = 0; n < 10; n++) {
    store.append(USER, KIND, n);
    await delay(5);
  }
  await waiting;
});

test("V-06 without time a wait only asks", async () => {
  using store = timed();
  store.append(USER, KIND, 1);
  await store.waitForVisible(1, NOW);
  await store.waitForDurable(HLC_ORIGIN, NOW);
  await store.waitForDurable(0, { ...NOW, lane: 77 });
  await assert.rejects(store.waitForDurable(1, NOW), timeoutOf("durable", 1));
});

test("V-07 a wait for applied waits for the slowest projection", async () => {
  using store = timed();
  store.append(USER, KIND, 1);
  store.applied.register("slow");
  project(store, "fast");
  assert.equal(store.frontier().applied.globalSequence, 0);
  const waiting = elapsedOf(store.waitForApplied(1, LONG));
  await delay(50);
  project(store, "slow");
  assert.ok(await waiting >= 20);
});

test("V-08 visible is there while durable of the same event is not", async () => {
  using store = openStore(new MemoryFs(), { clock: runtime.clock, sync: { everyNEvents: 1000 } });
  store.append(USER, KIND, 1);
  await store.waitForVisible(1, { timeoutMs: 10 });
  await assert.rejects(store.waitForDurable(1, { timeoutMs: 10 }), timeoutOf("durable", 1));
});

test("V-09 three waits for one event each end with their own watermark", async () => {
  using store = timed();
  const waits = ["visible", "durable", "applied"] as const;
  const ended: string[] = [];
  const all = waits.map((kind) => store.waitFor(kind, 1, LONG).then(() => ended.push(kind)));
  store.append(USER, KIND, 1);
  await all[0];
  store.sync();
  await all[1];
  project(store, "p");
  await Promise.all(all);
  assert.deepEqual(ended, waits);
});

test("a wait of longer than a timer can be takes no short cut", async () => {
  using store = timed();
  const waiting = store.waitForDurable(1, { timeoutMs: 2 ** 40 });
  await delay(20);
  store.append(USER, KIND, 1);
  await delay(5);
  store.sync();
  await waiting;
});

// ---- Gates ----

test("V-11 a gate for durable waits for a sync, one for visible does not, without one nothing does", async () => {
  using store = timed();
  const receipt = store.append(USER, KIND, 1);
  assert.equal(store.frontier().durable.globalSequence, 0, "an append alone waits for nothing");
  assert.ok(await elapsedOf(store.gate(receipt, { watermark: "visible", ...LONG })) < 50);
  const durable = elapsedOf(store.gate(receipt, { watermark: "durable", ...LONG }));
  store.applied.register("slow");
  const applied = elapsedOf(store.gate(receipt, { watermark: "applied", ...LONG }));
  await delay(40);
  store.sync();
  project(store, "slow");
  assert.ok(await durable >= 20 && await applied >= 20);
});

test("V-12 a gate whose time is up takes nothing back", async () => {
  using store = timed();
  const receipt = store.append(USER, KIND, 1);
  await assert.rejects(
    store.gate(receipt, { watermark: "durable", timeoutMs: 5 }),
    timeoutOf("durable", 1),
  );
  assert.deepEqual(payloadsOf(store), [1]);
});

test("M-28 a gate that fails tells which watermark, which sequence, and the time it was given", async () => {
  using store = timed();
  const receipt = store.append(USER, KIND, 1);
  for (const timeoutMs of [0, 7]) {
    const startMs = performance.now();
    await assert.rejects(store.gate(receipt, { watermark: "durable", timeoutMs }), (error) => {
      assert.ok(error instanceof WaitTimeoutError);
      assert.deepEqual([error.watermark, error.target, error.waitedMs], ["durable", 1, timeoutMs]);
      return true;
    });
    assert.ok(performance.now() - startMs >= timeoutMs - 1);
  }
});

test("F-07 a journal whose newest event is older than the one before is refused, and says where", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  const { position } = store.append(USER, KIND, 1);
  store.close();
  const path = `${DIR}/000001.fbat`;
  const bytes = readFile(fs, path);
  // The close, which is the frame behind: microseconds since 1970, eight bytes behind their marker.
  const offset = position.offset + position.size;
  bytes.fill(0, offset + FRAME_HEADER_SIZE + 67, offset + FRAME_HEADER_SIZE + 75);
  fixChecksum(bytes, offset);
  writeFile(fs, path, bytes);
  assert.throws(() => openStore(fs), (error) => {
    assert.ok(error instanceof CorruptionError);
    assert.deepEqual([error.segmentId, error.offset], [1, offset]);
    assert.equal(error.reason, "the event is older than the one before");
    return true;
  });
});

test("V-13 a gate of a batch covers every item; items have none of their own", async () => {
  using store = timed();
  const receipts = store.appendBatch([item(1), item(2, { lane: 4 }), item(3)]);
  await assert.rejects(
    store.gate(receipts, { watermark: "durable", timeoutMs: 1 }),
    timeoutOf("durable", 3),
  );
  store.sync();
  await store.gate([...receipts].reverse(), { watermark: "durable", ...NOW });
  await store.gate([], { watermark: "durable", ...NOW });
  const gated = { ...item(4), gate: { watermark: "durable", timeoutMs: 1 } };
  assert.throws(() => store.appendBatch([gated]), BatchError);
});

test("a gate takes receipts of this journal's visible events only", async () => {
  using store = timed();
  using other = openStore(new MemoryFs(), { entropy: runtime.entropy });
  const foreign = other.append(USER, KIND, 1);
  store.append(USER, KIND, 1);
  for (const receipt of [foreign, undefined as never, [{}] as never]) {
    await assert.rejects(store.gate(receipt, { watermark: "visible", ...NOW }), TypeError);
  }
  const receipt = store.append(USER, KIND, 2);
  store.close();
  await assert.rejects(store.gate(receipt, { watermark: "visible", ...NOW }), StoreClosedError);
});

// ---- What may be seen ----

test("M-26 the first event of all may be seen as soon as it is published", () => {
  using store = openStore(new MemoryFs());
  assert.equal(store.stats().nextSequence, 1);
  assert.deepEqual(store.query().map(({ globalSequence }) => globalSequence), [0]);
  assert.equal(store.frontier().visible.globalSequence, 0);
});

test("M-25 publishing one lane leaves the others where they are", () => {
  const fs = new MemoryFs();
  const before = openStore(fs);
  before.append(USER, KIND, 1, { lane: 1 });
  before.append(USER, KIND, 2, { lane: 2 });
  before.close();
  using store = openStore(fs);
  const fence = store.beginFence();
  const { globalSequence } = fence.append(USER, KIND, 3, { lane: 1 });
  assert.deepEqual(store.frontier().lane(1)?.visible.globalSequence, 1);
  fence.commit();
  const view = store.frontier();
  assert.equal(view.lane(1)?.visible.globalSequence, globalSequence);
  assert.equal(view.lane(2)?.visible.globalSequence, 2);
  assert.equal(view.visible.globalSequence, store.stats().nextSequence - 1, "and never beyond");
});
