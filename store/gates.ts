/**
 * Gates: the rules a proposal must pass before somebody commits it.
 *
 * The store never runs a gate. A program puts its rules into a {@linkcode GateSet}, asks
 * {@linkcode Pipeline.evaluate} about a proposal, and gets a {@linkcode Denial} or a
 * {@linkcode GateReceipt}. Only a receipt can be committed, only once, and only while the rules are
 * those it was issued under; nothing but a gate set can make one, neither in types nor at run time. Who
 * must act against the rules says so with {@linkcode Pipeline.bypass}, and the result carries who did
 * it and why.
 *
 * A gate decides from its context alone: it does no I/O, changes nothing, and answers at once.
 *
 * @module
 */

import { StoreError } from "./errors.ts";
import type { EventKind } from "./event_kind.ts";
import { HASH_SIZE } from "./hash.ts";
import { EventId } from "./ids.ts";

/** Shown by whoever may make a receipt. It never leaves this module. */
const SEAL = Symbol("seal");
// Set by the receipts themselves: these reach behind their `#`, and nothing outside this module does.
let issueReceipt: <Payload>(payload: Payload, issuer: Issuer) => GateReceipt<Payload>;
let redeemReceipt: <Payload>(receipt: GateReceipt<Payload>, gates: Issuer) => Payload;
let issueBypass: <Payload>(payload: Payload, audit: BypassAudit) => BypassReceipt<Payload>;
let redeemBypass: <Payload>(receipt: BypassReceipt<Payload>) => Payload;

const GATE_DEFECT = "GATE_DEFECT";
const PRINTABLE_ASCII_PATTERN = /^[ -~]+$/;

/** One rule. */
export interface Gate<Context = unknown> {
  /** Names the rule in denials: ASCII, not empty, and unique within its set. */
  readonly name: string;
  /** What the rule is for. */
  readonly description?: string;
  /** Permits by returning `undefined`; denies by returning why. */
  evaluate(context: Context): Denial | undefined;
}

/** Why a gate, a receipt or a commit was refused. */
export type GateRefusal =
  | "EmptyName"
  | "NonAsciiName"
  | "DuplicateName"
  | "InvalidVerdict"
  | "Forged"
  | "Used"
  | "Stale"
  | "EmptyJustification"
  | "InvalidCommit";

/**
 * Gates were used in a way that would make their verdict worthless. The message says what to do
 * instead.
 */
export class GateError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "GateError";
  /** Stable, for programs. */
  override readonly code = "GATE";
  /** What was refused. */
  readonly reason: GateRefusal;

  /**
   * Says what was refused.
   *
   * @param reason what was refused; `message` says it to a person.
   */
  constructor(reason: GateRefusal, message: string) {
    super(message);
    this.reason = reason;
  }
}

/**
 * Why a gate said no. A value that cannot change; every `with…` returns a new one.
 *
 * @example Say no, and why
 * ```ts
 * import { Denial } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const denial = new Denial("credit-limit", "the order exceeds the credit limit")
 *   .withCode("LIMIT_EXCEEDED")
 *   .withContext("limit", "500");
 *
 * assert.equal(String(denial), "[credit-limit] the order exceeds the credit limit");
 * assert.deepEqual(denial.context, [["limit", "500"]]);
 * ```
 */
export class Denial {
  /** The name of the gate. */
  readonly gate: string;
  /** What the gate says to a person. */
  readonly message: string;
  /** What the gate says to a program; empty unless given. */
  readonly code: string;
  /** What the gate decided from, in the order it was added. */
  readonly context: readonly (readonly [key: string, value: string])[];
  // Keeps a look-alike object from being a denial, in types and at run time.
  readonly #isDenial = true;

  /**
   * Says no.
   *
   * @param gate the name of the gate; `message` says why, to a person.
   * @throws {GateError} when the name is empty or not ASCII.
   */
  constructor(gate: string, message: string, details: DenialDetails = {}) {
    validateGateName(gate);
    this.gate = gate;
    this.message = message;
    this.code = details.code ?? "";
    this.context = Object.freeze(
      (details.context ?? []).map(([key, value]) => Object.freeze([key, value] as const)),
    );
    Object.freeze(this);
  }

  /** Whether `value` is a denial rather than something that looks like one. */
  static is(value: unknown): value is Denial {
    return typeof value === "object" && value !== null && #isDenial in value;
  }

  /** The same denial with a code for programs. */
  withCode(code: string): Denial {
    return new Denial(this.gate, this.message, { code, context: this.context });
  }

  /** The same denial with one more fact the gate decided from. */
  withContext(key: string, value: string): Denial {
    const context = [...this.context, [key, value] as const];
    return new Denial(this.gate, this.message, { code: this.code, context });
  }

  /** `[gate] message`. */
  toString(): string {
    return `[${this.gate}] ${this.message}`;
  }
}

/** What a denial says beyond its message. */
export interface DenialDetails {
  /** What it says to a program. */
  readonly code?: string;
  /** What it was decided from. */
  readonly context?: readonly (readonly [key: string, value: string])[];
}

/** Something to commit, if the gates permit it. */
export class Proposal<Payload> {
  /** What would be committed. */
  readonly payload: Payload;

  /**
   * Proposes a payload.
   *
   * @param payload what would be committed.
   */
  constructor(payload: Payload) {
    this.payload = payload;
    Object.freeze(this);
  }

  /** A proposal of what `transform` makes of the payload. */
  map<Mapped>(transform: (payload: Payload) => Mapped): Proposal<Mapped> {
    return new Proposal(transform(this.payload));
  }
}

/** The answer of gates to a proposal. */
export type Verdict<Payload> =
  | { readonly permitted: true; readonly receipt: GateReceipt<Payload> }
  | { readonly permitted: false; readonly denial: Denial };

/**
 * Proves that gates permitted a payload. Only {@linkcode GateSet.evaluate} makes one, and it can be
 * committed once.
 */
export class GateReceipt<Payload> {
  /** The gates that permitted it, in order. */
  readonly gatesPassed: readonly string[];
  readonly #payload: Payload;
  readonly #issuer: Issuer;
  #isUsed = false;

  private constructor(seal: symbol, payload: Payload, issuer: Issuer) {
    if (seal !== SEAL) throw forged();
    this.gatesPassed = issuer.names;
    this.#payload = payload;
    this.#issuer = issuer;
    Object.freeze(this);
  }

  static {
    issueReceipt = (payload, issuer) => new GateReceipt(SEAL, payload, issuer);
    redeemReceipt = (receipt, gates) => {
      if (!isObject(receipt) || !(#payload in receipt)) throw forged();
      if (receipt.#isUsed) throw used();
      // A set only grows, so the same size means the same gates.
      if (receipt.#issuer !== gates || receipt.gatesPassed.length !== gates.size) throw stale();
      receipt.#isUsed = true;
      return receipt.#payload;
    };
  }
}

/** Why the rules were set aside. */
export interface BypassReason {
  /** The kind of occasion, for those who count them. */
  readonly name: string;
  /** Why it was right this time, for those who ask later. */
  readonly justification: string;
}

/** Who set the rules aside, and why. */
export interface BypassAudit {
  /** The kind of occasion. */
  readonly reason: string;
  /** Why it was right this time. */
  readonly justification: string;
  /** Who allowed it, when somebody had to. */
  readonly approvedBy: string | undefined;
}

/** A payload to commit against the rules. Only {@linkcode Pipeline.bypass} makes one; it works once. */
export class BypassReceipt<Payload> {
  /** What the commit will carry. */
  readonly audit: BypassAudit;
  readonly #payload: Payload;
  #isUsed = false;

  private constructor(seal: symbol, payload: Payload, audit: BypassAudit) {
    if (seal !== SEAL) throw forged();
    this.audit = audit;
    this.#payload = payload;
    Object.freeze(this);
  }

  static {
    issueBypass = (payload, audit) => new BypassReceipt(SEAL, payload, audit);
    redeemBypass = (receipt) => {
      if (!isObject(receipt) || !(#payload in receipt)) throw forged();
      if (receipt.#isUsed) throw used();
      receipt.#isUsed = true;
      return receipt.#payload;
    };
  }
}

/**
 * Gates in the order they are asked. It can grow, and never shrinks.
 *
 * @example Ask all the rules at once
 * ```ts
 * import { Denial, GateSet } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * interface Order {
 *   total: number;
 * }
 * const gates = new GateSet<Order>([{
 *   name: "not-empty",
 *   evaluate: ({ total }) => total > 0 ? undefined : new Denial("not-empty", "nothing was ordered"),
 * }]);
 *
 * assert.deepEqual(gates.evaluateAll({ total: 0 }).map(String), ["[not-empty] nothing was ordered"]);
 * ```
 */
export class GateSet<Context> {
  readonly #gates: Gate<Context>[] = [];
  #names: readonly string[] = Object.freeze([]);

  /**
   * Makes a set.
   *
   * @param gates the first gates, in the order they are asked.
   * @throws {GateError} as {@linkcode GateSet.push} does.
   */
  constructor(gates: Iterable<Gate<Context>> = []) {
    for (const gate of gates) this.push(gate);
  }

  /** How many gates there are. */
  get size(): number {
    return this.#gates.length;
  }

  /** Their names, in the order they are asked. */
  get names(): readonly string[] {
    return this.#names;
  }

  /**
   * Adds a gate that is asked last. Receipts issued before can no longer be committed.
   *
   * @throws {GateError} when its name is empty, not printable ASCII, or taken.
   */
  push(gate: Gate<Context>): this {
    validateGateName(gate.name);
    if (this.#names.includes(gate.name)) {
      throw new GateError(
        "DuplicateName",
        `Cannot add gate "${gate.name}": the set has one of that name`,
      );
    }
    this.#gates.push(gate);
    this.#names = Object.freeze([...this.#names, gate.name]);
    return this;
  }

  /**
   * Asks the gates in order, and stops at the first denial. An error a gate throws comes through:
   * nothing is permitted by a gate that is broken.
   *
   * @throws {GateError} when a gate answers with something other than `undefined` or a denial, such
   * as a promise.
   */
  evaluate<Payload>(context: Context, proposal: Proposal<Payload>): Verdict<Payload> {
    for (let index = 0; index < this.#gates.length; index++) {
      const denial = this.#ask(index, context);
      if (denial !== undefined) return { permitted: false, denial };
    }
    return { permitted: true, receipt: issueReceipt(proposal.payload, this) };
  }

  /**
   * Asks every gate, and returns all denials in order. A gate that throws, or answers with something
   * else, counts as a denial with code `GATE_DEFECT`.
   */
  evaluateAll(context: Context): Denial[] {
    const denials: Denial[] = [];
    for (let index = 0; index < this.#gates.length; index++) {
      try {
        const denial = this.#ask(index, context);
        if (denial !== undefined) denials.push(denial);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        denials.push(new Denial(this.#names[index], message, { code: GATE_DEFECT }));
      }
    }
    return denials;
  }

  /**
   * What a denial says about every gate, in the form in which it is stored: the gates before the
   * one that denied permitted, the later ones were not asked. When no gate of the set has the name in
   * `denial`, all of them permitted, and it stands behind them.
   */
  traceDenial(denial: Denial, proposed: ProposedEvent): DenialPayload {
    const { code, message, context } = denial;
    const deny: GateEvaluation = {
      gate_id: denial.gate,
      verdict: { Deny: { code, message, context } },
      evidence_hash: null,
    };
    const failing = this.#names.indexOf(denial.gate);
    const evaluations = this.#names.map((name, index): GateEvaluation => {
      if (index === failing) return deny;
      const verdict = failing === -1 || index < failing ? "Permit" : "Skipped";
      return { gate_id: name, verdict, evidence_hash: null };
    });
    if (failing === -1) evaluations.push(deny);
    return {
      evaluations,
      pipeline_id: proposed.pipelineId ?? null,
      proposed_kind: proposed.kind,
      proposed_content_hash: proposed.contentHash ?? null,
    };
  }

  #ask(index: number, context: Context): Denial | undefined {
    const verdict: unknown = this.#gates[index].evaluate(context);
    if (verdict === undefined || Denial.is(verdict)) return verdict;
    // Anything else, a promise above all, would pass for a "no objection" nobody gave.
    throw new GateError(
      "InvalidVerdict",
      `Cannot use the verdict of gate "${this.#names[index]}": ` +
        "a gate returns undefined or a Denial, and not a promise of one",
    );
  }
}

/** What would have been appended. */
export interface ProposedEvent {
  /** Its kind. */
  readonly kind: EventKind;
  /** The hash of its payload, when it is known. */
  readonly contentHash?: Uint8Array;
  /** Which pipeline denied it, when there are several. */
  readonly pipelineId?: string;
}

/** The payload of a denial event. Its keys are those of the stored form. */
export interface DenialPayload {
  /** What each gate said, in order. */
  readonly evaluations: readonly GateEvaluation[];
  /** Which pipeline denied it. */
  readonly pipeline_id: string | null;
  /** The kind of the event that was not appended. */
  readonly proposed_kind: number;
  /** The hash of its payload. */
  readonly proposed_content_hash: Uint8Array | null;
}

/** What one gate said. */
export interface GateEvaluation {
  /** The name of the gate. */
  readonly gate_id: string;
  /** That it permitted, that it was not asked, or why it denied. */
  readonly verdict: "Permit" | "Skipped" | {
    readonly Deny: {
      readonly code: string;
      readonly message: string;
      readonly context: readonly (readonly [key: string, value: string])[];
    };
  };
  /** Always `null`: gates keep no evidence of their own yet. */
  readonly evidence_hash: Uint8Array | null;
}

/** What a pipeline has to know of an append; every receipt of the store will do. */
export interface CommitReceipt {
  /** The event. */
  readonly eventId: EventId;
  /** Its place in the journal. */
  readonly globalSequence: number;
  /** The hash of its payload. */
  readonly contentHash: Uint8Array;
}

/** Something that was committed through a pipeline. */
export interface Committed<Payload, Receipt extends CommitReceipt = CommitReceipt> {
  /** What was committed. */
  readonly payload: Payload;
  /** The proof of the append, as the commit returned it. */
  readonly receipt: Receipt;
  /** The gates that permitted it, in order; none when they were bypassed. */
  readonly gatesPassed: readonly string[];
  /** Who set the rules aside, and why; `undefined` when nobody did. */
  readonly bypassAudit: BypassAudit | undefined;
}

/**
 * Leads a proposal through gates to a commit.
 *
 * @example Append only what the rules permit
 * ```ts
 * import { Denial, EventId, Pipeline, GateSet, Proposal } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const pipeline = new Pipeline(new GateSet<{ balance: number }>([{
 *   name: "funds",
 *   evaluate: ({ balance }) => balance >= 20 ? undefined : new Denial("funds", "not enough money"),
 * }]));
 * // In a program this is `store.append(…)`.
 * const append = (_payload: { amount: number }) => ({
 *   eventId: EventId.NIL,
 *   globalSequence: 1,
 *   contentHash: new Uint8Array(32),
 * });
 *
 * const verdict = pipeline.evaluate({ balance: 50 }, new Proposal({ amount: 20 }));
 * assert.ok(verdict.permitted);
 * const committed = pipeline.commit(verdict.receipt, append);
 *
 * assert.deepEqual(committed.gatesPassed, ["funds"]);
 * assert.throws(() => pipeline.commit(verdict.receipt, append), { reason: "Used" });
 * ```
 */
export class Pipeline<Context> {
  /** The gates, for tracing a denial. */
  readonly gates: GateSet<Context>;

  /**
   * Makes a pipeline.
   *
   * @param gates what every proposal has to pass.
   */
  constructor(gates: GateSet<Context>) {
    this.gates = gates;
  }

  /** As {@linkcode GateSet.evaluate}. */
  evaluate<Payload>(context: Context, proposal: Proposal<Payload>): Verdict<Payload> {
    return this.gates.evaluate(context, proposal);
  }

  /**
   * Commits what the gates permitted. The receipt is used up before `commit` is called, so that a
   * commit that failed halfway is not tried twice; after an error, evaluate the proposal again.
   *
   * @param commit appends the payload and returns the receipt of the append.
   * @throws {GateError} when the receipt was forged, used before, or issued by other gates; then
   * `commit` was not called. Also when what `commit` returned is no receipt of an append.
   */
  commit<Payload, Receipt extends CommitReceipt>(
    receipt: GateReceipt<Payload>,
    commit: (payload: Payload) => Receipt,
  ): Committed<Payload, Receipt> {
    const payload = redeemReceipt(receipt, this.gates);
    return Object.freeze({
      payload,
      receipt: checkedCommit(commit(payload)),
      gatesPassed: receipt.gatesPassed,
      bypassAudit: undefined,
    });
  }

  /**
   * Sets the rules aside for one proposal. No gate is asked.
   *
   * @param reason why; both its parts must say something.
   * @param approvedBy who allowed it, when somebody had to.
   * @throws {GateError} when the reason has an empty part.
   */
  static bypass<Payload>(
    proposal: Proposal<Payload>,
    reason: BypassReason,
    approvedBy?: string,
  ): BypassReceipt<Payload> {
    const { name, justification } = reason;
    if (name.trim() === "" || justification.trim() === "") {
      throw new GateError(
        "EmptyJustification",
        "Cannot bypass the gates without a reason: give it a name and a justification",
      );
    }
    const audit = Object.freeze({ reason: name, justification, approvedBy });
    return issueBypass(proposal.payload, audit);
  }

  /**
   * Commits what bypassed the gates; the result carries the audit. Otherwise as
   * {@linkcode Pipeline.commit}.
   *
   * @param commit appends the payload and returns the receipt of the append.
   * @throws {GateError} when the receipt was forged or used before; then `commit` was not called. Also
   * when what `commit` returned is no receipt of an append.
   */
  static commitBypass<Payload, Receipt extends CommitReceipt>(
    receipt: BypassReceipt<Payload>,
    commit: (payload: Payload) => Receipt,
  ): Committed<Payload, Receipt> {
    const payload = redeemBypass(receipt);
    return Object.freeze({
      payload,
      receipt: checkedCommit(commit(payload)),
      gatesPassed: Object.freeze([]),
      bypassAudit: receipt.audit,
    });
  }
}

function validateGateName(name: string): void {
  if (name === "") {
    throw new GateError("EmptyName", "Cannot use a gate without a name: give it one");
  }
  if (!PRINTABLE_ASCII_PATTERN.test(name)) {
    throw new GateError(
      "NonAsciiName",
      `Cannot use ${JSON.stringify(name)} as the name of a gate: it is not printable ASCII`,
    );
  }
}

function checkedCommit<Receipt extends CommitReceipt>(receipt: Receipt): Receipt {
  const problem = commitProblem(receipt);
  if (problem === undefined) return receipt;
  throw new GateError(
    "InvalidCommit",
    `Cannot accept what the commit returned: ${problem}; return the receipt of the append itself`,
  );
}

function commitProblem(receipt: unknown): string | undefined {
  const { eventId, globalSequence, contentHash } = Object(receipt) as Record<string, unknown>;
  if (!EventId.is(eventId)) return "its eventId is not an id";
  if (!Number.isSafeInteger(globalSequence) || Number(globalSequence) < 0) {
    return "its globalSequence is not a sequence";
  }
  if (!(contentHash instanceof Uint8Array) || contentHash.byteLength !== HASH_SIZE) {
    return "its contentHash is not a hash";
  }
  return undefined;
}

/** What a receipt has to know of the gates that issued it, whatever their context. */
interface Issuer {
  readonly size: number;
  readonly names: readonly string[];
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function forged(): GateError {
  return new GateError(
    "Forged",
    "Cannot accept this receipt: no gate issued it; evaluate the proposal",
  );
}

function used(): GateError {
  return new GateError(
    "Used",
    "Cannot commit with this receipt again: evaluate the proposal again",
  );
}

function stale(): GateError {
  return new GateError(
    "Stale",
    "Cannot commit with this receipt: it does not cover the gates of this pipeline; " +
      "evaluate the proposal again, here",
  );
}
