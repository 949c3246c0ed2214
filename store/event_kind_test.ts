import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { EventKind, EventKindError, type EventKindRefusal } from "./event_kind.ts";

test("EventKind has the documented numbers", () => {
  const { DATA, TOMBSTONE, ...rest } = EventKind;
  assert.equal(DATA, 0x1000);
  assert.equal(TOMBSTONE, 0x0ffe);
  const constants = Object.entries(rest).filter(([, value]) => typeof value === "number");
  assert.deepEqual(Object.fromEntries(constants), {
    SYSTEM_INIT: 0x0001,
    SYSTEM_SHUTDOWN: 0x0002,
    SYSTEM_HEARTBEAT: 0x0003,
    SYSTEM_CONFIG_CHANGE: 0x0004,
    SYSTEM_CHECKPOINT: 0x0005,
    SYSTEM_BATCH_BEGIN: 0x0006,
    SYSTEM_BATCH_COMMIT: 0x0007,
    SYSTEM_OPEN_COMPLETED: 0x0008,
    SYSTEM_CLOSE_COMPLETED: 0x0009,
    SYSTEM_FENCE_BEGIN: 0x000a,
    SYSTEM_FENCE_COMMIT: 0x000b,
    SYSTEM_FENCE_CANCEL: 0x000c,
    SYSTEM_DENIAL: 0x000f,
    EFFECT_ERROR: 0xd001,
    EFFECT_RETRY: 0xd002,
    EFFECT_ACK: 0xd004,
    EFFECT_BACKPRESSURE: 0xd005,
    EFFECT_CANCEL: 0xd006,
    EFFECT_CONFLICT: 0xd007,
    SYSTEM_HEARTBEAT_REQUEST: 0xfa01,
    SYSTEM_HEARTBEAT_ACK: 0xfa02,
  });
});

test("EventKind.custom() puts the category above the type id", () => {
  assert.equal(EventKind.custom(0xf, 0x001), 0xf001);
  assert.equal(EventKind.custom(0x1, 0x000), EventKind.DATA);
  assert.equal(EventKind.custom(0xe, 0xfff), 0xefff);
});

test("EventKind.custom() refuses in the documented order", () => {
  const refused: [number, number, EventKindRefusal, number][] = [
    [16, 0x1000, "CategoryOutOfRange", 16],
    [-1, 0, "CategoryOutOfRange", -1],
    [1.5, 0, "CategoryOutOfRange", 1.5],
    [NaN, 0, "CategoryOutOfRange", NaN],
    [0x0, 0x1000, "ReservedSystemCategory", 0],
    [0xd, 0x1000, "ReservedEffectCategory", 0xd],
    [0x1, 0x1000, "TypeIdOutOfRange", 0x1000],
    [0x1, -1, "TypeIdOutOfRange", -1],
    [0x1, 0.5, "TypeIdOutOfRange", 0.5],
  ];
  for (const [category, typeId, reason, value] of refused) {
    assert.throws(() => EventKind.custom(category, typeId), { code: "EVENT_KIND", reason, value });
  }
});

test("EventKind.tryCustom() accepts exactly what custom() accepts, and it decomposes back", () => {
  fc.assert(
    fc.property(fc.integer({ min: -2, max: 18 }), fc.integer({ min: -2, max: 0x1002 }), (c, t) => {
      const kind = EventKind.tryCustom(c, t);
      if (kind instanceof EventKindError) {
        assert.throws(() => EventKind.custom(c, t), { reason: kind.reason, value: kind.value });
      } else {
        assert.equal(EventKind.custom(c, t), kind);
        assert.equal(EventKind.category(kind), c);
        assert.equal(EventKind.typeId(kind), t);
        assert.ok(!EventKind.isReserved(kind));
      }
    }),
    { numRuns: 1000 },
  );
});

test("the kinds of category 0x0 and 0xD are the store's", () => {
  for (let category = 0; category <= 0xf; category++) {
    const kind = EventKind.fromRaw(category << 12);
    assert.equal(EventKind.isSystem(kind), category === 0x0);
    assert.equal(EventKind.isEffect(kind), category === 0xd);
    assert.equal(EventKind.isReserved(kind), category === 0x0 || category === 0xd);
  }
  assert.ok(EventKind.isReserved(EventKind.TOMBSTONE));
  assert.ok(!EventKind.isReserved(EventKind.SYSTEM_HEARTBEAT_REQUEST));
});

test("EventKind.fromRaw() takes every u16 and nothing else", () => {
  assert.equal(EventKind.fromRaw(0), 0);
  assert.equal(EventKind.fromRaw(0xffff), 0xffff);
  for (const raw of [-1, 0x10000, 1.5, NaN, Infinity]) {
    assert.throws(() => EventKind.fromRaw(raw), { reason: "RawOutOfRange", value: raw });
  }
});

test("EventKind.format() writes four upper-case digits", () => {
  assert.equal(EventKind.format(EventKind.custom(0xf, 0xabc)), "0xFABC");
  assert.equal(EventKind.format(EventKind.SYSTEM_INIT), "0x0001");
});

test("EventKind.parse() reads both spellings, reserved kinds included", () => {
  assert.equal(EventKind.parse("F:001"), 0xf001);
  assert.equal(EventKind.parse("f:1"), 0xf001);
  assert.equal(EventKind.parse("0xF001"), 0xf001);
  assert.equal(EventKind.parse("0XdAbC"), 0xdabc);
  assert.equal(EventKind.parse("0:00F"), EventKind.SYSTEM_DENIAL);
});

test("EventKind.parse() refuses everything else", () => {
  const texts = ["", "F", "F:", ":001", "10:001", "F:0001", "F:00G", "0xF1", "F001", " F:001"];
  for (const text of texts) {
    assert.throws(() => EventKind.parse(text), { reason: "Malformed", value: text });
  }
});

test("EventKind.parse() reads back what format() writes", () => {
  for (let raw = 0; raw <= 0xffff; raw += 0x101) {
    const kind = EventKind.fromRaw(raw);
    assert.equal(EventKind.parse(EventKind.format(kind)), kind);
  }
});

test("a plain number is not a kind", () => {
  // @ts-expect-error a kind comes from custom(), fromRaw() or parse()
  const kind: EventKind = 0xf001;
  assert.equal(EventKind.format(kind), "0xF001");
});
