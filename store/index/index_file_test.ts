import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { crc32 } from "../../platform/checksum.ts";
import { MemoryFs } from "../../platform/memory.ts";
import { runtime } from "../../platform/runtime.ts";
import {
  forgedIndexFile,
  indexFileSections,
  sealIndexFile,
  type Sections,
} from "../../tests/support/image_sections.ts";
import { addRow, idOf, indexOfRows, placed, type Row } from "../../tests/support/index_builder.ts";
import { concat, flipBit, writeFile } from "../../tests/support/journal_bytes.ts";
import { inTempDir } from "../../tests/support/temp_dir.ts";
import { WrappedFs } from "../../tests/support/wrapped_fs.ts";
import { writeU16, writeU32 } from "../bytes.ts";
import { EventIndex, ROW_NONE, STATE_RETIRED } from "./event_index.ts";
import {
  decodeIndexFile,
  encodeIndexFile,
  INDEX_FILE_NAME,
  type IndexFileResult,
  publishIndexFile,
  readIndexFile,
  type SavedJournal,
} from "./index_file.ts";

const HEADER_SIZE = 16;
const FRAMES_START = 164;
const JOURNAL: SavedJournal = {
  storeId: new Uint8Array(16).fill(0xab),
  firstSequence: 0,
  lastTimestampUs: 1_700_000_000_000_000,
  lastHash: new Uint8Array(32).fill(0xee),
  segments: [{ id: 1, firstRow: 0, framesStart: FRAMES_START, end: 800, headerCrc: 0xdead_beef }],
};

/** Two events of two entities; the second has a lane, two tags, and the first as its cause. */
const ROWS = placed([
  { entity: "a", scope: "s", lane: 0, kind: 0x1000, tags: [] },
  { entity: "b", scope: "s", lane: 1, kind: 0xf001, tags: ["x", "yy"], cause: 0 },
], FRAMES_START);
const FILE = fileOf(indexOfRows(ROWS));

function fileOf(index: EventIndex, journal = JOURNAL): Uint8Array<ArrayBuffer> {
  // A copy that begins its own buffer, as what was read from a file does.
  return new Uint8Array(concat(...encodeIndexFile(journal, index)));
}

function found(result: IndexFileResult): IndexFileResult & { type: "index" } {
  assert.equal(result.type, "index", result.type === "unusable" ? result.reason : "");
  return result as IndexFileResult & { type: "index" };
}

/** Why the bytes are of no use, also when the index of an honest file would be overwritten by it. */
function reasonOf(bytes: Uint8Array): string {
  const decoded = decodeIndexFile(new Uint8Array(bytes));
  assert.equal(decoded.type, "unusable");
  return (decoded as { reason: string }).reason;
}

function forged(change: (sections: Sections) => void, file = FILE): Uint8Array<ArrayBuffer> {
  return forgedIndexFile(file, change);
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Eight bytes of a float64, least byte first; only numbers that fit in its upper half. */
const ZERO = "0000000000000000";
const ONE = "000000000000f03f";
const TWO = "0000000000000040";

test("encodeIndexFile() writes the documented bytes", () => {
  /** Two lists of one row each: blocks at 4 and 12 with room for 4. */
  const twoLists = (first: string, second: string) =>
    TWO + "0000000000003440" + // 2 lists in 20 words
    "04000000" + "0c000000" + "04000000" + "0c000000" + // first and last blocks
    "01000000" + "01000000" + // rows of each
    "00000000".repeat(4) +
    "00000000" + "00000000" + "01000000" + "04000000" + first + "00000000".repeat(3) +
    "00000000" + "00000000" + "01000000" + "04000000" + second + "00000000".repeat(3);
  const row0 = "00000000";
  const row1 = "01000000";
  /** A column of words: two rows, and zeros up to a multiple of 8. */
  const column = (first: string, second: string) => first + second + "00000000".repeat(6);
  const image = "0000004030207041" + // order mark: 0x01020304
    "ab".repeat(16) + // journal id
    ZERO + // first sequence
    "0000796090281843" + // latest timestamp: 1,700,000,000,000,000
    "ee".repeat(32) + // event hash of the last row
    ONE + // one segment:
    ONE + ZERO + "0000000000806440" + "0000000000008940" + "0000e0ddb7d5eb41" +
    // id 1, row 0, frames from 164 to 800, headerCrc 0xdeadbeef
    TWO + // rows
    ZERO + // no open fence
    TWO + TWO + // entities: 2, in 2 bytes
    "00000000" + "01000000" + "02000000" + "00000000" + "6162" + "000000000000" +
    ONE + ONE + // scopes: 1, in 1 byte
    "00000000" + "01000000" + "73" + "00000000000000" +
    TWO + "0000000000000840" + // tags: 2, in 3 bytes
    "00000000" + "01000000" + "03000000" + "00000000" + "787979" + "0000000000" +
    twoLists(row0, row1) + // by entity
    ONE + "0000000000002840" + // by scope: 1 list in 12 words
    "0400000000000000" + "0400000000000000" + "0200000000000000" +
    "00000000".repeat(4) +
    "00000000" + "00000000" + "02000000" + "04000000" + row0 + row1 + "00000000".repeat(2) +
    twoLists(row1, row1) + // by tag
    twoLists(row0, row1) + // by kind
    TWO + "00100000" + "01f00000" + // kinds 0x1000 and 0xF001
    "0000000000001040" + "00000000" + "02000000" + "00000000" + "01000000" + // tag arena
    TWO + // chains: of entities 0 and 1, on lanes 0 and 1, newest rows 0 and 1, clocks 0 and 0
    "00000000" + "01000000" + "00000000" + "01000000" +
    "01000000" + "02000000" + "00000000" + "00000000" + ZERO +
    "01000000000000000000000000000001" + "01000000000000000000000000000002" + "00".repeat(96) +
    column("a4000000", "d0010000") + // offsets 164 and 464
    column("00000000", "01000000") + // chains
    column("00000000", "00000000") + // scopes
    column("00000000", "00000000") + // clocks
    column("00000000", "00000000") + // rows before in the chain: none
    column("00000000", "01000000") + // causes: none, row 0
    column("00000000", "01000000") + // tag sets: none, the run at 1
    "0010" + "01f0" + "00".repeat(12) + // kinds
    "0000" + "00".repeat(6); // states
  assert.equal(hex(FILE.subarray(HEADER_SIZE)), image);
  assert.equal(
    hex(FILE.subarray(0, HEADER_SIZE)),
    "464241544958" + // FBATIX
      "0002" + // version
      crc32(FILE.subarray(HEADER_SIZE)).toString(16).padStart(8, "0") +
      "00000000",
  );
});

test("decodeIndexFile() gives back the journal and the index", () => {
  const { journal, index } = found(decodeIndexFile(FILE.slice()));
  assert.deepEqual(journal, JOURNAL);
  assert.equal(index.count, 2);
  assert.equal(index.entityCount, 2);
  assert.equal(index.chainCount, 2);
  assert.deepEqual([0, 1].map((row) => index.offsetOf(row)), [164, 464]);
  assert.deepEqual([0, 1].map((row) => index.kindOf(row)), [0x1000, 0xf001]);
  assert.deepEqual([0, 1].map((row) => index.causeOf(row)), [ROW_NONE, 0]);
  assert.deepEqual([0, 1].map((row) => index.entities.text(index.entityOf(index.chainOf(row)))), [
    "a",
    "b",
  ]);
  assert.deepEqual([...index.tagsOf(1)].map((tag) => index.tags.text(tag)), ["x", "yy"]);
  assert.equal(index.findId(idOf(2), 0), 1);
  assert.deepEqual([...index.effectsOf(0, 2)], [1]);
  assert.equal(hex(fileOf(index)), hex(FILE));
});

test("an index file of a journal without an event comes back", () => {
  const empty = fileOf(new EventIndex());
  const { index } = found(decodeIndexFile(empty));
  assert.equal(index.count, 0);
  assert.equal(hex(fileOf(index)), hex(empty));
});

test("any index comes back, and goes on as if it had never been away", () => {
  const event = fc.record({
    entity: fc.constantFrom("a", "a:1", "a:1:x", "größe", "z"),
    scope: fc.constantFrom("s", "t"),
    lane: fc.constantFrom(0, 0, 1, 0xffff_ffff),
    kind: fc.constantFrom(0x1000, 0x1001, 0xf001, 0x0123),
    tags: fc.uniqueArray(fc.constantFrom("x", "y", "é", "zz"), { maxLength: 4 }),
    cause: fc.option(fc.nat(60), { nil: undefined }),
  });
  fc.assert(
    fc.property(
      fc.array(event, { maxLength: 60 }),
      fc.array(fc.nat(60), { maxLength: 3 }),
      (events, saves) => {
        const rows = placed(events, FRAMES_START);
        let index = new EventIndex();
        for (const [row, event] of rows.entries()) {
          if (saves.includes(row)) index = found(decodeIndexFile(fileOf(index))).index;
          addRow(index, event);
        }
        index = found(decodeIndexFile(fileOf(index))).index;
        const straight = indexOfRows(rows);
        assert.equal(hex(fileOf(index)), hex(fileOf(straight)));
        assert.equal(index.entityCount, straight.entityCount);
        for (const [row, { id }] of rows.entries()) {
          assert.equal(index.findId(id, 0), row);
          assert.deepEqual(
            [...index.effectsOf(row, index.count)],
            [...straight.effectsOf(row, straight.count)],
          );
        }
      },
    ),
  );
});

test("an index comes back and goes on at every size around the chunks it is kept in", () => {
  const size = 65_536;
  const event = { entity: "a", scope: "s", lane: 0, kind: 0x1000, tags: [] };
  const straight = new EventIndex();
  const sizes = new Set([
    ...[255, 256, 257, 1023, 1024, 1025, 4096, 4097, 16_384, 16_385],
    ...[size - 9, size - 8, size - 7, size - 1, size, size + 1, size + 8],
  ]);
  for (let n = 0; n < size + 10; n++) {
    if (sizes.has(n)) {
      const { index } = found(decodeIndexFile(fileOf(straight)));
      assert.equal(index.count, n);
      const row = { ...event, tags: ["t"], id: idOf(n), clock: n, offset: n, cause: idOf(n - 1) };
      for (let more = 0; more < 3; more++) addRow(index, row);
      assert.equal(index.count, n + 3);
      assert.equal(index.offsetOf(n - 1), n - 1);
      assert.equal(index.clockOf(n + 2), n);
      assert.equal(index.causeOf(n + 2), n - 1);
      assert.equal(index.stateOf(n), 0);
      assert.deepEqual([...index.tagsOf(n + 1)], [0]);
      assert.deepEqual([...index.tagsOf(n - 1)], []);
      assert.equal(found(decodeIndexFile(fileOf(index))).index.count, n + 3);
    }
    addRow(straight, { ...event, id: idOf(n), clock: n, offset: n });
  }
});

// ---- Damage that the checksum shows ----

test("decodeIndexFile() reports a file cut at any byte", () => {
  for (let size = 0; size < FILE.byteLength; size++) {
    assert.equal(
      reasonOf(FILE.subarray(0, size)),
      size < HEADER_SIZE ? "it is cut short" : "its checksum does not match",
      `${size} bytes`,
    );
  }
});

test("decodeIndexFile() never takes a file with a flipped bit", () => {
  for (let offset = 0; offset < FILE.byteLength; offset++) {
    for (let bit = 0; bit < 8; bit++) {
      const reason = reasonOf(flipBit(FILE, offset, bit));
      const expected = offset < 6
        ? /^it does not begin with FBATIX$/
        : offset < 8
        ? /^it has version \d+, and this program reads 2$/
        : offset < 12 || offset >= HEADER_SIZE
        ? /^its checksum does not match$/
        : /^its header has something where zeros belong$/;
      assert.match(reason, expected, `bit ${bit} of byte ${offset}`);
    }
  }
});

test("decodeIndexFile() turns down a newer version, whatever follows it", () => {
  const newer = FILE.slice();
  writeU16(newer, 6, 3);
  assert.equal(reasonOf(newer), "it has version 3, and this program reads 2");
  assert.equal(
    reasonOf(newer.subarray(0, HEADER_SIZE)),
    "it has version 3, and this program reads 2",
  );
});

test("decodeIndexFile() turns down anything behind the end", () => {
  const longer = concat(FILE, new Uint8Array(8));
  sealIndexFile(longer);
  assert.equal(reasonOf(longer), "it is damaged: it goes on behind its end");
});

// ---- Damage that no checksum shows ----

test("decodeIndexFile() turns down a file of a machine of the other byte order", () => {
  const other = forged((sections) => {
    const mark = sections.number("orderMark");
    new Uint8Array(mark.buffer, mark.byteOffset, 8).reverse();
  });
  assert.equal(reasonOf(other), "it is damaged: it was written by a machine of another byte order");
});

test("decodeIndexFile() bounds every count, size and place before it uses it", () => {
  const numbers = [...indexFileSections(FILE).places.keys()].filter((name) =>
    /[cC]ount$|Size$|Used$/.test(name)
  );
  assert.equal(numbers.length, 19);
  const absurd = [-1, 0.5, 3, NaN, Infinity, -Infinity, 2 ** 31, 2 ** 32, 2 ** 53, 1e300];
  for (const name of numbers) {
    for (const value of absurd) {
      // A third row fits in the space behind the second. Its frame is looked for, and is not there.
      if (name === "count" && value === 3) continue;
      const bytes = forged((sections) => sections.number(name)[0] = value);
      if (hex(bytes) === hex(FILE)) continue;
      assert.match(reasonOf(bytes), /^it is damaged: /, `${name} = ${value}`);
    }
  }
  for (
    const name of ["firstSequence", "lastTimestampUs", "id", "firstRow", "framesStart", "end"]
      .map((name) => indexFileSections(FILE).places.has(name) ? name : `segment0.${name}`)
  ) {
    for (const value of [-1, 0.5, NaN, Infinity, -Infinity, 2 ** 53, 1e300]) {
      const bytes = forged((sections) => sections.number(name)[0] = value);
      assert.match(reasonOf(bytes), /^it is damaged: /, `${name} = ${value}`);
    }
  }
});

test("decodeIndexFile() turns down segments that do not follow one another", () => {
  const segment = JOURNAL.segments[0];
  const withSegments = (...segments: Partial<typeof segment>[]) =>
    fileOf(indexOfRows(ROWS), {
      ...JOURNAL,
      segments: segments.map((more) => ({ ...segment, ...more })),
    });
  const reason = "it is damaged: its segments do not follow one another";
  found(decodeIndexFile(withSegments({}, { id: 2, firstRow: 2 })));
  assert.equal(reasonOf(withSegments()), "it is damaged: it names no segment");
  assert.equal(reasonOf(withSegments({ firstRow: 1 })), reason);
  assert.equal(reasonOf(withSegments({ end: FRAMES_START - 1 })), reason);
  assert.equal(reasonOf(withSegments({ id: 2 }, { id: 1, firstRow: 1 })), reason);
  assert.equal(reasonOf(withSegments({}, { firstRow: 1 })), reason);
  assert.equal(
    reasonOf(withSegments({}, { id: 2, firstRow: 2 }, { id: 3, firstRow: 1 })),
    reason,
  );
  assert.equal(
    reasonOf(withSegments({}, { id: 2, firstRow: 3 })),
    "it is damaged: a segment begins behind the last row",
  );
});

test("decodeIndexFile() turns down names that overlap, or are there twice", () => {
  for (const names of ["entities", "tags"]) {
    for (
      const starts of [[0, 3, 2], [1, 1, 2], [0, 1, 1], [0, 1, 9], [0, 2 ** 32 - 1, 2], [2, 1, 0]]
    ) {
      const bytes = forged((sections) => sections.words(`${names}.starts`).set(starts));
      assert.match(reasonOf(bytes), /^it is damaged: names (overlap|have no bytes)$/);
    }
  }
  const twice = forged((sections) => sections.bytes("entities.arena").set([0x61, 0x61]));
  assert.equal(reasonOf(twice), "it is damaged: a name is there twice");
});

/** Lists of several blocks: one entity with 60 events, another with 60 in between. */
const LONG = fileOf(
  indexOfRows(placed(
    Array.from({ length: 120 }, (_, i) => ({
      entity: i % 2 === 0 ? "a" : "b",
      scope: "s",
      lane: 0,
      kind: 0x1000,
      tags: i % 3 === 0 ? ["x"] : [],
    })),
    FRAMES_START,
  )),
);

test("decodeIndexFile() turns down lists that run in circles or astray", () => {
  const sections = indexFileSections(LONG);
  const [headA, headB] = sections.words("byEntity.heads");
  const arena = sections.words("byEntity.arena");
  const second = arena[headA + 1];
  const third = arena[second + 1];
  assert.ok(headA < headB && headB < second && second < third && arena[third + 1] > third);
  const astray = /^it is damaged: a list runs astray$/;
  const size = /^it is damaged: a list has a block of the wrong size$/;
  const order = /^it is damaged: a list is not ascending$/;
  const length = /^it is damaged: a list has another length than it says$/;
  const changes: [change: (arena: Uint32Array) => void, reason: RegExp][] = [
    [(arena) => arena[headA + 1] = headA, astray],
    [(arena) => arena[second + 1] = headA, astray],
    [(arena) => arena[third + 1] = second, astray],
    [(arena) => arena[headA + 1] = 0xffff_ffff, astray],
    [(arena) => arena[headA + 1] = arena.length, astray],
    [(arena) => arena[headA + 1] = arena.length - 3, astray],
    [(arena) => arena[headA + 1] = third, size],
    [(arena) => arena[headA + 1] = headB, size],
    [(arena) => arena[headA + 1] = 0, length],
    [(arena) => arena[headA] = second, size],
    [(arena) => arena[second] = 0, size],
    [(arena) => arena[headA + 2] = 0, size],
    [(arena) => arena[headA + 2] = 5, size],
    [(arena) => arena[headA + 2] = 3, length],
    [(arena) => arena[headA + 2] = 0xffff_ffff, size],
    [(arena) => arena[headA + 3] = 0xffff_ffff, size],
    [(arena) => arena[headA + 3] = 513, size],
    [(arena) => arena[headA + 4] = 1000, order],
    [(arena) => arena[second + 4] = 0, order],
    [(arena) => arena[second + 5] = arena[second + 4], order],
  ];
  for (const [i, [change, reason]] of changes.entries()) {
    const bytes = forged((sections) => change(sections.words("byEntity.arena")), LONG);
    assert.match(reasonOf(bytes), reason, `change ${i}`);
  }
  for (const part of ["heads", "tails", "counts"]) {
    for (const value of [0, 1, 3, headA, headB, second, arena.length, 0xffff_ffff]) {
      const bytes = forged((sections) => sections.words(`byEntity.${part}`)[1] = value, LONG);
      if (hex(bytes) === hex(LONG)) continue;
      assert.match(reasonOf(bytes), /^it is damaged: a list /, `${part} = ${value}`);
    }
  }
  // A row that is not there: the last one of a list, whatever comes before it.
  const beyond = forged((sections) => {
    const arena = sections.words("byEntity.arena");
    arena[
      sections.words("byEntity.tails")[1] + 4 + arena[sections.words("byEntity.tails")[1] + 2] - 1
    ] = 120;
  }, LONG);
  assert.match(reasonOf(beyond), length);
});

test("lists that share their blocks are turned down before they take long", () => {
  // A thousand lists that all claim the blocks of the first would be walked a thousand times.
  const rows = placed(
    Array.from({ length: 4000 }, (_, i) => ({
      entity: `e${Math.max(0, i - 3000)}`,
      scope: "s",
      lane: 0,
      kind: 0x1000,
      tags: [],
    })),
    FRAMES_START,
  );
  const shared = forged((sections) => {
    for (const part of ["heads", "tails", "counts"]) {
      const words = sections.words(`byEntity.${part}`);
      words.fill(words[0]);
    }
  }, fileOf(indexOfRows(rows)));
  assert.equal(reasonOf(shared), "it is damaged: lists share their rows");
});

test("decodeIndexFile() turns down rows, chains, kinds and tags that lead nowhere", () => {
  const nowhere = "it is damaged: a row leads nowhere";
  const set = (name: string, ...values: number[]) =>
    reasonOf(forged((sections) => sections.words(name).set(values)));
  assert.equal(set("chain", 0, 2), nowhere);
  assert.equal(set("scope", 0, 1), nowhere);
  assert.equal(set("previous", 1), nowhere);
  assert.equal(set("previous", 0, 2), nowhere);
  assert.equal(set("cause", 1), nowhere);
  assert.equal(set("cause", 0, 2), nowhere);
  assert.equal(set("cause", 0, 0xffff_ffff), nowhere);
  assert.equal(set("tagSet", 0, 4), nowhere);
  assert.equal(set("tagSet", 0, 0xffff_ffff), nowhere);
  assert.equal(set("tagArena", 0, 3), nowhere);
  assert.equal(set("tagArena", 0, 0xffff_ffff), nowhere);
  assert.equal(set("tagArena", 0, 2, 0, 2), nowhere);
  assert.equal(set("tagArena", 0, 2, 0xffff_ffff, 1), nowhere);
  assert.equal(
    reasonOf(forged((sections) => sections.bytes("state")[0] = STATE_RETIRED + 1)),
    nowhere,
  );
  assert.equal(set("chainEntity", 0, 2), "it is damaged: a chain leads nowhere");
  assert.equal(set("chainHead", 3), "it is damaged: a chain leads nowhere");
  assert.equal(
    reasonOf(forged((sections) => {
      sections.words("chainEntity").set([1, 1]);
      sections.words("chainLane").set([1, 1]);
    })),
    "it is damaged: a chain is there twice",
  );
  assert.equal(set("kinds", 0x1000, 0x1000), "it is damaged: a kind is there twice, or is none");
  assert.equal(set("kinds", 0x1000, 0x1_0000), "it is damaged: a kind is there twice, or is none");
});

test("rows that share a run of tags are turned down before they take long", () => {
  const rows = placed(
    Array.from({ length: 8 }, () => ({
      entity: "a",
      scope: "s",
      lane: 0,
      kind: 0x1000,
      tags: ["x"],
    })),
    FRAMES_START,
  );
  const shared = forged((sections) => {
    sections.words("tagArena").set([0, 14]);
    sections.words("tagSet").fill(1);
  }, fileOf(indexOfRows(rows)));
  assert.equal(reasonOf(shared), "it is damaged: a row leads nowhere");
});

test("no forged word makes reading a file crash, hang, or give an index that cannot go on", () => {
  const rows: Row[] = placed([
    { entity: "a", scope: "s", lane: 0, kind: 0x1000, tags: ["x"] },
    { entity: "b", scope: "t", lane: 3, kind: 0x1001, tags: ["x", "y"], cause: 0 },
    { entity: "a", scope: "s", lane: 0, kind: 0x1000, tags: ["y"], cause: 1 },
  ], FRAMES_START);
  const file = fileOf(indexOfRows(rows));
  const values = [0, 1, 2, 3, 4, 5, 8, 255, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
  let taken = 0;
  for (let at = HEADER_SIZE; at < file.byteLength; at += 4) {
    for (const value of values) {
      const bytes = file.slice();
      new DataView(bytes.buffer).setUint32(at, value, true);
      sealIndexFile(bytes);
      const decoded = decodeIndexFile(bytes);
      if (decoded.type !== "index") {
        assert.equal(decoded.type, "unusable");
        continue;
      }
      // What it says may be untrue, but it can be walked, and goes on.
      const { index } = decoded;
      taken++;
      assert.equal(index.count, 3);
      for (let row = 0; row < index.count; row++) {
        assert.ok(index.causeOf(row) < row);
        assert.ok(index.previousOf(row) < row);
        index.scopes.text(index.scopeOf(row));
        index.entities.text(index.entityOf(index.chainOf(row)));
        for (const tag of index.tagsOf(row)) assert.ok(tag < index.tags.count);
        assert.equal(typeof index.findId(index.idBytesOf(row), index.idStartOf(row)), "number");
      }
      for (const [, list] of index.kinds()) [...index.byKind.rows(list, 0, 9, true)];
      addRow(index, { ...rows[1], id: idOf(99), clock: 9, offset: 5000 });
      fileOf(index);
    }
  }
  assert.ok(taken > 0);
});

// ---- The file ----

const DIR = "journal";
const PATH = `${DIR}/${INDEX_FILE_NAME}`;

function fsWith(bytes?: Uint8Array): MemoryFs {
  const fs = new MemoryFs();
  fs.createDirAll(DIR);
  if (bytes !== undefined) writeFile(fs, PATH, bytes);
  return fs;
}

test("publishIndexFile() and readIndexFile() agree, on the real disk too", () => {
  const check = (fs: MemoryFs | typeof runtime.fs, dir: string) => {
    assert.deepEqual(readIndexFile(fs, dir), { type: "missing" });
    for (let i = 0; i < 2; i++) {
      publishIndexFile(fs, dir, JOURNAL, indexOfRows(ROWS));
      const { journal, index } = found(readIndexFile(fs, dir));
      assert.deepEqual(journal, JOURNAL);
      assert.equal(hex(fileOf(index)), hex(FILE));
      assert.deepEqual(fs.list(dir), [{ name: INDEX_FILE_NAME, kind: "file" }]);
    }
  };
  check(fsWith(), DIR);
  inTempDir((dir) => check(runtime.fs, dir));
});

test("readIndexFile() says what is wrong with the file itself", () => {
  const read = (fs: MemoryFs) => readIndexFile(fs, DIR);
  assert.deepEqual(read(fsWith()), { type: "missing" });
  assert.deepEqual(read(new MemoryFs()), { type: "missing" });
  assert.deepEqual(read(fsWith(new Uint8Array(0))), {
    type: "unusable",
    reason: "it is cut short",
  });
  const dir = fsWith();
  dir.createDirAll(PATH);
  assert.deepEqual(read(dir), { type: "unusable", reason: "it is not a regular file" });
  const link = fsWith();
  writeFile(link, `${DIR}/elsewhere`, FILE);
  link.symlink("elsewhere", PATH);
  assert.deepEqual(read(link), { type: "unusable", reason: "it is not a regular file" });
  for (const op of ["stat", "open", "size", "readAt"] as const) {
    for (const code of ["EACCES", "EIO"]) {
      const fs = fsWith(FILE);
      fs.failNext({ op, code, path: INDEX_FILE_NAME });
      const result = read(fs);
      assert.equal(result.type, "unusable");
      assert.match(
        (result as { reason: string }).reason,
        new RegExp(`: ${code} \\(planted fault\\)$`),
      );
    }
  }
  const gone = fsWith(FILE);
  gone.failNext({ op: "open", code: "ENOENT", path: INDEX_FILE_NAME });
  assert.deepEqual(read(gone), { type: "missing" });
});

/** A file that claims a size, and gives as much of it as it is asked for. */
class VastFs extends WrappedFs {
  asked = 0;
  size = 0;

  override open(...args: Parameters<WrappedFs["open"]>): ReturnType<WrappedFs["open"]> {
    const file = super.open(...args);
    const { size } = this;
    return Object.assign(Object.create(file), {
      size: () => size,
      readAt: (target: Uint8Array, start: number, count: number, position: number) => {
        this.asked = Math.max(this.asked, position + count);
        return file.readAt(target, start, count, position);
      },
      close: () => file.close(),
    });
  }
}

test("readIndexFile() asks for no memory on the word of a size alone", () => {
  const read = (bytes: Uint8Array, size: number) => {
    const fs = new VastFs(fsWith(bytes));
    fs.size = size;
    return [readIndexFile(fs, DIR), fs.asked];
  };
  const wrong = flipBit(FILE, 0);
  assert.deepEqual(read(wrong, 2 ** 31), [
    { type: "unusable", reason: "it does not begin with FBATIX" },
    HEADER_SIZE,
  ]);
  const newer = FILE.slice();
  writeU16(newer, 6, 9);
  assert.deepEqual(read(newer, 2 ** 31), [
    { type: "unusable", reason: "it has version 9, and this program reads 2" },
    HEADER_SIZE,
  ]);
  assert.deepEqual(read(FILE, 2 ** 32)[0], {
    type: "unusable",
    reason: "it has 4294967296 bytes",
  });
  // A size that is only a little too large is found out by reading.
  assert.deepEqual(read(FILE, FILE.byteLength + 8)[0], {
    type: "unusable",
    reason: "it is cut short",
  });
});

test("publishIndexFile() that fails leaves the file of before and nothing else", () => {
  const older = fileOf(indexOfRows(ROWS.slice(0, 1)));
  const ops = ["stage", "open", "writeAt", "sync", "rejectSymlink", "rename", "publish"] as const;
  for (const op of ops) {
    for (const nth of op === "writeAt" ? [1, 2, 9, 30] : [1]) {
      const fs = fsWith(older);
      fs.failNext({ op, code: "ENOSPC", nth, after: 3 });
      const publish = () => publishIndexFile(fs, DIR, JOURNAL, indexOfRows(ROWS));
      assert.throws(publish, { name: "IoFault", code: "ENOSPC" });
      assert.deepEqual(fs.list(DIR).map(({ name }) => name), [INDEX_FILE_NAME]);
      assert.equal(hex(fs.readFile(PATH, 2 ** 20)), hex(older));
    }
  }
  const fs = fsWith(older);
  fs.failNext({ op: "syncDir", code: "EIO" });
  assert.throws(() => publishIndexFile(fs, DIR, JOURNAL, indexOfRows(ROWS)), { code: "EIO" });
  assert.equal(hex(fs.readFile(PATH, 2 ** 20)), hex(FILE));
});

test("a file with the right checksum and a wrong header size is not looked into", () => {
  const bytes = FILE.slice();
  writeU32(bytes, 12, 1);
  assert.equal(reasonOf(bytes), "its header has something where zeros belong");
});
