import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs } from "../../platform/memory.ts";
import { type FramePlaces, framePlacesOf, NUMBERS_PER_FRAME } from "../../store/frame_places.ts";
import type { RegionLike } from "../../store/region.ts";
import type { Store } from "../../store/store.ts";
import { factsOf, openIn, ORDER, OTHER, PAID, PLACED } from "../../tests/support_api/journal.ts";
import { spiedFs } from "../../tests/support_api/spied_fs.ts";
import { FrameReader, UnreadableFrame } from "./frame_reader.ts";

/** A journal of many segments, and a reader whose calls are counted. */
function fixture(fdBudget = 8) {
  const fs = new MemoryFs();
  const store = openIn(fs, { segmentMaxBytes: 3_000 });
  for (let i = 0; i < 100; i++) {
    store.append(i % 10 ? ORDER : OTHER, i % 10 ? PLACED : PAID, { i, text: "x".repeat(i) });
  }
  const calls: string[] = [];
  const reader = new FrameReader(spiedFs(fs, (op) => calls.push(op)), { fdBudget });
  return { fs, store, reader, calls, counts: () => countOf(calls.splice(0)) };
}

function countOf(calls: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const call of calls) counts[call] = (counts[call] ?? 0) + 1;
  return counts;
}

function placesOf(store: Store, region: RegionLike = {}): FramePlaces {
  return framePlacesOf(store.cursorHost().source, store.query(region));
}

function read(reader: FrameReader, { segments, frames }: FramePlaces) {
  return reader.read(segments, frames);
}

test("events that are read by their places are those of the store", () => {
  const { store, reader } = fixture();
  for (const region of [{}, { kind: PAID }, { entity: "order:1" }]) {
    const events = read(reader, placesOf(store, region));
    assert.deepEqual(events.map(factsOf), store.query(region).map(factsOf));
  }
  store.close();
});

test("a batch costs one read for each segment, and the opening of those that are not open", () => {
  const { store, reader, counts } = fixture();
  const places = placesOf(store);
  const segmentCount = places.segments.length;
  assert.ok(segmentCount > 8);
  const segments = [{ ...places.segments[0], count: 2 }];
  read(reader, { segments, frames: places.frames.slice(0, 6) });
  // The header, and the frames.
  assert.deepEqual(counts(), { open: 1, readAt: 2 });
  read(reader, { segments, frames: places.frames.slice(6, 12) });
  assert.deepEqual(counts(), { readAt: 1 });
  // With gaps between them that are small.
  const some = placesOf(store, { kind: PAID });
  assert.equal(read(reader, some).length, 10);
  const { readAt } = counts();
  assert.ok(readAt <= 2 * some.segments.length, `${readAt} reads`);
  store.close();
});

test("no more files are open than the budget says, and none of segments that lie behind", () => {
  const { store, reader } = fixture(3);
  const places = placesOf(store);
  read(reader, places);
  assert.equal(reader.openCount, 3);
  const last = places.segments.slice(-1);
  const frames = places.frames.slice(-NUMBERS_PER_FRAME * last[0].count);
  read(reader, { segments: last, frames });
  assert.equal(reader.openCount, 1);
  reader.closeFiles();
  assert.equal(reader.openCount, 0);
  read(reader, { segments: last, frames });
  assert.equal(reader.openCount, 1);
  store.close();
});

/** The problem that reading these places ends in. */
function problemOf(reader: FrameReader, places: FramePlaces) {
  try {
    read(reader, places);
  } catch (error) {
    assert.ok(error instanceof UnreadableFrame, String(error));
    return error.problem;
  }
  return assert.fail("it was read");
}

test("a segment under a name that another one had is noticed, whether the file was open or not", () => {
  const { store, reader } = fixture();
  const before = placesOf(store);
  read(reader, before);
  store.compact({ strategy: { type: "merge" }, minSegments: 1, seal: true });
  const after = placesOf(store);
  const same = after.segments.find(({ path }) => before.segments.some((old) => old.path === path));
  assert.ok(same !== undefined, "one of them has a name that was there before");
  assert.deepEqual(read(reader, after).map(factsOf), store.query().map(factsOf));

  const { path, id, headerCrc } = before.segments[0];
  assert.deepEqual(problemOf(new FrameReader(fixtureFs(store), { fdBudget: 8 }), before), {
    sequence: 0,
    path,
    segmentId: id,
    headerCrc,
    offset: before.frames[1],
    reason: "the header is of another segment",
  });
  store.close();
});

/** The files of an open store. */
function fixtureFs(store: Store) {
  return store.cursorHost().fs;
}

test("what is not the frame it should be is told apart", () => {
  const { fs, store, reader } = fixture();
  const places = placesOf(store);
  const [segment] = places.segments;
  const one = (sequence: number, offset: number, size: number): FramePlaces => ({
    segments: [{ ...segment, count: 1 }],
    frames: Float64Array.of(sequence, offset, size),
  });
  const [, offset, size] = places.frames;
  const reasonOf = (place: FramePlaces) => problemOf(reader, place).reason;
  assert.equal(read(reader, one(0, offset, size)).length, 1);
  assert.equal(reasonOf(one(1, offset, size)), "the frame is of another event");
  assert.equal(
    reasonOf(one(0, offset, size + 1)),
    "the frame has another size than when it was written",
  );
  assert.equal(
    reasonOf(one(0, offset + 1, size)),
    "the frame has another size than when it was written",
  );
  assert.equal(
    reasonOf(one(0, 2 ** 40, size)),
    "unexpected EOF: the file ended before the frame did",
  );
  // Nothing is allocated for a size that no frame has.
  assert.equal(reasonOf(one(0, offset, 2 ** 40)), "no frame of ours has such a size");

  const file = fs.open(segment.path, "write");
  file.writeAt(Uint8Array.of(0xff), 0, 1, offset + 40);
  file.close();
  assert.equal(reasonOf(one(0, offset, size)), "the frame's checksum does not match");

  store.close();
  fs.remove(segment.path);
  reader.closeFiles();
  const { fault } = problemOf(reader, one(0, offset, size));
  assert.deepEqual(fault, { code: "ENOENT", op: "open" });
});

// The open after a crash gives the newest segment a new file under the same name and header, and a realm went
// on with the old one, in which the newest events are not. Now it looks at the new one.
test("a segment that was given a new file is read from that", () => {
  const { fs, store, reader } = fixture();
  const { segments: [segment], frames } = placesOf(store);
  assert.ok(segment.count > 1);
  const end = segment.count * NUMBERS_PER_FRAME;
  const last = frames.slice(end - NUMBERS_PER_FRAME, end);
  store.close();
  const whole = fs.readFile(segment.path, 2 ** 20);
  fs.publish(segment.path, whole.subarray(0, last[1]));
  const before = { ...segment, count: segment.count - 1 };
  reader.read([before], frames.slice(0, end - NUMBERS_PER_FRAME));
  fs.publish(segment.path, whole);
  const [event] = reader.read([{ ...segment, count: 1 }], last);
  assert.equal(event.globalSequence, last[0]);
});
