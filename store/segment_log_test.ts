import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { OpenMode, StoreFile, StoreFs } from "../platform/fs.ts";
import { clockFrom } from "../platform/system_clock.ts";
import { MemoryFs } from "../platform/memory.ts";
import { DIR, killedJournal, KIND, openStore, payloadsOf, USER } from "../tests/support/journal.ts";
import {
  bodyOf,
  flipBit,
  framesOf,
  fsOf,
  readFile,
  readTree,
  type Tree,
  trimmed,
  writeFile,
} from "../tests/support/journal_bytes.ts";
import { SeededEntropy } from "../tests/support/seeded_entropy.ts";
import { ShortReadFs, WrappedFs } from "../tests/support/wrapped_fs.ts";
import { CorruptionError, StoreClosedError, StoreIoError } from "./errors.ts";
import { EventIndex } from "./index/event_index.ts";
import { FRAME_HEADER_SIZE } from "./frame.ts";
import { JournalLoader } from "./recovery.ts";
import { segmentIdOf, SegmentLog, segmentName } from "./segment_log.ts";

/** Thirty segments with three events each, killed. */
const MANY = killedJournal((store) => {
  for (let i = 0; i < 90; i++) store.append(USER, KIND, `event ${i}`.padEnd(60 + (i * 7) % 90));
}, { segmentMaxBytes: 900 });
/** One segment whose events have all sizes up to twice the window. */
const LARGE = killedJournal((store) => {
  const entropy = new SeededEntropy(2);
  const sizes = [10, 300_000, 20, 600_000, 262_144, 261_900];
  for (let i = 0; i < 200; i++) sizes.push(entropy.below(12_000));
  for (const size of sizes) {
    store.append(USER, KIND, entropy.bytes(size), { payloadEncoding: "opaque" });
  }
});

/** The bodies of a journal, as its bytes say. */
function bodiesOf(tree: Tree): Uint8Array[] {
  const names = [...tree.keys()].filter((name) => segmentIdOf(name) !== undefined).sort();
  return names.flatMap((name) => {
    const segment = tree.get(name) ?? new Uint8Array(0);
    return framesOf(segment).map(({ offset }) => bodyOf(segment, offset).slice());
  });
}

function logOf(fs: StoreFs, fdBudget = 64): SegmentLog {
  const index = new EventIndex();
  const log = new SegmentLog(fs, index, { fdBudget, firstSequence: () => 0 });
  const clock = clockFrom(() => 0);
  new JournalLoader({ fs, dir: DIR, index, log, storeId: undefined, footers: false, clock }).load();
  return log;
}

/** Counts files that are open at a time, and opens. */
class CountingFs extends WrappedFs {
  now = 0;
  most = 0;
  opens = 0;

  override open(path: string, mode: OpenMode): StoreFile {
    const file = super.open(path, mode);
    this.opens++;
    this.most = Math.max(this.most, ++this.now);
    const close = file.close.bind(file);
    let closed = false;
    file.close = () => {
      if (!closed) this.now--;
      closed = true;
      close();
    };
    return file;
  }
}

test("segmentName() and segmentIdOf() are inverse, and nothing else is a segment", () => {
  assert.equal(segmentName(1), "000001.fbat");
  assert.equal(segmentName(999_999), "999999.fbat");
  assert.equal(segmentName(1_000_000), "1000000.fbat");
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10 ** 15 - 1 }), (id) => {
      assert.equal(segmentIdOf(segmentName(id)), id);
    }),
  );
  for (
    const name of [
      "000000.fbat",
      "0000001.fbat",
      "1.fbat",
      "00001.fbat",
      "000001.fbat.tmp",
      "000001.FBAT",
      " 000001.fbat",
      "000001.fbat\n",
      "-00001.fbat",
      "1e5000.fbat",
      "1000000000000000.fbat",
      ".fbat",
      "",
    ]
  ) assert.equal(segmentIdOf(name), undefined, JSON.stringify(name));
});

test("readBody() gives the bytes of every row, in any order and with any budget", () => {
  const bodies = bodiesOf(MANY);
  const entropy = new SeededEntropy(4);
  const forwards = bodies.map((_, row) => row);
  const orders = {
    forwards,
    backwards: forwards.toReversed(),
    random: Array.from({ length: 300 }, () => entropy.below(bodies.length)),
    "to and fro": forwards.flatMap((row) => [row, bodies.length - 1 - row]),
    "the same": new Array(20).fill(17),
  };
  for (const fdBudget of [1, 2, 3, 64]) {
    for (const [name, rows] of Object.entries(orders)) {
      const log = logOf(fsOf(MANY), fdBudget);
      for (const row of rows) {
        assert.deepEqual(log.readBody(row), bodies[row], `${name}, row ${row}, ${fdBudget} files`);
      }
    }
  }
});

test("windows give what single reads give, for frames smaller and larger than a window", () => {
  const bodies = bodiesOf(LARGE);
  const fs = fsOf(LARGE);
  const log = logOf(fs);
  const single = logOf(fs);
  const step = fc.oneof(
    fc.constantFrom(1, 1, 1, -1, -1, 0, 2, -2),
    fc.integer({ min: -99, max: 99 }),
  );
  fc.assert(
    fc.property(fc.nat(bodies.length - 1), fc.array(step, { maxLength: 60 }), (start, steps) => {
      let row = start;
      for (const by of [0, ...steps]) {
        row = Math.max(0, Math.min(bodies.length - 1, row + by));
        const body = log.readBody(row);
        assert.deepEqual(body, bodies[row]);
        single.forget();
        assert.deepEqual(single.readBody(row), body);
      }
    }),
    { numRuns: 60 },
  );
});

test("short reads are read on", () => {
  const bodies = bodiesOf(LARGE);
  const entropy = new SeededEntropy(8);
  const log = logOf(new ShortReadFs(fsOf(LARGE), () => 1 + entropy.below(60_000)));
  for (let row = 0; row < bodies.length; row++) assert.deepEqual(log.readBody(row), bodies[row]);
  for (let row = bodies.length - 1; row >= 0; row--) {
    assert.deepEqual(log.readBody(row), bodies[row]);
  }
});

test("fdBudget bounds the files that are open, and close() closes them all", () => {
  const bodies = bodiesOf(MANY);
  for (const fdBudget of [1, 2, 5]) {
    const fs = new CountingFs(fsOf(MANY));
    const log = logOf(fs, fdBudget);
    assert.equal(fs.now, 0, "loading leaves no file open");
    fs.most = 0;
    for (let row = 0; row < bodies.length; row++) log.readBody((row * 31) % bodies.length);
    assert.equal(fs.now, fdBudget);
    assert.ok(fs.most <= fdBudget, `${fs.most} files at a time with a budget of ${fdBudget}`);
    log.close();
    assert.equal(fs.now, 0);
    assert.throws(() => log.readBody(0), StoreClosedError);
  }
});

test("the files that are kept open are the ones used last", () => {
  const fs = new CountingFs(fsOf(MANY));
  const log = logOf(fs, 2);
  const rows = log.segments.map(({ firstRow }) => firstRow);
  log.readBody(rows[0]);
  log.readBody(rows[5]);
  fs.opens = 0;
  log.readBody(rows[0]);
  log.readBody(rows[9]);
  log.readBody(rows[0]);
  assert.equal(fs.opens, 1, "the first segment stayed open");
  log.readBody(rows[5]);
  assert.equal(fs.opens, 2);
});

test("a walk over neighbours reads the file in windows, a single get only its frame", () => {
  let reads = 0;
  let bytes = 0;
  const fs = new (class extends WrappedFs {
    protected override beforeRead(_path: string, size: number): number {
      reads++;
      bytes += size;
      return size;
    }
  })(fsOf(LARGE));
  const log = logOf(fs);
  const count = bodiesOf(LARGE).length;
  reads = bytes = 0;
  const { byteLength } = log.readBody(100);
  assert.deepEqual([reads, bytes], [1, byteLength + FRAME_HEADER_SIZE]);
  for (const step of [1, -1]) {
    log.forget();
    reads = 0;
    for (let i = 8; i < count; i++) log.readBody(step > 0 ? i : count + 7 - i);
    assert.ok(reads < 20, `${reads} reads for ${count} events`);
  }
});

test("segmentIndexOf() finds the segment of every row, empty segments aside", () => {
  const log = logOf(fsOf(MANY));
  const { segments } = log;
  const count = bodiesOf(MANY).length;
  const check = (row: number) => {
    const position = log.segmentIndexOf(row);
    assert.ok(segments[position].firstRow <= row);
    if (position + 1 < segments.length) assert.ok(row < segments[position + 1].firstRow);
  };
  for (let row = 0; row < count; row++) check(row);
  for (let row = count - 1; row >= 0; row--) check(row);
  const entropy = new SeededEntropy(1);
  for (let i = 0; i < 500; i++) check(entropy.below(count));
});

test("what a caller does to the bytes it got reaches nobody else", () => {
  for (const tree of [MANY, LARGE]) {
    const bodies = bodiesOf(tree);
    const log = logOf(fsOf(tree));
    for (let round = 0; round < 2; round++) {
      for (let row = 0; row < bodies.length; row++) {
        const body = log.readBody(row);
        assert.deepEqual(body, bodies[row]);
        body.fill(0xff);
      }
      for (let row = bodies.length - 1; row >= 0; row--) {
        const first = log.readBody(row);
        first.fill(0xff);
        assert.deepEqual(log.readBody(row), bodies[row]);
      }
    }
  }
});

test("the bytes of earlier reads stay what they are while others are read", () => {
  const bodies = bodiesOf(LARGE);
  const log = logOf(fsOf(LARGE));
  const kept = bodies.map((_, row) => log.readBody(row));
  for (let row = bodies.length - 1; row >= 0; row--) log.readBody(row);
  assert.deepEqual(kept, bodies);
});

test("events of a live writer are read from its buffer, sealed or not, and never change", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { segmentMaxBytes: 2_500_000 });
  const entropy = new SeededEntropy(6);
  const expected: Uint8Array[] = [];
  for (let i = 0; i < 60; i++) {
    const bytes = entropy.bytes(entropy.below(250_000));
    expected.push(bytes);
    store.append(USER, KIND, bytes, { payloadEncoding: "opaque" });
    const look = [i, entropy.below(i + 1), 0];
    for (const n of look) {
      const payload = store.at(n + 1)?.payload as Uint8Array;
      assert.deepEqual(payload, expected[n], `event ${n} after ${i}`);
      payload.fill(0);
    }
  }
  assert.ok(store.stats().segmentCount >= 3);
  assert.deepEqual(payloadsOf(store), expected);
});

test("a flipped byte under a live store is never read as data", () => {
  const tree = new Map(MANY);
  const bodies = bodiesOf(tree);
  const name = segmentName(3);
  const segment = trimmed(tree.get(name)!);
  const frames = framesOf(segment);
  const fs = fsOf(tree);
  for (const { offset, end, sequence } of frames) {
    for (let at = offset; at < end; at += 3) {
      const log = logOf(fs);
      writeFile(fs, `${DIR}/${name}`, flipBit(segment, at, at % 8));
      assert.throws(() => log.readBody(sequence), {
        name: "CorruptionError",
        code: "CORRUPTION",
        segmentId: 3,
        offset,
        path: `${DIR}/${name}`,
      });
      for (const other of frames) {
        if (other.sequence === sequence) continue;
        assert.deepEqual(log.readBody(other.sequence), bodies[other.sequence]);
      }
      writeFile(fs, `${DIR}/${name}`, segment);
    }
  }
});

test("a flipped byte is found again when the window that holds it is read", () => {
  const name = segmentName(1);
  const segment = trimmed(LARGE.get(name)!);
  const bodies = bodiesOf(LARGE);
  const frames = framesOf(segment);
  const damaged = 100;
  const fs = fsOf(LARGE);
  const log = logOf(fs);
  writeFile(fs, `${DIR}/${name}`, flipBit(segment, frames[damaged].offset + 250, 3));
  for (const step of [1, -1]) {
    for (let i = 0; i < 2; i++) {
      for (let row = damaged - 5 * step; row !== damaged + 5 * step; row += step) {
        if (row === damaged) {
          assert.throws(() => log.readBody(row), CorruptionError);
        } else {
          assert.deepEqual(log.readBody(row), bodies[row]);
        }
      }
    }
  }
});

test("another event in the place of one is corruption, though its checksum is right", () => {
  const same = killedJournal((store) => {
    for (let i = 0; i < 4; i++) store.append(USER, KIND, i);
  });
  const segment = trimmed(same.get(segmentName(1))!);
  const frames = framesOf(segment);
  const fs = fsOf(same);
  const log = logOf(fs);
  const swapped = segment.slice();
  swapped.set(segment.subarray(frames[2].offset, frames[2].end), frames[3].offset);
  writeFile(fs, `${DIR}/${segmentName(1)}`, swapped);
  assert.throws(() => log.readBody(3), {
    name: "CorruptionError",
    offset: frames[3].offset,
    reason: "the frame is of another event",
  });
});

test("a file that became shorter or went away is a typed error, and only where it matters", () => {
  const name = segmentName(1);
  const segment = trimmed(LARGE.get(name)!);
  const frames = framesOf(segment);
  const bodies = bodiesOf(LARGE);
  const fs = fsOf(LARGE);
  const log = logOf(fs);
  const cut = 150;
  fs.open(`${DIR}/${name}`, "write").resize(frames[cut].end - 3);
  // In order, so that windows reach past the end of the file.
  for (let row = 140; row < cut; row++) assert.deepEqual(log.readBody(row), bodies[row]);
  for (const row of [cut, cut + 1]) {
    assert.throws(() => log.readBody(row), {
      name: "CorruptionError",
      segmentId: 1,
      reason: /unexpected EOF/,
    });
  }
  assert.deepEqual(log.readBody(3), bodies[3]);

  fs.remove(`${DIR}/${name}`);
  const later = logOf(fsOf(LARGE));
  assert.ok(later.readBody(1).byteLength > 0);
  const gone = fsOf(LARGE);
  const blind = logOf(gone);
  gone.remove(`${DIR}/${name}`);
  assert.throws(() => blind.readBody(1), (error) => {
    assert.ok(error instanceof StoreIoError);
    return error.fault.code === "ENOENT";
  });
});

test("a read that fails is thrown as such, and the next one succeeds", () => {
  const fs = fsOf(MANY);
  const log = logOf(fs);
  const bodies = bodiesOf(MANY);
  for (const op of ["open", "readAt"] as const) {
    fs.failNext({ op, code: "EIO" });
    assert.throws(() => log.readBody(op === "open" ? 9 : 30), { name: "StoreIoError", code: "IO" });
    assert.deepEqual(log.readBody(op === "open" ? 9 : 30), bodies[op === "open" ? 9 : 30]);
  }
  let fired = fs.faultsFired;
  fs.failNext({ op: "readAt", code: "EIO" });
  for (let row = 0; row < bodies.length; row++) {
    try {
      assert.deepEqual(log.readBody(row), bodies[row]);
    } catch (error) {
      // Most rows are served from a window, and meet no fault.
      assert.ok(error instanceof StoreIoError, `${error}`);
      assert.equal(fs.faultsFired, ++fired);
      assert.deepEqual(log.readBody(row), bodies[row]);
      fs.failNext({ op: "readAt", code: "EIO" });
    }
  }
  assert.ok(fired > 10);
});

test("reads through a store are right with an fdBudget of 1 while segments roll", () => {
  const fs = new CountingFs(new MemoryFs());
  const store = openStore(fs, { fdBudget: 1, segmentMaxBytes: 700 });
  const payloads: string[] = [];
  for (let i = 0; i < 60; i++) {
    payloads.push(`event ${i}`);
    store.append(USER, KIND, payloads[i]);
    assert.equal(store.at(1 + (i * 13) % (i + 1))?.payload, payloads[(i * 13) % (i + 1)]);
  }
  assert.deepEqual(payloadsOf(store), payloads);
  store.close();
  assert.equal(fs.now, 0, "nothing stays open");
  assert.equal(
    readTree(fs, DIR).size,
    2 + [...readTree(fs, DIR).keys()].filter(segmentIdOf).length,
  );
  assert.ok(readFile(fs, `${DIR}/store.meta`).byteLength > 0);
});
