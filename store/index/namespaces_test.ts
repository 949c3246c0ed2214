import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Interner, NAME_UNKNOWN } from "./interner.ts";
import { Namespaces } from "./namespaces.ts";
import { entityMatches } from "../region.ts";

const encoder = new TextEncoder();

function add(names: Interner, name: string): void {
  const bytes = encoder.encode(name);
  if (names.find(bytes, 0, bytes.byteLength) === NAME_UNKNOWN) {
    names.add(bytes, 0, bytes.byteLength);
  }
}

function under(namespaces: Namespaces, names: Interner, prefix: string): string[] {
  const bytes = encoder.encode(prefix);
  return namespaces.under(bytes, bytes.byteLength).map((number) => names.text(number)).sort();
}

test("under() gives a name and what is below it, and none that only begins alike", () => {
  const names = new Interner();
  const namespaces = new Namespaces(names);
  for (const name of ["alice", "alice:child", "alice2", "alice-prod", "alíce:child", "bob:a:b"]) {
    add(names, name);
  }
  assert.deepEqual(under(namespaces, names, "alice"), ["alice", "alice:child"]);
  assert.deepEqual(under(namespaces, names, "bob"), ["bob:a:b"]);
  assert.deepEqual(under(namespaces, names, "bob:a"), ["bob:a:b"]);
  assert.deepEqual(under(namespaces, names, "nobody"), []);
  // Names that come later are found too.
  add(names, "alice:child:toy");
  assert.deepEqual(under(namespaces, names, "alice:child"), ["alice:child", "alice:child:toy"]);
});

test("under() agrees with the rule of regions for every name and prefix", () => {
  const name = fc.string({ unit: fc.constantFrom("a", "b", ":", "é"), minLength: 1, maxLength: 6 });
  fc.assert(fc.property(
    fc.array(fc.array(name, { maxLength: 20 }), { maxLength: 4 }),
    fc.array(fc.string({ unit: fc.constantFrom("a", "b", ":", "é"), maxLength: 4 })),
    (rounds, prefixes) => {
      const names = new Interner();
      const namespaces = new Namespaces(names);
      const all = new Set<string>();
      for (const round of rounds) {
        for (const added of round) {
          add(names, added);
          all.add(added);
        }
        for (const prefix of prefixes) {
          const expected = [...all].filter((one) => entityMatches(prefix, one)).sort();
          assert.deepEqual(under(namespaces, names, prefix), expected);
        }
      }
    },
  ));
});

test("under() finds names of more levels than anybody should use", () => {
  const names = new Interner();
  const namespaces = new Namespaces(names);
  const deep = "a" + ":b".repeat(300);
  for (const name of [deep, `${deep}:c`, "a:x", "ab"]) add(names, name);
  assert.deepEqual(under(namespaces, names, "a"), [deep, `${deep}:c`, "a:x"].sort());
  assert.deepEqual(under(namespaces, names, deep), [deep, `${deep}:c`]);
  assert.deepEqual(under(namespaces, names, "a" + ":b".repeat(299)), [deep, `${deep}:c`]);
});
