// Spec simulation 4.2: what a failure at each point of a write brings about: at once, after a clean close, and
// after a crash. The reference has hooks in its writer; ours has none, so a point is the call of the disk
// that comes next. Point 3, a failure behind the publication of an event, is not among them: there is no
// call left that could fail. What a crash at these points leaves is in recovery_matrix_test.ts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Store, StoreIoError, type StoreOptions, WriterCrashedError } from "../mod.ts";
import type { CrashPolicy } from "./crash_images.ts";
import { Driver, DRIVER_DIR, FACT_MARK } from "./driver.ts";
import { Oracle, type OracleFact } from "./oracle.ts";
import type { SimFaultOptions, SimOp } from "./sim_faults.ts";
import { SimClock } from "./sim_clock.ts";
import { SimEntropy } from "./sim_entropy.ts";
import { SimFs } from "./sim_fs.ts";

/** What is left of the operation that failed. */
type Left = "nothing" | "all of it";

interface Point {
  /** Its numbers in the table of the specification. */
  readonly points: string;
  readonly name: string;
  readonly options?: StoreOptions;
  readonly op: SimOp;
  readonly fault: SimFaultOptions;
  readonly nth?: number;
  readonly act: (driver: Driver) => unknown;
  /** After a failure that stops the writer: what the next open finds, and what after a power cut. */
  readonly stopped?: readonly [reopened: Left, powerCut: Left];
}

/** Every group begins a segment of its own. */
const ROLLING = { segmentMaxBytes: 1 };
/** Three groups are there when the fault strikes, in one segment or in four. */
const LOG = { path: "000001.fbat" };
const OLD = { path: "000004.fbat" };
const NEW = { path: "000005.fbat" };
const STAGED = { path: ".stage-" };

const append = (driver: Driver) => driver.append({ key: "new" });
const durableAppend = (driver: Driver) => driver.append({ key: "new" }, "durable");
const batch = (driver: Driver) => driver.batch([{ key: "x" }, { key: "y", lane: 1 }, { key: "z" }]);
const durableBatch = (driver: Driver) =>
  driver.batch([{ key: "x" }, { key: "y" }, { key: "z" }], { durability: "durable" });

const POINTS: readonly Point[] = [
  {
    points: "1",
    name: "an append whose write is refused",
    op: "Write",
    fault: LOG,
    act: append,
  },
  // The reference has accepted and written it by then; here, what fails is taken back.
  {
    points: "2",
    name: "an append that is written, and failed",
    op: "Write",
    fault: { ...LOG, when: "after" },
    act: append,
  },
  {
    points: "4",
    name: "a batch whose write is refused",
    op: "Write",
    fault: LOG,
    act: batch,
  },
  // 0 bytes to all of its three frames: at the beginning, within a frame, and between two of them.
  ...[1, 100, 250, 400, 500, 700].map((partial): Point => ({
    points: "5 6 7",
    name: `a batch that is cut after ${partial} bytes`,
    op: "Write",
    fault: { ...LOG, partial, code: "ENOSPC" },
    act: batch,
  })),
  {
    points: "8",
    name: "a batch that is written, and failed",
    op: "Write",
    fault: { ...LOG, when: "after" },
    act: durableBatch,
  },
  ...(["failed", "lost", "reverted"] as const).flatMap((sync): Point[] => [
    {
      points: "2 13",
      name: `a durable append whose sync fails, ${sync}`,
      op: "Sync",
      fault: { ...LOG, sync },
      act: durableAppend,
      stopped: [sync === "reverted" ? "nothing" : "all of it", "nothing"],
    },
    {
      points: "9 13",
      name: `a batch whose sync fails, ${sync}`,
      op: "Sync",
      fault: { ...LOG, sync },
      act: durableBatch,
      stopped: [sync === "reverted" ? "nothing" : "all of it", "nothing"],
    },
  ]),
  {
    points: "10",
    name: "a batch that is synced, and failed",
    op: "Sync",
    fault: { ...LOG, when: "after" },
    act: durableBatch,
    // Nobody was told, and all of it is there.
    stopped: ["all of it", "all of it"],
  },
  ...([
    ["Stage", {}],
    ["CreateNew", STAGED],
    ["Write", STAGED],
    ["Write", { ...STAGED, partial: 30, code: "ENOSPC" }],
    ["Sync", STAGED],
    ["Rename", NEW],
    ["Rename", { ...NEW, when: "after" }],
    ["SyncDir", {}],
    ["SyncDir", { when: "after" }],
    ["Open", NEW],
  ] as const).map(([op, fault]): Point => ({
    points: "11",
    name: `an append that rolls, and ${op} fails with ${JSON.stringify(fault)}`,
    options: ROLLING,
    op,
    fault,
    act: append,
  })),
  {
    points: "12",
    name: "the first append to a new segment",
    options: ROLLING,
    op: "Write",
    fault: NEW,
    act: append,
  },
  {
    points: "12 6",
    name: "the first batch to a new segment, cut",
    options: ROLLING,
    op: "Write",
    fault: { ...NEW, partial: 300 },
    act: batch,
  },
  {
    points: "13",
    name: "a roll whose old segment cannot be synced",
    options: ROLLING,
    op: "Sync",
    fault: OLD,
    act: append,
    // What was to be appended never came to be written.
    stopped: ["nothing", "nothing"],
  },
  {
    points: "13",
    name: "the append that completes a sync interval",
    options: { sync: { everyNEvents: 1 } },
    op: "Sync",
    fault: LOG,
    act: append,
    // In the reference this append has its receipt, and the next one fails. Here it is told at once.
    stopped: ["all of it", "nothing"],
  },
];

/** Three groups, all durable but in a journal that rolls, whose last one is only written. */
function begun(options: StoreOptions | undefined): Driver {
  const fs = new SimFs();
  fs.createDirAll(DRIVER_DIR);
  const driver = new Driver(fs.snapshot(), options);
  driver.open();
  driver.append({ key: "a" });
  driver.batch([{ key: "b" }, { entity: "user:2", lane: 2, key: "c" }]);
  driver.sync();
  driver.append({ key: "d" });
  if (options !== ROLLING) driver.sync();
  return driver;
}

/** Judges a disk by what its driver has told, and says what of a failed operation is there. */
function judge(
  driver: Driver,
  image: SimFs,
  powerCut: boolean,
  eventsBefore: number,
): Left | "a part" {
  const oracle = new Oracle(DRIVER_DIR, driver.options);
  for (const step of driver.fs.trace) {
    if (step.type === "mark" && step.label === FACT_MARK) oracle.take(step.data as OracleFact);
  }
  const verdict = oracle.judge(image, { powerCut });
  assert.equal(verdict.type, "sound");
  const more = (verdict as { events: number }).events - eventsBefore;
  // An append has one event, and a batch here three.
  return more <= 0 ? "nothing" : more === 1 || more === 3 ? "all of it" : "a part";
}

const POLICIES: readonly CrashPolicy[] = ["durable", "processKill", "reordered"];

for (const { points, name, options, op, fault, nth = 1, act, stopped } of POINTS) {
  test(`point ${points}: ${name}`, () => {
    const driver = begun(options);
    const { fs, store } = driver;
    const stats = store.stats();
    const frontier = store.frontier();
    fs.armFaultOn(op, nth, fault);
    assert.throws(() => act(driver), stopped === undefined ? StoreIoError : WriterCrashedError);
    fs.assertAllFired();
    assert.equal(fs.faultsFired, 1);

    // At once: nobody sees anything of it, and no watermark has moved for it.
    assert.equal(store.stats().nextSequence, stats.nextSequence);
    assert.deepEqual(store.query().length, stats.eventCount);
    const now = store.frontier();
    assert.deepEqual(now.visible, frontier.visible);
    assert.deepEqual(now.emitted, frontier.emitted);
    if (stopped === undefined) {
      assert.deepEqual([now.accepted, now.written], [frontier.accepted, frontier.written]);
      // A roll syncs what was there before, whatever becomes of it.
      if (options !== ROLLING) assert.deepEqual(now.durable, frontier.durable);
    } else {
      assert.deepEqual(now.durable, frontier.durable);
    }

    // After a crash.
    for (const policy of POLICIES) {
      for (const image of fs.crashImages(policy, { limit: 6 })) {
        const left = judge(driver, image, policy !== "processKill", 4);
        if (stopped === undefined) assert.equal(left, "nothing", policy);
        if (policy === "durable") assert.equal(left, stopped?.[1] ?? "nothing");
        if (policy === "processKill") assert.equal(left, stopped?.[0] ?? "nothing");
        assert.notEqual(left, "a part", policy);
      }
    }

    if (stopped !== undefined) {
      // The writer has stopped for good, though the disk is well again.
      assert.throws(() => driver.append({ key: "later" }), WriterCrashedError);
      assert.throws(() => driver.sync(), WriterCrashedError);
      assert.deepEqual(store.frontier().durable, frontier.durable);
      assert.throws(() => driver.close(), WriterCrashedError);
      const [reopened] = stopped;
      assert.equal(judge(driver, fs, false, 4), reopened);
      return;
    }
    // The store goes on, at the very next sequence, and under the same keys.
    const { globalSequence } = driver.append({ key: "x" });
    assert.equal(globalSequence, stats.nextSequence);
    if (options === ROLLING) {
      assert.equal(driver.store.stats().segmentCount, stats.segmentCount + 1);
    }
    driver.append({ key: "new" }, "durable");
    for (const policy of POLICIES) {
      for (const image of fs.crashImages(policy, { limit: 6 })) {
        assert.equal(judge(driver, image, policy !== "processKill", 5), "all of it", policy);
      }
    }
    driver.close();
    assert.equal(judge(driver, fs, false, 5), "all of it");
  });
}

test("points 14 to 19: an open that fails at any call says so, and the next one finds everything", () => {
  for (const coldStart of [{}, { indexFile: false, footers: false }]) {
    const driver = begun({ segmentMaxBytes: 600, coldStart });
    for (const end of ["commit", "cancel"] as const) {
      driver.beginFence();
      driver.stage([{ key: `behind ${end}` }]);
      driver.stage([{}]);
      driver.endFence(end);
    }
    driver.close();
    let failures = 0;
    for (let call = 0;; call++) {
      const disk = driver.fs.snapshot();
      disk.armFaultAt(call);
      try {
        const entropy = new SimEntropy(1_000 + call);
        const store = Store.open(DRIVER_DIR, {
          ...driver.options,
          fs: disk,
          clock: new SimClock(),
          entropy,
        });
        disk.disarm();
        store.close();
      } catch (error) {
        // Never an answer that leaves something out, nor one that has a cancelled event.
        assert.ok(error instanceof StoreIoError || error instanceof WriterCrashedError, `${error}`);
        disk.disarm();
        failures++;
      }
      // Four events, and two behind the fence that was committed.
      assert.equal(judge(driver, disk, false, 5), "all of it", `call ${call}`);
      if (disk.faultsFired > 0) continue;
      assert.ok(call > 20, `${call} calls`);
      break;
    }
    assert.ok(failures > 10, `${failures} failures`);
  }
});
