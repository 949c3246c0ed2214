/**
 * Workers against a model: a handler that says whatever comes to its mind, lives that end whenever they like,
 * and appends at any time. The model is two numbers, what is committed and how often the rest was delivered.
 *
 * ```sh
 * BATPAK_SEED=42 BATPAK_MODEL_RUNS=10000 deno task test delivery/cursor_worker_model_test.ts
 * ```
 */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import fc from "fast-check";
import type { Clock } from "../platform/clock.ts";
import { MemoryFs } from "../platform/memory.ts";
import { EventKind } from "../store/event_kind.ts";
import type { StoredEvent } from "../store/stored_event.ts";
import { Store } from "../store/store.ts";
import { loadCheckpoint } from "./checkpoint.ts";
import { type CursorWorker, startCursorWorker } from "./cursor_worker.ts";
import type { CursorWorkerAction } from "./handler_unit.ts";
import { NeverSkipChecker } from "./never_skip.ts";
import type { CursorWorkerEnd } from "./supervisor.ts";

const SEED = Number(process.env.BATPAK_SEED ?? Date.now() % 0x7fffffff);
const RUNS = Number(process.env.BATPAK_MODEL_RUNS ?? 150);
const REGION = { entity: "order" };

/** What a handler does with a batch. */
type Doing =
  | "continue"
  | "stop"
  | "stopWithRollback"
  | "throw"
  | "nonsense"
  | "diskFull"
  | "stopped"
  | "append";

/** The life of one worker. */
interface Life {
  readonly batchSize: number;
  readonly isDurable: boolean;
  readonly isAsync: boolean;
  readonly restart: "once" | { readonly maxRestarts: number; readonly withinMs: number };
  /** What is appended before it, orders and others. */
  readonly appended: readonly boolean[];
  readonly doings: readonly Doing[];
  /** Milliseconds that pass in each batch. */
  readonly passingMs: readonly number[];
}

const lives: fc.Arbitrary<Life[]> = fc.array(
  fc.record({
    batchSize: fc.integer({ min: 1, max: 4 }),
    isDurable: fc.boolean(),
    isAsync: fc.boolean(),
    restart: fc.oneof(
      fc.constant("once" as const),
      fc.record({
        maxRestarts: fc.integer({ min: 0, max: 3 }),
        withinMs: fc.integer({ min: 0, max: 5 }),
      }),
    ),
    appended: fc.array(fc.boolean(), { maxLength: 8 }),
    doings: fc.array(
      fc.oneof(
        { weight: 5, arbitrary: fc.constant<Doing>("continue") },
        { weight: 3, arbitrary: fc.constant<Doing>("throw") },
        fc.constantFrom<Doing>(
          "stop",
          "stopWithRollback",
          "nonsense",
          "diskFull",
          "stopped",
          "append",
        ),
      ),
      { maxLength: 10 },
    ),
    passingMs: fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 10, maxLength: 10 }),
  }),
  { minLength: 1, maxLength: 5 },
);

/** What the store and the workers have to be like. */
class Model {
  /** Sequences of orders, ascending. */
  readonly orders: number[] = [];
  /** The last order that is committed under the checkpoint; 0 in front of all, for sequence 0 is the open. */
  committed = 0;

  /** The batch behind a sequence. */
  after(sequence: number, batchSize: number): number[] {
    return this.orders.filter((order) => order > sequence).slice(0, batchSize);
  }
}

async function live(store: Store, fs: MemoryFs, clock: { us: number }, model: Model, life: Life) {
  const append = (isOrder: boolean): void => {
    const entity = isOrder ? "order:1" : "other";
    const { globalSequence } = store.append({ entity, scope: "shop" }, EventKind.DATA, null);
    if (isOrder) model.orders.push(globalSequence);
  };
  for (const isOrder of life.appended) append(isOrder);

  // What is to come, worked out step by step as the handler is called.
  let committed = life.isDurable ? model.committed : 0;
  let expected = "running" as "running" | CursorWorkerEnd;
  let used = 0;
  let restarts = 0;
  let deliveries = 0;
  let windowStartMs = clock.us / 1000;
  const checker = new NeverSkipChecker(
    committed === 0 ? {} : { from: { position: committed, started: true } },
  );

  const crash = (): void => {
    const { restart } = life;
    const nowMs = clock.us / 1000;
    if (restart !== "once" && nowMs - windowStartMs > restart.withinMs) {
      used = 0;
      windowStartMs = nowMs;
    }
    if (used >= (restart === "once" ? 1 : restart.maxRestarts)) {
      expected = "crashed";
    } else {
      used++;
      restarts++;
      checker.restarted(
        committed === 0 ? { position: 0, started: false } : { position: committed, started: true },
      );
    }
  };
  const commit = (last: number): void => {
    committed = last;
    if (life.isDurable) model.committed = last;
    checker.committed({ position: last, started: true });
  };

  const handler = (batch: readonly StoredEvent[]): CursorWorkerAction => {
    assert.equal(expected, "running", "nothing is delivered behind the end");
    const given = batch.map((event) => event.globalSequence);
    assert.deepEqual(given, model.after(committed, life.batchSize));
    checker.delivered(batch);
    clock.us += 1000 * (life.passingMs[deliveries] ?? 0);
    const doing = life.doings[deliveries++] ?? "stop";
    const last = given[given.length - 1];
    switch (doing) {
      case "append":
        append(true);
        commit(last);
        return "continue";
      case "continue":
        commit(last);
        return "continue";
      case "stop":
        commit(last);
        expected = "handler";
        return "stop";
      case "stopWithRollback":
        expected = "handler";
        return "stopWithRollback";
      case "stopped":
        commit(last);
        expected = "stopped";
        worker.stop();
        return "continue";
      case "diskFull":
        if (!life.isDurable) {
          commit(last);
          return "continue";
        }
        expected = "failed";
        fs.failNext({ op: "publish", code: "ENOSPC", path: ".ckpt" });
        return "continue";
      case "throw":
        crash();
        throw new Error("on purpose");
      case "nonsense":
        crash();
        return "nonsense" as CursorWorkerAction;
    }
  };
  const { batchSize, restart } = life;
  const worker: CursorWorker = startCursorWorker(store, REGION, {
    batchSize,
    idleSleepMs: 1,
    checkpointId: life.isDurable ? "a" : undefined,
    restart: restart === "once" ? { kind: "once" } : { kind: "bounded", ...restart },
  }, life.isAsync ? async (batch) => await handler(batch) : handler);
  // When there is nothing left to do, somebody stops it.
  const { visibility, scheduler } = store.cursorHost();
  while (worker.status.state !== "ended") {
    if (visibility.parkedCount > 0 && !worker.status.end) {
      if (expected === "running") expected = "stopped";
      worker.stop();
    }
    await scheduler.turn();
  }
  const error = await worker.join().then(() => undefined, (error) => error);

  const { status } = worker;
  assert.equal(error?.code, expected === "failed" ? "CHECKPOINT_WRITE" : undefined);
  assert.deepEqual(
    {
      end: status.end,
      committed: status.committed,
      position: status.position,
      deliveries: status.deliveries,
      restarts: status.restarts,
    },
    {
      end: expected,
      committed: committed === 0 ? undefined : committed,
      position: committed === 0 ? undefined : committed,
      deliveries,
      restarts,
    },
  );
  checker.check(store, REGION);
  const checkpoint = loadCheckpoint(store.dir, "a", { fs });
  assert.deepEqual(checkpoint?.position ?? 0, model.committed);
}

test("a worker does what the model says, whatever its handler does", async () => {
  await fc.assert(
    fc.asyncProperty(lives, async (lives) => {
      const clock: Clock & { us: number } = {
        us: 0,
        bootId: "test",
        nowUs: () => 1_700_000_000_000_000,
        monotonicUs() {
          return this.us;
        },
      };
      const fs = new MemoryFs();
      const model = new Model();
      for (const life of lives) {
        const store = Store.open("journal", { fs, clock });
        await live(store, fs, clock, model, life);
        store.close();
      }
    }),
    { seed: SEED, numRuns: RUNS },
  );
});
