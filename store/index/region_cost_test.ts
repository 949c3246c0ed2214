/**
 * How much a query looks at: rows are counted, not timed. A query that gives the right answer by looking at
 * everything is what these tests are against.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs } from "../../platform/memory.ts";
import { addRow, idOf } from "../../tests/support/index_builder.ts";
import { openIndexed, readIndexed } from "../../tests/support/cold_start.ts";
import { KIND } from "../../tests/support/journal.ts";
import { EventIndex } from "./event_index.ts";
import { EventKind } from "../event_kind.ts";
import type { JournalReader } from "../journal_reader.ts";
import { Region, type RegionFilters } from "../region.ts";
import { type RowRange, rowsOf } from "./region_query.ts";
import type { EventSource } from "../stored_event.ts";

const COUNT = 50_000;

/**
 * 50,000 events: two entities below `user` turn by turn, but for every thousandth, which is one of fifty
 * below `order`; every other one bears `half`, the first half `early`, the first five `rare`, and number
 * 30,000 `once`.
 */
const INDEX = (() => {
  const index = new EventIndex();
  const clocks = new Map<string, number>();
  for (let n = 0; n < COUNT; n++) {
    const entity = n % 1000 === 999 ? `order:${n}` : `user:${n % 2}`;
    const clock = clocks.get(entity) ?? 0;
    clocks.set(entity, clock + 1);
    const tags = [
      ...(n % 2 === 0 ? ["half"] : []),
      ...(n < COUNT / 2 ? ["early"] : []),
      ...(n < 5 ? ["rare"] : []),
      ...(n === 30_000 ? ["once"] : []),
    ];
    const kind = n % 100 === 0 ? 0xf001 : 0x1000;
    addRow(index, { id: idOf(n), entity, scope: "app", lane: 0, clock, kind, tags, offset: n });
  }
  return index;
})();

/** Counts the rows that are looked at while `action` runs, and what the lists give out. */
function looksOf(index: EventIndex, action: () => void): number {
  let looks = 0;
  const { chainOf } = index;
  index.chainOf = function (row) {
    looks++;
    return chainOf.call(index, row);
  };
  try {
    action();
  } finally {
    index.chainOf = chainOf;
  }
  return looks;
}

/** The first `limit` rows of a region, and how many were looked at for them. */
function ask(
  filters: RegionFilters,
  limit = Infinity,
  range: Partial<RowRange> = {},
): { rows: number[]; looks: number } {
  const rows: number[] = [];
  const looks = looksOf(INDEX, () => {
    if (limit === 0) return;
    for (const row of rowsOf(INDEX, Region.from(filters), { start: 0, end: COUNT, ...range })) {
      rows.push(row);
      if (rows.length >= limit) return;
    }
  });
  return { rows, looks };
}

test("the newest event with a tag costs one look, however many there are", () => {
  assert.deepEqual(ask({ tags: ["half"] }, 1, { reverse: true }), { rows: [49_998], looks: 1 });
  assert.deepEqual(ask({ tags: ["once"] }, 1, { reverse: true }), { rows: [30_000], looks: 1 });
  assert.deepEqual(ask({ tags: ["rare"] }, 1, { reverse: true }), { rows: [4], looks: 1 });
  assert.deepEqual(ask({ tags: ["half"] }, 3), { rows: [0, 2, 4], looks: 3 });
});

test("a name that nobody uses costs no look at all", () => {
  for (
    const filters of [
      { tags: ["none"] },
      { tags: ["half", "none"] },
      { scope: "none" },
      { entity: "none" },
      { category: 0xe },
    ]
  ) assert.deepEqual(ask(filters), { rows: [], looks: 0 });
});

test("of several filters the rarest gives the candidates", () => {
  const common = { entity: "user", scope: "app", category: 0x1 } as const;
  assert.deepEqual(ask({ ...common, tags: ["rare"] }), { rows: [1, 2, 3, 4], looks: 5 });
  assert.deepEqual(ask({ ...common, tags: ["half", "once"] }), { rows: [], looks: 1 });
  assert.deepEqual(ask({ scope: "app", tags: ["half", "rare"] }), { rows: [0, 2, 4], looks: 5 });
  assert.deepEqual(ask({ entity: "order:999", scope: "app", tags: ["half"] }), {
    rows: [],
    looks: 1,
  });
  assert.equal(ask({ kind: EventKind.fromRaw(0xf001), tags: ["half"] }).looks, 500);
});

test("a prefix of some entities is looked at where they are, from either end", () => {
  const all = ask({ entity: "order" });
  assert.equal(all.rows.length, 50);
  assert.equal(all.looks, 50);
  assert.deepEqual(ask({ entity: "order" }, 1), { rows: [999], looks: 1 });
  assert.deepEqual(ask({ entity: "order" }, 2, { reverse: true }), {
    rows: [49_999, 48_999],
    looks: 2,
  });
});

test("a prefix of nearly everything costs what it gives", () => {
  assert.deepEqual(ask({ entity: "user" }, 2), { rows: [0, 1], looks: 2 });
  const newest = ask({ entity: "user" }, 2, { reverse: true });
  assert.deepEqual(newest.rows, [49_998, 49_997]);
  assert.ok(newest.looks <= 3);
});

test("backwards and limit stop where they have enough", () => {
  assert.deepEqual(ask({}, 1, { reverse: true }), { rows: [49_999], looks: 1 });
  assert.deepEqual(ask({ scope: "app" }, 4), { rows: [0, 1, 2, 3], looks: 4 });
  assert.deepEqual(ask({ scope: "app" }, 0), { rows: [], looks: 0 });
  assert.deepEqual(ask({ category: 0xf }, 2, { reverse: true }), {
    rows: [49_900, 49_800],
    looks: 2,
  });
});

test("a window costs no more looks than it is wide", () => {
  const windows: [filters: RegionFilters, range: Partial<RowRange>, looks: number][] = [
    [{ tags: ["half"] }, { start: 49_990 }, 10],
    [{ tags: ["half"] }, { end: 10 }, 10],
    [{ tags: ["half"] }, { start: 25_000, end: 25_010, reverse: true }, 10],
    [{ tags: ["rare"] }, { start: 25_000, end: 25_010 }, 0],
    [{ tags: ["rare"] }, { start: 3, end: 40_000 }, 2],
    [{ tags: ["half"] }, { start: 20_000 }, 15_000],
    // A list is as long as the window is wide, and has nothing in it: the list knows.
    [{ tags: ["half"] }, { start: 26_000 }, 12_000],
    [{ tags: ["early"] }, { start: 26_000 }, 0],
    [{ tags: ["early"] }, { start: 26_000, reverse: true }, 0],
    [{ tags: ["early"] }, { start: 24_999 }, 1],
    [{ entity: "order" }, { start: 10_000, end: 20_000 }, 10],
    [{ scope: "app", tags: ["once"] }, { start: 30_001 }, 0],
    [{}, { start: 5, end: 5 }, 0],
    [{}, { start: 9, end: 5 }, 0],
  ];
  for (const [filters, range, looks] of windows) {
    const found = ask(filters, Infinity, range);
    assert.ok(found.looks <= looks, `${JSON.stringify([filters, range])}: ${found.looks} looks`);
  }
});

/** What a test may see of a store that nobody else may. */
function indexOf(reader: JournalReader): EventIndex {
  return (reader as unknown as { source: EventSource }).source.index;
}

test("a tag condition of an append looks at the events with the tag, on a restored index too", () => {
  const fs = new MemoryFs();
  const count = 20_000;
  {
    using store = openIndexed(fs);
    for (let first = 0; first < count; first += 250) {
      store.appendBatch(Array.from({ length: 250 }, (_, i) => ({
        entity: `seat:${(first + i) % 500}`,
        scope: "hall",
        kind: KIND,
        payload: null,
        tags: [`booking:${first + i}`, "all"],
      })));
    }
  }
  using store = openIndexed(fs);
  assert.equal(store.openReport.indexFile, "loaded");
  const index = indexOf(store);
  const append = (failIf: Parameters<typeof store.append>[3]) =>
    store.append({ entity: "seat:1", scope: "hall" }, KIND, null, failIf);
  /** Looks of a condition alone: the append itself takes as many as one without. */
  const looks = (failIf: NonNullable<Parameters<typeof store.append>[3]>["failIf"]) =>
    looksOf(index, () => {
      try {
        append({ failIf });
      } catch (error) {
        assert.equal((error as Error).name, "ConditionConflictError");
      }
    });
  const plain = looksOf(index, () => append({}));
  assert.equal(looks({ tags: ["booking:none"] }) - plain, 0);
  assert.equal(looks({ tags: ["booking:7"] }) - plain, 1);
  assert.equal(looks({ region: { entity: "seat:7" }, tags: ["booking:7", "all"] }) - plain, 1);
  assert.equal(looks({ region: { entity: "seat:8" }, tags: ["booking:7", "all"] }) - plain, 1);
  // As many as are reported, and the two that stand in front of them: nearly every event has the tag.
  assert.ok(looks({ tags: ["all"] }) - plain <= 18);
  // Nothing behind what the caller has seen.
  const after = store.stats().nextSequence - 1;
  assert.equal(looks({ tags: ["all"], after }) - plain, 0);
});

test("the newest event of a region is found at once on every path", () => {
  const fs = new MemoryFs();
  {
    using store = openIndexed(fs, { segmentMaxBytes: 100_000 });
    for (let i = 0; i < 2000; i++) {
      store.append({ entity: `user:${i % 7}`, scope: "app" }, KIND, i, {
        tags: i % 50 === 0 ? ["fifty"] : [],
      });
    }
  }
  for (const coldStart of [{}, { indexFile: false }, { indexFile: false, footers: false }]) {
    using reader = readIndexed(fs, { coldStart });
    const index = indexOf(reader);
    let payload: unknown;
    const looks = looksOf(index, () => {
      const events = reader.events({ tags: ["fifty"] }, { reverse: true, limit: 1 });
      for (const event of events) payload = event.payload;
    });
    assert.deepEqual([payload, looks], [1950, 1]);
  }
});
