import assert from "node:assert/strict";
import { test } from "node:test";

test("a worker that imports us gets what is posted to it before its imports are loaded", async () => {
  // A module that waited at its top level made the runtimes deliver messages before anybody listened: a
  // port or a path that was sent to a worker at once was lost. Nothing waits there any more.
  for (let round = 0; round < 5; round++) {
    const worker = new Worker(new URL("./testdata/early_listener.ts", import.meta.url), {
      type: "module",
    });
    const answer = new Promise((resolve) => {
      worker.addEventListener("message", ({ data }) => resolve(data), { once: true });
    });
    worker.postMessage(`hello ${round}`);
    assert.deepEqual(await answer, [`hello ${round}`, 0x1000, true]);
    worker.terminate();
  }
});
