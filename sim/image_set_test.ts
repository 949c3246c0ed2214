// Which images count as the same.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ContentPool, ImageSet, NOT_CHOSEN } from "./image_set.ts";
import { Content } from "./sim_disk.ts";
import { SimFs } from "./sim_fs.ts";

function contentOf(text: string, size: number = text.length): Content {
  const content = new Content();
  const bytes = new TextEncoder().encode(text);
  content.write(bytes, 0, bytes.byteLength, 0);
  content.resize(size);
  return content;
}

test("a pool gives equal contents one number, and others another", () => {
  const pool = new ContentPool();
  assert.equal(pool.idOf(contentOf("ab")), 0);
  assert.equal(pool.idOf(contentOf("ac")), 1);
  assert.equal(pool.idOf(contentOf("ab", 3)), 2);
  // Zeros at the end are zeros, whether somebody wrote them or not.
  assert.equal(pool.idOf(contentOf("ab\0")), 2);
  assert.equal(pool.idOf(contentOf("ab")), 0);
});

test("a pool keeps contents as they were", () => {
  const pool = new ContentPool();
  const content = contentOf("ab");
  pool.idOf(content);
  content.write(new TextEncoder().encode("c"), 0, 1, 0);
  assert.equal(pool.idOf(contentOf("ab")), 0);
  assert.equal(pool.idOf(content), 1);
});

test("an image is known when only that differs which nobody looked at", () => {
  const known = new ImageSet();
  // Of the first file the size and the bytes were looked at, of the second one its size.
  known.add({ shape: "/a\n/b\n", contents: [10, 1, 20, 2] }, [true, true, true, false]);
  const has = (contents: number[], shape = "/a\n/b\n") => known.has({ shape, contents });
  assert.equal(has([10, 1, 20, 2]), true);
  assert.equal(has([10, 1, 20, 3]), true);
  assert.equal(has([10, 1, 20, NOT_CHOSEN]), true);
  assert.equal(has([10, 1, NOT_CHOSEN, NOT_CHOSEN]), false);
  assert.equal(has([10, 1, 21, 2]), false);
  assert.equal(has([10, 4, 20, 2]), false);
  assert.equal(has([10, 1, 20, 2], "/a\n/c\n"), false);
  known.clear();
  assert.equal(has([10, 1, 20, 2]), false);
});

test("the key of what a process has left says names, kinds and links, as seen and as durable", () => {
  const fs = new SimFs();
  fs.createDirAll("/d");
  fs.publish("/d/a", new Uint8Array(3));
  fs.link("/d/a", "/d/b");
  fs.symlink("/d/a", "/c");
  const { shape, contents } = fs.crashSpace("processKill").image([]).key(new ContentPool());
  const seen = "/c>/d/a\n/d/\n/d/a\n/d/b=/d/a\n";
  const durable = "/d/\n/d/a\n";
  assert.equal(shape, `${seen}\n${durable}`);
  assert.deepEqual(contents, [3, 0, 3, 0]);
});
