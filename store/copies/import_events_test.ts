import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MemoryFs } from "../../platform/memory.ts";
import { runtime } from "../../platform/runtime.ts";
import { FixedClock } from "../../tests/support/fixed_clock.ts";
import { openReader, openStore } from "../../tests/support/journal.ts";
import {
  bodyOf,
  concat,
  fixChecksum,
  framesOf,
  fsOf,
  readTree,
  writeFile,
} from "../../tests/support/journal_bytes.ts";
import { SeededEntropy } from "../../tests/support/seeded_entropy.ts";
import { inTempDir } from "../../tests/support/temp_dir.ts";
import { readU16, writeU16, writeU32 } from "../bytes.ts";
import { defineEvent } from "../event_definition.ts";
import { CorruptionError, StoreClosedError, TooLargeError } from "../errors.ts";
import { EventKind } from "../event_kind.ts";
import { ExtensionKeyError } from "../extensions.ts";
import { CONTENT_HASH_OFFSET, payloadStartOf } from "../frame.ts";
import { blake3, toHex } from "../hash.ts";
import { EventId, OperationKey } from "../ids.ts";
import {
  ImportEventError,
  type ImportReport,
  ImportSourceClosedError,
  previewImport,
} from "./import_events.ts";
import { importProvenance, ImportProvenanceError, PROVENANCE_KEY } from "./import_provenance.ts";
import type { JournalReader } from "../journal_reader.ts";
import { type SigningKey, SigningKey as SigningKeys, verifyReceipt } from "../receipt.ts";
import { segmentName } from "../segment_log.ts";
import { Store } from "../store.ts";
import type { StoredEvent } from "../stored_event.ts";
import { verifyJournal } from "../verify.ts";

const ORDER = { entity: "order:1", scope: "shop" };
const KIND = EventKind.custom(0xf, 1);

/** A report of nothing, with changes. */
function report(changes: Partial<ImportReport>): ImportReport {
  return {
    imported: 0,
    deduplicated: 0,
    skippedReserved: 0,
    skippedFiltered: 0,
    skippedReimported: 0,
    skippedErased: 0,
    sourceHighWatermark: undefined,
    pages: 0,
    firstSequence: undefined,
    lastSequence: undefined,
    ...changes,
  };
}

/** The id an event gets under a namespace, as anybody can compute it. */
function derivedId(namespace: string, sourceId: string): EventId {
  return OperationKey.of("batpak.import", [namespace, sourceId.replaceAll("-", "")]).id;
}

/** A source with `count` events: one open event in front of them, at sequence 0. */
function sourceOf(count: number): Store {
  const store = openStore(new MemoryFs());
  for (let n = 0; n < count; n++) {
    store.append({ entity: `order:${n % 3}`, scope: "shop" }, KIND, { n });
  }
  return store;
}

function target(fs = new MemoryFs(), options = {}): Store {
  return openStore(fs, { clock: new FixedClock(5_000_000), ...options });
}

/** What the caller appended, not the store. */
function ownEvents(reader: JournalReader): StoredEvent[] {
  return reader.query().filter(({ kind }) => !EventKind.isReserved(kind));
}

/** Everything that an import carries over. */
function carried(event: StoredEvent): Record<string, unknown> {
  const { [PROVENANCE_KEY]: _, ...extensions } = event.extensions;
  return {
    entity: event.entity,
    scope: event.scope,
    kind: event.kind,
    lane: event.lane,
    depth: event.depth,
    flags: event.flags,
    tags: event.tags,
    payloadVersion: event.payloadVersion,
    payloadEncoding: event.payloadEncoding,
    payload: toHex(event.payloadBytes!),
    contentHash: toHex(event.contentHash),
    correlationId: event.correlationId,
    extensions,
  };
}

/** The files of a journal with the payloads of some events erased, as a later version may leave them. */
function withErased(fs: MemoryFs, dir: string, sequences: readonly number[]): MemoryFs {
  const tree = readTree(fs.snapshot(), dir);
  const name = segmentName(1);
  const segment = tree.get(name)!;
  const parts: Uint8Array[] = [];
  let copied = 0;
  for (const { offset, end, sequence } of framesOf(segment)) {
    if (!sequences.includes(sequence)) continue;
    const body = bodyOf(segment, offset);
    const frame = segment.slice(offset, offset + 8 + payloadStartOf(body, 0) + 1);
    frame[frame.byteLength - 1] = 0xc0;
    writeU32(frame, 0, frame.byteLength - 8);
    fixChecksum(frame, 0);
    parts.push(segment.subarray(copied, offset), frame);
    copied = end;
  }
  parts.push(segment.subarray(copied));
  tree.set(name, concat(...parts));
  return fsOf(tree, dir);
}

test("importEvents() appends the events of another journal again, and says where they come from", () => {
  const source = openStore(new MemoryFs());
  const placed = defineEvent<{ total: number }>({
    name: "order.placed",
    kind: "F:002",
    version: 3,
    upcast: { 1: (p) => p, 2: (p) => p },
  });
  const first = source.append(ORDER, placed, { total: 12 }, {
    lane: 4,
    depth: 9,
    flags: 0x81,
    tags: ["b", "a"],
    extensions: { "app.audit": new Uint8Array([1, 2]), "zz.z": new Uint8Array(0) },
  });
  const opaque = source.append(ORDER, KIND, new Uint8Array([0xff, 0x00, 0xc1]), {
    payloadEncoding: "opaque",
    correlationId: first.eventId,
    causationId: first.eventId,
  });
  using store = target();
  const found = store.importEvents(source, { namespace: "till 7" });
  assert.deepEqual(
    found,
    report({
      imported: 2,
      skippedReserved: 1,
      sourceHighWatermark: 2,
      pages: 1,
      firstSequence: 1,
      lastSequence: 2,
    }),
  );
  assert.ok(Object.isFrozen(found));

  const before = ownEvents(source);
  const after = ownEvents(store);
  assert.deepEqual(after.map(carried), before.map(carried));
  assert.deepEqual(after[1].payload, new Uint8Array([0xff, 0x00, 0xc1]));
  assert.deepEqual(after[0].decode(placed), { total: 12 });
  assert.deepEqual(after.map(({ eventId }) => eventId), [
    derivedId("till 7", first.eventId),
    derivedId("till 7", opaque.eventId),
  ]);
  assert.deepEqual(after.map(({ causationId }) => causationId), [undefined, after[0].eventId]);
  // Their own here: place, clock, time, chain.
  assert.deepEqual(after.map(({ clock }) => clock), [0, 0]);
  assert.ok(after.every(({ timestampUs }) => timestampUs >= 5_000_000));
  assert.notDeepEqual(after[0].eventHash, before[0].eventHash);

  before.forEach((event, i) => {
    assert.deepEqual(importProvenance(after[i]), {
      schemaVersion: 1,
      sourceNamespace: "till 7",
      sourceStoreId: source.storeId,
      sourceEventId: event.eventId,
      sourceGlobalSequence: event.globalSequence,
      sourceKind: event.kind,
      sourceContentHash: event.contentHash,
      sourceEventHash: event.eventHash,
      sourceTimestampUs: event.timestampUs,
    });
    assert.equal(importProvenance(event), undefined);
  });
});

test("payload bytes that our encoder would never write are carried over as they are", () => {
  const fs = new MemoryFs();
  const source = openStore(fs);
  source.append(ORDER, KIND, [1, 2]);
  source.close();
  const tree = readTree(fs, "journal");
  const segment = tree.get(segmentName(1))!;
  const { offset } = framesOf(segment)[1];
  const body = bodyOf(segment, offset);
  // [1, 2] is 92 01 02. The same number of bytes can say [5] with a byte more than it needs, and an
  // encoder of ours would not; and the hash with it.
  body.set([0x91, 0xcc, 0x05], payloadStartOf(body, 0) + 5);
  body.set(blake3(body.subarray(-3)), CONTENT_HASH_OFFSET);
  fixChecksum(segment, offset);
  using reader = openReader(fsOf(tree));
  using store = target();
  store.importEvents(reader);
  const [event] = ownEvents(store);
  assert.equal(toHex(event.payloadBytes!), "91cc05");
  assert.deepEqual(event.payload, [5]);
});

test("importing again imports nothing, whatever the size of the pages", () => {
  const source = sourceOf(10);
  using store = target();
  assert.equal(store.importEvents(source, { chunkSize: 3 }).pages, 4);
  const before = store.stats().nextSequence;
  for (const chunkSize of [1, 3, 256]) {
    assert.deepEqual(
      store.importEvents(source, { chunkSize }),
      report({ deduplicated: 10, skippedReserved: 1, sourceHighWatermark: 10 }),
    );
  }
  assert.equal(store.stats().nextSequence, before);
});

test("another namespace makes other events of the same ones; the default is the source's id", () => {
  const source = sourceOf(2);
  using store = target();
  assert.equal(store.importEvents(source).imported, 2);
  assert.equal(store.importEvents(source, { namespace: source.storeId }).deduplicated, 2);
  assert.equal(store.importEvents(source, { namespace: "x" }).imported, 2);
  assert.deepEqual(
    ownEvents(store).map((event) => importProvenance(event)?.sourceNamespace),
    [source.storeId, source.storeId, "x", "x"],
  );
});

test("every counter counts exactly its events", () => {
  const fs = new MemoryFs();
  const source = openStore(fs);
  const other = openStore(new MemoryFs());
  other.append(ORDER, KIND, "from elsewhere");
  other.append(ORDER, KIND, "from elsewhere, too");
  source.importEvents(other, { namespace: "shared" }); // 1, 2
  source.append(ORDER, KIND, "known"); // 3
  using store = target();
  assert.equal(store.importEvents(source, { namespace: "shared" }).imported, 1);
  source.append(ORDER, KIND, "erased"); // 4
  source.append({ entity: "left:out", scope: "shop" }, KIND, "filtered"); // 5
  source.append(ORDER, KIND, "new"); // 6
  source.append({ entity: "order:2", scope: "elsewhere" }, KIND, "not in the region"); // 7
  source.append(ORDER, KIND, "new, too"); // 8

  using reader = openReader(withErased(fs, "journal", [4]));
  const options = {
    namespace: "shared",
    filter: ({ entity }: StoredEvent) => entity !== "left:out",
  };
  const expected = {
    imported: 2,
    deduplicated: 1,
    skippedReserved: 0,
    skippedFiltered: 1,
    skippedReimported: 2,
    skippedErased: 1,
    sourceHighWatermark: 8,
  };
  const narrowed = { ...options, region: { scope: "shop" } };
  assert.deepEqual(previewImport(reader, store, narrowed), report(expected));
  assert.deepEqual(
    store.importEvents(reader, narrowed),
    report({ ...expected, pages: 1, firstSequence: 2, lastSequence: 3 }),
  );
  assert.deepEqual(
    store.importEvents(reader, { ...options, after: 6 }),
    report({
      imported: 1,
      deduplicated: 1,
      sourceHighWatermark: 8,
      pages: 1,
      firstSequence: 4,
      lastSequence: 4,
    }),
  );
  assert.deepEqual(ownEvents(store).map(({ payload }) => payload), [
    "known",
    "new",
    "new, too",
    "not in the region",
  ]);
});

test("a journal that imports from itself comes to an end, and does it only once", () => {
  using store = sourceOf(5);
  assert.deepEqual(
    store.importEvents(store),
    report({ deduplicated: 5, skippedReserved: 1, sourceHighWatermark: 5 }),
    "without a namespace it is taken for what it is",
  );
  assert.deepEqual(
    store.importEvents(store, { namespace: "self", chunkSize: 2 }),
    report({
      imported: 5,
      skippedReserved: 1,
      sourceHighWatermark: 5,
      pages: 3,
      firstSequence: 6,
      lastSequence: 10,
    }),
  );
  assert.deepEqual(
    store.importEvents(store, { namespace: "self", chunkSize: 2 }),
    report({
      deduplicated: 5,
      skippedReimported: 5,
      skippedReserved: 1,
      sourceHighWatermark: 10,
    }),
  );
  const events = ownEvents(store);
  assert.deepEqual(events.slice(5).map(carried), events.slice(0, 5).map(carried));
});

test("a fork gives back what it has alone, and the causes that both have", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  const shared = store.append(ORDER, KIND, 1);
  store.fork("fork");
  store.append(ORDER, KIND, "only here");
  {
    using fork = Store.open("fork", { fs, entropy: new SeededEntropy(77) });
    const first = fork.append(ORDER, KIND, "only there", { causationId: shared.eventId });
    fork.append(ORDER, KIND, "because of that", { causationId: first.eventId });
  }
  using fork = Store.openReadOnly("fork", { fs });
  const { imported, deduplicated } = store.importEvents(fork);
  assert.deepEqual([imported, deduplicated], [2, 1]);
  const [there, because] = ownEvents(store).slice(-2);
  assert.equal(there.payload, "only there");
  assert.equal(there.causationId, shared.eventId);
  assert.equal(because.causationId, there.eventId);
  assert.equal(store.importEvents(fork).imported, 0);
});

test("a reader on the same directory is a source, too", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  store.append(ORDER, KIND, 1);
  using reader = openReader(fs);
  store.append(ORDER, KIND, 2);
  // What the reader has not seen yet is not imported.
  const namespace = "self";
  assert.equal(store.importEvents(reader, { namespace, chunkSize: 1 }).imported, 1);
  reader.refresh();
  assert.deepEqual(
    store.importEvents(reader, { namespace, chunkSize: 1 }),
    report({
      imported: 1,
      deduplicated: 1,
      skippedReserved: 1,
      skippedReimported: 1,
      sourceHighWatermark: 3,
      pages: 1,
      firstSequence: 4,
      lastSequence: 4,
    }),
  );
});

test("two journals that import from each other under one name come to rest", () => {
  using a = sourceOf(3);
  using b = target();
  b.append(ORDER, KIND, "b's own");
  assert.equal(b.importEvents(a, { namespace: "pair" }).imported, 3);
  assert.equal(a.importEvents(b, { namespace: "pair" }).imported, 1);
  for (let round = 0; round < 2; round++) {
    assert.equal(b.importEvents(a, { namespace: "pair" }).imported, 0);
    assert.equal(a.importEvents(b, { namespace: "pair" }).imported, 0);
  }
  assert.deepEqual([ownEvents(a).length, ownEvents(b).length], [4, 4]);
});

test("causes are translated within a page and across pages, and left out when they are not here", () => {
  const causes = (store: JournalReader) =>
    new Map(ownEvents(store).map((event) => [event.payload, event.causationId]));
  const later = OperationKey.of("later", []);
  const source = openStore(new MemoryFs());
  const append = (payload: string, causationId?: EventId, entity = "order:1") =>
    source.append({ entity, scope: "shop" }, KIND, payload, { causationId }).eventId;
  const root = append("root");
  const child = append("child", root);
  append("grandchild", child);
  append("of an event elsewhere", EventId.parse("0196f3b2-8c00-7abc-8def-0123456789ab"));
  append("of an event that comes later", later.id);
  source.append(ORDER, KIND, "later", { idempotencyKey: later });
  const hidden = append("left out", root, "hidden:1");
  append("of an event left out", hidden);
  append("second child", root);

  for (const chunkSize of [1, 2, 3, 256]) {
    using store = target();
    store.importEvents(source, { namespace: "n", chunkSize, region: { entity: "order" } });
    assert.deepEqual(
      causes(store),
      new Map([
        ["root", undefined],
        ["child", derivedId("n", root)],
        ["grandchild", derivedId("n", child)],
        ["of an event elsewhere", undefined],
        ["of an event that comes later", undefined],
        ["later", undefined],
        ["of an event left out", undefined],
        ["second child", derivedId("n", root)],
      ]),
      `pages of ${chunkSize}`,
    );
    const [first] = ownEvents(store);
    assert.deepEqual(store.effects(first.eventId).map(({ payload }) => payload), [
      "child",
      "second child",
    ]);
  }
});

test("correlation ids stay as they are", () => {
  const source = openStore(new MemoryFs());
  const first = source.append(ORDER, KIND, 1);
  source.append(ORDER, KIND, 2, { correlationId: first.eventId });
  using store = target();
  store.importEvents(source);
  assert.deepEqual(ownEvents(store).map(({ correlationId }) => correlationId), [
    first.eventId,
    first.eventId,
  ]);
});

test("the size of pages changes nothing but the groups of the log", () => {
  const events = fc.array(
    fc.record({
      entity: fc.constantFrom("a", "a:b", "c"),
      payload: fc.oneof(fc.integer(), fc.string({ maxLength: 300 })),
      lane: fc.constantFrom(0, 0, 7),
      tags: fc.subarray(["x", "y"]),
      cause: fc.option(fc.nat({ max: 40 }), { nil: undefined }),
    }),
    { maxLength: 40 },
  );
  const pages = fc.record({ chunkSize: fc.integer({ min: 1, max: 60 }), maxBytes: fc.nat(2000) });
  fc.assert(
    fc.property(events, fc.tuple(pages, pages), fc.nat({ max: 40 }), (list, sizes, split) => {
      using source = openStore(new MemoryFs());
      const ids: EventId[] = [];
      for (const { entity, payload, lane, tags, cause } of list) {
        const causationId = cause === undefined ? undefined : ids[cause];
        const place = { entity, scope: "s" };
        ids.push(source.append(place, KIND, payload, { lane, tags, causationId }).eventId);
      }
      const results = sizes.map(({ chunkSize, maxBytes }, i) => {
        using store = target(new MemoryFs(), { batch: { maxBytes: maxBytes + 1 } });
        // And whether it was done in one go.
        const filter = ({ globalSequence }: StoredEvent) => globalSequence < split;
        if (i === 1) store.importEvents(source, { namespace: "n", chunkSize, filter });
        const { pages: _, ...counts } = store.importEvents(source, { namespace: "n", chunkSize });
        const seen = ownEvents(store).map((event) => ({
          ...carried(event),
          eventId: event.eventId,
          causationId: event.causationId,
          clock: event.clock,
          globalSequence: event.globalSequence,
          provenance: importProvenance(event),
        }));
        assert.deepEqual(store.importEvents(source, { namespace: "n" }).imported, 0);
        return { seen, total: counts.imported + counts.deduplicated };
      });
      assert.equal(results[0].seen.length, list.length);
      assert.equal(results[0].total, list.length);
      assert.deepEqual(results[1], results[0]);
    }),
    { numRuns: 60 },
  );
});

test("a page has at most chunkSize and batch.maxSize events, and batch.maxBytes bytes", () => {
  const pagesOf = (store: Store, source: Store, chunkSize?: number) => {
    const last: (number | undefined)[] = [];
    store.importEvents(source, { chunkSize, onProgress: (r) => last.push(r.lastSequence) });
    return last;
  };
  const source = sourceOf(7);
  assert.deepEqual(pagesOf(target(), source, 3), [3, 6, 7]);
  assert.deepEqual(pagesOf(target(new MemoryFs(), { batch: { maxSize: 2 } }), source, 3), [
    2,
    4,
    6,
    7,
  ]);
  // {"n": 0} is 4 bytes of payload; the extension is its key, its value, and 8 bytes around them.
  const single = 4 + 3 + PROVENANCE_KEY.length + 5 + importSize();
  const bytes = (maxBytes: number) => target(new MemoryFs(), { batch: { maxBytes } });
  assert.deepEqual(pagesOf(bytes(single * 3), source), [3, 6, 7]);
  assert.deepEqual(pagesOf(bytes(single * 3 - 1), source), [2, 4, 6, 7]);
  // An event that is larger than any batch is a page of its own.
  assert.deepEqual(pagesOf(bytes(1), source), [1, 2, 3, 4, 5, 6, 7]);

  function importSize(): number {
    using store = target();
    store.importEvents(source);
    return ownEvents(store)[0].extensions[PROVENANCE_KEY].byteLength;
  }
});

test("limit imports a part, and the report says where to go on", () => {
  const source = sourceOf(5);
  using store = target();
  const reports: ImportReport[] = [];
  let found = store.importEvents(source, { limit: 4 });
  reports.push(found);
  while (found.sourceHighWatermark !== undefined) {
    found = store.importEvents(source, { after: found.sourceHighWatermark, limit: 4 });
    reports.push(found);
  }
  assert.deepEqual(reports, [
    report({
      imported: 3,
      skippedReserved: 1,
      sourceHighWatermark: 3,
      pages: 1,
      firstSequence: 1,
      lastSequence: 3,
    }),
    report({ imported: 2, sourceHighWatermark: 5, pages: 1, firstSequence: 4, lastSequence: 5 }),
    report({}),
  ]);
});

test("an empty source, and one that holds nothing but the store's own events, give an empty report", () => {
  using store = target();
  assert.deepEqual(
    store.importEvents(sourceOf(0)),
    report({ skippedReserved: 1, sourceHighWatermark: 0 }),
  );
  assert.deepEqual(store.importEvents(sourceOf(3), { after: 3 }), report({}));
});

test("progress is reported after each page, and what it reports is written", () => {
  const source = sourceOf(5);
  using store = target();
  const seen: [number, number | undefined, number][] = [];
  store.importEvents(source, {
    chunkSize: 2,
    onProgress: ({ imported, sourceHighWatermark }) =>
      seen.push([imported, sourceHighWatermark, ownEvents(store).length]),
  });
  assert.deepEqual(seen, [[2, 2, 2], [4, 4, 4], [5, 5, 5]]);
});

test("the watermark of a report in between is never ahead of what is written", () => {
  // Pages end by their bytes here, while the event that did not fit has been looked at already.
  const source = sourceOf(14);
  for (const stopAt of [1, 2, 3, 4]) {
    using store = target(new MemoryFs(), { batch: { maxBytes: 1200 } });
    let after: number | undefined;
    let calls = 0;
    assert.throws(() =>
      store.importEvents(source, {
        onProgress({ sourceHighWatermark }) {
          after = sourceHighWatermark;
          if (++calls === stopAt) throw new Error("enough");
        },
      }), /^Error: enough$/);
    assert.equal(ownEvents(store).length, 3 * stopAt);
    assert.equal(after, 3 * stopAt);
    store.importEvents(source, { after });
    assert.deepEqual(ownEvents(store).map(({ payload }) => (payload as { n: number }).n), [
      ...Array(14).keys(),
    ]);
  }
});

test("an event that is over a limit is refused by its place in the source, and its page with it", () => {
  const source = openStore(new MemoryFs());
  const many = (count: number) =>
    Object.fromEntries(
      Array.from({ length: count }, (_, i) => [`app.k${i}`, new Uint8Array(0)]),
    );
  source.append(ORDER, KIND, 1); // 1
  source.append(ORDER, KIND, 2); // 2
  source.append(ORDER, KIND, 3, { extensions: many(31) }); // 3: and the provenance makes 32
  source.append(ORDER, KIND, 4, { extensions: many(32) }); // 4
  using store = target();
  const refused = (error: unknown) => {
    assert.ok(error instanceof ImportEventError);
    assert.equal(error.code, "IMPORT_EVENT");
    assert.equal(error.sourceSequence, 4);
    assert.ok(error.cause instanceof TooLargeError);
    assert.match(error.message, /^Cannot import the event at sequence 4 of the source: .*33 ext/);
    assert.equal(error.report.imported, 2);
    assert.equal(error.report.sourceHighWatermark, 2);
    return true;
  };
  assert.throws(() => store.importEvents(source, { chunkSize: 2 }), refused);
  assert.deepEqual(ownEvents(store).map(({ payload }) => payload), [1, 2]);
  const filter = ({ globalSequence }: StoredEvent) => globalSequence !== 4;
  assert.equal(store.importEvents(source, { filter }).imported, 1);

  const big = openStore(new MemoryFs());
  big.append(ORDER, KIND, "x".repeat(1000));
  using small = target(new MemoryFs(), { singleAppendMaxBytes: 1000 });
  assert.throws(() => small.importEvents(big), (error) => {
    assert.ok(error instanceof ImportEventError && error.cause instanceof TooLargeError);
    assert.equal(error.sourceSequence, 1);
    assert.match(error.message, /option "singleAppendMaxBytes"/);
    return true;
  });
  assert.equal(ownEvents(small).length, 0);
});

test("a closed source is refused with an error of its own, also when it is closed in between", () => {
  const closed = sourceOf(2);
  closed.close();
  using store = target();
  assert.throws(() => store.importEvents(closed), (error) => {
    assert.ok(error instanceof ImportSourceClosedError);
    assert.equal(error.code, "IMPORT_SOURCE_CLOSED");
    assert.equal(error.path, closed.dir);
    return true;
  });
  const source = sourceOf(5);
  const closing = (sequence: number) => ({
    chunkSize: 2,
    filter({ globalSequence }: StoredEvent) {
      if (globalSequence === sequence) source.close();
      return true;
    },
  });
  assert.throws(() => store.importEvents(source, closing(4)), ImportSourceClosedError);
  assert.equal(ownEvents(store).length, 2);
  const done = target();
  done.close();
  assert.throws(() => done.importEvents(sourceOf(1)), StoreClosedError);
  const open = target();
  assert.throws(() =>
    open.importEvents(sourceOf(3), {
      filter() {
        open.close();
        return true;
      },
    }), StoreClosedError);
});

test("wrong options are refused before anything is read", () => {
  const source = sourceOf(1);
  using store = target();
  const refused = (options: object, error: object) =>
    assert.throws(() => store.importEvents(source, options), error);
  refused({ namespace: "" }, { name: "TypeError", message: /namespace/ });
  refused({ namespace: 7 }, { name: "TypeError", message: /namespace/ });
  refused({ namespace: "\ud800" }, { name: "TypeError", message: /namespace/ });
  refused({ namespace: "ü".repeat(513) }, { name: "RangeError", message: /1026 bytes/ });
  refused({ chunkSize: 0 }, { name: "RangeError", message: /chunkSize 0/ });
  refused({ chunkSize: 1.5 }, { name: "RangeError", message: /chunkSize 1.5/ });
  refused({ limit: 0 }, { name: "RangeError", message: /limit 0/ });
  refused({ after: -2 }, { name: "RangeError", message: /after -2/ });
  refused({ filter: true }, { name: "TypeError", message: /filter/ });
  refused({ filter: () => Promise.resolve(true) }, { name: "TypeError", message: /neither true/ });
  refused({ onProgress: 1 }, { name: "TypeError", message: /onProgress/ });
  refused({ durability: "certain" }, { name: "TypeError", message: /durability/ });
  refused({ chunksize: 2 }, { name: "TypeError", message: /"chunksize"/ });
  assert.throws(() => store.importEvents({} as JournalReader), { name: "TypeError" });
  assert.equal(ownEvents(store).length, 0);
});

test("a caller cannot make provenance up", () => {
  using store = target();
  const extensions = { [PROVENANCE_KEY]: new Uint8Array(1) };
  assert.throws(() => store.append(ORDER, KIND, 1, { extensions }), ExtensionKeyError);
  assert.throws(
    () => store.appendBatch([{ ...ORDER, kind: KIND, payload: 1, extensions }]),
    (error) => error instanceof Error && error.cause instanceof ExtensionKeyError,
  );
  const own = { "batpak.provenance": new Uint8Array(1) };
  assert.throws(() => store.append(ORDER, KIND, 1, { extensions: own }), {
    code: "EXTENSION_KEY",
    reason: "ReservedNamespace",
  });
});

test("provenance is in the receipt, and covered by its signature", () => {
  const key: SigningKey = SigningKeys.fromSeed(new Uint8Array(32).fill(7));
  const source = sourceOf(1);
  using store = target(new MemoryFs(), { signingKeys: [key] });
  store.importEvents(source, { namespace: "n" });
  const [event] = ownEvents(source);
  const idempotencyKey = OperationKey.of("batpak.import", ["n", event.eventId.replaceAll("-", "")]);
  // The key of an import is a key like any other: this is how the receipt is had.
  const receipt = store.append(ORDER, KIND, "ignored", { idempotencyKey });
  assert.equal(receipt.replayed, true);
  assert.equal(importProvenance(receipt)?.sourceEventId, event.eventId);
  const publicKeys = [key.publicKey];
  assert.deepEqual(verifyReceipt(receipt, { publicKeys }), { valid: true, outcome: "signed" });
  assert.deepEqual(store.verifyReceipt(receipt), { valid: true, outcome: "signed" });
});

test("an import of what was imported elsewhere says where it was read, not where it began", () => {
  const origin = sourceOf(1);
  using middle = target();
  middle.importEvents(origin, { namespace: "first" });
  using last = target();
  last.importEvents(middle, { namespace: "second" });
  const [event] = ownEvents(last);
  assert.deepEqual(Object.keys(event.extensions), [PROVENANCE_KEY]);
  const { sourceNamespace, sourceStoreId } = importProvenance(event)!;
  assert.deepEqual([sourceNamespace, sourceStoreId], ["second", middle.storeId]);
});

/** A journal of one event, whose frame is changed by hand; its checksum is made to fit. */
function forged(change: (body: Uint8Array) => void, extensions = {}): JournalReader {
  const fs = new MemoryFs();
  const source = openStore(fs);
  source.append(ORDER, KIND, 1, { tags: ["t"], extensions });
  source.close();
  const segment = fs.readFile(`journal/${segmentName(1)}`, 2 ** 20);
  const { offset } = framesOf(segment)[1];
  change(bodyOf(segment, offset));
  fixChecksum(segment, offset);
  writeFile(fs, `journal/${segmentName(1)}`, segment);
  return openReader(fs);
}

test("what no journal of ours holds is refused, with the place in the source", () => {
  const cases: [string, (body: Uint8Array) => void, RegExp][] = [
    ["an encrypted payload", (body) => void (body[96] = 2), /payload encoding 2/],
    ["a tag of a control character", (body) => void (body[tagsOf(body) + 6] = 0x01), /tag 0/],
    ["a key with a space", (body) => void (body[keyOf(body)] = 0x20), /extension key/],
    ["a key that is no ASCII", (body) => void (body[keyOf(body)] = 0xff), /extension key/],
  ];
  for (const [name, change, reason] of cases) {
    using source = forged(change, { "app.k": new Uint8Array(1) });
    using store = target();
    assert.throws(() => store.importEvents(source), (error) => {
      assert.ok(error instanceof ImportEventError, `${name}: ${error}`);
      assert.equal(error.sourceSequence, 1);
      assert.match(error.message, reason, name);
      return true;
    });
    assert.equal(ownEvents(store).length, 0, name);
  }

  function tagsOf(body: Uint8Array): number {
    const scope = 174 + readU16(body, 172) + 3;
    return scope + readU16(body, scope - 2);
  }
  function keyOf(body: Uint8Array): number {
    return tagsOf(body) + 3 + 3 + 1 + 3 + 3;
  }
});

test("a payload that does not match its content hash is not given a sound one here", () => {
  using source = forged((body) => void (body[body.byteLength - 1] = 2));
  using store = target();
  assert.throws(() => store.importEvents(source), (error) => {
    assert.ok(error instanceof CorruptionError);
    assert.equal(error.path, `${source.dir}/000001.fbat`);
    assert.equal(error.segmentId, 1);
    assert.match(error.reason, /content hash/);
    return true;
  });
  assert.equal(ownEvents(store).length, 0);
});

test("provenance of a newer program in the source is an error that says so", () => {
  const origin = sourceOf(1);
  const fs = new MemoryFs();
  const middle = openStore(fs);
  middle.importEvents(origin);
  middle.close();
  const segment = fs.readFile(`journal/${segmentName(1)}`, 2 ** 20);
  const { offset } = framesOf(segment)[1];
  const body = bodyOf(segment, offset);
  const at = toHex(body).indexOf(toHex(new TextEncoder().encode("schema_version"))) / 2 + 14;
  assert.equal(readU16(body, at + 1), 1);
  writeU16(body, at + 1, 2);
  fixChecksum(segment, offset);
  writeFile(fs, `journal/${segmentName(1)}`, segment);
  using reader = openReader(fs);
  assert.throws(() => importProvenance(ownEvents(reader)[0]), {
    code: "IMPORT_PROVENANCE",
    reason: "FutureVersion",
    found: 2,
  });
  using store = target();
  assert.throws(() => store.importEvents(reader), (error) => {
    assert.ok(error instanceof ImportEventError && error.sourceSequence === 1);
    assert.ok(error.cause instanceof ImportProvenanceError);
    return true;
  });
});

test("two events of a forged source under one id are one event here, wherever pages end", () => {
  const fs = new MemoryFs();
  const source = openStore(fs);
  source.append(ORDER, KIND, 1);
  source.append(ORDER, KIND, 2);
  source.close();
  const segment = fs.readFile(`journal/${segmentName(1)}`, 2 ** 20);
  const [, first, second] = framesOf(segment);
  bodyOf(segment, second.offset).set(bodyOf(segment, first.offset).subarray(14, 30), 14);
  fixChecksum(segment, second.offset);
  writeFile(fs, `journal/${segmentName(1)}`, segment);
  using reader = openReader(fs);
  for (const chunkSize of [1, 2]) {
    using store = target();
    const { imported, deduplicated } = store.importEvents(reader, { chunkSize });
    assert.deepEqual([imported, deduplicated], [1, 1]);
    assert.deepEqual(ownEvents(store).map(({ payload }) => payload), [1]);
  }
});

test("a filter or a progress callback that imports by itself makes no duplicates", () => {
  for (const callback of ["filter", "onProgress"] as const) {
    const source = sourceOf(6);
    using store = target();
    let nested = 0;
    const within = () => {
      if (nested++ === 3 || callback === "onProgress") {
        store.importEvents(source, { namespace: "n", region: { entity: "order:1" } });
      }
      return true;
    };
    const found = store.importEvents(source, { namespace: "n", chunkSize: 4, [callback]: within });
    assert.equal(found.imported + found.deduplicated, 6, callback);
    // In a page already, or still to come when the page before it is written.
    assert.equal(found.imported, callback === "filter" ? 4 : 5, callback);
    assert.deepEqual(
      ownEvents(store).map(({ payload }) => (payload as { n: number }).n).sort(),
      [0, 1, 2, 3, 4, 5],
    );
  }
});

test("an event whose callback appends is imported beside what that appended", () => {
  const source = sourceOf(3);
  using store = target();
  const found = store.importEvents(source, {
    chunkSize: 2,
    filter: ({ entity }) => {
      store.append({ entity: "log:1", scope: "shop" }, KIND, entity);
      return true;
    },
  });
  // Two appends, a page of two, one append, a page of one.
  assert.deepEqual([found.firstSequence, found.lastSequence], [3, 6]);
  assert.equal(ownEvents(store).length, 6);
});

test("a failed write leaves nothing of its page, and repeating the import completes it", () => {
  const source = sourceOf(9);
  for (let nth = 1; nth <= 3; nth++) {
    const fs = new MemoryFs();
    using store = target(fs);
    fs.failNext({ op: "writeAt", code: "ENOSPC", nth });
    assert.throws(() => store.importEvents(source, { chunkSize: 3 }), { code: "IO" });
    assert.equal(ownEvents(store).length, 3 * (nth - 1));
    const { imported, deduplicated } = store.importEvents(source, { chunkSize: 3 });
    assert.deepEqual([imported, deduplicated], [9 - 3 * (nth - 1), 3 * (nth - 1)]);
    assert.equal(ownEvents(store).length, 9);
  }
});

test("durability: durable syncs every page, also what an earlier run had written", () => {
  const source = sourceOf(4);
  using store = target();
  store.importEvents(source, { after: 2 });
  assert.ok(store.durableSequence < store.stats().nextSequence);
  store.importEvents(source, { after: 2, durability: "durable" });
  assert.equal(store.durableSequence, store.stats().nextSequence);
  const seen: boolean[] = [];
  store.importEvents(source, {
    durability: "durable",
    chunkSize: 1,
    onProgress: () => seen.push(store.durableSequence === store.stats().nextSequence),
  });
  assert.deepEqual(seen, [true, true]);
});

test("an import goes over the ends of segments, and the journal verifies, on real files", () => {
  inTempDir((dir) => {
    const source = Store.open(`${dir}/a`, { segmentMaxBytes: 4000 });
    for (let n = 0; n < 100; n++) source.append(ORDER, KIND, { n, text: "x".repeat(n) });
    using reader = Store.openReadOnly(`${dir}/a`);
    const store = Store.open(`${dir}/b`, { segmentMaxBytes: 4000, fs: runtime.fs });
    assert.equal(store.importEvents(reader, { chunkSize: 7 }).imported, 100);
    assert.ok(store.stats().segmentCount > 3);
    assert.deepEqual(ownEvents(store).map(carried), ownEvents(source).map(carried));
    store.close();
    source.close();
    assert.deepEqual(verifyJournal(`${dir}/b`).findings, []);
    using again = Store.open(`${dir}/b`);
    assert.equal(again.importEvents(reader).deduplicated, 100);
  });
});
