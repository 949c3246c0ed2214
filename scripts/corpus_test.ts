import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCorpus } from "../sim/corpus.ts";
import json from "../sim/corpus.json" with { type: "json" };
import { assertMayPin, pinned } from "./corpus.ts";

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
