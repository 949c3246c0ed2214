import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { PostingLists } from "./postings.ts";

test("a list that nobody has begun is empty", () => {
  const lists = new PostingLists();
  for (const list of [0, 1, 15, 16, 1_000_000]) {
    assert.equal(lists.count(list), 0);
    assert.equal(lists.last(list), -1);
    assert.deepEqual([...lists.rows(list, 0, 100, false)], []);
    assert.deepEqual([...lists.rows(list, 0, 100, true)], []);
  }
});

test("posting lists agree with plain arrays, forwards, backwards and in any range", () => {
  const pushes = fc.array(fc.tuple(fc.nat(40), fc.integer({ min: 1, max: 30 })), {
    maxLength: 300,
  });
  fc.assert(
    fc.property(pushes, fc.nat(4000), fc.nat(4000), (pushes, start, size) => {
      const lists = new PostingLists();
      const expected = new Map<number, number[]>();
      let row = 0;
      for (const [list, step] of pushes) {
        row += step;
        lists.push(list, row);
        expected.set(list, [...(expected.get(list) ?? []), row]);
      }
      for (let list = 0; list <= 41; list++) {
        const rows = expected.get(list) ?? [];
        assert.equal(lists.count(list), rows.length);
        assert.equal(lists.last(list), rows.at(-1) ?? -1);
        const end = start + size;
        const within = rows.filter((row) => row >= start && row < end);
        assert.deepEqual([...lists.rows(list, start, end, false)], within);
        assert.deepEqual([...lists.rows(list, start, end, true)], within.reverse());
      }
    }),
  );
});

test("a list of many blocks gives every range exactly, at every block's edge", () => {
  const lists = new PostingLists();
  const rows: number[] = [];
  for (let i = 0; i < 3000; i++) {
    rows.push(i * 3);
    lists.push(7, i * 3);
    if (i % 2 === 0) lists.push(8, i);
  }
  for (const start of [0, 1, 3, 11, 12, 13, 3 * 4, 3 * 12, 3 * 28, 3 * 1020, 8997, 8998, 9000]) {
    for (const end of [0, 1, 12, 13, 3 * 28, 3 * 508, 3 * 1020 + 1, 8997, 8998, 20_000]) {
      const within = rows.filter((row) => row >= start && row < end);
      assert.deepEqual([...lists.rows(7, start, end, false)], within);
      assert.deepEqual([...lists.rows(7, start, end, true)], within.reverse());
    }
  }
  assert.equal(lists.count(8), 1500);
});

test("a walk in progress is not disturbed by rows that are added meanwhile", () => {
  for (const reverse of [false, true]) {
    const lists = new PostingLists();
    for (let row = 0; row < 700; row++) lists.push(0, row);
    const walk = lists.rows(0, 0, 700, reverse);
    const seen: number[] = [];
    for (let row = 700; seen.length < 700; row++) {
      const { value, done } = walk.next();
      assert.ok(!done, `after ${seen.length}`);
      seen.push(value);
      for (let list = 0; list < 5; list++) lists.push(list, row);
    }
    assert.equal(walk.next().done, true);
    const expected = Array.from({ length: 700 }, (_, row) => row);
    assert.deepEqual(seen, reverse ? expected.reverse() : expected);
  }
});

test("memory grows with the rows and not with the square of anything", () => {
  const lists = new PostingLists();
  for (let row = 0; row < 300_000; row++) lists.push(row % 100_000, row);
  assert.ok(lists.memorySize < 300_000 * 32, `${lists.memorySize} bytes`);
});
