import assert from "node:assert/strict";
import { test } from "node:test";
import {
  DIR,
  item,
  killedJournal,
  KIND,
  openStore,
  payloadsOf,
  USER,
} from "../tests/support/journal.ts";
import { flipBit, framesOf, fsOf, readTree, trimmed } from "../tests/support/journal_bytes.ts";
import { EventKind } from "./event_kind.ts";
import { verifyJournal } from "./verify.ts";

const FIRST = "000001.fbat";
const TREE = killedJournal((store) => {
  for (let n = 0; n < 6; n++) store.append(USER, KIND, n);
  store.appendBatch([item(6), item(7)]);
});
const SEGMENT = trimmed(TREE.get(FIRST)!);
// The first frame is the store's own.
const FRAMES = framesOf(SEGMENT).slice(1);

test('tailPolicy "cutAtDamage" cuts where "repair" refuses, and keeps all that is cut', () => {
  for (const damaged of [0, 3, 6]) {
    const { offset, end } = FRAMES[damaged];
    const broken = flipBit(SEGMENT, offset + 40);
    const behind = FRAMES[damaged + 1];
    if (damaged < 6) {
      assert.throws(() => openStore(fsOf(new Map(TREE).set(FIRST, broken))), {
        name: "CorruptionError",
        offset,
        message: new RegExp(`a sound frame follows at offset ${end}`),
      });
      assert.equal(behind.offset, end);
    }
    const fs = fsOf(new Map(TREE).set(FIRST, broken));
    const store = openStore(fs, { tailPolicy: "cutAtDamage" });
    assert.deepEqual(payloadsOf(store), [0, 1, 2, 3, 4, 5].slice(0, damaged));
    const [repair] = store.openReport.repairs;
    assert.deepEqual([repair.segmentId, repair.offset], [1, offset]);
    assert.deepEqual(readTree(fs, DIR).get(repair.quarantine), broken.slice(offset));
    // The journal goes on as if the cut events had never been.
    assert.equal(store.append(USER, KIND, "next").clock, damaged);
    store.close();
    assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
  }
});

test('tailPolicy "failClosed" refuses a torn tail and changes nothing', () => {
  const torn = new Map(TREE).set(FIRST, SEGMENT.slice(0, -3));
  const fs = fsOf(torn);
  assert.throws(() => openStore(fs, { tailPolicy: "failClosed" }), {
    name: "CorruptionError",
    message: /the tail policy is "failClosed"/,
  });
  const after = readTree(fs, DIR);
  after.delete(".batpak.lock");
  const before = new Map(torn);
  before.delete(".batpak.lock");
  assert.deepEqual(after, before);
  // Space taken in advance is no tail, and neither is a clean end.
  const extended = new Uint8Array(SEGMENT.byteLength + 5000);
  extended.set(SEGMENT);
  for (const segment of [SEGMENT, extended]) {
    const store = openStore(fsOf(new Map(TREE).set(FIRST, segment)), { tailPolicy: "failClosed" });
    assert.equal(store.query({ kind: KIND }).length, 8);
    assert.equal(store.query({ kind: EventKind.SYSTEM_OPEN_COMPLETED }).length, 2);
  }
});

test('tailPolicy "cutAtDamage" never cuts a sealed segment', () => {
  const rolled = killedJournal((store) => {
    for (let n = 0; n < 6; n++) store.append(USER, KIND, n);
  }, { segmentMaxBytes: 600 });
  const sealed = rolled.get(FIRST)!;
  const broken = new Map(rolled).set(FIRST, flipBit(sealed, sealed.byteLength - 5));
  assert.throws(() => openStore(fsOf(broken), { tailPolicy: "cutAtDamage" }), {
    name: "CorruptionError",
    segmentId: 1,
  });
});

test('tailPolicy "failClosed" leaves a segment without a header where it is', () => {
  const fs = fsOf(new Map(TREE).set(FIRST, SEGMENT).set("000002.fbat", Uint8Array.of(0x46, 0x42)));
  assert.throws(() => openStore(fs, { tailPolicy: "failClosed" }), {
    name: "CorruptionError",
    segmentId: 2,
  });
  assert.ok(readTree(fs, DIR).has("000002.fbat"));
  assert.equal(openStore(fs).openReport.repairs[0].segmentId, 2);
});
