/**
 * `deno task explore`: crashes small scenarios at each of their steps, in every way a disk allows, and says
 * what came of it.
 *
 * ```sh
 * deno task explore                        # all scenarios, up to 64 images of each step and policy
 * deno task explore fork --limit 4096      # one of them, nearly everything
 * deno task explore --seed 7 --recover 1   # other images, and each recovery crashed, too
 * deno task explore --exhaustive           # every image of all that are small enough; or it fails
 * deno task explore fork --only '[…]'      # one image again: what a failure has printed
 * ```
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import {
  COUNTABLE_POLICIES,
  type CrashPlace,
  explore,
  type ExploreOptions,
  type ExploreReport,
  RECOVERY_POLICIES,
} from "../sim/crash_explorer.ts";
import { OracleViolation } from "../sim/oracle.ts";
import { SCENARIOS } from "../sim/scenarios.ts";

interface Settings extends ExploreOptions {
  readonly seed: number;
}

function main(args: string[]): void {
  const { values, positionals } = parseArgs({
    args,
    options: {
      seed: { type: "string" },
      limit: { type: "string", default: "64" },
      recover: { type: "string", default: "16" },
      depth: { type: "string", default: "3" },
      exhaustive: { type: "boolean", default: false },
      only: { type: "string" },
    },
    allowPositionals: true,
  });
  const settings: Settings = {
    seed: Number(values.seed ?? Math.floor(performance.timeOrigin) % 0x7fffffff),
    limit: Number(values.limit),
    recoverEvery: Number(values.recover),
    depth: Number(values.depth),
    ...(values.exhaustive && {
      isExhaustive: true,
      policies: COUNTABLE_POLICIES,
      recoverAll: RECOVERY_POLICIES,
      recoverPolicies: RECOVERY_POLICIES,
    }),
    ...(values.only !== undefined && { only: JSON.parse(values.only) as CrashPlace[] }),
  };
  console.log(`seed ${settings.seed}`);
  const chosen = SCENARIOS.filter(({ name, isLarge = false }) =>
    positionals.length === 0 ? !(values.exhaustive && isLarge) : positionals.includes(name)
  );
  if (chosen.length === 0) {
    throw new Error(`Cannot explore: there is no scenario ${positionals.join(", ")}`);
  }
  let total = 0;
  const sampled: string[] = [];
  const startMs = performance.now();
  for (const scenario of chosen) {
    const report = run(scenario.name, () => explore(scenario, settings), settings);
    total += report.judged;
    sampled.push(...print(report));
  }
  const seconds = (performance.now() - startMs) / 1000;
  console.log(
    `${total} images in ${seconds.toFixed(1)} s, ${Math.round(total / seconds * 60)} a minute`,
  );
  if (values.exhaustive && sampled.length > 0) {
    throw new Error(`Cannot say that this was everything: ${sampled.join("; ")}`);
  }
}

/** Explores; a failure says how to see it again. */
function run(name: string, call: () => ExploreReport, { seed }: Settings): ExploreReport {
  try {
    return call();
  } catch (error) {
    const only = error instanceof OracleViolation && /"only":(\[.*\])\}\)$/m.exec(error.message);
    if (only) {
      console.error(`deno task explore '${name}' --seed ${seed} --only '${only[1]}'`);
    }
    throw error;
  }
}

/** Prints what came of a scenario, and returns of what it is not everything. */
function print({ scenario, steps, judged, policies, generations }: ExploreReport): string[] {
  console.log(`${scenario}: ${steps} steps, ${judged} images judged`);
  const sampled: string[] = [];
  for (const [policy, count] of policies) {
    const { ways, judged, recoveries, recoverySteps, refusals } = count;
    // A replay of one image is about one policy.
    if (count.steps === 0 && judged === 0) continue;
    const isAll = count.enumerated === count.steps;
    if (!isAll || count.recoveryEnumerated < recoverySteps) sampled.push(`${scenario}, ${policy}`);
    console.log(
      `  ${policy}: ${count.steps} steps, ${
        isAll ? "all" : count.enumerated
      } of them enumerated, ` +
        `${ways} ways, ${judged} judged`,
    );
    if (recoverySteps > 0) {
      const isAll = count.recoveryEnumerated === recoverySteps;
      console.log(
        `    recoveries: ${recoverySteps} steps, ` +
          `${isAll ? "all" : count.recoveryEnumerated} of them enumerated, ${recoveries} judged`,
      );
    }
    for (const [reason, count] of refusals) console.log(`    ${count} refused: ${reason}`);
  }
  for (const [generation, count] of generations) console.log(`  ${count} found ${generation}`);
  return sampled;
}

main(process.argv.slice(2));
