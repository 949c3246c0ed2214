/**
 * What a store does that a failing file call must not break.
 *
 * @module
 */

import {
  bindCursor,
  CompactionError,
  type CompactionOptions,
  type CompactionReport,
  EventKind,
  IoFault,
  type JournalReader,
  listCheckpoints,
  loadCheckpoint,
  type PruneOptions,
  type PruneReport,
  type ReadOnlyStore,
  Region,
  removeCheckpoint,
  saveCheckpoint,
  Store,
  type StoredEvent,
  type StoreErrorCode,
  type StoreOptions,
  verifyJournal,
  WriterCrashedError,
} from "../mod.ts";
import { toHex } from "../store/hash.ts";
import { type Driver, DRIVER_DIR, type DriverEvent } from "./driver.ts";
import { SimClock } from "./sim_clock.ts";
import { SimEntropy } from "./sim_entropy.ts";
import type { SimOp } from "./sim_faults.ts";
import type { SimFs } from "./sim_fs.ts";

/** Something that a store does. */
export interface SweptOperation {
  /** For the report, and to run it alone. */
  readonly name: string;
  /** How the store is opened. */
  readonly options?: StoreOptions;
  /** Whether not even the directory is there. */
  readonly isWithoutDirectory?: boolean;
  /** What has happened before; returns the disk that is left when not all of it is. */
  readonly prepare?: (driver: Driver) => SimFs | void;
  /** Calls that it makes, or it is about nothing. */
  readonly involves?: readonly SimOp[];
  /** Errors it documents. Default: those of files, and of a writer that has stopped. */
  readonly errors?: readonly StoreErrorCode[];
  /** Whether it documents that it throws an `IoFault` as it is. */
  readonly mayThrowIoFault?: boolean;
  /**
   * Does everything up to where it begins.
   *
   * @param over to be called when it is over before `run` is.
   */
  readonly start: (driver: Driver, over: () => void) => Started;
}

/** An operation that is about to begin. */
export interface Started {
  /** Runs it. Gives the same answer whenever it succeeds. */
  readonly run: () => unknown;
  /**
   * What its caller does after it failed, which has to work; whether the fault was over with the call that
   * it struck. Default: run it again, for the same answer.
   */
  readonly retry?: (isOver: boolean) => void;
  /** What somebody else does between the two, which has to work too. */
  readonly meanwhile?: () => void;
  /** Brings the store to where anything can be done with it. */
  readonly settle?: () => void;
  /** Lets go of what `start` has opened besides the driver's store. */
  readonly end?: () => void;
  /** Whether something stays open beside the driver's store. */
  readonly keepsFiles?: boolean;
}

const SMALL_SEGMENTS = { segmentMaxBytes: 700 } as const;
/** The segment that is sealed is not full, so that one that could not be sealed is written to again. */
const HALF_FULL = { segmentMaxBytes: 1600 } as const;
const WITHOUT_INDEXES = { coldStart: { indexFile: false, footers: false } } as const;
const OTHER: DriverEvent = { entity: "user:2", scope: "shop", lane: 3 };
const COPIES = "/copies/one";
const SOURCE_DIR = "/source";
const CLOCK = new SimClock();
const KIND = EventKind.custom(0xc, 0x7);

/** Six events in three sealed segments and an active one. */
function fill(driver: Driver): void {
  driver.open();
  for (let n = 0; n < 6; n++) driver.append(n % 3 === 0 ? OTHER : { key: `filled ${n}` });
  driver.sync();
}

/** As {@linkcode fill}, and closed. */
function filled(driver: Driver): void {
  fill(driver);
  driver.close();
}

/** A few events in one segment, closed. */
function begun(driver: Driver): void {
  driver.open();
  driver.append({ key: "first" });
  driver.append(OTHER);
  driver.close();
}

/** What happens in an open store, when nothing else is needed. */
function within(
  run: (driver: Driver) => unknown,
  before: (driver: Driver) => void = () => {},
): Pick<SweptOperation, "start"> {
  return {
    start: (driver) => {
      driver.open();
      before(driver);
      return { run: () => run(driver) };
    },
  };
}

/** Opening, which is over before the driver looks around. */
const OPENING: Pick<SweptOperation, "start"> = {
  start: (driver, over) => ({ run: () => void driver.open(over) }),
};

function isOld({ globalSequence }: { readonly globalSequence: number }): boolean {
  return globalSequence < 4;
}

/** Has to fail, or what comes after is about nothing. */
function expectFailure(call: () => unknown): void {
  try {
    call();
  } catch {
    return;
  }
  throw new Error("Cannot go on from a failure that did not come");
}

/** A compaction has begun and not ended, or what comes after is about nothing. */
function assertPending(fs: SimFs): void {
  if (fs.stat(`${DRIVER_DIR}/compaction.pending`) === undefined) {
    throw new Error("Cannot go on from a compaction that is not there");
  }
}

/** Everything an event says. */
function lineOf(event: StoredEvent): string {
  const { globalSequence, entity, clock, kind, payloadBytes, eventHash } = event;
  const payload = payloadBytes === undefined ? "erased" : toHex(payloadBytes);
  return [globalSequence, entity, clock, kind, payload, toHex(eventHash)].join(" ");
}

/** Compacts, and tells of it what is durable. */
function compact(driver: Driver, options: CompactionOptions, steps = false): CompactionReport {
  const { store } = driver;
  const { strategy } = options;
  let sequences: number[] = [];
  if (strategy !== undefined && strategy.type !== "merge") {
    sequences = store.query().filter(isOld).map(({ globalSequence }) => globalSequence);
    driver.tell({ type: "erasing", sequences });
  }
  let report: CompactionReport | undefined;
  if (steps) {
    using compaction = store.compaction(options);
    for (let n = 0; compaction.step(); n++) if (n === 1) driver.append();
    report = compaction.report;
  } else report = store.compact(options);
  if (report === undefined) throw new Error("Cannot report a compaction that has no end");
  const isDurable = report.body.findings.every(({ type }) => type !== "CommitNotDurable");
  if (report.outcome === "performed" && isDurable) driver.tell({ type: "erased", sequences });
  return report;
}

/** Prunes, and tells of it what is durable. */
function prune(driver: Driver, options: PruneOptions): PruneReport {
  driver.tell({ type: "pruning", below: options.below });
  const report = driver.store.prune(options);
  const { outcome, firstSequence, body } = report;
  const isDurable = body.findings.every(({ type }) => type !== "CommitNotDurable");
  if (outcome === "performed" && isDurable) driver.tell({ type: "pruned", first: firstSequence });
  return report;
}

/** A compaction or prune. What its report says of the fault is thrown, as if it were an error. */
function lifecycle(
  run: (driver: Driver) => CompactionReport | PruneReport,
): Pick<SweptOperation, "start" | "errors" | "mayThrowIoFault" | "options" | "prepare"> {
  return {
    options: SMALL_SEGMENTS,
    prepare: filled,
    errors: ["COMPACTION", "IO", "WRITER_CRASHED"],
    mayThrowIoFault: true,
    start: (driver) => {
      driver.open();
      return {
        run: () => {
          const { outcome, cause, body } = run(driver);
          if (outcome === "failed" && cause !== undefined) throw cause;
          for (const { reason } of body.findings) throw reported(reason, "compact");
          return outcome;
        },
        // A segment that could not be sealed goes on.
        meanwhile: () => void driver.append(),
        retry: (isOver) => {
          try {
            assertNotFailed(run(driver));
          } catch (error) {
            // One that could be neither finished nor undone is settled by the next open.
            if (isOver || !(error instanceof CompactionError)) throw error;
            driver.store.close();
            driver.open();
            assertNotFailed(run(driver));
          }
        },
      };
    },
  };
}

function assertNotFailed({ outcome, reason }: CompactionReport | PruneReport): void {
  if (outcome === "failed") {
    throw new Error(`it failed once more, and nothing fails now: ${reason}`);
  }
}

/** A fault that was named in a report, which is as good as to throw it. */
function reported(reason: string, op: string): IoFault {
  const code = /: (E[A-Z]+) \(SimFs: /.exec(reason)?.[1];
  if (code === undefined) throw new Error(`"${reason}" does not name the fault`);
  return new IoFault({ code, op, path: "", message: "SimFs: reported" });
}

/** Appends to a lane whose clock is 0, in a group of this number. */
function appendTo(
  driver: Driver,
  options: Parameters<Store["append"]>[3],
  group: number,
): void {
  const payload = new TextEncoder().encode(`conditional ${group}`);
  const event = { entity: "user:1", scope: "app", lane: 0, kind: KIND as number, payload };
  driver.tell({ type: "submitted", group, events: [event] });
  try {
    const receipt = driver.store.append(event, KIND, payload, {
      ...options,
      payloadEncoding: "opaque",
    });
    driver.tell({
      type: "acknowledged",
      group,
      sequences: [receipt.globalSequence],
      receipts: [receipt],
    });
  } catch (error) {
    if (!(error instanceof WriterCrashedError)) driver.tell({ type: "refused", group });
    throw error;
  }
}

/** A journal to import from: five events in two segments. */
function source(fs: SimFs): void {
  using store = Store.open(SOURCE_DIR, {
    fs,
    clock: CLOCK,
    entropy: new SimEntropy(77),
    segmentMaxBytes: 700,
  });
  for (let n = 0; n < 5; n++) {
    store.append(
      { entity: "till:1", scope: "till" },
      KIND,
      new TextEncoder().encode(`sale ${n}`),
      { payloadEncoding: "opaque" },
    );
  }
}

/** Groups of an import have numbers of their own. */
const IMPORT_GROUP = 5000;
const PAGE_SIZE = 2;

/** An import that is told page by page. */
function importing(driver: Driver): Started {
  driver.open();
  const reader = Store.openReadOnly(SOURCE_DIR, { fs: driver.fs, clock: CLOCK });
  const submissions = reader.query({ scope: "till" }).map((
    { entity, scope, lane, kind, payloadBytes },
  ) => ({ entity, scope, lane, kind: kind as number, payload: payloadBytes! }));
  const groups: (typeof submissions)[] = [];
  for (let i = 0; i < submissions.length; i += PAGE_SIZE) {
    groups.push(submissions.slice(i, i + PAGE_SIZE));
  }
  reader.close();
  // Another one, that has read nothing yet.
  const again = Store.openReadOnly(SOURCE_DIR, { fs: driver.fs, clock: CLOCK });
  groups.forEach((events, i) =>
    driver.tell({ type: "submitted", group: IMPORT_GROUP + i, events })
  );
  let done = 0;
  const run = (): string => {
    const first = done;
    try {
      const { imported, deduplicated } = driver.store.importEvents(again, {
        namespace: "till",
        chunkSize: PAGE_SIZE,
        durability: "durable",
        onProgress: ({ pages, lastSequence }) => {
          for (; done < first + pages; done++) {
            const { length } = groups[done];
            const sequences = groups[done].map((_, i) => lastSequence! - length + 1 + i);
            driver.tell({ type: "acknowledged", group: IMPORT_GROUP + done, sequences });
          }
        },
      });
      return `${imported} of ${imported + deduplicated}`;
    } catch (error) {
      if (!(error instanceof WriterCrashedError)) {
        for (let i = done; i < groups.length; i++) {
          driver.tell({ type: "refused", group: IMPORT_GROUP + i });
        }
      }
      throw error;
    }
  };
  return { run, retry: () => void run(), end: () => again.close() };
}

/** A journal with a checkpoint at its third event, closed. */
function checkpointed(driver: Driver): void {
  driver.open();
  for (let n = 0; n < 4; n++) driver.append(n === 1 ? OTHER : {});
  const mailer = driver.bind("mailer", { scope: "app" });
  mailer.bound.cursor.pollBatch(2);
  mailer.commit();
  mailer.bound.close();
  driver.close();
}

/** A call about checkpoints that needs no store. */
function besideStore(run: (fs: SimFs, driver: Driver) => unknown): Pick<SweptOperation, "start"> {
  return { start: (driver) => ({ run: () => run(driver.fs, driver) }) };
}

/** What a reader does, beside a writer who has appended meanwhile. */
function reading(
  run: (reader: ReadOnlyStore) => unknown,
  meanwhile: (driver: Driver) => void = () => {},
): Pick<SweptOperation, "start" | "errors" | "prepare" | "options"> {
  return {
    options: SMALL_SEGMENTS,
    prepare: filled,
    errors: ["IO"],
    start: (driver) => {
      driver.open();
      driver.append({ key: "beside" });
      const reader = Store.openReadOnly(DRIVER_DIR, { fs: driver.fs, clock: CLOCK });
      meanwhile(driver);
      return { run: () => run(reader), end: () => reader.close() };
    },
  };
}

function linesOf(reader: JournalReader): string[] {
  return reader.query().map(lineOf);
}

/** All of them. */
export const SWEPT_OPERATIONS: readonly SweptOperation[] = [
  {
    name: "open, no directory",
    isWithoutDirectory: true,
    ...OPENING,
  },
  { name: "open, empty directory", ...OPENING },
  { name: "open after a close", options: SMALL_SEGMENTS, prepare: filled, ...OPENING },
  {
    name: "open by footers",
    options: { ...SMALL_SEGMENTS, coldStart: { indexFile: false, footers: true } },
    prepare: filled,
    ...OPENING,
  },
  {
    name: "open by frames",
    options: { ...SMALL_SEGMENTS, ...WITHOUT_INDEXES },
    prepare: filled,
    ...OPENING,
  },
  {
    name: "open, everything hashed",
    options: { ...SMALL_SEGMENTS, chainVerification: "recompute" },
    prepare: filled,
    ...OPENING,
  },
  {
    name: "open after a crash",
    prepare: (driver) => {
      begun(driver);
      driver.open();
      driver.append({ key: "crashed" });
      return driver.fs.crash("processKill");
    },
    ...OPENING,
  },
  {
    name: "open with a torn tail",
    involves: ["PersistTemp", "Resize"],
    prepare: (driver) => {
      begun(driver);
      driver.open();
      driver.append({ key: "whole" });
      driver.fs.armFaultOn("Write", 1, { partial: 150 });
      driver.fs.armFaultOn("Resize", 1, { sticky: true });
      expectFailure(() => driver.append({ key: "torn" }));
      driver.fs.assertAllFired();
      return driver.fs.crash("processKill");
    },
    ...OPENING,
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
    ...OPENING,
  },
  {
    name: "open after a crash behind the commit of a merge",
    involves: ["Remove"],
    options: SMALL_SEGMENTS,
    prepare: (driver) => {
      fill(driver);
      driver.fs.armFaultOn("Remove", 1, { sticky: true, path: "000002.fbat" });
      compact(driver, {});
      assertPending(driver.fs);
      driver.fs.assertAllFired();
      return driver.fs.crash("processKill");
    },
    ...OPENING,
  },
  {
    name: "open after a crash before the commit of a merge",
    involves: ["Rename", "Remove"],
    options: SMALL_SEGMENTS,
    prepare: (driver) => {
      fill(driver);
      // The first gives the original another name.
      driver.fs.armFaultOn("Rename", 2, { sticky: true, path: "000001.fbat" });
      expectFailure(() => compact(driver, {}));
      assertPending(driver.fs);
      driver.fs.assertAllFired();
      return driver.fs.crash("processKill");
    },
    ...OPENING,
  },
  {
    name: "open after a prune",
    options: SMALL_SEGMENTS,
    prepare: (driver) => {
      fill(driver);
      prune(driver, { below: 4 });
      return driver.fs.crash("processKill");
    },
    ...OPENING,
  },
  { name: "append", prepare: begun, ...within((driver) => void driver.append({ key: "a" })) },
  {
    name: "append, durable",
    prepare: begun,
    ...within(
      (driver) => void driver.append({ key: "a" }, "durable"),
      (driver) => driver.append({ key: "before" }),
    ),
  },
  {
    name: "append, larger than a step",
    prepare: begun,
    ...within((driver) => void driver.append({ key: "a", size: 90_000 })),
  },
  {
    name: "append, every one synced",
    options: { sync: { everyNEvents: 1 } },
    prepare: begun,
    ...within((driver) => void driver.append({ key: "a" })),
  },
  {
    name: "append at an expected clock",
    prepare: begun,
    ...within((driver) => appendTo(driver, { expectedClock: 0 }, 2000 + driver.fs.operationCount)),
  },
  {
    name: "append under a condition",
    prepare: begun,
    ...within((driver) =>
      appendTo(
        driver,
        { failIf: { region: { entity: "user:3" } }, durability: "durable" },
        2000 + driver.fs.operationCount,
      )
    ),
  },
  {
    name: "batch",
    prepare: begun,
    ...within((driver) => void driver.batch([{ key: "a" }, { ...OTHER, key: "b" }, { key: "c" }])),
  },
  {
    name: "batch, durable",
    prepare: begun,
    ...within((driver) => void driver.batch([{}, OTHER, {}], { durability: "durable" })),
  },
  {
    name: "batch that rolls",
    involves: ["PersistTemp"],
    options: SMALL_SEGMENTS,
    prepare: filled,
    ...within(
      (driver) => void driver.batch([{}, OTHER, {}]),
      (driver) => driver.batch([{}, {}]),
    ),
  },
  { name: "fence begin", prepare: begun, ...fenced((driver) => driver.beginFence(), () => {}) },
  {
    name: "fence stage",
    prepare: begun,
    ...fenced(
      (driver) => driver.stage([{ key: "a" }, { ...OTHER, key: "b" }]),
      (driver) => driver.beginFence(),
    ),
  },
  { name: "fence commit", prepare: begun, ...fenceEnd("commit") },
  { name: "fence cancel", prepare: begun, ...fenceEnd("cancel") },
  {
    name: "fence over segments",
    involves: ["PersistTemp"],
    options: SMALL_SEGMENTS,
    prepare: filled,
    ...fenceEnd("commit"),
  },
  {
    name: "sync",
    prepare: begun,
    ...within((driver) => driver.sync(), (driver) => driver.append({ key: "a" })),
  },
  {
    name: "sync with an index save",
    involves: ["PersistTemp"],
    options: { coldStart: { saveEveryNEvents: 1 }, ...SMALL_SEGMENTS },
    prepare: begun,
    ...within((driver) => driver.sync(), (driver) => {
      for (let n = 0; n < 4; n++) driver.append();
    }),
  },
  {
    name: "roll",
    options: SMALL_SEGMENTS,
    prepare: begun,
    involves: ["PersistTemp"],
    ...within(
      (driver) => void driver.append({ key: "a" }),
      (driver) => driver.append({ size: 700 }),
    ),
  },
  {
    name: "roll without footers",
    options: { ...SMALL_SEGMENTS, ...WITHOUT_INDEXES },
    prepare: begun,
    involves: ["PersistTemp"],
    ...within(
      (driver) => void driver.append({ key: "a" }),
      (driver) => driver.append({ size: 700 }),
    ),
  },
  { name: "close", options: SMALL_SEGMENTS, prepare: filled, ...closing(() => {}) },
  {
    name: "close after appends",
    prepare: begun,
    ...closing((driver) => driver.append({ key: "a" })),
  },
  {
    name: "close with a fence",
    prepare: begun,
    ...closing((driver) => {
      driver.beginFence();
      driver.stage([{ key: "a" }, { ...OTHER, key: "b" }]);
    }),
  },
  {
    name: "merge",
    involves: ["PersistTemp", "Rename", "Remove"],
    ...lifecycle((driver) => compact(driver, {})),
  },
  {
    name: "merge in steps",
    involves: ["PersistTemp", "Rename", "Remove"],
    ...lifecycle((driver) => compact(driver, { minSegments: 1, stepMaxBytes: 4096 }, true)),
  },
  ...(["tombstone", "retention"] as const).map((type): SweptOperation => ({
    name: type,
    ...lifecycle((driver) =>
      compact(driver, { strategy: { type, keep: (event) => !isOld(event) }, seal: true })
    ),
    options: HALF_FULL,
  })),
  {
    name: "seal and merge without footers",
    involves: ["PersistTemp", "Rename", "Remove"],
    ...lifecycle((driver) => compact(driver, { seal: true })),
    options: { ...HALF_FULL, ...WITHOUT_INDEXES },
  },
  {
    name: "prune",
    involves: ["PersistTemp", "Remove"],
    ...lifecycle((driver) => prune(driver, { below: 4 })),
  },
  {
    name: "prune once more",
    involves: ["PersistTemp", "Remove"],
    ...lifecycle((driver) => prune(driver, { below: 6, seal: true })),
    prepare: (driver) => {
      fill(driver);
      prune(driver, { below: 3 });
      driver.close();
    },
  },
  copying("snapshot", (store, target) => store.snapshot(target)),
  copying("fork, linked", (store, target) => store.fork(target, { share: "hardlink" })),
  copying("fork, copied", (store, target) => store.fork(target, { share: "copy" })),
  {
    name: "import",
    prepare: (driver) => {
      source(driver.fs);
      begun(driver);
    },
    start: importing,
  },
  {
    name: "cursor bind, first",
    prepare: begun,
    errors: ["IO", "CHECKPOINT_WRITE"],
    ...within((driver) => {
      using bound = bindCursor(driver.store, { scope: "app" }, "mailer");
      return bound.committed;
    }),
  },
  {
    name: "cursor bind",
    prepare: checkpointed,
    errors: ["IO", "CHECKPOINT_WRITE"],
    ...within((driver) => {
      using bound = bindCursor(driver.store, { scope: "app" }, "mailer");
      return [bound.committed, bound.cursor.pollBatch(9).map(lineOf)];
    }),
  },
  {
    name: "cursor commit",
    involves: ["PersistTemp"],
    prepare: checkpointed,
    errors: ["CHECKPOINT_WRITE"],
    start: (driver) => {
      driver.open();
      driver.append();
      const { bound, commit } = driver.bind("mailer", { scope: "app" });
      bound.cursor.pollBatch(2);
      return { run: commit, end: () => bound.close() };
    },
  },
  {
    name: "checkpoint save",
    prepare: checkpointed,
    errors: ["CHECKPOINT_WRITE"],
    ...besideStore((fs, driver) => {
      const region = { scope: "app" };
      const regionIdentity = Region.from(region).identity();
      driver.tell({ type: "checkpointing", id: "mailer", region, sequence: 1 });
      saveCheckpoint(DRIVER_DIR, "mailer", { position: 1, started: true, regionIdentity }, { fs });
      driver.tell({ type: "checkpointed", id: "mailer", sequence: 1 });
    }),
  },
  {
    name: "checkpoint load",
    prepare: checkpointed,
    errors: ["IO"],
    ...besideStore((fs) => loadCheckpoint(DRIVER_DIR, "mailer", { fs })),
  },
  {
    name: "checkpoint list",
    prepare: checkpointed,
    errors: ["IO"],
    ...besideStore((fs) =>
      listCheckpoints(DRIVER_DIR, { fs, consumers: true }).map((listing) => {
        if (listing.type === "broken") throw listing.error;
        return [listing.id, listing.checkpoint, listing.isBusy];
      })
    ),
  },
  {
    name: "checkpoint remove",
    prepare: checkpointed,
    errors: ["IO", "CHECKPOINT_WRITE"],
    start: (driver) => {
      const region = { scope: "app" };
      const remove = () => {
        driver.tell({ type: "checkpointing", id: "mailer", region, sequence: -1 });
        const wasThere = removeCheckpoint(DRIVER_DIR, "mailer", { fs: driver.fs });
        driver.tell({ type: "checkpointed", id: "mailer", sequence: -1 });
        return wasThere;
      };
      // The first may have removed it, and not be sure that it stays so.
      return { run: remove, retry: () => void remove() };
    },
  },
  {
    name: "read-only open",
    ...reading(() => {}),
    start: (driver) => {
      driver.open();
      driver.append({ key: "beside" });
      return {
        run: () => {
          using reader = Store.openReadOnly(DRIVER_DIR, { fs: driver.fs, clock: CLOCK });
          return linesOf(reader);
        },
      };
    },
  },
  {
    name: "read-only open by frames",
    ...reading(() => {}),
    start: (driver) => {
      driver.open();
      driver.append({ key: "beside" });
      return {
        run: () => {
          using reader = Store.openReadOnly(DRIVER_DIR, {
            fs: driver.fs,
            clock: CLOCK,
            ...WITHOUT_INDEXES,
          });
          return linesOf(reader);
        },
      };
    },
  },
  {
    name: "refresh",
    ...reading((reader) => {
      reader.refresh();
      return linesOf(reader);
    }, (driver) => {
      for (let n = 0; n < 3; n++) driver.append();
    }),
  },
  {
    name: "refresh after a merge",
    ...reading((reader) => {
      reader.refresh();
      return linesOf(reader);
    }, (driver) => void compact(driver, {})),
  },
  {
    name: "read after a merge",
    ...reading(
      (reader) => reader.query({ entity: "user:2" }).map(lineOf),
      (driver) => void compact(driver, {}),
    ),
  },
  { name: "query by a reader", ...reading(linesOf) },
  {
    name: "cursor of a reader",
    ...reading((reader) => {
      reader.refresh();
      return reader.cursor({ scope: "app" }).pollBatch(9).map(lineOf);
    }, (driver) => driver.append()),
  },
  {
    name: "frontier of a reader",
    ...reading((reader) => reader.frontier().visible.globalSequence),
  },
  {
    name: "query",
    options: { ...SMALL_SEGMENTS, fdBudget: 1 },
    prepare: filled,
    errors: ["IO"],
    ...within((driver) => linesOf(driver.store)),
  },
  {
    name: "get and at",
    options: SMALL_SEGMENTS,
    prepare: filled,
    errors: ["IO"],
    ...within(({ store }) => {
      const { eventId } = store.at(3)!;
      return [lineOf(store.get(eventId)!), lineOf(store.at(5)!), store.stats().diskBytes > 0];
    }),
  },
  {
    name: "verify",
    options: SMALL_SEGMENTS,
    prepare: filled,
    mayThrowIoFault: true,
    ...besideStore((fs) => {
      const { findings } = verifyJournal(DRIVER_DIR, { fs });
      // To name what could not be read is as good as to throw it.
      for (const { reason } of findings) throw reported(reason, "verify");
      return findings;
    }),
  },
];

/** Behind a fence; which ends before anything else is done. */
function fenced(
  run: (driver: Driver) => void,
  before: (driver: Driver) => void,
): Pick<SweptOperation, "start"> {
  return {
    start: (driver) => {
      driver.open();
      before(driver);
      return {
        run: () => run(driver),
        settle: () => driver.endFence("commit"),
      };
    },
  };
}

function fenceEnd(end: "commit" | "cancel"): Pick<SweptOperation, "start"> {
  return {
    start: (driver) => {
      driver.open();
      driver.beginFence();
      driver.stage([{ key: "a" }]);
      driver.stage([OTHER, {}]);
      return {
        run: () => driver.endFence(end),
        // One that is cancelled stays so: the store writes it before anything else.
        ...(end === "cancel" && { retry: () => {} }),
      };
    },
  };
}

function closing(before: (driver: Driver) => unknown): Pick<SweptOperation, "start"> {
  return {
    start: (driver) => {
      driver.open();
      before(driver);
      const { nextSequence } = driver.store.stats();
      return {
        run: () => {
          driver.store.close();
          driver.tell({ type: "durable", below: nextSequence });
        },
        retry: () => void driver.open(),
      };
    },
  };
}

/** A copy. After a fault that was over at once, the same target is free again. */
function copying(
  name: string,
  copy: (store: Store, target: string) => { readonly nextSequence: number },
): SweptOperation {
  const told = (driver: Driver, target: string): number => {
    driver.tell({ type: "copying", target });
    const { nextSequence: next } = copy(driver.store, target);
    driver.tell({ type: "copied", target, next });
    return next;
  };
  return {
    name,
    options: SMALL_SEGMENTS,
    prepare: filled,
    start: (driver) => {
      driver.open();
      driver.append({ key: "copied" });
      return {
        run: () => told(driver, COPIES),
        retry: (isOver) => {
          const { fs } = driver;
          const isLeft = fs.stat(COPIES) !== undefined && fs.list(COPIES).length > 0;
          if (isOver && isLeft) throw new Error(`${COPIES} is not empty, and nothing failed then`);
          told(driver, isLeft ? "/copies/two" : COPIES);
        },
      };
    },
  };
}
