/**
 * `batpak verify`: whether every byte of a journal is as it was written.
 *
 * @module
 */
import type { Command } from "commander";
import { type Finding, verifyJournal, type VerifyReport } from "../mod.ts";
import { ExitCode } from "./errors.ts";
import type { Host } from "./host.ts";
import { asCommandError } from "./journal.ts";
import { addJsonOption } from "./options.ts";
import { formatBytes, formatCount, plural } from "./output.ts";
import { Progress } from "./progress.ts";
import type { Session } from "./session.ts";

/** Adds the command to the program. */
export function addVerifyCommand(program: Command, session: Session): void {
  const command = program
    .command("verify")
    .summary("check every byte: checksums, hashes, chains, sequence")
    .description(
      "Reads the whole journal, changes nothing, and prints each finding with its segment, offset and " +
        "reason. Exits with 3 when the journal is damaged, and with 1 when there is no damage but files " +
        "that only a newer batpak can check. An end cut short by a crash is reported too, but is no " +
        "damage: the next open for writing repairs it.",
    )
    .argument("<dir>", "the journal's directory");
  addJsonOption(command).action((dir: string) => {
    const { host, output } = session;
    const report = verify(host, dir);
    if (!report.intact) {
      session.exitCode = isFromFuture(report) ? ExitCode.FAILURE : ExitCode.DAMAGE;
    }
    if (output.json) {
      output.record(report);
      return;
    }
    for (const finding of report.findings) output.text(describeFinding(finding));
    const more = report.findingCount - report.findings.length;
    if (more > 0) output.text(`… and ${plural(more, "finding")} more`);
    output.text(describeReport(report));
  });
}

function verify(host: Host, dir: string): VerifyReport {
  let progress: Progress | undefined;
  let report: VerifyReport;
  try {
    report = verifyJournal(dir, {
      onProgress({ bytes, totalBytes, events }) {
        progress ??= new Progress(host, { label: "Verifying:", unit: "events", totalBytes });
        progress.update({ count: events, bytes });
      },
    });
  } catch (error) {
    throw asCommandError(error, dir);
  } finally {
    progress?.clear();
  }
  return report;
}

/** Whether nothing speaks of damage, and only a newer program can say more. */
function isFromFuture({ intact, findings }: VerifyReport): boolean {
  return !intact && findings.every(({ type }) => type === "future" || type === "tail");
}

function describeFinding({ file, offset, type, reason, globalSequence }: Finding): string {
  const event = globalSequence === undefined ? "" : ` (event at sequence ${globalSequence})`;
  return `${file}, offset ${offset}, ${type}: ${reason}${event}`;
}

function describeReport(report: VerifyReport): string {
  const { intact, events, segments, chains, bytes, erased, findings, findingCount } = report;
  const read = `${plural(events, "event")} in ${plural(segments, "segment")} and ` +
    `${plural(chains, "chain")}, ${formatBytes(bytes)}` +
    (erased === 0 ? "" : `, ${formatCount(erased)} erased`);
  if (isFromFuture(report)) {
    const count = findings.filter(({ type }) => type === "future").length;
    return `No damage found, but a newer batpak wrote ${plural(count, "file")}: upgrade to check ` +
      `${count === 1 ? "it" : "them"}. Read ${read}`;
  }
  if (!intact) return `DAMAGED: ${plural(findingCount, "finding")}. Read ${read}`;
  return findingCount === 0
    ? `Intact: ${read}`
    : `Intact but for its end, which the next open for writing repairs: ${read}`;
}
