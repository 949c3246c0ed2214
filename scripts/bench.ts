/**
 * `deno task bench`: how fast the journal is, beside SQLite, LMDB, Deno KV and, for durable appends, a
 * bare loop of write and sync, all in the same run; and how its cost grows from 62,500 events to a
 * million.
 *
 * ```sh
 * deno task bench:peers                           # once: installs LMDB, to compare with it too
 * deno task bench                                 # everything, on Deno and on Bun: some minutes
 * deno task bench --quick                         # a few seconds, to see that it works
 * deno task bench --only append,get --runtime deno
 * deno task bench --json scripts/bench/results.json
 * deno task bench:report                          # these results as a table and a chart in README
 * deno task bench --profile append --runtime deno # where the time goes
 * deno task bench --profile open                  # the phases of opening
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
import { profileOpen } from "./bench/open_profile.ts";
import { type ProfiledWorkload, profileWorkload } from "./bench/profile.ts";
import { formatRun } from "./bench/report.ts";
import {
  type BenchRow,
  type BenchRun,
  formatResults,
  makeRun,
  parseResults,
} from "./bench/results.ts";
import { InterruptedError, Scratch } from "./bench/scratch.ts";
import { titleOfRun } from "./bench/wording.ts";
import { Bench, WORKLOADS } from "./bench/workloads.ts";

const HERE: RuntimeName = runtime.name;
/** The profile that is of no single workload. */
const OPEN_PROFILE = "open";
/** What a profiler can look at. */
const PROFILED = WORKLOADS.filter((workload): workload is typeof workload & ProfiledWorkload =>
  workload.enter !== undefined
);
/** As a shell says it of a program that ended by Ctrl-C. */
const EXIT_INTERRUPTED = 130;

async function main(args: readonly string[]): Promise<number> {
  let options: BenchOptions;
  try {
    options = parseOptions(args, {
      workloads: WORKLOADS.map(({ name }) => name),
      profiles: [...PROFILED.map(({ name }) => name), OPEN_PROFILE],
    });
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
  const runs: BenchRun[] = [];
  let code = 0;
  for (const name of wanted) {
    if (name === HERE) {
      runs.push(...await runHere(options, scratch));
      continue;
    }
    const elsewhere = await runElsewhere(name, args, scratch);
    runs.push(...elsewhere.runs);
    // Not having the other runtime is no failure, unless it was asked for by name.
    if (elsewhere.failed || (elsewhere.missing && options.runtime === name)) code = 1;
  }
  if (options.json !== undefined) {
    writeFileSync(options.json, formatResults(runs));
  }
  return code;
}

async function runHere(options: BenchOptions, scratch: Scratch): Promise<BenchRun[]> {
  const { size, quick, only, profile } = options;
  const context = { runtime: HERE, size, scratch };
  if (profile !== undefined) {
    console.log(
      profile === OPEN_PROFILE
        ? await profileOpen(context)
        : await profileWorkload(PROFILED.find(({ name }) => name === profile)!, context),
    );
    return [];
  }
  const bench = new Bench(context);
  const rows: BenchRow[] = [];
  for (const workload of WORKLOADS) {
    if (only !== undefined && !only.includes(workload.name)) continue;
    console.error(`${HERE}: ${workload.name}`);
    rows.push(await workload.measure(bench));
  }
  const run = makeRun({ runtime: HERE, quick, events: size.events, rows }, bench.peers);
  const remark = quick ? ", the quick size: only to see that it works" : "";
  console.log(`\n${titleOfRun(run)}${remark}\n\n${formatRun(run)}`);
  return [run];
}

interface Elsewhere {
  readonly runs: readonly BenchRun[];
  readonly missing: boolean;
  readonly failed: boolean;
}

/** Runs this program on the other runtime. It shows its own table, and leaves its results in a file. */
async function runElsewhere(
  name: RuntimeName,
  args: readonly string[],
  scratch: Scratch,
): Promise<Elsewhere> {
  const nothing = { runs: [], missing: false, failed: false };
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
  return { ...nothing, runs: parseResults(readFileSync(json, "utf8")).runs };
}

async function findProgram(name: RuntimeName): Promise<string> {
  if (name === "deno") throw new Error('They need Deno: start this with "deno task bench"');
  // The module is for Deno alone, and this one is not.
  const { findBun } = await import("./bun.ts");
  return (await findBun()).path;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
