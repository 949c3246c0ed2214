import assert from "node:assert/strict";
import { test } from "node:test";
import {
  appendBytes,
  duplicateFile,
  duplicatePage,
  flipBit,
  misdirectPage,
  missing,
  staleCopy,
  swapFiles,
  swapPages,
  truncate,
  zeroPage,
  zeroRange,
} from "./damage.ts";
import { SimFs } from "./sim_fs.ts";

function disk(files: Record<string, string>): SimFs {
  const fs = new SimFs();
  for (const [path, text] of Object.entries(files)) {
    fs.publish(path, new TextEncoder().encode(text));
  }
  return fs;
}

function read(fs: SimFs, path = "/a"): string {
  return new TextDecoder().decode(fs.readFile(path, 1_000));
}

test("each kind of damage does what it says, for good, and to a copy", () => {
  const fs = disk({ "/a": "aabbccdd", "/b": "other" });
  const size = { pageSize: 2 };
  assert.equal(read(flipBit(fs, "/a", 2)), "aacbccdd");
  assert.equal(read(flipBit(fs, "/a", 0, 5)), "Aabbccdd");
  assert.equal(read(zeroPage(fs, "/a", 1, 2)), "aa\0\0ccdd");
  assert.equal(read(duplicatePage(fs, "/a", { source: 0, target: 3, ...size })), "aabbccaa");
  assert.equal(read(truncate(fs, "/a", 3)), "aab");
  assert.equal(read(zeroRange(fs, "/a", 3, 5)), "aab\0\0cdd");
  const misdirected = { sourcePath: "/b", source: 1, target: 3, ...size };
  assert.equal(read(misdirectPage(fs, "/a", misdirected)), "aabbcche");
  // Half a page is all there is, and half of it is all there is room for.
  assert.equal(
    read(misdirectPage(fs, "/a", { ...misdirected, source: 2, target: 0 })),
    "rabbccdd",
  );
  const exchanged = swapPages(fs, "/a", "/b", { page: 1, ...size });
  assert.deepEqual([read(exchanged), read(exchanged, "/b")], ["aaheccdd", "otbbr"]);
  assert.equal(read(appendBytes(fs, "/b", Uint8Array.of(0, 33)), "/b"), "other\0!");
  assert.equal(read(duplicateFile(fs, "/b", "/c"), "/c"), "other");
  const swapped = swapFiles(fs, "/a", "/b");
  assert.deepEqual([read(swapped), read(swapped, "/b")], ["other", "aabbccdd"]);
  assert.equal(read(staleCopy(fs, "/a", disk({ "/a": "old" }))), "old");
  assert.equal(read(staleCopy(fs, "/a", disk({ "/z": "foreign" }), "/z")), "foreign");
  assert.equal(missing(fs, "/a").stat("/a"), undefined);
  assert.deepEqual([read(fs), read(fs, "/b")], ["aabbccdd", "other"]);
  assert.equal(read(truncate(fs, "/a", 3).crash()), "aab");
});

test("damage composes", () => {
  const fs = disk({ "/a": "aabb" });
  assert.equal(read(flipBit(truncate(fs, "/a", 2), "/a", 1)), "a`");
});

test("damage outside of a file is refused: it would test nothing", () => {
  const fs = disk({ "/a": "aabb" });
  assert.throws(() => flipBit(fs, "/a", 4), RangeError);
  assert.throws(() => zeroPage(fs, "/a", 1), RangeError);
  assert.throws(() => duplicatePage(fs, "/a", { source: 0, target: 1 }), RangeError);
  assert.throws(() => truncate(fs, "/a", 5), RangeError);
  assert.throws(() => zeroRange(fs, "/a", 0, 5), RangeError);
  const page = { sourcePath: "/a", source: 0, target: 0, pageSize: 2 };
  assert.throws(() => misdirectPage(fs, "/a", { ...page, source: 2 }), RangeError);
  assert.throws(() => misdirectPage(fs, "/a", { ...page, target: 2 }), RangeError);
  assert.throws(() => flipBit(fs, "/none", 0), { code: "ENOENT" });
});
