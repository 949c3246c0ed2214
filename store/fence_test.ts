import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MemoryFs } from "../platform/memory.ts";
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
import { ClockConflictError, ConditionConflictError, WriterCrashedError } from "./errors.ts";
import { EventKind } from "./event_kind.ts";
import { FenceActiveError, FenceCancelledError, FenceNotActiveError } from "./fence.ts";
import type { JournalReader } from "./journal_reader.ts";
import { Store } from "./store.ts";

const OTHER = { entity: "user:2", scope: "app" };

/** Kinds of the store's own events about fences, in order. */
function fenceEventsOf(reader: JournalReader): string[] {
  return reader.query({ category: 0 })
    .map(({ kind }) => EventKind.format(kind))
    .filter((kind) => ["0x000A", "0x000B", "0x000C"].includes(kind))
    .map((kind) => ({ "0x000A": "begin", "0x000B": "commit", "0x000C": "cancel" })[kind] ?? kind);
}

test("X-01 what a cancelled fence staged is never seen, and nothing else is hidden", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  store.append(USER, KIND, "baseline");
  const fence = store.beginFence();
  const tickets = [1, 2, 3].map((n) => fence.append(OTHER, KIND, n));
  assert.deepEqual(payloadsOf(store), ["baseline"]);
  fence.cancel();
  for (const ticket of tickets) {
    assert.throws(
      () => ticket.receipt,
      (error) =>
        error instanceof FenceCancelledError && error.code === "FENCE_CANCELLED" &&
        error.globalSequence === ticket.globalSequence,
    );
  }
  assert.deepEqual(payloadsOf(store), ["baseline"]);
  assert.equal(store.latest(OTHER.entity), undefined);
  assert.equal(store.stats().cancelledCount, 3);
  store.append(USER, KIND, "alongside");
  store.close();
  everyWay(fs, (reader, way) => {
    assert.deepEqual(payloadsOf(reader), ["baseline", "alongside"], way);
    assert.equal(reader.stats().cancelledCount, 3, way);
    for (const { globalSequence } of tickets) assert.equal(reader.at(globalSequence), undefined);
  });
});

test("X-02 disposing a fence cancels it, and the store goes on", () => {
  using store = openStore(new MemoryFs());
  let ticket;
  {
    using fence = store.beginFence();
    ticket = fence.append(USER, KIND, 1);
    assert.equal(ticket.receipt, undefined);
  }
  assert.throws(() => ticket.receipt, FenceCancelledError);
  store.append(USER, KIND, 2);
  assert.deepEqual(payloadsOf(store), [2]);
  {
    using fence = store.beginFence();
    fence.append(USER, KIND, 3);
    fence.commit();
  }
  assert.deepEqual(payloadsOf(store), [2, 3], "one that has ended stays as it is");
});

test("X-03 staged events are found by nothing", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  const root = store.append(USER, KIND, "root");
  const fence = store.beginFence();
  const one = fence.append(OTHER, KIND, 1, { causationId: root.eventId, tags: ["t"] });
  const [two, three] = fence.appendBatch([
    item(2, { idempotencyKey: "k2" }),
    item(3, { idempotencyKey: "k3" }),
  ]);
  assert.deepEqual([one.receipt, two.receipt, three.receipt], [undefined, undefined, undefined]);
  const hidden = (reader: JournalReader, way: string) => {
    assert.deepEqual(payloadsOf(reader), ["root"], way);
    assert.deepEqual(reader.query({ entity: OTHER.entity }), [], way);
    assert.deepEqual(reader.query({ tags: ["t"] }), [], way);
    assert.deepEqual([...reader.byEntity(OTHER.entity)], [], way);
    assert.deepEqual([...reader.byEntity(USER.entity)].length, 1, way);
    assert.equal(reader.latest(OTHER.entity), undefined, way);
    assert.equal(reader.latest(USER.entity)?.payload, "root", way);
    assert.equal(reader.getByKey("k2"), undefined, way);
    assert.equal(reader.at(one.globalSequence), undefined, way);
    assert.deepEqual(reader.effects(root.eventId), [], way);
    assert.equal(reader.verifyReceipt(root).valid, true, way);
  };
  hidden(store, "writer");
  assert.equal(store.stats().stagedCount, 3);
  const reader = openReader(fs);
  hidden(reader, "reader beside it");
  fence.cancel();
  hidden(store, "cancelled");
  assert.equal(reader.refresh(), 1, "only the event that says so");
  hidden(reader, "reader, cancelled");
  reader.close();
  store.close();
  everyWay(fs, hidden);
});

test("X-04 a commit shows everything at once, with the receipts that were promised", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  const root = store.append(USER, KIND, "root");
  const reader = openReader(fs);
  const fence = store.beginFence();
  const ticket = fence.append(OTHER, KIND, "reaction", {
    causationId: root.eventId,
    correlationId: root.eventId,
  });
  fence.appendBatch([item("a"), item("b")]);
  reader.refresh();
  assert.deepEqual(payloadsOf(reader), ["root"]);
  const receipts = fence.commit();
  assert.equal(fence.state, "committed");
  assert.equal(ticket.receipt, receipts[0]);
  assert.equal(receipts.length, 3);
  assert.deepEqual(payloadsOf(store), ["root", "reaction", "a", "b"]);
  assert.ok(store.durableSequence > receipts[2].globalSequence, "durable before it is visible");
  reader.refresh();
  const [reaction] = reader.effects(root.eventId);
  assert.equal(reaction.eventId, receipts[0].eventId);
  assert.equal(reaction.correlationId, root.eventId);
  for (const receipt of receipts) assert.equal(reader.verifyReceipt(receipt).valid, true);
  reader.close();
  store.close();
  everyWay(fs, (reader, way) => {
    assert.deepEqual(payloadsOf(reader), ["root", "reaction", "a", "b"], way);
    assert.deepEqual(fenceEventsOf(reader), ["begin", "commit"], way);
  });
});

test("X-05 closing a store cancels the fence that is open", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  store.append(USER, KIND, 1);
  const first = store.beginFence();
  first.append(USER, KIND, 2);
  first.commit();
  store.append(USER, KIND, 3);
  const fence = store.beginFence();
  const ticket = fence.append(USER, KIND, 4);
  store.close();
  assert.throws(() => ticket.receipt, FenceCancelledError);
  assert.equal(fence.state, "cancelled");
  everyWay(fs, (reader, way) => {
    assert.deepEqual(payloadsOf(reader), [1, 2, 3], way);
    assert.deepEqual(fenceEventsOf(reader), ["begin", "commit", "begin", "cancel"], way);
  });
});

test("X-06 nothing passes an open fence", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  const other = openStore(new MemoryFs());
  store.append(USER, KIND, 1);
  const fence = store.beginFence();
  const refused: [string, () => unknown][] = [
    ["append", () => store.append(USER, KIND, 2)],
    ["append a batch", () => store.appendBatch([item(2)])],
    ["import events", () => store.importEvents(other)],
    ["compact", () => store.compact()],
    ["prune", () => store.prune({ below: 1 })],
    ["take a snapshot", () => store.snapshot("copy")],
    ["fork", () => store.fork("copy")],
    ["back up", () => store.backup("copy")],
    ["begin a fence", () => store.beginFence()],
  ];
  for (const [action, attempt] of refused) {
    assert.throws(
      attempt,
      (error) =>
        error instanceof FenceActiveError && error.code === "FENCE_ACTIVE" &&
        error.message ===
          `Cannot ${action} while a fence is open: do it through the fence, or wait until it has ended ` +
            "and try again",
    );
  }
  assert.equal(fs.stat("copy"), undefined);
  store.sync();
  fence.commit();
  for (const attempt of [() => fence.append(USER, KIND, 2), () => fence.commit()]) {
    assert.throws(attempt, FenceNotActiveError);
  }
  assert.throws(() => fence.cancel(), FenceNotActiveError);
  store.append(USER, KIND, 2);
  other.close();
});

test("X-07 later events never show what was cancelled before them", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { segmentMaxBytes: 900 });
  const seen: number[] = [];
  for (let n = 0; n < 40; n += 2) {
    store.append(USER, KIND, n);
    seen.push(n);
    const fence = store.beginFence();
    fence.append(USER, KIND, n + 1);
    if (n % 4 === 0) {
      fence.commit();
      seen.push(n + 1);
    } else fence.cancel();
    assert.deepEqual(payloadsOf(store), seen);
  }
  assert.ok(store.stats().segmentCount > 5, "fences cross segments");
  store.close();
  everyWay(fs, (reader, way) => assert.deepEqual(payloadsOf(reader), seen, way));
});

test("X-08 tokens count from 1", () => {
  using store = openStore(new MemoryFs());
  const first = store.beginFence();
  first.cancel();
  const second = store.beginFence();
  assert.deepEqual([first.token, second.token], [1, 2]);
  second.cancel();
});

test("an unresolved fence is cancelled by the next open, and the log says so", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  store.append(USER, KIND, 1);
  const fence = store.beginFence();
  fence.append(USER, KIND, 2);
  fence.append(USER, KIND, 3);
  const crashed = fs.snapshot();
  {
    using reader = openReader(crashed);
    assert.deepEqual(payloadsOf(reader), [1]);
    assert.deepEqual(fenceEventsOf(reader), ["begin"]);
  }
  {
    using again = openStore(crashed);
    assert.deepEqual(payloadsOf(again), [1]);
    assert.deepEqual(again.openReport.oddities, [
      "cancelled a fence that a crash had left open, and its 2 events with it",
    ]);
    assert.deepEqual(
      again.query({ kind: EventKind.SYSTEM_FENCE_CANCEL }).map((event) => event.payload),
      [
        { events: 2, recovered: true },
      ],
    );
    again.append(USER, KIND, 4, { expectedClock: 2 });
  }
  everyWay(crashed, (reader, way) => {
    assert.deepEqual(payloadsOf(reader), [1, 4], way);
    assert.deepEqual(fenceEventsOf(reader), ["begin", "cancel"], way);
  });
  fence.commit();
  assert.deepEqual(payloadsOf(store), [1, 2, 3], "the one that lived on is not concerned");
  store.close();
});

test("a fence cut by a crash at any byte is all there or not at all", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  store.append(USER, KIND, 0);
  const before = store.stats().logBytes;
  const fence = store.beginFence();
  for (const n of [1, 2, 3]) fence.append(USER, KIND, n);
  fence.commit();
  const end = store.stats().logBytes;
  const bytes = fs.snapshot().readFile(`${DIR}/000001.fbat`, 1 << 24);
  for (let cut = before; cut <= end; cut++) {
    const crashed = fs.snapshot();
    const file = crashed.open(`${DIR}/000001.fbat`, "write");
    file.resize(cut);
    file.close();
    using again = openStore(crashed);
    assert.deepEqual(payloadsOf(again), cut === end ? [0, 1, 2, 3] : [0], `cut at ${cut}`);
    again.append(USER, KIND, "on");
  }
  assert.ok(bytes.byteLength >= end);
  store.close();
});

test("clocks and hashes go on behind hidden events, and headClock() says where", () => {
  using store = openStore(new MemoryFs());
  store.append(USER, KIND, 1);
  const fence = store.beginFence();
  const staged = fence.append(USER, KIND, 2, { expectedClock: 0 });
  assert.equal(staged.clock, 1);
  fence.append(USER, KIND, 3, { expectedClock: 1 });
  assert.throws(() => fence.append(USER, KIND, 4, { expectedClock: 0 }), ClockConflictError);
  assert.equal(store.headClock(USER.entity), 2);
  fence.cancel();
  assert.equal(store.latest(USER.entity)?.clock, 0);
  assert.equal(store.headClock(USER.entity), 2);
  assert.equal(store.headClock(USER.entity, 1), "none");
  assert.equal(store.headClock("nobody"), "none");
  const next = store.append(USER, KIND, 5, { expectedClock: 2 });
  assert.equal(next.clock, 3);
  const walk = store.walkAncestors(next.eventId);
  assert.deepEqual(walk.ancestors.map(({ clock }) => clock), [3, 0]);
  assert.deepEqual(walk.boundary, { type: "ReachedGenesis" });
});

test("L-04 fenced appends on a lane follow one another before anybody sees them", () => {
  using store = openStore(new MemoryFs());
  const fence = store.beginFence();
  const tickets = [1, 2].map((n) => fence.append(USER, KIND, n, { lane: 3 }));
  assert.deepEqual(tickets.map(({ clock }) => clock), [0, 1]);
  const [first, second] = fence.commit();
  assert.deepEqual(second.prevHash, first.eventHash);
  assert.deepEqual(store.query({ lane: 3 }).map(({ payload }) => payload), [1, 2]);
});

test("the keys of cancelled events are free again", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  const fence = store.beginFence();
  const staged = fence.append(USER, KIND, "first", { idempotencyKey: "k" });
  const again = fence.append(USER, KIND, "repeated", { idempotencyKey: "k" });
  assert.equal(again.globalSequence, staged.globalSequence);
  assert.equal(fence.stagedCount, 1);
  assert.equal(again.receipt, undefined);
  fence.cancel();
  const receipt = store.append(USER, KIND, "second", { idempotencyKey: "k" });
  assert.equal(receipt.replayed, false);
  assert.equal(store.getByKey("k")?.payload, "second");
  const replayed = store.append(USER, KIND, "third", { idempotencyKey: "k" });
  assert.deepEqual([replayed.replayed, replayed.globalSequence], [true, receipt.globalSequence]);
  store.close();
  everyWay(fs, (reader, way) => assert.equal(reader.getByKey("k")?.payload, "second", way));
});

test("a key that was used before the fence gives its receipt at once", () => {
  using store = openStore(new MemoryFs());
  const receipt = store.append(USER, KIND, 1, { idempotencyKey: "k" });
  const fence = store.beginFence();
  const ticket = fence.append(USER, KIND, 2, { idempotencyKey: "k" });
  assert.equal(ticket.receipt?.eventId, receipt.eventId);
  assert.equal(ticket.receipt?.replayed, true);
  assert.deepEqual(fence.commit(), []);
});

test("failIf sees what its own fence has staged, and nothing that was cancelled", () => {
  using store = openStore(new MemoryFs());
  const once = { failIf: { region: { entity: USER.entity } } };
  const fence = store.beginFence();
  fence.append(USER, KIND, 1, once);
  assert.throws(() => fence.append(USER, KIND, 2, once), ConditionConflictError);
  fence.cancel();
  store.append(USER, KIND, 3, once);
  assert.deepEqual(payloadsOf(store), [3]);
});

test("a commit that cannot be written leaves the fence open, to be tried again", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  const fence = store.beginFence();
  fence.append(USER, KIND, 1);
  fs.failNext({ op: "writeAt", code: "ENOSPC" });
  assert.throws(() => fence.commit(), { code: "IO" });
  assert.equal(fence.state, "open");
  assert.deepEqual(payloadsOf(store), []);
  assert.equal(fence.commit().length, 1);
  assert.deepEqual(payloadsOf(store), [1]);
  store.close();
});

test("a cancel that cannot be written counts, and is written before anything else", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  const fence = store.beginFence();
  const ticket = fence.append(USER, KIND, 1);
  fs.failNext({ op: "writeAt", code: "ENOSPC" });
  assert.throws(() => fence.cancel(), { code: "IO" });
  assert.equal(fence.state, "cancelled");
  assert.throws(() => ticket.receipt, FenceCancelledError);
  assert.throws(() => fence.append(USER, KIND, 2), FenceNotActiveError);
  assert.deepEqual(payloadsOf(store), []);
  fs.failNext({ op: "writeAt", code: "ENOSPC" });
  assert.throws(() => store.append(USER, KIND, 2), { code: "IO" });
  store.append(USER, KIND, 3);
  assert.deepEqual(payloadsOf(store), [3]);
  assert.deepEqual(fenceEventsOf(store), ["begin", "cancel"]);
  store.close();
  everyWay(fs, (reader, way) => assert.deepEqual(payloadsOf(reader), [3], way));
});

test("a close that cannot write the cancel leaves it to the next open", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  store.append(USER, KIND, 1);
  const fence = store.beginFence();
  fence.append(USER, KIND, 2);
  fs.failNext({ op: "writeAt", code: "ENOSPC" });
  fs.failNext({ op: "writeAt", code: "ENOSPC", nth: 2 });
  store.close();
  everyWay(fs, (reader, way) => assert.deepEqual(payloadsOf(reader), [1], way));
});

test("X-14 a failed sync loses the fence: its tickets say so, and the next open decides", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  store.append(USER, KIND, 1);
  store.sync();
  const fence = store.beginFence();
  const ticket = fence.append(USER, KIND, 2);
  fs.failNext({ op: "sync", code: "EIO" });
  assert.throws(() => fence.commit(), WriterCrashedError);
  assert.equal(fence.state, "lost");
  assert.throws(() => ticket.receipt, WriterCrashedError);
  assert.throws(() => fence.commit(), WriterCrashedError);
  assert.deepEqual(payloadsOf(store), [1], "nothing of it is visible");
  assert.throws(() => store.close(), WriterCrashedError);
  using again = openStore(fs);
  assert.deepEqual(payloadsOf(again), [1, 2], "the frames were written, and nothing was lost");
});

test("a fence that another sync loses tells its tickets", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  const fence = store.beginFence();
  const ticket = fence.append(USER, KIND, 1);
  fs.failNext({ op: "sync", code: "EIO" });
  assert.throws(() => store.sync(), WriterCrashedError);
  assert.throws(() => ticket.receipt, WriterCrashedError);
  assert.throws(() => store.close(), WriterCrashedError);
  assert.throws(() => ticket.receipt, WriterCrashedError);
  using again = openStore(fs);
  assert.deepEqual(payloadsOf(again), []);
});

test("code of the caller that ends or begins a fence meanwhile changes nothing of what it was in", () => {
  using store = openStore(new MemoryFs());
  const fence = store.beginFence();
  const ending = {
    get now() {
      if (fence.state === "open") fence.commit();
      return 1;
    },
  };
  assert.throws(() => fence.append(USER, KIND, ending), FenceNotActiveError);
  let begun = false;
  const beginning = {
    get now() {
      if (!begun) store.beginFence();
      begun = true;
      return 1;
    },
  };
  assert.throws(() => store.append(USER, KIND, beginning), FenceActiveError);
  assert.throws(() => store.appendBatch([item(1)]), FenceActiveError);
  assert.deepEqual(payloadsOf(store), []);
});

test("compaction keeps what is hidden hidden, and erases it", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { segmentMaxBytes: 900 });
  const seen: unknown[] = [];
  for (let n = 0; n < 24; n++) {
    const fence = store.beginFence();
    const ticket = fence.append(USER, KIND, `secret ${n}`);
    if (n % 3 === 0) {
      fence.cancel();
      assert.throws(() => ticket.receipt, FenceCancelledError);
    } else {
      fence.commit();
      seen.push(`secret ${n}`);
    }
  }
  const keep = { maxCount: 1000 };
  const report = store.compact({ strategy: { type: "tombstone", keep }, seal: true });
  assert.equal(report.outcome, "performed");
  assert.equal(report.eventsErased, 8, "the cancelled ones");
  assert.deepEqual(payloadsOf(store), seen);
  store.close();
  everyWay(fs, (reader, way) => assert.deepEqual(payloadsOf(reader), seen, way));
});

test("a rule is not asked about cancelled events", () => {
  using store = openStore(new MemoryFs(), { segmentMaxBytes: 600 });
  for (let n = 0; n < 8; n++) {
    const fence = store.beginFence();
    fence.append(USER, KIND, n);
    if (n % 2 === 0) fence.commit();
    else fence.cancel();
  }
  const asked: unknown[] = [];
  const report = store.compact({
    strategy: {
      type: "tombstone",
      keep: (event) => {
        asked.push(event.payload);
        return true;
      },
    },
    seal: true,
  });
  assert.deepEqual(asked, [0, 2, 4, 6]);
  assert.equal(report.eventsErased, 4);
});

test("a prune never cuts a cancelled fence in two", () => {
  const make = () => {
    const fs = new MemoryFs();
    const store = openStore(fs, { segmentMaxBytes: 700 });
    store.append(USER, KIND, "before");
    const fence = store.beginFence();
    const tickets = Array.from({ length: 10 }, (_, n) => fence.append(USER, KIND, n));
    fence.cancel();
    store.append(USER, KIND, "after");
    return { fs, store, tickets };
  };
  const { tickets } = make();
  for (const { globalSequence } of tickets) {
    const { fs, store } = make();
    store.prune({ below: globalSequence });
    const left = payloadsOf(store);
    assert.equal(left.at(-1), "after");
    assert.ok(left.every((payload) => typeof payload === "string"));
    assert.ok(store.stats().firstSequence <= tickets[0].globalSequence);
    store.close();
    everyWay(fs, (reader, way) => assert.deepEqual(payloadsOf(reader), left, way));
  }
});

test("a prune may cut a committed fence in two", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { segmentMaxBytes: 700 });
  const fence = store.beginFence();
  const tickets = Array.from({ length: 10 }, (_, n) => fence.append(USER, KIND, n));
  fence.commit();
  store.prune({ below: tickets[6].globalSequence });
  const left = payloadsOf(store);
  assert.ok(left.length > 3 && left.length < 10 && left.at(-1) === 9);
  store.close();
  everyWay(fs, (reader, way) => assert.deepEqual(payloadsOf(reader), left, way));
});

test("copies and imports carry only what is seen", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  store.append(USER, KIND, 1);
  const fence = store.beginFence();
  fence.append(USER, KIND, 2);
  fence.cancel();
  store.append(USER, KIND, 3);
  store.snapshot("copy");
  {
    using copy = Store.open("copy", { fs });
    assert.deepEqual(payloadsOf(copy), [1, 3]);
  }
  using target = openStore(new MemoryFs());
  assert.equal(target.importEvents(store).imported, 2);
  assert.deepEqual(payloadsOf(target), [1, 3]);
  const open = store.beginFence();
  open.append(USER, KIND, 4);
  assert.equal(target.importEvents(store).imported, 0);
  using reader = openReader(fs);
  reader.snapshot("half");
  open.commit();
  assert.equal(target.importEvents(store).imported, 1);
  using half = Store.open("half", { fs });
  assert.deepEqual(payloadsOf(half), [1, 3], "what was open when it was copied is cancelled there");
});

test("an index file saved while a fence is open knows of it", () => {
  const fs = new MemoryFs();
  const coldStart = { indexFile: true, footers: true, saveEveryNEvents: 1 };
  const store = openStore(fs, { coldStart, sync: { everyNEvents: 1 } });
  store.append(USER, KIND, 1);
  const fence = store.beginFence();
  for (let n = 0; n < 10; n++) fence.append(USER, KIND, `staged ${n}`);
  const crashed = fs.snapshot();
  {
    using reader = openReader(crashed, { coldStart: { indexFile: true } });
    assert.equal(reader.openReport.indexFile, "loaded");
    assert.ok(reader.openReport.indexFileEntries > 4, "the file was saved behind the begin");
    assert.deepEqual(payloadsOf(reader), [1]);
    assert.equal(reader.stats().stagedCount, 10);
  }
  everyWay(crashed, (reader, way) => assert.deepEqual(payloadsOf(reader), [1], way));
  fence.commit();
  store.close();
  everyWay(fs, (reader, way) => assert.equal(payloadsOf(reader).length, 11, way));
});

test("any history of fences reads the same by every way, and as a list would say", () => {
  const step = fc.oneof(
    fc.record({ type: fc.constant("append" as const), entity: fc.nat(2) }),
    fc.record({
      type: fc.constant("fence" as const),
      end: fc.constantFrom("commit" as const, "cancel" as const, "dispose" as const),
      sizes: fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 4 }),
    }),
    fc.record({ type: fc.constant("reopen" as const), crash: fc.boolean() }),
    fc.record({ type: fc.constant("crash in a fence" as const), count: fc.nat(3) }),
    fc.record({ type: fc.constant("compact" as const) }),
  );
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 14 }),
      fc.integer({ min: 300, max: 3000 }),
      (steps, segmentMaxBytes) => {
        const options = { segmentMaxBytes, coldStart: { indexFile: true, footers: true } };
        let fs = new MemoryFs();
        let store = openStore(fs, options);
        const model: number[] = [];
        let next = 0;
        const at = (n: number) => ({ entity: `e:${n}`, scope: "s" });
        const crash = () => {
          fs = fs.snapshot();
          store = openStore(fs, options);
        };
        for (const step of steps) {
          switch (step.type) {
            case "append":
              store.append(at(step.entity), KIND, next);
              model.push(next++);
              break;
            case "fence": {
              using fence = store.beginFence();
              const staged: number[] = [];
              for (const size of step.sizes) {
                const items = Array.from({ length: size }, () => {
                  staged.push(next);
                  return { ...at(next % 3), kind: KIND, payload: next++ };
                });
                if (size === 1) fence.append(items[0], KIND, items[0].payload);
                else fence.appendBatch(items);
              }
              if (step.end === "commit") {
                assert.equal(fence.commit().length, staged.length);
                model.push(...staged);
              } else if (step.end === "cancel") fence.cancel();
              break;
            }
            case "reopen":
              if (step.crash) crash();
              else {
                store.close();
                store = openStore(fs, options);
              }
              break;
            case "crash in a fence": {
              const fence = store.beginFence();
              for (let n = 0; n < step.count; n++) fence.append(at(n), KIND, next++);
              crash();
              break;
            }
            case "compact":
              store.compact({ minSegments: 1 });
          }
          assert.deepEqual(payloadsOf(store), model);
        }
        everyWay(fs.snapshot(), (reader, way) => assert.deepEqual(payloadsOf(reader), model, way));
      },
    ),
    { numRuns: 60 },
  );
});
