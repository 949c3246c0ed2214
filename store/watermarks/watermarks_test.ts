import { test } from "node:test";
import assert from "node:assert/strict";
import type { Clock } from "../../platform/clock.ts";
import { runtime } from "../../platform/runtime.ts";
import type { Scheduler } from "../../platform/scheduler.ts";
import { StoreClosedError, WriterCrashedError } from "../errors.ts";
import { type FrontierView, InvariantViolationError, type WatermarkKind } from "./frontier_view.ts";
import { HLC_ORIGIN, type HlcPoint } from "./hlc_point.ts";
import { WaitTimeoutError } from "./wait.ts";
import { Watermarks } from "./watermarks.ts";

const LONG_MS = 20_000;
const SOON = { timeoutMs: 1 };
const KINDS: readonly WatermarkKind[] = [
  "accepted",
  "written",
  "durable",
  "visible",
  "applied",
  "emitted",
];

function fresh(options: Partial<{ clock: Clock; scheduler: Scheduler }> = {}): Watermarks {
  return new Watermarks({ clock: runtime.clock, scheduler: runtime.scheduler, ...options });
}

/** The point the seed uses: its wall time is its sequence. */
function at(sequence: number): HlcPoint {
  return { wallMs: sequence, globalSequence: sequence };
}

/** A clock that stands still until it is moved. */
function stillClock(startUs = 0): Clock & { us: number } {
  return {
    us: startUs,
    bootId: "still",
    nowUs() {
      return this.us;
    },
    monotonicUs() {
      return this.us;
    },
  };
}

/** The real scheduler, and how often a delay was asked for. */
function countingScheduler(): Scheduler & { delays: number } {
  return {
    delays: 0,
    delay(delayMs, callback) {
      this.delays++;
      return runtime.scheduler.delay(delayMs, callback);
    },
    turn: () => runtime.scheduler.turn(),
  };
}

function timeoutOf(watermark: WatermarkKind, target: number, waitedMs: number, lane?: number) {
  return (error: unknown): true => {
    assert.ok(error instanceof WaitTimeoutError, String(error));
    const { name, code } = error;
    assert.deepEqual({ name, code }, { name: "WaitTimeoutError", code: "WAIT_TIMEOUT" });
    assert.deepEqual(
      [error.watermark, error.target, error.waitedMs, error.lane],
      [watermark, target, waitedMs, lane],
    );
    return true;
  };
}

/** Sequences of the six, in the order of their kinds. */
function sequencesOf(view: Readonly<Record<WatermarkKind, HlcPoint>>): number[] {
  return KINDS.map((kind) => view[kind].globalSequence);
}

function pointsOf(watermarks: Watermarks, lane?: number): HlcPoint[] {
  return KINDS.map((kind) => watermarks.point(kind, lane));
}

// ---- The seed ----

test("S003-1 M-01 a lane that starts from a point has all six there, not at the origin", () => {
  const watermarks = Watermarks.fromPoint(at(42), runtime);
  assert.deepEqual(pointsOf(watermarks, 0), Array(6).fill(at(42)));
});

test("S003-2 M-02 starting from a point puts the six of the journal and lane 0 there", () => {
  const watermarks = Watermarks.fromPoint(at(99), runtime);
  const view = watermarks.view();
  assert.deepEqual(KINDS.map((kind) => view[kind]), Array(6).fill(at(99)));
  assert.deepEqual(view.lane(0)?.accepted, at(99));
  assert.deepEqual(pointsOf(watermarks, 0), Array(6).fill(at(99)));
});

test("S003-3 M-03 visibleMinusDurableSeq is signed: durable 10, visible 3", () => {
  const watermarks = fresh();
  watermarks.advanceAccepted(1, 10, 10);
  watermarks.advanceWritten(1, 10, 10);
  watermarks.advanceDurable(10, 10);
  watermarks.advanceVisible(1, 3, 3);
  watermarks.advanceEmitted(1, 3, 3);
  const view = watermarks.view();
  assert.equal(view.lane(1)?.visibleMinusDurableSeq, -7);
  assert.equal(view.visibleMinusDurableSeq, -7);
});

test("S003-4 M-04 advanceVisibleAndEmitted() moves both", () => {
  const watermarks = fresh();
  watermarks.advanceAccepted(0, 17, 17);
  watermarks.advanceVisibleAndEmitted(17, 17);
  const { visible, emitted } = watermarks.view();
  assert.deepEqual([visible, emitted], [at(17), at(17)]);
});

test("S003-5 M-05 waitForAccepted() times out when only written has come", async () => {
  const watermarks = fresh();
  watermarks.advanceWritten(0, 5, 5);
  await assert.rejects(watermarks.waitForAccepted(at(5), SOON), timeoutOf("accepted", 5, 1));
});

test("S003-6 M-06 waitForWritten() times out when only accepted has come", async () => {
  const watermarks = fresh();
  watermarks.advanceAccepted(0, 5, 5);
  await assert.rejects(watermarks.waitForWritten(at(5), SOON), timeoutOf("written", 5, 1));
});

test("S003-7 M-07 waitForEmitted() times out when only visible has come", async () => {
  const watermarks = fresh();
  watermarks.advanceVisible(0, 5, 5);
  await assert.rejects(watermarks.waitForEmitted(at(5), SOON), timeoutOf("emitted", 5, 1));
});

test("S003-8 M-08 waiting for accepted on a lane times out when only written has come", async () => {
  const watermarks = fresh();
  watermarks.advanceWritten(2, 5, 5);
  const wait = watermarks.waitForAccepted(at(5), { lane: 2, timeoutMs: 1 });
  await assert.rejects(wait, timeoutOf("accepted", 5, 1, 2));
});

test("S003-9 M-09 waiting for written on a lane times out when only accepted has come", async () => {
  const watermarks = fresh();
  watermarks.advanceAccepted(2, 5, 5);
  const wait = watermarks.waitForWritten(at(5), { lane: 2, timeoutMs: 1 });
  await assert.rejects(wait, timeoutOf("written", 5, 1, 2));
});

test("S003-10 M-10 waiting for durable on a lane times out when only accepted has come", async () => {
  const watermarks = fresh();
  watermarks.advanceAccepted(2, 5, 5);
  const wait = watermarks.waitForDurable(at(5), { lane: 2, timeoutMs: 1 });
  await assert.rejects(wait, timeoutOf("durable", 5, 1, 2));
});

test("S003-11 M-11 waiting for applied on a lane times out when only visible has come", async () => {
  const watermarks = fresh();
  watermarks.advanceVisible(2, 5, 5);
  const wait = watermarks.waitForApplied(at(5), { lane: 2, timeoutMs: 1 });
  await assert.rejects(wait, timeoutOf("applied", 5, 1, 2));
});

test("S003-12 M-12 waiting for emitted on a lane times out when only visible has come", async () => {
  const watermarks = fresh();
  watermarks.advanceVisible(2, 5, 5);
  const wait = watermarks.waitForEmitted(at(5), { lane: 2, timeoutMs: 1 });
  await assert.rejects(wait, timeoutOf("emitted", 5, 1, 2));
});

test("S003-13 M-13 a lane exactly at the target satisfies the wait", async () => {
  const watermarks = fresh();
  watermarks.advanceAccepted(4, 8, 8);
  await watermarks.waitForAccepted(at(8), { lane: 4, timeoutMs: 1 });
  await assert.rejects(
    watermarks.waitForAccepted(9, { lane: 4, timeoutMs: 0 }),
    timeoutOf("accepted", 9, 0, 4),
  );
});

test("S003-14 M-14 an unreachable wait on a lane takes its whole time", async () => {
  const startMs = performance.now();
  const wait = fresh().waitForVisible(at(1), { lane: 4, timeoutMs: 150 });
  await assert.rejects(wait, timeoutOf("visible", 1, 150, 4));
  assert.ok(performance.now() - startMs >= 100);
});

test("S003-15 M-15 a lane is durable by sequence, not by wall time", () => {
  const watermarks = fresh();
  watermarks.advanceAccepted(1, 1, 10);
  watermarks.advanceWritten(1, 1, 10);
  watermarks.advanceDurable(9_999, 5);
  assert.deepEqual(watermarks.point("durable", 1), HLC_ORIGIN);
  assert.deepEqual(watermarks.point("durable"), { wallMs: 9_999, globalSequence: 5 });
});

test("S003-16 M-16 a lane is visible by sequence, not by wall time", () => {
  const watermarks = fresh();
  watermarks.advanceAccepted(1, 1, 10);
  watermarks.advanceVisible(1, 9_999, 5);
  watermarks.advanceVisible(1, 1, 10);
  assert.deepEqual(watermarks.point("visible", 1), { wallMs: 1, globalSequence: 10 });
});

test("S003-17 M-17 a lane starts durable as far as it is visible, by sequence", () => {
  const watermarks = fresh();
  const low = { wallMs: 9_999, globalSequence: 5 };
  const high = { wallMs: 1, globalSequence: 10 };
  const lanes = [{ lane: 1, durable: low, visible: high }];
  watermarks.reset({ durable: high, visible: high, lanes });
  assert.deepEqual(watermarks.point("durable", 1), high);
  assert.equal(watermarks.view().lane(0), undefined);
});

test("S003-18 M-18 durable stays where it is once the writer has stopped", () => {
  const watermarks = fresh();
  watermarks.advanceAccepted(0, 5, 5);
  watermarks.advanceWritten(0, 5, 5);
  watermarks.advanceDurable(5, 5);
  assert.deepEqual(watermarks.point("durable"), at(5));

  watermarks.poison();
  watermarks.advanceAccepted(0, 9, 9);
  watermarks.advanceWritten(0, 9, 9);
  watermarks.advanceDurable(9, 9);
  watermarks.synced();
  assert.deepEqual(watermarks.point("durable"), at(5));
  assert.deepEqual(watermarks.point("durable", 0), at(5));
  assert.deepEqual(watermarks.point("written"), at(9));
});

// ---- Advancing ----

test("accepted keeps the first point of a sequence in the journal, and the latest on a lane", () => {
  const watermarks = fresh();
  watermarks.advanceAccepted(3, 7, 5);
  watermarks.advanceAccepted(3, 9, 5);
  watermarks.advanceAccepted(3, 99, 4);
  assert.deepEqual(watermarks.point("accepted"), { wallMs: 7, globalSequence: 5 });
  assert.deepEqual(watermarks.point("accepted", 3), { wallMs: 9, globalSequence: 5 });
});

for (const kind of ["written", "visible", "emitted"] as const) {
  test(`${kind} rises by sequence, and by wall time at the same one, and never falls`, () => {
    const watermarks = fresh();
    const advance = (wallMs: number, sequence: number) => {
      if (kind === "written") watermarks.advanceWritten(3, wallMs, sequence);
      else if (kind === "visible") watermarks.advanceVisible(3, wallMs, sequence);
      else watermarks.advanceEmitted(3, wallMs, sequence);
    };
    advance(7, 5);
    advance(9, 5);
    advance(8, 5);
    advance(99, 4);
    assert.deepEqual(watermarks.point(kind), { wallMs: 9, globalSequence: 5 });
    assert.deepEqual(watermarks.point(kind, 3), { wallMs: 9, globalSequence: 5 });
    advance(1, 6);
    assert.deepEqual(watermarks.point(kind), { wallMs: 1, globalSequence: 6 });
    const others = KINDS.filter((other) => other !== kind);
    assert.deepEqual(others.map((other) => watermarks.point(other)), Array(5).fill(HLC_ORIGIN));
    assert.deepEqual(others.map((other) => watermarks.point(other, 3)), Array(5).fill(HLC_ORIGIN));
    assert.deepEqual(watermarks.point(kind, 4), HLC_ORIGIN);
  });
}

test("durable rises by sequence and never falls", () => {
  const watermarks = fresh();
  watermarks.stage(0, 4, 9);
  watermarks.advanceDurable(7, 5);
  watermarks.advanceDurable(99, 4);
  assert.deepEqual(watermarks.point("durable"), { wallMs: 7, globalSequence: 5 });
  watermarks.advanceDurable(1, 6);
  assert.deepEqual(watermarks.point("durable"), { wallMs: 1, globalSequence: 6 });
});

test("a lane becomes durable when all of it is covered, and not before", () => {
  const watermarks = fresh();
  watermarks.stage(1, 1, 1);
  watermarks.stage(2, 2, 2);
  watermarks.stage(1, 3, 3);
  watermarks.advanceDurable(2, 2);
  assert.deepEqual(watermarks.point("durable", 1), HLC_ORIGIN);
  assert.deepEqual(watermarks.point("durable", 2), at(2));
  watermarks.advanceDurable(3, 3);
  assert.deepEqual(watermarks.point("durable", 1), at(3));
  assert.deepEqual(watermarks.point("durable", 2), at(2));
  watermarks.stage(2, 4, 4);
  watermarks.synced();
  assert.deepEqual(watermarks.point("durable", 1), at(3));
  assert.deepEqual(watermarks.point("durable", 2), at(4));
});

test("Q1 a sync between accepting and writing does not make the event durable", () => {
  // The reference set durable to accepted, so rolling over to a new segment claimed an event that was
  // not written yet. Durable never goes past the lower of accepted and written.
  const watermarks = fresh();
  watermarks.append(0, 4, 4);
  watermarks.advanceAccepted(0, 5, 5);
  watermarks.synced();
  assert.deepEqual(watermarks.point("durable"), at(4));
  watermarks.advanceDurable(5, 5);
  assert.deepEqual(watermarks.point("durable"), at(4));
  assert.equal(watermarks.oldestPendingWriteAgeMs !== null, true);
  watermarks.advanceWritten(0, 5, 5);
  watermarks.synced();
  assert.deepEqual(watermarks.point("durable"), at(5));
  assert.equal(watermarks.oldestPendingWriteAgeMs, null);
});

test("Q2 an append that fails between accepting and writing leaves views sound", () => {
  // It left accepted ahead of written for ever, and the next sync made durable pass written, which no
  // view survived. Durable stops at written.
  const watermarks = fresh();
  watermarks.append(0, 1, 1);
  watermarks.advanceAccepted(0, 2, 2);
  watermarks.synced();
  assert.deepEqual(sequencesOf(watermarks.view()), [2, 1, 1, 1, 0, 1]);
});

test("Q1 durable does not go past accepted either", () => {
  const watermarks = fresh();
  watermarks.advanceWritten(0, 9, 9);
  watermarks.advanceAccepted(0, 4, 4);
  watermarks.synced();
  assert.deepEqual(watermarks.point("durable"), at(4));
});

test("synced() on watermarks that nothing has moved leaves them at the origin", () => {
  const watermarks = fresh();
  watermarks.synced();
  assert.deepEqual(pointsOf(watermarks), Array(6).fill(HLC_ORIGIN));
});

test("applied is set, ahead and back, in the journal and on a lane by itself", () => {
  const watermarks = fresh();
  watermarks.append(1, 9, 9);
  watermarks.setApplied(7, 7);
  watermarks.setApplied(3, 3);
  assert.deepEqual(watermarks.point("applied"), at(3));
  assert.deepEqual(watermarks.point("applied", 1), HLC_ORIGIN);
  watermarks.setAppliedOnLane(1, 8, 8);
  watermarks.setAppliedOnLane(1, 2, 2);
  assert.deepEqual(watermarks.point("applied", 1), at(2));
  assert.deepEqual(watermarks.point("applied"), at(3));
});

test("append() moves accepted, written, visible and emitted, here and on the lane", () => {
  const watermarks = fresh();
  watermarks.append(6, 7, 5);
  const moved = { wallMs: 7, globalSequence: 5 };
  const six = [moved, moved, HLC_ORIGIN, moved, HLC_ORIGIN, moved];
  assert.deepEqual(pointsOf(watermarks), six);
  assert.deepEqual(pointsOf(watermarks, 6), six);
  assert.deepEqual(pointsOf(watermarks, 0), Array(6).fill(HLC_ORIGIN));
});

test("what was staged is visible with the event that commits it, and not with one that cancels", () => {
  for (const isCommit of [true, false]) {
    const watermarks = fresh();
    watermarks.stage(6, 5, 5);
    watermarks.stageGroup([{ lane: 7 }, { lane: 6 }], 2, 6, 6);
    assert.deepEqual(sequencesOf(watermarks.view()), [7, 7, 0, 0, 0, 0]);
    watermarks.endFence(isCommit, 0, 8, 8);
    const view = watermarks.view();
    assert.deepEqual(sequencesOf(view), [8, 8, 0, 8, 0, 8]);
    const visible = view.lanes.map((lane) => [lane.lane, lane.visible.globalSequence]);
    assert.deepEqual(visible, [[0, 8], [6, isCommit ? 7 : 0], [7, isCommit ? 6 : 0]]);
  }
});

test("a group leaves each lane at its highest event", () => {
  const items = [3, 1, 1, 2, 1, 1, 9].map((lane) => ({ lane }));
  const watermarks = fresh();
  watermarks.appendGroup(items, 6, 50, 10);
  const view = watermarks.view();
  assert.deepEqual(sequencesOf(view), [15, 15, 0, 15, 0, 15]);
  assert.deepEqual(view.visible, { wallMs: 50, globalSequence: 15 });
  // The seventh item does not count.
  const lanes = view.lanes.map((lane) => [lane.lane, ...sequencesOf(lane)]);
  assert.deepEqual(lanes, [
    [1, 15, 15, 0, 15, 0, 15],
    [2, 13, 13, 0, 13, 0, 13],
    [3, 10, 10, 0, 10, 0, 10],
  ]);
  watermarks.synced();
  assert.deepEqual(watermarks.view().lanes.map((lane) => lane.durable.globalSequence), [
    15,
    13,
    10,
  ]);
});

test("a group of none moves nothing", () => {
  const watermarks = fresh();
  watermarks.appendGroup([{ lane: 1 }], 0, 50, 10);
  watermarks.stageGroup([], 0, 50, 10);
  assert.deepEqual(pointsOf(watermarks), Array(6).fill(HLC_ORIGIN));
  assert.equal(watermarks.view().lanes.length, 0);
});

test("more lanes than fit into shared memory are all there in the owner's realm", () => {
  const watermarks = fresh();
  for (let lane = 0; lane < 200; lane++) watermarks.append(lane, lane + 1, lane + 1);
  // Back and forth, also over the place where memory grew.
  watermarks.append(63, 300, 300);
  watermarks.append(64, 301, 301);
  watermarks.append(199, 302, 302);
  watermarks.synced();
  const { lanes, lanesComplete } = watermarks.view();
  assert.equal(lanesComplete, true);
  const expected = Array.from({ length: 200 }, (_, lane) => lane + 1);
  expected[63] = 300;
  expected[64] = 301;
  expected[199] = 302;
  assert.deepEqual(lanes.map(({ lane }) => lane), Array.from({ length: 200 }, (_, lane) => lane));
  assert.deepEqual(lanes.map(({ durable }) => durable.globalSequence), expected);
  assert.deepEqual(lanes.map(({ visible }) => visible.globalSequence), expected);
});

test("the worked trace of a store: append, sync, batch, fence, projection, failed sync", () => {
  const clock = stillClock();
  const watermarks = Watermarks.fromPoint(at(0), { clock, scheduler: runtime.scheduler });
  const trace: (number | null)[][] = [];
  const note = () => {
    const view = watermarks.view();
    trace.push([...sequencesOf(view), view.oldestPendingWriteAgeMs]);
  };
  note();
  watermarks.append(0, 1, 1);
  note();
  watermarks.synced();
  note();
  const batch = [{ lane: 0 }, { lane: 0 }, { lane: 0 }];
  watermarks.stageGroup(batch, 3, 2, 2);
  watermarks.synced();
  watermarks.advanceVisibleAndEmitted(2, 4);
  note();
  watermarks.stage(0, 5, 5);
  watermarks.stage(0, 6, 6);
  note();
  watermarks.append(0, 7, 7);
  note();
  watermarks.setApplied(7, 7);
  note();
  watermarks.poison();
  watermarks.synced();
  note();
  assert.deepEqual(trace, [
    [0, 0, 0, 0, 0, 0, null],
    [1, 1, 0, 1, 0, 1, 0],
    [1, 1, 1, 1, 0, 1, null],
    [4, 4, 4, 4, 0, 4, null],
    [6, 6, 4, 4, 0, 4, 0],
    [7, 7, 4, 7, 0, 7, 0],
    [7, 7, 4, 7, 7, 7, 0],
    [7, 7, 4, 7, 7, 7, 0],
  ]);
});

// ---- The age of what is not durable ----

test("M-19 accepting again what is durable does not start the pending age", () => {
  const watermarks = fresh({ clock: stillClock() });
  assert.equal(watermarks.oldestPendingWriteAgeMs, null);
  watermarks.stage(0, 5, 5);
  assert.equal(watermarks.oldestPendingWriteAgeMs, 0);
  watermarks.synced();
  assert.equal(watermarks.oldestPendingWriteAgeMs, null);
  watermarks.advanceAccepted(0, 5, 5);
  watermarks.advanceAccepted(0, 9, 4);
  watermarks.append(0, 9, 5);
  assert.equal(watermarks.oldestPendingWriteAgeMs, null);
});

test("M-19 the pending age is that of the oldest event, until everything is durable", () => {
  const clock = stillClock();
  const watermarks = fresh({ clock });
  watermarks.append(0, 1, 1);
  clock.us = 5_000;
  watermarks.append(0, 2, 2);
  assert.equal(watermarks.oldestPendingWriteAgeMs, 5);
  watermarks.advanceDurable(1, 1);
  assert.equal(watermarks.view().oldestPendingWriteAgeMs, 5);
  watermarks.advanceDurable(2, 2);
  assert.equal(watermarks.view().oldestPendingWriteAgeMs, null);
  watermarks.append(0, 3, 3);
  assert.equal(watermarks.view().oldestPendingWriteAgeMs, 0);
});

test("M-20 the pending age is rounded down, and 0 when the clock has gone back", () => {
  const clock = stillClock(1_000);
  const watermarks = fresh({ clock });
  watermarks.append(0, 1, 1);
  clock.us = 3_500;
  assert.equal(watermarks.oldestPendingWriteAgeMs, 2);
  clock.us = 500;
  assert.equal(watermarks.oldestPendingWriteAgeMs, 0);
});

// ---- Views ----

test("a view has what was there when it was taken, and lanes in order", () => {
  const watermarks = fresh();
  watermarks.append(7, 1, 1);
  watermarks.append(2, 2, 2);
  const view = watermarks.view();
  watermarks.append(2, 3, 3);
  assert.deepEqual(view.lanes.map(({ lane }) => lane), [2, 7]);
  assert.equal(view.visibleMinusDurableSeq, 2);
  assert.equal(view.lane(2)?.visible.globalSequence, 2);
  assert.equal(view.lane(3), undefined);
});

/** What each broken invariant is called, and what breaks it. */
const BREAKS: readonly [string, number | undefined, number, number, (w: Watermarks) => void][] = [
  ["accepted >= written", undefined, 0, 5, (w) => w.advanceWritten(0, 5, 5)],
  ["accepted >= visible", undefined, 0, 5, (w) => w.advanceVisibleAndEmitted(5, 5)],
  ["visible >= applied", undefined, 4, 5, (w) => {
    w.append(0, 4, 4);
    w.setApplied(5, 5);
  }],
  ["emitted >= visible", undefined, 0, 5, (w) => {
    w.stage(0, 5, 5);
    w.advanceVisible(0, 5, 5);
  }],
  ["visible >= applied", 3, 4, 5, (w) => {
    w.append(3, 4, 4);
    w.setAppliedOnLane(3, 5, 5);
  }],
  ["accepted >= written", 3, 4, 5, (w) => {
    w.append(3, 4, 4);
    w.advanceAccepted(0, 5, 5);
    w.advanceWritten(3, 5, 5);
  }],
  ["durable of the journal >= durable of the lane", 2, 1, 9, (w) =>
    w.reset({
      durable: at(1),
      visible: at(1),
      lanes: [{ lane: 2, durable: at(9), visible: at(1) }],
    })],
];

for (const [invariant, lane, higher, lower, breakIt] of BREAKS) {
  test(`view() refuses watermarks that break ${invariant}, lane ${lane ?? "none"}`, () => {
    const watermarks = fresh();
    breakIt(watermarks);
    assert.throws(() => watermarks.view(), (error: unknown) => {
      assert.ok(error instanceof InvariantViolationError, String(error));
      assert.equal(error.code, "INVARIANT_VIOLATION");
      assert.deepEqual([error.invariant, error.lane], [invariant, lane]);
      assert.deepEqual([error.higher, error.lower], [higher, lower]);
      assert.ok(error.message.includes(invariant));
      return true;
    });
  });
}

// ---- Starting ----

test("reset() puts the journal and every lane where recovery found them", () => {
  const watermarks = fresh();
  watermarks.append(5, 77, 77);
  watermarks.reset({
    durable: at(10),
    visible: at(8),
    lanes: [
      { lane: 1, durable: at(10), visible: HLC_ORIGIN },
      { lane: 0, durable: at(8), visible: at(8) },
    ],
  });
  const view = watermarks.view();
  assert.deepEqual(sequencesOf(view), [10, 10, 10, 8, 8, 8]);
  assert.deepEqual(view.lanes.map((lane) => [lane.lane, ...sequencesOf(lane)]), [
    [0, 8, 8, 8, 8, 8, 8],
    [1, 10, 10, 10, 0, 0, 0],
  ]);
  assert.equal(view.oldestPendingWriteAgeMs, null);
});

test("reset() without a lane starts lane 0 at the origin", () => {
  const watermarks = fresh();
  watermarks.reset({ durable: at(3), visible: at(3), lanes: [] });
  const { lanes } = watermarks.view();
  assert.deepEqual(lanes.map((lane) => [lane.lane, ...sequencesOf(lane)]), [[0, 0, 0, 0, 0, 0, 0]]);
});

test("reset() forgets lanes and what was not durable on them", () => {
  const watermarks = fresh();
  for (let lane = 0; lane < 70; lane++) watermarks.append(lane, lane, lane);
  const lanes = Array.from({ length: 66 }, (_, lane) => (
    { lane: lane + 100, durable: at(lane), visible: at(lane) }
  ));
  watermarks.reset({ durable: at(99), visible: at(99), lanes });
  assert.deepEqual(
    watermarks.view().lanes.map(({ lane, durable }) => [lane, durable.globalSequence]),
    lanes.map(({ lane }) => [lane, lane - 100]),
  );
  watermarks.append(69, 100, 100);
  watermarks.append(165, 101, 101);
  watermarks.synced();
  assert.deepEqual(watermarks.point("durable", 69), at(100));
  assert.deepEqual(watermarks.point("durable", 165), at(101));
  assert.deepEqual(watermarks.point("durable", 100), at(0));
});

test("reset() does not let a writer that has stopped start again", async () => {
  const watermarks = fresh();
  watermarks.poison();
  watermarks.reset({ durable: at(3), visible: at(3), lanes: [] });
  assert.equal(watermarks.poisoned, true);
  watermarks.append(0, 4, 4);
  watermarks.synced();
  assert.deepEqual(watermarks.point("durable"), at(3));
  await assert.rejects(watermarks.waitForDurable(0, SOON), WriterCrashedError);
});

// ---- Waiting ----

const MOVES: readonly [WatermarkKind, (w: Watermarks) => void][] = [
  ["accepted", (w) => w.advanceAccepted(2, 5, 5)],
  ["accepted", (w) => w.stage(2, 5, 5)],
  ["accepted", (w) => w.stageGroup([{ lane: 2 }], 1, 5, 5)],
  ["written", (w) => w.advanceWritten(2, 5, 5)],
  ["written", (w) => w.append(2, 5, 5)],
  ["durable", (w) => {
    w.stage(2, 5, 5);
    w.advanceDurable(5, 5);
  }],
  ["durable", (w) => {
    w.append(2, 5, 5);
    w.synced();
  }],
  ["visible", (w) => w.advanceVisible(2, 5, 5)],
  ["visible", (w) => w.endFence(false, 2, 5, 5)],
  ["visible", (w) => {
    w.stage(2, 4, 4);
    w.endFence(true, 2, 5, 5);
  }],
  ["visible", (w) => w.appendGroup([{ lane: 1 }, { lane: 2 }], 2, 5, 4)],
  ["emitted", (w) => w.advanceEmitted(2, 5, 5)],
  ["emitted", (w) => w.endFence(true, 2, 5, 5)],
  ["applied", (w) => {
    w.setApplied(5, 5);
    w.setAppliedOnLane(2, 5, 5);
  }],
];

for (const [index, [kind, move]] of MOVES.entries()) {
  test(`waitFor() wakes when ${kind} comes, in the journal and on the lane, by move ${index}`, async () => {
    const watermarks = fresh();
    const waits = [
      watermarks.waitFor(kind, 5, { timeoutMs: LONG_MS }),
      watermarks.waitFor(kind, at(3), { timeoutMs: LONG_MS, lane: 2 }),
    ];
    runtime.scheduler.delay(5, () => move(watermarks));
    const startMs = performance.now();
    await Promise.all(waits);
    assert.ok(performance.now() - startMs < LONG_MS / 2);
  });
}

test("advanceVisibleAndEmitted() wakes who waits for either", async () => {
  const watermarks = fresh();
  const waits = [
    watermarks.waitForVisible(5, { timeoutMs: LONG_MS }),
    watermarks.waitForEmitted(5, { timeoutMs: LONG_MS }),
  ];
  watermarks.advanceVisibleAndEmitted(5, 5);
  await Promise.all(waits);
});

test("each named wait waits for its own watermark", async () => {
  const watermarks = fresh();
  const now = { timeoutMs: 0 };
  const waits: readonly [WatermarkKind, () => Promise<void>][] = [
    ["accepted", () => watermarks.waitForAccepted(1, now)],
    ["written", () => watermarks.waitForWritten(1, now)],
    ["durable", () => watermarks.waitForDurable(1, now)],
    ["visible", () => watermarks.waitForVisible(1, now)],
    ["applied", () => watermarks.waitForApplied(1, now)],
    ["emitted", () => watermarks.waitForEmitted(1, now)],
  ];
  for (const [kind, wait] of waits) await assert.rejects(wait(), timeoutOf(kind, 1, 0));
  watermarks.append(0, 1, 1);
  for (const [kind, wait] of waits) {
    if (kind === "durable" || kind === "applied") await assert.rejects(wait(), WaitTimeoutError);
    else await wait();
  }
});

test("V-01 a wait for what is there returns at once", async () => {
  const watermarks = Watermarks.fromPoint(at(7), runtime);
  const startMs = performance.now();
  for (const kind of KINDS) await watermarks.waitFor(kind, 7, { timeoutMs: LONG_MS });
  assert.ok(performance.now() - startMs < LONG_MS / 2);
});

test("V-02 a wait for durable lasts until somebody syncs, and not to its end", async () => {
  const watermarks = fresh();
  watermarks.append(0, 1, 1);
  const startMs = performance.now();
  runtime.scheduler.delay(50, () => watermarks.synced());
  await watermarks.waitForDurable(1, { timeoutMs: LONG_MS });
  const waitedMs = performance.now() - startMs;
  assert.ok(waitedMs >= 20 && waitedMs < LONG_MS / 2, `${waitedMs} ms`);
});

test("V-03 V-10 a wait for what does not come takes its time, and says what it waited for", async () => {
  const watermarks = fresh();
  watermarks.append(0, 1, 1);
  const startMs = performance.now();
  const far = Number.MAX_SAFE_INTEGER;
  await Promise.all([
    assert.rejects(
      watermarks.waitForDurable(at(1), { timeoutMs: 100 }),
      timeoutOf("durable", 1, 100),
    ),
    assert.rejects(
      watermarks.waitForEmitted(far, { timeoutMs: 100 }),
      timeoutOf("emitted", far, 100),
    ),
  ]);
  assert.ok(performance.now() - startMs >= 80);
});

test("V-05 being woken again and again satisfies nothing", async () => {
  const watermarks = fresh();
  let cancel = () => {};
  let wakes = 0;
  const storm = () => {
    watermarks.wake();
    watermarks.append(0, 1, ++wakes);
    cancel = runtime.scheduler.delay(5, storm);
  };
  storm();
  const startMs = performance.now();
  const wait = watermarks.waitForVisible(1_000_000, { timeoutMs: 120 });
  await assert.rejects(wait, timeoutOf("visible", 1_000_000, 120));
  cancel();
  assert.ok(performance.now() - startMs >= 100);
  assert.ok(wakes > 3);
});

test("V-06 with a timeout of 0 a wait only asks, without a timer", async () => {
  const scheduler = countingScheduler();
  const watermarks = fresh({ scheduler });
  watermarks.append(0, 5, 5);
  await watermarks.waitForVisible(5, { timeoutMs: 0 });
  await watermarks.waitForVisible(HLC_ORIGIN, { timeoutMs: 0, lane: 9 });
  await assert.rejects(
    watermarks.waitForVisible(6, { timeoutMs: 0 }),
    timeoutOf("visible", 6, 0),
  );
  assert.equal(scheduler.delays, 0);
});

test("V-09 three waits for different watermarks each end with their own", async () => {
  const watermarks = fresh();
  const done: string[] = [];
  const waits = (["visible", "durable", "applied"] as const).map((kind) =>
    watermarks.waitFor(kind, 5, { timeoutMs: LONG_MS }).then(() => void done.push(kind))
  );
  watermarks.append(0, 5, 5);
  await waits[0];
  assert.deepEqual(done, ["visible"]);
  watermarks.setApplied(5, 5);
  await waits[2];
  assert.deepEqual(done, ["visible", "applied"]);
  watermarks.synced();
  await Promise.all(waits);
  assert.deepEqual(done, ["visible", "applied", "durable"]);
});

test("V-08 visible is there while durable for the same event times out", async () => {
  const watermarks = fresh();
  watermarks.append(0, 5, 5);
  await watermarks.waitForVisible(5, SOON);
  await assert.rejects(watermarks.waitForDurable(5, SOON), timeoutOf("durable", 5, 1));
});

test("a lane wait is not satisfied by other lanes", async () => {
  const watermarks = fresh();
  watermarks.append(0, 5, 5);
  const wait = watermarks.waitForVisible(5, { timeoutMs: 30, lane: 2 });
  watermarks.append(1, 9, 9);
  await assert.rejects(wait, timeoutOf("visible", 5, 30, 2));
});

test("M-21 V-04 a writer that has stopped fails all waits, also one for what is there", async () => {
  const watermarks = fresh();
  const cause = new Error("the disk is gone");
  const waits = KINDS.map((kind) => watermarks.waitFor(kind, 5, { timeoutMs: LONG_MS, lane: 1 }));
  const settled = Promise.allSettled(waits);
  watermarks.append(1, 5, 5);
  watermarks.poison(cause);
  watermarks.poison(new Error("another one"));
  for (const result of await settled) {
    assert.equal(result.status, "rejected");
    assert.ok(result.reason instanceof WriterCrashedError);
    assert.equal(result.reason.cause, cause);
  }
  await assert.rejects(watermarks.waitForVisible(HLC_ORIGIN, SOON), WriterCrashedError);
});

test("M-22 wake() really wakes who sleeps, long before the time", async () => {
  const scheduler = countingScheduler();
  const watermarks = fresh({ scheduler });
  const controller = new AbortController();
  const wait = watermarks.waitForApplied(5, { timeoutMs: LONG_MS, signal: controller.signal });
  assert.equal(scheduler.delays, 1);
  watermarks.wake();
  await runtime.scheduler.turn();
  // It has looked and lain down again.
  assert.equal(scheduler.delays, 2);
  controller.abort();
  await assert.rejects(wait, { name: "AbortError" });
});

test("who waits for a sync is not woken by appends", async () => {
  const scheduler = countingScheduler();
  const watermarks = fresh({ scheduler });
  const wait = watermarks.waitForDurable(3, { timeoutMs: LONG_MS });
  const far = watermarks.waitForVisible(4, { timeoutMs: LONG_MS });
  assert.equal(scheduler.delays, 2);
  for (let sequence = 1; sequence <= 3; sequence++) watermarks.append(0, 1, sequence);
  await runtime.scheduler.turn();
  assert.equal(scheduler.delays, 2);
  watermarks.advanceDurable(1, 2);
  watermarks.append(0, 1, 4);
  await far;
  watermarks.advanceDurable(1, 3);
  await wait;
  assert.equal(scheduler.delays, 2);
});

test("a wait ends with the reason of its signal, and leaves nothing behind", async () => {
  const watermarks = fresh();
  const controller = new AbortController();
  const { signal } = controller;
  const wait = watermarks.waitForVisible(5, { timeoutMs: LONG_MS, signal });
  const other = watermarks.waitForVisible(5, { timeoutMs: LONG_MS });
  const reason = new Error("enough");
  controller.abort(reason);
  await assert.rejects(wait, (error) => error === reason);
  await assert.rejects(
    watermarks.waitForVisible(0, { timeoutMs: 0, signal }),
    (error) => error === reason,
  );
  watermarks.append(0, 5, 5);
  await other;
});

test("a clock that stands still does not make a wait hang", async () => {
  const watermarks = fresh({ clock: stillClock() });
  const startMs = performance.now();
  await assert.rejects(
    watermarks.waitForVisible(5, { timeoutMs: 40 }),
    timeoutOf("visible", 5, 40),
  );
  assert.ok(performance.now() - startMs >= 30);
});

test("a wait that is longer than a timer can be takes several", async () => {
  // More than 24 days counted as slept when the timer had ended after 24. Each sleep counts as what it was.
  const delays: number[] = [];
  const scheduler: Scheduler = {
    delay(delayMs, callback) {
      delays.push(delayMs);
      return runtime.scheduler.delay(0, callback);
    },
    turn: () => runtime.scheduler.turn(),
  };
  const watermarks = fresh({ clock: stillClock(), scheduler });
  const timeoutMs = 2 ** 31 + 499.5;
  await assert.rejects(
    watermarks.waitForVisible(1, { timeoutMs }),
    timeoutOf("visible", 1, timeoutMs),
  );
  assert.deepEqual(delays, [2_147_483_647, 501]);
});

test("a wait measures on the clock that it was given", async () => {
  const clock = stillClock();
  const watermarks = fresh({ clock });
  const wait = watermarks.waitForVisible(5, { timeoutMs: LONG_MS });
  clock.us = LONG_MS * 1_000 - 1;
  watermarks.wake();
  await runtime.scheduler.turn();
  clock.us = LONG_MS * 1_000;
  watermarks.wake();
  await assert.rejects(wait, timeoutOf("visible", 5, LONG_MS));
});

test("close() fails waits for what is not there, and closing() does not", async () => {
  const watermarks = fresh();
  const wait = watermarks.waitForVisible(5, { timeoutMs: LONG_MS });
  const durable = watermarks.waitForDurable(4, { timeoutMs: LONG_MS });
  watermarks.closing();
  await runtime.scheduler.turn();
  watermarks.append(0, 4, 4);
  watermarks.synced();
  await durable;
  watermarks.close();
  await assert.rejects(wait, StoreClosedError);
  await watermarks.waitForVisible(4, { timeoutMs: 0 });
  await assert.rejects(watermarks.waitForVisible(5, { timeoutMs: LONG_MS }), StoreClosedError);
});

test("waitFor() refuses what it cannot wait for", async () => {
  const watermarks = fresh();
  const wait = (kind: unknown, target: unknown, options: unknown) =>
    watermarks.waitFor(kind as WatermarkKind, target as number, options as { timeoutMs: number });
  await assert.rejects(wait("sent", 1, SOON), TypeError);
  await assert.rejects(wait("visible", 1, { timeoutMs: 1, lanes: 2 }), TypeError);
  await assert.rejects(wait("visible", 1, {}), RangeError);
  for (const timeoutMs of [-1, NaN, Infinity, "5"]) {
    await assert.rejects(wait("visible", 1, { timeoutMs }), RangeError);
  }
  for (const target of [-1, 1.5, NaN, 2 ** 53, { wallMs: 1, globalSequence: -1 }]) {
    await assert.rejects(wait("visible", target, SOON), RangeError);
  }
  for (const lane of [-1, 0.5, 2 ** 32]) {
    await assert.rejects(wait("visible", 1, { timeoutMs: 1, lane }), RangeError);
  }
});

test("a view taken at any moment of random work is sound, and five watermarks never fall", () => {
  const seed = Math.floor(Math.random() * 2 ** 32);
  const random = randomOf(seed);
  try {
    const watermarks = Watermarks.fromPoint(at(0), runtime);
    let next = 1;
    /** Staged and not published, the oldest first. */
    let staged: { lane: number; sequence: number }[] = [];
    let before: FrontierView = watermarks.view();
    for (let step = 0; step < 3_000; step++) {
      const lane = Math.floor(random() * 80);
      const wallMs = Math.floor(random() * 1_000);
      const dice = random();
      if (dice < 0.4 && staged.length === 0) {
        watermarks.append(lane, wallMs, next++);
      } else if (dice < 0.6) {
        watermarks.advanceAccepted(lane, wallMs, next);
        if (random() < 0.2) watermarks.synced();
        watermarks.advanceWritten(lane, wallMs, next);
        staged.push({ lane, sequence: next++ });
      } else if (dice < 0.7) {
        for (const event of staged) {
          watermarks.advanceEmitted(event.lane, wallMs, event.sequence);
          watermarks.advanceVisible(event.lane, wallMs, event.sequence);
        }
        staged = [];
      } else if (dice < 0.75) {
        staged = [];
      } else if (dice < 0.85) {
        watermarks.synced();
      } else if (dice < 0.9) {
        watermarks.advanceDurable(wallMs, Math.floor(random() * next * 1.5));
      } else {
        const applied = Math.floor(random() * (before.visible.globalSequence + 1));
        watermarks.setApplied(wallMs, applied);
      }
      const view = watermarks.view();
      for (const kind of KINDS) {
        if (kind === "applied") continue;
        assert.ok(view[kind].globalSequence >= before[kind].globalSequence, kind);
        for (const was of before.lanes) {
          const is = view.lane(was.lane);
          assert.ok(is !== undefined && is[kind].globalSequence >= was[kind].globalSequence, kind);
        }
      }
      before = view;
    }
    assert.ok(next > 100);
  } catch (error) {
    throw new Error(`Seed ${seed}`, { cause: error });
  }
});

/** Mulberry32. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
