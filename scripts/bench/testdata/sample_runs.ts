/**
 * Results with round figures, in which every kind of row and peer occurs.
 *
 * @module
 */
import type { Figure } from "../measure.ts";
import type { BenchRun } from "../results.ts";

function figure(median: number, spread = 0.01): Figure {
  return { median, spread, samples: [median, median, median] };
}

const MACHINE = {
  system: "linux",
  architecture: "x64",
  processor: "A processor <of> sorts & kinds",
  cores: 2,
  memoryGiB: 8,
};

const SQLITE = {
  name: "node:sqlite",
  version: "SQLite 3.0",
  settings: { written: "WAL, NORMAL", durable: "WAL, FULL" },
};

/** In Deno, with SQLite and Deno KV, and without LMDB. */
export const DENO_RUN: BenchRun = {
  runtime: "deno",
  runtimeVersion: "2.0.0",
  batpakVersion: "0.0.1",
  date: "2026-01-02",
  machine: MACHINE,
  quick: false,
  events: 62_500,
  peers: [SQLITE, {
    name: "deno-kv",
    version: "Deno 2.0.0",
    settings: { written: "always synced", durable: "always synced" },
  }],
  missing: [{ name: "lmdb", reason: "not installed" }],
  rows: [
    {
      workload: "append",
      unit: "events/s",
      events: 250_000,
      batpak: figure(200_000, 0.032),
      p50us: 4,
      p99us: 20,
      bytesPerEvent: 273.1,
      peers: [
        { name: "node:sqlite", figure: figure(25_000), ratio: 8 },
        { name: "deno-kv", figure: figure(2_000, 0.2), ratio: 100 },
      ],
      absent: [],
      growth: [
        { events: 62_500, figure: figure(200_000) },
        { events: 250_000, figure: figure(200_000) },
        { events: 1_000_000, figure: figure(210_000) },
      ],
      exponent: 0.98,
    },
    {
      workload: "append-durable",
      unit: "events/s",
      events: 2_000,
      batpak: figure(9_000),
      p50us: 100.04,
      p99us: 200,
      bytesPerEvent: 273,
      peers: [
        { name: "raw-fdatasync", figure: figure(12_000), ratio: 0.75 },
        { name: "node:sqlite", figure: figure(3_000), ratio: 3 },
      ],
      absent: [],
      growth: [{ events: 500, figure: figure(9_000) }, { events: 8_000, figure: figure(9_000) }],
      exponent: 1,
    },
    {
      workload: "open-index",
      unit: "ms",
      events: 250_000,
      unavailable: "the journal was opened from frames, not from index",
      peers: [],
      absent: [],
      growth: [],
    },
    {
      workload: "open-frames",
      unit: "ms",
      events: 250_000,
      batpak: figure(400),
      peers: [{ name: "node:sqlite", figure: figure(0.4), ratio: 0.001 }],
      absent: [],
      growth: [{ events: 62_500, figure: figure(100) }, {
        events: 1_000_000,
        figure: figure(2_600),
      }],
      exponent: 1.18,
    },
    {
      workload: "verify",
      unit: "events/s",
      events: 250_000,
      batpak: figure(700_000),
      peers: [{ name: "node:sqlite", figure: figure(500_000), ratio: 1.4 }],
      absent: [{ name: "deno-kv", reason: "it has no check of itself" }],
      growth: [],
    },
    {
      workload: "memory-1000",
      unit: "bytes/event",
      events: 250_000,
      batpak: { median: 90, spread: 0, samples: [90] },
      peers: [],
      absent: [],
      growth: [
        { events: 62_500, figure: { median: 95, spread: 0, samples: [95] } },
        { events: 1_000_000, figure: { median: 80, spread: 0, samples: [80] } },
      ],
      exponent: 0.94,
    },
  ],
};

/** In Bun, one row. */
export const BUN_RUN: BenchRun = {
  ...DENO_RUN,
  runtime: "bun",
  runtimeVersion: "1.0.0",
  peers: [SQLITE],
  missing: [],
  rows: [{
    workload: "append",
    unit: "events/s",
    events: 250_000,
    batpak: figure(250_000),
    peers: [{ name: "node:sqlite", figure: figure(50_000), ratio: 5 }],
    absent: [],
    growth: [],
  }],
};
