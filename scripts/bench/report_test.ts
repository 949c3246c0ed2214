import assert from "node:assert/strict";
import { test } from "node:test";
import { formatRun } from "./report.ts";
import type { BenchRun } from "./results.ts";
import { BUN_RUN, DENO_RUN } from "./testdata/sample_runs.ts";

test("formatRun() shows every figure with its spread, each peer with its ratio, and the targets", () => {
  const [race] = formatRun(DENO_RUN).split("\n\n");
  assert.equal(
    race,
    [
      "workload        who                   figure      ±  p50 µs  p99 µs  B/event    ratio  target",
      "append          batpak             200,000/s  3.2 %     4.0    20.0    273.1           reached ≥ 200,000/s here",
      "                node:sqlite         25,000/s  1.0 %                             8.0 ×  reached ≥ 6 ×",
      "                deno-kv              2,000/s   20 %                             100 ×",
      "append-durable  batpak               9,000/s  1.0 %   100.0   200.0    273.0",
      "                raw-fdatasync       12,000/s  1.0 %                            0.75 ×  missed  ≥ 0.9 ×",
      "                node:sqlite          3,000/s  1.0 %                             3.0 ×  reached ≥ 1.3 ×",
      "open-index      batpak         not available                                           the journal was opened from frames, not from index",
      "open-frames     batpak                400 ms  1.0 %",
      "                node:sqlite           0.4 ms  1.0 %                           0.001 ×",
      "verify          batpak             700,000/s  1.0 %                                    reached ≥ 400,000/s here",
      "                node:sqlite        500,000/s  1.0 %                            1.40 ×",
      "                deno-kv               absent                                           it has no check of itself",
      "memory-1000     batpak            90 B/event",
    ].join("\n"),
  );
});

test("formatRun() shows how cost grows, with the targets of the size they are meant for", () => {
  const [, growth] = formatRun(DENO_RUN).split("\n\n");
  assert.equal(
    growth,
    [
      "workload           events      figure      ±  exponent  target",
      "append             62,500   200,000/s  1.0 %",
      "                  250,000   200,000/s  1.0 %",
      "                1,000,000   210,000/s  1.0 %      0.98",
      "append-durable        500     9,000/s  1.0 %",
      "                    8,000     9,000/s  1.0 %      1.00",
      "open-frames        62,500      100 ms  1.0 %",
      "                1,000,000    2,600 ms  1.0 %      1.18  missed  ≤ 2,500 ms here",
      "memory-1000        62,500  95 B/event",
      "                1,000,000  80 B/event             0.94  reached ≤ 110 B/event here",
    ].join("\n"),
  );
});

test("formatRun() says who was missing, and why", () => {
  assert.match(formatRun(DENO_RUN), /\n\nWithout lmdb: not installed$/);
  assert.doesNotMatch(formatRun(BUN_RUN), /Without/);
});

test("formatRun() knows the target of each runtime", () => {
  const rows: BenchRun["rows"] = [{
    workload: "replay",
    unit: "events/s",
    events: 1,
    batpak: { median: 1_200_000, spread: 0, samples: [1_200_000] },
    peers: [],
    absent: [],
    growth: [],
  }];
  assert.match(formatRun({ ...DENO_RUN, rows }), /reached ≥ 1,000,000\/s/);
  assert.match(formatRun({ ...BUN_RUN, rows }), /missed {2}≥ 1,500,000\/s/);
});
