import assert from "node:assert/strict";
import { test } from "node:test";
import { chunksOf } from "./host.ts";

// Each piece was raced against one promise that lived as long as the input, and stayed in memory with
// what the race left there. A piece that has been used is now garbage.
test("chunksOf() lets go of the pieces that were used", async () => {
  const count = 400;
  const pieces: WeakRef<Uint8Array>[] = [];
  async function* stream() {
    for (let n = 0; n < count; n++) {
      const piece = new Uint8Array(1 << 20).fill(n);
      pieces.push(new WeakRef(piece));
      // A turn of the loop, without which nothing that a WeakRef has shown is ever collected.
      await new Promise((resolve) => setTimeout(resolve));
      yield piece;
    }
  }
  let size = 0;
  const { signal } = new AbortController();
  for await (const piece of chunksOf(stream(), signal)) size += piece.byteLength;
  assert.equal(size, count << 20);
  const kept = pieces.filter((piece) => piece.deref() !== undefined).length;
  assert.ok(kept < count / 2, `${kept} of ${count} pieces are still in memory`);
});

test("chunksOf() has one listener at a time, and none when it is done", async () => {
  const { signal } = new AbortController();
  let listeners = 0;
  let most = 0;
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = function (...args: unknown[]) {
    most = Math.max(most, ++listeners);
    return Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = function (...args: unknown[]) {
    listeners--;
    return Reflect.apply(removeEventListener, signal, args);
  };
  async function* stream() {
    for (let n = 0; n < 100; n++) yield await Promise.resolve(new Uint8Array(1));
  }
  let count = 0;
  for await (const _ of chunksOf(stream(), signal)) count++;
  assert.deepEqual([count, most, listeners], [100, 1, 0]);
  for await (const _ of chunksOf(stream(), signal)) break;
  assert.deepEqual([most, listeners], [1, 0]);
});

test("chunksOf() ends on an abort, also while it waits for a piece that never comes", async () => {
  const controller = new AbortController();
  let pulls = 0;
  async function* stream() {
    pulls++;
    yield new Uint8Array([1]);
    pulls++;
    await new Promise<never>(() => {});
  }
  const seen: number[] = [];
  setTimeout(() => controller.abort(), 20);
  for await (const piece of chunksOf(stream(), controller.signal)) seen.push(...piece);
  assert.deepEqual([seen, pulls], [[1], 2]);
  for await (const piece of chunksOf(stream(), controller.signal)) seen.push(...piece);
  assert.deepEqual([seen, pulls], [[1], 2], "an input that is over before it began is not touched");
});

test("chunksOf() fails as the stream fails", async () => {
  async function* stream() {
    yield await Promise.resolve(new Uint8Array([1]));
    throw new Error("the disk is gone");
  }
  const seen: number[] = [];
  await assert.rejects(async () => {
    for await (const piece of chunksOf(stream(), undefined)) seen.push(...piece);
  }, /^Error: the disk is gone$/);
  assert.deepEqual(seen, [1]);
});
