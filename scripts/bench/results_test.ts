import assert from "node:assert/strict";
import { test } from "node:test";
import {
  bestPeer,
  costOf,
  formatExponent,
  formatFigure,
  formatRatio,
  formatResults,
  formatSpread,
  makeRun,
  parseResults,
  ratioOf,
} from "./results.ts";
import { runtime } from "../../platform/runtime.ts";
import { BUN_RUN, DENO_RUN } from "./testdata/sample_runs.ts";

const figure = { median: 200, spread: 0, samples: [200] };

test("ratioOf() is above 1 where the journal is better: faster, quicker or smaller", () => {
  assert.equal(ratioOf("events/s", 300, 200), 1.5);
  assert.equal(ratioOf("ms", 300, 200), 0.667);
  assert.equal(ratioOf("bytes/event", 100, 200), 2);
});

test("costOf() turns each kind of figure into what everything costs together", () => {
  assert.equal(costOf("events/s", { events: 1000, figure }), 5);
  assert.equal(costOf("ms", { events: 1000, figure }), 200);
  assert.equal(costOf("us", { events: 1000, figure }), 200);
  assert.equal(costOf("bytes/event", { events: 1000, figure }), 200_000);
});

test("bestPeer() is the one with the lowest ratio, and never the bare loop", () => {
  const [append, durable, unavailable] = DENO_RUN.rows;
  assert.equal(bestPeer(append)!.name, "node:sqlite");
  assert.equal(bestPeer(durable)!.name, "node:sqlite");
  assert.equal(bestPeer(unavailable), undefined);
});

test("figures are as long as they need to be", () => {
  assert.equal(formatFigure("events/s", 1_234_567), "1,234,567/s");
  assert.equal(formatFigure("ms", 1234.5), "1,235 ms");
  assert.equal(formatFigure("ms", 12.34), "12 ms");
  assert.equal(formatFigure("ms", 0.1234), "0.12 ms");
  assert.equal(formatFigure("us", 1234.5), "1,235 µs");
  assert.equal(formatFigure("us", 45.67), "46 µs");
  assert.equal(formatFigure("bytes/event", 73.2), "73 B/event");
  assert.equal(formatRatio(12.3), "12 ×");
  assert.equal(formatRatio(1.26), "1.26 ×");
  assert.equal(formatRatio(2.34), "2.3 ×");
  assert.equal(formatRatio(0.9), "0.90 ×");
  assert.equal(formatRatio(0.916), "0.92 ×");
  assert.equal(formatRatio(0.0123), "0.01 ×");
  assert.equal(formatSpread({ ...figure, spread: 0.034, samples: [1, 2] }), "3.4 %");
  assert.equal(formatSpread({ ...figure, spread: 0.34, samples: [1, 2] }), "34 %");
  assert.equal(formatSpread(figure), "");
  assert.equal(formatExponent(1.037), "1.04");
  assert.equal(formatExponent(undefined), "");
});

test("parseResults() reads what formatResults() writes, and nothing else", () => {
  const text = formatResults([DENO_RUN, BUN_RUN]);
  assert.deepEqual(parseResults(text), { version: 1, runs: [DENO_RUN, BUN_RUN] });
  assert.match(text, /\n {12}"samples": \[200000, 200000, 200000\]\n/);
  assert.throws(() => parseResults("[]"), /Not results of this benchmark/);
  assert.throws(() => parseResults('{"version":2,"runs":[]}'), /Not results of this benchmark/);
});

test("makeRun() says what matters of the machine, and nothing that names it", () => {
  const run = makeRun(
    { runtime: runtime.name, quick: true, events: 500, rows: [] },
    { present: [], missing: [{ name: "lmdb", reason: "not installed" }] },
  );
  assert.match(run.runtimeVersion, /^\d+\.\d+\.\d+/);
  assert.match(run.date, /^\d{4}-\d\d-\d\d$/);
  assert.deepEqual(Object.keys(run.machine), [
    "system",
    "architecture",
    "processor",
    "cores",
    "memoryGiB",
  ]);
  assert.ok(run.machine.cores >= 1 && run.machine.memoryGiB >= 1);
  assert.deepEqual(run.missing, [{ name: "lmdb", reason: "not installed" }]);
});
