// The frontier of a store, whatever happens to it: appends, batches, fences, syncs, rolls, lanes, writes and
// syncs that fail, crashes and reopens. After each step it is compared with a model of a few lines.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MemoryFs } from "../platform/memory.ts";
import { item, KIND, openReader, openStore, payloadsOf } from "../tests/support/journal.ts";
import { BatchError, StoreIoError, WriterCrashedError } from "./errors.ts";
import type { Fence } from "./fence.ts";
import type { Store } from "./store.ts";
import {
  type FrontierView,
  type LaneFrontierView,
  WATERMARK_KINDS,
} from "./watermarks/frontier_view.ts";
import { SharedFrontier } from "./watermarks/shared_frontier.ts";

const LANES = [0, 1, 7];

type Step =
  | { type: "append"; lane: number; durable: boolean }
  | { type: "batch"; lanes: readonly number[]; durable: boolean }
  | { type: "begin" | "commit" | "cancel" | "sync" | "reopen" | "crash" | "compact" | "read" }
  | { type: "fail"; op: "writeAt" | "sync" | "resize" | "rename" | "syncDir"; after: number };

const lane = fc.constantFrom(...LANES);
const STEP: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ type: fc.constant("append" as const), lane, durable: fc.boolean() }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant("batch" as const),
      lanes: fc.array(lane, { minLength: 1, maxLength: 4 }),
      durable: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.constant({ type: "begin" as const }) },
  { weight: 2, arbitrary: fc.constant({ type: "commit" as const }) },
  { weight: 2, arbitrary: fc.constant({ type: "cancel" as const }) },
  { weight: 2, arbitrary: fc.constant({ type: "sync" as const }) },
  { weight: 1, arbitrary: fc.constant({ type: "reopen" as const }) },
  { weight: 1, arbitrary: fc.constant({ type: "crash" as const }) },
  { weight: 1, arbitrary: fc.constant({ type: "compact" as const }) },
  { weight: 1, arbitrary: fc.constant({ type: "read" as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("fail" as const),
      op: fc.constantFrom("writeAt", "sync", "resize", "rename", "syncDir"),
      after: fc.nat(400),
    }),
  },
);

/** A store and what should be seen of it. */
class World {
  fs = new MemoryFs();
  store: Store;
  fence: Fence | undefined;
  /** Payloads that everybody sees, in order, and those behind the open fence. */
  seen: number[] = [];
  staged: number[] = [];
  /** What a failed sync left in doubt: it is all there after the next open, or nothing of it. */
  doubtful: number[] = [];
  poisoned = false;
  #next = 0;
  #durable = 0;
  readonly #options;

  constructor(segmentMaxBytes: number, everyNEvents: number) {
    this.#options = {
      segmentMaxBytes,
      sync: { everyNEvents },
      coldStart: { indexFile: true, footers: true, saveEveryNEvents: 3 },
    };
    this.store = openStore(this.fs, this.#options);
  }

  run(step: Step): void {
    switch (step.type) {
      case "append":
        return this.#appending([step.lane], ([payload]) => {
          const options = {
            lane: step.lane,
            durability: step.durable ? "durable" : "written",
          } as const;
          const at = { entity: `e:${payload % 3}`, scope: "s" };
          (this.fence ?? this.store).append(at, KIND, payload, options);
        });
      case "batch":
        return this.#appending(step.lanes, (payloads) => {
          const items = payloads.map((payload, i) =>
            item(payload, { entity: `e:${payload % 3}`, lane: step.lanes[i] })
          );
          const options = { durability: step.durable ? "durable" : "written" } as const;
          (this.fence ?? this.store).appendBatch(items, options);
        });
      case "begin":
        if (this.fence === undefined) this.#trying(() => this.fence = this.store.beginFence());
        return;
      case "commit":
        return this.#commit();
      case "cancel":
        if (this.fence === undefined) return;
        this.#trying(() => this.fence?.cancel());
        // Also when that could not be written, or the writer has stopped.
        this.fence = undefined;
        this.staged = [];
        return;
      case "sync":
        this.#trying(() => this.store.sync());
        if (!this.poisoned) assert.equal(this.store.frontier().oldestPendingWriteAgeMs, null);
        return;
      case "compact":
        if (this.fence === undefined) {
          this.#trying(() => this.store.compact({ minSegments: 1, seal: true }));
        }
        return;
      case "read": {
        using reader = openReader(this.fs.snapshot());
        this.#checkReader(reader.frontier(), payloadsOf(reader));
        return;
      }
      case "fail":
        this.fs.failNext({ op: step.op, code: "EIO", after: step.after });
        return;
      case "reopen":
        try {
          this.store[Symbol.dispose]();
        } catch (error) {
          if (!(error instanceof StoreIoError || error instanceof WriterCrashedError)) throw error;
        }
        this.#reopen();
        return;
      case "crash":
        this.#reopen();
    }
  }

  #appending(lanes: readonly number[], append: (payloads: number[]) => void): void {
    const payloads = lanes.map(() => this.#next++);
    const before = this.poisoned;
    const failed = this.#trying(() => append(payloads));
    if (failed === undefined) {
      (this.fence === undefined ? this.seen : this.staged).push(...payloads);
    } else if (!before && this.poisoned && this.fence === undefined) this.doubtful = payloads;
  }

  #commit(): void {
    if (this.fence === undefined) return;
    const before = this.poisoned;
    if (this.#trying(() => this.fence?.commit()) === undefined) {
      this.seen.push(...this.staged);
      this.staged = [];
      this.fence = undefined;
    } else if (!before && this.poisoned) this.doubtful = this.staged;
  }

  /** Runs what may meet a fault. Says how it failed. */
  #trying(action: () => unknown): Error | undefined {
    try {
      action();
      if (this.poisoned) assert.fail("a store whose writer has stopped did something");
      return undefined;
    } catch (thrown) {
      const error = thrown instanceof BatchError ? thrown.cause : thrown;
      if (error instanceof WriterCrashedError) this.poisoned = true;
      else if (!(error instanceof StoreIoError)) throw error;
      return error;
    }
  }

  /** Opens what is left, without the faults that have not fired. */
  #reopen(): void {
    this.fs = this.fs.snapshot();
    this.store = openStore(this.fs, this.#options);
    this.fence = undefined;
    this.staged = [];
    this.poisoned = false;
    const found = payloadsOf(this.store);
    if (found.length > this.seen.length) this.seen.push(...this.doubtful);
    this.doubtful = [];
    this.#durable = 0;
    const { durable, accepted } = this.store.frontier();
    assert.deepEqual(durable, accepted);
  }

  #checkReader(view: FrontierView, payloads: readonly unknown[]): void {
    const seen = payloads.length > this.seen.length ? [...this.seen, ...this.doubtful] : this.seen;
    assert.deepEqual(payloads, seen);
    assert.deepEqual(view.written, view.durable);
    assert.equal(view.oldestPendingWriteAgeMs, null);
  }

  check(): void {
    const { store } = this;
    assert.deepEqual(payloadsOf(store), this.seen);
    const view = store.frontier();
    const shared = new SharedFrontier(store.frontierMemory);
    const { oldestPendingWriteAgeMs: age, ...there } = shared.view();
    const { oldestPendingWriteAgeMs: pending, ...here } = view;
    assert.deepEqual({ ...there }, { ...here }, "another realm sees the same");
    assert.equal(age === null, pending === null);
    assert.equal(shared.poisoned, this.poisoned);

    const last = store.stats().nextSequence - 1;
    const events = store.query();
    assert.equal(view.accepted.globalSequence, last);
    assert.equal(view.written.globalSequence, last);
    assert.equal(view.visible.globalSequence, events.at(-1)?.globalSequence);
    assert.deepEqual(view.emitted, view.visible);
    assert.equal(view.durable.globalSequence, (store.durableSequence ?? NaN) - 1);
    assert.ok(view.durable.globalSequence >= this.#durable, "durable never falls");
    this.#durable = view.durable.globalSequence;
    assert.equal(
      pending === null,
      this.#durable === last,
      "something is pending, or all is durable",
    );
    assert.equal(view.visible.wallMs, Math.floor((events.at(-1)?.timestampUs ?? NaN) / 1000));
    for (const lane of LANES) this.#checkLane(lane, view.lane(lane), view);
    for (const kind of WATERMARK_KINDS) {
      const highest = Math.max(...view.lanes.map((view) => view[kind].globalSequence));
      assert.ok(highest <= view[kind].globalSequence, `${kind} of a lane is ahead of the journal`);
    }
  }

  #checkLane(lane: number, view: LaneFrontierView | undefined, whole: FrontierView): void {
    const visible = this.store.query({ lane }).at(-1)?.globalSequence;
    if (view === undefined) return assert.equal(visible, undefined);
    assert.equal(view.visible.globalSequence, visible ?? 0);
    assert.deepEqual(view.emitted, view.visible);
    assert.deepEqual(view.written, view.accepted);
    if (whole.durable.globalSequence === whole.written.globalSequence) {
      assert.deepEqual(view.durable, view.written);
    }
  }
}

test("F-08 F-16 the frontier is what a simple model says, whatever happens to the store", () => {
  fc.assert(
    fc.property(
      fc.array(STEP, { maxLength: 40 }),
      fc.integer({ min: 300, max: 4000 }),
      fc.constantFrom(0, 1, 5),
      (steps, segmentMaxBytes, everyNEvents) => {
        const world = new World(segmentMaxBytes, everyNEvents);
        world.check();
        for (const step of steps) {
          world.run(step);
          world.check();
        }
        world.run({ type: "crash" });
        world.check();
      },
    ),
    { numRuns: 150 },
  );
});
