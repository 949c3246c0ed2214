// Lives of a journal that seeds decide: a fixed set of them, in which every rare path has to be reached, and
// some that nobody has run before. `deno task soak` goes on with it.
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { Campaign } from "./campaign.ts";
import { planOf, type SimPlan } from "./plan.ts";
import { PlanFailure, runPlan } from "./plan_run.ts";
import { failureKind, shrinkPlan } from "./shrink.ts";

/** Plans and crowds that are run each time. Together with the rare ones they reach every mark. */
const FIXED_PLANS = 120;
/** Seeds that reach what hardly any other does. */
const RARE_PLANS: readonly number[] = [137, 155, 167, 1295, 3368, 3883];
const FIXED_CROWDS = 40;
/** Plans from a fresh seed on. */
const FRESH_PLANS = 25;
const FRESH_SEED = Number(process.env.BATPAK_SEED ?? Date.now() % 0x7fffffff);

test("fixed seeds: nothing that was promised is lost, and every rare path is reached", {
  timeout: 120_000,
}, async () => {
  const campaign = new Campaign();
  for (let seed = 1; seed <= FIXED_PLANS; seed++) campaign.run(seed);
  for (const seed of RARE_PLANS) campaign.run(seed);
  for (let seed = 1; seed <= FIXED_CROWDS; seed++) await campaign.runCrowd(seed);
  assert.deepEqual(campaign.missing, []);
  assert.ok(campaign.judged > FIXED_PLANS, `${campaign.judged} crashes`);
  assert.ok(campaign.faultsFired > FIXED_PLANS, `${campaign.faultsFired} faults`);
});

test(`fresh seeds: nothing that was promised is lost (BATPAK_SEED=${FRESH_SEED})`, {
  timeout: 120_000,
}, async () => {
  const campaign = new Campaign();
  for (let n = 0; n < FRESH_PLANS; n++) campaign.run(FRESH_SEED + n);
  for (let n = 0; n < 5; n++) await campaign.runCrowd(FRESH_SEED + n);
  assert.ok(campaign.judged > FRESH_PLANS, `${campaign.judged} crashes`);
});

test("a plan is JSON, and does the same when it is read again", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const plan = planOf(seed);
    const again: SimPlan = JSON.parse(JSON.stringify(plan));
    assert.deepEqual(again, plan);
    assert.equal(runPlan(again).digest, runPlan(plan).digest);
  }
});

test("a plan without a history that could be lost proves nothing, and is told so", () => {
  const plan: SimPlan = { ...planOf(1), history: 3 };
  const crash = { policy: "durable", at: 0, seed: 1 } as const;
  const life = { disk: { faults: {} }, acts: [{ do: "sync" }], probes: [], crash } as const;
  new Campaign().runPlan({ ...plan, lives: [life] });
  // One life is never begun: then nothing is judged.
  assert.throws(() => new Campaign().runPlan({ ...plan, lives: [] }), {
    name: "PlanFailure",
    message: /no crash had anything to lose/,
  });
});

/** Fails when there is a batch of at least two events, and a copy after it. */
function failing(plan: SimPlan): void {
  const acts = plan.lives.flatMap(({ acts }) => acts);
  const batch = acts.findIndex((act) => act.do === "batch" && act.events.length >= 2);
  if (batch === -1 || !acts.slice(batch).some((act) => act.do === "copy")) return;
  throw new PlanFailure(`seed ${plan.seed}, after 9 steps: a copy behind a batch`, plan, undefined);
}

test("shrinkPlan() leaves what a failure needs, and nothing else", () => {
  let shrunk = 0;
  for (let seed = 1; seed <= 400 && shrunk < 5; seed++) {
    try {
      failing(planOf(seed));
    } catch (error) {
      assert.ok(error instanceof PlanFailure);
      const { plan, failure } = shrinkPlan(error, { run: failing });
      assert.equal(failureKind(failure), "a copy behind a batch");
      const acts = plan.lives.flatMap(({ acts }) => acts);
      assert.deepEqual(acts.map((act) => act.do), ["batch", "copy"]);
      const [batch] = acts;
      assert.ok(batch.do === "batch" && batch.events.length === 2);
      assert.deepEqual(plan.lives.map(({ disk }) => disk), plan.lives.map(() => ({ faults: {} })));
      shrunk++;
    }
  }
  assert.equal(shrunk, 5);
});
