import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { writeU16, writeU32 } from "./bytes.ts";
import { crc32 } from "../platform/checksum.ts";
import { toHex } from "./hash.ts";
import { decodeStoreMeta, encodeStoreMeta, STORE_META_SIZE } from "./store_meta.ts";

const META = {
  storeId: Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i),
  createdUs: 1_700_000_000_000_000,
};

test("encodeStoreMeta() writes the documented bytes", () => {
  assert.equal(
    toHex(encodeStoreMeta(META)),
    [
      "46424154534d", // FBATSM
      "0001", // version
      "ef1b9e97", // checksum
      "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf", // storeId
      "00060a24181e4000", // createdUs
    ].join(""),
  );
});

test("store.meta reads back as what was written", () => {
  const storeId = fc.uint8Array({ minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(storeId, fc.maxSafeNat(), (storeId, createdUs) => {
      const bytes = encodeStoreMeta({ storeId, createdUs });
      assert.equal(bytes.byteLength, STORE_META_SIZE);
      const decoded = decodeStoreMeta(bytes);
      bytes.fill(0);
      assert.deepEqual(decoded, { type: "meta", meta: { storeId, createdUs } });
    }),
  );
});

test("decodeStoreMeta() finds every truncation and every addition corrupt", () => {
  const bytes = encodeStoreMeta(META);
  for (let size = 0; size < bytes.byteLength; size++) {
    assert.equal(decodeStoreMeta(bytes.slice(0, size)).type, "corrupt", `${size} bytes`);
  }
  for (const size of [1, 100, 500]) {
    const longer = new Uint8Array(bytes.byteLength + size);
    longer.set(bytes);
    assert.deepEqual(decodeStoreMeta(longer), {
      type: "corrupt",
      reason: `the file has ${longer.byteLength} bytes`,
    });
  }
});

test("decodeStoreMeta() never returns facts with a flipped bit", () => {
  const bytes = encodeStoreMeta(META);
  for (let i = 0; i < bytes.byteLength * 8; i++) {
    bytes[i >> 3] ^= 1 << (i & 7);
    const { type } = decodeStoreMeta(bytes);
    const inVersion = i >> 3 === 6 || i >> 3 === 7;
    assert.ok(type === "corrupt" || (inVersion && type === "future"), `bit ${i}: ${type}`);
    bytes[i >> 3] ^= 1 << (i & 7);
  }
  assert.equal(decodeStoreMeta(bytes).type, "meta");
});

test("decodeStoreMeta() refuses a newer version, whatever follows", () => {
  const bytes = encodeStoreMeta(META);
  for (const version of [2, 3, 0xffff]) {
    writeU16(bytes, 6, version);
    const expected = { type: "future", version, supported: 1 };
    assert.deepEqual(decodeStoreMeta(bytes), expected);
    assert.deepEqual(decodeStoreMeta(bytes.slice(0, 12)), expected);
    assert.deepEqual(decodeStoreMeta(new Uint8Array([...bytes, 1, 2, 3])), expected);
  }
  writeU16(bytes, 6, 0);
  assert.equal(decodeStoreMeta(bytes).type, "corrupt");
});

test("decodeStoreMeta() refuses a time that is not a safe integer, and zeros", () => {
  const bytes = encodeStoreMeta(META);
  writeU32(bytes, 28, 0x20_0000);
  writeU32(bytes, 8, crc32(bytes.subarray(12)));
  assert.deepEqual(decodeStoreMeta(bytes), {
    type: "corrupt",
    reason: "the creation time is not a safe integer",
  });
  assert.equal(decodeStoreMeta(new Uint8Array(STORE_META_SIZE)).type, "corrupt");
});
