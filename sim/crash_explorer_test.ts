// Small scenarios, crashed at each of their steps; `deno task explore` goes further.
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { explore, EXPLORED_POLICIES, type Scenario } from "./crash_explorer.ts";
import { OracleViolation } from "./oracle.ts";
import { SCENARIOS } from "./scenarios.ts";

const SEED = Number(process.env.BATPAK_SEED ?? 1);

for (const scenario of SCENARIOS) {
  test(`a crash at any step of "${scenario.name}" loses nothing that was promised (seed ${SEED})`, () => {
    const limit = 2;
    const report = explore(scenario, { seed: SEED, limit, recoverEvery: 64, recoverLimit: 1 });
    // A run that was not crashed, or without a history, has tested nothing.
    assert.ok(report.withEvents >= 3, `${report.withEvents} images with events`);
    assert.deepEqual([...report.policies.keys()], EXPLORED_POLICIES);
    for (const [policy, { steps }] of report.policies) assert.ok(steps > 5, policy);
    for (const policy of ["processKill", "ordered", "anyPrefix"] as const) {
      assert.equal(report.policies.get(policy)!.refusals.size, 0, policy);
    }
  });
}

test("explore() says where a promise was broken, and how to find that image again", () => {
  const scenario: Scenario = {
    name: "a driver that lies",
    run: (driver) => {
      driver.open();
      driver.append();
      driver.tell({ type: "durable", below: 99 });
    },
  };
  let message = "";
  assert.throws(() => explore(scenario), (error) => {
    assert.ok(error instanceof OracleViolation);
    ({ message } = error);
    return true;
  });
  assert.match(message, /^a driver that lies: what was acknowledged at 1 is not there\n/);
  const options = JSON.parse(/explore\(scenario, (.*)\)/.exec(message)![1]);
  assert.equal(options.only.length, 1);
  assert.throws(() => explore(scenario, options), (error) => {
    assert.equal((error as Error).message, message);
    return true;
  });
});

test("explore() allows a refusal only where a power cut has left a hole", () => {
  const scenario: Scenario = {
    name: "sectors",
    run: (driver) => {
      driver.open();
      for (let n = 0; n < 6; n++) driver.append({ size: 400 });
    },
  };
  const { policies } = explore(scenario, { recoverEvery: 0, limit: 24 });
  const refused = [...policies].filter(([, { refusals }]) => refusals.size > 0);
  assert.deepEqual(refused.map(([policy]) => policy), ["torn", "garbage", "lying"]);
  for (const [policy, { refusals }] of refused) {
    // What a lying disk has left may be refused for any reason.
    if (policy === "lying") continue;
    for (const reason of refusals.keys()) assert.match(reason, /, but a sound frame follows at/);
  }
});
