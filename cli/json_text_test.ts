import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LossyNumberError, parseJson } from "./json_text.ts";

// JSON.parse rounds, and the command stored what it had rounded. A number that would change is refused
// now.
test("parseJson() refuses a number that would be stored as another one, and says what to write", () => {
  const cases: [string, string][] = [
    [
      '{"id":9007199254740993}',
      'the number 9007199254740993 would be stored as 9007199254740992; write {"$bigint":"9007199254740993"} to keep it',
    ],
    [
      "[-9007199254740993]",
      'the number -9007199254740993 would be stored as -9007199254740992; write {"$bigint":"-9007199254740993"} to keep it',
    ],
    [
      "12345678901234567890",
      'the number 12345678901234567890 would be stored as 12345678901234567000; write {"$bigint":"12345678901234567890"} to keep it',
    ],
    [
      "100000000000000000000000001",
      "the number 100000000000000000000000001 would be stored as 1e+26; write it as a string to keep it",
    ],
    [
      '{"a":"\\\\\\"","b":-1e400}',
      "the number -1e400 would be stored as -Infinity; write it as a string to keep it",
    ],
    ["1E+0400", "the number 1E+0400 would be stored as Infinity; write it as a string to keep it"],
    [
      "9".repeat(400),
      `the number ${"9".repeat(60)}… would be stored as Infinity; write it as a string to keep it`,
    ],
  ];
  for (const [text, message] of cases) {
    assert.throws(() => parseJson(text), { name: "LossyNumberError", message });
  }
});

test("parseJson() takes every number that stays what it is", () => {
  for (
    const text of [
      "9007199254740991",
      "-9007199254740992",
      "9007199254740994",
      "12345678901234567000",
      "1000000000000000000000",
      "-0",
      "0.12345678901234567",
      "1e308",
      "1e-400",
      '"9007199254740993"',
      '{"9007199254740993":"1e400 \\" 9007199254740993","\\\\":[1,2]}',
      '{"$bigint":"9007199254740993"}',
    ]
  ) {
    assert.deepEqual(parseJson(text), JSON.parse(text));
  }
});

test("parseJson() takes what JSON.stringify() writes, and refuses integers just beside", () => {
  fc.assert(fc.property(fc.jsonValue(), fc.double({ noNaN: true }), (value, number) => {
    const text = JSON.stringify([value, Number.isFinite(number) ? number : 0]);
    assert.deepEqual(parseJson(text), JSON.parse(text));
  }));
  fc.assert(fc.property(fc.string(), fc.bigInt(2n ** 53n, 2n ** 63n), (key, big) => {
    const text = `{${JSON.stringify(key)}:[${big}]}`;
    if (BigInt(Number(big)) === big || String(Number(big)) === String(big)) parseJson(text);
    else assert.throws(() => parseJson(text), LossyNumberError);
  }));
});

test("parseJson() names a reason without a place that nobody can use", () => {
  for (const text of ['{"a" 1}', "{total: 1}", "1 2", "", "[1,]"]) {
    assert.throws(() => parseJson(text), (error: SyntaxError) => {
      assert.equal(error.name, "SyntaxError");
      assert.match(error.message, /^.+$/);
      assert.doesNotMatch(error.message, /column|JSON Parse error/);
      return true;
    });
  }
});
