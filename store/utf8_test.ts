import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hasControlCharacter, utf8Size } from "./utf8.ts";

test("utf8Size() counts one to four bytes a character", () => {
  assert.equal(utf8Size(""), 0);
  assert.equal(utf8Size("a"), 1);
  assert.equal(utf8Size("é"), 2);
  assert.equal(utf8Size("€"), 3);
  assert.equal(utf8Size("😀"), 4);
  assert.equal(utf8Size("a\ud800"), 4);
  assert.equal(utf8Size("\udc00\ud800a"), 7);
});

test("utf8Size() agrees with an encoder on any string, well formed or not", () => {
  const encoder = new TextEncoder();
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.array(fc.nat(0xffff)), (text, units) => {
      const mixed = text + String.fromCharCode(...units);
      assert.equal(utf8Size(mixed), encoder.encode(mixed).byteLength);
    }),
  );
});

test("hasControlCharacter() finds the 33 control characters of ASCII and nothing else", () => {
  for (let unit = 0; unit <= 0x100; unit++) {
    const isControl = unit < 0x20 || unit === 0x7f;
    assert.equal(hasControlCharacter(`a${String.fromCharCode(unit)}`), isControl);
  }
});
