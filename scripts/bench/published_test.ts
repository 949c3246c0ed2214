import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { drawChart } from "./chart.ts";
import { CHART_PATH, updateReadme } from "./markdown.ts";
import { collectRuns, RESULTS } from "./publish_results.ts";
import { formatResults, parseResults } from "./results.ts";
import { BUN_RUN, DENO_RUN } from "./testdata/sample_runs.ts";

const ROOT = new URL("../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, ROOT), "utf8");
const results = readFileSync(RESULTS, "utf8");
const { runs } = parseResults(results);

test("README and the chart show what was measured: deno task bench:report makes them again", () => {
  assert.equal(updateReadme(read("README.md"), runs), read("README.md"));
  assert.equal(drawChart(runs), read(CHART_PATH));
});

test("the results in the repository are whole, of the full size, and name no place", () => {
  assert.deepEqual(runs.map(({ runtime }) => runtime), ["deno", "bun"]);
  for (const run of runs) {
    assert.equal(run.quick, false);
    assert.equal(run.events, 62_500);
  }
  assert.equal(formatResults(runs), results);
  assert.doesNotMatch(results, /\/(?:home|root|tmp|var|work|Users)\b|file:|\\\\/);
});

test("collectRuns() takes one file of both runtimes, or two of one each, and nothing else", () => {
  const both = formatResults([DENO_RUN, BUN_RUN]);
  const [deno, bun] = [formatResults([DENO_RUN]), formatResults([BUN_RUN])];
  assert.deepEqual(collectRuns([both]), [DENO_RUN, BUN_RUN]);
  assert.deepEqual(collectRuns([bun, deno]), [DENO_RUN, BUN_RUN]);
  assert.deepEqual(collectRuns([bun]), [BUN_RUN]);
  assert.throws(() => collectRuns([both, bun]), /Cannot show runs of deno and bun and bun/);
  assert.throws(() => collectRuns([formatResults([])]), /Cannot show runs of nothing/);
});
