import assert from "node:assert/strict";
import { test } from "node:test";
import {
  EXTENSION_COUNT_MAX,
  type ExtensionKeyRefusal,
  normalizeExtensions,
  validateExtensionKey,
} from "./extensions.ts";

const BYTES = Uint8Array.of(1, 2, 3);

test("validateExtensionKey() accepts prefix.field", () => {
  const keys = ["app.trace", "my-app.trace_id", "A.0", "a.b:c/d", "batpakx.y", "Batpak.y"];
  for (const key of [...keys, `a.${"b".repeat(254)}`]) validateExtensionKey(key);
});

test("validateExtensionKey() names the first rule that is broken, in order", () => {
  const refused: [string, ExtensionKeyRefusal][] = [
    ["", "Empty"],
    ["é", "NonAscii"],
    ["é".repeat(300), "NonAscii"],
    ["batpak.é", "NonAscii"],
    ["x".repeat(257), "TooLong"],
    [`batpak.${"x".repeat(250)}`, "TooLong"],
    ["nodot", "InvalidNamespaceFormat"],
    [".field", "InvalidNamespaceFormat"],
    ["prefix.", "InvalidNamespaceFormat"],
    [".", "InvalidNamespaceFormat"],
    ["a.b.c", "InvalidNamespaceFormat"],
    ["batpak.a.b", "InvalidNamespaceFormat"],
    ["a.b\n", "InvalidNamespaceFormat"],
    ["a .b", "InvalidNamespaceFormat"],
    ["a.\0", "InvalidNamespaceFormat"],
    ["batpak.signing", "ReservedNamespace"],
  ];
  for (const [key, reason] of refused) {
    assert.throws(() => validateExtensionKey(key), { code: "EXTENSION_KEY", reason, key });
  }
});

test("normalizeExtensions() orders by the bytes of the key", () => {
  const entries = normalizeExtensions({ "b.a": BYTES, "a.c": BYTES, "a-b.c": BYTES, "Z.z": BYTES });
  assert.deepEqual(entries.map(([key]) => key), ["Z.z", "a-b.c", "a.c", "b.a"]);
});

test("normalizeExtensions() copies the values", () => {
  const value = Uint8Array.of(1, 2, 3);
  const [[, stored]] = normalizeExtensions({ "a.b": value });
  value[0] = 9;
  assert.deepEqual(stored, Uint8Array.of(1, 2, 3));
});

test("normalizeExtensions() takes a view for the bytes it shows", () => {
  const [[, stored]] = normalizeExtensions({ "a.b": Uint8Array.of(1, 2, 3, 4).subarray(1, 3) });
  assert.deepEqual(stored, Uint8Array.of(2, 3));
  assert.equal(stored.buffer.byteLength, 2);
});

test("normalizeExtensions() refuses a bad key and a value that is no bytes", () => {
  assert.throws(() => normalizeExtensions({ "batpak.x": BYTES }), { reason: "ReservedNamespace" });
  assert.throws(
    () => normalizeExtensions({ "a.b": [1] as unknown as Uint8Array }),
    new TypeError('Cannot use the value of extension "a.b": it is not a Uint8Array'),
  );
  assert.throws(() => normalizeExtensions(null as unknown as Record<string, never>), TypeError);
});

test("an event has at most 32 extensions", () => {
  const keys = Array.from({ length: EXTENSION_COUNT_MAX }, (_, i) => `a.k${i}`);
  const full = Object.fromEntries(keys.map((key) => [key, BYTES]));
  assert.equal(normalizeExtensions(full).length, 32);
  assert.throws(() => normalizeExtensions({ ...full, "a.more": BYTES }), {
    code: "TOO_LARGE",
    actual: 33,
    limit: 32,
  });
});

test("no extensions normalize to an empty list that cannot change", () => {
  assert.deepEqual(normalizeExtensions({}), []);
  assert.ok(Object.isFrozen(normalizeExtensions({})));
});
