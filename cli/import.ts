/**
 * `batpak import`: events from NDJSON, a group of lines at a time; see `importer.ts` for the groups. Events
 * of another journal are the business of `import_from.ts`.
 *
 * The store is synchronous. Between groups the loop lets the system's signals in: Ctrl-C ends the
 * import after a whole group and a clean close, and the report says after which line.
 *
 * @module
 */
import type { Command } from "commander";
import { StoreError } from "../mod.ts";
import { CommandError, errorToJson, ExitCode, exitCodeOf, usageError } from "./errors.ts";
import { type Host, type Input, OutputClosedError } from "./host.ts";
import { addFromOptions, type FromFlags, runImportFrom } from "./import_from.ts";
import { Importer } from "./importer.ts";
import { isJournal, openForWriting } from "./journal.ts";
import { LineSplitter } from "./line_splitter.ts";
import { addJsonOption } from "./options.ts";
import { formatCount, plural } from "./output.ts";
import { Progress } from "./progress.ts";
import type { Session } from "./session.ts";

/** No event is larger, so a longer line is no event. */
const LINE_BYTES_MAX = 64 << 20;

/** Adds the command to the program. */
export function addImportCommand(program: Command, session: Session): void {
  const command = program
    .command("import")
    .summary("append events from NDJSON, or from another journal")
    .description(
      "Appends one event for each line of FILE, in groups of up to 256 lines that are written whole " +
        "or not at all. A line is a JSON object: entity, scope, payload, and if wanted kind, key, " +
        "tags, causationId, correlationId, lane, depth, flags, payloadVersion, payloadEncoding. A bad " +
        "line ends the import; nothing of its group is written. Lines with a key can be imported " +
        "again: what is known is left out. What query prints can be imported as it is: an event's id " +
        "becomes its key, and what only the journal can set is left aside.\n\n" +
        "With --from it appends the events of another journal instead, with everything they carry and " +
        "a note of where they come from. Repeating it adds only what is missing.",
    )
    .argument("<dir>", "the journal's directory")
    .argument("[file]", "the lines; - or nothing reads them from standard input");
  addFromOptions(command);
  addJsonOption(command).action(
    (dir: string, file: string | undefined, { json: _, from, ...flags }: ImportFlags) => {
      if (from === undefined) {
        const [first] = Object.keys(flags);
        if (first !== undefined) throw usageError(describeStray(command, first));
        return runImport(session, dir, file ?? "-");
      }
      if (file !== undefined) {
        throw usageError(
          `Cannot import from a journal and from lines at once: leave out --from or "${file}"`,
          { from, file },
        );
      }
      return runImportFrom(session, dir, from, flags);
    },
  );
}

interface ImportFlags extends FromFlags {
  readonly from?: string;
  readonly json?: true;
}

function describeStray(command: Command, name: string): string {
  const flag = command.options.find((option) => option.attributeName() === name)?.long ?? name;
  return `Cannot use ${flag} for lines: it says what to import from the journal that --from names`;
}

async function runImport(session: Session, dir: string, file: string): Promise<void> {
  const { host, output } = session;
  const input = openInput(host, file);
  using interrupt = host.catchInterrupt();
  using progress = new Progress(host, {
    label: "Importing:",
    unit: "events",
    totalBytes: input.size,
  });
  const startMs = host.nowMs();
  let outcome: Importer;
  {
    using importer = new Importer(() => openForWriting(dir, output), isJournal(dir));
    outcome = importer;
    try {
      await readLines(host, input, importer, { signal: interrupt.signal, progress });
      // No line is no error, and what follows should find a journal.
      if (!interrupt.signal.aborted) void importer.store;
    } catch (error) {
      progress.clear();
      throw describeFailure(error, importer);
    }
  }
  progress.clear();
  const elapsedMs = host.nowMs() - startMs;
  const { lines, imported, known, skipped } = outcome;
  const interrupted = interrupt.signal.aborted;
  if (interrupted) session.exitCode = ExitCode.INTERRUPTED;
  const rate = Math.round(imported * 1000 / Math.max(1, elapsedMs));
  const text = `${describe(outcome)} in ${(elapsedMs / 1000).toFixed(1)} s, ${
    formatCount(rate)
  } events/s`;
  const facts = { lines, imported, known, skipped, interrupted, elapsedMs: Math.round(elapsedMs) };
  if (output.json) output.record(facts);
  else if (!interrupted) output.text(text);
  else {
    output.note(
      `batpak: interrupted. ${text}. The journal is whole; ${howToGoOn(outcome)}`,
      facts,
    );
  }
}

function openInput(host: Host, file: string): Input {
  try {
    return host.openInput(file);
  } catch (error) {
    const { code } = error as { code?: unknown };
    const reason = code === "ENOENT"
      ? "there is no such file"
      : code === "EISDIR"
      ? "it is a directory"
      : error instanceof Error
      ? error.message
      : String(error);
    throw new CommandError("INPUT", `Cannot read "${file}": ${reason}`, { facts: { file } });
  }
}

async function readLines(
  host: Host,
  input: Input,
  importer: Importer,
  { signal, progress }: { readonly signal: AbortSignal; readonly progress: Progress },
): Promise<void> {
  const splitter = new LineSplitter(LINE_BYTES_MAX);
  for await (const chunk of input.chunks(signal)) {
    for (const line of splitter.push(chunk)) {
      if (!importer.add(line)) continue;
      progress.update({ count: importer.imported + importer.known, bytes: line.inputEnd });
      await host.turn();
      if (signal.aborted) return;
    }
  }
  // An interrupted input ends anywhere, and half a line is no event.
  const last = signal.aborted ? undefined : splitter.end();
  if (last !== undefined) importer.add(last);
  importer.flush();
}

function describeFailure(error: unknown, importer: Importer): unknown {
  if (error instanceof OutputClosedError) return error;
  const { lines, imported, known, skipped } = importer;
  const blamed = importer.blame(error);
  const cause = blamed?.cause ?? error;
  const { code, message: reason, ...facts } = errorToJson(cause);
  const what = blamed === undefined
    ? `Cannot go on after line ${formatCount(lines)}: ${reason}`
    : `Cannot import line ${blamed.line}: ${reason}`;
  const lost = blamed === undefined || blamed.groupEnd === lines + 1
    ? "Nothing of it was written"
    : `Nothing of its group, lines ${lines + 1} to ${blamed.groupEnd}, was written`;
  return new CommandError(
    blamed === undefined || cause instanceof StoreError ? code : "BAD_LINE",
    `${what}. ${lost}. Before: ${describe(importer)}`,
    {
      facts: { ...facts, line: blamed?.line, reason, lines, imported, known, skipped },
      exitCode: blamed === undefined ? exitCodeOf(error) : ExitCode.FAILURE,
      cause,
    },
  );
}

function describe({ lines, imported, known, skipped }: Importer): string {
  const left = known === 0 ? "" : `, ${formatCount(known)} known and left out`;
  const own = skipped === 0 ? "" : `, ${formatCount(skipped)} of a store's own or erased skipped`;
  return `${plural(imported, "event")} imported from ${plural(lines, "line")}${left}${own}`;
}

function howToGoOn({ lines }: Importer): string {
  return lines === 0
    ? "import again"
    : `go on with line ${lines + 1}, or, where all lines have keys, import again`;
}
