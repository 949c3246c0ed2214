import { test } from "node:test";
import assert from "node:assert/strict";
import type { Clock } from "../../platform/clock.ts";
import { wireToWorker } from "../../platform/realm.ts";
import { runtime } from "../../platform/runtime.ts";
import { StoreClosedError, WriterCrashedError } from "../errors.ts";
import {
  FRONTIER_MEMORY_SIZE,
  WORD_GENERATION,
  WORD_LAYOUT,
  WORD_PARKED,
  WORD_WAITERS_APPEND,
  WORD_WAITERS_APPLIED,
  WORD_WAITERS_DURABLE,
  wordsOf,
} from "./frontier_memory.ts";
import type { FrontierView, WatermarkKind } from "./frontier_view.ts";
import type { HlcPoint } from "./hlc_point.ts";
import { LaneNotSharedError, SharedFrontier } from "./shared_frontier.ts";
import type { RealmTask } from "./testdata/frontier_realm.ts";
import { WaitTimeoutError } from "./wait.ts";
import { Watermarks } from "./watermarks.ts";

const LONG_MS = 20_000;
const KINDS: readonly WatermarkKind[] = [
  "accepted",
  "written",
  "durable",
  "visible",
  "applied",
  "emitted",
];

function at(sequence: number): HlcPoint {
  return { wallMs: sequence, globalSequence: sequence };
}

function shared(): { watermarks: Watermarks; frontier: SharedFrontier } {
  const watermarks = Watermarks.fromPoint(at(0), runtime);
  return { watermarks, frontier: new SharedFrontier(watermarks.memory) };
}

/** A realm that does what it is told, one thing after the other. */
interface Realm extends AsyncDisposable {
  /** Fulfilled with its answer. */
  ask<Answer>(task: RealmTask): Promise<Answer>;
}

async function startRealm(): Promise<Realm> {
  const url = new URL("./testdata/frontier_realm.ts", import.meta.url);
  const worker = new Worker(url, { type: "module" });
  const answers: ((answer: unknown) => void)[] = [];
  let fail: (error: Error) => void = () => {};
  const failed = new Promise<never>((_, reject) => fail = reject);
  failed.catch(() => {});
  const wire = wireToWorker(worker, ({ type, message }) => {
    if (type === "error") fail(new Error(message));
  });
  const next = () => Promise.race([failed, new Promise((resolve) => answers.push(resolve))]);
  const ready = next();
  wire.listen((answer) => answers.shift()?.(answer));
  assert.equal(await ready, "ready");
  return {
    ask<Answer>(task: RealmTask): Promise<Answer> {
      const answer = next();
      wire.post(task);
      return answer as Promise<Answer>;
    },
    async [Symbol.asyncDispose]() {
      worker.terminate();
      await runtime.scheduler.turn();
    },
  };
}

/** Who is counted as waiting. */
function countsOf({ memory }: Watermarks): number[] {
  const words = wordsOf(memory);
  return [WORD_WAITERS_APPEND, WORD_WAITERS_DURABLE, WORD_WAITERS_APPLIED, WORD_PARKED]
    .map((word) => Atomics.load(words, word));
}

/** Fulfilled when another realm has counted itself as waiting. */
async function untilSomebodyWaits(watermarks: Watermarks): Promise<void> {
  while (countsOf(watermarks).every((count) => count === 0)) {
    await new Promise<void>((resolve) => void runtime.scheduler.delay(1, resolve));
  }
}

test("a SharedFrontier sees what the owner sees", () => {
  const { watermarks, frontier } = shared();
  assert.deepEqual(frontier.view(), watermarks.view());
  for (let lane = 0; lane < 64; lane++) watermarks.append(lane * 1_000, lane + 1, lane + 1);
  watermarks.advanceDurable(40, 40);
  watermarks.setApplied(2, 2);
  watermarks.stage(4_294_967_295, 2 ** 45, 2 ** 53 - 1);
  const { oldestPendingWriteAgeMs, lanesComplete, ...seen } = frontier.view();
  const { oldestPendingWriteAgeMs: _, lanesComplete: __, ...expected } = watermarks.view();
  assert.deepEqual(seen, { ...expected, lanes: expected.lanes.slice(0, -1) });
  assert.equal(lanesComplete, false);
  assert.notEqual(oldestPendingWriteAgeMs, null);
});

test("a SharedFrontier tells the age of what is not durable by the wall clock", () => {
  let wallUs = 5_000_000;
  const clock: Clock = { bootId: "wall", nowUs: () => wallUs, monotonicUs: () => 0 };
  const { watermarks } = shared();
  const frontier = new SharedFrontier(watermarks.memory, clock);
  assert.equal(frontier.view().oldestPendingWriteAgeMs, null);
  watermarks.append(0, 4_998, 1);
  watermarks.append(0, 4_999, 2);
  assert.equal(frontier.view().oldestPendingWriteAgeMs, 2);
  wallUs = 5_001_900;
  assert.equal(frontier.view().oldestPendingWriteAgeMs, 3);
  wallUs = 4_000_000;
  assert.equal(frontier.view().oldestPendingWriteAgeMs, 0);
  watermarks.synced();
  assert.equal(frontier.view().oldestPendingWriteAgeMs, null);
});

test("a SharedFrontier forgets what a reset forgets", () => {
  const { watermarks, frontier } = shared();
  for (let lane = 0; lane < 70; lane++) watermarks.append(lane, 1, lane + 1);
  const lanes = [{ lane: 8, durable: at(9), visible: at(7) }];
  watermarks.reset({ durable: at(9), visible: at(8), lanes });
  const view = frontier.view();
  assert.deepEqual(KINDS.map((kind) => view[kind]), [9, 9, 9, 8, 8, 8].map(at));
  assert.deepEqual(view.lanes.map(({ lane, visible }) => [lane, visible]), [[8, at(7)]]);
  assert.equal(view.lanesComplete, true);
});

test("a SharedFrontier refuses what is no frontier, or that of another release", () => {
  assert.throws(() => new SharedFrontier(new SharedArrayBuffer(64)), TypeError);
  assert.throws(() => new SharedFrontier(new SharedArrayBuffer(FRONTIER_MEMORY_SIZE)), TypeError);
  const other = new ArrayBuffer(FRONTIER_MEMORY_SIZE) as unknown as SharedArrayBuffer;
  assert.throws(() => new SharedFrontier(other), TypeError);
  const { watermarks } = shared();
  Atomics.add(wordsOf(watermarks.memory), WORD_LAYOUT, 1);
  assert.throws(() => new SharedFrontier(watermarks.memory), TypeError);
});

test("F-11 no view is torn while another realm appends as fast as it can", async () => {
  await using owner = await startRealm();
  const memory = await owner.ask<SharedArrayBuffer>({ type: "own" });
  const frontier = new SharedFrontier(memory);
  const stop = new SharedArrayBuffer(4);
  const done = owner.ask({ type: "hammer", stop, laneCount: 5 });
  const startMs = performance.now();
  let before: FrontierView = frontier.view();
  let different = 0;
  try {
    // On a busy machine the two realms seldom run at the same time.
    for (let ms = 0; ms < 500 || (different < 2_000 && ms < 3_000);) {
      for (let i = 0; i < 200; i++) {
        const view = frontier.view();
        assertWhole(view);
        for (const kind of KINDS) {
          assert.ok(view[kind].globalSequence >= before[kind].globalSequence, kind);
        }
        if (view.visible.globalSequence > before.visible.globalSequence) different++;
        before = view;
      }
      ms = performance.now() - startMs;
    }
  } finally {
    Atomics.store(new Int32Array(stop), 0, 1);
  }
  await done;
  assert.ok(different >= 5, `only ${different} different views`);
});

/** The owner of {@linkcode RealmTask} `hammer` never leaves anything else. */
function assertWhole(view: FrontierView): void {
  const { accepted } = view;
  assert.deepEqual([view.written, view.visible, view.emitted], [accepted, accepted, accepted]);
  const newest = view.lanes.map((lane) => lane.visible.globalSequence);
  if (accepted.globalSequence > 0) {
    assert.equal(Math.max(...newest), accepted.globalSequence, "some lane has the newest event");
  }
  for (const of of [view, ...view.lanes]) {
    assert.deepEqual([of.written, of.visible, of.emitted], [of.accepted, of.accepted, of.accepted]);
    for (const kind of KINDS) {
      const { wallMs, globalSequence } = of[kind];
      const expected = globalSequence === 0 ? 0 : globalSequence * 3 + 1;
      assert.equal(wallMs, expected, "both halves of a point belong together");
    }
  }
}

test("no wake-up is lost between realms that wait for each other in turn", async () => {
  await using first = await startRealm();
  await using second = await startRealm();
  const memories = await Promise.all([
    first.ask<SharedArrayBuffer>({ type: "own" }),
    second.ask<SharedArrayBuffer>({ type: "own" }),
  ]);
  const rounds = 5_000;
  // One that is lost costs the minute of its wait, and then throws.
  const startMs = performance.now();
  await Promise.all([
    first.ask({ type: "play", memory: memories[1], rounds, begins: true }),
    second.ask({ type: "play", memory: memories[0], rounds, begins: false }),
  ]);
  assert.ok(performance.now() - startMs < 50_000);
  for (const memory of memories) {
    assert.equal(new SharedFrontier(memory).view().visible.globalSequence, rounds);
  }
});

test("no wake-up is lost by one who waits without blocking", async () => {
  await using other = await startRealm();
  const memory = await other.ask<SharedArrayBuffer>({ type: "own" });
  const frontier = new SharedFrontier(memory);
  const watermarks = new Watermarks(runtime);
  const rounds = 1_000;
  const done = other.ask({ type: "play", memory: watermarks.memory, rounds, begins: false });
  for (let round = 1; round <= rounds; round++) {
    watermarks.append(0, round, round);
    await frontier.waitFor("visible", round, { timeoutMs: 60_000 });
  }
  await done;
  assert.deepEqual(countsOf(watermarks), [0, 0, 0, 0]);
});

for (const kind of KINDS) {
  test(`a realm that blocks for ${kind} wakes when it comes`, async () => {
    await using realm = await startRealm();
    const { watermarks } = shared();
    const { memory } = watermarks;
    const answer = realm.ask({ type: "block", memory, kind, target: 5, timeoutMs: LONG_MS });
    await untilSomebodyWaits(watermarks);
    const startMs = performance.now();
    watermarks.append(0, 5, 5);
    if (kind === "durable") watermarks.synced();
    if (kind === "applied") watermarks.setApplied(5, 5);
    assert.equal(await answer, "there");
    assert.ok(performance.now() - startMs < LONG_MS / 2);
    assert.deepEqual(countsOf(watermarks), [0, 0, 0, 0]);
  });
}

test("M-21 a realm that blocks learns that the writer has stopped", async () => {
  await using realm = await startRealm();
  const { watermarks } = shared();
  const { memory } = watermarks;
  const task = { type: "block", memory, kind: "durable", target: 5, timeoutMs: LONG_MS } as const;
  const answer = realm.ask(task);
  await untilSomebodyWaits(watermarks);
  watermarks.poison();
  assert.equal(await answer, "WRITER_CRASHED");
  assert.equal(await realm.ask({ ...task, target: 0 }), "WRITER_CRASHED");
});

test("a realm that blocks learns that the store is closed", async () => {
  await using realm = await startRealm();
  const { watermarks, frontier } = shared();
  const { memory } = watermarks;
  const answer = realm.ask({
    type: "block",
    memory,
    kind: "visible",
    target: 5,
    timeoutMs: LONG_MS,
    lane: 3,
  });
  await untilSomebodyWaits(watermarks);
  watermarks.closing();
  assert.equal(frontier.state, "closing");
  watermarks.close();
  assert.equal(await answer, "STORE_CLOSED");
  assert.equal(frontier.state, "closed");
  await assert.rejects(frontier.waitFor("visible", 5, { timeoutMs: LONG_MS }), StoreClosedError);
  await frontier.waitFor("visible", 0, { timeoutMs: LONG_MS });
});

test("blockUntil() times out, and not before its time", () => {
  const { watermarks, frontier } = shared();
  const startMs = performance.now();
  assert.throws(() => frontier.blockUntil("visible", 5, { timeoutMs: 60, lane: 0 }), (error) => {
    assert.ok(error instanceof WaitTimeoutError);
    assert.deepEqual([error.watermark, error.target, error.waitedMs, error.lane], [
      "visible",
      5,
      60,
      0,
    ]);
    return true;
  });
  assert.ok(performance.now() - startMs >= 50);
  assert.deepEqual(countsOf(watermarks), [0, 0, 0, 0]);
});

test("V-06 with a timeout of 0 a shared wait only asks", async () => {
  const { watermarks, frontier } = shared();
  watermarks.append(0, 5, 5);
  frontier.blockUntil("visible", 5, { timeoutMs: 0 });
  await frontier.waitFor("visible", at(5), { timeoutMs: 0, lane: 0 });
  await frontier.waitFor("visible", 0, { timeoutMs: 0, lane: 7 });
  assert.throws(() => frontier.blockUntil("durable", 5, { timeoutMs: 0 }), WaitTimeoutError);
  await assert.rejects(frontier.waitFor("durable", 5, { timeoutMs: 0 }), WaitTimeoutError);
  assert.deepEqual(countsOf(watermarks), [0, 0, 0, 0]);
});

test("V-05 a storm of wake-ups satisfies no shared wait", async () => {
  const { watermarks, frontier } = shared();
  let cancel = () => {};
  let sequence = 0;
  const storm = () => {
    watermarks.append(1, 1, ++sequence);
    watermarks.synced();
    cancel = runtime.scheduler.delay(5, storm);
  };
  storm();
  const startMs = performance.now();
  await assert.rejects(
    frontier.waitFor("durable", 1_000_000, { timeoutMs: 100 }),
    WaitTimeoutError,
  );
  cancel();
  assert.ok(performance.now() - startMs >= 90);
  assert.ok(sequence > 3);
});

test("a shared wait ends with the reason of its signal, and leaves nobody counted", async () => {
  const { watermarks, frontier } = shared();
  const controller = new AbortController();
  const { signal } = controller;
  const wait = frontier.waitFor("applied", 5, { timeoutMs: LONG_MS, signal });
  const other = frontier.waitFor("applied", 5, { timeoutMs: LONG_MS });
  assert.deepEqual(countsOf(watermarks), [0, 0, 2, 0]);
  const reason = new Error("enough");
  runtime.scheduler.delay(5, () => controller.abort(reason));
  await assert.rejects(wait, (error) => error === reason);
  assert.throws(
    () => frontier.blockUntil("applied", 5, { timeoutMs: LONG_MS, signal }),
    (error) => error === reason,
  );
  assert.deepEqual(countsOf(watermarks), [0, 0, 1, 0]);
  watermarks.setApplied(5, 5);
  await other;
  assert.deepEqual(countsOf(watermarks), [0, 0, 0, 0]);
});

test("a shared wait does not hang on a clock that stands still", async () => {
  const clock: Clock = { bootId: "still", nowUs: () => 0, monotonicUs: () => 0 };
  const frontier = new SharedFrontier(shared().watermarks.memory, clock);
  assert.throws(() => frontier.blockUntil("visible", 5, { timeoutMs: 30 }), WaitTimeoutError);
  await assert.rejects(frontier.waitFor("visible", 5, { timeoutMs: 30 }), WaitTimeoutError);
});

test("a lane that has no room in shared memory is for the host to tell of", async () => {
  const { watermarks, frontier } = shared();
  // Lane 0 is the first of the 64 that fit.
  for (let lane = 1; lane < 64; lane++) watermarks.append(lane, lane, lane);
  assert.equal(frontier.view().lanesComplete, true);
  const unknown = frontier.waitFor("visible", 99, { timeoutMs: LONG_MS, lane: 99 });
  watermarks.append(70, 70, 70);
  const isMissing = (error: unknown): true => {
    assert.ok(error instanceof LaneNotSharedError, String(error));
    assert.equal(error.lane, 99);
    return true;
  };
  await assert.rejects(unknown, isMissing);
  await assert.rejects(frontier.waitFor("visible", 0, { timeoutMs: 0, lane: 99 }), isMissing);
  await frontier.waitFor("visible", 63, { timeoutMs: 0, lane: 63 });
  await frontier.waitFor("visible", 70, { timeoutMs: 0 });
  const view = frontier.view();
  assert.equal(view.lanesComplete, false);
  assert.equal(view.lanes.length, 64);
  assert.equal(view.lane(70), undefined);
});

test("park() ends when something has become visible, and not for a sync", async () => {
  const { watermarks, frontier } = shared();
  const seen = frontier.visibilityEpoch;
  watermarks.stage(0, 1, 1);
  watermarks.synced();
  assert.equal(frontier.visibilityEpoch, seen);
  const startMs = performance.now();
  await frontier.park(seen, 40);
  assert.ok(performance.now() - startMs >= 30);
  const parked = frontier.park(seen, LONG_MS);
  watermarks.advanceVisibleAndEmitted(1, 1);
  assert.equal(frontier.visibilityEpoch, seen + 1);
  await parked;
  frontier.block(seen, LONG_MS);
  await frontier.park(seen, LONG_MS);
  assert.ok(performance.now() - startMs < LONG_MS / 2);
  assert.deepEqual(countsOf(watermarks), [0, 0, 0, 0]);
});

test("a realm that parks wakes when something becomes visible, and at the end", async () => {
  await using realm = await startRealm();
  for (const end of ["append", "close", "poison"]) {
    const { watermarks } = shared();
    const { memory } = watermarks;
    const answer = realm.ask<number>({ type: "park", memory, timeoutMs: LONG_MS });
    await untilSomebodyWaits(watermarks);
    if (end === "append") watermarks.append(0, 1, 1);
    else if (end === "close") watermarks.close();
    else watermarks.poison();
    assert.ok(await answer < LONG_MS * 500, end);
  }
});

test("an owner that ended in the middle of an update does not make readers hang", async () => {
  const { watermarks, frontier } = shared();
  // A realm can be ended between any two of its instructions.
  Atomics.add(wordsOf(watermarks.memory), WORD_GENERATION, 1);
  assert.throws(() => frontier.view(), WriterCrashedError);
  const wait = frontier.waitFor("visible", 0, { timeoutMs: 0 });
  await assert.rejects(wait, WriterCrashedError);
});

test("the generation may wrap", () => {
  const { watermarks, frontier } = shared();
  Atomics.store(wordsOf(watermarks.memory), WORD_GENERATION, 2 ** 31 - 2);
  for (let sequence = 1; sequence <= 3; sequence++) {
    watermarks.append(0, sequence, sequence);
    assert.deepEqual(frontier.view().visible, at(sequence));
  }
});
