// The clock, the entropy, the scheduler and the channels of a simulation.
import assert from "node:assert/strict";
import { test } from "node:test";
import { newSimChannel } from "./sim_channel.ts";
import { SimClock } from "./sim_clock.ts";
import { SimEntropy } from "./sim_entropy.ts";
import { SimDeadlockError, SimScheduler } from "./sim_scheduler.ts";

test("SimClock begins in 2033, and moves only when told", () => {
  const clock = new SimClock();
  assert.equal(clock.nowUs(), 2_000_000_000_000_000);
  assert.equal(clock.nowUs(), 2_000_000_000_000_000);
  assert.equal(clock.monotonicUs(), 0);
  assert.equal(clock.advance(5), 2_000_000_000_000_005);
  assert.equal(clock.advance(-9), 2_000_000_000_000_005);
  assert.equal(clock.monotonicUs(), 5);
});

test("SimClock: the wall jumps, and monotonic time does not", () => {
  const clock = new SimClock(1_000);
  clock.jump(-400);
  assert.deepEqual([clock.nowUs(), clock.monotonicUs()], [600, 0]);
  clock.script([10, 0, -100, 5]);
  assert.deepEqual([clock.nowUs(), clock.nowUs(), clock.nowUs(), clock.nowUs()], [
    610,
    610,
    510,
    515,
  ]);
  assert.equal(clock.nowUs(), 515);
  assert.equal(clock.monotonicUs(), 15);
});

test("SimClock: a reboot has another name, and begins from nothing", () => {
  const clock = new SimClock(1_000);
  clock.advance(7);
  const { bootId } = clock;
  clock.reboot();
  assert.notEqual(clock.bootId, bootId);
  assert.deepEqual([clock.nowUs(), clock.monotonicUs()], [1_007, 0]);
});

test("SimEntropy repeats its bytes, and no fork repeats another", () => {
  const draw = (entropy: SimEntropy) => {
    const bytes = new Uint8Array(16);
    entropy.fill(bytes);
    return bytes.join();
  };
  assert.equal(draw(new SimEntropy(1)), draw(new SimEntropy(1)));
  const entropy = new SimEntropy(1);
  const drawn = [new SimEntropy(2), entropy.fork(), entropy.fork(), entropy].map(draw);
  assert.equal(new Set(drawn).size, 4);
  const again = new SimEntropy(1);
  assert.deepEqual([again.fork(), again.fork()].map(draw), drawn.slice(1, 3));
});

test("SimScheduler calls back when simulated time has come, in its order", async () => {
  const scheduler = new SimScheduler({ order: "fifo" });
  const called: string[] = [];
  const note = (name: string) => called.push(`${name} ${scheduler.clock.monotonicUs()}`);
  scheduler.delay(20, () => note("late"));
  scheduler.delay(10, () => {
    note("early");
    scheduler.delay(0, () => note("at once"));
  });
  const cancel = scheduler.delay(15, () => note("never"));
  void scheduler.turn().then(() => note("turn"));
  assert.deepEqual(called, [], "nobody is called before delay() returns");
  cancel();
  cancel();
  await scheduler.run(() => scheduler.waitingCount === 0);
  assert.deepEqual(called, ["turn 0", "early 10000", "at once 10000", "late 20000"]);
  assert.equal(scheduler.stepCount, 4);
});

test("SimScheduler lets a seed decide who of several comes first", async () => {
  const orderOf = async (seed: number) => {
    const scheduler = new SimScheduler({ seed });
    const called: number[] = [];
    for (let i = 0; i < 6; i++) {
      void (async () => {
        await scheduler.turn();
        called.push(i);
        await scheduler.turn();
        called.push(i);
      })();
    }
    await scheduler.run(() => scheduler.waitingCount === 0);
    return called.join("");
  };
  assert.equal(await orderOf(1), await orderOf(1));
  assert.equal((await orderOf(1)).length, 12);
  const orders = new Set<string>();
  for (let seed = 0; seed < 10; seed++) orders.add(await orderOf(seed));
  assert.equal(orders.size, 10);
});

test("run() returns what a promise gives, and throws what it throws", async () => {
  const scheduler = new SimScheduler();
  const later = async (value: number) => {
    await scheduler.turn();
    // However many promises a thing takes, it is ready before the next call.
    for (let i = 0; i < 100; i++) await null;
    if (value < 0) throw new RangeError("negative");
    return value;
  };
  assert.equal(await scheduler.run(later(7)), 7);
  await assert.rejects(scheduler.run(later(-1)), RangeError);
});

test("run() notices when nobody will ever come, and when nobody ever ends", async () => {
  const scheduler = new SimScheduler();
  await assert.rejects(scheduler.run(() => false), SimDeadlockError);
  const forever = () => void scheduler.delay(1, forever);
  forever();
  await assert.rejects(scheduler.run(() => false, { stepsMax: 50 }), /50 calls, no end/);
});

test("messages of one port arrive in order, those of several as the seed says", async () => {
  const arrivals = async (seed: number) => {
    const scheduler = new SimScheduler({ seed });
    const heard: string[] = [];
    for (const name of ["a", "b", "c"]) {
      const { port1, port2 } = newSimChannel(scheduler);
      for (let i = 0; i < 3; i++) port1.postMessage({ name, i });
      port2.onmessage = ({ data }) => heard.push(`${data.name}${data.i}`);
    }
    await scheduler.run(() => scheduler.waitingCount === 0);
    return heard;
  };
  const seen = new Set<string>();
  for (let seed = 0; seed < 10; seed++) {
    const heard = await arrivals(seed);
    for (const name of ["a", "b", "c"]) {
      assert.deepEqual(heard.filter((text) => text.startsWith(name)), [
        `${name}0`,
        `${name}1`,
        `${name}2`,
      ]);
    }
    seen.add(heard.join());
  }
  assert.ok(seen.size > 5, `${seen.size} orders`);
  assert.deepEqual(await arrivals(3), await arrivals(3));
});

test("a message is a copy, what is transferred is given up, and a closed port hears nothing", async () => {
  const scheduler = new SimScheduler();
  const { port1, port2 } = newSimChannel(scheduler);
  const heard: unknown[] = [];
  let closed = 0;
  port2.addEventListener("close", () => closed++);
  port2.onmessage = ({ data }) => heard.push(data);
  const sent = { n: 1 };
  port1.postMessage(sent);
  sent.n = 2;
  const bytes = new Uint8Array([1, 2]);
  port1.postMessage(bytes.buffer, [bytes.buffer]);
  assert.equal(bytes.byteLength, 0);
  await scheduler.run(() => scheduler.waitingCount === 0);
  assert.deepEqual(heard[0], { n: 1 });
  assert.equal((heard[1] as ArrayBuffer).byteLength, 2);
  port1.close();
  port1.postMessage(3);
  port2.postMessage(4);
  await scheduler.run(() => scheduler.waitingCount === 0);
  assert.equal(heard.length, 2);
  assert.equal(closed, 1);
});
