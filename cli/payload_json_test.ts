import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { payloadFromJson, payloadToJson } from "./payload_json.ts";

test("payloadToJson() writes what JSON lacks as objects with one key", () => {
  assert.deepEqual(
    payloadToJson({
      bytes: new Uint8Array([0, 1, 2]),
      big: 2n ** 53n + 1n,
      when: new Date("2026-01-31T12:00:00Z"),
      rest: [NaN, Infinity, -Infinity, -0, 0, 1.5, "text", true, null],
    }),
    {
      bytes: { $bytes: "AAEC" },
      big: { $bigint: "9007199254740993" },
      when: { $date: "2026-01-31T12:00:00.000Z" },
      rest: [
        { $number: "NaN" },
        { $number: "Infinity" },
        { $number: "-Infinity" },
        { $number: "-0" },
        0,
        1.5,
        "text",
        true,
        null,
      ],
    },
  );
});

test("payloadToJson() marks an object that looks like a stand-in", () => {
  assert.deepEqual(payloadToJson({ $bytes: 1 }), { $$bytes: 1 });
  assert.deepEqual(payloadToJson({ $$date: "x" }), { $$$date: "x" });
  assert.deepEqual(payloadToJson({ $bytes: 1, more: 2 }), { $bytes: 1, more: 2 });
});

test("payloadFromJson() refuses a stand-in for nothing, and says how to write it literally", () => {
  for (const json of [{ $bytes: "%" }, { $bigint: "1.5" }, { $date: "soon" }, { $number: "1" }]) {
    assert.throws(() => payloadFromJson([json]), {
      name: "RangeError",
      message: /stands for no value; if it is meant as it is, write \{"\$\$/,
    });
  }
});

test("payloadFromJson() gives back every payload that payloadToJson() wrote", () => {
  const key = fc.oneof(fc.string(), fc.constantFrom("$bytes", "$$bytes", "$date", "$bigint", "a"));
  const { payload } = fc.letrec((tie) => ({
    payload: fc.oneof(
      { depthSize: "small" },
      fc.constantFrom(null, true, NaN, -0, Infinity),
      fc.double(),
      fc.string(),
      fc.bigInt(-(2n ** 63n), 2n ** 64n - 1n),
      fc.date({ noInvalidDate: true }),
      fc.uint8Array(),
      fc.array(tie("payload")),
      fc.dictionary(key, tie("payload"), { maxKeys: 3, noNullPrototype: true }),
    ),
  }));
  fc.assert(fc.property(payload, (value) => {
    const text = JSON.stringify(payloadToJson(value));
    assert.deepEqual(payloadFromJson(JSON.parse(text)), value);
  }));
});

test("payloadToJson() writes bytes of any number", () => {
  const bytes = new Uint8Array(200_000).map((_, index) => index * 7);
  assert.deepEqual(payloadFromJson(payloadToJson(bytes)), bytes);
});
