// Spec simulation 3.8 to 3.10, 3.15 and 4.2: every cell of the recovery matrix for one life, or for more:
//
//   BATPAK_SEED=42 BATPAK_MATRIX_SEEDS=100 deno task test sim/recovery_matrix_test.ts
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { OracleViolation } from "./oracle.ts";
import {
  cellOf,
  type CellRun,
  CELLS,
  HonestLives,
  runCell,
  VacuousRunError,
} from "./recovery_matrix.ts";

const SEED = Number(process.env.BATPAK_SEED ?? 1);
const SEED_COUNT = Number(process.env.BATPAK_MATRIX_SEEDS ?? 1);
const STEPS = 64;

/** Whether what was interrupted is there: after a power cut that takes all it may, and after a kill. */
const FATES: Readonly<Record<string, readonly [durable: boolean, processKill: boolean]>> = {
  "append: written": [false, true],
  "durable append: written": [false, true],
  "durable append: synced": [true, true],
  "batch: written": [false, true],
  "durable batch: written": [false, true],
  // The caller was never told, and all of it is there.
  "durable batch: synced, not told": [true, true],
  "roll: old segment cut": [false, false],
  "roll: footer written": [false, false],
  "roll: footer synced": [false, false],
  "roll: new segment created": [false, false],
  "roll: header written": [false, false],
  "roll: header synced": [false, false],
  "roll: new segment named": [false, false],
  "roll: name synced": [false, false],
  "roll: first group written": [false, true],
  "fence: begun": [false, false],
  "fence: staged": [false, false],
  "fence: commit written": [false, true],
  "fence: commit synced": [true, true],
  "cancelled fence: cancel written": [false, false],
  "compaction: commit synced": [true, true],
  "prune: recorded": [false, true],
  "prune: record synced": [true, true],
  "prune: a segment removed": [true, true],
  "checkpoint: written": [false, false],
  "checkpoint: named": [false, true],
  "checkpoint: name synced": [true, true],
  "close: recorded": [false, true],
  "close: cut": [true, true],
  "close: synced": [true, true],
  "close: index named": [true, true],
  "close: index name synced": [true, true],
};

const runs = new Map<string, CellRun>();
const lives = new HonestLives();

for (let seed = SEED; seed < SEED + SEED_COUNT; seed++) {
  for (const cell of CELLS) {
    test(`a journal recovers from "${cell.name}" (seed ${seed})`, () => {
      const run = runCell(cell, seed, STEPS, lives);
      runs.set(cell.name, run);
      const { mode } = cell;
      // It was acknowledged, and it could have been lost.
      assert.ok(run.acknowledged > 0 && run.durable > 1);
      assert.ok(run.submitted >= run.acknowledged);
      const mayLose = mode.type === "lying" || mode.type === "namespace";
      if (mayLose || mode.type === "tornPublish") assert.ok(run.faults > 0);
      else assert.equal(run.faults, 0);
      if (!mayLose) {
        assert.equal(run.lost, 0);
        assert.equal(run.outcome, "committedPrefix");
        const policies = run.images.map(({ policy }) => policy);
        assert.deepEqual(policies, ["durable", "processKill", "reordered"]);
      }
      // Only a lie about bytes may make a journal refuse to open; lost names never do.
      if (run.outcome === "refused") assert.equal(mode.type, "lying");
      const fate = FATES[cell.name];
      if (fate === undefined) return;
      const [durable, processKill, other] = run.images.map(({ isThere }) => isThere);
      assert.deepEqual([durable, processKill], fate);
      // Whatever else a crash leaves lies between the two.
      if (fate[0] === fate[1]) assert.equal(other, fate[0]);
    });
  }
}

test("the matrix has every boundary of the specification, and no two cells of one name", () => {
  const names = CELLS.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  for (const name of Object.keys(FATES)) assert.ok(names.includes(name), name);
  const modes = CELLS.map(({ mode }) => mode.type);
  const count = (type: string) => modes.filter((mode) => mode === type).length;
  assert.deepEqual(
    ["honest", "boundary", "tornPublish", "lying", "namespace"].map(count),
    [1, 40, 7, 4, 4],
  );
});

test("each boundary is one of several places, and events were acknowledged before it", () => {
  // A boundary whose first occurrence is always taken meets a journal with nothing in it.
  const boundaries = CELLS.filter(({ mode }) => mode.type === "boundary");
  const positions = new Set<number>();
  for (const { name } of boundaries) {
    const run = runs.get(name)!;
    assert.ok(run.places >= 2, `${name}: ${run.places}`);
    positions.add(run.position);
  }
  assert.ok(positions.size > boundaries.length / 2);
});

test("a seed repeats a run, digest and all, and another seed is another run", () => {
  const names = [
    "honest disk",
    "durable batch: written",
    "compaction: committed",
    "torn publish at a close: cut short",
    "lying disk, 1 in 2, one segment",
    "2nd directory sync dropped",
  ];
  const run = (seed: number) => names.map((name) => runCell(cellOf(name)!, seed, STEPS));
  const first = run(SEED);
  const other = run(SEED + 1000);
  assert.deepEqual(run(SEED), first);
  for (const [i, { digest }] of first.entries()) assert.notEqual(other[i].digest, digest);
});

test("D-16 what a lying disk has left is called by what it is: nothing of it is no refusal", () => {
  const outcomesOf = (name: string, steps: number, seeds: readonly number[]): string[] =>
    seeds.map((seed) => {
      const { outcome, lost } = runCell(cellOf(name)!, seed, steps);
      return `${outcome}, ${lost > 0 ? "something" : "nothing"} lost`;
    });
  // One file, of which the end is gone, or all that there was to lose of it, or nothing.
  assert.deepEqual(outcomesOf("lying disk, 1 in 2, one segment", 8, [5, 3, 1]), [
    "committedPrefix, something lost",
    "rolledBack, something lost",
    "committedPrefix, nothing lost",
  ]);
  // Several files: without what one of them had, those behind it cannot be believed.
  assert.deepEqual(outcomesOf("lying disk, 1 in 2", 40, [1, 6, 25]), [
    "refused, something lost",
    "committedPrefix, nothing lost",
    "committedPrefix, something lost",
  ]);
});

test("names that a disk has lost cost what came after them, in some lives", () => {
  let lost = 0;
  for (let seed = 1; seed <= 12; seed++) {
    lost += runCell(cellOf("all directory syncs dropped")!, seed, 40).lost;
  }
  assert.ok(lost > 0);
});

test("D-11 a run that has nothing to lose, never comes to its boundary, or meets no fault does not count", () => {
  const reasonOf = (name: string, steps: number): string => {
    try {
      runCell(cellOf(name)!, 1, steps);
    } catch (error) {
      assert.ok(error instanceof VacuousRunError, String(error));
      return error.reason;
    }
    return "none";
  };
  // A life of four operations opens, appends twice and syncs.
  assert.equal(reasonOf("honest disk", 4), "none");
  assert.equal(reasonOf("roll: new segment created", 4), "boundary");
  assert.equal(reasonOf("open: synced", 4), "history");
  assert.equal(reasonOf("3rd directory sync dropped", 4), "fault");
});

test("a violation says how to run its cell again", () => {
  const broken = {
    name: "honest disk",
    mode: {
      type: "boundary" as const,
      boundary: {
        within: ["append" as const],
        find: () => {
          throw new OracleViolation("1 was invented");
        },
      },
    },
  };
  assert.throws(() => runCell(broken, 5, 30), {
    name: "OracleViolation",
    message: '1 was invented\nfound again by runCell(cellOf("honest disk")!, 5, 30)',
  });
});
