// Spec simulation, Appendix A and B: what the reference's seeds give there, they give here, on our store. A
// digest is made of counts and of content hashes, so it says which events survive a crash, and nothing about
// files: it holds where a store draws the same operations from a seed, encodes and hashes the same payloads,
// and makes the same of them durable. Three things are translated, each where it stands below: syncs that
// ours spares, the points of the reference's injector, and an import that syncs each page once, not twice.
import assert from "node:assert/strict";
import { test } from "node:test";
import { EventKind, Store } from "../mod.ts";
import { encodePayload } from "../store/payload.ts";
import { blake3, toHex } from "../store/hash.ts";
import { runForkFault, runImportFault, runImportSameStore } from "./copy_faults.ts";
import { SimClock } from "./sim_clock.ts";
import { SimEntropy } from "./sim_entropy.ts";
import { SimFs } from "./sim_fs.ts";
import { Fold64, SimRandom } from "./sim_random.ts";

/** The reference writes digests as decimal numbers. */
function decimal(digest: Fold64 | string): string {
  return BigInt(`0x${digest}`).toString();
}

// ---- the model workload ---------------------------------------------------------------------------

interface Word {
  readonly hi: number;
  readonly lo: number;
}

const ZERO: Word = { hi: 0, lo: 0 };

/**
 * The reference's model of a log, one file of eight bytes for each event, on a disk that drops syncs and
 * tears writes. It cannot fail, because what is recovered is filtered from the list it is checked against:
 * it is here as the known answer of chance, digest and clock.
 */
function modelDigest(seed: number, steps: number): Fold64 {
  const random = new SimRandom(seed);
  const faults = SimRandom.ofHalves((seed / 2 ** 32) ^ 0x5f5f5f5f, seed ^ 0x5f5f5f5f);
  /** In one call of eight; the number drawn then says how much is done. */
  const isFaulty = () => faults.nextU32() % 8 === 0;
  const clock = new SimClock();
  const digest = new Fold64().fold(seed);
  let events: { sequence: number; hash: Word; isDurable: boolean }[] = [];
  let sequence = 0;
  let size = 0;
  let durableSize = 0;
  let exists = false;
  const sync = (): boolean => {
    const isHonored = !isFaulty();
    if (isHonored) durableSize = size;
    return isHonored;
  };
  for (let step = 0; step < steps; step++) {
    digest.fold(clock.advance((random.nextU32() & 0xffff) + 1));
    switch (random.nextU32() % 6) {
      case 3:
        digest.fold(sync() ? 1 : 0);
        break;
      case 4: {
        const { hi, lo } = random.nextU64();
        digest.foldHalves(hi, lo).fold(1);
        break;
      }
      case 5: {
        digest.fold(size);
        // A short read keeps the rest of a division that is 0 in all that is drawn here.
        const roll = exists ? faults.nextU32() : 1;
        digest.fold(roll % 8 === 0 && durableSize > 0 ? roll % durableSize : durableSize);
        size = durableSize;
        events = events.filter(({ isDurable }) => isDurable);
        digest.fold(durableSize);
        break;
      }
      default: {
        const payload = random.nextU64();
        const last = events.findLast(({ isDurable }) => isDurable)?.hash ?? ZERO;
        const hash = new Fold64().foldHalves(last.hi, last.lo).fold(sequence)
          .foldHalves(payload.hi, payload.lo);
        exists = true;
        // A write of eight bytes that is torn keeps none of them: what is kept is the rest of the division.
        const isLanded = !isFaulty();
        if (isLanded) size += 8;
        const isDurable = isLanded && sync();
        events.push({ sequence, hash: { hi: hash.hi, lo: hash.lo }, isDurable });
        digest.fold(sequence++).foldHalves(hash.hi, hash.lo);
      }
    }
    digest.fold(events.findLast(({ isDurable }) => isDurable)?.sequence ?? 0);
  }
  return digest;
}

test("the model workload of seed 0xABCD has the reference's digest after 128 steps", () => {
  assert.equal(`${modelDigest(0xabcd, 128)}`, "1e784376cc7814b4");
  assert.notEqual(`${modelDigest(1, 64)}`, `${modelDigest(2, 64)}`);
  assert.notEqual(`${modelDigest(5, 8)}`, `${modelDigest(5, 64)}`);
});

test("a payload has the reference's bytes and content hash", () => {
  const bytes = encodePayload({ seq: 0, step: 0 });
  assert.equal(toHex(bytes), "82" + "a3736571" + "00" + "a473746570" + "00");
  const hash = "9210ae6b8eeb6ba040189f9a55642654910868c062c02259832bf82609105a24";
  assert.equal(toHex(blake3(bytes)), hash);
});

// ---- eight runs of a store ------------------------------------------------------------------------

type Op = { readonly type: "append" | "sync" } | { readonly type: "batch"; readonly count: number };

/** Three in six append, two are a batch of one to three, one is a sync. */
function planOf(seed: number, steps: number): Op[] {
  const random = new SimRandom(seed);
  return Array.from({ length: steps }, (): Op => {
    const which = random.nextU32() % 6;
    if (which < 3) return { type: "append" };
    return which < 5 ? { type: "batch", count: 1 + random.nextU32() % 3 } : { type: "sync" };
  });
}

/** Where the first operation of a kind is cut short. */
type Cut = "a frame is written" | "a batch is written" | "a batch is synced";

interface Row {
  readonly seed: number;
  readonly steps: number;
  /** One in so many syncs is dropped. */
  readonly oneIn?: number;
  readonly cut?: Cut;
  /** What the reference puts into the digest for the mode; nothing for an honest disk. */
  readonly mode?: readonly [number, number];
}

interface Played {
  readonly digest: string;
  readonly submitted: number;
  readonly acknowledged: number;
  readonly recovered: number;
  readonly dropped: number;
  /** Syncs of the reference that ours had no reason for. */
  readonly spared: number;
}

const DIR = "/journal";
const KIND = EventKind.custom(0xc, 0x2);
const COORDINATE = { entity: "entity:1", scope: "corpus" };

/** Lets a plan drive our store, cuts the power, and digests what is there as the reference does. */
function play({ seed, steps, oneIn, cut, mode }: Row): Played {
  let fs = new SimFs({ seed });
  const open = (life: number) =>
    Store.open(DIR, {
      fs,
      clock: new SimClock(),
      entropy: new SimEntropy(life),
      sync: { everyNEvents: 1_000_000, mode: "all" },
      segmentMaxBytes: 256 << 20,
    });
  const digest = new Fold64().fold(seed);
  if (mode !== undefined) {
    // A mode is a digest that begins with a number instead of the usual one.
    const token = new Fold64();
    [token.hi, token.lo] = [0, mode[0]];
    token.fold(mode[1]);
    digest.foldHalves(token.hi, token.lo);
  }
  if (cut !== undefined) open(1).close();
  const schedule = new SimRandom(seed);
  let dropped = 0;
  let spared = 0;
  /**
   * The reference draws for each sync it is asked for, two of them while it opens. Ours syncs its log when
   * there is something to sync, and not otherwise; a number is drawn all the same.
   */
  const syncing = <T>(work: () => T): T => {
    const isDropped = schedule.nextU32() % (oneIn ?? Infinity) === 0;
    if (isDropped) fs.armFaultOn("Sync", 1, { instead: "lie", path: ".fbat" });
    const before = fs.trace.length;
    const done = work();
    const syncs = fs.trace.slice(before).filter((step) => step.type === "sync").length;
    if (isDropped) dropped++;
    if (syncs === 0) spared++;
    else if (isDropped) fs.assertAllFired();
    fs.disarm();
    return done;
  };
  schedule.nextU32();
  const store = syncing(() => open(2));
  const start = fs.trace.length;
  let submitted = 0;
  let acknowledged = 0;
  for (const [step, op] of planOf(seed, steps).entries()) {
    switch (op.type) {
      case "append":
        store.append(COORDINATE, KIND, { seq: submitted, step });
        submitted++;
        digest.fold(submitted);
        break;
      case "batch": {
        const items = Array.from({ length: op.count }, (_, i) => ({
          ...COORDINATE,
          kind: KIND,
          payload: { seq: submitted + i },
        }));
        // A batch of the reference is always synced before it returns.
        syncing(() => store.appendBatch(items, { durability: "durable" }));
        submitted += op.count;
        digest.fold(0xba7c).fold(submitted);
        break;
      }
      default:
        syncing(() => store.sync());
        acknowledged = submitted;
        digest.fold(0x54c);
    }
    // The first operation is the one that is cut short, in all rows that have such a cut.
    if (cut !== undefined) break;
  }
  if (cut === undefined) {
    fs = fs.crash("durable");
  } else {
    const wanted = cut === "a batch is synced" ? "sync" : "write";
    const at = fs.trace.findIndex(({ type }, index) => index >= start && type === wanted);
    assert.ok(at >= start, `it comes to where ${cut}`);
    [fs] = fs.crashImages("durable", { position: at + 1 });
  }
  using after = open(3);
  const events = after.query().filter(({ kind }) => kind === KIND);
  digest.fold(events.length).fold(acknowledged);
  for (const { contentHash } of events) digest.bytes(contentHash.subarray(0, 8));
  return {
    digest: decimal(digest),
    submitted,
    acknowledged,
    recovered: events.length,
    dropped,
    spared,
  };
}

test("StoreRecovery rows of an honest disk have the reference's digests", () => {
  assertRow({ seed: 48104590831, steps: 96 }, {
    digest: "101395256710529115",
    counts: [100, 98, 100],
  });
  assertRow({ seed: 1677852679, steps: 64 }, {
    digest: "6838535361054563890",
    counts: [67, 67, 67],
  });
});

test("StoreRecovery rows of a lying disk have the reference's digests, in the reference's schedule", () => {
  const half = assertRow({ seed: 1677852673, steps: 96, oneIn: 2, mode: [0xf0de01, 2] }, {
    digest: "162884444788709664",
    counts: [134, 131, 121],
  });
  const fifth = assertRow({ seed: 1677852674, steps: 96, oneIn: 5, mode: [0xf0de01, 5] }, {
    digest: "15220256914625381719",
    counts: [101, 101, 92],
  });
  assert.deepEqual([half.dropped, fifth.dropped], [19, 16]);
  // Where the reference syncs what is synced, ours does nothing. It could make a difference: a second sync
  // that is honored makes up for a first one that was dropped. In these two rows it makes none.
  assert.deepEqual([half.spared, fifth.spared], [8, 11]);
});

test("StoreRecovery rows that are cut in their first operation have the reference's digests", () => {
  assertRow({
    seed: 1677852675,
    steps: 96,
    cut: "a frame is written",
    mode: [0xf0de02, 0xb001],
  }, { digest: "14266943457722804908", counts: [1, 0, 0] });
  assertRow({
    seed: 1677852676,
    steps: 96,
    cut: "a batch is written",
    mode: [0xf0de02, 0xb002],
  }, { digest: "3258824138353557920", counts: [3, 0, 0] });
  assertRow({
    seed: 1677852677,
    steps: 96,
    cut: "a batch is synced",
    mode: [0xf0de02, 0xb003],
  }, { digest: "11496869799566879297", counts: [2, 0, 2] });
});

test("D-11 the StoreRecovery row of a roll is that of a run without a fault, there as here", () => {
  // Its segments of 256 MiB never roll. What happens at a roll is asked of cells of our own.
  assertRow({ seed: 1677852678, steps: 96, mode: [0xf0de02, 0xb004] }, {
    digest: "17690542572815696266",
    counts: [110, 110, 110],
  });
});

function assertRow(
  row: Row,
  expected: { readonly digest: string; readonly counts: readonly number[] },
): Played {
  const played = play(row);
  const { digest, submitted, acknowledged, recovered } = played;
  assert.deepEqual({ digest, counts: [submitted, acknowledged, recovered] }, expected);
  return played;
}

// ---- forks and imports ----------------------------------------------------------------------------

test("ForkIsolation rows have the reference's digests", () => {
  for (
    const [seed, digest] of [
      [4027539181, "4736402254721647105"],
      [4027514881, "7657867828878101191"],
    ] as const
  ) {
    const run = runForkFault(seed);
    assert.deepEqual([run.outcome, run.events, decimal(run.digest)], [
      "committedPrefix",
      5,
      digest,
    ]);
  }
});

test("ImportReapply rows of an honest disk have the reference's digests", () => {
  assert.deepEqual(importRow(453041837), [6, 6, 6, "6136008848919423745"]);
  assert.deepEqual(importRow(19), [8, 8, 8, "2056110584399011902"]);
});

test("ImportReapply rows of a lying disk have the reference's digests, in the reference's schedule", () => {
  // There, a page is synced as a batch and once more because a sync is due; opening takes three syncs. Ours
  // syncs a page once, so a page is lost here when the reference would lose both.
  const droppedOf = (seed: number): Set<number> => {
    const schedule = new SimRandom((seed ^ 0x1b000001) >>> 0);
    const isDropped = () => schedule.nextU32() % 4 === 0;
    for (let opening = 0; opening < 3; opening++) isDropped();
    const dropped = new Set<number>();
    for (let page = 0; page < 4; page++) {
      const both = [isDropped(), isDropped()];
      if (!both.includes(false)) dropped.add(page);
    }
    return dropped;
  };
  assert.deepEqual([...droppedOf(1075)], [0, 1, 2, 3]);
  assert.deepEqual(importRow(1075, droppedOf(1075)), [4, 4, 0, "16988514228672971394"]);
  assert.deepEqual([...droppedOf(195)], [3]);
  assert.deepEqual(importRow(195, droppedOf(195)), [4, 4, 3, "10862642175300011077"]);
});

test("the ImportReapply row of a journal that imports itself has the reference's digest", () => {
  const { source, deduplicated, events, digest } = runImportSameStore(453037585);
  assert.deepEqual([source, deduplicated, events, decimal(digest)], [
    20,
    20,
    41,
    "330210195014371426",
  ]);
});

function importRow(seed: number, dropped?: ReadonlySet<number>): (number | string)[] {
  const run = runImportFault(seed, dropped === undefined ? {} : { dropped });
  return [run.source, run.target, run.deduplicated, decimal(run.digest)];
}
