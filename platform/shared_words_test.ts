import { test } from "node:test";
import assert from "node:assert/strict";
import { runtime } from "./runtime.ts";
import { blockWhile, type SharedWords, sleepWhile, wakeWord } from "./shared_words.ts";
import { commandHere, fixture, inTempDir, start } from "./testdata/processes.ts";

const LONG_MS = 20_000;

function newWords(): SharedWords {
  return new Int32Array(new SharedArrayBuffer(8));
}

test("blockWhile() takes its time, and says that it was the time", () => {
  const startMs = performance.now();
  assert.equal(blockWhile(newWords(), 0, 0, 60), true);
  assert.ok(performance.now() - startMs >= 50);
});

test("blockWhile() and sleepWhile() do not wait for a word that has changed", async () => {
  assert.equal(blockWhile(newWords(), 0, 1, LONG_MS), false);
  assert.equal(await sleepWhile(newWords(), 0, 1, LONG_MS), false);
});

test("wakeWord() wakes all who sleep on the word, and nobody else", async () => {
  const words = newWords();
  const sleepers = [1, 2, 3].map(() => sleepWhile(words, 0, 0, LONG_MS));
  const other = sleepWhile(words, 1, 0, 100);
  runtime.scheduler.delay(10, () => wakeWord(words, 0));
  assert.deepEqual(await Promise.all(sleepers), [false, false, false]);
  assert.equal(await other, true);
});

test("sleepWhile() keeps the program running", async () => {
  // Deno ended a program whose last task was such a sleep. Now a timer holds it meanwhile.
  await inTempDir(async (dir) => {
    const sleeper = await start(commandHere(fixture("sleeper.ts"), dir));
    assert.equal(sleeper.firstLine, "slept");
    await sleeper.kill("SIGKILL");
  });
});
