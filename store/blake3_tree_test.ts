import assert from "node:assert/strict";
import { test } from "node:test";
import { createBLAKE3 } from "hash-wasm";
import { Blake3Tree } from "./blake3_tree.ts";
import { toHex } from "./hash.ts";

const library = await createBLAKE3();
const libraryHex = (bytes: Uint8Array) => library.init().update(bytes).digest("hex");
const counting = (size: number) => Uint8Array.from({ length: size }, (_, i) => i % 251);

function treeHex(bytes: Uint8Array, pieceSize = bytes.byteLength || 1): string {
  const tree = new Blake3Tree();
  for (let at = 0; at < bytes.byteLength; at += pieceSize) {
    tree.update(bytes.subarray(at, at + pieceSize));
  }
  return toHex(tree.digest());
}

test("Blake3Tree gives the published digests", () => {
  const vectors: readonly (readonly [number, string])[] = [
    [0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"],
    [1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"],
    [1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"],
    [2048, "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a"],
    [2049, "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030"],
  ];
  for (const [size, digest] of vectors) assert.equal(treeHex(counting(size)), digest, `${size}`);
});

test("Blake3Tree agrees with the library around every boundary of its chunks and subtrees", () => {
  for (let chunks = 1; chunks <= 40; chunks++) {
    for (const more of [-1, 0, 1, 511]) {
      const bytes = counting(chunks * 1024 + more);
      assert.equal(treeHex(bytes), libraryHex(bytes), `${bytes.byteLength} bytes`);
    }
  }
  const large = counting(1_000_003);
  assert.equal(treeHex(large), libraryHex(large));
});

test("Blake3Tree takes pieces of any size, and tells the digest of what has come so far", () => {
  const bytes = counting(9001);
  for (const size of [1, 63, 64, 1000, 1024, 1025, 4096]) {
    assert.equal(treeHex(bytes, size), libraryHex(bytes), `pieces of ${size}`);
  }
  const tree = new Blake3Tree();
  tree.update(bytes.subarray(0, 5000));
  assert.equal(toHex(tree.digest()), libraryHex(bytes.subarray(0, 5000)));
  tree.update(bytes.subarray(5000));
  assert.equal(toHex(tree.digest()), libraryHex(bytes));
});
