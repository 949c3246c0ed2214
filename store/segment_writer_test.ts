import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { IoFault, type StoreFs, type SyncMode } from "../platform/fs.ts";
import { MemoryFs, type MemoryOp } from "../platform/memory.ts";
import { runtime } from "../platform/runtime.ts";
import {
  DIR,
  item,
  KIND,
  openReader,
  openStore,
  payloadsOf,
  USER,
} from "../tests/support/journal.ts";
import { framesOf, fsOf, readFile, readTree } from "../tests/support/journal_bytes.ts";
import { inTempDir } from "../tests/support/temp_dir.ts";
import { RecordingFs, WrappedFs } from "../tests/support/wrapped_fs.ts";
import { SimFs } from "../sim/sim_fs.ts";
import { FixedClock } from "../tests/support/fixed_clock.ts";
import { StoreIoError, WriterCrashedError } from "./errors.ts";
import { EventKind } from "./event_kind.ts";
import type { StoreStats } from "./journal_reader.ts";
import { Store } from "./store.ts";
import type { StoreOptions } from "./store_options.ts";
import { verifyJournal } from "./verify.ts";

const FIRST = `/${DIR}/000001.fbat`;
const SECOND = `/${DIR}/000002.fbat`;

/** Two events, the second one not synced. */
function begun(options: StoreOptions = {}): { fs: MemoryFs; store: Store } {
  const fs = new MemoryFs();
  const store = openStore(fs, options);
  store.append(USER, KIND, "synced");
  store.sync();
  store.append(USER, KIND, "written");
  return { fs, store };
}

const WRITES: Readonly<Record<string, (store: Store) => void>> = {
  "a single append": (store) => void store.append(USER, KIND, "refused"),
  "a batch of three": (store) =>
    void store.appendBatch([item("refused 1"), item("refused 2"), item("refused 3")]),
  "a batch of one": (store) => void store.appendBatch([item("refused")]),
};

/** Bytes that a write puts in the file. */
function writtenSize(write: (store: Store) => void): number {
  const { store } = begun();
  const before = store.stats().logBytes;
  write(store);
  return store.stats().logBytes - before;
}

/** The statistics but for the disk: a write that fails gives back the space taken in advance. */
function heldBy(store: Store): Omit<StoreStats, "diskBytes"> {
  const { diskBytes: _, ...held } = store.stats();
  return held;
}

/** What the next process would find. */
function reopened(fs: MemoryFs): { fs: MemoryFs; store: Store } {
  const copy = fs.snapshot();
  return { fs: copy, store: openStore(copy) };
}

// ---- Failed writes ----

for (const [name, write] of Object.entries(WRITES)) {
  test(`${name} that the disk takes only a part of leaves nothing of it`, () => {
    const size = writtenSize(write);
    for (let after = 0; after <= size; after++) {
      const { fs, store } = begun();
      const stats = heldBy(store);
      const code = after % 2 === 0 ? "ENOSPC" : "EIO";
      fs.failNext({ op: "writeAt", code, after, path: FIRST });
      assert.throws(() => write(store), (error) => {
        assert.ok(error instanceof StoreIoError, `${error}`);
        assert.equal(error.code, "IO");
        assert.equal(error.fault.code, code);
        return true;
      });
      assert.equal(fs.faultsFired, 1);
      assert.deepEqual(heldBy(store), stats, "the index is as it was");
      assert.deepEqual(payloadsOf(store), ["synced", "written"]);

      const killed = reopened(fs);
      assert.deepEqual(killed.store.openReport.repairs, [], "there is nothing to repair");
      assert.deepEqual(payloadsOf(killed.store), ["synced", "written"]);

      if (after % 16 !== 0 && after !== size) continue;
      const receipt = store.append(USER, KIND, "next");
      assert.equal(receipt.clock, 2);
      assert.equal(receipt.globalSequence, 3);
      store.sync();
      assert.equal(store.durableSequence, 4);
      assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
      const later = reopened(fs);
      assert.deepEqual(payloadsOf(later.store), ["synced", "written", "next"]);
      assert.deepEqual(later.store.verifyReceipt(receipt), { valid: true, outcome: "unsigned" });
    }
  });

  test(`${name} whose remains cannot be removed stops the writer for good`, () => {
    const size = writtenSize(write);
    for (const op of ["resize", "sync"] as const) {
      for (const after of [0, 1, 8, Math.floor(size / 2), size - 1]) {
        const { fs, store } = begun();
        const durable = store.durableSequence;
        fs.failNext({ op: "writeAt", code: "ENOSPC", after, path: FIRST });
        fs.failNext({ op, code: "EIO", path: FIRST });
        assert.throws(() => write(store), { name: "WriterCrashedError", code: "WRITER_CRASHED" });
        assert.equal(fs.faultsFired, 2);
        assertStopped(store);
        assert.equal(store.durableSequence, durable);
        assert.deepEqual(payloadsOf(store), ["synced", "written"], "reads still work");
        const { store: next } = reopened(fs);
        assert.deepEqual(payloadsOf(next), ["synced", "written"]);
        assert.throws(() => store.close(), WriterCrashedError);
        const again = openStore(fs);
        assert.deepEqual(payloadsOf(again), ["synced", "written"]);
        again.append(USER, KIND, "next");
        again.close();
        assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
      }
    }
  });
}

/** Every write fails as the first one did, though the disk is fine again. */
function assertStopped(store: Store): void {
  const expected = { name: "WriterCrashedError", code: "WRITER_CRASHED" };
  for (let i = 0; i < 2; i++) {
    assert.throws(() => store.append(USER, KIND, "x"), expected);
    assert.throws(() => store.append(USER, KIND, "x", { durability: "durable" }), expected);
    assert.throws(() => store.appendBatch([item("x")]), expected);
    assert.throws(() => store.sync(), expected);
  }
}

test("a refused append leaves no trace in the statistics, whatever it named", () => {
  // A name that an append brought along counted as an entity although the append was refused.
  const { fs, store } = begun();
  const stats = heldBy(store);
  const fresh = { entity: "fresh", scope: "new" };
  fs.failNext({ op: "writeAt", code: "ENOSPC" });
  assert.throws(() => store.append(fresh, KIND, 1), StoreIoError);
  assert.deepEqual(heldBy(store), stats);
  assert.throws(() => store.append(fresh, KIND, 1, { expectedClock: 3 }), {
    name: "ClockConflictError",
  });
  assert.deepEqual(heldBy(store), stats);
  fs.failNext({ op: "writeAt", code: "ENOSPC" });
  assert.throws(() => store.appendBatch([item(1), item(2, fresh)]), StoreIoError);
  assert.deepEqual(heldBy(store), stats);
  store.append(fresh, KIND, 1);
  assert.equal(store.stats().entityCount, stats.entityCount + 1);
});

test("a failed batch lets the same idempotency keys be used again", () => {
  const { fs, store } = begun();
  const batch = [item(1, { idempotencyKey: "one" }), item(2, { idempotencyKey: "two" })];
  fs.failNext({ op: "writeAt", code: "EIO", after: 250, path: FIRST });
  assert.throws(() => store.appendBatch(batch), StoreIoError);
  const receipts = store.appendBatch(batch);
  assert.deepEqual(receipts.map(({ globalSequence }) => globalSequence), [3, 4]);
  assert.deepEqual(
    store.appendBatch(batch).map(({ eventId }) => eventId),
    receipts.map(({ eventId }) => eventId),
  );
});

test("failing to take space in advance is only a matter of speed", () => {
  const { fs, store } = begun();
  const slow = new (class extends WrappedFs {
    protected override before(op: string): void {
      if (op === "resize") fs.failNext({ op: "resize", code: "ENOSPC" });
    }
  })(fs);
  store.close();
  const other = openStore(slow);
  for (let i = 0; i < 5; i++) other.append(USER, KIND, i, { durability: "durable" });
  assert.ok(fs.faultsFired > 0);
  assert.equal(readFile(fs, FIRST).byteLength, framesOf(readFile(fs, FIRST)).at(-1)?.end);
  other.close();
  assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
});

test("space that was taken though the disk said no is given back at a roll and at a close", () => {
  // An extension that happened and failed all the same was taken for one that had not happened: the sealed
  // segment kept its zeros, and its footer stood in front of them, where nobody finds it. What may be there
  // is cut now.
  for (const end of ["roll", "close"] as const) {
    const fs = new SimFs().withFaultOn("Resize", 1, { when: "after", path: "000001.fbat" });
    const store = openStore(fs, { segmentMaxBytes: 700 });
    for (let i = 0; i < (end === "roll" ? 6 : 1); i++) store.append(USER, KIND, i);
    fs.assertAllFired();
    assert.equal(store.stats().segmentCount > 1, end === "roll");
    if (end === "close") store.close();
    assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
    assert.ok(fs.stat(`/${DIR}/000001.fbat`)!.size < 2000, end);
  }
});

test("a disk that is full now and then loses nothing, on real files", () => {
  inTempDir((root) => {
    const dir = `${root}/journal`;
    let room = Infinity;
    const fs = new (class extends WrappedFs {
      protected override before(op: string, path: string, partial?: (size: number) => void): void {
        if (op !== "writeAt" || room === Infinity) return;
        partial?.(room);
        throw new IoFault({ code: "ENOSPC", op, path });
      }
    })(runtime.fs);
    const store = Store.open(dir, { fs, segmentMaxBytes: 2000 });
    const acknowledged: string[] = [];
    for (let i = 0; i < 60; i++) {
      room = i % 3 === 0 ? i * 10 : Infinity;
      const write = () => {
        if (i % 2 === 0) store.append(USER, KIND, `${i}`);
        else store.appendBatch([item(`${i}`)]);
      };
      if (room !== Infinity) assert.throws(write, StoreIoError);
      else {
        write();
        acknowledged.push(`${i}`);
      }
      assert.deepEqual(payloadsOf(store), acknowledged);
    }
    room = Infinity;
    const reader = Store.openReadOnly(dir);
    assert.deepEqual(payloadsOf(reader), acknowledged);
    reader.close();
    store.close();
    assert.deepEqual(verifyJournal(dir).findings, []);
    const again = Store.open(dir);
    assert.deepEqual(again.openReport.repairs, []);
    assert.deepEqual(payloadsOf(again), acknowledged);
    again.close();
  });
});

test("appends go on behind failures, whatever fails when, and lose nothing that was acknowledged", () => {
  const step = fc.record({
    size: fc.integer({ min: 1, max: 4 }),
    fault: fc.option(
      fc.record({
        op: fc.constantFrom<MemoryOp>("writeAt", "resize", "sync", "rename", "stage", "syncDir"),
        nth: fc.integer({ min: 1, max: 3 }),
        after: fc.integer({ min: 0, max: 600 }),
      }),
      { nil: undefined },
    ),
    durable: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1, maxLength: 12 }),
      fc.constantFrom(1, 500, 1500, 1 << 20),
      fc.constantFrom(0, 1, 3),
      (steps, segmentMaxBytes, everyNEvents) => {
        const fs = new MemoryFs();
        const store = openStore(fs, { segmentMaxBytes, sync: { everyNEvents } });
        const acknowledged: number[] = [];
        let maybe: number[] = [];
        let count = 0;
        let crashed = false;
        for (const { size, fault, durable } of steps) {
          if (fault !== undefined) fs.failNext({ ...fault, code: "EIO" });
          const batch = Array.from({ length: size }, () => count++);
          try {
            store.appendBatch(
              batch.map((payload) => item(payload)),
              durable ? { durability: "durable" } : {},
            );
            acknowledged.push(...batch);
            assert.equal(crashed, false, "nothing succeeds after the writer has stopped");
          } catch (error) {
            if (error instanceof WriterCrashedError) {
              // The sync of this very append may have failed: it may be there, but only it, and whole.
              if (!crashed) maybe = batch;
              crashed = true;
            } else {
              assert.ok(error instanceof StoreIoError, `${error}`);
              assert.equal(crashed, false);
            }
          }
          assert.deepEqual(payloadsOf(store), acknowledged);
        }
        const { fs: left, store: next } = reopened(fs);
        const found = payloadsOf(next);
        if (found.length > acknowledged.length) {
          assert.deepEqual(found, [...acknowledged, ...maybe]);
        } else assert.deepEqual(found, acknowledged);
        next.close();
        assert.deepEqual(verifyJournal(DIR, { fs: left }).findings, []);
      },
    ),
    { numRuns: 150 },
  );
});

// ---- Syncs ----

const SYNCS: Readonly<Record<string, { options?: StoreOptions; act: (store: Store) => void }>> = {
  "sync()": { act: (store) => store.sync() },
  "a durable append": {
    act: (store) => void store.append(USER, KIND, "unsure", { durability: "durable" }),
  },
  "a durable batch": {
    act: (store) => void store.appendBatch([item("unsure")], { durability: "durable" }),
  },
  "the append that completes a sync interval": {
    options: { sync: { everyNEvents: 3 } },
    act: (store) => {
      store.append(USER, KIND, "two");
      store.append(USER, KIND, "unsure");
    },
  },
};

for (const [name, { options, act }] of Object.entries(SYNCS)) {
  test(`a failed sync by ${name} stops the writer for good and freezes what is durable`, () => {
    const { fs, store } = begun(options);
    const durable = store.durableSequence;
    assert.equal(durable, 2);
    fs.failNext({ op: "sync", code: "EIO", path: FIRST });
    assert.throws(() => act(store), (error) => {
      assert.ok(error instanceof WriterCrashedError, `${error}`);
      assert.equal(error.code, "WRITER_CRASHED");
      assert.equal((error.cause as { code: string }).code, "EIO");
      return true;
    });
    assert.equal(fs.faultsFired, 1);
    assertStopped(store);
    assert.equal(store.durableSequence, durable);
    assert.equal(store.stats().durableSequence, durable);
    const seen = payloadsOf(store);
    assert.ok(!seen.includes("unsure"), "what was not acknowledged is not shown here");
    assert.equal(store.query().at(1)?.payload, "synced", "reads still work");

    assert.throws(() => store.close(), { name: "WriterCrashedError" });
    assert.doesNotThrow(() => store.close(), "a second close does nothing");
    const again = openStore(fs);
    const found = payloadsOf(again);
    assert.deepEqual(found.slice(0, seen.length), seen);
    assert.ok(found.slice(seen.length).every((payload) => payload === "unsure"));
    assert.equal(again.durableSequence, again.stats().nextSequence);
    again.close();
    assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
  });
}

test("a failed sync by close() is thrown, the lock is free, and opening again recovers", () => {
  for (const nth of [1, 2]) {
    const { fs, store } = begun();
    fs.failNext({ op: "sync", code: "EIO", nth, path: FIRST });
    assert.throws(() => store.close(), { name: "WriterCrashedError", code: "WRITER_CRASHED" });
    assert.equal(fs.faultsFired, 1);
    assert.throws(() => store.append(USER, KIND, 1), { name: "StoreClosedError" });
    const again = openStore(fs);
    assert.deepEqual(payloadsOf(again), ["synced", "written"]);
    again.close();
    assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
  }
});

test("`using` is silent about a writer that had stopped before, and about nothing else", () => {
  const { fs, store } = begun();
  fs.failNext({ op: "sync", code: "EIO" });
  assert.throws(() => store.sync(), WriterCrashedError);
  assert.doesNotThrow(() => store[Symbol.dispose]());
  openStore(fs).close();

  const second = begun();
  second.fs.failNext({ op: "sync", code: "EIO" });
  assert.throws(() => second.store[Symbol.dispose](), WriterCrashedError);
});

test("close() on a full disk leaves out its event, and makes everything before it durable", () => {
  for (const segmentMaxBytes of [1, 1 << 20]) {
    const { fs: inner, store: first } = begun();
    first.close();
    const fs = new RecordingFs(inner);
    const store = openStore(fs, { segmentMaxBytes });
    const { segmentId } = store.append(USER, KIND, "acknowledged").position;
    const path = `/${DIR}/00000${segmentId}.fbat`;
    inner.failNext({ op: "writeAt", code: "ENOSPC", after: 20 });
    fs.changes.length = 0;
    store.close();
    assert.equal(inner.faultsFired, 1);
    assert.ok(fs.changes.includes(`sync ${path}`), fs.changes.join("\n"));
    const bytes = readFile(inner, path);
    assert.equal(bytes.byteLength, framesOf(bytes).at(-1)?.end, "it is cut to size");
    assert.deepEqual(verifyJournal(DIR, { fs: inner }).findings, []);
    const again = openStore(inner);
    assert.deepEqual(payloadsOf(again), ["synced", "written", "acknowledged"]);
    assert.equal(again.query({ kind: EventKind.SYSTEM_CLOSE_COMPLETED }).length, 1);
  }
});

test("close() syncs what was acknowledged even when the clock cannot say when", () => {
  // The event of the close was refused for its time, and with it went the sync of all before it.
  const clock = new FixedClock();
  const fs = new RecordingFs(new MemoryFs());
  const store = openStore(fs, { clock });
  store.append(USER, KIND, "acknowledged");
  clock.wallUs = NaN;
  fs.changes.length = 0;
  store.close();
  assert.ok(fs.changes.includes(`sync ${FIRST}`), "nothing was synced");
});

test("a sync that fails while opening is thrown, and the next open succeeds", () => {
  const { fs, store } = begun();
  store.close();
  fs.failNext({ op: "sync", code: "EIO", path: FIRST });
  assert.throws(() => openStore(fs), WriterCrashedError);
  const again = openStore(fs);
  assert.deepEqual(payloadsOf(again), ["synced", "written"]);
  assert.equal(again.query({ kind: EventKind.SYSTEM_OPEN_COMPLETED }).length, 3);
});

test("sync.everyNEvents syncs when that many events are unsynced, and counts each of a batch", () => {
  const fs = new RecordingFs(new MemoryFs());
  const store = openStore(fs, { sync: { everyNEvents: 4 } });
  const syncs = () => fs.changes.filter((change) => change === `sync ${FIRST}`).length;
  const base = syncs();
  const seen: [number, number][] = [];
  const look = () => seen.push([syncs() - base, store.durableSequence]);
  store.append(USER, KIND, 1);
  store.append(USER, KIND, 2);
  store.append(USER, KIND, 3);
  look();
  store.append(USER, KIND, 4);
  look();
  store.appendBatch([item(5), item(6), item(7)]);
  look();
  store.append(USER, KIND, 8);
  look();
  store.appendBatch([9, 10, 11, 12, 13].map((payload) => item(payload)));
  look();
  store.append(USER, KIND, 14);
  look();
  store.append(USER, KIND, 15, { durability: "durable" });
  look();
  assert.deepEqual(seen, [[0, 1], [1, 5], [1, 5], [2, 9], [3, 14], [3, 14], [4, 16]]);
});

test("sync.everyNEvents 1 makes each append durable, and 0 none", () => {
  const fs = new RecordingFs(new MemoryFs());
  const each = openStore(fs, { sync: { everyNEvents: 1 } });
  for (let i = 0; i < 3; i++) {
    const { globalSequence } = each.append(USER, KIND, i);
    assert.equal(each.durableSequence, globalSequence + 1);
    assert.equal(fs.changes.at(-1), `sync ${FIRST}`);
  }
  const none = openStore(new MemoryFs(), { sync: { everyNEvents: 0 } });
  for (let i = 0; i < 50; i++) none.append(USER, KIND, i);
  assert.equal(none.durableSequence, 1);
  none.sync();
  assert.equal(none.durableSequence, 51);
});

test("sync.mode chooses the system call", () => {
  for (const mode of ["all", "data"] as const) {
    const modes: SyncMode[] = [];
    const fs = new (class extends MemoryFs {
      override open(...args: Parameters<MemoryFs["open"]>): ReturnType<StoreFs["open"]> {
        const file = super.open(...args);
        const sync = file.sync.bind(file);
        file.sync = (mode) => {
          modes.push(mode);
          sync(mode);
        };
        return file;
      }
    })();
    const store = openStore(fs, { sync: { mode } });
    store.append(USER, KIND, 1);
    modes.length = 0;
    store.sync();
    assert.deepEqual(modes, [mode]);
    store.sync();
    assert.deepEqual(modes, [mode], "there was nothing to sync");
  }
});

// ---- Rolls ----

/** A store whose next append rolls. */
function full(): { fs: MemoryFs; store: Store } {
  return begun({ segmentMaxBytes: 1100 });
}

test("a roll syncs and cuts the old segment before the new one has a name", () => {
  const fs = new RecordingFs(new MemoryFs());
  const store = openStore(fs, { segmentMaxBytes: 1000 });
  store.append(USER, KIND, "x".repeat(300));
  fs.changes.length = 0;
  store.append(USER, KIND, "next");
  assert.deepEqual(fs.changes, [
    `sync ${FIRST}`,
    `resize ${FIRST}`,
    `sync ${FIRST}`,
    `create /${DIR}/.stage-0`,
    `writeAt /${DIR}/.stage-0`,
    `sync /${DIR}/.stage-0`,
    `rename ${SECOND}`,
    `syncDir /${DIR}`,
    `resize ${SECOND}`,
    `writeAt ${SECOND}`,
  ]);
  assert.equal(store.durableSequence, 2, "a roll makes durable what it seals");
  assert.equal(readFile(fs, FIRST).byteLength, framesOf(readFile(fs, FIRST)).at(-1)?.end);
});

test("a segment that cannot be begun leaves the old one usable, at whichever step it fails", () => {
  const steps: { op: MemoryOp; path?: string; nth?: number }[] = [
    { op: "stage" },
    { op: "open", path: ".stage-" },
    { op: "writeAt", path: ".stage-" },
    { op: "sync", path: ".stage-" },
    { op: "publish" },
    { op: "rejectSymlink" },
    { op: "rename", path: SECOND },
    { op: "syncDir" },
    { op: "open", path: SECOND },
    { op: "resize", path: FIRST },
  ];
  for (const step of steps) {
    const { fs, store } = full();
    const before = readTree(fs, DIR);
    fs.failNext({ ...step, code: "ENOSPC" });
    assert.throws(
      () => store.append(USER, KIND, "refused"),
      (error) => error instanceof StoreIoError && error.fault.code === "ENOSPC",
      JSON.stringify(step),
    );
    assert.equal(fs.faultsFired, 1, JSON.stringify(step));
    assert.deepEqual(
      [...readTree(fs, DIR).keys()],
      [...before.keys()],
      "no new file is left: neither a segment nor a staged one",
    );
    assert.deepEqual(payloadsOf(store), ["synced", "written"]);
    const killed = reopened(fs);
    assert.deepEqual(killed.store.openReport.repairs, []);
    assert.deepEqual(killed.store.openReport.oddities, []);
    assert.deepEqual(payloadsOf(killed.store), ["synced", "written"]);

    store.append(USER, KIND, "next");
    assert.equal(store.stats().segmentCount, 2);
    assert.deepEqual(payloadsOf(store), ["synced", "written", "next"]);
    store.close();
    assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
  }
});

test("a segment that can be neither begun nor taken back stops the writer", () => {
  for (const second of [{ op: "remove" }, { op: "syncDir" }] as const) {
    const { fs, store } = full();
    fs.failNext({ op: "syncDir", code: "EIO" });
    fs.failNext({ ...second, code: "EIO" });
    assert.throws(() => store.append(USER, KIND, "refused"), WriterCrashedError);
    assert.equal(fs.faultsFired, 2);
    assertStopped(store);
    assert.deepEqual(payloadsOf(store), ["synced", "written"]);
    const { fs: left, store: next } = reopened(fs);
    assert.deepEqual(payloadsOf(next), ["synced", "written"]);
    next.append(USER, KIND, "next");
    next.close();
    assert.deepEqual(verifyJournal(DIR, { fs: left }).findings, []);
  }
});

test("an old segment that cannot be synced at a roll stops the writer", () => {
  for (const nth of [1, 2]) {
    const { fs, store } = full();
    fs.failNext({ op: "sync", code: "EIO", nth, path: FIRST });
    assert.throws(() => store.append(USER, KIND, "refused"), {
      name: "WriterCrashedError",
      code: "WRITER_CRASHED",
    });
    assert.equal(fs.faultsFired, 1);
    assertStopped(store);
    assert.equal(fs.stat(SECOND), undefined, "no new segment vouches for the old one");
    assert.ok(store.durableSequence <= 3);
    const { store: next } = reopened(fs);
    assert.deepEqual(payloadsOf(next), ["synced", "written"]);
  }
});

test("a failed append on a fresh segment leaves an empty segment, which does not roll again", () => {
  const { fs, store } = full();
  fs.failNext({ op: "writeAt", code: "ENOSPC", after: 50, path: SECOND });
  assert.throws(() => store.append(USER, KIND, "refused"), StoreIoError);
  assert.equal(store.stats().segmentCount, 2);
  const killed = reopened(fs);
  assert.deepEqual(payloadsOf(killed.store), ["synced", "written"]);
  store.append(USER, KIND, "next");
  assert.equal(store.stats().segmentCount, 2);
  store.close();
  assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
});

test("segmentMaxBytes 1 gives every group a segment of its own", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { segmentMaxBytes: 1 });
  for (let i = 0; i < 5; i++) store.append(USER, KIND, i);
  store.appendBatch([item(5), item(6)]);
  store.close();
  const tree = readTree(fs, DIR);
  const counts = [...tree].filter(([name]) => name.endsWith(".fbat"))
    .map(([, bytes]) => framesOf(bytes).length);
  assert.deepEqual(counts, [1, 1, 1, 1, 1, 1, 2, 1]);
  assert.deepEqual(payloadsOf(openReader(fs)), [0, 1, 2, 3, 4, 5, 6]);
});

// ---- What is written ----

test("a group is one write, whatever its size", () => {
  const fs = new RecordingFs(new MemoryFs());
  const store = openStore(fs, { singleAppendMaxBytes: 8 << 20, batch: { maxBytes: 8 << 20 } });
  fs.changes.length = 0;
  store.append(USER, KIND, new Uint8Array(3 << 20), { payloadEncoding: "opaque" });
  store.appendBatch(Array.from({ length: 200 }, (_, i) => item("x".repeat(i * 100))));
  store.append(USER, KIND, 1);
  assert.equal(fs.changes.filter((change) => change === `writeAt ${FIRST}`).length, 3);
});

test("space is taken in advance in large steps, and zeros are all that is in it", () => {
  const fs = new RecordingFs(new MemoryFs());
  const store = openStore(fs);
  for (let i = 0; i < 200; i++) {
    store.append(USER, KIND, new Uint8Array(50_000), { payloadEncoding: "opaque" });
  }
  const steps = fs.changes.filter((change) => change === `resize ${FIRST}`).length;
  assert.ok(steps >= 2 && steps <= 10, `${steps} steps for 10 MB`);
  const bytes = readFile(fs, FIRST);
  const end = framesOf(bytes).at(-1)!.end;
  assert.ok(bytes.byteLength > end);
  assert.ok(bytes.subarray(end).every((byte) => byte === 0));
  store.close();
  assert.equal(readFile(fs, FIRST).byteLength, framesOf(readFile(fs, FIRST)).at(-1)?.end);
});

test("the newest events are read back from memory, across buffers and after failures", () => {
  const { fs, store } = begun();
  const sizes = [10, 700_000, 300_000, 900_000, 1_500_000, 5, 200_000];
  const ids: string[] = [];
  for (const size of sizes) {
    fs.failNext({ op: "writeAt", code: "EIO", after: 100 });
    const bytes = () => new Uint8Array(size).fill(size % 251);
    assert.throws(
      () => store.append(USER, KIND, bytes().fill(7), { payloadEncoding: "opaque" }),
      StoreIoError,
    );
    ids.push(store.append(USER, KIND, bytes(), { payloadEncoding: "opaque" }).eventId);
    for (const [i, id] of ids.entries()) {
      const payload = store.get(id)?.payload as Uint8Array;
      assert.equal(payload.byteLength, sizes[i]);
      assert.ok(payload.every((byte) => byte === sizes[i] % 251));
    }
  }
  const reader = openReader(fsOf(readTree(fs, DIR)));
  assert.deepEqual(
    ids.map((id) => (reader.get(id)?.payload as Uint8Array).byteLength),
    sizes,
  );
});

// An open that rolled at once sealed a segment which the writer before had not synced: after a power cut it
// was shorter than the next one says, and the journal refused. It is synced before the next one is there.
test("what a killed writer left unsynced is synced before the next segment follows it", () => {
  const { fs, store } = begun();
  const end = store.stats().logBytes;
  const image = fs.snapshot();
  // Without space taken in advance there is nothing to cut off, and that would sync it as well.
  const file = image.open(FIRST, "write");
  file.resize(end);
  file.close();
  const recording = new RecordingFs(image);
  openStore(recording, { segmentMaxBytes: end });
  const published = recording.changes.indexOf(`rename ${SECOND}`);
  assert.ok(published >= 0, "the open has begun the next segment");
  assert.ok(recording.changes.slice(0, published).includes(`sync ${FIRST}`));
});
