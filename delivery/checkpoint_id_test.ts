import assert from "node:assert/strict";
import { test } from "node:test";
import { CheckpointId, CheckpointIdError } from "./checkpoint_id.ts";

function refusalOf(text: string): CheckpointIdError {
  try {
    CheckpointId.parse(text);
  } catch (error) {
    assert.ok(error instanceof CheckpointIdError);
    assert.equal(error.code, "CHECKPOINT_ID");
    return error;
  }
  assert.fail(`${JSON.stringify(text)} is an id`);
}

test("C-14 CheckpointId.parse() says which rule an id breaks", () => {
  const cases = [
    ["", "empty"],
    ["../../etc/passwd", "pathTraversal"],
    ["with/slash", "pathTraversal"],
    ["..", "pathTraversal"],
    ["a\0b", "nulByte"],
    ["a\x01b", "controlChar"],
    ["a\x1fb", "controlChar"],
    ["a\x7fb", "controlChar"],
    ["scope|fact", "forbiddenSeparator"],
    ["scope=fact", "forbiddenSeparator"],
    ["half\ud800", "loneSurrogate"],
  ] as const;
  for (const [text, reason] of cases) assert.equal(refusalOf(text).reason, reason);
  assert.equal(refusalOf(42 as never).reason, "notString");
});

test("C-14 the first rule wins, and of bytes the first one", () => {
  assert.equal(refusalOf("/\0".repeat(1000)).reason, "tooLong");
  assert.equal(refusalOf("\x01\0").reason, "controlChar");
  assert.equal(refusalOf("\0\x01").reason, "nulByte");
  assert.equal(refusalOf("../=\x01").reason, "controlChar");
  assert.equal(refusalOf("=|..").reason, "pathTraversal");
});

test("C-14 an id has at most 1,024 bytes", () => {
  for (const text of ["x".repeat(1024), "é".repeat(512)]) {
    assert.equal(CheckpointId.parse(text), text);
    const error = refusalOf(`${text}x`);
    assert.deepEqual([error.reason, error.size, error.sizeMax], ["tooLong", 1025, 1024]);
  }
});

test("C-14 spaces, colons, backslashes and letters of any script are fine", () => {
  for (const text of ["a b", " ", "billing:mailer", "a\\b", "größe", "✓", ".", "a.b"]) {
    assert.equal(CheckpointId.parse(text), text);
  }
});

test("C-14 the message of a path says path-traversal", () => {
  assert.match(refusalOf("a/b").message, /path-traversal/);
});
