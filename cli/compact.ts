/**
 * `batpak compact`: fewer, larger segments, and payloads erased that are too old or too many.
 *
 * @module
 */
import { type Command, Option } from "commander";
import type { Compaction, CompactionReport, CompactionStrategy, RetentionLimits } from "../mod.ts";
import { CommandError, ExitCode, exitCodeOf, usageError } from "./errors.ts";
import { openExisting, openForReading } from "./journal.ts";
import {
  addJsonOption,
  addRegionOptions,
  durationOf,
  type RegionFlags,
  regionOf,
  sequenceOf,
  sizeOf,
  U32_MAX,
  wholeNumber,
} from "./options.ts";
import { formatBytes, plural } from "./output.ts";
import { Progress } from "./progress.ts";
import type { Session } from "./session.ts";

interface CompactFlags extends RegionFlags {
  readonly strategy: CompactionStrategy["type"];
  readonly maxAge?: number;
  readonly maxCount?: number;
  readonly maxBytes?: number;
  readonly seal?: true;
  readonly minSegments?: number;
  readonly dryRun?: true;
}

/** Adds the command to the program. */
export function addCompactCommand(program: Command, session: Session): void {
  const command = program
    .command("compact")
    .summary("merge segments, and erase what is too old or too many")
    .description(
      "Merges finished segments. With --strategy tombstone it also erases, for good, the payloads of the " +
        "events that the limits leave no room for; with retention those events leave queries too. " +
        "Headers stay: sequences, hashes, receipts and idempotency keys survive. The filters say which " +
        "events the limits are about. Opens the journal for writing, so nobody else may; --dry-run only reads. What fails is " +
        "undone; an interrupt keeps what is done by then.",
    )
    .argument("<dir>", "the journal's directory")
    .addOption(
      new Option("--strategy <what>", "merge alone, or erase as well")
        .choices(["merge", "retention", "tombstone"]).default("merge"),
    )
    .option("--max-age <duration>", "keep payloads at most this old, as 90d or 12h", durationOf)
    .option("--max-count <number>", "keep the payloads of so many of the newest", sequenceOf)
    .option("--max-bytes <size>", "keep so many bytes of the newest, as 500MB", sizeOf);
  addRegionOptions(command)
    .option("--seal", "finish the newest segment first, so that it takes part")
    .option(
      "--min-segments <number>",
      "do nothing with fewer finished segments than this (2, and 1 with a strategy that erases)",
      wholeNumber(1, U32_MAX),
    )
    .option("--dry-run", "say what would be done, and write nothing");
  addJsonOption(command).action(
    (dir: string, flags: CompactFlags) => compact(session, dir, flags),
  );
}

async function compact(session: Session, dir: string, flags: CompactFlags): Promise<void> {
  const { host, output } = session;
  const strategy = strategyOf(flags);
  const { seal, minSegments, dryRun } = flags;
  if (dryRun) {
    using reader = openForReading(dir, "nothing");
    return tell(session, reader.planCompaction({ strategy, seal, minSegments }));
  }
  using store = openExisting(dir, output);
  using interrupt = host.catchInterrupt();
  using compaction = store.compaction({ strategy, seal, minSegments });
  using progress = new CompactionProgressLine(session, compaction);
  while (compaction.step()) {
    progress.update();
    // An interrupt is heard between two steps.
    await host.turn();
    if (interrupt.signal.aborted) {
      const { transactions } = compaction.progress;
      session.exitCode = ExitCode.INTERRUPTED;
      progress.clear();
      output.note(
        `batpak: interrupted; ${
          plural(transactions, "merged segment")
        } stay, the rest is as it was`,
        { note: "interrupted", transactions },
      );
      return;
    }
  }
  progress.clear();
  tell(session, compaction.finish());
}

/** What the flags ask for; limits go with a strategy that erases, and such a strategy with limits. */
function strategyOf(flags: CompactFlags): CompactionStrategy {
  const { strategy: type, maxAge, maxCount, maxBytes } = flags;
  const { entity, scope, kind, category, tag, lane } = flags;
  const hasLimits = [maxAge, maxCount, maxBytes].some((limit) => limit !== undefined);
  const hasFilters = [entity, scope, kind, category, tag, lane].some((one) => one !== undefined);
  if (type === "merge") {
    if (!hasLimits && !hasFilters) return { type };
    throw usageError(
      "Cannot merge by limits or filters: --strategy tombstone or retention goes with them",
    );
  }
  if (!hasLimits) {
    throw usageError(
      `Cannot compact with --strategy ${type} alone: give --max-age, --max-count or --max-bytes`,
    );
  }
  const keep: RetentionLimits = {
    ...(maxAge !== undefined && { maxAgeUs: maxAge }),
    ...(maxCount !== undefined && { maxCount }),
    ...(maxBytes !== undefined && { maxBytes }),
    region: regionOf(flags),
  };
  return { type, keep };
}

function tell({ output }: Session, report: CompactionReport): void {
  const { outcome, reason, cause, body, transactions } = report;
  for (const finding of body.findings) {
    if (finding.type === "RolledBack") continue;
    output.note(
      `batpak: ${finding.reason}; the next compaction or open for writing sees to it`,
      { note: "finding", ...finding },
    );
  }
  if (outcome === "failed") {
    const { cause: _, ...facts } = report;
    throw new CommandError(
      "COMPACTION_FAILED",
      `Cannot compact: ${reason}; ${
        plural(transactions, "merged segment")
      } stay, and nothing is lost`,
      { facts: { report: facts }, exitCode: exitCodeOf(cause), cause },
    );
  }
  if (output.json) {
    output.record({ dryRun: report.body.dryRun, ...report });
    return;
  }
  if (outcome === "skipped") {
    output.text(`Nothing to do: ${reason}.`);
    return;
  }
  output.text(describe(report));
}

function describe({ body, eventsErased, bytesReclaimed }: CompactionReport): string {
  const { merges, dryRun } = body;
  const sources = merges.reduce((sum, { sourceSegmentIds }) => sum + sourceSegmentIds.length, 0);
  const would = dryRun ? "Would make" : "Made";
  const erased = eventsErased === 0 ? "" : `, erasing ${plural(eventsErased, "event")}`;
  const bytes = bytesReclaimed < 0
    ? `${formatBytes(-bytesReclaimed)} more than before`
    : `${formatBytes(bytesReclaimed)} less than before`;
  return `${would} ${plural(merges.length, "segment")} of ${sources}${erased}: ${bytes}.`;
}

/** How far it is, on a terminal. */
class CompactionProgressLine implements Disposable {
  readonly #session: Session;
  readonly #compaction: Compaction;
  #progress: Progress | undefined;

  constructor(session: Session, compaction: Compaction) {
    this.#session = session;
    this.#compaction = compaction;
  }

  update(): void {
    const { bytes, totalBytes } = this.#compaction.progress;
    // What is to be written is known once the rule has been asked about everything.
    if (totalBytes === undefined) return;
    const { host } = this.#session;
    this.#progress ??= new Progress(host, { label: "Compacting:", unit: "kB", totalBytes });
    this.#progress.update({ count: Math.round(bytes / 1000), bytes });
  }

  clear(): void {
    this.#progress?.clear();
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
