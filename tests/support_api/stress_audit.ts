/**
 * Holds a journal, and everybody who followed it, to what the parts of the stress test have noted.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  type CursorPosition,
  type JournalReader,
  NeverSkipChecker,
  type NeverSkipReport,
  Receipt,
  type ReceiptClaim,
  type StoredEvent,
} from "../../mod.ts";
import { REGIONS } from "./stress_consumer.ts";
import { faultOf, originOf, SCOPE } from "./stress_load.ts";
import {
  type ConsumerNote,
  notesPaths,
  type OwnerNote,
  type Plan,
  type ProducerNote,
  readNotes,
} from "./stress_notes.ts";

/** What is known of a plan. */
interface Outcome {
  readonly plan: Plan;
  isRetried: boolean;
  isCommitting: boolean;
  /** It was refused, or its fence was cancelled or left. */
  isRefused: boolean;
  isReplayed: boolean;
  ack: ProducerNote & { readonly t: "ack" } | undefined;
}

/** How often something happened. */
export type Counts = Record<string, number>;

/** Adds to a count. */
export function count(counts: Counts, name: string, by = 1): void {
  counts[name] = (counts[name] ?? 0) + by;
}

/** What all producers have noted, and how often. */
export function readOutcomes(notesDir: string, counts: Counts): Map<string, Outcome> {
  const outcomes = new Map<string, Outcome>();
  for (const path of notesPaths(notesDir, "producer-")) {
    for (const note of readNotes<ProducerNote>(path)) {
      if (note.t === "try") {
        const { plan } = note;
        assert.ok(!outcomes.has(plan.op), `${plan.op} is tried once`);
        outcomes.set(plan.op, {
          plan,
          isRetried: false,
          isCommitting: false,
          isRefused: false,
          isReplayed: false,
          ack: undefined,
        });
        continue;
      }
      if (note.t === "broken") assert.fail(`${path}: ${note.what}`);
      if (note.t === "waited") {
        counts["longest wait ms"] = Math.max(counts["longest wait ms"] ?? 0, note.ms);
        continue;
      }
      if (note.t === "staged") {
        count(counts, "staged", note.sequences.length);
        continue;
      }
      if (note.t === "unknown" || note.t === "begun") continue;
      // Of another life, whose notes have been read: lives are in order.
      const outcome = outcomes.get(note.op);
      assert.ok(outcome !== undefined, `${note.op} was tried`);
      switch (note.t) {
        case "retry":
          count(counts, "retries");
          outcome.isRetried = true;
          break;
        case "committing":
          outcome.isCommitting = true;
          break;
        case "cancelling":
        case "vanishing":
        case "no":
          count(counts, note.t === "no" ? `refused ${note.code}` : note.t);
          outcome.isRefused = true;
          break;
        case "ack": {
          const { form } = outcome.plan;
          count(counts, note.replayed ? "replayed" : `acknowledged ${form}`);
          const { ack } = outcome;
          if (ack !== undefined) {
            assert.deepEqual(note.sequences, ack.sequences, `${note.op} stays where it is`);
          }
          outcome.ack = note;
          outcome.isReplayed ||= note.replayed;
        }
      }
    }
  }
  for (const { plan, isReplayed, isRetried } of outcomes.values()) {
    // The first life may be the one that is told: a realm that is terminated can go on for a moment, while
    // the next one tries the same.
    assert.ok(isRetried || !isReplayed, `${plan.op} is replayed, and was tried once`);
  }
  return outcomes;
}

/** Every event that was acknowledged is there, as it was sent, and nothing else is. */
export function auditEvents(
  reader: JournalReader,
  outcomes: ReadonlyMap<string, Outcome>,
  counts: Counts,
): void {
  const found = new Map<string, StoredEvent[]>();
  const once = new Set<string>();
  let previous = -1;
  for (const event of reader.events({ scope: SCOPE })) {
    const { globalSequence, tags } = event;
    const about = `sequence ${globalSequence}`;
    assert.ok(globalSequence > previous, about);
    previous = globalSequence;
    const fault = faultOf(event);
    if (fault !== undefined) assert.fail(`${about}: ${fault}`);
    const { op, i } = originOf(event);
    const events = found.get(op) ?? [];
    assert.equal(i, events.length, `${about} is in its place in ${op}, once`);
    events.push(event);
    found.set(op, events);
    for (const tag of tags.filter((tag) => tag.startsWith("once:"))) {
      assert.ok(!once.has(tag), `${about}: ${tag} is there twice`);
      once.add(tag);
    }
    count(counts, event.isErased ? "erased" : "visible");
  }
  for (const [op, events] of found) {
    const outcome = outcomes.get(op);
    assert.ok(outcome !== undefined, `nobody has tried ${op}`);
    const { items, kind, form } = outcome.plan;
    assert.equal(events.length, items.length, `${op}, a ${form}, is whole`);
    for (const [i, event] of events.entries()) {
      const { entity, lane, globalSequence } = event;
      assert.deepEqual({ entity, lane, kind: event.kind }, { ...items[i], kind }, op);
      assert.equal(globalSequence, events[0].globalSequence + i, `${op} is in one piece`);
    }
  }
  for (const [op, { plan, ack, ...outcome }] of outcomes) {
    const events = found.get(op);
    if (ack !== undefined) {
      assert.ok(events !== undefined, `${op} is lost: ${JSON.stringify(ack)}`);
      assert.deepEqual(events.map(({ globalSequence }) => globalSequence), ack.sequences, op);
      assert.deepEqual(events.map(({ eventId }) => eventId), ack.ids, op);
      continue;
    }
    // A later life may have succeeded with it.
    if (outcome.isRetried) continue;
    const isHidden = outcome.isRefused || (plan.form === "fence" && !outcome.isCommitting);
    if (isHidden) {
      assert.equal(
        events,
        undefined,
        `${op}, a ${plan.form}, is seen, and ${JSON.stringify(outcome)}`,
      );
    } else count(counts, events === undefined ? "unknown, not there" : "unknown, there");
  }
}

/** Receipts verify, whatever has been compacted since. */
export function auditClaims(
  outcomes: ReadonlyMap<string, Outcome>,
  counts: Counts,
  verify: (receipt: Receipt) => unknown,
): void {
  for (const { ack } of outcomes.values()) {
    if (ack?.claim === undefined) continue;
    const receipt = Receipt.fromClaim(ack.claim as ReceiptClaim);
    assert.deepEqual(verify(receipt), { valid: true, outcome: "signed" }, ack.op);
    count(counts, "receipts verified");
  }
}

/**
 * A consumer was given what it was promised, over all its lives; at last everything there is.
 *
 * @param isFinal whether it has been given the time to come to the end.
 */
export function auditConsumer(
  reader: JournalReader,
  notesDir: string,
  name: string,
  counts: Counts,
  isFinal: boolean,
): NeverSkipReport {
  const checker = new NeverSkipChecker();
  let committed: CursorPosition = { position: 0, started: false };
  let isRestarted = false;
  let realm: string | undefined;
  let at = "";
  try {
    for (const path of notesPaths(notesDir, `${name}.`)) {
      for (const [line, note] of readNotes<ConsumerNote>(path).entries()) {
        at = `${path}:${line + 1}`;
        switch (note.t) {
          case "start":
            count(counts, "lives of consumers");
            assert.ok(note.from.position >= committed.position, "a checkpoint went back");
            committed = note.from;
            isRestarted = true;
            break;
          case "crash":
            count(counts, /realm of the handler/.test(note.text) ? "realm deaths" : "crashes");
            committed = positionAt(note.committed);
            isRestarted = true;
            break;
          case "given":
            // One that was given up may have begun all the same, before the next one got the batch.
            if (realm !== undefined && realm !== note.realm) isRestarted = true;
            realm = note.realm;
            if (isRestarted) checker.restarted(committed);
            isRestarted = false;
            checker.delivered(note.sequences.map((globalSequence) => ({ globalSequence })));
            break;
          case "committed":
            committed = positionAt(note.sequence);
            checker.committed(committed);
            break;
          case "end":
            count(counts, `ended: ${note.end}`);
            break;
          case "broken":
            assert.fail(note.what);
        }
      }
    }
    at = "the end";
    return isFinal ? checker.finish(reader, REGIONS[name]) : checker.check(reader, REGIONS[name]);
  } catch (error) {
    throw new Error(`${name} at ${at}: ${(error as Error).message}`, { cause: error });
  }
}

/** Behind a sequence, or in front of everything. */
function positionAt(sequence: number | null): CursorPosition {
  return { position: sequence ?? 0, started: sequence !== null };
}

/** What owners have noted. */
export function auditOwners(notesDir: string, counts: Counts): void {
  for (const path of [...notesPaths(notesDir, "owner."), ...notesPaths(notesDir, "process.")]) {
    for (const note of readNotes<OwnerNote>(path)) {
      switch (note.t) {
        case "opened":
          count(counts, "opens");
          count(counts, "repairs", note.repairs);
          if (note.oddities.some((oddity) => oddity.includes("cancelled a fence"))) {
            count(counts, "fences cancelled by an open");
          }
          break;
        case "compacted":
          count(counts, `compactions ${note.outcome}`);
          count(counts, "merged segments", note.merges);
          count(counts, "payloads erased", note.erased);
          break;
        case "refused":
          count(counts, `refused to the owner: ${note.code}`);
          break;
        case "killedProducer":
          count(counts, "producers killed");
          break;
        case "killedStore":
          count(counts, "realms of the store killed");
          break;
        case "broken":
          assert.fail(`${path}: ${note.what}`);
      }
    }
  }
}
