import assert from "node:assert/strict";
import { test } from "node:test";
import { formatSection, updateReadme } from "./markdown.ts";
import type { BenchRun } from "./results.ts";
import { BUN_RUN, DENO_RUN } from "./testdata/sample_runs.ts";

function tableBelow(section: string, heading: string): string {
  const rest = section.slice(section.indexOf(heading) + heading.length).trimStart();
  return rest.slice(0, rest.indexOf("\n\n"));
}

/** The whole line that begins so. */
function lineThatBegins(section: string, start: string): string {
  return section.split("\n").find((line) => line.startsWith(start))!;
}

/** Leaves out what only makes columns line up. */
function squeeze(text: string): string {
  return text.replace(/ +/g, " ").replace(/-{3,}/g, "---").replace(/-+:/g, "--:");
}

test("formatSection() has a table for each runtime, each peer with its ratio and its figure", () => {
  const section = formatSection([DENO_RUN, BUN_RUN]);
  assert.equal(
    squeeze(tableBelow(section, "**Deno 2.0.0**")),
    [
      "| Workload                  |        batpak |     ± |      node:sqlite |       Deno KV |   at 1,000,000 | exponent |",
      "| ------------------------- | ------------: | ----: | ---------------: | ------------: | -------------: | -------: |",
      "| one event, written        |     200,000/s | 3.2 % | 8.0 × (25,000/s) | 100 × (2,000/s) |    210,000/s |     0.98 |",
      "| one event, durable (2,000) |       9,000/s | 1.0 % |  3.0 × (3,000/s) |               | 9,000/s (8,000) |     1.00 |",
      "| open from the index file  | not available |       |                  |               |                |          |",
      "| open from frames          |        400 ms | 1.0 % | 0.001 × (0.4 ms) |               |       2,600 ms |     1.18 |",
      "| verify everything         |     700,000/s | 1.0 % | 1.40 × (500,000/s) |       cannot |                |          |",
      "| memory of the index, 1,000 entities | 90 B/event | | | | 80 B/event | 0.94 |",
    ].map(squeeze).join("\n"),
  );
  assert.equal(
    squeeze(tableBelow(section, "**Bun 1.0.0**")),
    [
      "| Workload | batpak | ± | node:sqlite | at 1,000,000 | exponent |",
      "| --- | --: | --: | --: | --: | --: |",
      "| one event, written | 250,000/s | 1.0 % | 5.0 × (50,000/s) | | |",
    ].map(squeeze).join("\n"),
  );
});

test("formatSection() shows delivery in a table of its own, with the times of single calls", () => {
  const figure = (median: number) => ({ median, spread: 0.01, samples: [median, median] });
  const rest = { peers: [], absent: [], growth: [] };
  const rows: BenchRun["rows"] = [
    ...BUN_RUN.rows,
    {
      ...rest,
      workload: "group-commit-16",
      unit: "events/s",
      events: 1000,
      batpak: figure(20_000),
      p50us: 700,
      p99us: 1500,
      peers: [
        { name: "raw-fdatasync", figure: figure(50_000), ratio: 0.4 },
        { name: "node:sqlite", figure: figure(10_000), ratio: 2 },
      ],
    },
    {
      ...rest,
      workload: "cursor-realm-256-saved",
      unit: "events/s",
      events: 1000,
      batpak: figure(160_000),
      exponent: 1.02,
    },
    {
      ...rest,
      workload: "wake",
      unit: "us",
      events: 100,
      batpak: figure(40),
      p50us: 40,
      p99us: 95,
    },
  ];
  const section = formatSection([{ ...BUN_RUN, rows }]);
  assert.equal(
    squeeze(tableBelow(section, lineThatBegins(section, "| Delivery"))),
    [
      "| ------------------------------ | --------: | ----: | -----: | -----: | --------------: | -------: |",
      "| 16 durable clients | 20,000/s | 1.0 % | 700 | 1,500 | 2.0 × (10,000/s) | |",
      "| own realm, 256, checkpoint each | 160,000/s | 1.0 % | | | | 1.02 |",
      "| append to handler, this realm | 40 µs | 1.0 % | 40 | 95 | | |",
    ].map(squeeze).join("\n"),
  );
  const words = section.replaceAll("\n", " ");
  assert.ok(
    words.includes('as many to a sync: 50,000/s; "16 durable clients" do 0.40 of it.'),
  );
  assert.ok(words.includes("handlers of the writer are woken"));
  assert.ok(!formatSection([BUN_RUN]).includes("Delivery"));
});

test("formatSection() says what the tables leave out: the bare loop, the log, who was missing and why", () => {
  const section = formatSection([DENO_RUN, BUN_RUN]);
  for (
    const line of [
      "- A bare loop of write and fdatasync does 12,000/s: a durable append does 0.75 of that.",
      "- Such an event takes 273 bytes in the log.",
      '- No "open from the index file": the journal was opened from frames, not from index.',
      "- Without lmdb: not installed.",
      "Deno KV cannot check themselves.",
    ]
  ) assert.ok(squeeze(section.replaceAll("\n", " ")).includes(line), line);
  assert.ok(!section.includes("quick run"));
  assert.match(formatSection([{ ...BUN_RUN, quick: true }]), /\*\*A quick run/);
});

test("updateReadme() replaces what stands between the markers, and only that", () => {
  const readme = "before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n";
  const once = updateReadme(readme, [BUN_RUN]);
  assert.ok(once.startsWith("before\n<!-- bench:begin -->\n\n<!-- Made by"));
  assert.ok(once.endsWith("-->\n\n<!-- bench:end -->\nafter\n"));
  assert.ok(!once.includes("old"));
  assert.equal(updateReadme(once, [BUN_RUN]), once);
  for (const damaged of ["", "<!-- bench:end --><!-- bench:begin -->", readme + readme]) {
    assert.throws(() => updateReadme(damaged, [BUN_RUN]), /Cannot find where to put the figures/);
  }
});
