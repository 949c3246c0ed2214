/**
 * Index files and footers that are damaged, stale, foreign or newer: they cost time, never correctness.
 * Each case ends with the answers that frames give, a line in the report, and a verification that finds
 * the journal intact.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { IoFault, type StoreFs } from "../../platform/fs.ts";
import { MemoryFs } from "../../platform/memory.ts";
import { runtime } from "../../platform/runtime.ts";
import { answersOf } from "../../tests/support/answers.ts";
import {
  footerOf,
  framesEndOf,
  openIndexed,
  pathOf,
  readIndexed,
  segmentNames,
  withFooter,
} from "../../tests/support/cold_start.ts";
import { FixedClock } from "../../tests/support/fixed_clock.ts";
import { forgedFooter, forgedIndexFile, sealFooter } from "../../tests/support/image_sections.ts";
import { DIR, KIND, openReader, USER } from "../../tests/support/journal.ts";
import {
  concat,
  flipBit,
  framesOf,
  fsOf,
  readTree,
  type Tree,
  writeFile,
} from "../../tests/support/journal_bytes.ts";
import { SeededEntropy } from "../../tests/support/seeded_entropy.ts";
import { inTempDir } from "../../tests/support/temp_dir.ts";
import { spiedFs } from "../../tests/support_api/spied_fs.ts";
import { writeU16 } from "../bytes.ts";
import { INDEX_FILE_NAME } from "./index_file.ts";
import { segmentName } from "../segment_log.ts";
import { Store } from "../store.ts";
import type { StoreOptions } from "../store_options.ts";
import { verifyJournal } from "../verify.ts";

const OTHER = { entity: "user:1:cart", scope: "shop" };
const ROLLING = { segmentMaxBytes: 1200 };

/** Events of two entities, on two lanes, with tags and causes. */
function fill(store: Store, count: number): void {
  let causationId: ReturnType<Store["append"]>["eventId"] | undefined;
  for (let i = 0; i < count; i++) {
    const tags = i % 3 === 0 ? ["odd", `t${i % 2}`] : [];
    const lane = i % 4 === 3 ? 2 : 0;
    const receipt = store.append(i % 2 === 0 ? USER : OTHER, KIND, { i }, {
      tags,
      lane,
      causationId,
    });
    if (i % 2 === 0) causationId = receipt.eventId;
  }
}

/** A closed journal of several segments with footers and an index file. */
function journal(seed: number, count = 20, fs = new MemoryFs()): MemoryFs {
  const clock = new FixedClock(1_700_000_000_000_000 + seed);
  using store = openIndexed(fs, { ...ROLLING, clock, entropy: new SeededEntropy(seed) });
  fill(store, count);
  return fs;
}

/** The same journal, gone on with. */
function goneOn(tree: Tree, seed: number, count: number, options: StoreOptions = {}): Tree {
  const fs = fsOf(tree);
  const clock = new FixedClock(1_800_000_000_000_000 + seed);
  const entropy = new SeededEntropy(seed);
  const store = openIndexed(fs, { ...ROLLING, clock, entropy, ...options });
  fill(store, count);
  store.close();
  return readTree(fs, DIR);
}

const TREE = readTree(journal(1), DIR);
const FOREIGN = readTree(journal(2), DIR);
const INDEX = TREE.get(INDEX_FILE_NAME) ?? new Uint8Array(0);
const EXPECTED = answersByFrames(fsOf(TREE));

function answersByFrames(fs: StoreFs): Record<string, unknown> {
  using reader = openReader(fs);
  assert.equal(reader.openReport.path, "frames");
  return answersOf(reader);
}

function withIndex(bytes: Uint8Array, tree: Tree = TREE): Tree {
  return new Map(tree).set(INDEX_FILE_NAME, bytes);
}

/** What a case ends with. */
interface Outcome {
  /** Every line of the report; a start of it when it ends in an ellipsis. */
  readonly oddities: readonly string[];
  /** Type, file and reason of every finding of verification. */
  readonly findings?: readonly [type: string, file: string, reason: string][];
  readonly indexFile?: string;
  /** Opens without the index file, so that the footers matter. */
  readonly footersOnly?: boolean;
}

/** Opens for reading and for writing, compares with what frames give, and verifies. */
function check(name: string, make: () => StoreFs, outcome: Outcome): void {
  const { oddities, indexFile, footersOnly, findings } = outcome;
  const coldStart = footersOnly === true ? { indexFile: false } : {};
  const expected = answersByFrames(make());
  const eventCount = (expected.events as unknown[]).length;
  {
    using reader = readIndexed(make(), { coldStart });
    assert.deepEqual(answersOf(reader), expected, name);
    assertLines(reader.openReport.oddities, oddities, name);
    if (indexFile !== undefined) assert.equal(reader.openReport.indexFile, indexFile, name);
    assert.equal(reader.openReport.restoredEntries, eventCount);
  }
  if (findings !== undefined) {
    const report = verifyJournal(DIR, { fs: make() });
    assert.equal(report.intact, true, name);
    assert.deepEqual(
      report.findings.map(({ type, file, reason }) => [type, file, reason]),
      findings,
      name,
    );
  }
  const fs = make();
  {
    using store = openIndexed(fs, { coldStart });
    assertLines(store.openReport.oddities, oddities, name);
    assert.equal(store.at(eventCount - 1)?.eventId, (expected.all as string[]).at(-1), name);
    assert.deepEqual((answersOf(store).events as unknown[]).slice(0, eventCount), expected.events);
    store.append(USER, KIND, "goes on");
  }
  // The chain goes on as well, and the index file is a new one.
  const after = verifyJournal(DIR, { fs });
  assert.equal(after.intact, true, name);
  if (footersOnly !== true) {
    assert.deepEqual(after.findings.filter(({ file }) => file === INDEX_FILE_NAME), [], name);
    assert.equal(readIndexed(fs).openReport.indexFile, "loaded", name);
  }
}

function assertLines(actual: readonly string[], expected: readonly string[], name: string): void {
  assert.deepEqual(
    actual.map((line, i) => {
      const start = expected[i]?.endsWith("…") ? expected[i].slice(0, -1) : undefined;
      return start !== undefined && line.startsWith(start) ? expected[i] : line;
    }),
    expected,
    name,
  );
}

/** The outcome of an index file that is of no use; verification may put it in other words. */
function ignored(reason: string, verified = reason): Outcome {
  return {
    oddities: [`index.fbati was not used: ${reason}`],
    findings: [["unusable", INDEX_FILE_NAME, verified]],
    indexFile: "ignored",
  };
}

test("the journal of these tests has footers, an index file, and no finding", () => {
  assert.ok(segmentNames(TREE).length >= 5);
  assert.ok(INDEX.byteLength > 3 * 512);
  for (let id = 1; id < segmentNames(TREE).length; id++) {
    assert.ok(footerOf(TREE, id).byteLength > 3 * 128);
  }
  check("sound", () => fsOf(TREE), { oddities: [], findings: [], indexFile: "loaded" });
  check("sound", () => fsOf(TREE), { oddities: [], findings: [], footersOnly: true });
});

// ---- index.fbati ----

test("a missing index file costs nothing but time", () => {
  const tree = new Map(TREE);
  tree.delete(INDEX_FILE_NAME);
  check("missing", () => fsOf(tree), { oddities: [], findings: [], indexFile: "missing" });
});

test("an empty index file, and one cut at any byte, is left aside", () => {
  for (let size = 0; size < INDEX.byteLength; size++) {
    const reason = size < 16 ? "it is cut short" : "its checksum does not match";
    const make = () => fsOf(withIndex(INDEX.slice(0, size)));
    if (size < 20 || size % 97 === 0) check(`${size} bytes`, make, ignored(reason));
    else {
      using reader = readIndexed(make());
      assert.deepEqual(reader.openReport.oddities, [`index.fbati was not used: ${reason}`]);
      assert.equal(reader.stats().eventCount, 22);
    }
  }
});

test("an index file with a flipped bit in any byte is left aside", () => {
  for (let offset = 0; offset < INDEX.byteLength; offset++) {
    const make = () => fsOf(withIndex(flipBit(INDEX, offset, offset % 8)));
    using reader = readIndexed(make());
    const { indexFile, oddities, path } = reader.openReport;
    assert.deepEqual([indexFile, path, oddities.length], ["ignored", "footers", 1]);
    const [oddity] = oddities;
    assert.ok(oddity.startsWith("index.fbati was not used: "));
    if (offset % 97 === 0 || offset < 16) {
      check(`byte ${offset}`, make, ignored(oddity.slice("index.fbati was not used: ".length)));
    }
  }
});

test("an index file with a page of zeros, or a page twice, is left aside", () => {
  const page = 512;
  for (let at = 0; at + page <= INDEX.byteLength; at += page) {
    const zeroed = INDEX.slice();
    zeroed.fill(0, at, at + page);
    const reason = at === 0 ? "it does not begin with FBATIX" : "its checksum does not match";
    check(`zeros at ${at}`, () => fsOf(withIndex(zeroed)), ignored(reason));
    if (at + 2 * page > INDEX.byteLength) continue;
    const twice = INDEX.slice();
    twice.copyWithin(at + page, at, at + page);
    const make = () => fsOf(withIndex(twice));
    check(`${at} twice`, make, ignored("its checksum does not match"));
    const inserted = concat(INDEX.slice(0, at + page), INDEX.slice(at));
    const makeLonger = () => fsOf(withIndex(inserted));
    check(`${at} inserted`, makeLonger, ignored("its checksum does not match"));
  }
});

test("the index file of another journal is left aside", () => {
  const foreign = FOREIGN.get(INDEX_FILE_NAME) ?? new Uint8Array(0);
  check("foreign", () => fsOf(withIndex(foreign)), {
    ...ignored("segment 1 is not the one it knew"),
    findings: [["unusable", INDEX_FILE_NAME, "it is of other segments"]],
  });
});

test("a newer index file is left aside", () => {
  const newer = INDEX.slice();
  writeU16(newer, 6, 3);
  const reason = "it has version 3, and this program reads 2";
  check("newer", () => fsOf(withIndex(newer)), ignored(reason));
});

test("the index file of an earlier state is used, and what came since is read from the log", () => {
  const later = goneOn(TREE, 3, 7);
  const make = () => fsOf(withIndex(INDEX, later));
  check("stale", make, { oddities: [], findings: [], indexFile: "loaded" });
  const { openReport } = readIndexed(make());
  assert.equal(openReport.indexFileEntries, 22);
  assert.equal(openReport.footerEntries + openReport.tailEntries, 9);
});

test("the index file of a fork that went on differently is left aside", () => {
  // The same sizes, so that only the last event tells them apart.
  const whole = { segmentMaxBytes: 1 << 20 };
  const [left, right] = [goneOn(TREE, 3, 1, whole), goneOn(TREE, 4, 1, whole)];
  const index = right.get(INDEX_FILE_NAME) ?? new Uint8Array(0);
  assert.equal(index.byteLength, left.get(INDEX_FILE_NAME)?.byteLength);
  check(
    "the same sizes",
    () => fsOf(withIndex(index, left)),
    ignored(
      "the last event is not the one it knew",
      "it is of another state of the journal",
    ),
  );
  // More events here than there: the end of the fork is in the middle of a frame.
  const longer = goneOn(TREE, 4, 2, whole);
  const shorter = goneOn(TREE, 3, 6, whole);
  check(
    "other sizes",
    () => fsOf(withIndex(longer.get(INDEX_FILE_NAME) ?? INDEX, shorter)),
    ignored("the last event it knew is not there", "it is of another state of the journal"),
  );
  // Another segment than there.
  const rolled = goneOn(TREE, 4, 8);
  const other = goneOn(TREE, 3, 8);
  check(
    "other segments",
    () => fsOf(withIndex(rolled.get(INDEX_FILE_NAME) ?? INDEX, other)),
    ignored(
      `segment ${segmentNames(TREE).length + 1} is not the one it knew`,
      "it is of other segments",
    ),
  );
});

test("the index file of the state before a tail repair is left aside", () => {
  const last = segmentNames(TREE).at(-1) ?? "";
  const bytes = TREE.get(last) ?? new Uint8Array(0);
  const { offset, end } = framesOf(bytes).at(-1) ?? assert.fail("there is a frame");
  const id = segmentNames(TREE).length;
  // A disk that lied has lost the end of the log and kept the index file.
  const cut = new Map(TREE).set(last, bytes.slice(0, offset + 20));
  assert.throws(() => readIndexed(fsOf(cut)), { name: "CorruptionError", segmentId: id, offset });
  // Repaired, and gone on with until the log is as long again.
  const repaired = goneOn(cut, 5, 9, { segmentMaxBytes: 1 << 20, coldStart: { indexFile: false } });
  assert.ok((repaired.get(last)?.byteLength ?? 0) > end);
  const reason = framesOf(repaired.get(last) ?? bytes).some((frame) => frame.end === end)
    ? "the last event is not the one it knew"
    : "the last event it knew is not there";
  check(
    "before the repair",
    () => fsOf(repaired),
    ignored(reason, "it is of another state of the journal"),
  );
});

test("a directory, a link or a pipe in the place of the index file is left aside", () => {
  const rest = new Map(TREE);
  rest.delete(INDEX_FILE_NAME);
  const reason = "it is not a regular file";
  const asDir = (fs: MemoryFs) => fs.createDirAll(pathOf(INDEX_FILE_NAME));
  const asLink = (fs: MemoryFs) => {
    writeFile(fs, pathOf("elsewhere"), INDEX);
    fs.symlink("elsewhere", pathOf(INDEX_FILE_NAME));
  };
  for (const put of [asDir, asLink]) {
    const fs = fsOf(rest);
    put(fs);
    {
      using reader = readIndexed(fs);
      assert.deepEqual(reader.openReport.oddities, [`index.fbati was not used: ${reason}`]);
      assert.deepEqual(answersOf(reader), EXPECTED);
    }
    // Nothing is renamed onto either: it stays, no error comes of it, and nothing lies about.
    openIndexed(fs).close();
    assert.deepEqual(verifyJournal(DIR, { fs }).findings.map(({ type }) => type), ["unusable"]);
    assert.deepEqual(fs.list(DIR).filter(({ name }) => name.startsWith(".stage")), []);
    using reader = readIndexed(fs);
    assert.equal(reader.stats().eventCount, 24);
  }
  inTempDir((dir) => {
    for (const [name, bytes] of rest) writeFile(runtime.fs, `${dir}/${name}`, bytes);
    execFileSync("mkfifo", [`${dir}/${INDEX_FILE_NAME}`]);
    const report = verifyJournal(dir, { fs: runtime.fs });
    assert.deepEqual(report.findings.map(({ type, reason }) => [type, reason]), [
      ["unusable", reason],
    ]);
    using reader = openReaderAt(dir);
    assert.deepEqual(reader.openReport.oddities, [`index.fbati was not used: ${reason}`]);
    assert.deepEqual(answersOf(reader), EXPECTED);
  });
});

function openReaderAt(dir: string): ReturnType<typeof readIndexed> {
  return Store.openReadOnly(dir);
}

test("an index file that cannot be read is left aside", () => {
  for (const op of ["stat", "open", "size", "readAt"] as const) {
    for (const code of ["EACCES", "EIO"]) {
      const make = () => {
        const fs = fsOf(TREE);
        fs.failNext({ op, code, path: INDEX_FILE_NAME });
        return fs;
      };
      using reader = readIndexed(make());
      assert.deepEqual(answersOf(reader), EXPECTED);
      assertLines(
        reader.openReport.oddities,
        [`index.fbati was not used: Cannot …`],
        `${op} ${code}`,
      );
      assert.match(reader.openReport.oddities[0], new RegExp(`${code} \\(planted fault\\)$`));
      const report = verifyJournal(DIR, { fs: make() });
      assert.equal(report.intact, true);
      assert.deepEqual(report.findings.map(({ type }) => type), ["unusable"]);
    }
  }
});

test("an index file that looks right and is not what the log goes on from is left aside", () => {
  // Sound bytes and the last event it knew; only the events behind show that a clock is wrong.
  const later = goneOn(TREE, 3, 7, { segmentMaxBytes: 1 << 20 });
  const forged = forgedIndexFile(INDEX, (sections) => {
    const clocks = sections.words("chainClock");
    for (let chain = 0; chain < clocks.length; chain++) clocks[chain] += 1;
  });
  const make = () => fsOf(withIndex(forged, later));
  using reader = readIndexed(make());
  assert.deepEqual(answersOf(reader), answersByFrames(make()));
  assertLines(reader.openReport.oddities, [
    "the indexes were left aside, because the log does not follow them: the event has clock …",
  ], "forged");
  assert.deepEqual([reader.openReport.path, reader.openReport.indexFile], ["frames", "notTried"]);
  // It would have given wrong answers until then.
  const report = verifyJournal(DIR, { fs: make() });
  assert.equal(report.intact, false);
  assert.deepEqual(report.findings.map(({ type, file }) => [type, file]), [
    ["index", INDEX_FILE_NAME],
  ]);
});

// ---- Footers ----

/** The segment whose footer is damaged, with segments before and behind it. */
const ID = 2;
const FOOTER = footerOf(TREE, ID);

function unusedFooter(reason: string): Outcome {
  return {
    oddities: [`the index footer of segment ${ID} was not used: ${reason}`],
    findings: [["unusable", segmentName(ID), `the index footer: ${reason}`]],
    footersOnly: true,
  };
}

function withFooterBytes(footer: Uint8Array): () => MemoryFs {
  return () => fsOf(withFooter(TREE, ID, footer));
}

test("a segment without a footer is read by its frames", () => {
  const make = withFooterBytes(new Uint8Array(0));
  check("none", make, { oddities: [], findings: [], footersOnly: true });
  using reader = readIndexed(make(), { coldStart: { indexFile: false } });
  const { path, footerEntries, tailEntries, segments, chunks } = reader.openReport;
  assert.equal(path, "footers");
  assert.equal(chunks, segments - 2 + 1);
  assert.equal(footerEntries + tailEntries, 22);
});

test("a footer that is cut is left aside", () => {
  for (let size = 1; size < FOOTER.byteLength; size++) {
    const reason = size < 16
      ? "the bytes behind the frames are no index footer"
      : `it claims ${FOOTER.byteLength} bytes, and there are ${size}`;
    if (size > 20 && size % 7 !== 0) continue;
    check(`${size} bytes`, withFooterBytes(FOOTER.slice(0, size)), unusedFooter(reason));
  }
});

test("a footer with a flipped bit in any byte is left aside", () => {
  for (let offset = 0; offset < FOOTER.byteLength; offset++) {
    const flipped = flipBit(FOOTER, offset, offset % 8);
    const make = withFooterBytes(flipped);
    const [oddity] = readIndexed(make(), { coldStart: { indexFile: false } }).openReport.oddities;
    const reason = oddity.slice(oddity.indexOf(": ") + 2);
    const expected = offset < 4
      ? /^the bytes behind the frames are no index footer$/
      : offset < 8
      ? /^(it claims \d+ bytes, and there are \d+|the bytes behind the frames are no index footer)$/
      : /^its checksum does not match$/;
    assert.match(reason, expected);
    if (offset < 20 || offset % 7 === 0) check(`byte ${offset}`, make, unusedFooter(reason));
  }
});

test("a footer with a page of zeros, or a page twice, is left aside", () => {
  const page = 128;
  for (let at = 0; at + page <= FOOTER.byteLength; at += page) {
    const zeroed = FOOTER.slice();
    zeroed.fill(0, at, at + page);
    const reason = at === 0
      ? "the bytes behind the frames are no index footer"
      : "its checksum does not match";
    check(`zeros at ${at}`, withFooterBytes(zeroed), unusedFooter(reason));
    if (at + 2 * page > FOOTER.byteLength) continue;
    const twice = FOOTER.slice();
    twice.copyWithin(at + page, at, at + page);
    check(`${at} twice`, withFooterBytes(twice), unusedFooter("its checksum does not match"));
  }
});

test("a footer that is there twice, or stands behind something else, is left aside", () => {
  const size = FOOTER.byteLength;
  check(
    "twice",
    withFooterBytes(concat(FOOTER, FOOTER)),
    unusedFooter(`it claims ${size} bytes, and there are ${2 * size}`),
  );
  check(
    "behind zeros",
    withFooterBytes(concat(new Uint8Array(8), FOOTER)),
    unusedFooter("the bytes behind the frames are no index footer"),
  );
});

test("a newer footer is left aside", () => {
  const newer = FOOTER.slice();
  writeU16(newer, 12, 2);
  sealFooter(newer);
  const reason = "it has version 2, and this program reads 1";
  check("newer", withFooterBytes(newer), unusedFooter(reason));
});

test("the footer of another segment, journal or fork is left aside", () => {
  const reason = "it is of other frames";
  check("segment 1", withFooterBytes(footerOf(TREE, 1)), unusedFooter(reason));
  check("segment 3", withFooterBytes(footerOf(TREE, 3)), unusedFooter(reason));
  const foreign = footerOf(FOREIGN, ID);
  assert.equal(foreign.byteLength, FOOTER.byteLength);
  check("foreign", withFooterBytes(foreign), unusedFooter(reason));
});

test("a footer with a right checksum that does not fit its segment is left aside", () => {
  const reason = "it is of other frames";
  const numbers: [name: string, by: number][] = [
    ["firstSequence", 1],
    ["firstSequence", -1],
    ["framesEnd", 1],
    ["framesEnd", -1],
    ["lastTimestampUs", -1_000_000],
  ];
  for (const [name, by] of numbers) {
    const forged = forgedFooter(FOOTER, (sections) => sections.number(name)[0] += by);
    check(`${name} ${by}`, withFooterBytes(forged), unusedFooter(reason));
  }
  const hash = forgedFooter(FOOTER, (sections) => sections.bytes("lastHash")[31] ^= 1);
  check("lastHash", withFooterBytes(hash), unusedFooter(reason));
});

test("a footer whose rows lead nowhere or break their chains is left aside", () => {
  const cases: [name: string, row: number, value: number, reason: string][] = [
    ["clock", 0, 77, "an event does not follow its chain"],
    ["chain", 1, 99, "a row leads nowhere"],
    ["scope", 0, 99, "a row leads nowhere"],
    ["tagSet", 0, 99, "a row leads nowhere"],
    ["offset", 0, 0, "its frames do not follow one another"],
    ["chainEntity", 0, 99, "a chain has no entity"],
  ];
  for (const [name, row, value, reason] of cases) {
    const forged = forgedFooter(FOOTER, (sections) => sections.words(name)[row] = value);
    const make = withFooterBytes(forged);
    using reader = readIndexed(make(), { coldStart: { indexFile: false } });
    assert.deepEqual(reader.openReport.oddities, unusedFooter(reason).oddities);
    assert.deepEqual(answersOf(reader), EXPECTED);
  }
});

test("a footer that cannot be read is left aside", () => {
  const end = framesEndOf(TREE, ID);
  /** Reads that begin in the footer fail. */
  class BadSectorFs extends MemoryFs {
    override open(...args: Parameters<MemoryFs["open"]>): ReturnType<MemoryFs["open"]> {
      const file = super.open(...args);
      if (!args[0].endsWith(segmentName(ID))) return file;
      const read = file.readAt.bind(file);
      file.readAt = (target, start, size, position) => {
        if (position >= end) throw new IoFault({ code: "EIO", op: "readAt", path: args[0] });
        return read(target, start, size, position);
      };
      return file;
    }
  }
  const make = () => {
    const fs = new BadSectorFs();
    fs.createDirAll(DIR);
    for (const [name, bytes] of TREE) writeFile(fs, pathOf(name), bytes);
    return fs;
  };
  // Opening names the canonical path, verification the one it was given.
  const path = pathOf(segmentName(ID));
  check("a bad sector", make, {
    ...unusedFooter(`Cannot read "/${path}": EIO`),
    findings: [["unusable", segmentName(ID), `the index footer: Cannot read "${path}": EIO`]],
  });
});

// ---- The log itself ----

test("damage in the log is refused where frames are read, and found by verification where they are not", () => {
  const names = segmentNames(TREE);
  for (const [i, name] of names.entries()) {
    const bytes = TREE.get(name) ?? new Uint8Array(0);
    const frames = framesOf(bytes);
    const { offset, sequence } = frames[0];
    const damaged = new Map(TREE).set(name, flipBit(bytes, offset + 60));
    const reason = /^the frame's checksum does not match/;
    const isDamage = (error: Error & { reason?: string; segmentId?: number }) =>
      error.name === "CorruptionError" && error.segmentId === i + 1 &&
      reason.test(error.reason ?? "");
    // The last segment is read by frames whatever footers there are; its damage has frames behind it.
    const readers = i === names.length - 1
      ? [{ indexFile: false }, { indexFile: false, footers: false }]
      : [{ indexFile: false, footers: false }];
    for (const coldStart of readers) {
      assert.throws(() => readIndexed(fsOf(damaged), { coldStart }), isDamage);
      assert.throws(() => openIndexed(fsOf(damaged), { coldStart }), isDamage);
    }
    {
      // The index file has not looked there, and says so when the event is read.
      using reader = readIndexed(fsOf(damaged));
      assert.equal(reader.openReport.indexFile, "loaded");
      assert.throws(() => reader.at(sequence)?.payload, isDamage);
      assert.equal(reader.at(sequence + 1)?.globalSequence, sequence + 1);
    }
    const report = verifyJournal(DIR, { fs: fsOf(damaged) });
    assert.equal(report.intact, false);
    assert.deepEqual(report.findings.map(({ type, file }) => [type, file])[0], ["frame", name]);
    assert.deepEqual(report.findings.filter(({ type }) => type === "index"), []);
  }
});

test("damage to the very event at the watermark is no torn tail: it had been synced", () => {
  const name = segmentNames(TREE).at(-1) ?? "";
  const bytes = TREE.get(name) ?? new Uint8Array(0);
  const { offset } = framesOf(bytes).at(-1) ?? assert.fail("there is a frame");
  const damaged = fsOf(new Map(TREE).set(name, flipBit(bytes, offset + 60)));
  const before = readTree(damaged, DIR);
  const refusal = { name: "CorruptionError", path: `/${pathOf(name)}`, offset };
  assert.throws(() => readIndexed(damaged), refusal);
  assert.throws(() => Store.open(DIR, { fs: damaged }), refusal);
  assert.deepEqual(readTree(damaged, DIR).get(name), before.get(name));
});

// ---- Verification ----

test("a sound index file that contradicts the frames is a finding, and the journal not intact", () => {
  const changes: [name: string, change: Parameters<typeof forgedIndexFile>[1]][] = [
    ["a kind", (sections) => sections.bytes("kind")[2] ^= 1],
    ["an offset", (sections) => sections.words("offset")[3] += 8],
    ["a cause", (sections) => sections.words("cause")[5] = 0],
    ["a scope", (sections) => sections.words("scope")[1] ^= 1],
    ["a state", (sections) => sections.bytes("state")[4] = 2],
    ["an id", (sections) => sections.bytes("eventId")[20] ^= 1],
    ["a clock", (sections) => sections.words("clock")[2] += 1],
    ["a name", (sections) => sections.bytes("entities.arena")[0] ^= 1],
    ["a row's place in a list", (sections) => {
      const arena = sections.words("byEntity.arena");
      const tail = sections.words("byEntity.tails")[1];
      arena[tail + 4 + arena[tail + 2] - 1] += 1;
    }],
    ["the latest time", (sections) => sections.number("lastTimestampUs")[0] += 1],
    ["a segment's first row", (sections) => sections.number("segment1.end")[0] -= 1],
  ];
  for (const [name, change] of changes) {
    const fs = fsOf(withIndex(forgedIndexFile(INDEX, change)));
    // It is taken at its word: that is what the finding is about.
    assert.equal(readIndexed(fs).openReport.indexFile, "loaded", name);
    const report = verifyJournal(DIR, { fs });
    assert.deepEqual(report.findings, [{
      type: "index",
      file: INDEX_FILE_NAME,
      segmentId: undefined,
      offset: 0,
      reason: "it does not say what the frames say: remove it",
    }], name);
    assert.equal(report.intact, false);
    fs.remove(pathOf(INDEX_FILE_NAME));
    assert.equal(verifyJournal(DIR, { fs }).intact, true, "and removing it helps");
  }
});

test("a sound footer that contradicts the frames is a finding, and the journal not intact", () => {
  const changes: [name: string, change: Parameters<typeof forgedFooter>[1]][] = [
    ["a kind", (sections) => sections.bytes("kind")[2] ^= 1],
    ["an offset", (sections) => sections.words("offset")[1] += 8],
    ["a cause", (sections) => sections.words("cause")[1] += 1],
    ["a state", (sections) => sections.bytes("state")[0] = 2],
    ["an id", (sections) => sections.bytes("eventId")[20] ^= 1],
    ["the latest time", (sections) => sections.number("lastTimestampUs")[0] += 1],
  ];
  for (const [name, change] of changes) {
    const tree = new Map(withFooter(TREE, ID, forgedFooter(FOOTER, change)));
    tree.delete(INDEX_FILE_NAME);
    const fs = fsOf(tree);
    assert.deepEqual(readIndexed(fs).openReport.oddities, [], name);
    const report = verifyJournal(DIR, { fs });
    assert.deepEqual(report.findings, [{
      type: "index",
      file: segmentName(ID),
      segmentId: ID,
      offset: framesEndOf(TREE, ID),
      reason: "the index footer: it does not say what the frames say",
    }], name);
    assert.equal(report.intact, false);
  }
});

test("an index file is compared even when a footer is a finding, and the other way round", () => {
  const tree = withIndex(
    forgedIndexFile(INDEX, (sections) => sections.bytes("kind")[2] ^= 1),
    withFooter(TREE, ID, forgedFooter(FOOTER, (sections) => sections.bytes("kind")[2] ^= 1)),
  );
  const report = verifyJournal(DIR, { fs: fsOf(tree) });
  assert.deepEqual(report.findings.map(({ type, file }) => [type, file]), [
    ["index", segmentName(ID)],
    ["index", INDEX_FILE_NAME],
  ]);
});

// ---- What an open leaves behind ----

test("no open leaves a file open, whatever it ends with", () => {
  const last = segmentNames(TREE).at(-1) ?? "";
  const bytes = TREE.get(last) ?? new Uint8Array(0);
  const trees: [name: string, tree: Tree][] = [
    ["sound", TREE],
    ["foreign index", withIndex(FOREIGN.get(INDEX_FILE_NAME) ?? INDEX)],
    ["damaged index", withIndex(flipBit(INDEX, 900))],
    ["damaged footer", withFooter(TREE, ID, flipBit(FOOTER, 90))],
    [
      "a sound frame behind damage behind the watermark",
      (() => {
        const longer = goneOn(TREE, 3, 3, { segmentMaxBytes: 1 << 20 });
        const segment = longer.get(last) ?? bytes;
        return withIndex(INDEX, new Map(longer).set(last, flipBit(segment, bytes.byteLength + 60)));
      })(),
    ],
    ["a torn tail", new Map(TREE).set(last, concat(bytes, Uint8Array.of(1, 2, 3)))],
  ];
  for (const [name, tree] of trees) {
    for (const open of [readIndexed, openIndexed]) {
      for (
        const options of [{}, { chainVerification: "recompute" }, { tailPolicy: "failClosed" }]
      ) {
        let openCount = 0;
        const fs = spiedFs(fsOf(tree), (op, path) => {
          if (op === "open") openCount++;
          if (op === "close" && path !== "") openCount--;
        });
        let reader: { close(): void } | undefined;
        try {
          reader = open(fs, options as StoreOptions);
        } catch (error) {
          assert.equal((error as Error).name, "CorruptionError", name);
        }
        reader?.close();
        assert.equal(openCount, 0, `${name}, ${open.name}`);
      }
    }
  }
});

test("a read that fails while opening gives the same answers or an error that says so", () => {
  let fired = 0;
  let opened = 0;
  for (const coldStart of [{}, { indexFile: false }]) {
    for (const op of ["list", "stat", "open", "size", "readAt", "readFile"] as const) {
      for (let nth = 1; nth < 60; nth++) {
        const fs = fsOf(TREE);
        fs.failNext({ op, code: "EIO", nth });
        let reader: ReturnType<typeof readIndexed> | undefined;
        try {
          reader = readIndexed(fs, { coldStart });
        } catch (error) {
          assert.equal((error as Error).name, "StoreIoError");
        }
        fired += fs.faultsFired;
        if (fs.faultsFired === 0) break;
        if (reader === undefined) continue;
        opened++;
        assert.equal(reader.openReport.oddities.length, 1, `${op} ${nth}`);
        assert.deepEqual(answersOf(reader), EXPECTED);
        reader.close();
      }
    }
  }
  assert.ok(fired > 50 && opened > 5);
});

test('"cutAtDamage" looks at every frame, so that an index file cannot hide the damage', () => {
  const name = segmentNames(TREE).at(-1) ?? "";
  const bytes = TREE.get(name) ?? new Uint8Array(0);
  const { offset, sequence } = framesOf(bytes)[1];
  const fs = fsOf(new Map(TREE).set(name, flipBit(bytes, offset + 60)));
  assert.throws(() => openIndexed(fs, { coldStart: { indexFile: false } }), {
    name: "CorruptionError",
  });
  using store = openIndexed(fs, { tailPolicy: "cutAtDamage" });
  assert.deepEqual(store.openReport.repairs.map(({ offset }) => offset), [offset]);
  assert.equal(store.openReport.restoredEntries, sequence);
  assert.equal(store.openReport.indexFile, "notTried");
});

test("an open for writing that an old event of the store refuses leaves the directory as it was", () => {
  // The event of an open follows the newest of the store's own in its chain, and that one was only read when
  // everything had been repaired and tidied up: a refused open had changed things. Now it is read first.
  const fs = new MemoryFs();
  const store = openIndexed(fs, { ...ROLLING, sync: { everyNEvents: 1 } });
  fill(store, 12);
  const tree = readTree(fs.snapshot(), DIR);
  const [first] = segmentNames(tree);
  const bytes = tree.get(first)!;
  const { offset, end } = framesOf(bytes)[0];
  tree.set(first, flipBit(bytes, end - 1)).set(".stage-0", bytes.slice(0, 100));
  const last = segmentNames(tree).at(-1)!;
  const torn = tree.get(last)!.slice();
  torn.set(Uint8Array.of(1, 2, 3), framesOf(torn).at(-1)!.end);
  tree.set(last, torn);
  const damaged = fsOf(tree);
  const refusal = { name: "CorruptionError", path: `/${DIR}/${first}`, offset };
  assert.throws(() => openIndexed(damaged), refusal);
  const left = readTree(damaged, DIR);
  assert.deepEqual([...left.keys()].sort(), [...tree.keys()].sort());
  for (const [name, expected] of tree) assert.deepEqual(left.get(name), expected, name);
});
