import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "../../platform/checksum.ts";
import type { StoreFs } from "../../platform/fs.ts";
import { MemoryFs } from "../../platform/memory.ts";
import { runtime } from "../../platform/runtime.ts";
import {
  COLD_STARTS,
  footerOf,
  framesEndOf,
  openIndexed,
  readIndexed,
  segmentNames,
  sourcesOf,
} from "../../tests/support/cold_start.ts";
import { type FooterLine, linesOfFooter } from "../../tests/support/footer_lines.ts";
import { DIR, KIND, openReader, USER } from "../../tests/support/journal.ts";
import {
  framesOf,
  fsOf,
  readTree,
  setKind,
  type Tree,
  writeFile,
} from "../../tests/support/journal_bytes.ts";
import { SeededEntropy } from "../../tests/support/seeded_entropy.ts";
import { inTempDir } from "../../tests/support/temp_dir.ts";
import type { FooterAnswer, FooterRequest } from "../../tests/testdata/footer_worker.ts";
import { CorruptionError, JournalNotFoundError } from "../errors.ts";
import { EventIndex } from "./event_index.ts";
import { EventKind } from "../event_kind.ts";
import { EventId } from "../ids.ts";
import { INDEX_FILE_NAME, publishIndexFile } from "./index_file.ts";
import type { JournalReader } from "../journal_reader.ts";
import type { OpenReport } from "../open_report.ts";
import { decodeSegmentHeader } from "../segment_header.ts";
import { segmentIdOf, segmentName } from "../segment_log.ts";
import { Store } from "../store.ts";
import { STORE_META_NAME } from "../store_meta.ts";
import { verifyJournal } from "../verify.ts";

/** Of the size of one event, so that nearly every append rolls. */
const TINY = { segmentMaxBytes: 512 };
const COUNT = 64;
const CUSTOM = EventKind.custom(0xf, 9);

/** 64 events of several entities in tiny segments, made durable one by one, and closed. */
function seedJournal(fs: StoreFs, dir: string): void {
  using store = Store.open(dir, {
    fs,
    ...TINY,
    sync: { everyNEvents: 1 },
    coldStart: { indexFile: false },
  });
  for (let i = 0; i < COUNT; i++) {
    const coordinate = { entity: `entity:${i % 5}`, scope: i % 2 === 0 ? "rebuild" : "other" };
    store.append(coordinate, i % 3 === 0 ? CUSTOM : KIND, { blob: "x".repeat(i * 3), i });
  }
}

const SEEDED = (() => {
  const fs = new MemoryFs();
  seedJournal(fs, DIR);
  return readTree(fs, DIR);
})();

/** The sealed segments of a tree. */
function sealedIds(tree: Tree): number[] {
  return segmentNames(tree).slice(0, -1).map((name) => segmentIdOf(name) as number);
}

/** What the frames of the sealed segments say. */
function linesOfFrames(tree: Tree): FooterLine[] {
  using reader = openReader(fsOf(tree));
  const last = segmentNames(tree).length;
  return reader.query().filter(({ position }) => position.segmentId < last).map((event) => ({
    eventId: event.eventId,
    entity: event.entity,
    scope: event.scope,
    category: EventKind.category(event.kind),
    typeId: EventKind.typeId(event.kind),
    globalSequence: event.globalSequence,
    offset: event.position.offset,
    size: event.position.size,
  }));
}

/** Reads footers in real workers, several at once, each taking the next one when it is done. */
async function readInWorkers(
  tree: Tree,
  ids: readonly number[],
  workerCount: number,
): Promise<FooterLine[]> {
  const url = new URL("../../tests/testdata/footer_worker.ts", import.meta.url);
  const waiting = [...ids];
  const answers = new Map<number, FooterLine[]>();
  const workers = Array.from({ length: workerCount }, () => new Worker(url, { type: "module" }));
  try {
    await Promise.all(workers.map((worker) =>
      new Promise<void>((resolve, reject) => {
        const next = () => {
          const segmentId = waiting.shift();
          if (segmentId === undefined) return resolve();
          const request: FooterRequest = { segmentId, bytes: footerOf(tree, segmentId) };
          worker.postMessage(request, [request.bytes.buffer]);
        };
        worker.onerror = (event) => reject(new Error(event.message));
        worker.onmessage = ({ data }: { data: FooterAnswer | "ready" }) => {
          if (data !== "ready") answers.set(data.segmentId, data.lines);
          next();
        };
      })
    ));
  } finally {
    for (const worker of workers) worker.terminate();
  }
  return ids.flatMap((id) => answers.get(id) ?? []);
}

/** Everything of an event that an index has a hand in. */
function contentOf(reader: JournalReader): unknown[] {
  return reader.query().map((event) => ({
    ...event.toJSON(),
    position: event.position,
    causes: reader.causes(event.eventId).map(({ eventId }) => eventId),
    effects: reader.effects(event.eventId).map(({ eventId }) => eventId),
  }));
}

// ---- The assertions of the requirement document, by their numbers ----

test("S001-1: 64 events in 512-byte segments leave sealed segments, each with a footer", () => {
  const check = (tree: Tree) => {
    const sealed = sealedIds(tree);
    assert.ok(sealed.length >= 1);
    for (const id of sealed) {
      assert.ok(framesEndOf(tree, id) < (tree.get(segmentName(id))?.byteLength ?? 0));
      assert.ok(linesOfFooter(footerOf(tree, id)).length > 0);
    }
    // The last one is active, and has none.
    const last = tree.get(segmentNames(tree).at(-1) ?? "") ?? new Uint8Array(0);
    assert.equal(framesOf(last).at(-1)?.end, last.byteLength);
  };
  check(SEEDED);
  inTempDir((dir) => {
    seedJournal(runtime.fs, dir);
    check(readTree(runtime.fs, dir));
  });
});

test("S001-2: footers read in any order say what their frames say", () => {
  const expected = linesOfFrames(SEEDED);
  const sealed = sealedIds(SEEDED);
  assert.ok(expected.length >= COUNT);
  assert.deepEqual(sealed.flatMap((id) => linesOfFooter(footerOf(SEEDED, id))), expected);
  const chance = new SeededEntropy(5);
  for (let i = 0; i < 3; i++) {
    const shuffled = sealed.map((id) => ({ id, order: chance.below(1e9) }))
      .sort((a, b) => a.order - b.order).map(({ id }) => id);
    assert.notDeepEqual(shuffled, sealed);
    const bySegment = new Map(shuffled.map((id) => [id, linesOfFooter(footerOf(SEEDED, id))]));
    assert.deepEqual(sealed.flatMap((id) => bySegment.get(id) ?? []), expected);
  }
});

test("S001-2: footers read in several workers at once say what sequential reading says", async () => {
  const sealed = sealedIds(SEEDED);
  const sequential = sealed.flatMap((id) => linesOfFooter(footerOf(SEEDED, id)));
  for (const workerCount of [1, 4]) {
    assert.deepEqual(await readInWorkers(SEEDED, sealed, workerCount), sequential);
  }
});

test("S001-3: an empty directory has no tail, with an index file of nothing in it or without", () => {
  for (const withFile of [false, true]) {
    const fs = new MemoryFs();
    fs.createDirAll(DIR);
    if (withFile) writeFile(fs, `${DIR}/${INDEX_FILE_NAME}`, savedIndex());
    using store = openIndexed(fs);
    assert.equal(store.openReport.tailEntries, 0);
    assert.equal(store.openReport.restoredEntries, 0);
    assert.equal(store.stats().eventCount, 1, "its own open");
  }
});

/** The index file of a journal that is somewhere else. */
function savedIndex(): Uint8Array {
  const fs = new MemoryFs();
  openIndexed(fs).close();
  return readTree(fs, DIR).get(INDEX_FILE_NAME) ?? new Uint8Array(0);
}

test("S001-4: an empty tail adds no chunk", () => {
  const empty = new MemoryFs();
  {
    using store = openIndexed(empty);
    assert.equal(store.openReport.chunks, 0);
  }
  const foreign = new MemoryFs();
  foreign.createDirAll(DIR);
  writeFile(foreign, `${DIR}/${INDEX_FILE_NAME}`, savedIndex());
  {
    using store = openIndexed(foreign);
    assert.equal(store.openReport.chunks, 0);
    assert.equal(store.openReport.indexFile, "ignored");
    assert.deepEqual(store.openReport.oddities, [
      "index.fbati was not used: segment 1 is not there",
    ]);
  }
  // A journal with an index file: the file is the one chunk, and stays it.
  for (let i = 0; i < 2; i++) {
    using reader = readIndexed(empty);
    assert.deepEqual(sourcesOf(reader.openReport), {
      path: "index",
      chunks: 1,
      indexFile: "loaded",
      indexFileEntries: 2,
      footerEntries: 0,
      tailEntries: 0,
    });
  }
});

test("S001-5: an index file whose segments are all missing is refused, and nothing is made up", () => {
  const tree = readTree(closedIndexed(3), DIR);
  const rest = new Map(
    [...tree].filter(([name]) => name === STORE_META_NAME || name === INDEX_FILE_NAME),
  );
  assert.equal(rest.size, 2);
  const refusal = {
    name: "CorruptionError",
    path: `/${DIR}/${STORE_META_NAME}`,
    reason: "there is a journal here, and all its segments are missing",
  };
  const fs = fsOf(rest);
  assert.throws(() => openIndexed(fs), refusal);
  assert.throws(() => readIndexed(fs), refusal);
  assert.deepEqual(
    [...readTree(fs, DIR)].filter(([name]) => name !== ".batpak.lock"),
    [...rest],
    "nothing was touched",
  );
  rest.delete(STORE_META_NAME);
  assert.throws(() => readIndexed(fsOf(rest)), { name: "JournalNotFoundError" });
});

/** A closed journal of so many events in one segment, or several, with its index file. */
function closedIndexed(count: number, segmentMaxBytes = 1 << 20): MemoryFs {
  const fs = new MemoryFs();
  using store = openIndexed(fs, { segmentMaxBytes });
  for (let i = 0; i < count; i++) store.append(USER, KIND, i);
  return fs;
}

test("S001-5: a log that is shorter than the index file says is refused, until it is given up", () => {
  const tree = readTree(closedIndexed(8), DIR);
  const bytes = tree.get("000001.fbat") ?? new Uint8Array(0);
  for (const { offset } of framesOf(bytes).slice(1)) {
    for (const size of [offset, offset + 5]) {
      const cut = new Map(tree).set("000001.fbat", bytes.slice(0, size));
      const refusal = {
        name: "CorruptionError",
        path: `/${DIR}/000001.fbat`,
        segmentId: 1,
        offset,
        reason:
          `its events end here, and the index file knows events up to offset ${bytes.byteLength}: ` +
          'restore the segment from a copy, or give them up by opening with tailPolicy "cutAtDamage"',
      };
      const fs = fsOf(cut);
      assert.throws(() => readIndexed(fs), refusal);
      assert.throws(() => openIndexed(fs), refusal);
      assert.deepEqual(readTree(fs, DIR).get("000001.fbat"), cut.get("000001.fbat"));
      const { findings, intact } = verifyJournal(DIR, { fs: fsOf(cut) });
      // By the frames alone it can still be read, up to there.
      using expected = openReader(fsOf(cut));
      const lost = framesOf(bytes).length - expected.stats().nextSequence;
      assert.deepEqual(findings.map(({ type, file }) => [type, file]), [
        ...size === offset ? [] : [["tail", "000001.fbat"]],
        ["lost", "index.fbati"],
      ]);
      assert.equal(
        findings.at(-1)?.reason,
        `it knows ${lost} events more: the end of the log is gone`,
      );
      assert.equal(intact, false, "what is gone had been durable");
      using store = openIndexed(fs, { tailPolicy: "cutAtDamage" });
      assert.deepEqual(contentOf(store).slice(0, -1), contentOf(expected));
      assert.equal(store.openReport.repairs.length, size === offset ? 0 : 1);
      store.close();
      // It is given up for good: nobody remembers it.
      openIndexed(fs).close();
    }
  }
});

test("S001-5: a sealed segment that is missing or too short is refused with an index file too", () => {
  const tree = readTree(closedIndexed(8, 512), DIR);
  assert.ok(segmentNames(tree).length > 4);
  const second = "000002.fbat";
  const end = framesEndOf(tree, 2);
  const bytes = tree.get(second) ?? new Uint8Array(0);
  for (const [size, reason] of [[end - 1, "1 bytes are missing"], [100, "header"]] as const) {
    const cut = new Map(tree).set(second, bytes.slice(0, size));
    for (const coldStart of Object.values(COLD_STARTS)) {
      assert.throws(() => openReader(fsOf(cut), { coldStart }), (error) => {
        assert.ok(error instanceof CorruptionError);
        assert.match(error.reason, new RegExp(reason));
        return true;
      });
    }
  }
  const missing = new Map(tree);
  missing.delete(second);
  for (const coldStart of Object.values(COLD_STARTS)) {
    assert.throws(() => openReader(fsOf(missing), { coldStart }), {
      name: "CorruptionError",
      reason: "segment 1 is the one before it: others are missing",
    });
  }
});

test("S001-6 and S001-7: events behind the watermark are the tail, and add exactly one chunk", () => {
  const fs = closedIndexed(4);
  {
    using reader = readIndexed(fs);
    assert.deepEqual([reader.openReport.chunks, reader.openReport.tailEntries], [1, 0]);
  }
  const beside = fs.snapshot();
  const writer = openIndexed(beside);
  for (let i = 0; i < 16; i++) writer.append(USER, KIND, i);
  for (
    const report of [readIndexed(beside).openReport, openIndexed(beside.snapshot()).openReport]
  ) {
    assert.deepEqual(sourcesOf(report), {
      path: "index",
      chunks: 2,
      indexFile: "loaded",
      indexFileEntries: 6,
      footerEntries: 0,
      tailEntries: 17,
    });
  }
});

test("S001-6 and S001-7: a watermark where the first frame starts leaves everything to the tail", () => {
  const fs = new MemoryFs();
  {
    using store = openIndexed(fs, { ...TINY, coldStart: { indexFile: false } });
    for (let i = 0; i < 16; i++) store.append(USER, KIND, i);
  }
  const first = readTree(fs, DIR).get("000001.fbat") ?? new Uint8Array(0);
  const decoded = decodeSegmentHeader(first);
  assert.equal(decoded.type, "header");
  const { header, end } = decoded as Extract<typeof decoded, { type: "header" }>;
  const headerCrc = crc32(first.subarray(0, end));
  publishIndexFile(fs, DIR, {
    storeId: header.storeId,
    firstSequence: 0,
    lastTimestampUs: 0,
    lastHash: new Uint8Array(32),
    segments: [{ id: 1, firstRow: 0, framesStart: end, end, headerCrc }],
  }, new EventIndex());
  const expected = contentOf(openReader(fs));
  assert.equal(expected.length, 18);
  using reader = readIndexed(fs, { coldStart: { footers: false } });
  assert.deepEqual(sourcesOf(reader.openReport), {
    path: "index",
    chunks: 2,
    indexFile: "loaded",
    indexFileEntries: 0,
    footerEntries: 0,
    tailEntries: 18,
  });
  assert.deepEqual(contentOf(reader), expected);
});

test("S001-8 and S001-9: zeros as a cause are none, and any other cause is kept, on every path", () => {
  const fs = new MemoryFs();
  const foreign = EventId.parse("00000000-0000-0000-0000-000000000063");
  const ids: EventId[] = [];
  {
    using store = openIndexed(fs, TINY);
    ids.push(store.append(USER, KIND, "no cause").eventId);
    ids.push(store.append(USER, KIND, "one of ours", { causationId: ids[0] }).eventId);
    ids.push(store.append(USER, KIND, "one of elsewhere", { causationId: foreign }).eventId);
  }
  for (const [path, coldStart] of Object.entries(COLD_STARTS)) {
    using reader = readIndexed(fs, { coldStart });
    assert.equal(reader.openReport.path, path);
    const [none, ours, elsewhere] = ids.map((id) => reader.get(id));
    assert.equal(none?.causationId, undefined);
    assert.deepEqual(reader.causes(ids[0]), []);
    assert.equal(ours?.causationId, ids[0]);
    assert.deepEqual(reader.causes(ids[1]).map(({ eventId }) => eventId), [ids[0]]);
    assert.deepEqual(reader.effects(ids[0]).map(({ eventId }) => eventId), [ids[1]]);
    assert.equal(elsewhere?.causationId, foreign);
    assert.deepEqual(reader.causes(ids[2]), []);
  }
});

test("S001-17: 64 events in a store that rolls give at least two segments", () => {
  assert.ok(segmentNames(SEEDED).length >= 2);
  using reader = readIndexed(fsOf(SEEDED));
  assert.equal(reader.openReport.segments, segmentNames(SEEDED).length);
  assert.equal(reader.openReport.path, "footers");
});

test("S001-18: the tail includes events of the watermark segment itself", () => {
  // Saved in the middle of a segment, which has gone on since and has been sealed.
  const fs = new MemoryFs();
  const options = { segmentMaxBytes: 2500 };
  {
    using store = openIndexed(fs, options);
    store.append(USER, KIND, "before");
  }
  const watermark = readTree(fs, DIR).get("000001.fbat")?.byteLength ?? 0;
  {
    using store = openIndexed(fs, { ...options, coldStart: { indexFile: false } });
    for (let i = 0; i < 20; i++) store.append(USER, KIND, { i });
  }
  const tree = readTree(fs, DIR);
  assert.ok(watermark < framesEndOf(tree, 1));
  const behind = framesOf(tree.get("000001.fbat") ?? new Uint8Array(0))
    .filter(({ offset }) => offset >= watermark);
  assert.ok(behind.length > 1);
  const expected = contentOf(openReader(fs));
  using reader = readIndexed(fs);
  const { indexFileEntries, footerEntries, tailEntries, segments, chunks } = reader.openReport;
  assert.equal(indexFileEntries, 3);
  assert.ok(segments >= 3);
  // The index file, a footer for each sealed segment behind, and the frames of two segments.
  assert.equal(chunks, 1 + (segments - 2) + 1);
  const lastCount = framesOf(tree.get(segmentName(segments)) ?? new Uint8Array(0)).length;
  assert.equal(tailEntries, behind.length + lastCount);
  assert.equal(indexFileEntries + footerEntries + tailEntries, expected.length);
  assert.deepEqual(contentOf(reader), expected);
  for (const { sequence } of behind) {
    assert.equal(reader.at(sequence)?.position.segmentId, 1);
  }
  // Without footers, everything behind is one tail.
  using plain = readIndexed(fs, { coldStart: { footers: false } });
  assert.deepEqual(sourcesOf(plain.openReport), {
    path: "index",
    chunks: 2,
    indexFile: "loaded",
    indexFileEntries: 3,
    footerEntries: 0,
    tailEntries: expected.length - 3,
  });
  assert.deepEqual(contentOf(plain), expected);
});

// ---- What the report says ----

test("the report says which path, and adds up, on every path and in both modes", () => {
  const fs = new MemoryFs();
  {
    using store = openIndexed(fs, TINY);
    for (let i = 0; i < 10; i++) store.append(USER, KIND, i);
  }
  const segments = segmentNames(readTree(fs, DIR)).length;
  const expected: Record<string, Record<string, unknown>> = {
    index: {
      path: "index",
      chunks: 1,
      indexFile: "loaded",
      indexFileEntries: 12,
      footerEntries: 0,
      tailEntries: 0,
    },
    footers: {
      path: "footers",
      chunks: 7,
      indexFile: "notTried",
      indexFileEntries: 0,
      footerEntries: 11,
      tailEntries: 1,
    },
    frames: {
      path: "frames",
      chunks: 1,
      indexFile: "notTried",
      indexFileEntries: 0,
      footerEntries: 0,
      tailEntries: 12,
    },
  };
  assert.equal(segments, 7);
  for (const [path, coldStart] of Object.entries(COLD_STARTS)) {
    const check = (report: OpenReport) => {
      assert.deepEqual(sourcesOf(report), expected[path]);
      assert.equal(report.restoredEntries, 12);
      assert.equal(report.segments, segments);
      assert.deepEqual(report.oddities, []);
      assert.deepEqual(report.unknownReservedKinds, {});
      const { phaseIndexFileUs, phaseFootersUs, phaseFramesUs, phaseRestoreIndexUs } = report;
      for (const us of [phaseIndexFileUs, phaseFootersUs, phaseFramesUs]) assert.ok(us >= 0);
      assert.ok(phaseIndexFileUs + phaseFootersUs + phaseFramesUs <= phaseRestoreIndexUs);
      assert.ok(phaseRestoreIndexUs <= report.elapsedUs);
      assert.equal(report.scannedBytes > 0, path !== "index");
    };
    check(readIndexed(fs, { coldStart }).openReport);
    using store = openIndexed(fs.snapshot(), { coldStart });
    check(store.openReport);
    const event = store.query({ kind: EventKind.SYSTEM_OPEN_COMPLETED }).at(-1);
    assert.deepEqual(event?.payload, store.openReport);
  }
});

test('chainVerification "recompute" reads every frame, whatever indexes there are', () => {
  const fs = closedIndexed(5, 512);
  for (
    const report of [
      readIndexed(fs, { chainVerification: "recompute" }).openReport,
      openIndexed(fs, { chainVerification: "recompute" }).openReport,
    ]
  ) {
    assert.deepEqual([report.path, report.indexFile], ["frames", "notTried"]);
  }
});

test("a directory that is no journal is none with an index file in it", () => {
  const fs = new MemoryFs();
  fs.createDirAll(DIR);
  writeFile(fs, `${DIR}/${INDEX_FILE_NAME}`, savedIndex());
  assert.throws(() => readIndexed(fs), JournalNotFoundError);
});

// ---- Kinds of a newer program ----

test("unknown reserved kinds are counted on every path, and read like any other", () => {
  const fs = new MemoryFs();
  const kinds = [0x0123, 0xd123, 0xd123];
  const store = openIndexed(fs);
  for (let i = 0; i < 3; i++) {
    store.append({ entity: `entity:${i}`, scope: "app" }, KIND, { i }, { tags: ["odd"] });
  }
  // Killed; then a newer program has changed its events, and they are the last of their chains.
  const tree = readTree(fs.snapshot(), DIR);
  const segment = tree.get("000001.fbat") ?? new Uint8Array(0);
  for (const [i, { offset }] of framesOf(segment).slice(1).entries()) {
    setKind(segment, offset, kinds[i]);
  }
  const expected = { "0x0123": 1, "0xD123": 2 };
  const forged = fsOf(tree);
  {
    // By frames, for writing; then the segment is sealed with a footer, and the index saved.
    using writer = openIndexed(forged, { segmentMaxBytes: 600 });
    assert.deepEqual(writer.openReport.unknownReservedKinds, expected);
    writer.append(USER, KIND, "behind");
  }
  for (const [path, coldStart] of Object.entries(COLD_STARTS)) {
    for (
      const reader of [
        readIndexed(forged, { coldStart }),
        openIndexed(forged.snapshot(), { coldStart }),
      ]
    ) {
      assert.equal(reader.openReport.path, path);
      assert.deepEqual(reader.openReport.unknownReservedKinds, expected);
      const events = reader.query({ tags: ["odd"] });
      assert.deepEqual(events.map(({ kind, payload }) => [kind, payload]), [
        [0x0123, { i: 0 }],
        [0xd123, { i: 1 }],
        [0xd123, { i: 2 }],
      ]);
      assert.deepEqual(
        reader.query({ category: 0xd }).map(({ entity }) => entity),
        ["entity:1", "entity:2"],
      );
      assert.equal(reader.query({ kind: EventKind.fromRaw(0x0123) }).length, 1);
      reader.close();
    }
  }
});
