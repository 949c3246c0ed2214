/**
 * `batpak snapshot`, `batpak fork` and `batpak backup`: a journal once more, somewhere else.
 *
 * Snapshots and backups are made by a reader, beside whoever writes. A fork needs the lock, because what
 * it shares must not be replaced while it does so.
 *
 * @module
 */
import { type Command, Option } from "commander";
import type { BackupReport, CopyPlan, CopyProgress, CopyReport, ForkOptions } from "../mod.ts";
import type { Host } from "./host.ts";
import { openForReading, openForWriting } from "./journal.ts";
import { addJsonOption } from "./options.ts";
import { formatBytes, plural } from "./output.ts";
import { Progress } from "./progress.ts";
import type { Session } from "./session.ts";

interface CopyFlags {
  readonly dryRun?: true;
  readonly verify: boolean;
}

interface ForkFlags extends ForkOptions {
  readonly dryRun?: true;
}

/** Adds the command to the program. */
export function addSnapshotCommand(program: Command, session: Session): void {
  const command = program
    .command("snapshot")
    .summary("copy a journal, also while it is written to")
    .description(
      "Copies the journal, up to the last whole event, to a directory that is new or empty. The copy is " +
        "a journal of its own with the same events. Locks, quarantine and index files stay behind. " +
        "A copy that fails leaves nothing that opens.",
    )
    .argument("<dir>", "the journal's directory")
    .argument("<target>", "the directory of the copy")
    .option("--no-verify", "copy without checking every event on its way");
  addDryRunOption(addJsonOption(command)).action(
    (dir: string, target: string, { dryRun, verify }: CopyFlags) => {
      using reader = openForReading(dir, "nothing");
      if (dryRun) return tellPlan(session, reader.planCopy(target));
      using progress = new CopyProgressLine(session.host, "Copying:");
      const report = reader.snapshot(target, { verify, onProgress: progress.update });
      progress.clear();
      tell(session, report, `Copied ${describe(report, report.segments.length)}`);
    },
  );
}

/** Adds the command to the program. */
export function addForkCommand(program: Command, session: Session): void {
  const command = program
    .command("fork")
    .summary("copy a journal and share what will not change")
    .description(
      "Makes a journal of its own with the same events, in a directory that is new or empty. Finished " +
        "segments are shared, by reflink if the file system can, else by hard link, else they are " +
        "copied; what either side does afterwards stays there. Opens the journal for writing, so " +
        "nobody else may; --dry-run only reads, and does not look whether somebody writes. A fork is no " +
        "backup: what is shared is on the disk once.",
    )
    .argument("<dir>", "the journal's directory")
    .argument("<target>", "the directory of the fork")
    .addOption(
      new Option("--share <how>", "begin with this way of sharing")
        .choices(["reflink", "hardlink", "copy"]).default("reflink"),
    );
  addDryRunOption(addJsonOption(command)).action(
    (dir: string, target: string, { dryRun, share }: ForkFlags) => {
      // A journal that is not there must not be begun, nor one opened for a target that is refused.
      const plan = planBy(dir, target);
      if (dryRun) return tellPlan(session, plan);
      using store = openForWriting(dir, session.output);
      using progress = new CopyProgressLine(session.host, "Forking:");
      const report = store.fork(target, { share, onProgress: progress.update });
      progress.clear();
      tell(
        session,
        report,
        `Forked ${describe(report, report.segments.length)} (${describeSharing(report)})`,
      );
    },
  );
}

/** Adds the command to the program. */
export function addBackupCommand(program: Command, session: Session): void {
  const command = program
    .command("backup")
    .summary("copy a journal together with what proves the copy")
    .description(
      "Copies the journal, up to the last whole event, to a directory that is new or empty, beside a " +
        "manifest with the BLAKE3 of every file. A backup does not open as a journal: " +
        '"batpak restore" makes it one, and checks every byte.',
    )
    .argument("<dir>", "the journal's directory")
    .argument("<target>", "the directory of the backup")
    .option("--no-verify", "copy without checking every event on its way");
  addDryRunOption(addJsonOption(command)).action(
    (dir: string, target: string, { dryRun, verify }: CopyFlags) => {
      using reader = openForReading(dir, "nothing");
      if (dryRun) return tellPlan(session, reader.planCopy(target));
      using progress = new CopyProgressLine(session.host, "Backing up:");
      const report = reader.backup(target, { verify, onProgress: progress.update });
      progress.clear();
      const segments = report.files.filter(({ name }) => name.endsWith(".fbat")).length;
      tell(
        session,
        report,
        `Backed up ${describe(report, segments)}; the manifest's hash is ${report.manifestHash}`,
      );
    },
  );
}

/** Adds the option of all commands that copy. */
export function addDryRunOption(command: Command): Command {
  return command.option("--dry-run", "say what would be copied, check the target, write nothing");
}

/** A line that says how many bytes have been copied. */
export class CopyProgressLine implements Disposable {
  readonly #host: Host;
  readonly #label: string;
  #progress: Progress | undefined;

  /** @param label what is being done. */
  constructor(host: Host, label: string) {
    this.#host = host;
    this.#label = label;
  }

  /** Shows how far it is; to be handed on as a callback. */
  readonly update: (done: CopyProgress) => void = ({ bytes, totalBytes }) => {
    this.#progress ??= new Progress(this.#host, { label: this.#label, unit: "kB", totalBytes });
    this.#progress.update({ count: Math.round(bytes / 1000), bytes });
  };

  /** Takes the line away. */
  clear(): void {
    this.#progress?.clear();
  }

  /** As {@linkcode clear}. */
  [Symbol.dispose](): void {
    this.clear();
  }
}

function planBy(dir: string, target: string): CopyPlan {
  using reader = openForReading(dir, "nothing");
  return reader.planCopy(target);
}

function tell({ output }: Session, report: CopyReport | BackupReport, text: string): void {
  if (output.json) output.record({ dryRun: false, ...report });
  else output.text(text);
}

function tellPlan({ output }: Session, plan: CopyPlan): void {
  if (output.json) output.record({ dryRun: true, ...plan });
  else output.text(`Would copy ${describe(plan, plan.segments.length)}. Nothing was written.`);
}

function describe(
  { events, bytes, target }: {
    readonly events: number;
    readonly bytes: number;
    readonly target: string;
  },
  segments: number,
): string {
  return `${plural(events, "event")} in ${plural(segments, "segment")}, ${
    formatBytes(bytes)
  }, to ${target}`;
}

function describeSharing({ strategyCounts }: CopyReport): string {
  const { reflink, hardlink, copy } = strategyCounts;
  return [
    ...(reflink > 0 ? [`${plural(reflink, "segment")} shared by reflink`] : []),
    ...(hardlink > 0 ? [`${plural(hardlink, "segment")} shared by hard link`] : []),
    `${plural(copy, "segment")} copied`,
  ].join(", ");
}
