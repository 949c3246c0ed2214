/**
 * What a store does that a crash must not break, in its smallest form each.
 *
 * @module
 */

import { CompactionError, type CompactionOptions, Store } from "../mod.ts";
import { edited } from "./damage.ts";
import type { Scenario } from "./crash_explorer.ts";
import { type Driver, DRIVER_DIR, type DriverEvent } from "./driver.ts";
import type { SimFs } from "./sim_fs.ts";

const SMALL_SEGMENTS = { segmentMaxBytes: 700 } as const;
const OTHER: DriverEvent = { entity: "user:2", scope: "shop", lane: 3 };

/** Six events in three sealed segments and an active one. */
function fill(driver: Driver): void {
  driver.open();
  for (let n = 0; n < 6; n++) driver.append(n % 3 === 0 ? OTHER : { key: `filled ${n}` });
  driver.sync();
}

/** An empty journal: how one comes to be is what "append" and "close" are about. */
function begin(driver: Driver): void {
  driver.open();
  driver.close();
}

/** Their sequences: an open has the first one. */
const FILLED = [1, 2, 3, 4, 5, 6];

function isOld({ globalSequence }: { readonly globalSequence: number }): boolean {
  return globalSequence < 4;
}

/** Erases what was filled in first, or takes it out of queries, too. */
function erase(type: "tombstone" | "retention", more: CompactionOptions = {}): CompactionOptions {
  return { strategy: { type, keep: (event) => !isOld(event) }, seal: true, ...more };
}

/** In which segments the six events are, and whether those that may be erased are: before, and after. */
const PLACES = {
  before: "1 2 2 2 3 3",
  merged: "1 1 1 1 1 1",
  erased: "-1 -1 -1 1 1 1",
};

function placesOf(store: Store): string {
  return FILLED.map((sequence) => {
    const event = store.at(sequence);
    return event === undefined ? "none" : `${event.isErased ? "-" : ""}${event.position.segmentId}`;
  }).join(" ");
}

/** A compaction that fails and cannot clean up, and then the process is killed. */
function compactInVain(driver: Driver, options: CompactionOptions, fault: () => void): SimFs {
  fault();
  try {
    driver.compact(options);
  } catch (error) {
    if (!(error instanceof CompactionError)) throw error;
  }
  driver.fs.assertAllFired();
  return driver.fs.crash("processKill");
}

/** All of them. */
export const SCENARIOS: readonly Scenario[] = [
  {
    name: "one append",
    prepare: begin,
    run: (driver) => {
      driver.open();
      driver.append({ key: "a" });
    },
  },
  {
    name: "one durable append",
    prepare: begin,
    run: (driver) => {
      driver.open();
      driver.append({ key: "a" }, "durable");
    },
  },
  {
    name: "one batch",
    prepare: begin,
    run: (driver) => {
      driver.open();
      driver.batch([{ key: "a" }, { ...OTHER, key: "b" }]);
    },
  },
  {
    name: "append",
    run: (driver) => {
      driver.open();
      driver.append({ key: "a" });
      driver.append(OTHER);
      driver.append({ key: "b" }, "durable");
      driver.append({ size: 700 });
      driver.append();
    },
  },
  {
    name: "large appends",
    isLarge: true,
    prepare: begin,
    run: (driver) => {
      driver.open();
      driver.append({ size: 3000 });
      driver.append({ size: 5000, key: "large" });
      driver.append(OTHER, "durable");
    },
  },
  {
    name: "batch",
    prepare: begin,
    run: (driver) => {
      driver.open();
      driver.batch([{ key: "a" }, { ...OTHER, key: "b" }, { key: "c" }]);
      driver.batch([{}, OTHER, {}], { durability: "durable" });
      driver.append();
    },
  },
  {
    name: "roll",
    options: SMALL_SEGMENTS,
    prepare: begin,
    run: (driver) => {
      driver.open();
      for (let n = 0; n < 3; n++) driver.append({ key: `roll ${n}` });
      driver.batch([{}, OTHER]);
      driver.append();
    },
  },
  {
    name: "close",
    run: (driver) => {
      driver.open();
      driver.append({ key: "a" });
      driver.close();
      driver.open();
      driver.append(OTHER);
      driver.close();
    },
  },
  {
    name: "index save",
    options: { coldStart: { saveEveryNEvents: 2 }, ...SMALL_SEGMENTS },
    prepare: begin,
    run: (driver) => {
      driver.open();
      driver.append({ key: "a" });
      driver.append(OTHER, "durable");
      driver.append({}, "durable");
      driver.append();
      driver.sync();
    },
  },
  {
    name: "failed write",
    prepare: begin,
    run: (driver) => {
      driver.open();
      driver.append({ key: "a" });
      driver.fs.armFaultOn("Write", 1, { partial: 200, code: "ENOSPC" });
      expectFailure(() => driver.append({ key: "b" }));
      driver.append({ key: "b" });
      driver.fs.armFaultOn("Write", 1, { when: "after" });
      expectFailure(() => driver.batch([{}, OTHER]));
      driver.append({}, "durable");
    },
  },
  ...(["failed", "lost", "reverted"] as const).map((sync): Scenario => ({
    name: `failed sync, ${sync}`,
    prepare: begin,
    run: (driver) => {
      driver.open();
      driver.append({ key: "a" }, "durable");
      driver.append({ key: "b" });
      driver.fs.armFaultOn("Sync", 1, { sync });
      expectFailure(() => driver.append({ key: "c" }, "durable"));
    },
  })),
  ...(["failed", "lost", "reverted"] as const).map((sync): Scenario => ({
    name: `open after a failed sync, ${sync}`,
    prepare: (driver) => {
      driver.open();
      driver.append({ key: "a" }, "durable");
      driver.append({ key: "b" });
      driver.fs.armFaultOn("Sync", 1, { sync });
      expectFailure(() => driver.append({ key: "c" }, "durable"));
      return driver.fs.crash("processKill");
    },
    run: (driver) => {
      driver.open();
      driver.append({}, "durable");
    },
  })),
  {
    name: "checkpoint",
    prepare: begin,
    run: (driver) => {
      driver.open();
      for (let n = 0; n < 3; n++) driver.append(n === 1 ? OTHER : {});
      const mailer = driver.bind("mailer", { scope: "app" });
      mailer.bound.cursor.pollBatch(1);
      mailer.commit();
      driver.append();
      mailer.bound.cursor.pollBatch(5);
      mailer.commit();
      driver.append();
      mailer.bound.close();
    },
  },
  {
    name: "fence commit",
    prepare: begin,
    run: (driver) => {
      driver.open();
      driver.append();
      driver.beginFence();
      driver.stage([{ key: "a" }]);
      driver.stage([OTHER, {}]);
      driver.endFence("commit");
      driver.append({ key: "b" });
    },
  },
  {
    name: "fence cancel",
    prepare: begin,
    run: (driver) => {
      driver.open();
      driver.append();
      driver.beginFence();
      driver.stage([{ key: "a" }]);
      driver.stage([OTHER, {}]);
      driver.endFence("cancel");
      driver.append({ key: "a" });
      driver.sync();
    },
  },
  {
    name: "open after a crash within a fence",
    prepare: (driver) => {
      driver.open();
      driver.append({ key: "before" }, "durable");
      driver.beginFence();
      driver.stage([{ key: "a" }]);
      driver.stage([OTHER, {}]);
      return driver.fs.crash("processKill");
    },
    run: (driver) => {
      driver.open();
      driver.append({ key: "a" });
      driver.close();
    },
  },
  ...(["snapshot", "fork"] as const).map((how): Scenario => ({
    name: how,
    options: SMALL_SEGMENTS,
    prepare: fill,
    run: (driver) => {
      driver.open();
      driver.append();
      driver.copy(how, "/copies/one");
      driver.append();
    },
  })),
  {
    name: "merge",
    options: SMALL_SEGMENTS,
    prepare: fill,
    run: (driver) => {
      driver.open();
      driver.append({ key: "late" });
      driver.compact({ seal: true });
      driver.append();
    },
    generations: { all: [PLACES.before, PLACES.merged], of: placesOf },
  },
  {
    name: "merge in steps, with appends between them",
    options: SMALL_SEGMENTS,
    prepare: fill,
    run: (driver) => {
      driver.open();
      driver.beginCompaction({ seal: true, stepMaxBytes: 4096 });
      for (let n = 0; driver.isCompacting; n++) {
        if (n < 3) driver.append({ key: `between ${n}` }, "durable");
        driver.compactionStep();
      }
      driver.append();
    },
    generations: { all: [PLACES.before, PLACES.merged], of: placesOf },
  },
  {
    name: "merge that is given up",
    options: SMALL_SEGMENTS,
    prepare: fill,
    run: (driver) => {
      driver.open();
      driver.beginCompaction({ seal: true, stepMaxBytes: 4096 });
      driver.compactionStep();
      driver.abandonCompaction();
      driver.append();
    },
    generations: { all: [PLACES.before], of: placesOf },
  },
  ...(["tombstone", "retention"] as const).map((type): Scenario => ({
    name: type,
    options: SMALL_SEGMENTS,
    prepare: fill,
    run: (driver) => {
      driver.open();
      driver.compact(erase(type));
      driver.append({ key: "late" });
    },
    generations: { all: [PLACES.before, PLACES.erased], of: placesOf },
  })),
  {
    name: "retention in two transactions",
    options: SMALL_SEGMENTS,
    prepare: fill,
    run: (driver) => {
      driver.open();
      const { transactions } = driver.compact(erase("retention", { mergedSegmentMaxBytes: 1000 }));
      if (transactions !== 2) throw new Error(`Cannot explore ${transactions} transactions as two`);
    },
    generations: { all: [PLACES.before, "-1 2 2 2 3 3", "-1 -2 -2 2 3 3"], of: placesOf },
  },
  {
    name: "open after a merge that could not be undone",
    options: SMALL_SEGMENTS,
    prepare: (driver) => {
      fill(driver);
      return compactInVain(driver, { seal: true }, () => {
        // Neither does the merged segment get the name, nor the source its own again.
        driver.fs.armFaultOn("Rename", 2, { path: "000001.fbat", sticky: true });
      });
    },
    run: (driver) => void driver.open(),
    generations: { all: [PLACES.before], of: placesOf },
  },
  {
    name: "open after a retention that could not clean up",
    options: SMALL_SEGMENTS,
    prepare: (driver) => {
      fill(driver);
      return compactInVain(driver, erase("retention"), () => {
        driver.fs.armFaultOn("Remove", 1, { path: "000002.fbat", sticky: true });
      });
    },
    run: (driver) => void driver.open(),
    generations: { all: [PLACES.erased], of: placesOf },
  },
  {
    name: "prune",
    options: SMALL_SEGMENTS,
    prepare: fill,
    run: (driver) => {
      driver.open();
      driver.prune({ below: 4 });
      driver.append({ key: "late" });
    },
    generations: {
      all: ["from 0", "from 2"],
      of: (store) => `from ${store.stats().firstSequence}`,
    },
  },
  {
    name: "open after a prune that could not clean up",
    options: SMALL_SEGMENTS,
    prepare: (driver) => {
      fill(driver);
      driver.fs.armFaultOn("Remove", 1, { sticky: true });
      driver.prune({ below: 4 });
      driver.fs.assertAllFired();
      return driver.fs.crash("processKill");
    },
    run: (driver) => void driver.open(),
    generations: { all: ["from 2"], of: (store) => `from ${store.stats().firstSequence}` },
  },
  {
    name: "import",
    prepare: begin,
    run: (driver) => {
      driver.open();
      driver.importEvents(3, { chunkSize: 2 });
      driver.append({ key: "after" });
    },
  },
  {
    name: "open that cuts a torn tail",
    prepare: (driver) => {
      driver.open();
      driver.append({ key: "whole" }, "durable");
      driver.append({ key: "torn" });
      // It was not synced, and the power was cut.
      driver.tell({ type: "dropped" });
      const left = driver.fs.crash("processKill");
      return edited(left, `${DRIVER_DIR}/000001.fbat`, (bytes) => bytes.fill(0, 1000));
    },
    run: (driver) => {
      driver.open();
      driver.append({ key: "torn" });
    },
  },
  {
    name: "open after a failed write that could not be undone",
    prepare: (driver) => {
      driver.open();
      driver.append({ key: "a" }, "durable");
      driver.fs.armFaultOn("Write", 1, { partial: 40, code: "ENOSPC" });
      driver.fs.armFaultOn("Resize", 1, { sticky: true });
      expectFailure(() => driver.append({ key: "b" }));
      driver.fs.assertAllFired();
      return driver.fs.crash("processKill");
    },
    run: (driver) => {
      driver.open();
      driver.append({ key: "b" });
    },
  },
  {
    name: "a reader beside it",
    prepare: begin,
    run: (driver) => {
      driver.open();
      driver.append({ key: "a" });
      const { length } = driver.fs.trace;
      const reader = Store.openReadOnly(DRIVER_DIR, { fs: driver.fs, clock: driver.clock });
      if (driver.fs.trace.length !== length) throw new Error("A reader has changed something");
      driver.batch([OTHER, {}]);
      const before = driver.fs.trace.length;
      reader.refresh();
      if (reader.query({ scope: "shop" }).length !== 1) throw new Error("A reader sees too little");
      reader.close();
      if (driver.fs.trace.length !== before) throw new Error("A reader has changed something");
    },
  },
  {
    name: "append that is refused beside a fence",
    prepare: begin,
    run: (driver) => {
      driver.open();
      driver.beginFence();
      driver.stage([{ key: "staged" }]);
      expectFailure(() => driver.append({ ...OTHER, key: "beside" }));
      driver.endFence("commit");
      driver.append({ ...OTHER, key: "beside" });
    },
  },
];

/** A call that has to fail, or the scenario is about nothing. */
function expectFailure(call: () => unknown): void {
  let failed = false;
  try {
    call();
  } catch {
    failed = true;
  }
  if (!failed) throw new Error("Cannot explore a failure that did not come");
}
