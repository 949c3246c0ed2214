/**
 * Every crash there is: a scenario runs once, and then dies at each of its steps, in every way its disk allows.
 *
 * The run leaves a trace. For each prefix of it and each {@linkcode CrashPolicy} the explorer enumerates what
 * the next process could find ({@linkcode SimFs.crashImages}), all of it or a sample, and lets an
 * {@linkcode Oracle} judge it by what had been promised by then. Recovery writes too, so of some images it
 * records the recovery and crashes that at each step, once more.
 *
 * Images that are the same, byte by byte, after the same promises, are judged once.
 *
 * **Refusals.** A store may refuse to open only where a power cut has left a hole: a sector that was never
 * synced is gone, and one behind it that was not synced either is there. Then nobody can tell what is left
 * from damage to what was acknowledged. The explorer knows what the disk was, so it can: it looks for the
 * hole in the file that the error names, at or behind the offset that it names. No other refusal is legal.
 *
 * @module
 */

import { CorruptionError, type StoreError, type StoreOptions } from "../mod.ts";
import type { CrashPolicy } from "./crash_images.ts";
import { Driver, DRIVER_DIR, FACT_MARK } from "./driver.ts";
import { CLAIMS, Oracle, type OracleFact, OracleViolation } from "./oracle.ts";
import type { SimStep } from "./sim_disk.ts";
import { SimFs } from "./sim_fs.ts";
import { describeStep, digestTree } from "./sim_trace.ts";

/** Something small that a store does. */
export interface Scenario {
  /** For the report, and to run it alone. */
  readonly name: string;
  /** How the store is opened. */
  readonly options?: StoreOptions;
  /** What has happened before, which is not crashed; returns the disk that is left when not all of it is. */
  readonly prepare?: (driver: Driver) => SimFs | void;
  /** What is crashed. */
  readonly run: (driver: Driver) => void;
}

/** What a disk may be like, when nothing else is said. */
export const EXPLORED_POLICIES: readonly CrashPolicy[] = [
  "processKill",
  "ordered",
  "anyPrefix",
  "subset",
  "torn",
];

/** Policies under which a hole can come to be. */
const HOLEY: ReadonlySet<CrashPolicy> = new Set(["subset", "torn", "garbage"]);

/** One image, found again. */
export interface CrashPlace {
  /** So many steps of the trace had been taken. */
  readonly position: number;
  /** What the disk was like. */
  readonly policy: CrashPolicy;
  /** Which of its images, from 0. */
  readonly image: number;
}

/** What is explored. */
export interface ExploreOptions {
  /** Default {@linkcode EXPLORED_POLICIES}. */
  readonly policies?: readonly CrashPolicy[];
  /** All images of a prefix and a policy when there are no more than this, else so many. Default 64. */
  readonly limit?: number;
  /** Decides which. Default 0. */
  readonly seed?: number;
  /** The recovery of every so-manieth image is crashed, too; 0 for none. Default 16. */
  readonly recoverEvery?: number;
  /** As `limit`, for each step of a recovery. Default 2. */
  readonly recoverLimit?: number;
  /** Nothing but this image, and its recovery when there is a second. */
  readonly only?: readonly CrashPlace[];
}

/** What came of a policy. */
export interface PolicyCount {
  /** Images there were. */
  images: number;
  /** Images that were judged; the others were the same as one of them. */
  judged: number;
  /** Images after a crash of a recovery, judged. */
  recoveries: number;
  /** Legal refusals by their reason, numbers left out. */
  readonly refusals: Map<string, number>;
}

/** What came of a scenario. */
export interface ExploreReport {
  /** Which. */
  readonly scenario: string;
  /** Steps of its trace. */
  readonly steps: number;
  /** By policy. */
  readonly policies: ReadonlyMap<CrashPolicy, PolicyCount>;
  /** Images judged, those of recoveries included. */
  readonly judged: number;
  /** Images on which events were found. */
  readonly withEvents: number;
}

/**
 * Explores a scenario.
 *
 * @throws {OracleViolation} at the first image that is not as it must be, with everything needed to find it
 * again.
 */
export function explore(scenario: Scenario, options: ExploreOptions = {}): ExploreReport {
  return new Explorer(scenario, options).run();
}

class Explorer {
  readonly #scenario: Scenario;
  readonly #options: Required<Omit<ExploreOptions, "only">> & Pick<ExploreOptions, "only">;
  readonly #counts = new Map<CrashPolicy, PolicyCount>();
  readonly #oracle: Oracle;
  readonly #fs: SimFs;
  /** What has been judged since the last fact. */
  readonly #seen = new Set<string>();
  #judged = 0;
  #withEvents = 0;

  constructor(scenario: Scenario, options: ExploreOptions) {
    this.#scenario = scenario;
    this.#options = {
      policies: EXPLORED_POLICIES,
      limit: 64,
      seed: 0,
      recoverEvery: 16,
      recoverLimit: 2,
      ...options,
    };
    this.#oracle = new Oracle(DRIVER_DIR, scenario.options);
    let fs = new SimFs({ seed: this.#options.seed });
    // Whoever is killed between making a directory and syncing the one above leaves a directory that the
    // next process has no reason to sync, and often no right to. So it is there from the beginning.
    fs.createDirAll(DRIVER_DIR);
    fs = fs.snapshot();
    const driver = new Driver(fs, scenario.options);
    if (scenario.prepare !== undefined) {
      const left = scenario.prepare(driver) ?? fs.snapshot();
      for (const step of fs.trace) this.#take(step);
      fs = left;
      driver.moveTo(fs);
    }
    scenario.run(driver);
    fs.assertAllFired();
    this.#fs = fs;
  }

  run(): ExploreReport {
    const { policies } = this.#options;
    for (const policy of policies) {
      this.#counts.set(policy, { images: 0, judged: 0, recoveries: 0, refusals: new Map() });
    }
    const { trace } = this.#fs;
    for (let position = 0; position <= trace.length; position++) {
      if (position > 0) this.#take(trace[position - 1]);
      // A permission changes nothing on the disk, and a claim holds for the step before it.
      if (position > 0 && factOf(trace[position - 1]) && !isClaim(trace[position - 1])) continue;
      if (isClaim(trace[position])) continue;
      for (const policy of policies) this.#explore(position, policy);
    }
    return {
      scenario: this.#scenario.name,
      steps: trace.length,
      policies: this.#counts,
      judged: this.#judged,
      withEvents: this.#withEvents,
    };
  }

  #take(step: SimStep): void {
    // Nobody is told that the system has forgotten what it was given.
    const isDropped = step.type === "sync" && step.outcome === "reverted";
    const fact: OracleFact | undefined = isDropped ? { type: "dropped" } : factOf(step);
    if (fact === undefined) return;
    this.#oracle.take(fact);
    this.#seen.clear();
  }

  #explore(position: number, policy: CrashPolicy): void {
    const { limit, seed, recoverEvery, only } = this.#options;
    if (only !== undefined && (only[0].position !== position || only[0].policy !== policy)) return;
    const count = this.#counts.get(policy)!;
    const powerCut = policy !== "processKill";
    let image = -1;
    for (const fs of this.#fs.crashImages(policy, { position, limit, seed })) {
      image++;
      if (only !== undefined && only[0].image !== image) continue;
      count.images++;
      const digest = digestOf(fs, powerCut);
      // When a process dies more is promised, so whoever was judged for that need not be again.
      if (powerCut && this.#seen.has(`shown ${digest}`)) continue;
      const key = `${powerCut ? HOLEY.has(policy) ? "holey" : "cut" : "kill"} ${digest}`;
      if (this.#seen.has(key)) continue;
      this.#seen.add(key);
      if (!powerCut) this.#seen.add(`shown ${digest.split(" ")[0]}`);
      const place = { position, policy, image };
      const isRecovered = only === undefined
        ? recoverEvery > 0 && count.judged % recoverEvery === 0
        : only.length > 1;
      const copy = isRecovered ? copyOf(fs) : undefined;
      count.judged++;
      const isOpen = this.#judge(fs, powerCut, [place], this.#fs, position, count);
      if (copy !== undefined && isOpen) this.#exploreRecovery(copy, powerCut, place, count);
    }
  }

  /** Opens what a crash has left, and crashes that at each step. */
  #exploreRecovery(fs: SimFs, powerCut: boolean, first: CrashPlace, count: PolicyCount): void {
    const { policies, recoverLimit: limit, seed, only } = this.#options;
    new Driver(fs, this.#scenario.options).open();
    const seen = new Set<string>();
    for (let position = 1; position < fs.trace.length; position++) {
      for (const policy of policies) {
        const second = only?.[1];
        if (second !== undefined && (second.position !== position || second.policy !== policy)) {
          continue;
        }
        let image = -1;
        for (const left of fs.crashImages(policy, { position, limit, seed: seed + position })) {
          image++;
          if (second !== undefined && second.image !== image) continue;
          const isCut = powerCut || policy !== "processKill";
          const digest = digestOf(left, policy !== "processKill");
          const key = `${isCut ? HOLEY.has(policy) ? "holey" : "cut" : "kill"} ${digest}`;
          if (seen.has(key)) continue;
          seen.add(key);
          count.recoveries++;
          this.#judge(left, isCut, [first, { position, policy, image }], fs, position, count);
        }
      }
    }
  }

  /** Whether it opened. */
  #judge(
    image: SimFs,
    powerCut: boolean,
    places: readonly CrashPlace[],
    source: SimFs,
    position: number,
    count: PolicyCount,
  ): boolean {
    this.#judged++;
    const { policy } = places[places.length - 1];
    const asLeft = HOLEY.has(policy) ? copyOf(image) : undefined;
    const excuse = (error: StoreError) =>
      asLeft === undefined ? undefined : holeOf(error, asLeft, source, position);
    try {
      const verdict = this.#oracle.judge(image, { powerCut, excuse });
      if (verdict.type === "sound") {
        if (verdict.events > 0) this.#withEvents++;
        return true;
      }
      const reason = verdict.reason.replace(/\d+/g, "#");
      count.refusals.set(reason, (count.refusals.get(reason) ?? 0) + 1);
      return false;
    } catch (error) {
      if (!(error instanceof OracleViolation)) throw error;
      throw new OracleViolation(this.#describe(error, places, source, position), { cause: error });
    }
  }

  #describe(
    error: OracleViolation,
    places: readonly CrashPlace[],
    source: SimFs,
    position: number,
  ): string {
    const { limit, seed, recoverLimit } = this.#options;
    const steps = source.trace.slice(Math.max(0, position - 8), position).map(lineOfStep);
    return [
      `${this.#scenario.name}: ${error.message}`,
      `found again by explore(scenario, ${
        JSON.stringify({ seed, limit, recoverLimit, only: places })
      })`,
      "the last steps before the crash:",
      ...steps.map((line) => `  ${line}`),
    ].join("\n");
  }
}

function factOf(step: SimStep): OracleFact | undefined {
  return step.type === "mark" && step.label === FACT_MARK ? step.data as OracleFact : undefined;
}

function isClaim(step: SimStep | undefined): boolean {
  const fact = step === undefined ? undefined : factOf(step);
  return fact !== undefined && CLAIMS.has(fact.type);
}

function lineOfStep(step: SimStep): string {
  const fact = factOf(step);
  return fact === undefined ? describeStep(step) : `(${fact.type})`;
}

/** What is on a disk; and, unless it is all durable, what of that is. */
function digestOf(fs: SimFs, isDurable: boolean): string {
  if (isDurable) return digestTree(fs);
  for (const image of fs.crashImages("durable")) return `${digestTree(fs)} ${digestTree(image)}`;
  throw new Error("Cannot digest the disk: it has no image");
}

/** The same disk once more, with what is not durable on it. */
function copyOf(fs: SimFs): SimFs {
  for (const copy of fs.crashImages("processKill", { position: 0 })) return copy;
  throw new Error("Cannot copy the disk: it has no image");
}

/** Why a refusal is legal: the hole it is about. See the top of the file. */
export function holeOf(
  error: StoreError,
  image: SimFs,
  source: SimFs,
  position: number,
): string | undefined {
  if (!(error instanceof CorruptionError)) return undefined;
  const { path, offset, reason } = error;
  const [full, durable] = (["processKill", "durable"] as const).map((policy) => {
    for (const fs of source.crashImages(policy, { position })) return bytesOf(fs, path);
    return undefined;
  });
  const found = bytesOf(image, path);
  if (found === undefined || full === undefined) return undefined;
  // Behind the end of a file there is nothing, as in space that was never written.
  const at = (bytes: Uint8Array | undefined, i: number) => bytes?.[i] ?? 0;
  let isLost = false;
  for (let i = offset; i < Math.max(full.byteLength, found.byteLength); i++) {
    const before = at(durable, i);
    const now = at(found, i);
    // It may be of a write that was taken back meanwhile, so it need not be what is seen now.
    if (isLost && now !== before) return reason;
    isLost ||= at(full, i) !== before && now !== at(full, i);
  }
  return undefined;
}

function bytesOf(fs: SimFs, path: string): Uint8Array | undefined {
  return fs.stat(path) === undefined ? undefined : fs.readFile(path, Number.MAX_SAFE_INTEGER);
}
