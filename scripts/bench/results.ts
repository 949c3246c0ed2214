/**
 * Results, as the JSON has them: everything that was measured, and what one has to know to read it.
 * Nothing in it says where on which machine it was.
 *
 * @module
 */
import { cpus, totalmem } from "node:os";
import process from "node:process";
import config from "../../deno.json" with { type: "json" };
import type { Figure } from "./measure.ts";
import type { RuntimeName } from "./options.ts";
import type { MissingPeer } from "./peer.ts";
import type { Peers } from "./peers.ts";

/** What a file of results holds. */
export interface BenchFile {
  /** Of this layout. */
  readonly version: 1;
  /** One for each runtime. */
  readonly runs: readonly BenchRun[];
}

/** All rows of one runtime. */
export interface BenchRun {
  readonly runtime: RuntimeName;
  readonly runtimeVersion: string;
  readonly batpakVersion: string;
  /** The day, in UTC. */
  readonly date: string;
  readonly machine: Machine;
  /** Made with `--quick`: only to see that it works. */
  readonly quick: boolean;
  /** Events of the smallest size; the others are 4 and 16 times as large. */
  readonly events: number;
  /** Who was there, and how they were set up. */
  readonly peers: readonly PeerFacts[];
  /** Who was not. */
  readonly missing: readonly MissingPeer[];
  readonly rows: readonly BenchRow[];
}

/** What matters of the machine. */
export interface Machine {
  readonly system: string;
  readonly architecture: string;
  readonly processor: string;
  readonly cores: number;
  readonly memoryGiB: number;
}

/** A peer that was there. */
export interface PeerFacts {
  readonly name: string;
  readonly version: string;
  /** How it is set up when what it returns from has to survive the program, or a power cut. */
  readonly settings: { readonly written: string; readonly durable: string };
}

/** What figures are in: rates are better when high, the others when low. */
export type Unit = "events/s" | "ms" | "us" | "bytes/event";

/** One row. */
export interface BenchRow {
  readonly workload: string;
  readonly unit: Unit;
  /** Events that were counted in the race. */
  readonly events: number;
  /** Why there are no figures. */
  readonly unavailable?: string;
  /** The journal in the race; what has no time has no race, and is that of the same size. */
  readonly batpak?: Figure;
  /** Half of the calls take at most this; a call of a batch is a batch. */
  readonly p50us?: number;
  /** 99 of 100 calls take at most this. */
  readonly p99us?: number;
  /** What an event takes in the log. */
  readonly bytesPerEvent?: number;
  /** The others in the race. */
  readonly peers: readonly PeerResult[];
  /** Peers that are there, and cannot do this. */
  readonly absent: readonly MissingPeer[];
  /** The journal at each size. */
  readonly growth: readonly GrowthPoint[];
  /** How the cost of everything grows with its size: 1 is linear. */
  readonly exponent?: number;
}

/** A peer in the race. */
export interface PeerResult {
  readonly name: string;
  readonly figure: Figure;
  /** How many times as good the journal is. */
  readonly ratio: number;
}

/** The journal at one size. */
export interface GrowthPoint {
  readonly events: number;
  readonly figure: Figure;
}

/** Puts a run together. */
export function makeRun(
  run: Pick<BenchRun, "runtime" | "quick" | "events" | "rows">,
  { present, missing }: Peers,
): BenchRun {
  const [cpu] = cpus();
  return {
    runtime: run.runtime,
    runtimeVersion: process.versions[run.runtime]!,
    batpakVersion: config.version,
    date: new Date().toISOString().slice(0, 10),
    machine: {
      system: process.platform,
      architecture: process.arch,
      processor: cpu?.model.trim() ?? "unknown",
      cores: cpus().length,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
    },
    quick: run.quick,
    events: run.events,
    peers: present.map(({ name, version, settings }) => ({ name, version, settings })),
    missing,
    rows: run.rows,
  };
}

/** How many times as good one figure is as another: as fast, as quick or as small. */
export function ratioOf(unit: Unit, ours: number, theirs: number): number {
  const ratio = unit === "events/s" ? ours / theirs : theirs / ours;
  return Number(ratio.toPrecision(3));
}

/** What everything costs together, in seconds, milliseconds or bytes. */
export function costOf(unit: Unit, { events, figure }: GrowthPoint): number {
  switch (unit) {
    case "events/s":
      return events / figure.median;
    case "ms":
    case "us":
      return figure.median;
    case "bytes/event":
      return events * figure.median;
  }
}

/** The peer that is hardest to beat; the bare loop is none, because it keeps no events. */
export function bestPeer({ peers }: BenchRow): PeerResult | undefined {
  let best: PeerResult | undefined;
  for (const peer of peers) {
    if (peer.name !== RAW_NAME && (best === undefined || peer.ratio < best.ratio)) best = peer;
  }
  return best;
}

/** The bare loop of write and fdatasync. */
export const RAW_NAME = "raw-fdatasync";

/**
 * Reads the text of a file of results.
 *
 * @throws {Error} when it is something else.
 */
export function parseResults(text: string): BenchFile {
  const file = JSON.parse(text) as Partial<BenchFile>;
  if (file.version !== 1 || !Array.isArray(file.runs)) {
    throw new Error('Not results of this benchmark: make them with "deno task bench --json FILE"');
  }
  return file as BenchFile;
}

/** The text of a file of results, short enough to be read: samples stay on one line. */
export function formatResults(runs: readonly BenchRun[]): string {
  const text = JSON.stringify({ version: 1, runs } satisfies BenchFile, undefined, 2);
  const onOneLine = text.replace(
    /\[\s+(-?[\d.e+]+(?:,\s+-?[\d.e+]+)*)\s+\]/g,
    (_, list) => `[${list.replace(/\s+/g, " ")}]`,
  );
  return `${onOneLine}\n`;
}

/** A figure with its unit, as tables and the chart say it. */
export function formatFigure(unit: Unit, value: number): string {
  switch (unit) {
    case "events/s":
      return `${formatWhole(value)}/s`;
    case "ms":
      return value >= 100 ? `${formatWhole(value)} ms` : `${Number(value.toPrecision(2))} ms`;
    case "us":
      return `${value >= 100 ? formatWhole(value) : Number(value.toPrecision(2))} µs`;
    case "bytes/event":
      return `${formatWhole(value)} B/event`;
  }
}

/** How many times as good: no more digits than mean something, and enough to see who is ahead. */
export function formatRatio(ratio: number): string {
  if (ratio < 0.1) return `${Number(ratio.toPrecision(1))} ×`;
  return `${ratio.toFixed(ratio < 2 ? 2 : ratio < 10 ? 1 : 0)} ×`;
}

/** How far half of the samples lie from the median. */
export function formatSpread({ spread, samples }: Figure): string {
  return samples.length < 2 ? "" : `${(100 * spread).toFixed(spread < 0.1 ? 1 : 0)} %`;
}

/** How cost grows with size. */
export function formatExponent(exponent: number | undefined): string {
  return exponent === undefined ? "" : exponent.toFixed(2);
}

/** A whole number with its thousands apart. */
export function formatWhole(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}
