import { test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  compareHlc,
  covers,
  HLC_ORIGIN,
  type HlcPoint,
  maxBySequence,
  maxHlc,
  minBySequence,
  minHlc,
} from "./hlc_point.ts";

/** Mostly few values, so that equal wall times and equal sequences are common. */
const number = fc.oneof(
  { weight: 4, arbitrary: fc.nat(3) },
  { weight: 1, arbitrary: fc.maxSafeNat() },
);
const point: fc.Arbitrary<HlcPoint> = fc.record(
  { wallMs: number, globalSequence: number },
  { noNullPrototype: true },
);

/** Holds for all points; a failure prints its seed. */
function holds(law: (a: HlcPoint, b: HlcPoint, c: HlcPoint) => void): void {
  fc.assert(fc.property(point, point, point, law), { numRuns: 1_000 });
}

test("M-27 join and meet of points are commutative", () => {
  holds((a, b) => {
    assert.deepEqual(maxHlc(a, b), maxHlc(b, a));
    assert.deepEqual(minHlc(a, b), minHlc(b, a));
  });
});

test("M-27 join and meet of points are associative", () => {
  holds((a, b, c) => {
    assert.deepEqual(maxHlc(a, maxHlc(b, c)), maxHlc(maxHlc(a, b), c));
    assert.deepEqual(minHlc(a, minHlc(b, c)), minHlc(minHlc(a, b), c));
  });
});

test("M-27 join and meet of a point with itself are the point", () => {
  holds((a) => {
    assert.deepEqual(maxHlc(a, a), a);
    assert.deepEqual(minHlc(a, a), a);
  });
});

test("M-27 the origin is the identity of join, and absorbs in meet", () => {
  holds((a) => {
    assert.deepEqual(maxHlc(a, HLC_ORIGIN), a);
    assert.deepEqual(minHlc(a, HLC_ORIGIN), HLC_ORIGIN);
  });
});

test("M-27 a join is no less than its inputs, a meet no more", () => {
  holds((a, b) => {
    for (const input of [a, b]) {
      assert.ok(compareHlc(maxHlc(a, b), input) >= 0);
      assert.ok(compareHlc(minHlc(a, b), input) <= 0);
    }
  });
});

test("M-27 join and meet absorb each other", () => {
  holds((a, b) => {
    assert.deepEqual(maxHlc(a, minHlc(a, b)), a);
    assert.deepEqual(minHlc(a, maxHlc(a, b)), a);
  });
});

test("M-27 of two points with one wall time the larger sequence wins", () => {
  holds((a, b) => {
    const other = { wallMs: a.wallMs, globalSequence: b.globalSequence };
    assert.equal(
      maxHlc(a, other).globalSequence,
      Math.max(a.globalSequence, other.globalSequence),
    );
  });
});

test("M-27 compareHlc() is a total order, and 0 for equal points only", () => {
  holds((a, b, c) => {
    assert.equal(Math.sign(compareHlc(a, b)), 0 - Math.sign(compareHlc(b, a)));
    assert.equal(
      compareHlc(a, b) === 0,
      a.wallMs === b.wallMs && a.globalSequence === b.globalSequence,
    );
    if (compareHlc(a, b) <= 0 && compareHlc(b, c) <= 0) assert.ok(compareHlc(a, c) <= 0);
  });
});

test("compareHlc() looks at the wall time first, covers() not at all", () => {
  const early = { wallMs: 1, globalSequence: 10 };
  const late = { wallMs: 9_999, globalSequence: 5 };
  assert.ok(compareHlc(early, late) < 0);
  assert.equal(covers(early, late), true);
  assert.equal(covers(late, early), false);
  assert.equal(covers(early, { wallMs: 2, globalSequence: 10 }), true);
});

test("M-23 minBySequence() picks the lower sequence, and at one place the lower wall time", () => {
  const early = { wallMs: 1, globalSequence: 10 };
  const late = { wallMs: 9_999, globalSequence: 5 };
  assert.deepEqual(minBySequence(early, late), late);
  assert.deepEqual(minBySequence(late, early), late);
  const tie = { wallMs: 2, globalSequence: 10 };
  assert.deepEqual(minBySequence(early, tie), early);
  assert.deepEqual(minBySequence(tie, early), early);
  assert.deepEqual(maxBySequence(early, tie), tie);
  assert.deepEqual(maxBySequence(tie, early), tie);
  assert.deepEqual(maxBySequence(early, late), early);
});

test("M-23 minBySequence() is symmetric and never falls below both", () => {
  holds((a, b) => {
    const lowest = minBySequence(a, b);
    assert.deepEqual(lowest, minBySequence(b, a));
    assert.ok(lowest === a || lowest === b);
    assert.equal(lowest.globalSequence, Math.min(a.globalSequence, b.globalSequence));
    assert.deepEqual(maxBySequence(a, b), maxBySequence(b, a));
    assert.deepEqual([lowest, maxBySequence(a, b)].sort(compareHlc), [a, b].sort(compareHlc));
  });
});
