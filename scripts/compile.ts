/**
 * `deno task compile`: one executable file that needs nothing installed, of the `batpak` command or of a
 * program of one's own with its workers.
 *
 * ```sh
 * deno task compile --runtime bun                    # ./batpak
 * deno task compile main.ts --worker mailer.ts       # ./main
 * deno task compile main.ts -- --allow-net           # a flag for the compiler
 * ```
 *
 * The base binary of `deno compile` comes from Deno's servers, or from where `DENORT_BIN` says. That of
 * `bun build --compile` is Bun itself, so for this system nothing is downloaded.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { findBun } from "./bun.ts";
import {
  checkDenort,
  type CompilePlan,
  compilerArgs,
  explainDenoFailure,
  isTheCommand,
  planOf,
  USAGE,
} from "./compile_plan.ts";

async function main(args: string[]): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    console.log(USAGE);
    return 0;
  }
  // A task runs in the project's folder, wherever it was called.
  const cwd = Deno.env.get("INIT_CWD") ?? Deno.cwd();
  const root = fileURLToPath(new URL("..", import.meta.url));
  let plan: CompilePlan;
  try {
    plan = planOf(args, { cwd, root });
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    console.error(USAGE);
    return 2;
  }
  try {
    await (plan.runtime === "deno" ? compileWithDeno(plan, cwd) : compileWithBun(plan, cwd));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    return 1;
  }
  const { size } = Deno.statSync(plan.out);
  console.log(`Built ${plan.out}, ${Math.round(size / 1e6)} MB`);
  return 0;
}

async function compileWithDeno(plan: CompilePlan, cwd: string): Promise<void> {
  const denort = Deno.env.get("DENORT_BIN");
  checkDenort(denort);
  const { success, output } = await run(Deno.execPath(), plan, cwd);
  if (!success || !await answers(plan)) throw new Error(explainDenoFailure(output, denort));
}

async function compileWithBun(plan: CompilePlan, cwd: string): Promise<void> {
  const bun = await findBun();
  const { success } = await run(bun.path, plan, cwd);
  if (!success || !await answers(plan)) {
    throw new Error("Cannot build: what Bun said stands above, and what it built does not run");
  }
}

/**
 * Whether what was built runs; if not, it is removed. A program of somebody else, or for another system, is
 * not for us to run.
 */
async function answers({ out, isCommand, target }: CompilePlan): Promise<boolean> {
  if (!isCommand || target !== undefined) return true;
  try {
    const command = new Deno.Command(out, { args: ["--version"], stdin: "null", stderr: "null" });
    const { stdout } = await command.output();
    if (isTheCommand(new TextDecoder().decode(stdout))) return true;
  } catch {
    // The system does not take it for a program.
  }
  Deno.removeSync(out);
  return false;
}

/** Runs a compiler, and shows what it says. */
async function run(
  program: string,
  plan: CompilePlan,
  cwd: string,
): Promise<{ success: boolean; output: string }> {
  const child = new Deno.Command(program, {
    args: compilerArgs(plan),
    cwd,
    stdin: "null",
    stdout: "inherit",
    stderr: "piped",
  }).spawn();
  const decoder = new TextDecoder();
  let output = "";
  for await (const chunk of child.stderr) {
    Deno.stderr.writeSync(chunk);
    output += decoder.decode(chunk, { stream: true });
  }
  const { success } = await child.status;
  return { success, output };
}

if (import.meta.main) Deno.exit(await main(Deno.args));
