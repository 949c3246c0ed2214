import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { crc32 } from "../platform/checksum.ts";
import type { StoreFile, StoreFs } from "../platform/fs.ts";
import { MemoryFs } from "../platform/memory.ts";
import { concat, flipBit, writeFile } from "../tests/support/journal_bytes.ts";
import { SeededEntropy } from "../tests/support/seeded_entropy.ts";
import { ShortReadFs, WrappedFs } from "../tests/support/wrapped_fs.ts";
import { writeU32 } from "./bytes.ts";
import {
  encodeFrame,
  FRAME_HEADER_SIZE,
  FrameDraft,
  frameSizeBound,
  sealFrame,
  sequenceOf,
} from "./frame.ts";
import { findFrameAfter, FrameScanner, type ScanResult } from "./frame_scanner.ts";

const WINDOW_SIZE = 1 << 20;
/** Bytes of a frame with an empty payload. */
const FRAME_SIZE_LEAST = 198;

/** A frame of exactly `size` bytes. */
function frameOf(sequence: number, size = 250, fill = 0x61): Uint8Array {
  const draft = new FrameDraft();
  draft.globalSequence = sequence;
  draft.entity = draft.scope = "x";
  draft.payload = new Uint8Array(size - FRAME_SIZE_LEAST).fill(fill);
  const target = new Uint8Array(frameSizeBound(draft));
  const end = sealFrame(target, 0, encodeFrame(draft, target, 0), draft.payload);
  assert.equal(end, size);
  return target.slice(0, end);
}

/** A frame around bytes of somebody's own. */
function frameAround(sequence: number, payload: Uint8Array): Uint8Array {
  const draft = new FrameDraft();
  draft.globalSequence = sequence;
  draft.entity = draft.scope = "x";
  draft.payload = payload;
  const target = new Uint8Array(frameSizeBound(draft));
  return target.slice(0, sealFrame(target, 0, encodeFrame(draft, target, 0), payload));
}

function fileOf(bytes: Uint8Array, wrap: (fs: StoreFs) => StoreFs = (fs) => fs): StoreFile {
  const fs = new MemoryFs();
  writeFile(fs, "/log", bytes);
  return wrap(fs).open("/log", "read");
}

/** Everything a scanner finds: the sequence and offset of each frame, and how it ended. */
function scan(
  file: StoreFile,
  start: number,
  end: number,
): { frames: [sequence: number, offset: number][]; result: ScanResult; offset: number } {
  const scanner = new FrameScanner(file, start, end);
  const frames: [number, number][] = [];
  for (;;) {
    const result = scanner.next();
    if (result !== "frame") return { frames, result, offset: scanner.offset };
    frames.push([sequenceOf(scanner.bytes, scanner.body), scanner.offset]);
    const copy = scanner.copyBody();
    assert.equal(copy.byteLength, scanner.bodySize);
    assert.equal(sequenceOf(copy, 0), frames[frames.length - 1][0]);
    assert.equal(scanner.nextOffset, scanner.offset + FRAME_HEADER_SIZE + scanner.bodySize);
  }
}

/** Frames of these sizes one behind the other, and what a scan of them has to find. */
function run(sizes: readonly number[]): { bytes: Uint8Array; frames: [number, number][] } {
  const parts = sizes.map((size, i) => frameOf(i, size));
  let offset = 0;
  const frames = parts.map((part, i): [number, number] => {
    const at = offset;
    offset += part.byteLength;
    return [i, at];
  });
  return { bytes: concat(...parts), frames };
}

test("next() gives frame after frame, then the end", () => {
  const { bytes, frames } = run([250, 300, 198, 400]);
  const size = bytes.byteLength;
  assert.deepEqual(scan(fileOf(bytes), 0, size), { frames, result: "end", offset: size });
  const empty = { frames: [], result: "end", offset: 0 };
  assert.deepEqual(scan(fileOf(bytes), 0, 0), empty);
  const behind = { frames: [], result: "end", offset: size + 5 };
  assert.deepEqual(scan(fileOf(bytes), size + 5, size), behind);
});

test("next() keeps to its range, though the file goes on", () => {
  const { bytes, frames } = run([250, 300, 198, 400]);
  const file = fileOf(bytes);
  assert.deepEqual(scan(file, 250, 748), {
    frames: frames.slice(1, 3),
    result: "end",
    offset: 748,
  });
  for (const end of [251, 258, 549]) {
    assert.deepEqual(scan(file, 250, end).result, end === 251 ? "zeros" : "cut", `up to ${end}`);
  }
});

test("frames lie anywhere across the windows", () => {
  for (const first of [-9, -8, -7, -4, -1, 0, 1, 8, 250]) {
    const { bytes, frames } = run([WINDOW_SIZE + first, 250, 300, WINDOW_SIZE - 300, 250, 198]);
    const size = bytes.byteLength;
    assert.deepEqual(scan(fileOf(bytes), 0, size), { frames, result: "end", offset: size });
  }
  const small = run(Array.from({ length: 5000 }, (_, i) => 198 + (i * 37) % 1500));
  const size = small.bytes.byteLength;
  assert.deepEqual(scan(fileOf(small.bytes), 0, size), {
    frames: small.frames,
    result: "end",
    offset: size,
  });
});

test("a frame larger than a window is read whole, and small ones behind it", () => {
  const { bytes, frames } = run([198, 3 * WINDOW_SIZE + 5, 250, 5 * WINDOW_SIZE, 198]);
  const size = bytes.byteLength;
  assert.deepEqual(scan(fileOf(bytes), 0, size), { frames, result: "end", offset: size });
  assert.deepEqual(scan(fileOf(bytes.slice(0, size - 199)), 0, size - 199), {
    frames: frames.slice(0, 3),
    result: "cut",
    offset: frames[3][1],
  });
});

test("short reads that are not the end of the file are read on", () => {
  const { bytes, frames } = run([250, WINDOW_SIZE + 100, 198, 300]);
  const size = bytes.byteLength;
  const expected = { frames, result: "end", offset: size };
  const entropy = new SeededEntropy(3);
  for (const next of [() => 1000, () => 1 + entropy.below(5000), () => WINDOW_SIZE - 1]) {
    assert.deepEqual(scan(fileOf(bytes, (fs) => new ShortReadFs(fs, next)), 0, size), expected);
  }
  const few = run([198, 250, 300]);
  const file = fileOf(few.bytes, (fs) => new ShortReadFs(fs, () => 1));
  assert.deepEqual(scan(file, 0, few.bytes.byteLength).frames, few.frames);
});

test("a frame cut at any byte is cut, or zeros as long as nothing else is there", () => {
  const { bytes, frames } = run([250, 300]);
  for (let size = 250; size < bytes.byteLength; size++) {
    const expected = size === 250 ? "end" : size <= 252 ? "zeros" : "cut";
    assert.deepEqual(scan(fileOf(bytes.slice(0, size)), 0, size), {
      frames: frames.slice(0, 1),
      result: expected,
      offset: 250,
    }, `${size} bytes`);
  }
});

test("a file that ends before its range is cut there, not a bug of ours", () => {
  // A writer may cut the file after a reader has asked for its size.
  const { bytes, frames } = run([250, 300]);
  for (let size = 250; size < bytes.byteLength; size += 7) {
    const { frames: found, result, offset } = scan(fileOf(bytes.slice(0, size)), 0, 100_000);
    assert.deepEqual([found, offset], [frames.slice(0, 1), 250], `${size} bytes`);
    assert.ok(result === "cut" || result === "zeros" || result === "end", result);
  }
  assert.equal(scan(fileOf(bytes), 0, 100_000).frames.length, 2);
});

test("zeros are zeros at any length and any distance from the window's end", () => {
  for (const zeros of [1, 7, 8, 9, 5000, WINDOW_SIZE * 2]) {
    const { bytes, frames } = run([250, 300]);
    const file = fileOf(concat(bytes, new Uint8Array(zeros)));
    assert.deepEqual(scan(file, 0, 550 + zeros), { frames, result: "zeros", offset: 550 });
  }
});

test("damage is reported with its reason, and the scanner stays where it is", () => {
  const { bytes } = run([250, 300, 198]);
  const cases: [string, Uint8Array][] = [
    ["the frame's checksum does not match", flipBit(bytes, 250 + 100)],
    ["the frame's checksum does not match", flipBit(bytes, 250 + 5)],
    ["the frame claims 3000000000 bytes", withSize(bytes, 250, 3_000_000_000)],
    ["the frame claims 4294967295 bytes", withSize(bytes, 250, 0xffff_ffff)],
    ["the frame claims 185 bytes", withSize(bytes, 250, 185)],
    ["the frame claims 0 bytes", withSize(bytes, 250, 0)],
    ["the element at body offset 75 has another type", withMarker(bytes, 250, 75, 0xcf)],
  ];
  for (const [reason, damaged] of cases) {
    const scanner = new FrameScanner(fileOf(damaged), 0, damaged.byteLength);
    assert.equal(scanner.next(), "frame");
    for (let i = 0; i < 2; i++) {
      assert.equal(scanner.next(), "damaged");
      assert.equal(scanner.reason, reason);
      assert.equal(scanner.offset, 250);
      assert.equal(scanner.nextOffset, 250);
    }
  }
});

test("a damaged size never makes the scanner allocate more than the range", () => {
  const { bytes } = run([250, 300]);
  const damaged = withSize(bytes, 250, 200 * WINDOW_SIZE);
  const scanner = new FrameScanner(fileOf(damaged), 0, damaged.byteLength);
  assert.equal(scanner.next(), "frame");
  assert.equal(scanner.next(), "cut");
  assert.ok(scanner.bytes.byteLength <= WINDOW_SIZE);
});

function withSize(bytes: Uint8Array, offset: number, size: number): Uint8Array {
  const copy = bytes.slice();
  writeU32(copy, offset, size);
  return copy;
}

function withMarker(bytes: Uint8Array, offset: number, at: number, marker: number): Uint8Array {
  const copy = bytes.slice();
  copy[offset + FRAME_HEADER_SIZE + at] = marker;
  writeU32(copy, offset + 4, crc32(copy.subarray(offset + 8, offset + 300)));
  return copy;
}

test("whatever stands in a file, a scan ends in it, and finds what is whole", () => {
  const part = fc.oneof(
    fc.record({ size: fc.integer({ min: 198, max: 900 }) }),
    fc.uint8Array({ minLength: 1, maxLength: 60 }),
    fc.nat(40).map((size) => new Uint8Array(size)),
  );
  fc.assert(
    fc.property(
      fc.array(part, { maxLength: 8 }),
      fc.integer({ min: 1, max: 300 }),
      (parts, piece) => {
        let sequence = 0;
        let whole = 0;
        let broken = false;
        const bytes = concat(...parts.map((part) => {
          if (part instanceof Uint8Array) {
            broken ||= part.byteLength > 0;
            return part;
          }
          if (!broken) whole++;
          return frameOf(sequence++, part.size);
        }));
        const file = fileOf(bytes, (fs) => new ShortReadFs(fs, () => piece));
        const { frames, offset } = scan(file, 0, bytes.byteLength);
        assert.deepEqual(
          frames.map(([sequence]) => sequence),
          Array.from({ length: whole }, (_, i) => i),
        );
        assert.ok(offset <= bytes.byteLength);
      },
    ),
    { numRuns: 200 },
  );
});

// ---- findFrameAfter() ----

function find(bytes: Uint8Array, start = 0, end = bytes.byteLength): number {
  return findFrameAfter(fileOf(bytes), start, end);
}

test("findFrameAfter() finds the first sound frame at or behind the start", () => {
  const { bytes } = run([250, 300, 198]);
  assert.equal(find(bytes), 0);
  assert.equal(find(bytes, 1), 250);
  assert.equal(find(bytes, 250), 250);
  assert.equal(find(bytes, 251), 550);
  assert.equal(find(bytes, 551), -1);
  assert.equal(find(bytes, 5000), -1);
  assert.equal(find(bytes, 1, 549), -1, "a frame has to end in the range");
  assert.equal(find(bytes, 1, 550), 250);
  assert.equal(find(new Uint8Array(0)), -1);
});

test("findFrameAfter() finds a frame at every place, windows or not", () => {
  const frame = frameOf(5, 260);
  for (const gap of [0, 1, 7, 255, WINDOW_SIZE - 261]) {
    assert.equal(find(concat(new Uint8Array(gap).fill(0xdc), frame)), gap);
  }
  for (let gap = WINDOW_SIZE - 24; gap < WINDOW_SIZE + 4; gap++) {
    assert.equal(find(concat(new Uint8Array(gap), frame)), gap);
    assert.equal(find(concat(new Uint8Array(gap), frame, new Uint8Array(3000))), gap);
  }
  const large = frameOf(6, 2 * WINDOW_SIZE);
  assert.equal(find(concat(new Uint8Array(WINDOW_SIZE - 100), large, frame)), WINDOW_SIZE - 100);
});

test("findFrameAfter() is not taken in by what only looks like a frame", () => {
  const frame = frameOf(5, 260);
  const decoys = [
    frame.slice(0, 200), // cut
    flipBit(frame, 100), // checksum
    withSize(frame, 0, 0xffff_ffff),
    withSize(frame, 0, 12),
    Uint8Array.of(0, 0, 0, 200, 1, 2, 3, 4, 0xdc, 0, 20, 0xcf),
  ];
  for (const decoy of decoys) {
    assert.equal(find(decoy), -1);
    assert.equal(find(concat(decoy, frame)), decoy.byteLength);
    assert.equal(find(concat(decoy, decoy, new Uint8Array(9), frame)), 2 * decoy.byteLength + 9);
  }
  // The checksum agrees, and the body is no event.
  const wrong = frame.slice();
  wrong[FRAME_HEADER_SIZE + 75] = 0;
  writeU32(wrong, 4, crc32(wrong.subarray(FRAME_HEADER_SIZE)));
  assert.equal(find(concat(wrong, frame)), wrong.byteLength);
});

test("findFrameAfter() asks whether a frame counts, and goes on when it does not", () => {
  const inner = frameOf(7, 260);
  const bytes = concat(frameAround(3, concat(inner, inner)), frameOf(4), frameOf(5));
  const seen: number[] = [];
  const found = findFrameAfter(fileOf(bytes), 1, bytes.byteLength, (bytes, body) => {
    const sequence = sequenceOf(bytes, body);
    seen.push(sequence);
    return sequence === 5;
  });
  assert.deepEqual(seen, [7, 7, 4, 5]);
  assert.equal(found, bytes.byteLength - 250);
  assert.equal(findFrameAfter(fileOf(bytes), 1, bytes.byteLength, () => false), -1);
});

test("findFrameAfter() reads on after short reads", () => {
  const bytes = concat(new Uint8Array(3000).fill(0xdc), frameOf(5, 700));
  for (const piece of [1, 11, 12, 13, 1000]) {
    const file = fileOf(bytes, (fs) => new ShortReadFs(fs, () => piece));
    assert.equal(findFrameAfter(file, 0, bytes.byteLength), 3000);
  }
});

test("findFrameAfter() does a bounded amount of work on hostile input", () => {
  // A decoy every twelve bytes, each of which claims everything behind it.
  const size = 3 * WINDOW_SIZE;
  const bytes = new Uint8Array(size);
  for (let at = 0; at + 12 <= size; at += 12) {
    writeU32(bytes, at, size - at - 8);
    bytes.set([1, 2, 3, 4, 0xdc, 0, 20, 0xcf], at + 4);
  }
  let read = 0;
  const file = fileOf(bytes, (fs) =>
    new (class extends WrappedFs {
      protected override beforeRead(_path: string, size: number): number {
        read += size;
        return size;
      }
    })(fs));
  const found = findFrameAfter(file, 0, size, () => false);
  // Giving up counts as found: nobody may then call the damage harmless.
  assert.ok(found >= 0);
  assert.ok(read < 64 * WINDOW_SIZE + 8 * size, `${read} bytes were read of ${size}`);
});

test("findFrameAfter() never misses a frame and never makes one up", () => {
  const noise = fc.array(
    fc.oneof(
      fc.constantFrom([0xdc], [0xdc, 0, 20, 0xcf], [0, 0, 0, 250], [0, 0, 0, 190, 9, 9, 9, 9]),
      fc.nat(255).map((byte) => [byte]),
    ),
    { maxLength: 80 },
  ).map((parts) => Uint8Array.from(parts.flat()));
  fc.assert(
    fc.property(
      noise,
      fc.integer({ min: 198, max: 600 }),
      noise,
      fc.boolean(),
      (a, size, b, has) => {
        const bytes = concat(a, has ? frameOf(1, size) : new Uint8Array(0), b);
        assert.equal(find(bytes), has ? a.byteLength : -1);
      },
    ),
    { numRuns: 300 },
  );
});
