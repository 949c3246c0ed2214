// Spec 6.7: queries, pages, walks, causes; every answer against a scan that anybody can read.
import assert from "node:assert/strict";
import { test } from "node:test";
import { defineEvent } from "./event_definition.ts";
import fc from "fast-check";
import { crc32 } from "../platform/checksum.ts";
import { MemoryFs } from "../platform/memory.ts";
import {
  DIR,
  factsOf,
  openIn,
  ORDER,
  OTHER,
  ownEvents,
  PAID,
  PLACED,
} from "../tests/support_api/journal.ts";
import { someOf } from "../tests/support_api/arbitraries.ts";
import { isInRegion, type RegionSubject } from "../tests/support_api/region_model.ts";
import { CorruptionError } from "./errors.ts";
import { EventKind } from "./event_kind.ts";
import { FRAME_HEADER_SIZE } from "./frame.ts";
import { EventId, OperationKey } from "./ids.ts";
import type { EventsOptions, JournalReader, StoreStats } from "./journal_reader.ts";
import type { RegionFilters } from "./region.ts";
import { Store } from "./store.ts";
import type { StoredEvent } from "./stored_event.ts";

/** What an event of the model says. */
interface ModelEvent extends RegionSubject {
  readonly globalSequence: number;
}

/** What `events()` has to give. */
function scan(
  model: readonly ModelEvent[],
  region: RegionFilters,
  { after = -1, before = Infinity, limit = Infinity, reverse = false }: EventsOptions = {},
): number[] {
  const sequences = model
    .filter((event) => isInRegion(region, event))
    .map(({ globalSequence }) => globalSequence)
    .filter((sequence) => sequence > after && sequence < before);
  if (reverse) sequences.reverse();
  return sequences.slice(0, limit === Infinity ? undefined : limit);
}

function modelOf(reader: JournalReader): ModelEvent[] {
  const model: ModelEvent[] = [];
  for (let sequence = 0; sequence < reader.stats().nextSequence; sequence++) {
    const { globalSequence, entity, scope, kind, clock, lane, tags } = reader.at(sequence)!;
    model.push({ globalSequence, entity, scope, kind, clock, lane, tags });
  }
  return model;
}

function sequencesOf(events: Iterable<StoredEvent>): number[] {
  return Array.from(events, ({ globalSequence }) => globalSequence);
}

const ENTITIES = ["user", "user:1", "user:1:cart", "user:2", "users", "alice", "аlice", ":x"];
const SCOPES = ["app", "audit", "app:sub"];
const KINDS = [PLACED, PAID, EventKind.DATA, EventKind.custom(0xe, 0x001)];
const TAGS = ["a", "b", "c"];

const appends = fc.array(
  fc.record({
    entity: fc.constantFrom(...ENTITIES),
    scope: fc.constantFrom(...SCOPES),
    kind: fc.constantFrom(...KINDS),
    lane: fc.nat(2),
    tags: fc.subarray(TAGS),
  }),
  { maxLength: 60, size: "max" },
);
const regions: fc.Arbitrary<RegionFilters> = someOf<RegionFilters>({
  entity: fc.constantFrom(...ENTITIES, "", "nobody", "batpak:store", "use"),
  scope: fc.constantFrom(...SCOPES, "batpak:lifecycle", "nowhere"),
  kind: fc.constantFrom(...KINDS, EventKind.SYSTEM_OPEN_COMPLETED, "any" as const),
  category: fc.constantFrom(0x0, 0x1, 0xd, 0xe, 0xf),
  lane: fc.nat(3),
  clock: fc.tuple(fc.nat(4), fc.nat(6)).map(([a, b]) => [a, a + b] as const),
  tags: fc.subarray([...TAGS, "unknown"], { maxLength: 2 }),
}, 3).map((region) =>
  // The two exclude each other.
  region.kind === undefined ? region : { ...region, category: undefined }
);
const ranges = fc.record({
  after: fc.nat(70),
  before: fc.nat(70),
  limit: fc.nat(70),
  reverse: fc.boolean(),
}, { requiredKeys: [] });

test("query(), queryAfter() and events() answer as a naive scan, live, reopened and read-only", () => {
  fc.assert(
    fc.property(
      appends,
      fc.array(fc.tuple(regions, ranges), { minLength: 8, maxLength: 8 }),
      fc.integer({ min: 1500, max: 20_000 }),
      (events, questions, segmentMaxBytes) => {
        const fs = new MemoryFs();
        const store = openIn(fs, { segmentMaxBytes });
        for (const { entity, scope, kind, ...options } of events) {
          store.append({ entity, scope }, kind, 1, options);
        }
        const check = (reader: JournalReader) => {
          const model = modelOf(reader);
          for (const [region, range] of questions) {
            assert.deepEqual(sequencesOf(reader.query(region)), scan(model, region));
            assert.deepEqual(sequencesOf(reader.events(region, range)), scan(model, region, range));
            const { after, limit = 5 } = range;
            assert.deepEqual(
              sequencesOf(reader.queryAfter(region, after, limit)),
              scan(model, region, { after, limit }),
            );
          }
        };
        check(store);
        store.close();
        using reader = Store.openReadOnly(DIR, { fs });
        check(reader);
        using again = openIn(fs);
        check(again);
      },
    ),
    { numRuns: 60 },
  );
});

test("every single filter, and every pair of filters, on a journal one can read", () => {
  using store = openIn(new MemoryFs());
  let i = 0;
  for (const entity of ENTITIES) {
    for (const scope of SCOPES) {
      const kind = KINDS[i % KINDS.length];
      store.append({ entity, scope }, kind, i, { lane: i % 3, tags: TAGS.slice(0, i % 4) });
      i++;
    }
  }
  const filters: RegionFilters[] = [
    {},
    { entity: "user" },
    { entity: "alice" },
    { scope: "app" },
    { kind: PLACED },
    { kind: "any" },
    { category: 0xf },
    { lane: 1 },
    { clock: [1, 1] },
    { tags: ["b"] },
    { tags: ["a", "c"] },
  ];
  const model = modelOf(store);
  for (const one of filters) {
    for (const two of filters) {
      if ("category" in one && "kind" in two || "kind" in one && "category" in two) continue;
      const region = { ...one, ...two };
      assert.deepEqual(sequencesOf(store.query(region)), scan(model, region));
    }
  }
  // By hand, so that the scan is not the only judge.
  assert.deepEqual(
    [...new Set(store.query({ entity: "user" }).map(({ entity }) => entity))],
    ["user", "user:1", "user:1:cart", "user:2"],
  );
  assert.equal(store.query({ entity: "alice" }).length, 3, "not the Cyrillic one");
  assert.deepEqual(store.query({ entity: "" }).map(({ entity }) => entity), [":x", ":x", ":x"]);
});

test("an entity in two scopes shows in each only what belongs there", () => {
  using store = openIn(new MemoryFs());
  for (let i = 0; i < 10; i++) {
    store.append({ entity: "user:1", scope: i % 2 ? "app" : "audit" }, PLACED, i);
  }
  const payloads = (region: RegionFilters) => store.query(region).map(({ payload }) => payload);
  assert.deepEqual(payloads({ entity: "user:1", scope: "app" }), [1, 3, 5, 7, 9]);
  assert.deepEqual(payloads({ entity: "user:1", scope: "audit" }), [0, 2, 4, 6, 8]);
  assert.deepEqual(payloads({ scope: "app" }), [1, 3, 5, 7, 9]);
});

// Pages

test("pages put together are the whole, without a gap or a repetition", () => {
  using store = openIn(new MemoryFs(), { segmentMaxBytes: 2000 });
  for (let i = 0; i < 57; i++) store.append(i % 3 ? ORDER : OTHER, i % 2 ? PLACED : PAID, i);
  for (const region of [{}, { entity: "order:1" }, { kind: PAID }, { scope: "nowhere" }]) {
    const whole = sequencesOf(store.query(region));
    for (const limit of [1, 2, 7, 57, 1000, Infinity]) {
      const pages: number[][] = [];
      let after: number | undefined;
      for (;;) {
        const page = sequencesOf(store.queryAfter(region, after, limit));
        if (page.length === 0) break;
        assert.ok(page.length <= limit);
        pages.push(page);
        after = page.at(-1);
      }
      assert.deepEqual(pages.flat(), whole);
    }
  }
});

test("the first page begins at sequence 0, the next strictly behind, and limit 0 is empty", () => {
  using store = openIn(new MemoryFs());
  store.append(ORDER, PLACED, 1);
  assert.deepEqual(sequencesOf(store.queryAfter({}, undefined, 10)), [0, 1]);
  assert.deepEqual(sequencesOf(store.queryAfter({}, 0, 10)), [1]);
  assert.deepEqual(store.queryAfter({}, 1, 10), []);
  assert.deepEqual(store.queryAfter({}, 1_000_000, 10), []);
  assert.deepEqual(store.queryAfter({}, undefined, 0), []);
});

test("what is appended between two pages is on the next", () => {
  using store = openIn(new MemoryFs());
  store.append(ORDER, PLACED, 1);
  const [first] = store.queryAfter(ORDER, undefined, 1);
  store.append(ORDER, PLACED, 2);
  store.append(OTHER, PLACED, 3);
  const next = store.queryAfter(ORDER, first.globalSequence, 10);
  assert.deepEqual(next.map(({ payload }) => payload), [2]);
});

test("bounds that are none are RangeErrors, at once and not at the first event", () => {
  using store = openIn(new MemoryFs());
  for (const bound of [-2, 0.5, NaN, -Infinity, "1" as never, null as never]) {
    for (const name of ["after", "before", "limit"]) {
      assert.throws(() => store.events({}, { [name]: bound }), RangeError, `${name} ${bound}`);
    }
    assert.throws(() => store.queryAfter({}, bound, 1), RangeError);
    assert.throws(() => store.queryAfter({}, 1, bound), RangeError);
  }
  for (const name of ["before", "limit"]) {
    assert.throws(() => store.events({}, { [name]: -1 }), RangeError);
  }
  // In front of everything: what somebody has read who has read nothing.
  assert.deepEqual(store.queryAfter({}, -1, 5).map((event) => event.globalSequence), [0]);
  assert.throws(() => store.events({}, { afterr: 1 } as EventsOptions), {
    name: "TypeError",
    message: /"afterr"/,
  });
  assert.throws(() => store.events({ lane: -1 }), { code: "REGION", reason: "LaneOutOfRange" });
  assert.throws(() => store.query({ entty: "a" } as RegionFilters), TypeError);
});

// A read sees the journal as it was when it began

test("an iterator ends where the journal ended when it was made, in both directions", () => {
  for (const region of [{}, { entity: ORDER.entity }, { kind: PLACED }]) {
    for (const reverse of [false, true]) {
      using store = openIn(new MemoryFs(), { segmentMaxBytes: 10_000 });
      for (let i = 0; i < 30; i++) store.append(ORDER, PLACED, i);
      const expected = sequencesOf(store.events(region, { reverse }));
      const iterator = store.events(region, { reverse });
      store.append(ORDER, PLACED, "before the first step");
      const seen: number[] = [];
      for (const event of iterator) {
        seen.push(event.globalSequence);
        store.append(ORDER, PLACED, "between two steps");
        store.append({ entity: `new:${seen.length}`, scope: "new" }, PAID, 1, { tags: ["new"] });
      }
      assert.deepEqual(seen, expected);
    }
  }
});

test("two iterators over one store do not disturb each other", () => {
  using store = openIn(new MemoryFs());
  for (let i = 0; i < 50; i++) store.append(i % 2 ? ORDER : OTHER, PLACED, i);
  const up = store.events({ kind: PLACED });
  const down = store.events({ kind: PLACED }, { reverse: true });
  const sums: unknown[] = [];
  for (const event of up) {
    sums.push(Number(event.payload) + Number(down.next().value?.payload));
  }
  assert.deepEqual(sums, Array.from({ length: 50 }, () => 49));
  assert.equal(down.next().done, true);
});

// Single events

test("get(), at() and latest() find one event or undefined", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  const one = store.append(ORDER, PLACED, 1);
  const two = store.append(ORDER, PLACED, 2, { lane: 5 });
  store.close();
  using reader = Store.openReadOnly(DIR, { fs });
  assert.equal(reader.get(one.eventId)?.payload, 1);
  assert.equal(reader.get(two.eventId.toUpperCase())?.payload, 2);
  assert.equal(reader.at(two.globalSequence)?.eventId, two.eventId);
  assert.equal(reader.latest(ORDER.entity)?.eventId, one.eventId);
  assert.equal(reader.latest(ORDER.entity, 5)?.eventId, two.eventId);

  assert.equal(reader.get(EventId.NIL), undefined);
  assert.equal(reader.get(OperationKey.of("never", []).id), undefined);
  for (const sequence of [-1, 0.5, NaN, Infinity, 4, 2 ** 53]) {
    assert.equal(reader.at(sequence), undefined, `${sequence}`);
  }
  assert.equal(reader.latest(ORDER.entity, 6), undefined);
  assert.equal(reader.latest("nobody"), undefined);
  assert.throws(() => reader.get("order-1"), { code: "ID", reason: "WrongLength" });
});

test("latest() is the newest of exactly this entity, not of those below it", () => {
  using store = openIn(new MemoryFs());
  store.append({ entity: "user", scope: "app" }, PLACED, "own");
  store.append({ entity: "user:1", scope: "app" }, PLACED, "below");
  assert.equal(store.latest("user")?.payload, "own");
  assert.equal(store.latest("user:1")?.payload, "below");
  assert.equal(store.latest("use"), undefined);
});

test("latest() of a name that no entity can have is undefined", () => {
  // What went wrong: it asked as a region asks, and a region refuses such a name.
  using store = openIn(new MemoryFs());
  for (const entity of ["", "a|b", "a=b", "a\ud800", "x".repeat(2000), "a/b"]) {
    assert.equal(store.latest(entity), undefined, JSON.stringify(entity));
  }
});

// walkAncestors: every boundary, exact (6.4)

test("walkAncestors() goes from the newest to the first of the lane", () => {
  const fs = new MemoryFs();
  const store = openIn(fs, { segmentMaxBytes: 700 });
  const receipts = [0, 1, 2, 3, 4].map((i) => {
    store.append(OTHER, PLACED, "another entity");
    store.append(ORDER, PLACED, "another lane", { lane: 1 });
    // Equal payloads on one entity: the reference would jump among them.
    return store.append({ entity: ORDER.entity, scope: `s${i % 2}` }, PLACED, "the same");
  });
  store.close();
  using again = openIn(fs);
  const ids = receipts.map(({ eventId }) => eventId).reverse();
  const walked = (from: string, limit?: number) => {
    const { ancestors, boundary } = again.walkAncestors(from, limit);
    return { ids: ancestors.map(({ eventId }) => eventId), boundary };
  };
  const genesis = { type: "ReachedGenesis" };
  const limited = { type: "LimitReached" };
  assert.deepEqual(walked(ids[0]), { ids, boundary: genesis });
  assert.deepEqual(walked(ids[0], 100), { ids, boundary: genesis });
  assert.deepEqual(walked(ids[0], 5), { ids, boundary: genesis });
  assert.deepEqual(walked(ids[0], 4), { ids: ids.slice(0, 4), boundary: limited });
  assert.deepEqual(walked(ids[2], 1), { ids: [ids[2]], boundary: limited });
  assert.deepEqual(walked(ids[4], 1), { ids: [ids[4]], boundary: genesis });
  assert.deepEqual(walked(ids[0], 0), { ids: [], boundary: limited });
  const nowhere = { ids: [], boundary: { type: "NoAnchor" } };
  assert.deepEqual(walked(EventId.NIL), nowhere);
  assert.deepEqual(walked(EventId.NIL, 0), nowhere);
});

test("a walk ends with MissingParent at the event whose predecessor was rewritten", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  const [, two, three, four] = [1, 2, 3, 4].map((i) => store.append(ORDER, PLACED, i));
  store.close();
  // Somebody who knows the format changes a flag of the second event, and mends the checksum.
  rewrite(fs, two.position, (body) => body[94] ^= 1);
  using reader = Store.openReadOnly(DIR, { fs });
  const { ancestors, boundary } = reader.walkAncestors(four.eventId);
  assert.deepEqual(ancestors.map(({ payload }) => payload), [4, 3]);
  assert.deepEqual(boundary, { type: "MissingParent", child: three.eventId });
  // From the rewritten event on, the lineage is what it says it is.
  assert.equal(reader.walkAncestors(two.eventId).boundary.type, "ReachedGenesis");
});

test("a walk ends with ReadFailure at the event that cannot be read", () => {
  const fs = new MemoryFs();
  {
    using store = openIn(fs);
    for (const i of [1, 2, 3]) store.append(ORDER, PLACED, i);
  }
  using reader = Store.openReadOnly(DIR, { fs });
  const [, second, third] = reader.query(ORDER);
  const { segmentId, offset, size } = second.position;
  const file = fs.open(`${DIR}/${String(segmentId).padStart(6, "0")}.fbat`, "write");
  file.writeAt(new Uint8Array(4), 0, 4, offset + size - 4);
  file.close();
  const { ancestors, boundary } = reader.walkAncestors(third.eventId);
  assert.deepEqual(ancestors.map(({ payload }) => payload), [3]);
  assert.ok(boundary.type === "ReadFailure");
  assert.equal(boundary.eventId, second.eventId);
  assert.ok(boundary.error instanceof CorruptionError);
  assert.equal(boundary.error.offset, offset);
  assert.deepEqual(reader.walkAncestors(second.eventId).ancestors, []);
});

test("a limit that is none is a RangeError, in walks as in queries", () => {
  // What went wrong: NaN and -1 were taken for 0, and 1.5 for 2.
  using store = openIn(new MemoryFs());
  const { eventId } = store.append(ORDER, PLACED, 1);
  for (const limit of [-1, 1.5, NaN]) {
    assert.throws(() => store.walkAncestors(eventId, limit), RangeError);
    assert.throws(() => store.causes(eventId, limit), RangeError);
  }
});

// Causes and effects

test("causes() and effects() follow the graph over entities, batches, rolls and reopens", () => {
  const fs = new MemoryFs();
  const store = openIn(fs, { segmentMaxBytes: 800 });
  const root = store.append(ORDER, PLACED, "root").eventId;
  const left = store.append(OTHER, PLACED, "left", { causationId: root }).eventId;
  const right = store.append(ORDER, PAID, "right", { causationId: root, lane: 3 }).eventId;
  const [leaf] = store.appendBatch([
    { ...ORDER, kind: PAID, payload: "leaf", causationId: left },
    { ...ORDER, kind: PAID, payload: "leaf of leaf", causationItem: 0 },
  ]);
  const check = (reader: JournalReader) => {
    const causes = (id: string, limit?: number) =>
      reader.causes(id, limit).map(({ payload }) => payload);
    const effects = (id: string) => reader.effects(id).map(({ payload }) => payload);
    assert.deepEqual(effects(root), ["left", "right"]);
    assert.deepEqual(effects(left), ["leaf"]);
    assert.deepEqual(effects(leaf.eventId), ["leaf of leaf"]);
    assert.deepEqual(effects(right), []);
    assert.deepEqual(causes(leaf.eventId), ["left", "root"]);
    assert.deepEqual(causes(leaf.eventId, 1), ["left"]);
    assert.deepEqual(causes(leaf.eventId, 0), []);
    assert.deepEqual(causes(root), []);
    assert.deepEqual(effects(EventId.NIL), []);
    assert.deepEqual(causes(EventId.NIL), []);
  };
  check(store);
  store.append(ORDER, PLACED, "later", { causationId: right });
  assert.deepEqual(store.effects(right).map(({ payload }) => payload), ["later"]);
  store.close();
  using again = openIn(fs);
  assert.deepEqual(again.effects(right).map(({ payload }) => payload), ["later"]);
  again.append(ORDER, PLACED, "after the reopen", { causationId: right });
  assert.deepEqual(
    again.effects(right).map(({ payload }) => payload),
    ["later", "after the reopen"],
  );
});

test("a cause that is not here ends the line, and an event is never its own cause", () => {
  using store = openIn(new MemoryFs());
  const stranger = OperationKey.of("another", ["journal"]).id;
  const one = store.append(ORDER, PLACED, 1, { causationId: stranger });
  const self = OperationKey.of("self", []);
  const two = store.append(ORDER, PLACED, 2, { idempotencyKey: self, causationId: self.id });
  assert.deepEqual(store.causes(one.eventId), []);
  assert.equal(store.get(one.eventId)?.causationId, stranger);
  assert.deepEqual(store.causes(two.eventId), []);
  assert.deepEqual(store.effects(two.eventId), []);
});

test("causes() and effects() agree with the causation ids of a random graph", () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.nat(40)), { maxLength: 40, size: "max" }), (parents) => {
      const fs = new MemoryFs();
      const store = openIn(fs);
      const ids: EventId[] = [];
      for (const [i, parent] of parents.entries()) {
        const causationId = parent === null || i === 0 ? undefined : ids[parent % i];
        ids.push(store.append(ORDER, PLACED, i, { causationId }).eventId);
      }
      store.close();
      using reader = Store.openReadOnly(DIR, { fs });
      const events = ownEvents(reader.query());
      for (const { eventId, causationId } of events) {
        assert.deepEqual(
          reader.effects(eventId).map((effect) => effect.eventId),
          events.filter((event) => event.causationId === eventId).map((event) => event.eventId),
        );
        assert.equal(reader.causes(eventId, 1)[0]?.eventId, causationId);
      }
    }),
    { numRuns: 40 },
  );
});

// Size

test("a journal of 70,000 events answers like a small one, live and reopened", () => {
  const COUNT = 70_000;
  const fs = new MemoryFs();
  const store = openIn(fs, { batch: { maxSize: 1000, maxBytes: 16 << 20 } });
  const ids: EventId[] = [];
  for (let start = 0; start < COUNT; start += 1000) {
    const receipts = store.appendBatch(Array.from({ length: 1000 }, (_, offset) => {
      const i = start + offset;
      return {
        entity: `e:${i % 1000}`,
        scope: "s",
        kind: i % 3 ? PLACED : PAID,
        payload: i,
        lane: i % 7 ? 0 : 1,
        ...(i % 500 === 0 && { tags: ["rare"] }),
        // Every event of the second thousand on follows from one of the first.
        ...(i >= 1000 && i % 10 === 0 && { causationId: ids[i % 1000] }),
      };
    }));
    for (const { eventId } of receipts) ids.push(eventId);
  }
  const check = (reader: JournalReader) => {
    // On both sides of where the columns and the table of ids grow, and a sample of the rest.
    const edges = [255, 256, 1023, 1024, 4095, 4096, 16_383, 16_384, 65_534, 65_535, 65_536];
    const sample = Array.from({ length: 500 }, (_, i) => (i * 48_271) % COUNT);
    for (const i of [0, ...edges, ...edges.map((edge) => edge - 1), ...sample, COUNT - 1]) {
      const event = reader.get(ids[i])!;
      assert.equal(event.globalSequence, i + 1);
      assert.equal(event.payload, i);
      assert.equal(event.entity, `e:${i % 1000}`);
      assert.equal(event.lane, i % 7 ? 0 : 1);
    }
    const clocks = new Map<string, number>();
    for (const { entity, lane, clock, globalSequence } of reader.events({ scope: "s" })) {
      const chain = `${entity}/${lane}`;
      const expected = clocks.get(chain) ?? 0;
      if (clock !== expected) assert.equal(clock, expected, `${chain} at ${globalSequence}`);
      clocks.set(chain, expected + 1);
    }
    const every = (step: number) =>
      Array.from({ length: Math.ceil(COUNT / step) }, (_, i) => i * step + 1);
    assert.deepEqual(sequencesOf(reader.query({ tags: ["rare"] })), every(500));
    assert.deepEqual(sequencesOf(reader.query({ kind: PAID })), every(3));
    assert.deepEqual(sequencesOf(reader.query({ entity: "e:0" })), every(1000));
    assert.deepEqual(
      sequencesOf(reader.effects(ids[10])),
      Array.from({ length: 69 }, (_, i) => (i + 1) * 1000 + 11),
    );
    assert.equal(reader.walkAncestors(reader.latest("e:1")!.eventId).ancestors.length, 60);
  };
  check(store);
  store.close();
  using reader = Store.openReadOnly(DIR, { fs });
  check(reader);
});

// Stats

test("stats() counts what is there", () => {
  const fs = new MemoryFs();
  using store = openIn(fs, { sync: { everyNEvents: 0 } });
  store.append(ORDER, PLACED, 1);
  store.append(ORDER, PLACED, 1, { lane: 1 });
  store.append(OTHER, PLACED, 1);
  const { logBytes, diskBytes, indexBytes, ...counts } = store.stats();
  assert.deepEqual(counts, {
    eventCount: 4,
    retiredCount: 0,
    cancelledCount: 0,
    stagedCount: 0,
    firstSequence: 0,
    nextSequence: 4,
    durableSequence: 1,
    entityCount: 3,
    segmentCount: 1,
  });
  const { offset, size } = store.at(3)!.position;
  assert.equal(logBytes, offset + size);
  assert.ok(indexBytes > 0);
  const sizeOf = (name: string) => fs.stat(`${DIR}/${name}`)?.size ?? 0;
  const files = sizeOf("000001.fbat") + sizeOf("store.meta") + sizeOf(".batpak.lock");
  assert.ok(sizeOf("store.meta") > 0);
  assert.equal(diskBytes, files);
  fs.createDirAll(`${DIR}/quarantine`);
  fs.publish(`${DIR}/quarantine/x`, new Uint8Array(1000));
  assert.equal(store.stats().diskBytes, files + 1000);
  using reader = Store.openReadOnly(DIR, { fs });
  assert.deepEqual(reader.query().map(factsOf), store.query().map(factsOf));
  assert.equal(reader.stats().entityCount, 3);
});

test("stats() counts what a retention has retired, and where a pruned journal begins", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  for (let n = 0; n < 6; n++) store.append(ORDER, PLACED, n);
  const keep = { maxCount: 2, region: { kind: PLACED } };
  store.compact({ strategy: { type: "retention", keep }, seal: true, minSegments: 1 });
  assert.equal(store.stats().retiredCount, 4);
  store.append(ORDER, PLACED, 6);
  store.prune({ below: 7 });
  const begun = ({ eventCount, retiredCount, firstSequence }: StoreStats) => [
    eventCount,
    retiredCount,
    firstSequence,
  ];
  assert.deepEqual(begun(store.stats()), [1, 0, 7]);
  using reader = Store.openReadOnly(DIR, { fs });
  assert.deepEqual(begun(reader.stats()), [1, 0, 7]);
});

/** Changes the body of a frame and mends its checksum. */
function rewrite(
  fs: MemoryFs,
  position: StoredEvent["position"],
  edit: (body: Uint8Array) => void,
): void {
  const path = `${DIR}/${String(position.segmentId).padStart(6, "0")}.fbat`;
  const bytes = fs.readFile(path, 1 << 30);
  const frame = bytes.subarray(position.offset, position.offset + position.size);
  const body = frame.subarray(FRAME_HEADER_SIZE);
  edit(body);
  new DataView(frame.buffer, frame.byteOffset).setUint32(4, crc32(body));
  fs.publish(path, bytes);
}

test("byEntity() gives exactly one entity, where a region also gives what is below it", () => {
  // What went wrong: whoever folded `order:1` by its region counted in `order:1:line:1`, and could
  // take the clock of another lane for its own.
  const fs = new MemoryFs();
  {
    using store = openIn(fs);
    store.append({ entity: "order:1", scope: "shop" }, PLACED, 1);
    store.append({ entity: "order:1:line:1", scope: "shop" }, PLACED, 2);
    store.append({ entity: "order:1", scope: "returns" }, PLACED, 3);
    store.append({ entity: "order:1", scope: "shop" }, PLACED, 4, { lane: 1 });
  }
  using store = openIn(fs);
  const payloads = (...args: Parameters<typeof store.byEntity>) =>
    [...store.byEntity(...args)].map(({ payload }) => payload);
  assert.equal(store.query({ entity: "order:1" }).length, 4);
  assert.deepEqual(payloads("order:1"), [1, 3, 4]);
  assert.deepEqual(payloads("order:1", { lane: 0 }), [1, 3]);
  assert.deepEqual(payloads("order:1", { lane: 1, reverse: true }), [4]);
  assert.deepEqual(payloads("order:1", { reverse: true, limit: 2 }), [4, 3]);
  const [first] = store.byEntity("order:1");
  assert.deepEqual(payloads("order:1", { after: first.globalSequence }), [3, 4]);
  assert.deepEqual(payloads("order"), []);
  assert.deepEqual(payloads("nobody"), []);
  assert.throws(() => store.byEntity("order:1", { lane: -1 }), RangeError);
  assert.throws(() => store.byEntity("order:1", { limit: 0.5 }), RangeError);
});

test("a region takes a kind in every form that an append takes", () => {
  using store = openIn(new MemoryFs());
  const definition = defineEvent<number>({ name: "counted", kind: "F:0AB" });
  store.append(ORDER, definition, 1);
  for (const kind of [definition, definition.kind, "F:0AB", "0xF0AB"]) {
    assert.equal(store.query({ kind }).length, 1, String(kind));
  }
  assert.throws(() => store.query({ kind: "nothing" }), { code: "EVENT_KIND" });
});
