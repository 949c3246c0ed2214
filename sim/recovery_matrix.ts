/**
 * The recovery matrix: each way in which a life of a journal can be cut short, each found by its name, each a
 * cell that a seed repeats.
 *
 * A cell draws a life from the seed, lets the real store live it on a simulated disk, and crashes it:
 *
 * | Mode         | The disk                                        | The crash                                     |
 * | ------------ | ----------------------------------------------- | --------------------------------------------- |
 * | honest       | keeps its word                                  | at the end of the life                        |
 * | boundary     | keeps its word                                  | behind one step of the store, chosen by name  |
 * | torn publish | keeps its word, and fails a step of a close     | behind that close                             |
 * | lying        | drops one sync in so many                       | anywhere in the second half                   |
 * | namespace    | drops one sync of a directory, or all from then | before the next one makes up for it           |
 *
 * Nothing of the store knows about boundaries: they are found in the trace of the disk, and which of their
 * occurrences is meant is drawn, so that there has always been something before. On a disk that kept its
 * word nothing may be refused, and the {@linkcode Oracle} asks for every event that was promised. On one
 * that did not, what was promised may be gone; nothing else may be wrong.
 *
 * A run that never came to its boundary, whose fault never struck, or that had nothing to lose is no run:
 * it is a {@linkcode VacuousRunError}.
 *
 * @module
 */

import { JournalNotFoundError, type JournalReader, Store, type StoreOptions } from "../mod.ts";
import { crc32 } from "../platform/checksum.ts";
import { isRefusal, type RecoveryClass } from "./copy_faults.ts";
import type { CrashPolicy } from "./crash_images.ts";
import { DRIVER_DIR, FACT_MARK } from "./driver.ts";
import { Oracle, type OracleFact, OracleViolation } from "./oracle.ts";
import { LIFE_OPTIONS, LifeDriver, lifeOf, type LifeOp, type LifeOpKind } from "./recovery_life.ts";
import { SimClock } from "./sim_clock.ts";
import type { SimStep } from "./sim_disk.ts";
import { SimEntropy } from "./sim_entropy.ts";
import type { SimFaultOptions, SimOp } from "./sim_faults.ts";
import { SimFs } from "./sim_fs.ts";
import { Fold64, SimRandom } from "./sim_random.ts";
import { digestTrace, digestTree } from "./sim_trace.ts";

/** One way to be cut short. */
export interface Cell {
  /** Names it for good: in reports, and in the corpus. */
  readonly name: string;
  /** What is done. */
  readonly mode: CellMode;
}

/** See the top of the file. */
export type CellMode =
  | { readonly type: "honest" }
  | { readonly type: "boundary"; readonly boundary: Boundary }
  | { readonly type: "tornPublish"; readonly op: SimOp; readonly options: SimFaultOptions }
  | { readonly type: "lying"; readonly oneIn: number; readonly options: StoreOptions }
  | { readonly type: "namespace"; readonly drop: number | "all" };

/** A place in what the store does, as the trace shows it. */
export interface Boundary {
  /** Operations in which it is looked for. */
  readonly within: readonly LifeOpKind[];
  /** Of the steps of one such operation, those behind which it is. */
  readonly find: (steps: readonly SimStep[]) => readonly number[];
}

/** What a crash image said. */
export interface JudgedImage {
  /** How the crash took what was not synced. */
  readonly policy: CrashPolicy;
  /** Events that drivers had submitted, and that are there; nothing when the journal was refused. */
  readonly recovered: number;
  /** Whether what the interrupted operation was about is there, where that can be said. */
  readonly isThere: boolean | undefined;
}

/** How a cell ended. */
export interface CellRun {
  /** Which. */
  readonly cell: string;
  /** Of what. */
  readonly seed: number;
  /** Operations of the life. */
  readonly steps: number;
  /** Sixteen digits over the trace up to the crash, and over the files that the next open has left. */
  readonly digest: string;
  /** What the least image that the crash may leave says. */
  readonly outcome: RecoveryClass;
  /** Steps of the trace before the crash. */
  readonly position: number;
  /** Places the crash could have come. */
  readonly places: number;
  /** Calls that a fault has struck before the crash. */
  readonly faults: number;
  /** Events submitted before the crash. */
  readonly submitted: number;
  /** Those of them that were acknowledged. */
  readonly acknowledged: number;
  /** Events that the store had called durable, its own included. */
  readonly durable: number;
  /** Acknowledged and called durable, and not there: only a disk that lies may do that. */
  readonly lost: number;
  /** Every image that was judged; the first one has nothing that was not synced. */
  readonly images: readonly JudgedImage[];
}

/** A run that has tested nothing, and why. */
export class VacuousRunError extends Error {
  /** The class, for messages and logs. */
  override readonly name = "VacuousRunError";
  /** What was missing. */
  readonly reason: "boundary" | "fault" | "history";

  /** Says what was missing. */
  constructor(cell: string, seed: number, reason: VacuousRunError["reason"]) {
    const what = {
      boundary: "never comes to where it is to be cut",
      fault: "is never struck by its fault",
      history: "has nothing to lose before its crash",
    };
    super(`Cannot count "${cell}" of seed ${seed}: it ${what[reason]}`);
    this.reason = reason;
  }
}

/** What a crash of an honest disk may leave. All of these must open. */
const HONEST_POLICIES: readonly CrashPolicy[] = [
  "durable",
  "processKill",
  // Of each file any beginning of what was written, cut at any byte; and any names that need no lost one.
  "reordered",
];

/** No two lives of a journal draw the same ids. */
const NEXT_LIFE_SEED = 3_000_000;

/** The event of the open, and one of a driver. */
const HISTORY_COUNT_MIN = 2;

/** The cell of a name, or `undefined`. */
export function cellOf(name: string): Cell | undefined {
  return CELLS.find((cell) => cell.name === name);
}

/**
 * Runs a cell.
 *
 * @param steps operations of the life; 64 come to all boundaries for most seeds.
 * @param lives for whoever runs several cells of one seed: what no fault has changed is lived once.
 * @throws {OracleViolation} when what is left is not as it must be.
 * @throws {VacuousRunError} when nothing was tested.
 */
export function runCell(
  cell: Cell,
  seed: number,
  steps: number,
  lives: HonestLives = new HonestLives(),
): CellRun {
  const { mode } = cell;
  try {
    switch (mode.type) {
      case "honest":
      case "boundary": {
        const life = lives.of(seed, steps);
        const { length } = life.driver.fs.trace;
        const places = mode.type === "honest" ? [length] : placesOf(mode.boundary, life);
        return new Crash(cell, seed, steps, life).at(places);
      }
      case "tornPublish":
        return tornPublish(cell, mode, seed, steps);
      case "lying":
        return lyingDisk(cell, mode, seed, steps);
      case "namespace":
        return lostNames(cell, mode.drop, seed, steps);
    }
  } catch (error) {
    if (!(error instanceof OracleViolation)) throw error;
    const again = `found again by runCell(cellOf("${cell.name}")!, ${seed}, ${steps})`;
    throw new OracleViolation(`${error.message}\n${again}`, { cause: error });
  }
}

/** Lives on disks that kept their word. Remembers the last one, which many cells look at. */
export class HonestLives {
  #last: { readonly key: string; readonly life: LifeDriver } | undefined;

  /** The life of a seed. */
  of(seed: number, steps: number): LifeDriver {
    const key = `${seed} ${steps}`;
    if (this.#last?.key !== key) {
      const life = new LifeDriver(diskOf(seed), seed);
      life.run(lifeOf(seed, steps));
      this.#last = { key, life };
    }
    return this.#last.life;
  }
}

function diskOf(seed: number, faults = {}): SimFs {
  const fs = new SimFs({ seed, faults });
  fs.faultsArePaused = true;
  // Nobody could make up for a directory whose name was lost.
  fs.createDirAll(DRIVER_DIR);
  fs.faultsArePaused = false;
  return fs;
}

/** Positions of the trace at which a boundary is; those with something to lose before, when there are any. */
function placesOf(boundary: Boundary, { ops, driver }: LifeDriver): number[] {
  const { trace } = driver.fs;
  const places = ops.filter(({ kind }) => boundary.within.includes(kind)).flatMap(
    ({ start, end }) => boundary.find(trace.slice(start, end)).map((index) => start + index + 1),
  );
  const history = trace.findIndex((step) => {
    const fact = factOf(step);
    return fact?.type === "durable" && fact.below >= HISTORY_COUNT_MIN;
  });
  const late = places.filter((position) => history >= 0 && position > history);
  return late.length > 0 ? late : places;
}

function tornPublish(
  cell: Cell,
  { op, options }: CellMode & { type: "tornPublish" },
  seed: number,
  steps: number,
): CellRun {
  const life = new LifeDriver(diskOf(seed), seed);
  life.run(lifeOf(seed, steps));
  const { driver } = life;
  const { fs } = driver;
  // A store that has pruned saves no index; and a close that rolls would meet the fault too early.
  life.run(["close"]);
  const { segmentCount } = driver.store.stats();
  while (driver.store.stats().segmentCount === segmentCount) driver.append();
  life.do("sync");
  fs.armFaultOn(op, 1, options);
  // An index is worth no error: whoever opens next reads the log.
  life.do("close");
  if (fs.faultsFired === 0) throw new VacuousRunError(cell.name, seed, "fault");
  return new Crash(cell, seed, steps, life).at([fs.trace.length]);
}

function lyingDisk(
  cell: Cell,
  { oneIn, options }: CellMode & { type: "lying" },
  seed: number,
  steps: number,
): CellRun {
  const fs = diskOf(seed, { syncLie: 1 / oneIn, dirSyncLie: 1 / oneIn });
  const life = new LifeDriver(fs, seed, options);
  const [open, ...kinds] = lifeOf(seed, steps);
  // What a journal begins with is synced once. Without that there is none, and nothing to be seen.
  fs.faultsArePaused = true;
  life.do(open);
  fs.faultsArePaused = false;
  life.run(kinds);
  const { trace } = fs;
  const lie = trace.findIndex(isDropped);
  const half = Math.max(lie, Math.floor(trace.length / 2));
  const places = Array.from({ length: lie < 0 ? 0 : trace.length - half }, (_, i) => half + 1 + i);
  return new Crash(cell, seed, steps, life).at(places);
}

function lostNames(cell: Cell, drop: number | "all", seed: number, steps: number): CellRun {
  const fs = diskOf(seed);
  const life = new LifeDriver(fs, seed);
  const kinds = lifeOf(seed, steps);
  const third = Math.max(4, Math.floor(kinds.length / 3));
  life.run(kinds.slice(0, third));
  const armed = fs.trace.length;
  fs.armFaultOn("SyncDir", drop === "all" ? 1 : drop, { instead: "lie", sticky: drop === "all" });
  life.run(kinds.slice(third));
  const places: number[] = [];
  let isMissing = false;
  for (let index = armed; index < fs.trace.length; index++) {
    const step = fs.trace[index];
    // A directory that is synced later is whole again.
    if (step.type === "syncDir") isMissing = isDropped(step);
    if (isMissing) places.push(index + 1);
  }
  return new Crash(cell, seed, steps, life).at(places);
}

/** Ends a life, and holds what is left to what it had been promised. */
class Crash {
  readonly #cell: Cell;
  readonly #seed: number;
  readonly #steps: number;
  readonly #life: LifeDriver;

  constructor(cell: Cell, seed: number, steps: number, life: LifeDriver) {
    this.#cell = cell;
    this.#seed = seed;
    this.#steps = steps;
    this.#life = life;
  }

  /** One of these places is drawn. */
  at(places: readonly number[]): CellRun {
    const { name, mode } = this.#cell;
    if (places.length === 0) this.#vacuous(mode.type === "boundary" ? "boundary" : "fault");
    const random = new SimRandom(this.#seed).stream(`cell ${name}`);
    const position = random.pick(places);
    const { fs } = this.#life.driver;
    const steps = fs.trace.slice(0, position);
    const facts = steps.flatMap((step) => factOf(step) ?? []);
    const promised = new Promises(steps);
    const { submitted, acknowledged, durable } = promised;
    if (acknowledged === 0 || durable < HISTORY_COUNT_MIN) this.#vacuous("history");
    const faults = steps.filter(isDropped).length;

    const op = this.#life.ops.find(({ start, end }) => start < position && position <= end);
    const isLying = mode.type === "lying" || mode.type === "namespace";
    const policies = isLying ? ["durable" as const] : HONEST_POLICIES;
    const moved = steps.filter(({ type }) => type !== "mark");
    const digest = new Fold64().fold(this.#seed).fold(crc32(encode(name)))
      .bytes(encode(digestTrace(moved)));
    let outcome: RecoveryClass = "refused";
    let lost = 0;
    const images: JudgedImage[] = [];
    for (const policy of policies) {
      const image = fs.crashImage(policy, { position });
      const seen = look(image, mode.type === "lying", op, promised);
      const oracle = new Oracle(DRIVER_DIR, this.#life.driver.options);
      for (const fact of facts) oracle.take(fact);
      const verdict = oracle.judge(image, { powerCut: policy !== "processKill", isLying });
      if (verdict.type === "refused" && mode.type !== "lying") {
        throw new OracleViolation(`nothing was lost but names: ${verdict.reason}`);
      }
      const recovered = verdict.type === "sound" ? verdict.events : 0;
      images.push({ policy, recovered, isThere: seen?.isThere });
      digest.fold(recovered).bytes(encode(this.#recoveredBytes(policy, position)));
      if (policy !== "durable") continue;
      lost = seen?.lost ?? durable;
      if (verdict.type === "sound") outcome = recovered > 0 ? "committedPrefix" : "rolledBack";
      if (mode.type === "namespace" && seen !== undefined && seen.lostBeforeLie > 0) {
        throw new OracleViolation(
          `${seen.lostBeforeLie} events are gone that were durable before a name was lost`,
        );
      }
    }
    return {
      cell: name,
      seed: this.#seed,
      steps: this.#steps,
      digest: `${digest}`,
      outcome,
      position,
      places: places.length,
      faults: mode.type === "tornPublish" ? fs.faultsFired : faults,
      submitted,
      acknowledged,
      durable,
      lost,
      images,
    };
  }

  /** What the next open makes of the same image: the oracle does more with it, and not always the same. */
  #recoveredBytes(policy: CrashPolicy, position: number): string {
    const { fs, options } = this.#life.driver;
    const image = fs.crashImage(policy, { position });
    const entropy = new SimEntropy(NEXT_LIFE_SEED);
    try {
      Store.open(DRIVER_DIR, { ...options, fs: image, clock: new SimClock(), entropy });
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
    return digestTree(image);
  }

  #vacuous(reason: VacuousRunError["reason"]): never {
    throw new VacuousRunError(this.#cell.name, this.#seed, reason);
  }
}

/** What had been promised by some step, as far as a matrix counts it. */
class Promises {
  submitted = 0;
  acknowledged = 0;
  /** Everything below was called durable. */
  durable = 0;
  /** The same, before a disk said for the first time what was not so. */
  durableBeforeLie = 0;
  /** The ids of what was acknowledged with a receipt, by sequence. */
  readonly receipts = new Map<number, string>();

  constructor(steps: readonly SimStep[]) {
    let isLied = false;
    for (const step of steps) {
      isLied ||= isDropped(step);
      const fact = factOf(step);
      if (fact?.type === "submitted") this.submitted += fact.events.length;
      if (fact?.type === "durable") {
        this.durable = Math.max(this.durable, fact.below);
        if (!isLied) this.durableBeforeLie = this.durable;
      }
      if (fact?.type !== "acknowledged") continue;
      this.acknowledged += fact.sequences.length;
      fact.sequences.forEach((sequence, i) => {
        const receipt = fact.receipts?.[i];
        if (receipt !== undefined) this.receipts.set(sequence, receipt.eventId);
      });
    }
  }
}

/** Looks at a disk as a reader does, which changes nothing; `undefined` when it is refused. */
function look(
  fs: SimFs,
  mayRefuse: boolean,
  op: LifeOp | undefined,
  promised: Promises,
): { isThere: boolean | undefined; lost: number; lostBeforeLie: number } | undefined {
  let reader: JournalReader;
  try {
    reader = Store.openReadOnly(DRIVER_DIR, { fs, clock: new SimClock() });
  } catch (error) {
    // The oracle says more about it.
    if (mayRefuse && (isRefusal(error) || error instanceof JournalNotFoundError)) return undefined;
    throw new OracleViolation(`a reader: ${error}`, { cause: error });
  }
  using found = reader;
  const { firstSequence } = found.stats();
  let lost = 0;
  let lostBeforeLie = 0;
  for (const [sequence, id] of promised.receipts) {
    if (sequence < firstSequence || sequence >= promised.durable) continue;
    if (found.at(sequence)?.eventId === id) continue;
    lost++;
    if (sequence < promised.durableBeforeLie) lostBeforeLie++;
  }
  return { isThere: op?.isThere?.(found, fs), lost, lostBeforeLie };
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function isDropped(step: SimStep): boolean {
  return (step.type === "sync" || step.type === "syncDir") && step.outcome === "dropped";
}

function factOf(step: SimStep): OracleFact | undefined {
  return step.type === "mark" && step.label === FACT_MARK ? step.data as OracleFact : undefined;
}

// ---- boundaries -----------------------------------------------------------------------------------

const SEGMENT = /\/\d{6}\.fbat$/;
const STAGE = /\/\.stage-\d+$/;
const INDEX = /\/index\.fbati$/;

type Where = (step: SimStep) => boolean;

function is(type: SimStep["type"], path: RegExp): Where {
  return (step) => step.type === type && "path" in step && path.test(step.path);
}

function told(type: OracleFact["type"]): Where {
  return (step) => factOf(step)?.type === type;
}

/** Every step of a kind. */
function each(where: Where): Boundary["find"] {
  return (steps) => steps.flatMap((step, index) => where(step) ? [index] : []);
}

/** The last step of a kind, of those that come before another when that is said. */
function last(where: Where, before?: Where): Boundary["find"] {
  return (steps) => {
    const end = before === undefined ? steps.length : steps.findIndex(before);
    const index = steps.slice(0, Math.max(0, end)).findLastIndex(where);
    return index < 0 ? [] : [index];
  };
}

/** The first step of a kind behind each one of another. */
function after(anchor: Where, where: Where): Boundary["find"] {
  return (steps) =>
    each(anchor)(steps).flatMap((index) => {
      const next = steps.findIndex((step, i) => i > index && where(step));
      return next < 0 ? [] : [next];
    });
}

/** The last step of a kind in front of each one of another. */
function ahead(anchor: Where, where: Where): Boundary["find"] {
  return (steps) =>
    each(anchor)(steps).flatMap((index) => {
      const previous = steps.slice(0, index).findLastIndex(where);
      return previous < 0 ? [] : [previous];
    });
}

/** Where a group, or the end of a fence, becomes bytes. */
const WRITTEN = is("write", SEGMENT);
const LOG_SYNCED = is("sync", SEGMENT);
/** A segment gets its name: everything of a roll comes before or behind. */
const NAMED: Where = (step) =>
  step.type === "rename" && STAGE.test(step.source) && SEGMENT.test(step.path);
const MERGED: Where = (step) =>
  step.type === "rename" && step.source.endsWith(".compact-new") && SEGMENT.test(step.path);
const DIR_SYNCED: Where = (step) => step.type === "syncDir";

const APPENDS = ["append", "durable append", "batch", "durable batch", "fence"] as const;
const COMPACTIONS = ["merge", "erasure"] as const;

function boundary(
  name: string,
  within: readonly LifeOpKind[],
  find: Boundary["find"],
): Cell {
  return { name, mode: { type: "boundary", boundary: { within, find } } };
}

function tornIndex(step: string, op: SimOp, options: SimFaultOptions = {}): Cell {
  return { name: `torn publish at a close: ${step}`, mode: { type: "tornPublish", op, options } };
}

/** Where a log is many files, one that a sync has missed makes the rest of no use; where it is one, less. */
function lying(name: string, oneIn: number, options: StoreOptions = LIFE_OPTIONS): Cell {
  return { name, mode: { type: "lying", oneIn, options } };
}

/** All cells. A name is never given to another cell: corpus rows stand for it. */
export const CELLS: readonly Cell[] = [
  { name: "honest disk", mode: { type: "honest" } },

  boundary("append: written", ["append"], last(WRITTEN)),
  boundary("durable append: written", ["durable append"], last(WRITTEN)),
  boundary("durable append: synced", ["durable append"], last(LOG_SYNCED)),
  boundary("batch: written", ["batch"], last(WRITTEN)),
  boundary("durable batch: written", ["durable batch"], last(WRITTEN)),
  boundary("durable batch: synced, not told", ["durable batch"], last(LOG_SYNCED)),

  boundary("roll: old segment cut", APPENDS, ahead(NAMED, is("resize", SEGMENT))),
  boundary("roll: footer written", APPENDS, ahead(NAMED, WRITTEN)),
  boundary("roll: footer synced", APPENDS, ahead(NAMED, LOG_SYNCED)),
  boundary("roll: new segment created", APPENDS, ahead(NAMED, is("create", STAGE))),
  boundary("roll: header written", APPENDS, ahead(NAMED, is("write", STAGE))),
  boundary("roll: header synced", APPENDS, ahead(NAMED, is("sync", STAGE))),
  boundary("roll: new segment named", APPENDS, each(NAMED)),
  boundary("roll: name synced", APPENDS, after(NAMED, DIR_SYNCED)),
  boundary("roll: first group written", APPENDS.slice(0, 4), after(NAMED, WRITTEN)),

  boundary("fence: begun", ["fence"], last(WRITTEN, told("submitted"))),
  boundary("fence: staged", ["fence"], last(WRITTEN, told("committing"))),
  boundary("fence: commit written", ["fence"], last(WRITTEN)),
  boundary("fence: commit synced", ["fence"], last(LOG_SYNCED)),
  boundary("cancelled fence: cancel written", ["cancelled fence"], last(WRITTEN)),

  boundary("compaction: merged segment staged", COMPACTIONS, ahead(MERGED, is("sync", /new$/))),
  boundary("compaction: marker named", COMPACTIONS, each(is("rename", /compaction\.pending$/))),
  boundary("compaction: source set aside", COMPACTIONS, each(is("rename", /compact-src$/))),
  boundary("compaction: committed", COMPACTIONS, last(MERGED)),
  boundary(
    "compaction: commit synced",
    COMPACTIONS,
    (steps) => after(MERGED, DIR_SYNCED)(steps).slice(-1),
  ),
  boundary(
    "compaction: a source removed",
    COMPACTIONS,
    each(is("unlink", /fbat(\.compact-src)?$/)),
  ),
  boundary("compaction: marker removed", COMPACTIONS, each(is("unlink", /pending$/))),

  boundary("prune: recorded", ["prune"], each(is("rename", /journal\.base$/))),
  boundary("prune: record synced", ["prune"], after(is("rename", /journal\.base$/), DIR_SYNCED)),
  boundary("prune: a segment removed", ["prune"], each(is("unlink", SEGMENT))),

  boundary("checkpoint: written", ["checkpoint"], ahead(is("rename", /ckpt$/), is("write", STAGE))),
  boundary("checkpoint: named", ["checkpoint"], each(is("rename", /ckpt$/))),
  boundary("checkpoint: name synced", ["checkpoint"], after(is("rename", /ckpt$/), DIR_SYNCED)),

  boundary("close: recorded", ["close"], last(WRITTEN)),
  boundary("close: cut", ["close"], last(is("resize", SEGMENT))),
  boundary("close: synced", ["close"], last(LOG_SYNCED)),
  boundary("close: index named", ["close"], each(is("rename", INDEX))),
  boundary("close: index name synced", ["close"], after(is("rename", INDEX), DIR_SYNCED)),

  boundary("open: recorded", ["open"], last(WRITTEN)),
  boundary("open: synced", ["open"], last(LOG_SYNCED)),

  tornIndex("nothing staged", "Stage"),
  tornIndex("nothing created", "CreateNew"),
  tornIndex("cut short", "Write", { path: ".stage-", partial: 20, code: "ENOSPC" }),
  tornIndex("not synced", "Sync", { path: ".stage-" }),
  tornIndex("not named", "Rename", { path: "index.fbati" }),
  tornIndex("refused", "PersistTemp", { path: "index.fbati" }),
  tornIndex("name not synced", "SyncDir"),

  lying("lying disk, 1 in 2", 2),
  lying("lying disk, 1 in 5", 5),
  lying("lying disk, 1 in 2, one segment", 2, {}),
  lying("lying disk, 1 in 5, one segment", 5, {}),

  { name: "1st directory sync dropped", mode: { type: "namespace", drop: 1 } },
  { name: "2nd directory sync dropped", mode: { type: "namespace", drop: 2 } },
  { name: "3rd directory sync dropped", mode: { type: "namespace", drop: 3 } },
  { name: "all directory syncs dropped", mode: { type: "namespace", drop: "all" } },
];
