import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import type { Clock } from "../platform/clock.ts";
import { MemoryFs } from "../platform/memory.ts";
import { runtime } from "../platform/runtime.ts";
import { StoreClosedError } from "../store/errors.ts";
import { EventKind } from "../store/event_kind.ts";
import type { StoredEvent } from "../store/stored_event.ts";
import { Store } from "../store/store.ts";
import type { StoreOptions } from "../store/store_options.ts";
import { StoreInUseError } from "../store/holders.ts";
import { withTempDir } from "../tests/support/temp_dir.ts";
import type { CanalHandle } from "./canal.ts";
import {
  CheckpointBusyError,
  CheckpointWriteError,
  loadCheckpoint,
  saveCheckpoint,
} from "./checkpoint.ts";
import { type CursorWorkerOptions, startCursorWorker } from "./cursor_worker.ts";
import type { CursorWorkerHandler } from "./function_unit.ts";
import { type CursorWorkerAction, HandlerCrash } from "./handler_unit.ts";
import { CursorWorkerError } from "./supervisor.ts";
import { AtLeastOnce, ObservationKey, ObservedOnce } from "./witness.ts";

const REGION = { entity: "order" };
const { scheduler } = runtime;
/** Longer than a test may take: whoever waits so long was not woken. */
const LONG_MS = 60_000;

function openStore(options: StoreOptions = {}): Store {
  return Store.open("journal", { fs: new MemoryFs(), ...options });
}

function append(store: Store, count: number): void {
  for (let n = 0; n < count; n++) {
    store.append({ entity: `order:${n}`, scope: "shop" }, EventKind.DATA, n);
  }
}

function sequencesOf(batch: readonly StoredEvent[]): number[] {
  return batch.map((event) => event.globalSequence);
}

/** Runs a worker of one event at a time until it ends by itself, and says what it was given. */
async function run(
  store: Store,
  options: CursorWorkerOptions,
  settle: (sequence: number, delivery: number) => unknown,
): Promise<{ given: number[]; error: unknown; worker: ReturnType<typeof startCursorWorker> }> {
  const given: number[] = [];
  const worker = startCursorWorker(store, REGION, { batchSize: 1, ...options }, (batch) => {
    given.push(...sequencesOf(batch));
    return settle(batch[0].globalSequence, given.length) as CursorWorkerAction;
  });
  const error = await worker.join().then(() => undefined, (error) => error);
  return { given, error, worker };
}

/** Waits until something is so. */
async function until(isSo: () => boolean): Promise<void> {
  const endMs = performance.now() + 20_000;
  while (!isSo()) {
    assert.ok(performance.now() < endMs, "it did not come to pass");
    await new Promise<void>((resolve) => void scheduler.delay(1, resolve));
  }
}

function manualClock(): Clock & { us: number } {
  return {
    us: 0,
    bootId: "test",
    nowUs: () => 1_700_000_000_000_000,
    monotonicUs() {
      return this.us;
    },
  };
}

test("W-18 S002-6 a worker has the documented defaults", async () => {
  const store = openStore();
  const worker = startCursorWorker(store, REGION, {}, () => "stop");
  assert.deepEqual(worker.settings, {
    batchSize: 64,
    idleSleepMs: 10,
    restart: { kind: "once" },
    checkpointId: undefined,
    gaps: { kind: "disabled" },
  });
  assert.match(inspect(worker), /callbacks: \[\]/);
  await worker.stopAndJoin();
  store.close();
});

test("W-19 S002-7 S000-19 settings can be used again, without callbacks; printing names those there are", async () => {
  const store = openStore();
  append(store, 2);
  const exhausted: string[] = [];
  const options = {
    batchSize: 1,
    idleSleepMs: 7,
    restart: { kind: "bounded", maxRestarts: 0, withinMs: 5 },
    checkpointId: "twice",
    gaps: { kind: "enabled", capacity: 3 },
    onRestartBudgetExhausted: () => exhausted.push("first"),
    onCheckpointFailure: () => assert.fail("no write fails"),
    signal: new AbortController().signal,
  } as const;
  const first = startCursorWorker(store, REGION, options, ([event]) => {
    if (event.globalSequence === 2) throw new Error("enough");
    return "continue";
  });
  await first.join();
  assert.deepEqual(exhausted, ["first"]);
  assert.deepEqual(first.settings, {
    batchSize: 1,
    idleSleepMs: 7,
    restart: { kind: "bounded", maxRestarts: 0, withinMs: 5 },
    checkpointId: "twice",
    gaps: { kind: "enabled", capacity: 3 },
  });
  assert.ok(Object.isFrozen(first.settings));
  const printed = inspect(first);
  assert.match(printed, /^CursorWorker \{/);
  assert.match(
    printed,
    /callbacks: \[\s*["']onRestartBudgetExhausted["'],\s*["']onCheckpointFailure["']\s*\]/,
  );
  for (const field of ["batchSize", "idleSleepMs", "restart", "checkpointId", "gaps", "status"]) {
    assert.match(printed, new RegExp(`${field}: `));
  }

  const given: number[] = [];
  const second = startCursorWorker(store, REGION, first.settings, (batch) => {
    given.push(...sequencesOf(batch));
    throw new Error("enough");
  });
  await second.join();
  assert.deepEqual(given, [2]);
  assert.deepEqual(exhausted, ["first"]);
  assert.match(inspect(second), /callbacks: \[\]/);
  store.close();
});

test("S002-11 S002-18 W-23 what is wrong with the call itself is thrown at once, and holds nothing", () => {
  const store = openStore();
  const wrong: [unknown, string, RegExp][] = [
    [{ checkpointId: "../etc/passwd" }, "CheckpointIdError", /path-traversal/],
    [{ checkpointId: "" }, "CheckpointIdError", /empty/],
    [{ batchSize: 0 }, "RangeError", /batchSize 0/],
    [{ batchSize: 65_537 }, "RangeError", /batchSize 65537/],
    [{ idleSleepMs: 0 }, "RangeError", /idleSleepMs 0/],
    [{ idleSleepMs: 1.5 }, "RangeError", /idleSleepMs 1.5/],
    [{ idleSleepMs: Infinity }, "RangeError", /idleSleepMs Infinity/],
    [{ restart: { kind: "never" } }, "TypeError", /restart policy/],
    [{ gaps: { kind: "enabled", capacity: 0 } }, "RangeError", /0 gap observations/],
    [{ onCrash: "log it" }, "TypeError", /"onCrash" is no function/],
    [{ signal: {} }, "TypeError", /"signal" is no AbortSignal/],
    [{ batchsize: 1 }, "TypeError", /"batchsize"/],
  ];
  for (const [options, name, message] of wrong) {
    assert.throws(
      () => startCursorWorker(store, REGION, options as CursorWorkerOptions, () => "stop"),
      (error: Error) => error.name === name && message.test(error.message),
    );
  }
  assert.throws(
    () => startCursorWorker(store, REGION, {}, undefined as unknown as CursorWorkerHandler),
    TypeError,
  );
  store.close();
  assert.throws(() => startCursorWorker(store, REGION, {}, () => "stop"), StoreClosedError);
});

test("S002-1 W-21 S002-15 continue commits, stop commits and ends, stopWithRollback ends and writes nothing", async () => {
  const fs = new MemoryFs();
  const store = openStore({ fs });
  append(store, 4);
  const one = await run(store, { checkpointId: "a" }, (n) => n === 3 ? "stop" : "continue");
  assert.deepEqual([one.given, one.error, one.worker.status.end], [
    [1, 2, 3],
    undefined,
    "handler",
  ]);
  const path = `${store.dir}/cursors/a.ckpt`;
  const before = fs.readFile(path, 1000);
  fs.failNext({ op: "publish", code: "EIO", path: "a.ckpt" });
  const two = await run(store, { checkpointId: "a" }, () => "stopWithRollback");
  assert.deepEqual([two.given, two.error, two.worker.status.end], [[4], undefined, "handler"]);
  assert.deepEqual([two.worker.status.committed, two.worker.status.position], [3, 3]);
  assert.equal(fs.faultsFired, 0);
  assert.deepEqual(fs.readFile(path, 1000), before);
  store.close();
});

test("W-21 S002-14 a failed write rolls back in memory too, whether it was to go on or to stop", async () => {
  for (const action of ["continue", "stop"]) {
    const fs = new MemoryFs();
    const store = openStore({ fs });
    append(store, 3);
    const { given, error, worker } = await run(store, { checkpointId: "a" }, (n) => {
      if (n === 2) fs.failNext({ op: "publish", code: "ENOSPC", path: "a.ckpt" });
      return n === 2 ? action : "continue";
    });
    assert.ok(error instanceof CheckpointWriteError);
    assert.equal((error.cause as { code: string }).code, "ENOSPC");
    assert.deepEqual(given, [1, 2]);
    const { committed, position, end, restarts } = worker.status;
    assert.deepEqual([committed, position, end, restarts], [1, 1, "failed", 0]);
    assert.equal(loadCheckpoint(store.dir, "a", { fs })?.position, 1);
    assert.deepEqual(
      (await run(store, { checkpointId: "a" }, (n) => n < 3 ? "continue" : "stop")).given,
      [
        2,
        3,
      ],
    );
    store.close();
  }
});

test("W-08 a worker without a checkpoint begins at the first event, and repeats what crashed", async () => {
  const store = openStore();
  append(store, 3);
  for (let life = 0; life < 2; life++) {
    let crashes = 0;
    const { given, error } = await run(store, {
      restart: { kind: "bounded", maxRestarts: 2, withinMs: 5000 },
    }, (n) => {
      if (n === 2 && crashes++ === 0) throw new Error("once");
      return n === 3 ? "stop" : "continue";
    });
    assert.deepEqual([given, error], [[1, 2, 2, 3], undefined]);
  }
  store.close();
});

test("W-09 W-22 S002-2 a handler that always crashes ends in order, and the store goes on", async () => {
  const store = openStore();
  append(store, 1);
  const crashes: unknown[] = [];
  let exhausted = 0;
  const { given, error, worker } = await run(store, {
    restart: { kind: "bounded", maxRestarts: 1, withinMs: 5000 },
    onCrash: (crash) => crashes.push([crash.constructor, crash.message, crash.cause]),
    onRestartBudgetExhausted: (crash) => {
      exhausted++;
      assert.equal(crash.message, "unknown panic");
      // The worker has not let go yet.
      assert.throws(() => store.close(), StoreInUseError);
    },
    onCheckpointFailure: () => assert.fail("it has no checkpoint"),
  }, () => {
    // deno-lint-ignore no-throw-literal -- a program may
    throw 17;
  });
  assert.deepEqual([given, error, exhausted], [[1, 1], undefined, 1]);
  assert.deepEqual(crashes, Array(2).fill([HandlerCrash, "unknown panic", 17]));
  const { end, restarts, lastCrash, committed, state, deliveries } = worker.status;
  assert.deepEqual(
    { end, restarts, lastCrash, committed, state, deliveries },
    {
      end: "crashed",
      restarts: 1,
      lastCrash: "unknown panic",
      committed: undefined,
      state: "ended",
      deliveries: 2,
    },
  );
  append(store, 1);
  await worker.stopAndJoin();
  store.close();
});

test("W-10 with once, a handler that always crashes runs twice", async () => {
  const store = openStore();
  append(store, 2);
  const { given, error } = await run(store, {}, () => {
    throw new Error("always");
  });
  assert.deepEqual([given, error], [[1, 1], undefined]);
  store.close();
});

test("W-11 a crash behind the window has a budget of its own", async () => {
  const clock = manualClock();
  const store = openStore({ clock });
  append(store, 1);
  const { given, error, worker } = await run(store, {
    restart: { kind: "bounded", maxRestarts: 1, withinMs: 50 },
  }, (_, delivery) => {
    if (delivery === 3) return "stop";
    if (delivery === 2) clock.us += 75_000;
    throw new Error("not yet");
  });
  assert.deepEqual([given, error], [[1, 1, 1], undefined]);
  assert.deepEqual([worker.status.restarts, worker.status.committed], [2, 1]);
  store.close();
});

test("W-12 W-13 in a window that does not end, two restarts are three runs", async () => {
  for (const [withinMs, stepUs] of [[Number.MAX_SAFE_INTEGER, 1e9], [1, 500]] as const) {
    const clock = manualClock();
    const store = openStore({ clock });
    append(store, 1);
    const { given, error } = await run(store, {
      restart: { kind: "bounded", maxRestarts: 2, withinMs },
    }, () => {
      // In the second case the last crash comes after 1.5 ms, which is a whole millisecond: still inside.
      clock.us += stepUs;
      throw new Error("always");
    });
    assert.deepEqual([given, error], [[1, 1, 1], undefined]);
    store.close();
  }
});

test("W-14 S002-11 a durable worker hands its handler one witness for all its life, another one none", async () => {
  const store = openStore();
  append(store, 3);
  const witnesses: (AtLeastOnce | undefined)[] = [];
  const handler: CursorWorkerHandler = (_, { witness }) => {
    witnesses.push(witness);
    if (witnesses.length === 2) throw new Error("also over a restart");
    return witnesses.length === 4 ? "stop" : "continue";
  };
  const durable = { batchSize: 1, checkpointId: "witnessed" };
  await startCursorWorker(store, REGION, durable, handler).join();
  const [first] = witnesses;
  assert.ok(AtLeastOnce.is(first));
  assert.equal(first.checkpointId, "witnessed");
  assert.equal(witnesses.length, 4);
  assert.ok(witnesses.every((witness) => witness === first));

  witnesses.length = 0;
  await startCursorWorker(store, REGION, { batchSize: 1 }, handler).join();
  assert.deepEqual(witnesses, [undefined, undefined, undefined, undefined]);
  store.close();
});

test("O-03 a handler makes an effect that is done once out of its witness and a key of its own", async () => {
  const store = openStore();
  append(store, 1);
  let parts: ReturnType<ObservedOnce["intoParts"]> | undefined;
  const worker = startCursorWorker(store, REGION, { checkpointId: "once" }, (_, { witness }) => {
    assert.ok(witness !== undefined);
    const key = ObservationKey.fromBytes(new Uint8Array(32).fill(7));
    parts = new ObservedOnce(witness, key).intoParts();
    return "stop";
  });
  await worker.join();
  assert.equal(parts?.atLeastOnce.checkpointId, "once");
  assert.deepEqual(parts?.key.asBytes(), new Uint8Array(32).fill(7));
  store.close();
});

test("a handler that says nothing, or nonsense, has crashed: silence does not commit", async () => {
  const wrong: [unknown, string][] = [
    [undefined, "undefined"],
    [null, "null"],
    ["Continue", '"Continue"'],
    [true, "boolean"],
    [{ action: "continue" }, "object"],
    [Promise.resolve(), "undefined"],
  ];
  for (const [action, what] of wrong) {
    const store = openStore();
    append(store, 1);
    const { given, error, worker } = await run(store, { checkpointId: "a" }, () => action);
    assert.deepEqual([given, error], [[1, 1], undefined]);
    const { lastCrash, committed, end } = worker.status;
    assert.equal(
      lastCrash,
      `the handler returned ${what}: say "continue", "stop" or "stopWithRollback"`,
    );
    assert.deepEqual([committed, end], [undefined, "crashed"]);
    assert.equal(store.cursorHost().fs.stat("/journal/cursors/a.ckpt"), undefined);
    store.close();
  }
});

test("W-17 a crash is described by the text that was thrown", async () => {
  for (
    const [thrown, text] of [["literal", "literal"], [new Error("owned"), "owned"], [
      17,
      "unknown panic",
    ]]
  ) {
    const store = openStore();
    append(store, 1);
    const { worker } = await run(store, {}, () => Promise.reject(thrown));
    assert.equal(worker.status.lastCrash, text);
    store.close();
  }
});

test("one batch at a time: an async handler is waited for, and the order is that of the journal", async () => {
  const store = openStore();
  append(store, 10);
  let running = 0;
  const given: number[][] = [];
  const worker = startCursorWorker(store, REGION, { batchSize: 3 }, async (batch) => {
    assert.equal(++running, 1);
    given.push(sequencesOf(batch));
    await new Promise<void>((resolve) => void scheduler.delay(1, resolve));
    running--;
    return given.length === 4 ? "stop" : "continue";
  });
  await worker.join();
  assert.deepEqual(given, [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10]]);
  store.close();
});

test("a handler may append to the store it follows, and is given that too", async () => {
  const store = openStore();
  append(store, 1);
  const payloads: unknown[] = [];
  const worker = startCursorWorker(store, REGION, { checkpointId: "a" }, (batch, context) => {
    for (const { payload } of batch) {
      payloads.push(payload);
      if (payloads.length < 5) {
        context.store.append(
          { entity: "order:next", scope: "shop" },
          EventKind.DATA,
          payloads.length,
        );
      }
    }
    return payloads.length === 5 ? "stop" : "continue";
  });
  await worker.join();
  assert.deepEqual(payloads, [0, 1, 2, 3, 4]);
  store.close();
});

test("S002-8 W-15 stop() is a flag that is looked at between batches, and settles the batch in hand", async () => {
  for (const how of ["stop", "dispose", "signal"]) {
    for (const action of ["continue", "stopWithRollback"] as const) {
      const store = openStore();
      append(store, 3);
      const controller = new AbortController();
      const seen: boolean[] = [];
      let settled = false;
      const worker = startCursorWorker(
        store,
        REGION,
        { batchSize: 1, signal: controller.signal, checkpointId: "a" },
        async (_, { signal }) => {
          seen.push(signal.aborted);
          if (how === "stop") worker.stop();
          else if (how === "dispose") worker[Symbol.dispose]();
          else controller.abort();
          worker.stop();
          seen.push(signal.aborted);
          await scheduler.turn();
          settled = true;
          return action;
        },
      );
      assert.equal(worker.status.end, undefined);
      await worker.join();
      assert.deepEqual([seen, settled], [[false, true], true]);
      assert.equal(worker.status.committed, action === "continue" ? 1 : undefined);
      assert.equal(worker.status.end, action === "continue" ? "stopped" : "handler");
      store.close();
    }
  }
});

test("S002-8 join() asks for nothing: it waits as long as it takes", async () => {
  const store = openStore();
  append(store, 1);
  let joined = false;
  const worker = startCursorWorker(store, REGION, { idleSleepMs: 1 }, () => "continue");
  const joining = worker.join().then(() => joined = true);
  await until(() => worker.status.committed === 1);
  await new Promise<void>((resolve) => void scheduler.delay(20, resolve));
  assert.deepEqual([joined, worker.status.state], [false, "idle"]);
  worker.stop();
  await joining;
  assert.deepEqual([joined, worker.status.state, worker.status.end], [true, "ended", "stopped"]);
  store.close();
});

test("S002-13 stop() wakes a worker that waits, at once, and so does an append", async () => {
  const store = openStore();
  const given: number[] = [];
  const worker = startCursorWorker(store, REGION, { idleSleepMs: LONG_MS }, (batch) => {
    given.push(...sequencesOf(batch));
    return "continue";
  });
  const { visibility } = store.cursorHost();
  await until(() => visibility.parkedCount === 1);
  const startMs = performance.now();
  append(store, 2);
  await until(() => given.length === 2 && visibility.parkedCount === 1);
  await worker.stopAndJoin();
  assert.ok(performance.now() - startMs < LONG_MS / 2);
  assert.deepEqual([given, visibility.parkedCount], [[1, 2], 0]);
  store.close();
});

test("S002-13 a worker that nobody wakes looks again after idleSleepMs", async () => {
  const store = openStore();
  const { visibility } = store.cursorHost();
  const worker = startCursorWorker(store, REGION, { idleSleepMs: 20 }, () => "continue");
  let parks = 0;
  const { park } = visibility;
  visibility.park = (...args) => {
    parks++;
    assert.equal(args[1], 20);
    return park.apply(visibility, args);
  };
  await until(() => parks >= 3);
  await worker.stopAndJoin();
  store.close();
});

test("S002-12 a worker that is stopped before it begins still looks at its checkpoint, and at nothing else", async () => {
  const fs = new MemoryFs();
  const store = openStore({ fs });
  append(store, 1);
  saveCheckpoint(store.dir, "a", { position: 9, started: true, regionIdentity: "other" }, { fs });
  const never = () => assert.fail("nothing may be delivered");
  const bad = startCursorWorker(store, REGION, { checkpointId: "a" }, never);
  bad.stop();
  await assert.rejects(bad.join(), { code: "CHECKPOINT_REGION_MISMATCH" });
  const good = startCursorWorker(
    store,
    REGION,
    { checkpointId: "b", signal: AbortSignal.abort() },
    never,
  );
  await good.join();
  assert.deepEqual([good.status.end, good.status.deliveries], ["stopped", 0]);
  store.close();
});

test("two workers do not share a checkpoint, and the second says so", async () => {
  const store = openStore();
  const settings = { checkpointId: "a" };
  const first = startCursorWorker(store, REGION, settings, () => "continue");
  const second = startCursorWorker(store, REGION, settings, () => "continue");
  await assert.rejects(second.join(), { code: "CHECKPOINT_BUSY" });
  await first.stopAndJoin();
  await startCursorWorker(store, REGION, settings, () => "continue").stopAndJoin();
  store.close();
});

test("W-16 S002-10 a worker is a canal handle that keeps its error for everybody who joins", async () => {
  const fs = new MemoryFs();
  const store = openStore({ fs });
  append(store, 1);
  fs.failNext({ op: "publish", code: "EIO", path: ".ckpt" });
  const failing: CanalHandle = startCursorWorker(
    store,
    REGION,
    { checkpointId: "a" },
    () => "stop",
  );
  await assert.rejects(failing.join(), { code: "CHECKPOINT_WRITE" });
  await assert.rejects(failing.stopAndJoin(), { code: "CHECKPOINT_WRITE" });
  failing.stop();
  const fine: CanalHandle = startCursorWorker(
    store,
    REGION,
    { checkpointId: "a" },
    () => "continue",
  );
  await fine.stopAndJoin();
  await fine.join();
  store.close();
});

test("W-20 W-24 S002-9 what dies outside of its handler joins as CursorWorkerError, with what came before", async () => {
  const fs = new MemoryFs();
  const store = openStore({ fs });
  append(store, 1);
  const thrown = new RangeError("in the callback");
  const always = () => {
    throw thrown;
  };
  const alone = await run(store, { onRestartBudgetExhausted: always }, always);
  assert.ok(alone.error instanceof CursorWorkerError);
  assert.equal(alone.error.code, "CURSOR_WORKER");
  assert.equal(alone.error.cause, thrown);
  assert.deepEqual([alone.error.earlier, alone.error.checkpointId], [undefined, undefined]);
  assert.match(alone.error.message, /outside of its handler: in the callback$/);

  fs.failNext({ op: "publish", code: "EIO", path: ".ckpt" });
  const { error, worker } = await run(
    store,
    { checkpointId: "a", onCheckpointFailure: always },
    () => "continue",
  );
  assert.ok(error instanceof CursorWorkerError);
  assert.ok(error.earlier instanceof CheckpointWriteError);
  assert.equal(error.checkpointId, "a");
  assert.deepEqual([worker.status.end, worker.status.committed], ["failed", undefined]);
  store.close();
});

test("W-20 the first error counts, and those that follow from it do not", async () => {
  const fs = new MemoryFs();
  const store = openStore({ fs });
  append(store, 1);
  const worker = startCursorWorker(store, REGION, { checkpointId: "a" }, () => {
    fs.failNext({ op: "publish", code: "ENOSPC", path: ".ckpt" });
    worker.stop();
    return "stop";
  });
  const first: unknown = await worker.join().then(() => undefined, (error) => error);
  assert.ok(first instanceof CheckpointWriteError);
  assert.equal(await worker.stopAndJoin().then(() => undefined, (error) => error), first);
  store.close();
});

test("S002-17 a restart makes a new cursor that loads nothing, keeps its gaps and begins at what is committed", async () => {
  const fs = new MemoryFs();
  const store = openStore({ fs });
  const sequences: number[] = [];
  const ranges: { start: number; end: number }[] = [];
  for (const entity of ["order:1", "order:2", "order:3"]) {
    const receipt = store.append({ entity, scope: "shop" }, EventKind.DATA, null);
    sequences.push(receipt.globalSequence);
    const fence = store.beginFence();
    const { globalSequence } = fence.append({ entity, scope: "shop" }, EventKind.DATA, "hidden");
    fence.cancel();
    ranges.push({ start: globalSequence, end: globalSequence + 1 });
  }
  const [one, two, three] = sequences;
  const log: unknown[] = [];
  const worker = startCursorWorker(store, REGION, {
    batchSize: 1,
    checkpointId: "a",
    gaps: { kind: "enabled", capacity: 8 },
  }, ([{ globalSequence }], { takeGaps }) => {
    if (log.length === 1) {
      // What the file says does not matter any more: only what this worker has committed.
      fs.publish("/journal/cursors/a.ckpt", new Uint8Array([0xc1]));
      log.push([globalSequence, "crash"]);
      throw new Error("before the gaps were taken");
    }
    log.push([globalSequence, takeGaps().map(({ cancelledRanges }) => cancelledRanges).flat()]);
    return globalSequence === three ? "stop" : "continue";
  });
  await worker.join();
  assert.deepEqual(log, [
    [one, []],
    [two, "crash"],
    [two, [ranges[0]]],
    [three, [ranges[1]]],
  ]);
  assert.equal(loadCheckpoint(store.dir, "a", { fs })?.position, three);
  store.close();
});

test("S002-17 a restart that cannot make its cursor ends the worker with that error", async () => {
  const store = openStore();
  append(store, 1);
  const failure = new StoreClosedError("follow events");
  const { given, error, worker } = await run(store, { checkpointId: "a" }, () => {
    store.cursor = () => {
      throw failure;
    };
    throw new Error("crash");
  });
  assert.deepEqual([given, error], [[1], failure]);
  assert.deepEqual([worker.status.end, worker.status.lastCrash], ["failed", "crash"]);
  store.close();
});

test("W-07 S002-18 a store that a worker follows is not closed, until join() has been fulfilled", async () => {
  const store = openStore();
  const one = startCursorWorker(store, REGION, { checkpointId: "mail" }, () => "continue");
  const two = startCursorWorker(store, REGION, {}, () => "continue");
  assert.throws(() => store.close(), (error) => {
    assert.ok(error instanceof StoreInUseError);
    assert.deepEqual(error.holders, [
      "batpak-cursor-worker mail",
      "batpak-cursor-worker entity=order|scope=*|fact=none|clock=*",
    ]);
    return true;
  });
  await one.stopAndJoin();
  assert.throws(() => store.close(), { code: "STORE_IN_USE" });
  two.stop();
  assert.throws(() => store.close(), { code: "STORE_IN_USE" });
  await two.join();
  store.close();
});

test("await using waits for the worker, and then the store is closed", async () => {
  const fs = new MemoryFs();
  let settled = 0;
  {
    using store = Store.open("journal", { fs });
    append(store, 1);
    const handling = Promise.withResolvers<void>();
    await using _worker = startCursorWorker(store, REGION, { checkpointId: "a" }, async () => {
      handling.resolve();
      await scheduler.turn();
      settled++;
      return "continue";
    });
    await handling.promise;
  }
  assert.equal(settled, 1);
  assert.equal(loadCheckpoint("/journal", "a", { fs })?.position, 1);
  Store.open("journal", { fs }).close();
});

test("using closes a store under its idle workers, who end in order", async () => {
  const fs = new MemoryFs();
  const workers = [];
  {
    using store = Store.open("journal", { fs });
    append(store, 1);
    for (const checkpointId of ["a", undefined]) {
      workers.push(
        startCursorWorker(store, REGION, { checkpointId, idleSleepMs: LONG_MS }, () => "continue"),
      );
    }
    await until(() => store.cursorHost().visibility.parkedCount === 2);
    // And one that has not begun.
    workers.push(startCursorWorker(store, REGION, { checkpointId: "b" }, () => "continue"));
  }
  for (const worker of workers) {
    await worker.join();
    assert.equal(worker.status.end, "stopped");
  }
  assert.equal(loadCheckpoint("/journal", "a", { fs })?.position, 1);
  Store.open("journal", { fs }).close();
});

test("using closes a store under a batch, which is not committed, and comes again", async () => {
  for (const action of ["continue", "stop", "crash"]) {
    const fs = new MemoryFs();
    const handling = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    const handler = async (): Promise<CursorWorkerAction> => {
      handling.resolve();
      await go.promise;
      if (action === "crash") throw new Error("an append to a closed store, for example");
      return action as CursorWorkerAction;
    };
    let durable: CanalHandle;
    let inMemory: CanalHandle;
    {
      using store = Store.open("journal", { fs });
      append(store, 1);
      const unwanted = () => assert.fail("nobody is to blame");
      const options = { onCrash: unwanted, onCheckpointFailure: unwanted };
      durable = startCursorWorker(store, REGION, { checkpointId: "a", ...options }, handler);
      inMemory = startCursorWorker(store, REGION, options, handler);
      await handling.promise;
    }
    // Somebody else may have the directory by now.
    const next = Store.open("journal", { fs });
    go.resolve();
    await assert.rejects(durable.join(), StoreClosedError);
    await inMemory.join();
    assert.equal(loadCheckpoint("/journal", "a", { fs }), undefined);
    const { given } = await run(next, { checkpointId: "a" }, () => "stop");
    assert.deepEqual(given, [1]);
    next.close();
  }
});

test("a worker of a reader follows a writer, refreshes the reader, and keeps its checkpoint", async () => {
  const follow = async (fs: MemoryFs | undefined, dir: string): Promise<void> => {
    const store = Store.open(dir, { fs });
    const reader = Store.openReadOnly(dir, { fs });
    append(store, 2);
    const given: number[] = [];
    const settings = { checkpointId: "a", idleSleepMs: 2 };
    const worker = startCursorWorker(reader, REGION, settings, (batch) => {
      given.push(...sequencesOf(batch));
      return "continue";
    });
    await until(() => given.length === 2);
    append(store, 3);
    await until(() => given.length === 5);
    assert.throws(() => reader.close(), { code: "STORE_IN_USE" });
    assert.equal(reader.at(5)?.globalSequence, 5);
    await worker.stopAndJoin();
    reader.close();
    append(store, 1);
    const { given: rest } = await run(store, { checkpointId: "a" }, () => "stop");
    assert.deepEqual([given, rest], [[1, 2, 3, 4, 5], [6]]);
    store.close();
  };
  await follow(new MemoryFs(), "/journal");
  await withTempDir((dir) => follow(undefined, dir));
});

test("a worker of a reader ends when the journal cannot be read any more, and says why", async () => {
  const fs = new MemoryFs();
  using store = Store.open("journal", { fs });
  append(store, 1);
  using reader = Store.openReadOnly("journal", { fs });
  const given: number[] = [];
  const worker = startCursorWorker(reader, REGION, { idleSleepMs: 1 }, (batch) => {
    given.push(...sequencesOf(batch));
    return "continue";
  });
  await until(() => given.length === 1);
  fs.failNext({ op: "list", code: "EACCES", path: "/journal" });
  fs.failNext({ op: "readAt", code: "EACCES", path: ".fbat" });
  append(store, 1);
  await assert.rejects(worker.join(), { code: "IO" });
  assert.deepEqual([worker.status.end, given], ["failed", [1]]);
});

test("a worker goes on delivering when the writer has stopped, and commits only what is durable", async () => {
  const fs = new MemoryFs();
  const store = openStore({ fs });
  append(store, 2);
  store.sync();
  append(store, 2);
  fs.failNext({ op: "sync", code: "EIO", path: ".fbat" });
  assert.throws(() => store.sync(), { code: "WRITER_CRASHED" });
  assert.equal(store.durableSequence, 3);

  const inMemory = await run(store, {}, (n) => n === 4 ? "stop" : "continue");
  assert.deepEqual([inMemory.given, inMemory.error], [[1, 2, 3, 4], undefined]);

  const { given, error, worker } = await run(store, { checkpointId: "a" }, () => "continue");
  assert.deepEqual(given, [1, 2, 3]);
  assert.ok(error instanceof CheckpointWriteError);
  assert.equal((error.cause as { code: string }).code, "WRITER_CRASHED");
  assert.equal(worker.status.committed, 2);
  assert.equal(loadCheckpoint(store.dir, "a", { fs })?.position, 2);
  store[Symbol.dispose]();
});

test("a batch that is committed is durable first", async () => {
  const store = openStore();
  append(store, 3);
  assert.ok(store.durableSequence < 4);
  await run(store, { checkpointId: "a" }, (n) => n === 3 ? "stop" : "continue");
  assert.equal(store.durableSequence, 4);
  store.close();
});

test("timers, messages and other workers get their turn between two batches", async () => {
  const store = openStore();
  append(store, 300);
  const order: string[] = [];
  const workers = ["a", "b"].map((name) =>
    startCursorWorker(store, REGION, { batchSize: 100 }, () => {
      order.push(name);
      return order.filter((other) => other === name).length === 3 ? "stop" : "continue";
    })
  );
  await Promise.all(workers.map((worker) => worker.join()));
  assert.deepEqual(order, ["a", "b", "a", "b", "a", "b"]);

  let fired = false;
  scheduler.delay(5, () => fired = true);
  let batches = 0;
  const busy = startCursorWorker(store, REGION, { batchSize: 1 }, () => {
    batches++;
    // It never runs dry: each batch leaves another one to do.
    store.append({ entity: "order:more", scope: "shop" }, EventKind.DATA, null);
    return fired ? "stop" : "continue";
  });
  await busy.join();
  assert.ok(batches > 1);
  store.close();
});

test("a worker that sleeps does not hold up what wakes it: handler turns follow appends one by one", async () => {
  const store = openStore();
  const given: number[] = [];
  const worker = startCursorWorker(store, REGION, { idleSleepMs: LONG_MS }, (batch) => {
    given.push(...sequencesOf(batch));
    return "continue";
  });
  for (let n = 1; n <= 20; n++) {
    append(store, 1);
    await until(() => given.length === n);
  }
  await worker.stopAndJoin();
  assert.deepEqual(given, Array.from({ length: 20 }, (_, n) => n + 1));
  store.close();
});

test("a worker is given nothing of a fence before it ends, and all of it, or nothing, after", async () => {
  const store = openStore();
  const given: unknown[] = [];
  const settings = { checkpointId: "a", idleSleepMs: LONG_MS };
  const worker = startCursorWorker(store, REGION, settings, (batch) => {
    given.push(batch.map((event) => event.payload));
    return "continue";
  });
  const { visibility } = store.cursorHost();
  const order = { entity: "order:1", scope: "shop" };
  for (const payload of ["cancelled", "committed"]) {
    const fence = store.beginFence();
    for (const n of [1, 2]) fence.append(order, EventKind.DATA, `${payload} ${n}`);
    await scheduler.turn();
    await scheduler.turn();
    assert.deepEqual(given, []);
    if (payload === "cancelled") fence.cancel();
    else fence.commit();
  }
  await until(() => given.length > 0 && visibility.parkedCount === 1);
  assert.deepEqual(given, [["committed 1", "committed 2"]]);
  await worker.stopAndJoin();
  store.close();
});

test("a worker that told join() what went wrong does not throw it again when it is disposed", async () => {
  // Both threw, and the runtimes print nothing of two errors at once but that there were two.
  using store = openStore();
  append(store, 1);
  const options = { checkpointId: "batpak-test-once" };
  await using first = startCursorWorker(store, {}, options, () => "continue");
  const refused = async (ask: boolean) => {
    await using worker = startCursorWorker(store, {}, options, () => "continue");
    if (ask) await worker.join();
  };
  while (first.status.committed === undefined) await scheduler.turn();
  for (const ask of [true, false]) {
    await assert.rejects(refused(ask), (error) => error instanceof CheckpointBusyError);
  }
});
