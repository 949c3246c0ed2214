/**
 * `batpak import --from`: events of another journal.
 *
 * The source is opened for reading, so it may have a live writer; what that appends from then on is
 * left for the next import. The import runs in slices, and between two of them the system's signals get
 * in: Ctrl-C ends it behind a whole page, and importing again goes on.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import {
  IMPORT_NAMESPACE_SIZE_MAX,
  type ImportOptions,
  type ImportReport,
  type JournalReader,
  previewImport,
  type ReadOnlyStore,
  type Store,
} from "../mod.ts";
import { ExitCode } from "./errors.ts";
import { isJournal, openForReading, openForWriting } from "./journal.ts";
import {
  addRegionOptions,
  type RegionFlags,
  regionOf,
  sequenceOf,
  wholeNumber,
} from "./options.ts";
import { formatCount, plural } from "./output.ts";
import { Progress } from "./progress.ts";
import type { Session } from "./session.ts";

/** Events of the source between two looks at the signals: a few hundredths of a second. */
const SLICE_EVENTS = 4096;
/** More than a store takes in one batch is as good as that. */
const CHUNK_SIZE_MAX = 4096;

/** What an import from a journal may be told. */
export interface FromFlags extends RegionFlags {
  readonly namespace?: string;
  readonly after?: number;
  readonly chunkSize?: number;
  readonly dryRun?: true;
}

/** Adds what goes with `--from`. */
export function addFromOptions(command: Command): void {
  command
    .option("--from <dir>", "import the events of this journal instead of lines")
    .option(
      "--namespace <name>",
      "names the source, the same in every run: under another name all is imported again " +
        "(default: the id of the source's journal)",
      namespaceOf,
    )
    .option("--after <sequence>", "only events after this place in the source", sequenceOf)
    .option(
      "--chunk-size <count>",
      "at most so many events in one batch (default: 256)",
      wholeNumber(1, CHUNK_SIZE_MAX),
    )
    .option("--dry-run", "count what would be imported, and write nothing");
  addRegionOptions(command);
}

/** Imports from the journal in `from`. */
export async function runImportFrom(
  session: Session,
  dir: string,
  from: string,
  flags: FromFlags,
): Promise<void> {
  const { host, output } = session;
  const { namespace, after, chunkSize, dryRun = false } = flags;
  // First: where there is nothing to import from, nothing is begun.
  using source = openForReading(from, "nothing");
  using interrupt = host.catchInterrupt();
  const options = { namespace, chunkSize, region: regionOf(flags) };
  const startMs = host.nowMs();
  let total: ImportReport;
  {
    using progress = new Progress(host, {
      label: dryRun ? "Looking:" : "Importing:",
      unit: "events",
      totalBytes: Math.max(0, source.stats().nextSequence - first(after)),
    });
    using target = dryRun ? openIfThere(dir) : openForWriting(dir, output);
    total = await inSlices(session, {
      after,
      signal: interrupt.signal,
      progress,
      slice: (range) =>
        dryRun
          ? previewImport(source, target, { ...options, ...range })
          : (target as Store).importEvents(source, { ...options, ...range }),
    });
  }
  const interrupted = interrupt.signal.aborted;
  if (interrupted) session.exitCode = ExitCode.INTERRUPTED;
  const elapsedMs = Math.round(host.nowMs() - startMs);
  const facts = {
    ...total,
    // A fact that there is none is one, too.
    sourceHighWatermark: total.sourceHighWatermark ?? null,
    firstSequence: total.firstSequence ?? null,
    lastSequence: total.lastSequence ?? null,
    namespace: namespace ?? source.storeId,
    dryRun,
    interrupted,
    elapsedMs,
  };
  const text = describe(total, dryRun, source);
  if (output.json) output.record(facts);
  else if (!interrupted) output.text(`${text} in ${(elapsedMs / 1000).toFixed(1)} s`);
  else {
    output.note(`batpak: interrupted. ${text}. The journal is whole; import again to go on`, facts);
  }
}

function openIfThere(dir: string): ReadOnlyStore | undefined {
  return isJournal(dir) ? openForReading(dir) : undefined;
}

async function inSlices(
  { host }: Session,
  { after, signal, progress, slice }: {
    readonly after: number | undefined;
    readonly signal: AbortSignal;
    readonly progress: Progress;
    readonly slice: (range: Pick<ImportOptions, "after" | "limit">) => ImportReport;
  },
): Promise<ImportReport> {
  let total = slice({ after, limit: SLICE_EVENTS });
  let { sourceHighWatermark } = total;
  while (sourceHighWatermark !== undefined) {
    progress.update({
      count: total.imported + total.deduplicated,
      bytes: sourceHighWatermark + 1 - first(after),
    });
    await host.turn();
    if (signal.aborted) break;
    const part = slice({ after: sourceHighWatermark, limit: SLICE_EVENTS });
    total = added(total, part);
    ({ sourceHighWatermark } = part);
  }
  return total;
}

/** The first sequence that is looked at. */
function first(after: number | undefined): number {
  return after === undefined ? 0 : after + 1;
}

function added(a: ImportReport, b: ImportReport): ImportReport {
  return {
    imported: a.imported + b.imported,
    deduplicated: a.deduplicated + b.deduplicated,
    skippedReserved: a.skippedReserved + b.skippedReserved,
    skippedFiltered: a.skippedFiltered + b.skippedFiltered,
    skippedReimported: a.skippedReimported + b.skippedReimported,
    skippedErased: a.skippedErased + b.skippedErased,
    sourceHighWatermark: b.sourceHighWatermark ?? a.sourceHighWatermark,
    pages: a.pages + b.pages,
    firstSequence: a.firstSequence ?? b.firstSequence,
    lastSequence: b.lastSequence ?? a.lastSequence,
  };
}

function describe(report: ImportReport, dryRun: boolean, source: JournalReader): string {
  const { imported, deduplicated, skippedReserved, skippedReimported, skippedErased } = report;
  const notes = [
    [deduplicated, "imported before"],
    [skippedReimported, "that were imported there under this name"],
    [skippedErased, "whose payload is erased"],
    [skippedReserved, "of the store's own"],
  ] as const;
  const left = notes.filter(([count]) => count > 0)
    .map(([count, what]) => `${formatCount(count)} ${what}`);
  const verb = dryRun ? "would be imported" : "imported";
  return `${plural(imported, "event")} ${verb} from ${source.dir}` +
    (left.length === 0 ? "" : `; left out: ${left.join(", ")}`);
}

function namespaceOf(text: string): string {
  const size = new TextEncoder().encode(text).byteLength;
  if (size >= 1 && size <= IMPORT_NAMESPACE_SIZE_MAX) return text;
  throw new InvalidArgumentError(`Give a name of 1 to ${IMPORT_NAMESPACE_SIZE_MAX} bytes.`);
}
