/**
 * Results, as data and as a table: each beside its peers, and beside what we set out to reach.
 *
 * @module
 */
import type { RuntimeName } from "./options.ts";

/** One row, as the JSON has it. Rates are events per second, medians of slices. */
export interface BenchResult {
  /** Which workload. */
  readonly workload: string;
  /** Where it ran. */
  readonly runtime: RuntimeName;
  /** Events that were counted. */
  readonly events: number;
  /** The journal's rate. */
  readonly perSecond: number;
  /** Half of the calls take at most this; a call of a batch is a batch. */
  readonly p50us?: number;
  /** 99 of 100 calls take at most this. */
  readonly p99us?: number;
  /** What an event takes in the log. */
  readonly bytesPerEvent?: number;
  /** The others' rates. Whoever is missing could not take part. */
  readonly peers: Readonly<Record<string, number>>;
}

/** What we set out to reach, of which only the ratios mean the same on every machine. */
interface Target {
  /** Events per second on two ordinary cores, if there is a figure: by runtime when they differ. */
  readonly perSecond?: number | Readonly<Record<RuntimeName, number>>;
  /** At least so many times as fast as a peer. */
  readonly ratios?: Readonly<Record<string, number>>;
}

const TARGETS: Readonly<Record<string, Target>> = {
  "append": { perSecond: 200_000, ratios: { "node:sqlite": 6 } },
  "append-batch-256": { perSecond: 300_000, ratios: { "node:sqlite": 3 } },
  "append-durable": { ratios: { "raw-fdatasync": 0.9, "node:sqlite": 1.3, "bun:sqlite": 1.2 } },
  "get": { perSecond: 1e6 / 3 },
  "replay": { perSecond: { deno: 1_000_000, bun: 1_500_000 } },
  "scan": { perSecond: 4_000_000 },
  "open-frames": { perSecond: 1_000_000 / 2.5 },
  "verify": { perSecond: 400_000 },
};

const HEADINGS = ["workload", "who", "events/s", "p50 µs", "p99 µs", "B/event", "ratio", "target"];
/** Columns of text; the others hold numbers, which line up on the right. */
const TEXT_COLUMNS: ReadonlySet<number> = new Set([0, 1, 7]);

/**
 * The table of one runtime.
 *
 * @param missing peers that could not take part, by workload.
 */
export function formatTable(
  results: readonly BenchResult[],
  missing: ReadonlyMap<string, readonly string[]> = new Map(),
): string {
  const lines = [HEADINGS];
  for (const result of results) {
    const { workload, perSecond, p50us, p99us, bytesPerEvent, peers } = result;
    const target = absoluteTarget(result);
    lines.push([
      workload,
      "batpak",
      whole(perSecond),
      tenths(p50us),
      tenths(p99us),
      tenths(bytesPerEvent),
      "",
      target === undefined ? "" : verdict(perSecond, target, `${whole(target)}/s here`),
    ]);
    for (const [name, peerRate] of Object.entries(peers)) {
      const ratio = perSecond / peerRate;
      const wanted = TARGETS[workload]?.ratios?.[name];
      lines.push([
        "",
        name,
        whole(peerRate),
        "",
        "",
        "",
        formatRatio(ratio),
        wanted === undefined ? "" : verdict(ratio, wanted, `${wanted} ×`),
      ]);
    }
    for (const name of missing.get(workload) ?? []) {
      lines.push(["", name, "missing", "", "", "", "", ""]);
    }
  }
  return align(lines);
}

/** Peers that should have taken part in a row and did not. */
export function missingPeers(result: BenchResult, expected: readonly string[]): string[] {
  return expected.filter((name) => !(name in result.peers));
}

function absoluteTarget({ workload, runtime }: BenchResult): number | undefined {
  const target = TARGETS[workload]?.perSecond;
  return typeof target === "object" ? target[runtime] : target;
}

function verdict(actual: number, wanted: number, text: string): string {
  return `${actual >= wanted ? "reached" : "missed "} ≥ ${text}`;
}

function formatRatio(ratio: number): string {
  return `${
    ratio >= 10 ? ratio.toFixed(0) : ratio >= 0.1 ? ratio.toFixed(2) : ratio.toPrecision(1)
  } ×`;
}

function whole(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function tenths(value: number | undefined): string {
  return value === undefined ? "" : value.toFixed(1);
}

/** Columns two spaces apart. */
function align(lines: readonly (readonly string[])[]): string {
  const widths = lines[0].map((_, column) =>
    Math.max(...lines.map((cells) => cells[column].length))
  );
  return lines.map((cells) =>
    cells.map((cell, column) =>
      TEXT_COLUMNS.has(column) ? cell.padEnd(widths[column]) : cell.padStart(widths[column])
    ).join("  ").trimEnd()
  ).join("\n");
}
