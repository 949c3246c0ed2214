import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCorpus } from "../sim/corpus.ts";
import json from "../sim/corpus.json" with { type: "json" };
import { assertMayPin, assertOutcomes, pinned } from "./corpus.ts";

test("the corpus is not pinned where CI is set", () => {
  assertMayPin({});
  assertMayPin({ CI: "" });
  assert.throws(
    () => assertMayPin({ CI: "true" }),
    /^Error: Cannot pin the corpus where CI is set/,
  );
});

test("pinned() keeps a row that has not changed, and replaces a digest that has", () => {
  const [row] = parseCorpus(json).filter(({ kind }) => kind === "copy");
  assert.deepEqual(pinned([row, { ...row, digest: "00000000000000ff" }]), [row, row]);
});

test("pinned() never pins what breaks a promise or tests nothing", () => {
  const row = parseCorpus(json).find((row) =>
    row.kind === "matrix" && row.cell === "fence: staged"
  );
  assert.ok(row !== undefined && row.kind === "matrix");
  assert.throws(() => pinned([{ ...row, steps: 4 }]), /Cannot pin .*"noBoundary"/);
});

test("another digest is pinned when asked for, another outcome only when that was asked for, too", () => {
  const rows = parseCorpus(json);
  const other = rows.map((row) => ({ ...row, digest: "00000000000000ff" }));
  assertOutcomes(rows, other);
  other[1] = { ...other[1], outcome: "rolledBack" };
  assert.throws(() => assertOutcomes(rows, other), (error) => {
    assert.match(
      (error as Error).message,
      /without --outcomes.*\n.*committedPrefix is rolledBack now$/,
    );
    return true;
  });
});
