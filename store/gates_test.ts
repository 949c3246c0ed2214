import assert from "node:assert/strict";
import { test } from "node:test";
import { EventKind } from "./event_kind.ts";
import {
  BypassReceipt,
  type CommitReceipt,
  Denial,
  type Gate,
  GateReceipt,
  GateSet,
  Pipeline,
  Proposal,
} from "./gates.ts";
import { EventId } from "./ids.ts";

interface Account {
  readonly balance: number;
  readonly isOpen: boolean;
}

const open: Gate<Account> = {
  name: "open",
  evaluate: ({ isOpen }) => isOpen ? undefined : new Denial("open", "the account is closed"),
};
const funds: Gate<Account> = {
  name: "funds",
  description: "Nobody spends what they do not have",
  evaluate: ({ balance }) =>
    balance >= 20 ? undefined : new Denial("funds", "not enough money").withCode("FUNDS"),
};
const RICH: Account = { balance: 100, isOpen: true };
const BROKE: Account = { balance: 0, isOpen: false };
const PROPOSAL = new Proposal({ amount: 20 });
const RECEIPT: CommitReceipt = {
  eventId: EventId.parse("0196f3b2-8c00-7abc-8def-0123456789ab"),
  globalSequence: 0,
  contentHash: new Uint8Array(32),
};

function permitted<Context, Payload>(
  pipeline: Pipeline<Context>,
  context: Context,
  proposal: Proposal<Payload>,
): GateReceipt<Payload> {
  const verdict = pipeline.evaluate(context, proposal);
  assert.ok(verdict.permitted);
  return verdict.receipt;
}

/** A gate that answers with `answer`, whatever its type, and counts how often it was asked. */
function gateAnswering(name: string, answer: () => unknown): Gate<Account> & { count: number } {
  return {
    name,
    count: 0,
    evaluate() {
      this.count++;
      return answer() as Denial | undefined;
    },
  };
}

test("a denial carries a code and facts, and prints as [gate] message", () => {
  const bare = new Denial("funds", "not enough money");
  const denial = bare.withCode("FUNDS").withContext("balance", "0").withContext("price", "20");
  assert.equal(String(denial), "[funds] not enough money");
  assert.deepEqual([bare.code, bare.context], ["", []]);
  assert.equal(denial.code, "FUNDS");
  assert.deepEqual(denial.context, [["balance", "0"], ["price", "20"]]);
  assert.throws(() => Object.assign(denial, { code: "" }), TypeError);
  assert.throws(() => new Denial("", "why"), { code: "GATE", reason: "EmptyName" });
  assert.throws(() => new Denial("größe", "why"), { code: "GATE", reason: "NonAsciiName" });
});

test("GateSet.push() wants a name that is printable ASCII and not taken", () => {
  const named = (name: string) => ({ name, evaluate: () => undefined });
  assert.throws(() => new GateSet([named("")]), { reason: "EmptyName" });
  assert.throws(() => new GateSet([named("größe")]), { reason: "NonAsciiName" });
  assert.throws(() => new GateSet([named("a\nb")]), { reason: "NonAsciiName" });
  const gates = new GateSet([named("a")]).push(named("b"));
  assert.throws(() => gates.push(named("a")), { reason: "DuplicateName" });
  assert.deepEqual(gates.names, ["a", "b"]);
  assert.equal(gates.size, 2);
});

test("evaluate() stops at the first denial", () => {
  const after = gateAnswering("after", () => undefined);
  const verdict = new GateSet([open, funds, after]).evaluate(BROKE, PROPOSAL);
  assert.ok(!verdict.permitted);
  assert.equal(String(verdict.denial), "[open] the account is closed");
  assert.equal(after.count, 0);
});

test("evaluate() gives a receipt that names the gates in order", () => {
  const verdict = new GateSet([open, funds]).evaluate(RICH, PROPOSAL);
  assert.ok(verdict.permitted);
  assert.deepEqual(verdict.receipt.gatesPassed, ["open", "funds"]);
});

test("a set without gates permits", () => {
  const verdict = new GateSet<Account>().evaluate(BROKE, PROPOSAL);
  assert.ok(verdict.permitted);
  assert.deepEqual(verdict.receipt.gatesPassed, []);
});

test("evaluate() lets the error of a gate through", () => {
  const failure = new Error("out of order");
  const broken = gateAnswering("broken", () => {
    throw failure;
  });
  assert.throws(() => new GateSet([broken]).evaluate(RICH, PROPOSAL), failure);
});

test("evaluate() permits nothing on a verdict that is none", () => {
  const lookalike = { gate: "x", message: "", code: "", context: [] };
  for (const answer of [null, true, false, "", lookalike, Promise.resolve(undefined)]) {
    const gates = new GateSet([gateAnswering("odd", () => answer)]);
    assert.throws(() => gates.evaluate(RICH, PROPOSAL), { code: "GATE", reason: "InvalidVerdict" });
    assert.deepEqual(gates.evaluateAll(RICH).map(({ code }) => code), ["GATE_DEFECT"]);
  }
});

test("evaluateAll() collects every denial in order and survives a throwing gate", () => {
  const broken = gateAnswering("broken", () => {
    throw new Error("out of order");
  });
  const brokenOddly = gateAnswering("oddly", () => {
    // deno-lint-ignore no-throw-literal -- a gate may throw anything
    throw "just text";
  });
  const fine = gateAnswering("fine", () => undefined);
  const gates = new GateSet([open, broken, fine, brokenOddly, funds]);
  assert.deepEqual(gates.evaluateAll(BROKE).map((denial) => [String(denial), denial.code]), [
    ["[open] the account is closed", ""],
    ["[broken] out of order", "GATE_DEFECT"],
    ["[oddly] just text", "GATE_DEFECT"],
    ["[funds] not enough money", "FUNDS"],
  ]);
  assert.deepEqual(new GateSet([open, funds]).evaluateAll(RICH), []);
});

test("commit() commits the payload and reports the receipt and the gates", () => {
  const pipeline = new Pipeline(new GateSet([open, funds]));
  const proposal = PROPOSAL.map(({ amount }) => ({ cents: amount * 100 }));
  const appendReceipt = { ...RECEIPT, signature: null };
  const committed = pipeline.commit(permitted(pipeline, RICH, proposal), (payload) => {
    assert.deepEqual(payload, { cents: 2000 });
    return appendReceipt;
  });
  assert.deepEqual(committed.payload, { cents: 2000 });
  assert.equal(committed.receipt, appendReceipt);
  assert.deepEqual(committed.gatesPassed, ["open", "funds"]);
  assert.equal(committed.bypassAudit, undefined);
});

test("a receipt works once, even when the commit failed", () => {
  const pipeline = new Pipeline(new GateSet([open]));
  const receipt = permitted(pipeline, RICH, PROPOSAL);
  pipeline.commit(receipt, () => RECEIPT);
  const commitNever = () => assert.fail("it was committed twice");
  assert.throws(() => pipeline.commit(receipt, commitNever), { code: "GATE", reason: "Used" });

  const failure = new Error("disk full");
  const second = permitted(pipeline, RICH, PROPOSAL);
  const fail = () => {
    throw failure;
  };
  assert.throws(() => pipeline.commit(second, fail), failure);
  assert.throws(() => pipeline.commit(second, commitNever), { reason: "Used" });
});

test("a receipt cannot be committed from within its own commit", () => {
  const pipeline = new Pipeline(new GateSet([open]));
  const receipt = permitted(pipeline, RICH, PROPOSAL);
  const commitNever = () => assert.fail("it was committed twice");
  pipeline.commit(receipt, () => {
    assert.throws(() => pipeline.commit(receipt, commitNever), { reason: "Used" });
    return RECEIPT;
  });
});

test("a receipt cannot be forged at run time", () => {
  const pipeline = new Pipeline(new GateSet([open]));
  const genuine = permitted(pipeline, RICH, PROPOSAL);
  const construct = genuine.constructor as new (...args: unknown[]) => object;
  for (const seal of [undefined, Symbol("seal"), Symbol.for("seal")]) {
    assert.throws(() => new construct(seal, { amount: 1 }, pipeline.gates), { reason: "Forged" });
  }
  class Heir extends construct {}
  assert.throws(() => new Heir(), { reason: "Forged" });

  const forgeries: unknown[] = [
    undefined,
    null,
    "receipt",
    {},
    { gatesPassed: ["open"], payload: { amount: 1 } },
    { ...genuine },
    structuredClone(genuine),
    Object.create(GateReceipt.prototype),
    Object.create(genuine),
    Object.setPrototypeOf({ gatesPassed: ["open"] }, GateReceipt.prototype),
    new Proxy(genuine, {}),
    Pipeline.bypass(PROPOSAL, { name: "drill", justification: "it is one" }),
  ];
  for (const forgery of forgeries) {
    assert.throws(
      () => pipeline.commit(forgery as GateReceipt<unknown>, () => assert.fail("committed")),
      { code: "GATE", reason: "Forged" },
    );
  }
  assert.throws(() => Object.assign(genuine, { gatesPassed: [] }), TypeError);
  pipeline.commit(genuine, () => RECEIPT);
});

test("a receipt cannot be forged in types", () => {
  // @ts-expect-error the constructor is private
  assert.throws(() => new GateReceipt(Symbol(), {}, new GateSet()), { reason: "Forged" });
  // @ts-expect-error a look-alike is no receipt
  const receipt: GateReceipt<string> = { gatesPassed: [] };
  // @ts-expect-error a look-alike is no denial
  const denial: Denial = { ...new Denial("a", "b") };
  // @ts-expect-error a bypass is no receipt of a gate
  const bypass: GateReceipt<string> = {} as BypassReceipt<string>;
  assert.ok(receipt && denial && bypass);
});

test("a receipt is worth nothing to other gates", () => {
  const pipeline = new Pipeline(new GateSet([funds]));
  const lenient = new Pipeline(new GateSet<Account>());
  const receipt = permitted(lenient, BROKE, PROPOSAL);
  assert.throws(() => pipeline.commit(receipt, () => assert.fail("committed")), {
    reason: "Stale",
  });
  lenient.commit(receipt, () => RECEIPT);
});

test("a receipt does not outlive the gates it was issued under", () => {
  const pipeline = new Pipeline(new GateSet([open]));
  const receipt = permitted(pipeline, { balance: 0, isOpen: true }, PROPOSAL);
  pipeline.gates.push(funds);
  assert.throws(() => pipeline.commit(receipt, () => assert.fail("committed")), {
    reason: "Stale",
  });
});

test("commit() refuses what is no receipt of an append", () => {
  const pipeline = new Pipeline(new GateSet<Account>());
  const bad: unknown[] = [
    undefined,
    null,
    Promise.resolve(RECEIPT),
    { ...RECEIPT, eventId: "event" },
    { ...RECEIPT, globalSequence: -1 },
    { ...RECEIPT, globalSequence: 0.5 },
    { ...RECEIPT, contentHash: new Uint8Array(31) },
    { ...RECEIPT, contentHash: "00" },
  ];
  for (const returned of bad) {
    const receipt = permitted(pipeline, RICH, PROPOSAL);
    assert.throws(() => pipeline.commit(receipt, () => returned as CommitReceipt), {
      code: "GATE",
      reason: "InvalidCommit",
    });
  }
});

test("a bypass asks no gate and leaves an audit", () => {
  const reason = { name: "incident-42", justification: "the gate is down" };
  const receipt = Pipeline.bypass(PROPOSAL, reason, "Ada");
  const committed = Pipeline.commitBypass(receipt, ({ amount }) => {
    assert.equal(amount, 20);
    return RECEIPT;
  });
  assert.deepEqual(committed.bypassAudit, {
    reason: "incident-42",
    justification: "the gate is down",
    approvedBy: "Ada",
  });
  assert.deepEqual(committed.gatesPassed, []);
  assert.equal(Pipeline.bypass(PROPOSAL, reason).audit.approvedBy, undefined);
});

test("a bypass needs a reason, works once, and cannot be forged", () => {
  const reason = { name: "drill", justification: "it is one" };
  assert.throws(() => Pipeline.bypass(PROPOSAL, { ...reason, name: "" }), {
    reason: "EmptyJustification",
  });
  assert.throws(() => Pipeline.bypass(PROPOSAL, { ...reason, justification: " " }), {
    reason: "EmptyJustification",
  });
  const commitNever = () => assert.fail("committed");
  const receipt = Pipeline.bypass(PROPOSAL, reason);
  Pipeline.commitBypass(receipt, () => RECEIPT);
  assert.throws(() => Pipeline.commitBypass(receipt, commitNever), { reason: "Used" });

  const pipeline = new Pipeline(new GateSet([open]));
  const forgeries: unknown[] = [
    { audit: receipt.audit },
    structuredClone(receipt),
    Object.create(BypassReceipt.prototype),
    permitted(pipeline, RICH, PROPOSAL),
  ];
  for (const forgery of forgeries) {
    assert.throws(
      () => Pipeline.commitBypass(forgery as BypassReceipt<unknown>, commitNever),
      { reason: "Forged" },
    );
  }
  const construct = receipt.constructor as new (...args: unknown[]) => unknown;
  assert.throws(() => new construct(Symbol("seal"), {}, {}), { reason: "Forged" });
});

test("traceDenial() says what each gate said: permitted, denied, not asked", () => {
  const gates = new GateSet([gateAnswering("first", () => undefined), funds, open]);
  const verdict = gates.evaluate(BROKE, PROPOSAL);
  assert.ok(!verdict.permitted);
  const contentHash = new Uint8Array(32).fill(7);
  const denial = verdict.denial.withContext("balance", "0");
  assert.deepEqual(
    gates.traceDenial(denial, { kind: EventKind.DATA, contentHash, pipelineId: "spend" }),
    {
      evaluations: [
        { gate_id: "first", verdict: "Permit", evidence_hash: null },
        {
          gate_id: "funds",
          verdict: {
            Deny: { code: "FUNDS", message: "not enough money", context: [["balance", "0"]] },
          },
          evidence_hash: null,
        },
        { gate_id: "open", verdict: "Skipped", evidence_hash: null },
      ],
      pipeline_id: "spend",
      proposed_kind: 0x1000,
      proposed_content_hash: contentHash,
    },
  );
});

test("traceDenial() puts a denial of no known gate behind gates that permitted", () => {
  const gates = new GateSet([open, funds]);
  const trace = gates.traceDenial(new Denial("elsewhere", "no"), { kind: EventKind.DATA });
  assert.deepEqual(trace, {
    evaluations: [
      { gate_id: "open", verdict: "Permit", evidence_hash: null },
      { gate_id: "funds", verdict: "Permit", evidence_hash: null },
      {
        gate_id: "elsewhere",
        verdict: { Deny: { code: "", message: "no", context: [] } },
        evidence_hash: null,
      },
    ],
    pipeline_id: null,
    proposed_kind: 0x1000,
    proposed_content_hash: null,
  });
});
