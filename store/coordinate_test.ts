import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  Coordinate,
  CoordinateError,
  type CoordinateRefusal,
  validateCoordinate,
} from "./coordinate.ts";

function refusal(entity: unknown, scope: unknown): [CoordinateRefusal, string] {
  try {
    validateCoordinate(entity as string, scope as string);
  } catch (error) {
    assert.ok(error instanceof CoordinateError);
    return [error.reason, error.component];
  }
  assert.fail("the coordinate was accepted");
}

test("Coordinate.of() accepts colons, single dots, spaces and text of any language", () => {
  for (const name of ["user:1", "a.b", ".", "two words", "Größe", "注文", "😀", "a@b", "%", "*"]) {
    const coordinate = Coordinate.of(name, name);
    assert.equal(coordinate.entity, name);
    assert.equal(coordinate.scope, name);
  }
});

test("a coordinate prints as entity@scope", () => {
  assert.equal(String(Coordinate.of("order:1001", "shop")), "order:1001@shop");
});

test("coordinates are equal when both parts are", () => {
  const coordinate = Coordinate.of("a", "b");
  assert.ok(coordinate.equals(Coordinate.of("a", "b")));
  assert.ok(!coordinate.equals(Coordinate.of("a", "c")));
  assert.ok(!coordinate.equals(Coordinate.of("c", "b")));
});

test("a coordinate cannot be changed", () => {
  const coordinate = Coordinate.of("a", "b");
  assert.throws(() => Object.assign(coordinate, { entity: "c" }), TypeError);
});

test("validateCoordinate() names the rule and the part that breaks it", () => {
  assert.deepEqual(refusal("", "s"), ["EmptyEntity", "entity"]);
  assert.deepEqual(refusal("e", ""), ["EmptyScope", "scope"]);
  assert.deepEqual(refusal("e".repeat(1025), "s"), ["EntityTooLong", "entity"]);
  assert.deepEqual(refusal("e", "s".repeat(1025)), ["ScopeTooLong", "scope"]);
  const rules: [string, CoordinateRefusal][] = [
    ["a\0b", "NulByte"],
    ["a\x01", "ControlChar"],
    ["a\nb", "ControlChar"],
    ["a\x1f", "ControlChar"],
    ["a\x7f", "ControlChar"],
    ["a/b", "PathTraversal"],
    ["..", "PathTraversal"],
    ["a..b", "PathTraversal"],
    ["a|b", "ForbiddenSeparator"],
    ["a=b", "ForbiddenSeparator"],
    ["a\ud800", "LoneSurrogate"],
    ["\udc00a", "LoneSurrogate"],
  ];
  for (const [text, reason] of rules) {
    assert.deepEqual(refusal(text, "s"), [reason, "entity"]);
    assert.deepEqual(refusal("e", text), [reason, "scope"]);
  }
});

test("validateCoordinate() checks in the documented order", () => {
  assert.deepEqual(refusal("", ""), ["EmptyEntity", "entity"]);
  assert.deepEqual(refusal("\0".repeat(1025), ""), ["EmptyScope", "scope"]);
  assert.deepEqual(refusal("/".repeat(1025), "|".repeat(1025)), ["EntityTooLong", "entity"]);
  assert.deepEqual(refusal("\0", "s".repeat(1025)), ["ScopeTooLong", "scope"]);
  assert.deepEqual(refusal("|/\x02\0", "s"), ["ControlChar", "entity"]);
  assert.deepEqual(refusal("|/\0\x02", "s"), ["NulByte", "entity"]);
  assert.deepEqual(refusal("|../", "s"), ["PathTraversal", "entity"]);
  assert.deepEqual(refusal("\ud800|", "s"), ["ForbiddenSeparator", "entity"]);
  assert.deepEqual(refusal("a=", "\0"), ["ForbiddenSeparator", "entity"]);
});

test("a part may have 1,024 bytes of UTF-8, however few characters that is", () => {
  Coordinate.of("e".repeat(1024), "€".repeat(341) + "s");
  assert.throws(() => Coordinate.of("e", "€".repeat(342)), {
    reason: "ScopeTooLong",
    size: 1026,
    max: 1024,
  });
  assert.throws(() => Coordinate.of("é".repeat(513), "s"), {
    reason: "EntityTooLong",
    size: 1026,
    max: 1024,
    message: "Cannot use this coordinate: the entity has 1026 bytes, and at most 1024 fit",
  });
});

test("Coordinate.from() reads back what toJSON() wrote", () => {
  const coordinate = Coordinate.of("order:1001", "shop");
  const decoded = Coordinate.from(JSON.parse(JSON.stringify(coordinate)));
  assert.ok(decoded.equals(coordinate));
  assert.equal(Coordinate.from(coordinate), coordinate);
});

test("Coordinate.from() refuses a decoded value that breaks a rule", () => {
  assert.throws(() => Coordinate.from({ entity: "a/b", scope: "s" }), { reason: "PathTraversal" });
  for (const value of [undefined, null, 1, "a@b", [], {}, { entity: "a" }, { entity: 1 }]) {
    assert.throws(() => Coordinate.from(value), { code: "COORDINATE", reason: "NotString" });
  }
});

test("validate() catches a value that was not made by Coordinate.of()", () => {
  const forged: Coordinate = Object.create(Coordinate.prototype, {
    entity: { value: "a" },
    scope: { value: "../b" },
  });
  assert.throws(() => forged.validate(), { reason: "PathTraversal", component: "scope" });
  assert.throws(() => Coordinate.from(forged), { reason: "PathTraversal", component: "scope" });
});

test("an accepted coordinate survives UTF-8 and contains no separator", () => {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const encoder = new TextEncoder();
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.array(fc.nat(0xffff)), (text, units) => {
      const entity = text + String.fromCharCode(...units);
      try {
        validateCoordinate(entity, "s");
      } catch (error) {
        assert.ok(error instanceof CoordinateError);
        return;
      }
      const bytes = encoder.encode(entity);
      assert.equal(decoder.decode(bytes), entity);
      assert.ok(bytes.byteLength <= 1024);
      // deno-lint-ignore no-control-regex -- control characters are the point
      assert.doesNotMatch(entity, /[\x00-\x1f\x7f/|=]|\.\./);
    }),
  );
});
