/**
 * `deno task bench:report`: puts results of the benchmark into README, as a table and a chart.
 *
 * ```sh
 * deno task bench --json scripts/bench/results.json
 * deno task bench:report                     # from that file
 * deno task bench:report deno.json bun.json  # from two that were made apart
 * ```
 *
 * The results lie in the repository, and a test holds README and the chart to them.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { drawChart } from "./chart.ts";
import { CHART_PATH, updateReadme } from "./markdown.ts";
import { type BenchRun, formatResults, parseResults } from "./results.ts";

const ROOT = new URL("../../", import.meta.url);
const README = new URL("README.md", ROOT);
const CHART = new URL(CHART_PATH, ROOT);
/** The results that README shows. */
export const RESULTS: URL = new URL("results.json", import.meta.url);

function main(files: readonly string[]): number {
  const runs: BenchRun[] = [];
  for (const file of files.length > 0 ? files : [fileURLToPath(RESULTS)]) {
    runs.push(...parseResults(readFileSync(file, "utf8")).runs);
  }
  const names = runs.map(({ runtime }) => runtime);
  if (new Set(names).size !== names.length || names.length === 0) {
    console.error(`Cannot show the results of ${names.join(", ") || "nothing"}: one run of each`);
    return 2;
  }
  const readme = updateReadme(readFileSync(README, "utf8"), runs);
  const chart = drawChart(runs);
  writeFileSync(RESULTS, formatResults(runs));
  writeFileSync(README, readme);
  writeFileSync(CHART, chart);
  console.log(`README.md and ${CHART_PATH} show ${names.join(" and ")}`);
  return 0;
}

if (import.meta.main) process.exitCode = main(process.argv.slice(2));
