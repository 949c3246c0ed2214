// A worker that is sent a port to a store, and uses it: with promises, or blocking.
import { BlockingStoreClient } from "../blocking_store_client.ts";
import { StoreClient } from "../store_client.ts";
import { EventKind } from "../../../store/event_kind.ts";

const KIND = EventKind.custom(0xF, 1);
const scope = globalThis as unknown as {
  addEventListener(type: string, listener: (event: MessageEvent) => void): void;
  postMessage(message: unknown): void;
};

/** Appends without end, and says how many were answered now and then. */
async function appendForEver(port: MessagePort, entity: string): Promise<void> {
  const client = await StoreClient.connect(port);
  let answered = 0;
  await Promise.all(Array.from({ length: 8 }, async () => {
    while (true) {
      await client.append({ entity, scope: "app" }, KIND, "x", { durability: "durable" });
      if (++answered % 50 === 0) scope.postMessage({ answered });
    }
  }));
}

/** Uses a store without a promise, and says what came of it. */
function block(port: MessagePort): void {
  using store = BlockingStoreClient.connect(port, { timeoutMs: 10_000 });
  const user = { entity: "user:blocking", scope: "app" };
  const receipts = Array.from({ length: 20 }, (_, n) => store.append(user, KIND, n));
  store.append(user, KIND, new Uint8Array(2_000_000).fill(3), { durability: "durable" });
  let code = "";
  try {
    store.append(user, KIND, 1, { expectedClock: "none" });
  } catch (error) {
    code = (error as { code: string }).code;
  }
  const events = store.query({ entity: user.entity });
  scope.postMessage({
    clocks: receipts.map(({ clock }) => clock),
    payloads: events.slice(0, 20).map(({ payload }) => payload),
    largeSize: (events[20].payload as Uint8Array).byteLength,
    latest: store.latest(user.entity)?.clock,
    storeId: store.storeId,
    code,
  });
}

/** Begins a fence, and leaves it open. */
async function fence(port: MessagePort): Promise<void> {
  const client = await StoreClient.connect(port);
  const begun = await client.beginFence();
  await begun.append({ entity: "user:fence", scope: "app" }, KIND, "never");
  scope.postMessage("staged");
}

scope.addEventListener("message", ({ data }) => {
  if (data.type === "fence") void fence(data.port);
  if (data.type === "append") void appendForEver(data.port, data.entity);
  else if (data.type === "block") block(data.port);
});
scope.postMessage("ready");
