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

/**
 * The runs of some files of results, Deno's first.
 *
 * @param texts what the files hold.
 * @throws {Error} when there are none, or two of one runtime.
 */
export function collectRuns(texts: readonly string[]): BenchRun[] {
  const runs = texts.flatMap((text) => parseResults(text).runs);
  const names = runs.map(({ runtime }) => runtime);
  if (runs.length === 0 || new Set(names).size < runs.length) {
    throw new Error(`Cannot show runs of ${names.join(" and ") || "nothing"}: give one of each`);
  }
  return runs.sort((a, b) => b.runtime.localeCompare(a.runtime));
}

function main(files: readonly string[]): void {
  const paths = files.length > 0 ? files : [fileURLToPath(RESULTS)];
  const runs = collectRuns(paths.map((path) => readFileSync(path, "utf8")));
  const readme = updateReadme(readFileSync(README, "utf8"), runs);
  const chart = drawChart(runs);
  writeFileSync(RESULTS, formatResults(runs));
  writeFileSync(README, readme);
  writeFileSync(CHART, chart);
  const names = runs.map(({ runtime }) => runtime).join(" and ");
  console.log(`README.md and ${CHART_PATH} show the results of ${names}`);
}

if (import.meta.main) main(process.argv.slice(2));
