/**
 * The facts in a trace: what an oracle is to be told of a run up to some step.
 *
 * @module
 */

import { FACT_MARK } from "./driver.ts";
import { CLAIMS, type OracleFact } from "./oracle.ts";
import type { SimStep } from "./sim_disk.ts";
import { describeStep } from "./sim_trace.ts";

/** The facts of some steps. */
export function factsOf(trace: readonly SimStep[]): OracleFact[] {
  const facts: OracleFact[] = [];
  for (const step of trace) {
    // Nobody is told that the system has forgotten what it was given.
    if (step.type === "sync" && step.outcome === "reverted") facts.push({ type: "dropped" });
    const fact = factOf(step);
    if (fact !== undefined) facts.push(fact);
  }
  return facts;
}

/** Whether a step claims something: that holds for the step before it. */
export function isClaim(step: SimStep): boolean {
  const fact = factOf(step);
  return fact !== undefined && CLAIMS.has(fact.type);
}

/** A step as a line; of a fact only what it is. */
export function lineOfStep(step: SimStep): string {
  const fact = factOf(step);
  return fact === undefined ? describeStep(step) : `(${fact.type})`;
}

function factOf(step: SimStep): OracleFact | undefined {
  return step.type === "mark" && step.label === FACT_MARK ? step.data as OracleFact : undefined;
}
