import assert from "node:assert/strict";
import { test } from "node:test";
import { normalizeTags, TAG_COUNT_MAX, TAG_SIZE_MAX, type TagRefusal } from "./tags.ts";

test("normalizeTags() keeps each tag once, where it first stood", () => {
  assert.deepEqual(normalizeTags(["b", "a", "b", "c", "a"]), ["b", "a", "c"]);
  assert.deepEqual(normalizeTags([]), []);
});

test("normalizeTags() returns an array that cannot change, and is not the caller's", () => {
  const tags = ["a"];
  const normalized = normalizeTags(tags);
  tags.push("b");
  assert.deepEqual(normalized, ["a"]);
  assert.throws(() => (normalized as string[]).push("c"), TypeError);
  assert.throws(() => (normalizeTags([]) as string[]).push("c"), TypeError);
});

test("normalizeTags() names the first tag that breaks a rule, and the rule", () => {
  const refused: [unknown, TagRefusal][] = [
    [1, "NotString"],
    [undefined, "NotString"],
    ["", "Empty"],
    ["x".repeat(TAG_SIZE_MAX + 1), "TooLong"],
    ["é".repeat(TAG_SIZE_MAX / 2) + "x", "TooLong"],
    ["a\nb", "ControlChar"],
    ["a\0", "ControlChar"],
    ["\x7f", "ControlChar"],
    ["a\ud800", "LoneSurrogate"],
  ];
  for (const [tag, reason] of refused) {
    const tags = ["fine", tag as string, ""];
    assert.throws(() => normalizeTags(tags), { code: "TAG", reason, index: 1 });
  }
});

test("a tag may have 256 bytes and any printable text", () => {
  const tags = ["x".repeat(TAG_SIZE_MAX), "é".repeat(TAG_SIZE_MAX / 2), "a,b|c=d%", "two words"];
  assert.deepEqual(normalizeTags(tags), tags);
});

test("an event has at most 32 different tags", () => {
  const tags = Array.from({ length: TAG_COUNT_MAX }, (_, i) => `tag:${i}`);
  assert.equal(normalizeTags([...tags, "tag:0", "tag:31"]).length, 32);
  assert.throws(() => normalizeTags([...tags, "tag:0", "one-more"]), {
    reason: "TooMany",
    index: 33,
  });
});

test("normalizeTags() refuses what is not an array", () => {
  assert.throws(() => normalizeTags("abc" as unknown as string[]), TypeError);
});
