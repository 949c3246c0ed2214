import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { grown, Interner, NAME_UNKNOWN } from "./interner.ts";

const encoder = new TextEncoder();

/** Finds or adds a name that stands at `start` of a larger array, as names do in frames. */
function intern(names: Interner, text: string, start = 3): number {
  const name = encoder.encode(text);
  const bytes = new Uint8Array(start + name.byteLength + 5).fill(0x7a);
  bytes.set(name, start);
  const known = names.find(bytes, start, name.byteLength);
  return known === NAME_UNKNOWN ? names.add(bytes, start, name.byteLength) : known;
}

function find(names: Interner, text: string): number {
  const name = encoder.encode(text);
  return names.find(name, 0, name.byteLength);
}

test("names get numbers from 0 in the order they came, and keep them", () => {
  const names = new Interner();
  assert.equal(names.count, 0);
  assert.equal(find(names, "a"), NAME_UNKNOWN);
  for (const [number, text] of ["a", "b", "", "ab", "a:b", "größe", "🦩"].entries()) {
    assert.equal(intern(names, text), number);
    assert.equal(intern(names, text, 0), number);
    assert.equal(names.text(number), text);
  }
  assert.equal(names.count, 7);
  assert.equal(find(names, "A"), NAME_UNKNOWN);
  assert.equal(find(names, "a:"), NAME_UNKNOWN);
});

test("an interner agrees with a map on any names", () => {
  const text = fc.oneof(
    fc.string({ unit: fc.constantFrom("a", "b", ":"), maxLength: 4 }),
    fc.string({ unit: "grapheme", maxLength: 100 }),
  );
  fc.assert(
    fc.property(fc.array(text, { maxLength: 200 }), (texts) => {
      const names = new Interner();
      const expected = new Map<string, number>();
      for (const text of texts) {
        assert.equal(find(names, text), expected.get(text) ?? NAME_UNKNOWN);
        if (!expected.has(text)) expected.set(text, expected.size);
        assert.equal(intern(names, text), expected.get(text));
      }
      assert.equal(names.count, expected.size);
      for (const [text, number] of expected) {
        assert.equal(find(names, text), number);
        assert.equal(names.text(number), text);
      }
    }),
  );
});

test("a hundred thousand names stay apart, and are found in any order", () => {
  const names = new Interner();
  const count = 100_000;
  for (let i = 0; i < count; i++) assert.equal(intern(names, `entity:${i}`), i);
  for (let i = count - 1; i >= 0; i -= 7) {
    assert.equal(find(names, `entity:${i}`), i);
    assert.equal(names.text(i), `entity:${i}`);
  }
  assert.equal(find(names, `entity:${count}`), NAME_UNKNOWN);
  assert.ok(names.memorySize < count * 60, `${names.memorySize} bytes`);
});

test("names with the same hash stay apart", () => {
  // FNV-1a of 32 bits collides on these pairs, and the final mix keeps collisions.
  const pairs = [["costarring", "liquid"], ["declinate", "macallums"], ["altarage", "zinke"]];
  const names = new Interner();
  for (const [number, text] of pairs.flat().entries()) assert.equal(intern(names, text), number);
  for (const [number, text] of pairs.flat().entries()) assert.equal(find(names, text), number);
});

test("text() gives the same string each time, whoever asks first", () => {
  const names = new Interner();
  for (let i = 0; i < 50; i++) intern(names, `name ${i}`);
  for (const number of [49, 0, 25]) assert.equal(names.text(number), `name ${number}`);
  intern(names, "later");
  assert.equal(names.text(50), "later");
  assert.equal(names.text(49), "name 49");
});

test("text() gives back the name to the last character, a byte order mark included", () => {
  const names = new Interner();
  const odd = ["\ufeff", "\ufeffuser", `\ufeff${"x".repeat(90)}`, "a\u0000b", "e\u0301", "\u00e9"];
  for (const [number, text] of odd.entries()) {
    assert.equal(intern(names, text), number);
    assert.equal(names.text(number), text, JSON.stringify(text));
  }
});

test("grown() copies to twice the length, at least sixteen", () => {
  assert.deepEqual(grown(Uint32Array.of(1, 2)), Uint32Array.from([1, 2, ...Array(14).fill(0)]));
  assert.equal(grown(new Uint32Array(40)).length, 80);
  assert.equal(grown(new Uint32Array(0)).length, 16);
});
