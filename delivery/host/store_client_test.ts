// The store in a worker, its clients in this realm, in workers, and in processes that are killed.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { BlockingStoreClient } from "./blocking_store_client.ts";
import { HostError } from "./host_error.ts";
import { StoreClient } from "./store_client.ts";
import { ConfigurationError, StoreLockedError } from "../../store/errors.ts";
import { Store } from "../../store/store.ts";
import type { StoreOptions } from "../../store/store_options.ts";
import { verifyJournal } from "../../store/verify.ts";
import { runtime } from "../../platform/runtime.ts";
import { inTempDir } from "../../platform/testdata/processes.ts";
import { DURABLE, failureOf, KIND, Rig, USER } from "./testdata/rig.ts";

/** Starts a worker of ours, and waits until it listens. */
async function startWorker(name: string): Promise<Worker> {
  const worker = new Worker(new URL(`./testdata/${name}.ts`, import.meta.url), { type: "module" });
  await nextMessage(worker);
  return worker;
}

function nextMessage(worker: Worker): Promise<unknown> {
  return new Promise((resolve) => {
    worker.addEventListener("message", ({ data }) => resolve(data), { once: true });
  });
}

/** A worker that has a store. */
async function storeWorker(
  dir: string,
  options: { store?: StoreOptions; serve?: object } = {},
): Promise<Worker> {
  const worker = await startWorker("store_worker");
  worker.postMessage({ dir, ...options });
  return worker;
}

test("a store in a worker serves clients of this realm, and is closed by one of them", () =>
  inTempDir(async (dir) => {
    const worker = await storeWorker(dir);
    const [client, second] = await Promise.all([
      StoreClient.connect(worker),
      StoreClient.connect(worker),
    ]);
    const receipts = await Promise.all(
      numbers(256).map((n) => client.append(USER, KIND, n, DURABLE)),
    );
    assert.deepEqual(receipts.map((receipt) => receipt.clock), numbers(256));
    assert.deepEqual(
      (await second.query({ entity: USER.entity })).map(({ payload }) => payload),
      numbers(256),
    );
    assert.equal((await second.stats()).durableSequence, 257);
    assert.throws(() => Store.open(dir), StoreLockedError);

    await second.shutdown();
    await second.shutdown();
    await until(async () => (await failureOf(client.sync()) as HostError).reason === "closed");
    await assert.rejects(StoreClient.connect(worker), { code: "HOST", reason: "closed" });
    // The lock is free, and everything is there.
    using store = Store.open(dir);
    for (const receipt of receipts) assert.equal(store.verifyReceipt(receipt).valid, true);
    worker.terminate();
  }));

test("a worker can be connected to at any time, also before it serves", () =>
  inTempDir(async (dir) => {
    const worker = new Worker(new URL("./testdata/store_worker.ts", import.meta.url), {
      type: "module",
    });
    const connecting = StoreClient.connect(worker);
    await nextMessage(worker);
    worker.postMessage({ dir });
    const client = await connecting;
    await client.append(USER, KIND, 1);
    await client.shutdown();
    worker.terminate();
  }));

test("what opening the store throws arrives at whoever connects", () =>
  inTempDir(async (dir) => {
    using _ = Store.open(dir);
    const worker = await storeWorker(dir);
    for (let i = 0; i < 2; i++) {
      const locked = await failureOf(StoreClient.connect(worker));
      assert.ok(locked instanceof StoreLockedError);
      assert.match(locked.path, /batpak-/);
    }
    worker.terminate();
    const second = await storeWorker(`${dir}/other`, { store: { fdBudget: 0 } });
    const refused = await failureOf(StoreClient.connect(second));
    assert.ok(refused instanceof ConfigurationError);
    assert.equal(refused.option, "fdBudget");
    second.terminate();
    const third = await storeWorker(`${dir}/third`, { serve: { clientsMax: 0 } });
    await assert.rejects(StoreClient.connect(third), RangeError);
    third.terminate();
    // Nobody has it open.
    Store.open(`${dir}/third`).close();
  }));

test("a worker that cannot be started, or serves nothing, is given up", async () => {
  const broken = new Worker(new URL("./testdata/broken_worker.ts", import.meta.url), {
    type: "module",
  });
  const failure = await failureOf(StoreClient.connect(broken));
  assert.ok(failure instanceof HostError);
  assert.equal(failure.reason, "died");
  broken.terminate();
  const silent = await startWorker("silent_worker");
  await assert.rejects(StoreClient.connect(silent, { connectTimeoutMs: 100 }), {
    code: "HOST",
    reason: "timeout",
  });
  silent.terminate();
});

test("when the worker of the store is terminated, everything open fails at once", () =>
  inTempDir(async (dir) => {
    const worker = await storeWorker(dir);
    const client = await StoreClient.connect(worker);
    const second = await StoreClient.connect(client.openPort());
    const kept = await client.append(USER, KIND, "kept", DURABLE);
    // Until the realm is really gone it goes on answering.
    const failures = Promise.all([
      failureOf(forEver(() => client.append(USER, KIND, 1, DURABLE))),
      failureOf(forEver(() => client.get(kept.eventId))),
      failureOf(forEver(() => second.append(USER, KIND, 2))),
    ]);
    worker.terminate();
    const startMs = runtime.clock.monotonicUs() / 1000;
    for (const failure of await failures) {
      assert.ok(failure instanceof HostError, String(failure));
      assert.equal(failure.reason, "died");
    }
    assert.ok(runtime.clock.monotonicUs() / 1000 - startMs < 5000);
    await assert.rejects(client.append(USER, KIND, 3), { code: "HOST", reason: "died" });
    // The realm is gone, and its lock with it.
    using store = await opened(dir);
    assert.equal(store.verifyReceipt(kept).valid, true);
  }));

test(
  "256 callers: what was answered as durable is there after kill -9, and a retry does nothing twice",
  {
    timeout: 60_000,
  },
  () =>
    inTempDir(async (dir) => {
      const program = fileURLToPath(new URL("./testdata/group_commit_program.ts", import.meta.url));
      const args = runtime.name === "deno" ? ["run", "-A", program, dir] : [program, dir];
      const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
      const answered: string[] = [];
      const enough = new Promise<void>((resolve) => {
        createInterface({ input: child.stdout! }).on("line", (line) => {
          if (line !== "open") answered.push(line);
          if (answered.length === 5000) resolve();
        });
      });
      await enough;
      child.kill("SIGKILL");
      await once(child, "exit");

      const worker = await storeWorker(dir);
      const client = await StoreClient.connect(worker);
      const { eventCount } = await client.stats();
      for (const key of answered.slice(0, 5000)) {
        const event = await client.getByKey(key);
        assert.equal(event?.payload, Number(key.split("-")[1]), key);
      }
      const again = await Promise.all(
        answered.slice(0, 5000).map((idempotencyKey) =>
          client.append(USER, KIND, "again", { idempotencyKey, ...DURABLE })
        ),
      );
      assert.ok(again.every(({ replayed }) => replayed));
      assert.equal((await client.stats()).eventCount, eventCount);
      // Each caller waited for one answer before it asked for the next: no gap, and in order.
      for (let caller = 0; caller < 256; caller++) {
        const events = await Array.fromAsync(client.byEntity(`caller:${caller}`));
        assert.deepEqual(events.map(({ payload }) => payload), numbers(events.length));
      }
      await client.shutdown();
      worker.terminate();
      assert.equal(verifyJournal(dir).findingCount, 0);
    }),
);

// A lock that a realm held to tell others of its end kept the whole program running. It is held only while
// there is a connection.
test(
  "a program that has closed its clients and stores ends by itself",
  { timeout: 60_000 },
  () =>
    inTempDir(async (dir) => {
      const program = fileURLToPath(new URL("./testdata/ending_program.ts", import.meta.url));
      const args = runtime.name === "deno" ? ["run", "-A", program, dir] : [program, dir];
      const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
      const [code] = await once(child, "exit");
      assert.equal(code, 0);
    }),
);

test("clients in other realms append at the same time, and one that is terminated harms nobody", {
  timeout: 60_000,
}, () =>
  inTempDir(async (dir) => {
    const worker = await storeWorker(dir);
    const client = await StoreClient.connect(worker);
    const others = await Promise.all(
      numbers(3).map(async (i) => {
        const other = await startWorker("client_worker");
        const port = client.openPort();
        other.postMessage({ type: "append", port, entity: `other:${i}` }, [port]);
        return other;
      }),
    );
    await Promise.all(others.map(nextMessage));
    others[0].terminate();
    await Promise.all(others.slice(1).map(nextMessage));
    others[1].terminate();
    for (let n = 0; n < 100; n++) await client.append(USER, KIND, n, DURABLE);
    await nextMessage(others[2]);
    others[2].terminate();
    await client.shutdown();
    worker.terminate();
    using store = Store.open(dir);
    assert.deepEqual(store.query({ entity: USER.entity }).map((e) => e.payload), numbers(100));
    for (const i of numbers(3)) {
      const clocks = store.query({ entity: `other:${i}` }).map(({ clock }) => clock);
      assert.ok(clocks.length >= 50);
      assert.deepEqual(clocks, numbers(clocks.length));
    }
  }));

test("a fence whose realm is terminated is cancelled, and the others go on", () =>
  inTempDir(async (dir) => {
    const worker = await storeWorker(dir);
    const client = await StoreClient.connect(worker);
    const other = await startWorker("client_worker");
    const port = client.openPort();
    other.postMessage({ type: "fence", port }, [port]);
    assert.equal(await nextMessage(other), "staged");
    await assert.rejects(client.append(USER, KIND, 1), { code: "FENCE_ACTIVE" });
    other.terminate();
    await until(async () => {
      try {
        await client.append(USER, KIND, 1);
        return true;
      } catch (error) {
        assert.equal((error as { code: string }).code, "FENCE_ACTIVE");
        return false;
      }
    });
    assert.deepEqual((await client.query({ scope: "app" })).map((e) => e.payload), [1]);
    await client.shutdown();
    worker.terminate();
  }));

test("shutdown() in the middle of everything answers or refuses, and loses nothing it answered", () =>
  inTempDir(async (dir) => {
    const worker = await storeWorker(dir);
    const clients = await Promise.all(numbers(4).map(() => StoreClient.connect(worker)));
    const kept: number[] = [];
    const running = clients.map(async (client, i) => {
      for (let n = 0;; n++) {
        try {
          await client.append({ entity: `user:${i}`, scope: "app" }, KIND, n, DURABLE);
          kept[i] = n;
        } catch (error) {
          return error;
        }
      }
    });
    await until(() => kept.filter((n) => n > 20).length === 4);
    await clients[3].shutdown();
    for (const error of await Promise.all(running)) {
      assert.ok(error instanceof HostError && error.reason === "closed");
      assert.equal(error.outcomeUnknown, false);
    }
    using store = await opened(dir);
    kept.forEach((n, i) => {
      const payloads = store.query({ entity: `user:${i}` }).map(({ payload }) => payload);
      // What was refused was not done.
      assert.deepEqual(payloads, numbers(n + 1));
    });
    worker.terminate();
  }));

test("a worker that throws beside its store goes on serving, or is given up", () =>
  inTempDir(async (dir) => {
    const worker = await storeWorker(dir);
    const client = await StoreClient.connect(worker);
    await client.append(USER, KIND, 1);
    // It expects no second order: reading one throws.
    worker.dispatchEvent(new ErrorEvent("error", { message: "beside", cancelable: true }));
    await client.append(USER, KIND, 2);
    await client.shutdown();
    worker.terminate();
  }));

test("a blocking client in a worker does without promises", () =>
  inTempDir(async (dir) => {
    const worker = await storeWorker(dir);
    const client = await StoreClient.connect(worker);
    const other = await startWorker("client_worker");
    const port = client.openPort();
    other.postMessage({ type: "block", port }, [port]);
    assert.deepEqual(await nextMessage(other), {
      clocks: numbers(20),
      payloads: numbers(20),
      largeSize: 2_000_000,
      latest: 20,
      storeId: client.storeId,
      code: "CLOCK_CONFLICT",
    });
    other.terminate();
    await client.shutdown();
    worker.terminate();
  }));

test("a blocking client works on the main thread, and mirrors the store", () =>
  inTempDir(async (dir) => {
    const worker = await storeWorker(dir);
    const client = await StoreClient.connect(worker);
    const blocking = BlockingStoreClient.connect(client.openPort(), { timeoutMs: 10_000 });
    const cause = blocking.append(USER, KIND, "cause", { idempotencyKey: "k" });
    const [effect] = blocking.appendBatch([
      { ...USER, kind: KIND, payload: "effect", causationId: cause.eventId },
    ], DURABLE);
    blocking.sync();
    blocking.waitFor("durable", effect.globalSequence, { timeoutMs: 1000 });
    assert.equal(blocking.frontier().durable.globalSequence, effect.globalSequence);
    assert.equal(blocking.get(effect.eventId)?.payload, "effect");
    assert.equal(blocking.getByKey("k")?.eventId, cause.eventId);
    assert.equal(blocking.at(effect.globalSequence)?.payload, "effect");
    assert.equal(blocking.at(99), undefined);
    assert.deepEqual(blocking.causes(effect.eventId).map((e) => e.payload), ["cause"]);
    assert.deepEqual(blocking.effects(cause.eventId).map((e) => e.payload), ["effect"]);
    assert.equal(blocking.walkAncestors(effect.eventId).boundary.type, "ReachedGenesis");
    assert.equal(blocking.verifyReceipt(effect).valid, true);
    assert.deepEqual(blocking.queryAfter({}, cause.globalSequence, 5).map((e) => e.payload), [
      "effect",
    ]);
    assert.equal([...blocking.byEntity(USER.entity, { reverse: true, limit: 1 })][0].clock, 1);
    assert.equal(blocking.stats().eventCount, 3);
    assert.deepEqual(blocking.appendBatch([]), []);
    assert.throws(() => blocking.append(USER, KIND, 1, { expectedClock: 7 }), {
      code: "CLOCK_CONFLICT",
    });
    assert.throws(() => blocking.get("no id"), { code: "ID" });
    await client.shutdown();
    assert.throws(() => blocking.sync(), { code: "HOST", reason: "closed" });
    assert.throws(() => blocking.sync(), { code: "HOST", reason: "closed" });
    blocking.close();
    worker.terminate();
  }));

test("a blocking client gives up in time, and says that the outcome is unknown", async () => {
  const { port1, port2 } = new MessageChannel();
  assert.throws(() => BlockingStoreClient.connect(port2, { timeoutMs: 30 }), {
    code: "HOST",
    reason: "timeout",
    outcomeUnknown: false,
  });
  assert.throws(() => BlockingStoreClient.connect(port2, { timeoutMs: 0 }), RangeError);
  assert.throws(() => BlockingStoreClient.connect({} as MessagePort), TypeError);
  port1.close();
  await inTempDir(async (dir) => {
    const worker = await storeWorker(dir);
    const client = await StoreClient.connect(worker);
    const blocking = BlockingStoreClient.connect(client.openPort(), { timeoutMs: 500 });
    blocking.append(USER, KIND, 1);
    await client.shutdown().then(() => worker.terminate());
    // What the host said last is still in the port.
    assert.throws(() => blocking.append(USER, KIND, 2), { code: "HOST" });
    blocking.close();
    assert.throws(() => blocking.append(USER, KIND, 2), { code: "HOST" });
  });
});

test("a blocking client whose host was terminated gives up in time", () =>
  inTempDir(async (dir) => {
    const worker = await storeWorker(dir);
    const client = await StoreClient.connect(worker);
    const blocking = BlockingStoreClient.connect(client.openPort(), { timeoutMs: 300 });
    blocking.append(USER, KIND, 1);
    worker.terminate();
    await until(async () => (await failureOf(client.sync()) as HostError).reason === "died");
    assert.throws(() => blocking.append(USER, KIND, 2), {
      code: "HOST",
      reason: "timeout",
      outcomeUnknown: true,
    });
  }));

test("a realm that serves a store does not block for one", () => {
  using rig = new Rig();
  const port = rig.host.openPort();
  assert.throws(() => BlockingStoreClient.connect(port), { code: "HOST", reason: "sameRealm" });
  port.close();
});

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

/** Asks again and again. */
async function forEver(ask: () => Promise<unknown>): Promise<never> {
  while (true) await ask();
}

/** Waits until something holds that comes about by itself. */
async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; !(await holds()); i++) {
    assert.ok(i < 500, "it came about in time");
    await new Promise<void>((resolve) => runtime.scheduler.delay(10, resolve));
  }
}

/** Opens a journal whose lock is about to become free. */
async function opened(dir: string): Promise<Store> {
  let store: Store | undefined;
  await until(() => {
    try {
      store = Store.open(dir);
      return true;
    } catch (error) {
      if (error instanceof StoreLockedError) return false;
      throw error;
    }
  });
  return store!;
}
