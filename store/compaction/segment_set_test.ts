// Spec 8.3 and 14.4, and the assertions of requirement document 001 about a compaction cut short.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { DirEntry } from "../../platform/fs.ts";
import { MemoryFs } from "../../platform/memory.ts";
import { killedJournal } from "../../tests/support/journal.ts";
import { DIR, KIND, openReader, openStore, USER } from "../../tests/support/journal.ts";
import { flipBit, fsOf, readFile, writeFile } from "../../tests/support/journal_bytes.ts";
import { writeU16 } from "../bytes.ts";
import { type CompactionMarker, encodeMarker, MARKER_NAME } from "./compaction_marker.ts";
import { CorruptionError, FutureVersionError } from "../errors.ts";
import type { SegmentHeader } from "../segment_header.ts";
import { decodeSegmentHeader } from "../segment_header.ts";
import {
  clearPendingCompaction,
  readSegmentSet,
  resolveSegments,
  type SegmentListing,
  type SegmentSet,
} from "./segment_set.ts";

const STORE_ID = new Uint8Array(16).fill(1);
const COMPACTION_ID = new Uint8Array(16).fill(2);
const MARKER: CompactionMarker = {
  storeId: STORE_ID,
  compactionId: COMPACTION_ID,
  mergedId: 1,
  stagedSize: 0,
  stagedCrc: 0,
  sourceIds: [1, 2],
};

function header(segmentId: number, compactionId?: Uint8Array): SegmentHeader {
  return {
    storeId: STORE_ID,
    segmentId,
    createdNs: 0n,
    firstSequence: 0,
    previousSize: 0,
    previousHash: new Uint8Array(32),
    ...(compactionId !== undefined &&
      { merge: { lastSegmentId: 2, sealedSize: 400, framesEnd: 600, compactionId } }),
  };
}

const ORIGINAL = header(1);
const MERGED = header(1, COMPACTION_ID);

/** Resolves a directory of these files, with a header for each that has one. */
function resolve(
  files: Record<string, SegmentHeader | undefined>,
  more: Partial<SegmentListing> = {},
): SegmentSet {
  const entries = Object.keys(files).map((name): DirEntry => ({ name, kind: "file" }));
  return resolveSegments({
    dir: DIR,
    entries,
    marker: MARKER,
    base: undefined,
    headerOf: (name) => files[name],
    ...more,
  });
}

function namesOf({ files }: SegmentSet): string[] {
  return files.map(({ id, name }) => `${id} ${name}`);
}

const PUBLISHED = {
  "000001.fbat": MERGED,
  "000001.fbat.compact-src": ORIGINAL,
  "000002.fbat": header(2),
  "000003.fbat": header(3),
};

test("S001-10 a published merge replaces its sources, and leaves others alone", () => {
  const set = resolve(PUBLISHED);
  assert.deepEqual(set.files.map(({ id }) => id), [1, 3]);
  assert.equal(set.pending?.isCommitted, true);
  assert.deepEqual(set.leftovers, [
    { name: "000001.fbat.compact-src", reason: "000001.fbat has replaced it", removable: true },
    { name: "000002.fbat", reason: "000001.fbat has replaced it", removable: true },
  ]);
});

test("S001-11 a published merge is read, not the source under its temporary name", () => {
  assert.deepEqual(namesOf(resolve(PUBLISHED)), ["1 000001.fbat", "3 000003.fbat"]);
});

const UNPUBLISHED = {
  "000001.fbat.compact-new": MERGED,
  "000001.fbat.compact-src": ORIGINAL,
  "000002.fbat": header(2),
  "000003.fbat": header(3),
};

test("S001-12 without a published merge, every source is in force", () => {
  const set = resolve(UNPUBLISHED);
  assert.deepEqual(set.files.map(({ id }) => id), [1, 2, 3]);
  assert.equal(set.pending?.isCommitted, false);
});

test("S001-13 without a published merge, the renamed source stands for the merged id", () => {
  assert.equal(namesOf(resolve(UNPUBLISHED))[0], "1 000001.fbat.compact-src");
});

test("S001-14 missing sources are refused, and unrelated segments do not stand in for them", () => {
  for (
    const files of [
      { "000099.fbat": header(99) },
      { "000001.fbat.compact-src": ORIGINAL, "000099.fbat": header(99) },
      { "000001.fbat": ORIGINAL, "000003.fbat": header(3) },
      { "000002.fbat": header(2), "000003.fbat": header(3) },
    ]
  ) {
    assert.throws(() => resolve(files), (error) => {
      assert.ok(error instanceof CorruptionError);
      assert.equal(error.path, `${DIR}/${MARKER_NAME}`);
      assert.match(error.reason, /which it was to replace, is missing/);
      return true;
    });
  }
});

test("S001-15 clearing an absent marker succeeds, and clearing a present one twice too", () => {
  const fs = new MemoryFs();
  fs.createDirAll(DIR);
  clearPendingCompaction(fs, DIR);
  writeFile(fs, `${DIR}/${MARKER_NAME}`, encodeMarker(MARKER));
  clearPendingCompaction(fs, DIR);
  clearPendingCompaction(fs, DIR);
  assert.equal(fs.stat(`${DIR}/${MARKER_NAME}`), undefined);
});

test("a marker of before the first rename leaves everything as it is", () => {
  const set = resolve({
    "000001.fbat": ORIGINAL,
    "000001.fbat.compact-new": MERGED,
    "000002.fbat": header(2),
  });
  assert.deepEqual(namesOf(set), ["1 000001.fbat", "2 000002.fbat"]);
  assert.equal(set.pending?.isCommitted, false);
});

test("a merge of another compaction is an original like any other", () => {
  const earlier = header(1, new Uint8Array(16).fill(9));
  const set = resolve({ "000001.fbat": earlier, "000002.fbat": header(2) });
  assert.equal(set.pending?.isCommitted, false);
  assert.deepEqual(namesOf(set), ["1 000001.fbat", "2 000002.fbat"]);
});

test("two originals of one segment are refused, and neither is thrown away", () => {
  const files = { ...PUBLISHED, "000001.fbat": ORIGINAL };
  assert.throws(() => resolve(files), {
    code: "CORRUPTION",
    message: /both 000001.fbat and 000001.fbat.compact-src are there/,
  });
});

test("a damaged merge gives way to its sources while they are all there, and is refused else", () => {
  const set = resolve(PUBLISHED, { isMergeDamaged: true });
  assert.deepEqual(namesOf(set), [
    "1 000001.fbat.compact-src",
    "2 000002.fbat",
    "3 000003.fbat",
  ]);
  assert.equal(set.pending?.isCommitted, false);
  const { "000002.fbat": _, ...files } = PUBLISHED;
  assert.throws(() => resolve(files, { isMergeDamaged: true }), {
    code: "CORRUPTION",
    message: /the merged segment 1 is damaged, and segment 2, which it replaced, is gone/,
  });
});

test("without a marker, a source without a final name is the segment; one beside its merge is a leftover", () => {
  const alone = resolve({ "000001.fbat.compact-src": ORIGINAL }, { marker: undefined });
  assert.deepEqual(namesOf(alone), ["1 000001.fbat.compact-src"]);
  assert.deepEqual(alone.leftovers, []);
  const beside = resolve(
    { "000001.fbat": MERGED, "000001.fbat.compact-src": ORIGINAL },
    { marker: undefined },
  );
  assert.deepEqual(namesOf(beside), ["1 000001.fbat"]);
  assert.equal(beside.leftovers[0].removable, true);
  // Beside another original, or when it cannot be read, nobody knows what it is.
  for (const [final, source] of [[ORIGINAL, ORIGINAL], [MERGED, undefined], [MERGED, header(2)]]) {
    const files = { "000001.fbat": final, "000001.fbat.compact-src": source };
    const set = resolve(files, { marker: undefined });
    assert.deepEqual(namesOf(set), ["1 000001.fbat"]);
    assert.deepEqual(set.leftovers, [
      { name: "000001.fbat.compact-src", reason: "000001.fbat is there too", removable: false },
    ]);
  }
});

test("a replacement without a marker counts for nothing", () => {
  const set = resolve(
    { "000001.fbat": ORIGINAL, "000001.fbat.compact-new": MERGED },
    { marker: undefined },
  );
  assert.deepEqual(namesOf(set), ["1 000001.fbat"]);
  assert.deepEqual(set.leftovers.map(({ name, removable }) => [name, removable]), [
    ["000001.fbat.compact-new", true],
  ]);
});

test("segments in front of the base are pruned, and the first one has to be there", () => {
  const base = {
    storeId: STORE_ID,
    firstSegmentId: 3,
    firstSequence: 10,
    lastTimestampUs: 0,
    lastHash: new Uint8Array(32),
    chainCount: 1,
    chainsSize: 43,
  };
  const files = { "000001.fbat": ORIGINAL, "000002.fbat": header(2), "000003.fbat": header(3) };
  const set = resolve(files, { marker: undefined, base });
  assert.deepEqual(namesOf(set), ["3 000003.fbat"]);
  assert.deepEqual(set.leftovers, [
    { name: "000001.fbat", reason: "it has been pruned", removable: true },
    { name: "000002.fbat", reason: "it has been pruned", removable: true },
  ]);
  assert.throws(
    () => resolve({ "000004.fbat": header(4) }, { marker: undefined, base }),
    { code: "CORRUPTION", message: /begins with segment 3 since it was pruned, and there is none/ },
  );
});

/** A journal of several segments, killed. */
function rolled(): MemoryFs {
  return fsOf(killedJournal((store) => {
    for (let i = 0; i < 8; i++) store.append(USER, KIND, `event ${i}`);
  }, { segmentMaxBytes: 600 }));
}

function storeIdIn(fs: MemoryFs): Uint8Array {
  const decoded = decodeSegmentHeader(readFile(fs, `${DIR}/000001.fbat`));
  assert.ok(decoded.type === "header");
  return decoded.header.storeId;
}

test("S001-16 a planted marker forces the path over the frames, and a writer clears it", () => {
  const fs = new MemoryFs();
  const coldStart = { indexFile: true, footers: true };
  const store = openStore(fs, { segmentMaxBytes: 512, coldStart });
  for (let i = 0; i < 20; i++) store.append(USER, KIND, { i });
  store.close();
  assert.equal(openReader(fs, { coldStart }).openReport.path, "index");
  const marker = { ...MARKER, storeId: storeIdIn(fs), sourceIds: [1] };
  writeFile(fs, `${DIR}/${MARKER_NAME}`, encodeMarker(marker));
  const reader = openReader(fs, { coldStart });
  assert.equal(reader.openReport.path, "frames");
  assert.equal(reader.query({ kind: KIND }).length, 20);
  assert.notEqual(fs.stat(`${DIR}/${MARKER_NAME}`), undefined);
  const again = openStore(fs, { coldStart });
  assert.equal(again.openReport.path, "frames");
  assert.deepEqual(again.openReport.oddities, [
    "index.fbati was not used: a compaction was cut short",
    "undid a compaction of segment 1 that had been cut short",
  ]);
  assert.equal(again.query({ kind: KIND }).length, 20);
  assert.equal(fs.stat(`${DIR}/${MARKER_NAME}`), undefined);
});

test("a marker that cannot be believed refuses the journal, and changes nothing", () => {
  const bytes = (fs: MemoryFs) => encodeMarker({ ...MARKER, storeId: storeIdIn(fs) });
  const open = (fs: MemoryFs) => [() => openStore(fs), () => openReader(fs)];
  const path = `${DIR}/${MARKER_NAME}`;
  for (
    const [change, reason] of [
      [(good: Uint8Array) => flipBit(good, 20), "the checksum does not match"],
      [(good: Uint8Array) => good.subarray(0, 30), "the file has 30 bytes"],
      [() => encodeMarker(MARKER), "it belongs to another journal"],
      [() => new Uint8Array(2 << 20), "the file has 2097152 bytes"],
    ] as const
  ) {
    const fs = rolled();
    writeFile(fs, path, change(bytes(fs)));
    for (const attempt of open(fs)) {
      assert.throws(attempt, (error) => {
        assert.ok(error instanceof CorruptionError, reason);
        assert.equal(error.path.endsWith(path), true);
        assert.ok(error.reason.startsWith(reason), error.reason);
        return true;
      });
    }
    assert.notEqual(fs.stat(path), undefined);
    fs.remove(path);
    openReader(fs).close();
  }
  const fs = rolled();
  const newer = bytes(fs);
  writeU16(newer, 6, 2);
  writeFile(fs, path, newer);
  for (const attempt of open(fs)) assert.throws(attempt, FutureVersionError);
});

test("while there is a marker, the set says so", () => {
  const fs = rolled();
  const options = { storeId: storeIdIn(fs), thorough: true };
  assert.equal(readSegmentSet(fs, DIR, options).pending, undefined);
  const marker = { ...MARKER, storeId: storeIdIn(fs) };
  writeFile(fs, `${DIR}/${MARKER_NAME}`, encodeMarker(marker));
  assert.deepEqual(readSegmentSet(fs, DIR, options).pending, { marker, isCommitted: false });
});
