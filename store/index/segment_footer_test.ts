import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { crc32 } from "../../platform/checksum.ts";
import {
  footerSections,
  forgedFooter,
  sealFooter,
  type Sections,
} from "../../tests/support/image_sections.ts";
import { addRow, idOf, indexOfRows, placed, type Row } from "../../tests/support/index_builder.ts";
import { flipBit } from "../../tests/support/journal_bytes.ts";
import { readU32, writeU16, writeU32 } from "../bytes.ts";
import { EventIndex, STATE_ERASED, STATE_PRESENT, STATE_RETIRED } from "./event_index.ts";
import { encodeIndexFile } from "./index_file.ts";
import {
  decodeFooter,
  encodeFooter,
  FOOTER_HEADER_SIZE,
  FOOTER_MAGIC,
  footerProblem,
  footerSizeOf,
  globalNumbers,
  type SegmentColumns,
} from "./segment_footer.ts";

const FRAMES_START = 164;
const FRAMES_END = 2000;
const LAST_HASH = new Uint8Array(32).fill(0xee);

/** Two events of two entities; the second has a lane, two tags, and the first as its cause. */
const ROWS = placed([
  { entity: "a", scope: "s", lane: 0, kind: 0x1000, tags: [] },
  { entity: "b", scope: "s", lane: 1, kind: 0xf001, tags: ["x", "yy"], cause: 0 },
], FRAMES_START);
const FOOTER = footerOf(indexOfRows(ROWS));

function footerOf(index: EventIndex, start = 0, end = index.count): Uint8Array<ArrayBuffer> {
  const bytes = encodeFooter(index, {
    start,
    end,
    firstSequence: start,
    framesEnd: FRAMES_END,
    lastTimestampUs: 1_700_000_000_000_000,
    lastHash: LAST_HASH,
  });
  // A copy that begins its own buffer, as what was read from a file does.
  return new Uint8Array(bytes);
}

function columnsOf(bytes: Uint8Array<ArrayBuffer>): SegmentColumns {
  const decoded = decodeFooter(bytes);
  assert.equal(decoded.type, "footer", decoded.type === "unusable" ? decoded.reason : "");
  return (decoded as { columns: SegmentColumns }).columns;
}

function reasonOf(bytes: Uint8Array<ArrayBuffer>): string {
  const decoded = decodeFooter(bytes);
  assert.equal(decoded.type, "unusable");
  return (decoded as { reason: string }).reason;
}

function forged(change: (sections: Sections) => void, footer = FOOTER): Uint8Array<ArrayBuffer> {
  return forgedFooter(footer, change);
}

/** Everything an index says, as bytes. */
function imageOf(index: EventIndex): string {
  const journal = {
    storeId: new Uint8Array(16),
    firstSequence: 0,
    lastTimestampUs: 0,
    lastHash: LAST_HASH,
    segments: [{ id: 1, firstRow: 0, framesStart: 0, end: 0, headerCrc: 0 }],
  };
  return encodeIndexFile(journal, index).map(hex).join("");
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

test("encodeFooter() writes the documented bytes", () => {
  const image = "0000004030207041" + // order mark: 0x01020304 as float64, as all numbers here
    "0000000000000000" + // first sequence: 0
    "0000000000000040" + // count: 2
    "000000000040" + "9f40" + // where the frames end: 2,000
    "0000796090281843" + // latest timestamp: 1,700,000,000,000,000
    "ee".repeat(32) + // event hash of the last frame
    "0000000000000040" + "0000000000000040" + // entities: 2, in 2 bytes
    "00000000" + "01000000" + "02000000" + "00000000" + // a at 0, b at 1, the end at 2
    "6162" + "000000000000" +
    "000000000000f03f" + "000000000000f03f" + // scopes: 1, in 1 byte
    "00000000" + "01000000" +
    "73" + "00000000000000" +
    "0000000000000040" + "0000000000000840" + // tags: 2, in 3 bytes
    "00000000" + "01000000" + "03000000" + "00000000" +
    "787979" + "0000000000" +
    "0000000000000040" + // chains: 2
    "00000000" + "01000000" + // of entities 0 and 1
    "00000000" + "01000000" + // on lanes 0 and 1
    "0000000000001040" + // tag arena: 4 words
    "00000000" + "02000000" + "00000000" + "01000000" + // nothing; a run of two: 0 and 1
    "01000000000000000000000000000001" + "01000000000000000000000000000002" + // event ids
    "a4000000" + "d0010000" + // frames at 164 and 464
    "00000000" + "01000000" + // chains
    "00000000" + "00000000" + // scopes
    "00000000" + "00000000" + // clocks
    "00000000" + "01000000" + // causes: none, one sequence before
    "00000000" + "01000000" + // tag sets: none, the run at 1
    "0010" + "01f0" + "00000000" + // kinds 0x1000 and 0xF001
    "00" + "00" + "000000000000"; // states: both have their payload
  assert.equal(hex(FOOTER.subarray(FOOTER_HEADER_SIZE)), image);
  assert.equal(
    hex(FOOTER.subarray(0, FOOTER_HEADER_SIZE)),
    "46424958" + // FBIX
      "00000158" + // 344 bytes
      crc32(FOOTER.subarray(12)).toString(16).padStart(8, "0") +
      "0001" + "0000", // version 1
  );
  assert.equal(readU32(FOOTER, 0), FOOTER_MAGIC);
});

test("the magic of a footer is larger than any frame may claim to be", () => {
  assert.ok(FOOTER_MAGIC > 2 ** 28);
});

test("decodeFooter() gives back what encodeFooter() was told", () => {
  const columns = columnsOf(FOOTER);
  assert.equal(columns.firstSequence, 0);
  assert.equal(columns.count, 2);
  assert.equal(columns.framesEnd, FRAMES_END);
  assert.equal(columns.lastTimestampUs, 1_700_000_000_000_000);
  assert.deepEqual(columns.lastHash, LAST_HASH);
  assert.deepEqual([0, 1].map((entity) => columns.entities.text(entity)), ["a", "b"]);
  assert.equal(columns.scopes.text(0), "s");
  assert.deepEqual([0, 1].map((tag) => columns.tags.text(tag)), ["x", "yy"]);
  assert.deepEqual([...columns.chainEntity], [0, 1]);
  assert.deepEqual([...columns.chainLane], [0, 1]);
  assert.deepEqual([...columns.tagArena], [0, 2, 0, 1]);
  assert.deepEqual([...columns.eventId], [...idOf(1), ...idOf(2)]);
  assert.deepEqual([...columns.offset], [164, 464]);
  assert.deepEqual([...columns.chain], [0, 1]);
  assert.deepEqual([...columns.scope], [0, 0]);
  assert.deepEqual([...columns.clock], [0, 0]);
  assert.deepEqual([...columns.cause], [0, 1]);
  assert.deepEqual([...columns.tagSet], [0, 1]);
  assert.deepEqual([...columns.kind], [0x1000, 0xf001]);
  assert.deepEqual([...columns.state], [STATE_PRESENT, STATE_PRESENT]);
});

test("a footer is about its rows alone: names, chains and causes are numbered within it", () => {
  const rows = placed([
    { entity: "a", scope: "s", lane: 0, kind: 0x1000, tags: ["x"] },
    { entity: "b", scope: "t", lane: 7, kind: 0x1000, tags: ["y"], cause: 0 },
    { entity: "a", scope: "t", lane: 0, kind: 0x1000, tags: ["y", "z"], cause: 1 },
  ], FRAMES_START);
  const columns = columnsOf(footerOf(indexOfRows(rows), 1));
  assert.equal(columns.count, 2);
  assert.deepEqual([0, 1].map((entity) => columns.entities.text(entity)), ["b", "a"]);
  assert.deepEqual([columns.scopes.count, columns.scopes.text(0)], [1, "t"]);
  assert.deepEqual([...columns.chainLane], [7, 0]);
  assert.deepEqual([...columns.clock], [0, 1]);
  // The cause of the first row stands before the segment.
  assert.deepEqual([...columns.cause], [1, 1]);
  assert.deepEqual([...columns.tagArena], [0, 1, 0, 2, 0, 1]);
});

test("encodeFooter() takes offsets and states that are not those of the index", () => {
  const bytes = encodeFooter(indexOfRows(ROWS), {
    start: 0,
    end: 2,
    firstSequence: 0,
    framesEnd: FRAMES_END,
    lastTimestampUs: 0,
    lastHash: LAST_HASH,
    offsets: Uint32Array.of(500, 700),
    states: Uint8Array.of(STATE_RETIRED, STATE_ERASED),
  });
  const columns = columnsOf(new Uint8Array(bytes));
  assert.deepEqual([...columns.offset], [500, 700]);
  const index = new EventIndex();
  assert.equal(index.addSegment(columns, FRAMES_START), undefined);
  assert.deepEqual([index.stateOf(0), index.stateOf(1)], [STATE_RETIRED, STATE_ERASED]);
  assert.equal(index.retiredCount, 1);
});

test("encodeFooter() refuses a segment without an event", () => {
  assert.throws(() => footerOf(indexOfRows(ROWS), 2), /a footer stands behind events/);
});

test("addSegment() of any history gives the index that its frames give", () => {
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
      fc.array(event, { minLength: 1, maxLength: 60 }),
      fc.array(fc.integer({ min: 1, max: 59 }), { maxLength: 4 }),
      (events, splits) => {
        const rows = placed(events, FRAMES_START);
        const expected = indexOfRows(rows);
        const bounds = [...new Set([0, ...splits.filter((at) => at < rows.length), rows.length])]
          .sort((a, b) => a - b);
        const index = new EventIndex();
        for (let i = 1; i < bounds.length; i++) {
          const footer = encodeFooter(expected, {
            start: bounds[i - 1],
            end: bounds[i],
            firstSequence: bounds[i - 1],
            framesEnd: 2 ** 20,
            lastTimestampUs: 5,
            lastHash: LAST_HASH,
          });
          const columns = columnsOf(new Uint8Array(footer));
          assert.equal(index.addSegment(columns, FRAMES_START), undefined);
        }
        assert.equal(imageOf(index), imageOf(expected));
        for (const [row, { id }] of rows.entries()) assert.equal(index.findId(id, 0), row);
      },
    ),
  );
});

// ---- Damage that the checksum shows ----

test("decodeFooter() reports a footer cut at any byte", () => {
  for (let size = 0; size < FOOTER.byteLength; size++) {
    assert.equal(reasonOf(FOOTER.slice(0, size)), "its size is wrong");
  }
});

test("decodeFooter() reports a footer with anything behind it", () => {
  const longer = new Uint8Array(FOOTER.byteLength + 8);
  longer.set(FOOTER);
  assert.equal(reasonOf(longer), "its size is wrong");
});

test("decodeFooter() never takes a footer with a flipped bit", () => {
  for (let offset = 0; offset < FOOTER.byteLength; offset++) {
    for (let bit = 0; bit < 8; bit++) {
      const reason = reasonOf(new Uint8Array(flipBit(FOOTER, offset, bit)));
      assert.equal(
        reason,
        offset < 8 ? "its size is wrong" : "its checksum does not match",
        `bit ${bit} of byte ${offset}`,
      );
    }
  }
});

test("decodeFooter() turns down a newer version, whatever follows it", () => {
  const newer = FOOTER.slice();
  writeU16(newer, 12, 2);
  sealFooter(newer);
  assert.equal(reasonOf(newer), "it has version 2, and this program reads 1");
  assert.equal(footerProblem(newer), "it has version 2, and this program reads 1");
});

test("footerSizeOf() believes no size above 2 GiB, and nothing that begins otherwise", () => {
  const header = FOOTER.slice(0, FOOTER_HEADER_SIZE);
  assert.equal(footerSizeOf(header), 344);
  assert.equal(footerSizeOf(header.subarray(0, 15)), 0);
  for (const [size, expected] of [[2 ** 31, 2 ** 31], [2 ** 31 + 1, 0], [2 ** 32 - 1, 0], [0, 0]]) {
    writeU32(header, 4, size);
    assert.equal(footerSizeOf(header), expected);
  }
  assert.equal(footerSizeOf(flipBit(header, 0)), 0);
});

// ---- Damage that no checksum shows ----

test("decodeFooter() turns down a footer of a machine of the other byte order", () => {
  const other = forged((sections) => {
    const mark = sections.number("orderMark");
    new Uint8Array(mark.buffer, mark.byteOffset, 8).reverse();
  });
  assert.equal(reasonOf(other), "it is damaged: it was written by a machine of another byte order");
});

test("decodeFooter() bounds every count and size before it uses it", () => {
  const numbers = [...footerSections(FOOTER).places.keys()].filter((name) =>
    /[cC]ount$|Size$|Used$/.test(name)
  );
  assert.deepEqual(numbers, [
    "count",
    "entities.count",
    "entities.arenaSize",
    "scopes.count",
    "scopes.arenaSize",
    "tags.count",
    "tags.arenaSize",
    "chainCount",
    "tagArenaUsed",
  ]);
  const absurd = [
    -1,
    0.5,
    3,
    NaN,
    Infinity,
    -Infinity,
    2 ** 31,
    2 ** 32,
    2 ** 53,
    Number.MAX_VALUE,
  ];
  for (const name of [...numbers, "firstSequence", "framesEnd", "lastTimestampUs"]) {
    const isPlace = !numbers.includes(name);
    for (const value of absurd) {
      if (isPlace && Number.isSafeInteger(value) && value >= 0) continue;
      // Three is what one of them really has, and leaves another one without its last word.
      if (name === "tags.arenaSize" && value === 3) continue;
      const bytes = forged((sections) => sections.number(name)[0] = value);
      if (name === "tagArenaUsed" && value === 3) {
        assert.equal(problemOf(bytes), "a row leads nowhere");
      } else assert.match(reasonOf(bytes), /^it is damaged: /, `${name} = ${value}`);
    }
  }
});

test("decodeFooter() turns down names that overlap, run backwards or lead out of their bytes", () => {
  for (const names of ["entities", "tags"]) {
    for (
      const starts of [[0, 3, 2], [1, 1, 2], [0, 1, 1], [0, 1, 9], [0, 2 ** 32 - 1, 2], [2, 1, 0]]
    ) {
      const bytes = forged((sections) => sections.words(`${names}.starts`).set(starts));
      const isSame = hex(bytes) === hex(FOOTER);
      assert.equal(isSame, false);
      assert.match(reasonOf(bytes), /names (overlap|have no bytes)$/);
    }
  }
});

/** What the forged columns are turned down for, by whoever notices first; nothing was added. */
function problemOf(bytes: Uint8Array<ArrayBuffer>, index = new EventIndex()): string | undefined {
  const before = imageOf(index);
  const decoded = decodeFooter(bytes);
  if (decoded.type === "unusable") return decoded.reason;
  const problem = index.addSegment(decoded.columns, FRAMES_START);
  if (problem !== undefined) assert.equal(imageOf(index), before, "nothing was added");
  return problem;
}

test("addSegment() turns down columns that lead nowhere, and adds nothing of them", () => {
  const set = (name: string, ...values: number[]) =>
    problemOf(forged((sections) => sections.words(name).set(values)));
  const nowhere = "a row leads nowhere";
  assert.equal(set("chain", 0, 2), nowhere);
  assert.equal(set("chain", 0xffff_ffff, 1), nowhere);
  assert.equal(set("scope", 0, 1), nowhere);
  assert.equal(set("scope", 0xffff_ffff, 0), nowhere);
  assert.equal(set("tagSet", 0, 4), nowhere);
  assert.equal(set("tagSet", 0, 2 ** 31), nowhere);
  // A run that begins in the middle of another: its count is a tag.
  assert.equal(set("tagSet", 0, 3), nowhere);
  assert.equal(set("tagArena", 0, 3, 0, 1), nowhere);
  assert.equal(set("tagArena", 0, 0xffff_ffff, 0, 1), nowhere);
  assert.equal(set("tagArena", 0, 2, 0, 2), nowhere);
  assert.equal(set("tagArena", 0, 2, 0xffff_ffff, 1), nowhere);
  assert.equal(
    problemOf(forged((sections) => sections.bytes("state")[1] = STATE_RETIRED + 1)),
    nowhere,
  );
  assert.equal(set("chainEntity", 0, 2), "a chain has no entity");
  assert.equal(set("chainEntity", 0xffff_ffff, 1), "a chain has no entity");
});

test("addSegment() turns down frames that do not follow one another", () => {
  const set = (...offsets: number[]) =>
    problemOf(forged((sections) => sections.words("offset").set(offsets)));
  assert.equal(set(FRAMES_START, FRAMES_END - 1), undefined);
  for (
    const offsets of [[464, 164], [164, 164], [163, 464], [0, 464], [0xffff_ffff, 464]]
  ) assert.equal(set(...offsets), "its frames do not follow one another");
  assert.equal(set(164, FRAMES_END), "its frames go on behind their end");
  assert.equal(set(164, 0xffff_ffff), "its frames go on behind their end");
});

test("addSegment() turns down events that do not follow their chains", () => {
  const broken = "an event does not follow its chain";
  const rows = placed([
    { entity: "a", scope: "s", lane: 0, kind: 0x1000, tags: [] },
    { entity: "a", scope: "s", lane: 0, kind: 0x1000, tags: [] },
    { entity: "a", scope: "s", lane: 1, kind: 0x1000, tags: [] },
  ], FRAMES_START);
  const whole = indexOfRows(rows);
  const first = footerOf(whole, 0, 1);
  const rest = footerOf(whole, 1);
  // Without the first row, the second has nothing to follow.
  assert.equal(problemOf(rest), broken);
  const index = indexOfRows(rows.slice(0, 1));
  assert.equal(problemOf(first, indexOfRows(rows.slice(0, 1))), broken);
  for (const clocks of [[0, 0], [2, 0], [1, 1], [1, 0xffff_ffff]]) {
    const bytes = forged((sections) => sections.words("clock").set(clocks), rest);
    assert.equal(problemOf(bytes, index), broken);
  }
  assert.equal(problemOf(rest, index), undefined);
  assert.equal(imageOf(index), imageOf(whole));
});

test("addSegment() turns down a footer that has a name or a chain twice", () => {
  const rows = placed([
    { entity: "a", scope: "s", lane: 0, kind: 0x1000, tags: ["x"] },
    { entity: "b", scope: "t", lane: 0, kind: 0x1000, tags: ["y"] },
  ], FRAMES_START);
  const footer = footerOf(indexOfRows(rows));
  for (const names of ["entities", "scopes", "tags"]) {
    const bytes = forged((sections) => {
      const arena = sections.bytes(`${names}.arena`);
      arena[1] = arena[0];
    }, footer);
    assert.equal(problemOf(bytes), "it is damaged: a name is there twice");
  }
  const bytes = forged((sections) => sections.words("chainEntity")[1] = 0, footer);
  assert.equal(problemOf(bytes), "a chain is there twice");
});

test("no forged word makes decoding or adding a footer crash, hang or do half of it", () => {
  const rows: Row[] = placed([
    { entity: "a", scope: "s", lane: 0, kind: 0x1000, tags: ["x"] },
    { entity: "b", scope: "t", lane: 3, kind: 0x1001, tags: ["x", "y"], cause: 0 },
    { entity: "a", scope: "s", lane: 0, kind: 0x1000, tags: ["y"], cause: 1 },
  ], FRAMES_START);
  const footer = footerOf(indexOfRows(rows));
  const values = [0, 1, 2, 3, 4, 5, 8, 255, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
  const earlier = placed([{ entity: "b", scope: "s", lane: 0, kind: 0x1000, tags: [] }], 0);
  for (let at = FOOTER_HEADER_SIZE; at < footer.byteLength; at += 4) {
    for (const value of values) {
      const bytes = footer.slice();
      new DataView(bytes.buffer).setUint32(at, value, true);
      sealFooter(bytes);
      const index = indexOfRows(earlier);
      const problem = problemOf(bytes, index);
      if (problem !== undefined) continue;
      // What it says may be untrue, but it can be walked, and goes on.
      assert.equal(index.count, 4);
      for (let row = 0; row < index.count; row++) {
        assert.ok(index.causeOf(row) < row);
        assert.ok(index.previousOf(row) < row);
        index.scopes.text(index.scopeOf(row));
        index.entities.text(index.entityOf(index.chainOf(row)));
        for (const tag of index.tagsOf(row)) assert.ok(tag < index.tags.count);
      }
      addRow(index, { ...rows[2], id: idOf(99), clock: 9, offset: 5000 });
      encodeFooter(index, {
        start: 1,
        end: index.count,
        firstSequence: 1,
        framesEnd: 6000,
        lastTimestampUs: 1,
        lastHash: LAST_HASH,
      });
    }
  }
});

test("globalNumbers() finds names that are known and adds those that are not", () => {
  const known = indexOfRows(ROWS);
  const { entities } = columnsOf(
    footerOf(indexOfRows(placed([
      { entity: "new", scope: "s", lane: 0, kind: 0x1000, tags: [] },
      { entity: "b", scope: "s", lane: 0, kind: 0x1000, tags: [] },
    ], FRAMES_START))),
  );
  assert.deepEqual([...globalNumbers(entities, known.entities)], [2, 1]);
  assert.equal(known.entities.text(2), "new");
});
