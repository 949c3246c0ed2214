/**
 * Every fault there is: an operation of the store runs once for each file call it makes, and that call fails.
 *
 * A run without faults counts the calls. Then, for each of them and each {@linkcode Flavour} that makes sense
 * for what it asks, the operation runs on a fresh copy of the same disk, and the call fails: before its
 * effect or after it, with a part of it, once or from then on. Afterwards the disk is well again, and all
 * of this has to hold:
 *
 * 1. The fault has struck.
 * 2. The operation threw a {@linkcode StoreError} that it documents, with the fault as its cause; or it
 *    succeeded all the same, with the same answer, and {@linkcode TOLERANCES} says why it may.
 * 3. What the handle shows is what was promised. Either it has stopped for good, where that is documented:
 *    then every write is refused, and nothing changes. Or it goes on: what failed is done again, and works.
 * 4. A crash at once leaves what was promised, event by event, by the {@linkcode Oracle}; and so does one
 *    after going on, and the next open.
 * 5. Whatever was opened or locked is let go of: by a failed call at once, by a close in any case.
 *
 * Lying disks are no part of it: nobody can be told of what they do.
 *
 * @module
 */

import {
  CheckpointWriteError,
  IoFault,
  type Store,
  StoreClosedError,
  StoreError,
  WriterCrashedError,
} from "../mod.ts";
import { holeOf } from "./crash_explorer.ts";
import type { CrashPolicy } from "./crash_images.ts";
import { Driver, DRIVER_DIR, FACT_MARK } from "./driver.ts";
import { Oracle, type OracleFact, OracleViolation } from "./oracle.ts";
import type { SimStep } from "./sim_disk.ts";
import { SIM_MUTATIONS, type SimFaultOptions } from "./sim_faults.ts";
import { type SimCall, SimFs } from "./sim_fs.ts";
import { SimRandom } from "./sim_random.ts";
import { digestTree } from "./sim_trace.ts";
import type { Started, SweptOperation } from "./swept_operations.ts";
import { toleranceOf } from "./tolerances.ts";

/** A way for a call to fail. */
export interface Flavour {
  /** For the report, and to run it alone. */
  readonly name: string;
  /** How it is armed. */
  readonly options: SimFaultOptions;
  /** How long it lasts: for this call; for all of its kind, on this path or anywhere; for every change. */
  readonly lasting: "once" | "path" | "kind" | "frozen";
}

/** One run, found again. */
export interface SweepPlace {
  /** Which call of the operation, from 0. */
  readonly call: number;
  /** The name of the flavour. */
  readonly flavour: string;
}

/** What is swept. */
export interface SweepOptions {
  /** Decides what is drawn. Default 0. */
  readonly seed?: number;
  /** So many flavours of each call, drawn; default all of them. */
  readonly flavours?: number;
  /** Whether every run is crashed in every way; default true. Otherwise in one, which is drawn. */
  readonly thorough?: boolean;
  /** Nothing but this run. */
  readonly only?: SweepPlace;
  /** Told of every run that is not as it must be. Default: the first is thrown. */
  readonly onViolation?: (violation: OracleViolation) => void;
}

/** What came of an operation. */
export interface SweepReport {
  /** Which. */
  readonly operation: string;
  /** Calls it makes when nothing fails. */
  readonly calls: number;
  /** Runs, each with a fault. */
  runs: number;
  /** Calls that were struck. */
  fired: number;
  /** Runs whose operation threw. */
  threw: number;
  /** Runs whose operation succeeded all the same, by the reason why it may. */
  readonly tolerated: Map<string, number>;
  /** Runs after which the writer had stopped. */
  poisoned: number;
  /** Images that there were. */
  images: number;
  /** Images that were judged; the others were the same as one of them, after the same promises. */
  judged: number;
  /** Images on which events were found. */
  withEvents: number;
  /** Legal refusals of images, by reason. */
  readonly refused: Map<string, number>;
}

/**
 * Sweeps an operation.
 *
 * @throws {OracleViolation} at the first run after which something is not as it must be, with everything
 * needed to find it again.
 */
export function sweep(operation: SweptOperation, options: SweepOptions = {}): SweepReport {
  return new Sweep(operation, options).run();
}

/** Images that are judged in every case, and those of which one is drawn. */
const CERTAIN_POLICIES: readonly CrashPolicy[] = ["processKill", "durable"];
const DRAWN_POLICIES: readonly CrashPolicy[] = ["ordered", "anyPrefix", "subset", "torn"];
/** The file of a segment of the journal. */
const SEGMENT_PATH = /^\/journal\/\d{6,}\.fbat$/;

class Sweep {
  readonly #operation: SweptOperation;
  readonly #options: SweepOptions;
  readonly #random: SimRandom;
  /** The disk before the operation, its driver, and what that was promised. */
  readonly #disk: SimFs;
  readonly #driver: Driver;
  readonly #facts: OracleFact[] = [];
  /** Images that have been judged, and what was promised. */
  readonly #seen = new Set<string>();

  constructor(operation: SweptOperation, options: SweepOptions) {
    this.#operation = operation;
    this.#options = options;
    this.#random = new SimRandom(options.seed ?? 0).stream(operation.name);
    let fs = new SimFs({ seed: options.seed ?? 0 });
    if (operation.isWithoutDirectory !== true) fs.createDirAll(DRIVER_DIR);
    fs = fs.snapshot();
    const driver = new Driver(fs, operation.options);
    const left = operation.prepare?.(driver);
    for (const step of fs.trace) this.#facts.push(...factsOf(step));
    this.#disk = (left ?? fs).snapshot();
    this.#driver = driver;
  }

  run(): SweepReport {
    const { only, flavours: wanted, onViolation } = this.#options;
    const { calls, answer } = this.#measure();
    const report: SweepReport = {
      operation: this.#operation.name,
      calls: calls.length,
      runs: 0,
      fired: 0,
      threw: 0,
      tolerated: new Map(),
      poisoned: 0,
      images: 0,
      judged: 0,
      withEvents: 0,
      refused: new Map(),
    };
    for (const [index, call] of calls.entries()) {
      if (only !== undefined && only.call !== index) continue;
      let flavours = flavoursOf(call);
      if (only !== undefined) flavours = flavours.filter(({ name }) => name === only.flavour);
      else if (wanted !== undefined) flavours = this.#random.shuffle(flavours).slice(0, wanted);
      for (const flavour of flavours) {
        const run = new Run(this.#operation, {
          driver: this.#driver.on(
            this.#disk.snapshot({ freezeOnFault: flavour.lasting === "frozen" }),
          ),
          facts: this.#facts,
          calls,
          index,
          flavour,
          answer,
          report,
          seen: this.#seen,
          random: this.#random.stream(`${index} ${flavour.name}`),
          thorough: this.#options.thorough ?? true,
        });
        report.runs++;
        try {
          run.run();
        } catch (error) {
          if (onViolation === undefined || !(error instanceof OracleViolation)) throw error;
          onViolation(error);
        }
      }
    }
    return report;
  }

  /** The operation on a disk without faults. */
  #measure(): { readonly calls: readonly SimCall[]; readonly answer: unknown } {
    const fs = this.#disk.snapshot();
    const driver = this.#driver.on(fs);
    let count: number | undefined;
    let calls: readonly SimCall[] = [];
    const started = this.#operation.start(driver, () => count ??= calls.length);
    calls = fs.recordCalls();
    const answer = started.run();
    count ??= calls.length;
    const { name, involves = [] } = this.#operation;
    for (const op of involves) {
      if (!calls.some((call) => call.op === op)) {
        throw new Error(`Cannot sweep "${name}": it makes no call of ${op}`);
      }
    }
    if (count === 0) throw new Error(`Cannot sweep "${name}": it makes no call`);
    return { calls: calls.slice(0, count), answer };
  }
}

interface RunFacts {
  readonly driver: Driver;
  readonly facts: readonly OracleFact[];
  readonly calls: readonly SimCall[];
  readonly index: number;
  readonly flavour: Flavour;
  /** What the operation answers when nothing fails. */
  readonly answer: unknown;
  readonly report: SweepReport;
  readonly seen: Set<string>;
  readonly random: SimRandom;
  readonly thorough: boolean;
}

/** One run of the operation, with one fault. */
class Run {
  readonly #operation: SweptOperation;
  readonly #facts: RunFacts;
  readonly #fs: SimFs;
  /** So many steps had been taken when the operation was to be done again. */
  #meanwhileAt: number | undefined;

  constructor(operation: SweptOperation, facts: RunFacts) {
    this.#operation = operation;
    this.#facts = facts;
    this.#fs = facts.driver.fs;
  }

  run(): void {
    try {
      this.#run();
    } catch (error) {
      throw new OracleViolation(this.#describe(error), { cause: error });
    }
  }

  #run(): void {
    const { driver, index, flavour, calls, report } = this.#facts;
    const fs = this.#fs;
    const started = this.#operation.start(driver, () => fs.disarm());
    const struck = calls[index];
    const made = fs.recordCalls();
    fs.armFaultAt(fs.operationCount + index, flavour.options);
    let failure: { readonly error: unknown } | undefined;
    let answer: unknown;
    try {
      answer = started.run();
    } catch (error) {
      failure = { error };
    }
    if (fs.faultsFired === 0) fail("the fault never fired");
    const { op, path } = made[index] ?? fail(`there was no call ${index}`);
    if (op !== struck.op || path !== struck.path) fail(`${op} of ${path} was struck instead`);
    report.fired += fs.faultsFired;
    fs.disarm();

    if (failure === undefined) this.#checkTolerated(answer);
    else this.#checkError(failure.error);
    const store = liveStoreOf(driver);
    if (store === undefined && failure !== undefined) {
      if (started.keepsFiles !== true) this.#checkNoneLeft();
    }
    if (store !== undefined) driver.tell({ type: "durable", below: store.durableSequence });
    const failedAt = fs.trace.length;
    const isStopped = this.#goOn(store, failure, started);
    const wentOnAt = fs.trace.length;
    started.end?.();
    this.#close(isStopped);
    if (isStopped) report.poisoned++;
    if (store !== undefined && !isStopped) {
      this.#checkTail(failedAt);
      this.#checkTail(this.#meanwhileAt ?? failedAt);
    }
    this.#judge(failedAt, wentOnAt);
  }

  /** It may have succeeded, if the fault was none or a reason is known. */
  #checkTolerated(answer: unknown): void {
    const { index, calls, flavour, report } = this.#facts;
    const why = flavour.options.instead === "short"
      ? "a short read is no error"
      : toleranceOf({ operation: this.#operation.name, calls, index, flavour });
    if (why === undefined) fail("it succeeded, and nothing says that it may");
    report.tolerated.set(why, (report.tolerated.get(why) ?? 0) + 1);
    this.#checkAnswer(answer);
  }

  #checkAnswer(actual: unknown): void {
    const [a, b] = [actual, this.#facts.answer].map((answer) => JSON.stringify(answer));
    if (a !== b) fail(`it answers ${a}, and without the fault ${b}`);
  }

  #checkError(error: unknown): void {
    this.#facts.report.threw++;
    const { errors = ["IO", "WRITER_CRASHED"], mayThrowIoFault = false } = this.#operation;
    const { options } = this.#facts.flavour;
    if (options.instead === "short") throw error;
    if (error instanceof IoFault && mayThrowIoFault) return;
    if (!(error instanceof StoreError)) {
      fail(`it threw what it does not document: ${textOf(error)}`, error);
    }
    if (!errors.includes(error.code)) fail(`it threw ${error.code}: ${textOf(error)}`, error);
    for (let cause: unknown = error; cause !== undefined; cause = (cause as Error).cause) {
      if (!(cause instanceof IoFault)) continue;
      const isOurs = cause.code === (options.code ?? "EIO") || cause.code === "EROFS";
      if (isOurs && cause.message.includes("SimFs:")) return;
    }
    fail(`its cause is not the fault: ${textOf(error)}`, error);
  }

  #checkNoneLeft(): void {
    const { openFileCount, heldLockCount } = this.#fs;
    if (openFileCount !== 0) fail(`${openFileCount} files are left open`);
    if (heldLockCount !== 0) fail(`${heldLockCount} locks are left`);
  }

  /** What a caller does next. Says whether the writer has stopped. */
  #goOn(
    store: Store | undefined,
    failure: { readonly error: unknown } | undefined,
    { run, meanwhile, retry, settle }: Started,
  ): boolean {
    const { driver } = this.#facts;
    if (store !== undefined) this.#oracle(this.#fs.trace.length).look(store);
    if (failure !== undefined) {
      try {
        meanwhile?.();
        this.#meanwhileAt = this.#fs.trace.length;
        if (retry === undefined) this.#checkAnswer(run());
        else retry(this.#facts.flavour.lasting === "once");
      } catch (error) {
        if (!isStop(error)) throw error;
        this.#checkStopped();
        return true;
      }
    }
    if (liveStoreOf(driver) === undefined) return false;
    try {
      settle?.();
      driver.append({ key: "after the fault" }, "durable");
    } catch (error) {
      if (!isStop(error)) throw error;
      this.#checkStopped();
      return true;
    }
    driver.append();
    driver.batch([{ entity: "user:2" }, {}]);
    driver.sync();
    this.#oracle(this.#fs.trace.length).look(driver.store);
    return false;
  }

  /** The writer has stopped: it had a reason, refuses everything, and changes nothing. */
  #checkStopped(): void {
    const { driver, calls, index, flavour } = this.#facts;
    const { op, path } = calls[index];
    const isFailedSync = op === "Sync" && SEGMENT_PATH.test(path);
    if (flavour.lasting === "once" ? !isFailedSync : !SIM_MUTATIONS.has(op)) {
      fail("the writer has stopped, and no sync has failed");
    }
    const { store } = driver;
    const { durableSequence } = store;
    const steps = () => this.#fs.trace.filter(({ type }) => type !== "mark").length;
    const before = steps();
    const refused: Readonly<Record<string, () => unknown>> = {
      append: () => driver.append(),
      batch: () => driver.batch([{}, {}]),
      sync: () => store.sync(),
      fence: () => store.beginFence(),
      compact: () => store.compact(),
      prune: () => store.prune({ below: 1 }),
      snapshot: () => store.snapshot("/copies/stopped"),
      fork: () => store.fork("/copies/stopped"),
    };
    for (const [name, call] of Object.entries(refused)) {
      try {
        call();
      } catch (error) {
        if (error instanceof WriterCrashedError) continue;
        throw error;
      }
      fail(`the writer has stopped, and allows ${name}`);
    }
    if (steps() !== before) fail("the writer has stopped, and changed something");
    if (store.durableSequence !== durableSequence) fail("the durable frontier is not frozen");
    this.#oracle(this.#fs.trace.length).look(store);
  }

  /** Closes the store, opens it, and closes it. */
  #close(isStopped: boolean): void {
    const { driver } = this.#facts;
    if (liveStoreOf(driver) !== undefined) {
      try {
        driver.close();
        if (isStopped) fail("the writer has stopped, and closes as if nothing were wrong");
      } catch (error) {
        if (!(isStopped && error instanceof WriterCrashedError)) throw error;
      }
    }
    this.#checkNoneLeft();
    driver.open();
    driver.append({ key: "after all" }, "durable");
    this.#oracle(this.#fs.trace.length).look(driver.store);
    driver.close();
    this.#checkNoneLeft();
  }

  /** What a call of a writer that goes on had begun, it has undone: there is nothing for an open to repair. */
  #checkTail(position: number): void {
    for (const image of this.#fs.crashImages("processKill", { position })) {
      const { repairs } = this.#facts.driver.on(image).open().openReport;
      if (repairs.length > 0) fail(`it left a torn tail: ${repairs[0].reason}`);
    }
  }

  /** Crashes it when it had failed, when it had gone on, and at the end. */
  #judge(failedAt: number, wentOnAt: number): void {
    const { random, thorough } = this.#facts;
    const end = this.#fs.trace.length;
    const drawn = random.pick(DRAWN_POLICIES);
    const places: { readonly position: number; readonly policy: CrashPolicy }[] = [];
    for (const position of new Set([failedAt, this.#meanwhileAt ?? failedAt, wentOnAt, end])) {
      for (const policy of CERTAIN_POLICIES) places.push({ position, policy });
      if (position === failedAt) places.push({ position, policy: drawn });
    }
    const chosen = thorough ? places : [random.pick(places)];
    for (const { position, policy } of chosen) this.#judgeImage(position, policy);
  }

  #judgeImage(position: number, policy: CrashPolicy): void {
    const { report, random, seen } = this.#facts;
    const powerCut = policy !== "processKill";
    const seed = random.below(2 ** 31);
    for (const image of this.#fs.crashImages(policy, { position, limit: 1, seed })) {
      const asLeft = powerCut ? image.snapshot() : undefined;
      const excuse = (error: StoreError) =>
        asLeft === undefined || policy === "durable"
          ? undefined
          : holeOf(error, asLeft, this.#fs, position);
      report.images++;
      const key = `${powerCut} ${digestTree(image)} ${this.#promisesAt(position)}`;
      if (seen.has(key)) continue;
      seen.add(key);
      report.judged++;
      try {
        const verdict = this.#oracle(position).judge(image, { powerCut, excuse });
        if (verdict.type === "sound") {
          if (verdict.events > 0) report.withEvents++;
        } else {
          const reason = verdict.reason.replace(/\d+/g, "#");
          report.refused.set(reason, (report.refused.get(reason) ?? 0) + 1);
        }
      } catch (error) {
        if (!(error instanceof OracleViolation)) throw error;
        const { trace } = this.#fs;
        throw new OracleViolation(
          `crashed at step ${position} of ${trace.length}, ${policy}: ${error.message}`,
          { cause: error },
        );
      }
    }
  }

  /** In short, what was promised after so many steps. What the ids are follows from the bytes. */
  #promisesAt(position: number): string {
    const promises: string[] = [];
    for (let i = 0; i < position; i++) {
      for (const { ...fact } of factsOf(this.#fs.trace[i])) {
        promises.push(JSON.stringify({ ...fact, events: undefined, receipts: undefined }));
      }
    }
    return promises.join();
  }

  /** One that knows what was promised after so many steps. */
  #oracle(position: number): Oracle {
    const oracle = new Oracle(DRIVER_DIR, this.#operation.options);
    for (const fact of this.#facts.facts) oracle.take(fact);
    for (let i = 0; i < position; i++) {
      for (const fact of factsOf(this.#fs.trace[i])) oracle.take(fact);
    }
    return oracle;
  }

  #describe(error: unknown): string {
    const { calls, index, flavour } = this.#facts;
    const { op, path } = calls[index];
    const message = error instanceof OracleViolation ? error.message : textOf(error);
    const only = JSON.stringify({ call: index, flavour: flavour.name });
    return [
      `${this.#operation.name}: call ${index} of ${calls.length}, ${op} of ${path}, ${flavour.name}:`,
      `  ${message}`,
      `  found again by sweep(operation, { only: ${only} })`,
    ].join("\n");
  }
}

function fail(message: string, cause?: unknown): never {
  throw new OracleViolation(message, { cause });
}

/** Without its stack, which is not the same everywhere. */
function textOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

/** The store that a driver drives, if it is open. */
function liveStoreOf(driver: Driver): Store | undefined {
  let store: Store;
  try {
    store = driver.store;
  } catch {
    return undefined;
  }
  try {
    store.headClock("nobody");
    return store;
  } catch (error) {
    if (error instanceof StoreClosedError) return undefined;
    throw error;
  }
}

/** Whether an error says that the writer has stopped. */
function isStop(error: unknown): boolean {
  return error instanceof WriterCrashedError ||
    (error instanceof CheckpointWriteError && error.cause instanceof WriterCrashedError);
}

/** What a step says of what was promised. Nobody is told that the system has forgotten what it was given. */
function factsOf(step: SimStep): OracleFact[] {
  if (step.type === "mark") return step.label === FACT_MARK ? [step.data as OracleFact] : [];
  const isDropped = step.type === "sync" && step.outcome === "reverted" &&
    SEGMENT_PATH.test(step.path);
  return isDropped ? [{ type: "dropped" }] : [];
}

/** Every way in which a call can fail. */
export function flavoursOf({ op, path, size = 0 }: SimCall): Flavour[] {
  const flavours: Flavour[] = [];
  const add = (name: string, options: SimFaultOptions, lastings: readonly Flavour["lasting"][]) => {
    for (const lasting of lastings) {
      const sticky = lasting === "path" || lasting === "kind";
      flavours.push({
        name: `${name}, ${lasting}`,
        options: { ...options, sticky, ...(lasting === "path" && { path }) },
        lasting,
      });
    }
  };
  if (!SIM_MUTATIONS.has(op)) {
    add("EIO", {}, ["once", "path", "kind"]);
    if (op === "Open") add("EMFILE", { code: "EMFILE" }, ["once"]);
    if (op === "Read") {
      add("1 byte", { instead: "short", partial: 1 }, ["once"]);
      add("half", { instead: "short", partial: size >> 1 }, ["once"]);
      add("at most 100 bytes", { instead: "short", partial: 100 }, ["kind"]);
    }
    return flavours;
  }
  if (op === "Sync") {
    for (const sync of ["lost", "reverted", "failed"] as const) {
      add(`EIO, ${sync}`, { sync }, ["once", "path", "kind", "frozen"]);
    }
    add("EIO, after", { when: "after" }, ["once", "path", "frozen"]);
    return flavours;
  }
  // Of a file that is being staged nobody knows yet, and one failure is like another.
  const isStaged = op === "Write" && path.includes("/.stage-");
  add("EIO", {}, isStaged ? ["once", "frozen"] : ["once", "path", "kind", "frozen"]);
  add("EIO, after", { when: "after" }, isStaged ? ["once"] : ["once", "path", "kind", "frozen"]);
  if (op === "SyncDir") return flavours;
  if (!isStaged) add("ENOSPC", { code: "ENOSPC" }, ["once", "kind"]);
  if (op !== "Write") return flavours;
  for (const partial of isStaged ? [size >> 1] : new Set([1, 8, size >> 1, size - 1])) {
    if (partial <= 0 || partial >= size) continue;
    add(
      `ENOSPC after ${partial} bytes`,
      { code: "ENOSPC", partial },
      isStaged ? ["once", "kind"] : ["once", "path", "frozen"],
    );
  }
  return flavours;
}
