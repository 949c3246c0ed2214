/**
 * How long it takes from an append to the handler that waits for it: in the realm that appends, in a realm
 * of its own, and in another process that looks for itself.
 *
 * Each event says when it was appended, and the handler what time it is. Realms of one process agree on
 * that to less than a microsecond, and processes of one machine to a fraction of a millisecond.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type CursorWorkerAction, startCursorWorker, Store, type StoredEvent } from "../../mod.ts";
import { entityOf, ORDER_PLACED, orderOf, SCOPE } from "./orders.ts";
import { Realm } from "./realm.ts";

/** Where the handler is. */
export type HandlerPlace = "here" | "realm" | "process";

/** What a handler has to know. */
export interface WakeTask {
  /** How many events will come. */
  readonly events: number;
}

/** Microseconds since the epoch, for all realms. */
function nowUs(): number {
  return (performance.timeOrigin + performance.now()) * 1000;
}

/** A handler that notes how late it gets each event, and says so after the last one. */
export function latenessHandler(
  { events }: WakeTask,
  onLateness: (latenessUs: Float64Array) => void,
): (batch: readonly StoredEvent[]) => CursorWorkerAction {
  const latenessUs = new Float64Array(events);
  let count = 0;
  return (batch) => {
    const us = nowUs();
    for (const event of batch) {
      latenessUs[count++] = us - (event.payload as { readonly appendedUs: number }).appendedUs;
    }
    if (count < events) return "continue";
    onLateness(latenessUs);
    return "stop";
  };
}

/** Long enough for the worker to have settled the event and to wait again. */
const PAUSE_MS = 2;

/** Appends so many events to a journal in `dir`, and returns how late the handler got each. */
export async function measureWakeUps(
  dir: string,
  place: HandlerPlace,
  task: WakeTask,
): Promise<Float64Array> {
  using store = Store.open(dir);
  const waiting = await follow(store, place, task);
  for (let n = 0; n < task.events; n++) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    const order = { ...orderOf(n), appendedUs: nowUs() };
    store.append({ entity: entityOf(n), scope: SCOPE }, ORDER_PLACED, order);
  }
  return await waiting.end();
}

interface Waiting {
  /** The times, once the last event has been handled. */
  end(): Promise<Float64Array>;
}

async function follow(store: Store, place: HandlerPlace, task: WakeTask): Promise<Waiting> {
  const region = { scope: SCOPE };
  switch (place) {
    case "here": {
      let latenessUs = new Float64Array();
      const handler = latenessHandler(task, (times) => latenessUs = times.slice());
      const worker = startCursorWorker(store, region, {}, handler);
      return { end: () => worker.join().then(() => latenessUs) };
    }
    case "realm": {
      const realm = await Realm.start("wake");
      const times = realm.next<{ readonly latenessUs: Float64Array }>("latenessUs");
      const worker = startCursorWorker(store, region, { worker: realm.worker, init: task });
      return {
        end: () => worker.join().then(() => times).then(({ latenessUs }) => latenessUs),
      };
    }
    case "process":
      return await followInProcess(store.dir, task);
  }
}

async function followInProcess(dir: string, { events }: WakeTask): Promise<Waiting> {
  const program = fileURLToPath(new URL("./realms/wake_process.ts", import.meta.url));
  const args = process.versions.deno === undefined
    ? [program]
    : ["run", "--allow-read", "--allow-write", "--allow-env", program];
  const child: ChildProcess = spawn(process.execPath, [...args, dir, String(events)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const line = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error("The process that waits for events ended early");
    return value;
  };
  await line();
  return { end: async () => Float64Array.from(JSON.parse(await line()) as number[]) };
}
