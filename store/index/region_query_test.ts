import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { EventIndex } from "./event_index.ts";
import type { EventKind } from "../event_kind.ts";
import { encodeFrame, FRAME_HEADER_SIZE, FrameDraft, frameSizeBound, sealFrame } from "../frame.ts";
import { NAME_UNKNOWN } from "./interner.ts";
import { Region, type RegionFilters } from "../region.ts";
import { findName, rowsOf } from "./region_query.ts";

interface Sample {
  readonly entity: string;
  readonly scope: string;
  readonly kind: number;
  readonly lane: number;
  readonly clock: number;
  readonly tags: readonly string[];
}

function indexOf(samples: readonly Sample[]): EventIndex {
  const index = new EventIndex();
  const draft = new FrameDraft();
  for (const sample of samples) {
    Object.assign(draft, sample);
    const bytes = new Uint8Array(frameSizeBound(draft));
    sealFrame(bytes, 0, encodeFrame(draft, bytes, 0), draft.payload);
    index.add(bytes, FRAME_HEADER_SIZE, 0, undefined);
  }
  return index;
}

/** What a region means, written down once more and as plainly as can be. */
function isSelected(sample: Sample, filters: RegionFilters): boolean {
  const { entity, scope, kind, category, lane, clock, tags } = filters;
  return (entity === undefined || sample.entity === entity ||
    sample.entity.startsWith(`${entity}:`)) &&
    (scope === undefined || sample.scope === scope) &&
    (kind === undefined || kind === "any" || sample.kind === kind) &&
    (category === undefined || Math.floor(sample.kind / 4096) === category) &&
    (lane === undefined || sample.lane === lane) &&
    (clock === undefined || (sample.clock >= clock[0] && sample.clock <= clock[1])) &&
    (tags ?? []).every((tag) => sample.tags.includes(tag));
}

const ENTITIES = ["user", "user:1", "user:1:cart", "user:2", "users", "order:1", ":odd", "größe:1"];
const SCOPES = ["app", "shop", "größe"];
const KINDS = [0x1000, 0x1001, 0x2000, 0xf001, 0x0008];
const TAGS = ["eu", "us", "vip", "größe"];

function anyHistory(maxLength: number): fc.Arbitrary<Sample[]> {
  const event = fc.record({
    entity: fc.constantFrom(...ENTITIES),
    scope: fc.constantFrom(...SCOPES),
    kind: fc.constantFrom(...KINDS),
    lane: fc.constantFrom(0, 0, 0, 1, 0xffff_ffff),
    tags: fc.uniqueArray(fc.constantFrom(...TAGS), { maxLength: 3 }),
  });
  return fc.array(event, { maxLength }).map((events) => {
    const clocks = new Map<string, number>();
    return events.map((event) => {
      const chain = `${event.lane} ${event.entity}`;
      const clock = clocks.get(chain) ?? 0;
      clocks.set(chain, clock + 1);
      return { ...event, clock };
    });
  });
}

const anyFilters: fc.Arbitrary<RegionFilters> = fc.record({
  entity: fc.option(fc.constantFrom(...ENTITIES, "", "use", "nobody", "order"), { nil: undefined }),
  scope: fc.option(fc.constantFrom(...SCOPES, "nowhere"), { nil: undefined }),
  fact: fc.oneof(
    fc.constant({}),
    fc.constant({ kind: "any" as const }),
    fc.constantFrom(...KINDS, 0x3000).map((kind) => ({ kind: kind as EventKind })),
    fc.nat(15).map((category) => ({ category })),
  ),
  lane: fc.option(fc.constantFrom(0, 1, 2, 0xffff_ffff), { nil: undefined }),
  clock: fc.option(
    fc.tuple(fc.nat(5), fc.nat(5)).map(([start, size]) => [start, start + size] as const),
    { nil: undefined },
  ),
  tags: fc.option(fc.uniqueArray(fc.constantFrom(...TAGS, "none"), { maxLength: 3 }), {
    nil: undefined,
  }),
}).map(({ fact, ...rest }) => ({ ...rest, ...fact }));

function take<T>(items: Iterable<T>, limit: number): T[] {
  const taken: T[] = [];
  if (limit === 0) return taken;
  for (const item of items) {
    taken.push(item);
    if (taken.length === limit) break;
  }
  return taken;
}

test("rowsOf() finds what a search through all events finds, whatever the filters", () => {
  fc.assert(
    fc.property(
      anyHistory(150),
      fc.array(anyFilters, { minLength: 1, maxLength: 12 }),
      fc.nat(160),
      fc.nat(160),
      fc.boolean(),
      fc.oneof(fc.constant(Infinity), fc.nat(20)),
      (samples, queries, a, b, reverse, limit) => {
        const index = indexOf(samples);
        const start = Math.min(a, b, samples.length);
        const end = Math.min(Math.max(a, b), samples.length);
        for (const filters of queries) {
          const expected = samples.flatMap((sample, row) =>
            row >= start && row < end && isSelected(sample, filters) ? [row] : []
          );
          if (reverse) expected.reverse();
          const found = take(rowsOf(index, Region.from(filters), { start, end, reverse }), limit);
          assert.deepEqual(found, expected.slice(0, limit), JSON.stringify(filters));
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("rowsOf() finds the same whichever list is the shortest", () => {
  // A hundred thousand events would be needed for some choices; weights are what matters here.
  const weights = [1, 3, 10, 200];
  const samples: Sample[] = [];
  for (const [i, weight] of weights.entries()) {
    for (let n = 0; n < weight; n++) {
      samples.push({
        entity: `a:${(n * (i + 1)) % 40}`,
        scope: SCOPES[i % 3],
        kind: KINDS[(i + n) % KINDS.length],
        lane: 0,
        clock: n,
        tags: n % (i + 2) === 0 ? [TAGS[i]] : [],
      });
    }
  }
  const index = indexOf(samples);
  const regions: RegionFilters[] = [];
  for (const entity of [undefined, "a", "a:0", "a:39"]) {
    for (const scope of [undefined, ...SCOPES]) {
      for (const kind of [undefined, ...KINDS]) {
        for (const tags of [undefined, ["eu"], ["größe"], ["eu", "us"]]) {
          regions.push({ entity, scope, kind: kind as EventKind | undefined, tags });
        }
      }
    }
  }
  const end = samples.length;
  for (const filters of regions) {
    for (const range of [{ start: 0, end }, { start: 5, end: 60 }, { start: end - 20, end }]) {
      const expected = samples.flatMap((sample, row) =>
        row >= range.start && row < range.end && isSelected(sample, filters) ? [row] : []
      );
      const region = Region.from(filters);
      assert.deepEqual([...rowsOf(index, region, range)], expected, JSON.stringify(filters));
      assert.deepEqual([...rowsOf(index, region, { ...range, reverse: true })], expected.reverse());
    }
  }
});

test("rowsOf() gives nothing for an empty or inverted range, and for an empty index", () => {
  const index = indexOf([
    { entity: "user", scope: "app", kind: 0x1000, lane: 0, clock: 0, tags: ["eu"] },
  ]);
  for (const filters of [{}, { entity: "user" }, { scope: "app" }, { tags: ["eu"] }]) {
    const region = Region.from(filters);
    for (const reverse of [false, true]) {
      assert.deepEqual([...rowsOf(index, region, { start: 0, end: 1, reverse })], [0]);
      assert.deepEqual([...rowsOf(index, region, { start: 1, end: 1, reverse })], []);
      assert.deepEqual([...rowsOf(index, region, { start: 1, end: 0, reverse })], []);
      assert.deepEqual([...rowsOf(new EventIndex(), region, { start: 0, end: 0, reverse })], []);
    }
  }
});

test("rowsOf() shows a walk in progress nothing that is added meanwhile", () => {
  const samples = Array.from({ length: 300 }, (_, n): Sample => ({
    entity: `user:${n % 7}`,
    scope: "app",
    kind: 0x1000,
    lane: 0,
    clock: Math.floor(n / 7),
    tags: [],
  }));
  const index = indexOf(samples);
  const draft = new FrameDraft();
  for (const filters of [{}, { entity: "user" }, { entity: "user:3" }, { scope: "app" }]) {
    for (const reverse of [false, true]) {
      const end = index.count;
      const before = [...rowsOf(index, Region.from(filters), { start: 0, end, reverse })];
      const seen: number[] = [];
      for (const row of rowsOf(index, Region.from(filters), { start: 0, end, reverse })) {
        seen.push(row);
        if (seen.length % 10 !== 0) continue;
        Object.assign(draft, samples[seen.length % 7], { clock: index.count });
        const bytes = new Uint8Array(frameSizeBound(draft));
        sealFrame(bytes, 0, encodeFrame(draft, bytes, 0), draft.payload);
        index.add(bytes, FRAME_HEADER_SIZE, 0, undefined);
      }
      assert.deepEqual(seen, before);
    }
  }
});

test("names that are too long or no text at all are simply not there", () => {
  const index = indexOf([
    { entity: "é".repeat(512), scope: "s", kind: 0x1000, lane: 0, clock: 0, tags: [] },
  ]);
  const all = { start: 0, end: 1 };
  assert.deepEqual([...rowsOf(index, Region.entity("é".repeat(512)), all)], [0]);
  assert.deepEqual([...rowsOf(index, Region.entity("é".repeat(513)), all)], []);
  assert.deepEqual([...rowsOf(index, Region.entity("x".repeat(100_000)), all)], []);
  assert.deepEqual([...rowsOf(index, Region.scope("x".repeat(100_000)), all)], []);
  assert.equal(findName(index.entities, "é".repeat(512)), 0);
  assert.equal(findName(index.entities, "\ud800"), NAME_UNKNOWN);
  assert.equal(findName(index.entities, ""), NAME_UNKNOWN);
});

test("the work for a rare name does not grow with the journal", () => {
  const samples = Array.from({ length: 20_000 }, (_, n): Sample => ({
    entity: `user:${n % 100}`,
    scope: n === 9_999 ? "rare" : "app",
    kind: 0x1000,
    lane: 0,
    clock: Math.floor(n / 100),
    tags: [],
  }));
  const index = indexOf(samples);
  let looks = 0;
  const counted = new Proxy(index, {
    get(target, name) {
      if (name === "chainOf") looks++;
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const end = index.count;
  assert.deepEqual([...rowsOf(counted, Region.scope("rare"), { start: 0, end })], [9_999]);
  assert.ok(looks <= 1, `${looks} events were looked at`);
  looks = 0;
  assert.equal([...rowsOf(counted, Region.entity("user:7"), { start: 0, end })].length, 200);
  assert.ok(looks <= 200, `${looks} events were looked at`);
});
