import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { crc32 } from "../../platform/checksum.ts";
import { writeU16, writeU32 } from "../bytes.ts";
import { type CompactionMarker, decodeMarker, encodeMarker } from "./compaction_marker.ts";
import { toHex } from "../hash.ts";

const MARKER: CompactionMarker = {
  storeId: Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i),
  compactionId: Uint8Array.from({ length: 16 }, (_, i) => 0xb0 + i),
  mergedId: 3,
  stagedSize: 0x1_0000_0002,
  stagedCrc: 0x01020304,
  sourceIds: [3, 4, 9],
};

test("encodeMarker() writes the documented bytes", () => {
  assert.equal(
    toHex(encodeMarker(MARKER)),
    "464241544350" + "0001" + "e4a9676b" +
      "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf" + "b0b1b2b3b4b5b6b7b8b9babbbcbdbebf" +
      "00000003" + "0000000100000002" + "01020304" + "00000003" + "00000003" + "00000004" +
      "00000009",
  );
});

test("a marker reads back as what was written", () => {
  assert.deepEqual(decodeMarker(encodeMarker(MARKER)), { type: "marker", marker: MARKER });
});

test("decodeMarker() never accepts a flipped bit, a missing byte or one more", () => {
  const bytes = encodeMarker(MARKER);
  for (let i = 0; i < bytes.byteLength * 8; i++) {
    bytes[i >> 3] ^= 1 << (i & 7);
    assert.notEqual(decodeMarker(bytes).type, "marker", `bit ${i}`);
    bytes[i >> 3] ^= 1 << (i & 7);
  }
  for (let size = 0; size < bytes.byteLength; size++) {
    assert.equal(decodeMarker(bytes.slice(0, size)).type, "corrupt", `${size} bytes`);
  }
  assert.equal(decodeMarker(Uint8Array.of(...bytes, 0)).type, "corrupt");
});

test("decodeMarker() refuses a newer version before it looks at anything else", () => {
  const bytes = encodeMarker(MARKER);
  writeU16(bytes, 6, 2);
  assert.deepEqual(decodeMarker(bytes), { type: "future", version: 2, supported: 1 });
});

/** A marker with a change that its checksum agrees with. */
function forged(change: (bytes: Uint8Array) => void): string {
  const bytes = encodeMarker(MARKER);
  change(bytes);
  writeU32(bytes, 8, crc32(bytes.subarray(12)));
  const decoded = decodeMarker(bytes);
  return decoded.type === "corrupt" ? decoded.reason : decoded.type;
}

test("decodeMarker() believes no number, whatever the checksum says", () => {
  assert.equal(forged((bytes) => writeU32(bytes, 44, 4)), "it has a number out of its range");
  assert.equal(forged((bytes) => writeU32(bytes, 48, 1 << 30)), "it has a number out of its range");
  assert.equal(
    forged((bytes) => writeU32(bytes, 60, 0)),
    "the file has 76 bytes and names 0 segments",
  );
  assert.equal(
    forged((bytes) => writeU32(bytes, 60, 0xffff_ffff)),
    "the file has 76 bytes and names 4294967295 segments",
  );
  assert.equal(
    forged((bytes) => writeU32(bytes, 68, 3)),
    "the segments it names are not in order",
  );
  assert.equal(
    forged((bytes) => writeU32(bytes, 64, 0)),
    "the segments it names are not in order",
  );
});

test("decodeMarker() throws at nothing", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
    assert.notEqual(decodeMarker(bytes).type, "marker");
  }));
});
