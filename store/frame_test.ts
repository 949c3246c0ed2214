import assert from "node:assert/strict";
import { test } from "node:test";
import { decode } from "@msgpack/msgpack";
import fc from "fast-check";
import { crc32 } from "../platform/checksum.ts";
import { readU32, writeU16, writeU32, writeU64 } from "./bytes.ts";
import {
  bodyProblem,
  CAUSATION_ID_OFFSET,
  checksumMatches,
  clockOf,
  CONTENT_HASH_OFFSET,
  CORRELATION_ID_OFFSET,
  depthOf,
  encodeFrame,
  ENTITY_OFFSET,
  entitySizeOf,
  erasedFrameSize,
  eraseFrame,
  erasureOf,
  EVENT_ID_OFFSET,
  extensionsOf,
  flagsOf,
  FRAME_BODY_SIZE_MAX,
  FRAME_BODY_SIZE_MIN,
  FRAME_CUT,
  FRAME_HEADER_SIZE,
  FRAME_NONE,
  FRAME_SIZE_INVALID,
  FrameDraft,
  frameSizeBound,
  groupRemainingOf,
  headerProblem,
  kindOf,
  laneOf,
  payloadEncodingOf,
  payloadOf,
  payloadStartOf,
  payloadVersionOf,
  PREV_HASH_OFFSET,
  readFrameSize,
  readUtf8,
  scopeSizeOf,
  scopeStartOf,
  sealFrame,
  sequenceOf,
  tagCountOf,
  tagsOf,
  timestampOf,
  writeUtf8,
} from "./frame.ts";
import { toHex } from "./hash.ts";

/** Everything there is: tags, extensions, a cause, a place in a group, and text beyond ASCII. */
function richDraft(): FrameDraft {
  const draft = new FrameDraft();
  draft.globalSequence = 0x0012_3456_789a_bcde;
  draft.eventId.set(range(0x10, 16));
  draft.correlationId.set(range(0x20, 16));
  draft.causationId.set(range(0x30, 16));
  draft.timestampUs = 1_700_000_000_000_000;
  draft.clock = 0xfffe_fdfc;
  draft.lane = 7;
  draft.depth = 0x0102_0304;
  draft.kind = 0xf001;
  draft.flags = 0x8b;
  draft.payloadEncoding = 1;
  draft.payloadVersion = 0x0203;
  draft.groupRemaining = 2;
  draft.prevHash = range(0x40, 40);
  draft.prevHashStart = 8;
  draft.contentHash.set(range(0x80, 32));
  draft.entity = "user:é";
  draft.scope = "app";
  draft.tags = ["eu", "größe"];
  draft.extensions = [["app.audit", Uint8Array.of(0xab, 0xcd)], ["z.empty", new Uint8Array(0)]];
  draft.payload = Uint8Array.of(0xca, 0xfe);
  return draft;
}

function range(start: number, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => start + i);
}

/** The frame of a draft, alone in its array. */
function encoded(draft: FrameDraft, start = 0): Uint8Array {
  const target = new Uint8Array(start + frameSizeBound(draft)).fill(0xee);
  const end = sealFrame(target, start, encodeFrame(draft, target, start), draft.payload);
  return target.slice(start, end);
}

/** What a reader makes of bytes: the end of a sound frame, or nothing. */
function soundEnd(bytes: Uint8Array, start = 0): number | undefined {
  const size = readFrameSize(bytes, start, bytes.byteLength);
  if (size <= 0 || !checksumMatches(bytes, start, size)) return undefined;
  if (bodyProblem(bytes, start + FRAME_HEADER_SIZE, size) !== undefined) return undefined;
  return start + FRAME_HEADER_SIZE + size;
}

/** Everything the readers say about a body, compared with the draft that made it. */
function assertReadsBack(bytes: Uint8Array, body: number, draft: FrameDraft): void {
  assert.equal(sequenceOf(bytes, body), draft.globalSequence);
  const at = (offset: number, size: number) => bytes.slice(body + offset, body + offset + size);
  assert.deepEqual(at(EVENT_ID_OFFSET, 16), draft.eventId);
  assert.deepEqual(at(CORRELATION_ID_OFFSET, 16), draft.correlationId);
  assert.deepEqual(at(CAUSATION_ID_OFFSET, 16), draft.causationId);
  assert.equal(timestampOf(bytes, body), draft.timestampUs);
  assert.equal(clockOf(bytes, body), draft.clock);
  assert.equal(laneOf(bytes, body), draft.lane);
  assert.equal(depthOf(bytes, body), draft.depth);
  assert.equal(kindOf(bytes, body), draft.kind);
  assert.equal(flagsOf(bytes, body), draft.flags);
  assert.equal(payloadEncodingOf(bytes, body), draft.payloadEncoding);
  assert.equal(payloadVersionOf(bytes, body), draft.payloadVersion);
  assert.equal(groupRemainingOf(bytes, body), draft.groupRemaining);
  const { prevHash, prevHashStart } = draft;
  assert.deepEqual(at(PREV_HASH_OFFSET, 32), prevHash.slice(prevHashStart, prevHashStart + 32));
  assert.deepEqual(at(CONTENT_HASH_OFFSET, 32), draft.contentHash);
  assert.equal(readUtf8(bytes, body + ENTITY_OFFSET, entitySizeOf(bytes, body)), draft.entity);
  assert.equal(readUtf8(bytes, scopeStartOf(bytes, body), scopeSizeOf(bytes, body)), draft.scope);
  assert.equal(tagCountOf(bytes, body), draft.tags.length);
  assert.deepEqual(tagsOf(bytes, body), draft.tags);
  assert.deepEqual(extensionsOf(bytes, body), draft.extensions);
  assert.deepEqual(payloadOf(bytes, body), draft.payload);
}

const RICH_FRAME = [
  "000000f9", // size
  "69d41f96", // checksum
  "dc0014", // array of 20
  "cf00123456789abcde", // globalSequence
  "c410101112131415161718191a1b1c1d1e1f", // eventId
  "c410202122232425262728292a2b2c2d2e2f", // correlationId
  "c410303132333435363738393a3b3c3d3e3f", // causationId
  "cf00060a24181e4000", // timestampUs
  "cefffefdfc", // clock
  "ce00000007", // lane
  "ce01020304", // depth
  "cdf001", // kind
  "cc8b", // flags
  "cc01", // payloadEncoding
  "cd0203", // payloadVersion
  "cd0002", // groupRemaining
  "c42048494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f6061626364656667", // prevHash
  "c420808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", // contentHash
  "da0007757365723ac3a9", // entity
  "da0003617070", // scope
  "dc0002" + "da00026575" + "da00076772c3b6c39f65", // tags
  "de0002" + "da00096170702e6175646974" + "c600000002abcd" + // receipt extensions
  "da00077a2e656d707479" + "c600000000",
  "c600000002cafe", // payload
].join("");

const PLAIN_FRAME = [
  "000000c2", // size
  "cf18a0cd", // checksum
  "dc0014",
  "cf0000000000000000",
  "c41000000000000000000000000000000000",
  "c41000000000000000000000000000000000",
  "c41000000000000000000000000000000000",
  "cf0000000000000000",
  "ce00000000",
  "ce00000000",
  "ce00000000",
  "cd1000",
  "cc00",
  "cc00",
  "cd0000",
  "cd0000",
  "c420" + "00".repeat(32),
  "c420" + "00".repeat(32),
  "da000165", // entity
  "da000173", // scope
  "dc0000", // tags
  "de0000", // receipt extensions
  "c600000004a3666f6f", // payload
].join("");

test("encodeFrame() and sealFrame() write the documented bytes", () => {
  assert.equal(toHex(encoded(richDraft())), RICH_FRAME);
  const draft = new FrameDraft();
  draft.kind = 0x1000;
  draft.entity = "e";
  draft.scope = "s";
  draft.payload = Uint8Array.of(0xa3, 0x66, 0x6f, 0x6f);
  assert.equal(toHex(encoded(draft)), PLAIN_FRAME);
});

test("the checksum of the documented bytes is the CRC-32 of the body", () => {
  for (const frame of [encoded(richDraft())]) {
    assert.equal(readU32(frame, 0), frame.byteLength - 8);
    assert.equal(readU32(frame, 4), crc32(frame.subarray(8)));
  }
});

test("any MessagePack library prints a body as its twenty elements", () => {
  const draft = richDraft();
  assert.deepEqual(decode(encoded(draft).subarray(FRAME_HEADER_SIZE), { useBigInt64: true }), [
    0x0012_3456_789a_bcden,
    draft.eventId,
    draft.correlationId,
    draft.causationId,
    1_700_000_000_000_000n,
    0xfffe_fdfc,
    7,
    0x0102_0304,
    0xf001,
    0x8b,
    1,
    0x0203,
    2,
    draft.prevHash.slice(8),
    draft.contentHash,
    "user:é",
    "app",
    ["eu", "größe"],
    { "app.audit": Uint8Array.of(0xab, 0xcd), "z.empty": new Uint8Array(0) },
    Uint8Array.of(0xca, 0xfe),
  ]);
});

test("an erased payload is nil, and everything else stays readable", () => {
  const draft = richDraft();
  const frame = encoded(draft);
  const payloadStart = payloadStartOf(frame, FRAME_HEADER_SIZE);
  const erased = new Uint8Array(payloadStart + 1);
  erased.set(frame.subarray(0, payloadStart));
  erased[payloadStart] = 0xc0;
  writeU32(erased, 0, erased.byteLength - FRAME_HEADER_SIZE);
  writeU32(erased, 4, crc32(erased.subarray(FRAME_HEADER_SIZE)));
  assert.equal(soundEnd(erased), erased.byteLength);
  assert.equal(payloadOf(erased, FRAME_HEADER_SIZE), undefined);
  assert.deepEqual(tagsOf(erased, FRAME_HEADER_SIZE), draft.tags);
  assert.equal((decode(erased.subarray(FRAME_HEADER_SIZE)) as unknown[])[19], null);
});

test("eraseFrame() leaves a sound frame with the same header, and says how the payload is gone", () => {
  const draft = richDraft();
  const frame = encoded(draft);
  const headerEnd = payloadStartOf(frame, FRAME_HEADER_SIZE);
  assert.equal(erasureOf(frame, FRAME_HEADER_SIZE, frame.byteLength), undefined);
  for (
    const [erasure, marker, value] of [["erased", 0xc0, null], ["retired", 0xc2, false]] as const
  ) {
    const target = new Uint8Array(frame.byteLength + 10).fill(0xee);
    const size = eraseFrame(frame, FRAME_HEADER_SIZE, erasure, target, 5);
    assert.equal(size, headerEnd + 1);
    assert.equal(size, erasedFrameSize(frame, FRAME_HEADER_SIZE));
    const erased = target.slice(5, 5 + size);
    assert.equal(soundEnd(erased), size);
    assert.equal(
      toHex(erased.subarray(FRAME_HEADER_SIZE)),
      toHex(frame.subarray(FRAME_HEADER_SIZE, headerEnd)) + marker.toString(16),
    );
    assert.equal(erasureOf(erased, FRAME_HEADER_SIZE, size), erasure);
    assert.equal(payloadOf(erased, FRAME_HEADER_SIZE), undefined);
    assert.equal((decode(erased.subarray(FRAME_HEADER_SIZE)) as unknown[])[19], value);
    assert.deepEqual([target[4], target[5 + size]], [0xee, 0xee]);
    // What is erased can be retired, and is as large.
    const again = new Uint8Array(size);
    assert.equal(eraseFrame(erased, FRAME_HEADER_SIZE, "retired", again, 0), size);
    assert.equal(erasureOf(again, FRAME_HEADER_SIZE, size), "retired");
  }
});

test("a payload that ends like an erased one is none", () => {
  for (const last of [0xc0, 0xc2]) {
    const draft = new FrameDraft();
    draft.entity = draft.scope = "x";
    draft.payload = Uint8Array.of(1, last);
    const frame = encoded(draft);
    assert.equal(frame.at(-1), last);
    assert.equal(erasureOf(frame, FRAME_HEADER_SIZE, frame.byteLength), undefined);
  }
});

test("FRAME_BODY_SIZE_MIN is the size of the smallest body there is", () => {
  const draft = new FrameDraft();
  draft.entity = draft.scope = "x";
  const withEmptyPayload = encoded(draft).byteLength - FRAME_HEADER_SIZE;
  assert.equal(FRAME_BODY_SIZE_MIN, withEmptyPayload - 5 + 1);
  assert.equal(FRAME_BODY_SIZE_MIN, 186);
});

test("frameSizeBound() is never below the size", () => {
  fc.assert(
    fc.property(anyDraft(), (draft) => {
      assert.ok(frameSizeBound(draft) >= encoded(draft).byteLength);
    }),
  );
});

test("a frame reads back as what was written, anywhere in a buffer", () => {
  fc.assert(
    fc.property(anyDraft(), fc.nat(50), (draft, start) => {
      const frame = encoded(draft, start);
      const target = new Uint8Array(start + frame.byteLength + 20).fill(0xee);
      target.set(frame, start);
      assert.equal(soundEnd(target, start), start + frame.byteLength);
      assertReadsBack(target, start + FRAME_HEADER_SIZE, draft);
      const body = frame.subarray(FRAME_HEADER_SIZE);
      assert.equal(headerProblem(body.subarray(0, payloadStartOf(body, 0))), undefined);
    }),
    { numRuns: 300 },
  );
});

test("a frame takes what a used buffer held before it", () => {
  const draft = richDraft();
  const target = new Uint8Array(2000).fill(0xff);
  const end = sealFrame(target, 100, encodeFrame(draft, target, 100), draft.payload);
  assert.equal(toHex(target.slice(100, end)), RICH_FRAME);
  assert.equal(target[99], 0xff);
  assert.equal(target[end], 0xff);
});

test("readFrameSize() reports a frame cut at any byte as cut, or as nothing while it is all zeros", () => {
  const frame = encoded(richDraft());
  for (let size = 0; size < frame.byteLength; size++) {
    const expected = size <= 3 ? FRAME_NONE : FRAME_CUT; // the size begins with three zeros
    assert.equal(readFrameSize(frame.slice(0, size), 0, size), expected, `${size} bytes`);
    assert.equal(readFrameSize(frame, 0, size), expected, `${size} bytes of more`);
  }
  assert.equal(readFrameSize(frame, 0, frame.byteLength), frame.byteLength - FRAME_HEADER_SIZE);
});

test("readFrameSize() takes zeros for no frame, whatever their number", () => {
  for (const size of [0, 1, 4, 7, 8, 9, 100, 4096]) {
    assert.equal(readFrameSize(new Uint8Array(size), 0, size), FRAME_NONE);
  }
  const bytes = new Uint8Array(20);
  bytes[7] = 1;
  assert.equal(readFrameSize(bytes, 0, 20), FRAME_SIZE_INVALID);
});

test("readFrameSize() refuses sizes that no frame of ours has", () => {
  const bytes = new Uint8Array(400);
  const sizeOf = (size: number) => {
    writeU32(bytes, 0, size);
    return readFrameSize(bytes, 0, bytes.byteLength);
  };
  assert.equal(sizeOf(1), FRAME_SIZE_INVALID);
  assert.equal(sizeOf(FRAME_BODY_SIZE_MIN - 1), FRAME_SIZE_INVALID);
  assert.equal(sizeOf(FRAME_BODY_SIZE_MIN), FRAME_BODY_SIZE_MIN);
  assert.equal(sizeOf(392), 392);
  assert.equal(sizeOf(393), FRAME_CUT);
  assert.equal(sizeOf(FRAME_BODY_SIZE_MAX), FRAME_CUT);
  assert.equal(sizeOf(FRAME_BODY_SIZE_MAX + 1), FRAME_SIZE_INVALID);
  assert.equal(sizeOf(0x8000_0000), FRAME_SIZE_INVALID);
  assert.equal(sizeOf(0xffff_ffff), FRAME_SIZE_INVALID);
});

test("no frame with a flipped bit is ever sound", () => {
  const frame = encoded(richDraft());
  const longer = new Uint8Array(frame.byteLength + 300).fill(0xa5);
  longer.set(frame);
  for (let i = 0; i < frame.byteLength * 8; i++) {
    for (const bytes of [frame, longer]) {
      bytes[i >> 3] ^= 1 << (i & 7);
      assert.equal(soundEnd(bytes), undefined, `bit ${i}`);
      bytes[i >> 3] ^= 1 << (i & 7);
    }
  }
  assert.equal(soundEnd(frame), frame.byteLength);
});

test("bodyProblem() finds every wrong marker, checksum or not", () => {
  const body = encoded(richDraft()).slice(FRAME_HEADER_SIZE);
  const markers = [
    0,
    1,
    2,
    3,
    12,
    13,
    30,
    31,
    48,
    49,
    66,
    75,
    80,
    85,
    90,
    93,
    95,
    97,
    100,
    103,
    104,
  ];
  for (const offset of [...markers, 137, 138, 171]) {
    for (const wrong of [0, 0xc1, 0xff, body[offset] ^ 1]) {
      if (wrong === body[offset]) continue;
      const changed = body.slice();
      changed[offset] = wrong;
      assert.match(
        bodyProblem(changed, 0, changed.byteLength) ?? "",
        /^the body is not an array|^the element at body offset \d+ has another type$/,
        `offset ${offset}`,
      );
    }
  }
});

test("bodyProblem() refuses numbers that are not safe integers", () => {
  const body = encoded(richDraft()).slice(FRAME_HEADER_SIZE);
  const withNumber = (offset: number, high: number) => {
    const changed = body.slice();
    writeU32(changed, offset, high);
    return bodyProblem(changed, 0, changed.byteLength);
  };
  assert.equal(withNumber(4, 0x1f_ffff), undefined);
  assert.equal(withNumber(4, 0x20_0000), "the sequence is not a safe integer");
  assert.equal(withNumber(4, 0xffff_ffff), "the sequence is not a safe integer");
  assert.equal(withNumber(67, 0x1f_ffff), undefined);
  assert.equal(withNumber(67, 0x20_0000), "the timestamp is not a safe integer");
});

test("bodyProblem() bounds every length before it is used", () => {
  const body = encoded(richDraft()).slice(FRAME_HEADER_SIZE);
  const scope = ENTITY_OFFSET + 7;
  const tags = scope + 3 + 3;
  const extensions = tags + 3 + 5 + 10;
  const payload = extensions + 3 + 12 + 7 + 10 + 5;
  assert.equal(payload, payloadStartOf(body, 0));
  const lengths: [what: string, offset: number, size: 2 | 4, reason: RegExp][] = [
    ["entity", ENTITY_OFFSET - 2, 2, /^the entity runs past the body$/],
    ["scope", scope + 1, 2, /^the scope runs past the body$/],
    ["tag count", tags + 1, 2, /^the tags run past the body$/],
    ["tag", tags + 4, 2, /^the tags run past the body$/],
    ["extension count", extensions + 1, 2, /^the receipt extensions run past the body$/],
    ["extension key", extensions + 4, 2, /^the receipt extensions run past the body$/],
    ["extension value", extensions + 16, 4, /^the receipt extensions run past the body$/],
    ["payload", payload + 1, 4, /^the payload does not end with the body$/],
  ];
  for (const [what, offset, size, reason] of lengths) {
    const changed = body.slice();
    if (size === 2) writeU16(changed, offset, 0xffff);
    else writeU32(changed, offset, 0xffff_ffff);
    assert.match(bodyProblem(changed, 0, changed.byteLength) ?? "", reason, what);
    for (let cut = 0; cut < body.byteLength; cut++) {
      assert.notEqual(bodyProblem(changed, 0, cut), undefined, `${what}, ${cut} bytes`);
    }
  }
});

test("bodyProblem() accepts no truncation, and no byte more", () => {
  const body = encoded(richDraft()).slice(FRAME_HEADER_SIZE);
  for (let size = 0; size < body.byteLength; size++) {
    assert.notEqual(bodyProblem(body, 0, size), undefined, `${size} bytes`);
    assert.notEqual(bodyProblem(body.slice(0, size), 0, size), undefined, `${size} bytes`);
  }
  const longer = new Uint8Array(body.byteLength + 1);
  longer.set(body);
  assert.equal(
    bodyProblem(longer, 0, longer.byteLength),
    "the payload does not end with the body",
  );
});

test("the readers never throw and never leave a body that bodyProblem() accepts", () => {
  const body = encoded(richDraft()).slice(FRAME_HEADER_SIZE);
  const change = fc.record({ at: fc.nat(body.byteLength - 1), value: fc.nat(255) });
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const changed = body.slice();
      for (const { at, value } of changes) changed[at] = value;
      if (bodyProblem(changed, 0, changed.byteLength) !== undefined) return;
      const size = changed.byteLength;
      assert.ok(payloadStartOf(changed, 0) < size);
      assert.ok(scopeStartOf(changed, 0) + scopeSizeOf(changed, 0) < size);
      assert.equal(tagsOf(changed, 0).length, tagCountOf(changed, 0));
      assert.ok(extensionsOf(changed, 0).length <= 2);
      assert.ok((payloadOf(changed, 0)?.byteLength ?? 0) <= size);
    }),
    { numRuns: 2000 },
  );
});

test("bytes that nobody wrote are never a frame", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1000 }), (bytes) => {
      assert.equal(soundEnd(bytes), undefined);
    }),
    { numRuns: 1000 },
  );
});

test("headerProblem() takes the header of a frame and nothing shorter or longer", () => {
  const body = encoded(richDraft()).slice(FRAME_HEADER_SIZE);
  const header = body.slice(0, payloadStartOf(body, 0));
  assert.equal(headerProblem(header), undefined);
  for (let size = 0; size < header.byteLength; size++) {
    assert.notEqual(headerProblem(header.slice(0, size)), undefined, `${size} bytes`);
  }
  assert.notEqual(headerProblem(body), undefined);
  assert.notEqual(headerProblem(new Uint8Array([...header, 0xc0])), undefined);
});

test("writeUtf8() and readUtf8() agree with the platform's encoder on any text", () => {
  const text = fc.string({ unit: "grapheme", maxLength: 120 });
  fc.assert(
    fc.property(text, fc.nat(9), (text, start) => {
      const expected = new TextEncoder().encode(text);
      const target = new Uint8Array(start + text.length * 3);
      assert.equal(writeUtf8(target, start, text), expected.byteLength);
      assert.deepEqual(target.slice(start, start + expected.byteLength), expected);
      assert.equal(readUtf8(target, start, expected.byteLength), text);
    }),
  );
});

test("readUtf8() reports what is not UTF-8, short or long", () => {
  for (const size of [1, 2, 63, 64, 65, 300]) {
    for (const wrong of [0x80, 0xc0, 0xf8, 0xff]) {
      const bytes = new Uint8Array(size).fill(0x61);
      bytes[size - 1] = wrong;
      assert.equal(readUtf8(bytes, 0, size), undefined, `0x${wrong.toString(16)} in ${size}`);
    }
    assert.equal(readUtf8(new Uint8Array(size).fill(0x61), 0, size), "a".repeat(size));
  }
  // A surrogate half, and an overlong slash.
  assert.equal(readUtf8(Uint8Array.of(0xed, 0xa0, 0x80), 0, 3), undefined);
  assert.equal(readUtf8(Uint8Array.of(0xc0, 0xaf), 0, 2), undefined);
});

test("readUtf8() keeps a byte order mark, which is text like any other", () => {
  // The decoder took it away: an entity that began with one was read back under another name.
  assert.equal(readUtf8(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61), 0, 4), "\ufeffa");
  const long = new TextEncoder().encode(`\ufeff${"a".repeat(100)}`);
  assert.equal(readUtf8(long, 0, long.byteLength), `\ufeff${"a".repeat(100)}`);
});

test("writeU64() keeps every safe integer", () => {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      writeU64(bytes, 0, value);
      assert.equal(view.getBigUint64(0), BigInt(value));
    }),
  );
});

function anyDraft(): fc.Arbitrary<FrameDraft> {
  const u32 = fc.nat(0xffff_ffff);
  const name = fc.string({ unit: "grapheme", minLength: 1, maxLength: 90 });
  const id = fc.uint8Array({ minLength: 16, maxLength: 16 });
  const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
  const key = fc.string({ unit: fc.constantFrom("a", "b", ".", "~"), minLength: 1, maxLength: 20 });
  return fc.record({
    globalSequence: fc.maxSafeNat(),
    ids: fc.tuple(id, id, id),
    timestampUs: fc.maxSafeNat(),
    clock: u32,
    lane: u32,
    depth: u32,
    kind: fc.nat(0xffff),
    flags: fc.nat(0xff),
    payloadEncoding: fc.nat(2),
    payloadVersion: fc.nat(0xffff),
    groupRemaining: fc.nat(4095),
    prevHash: hash,
    contentHash: hash,
    entity: name,
    scope: name,
    tags: fc.array(name, { maxLength: 5 }),
    extensions: fc.array(fc.tuple(key, fc.uint8Array({ maxLength: 40 })), { maxLength: 4 }),
    payload: fc.uint8Array({ maxLength: 300 }),
  }).map(({ ids, contentHash, ...fields }) => {
    const draft = Object.assign(new FrameDraft(), fields);
    draft.eventId.set(ids[0]);
    draft.correlationId.set(ids[1]);
    draft.causationId.set(ids[2]);
    draft.contentHash.set(contentHash);
    return draft;
  });
}
