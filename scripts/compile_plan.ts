/**
 * What it takes to build a single executable: the arguments for the compilers, and what to say when one of
 * them fails.
 *
 * A worker is a file that nobody imports, so a compiler has to be told of each. Both put it where
 * `new Worker(new URL("./worker.ts", import.meta.url), { type: "module" })` finds it in the executable.
 *
 * @module
 */
import { statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import config from "../deno.json" with { type: "json" };

/** What to build, and with which compiler. */
export interface CompilePlan {
  /** Whose runtime goes into the executable. */
  readonly runtime: "deno" | "bun";
  /** The program. */
  readonly entry: string;
  /** Whether the program is the `batpak` command. */
  readonly isCommand: boolean;
  /** The files that it starts as workers. */
  readonly workers: readonly string[];
  /** The executable. */
  readonly out: string;
  /** For which system, in the compiler's own words; `undefined` is this one. */
  readonly target: string | undefined;
  /** Handed to the compiler as they are. */
  readonly extra: readonly string[];
}

/** Where paths are relative to, and where the command is. */
export interface Places {
  /** The folder the user is in. */
  readonly cwd: string;
  /** The project's folder. */
  readonly root: string;
}

/** How it is called. */
export const USAGE =
  `Usage: deno task compile [<program.ts>] [options] [-- <flags for the compiler>]

Builds one executable file: of the batpak command, or of a program of yours.

  --worker <file>        a file that the program starts as a worker; may be repeated
  --out <file>           the executable; default: the program's name, here
  --runtime deno|bun     whose runtime goes into it; default: deno
  --target <system>      for another system, as "deno compile" and "bun build" call it`;

/**
 * Reads a command line.
 *
 * @throws {Error} with the reason, when it is none.
 */
export function planOf(args: readonly string[], { cwd, root }: Places): CompilePlan {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const { values, positionals } = parseArgs({
    args: args.slice(0, end),
    options: {
      worker: { type: "string", multiple: true },
      out: { type: "string" },
      runtime: { type: "string" },
      target: { type: "string" },
    },
    allowPositionals: true,
  });
  const { runtime = "deno", worker = [], out, target } = values;
  if (runtime !== "deno" && runtime !== "bun") {
    throw new Error(`Cannot build for "${runtime}": the runtimes are deno and bun`);
  }
  if (positionals.length > 1) {
    throw new Error(`Cannot build more than one program: name workers with --worker`);
  }
  const [program] = positionals;
  const entry = program === undefined ? join(root, "cli/main.ts") : resolve(cwd, program);
  const workers = worker.map((file) => resolve(cwd, file));
  for (const file of [entry, ...workers]) assertFile(file);
  const name = program === undefined ? "batpak" : basename(entry).replace(/\.[cm]?[jt]sx?$/, "");
  return {
    runtime,
    entry,
    isCommand: program === undefined,
    workers,
    out: resolve(cwd, out ?? name),
    target,
    extra: args.slice(end + 1),
  };
}

/** The arguments for the compiler of the plan's runtime. */
export function compilerArgs(plan: CompilePlan): string[] {
  return plan.runtime === "deno" ? denoArgs(plan) : bunArgs(plan);
}

/** The rights of the command; a program of one's own has them too, unless its flags say which it has. */
const PERMISSIONS = ["--allow-read", "--allow-write", "--allow-env"];

function denoArgs({ entry, workers, out, target, extra }: CompilePlan): string[] {
  const saysPermissions = extra.some((flag) =>
    /^(?:-[AP]|--(?:allow|deny|permission)-)/.test(flag)
  );
  return [
    "compile",
    // It would list every file that goes in.
    "--quiet",
    // Otherwise all of node_modules goes in, two hundred megabytes of development tools included.
    "--node-modules-dir=none",
    "--exclude-unused-npm",
    // Types have a check of their own.
    "--no-check",
    "--no-prompt",
    ...(saysPermissions ? [] : PERMISSIONS),
    ...workers.flatMap((file) => ["--include", file]),
    ...(target === undefined ? [] : ["--target", target]),
    "--output",
    out,
    ...extra,
    entry,
  ];
}

function bunArgs({ entry, isCommand, workers, out, target, extra }: CompilePlan): string[] {
  // A worker that the command is given may import packages, which are found by their package.json. What
  // lies about where the command is run must not change what it does.
  const command = [
    "--compile-autoload-package-json",
    "--no-compile-autoload-dotenv",
    "--no-compile-autoload-bunfig",
  ];
  return [
    "build",
    "--compile",
    ...(target === undefined ? [] : [`--target=${target}`]),
    ...(isCommand ? command : []),
    `--outfile=${out}`,
    ...extra,
    entry,
    ...workers,
  ];
}

/**
 * Refuses a `DENORT_BIN` that Deno would stumble over late and in few words.
 *
 * @throws {Error} when it names no file.
 */
export function checkDenort(denort: string | undefined): void {
  if (denort === undefined || isFile(denort)) return;
  throw new Error(
    `Cannot use DENORT_BIN="${denort}": there is no such file. It has to be the path of an unpacked ` +
      '"denort", or not be set',
  );
}

/** What to say about a `deno compile` that failed, given what it printed. */
export function explainDenoFailure(output: string, denort: string | undefined): string {
  const url = /https:\/\/[^\s)]*denort[^\s)]*\.zip/.exec(output)?.[0];
  if (url !== undefined) {
    return `Cannot get the base binary that Deno puts a program into: ${url} cannot be downloaded. ` +
      'Download it where that works, unpack it, and set DENORT_BIN to the path of "denort"; or use ' +
      "--runtime bun";
  }
  if (denort !== undefined) {
    return `Cannot build with DENORT_BIN="${denort}": it has to be "denort" of the same version as Deno, ` +
      "for the system that is built for";
  }
  return "Cannot build: what Deno said stands above";
}

/**
 * Whether an executable of the command is one: asked for its version, it says that of the package. Deno puts
 * a program into any file that looks like one, and where that is not its base binary, it never runs.
 */
export function isTheCommand(answer: string): boolean {
  return answer.trim() === config.version;
}

function assertFile(path: string): void {
  if (!isFile(path)) throw new Error(`Cannot build from "${path}": there is no such file`);
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}
