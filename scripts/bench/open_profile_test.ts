import assert from "node:assert/strict";
import { test } from "node:test";
import { formatPhases } from "./open_profile.ts";

test("formatPhases() shows the median of every phase that the reports name, and what they leave", () => {
  const report = (elapsedUs: number, phaseReadFileUs: number, phaseTailUs: number) => ({
    path: "index",
    segments: 3,
    elapsedUs,
    phaseReadFileUs,
    phaseTailUs,
    repairs: [],
  });
  const reports = [
    report(10_000, 6_000, 1_000),
    report(90_000, 7_000, 500),
    report(9_000, 500, 1_500),
  ];
  assert.equal(
    formatPhases(reports),
    [
      "  read file                           6.00    60 %",
      "  tail                                1.00    10 %",
      "  not in any phase                    3.00    30 %",
      "  the whole                          10.00   100 %",
    ].join("\n"),
  );
});
