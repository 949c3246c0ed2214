/**
 * Whether a journal is whole: what every crash has to leave, and every retry has to find.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { StoreFs } from "../../platform/fs.ts";
import type { MemoryFs } from "../../platform/memory.ts";
import type { CompactionOptions } from "../../store/compaction/compaction.ts";
import { MARKER_NAME } from "../../store/compaction/compaction_marker.ts";
import { toHex } from "../../store/hash.ts";
import type { JournalReader } from "../../store/journal_reader.ts";
import { Receipt } from "../../store/receipt.ts";
import { SOURCE_SUFFIX, STAGED_SUFFIX } from "../../store/compaction/segment_set.ts";
import type { Store } from "../../store/store.ts";
import type { StoreOptions } from "../../store/store_options.ts";
import { verifyJournal } from "../../store/verify.ts";
import { DIR, KIND, openReader, openStore, USER } from "./journal.ts";
import { SeededEntropy } from "./seeded_entropy.ts";

let seed = 1_000;

/** Opens for writing, with ids that no earlier open has given: a real one's never repeat. */
export function openAnew(fs: StoreFs, options: StoreOptions): Store {
  return openStore(fs, { entropy: new SeededEntropy(seed++), ...options });
}

/** Everything that events say, in order, as one line each. */
export type Census = readonly string[];

/** What events up to `end` say, those that queries leave out included. */
export function censusOf(reader: JournalReader, end = Infinity): Census {
  const { nextSequence, eventCount } = reader.stats();
  const lines: string[] = [];
  const first = nextSequence - eventCount;
  const listed = new Set(reader.query().map(({ globalSequence }) => globalSequence));
  for (let sequence = first; sequence < Math.min(end, nextSequence); sequence++) {
    const event = reader.at(sequence);
    assert.ok(event !== undefined, `there is an event at sequence ${sequence}`);
    assert.equal(event.globalSequence, sequence);
    assert.equal(reader.get(event.eventId)?.globalSequence, sequence);
    const payload = event.payloadBytes;
    assert.equal(event.isErased, payload === undefined);
    assert.equal(listed.has(sequence), !event.isRetired);
    lines.push([
      sequence,
      event.eventId,
      event.entity,
      event.lane,
      event.clock,
      event.timestampUs,
      toHex(event.prevHash),
      toHex(event.eventHash),
      payload === undefined ? event.isRetired ? "retired" : "erased" : toHex(payload),
    ].join(" "));
  }
  return lines;
}

/** A journal to crash, and what it has to answer for. */
export interface Subject {
  /** The files. */
  readonly fs: MemoryFs;
  /** Options to open it with. */
  readonly options: StoreOptions;
  /** What every state of it may say. */
  readonly states: readonly Census[];
  /** Receipts as they were first given, by idempotency key. */
  readonly receipts: ReadonlyMap<string, Receipt>;
}

/** Names that only a compaction in progress has. */
export function compactionNames(fs: StoreFs): string[] {
  return fs.list(DIR).map(({ name }) => name).filter((name) =>
    name === MARKER_NAME || name.endsWith(STAGED_SUFFIX) || name.endsWith(SOURCE_SUFFIX)
  );
}

/** Which of the states a journal is in, by everything it says. */
export function stateOf(reader: JournalReader, { states }: Subject, about: string): number {
  // Whoever opened the journal in between has appended to it.
  const state = states.findIndex((lines) => {
    const found = censusOf(reader);
    const first = Number(lines[0].split(" ")[0]);
    const foundFirst = Number(found[0].split(" ")[0]);
    return first === foundFirst && lines.every((line, i) => line === found[i]);
  });
  assert.notEqual(state, -1, `${about}: the journal is in none of its states`);
  return state;
}

/** Checks that receipts verify, and that a keyed retry gets the first one. */
export function checkReceipts(store: Store, subject: Subject, about: string): void {
  const { nextSequence, eventCount } = store.stats();
  for (const [key, receipt] of subject.receipts) {
    if (receipt.globalSequence < nextSequence - eventCount) {
      const verified = store.verifyReceipt(receipt);
      assert.equal(!verified.valid && verified.reason, "MissingCommittedEvent", `${about}: ${key}`);
      continue;
    }
    const copy = Receipt.fromClaim(JSON.parse(JSON.stringify(receipt)));
    assert.deepEqual(
      store.verifyReceipt(copy),
      { valid: true, outcome: "unsigned" },
      `${about}: ${key}`,
    );
    const replay = store.append(USER, KIND, "another", { idempotencyKey: key });
    assert.deepEqual(
      [replay.globalSequence, replay.eventId, replay.replayed, toHex(replay.eventHash)],
      [receipt.globalSequence, receipt.eventId, true, toHex(receipt.eventHash)],
      `${about}: ${key}`,
    );
  }
  assert.equal(store.stats().nextSequence, nextSequence, `${about}: a retry appends nothing`);
}

/**
 * Checks what a crash has left: it verifies; readers see one of the states and change nothing; a writer
 * sees the same one, puts the directory in order, and goes on; and so does the next. Says which state.
 */
export function checkImage(
  image: MemoryFs,
  subject: Subject,
  about: string,
  compact: CompactionOptions = { minSegments: 1 },
): number {
  const { options } = subject;
  const report = verifyJournal(DIR, { fs: image });
  assert.ok(report.intact, `${about}: ${JSON.stringify(report.findings)}`);

  const reader = openReader(image, { coldStart: options.coldStart });
  const state = stateOf(reader, subject, `${about}, read only`);
  reader.close();

  const opened = image.snapshot();
  let store = openAnew(opened, options);
  assert.equal(stateOf(store, subject, `${about}, reopened`), state, about);
  assert.deepEqual(compactionNames(opened), [], about);
  assert.deepEqual(store.openReport.repairs, [], about);
  checkReceipts(store, subject, about);
  // And the next one finds the same, also when this one dies.
  const again = opened.snapshot();
  store.close();
  for (const fs of [again, opened]) {
    store = openAnew(fs, options);
    assert.equal(stateOf(store, subject, `${about}, reopened twice`), state, about);
    const oddities = store.openReport.oddities.filter((oddity) => !oddity.includes("index"));
    assert.deepEqual(oddities, [], about);
    store.append(USER, KIND, "after the crash");
    const { outcome, reason } = store.compact(compact);
    assert.notEqual(outcome, "failed", `${about}: ${reason}`);
    checkReceipts(store, subject, `${about}, compacted again`);
    store.close();
    const after = verifyJournal(DIR, { fs });
    assert.deepEqual(after.findings.filter(({ type }) => type !== "unusable"), [], about);
  }
  return state;
}
