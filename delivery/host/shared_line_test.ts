// Many clients on one port, and what one of them does to the others: nothing.
import assert from "node:assert/strict";
import { test } from "node:test";
import { newChannel } from "../../platform/realm.ts";
import { runtime } from "../../platform/runtime.ts";
import { inTempDir } from "../../platform/testdata/processes.ts";
import { writeU32 } from "../../store/bytes.ts";
import { decodeError } from "./error_codec.ts";
import { GrowingBytes } from "./growing_bytes.ts";
import { HostError } from "./host_error.ts";
import type { Channel, ChannelListener } from "./channel.ts";
import { PROTOCOL_VERSION } from "./messages.ts";
import { RequestWriter } from "./request_writer.ts";
import { SharedLine } from "./shared_line.ts";
import { StoreClient } from "./store_client.ts";
import { DURABLE, failureOf, KIND, Rig, USER } from "./testdata/rig.ts";

const HELLO = { type: "hello", version: PROTOCOL_VERSION };
const LINE_HELLO = { ...HELLO, line: true };

/** What a channel has heard: bytes as an array, objects as they are, "end" for its end. */
class Ears implements ChannelListener {
  readonly heard: unknown[] = [];
  readonly unsent: unknown[] = [];
  onBytes(bytes: Uint8Array): void {
    this.heard.push([...bytes]);
  }
  onObject(message: unknown): void {
    this.heard.push(message);
  }
  onEnd(): void {
    this.heard.push("end");
  }
  onUnsent(message: unknown): void {
    this.unsent.push(message);
  }
}

/** Two ends of a line, with everything that arrives at the far one and how many messages brought it. */
function linePair() {
  const { port1, port2 } = newChannel();
  const log: { channel: number; what: unknown }[] = [];
  const accepted: Channel[] = [];
  const ends: (string | undefined)[] = [];
  const near = new SharedLine(port1, { onEnd: () => {} });
  const far = new SharedLine(port2, {
    onOpen(channel) {
      const index = accepted.push(channel) - 1;
      const note = (what: unknown) => void log.push({ channel: index, what });
      channel.listen({
        onBytes: (bytes) => note([...bytes]),
        onObject(message) {
          note(message);
        },
        onEnd: () => note("end"),
        onUnsent: () => {},
      });
    },
    opensMax: 10,
    onEnd: (reason) => ends.push(reason?.message),
  });
  let messageCount = 0;
  port2.addEventListener("message", () => messageCount++);
  return { near, far, port1, log, accepted, ends, messageCount: () => messageCount };
}

function opened(line: SharedLine): { channel: Channel; ears: Ears } {
  const channel = line.open();
  const ears = new Ears();
  channel.listen(ears);
  return { channel, ears };
}

function bytesOf(...bytes: number[]): GrowingBytes {
  const out = new GrowingBytes();
  out.append(Uint8Array.from(bytes));
  return out;
}

test("SharedLine sends all that its channels post within a turn in one message, in order, but what is large", async () => {
  const { near, far, log, messageCount } = linePair();
  const a = opened(near).channel;
  const b = opened(near).channel;
  a.postBytes(bytesOf(1));
  b.post({ n: 2 });
  a.post({ n: 3 });
  b.postBytes(bytesOf(4, 5));
  const large = new GrowingBytes();
  large.append(new Uint8Array(40_000).fill(7));
  a.postBytes(large);
  a.postBytes(bytesOf(6));
  b.close();
  await until(() => log.length === 7);
  assert.deepEqual(log.filter(({ channel }) => channel === 0).map(({ what }) => what), [
    [1],
    { n: 3 },
    new Array(40_000).fill(7),
    [6],
  ]);
  assert.deepEqual(log.filter(({ channel }) => channel === 1).map(({ what }) => what), [
    { n: 2 },
    [4, 5],
    "end",
  ]);
  // What is large is handed over in a message of its own.
  assert.equal(messageCount(), 3);
  assert.equal(far.channelCount, 1);
  near.close();
  far.close();
});

test("SharedLine answers each channel, and drops what comes too late", async () => {
  const { near, far, log, accepted, ends } = linePair();
  const a = opened(near);
  const b = opened(near);
  a.channel.post("a");
  b.channel.post("b");
  await until(() => log.length === 2);
  accepted[0].close();
  accepted[1].post("answer");
  // The other side has ended it, and does not know this yet.
  a.channel.post("late");
  b.channel.post("more");
  await until(() => log.length === 3 && b.ears.heard.length === 1);
  assert.deepEqual(a.ears.heard, ["end"]);
  assert.deepEqual(b.ears.heard, ["answer"]);
  assert.deepEqual(log[2], { channel: 1, what: "more" });
  assert.deepEqual(ends, []);
  near.close();
  far.close();
});

test("SharedLine delivers to all channels when the listener of one throws, and then says so", () => {
  const ends: unknown[] = [];
  const wire = { onmessage: undefined as ((event: { data: unknown }) => void) | undefined };
  const port = {
    addEventListener() {},
    close() {},
    postMessage() {},
    set onmessage(deliver: (event: { data: unknown }) => void) {
      wire.onmessage = deliver;
    },
  };
  const heard: unknown[] = [];
  const line = new SharedLine(port as unknown as MessagePort, {
    onOpen(channel) {
      const onBytes = ([byte]: Uint8Array) => {
        heard.push(byte);
        if (byte === 1) throw new RangeError("the first one throws");
      };
      channel.listen({ onBytes, onObject() {}, onEnd() {}, onUnsent() {} });
    },
    onEnd: (reason) => ends.push(reason),
  });
  const data = Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 2, 0, 0, 0, 1, 2).buffer;
  assert.throws(() => wire.onmessage!({ data }), RangeError);
  assert.deepEqual(heard, [1, 2]);
  assert.equal(line.channelCount, 2);
  assert.deepEqual(ends, []);
});

test("SharedLine reports what cannot be copied to its channel, and sends the rest", async () => {
  const { near, far, log } = linePair();
  const a = opened(near);
  const b = opened(near);
  a.channel.postBytes(bytesOf(1));
  const bad = { id: 1, bad: () => {} };
  a.channel.post(bad);
  b.channel.post({ n: 2 });
  a.channel.postBytes(bytesOf(3));
  await until(() => log.length === 3);
  assert.deepEqual(log.map(({ what }) => what), [[1], { n: 2 }, [3]]);
  assert.deepEqual(a.ears.unsent, [bad]);
  assert.deepEqual(b.ears.unsent, []);
  near.close();
  far.close();
});

test("SharedLine ends as a whole when something comes that is no record", async () => {
  const record = (id: number, size: number, rest = 0) => {
    const bytes = new Uint8Array(8 + rest);
    writeU32(bytes, 0, id);
    writeU32(bytes, 4, size);
    return bytes.buffer;
  };
  const many = new Uint8Array(8 * 11);
  for (let i = 0; i < 11; i++) writeU32(many, i * 8, i + 2);
  const strange: [unknown, string][] = [
    [null, "a message on its line is none"],
    [{ bytes: 7, objects: [] }, "a message on its line is none"],
    [new ArrayBuffer(7), "a record on its line is cut short"],
    [record(1, 5, 4), "a record on its line is longer than its message"],
    [record(1, 2 ** 32 - 1), "a record on its line has no object"],
    [{ bytes: new ArrayBuffer(0), objects: [1] }, "an object on its line has no record"],
    [record(3, 0), "a record on its line is for a channel that nobody has opened"],
    [record(0, 0), "a record on its line is for a channel that nobody has opened"],
    [many.buffer, "its line opens too many channels at a time"],
  ];
  for (const [message, problem] of strange) {
    const { near, far, port1, log, ends } = linePair();
    opened(near).channel.post("hello");
    await until(() => log.length === 1);
    port1.postMessage(message);
    await until(() => ends.length === 1);
    assert.deepEqual(ends, [problem]);
    assert.deepEqual(log.filter(({ channel }) => channel === 0).at(-1)?.what, "end");
    near.close();
    far.close();
  }
});

/** A line on which nobody keeps to the protocol. */
async function spokenLine(rig: Rig) {
  const { port1, port2 } = newChannel();
  rig.host.accept(port1, false);
  port2.postMessage(LINE_HELLO);
  const whole: unknown[] = [];
  const line = new SharedLine(port2, {
    onObject: (message) => whole.push(message),
    onEnd: () => {},
  });
  const open = async () => {
    const { channel, ears } = opened(line);
    channel.post(HELLO);
    await until(() => ears.heard.length === 1);
    assert.equal((ears.heard[0] as { type: string }).type, "welcome");
    return { channel, ears };
  };
  return { port: port2, line, whole, open, first: await open() };
}

function reasonOf(message: unknown): string {
  const { type, error } = message as { type: string; error: Uint8Array };
  assert.equal(type, "end");
  return (decodeError(error) as HostError).reason;
}

test("a channel that sends garbage, or leaves a fence, ends alone", async () => {
  using rig = new Rig();
  await using other = await rig.connect();
  const { line, open, first } = await spokenLine(rig);
  const second = await open();
  const third = await open();
  assert.equal(rig.host.clientCount, 4);
  second.channel.postBytes(bytesOf(1, 2, 3));
  await until(() => second.ears.heard.at(-1) === "end");
  assert.equal(reasonOf(second.ears.heard[1]), "cutOff");
  third.channel.post({ type: "call", id: 1, name: "beginFence", args: [] });
  await until(() => third.ears.heard.length === 2);
  await assert.rejects(other.append(USER, KIND, 1), { code: "FENCE_ACTIVE" });
  third.channel.close();
  await until(() => rig.host.clientCount === 2);
  await other.append(USER, KIND, 1);
  first.channel.post({ type: "ping" });
  await until(() => first.ears.heard.length === 2);
  assert.deepEqual(first.ears.heard[1], { type: "pong" });
  line.close();
  await until(() => rig.host.clientCount === 1);
});

test("a channel that has more on its way than it may ends alone", async () => {
  using rig = new Rig({ serve: { clientRequestsMax: 4 } });
  const { line, open, first } = await spokenLine(rig);
  const greedy = await open();
  const lane = 69;
  rig.store.append(USER, KIND, 1, { lane });
  // Waits are bounded as requests are: the fifth is refused, and the channel goes on.
  for (let id = 1; id <= 5; id++) {
    const args = ["visible", 1000, { timeoutMs: 60_000, lane }];
    greedy.channel.post({ type: "call", id, name: "waitFor", args });
  }
  await until(() => greedy.ears.heard.length === 2);
  assert.equal((greedy.ears.heard[1] as { type: string }).type, "failed");
  const request = requestBytes();
  const five = new GrowingBytes();
  for (let i = 0; i < 5; i++) five.append(request);
  greedy.channel.postBytes(five);
  await until(() => greedy.ears.heard.at(-1) === "end");
  assert.equal(reasonOf(greedy.ears.heard.at(-2)), "cutOff");
  assert.deepEqual(rig.payloads(), [1, "x", "x", "x", "x"]);
  first.channel.postBytes(bytesOf(...request));
  await until(() => first.ears.heard.length === 2);
  assert.equal(rig.payloads().length, 6);
  line.close();
});

/** A durable append of "x", as a client sends it. */
function requestBytes(): Uint8Array {
  const limits = { singleAppendMaxBytes: 1000, batchMaxSize: 1, batchMaxBytes: 1000 };
  const out = new GrowingBytes();
  new RequestWriter(limits).append(out, 1, USER, KIND, "x", DURABLE, undefined);
  return new Uint8Array(out.take());
}

test("a hostile line is cut off as a whole, and no other port notices", async () => {
  using rig = new Rig({ serve: { clientsMax: 4 } });
  await using other = await rig.connect();
  const many = new Uint8Array(8 * 4200);
  for (let i = 0; i < 4200; i++) writeU32(many, i * 8, i + 2);
  for (const message of [new ArrayBuffer(3), many.buffer, { strange: true }]) {
    const { port, whole, first, line } = await spokenLine(rig);
    port.postMessage(message);
    await until(() => whole.length === 1);
    assert.equal(reasonOf(whole[0]), "cutOff");
    first.channel.post({ type: "ping" });
    await until(() => rig.host.clientCount === 1);
    await other.append(USER, KIND, "fine");
    line.close();
  }
  assert.deepEqual(rig.payloads(), ["fine", "fine", "fine"]);
});

test("clientsMax counts the channels of a line, and refuses one alone", async () => {
  using rig = new Rig({ serve: { clientsMax: 2 } });
  const { line, open } = await spokenLine(rig);
  const second = await open();
  const { channel, ears } = opened(line);
  channel.post(HELLO);
  await until(() => ears.heard.at(-1) === "end");
  assert.equal(reasonOf(ears.heard[0]), "cutOff");
  second.channel.close();
  await until(() => rig.host.clientCount === 1);
  await open();
  line.close();
});

test("a line in a line, and one of another version, are refused", async () => {
  using rig = new Rig();
  const { line } = await spokenLine(rig);
  const inner = opened(line);
  inner.channel.post(LINE_HELLO);
  await until(() => inner.ears.heard.at(-1) === "end");
  assert.equal(reasonOf(inner.ears.heard[0]), "cutOff");
  const { port, until: heard } = rig.speak();
  port.postMessage({ ...LINE_HELLO, version: 1 });
  assert.equal(reasonOf((await heard(1))[0]), "version");
  line.close();
});

/** A worker that has a store, and clients of it that share a line. */
async function withClients(
  count: number,
  use: (clients: StoreClient[], worker: Worker) => Promise<void>,
): Promise<void> {
  await inTempDir(async (dir) => {
    const worker = new Worker(new URL("./testdata/store_worker.ts", import.meta.url), {
      type: "module",
    });
    await new Promise((resolve) => worker.addEventListener("message", resolve, { once: true }));
    worker.postMessage({ dir });
    const clients = await Promise.all(
      Array.from({ length: count }, () => StoreClient.connect(worker, { silenceMaxMs: 5000 })),
    );
    try {
      await use(clients, worker);
    } finally {
      worker.terminate();
    }
  });
}

test("256 clients of a worker append durably, each in its order", () =>
  withClients(256, async (clients) => {
    const answered = clients.map((): number[] => []);
    await Promise.all(clients.map(async (client, i) => {
      const entity = { entity: `user:${i}`, scope: "app" };
      for (let n = 0; n < 4; n++) {
        // Two at a time, and a read behind them.
        const two = [
          client.append(entity, KIND, 2 * n, DURABLE),
          client.append(entity, KIND, 2 * n + 1),
        ];
        const latest = client.latest(entity.entity);
        for (const { clock } of await Promise.all(two)) answered[i].push(clock);
        assert.equal((await latest)?.payload, 2 * n + 1);
      }
    }));
    for (const clocks of answered) assert.deepEqual(clocks, [0, 1, 2, 3, 4, 5, 6, 7]);
    await clients[0].shutdown();
  }));

test("256 clients on one line share one sync", async () => {
  using rig = new Rig({ serve: { commitCountMax: 1000 } });
  // The worker that the line believes in is this realm.
  const listeners = new Set<(event: Event) => void>();
  const say = (data: unknown) => {
    for (const listener of listeners) listener(new MessageEvent("message", { data }));
  };
  const worker = {
    postMessage(message: { type: string; port?: MessagePort }) {
      if (message.type === "batpak:who") queueMicrotask(() => say({ type: "batpak:here" }));
      else rig.host.accept(message.port!, true);
    },
    terminate() {},
    addEventListener(type: string, listener: (event: Event) => void) {
      if (type === "message") listeners.add(listener);
    },
    removeEventListener(_: string, listener: (event: Event) => void) {
      listeners.delete(listener);
    },
  };
  const clients = await Promise.all(
    Array.from({ length: 256 }, () => StoreClient.connect(worker)),
  );
  for (let round = 0; round < 3; round++) {
    const before = rig.fs.syncCount;
    await Promise.all(clients.map((client, n) => client.append(USER, KIND, n, DURABLE)));
    assert.equal(rig.fs.syncCount - before, 1);
  }
  // One client's bad argument is its own matter.
  const [bad, good] = await Promise.allSettled([
    clients[0].events({}, { after: (() => {}) as never }).next(),
    clients[1].latest(USER.entity),
  ]);
  assert.equal(bad.status, "rejected");
  assert.equal(good.status, "fulfilled");
  await Promise.all(clients.map((client) => client.close()));
  assert.equal(listeners.size, 0);
  await until(() => rig.host.clientCount === 0);
});

test("a client of a line that goes takes its fence with it, and nobody else", () =>
  withClients(3, async ([first, second, third]) => {
    const fence = await first.beginFence();
    await fence.append(USER, KIND, "never");
    await assert.rejects(second.append(USER, KIND, 1), { code: "FENCE_ACTIVE" });
    first.disconnect();
    await second.append(USER, KIND, 1);
    assert.deepEqual((await third.query({ entity: USER.entity })).map((e) => e.payload), [1]);
    await third.shutdown();
  }));

test("the death of a worker ends all clients of its line", () =>
  withClients(20, async (clients, worker) => {
    await Promise.all(clients.map((client, n) => client.append(USER, KIND, n)));
    const running = clients.map((client) =>
      failureOf((async () => {
        while (true) await client.append(USER, KIND, 1);
      })())
    );
    worker.terminate();
    for (const error of await Promise.all(running)) {
      assert.ok(error instanceof HostError && error.reason === "died");
    }
  }));

test("a line is made again after its last client has closed", () =>
  withClients(2, async (clients, worker) => {
    for (let round = 0; round < 3; round++) {
      await Promise.all(clients.map((client, n) => client.append(USER, KIND, [round, n])));
      // The next one connects while the line is being closed, too.
      const closing = clients.map((client) => client.close());
      clients = await Promise.all([StoreClient.connect(worker), StoreClient.connect(worker)]);
      await Promise.all(closing);
    }
    assert.equal((await clients[0].query({ entity: USER.entity })).length, 6);
    await clients[1].shutdown();
    await assert.rejects(StoreClient.connect(worker), { code: "HOST", reason: "closed" });
  }));

test("two realms with lines to one host: the end of one line leaves the other", async () => {
  using rig = new Rig();
  const one = await spokenLine(rig);
  const two = await spokenLine(rig);
  await one.open();
  await two.open();
  assert.equal(rig.host.clientCount, 4);
  one.line.close();
  await until(() => rig.host.clientCount === 2);
  two.first.channel.post({ type: "ping" });
  await until(() => two.first.ears.heard.length === 2);
  rig.host.close();
  await until(() => two.first.ears.heard.length >= 3);
  assert.equal(reasonOf(two.first.ears.heard[2]), "closed");
  two.line.close();
});

/** Waits until something holds that comes about by itself. */
async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; !holds(); i++) {
    assert.ok(i < 2000, "it came about in time");
    await new Promise<void>((resolve) => runtime.scheduler.delay(5, resolve));
  }
}
