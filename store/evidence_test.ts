import assert from "node:assert/strict";
import { test } from "node:test";
import { evidenceBytes, evidenceHash } from "./evidence.ts";
import { toHex } from "./hash.ts";

function hex(body: unknown): string {
  return toHex(evidenceBytes(body));
}

test("evidenceBytes() are MessagePack with sorted keys and the shortest numbers", () => {
  assert.equal(hex({ b: 1, a: [true, null, "x"] }), "82" + "a161" + "93c3c0a178" + "a162" + "01");
  assert.equal(hex(127), "7f");
  assert.equal(hex(128), "cc80");
  assert.equal(hex(-1), "ff");
  assert.equal(hex(65_536), "ce00010000");
  assert.equal(hex(2 ** 53 - 1), "cf001fffffffffffff");
  assert.equal(hex(0.5), "cb3fe0000000000000");
  assert.equal(hex(-0), "00");
  assert.equal(hex(Uint8Array.of(1, 2)), "c4020102");
  assert.equal(hex({}), "80");
  assert.equal(hex([]), "90");
});

test("evidenceHash() is BLAKE3 of those bytes, in hex, and never changes", () => {
  assert.equal(
    evidenceHash({ b: 1, a: [true, null, "x"] }),
    "ab1a56949a6c71ead2c16a0d1b4ba7ff38582947520b4d8ff9d9af6e5ae2cb51",
  );
});

test("evidenceHash() depends on the facts, not on how the object was put together", () => {
  const one = { events: 3, files: [{ name: "a", size: 1 }], storeId: "x" };
  const two = Object.assign(Object.create(null), { storeId: "x" });
  two.files = [Object.assign(Object.create(null), { size: 1, name: "a" })];
  two.events = 3;
  assert.equal(evidenceHash(one), evidenceHash(two));
  assert.equal(evidenceHash(JSON.parse(JSON.stringify(one))), evidenceHash(one));
  for (
    const other of [
      { ...one, events: 4 },
      { ...one, files: [] },
      { ...one, more: null },
      { ...one, storeId: Uint8Array.of(0x78) },
    ]
  ) assert.notEqual(evidenceHash(other), evidenceHash(one));
});

test("evidenceBytes() order keys by their code units, numbers among them", () => {
  assert.equal(
    hex({ 9: 0, 10: 0, B: 0, a: 0 }),
    "84" + "a2313000" + "a13900" + "a14200" + "a16100",
  );
  // U+1D11E begins with a surrogate, 0xD834, and comes before U+FF5E.
  assert.equal(hex({ "～": 0, "𝄞": 0 }), "82" + "a4f09d849e" + "00" + "a3efbd9e" + "00");
});

test("evidenceHash() refuses what has no one form, and says where it stands", () => {
  const looped: unknown[] = [];
  looped.push(looped);
  const sparse = new Array(1);
  for (
    const [value, where] of [
      [undefined, "body.a[0]"],
      [NaN, "body.a[0]"],
      [Infinity, "body.a[0]"],
      [1n, "body.a[0]"],
      [Symbol("s"), "body.a[0]"],
      [() => {}, "body.a[0]"],
      [new Date(0), "body.a[0]"],
      [new Map(), "body.a[0]"],
      [new Uint16Array(1), "body.a[0]"],
      ["\ud800", "body.a[0]"],
      [{ "\udc00": 1 }, "body.a[0]"],
      [sparse, "body.a[0][0]"],
      [looped, "body.a[0][0]"],
    ] as const
  ) {
    assert.throws(
      () => evidenceHash({ a: [value] }),
      (error) => error instanceof TypeError && error.message.includes(`evidence of ${where}`),
      String(where),
    );
  }
});
