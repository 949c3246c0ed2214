import assert from "node:assert/strict";
import { test } from "node:test";
import { createBLAKE3 } from "hash-wasm";
import { blake3, blake3Into, Blake3Stream, bytesEqual, fromHex, toHex } from "./hash.ts";

const library = await createBLAKE3();
const libraryHex = (bytes: Uint8Array) => library.init().update(bytes).digest("hex");
/** The input of the published test vectors: 0, 1, … 250, 0, 1, … */
const counting = (size: number) => Uint8Array.from({ length: size }, (_, i) => i % 251);

test("blake3() gives the published digests", () => {
  const vectors: readonly (readonly [number, string])[] = [
    [0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"],
    [1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"],
    [1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"],
    [1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"],
    [1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"],
  ];
  for (const [size, digest] of vectors) assert.equal(toHex(blake3(counting(size))), digest);
});

test("blake3() agrees with the library at every length up to two chunks", () => {
  const bytes = counting(2048).map((byte, i) => byte ^ (i * 31));
  for (let size = 0; size <= bytes.byteLength; size++) {
    const input = bytes.subarray(0, size);
    assert.equal(toHex(blake3(input)), libraryHex(input), `${size} bytes`);
  }
});

test("blake3Into() hashes a range and writes nothing but the digest", () => {
  const bytes = counting(4096);
  for (const [start, end] of [[0, 0], [7, 71], [100, 1124], [100, 1125], [3, 4096]]) {
    const target = new Uint8Array(40).fill(0xee);
    blake3Into(bytes, start, end, target);
    assert.equal(toHex(target.subarray(0, 32)), libraryHex(bytes.subarray(start, end)));
    assert.deepEqual([...target.subarray(32)], Array(8).fill(0xee));
  }
});

test("blake3Into() can write over its own input", () => {
  const bytes = counting(32);
  const expected = libraryHex(bytes);
  blake3Into(bytes, 0, 32, bytes);
  assert.equal(toHex(bytes), expected);
});

test("toHex() and fromHex() are each other's inverse, and fromHex() refuses anything else", () => {
  const bytes = counting(256);
  assert.deepEqual(fromHex(toHex(bytes)), bytes);
  assert.deepEqual(fromHex("C0fF"), Uint8Array.of(0xc0, 0xff));
  for (const text of ["a", "0g", "0x00", " 00", "é0"]) assert.equal(fromHex(text), undefined);
});

test("bytesEqual() compares sizes and bytes", () => {
  assert.ok(bytesEqual(Uint8Array.of(1, 2), Uint8Array.of(1, 2)));
  assert.ok(!bytesEqual(Uint8Array.of(1, 2), Uint8Array.of(1, 3)));
  assert.ok(!bytesEqual(Uint8Array.of(1, 2), Uint8Array.of(1, 2, 0)));
});

test("Blake3Stream gives the digest of the whole, in whatever pieces, several at a time", () => {
  const bytes = counting(10_000);
  const expected = toHex(blake3(bytes));
  const [one, two, three] = [new Blake3Stream(), new Blake3Stream(), new Blake3Stream()];
  for (let at = 0; at < bytes.byteLength; at += 1000) {
    one.update(bytes.subarray(at, at + 1000));
    // In turns, and with other hashing in between.
    two.update(bytes.subarray(at, at + 999));
    two.update(bytes.subarray(at + 999, at + 1000));
    blake3(bytes);
  }
  const first = one.digest();
  assert.equal(toHex(two.digest()), expected);
  assert.equal(toHex(first), expected);
  assert.equal(
    toHex(three.digest()),
    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
  );
  assert.throws(() => one.update(bytes), /a stream that has ended takes no more bytes/);
});
