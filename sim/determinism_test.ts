// The same seed gives the same bytes, the same trace and the same order of things: on this runtime as on the
// other, because the digests stand here. They change with every byte that the store writes: then both runtimes
// have to agree on the new ones.
import assert from "node:assert/strict";
import { test } from "node:test";
import { EventKind, startCursorWorker, Store, StoreClient, StoreHost } from "../mod.ts";
import { SimClock } from "./sim_clock.ts";
import { newSimChannel, readyForClients } from "./sim_channel.ts";
import { SimEntropy } from "./sim_entropy.ts";
import { SimFs } from "./sim_fs.ts";
import { SimRandom } from "./sim_random.ts";
import { SimScheduler } from "./sim_scheduler.ts";
import { digestTrace, digestTree } from "./sim_trace.ts";

const KIND = EventKind.DATA;

/** A little of everything that writes, on a disk with faults, and a crash. */
function lives(seed: number): string[] {
  const random = new SimRandom(seed).stream("driver");
  const clock = new SimClock();
  const entropy = new SimEntropy(seed);
  let fs = new SimFs({ seed, faults: { shortRead: 0.2, writeError: 0.05 } });
  const digests: string[] = [];
  for (let life = 0; life < 3; life++) {
    const store = Store.open("journal", { fs, clock, entropy, segmentMaxBytes: 900 });
    for (let i = 0; i < 20; i++) {
      clock.advance(random.below(1_000));
      const coordinate = { entity: `e:${random.below(3)}`, scope: "s" };
      try {
        switch (random.below(5)) {
          case 0:
            store.appendBatch(
              [1, 2].map((n) => ({ ...coordinate, kind: KIND, payload: { i, n } })),
            );
            break;
          case 1:
            store.sync();
            break;
          case 2: {
            using fence = store.beginFence();
            fence.append(coordinate, KIND, { i });
            if (random.chance(0.5)) fence.commit();
            break;
          }
          default:
            fs.mark("receipt", store.append(coordinate, KIND, { i }).globalSequence);
        }
      } catch (error) {
        fs.mark("failed", (error as Error).name);
      }
    }
    try {
      store.compact();
    } catch (error) {
      fs.mark("failed", (error as Error).name);
    }
    digests.push(digestTrace(fs.trace));
    fs = fs.crash("anyPrefix");
    digests.push(digestTree(fs));
  }
  return digests;
}

test("a seed gives the same traces and directories, on every runtime", () => {
  assert.deepEqual(lives(1), lives(1));
  assert.notDeepEqual(lives(1), lives(2));
  assert.deepEqual(lives(1), [
    "050fb24083dc2e18",
    "33cad88818c4f115",
    "1ae5246b43ea0d61",
    "84e77f02269a241b",
    "3dc1504f06de0430",
    "10a10ca20a1d62f3",
  ]);
});

/** Workers and clients of one store, all waiting for one another in simulated time. */
async function crowd(seed: number): Promise<{ log: string; trace: string }> {
  const letGo = await readyForClients();
  const clock = new SimClock();
  const scheduler = new SimScheduler({ seed, clock });
  const fs = new SimFs({ seed });
  const store = Store.open("journal", { fs, clock, entropy: new SimEntropy(seed), scheduler });
  const host = new StoreHost(store, { scheduler });
  const log: string[] = [];
  const workers = ["a", "b", "c"].map((name, index) =>
    startCursorWorker(store, { scope: "shop" }, {
      batchSize: 2 + index,
      checkpointId: name,
      idleSleepMs: 5,
    }, async (batch) => {
      log.push(`${name}:${batch.map(({ globalSequence }) => globalSequence).join("+")}`);
      await scheduler.turn();
      return "continue";
    })
  );
  const client = async (name: string) => {
    const { port1, port2 } = newSimChannel(scheduler);
    host.accept(port1, false);
    const client = await StoreClient.connect(port2, { scheduler });
    for (let i = 0; i < 5; i++) {
      const coordinate = { entity: `${name}:${i}`, scope: "shop" };
      const { globalSequence } = await client.append(coordinate, KIND, { i }, {
        durability: i % 2 === 0 ? "durable" : "written",
      });
      log.push(`${name}=${globalSequence}`);
    }
    client.close();
  };
  await scheduler.run(Promise.all(["x", "y", "z"].map(client)));
  const last = store.stats().nextSequence - 1;
  await scheduler.run(() => workers.every(({ status }) => status.committed === last));
  const ends = workers.map((worker) => {
    worker.stop();
    return worker.join();
  });
  await scheduler.run(Promise.all(ends));
  host.close();
  letGo();
  return { log: log.join(" "), trace: digestTrace(fs.trace) };
}

test("a seed gives the same order to workers and clients, on every runtime", async () => {
  const first = await crowd(1);
  assert.deepEqual(await crowd(1), first);
  const orders = new Set<string>();
  for (let seed = 1; seed <= 5; seed++) orders.add((await crowd(seed)).log);
  assert.equal(orders.size, 5);
  assert.deepEqual(first, {
    log: "c:1 b:1+2 c:2 z=1 z=4 b:3+4+5 x=3 y=2 a:1+2 c:3+4+5+6 x=6 b:6+7+8 z=5 x=7 y=8 z=9 " +
      "b:9+10+11 c:7+8+9+10 z=10 y=11 c:11+12 b:12 a:3+4 x=12 c:13+14 b:13+14 y=14 c:15 a:5+6 " +
      "x=13 b:15 y=15 a:7+8 a:9+10 a:11+12 a:13+14 a:15",
    trace: "6dfcfc48c3bf23d5",
  });
});
