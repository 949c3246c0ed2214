// Spec 4.8, 4.9 and 5.7: gates in front of a store, and denials in it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs } from "../platform/memory.ts";
import { DIR, openIn, ORDER, OTHER, PLACED } from "../tests/support_api/journal.ts";
import { ClockConflictError } from "./errors.ts";
import { defineEvent } from "./event_definition.ts";
import { EventKind } from "./event_kind.ts";
import { Denial, type DenialPayload, GateError, GateSet, Pipeline, Proposal } from "./gates.ts";
import { blake3 } from "./hash.ts";
import { encodePayload } from "./payload.ts";
import { Store } from "./store.ts";

interface Account {
  readonly balance: number;
  readonly isOpen: boolean;
}

const withdrawn = defineEvent<{ cents: number }>({ name: "withdrawn", kind: "E:002" });

function rules(): GateSet<Account> {
  return new GateSet<Account>([
    {
      name: "open",
      evaluate: ({ isOpen }) => isOpen ? undefined : new Denial("open", "the account is closed"),
    },
    {
      name: "funds",
      evaluate: ({ balance }) =>
        balance >= 20
          ? undefined
          : new Denial("funds", "not enough money", { code: "FUNDS", context: [["balance", "5"]] }),
    },
    { name: "limit", evaluate: () => undefined },
  ]);
}

test("a proposal that the gates permit is committed once, and its receipt is the store's", () => {
  using store = openIn(new MemoryFs());
  const pipeline = new Pipeline(rules());
  const verdict = pipeline.evaluate({ balance: 50, isOpen: true }, new Proposal({ cents: 20 }));
  assert.ok(verdict.permitted);
  const append = (payload: { cents: number }) =>
    store.append(ORDER, withdrawn, payload, { expectedClock: "none" });
  const committed = pipeline.commit(verdict.receipt, append);
  assert.deepEqual(committed.gatesPassed, ["open", "funds", "limit"]);
  assert.equal(committed.bypassAudit, undefined);
  assert.deepEqual(committed.payload, { cents: 20 });
  assert.deepEqual(store.verifyReceipt(committed.receipt), { valid: true, outcome: "unsigned" });
  assert.equal(store.latest(ORDER.entity)?.decode(withdrawn).cents, 20);
  assert.throws(() => pipeline.commit(verdict.receipt, append), (error) => {
    assert.ok(error instanceof GateError);
    assert.equal(error.reason, "Used");
    return true;
  });
  assert.equal(store.query(ORDER).length, 1);
});

test("a commit that the store refuses uses the receipt up: the rules are asked again", () => {
  using store = openIn(new MemoryFs());
  store.append(ORDER, withdrawn, { cents: 1 });
  const pipeline = new Pipeline(rules());
  const verdict = pipeline.evaluate({ balance: 50, isOpen: true }, new Proposal({ cents: 20 }));
  assert.ok(verdict.permitted);
  const append = (payload: { cents: number }) =>
    store.append(ORDER, withdrawn, payload, { expectedClock: "none" });
  assert.throws(() => pipeline.commit(verdict.receipt, append), ClockConflictError);
  assert.throws(() => pipeline.commit(verdict.receipt, append), { code: "GATE", reason: "Used" });
});

test("a bypass is committed with its audit", () => {
  using store = openIn(new MemoryFs());
  const receipt = Pipeline.bypass(
    new Proposal({ cents: 5 }),
    { name: "court-order", justification: "case 4711" },
    "the judge",
  );
  const committed = Pipeline.commitBypass(receipt, (payload) => {
    return store.append(ORDER, withdrawn, payload);
  });
  assert.deepEqual(committed.bypassAudit, {
    reason: "court-order",
    justification: "case 4711",
    approvedBy: "the judge",
  });
  assert.equal(committed.receipt.clock, 0);
});

test("appendDenial() records what every gate said, in the chain of the entity it was about", () => {
  const fs = new MemoryFs();
  const store = openIn(fs);
  const first = store.append(ORDER, withdrawn, { cents: 1 });
  const gates = rules();
  const verdict = gates.evaluate({ balance: 5, isOpen: true }, new Proposal({ cents: 20 }));
  assert.ok(!verdict.permitted);
  const proposedContentHash = blake3(encodePayload({ cents: 20 }));
  const receipt = store.appendDenial(ORDER, {
    proposedKind: withdrawn,
    gates,
    denial: verdict.denial,
    proposedContentHash,
    pipelineId: "withdrawals",
  }, { tags: ["denied"], extensions: { "app.audit": Uint8Array.of(1) } });
  store.close();

  using reader = Store.openReadOnly(DIR, { fs });
  const event = reader.get(receipt.eventId)!;
  assert.equal(event.kind, EventKind.SYSTEM_DENIAL);
  assert.equal(event.clock, 1);
  assert.deepEqual(event.prevHash, first.eventHash);
  assert.deepEqual(event.tags, ["denied"]);
  assert.deepEqual(event.extensions, { "app.audit": Uint8Array.of(1) });
  const expected: DenialPayload = {
    evaluations: [
      { gate_id: "open", verdict: "Permit", evidence_hash: null },
      {
        gate_id: "funds",
        verdict: {
          Deny: { code: "FUNDS", message: "not enough money", context: [["balance", "5"]] },
        },
        evidence_hash: null,
      },
      { gate_id: "limit", verdict: "Skipped", evidence_hash: null },
    ],
    pipeline_id: "withdrawals",
    proposed_kind: 0xe002,
    proposed_content_hash: proposedContentHash,
  };
  assert.deepEqual(event.payload, expected);
  assert.deepEqual(reader.verifyDenialReceipt(receipt), { valid: true, outcome: "unsigned" });
});

test("a denial honours the options of an append: key, clock, condition, durability", () => {
  using store = openIn(new MemoryFs(), { sync: { everyNEvents: 0 } });
  const request = { proposedKind: PLACED, gates: rules(), denial: new Denial("funds", "no") };
  const receipt = store.appendDenial(ORDER, request, {
    idempotencyKey: "denied-once",
    expectedClock: "none",
    durability: "durable",
  });
  assert.equal(store.durableSequence, receipt.globalSequence + 1);
  const again = store.appendDenial(OTHER, request, { idempotencyKey: "denied-once" });
  assert.deepEqual(again.toJSON(), receipt.toJSON());
  assert.throws(
    () => store.appendDenial(ORDER, request, { expectedClock: "none" }),
    ClockConflictError,
  );
  assert.throws(
    () => store.appendDenial(ORDER, request, { failIf: { region: { entity: ORDER.entity } } }),
    { code: "CONDITION_CONFLICT" },
  );
});

test("what gates deny is not recorded by itself", () => {
  using store = openIn(new MemoryFs());
  const verdict = new Pipeline(rules()).evaluate(
    { balance: 0, isOpen: false },
    new Proposal({ cents: 1 }),
  );
  assert.ok(!verdict.permitted);
  assert.equal(String(verdict.denial), "[open] the account is closed");
  assert.equal(store.stats().eventCount, 1);
});
