// Spec 8.3, 8.14, 14.4 and simulation.md 3.15: a compaction that is cut short at any point, by a failing
// disk, by the death of the process or by a power cut, leaves the old or the new segments, never less.
import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "../../platform/checksum.ts";
import { MemoryFs } from "../../platform/memory.ts";
import {
  type Change,
  changesOf,
  powerCuts,
  type Refusal,
  refusing,
} from "../../tests/support/changing_fs.ts";
import { FRAMES_ONLY } from "../../tests/support/journal.ts";
import { DIR, KIND, openReader, USER } from "../../tests/support/journal.ts";
import { readTree } from "../../tests/support/journal_bytes.ts";
import {
  censusOf,
  checkImage,
  checkReceipts,
  compactionNames,
  openAnew,
  stateOf,
  type Subject,
} from "../../tests/support/journal_checks.ts";
import type { CompactionOptions } from "./compaction.ts";
import { CompactionError, StoreIoError, WriterCrashedError } from "../errors.ts";
import type { PruneOptions } from "./prune.ts";
import type { Receipt } from "../receipt.ts";
import type { Store } from "../store.ts";
import type { StoreOptions } from "../store_options.ts";

const MERGE: CompactionOptions = { minSegments: 2 };
const ERASE: CompactionOptions = {
  strategy: { type: "tombstone", keep: (event) => event.lane === 0 },
  minSegments: 1,
};
const RETIRE: CompactionOptions = {
  strategy: { type: "retention", keep: { maxCount: 5 } },
  minSegments: 1,
};

/** What is done to a journal, a step at a time; says how it ended. */
type Act = (store: Store, onStep?: () => void) => { outcome: string; reason?: string };

function compacting(options: CompactionOptions): Act {
  return (store, onStep) => {
    const compaction = store.compaction({ ...options, stepMaxBytes: 4096 });
    while (compaction.step()) onStep?.();
    return compaction.finish();
  };
}

function pruning(options: Omit<PruneOptions, "below"> = {}): Act {
  return (store) => store.prune({ below: 12, ...options });
}

/** A journal of some segments, with batches, lanes and keys, and its states before, amid and after `act`. */
function subject(act: Act, options: StoreOptions = {}): Subject {
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
  const look = () => {
    const census = censusOf(other).slice(0, -1);
    if (census.join() !== states[states.length - 1].join()) states.push(census);
  };
  assert.equal(act(other, look).outcome, "performed");
  look();
  return { fs, options: all, states, receipts };
}

const KINDS: readonly (readonly [name: string, act: Act, StoreOptions])[] = [
  ["a merge", compacting(MERGE), { coldStart: FRAMES_ONLY }],
  ["a merge with indexes", compacting(MERGE), { coldStart: {} }],
  ["an erasure", compacting(ERASE), { coldStart: FRAMES_ONLY }],
  [
    "a retention with indexes, in several transactions",
    compacting({ ...RETIRE, mergedSegmentMaxBytes: 1500 }),
    { coldStart: {} },
  ],
  ["a prune", pruning(), { coldStart: FRAMES_ONLY }],
  ["a prune with indexes, behind a seal,", pruning({ seal: true }), { coldStart: {} }],
];

for (const [name, act, options] of KINDS) {
  test(`a process that dies at any change of ${name} leaves the old or the new segments`, () => {
    const journal = subject(act, options);
    const fs = journal.fs.snapshot();
    const { changes, images } = changesOf(fs, (watched) => {
      assert.equal(act(openAnew(watched, journal.options)).outcome, "performed");
    });
    const states = new Set<number>();
    for (const [i, image] of images.entries()) {
      const about = `${i}: before ${describe(changes[i])}`;
      // Whoever hashes everything while opening finds no fault with what a crash leaves.
      const recompute = { ...journal.options, chainVerification: "recompute" } as const;
      openReader(image.snapshot(), recompute).close();
      openAnew(image.snapshot(), recompute).close();
      states.add(checkImage(image, journal, about));
    }
    assert.equal(states.size, journal.states.length, "the walk passes every state");
    assert.ok(changes.length >= 12, `${changes.length} changes`);
  });

  test(`a power cut at any change of ${name} leaves the old or the new segments`, () => {
    const journal = subject(act, options);
    const fs = journal.fs.snapshot();
    const images = powerCuts(fs, DIR, (watched) => {
      act(openAnew(watched, journal.options));
    });
    const states = new Set<number>();
    const checker = new Checker(journal);
    for (const [i, image] of images.entries()) {
      states.add(checker.check(image, `image ${i}`));
    }
    assert.equal(states.size, journal.states.length);
  });

  for (const refusal of ["once", "once, too late", "from then on"] as const) {
    test(`${name} whose file operations fail, ${refusal}, loses nothing`, () => {
      const journal = subject(act, options);
      const outcomes = new Set<string>();
      for (let number = 0;; number++) {
        const refused = failAt(number, refusal, act, journal, outcomes);
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

/** Acts with one change refused, and checks what this handle and the next ones then see. */
function failAt(
  number: number,
  refusal: Refusal,
  act: Act,
  journal: Subject,
  outcomes: Set<string>,
): Change | undefined {
  const fs = journal.fs.snapshot();
  // Only what is done is refused, not the opening before it.
  const watched = refusing(fs, number, refusal);
  const store = openAnew(watched.fs, journal.options);
  watched.isArmed = true;
  let outcome: string;
  let isWriterAlive = true;
  try {
    const report = act(store);
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
  watched.isArmed = false;
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

/** Checks images that no earlier one of the same walk is equal to. */
class Checker {
  readonly #journal: Subject;
  readonly #seen = new Map<number, number>();

  constructor(journal: Subject) {
    this.#journal = journal;
  }

  check(image: MemoryFs, about: string): number {
    let key = 0;
    for (const [name, bytes] of readTree(image, DIR)) {
      key = crc32(bytes, crc32(new TextEncoder().encode(`${name} ${bytes.byteLength} `), key));
    }
    const known = this.#seen.get(key);
    if (known !== undefined) return known;
    const state = checkImage(image, this.#journal, about);
    this.#seen.set(key, state);
    return state;
  }
}

/** What compactions and prunes that were cut short leave, each state once. */
function leftBehind(act: Act, options: StoreOptions): { journal: Subject; images: MemoryFs[] } {
  const journal = subject(act, options);
  const { images } = changesOf(journal.fs.snapshot(), (watched) => {
    act(openAnew(watched, journal.options));
  });
  const seen = new Set<string>();
  const odd = images.filter((image) => {
    const names = image.list(DIR).map(({ name }) => name).join();
    const isNew = !seen.has(names);
    seen.add(names);
    return isNew;
  });
  return { journal, images: odd };
}

for (const [name, act, options] of KINDS.slice(1).filter((_, i) => i !== 1 && i !== 3)) {
  test(`a recovery from ${name} that is cut short at any change is repeated by the next`, () => {
    const { journal, images } = leftBehind(act, options);
    assert.ok(images.length >= 4, `${images.length} states`);
    for (const [i, image] of images.entries()) {
      const checker = new Checker(journal);
      const state = checker.check(image.snapshot(), `image ${i}`);
      const died = changesOf(image.snapshot(), (watched) => {
        openAnew(watched, journal.options);
      });
      for (const [k, crashed] of died.images.entries()) {
        const about = `image ${i}, died before ${describe(died.changes[k])}`;
        assert.equal(checker.check(crashed, about), state, about);
      }
      const cut = powerCuts(image.snapshot(), DIR, (watched) => {
        openAnew(watched, journal.options);
      });
      for (const [k, crashed] of cut.entries()) {
        const about = `image ${i}, power cut ${k}`;
        assert.equal(checker.check(crashed, about), state, about);
      }
      for (let number = 0;; number++) {
        const fs = image.snapshot();
        const watched = refusing(fs, number, "once");
        watched.isArmed = true;
        try {
          openAnew(watched.fs, journal.options);
        } catch (error) {
          const isTold = error instanceof StoreIoError || error instanceof WriterCrashedError;
          assert.ok(isTold, `${error}`);
        }
        const about = `image ${i}, refused ${describe(watched.refused())}`;
        assert.equal(checker.check(fs.snapshot(), about), state, about);
        if (watched.refused() === undefined) break;
      }
    }
  });
}

test("readers beside it see the whole journal at every change of a compaction", () => {
  const journal = subject(compacting(ERASE));
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

/** The windows of ARCHITECTURE.md, each by the change that the crash comes in front of. */
const WINDOWS: readonly {
  readonly name: string;
  readonly act: Act;
  readonly before: (change: Change, nth: number) => boolean;
  readonly state: "before" | "after";
  readonly oddity: RegExp | undefined;
}[] = [
  {
    name: "a merged segment is being written",
    act: compacting(ERASE),
    before: ({ op, path }) => op === "writeAt" && path.endsWith(".compact-new"),
    state: "before",
    oddity: /^removed 000001.fbat.compact-new: a compaction was writing it$/,
  },
  {
    name: "a merged segment is whole, and the marker has no name",
    act: compacting(ERASE),
    before: ({ op, target }) => op === "rename" && isNamed(target, "compaction.pending"),
    state: "before",
    oddity: /^removed 000001.fbat.compact-new: a compaction was writing it$/,
  },
  {
    name: "the marker has its name, which is not durable",
    act: compacting(ERASE),
    before: ({ op }, nth) => op === "syncDir" && nth === 0,
    state: "before",
    oddity: /^undid a compaction of segments 1 to \d+ that had been cut short$/,
  },
  {
    name: "the marker is durable, and no source has been renamed",
    act: compacting(ERASE),
    before: ({ op, target }) => op === "rename" && isNamed(target, "000001.fbat.compact-src"),
    state: "before",
    oddity: /^undid a compaction of segments 1 to \d+ that had been cut short$/,
  },
  {
    name: "the first source has been renamed",
    act: compacting(ERASE),
    before: ({ op }, nth) => op === "syncDir" && nth === 1,
    state: "before",
    oddity: /^undid a compaction of segments 1 to \d+ that had been cut short$/,
  },
  {
    name: "the first source is durably renamed, and the merged segment has no name",
    act: compacting(ERASE),
    before: ({ op, target }) => op === "rename" && isNamed(target, "000001.fbat"),
    state: "before",
    oddity: /^undid a compaction of segments 1 to \d+ that had been cut short$/,
  },
  {
    name: "the merged segment has its name, which is not durable",
    act: compacting(ERASE),
    before: ({ op }, nth) => op === "syncDir" && nth === 2,
    state: "after",
    oddity: /^finished a compaction of segments 1 to \d+ that had been cut short$/,
  },
  {
    name: "the merged segment is durable, and no source is gone",
    act: compacting(ERASE),
    before: ({ op, path }) => op === "removeIfPresent" && isNamed(path, "000002.fbat"),
    state: "after",
    oddity: /^finished a compaction of segments 1 to \d+ that had been cut short$/,
  },
  {
    name: "some sources are gone",
    act: compacting(ERASE),
    before: ({ op, path }) => op === "removeIfPresent" && isNamed(path, "000003.fbat"),
    state: "after",
    oddity: /^finished a compaction of segments 1 to \d+ that had been cut short$/,
  },
  {
    name: "all sources are gone, and the marker is there",
    act: compacting(ERASE),
    before: ({ op, path }) => op === "removeIfPresent" && isNamed(path, "compaction.pending"),
    state: "after",
    oddity: /^finished a compaction of segments 1 to \d+ that had been cut short$/,
  },
  {
    name: "the marker is gone, not durably",
    act: compacting(ERASE),
    before: ({ op }, nth) => op === "syncDir" && nth === 4,
    state: "after",
    oddity: undefined,
  },
  {
    name: "the record of a prune is written, and has no name",
    act: pruning(),
    before: ({ op, target }) => op === "rename" && isNamed(target, "journal.base"),
    state: "before",
    oddity: /^removed .stage-0, left by an interrupted write$/,
  },
  {
    name: "the record of a prune has its name, which is not durable",
    act: pruning(),
    before: ({ op }) => op === "syncDir",
    state: "after",
    oddity: /^removed 000001.fbat: it has been pruned$/,
  },
  {
    name: "the record of a prune is durable, and some pruned segments are gone",
    act: pruning(),
    before: ({ op, path }) => op === "removeIfPresent" && isNamed(path, "000002.fbat"),
    state: "after",
    oddity: /^removed 000002.fbat: it has been pruned$/,
  },
  {
    name: "all pruned segments are gone, not durably",
    act: pruning(),
    before: ({ op }, nth) => op === "syncDir" && nth === 1,
    state: "after",
    oddity: undefined,
  },
];

function isNamed(path: string | undefined, name: string): boolean {
  return path?.endsWith(`/${name}`) === true;
}

for (const { name, act, before, state, oddity } of WINDOWS) {
  test(`a crash while ${name} leaves what was ${state}`, () => {
    const journal = subject(act, { coldStart: FRAMES_ONLY });
    const fs = journal.fs.snapshot();
    let opened = 0;
    const { changes, images } = changesOf(fs, (watched) => {
      const count = changesOf(journal.fs.snapshot(), (other) => {
        openAnew(other, journal.options);
      }).changes.length;
      opened = count;
      act(openAnew(watched, journal.options));
    });
    const counts = new Map<string, number>();
    const at = changes.findIndex((change, i) => {
      if (i < opened) return false;
      const nth = counts.get(change.op) ?? 0;
      counts.set(change.op, nth + 1);
      return before(change, nth);
    });
    assert.notEqual(at, -1, "the window is passed");
    const found = checkImage(images[at], journal, name);
    assert.equal(found, state === "before" ? 0 : journal.states.length - 1);
    const { oddities } = openAnew(images[at], journal.options).openReport;
    if (oddity === undefined) assert.deepEqual(oddities, []);
    else assert.ok(oddities.some((line) => oddity.test(line)), oddities.join("; "));
  });
}
