// The ledger is what all torture is judged by: each thing that must never be, it has to notice.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type EventKind, MemoryFs, type Receipt, Store } from "../mod.ts";
import { Ledger } from "./support_api/torture_ledger.ts";
import {
  FADING,
  KEY,
  keyOf,
  LASTING,
  type Note,
  payloadOf,
  type Plan,
  SCOPE,
  tagOf,
} from "./support_api/torture_load.ts";

const LOOK = { thorough: true };
const CUT = { thorough: true, powerCut: true };

/** A journal, and a ledger that is told of it, truly or not. */
class Case {
  readonly store: Store;
  readonly ledger = new Ledger({});
  #count = 0;

  constructor() {
    this.store = Store.open("journal", { fs: new MemoryFs(), signingKeys: [KEY] });
    const opened = { repairs: 0, oddities: [], path: "frames", nextSequence: 1, committed: -1 };
    this.tell({ t: "opened", ...opened });
  }

  tell(note: Note): void {
    this.ledger.take(note);
  }

  plan(form: Plan["form"], count = 1, kind: EventKind = LASTING): Plan {
    const items = Array.from({ length: count }, () => ({ entity: "thing:1", lane: 0, kind }));
    const op = `1.${this.#count++}`;
    return { op, form, items, isKeyed: true, isDurable: false, isLarge: false };
  }

  /** What the store is asked for, of the items from `start` on. */
  items(plan: Plan, start = 0) {
    return plan.items.map(({ entity, lane, kind }, i) => ({
      entity,
      lane,
      scope: SCOPE,
      kind: kind as EventKind,
      payload: payloadOf(plan, i),
      tags: [tagOf(plan.op, i)],
      idempotencyKey: keyOf(plan.op, i),
    })).slice(start);
  }

  try(plan: Plan): void {
    this.tell({ t: "try", plan });
  }

  ack({ op }: Plan, receipts: readonly Receipt[], replayed = false): void {
    const claims = receipts.map((receipt) => receipt.toJSON());
    this.tell({ t: "ack", op, claims, replayed });
  }

  /** One that is as it should be. */
  batch(count = 1): readonly Receipt[] {
    const plan = this.plan("batch", count);
    this.try(plan);
    const receipts = this.store.appendBatch(this.items(plan));
    this.ack(plan, receipts);
    return receipts;
  }
}

/** A receipt for a sequence that the journal of a case does not have. */
function foreignReceipts(sequence: number): Receipt[] {
  const other = Store.open("other", { fs: new MemoryFs(), signingKeys: [KEY] });
  for (;;) {
    const receipt = other.append({ entity: "a", scope: "b" }, LASTING, 0);
    if (receipt.globalSequence === sequence) return [receipt];
  }
}

test("the ledger is content with a journal that says what was promised", () => {
  const test = new Case();
  test.batch(3);
  test.ledger.judge(test.store, LOOK);
  test.batch();
  test.ledger.judge(test.store, LOOK);
});

test("the ledger notices an acknowledged event that is not there, also behind those that are", () => {
  const test = new Case();
  test.batch(2);
  const plan = test.plan("append");
  test.try(plan);
  test.ack(plan, foreignReceipts(3));
  assert.throws(() => test.ledger.judge(test.store, LOOK), /is lost/);
});

test("the ledger lets a power cut take what was not durable, and nothing before it", () => {
  const lost = new Case();
  lost.batch();
  const plan = lost.plan("append");
  lost.try(plan);
  lost.ack(plan, foreignReceipts(2));
  lost.tell({ t: "phase", name: "idle", durable: 2 });
  lost.ledger.judge(lost.store, CUT);

  const durable = new Case();
  const kept = durable.plan("append");
  durable.try(kept);
  durable.ack(kept, foreignReceipts(2));
  durable.tell({ t: "phase", name: "idle", durable: 3 });
  assert.throws(() => durable.ledger.judge(durable.store, CUT), /is lost/);
});

test("the ledger notices a group of which a part is there", () => {
  const test = new Case();
  const plan = test.plan("batch", 3);
  test.try(plan);
  test.store.appendBatch(test.items(plan).slice(0, 2));
  assert.throws(() => test.ledger.judge(test.store, LOOK), /is whole/);
});

test("the ledger notices a group that begins in its middle", () => {
  const test = new Case();
  const plan = test.plan("batch", 3);
  test.try(plan);
  test.store.appendBatch(test.items(plan, 1));
  assert.throws(() => test.ledger.judge(test.store, LOOK), /begins with item 1/);
});

test("the ledger notices what was staged behind a fence that was not committed", () => {
  const test = new Case();
  const plan = test.plan("fence", 2);
  test.try(plan);
  test.store.appendBatch(test.items(plan));
  assert.throws(() => test.ledger.judge(test.store, LOOK), /is seen at/);
});

test("the ledger notices an event that comes back after it was not there", () => {
  const test = new Case();
  const plan = test.plan("append");
  test.try(plan);
  test.ledger.judge(test.store, LOOK);
  test.store.appendBatch(test.items(plan));
  assert.throws(() => test.ledger.judge(test.store, LOOK), /is seen at/);
});

test("the ledger notices another payload, and one that nothing had given up", () => {
  const other = new Case();
  const plan = other.plan("append");
  other.try(plan);
  const [item] = other.items(plan);
  other.store.appendBatch([{ ...item, payload: "another" }]);
  assert.throws(() => other.ledger.judge(other.store, LOOK), assert.AssertionError);

  const erased = new Case();
  erased.batch();
  erased.store.compact({ strategy: { type: "tombstone", keep: () => false }, seal: true });
  assert.throws(() => erased.ledger.judge(erased.store, LOOK), /has lost its payload/);
});

test("the ledger notices an erased payload that is there again", () => {
  const test = new Case();
  const plan = test.plan("append", 1, FADING);
  test.try(plan);
  test.ack(plan, test.store.appendBatch(test.items(plan)));
  test.tell({ t: "compacting", strategy: "tombstone" });
  test.tell({ t: "compacted", outcome: "performed", erasedBelow: 2 });
  assert.throws(() => test.ledger.judge(test.store, LOOK), /was erased/);
});

test("the ledger notices a retry that is not answered with the first receipt", () => {
  const test = new Case();
  const [receipt] = test.batch();
  test.tell({ t: "retry", op: "1.0" });
  assert.throws(
    () => test.tell({ t: "ack", op: "1.0", claims: [receipt.toJSON()], replayed: false }),
    /replayed/,
  );
});

test("the ledger notices a checkpoint that is ahead, and one that has gone back", () => {
  const ahead = new Case();
  const [{ globalSequence }] = ahead.batch();
  ahead.tell({ t: "given", sequences: [globalSequence] });
  ahead.tell({ t: "committing", sequence: globalSequence });
  assert.throws(
    () => ahead.ledger.settleCheckpoint({ position: globalSequence + 1, started: true }),
    /the checkpoint/,
  );
  ahead.tell({ t: "committed" });
  assert.throws(() => ahead.ledger.settleCheckpoint(undefined), /the checkpoint/);
});

test("the ledger notices a consumer that left an event out", () => {
  const test = new Case();
  test.batch(3);
  test.tell({ t: "given", sequences: [1, 3] });
  assert.throws(() => test.ledger.finishConsumer(test.store, []), { rule: "skipped", sequence: 2 });
});

test("the ledger notices a journal that begins later than anything was pruned", () => {
  const test = new Case();
  test.batch();
  const pruned = Store.open("pruned", { fs: new MemoryFs(), segmentMaxBytes: 500 });
  for (let n = 0; n < 9; n++) pruned.append({ entity: "a", scope: "b" }, LASTING, n);
  assert.equal(pruned.prune({ below: 5 }).outcome, "performed");
  assert.throws(() => test.ledger.judge(pruned, LOOK), /it begins at/);
});
