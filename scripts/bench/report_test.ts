import assert from "node:assert/strict";
import { test } from "node:test";
import { type BenchResult, formatTable, missingPeers } from "./report.ts";

const DURABLE: BenchResult = {
  workload: "append-durable",
  runtime: "bun",
  events: 3000,
  perSecond: 9000,
  p50us: 100.04,
  p99us: 200,
  bytesPerEvent: 273,
  peers: { "raw-fdatasync": 12_000, "node:sqlite": 3000 },
};

test("formatTable() shows each peer with its ratio, its target, and who is missing", () => {
  const missing = new Map([[
    "append-durable",
    missingPeers(DURABLE, [
      "raw-fdatasync",
      "node:sqlite",
      "bun:sqlite",
    ]),
  ]]);
  assert.equal(
    formatTable([DURABLE], missing),
    [
      "workload        who            events/s  p50 µs  p99 µs  B/event   ratio  target",
      "append-durable  batpak            9,000   100.0   200.0    273.0",
      "                raw-fdatasync    12,000                           0.75 ×  missed  ≥ 0.9 ×",
      "                node:sqlite       3,000                           3.00 ×  reached ≥ 1.3 ×",
      "                bun:sqlite      missing",
    ].join("\n"),
  );
});

test("formatTable() knows the target of each runtime", () => {
  const replay = { workload: "replay", events: 1, perSecond: 1_200_000, peers: {} };
  assert.match(formatTable([{ ...replay, runtime: "deno" }]), /reached ≥ 1,000,000\/s/);
  assert.match(formatTable([{ ...replay, runtime: "bun" }]), /missed {2}≥ 1,500,000\/s/);
});
