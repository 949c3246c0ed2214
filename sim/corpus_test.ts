// Spec simulation 3.11: the corpus is current, and what would make it worth nothing is refused.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CORPUS_KINDS,
  type CorpusEnd,
  type CorpusKinds,
  CorpusLabelError,
  describeRow,
  driftsOf,
  formatCorpus,
  graduate,
  type GraduationRefusal,
  type JsonObject,
  parseCorpus,
} from "./corpus.ts";
import json from "./corpus.json" with { type: "json" };
import { OracleViolation } from "./oracle.ts";

const CORPUS = parseCorpus(json);
const NOTE = { origin: "graduated", reason: "a test" } as const;
const CELL = { kind: "matrix", cell: "append: written", seed: "3", steps: 40 };

for (const row of CORPUS) {
  test(`the corpus is current: ${describeRow(row)}`, () => {
    // After a change of the store's bytes: deno task corpus --update
    assert.deepEqual(driftsOf([row]), []);
  });
}

test("the corpus has rows of every kind and every outcome, each of them once", () => {
  assert.ok(CORPUS.length >= 40);
  const kinds = new Set(CORPUS.map(({ kind }) => kind));
  assert.deepEqual([...kinds].sort(), Object.keys(CORPUS_KINDS).sort());
  const outcomes = new Set(CORPUS.map(({ outcome }) => outcome));
  assert.deepEqual([...outcomes].sort(), ["committedPrefix", "refused", "rolledBack"]);
  const names = CORPUS.map((row) => JSON.stringify({ ...row, digest: "", reason: "" }));
  assert.equal(new Set(names).size, names.length);
  assert.equal(new Set(CORPUS.map(({ digest }) => digest)).size, CORPUS.length);
});

test("formatCorpus() writes what parseCorpus() reads, with seeds as text", () => {
  const text = formatCorpus(CORPUS);
  assert.deepEqual(parseCorpus(JSON.parse(text)), CORPUS);
  assert.deepEqual(JSON.parse(text), json);
});

test("an empty corpus is an error", () => {
  assert.throws(() => driftsOf([]), {
    name: "RangeError",
    message: "Cannot check a corpus that has no rows",
  });
  assert.throws(() => parseCorpus({}), TypeError);
});

test("a row whose digest or outcome is not what comes of it is a drift, with both", () => {
  const row = CORPUS.find(({ kind }) => kind === "copy")!;
  const changed = { ...row, digest: "00000000000000ff" };
  const other = { ...row, outcome: "rolledBack" as const };
  assert.deepEqual(driftsOf([changed, row, other]), [
    { row: changed, now: { type: "graduated", row } },
    { row: other, now: { type: "graduated", row } },
  ]);
});

/** Kinds of which a run of the matrix ends as the test says. */
function ending(run: () => CorpusEnd): CorpusKinds {
  return { ...CORPUS_KINDS, matrix: { ...CORPUS_KINDS.matrix, run } };
}

function refusalOf(json: JsonObject, kinds?: CorpusKinds, note = NOTE): GraduationRefusal {
  const graduation = graduate(json, note, kinds);
  assert.ok(graduation.type === "refused", JSON.stringify(graduation));
  return graduation.refusal;
}

test("graduate() keeps what came of the run, whatever the candidate says of it", () => {
  const digest = "1234567812345678";
  const kinds = ending(() => ({ digest, outcome: "rolledBack" }));
  const graduation = graduate({ ...CELL, digest: "0", outcome: "refused" }, NOTE, kinds);
  assert.deepEqual(graduation, {
    type: "graduated",
    row: { ...CELL, seed: 3, digest, outcome: "rolledBack", ...NOTE },
  });
});

test("graduate() refuses labels that nobody knows", () => {
  for (
    const [wrong, label] of [
      [{ kind: "swarms" }, "swarms"],
      [{ kind: "toString" }, "toString"],
      [{ cell: "append: wrote" }, "append: wrote"],
      [{ cell: undefined }, undefined],
      [{ seed: "-1" }, "-1"],
      [{ seed: "9007199254740993" }, "9007199254740993"],
      [{ seed: "1e3" }, "1e3"],
      [{ steps: 0 }, 0],
      [{ kind: "copy", run: "snapshot" }, "snapshot"],
    ] as const
  ) {
    assert.deepEqual(refusalOf({ ...CELL, ...wrong }), { type: "unknownLabel", label });
  }
  for (
    const wrong of [
      { digest: "0000000000000000" },
      { digest: "12" },
      { outcome: "Refused" },
      { origin: "made up" },
      { reason: "" },
    ]
  ) {
    assert.throws(() => parseCorpus([{ ...json[0], ...wrong }]), CorpusLabelError);
  }
});

test("graduate() refuses a run that stands for nothing, or that tests nothing", () => {
  assert.deepEqual(graduate(CELL, { ...NOTE, reason: "" }), {
    type: "refused",
    refusal: { type: "noReason" },
  });
  const short = { ...CELL, steps: 4 };
  const named = (cell: string) => refusalOf({ ...short, cell });
  assert.deepEqual(named("fence: staged"), { type: "noBoundary" });
  assert.deepEqual(named("open: synced"), { type: "emptyHistory" });
  assert.deepEqual(named("3rd directory sync dropped"), { type: "noFault" });
});

test("graduate() refuses a run that breaks a promise, or that is another one the second time", () => {
  const broken = ending(() => {
    throw new OracleViolation("7 was invented");
  });
  assert.deepEqual(refusalOf(CELL, broken), {
    type: "illegalRecovery",
    violation: "7 was invented",
  });
  let runs = 0;
  const fickle = ending(() => ({ digest: `000000000000000${++runs}`, outcome: "refused" }));
  assert.deepEqual(refusalOf(CELL, fickle), {
    type: "notDeterministic",
    first: { digest: "0000000000000001", outcome: "refused" },
    second: { digest: "0000000000000002", outcome: "refused" },
  });
  // What is no promise is a bug of the simulation, and not kept quiet.
  const bug = ending(() => {
    throw new TypeError("no such method");
  });
  assert.throws(() => graduate(CELL, NOTE, bug), TypeError);
});
