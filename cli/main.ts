/**
 * `batpak`: the command. Reads the command line, runs one command, and turns whatever happened into an
 * exit code; see `errors.ts` for what they mean.
 *
 * ```sh
 * deno task batpak append ./orders --entity order:1 --scope shop '{"total": 12}'
 * deno task batpak query ./orders --entity order
 * deno task batpak verify ./orders
 * ```
 *
 * @module
 */
import { Command, CommanderError } from "commander";
import { addAppendCommand } from "./append.ts";
import { addCompactCommand } from "./compact.ts";
import { addBackupCommand, addForkCommand, addSnapshotCommand } from "./copy.ts";
import { addCursorsCommand } from "./cursors.ts";
import { errorsIn, ExitCode, exitCodeOf, usageError } from "./errors.ts";
import { exit, type Host, OutputClosedError, processHost } from "./host.ts";
import { addImportCommand } from "./import.ts";
import { CorruptionError } from "../mod.ts";
import { Output } from "./output.ts";
import { addPruneCommand } from "./prune.ts";
import { addGetCommand, addQueryCommand, addWalkCommand } from "./read.ts";
import { addRepairCommand } from "./repair.ts";
import { addRestoreCommand } from "./restore.ts";
import { newSession, type Session } from "./session.ts";
import { addStatsCommand } from "./stats.ts";
import { addTailCommand } from "./tail.ts";
import { addVerifyCommand } from "./verify.ts";
import { VERSION } from "./version.ts";
import { addWorkerCommand } from "./worker.ts";

export type { Host, Input, Interrupt } from "./host.ts";

/** Runs the command line of `host` to its end and returns the exit code. */
export async function runCli(host: Host): Promise<number> {
  const options = host.args.slice(0, endOfOptions(host.args));
  const session = newSession(host, new Output(host, options.includes("--json")));
  const { output } = session;
  const program = newProgram(session);
  try {
    await program.parseAsync(host.args, { from: "user" });
    output.flush();
    return session.exitCode;
  } catch (error) {
    return fail(error, program, session);
  }
}

function fail(error: unknown, program: Command, { host, output }: Session): number {
  const [first] = errorsIn(error);
  // Whoever read the output has seen enough.
  if (first instanceof OutputClosedError) return ExitCode.FINE;
  try {
    if (!(first instanceof CommanderError)) {
      const exitCode = exitCodeOf(error);
      const hint = exitCode === ExitCode.USAGE
        ? hintFor(program, host.args)
        : exitCode === ExitCode.DAMAGE
        ? hintForDamage(first)
        : undefined;
      output.error(error, hint);
      return exitCode;
    }
    if (first.exitCode === 0) {
      output.flush();
      return ExitCode.FINE;
    }
    output.error(usageError(messageOf(first)), hintFor(program, host.args));
    return ExitCode.USAGE;
  } catch (failure) {
    if (failure instanceof OutputClosedError) return ExitCode.FINE;
    throw failure;
  }
}

function newProgram(session: Session): Command {
  const { output } = session;
  const program = new Command("batpak")
    .description(
      "An embedded, tamper-evident event journal: one directory, one writer, many readers.",
    )
    .usage("<command> <dir> [options]")
    .version(VERSION, "--version", "print the version")
    .helpOption("-h, --help", "say what a command takes")
    .helpCommand("help [command]", "say what a command takes")
    .addHelpText("after", AFTER_HELP)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => output.text(text),
      // What it would say about an error, we say.
      writeErr: () => {},
      getOutHelpWidth: () => HELP_COLUMNS,
      getErrHelpWidth: () => HELP_COLUMNS,
    });
  addAppendCommand(program, session);
  addImportCommand(program, session);
  addGetCommand(program, session);
  addQueryCommand(program, session);
  addWalkCommand(program, session);
  addTailCommand(program, session);
  addWorkerCommand(program, session);
  addCursorsCommand(program, session);
  addVerifyCommand(program, session);
  addRepairCommand(program, session);
  addStatsCommand(program, session);
  addCompactCommand(program, session);
  addPruneCommand(program, session);
  addSnapshotCommand(program, session);
  addForkCommand(program, session);
  addBackupCommand(program, session);
  addRestoreCommand(program, session);
  return program;
}

function messageOf(error: CommanderError): string {
  // It answers a line without a command with its help, which is no message.
  if (error.code === "commander.help") {
    return 'Cannot tell what to do: name a command; "batpak help" lists them';
  }
  const message = error.message.replace(/^error: /, "").replace(/\.$/, "");
  // A suggestion stands on a line of its own.
  if (error.code !== "commander.unknownOption" || message.includes("\n")) {
    return message.replace("\n", " ");
  }
  return `${message}; put -- in front of a value that begins with a dash`;
}

function hintFor(program: Command, args: readonly string[]): string {
  const command = program.commands.find((command) => args.includes(command.name()));
  const name = command === undefined ? "batpak" : `batpak ${command.name()}`;
  return `Run "${name} --help" for what it takes`;
}

/** What looks closer at a damaged journal. A message that names a command needs no other. */
function hintForDamage(error: unknown): string | undefined {
  const damage = [error, (error as { cause?: unknown }).cause]
    .find((one) => one instanceof CorruptionError);
  if (damage === undefined || damage.reason.includes('"batpak ')) return undefined;
  const dir = damage.path.slice(0, Math.max(0, damage.path.lastIndexOf("/")));
  return `Run "batpak verify ${dir}" for all that is wrong there`;
}

/** Behind `--` there are no options. */
function endOfOptions(args: readonly string[]): number {
  const index = args.indexOf("--");
  return index < 0 ? args.length : index;
}

const HELP_COLUMNS = 96;

const AFTER_HELP = `
Data goes to standard output, all else to standard error. Events are printed as JSON, one a line. What
JSON has no form for is written as an object with one key: {"$bytes": base64}, {"$bigint": "123"},
{"$date": "2026-01-31T12:00:00.000Z"}, {"$number": "NaN"}; payloads are read in the same way.

Exit codes: 0 fine, 1 failure, 2 usage, 3 damage found, 4 conflict, 5 locked by another writer or
consumer, 130 interrupted.`;

if (import.meta.main) exit(await runCli(processHost()));
