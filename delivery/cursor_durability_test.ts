/**
 * The promises of durable cursor workers, each on files in memory and on those of the runtime: progress that
 * is committed is honest, and a worker goes on from it and from nothing else.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { MemoryFs } from "../platform/memory.ts";
import type { StoreFs } from "../platform/fs.ts";
import { runtime } from "../platform/runtime.ts";
import { EventKind } from "../store/event_kind.ts";
import type { StoredEvent } from "../store/stored_event.ts";
import { Store } from "../store/store.ts";
import { withTempDir } from "../tests/support/temp_dir.ts";
import {
  CheckpointCorruptError,
  CheckpointRegionMismatchError,
  CheckpointWriteError,
  loadCheckpoint,
} from "./checkpoint.ts";
import { type CursorWorkerSettings, startCursorWorker } from "./cursor_worker.ts";
import type { CursorWorkerAction } from "./handler_unit.ts";

const KIND = EventKind.custom(0xa, 1);
const OPTIONS = { sync: { everyNEvents: 1 }, coldStart: { indexFile: false } };
const WORKER = { batchSize: 1, idleSleepMs: 1, restart: { kind: "once" } } as const;

/** Somewhere to keep a journal. */
interface Place {
  readonly fs: StoreFs;
  readonly dir: string;
}

/** Runs a scenario in memory and on real files. Nothing may end up where the program runs. */
async function everywhere(id: string, scenario: (place: Place) => Promise<void>): Promise<void> {
  assert.match(id, /^batpak-test-/);
  await scenario({ fs: new MemoryFs(), dir: "/journal" });
  await withTempDir((dir) => scenario({ fs: runtime.fs, dir: `${dir}/journal` }));
  assert.equal(existsSync(`${id}.ckpt`), false);
}

function openIn({ fs, dir }: Place): Store {
  return Store.open(dir, { fs, ...OPTIONS });
}

function appendTo(store: Store, entity: string, start: number, end: number): void {
  for (let i = start; i < end; i++) {
    store.append({ entity, scope: "scope:test" }, KIND, { i });
  }
}

function sequencesOf(batch: readonly StoredEvent[]): number[] {
  return batch.map((event) => event.globalSequence);
}

test("S000-3 S000-4 W-01 W-02 W-07 S002-12 a corrupt checkpoint ends the worker before the first batch", async () => {
  const id = "batpak-test-corrupt-start";
  await everywhere(id, async (place) => {
    const { fs } = place;
    fs.createDirAll(`${place.dir}/cursors`);
    fs.publish(`${place.dir}/cursors/${id}.ckpt`, new TextEncoder().encode("not-msgpack"));
    const store = openIn(place);
    appendTo(store, "entity:cursor-corrupt", 0, 1);
    const settings = { ...WORKER, checkpointId: id };
    const start = () =>
      startCursorWorker(store, { entity: "entity:cursor-corrupt" }, settings, () => {
        assert.fail("nothing may be delivered");
      });
    const isCorrupt = (error: unknown): boolean => {
      assert.ok(error instanceof CheckpointCorruptError);
      assert.equal(error.path, `${fs.canonicalize(place.dir)}/cursors/${id}.ckpt`);
      return true;
    };
    const worker = start();
    await assert.rejects(worker.join(), isCorrupt);
    await assert.rejects(worker.join(), isCorrupt);
    assert.deepEqual([worker.status.end, worker.status.deliveries], ["failed", 0]);
    await assert.rejects(start().stopAndJoin(), isCorrupt);
    store.close();
  });
});

test("S000-5 S000-6 S000-7 S000-8 S000-9 S000-10 S000-11 W-03 W-07 a worker goes on where the one before the reopen was", async () => {
  const id = "batpak-test-durable-cursor";
  await everywhere(id, async (place) => {
    const entity = "entity:cursor-durable";
    const first: number[] = [];
    {
      const store = openIn(place);
      appendTo(store, entity, 0, 100);
      const worker = startCursorWorker(
        store,
        { entity },
        { ...WORKER, checkpointId: id },
        (batch) => {
          first.push(...sequencesOf(batch));
          return first.length >= 50 ? "stop" : "continue";
        },
      );
      await worker.join();
      assert.equal(worker.status.end, "handler");
      store.close();
    }
    assert.ok(first.length >= 50);
    const store = openIn(place);
    appendTo(store, entity, 100, 150);
    const second: number[] = [];
    const whole = Promise.withResolvers<void>();
    const worker = startCursorWorker(
      store,
      { entity },
      { ...WORKER, checkpointId: id, batchSize: 8 },
      (batch) => {
        second.push(...sequencesOf(batch));
        if (second.length >= 100) whole.resolve();
        return "continue";
      },
    );
    const late = runtime.scheduler.delay(5_000, () => whole.reject(new Error("100 did not come")));
    await whole.promise;
    late();
    await worker.stopAndJoin();
    assert.deepEqual(second.filter((sequence) => first.includes(sequence)), []);
    assert.equal(second.length, 100);
    assert.equal(worker.status.committed, second.at(-1));
    store.close();
  });
});

test("S000-12 S000-19 W-04 W-07 W-19 a checkpoint id stays with its region", async () => {
  const id = "batpak-test-region-bound";
  await everywhere(id, async (place) => {
    const store = openIn(place);
    appendTo(store, "entity:cursor-a", 0, 1);
    appendTo(store, "entity:cursor-b", 1, 2);
    const settings: CursorWorkerSettings = { ...WORKER, checkpointId: id };
    const first = startCursorWorker(store, { entity: "entity:cursor-a" }, settings, () => "stop");
    await first.join();
    const second = startCursorWorker(
      store,
      { entity: "entity:cursor-b" },
      { ...settings },
      () => assert.fail("nothing may be delivered"),
    );
    await assert.rejects(second.join(), (error) => {
      assert.ok(error instanceof CheckpointRegionMismatchError);
      assert.match(error.expected, /entity:cursor-b/);
      return true;
    });
    store.close();
  });
});

test("S000-13 S000-14 W-05 W-07 S002-3 S002-14 a checkpoint that cannot be written ends the worker, and says why", async () => {
  const id = "batpak-test-checkpoint-write-fails";
  await everywhere(id, async (place) => {
    const { fs } = place;
    const store = openIn(place);
    for (const action of ["stop", "continue"] as const) {
      const path = `${store.dir}/cursors/${id}.ckpt`;
      let processed = 0;
      const told: unknown[] = [];
      const worker = startCursorWorker(store, { entity: "entity:cursor-ckpt-fail" }, {
        ...WORKER,
        checkpointId: id,
        onCheckpointFailure: (...facts) => told.push(facts),
      }, (batch) => {
        processed += batch.length;
        fs.createDirAll(path);
        return action;
      });
      appendTo(store, "entity:cursor-ckpt-fail", 0, 1);
      const failure: unknown = await worker.join().then(() => undefined, (error) => error);
      assert.ok(failure instanceof CheckpointWriteError);
      assert.equal(failure.id, id);
      assert.equal((failure.cause as { code: string }).code, "EISDIR");
      assert.match(failure.message, /EISDIR/);
      assert.equal(processed, 1);
      assert.deepEqual(told, [[id, failure]]);
      assert.deepEqual([worker.status.committed, worker.status.position], [undefined, undefined]);
      fs.removeDirAll(path);
    }
    store.close();
  });
});

test("S000-15 S000-16 S000-17 S000-18 W-06 W-07 S002-1 what was rolled back or crashed comes again, and nothing else", async () => {
  const id = "batpak-test-cursor-state-machine";
  await everywhere(id, async (place) => {
    const entity = "entity:cursor-state-machine";
    const store = openIn(place);
    appendTo(store, entity, 0, 5);
    const deliveries = new Map<number, number>();
    const settings = { ...WORKER, checkpointId: id };
    const run = async (settle: (sequence: number) => CursorWorkerAction) => {
      const worker = startCursorWorker(store, { entity }, settings, ([event]) => {
        const { globalSequence } = event;
        deliveries.set(globalSequence, (deliveries.get(globalSequence) ?? 0) + 1);
        return settle(globalSequence);
      });
      await worker.join();
      return worker.status;
    };
    const positionOnDisk = () => {
      const { position, started } = loadCheckpoint(store.dir, id, { fs: place.fs }) ?? {};
      return { position, started };
    };

    const one = await run((sequence) => {
      if (sequence === 1) return "continue";
      assert.equal(sequence, 2);
      return "stopWithRollback";
    });
    assert.deepEqual([one.end, one.committed, one.position, one.lastCrash], [
      "handler",
      1,
      1,
      undefined,
    ]);
    assert.deepEqual(positionOnDisk(), { position: 1, started: true });

    let crashes = 0;
    const two = await run((sequence) => {
      assert.ok(sequence >= 2 && sequence <= 5);
      if (sequence === 4 && crashes++ === 0) throw new Error("intentional");
      return sequence === 5 ? "stop" : "continue";
    });
    assert.deepEqual([two.end, two.committed, two.restarts, two.lastCrash], [
      "handler",
      5,
      1,
      "intentional",
    ]);
    assert.deepEqual(positionOnDisk(), { position: 5, started: true });
    assert.deepEqual([...deliveries], [[1, 1], [2, 2], [3, 1], [4, 2], [5, 1]]);
    store.close();
  });
});
