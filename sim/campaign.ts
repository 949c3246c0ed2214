/**
 * Many plans, one after the other: what they reached, what was refused, and the first that failed.
 *
 * @module
 */

import { runCrowd } from "./crowd.ts";
import { REQUIRED_MARKS } from "./marks.ts";
import { OracleViolation } from "./oracle.ts";
import { isLying, planOf, type SimPlan } from "./plan.ts";
import { PlanFailure, runPlan } from "./plan_run.ts";

/** A run that had nothing to lose proves nothing. */
class VacuousRun extends Error {
  override readonly name = "VacuousRun";
}

/** Runs plans and keeps count; see the top of the file. */
export class Campaign {
  /** Plans that were run. */
  runs = 0;
  /** Crowds that were run. */
  crowds = 0;
  /** Disks that were judged after a crash. */
  judged = 0;
  /** Calls of the disk that were struck by a fault. */
  faultsFired = 0;
  /** How many plans have reached each mark. */
  readonly marks = new Map<string, number>();
  /** Why stores were allowed not to open, and how often. */
  readonly refusals = new Map<string, number>();

  /**
   * Runs the plan of a seed.
   *
   * @throws {PlanFailure} when it fails.
   */
  run(seed: number): void {
    this.runPlan(planOf(seed));
  }

  /**
   * Runs a plan. Every twentieth runs twice, and has to do the same again to the last byte.
   *
   * @throws {PlanFailure} when it fails.
   */
  runPlan(plan: SimPlan): void {
    const { digest, marks, judged, events, faultsFired, refusals } = runPlan(plan);
    // All of it may have been pruned, or lost to a disk that lies.
    const isExcused = marks.has("prune: performed") || plan.lives.some(isLying) ||
      refusals.length > 0;
    if (plan.history > 0 && events === 0 && !isExcused) {
      const message = `seed ${plan.seed}: no crash had anything to lose`;
      throw new PlanFailure(message, plan, new VacuousRun());
    }
    if (this.runs % 20 === 0 && runPlan(plan).digest !== digest) {
      throw new PlanFailure(`seed ${plan.seed}: the second run is not the first`, plan, undefined);
    }
    this.runs++;
    this.judged += judged;
    this.faultsFired += faultsFired;
    for (const mark of marks) count(this.marks, mark);
    for (const refusal of refusals) count(this.refusals, refusal);
  }

  /**
   * Runs the crowd of a seed. Every tenth runs twice, and has to do the same again.
   *
   * @throws {OracleViolation} when it fails.
   */
  async runCrowd(seed: number): Promise<void> {
    const { digest, marks, judged, faultsFired } = await runCrowd(seed);
    if (this.crowds % 10 === 0 && (await runCrowd(seed)).digest !== digest) {
      throw new OracleViolation(`crowd ${seed}: the second run is not the first`);
    }
    this.crowds++;
    this.judged += judged;
    this.faultsFired += faultsFired;
    for (const mark of marks) count(this.marks, mark);
  }

  /** Marks that no plan has reached. */
  get missing(): readonly string[] {
    return REQUIRED_MARKS.filter((mark) => !this.marks.has(mark));
  }

  /** What came of it, in lines. */
  summary(): string[] {
    const { runs, crowds, judged, faultsFired } = this;
    const lines = [
      `${runs} plans, ${crowds} crowds, ${judged} crashes recovered and judged, ${faultsFired} faults`,
    ];
    lines.push(`${this.marks.size} marks reached; in the fewest plans:`);
    const rare = [...this.marks].sort((a, b) => a[1] - b[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 12);
    for (const [mark, plans] of rare) lines.push(`  ${plans} × ${mark}`);
    if (this.refusals.size > 0) lines.push("refused, where bytes were lost:");
    const refusals = [...this.refusals].sort((a, b) => b[1] - a[1]);
    for (const [reason, times] of refusals) lines.push(`  ${times} × ${reason}`);
    // Of a few plans nobody expects it.
    if (runs >= MANY) { for (const mark of this.missing) lines.push(`never reached: ${mark}`); }
    return lines;
  }
}

/** So many plans should reach everything there is. */
const MANY = 5000;

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}
