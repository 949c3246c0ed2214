import { test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { runtime } from "../../platform/runtime.ts";
import { AppliedProgress } from "./applied_progress.ts";
import { HLC_ORIGIN, type HlcPoint, maxBySequence, minBySequence } from "./hlc_point.ts";
import { Watermarks } from "./watermarks.ts";

const LONG_MS = 20_000;

function at(sequence: number): HlcPoint {
  return { wallMs: sequence, globalSequence: sequence };
}

/** A store that opened at sequence 1, with nine more events, on lane 3. */
function nineEvents(): { watermarks: Watermarks; progress: AppliedProgress } {
  const watermarks = Watermarks.fromPoint(at(1), runtime);
  for (let sequence = 2; sequence <= 10; sequence++) watermarks.append(3, sequence, sequence);
  return { watermarks, progress: new AppliedProgress(watermarks) };
}

test("M-24 the id of a projection contains its type and its entity", () => {
  assert.equal(AppliedProgress.idOf("Balance", "account:1"), "Balance:account:1");
  const { watermarks, progress } = nineEvents();
  progress.registerFor("Balance", "account:1");
  progress.registerFor("Owner", "account:1");
  progress.notifyApplied("Balance:account:1", at(5));
  assert.deepEqual(watermarks.point("applied"), at(1));
  progress.notifyApplied("Owner:account:1", at(4));
  assert.deepEqual(watermarks.point("applied"), at(4));
});

test("M-24 applied is where the slowest projection is", () => {
  const { watermarks, progress } = nineEvents();
  progress.notifyApplied("a", at(7));
  assert.deepEqual(watermarks.point("applied"), at(7));
  progress.notifyApplied("b", at(9));
  assert.deepEqual(watermarks.point("applied"), at(7));
  progress.notifyApplied("a", at(8));
  assert.deepEqual(watermarks.point("applied"), at(8));
  progress.notifyApplied("a", at(10));
  assert.deepEqual(watermarks.point("applied"), at(9));
  assert.deepEqual(watermarks.view().applied, at(9));
});

test("M-24 a known projection that says less than before takes nothing back", () => {
  const { watermarks, progress } = nineEvents();
  progress.notifyApplied("a", at(7));
  progress.notifyApplied("a", at(3));
  assert.deepEqual(watermarks.point("applied"), at(7));
  progress.notifyAppliedOnLane("a", 3, at(8));
  progress.notifyAppliedOnLane("a", 3, at(2));
  assert.deepEqual(watermarks.point("applied", 3), at(8));
  assert.deepEqual(watermarks.point("applied"), at(8));
});

test("M-24 the first word of a projection about a lane takes the lane nowhere back", () => {
  const { watermarks, progress } = nineEvents();
  progress.notifyAppliedOnLane("fast", 3, at(9));
  assert.deepEqual(watermarks.point("applied", 3), at(9));
  progress.notifyAppliedOnLane("slow", 3, at(2));
  assert.deepEqual(watermarks.point("applied", 3), at(9));
  assert.deepEqual(watermarks.point("applied"), at(9));
  progress.notifyAppliedOnLane("fast", 3, at(10));
  assert.deepEqual(watermarks.point("applied", 3), at(9));
});

test("M-24 the first word of a projection about the journal takes applied to where it is", () => {
  const { watermarks, progress } = nineEvents();
  progress.notifyApplied("fast", at(6));
  progress.notifyApplied("slow", at(2));
  assert.deepEqual(watermarks.point("applied"), at(2));
  assert.deepEqual(watermarks.point("applied", 3), HLC_ORIGIN);
});

test("M-24 unregister() drops what one projection said of lanes, and nobody else's", () => {
  const { watermarks, progress } = nineEvents();
  // Before anybody has spoken of the lane it is at the origin, and both start there.
  progress.notifyAppliedOnLane("slow", 3, at(2));
  progress.notifyAppliedOnLane("fast", 3, at(9));
  assert.deepEqual(watermarks.point("applied", 3), at(2));
  progress.unregister("slow");
  assert.deepEqual(watermarks.point("applied"), at(9));
  assert.deepEqual(watermarks.point("applied", 3), at(2));
  progress.notifyAppliedOnLane("fast", 3, at(9));
  assert.deepEqual(watermarks.point("applied", 3), at(9));
  progress.unregister("nobody");
  assert.deepEqual(watermarks.point("applied"), at(9));
});

test("F-12 applied follows whoever is left, whichever of two is let go", () => {
  for (const gone of ["a", "b"]) {
    const { watermarks, progress } = nineEvents();
    progress.notifyApplied("a", at(7));
    progress.notifyApplied("b", at(4));
    progress.unregister(gone);
    assert.deepEqual(watermarks.point("applied"), gone === "a" ? at(4) : at(7));
    progress.unregister(gone === "a" ? "b" : "a");
    assert.deepEqual(watermarks.point("applied"), gone === "a" ? at(4) : at(7));
  }
});

test("F-12 a projection that is registered and silent holds applied where it was", () => {
  const { watermarks, progress } = nineEvents();
  progress.notifyApplied("a", at(5));
  progress.register("silent");
  progress.registerFor("silent", "too");
  progress.notifyApplied("a", at(9));
  assert.deepEqual(watermarks.point("applied"), at(5));
  progress.register("silent");
  progress.notifyApplied("silent", at(6));
  progress.notifyApplied("silent:too", at(8));
  assert.deepEqual(watermarks.point("applied"), at(6));
});

test("V-07 a wait for applied ends when the slowest projection gets there", async () => {
  const { watermarks, progress } = nineEvents();
  progress.notifyApplied("fast", at(9));
  progress.notifyApplied("slow", at(3));
  let ended = false;
  const wait = watermarks.waitForApplied(9, { timeoutMs: LONG_MS }).then(() => void (ended = true));
  progress.notifyApplied("slow", at(8));
  await runtime.scheduler.turn();
  assert.equal(ended, false);
  progress.notifyApplied("slow", at(9));
  await wait;
});

test("applied is the lowest of what is known after any words", () => {
  const word = fc.record({
    id: fc.integer({ min: 0, max: 20 }).map(String),
    point: fc.record(
      { wallMs: fc.nat(3), globalSequence: fc.integer({ min: 1, max: 12 }) },
      { noNullPrototype: true },
    ),
    leaves: fc.boolean(),
  });
  fc.assert(fc.property(fc.array(word, { maxLength: 60 }), (words) => {
    const watermarks = Watermarks.fromPoint(at(12), runtime);
    const progress = new AppliedProgress(watermarks);
    const known = new Map<string, HlcPoint>();
    for (const { id, point, leaves } of words) {
      if (leaves) {
        known.delete(id);
        progress.unregister(id);
      } else {
        const before = known.get(id);
        known.set(id, before === undefined ? point : maxBySequence(before, point));
        progress.notifyApplied(id, point);
      }
      if (known.size > 0) {
        assert.deepEqual(watermarks.point("applied"), [...known.values()].reduce(minBySequence));
      }
    }
  }));
});
