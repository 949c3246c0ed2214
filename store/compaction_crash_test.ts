// Spec 8.3, 8.14, 14.4 and simulation.md 3.15: a compaction that is cut short at any point, by a failing
// disk, by the death of the process or by a power cut, leaves the old or the new segments, never less.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs } from "../platform/memory.ts";
import {
  type Change,
  changesOf,
  powerCuts,
  type Refusal,
  refusing,
} from "../tests/support/changing_fs.ts";
import { FRAMES_ONLY } from "../tests/support/journal.ts";
import { DIR, KIND, openReader, USER } from "../tests/support/journal.ts";
import {
  censusOf,
  checkImage,
  checkReceipts,
  compactionNames,
  openAnew,
  stateOf,
  type Subject,
} from "../tests/support/journal_checks.ts";
import type { CompactionOptions } from "./compaction.ts";
import { CompactionError, WriterCrashedError } from "./errors.ts";
import type { Receipt } from "./receipt.ts";
import type { Store } from "./store.ts";
import type { StoreOptions } from "./store_options.ts";

const MERGE: CompactionOptions = { minSegments: 2 };
const ERASE: CompactionOptions = {
  strategy: { type: "tombstone", keep: (event) => event.lane === 0 },
  minSegments: 1,
};
const RETIRE: CompactionOptions = {
  strategy: { type: "retention", keep: { maxCount: 5 } },
  minSegments: 1,
};

/** A journal of some segments, with batches, lanes and keys, and its states before and after `compact`. */
function subject(compact: CompactionOptions, options: StoreOptions = {}): Subject {
  const all = { segmentMaxBytes: 700, ...options };
  const fs = new MemoryFs();
  const store = openAnew(fs, all);
  const receipts = new Map<string, Receipt>();
  for (let i = 0; i < 6; i++) {
    const idempotencyKey = `key ${i}`;
    const lane = i % 3 === 2 ? 1 : 0;
    receipts.set(idempotencyKey, store.append(USER, KIND, { i }, { idempotencyKey, lane }));
    store.appendBatch([0, 1].map((item) => ({
      entity: `order:${i}`,
      scope: "shop",
      kind: KIND,
      payload: { i, item },
      lane: item,
    })));
  }
  store.close();
  // What it says before, between transactions, and at the end.
  const other = openAnew(fs.snapshot(), all);
  const states = [censusOf(other).slice(0, -1)];
  const compaction = other.compaction({ ...compact, stepMaxBytes: 4096 });
  for (let isGoingOn = true; isGoingOn;) {
    isGoingOn = compaction.step();
    const census = censusOf(other).slice(0, -1);
    if (census.join() !== states[states.length - 1].join()) states.push(census);
  }
  return { fs, options: all, states, receipts };
}

const KINDS: readonly (readonly [name: string, compact: CompactionOptions, StoreOptions])[] = [
  ["a merge", MERGE, { coldStart: FRAMES_ONLY }],
  ["a merge with indexes", MERGE, { coldStart: {} }],
  ["an erasure", ERASE, { coldStart: FRAMES_ONLY }],
  ["a retention with indexes, in several transactions", {
    ...RETIRE,
    mergedSegmentMaxBytes: 1500,
  }, { coldStart: {} }],
];

for (const [name, compact, options] of KINDS) {
  test(`a process that dies at any change of ${name} leaves the old or the new segments`, () => {
    const journal = subject(compact, options);
    const fs = journal.fs.snapshot();
    const { changes, images } = changesOf(fs, (watched) => {
      assert.equal(openAnew(watched, journal.options).compact(compact).outcome, "performed");
    });
    const states = new Set<number>();
    for (const [i, image] of images.entries()) {
      const about = `${i}: before ${describe(changes[i])}`;
      states.add(checkImage(image, journal, about));
    }
    assert.equal(states.size, journal.states.length, "the walk passes every state");
    assert.ok(changes.length >= 12, `${changes.length} changes`);
  });

  test(`a power cut at any change of ${name} leaves the old or the new segments`, () => {
    const journal = subject(compact, options);
    const fs = journal.fs.snapshot();
    const images = powerCuts(fs, DIR, (watched) => {
      openAnew(watched, journal.options).compact(compact);
    });
    const states = new Set<number>();
    for (const [i, image] of images.entries()) {
      states.add(checkImage(image, journal, `image ${i}`));
    }
    assert.equal(states.size, journal.states.length);
  });

  for (const refusal of ["once", "once, too late", "from then on"] as const) {
    test(`${name} whose file operations fail, ${refusal}, loses nothing`, () => {
      const journal = subject(compact, options);
      const outcomes = new Set<string>();
      for (let number = 0;; number++) {
        const refused = failAt(number, refusal, compact, journal, outcomes);
        if (refused === undefined) break;
      }
      assert.ok(outcomes.has("failed"), [...outcomes].join());
      assert.ok(outcomes.has("performed"), [...outcomes].join());
    });
  }
}

function describe(change: Change | undefined): string {
  if (change === undefined) return "the end";
  const { op, path, target = "" } = change;
  return `${op} ${path} ${target}`;
}

/** Compacts with one change refused, and checks what this handle and the next ones then see. */
function failAt(
  number: number,
  refusal: Refusal,
  compact: CompactionOptions,
  journal: Subject,
  outcomes: Set<string>,
): Change | undefined {
  const fs = journal.fs.snapshot();
  let isArmed = false;
  let watched: ReturnType<typeof refusing> | undefined;
  // Only what the compaction does is refused.
  const gate = new Proxy(fs, {
    get(_, name) {
      const target = isArmed && watched !== undefined ? watched.fs : fs;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const store = openAnew(gate, journal.options);
  watched = refusing(fs, number, refusal);
  isArmed = true;
  let outcome: string;
  let isWriterAlive = true;
  try {
    const report = store.compact(compact);
    outcome = report.outcome;
    if (outcome === "failed") {
      assert.match(report.reason ?? "", /refused by the test/);
    }
  } catch (error) {
    assert.ok(error instanceof CompactionError || error instanceof WriterCrashedError, `${error}`);
    outcome = error.code;
    isWriterAlive = error instanceof CompactionError;
  }
  outcomes.add(outcome);
  isArmed = false;
  const refused = watched.refused();
  const about = `${number}, ${refusal}, ${describe(refused)}: ${outcome}`;
  const states = journal.states.length;
  const live = stateOf(store, journal, `${about}, live`);
  if (outcome === "performed") assert.equal(live, states - 1, about);
  const crashed = fs.snapshot();
  assert.equal(checkImage(crashed, journal, `${about}, killed`), live, about);
  if (isWriterAlive) {
    checkReceipts(store, journal, `${about}, live`);
    store.append(USER, KIND, "meanwhile");
    assert.notEqual(store.compact({ minSegments: 1 }).outcome, "failed", about);
    assert.deepEqual(compactionNames(fs), [], about);
    store.close();
    checkImage(fs, journal, `${about}, closed`);
  }
  return refused;
}

test("readers beside it see the whole journal at every change of a compaction", () => {
  const journal = subject(ERASE);
  const fs = journal.fs.snapshot();
  const { images } = changesOf(fs, (watched) => {
    openAnew(watched, journal.options).compact(ERASE);
  });
  for (const [i, image] of images.entries()) {
    const reader = openReader(image);
    stateOf(reader, journal, `image ${i}`);
    assert.equal(reader.query({ kind: KIND }).length, 18);
    reader.close();
  }
});
