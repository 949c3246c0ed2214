// Small scenarios, crashed at each of their steps; `deno task explore` goes further.
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import {
  COUNTABLE_POLICIES,
  explore,
  EXPLORED_POLICIES,
  type ExploreOptions,
  RECOVERY_POLICIES,
  type Scenario,
} from "./crash_explorer.ts";
import { OracleViolation } from "./oracle.ts";
import { SCENARIOS } from "./scenarios.ts";

const SEED = Number(process.env.BATPAK_SEED ?? 1);

for (const scenario of SCENARIOS) {
  test(`a crash at any step of "${scenario.name}" loses nothing that was promised (seed ${SEED})`, () => {
    const limit = 2;
    const report = explore(scenario, { seed: SEED, limit, recoverEvery: 64, recoverLimit: 1 });
    // A run that was not crashed, or without a history, has tested nothing.
    assert.ok(report.withEvents >= 2, `${report.withEvents} images with events`);
    assert.deepEqual([...report.policies.keys()], EXPLORED_POLICIES);
    for (const [policy, { steps }] of report.policies) assert.ok(steps > 5, policy);
    for (const policy of ["processKill", "ordered", "anyPrefix"] as const) {
      assert.equal(report.policies.get(policy)!.refusals.size, 0, policy);
    }
  });
}

function named(name: string): Scenario {
  const scenario = SCENARIOS.find((scenario) => scenario.name === name);
  assert.ok(scenario, name);
  return scenario;
}

const EVERYTHING: ExploreOptions = {
  seed: SEED,
  isExhaustive: true,
  policies: COUNTABLE_POLICIES,
  recoverEvery: 0,
};

for (const name of ["one append", "one durable append", "one batch"]) {
  test(`no crash there is at any step of "${name}" loses what was promised`, () => {
    const { policies, withEvents } = explore(named(name), EVERYTHING);
    assert.deepEqual([...policies.keys()], COUNTABLE_POLICIES);
    for (const [policy, { steps, enumerated }] of policies) assert.equal(enumerated, steps, policy);
    // An event is some 225 bytes long, and every cut through its write is another image.
    assert.ok(policies.get("anyPrefix")!.judged > 200, "every byte");
    assert.ok(withEvents >= 2, `${withEvents} images with events`);
  });
}

test("no crash there is of a recovery, or of the recovery from that, loses what was promised", () => {
  const options: ExploreOptions = {
    ...EVERYTHING,
    policies: RECOVERY_POLICIES,
    recoverPolicies: RECOVERY_POLICIES,
    recoverAll: RECOVERY_POLICIES,
  };
  const scenario = named("open after a retention that could not clean up");
  const two = explore(scenario, options);
  const three = explore(scenario, { ...options, depth: 3, deepEvery: 1 });
  for (const { policies } of [two, three]) {
    for (const { steps, enumerated, recoverySteps, recoveryEnumerated } of policies.values()) {
      assert.equal(enumerated, steps);
      assert.equal(recoveryEnumerated, recoverySteps);
    }
  }
  const stepsOf = ({ policies }: typeof two) => policies.get("processKill")!.recoverySteps;
  assert.ok(stepsOf(two) > 20, `${stepsOf(two)}`);
  assert.ok(stepsOf(three) > stepsOf(two) * 2, `${stepsOf(three)}, not only ${stepsOf(two)}`);
});

test("explore() does not say that it has seen everything when it has given up", () => {
  const { policies } = explore(named("one append"), {
    ...EVERYTHING,
    policies: ["ordered", "anyPrefix"],
    work: 100,
  });
  const { steps, enumerated } = policies.get("anyPrefix")!;
  assert.ok(enumerated < steps, `${enumerated} of ${steps}`);
  assert.equal(policies.get("ordered")!.enumerated, steps);
});

test("explore() does not say that it has seen everything when there is noise", () => {
  const { steps, enumerated } = explore(named("one append"), { policies: ["garbage"] })
    .policies.get("garbage")!;
  assert.ok(steps > 5, `${steps}`);
  assert.equal(enumerated, 0);
});

test("explore() finds every generation of a journal, and no other", () => {
  const scenario = named("prune");
  const { all, of } = scenario.generations!;
  const options: ExploreOptions = { policies: ["processKill"], recoverEvery: 0 };
  assert.deepEqual([...explore(scenario, options).generations.keys()], ["from 0", "from 2"]);
  const other = (all: readonly string[]) =>
    explore({ ...scenario, generations: { all, of } }, options);
  assert.throws(
    () => other(["from 0"]),
    /^OracleViolation: prune: it is from 2, and should be from 0/,
  );
  assert.throws(
    () => other([...all, "from 4"]),
    new OracleViolation("prune: no crash leaves from 4"),
  );
});

test("a refusal is legal when what was lost had been taken back", () => {
  // A write that failed was cut off again, so what was seen last had no hole, and a refusal that named the
  // hole in front of the rest of that write was taken for an illegal one. Now all that was seen since the
  // last sync counts.
  const { policies } = explore(named("failed write"), { ...EVERYTHING, policies: ["torn"] });
  const { steps, enumerated, refusals } = policies.get("torn")!;
  assert.equal(enumerated, steps);
  assert.ok(refusals.size > 0);
});

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
