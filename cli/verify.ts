/**
 * `batpak verify`: whether every byte of a journal is as it was written.
 *
 * @module
 */
import type { Command } from "commander";
import { type Finding, type FindingType, verifyJournal, type VerifyReport } from "../mod.ts";
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
        "that could not be read, or that only a newer batpak can check. An end cut short by a crash is reported too, but is no " +
        "damage: the next open for writing repairs it.",
    )
    .argument("<dir>", "the journal's directory");
  addJsonOption(command).action((dir: string) => {
    const { host, output } = session;
    const report = verify(host, dir);
    if (!report.intact) {
      session.exitCode = isUndecided(report) ? ExitCode.FAILURE : ExitCode.DAMAGE;
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

/** Whether nothing speaks of damage, and there are files that nobody has looked into. */
function isUndecided({ intact, findings, findingCount }: VerifyReport): boolean {
  return !intact && findings.length === findingCount &&
    findings.every((finding) =>
      finding.type === "future" || HARMLESS.has(finding.type) || isUnreadable(finding)
    );
}

/** What opening deals with, and loses nothing. */
const HARMLESS: ReadonlySet<FindingType> = new Set(["tail", "unusable", "leftover"]);

/** The system refused to read the file, which says nothing about its bytes. */
function isUnreadable({ type, reason }: Finding): boolean {
  return type === "file" && UNREADABLE.test(reason);
}

/** How an `IoFault` begins that is about the right to read, the disk, or too many open files. */
const UNREADABLE = /^Cannot .*": (?:EACCES|EPERM|EIO|EBUSY|EMFILE|ENFILE)\b/s;

function describeFinding({ file, offset, type, reason, globalSequence }: Finding): string {
  const event = globalSequence === undefined ? "" : ` (event at sequence ${globalSequence})`;
  return `${file}, offset ${offset}, ${type}: ${reason}${event}`;
}

/** The last line for people. */
export function describeReport(report: VerifyReport): string {
  const { intact, events, segments, chains, bytes, findings, findingCount } = report;
  const { erased, retired, pruned } = report;
  const read = `${plural(events, "event")} in ${plural(segments, "segment")} and ` +
    `${plural(chains, "chain")}, ${formatBytes(bytes)}` +
    (erased === 0 ? "" : `, ${formatCount(erased)} erased`) +
    (retired === 0 ? "" : `, ${formatCount(retired)} of them retired`) +
    (pruned === 0 ? "" : `; ${formatCount(pruned)} before them pruned`);
  if (isUndecided(report)) {
    const unreadable = findings.filter(isUnreadable).length;
    const future = findings.filter(({ type }) => type === "future").length;
    const reasons: string[] = [];
    if (unreadable > 0) reasons.push(`${plural(unreadable, "file")} could not be read`);
    if (future > 0) {
      const them = future === 1 ? "it" : "them";
      reasons.push(`a newer batpak wrote ${plural(future, "file")}: upgrade to check ${them}`);
    }
    return `No damage found, but ${reasons.join(", and ")}. Read ${read}`;
  }
  if (!intact) return `DAMAGED: ${plural(findingCount, "finding")}. Read ${read}`;
  if (findingCount === 0) return `Intact: ${read}`;
  return findings.every(({ type }) => type === "tail")
    ? `Intact but for its end, which the next open for writing repairs: ${read}`
    : `Intact, with ${plural(findingCount, "finding")} that lose nothing: ${read}`;
}
