import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { crc32 } from "../platform/checksum.ts";
import { MemoryFs } from "../platform/memory.ts";
import { runtime } from "../platform/runtime.ts";
import {
  closedJournal,
  DIR,
  item,
  killedJournal,
  KIND,
  openStore,
  payloadsOf,
  USER,
} from "../tests/support/journal.ts";
import {
  bodyOf,
  concat,
  eventHashAt,
  fixChecksum,
  fixContentHash,
  flipBit,
  type FramePlace,
  framesOf,
  fsOf,
  readFile,
  readTree,
  setPrevHash,
  type Tree,
  trimmed,
  writeFile,
} from "../tests/support/journal_bytes.ts";
import { FixedClock } from "../tests/support/fixed_clock.ts";
import { SeededEntropy } from "../tests/support/seeded_entropy.ts";
import { inTempDir } from "../tests/support/temp_dir.ts";
import { RecordingFs } from "../tests/support/wrapped_fs.ts";
import { readU32, writeU32 } from "./bytes.ts";
import { StoreError } from "./errors.ts";
import { ENTITY_OFFSET, PREV_HASH_OFFSET } from "./frame.ts";
import { decodeSegmentHeader, encodeSegmentHeader } from "./segment_header.ts";
import { Store } from "./store.ts";
import { type Finding, verifyJournal, type VerifyReport } from "./verify.ts";

const FIRST = "000001.fbat";
const SECOND = "000002.fbat";
const THIRD = "000003.fbat";
const OTHER = { entity: "user:2", scope: "app" };

/** One segment: an open, three events, a batch of three across two entities, two more, a close. */
const TREE = closedJournal((store) => {
  for (let i = 0; i < 3; i++) store.append(USER, KIND, `event ${i}`);
  store.appendBatch([item("a"), item("b", OTHER), item("c")]);
  store.append(OTHER, KIND, "other");
  store.append(USER, KIND, "last one of user 1");
});
const SEGMENT = TREE.get(FIRST)!;
const FRAMES = framesOf(SEGMENT);

/** Several segments, closed. */
const ROLLED = closedJournal((store) => {
  for (let i = 0; i < 12; i++) store.append(i % 3 === 0 ? OTHER : USER, KIND, `event ${i}`);
}, { segmentMaxBytes: 900 });

function verify(tree: Tree): VerifyReport {
  return verifyJournal(DIR, { fs: fsOf(tree) });
}

function withSegment(bytes: Uint8Array, tree: Tree = TREE, name = FIRST): Map<string, Uint8Array> {
  return new Map(tree).set(name, bytes);
}

/** The journal after `change` has been at a copy of its first segment. */
function changed(change: (segment: Uint8Array, frames: readonly FramePlace[]) => void): Tree {
  const segment = SEGMENT.slice();
  change(segment, FRAMES);
  return withSegment(segment);
}

/** Findings without the words, which tests of their own look at. */
function placesOf(findings: readonly Finding[]): [type: string, file: string, offset: number][] {
  return findings.map(({ type, file, offset }) => [type, file, offset]);
}

function segmentNames(tree: Tree): string[] {
  return [...tree.keys()].filter((name) => /^\d{6}\.fbat$/.test(name)).sort();
}

// ---- Healthy journals ----

test("a healthy journal has no findings, and the report counts what there is", () => {
  const { storeId } = openStore(fsOf(TREE));
  assert.deepEqual(verify(TREE), {
    intact: true,
    storeId,
    segments: 1,
    events: 10,
    erased: 0,
    retired: 0,
    pruned: 0,
    chains: 3,
    bytes: SEGMENT.byteLength,
    findings: [],
    findingCount: 0,
  });
  const rolled = verify(ROLLED);
  assert.equal(rolled.segments, segmentNames(ROLLED).length);
  assert.ok(rolled.segments >= 4);
  assert.deepEqual([rolled.events, rolled.chains, rolled.findings], [14, 3, []]);
});

test("no workload gives a finding: rolls, batches, lanes, reopens and kills included", () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ size: fc.integer({ min: 1, max: 5 }), lane: fc.nat(2) }) },
    { weight: 1, arbitrary: fc.constantFrom("close" as const, "kill" as const) },
  );
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 14 }),
      fc.constantFrom(1, 600, 1500, 1 << 20),
      (steps, segmentMaxBytes) => {
        const clock = new FixedClock();
        const entropy = new SeededEntropy();
        let fs = new MemoryFs();
        let store = openStore(fs, { segmentMaxBytes, clock, entropy });
        let count = 0;
        for (const step of steps) {
          if (typeof step === "object") {
            const batch = Array.from({ length: step.size }, () =>
              item(count++, {
                entity: `user:${count % 3}`,
                lane: step.lane,
                tags: count % 2 === 0 ? ["even"] : [],
              }));
            store.appendBatch(batch);
          } else {
            if (step === "close") store.close();
            fs = fs.snapshot();
            // The clock may step back between two runs.
            clock.wallUs -= 1000;
            store = openStore(fs, { segmentMaxBytes, clock, entropy });
          }
          const { findings, intact } = verifyJournal(DIR, { fs });
          assert.deepEqual(findings, []);
          assert.equal(intact, true);
        }
        store.close();
        const report = verifyJournal(DIR, { fs });
        assert.deepEqual(report.findings, []);
        assert.equal(
          report.events,
          store.openReport.restoredEntries > 0 ? report.events : count + 2,
        );
      },
    ),
    { numRuns: 60 },
  );
});

test("verifying changes nothing and takes no lock", () => {
  const inner = fsOf(TREE);
  const store = openStore(inner);
  const fs = new RecordingFs(inner);
  assert.equal(verifyJournal(DIR, { fs }).findingCount, 0);
  assert.deepEqual(fs.changes, []);
  store.append(USER, KIND, "still writing");
  assert.equal(verifyJournal(DIR, { fs }).findingCount, 0);
});

test("a journal on the real disk verifies, and one flipped byte in it is found", () => {
  inTempDir((dir) => {
    const store = Store.open(dir);
    for (let i = 0; i < 50; i++) store.append(USER, KIND, { i });
    store.close();
    assert.deepEqual(verifyJournal(dir).findings, []);
    const bytes = runtime.fs.readFile(`${dir}/${FIRST}`, 1 << 20);
    const { offset } = framesOf(bytes)[20];
    writeFile(runtime.fs, `${dir}/${FIRST}`, flipBit(bytes, offset + 99));
    assert.deepEqual(placesOf(verifyJournal(dir).findings), [["frame", FIRST, offset]]);
  });
});

test("progress goes from nothing to everything", () => {
  const tree = closedJournal((store) => {
    for (let n = 0; n < 80; n++) {
      store.appendBatch(Array.from({ length: 250 }, (_, i) => item(`${n} ${i}`)));
    }
  }, { segmentMaxBytes: 1 << 20 });
  const seen: { bytes: number; totalBytes: number; events: number }[] = [];
  verifyJournal(DIR, { fs: fsOf(tree), onProgress: (done) => seen.push({ ...done }) });
  const total = segmentNames(tree).reduce((sum, name) => sum + tree.get(name)!.byteLength, 0);
  assert.deepEqual(seen.at(-1), { bytes: total, totalBytes: total, events: 20_002 });
  assert.ok(seen.length >= 3);
  for (let i = 1; i < seen.length; i++) {
    assert.ok(seen[i].bytes >= seen[i - 1].bytes && seen[i].bytes <= total);
    assert.ok(seen[i].events >= seen[i - 1].events);
  }
});

// ---- Each kind of finding ----

test('"frame": any flipped bit in a frame is one finding, and the rest verifies', () => {
  for (const [n, { offset, end }] of FRAMES.slice(0, -1).entries()) {
    for (let at = offset; at < end; at += 13) {
      const { findings, events, intact } = verify(withSegment(flipBit(SEGMENT, at, at % 8)));
      assert.deepEqual(placesOf(findings), [["frame", FIRST, offset]], `byte ${at}`);
      assert.match(
        findings[0].reason,
        new RegExp(`; the next sound frame is at offset ${FRAMES[n + 1].offset}$`),
      );
      assert.equal(findings[0].segmentId, 1);
      assert.equal(events, FRAMES.length - 1);
      assert.equal(intact, false);
    }
  }
});

test('"frame": any flipped bit in a sealed segment is one finding, its last frame included', () => {
  for (const name of segmentNames(ROLLED).slice(0, -1)) {
    const segment = ROLLED.get(name)!;
    for (const { offset, end } of framesOf(segment)) {
      for (let at = offset; at < end; at += 31) {
        const { findings } = verify(withSegment(flipBit(segment, at, at % 8), ROLLED, name));
        assert.deepEqual(placesOf(findings), [["frame", name, offset]], `${name}, byte ${at}`);
      }
    }
  }
});

test('"frame": zeros and foreign bytes between frames are found with what follows', () => {
  const { offset } = FRAMES[3];
  const halves = (middle: Uint8Array) =>
    withSegment(concat(SEGMENT.slice(0, offset), middle, SEGMENT.slice(offset)));
  const zeros = verify(halves(new Uint8Array(100)));
  assert.deepEqual(zeros.findings.map(({ type, offset, reason }) => [type, offset, reason]), [[
    "frame",
    offset,
    `there are zeros where a frame should be; the next sound frame is at offset ${offset + 100}`,
  ]]);
  const foreign = verify(halves(new TextEncoder().encode("what is this doing here")));
  assert.deepEqual(placesOf(foreign.findings), [["frame", FIRST, offset]]);
  assert.equal(foreign.events, FRAMES.length);
});

test('"tail": a torn end is a finding that leaves the journal intact', () => {
  const last = FRAMES.length - 1;
  for (let size = FRAMES[last].offset + 1; size < SEGMENT.byteLength; size++) {
    const { findings, intact, events } = verify(withSegment(SEGMENT.slice(0, size)));
    const zeros = size <= FRAMES[last].offset + 3;
    assert.deepEqual(placesOf(findings), zeros ? [] : [["tail", FIRST, FRAMES[last].offset]]);
    assert.equal(intact, true);
    assert.equal(events, last);
  }
  const cutGroup = verify(withSegment(SEGMENT.slice(0, FRAMES[5].end)));
  assert.deepEqual(
    cutGroup.findings.map(({ type, offset, reason }) => [type, offset, reason]),
    [["tail", FRAMES[4].offset, "the group is not whole"]],
  );
  assert.equal(cutGroup.intact, true);
});

test('"tail": a last segment without a whole header', () => {
  const header = ROLLED.get(segmentNames(ROLLED).at(-1)!)!;
  const name = `00000${segmentNames(ROLLED).length}.fbat`;
  for (const size of [0, 1, 8, 100]) {
    const { findings, intact } = verify(withSegment(header.slice(0, size), ROLLED, name));
    assert.deepEqual(
      findings.map(({ type, file, offset, reason }) => [type, file, offset, reason]),
      [
        ["tail", name, 0, "the header is cut short"],
      ],
    );
    assert.equal(intact, true);
  }
});

test('"header": a damaged header is found, and the frames behind it are verified', () => {
  const decoded = decodeSegmentHeader(SEGMENT);
  assert.ok(decoded.type === "header");
  for (let at = 0; at < decoded.end; at++) {
    for (const bit of [0, 3, 7]) {
      const { findings, intact, events } = verify(withSegment(flipBit(SEGMENT, at, bit)));
      const isFuture = findings[0].reason.includes("newer program");
      const type = isFuture ? "future" : "header";
      assert.deepEqual(placesOf(findings), [[type, FIRST, 0]], `bit ${bit} of byte ${at}`);
      assert.equal(intact, false, `bit ${bit} of byte ${at}`);
      if (!isFuture) assert.equal(events, FRAMES.length);
    }
  }
});

test('"header": a segment of another journal, under another name, or of a newer program', () => {
  const segment = ROLLED.get(SECOND)!;
  const decoded = decodeSegmentHeader(segment);
  assert.ok(decoded.type === "header");
  const { header, end } = decoded;
  const forge = (change: object) =>
    verify(withSegment(
      concat(encodeSegmentHeader({ ...header, ...change }), segment.slice(end)),
      ROLLED,
      SECOND,
    )).findings;
  const foreign = forge({ storeId: new Uint8Array(16).fill(7) });
  assert.deepEqual(placesOf(foreign), [["header", SECOND, 0]]);
  assert.equal(
    foreign[0].reason,
    "the segment belongs to journal 07070707-0707-0707-0707-070707070707",
  );
  const renamed = forge({ segmentId: 9 });
  assert.deepEqual(renamed.map(({ reason }) => reason), ["the header says it is segment 9"]);
  const newer = segment.slice();
  newer[8 + 1 + 8 + 2] = 3;
  const { findings } = verify(withSegment(newer, ROLLED, SECOND));
  assert.equal(findings[0].reason, "the segment has format version 3, from a newer program");
  assert.deepEqual(placesOf(findings), [["future", SECOND, 0]]);
});

test('"header": a missing segment is one finding, and accuses no other', () => {
  for (const gone of [[SECOND], [SECOND, THIRD]]) {
    const tree = new Map(ROLLED);
    for (const name of gone) tree.delete(name);
    const next = `00000${2 + gone.length}.fbat`;
    const { findings } = verify(tree);
    assert.deepEqual(placesOf(findings), [["header", next, 0]], JSON.stringify(findings));
    assert.match(findings[0].reason, /missing$/);
  }
});

test('"sequence": the beginning of the journal is missing', () => {
  const tree = new Map(ROLLED);
  tree.delete(FIRST);
  const { findings, intact } = verify(tree);
  assert.equal(intact, false);
  assert.deepEqual(placesOf(findings.slice(0, 1)), [["sequence", SECOND, 0]]);
  assert.match(findings[0].reason, /^the segment begins at sequence \d+, and 0 is next$/);
  assert.ok(findings.every(({ file }) => file === SECOND), JSON.stringify(findings));
});

test('"sequence": an event that is not the next one, and one that is older than the last', () => {
  const skipped = verify(changed((segment, frames) => {
    bodyOf(segment, frames[8].offset)[11] += 2;
    fixChecksum(segment, frames[8].offset);
  }));
  const sequences = skipped.findings.filter(({ type }) => type === "sequence");
  assert.deepEqual(
    sequences.map(({ offset, reason, globalSequence }) => [
      offset,
      reason,
      globalSequence,
    ]),
    [
      [FRAMES[8].offset, "the event has sequence 10, and 8 is next", 10],
      [FRAMES[9].offset, "the event has sequence 9, and 11 is next", 9],
    ],
  );
  const older = verify(changed((segment, frames) => {
    bodyOf(segment, frames[9].offset).set([0, 0, 0, 1], 67);
    fixChecksum(segment, frames[9].offset);
  }));
  assert.deepEqual(older.findings.map(({ type, offset, reason }) => [type, offset, reason]), [
    ["sequence", FRAMES[9].offset, "the event is older than the one before"],
  ]);
});

test('"content": a changed payload is found even when the checksum agrees', () => {
  const { findings, intact } = verify(changed((segment, frames) => {
    const { offset, end } = frames[2];
    segment[end - 1] ^= 1;
    fixChecksum(segment, offset);
  }));
  const event = openStore(fsOf(TREE)).at(2);
  assert.deepEqual(findings, [{
    type: "content",
    file: FIRST,
    segmentId: 1,
    offset: FRAMES[2].offset,
    reason: "the payload does not have its content hash",
    globalSequence: 2,
    eventId: event?.eventId,
  }]);
  assert.equal(intact, false);
});

test('"chain": a changed payload is found when checksum and content hash agree', () => {
  const { findings } = verify(changed((segment, frames) => {
    segment[frames[2].end - 1] ^= 1;
    fixContentHash(segment, frames[2].offset);
  }));
  assert.deepEqual(findings.map(({ type, offset, reason }) => [type, offset, reason]), [[
    "chain",
    FRAMES[3].offset,
    "the event does not name the event hash of its predecessor: one of the two was changed",
  ]]);
});

test('"chain": every field of a header is covered, not only the payload', () => {
  const fields: Record<string, number> = {
    eventId: 14,
    correlationId: 40,
    causationId: 50,
    depth: 89,
    kind: 92,
    flags: 94,
    payloadVersion: 99,
    contentHash: 145,
    scope: ENTITY_OFFSET + 6 + 3,
  };
  for (const [field, at] of Object.entries(fields)) {
    const { findings } = verify(changed((segment, frames) => {
      bodyOf(segment, frames[2].offset)[at] ^= 1;
      fixChecksum(segment, frames[2].offset);
    }));
    const broken = findings.filter(({ type }) => type === "chain");
    assert.deepEqual(placesOf(broken), [["chain", FIRST, FRAMES[3].offset]], field);
  }
});

test('"chain": a wrong beginning, a wrong clock, and a clock that was used before', () => {
  const reasons = (change: (segment: Uint8Array, frames: readonly FramePlace[]) => void) =>
    verify(changed(change)).findings.filter(({ type }) => type === "chain")
      .map(({ offset, reason }) => [FRAMES.findIndex((frame) => frame.offset === offset), reason]);
  const setClock = (frame: number, clock: number) => (segment: Uint8Array) => {
    writeU32(bodyOf(segment, FRAMES[frame].offset), 76, clock);
    fixChecksum(segment, FRAMES[frame].offset);
  };
  assert.deepEqual(reasons(setClock(1, 3))[0], [1, "the chain begins at clock 3"]);
  assert.deepEqual(reasons(setClock(3, 9))[0], [3, "the event has clock 9, and 2 is next"]);
  assert.deepEqual(reasons(setClock(3, 1))[0], [3, "the event has clock 1, and 2 is next"]);
  assert.deepEqual(
    reasons((segment) => setPrevHash(segment, FRAMES[1].offset, new Uint8Array(32).fill(1)))[0],
    [1, "the chain begins with a predecessor"],
  );
});

test('"chain": history rewritten with every hash made anew betrays itself at the next segment', () => {
  // The forger changes the last event of a sealed segment and repairs everything behind it in its chain.
  const tree = new Map(ROLLED);
  const names = segmentNames(tree);
  const segments = names.map((name) => tree.get(name)!.slice());
  const frames = segments.map((segment) => framesOf(segment));
  const forged = frames[0].at(-1)!;
  segments[0][forged.end - 1] ^= 1;
  fixContentHash(segments[0], forged.offset);
  const nameOf = (segment: Uint8Array, offset: number) =>
    bodyOf(segment, offset).slice(ENTITY_OFFSET, ENTITY_OFFSET + 6).join();
  const chain = nameOf(segments[0], forged.offset);
  let head = eventHashAt(segments[0], forged.offset);
  for (let i = 1; i < segments.length; i++) {
    for (const { offset } of frames[i]) {
      if (nameOf(segments[i], offset) !== chain) continue;
      setPrevHash(segments[i], offset, head);
      head = eventHashAt(segments[i], offset);
    }
  }
  names.forEach((name, i) => tree.set(name, segments[i]));
  const { findings } = verify(tree);
  assert.deepEqual(
    findings.map(({ type, file, offset, reason }) => [type, file, offset, reason])[0],
    ["chain", SECOND, 0, "the header names another event as the last one of segment 1"],
  );
  assert.ok(findings.every(({ type, offset }) => type === "chain" && offset === 0));
});

test("a forged newest event goes unnoticed: only a receipt tells", () => {
  const fs = fsOf(TREE);
  const store = openStore(fs, { entropy: new SeededEntropy(9) });
  const receipt = store.append(OTHER, KIND, "the truth");
  const tree = readTree(fs.snapshot(), DIR);
  const segment = trimmed(tree.get(FIRST)!);
  const { offset, end } = framesOf(segment).at(-1)!;
  segment[end - 1] ^= 1;
  fixContentHash(segment, offset);
  tree.set(FIRST, segment);
  assert.deepEqual(verify(tree).findings, []);
  const forged = openStore(fsOf(tree));
  assert.equal(payloadsOf(forged).at(-1), "the truti");
  assert.deepEqual(forged.verifyReceipt(receipt), {
    valid: false,
    outcome: "invalid",
    reason: "ContentHashMismatch",
  });
});

test('"group": a group that the log does not hold whole', () => {
  // A group at the end of a sealed segment, and one in the middle whose frames disagree.
  const middle = verify(changed((segment, frames) => {
    bodyOf(segment, frames[5].offset)[102] = 0;
    fixChecksum(segment, frames[5].offset);
  }));
  assert.ok(
    middle.findings.some(({ type, offset }) => type === "group" && offset === FRAMES[4].offset),
  );
  const tree = killedJournal((store) => {
    store.append(USER, KIND, 1);
    store.appendBatch([item("a"), item("b")]);
    store.append(USER, KIND, 2);
  }, { segmentMaxBytes: 900 });
  const segment = trimmed(tree.get(FIRST)!);
  const frames = framesOf(segment);
  assert.equal(frames.length, 4);
  const cut = withSegment(segment.slice(0, frames[3].offset), tree);
  const second = trimmed(tree.get(SECOND)!);
  const decoded = decodeSegmentHeader(second);
  assert.ok(decoded.type === "header");
  cut.set(
    SECOND,
    concat(
      encodeSegmentHeader({ ...decoded.header, previousSize: frames[3].offset }),
      second.slice(decoded.end),
    ),
  );
  const { findings } = verify(cut);
  assert.deepEqual(placesOf(findings)[0], ["group", FIRST, frames[2].offset]);
});

test('"file": what is not a file, and a store.meta that is not one', () => {
  const meta = TREE.get("store.meta")!;
  const reasonOf = (tree: Tree, expected = "file") => {
    const { findings } = verify(tree);
    assert.deepEqual(findings.map(({ type, file, segmentId }) => [type, file, segmentId]), [
      [expected, "store.meta", undefined],
    ]);
    return findings[0].reason;
  };
  const missing = new Map(TREE);
  missing.delete("store.meta");
  assert.equal(reasonOf(missing), "it is missing; opening for writing restores it");
  assert.equal(
    reasonOf(new Map(TREE).set("store.meta", flipBit(meta, 20))),
    "the checksum does not match",
  );
  assert.equal(
    reasonOf(new Map(TREE).set("store.meta", flipBit(meta, 7, 1)), "future"),
    "it has format version 3, from a newer program",
  );
  const fs = fsOf(ROLLED);
  fs.remove(`${DIR}/${SECOND}`);
  fs.createDirAll(`${DIR}/${SECOND}`);
  assert.deepEqual(placesOf(verifyJournal(DIR, { fs }).findings), [["file", SECOND, 0]]);
  const linked = fsOf(ROLLED);
  linked.rename(`${DIR}/${SECOND}`, "/elsewhere");
  linked.symlink("/elsewhere", `${DIR}/${SECOND}`);
  const found = verifyJournal(DIR, { fs: linked }).findings;
  assert.deepEqual(placesOf(found), [["file", SECOND, 0]]);
  assert.match(found[0].reason, /ELOOP/);
});

test("verifyJournal() throws where there is no journal, and where there is no directory", () => {
  const expected = { name: "JournalNotFoundError", code: "JOURNAL_NOT_FOUND", path: DIR };
  const fs = new MemoryFs();
  assert.throws(() => verifyJournal(DIR, { fs }), expected);
  fs.createDirAll(DIR);
  assert.throws(() => verifyJournal(DIR, { fs }), expected);
});

test("a shortened sealed segment is found by the size in the next header", () => {
  const segment = ROLLED.get(FIRST)!;
  const frames = framesOf(segment);
  const { offset } = frames.at(-1)!;
  const { findings } = verify(withSegment(segment.slice(0, offset), ROLLED));
  assert.deepEqual(
    findings.map(({ type, file, offset }) => [type, file, offset]).filter(([type]) =>
      type === "header"
    ),
    [["header", FIRST, offset]],
  );
  assert.ok(
    findings.some(({ reason }) =>
      reason === `the segment was sealed with ${segment.byteLength} bytes, and has ${offset}`
    ),
  );
});

// ---- Several findings ----

test("verification goes on behind damage and reports all of it, in the order of the files", () => {
  const tree = new Map(ROLLED);
  const expected: [string, string, number][] = [];
  for (const name of segmentNames(tree).slice(0, 3)) {
    const segment = tree.get(name)!;
    const { offset } = framesOf(segment)[0];
    expected.push(["frame", name, offset]);
    tree.set(name, flipBit(segment, offset + 40));
  }
  const { findings, findingCount, events } = verify(tree);
  assert.deepEqual(placesOf(findings), expected);
  assert.equal(findingCount, 3);
  assert.equal(events, 14 - 3);
});

test("damage that hides links is not taken for broken chains", () => {
  // Any set of damaged frames gives one finding for each run of neighbours, and none about chains.
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.nat(FRAMES.length - 2), { minLength: 1, maxLength: 6 }),
      (hit) => {
        const segment = SEGMENT.slice();
        for (const n of hit) segment[FRAMES[n].offset + 50] ^= 4;
        const { findings, events } = verify(withSegment(segment));
        const runs = hit.sort((a, b) => a - b).filter((n) => !hit.includes(n - 1));
        assert.deepEqual(placesOf(findings), runs.map((n) => ["frame", FIRST, FRAMES[n].offset]));
        assert.equal(events, FRAMES.length - hit.length);
      },
    ),
  );
});

test("a forged link is found behind damage too, once the chain has been picked up again", () => {
  const { findings } = verify(changed((segment, frames) => {
    segment[frames[1].offset + 50] ^= 4;
    setPrevHash(segment, frames[3].offset, new Uint8Array(32).fill(9));
  }));
  assert.deepEqual(placesOf(findings).slice(0, 2), [
    ["frame", FIRST, FRAMES[1].offset],
    ["chain", FIRST, FRAMES[3].offset],
  ]);
  assert.equal(bodyOf(SEGMENT, FRAMES[1].offset).slice(PREV_HASH_OFFSET).length > 32, true);
});

test("findings end after a thousand and go on being counted", () => {
  const tree = closedJournal((store) => {
    for (let n = 0; n < 12; n++) {
      store.appendBatch(Array.from({ length: 200 }, (_, i) => item(i)));
    }
  });
  const segment = tree.get(FIRST)!;
  const frames = framesOf(segment);
  for (let n = 1; n < frames.length - 1; n += 2) segment[frames[n].offset + 50] ^= 4;
  const { findings, findingCount, events, intact } = verify(tree);
  const damaged = Math.floor((frames.length - 1) / 2);
  assert.equal(findings.length, 1000);
  assert.equal(findingCount, damaged);
  assert.equal(events, frames.length - damaged);
  assert.equal(intact, false);
});

test("the work for a badly damaged journal grows with its size, not with the square of it", () => {
  const bytesRead = (count: number) => {
    const tree = closedJournal((store) => {
      for (let n = 0; n < count / 250; n++) {
        store.appendBatch(Array.from({ length: 250 }, (_, i) => item(i)));
      }
    });
    const segment = tree.get(FIRST)!;
    const frames = framesOf(segment);
    for (let n = 1; n < frames.length - 1; n += 50) segment[frames[n].offset + 50] ^= 4;
    let bytes = 0;
    const fs = fsOf(tree);
    const open = fs.open.bind(fs);
    fs.open = (...args) => {
      const file = open(...args);
      const readAt = file.readAt.bind(file);
      file.readAt = (target, start, size, position) => {
        const count = readAt(target, start, size, position);
        bytes += count;
        return count;
      };
      return file;
    };
    assert.equal(
      verifyJournal(DIR, { fs }).events,
      frames.length - Math.ceil((frames.length - 2) / 50),
    );
    return bytes;
  };
  // Both are larger than any window, so four times the journal may cost four times the reading.
  const small = bytesRead(10_000);
  const large = bytesRead(40_000);
  assert.ok(large < small * 6, `${small} and ${large} bytes`);
});

// ---- Agreement with opening ----

test("what verifies as intact opens, and what opens verifies as intact", () => {
  const entropy = new SeededEntropy(11);
  const newest = segmentNames(ROLLED).at(-1)!;
  const bases = ([[TREE, FIRST], [ROLLED, newest], [ROLLED, SECOND]] as const).map(
    ([tree, name]) => ({ tree, name, segment: tree.get(name)! }),
  );
  const damage = fc.oneof(
    fc.record({ type: fc.constant("cut" as const), at: fc.nat() }),
    fc.record({ type: fc.constant("flip" as const), at: fc.nat() }),
    fc.record({
      type: fc.constant("hole" as const),
      at: fc.nat(),
      size: fc.integer({ min: 1, max: 500 }),
    }),
    fc.record({
      type: fc.constant("junk" as const),
      at: fc.nat(),
      size: fc.integer({ min: 1, max: 300 }),
    }),
  );
  fc.assert(
    fc.property(fc.nat(2), fc.array(damage, { maxLength: 2 }), (which, damages) => {
      const base = bases[which];
      let segment: Uint8Array = base.segment.slice();
      for (const damage of damages) {
        const at = damage.at % Math.max(1, segment.byteLength);
        if (damage.type === "cut") segment = segment.slice(0, at);
        else if (damage.type === "flip") segment = flipBit(segment, at, at % 8);
        else if (damage.type === "hole") segment.fill(0, at, at + damage.size);
        else segment = concat(segment, entropy.bytes(damage.size));
      }
      const tree = withSegment(segment, base.tree, base.name);
      const { intact, findings } = verify(tree);
      let refusal: unknown;
      try {
        openStore(fsOf(tree));
      } catch (error) {
        assert.ok(error instanceof StoreError, `${error}`);
        refusal = error;
      }
      assert.equal(intact, refusal === undefined, `${refusal}: ${JSON.stringify(findings)}`);
    }),
    { numRuns: 400 },
  );
});

test("a torn batch of which later frames are whole is a torn tail to both", () => {
  const end = FRAMES[6].end;
  for (const [from, to] of [[5, 5], [6, 6], [5, 6]]) {
    const segment = SEGMENT.slice(0, end);
    segment.fill(0, FRAMES[from].offset + 20, FRAMES[to].end - 30);
    const tree = withSegment(segment);
    assert.equal(openStore(fsOf(tree)).openReport.repairs.length, 1);
    const { findings, intact } = verify(tree);
    assert.equal(intact, true, JSON.stringify(findings));
  }
});

test("a torn event that carries frames of another journal is a torn tail to both", () => {
  const copied = trimmed(
    killedJournal((store) => {
      for (let i = 0; i < 30; i++) store.append(USER, KIND, i);
    }).get(FIRST)!,
  );
  const tree = killedJournal((store) => {
    for (let i = 0; i < 40; i++) store.append(USER, KIND, i);
    store.append(USER, KIND, copied, { payloadEncoding: "opaque" });
  });
  const segment = trimmed(tree.get(FIRST)!);
  const torn = withSegment(segment.slice(0, -10), tree);
  assert.equal(openStore(fsOf(torn)).openReport.repairs.length, 1);
  const { findings, intact } = verify(torn);
  assert.equal(intact, true, JSON.stringify(findings));
});

test("a name that opening refuses is a finding", () => {
  for (const byte of [0xff, 0x7c, 0x00]) {
    const tree = changed((segment, frames) => {
      const { offset } = frames[9];
      bodyOf(segment, offset)[ENTITY_OFFSET] = byte;
      writeU32(bodyOf(segment, offset), 76, 0);
      setPrevHash(segment, offset, new Uint8Array(32));
    });
    assert.throws(() => openStore(fsOf(tree)), { name: "CorruptionError" });
    const { intact, findings } = verify(tree);
    assert.equal(intact, false, `0x${byte.toString(16)}`);
    assert.deepEqual(findings.map(({ offset }) => offset), [FRAMES[9].offset]);
  }
});

test("a first segment that says something came before it is a finding", () => {
  const decoded = decodeSegmentHeader(SEGMENT);
  assert.ok(decoded.type === "header");
  const tree = withSegment(concat(
    encodeSegmentHeader({ ...decoded.header, previousSize: 500 }),
    SEGMENT.slice(decoded.end),
  ));
  assert.throws(() => openStore(fsOf(tree)), { name: "CorruptionError" });
  assert.deepEqual(placesOf(verify(tree).findings), [["header", FIRST, 0]]);
});

test("an erased payload leaves a journal that verifies and reads", () => {
  const { offset, end } = FRAMES[2];
  const body = bodyOf(SEGMENT, offset);
  const payloadSize = 5 + "event 1".length + 1;
  const erased = new Uint8Array(8 + body.byteLength - payloadSize + 1);
  erased.set(body.subarray(0, body.byteLength - payloadSize), 8);
  erased[erased.byteLength - 1] = 0xc0;
  writeU32(erased, 0, erased.byteLength - 8);
  writeU32(erased, 4, crc32(erased.subarray(8)));
  const segment = concat(SEGMENT.slice(0, offset), erased, SEGMENT.slice(end));
  const tree = withSegment(segment);
  const report = verify(tree);
  assert.deepEqual([report.findings, report.erased, report.intact], [[], 1, true]);
  const store = openStore(fsOf(tree));
  assert.equal(store.at(2)?.isErased, true);
  assert.equal(store.at(2)?.payload, undefined);
  assert.equal(store.at(3)?.payload, "event 2");
  assert.equal(readU32(segment, offset), erased.byteLength - 8);
});

test("a merged segment that claims to stand for all that follow is found", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { segmentMaxBytes: 600 });
  for (let i = 0; i < 20; i++) store.append(USER, KIND, { i });
  store.compact({ mergedSegmentMaxBytes: 1_500 });
  store.close();
  const path = `${DIR}/000001.fbat`;
  const bytes = readFile(fs, path);
  const decoded = decodeSegmentHeader(bytes);
  assert.ok(decoded.type === "header" && decoded.header.merge !== undefined);
  const merge = { ...decoded.header.merge, lastSegmentId: 2 ** 32 - 1 };
  writeFile(
    fs,
    path,
    concat(encodeSegmentHeader({ ...decoded.header, merge }), bytes.subarray(decoded.end)),
  );
  const { intact, findings } = verifyJournal(DIR, { fs });
  assert.equal(intact, false);
  assert.match(findings[0].reason, /the segments behind it are missing/);
  assert.throws(() => openStore(fs), { code: "CORRUPTION" });
});
