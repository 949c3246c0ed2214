// Spec 3.8 as far as it concerns the API: lock, open, read-only, close. Recovery has its own tests.
import assert from "node:assert/strict";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { crc32 } from "../platform/checksum.ts";
import { MemoryFs } from "../platform/memory.ts";
import { inTempDir } from "../platform/testdata/processes.ts";
import {
  DIR,
  factsOf,
  manualClock,
  openIn,
  ORDER,
  OTHER,
  ownEvents,
  PAID,
  PLACED,
  segmentBytes,
} from "../tests/support_api/journal.ts";
import { SimFs } from "../sim/sim_fs.ts";
import { spiedFs } from "../tests/support_api/spied_fs.ts";
import {
  InvalidClockError,
  JournalNotFoundError,
  StoreClosedError,
  StoreIoError,
  StoreLockedError,
  WriterCrashedError,
} from "./errors.ts";
import { EventKind } from "./event_kind.ts";
import { FRAME_HEADER_SIZE } from "./frame.ts";
import { decodeSegmentHeader } from "./segment_header.ts";
import { ReadOnlyStore } from "./read_only_store.ts";
import { Store } from "./store.ts";
import { verifyJournal } from "./verify.ts";

const LIFECYCLE = { entity: "batpak:store", scope: "batpak:lifecycle" };

// Lock

test("a second open for writing is refused while the first lives, and works after", () => {
  const fs = new MemoryFs();
  const first = openIn(fs);
  assert.throws(() => openIn(fs), (error) => {
    assert.ok(error instanceof StoreLockedError);
    assert.equal(error.code, "STORE_LOCKED");
    assert.equal(error.path, DIR);
    assert.match(error.message, /is writing there\. Wait until it is done, or read beside it$/);
    return true;
  });
  first.append(ORDER, PLACED, 1);
  first.close();
  openIn(fs).close();
});

// The reference locks readers out. Ours live beside a writer, and beside one another.
test("read-only opens succeed beside a writer and beside one another", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  store.append(ORDER, PLACED, 1);
  using one = Store.openReadOnly(DIR, { fs });
  using two = Store.openReadOnly(DIR, { fs });
  store.append(ORDER, PLACED, 2);
  assert.deepEqual([one, two, store].map((reader) => reader.stats().eventCount), [2, 2, 3]);
  // Only a writer knows what would survive a power cut.
  assert.equal(one.durableSequence, undefined);
  assert.equal(one.stats().durableSequence, undefined);
});

test("a refused open leaves no lock behind", () => {
  const fs = new MemoryFs();
  openIn(fs).close();
  for (const clockUs of [NaN, -1]) {
    assert.throws(
      () => openIn(fs, { clock: manualClock(clockUs) }),
      InvalidClockError,
    );
  }
  fs.failNext({ op: "writeAt", code: "ENOSPC" });
  assert.throws(() => openIn(fs), StoreIoError);
  fs.failNext({ op: "sync", code: "EIO" });
  assert.throws(() => openIn(fs), WriterCrashedError);
  assert.equal(fs.faultsFired, 2);
  openIn(fs).close();
});

test("a lock file that is a symbolic link is refused", () => {
  const fs = new MemoryFs();
  fs.createDirAll(DIR);
  fs.symlink("/elsewhere", `${DIR}/.batpak.lock`);
  assert.throws(() => openIn(fs), (error) => {
    assert.ok(error instanceof StoreIoError);
    assert.equal(error.fault.code, "ELOOP");
    return true;
  });
  assert.equal(fs.stat("/elsewhere"), undefined);
});

test("one directory is one journal, whatever way leads to it", () =>
  inTempDir((dir) => {
    mkdirSync(`${dir}/real`);
    // Deno needs every permission to make a link, which tests have.
    symlinkSync(`${dir}/real`, `${dir}/link`);
    using store = Store.open(`${dir}/real`);
    for (const path of [`${dir}/link`, `${dir}/real/../real`, `${dir}/real/`]) {
      assert.throws(() => Store.open(path), { code: "STORE_LOCKED", path: store.dir });
    }
  }));

test("open() makes the directory and its parents, and says what is in the way", () =>
  inTempDir((dir) => {
    Store.open(`${dir}/a/b/c`).close();
    writeFileSync(`${dir}/file`, "");
    for (const path of [`${dir}/file`, `${dir}/file/below`]) {
      assert.throws(() => Store.open(path), StoreIoError);
      assert.throws(() => Store.openReadOnly(path), StoreIoError);
    }
    assert.throws(() => Store.openReadOnly(`${dir}/missing`), (error) => {
      assert.ok(error instanceof JournalNotFoundError);
      assert.equal(error.code, "JOURNAL_NOT_FOUND");
      assert.equal(error.path, `${dir}/missing`);
      return true;
    });
  }));

// What an open and a close leave in the log

test("a fresh journal begins with the event of its open, at sequence 0", () => {
  using store = openIn(new MemoryFs());
  const [opened] = store.query();
  assert.equal(opened.globalSequence, 0);
  assert.equal(opened.kind, EventKind.SYSTEM_OPEN_COMPLETED);
  assert.deepEqual({ ...opened.coordinate.toJSON() }, LIFECYCLE);
  assert.equal(store.append(ORDER, PLACED, 1).globalSequence, 1);
});

test("every open for writing adds one event, whose payload is the report; reading adds none", () => {
  const fs = new MemoryFs();
  for (let round = 1; round <= 3; round++) {
    const store = openIn(fs);
    const opens = store.query({ kind: EventKind.SYSTEM_OPEN_COMPLETED });
    assert.equal(opens.length, round);
    assert.deepEqual(opens.at(-1)?.payload, store.openReport);
    assert.equal(opens.at(-1)?.clock, (round - 1) * 2);
    store.close();
    const before = segmentBytes(fs);
    using reader = Store.openReadOnly(DIR, { fs });
    assert.equal(reader.query({ kind: EventKind.SYSTEM_OPEN_COMPLETED }).length, round);
    assert.deepEqual(segmentBytes(fs), before);
  }
});

test("the report says what was found", () => {
  const fs = new MemoryFs();
  {
    const store = openIn(fs);
    const {
      elapsedUs,
      phaseRestoreIndexUs,
      phaseIndexFileUs,
      phaseFootersUs,
      phaseFramesUs,
      ...rest
    } = store.openReport;
    assert.deepEqual(rest, {
      path: "frames",
      chunks: 0,
      mode: "write",
      segments: 0,
      restoredEntries: 0,
      indexFileEntries: 0,
      footerEntries: 0,
      tailEntries: 0,
      indexFile: "missing",
      scannedBytes: 0,
      repairs: [],
      oddities: [],
      unknownReservedKinds: {},
    });
    assert.ok(phaseIndexFileUs >= 0 && phaseFootersUs === 0 && phaseFramesUs >= 0);
    assert.ok(phaseRestoreIndexUs >= 0 && elapsedUs >= phaseRestoreIndexUs);
    store.append(ORDER, PLACED, 1);
    store.close();
  }
  for (const mode of ["read", "write"] as const) {
    using store = mode === "read" ? Store.openReadOnly(DIR, { fs }) : openIn(fs);
    assert.equal(store.openReport.mode, mode);
    assert.equal(store.openReport.segments, 1);
    // Open, own, close.
    assert.equal(store.openReport.restoredEntries, 3);
    assert.equal(store.openReport.scannedBytes, 0, "the index file has all of it");
  }
});

test("a close is an event that names the last sequence before it", () => {
  const fs = new MemoryFs();
  const clock = manualClock(7_000_999);
  const store = openIn(fs, { clock });
  const { globalSequence } = store.append(ORDER, PLACED, 1);
  store.close();
  using reader = Store.openReadOnly(DIR, { fs });
  const [closed] = reader.query({ kind: EventKind.SYSTEM_CLOSE_COMPLETED });
  assert.equal(closed.globalSequence, globalSequence + 1);
  assert.deepEqual(closed.payload, { wallMs: 7000, globalSequence });
  assert.deepEqual({ ...closed.coordinate.toJSON() }, LIFECYCLE);
});

// The reference begins a segment at every open.
test("an open continues the active segment, and sequences stay dense", () => {
  const fs = new MemoryFs();
  for (let round = 0; round < 5; round++) {
    using store = openIn(fs);
    store.append(ORDER, PLACED, round);
    assert.equal(store.stats().segmentCount, 1);
  }
  using reader = Store.openReadOnly(DIR, { fs });
  assert.deepEqual([...segmentBytes(fs).keys()], ["000001.fbat"]);
  const sequences = reader.query().map(({ globalSequence }) => globalSequence);
  assert.deepEqual(sequences, Array.from({ length: 15 }, (_, sequence) => sequence));
  const clocks = reader.query({ entity: ORDER.entity }).map(({ clock }) => clock);
  assert.deepEqual(clocks, [0, 1, 2, 3, 4]);
});

test("a clean close cuts the segment to its frames", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  store.append(ORDER, PLACED, 1);
  store.close();
  using reader = Store.openReadOnly(DIR, { fs });
  assert.equal(fs.stat(`${DIR}/000001.fbat`)?.size, reader.stats().logBytes);
});

test("the journal keeps its id over opens, and another one has another", () => {
  const fs = new MemoryFs();
  const first = openIn(fs);
  const { storeId } = first;
  first.close();
  using again = openIn(fs);
  using reader = Store.openReadOnly(DIR, { fs });
  using other = openIn(new MemoryFs());
  assert.equal(again.storeId, storeId);
  assert.equal(reader.storeId, storeId);
  assert.notEqual(other.storeId, storeId);
});

test("open, append, close, open: every field of every event is as it was", () => {
  const fs = new MemoryFs();
  const store = openIn(fs, { segmentMaxBytes: 900 });
  const cause = store.append(ORDER, PLACED, { n: 0 }, { idempotencyKey: "k" });
  store.append(ORDER, PAID, [1, "two", null], {
    causationId: cause.eventId,
    correlationId: cause.eventId,
    lane: 7,
    depth: 3,
    flags: 0x81,
    tags: ["a", "b"],
    extensions: { "app.audit": Uint8Array.of(1, 2, 3) },
  });
  store.appendBatch([
    { ...ORDER, kind: PLACED, payload: "x", lane: 7, depth: 9, flags: 5, tags: ["b"] },
    {
      ...OTHER,
      kind: PAID,
      payload: "y",
      causationItem: 0,
      extensions: { "a.b": new Uint8Array() },
    },
  ]);
  const before = store.query().map(factsOf);
  store.close();
  using again = openIn(fs);
  using reader = Store.openReadOnly(DIR, { fs });
  assert.deepEqual(again.query().slice(0, before.length).map(factsOf), before);
  assert.deepEqual(reader.query().slice(0, before.length).map(factsOf), before);
  assert.ok(again.stats().segmentCount > 1);
});

// Spec: bootstrap HLC. Time never runs backwards in the log.
test("a clock that went backwards between runs takes no event back in time", () => {
  const fs = new MemoryFs();
  const clock = manualClock(9_000_000);
  {
    using store = openIn(fs, { clock });
    store.append(ORDER, PLACED, 1);
  }
  clock.us = 1_000_000;
  using store = openIn(fs, { clock });
  store.append(ORDER, PLACED, 2);
  clock.us = 9_000_001;
  store.append(ORDER, PLACED, 3);
  const times = store.query().map(({ timestampUs }) => timestampUs);
  assert.deepEqual(times, [9_000_000, 9_000_000, 9_000_000, 9_000_000, 9_000_000, 9_000_001]);
  assert.equal(verifyJournal(DIR, { fs }).findingCount, 0);
});

test("after a reopen everything that can be queried is durable", () => {
  const fs = new MemoryFs();
  const store = openIn(fs, { sync: { everyNEvents: 0 } });
  store.append(ORDER, PLACED, 1);
  const crashed = fs.snapshot();
  using again = openIn(crashed, { sync: { everyNEvents: 0 } });
  assert.equal(again.query({ entity: ORDER.entity }).length, 1);
  assert.equal(again.durableSequence, again.stats().nextSequence);
  store.close();
});

test("chainVerification recompute opens an intact journal of many entities and lanes", () => {
  const fs = new MemoryFs();
  {
    using store = openIn(fs, { segmentMaxBytes: 2000 });
    for (let i = 0; i < 40; i++) {
      store.append({ entity: `e:${i % 7}`, scope: "s" }, PLACED, i, { lane: i % 3 });
    }
  }
  openIn(fs, { chainVerification: "recompute" }).close();
  using reader = Store.openReadOnly(DIR, { fs, chainVerification: "recompute" });
  assert.equal(ownEvents(reader.query()).length, 40);
});

// The reference grows the directory on each refused attempt.
test("an open that recompute refuses writes nothing", () => {
  const fs = new MemoryFs();
  {
    using store = openIn(fs, { segmentMaxBytes: 1 });
    store.append(ORDER, PLACED, "apples");
    store.append(ORDER, PLACED, "pears");
  }
  // Segments from another history of the same entity: sound frames, and a chain that does not fit.
  const forged = fs.snapshot();
  const bytes = forged.readFile(`${DIR}/000002.fbat`, 1 << 20);
  flipPayload(bytes, "apples");
  forged.publish(`${DIR}/000002.fbat`, bytes);
  const before = segmentBytes(forged);
  for (const open of [Store.open, Store.openReadOnly]) {
    assert.throws(() => open(DIR, { fs: forged, chainVerification: "recompute" }), {
      code: "CORRUPTION",
      segmentId: 2,
      reason: "the payload does not have its content hash",
    });
  }
  assert.deepEqual(segmentBytes(forged), before);
});

// Read-only

test("a read-only store has no way to write, in types and at run time", () => {
  const fs = new MemoryFs();
  openIn(fs).close();
  using reader = Store.openReadOnly(DIR, { fs });
  assert.ok(reader instanceof ReadOnlyStore);
  for (const name of ["append", "appendBatch", "appendDenial", "sync"]) {
    assert.equal(name in reader, false, name);
  }
  // @ts-expect-error: a reader does not append
  assert.throws(() => reader.append(ORDER, PLACED, 1), TypeError);
  // @ts-expect-error: a reader does not sync
  assert.throws(() => reader.sync(), TypeError);
});

test("a read-only open and its reads change no byte and make no file", () => {
  const inner = new MemoryFs();
  {
    using store = openIn(inner, { segmentMaxBytes: 500 });
    for (let i = 0; i < 10; i++) store.append(ORDER, PLACED, i);
  }
  const calls = new Set<string>();
  const fs = spiedFs(inner, (op) => calls.add(op));
  const reader = Store.openReadOnly(DIR, { fs });
  assert.equal(reader.query({ kind: PLACED }).map((event) => event.payload).length, 10);
  reader.refresh();
  reader.close();
  // The lock included: a reader takes none.
  const reading = ["canonicalize", "close", "list", "open", "readAt", "readFile", "size", "stat"];
  assert.deepEqual([...calls].filter((op) => !reading.includes(op)), []);
});

test("a reader needs no lock file, and makes none", () => {
  const fs = new MemoryFs();
  {
    using store = openIn(fs);
    store.append(ORDER, PLACED, 1);
  }
  fs.remove(`${DIR}/.batpak.lock`);
  using reader = Store.openReadOnly(DIR, { fs });
  assert.equal(reader.query({ kind: PLACED })[0].payload, 1);
  assert.equal(fs.stat(`${DIR}/.batpak.lock`), undefined);
});

test("refresh() takes in what was appended since, over rolls, and says how much", () => {
  const fs = new MemoryFs();
  using store = openIn(fs, { segmentMaxBytes: 700 });
  using reader = Store.openReadOnly(DIR, { fs });
  assert.equal(reader.refresh(), 0);
  for (let round = 1; round <= 8; round++) {
    for (let i = 0; i < round; i++) store.append(ORDER, PLACED, { round, i });
    assert.equal(reader.stats().nextSequence, store.stats().nextSequence - round);
    assert.equal(reader.refresh(), round);
    assert.deepEqual(reader.query().map(factsOf), store.query().map(factsOf));
  }
  assert.ok(reader.stats().segmentCount > 5);
});

test("a directory without a journal is not opened for reading, and nothing is made in it", () => {
  const fs = new MemoryFs();
  fs.createDirAll(DIR);
  assert.throws(() => Store.openReadOnly(DIR, { fs }), {
    code: "JOURNAL_NOT_FOUND",
    message: `Cannot read "${DIR}": there is no journal here`,
  });
  assert.deepEqual(fs.list(DIR), []);
});

// Close

test("close() twice is close() once", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  store.close();
  const bytes = segmentBytes(fs);
  store.close();
  store[Symbol.dispose]();
  const reader = Store.openReadOnly(DIR, { fs });
  reader.close();
  reader.close();
  assert.deepEqual(segmentBytes(fs), bytes);
});

test("a closed store refuses everything with StoreClosedError", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  const receipt = store.append(ORDER, PLACED, 1);
  const read = [
    (reader: Store | ReadOnlyStore) => reader.get(receipt.eventId),
    (reader: Store | ReadOnlyStore) => reader.getByKey("k"),
    (reader: Store | ReadOnlyStore) => reader.at(0),
    (reader: Store | ReadOnlyStore) => reader.latest(ORDER.entity),
    (reader: Store | ReadOnlyStore) => reader.query(),
    (reader: Store | ReadOnlyStore) => reader.queryAfter({}, undefined, 1),
    (reader: Store | ReadOnlyStore) => reader.events(),
    (reader: Store | ReadOnlyStore) => reader.walkAncestors(receipt.eventId),
    (reader: Store | ReadOnlyStore) => reader.causes(receipt.eventId),
    (reader: Store | ReadOnlyStore) => reader.effects(receipt.eventId),
    (reader: Store | ReadOnlyStore) => reader.stats(),
    (reader: Store | ReadOnlyStore) => reader.verifyReceipt(receipt),
    (reader: Store | ReadOnlyStore) => reader.verifyDenialReceipt(receipt),
  ];
  const write = [
    () => store.append(ORDER, PLACED, 1),
    () => store.appendBatch([]),
    () => store.appendBatch([{ ...ORDER, kind: PLACED, payload: 1 }]),
    () => store.sync(),
  ];
  const reader = Store.openReadOnly(DIR, { fs });
  store.close();
  reader.close();
  for (const act of write) assert.throws(act, StoreClosedError);
  for (const act of read) {
    assert.throws(() => act(store), StoreClosedError);
    assert.throws(() => act(reader), StoreClosedError);
  }
  assert.throws(() => reader.refresh(), StoreClosedError);
  assert.throws(() => store.sync(), { code: "STORE_CLOSED", message: /Cannot sync: / });
  // What a handle knows by heart, it still says.
  assert.equal(store.dir, DIR);
  assert.equal(reader.storeId, store.storeId);
});

test("an event that outlives its store keeps what was read, and refuses what was not", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  store.append(ORDER, PLACED, { read: true });
  store.append(ORDER, PLACED, { read: false });
  const [first, second] = store.query({ entity: ORDER.entity });
  assert.deepEqual(first.payload, { read: true });
  store.close();
  assert.deepEqual(first.payload, { read: true });
  assert.equal(second.entity, ORDER.entity);
  assert.throws(() => second.payload, StoreClosedError);
});

test("using closes the store at the end of the block", () => {
  const fs = new MemoryFs();
  let escaped: Store;
  {
    using store = openIn(fs);
    escaped = store;
    assert.throws(() => openIn(fs), StoreLockedError);
  }
  assert.throws(() => escaped.sync(), StoreClosedError);
  using again = openIn(fs);
  assert.equal(again.query({ kind: EventKind.SYSTEM_CLOSE_COMPLETED }).length, 1);
});

// Spec 3.8: close and dispose of a poisoned store.
test("a store whose writer stopped closes with WriterCrashedError, disposes in silence, and reopens", () => {
  for (const end of ["close", "dispose"] as const) {
    const fs = new MemoryFs();
    const store = openIn(fs);
    store.append(ORDER, PLACED, 1);
    fs.failNext({ op: "sync", code: "EIO" });
    assert.throws(() => store.sync(), WriterCrashedError);
    for (const write of [() => store.sync(), () => store.append(ORDER, PLACED, 2)]) {
      assert.throws(write, WriterCrashedError);
    }
    assert.equal(store.query({ entity: ORDER.entity }).length, 1, "reads go on");
    if (end === "close") assert.throws(() => store.close(), WriterCrashedError);
    else store[Symbol.dispose]();
    store.close();
    using again = openIn(fs);
    assert.deepEqual(again.query({ entity: ORDER.entity }).map(({ payload }) => payload), [1]);
  }
});

test("a close whose sync fails says so, lets go of the lock, and loses nothing", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  store.append(ORDER, PLACED, 1);
  fs.failNext({ op: "sync", code: "EIO" });
  assert.throws(() => store.close(), WriterCrashedError);
  store.close();
  using again = openIn(fs);
  assert.equal(again.query({ entity: ORDER.entity }).length, 1);
});

test("a close that cannot record itself still makes everything durable", () => {
  // What went wrong: on a full disk, or under a broken clock, the close event could not be appended,
  // and what had been appended before was never synced. The event is a courtesy; the sync is not.
  for (const obstacle of ["disk", "clock"] as const) {
    const inner = new MemoryFs();
    let synced = false;
    const fs = spiedFs(inner, (op) => synced ||= op === "sync");
    const clock = manualClock();
    const store = openIn(fs, { clock, sync: { everyNEvents: 0 } });
    store.append(ORDER, PLACED, 1);
    synced = false;
    if (obstacle === "disk") inner.failNext({ op: "writeAt", code: "ENOSPC" });
    else clock.us = -1;
    store.close();
    assert.ok(synced, obstacle);
    using reader = Store.openReadOnly(DIR, { fs: inner });
    assert.equal(reader.query({ entity: ORDER.entity }).length, 1);
  }
});

// Oddities

test("foreign names in the directory are left alone, and those that look like segments are named", () => {
  const fs = new MemoryFs();
  openIn(fs).close();
  for (const name of ["notes.txt", "1.fbat", "x.fbat", "000000.fbat"]) {
    fs.publish(`${DIR}/${name}`, new TextEncoder().encode("hello"));
  }
  using store = openIn(fs);
  assert.deepEqual(
    store.openReport.oddities.filter((oddity) => oddity.includes("not named like")).sort(),
    [
      "ignored 000000.fbat, which is not named like a segment",
      "ignored 1.fbat, which is not named like a segment",
      "ignored x.fbat, which is not named like a segment",
    ],
  );
  assert.equal(fs.stat(`${DIR}/notes.txt`)?.size, 5);
});

/** Changes one byte of a payload and mends the checksum, as somebody would who knows the format. */
function flipPayload(segment: Uint8Array, payload: string): void {
  const text = new TextDecoder("latin1").decode(segment);
  const at = text.indexOf(payload);
  assert.ok(at > 0);
  segment[at] ^= 1;
  // A segment of one event: the frame begins behind the header.
  const decoded = decodeSegmentHeader(segment);
  assert.ok(decoded.type === "header");
  const view = new DataView(segment.buffer, segment.byteOffset + decoded.end);
  const body = decoded.end + FRAME_HEADER_SIZE;
  view.setUint32(4, crc32(segment.subarray(body, body + view.getUint32(0))));
}

const REOPENED = { entity: "user:1", scope: "app" };

// A sync fails, and the system forgets the pages: they read back as written, and no later sync writes them.
// Reopening without a reboot used to call such events durable, and a power cut took them. Now an open writes
// the end of the log again before it syncs.
test("what an open after a failed sync has found survives a power cut", () => {
  for (const coldStart of [{}, { indexFile: false }]) {
    const fs = new SimFs();
    const options = { fs, coldStart };
    const store = Store.open("journal", options);
    store.append(REOPENED, EventKind.DATA, "durable", { durability: "durable" });
    store.append(REOPENED, EventKind.DATA, "written");
    fs.armFaultOn("Sync", 1, { sync: "lost" });
    assert.throws(() => store.sync(), WriterCrashedError);
    store[Symbol.dispose]();
    const again = Store.open("journal", options);
    const expected = ["durable", "written"];
    assert.deepEqual(again.query(REOPENED).map(({ payload }) => payload), expected);
    const after = Store.open("journal", { fs: fs.crash("durable"), coldStart });
    assert.deepEqual(after.query(REOPENED).map(({ payload }) => payload), expected);
    after.close();
  }
});

test("an open after a clean close writes nothing again", () => {
  const fs = new SimFs();
  const store = Store.open("journal", { fs });
  store.append(REOPENED, EventKind.DATA, "durable");
  store.close();
  const { size } = fs.stat("journal/000001.fbat")!;
  const before = fs.trace.length;
  Store.open("journal", { fs });
  const writes = fs.trace.slice(before).filter((step) => step.type === "write");
  assert.deepEqual(writes.map(({ position }) => position), [size]);
});
