/**
 * `deno task explore`: crashes small scenarios at each of their steps, in every way a disk allows, and says
 * what came of it.
 *
 * ```sh
 * deno task explore                        # all scenarios, up to 64 images of each step and policy
 * deno task explore fork --limit 4096      # one of them, nearly everything
 * deno task explore --seed 7 --recover 1   # other images, and each recovery crashed, too
 * ```
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import type { CrashPolicy } from "../sim/crash_images.ts";
import { explore, EXPLORED_POLICIES } from "../sim/crash_explorer.ts";
import { SCENARIOS } from "../sim/scenarios.ts";

const MORE_POLICIES: readonly CrashPolicy[] = [...EXPLORED_POLICIES, "reordered", "garbage"];

function main(args: string[]): void {
  const { values, positionals } = parseArgs({
    args,
    options: {
      seed: { type: "string" },
      limit: { type: "string", default: "64" },
      recover: { type: "string", default: "16" },
    },
    allowPositionals: true,
  });
  const seed = Number(values.seed ?? Math.floor(performance.timeOrigin) % 0x7fffffff);
  console.log(`seed ${seed}`);
  let total = 0;
  const startMs = performance.now();
  for (const scenario of SCENARIOS) {
    if (positionals.length > 0 && !positionals.includes(scenario.name)) continue;
    const report = explore(scenario, {
      seed,
      limit: Number(values.limit),
      recoverEvery: Number(values.recover),
      policies: MORE_POLICIES,
    });
    total += report.judged;
    console.log(`${scenario.name}: ${report.steps} steps, ${report.judged} images judged`);
    for (const [policy, { images, judged, recoveries, refusals }] of report.policies) {
      console.log(`  ${policy}: ${images} images, ${judged} judged, ${recoveries} of recoveries`);
      for (const [reason, count] of refusals) console.log(`    ${count} refused: ${reason}`);
    }
  }
  if (total === 0) {
    throw new Error(`Cannot explore: there is no scenario ${positionals.join(", ")}`);
  }
  const seconds = (performance.now() - startMs) / 1000;
  console.log(
    `${total} images in ${seconds.toFixed(1)} s, ${Math.round(total / seconds)} a second`,
  );
}

main(process.argv.slice(2));
