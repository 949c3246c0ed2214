import assert from "node:assert/strict";
import { test } from "node:test";
import { GitError, parseLog } from "./git_history.ts";

const A = "a".repeat(40);
const B = "b".repeat(40);
const C = "c".repeat(64);

test("parseLog() reads commits with and without files, and names of any kind", () => {
  const output = [
    ...[A, `${B} ${C}`, "Ann", "1700000000", "Merge", "", ""],
    ...[
      B,
      C,
      "Ä B",
      "1600000000",
      "",
      "",
      "\nM",
      "a b=c/ü\n.ts",
      "R087",
      "old",
      "new",
      "T",
      "link",
    ],
    ...[C, "", "", "0", "first\x01", "", "\nA", B, "D", "M", ""],
  ].join("\0");
  assert.deepEqual(parseLog(output), [
    {
      hash: A,
      parents: [B, C],
      author: "Ann",
      authoredAt: 1700000000,
      subject: "Merge",
      files: [],
    },
    {
      hash: B,
      parents: [C],
      author: "Ä B",
      authoredAt: 1600000000,
      subject: "",
      files: [
        { type: "modified", path: "a b=c/ü\n.ts" },
        { type: "renamed", from: "old", path: "new" },
        { type: "retyped", path: "link" },
      ],
    },
    {
      hash: C,
      parents: [],
      author: "",
      authoredAt: 0,
      subject: "first\x01",
      // A file may be called like a commit, or like a change.
      files: [{ type: "added", path: B }, { type: "removed", path: "M" }],
    },
  ]);
});

test("parseLog() says what it cannot read", () => {
  assert.throws(() => parseLog("warning: odd\0"), GitError);
  assert.throws(() => parseLog(`${A}\0\0\0`), /ends after 3 fields|ends after/);
  assert.throws(() => parseLog([A, "", "", "0", "", "", "X", "file"].join("\0")), /kind of change/);
});
