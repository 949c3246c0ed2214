/**
 * One generation of the stress test: a process with the store in one realm and four producers in others, all
 * of which it terminates now and then, and starts again. It says "ready", "fencing" when a fence has begun, and "broken …" of what
 * should never be, and goes on until it is killed, or told by a signal to end in order.
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { StoreClient } from "../../mod.ts";
import { seededRandom } from "../support_api/journal.ts";
import { sleep } from "../support_api/stress_consumer.ts";
import { Notes, type OwnerNote, padded } from "../support_api/stress_notes.ts";
import type { ProducerOrder } from "./stress_producer.ts";
import type { StoreOrder } from "./stress_store.ts";

/** What the process is told. */
export interface OwnerOrder {
  readonly dir: string;
  readonly notesDir: string;
  readonly generation: number;
  readonly seed: number;
}

const PRODUCER_COUNT = 4;
/** How long the lock of a realm that is gone may stay, on a machine that has other things to do. */
const LOCKED_MS_MAX = 10_000;
const { dir, notesDir, generation, seed }: OwnerOrder = JSON.parse(process.argv[2]);
const random = seededRandom(seed);
const notes = new Notes<OwnerNote>(`${notesDir}/process.${padded(generation)}`);

function broken(what: string): void {
  notes.write({ t: "broken", what });
  writeSync(1, `broken ${what}\n`);
}

async function startWorker(name: string): Promise<Worker> {
  const worker = new Worker(new URL(name, import.meta.url), { type: "module" });
  worker.addEventListener("error", (event) => {
    event.preventDefault();
    broken(`${name}: ${event.message}`);
  });
  await new Promise<void>((resolve) => {
    worker.addEventListener("message", ({ data }) => {
      if (data === "ready") resolve();
      else if (data?.broken !== undefined) broken(data.broken);
    });
  });
  return worker;
}

/** The realm of the store, and a client of it. */
interface Served {
  readonly worker: Worker;
  readonly client: StoreClient;
}

let storeLives = 0;
async function openStore(): Promise<Served> {
  const worker = await startWorker("./stress_store.ts");
  const life = storeLives++;
  const order: StoreOrder = {
    dir,
    notesDir,
    life: `${padded(generation)}.${padded(life)}`,
    seed: seed + 7 * life,
  };
  worker.postMessage({ order });
  return { worker, client: await StoreClient.connect(worker) };
}

/** Ends the realm of the store, in the middle of whatever it does, and opens the store again. */
async function replaceStore(): Promise<void> {
  notes.write({ t: "killedStore" });
  served.worker.terminate();
  // A realm that is busy may go on for a moment. Then its clients are told.
  for (;;) {
    const death: unknown = await served.client.sync().then(() => undefined, (error) => error);
    if (death === undefined) continue;
    if ((death as { reason?: string }).reason !== "died") {
      broken(`the end of the store is ${death}`);
    }
    break;
  }
  // Its last thread may still be ending, and has the lock until then.
  for (const startMs = performance.now();;) {
    try {
      served = await openStore();
      break;
    } catch (error) {
      const isLate = performance.now() - startMs > LOCKED_MS_MAX;
      if ((error as { code?: string }).code !== "STORE_LOCKED" || isLate) throw error;
      notes.write({ t: "refused", code: "STORE_LOCKED" });
    }
  }
  // Some have noticed. One that blocks does not, until its time is over.
  for (const producer of producers) producer.replace();
}

/** A producer and what becomes of it. */
class ProducerSlot {
  readonly #number: number;
  #worker: Worker | undefined;
  #lives = 0;
  #restartIsPlanned = false;
  /** Resolves when the last one has ended by itself. */
  ended: Promise<void> = Promise.resolve();

  constructor(number: number) {
    this.#number = number;
  }

  async start(): Promise<void> {
    const worker = this.#worker = await startWorker("./stress_producer.ts");
    // There may be no store just now.
    await isWorking;
    if (isEnding) return worker.terminate();
    this.ended = new Promise((resolve) => {
      worker.addEventListener("message", ({ data }) => {
        if (data?.ended === true) resolve();
        const { vanish, fencing } = data ?? {};
        if (fencing === true) writeSync(1, "fencing\n");
        if (vanish !== undefined && worker === this.#worker) this.replace(vanish === "exit");
      });
    });
    const life = this.#lives++;
    const port = served.client.openPort();
    const producer: ProducerOrder = {
      number: this.#number,
      life: `${padded(generation)}.${padded(life)}`,
      notesDir,
      seed: seed + 1000 * (this.#number + 1) + 17 * life,
      isBlocking: this.#number === PRODUCER_COUNT - 1,
    };
    worker.postMessage({ order: producer, port }, [port]);
  }

  /** Ends the realm, in the middle of whatever it does, and starts another one. It may end by itself. */
  replace(endsByItself = false): void {
    if (this.#restartIsPlanned || isEnding || this.#worker === undefined) return;
    this.#restartIsPlanned = true;
    notes.write({ t: "killedProducer", number: this.#number });
    if (!endsByItself) this.#worker.terminate();
    void sleep(random() * 100).then(() => {
      this.#restartIsPlanned = false;
      if (!isEnding) return this.start();
    });
  }
}

let isEnding = false;
let isWorking = Promise.resolve();
const producers = Array.from({ length: PRODUCER_COUNT }, (_, number) => new ProducerSlot(number));
process.on("SIGTERM", () => void end());
let served = await openStore();
await Promise.all(producers.map((producer) => producer.start()));
writeSync(1, "ready\n");
for (;;) {
  await sleep(300 + random() * 1_200);
  if (isEnding) break;
  if (random() < 0.65) producers[Math.floor(random() * PRODUCER_COUNT)].replace();
  else {
    isWorking = replaceStore().catch((error) => broken(`reopen: ${error.stack}`));
    await isWorking;
  }
}

async function end(): Promise<void> {
  if (isEnding) return;
  isEnding = true;
  await isWorking;
  const { client, worker } = served;
  try {
    // While consumers follow the store it cannot be closed, and nothing happens to it.
    if (random() < 0.5) {
      const refusal = await client.shutdown().catch((error) => error);
      if (refusal?.code !== "STORE_IN_USE") throw new Error(`shutdown came to ${refusal}`);
      notes.write({ t: "refused", code: "STORE_IN_USE" });
    }
    const stopped = new Promise<void>((resolve) => {
      worker.addEventListener("message", ({ data }) => data?.stopped === true && resolve());
    });
    worker.postMessage({ stop: true });
    await stopped;
    await client.shutdown();
    // They learn of it by themselves. One may just have vanished.
    await Promise.race([Promise.all(producers.map(({ ended }) => ended)), sleep(1_000)]);
  } catch (error) {
    broken(`end: ${(error as Error).stack}`);
  }
  process.exit(0);
}
