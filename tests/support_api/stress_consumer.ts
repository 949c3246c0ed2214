/**
 * A consumer of the stress test: supervised workers one after the other under one checkpoint, whose handler
 * throws, stops, hangs and dies. It is calm when it is told to be.
 *
 * @module
 */
import {
  type CursorWorker,
  type CursorWorkerAction,
  type CursorWorkerContext,
  CursorWorkerError,
  type CursorWorkerOptions,
  type JournalReader,
  loadCheckpoint,
  type RegionFilters,
  startCursorWorker,
  type StoredEvent,
} from "../../mod.ts";
import { seededRandom } from "./journal.ts";
import { faultOf, KEPT, SCOPE } from "./stress_load.ts";
import { type ConsumerNote, Notes } from "./stress_notes.ts";

/** The regions of the four consumers, by the name of their checkpoint. */
export const REGIONS: Readonly<Record<string, RegionFilters>> = {
  "owner-function": { scope: SCOPE },
  "owner-realm": { kind: KEPT },
  "reader-function": { entity: "stress:1" },
  "reader-realm": {},
};

/** What a handler needs, wherever it runs. */
export interface HandlerOrder {
  /** The file for its notes. */
  readonly path: string;
  readonly seed: number;
  /** How many realms there have been; whether to be calm. Shared memory. */
  readonly words: Int32Array;
}

const REALM_COUNT_WORD = 0;
const CALM_WORD = 1;
const HANDLER_TIMEOUT_MS = 500;

/** How a consumer is made. */
export interface ConsumerOrder {
  /** One of {@linkcode REGIONS}. */
  readonly name: string;
  /** The file for its notes. */
  readonly path: string;
  readonly seed: number;
  /** Starts the realm of its handler. Without, the handler runs here. */
  readonly startRealm?: () => Worker;
  /** Told of what should never be, besides the notes. */
  readonly onBroken: (what: string) => void;
}

export class StressConsumer {
  readonly #store: JournalReader;
  readonly #order: ConsumerOrder;
  readonly #notes: Notes<ConsumerNote>;
  readonly #random: () => number;
  readonly #words = new Int32Array(new SharedArrayBuffer(8));
  readonly #ended: Promise<void>;
  #worker: CursorWorker | undefined;
  #realm: Worker | undefined;
  #noted: number | undefined;
  #isStopping = false;

  constructor(store: JournalReader, order: ConsumerOrder, isCalm = false) {
    this.#store = store;
    this.#order = order;
    this.#notes = new Notes(order.path);
    this.#random = seededRandom(order.seed);
    if (isCalm) this.calm();
    this.#ended = this.#run();
    if (order.startRealm !== undefined) void this.#watch();
  }

  /** The sequence that is committed. */
  get committed(): number | undefined {
    return this.#worker?.status.committed;
  }

  /** From now on nothing goes wrong. */
  calm(): void {
    Atomics.store(this.#words, CALM_WORD, 1);
  }

  get #isCalm(): boolean {
    return Atomics.load(this.#words, CALM_WORD) === 1;
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#worker?.stop();
    await this.#ended;
    this.#notes.close();
  }

  async #run(): Promise<void> {
    const { name } = this.#order;
    while (!this.#isStopping) {
      const found = loadCheckpoint(this.#store.dir, name);
      const { position, started } = found ?? { position: 0, started: false };
      this.#notes.write({ t: "start", from: { position, started } });
      let failure: string | null = null;
      try {
        this.#worker = this.#start();
        await this.#worker.join();
      } catch (error) {
        failure = String(error);
        // The realm died more often than it may. Everything else should not be.
        if (!(error instanceof CursorWorkerError)) this.#broken((error as Error).stack ?? failure);
      }
      this.#noteCommitted();
      this.#notes.write({ t: "end", end: `${this.#worker?.status.end}`, error: failure });
      // A worker that cannot start would be started for ever.
      if (failure !== null) await sleep(50);
    }
  }

  #start(): CursorWorker {
    const { name, path, seed, startRealm } = this.#order;
    const options: CursorWorkerOptions = {
      checkpointId: name,
      batchSize: [1, 7, 32, 128][Math.floor(this.#random() * 4)],
      idleSleepMs: 1 + Math.floor(this.#random() * 10),
      restart: { kind: "bounded", maxRestarts: 3, withinMs: 5_000 },
      onCrash: ({ message }) => {
        const committed = this.#worker?.status.committed ?? null;
        this.#notes.write({ t: "crash", committed, text: message });
      },
    };
    const region = REGIONS[name];
    if (startRealm === undefined) {
      return startCursorWorker(this.#store, region, options, this.#handle);
    }
    return startCursorWorker(this.#store, region, {
      ...options,
      handlerTimeoutMs: this.#isCalm ? 60_000 : HANDLER_TIMEOUT_MS,
      init: { path, seed, words: this.#words } satisfies HandlerOrder,
      worker: () => this.#realm = startRealm(),
    });
  }

  readonly #handle = async (
    batch: readonly StoredEvent[],
    { signal }: CursorWorkerContext,
  ): Promise<CursorWorkerAction> => {
    this.#noteCommitted();
    const fault = noteBatch(this.#notes, "", batch);
    if (fault !== undefined) this.#broken(fault);
    if (this.#isCalm || signal.aborted) return "continue";
    const dice = this.#random();
    if (dice < 0.02) throw new RangeError("the handler's own words");
    if (dice < 0.04) return dice < 0.03 ? "stop" : "stopWithRollback";
    if (dice < 0.4) await sleep(this.#random() * 10);
    return "continue";
  };

  /** Notes what is committed, and terminates realms now and then. */
  async #watch(): Promise<void> {
    while (!this.#isStopping) {
      await sleep(20 + this.#random() * 60);
      this.#noteCommitted();
      const { state } = this.#worker?.status ?? {};
      // One that is terminated before it has said hello is only given up when its time for that is over.
      const isThere = state === "idle" || state === "handling";
      if (isThere && !this.#isCalm && this.#random() < 0.06) this.#realm?.terminate();
    }
  }

  #noteCommitted(): void {
    const sequence = this.committed;
    if (sequence === undefined || sequence === this.#noted || this.#isClosed) return;
    this.#noted = sequence;
    this.#notes.write({ t: "committed", sequence });
  }

  get #isClosed(): boolean {
    return this.#isStopping && this.#worker?.status.state === "ended";
  }

  #broken(what: string): void {
    this.#notes.write({ t: "broken", what });
    this.#order.onBroken(`${this.#order.name}: ${what}`);
  }
}

/** Notes what a handler was given, and says what is wrong with it. */
export function noteBatch(
  notes: Notes<ConsumerNote>,
  realm: string,
  batch: readonly StoredEvent[],
): string | undefined {
  const sequences = batch.map(({ globalSequence }) => globalSequence);
  notes.write({ t: "given", realm, sequences });
  for (const event of batch) {
    const fault = faultOf(event);
    if (fault !== undefined) return `at sequence ${event.globalSequence}, ${fault}`;
  }
  return undefined;
}

/** Numbers the realms of a consumer. */
export function nextRealm({ words }: HandlerOrder): number {
  return Atomics.add(words, REALM_COUNT_WORD, 1);
}

/** Whether a handler in another realm is to be calm. */
export function isToBeCalm({ words }: HandlerOrder): boolean {
  return Atomics.load(words, CALM_WORD) === 1;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
