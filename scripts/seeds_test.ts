import assert from "node:assert/strict";
import { test } from "node:test";
import { seedLines } from "./seeds.ts";

test("seedLines() finds what a test says about its chance, once, and nothing else", () => {
  const output = [
    "a test of seeds ...",
    "------- output -------",
    "model_test: BATPAK_SEED=42 BATPAK_MODEL_RUNS=120",
    "----- output end -----",
    "  model_test: BATPAK_SEED=42 BATPAK_MODEL_RUNS=120",
    "processes_test: BATPAK_SEED=7, round 3",
    "set BATPAK_SEED= to something",
    "seed: 5",
  ].join("\n");
  assert.deepEqual(seedLines(output), [
    "model_test: BATPAK_SEED=42 BATPAK_MODEL_RUNS=120",
    "processes_test: BATPAK_SEED=7, round 3",
  ]);
  assert.deepEqual(seedLines(""), []);
});
