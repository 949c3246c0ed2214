import assert from "node:assert/strict";
import { test } from "node:test";
import { Slab } from "./slab.ts";

test("Slab.copy() gives bytes that nothing later changes", () => {
  const slab = new Slab();
  const source = Uint8Array.from({ length: 9000 }, (_, i) => i);
  const copies: { start: number; end: number; copy: Uint8Array }[] = [];
  for (let i = 0; i < 400; i++) {
    const start = (i * 37) % 4000;
    const end = start + (i * 101) % 5000;
    copies.push({ start, end, copy: slab.copy(source, start, end) });
  }
  const original = source.slice();
  source.fill(0);
  for (const { start, end, copy } of copies) {
    assert.deepEqual(copy, original.slice(start, end));
  }
});

test("Slab.copy() shares slabs among small copies, and leaves large ones alone", () => {
  const slab = new Slab();
  const source = new Uint8Array(100_000);
  const [first, second] = [slab.copy(source, 0, 100), slab.copy(source, 0, 100)];
  assert.equal(first.buffer, second.buffer);
  const large = slab.copy(source, 0, 50_000);
  assert.equal(large.buffer.byteLength, 50_000);
});
