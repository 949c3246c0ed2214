import assert from "node:assert/strict";
import { test } from "node:test";
import { decode } from "@msgpack/msgpack";
import fc from "fast-check";
import { crc32 } from "../platform/checksum.ts";
import { writeU16, writeU32 } from "./bytes.ts";
import { toHex } from "./hash.ts";
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  FORMAT_VERSION,
  MERGED_HEADER_SIZE,
  type MergeFacts,
  SEGMENT_HEADER_SIZE_MAX,
  type SegmentHeader,
} from "./segment_header.ts";

const HEADER: SegmentHeader = {
  storeId: Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i),
  segmentId: 0x0001_0203,
  createdNs: 1_700_000_000_123_456_789n,
  firstSequence: 0x1f_ffff_ffff_ffff,
  previousSize: 268_435_456,
  previousHash: Uint8Array.from({ length: 32 }, (_, i) => 0x10 + i),
};

const MERGED: SegmentHeader = {
  ...HEADER,
  merge: {
    lastSegmentId: 0x0001_0207,
    sealedSize: 268_435_999,
    framesEnd: 1_000_000,
    compactionId: Uint8Array.from({ length: 16 }, (_, i) => 0xc0 + i),
  },
};

function ascii(text: string): string {
  return toHex(new TextEncoder().encode(text));
}

const BYTES = [
  "46424154", // FBAT
  "000000b8", // size of the map
  "88", // map of 8
  "a7" + ascii("version") + "cd0002",
  "a8" + ascii("store_id") + "c410a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
  "aa" + ascii("segment_id") + "ce00010203",
  "aa" + ascii("created_ns") + "cf17979cfe3d85cd15",
  "ae" + ascii("first_sequence") + "cf001fffffffffffff",
  "ad" + ascii("previous_size") + "cf0000000010000000",
  "ad" + ascii("previous_hash") +
  "c420101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f",
  "a8" + ascii("checksum") + "ce" + "73bdb1ba",
].join("");

const MERGED_BYTES = [
  "46424154", // FBAT
  "00000116", // size of the map
  "8c", // map of 12
  BYTES.slice(18, -28), // as above, up to the checksum
  "af" + ascii("last_segment_id") + "ce00010207",
  "ab" + ascii("sealed_size") + "cf000000001000021f",
  "aa" + ascii("frames_end") + "cf00000000000f4240",
  "ad" + ascii("compaction_id") + "c410c0c1c2c3c4c5c6c7c8c9cacbcccdcecf",
  "a8" + ascii("checksum") + "ce" + "00000000",
].join("");

test("encodeSegmentHeader() writes the documented bytes", () => {
  assert.equal(toHex(encodeSegmentHeader(HEADER)), BYTES);
});

test("the header of a merged segment has four keys more, and reads back", () => {
  const bytes = encodeSegmentHeader(MERGED);
  assert.equal(bytes.byteLength, MERGED_HEADER_SIZE);
  assert.equal(toHex(bytes).slice(0, -8), MERGED_BYTES.slice(0, -8));
  const checksum = new DataView(bytes.buffer).getUint32(bytes.byteLength - 4);
  assert.equal(checksum, crc32(bytes.subarray(0, -4)));
  assert.deepEqual(decodeSegmentHeader(bytes), { type: "header", header: MERGED, end: 286 });
  const keys = Object.keys(decode(bytes.subarray(8), { useBigInt64: true }) as object);
  assert.deepEqual(keys.slice(7), [
    "last_segment_id",
    "sealed_size",
    "frames_end",
    "compaction_id",
    "checksum",
  ]);
});

test("no flipped bit and no cut of a merged header goes unnoticed", () => {
  const bytes = encodeSegmentHeader(MERGED);
  const longer = new Uint8Array(70_000);
  longer.set(bytes);
  for (let i = 0; i < bytes.byteLength * 8; i++) {
    for (const sample of [bytes, longer]) {
      sample[i >> 3] ^= 1 << (i & 7);
      assert.notEqual(decodeSegmentHeader(sample).type, "header", `bit ${i}`);
      sample[i >> 3] ^= 1 << (i & 7);
    }
  }
  for (let size = 0; size < bytes.byteLength; size++) {
    assert.equal(decodeSegmentHeader(bytes.slice(0, size)).type, "cut", `${size} bytes`);
  }
});

test("a merged header whose numbers cannot be is refused, whatever its checksum says", () => {
  const reasonOf = (merge: Partial<MergeFacts>) => {
    const decoded = decodeSegmentHeader(
      encodeSegmentHeader({ ...MERGED, merge: { ...MERGED.merge!, ...merge } }),
    );
    return decoded.type === "corrupt" ? decoded.reason : decoded.type;
  };
  const reason = "the header has a number out of its range";
  assert.equal(reasonOf({ lastSegmentId: HEADER.segmentId }), "header");
  assert.equal(reasonOf({ lastSegmentId: HEADER.segmentId - 1 }), reason);
  assert.equal(reasonOf({ framesEnd: MERGED_HEADER_SIZE }), "header");
  assert.equal(reasonOf({ framesEnd: MERGED_HEADER_SIZE - 1 }), reason);
  assert.equal(reasonOf({ framesEnd: 2 ** 60 }), reason);
  assert.equal(reasonOf({ sealedSize: 2 ** 60 }), reason);
});

test("the checksum of a header is the CRC-32 of every byte in front of it", () => {
  const bytes = encodeSegmentHeader(HEADER);
  const checksum = new DataView(bytes.buffer).getUint32(bytes.byteLength - 4);
  assert.equal(checksum, crc32(bytes.subarray(0, -4)));
});

test("any MessagePack library prints a segment header as its eight fields", () => {
  assert.deepEqual(
    Object.keys(decode(encodeSegmentHeader(HEADER).subarray(8), { useBigInt64: true }) as object),
    [
      "version",
      "store_id",
      "segment_id",
      "created_ns",
      "first_sequence",
      "previous_size",
      "previous_hash",
      "checksum",
    ],
  );
});

test("a segment header reads back as what was written, with anything behind it", () => {
  const bytesOf = (size: number) => fc.uint8Array({ minLength: size, maxLength: size });
  const header = fc.record({
    storeId: bytesOf(16),
    segmentId: fc.integer({ min: 1, max: 0xffff_ffff }),
    createdNs: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    firstSequence: fc.maxSafeNat(),
    previousSize: fc.maxSafeNat(),
    previousHash: bytesOf(32),
  }, { noNullPrototype: true });
  fc.assert(
    fc.property(header, fc.uint8Array({ maxLength: 50 }), (header, rest) => {
      const bytes = encodeSegmentHeader(header);
      const longer = new Uint8Array(bytes.byteLength + rest.byteLength);
      longer.set(bytes);
      longer.set(rest, bytes.byteLength);
      const decoded = decodeSegmentHeader(longer);
      assert.deepEqual(decoded, { type: "header", header, end: bytes.byteLength });
      longer.fill(0);
      assert.deepEqual(decoded.type === "header" && decoded.header, header, "it is a copy");
    }),
  );
});

test("every segment header has the same size", () => {
  const size = BYTES.length / 2;
  const least = { ...HEADER, segmentId: 1, createdNs: 0n, firstSequence: 0, previousSize: 0 };
  assert.equal(encodeSegmentHeader(least).byteLength, size);
  assert.ok(size <= SEGMENT_HEADER_SIZE_MAX);
});

test("decodeSegmentHeader() reports a header cut at any byte as cut", () => {
  const bytes = encodeSegmentHeader(HEADER);
  for (let size = 0; size < bytes.byteLength; size++) {
    assert.deepEqual(decodeSegmentHeader(bytes.slice(0, size)), { type: "cut" }, `${size} bytes`);
  }
});

test("decodeSegmentHeader() never returns a header with a flipped bit", () => {
  const bytes = encodeSegmentHeader(HEADER);
  const longer = new Uint8Array(70_000);
  longer.set(bytes);
  for (let i = 0; i < bytes.byteLength * 8; i++) {
    for (const sample of [bytes, longer]) {
      sample[i >> 3] ^= 1 << (i & 7);
      const { type } = decodeSegmentHeader(sample);
      assert.ok(type === "corrupt" || type === "future" || type === "cut", `bit ${i}: ${type}`);
      sample[i >> 3] ^= 1 << (i & 7);
    }
  }
});

test("decodeSegmentHeader() finds zeros and other people's files corrupt", () => {
  const reasonOf = (bytes: Uint8Array) => {
    const decoded = decodeSegmentHeader(bytes);
    return decoded.type === "corrupt" ? decoded.reason : decoded.type;
  };
  assert.equal(reasonOf(new Uint8Array(4096)), "the file does not begin with FBAT");
  assert.equal(reasonOf(new TextEncoder().encode("hello")), "the file does not begin with FBAT");
  const zeroMap = new Uint8Array(100);
  zeroMap.set([0x46, 0x42, 0x41, 0x54]);
  assert.equal(reasonOf(zeroMap), "the header claims a map of 0 bytes");
  for (const size of [0x1_0001, 0x7fff_ffff, 0xffff_ffff]) {
    writeU32(zeroMap, 4, size);
    assert.equal(reasonOf(zeroMap), `the header claims a map of ${size} bytes`);
  }
});

test("decodeSegmentHeader() refuses a newer version before it looks at anything else", () => {
  const bytes = encodeSegmentHeader(HEADER);
  const version = 8 + 1 + 8 + 1;
  for (const found of [3, 4, 0xffff]) {
    writeU16(bytes, version, found);
    assert.deepEqual(decodeSegmentHeader(bytes), { type: "future", version: found });
  }
  writeU16(bytes, version, 1);
  assert.equal(decodeSegmentHeader(bytes).type, "corrupt");
  assert.equal(FORMAT_VERSION, 2);
});

test("decodeSegmentHeader() throws at nothing, and believes no lengths", () => {
  const bytes = encodeSegmentHeader(HEADER);
  const change = fc.record({ at: fc.nat(bytes.byteLength - 1), value: fc.nat(255) });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 6 }), (changes) => {
      const changed = bytes.slice();
      for (const { at, value } of changes) changed[at] = value;
      const same = changed.every((byte, i) => byte === bytes[i]);
      assert.equal(decodeSegmentHeader(changed).type === "header", same);
    }),
    { numRuns: 2000 },
  );
  // Every MessagePack marker that carries a length of 32 bits, claiming all of it.
  for (const marker of [0xc6, 0xc9, 0xdb, 0xdd, 0xdf]) {
    const hostile = new Uint8Array(64);
    hostile.set([0x46, 0x42, 0x41, 0x54, 0, 0, 0, 56, marker, 0xff, 0xff, 0xff, 0xff]);
    assert.equal(decodeSegmentHeader(hostile).type, "corrupt", marker.toString(16));
  }
  const deep = new Uint8Array(SEGMENT_HEADER_SIZE_MAX).fill(0x91);
  deep.set([0x46, 0x42, 0x41, 0x54, 0, 1, 0, 0]);
  assert.equal(decodeSegmentHeader(deep).type, "corrupt");
});

test("a header of nested lengths costs no memory", () => {
  // What went wrong: MessagePack was decoded before the checksum was looked at, and seventy bytes of
  // nested array headers took gigabytes.
  const bomb = Uint8Array.from(
    { length: 60 * 5 },
    (_, i) => [0xdd, 0x01, 0xc9, 0xc3, 0x80][i % 5],
  );
  const bytes = new Uint8Array(8 + bomb.byteLength);
  bytes.set([0x46, 0x42, 0x41, 0x54, 0, 0, 1, 44]);
  bytes.set(bomb, 8);
  assert.equal(decodeSegmentHeader(bytes).type, "corrupt");
});
