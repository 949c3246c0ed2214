import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { EventKind } from "../event_kind.ts";
import { Region, type RegionFilters } from "../region.ts";
import { addRow, idOf, placed } from "../../tests/support/index_builder.ts";
import { EventIndex, STATE_RETIRED } from "./event_index.ts";
import { PostingLists, type PostingPlace } from "./postings.ts";
import { rowsOf } from "./region_query.ts";
import { RegionWalk } from "./region_walk.ts";

const ENTITIES = ["user", "user:1", "user:1:cart", "users", "order:1", ":odd", "größe:1"];
const SCOPES = ["app", "shop", "größe"];
const KINDS = [0x1000, 0x1001, 0x2000, 0xf001];
const TAGS = ["eu", "us", "vip"];

/** Entities below `many` are more lists than are merged. */
const anyEvent = fc.record({
  entity: fc.oneof(
    fc.constantFrom(...ENTITIES),
    fc.nat(30).map((n) => `many:${n}`),
  ),
  scope: fc.constantFrom(...SCOPES),
  kind: fc.constantFrom(...KINDS),
  lane: fc.constantFrom(0, 0, 0, 1),
  tags: fc.uniqueArray(fc.constantFrom(...TAGS), { maxLength: 3 }),
});

const anyFilters: fc.Arbitrary<RegionFilters> = fc.record({
  entity: fc.option(fc.constantFrom(...ENTITIES, "many", "", "nobody"), { nil: undefined }),
  scope: fc.option(fc.constantFrom(...SCOPES, "nowhere"), { nil: undefined }),
  fact: fc.oneof(
    fc.constant({}),
    fc.constant({ kind: "any" as const }),
    fc.constantFrom(...KINDS, 0x3000).map((kind) => ({ kind: kind as EventKind })),
    fc.nat(15).map((category) => ({ category })),
  ),
  lane: fc.option(fc.constantFrom(0, 1, 2), { nil: undefined }),
  clock: fc.option(fc.tuple(fc.nat(3), fc.nat(5)), { nil: undefined }),
  tags: fc.option(fc.uniqueArray(fc.constantFrom(...TAGS), { maxLength: 2 }), { nil: undefined }),
}).map(({ fact, clock, ...rest }) => ({
  ...rest,
  ...fact,
  ...(clock !== undefined && { clock: [clock[0], clock[0] + clock[1]] as const }),
}));

/** More events, a look of at most so many, or a jump to a row and the looks from there. */
const anySteps = fc.array(
  fc.oneof(
    fc.record({ append: fc.array(anyEvent, { minLength: 1, maxLength: 40 }) }),
    fc.record({ take: fc.integer({ min: 1, max: 20 }) }),
    fc.record({ jump: fc.nat(200) }),
  ),
  { minLength: 1, maxLength: 25 },
);

test("C-02 C-10 a RegionWalk gives what a query gives, in any portions, while the journal grows", () => {
  fc.assert(
    fc.property(anyFilters, anySteps, (filters, steps) => {
      const region = Region.from(filters);
      const index = new EventIndex();
      const walk = new RegionWalk(index, region);
      const all: Parameters<typeof placed>[0][number][] = [];
      const rows: number[] = [];
      let at = 0;
      for (const step of steps) {
        if ("append" in step) {
          const before = all.length;
          all.push(...step.append);
          for (const row of placed(all, 100).slice(before)) addRow(index, row);
        } else if ("jump" in step) {
          at = Math.min(step.jump, index.count);
        } else {
          const expected: number[] = [];
          for (const row of rowsOf(index, region, { start: at, end: index.count })) {
            if (expected.push(row) === step.take) break;
          }
          at = walk.take(at, index.count, step.take, rows);
          assert.deepEqual(rows, expected);
          assert.equal(at, rows.length === step.take ? rows[rows.length - 1] + 1 : index.count);
        }
      }
    }),
    { numRuns: 500 },
  );
});

function indexWith(count: number, entityOf: (n: number) => string): EventIndex {
  const index = new EventIndex();
  const events = Array.from({ length: count }, (_, n) => ({
    entity: entityOf(n),
    scope: "app",
    kind: 0x1000,
    lane: 0,
    tags: [],
  }));
  for (const row of placed(events, 100)) addRow(index, row);
  return index;
}

/** Counts how often rows are looked at. */
function looksOf(index: EventIndex, action: () => void): number {
  let looks = 0;
  const { chainOf } = index;
  index.chainOf = function (row) {
    looks++;
    return chainOf.call(index, row);
  };
  action();
  index.chainOf = chainOf;
  return looks;
}

test("a RegionWalk looks at the rows of its list and no others, and never twice", () => {
  const index = indexWith(10_000, (n) => `user:${n % 100}`);
  const walk = new RegionWalk(index, Region.entity("user:7"));
  const rows: number[] = [];
  let at = 0;
  const looks = looksOf(index, () => {
    for (let n = 0; n < 10; n++) at = walk.take(at, index.count, 10, rows);
  });
  assert.equal(looks, 100);
  assert.equal(rows.at(-1), 9907);
  assert.equal(looksOf(index, () => void (at = walk.take(at, index.count, 10, rows))), 0);
  assert.deepEqual([at, rows], [10_000, []]);
});

test("a RegionWalk that is at the end looks at what is new, however much is behind it", () => {
  const index = indexWith(10_000, (n) => `user:${n % 100}`);
  const walk = new RegionWalk(index, Region.entity("user").withLane(0));
  const rows: number[] = [];
  walk.take(0, index.count, 20_000, rows);
  assert.equal(rows.length, 10_000);
  addRow(index, {
    id: idOf(20_000),
    entity: "user:new",
    scope: "app",
    kind: 0x1000,
    lane: 0,
    clock: 0,
    tags: [],
    offset: 9e6,
  });
  assert.equal(looksOf(index, () => void walk.take(10_000, index.count, 10, rows)), 1);
  assert.deepEqual(rows, [10_000]);
});

test("C-10 a RegionWalk leaves out rows that are retired or hidden, and stops where it is told", () => {
  const index = indexWith(20, (n) => `user:${n % 2}`);
  index.setState(4, STATE_RETIRED);
  index.isHidden = (row) => row >= 6 && row < 10;
  for (const region of [Region.all(), Region.entity("user:0"), Region.entity("user")]) {
    const rows: number[] = [];
    assert.equal(new RegionWalk(index, region).take(0, 14, 100, rows), 14);
    const expected = region.entityPrefix === "user:0"
      ? [0, 2, 10, 12]
      : [0, 1, 2, 3, 5, 10, 11, 12, 13];
    assert.deepEqual(rows, expected);
    new RegionWalk(index, region, true).take(3, 7, 100, rows);
    assert.deepEqual(rows, region.entityPrefix === "user:0" ? [4] : [3, 4, 5]);
  }
});

test("a place in a posting list stays valid while its list, and others, grow", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(2), fc.integer({ min: 1, max: 9 }), fc.nat(3)), { maxLength: 2000 }),
      fc.nat(500),
      (pushes, start) => {
        const lists = new PostingLists();
        const place: PostingPlace = { list: 1, block: 0, at: 0 };
        lists.seek(place, 0);
        const expected: number[] = [];
        const found: number[] = [];
        let row = 0;
        for (const [list, step, reads] of pushes) {
          row += step;
          lists.push(list, row);
          if (list === 1) expected.push(row);
          for (let n = 0; n < reads && lists.peek(place) !== -1; n++) {
            found.push(lists.peek(place));
            place.at++;
          }
        }
        for (; lists.peek(place) !== -1; place.at++) found.push(lists.peek(place));
        assert.deepEqual(found, expected);
        lists.seek(place, start);
        assert.equal(lists.peek(place), expected.find((row) => row >= start) ?? -1);
      },
    ),
  );
});
