import { test } from "node:test";
import assert from "node:assert/strict";
import { SystemScheduler } from "./system_scheduler.ts";
import { newChannel, wireOfPort } from "./realm.ts";

const scheduler = new SystemScheduler();

test("SystemScheduler.delay() calls back once, after its time, and not before it returns", async () => {
  let calls = 0;
  const startMs = performance.now();
  await new Promise<void>((resolve) => {
    scheduler.delay(20, () => {
      calls++;
      resolve();
    });
    assert.equal(calls, 0);
  });
  assert.equal(calls, 1);
  assert.ok(performance.now() - startMs >= 19);
});

test("SystemScheduler.delay() can be called off, also twice and too late", async () => {
  let calls = 0;
  const cancel = scheduler.delay(1, () => calls++);
  cancel();
  cancel();
  await new Promise<void>((resolve) => scheduler.delay(10, resolve));
  cancel();
  assert.equal(calls, 0);
});

test("SystemScheduler.delay() takes more than the timers of the event loop can count", async () => {
  let called = false;
  const cancel = scheduler.delay(1e15, () => called = true);
  await new Promise<void>((resolve) => scheduler.delay(10, resolve));
  cancel();
  assert.equal(called, false);
});

test("SystemScheduler.turn() lets other turns pass", async () => {
  const turns: string[] = [];
  const other = scheduler.turn().then(() => turns.push("other"));
  turns.push("here");
  await scheduler.turn();
  await other;
  assert.deepEqual(turns.sort(), ["here", "other"]);
});

test("a wire through ports delivers in order, and nothing after it is closed", async () => {
  const { port1, port2 } = newChannel();
  const here = wireOfPort(port1);
  const there = wireOfPort(port2);
  const received: unknown[] = [];
  const three = new Promise<void>((resolve) => {
    there.listen((message) => {
      received.push(message);
      if (received.length === 3) resolve();
    });
  });
  const buffer = new ArrayBuffer(8);
  here.post("one");
  here.post({ two: 2n });
  here.post(buffer, [buffer]);
  await three;
  assert.deepEqual(received.slice(0, 2), ["one", { two: 2n }]);
  assert.equal((received[2] as ArrayBuffer).byteLength, 8);
  assert.equal(buffer.byteLength, 0, "what was given up is gone here");
  there.close();
  here.close();
});
