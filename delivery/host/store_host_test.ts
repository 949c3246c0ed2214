import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { startCursorWorker } from "../cursor_worker.ts";
import { HostError } from "./host_error.ts";
import { StoreClient } from "./store_client.ts";
import { StoreHost } from "./store_host.ts";
import { MemoryFs } from "../../platform/memory.ts";
import {
  BatchError,
  ClockConflictError,
  ConditionConflictError,
  ReservedKindError,
  SerializationError,
  TooLargeError,
  WriterCrashedError,
} from "../../store/errors.ts";
import { defineEvent, ValidationError } from "../../store/event_definition.ts";
import { EventKind } from "../../store/event_kind.ts";
import { StoreInUseError } from "../../store/holders.ts";
import { OperationKey } from "../../store/ids.ts";
import { type Receipt, SigningKey, verifyReceipt } from "../../store/receipt.ts";
import { Region } from "../../store/region.ts";
import { Store } from "../../store/store.ts";
import { TagError } from "../../store/tags.ts";
import { runtime } from "../../platform/runtime.ts";
import { seededRandom } from "../../tests/support_api/journal.ts";
import { decodeError } from "./error_codec.ts";
import { PROTOCOL_VERSION } from "./messages.ts";
import { DURABLE, failureOf, KIND, Rig, USER } from "./testdata/rig.ts";

const HELLO = { type: "hello", version: PROTOCOL_VERSION };

test("a client appends and reads as the store itself does", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  const { store } = rig;
  assert.equal(client.storeId, store.storeId);
  assert.equal(client.dir, store.dir);

  const options = {
    idempotencyKey: "first",
    expectedClock: "none",
    tags: ["a", "ü"],
    extensions: { "app.note": Uint8Array.of(1, 2) },
    flags: 5,
    depth: 3,
    lane: 2,
    payloadVersion: 9,
  } as const;
  const receipt = await client.append(USER, KIND, { n: 1 }, options);
  const event = store.get(receipt.eventId)!;
  assert.deepEqual(receipt.toJSON(), store.append(USER, KIND, {}, options).toJSON());
  const read = (await client.get(receipt.eventId))!;
  assert.deepEqual(read.toJSON(), event.toJSON());
  assert.deepEqual(read.position, event.position);
  assert.deepEqual(read.extensions, event.extensions);
  assert.deepEqual(
    [read.tags, read.flags, read.depth, read.lane, read.payloadVersion, read.clock],
    [["a", "ü"], 5, 3, 2, 9, 0],
  );

  const cause = await client.append(USER, KIND, Uint8Array.of(7), {
    payloadEncoding: "opaque",
    idempotencyKey: OperationKey.of("op", ["1"]),
  });
  const [one, two] = await client.appendBatch([
    { ...USER, kind: KIND, payload: 1, causationId: cause.eventId },
    { ...USER, kind: KIND, payload: 2, causationItem: 0, correlationId: cause.eventId },
  ]);
  assert.deepEqual((await client.causes(two.eventId)).map((e) => e.globalSequence), [
    one.globalSequence,
    cause.globalSequence,
  ]);
  assert.deepEqual(
    (await client.effects(cause.eventId)).map((e) => e.eventId),
    [one.eventId],
  );
  assert.equal((await client.getByKey(OperationKey.of("op", ["1"])))?.eventId, cause.eventId);
  assert.equal((await client.getByKey("first"))?.eventId, receipt.eventId);
  assert.equal((await client.at(two.globalSequence))?.payload, 2);
  assert.equal(await client.at(999), undefined);
  assert.equal((await client.latest(USER.entity))?.clock, 2);
  assert.equal((await client.latest(USER.entity, 2))?.clock, 0);
  assert.equal(await client.latest("nobody"), undefined);
  assert.deepEqual(
    (await client.query(Region.entity("user").withFact({ type: "exact", kind: KIND }))).map((e) =>
      e.clock
    ),
    [0, 0, 1, 2],
  );
  const walk = await client.walkAncestors(two.eventId);
  assert.deepEqual(walk.ancestors.map((e) => e.clock), [2, 1, 0]);
  assert.deepEqual(walk.boundary, { type: "ReachedGenesis" });
  assert.deepEqual((await client.walkAncestors(two.eventId, 2)).boundary, { type: "LimitReached" });
  assert.deepEqual(await client.stats(), store.stats());
  assert.deepEqual(await client.verifyReceipt(two), { valid: true, outcome: "unsigned" });
  assert.deepEqual(await client.appendBatch([]), []);
});

test("a receipt of a client is signed when the store has a key, and verifies there", async () => {
  const key = SigningKey.fromSeed(new Uint8Array(32).fill(7));
  using rig = new Rig({ store: { signingKeys: [key] } });
  await using client = await rig.connect();
  const receipts = await client.appendBatch([
    { ...USER, kind: KIND, payload: 1 },
    { ...USER, kind: KIND, payload: 2 },
  ]);
  for (const receipt of receipts) {
    assert.deepEqual(verifyReceipt(receipt, { publicKeys: [key.publicKey] }), {
      valid: true,
      outcome: "signed",
    });
    assert.deepEqual(await client.verifyReceipt(receipt), { valid: true, outcome: "signed" });
  }
});

test("what a client reads comes in pages, bounded by count and by bytes, in both directions", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  const { store } = rig;
  const items = Array.from({ length: 250 }, (_, n) => ({ ...USER, kind: KIND, payload: n }));
  for (let i = 0; i < 10; i++) store.appendBatch(items);
  for (let i = 0; i < 5; i++) store.append(USER, KIND, new Uint8Array(600_000).fill(i));
  const expected = store.query().map((event) => event.eventId);
  assert.equal(expected.length, 2506);
  assert.deepEqual((await client.query()).map((event) => event.eventId), expected);
  const backwards = await Array.fromAsync(client.events({}, { reverse: true }));
  assert.deepEqual(backwards.map((event) => event.eventId), expected.toReversed());
  const some = await client.queryAfter({ entity: "user" }, 100, 1500);
  assert.deepEqual(some.map((event) => event.globalSequence), numbers(101, 1601));
  assert.deepEqual(await client.queryAfter({}, undefined, 0), []);
  const lane = await Array.fromAsync(client.byEntity(USER.entity, { lane: 0, after: 10 }));
  assert.deepEqual(lane.map((event) => event.globalSequence), numbers(11, 2506));
  const { ancestors, boundary } = await client.walkAncestors(expected[2505]);
  assert.deepEqual(ancestors.map((event) => event.clock), numbers(0, 2505).reverse());
  assert.deepEqual(boundary, { type: "ReachedGenesis" });
  const limited = await client.walkAncestors(expected[2505], 2000);
  assert.deepEqual([limited.ancestors.length, limited.boundary.type], [2000, "LimitReached"]);
});

test("a walk sees what was there when it began", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  for (let n = 0; n < 1500; n++) rig.store.append(USER, KIND, n);
  let count = 0;
  for await (const _ of client.events({ entity: USER.entity })) {
    if (count++ % 500 === 0) rig.store.append(USER, KIND, "later");
  }
  assert.equal(count, 1500);
});

test("a long line of causes and effects comes in pages", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  const root = rig.store.append(USER, KIND, "root");
  let last = root;
  for (let n = 0; n < 1500; n++) {
    last = rig.store.append(USER, KIND, n, { causationId: last.eventId });
    rig.store.append(USER, KIND, n, { causationId: root.eventId });
  }
  const causes = await client.causes(last.eventId);
  assert.deepEqual(causes.length, 1500);
  assert.equal(causes.at(-1)?.eventId, root.eventId);
  assert.equal((await client.causes(last.eventId, 1024)).length, 1024);
  assert.equal((await client.effects(root.eventId)).length, 1501);
});

test("requests of one client are done in the order they were asked, awaited or not", async () => {
  using rig = new Rig({ store: { sync: { everyNEvents: 7 } } });
  await using client = await rig.connect({ inFlight: { requests: 10 } });
  const answered: number[] = [];
  const all = numbers(0, 500).map((n) =>
    client.append(USER, KIND, n, n % 3 === 0 ? DURABLE : {}).then(() => answered.push(n))
  );
  // A read comes after every append that was asked for before it.
  const latest = client.latest(USER.entity);
  await Promise.all(all);
  assert.deepEqual(rig.payloads(), numbers(0, 500));
  assert.deepEqual(answered, numbers(0, 500));
  assert.equal((await latest)?.payload, 499);
});

test("durable appends of all clients that wait share one sync", async () => {
  using rig = new Rig({ serve: { commitCountMax: 1000 } });
  const clients = await Promise.all(numbers(0, 4).map(() => rig.connect()));
  const before = rig.fs.syncCount;
  await Promise.all(
    clients.flatMap((client) => numbers(0, 50).map((n) => client.append(USER, KIND, n, DURABLE))),
  );
  assert.equal(rig.fs.syncCount - before, 1);
  assert.equal(rig.store.durableSequence, rig.store.stats().nextSequence);
  await Promise.all(clients.map((client) => client.close()));
});

test("commitCountMax bounds what waits for one sync", async () => {
  using rig = new Rig({ serve: { commitCountMax: 10 } });
  await using client = await rig.connect();
  const before = rig.fs.syncCount;
  await Promise.all(numbers(0, 40).map((n) => client.append(USER, KIND, n, DURABLE)));
  assert.equal(rig.fs.syncCount - before, 4);
});

test("an append that need not be durable is answered without a sync", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  const before = rig.fs.syncCount;
  for (let n = 0; n < 20; n++) await client.append(USER, KIND, n);
  assert.equal(rig.fs.syncCount, before);
  assert.ok(rig.store.durableSequence < rig.store.stats().nextSequence);
  await client.sync();
  assert.equal(rig.store.durableSequence, rig.store.stats().nextSequence);
});

test("a store that syncs every append does so for clients too, once for all that wait", async () => {
  using rig = new Rig({ store: { sync: { everyNEvents: 1 } } });
  await using client = await rig.connect();
  const before = rig.fs.syncCount;
  const receipts = await Promise.all(numbers(0, 30).map((n) => client.append(USER, KIND, n)));
  assert.equal(rig.fs.syncCount - before, 1);
  assert.ok(rig.store.durableSequence > receipts[29].globalSequence);
});

test("a repeated durable append is answered only when the first one is durable", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  const key = { idempotencyKey: "once" };
  const first = await client.append(USER, KIND, 1, key);
  assert.ok(rig.store.durableSequence <= first.globalSequence);
  const again = await client.append(USER, KIND, 2, { ...key, ...DURABLE });
  assert.deepEqual([again.eventId, again.replayed], [first.eventId, true]);
  assert.ok(rig.store.durableSequence > first.globalSequence);
});

test("a failed sync fails all that wait for it, and everything after it", async () => {
  using rig = new Rig();
  const clients = await Promise.all(numbers(0, 3).map(() => rig.connect()));
  rig.fs.failNext({ op: "sync", code: "EIO" });
  const outcomes = await Promise.allSettled(clients.flatMap((client, i) => [
    client.append(USER, KIND, `written ${i}`),
    client.append(USER, KIND, `durable ${i}`, DURABLE),
    client.append(USER, KIND, `behind ${i}`),
  ]));
  outcomes.forEach((outcome, i) => {
    if (i % 3 === 1) {
      assert.ok(outcome.status === "rejected" && outcome.reason instanceof WriterCrashedError);
      assert.equal((outcome.reason.cause as { code: string }).code, "EIO");
    } else assert.equal(outcome.status, "fulfilled");
  });
  assert.ok(await failureOf(clients[0].append(USER, KIND, 1)) instanceof WriterCrashedError);
  assert.ok(await failureOf(clients[1].sync()) instanceof WriterCrashedError);
  // Reads go on.
  assert.equal((await clients[2].query({ entity: USER.entity })).length, 9);
  assert.throws(() => rig.host.close(), WriterCrashedError);
});

test("errors arrive as instances of their classes", async () => {
  using rig = new Rig({ store: { singleAppendMaxBytes: 1000, batch: { maxSize: 3 } } });
  await using client = await rig.connect();
  await client.append(USER, KIND, 1);
  const conflict = await failureOf(client.append(USER, KIND, 2, { expectedClock: "none" }));
  assert.ok(conflict instanceof ClockConflictError);
  assert.deepEqual(conflict.conflict, { entity: "user:1", lane: 0, expected: "none", actual: 0 });
  const condition = await failureOf(
    client.append(USER, KIND, 2, { failIf: { region: { entity: "user" }, after: 0 } }),
  );
  assert.ok(condition instanceof ConditionConflictError);
  assert.equal(condition.conflicts[0].globalSequence, 1);
  assert.ok(
    await failureOf(client.append(USER, EventKind.SYSTEM_DENIAL, 1)) instanceof ReservedKindError,
  );
  assert.ok(await failureOf(client.append(USER, KIND, () => {})) instanceof SerializationError);
  assert.ok(await failureOf(client.append(USER, KIND, 1, { tags: [""] })) instanceof TagError);
  assert.ok(
    await failureOf(client.append(USER, KIND, "x".repeat(1001))) instanceof TooLargeError,
  );
  await assert.rejects(client.append({ entity: "", scope: "app" }, KIND, 1), {
    code: "COORDINATE",
  });
  await assert.rejects(client.append(USER, KIND, 1, { lane: -1 }), RangeError);
  await assert.rejects(client.append(USER, KIND, 1, { lain: 1 } as never), TypeError);
  await assert.rejects(client.get("no id"), { code: "ID", reason: "WrongLength" });
  await assert.rejects(client.events({}, { after: -5 }).next(), RangeError);
  await assert.rejects(client.query({ category: 16 }), { code: "REGION" });
  const items = numbers(0, 4).map((n) => ({ ...USER, kind: KIND, payload: n }));
  await assert.rejects(client.appendBatch(items), { code: "TOO_LARGE", limit: 3 });
  const batch = await failureOf(
    client.appendBatch([items[0], { ...items[1], tags: ["ok", "\n"] }]),
  );
  assert.ok(batch instanceof BatchError);
  assert.ok(batch.index === 1 && batch.cause instanceof TagError);
  await assert.rejects(
    client.appendBatch([{ ...items[0], idempotencyKey: "k" }, items[1]]),
    { code: "IDEMPOTENCY" },
  );
  // Nothing of all that was written, and the client goes on.
  assert.deepEqual(rig.payloads(), [1]);
  assert.equal((await client.append(USER, KIND, 2, { expectedClock: 0 })).clock, 1);
});

test("a definition checks and stamps where its caller is, and the host never needs it", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  const order = defineEvent({
    name: "order",
    kind: "F:002",
    version: 3,
    upcast: { 1: (payload) => payload, 2: (payload) => payload },
    schema: z.object({ total: z.number().min(1, "too small") }),
  });
  const refused = await failureOf(client.append(USER, order, { total: 0 }));
  assert.ok(refused instanceof ValidationError);
  assert.deepEqual(refused.issues, [{ message: "too small", path: ["total"] }]);
  const { eventId } = await client.append(USER, order, { total: 5 });
  const event = (await client.get(eventId))!;
  assert.deepEqual([event.payloadVersion, event.decode(order)], [3, { total: 5 }]);
  const other = defineEvent({ name: "another", kind: "F:002" });
  await assert.rejects(client.append(USER, other, 1), { code: "EVENT_REGISTRY" });
});

test("a payload may be changed as soon as it was appended", async () => {
  using rig = new Rig();
  await using client = await rig.connect({ inFlight: { requests: 1 } });
  const payload = { n: 0 };
  const appends = numbers(0, 5).map((n) => {
    payload.n = n;
    return client.append(USER, KIND, payload);
  });
  payload.n = 99;
  await Promise.all(appends);
  assert.deepEqual(rig.payloads(), numbers(0, 5).map((n) => ({ n })));
});

test("an append made while another one is prepared goes first, and both are whole", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  const inner: Promise<Receipt>[] = [];
  const outer = {
    get n() {
      inner.push(client.append(USER, KIND, "inner"));
      return "outer";
    },
  };
  await client.append(USER, KIND, outer);
  await client.appendBatch([{ ...USER, kind: KIND, payload: outer }]);
  await Promise.all(inner);
  // A getter is read twice: once to count what is there, once to write it.
  const once = ["inner", "inner", { n: "outer" }];
  assert.deepEqual(rig.payloads(), [...once, ...once]);
});

test("large payloads arrive whole, also beyond what may be on its way", async () => {
  using rig = new Rig({ serve: { clientBytesMax: 1024 } });
  await using client = await rig.connect();
  const sizes = [10, 1000, 5000, 200_000, 3_000_000, 1];
  await Promise.all(
    sizes.map((size) => client.append(USER, KIND, new Uint8Array(size).fill(size))),
  );
  assert.deepEqual(
    (await client.query({ entity: USER.entity })).map((e) => (e.payload as Uint8Array).byteLength),
    sizes,
  );
});

test("a client has no more on its way than it may, and what comes on top is sent later", async () => {
  using rig = new Rig();
  const { port, heard, until } = rig.speak();
  port.postMessage(HELLO);
  await until(1);
  // A host that answers nothing: what arrives is counted.
  const { port1, port2 } = new MessageChannel();
  const connecting = StoreClient.connect(port2, { inFlight: { requests: 5 } });
  const requests: unknown[] = [];
  port1.onmessage = ({ data }) => {
    if (data.type === "hello") {
      port1.postMessage({ ...heard[0] as object });
    } else requests.push(data);
  };
  const client = await connecting;
  const appends = numbers(0, 20).map((n) => client.append(USER, KIND, n));
  await turns(5);
  assert.equal(requests.length, 1);
  const size = (requests[0] as ArrayBuffer).byteLength;
  client.disconnect();
  const failures = await Promise.all(appends.map(failureOf)) as HostError[];
  // Five have left, and may have been done.
  assert.deepEqual(
    failures.map(({ outcomeUnknown }) => outcomeUnknown),
    numbers(0, 20).map((n) => n < 5),
  );
  assert.ok(size < 5 * 60, `${size} bytes for five`);
  port1.close();
});

test("a client that has more on its way than it may is cut off, and nobody else notices", async () => {
  using rig = new Rig({ serve: { clientRequestsMax: 4 } });
  await using other = await rig.connect();
  const request = await recorded(rig, (client) => void client.append(USER, KIND, "x", DURABLE));
  const { port, until } = rig.speak();
  port.postMessage(HELLO);
  await until(1);
  for (let i = 0; i < 5; i++) port.postMessage(request);
  const end = (await until(2)).at(-1) as { type: string; error: Uint8Array };
  assert.equal(end.type, "end");
  const error = decodeError(end.error) as HostError;
  assert.deepEqual([error.name, error.code, error.reason], ["HostError", "HOST", "cutOff"]);
  await other.append(USER, KIND, "fine");
  assert.deepEqual(rig.payloads(), ["x", "x", "x", "x", "fine"]);
  assert.equal(rig.host.clientCount, 1);
});

test("a message that is none ends its client and nobody else", async () => {
  using rig = new Rig();
  await using other = await rig.connect();
  const request = new Uint8Array(
    await recorded(rig, (client) =>
      void client.append(USER, KIND, "x", {
        tags: ["t"],
        extensions: { "a.b": Uint8Array.of(1) },
        idempotencyKey: "k",
        failIf: { tags: ["never"] },
      })),
  );
  const strange: unknown[] = [
    null,
    7,
    "text",
    {},
    { type: "call" },
    { type: "call", id: 1, name: "get", args: 7 },
    { type: "open", port: 7 },
    { type: "hello" },
    new ArrayBuffer(3),
    new ArrayBuffer(64),
    request.slice(0, -1).buffer,
    Uint8Array.of(...request, 0).buffer,
  ];
  for (const message of strange) {
    const { port, until } = rig.speak();
    port.postMessage(HELLO);
    await until(1);
    port.postMessage(message);
    // What stands in front of it is done and answered.
    const end = (await until(message === strange.at(-1) ? 3 : 2)).at(-1) as {
      type: string;
      error: Uint8Array;
    };
    assert.equal(end.type, "end", String(message));
    assert.equal((decodeError(end.error) as HostError).reason, "cutOff");
  }
  for (const hello of [null, {}, { type: "hello", version: 99 }, { ...HELLO, bell: 7 }]) {
    const { port, until } = rig.speak();
    port.postMessage(hello);
    assert.equal((await until(1))[0] && ((await until(1))[0] as { type: string }).type, "end");
  }
  assert.deepEqual(rig.payloads(), ["x"]);
  await other.append(USER, KIND, "fine");
  assert.equal(rig.host.clientCount, 1);
});

// A hundred bytes in which twenty arrays claim 33 million elements each, one inside the other, ended the
// whole program of a host. They end their client now.
test("a request whose options claim more than there is ends its client and nobody else", async () => {
  using rig = new Rig();
  await using other = await rig.connect();
  const options = Array.from({ length: 20 }, () => [0xdd, 0x01, 0xff, 0xff, 0xff]).flat();
  const request = Uint8Array.of(
    ...[0, 0, 0, 16 + options.length], // its size
    ...[0, 0, 0, 1], // its id
    ...[4, 0, 0, 1], // there is more to say; one draft
    ...[0, 0, 0, options.length],
    ...options,
  );
  const { port, until } = rig.speak();
  port.postMessage(HELLO);
  await until(1);
  port.postMessage(request.buffer);
  const end = (await until(2))[1] as { type: string; error: Uint8Array };
  assert.equal(end.type, "end");
  const error = decodeError(end.error) as HostError;
  assert.equal(error.detail, "the options of a request are not MessagePack");
  const { cause } = error.cause as Error;
  assert.equal((cause as Error).message, "the lengths in it are greater than the payload");
  await other.append(USER, KIND, "fine");
  assert.equal(rig.host.clientCount, 1);
});

test("a request with any byte changed is an error, an end, or an append; the host lives on", async () => {
  const seed = Number(Date.now() % 1e6);
  const random = seededRandom(seed);
  using rig = new Rig();
  await using other = await rig.connect();
  const request = new Uint8Array(
    await recorded(rig, (client) =>
      void client.appendBatch([
        { ...USER, kind: KIND, payload: "x", tags: ["t"], extensions: { "a.b": Uint8Array.of(1) } },
        { ...USER, kind: KIND, payload: "y", causationItem: 0 },
      ], { failIf: { tags: ["never"] } })),
  );
  for (let run = 0; run < 300; run++) {
    const bytes = request.slice();
    const at = Math.floor(random() * bytes.byteLength);
    bytes[at] ^= 1 + Math.floor(random() * 255);
    const { port, until } = rig.speak();
    port.postMessage(HELLO);
    await until(1);
    port.postMessage(bytes.buffer);
    const answer = (await until(2))[1];
    assert.ok(
      answer instanceof ArrayBuffer || (answer as { type: string }).type === "end",
      `seed ${seed}, byte ${at}`,
    );
    port.postMessage({ type: "bye" });
  }
  const found = await other.query();
  for (const event of found) assert.ok(event.eventHash.byteLength === 32, `seed ${seed}`);
});

test("a client that goes away leaves nothing behind, whatever it was doing", async () => {
  using rig = new Rig();
  await using other = await rig.connect();
  for (let i = 0; i < 10; i++) {
    const client = await rig.connect();
    const open = numbers(0, i).map((n) => client.append(USER, KIND, n, DURABLE));
    const failures = Promise.all(open.map(failureOf));
    client.disconnect();
    client.disconnect();
    for (const failure of await failures) {
      assert.ok(failure instanceof HostError && failure.reason === "disconnected");
    }
    await assert.rejects(client.get("x"), { code: "HOST", reason: "disconnected" });
  }
  await other.append(USER, KIND, "fine", DURABLE);
  assert.equal(rig.host.clientCount, 1);
});

test("close() of a client waits until everything is answered", async () => {
  using rig = new Rig();
  const client = await rig.connect({ inFlight: { requests: 2 } });
  const appends = numbers(0, 50).map((n) => client.append(USER, KIND, n, DURABLE));
  await client.close();
  await client.close();
  assert.equal((await Promise.all(appends)).length, 50);
  await assert.rejects(client.append(USER, KIND, 1), { code: "HOST", reason: "disconnected" });
});

test("shutdown() answers what was asked before, and tells everybody; a second one does nothing", async () => {
  const rig = new Rig();
  const first = await rig.connect();
  const second = await rig.connect();
  const appends = numbers(0, 20).map((n) => first.append(USER, KIND, n, DURABLE));
  await Promise.all([first.shutdown(), first.shutdown()]);
  assert.equal((await Promise.all(appends)).length, 20);
  await assert.rejects(first.append(USER, KIND, 1), { code: "HOST", reason: "closed" });
  await turns(3);
  await assert.rejects(second.append(USER, KIND, 1), { code: "HOST", reason: "closed" });
  await second.shutdown();
  await second.close();
  assert.throws(() => rig.host.openPort(), { code: "HOST", reason: "closed" });
  rig.host.close();
  assert.throws(() => rig.store.sync(), { code: "STORE_CLOSED" });
  using again = Store.open("journal", { fs: rig.fs });
  assert.equal(again.query({ entity: USER.entity }).length, 20);
});

test("shutdown() of a client that may not is refused", async () => {
  using rig = new Rig();
  await using client = await StoreClient.connect(rig.host.openPort());
  await assert.rejects(client.shutdown(), { code: "HOST", reason: "notAllowed" });
  await using child = await StoreClient.connect(client.openPort({ mayShutdown: true }));
  await assert.rejects(child.shutdown(), { code: "HOST", reason: "notAllowed" });
  await child.append(USER, KIND, 1);
});

test("shutdown() says when closing could not make everything durable", async () => {
  const rig = new Rig();
  const client = await rig.connect();
  await client.append(USER, KIND, 1);
  rig.fs.failNext({ op: "sync", code: "EIO" });
  assert.ok(await failureOf(client.shutdown()) instanceof WriterCrashedError);
  Store.open("journal", { fs: rig.fs.snapshot() }).close();
});

test("a port of a client serves a further client, with an order of its own", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  const children = await Promise.all(
    numbers(0, 5).map(() => StoreClient.connect(client.openPort())),
  );
  await Promise.all(
    children.flatMap((child, i) =>
      numbers(0, 20).map((n) => child.append({ entity: `child:${i}`, scope: "app" }, KIND, n))
    ),
  );
  for (const i of numbers(0, 5)) assert.deepEqual(rig.payloads(`child:${i}`), numbers(0, 20));
  await Promise.all(children.map((child) => child.close()));
  await turns(3);
  assert.equal(rig.host.clientCount, 1);
});

test("a host takes so many clients and no more", async () => {
  using rig = new Rig({ serve: { clientsMax: 2 } });
  const clients = [await rig.connect(), await rig.connect()];
  await assert.rejects(rig.connect(), { code: "HOST", reason: "cutOff" });
  await clients[0].close();
  await turns(3);
  await (await rig.connect()).close();
  await clients[1].close();
});

test("a client whose host says nothing any more gives up, and says that the outcome is unknown", async () => {
  const { port1, port2 } = new MessageChannel();
  using rig = new Rig();
  const { port, heard, until } = rig.speak();
  port.postMessage(HELLO);
  await until(1);
  port1.onmessage = ({ data }) => data.type === "hello" && port1.postMessage(heard[0]);
  const client = await StoreClient.connect(port2, { silenceMaxMs: 100 });
  const failure = await failureOf(client.append(USER, KIND, 1));
  assert.ok(failure instanceof HostError);
  assert.deepEqual([failure.reason, failure.outcomeUnknown], ["died", true]);
  await assert.rejects(client.sync(), { code: "HOST", reason: "died" });
  port1.close();
});

test("connect() gives up on a port that nobody answers, and on what is no port", async () => {
  const { port1, port2 } = new MessageChannel();
  await assert.rejects(StoreClient.connect(port2, { connectTimeoutMs: 50 }), {
    code: "HOST",
    reason: "timeout",
  });
  port1.close();
  await assert.rejects(StoreClient.connect({} as never), TypeError);
  await assert.rejects(StoreClient.connect(port2, { inFlight: { requests: 0 } }), RangeError);
  await assert.rejects(StoreClient.connect(port2, { typo: 1 } as never), TypeError);
  using store = Store.open("journal", { fs: new MemoryFs() });
  assert.throws(() => new StoreHost(store, { commitCountMax: 0 }), RangeError);
  assert.throws(() => new StoreHost(store, { commitMax: 0 } as never), TypeError);
});

test("a fence of a client is seen at once, or never", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  await using other = await rig.connect();
  const fence = await client.beginFence();
  const staged = await fence.append(USER, KIND, 1, { idempotencyKey: "k", expectedClock: "none" });
  const batch = await fence.appendBatch([
    { ...USER, kind: KIND, payload: 2 },
    { ...USER, kind: KIND, payload: 3 },
  ]);
  assert.deepEqual([staged.clock, batch[1].clock], [0, 2]);
  assert.deepEqual(await other.query({ entity: USER.entity }), []);
  await assert.rejects(other.append(USER, KIND, 4), { code: "FENCE_ACTIVE" });
  await assert.rejects(client.append(USER, KIND, 4), { code: "FENCE_ACTIVE" });
  await assert.rejects(other.beginFence(), { code: "FENCE_ACTIVE" });
  await assert.rejects(fence.append(USER, KIND, 4, { expectedClock: 0 }), {
    code: "CLOCK_CONFLICT",
  });
  const receipts = await fence.commit();
  assert.deepEqual(receipts.map((receipt) => receipt.clock), [0, 1, 2]);
  for (const receipt of receipts) assert.ok((await other.verifyReceipt(receipt)).valid);
  assert.deepEqual(rig.payloads(), [1, 2, 3]);
  assert.ok(rig.store.durableSequence > receipts[2].globalSequence);
  await assert.rejects(fence.append(USER, KIND, 4), { code: "FENCE_NOT_ACTIVE" });
  await assert.rejects(fence.commit(), { code: "FENCE_NOT_ACTIVE" });

  {
    await using cancelled = await client.beginFence();
    void cancelled.append(USER, KIND, "never");
  }
  const [late] = await Promise.all([client.beginFence()]);
  const open = [late.append(USER, KIND, 5), late.append(USER, KIND, 6, DURABLE)];
  // Nobody waited for what was staged: it is part of it all the same.
  assert.equal((await late.commit()).length, 2);
  await Promise.all(open);
  assert.deepEqual(rig.payloads(), [1, 2, 3, 5, 6]);
});

test("a fence belongs to its client", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  const fence = await client.beginFence();
  const { port, until } = rig.speak();
  port.postMessage(HELLO);
  await until(1);
  port.postMessage({ type: "call", id: 1, name: "endFence", args: [fence.token, true] });
  const answer = (await until(2))[1] as { type: string; error: Uint8Array };
  assert.equal((decodeError(answer.error) as { code: string }).code, "FENCE_NOT_ACTIVE");
  await fence.append(USER, KIND, 1);
  await fence.commit();
  port.postMessage({ type: "bye" });
});

test("a fence whose client goes is cancelled, whichever way it goes", async () => {
  using rig = new Rig();
  await using other = await rig.connect();
  for (const way of ["close", "disconnect"] as const) {
    const client = await rig.connect();
    const fence = await client.beginFence();
    await fence.append(USER, KIND, "never");
    await client[way]();
    await turns(3);
    await other.append(USER, KIND, way);
    await assert.rejects(fence.commit(), { code: "HOST", reason: "disconnected" });
  }
  assert.deepEqual(rig.payloads(), ["close", "disconnect"]);
  const last = await rig.connect();
  await (await last.beginFence()).append(USER, KIND, "never");
  await other.shutdown();
  using again = Store.open("journal", { fs: rig.fs });
  assert.deepEqual(again.query({ entity: USER.entity }).map((e) => e.payload), [
    "close",
    "disconnect",
  ]);
  // Its end stands in the log: the next open had nothing to cancel.
  assert.deepEqual(again.openReport.oddities, []);
});

test("a client reads watermarks without a message, and waits for them", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  const receipt = await client.append(USER, KIND, 1);
  assert.equal(client.frontier().durable.globalSequence, 0);
  assert.equal(client.frontier().visible.globalSequence, receipt.globalSequence);
  await client.waitForVisible(receipt.globalSequence, { timeoutMs: 0 });
  await assert.rejects(client.waitForDurable(receipt.globalSequence, { timeoutMs: 5 }), {
    code: "WAIT_TIMEOUT",
    watermark: "durable",
    target: 1,
  });
  const waiting = client.waitForDurable(receipt.globalSequence, { timeoutMs: 10_000 });
  await client.sync();
  await waiting;
  await assert.rejects(client.waitFor("typo" as never, 1, { timeoutMs: 1 }), TypeError);
  await assert.rejects(
    client.waitFor("durable", 99, { timeoutMs: 10_000, signal: AbortSignal.abort("enough") }),
    (reason) => reason === "enough",
  );
  const never = client.waitForApplied(99, { timeoutMs: 10_000 });
  const failed = failureOf(never);
  client.disconnect();
  assert.equal((await failed as HostError).reason, "disconnected");
});

test("a client waits for lanes, also for those that are not in shared memory", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  for (let lane = 0; lane < 200; lane++) await client.append(USER, KIND, lane, { lane });
  for (const lane of [0, 5, 199]) {
    const { globalSequence } = (await client.latest(USER.entity, lane))!;
    await client.waitForVisible(globalSequence, { timeoutMs: 1000, lane });
    await assert.rejects(client.waitForDurable(globalSequence, { timeoutMs: 5, lane }), {
      code: "WAIT_TIMEOUT",
      lane,
    });
    const signal = AbortSignal.timeout(20);
    await assert.rejects(
      client.waitForDurable(globalSequence, { timeoutMs: 10_000, lane, signal }),
      { name: "TimeoutError" },
    );
  }
});

// Such waits took the room of requests: a client with as many as it could have on its way could not send
// the very append they waited for, nor close. They stand beside the requests now, and are bounded too.
test("a client that waits for lanes at its host can still append, and close", async () => {
  using rig = new Rig({ serve: { clientRequestsMax: 3 } });
  const client = await rig.connect();
  for (let lane = 0; lane < 70; lane++) await client.append(USER, KIND, lane, { lane });
  const lane = 69;
  const target = rig.store.stats().nextSequence;
  const waits = [1, 2, 3].map(() => client.waitForVisible(target, { timeoutMs: 60_000, lane }));
  await assert.rejects(client.waitForVisible(target, { timeoutMs: 60_000, lane }), {
    name: "RangeError",
    message: "Cannot wait for more than 3 things at a time",
  });
  assert.equal((await client.append(USER, KIND, "last", { lane })).globalSequence, target);
  await Promise.all(waits);

  // One that is abandoned makes room for another one.
  for (let i = 0; i < 5; i++) {
    const signal = AbortSignal.timeout(5);
    const waiting = client.waitForVisible(target + 1, { timeoutMs: 60_000, lane, signal });
    await assert.rejects(waiting, { name: "TimeoutError" });
  }
  const never = failureOf(client.waitForVisible(target + 1, { timeoutMs: 60_000, lane }));
  await client.append(USER, KIND, "more");
  await client.close();
  const { reason, outcomeUnknown } = await never as HostError;
  assert.deepEqual([reason, outcomeUnknown], ["disconnected", false]);
});

test("a gate answers when its watermark covers the append, and does nothing to the append", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  const gate = { watermark: "durable", timeoutMs: 5 } as const;
  await assert.rejects(client.append(USER, KIND, 1, { gate }), { code: "WAIT_TIMEOUT" });
  const items = [{ ...USER, kind: KIND, payload: 2 }, { ...USER, kind: KIND, payload: 3 }];
  await assert.rejects(client.appendBatch(items, { gate }), { code: "WAIT_TIMEOUT", target: 3 });
  assert.deepEqual(rig.payloads(), [1, 2, 3]);
  const long = { gate: { watermark: "durable", timeoutMs: 10_000 } } as const;
  const gated = client.append(USER, KIND, 4, long);
  const batch = client.appendBatch(items, long);
  await client.append(USER, KIND, 5, DURABLE);
  assert.equal((await gated).clock, 3);
  assert.equal((await batch).length, 2);
  await client.append(USER, KIND, 6, { gate: { watermark: "visible", timeoutMs: 0 } });
  await assert.rejects(
    client.append(USER, KIND, 7, { gate: { watermark: "odd" as never, timeoutMs: 0 } }),
    TypeError,
  );
});

// Its owner could close a store under its host: clients that waited for a sync were told of a failure,
// though the close had synced, and nobody told the others anything. It is refused now, and `using` tells all.
test("a store is not closed while a host serves it, and `using` ends what the clients began", async () => {
  for (const fault of [false, true]) {
    const rig = new Rig();
    const client = await rig.connect();
    await client.append(USER, KIND, "first");
    assert.throws(() => rig.store.close(), StoreInUseError);
    const { appendDraft } = rig.store;
    rig.store.appendDraft = function (...args) {
      const receipt = appendDraft.apply(this, args);
      // Before the turn that the sync waits for.
      queueMicrotask(() => {
        if (fault) rig.fs.failNext({ op: "sync", code: "EIO" });
        try {
          this[Symbol.dispose]();
        } catch (error) {
          assert.ok(fault && error instanceof WriterCrashedError);
        }
      });
      return receipt;
    };
    const waiting = client.append(USER, KIND, "last", DURABLE);
    if (fault) await assert.rejects(waiting, WriterCrashedError);
    else assert.equal((await waiting).globalSequence, 2);
    await assert.rejects(client.append(USER, KIND, "late"), { code: "HOST", reason: "closed" });
    assert.equal(rig.host.clientCount, 0);
    assert.throws(() => rig.host.openPort(), { reason: "closed" });
    rig.host.close();
  }
});

test("a store that somebody follows in its own realm is not closed by a client", async () => {
  using rig = new Rig();
  await using client = await rig.connect();
  await using other = await rig.connect();
  const worker = startCursorWorker(rig.store, {}, {}, () => "continue");
  const fence = await other.beginFence();
  await fence.append(USER, KIND, 0);
  await assert.rejects(client.shutdown(), { code: "STORE_IN_USE" });
  // Nothing has happened to anybody: a refused close used to cancel the fences of all clients.
  assert.equal((await fence.commit()).length, 1);
  await client.append(USER, KIND, 1);
  await worker.stopAndJoin();
});

test("J-02 a store driven through a client gives the same events twice", async () => {
  const runs = [];
  for (let run = 0; run < 2; run++) {
    using rig = new Rig();
    await using client = await rig.connect();
    const receipts = await Promise.all(
      numbers(0, 5).map((n) => client.append(USER, KIND, { n }, n % 2 === 0 ? DURABLE : {})),
    );
    assert.deepEqual(receipts.map((r) => r.globalSequence), [1, 2, 3, 4, 5]);
    assert.deepEqual(rig.payloads(), numbers(0, 5).map((n) => ({ n })));
    runs.push(receipts.map((r) => [r.globalSequence, r.contentHash]));
  }
  assert.deepEqual(runs[0], runs[1]);
});

function numbers(start: number, end: number): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i);
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await new Promise<void>((resolve) => runtime.scheduler.delay(5, resolve));
  }
}

/** The bytes that a client sends for what is asked of it. */
async function recorded(rig: Rig, ask: (client: StoreClient) => void): Promise<ArrayBuffer> {
  const { port, heard, until } = rig.speak();
  port.postMessage(HELLO);
  await until(1);
  port.postMessage({ type: "bye" });
  const { port1, port2 } = new MessageChannel();
  const request = new Promise<ArrayBuffer>((resolve) =>
    port1.onmessage = ({ data }) => {
      if (data.type === "hello") port1.postMessage(heard[0]);
      else if (data instanceof ArrayBuffer) resolve(data);
    }
  );
  const client = await StoreClient.connect(port2);
  // What is asked here is never answered.
  const unanswered = (reason: unknown) => assert.ok(reason instanceof HostError);
  const append = client.append.bind(client);
  client.append = (...args) => {
    const promise = append(...args);
    promise.catch(unanswered);
    return promise;
  };
  const appendBatch = client.appendBatch.bind(client);
  client.appendBatch = (...args) => {
    const promise = appendBatch(...args);
    promise.catch(unanswered);
    return promise;
  };
  ask(client);
  const bytes = await request;
  client.disconnect();
  port1.close();
  return bytes;
}
