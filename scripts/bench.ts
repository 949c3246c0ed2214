/**
 * `deno task bench`: how fast the journal is, beside an events table in SQLite and, for durable
 * appends, a bare loop of write and sync, all in the same run.
 *
 * ```sh
 * deno task bench                                 # everything, on Deno and on Bun: some minutes
 * deno task bench --quick                         # a few seconds, to see that it works
 * deno task bench --only append,get --runtime deno
 * deno task bench --json results.json
 * deno task bench --profile append --runtime deno # where the time goes
 * ```
 *
 * Deno measures the Deno rows and starts this very program on Bun for the Bun rows. Ratios within a run
 * are what to look at: an absolute figure from a shared machine is only a hint. Results go to standard
 * output, progress to standard error, and the data into a new folder that is removed at the end.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { runtime } from "../platform/runtime.ts";
import {
  type BenchOptions,
  parseOptions,
  type RuntimeName,
  USAGE,
  UsageError,
} from "./bench/options.ts";
import { profileWorkload } from "./bench/profile.ts";
import { type BenchResult, formatTable, missingPeers } from "./bench/report.ts";
import { InterruptedError, Scratch } from "./bench/scratch.ts";
import { Bench, measure, WORKLOADS } from "./bench/workloads.ts";

const HERE: RuntimeName = runtime.name;
/** As a shell says it of a program that ended by Ctrl-C. */
const EXIT_INTERRUPTED = 130;

async function main(args: readonly string[]): Promise<number> {
  let options: BenchOptions;
  try {
    options = parseOptions(args, WORKLOADS.map(({ name }) => name));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(`Cannot run the benchmark: ${error.message}\n\n${USAGE}`);
    return 2;
  }
  using scratch = new Scratch(options.dir);
  if (scratch.isInMemory()) {
    console.error("The data lies in memory, so a sync costs nothing: give --dir on a real disk");
  }
  try {
    return await run(args, options, scratch);
  } catch (error) {
    if (!(error instanceof InterruptedError)) throw error;
    console.error("Interrupted; the data is removed");
    return EXIT_INTERRUPTED;
  }
}

async function run(
  args: readonly string[],
  options: BenchOptions,
  scratch: Scratch,
): Promise<number> {
  const wanted = options.runtime === undefined ? ["deno", "bun"] as const : [options.runtime];
  const results: BenchResult[] = [];
  let code = 0;
  for (const name of wanted) {
    if (name === HERE) {
      results.push(...await runHere(options, scratch));
      continue;
    }
    const elsewhere = await runElsewhere(name, args, scratch);
    results.push(...elsewhere.results);
    // Not having the other runtime is no failure, unless it was asked for by name.
    if (elsewhere.failed || (elsewhere.missing && options.runtime === name)) code = 1;
  }
  if (options.json !== undefined) {
    writeFileSync(options.json, `${JSON.stringify(results, undefined, 2)}\n`);
  }
  return code;
}

async function runHere(options: BenchOptions, scratch: Scratch): Promise<BenchResult[]> {
  const { size, quick, only, profile } = options;
  const context = { runtime: HERE, size, scratch };
  if (profile !== undefined) {
    const workload = WORKLOADS.find(({ name }) => name === profile)!;
    console.log(await profileWorkload(workload, context));
    return [];
  }
  const bench = new Bench(context);
  const results: BenchResult[] = [];
  const missing = new Map<string, string[]>();
  for (const workload of WORKLOADS) {
    if (only !== undefined && !only.includes(workload.name)) continue;
    console.error(`${HERE}: ${workload.name}`);
    const result = await measure(workload, bench);
    results.push(result);
    missing.set(workload.name, missingPeers(result, workload.peerNames()));
  }
  const remark = quick ? ", the quick size: only to see that it works" : "";
  console.log(`\n${titleOf(HERE)}${remark}\n\n${formatTable(results, missing)}`);
  return results;
}

function titleOf(name: RuntimeName): string {
  return name === "deno" ? `Deno ${process.versions.deno}` : `Bun ${process.versions.bun}`;
}

interface Elsewhere {
  readonly results: readonly BenchResult[];
  readonly missing: boolean;
  readonly failed: boolean;
}

/** Runs this program on the other runtime. It shows its own table, and leaves its results in a file. */
async function runElsewhere(
  name: RuntimeName,
  args: readonly string[],
  scratch: Scratch,
): Promise<Elsewhere> {
  const nothing = { results: [], missing: false, failed: false };
  let program: string;
  try {
    program = await findProgram(name);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    console.error(`There are no rows of ${name}. ${reason}`);
    return { ...nothing, missing: true };
  }
  const json = scratch.path("results.json");
  // A later flag beats an earlier one, so what the user asked for stays in front.
  const child = spawn(
    program,
    [
      fileURLToPath(import.meta.url),
      ...args,
      ...["--runtime", name, "--json", json, "--dir", scratch.dir],
    ],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
  scratch.onInterrupt = () => child.kill("SIGINT");
  const [code] = await once(child, "exit");
  scratch.onInterrupt = undefined;
  await scratch.pause();
  if (code !== 0) {
    console.error(`There are no rows of ${name}: it ended with code ${code}`);
    return { ...nothing, failed: true };
  }
  return { ...nothing, results: JSON.parse(readFileSync(json, "utf8")) };
}

async function findProgram(name: RuntimeName): Promise<string> {
  if (name === "deno") throw new Error('They need Deno: start this with "deno task bench"');
  // The module is for Deno alone, and this one is not.
  const { findBun } = await import("./bun.ts");
  return (await findBun()).path;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
