/**
 * Clients and workers of one store, all in one realm and in simulated time, until the machine dies.
 *
 * A seed decides who does what, in which order they come, what the disk does, and when it ends. Each client
 * appends, alone and in batches, durable and not, stages behind fences, and retries under keys; each worker
 * reads behind its checkpoint, and now and then its handler throws. What anybody was answered is a fact for
 * the oracle, which judges what the crash has left; then the next life goes on from there.
 *
 * @module
 */

import {
  type Checkpoint,
  CheckpointId,
  type ClientFence,
  EventKind,
  FenceActiveError,
  loadCheckpoint,
  type Receipt,
  startCursorWorker,
  Store,
  StoreClient,
  type StoredEvent,
  StoreError,
  StoreHost,
  StoreIoError,
  type StoreOptions,
} from "../mod.ts";
import { toHex } from "../store/hash.ts";
import { holeOf } from "./crash_explorer.ts";
import type { CrashPolicy } from "./crash_images.ts";
import { DRIVER_DIR } from "./driver.ts";
import { Oracle, type OracleFact, OracleViolation, type Submission } from "./oracle.ts";
import { factsOf, isClaim } from "./plan_facts.ts";
import { newSimChannel, readyForClients } from "./sim_channel.ts";
import { SimClock } from "./sim_clock.ts";
import { SimEntropy } from "./sim_entropy.ts";
import type { SimFaultPlan } from "./sim_faults.ts";
import { SimFs } from "./sim_fs.ts";
import { SimRandom } from "./sim_random.ts";
import { SimScheduler } from "./sim_scheduler.ts";
import { digestTrace, digestTree } from "./sim_trace.ts";

/** What came of a crowd. */
export interface CrowdReport {
  /** Two runs with the same one did the same. */
  readonly digest: string;
  /** Names of what happened. */
  readonly marks: ReadonlySet<string>;
  /** Disks that were judged. */
  readonly judged: number;
  /** Events found on them, at most. */
  readonly events: number;
  /** Calls of the disk that a fault has struck. */
  readonly faultsFired: number;
}

/**
 * Runs the crowd of a seed.
 *
 * @throws {OracleViolation} at the first thing that is not as it must be.
 */
export async function runCrowd(seed: number): Promise<CrowdReport> {
  const letGo = await readyForClients();
  try {
    return await new Crowd(seed).run();
  } catch (error) {
    const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    throw new OracleViolation(`crowd ${seed}: ${what}`, { cause: error });
  } finally {
    letGo();
  }
}

const KIND = EventKind.custom(0xc, 0x8);
const POLICIES: readonly CrashPolicy[] = [
  "processKill",
  "durable",
  "ordered",
  "anyPrefix",
  "reordered",
  "subset",
  "torn",
];
const HOLEY: ReadonlySet<CrashPolicy> = new Set(["subset", "torn"]);
const REGIONS = { app: { scope: "app" }, user: { entity: "user:1" }, all: {} } as const;
type WorkerId = keyof typeof REGIONS;

class Crowd {
  readonly #seed: number;
  readonly #random: SimRandom;
  readonly #options: StoreOptions;
  readonly #clock = new SimClock();
  readonly #marks = new Set<string>();
  readonly #told: OracleFact[] = [];
  readonly #digests: string[] = [];
  #fs: SimFs;
  #lives = 0;
  #groups = 0;
  #fences = 0;
  #events = 0;
  #judged = 0;
  #found = 0;
  #faultsFired = 0;
  readonly #clients: StoreClient[] = [];
  /** Whether the machine is dead: whoever is told so has nothing to complain of. */
  #isOver = false;
  /** What went wrong where nobody waits for it. */
  #failure: { readonly error: unknown } | undefined;

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = new SimRandom(seed).stream("crowd");
    this.#options = {
      segmentMaxBytes: this.#random.pick([700, 2000, 64 << 10]),
      sync: { everyNEvents: this.#random.pick([0, 3, 1000]) },
    };
    const fs = new SimFs({ seed });
    fs.createDirAll(DRIVER_DIR);
    this.#fs = fs.snapshot();
  }

  async run(): Promise<CrowdReport> {
    const lives = this.#random.between(1, 3);
    for (let life = 0; life < lives; life++) {
      if (!await this.#live(life)) break;
    }
    return {
      digest: this.#digests.join(" "),
      marks: this.#marks,
      judged: this.#judged,
      events: this.#found,
      faultsFired: this.#faultsFired,
    };
  }

  /** One life; says whether there can be another. */
  async #live(life: number): Promise<boolean> {
    this.#isOver = false;
    const random = this.#random.stream(`life ${life}`);
    const fs = this.#fs.crashImage("processKill", {}, {
      seed: this.#seed + life,
      faults: faultsOf(random),
    });
    this.#fs = fs;
    const scheduler = new SimScheduler({
      seed: this.#seed + life,
      clock: this.#clock,
      order: random.chance(0.8) ? "random" : "fifo",
    });
    // What a crowd is about comes after the open.
    fs.faultsArePaused = true;
    const store = this.#open(scheduler);
    fs.faultsArePaused = false;
    const host = new StoreHost(store, { scheduler });
    const people = Array.from(
      { length: random.between(1, 4) },
      (_, n) => this.#client(host, scheduler, random.stream(`client ${n}`)),
    );
    const workers = (Object.keys(REGIONS) as WorkerId[]).filter(() => random.chance(0.5))
      .map((id) => this.#worker(store, id, scheduler, random.stream(id)));
    let isDone = false;
    const done = Promise.all(people).then(() => void (isDone = true));
    let left = random.chance(0.5) ? random.below(150) : 2000;
    // With all clients done, workers may still catch up for a while.
    let rest = random.below(60);
    let working = workers.length;
    const ends = workers.map(({ end }) => end);
    for (const end of ends) void end.then(() => void working--, () => {});
    for (const one of [done, ...ends]) {
      one.catch((error) => {
        if (!this.#isOver) this.#failure ??= { error };
      });
    }
    await scheduler.run(() =>
      this.#failure !== undefined || left-- <= 0 || (isDone && (working === 0 || rest-- <= 0))
    );
    if (this.#failure !== undefined) throw this.#failure.error;
    this.#marks.add(isDone ? "crowd: everybody was answered" : "crowd: died in the middle");
    this.#faultsFired += fs.faultsFired;
    this.#digests.push(digestTrace(fs.trace));
    const canGoOn = this.#crash(random);
    this.#isOver = true;
    for (const { stop } of workers) stop();
    await scheduler.run(Promise.allSettled(ends));
    await bury(scheduler, host, done);
    // Whoever is connected keeps the process alive.
    for (const client of this.#clients.splice(0)) client.disconnect();
    return canGoOn;
  }

  #open(scheduler: SimScheduler): Store {
    const store = Store.open(DRIVER_DIR, {
      ...this.#options,
      fs: this.#fs,
      clock: this.#clock,
      // No two lives of a journal draw the same ids.
      entropy: new SimEntropy(this.#lives++),
      scheduler,
    });
    const found = new Map<string, number>();
    for (const { kind, payloadBytes, globalSequence } of store.query()) {
      if (!EventKind.isReserved(kind)) found.set(toHex(payloadBytes!), globalSequence);
    }
    this.#tell({ type: "opened", found, first: 0 });
    return store;
  }

  #crash(random: SimRandom): boolean {
    const { trace } = this.#fs;
    const policy = random.pick(POLICIES);
    let position = random.chance(0.4) ? trace.length : random.below(trace.length + 1);
    while (position < trace.length && isClaim(trace[position])) position++;
    const oracle = new Oracle(DRIVER_DIR, this.#options);
    const facts = factsOf(trace.slice(0, position));
    for (const fact of [...this.#told, ...facts]) oracle.take(fact);
    const left = this.#fs.crashImage(policy, { position, seed: random.nextU32() });
    const asLeft = left.crashImage("processKill");
    this.#judged++;
    const verdict = oracle.judge(left.crashImage("processKill"), {
      powerCut: policy !== "processKill",
      excuse: (error) => HOLEY.has(policy) ? holeOf(error, asLeft, this.#fs, position) : undefined,
    });
    this.#marks.add(`crowd: ${policy}`);
    // The dead must not go on, and whoever waits for them never will.
    this.#fs.crash();
    if (verdict.type === "refused") return false;
    this.#found = Math.max(this.#found, verdict.events);
    this.#told.push(...facts);
    if (policy !== "processKill") this.#told.push({ type: "dropped" });
    this.#fs = left;
    this.#digests.push(digestTree(left));
    return true;
  }

  #tell(fact: OracleFact): void {
    this.#fs.mark("oracle", fact);
  }

  // ---- clients --------------------------------------------------------------------------------------

  async #client(host: StoreHost, scheduler: SimScheduler, random: SimRandom): Promise<void> {
    const { port1, port2 } = newSimChannel(scheduler);
    host.accept(port1, false);
    const client = await StoreClient.connect(port2, { scheduler });
    this.#clients.push(client);
    for (let n = random.between(2, 10); n > 0; n--) {
      const draw = random.below(10);
      if (draw < 6) await this.#append(client, random, draw < 2 ? random.between(2, 4) : 1);
      else if (draw < 8) await this.#fence(client, random);
      else if (draw === 8) await this.#attempt("sync", () => client.sync());
      else await scheduler.turn();
    }
    if (random.chance(0.5)) client.disconnect();
  }

  async #append(client: StoreClient, random: SimRandom, count: number): Promise<void> {
    const items = Array.from({ length: count }, () => this.#item(random));
    const durability = random.chance(0.5) ? "durable" : "written";
    const group = this.#submitted(items);
    const receipts = await this.#attempt<Receipt[]>("append", async () => {
      if (count > 1) return await client.appendBatch(items, { durability });
      const [{ entity, scope, kind, payload, ...options }] = items;
      return [
        await client.append({ entity, scope }, kind, payload, { ...options, durability }),
      ];
    }, group);
    if (receipts === undefined) return;
    const sequences = receipts.map(({ globalSequence }) => globalSequence);
    this.#tell({ type: "acknowledged", group, sequences, receipts });
    if (durability !== "durable") return;
    this.#tell({ type: "durable", below: Math.max(...sequences) + 1 });
  }

  async #fence(client: StoreClient, random: SimRandom): Promise<void> {
    const fence = await this.#attempt<ClientFence>("fence", () => client.beginFence());
    if (fence === undefined) return;
    const number = ++this.#fences;
    for (let n = random.between(1, 3); n > 0; n--) {
      const items = Array.from({ length: random.between(1, 3) }, () => this.#item(random));
      const group = this.#submitted(items, number);
      const staged = await this.#attempt("stage", () => fence.appendBatch(items), group);
      if (staged === undefined) continue;
      const sequences = staged.map(({ globalSequence }) => globalSequence);
      this.#tell({ type: "acknowledged", group, sequences });
    }
    if (random.chance(0.3)) {
      this.#tell({ type: "uncommitted", fence: number });
      await this.#attempt("cancel", () => fence.cancel());
      this.#marks.add("crowd: a fence was cancelled");
      return;
    }
    this.#tell({ type: "committing", fence: number });
    const receipts = await this.#attempt<Receipt[]>("commit", () => fence.commit());
    if (receipts === undefined) {
      // It may be open still: then it has to be let go of, or nobody else gets on.
      await this.#attempt("cancel", () => fence.cancel());
      return;
    }
    this.#tell({ type: "committed", fence: number, receipts });
    this.#marks.add("crowd: a fence was committed");
  }

  /** Waits for an answer; an error needs a reason. */
  async #attempt<T>(
    name: string,
    ask: () => Promise<T>,
    group?: number,
  ): Promise<T | undefined> {
    try {
      return await ask();
    } catch (error) {
      if (this.#isOver) return undefined;
      if (!(error instanceof StoreError)) throw error;
      const isBusy = error instanceof FenceActiveError;
      if (!isBusy && this.#fs.faultsFired === 0) {
        throw new OracleViolation(`${name} fails without a reason: ${error.message}`, {
          cause: error,
        });
      }
      const isNothingLeft = isBusy || error instanceof StoreIoError;
      if (group !== undefined && isNothingLeft) this.#tell({ type: "refused", group });
      this.#marks.add(`crowd: ${name}: ${error.code}`);
      return undefined;
    }
  }

  #item(random: SimRandom): CrowdItem {
    const number = ++this.#events;
    const payload = new Uint8Array(random.between(8, 80)).fill(number & 0xff);
    new DataView(payload.buffer).setUint32(0, number);
    const who = random.below(4);
    return {
      entity: `user:${who}`,
      scope: who % 2 === 0 ? "app" : "shop",
      lane: random.chance(0.8) ? 0 : 1,
      kind: KIND,
      payload,
      payloadEncoding: "opaque" as const,
      idempotencyKey: `crowd ${number}`,
    };
  }

  #submitted(items: readonly CrowdItem[], fence?: number): number {
    const group = ++this.#groups;
    const events = items.map(({ idempotencyKey: key, entity, scope, lane, kind, payload }) => ({
      entity,
      scope,
      lane,
      kind,
      payload,
      key,
    }));
    this.#tell({ type: "submitted", group, events, ...(fence === undefined ? {} : { fence }) });
    return group;
  }

  // ---- workers --------------------------------------------------------------------------------------

  #worker(
    store: Store,
    id: WorkerId,
    scheduler: SimScheduler,
    random: SimRandom,
  ): { readonly stop: () => void; readonly end: Promise<void> } {
    const fs = this.#fs;
    const region = REGIONS[id];
    fs.faultsArePaused = true;
    let committed = sequenceOf(loadCheckpoint(DRIVER_DIR, CheckpointId.parse(id), { fs }));
    fs.faultsArePaused = false;
    const handler = async (batch: readonly StoredEvent[]) => {
      const actual = batch.map(({ globalSequence }) => globalSequence);
      const expected = store.queryAfter(region, committed, actual.length)
        .map(({ globalSequence }) => globalSequence);
      if (actual.join() !== expected.join()) {
        // What a handler throws, its worker deals with; this has to be heard.
        this.#failure ??= {
          error: new OracleViolation(`worker ${id} is given ${actual}, and should be ${expected}`),
        };
      }
      await scheduler.turn();
      if (random.chance(0.05)) {
        this.#marks.add("crowd: a handler threw");
        throw new Error("planned");
      }
      const sequence = actual[actual.length - 1];
      this.#tell({ type: "checkpointing", id, region, sequence });
      committed = sequence;
      return "continue" as const;
    };
    const worker = startCursorWorker(store, region, {
      checkpointId: id,
      batchSize: random.between(1, 5),
      idleSleepMs: random.between(1, 20),
      restart: { kind: "bounded", maxRestarts: 50, withinMs: 1 },
    }, handler);
    const end = worker.join().catch((error) => {
      if (this.#isOver) return;
      if (!(error instanceof StoreError) || fs.faultsFired === 0) throw error;
      this.#marks.add(`crowd: a worker ended: ${error.code}`);
    });
    return { stop: () => worker.stop(), end };
  }
}

/** Lets the clients of a life find out that it is over: none of them may keep the process alive. */
async function bury(
  scheduler: SimScheduler,
  host: StoreHost,
  clients: Promise<unknown>,
): Promise<void> {
  try {
    host.close();
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
  }
  await scheduler.run(Promise.allSettled([clients]));
}

/** An event of a client. */
interface CrowdItem extends Omit<Submission, "kind" | "key"> {
  readonly kind: EventKind;
  readonly payloadEncoding: "opaque";
  readonly idempotencyKey: string;
}

function sequenceOf(checkpoint: Checkpoint | undefined): number | undefined {
  return checkpoint?.started ? checkpoint.position : undefined;
}

function faultsOf(random: SimRandom): SimFaultPlan {
  const faults: Record<string, number> = {};
  if (random.chance(0.5)) return faults;
  for (
    const kind of [
      "failAfter",
      "renameError",
      "shortWrite",
      "syncLost",
      "syncReverted",
      "writeError",
    ] as const
  ) if (random.chance(0.3)) faults[kind] = random.pick([0.01, 0.05]);
  return faults;
}
