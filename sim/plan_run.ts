/**
 * A plan, carried out: each life on the disk that the last one left, each end judged by an oracle.
 *
 * Beyond what the oracle asks of the disk after a crash, a run asks of every answer that it has a reason: an
 * error only where a fault has struck, or where the plan has asked for something impossible, and then the
 * right one.
 *
 * On the way it collects marks: names for what does not happen in every run. A campaign of many plans that
 * never reaches one of them has not tested what it says.
 *
 * @module
 */

import {
  type AppendCondition,
  ClockConflictError,
  type CompactionStrategy,
  ConditionConflictError,
  CorruptionError,
  IdempotencyError,
  IoFault,
  type RegionLike,
  StoreError,
  type StoreOptions,
  WriterCrashedError,
} from "../mod.ts";
import { holeOf } from "./crash_explorer.ts";
import type { CrashPolicy } from "./crash_images.ts";
import { Driver, DRIVER_DIR, type DriverEvent } from "./driver.ts";
import { Oracle, type OracleFact, OracleViolation } from "./oracle.ts";
import {
  isLying,
  type PlanCrash,
  type PlanEvent,
  type PlanLife,
  type PlanOptions,
  type SimAct,
  type SimPlan,
} from "./plan.ts";
import { factsOf, isClaim, lineOfStep } from "./plan_facts.ts";
import { SimFs, type SimFsOptions } from "./sim_fs.ts";
import { digestTrace, digestTree } from "./sim_trace.ts";

/** What came of a run. */
export interface PlanReport {
  /** Sixteen digits: runs with the same ones did the same, to the last byte. */
  readonly digest: string;
  /** Names of what happened. */
  readonly marks: ReadonlySet<string>;
  /** Disks that were judged. */
  readonly judged: number;
  /** Events found on them, at most. Without one, the run has tested nothing. */
  readonly events: number;
  /** Calls of the disk that a fault has struck. */
  readonly faultsFired: number;
  /** Why a store was allowed not to open; numbers left out. */
  readonly refusals: readonly string[];
}

/** A run that has shown something that must not be. */
export class PlanFailure extends Error {
  /** The class, for messages and logs. */
  override readonly name = "PlanFailure";
  /** The plan up to there, ending in the crash that was judged. */
  readonly plan: SimPlan;

  /** @param plan up to where it failed. */
  constructor(message: string, plan: SimPlan, cause: unknown) {
    super(message, { cause });
    this.plan = plan;
  }
}

/**
 * Carries a plan out.
 *
 * @throws {PlanFailure} at the first thing that is not as it must be.
 */
export function runPlan(plan: SimPlan): PlanReport {
  return new PlanRun(plan).run();
}

/** Power cuts after which a hole may have to be refused. */
const HOLEY: ReadonlySet<CrashPolicy> = new Set(["subset", "torn", "garbage"]);

const SCOPES = ["app", "shop"] as const;
const CHECKPOINT_REGIONS: Readonly<Record<string, { entity?: string; scope?: string }>> = {
  app: { scope: "app" },
  user: { entity: "user:1" },
  all: {},
};
/** Other handles of a life that a plan leaves open; more would only be slow. */
const COPIES_MAX = 2;
const LINES_SHOWN = 30;

class PlanRun {
  readonly #plan: SimPlan;
  readonly #options: StoreOptions;
  readonly #marks = new Set<string>();
  readonly #refusals: string[] = [];
  /** What has been told in the lives before, up to where each ended. */
  readonly #told: OracleFact[] = [];
  readonly #digests: string[] = [];
  readonly #driver: Driver;
  #fs: SimFs;
  #life = 0;
  /** Where in the trace each act of this life began; the open is the first. */
  #starts: number[] = [];
  #isPoisoned = false;
  #judged = 0;
  #events = 0;
  #faultsFired = 0;
  #copies = 0;

  constructor(plan: SimPlan) {
    this.#plan = plan;
    this.#options = storeOptionsOf(plan.options);
    const empty = new SimFs({ seed: plan.seed });
    empty.createDirAll(DRIVER_DIR);
    const fs = empty.snapshot();
    this.#driver = new Driver(fs, this.#options);
    this.#fs = plan.history === 0 ? fs : this.#begin(fs);
  }

  /** What was before the first of the lives. */
  #begin(fs: SimFs): SimFs {
    const { history } = this.#plan;
    this.#driver.open();
    for (let n = 0; n < history; n++) {
      this.#driver.append(eventOf({ entity: n % 2, lane: 0, size: 16, key: n }));
    }
    this.#driver.close();
    this.#told.push(...factsOf(fs.trace));
    return fs.snapshot();
  }

  run(): PlanReport {
    for (const [index, life] of this.#plan.lives.entries()) {
      this.#life = index;
      if (!this.#live(life)) break;
    }
    return {
      digest: this.#digests.join(" "),
      marks: this.#marks,
      judged: this.#judged,
      events: this.#events,
      faultsFired: this.#faultsFired,
      refusals: this.#refusals,
    };
  }

  /** One life; says whether there can be another. */
  #live(life: PlanLife): boolean {
    const { faults, room, openFilesMax } = life.disk;
    const disk: SimFsOptions = {
      seed: this.#plan.seed + this.#life,
      faults,
      ...(room === undefined ? {} : { diskSize: sizeOf(this.#fs) + room }),
      ...(openFilesMax === undefined ? {} : { openFilesMax }),
    };
    const fs = this.#fs.crashImage("processKill", {}, disk);
    this.#fs = fs;
    this.#driver.moveTo(fs);
    this.#starts = [0];
    this.#isPoisoned = false;
    try {
      if (this.#open(life)) {
        for (const act of life.acts) {
          this.#starts.push(fs.trace.length);
          this.#act(act);
        }
      }
    } catch (error) {
      throw this.#failure(error, { policy: "processKill", at: 1, seed: 0 }, fs.trace.length);
    }
    this.#faultsFired += fs.faultsFired;
    for (const [kind, count] of fs.plannedFaultsFired) {
      if (count > 0) this.#marks.add(`fault: ${kind}`);
    }
    this.#digests.push(digestTrace(fs.trace));
    for (const probe of life.probes) {
      this.#crash(life, probe, Math.floor(probe.at * fs.trace.length));
    }
    const start = this.#starts[this.#starts.length - 1];
    const position = start + Math.floor(life.crash.at * (fs.trace.length - start));
    const left = this.#crash(life, life.crash, position);
    if (left === undefined) return false;
    this.#told.push(...factsOf(fs.trace.slice(0, left.position)));
    if (life.crash.policy !== "processKill") this.#told.push({ type: "dropped" });
    this.#fs = left.fs;
    this.#digests.push(digestTree(left.fs));
    return true;
  }

  /** Crashes, and judges what is left; returns that, unless there can be no other life on it. */
  #crash(
    life: PlanLife,
    crash: PlanCrash,
    near: number,
  ): { readonly fs: SimFs; readonly position: number } | undefined {
    const { policy, seed } = crash;
    const { trace } = this.#fs;
    let position = near;
    // A claim holds for the step before it.
    while (position < trace.length && isClaim(trace[position])) position++;
    const oracle = new Oracle(DRIVER_DIR, this.#options);
    for (const fact of this.#told) oracle.take(fact);
    for (const fact of factsOf(trace.slice(0, position))) oracle.take(fact);
    const powerCut = policy !== "processKill";
    // A lie comes out when the power is cut.
    const isALie = powerCut && isLying(life);
    const left = this.#fs.crashImage(policy, { position, seed });
    const judged = left.crashImage("processKill");
    const asLeft = HOLEY.has(policy) ? left.crashImage("processKill") : undefined;
    this.#judged++;
    try {
      const verdict = oracle.judge(judged, {
        powerCut,
        isLying: isALie,
        excuse: (error) =>
          asLeft === undefined ? undefined : holeOf(error, asLeft, this.#fs, position),
      });
      this.#marks.add(`crash: ${policy}`);
      const during = this.#starts.findLastIndex((start) => start <= position);
      this.#marks.add(`crash during ${during === 0 ? "open" : life.acts[during - 1].do}`);
      if (verdict.type === "refused") {
        const reason = verdict.reason.replace(/\d+/g, "#");
        this.#refusals.push(reason);
        this.#marks.add(isALie ? "refused: a disk that lied" : "refused: a hole");
        return undefined;
      }
      this.#events = Math.max(this.#events, verdict.events);
    } catch (error) {
      throw this.#failure(error, crash, position);
    }
    return isALie ? undefined : { fs: left, position };
  }

  /** Opens, and once more without faults when they have kept it from that; says whether it is open. */
  #open(life: PlanLife): boolean {
    for (let attempt = 0; attempt < 3; attempt++) {
      this.#fs.faultsArePaused = attempt === 2;
      try {
        if (this.#attempt("open", () => void this.#driver.open())) {
          this.#isPoisoned = false;
          this.#markOpen();
          return true;
        }
      } finally {
        this.#fs.faultsArePaused = false;
      }
    }
    if (life.disk.room === undefined && life.disk.openFilesMax === undefined) {
      throw new OracleViolation("without faults it does not open");
    }
    this.#marks.add("open: no room");
    return false;
  }

  #markOpen(): void {
    const { path, indexFile, repairs, oddities } = this.#driver.store.openReport;
    this.#marks.add(`open: from ${path}`);
    this.#marks.add(`open: index file ${indexFile}`);
    if (repairs.length > 0) this.#marks.add("open: repaired a tail");
    for (const oddity of oddities) {
      this.#marks.add(`open: ${oddity.replace(/[\w.-]*\d[\w.-]*/g, "#")}`);
    }
  }

  #act(act: SimAct): void {
    const driver = this.#driver;
    this.#fs.mark("act", act.do);
    if (!driver.isOpen) {
      if (act.do === "reopen") this.#attempt("reopen", () => this.#reopen());
      return;
    }
    // Nothing passes an open fence but what belongs to it.
    if (driver.isFenced && !WITHIN_A_FENCE.has(act.do)) return;
    switch (act.do) {
      case "append":
        return this.#append(act);
      case "batch":
        return this.#batch(act);
      case "sync":
        return void this.#attempt(act.do, () => driver.sync());
      case "fence":
        return void this.#attempt(act.do, () => driver.beginFence());
      case "stage":
        if (driver.isFenced) this.#attempt(act.do, () => driver.stage(act.events.map(eventOf)));
        return;
      case "endFence":
        if (!driver.isFenced) return;
        return void this.#attempt(act.end, () => driver.endFence(act.end));
      case "compact":
        return this.#compact(act);
      case "compactionSteps":
        for (let n = 0; n < act.count && driver.isCompacting; n++) {
          this.#attempt(act.do, () => this.#markReport(driver.compactionStep()));
        }
        return;
      case "abandonCompaction":
        if (driver.isCompacting) this.#attempt(act.do, () => driver.abandonCompaction());
        return;
      case "prune":
        if (driver.isCompacting) return;
        return void this.#attempt(act.do, () => {
          const { firstSequence, nextSequence } = driver.store.stats();
          const below = firstSequence + Math.floor(act.part * (nextSequence - firstSequence));
          const { outcome } = driver.prune({ below, seal: act.seal });
          this.#marks.add(`prune: ${outcome}`);
        });
      case "copy":
        if (this.#copies >= COPIES_MAX || driver.isCompacting) return;
        this.#copies++;
        return void this.#attempt(act.how, () => void driver.copy(act.how, undefined, act.share));
      case "import":
        return void this.#attempt(act.do, () => {
          const { count, chunkSize, durable } = act;
          driver.importEvents(count, { chunkSize, durability: durable ? "durable" : "written" });
        });
      case "checkpoint":
        return void this.#attempt(act.do, () => this.#checkpoint(act));
      case "read":
        return this.#read();
      case "time":
        if (act.us < 0) driver.clock.jump(act.us);
        else driver.clock.advance(act.us);
        return;
      case "reopen":
        this.#attempt("close", () => driver.close());
        return void this.#attempt(act.do, () => this.#reopen());
    }
  }

  /**
   * Does something that may fail when a fault strikes, or when the writer has stopped; says whether it has
   * not. Any other failure is a violation.
   */
  #attempt(name: string, act: () => void): boolean {
    const fired = this.#fs.faultsFired;
    try {
      act();
      return true;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      const { faults, room, openFilesMax } = this.#plan.lives[this.#life].disk;
      const { faultsFired } = this.#fs;
      const code = ioCodeOf(error);
      const isStruck = faultsFired > fired ||
        (code === "ENOSPC" && room !== undefined) ||
        (code === "EMFILE" && openFilesMax !== undefined);
      // A compaction that fails says so, and need not say that the writer has stopped with it.
      const isStopped = error instanceof WriterCrashedError && faultsFired > 0;
      if (!isStruck && !isStopped && !this.#isPoisoned && !mayFailLater(error, faults)) {
        throw new OracleViolation(`${name} fails without a reason: ${error.message}`, {
          cause: error,
        });
      }
      if (!this.#mayBe(error)) {
        throw new OracleViolation(`${name} blames something else: ${error.message}`, {
          cause: error,
        });
      }
      if (isOfStoppedWriter(error)) this.#isPoisoned = true;
      this.#marks.add(`${name}: ${error.code}`);
      return false;
    }
  }

  /** Whether an error can be what a fault has led to: a disk that fails is no caller's fault, and no damage. */
  #mayBe(error: StoreError): boolean {
    if (!(error instanceof CorruptionError)) return !BLAMING.has(error.code);
    const struck = this.#fs.plannedFaultsFired;
    return CORRUPTING.some((kind) => (struck.get(kind) ?? 0) > 0);
  }

  #reopen(): void {
    this.#driver.open();
    this.#isPoisoned = false;
    this.#markOpen();
  }

  #append({ event: planned, durable, condition }: SimAct & { do: "append" }): void {
    const { store } = this.#driver;
    const event = eventOf(planned);
    const durability = durable ? "durable" : "written";
    const { entity, lane } = event;
    const clock = store.headClock(entity, lane);
    const conflict = condition === "wrongClock"
      ? ClockConflictError
      : condition === "somethingNew"
      ? ConditionConflictError
      : undefined;
    const failIf = (after?: number): AppendCondition => ({
      region: { scope: event.scope } as RegionLike,
      ...(after === undefined ? {} : { after }),
    });
    const { nextSequence } = store.stats();
    // Without an event in the scope there is nothing that could be new.
    if (condition === "somethingNew" && store.query({ scope: event.scope }).length === 0) return;
    const options = {
      ...(condition === "clock" ? { expectedClock: clock } : {}),
      ...(condition === "wrongClock" ? { expectedClock: clock === "none" ? 3 : clock + 1 } : {}),
      ...(condition === "nothingNew" ? { failIf: failIf(nextSequence - 1) } : {}),
      ...(condition === "somethingNew" ? { failIf: failIf() } : {}),
      durability,
    } as const;
    if (conflict === undefined) {
      if (!this.#attempt("append", () => void this.#driver.append(event, options))) return;
      this.#mustNotBePoisoned("append");
      return;
    }
    this.#attempt("conflict", () => {
      let answer: unknown;
      try {
        answer = this.#driver.append(event, options);
      } catch (error) {
        if (!(error instanceof conflict)) throw error;
        this.#marks.add(`conflict: ${error.code}`);
        return;
      }
      throw new OracleViolation(`a condition that does not hold is answered with ${answer}`);
    });
  }

  #batch({ events: planned, durable }: SimAct & { do: "batch" }): void {
    const events = planned.map(eventOf);
    const { store } = this.#driver;
    const known = events.filter(({ key }) =>
      key !== undefined && store.getByKey(key) !== undefined
    );
    const isMixed = known.length > 0 && known.length < events.length;
    const done = this.#attempt("batch", () => {
      try {
        this.#driver.batch(events, { durability: durable ? "durable" : "written" });
      } catch (error) {
        if (!(error instanceof IdempotencyError) || known.length === 0) throw error;
        this.#marks.add("batch: keys of different operations");
        return;
      }
      if (isMixed) throw new OracleViolation("a batch of known and unknown keys was appended");
    });
    if (done) this.#mustNotBePoisoned("batch");
  }

  #mustNotBePoisoned(name: string): void {
    if (this.#isPoisoned) throw new OracleViolation(`${name} goes on after a sync has failed`);
  }

  #compact({ strategy: type, keep: every, seal, inSteps }: SimAct & { do: "compact" }): void {
    const driver = this.#driver;
    if (driver.isCompacting) return;
    const keep = ({ globalSequence }: { readonly globalSequence: number }) =>
      globalSequence % every !== 0;
    const strategy: CompactionStrategy = type === "merge" ? { type } : { type, keep };
    const options = { strategy, seal, stepMaxBytes: 4096 };
    this.#attempt("compact", () => {
      if (inSteps) driver.beginCompaction(options);
      else this.#markReport(driver.compact(options));
    });
  }

  #markReport(report: { readonly outcome: string } | undefined): void {
    if (report !== undefined) this.#marks.add(`compaction: ${report.outcome}`);
  }

  #checkpoint({ id, count, commit }: SimAct & { do: "checkpoint" }): void {
    const region = CHECKPOINT_REGIONS[id];
    const { bound, commit: commitBound } = this.#driver.bind(id, region);
    try {
      const { position, started } = bound.committed;
      const expected = this.#driver.store.query(region)
        .map(({ globalSequence }) => globalSequence)
        .filter((sequence) => !started || sequence > position)
        .slice(0, count);
      const actual = bound.cursor.pollBatch(count).map(({ globalSequence }) => globalSequence);
      if (actual.join() !== expected.join()) {
        throw new OracleViolation(`a cursor gives ${actual}, and should give ${expected}`);
      }
      if (commit && actual.length > 0) commitBound();
    } finally {
      bound.close();
    }
  }

  /** What is seen while it runs is judged, too. After a failed sync nobody knows what that should be. */
  #read(): void {
    // A compaction that fails stops the writer without a word of it.
    const hasReverted = this.#fs.plannedFaultsFired.has("syncReverted");
    if (
      this.#isPoisoned || hasReverted ||
      this.#plan.lives[this.#life].disk.openFilesMax !== undefined
    ) return;
    this.#fs.faultsArePaused = true;
    const oracle = new Oracle(DRIVER_DIR, this.#options);
    for (const fact of this.#told) oracle.take(fact);
    for (const fact of factsOf(this.#fs.trace)) oracle.take(fact);
    oracle.inspect(this.#fs, this.#driver.store);
    this.#fs.faultsArePaused = false;
    this.#marks.add("read: beside the writer");
  }

  #failure(error: unknown, crash: PlanCrash, position: number): PlanFailure {
    const { lives } = this.#plan;
    const life = lives[this.#life];
    // The same plan, as far as it matters: it ends in this crash.
    const during = Math.max(0, this.#starts.findLastIndex((start) => start <= position));
    const start = this.#starts[during];
    const end = this.#starts[during + 1] ?? this.#fs.trace.length;
    const at = end === start ? 1 : Math.min(1, (position - start + 0.001) / (end - start));
    const last = { ...life, acts: life.acts.slice(0, during), probes: [], crash: { ...crash, at } };
    const before = lives.slice(0, this.#life).map((life) => ({ ...life, probes: [] }));
    const plan = { ...this.#plan, lives: [...before, last] };
    const what = error instanceof OracleViolation
      ? error.message
      : error instanceof Error
      ? `${error.name}: ${error.message}`
      : String(error);
    const steps = this.#fs.trace.slice(Math.max(0, position - LINES_SHOWN), position);
    const message = [
      `seed ${this.#plan.seed}, life ${this.#life}, ${crash.policy} after ${position} steps: ${what}`,
      ...steps.map((step) => `  ${lineOfStep(step)}`),
    ].join("\n");
    return new PlanFailure(message, plan, error);
  }
}

/** Codes that say that the caller has asked for something wrong. */
const BLAMING: ReadonlySet<string> = new Set(["BATCH_FAILED", "IMPORT_EVENT", "TOO_LARGE"]);
/** Faults that change what is on the disk behind everybody's back. */
const CORRUPTING = ["dirSyncLie", "syncLie", "syncLost", "syncReverted"] as const;

const WITHIN_A_FENCE: ReadonlySet<SimAct["do"]> = new Set([
  "stage",
  "endFence",
  "sync",
  "read",
  "time",
  "reopen",
  "checkpoint",
]);

/** Whether an error says, or comes of it, that the writer has stopped. */
function isOfStoppedWriter(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof WriterCrashedError) return true;
  }
  return false;
}

/** What the disk has said, somewhere below an error. */
function ioCodeOf(error: unknown): string | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof IoFault) return cause.code;
  }
  return undefined;
}

/** Errors that come after a fault, not with it. */
function mayFailLater(
  error: StoreError,
  faults: Readonly<Record<string, number | undefined>>,
): boolean {
  return error.code === "COMPACTION" && Object.keys(faults).length > 0;
}

function storeOptionsOf(options: PlanOptions): StoreOptions {
  const { segmentMaxBytes, syncEveryNEvents, indexFile, footers, saveEveryNEvents } = options;
  return {
    segmentMaxBytes,
    fdBudget: options.fdBudget,
    chainVerification: options.chainVerification,
    sync: { everyNEvents: syncEveryNEvents, mode: options.syncMode },
    coldStart: { indexFile, footers, saveEveryNEvents },
  };
}

function eventOf(
  { entity, lane, size, key }: PlanEvent,
): Required<Omit<DriverEvent, "key">> & DriverEvent {
  return {
    entity: `user:${entity}`,
    scope: SCOPES[entity % SCOPES.length],
    lane,
    size,
    ...(key === undefined ? {} : { key: `key ${key}` }),
  };
}

function sizeOf(fs: SimFs): number {
  return fs.crashImage("processKill", {}, { diskSize: Number.MAX_SAFE_INTEGER }).usedSize;
}
