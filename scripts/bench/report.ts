/**
 * Results as text for a terminal: each figure beside its peers and beside what we set out to reach, and
 * then how the cost grows.
 *
 * @module
 */
import type { RuntimeName } from "./options.ts";
import {
  type BenchRow,
  type BenchRun,
  formatExponent,
  formatFigure,
  formatRatio,
  formatSpread,
  formatWhole,
} from "./results.ts";

/** What we set out to reach, of which only the ratios mean the same on every machine. */
interface Target {
  /** In the row's unit, on two ordinary cores: by runtime when they differ. */
  readonly figure?: number | Readonly<Record<RuntimeName, number>>;
  /** At how many events the figure is meant; in the race otherwise. */
  readonly events?: number;
  /** At least so many times as fast as a peer. */
  readonly ratios?: Readonly<Record<string, number>>;
}

const MILLION = 1_000_000;

const TARGETS: Readonly<Record<string, Target>> = {
  "append": { figure: 200_000, ratios: { "node:sqlite": 6 } },
  "append-batch-256": { figure: 300_000, ratios: { "node:sqlite": 3 } },
  "append-durable": { ratios: { "raw-fdatasync": 0.9, "node:sqlite": 1.3, "bun:sqlite": 1.2 } },
  "get": { figure: 1e6 / 3 },
  "replay": { figure: { deno: 1_000_000, bun: 1_500_000 } },
  "scan": { figure: 4_000_000 },
  "open-index": { figure: 100, events: MILLION },
  "open-footers": { figure: 600, events: MILLION },
  "open-frames": { figure: 2_500, events: MILLION },
  "verify": { figure: 400_000 },
  "memory-1000": { figure: 110, events: MILLION },
  "group-commit-256": { figure: 50_000 },
  "group-commit-256-shared": { figure: 50_000 },
  "cursor-realm-256-saved": { figure: 150_000 },
};

/** The tables of one runtime, and who was missing. */
export function formatRun(run: BenchRun): string {
  const parts = [formatRace(run), formatGrowth(run)];
  if (run.missing.length > 0) {
    parts.push(run.missing.map(({ name, reason }) => `Without ${name}: ${reason}`).join("\n"));
  }
  return parts.join("\n\n");
}

const RACE_HEADINGS = ["workload", "who", "figure", "±", "p50 µs", "p99 µs", "B/event", "ratio"];

function formatRace({ runtime, rows }: BenchRun): string {
  const lines: string[][] = [[...RACE_HEADINGS, "target"]];
  for (const row of rows) {
    const { workload, unit, batpak, peers } = row;
    const { figure, events, ratios } = TARGETS[workload] ?? {};
    if (batpak === undefined) {
      lines.push([workload, "batpak", "not available", "", "", "", "", "", row.unavailable ?? ""]);
      continue;
    }
    const wanted = typeof figure === "object" ? figure[runtime] : figure;
    lines.push([
      workload,
      "batpak",
      formatFigure(unit, batpak.median),
      formatSpread(batpak),
      tenths(row.p50us),
      tenths(row.p99us),
      tenths(row.bytesPerEvent),
      "",
      wanted === undefined || events !== undefined ? "" : verdict(row, batpak.median, wanted),
    ]);
    for (const { name, figure, ratio } of peers) {
      const wanted = ratios?.[name];
      lines.push([
        "",
        name,
        formatFigure(unit, figure.median),
        formatSpread(figure),
        "",
        "",
        "",
        formatRatio(ratio),
        wanted === undefined ? "" : `${mark(ratio >= wanted)} ≥ ${wanted} ×`,
      ]);
    }
    for (const { name, reason } of row.absent) {
      lines.push(["", name, "absent", "", "", "", "", "", reason]);
    }
  }
  return align(lines, new Set([0, 1, RACE_HEADINGS.length]));
}

function formatGrowth({ rows }: BenchRun): string {
  const grown = rows.filter(({ growth }) => growth.length > 0);
  if (grown.length === 0) return "";
  const lines: string[][] = [["workload", "events", "figure", "±", "exponent", "target"]];
  for (const row of grown) {
    const { figure: wanted, events: wantedAt } = TARGETS[row.workload] ?? {};
    row.growth.forEach(({ events, figure }, i) => {
      lines.push([
        i === 0 ? row.workload : "",
        formatWhole(events),
        formatFigure(row.unit, figure.median),
        formatSpread(figure),
        i === row.growth.length - 1 ? formatExponent(row.exponent) : "",
        typeof wanted === "number" && events === wantedAt
          ? verdict(row, figure.median, wanted)
          : "",
      ]);
    });
  }
  return align(lines, new Set([0, 5]));
}

function verdict({ unit }: BenchRow, actual: number, wanted: number): string {
  return unit === "events/s"
    ? `${mark(actual >= wanted)} ≥ ${formatFigure(unit, wanted)} here`
    : `${mark(actual <= wanted)} ≤ ${formatFigure(unit, wanted)} here`;
}

function mark(reached: boolean): string {
  return reached ? "reached" : "missed ";
}

function tenths(value: number | undefined): string {
  return value === undefined ? "" : value.toFixed(1);
}

/** Columns two spaces apart; numbers line up on the right. */
function align(lines: readonly (readonly string[])[], textColumns: ReadonlySet<number>): string {
  const widths = lines[0].map((_, column) =>
    Math.max(...lines.map((cells) => cells[column].length))
  );
  return lines.map((cells) =>
    cells.map((cell, column) =>
      textColumns.has(column) ? cell.padEnd(widths[column]) : cell.padStart(widths[column])
    ).join("  ").trimEnd()
  ).join("\n");
}
