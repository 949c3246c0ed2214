import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "./checksum.ts";

test("crc32() gives the published check value", () => {
  assert.equal(crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
});

test("crc32() of nothing is the seed", () => {
  assert.equal(crc32(new Uint8Array()), 0);
  assert.equal(crc32(new Uint8Array(), 0xcbf43926), 0xcbf43926);
});

test("crc32() goes on from a seed, across any cut", () => {
  const bytes = Uint8Array.from({ length: 300 }, (_, index) => index * 7);
  const expected = crc32(bytes);
  for (let cut = 0; cut <= bytes.length; cut++) {
    assert.equal(crc32(bytes.subarray(cut), crc32(bytes.subarray(0, cut))), expected);
  }
});
