// What a host learns of the end of a realm, however it comes about: by its lifeline, or by the runtime's event.
import assert from "node:assert/strict";
import { test } from "node:test";
import { hasLifelines, watchLifeline } from "./lifeline.ts";
import { wireToWorker } from "./realm.ts";
import { runtime } from "./runtime.ts";

/** A worker that holds a lifeline. */
async function startHolder(name: string): Promise<Worker> {
  const worker = new Worker(new URL("./testdata/lifeline_holder.ts", import.meta.url), {
    type: "module",
  });
  const said = (word: string) =>
    new Promise<void>((resolve) =>
      worker.addEventListener("message", ({ data }) => {
        if (data === word) resolve();
      })
    );
  await said("ready");
  const held = said("held");
  worker.postMessage({ hold: name });
  await held;
  return worker;
}

test("the end of a realm is told, however it comes about, and no earlier", async () => {
  assert.equal(hasLifelines(), runtime.name === "deno");
  for (const [i, how] of ["close", "exit", "throw", "terminate"].entries()) {
    const name = `batpak-test:${how}:${i}`;
    const worker = await startHolder(name);
    let endCount = 0;
    const failures: string[] = [];
    let onEnd = () => {};
    const ended = new Promise<void>((resolve) => onEnd = resolve);
    const count = () => {
      endCount++;
      onEnd();
    };
    const wire = wireToWorker(worker, ({ type, message }) => {
      if (type === "close") count();
      else failures.push(message);
    });
    const cancel = watchLifeline(name, count);
    await new Promise<void>((resolve) => runtime.scheduler.delay(30, resolve));
    assert.equal(endCount, 0, `${how}: it is still there`);
    if (how === "terminate") worker.terminate();
    else worker.postMessage(how);
    await ended;
    await runtime.scheduler.turn();
    assert.equal(endCount, 1);
    assert.deepEqual(failures, how === "throw" ? ["Error: thrown"] : []);
    cancel();
    wire.close();
    worker.terminate();
  }
});

test("a watch that is called off tells nothing", async () => {
  const name = "batpak-test:called-off";
  const worker = await startHolder(name);
  const cancel = watchLifeline(name, () => assert.fail("it was called off"));
  cancel();
  cancel();
  worker.terminate();
  await new Promise<void>((resolve) => runtime.scheduler.delay(50, resolve));
});
