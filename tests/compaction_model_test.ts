/**
 * Appends, erasures, compactions, prunes, crashes and reopens in any order, against an array.
 *
 * ```sh
 * BATPAK_SEED=42 BATPAK_MODEL_RUNS=5000 deno task test tests/compaction_model_test.ts
 * ```
 */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import fc from "fast-check";
import {
  EventKind,
  MemoryFs,
  type ReadOnlyStore,
  type Receipt,
  Store,
  type StoredEvent,
  verifyJournal,
} from "../mod.ts";
import { DIR, manualClock } from "./support_api/journal.ts";

const SEED = Number(process.env.BATPAK_SEED ?? Date.now() % 0x7fffffff);
const RUNS = Number(process.env.BATPAK_MODEL_RUNS ?? 60);

/** An event as the array has it. */
interface ModelEvent {
  readonly id: string;
  readonly entity: string;
  readonly lane: number;
  readonly clock: number;
  readonly kind: number;
  readonly payload: unknown;
  readonly key: string | undefined;
  readonly receipt: Receipt | undefined;
  state: "present" | "erased" | "retired";
}

/** The array; events before `first` are gone. */
class Model {
  readonly events: ModelEvent[] = [];
  first = 0;

  get live(): [number, ModelEvent][] {
    return [...this.events.entries()].slice(this.first);
  }

  clockOf(entity: string, lane: number): number {
    return this.events.filter((event) => event.entity === entity && event.lane === lane).length;
  }

  add(event: StoredEvent, key?: string, receipt?: Receipt): void {
    const { eventId: id, entity, lane, clock, kind, payload } = event;
    assert.equal(event.globalSequence, this.events.length);
    assert.equal(clock, this.clockOf(entity, lane));
    this.events.push({ id, entity, lane, clock, kind, payload, key, receipt, state: "present" });
  }
}

/** The store, the disk under it, and a reader beside it. */
class Real {
  fs = new MemoryFs();
  readonly clock = manualClock();
  readonly options: { coldStart: { indexFile: boolean; footers: boolean } };
  store: Store;
  reader: ReadOnlyStore | undefined;

  constructor(coldStart: { indexFile: boolean; footers: boolean }) {
    this.options = { coldStart };
    this.store = this.open();
  }

  open(): Store {
    return Store.open(DIR, {
      fs: this.fs,
      clock: this.clock,
      segmentMaxBytes: 900,
      fdBudget: 3,
      ...this.options,
    });
  }
}

interface Command {
  /** How a failure prints it. */
  readonly [fc.toStringMethod]: () => string;
  readonly run: (model: Model, real: Real) => void;
}

function command(name: string, run: Command["run"], plan?: unknown): Command {
  return { [fc.toStringMethod]: () => `${name}(${JSON.stringify(plan) ?? ""})`, run };
}

/** Takes in what was appended without a word about each. */
function takeIn(model: Model, store: Store): void {
  const { nextSequence } = store.stats();
  while (model.events.length < nextSequence) model.add(store.at(model.events.length)!);
}

function assertSame(model: Model, store: Store | ReadOnlyStore): void {
  const { nextSequence, eventCount } = store.stats();
  assert.deepEqual([nextSequence - eventCount, nextSequence], [model.first, model.events.length]);
  for (const [sequence, expected] of model.live) {
    const event = store.at(sequence)!;
    const { eventId, entity, lane, clock, kind } = event;
    assert.deepEqual(
      [eventId, entity, lane, clock, kind, event.isErased, event.isRetired, event.payload],
      [
        expected.id,
        expected.entity,
        expected.lane,
        expected.clock,
        expected.kind,
        expected.state !== "present",
        expected.state === "retired",
        expected.state === "present" ? expected.payload : undefined,
      ],
    );
    assert.equal(store.get(expected.id)?.globalSequence, sequence);
    if (expected.receipt !== undefined) {
      assert.equal(store.verifyReceipt(expected.receipt).valid, true);
    }
  }
  if (model.first > 0) assert.equal(store.at(model.first - 1), undefined);
  const shown = model.live.filter(([, { state }]) => state !== "retired");
  assert.deepEqual(
    store.query().map(({ globalSequence }) => globalSequence),
    shown.map(([sequence]) => sequence),
  );
  for (const entity of ENTITIES) {
    assert.deepEqual(
      [...store.byEntity(entity, { reverse: true })].map(({ globalSequence }) => globalSequence),
      shown.filter(([, event]) => event.entity === entity).map(([sequence]) => sequence).reverse(),
    );
  }
}

/** Sequences at which segments begin, and the one the active segment begins at. */
function boundaries(store: Store, model: Model): number[] {
  const starts: number[] = [];
  let segmentId = -1;
  for (const [sequence] of model.live) {
    const { position } = store.at(sequence)!;
    if (position.segmentId !== segmentId) starts.push(sequence);
    segmentId = position.segmentId;
  }
  return starts;
}

const ENTITIES = ["a", "a:1", "b"];

const appends = fc.record({
  entity: fc.constantFrom(...ENTITIES),
  lane: fc.constantFrom(0, 0, 1),
  size: fc.nat(300),
  key: fc.option(fc.nat(12), { nil: undefined }),
}).map((plan) =>
  command("append", (model, { store }) => {
    const { entity, lane, size, key } = plan;
    const idempotencyKey = key === undefined ? undefined : `key ${key}`;
    const known = idempotencyKey === undefined
      ? undefined
      : model.live.find(([, event]) => event.key === idempotencyKey);
    const payload = { n: model.events.length, filling: "x".repeat(size) };
    const count = model.clockOf(entity, lane);
    const receipt = store.append({ entity, scope: "s" }, EventKind.DATA, payload, {
      lane,
      ...(idempotencyKey !== undefined && { idempotencyKey }),
      ...(known === undefined && { expectedClock: count === 0 ? "none" : count - 1 }),
    });
    if (known !== undefined) {
      assert.deepEqual(
        [receipt.replayed, receipt.globalSequence, receipt.eventId],
        [true, known[0], known[1].id],
      );
      return;
    }
    assert.equal(receipt.replayed, false);
    model.add(store.at(receipt.globalSequence)!, idempotencyKey, receipt);
  }, plan)
);

const batches = fc.array(fc.constantFrom(...ENTITIES), { minLength: 1, maxLength: 5 })
  .map((entities) =>
    command("batch", (model, { store }) => {
      store.appendBatch(entities.map((entity, i) => ({
        entity,
        scope: "s",
        kind: EventKind.DATA,
        payload: { i, of: entities.length },
      })));
      takeIn(model, store);
    }, entities)
  );

const compactions = fc.record({
  type: fc.constantFrom("merge", "tombstone", "retention"),
  rule: fc.oneof(
    fc.integer({ min: 1, max: 4 }).map((modulus) => ({ modulus })),
    fc.record({ maxCount: fc.nat(20), entity: fc.option(fc.constantFrom("a", "b")) }),
  ),
  seal: fc.boolean(),
  mergedSegmentMaxBytes: fc.constantFrom(1, 1500, 4000, 1 << 20),
  steps: fc.constantFrom(0, 1, 2, 5, Infinity, Infinity),
  appendsBetween: fc.boolean(),
}).map((plan) =>
  command("compact", (model, { store }) => {
    const { type, rule, seal, mergedSegmentMaxBytes, steps, appendsBetween } = plan;
    const keep = "modulus" in rule
      ? (event: StoredEvent) => event.globalSequence % rule.modulus !== 0
      : {
        maxCount: rule.maxCount,
        ...(rule.entity !== null && { region: { entity: rule.entity } }),
      };
    const strategy = type === "merge"
      ? { type } as const
      : { type: type as "tombstone" | "retention", keep };
    const compaction = store.compaction({
      strategy,
      seal,
      mergedSegmentMaxBytes,
      minSegments: 1,
      stepMaxBytes: 4096,
    });
    for (let i = 0; i < steps && compaction.step(); i++) {
      if (!appendsBetween) continue;
      store.append({ entity: "b", scope: "s" }, EventKind.DATA, { between: i });
      takeIn(model, store);
    }
    compaction.abandon();
    const { report } = compaction;
    assert.notEqual(report?.outcome, "failed", report?.reason);
    // Whatever was committed shows in whole segments; what has been erased is what the rule says.
    let erased = 0;
    for (const [sequence, event] of model.live) {
      const now = store.at(sequence)!;
      const state = now.isRetired ? "retired" : now.isErased ? "erased" : "present";
      if (state === event.state) continue;
      assert.ok(type !== "merge" && !EventKind.isReserved(event.kind as EventKind));
      assert.equal(state, type === "tombstone" ? "erased" : "retired");
      if ("modulus" in rule) assert.equal(sequence % rule.modulus, 0);
      else assert.ok(rule.entity === null || event.entity.split(":")[0] === rule.entity);
      event.state = state;
      erased++;
    }
    if (report === undefined) return;
    assert.equal(report.eventsErased, erased);
    if (type === "merge" || !seal || appendsBetween) return;
    // Everything is sealed, so the rule holds for all there is.
    const shown = model.live.filter(([, { kind, state }]) =>
      !EventKind.isReserved(kind as EventKind) && state !== "retired"
    );
    const kept = "modulus" in rule
      ? shown.filter(([sequence]) => sequence % rule.modulus === 0)
      : shown.filter(([, { entity }]) =>
        rule.entity === null || entity.split(":")[0] === rule.entity
      )
        .slice(0, type === "tombstone" ? -rule.maxCount || undefined : 0);
    const states = kept.map(([, { state }]) => state);
    assert.ok(states.every((state) => state !== "present"), states.join());
  }, plan)
);

const prunes = fc.record({ part: fc.integer({ min: 0, max: 10 }), seal: fc.boolean() })
  .map(({ part, seal }) =>
    command("prune", (model, { store }) => {
      const below = model.first + Math.floor((model.events.length - model.first) * part / 10);
      const starts = boundaries(store, model);
      // The newest segment may be empty, or about to be.
      if (seal || starts.length < store.stats().segmentCount) starts.push(model.events.length);
      const report = store.prune({ below, seal });
      const expected = Math.max(model.first, ...starts.filter((start) => start <= below));
      assert.equal(report.firstSequence, expected);
      assert.equal(report.eventsPruned, expected - model.first);
      assert.equal(report.outcome, expected > model.first ? "performed" : "skipped");
      model.first = expected;
    }, { part, seal })
  );

const reopens = command("reopen", (model, real) => {
  real.store.close();
  real.store = real.open();
  assert.deepEqual(real.store.openReport.repairs, []);
  takeIn(model, real.store);
});

const crashes = command("crash", (model, real) => {
  real.reader?.close();
  real.reader = undefined;
  real.fs = real.fs.snapshot();
  real.store = real.open();
  assert.deepEqual(real.store.openReport.repairs, []);
  takeIn(model, real.store);
});

const reads = command("read", (model, real) => {
  if (real.reader === undefined) {
    real.reader = Store.openReadOnly(DIR, { fs: real.fs, fdBudget: 1, ...real.options });
  } else real.reader.refresh();
  assertSame(model, real.reader);
});

const ticks = fc.nat(5_000_000).map((us) =>
  command("tick", (_model, { clock }) => {
    clock.us += us;
  }, us)
);

const commands = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: appends },
    { weight: 3, arbitrary: batches },
    { weight: 3, arbitrary: compactions },
    { weight: 2, arbitrary: prunes },
    { weight: 1, arbitrary: fc.constant(reopens) },
    { weight: 1, arbitrary: fc.constant(crashes) },
    { weight: 2, arbitrary: fc.constant(reads) },
    { weight: 1, arbitrary: ticks },
  ),
  { minLength: 10, maxLength: 60, size: "max" },
);

test("whatever is compacted, erased and pruned, the journal says what an array would say", () => {
  console.log(`compaction_model_test: BATPAK_SEED=${SEED} BATPAK_MODEL_RUNS=${RUNS}`);
  fc.assert(
    fc.property(commands, fc.boolean(), fc.boolean(), (list, indexFile, footers) => {
      const model = new Model();
      const real = new Real({ indexFile, footers });
      takeIn(model, real.store);
      for (const command of list) {
        command.run(model, real);
        assertSame(model, real.store);
      }
      real.store.close();
      const { findings, erased, retired, pruned } = verifyJournal(DIR, { fs: real.fs });
      assert.deepEqual(findings.filter(({ type }) => type !== "unusable"), []);
      const live = model.live.map(([, { state }]) => state);
      assert.deepEqual([erased, retired, pruned], [
        live.filter((state) => state !== "present").length,
        live.filter((state) => state === "retired").length,
        model.first,
      ]);
    }),
    { seed: SEED, numRuns: RUNS },
  );
});
