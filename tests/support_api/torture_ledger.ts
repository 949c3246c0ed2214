/**
 * What a journal owes to those who were killed over it.
 *
 * A {@linkcode Ledger} takes the notes of one process after the other, and holds the journal to them. A
 * kill takes nothing that was written, so what was acknowledged has to be there, to the byte; what was only
 * announced is there as a whole or not at all, and from then on stays so. A power cut may take what was not
 * durable: from some event on everything, and nothing before it.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  type CursorPosition,
  EventKind,
  type JournalReader,
  NeverSkipChecker,
  Receipt,
  type ReceiptClaim,
  type StoredEvent,
} from "../../mod.ts";
import { count, type Counts } from "./stress_audit.ts";
import {
  FADING,
  keyOf,
  type Note,
  originOf,
  payloadOf,
  phaseOf,
  type Plan,
  REGION,
  RETIRING,
  SCOPE,
} from "./torture_load.ts";

/** What is known of a plan. */
interface Entry {
  readonly plan: Plan;
  /**
   * `"tried"`: it may be there, as a whole. `"there"`: it has to be. `"absent"`: it must not, because it
   * was refused, its fence was not committed, or a kill came before it.
   */
  state: "tried" | "there" | "absent";
  /** Where it stands, once that is known. */
  sequences: readonly number[];
  /** What it was answered, if it was. */
  claims: readonly ReceiptClaim[];
  /** Whether it is being asked for once more. */
  isRetried: boolean;
}

/** How much of the journal is looked at closely. */
export interface JudgeOptions {
  /** Verifies every receipt; else those of the newest events. */
  readonly thorough: boolean;
  /** Whether the power was cut, and not only a process killed. */
  readonly powerCut?: boolean;
}

const NOWHERE: readonly number[] = [];
/** Receipts that a quick look verifies. */
const RECEIPTS_MAX = 400;

/** What was promised over all lives of a journal. */
export class Ledger {
  readonly #counts: Counts;
  readonly #entries = new Map<string, Entry>();
  readonly #checker = new NeverSkipChecker();
  #hasOpened = false;
  #committed = -1;
  /** What a checkpoint may say besides, until that is known. */
  #committing: number | undefined;
  #durableBelow = 0;
  #mayFade = false;
  #mayRetire = false;
  #erasedBelow = 0;
  #first = 0;
  #firstMax = 0;
  #copies: { readonly target: string; nextSequence: number | undefined }[] = [];
  #phase = "start";
  #retried: Entry | undefined;

  /** A ledger of a journal that does not exist yet. Adds to `counts` what happens. */
  constructor(counts: Counts) {
    this.#counts = counts;
  }

  /** What the process was doing when it was heard last. */
  get phase(): string {
    return this.#phase;
  }

  /** Whether any process has said that the journal is open. */
  get hasOpened(): boolean {
    return this.#hasOpened;
  }

  /** Copies that were announced since the last call, and where they end, once that is known. */
  takeCopies(): readonly { readonly target: string; readonly nextSequence: number | undefined }[] {
    const copies = this.#copies;
    this.#copies = [];
    return copies;
  }

  /** Another process begins. */
  begin(): void {
    this.#phase = "start";
    this.#retried = undefined;
  }

  /** Keyed plans for the next life to ask for once more: what was lost, and some of what is there. */
  retriesFor(random: () => number): Plan[] {
    const lost: Plan[] = [];
    const there: Plan[] = [];
    for (const { plan, state, sequences } of [...this.#entries.values()].slice(-60)) {
      // What was pruned has given up its key.
      if (!plan.isKeyed || state === "tried" || sequences[0] < this.#firstMax) continue;
      (state === "absent" ? lost : there).push(plan);
    }
    return [...lost.slice(-3), ...there.filter(() => random() < 0.1)];
  }

  /** Takes in what a process has said. */
  take(note: Note): void {
    this.#phase = phaseOf(note) ?? this.#phase;
    switch (note.t) {
      case "phase":
        this.#durableBelow = Math.max(this.#durableBelow, note.durable ?? 0);
        return;
      case "opened":
        return this.#opened(note);
      case "try": {
        const { plan } = note;
        assert.ok(!this.#entries.has(plan.op), `${plan.op} is tried once`);
        const state = plan.form === "fence" ? "absent" : "tried";
        this.#entries.set(plan.op, {
          plan,
          state,
          sequences: NOWHERE,
          claims: [],
          isRetried: false,
        });
        return;
      }
      case "retry": {
        const entry = this.#entry(note.op);
        entry.isRetried = true;
        if (entry.state === "absent") entry.state = "tried";
        this.#retried = entry;
        return;
      }
      case "ending":
        if (note.end === "commit") this.#entry(note.op).state = "tried";
        return;
      case "ack":
        return this.#acknowledged(note);
      case "no":
        this.#entry(note.op).state = "absent";
        count(this.#counts, `refused ${note.code}`);
        return;
      case "compacting":
        if (note.strategy === "tombstone") this.#mayFade = true;
        if (note.strategy === "retention") this.#mayRetire = true;
        return;
      case "compacted":
        count(this.#counts, `compactions ${note.outcome}`);
        this.#erasedBelow = Math.max(this.#erasedBelow, note.erasedBelow);
        return;
      case "pruning":
        this.#firstMax = Math.max(this.#firstMax, note.below);
        return;
      case "pruned":
        count(this.#counts, `prunes ${note.outcome}`);
        this.#first = this.#firstMax = note.first;
        return;
      case "copying":
        this.#copies.push({ target: note.target, nextSequence: undefined });
        return;
      case "copied":
        count(this.#counts, "copies");
        this.#copies[this.#copies.length - 1].nextSequence = note.nextSequence;
        return;
      case "given":
        this.#checker.delivered(note.sequences.map((globalSequence) => ({ globalSequence })));
        return;
      case "committing":
        this.#committing = note.sequence;
        return;
      case "committed":
        count(this.#counts, "checkpoints");
        this.#committed = this.#committing!;
        this.#committing = undefined;
        this.#checker.committed(positionAt(this.#committed));
        return;
      case "closed":
        count(this.#counts, "closes");
        this.#durableBelow = note.durable;
        return;
      case "broken":
        assert.fail(note.what);
    }
  }

  /** Nobody works on the journal: what a checkpoint says is what a consumer goes on from. */
  settleCheckpoint(position: CursorPosition | undefined): void {
    const at = position?.started === true ? position.position : -1;
    if (at !== this.#committed) {
      assert.equal(at, this.#committing, `the checkpoint, committed at ${this.#committed}`);
      count(this.#counts, "checkpoints found that nobody was told of");
    }
    this.#committed = at;
    this.#committing = undefined;
    this.#checker.restarted(positionAt(at));
  }

  /** Whether a consumer was given everything, when a last one is given the rest of it. */
  finishConsumer(reader: JournalReader, rest: readonly StoredEvent[]): void {
    this.#checker.delivered(rest);
    const { deliveredCount, redeliveredCount } = this.#checker.finish(reader, REGION);
    count(this.#counts, "events delivered", deliveredCount);
    count(this.#counts, "events delivered again", redeliveredCount);
  }

  /**
   * Nobody writes: what is there has to be everything that was promised, and nothing else. What nobody had
   * been told of is known from now on.
   */
  judge(reader: JournalReader, { thorough, powerCut = false }: JudgeOptions): void {
    const { firstSequence, nextSequence, eventCount } = reader.stats();
    const begin = nextSequence - eventCount;
    assert.ok(
      begin >= this.#first && begin <= Math.max(this.#first, this.#firstMax),
      `it begins at ${begin}, and may at ${this.#first} to ${this.#firstMax}`,
    );
    assert.ok(firstSequence <= begin);
    const found = this.#walk(reader, begin, nextSequence);
    if (powerCut) this.#lose(found, begin);
    const toVerify: { readonly claim: ReceiptClaim; readonly about: string }[] = [];
    for (const [op, entry] of this.#entries) {
      const events = found.get(op);
      this.#settle(op, entry, events, begin);
      if (entry.state !== "there" || events === undefined) continue;
      for (const claim of entry.claims) toVerify.push({ claim, about: op });
    }
    for (const { claim, about } of thorough ? toVerify : toVerify.slice(-RECEIPTS_MAX)) {
      if (claim.globalSequence < begin) continue;
      const verification = reader.verifyReceipt(Receipt.fromClaim(claim));
      assert.deepEqual(verification, { valid: true, outcome: "signed" }, `receipt of ${about}`);
      count(this.#counts, "receipts verified");
    }
  }

  #opened({ repairs, oddities, path, committed }: Note & { readonly t: "opened" }): void {
    this.#hasOpened = true;
    countOpen(this.#counts, { repairs, oddities, path });
    assert.equal(committed, this.#committed, "the consumer goes on where it was committed");
    this.#checker.restarted(positionAt(committed));
  }

  #acknowledged({ op, claims, replayed }: Note & { readonly t: "ack" }): void {
    const entry = this.#entry(op);
    const { items, form } = entry.plan;
    const about = `${op} (${form})`;
    assert.equal(claims.length, items.length, about);
    const sequences = claims.map(({ globalSequence }) => globalSequence);
    sequences.forEach((sequence, i) => assert.equal(sequence, sequences[0] + i, about));
    if (entry === this.#retried) {
      // Whether it had been there is known since the journal was judged.
      assert.equal(replayed, entry.state === "there", `${about}: replayed`);
      if (replayed) {
        assert.deepEqual(sequences, entry.sequences, `${about} is answered as at first`);
        entry.claims.forEach(({ header }, i) => assert.equal(claims[i].header, header, about));
      }
      count(
        this.#counts,
        replayed ? "retries answered with the first receipt" : "retries appended",
      );
      this.#retried = undefined;
    } else {
      assert.ok(!replayed, `${about}: nobody has appended it before`);
      count(this.#counts, `acknowledged ${form}`);
    }
    entry.state = "there";
    entry.sequences = sequences;
    entry.claims = claims;
  }

  /** All events, by plan; checks each for itself, and that no plan is in two pieces. */
  #walk(reader: JournalReader, begin: number, end: number): Map<string, StoredEvent[]> {
    const found = new Map<string, StoredEvent[]>();
    let listed = 0;
    for (let sequence = begin; sequence < end; sequence++) {
      const event = reader.at(sequence);
      // Behind a fence that was not committed.
      if (event === undefined || EventKind.isReserved(event.kind)) continue;
      assert.equal(event.globalSequence, sequence);
      assert.equal(event.scope, SCOPE);
      const { op, i } = originOf(event);
      const events = found.get(op) ?? [];
      const before = events.at(-1)?.globalSequence;
      if (before !== undefined) assert.equal(sequence, before + 1, `${op} is in one piece`);
      // The begin of it may have been pruned.
      else assert.ok(i === 0 || sequence - i < begin, `${op} begins with item ${i}`);
      assert.equal(i, events.length === 0 ? i : originOf(events[events.length - 1]).i + 1, op);
      events.push(event);
      found.set(op, events);
      this.#checkEvent(reader, event, op, i);
      if (!event.isRetired) listed++;
    }
    assert.equal(reader.query(REGION).length, listed, "a query gives what is there");
    return found;
  }

  #checkEvent(reader: JournalReader, event: StoredEvent, op: string, i: number): void {
    const about = `${op}#${i} at ${event.globalSequence}`;
    const entry = this.#entries.get(op);
    assert.ok(entry !== undefined, `nobody has tried ${about}`);
    const { items, isKeyed } = entry.plan;
    const { entity, lane, kind, globalSequence, isErased, isRetired } = event;
    assert.deepEqual({ entity, lane, kind: kind as number }, items[i], about);
    if (isErased) {
      const isGiven = (kind === FADING && this.#mayFade) || (kind === RETIRING && this.#mayRetire);
      assert.ok(isGiven, `${about} has lost its payload`);
    } else {
      assert.ok(!(kind === FADING && globalSequence < this.#erasedBelow), `${about} was erased`);
      assert.deepEqual(event.payload, payloadOf(entry.plan, i), about);
    }
    if (isRetired) assert.ok(kind === RETIRING && this.#mayRetire, `${about} has left queries`);
    assert.equal(reader.get(event.eventId)?.globalSequence, globalSequence, about);
    if (isKeyed) {
      assert.equal(reader.getByKey(keyOf(op, i))?.globalSequence, globalSequence, about);
    }
  }

  /** Lets go of what a power cut may have taken. */
  #lose(found: ReadonlyMap<string, readonly StoredEvent[]>, begin: number): void {
    let lost = Infinity;
    let last = -1;
    for (const [op, entry] of this.#entries) {
      const [first] = entry.sequences;
      if (entry.state !== "there" || entry.sequences[entry.sequences.length - 1] < begin) continue;
      if (found.has(op)) last = Math.max(last, first);
      else if (first >= this.#durableBelow) {
        lost = Math.min(lost, first);
        entry.state = "absent";
        entry.sequences = NOWHERE;
        entry.claims = [];
        count(this.#counts, "acknowledged groups that a power cut took");
      }
    }
    assert.ok(last < lost, `${lost} is lost, and ${last} behind it is there`);
  }

  /** Holds a plan to what was promised of it, and settles what was not known. */
  #settle(
    op: string,
    entry: Entry,
    events: readonly StoredEvent[] | undefined,
    begin: number,
  ): void {
    const { plan, state, claims } = entry;
    const { items, form } = plan;
    const about = `${op} (${form} of ${items.length})`;
    const last = entry.sequences.at(-1);
    if (events === undefined) {
      const isPruned = last !== undefined && last < begin;
      assert.ok(state !== "there" || isPruned, `${about} is lost: it was at ${entry.sequences}`);
      if (state !== "tried") return;
      count(this.#counts, "unacknowledged groups that are not there");
      entry.state = "absent";
      return;
    }
    assert.notEqual(state, "absent", `${about} is seen at ${events[0].globalSequence}`);
    const sequences = events.map(({ globalSequence }) => globalSequence);
    if (state === "tried") {
      assert.equal(events.length, items.length, `${about} is whole, at ${sequences}`);
      count(this.#counts, "unacknowledged groups that are there as a whole");
      entry.state = "there";
      entry.sequences = sequences;
      entry.claims = [];
      return;
    }
    const expected = entry.sequences.filter((sequence) => sequence >= begin);
    assert.deepEqual(sequences, expected, `${about} stays where it is`);
    for (const { globalSequence, eventId } of events) {
      const claim = claims[globalSequence - entry.sequences[0]];
      if (claim !== undefined) assert.equal(eventId, claim.eventId, about);
    }
  }

  #entry(op: string): Entry {
    const entry = this.#entries.get(op);
    assert.ok(entry !== undefined, `nobody has tried ${op}`);
    return entry;
  }
}

/** Behind a sequence; -1 is in front of everything. */
function positionAt(sequence: number): CursorPosition {
  return { position: Math.max(0, sequence), started: sequence >= 0 };
}

/** Adds what an open has met. */
export function countOpen(
  counts: Counts,
  report: {
    readonly repairs: number;
    readonly oddities: readonly string[];
    readonly path: string;
  },
): void {
  count(counts, "opens");
  count(counts, `opens by ${report.path}`);
  if (report.repairs > 0) count(counts, "torn tails repaired", report.repairs);
  for (const oddity of report.oddities) count(counts, `at open: ${sortOf(oddity)}`);
}

/** What was odd, without names and numbers. */
function sortOf(oddity: string): string {
  if (oddity.startsWith("cancelled a fence")) return "fence cancelled";
  if (oddity.startsWith("finished a compaction")) return "compaction finished";
  if (oddity.startsWith("undid a compaction")) return "compaction rolled back";
  if (oddity.startsWith("removed .stage-")) return "staged file removed";
  return oddity.replace(/\d+/g, "#");
}
