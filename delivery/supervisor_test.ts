/**
 * Supervision where it hurts: realms that die, disks that fail at every operation, and somebody who stops the
 * worker or closes its store at every moment there is.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs, type MemoryOp } from "../platform/memory.ts";
import { runtime } from "../platform/runtime.ts";
import type { Cancel, Scheduler } from "../platform/scheduler.ts";
import { StoreClosedError, type StoreError } from "../store/errors.ts";
import { EventKind } from "../store/event_kind.ts";
import type { StoredEvent } from "../store/stored_event.ts";
import { Store } from "../store/store.ts";
import { loadCheckpoint } from "./checkpoint.ts";
import { type CursorWorker, startCursorWorker } from "./cursor_worker.ts";
import { HandlerCrash, type HandlerUnit, UnitDeath } from "./handler_unit.ts";
import { NeverSkipChecker } from "./never_skip.ts";
import { CursorWorkerError } from "./supervisor.ts";

const REGION = { entity: "order" };
const START = { position: 0, started: false };
const EVENT_COUNT = 6;

/** A journal of six orders, at sequences 1 to 6, as it lies in memory. */
function journalOfOrders(): MemoryFs {
  const fs = new MemoryFs();
  const store = Store.open("journal", { fs });
  for (let n = 1; n <= EVENT_COUNT; n++) {
    store.append({ entity: `order:${n}`, scope: "shop" }, EventKind.DATA, n);
  }
  store.close();
  return fs;
}

async function errorOf(worker: CursorWorker): Promise<StoreError | undefined> {
  return await worker.join().then(() => undefined, (error) => error);
}

function committedIn(fs: MemoryFs): { position: number; started: boolean } {
  const { position, started } = loadCheckpoint("/journal", "a", { fs }) ?? START;
  return { position, started };
}

/** Another worker takes over, and has to be given everything that is not committed, and nothing else. */
async function takeOver(fs: MemoryFs, checker: NeverSkipChecker): Promise<void> {
  using store = Store.open("journal", { fs });
  checker.restarted(committedIn(fs));
  const settings = { checkpointId: "a", batchSize: 2 };
  const worker = startCursorWorker(store, REGION, settings, (batch) => {
    checker.delivered(batch);
    return "continue";
  });
  const { visibility } = store.cursorHost();
  while (visibility.parkedCount === 0) await runtime.scheduler.turn();
  await worker.stopAndJoin();
  checker.committed(committedIn(fs));
  checker.finish(store, REGION);
  assert.deepEqual(committedIn(fs), { position: EVENT_COUNT, started: true });
}

/** A unit that does what a script says, and writes down what it is asked. */
class ScriptedUnit implements HandlerUnit {
  readonly log: string[] = [];
  readonly #script: (() => unknown)[];
  readonly #revivals: (() => boolean)[];

  constructor(script: (() => unknown)[], revivals: (() => boolean)[] = []) {
    this.#script = script;
    this.#revivals = revivals;
  }

  // deno-lint-ignore require-await -- what it throws has to reject
  async start(): Promise<void> {
    this.log.push("start");
  }

  // deno-lint-ignore require-await -- as above
  async handle(batch: readonly StoredEvent[]): Promise<unknown> {
    this.log.push(`handle ${batch.map((event) => event.globalSequence)}`);
    return this.#script.shift()?.() ?? "stop";
  }

  // deno-lint-ignore require-await -- as above
  async revive(): Promise<boolean> {
    this.log.push("revive");
    return this.#revivals.shift()?.() ?? false;
  }

  // deno-lint-ignore require-await -- as above
  async close(): Promise<void> {
    this.log.push("close");
  }
}

function die(): never {
  throw new UnitDeath("the realm is gone");
}

const proceed = () => "continue";

test("a unit is started, given batches, and closed, each once and in this order", async () => {
  const unit = new ScriptedUnit([proceed, proceed]);
  using store = Store.open("journal", { fs: journalOfOrders() });
  const worker = startCursorWorker(store, REGION, { batchSize: 2, checkpointId: "a" }, unit);
  await worker.join();
  assert.deepEqual(unit.log, ["start", "handle 1,2", "handle 3,4", "handle 5,6", "close"]);
  assert.equal(worker.status.committed, 6);
});

test("a unit whose worker is stopped before it begins is closed, and not started", async () => {
  const unit = new ScriptedUnit([]);
  using store = Store.open("journal", { fs: journalOfOrders() });
  const worker = startCursorWorker(store, REGION, {}, unit);
  await worker.stopAndJoin();
  assert.deepEqual(unit.log, ["close"]);
});

test("a unit that cannot be started fails the worker, and is closed", async () => {
  const unit = new ScriptedUnit([]);
  unit.start = () => Promise.reject(new UnitDeath("handler.ts could not be loaded"));
  using store = Store.open("journal", { fs: journalOfOrders() });
  const worker = startCursorWorker(store, REGION, { checkpointId: "a" }, unit);
  const error = await errorOf(worker);
  assert.ok(error instanceof CursorWorkerError);
  assert.equal(
    error.message,
    'Cannot go on with the cursor worker "a": handler.ts could not be loaded',
  );
  assert.ok(error.cause instanceof UnitDeath);
  assert.deepEqual(unit.log, ["close"]);
  assert.equal(worker.status.lastCrash, "handler.ts could not be loaded");
});

test("W-24 a realm that dies and cannot be started again fails the worker, and its batch comes again", async () => {
  const fs = journalOfOrders();
  const unit = new ScriptedUnit([proceed, die]);
  const crashes: string[] = [];
  const store = Store.open("journal", { fs });
  const worker = startCursorWorker(store, REGION, {
    batchSize: 2,
    checkpointId: "a",
    restart: { kind: "bounded", maxRestarts: 9, withinMs: 60_000 },
    onCrash: ({ message }) => crashes.push(message),
    onRestartBudgetExhausted: () => assert.fail("there is budget left"),
  }, unit);
  const error = await errorOf(worker);
  assert.ok(error instanceof CursorWorkerError);
  assert.equal(error.code, "CURSOR_WORKER");
  assert.match(error.message, /"a": the realm is gone$/);
  assert.deepEqual(unit.log, ["start", "handle 1,2", "handle 3,4", "revive", "close"]);
  assert.deepEqual(crashes, ["the realm is gone"]);
  const { end, committed, position, lastCrash } = worker.status;
  assert.deepEqual([end, committed, position, lastCrash], ["failed", 2, 2, "the realm is gone"]);
  store.close();
  await takeOver(fs, new NeverSkipChecker({ from: { position: 2, started: true } }));
});

test("a realm that dies and is started again is given its batch again", async () => {
  const unit = new ScriptedUnit([proceed, die, proceed], [() => true]);
  using store = Store.open("journal", { fs: journalOfOrders() });
  const worker = startCursorWorker(store, REGION, { batchSize: 2, checkpointId: "a" }, unit);
  await worker.join();
  assert.deepEqual(unit.log, [
    "start",
    "handle 1,2",
    "handle 3,4",
    "revive",
    "handle 3,4",
    "handle 5,6",
    "close",
  ]);
  assert.deepEqual([worker.status.restarts, worker.status.committed], [1, 6]);
});

test("a realm that dies more often than its budget allows fails the worker, revivals that die included", async () => {
  const unit = new ScriptedUnit([die, die], [() => true, die, () => true]);
  let exhausted = 0;
  using store = Store.open("journal", { fs: journalOfOrders() });
  const worker = startCursorWorker(store, REGION, {
    restart: { kind: "bounded", maxRestarts: 2, withinMs: 60_000 },
    onRestartBudgetExhausted: () => exhausted++,
  }, unit);
  assert.ok(await errorOf(worker) instanceof CursorWorkerError);
  assert.deepEqual(unit.log, [
    "start",
    "handle 1,2,3,4,5,6",
    "revive",
    "handle 1,2,3,4,5,6",
    "revive",
    "close",
  ]);
  assert.deepEqual([exhausted, worker.status.restarts], [1, 2]);
});

test("crashes and deaths share one budget", async () => {
  const crash = () => {
    throw new HandlerCrash("of the handler");
  };
  const unit = new ScriptedUnit([crash, die], [() => true]);
  using store = Store.open("journal", { fs: journalOfOrders() });
  const worker = startCursorWorker(store, REGION, {}, unit);
  assert.ok(await errorOf(worker) instanceof CursorWorkerError);
  assert.deepEqual(unit.log.filter((line) => line === "revive"), []);
});

test("a realm that dies when its worker is to stop is not started again, and its batch is not committed", async () => {
  const fs = journalOfOrders();
  using store = Store.open("journal", { fs });
  const unit = new ScriptedUnit([() => {
    worker.stop();
    die();
  }], [() => true]);
  const worker: CursorWorker = startCursorWorker(store, REGION, { checkpointId: "a" }, unit);
  assert.ok(await errorOf(worker) instanceof CursorWorkerError);
  assert.deepEqual(unit.log, ["start", "handle 1,2,3,4,5,6", "close"]);
  assert.deepEqual(committedIn(fs), START);
});

test("W-24 a unit that breaks its contract fails the worker, which lets go of everything", async () => {
  for (const method of ["start", "handle", "revive", "close"] as const) {
    const fs = journalOfOrders();
    const store = Store.open("journal", { fs });
    const unit = new ScriptedUnit([die]);
    const broken = (): Promise<never> => Promise.reject(new TypeError(`in ${method}`));
    Object.assign(unit, { [method]: broken });
    const worker = startCursorWorker(store, REGION, { checkpointId: "a" }, unit);
    const error = await errorOf(worker);
    assert.ok(error instanceof CursorWorkerError);
    if (method === "close") {
      assert.equal(
        error.earlier?.message,
        'Cannot go on with the cursor worker "a": the realm is gone',
      );
    }
    assert.ok(error.cause instanceof TypeError);
    assert.match(error.message, new RegExp(`in ${method}$`));
    store.close();
    await takeOver(fs, new NeverSkipChecker());
  }
});

/** Every operation of the file system. */
const OPS: readonly MemoryOp[] = [
  "canonicalize",
  "clone",
  "copy",
  "createDirAll",
  "link",
  "list",
  "open",
  "publish",
  "readAt",
  "readFile",
  "rejectSymlink",
  "remove",
  "removeDirAll",
  "rename",
  "resize",
  "size",
  "stage",
  "stat",
  "sync",
  "syncDir",
  "tryLock",
  "writeAt",
];

test("whatever operation fails, and whenever, what was handled is committed or comes again", async () => {
  const CODES = new Set(["CHECKPOINT_WRITE", "IO"]);
  let runs = 0;
  const failedOps = new Set<string>();
  for (const op of OPS) {
    for (let nth = 1;; nth++) {
      const fs = journalOfOrders();
      const store = Store.open("journal", { fs });
      // Not synced, so that a commit has to do it.
      store.append({ entity: "other", scope: "shop" }, EventKind.DATA, null);
      const checker = new NeverSkipChecker();
      fs.failNext({ op, code: "EIO", nth });
      const given: number[] = [];
      const worker = startCursorWorker(
        store,
        REGION,
        { checkpointId: "a", batchSize: 2 },
        (batch) => {
          checker.delivered(batch);
          given.push(batch.length);
          return given.length === 3 ? "stop" : "continue";
        },
      );
      const error = await errorOf(worker);
      const fired = fs.faultsFired > 0;
      if (fired) {
        runs++;
        failedOps.add(op);
      }
      // Tidying up is a courtesy, but a failure there is said too, and never is silence.
      if (error !== undefined) {
        assert.ok(fired, `${op} ${nth}: ${error}`);
        assert.ok(CODES.has(error.code), `${op} ${nth}: ${error}`);
        assert.equal(worker.status.end, "failed");
      } else {
        assert.equal(worker.status.committed, EVENT_COUNT);
      }
      // The program dies here. What the disk says was handled, whatever became of the worker; a snapshot
      // has no faults left.
      const image = fs.snapshot();
      const { position } = committedIn(image);
      assert.ok(position >= (worker.status.committed ?? 0), `${op} ${nth}`);
      assert.ok(position <= given.length * 2, `${op} ${nth}`);
      assert.ok(position < store.durableSequence || position === 0, `${op} ${nth}`);
      await takeOver(image, checker);
      if (!fired) break;
    }
  }
  assert.ok(runs > 20, `${runs} faults are too few to mean anything`);
  for (const op of ["createDirAll", "tryLock", "publish", "rename", "sync", "syncDir", "writeAt"]) {
    assert.ok(failedOps.has(op), `${op} was never asked for`);
  }
});

/** Does something at the nth time that anybody waits, which is at every step of a worker. */
class HammerScheduler implements Scheduler {
  readonly #strike: () => void;
  #left: number;
  /** Whether it has struck. */
  struck = false;

  constructor(nth: number, strike: () => void) {
    this.#left = nth;
    this.#strike = strike;
  }

  delay(delayMs: number, callback: () => void): Cancel {
    const cancel = runtime.scheduler.delay(Math.min(delayMs, 1), callback);
    this.step();
    return cancel;
  }

  turn(): Promise<void> {
    this.step();
    return runtime.scheduler.turn();
  }

  step(): void {
    if (--this.#left !== 0) return;
    this.struck = true;
    // In a turn of its own, or right here: both happen.
    this.#strike();
  }
}

test("whenever a worker is stopped, or its store is closed under it, it ends and nothing is skipped", async () => {
  const acts = [
    "stop",
    "dispose",
    "abort",
    "disposeStore",
    "closeStore",
    "stopLater",
    "disposeStoreLater",
  ];
  let strikes = 0;
  for (const act of acts) {
    for (let nth = 1;; nth++) {
      const fs = journalOfOrders();
      const controller = new AbortController();
      const hammer = new HammerScheduler(nth, () => {
        switch (act) {
          case "stop":
            return worker?.stop();
          case "dispose":
            return worker?.[Symbol.dispose]();
          case "abort":
            return controller.abort();
          case "disposeStore":
            return store[Symbol.dispose]();
          case "closeStore":
            assert.throws(() => store.close(), { code: "STORE_IN_USE" });
            return worker?.stop();
          case "stopLater":
            return void runtime.scheduler.turn().then(() => worker?.stop());
          case "disposeStoreLater":
            return void runtime.scheduler.turn().then(() => store[Symbol.dispose]());
        }
      });
      const store = Store.open("journal", { fs, scheduler: hammer });
      const checker = new NeverSkipChecker();
      let deliveries = 0;
      let worker: CursorWorker | undefined = undefined as CursorWorker | undefined;
      worker = startCursorWorker(store, REGION, {
        checkpointId: "a",
        batchSize: 2,
        idleSleepMs: 1,
        signal: controller.signal,
        // A crash rewinds to what is committed.
        onCrash: () => checker.restarted(committedIn(fs)),
      }, async (batch) => {
        checker.delivered(batch);
        const delivery = ++deliveries;
        await hammer.turn();
        if (delivery === 2) throw new Error("once");
        if (delivery === 4) {
          hammer.step();
          return "stop";
        }
        return "continue";
      });
      const error = await errorOf(worker);
      const { end, committed } = worker.status;
      if (error !== undefined) {
        assert.ok(error instanceof StoreClosedError, `${act} ${nth}: ${error}`);
        assert.match(act, /^disposeStore/);
        assert.equal(end, "failed");
      }
      assert.deepEqual(committedIn(fs).position, committed ?? 0, `${act} ${nth}`);
      assert.ok(deliveries <= 4);
      if (!hammer.struck) {
        assert.deepEqual([end, committed, deliveries], ["handler", EVENT_COUNT, 4]);
      }
      // A strike that comes later may still be on its way.
      await runtime.scheduler.turn();
      if (act.startsWith("disposeStore")) store[Symbol.dispose]();
      else store.close();
      await takeOver(fs, checker);
      if (!hammer.struck) break;
      strikes++;
    }
  }
  assert.ok(strikes > acts.length * 5, `${strikes} strikes are too few to mean anything`);
});
