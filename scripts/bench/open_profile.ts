/**
 * Where the time of opening a journal goes: the phases that the open report names, for each way of
 * opening, and what they do not explain.
 *
 * @module
 */
import { type ColdStart, ColdStartError, openFrom } from "./library.ts";
import { median } from "./measure.ts";
import { formatWhole } from "./results.ts";
import { Bench, type BenchContext } from "./workloads.ts";

/** Opens of each kind that count. */
const OPENS = 5;

/** Opens the largest journal in every way there is, and returns the tables. */
export async function profileOpen(context: BenchContext): Promise<string> {
  const bench = new Bench({ ...context, peers: { present: [], missing: [] } });
  const parts: string[] = [];
  for (const coldStart of ["index", "footers", "frames"] as const) {
    const layout = coldStart === "footers" ? "sealed" : "default";
    const { path, events } = await bench.journal(16, layout);
    const title = `Opening ${formatWhole(events)} events from ${coldStart}`;
    const reports = await openSome(coldStart, path, bench);
    parts.push(
      typeof reports === "string"
        ? `${title}: not available, ${reports}`
        : `${title}, in milliseconds\n\n${formatPhases(reports)}`,
    );
  }
  return parts.join("\n\n");
}

type Report = Readonly<Record<string, unknown>>;

/** The reports of some opens, or why there are none. */
async function openSome(
  coldStart: ColdStart,
  path: string,
  { fs, pause }: Bench,
): Promise<Report[] | string> {
  const reports: Report[] = [];
  try {
    // One more, which is still compiled.
    for (let i = 0; i <= OPENS; i++) {
      await pause();
      const store = openFrom(coldStart, path, fs);
      if (i > 0) reports.push({ ...store.openReport });
      store.close();
    }
  } catch (error) {
    if (!(error instanceof ColdStartError)) throw error;
    return error.message;
  }
  return reports;
}

/** `phaseRestoreIndexUs` and the like. */
const PHASE = /^phase([A-Z]\w*)Us$/;

/** The median of every phase, in the order of the report, and of the whole. */
export function formatPhases(reports: readonly Report[]): string {
  const medianMs = (field: string) => median(reports.map((report) => Number(report[field]))) / 1000;
  const totalMs = medianMs("elapsedUs");
  let explainedMs = 0;
  const lines: string[] = [];
  const line = (name: string, ms: number) =>
    `  ${name.padEnd(30)}${ms.toFixed(2).padStart(10)}${
      (100 * ms / totalMs).toFixed(0).padStart(6)
    } %`;
  for (const field of Object.keys(reports[0])) {
    const phase = PHASE.exec(field);
    if (phase === null) continue;
    explainedMs += medianMs(field);
    lines.push(line(wordsOf(phase[1]), medianMs(field)));
  }
  lines.push(line("not in any phase", totalMs - explainedMs), line("the whole", totalMs));
  return lines.join("\n");
}

/** `RestoreIndex` as "restore index". */
function wordsOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter, at) => `${at > 0 ? " " : ""}${letter.toLowerCase()}`);
}
