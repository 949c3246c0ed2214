// Spec 6.7: get(append(x)) equals x for everything a payload may be; what would not come back is refused.
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import fc from "fast-check";
import { MemoryFs } from "../platform/memory.ts";
import { DIR, openIn, ORDER, PLACED, segmentBytes } from "../tests/support_api/journal.ts";
import { SerializationError } from "./errors.ts";
import { PAYLOAD_ENCRYPTED, PAYLOAD_MESSAGEPACK, PAYLOAD_OPAQUE } from "./frame.ts";
import { decodePayload, encodePayload } from "./payload.ts";
import { Store } from "./store.ts";

/** What a value is after an append and a read from the file. */
function throughTheLog(value: unknown): unknown {
  const fs = new MemoryFs();
  {
    using store = openIn(fs);
    store.append(ORDER, PLACED, value);
  }
  using reader = Store.openReadOnly(DIR, { fs });
  return reader.latest(ORDER.entity)!.payload;
}

/** What a value is after the codec. */
function throughTheCodec(value: unknown): unknown {
  return decodePayload(encodePayload(value).slice(), PAYLOAD_MESSAGEPACK);
}

const date = fc.date({ noInvalidDate: true });
/** Everything that comes back as it went in. */
const payloads = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom(null, true, false, 0, "", "__proto__"),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.double(),
    fc.string({ unit: "binary", maxLength: 80 }),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
    date,
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie("value"), { maxLength: 6 }),
    fc.dictionary(
      fc.string({ maxLength: 40 }).filter((key) => key !== "__proto__"),
      tie("value"),
      { maxKeys: 6, noNullPrototype: true },
    ),
  ),
})).value;

test("a payload comes back as it went in: JSON values, bigint, Date, bytes, nested", () => {
  fc.assert(
    fc.property(payloads, (value) => assert.deepEqual(throughTheCodec(value), value)),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(payloads, (value) => assert.deepEqual(throughTheLog(value), value)),
    { numRuns: 60 },
  );
});

test("numbers keep their kind: a number is a number, a bigint is a bigint", () => {
  const values = [
    0,
    -1,
    127,
    128,
    -32,
    -33,
    2 ** 31,
    2 ** 32,
    -(2 ** 31) - 1,
    Number.MAX_SAFE_INTEGER,
    Number.MIN_SAFE_INTEGER,
    2 ** 53,
    1e300,
    0.1,
    NaN,
    Infinity,
    -Infinity,
    0n,
    1n,
    -1n,
    2n ** 53n,
    2n ** 63n,
    2n ** 64n - 1n,
    -(2n ** 63n),
  ];
  assert.deepEqual(throughTheLog(values), values);
});

test("JSON's negative zero comes back as negative zero", () => {
  // What went wrong: it was written as an integer, and integers have no negative zero. JSON has one.
  assert.ok(Object.is(throughTheCodec(JSON.parse("-0")), -0));
});

test("dates come back over their whole range", () => {
  const times = [0, -1, 1, 999, -999, 2 ** 32 * 1000, 2 ** 34 * 1000, 8.64e15, -8.64e15];
  assert.deepEqual(
    (throughTheLog(times.map((time) => new Date(time))) as Date[]).map(Number),
    times,
  );
});

test("an undefined property is left out, and an undefined element is null, as in JSON", () => {
  assert.deepEqual(throughTheLog({ a: undefined, b: [undefined], c: 1 }), { b: [null], c: 1 });
});

test("objects are read as plain objects, whatever class they were of", () => {
  class Order {
    total = 12;
    get double() {
      return this.total * 2;
    }
  }
  assert.deepEqual(throughTheLog(new Order()), { total: 12 });
  assert.deepEqual(throughTheLog(Object.assign(Object.create(null), { a: 1 })), { a: 1 });
  assert.deepEqual(throughTheLog(Buffer.from("abc")), new TextEncoder().encode("abc"));
});

test("keys that objects treat specially are kept, except the one that decoders refuse", () => {
  const value = { constructor: 1, toString: 2, prototype: 3, "": 4, " ": 5, "1": 6 };
  assert.deepEqual(throughTheLog(value), value);
  assert.deepEqual(throughTheLog({ a: "__proto__", b: ["__proto__"] }), {
    a: "__proto__",
    b: ["__proto__"],
  });
});

/** Those of `values` that are not refused, on their own or deeper, as words; the log must stay as it was. */
function acceptedOf(values: readonly unknown[]): string[] {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const bytes = segmentBytes(fs);
  const accepted = values.filter((value) =>
    [value, [value], { deep: { er: [value] } }].some((payload) => {
      try {
        store.append(ORDER, PLACED, payload);
        return true;
      } catch (error) {
        assert.ok(error instanceof SerializationError, String(error));
        assert.equal(error.code, "SERIALIZATION");
        assert.match(error.message, /^Cannot /);
        return false;
      }
    })
  );
  if (accepted.length === 0) assert.deepEqual(segmentBytes(fs), bytes);
  return accepted.map((value) => Object.prototype.toString.call(value));
}

test("what would come back as something else is refused at any depth, and nothing is written", () => {
  const refused = [
    new Map([["a", 1]]),
    new Set([1]),
    /pattern/,
    new Error("an error"),
    Promise.resolve(1),
    new ArrayBuffer(4),
    new DataView(new ArrayBuffer(4)),
    new Float64Array(2),
    new Uint16Array(2),
    () => 1,
    Symbol("s"),
    2n ** 64n,
    -(2n ** 63n) - 1n,
    JSON.parse('{"__proto__": 1}'),
  ];
  assert.deepEqual(acceptedOf(refused), []);
});

test("a date that is none is refused", () => {
  // What went wrong: it was written, and read as the first of January 1970. A value that could not be
  // read back is refused when it is appended.
  assert.deepEqual(acceptedOf([new Date(NaN)]), []);
});

test("objects whose content no property shows are refused", () => {
  // What went wrong: they were written as `{}`, and what they held was lost without a word.
  const refused = [
    new SharedArrayBuffer(4),
    new WeakMap(),
    new WeakSet(),
    new URL("https://example.com"),
    Object(5),
    Object("text"),
    Object(true),
  ];
  assert.deepEqual(acceptedOf(refused), []);
});

test("text that UTF-8 cannot carry is refused, short or long, as value or as key", () => {
  // What went wrong: half a surrogate pair was written as U+FFFD in long texts, and as bytes that are
  // no UTF-8 in short ones, which no other MessagePack reader accepts.
  for (const length of [0, 10, 100, 1000]) {
    const text = "a".repeat(length) + "\ud800";
    for (const payload of [text, { key: text }, { [text]: 1 }, [text + "b"]]) {
      assert.throws(() => encodePayload(payload), SerializationError, `length ${length}`);
    }
  }
});

test("a payload that is too deep or goes in circles is refused", () => {
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  let deep: unknown = 1;
  for (let i = 0; i < 200; i++) deep = [deep];
  for (const value of [circle, deep]) {
    assert.throws(() => encodePayload(value), SerializationError);
  }
  let fine: unknown = 1;
  for (let i = 0; i < 99; i++) fine = [fine];
  assert.deepEqual(throughTheLog(fine), fine);
});

test("a getter that throws refuses the payload, and the next one is none the worse", () => {
  const thrower = {
    get total(): number {
      throw new Error("no total");
    },
  };
  assert.throws(() => encodePayload(thrower), { code: "SERIALIZATION", message: /no total/ });
  assert.deepEqual(throughTheCodec({ total: 1 }), { total: 1 });
});

test("a wide bigint is refused also while another payload is being encoded", () => {
  // What went wrong: the encoder makes a copy of itself when it is used twice at once, and the copy
  // did not know the rule: 2^64 came back as 0.
  const outer = {
    get inner() {
      encodePayload({ wide: 2n ** 64n });
      return 1;
    },
  };
  assert.throws(() => encodePayload(outer), SerializationError);
});

test("the bytes are plain MessagePack", () => {
  const hex = (value: unknown) => Buffer.from(encodePayload(value)).toString("hex");
  assert.equal(hex({ total: 12 }), "81a5746f74616c0c");
  assert.equal(hex([1, "a", null, true]), "9401a161c0c3");
  assert.equal(hex(Uint8Array.of(1, 2)), "c4020102");
  assert.equal(hex(2n ** 64n - 1n), "cfffffffffffffffff");
  assert.equal(hex(-1n), "d3ffffffffffffffff");
  assert.equal(hex(new Date(1000)), "d6ff00000001");
});

test("opaque bytes are stored and read as they are", () => {
  const fs = new MemoryFs();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      using store = openIn(fs);
      const { eventId } = store.append(ORDER, PLACED, bytes, { payloadEncoding: "opaque" });
      const event = store.get(eventId)!;
      assert.deepEqual(event.payloadBytes, bytes);
      assert.deepEqual(event.payload, bytes);
    }),
    { numRuns: 50 },
  );
});

test("decodePayload() reports bytes that are no payload", () => {
  const bad = [[], [0xc1], [0x81], [0xa5, 0x61], [0x01, 0x02], [0xd9, 0xff]];
  for (const bytes of bad) {
    assert.throws(
      () => decodePayload(Uint8Array.from(bytes), PAYLOAD_MESSAGEPACK),
      SerializationError,
      String(bytes),
    );
  }
  assert.throws(() => decodePayload(Uint8Array.of(1), PAYLOAD_ENCRYPTED), {
    code: "SERIALIZATION",
    message: /payload encoding 2 is not one this program reads/,
  });
  assert.deepEqual(decodePayload(Uint8Array.of(0xc1), PAYLOAD_OPAQUE), Uint8Array.of(0xc1));
});

test("a decoded payload shares no memory with what it was read from", () => {
  const bytes = encodePayload({ bytes: Uint8Array.of(1, 2, 3) }).slice();
  const decoded = decodePayload(bytes, PAYLOAD_MESSAGEPACK) as { bytes: Uint8Array };
  bytes.fill(0);
  assert.deepEqual(decoded.bytes, Uint8Array.of(1, 2, 3));
  assert.equal(decoded.bytes.buffer.byteLength, 3);
});

test("a payload of nested lengths is refused before they are believed", () => {
  // What went wrong: each array header took memory for as many elements as it claimed.
  for (const marker of [0xdd, 0xdf]) {
    const bomb = Uint8Array.from(
      { length: 60 * 5 },
      (_, i) => [marker, 0x01, 0xc9, 0xc3, 0x80][i % 5],
    );
    assert.throws(() => decodePayload(bomb, PAYLOAD_MESSAGEPACK), {
      code: "SERIALIZATION",
      message: /the lengths in it are greater than the payload/,
    });
  }
  // Lengths that are true are no bomb, however deep.
  let deep: unknown = [];
  for (let i = 0; i < 90; i++) deep = [deep, { a: i }];
  assert.deepEqual(throughTheCodec(deep), deep);
});
