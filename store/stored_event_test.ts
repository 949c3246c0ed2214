// Spec 6.7: an event as it is read; lazily, exactly, and never something else.
import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { MemoryFs } from "../platform/memory.ts";
import { DIR, factsOf, openIn, ORDER, OTHER, PAID, PLACED } from "../tests/support_api/journal.ts";
import { spiedFs } from "../tests/support_api/spied_fs.ts";
import type { AppendOptions } from "./append.ts";
import { CorruptionError } from "./errors.ts";
import { DecodeError, defineEvent } from "./event_definition.ts";
import { blake3, toHex } from "./hash.ts";
import { FRAME_HEADER_SIZE } from "./frame.ts";
import { Store } from "./store.ts";
import { StoredEvent } from "./stored_event.ts";

/** A journal on which every read of bytes is counted. */
function countedReader(
  inner: MemoryFs,
): { reader: ReturnType<typeof Store.openReadOnly>; reads: () => number } {
  let count = 0;
  const fs = spiedFs(inner, (op) => {
    if (op === "readAt" || op === "readFile") count++;
  });
  const reader = Store.openReadOnly(DIR, { fs });
  count = 0;
  return { reader, reads: () => count };
}

/** Flips one bit in the middle of the frame at `position`. */
function damage(fs: MemoryFs, { segmentId, offset, size }: StoredEvent["position"]): void {
  const file = fs.open(`${DIR}/${String(segmentId).padStart(6, "0")}.fbat`, "write");
  const byte = new Uint8Array(1);
  // The last byte of the frame is the payload's.
  file.readAt(byte, 0, 1, offset + size - 1);
  byte[0] ^= 0x10;
  file.writeAt(byte, 0, 1, offset + size - 1);
  file.close();
}

test("an event says everything it was appended with", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const receipt = store.append(ORDER, PLACED, { total: 12 }, {
    lane: 1,
    depth: 2,
    flags: 3,
    tags: ["a", "b"],
    extensions: { "app.audit": Uint8Array.of(1) },
  });
  const event = store.get(receipt.eventId)!;
  assert.equal(event.globalSequence, 1);
  assert.equal(event.entity, ORDER.entity);
  assert.equal(event.scope, ORDER.scope);
  assert.deepEqual({ ...event.coordinate.toJSON() }, { ...ORDER });
  assert.equal(event.kind, PLACED);
  assert.equal(event.payloadVersion, 0);
  assert.equal(event.isErased, false);
  assert.deepEqual(event.payload, { total: 12 });
  assert.equal(event.payload, event.payload, "decoded once");
  assert.deepEqual(event.contentHash, blake3(event.payloadBytes!));
  assert.deepEqual(event.eventHash, blake3(event.headerBytes));
  assert.deepEqual(event.position, receipt.position);
});

test("an event says how its payload is stored", () => {
  using store = openIn(new MemoryFs());
  const bytes = Uint8Array.of(1);
  const encoding = (options: AppendOptions) =>
    store.get(store.append(ORDER, PLACED, bytes, options).eventId)!.payloadEncoding;
  assert.equal(encoding({}), "messagepack");
  assert.equal(encoding({ payloadEncoding: "opaque" }), "opaque");
});

test("toJSON() is plain data that goes through JSON", () => {
  using store = openIn(new MemoryFs());
  const { eventId, timestampUs } = store.append(ORDER, PLACED, { total: 12 }, { tags: ["a"] });
  const event = store.get(eventId)!;
  assert.deepEqual(JSON.parse(JSON.stringify(event)), {
    globalSequence: 1,
    eventId,
    entity: "order:1",
    scope: "shop",
    kind: "0xF001",
    clock: 0,
    lane: 0,
    depth: 0,
    flags: 0,
    timestampUs,
    correlationId: eventId,
    causationId: null,
    tags: ["a"],
    payloadVersion: 0,
    prevHash: "00".repeat(32),
    contentHash: toHex(event.contentHash),
    eventHash: toHex(event.eventHash),
    payload: { total: 12 },
  });
  assert.deepEqual(structuredClone(event.toJSON()), event.toJSON());
});

test("what the index knows is read without a file, what it does not with one read an event", () => {
  const fs = new MemoryFs();
  {
    using store = openIn(fs, { segmentMaxBytes: 3000 });
    for (let i = 0; i < 50; i++) {
      store.append(i % 2 ? ORDER : OTHER, PLACED, { i }, { tags: ["t"] });
    }
  }
  const { reader, reads } = countedReader(fs);
  let seen = 0;
  for (const event of reader.events({ tags: ["t"], lane: 0, scope: "shop", kind: PLACED })) {
    const { globalSequence, eventId, entity, scope, kind, clock, lane, position } = event;
    assert.ok(reader.get(eventId)?.globalSequence === globalSequence);
    assert.ok(reader.at(globalSequence)?.eventId === eventId);
    assert.deepEqual([entity, scope, kind, clock, lane].length, 5);
    assert.ok(position.size > 0 && event.coordinate.entity === entity && event.clock === clock);
    seen++;
  }
  assert.equal(seen, 50);
  assert.ok(reader.latest(ORDER.entity) && reader.stats().eventCount > 50);
  assert.equal(reads(), 0);

  const event = reader.latest(ORDER.entity)!;
  assert.equal(event.depth, 0);
  assert.equal(reads(), 1);
  // The rest of it came along.
  factsOf(event);
  assert.equal(reads(), 1);
  reader.close();
});

test("stopping early costs what was looked at, and a limit nothing more", () => {
  const fs = new MemoryFs();
  {
    using store = openIn(fs);
    for (let i = 0; i < 100; i++) store.append(ORDER, PLACED, i);
  }
  const { reader, reads } = countedReader(fs);
  for (const event of reader.events({ kind: PLACED })) {
    if (event.clock === 90) {
      assert.equal(event.payload, 90);
      break;
    }
  }
  assert.equal(reads(), 1);
  reader.close();
});

test("neighbours are read together", () => {
  const fs = new MemoryFs();
  {
    using store = openIn(fs);
    for (let i = 0; i < 500; i++) store.append(ORDER, PLACED, i);
  }
  for (const reverse of [false, true]) {
    const { reader, reads } = countedReader(fs);
    const payloads = [...reader.events({ kind: PLACED }, { reverse })].map(({ payload }) =>
      payload
    );
    assert.equal(payloads.length, 500);
    assert.ok(reads() < 10, `${reads()} reads`);
    reader.close();
  }
});

test("a damaged event is told when it is touched, by every field that reads it, and no other is", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  const receipts = ["first", "second", "third"].map((word) => store.append(ORDER, PLACED, word));
  store.close();
  using reader = Store.openReadOnly(DIR, { fs });
  const damaged = reader.query({ kind: PLACED })[1];
  damage(fs, damaged.position);

  const events = reader.query({ kind: PLACED });
  assert.deepEqual(events.map(({ clock }) => clock), [0, 1, 2]);
  assert.equal(events[0].payload, "first");
  assert.equal(events[2].payload, "third");
  const touches: readonly ((event: StoredEvent) => unknown)[] = [
    (event) => event.payload,
    (event) => event.payloadBytes,
    (event) => event.depth,
    (event) => event.tags,
    (event) => event.timestampUs,
    (event) => event.causationId,
    (event) => event.prevHash,
    (event) => event.eventHash,
    (event) => event.toJSON(),
    (event) => event.decode(defineEvent({ name: "e", kind: PLACED })),
  ];
  for (const touch of touches) {
    const event = reader.query({ kind: PLACED })[1];
    assert.throws(() => touch(event), (error) => {
      assert.ok(error instanceof CorruptionError);
      assert.equal(error.segmentId, 1);
      assert.equal(error.offset, damaged.position.offset);
      assert.equal(error.reason, "the frame's checksum does not match");
      return true;
    });
    // Not a sticky failure of this event only: it is told every time.
    assert.throws(() => touch(event), CorruptionError);
  }
  assert.throws(() => reader.verifyReceipt(receipts[1]), CorruptionError);
  assert.deepEqual(reader.verifyReceipt(receipts[2]), { valid: true, outcome: "unsigned" });
});

test("what a caller does to the bytes of one reading reaches no other reading", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const { eventId } = store.append(ORDER, PLACED, { bytes: Uint8Array.of(1, 2) });
  const opaque = store.append(ORDER, PLACED, Uint8Array.of(3, 4), { payloadEncoding: "opaque" });
  for (const id of [eventId, opaque.eventId]) {
    const before = store.get(id)!.toJSON();
    const event = store.get(id)!;
    const payload = event.payload as Uint8Array | { bytes: Uint8Array };
    (payload instanceof Uint8Array ? payload : payload.bytes).fill(9);
    event.payloadBytes!.fill(9);
    event.headerBytes.fill(9);
    event.prevHash.fill(9);
    event.contentHash.fill(9);
    event.eventHash.fill(9);
    assert.deepEqual(store.get(id)!.toJSON(), before);
    assert.deepEqual(toHex(event.eventHash), before.eventHash);
    assert.deepEqual(blake3(event.payloadBytes!), event.contentHash);
  }
});

test("is() and decode() tell kinds apart", () => {
  using store = openIn(new MemoryFs());
  const placed = defineEvent<{ total: number }>({ name: "order.placed", kind: PLACED });
  const paid = defineEvent<{ cents: number }>({ name: "order.paid", kind: PAID });
  store.append(ORDER, placed, { total: 12 });
  const event = store.latest(ORDER.entity)!;
  assert.ok(event.is(placed) && !event.is(paid));
  assert.equal(event.decode(placed).total, 12);
  assert.throws(() => event.decode(paid), (error) => {
    assert.ok(error instanceof DecodeError);
    assert.equal(error.reason, "KindMismatch");
    assert.deepEqual([error.kind, error.foundKind], [PAID, PLACED]);
    return true;
  });
});

test("events are read alike from the writer's buffer, from the file, and over many segments", () => {
  const fs = new MemoryFs();
  const store = openIn(fs, { segmentMaxBytes: 1000 });
  for (let i = 0; i < 30; i++) {
    store.append(i % 3 ? ORDER : OTHER, PLACED, { i, text: "x".repeat(i * 7) }, {
      tags: [`t:${i}`],
    });
  }
  const live = store.query().map(factsOf);
  const shuffled = [...live.keys()].sort((a, b) => (a * 7919) % 31 - (b * 7919) % 31);
  for (const i of shuffled) assert.deepEqual(factsOf(store.at(i)!), live[i]);
  store.close();
  for (const fdBudget of [1, 2, 64]) {
    using reader = Store.openReadOnly(DIR, { fs, fdBudget });
    assert.deepEqual(reader.query().slice(0, live.length).map(factsOf), live);
    for (const i of shuffled) assert.deepEqual(factsOf(reader.at(i)!), live[i]);
  }
});

/** What every getter of an event answers: a new one cannot be forgotten here. */
function answersOf(event: StoredEvent): Record<string, unknown> {
  const answers: Record<string, unknown> = { globalSequence: event.globalSequence };
  for (
    const [name, { get }] of Object.entries(Object.getOwnPropertyDescriptors(StoredEvent.prototype))
  ) {
    if (get === undefined) continue;
    try {
      answers[name] = get.call(event);
    } catch (error) {
      answers[name] = String(error);
    }
  }
  return answers;
}

/** The event that its frame alone makes, read from the file of its segment. */
function eventOfFrame(fs: MemoryFs, position: StoredEvent["position"]): StoredEvent {
  const name = `${String(position.segmentId).padStart(6, "0")}.fbat`;
  const { offset, size } = position;
  const bytes = fs.readFile(`${DIR}/${name}`, 2 ** 31);
  return StoredEvent.fromFrame(bytes.slice(offset + FRAME_HEADER_SIZE, offset + size), position);
}

test("an event that is made of its frame alone says what the store says of it, in every field", () => {
  const fs = new MemoryFs();
  const store = openIn(fs, { segmentMaxBytes: 2_000 });
  const placed = defineEvent<{ total: number }>({ name: "order.placed", kind: PLACED });
  const { eventId } = store.append(ORDER, placed, { total: 12 }, {
    lane: 1,
    depth: 2,
    flags: 0xff,
  });
  store.append(ORDER, PAID, { total: 1 }, {
    lane: 1,
    causationId: eventId,
    correlationId: eventId,
  });
  store.append(ORDER, PAID, Uint8Array.of(0xc0), { payloadEncoding: "opaque" });
  store.append(ORDER, PAID, new Uint8Array(0), { payloadEncoding: "opaque", lane: 0xfffffffe });
  // Payloads that end like an erased one.
  for (const payload of [null, false, { a: null }, Uint8Array.of(0xc2)]) {
    store.append(OTHER, PAID, payload, { tags: ["a", "größe:40", "c".repeat(100)] });
  }
  store.append({ entity: "kunde:müller", scope: "größe" }, PLACED, "ü".repeat(100), {
    extensions: { "app.audit": Uint8Array.of(1), "app.more": new Uint8Array(300) },
    tags: ["t"],
  });
  store.append({ entity: "e".repeat(200), scope: "s".repeat(90) }, PLACED, 5);
  store.appendBatch([1, 2, 3].map((payload) => ({ ...ORDER, kind: PAID, payload })));
  for (let i = 0; i < 30; i++) {
    store.append({ entity: `gone:${i % 3}`, scope: "shop" }, PAID, { i });
  }
  for (const [type, entity] of [["tombstone", "gone:1"], ["retention", "gone:2"]] as const) {
    const { outcome } = store.compact({
      strategy: { type, keep: (event) => event.entity !== entity },
      minSegments: 1,
      seal: true,
    });
    assert.equal(outcome, "performed");
  }
  store.close();

  using reader = Store.openReadOnly(DIR, { fs });
  const { eventCount } = reader.stats();
  let erased = 0;
  let retired = 0;
  for (let sequence = 0; sequence < eventCount; sequence++) {
    const event = reader.at(sequence)!;
    const alone = eventOfFrame(fs, event.position);
    assert.deepEqual(answersOf(alone), answersOf(event), `event ${sequence}`);
    // Without the payload having been touched before.
    assert.deepEqual(eventOfFrame(fs, event.position).toJSON(), event.toJSON());
    assert.equal(alone.payload, alone.payload, "decoded once");
    assert.equal(inspect(alone), inspect(event));
    assert.equal(alone.is(placed), event.is(placed));
    if (event.isErased) erased++;
    if (event.isRetired) retired++;
  }
  assert.deepEqual([erased, retired], [20, 10]);
  const alone = eventOfFrame(fs, reader.get(eventId)!.position);
  assert.deepEqual(alone.decode(placed), { total: 12 });
  const gone = reader.latest("gone:1")!;
  for (const event of [gone, eventOfFrame(fs, gone.position)]) {
    assert.throws(
      () => event.decode(defineEvent({ name: "gone", kind: PAID })),
      (error) => error instanceof DecodeError && error.reason === "Erased",
    );
  }
});
