/**
 * What a store does that a crash must not break, in its smallest form each.
 *
 * @module
 */

import type { Scenario } from "./crash_explorer.ts";
import type { Driver, DriverEvent } from "./driver.ts";

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

function isOld({ globalSequence }: { readonly globalSequence: number }): boolean {
  return globalSequence < 4;
}

/** All of them. */
export const SCENARIOS: readonly Scenario[] = [
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
      driver.compact();
      driver.append();
    },
  },
  ...(["tombstone", "retention"] as const).map((type): Scenario => ({
    name: type,
    options: SMALL_SEGMENTS,
    prepare: fill,
    run: (driver) => {
      driver.open();
      driver.compact({ strategy: { type, keep: (event) => !isOld(event) }, seal: true });
      driver.append({ key: "late" });
    },
  })),
  {
    name: "prune",
    options: SMALL_SEGMENTS,
    prepare: fill,
    run: (driver) => {
      driver.open();
      driver.prune({ below: 4 });
      driver.append({ key: "late" });
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
