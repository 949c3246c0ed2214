// Spec delivery.md 2 and 9.6: a supervised worker whose handler runs in a realm of its own behaves as one whose
// handler runs in this one. What a realm does by itself is in realm_unit_test.ts.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import type { WorkerLike } from "../../platform/realm.ts";
import { runtime } from "../../platform/runtime.ts";
import { inTempDir } from "../../platform/testdata/processes.ts";
import { CorruptionError, StoreIoError } from "../../store/errors.ts";
import { Store } from "../../store/store.ts";
import { PLACED, seededRandom } from "../../tests/support_api/journal.ts";
import { loadCheckpoint } from "../checkpoint.ts";
import { type CursorWorkerOptions, startCursorWorker } from "../cursor_worker.ts";
import { NeverSkipChecker } from "../never_skip.ts";
import { CursorWorkerError } from "../supervisor.ts";
import { type RealmOptions, RealmUnit } from "./realm_unit.ts";
import type { Note, Plan } from "./testdata/handler.ts";

function startRealm(name = "handler.ts"): WorkerLike {
  return new Worker(new URL(`./testdata/${name}`, import.meta.url), { type: "module" });
}

function openIn(dir: string): Store {
  return Store.open(`${dir}/journal`, { segmentMaxBytes: 10_000 });
}

function appendTo(store: Store, start: number, end: number): void {
  for (let n = start; n < end; n++) {
    store.append({ entity: `order:${n % 5}`, scope: "shop" }, PLACED, { n });
  }
}

function notesIn(path: string): Note[] {
  if (!existsSync(path)) return [];
  return readFileSync(path, "utf8").split("\n").slice(0, -1).map((line) => JSON.parse(line));
}

function handledIn(path: string): number[] {
  return notesIn(path).flatMap(({ sequences }) => sequences);
}

function range(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i);
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise<void>((resolve) => runtime.scheduler.delay(2, resolve));
}

/** Options of a worker whose handler follows a plan. */
function planned(
  notes: string,
  plan: Partial<Plan> = {},
  options: CursorWorkerOptions & Partial<RealmOptions> = {},
): CursorWorkerOptions & RealmOptions {
  const init: Plan = { notes, ...plan };
  // A test run of Deno checks the types of a worker's modules when it starts, which takes its time.
  return { worker: () => startRealm(), init, idleSleepMs: 1, startTimeoutMs: 60_000, ...options };
}

test("W-03 W-07 a worker in a realm of its own goes on where the one before it was stopped", () =>
  inTempDir(async (dir) => {
    const notes = `${dir}/notes`;
    const options = { checkpointId: "resume", batchSize: 32 };
    for (const [start, end] of [[0, 1_000], [1_000, 3_000]] as const) {
      const store = openIn(dir);
      const worker = startCursorWorker(store, { kind: PLACED }, planned(notes, {}, options));
      // Some are there before it looks, and some come while it does.
      appendTo(store, start, start + 500);
      await until(() => worker.status.committed !== undefined);
      appendTo(store, start + 500, end);
      const last = store.query({ kind: PLACED }).at(-1)!.globalSequence;
      await until(() => worker.status.committed === last);
      assert.throws(() => store.close(), { code: "STORE_IN_USE" });
      await worker.stopAndJoin();
      assert.deepEqual([worker.status.end, worker.status.restarts], ["stopped", 0]);
      store.close();
    }
    using store = openIn(dir);
    const expected = store.query({ kind: PLACED }).map(({ globalSequence }) => globalSequence);
    assert.equal(expected.length, 3_000);
    assert.deepEqual(handledIn(notes), expected, "each once, in order");
  }));

test("W-10 W-17 a handler in another realm that always throws is called twice by the default policy", () =>
  inTempDir(async (dir) => {
    using store = openIn(dir);
    appendTo(store, 0, 10);
    const notes = `${dir}/notes`;
    const crashes: string[] = [];
    const worker = startCursorWorker(
      store,
      { kind: PLACED },
      planned(notes, { at: 1, fault: "throw" }, { onCrash: (crash) => crashes.push(`${crash}`) }),
    );
    await worker.join();
    assert.deepEqual(crashes, Array(2).fill("HandlerCrash: the handler's own words"));
    assert.deepEqual(notesIn(notes).map(({ callCount }) => callCount), [1, 2], "one realm");
    assert.equal(worker.status.end, "crashed");
    assert.equal(worker.status.committed, undefined);
  }));

test("W-06 a realm's handler can stop with its batch, or without it; anything else is a crash", () =>
  inTempDir(async (dir) => {
    using store = openIn(dir);
    appendTo(store, 0, 30);
    const options = { batchSize: 10, checkpointId: "actions" };
    const cases = [
      ["stopWithRollback", "handler", 10, range(1, 21)],
      ["number", "crashed", 10, [...range(11, 21), ...range(11, 21)]],
      ["unclonable", "crashed", 10, [...range(11, 21), ...range(11, 21)]],
      ["stop", "handler", 20, range(11, 21)],
    ] as const;
    for (const [fault, end, committed, handled] of cases) {
      const notes = `${dir}/notes-${fault}`;
      const plan = planned(notes, { at: 15, fault }, options);
      const worker = startCursorWorker(store, { kind: PLACED }, plan);
      await worker.join();
      assert.equal(worker.status.end, end);
      assert.deepEqual(handledIn(notes), handled);
      const checkpoint = loadCheckpoint(store.dir, "actions");
      assert.equal(checkpoint?.position, committed);
    }
  }));

test("a realm that dies between handling and settling is given the batch again, by whoever comes next", () =>
  inTempDir(async (dir) => {
    using store = openIn(dir);
    appendTo(store, 0, 30);
    for (const fault of ["dieBefore", "dieAfter", "uncaught"] as const) {
      const notes = `${dir}/notes-${fault}`;
      const options = { batchSize: 10, checkpointId: fault };
      const once = `${dir}/${fault}`;
      // A worker that was handed in as it is cannot be started again: this is the end.
      const mortal = planned(notes, { at: 15, fault, once }, { ...options, worker: startRealm() });
      const worker = startCursorWorker(store, { kind: PLACED }, mortal);
      await assert.rejects(worker.join(), (error) => {
        assert.ok(error instanceof CursorWorkerError);
        assert.match(error.message, /The realm of the handler is gone: /);
        assert.equal(error.checkpointId, fault);
        return true;
      });
      assert.equal(worker.status.end, "failed");
      assert.equal(worker.status.committed, 10);
      const again = startCursorWorker(store, { kind: PLACED }, planned(notes, {}, options));
      await until(() => again.status.committed === 30);
      await again.stopAndJoin();
      const twice = fault === "dieBefore" ? [] : range(11, 21);
      assert.deepEqual(handledIn(notes), [...range(1, 11), ...twice, ...range(11, 31)]);
    }
  }));

test("a realm that dies or hangs is started again within the budget, a death counting as a crash", () =>
  inTempDir(async (dir) => {
    using store = openIn(dir);
    appendTo(store, 0, 30);
    for (const fault of ["dieAfter", "hang"] as const) {
      const notes = `${dir}/notes-${fault}`;
      const plan = planned(notes, { at: 15, fault, once: `${dir}/${fault}` }, {
        batchSize: 10,
        handlerTimeoutMs: fault === "hang" ? 400 : undefined,
      });
      const worker = startCursorWorker(store, { kind: PLACED }, plan);
      await until(() => worker.status.committed === 30);
      await worker.stopAndJoin();
      assert.equal(worker.status.restarts, 1);
      assert.match(worker.status.lastCrash!, /The realm of the handler is gone/);
      assert.deepEqual(handledIn(notes), [...range(1, 21), ...range(11, 31)]);
    }
    const notes = `${dir}/notes-always`;
    const restart = { kind: "bounded", maxRestarts: 2, withinMs: 60_000 } as const;
    const mortal = planned(notes, { at: 1, fault: "dieAfter" }, { restart });
    const worker = startCursorWorker(store, { kind: PLACED }, mortal);
    await assert.rejects(worker.join(), CursorWorkerError);
    assert.equal(notesIn(notes).length, 3);
  }));

test("a realm that is terminated while nothing happens is replaced when something does", () =>
  inTempDir(async (dir) => {
    using store = openIn(dir);
    appendTo(store, 0, 5);
    const notes = `${dir}/notes`;
    const realms: WorkerLike[] = [];
    const worker = startCursorWorker(
      store,
      { kind: PLACED },
      planned(notes, {}, {
        worker: () => {
          realms.push(startRealm());
          return realms.at(-1)!;
        },
      }),
    );
    await until(() => worker.status.committed === 5);
    realms[0].terminate();
    appendTo(store, 5, 10);
    await until(() => worker.status.committed === 10);
    await worker.stopAndJoin();
    assert.equal(realms.length, 2);
    assert.deepEqual(handledIn(notes), range(1, 11));
  }));

test("W-23 S002-18 what keeps a realm from starting is told by join(), and by the call when there is no worker", () =>
  inTempDir(async (dir) => {
    const store = openIn(dir);
    const region = { kind: PLACED };
    const worker = startCursorWorker(store, region, {
      worker: () => startRealm("throws_at_top.ts"),
    });
    await assert.rejects(worker.join(), (error) => {
      assert.ok(error instanceof CursorWorkerError);
      assert.match(error.message, /The realm of the handler is gone: Error: no journal for me$/);
      return true;
    });
    const refusing = () => {
      throw new Error("no workers today");
    };
    assert.throws(() => startCursorWorker(store, region, { worker: refusing }), StoreIoError);
    for (
      const options of [
        {},
        { worker: "handler.ts" },
        { worker: startRealm, handlerTimeout: 1 },
      ] as unknown as RealmOptions[]
    ) assert.throws(() => startCursorWorker(store, region, options), TypeError);
    for (const name of ["handlerTimeoutMs", "startTimeoutMs"]) {
      const options = { worker: startRealm, [name]: 0 };
      assert.throws(() => startCursorWorker(store, region, options), RangeError);
    }
    assert.throws(
      () =>
        startCursorWorker(
          store,
          region,
          { worker: startRealm } as CursorWorkerOptions,
          () => "stop",
        ),
      TypeError,
      "a handler and a worker are one too many",
    );
    store.close();
    assert.throws(() => startCursorWorker(store, region, { worker: () => startRealm() }), {
      code: "STORE_CLOSED",
    });
  }));

test("a damaged event ends the worker with the error of its read, and no handler is blamed", () =>
  inTempDir(async (dir) => {
    using store = openIn(dir);
    appendTo(store, 0, 300);
    const { segmentId, offset, size } = store.at(120)!.position;
    const path = `${store.dir}/${String(segmentId).padStart(6, "0")}.fbat`;
    const file = runtime.fs.open(path, "write");
    file.writeAt(Uint8Array.of(0xff), 0, 1, offset + size - 1);
    file.close();
    const notes = `${dir}/notes`;
    const worker = startCursorWorker(
      store,
      { kind: PLACED },
      planned(notes, {}, { batchSize: 50, checkpointId: "damage" }),
    );
    await assert.rejects(worker.join(), (error) => {
      assert.ok(error instanceof CorruptionError);
      assert.deepEqual([error.path, error.offset], [path, offset]);
      return true;
    });
    const { end, committed, restarts, lastCrash } = worker.status;
    assert.deepEqual([end, committed, restarts, lastCrash], ["failed", 100, 0, undefined]);
    assert.deepEqual(handledIn(notes), range(1, 101));
  }));

test("O-03 W-14 S002-11 the realm makes its own witness from the worker's checkpoint", () =>
  inTempDir(async (dir) => {
    using store = openIn(dir);
    appendTo(store, 0, 3);
    for (const checkpointId of ["observer", undefined]) {
      const realm = startRealm("observer.ts");
      const observed = new Promise((resolve) =>
        realm.addEventListener("message", (event) => {
          const { data } = event as MessageEvent;
          if (data.observed !== undefined) resolve(data.observed);
        })
      );
      const worker = startCursorWorker(store, { kind: PLACED }, {
        worker: realm,
        startTimeoutMs: 60_000,
        init: { key: 7, forged: { checkpointId } },
        ...(checkpointId !== undefined && { checkpointId }),
      });
      assert.deepEqual(await observed, {
        checkpointId,
        key: checkpointId === undefined ? undefined : Array(32).fill(7),
        isForgedAccepted: false,
        count: 3,
        gaps: [],
        gapsLeft: [],
      });
      await worker.stopAndJoin();
    }
  }));

test("gaps go to the realm with the batch they are in front of, the newest up to the capacity", () =>
  inTempDir(async (dir) => {
    using store = openIn(dir);
    appendTo(store, 0, 1);
    const gap = (sequence: number) => ({
      expectedSequence: sequence,
      deliveredSequence: sequence + 1,
      cancelledRanges: [{ start: sequence, end: sequence + 1 }],
    });
    const waiting = [gap(1), gap(5), gap(9)];
    const realm = startRealm("observer.ts");
    const unit = new RealmUnit({ worker: realm, init: { key: 1 } }, {
      kind: "enabled",
      capacity: 2,
    });
    const { signal } = new AbortController();
    const takeGaps = () => waiting.splice(0);
    await unit.start({ store, witness: undefined, takeGaps, signal });
    const said: unknown[] = [];
    realm.addEventListener("message", (event) => {
      const { data } = event as MessageEvent;
      if (data.observed !== undefined) said.push(data.observed.gaps, data.observed.gapsLeft);
    });
    assert.equal(await unit.handle(store.query({ kind: PLACED })), "continue");
    assert.equal(await unit.handle(store.query({ kind: PLACED })), "continue");
    assert.deepEqual(said, [[gap(5), gap(9)], [], [], []]);
    await unit.close();
  }));

test("realms that are killed again and again lose nothing, and commit nothing that was not handled", () =>
  inTempDir(async (dir) => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    const random = seededRandom(seed);
    using store = openIn(dir);
    const notes = `${dir}/notes`;
    const realms: WorkerLike[] = [];
    const restart = { kind: "bounded", maxRestarts: 1_000, withinMs: 600_000 } as const;
    const worker = startCursorWorker(
      store,
      { kind: PLACED },
      planned(notes, {}, {
        batchSize: 16,
        checkpointId: "killed",
        restart,
        worker: () => {
          realms.push(startRealm());
          return realms.at(-1)!;
        },
      }),
    );
    for (let killed = 0; killed < 12; killed++) {
      appendTo(store, killed * 100, killed * 100 + 100);
      const delayMs = random() * 60;
      await new Promise<void>((resolve) => runtime.scheduler.delay(delayMs, resolve));
      // One that is killed before it has said hello is only given up when its time for that is over.
      await until(() => worker.status.state === "idle" || worker.status.state === "handling");
      realms.at(-1)!.terminate();
    }
    const last = store.query({ kind: PLACED }).at(-1)!.globalSequence;
    await until(() => worker.status.committed === last || worker.status.state === "ended");
    await worker.stopAndJoin();
    const checker = new NeverSkipChecker();
    let previous = -1;
    for (const { sequences } of notesIn(notes)) {
      const start = sequences[0];
      if (start <= previous) checker.restarted({ position: start - 1, started: start > 1 });
      checker.delivered(sequences.map((globalSequence) => ({ globalSequence })));
      previous = sequences.at(-1)!;
    }
    const report = checker.finish(store, { kind: PLACED });
    assert.ok(report.deliveredCount >= 1_200, `seed ${seed}`);
    assert.ok(realms.length > 3, `seed ${seed}: ${realms.length} realms`);
  }));
