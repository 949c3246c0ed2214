/**
 * `batpak prune`: a journal without its oldest segments.
 *
 * @module
 */
import type { Command } from "commander";
import type { PruneReport } from "../mod.ts";
import { CommandError, exitCodeOf } from "./errors.ts";
import { openExisting, openForReading } from "./journal.ts";
import { addJsonOption, sequenceOf } from "./options.ts";
import { formatBytes, formatCount, plural } from "./output.ts";
import type { Session } from "./session.ts";

interface PruneFlags {
  readonly below: number;
  readonly seal?: true;
  readonly dryRun?: true;
}

/** Adds the command to the program. */
export function addPruneCommand(program: Command, session: Session): void {
  const command = program
    .command("prune")
    .summary("remove the oldest segments for good")
    .description(
      "Removes, for good, the oldest finished segments whose events all have a sequence below the one " +
        "given, and forgets their idempotency keys: an event that is gone can be appended again. " +
        "journal.base keeps what the rest needs to verify and to go on. Opens the journal for writing, " +
        "so nobody else may; --dry-run only reads.",
    )
    .argument("<dir>", "the journal's directory")
    .requiredOption("--below <sequence>", "remove what lies below this place", sequenceOf)
    .option("--seal", "finish the newest segment first, so that it may go too")
    .option("--dry-run", "say what would be removed, and write nothing");
  addJsonOption(command).action((dir: string, { below, seal, dryRun }: PruneFlags) => {
    if (dryRun) {
      using reader = openForReading(dir, "nothing");
      return tell(session, reader.planPrune({ below, seal }));
    }
    using store = openExisting(dir, session.output);
    tell(session, store.prune({ below, seal }));
  });
}

function tell({ output }: Session, report: PruneReport): void {
  const { outcome, reason, cause, body } = report;
  for (const finding of body.findings) {
    output.note(
      `batpak: ${finding.reason}; the next open for writing sees to it`,
      { note: "finding", ...finding },
    );
  }
  if (outcome === "failed") {
    const { cause: _, ...facts } = report;
    throw new CommandError("PRUNE_FAILED", `Cannot prune: ${reason}; nothing has changed`, {
      facts: { report: facts },
      exitCode: exitCodeOf(cause),
      cause,
    });
  }
  if (output.json) {
    output.record({ dryRun: report.body.dryRun, ...report });
    return;
  }
  output.text(outcome === "skipped" ? `Nothing to do: ${reason}.` : describe(report));
}

function describe(report: PruneReport): string {
  const { eventsPruned, segmentsRemoved, bytesReclaimed, firstSequence, body } = report;
  const gone = `${plural(eventsPruned, "event")} in ${plural(segmentsRemoved, "segment")}, ` +
    formatBytes(bytesReclaimed);
  const begins = `the journal ${body.dryRun ? "would begin" : "begins"} at sequence ${
    formatCount(firstSequence)
  }`;
  return `${body.dryRun ? "Would remove" : "Removed"} ${gone}; ${begins}.`;
}
