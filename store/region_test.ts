import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { EventKind } from "./event_kind.ts";
import {
  ClockRange,
  entityMatches,
  EventCategory,
  KindFilter,
  Region,
  type RegionEvent,
  type RegionFilters,
} from "./region.ts";

const KIND = EventKind.custom(0xf, 0x001);
const EVENT: RegionEvent = {
  entity: "order:1001",
  scope: "shop",
  kind: KIND,
  lane: 0,
  tags: ["urgent", "eu"],
};

test("entityMatches() takes the entity itself and everything below it", () => {
  assert.ok(entityMatches("alice", "alice"));
  assert.ok(entityMatches("alice", "alice:child"));
  assert.ok(entityMatches("alice", "alice:child:grandchild"));
  assert.ok(entityMatches("alice", "alice:"));
  assert.ok(entityMatches("alice:child", "alice:child"));
});

test("entityMatches() tells apart neighbours and look-alikes", () => {
  for (const entity of ["alice2", "alice-prod", "alic", "Alice", "bob:alice", "ali", ""]) {
    assert.ok(!entityMatches("alice", entity));
  }
  const withCyrillicI = "al\u0456ce";
  assert.ok(!entityMatches("alice", withCyrillicI));
  assert.ok(!entityMatches("alice", `${withCyrillicI}:child`));
  const decomposed = "cafe\u0301";
  assert.ok(!entityMatches("caf\u00e9", decomposed));
});

test("entityMatches() does not glob, and an empty prefix is not everything", () => {
  assert.ok(!entityMatches("*", "alice"));
  assert.ok(!entityMatches("alice:*", "alice:child"));
  assert.ok(!entityMatches("", "alice"));
  assert.ok(entityMatches("", ":alice"));
});

test("entityMatches() agrees with its definition on any names", () => {
  const name = fc.string({ unit: fc.constantFrom("a", "b", ":"), maxLength: 5 });
  fc.assert(
    fc.property(name, name, (prefix, entity) => {
      const expected = entity === prefix || entity.startsWith(`${prefix}:`);
      assert.equal(entityMatches(prefix, entity), expected);
    }),
    { numRuns: 1000 },
  );
});

test("matchesEvent() wants every filter to hold", () => {
  const inside = [
    Region.all(),
    Region.entity("order"),
    Region.entity("order:1001"),
    Region.scope("shop"),
    Region.all().withFact(KindFilter.exact(KIND)),
    Region.all().withFactCategory(0xf),
    Region.all().withFact(KindFilter.any),
    Region.all().withLane(0),
    Region.all().withTags(["eu"]),
    Region.all().withTags(["eu", "urgent"]),
    Region.all().withTags([]),
    Region.entity("order").withScope("shop").withFactCategory(0xf).withLane(0).withTags(["eu"]),
  ];
  for (const region of inside) assert.ok(region.matchesEvent(EVENT), region.identity());
  const outside = [
    Region.entity("orders"),
    Region.entity("order:1"),
    Region.scope("sho"),
    Region.scope("shop:1"),
    Region.all().withFact(KindFilter.exact(EventKind.DATA)),
    Region.all().withFactCategory(0x1),
    Region.all().withLane(1),
    Region.all().withTags(["eu", "us"]),
    Region.entity("order").withScope("shop").withFactCategory(0xf).withLane(0).withTags(["us"]),
  ];
  for (const region of outside) assert.ok(!region.matchesEvent(EVENT), region.identity());
});

test("matchesEvent() leaves the clock range out", () => {
  assert.ok(Region.all().withClockRange(ClockRange.of(5, 5)).matchesEvent(EVENT));
});

test("matchesEvent() never matches a lane or tags it is not told", () => {
  const { lane: _lane, tags: _tags, ...bare } = EVENT;
  assert.ok(Region.entity("order").matchesEvent(bare));
  assert.ok(!Region.all().withLane(0).matchesEvent(bare));
  assert.ok(!Region.all().withTags(["eu"]).matchesEvent(bare));
});

test("identity() is the documented text", () => {
  const identities: [Region, string][] = [
    [Region.all(), "entity=*|scope=*|fact=none|clock=*"],
    [Region.entity("entity:roundtrip"), "entity=entity:roundtrip|scope=*|fact=none|clock=*"],
    [Region.scope("shop"), "entity=*|scope=shop|fact=none|clock=*"],
    [Region.all().withFact(KindFilter.any), "entity=*|scope=*|fact=any|clock=*"],
    [
      Region.all().withFact(KindFilter.exact(EventKind.custom(0xf, 0x0ab))),
      "entity=*|scope=*|fact=exact:f:ab|clock=*",
    ],
    [Region.all().withFactCategory(0xd), "entity=*|scope=*|fact=category:d|clock=*"],
    [Region.all().withClockRange(ClockRange.of(3, 17)), "entity=*|scope=*|fact=none|clock=3-17"],
    [Region.all().withLane(0), "entity=*|scope=*|fact=none|clock=*|lane=0"],
    [
      Region.all().withTags(["b,c", "a|é"]),
      "entity=*|scope=*|fact=none|clock=*|tags=a%7C%C3%A9,b%2Cc",
    ],
    [
      Region.entity("e").withScope("s").withFactCategory(1).withClockRange(ClockRange.of(0, 1))
        .withLane(7).withTags(["t"]),
      "entity=e|scope=s|fact=category:1|clock=0-1|lane=7|tags=t",
    ],
  ];
  for (const [region, identity] of identities) {
    assert.equal(region.identity(), identity);
    assert.deepEqual(Region.fromIdentity(identity), region);
  }
});

test("fromIdentity() knows no region where identity() would not have written the text", () => {
  const others = [
    "",
    "order",
    "entity=*|scope=*|fact=none",
    "entity=*|scope=*|fact=none|clock=*|",
    "entity=*|scope=*|fact=none|clock=*|lane=01",
    "entity=*|scope=*|fact=none|clock=*|lane=4294967296",
    "entity=*|scope=*|fact=none|clock=3",
    "entity=*|scope=*|fact=none|clock=17-3",
    "entity=*|scope=*|fact=exact:f:AB|clock=*",
    "entity=*|scope=*|fact=exact:10:1|clock=*",
    "entity=*|scope=*|fact=anything|clock=*",
    "entity=*|scope=*|fact=none|clock=*|tags=b,a",
    "entity=*|scope=*|fact=none|clock=*|tags=%",
    "entity=*|scope=*|fact=none|clock=*|tags=",
  ];
  for (const text of others) assert.equal(Region.fromIdentity(text), undefined, text);
});

test("a literal star is not taken for an absent filter", () => {
  assert.equal(Region.entity("*").identity(), "entity=**|scope=*|fact=none|clock=*");
  assert.equal(Region.scope("**").identity(), "entity=*|scope=***|fact=none|clock=*");
  assert.equal(Region.entity("*a").identity(), "entity=*a|scope=*|fact=none|clock=*");
});

test("the order and the number of equal tags make no other region", () => {
  assert.equal(
    Region.all().withTags(["b", "a", "b"]).identity(),
    Region.all().withTags(["a", "b"]).identity(),
  );
});

const text = fc.string({
  unit: fc.constantFrom("a", "*", ":", ",", "%", "-", "é", "😀"),
  maxLength: 3,
});
const place = {
  entity: text,
  scope: text,
  lane: fc.nat(2),
  clock: fc.tuple(fc.nat(2), fc.integer({ min: 2, max: 4 })),
  tags: fc.array(text.filter((tag) => tag !== ""), { minLength: 1, maxLength: 3 }),
};
const kind = fc.constantFrom(KIND, EventKind.DATA, "any" as const);
const category = fc.constantFrom(0, 1, 15);
const filters: fc.Arbitrary<RegionFilters> = fc.oneof(
  fc.record({ ...place, kind }, { requiredKeys: [] }),
  fc.record({ ...place, category }, { requiredKeys: [] }),
);

/** What a region is, tags as the set they are. */
function meaningOf(filters: RegionFilters): string {
  const { entity, scope, kind, category, lane, clock, tags } = filters;
  const set = tags && [...new Set(tags)].sort();
  return JSON.stringify([entity, scope, kind, category, lane, clock, set].map((v) => v ?? null));
}

test("identity() is the same exactly for the same filters", () => {
  fc.assert(
    fc.property(filters, filters, (a, b) => {
      const isSame = meaningOf(a) === meaningOf(b);
      assert.equal(Region.from(a).identity() === Region.from(b).identity(), isSame);
    }),
    { numRuns: 2000 },
  );
});

test("Region.from() reads back what toJSON() wrote", () => {
  fc.assert(
    fc.property(filters, (filters) => {
      const region = Region.from(filters);
      const copy = Region.from(JSON.parse(JSON.stringify(region)));
      assert.deepEqual(copy, region);
      assert.equal(copy.identity(), region.identity());
      assert.deepEqual(Region.fromIdentity(region.identity()), region);
    }),
  );
});

test("Region.from() gives what the builders give", () => {
  const region = Region.from({
    entity: "order",
    scope: "shop",
    kind: KIND,
    lane: 1,
    clock: [2, 3],
    tags: ["eu"],
  });
  const built = Region.entity("order").withScope("shop").withFact(KindFilter.exact(KIND))
    .withLane(1).withClockRange(ClockRange.of(2, 3)).withTags(["eu"]);
  assert.deepEqual(region, built);
  assert.equal(Region.from(region), region);
  assert.deepEqual(Region.from({}), Region.all());
  assert.deepEqual(Region.from({ entity: undefined, kind: undefined }), Region.all());
});

test("Region.from() refuses a key that is no filter, and a contradiction", () => {
  assert.throws(
    // @ts-expect-error a typing mistake
    () => Region.from({ entty: "order" }),
    new TypeError(
      'Cannot filter by "entty": the filters are entity, scope, kind, category, lane, clock, tags',
    ),
  );
  assert.throws(() => Region.from({ kind: KIND, category: 1 }), TypeError);
  assert.throws(() => Region.from("order" as RegionFilters), TypeError);
  assert.throws(() => Region.from(null as unknown as RegionFilters), TypeError);
});

test("a region cannot be changed, and a builder makes a new one", () => {
  const region = Region.entity("order").withTags(["eu"]);
  const narrower = region.withScope("shop");
  assert.equal(region.scope, undefined);
  assert.equal(narrower.entityPrefix, "order");
  assert.throws(() => Object.assign(region, { scope: "shop" }), TypeError);
  assert.throws(() => (region.tags as string[]).push("us"), TypeError);
});

test("a region error names the offending numbers", () => {
  const refused: [() => unknown, string, RegExp][] = [
    [() => ClockRange.of(9, 4), "InvertedClockRange", /clocks 9 to 4/],
    [() => ClockRange.of(-1, 4), "ClockOutOfRange", /clock -1:/],
    [() => ClockRange.of(0, 2 ** 32), "ClockOutOfRange", /clock 4294967296:/],
    [() => ClockRange.of(0.5, 1), "ClockOutOfRange", /clock 0\.5:/],
    [() => EventCategory.of(16), "CategoryOutOfRange", /category 16:/],
    [() => Region.all().withFactCategory(-1), "CategoryOutOfRange", /category -1:/],
    [() => Region.all().withLane(2 ** 32), "LaneOutOfRange", /lane 4294967296:/],
    [() => Region.from({ lane: NaN }), "LaneOutOfRange", /lane NaN:/],
    [() => Region.from({ clock: [2, 1] }), "InvertedClockRange", /clocks 2 to 1/],
    [() => KindFilter.exact(0x10000 as EventKind), "KindOutOfRange", /kind 65536:/],
  ];
  for (const [act, reason, message] of refused) {
    assert.throws(act, { code: "REGION", reason, message });
  }
});

test("a region checks filters and ranges that were not made by their functions", () => {
  const region = Region.all();
  assert.throws(() => region.withClockRange({ start: 2, end: 1 }), {
    reason: "InvertedClockRange",
  });
  assert.throws(
    () => region.withFact({ type: "category", category: 99 as EventCategory }),
    { reason: "CategoryOutOfRange" },
  );
  assert.throws(() => region.withFact({ type: "all" } as unknown as KindFilter), TypeError);
});

test("a region refuses text that no coordinate contains", () => {
  for (const bad of ["a|b", "a=b", "a\ud800"]) {
    assert.throws(() => Region.entity(bad), { code: "REGION", reason: "InvalidText" });
    assert.throws(() => Region.scope(bad), { code: "REGION", reason: "InvalidText" });
  }
  assert.throws(() => Region.entity(1 as unknown as string), TypeError);
  assert.throws(() => Region.all().withTags([""]), { code: "TAG", reason: "Empty" });
});

test("a clock range may hold one clock and every clock", () => {
  assert.deepEqual(ClockRange.of(7, 7), { start: 7, end: 7 });
  assert.deepEqual(ClockRange.of(0, 0xffff_ffff), { start: 0, end: 0xffff_ffff });
});

test("reserved categories may be asked for", () => {
  assert.equal(EventCategory.of(0x0), 0x0);
  assert.equal(EventCategory.of(0xd), 0xd);
  assert.equal(EventCategory.ofKind(EventKind.EFFECT_ACK), 0xd);
});
