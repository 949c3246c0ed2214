/**
 * `deno task sim`: lives of a journal that a seed decides, on a disk that fails, crashes and lies; and
 * `deno task soak`, the same for as long as it is wanted.
 *
 * ```sh
 * deno task sim                     # 200 plans and 10 crowds, from a fresh seed
 * deno task sim --seed 114          # the plan and the crowd of this seed
 * deno task sim --seed 1 --count 5000
 * deno task sim --plan '{…}'        # a plan as it is
 * deno task soak --minutes 30       # fresh seeds until the time is up
 * ```
 *
 * A plan that fails is made smaller, and what is left is printed as a command that shows it again.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { Campaign } from "../sim/campaign.ts";
import { PlanFailure } from "../sim/plan_run.ts";
import { shrinkPlan } from "../sim/shrink.ts";

const PROGRESS_MS = 10_000;
/** A crowd for every so-manieth seed: it waits for real turns of the event loop. */
const CROWD_EVERY = 20;

async function main(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      seed: { type: "string" },
      count: { type: "string" },
      plan: { type: "string" },
      soak: { type: "boolean", default: false },
      minutes: { type: "string", default: "10" },
    },
  });
  const campaign = new Campaign();
  try {
    if (values.plan !== undefined) {
      campaign.runPlan(JSON.parse(values.plan));
    } else {
      const first = values.seed === undefined
        ? Date.now() % 0x7fffffff
        : numberOf("seed", values.seed);
      const count = values.soak
        ? Infinity
        : values.count === undefined
        ? values.seed === undefined ? 200 : 1
        : numberOf("count", values.count);
      const endMs = values.soak
        ? performance.now() + numberOf("minutes", values.minutes) * 60_000
        : Infinity;
      await runAll(campaign, { first, count, endMs });
    }
  } catch (error) {
    report(error);
    return 1;
  }
  for (const line of campaign.summary()) console.log(line);
  return 0;
}

async function runAll(
  campaign: Campaign,
  { first, count, endMs }: { first: number; count: number; endMs: number },
): Promise<void> {
  console.log(`seed ${first}${count === Infinity ? " and on" : ` to ${first + count - 1}`}`);
  const startMs = performance.now();
  let saidMs = startMs;
  for (let n = 0; n < count && performance.now() < endMs; n++) {
    const seed = first + n;
    campaign.run(seed);
    if (count === 1 || n % CROWD_EVERY === 0) await campaign.runCrowd(seed);
    if (performance.now() - saidMs < PROGRESS_MS) continue;
    saidMs = performance.now();
    const { runs, crowds, judged } = campaign;
    const perMinute = Math.round(judged / ((saidMs - startMs) / 60_000));
    console.log(
      `  seed ${seed}: ${runs} plans, ${crowds} crowds, ${judged} crashes, ${perMinute} a minute`,
    );
  }
}

/** What failed, and how to see it again. */
function report(error: unknown): void {
  if (!(error instanceof PlanFailure)) throw error;
  console.error(error.message);
  console.error("making it smaller …");
  const { plan, failure, runs } = shrinkPlan(error);
  console.error(`after ${runs} runs:\n${failure.message}`);
  if (failure.cause instanceof Error) console.error(failure.cause.stack);
  console.error(`seen again by\n\n  deno task sim --plan '${JSON.stringify(plan)}'\n`);
}

function numberOf(name: string, text: string): number {
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 0 && text.trim() !== "") return number;
  throw new RangeError(`Cannot run with --${name} ${text}: it is a whole number`);
}

// A client that died while it was connecting may hold the process for ever.
process.exit(await main(process.argv.slice(2)));
