/**
 * What `deno task test` does, step by step. A step runs a child process and says how many of its
 * checks or tests passed; `test.ts` decides when it runs and prints what it found.
 *
 * The steps trust nobody's good word: a run that ends well without having run a test has failed, and
 * so has a test file that no report mentions.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import config from "../deno.json" with { type: "json" };
import { findBun } from "./bun.ts";
import { type ChildResult, runChild } from "./child.ts";
import { parseTestReport, type TestReport } from "./junit.ts";
import { isTestFile, projectFiles } from "./project_files.ts";
import { seedLines } from "./seeds.ts";

/** One line of the run. */
export interface Step {
  /** What the line says. */
  readonly name: string;
  /** Which total its numbers belong to. */
  readonly kind: "checks" | "examples" | "Deno" | "Bun";
  /** Does the work. Rejecting counts as one failure. */
  run(): Promise<StepResult>;
}

/** What a step found. */
export interface StepResult {
  /** Checks or tests that held. */
  readonly passed: number;
  /** Checks or tests that did not. */
  readonly failed: number;
  /** Tests left out on purpose. */
  readonly skipped: number;
  /** What the child printed, shown in full when something failed. */
  readonly output: string;
  /** Lines of it that are shown also when all is well: what it takes to run the same again. */
  readonly seeds: readonly string[];
}

/** Where and on what the steps work. */
export interface StepContext {
  /** The project's folder. */
  readonly root: string;
  /** A folder for reports that nobody keeps. */
  readonly scratch: string;
  /** Only tests whose name contains this. */
  readonly filter: string | undefined;
  /** Only these test files; none means all. */
  readonly files: readonly string[];
}

/** A step that takes longer hangs. */
const STEP_TIMEOUT_MS = 8 * 60_000;

/** Bun gives a test 5 s, which a property test on a busy machine does not always keep. */
const BUN_TEST_TIMEOUT_MS = 120_000;

/** Fence of an example that `deno test --doc` runs; `ts ignore` and other languages are left alone. */
const EXAMPLE_FENCE = /^[ *]*```(?:ts|typescript|js|javascript)\s*$/m;

/** What must be there before anything else can run: the packages, exactly as the lock file has them. */
export function setupSteps(context: StepContext): Step[] {
  return [checkStep(context, "lock file and packages", ["install", "--frozen", "--quiet"])];
}

/** The checks that run no code of ours. */
export function checkSteps(context: StepContext): Step[] {
  const entryPoints = Object.values(config.exports);
  return [
    checkStep(context, "format", ["fmt", "--check"]),
    checkStep(context, "lint", ["lint"]),
    checkStep(context, "types", ["check", "--quiet"]),
    checkStep(context, "documentation", ["doc", "--lint", ...entryPoints]),
    // Works offline. The registry would be asked only in a real publish.
    checkStep(context, "publishing", ["publish", "--dry-run", "--allow-dirty", "--quiet"]),
    exampleStep(context),
  ];
}

/** The tests on Deno. */
export function denoTestSteps(context: StepContext): Step[] {
  return [{
    name: "tests on Deno",
    kind: "Deno",
    run() {
      const report = join(context.scratch, "deno.xml");
      const files = testFiles(context);
      const filter = context.filter === undefined
        ? []
        : ["--filter", `/${escapeRegExp(context.filter)}/`];
      return runTests({
        context,
        program: Deno.execPath(),
        // The types have their own step.
        args: [
          "test",
          "--allow-all",
          "--no-check",
          `--junit-path=${report}`,
          ...filter,
          ...files,
        ],
        report,
        files,
      });
    },
  }];
}

/** The same tests on Bun. */
export function bunTestSteps(context: StepContext): Step[] {
  return [{
    name: "tests on Bun",
    kind: "Bun",
    async run() {
      const bun = await findBun();
      const report = join(context.scratch, "bun.xml");
      const files = testFiles(context);
      const filter = context.filter === undefined
        ? []
        : ["--test-name-pattern", escapeRegExp(context.filter)];
      return await runTests({
        context,
        program: bun.path,
        // A path that starts with a dot is that file; anything else would be a pattern.
        args: [
          "test",
          "--only-failures",
          `--timeout=${BUN_TEST_TIMEOUT_MS}`,
          "--reporter=junit",
          `--reporter-outfile=${report}`,
          ...filter,
          ...files.map((file) => `./${file}`),
        ],
        report,
        files,
      });
    },
  }];
}

function checkStep(context: StepContext, name: string, args: string[]): Step {
  return {
    name,
    kind: "checks",
    async run() {
      const child = await runChild(Deno.execPath(), args, {
        cwd: context.root,
        timeoutMs: STEP_TIMEOUT_MS,
      });
      const held = child.code === 0;
      return {
        passed: held ? 1 : 0,
        failed: held ? 0 : 1,
        skipped: 0,
        output: textOf(child),
        seeds: [],
      };
    },
  };
}

/** The examples in doc comments and in README, each run as a program of its own. */
function exampleStep(context: StepContext): Step {
  return {
    name: "examples in the documentation",
    kind: "examples",
    run() {
      const report = join(context.scratch, "examples.xml");
      const files = projectFiles(context.root).filter((file) => hasExamples(context.root, file));
      return runTests({
        context,
        program: Deno.execPath(),
        args: [
          "test",
          "--doc",
          "--allow-all",
          "--quiet",
          `--junit-path=${report}`,
          ...files,
        ],
        report,
        // The report names an example by its lines, not by its file.
        files: [],
      });
    },
  };
}

function hasExamples(root: string, file: string): boolean {
  const documented = file === "README.md" ||
    (file.endsWith(".ts") && !isTestFile(file) && !/^(?:scripts|tests)\//.test(file));
  return documented && EXAMPLE_FENCE.test(readFileSync(join(root, file), "utf8"));
}

function testFiles(context: StepContext): readonly string[] {
  return context.files.length > 0
    ? context.files
    : projectFiles(context.root).filter((file) => isTestFile(file));
}

interface TestRun {
  context: StepContext;
  program: string;
  args: readonly string[];
  /** Where the runtime writes its JUnit report. */
  report: string;
  /** The files that must be in it. */
  files: readonly string[];
}

async function runTests({ context, program, args, report, files }: TestRun): Promise<StepResult> {
  const child = await runChild(program, args, { cwd: context.root, timeoutMs: STEP_TIMEOUT_MS });
  const output = textOf(child);
  const found = readReport(report);
  if (found === undefined) {
    return {
      passed: 0,
      failed: 1,
      skipped: 0,
      output: `${output}\nThe run ended without a report`,
      seeds: seedLines(output),
    };
  }
  const problems = problemsOf(found, files, context);
  // A runtime that fails without a failing test met something between the tests.
  const failed = Math.max(found.failed + problems.length, child.code === 0 ? 0 : 1);
  return {
    passed: found.passed,
    failed,
    skipped: found.skipped,
    output: [output, ...problems].join("\n"),
    seeds: seedLines(output),
  };
}

/** The report of a run, or `undefined` when it ended before its first test. */
function readReport(path: string): TestReport | undefined {
  try {
    return parseTestReport(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

function problemsOf(
  report: TestReport,
  files: readonly string[],
  { filter }: StepContext,
): string[] {
  if (report.passed + report.failed === 0) return ["No test ran"];
  // With a filter it is no wonder that some files stay silent.
  if (filter !== undefined) return [];
  return files.filter((file) => !report.files.has(file)).map((file) => `No test of ${file} ran`);
}

/**
 * What a child printed, less the lines Deno prints about tests that held. Its shorter reporters would
 * save us the work, but they keep the name of a test to themselves until it ends, and the one that
 * hangs is the one we want to know.
 */
function textOf(child: ChildResult): string {
  const text = child.output
    .replace(/^.* \.\.\. (?:ok|ignored).*\n/gm, "")
    .replace(/^running \d+ tests? from .*\n(?=running |\n|$)/gm, "")
    .trim();
  return child.timedOut ? `${text}\nStopped after ${STEP_TIMEOUT_MS / 60_000} minutes` : text;
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}
