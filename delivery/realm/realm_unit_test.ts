// Spec delivery.md 2, 9.2, 9.5 to 9.7: a handler in a realm of its own, on real files and real workers.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { holdLifeline } from "../../platform/lifeline.ts";
import { runtime } from "../../platform/runtime.ts";
import { inTempDir } from "../../platform/testdata/processes.ts";
import type { CursorOptions } from "../../store/cursor.ts";
import { CorruptionError, StoreIoError } from "../../store/errors.ts";
import type { RegionLike } from "../../store/region.ts";
import { Store } from "../../store/store.ts";
import type { StoreOptions } from "../../store/store_options.ts";
import type { StoredEvent } from "../../store/stored_event.ts";
import { OTHER, PAID, PLACED } from "../../tests/support_api/journal.ts";
import { type CursorWorkerContext, HandlerCrash, UnitDeath } from "../handler_unit.ts";
import { BatchTooLargeError, type RealmOptions, RealmUnit } from "./realm_unit.ts";
import { PROTOCOL_VERSION, tagged } from "./protocol.ts";
import type { Note, Plan } from "./testdata/handler.ts";
import type { WorkerLike } from "../../platform/realm.ts";

/** A function that starts the worker in a file of `testdata/`. */
function startWorker(name = "handler.ts"): () => WorkerLike {
  return () => new Worker(new URL(`./testdata/${name}`, import.meta.url), { type: "module" });
}

/** What a test has at hand: a journal with orders, and the means to have a realm handle it. */
class Fixture implements AsyncDisposable {
  readonly store: Store;
  readonly dir: string;
  readonly stop = new AbortController();
  readonly notesPath: string;
  readonly #units: RealmUnit[] = [];

  constructor(dir: string, options: StoreOptions = {}) {
    this.dir = dir;
    this.notesPath = `${dir}/notes`;
    this.store = Store.open(`${dir}/journal`, { segmentMaxBytes: 8_000, ...options });
  }

  append(count: number, first = 0): void {
    for (let i = first; i < first + count; i++) {
      const payload = { n: i, text: "x".repeat(i % 50) };
      const coordinate = { entity: `order:${i % 7}`, scope: "shop" };
      this.store.append(coordinate, PLACED, payload, { tags: [`t:${i % 3}`] });
    }
  }

  unit(plan: Partial<Plan> = {}, options: Partial<RealmOptions> = {}): RealmUnit {
    const init: Plan = { notes: this.notesPath, ...plan };
    // A test run of Deno checks the types of a worker's modules when it starts, which takes its time.
    const worker = startWorker();
    const unit = new RealmUnit({ worker, init, startTimeoutMs: 60_000, ...options });
    this.#units.push(unit);
    return unit;
  }

  async started(plan: Partial<Plan> = {}, options: Partial<RealmOptions> = {}): Promise<RealmUnit> {
    const unit = this.unit(plan, options);
    await unit.start(this.context());
    return unit;
  }

  context(signal = this.stop.signal): CursorWorkerContext {
    return { store: this.store, witness: undefined, takeGaps: () => [], signal };
  }

  /** Has a unit handle a region, from a position on, as a supervisor would: at least once, in order. */
  async drive(
    unit: RealmUnit,
    { region = { kind: PLACED }, batchSize = 64, onBatch = () => {}, restartCount = 0, ...options }:
      & CursorOptions
      & {
        readonly region?: RegionLike;
        readonly batchSize?: number;
        readonly onBatch?: () => unknown;
        readonly restartCount?: number;
      } = {},
  ): Promise<{ failures: unknown[] }> {
    const cursor = this.store.cursor(region, options);
    const failures: unknown[] = [];
    let committed = cursor.position;
    for (;;) {
      const batch = cursor.pollBatch(batchSize);
      if (batch.length === 0) break;
      try {
        assert.equal(await unit.handle(batch), "continue");
        committed = cursor.position;
        await onBatch();
      } catch (error) {
        if (!(error instanceof UnitDeath || error instanceof HandlerCrash)) throw error;
        if (failures.push(error) > restartCount) break;
        if (error instanceof UnitDeath && !await unit.revive()) break;
        cursor.restore(committed);
      }
    }
    return { failures };
  }

  get notes(): Note[] {
    return notesIn(this.notesPath);
  }

  get handled(): number[] {
    return this.notes.flatMap(({ sequences }) => sequences);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const unit of this.#units) await unit.close();
    this.store[Symbol.dispose]();
  }
}

/** The notes of a handler. One that is just being written does not count yet. */
function notesIn(path: string): Note[] {
  if (!existsSync(path)) return [];
  return readFileSync(path, "utf8").split("\n").slice(0, -1).map((line) => JSON.parse(line));
}

/** Runs a test with a fixture in a directory of its own. */
function withFixture(
  action: (fixture: Fixture) => Promise<void>,
  options: StoreOptions = {},
): () => Promise<void> {
  return () =>
    inTempDir(async (dir) => {
      await using fixture = new Fixture(dir, options);
      await action(fixture);
    });
}

/** The sequences from `start` up to `end`. */
function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i);
}

function isDeath(pattern: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof UnitDeath, String(error));
    assert.match(error.message, /^The realm of the handler is gone: /);
    assert.match(error.message, pattern);
    return true;
  };
}

test(
  "a realm is given every event of its region once, in order, and as the store has it",
  withFixture(async (fixture) => {
    const { store } = fixture;
    for (let i = 0; i < 20; i++) {
      fixture.append(150, i * 150);
      store.append(OTHER, PAID, Uint8Array.of(i), { payloadEncoding: "opaque", lane: 3 });
    }
    store.append(OTHER, PAID, { big: 2n ** 60n }, { extensions: { "app.x": Uint8Array.of(1) } });
    assert.ok(store.stats().segmentCount > 50);
    const unit = await fixture.started({ inFull: true });
    const { failures } = await fixture.drive(unit, { region: {}, batchSize: 256 });
    assert.deepEqual(failures, []);
    const noted = fixture.notes.flatMap(({ events }) => events!);
    const bigints = (_: string, value: unknown) => typeof value === "bigint" ? `${value}n` : value;
    assert.deepEqual(noted, JSON.parse(JSON.stringify(store.query({}), bigints)));
    assert.equal(noted.length, 3022);
    await unit.close();
  }),
);

test(
  "events that are far apart, and an event larger than a mebibyte, arrive too",
  withFixture(async (fixture) => {
    const { store } = fixture;
    const wanted: number[] = [];
    for (let i = 0; i < 30; i++) {
      wanted.push(store.append(OTHER, PAID, { i }).globalSequence);
      fixture.append(i * 10);
    }
    wanted.push(store.append(OTHER, PAID, "y".repeat(3_000_000)).globalSequence);
    wanted.push(store.append(OTHER, PAID, { last: true }).globalSequence);
    const unit = await fixture.started({ inFull: true });
    await fixture.drive(unit, { region: { kind: PAID }, batchSize: 100 });
    assert.deepEqual(fixture.handled, wanted);
    const [{ events }] = fixture.notes;
    assert.equal((events![30] as { payload: string }).payload.length, 3_000_000);
  }, { segmentMaxBytes: 100_000 }),
);

test(
  "W-17 what a handler throws is a crash with its text, and its realm goes on with its state",
  withFixture(async (fixture) => {
    fixture.append(30);
    const once = `${fixture.dir}/once`;
    const cases = [
      ["throw", "the handler's own words"],
      ["throwText", "only text"],
      ["reject", "unknown panic"],
    ] as const;
    for (const [i, [fault, text]] of cases.entries()) {
      const notesPath = `${fixture.notesPath}${i}`;
      const unit = await fixture.started({
        notes: notesPath,
        at: 15,
        fault,
        once: once + i,
      });
      const { failures } = await fixture.drive(unit, { batchSize: 10, restartCount: 1 });
      assert.deepEqual(failures.map(String), [`HandlerCrash: ${text}`]);
      const notes = notesIn(notesPath);
      assert.deepEqual(
        notes.map(({ sequences: [first], callCount }) => [first, callCount]),
        [[1, 1], [11, 2], [11, 3], [21, 4]],
        "the batch again, in the same realm",
      );
      await unit.close();
    }
  }),
);

test(
  "what a handler returns is passed on, also when it is no action or cannot be sent",
  withFixture(async (fixture) => {
    fixture.append(1);
    const batch = fixture.store.query({ kind: PLACED });
    const cases = [
      ["stop", "stop"],
      ["stopWithRollback", "stopWithRollback"],
      ["number", 42],
      ["unclonable", { type: "function" }],
    ] as const;
    for (const [fault, expected] of cases) {
      const unit = await fixture.started({ at: 1, fault });
      assert.deepEqual(await unit.handle(batch), expected);
      await unit.close();
    }
  }),
);

test(
  "a realm that dies before or after handling a batch is given it again: nothing is lost",
  withFixture(async (fixture) => {
    fixture.append(40);
    for (const fault of ["dieBefore", "dieAfter", "uncaught"] as const) {
      const notes = `${fixture.notesPath}-${fault}`;
      const unit = await fixture.started({ notes, at: 15, fault, once: `${fixture.dir}/${fault}` });
      const { failures } = await fixture.drive(unit, { batchSize: 10, restartCount: 1 });
      assert.equal(failures.length, 1);
      isDeath(
        fault === "uncaught"
          ? /gone: Error: outside of the handler$/
          : /it ended, and did not say why/,
      )(
        failures[0],
      );
      const lines = notesIn(notes);
      const again = fault === "dieBefore" ? [] : range(11, 21);
      assert.deepEqual(lines.flatMap(({ sequences }) => sequences), [
        ...range(1, 11),
        ...again,
        ...range(11, 41),
      ]);
      assert.equal(lines.at(-1)!.callCount, 3, "a new realm");
      await unit.close();
    }
  }),
);

test(
  "a realm that the user terminates is noticed, during a batch and between two",
  withFixture(async (fixture) => {
    fixture.append(30);
    const workers: WorkerLike[] = [];
    const worker = () => {
      workers.push(startWorker()());
      return workers.at(-1)!;
    };
    const batch = fixture.store.query({ kind: PLACED });
    const unit = await fixture.started({ at: 1, fault: "hang", once: `${fixture.dir}/once` }, {
      worker,
    });
    const handling = unit.handle(batch);
    const rejected = assert.rejects(handling, isDeath(/it ended, and did not say why/));
    while (fixture.notes.length === 0) await runtime.scheduler.turn();
    workers[0].terminate();
    await rejected;
    await assert.rejects(unit.handle(batch), UnitDeath, "it stays dead");
    assert.equal(await unit.revive(), true);
    assert.equal(await unit.handle(batch), "continue");
    assert.equal(workers.length, 2);

    workers[1].terminate();
    await assert.rejects(unit.handle(batch), UnitDeath);
    assert.equal(await unit.revive(), true);
    assert.equal(await unit.handle(batch), "continue");
    assert.deepEqual(fixture.notes.map(({ callCount }) => callCount), [1, 1, 1]);
  }),
);

test(
  "a worker that was handed in as it is cannot be started again",
  withFixture(async (fixture) => {
    fixture.append(5);
    const unit = await fixture.started({ at: 1, fault: "dieAfter" }, { worker: startWorker()() });
    const { failures } = await fixture.drive(unit, { restartCount: 9 });
    assert.equal(failures.length, 1);
    assert.equal(await unit.revive(), false);
  }),
);

test(
  "a worker that has been up for a while says hello again",
  withFixture(async (fixture) => {
    fixture.append(5);
    const worker = startWorker()();
    await new Promise((resolve) => worker.addEventListener("message", resolve));
    const unit = await fixture.started({}, { worker });
    await fixture.drive(unit);
    assert.deepEqual(fixture.handled, range(1, 6));
  }),
);

test(
  "a handler that does not come back in time costs the realm its life, whether it waits or computes",
  withFixture(async (fixture) => {
    fixture.append(30);
    for (const fault of ["hang", "spinUntilStop"] as const) {
      const notes = `${fixture.notesPath}-${fault}`;
      const unit = await fixture.started(
        { notes, at: 15, fault, once: `${fixture.dir}/${fault}` },
        { handlerTimeoutMs: 300 },
      );
      const { failures } = await fixture.drive(unit, { batchSize: 10, restartCount: 1 });
      assert.equal(failures.length, 1);
      isDeath(/the handler did not come back within 300 ms/)(failures[0]);
      const lines = notesIn(notes);
      assert.deepEqual(lines.flatMap(({ sequences }) => sequences), [
        ...range(1, 21),
        ...range(11, 31),
      ]);
      await unit.close();
    }
  }),
);

test(
  "a realm that cannot start says why",
  withFixture(async (fixture) => {
    const cases: readonly [Partial<Plan>, Partial<RealmOptions>, RegExp][] = [
      // A test run of Deno checks the types first, and fails of those.
      [{}, { worker: startWorker("no_such_file.js") }, /no_such_file|Type checking failed/],
      [{}, { worker: startWorker("throws_at_top.ts") }, /gone: Error: no journal for me$/],
      [
        {},
        { worker: startWorker("serves_nothing.ts"), startTimeoutMs: 400 },
        /serveCursorWorker|ended/,
      ],
      [
        {},
        { worker: startWorker("other_version.ts") },
        /different versions of batpak \(protocols 99 and 1\)/,
      ],
      [{ setup: "throw" }, {}, /not ready for this/],
      [{}, { init: () => {} }, /clone|cloned/],
    ];
    for (const [plan, options, pattern] of cases) {
      const unit = fixture.unit(plan, options);
      await assert.rejects(unit.start(fixture.context()), isDeath(pattern));
      await unit.close();
    }
    // Loading is not what takes long here.
    const worker = startWorker()();
    await new Promise((resolve) => worker.addEventListener("message", resolve));
    const unit = fixture.unit({ setup: "hang" }, { worker, startTimeoutMs: 400 });
    await assert.rejects(
      unit.start(fixture.context()),
      isDeath(/its setup did not come back within 400 ms/),
    );
    assert.throws(
      () =>
        fixture.unit({}, {
          worker: () => {
            throw new Error("no workers today");
          },
        }),
      (error) => error instanceof StoreIoError && /no workers today/.test(error.message),
    );
  }),
);

test(
  "a worker that was told to stop lets the batch be settled, also when the handler never yields",
  withFixture(async (fixture) => {
    fixture.append(5);
    const batch = fixture.store.query({ kind: PLACED });
    for (const fault of ["waitForStop", "spinUntilStop"] as const) {
      const stop = new AbortController();
      const notes = `${fixture.notesPath}-${fault}`;
      const unit = fixture.unit({ notes, at: 1, fault });
      await unit.start(fixture.context(stop.signal));
      const handling = unit.handle(batch);
      while (!existsSync(notes)) await runtime.scheduler.turn();
      stop.abort();
      assert.equal(await handling, "continue");
      await unit.close();
    }
  }),
);

test(
  "a start is given up when the worker is told to stop, and a unit that was never started can be closed",
  withFixture(async (fixture) => {
    const stop = new AbortController();
    const unit = fixture.unit({ setup: "hang" });
    const starting = unit.start(fixture.context(stop.signal));
    stop.abort();
    await starting;
    await unit.close();
    await fixture.unit().close();
  }),
);

/** A worker whose batches are held up on their way until the test lets them go. */
function heldWorker(): { worker: WorkerLike; hold(): void; release(): void } {
  const worker = startWorker()();
  let held: (() => void)[] | undefined;
  return {
    worker: {
      postMessage(message, transfer) {
        const post = () => worker.postMessage(message, transfer);
        if (held === undefined || (message as { type?: string }).type !== "batch") post();
        else held.push(post);
      },
      terminate: () => worker.terminate(),
      addEventListener: (type, listener) => worker.addEventListener(type, listener),
      removeEventListener: (type, listener) => worker.removeEventListener(type, listener),
    },
    hold: () => held = [],
    release() {
      for (const post of held ?? []) post();
      held = undefined;
    },
  };
}

test(
  "compactions beside it lose nothing: a realm sees every event as the store has it, or had it just now",
  withFixture(async (fixture) => {
    const { store } = fixture;
    fixture.append(1_000);
    const { worker, hold, release } = heldWorker();
    const unit = await fixture.started({ inFull: true }, { worker });
    const compactions = new Map(
      [
        [2, { type: "merge" }],
        [4, { type: "tombstone", keep: (event: StoredEvent) => event.entity !== "order:3" }],
        [7, { type: "retention", keep: (event: StoredEvent) => event.entity !== "order:4" }],
      ] as const,
    );
    let staleCount = 0;
    worker.addEventListener("message", (event) => {
      if ((event as MessageEvent).data.type === "unreadable") staleCount++;
    });
    const facts = (batch: readonly StoredEvent[]) =>
      batch.map((event) => JSON.parse(JSON.stringify(event)));
    const before: { entity: string }[] = [];
    const after: { entity: string }[] = [];
    const cursor = store.cursor({ kind: PLACED });
    for (let batchCount = 0;; batchCount++) {
      const batch = cursor.pollBatch(100);
      if (batch.length === 0) break;
      before.push(...facts(store.queryAfter({ kind: PLACED }, batch[0].globalSequence - 1, 100)));
      const strategy = compactions.get(batchCount as 2);
      // While the places of the batch are on their way, and with a file of the batch open in the realm.
      if (strategy !== undefined) hold();
      const handling = unit.handle(batch);
      if (strategy !== undefined) {
        const { outcome } = store.compact({ strategy, minSegments: 1, seal: true });
        assert.equal(outcome, "performed", `batch ${batchCount}`);
      }
      release();
      assert.equal(await handling, "continue");
      after.push(...facts(batch));
      if (batchCount < 6) fixture.append(100, 1_000 + batchCount * 100);
    }
    const noted = fixture.notes.flatMap(({ events }) => events!) as { entity: string }[];
    assert.equal(noted.length, before.length);
    for (const [i, event] of noted.entries()) {
      // What is read from a file that was open already is as it was when the batch was handed over.
      const isOnItsWay = compactions.has(Math.floor(i / 100) as 2);
      assert.deepEqual(event, isOnItsWay && !("erased" in event) ? before[i] : after[i]);
    }
    assert.ok(noted.some((event) => "erased" in event), "erased ones arrive");
    assert.ok(staleCount >= 1, `${staleCount} times the places were stale`);
  }),
);

test(
  "events that are retired while they are on their way arrive without their payloads",
  withFixture(async (fixture) => {
    const { store } = fixture;
    fixture.append(100);
    const { worker, hold, release } = heldWorker();
    const unit = await fixture.started({ inFull: true }, { worker });
    hold();
    const handling = unit.handle(store.query({ entity: "order:5" }));
    const { outcome } = store.compact({
      strategy: { type: "retention", keep: ({ entity }) => entity !== "order:5" },
      minSegments: 1,
      seal: true,
    });
    assert.equal(outcome, "performed");
    release();
    assert.equal(await handling, "continue");
    const [{ events }] = fixture.notes;
    assert.equal(events!.length, 14);
    for (const event of events as { retired?: true; payload?: unknown }[]) {
      assert.deepEqual([event.retired, event.payload], [true, undefined]);
    }
  }),
);

test(
  "events that are pruned while they are on their way are a crash, and the rest goes on",
  withFixture(async (fixture) => {
    const { store } = fixture;
    fixture.append(500);
    const { worker, hold, release } = heldWorker();
    const unit = await fixture.started({}, { worker });
    hold();
    const handling = unit.handle(store.query({ kind: PLACED }).slice(0, 50));
    const rejected = assert.rejects(handling, (error) => {
      assert.ok(error instanceof HandlerCrash);
      assert.match(error.message, /has been pruned/);
      return true;
    });
    assert.equal(store.prune({ below: 300 }).outcome, "performed");
    release();
    await rejected;
    const [first] = store.query({ kind: PLACED });
    assert.ok(first.globalSequence > 50);
    await fixture.drive(unit);
    assert.deepEqual(fixture.handled, range(first.globalSequence, 501));
  }),
);

test(
  "a damaged frame is an error of its own and no crash, as are files that are gone",
  withFixture(async (fixture) => {
    const { store } = fixture;
    fixture.append(300);
    const unit = await fixture.started();
    const events = store.query({ kind: PLACED });
    const damaged = events[120];
    const { segmentId, offset, size } = damaged.position;
    const path = `${store.dir}/${String(segmentId).padStart(6, "0")}.fbat`;
    const file = runtime.fs.open(path, "write");
    const byte = new Uint8Array(1);
    file.readAt(byte, 0, 1, offset + size - 1);
    byte[0] ^= 1;
    file.writeAt(byte, 0, 1, offset + size - 1);
    file.close();
    assert.equal(await unit.handle(events.slice(0, 120)), "continue");
    await assert.rejects(unit.handle(events.slice(100, 130)), (error) => {
      assert.ok(error instanceof CorruptionError);
      assert.deepEqual(
        [error.path, error.segmentId, error.offset, error.reason],
        [path, segmentId, offset, "the frame's checksum does not match"],
      );
      return true;
    });
    // The realm is none the worse for it.
    assert.equal(await unit.handle(events.slice(121, 130)), "continue");

    const gone = `${store.dir}/${String(events[250].position.segmentId).padStart(6, "0")}.fbat`;
    runtime.fs.remove(gone);
    await assert.rejects(unit.handle(events.slice(249, 252)), (error) => {
      assert.ok(error instanceof StoreIoError);
      assert.equal(error.fault.code, "ENOENT");
      assert.equal(error.fault.path, gone);
      return true;
    });
  }),
);

test(
  "several realms follow one journal, each on its own",
  withFixture(async (fixture) => {
    fixture.append(600);
    const driven = range(0, 4).map(async (i) => {
      const notes = `${fixture.notesPath}-${i}`;
      const unit = await fixture.started({
        notes,
        ...(i === 2 && { at: 100, fault: "dieAfter", once: `${fixture.dir}/once` }),
      });
      await fixture.drive(unit, {
        region: { entity: `order:${i}` },
        batchSize: 16,
        restartCount: 1,
      });
      const lines = notesIn(notes);
      return new Set(lines.flatMap(({ sequences }) => sequences));
    });
    for (const [i, handled] of (await Promise.all(driven)).entries()) {
      const expected = fixture.store.query({ entity: `order:${i}` });
      assert.deepEqual([...handled], expected.map(({ globalSequence }) => globalSequence));
    }
  }),
);

test(
  "messages of the user's own pass by, in both directions",
  withFixture(async (fixture) => {
    fixture.append(3);
    const worker = startWorker("talkative.ts")();
    const heard: unknown[] = [];
    worker.addEventListener("message", (event) => {
      const { data } = event as MessageEvent;
      if (data.own !== undefined) heard.push(data.own);
    });
    const unit = await fixture.started({}, { worker });
    worker.postMessage({ own: "ping", type: "end" }, []);
    worker.postMessage(null, []);
    assert.equal(await unit.handle(fixture.store.query({ kind: PLACED })), "continue");
    assert.deepEqual(heard, ["ping", 3]);
    assert.notEqual(tagged({ type: "end" }).batpak, undefined);
  }),
);

test(
  "the worker of a reader finds its events again after the writer has compacted and pruned",
  withFixture(async (fixture) => {
    const { store, stop: { signal } } = fixture;
    fixture.append(500);
    using reader = Store.openReadOnly(store.dir);
    const { worker, hold, release } = heldWorker();
    const unit = fixture.unit({}, { worker });
    await unit.start({ store: reader, witness: undefined, takeGaps: () => [], signal });
    const batch = reader.query({ kind: PLACED }).slice(200, 300);
    hold();
    const handling = unit.handle(batch);
    assert.equal(store.compact({ minSegments: 2, seal: true }).outcome, "performed");
    release();
    assert.equal(await handling, "continue");
    assert.deepEqual(fixture.handled, range(201, 301));

    // With none of the files open in the realm.
    const other = heldWorker();
    const late = fixture.unit({}, { worker: other.worker });
    await late.start({ store: reader, witness: undefined, takeGaps: () => [], signal });
    other.hold();
    const rejected = assert.rejects(
      late.handle(reader.query({ kind: PLACED }).slice(0, 20)),
      (error) => error instanceof HandlerCrash && /has been pruned/.test(error.message),
    );
    assert.equal(store.prune({ below: 501, seal: true }).outcome, "performed");
    other.release();
    await rejected;
    assert.deepEqual(fixture.handled, range(201, 301));
  }),
);

test(
  "a batch that is larger than a realm should hold is refused, and one event of any size is not",
  withFixture(async (fixture) => {
    const size = 300 * 1024 * 1024;
    const host = {
      isClosed: () => false,
      scheduler: runtime.scheduler,
      source: {
        firstSequence: 0,
        index: { firstRow: 0, offsetOf: (row: number) => row * size },
        log: {
          segments: [{ id: 1, path: `${fixture.dir}/none`, headerCrc: 1, framesStart: 1 }],
          segmentIndexOf: () => 0,
          frameEndOf: (row: number) => (row + 1) * size,
        },
      },
    };
    const unit = fixture.unit();
    const store = { cursorHost: () => host } as unknown as Store;
    await unit.start({ ...fixture.context(), store });
    const events = [0, 1].map((globalSequence) => ({ globalSequence }) as StoredEvent);
    await assert.rejects(unit.handle(events), (error) => {
      assert.ok(error instanceof BatchTooLargeError);
      assert.equal(error.size, 2 * size);
      return true;
    });
    // Its size is nobody's concern; that it is no event's is.
    await assert.rejects(unit.handle(events.slice(1)), CorruptionError);
  }),
);

/** What looks like a worker, and answers each message as it is told. */
class PretendedWorker extends EventTarget implements WorkerLike {
  batchCount = 0;

  constructor(readonly answerTo: (number: number) => readonly object[]) {
    super();
    queueMicrotask(() => this.#say({ type: "hello", version: PROTOCOL_VERSION }));
  }

  postMessage(
    message: { readonly type: string; readonly number: number; readonly lifeline: string },
  ): void {
    if (message.type === "start") {
      void holdLifeline(message.lifeline).then(() => this.#say({ type: "ready" }));
    }
    if (message.type !== "batch" || ++this.batchCount > 10) return;
    for (const answer of this.answerTo(message.number)) this.#say(answer);
  }

  terminate(): void {
    // So that nobody waits for the end.
    queueMicrotask(() => this.dispatchEvent(new Event("close")));
  }

  #say(message: object): void {
    const data = { batpak: "batpak:cursor-worker", ...message };
    queueMicrotask(() => this.dispatchEvent(new MessageEvent("message", { data })));
  }
}

// A message with the number of the batch that is no answer was taken for one, and the batch sent again, over
// and over. It is left aside, and the time limit holds.
test(
  "messages that are no answer to a batch settle nothing",
  withFixture(async (fixture) => {
    fixture.append(3);
    const wrong = (number: number) => [
      { type: "hello", number },
      { type: "ready", number },
      { type: "nonsense", number },
      { type: "settled", number: number + 1, result: "stop" },
      { type: "settled", number: number - 1, result: "stop" },
    ];
    const silent = new PretendedWorker(wrong);
    const slow = await fixture.started({}, { worker: silent, handlerTimeoutMs: 50 });
    const batch = fixture.store.query({ kind: PLACED });
    await assert.rejects(slow.handle(batch), isDeath(/did not come back within 50 ms/));
    assert.equal(silent.batchCount, 1);

    const right = (number: number) => [
      ...wrong(number),
      { type: "settled", number, result: "continue" },
    ];
    const talkative = new PretendedWorker(right);
    const unit = await fixture.started({}, { worker: talkative });
    assert.equal(await unit.handle(batch), "continue");
    assert.equal(await unit.handle(batch), "continue");
    assert.equal(talkative.batchCount, 2);
  }),
);
