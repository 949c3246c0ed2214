/**
 * Does everything that a user can do to a journal, over and over, until somebody kills it, and says so in
 * lines: see `torture_load.ts`. Whatever it does not expect is `broken`.
 */
import { writeSync } from "node:fs";
import process from "node:process";
import {
  bindCursor,
  ClockConflictError,
  ConditionConflictError,
  type DurableCursor,
  type EventKind,
  type Receipt,
  Store,
} from "../../mod.ts";
import { seededRandom } from "../support_api/journal.ts";
import {
  CHECKPOINT_ID,
  FADING,
  type Item,
  KEY,
  keyOf,
  LASTING,
  type Note,
  payloadOf,
  type Plan,
  REGION,
  RETIRING,
  SCOPE,
  type StepName,
  STEPS,
  tagOf,
  type WriterOrder,
} from "../support_api/torture_load.ts";

const order: WriterOrder = JSON.parse(process.argv[2]);
const random = seededRandom(order.seed);
const below = (end: number) => Math.floor(random() * end);
const oneOf = <T>(...choices: readonly T[]): T => choices[below(choices.length)];
const encoder = new TextEncoder();

function say(note: Note): void {
  const line = encoder.encode(JSON.stringify(note) + "\n");
  for (let at = 0; at < line.byteLength;) {
    try {
      at += writeSync(1, line, at);
    } catch (error) {
      // Whoever listens is busy.
      if ((error as { code?: string }).code !== "EAGAIN") throw error;
    }
  }
}

/** How often each step is chosen; that of the order far more often. */
const WEIGHTS: Readonly<Record<StepName, number>> = {
  append: 30,
  batch: 12,
  fence: 6,
  sync: 4,
  compact: 1.5,
  prune: 0.7,
  checkpoint: 6,
  copy: 0.4,
  reopen: 0.4,
};
const weights = STEPS.map((name) => name === order.focus ? WEIGHTS[name] + 25 : WEIGHTS[name]);
const total = weights.reduce((sum, weight) => sum + weight, 0);

let store!: Store;
let consumer!: DurableCursor;
let count = 0;

function open(): void {
  say({ t: "phase", name: "open" });
  store = Store.open(order.dir, {
    batch: { maxBytes: 16 << 20 },
    segmentMaxBytes: oneOf(2_000, 6_000, 20_000),
    sync: { everyNEvents: oneOf(0, 1, 20, 1_000), mode: oneOf("data", "all") },
    coldStart: { saveEveryNEvents: oneOf(0, 20, 200), footers: random() < 0.9 },
    signingKeys: [KEY],
  });
  consumer = bindCursor(store, REGION, CHECKPOINT_ID);
  const { repairs, oddities, path } = store.openReport;
  const { nextSequence } = store.stats();
  const { position, started } = consumer.committed;
  const committed = started ? position : -1;
  say({ t: "opened", repairs: repairs.length, oddities, path, nextSequence, committed });
}

function close(): void {
  say({ t: "phase", name: "close" });
  consumer.close();
  const durable = store.stats().nextSequence;
  store.close();
  say({ t: "closed", durable });
}

function newPlan(form: Plan["form"]): Plan {
  const items = Array.from({ length: form === "append" ? 1 : 1 + below(7) }, (): Item => ({
    entity: `thing:${below(9)}`,
    lane: random() < 0.8 ? 0 : 1 + below(2),
    kind: oneOf(LASTING, LASTING, LASTING, FADING, RETIRING),
  }));
  return {
    op: `${order.life}.${count++}`,
    form,
    items,
    isKeyed: random() < 0.5,
    isDurable: random() < 0.15,
    isLarge: false,
  };
}

function itemOf(plan: Plan, i: number) {
  const { op, items, isKeyed } = plan;
  const { entity, lane, kind } = items[i];
  return {
    entity,
    scope: SCOPE,
    lane,
    kind: kind as EventKind,
    payload: payloadOf(plan, i),
    tags: [tagOf(op, i)],
    ...(isKeyed && { idempotencyKey: keyOf(op, i) }),
  };
}

function acknowledge(op: string, receipts: readonly Receipt[]): void {
  const claims = receipts.map((receipt) => receipt.toJSON());
  say({ t: "ack", op, claims, replayed: receipts.every(({ replayed }) => replayed) });
}

function append(plan: Plan, expected: "right" | "wrong" | "none" = "none"): void {
  const { entity, scope, kind, payload, ...item } = itemOf(plan, 0);
  const { op, isDurable } = plan;
  const head = store.headClock(entity, item.lane);
  const expectedClock = expected === "right" ? head : head === "none" ? 7 : head + 1;
  try {
    const receipt = store.append({ entity, scope }, kind, payload, {
      ...item,
      ...(expected !== "none" && { expectedClock }),
      // Nobody else has this tag, unless this very plan was appended before.
      ...(!plan.isKeyed && { failIf: { tags: item.tags } }),
      durability: isDurable ? "durable" : "written",
    });
    if (expected === "wrong") say({ t: "broken", what: `${op} has no conflict` });
    acknowledge(op, [receipt]);
  } catch (error) {
    if (!(error instanceof ClockConflictError && expected === "wrong")) throw error;
    say({ t: "no", op, code: error.code });
  }
}

function batch(plan: Plan): void {
  const { op, items, isDurable } = plan;
  const receipts = store.appendBatch(items.map((_, i) => itemOf(plan, i)), {
    durability: isDurable ? "durable" : "written",
  });
  acknowledge(op, receipts);
}

/** One that must be refused, because there is such an event. */
function refusedBatch(plan: Plan): void {
  const known = store.latest("thing:0");
  if (known === undefined || known.tags.length === 0) return;
  say({ t: "try", plan });
  try {
    store.appendBatch(plan.items.map((_, i) => itemOf(plan, i)), {
      failIf: { tags: [known.tags[0]] },
    });
    say({ t: "broken", what: `${plan.op} has no conflict with ${known.globalSequence}` });
  } catch (error) {
    if (!(error instanceof ConditionConflictError)) throw error;
    say({ t: "no", op: plan.op, code: error.code });
  }
}

function fence(plan: Plan): void {
  const { op, items } = plan;
  const fence = store.beginFence();
  for (let i = 0; i < items.length;) {
    const size = 1 + below(Math.min(3, items.length - i));
    const staged = items.slice(i, i + size).map((_, n) => itemOf(plan, i + n));
    if (size > 1) fence.appendBatch(staged);
    else {
      const { entity, scope, kind, payload, ...options } = staged[0];
      fence.append({ entity, scope }, kind, payload, options);
    }
    i += size;
  }
  const end = random() < 0.75 ? "commit" : "cancel";
  say({ t: "ending", op, end });
  if (end === "commit") acknowledge(op, fence.commit());
  else {
    fence.cancel();
    say({ t: "no", op, code: "cancelled" });
  }
}

function compact(): void {
  const type = oneOf("merge", "tombstone", "retention");
  const gone = type === "retention" ? RETIRING : FADING;
  const seal = random() < 0.5;
  const { nextSequence } = store.stats();
  say({ t: "compacting", strategy: type });
  const compaction = store.compaction({
    strategy: type === "merge" ? { type } : { type, keep: ({ kind }) => kind !== gone },
    minSegments: 1,
    mergedSegmentMaxBytes: oneOf(10_000, 60_000),
    stepMaxBytes: 4_096,
    seal,
  });
  const isAlone = random() < 0.5;
  while (compaction.step()) {
    if (isAlone) continue;
    const plan = newPlan("append");
    say({ t: "try", plan });
    append(plan);
    if (random() < 0.02) compaction.abandon();
  }
  const { report } = compaction;
  const { outcome = "abandoned" } = report ?? {};
  if (outcome === "failed") say({ t: "broken", what: `compaction: ${report?.reason}` });
  const isErased = outcome !== "abandoned" && type === "tombstone" && seal;
  say({ t: "compacted", outcome, erasedBelow: isErased ? nextSequence : 0 });
}

function prune(): void {
  const { nextSequence } = store.stats();
  const { position, started } = consumer.committed;
  // What a consumer has still to be given stays.
  const bound = Math.min(nextSequence - 100 - below(100), started ? position : 0);
  if (bound <= 0) return;
  say({ t: "pruning", below: bound });
  const { outcome, reason, firstSequence } = store.prune({ below: bound });
  if (outcome === "failed") say({ t: "broken", what: `prune: ${reason}` });
  say({ t: "pruned", outcome, first: firstSequence });
}

function checkpoint(): void {
  const events = consumer.cursor.pollBatch(1 + below(60));
  if (events.length > 0) {
    say({ t: "given", sequences: events.map(({ globalSequence }) => globalSequence) });
  }
  const { position, started } = consumer.cursor.position;
  say({ t: "committing", sequence: started ? position : -1 });
  consumer.commit();
  say({ t: "committed" });
}

function copy(): void {
  const target = `${order.copiesDir}/${order.life}.${count++}`;
  say({ t: "copying", target });
  const { nextSequence } = random() < 0.5
    ? store.snapshot(target)
    : store.fork(target, { share: "hardlink" });
  say({ t: "copied", nextSequence });
}

function step(name: StepName): void {
  if (name === "append" || name === "batch" || name === "fence") {
    const plan = newPlan(name);
    if (name === "batch" && random() < 0.1) return refusedBatch(plan);
    say({ t: "try", plan });
    if (name === "append") append(plan, oneOf("none", "none", "right", "wrong"));
    else if (name === "batch") batch(plan);
    else fence(plan);
    return;
  }
  if (name === "reopen") {
    close();
    return open();
  }
  say({ t: "phase", name });
  if (name === "sync") store.sync();
  else if (name === "compact") compact();
  else if (name === "prune") prune();
  else if (name === "checkpoint") checkpoint();
  else copy();
}

try {
  open();
  for (const plan of order.retries) {
    say({ t: "retry", op: plan.op });
    if (plan.form === "append") append(plan);
    else batch(plan);
  }
  if (order.beginsLarge) {
    const plan = { ...newPlan("batch"), isLarge: true };
    say({ t: "try", plan });
    batch(plan);
  }
  for (let done = 0; order.steps === undefined || done < order.steps; done++) {
    let at = random() * total;
    let chosen = 0;
    while (chosen < STEPS.length - 1 && at >= weights[chosen]) at -= weights[chosen++];
    step(STEPS[chosen]);
    say({ t: "phase", name: "idle", durable: store.durableSequence });
  }
  close();
} catch (error) {
  say({ t: "broken", what: `${(error as Error).stack}` });
  process.exitCode = 1;
}
