// Spec simulation 3.12 and 3.13: forks and imports on disks that crash, lie and fill up. Crashes within
// them are the explorer's; what a hostile destination is refused for stands in journal_copy_test.ts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { StoreIoError } from "../store/errors.ts";
import { EventKind } from "../store/event_kind.ts";
import { Store } from "../store/store.ts";
import {
  classifyJournal,
  isLyingSeed,
  type RecoveryClass,
  runForkFault,
  runImportFault,
  runImportSameStore,
} from "./copy_faults.ts";
import { SimClock } from "./sim_clock.ts";
import { SimEntropy } from "./sim_entropy.ts";
import { SimFs } from "./sim_fs.ts";

const DIR = "/journal";
const COPY = "/copy";

function open(fs: SimFs, dir = DIR): Store {
  const entropy = new SimEntropy(dir.length);
  return Store.open(dir, { fs, clock: new SimClock(), entropy, segmentMaxBytes: 700 });
}

function fill(store: Store, count = 8): void {
  for (let n = 0; n < count; n++) {
    store.append({ entity: `user:${n}`, scope: "app" }, EventKind.DATA, { n, pad: "x".repeat(99) });
  }
}

test("a fork survives a power cut on an honest disk, whole and event by event", () => {
  for (let seed = 1; seed < 10; seed++) {
    if (isLyingSeed(seed)) continue;
    const { outcome, events, source } = runForkFault(seed);
    assert.deepEqual([outcome, events], ["committedPrefix", source]);
    // The open, and three events and more.
    assert.equal(source, 4 + seed % 5);
  }
});

test("D-14 D-6 what is left of a fork depends on the syncs that the disk has dropped", () => {
  // The reference takes a copy for durable at once: there, all seeds end the same.
  const outcomes = new Map<RecoveryClass, number>();
  for (let seed = 0; seed < 150; seed += 5) {
    const run = runForkFault(seed);
    assert.deepEqual(runForkFault(seed), run, `seed ${seed}`);
    outcomes.set(run.outcome, (outcomes.get(run.outcome) ?? 0) + 1);
  }
  assert.deepEqual([...outcomes.keys()].sort(), ["committedPrefix", "refused", "rolledBack"]);
});

test("an import that a crash cut short is completed by its repetition, whatever the disk has lost", () => {
  const counts = new Set<number>();
  for (let seed = 0; seed < 100; seed += 5) {
    const { source, target, deduplicated } = runImportFault(seed);
    assert.equal(target, source, `seed ${seed}`);
    counts.add(deduplicated);
  }
  // All had survived, some, and none.
  assert.ok(counts.has(0) && counts.has(4) && counts.size > 2, `${[...counts]}`);
  for (const seed of [6, 7, 8, 9]) {
    const { source, deduplicated } = runImportFault(seed);
    assert.equal(deduplicated, source);
  }
});

test("an import of pages whose sync was dropped finds those before, and adds the others", () => {
  const dropped = new Set([2, 3]);
  const { source, deduplicated } = runImportFault(195, { dropped });
  assert.deepEqual([source, deduplicated], [4, 2]);
  // A later sync makes durable what an earlier one has not.
  assert.equal(runImportFault(195, { dropped: new Set([0, 1, 2]) }).deduplicated, 4);
});

test("a journal that imports itself doubles once, whatever its size and that of its pages", () => {
  for (let seed = 0; seed < 12; seed++) {
    const { source, target, events } = runImportSameStore(seed);
    assert.deepEqual([source, target, events], [8 + seed, 16 + 2 * seed, 17 + 2 * seed]);
  }
});

test("a fork onto a disk that fills up in the middle is refused with ENOSPC, and publishes nothing", () => {
  const probe = new SimFs({ diskSize: 1 << 20 });
  const before = open(probe);
  fill(before);
  before.sync();
  const used = probe.usedSize;
  const { bytes } = before.planCopy(COPY);
  let refusals = 0;
  for (let free = 0;; free += 150) {
    const fs = new SimFs({ diskSize: used + free });
    const store = open(fs);
    fill(store);
    try {
      store.fork(COPY, { share: "copy" });
    } catch (error) {
      assert.ok(error instanceof StoreIoError, String(error));
      assert.equal(error.fault.code, "ENOSPC");
      refusals++;
      assert.equal(fs.stat(COPY), undefined, `${free} bytes free`);
      assert.equal(store.query({ scope: "app" }).length, 8);
      for (const image of fs.crashImages("reordered", { limit: 4 })) {
        assert.equal(classifyJournal(image, COPY).outcome, "rolledBack", `${free} bytes free`);
      }
      continue;
    }
    assert.ok(free >= bytes, `${bytes} bytes do not fit into ${free}`);
    assert.deepEqual(classifyJournal(fs.crash(), COPY), { outcome: "committedPrefix", events: 9 });
    break;
  }
  assert.equal(refusals, Math.ceil(bytes / 150));
});

test("classifyJournal() tells what is whole, what is nothing, and what does not open", () => {
  const fs = new SimFs();
  const store = open(fs);
  fill(store);
  store.close();
  const whole = { outcome: "committedPrefix", events: 10 };
  assert.deepEqual(classifyJournal(fs, DIR), whole);
  const nothing = { outcome: "rolledBack", events: 0 };
  assert.deepEqual(classifyJournal(fs, COPY), nothing);
  fs.createDirAll("/empty");
  assert.deepEqual(classifyJournal(fs, "/empty"), nothing);
  const marked = fs.withFile(`${DIR}/compaction.pending`, new TextEncoder().encode("FBATCP!"));
  assert.equal(classifyJournal(marked, DIR).outcome, "refused");
  const headless = fs.withFile(`${DIR}/000001.fbat`, undefined);
  assert.equal(classifyJournal(headless, DIR).outcome, "refused");
  // That is not what a crash leaves, so it is an error of whoever asks.
  assert.throws(() => classifyJournal(fs, `${DIR}/store.meta`), StoreIoError);
});
