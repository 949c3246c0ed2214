// A reader in another process, while a writer replaces and removes the segments it reads.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs } from "../../platform/memory.ts";
import { runtime } from "../../platform/runtime.ts";
import type { StoreFs } from "../../platform/fs.ts";
import {
  DIR,
  FRAMES_ONLY,
  KIND,
  openReader,
  openStore,
  USER,
} from "../../tests/support/journal.ts";
import { flipBit, readFile, writeFile } from "../../tests/support/journal_bytes.ts";
import { censusOf, openAnew } from "../../tests/support/journal_checks.ts";
import { RegrettingFs } from "../../tests/support/regretting_fs.ts";
import { inTempDir } from "../../tests/support/temp_dir.ts";
import { WrappedFs } from "../../tests/support/wrapped_fs.ts";
import type { CompactionOptions } from "./compaction.ts";
import {
  CorruptionError,
  EventPrunedError,
  JournalChangingError,
  StoreIoError,
} from "../errors.ts";
import type { JournalReader } from "../journal_reader.ts";
import { Store } from "../store.ts";
import type { StoreOptions } from "../store_options.ts";
import { verifyJournal } from "../verify.ts";

const SMALL: StoreOptions = { segmentMaxBytes: 600 };
const ERASE_FIRST: CompactionOptions = {
  strategy: { type: "tombstone", keep: ({ clock }) => clock > 4 },
  minSegments: 1,
};

function filled(fs: StoreFs, options: StoreOptions = SMALL): Store {
  const store = openStore(fs, options);
  for (let i = 0; i < 20; i++) store.append(USER, KIND, { i });
  return store;
}

function numbersIn(reader: JournalReader): (number | undefined)[] {
  return reader.query({ kind: KIND }).map(({ payload }) => (payload as { i: number })?.i);
}

const ALL = Array.from({ length: 20 }, (_, i) => i);
const ERASED = ALL.map((i) => i > 4 ? i : undefined);

for (const fdBudget of [1, 64]) {
  for (const coldStart of [FRAMES_ONLY, {}]) {
    const how = `${fdBudget} files, ${coldStart === FRAMES_ONLY ? "frames" : "indexes"}`;

    test(`a reader that does not refresh goes on over a compaction: ${how}`, () => {
      const fs = new MemoryFs();
      const store = filled(fs, { ...SMALL, coldStart });
      const reader = openReader(fs, { fdBudget, coldStart });
      const census = censusOf(reader);
      const held = reader.query({ kind: KIND });
      assert.equal(store.compact().outcome, "performed");
      assert.deepEqual(censusOf(reader), census);
      assert.deepEqual(held.map(({ payload }) => (payload as { i: number }).i), ALL);
      assert.equal(store.compact(ERASE_FIRST).outcome, "performed");
      // What it has open it may still read; the rest is gone. Nothing is damaged.
      const numbers = numbersIn(reader);
      for (const [i, number] of numbers.entries()) assert.ok(number === i || i <= 4, `${i}`);
    });

    test(`refresh() notices a merge and an erasure, and appends behind it: ${how}`, () => {
      const fs = new MemoryFs();
      const store = filled(fs, { ...SMALL, coldStart });
      const reader = openReader(fs, { fdBudget, coldStart });
      const [first] = reader.query({ kind: KIND });
      const untouched = reader.query({ kind: KIND })[3];
      assert.deepEqual(first.payload, { i: 0 });
      store.compact();
      assert.equal(reader.refresh(), 0);
      assert.equal(reader.stats().segmentCount, 2);
      store.append(USER, KIND, { i: 20 });
      store.compact(ERASE_FIRST);
      assert.equal(reader.refresh(), 1);
      assert.deepEqual(numbersIn(reader), [...ERASED, 20]);
      assert.deepEqual(censusOf(reader), censusOf(store));
      // One that was read keeps what it has; one that was not cannot have it any more.
      assert.deepEqual([first.payload, first.isErased], [{ i: 0 }, true]);
      assert.deepEqual([untouched.payload, untouched.clock], [undefined, 3]);
      for (let i = 21; i < 40; i++) {
        store.append(USER, KIND, { i });
        assert.equal(reader.refresh(), 1);
      }
      assert.deepEqual(censusOf(reader), censusOf(store));
    });

    test(`a reader over a prune: what is gone says so, the rest stays: ${how}`, () => {
      const fs = new MemoryFs();
      const store = filled(fs, { ...SMALL, coldStart });
      const reader = openReader(fs, { fdBudget, coldStart });
      const events = reader.query({ kind: KIND });
      const walk = reader.events({ kind: KIND });
      walk.next();
      const { firstSequence } = store.prune({ below: 10 });
      assert.ok(firstSequence > 5);
      const numbers: number[] = [];
      let pruned = 0;
      for (const event of events) {
        try {
          numbers.push((event.payload as { i: number }).i);
          assert.equal(event.entity, USER.entity);
        } catch (error) {
          assert.ok(error instanceof EventPrunedError, `${error}`);
          assert.ok(error.globalSequence < firstSequence);
          pruned++;
        }
      }
      assert.ok(pruned > 3);
      assert.deepEqual(numbers, ALL.slice(pruned));
      // A walk that began before goes on with the events it began with.
      const rest = [...walk].filter(({ globalSequence }) => globalSequence >= firstSequence);
      assert.deepEqual(rest.map(({ payload }) => (payload as { i: number }).i), ALL.slice(pruned));
      assert.equal(reader.refresh(), 0);
      assert.deepEqual(censusOf(reader), censusOf(store));
      store.append(USER, KIND, { i: 20 });
      assert.equal(reader.refresh(), 1);
      assert.equal(numbersIn(reader).at(-1), 20);
    });
  }
}

test("a reader whose only segment was rolled and merged meanwhile follows", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, SMALL);
  const reader = openReader(fs);
  assert.equal(reader.stats().segmentCount, 1);
  for (let i = 0; i < 20; i++) store.append(USER, KIND, { i });
  store.compact({ seal: true });
  assert.equal(reader.refresh(), 20);
  assert.deepEqual(numbersIn(reader), ALL);
  // Now the last segment it knows is empty, is written to, and becomes part of a merged one.
  for (let i = 20; i < 24; i++) store.append(USER, KIND, { i });
  store.compact({ seal: true });
  assert.equal(reader.refresh(), 4);
  assert.deepEqual(censusOf(reader), censusOf(store));
});

// What went wrong: refresh() went by the sizes of files, and an event that is retired after it was erased
// leaves a file of the same size. Now it looks at headers.
test("refresh() notices a segment that was replaced by one of the same size", () => {
  const fs = new MemoryFs();
  const store = filled(fs);
  const all = { keep: () => false };
  store.compact({ strategy: { type: "tombstone", ...all }, seal: true });
  const reader = openReader(fs);
  const size = fs.stat(`${DIR}/000001.fbat`)?.size;
  assert.equal(reader.query({ kind: KIND }).length, 20);
  store.compact({ strategy: { type: "retention", ...all }, minSegments: 1 });
  assert.equal(fs.stat(`${DIR}/000001.fbat`)?.size, size);
  assert.equal(reader.refresh(), 0);
  assert.equal(reader.query({ kind: KIND }).length, 0);
});

// What went wrong: a reader whose newest segment had no event yet took a merged one of the same id for
// it, and missed the segments that it stands for. Now it compares the whole header.
test("a segment that was empty when the reader saw it may come back merged", () => {
  for (const first of [0, 6]) {
    const fs = new MemoryFs();
    const store = openStore(fs, SMALL);
    for (let i = 0; i < first; i++) store.append(USER, KIND, { i });
    if (first === 0) store.prune({ below: 10, seal: true });
    else store.compact({ seal: true });
    const reader = openReader(fs);
    for (let i = 0; i < 9; i++) store.append(USER, KIND, { i });
    store.compact({ mergedSegmentMaxBytes: 4000 });
    assert.equal(reader.refresh(), 9, `${first} events before`);
    assert.deepEqual(censusOf(reader), censusOf(store));
  }
});

test("damage stays damage: a reader that begins anew does not hide it", () => {
  const fs = new MemoryFs();
  filled(fs);
  const reader = openReader(fs);
  const path = `${DIR}/000002.fbat`;
  const bytes = readFile(fs, path);
  writeFile(fs, path, flipBit(bytes, bytes.byteLength - 1));
  assert.throws(() => reader.query().map(({ payload }) => payload), CorruptionError);
  fs.remove(path);
  assert.throws(() => reader.refresh(), CorruptionError);
});

/** A writer that compacts in front of every look that a reader takes at a certain file. */
class MeddledFs extends WrappedFs {
  meddle: () => void = () => {};
  #busy = false;

  override open(path: string, mode: "read" | "write" | "createNew") {
    this.#now();
    return super.open(path, mode);
  }
  override list(path: string) {
    this.#now();
    return super.list(path);
  }

  #now(): void {
    if (this.#busy) return;
    this.#busy = true;
    try {
      this.meddle();
    } finally {
      this.#busy = false;
    }
  }
}

test("a reader forgets an event that its writer has taken back", () => {
  // It kept the event, and when the next one had another size it never saw anything again.
  for (const next of [{ i: 5 }, { i: 5, and: "more" }]) {
    const memory = new MemoryFs();
    const fs = new RegrettingFs(memory);
    const store = openStore(fs);
    for (let i = 0; i < 3; i++) store.append(USER, KIND, { i });
    const reader = openReader(memory);
    let seen = 0;
    fs.look = () => seen += reader.refresh();
    fs.regret = true;
    assert.throws(() => store.append(USER, KIND, { i: 9 }), StoreIoError);
    fs.regret = false;
    assert.equal(seen, 1, "all of it was there");
    store.append(USER, KIND, next);
    store.append(USER, KIND, "last");
    reader.refresh();
    assert.deepEqual(censusOf(reader), censusOf(store));
  }
});

/** Two small segments, and a newest one without an event, which is where readers begin here. */
function withEmptyNewest(fs: StoreFs): Store {
  const store = openStore(fs);
  for (let i = 0; i < 10; i++) store.append(USER, KIND, { i });
  seal(store);
  return store;
}

function seal(store: Store): void {
  store.compact({ minSegments: 99, seal: true });
}

for (const when of ["before", "during"]) {
  test(`a reader follows when its empty newest segment was merged ${when} a refresh`, () => {
    const fs = new MemoryFs();
    const store = withEmptyNewest(fs);
    const meddled = new MeddledFs(fs);
    const reader = openReader(meddled);
    const merge = () => {
      meddled.meddle = () => {};
      for (const i of [10, 11]) {
        store.append(USER, KIND, { i });
        seal(store);
      }
      const { merges } = store.compact({ mergedSegmentMaxBytes: 2_000 }).body;
      assert.deepEqual(merges.map(({ sourceSegmentIds }) => sourceSegmentIds), [[2, 3]]);
    };
    if (when === "before") merge();
    else meddled.meddle = merge;
    assert.equal(reader.refresh() + reader.refresh(), 2);
    assert.deepEqual(censusOf(reader), censusOf(store));
  });
}

test("a reader follows when its only segment, still empty, was pruned", () => {
  const fs = new MemoryFs();
  const store = withEmptyNewest(fs);
  store.prune({ below: store.stats().nextSequence });
  const reader = openReader(fs);
  assert.deepEqual(reader.query(), []);
  for (const i of [10, 11, 12]) {
    store.append(USER, KIND, { i });
    seal(store);
  }
  store.prune({ below: store.stats().nextSequence - 1 });
  assert.equal(reader.refresh(), 3);
  assert.deepEqual(numbersIn(reader), [12]);
});

test("an event whose segment is replaced again while it is looked for is found in the end", () => {
  for (let gap = 1; gap <= 16; gap++) {
    const fs = new MemoryFs();
    const store = filled(fs);
    const meddled = new MeddledFs(fs);
    const reader = openReader(meddled, { coldStart: FRAMES_ONLY });
    const event = reader.query({ kind: KIND })[9];
    let looks = 0;
    let erased = 0;
    meddled.meddle = () => {
      if (looks++ % gap !== 0 || erased === 3) return;
      erased++;
      const keep = ({ clock }: { clock: number }) => clock >= erased;
      store.compact({ strategy: { type: "tombstone", keep }, minSegments: 1 });
    };
    assert.deepEqual(event.payload, { i: 9 }, `every ${gap} looks`);
    assert.ok(erased > 0);
  }
});

test("an open whose saved index names a segment that goes meanwhile begins again", () => {
  for (let begin = 0; begin < 40; begin++) {
    const fs = new MemoryFs();
    filled(fs, { ...SMALL, coldStart: {} }).close();
    const store = openAnew(fs, { ...SMALL, coldStart: {} });
    const meddled = new MeddledFs(fs);
    let looks = 0;
    meddled.meddle = () => {
      if (looks++ !== begin) return;
      for (const i of [20, 21, 22]) store.append(USER, KIND, { i });
      assert.equal(store.compact().outcome, "performed");
    };
    const reader = openReader(meddled, { coldStart: {} });
    meddled.meddle = () => {};
    reader.refresh();
    assert.deepEqual(censusOf(reader), censusOf(store), `at look ${begin}`);
    reader.close();
  }
});

test("a part of a batch that is cut off again while a reader looks at it is no event", () => {
  for (let look = 0; look < 8; look++) {
    const fs = new MemoryFs();
    openStore(fs).close();
    const meddled = new MeddledFs(fs);
    const reader = openReader(meddled);
    const other = fs.snapshot();
    const items = [0, 1, 2].map((i) => ({ ...USER, kind: KIND, payload: { i } }));
    const [first, second] = openAnew(other, {}).appendBatch(items);
    const path = `${DIR}/000001.fbat`;
    // The first event of three and some of the second, as a full disk leaves them.
    writeFile(fs, path, readFile(other, path).subarray(0, second.position.offset + 20));
    let looks = 0;
    meddled.meddle = () => {
      if (looks++ !== look) return;
      const file = fs.open(path, "write");
      file.resize(first.position.offset);
      file.close();
    };
    assert.equal(reader.refresh(), 1, `cut at look ${look}`);
    assert.equal(reader.refresh(), 0);
  }
});

test("an open beside a writer that compacts at any moment shows a whole journal", () => {
  // One step of the writer before each look of the reader, beginning at each look in turn.
  for (let begin = 0; begin < 24; begin++) {
    const fs = new MemoryFs();
    const store = filled(fs);
    const census = censusOf(store);
    const meddled = new MeddledFs(fs);
    let looks = 0;
    let round = 0;
    let compaction = store.compaction({ stepMaxBytes: 4096 });
    meddled.meddle = () => {
      if (looks++ < begin || round > 3) return;
      if (compaction.step()) return;
      round++;
      for (let i = 0; i < 8; i++) store.append(USER, KIND, { i });
      compaction = store.compaction({ stepMaxBytes: 4096 });
    };
    const reader = openReader(meddled);
    assert.deepEqual(censusOf(reader).slice(0, census.length), census, `from look ${begin}`);
    meddled.meddle = () => {};
    reader.refresh();
    assert.deepEqual(censusOf(reader), censusOf(store));
    reader.close();
  }
});

test("verification beside a writer that compacts finds no damage that is none", () => {
  for (let begin = 0; begin < 40; begin += 3) {
    const fs = new MemoryFs();
    const store = filled(fs);
    const meddled = new MeddledFs(fs);
    let looks = 0;
    meddled.meddle = () => {
      if (looks++ === begin) store.compact();
    };
    const { findings } = verifyJournal(DIR, { fs: meddled });
    assert.deepEqual(findings, [], `from look ${begin}`);
  }
});

test("a journal that never stands still is given up with an error that says so", () => {
  const fs = new MemoryFs();
  const store = filled(fs);
  const meddled = new MeddledFs(fs);
  let isOn = true;
  meddled.meddle = () => {
    if (!isOn) return;
    store.append(USER, KIND, "more");
    store.compact({ minSegments: 1, seal: true });
  };
  assert.throws(
    () => openReader(meddled),
    (error) => error instanceof JournalChangingError || error instanceof StoreIoError,
  );
  isOn = false;
  openReader(meddled).close();
});

test("on real files: a reader with few open files reads on while segments are replaced", () =>
  inTempDir((dir) => {
    const store = Store.open(dir, { fs: runtime.fs, segmentMaxBytes: 4_000 });
    for (let i = 0; i < 200; i++) store.append(USER, KIND, { i });
    using reader = Store.openReadOnly(dir, { fdBudget: 2 });
    const walk = reader.events({ kind: KIND });
    const seen: number[] = [];
    const compaction = store.compaction({ stepMaxBytes: 4096, mergedSegmentMaxBytes: 16_000 });
    for (const event of walk) {
      seen.push((event.payload as { i: number }).i);
      if (seen.length % 3 === 0) compaction.step();
    }
    assert.deepEqual(seen, Array.from({ length: 200 }, (_, i) => i));
    assert.equal(compaction.finish().outcome, "performed");
    assert.equal(reader.refresh(), 0);
    store.close();
    assert.deepEqual(openAnewCount(dir), 200);
  }));

function openAnewCount(dir: string): number {
  using reader = Store.openReadOnly(dir);
  return reader.query({ kind: KIND }).length;
}

test("a writer that closes and opens again finds what readers saw", () => {
  const fs = new MemoryFs();
  const store = filled(fs);
  store.compact(ERASE_FIRST);
  const reader = openReader(fs);
  const census = censusOf(reader);
  store.close();
  const again = openAnew(fs, SMALL);
  assert.deepEqual(censusOf(again).slice(0, census.length), census);
  assert.equal(reader.refresh(), 2);
});
