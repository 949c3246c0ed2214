/**
 * `deno task test`: one command that tells whether the project is in order.
 *
 * It checks the format, the lint rules, the types, the documentation and what publishing would
 * refuse, runs the examples in the documentation, and runs every `*_test.ts` on Deno and on Bun. A
 * failed step does not stop the others: one run shows everything there is to fix.
 *
 * ```sh
 * deno task test                          # everything
 * deno task test --only bun               # or deno, or checks
 * deno task test --filter "torn"          # tests with this in their name, on both runtimes
 * deno task test store/frame_test.ts      # these files, on both runtimes
 * ```
 *
 * The last line is always `N passed, N failed`, and the exit code is 1 when anything failed.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import { BUN_VERSION } from "./bun.ts";
import {
  bunTestSteps,
  checkSteps,
  denoTestSteps,
  setupSteps,
  type Step,
  type StepContext,
  type StepResult,
} from "./steps.ts";

/** Two cores are what a developer's machine and a runner can be counted on to have. */
const CONCURRENCY_MAX = 2;

/** A step that is silent for so long says that it is still there. */
const HEARTBEAT_MS = 30_000;

const USAGE =
  "Usage: deno task test [--only checks|deno|bun] [--filter <part of a name>] [<test file> ...]";

interface Options {
  only: "checks" | "deno" | "bun" | undefined;
  filter: string | undefined;
  files: string[];
}

interface FinishedStep {
  step: Step;
  result: StepResult;
}

async function main(args: string[]): Promise<number> {
  const options = parseOptions(args);
  if (options === undefined) {
    console.error(USAGE);
    return 2;
  }
  const startMs = performance.now();
  console.log(`batpak on Deno ${Deno.version.deno} and Bun ${BUN_VERSION}\n`);

  const scratch = Deno.makeTempDirSync({ prefix: "batpak_test_" });
  const finished: FinishedStep[] = [];
  try {
    const context: StepContext = {
      root: fileURLToPath(new URL("..", import.meta.url)),
      scratch,
      filter: options.filter,
      files: options.files,
    };
    for (const phase of planPhases(context, options)) finished.push(...await runPhase(phase));
  } finally {
    Deno.removeSync(scratch, { recursive: true });
  }
  return summarize(finished, performance.now() - startMs);
}

function parseOptions(args: string[]): Options | undefined {
  try {
    const { values, positionals } = parseArgs({
      args,
      options: { only: { type: "string" }, filter: { type: "string" } },
      allowPositionals: true,
    });
    const { only, filter } = values;
    if (only !== undefined && only !== "checks" && only !== "deno" && only !== "bun") {
      return undefined;
    }
    return { only, filter, files: positionals.map((file) => file.replace(/^\.\//, "")) };
  } catch {
    return undefined;
  }
}

/** Phases follow one another; the steps of a phase share the machine. */
function planPhases(context: StepContext, { only, filter, files }: Options): Step[][] {
  const selective = filter !== undefined || files.length > 0;
  const withChecks = only === "checks" || (only === undefined && !selective);
  return [
    setupSteps(context),
    withChecks ? checkSteps(context) : [],
    [
      ...(only === undefined || only === "deno" ? denoTestSteps(context) : []),
      ...(only === undefined || only === "bun" ? bunTestSteps(context) : []),
    ],
  ];
}

async function runPhase(steps: Step[]): Promise<FinishedStep[]> {
  const finished: FinishedStep[] = [];
  const waiting = steps.entries();
  async function work(): Promise<void> {
    // The workers share the iterator, so each step goes to whoever is free.
    for (const [index, step] of waiting) {
      finished[index] = { step, result: await runStep(step) };
    }
  }
  await Promise.all(Array.from({ length: CONCURRENCY_MAX }, work));
  return finished;
}

async function runStep(step: Step): Promise<StepResult> {
  const startMs = performance.now();
  const heartbeat = setInterval(() => {
    console.log(`  ...   ${step.name}, ${seconds(performance.now() - startMs)} so far`);
  }, HEARTBEAT_MS);
  let result: StepResult;
  try {
    result = await step.run();
  } catch (error) {
    const output = error instanceof Error ? error.message : String(error);
    result = { passed: 0, failed: 1, skipped: 0, output, seeds: [] };
  } finally {
    clearInterval(heartbeat);
  }
  printStep(step, result, performance.now() - startMs);
  return result;
}

function printStep(step: Step, result: StepResult, durationMs: number): void {
  const mark = result.failed === 0 ? "ok  " : "FAIL";
  const counts = step.kind === "checks" ? "" : `  ${countsOf(result)}`;
  console.log(`  ${mark}  ${step.name.padEnd(31)}${seconds(durationMs).padStart(8)}${counts}`);
  if (result.failed === 0) {
    for (const line of result.seeds) console.log(`        ${line}`);
    return;
  }
  console.log(result.output.split("\n").map((line) => `      | ${line}`).join("\n") + "\n");
}

function countsOf({ passed, failed, skipped }: StepResult): string {
  const parts = [`${passed} of ${passed + failed} held`];
  if (skipped > 0) parts.push(`${skipped} skipped`);
  return parts.join(", ");
}

function seconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s`;
}

function summarize(finished: FinishedStep[], durationMs: number): number {
  let passed = 0;
  let failed = 0;
  const byKind = new Map<string, number>();
  for (const { step, result } of finished) {
    passed += result.passed;
    failed += result.failed;
    byKind.set(step.kind, (byKind.get(step.kind) ?? 0) + result.passed + result.failed);
  }
  const parts = Array.from(byKind, ([kind, count]) => `${kind} ${count}`);
  console.log(`\n${parts.join(", ")}, in ${seconds(durationMs)}`);
  for (const { step, result } of finished) {
    if (result.failed > 0) console.log(`Failed: ${step.name}`);
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
