// Spec 8.3 and 8.14: what a compaction does, keeps and reports. What crashes leave is in
// compaction_crash_test.ts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs } from "../../platform/memory.ts";
import { runtime } from "../../platform/runtime.ts";
import { FixedClock } from "../../tests/support/fixed_clock.ts";
import {
  DIR,
  FRAMES_ONLY,
  KIND,
  openReader,
  openStore,
  USER,
} from "../../tests/support/journal.ts";
import { readFile, readTree, writeFile } from "../../tests/support/journal_bytes.ts";
import { censusOf, openAnew } from "../../tests/support/journal_checks.ts";
import { SeededEntropy } from "../../tests/support/seeded_entropy.ts";
import { inTempDir } from "../../tests/support/temp_dir.ts";
import { watchedFs } from "../../tests/support/changing_fs.ts";
import type { CompactionOptions, CompactionProgress } from "./compaction.ts";
import {
  ClockConflictError,
  CompactionError,
  ConditionConflictError,
  CorruptionError,
  LifecycleBusyError,
  StoreClosedError,
  WriterCrashedError,
} from "../errors.ts";
import { defineEvent } from "../event_definition.ts";
import { EventKind } from "../event_kind.ts";
import { evidenceHash } from "../evidence.ts";
import { blake3, toHex } from "../hash.ts";
import type { JournalReader } from "../journal_reader.ts";
import { decodeSegmentHeader, encodeSegmentHeader } from "../segment_header.ts";
import { Store } from "../store.ts";
import type { StoreOptions } from "../store_options.ts";
import { verifyJournal } from "../verify.ts";

const SMALL: StoreOptions = { segmentMaxBytes: 600 };

/** A journal with `count` events of one entity, several to a segment. */
function filled(count: number, options: StoreOptions = SMALL): { fs: MemoryFs; store: Store } {
  const fs = new MemoryFs();
  const store = openStore(fs, options);
  for (let i = 0; i < count; i++) store.append(USER, KIND, { i });
  return { fs, store };
}

function numbersIn(reader: JournalReader): (number | undefined)[] {
  return reader.query({ kind: KIND }).map(({ payload }) => (payload as { i: number })?.i);
}

function segmentNames(fs: MemoryFs): string[] {
  return fs.list(DIR).map(({ name }) => name).filter((name) => name.includes(".fbat"));
}

/** Keeps events whose number is even. */
const even = {
  keep: (event: { payload: unknown }) => (event.payload as { i: number }).i % 2 === 0,
};

test("S004-5 16 events in 512-byte segments, synced, are merged", () => {
  const { fs, store } = filled(16, { segmentMaxBytes: 512 });
  store.sync();
  const before = store.stats();
  const report = store.compact({ strategy: { type: "merge" }, minSegments: 2 });
  assert.equal(report.outcome, "performed");
  assert.equal(store.stats().segmentCount, 2);
  assert.equal(report.segmentsRemoved, before.segmentCount - 2);
  assert.deepEqual(numbersIn(store), Array.from({ length: 16 }, (_, i) => i));
  assert.equal(verifyJournal(DIR, { fs }).findingCount, 0);
});

test("S004-6 S004-7 the same with the first rename faulted fails, says so, and loses nothing", () => {
  const { fs, store } = filled(16, { segmentMaxBytes: 512 });
  store.sync();
  const census = censusOf(store);
  // The marker's is the first; the one of the oldest segment is the next.
  for (const path of ["compaction.pending", ".compact-src", "000001.fbat"]) {
    fs.failNext({ op: "rename", code: "EIO", path });
    const report = store.compact({ strategy: { type: "merge" }, minSegments: 2 });
    assert.equal(report.outcome, "failed");
    assert.match(report.reason ?? "", /rename/i);
    assert.deepEqual([report.transactions, report.segmentsRemoved, report.eventsErased], [0, 0, 0]);
    assert.deepEqual(report.body.findings.map(({ type }) => type), ["RolledBack"]);
    assert.deepEqual(censusOf(store), census);
    assert.deepEqual(censusOf(openAnew(fs.snapshot(), {})).slice(0, census.length), census);
  }
  assert.equal(fs.faultsFired, 3);
  assert.equal(store.compact({ minSegments: 2 }).outcome, "performed");
  assert.deepEqual(censusOf(store), census);
});

test("a merge keeps every frame byte for byte, and the active segment as it is", () => {
  const { fs, store } = filled(12);
  const before = readTree(fs, DIR);
  const active = segmentNames(fs).at(-1)!;
  const frames: Uint8Array[] = [];
  for (const [name, bytes] of before) {
    if (!name.endsWith(".fbat") || name === active) continue;
    const decoded = decodeSegmentHeader(bytes);
    assert.ok(decoded.type === "header");
    frames.push(bytes.subarray(decoded.end));
  }
  store.compact();
  assert.deepEqual(segmentNames(fs), ["000001.fbat", active]);
  const merged = readFile(fs, `${DIR}/000001.fbat`);
  const decoded = decodeSegmentHeader(merged);
  assert.ok(decoded.type === "header");
  const { merge, ...header } = decoded.header;
  const first = decodeSegmentHeader(before.get("000001.fbat")!);
  assert.ok(first.type === "header");
  assert.deepEqual(header, first.header);
  const lastId = Number(active.slice(0, 6)) - 1;
  assert.equal(merge?.lastSegmentId, lastId);
  assert.equal(merge?.framesEnd, merged.byteLength);
  assert.equal(
    merge?.sealedSize,
    before.get(`${String(lastId).padStart(6, "0")}.fbat`)?.byteLength,
  );
  assert.equal(
    toHex(merged.subarray(decoded.end)),
    frames.map((bytes) => toHex(bytes)).join(""),
  );
  assert.equal(toHex(readFile(fs, `${DIR}/${active}`)), toHex(before.get(active)!));
});

test("a merged segment can be merged again, and again", () => {
  const { fs, store } = filled(10);
  const options = { segmentMaxBytes: 600 };
  for (let round = 0; round < 4; round++) {
    const census = censusOf(store);
    assert.equal(store.compact().outcome, "performed");
    assert.deepEqual(censusOf(store), census);
    assert.deepEqual(censusOf(openAnew(fs.snapshot(), options)).slice(0, -1), census);
    for (let i = 0; i < 6; i++) store.append(USER, KIND, { i });
  }
  assert.equal(verifyJournal(DIR, { fs }).findingCount, 0);
});

test("too few sealed segments, or nothing to do, is skipped without touching a file", () => {
  const { fs, store } = filled(12);
  const sealed = store.stats().segmentCount - 1;
  const changes: string[] = [];
  const tree = readTree(fs, DIR);
  const reasons = ([
    { minSegments: sealed + 1 },
    { mergedSegmentMaxBytes: 1 },
    { strategy: { type: "tombstone", keep: () => true }, mergedSegmentMaxBytes: 1 },
  ] satisfies CompactionOptions[]).map((options) => {
    const { outcome, reason, transactions, body } = store.compact(options);
    assert.deepEqual([outcome, transactions, body.merges], ["skipped", 0, []]);
    return reason;
  });
  assert.deepEqual(reasons, [
    `there are ${sealed} sealed segments, and minSegments asks for ${sealed + 1}: lower it, or ` +
    "seal the newest",
    "there is nothing to merge or to erase",
    "there is nothing to merge or to erase",
  ]);
  assert.deepEqual(readTree(fs, DIR), tree);
  assert.deepEqual(changes, []);
  const { fs: _, store: single } = filled(1);
  assert.equal(single.compact().outcome, "skipped");
});

test("merged segments stay below their bound, and one that is large enough is left alone", () => {
  const { fs, store } = filled(40);
  const report = store.compact({ mergedSegmentMaxBytes: 2_000 });
  assert.ok(report.transactions > 2);
  assert.equal(report.body.merges.length, report.transactions);
  const sizes = segmentNames(fs).slice(0, -1).map((name) => {
    const decoded = decodeSegmentHeader(readFile(fs, `${DIR}/${name}`));
    assert.ok(decoded.type === "header" && decoded.header.merge !== undefined);
    return decoded.header.merge.framesEnd - decoded.end;
  });
  assert.ok(sizes.every((size) => size <= 2_000 && size > 1_000), sizes.join());
  assert.deepEqual(store.compact({ mergedSegmentMaxBytes: 2_000 }).outcome, "skipped");
  assert.deepEqual(numbersIn(store), Array.from({ length: 40 }, (_, i) => i));
});

test("tombstones take payloads and leave the events in every answer", () => {
  const { fs, store } = filled(12);
  const receipts = store.query({ kind: KIND }).map(({ eventId }) => eventId);
  const chain = store.walkAncestors(store.latest(USER.entity)!.eventId);
  const sealedEnd = store.stats().nextSequence - 1;
  const report = store.compact({ strategy: { type: "tombstone", ...even } });
  assert.equal(report.outcome, "performed");
  const check = (reader: JournalReader) => {
    const events = reader.query({ kind: KIND });
    assert.deepEqual(events.map(({ eventId }) => eventId), receipts);
    for (const [i, event] of events.entries()) {
      const erased = i % 2 === 1 && event.position.segmentId === 1;
      assert.deepEqual(
        [event.isErased, event.isRetired, event.payload, event.payloadBytes === undefined],
        erased ? [true, false, undefined, true] : [false, false, { i }, false],
      );
      assert.equal(event.clock, i);
    }
    const walk = reader.walkAncestors(reader.latest(USER.entity)!.eventId);
    assert.equal(walk.boundary.type, "ReachedGenesis");
    assert.equal(walk.ancestors.length, chain.ancestors.length);
  };
  check(store);
  check(openReader(fs));
  check(openAnew(fs.snapshot(), {}));
  const erased = store.query({ kind: KIND }).filter(({ isErased }) => isErased).length;
  assert.ok(erased > 3 && sealedEnd > 0);
  assert.equal(report.eventsErased, erased);
  const verified = verifyJournal(DIR, { fs });
  assert.deepEqual([verified.findingCount, verified.erased, verified.retired], [0, erased, 0]);
  // A second time there is nothing more to erase: what is gone is not asked about again.
  const again = store.compact({
    strategy: { type: "tombstone", keep: ({ clock }) => clock !== 1 },
  });
  assert.equal(again.outcome, "skipped");
});

test("retention takes events out of queries, and out of nothing else", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, SMALL);
  const receipts = Array.from({ length: 12 }, (_, i) =>
    store.append(USER, KIND, { i }, {
      idempotencyKey: `key ${i}`,
      tags: ["t"],
      causationId: i === 1 ? store.getByKey("key 0")?.eventId : undefined,
    }));
  store.compact({ strategy: { type: "retention", ...even } });
  const gone = receipts.filter(({ position }, i) =>
    i % 2 === 1 && position.segmentId < store.stats().segmentCount + 20 &&
    store.get(receipts[i].eventId)?.isRetired
  );
  assert.ok(gone.length > 3);
  const check = (reader: JournalReader) => {
    const kept = receipts.filter((receipt) => !gone.includes(receipt)).map(({ eventId }) =>
      eventId
    );
    for (
      const found of [
        reader.query({ kind: KIND }),
        reader.query({ tags: ["t"] }),
        reader.query({ entity: USER.entity }),
        [...reader.byEntity(USER.entity)],
        [...reader.events({ scope: USER.scope }, { reverse: true })].reverse(),
      ]
    ) assert.deepEqual(found.map(({ eventId }) => eventId), kept);
    for (const receipt of gone) {
      const event = reader.get(receipt.eventId)!;
      assert.deepEqual(
        [event.isErased, event.isRetired, event.payload, event.clock, event.tags],
        [true, true, undefined, receipt.clock, ["t"]],
      );
      assert.equal(reader.at(receipt.globalSequence)?.eventId, receipt.eventId);
      assert.equal(toHex(event.eventHash), toHex(receipt.eventHash));
      assert.deepEqual(reader.verifyReceipt(receipt), { valid: true, outcome: "unsigned" });
    }
    assert.equal(reader.walkAncestors(reader.latest(USER.entity)!.eventId).ancestors.length, 12);
    assert.equal(reader.causes(receipts[1].eventId)[0].eventId, receipts[0].eventId);
    assert.equal(reader.effects(receipts[0].eventId)[0].eventId, receipts[1].eventId);
    assert.equal(reader.stats().eventCount, reader.stats().nextSequence);
  };
  check(store);
  check(openReader(fs));
  const again = openAnew(fs.snapshot(), SMALL);
  check(again);
  for (const writer of [store, again]) {
    // What is not shown still stands in the way of what must not happen twice.
    const replay = writer.append(USER, KIND, "new", { idempotencyKey: "key 1" });
    assert.deepEqual([replay.replayed, replay.eventId], [true, receipts[1].eventId]);
    assert.throws(
      () => writer.append(USER, KIND, 0, { failIf: { region: { tags: ["t"] }, after: 0 } }),
      (error) => {
        assert.ok(error instanceof ConditionConflictError);
        assert.deepEqual(
          error.conflicts.map(({ eventId }) => eventId),
          receipts.slice(0, 16).map(({ eventId }) => eventId),
        );
        return true;
      },
    );
    assert.throws(() => writer.append(USER, KIND, 0, { expectedClock: 10 }), ClockConflictError);
    assert.equal(writer.append(USER, KIND, 0, { expectedClock: 11 }).clock, 12);
  }
  const { retired, erased } = verifyJournal(DIR, { fs });
  assert.deepEqual([retired, erased], [gone.length, gone.length]);
});

test("a tombstone can be retired later, and what is retired stays so", () => {
  const { store } = filled(12);
  const all = { keep: () => false };
  const first = store.compact({ strategy: { type: "tombstone", ...all } });
  const second = store.compact({ strategy: { type: "retention", ...all }, minSegments: 1 });
  assert.equal(second.eventsErased, first.eventsErased);
  const third = store.compact({ strategy: { type: "retention", ...all }, minSegments: 1 });
  assert.equal(third.outcome, "skipped");
  assert.equal(store.query({ kind: KIND }).length, 12 - first.eventsErased);
});

test("the store's own events are never erased", () => {
  const { fs, store } = filled(12);
  store.close();
  const again = openAnew(fs, SMALL);
  const own = again.query({ entity: "batpak:store" });
  for (const type of ["tombstone", "retention"] as const) {
    const asked: number[] = [];
    again.compact({
      strategy: {
        type,
        keep: ({ kind }) => {
          asked.push(kind);
          return false;
        },
      },
      minSegments: 1,
      seal: true,
    });
    assert.ok(asked.every((kind) => !EventKind.isReserved(kind as EventKind)));
  }
  const after = again.query({ entity: "batpak:store" });
  assert.deepEqual(after.map(({ payload }) => payload), own.map(({ payload }) => payload));
});

test("limits keep the newest events, by count, by bytes and by age", () => {
  const erasedBy = (
    keep: Exclude<CompactionOptions["strategy"], undefined> extends infer S
      ? S extends { keep: infer K } ? K : never
      : never,
  ) => {
    const fs = new MemoryFs();
    const clock = new FixedClock(1_700_000_000_000_000, 0);
    const store = openStore(fs, { ...SMALL, clock });
    for (let i = 0; i < 10; i++) {
      clock.wallUs += 1_000_000;
      store.append({ entity: `user:${i % 2}`, scope: "app" }, KIND, { i });
    }
    store.compact({ strategy: { type: "tombstone", keep }, minSegments: 1, seal: true });
    return store.query({ kind: KIND }).flatMap(({ isErased }, i) => isErased ? [i] : []);
  };
  assert.deepEqual(erasedBy({ maxCount: 7 }), [0, 1, 2]);
  assert.deepEqual(erasedBy({ maxCount: 0 }), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(erasedBy({ maxCount: 10 }), []);
  assert.deepEqual(erasedBy({ maxCount: 2, region: { entity: "user:1" } }), [1, 3, 5]);
  // The newest event is of now; the one of three seconds ago is just young enough.
  assert.deepEqual(erasedBy({ maxAgeUs: 3_000_000 }), [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(erasedBy({ maxAgeUs: 2_999_999 }), [0, 1, 2, 3, 4, 5, 6]);
  assert.deepEqual(erasedBy({ maxAgeUs: 3_000_000, maxCount: 2 }), [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.deepEqual(erasedBy({ maxBytes: 0 }), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const { store } = filled(1);
  const size = store.latest(USER.entity)!.position.size;
  assert.deepEqual(erasedBy({ maxBytes: 3 * size }), [0, 1, 2, 3, 4, 5, 6]);
  assert.deepEqual(erasedBy({ maxBytes: 4 * size - 1 }), [0, 1, 2, 3, 4, 5, 6]);
});

test("what the active segment holds counts for a limit, and keeps its payload", () => {
  const { store } = filled(12);
  const active =
    store.query({ kind: KIND }).filter(({ position }) =>
      position.segmentId === store.stats().segmentCount
    ).length;
  assert.ok(active > 0);
  store.compact({
    strategy: { type: "tombstone", keep: { maxCount: active + 1 } },
    minSegments: 1,
  });
  const kept = store.query({ kind: KIND }).filter(({ isErased }) => !isErased);
  assert.equal(kept.length, active + 1);
});

test("a rule that throws, or says neither, fails the compaction with its error and changes nothing", () => {
  const { fs, store } = filled(12);
  const tree = readTree(fs, DIR);
  const error = new Error("no such customer");
  const thrown = store.compact({
    strategy: {
      type: "retention",
      keep: ({ clock }) => {
        if (clock === 3) throw error;
        return true;
      },
    },
  });
  assert.deepEqual([thrown.outcome, thrown.cause, thrown.transactions], ["failed", error, 0]);
  assert.equal(
    thrown.reason,
    "the rule failed on the event at sequence 4: no such customer",
  );
  const vague = store.compact({
    strategy: { type: "retention", keep: (() => undefined) as unknown as () => boolean },
  });
  assert.deepEqual([vague.outcome, vague.reason], [
    "failed",
    "the rule says undefined about the event at sequence 1, where it should say true or false",
  ]);
  assert.deepEqual(readTree(fs, DIR), tree);
  assert.equal(store.compact().outcome, "performed");
});

test("a damaged source fails the compaction before anything is renamed", () => {
  const { fs, store } = filled(12);
  const path = `${DIR}/000002.fbat`;
  const bytes = readFile(fs, path).slice();
  bytes[bytes.byteLength - 1] ^= 1;
  writeFile(fs, path, bytes);
  const { outcome, reason } = store.compact();
  assert.equal(outcome, "failed");
  assert.match(reason ?? "", /000002.fbat".*the frame's checksum does not match/);
  assert.ok(segmentNames(fs).every((name) => name.endsWith(".fbat")));
});

test("a file in the way of the first source's other name is left where it is", () => {
  const { fs, store } = filled(12);
  const path = `${DIR}/000001.fbat.compact-src`;
  writeFile(fs, path, Uint8Array.of(1, 2, 3));
  const { outcome, reason } = store.compact();
  assert.equal(outcome, "failed");
  assert.match(reason ?? "", /Cannot rename ".*compact-src": EEXIST/);
  assert.deepEqual([...readFile(fs, path)], [1, 2, 3]);
  assert.equal(numbersIn(store).length, 12);
});

test("appends and reads go on between steps, and steps are small", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { segmentMaxBytes: 20_000 });
  for (let i = 0; i < 200; i++) store.append(USER, KIND, { i, filling: "x".repeat(1000) });
  const seen: CompactionProgress[] = [];
  const compaction = store.compaction({ stepMaxBytes: 8_192, onProgress: (p) => seen.push(p) });
  const held = store.query({ kind: KIND });
  const walk = store.events({ kind: KIND });
  let steps = 0;
  let appended = 200;
  while (compaction.step()) {
    steps++;
    store.append(USER, KIND, { i: appended++ });
    assert.equal((walk.next().value?.payload as { i: number })?.i, steps - 1);
  }
  assert.ok(steps > 20, `${steps} steps`);
  assert.equal(compaction.report?.outcome, "performed");
  assert.deepEqual(numbersIn(store), Array.from({ length: appended }, (_, i) => i));
  // Events that were read before know where they are now.
  assert.ok(held.slice(0, 100).every(({ position }) => position.segmentId === 1));
  assert.deepEqual(held.map(({ payload }) => (payload as { i: number }).i).at(50), 50);
  assert.equal(seen.length, steps + 1);
  assert.deepEqual(seen.at(-1)?.phase, "done");
  for (const [i, { bytes, totalBytes, transactions }] of seen.entries()) {
    assert.ok(bytes >= (seen[i - 1]?.bytes ?? 0) && bytes - (seen[i - 1]?.bytes ?? 0) < 20_000);
    assert.ok(totalBytes === undefined || bytes <= totalBytes);
    assert.ok(transactions <= 1);
  }
  assert.equal(verifyJournal(DIR, { fs }).findingCount, 0);
});

test("a compaction that is abandoned leaves nothing, and another one may begin", () => {
  const { fs, store } = filled(40);
  const before = readTree(fs, DIR);
  for (let steps = 0; steps < 3; steps++) {
    const compaction = store.compaction({ stepMaxBytes: 4096 });
    for (let i = 0; i < steps; i++) assert.equal(compaction.step(), true);
    compaction.abandon();
    compaction.abandon();
    assert.equal(compaction.step(), false);
    assert.equal(compaction.report, undefined);
    assert.throws(() => compaction.finish(), CompactionError);
    assert.deepEqual(readTree(fs, DIR), before);
  }
  {
    using compaction = store.compaction({ stepMaxBytes: 4096 });
    compaction.step();
  }
  assert.deepEqual(readTree(fs, DIR), before);
  assert.equal(store.compact().outcome, "performed");
});

test("one at a time: a second compaction or a prune is refused until the first has ended", () => {
  const { store } = filled(40);
  const compaction = store.compaction();
  for (
    const act of [() => store.compact(), () => store.compaction(), () => store.prune({ below: 3 })]
  ) assert.throws(act, LifecycleBusyError);
  compaction.finish();
  assert.equal(store.prune({ below: 0 }).outcome, "skipped");
  const inside = store.compaction({
    strategy: {
      type: "tombstone",
      keep: () => {
        assert.throws(() => inside.step(), LifecycleBusyError);
        assert.throws(() => store.compact(), LifecycleBusyError);
        return true;
      },
    },
    minSegments: 1,
  });
  inside.finish();
});

test("closing the store abandons a compaction, also from within its rule", () => {
  const { fs, store } = filled(40);
  const compaction = store.compaction({ stepMaxBytes: 4096 });
  compaction.step();
  store.close();
  assert.equal(compaction.step(), false);
  assert.ok(segmentNames(fs).every((name) => name.endsWith(".fbat")));

  const again = openAnew(fs, SMALL);
  assert.throws(
    () =>
      again.compact({
        strategy: {
          type: "tombstone",
          keep: () => {
            again.close();
            return true;
          },
        },
      }),
    StoreClosedError,
  );
  assert.ok(segmentNames(fs).every((name) => name.endsWith(".fbat")));
  assert.equal(verifyJournal(DIR, { fs }).findingCount, 0);
});

test("a rule may append, and what it appends is kept", () => {
  const { store } = filled(12);
  let count = 0;
  const { outcome } = store.compact({
    strategy: {
      type: "tombstone",
      keep: () => {
        store.append(USER, KIND, { i: 100 + count++ });
        return true;
      },
    },
    mergedSegmentMaxBytes: 1,
  });
  assert.equal(outcome, "skipped");
  assert.equal(numbersIn(store).length, 12 + count);
});

test("a writer that has stopped compacts nothing", () => {
  const { fs, store } = filled(12);
  fs.failNext({ op: "sync", code: "EIO" });
  assert.throws(() => {
    store.append(USER, KIND, "unsynced");
    store.sync();
  }, WriterCrashedError);
  assert.throws(() => store.compact(), WriterCrashedError);
  assert.ok(segmentNames(fs).every((name) => name.endsWith(".fbat")));
});

test("a sync that fails in a compaction stops the writer, and the compaction leaves nothing", () => {
  const { fs, store } = filled(12);
  const active = segmentNames(fs).at(-1)!;
  fs.failNext({ op: "sync", code: "EIO", path: active });
  assert.throws(() => store.compact(), WriterCrashedError);
  assert.ok(segmentNames(fs).every((name) => name.endsWith(".fbat")));
  assert.equal(numbersIn(store).length, 12);
});

test("seal takes the active segment in; an empty one stays as it is", () => {
  const { store } = filled(3, { segmentMaxBytes: 1 << 20 });
  assert.equal(store.stats().segmentCount, 1);
  const options = { strategy: { type: "tombstone", keep: () => false }, minSegments: 1 } as const;
  assert.equal(store.compact(options).outcome, "skipped");
  const sealed = store.compact({ ...options, seal: true });
  assert.deepEqual([sealed.outcome, sealed.eventsErased], ["performed", 3]);
  assert.equal(store.stats().segmentCount, 2);
  const again = store.compact({ ...options, seal: true });
  assert.equal(again.outcome, "skipped");
  assert.equal(store.stats().segmentCount, 2);
  assert.equal(store.append(USER, KIND, "next", { expectedClock: 2 }).clock, 3);
});

test("a dry run says what would be done, to the byte, and does nothing", () => {
  const options: CompactionOptions = {
    strategy: { type: "tombstone", ...even },
    mergedSegmentMaxBytes: 3000,
  };
  const { fs, store } = filled(30);
  const before = readTree(fs, DIR);
  const dry = store.compact({ ...options, dryRun: true });
  assert.deepEqual(readTree(fs, DIR), before);
  assert.ok(dry.body.dryRun);
  const wet = store.compact(options);
  for (const key of ["outcome", "segmentsRemoved", "bytesReclaimed", "eventsErased"] as const) {
    assert.equal(dry[key], wet[key], key);
  }
  assert.deepEqual([dry.transactions, wet.transactions], [0, dry.body.merges.length]);
  const size = (tree: Map<string, Uint8Array>) =>
    [...tree.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
  assert.equal(wet.bytesReclaimed, size(before) - size(readTree(fs, DIR)));
});

test("a dry run counts the newest segment too, when it is to be sealed", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  store.append(USER, KIND, "erased");
  const options = { strategy: { type: "tombstone", keep: { maxCount: 0 } }, seal: true } as const;
  const tree = readTree(fs, DIR);
  const dry = store.compact({ ...options, dryRun: true });
  assert.deepEqual([dry.outcome, dry.eventsErased, dry.body.merges.length], ["performed", 1, 1]);
  assert.deepEqual(readTree(fs, DIR), tree);
  const wet = store.compact(options);
  assert.deepEqual([wet.outcome, wet.eventsErased, wet.transactions], ["performed", 1, 1]);
  assert.deepEqual(store.query({ kind: KIND }).map(({ isErased }) => isErased), [true]);
});

test("an erased event is no payload of its definition, and says so in JSON", () => {
  const { store } = filled(1);
  const definition = defineEvent({ name: "thing.happened", kind: KIND });
  const erase = (type: "tombstone" | "retention") =>
    store.compact({ strategy: { type, keep: { maxCount: 0 } }, seal: true });
  const [before] = store.query({ kind: KIND });
  assert.equal("erased" in before.toJSON(), false);
  assert.equal(erase("tombstone").eventsErased, 1);
  const [event] = store.query({ kind: KIND });
  assert.throws(() => event.decode(definition), { name: "DecodeError", reason: "Erased" });
  const { erased, retired } = event.toJSON();
  assert.deepEqual([erased, retired, "payload" in event.toJSON()], [true, undefined, false]);
  erase("retention");
  const { retired: now } = store.get(event.eventId)?.toJSON() ?? {};
  assert.equal(now, true);
});

test("the evidence says what was made of what, and its hash covers all of it", () => {
  const run = () => {
    const { fs, store } = filled(12);
    return { fs, store, report: store.compact({ strategy: { type: "tombstone", ...even } }) };
  };
  const { fs, report } = run();
  const { body, bodyHash } = report;
  const [merge] = body.merges;
  assert.deepEqual(
    [body.schemaVersion, body.strategy, body.minSegments, body.outcome, body.findings],
    [1, "tombstone", 1, "performed", []],
  );
  assert.equal(body.inputSegmentIdLow, 1);
  assert.equal(body.inputSegmentIdHigh, body.sealedSegmentCount);
  assert.equal(body.activeSegmentId, body.sealedSegmentCount + 1);
  assert.deepEqual(
    merge.sourceSegmentIds,
    Array.from({ length: body.sealedSegmentCount }, (_, i) => i + 1),
  );
  assert.equal(merge.outputHash, toHex(blake3(readFile(fs, `${DIR}/000001.fbat`))));
  assert.equal(bodyHash, evidenceHash(body));
  assert.notEqual(bodyHash, evidenceHash({ ...body, eventsErased: body.eventsErased + 1 }));
  const again = run().report;
  assert.equal(again.bodyHash, bodyHash);
  assert.equal(again.body.compactionId, body.compactionId);
});

test("leftovers that could not be removed are findings, and the next compaction removes them", () => {
  for (const op of ["remove", "syncDir"] as const) {
    const { fs, store } = filled(30);
    let renamed = 0;
    const census = censusOf(store);
    fs.failNext(
      op === "remove"
        ? { op, code: "EACCES", path: "000003.fbat" }
        // The directory is synced for the marker, for the first rename, and for the commit.
        : { op, code: "EIO", nth: 3 },
    );
    const report = store.compact();
    assert.equal(report.outcome, "performed");
    assert.deepEqual(report.body.findings.map(({ type }) => type), [
      op === "remove" ? "LeftoverNotRemoved" : "CommitNotDurable",
    ]);
    assert.notEqual(fs.stat(`${DIR}/compaction.pending`), undefined);
    assert.deepEqual(censusOf(store), census);
    const reader = openReader(fs);
    assert.deepEqual(censusOf(reader), census);
    for (let i = 0; i < 12; i++) store.append(USER, KIND, { i });
    renamed = store.compact().transactions;
    assert.equal(renamed, 1);
    const active = store.stats().nextSequence;
    assert.ok(active > census.length);
    assert.deepEqual(segmentNames(fs).length, 2);
    assert.equal(verifyJournal(DIR, { fs }).findingCount, 0);
  }
});

test("a compaction that can neither be finished nor undone says so, and the store goes on", () => {
  const { fs, store } = filled(30);
  const census = censusOf(store);
  // The rename that commits, and the one that would undo the first.
  fs.failNext({ op: "rename", code: "EIO", path: "000001.fbat", nth: 2 });
  fs.failNext({ op: "rename", code: "EIO", path: "000001.fbat", nth: 2 });
  assert.throws(() => store.compact(), CompactionError);
  assert.equal(fs.faultsFired, 2);
  // The oldest segment has its other name, and is read under it.
  assert.equal(fs.stat(`${DIR}/000001.fbat`), undefined);
  assert.deepEqual(censusOf(store), census);
  assert.deepEqual(censusOf(openReader(fs)), census);
  store.append(USER, KIND, "meanwhile");
  const crashed = fs.snapshot();
  // Once the disk has recovered, the next one settles it.
  assert.equal(store.compact().outcome, "performed");
  assert.deepEqual(censusOf(store).slice(0, census.length), census);
  const reopened = openAnew(crashed, SMALL);
  assert.deepEqual(censusOf(reopened).slice(0, census.length), census);
  assert.match(reopened.openReport.oddities.join(), /undid a compaction of segments 1 to/);
});

test("a marker that cannot be settled refuses the next compaction", () => {
  const { fs, store } = filled(30);
  writeFile(fs, `${DIR}/compaction.pending`, Uint8Array.of(1, 2, 3));
  assert.throws(() => store.compact(), {
    code: "COMPACTION",
    message: /has not come to its end: .*compaction.pending.*does not begin with FBATCP/,
  });
  assert.equal(numbersIn(store).length, 30);
});

test("verification names what an interrupted compaction has left, and calls the journal intact", () => {
  const { fs, store } = filled(30);
  fs.failNext({ op: "remove", code: "EACCES", path: "000003.fbat" });
  store.compact();
  const typed = (copy: MemoryFs) =>
    verifyJournal(DIR, { fs: copy }).findings.map(({ type, file, reason }) =>
      `${type} ${file}: ${reason}`
    );
  assert.equal(verifyJournal(DIR, { fs }).intact, true);
  assert.deepEqual(typed(fs), [
    "leftover compaction.pending: a compaction was cut short; opening for writing finishes it",
    "leftover 000003.fbat: it does not count any more: 000001.fbat has replaced it",
  ]);
  // A leftover that lost its marker is known by the ids it lies within.
  const copy = fs.snapshot();
  copy.remove(`${DIR}/compaction.pending`);
  assert.deepEqual(typed(copy), [
    "leftover 000003.fbat: its events stand in a merged segment before it",
  ]);
  const opened = openAnew(copy, SMALL);
  assert.deepEqual(opened.openReport.oddities, [
    "ignored 000003.fbat: its events stand in a merged segment",
  ]);
  writeFile(fs, `${DIR}/compaction.pending`, Uint8Array.of(1));
  const damaged = verifyJournal(DIR, { fs });
  assert.equal(damaged.intact, false);
  assert.equal(damaged.findings[0].file, "compaction.pending");
});

test("a merged segment that is shorter, or the last, or ends elsewhere, is damage", () => {
  const { fs, store } = filled(30);
  store.compact();
  store.close();
  const path = `${DIR}/000001.fbat`;
  const refused = (change: (copy: MemoryFs) => void, reason: RegExp) => {
    const copy = fs.snapshot();
    change(copy);
    for (const open of [() => openAnew(copy, SMALL), () => openReader(copy)]) {
      assert.throws(open, (error) => error instanceof CorruptionError && reason.test(error.reason));
    }
    assert.equal(verifyJournal(DIR, { fs: copy }).intact, false);
  };
  const bytes = readFile(fs, path);
  refused(
    (copy) => writeFile(copy, path, bytes.subarray(0, bytes.byteLength - 1)),
    /the sealed segment ends here, and 1 bytes are missing/,
  );
  refused((copy) => {
    for (const name of segmentNames(copy).slice(1)) copy.remove(`${DIR}/${name}`);
  }, /the segments behind it are missing/);
  refused((copy) => {
    const decoded = decodeSegmentHeader(bytes);
    assert.ok(decoded.type === "header" && decoded.header.merge !== undefined);
    const { header } = decoded;
    const merge = { ...decoded.header.merge, sealedSize: 12_345 };
    const changed = bytes.slice();
    changed.set(encodeSegmentHeader({ ...header, merge }));
    writeFile(copy, path, changed);
  }, /stands for one sealed with 12345 bytes/);
});

test("a merged file whose bytes are not as written gives way to its sources at the next open", () => {
  const { fs, store } = filled(30);
  const census = censusOf(store);
  // Every source is still there, because the directory could not be synced.
  fs.failNext({ op: "syncDir", code: "EIO", nth: 3 });
  assert.equal(store.compact().outcome, "performed");
  const crashed = fs.snapshot();
  const path = `${DIR}/000001.fbat`;
  const bytes = readFile(crashed, path).slice();
  bytes[400] ^= 1;
  writeFile(crashed, path, bytes);
  const again = openAnew(crashed, SMALL);
  assert.match(again.openReport.oddities.join(), /undid a compaction/);
  assert.deepEqual(censusOf(again).slice(0, census.length), census);
});

test("options and rules that are none are refused before anything is touched", () => {
  const { store } = filled(2);
  const bad = (options: unknown) => () => store.compact(options as CompactionOptions);
  for (
    const options of [
      { strategy: { type: "squash" } },
      { strategy: { type: "merge", keep: () => true } },
      { strategy: { type: "retention" } },
      { strategy: { type: "retention", keep: {} } },
      { strategy: { type: "retention", keep: { region: {} } } },
      { strategy: { type: "retention", keep: { maxcount: 1 } } },
      { minsegments: 1 },
    ]
  ) assert.throws(bad(options), TypeError, JSON.stringify(options));
  for (
    const options of [
      { minSegments: 0 },
      { minSegments: 1.5 },
      { mergedSegmentMaxBytes: 0 },
      { mergedSegmentMaxBytes: 2 ** 31 + 1 },
      { stepMaxBytes: 100 },
      { strategy: { type: "tombstone", keep: { maxCount: -1 } } },
      { strategy: { type: "tombstone", keep: { maxAgeUs: NaN } } },
    ]
  ) assert.throws(bad(options), RangeError, JSON.stringify(options));
  // Nothing stands in the way afterwards.
  assert.equal(store.compact().outcome, "skipped");
});

test("erased bytes are nowhere in the journal's files any more", () => {
  for (const coldStart of [FRAMES_ONLY, {}]) {
    const { fs, store } = filled(0, { ...SMALL, coldStart });
    const secret = "the secret that has to go";
    for (let i = 0; i < 12; i++) store.append(USER, KIND, i % 3 === 0 ? secret : "nothing");
    store.compact({
      strategy: { type: "tombstone", keep: ({ payload }) => payload !== secret },
      minSegments: 1,
      seal: true,
    });
    const { entity } = USER;
    assert.equal([...store.byEntity(entity)].filter(({ isErased }) => isErased).length, 4);
    store.close();
    for (const [name, bytes] of readTree(fs, DIR)) {
      assert.ok(!new TextDecoder("latin1").decode(bytes).includes(secret), name);
    }
  }
});

test("on real files: compact, prune, reopen, with indexes", () =>
  inTempDir((dir) => {
    const options = { fs: runtime.fs, segmentMaxBytes: 4_000 };
    let store = Store.open(dir, options);
    const receipts = Array.from(
      { length: 200 },
      (_, i) => store.append(USER, KIND, { i }, { idempotencyKey: `key ${i}` }),
    );
    const merged = store.compact({ mergedSegmentMaxBytes: 20_000 });
    assert.equal(merged.outcome, "performed");
    assert.equal(
      store.compact({
        strategy: { type: "retention", keep: { maxCount: 100 } },
        minSegments: 1,
        mergedSegmentMaxBytes: 20_000,
      }).outcome,
      "performed",
    );
    for (let i = 200; i < 230; i++) store.append(USER, KIND, { i });
    store.close();
    store = Store.open(dir, options);
    assert.equal(store.openReport.path, "index");
    assert.deepEqual(store.openReport.oddities, []);
    assert.equal(numbersIn(store).length, 130);
    for (const receipt of receipts) assert.equal(store.verifyReceipt(receipt).valid, true);
    const pruned = store.prune({ below: 150 });
    assert.equal(pruned.outcome, "performed");
    store.close();
    const report = verifyJournal(dir);
    assert.deepEqual([report.findings, report.pruned], [[], pruned.firstSequence]);
    for (const coldStart of [FRAMES_ONLY, { indexFile: false }, {}]) {
      store = Store.open(dir, { ...options, coldStart });
      assert.equal(store.openReport.restoredEntries, store.stats().eventCount - 1);
      assert.equal(store.append(USER, KIND, "x").globalSequence, store.stats().nextSequence - 1);
      store.close();
    }
    assert.deepEqual(verifyJournal(dir).findings, []);
  }));

test("file operations of a compaction happen in the documented order", () => {
  const { fs, store } = filled(9);
  store.close();
  const changes: string[] = [];
  let isOn = false;
  const watched = watchedFs(fs, ({ op, path, target }, run) => {
    const name = (p: string) => p.slice(p.lastIndexOf("/") + 1);
    if (isOn) changes.push([op, name(path), ...(target ? [name(target)] : [])].join(" "));
    return run();
  });
  const again = openStore(watched, { ...SMALL, entropy: new SeededEntropy(7) });
  const sources = again.stats().segmentCount - 1;
  isOn = true;
  assert.equal(again.compact().outcome, "performed");
  const active = `${String(sources + 1).padStart(6, "0")}.fbat`;
  assert.deepEqual(changes.filter((change) => !change.startsWith(`sync ${active}`)), [
    "removeIfPresent 000001.fbat.compact-new",
    "create 000001.fbat.compact-new",
    "writeAt 000001.fbat.compact-new",
    "writeAt 000001.fbat.compact-new",
    "sync 000001.fbat.compact-new",
    "create .stage-0",
    "writeAt .stage-0",
    "sync .stage-0",
    "rename .stage-0 compaction.pending",
    "syncDir journal",
    "rename 000001.fbat 000001.fbat.compact-src",
    "syncDir journal",
    "rename 000001.fbat.compact-new 000001.fbat",
    "syncDir journal",
    ...Array.from(
      { length: sources - 1 },
      (_, i) => `removeIfPresent ${`${i + 2}`.padStart(6, "0")}.fbat`,
    ),
    "removeIfPresent 000001.fbat.compact-src",
    "removeIfPresent index.fbati",
    "syncDir journal",
    "removeIfPresent compaction.pending",
    "syncDir journal",
  ]);
});
