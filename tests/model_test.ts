/**
 * The store against an array and a map.
 *
 * A run is a random list of commands: appends of every sort, reads of every sort, closes, crashes and
 * power cuts. After each, the store has to say what the model says. The model is as plain as can be: an
 * array of events, a map of keys. Whatever the store does to be fast or safe, it may not show.
 *
 * ```sh
 * BATPAK_SEED=42 BATPAK_MODEL_RUNS=10000 deno task test tests/model_test.ts
 * ```
 */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import fc from "fast-check";
import {
  type AppendOptions,
  type BatchItem,
  ClockConflictError,
  ConditionConflictError,
  EventKind,
  IdempotencyError,
  MemoryFs,
  type ReadOnlyStore,
  type Receipt,
  Region,
  type RegionFilters,
  Store,
  type StoredEvent,
  verifyJournal,
} from "../mod.ts";
import { jsonPayloads, someOf } from "./support_api/arbitraries.ts";
import { DIR, manualClock } from "./support_api/journal.ts";
import { isInRegion } from "./support_api/region_model.ts";

const SEED = Number(process.env.BATPAK_SEED ?? Date.now() % 0x7fffffff);
const RUNS = Number(process.env.BATPAK_MODEL_RUNS ?? 120);
const OPTIONS = { segmentMaxBytes: 3_000, sync: { everyNEvents: 7 } };

/** An event as the model has it. */
interface ModelEvent {
  readonly globalSequence: number;
  readonly eventId: string;
  readonly entity: string;
  readonly scope: string;
  readonly kind: number;
  readonly clock: number;
  readonly lane: number;
  readonly tags: readonly string[];
  readonly causationId: string | undefined;
  readonly timestampUs: number;
  readonly payload: unknown;
  /** Sequence of the last event of its group. */
  readonly groupEnd: number;
}

/** The array and the map. */
class Model {
  events: ModelEvent[] = [];
  keys = new Map<string, number>();
  /** How much the reader has been shown; `undefined` while there is none. */
  readerCount: number | undefined;

  clockOf(entity: string, lane: number): "none" | number {
    const chain = this.events.filter((event) => event.entity === entity && event.lane === lane);
    return chain.length === 0 ? "none" : chain.length - 1;
  }

  select(region: RegionFilters): ModelEvent[] {
    return this.events.filter((event) => isInRegion(region, event));
  }

  /** Takes in what a receipt says was appended, after checking what the receipt may not choose. */
  add(append: Append, receipt: Receipt, groupEnd: number, timestampUs: number): void {
    const { entity, scope, kind, lane, tags, payload, key } = append;
    const globalSequence = this.events.length;
    const clock = this.clockOf(entity, lane);
    assert.equal(receipt.globalSequence, globalSequence);
    assert.equal(receipt.clock, clock === "none" ? 0 : clock + 1);
    assert.equal(receipt.timestampUs, timestampUs);
    this.events.push({
      globalSequence,
      eventId: receipt.eventId,
      entity,
      scope,
      kind,
      clock: receipt.clock,
      lane,
      tags: [...new Set(tags)],
      causationId: append.causationId,
      timestampUs,
      payload,
      groupEnd,
    });
    if (key !== undefined) this.keys.set(key, globalSequence);
  }

  /** Takes in what the store appended by itself when it was opened or closed. */
  addLifecycle(events: readonly StoredEvent[]): void {
    for (const event of events) {
      assert.equal(event.globalSequence, this.events.length);
      assert.ok(EventKind.isSystem(event.kind), "only the store's own events come unasked");
      this.events.push({ ...factsOf(event), groupEnd: event.globalSequence });
    }
  }

  /** Forgets everything from a sequence on. */
  cut(nextSequence: number): void {
    this.events.length = nextSequence;
    for (const [key, sequence] of this.keys) if (sequence >= nextSequence) this.keys.delete(key);
  }
}

/** The store, the disk under it, and perhaps a reader beside it. */
class Real {
  fs = new MemoryFs();
  clock = manualClock(1_700_000_000_000_000);
  store: Store;
  reader: ReadOnlyStore | undefined;

  constructor() {
    this.store = this.open();
  }

  open(): Store {
    return Store.open(DIR, { fs: this.fs, clock: this.clock, ...OPTIONS });
  }

  /** Goes on with the disk as a dead process leaves it. The old handles stay as they are. */
  dieAndOpen(fs: MemoryFs): void {
    this.reader?.close();
    this.reader = undefined;
    this.fs = fs;
    this.store = this.open();
  }
}

function factsOf(event: StoredEvent): Omit<ModelEvent, "groupEnd"> {
  const { globalSequence, eventId, entity, scope, kind, clock, lane, tags, causationId } = event;
  const { timestampUs, payload } = event;
  return {
    globalSequence,
    eventId,
    entity,
    scope,
    kind,
    clock,
    lane,
    tags,
    causationId,
    timestampUs,
    payload,
  };
}

function assertSame(found: readonly StoredEvent[], expected: readonly ModelEvent[]): void {
  assert.deepEqual(
    found.map(factsOf),
    expected.map(({ groupEnd: _, ...facts }) => facts),
  );
}

/** The time of the next append: never before that of an earlier event. */
function timeOf(model: Model, real: Real): number {
  return Math.max(real.clock.us, model.events.at(-1)?.timestampUs ?? 0);
}

// Commands

interface Append {
  readonly entity: string;
  readonly scope: string;
  readonly kind: EventKind;
  readonly lane: number;
  readonly tags: readonly string[];
  readonly payload: unknown;
  readonly key?: string | undefined;
  readonly causationId?: string | undefined;
}

type Command = fc.Command<Model, Real>;

/** A command without conditions. */
function command(name: string, run: (model: Model, real: Real) => void): Command {
  return { check: () => true, run, toString: () => name };
}

const entities = ["a", "b", "a:1", "é"];
const tags = ["x", "y", "z"];
const append = fc.record({
  entity: fc.constantFrom(...entities),
  scope: fc.constantFrom("s", "t"),
  kind: fc.constantFrom(EventKind.DATA, EventKind.custom(0xf, 1), EventKind.custom(0xf, 2)),
  lane: fc.constantFrom(0, 0, 0, 1),
  tags: fc.subarray(tags),
  payload: fc.oneof(jsonPayloads, fc.uint8Array({ maxLength: 400 })),
});
const regions = someOf<RegionFilters>({
  entity: fc.constantFrom(...entities, "nobody", "batpak:store"),
  scope: fc.constantFrom("s", "t"),
  kind: fc.constantFrom(EventKind.DATA, EventKind.custom(0xf, 1)),
  lane: fc.nat(1),
  clock: fc.tuple(fc.nat(3), fc.nat(5)).map(([start, size]) => [start, start + size] as const),
  tags: fc.subarray(tags, { maxLength: 2 }),
}, 3);

/** An append that holds, or the exact conflict; new and known keys; sometimes durable, or caused. */
const appends = fc.record({
  append,
  expected: fc.constantFrom("no", "no", "right", "wrong"),
  wrongBy: fc.integer({ min: 1, max: 3 }),
  key: fc.option(fc.integer({ min: 0, max: 8 }), { nil: undefined }),
  durable: fc.boolean(),
  cause: fc.option(fc.nat(), { nil: undefined }),
}).map(({ append, expected, wrongBy, key: keyNumber, durable, cause }) =>
  command(
    `append(${JSON.stringify({ ...append, expected, keyNumber, durable })})`,
    (model, real) => {
      const { entity, scope, kind, payload, lane, tags } = append;
      const key = keyNumber === undefined ? undefined : `key ${keyNumber}`;
      const actual = model.clockOf(entity, lane);
      const wrong = actual === "none" ? wrongBy : wrongBy === 1 ? "none" : actual + wrongBy;
      const expectedClock = expected === "no" ? undefined : expected === "right" ? actual : wrong;
      const causationId = cause === undefined
        ? undefined
        : real.store.at(cause % model.events.length)?.eventId;
      const options: AppendOptions = {
        lane,
        tags,
        causationId,
        durability: durable ? "durable" : "written",
        ...(key !== undefined && { idempotencyKey: key }),
        ...(expectedClock !== undefined && { expectedClock }),
      };
      const act = () => real.store.append({ entity, scope }, kind, payload, options);
      const known = key === undefined ? undefined : model.keys.get(key);
      if (known !== undefined) {
        const { globalSequence, eventId } = act();
        assert.deepEqual({ globalSequence, eventId }, {
          globalSequence: known,
          eventId: model.events[known].eventId,
        });
      } else if (expected === "wrong") {
        assert.throws(act, (error) => {
          assert.ok(error instanceof ClockConflictError);
          assert.deepEqual(error.conflict, { entity, lane, expected: expectedClock, actual });
          return true;
        });
      } else {
        const timestampUs = timeOf(model, real);
        const receipt = act();
        model.add({ ...append, key, causationId }, receipt, model.events.length, timestampUs);
        if (durable) assert.equal(real.store.durableSequence, model.events.length);
        assert.equal(real.store.verifyReceipt(receipt).valid, true);
      }
      assert.equal(real.store.stats().nextSequence, model.events.length);
    },
  )
);

const batches = fc.record({
  items: fc.array(append, { maxLength: 8, size: "max" }),
  keys: fc.constantFrom("none", "none", "new", "known", "partly"),
  number: fc.nat(5),
  chained: fc.boolean(),
}).map(({ items, keys, number, chained }) =>
  command(`batch(${JSON.stringify({ items, keys, number, chained })})`, (model, real) => {
    const keyOf = (i: number) => {
      if (keys === "none") return undefined;
      return keys === "partly" && i === 0 ? undefined : `batch ${number} of ${items.length}/${i}`;
    };
    const batch = items.map(({ entity, scope, kind, payload, lane, tags }, i): BatchItem => ({
      entity,
      scope,
      kind,
      payload,
      lane,
      tags,
      ...(keyOf(i) !== undefined && { idempotencyKey: keyOf(i) }),
      ...(chained && i > 0 && { causationItem: i - 1 }),
    }));
    const act = () => real.store.appendBatch(batch);
    const known = items.flatMap((_, i) => model.keys.get(keyOf(i) ?? "") ?? []);
    const keyed = items.filter((_, i) => keyOf(i) !== undefined).length;
    if (keyed > 0 && keyed < items.length) {
      assert.throws(act, IdempotencyError);
    } else if (keyed > 0 && known.length === items.length) {
      assert.deepEqual(act().map(({ globalSequence }) => globalSequence), known);
    } else if (known.length > 0) {
      assert.throws(act, IdempotencyError);
    } else {
      const timestampUs = timeOf(model, real);
      const receipts = act();
      assert.equal(receipts.length, items.length);
      const groupEnd = model.events.length + items.length - 1;
      for (const [i, receipt] of receipts.entries()) {
        const causationId = chained && i > 0 ? receipts[i - 1].eventId : undefined;
        model.add({ ...items[i], key: keyOf(i), causationId }, receipt, groupEnd, timestampUs);
      }
    }
    assert.equal(real.store.stats().nextSequence, model.events.length);
  })
);

const conditionalAppends = fc.record({
  append,
  region: regions,
  tags: fc.subarray(tags),
  back: fc.option(fc.nat(12), { nil: undefined }),
}).map(({ append, region, tags, back }) =>
  command(`failIf(${JSON.stringify({ region, tags, back })})`, (model, real) => {
    const after = back === undefined ? undefined : Math.max(-1, model.events.length - 1 - back);
    const { entity, scope, kind, payload, lane } = append;
    const options: AppendOptions = {
      lane,
      tags: append.tags,
      failIf: { region, tags, ...(after !== undefined && { after }) },
    };
    const act = () => real.store.append({ entity, scope }, kind, payload, options);
    const wanted = { ...region, tags: [...(region.tags ?? []), ...tags] };
    const conflicts = model.select(wanted)
      .filter(({ globalSequence }) => globalSequence > (after ?? -1))
      .slice(0, 16)
      .map(({ globalSequence, eventId }) => ({ globalSequence, eventId }));
    if (conflicts.length > 0) {
      assert.throws(act, (error) => {
        assert.ok(error instanceof ConditionConflictError);
        assert.deepEqual(error.conflicts, conflicts);
        return true;
      });
    } else {
      const timestampUs = timeOf(model, real);
      model.add(append, act(), model.events.length, timestampUs);
    }
  })
);

const queries = regions.map((region) =>
  command(`query(${JSON.stringify(region)})`, (model, real) => {
    assertSame(real.store.query(region), model.select(region));
    assertSame(real.store.query(Region.from(region)), model.select(region));
  })
);

const pages = fc.record({
  region: regions,
  after: fc.option(fc.nat(50), { nil: undefined }),
  limit: fc.nat(12),
  reverse: fc.boolean(),
}).map(({ region, after, limit, reverse }) =>
  command(`page(${JSON.stringify({ region, after, limit, reverse })})`, (model, real) => {
    const behind = model.select(region)
      .filter(({ globalSequence }) => globalSequence > (after ?? -1));
    assertSame(real.store.queryAfter(region, after, limit), behind.slice(0, limit));
    const options = { limit, reverse, ...(after !== undefined && { after }) };
    if (reverse) behind.reverse();
    assertSame([...real.store.events(region, options)], behind.slice(0, limit));
  })
);

const gets = fc.nat().map((number) =>
  command(`get(${number})`, (model, real) => {
    const { store } = real;
    const expected = model.events[number % model.events.length];
    assertSame([store.get(expected.eventId)!], [expected]);
    assertSame([store.at(expected.globalSequence)!], [expected]);
    assert.equal(store.at(model.events.length), undefined);
    const { entity, lane } = expected;
    const chain = model.events.filter((event) => event.entity === entity && event.lane === lane);
    assertSame([store.latest(entity, lane)!], chain.slice(-1));
    // The lineage, and the graph of causes.
    const walk = store.walkAncestors(chain.at(-1)!.eventId);
    assertSame(walk.ancestors, chain.toReversed());
    assert.equal(walk.boundary.type, "ReachedGenesis");
    const effects = model.events.filter(({ causationId }) => causationId === expected.eventId);
    assertSame(store.effects(expected.eventId), effects);
    assert.equal(store.causes(expected.eventId, 1)[0]?.eventId, expected.causationId);
  })
);

const ticks = fc.integer({ min: -2_000_000, max: 5_000_000 }).map((us) =>
  command(`tick(${us})`, (_model, real) => {
    real.clock.us += us;
  })
);

const syncs = fc.constant(command("sync()", (model, { store }) => {
  store.sync();
  assert.equal(store.durableSequence, model.events.length);
}));

const reopens = fc.constant(command("close() and open()", (model, real) => {
  real.store.close();
  real.store = real.open();
  const { store } = real;
  assert.deepEqual(store.openReport.repairs, []);
  assert.equal(store.stats().nextSequence, model.events.length + 2);
  model.addLifecycle(store.query().slice(model.events.length));
}));

const crashes = fc.constant(command("crash and open()", (model, real) => {
  // A process that dies loses nothing it was told is written.
  real.dieAndOpen(real.fs.snapshot());
  model.readerCount = undefined;
  const { store } = real;
  assert.deepEqual(store.openReport.repairs, []);
  assert.equal(store.stats().nextSequence, model.events.length + 1);
  model.addLifecycle(store.query().slice(model.events.length));
}));

/** A power cut takes any part of what was not synced, and leaves zeros, rubbish or nothing behind. */
const powerCuts = fc.record({
  // Not a double: most of those are next to nothing.
  part: fc.nat(1000).map((thousandths) => thousandths / 1000),
  rest: fc.constantFrom("nothing", "zeros", "rubbish"),
}).map(({ part, rest }) =>
  command(`power cut at ${part}, ${rest} left, and open()`, (model, real) => {
    const { store } = real;
    const fs = real.fs.snapshot();
    const last = store.at(model.events.length - 1)!.position;
    const durable = store.at(store.durableSequence - 1)!.position;
    const name = `${DIR}/${String(last.segmentId).padStart(6, "0")}.fbat`;
    const end = last.offset + last.size;
    // Segments before the active one were synced when it began.
    const start = durable.segmentId === last.segmentId
      ? durable.offset + durable.size
      : store.query().find(({ position }) => position.segmentId === last.segmentId)!.position
        .offset;
    const file = fs.open(name, "write");
    const before = new Uint8Array(end);
    file.readAt(before, 0, end, 0);
    const cutAt = start + Math.round(part * (end - start));
    file.resize(cutAt);
    if (rest === "zeros") file.resize(cutAt + 1000);
    if (rest === "rubbish") file.append(Uint8Array.from({ length: 50 }, (_, i) => i * 37 + 11));
    const after = new Uint8Array(file.size());
    file.readAt(after, 0, after.byteLength, 0);
    file.close();
    // What is left may happen to be what was there: an event that ends in zeros loses nothing to zeros.
    let cut = cutAt;
    while (cut < end && cut < after.byteLength && after[cut] === before[cut]) cut++;

    const keptEnd = model.events.findIndex(({ globalSequence, groupEnd }) => {
      if (globalSequence < store.durableSequence) return false;
      const { segmentId, offset, size } = store.at(groupEnd)!.position;
      return segmentId === last.segmentId && offset + size > cut;
    });
    if (keptEnd >= 0) model.cut(keptEnd);
    model.readerCount = undefined;
    real.dieAndOpen(fs);
    assert.equal(real.store.stats().nextSequence, model.events.length + 1);
    model.addLifecycle(real.store.query().slice(model.events.length));
  })
);

const readers = fc.constant(command("open a reader, or refresh it", (model, real) => {
  if (real.reader === undefined) {
    real.reader = Store.openReadOnly(DIR, { fs: real.fs });
  } else {
    // Until it is told to look again, it shows what it showed.
    assertSame(real.reader.query(), model.events.slice(0, model.readerCount));
    assert.equal(real.reader.refresh(), model.events.length - model.readerCount!);
  }
  model.readerCount = model.events.length;
  assertSame(real.reader.query(), model.events);
}));

const verifications = fc.constant(command("verify()", (model, real) => {
  const report = verifyJournal(DIR, { fs: real.fs });
  assert.deepEqual(report.findings, []);
  assert.equal(report.events, model.events.length);
}));

const commands = fc.commands([
  appends,
  appends,
  appends,
  batches,
  batches,
  conditionalAppends,
  queries,
  pages,
  gets,
  ticks,
  syncs,
  reopens,
  crashes,
  powerCuts,
  readers,
  verifications,
], { size: "max", maxCommands: 60 });

test("whatever is done to a store, it says what an array and a map would say", () => {
  console.log(`model_test: BATPAK_SEED=${SEED} BATPAK_MODEL_RUNS=${RUNS}`);
  let reopenCount = 0;
  let rollCount = 0;
  fc.assert(
    fc.property(commands, (list) => {
      const model = new Model();
      const real = new Real();
      model.addLifecycle(real.store.query());
      fc.modelRun(() => ({ model, real }), list);
      assertSame(real.store.query(), model.events);
      rollCount += real.store.stats().segmentCount - 1;
      reopenCount += real.store.query({ kind: EventKind.SYSTEM_OPEN_COMPLETED }).length - 1;
      real.reader?.close();
      real.store.close();
    }),
    { seed: SEED, numRuns: RUNS, endOnFailure: false },
  );
  // A run that never rolls or reopens would prove little.
  if (RUNS >= 50) {
    assert.ok(rollCount > RUNS / 4 && reopenCount > RUNS, `${rollCount}, ${reopenCount}`);
  }
});
