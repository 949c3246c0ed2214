// Fences beside everything else a store does: cursors, compaction in steps, prunes, copies, imports, very
// large ones, and readers of real files.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs } from "../platform/memory.ts";
import { runtime } from "../platform/runtime.ts";
import { inTempDir } from "../tests/support/temp_dir.ts";
import { everyWay } from "../tests/support/every_way.ts";
import {
  DIR,
  item,
  KIND,
  openReader,
  openStore,
  payloadsOf,
  USER,
} from "../tests/support/journal.ts";
import type { CompactionOptions } from "./compaction/compaction.ts";
import { restoreBackup } from "./copies/backup.ts";
import { FenceActiveError } from "./fence.ts";
import { Store } from "./store.ts";
import type { StoredEvent } from "./stored_event.ts";

const GAPS = { kind: "enabled", capacity: 8 } as const;

/** Stages these payloads behind a fence and cancels it. Returns the sequences they have. */
function cancelled(store: Store, payloads: readonly unknown[], lane = 0): number[] {
  const fence = store.beginFence();
  const tickets = payloads.map((payload) => fence.append(USER, KIND, payload, { lane }));
  fence.cancel();
  return tickets.map(({ globalSequence }) => globalSequence);
}

// ---- Cursors ----

test("C-08 a cursor that takes one at a time goes past a cancelled fence, and never gets stuck", () => {
  using store = openStore(new MemoryFs());
  const cursor = store.cursor({ entity: USER.entity });
  store.append(USER, KIND, "before");
  cancelled(store, [1, 2, 3]);
  assert.equal(cursor.pollBatch(1)[0]?.payload, "before");
  assert.equal(cursor.pollBatch(1).length, 0);
  store.append(USER, KIND, "after");
  assert.equal(cursor.pollBatch(1)[0]?.payload, "after");
  assert.equal(cursor.poll(), undefined);
});

test("C-16 C-17 a real cancelled fence is one gap, for a cursor that observes them", () => {
  using store = openStore(new MemoryFs());
  const region = { entity: USER.entity };
  const observing = store.cursor(region, { gaps: GAPS });
  const plain = store.cursor(region);
  const first = store.append(USER, KIND, 1).globalSequence;
  const [hidden] = cancelled(store, [2]);
  const last = store.append(USER, KIND, 3).globalSequence;
  for (const cursor of [observing, plain]) {
    assert.deepEqual(cursor.pollBatch(10).map(({ payload }) => payload), [1, 3]);
  }
  assert.deepEqual(observing.takeGaps(), [{
    expectedSequence: first + 1,
    deliveredSequence: last,
    cancelledRanges: [{ start: hidden, end: hidden + 1 }],
  }]);
  assert.deepEqual(observing.takeGaps(), []);
  assert.deepEqual(plain.takeGaps(), []);
});

test("C-18 C-20 of two holes a capacity of 1 keeps the newer; lane 0 explains one by an event of lane 1", () => {
  using store = openStore(new MemoryFs());
  store.append(USER, KIND, 1);
  cancelled(store, [2]);
  store.append(USER, KIND, 3);
  const [hidden] = cancelled(store, [4], 1);
  store.append(USER, KIND, 5);
  const region = { entity: USER.entity, lane: 0 };
  const cursor = store.cursor(region, { gaps: { kind: "enabled", capacity: 1 } });
  assert.equal(cursor.pollBatch(10).length, 3);
  const [gap, ...more] = cursor.takeGaps();
  assert.deepEqual(gap.cancelledRanges, [{ start: hidden, end: hidden + 1 }]);
  assert.deepEqual(more, []);
});

test("a cursor gives what a fence staged at its commit, all of it and in order, and wakes once", async () => {
  using store = openStore(new MemoryFs(), { clock: runtime.clock });
  const cursor = store.cursor({ entity: USER.entity });
  const fence = store.beginFence();
  fence.append(USER, KIND, 1);
  const pulled = cursor.pullBatch(10, { timeoutMs: 20_000 });
  fence.appendBatch([item(2), item(3)]);
  assert.equal(cursor.poll(), undefined);
  fence.commit();
  const batch = await pulled;
  assert.equal(batch.kind, "many");
  if (batch.kind !== "many") return;
  assert.deepEqual(batch.items.map(({ payload }) => payload), [1, 2, 3]);
});

test("X-06 a cursor, a query and a walk begun before a fence never see what it cancelled", () => {
  using store = openStore(new MemoryFs());
  for (const n of [1, 2]) store.append(USER, KIND, n);
  const walks = [store.events({ kind: KIND }), store.byEntity(USER.entity)];
  const [first, second] = walks.map((walk) => walk.next().value?.payload);
  assert.deepEqual([first, second], [1, 1]);
  cancelled(store, [3]);
  store.append(USER, KIND, 4);
  for (const walk of walks) assert.ok(![...walk].some(({ payload }) => payload === 3));
});

// ---- What the log says alone ----

test("X-11 X-12 the log alone says what is hidden: there is no file beside it", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { segmentMaxBytes: 700 });
  const seen: unknown[] = [];
  // Side by side, empty ones among them, and on lanes of their own.
  for (let n = 0; n < 6; n++) {
    cancelled(store, n % 3 === 0 ? [] : [n, n], n % 2);
    if (n % 2 === 0) seen.push(store.append(USER, KIND, `seen ${n}`) && `seen ${n}`);
  }
  store.close();
  const strange = fs.list(DIR).map(({ name }) => name)
    .filter((name) => !/^(\d{6}\.fbat|store\.meta|\.batpak\.lock)$/.test(name));
  assert.deepEqual(strange, []);
  everyWay(fs, (reader, way) => {
    assert.deepEqual(payloadsOf(reader), seen, way);
    assert.equal(reader.stats().cancelledCount, 8, way);
  });
});

test("X-10 only what stands behind the fence is hidden", () => {
  using store = openStore(new MemoryFs());
  const before = store.append(USER, KIND, "before");
  const fence = store.beginFence();
  assert.equal(fence.firstSequence, before.globalSequence + 2, "behind the begin");
  fence.append(USER, KIND, "replayed", { idempotencyKey: "k" });
  fence.cancel();
  const hidden = store.query().map(({ globalSequence }) => globalSequence);
  assert.deepEqual(hidden, [0, 1, 2, 4]);
});

test("X-13 an array that was never appended leaves nothing; one that is, lands whole, again and again", () => {
  using store = openStore(new MemoryFs());
  const fence = store.beginFence();
  assert.deepEqual(fence.appendBatch([]), []);
  assert.equal(fence.stagedCount, 0);
  fence.appendBatch([item(1), item(2)]);
  fence.appendBatch([item(3)]);
  assert.deepEqual(fence.commit().map(({ clock }) => clock), [0, 1, 2]);
  assert.deepEqual(store.appendBatch([]), []);
  assert.deepEqual(payloadsOf(store), [1, 2, 3]);
});

// ---- Compaction, prune, copies, import ----

const STRATEGIES: readonly (readonly [string, CompactionOptions])[] = [
  ["merge", {}],
  ["tombstone", { strategy: { type: "tombstone", keep: ({ payload }) => payload !== "old 3" } }],
  ["retention", { strategy: { type: "retention", keep: ({ payload }) => payload !== "old 3" } }],
];

for (const [name, options] of STRATEGIES) {
  for (const end of ["commit", "cancel", "crash"] as const) {
    test(`a fence begins in the middle of a compaction in steps, and ends in ${end}: ${name}`, () => {
      const fs = new MemoryFs();
      const store = openStore(fs, { segmentMaxBytes: 700 });
      for (let n = 0; n < 8; n++) {
        store.append(USER, KIND, `old ${n}`);
        cancelled(store, [`gone ${n}`]);
      }
      let fence;
      const compaction = store.compaction({
        minSegments: 1,
        stepMaxBytes: 4096,
        mergedSegmentMaxBytes: 1500,
        ...options,
      });
      let steps = 0;
      const staged: unknown[] = [];
      while (compaction.step()) {
        if (steps++ === 1) fence = store.beginFence();
        if (fence !== undefined && staged.length < 9) {
          fence.append(USER, KIND, `staged ${steps}`);
          staged.push(`staged ${steps}`);
        }
        assert.ok(!payloadsOf(store).some((payload) => /gone|staged/.test(String(payload))));
      }
      assert.equal(compaction.finish().outcome, "performed");
      assert.ok(staged.length > 3, `${steps} steps`);
      const old = store.query({ kind: KIND }).map(({ payload }) => payload);
      assert.equal(old.length, name === "retention" ? 7 : 8);
      if (end === "crash") {
        const left = fs.snapshot();
        everyWay(left, (reader, way) => assert.deepEqual(payloadsOf(reader), old, way));
      } else {
        fence?.[end]();
        const all = end === "commit" ? [...old, ...staged] : old;
        assert.deepEqual(payloadsOf(store), all);
        store.compact({ minSegments: 1, seal: true });
        assert.deepEqual(payloadsOf(store), all);
        store.close();
        everyWay(fs, (reader, way) => assert.deepEqual(payloadsOf(reader), all, way));
      }
    });
  }
}

for (const type of ["tombstone", "retention"] as const) {
  test(`what a fence has staged is neither counted nor judged by a compaction: ${type}`, () => {
    // A compaction in steps is refused while a fence is open, but a fence could begin before its first
    // step: staged events then took the place of visible ones in a limit, and rules were asked about them.
    for (const rule of ["limit", "predicate"] as const) {
      const fs = new MemoryFs();
      const store = openStore(fs, { segmentMaxBytes: 600 });
      for (const n of [1, 2, 3]) store.append(USER, KIND, n);
      const asked: unknown[] = [];
      const keep = rule === "limit" ? { maxCount: 3 } : (event: StoredEvent) => {
        asked.push(event.payload);
        return typeof event.payload === "number";
      };
      const options = { strategy: { type, keep }, minSegments: 1, seal: true };
      const compaction = store.compaction(options);
      const fence = store.beginFence();
      for (let n = 0; n < 6; n++) fence.append(USER, KIND, `staged ${n}`);
      using reader = openReader(fs);
      assert.equal(reader.planCompaction({ ...options, seal: false }).eventsErased, 0);
      compaction.finish();
      assert.deepEqual(payloadsOf(store), [1, 2, 3]);
      assert.ok(!asked.some((payload) => typeof payload === "string"), asked.join());
      const receipts = fence.commit();
      assert.equal(payloadsOf(store).length, 9);
      assert.ok(store.query({ kind: KIND }).every(({ isErased }) => !isErased));
      for (const receipt of receipts) assert.equal(store.verifyReceipt(receipt).valid, true);
      store.close();
      everyWay(fs, (reader, way) => assert.equal(payloadsOf(reader).length, 9, way));
    }
  });
}

test("X-07 a prune in the same handle keeps what is hidden hidden, and counts what is left", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { segmentMaxBytes: 600 });
  for (let n = 0; n < 6; n++) {
    store.append(USER, KIND, n);
    cancelled(store, [`gone ${n}`]);
  }
  const cursor = store.cursor({ kind: KIND }, { gaps: GAPS });
  store.prune({ below: 12, seal: true });
  const left = payloadsOf(store);
  assert.ok(left.length > 0 && left.length < 6);
  assert.deepEqual(cursor.pollBatch(10).map(({ payload }) => payload), left);
  const { cancelledCount } = store.stats();
  const clock = store.headClock(USER.entity);
  const frontier = store.frontier().visible.globalSequence;
  store.close();
  using again = openStore(fs);
  assert.equal(again.stats().cancelledCount, cancelledCount);
  assert.equal(again.headClock(USER.entity), clock);
  assert.ok(again.frontier().visible.globalSequence > frontier);
  everyWay(fs.snapshot(), (reader, way) => assert.deepEqual(payloadsOf(reader), left, way));
});

test("X-08 snapshots, forks, backups and imports carry what is seen, and keep hidden what is not", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { segmentMaxBytes: 700 });
  for (let n = 0; n < 5; n++) {
    store.append(USER, KIND, n);
    cancelled(store, [`gone ${n}`]);
    const fence = store.beginFence();
    fence.append(USER, KIND, `both ${n}`);
    fence.commit();
  }
  const seen = payloadsOf(store);
  store.snapshot("snapshot");
  store.fork("fork", { share: "hardlink" });
  store.backup("backup");
  restoreBackup("backup", "restored", { fs });
  for (const dir of ["snapshot", "fork", "restored"]) {
    using copy = Store.open(dir, { fs });
    assert.deepEqual(payloadsOf(copy), seen, dir);
    assert.equal(copy.stats().cancelledCount, 5, dir);
  }
  using target = openStore(new MemoryFs(), { entropy: runtime.entropy });
  const fence = target.beginFence();
  assert.throws(() => target.importEvents(store), FenceActiveError);
  fence.cancel();
  target.importEvents(store);
  assert.deepEqual(payloadsOf(target), seen);
  // A reader may copy what has an open fence in it.
  const open = store.beginFence();
  open.append(USER, KIND, "open");
  using reader = openReader(fs);
  reader.backup("open backup");
  restoreBackup("open backup", "open restored", { fs });
  open.commit();
  using restored = Store.open("open restored", { fs });
  assert.deepEqual(payloadsOf(restored), seen);
  assert.match(restored.openReport.oddities.join(), /cancelled a fence/);
  store.close();
});

test("headClock() counts what is staged and what was cancelled, by every way to open", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { segmentMaxBytes: 600 });
  assert.equal(store.headClock(USER.entity), "none");
  cancelled(store, [1, 2], 3);
  const fence = store.beginFence();
  fence.append(USER, KIND, 3, { expectedClock: "none" });
  assert.equal(store.headClock(USER.entity), 0);
  assert.equal(store.headClock(USER.entity, 3), 1);
  assert.throws(() => store.headClock(USER.entity, -1), RangeError);
  everyWay(fs.snapshot(), (reader, way) => {
    assert.equal(reader.headClock(USER.entity), 0, way);
    assert.equal(reader.headClock(USER.entity, 3), 1, way);
    assert.equal(reader.latest(USER.entity), undefined, way);
  });
  fence.commit();
  assert.equal(store.append(USER, KIND, 4, { expectedClock: 0 }).clock, 1);
  assert.equal(store.append(USER, KIND, 4, { lane: 3, expectedClock: 1 }).clock, 2);
  store.close();
});

// ---- Code of the caller in the middle of it ----

test("code of the caller that cancels its fence, or closes the store, in an append through it", () => {
  for (const end of ["cancel", "close"] as const) {
    const fs = new MemoryFs();
    const store = openStore(fs);
    const fence = store.beginFence();
    const ticket = fence.append(USER, KIND, 1);
    const ending = {
      get now() {
        if (fence.state === "open") end === "cancel" ? fence.cancel() : store.close();
        return 1;
      },
    };
    const code = end === "cancel" ? "FENCE_NOT_ACTIVE" : "STORE_CLOSED";
    assert.throws(() => fence.append(USER, KIND, ending), { code });
    assert.throws(() => ticket.receipt, { code: "FENCE_CANCELLED" });
    if (end === "cancel") store.append(USER, KIND, 2);
    if (end === "cancel") store.close();
    everyWay(fs, (reader, way) => {
      assert.deepEqual(payloadsOf(reader), end === "cancel" ? [2] : [], way);
    });
  }
});

// ---- Very large ----

test("a fence of 50,000 events over many segments is there at once, and not before", () => {
  const fs = new MemoryFs();
  const options = { segmentMaxBytes: 1 << 20, coldStart: { indexFile: true, footers: true } };
  const store = openStore(fs, options);
  for (const end of ["cancel", "commit"] as const) {
    const fence = store.beginFence();
    const items = Array.from({ length: 250 }, (_, n) => item(n, { entity: `e:${n % 50}` }));
    for (let n = 0; n < 200; n++) fence.appendBatch(items);
    assert.equal(store.query({ kind: KIND }).length, 0);
    assert.equal(store.latest("e:1"), undefined);
    assert.equal(store.stats().stagedCount, 50_000);
    if (end === "cancel") fence.cancel();
    else assert.equal(fence.commit().length, 50_000);
  }
  assert.ok(store.stats().segmentCount > 10);
  const counts = (reader: Store | ReturnType<typeof openReader>) => [
    reader.query({ kind: KIND }).length,
    reader.stats().cancelledCount,
    reader.stats().stagedCount,
  ];
  assert.deepEqual(counts(store), [50_000, 50_000, 0]);
  const fence = store.beginFence();
  for (let n = 0; n < 200; n++) fence.appendBatch([item(n)]);
  assert.deepEqual(counts(openReader(fs.snapshot())), [50_000, 50_000, 200]);
  store.close();
  for (const coldStart of [{ indexFile: false, footers: false }, { indexFile: false }, {}]) {
    using again = openStore(fs.snapshot(), { ...options, coldStart });
    assert.deepEqual(counts(again), [50_000, 50_200, 0]);
  }
});

// ---- Real files ----

test("a reader of real files beside fences sees whole ones, over rolls, and never a cancelled one", () =>
  inTempDir((dir) => {
    const store = Store.open(dir, { segmentMaxBytes: 4096, sync: { everyNEvents: 0 } });
    using reader = Store.openReadOnly(dir);
    const cursor = reader.cursor({ kind: KIND });
    const seen: unknown[] = [];
    const followed: unknown[] = [];
    for (let n = 0; n < 40; n++) {
      const fence = store.beginFence();
      const size = 1 + n % 7;
      for (let k = 0; k < size; k++) {
        fence.append(USER, KIND, { n, k });
        if (k % 2 === 0) reader.refresh();
        assert.equal(reader.query({ kind: KIND }).length, seen.length);
      }
      if (n % 3 === 0) fence.cancel();
      else {
        fence.commit();
        for (let k = 0; k < size; k++) seen.push({ n, k });
      }
      reader.refresh();
      assert.deepEqual(payloadsOf(reader), seen);
      followed.push(...cursor.pollBatch(100).map(({ payload }) => payload));
      if (n === 20) store.compact({ minSegments: 1, seal: true });
    }
    assert.deepEqual(followed, seen);
    store.close();
  }));
