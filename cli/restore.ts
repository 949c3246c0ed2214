/**
 * `batpak restore`: a journal from a backup, every byte checked on its way.
 *
 * @module
 */
import { type Command, Option } from "commander";
import {
  BackupError,
  type BackupFinding,
  type BackupVerification,
  restoreBackup,
  type RestoreReport,
  verifyBackup,
} from "../mod.ts";
import { addDryRunOption, CopyProgressLine } from "./copy.ts";
import { CommandError, errorToJson, ExitCode, usageError } from "./errors.ts";
import { addJsonOption } from "./options.ts";
import { formatBytes, plural } from "./output.ts";
import type { Session } from "./session.ts";

interface RestoreFlags {
  readonly dryRun?: true;
  readonly verifyOnly?: true;
}

/** Adds the command to the program. */
export function addRestoreCommand(program: Command, session: Session): void {
  const command = program
    .command("restore")
    .summary("make a journal from a backup, or check one")
    .description(
      "Makes a journal from a backup, in a directory that is new or empty. Every byte is compared with " +
        "the manifest on its way; a backup that is not as it was made is refused with exit code 3, and " +
        "nothing is left of the attempt.",
    )
    .argument("<backup>", "the directory of the backup")
    .argument("[target]", "the directory of the journal; not needed with --verify-only")
    .addOption(
      new Option("--verify-only", "check the backup, list every finding, and restore nothing")
        .conflicts("dryRun"),
    );
  addDryRunOption(addJsonOption(command)).action(
    (backup: string, target: string | undefined, flags: RestoreFlags) => {
      if (flags.verifyOnly) return verify(session, backup);
      if (target === undefined) {
        throw usageError("Cannot restore: name a target, or give --verify-only");
      }
      restore(session, backup, target, flags.dryRun === true);
    },
  );
}

function verify(session: Session, backup: string): void {
  const { output } = session;
  using progress = new CopyProgressLine(session.host, "Verifying:");
  const verification = verifyBackup(backup, { onProgress: progress.update });
  progress.clear();
  const { intact, findings, findingCount } = verification;
  if (!intact) session.exitCode = exitCodeOf(findings);
  if (output.json) {
    output.record(verification);
    return;
  }
  for (const { file, type, reason } of findings) output.text(`${file}, ${type}: ${reason}`);
  const more = findingCount - findings.length;
  if (more > 0) output.text(`… and ${plural(more, "finding")} more`);
  output.text(describeVerification(verification));
}

function describeVerification(verification: BackupVerification): string {
  const { intact, manifest, files, bytes, findings, findingCount } = verification;
  const read = `${plural(files.length, "file")}, ${formatBytes(bytes)}`;
  if (intact && manifest !== undefined) {
    const signature = verification.signature === "unsigned"
      ? "not signed"
      : "signature not checked";
    return `Intact: ${plural(manifest.events, "event")} in ${read}, ${signature}`;
  }
  const verdict = exitCodeOf(findings) === ExitCode.DAMAGE ? "DAMAGED" : "Cannot tell";
  return `${verdict}: ${plural(findingCount, "finding")}. Read ${read}`;
}

function restore(session: Session, backup: string, target: string, dryRun: boolean): void {
  const { output } = session;
  using progress = new CopyProgressLine(session.host, dryRun ? "Checking:" : "Restoring:");
  let report: RestoreReport;
  try {
    report = restoreBackup(backup, target, { dryRun, onProgress: progress.update });
  } catch (error) {
    progress.clear();
    throw asCommandError(error);
  }
  progress.clear();
  if (output.json) {
    output.record({ dryRun, ...report });
    return;
  }
  const what = `${plural(report.events, "event")} in ${plural(report.files.length, "file")}, ${
    formatBytes(report.bytes)
  }, to ${report.target}`;
  output.text(
    dryRun
      ? `Would restore ${what}. Nothing was written.`
      : `Restored ${what}; every byte is as the manifest says`,
  );
}

/** A refused backup is damaged, unless what was found says nothing about its bytes. */
function asCommandError(error: unknown): unknown {
  if (!(error instanceof BackupError)) return error;
  const { code, message, ...facts } = errorToJson(error);
  return new CommandError(
    code,
    `${message}. Nothing was restored; --verify-only lists every finding`,
    { facts, exitCode: exitCodeOf(error.findings), cause: error },
  );
}

function exitCodeOf(findings: readonly BackupFinding[]): number {
  return findings.every(({ type }) => UNDECIDED.has(type)) ? ExitCode.FAILURE : ExitCode.DAMAGE;
}

/** There is no backup, or one that only a newer batpak reads, or a file that the system refused. */
const UNDECIDED: ReadonlySet<BackupFinding["type"]> = new Set<BackupFinding["type"]>([
  "Manifest",
  "UnsupportedSchemaVersion",
  "UnreadableFile",
]);
