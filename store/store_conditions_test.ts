// Issue 2, tags and append conditions: `failIf` with its region, tags and `after`.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MemoryFs } from "../platform/memory.ts";
import { openIn, ORDER, OTHER, PAID, PLACED, segmentBytes } from "../tests/support_api/journal.ts";
import type { AppendCondition } from "./append.ts";
import { ConditionConflictError } from "./errors.ts";
import type { Store } from "./store.ts";

/** The sequences that an append under a condition conflicts with; `[]` when it goes through. */
function conflictsOf(
  store: Store,
  failIf: AppendCondition | readonly AppendCondition[],
): number[] {
  try {
    // At a place that no condition of these tests names.
    store.append({ entity: "probe", scope: "probe" }, PLACED, 1, { failIf });
    return [];
  } catch (error) {
    if (!(error instanceof ConditionConflictError)) throw error;
    return error.conflicts.map(({ globalSequence }) => globalSequence);
  }
}

test("failIf refuses with the conflicting events, and writes nothing", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const first = store.append(ORDER, PLACED, 1, { tags: ["seat:1"] });
  store.append(ORDER, PLACED, 2, { tags: ["seat:2"] });
  const third = store.append(OTHER, PLACED, 3, { tags: ["seat:1", "seat:2"] });
  const bytes = segmentBytes(fs);
  assert.throws(
    () => store.append(ORDER, PAID, 4, { failIf: { tags: ["seat:1"] } }),
    (error) => {
      assert.ok(error instanceof ConditionConflictError);
      assert.equal(error.code, "CONDITION_CONFLICT");
      assert.deepEqual(error.conflicts, [
        { globalSequence: 1, eventId: first.eventId },
        { globalSequence: 3, eventId: third.eventId },
      ]);
      assert.equal(
        error.message,
        `Cannot append: the condition fails on event ${first.eventId} at sequence 1 and 1 more`,
      );
      return true;
    },
  );
  assert.deepEqual(segmentBytes(fs), bytes);
  assert.equal(store.stats().nextSequence, 4);
});

test("at most sixteen conflicts are listed, the first in commit order", () => {
  using store = openIn(new MemoryFs());
  for (let i = 0; i < 40; i++) store.append(i % 2 ? ORDER : OTHER, PLACED, i, { tags: ["t"] });
  const failIf = { tags: ["t"] };
  assert.deepEqual(conflictsOf(store, failIf), Array.from({ length: 16 }, (_, i) => i + 1));
});

test("after excludes what the caller has read", () => {
  using store = openIn(new MemoryFs());
  const receipts = [1, 2, 3].map((i) => store.append(ORDER, PLACED, i, { tags: ["t"] }));
  const [one, two, three] = receipts.map(({ globalSequence }) => globalSequence);
  const tags = ["t"];
  assert.deepEqual(conflictsOf(store, { tags }), [one, two, three]);
  assert.deepEqual(conflictsOf(store, { tags, after: 0 }), [one, two, three]);
  assert.deepEqual(conflictsOf(store, { tags, after: one }), [two, three]);
  assert.deepEqual(conflictsOf(store, { tags, after: two }), [three]);
  assert.deepEqual(conflictsOf(store, { tags, after: three }), []);
  assert.deepEqual(conflictsOf(store, { tags, after: 1_000_000 }), []);
  // Somebody who has read nothing may say -1: sequence 0 is an event too.
  assert.deepEqual(conflictsOf(store, { tags, after: -1 }), [one, two, three]);
  assert.deepEqual(conflictsOf(store, { region: { scope: "batpak:lifecycle" }, after: -1 }), [0]);
  for (const after of [NaN, 0.5, -2, Infinity, "1" as never]) {
    assert.throws(() => conflictsOf(store, { tags, after }), RangeError);
  }
});

test("a condition without a filter conflicts with any event", () => {
  using store = openIn(new MemoryFs());
  assert.deepEqual(conflictsOf(store, {}), [0]);
  assert.deepEqual(conflictsOf(store, { after: 0 }), []);
  assert.deepEqual(conflictsOf(store, { region: {}, tags: [], after: 0 }), [1]);
});

test("no condition refuses nothing", () => {
  using store = openIn(new MemoryFs());
  store.append(ORDER, PLACED, 1);
  assert.deepEqual(conflictsOf(store, []), []);
});

test("region and tags must both match, and tags of both places count together", () => {
  using store = openIn(new MemoryFs());
  store.append(ORDER, PLACED, 1, { tags: ["a"] });
  store.append(OTHER, PLACED, 2, { tags: ["a", "b"] });
  store.append(OTHER, PAID, 3, { tags: ["a", "b", "c"], lane: 2 });
  const { entity } = OTHER;
  assert.deepEqual(conflictsOf(store, { region: { entity }, tags: ["a"] }), [2, 3]);
  assert.deepEqual(conflictsOf(store, { region: { entity: "order" }, tags: ["a"] }), [1, 2, 3]);
  assert.deepEqual(conflictsOf(store, { region: { entity: "ord" }, tags: ["a"] }), []);
  assert.deepEqual(conflictsOf(store, { region: { kind: PAID }, tags: ["a"] }), [3]);
  assert.deepEqual(conflictsOf(store, { region: { lane: 2 }, tags: ["a"] }), [3]);
  assert.deepEqual(conflictsOf(store, { region: { clock: [1, 5] }, tags: ["a"] }), []);
  assert.deepEqual(conflictsOf(store, { region: { tags: ["a"] }, tags: ["b"] }), [2, 3]);
  assert.deepEqual(conflictsOf(store, { region: { tags: ["a", "b"] }, tags: ["b", "c"] }), [3]);
  assert.deepEqual(conflictsOf(store, { tags: ["a", "unknown"] }), []);
  assert.deepEqual(conflictsOf(store, { region: { entity: "unknown" } }), []);
});

test("of several conditions each may refuse", () => {
  using store = openIn(new MemoryFs());
  store.append(ORDER, PLACED, 1, { tags: ["a"] });
  store.append(ORDER, PLACED, 2, { tags: ["b"] });
  const a = { tags: ["a"] };
  const b = { tags: ["b"] };
  const none = { tags: ["c"] };
  assert.deepEqual(conflictsOf(store, [none, none]), []);
  assert.deepEqual(conflictsOf(store, [none, b]), [2]);
  assert.deepEqual(conflictsOf(store, [a, none]), [1]);
  assert.deepEqual(conflictsOf(store, [{ ...a, after: 1 }, { ...b, after: 1 }]), [2]);
});

test("all that conflicts with several conditions is listed once, in commit order", () => {
  // What went wrong: only the conflicts of the first condition that failed were listed, and who read
  // just those decided again without the others. The error promises the first of them all.
  using store = openIn(new MemoryFs());
  store.append(ORDER, PLACED, 1, { tags: ["b"] });
  store.append(ORDER, PLACED, 2, { tags: ["a", "b"] });
  store.append(ORDER, PLACED, 3, { tags: ["a"] });
  assert.deepEqual(conflictsOf(store, [{ tags: ["a"] }, { tags: ["b"] }]), [1, 2, 3]);
});

test("an event has up to 32 tags, and a condition may ask for all of them", () => {
  const fs = new MemoryFs();
  const tags = Array.from({ length: 33 }, (_, i) => `t:${i}`);
  {
    using store = openIn(fs);
    store.append(ORDER, PLACED, 1, { tags: tags.slice(0, 32) });
    // Repeated ones count once.
    store.append(ORDER, PLACED, 2, { tags: [...tags.slice(1), "t:5", "t:6"] });
    for (
      const act of [
        () => store.append(ORDER, PLACED, 3, { tags }),
        () => store.append(ORDER, PLACED, 3, { failIf: { tags } }),
        () => store.query({ tags }),
      ]
    ) assert.throws(act, { code: "TAG", reason: "TooMany", index: 32 });
  }
  using store = openIn(fs);
  assert.deepEqual(store.query({ tags: tags.slice(0, 32) }).map(({ payload }) => payload), [1]);
  assert.deepEqual(store.query({ tags: ["t:32", "t:31"] }).map(({ payload }) => payload), [2]);
  assert.equal(store.query({ tags: ["t:7"] }).length, 2);
  assert.deepEqual(store.latest(ORDER.entity)?.tags, tags.slice(1));
});

test("a condition that nobody defined is refused, like a region that nobody defined", () => {
  // What went wrong: `tag` for `tags` was no condition at all, which conflicts with every event.
  using store = openIn(new MemoryFs());
  for (
    const failIf of [{ tag: ["a"] }, { entity: "order:1" }, [{}, { regions: {} }], "a", 5, null]
  ) {
    assert.throws(() => conflictsOf(store, failIf as AppendCondition), TypeError);
  }
  assert.throws(() => conflictsOf(store, { region: { entty: "a" } as never }), TypeError);
  assert.throws(() => conflictsOf(store, { region: { entity: "a|b" } }), { code: "REGION" });
  assert.throws(() => conflictsOf(store, { tags: [""] }), { code: "TAG", reason: "Empty" });
});

test("a condition sees exactly what a query sees, behind the same sequence", () => {
  const label = fc.constantFrom("a", "b", "c", "d");
  const event = fc.record({
    entity: fc.constantFrom("x", "x:y", "z"),
    tags: fc.uniqueArray(label, { maxLength: 3 }),
    lane: fc.nat(1),
  });
  const condition = fc.record({
    region: fc.record({
      entity: fc.constantFrom("x", "x:y", "z", "w"),
      lane: fc.nat(1),
      tags: fc.array(label, { maxLength: 2 }),
    }, { requiredKeys: [] }),
    tags: fc.array(label, { maxLength: 2 }),
    after: fc.nat(12),
  }, { requiredKeys: [] });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 10, size: "max" }), condition, (events, failIf) => {
      using store = openIn(new MemoryFs());
      for (const { entity, ...options } of events) {
        store.append({ entity, scope: "s" }, PLACED, 1, options);
      }
      const { region = {}, tags = [], after } = failIf;
      const wanted = [...(region.tags ?? []), ...tags];
      const expected = store.query({ ...region, tags: wanted })
        .map(({ globalSequence }) => globalSequence)
        .filter((globalSequence) => globalSequence > (after ?? -1));
      assert.deepEqual(conflictsOf(store, failIf), expected);
    }),
    { numRuns: 100 },
  );
});
