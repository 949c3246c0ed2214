import assert from "node:assert/strict";
import { test } from "node:test";
import { checkRestartPolicy, RestartBudget, type RestartPolicy } from "./restart_budget.ts";

/** A clock that stands still until it is told otherwise. */
function still(startUs = 0): { us: number; monotonicUs(): number } {
  return {
    us: startUs,
    monotonicUs() {
      return this.us;
    },
  };
}

function bounded(maxRestarts: number, withinMs: number): RestartPolicy {
  return { kind: "bounded", maxRestarts, withinMs };
}

test('S002-16 V-15 W-10 a budget of "once" allows exactly one restart, however long it takes', () => {
  const clock = still();
  const budget = new RestartBudget({ kind: "once" }, clock);
  assert.equal(budget.tryRestart(), true);
  clock.us = 1e15;
  assert.equal(budget.tryRestart(), false);
  assert.equal(budget.tryRestart(), false);
  assert.deepEqual([budget.used, budget.granted], [1, 1]);
});

test("S002-16 V-15 W-12 a bounded budget refuses past its cap, and a refusal changes nothing", () => {
  const budget = new RestartBudget(bounded(2, Number.MAX_SAFE_INTEGER), still());
  assert.deepEqual(
    [budget.tryRestart(), budget.tryRestart(), budget.tryRestart(), budget.tryRestart()],
    [true, true, false, false],
  );
  assert.deepEqual([budget.used, budget.granted], [2, 2]);
});

test("S002-16 a bounded budget of 0 allows none, in no window", () => {
  const clock = still();
  const budget = new RestartBudget(bounded(0, 1), clock);
  assert.equal(budget.tryRestart(), false);
  clock.us = 60_000_000;
  assert.equal(budget.tryRestart(), false);
  assert.equal(budget.granted, 0);
});

test("S002-16 V-15 a window still counts at exactly withinMs, and not a millisecond later", () => {
  const clock = still(7_000);
  const budget = new RestartBudget(bounded(1, 50), clock);
  assert.equal(budget.tryRestart(), true);
  clock.us = 7_000 + 50_000;
  assert.equal(budget.tryRestart(), false);
  clock.us = 7_000 + 50_999.9;
  assert.equal(budget.tryRestart(), false);
  clock.us = 7_000 + 51_000;
  assert.equal(budget.tryRestart(), true);
  assert.deepEqual([budget.used, budget.granted], [1, 2]);
});

test("W-13 a window of 1 ms counts after 1.5 ms: milliseconds are rounded down", () => {
  const clock = still();
  const budget = new RestartBudget(bounded(2, 1), clock);
  const answers = [];
  for (let crash = 0; crash < 3; crash++) {
    clock.us = 1_500;
    answers.push(budget.tryRestart());
  }
  assert.deepEqual(answers, [true, true, false]);
});

test("S002-16 the window tumbles: only a crash that finds it expired begins another one", () => {
  const clock = still();
  const budget = new RestartBudget(bounded(1, 10), clock);
  clock.us = 9_000;
  assert.equal(budget.tryRestart(), true);
  // 10.5 ms after that restart, but 19.5 ms after the window began: it begins anew here.
  clock.us = 19_500;
  assert.equal(budget.tryRestart(), true);
  clock.us = 29_500;
  assert.equal(budget.tryRestart(), false);
  clock.us = 30_500;
  assert.equal(budget.tryRestart(), true);
  assert.equal(budget.granted, 3);
});

test("S002-16 a clock that goes backwards lets no time pass", () => {
  const clock = still(1e12);
  const budget = new RestartBudget(bounded(1, 0), clock);
  assert.equal(budget.tryRestart(), true);
  clock.us = 0;
  assert.equal(budget.tryRestart(), false);
  clock.us = 1e12 + 999;
  assert.equal(budget.tryRestart(), false);
  clock.us = 1e12 + 1_000;
  assert.equal(budget.tryRestart(), true);
});

test("checkRestartPolicy() copies a policy and refuses what is none", () => {
  const policy = { kind: "bounded", maxRestarts: 3, withinMs: 20 } as const;
  const checked = checkRestartPolicy(policy);
  assert.deepEqual(checked, policy);
  assert.notEqual(checked, policy);
  assert.ok(Object.isFrozen(checked));
  const wrong: [unknown, typeof TypeError | typeof RangeError, RegExp][] = [
    [undefined, TypeError, /neither "once" nor "bounded"/],
    [null, TypeError, /neither/],
    ["once", TypeError, /neither/],
    [{ kind: "always" }, TypeError, /neither/],
    [{ kind: "once", maxRestarts: 1 }, TypeError, /"maxRestarts"/],
    [{ kind: "bounded" }, RangeError, /maxRestarts undefined/],
    [{ kind: "bounded", maxRestarts: 1 }, RangeError, /withinMs undefined/],
    [{ kind: "bounded", maxRestarts: -1, withinMs: 1 }, RangeError, /maxRestarts -1/],
    [{ kind: "bounded", maxRestarts: 1.5, withinMs: 1 }, RangeError, /maxRestarts 1.5/],
    [{ kind: "bounded", maxRestarts: 1, withinMs: Infinity }, RangeError, /withinMs Infinity/],
    [{ kind: "bounded", maxRestarts: 1, withinMs: 1, window: 2 }, TypeError, /"window"/],
  ];
  for (const [value, error, message] of wrong) {
    assert.throws(
      () => checkRestartPolicy(value as RestartPolicy),
      (thrown: Error) => thrown.constructor === error && message.test(thrown.message),
    );
  }
});
