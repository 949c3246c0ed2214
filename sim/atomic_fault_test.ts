// Requirement document 004: every change that must be atomic goes through the file system that the store was
// given, succeeds on an honest one, and surfaces the fault that a faulty one was armed with; with nothing
// lost. What becomes visible is decided by an event in the log here, so its persist is that of a fence's end.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CheckpointId } from "../delivery/checkpoint_id.ts";
import { CheckpointWriteError, loadCheckpoint, saveCheckpoint } from "../delivery/checkpoint.ts";
import { EventKind } from "../store/event_kind.ts";
import { StoreIoError } from "../store/errors.ts";
import { FenceCancelledError } from "../store/fence.ts";
import { NO_HASH } from "../store/frame.ts";
import { EventIndex } from "../store/index/event_index.ts";
import { INDEX_FILE_NAME, publishIndexFile } from "../store/index/index_file.ts";
import { Store } from "../store/store.ts";
import type { StoreOptions } from "../store/store_options.ts";
import { verifyJournal } from "../store/verify.ts";
import { censusOf } from "../tests/support/journal_checks.ts";
import { SimClock } from "./sim_clock.ts";
import { SimEntropy } from "./sim_entropy.ts";
import type { SimFaultOptions, SimOp } from "./sim_faults.ts";
import { SimFs } from "./sim_fs.ts";
import { digestTree } from "./sim_trace.ts";

const DIR = "/journal";
const KIND = EventKind.custom(0xC, 0x3);
const USER = { entity: "user:1", scope: "scope:atomic-fault" };
let opens = 0;

function open(fs: SimFs, options: StoreOptions = {}): Store {
  // No two lives of a journal draw the same ids.
  const entropy = new SimEntropy(opens++);
  return Store.open(DIR, { fs, clock: new SimClock(), entropy, ...options });
}

/** The steps of a publication that come before the file has its final name. */
const BEFORE_THE_NAME: readonly [SimOp, SimFaultOptions][] = [
  ["PersistTemp", {}],
  ["Stage", {}],
  ["CreateNew", {}],
  ["Write", {}],
  ["Write", { partial: 3, code: "ENOSPC" }],
  ["Sync", { sync: "lost" }],
  ["Sync", { sync: "reverted" }],
  ["RejectSymlink", {}],
  ["Rename", {}],
];

function namesIn(fs: SimFs, dir: string): string[] {
  return fs.list(dir).map(({ name }) => name);
}

test("S004-1 a fence's end persists on an honest disk, whatever a crash takes", () => {
  for (const end of ["commit", "cancel"] as const) {
    const fs = new SimFs({ seed: 0xA70C0DE });
    const store = open(fs);
    const fence = store.beginFence();
    fence.append(USER, KIND, { n: 1 });
    fence.append(USER, KIND, { n: 2 });
    fence[end]();
    if (end === "cancel") store.sync();
    const count = end === "commit" ? 2 : 0;
    assert.equal(store.query({ kind: KIND }).length, count);
    const after = open(fs.crash());
    assert.equal(after.query({ kind: KIND }).length, count);
    assert.equal(after.frontier().visible.globalSequence, after.stats().nextSequence - 1);
    after.close();
  }
});

test("S004-2 the same with its write faulted is IO, and the fence is still to be ended", () => {
  const fs = new SimFs({ seed: 0xA70C0DE });
  const store = open(fs);
  const fence = store.beginFence();
  const ticket = fence.append(USER, KIND, { n: 1 });
  fs.armFaultOn("Write");
  assert.throws(() => fence.commit(), (error) => {
    assert.ok(error instanceof StoreIoError);
    assert.equal(error.code, "IO");
    assert.match(error.message, /SimFs: injected fault on Write/);
    return true;
  });
  fs.assertAllFired();
  assert.equal(fs.faultsFired, 1);
  assert.equal(store.query({ kind: KIND }).length, 0);
  // A crash now cancels it, and a retry commits it.
  const [image] = fs.crashImages("processKill");
  const other = open(image);
  assert.equal(other.query({ kind: KIND }).length, 0);
  other.close();
  fence.commit();
  assert.equal(store.get(ticket.receipt!.eventId)?.globalSequence, ticket.receipt!.globalSequence);
  assert.equal(open(fs.crash()).query({ kind: KIND }).length, 1);
});

test("S004-2 a cancel whose write fails says IO, and counts all the same", () => {
  const fs = new SimFs();
  const store = open(fs);
  const fence = store.beginFence();
  const ticket = fence.append(USER, KIND, { n: 1 });
  fs.armFaultOn("Write");
  assert.throws(() => fence.cancel(), StoreIoError);
  fs.assertAllFired();
  assert.throws(() => ticket.receipt, FenceCancelledError);
  store.append(USER, KIND, { n: 2 }, { durability: "durable" });
  const after = open(fs.crash());
  assert.deepEqual(after.query({ kind: KIND }).map(({ payload }) => payload), [{ n: 2 }]);
});

const CHECKPOINT_ID = CheckpointId.parse("atomic-fault-checkpoint");
const CHECKPOINT = {
  position: 7,
  started: true,
  processBootNs: null,
  regionIdentity: "region:atomic-fault",
  eventId: null,
};

test("S004-3 a cursor checkpoint persists, whatever a crash takes", () => {
  const fs = new SimFs();
  fs.createDirAll(DIR);
  saveCheckpoint(DIR, CHECKPOINT_ID, CHECKPOINT, { fs });
  assert.deepEqual(loadCheckpoint(DIR, CHECKPOINT_ID, { fs: fs.crash() }), CHECKPOINT);
});

test("S004-4 the same with a step of it faulted fails, and leaves the old one, or none", () => {
  for (const [op, options] of BEFORE_THE_NAME) {
    for (const old of [undefined, { ...CHECKPOINT, position: 5 }]) {
      const fs = new SimFs({ seed: 0xC4EC4001 });
      fs.createDirAll(DIR);
      if (old !== undefined) saveCheckpoint(DIR, CHECKPOINT_ID, old, { fs });
      // Its lock is a file too, but it is no part of what is published.
      const path = op === "Stage" || op === "CreateNew" || op === "Write" || op === "Sync"
        ? undefined
        : ".ckpt";
      fs.armFaultOn(op, 1, { ...options, path });
      assert.throws(() => saveCheckpoint(DIR, CHECKPOINT_ID, CHECKPOINT, { fs }), (error) => {
        assert.ok(
          error instanceof CheckpointWriteError || error instanceof StoreIoError,
          `${error}`,
        );
        assert.match(error.message, new RegExp(`injected fault on ${op}`));
        return true;
      });
      fs.assertAllFired();
      const files = namesIn(fs, `${DIR}/cursors`).filter((name) => !name.endsWith(".lock"));
      assert.deepEqual(files, old === undefined ? [] : [`${CHECKPOINT_ID}.ckpt`], op);
      for (const image of fs.crashImages("reordered")) {
        assert.deepEqual(loadCheckpoint(DIR, CHECKPOINT_ID, { fs: image }), old, op);
      }
      saveCheckpoint(DIR, CHECKPOINT_ID, CHECKPOINT, { fs });
      assert.deepEqual(loadCheckpoint(DIR, CHECKPOINT_ID, { fs: fs.crash() }), CHECKPOINT);
    }
  }
});

test("S004-4 a directory that could not be made durable is before the checkpoint in it is", () => {
  // Where the sync above a new `cursors/` had failed, the next checkpoint found the directory there and
  // relied on it: a power cut took both. An empty directory counts as new now (seed 20).
  for (const sync of ["failed", "cut off"] as const) {
    let fs = new SimFs();
    fs.createDirAll(`${DIR}/other`);
    fs.armFaultOn("SyncDir", 1, { path: DIR });
    assert.throws(
      () => saveCheckpoint(DIR, CHECKPOINT_ID, CHECKPOINT, { fs }),
      CheckpointWriteError,
    );
    fs.assertAllFired();
    // The same after a kill between the two calls.
    if (sync === "cut off") fs = fs.crash("processKill");
    assert.deepEqual(namesIn(fs, `${DIR}/cursors`), []);
    saveCheckpoint(DIR, CHECKPOINT_ID, CHECKPOINT, { fs });
    assert.deepEqual(loadCheckpoint(DIR, CHECKPOINT_ID, { fs: fs.crash() }), CHECKPOINT, sync);
  }
});

/** Sixteen events of sixteen entities, several segments of them sealed, all synced. */
function filled(seed: number): { fs: SimFs; store: Store } {
  const fs = new SimFs({ seed });
  const store = open(fs, { sync: { everyNEvents: 1 }, segmentMaxBytes: 512 });
  for (let n = 0; n < 16; n++) {
    const coordinate = { entity: `entity-${n}`, scope: "scope:atomic-fault" };
    store.append(coordinate, KIND, { n, pad: "xxxxxxxxxxxxxxxx" });
  }
  store.sync();
  return { fs, store };
}

const MERGE = { strategy: { type: "merge" }, minSegments: 2 } as const;

test("S004-5 on an honest disk, sixteen events in segments of 512 bytes are merged", () => {
  const { fs, store } = filled(0x50430001);
  const census = censusOf(store);
  const renames = fs.operationsSeen("Rename");
  assert.equal(store.compact(MERGE).outcome, "performed");
  assert.ok(fs.operationsSeen("Rename") - renames >= 3, "the swap renames");
  assert.deepEqual(censusOf(store), census);
  const after = open(fs.crash());
  assert.deepEqual(censusOf(after).slice(0, census.length), census);
});

test("S004-6 S004-7 with any of its renames faulted, it is a failure that names it; nothing is lost", () => {
  const { store: probe, fs: probeFs } = filled(0x50430002);
  const before = probeFs.operationsSeen("Rename");
  probe.compact(MERGE);
  // The last one is the commit: of the marker, of the first source, of the merged segment.
  assert.equal(probeFs.operationsSeen("Rename") - before, 3);
  for (let nth = 1; nth <= 3; nth++) {
    const { fs, store } = filled(0x50430002);
    const census = censusOf(store);
    fs.armFaultOn("Rename", nth);
    const report = store.compact(MERGE);
    fs.assertAllFired();
    assert.equal(fs.faultsFired, 1);
    assert.equal(report.outcome, "failed");
    assert.match(report.reason ?? "", /SimFs: injected fault on Rename/);
    assert.deepEqual(censusOf(store), census);
    assert.equal(verifyJournal(DIR, { fs }).findingCount, 0);
    for (const image of fs.crashImages("reordered")) {
      const after = open(image);
      assert.deepEqual(censusOf(after).slice(0, census.length), census, `rename ${nth}`);
      after.close();
    }
    assert.equal(store.compact(MERGE).outcome, "performed");
    const after = open(fs.crash());
    assert.deepEqual(censusOf(after).slice(0, census.length), census);
  }
});

/** The index file of a journal without events. */
function publishEmptyIndex(fs: SimFs): void {
  const segment = { id: 1, firstRow: 0, framesStart: 192, end: 192, headerCrc: 0 };
  const journal = {
    storeId: new Uint8Array(16),
    firstSequence: 0,
    lastTimestampUs: 0,
    lastHash: NO_HASH,
    segments: [segment],
  };
  publishIndexFile(fs, DIR, journal, new EventIndex());
}

test("S004-8 the index file of an empty index persists, whatever a crash takes", () => {
  const fs = new SimFs();
  fs.createDirAll(DIR);
  publishEmptyIndex(fs);
  const digest = digestTree(fs);
  assert.deepEqual(namesIn(fs, DIR), [INDEX_FILE_NAME]);
  assert.equal(digestTree(fs.crash()), digest);
});

test("S004-9 the same with a step of it faulted fails, and leaves the old one, or none", () => {
  for (const [op, options] of BEFORE_THE_NAME) {
    for (const old of [undefined, new Uint8Array(10)]) {
      const fs = new SimFs({ seed: 0xC4EC9001 });
      fs.createDirAll(DIR);
      if (old !== undefined) fs.publish(`${DIR}/${INDEX_FILE_NAME}`, old);
      const before = digestTree(fs);
      fs.armFaultOn(op, 1, options);
      const message = new RegExp(`injected fault on ${op}`);
      const code = options.code ?? "EIO";
      assert.throws(() => publishEmptyIndex(fs), { name: "IoFault", code, message });
      fs.assertAllFired();
      assert.equal(digestTree(fs), before, op);
      for (const image of fs.crashImages("durable")) assert.equal(digestTree(image), before, op);
      publishEmptyIndex(fs);
      assert.ok(fs.stat(`${DIR}/${INDEX_FILE_NAME}`)!.size > 10);
    }
  }
});

test("S004-9 a close that cannot save its index has lost nothing", () => {
  const fs = new SimFs({ seed: 0xC4EC9001 });
  const store = open(fs);
  for (let n = 0; n < 5; n++) store.append(USER, KIND, { n });
  fs.armFaultOn("PersistTemp", 1, { path: INDEX_FILE_NAME });
  store.close();
  fs.assertAllFired();
  const after = open(fs.crash());
  assert.equal(after.openReport.indexFile, "missing");
  assert.deepEqual(after.query({ kind: KIND }).map(({ payload }) => payload), [
    { n: 0 },
    { n: 1 },
    { n: 2 },
    { n: 3 },
    { n: 4 },
  ]);
});

test("S004-10 faults armed on a store in use count from then on, from 1, for each operation", () => {
  const fs = new SimFs();
  const store = open(fs);
  for (let n = 0; n < 5; n++) store.append(USER, KIND, n);
  assert.equal(fs.operationsSeen("Write"), 8);
  fs.armFaultOn("Write", 3);
  assert.equal(fs.operationsSeen("Write"), 0);
  // Syncs are counted apart.
  for (let n = 5; n < 7; n++) store.append(USER, KIND, n, { durability: "durable" });
  assert.throws(() => store.append(USER, KIND, 7), /injected fault on Write/);
  store.append(USER, KIND, 8);
  fs.assertAllFired();
  assert.equal(fs.faultsFired, 1);
  assert.deepEqual(
    store.query({ kind: KIND }).map(({ payload }) => payload),
    [0, 1, 2, 3, 4, 5, 6, 8],
  );
});
