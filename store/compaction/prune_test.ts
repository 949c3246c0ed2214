// Issue "A million events": whole-prefix pruning. What crashes leave is in compaction_crash_test.ts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs } from "../../platform/memory.ts";
import { DIR, KIND, openReader, openStore, USER } from "../../tests/support/journal.ts";
import {
  fixChecksum,
  flipBit,
  readFile,
  readTree,
  writeFile,
} from "../../tests/support/journal_bytes.ts";
import { openAnew } from "../../tests/support/journal_checks.ts";
import { type BaseChain, BaseRecordWriter, readBaseRecord } from "./base_record.ts";
import {
  ClockConflictError,
  ConditionConflictError,
  CorruptionError,
  EventPrunedError,
} from "../errors.ts";
import { evidenceHash } from "../evidence.ts";
import { FRAME_HEADER_SIZE } from "../frame.ts";
import type { JournalReader } from "../journal_reader.ts";
import { type Receipt, SigningKey } from "../receipt.ts";
import type { Store } from "../store.ts";
import type { StoreOptions } from "../store_options.ts";
import { verifyJournal } from "../verify.ts";

const SMALL: StoreOptions = { segmentMaxBytes: 600 };
const BASE = `${DIR}/journal.base`;

interface Journal {
  readonly fs: MemoryFs;
  readonly store: Store;
  readonly receipts: readonly Receipt[];
}

/** Thirty events of three entities and two lanes; `early` and the lane 5 of `user:0` end soon. */
function filled(options: StoreOptions = SMALL): Journal {
  const fs = new MemoryFs();
  const store = openStore(fs, options);
  const receipts: Receipt[] = [];
  for (let i = 0; i < 30; i++) {
    const entity = i === 2 ? "early" : `user:${i % 3}`;
    receipts.push(store.append({ entity, scope: "app" }, KIND, { i }, {
      idempotencyKey: `key ${i}`,
      lane: i === 3 ? 5 : 0,
      tags: [i % 2 === 0 ? "even" : "odd"],
      causationId: i % 10 === 9 ? receipts[i - 9].eventId : undefined,
    }));
  }
  return { fs, store, receipts };
}

function numbersIn(reader: JournalReader): number[] {
  return reader.query({ kind: KIND }).map(({ payload }) => (payload as { i: number }).i);
}

function segmentIds(fs: MemoryFs): number[] {
  return fs.list(DIR).flatMap(({ name }) =>
    name.endsWith(".fbat") ? [Number(name.slice(0, 6))] : []
  );
}

/** Checks that a handle knows what is left, nothing of what is gone, and where every chain was. */
function check(reader: JournalReader, { receipts }: Journal, firstSequence: number): void {
  const isGone = ({ globalSequence }: Receipt) => globalSequence < firstSequence;
  const gone = receipts.filter(isGone);
  const kept = receipts.filter((receipt) => !isGone(receipt));
  assert.ok(gone.length > 5 && kept.length > 5);
  const ids = kept.map(({ eventId }) => eventId);
  assert.deepEqual(reader.query({ kind: KIND }).map(({ eventId }) => eventId), ids);
  assert.deepEqual(
    [...reader.events({ kind: KIND }, { reverse: true, after: -1 })].reverse().length,
    kept.length,
  );
  const user = [...reader.byEntity("user:1")].map(({ eventId }) => eventId);
  assert.deepEqual(
    user,
    kept.filter(({ coordinate }) => coordinate.entity === "user:1").map(({ eventId }) => eventId),
  );
  for (const receipt of gone) {
    assert.equal(reader.get(receipt.eventId), undefined);
    assert.equal(reader.at(receipt.globalSequence), undefined);
    const verified = reader.verifyReceipt(receipt);
    assert.equal(!verified.valid && verified.reason, "MissingCommittedEvent");
    assert.deepEqual(reader.effects(receipt.eventId), []);
  }
  for (const receipt of kept) {
    assert.equal(reader.at(receipt.globalSequence)?.eventId, receipt.eventId);
    assert.equal(reader.verifyReceipt(receipt).valid, true);
    const clock = reader.get(receipt.eventId)?.clock;
    assert.equal(clock, receipt.clock);
  }
  const latest = reader.latest("user:1")!;
  const walk = reader.walkAncestors(latest.eventId);
  const last = walk.ancestors.at(-1)!;
  assert.deepEqual(walk.boundary, { type: "MissingParent", child: last.eventId });
  assert.ok(last.clock > 0 && last.globalSequence >= firstSequence);
  assert.equal(reader.latest("early"), undefined);
  assert.equal(reader.latest("user:0", 5), undefined);
  // A cause that is gone ends the line.
  const caused = receipts.find((_, i) =>
    i % 10 === 9 && isGone(receipts[i - 9]) && !isGone(receipts[i])
  )!;
  assert.deepEqual(reader.causes(caused.eventId), []);
  const { eventCount, nextSequence, entityCount } = reader.stats();
  assert.equal(eventCount, nextSequence - firstSequence);
  // The store's own entity is the fourth, once an open or close has been recorded behind it.
  assert.ok(entityCount === 3 || entityCount === 4);
}

/** Checks that appends go on where each chain was, whoever its newest event is. */
function checkAppends(store: Store, clocks: Readonly<Record<string, number>>): void {
  for (const [chain, clock] of Object.entries(clocks)) {
    const [entity, lane = "0"] = chain.split("@");
    const coordinate = { entity, scope: "app" };
    assert.throws(
      () => store.append(coordinate, KIND, 0, { expectedClock: "none", lane: Number(lane) }),
      (error) => error instanceof ClockConflictError && error.conflict.actual === clock,
    );
    const receipt = store.append(coordinate, KIND, { i: -1 }, {
      expectedClock: clock,
      lane: Number(lane),
    });
    assert.equal(receipt.clock, clock + 1);
  }
}

const CLOCKS = { "early": 0, "user:0@5": 0, "user:0": 8, "user:1": 9, "user:2": 8 };

for (const [name, coldStart] of [["with indexes", {}], ["from frames", undefined]] as const) {
  test(`what is below goes, in whole segments, and the rest is as it was, ${name}`, () => {
    const options = { ...SMALL, ...(coldStart && { coldStart }) };
    const journal = filled(options);
    const { fs, store } = journal;
    const before = segmentIds(fs);
    const report = store.prune({ below: 15 });
    assert.equal(report.outcome, "performed");
    assert.ok(report.firstSequence <= 15 && report.firstSequence > 10);
    assert.equal(report.eventsPruned, report.firstSequence);
    assert.deepEqual(segmentIds(fs), before.slice(report.segmentsRemoved));
    check(store, journal, report.firstSequence);
    check(openReader(fs, { coldStart }), journal, report.firstSequence);
    const crashed = openAnew(fs.snapshot(), options);
    check(crashed, journal, report.firstSequence);
    assert.deepEqual(crashed.openReport.oddities, []);
    checkAppends(crashed, CLOCKS);
    checkAppends(store, CLOCKS);
    store.close();
    const verified = verifyJournal(DIR, { fs });
    assert.deepEqual([verified.findings, verified.pruned], [[], report.firstSequence]);
    const reopened = openAnew(fs, options);
    assert.deepEqual(reopened.openReport.oddities, []);
    assert.equal(reopened.openReport.restoredEntries, reopened.stats().eventCount - 1);
    reopened.close();
    // An index file of a handle that began at the base is whole, and is used.
    const again = openAnew(fs, options);
    assert.deepEqual(again.openReport.oddities, []);
    assert.equal(again.openReport.path, coldStart ? "index" : "frames");
    checkAppends(again, { "early": 1, "user:0@5": 1, "user:0": 9, "user:1": 10, "user:2": 9 });
    again.close();
    assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
  });
}

test("keys of pruned events are forgotten, and a retry appends", () => {
  for (const reopen of [false, true]) {
    const { fs, store, receipts } = filled();
    store.prune({ below: 15 });
    const writer = reopen ? openAnew(fs.snapshot(), SMALL) : store;
    const again = writer.append(USER, KIND, "again", { idempotencyKey: "key 1" });
    assert.equal(again.replayed, false);
    assert.equal(again.eventId, receipts[1].eventId);
    assert.ok(again.globalSequence >= 31);
    const replay = writer.append(USER, KIND, "once more", { idempotencyKey: "key 1" });
    assert.deepEqual([replay.replayed, replay.globalSequence], [true, again.globalSequence]);
    assert.equal(writer.get(receipts[1].eventId)?.payload, "again");
    // Enough to make the table of ids grow around it.
    for (let i = 0; i < 2000; i++) writer.append(USER, KIND, i, { idempotencyKey: `more ${i}` });
    const later = writer.append(USER, KIND, 0, { idempotencyKey: "key 1" });
    assert.deepEqual([later.replayed, later.globalSequence], [true, again.globalSequence]);
    assert.equal(writer.append(USER, KIND, 0, { idempotencyKey: "key 29" }).replayed, true);
  }
});

test("conditions see what is left, and no more", () => {
  const { store } = filled();
  const { firstSequence } = store.prune({ below: 15 });
  const append = () => store.append(USER, KIND, 0, { failIf: { tags: ["even"] } });
  assert.throws(append, (error) => {
    assert.ok(error instanceof ConditionConflictError);
    assert.ok(error.conflicts[0].globalSequence >= firstSequence);
    return true;
  });
  store.append(USER, KIND, 0, { failIf: { region: { entity: "early" } } });
});

test("a later prune goes on from the record of the first", () => {
  const { fs, store } = filled();
  const first = store.prune({ below: 10 });
  assert.equal(store.compact().outcome, "performed");
  assert.equal(store.prune({ below: 20 }).outcome, "skipped");
  const crashed = fs.snapshot();
  const reopened = openAnew(crashed, SMALL);
  for (let i = 30; i < 40; i++) reopened.append({ entity: "user:0", scope: "app" }, KIND, { i });
  const second = reopened.prune({ below: 34 });
  assert.equal(second.outcome, "performed");
  assert.ok(second.firstSequence > first.firstSequence);
  assert.equal(second.eventsPruned, second.firstSequence - first.firstSequence);
  const again = openAnew(crashed.snapshot(), SMALL);
  // Chains that ended before the first prune are known after the second.
  for (const writer of [reopened, again]) checkAppends(writer, { ...CLOCKS, "user:0": 18 });
  assert.deepEqual(verifyJournal(DIR, { fs: crashed }).findings, []);
});

test("pruning everything leaves a journal that goes on", () => {
  const { fs, store } = filled();
  const next = store.stats().nextSequence;
  const report = store.prune({ below: next, seal: true });
  assert.deepEqual([report.firstSequence, report.eventsPruned], [next, next]);
  assert.deepEqual([store.stats().eventCount, store.stats().entityCount], [0, 0]);
  assert.deepEqual(store.query(), []);
  const crashed = openAnew(fs.snapshot(), SMALL);
  assert.equal(crashed.stats().eventCount, 1);
  assert.equal(crashed.stats().nextSequence, next + 1);
  for (const writer of [crashed, store]) checkAppends(writer, CLOCKS);
  store.close();
  assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
  assert.equal(openAnew(fs, SMALL).query({ kind: KIND }).length, 5);
});

test("times go on from the last event that is gone", () => {
  const { fs, store } = filled();
  const last = store.query().at(-1)!.timestampUs;
  store.prune({ below: 100, seal: true });
  const again = openStore(fs.snapshot(), { ...SMALL, clock: { ...clockAt(1), bootId: "test" } });
  assert.ok(again.query()[0].timestampUs >= last);
});

function clockAt(us: number) {
  return { nowUs: () => us, monotonicUs: () => 0 };
}

test("nothing below as a whole is skipped; a dry run says what would go; neither changes a file", () => {
  const { fs, store } = filled();
  const before = readTree(fs, DIR);
  const skipped = store.prune({ below: 0 });
  assert.equal(skipped.outcome, "skipped");
  const lowest = Number(
    /^no sealed segment has all of its events below sequence 0; (\d+) is the lowest that removes one$/
      .exec(skipped.reason ?? "")?.[1],
  );
  assert.equal(store.prune({ below: lowest - 1, dryRun: true }).segmentsRemoved, 0);
  assert.equal(store.prune({ below: lowest, dryRun: true }).segmentsRemoved, 1);
  const dry = store.prune({ below: 15, dryRun: true });
  assert.deepEqual(readTree(fs, DIR), before);
  assert.equal(numbersIn(store).length, 30);
  const wet = store.prune({ below: 15 });
  for (
    const key of ["outcome", "segmentsRemoved", "bytesReclaimed", "eventsPruned", "firstSequence"]
  ) {
    assert.equal(dry[key as keyof typeof dry], wet[key as keyof typeof wet], key);
  }
  assert.equal(wet.bodyHash, evidenceHash(wet.body));
  assert.notEqual(wet.bodyHash, dry.bodyHash);
  assert.deepEqual(wet.body.segmentIds, segmentIdsOf(wet.segmentsRemoved));
});

test("a dry run with seal counts the segment that is written to, as the prune does", () => {
  const { fs, store } = filled();
  const { nextSequence } = store.stats();
  const before = readTree(fs, DIR);
  const unsealed = store.prune({ below: nextSequence, dryRun: true });
  const dry = store.prune({ below: nextSequence, seal: true, dryRun: true });
  assert.deepEqual(readTree(fs, DIR), before);
  assert.deepEqual([dry.firstSequence, dry.eventsPruned], [nextSequence, nextSequence]);
  assert.equal(dry.segmentsRemoved, unsealed.segmentsRemoved + 1);
  const wet = store.prune({ below: nextSequence, seal: true });
  assert.deepEqual(
    [dry.firstSequence, dry.eventsPruned, dry.segmentsRemoved, dry.body.firstSegmentId],
    [wet.firstSequence, wet.eventsPruned, wet.segmentsRemoved, wet.body.firstSegmentId],
  );
  // What was begun has no event, so there is nothing more to seal.
  const again = store.prune({ below: nextSequence, seal: true, dryRun: true });
  assert.deepEqual([again.outcome, again.reason], ["skipped", "there is no sealed segment"]);
});

test("planPrune() and planCompaction() report what a dry run does, on both handles, and write nothing", () => {
  const { fs, store } = filled();
  const reader = openReader(fs);
  const keep = { maxCount: 5 };
  const strategy = { type: "tombstone", keep } as const;
  const expected = [
    store.prune({ below: 15, dryRun: true }),
    store.compact({ strategy, minSegments: 1, dryRun: true }),
  ];
  const before = readTree(fs, DIR);
  for (const handle of [reader, store]) {
    assert.deepEqual(
      [handle.planPrune({ below: 15 }), handle.planCompaction({ strategy, minSegments: 1 })],
      expected,
    );
    assert.throws(() => handle.planPrune(undefined as never), TypeError);
    assert.throws(() => handle.planCompaction({ dryrun: true } as never), TypeError);
  }
  assert.ok(expected.every(({ outcome, body }) => outcome === "performed" && body.dryRun));
  assert.deepEqual(readTree(fs, DIR), before);
  reader.close();
  assert.throws(() => reader.planPrune({ below: 15 }), { name: "StoreClosedError" });
  assert.throws(() => reader.planCompaction(), { name: "StoreClosedError" });
});

function segmentIdsOf(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i + 1);
}

test("an event that was read before it was pruned says so when it is touched", () => {
  const { store } = filled();
  const [event] = store.query({ kind: KIND });
  const held = store.query({ kind: KIND })[1];
  assert.deepEqual(held.payload, { i: 1 });
  store.prune({ below: 15 });
  assert.throws(() => event.payload, (error) => {
    assert.ok(error instanceof EventPrunedError);
    assert.deepEqual([error.code, error.globalSequence], ["EVENT_PRUNED", 1]);
    return true;
  });
  assert.throws(() => event.eventId, EventPrunedError);
  assert.equal(event.globalSequence, 1);
  assert.deepEqual(held.payload, { i: 1 });
});

test("the record is signed with the store's key, and verification says whose it is", () => {
  const key = SigningKey.fromSeed(new Uint8Array(32).fill(3));
  const other = SigningKey.fromSeed(new Uint8Array(32).fill(4));
  const { fs, store } = filled({ ...SMALL, signingKeys: [key] });
  store.prune({ below: 15 });
  store.close();
  const reasonsWith = (...keys: SigningKey[]) =>
    verifyJournal(DIR, { fs, verifyingKeys: keys.map(({ publicKey }) => publicKey) }).findings
      .map(({ file, reason }) => `${file}: ${reason}`);
  assert.deepEqual(reasonsWith(), []);
  assert.deepEqual(reasonsWith(key), []);
  assert.deepEqual(reasonsWith(other, key), []);
  assert.deepEqual(reasonsWith(other), [
    "journal.base: it was signed by a key that is not among those given",
  ]);
  const unsigned = filled();
  unsigned.store.prune({ below: 15 });
  assert.deepEqual(
    verifyJournal(DIR, { fs: unsigned.fs, verifyingKeys: [key.publicKey] }).findings
      .map(({ reason }) => reason),
    ["it is not signed"],
  );
});

test("a record that builds on one that nobody known has signed is not signed either", () => {
  // A forged record, its signature zeroed, was taken into the next one and signed with the store's key.
  const key = SigningKey.fromSeed(new Uint8Array(32).fill(3));
  const { fs, store } = filled();
  store.prune({ below: 10 });
  store.close();
  const signing = { ...SMALL, signingKeys: [key] };
  const again = openAnew(fs, signing);
  const { outcome, body } = again.prune({ below: 20 });
  assert.equal(outcome, "performed");
  assert.deepEqual(body.findings, [{ type: "NotSigned", reason: "it is not signed" }]);
  again.close();
  assert.deepEqual(
    verifyJournal(DIR, { fs, verifyingKeys: [key.publicKey] }).findings.map(({ reason }) => reason),
    ["it is not signed"],
  );
  assert.throws(() => openAnew(fs, { ...signing, chainVerification: "recompute" }), {
    code: "CORRUPTION",
  });
});

test("a pruned journal without its record, or with one that does not fit, is refused", () => {
  const { fs, store } = filled();
  const reported = store.prune({ below: 15 });
  store.close();
  const refused = (change: (copy: MemoryFs) => void, path: string, reason: RegExp) => {
    const copy = fs.snapshot();
    change(copy);
    for (const open of [() => openAnew(copy, SMALL), () => openReader(copy)]) {
      assert.throws(open, (error) => {
        assert.ok(error instanceof CorruptionError, `${error}`);
        assert.ok(error.path.endsWith(path), error.path);
        assert.match(error.reason, reason);
        return true;
      });
    }
    assert.equal(verifyJournal(DIR, { fs: copy }).intact, false);
  };
  const first = `${String(reported.body.firstSegmentId).padStart(6, "0")}.fbat`;
  refused(
    (copy) => copy.remove(BASE),
    first,
    /segments before it are missing: .*there is no journal.base/,
  );
  refused(
    (copy) => copy.remove(`${DIR}/${first}`),
    "journal.base",
    /begins with segment \d+ since it was pruned, and there is none/,
  );
  const bytes = readFile(fs, BASE);
  refused((copy) => writeFile(copy, BASE, flipBit(bytes, 40)), "journal.base", /head/);
  refused((copy) => writeFile(copy, BASE, flipBit(bytes, 110)), "journal.base", /./);
  refused((copy) => writeFile(copy, BASE, bytes.subarray(0, 150)), "journal.base", /bytes/);
  // The record of another journal, and of an earlier state of this one.
  const foreign = filled({ ...SMALL, entropy: undefined });
  foreign.store.prune({ below: 15 });
  const foreignBytes = readFile(foreign.fs, BASE);
  refused((copy) => writeFile(copy, BASE, foreignBytes), "journal.base", /another journal/);
});

test("a damaged record is what verification names, and no index is said to lie", () => {
  // Without the record the index began at the wrong event, so a sound index file and sound footers were said
  // to contradict the frames, and were to be removed. Nothing is compared with them now.
  const { fs, store } = filled({ ...SMALL, coldStart: {} });
  store.prune({ below: 15 });
  store.close();
  writeFile(fs, BASE, flipBit(readFile(fs, BASE), 40));
  const { intact, findings } = verifyJournal(DIR, { fs });
  assert.equal(intact, false);
  assert.deepEqual(findings.map(({ type, file }) => [type, file]), [["file", "journal.base"]]);
});

test("a record whose heads are not those of the journal is found by verification", () => {
  const { fs, store } = filled();
  store.prune({ below: 15 });
  store.close();
  const chains: BaseChain[] = [];
  const file = fs.open(BASE, "read");
  const found = readBaseRecord(file, ({ entity, eventHash, ...head }) => {
    chains.push({ ...head, entity: entity.slice(), eventHash: eventHash.slice() });
    return undefined;
  });
  assert.ok(found.type === "base");
  const forge = (change: (head: BaseChain) => BaseChain) => {
    const forged = fs.snapshot();
    const staged = forged.stage(DIR);
    const writer = new BaseRecordWriter(staged, found.base);
    for (const head of chains) writer.add(change(head));
    writer.finish(undefined);
    staged.publish(BASE);
    return verifyJournal(DIR, { fs: forged });
  };
  assert.equal(forge((head) => head).intact, true);
  const name = ({ entity }: BaseChain) => new TextDecoder().decode(entity);
  const reHashed = forge((head) =>
    name(head) === "user:1" ? { ...head, eventHash: flipBit(head.eventHash, 0) } : head
  );
  assert.deepEqual(reHashed.findings.map(({ type }) => type), ["chain"]);
  assert.match(reHashed.findings[0].reason, /does not name the event hash of its predecessor/);
  const reClocked = forge((head) =>
    name(head) === "user:1" ? { ...head, clock: head.clock + 1 } : head
  );
  assert.deepEqual(reClocked.findings.map(({ type }) => type), ["chain"]);
});

test("a prune whose record cannot be written fails, and changes nothing", () => {
  for (const op of ["writeAt", "sync", "rename"] as const) {
    const { fs, store } = filled();
    const before = readTree(fs, DIR);
    fs.failNext({ op, code: "ENOSPC", path: op === "rename" ? "journal.base" : ".stage-" });
    const report = store.prune({ below: 15 });
    assert.equal(report.outcome, "failed");
    assert.match(report.reason ?? "", /ENOSPC/);
    assert.equal(report.eventsPruned, 0);
    assert.deepEqual(readTree(fs, DIR), before);
    assert.equal(numbersIn(store).length, 30);
    assert.equal(store.prune({ below: 15 }).outcome, "performed");
  }
});

test("a damaged event whose hash the record needs fails the prune, and changes nothing", () => {
  const { fs, store } = filled();
  const { segmentIds } = store.prune({ below: 15, dryRun: true }).body;
  const path = `${DIR}/${`${segmentIds.at(-1)}`.padStart(6, "0")}.fbat`;
  const bytes = readFile(fs, path);
  writeFile(fs, path, flipBit(bytes, bytes.byteLength - 1));
  const before = readTree(fs, DIR);
  const report = store.prune({ below: 15 });
  assert.equal(report.outcome, "failed");
  assert.ok(report.cause instanceof CorruptionError);
  assert.deepEqual(readTree(fs, DIR), before);
});

test("a last event that is not the one the next segment follows fails the prune", () => {
  const { fs, store } = filled();
  const next = [...store.events()].find(({ position }) => position.segmentId === 3);
  assert.ok(next);
  const { globalSequence } = next;
  const { segmentId, offset } = store.at(globalSequence - 1)?.position ?? {};
  assert.ok(segmentId === 2 && offset !== undefined);
  store.close();
  const path = `${DIR}/000002.fbat`;
  // Its flags; with a checksum that fits, no open notices.
  const forged = flipBit(readFile(fs, path), offset + FRAME_HEADER_SIZE + 94);
  fixChecksum(forged, offset);
  writeFile(fs, path, forged);
  const again = openAnew(fs, SMALL);
  const before = readTree(fs, DIR);
  const report = again.prune({ below: globalSequence });
  assert.equal(report.outcome, "failed");
  assert.match(report.reason ?? "", /the header names another event/);
  assert.deepEqual(readTree(fs, DIR), before);
  again.close();
  openAnew(fs, SMALL).close();
});

test("options that are none are refused", () => {
  const { store } = filled();
  assert.throws(() => store.prune({ below: -1 }), RangeError);
  assert.throws(() => store.prune({ below: 1.5 }), RangeError);
  assert.throws(() => store.prune({} as { below: number }), RangeError);
  for (const none of [undefined, null, 7]) {
    assert.throws(() => store.prune(none as never), {
      name: "TypeError",
      message: "Cannot prune: say what to remove, as in { below: 1000 }",
    });
  }
  assert.throws(() => store.prune({ below: 1, above: 3 } as { below: number }), TypeError);
});

test("a pruned journal is compacted like any other", () => {
  const journal = filled();
  const { fs, store } = journal;
  const { firstSequence } = store.prune({ below: 15 });
  const report = store.compact({ strategy: { type: "tombstone", keep: ({ clock }) => clock > 6 } });
  assert.equal(report.outcome, "performed");
  assert.equal(report.body.inputSegmentIdLow, report.body.merges[0].mergedSegmentId);
  check(store, journal, firstSequence);
  check(openAnew(fs.snapshot(), SMALL), journal, firstSequence);
  assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
});
