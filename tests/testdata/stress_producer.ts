/**
 * A client of the stress test in a realm of its own. It appends without end, and notes what it tries, before,
 * and what came of it, after.
 */
import assert from "node:assert/strict";
import process from "node:process";
import {
  type AppendOptions,
  type BatchItem,
  BlockingStoreClient,
  ClientFence,
  type FrontierView,
  HostError,
  type Receipt,
  type StagedEvent,
  StoreClient,
} from "../../mod.ts";
import { seededRandom } from "../support_api/journal.ts";
import { sleep } from "../support_api/stress_consumer.ts";
import { itemOf, planOf } from "../support_api/stress_load.ts";
import {
  Notes,
  notesPaths,
  type Plan,
  type ProducerNote,
  readNotes,
} from "../support_api/stress_notes.ts";

/** What a producer is told. */
export interface ProducerOrder {
  /** 0 to 3. The last one blocks. */
  readonly number: number;
  /** Names this life of it. */
  readonly life: string;
  readonly notesDir: string;
  readonly seed: number;
  readonly isBlocking: boolean;
}

const scope = globalThis as unknown as {
  addEventListener(type: string, listener: (event: MessageEvent) => void): void;
  postMessage(message: unknown): void;
};

scope.addEventListener("message", ({ data }) => void live(data.order, data.port));
scope.postMessage("ready");

async function live(order: ProducerOrder, port: MessagePort): Promise<void> {
  const { notesDir, number, life, isBlocking } = order;
  const earlier = notesPaths(notesDir, `producer-${number}.`);
  const notes = new Notes<ProducerNote>(`${notesDir}/producer-${number}.${life}`);
  try {
    const client = isBlocking ? BlockingStoreClient.connect(port) : await StoreClient.connect(port);
    await new Producer(client, notes, order).run(openPlans(earlier));
  } catch (error) {
    // The store was closed, or its realm is gone: nothing more to do here.
    if (!(error instanceof HostError && (error.reason === "closed" || error.reason === "died"))) {
      const what = (error as Error).stack ?? String(error);
      notes.write({ t: "broken", what });
      scope.postMessage({ broken: `producer ${number}: ${what}` });
    }
  }
  scope.postMessage({ ended: true });
}

/** Plans of earlier lives that nobody knows the outcome of, and that can be tried again. */
function openPlans(paths: readonly string[]): Plan[] {
  const plans = new Map<string, Plan>();
  const began = new Set<string>();
  for (const path of paths) {
    for (const note of readNotes<ProducerNote>(path)) {
      if (note.t === "try" && note.plan.isKeyed) {
        plans.set(note.plan.op, note.plan);
        if (note.plan.form !== "fence") began.add(note.plan.op);
      } else if (note.t === "committing") began.add(note.op);
      else if (note.t === "ack" || note.t === "no" || note.t === "cancelling") {
        plans.delete(note.op);
      }
    }
  }
  // What was never committed has to stay invisible, so it is left alone.
  return [...plans.values()].filter(({ op }) => began.has(op));
}

class Producer {
  readonly #client: StoreClient | BlockingStoreClient;
  readonly #notes: Notes<ProducerNote>;
  readonly #order: ProducerOrder;
  readonly #random: () => number;
  #opCount = 0;
  #view: FrontierView | undefined;
  /** Where the entities' lanes were last. */
  readonly #clocks = new Map<string, number>();

  constructor(
    client: StoreClient | BlockingStoreClient,
    notes: Notes<ProducerNote>,
    order: ProducerOrder,
  ) {
    this.#client = client;
    this.#notes = notes;
    this.#order = order;
    this.#random = seededRandom(order.seed);
  }

  async run(open: readonly Plan[]): Promise<never> {
    const client = this.#client;
    for (const plan of open) if (this.#random() < 0.8) await this.#retry(plan);
    for (;;) {
      if (client instanceof StoreClient && this.#random() < 0.12) await this.#fence(client);
      else {
        const count = client instanceof StoreClient ? 1 + Math.floor(this.#random() * 6) : 1;
        await Promise.all(Array.from({ length: count }, () => this.#append()));
      }
      // A blocking one would never hear that it is to end.
      await sleep(this.#random() < 0.5 ? 0 : this.#random() * 10);
    }
  }

  #plan(form: Plan["form"]): Plan {
    const { number, life } = this.#order;
    const plan = planOf(`${number}.${life}.${this.#opCount++}`, form, this.#random);
    this.#notes.write({ t: "try", plan });
    return plan;
  }

  async #append(): Promise<void> {
    const plan = this.#plan(this.#random() < 0.25 ? "batch" : "append");
    const { lane, entity } = plan.items[0];
    const known = this.#clocks.get(`${entity} ${lane}`);
    const expectedClock = plan.form === "append" && this.#random() < 0.2 ? known : undefined;
    await this.#settle(plan, async () => {
      const receipts = await this.#send(plan, expectedClock);
      const isChecked = expectedClock !== undefined && !receipts[0].replayed;
      if (isChecked) assert.equal(receipts[0].clock, expectedClock + 1);
      return receipts;
    });
  }

  async #retry(plan: Plan): Promise<void> {
    this.#notes.write({ t: "retry", op: plan.op });
    await this.#settle(plan, () => this.#send(plan, undefined));
  }

  /** Appends a plan outside of a fence, and waits for its turn when somebody has one. */
  async #send(plan: Plan, expectedClock: number | undefined): Promise<readonly Receipt[]> {
    const client = this.#client;
    const options: AppendOptions = {
      durability: plan.isDurable ? "durable" : "written",
      ...(plan.once !== undefined && { failIf: { tags: [plan.once] } }),
    };
    const items = plan.items.map((_, i) => itemOf(plan, i));
    if (plan.form !== "append") {
      return await this.#unfenced(() => client.appendBatch(items, options));
    }
    const { kind, payload, entity, scope, ...rest } = items[0];
    const all = { ...rest, ...options, expectedClock };
    const coordinate = { entity, scope };
    return [await this.#unfenced(() => client.append(coordinate, kind, payload, all))];
  }

  async #fence(client: StoreClient): Promise<void> {
    const random = this.#random;
    const plan = this.#plan("fence");
    const { op } = plan;
    await this.#settle(plan, async () => {
      const fence = await this.#unfenced(() => client.beginFence());
      this.#notes.write({ t: "begun", op });
      scope.postMessage({ fencing: true });
      await this.#stage(client, fence, plan);
      const dice = random();
      if (dice < 0.55) {
        this.#notes.write({ t: "committing", op });
        return await fence.commit();
      }
      if (dice < 0.8) {
        this.#notes.write({ t: "cancelling", op });
        if (random() < 0.5) await fence.cancel();
        else await fence[Symbol.asyncDispose]();
        this.#notes.write({ t: "cancelled", op });
        return undefined;
      }
      this.#notes.write({ t: "vanishing", op });
      scope.postMessage({ vanish: dice < 0.9 ? "terminate" : "exit" });
      // So that the message can leave.
      if (dice >= 0.9) setTimeout(() => process.exit(0), 5);
      return await new Promise<never>(() => {});
    }, true);
  }

  async #stage(client: StoreClient, fence: ClientFence, plan: Plan): Promise<void> {
    const random = this.#random;
    const { op, items } = plan;
    const staged: Promise<void>[] = [];
    let last: { readonly chain: string; readonly clock: number } | undefined;
    for (let i = 0; i < items.length;) {
      const end = random() < 0.3 ? Math.min(items.length, i + 2 + Math.floor(random() * 4)) : i + 1;
      const batch: BatchItem[] = [];
      const chain = `${items[i].entity} ${items[i].lane}`;
      for (; i < end; i++) batch.push(itemOf(plan, i));
      const durability = random() < 0.2 ? "durable" : "written";
      const step = (async () => {
        let events: StagedEvent[];
        if (batch.length > 1) events = await fence.appendBatch(batch, { durability });
        else {
          const { kind, payload, entity, scope, ...rest } = batch[0];
          // Nobody else can append while the fence is open.
          const expectedClock = last?.chain === chain ? last.clock : undefined;
          const options = { ...rest, durability, expectedClock } as const;
          events = [await fence.append({ entity, scope }, kind, payload, options)];
        }
        last = { chain: "", clock: 0 };
        if (batch.length === 1) last = { chain, clock: events[0].clock };
        const sequences = events.map(({ globalSequence }) => globalSequence);
        this.#notes.write({ t: "staged", op, sequences });
      })();
      staged.push(step);
      step.catch(() => {});
      if (random() < 0.5) await Promise.all(staged);
      else last = undefined;
      if (random() < 0.1) await this.#assertAlone(client, fence);
      if (random() < 0.15) await sleep(random() * 5);
    }
    await Promise.all(staged);
  }

  /** Tries to begin a second fence. */
  async #assertAlone(client: StoreClient, fence: ClientFence): Promise<void> {
    const second = await client.beginFence().catch((error) => error);
    if (second instanceof HostError) throw second;
    if (second?.code === "FENCE_ACTIVE") return;
    assert.ok(second instanceof ClientFence, `beginFence() came to ${second}`);
    // A close that was refused may have ended the first one meanwhile, and nothing else may.
    await second.cancel();
    await fence.cancel();
    assert.fail("there were two fences");
  }

  /** Does something, and notes what came of it. */
  async #settle(
    plan: Plan,
    action: () => Promise<readonly Receipt[] | undefined>,
    isCommit = false,
  ): Promise<void> {
    const { op } = plan;
    try {
      const receipts = await action();
      if (receipts !== undefined) this.#acknowledged(plan, receipts, isCommit);
    } catch (error) {
      if (error instanceof HostError) {
        if (error.outcomeUnknown) this.#notes.write({ t: "unknown", op });
        else this.#notes.write({ t: "no", op, code: error.reason });
        throw error;
      }
      const { code } = error as { code?: string };
      if (code === undefined || !EXPECTED_CODES.has(code)) throw error;
      this.#notes.write({ t: "no", op, code });
    }
  }

  #acknowledged(plan: Plan, receipts: readonly Receipt[], isCommit: boolean): void {
    const { op, items, isDurable } = plan;
    const sequences = receipts.map(({ globalSequence }) => globalSequence);
    this.#notes.write({
      t: "ack",
      op,
      sequences,
      ids: receipts.map(({ eventId }) => eventId),
      replayed: receipts.some(({ replayed }) => replayed),
      ...(this.#random() < 0.1 && { claim: receipts[0].toJSON() }),
    });
    assert.equal(receipts.length, items.length);
    const isFirst = receipts.every(({ replayed }) => !replayed);
    assert.ok(isFirst || receipts.every(({ replayed }) => replayed), `${op} is whole`);
    for (const [i, { lane, clock, coordinate, globalSequence }] of receipts.entries()) {
      const item = items[i];
      assert.deepEqual([coordinate.entity, lane], [item.entity, item.lane]);
      if (isFirst) assert.equal(globalSequence, sequences[0] + i, `${op} is in one piece`);
      this.#clocks.set(`${item.entity} ${lane}`, clock);
    }
    // Taking a view checks what holds in it.
    const view = this.#client.frontier();
    const { written, visible, durable } = view;
    for (const kind of ["accepted", "written", "durable", "visible", "emitted"] as const) {
      const before = this.#view?.[kind].globalSequence ?? 0;
      assert.ok(view[kind].globalSequence >= before, `${kind} went back from ${before}`);
    }
    this.#view = view;
    const last = sequences[sequences.length - 1];
    assert.ok(written.globalSequence >= last && visible.globalSequence >= last, `${op} is seen`);
    // One that was there before is not made durable by being asked for again.
    if ((isDurable || isCommit) && isFirst) {
      assert.ok(durable.globalSequence >= last, `${op} is durable`);
    }
  }

  /** Does something once nobody has a fence open. */
  async #unfenced<T>(action: () => T | Promise<T>): Promise<T> {
    const startMs = performance.now();
    for (;;) {
      try {
        const result = await action();
        const ms = Math.round(performance.now() - startMs);
        if (ms > 1_000) this.#notes.write({ t: "waited", ms });
        return result;
      } catch (error) {
        if ((error as { code?: string }).code !== "FENCE_ACTIVE") throw error;
        await sleep(1 + this.#random() * 4);
      }
    }
  }
}

const EXPECTED_CODES = new Set(["CLOCK_CONFLICT", "CONDITION_CONFLICT", "FENCE_NOT_ACTIVE"]);
