// Spec 5.7: single appends; clocks, keys, labels, kinds, sizes, time, durability, the chain.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MemoryFs } from "../platform/memory.ts";
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
import { jsonPayloads } from "../tests/support_api/arbitraries.ts";
import { spiedFs } from "../tests/support_api/spied_fs.ts";
import type { AppendOptions } from "./append.ts";
import { CoordinateError } from "./coordinate.ts";
import {
  BatchError,
  ClockConflictError,
  InvalidClockError,
  ReservedKindError,
  TooLargeError,
  WriterCrashedError,
} from "./errors.ts";
import { defineEvent, type EventDefinition } from "./event_definition.ts";
import { EventKind } from "./event_kind.ts";
import { Denial, GateSet } from "./gates.ts";
import { EventId, OperationKey } from "./ids.ts";
import { Receipt } from "./receipt.ts";
import { Store } from "./store.ts";
import { verifyJournal } from "./verify.ts";

/** Checks that `act` throws what `check` expects, and leaves no trace in the log or the store. */
function assertNothingWritten(store: Store, fs: MemoryFs, act: () => void): void {
  const bytes = segmentBytes(fs);
  // The index may build a table it had no need of before.
  const stats = { ...store.stats(), indexBytes: 0 };
  act();
  assert.deepEqual(segmentBytes(fs), bytes);
  assert.deepEqual({ ...store.stats(), indexBytes: 0 }, stats);
}

// expectedClock (5.7, box 1; quirk 1: none and 0 are two things)

test("expectedClock none holds before the first event of an entity, and never again", () => {
  using store = openIn(new MemoryFs());
  assert.equal(store.append(ORDER, PLACED, 1, { expectedClock: "none" }).clock, 0);
  assert.throws(
    () => store.append(ORDER, PLACED, 2, { expectedClock: "none" }),
    (error) => {
      assert.ok(error instanceof ClockConflictError);
      assert.equal(error.code, "CLOCK_CONFLICT");
      assert.deepEqual(error.conflict, {
        entity: ORDER.entity,
        lane: 0,
        expected: "none",
        actual: 0,
      });
      assert.equal(error.message, 'Cannot append the first event of "order:1": it is at clock 0');
      return true;
    },
  );
});

test("expectedClock 0 holds when there is exactly one event, and not when there is none", () => {
  using store = openIn(new MemoryFs());
  assert.throws(
    () => store.append(ORDER, PLACED, 1, { expectedClock: 0 }),
    (error) => {
      assert.ok(error instanceof ClockConflictError);
      assert.deepEqual(error.conflict, {
        entity: ORDER.entity,
        lane: 0,
        expected: 0,
        actual: "none",
      });
      return true;
    },
  );
  store.append(ORDER, PLACED, 1);
  assert.equal(store.append(ORDER, PLACED, 2, { expectedClock: 0 }).clock, 1);
  assert.throws(() => store.append(ORDER, PLACED, 3, { expectedClock: 0 }), ClockConflictError);
  assert.equal(store.append(ORDER, PLACED, 3, { expectedClock: 1 }).clock, 2);
});

test("of two callers that read the same clock, one wins", () => {
  using store = openIn(new MemoryFs());
  store.append(ORDER, PLACED, "both read this");
  const clock = store.latest(ORDER.entity)!.clock;
  const outcomes = ["a", "b", "c"].map((caller) => {
    try {
      return store.append(ORDER, PAID, caller, { expectedClock: clock }).clock;
    } catch (error) {
      assert.ok(error instanceof ClockConflictError);
      return error.conflict.actual;
    }
  });
  assert.deepEqual(outcomes, [1, 1, 1]);
  assert.deepEqual(store.query({ kind: PAID }).map(({ payload }) => payload), ["a"]);
});

test("every lane has a clock, a chain and a condition of its own", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  store.append(ORDER, PLACED, "main");
  const branch = store.append(ORDER, PLACED, "branch", { lane: 9, expectedClock: "none" });
  assert.equal(branch.clock, 0);
  assert.equal(branch.lane, 9);
  assert.deepEqual(branch.prevHash, new Uint8Array(32));
  const next = store.append(ORDER, PLACED, "branch 2", { lane: 9, expectedClock: 0 });
  assert.deepEqual(next.prevHash, branch.eventHash);
  assert.throws(
    () => store.append(ORDER, PLACED, "x", { lane: 9, expectedClock: 0 }),
    { message: 'Cannot append an event after clock 0 of "order:1" on lane 9: it is at clock 1' },
  );
  store.append(ORDER, PLACED, "main 2", { expectedClock: 0 });
  // One axis for all of them.
  assert.deepEqual(
    store.query({ entity: ORDER.entity }).map(({ globalSequence, lane, clock }) => [
      globalSequence,
      lane,
      clock,
    ]),
    [[1, 0, 0], [2, 9, 0], [3, 9, 1], [4, 0, 1]],
  );
  store.close();
  using again = openIn(fs);
  assert.equal(again.append(ORDER, PLACED, 1, { lane: 9, expectedClock: 1 }).clock, 2);
  assert.equal(again.append(ORDER, PLACED, 1, { lane: 10, expectedClock: "none" }).clock, 0);
});

// Quirk 3, kept: the entity owns its clock, in whatever scope.
test("the clock belongs to the entity, whatever the scope", () => {
  using store = openIn(new MemoryFs());
  store.append({ entity: "order:1", scope: "shop" }, PLACED, 1);
  const receipt = store.append({ entity: "order:1", scope: "audit" }, PLACED, 2, {
    expectedClock: 0,
  });
  assert.equal(receipt.clock, 1);
  assert.equal(store.query({ scope: "shop" }).length, 1);
});

test("a refused expectedClock writes nothing and begins no entity", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  // What went wrong: the entity was counted as one that has an event, and kept in memory for good.
  assertNothingWritten(store, fs, () => {
    const nobody = { entity: "nobody", scope: "nowhere" };
    assert.throws(
      () => store.append(nobody, PLACED, 1, { expectedClock: 4 }),
      ClockConflictError,
    );
  });
});

test("an expectedClock that is no clock is a RangeError", () => {
  using store = openIn(new MemoryFs());
  for (const clock of [-1, 0.5, NaN, Infinity, 2 ** 32, "0", "None", null]) {
    assert.throws(
      () => store.append(ORDER, PLACED, 1, { expectedClock: clock as number }),
      RangeError,
    );
  }
});

// Idempotency (5.7, boxes 2 and 3; quirk 2: a retry comes before the clock)

test("a key replays the first receipt: at once, after a reopen, and after a crash", () => {
  const fs = new MemoryFs();
  const options: AppendOptions = {
    idempotencyKey: "checkout-77",
    expectedClock: "none",
    tags: ["a"],
    lane: 2,
    extensions: { "app.audit": Uint8Array.of(1, 2) },
  };
  const store = openIn(fs);
  const first = store.append(ORDER, PLACED, { total: 12 }, options);
  assert.deepEqual(store.append(ORDER, PLACED, { total: 12 }, options).toJSON(), first.toJSON());
  assert.equal(store.stats().nextSequence, 2);

  const crashed = fs.snapshot();
  store.close();
  for (const after of [fs, crashed]) {
    using again = openIn(after);
    const next = again.stats().nextSequence;
    assert.deepEqual(again.append(ORDER, PLACED, { total: 12 }, options).toJSON(), first.toJSON());
    assert.equal(again.stats().nextSequence, next);
    assert.deepEqual(again.verifyReceipt(first), { valid: true, outcome: "unsigned" });
  }
});

test("a known key returns the original and changes nothing, whatever else the retry says", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const first = store.append(ORDER, PLACED, "first", { idempotencyKey: "k" }).toJSON();
  store.append(ORDER, PLACED, "later");
  // A durable retry of what is durable has nothing to sync.
  store.sync();
  assertNothingWritten(store, fs, () => {
    const retries: (() => { toJSON(): unknown })[] = [
      () => store.append(ORDER, PLACED, "second", { idempotencyKey: "k" }),
      () => store.append(OTHER, PAID, "second", { idempotencyKey: "k", lane: 5, tags: ["t"] }),
      // Stale conditions: the operation has happened, so they are answered already.
      () => store.append(ORDER, PLACED, "first", { idempotencyKey: "k", expectedClock: "none" }),
      () => store.append(ORDER, PLACED, "first", { idempotencyKey: "k", expectedClock: 77 }),
      () => store.append(ORDER, PLACED, "first", { idempotencyKey: "k", failIf: {} }),
      () => store.append(ORDER, PLACED, "first", { idempotencyKey: "k", durability: "durable" }),
      () => store.append(ORDER, PLACED, "x", { idempotencyKey: "k", payloadEncoding: undefined }),
    ];
    for (const retry of retries) assert.deepEqual(retry().toJSON(), first);
  });
});

test("a receipt says whether its append wrote anything, and does not carry that abroad", () => {
  const fs = new MemoryFs();
  const key = { idempotencyKey: "k" } as const;
  const items = [{ ...ORDER, kind: PLACED, payload: 1, idempotencyKey: "b" }];
  for (const round of [1, 2]) {
    using store = openIn(fs);
    const receipts = [store.append(ORDER, PLACED, 1, key), ...store.appendBatch(items)];
    assert.deepEqual(receipts.map(({ replayed }) => replayed), [round === 2, round === 2]);
    assert.equal(store.append(ORDER, PLACED, 1, key).replayed, true);
    assert.equal(store.append(ORDER, PLACED, 1).replayed, false);
    for (const receipt of receipts) {
      assert.ok(!("replayed" in receipt.toJSON()));
      assert.equal(Receipt.fromClaim(receipt.toJSON()).replayed, false);
    }
  }
});

test("getByKey() finds what was appended under a key, here and after a reopen", () => {
  const fs = new MemoryFs();
  const key = OperationKey.of("transfer", ["a", "b"]);
  const store = openIn(fs);
  const plain = store.append(ORDER, PLACED, "plain", { idempotencyKey: "k" });
  store.append(ORDER, PLACED, "derived", { idempotencyKey: key });
  store.append(ORDER, PLACED, "without");
  store.close();
  using reader = Store.openReadOnly(DIR, { fs });
  assert.equal(reader.getByKey("k")?.eventId, plain.eventId);
  assert.equal(reader.getByKey(key)?.payload, "derived");
  assert.equal(reader.getByKey("K"), undefined);
  assert.throws(() => reader.getByKey(""), { code: "ID", reason: "EmptyKey" });
});

test("a key holds for the whole journal, and a refused append does not use it up", () => {
  using store = openIn(new MemoryFs());
  const key = { idempotencyKey: "k" } as const;
  assert.throws(
    () => store.append(ORDER, PLACED, 1, { ...key, expectedClock: 3 }),
    ClockConflictError,
  );
  assert.throws(() => store.append(ORDER, PLACED, 1, { ...key, failIf: {} }), {
    code: "CONDITION_CONFLICT",
  });
  const receipt = store.append(ORDER, PLACED, 1, { ...key, expectedClock: "none" });
  assert.equal(receipt.globalSequence, 1);
  assert.equal(store.append(OTHER, PLACED, 2, key).eventId, receipt.eventId);
});

test("keys are compared whole, and an OperationKey names the event before it exists", () => {
  using store = openIn(new MemoryFs());
  const keys = [
    "a",
    "A",
    "a ",
    "á",
    OperationKey.of("a", []),
    OperationKey.of("a", [""]),
    OperationKey.of("transfer", ["ab", "c"]),
    OperationKey.of("transfer", ["a", "bc"]),
  ];
  const ids = keys.map((idempotencyKey) =>
    store.append(ORDER, PLACED, 1, { idempotencyKey }).eventId
  );
  assert.equal(new Set(ids).size, keys.length);
  assert.equal(ids[7], OperationKey.of("transfer", ["a", "bc"]).id);
  assert.equal(store.get(OperationKey.of("transfer", ["ab", "c"]).id)?.globalSequence, 7);
});

test("an idempotency key that cannot be one is refused", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const refuse = (idempotencyKey: unknown, reason: string) =>
    assertNothingWritten(store, fs, () => {
      assert.throws(
        () => store.append(ORDER, PLACED, 1, { idempotencyKey: idempotencyKey as string }),
        { code: "ID", reason },
      );
    });
  refuse("", "EmptyKey");
  refuse("k".repeat(1025), "KeyTooLong");
  refuse("é".repeat(513), "KeyTooLong");
  refuse("\ud800", "LoneSurrogate");
  refuse(7, "NotString");
  assert.equal(store.append(ORDER, PLACED, 1, { idempotencyKey: "k".repeat(1024) }).clock, 0);
});

// Ids

test("an event without ids begins its own story, and has no cause", () => {
  using store = openIn(new MemoryFs());
  const { eventId } = store.append(ORDER, PLACED, 1);
  const event = store.get(eventId)!;
  assert.equal(event.correlationId, eventId);
  assert.equal(event.causationId, undefined);
  const keyed = store.append(ORDER, PLACED, 1, { idempotencyKey: "k" });
  assert.equal(store.get(keyed.eventId)!.correlationId, keyed.eventId);
});

test("correlation and cause are kept, also when they are not in this journal", () => {
  const fs = new MemoryFs();
  const stranger = EventId.parse("0196F3B2-8C00-7ABC-8DEF-0123456789AB");
  const store = openIn(fs);
  const one = store.append(ORDER, PLACED, 1, { causationId: stranger, correlationId: stranger });
  // The nil id means none, as in the reference.
  const two = store.append(ORDER, PLACED, 2, { causationId: EventId.NIL });
  // Nothing of one append is left for the next.
  const three = store.append(ORDER, PLACED, 3);
  store.close();
  using again = openIn(fs);
  const ids = [one, two, three].map(({ eventId }) => again.get(eventId)!);
  assert.deepEqual(ids.map(({ causationId }) => causationId), [stranger, undefined, undefined]);
  assert.deepEqual(
    ids.map(({ correlationId }) => correlationId),
    [stranger, two.eventId, three.eventId],
  );
  for (const causationId of ["", "order-1", "0196F3B2-8C00-7ABC-8DEF-0123456789A"]) {
    assert.throws(
      () => again.append(ORDER, PLACED, 1, { causationId: causationId as EventId }),
      { code: "ID", reason: "WrongLength" },
    );
  }
});

// Labels

test("lane, depth and flags are kept up to their greatest values, and refused beyond", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  const max = 2 ** 32 - 1;
  const { eventId } = store.append(ORDER, PLACED, 1, { lane: max, depth: max, flags: 255 });
  store.close();
  using again = openIn(fs);
  const { lane, depth, flags } = again.get(eventId)!;
  assert.deepEqual([lane, depth, flags], [max, max, 255]);
  for (const name of ["lane", "depth", "flags"] as const) {
    for (const value of [-1, 0.5, NaN, name === "flags" ? 256 : max + 1, "1" as never]) {
      assertNothingWritten(again, fs, () => {
        assert.throws(() => again.append(ORDER, PLACED, 1, { [name]: value }), RangeError);
      });
    }
  }
});

test("tags and extensions are copied, put in order, and refused when they break a rule", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const value = Uint8Array.of(1);
  const tags = ["b", "a", "b"];
  const receipt = store.append(ORDER, PLACED, 1, {
    tags,
    extensions: { "z.last": value, "a.first": new Uint8Array() },
  });
  value[0] = 9;
  tags.push("c");
  const event = store.get(receipt.eventId)!;
  assert.deepEqual(event.tags, ["b", "a"]);
  assert.deepEqual(Object.entries(event.extensions), [
    ["a.first", new Uint8Array()],
    ["z.last", Uint8Array.of(1)],
  ]);
  assert.deepEqual(receipt.extensions, event.extensions);
  assertNothingWritten(store, fs, () => {
    assert.throws(() => store.append(ORDER, PLACED, 1, { tags: ["ok", ""] }), {
      code: "TAG",
      reason: "Empty",
      index: 1,
    });
    assert.throws(
      () => store.append(ORDER, PLACED, 1, { extensions: { "batpak.x": new Uint8Array() } }),
      { code: "EXTENSION_KEY", reason: "ReservedNamespace" },
    );
  });
});

test("an option of one append leaves nothing for the next", () => {
  using store = openIn(new MemoryFs());
  const full: AppendOptions = {
    idempotencyKey: "k",
    expectedClock: "none",
    causationId: OperationKey.of("a", []).id,
    correlationId: OperationKey.of("b", []).id,
    lane: 3,
    depth: 4,
    flags: 5,
    tags: ["t"],
    extensions: { "a.b": Uint8Array.of(1) },
    payloadEncoding: "opaque",
  };
  store.append(ORDER, PLACED, Uint8Array.of(1), full);
  const plain = store.append(OTHER, PLACED, Uint8Array.of(1));
  const event = store.get(plain.eventId)!;
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
      correlationId: plain.eventId,
    },
  );
  assert.deepEqual(event.payloadBytes, Uint8Array.of(0xc4, 1, 1));
});

// Kinds

test("every reserved kind is refused on every public path, and nothing is written", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const reserved = [0x0000, 0x0001, 0x000f, 0x0ffe, 0x0fff, 0xd000, 0xd001, 0xd007, 0xdfff];
  assertNothingWritten(store, fs, () => {
    for (const raw of reserved) {
      const kind = EventKind.fromRaw(raw);
      const isRefusal = (error: unknown): true => {
        assert.ok(error instanceof ReservedKindError);
        assert.equal(error.code, "RESERVED_KIND");
        assert.equal(error.kind, raw);
        return true;
      };
      assert.throws(() => store.append(ORDER, kind, 1), isRefusal);
      assert.throws(() => store.append(ORDER, kind, 1, { idempotencyKey: "k" }), isRefusal);
      assert.throws(
        () =>
          store.appendBatch([
            { ...ORDER, kind: PLACED, payload: 1 },
            { ...ORDER, kind, payload: 1 },
          ]),
        (error: Error & { index?: number }) => {
          assert.equal(error.name, "BatchError");
          assert.equal(error.index, 1);
          return isRefusal(error.cause);
        },
      );
    }
  });
  for (const raw of [0x1000, 0x1fff, 0xc000, 0xe000, 0xfa01, 0xffff]) {
    assert.equal(store.append(ORDER, EventKind.fromRaw(raw), 1).kind, raw);
  }
});

test("a definition made by hand opens no way to a reserved kind", () => {
  // What went wrong: a kind was checked, and the kind of a definition was not. EventDefinition is an
  // interface, so anybody can write one, and with it forge a denial that verified as the store's own.
  const fs = new MemoryFs();
  using store = openIn(fs);
  const forged = (kind: number, version = 1): EventDefinition => ({
    name: "forged",
    kind: kind as EventKind,
    version,
    validate: (payload) => payload,
    decode: (payload) => payload,
  });
  assertNothingWritten(store, fs, () => {
    for (const raw of [0x0008, EventKind.SYSTEM_DENIAL, 0xd001]) {
      assert.throws(() => store.append(ORDER, forged(raw), 1), ReservedKindError);
      assert.throws(
        () => store.appendBatch([{ ...ORDER, kind: forged(raw), payload: 1 }]),
        (error: Error) => error.cause instanceof ReservedKindError,
      );
    }
    assert.throws(() => store.append(ORDER, forged(0x1_f001), 1), RangeError);
    assert.throws(() => store.append(ORDER, forged(0xf001, 65_536), 1), RangeError);
  });
});

test("what is no kind is refused", () => {
  using store = openIn(new MemoryFs());
  for (const kind of [-1, 1.5, NaN, 0x10000]) {
    assert.throws(() => store.append(ORDER, kind as EventKind, 1), RangeError);
  }
  for (const kind of ["F:001", undefined, null, {}, 1n]) {
    assert.throws(() => store.append(ORDER, kind as unknown as EventKind, 1), TypeError);
  }
});

test("appendDenial() still writes its reserved kind", () => {
  using store = openIn(new MemoryFs());
  const denial = new Denial("funds", "not enough money");
  const receipt = store.appendDenial(ORDER, { proposedKind: PLACED, gates: new GateSet(), denial });
  assert.equal(receipt.kind, EventKind.SYSTEM_DENIAL);
});

// Coordinates

test("a bad coordinate is refused with its reason, before and after the names are known", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  store.append({ entity: "known", scope: "known" }, PLACED, 1);
  const refuse = (entity: unknown, scope: unknown, reason: string, component: string) =>
    assertNothingWritten(store, fs, () => {
      assert.throws(
        () => store.append({ entity: entity as string, scope: scope as string }, PLACED, 1),
        (error) => {
          assert.ok(error instanceof CoordinateError);
          assert.deepEqual([error.reason, error.component], [reason, component]);
          return true;
        },
      );
    });
  refuse("", "known", "EmptyEntity", "entity");
  refuse("known", "", "EmptyScope", "scope");
  refuse("e".repeat(1025), "known", "EntityTooLong", "entity");
  refuse("known", "é".repeat(513), "ScopeTooLong", "scope");
  refuse("a\0", "known", "NulByte", "entity");
  refuse("known", "a\n", "ControlChar", "scope");
  refuse("../a", "known", "PathTraversal", "entity");
  refuse("known", "a=b", "ForbiddenSeparator", "scope");
  refuse(undefined, "known", "NotString", "entity");
  refuse("known", 5, "NotString", "scope");
  refuse("a\ud800", "known", "LoneSurrogate", "entity");
});

test("half a surrogate pair is refused also when its replacement is a known name", () => {
  // What went wrong: names are looked up by their UTF-8, in which half a pair is U+FFFD. Once that
  // name was known, the check was skipped, and the event went to an entity nobody had named.
  const fs = new MemoryFs();
  using store = openIn(fs);
  store.append({ entity: "a\ufffd", scope: "b\ufffd" }, PLACED, 1);
  assertNothingWritten(store, fs, () => {
    for (const [entity, scope] of [["a\ud800", "b\ufffd"], ["a\ufffd", "b\udfff"]]) {
      assert.throws(() => store.append({ entity, scope }, PLACED, 2), {
        code: "COORDINATE",
        reason: "LoneSurrogate",
      });
    }
  });
});

test("the longest names are kept whole", () => {
  const fs = new MemoryFs();
  const names = ["e".repeat(1024), "é".repeat(512), "€".repeat(341) + "x", "😀".repeat(256)];
  const store = openIn(fs);
  for (const entity of names) for (const scope of names) store.append({ entity, scope }, PLACED, 1);
  store.close();
  using again = openIn(fs);
  const found = again.query({ kind: PLACED }).map(({ entity, scope }) => [entity, scope]);
  assert.deepEqual(found, names.flatMap((entity) => names.map((scope) => [entity, scope])));
  assert.equal(again.append({ entity: names[3], scope: "s" }, PLACED, 1).clock, 4);
});

// Sizes (5.7: limits count extension bytes)

test("singleAppendMaxBytes counts payload and extensions, and says by how much they are over", () => {
  const fs = new MemoryFs();
  using store = openIn(fs, { singleAppendMaxBytes: 300 });
  const bytes = (size: number) => new Uint8Array(size);
  const opaque = { payloadEncoding: "opaque" } as const;
  // An extension counts as it is stored: key, value, and eight bytes around them.
  const extensions = { "app.audit": bytes(100) };
  const room = 300 - (8 + "app.audit".length + 100);
  assert.equal(store.append(ORDER, PLACED, bytes(300), opaque).clock, 0);
  assert.equal(store.append(ORDER, PLACED, bytes(room), { ...opaque, extensions }).clock, 1);
  assertNothingWritten(store, fs, () => {
    const refuse = (payload: Uint8Array, options: AppendOptions) =>
      assert.throws(() => store.append(ORDER, PLACED, payload, options), (error) => {
        assert.ok(error instanceof TooLargeError);
        assert.equal(error.code, "TOO_LARGE");
        assert.deepEqual([error.actual, error.limit], [301, 300]);
        assert.match(error.message, /option "singleAppendMaxBytes"/);
        return true;
      });
    refuse(bytes(301), opaque);
    refuse(bytes(room + 1), { ...opaque, extensions });
  });
});

test("an event of 16 MiB fits the default limit, and one more byte does not", () => {
  const fs = new MemoryFs();
  const size = 16 << 20;
  const payload = new Uint8Array(size + 1).fill(7);
  {
    using store = openIn(fs);
    store.append(ORDER, PLACED, payload.subarray(0, size), { payloadEncoding: "opaque" });
    assert.throws(
      () => store.append(ORDER, PLACED, payload, { payloadEncoding: "opaque" }),
      { code: "TOO_LARGE", actual: size + 1, limit: size },
    );
  }
  using reader = Store.openReadOnly(DIR, { fs });
  assert.equal(reader.latest(ORDER.entity)?.payloadBytes?.byteLength, size);
});

// Time (1.8, 2.3)

test("a time before 1970, or none at all, refuses appends and batches and writes nothing", () => {
  const fs = new MemoryFs();
  const clock = manualClock(1_000);
  using store = openIn(fs, { clock });
  store.append(ORDER, PLACED, 1);
  for (const us of [-1, NaN, -Infinity, Infinity, 2 ** 53]) {
    clock.us = us;
    const isRefusal = (error: unknown): true => {
      assert.ok(error instanceof InvalidClockError);
      assert.equal(error.code, "INVALID_CLOCK");
      assert.ok(Object.is(error.timestampUs, us));
      return true;
    };
    assertNothingWritten(store, fs, () => {
      assert.throws(() => store.append(ORDER, PLACED, 1), isRefusal);
      assert.throws(() => store.append({ entity: "new", scope: "s" }, PLACED, 1), isRefusal);
      assert.throws(
        () => store.appendBatch([{ ...ORDER, kind: PLACED, payload: 1 }]),
        isRefusal,
      );
    });
  }
  clock.us = 2_000;
  assert.equal(store.append(ORDER, PLACED, 1).timestampUs, 2_000);
});

test("a clock that steps back takes no event back in time, and a fraction is cut off", () => {
  const clock = manualClock(5_000.9);
  using store = openIn(new MemoryFs(), { clock });
  const timestamps = [5_000.9, 4_000, 5_000, 0, 5_001.5, 1].map((us) => {
    clock.us = us;
    return store.append(ORDER, PLACED, 1).timestampUs;
  });
  assert.deepEqual(timestamps, [5000, 5000, 5000, 5000, 5001, 5001]);
});

// Durability (quirk 4: the answer comes after the sync)

/** A store whose file operations are written down. */
function watched(options: Parameters<typeof openIn>[1]): { store: Store; ops: string[] } {
  const ops: string[] = [];
  const store = openIn(
    spiedFs(new MemoryFs(), (op, path) => {
      if (path.endsWith(".fbat") && (op === "writeAt" || op === "sync")) ops.push(op);
    }),
    options,
  );
  ops.length = 0;
  return { store, ops };
}

test("a durable append answers after its sync", () => {
  const { store, ops } = watched({ sync: { everyNEvents: 0 } });
  store.append(ORDER, PLACED, 1);
  assert.deepEqual(ops, ["writeAt"]);
  assert.equal(store.durableSequence, 1);
  const receipt = store.append(ORDER, PLACED, 2, { durability: "durable" });
  assert.deepEqual(ops, ["writeAt", "writeAt", "sync"]);
  assert.equal(store.durableSequence, receipt.globalSequence + 1);
  store.close();
});

test("at cadence 1 every append answers after its sync", () => {
  const { store, ops } = watched({ sync: { everyNEvents: 1 } });
  for (let i = 0; i < 3; i++) {
    const receipt = store.append(ORDER, PLACED, i);
    assert.equal(store.durableSequence, receipt.globalSequence + 1);
  }
  assert.deepEqual(ops, ["writeAt", "sync", "writeAt", "sync", "writeAt", "sync"]);
  store.close();
});

test("at cadence n the n-th event since the last sync completes the interval", () => {
  const { store, ops } = watched({ sync: { everyNEvents: 3 } });
  const durable = () => store.append(ORDER, PLACED, 1) && store.durableSequence;
  // The open event, at sequence 0, is durable.
  assert.deepEqual([durable(), durable(), durable(), durable()], [1, 1, 4, 4]);
  // A durable append and an explicit sync begin the interval anew; the events of a batch all count.
  store.append(ORDER, PLACED, 1, { durability: "durable" });
  assert.deepEqual([durable(), durable()], [6, 6]);
  store.sync();
  assert.deepEqual([durable(), durable(), durable()], [8, 8, 11]);
  store.appendBatch(Array.from({ length: 3 }, () => ({ ...ORDER, kind: PLACED, payload: 1 })));
  assert.equal(store.durableSequence, 14);
  assert.equal(ops.filter((op) => op === "sync").length, 5);
  store.close();
});

test("at cadence 0 only sync(), a durable append and close() sync", () => {
  const { store, ops } = watched({ sync: { everyNEvents: 0 } });
  for (let i = 0; i < 2000; i++) store.append(ORDER, PLACED, i);
  assert.ok(!ops.includes("sync"));
  assert.equal(store.stats().durableSequence, 1);
  store.sync();
  assert.equal(store.stats().durableSequence, 2001);
  ops.length = 0;
  store.sync();
  assert.equal(ops.length, 0, "there is nothing left to sync");
  store.append(ORDER, PLACED, 1);
  ops.length = 0;
  store.close();
  assert.ok(ops.lastIndexOf("sync") > ops.lastIndexOf("writeAt"));
});

// 5.7, the poison box, with our order of things: no receipt without the sync that was asked for.
test("an append whose own sync fails gives no receipt, is not seen, and is settled by a retry", () => {
  const fs = new MemoryFs();
  const store = openIn(fs, { sync: { everyNEvents: 1 } });
  store.append(ORDER, PLACED, 1);
  const durable = store.durableSequence;
  fs.failNext({ op: "sync", code: "EIO" });
  const append = (to: Store) => to.append(ORDER, PLACED, 2, { idempotencyKey: "k" });
  assert.throws(() => append(store), WriterCrashedError);
  assert.equal(store.query({ entity: ORDER.entity }).length, 1);
  // Syncs would succeed again, and the frontier stays where it was all the same.
  assert.throws(() => store.sync(), WriterCrashedError);
  assert.throws(() => append(store), WriterCrashedError);
  assert.equal(store.durableSequence, durable);
  assert.throws(() => store.close(), WriterCrashedError);
  using again = openIn(fs);
  append(again);
  assert.deepEqual(again.query({ entity: ORDER.entity }).map(({ payload }) => payload), [1, 2]);
});

test("words that durability and payloadEncoding do not know are refused", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  assertNothingWritten(store, fs, () => {
    for (
      const options of [{ durability: "fsync" }, { payloadEncoding: "json" }, {
        payloadEncoding: "opaque",
      }]
    ) {
      assert.throws(() => store.append(ORDER, PLACED, "text", options as AppendOptions), TypeError);
    }
  });
});

test("payloadVersion stamps an event without a definition, and no other", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const version = (receipt: Receipt) => store.get(receipt.eventId)!.payloadVersion;
  assert.equal(version(store.append(ORDER, PLACED, 1, { payloadVersion: 0xffff })), 0xffff);
  assert.equal(version(store.append(ORDER, PLACED, 1)), 0);
  const [first] = store.appendBatch([{ ...ORDER, kind: PLACED, payload: 1, payloadVersion: 3 }]);
  assert.equal(version(first), 3);
  const defined = defineEvent<number>({ name: "order.paid", kind: PAID });
  assertNothingWritten(store, fs, () => {
    for (const payloadVersion of [-1, 1.5, 0x1_0000]) {
      assert.throws(() => store.append(ORDER, PLACED, 1, { payloadVersion }), RangeError);
    }
    assert.throws(() => store.append(ORDER, defined, 1, { payloadVersion: 1 }), TypeError);
  });
});

// The log

test("sequences are dense over rolls and reopens, and the chain verifies", () => {
  const fs = new MemoryFs();
  for (let round = 0; round < 3; round++) {
    using store = openIn(fs, { segmentMaxBytes: 1500 });
    for (let i = 0; i < 20; i++) {
      store.append({ entity: `order:${i % 3}`, scope: "shop" }, PLACED, { i }, { lane: i % 2 });
    }
  }
  using reader = Store.openReadOnly(DIR, { fs });
  assert.deepEqual(
    reader.query().map(({ globalSequence }) => globalSequence),
    Array.from({ length: 66 }, (_, sequence) => sequence),
  );
  assert.ok(reader.stats().segmentCount > 5);
  const report = verifyJournal(DIR, { fs });
  assert.deepEqual([report.findingCount, report.events], [0, 66]);
});

test("the hash of an event stands in the next one of its lane, and nowhere else", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  const heads = new Map<string, Uint8Array>();
  for (let i = 0; i < 60; i++) {
    const entity = `e:${i % 4}`;
    const lane = i % 3;
    const chain = `${entity}/${lane}`;
    const receipt = store.append({ entity, scope: `s${i % 5}` }, PLACED, "the same", { lane });
    assert.deepEqual(receipt.prevHash, heads.get(chain) ?? new Uint8Array(32), chain);
    heads.set(chain, receipt.eventHash);
  }
  // Equal payloads have equal content hashes, and still no two event hashes are equal.
  const events = store.query({ kind: PLACED });
  assert.equal(new Set(events.map((event) => event.toJSON().contentHash)).size, 1);
  assert.equal(new Set(events.map((event) => event.toJSON().eventHash)).size, 60);
  // The head is read back from the log when it is not known.
  store.close();
  using again = openIn(fs);
  for (const [chain, head] of heads) {
    const [entity, lane] = chain.split("/");
    const options = { lane: Number(lane) };
    assert.deepEqual(again.append({ entity, scope: "s" }, PLACED, 1, options).prevHash, head);
  }
});

test("the log keeps nothing of the caller's: arrays may be used again", () => {
  using store = openIn(new MemoryFs());
  const bytes = Uint8Array.of(1, 2, 3);
  const opaque = store.append(ORDER, PLACED, bytes, { payloadEncoding: "opaque" });
  const packed = store.append(ORDER, PLACED, { bytes });
  bytes.fill(0);
  assert.deepEqual(store.get(opaque.eventId)!.payload, Uint8Array.of(1, 2, 3));
  assert.deepEqual(store.get(packed.eventId)!.payload, { bytes: Uint8Array.of(1, 2, 3) });
});

// Re-entrance: code of the caller that runs inside an append

test("an append inside a schema disturbs the outer append in nothing", () => {
  // What went wrong: both used one draft, so the outer event was written at the coordinate of the
  // inner one. Whatever a schema does, an event goes where its caller said.
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
          store.append({ entity: "audit", scope: "log" }, PAID, "seen", { lane: 7, tags: ["x"] });
          return { value };
        },
      },
    },
  });
  const receipt = store.append(ORDER, noisy, "outer", { depth: 5 });
  const { entity, scope, kind, payload, lane, depth, tags } = store.get(receipt.eventId)!;
  assert.deepEqual(
    { entity, scope, kind, payload, lane, depth, tags },
    { ...ORDER, kind: 0xe001, payload: "outer", lane: 0, depth: 5, tags: [] },
  );
  assert.deepEqual(store.query({ entity: "audit" }).map((event) => event.payload), ["seen"]);
  assert.equal(verifyJournal(DIR, { fs }).findingCount, 0);
});

test("an append inside a getter of the payload disturbs the outer append in nothing", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const receipt = store.append(ORDER, PLACED, {
    get total() {
      store.append(OTHER, PAID, "inner", { lane: 7 });
      return 12;
    },
  }, { tags: ["outer"], idempotencyKey: "outer" });
  const { entity, kind, payload, lane, tags } = store.get(receipt.eventId)!;
  assert.deepEqual(
    { entity, kind, payload, lane, tags },
    { entity: ORDER.entity, kind: PLACED, payload: { total: 12 }, lane: 0, tags: ["outer"] },
  );
  for (const { lane, kind, payload, tags } of store.query({ entity: OTHER.entity })) {
    assert.deepEqual({ lane, kind, payload, tags }, {
      lane: 7,
      kind: PAID,
      payload: "inner",
      tags: [],
    });
  }
  assert.equal(verifyJournal(DIR, { fs }).findingCount, 0);
});

test("a schema that closes the store refuses the append it runs for", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  const closing = defineEvent({
    name: "closing",
    kind: "E:001",
    schema: {
      "~standard": {
        version: 1,
        vendor: "test",
        validate(value: unknown) {
          store.close();
          return { value };
        },
      },
    },
  });
  assert.throws(() => store.append(ORDER, closing, 1), { code: "STORE_CLOSED" });
  using again = openIn(fs);
  assert.equal(again.query(ORDER).length, 0);
});

// All of it at once

test("whatever an append says is what is read back, at once and after a reopen", () => {
  const uint = fc.oneof(fc.nat(3), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
  const options = fc.record({
    lane: uint,
    depth: uint,
    flags: fc.nat(255),
    tags: fc.array(
      fc.string({ unit: fc.constantFrom("a", "z", ":", "é", "😀"), minLength: 1, maxLength: 20 }),
      { maxLength: 5 },
    ),
    extensions: fc.dictionary(
      fc.stringMatching(/^[a-z]{1,5}\.[a-z]{1,5}$/),
      fc.uint8Array({ maxLength: 20 }),
      { maxKeys: 3 },
    ),
    causationId: fc.uuid().map((id) => EventId.parse(id)),
    correlationId: fc.uuid().map((id) => EventId.parse(id)),
  }, { requiredKeys: [] });
  const append = fc.record({
    entity: fc.constantFrom("a", "a:b", "é", "😀".repeat(20)),
    scope: fc.constantFrom("s", "t"),
    kind: fc.constantFrom(PLACED, PAID, EventKind.DATA),
    payload: jsonPayloads,
    options,
  });
  fc.assert(
    fc.property(fc.array(append, { maxLength: 12 }), (appends) => {
      const fs = new MemoryFs();
      const store = openIn(fs, { segmentMaxBytes: 2000 });
      const receipts = appends.map(({ entity, scope, kind, payload, options }) =>
        store.append({ entity, scope }, kind, payload, options)
      );
      const live = ownEvents(store.query()).map(factsOf);
      store.close();
      using reader = Store.openReadOnly(DIR, { fs });
      assert.deepEqual(ownEvents(reader.query()).map(factsOf), live);
      for (const [i, { entity, scope, kind, payload, options }] of appends.entries()) {
        const event = reader.get(receipts[i].eventId)!;
        assert.equal(event.globalSequence, i + 1);
        assert.deepEqual(
          {
            entity: event.entity,
            scope: event.scope,
            kind: event.kind,
            payload: event.payload,
            lane: event.lane,
            depth: event.depth,
            flags: event.flags,
            tags: event.tags,
            extensions: { ...event.extensions },
            causationId: event.causationId,
            correlationId: event.correlationId,
          },
          {
            entity,
            scope,
            kind,
            payload,
            lane: options.lane ?? 0,
            depth: options.depth ?? 0,
            flags: options.flags ?? 0,
            tags: [...new Set(options.tags)],
            extensions: { ...options.extensions },
            causationId: options.causationId,
            correlationId: options.correlationId ?? event.eventId,
          },
        );
      }
    }),
    { numRuns: 60 },
  );
});

test("an option that nobody reads, or a word that means nothing, is refused and nothing is written", () => {
  // What went wrong: a batch with a misspelt durability was merely written, and a misspelt option of
  // any append was no option at all. Both weakened a guarantee without a word.
  const fs = new MemoryFs();
  using store = openIn(fs);
  const bytes = segmentBytes(fs);
  const items = [{ ...ORDER, kind: PLACED, payload: 1 }];
  const refused: (() => unknown)[] = [
    () => store.append(ORDER, PLACED, 1, { durabilty: "durable" } as AppendOptions),
    () => store.append(ORDER, PLACED, 1, { durability: "sync" as never }),
    () => store.appendBatch(items, { durability: "sync" as never }),
    () => store.appendBatch(items, { failif: {} } as never),
    () => store.appendBatch([{ ...items[0], idempotencykey: "k" } as (typeof items)[0]]),
    () => store.appendBatch([{ ...items[0], durability: "durable" } as (typeof items)[0]]),
  ];
  for (const append of refused) {
    assert.throws(append, (error: Error) => {
      const cause = error instanceof BatchError ? error.cause : error;
      return cause instanceof TypeError && /^Cannot append/.test(cause.message);
    }, String(append));
  }
  assert.deepEqual(segmentBytes(fs), bytes);
});

test("opaque bytes on shared memory are hashed as they are written", () => {
  // What went wrong: another realm could write between the hash and the copy.
  using store = openIn(new MemoryFs());
  const shared = new Uint8Array(new SharedArrayBuffer(4)).fill(7);
  const { eventId } = store.append(ORDER, PLACED, shared, { payloadEncoding: "opaque" });
  shared.fill(9);
  assert.deepEqual(store.get(eventId)?.payload, new Uint8Array(4).fill(7));
});
