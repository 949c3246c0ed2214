import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode } from "@msgpack/msgpack";
import fc from "fast-check";
import type { Entropy } from "../platform/entropy.ts";
import { toHex } from "./hash.ts";
import {
  EventId,
  formatId,
  idempotencyId,
  IdGenerator,
  type IdRefusal,
  OperationKey,
  parseId,
  parseIdInto,
} from "./ids.ts";

const BYTES = Uint8Array.from({ length: 16 }, (_, i) => i * 16 + 15 - i);
const TEXT = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

test("formatId() writes a lower-case UUID", () => {
  assert.equal(formatId(BYTES), TEXT);
  assert.equal(formatId(Uint8Array.of(9, ...BYTES, 9), 1), TEXT);
  assert.equal(formatId(new Uint8Array(16)), EventId.NIL);
});

test("formatId() refuses fewer than 16 bytes", () => {
  assert.throws(() => formatId(new Uint8Array(15)), { code: "ID", reason: "WrongSize" });
  assert.throws(() => formatId(new Uint8Array(17), 2), { code: "ID", reason: "WrongSize" });
});

test("parseId() reads either case", () => {
  assert.deepEqual(parseId(TEXT), BYTES);
  assert.deepEqual(parseId(TEXT.toUpperCase()), BYTES);
});

test("parseId() says what is wrong with a text", () => {
  const refused: [unknown, IdRefusal][] = [
    [undefined, "NotString"],
    [42, "NotString"],
    ["", "WrongLength"],
    [TEXT.replaceAll("-", ""), "WrongLength"],
    [`event:${TEXT}`, "WrongLength"],
    [`{${TEXT.slice(1, -1)}}`, "NotHexadecimal"],
    [TEXT.replace("f", "g"), "NotHexadecimal"],
    [TEXT.replace("f", "Ɀ"), "NotHexadecimal"],
    [TEXT.replace("0", " "), "NotHexadecimal"],
    [TEXT.replace("-", "0"), "MissingHyphen"],
    ["0f1e2d3c4-b5a-6978-8796-a5b4c3d2e1f0", "MissingHyphen"],
  ];
  for (const [text, reason] of refused) {
    assert.throws(() => parseId(text as string), { code: "ID", reason });
  }
});

test("parseIdInto() writes 16 bytes at the offset and no others", () => {
  const target = new Uint8Array(20).fill(0xee);
  parseIdInto(TEXT, target, 2);
  assert.deepEqual(target, Uint8Array.of(0xee, 0xee, ...BYTES, 0xee, 0xee));
  assert.throws(() => parseIdInto(TEXT, target, 5), { reason: "WrongSize" });
  assert.throws(() => parseIdInto(TEXT, target, -1), { reason: "WrongSize" });
});

test("an id survives its text and MessagePack", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
      const id = formatId(bytes);
      assert.deepEqual(parseId(id), bytes);
      assert.ok(EventId.is(id));
      assert.equal(EventId.parse(id.toUpperCase()), id);
      assert.equal(formatId(decode(encode(bytes)) as Uint8Array), id);
      assert.equal(EventId.parse(decode(encode(id)) as string), id);
    }),
  );
});

test("EventId.is() recognizes only the form the store writes", () => {
  assert.ok(EventId.is(TEXT));
  for (const value of [TEXT.toUpperCase(), ` ${TEXT}`, `${TEXT}\n`, BYTES, undefined, null]) {
    assert.ok(!EventId.is(value));
  }
});

test("a plain string is not an id", () => {
  // @ts-expect-error an id comes from the store or from EventId.parse()
  const id: EventId = TEXT;
  assert.ok(EventId.is(id));
});

test("OperationKey.of() gives the documented keys", () => {
  const vectors: [string, string[], string][] = [
    ["transfer", ["acct:1", "acct:2", "req:42"], "778a4035d27f90aa9ebe02decb3aafdf"],
    ["d", ["ab", "c"], "4fda80be6a8961758ded5336e2b80016"],
    ["d", ["a", "bc"], "72c5d7418089f1d37f8d887ba0f9e813"],
    [
      "batpak.import",
      ["src", "0000000000000000000000000000ad05"],
      "d20d9f48f3edea84ca7df7dc2f747099",
    ],
  ];
  for (const [domain, components, hex] of vectors) {
    const key = OperationKey.of(domain, components);
    assert.equal(toHex(key.bytes), hex);
    assert.equal(key.id.replaceAll("-", ""), hex);
    assert.equal(String(key), key.id);
  }
});

test("OperationKey.of() sizes text of any language in bytes", () => {
  const key = OperationKey.of("café", ["注文", "😀".repeat(100)]);
  assert.equal(key.id, OperationKey.of("café", ["注文", "😀".repeat(100)]).id);
  assert.notEqual(key.id, OperationKey.of("café", ["注文😀", "😀".repeat(99)]).id);
});

test("different operations have different keys, the same operation the same", () => {
  const operation = fc.tuple(
    fc.string({ unit: "grapheme", maxLength: 3 }),
    fc.array(fc.string({ unit: "grapheme", maxLength: 3 }), { maxLength: 4 }),
  );
  fc.assert(
    fc.property(operation, operation, ([domainA, partsA], [domainB, partsB]) => {
      const isSame = JSON.stringify([domainA, partsA]) === JSON.stringify([domainB, partsB]);
      const [a, b] = [OperationKey.of(domainA, partsA), OperationKey.of(domainB, partsB)];
      assert.equal(a.id === b.id, isSame);
      assert.equal(OperationKey.of(domainA, [...partsA]).id, a.id);
    }),
  );
});

test("an operation key cannot be changed through its bytes", () => {
  const key = OperationKey.of("d", ["a"]);
  const before = key.id;
  key.bytes.fill(0);
  idempotencyId(key).fill(0);
  assert.equal(key.id, before);
});

test("OperationKey.of() refuses text that two strings could share", () => {
  assert.throws(() => OperationKey.of("d", ["\ud800"]), { reason: "LoneSurrogate" });
  assert.throws(() => OperationKey.of("\udc00", []), { reason: "LoneSurrogate" });
  assert.throws(() => OperationKey.of("d", [1 as unknown as string]), { reason: "NotString" });
});

test("idempotencyId() of a plain string is an operation of its own domain", () => {
  assert.deepEqual(
    idempotencyId("req:42"),
    OperationKey.of("batpak.idempotency", ["req:42"]).bytes,
  );
  const key = OperationKey.of("transfer", ["req:42"]);
  assert.deepEqual(idempotencyId(key), key.bytes);
});

test("idempotencyId() refuses a key that is empty, too long or not text", () => {
  assert.throws(() => idempotencyId(""), { code: "ID", reason: "EmptyKey" });
  assert.equal(idempotencyId("x".repeat(1024)).byteLength, 16);
  assert.throws(() => idempotencyId("x".repeat(1025)), { reason: "KeyTooLong" });
  assert.throws(() => idempotencyId("é".repeat(513)), { reason: "KeyTooLong" });
  assert.throws(() => idempotencyId("\ud800"), { reason: "LoneSurrogate" });
  assert.throws(() => idempotencyId(42 as unknown as string), { reason: "NotString" });
});

/** Counts its calls, and gives bytes 0, 1, 2, … */
class CountingEntropy implements Entropy {
  fills = 0;
  #next = 0;
  fill(target: Uint8Array): void {
    this.fills++;
    for (let i = 0; i < target.byteLength; i++) target[i] = this.#next++;
  }
}

test("IdGenerator writes the documented bits", () => {
  const generator = new IdGenerator({ fill: (target) => void target.fill(0xff) });
  const target = new Uint8Array(20).fill(0xee);
  // 2024-02-29T12:34:56.789Z is millisecond 0x018d_f4dc_5495 since 1970.
  generator.fill(target, 2, 0x018d_f4dc_5495 * 1000 + 999);
  assert.equal(formatId(target, 2), "018df4dc-5495-7fff-bfff-ffffffffffff");
  assert.deepEqual([...target.subarray(0, 2), ...target.subarray(18)], [0xee, 0xee, 0xee, 0xee]);

  const zeros = new IdGenerator({ fill: (target) => void target.fill(0) });
  zeros.fill(target, 0, 0x018d_f4dc_5495 * 1000);
  assert.equal(formatId(target), "018df4dc-5495-7000-8000-000000000000");
});

test("IdGenerator takes its time from the caller alone, from 1970 to the end of safe time", () => {
  const generator = new IdGenerator({ fill: (target) => void target.fill(0) });
  const target = new Uint8Array(16);
  const idAt = (timestampUs: number) => {
    generator.fill(target, 0, timestampUs);
    return formatId(target);
  };
  assert.equal(idAt(0), "00000000-0000-7000-8000-000000000000");
  assert.equal(idAt(-1), "00000000-0000-7000-8000-000000000000");
  assert.equal(idAt(999), "00000000-0000-7000-8000-000000000000");
  assert.equal(idAt(1000), "00000000-0001-7000-8000-000000000000");
  // floor((2^53 - 1) / 1000) = 9,007,199,254,740 = 0x0831_26e9_78d4
  assert.equal(idAt(Number.MAX_SAFE_INTEGER), "083126e9-78d4-7000-8000-000000000000");
});

test("IdGenerator draws chance 4 KiB at a time and uses no byte twice", () => {
  const entropy = new CountingEntropy();
  const generator = new IdGenerator(entropy);
  assert.equal(entropy.fills, 0);
  const target = new Uint8Array(16);
  // 4,096 bytes hold ten for each of 409 ids.
  for (let i = 0; i < 409; i++) generator.fill(target, 0, 0);
  assert.equal(entropy.fills, 1);
  generator.fill(target, 0, 0);
  assert.equal(entropy.fills, 2);
});

test("IdGenerator gives different ids in one millisecond, and the same ids for the same chance", () => {
  const ids = (seed: number) => {
    let state = seed;
    const generator = new IdGenerator({
      fill(target) {
        for (let i = 0; i < target.byteLength; i++) {
          state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
          target[i] = state >>> 24;
        }
      },
    });
    const target = new Uint8Array(16);
    return Array.from({ length: 1000 }, () => {
      generator.fill(target, 0, 1_700_000_000_000_000);
      return formatId(target);
    });
  };
  assert.equal(new Set(ids(1)).size, 1000);
  assert.deepEqual(ids(1), ids(1));
  assert.notDeepEqual(ids(1), ids(2));
});
