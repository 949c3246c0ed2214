import assert from "node:assert/strict";
import { test } from "node:test";
import { crashText } from "./crash_text.ts";

test("S002-4 W-17 crashText() keeps literal text", () => {
  assert.equal(crashText("cursor panic detail"), "cursor panic detail");
  assert.equal(crashText(""), "");
});

test("S002-4 W-17 crashText() keeps the message of an error", () => {
  assert.equal(crashText(new Error("owned cursor panic detail")), "owned cursor panic detail");
  assert.equal(crashText(new RangeError("out of range")), "out of range");
  assert.equal(crashText(new Error("")), "");
});

test("S002-4 W-17 crashText() calls everything else an unknown panic", () => {
  const opaque = [
    17,
    undefined,
    null,
    true,
    3n,
    Symbol("s"),
    {},
    { message: "no error" },
    [],
    () => 1,
  ];
  for (const thrown of opaque) assert.equal(crashText(thrown), "unknown panic");
});

test("W-17 crashText() never fails", () => {
  const lying = new Error("hidden");
  Object.defineProperty(lying, "message", {
    get() {
      throw new Error("gotcha");
    },
  });
  assert.equal(crashText(lying), "unknown panic");
  const numeric = new Error("hidden");
  Object.defineProperty(numeric, "message", { value: 17 });
  assert.equal(crashText(numeric), "unknown panic");
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  assert.equal(crashText(proxy), "unknown panic");
});
