import assert from "node:assert/strict";
import { test } from "node:test";
import { addIntersections, GapBuffer, type SequenceRange } from "./cursor_gaps.ts";

/** What `ranges` have in common with the sequences from `start` up to `end`. */
function intersections(
  ranges: readonly (readonly [number, number])[],
  start: number,
  end: number,
  offset = 0,
): (readonly [number, number])[] {
  const found: SequenceRange[] = [];
  addIntersections(found, ranges.map(([start, end]) => ({ start, end })), start, end, offset);
  return found.map(({ start, end }) => [start, end]);
}

test("C-19 a gap is half open: of [2,4) and [5,7) only the first lies in [1,5)", () => {
  assert.deepEqual(intersections([[2, 4], [5, 7]], 1, 5), [[2, 4]]);
});

test("C-19 addIntersections() clips to the gap, and leaves out what only touches it", () => {
  assert.deepEqual(intersections([[0, 3]], 3, 5), []);
  assert.deepEqual(intersections([[0, 4]], 3, 5), [[3, 4]]);
  assert.deepEqual(intersections([[0, 10]], 3, 5), [[3, 5]]);
  assert.deepEqual(intersections([[4, 10]], 3, 5), [[4, 5]]);
  assert.deepEqual(intersections([[5, 10]], 3, 5), []);
  assert.deepEqual(intersections([], 3, 5), []);
  assert.deepEqual(intersections([[0, 1], [1, 2], [3, 4], [6, 7], [9, 12]], 3, 10), [
    [3, 4],
    [6, 7],
    [9, 10],
  ]);
});

test("addIntersections() takes ranges that count from elsewhere", () => {
  assert.deepEqual(intersections([[2, 4], [5, 7]], 101, 106, 100), [[102, 104], [105, 106]]);
});

test("C-18 a GapBuffer keeps the newest, gives them oldest first, and then has none", () => {
  const gap = (n: number) => ({
    expectedSequence: n,
    deliveredSequence: n + 1,
    cancelledRanges: [{ start: n, end: n + 1 }],
  });
  for (const [capacity, kept] of [[1, [5]], [2, [4, 5]], [3, [3, 4, 5]], [9, [1, 2, 3, 4, 5]]]) {
    const buffer = new GapBuffer({ kind: "enabled", capacity: Number(capacity) });
    for (let n = 1; n <= 5; n++) buffer.push(gap(n));
    assert.deepEqual(buffer.take().map(({ expectedSequence }) => expectedSequence), kept);
    assert.deepEqual(buffer.take(), []);
    buffer.push(gap(6));
    assert.deepEqual(buffer.take(), [gap(6)]);
  }
});

test("C-17 a GapBuffer that is disabled keeps nothing", () => {
  const buffer = new GapBuffer({ kind: "disabled" });
  assert.equal(buffer.isEnabled, false);
  buffer.push({ expectedSequence: 1, deliveredSequence: 2, cancelledRanges: [] });
  assert.deepEqual(buffer.take(), []);
});

test("a GapBuffer refuses a capacity that is no number of at least 1", () => {
  for (const capacity of [0, -1, 1.5, NaN, Infinity]) {
    assert.throws(() => new GapBuffer({ kind: "enabled", capacity }), RangeError);
  }
  assert.throws(() => new GapBuffer({ kind: "on" } as never), TypeError);
  assert.throws(() => new GapBuffer({ kind: "enabled", capacity: 1, size: 2 } as never), TypeError);
});
