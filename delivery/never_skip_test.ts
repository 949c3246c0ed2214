import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MemoryFs } from "../platform/memory.ts";
import type { CursorPosition } from "../store/cursor.ts";
import { StoreClosedError } from "../store/errors.ts";
import type { EventIndex } from "../store/index/event_index.ts";
import type { JournalReader } from "../store/journal_reader.ts";
import type { Store } from "../store/store.ts";
import { KIND, openReader, openStore, USER } from "../tests/support/journal.ts";
import { NeverSkipChecker, NeverSkipError, type NeverSkipRule } from "./never_skip.ts";

const REGION = { entity: "user" };
const START: CursorPosition = { position: 0, started: false };

/** Sequence 0 is the open; of the others every third is of another entity: 3, 6, 9, … */
function storeWith(count: number): Store {
  const store = openStore(new MemoryFs());
  for (let n = 1; n <= count; n++) {
    store.append(n % 3 === 0 ? { entity: "other", scope: "app" } : USER, KIND, n);
  }
  return store;
}

function events(...sequences: number[]): { globalSequence: number }[] {
  return sequences.map((globalSequence) => ({ globalSequence }));
}

function at(position: number): CursorPosition {
  return { position, started: true };
}

function assertBroken(action: () => void, rule: NeverSkipRule, sequence: number): void {
  assert.throws(action, (error) => {
    assert.ok(error instanceof NeverSkipError, String(error));
    assert.equal(error.code, "NEVER_SKIP");
    assert.deepEqual([error.rule, error.sequence], [rule, sequence]);
    assert.match(error.message, new RegExp(`${rule}.*${sequence}`));
    return true;
  });
}

test("a consumer that is given everything, once and in order, passes", () => {
  using store = storeWith(10);
  const checker = new NeverSkipChecker();
  const cursor = store.cursor(REGION);
  for (let n = 0; n < 4; n++) {
    checker.delivered(cursor.pollBatch(2));
    checker.committed(cursor.position);
    checker.check(store, REGION);
  }
  assert.deepEqual(checker.finish(store, REGION), {
    deliveredCount: 7,
    redeliveredCount: 0,
    restartCount: 0,
    checkedBelow: 11,
  });
});

test("a consumer that has not come to the end passes check() and not finish()", () => {
  using store = storeWith(10);
  const checker = new NeverSkipChecker();
  checker.delivered(events(1, 2, 4));
  assert.equal(checker.check(store, REGION).checkedBelow, 5);
  assertBroken(() => checker.finish(store, REGION), "skipped", 5);
});

test("an event that is left out is found, at the front, in the middle and at the end", () => {
  using store = storeWith(10);
  const all = [1, 2, 4, 5, 7, 8, 10];
  for (const missing of all) {
    const checker = new NeverSkipChecker();
    checker.delivered(events(...all.filter((sequence) => sequence !== missing)));
    assertBroken(() => checker.finish(store, REGION), "skipped", missing);
  }
});

test("the first event of the journal counts, unless the consumer begins behind it", () => {
  using store = storeWith(2);
  const checker = new NeverSkipChecker();
  checker.delivered(events(1, 2));
  assertBroken(() => checker.finish(store, {}), "skipped", 0);
  const later = new NeverSkipChecker({ from: at(0) });
  later.delivered(events(1, 2));
  later.finish(store, {});
});

test("events out of order, or again without a restart, are refused at once", () => {
  const checker = new NeverSkipChecker();
  checker.delivered(events(1, 4));
  assertBroken(() => checker.delivered(events(2)), "order", 2);
  assertBroken(() => checker.delivered(events(4)), "repeated", 4);
  assertBroken(() => checker.delivered(events(1)), "repeated", 1);
});

test("an event that was committed must not come again, one that was not has to", () => {
  using store = storeWith(10);
  const checker = new NeverSkipChecker();
  checker.delivered(events(1, 2));
  checker.committed(at(2));
  checker.delivered(events(4, 5));
  checker.restarted(at(2));
  checker.delivered(events(4, 5, 7, 8, 10));
  assert.deepEqual(checker.finish(store, REGION), {
    deliveredCount: 9,
    redeliveredCount: 2,
    restartCount: 1,
    checkedBelow: 11,
  });
  checker.committed(at(10));
  checker.restarted(at(5));
  assertBroken(() => checker.delivered(events(7)), "repeated", 7);
});

test("what was not committed and does not come again after a restart is skipped", () => {
  using store = storeWith(10);
  const checker = new NeverSkipChecker();
  checker.delivered(events(1, 2, 4, 5));
  checker.check(store, REGION);
  checker.restarted(at(2));
  checker.delivered(events(5, 7, 8, 10));
  assertBroken(() => checker.finish(store, REGION), "skipped", 4);
});

test("a consumer that goes on behind what it was given has skipped", () => {
  using store = storeWith(10);
  const checker = new NeverSkipChecker();
  checker.delivered(events(1));
  assertBroken(() => checker.committed(at(2)), "committedAhead", 2);
  checker.restarted(at(5));
  checker.delivered(events(7, 8, 10));
  assertBroken(() => checker.finish(store, REGION), "skipped", 2);
});

test("a consumer that died between writing its place and saying so passes", () => {
  using store = storeWith(5);
  const checker = new NeverSkipChecker();
  checker.delivered(events(1, 2));
  checker.restarted(at(2));
  checker.delivered(events(4, 5));
  checker.finish(store, REGION);
  assertBroken(() => checker.delivered(events(2)), "repeated", 2);
});

test("a restart in front of everything gives everything again", () => {
  using store = storeWith(5);
  const checker = new NeverSkipChecker();
  checker.delivered(events(1, 2, 4));
  checker.restarted(START);
  checker.delivered(events(1, 2, 4, 5));
  assert.equal(checker.finish(store, REGION).redeliveredCount, 3);
});

test("what is not of the region, or not in the journal, is foreign", () => {
  using store = storeWith(5);
  for (const [given, sequence] of [[[0, 1], 0], [[1, 2, 3, 4], 3], [[1, 2, 4, 5, 6], 6]] as const) {
    const checker = new NeverSkipChecker();
    checker.delivered(events(...given));
    assertBroken(() => checker.check(store, REGION), "foreign", sequence);
  }
  const far = new NeverSkipChecker();
  far.delivered(events(1, 2, 4, 5, 70_000));
  assertBroken(() => far.finish(store, REGION), "foreign", 70_000);
});

test("what a fence hides must not come, and need not", () => {
  using store = storeWith(8);
  const { index }: { index: EventIndex } = store.cursorHost().source;
  index.isHidden = (row) => row === 2;
  Object.defineProperty(index, "visibleCount", { get: () => 7 });
  const right = new NeverSkipChecker();
  right.delivered(events(1, 4, 5));
  right.finish(store, REGION);
  for (const [given, sequence] of [[[1, 2, 4, 5], 2], [[1, 4, 5, 7], 7]] as const) {
    const checker = new NeverSkipChecker();
    checker.delivered(events(...given));
    assertBroken(() => checker.check(store, REGION), "hidden", sequence);
  }
});

test("events that retired may have come or not; pruned ones are not compared", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, { segmentMaxBytes: 1000 });
  for (let n = 1; n <= 20; n++) store.append(USER, KIND, n);
  const seen = [new NeverSkipChecker(), new NeverSkipChecker(), new NeverSkipChecker()];
  seen[0].delivered(store.query(REGION));
  seen[2].delivered(store.query(REGION).slice(0, 2));
  store.compact({ strategy: { type: "retention", keep: { maxCount: 5 } } });
  seen[1].delivered(store.query(REGION));
  seen[0].finish(store, REGION);
  seen[1].finish(store, REGION);
  const { firstSequence } = store.prune({ below: 10 });
  seen[2].restarted(at(2));
  seen[2].delivered(store.query(REGION).filter((event) => event.globalSequence >= firstSequence));
  for (const checker of seen) checker.finish(store, REGION);
});

test("a reader that is behind the consumer looks again", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  using reader = openReader(fs);
  store.append(USER, KIND, 1);
  const checker = new NeverSkipChecker();
  checker.delivered(store.query(REGION));
  checker.check(reader, REGION);
  store.append(USER, KIND, 2);
  assertBroken(() => checker.finish(reader, REGION), "skipped", 2);
});

test("check() looks at what is new, and at everything for another region", () => {
  using store = storeWith(3000);
  const checker = new NeverSkipChecker();
  const cursor = store.cursor(REGION);
  checker.delivered(cursor.pollBatch(1900));
  checker.check(store, REGION);
  checker.delivered(cursor.pollBatch(10));
  assert.ok(looksOf(store, () => void checker.check(store, REGION)) < 50);
  assertBroken(() => checker.check(store, {}), "skipped", 0);
});

function looksOf(store: Store, action: () => void): number {
  const { index }: { index: EventIndex } = store.cursorHost().source;
  const { chainOf } = index;
  let looks = 0;
  index.chainOf = function (row) {
    looks++;
    return chainOf.call(index, row);
  };
  action();
  index.chainOf = chainOf;
  return looks;
}

test("watching() tells of what a handler is given, also when it throws", () => {
  using store = storeWith(4);
  const checker = new NeverSkipChecker();
  const handler = checker.watching((batch: { globalSequence: number }[], label: string) => {
    if (label === "fail") throw new Error("no");
    return `${label} ${batch.length}`;
  });
  assert.equal(handler(events(1, 2), "ok"), "ok 2");
  assert.throws(() => handler(events(4), "fail"), /no/);
  checker.finish(store, REGION);
  assert.equal(checker.report.deliveredCount, 3);
});

test("numbers that are no sequences, and a closed store, are refused", () => {
  const checker = new NeverSkipChecker();
  for (const sequence of [-1, 0.5, NaN, 2 ** 53]) {
    assert.throws(() => checker.delivered(events(sequence)), RangeError);
    assert.throws(() => checker.committed(at(sequence)), RangeError);
    assert.throws(() => checker.restarted(at(sequence)), RangeError);
    assert.throws(() => new NeverSkipChecker({ from: at(sequence) }), RangeError);
  }
  const store = storeWith(1);
  store.close();
  assert.throws(() => checker.check(store, REGION), StoreClosedError);
});

interface Step {
  readonly take: number;
  readonly then: "commit" | "crash" | "go on";
}

interface Spoil {
  readonly step: number;
  readonly how: "drop" | "repeat" | "swap";
}

/**
 * A consumer of the whole journal that takes these steps, then the rest, and is checked. It spoils what it
 * is given at one step, and says whether there was anything to spoil.
 */
function consume(
  reader: JournalReader,
  checker: NeverSkipChecker,
  steps: readonly Step[],
  spoil?: Spoil,
): boolean {
  const cursor = reader.cursor();
  let committed = cursor.position;
  let isSpoilt = false;
  for (const [i, { take, then }] of [...steps, { take: 1000, then: "go on" }].entries()) {
    const given = cursor.pollBatch(take);
    if (spoil?.step === i && given.length > (spoil.how === "swap" ? 1 : 0)) {
      const [first, second] = given;
      if (spoil.how === "drop") given.shift();
      else if (spoil.how === "repeat") given.unshift(first);
      else given.splice(0, 2, second, first);
      isSpoilt = true;
    }
    checker.delivered(given);
    const last = given.at(-1);
    if (then === "commit" && last !== undefined) {
      committed = at(last.globalSequence);
      checker.committed(committed);
    } else if (then === "crash") {
      cursor.restore(committed);
      checker.restarted(committed);
    }
  }
  return isSpoilt;
}

function anySteps(...then: Step["then"][]): fc.Arbitrary<Step[]> {
  const step = fc.record({ take: fc.integer({ min: 1, max: 9 }), then: fc.constantFrom(...then) });
  return fc.array(step, { maxLength: 20 });
}

test("a consumer that crashes at any time, and goes on from what it committed, passes", () => {
  using store = storeWith(60);
  fc.assert(fc.property(anySteps("commit", "crash", "go on"), (steps) => {
    const checker = new NeverSkipChecker();
    consume(store, checker, steps);
    checker.finish(store, {});
  }));
});

test("a consumer that drops, repeats or swaps one event, anywhere, does not pass", () => {
  using store = storeWith(60);
  const anySpoil = fc.record({
    step: fc.nat(20),
    how: fc.constantFrom("drop" as const, "repeat" as const, "swap" as const),
  });
  let spoilt = 0;
  fc.assert(fc.property(anySteps("commit", "go on"), anySpoil, (steps, spoil) => {
    const checker = new NeverSkipChecker();
    let isSpoilt: boolean;
    try {
      isSpoilt = consume(store, checker, steps, spoil);
      checker.finish(store, {});
    } catch (error) {
      if (!(error instanceof NeverSkipError)) throw error;
      spoilt++;
      return;
    }
    assert.equal(isSpoilt, false);
  }));
  assert.ok(spoilt > 10, `${spoilt}`);
});
