import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { drawChart } from "./chart.ts";
import { CHART_PATH, updateReadme } from "./markdown.ts";
import { RESULTS } from "./publish_results.ts";
import { formatResults, parseResults } from "./results.ts";

const ROOT = new URL("../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, ROOT), "utf8");
const results = readFileSync(RESULTS, "utf8");
const { runs } = parseResults(results);

test("README and the chart show what was measured: deno task bench:report makes them again", () => {
  assert.equal(updateReadme(read("README.md"), runs), read("README.md"));
  assert.equal(drawChart(runs), read(CHART_PATH));
});

test("the results in the repository are whole, of one day's version, and name no place", () => {
  assert.deepEqual(runs.map(({ runtime }) => runtime), ["deno", "bun"]);
  for (const run of runs) {
    assert.equal(run.quick, false);
    assert.equal(run.events, 62_500);
  }
  assert.equal(formatResults(runs), results);
  assert.doesNotMatch(results, /\/(?:home|root|tmp|var|work|Users)\b|file:|\\\\/);
});
