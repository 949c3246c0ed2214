// Spec 5.7: batches; atomic, in order, within limits, under keys.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MemoryFs } from "../platform/memory.ts";
import { SimFs } from "../sim/sim_fs.ts";
import {
  DIR,
  factsOf,
  openIn,
  ORDER,
  OTHER,
  ownEvents,
  PAID,
  PLACED,
  segmentBytes,
} from "../tests/support_api/journal.ts";
import { jsonPayloads } from "../tests/support_api/arbitraries.ts";
import { spiedFs } from "../tests/support_api/spied_fs.ts";
import {
  BatchError,
  ConditionConflictError,
  IdempotencyError,
  StoreIoError,
  TooLargeError,
} from "./errors.ts";
import { defineEvent } from "./event_definition.ts";
import { EventKind } from "./event_kind.ts";
import { EventId, OperationKey } from "./ids.ts";
import { type BatchItem, Store } from "./store.ts";
import { verifyJournal } from "./verify.ts";

/** An item that says nothing but a payload. */
function item(payload: unknown, more: Partial<BatchItem> = {}): BatchItem {
  return { ...ORDER, kind: PLACED, payload, ...more };
}

/** Checks that `act` leaves no trace in the log or the store. */
function assertNothingWritten(store: Store, fs: MemoryFs, act: () => void): void {
  const bytes = segmentBytes(fs);
  // The index may build a table it had no need of before.
  const stats = { ...store.stats(), indexBytes: 0 };
  act();
  assert.deepEqual(segmentBytes(fs), bytes);
  assert.deepEqual({ ...store.stats(), indexBytes: 0 }, stats);
}

/** Checks that a batch fails because of one item, with this cause, and writes nothing. */
function assertItemRefused(
  store: Store,
  fs: MemoryFs,
  items: readonly BatchItem[],
  index: number,
  cause: object,
): void {
  assertNothingWritten(store, fs, () => {
    assert.throws(() => store.appendBatch(items), (error) => {
      assert.ok(error instanceof BatchError, String(error));
      assert.equal(error.code, "BATCH_FAILED");
      assert.equal(error.index, index);
      assert.throws(() => {
        throw error.cause;
      }, cause);
      return true;
    });
  });
}

// Order and content

test("appendBatch() returns receipts in the order of its items", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const items = [
    item("a"),
    item("b", OTHER),
    item("c", { kind: PAID }),
    item("d", { entity: OTHER.entity, scope: "elsewhere" }),
    item("e", { lane: 4 }),
  ];
  const receipts = store.appendBatch(items);
  assert.deepEqual(receipts.map(({ globalSequence }) => globalSequence), [1, 2, 3, 4, 5]);
  assert.deepEqual(receipts.map(({ clock }) => clock), [0, 0, 1, 1, 0]);
  assert.deepEqual(
    receipts.map(({ coordinate: { entity, scope }, kind, lane }) => ({
      entity,
      scope,
      kind,
      lane,
    })),
    items.map(({ entity, scope, kind, lane = 0 }) => ({ entity, scope, kind, lane })),
  );
  for (const [i, receipt] of receipts.entries()) {
    const event = store.get(receipt.eventId)!;
    assert.equal(event.payload, items[i].payload);
    assert.deepEqual(store.verifyReceipt(receipt), { valid: true, outcome: "unsigned" });
    assert.equal(receipt.timestampUs, receipts[0].timestampUs, "a batch has one time");
  }
});

test("an empty batch returns [] and writes nothing", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  assertNothingWritten(store, fs, () => {
    assert.deepEqual(store.appendBatch([]), []);
    assert.deepEqual(store.appendBatch([], { durability: "durable", failIf: {} }), []);
  });
});

test("the chain goes on within a batch, and from one batch to the next", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  const first = store.append(ORDER, PLACED, "single");
  const [a, b, c, d] = store.appendBatch([
    item("a"),
    item("b"),
    item("c", { lane: 1 }),
    item("d", { scope: "elsewhere" }),
  ]);
  assert.deepEqual(a.prevHash, first.eventHash);
  assert.deepEqual(b.prevHash, a.eventHash);
  assert.deepEqual(c.prevHash, new Uint8Array(32));
  assert.deepEqual(d.prevHash, b.eventHash);
  assert.deepEqual(store.append(ORDER, PLACED, "after").prevHash, d.eventHash);
  store.close();
  using again = openIn(fs);
  const [next] = again.appendBatch([item("e", { lane: 1 })]);
  assert.deepEqual(next.prevHash, c.eventHash);
  assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
  const walk = again.walkAncestors(d.eventId);
  assert.deepEqual(walk.ancestors.map(({ payload }) => payload), ["d", "b", "a", "single"]);
  assert.equal(walk.boundary.type, "ReachedGenesis");
});

// Quirk 5 of the reference: flags and versions of batch items were dropped.
test("everything an item says is kept, over a reopen and over a crash", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  const definition = defineEvent<string>({ name: "e", kind: "E:001", version: 1 });
  const causationId = OperationKey.of("somebody", ["else"]).id;
  const [{ eventId }, plain] = store.appendBatch([
    item("typed", {
      kind: definition,
      lane: 2,
      depth: 3,
      flags: 0xff,
      tags: ["t", "u"],
      extensions: { "a.b": Uint8Array.of(1) },
      causationId,
      correlationId: causationId,
      idempotencyKey: "k1",
    }),
    item(Uint8Array.of(7), { payloadEncoding: "opaque", idempotencyKey: "k2" }),
  ]);
  const facts = store.query().map(factsOf);
  const crashed = fs.snapshot();
  store.close();
  for (const after of [fs, crashed]) {
    using reader = Store.openReadOnly(DIR, { fs: after });
    assert.deepEqual(reader.query().slice(0, facts.length).map(factsOf), facts);
    const event = reader.get(eventId)!;
    assert.equal(event.payloadVersion, 1);
    assert.equal(event.flags, 0xff);
    assert.deepEqual([event.lane, event.depth, event.tags], [2, 3, ["t", "u"]]);
    assert.deepEqual(event.extensions, { "a.b": Uint8Array.of(1) });
    assert.deepEqual([event.causationId, event.correlationId], [causationId, causationId]);
    assert.deepEqual(reader.get(plain.eventId)!.payloadBytes, Uint8Array.of(7));
  }
});

test("an item of one batch leaves nothing for an item of the next", () => {
  using store = openIn(new MemoryFs());
  const full: Partial<BatchItem> = {
    lane: 2,
    depth: 3,
    flags: 4,
    tags: ["t"],
    extensions: { "a.b": Uint8Array.of(1) },
    causationId: OperationKey.of("a", []).id,
    correlationId: OperationKey.of("b", []).id,
    payloadEncoding: "opaque",
  };
  store.appendBatch([
    item(Uint8Array.of(1), { ...full, idempotencyKey: "1" }),
    item(Uint8Array.of(2), { ...full, idempotencyKey: "2" }),
  ]);
  store.appendBatch([item("x"), item("y", { causationItem: 0 })]);
  const [x, y] = store.appendBatch([item("x"), item("y")]).map(({ eventId }) =>
    store.get(eventId)!
  );
  for (const event of [x, y]) {
    const { lane, depth, flags, tags, extensions, causationId, correlationId } = event;
    assert.deepEqual(
      { lane, depth, flags, tags, extensions, causationId, correlationId },
      {
        lane: 0,
        depth: 0,
        flags: 0,
        tags: [],
        extensions: {},
        causationId: undefined,
        correlationId: event.eventId,
      },
    );
  }
  assert.equal(y.payload, "y");
});

test("payloads of a batch do not share bytes", () => {
  using store = openIn(new MemoryFs());
  const bytes = Uint8Array.of(1, 2);
  const receipts = store.appendBatch([
    item("a".repeat(3000)),
    item(["b"]),
    item(bytes, { payloadEncoding: "opaque" }),
    item(bytes, { payloadEncoding: "opaque" }),
    item({ c: "c".repeat(5000) }),
  ]);
  bytes.fill(9);
  assert.deepEqual(receipts.map(({ eventId }) => store.get(eventId)!.payload), [
    "a".repeat(3000),
    ["b"],
    Uint8Array.of(1, 2),
    Uint8Array.of(1, 2),
    { c: "c".repeat(5000) },
  ]);
});

// Causes

test("causationItem names an earlier item of the batch", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  const receipts = store.appendBatch([
    item("root"),
    item("left", { causationItem: 0 }),
    item("right", { ...OTHER, causationItem: 0 }),
    item("leaf", { causationItem: 2 }),
    item("alone"),
  ]);
  const ids = receipts.map(({ eventId }) => eventId);
  const expected = [undefined, ids[0], ids[0], ids[2], undefined];
  assert.deepEqual(ids.map((id) => store.get(id)!.causationId), expected);
  store.close();
  using again = openIn(fs);
  assert.deepEqual(ids.map((id) => again.get(id)!.causationId), expected);
  assert.deepEqual(again.effects(ids[0]).map(({ eventId }) => eventId), [ids[1], ids[2]]);
  assert.deepEqual(again.causes(ids[3]).map(({ eventId }) => eventId), [ids[2], ids[0]]);
});

test("a cause that is the item itself, a later one or none at all is refused", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  for (const causationItem of [1, 2, 3, -1, 0.5, NaN, Infinity, "0" as never]) {
    const items = [item("a"), item("b", { causationItem }), item("c")];
    assertItemRefused(store, fs, items, 1, { name: "RangeError" });
  }
  assertItemRefused(store, fs, [item("a", { causationItem: 0 })], 0, { name: "RangeError" });
  const both = { causationItem: 0, causationId: EventId.NIL };
  assertItemRefused(store, fs, [item("a"), item("b", both)], 1, { name: "TypeError" });
});

// Limits

test("batch.maxSize holds at the boundary and refuses one more", () => {
  const fs = new MemoryFs();
  using store = openIn(fs, { batch: { maxSize: 3 } });
  const items = [item(1), item(2), item(3), item(4)];
  assert.equal(store.appendBatch(items.slice(0, 2)).length, 2);
  assert.equal(store.appendBatch(items.slice(0, 3)).length, 3);
  assertNothingWritten(store, fs, () => {
    assert.throws(() => store.appendBatch(items), (error) => {
      assert.ok(error instanceof TooLargeError);
      assert.deepEqual([error.actual, error.limit], [4, 3]);
      assert.match(error.message, /option "batch.maxSize"/);
      return true;
    });
  });
});

test("a batch of 256 fits by default, one of 4096 when asked for", () => {
  const many = Array.from({ length: 4097 }, (_, i) => item(i, { entity: `e:${i % 10}` }));
  {
    using store = openIn(new MemoryFs());
    assert.equal(store.appendBatch(many.slice(0, 256)).length, 256);
    assert.throws(() => store.appendBatch(many.slice(0, 257)), { code: "TOO_LARGE", limit: 256 });
  }
  const fs = new MemoryFs();
  {
    using store = openIn(fs, { batch: { maxSize: 4096 }, segmentMaxBytes: 1 });
    store.appendBatch(many.slice(0, 4096));
    assert.throws(() => store.appendBatch(many), { code: "TOO_LARGE", limit: 4096 });
  }
  using reader = Store.openReadOnly(DIR, { fs });
  assert.deepEqual(
    reader.query({ kind: PLACED }).map(({ payload }) => payload),
    Array.from({ length: 4096 }, (_, i) => i),
  );
});

test("batch.maxBytes counts payloads and extensions of all items", () => {
  const fs = new MemoryFs();
  using store = openIn(fs, { batch: { maxBytes: 1000 } });
  const opaque = (size: number, more: Partial<BatchItem> = {}) =>
    item(new Uint8Array(size), { payloadEncoding: "opaque", ...more });
  const extensions = { "app.audit": new Uint8Array(100) };
  const room = 1000 - 500 - (8 + "app.audit".length + 100);
  store.appendBatch([opaque(500), opaque(500)]);
  store.appendBatch([opaque(500), opaque(room, { extensions })]);
  assertNothingWritten(store, fs, () => {
    for (
      const items of [[opaque(500), opaque(501)], [opaque(500), opaque(room + 1, { extensions })]]
    ) {
      assert.throws(() => store.appendBatch(items), (error) => {
        assert.ok(error instanceof TooLargeError);
        assert.deepEqual([error.actual, error.limit], [1001, 1000]);
        assert.match(error.message, /option "batch.maxBytes"/);
        return true;
      });
    }
  });
});

test("an item over the limit for one event is named", () => {
  const fs = new MemoryFs();
  using store = openIn(fs, { singleAppendMaxBytes: 300 });
  const big = item(new Uint8Array(301), { payloadEncoding: "opaque" });
  assertItemRefused(store, fs, [item(1), big, item(2)], 1, {
    code: "TOO_LARGE",
    actual: 301,
    limit: 300,
  });
});

// What an item may not be

test("whatever is wrong with an item, its index and its error are told, and nothing is written", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const good = item("good", { entity: "brand-new" });
  const definition = defineEvent({
    name: "strict",
    kind: "E:001",
    schema: {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: () => ({ issues: [{ message: "never" }] }),
      },
    },
  });
  const cases: readonly (readonly [BatchItem, object])[] = [
    [item(1, { expectedClock: "none" }), { name: "TypeError", message: /single appends/ }],
    [item(1, { expectedClock: 0 }), { name: "TypeError", message: /single appends/ }],
    [item(1, { kind: EventKind.SYSTEM_DENIAL }), { code: "RESERVED_KIND", kind: 0x000f }],
    [item(1, { entity: "a/b" }), { code: "COORDINATE", reason: "PathTraversal" }],
    [item(1, { scope: "" }), { code: "COORDINATE", reason: "EmptyScope" }],
    [item(1, { tags: ["\n"] }), { code: "TAG", reason: "ControlChar" }],
    [item(1, { lane: -1 }), { name: "RangeError" }],
    [item(1, { idempotencyKey: "" }), { code: "ID", reason: "EmptyKey" }],
    [item(1, { kind: definition }), { code: "VALIDATION", event: "strict" }],
    [item(new Map()), { code: "SERIALIZATION" }],
    [item(1, { extensions: { a: new Uint8Array() } }), { code: "EXTENSION_KEY" }],
  ];
  for (const [bad, cause] of cases) {
    assertItemRefused(store, fs, [good, bad], 1, cause);
    assertItemRefused(store, fs, [bad, good], 0, cause);
    assertItemRefused(store, fs, [good, good, bad, bad], 2, cause);
  }
  // The entity that stood in front of every bad item has not begun.
  assert.equal(store.append(good, PLACED, 1, { expectedClock: "none" }).clock, 0);
  assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
});

test("the message of a batch error names the item and its reason", () => {
  using store = openIn(new MemoryFs());
  assert.throws(
    () => store.appendBatch([item(1), item(2, { kind: EventKind.TOMBSTONE })]),
    {
      message: "Cannot append the batch: item 1: Cannot append an event of kind 0x0FFE: " +
        "categories 0x0 and 0xD are reserved for the store",
    },
  );
});

// Idempotency

const KEYED = [
  item("a", { idempotencyKey: "ka" }),
  item("b", { ...OTHER, idempotencyKey: OperationKey.of("batch", ["b"]) }),
];

test("a batch whose keys are known returns its first receipts: at once, reopened, crashed", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  const first = store.appendBatch(KEYED).map((receipt) => receipt.toJSON());
  const replayed = (on: Store) => on.appendBatch(KEYED).map((receipt) => receipt.toJSON());
  assertNothingWritten(store, fs, () => assert.deepEqual(replayed(store), first));
  const crashed = fs.snapshot();
  store.close();
  for (const after of [fs, crashed]) {
    using again = openIn(after);
    assertNothingWritten(again, after, () => {
      assert.deepEqual(replayed(again), first);
      // Other payloads, another order, a condition that fails: it has happened all the same.
      const [a, b] = KEYED;
      const other = again.appendBatch([{ ...b, payload: 1 }, { ...a, kind: PAID }], { failIf: {} });
      assert.deepEqual(other.map((receipt) => receipt.toJSON()), [first[1], first[0]]);
    });
  }
});

test("a keyed event replays whether it came in a batch or alone", () => {
  using store = openIn(new MemoryFs());
  const [a] = store.appendBatch(KEYED);
  assert.deepEqual(store.append(ORDER, PLACED, 1, { idempotencyKey: "ka" }).toJSON(), a.toJSON());
  const single = store.append(ORDER, PLACED, 1, { idempotencyKey: "single" });
  const [again] = store.appendBatch([item("x", { idempotencyKey: "single" })]);
  assert.deepEqual(again.toJSON(), single.toJSON());
});

test("keys that do not describe one operation are refused, and nothing is written", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  store.appendBatch(KEYED);
  const [a, b] = KEYED;
  const cases: readonly (readonly [readonly BatchItem[], RegExp])[] = [
    [[item(1, { idempotencyKey: "new" }), item(2)], /1 of 2 items have one/],
    [[item(1), item(2), item(3, { idempotencyKey: "new" })], /1 of 3 items have one/],
    [[a, item(2)], /1 of 2 items have one/],
    [[a, item(2, { idempotencyKey: "new" })], /1 of 2 were used before/],
    [[item(1, { idempotencyKey: "new" }), b, a], /2 of 3 were used before/],
    [[item(1, { idempotencyKey: "new" }), item(2, { idempotencyKey: "new" })], /item 1 repeats/],
    [[a, b, a], /item 2 repeats/],
  ];
  for (const [items, message] of cases) {
    assertNothingWritten(store, fs, () => {
      assert.throws(() => store.appendBatch(items), (error) => {
        assert.ok(error instanceof IdempotencyError);
        assert.equal(error.code, "IDEMPOTENCY");
        assert.match(error.message, message);
        return true;
      });
    });
  }
});

// Conditions and durability

test("failIf holds for the whole batch, and its own items do not count", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const taken = store.append(ORDER, PLACED, 1, { tags: ["seat:1"] });
  const items = [item(1, { tags: ["seat:2"] }), item(2, { tags: ["seat:2"] })];
  assertNothingWritten(store, fs, () => {
    assert.throws(
      () => store.appendBatch(items, { failIf: { tags: ["seat:1"] } }),
      (error) => {
        assert.ok(error instanceof ConditionConflictError);
        assert.deepEqual(error.conflicts, [{ globalSequence: 1, eventId: taken.eventId }]);
        return true;
      },
    );
  });
  assert.equal(store.appendBatch(items, { failIf: { tags: ["seat:2"] } }).length, 2);
});

test("a durable batch answers after its sync, and all of it is durable", () => {
  const ops: string[] = [];
  const fs = spiedFs(new MemoryFs(), (op) => ops.push(op));
  using store = openIn(fs, { sync: { everyNEvents: 0 } });
  store.appendBatch([item(1), item(2)]);
  assert.equal(store.durableSequence, 1);
  ops.length = 0;
  store.appendBatch([item(3), item(4)], { durability: "durable" });
  assert.deepEqual(ops, ["writeAt", "sync"]);
  assert.equal(store.durableSequence, 5);
});

// All or nothing

test("a batch is one write, and until it is over nobody sees any of it", () => {
  const inner = new MemoryFs();
  let peek: (() => void) | undefined;
  const fs = spiedFs(inner, (op) => (op === "writeAt" || op === "sync") && peek?.());
  using store = openIn(fs);
  using reader = Store.openReadOnly(DIR, { fs: inner });
  const seen: number[][] = [];
  const iterator = store.events({ kind: PLACED });
  peek = () => seen.push([store.query({ kind: PLACED }).length, reader.refresh()]);
  store.appendBatch(Array.from({ length: 50 }, (_, i) => item(i)), { durability: "durable" });
  peek = undefined;
  // At the write there is nothing. At the sync the whole group is in the file, and not yet here.
  assert.deepEqual(seen, [[0, 0], [0, 50]]);
  assert.equal(store.query({ kind: PLACED }).length, 50);
  assert.deepEqual([...iterator], [], "the iterator began before the batch");
});

test("a batch lies in one segment, also when it overfills it", () => {
  const fs = new MemoryFs();
  {
    using store = openIn(fs, { segmentMaxBytes: 600 });
    for (let round = 0; round < 6; round++) {
      const receipts = store.appendBatch(Array.from({ length: 5 }, (_, i) => item(i)));
      assert.equal(new Set(receipts.map(({ position }) => position.segmentId)).size, 1);
    }
    assert.ok(store.stats().segmentCount > 5);
  }
  using again = openIn(fs);
  assert.equal(ownEvents(again.query()).length, 30);
});

test("a batch that cannot be written leaves nothing, and may be sent again", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  fs.failNext({ op: "writeAt", code: "ENOSPC", after: 150 });
  assert.throws(() => store.appendBatch(KEYED), StoreIoError);
  assert.equal(ownEvents(store.query()).length, 0);
  using reader = Store.openReadOnly(DIR, { fs });
  assert.equal(ownEvents(reader.query()).length, 0);
  assert.equal(store.appendBatch(KEYED).length, 2);
  assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
});

test("an append or a batch inside a schema of an item disturbs the batch in nothing", () => {
  // What went wrong: all batches shared their drafts, and single appends theirs.
  const fs = new MemoryFs();
  using store = openIn(fs);
  const noisy = defineEvent({
    name: "noisy",
    kind: "E:001",
    schema: {
      "~standard": {
        version: 1,
        vendor: "test",
        validate(value: unknown) {
          store.append({ entity: "audit", scope: "log" }, PAID, value, { lane: 7, tags: ["x"] });
          store.appendBatch([
            item("inner", { entity: "audit", lane: 8 }),
            item("inner", { entity: "audit", lane: 8, causationItem: 0 }),
            item("inner", { entity: "audit", lane: 8, tags: ["y"] }),
          ]);
          return { value };
        },
      },
    },
  });
  const receipts = store.appendBatch([
    item("a", { depth: 1 }),
    item("b", { kind: noisy, ...OTHER, tags: ["b"] }),
    item("c", { kind: noisy, causationItem: 1 }),
  ]);
  const events = receipts.map(({ eventId }) => store.get(eventId)!);
  assert.deepEqual(
    events.map(({ entity, kind, lane, depth, tags, payload }) => [
      entity,
      kind,
      lane,
      depth,
      tags,
      payload,
    ]),
    [
      [ORDER.entity, PLACED, 0, 1, [], "a"],
      [OTHER.entity, 0xe001, 0, 0, ["b"], "b"],
      [ORDER.entity, 0xe001, 0, 0, [], "c"],
    ],
  );
  assert.equal(events[2].causationId, events[1].eventId);
  assert.deepEqual(
    store.query({ entity: "audit" }).map(({ payload }) => payload),
    ["b", "inner", "inner", "inner", "c", "inner", "inner", "inner"],
  );
  assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
});

test("a batch is what its items would be one by one, but for time and groups", () => {
  const anyItem = fc.record({
    entity: fc.constantFrom("a", "b", "c:d"),
    scope: fc.constantFrom("s", "t"),
    kind: fc.constantFrom(PLACED, PAID),
    payload: jsonPayloads,
    lane: fc.nat(2),
    depth: fc.nat(5),
    flags: fc.nat(255),
    tags: fc.array(fc.constantFrom("x", "y", "z")),
  });
  fc.assert(
    fc.property(fc.array(anyItem, { minLength: 1, maxLength: 12 }), (items) => {
      using batched = openIn(new MemoryFs());
      using single = openIn(new MemoryFs());
      batched.appendBatch(items);
      for (const { entity, scope, kind, payload, ...options } of items) {
        single.append({ entity, scope }, kind, payload, options);
      }
      const facts = (store: Store) =>
        ownEvents(store.query()).map((event) => {
          const { entity, scope, kind, clock, lane, depth, flags, tags, payload } = event;
          return { entity, scope, kind, clock, lane, depth, flags, tags, payload };
        });
      assert.deepEqual(facts(batched), facts(single));
    }),
    { numRuns: 60 },
  );
});

test("a durable retry is durable, also of an append that was not", () => {
  // A retry was answered from the index without a look at the disk, so a caller who asked for durability
  // could lose the event to a power cut. Now what is not durable yet is synced before the answer.
  using store = openIn(new MemoryFs());
  const user = { entity: "user:1", scope: "app" };
  const first = store.append(user, EventKind.DATA, 1, { idempotencyKey: "one" });
  assert.equal(store.durableSequence, first.globalSequence);
  const durability = "durable" as const;
  const again = store.append(user, EventKind.DATA, 1, { idempotencyKey: "one", durability });
  assert.equal(again.replayed, true);
  assert.equal(store.durableSequence, first.globalSequence + 1);

  const items = [1, 2].map((n) => ({
    ...user,
    kind: EventKind.DATA,
    payload: n,
    idempotencyKey: `batch ${n}`,
  }));
  const batch = store.appendBatch(items);
  assert.equal(store.durableSequence, batch[0].globalSequence);
  assert.ok(store.appendBatch(items, { durability }).every(({ replayed }) => replayed));
  assert.equal(store.durableSequence, batch[1].globalSequence + 1);
});

test("a batch that cannot read what its first event follows is an I/O error, and no item's fault", () => {
  // Running out of handles while the event before was looked up named item 0 as wrong, and callers drop what
  // is wrong. It is the journal's trouble now, for batches and for imports.
  const fs = new SimFs();
  const store = Store.open(DIR, { fs, segmentMaxBytes: 1, fdBudget: 1 });
  store.append(ORDER, PLACED, "first");
  store.append({ ...ORDER, entity: "other" }, PLACED, "second");
  const source = Store.open(DIR, { fs: new MemoryFs() });
  source.append(ORDER, PLACED, "imported");
  const attempts = {
    batch: () => void store.appendBatch([item("third")]),
    import: () => void store.importEvents(source),
  };
  for (const [name, attempt] of Object.entries(attempts)) {
    const before = store.stats().nextSequence;
    fs.armFaultOn("Open", 1, { code: "EMFILE" });
    assert.throws(attempt, (error) => {
      assert.ok(error instanceof StoreIoError, `${name}: ${error}`);
      assert.equal(error.fault.code, "EMFILE");
      return true;
    });
    fs.assertAllFired();
    assert.equal(store.stats().nextSequence, before);
    attempt();
    assert.equal(store.stats().nextSequence, before + 1);
  }
});
