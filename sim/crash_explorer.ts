/**
 * Every crash there is: a scenario runs once, and then dies at each of its steps, in every way its disk allows.
 *
 * The run leaves a trace. For each prefix of it and each {@linkcode CrashPolicy} the explorer walks through what
 * the next process could find ({@linkcode SimFs.crashSpace}), all of it or a sample, and lets an
 * {@linkcode Oracle} judge it by what had been promised by then. Recovery writes too, so it records recoveries
 * and crashes those at each step, and the recoveries from that.
 *
 * Images that are the same, after the same promises, are judged once; see `image_set.ts` for what is the same.
 * The report says of how many steps all images were judged, or known to be like one that was.
 *
 * **Refusals.** A store may refuse to open only where a power cut has left a hole: a sector that was never
 * synced is gone, and one behind it that was not synced either is there. Then nobody can tell what is left
 * from damage to what was acknowledged. The explorer knows what the disk was, so it can: it looks for the
 * hole in the file that the error names, at or behind the offset that it names. No other refusal is legal on
 * an honest disk. On one that lies, or loses what it has, any is that names its reason.
 *
 * @module
 */

import { CorruptionError, Store, type StoreError, type StoreOptions } from "../mod.ts";
import type {
  CrashImage,
  CrashPolicy,
  CrashSpace,
  FileImportance,
  ImageId,
} from "./crash_images.ts";
import { Driver, DRIVER_DIR, FACT_MARK } from "./driver.ts";
import { ContentPool, type ImageKey, ImageSet } from "./image_set.ts";
import { CLAIMS, Oracle, type OracleFact, OracleViolation } from "./oracle.ts";
import { SimClock } from "./sim_clock.ts";
import type { FileLook, SimStep } from "./sim_disk.ts";
import { SimEntropy } from "./sim_entropy.ts";
import { SimFs } from "./sim_fs.ts";
import { describeStep } from "./sim_trace.ts";

/** Something small that a store does. */
export interface Scenario {
  /** For the report, and to run it alone. */
  readonly name: string;
  /** How the store is opened. */
  readonly options?: StoreOptions;
  /** Whether it is too large for all of its images to be judged, as it has to be for what it is about. */
  readonly isLarge?: boolean;
  /** What has happened before, which is not crashed; returns the disk that is left when not all of it is. */
  readonly prepare?: (driver: Driver) => SimFs | void;
  /** What is crashed. */
  readonly run: (driver: Driver) => void;
  /** What a journal may be, between two things that must not mix. */
  readonly generations?: {
    /** All there are. Each has to be found, and no other. */
    readonly all: readonly string[];
    /** Which one a store has found. */
    readonly of: (store: Store) => string;
  };
}

/** What a disk may be like, when nothing else is said. */
export const EXPLORED_POLICIES: readonly CrashPolicy[] = [
  "processKill",
  "durable",
  "ordered",
  "anyPrefix",
  "reordered",
  "subset",
  "torn",
  "garbage",
  "lying",
];

/** Those of which there is an end to the images. */
export const COUNTABLE_POLICIES: readonly CrashPolicy[] = EXPLORED_POLICIES.filter((policy) =>
  policy !== "garbage"
);

/** What a disk may be like while the crash of another one is recovered from. */
export const RECOVERY_POLICIES: readonly CrashPolicy[] = ["processKill", "durable", "ordered"];

/** Policies under which a hole can come to be. */
const HOLEY: ReadonlySet<CrashPolicy> = new Set(["subset", "torn", "garbage"]);

/** Policies under which nothing that was synced has to be there. */
const UNTRUSTED: ReadonlySet<CrashPolicy> = new Set(["lying", "brokenSectors"]);

/** One image, found again. */
export interface CrashPlace {
  /** So many steps of the trace had been taken. */
  readonly position: number;
  /** What the disk was like. */
  readonly policy: CrashPolicy;
  /** Which of its images. */
  readonly image: ImageId;
}

/** What is explored. */
export interface ExploreOptions {
  /** Default {@linkcode EXPLORED_POLICIES}. */
  readonly policies?: readonly CrashPolicy[];
  /** All images of a step and a policy when there are no more ways than this, else so many. Default 64. */
  readonly limit?: number;
  /** Whether all images are wanted, whatever the limit. Default false. */
  readonly isExhaustive?: boolean;
  /** A walk through the images of one step looks at so many choices before it gives up. Default 1,048,576. */
  readonly work?: number;
  /** Decides what is drawn. Default 0. */
  readonly seed?: number;
  /** So many crashes in a row: of the scenario, of the recovery from that, and so on. Default 2. */
  readonly depth?: number;
  /** The recovery of every so-manieth image is crashed, too; 0 for none. Default 16. */
  readonly recoverEvery?: number;
  /** Of disks like these, the recovery of every image is. Default none. */
  readonly recoverAll?: readonly CrashPolicy[];
  /** What the disk may be like then. Default as `policies`. */
  readonly recoverPolicies?: readonly CrashPolicy[];
  /** As `limit`, for each step of a recovery. Default 2. */
  readonly recoverLimit?: number;
  /** Of images after the second crash and later ones, each so-manieth is recovered from. Default 64. */
  readonly deepEvery?: number;
  /** Nothing but this image; more places are crashes of its recovery. */
  readonly only?: readonly CrashPlace[];
}

/** What came of a policy. */
export interface PolicyCount {
  /** Steps it was tried at. */
  steps: number;
  /** Steps of which there is no image that was not judged, or known to be like one that was. */
  enumerated: number;
  /** In how many ways those steps could have left the disk. */
  ways: number;
  /** Images that were judged. */
  judged: number;
  /** Steps of recoveries, all policies together. */
  recoverySteps: number;
  /** As `enumerated`, of recoveries. */
  recoveryEnumerated: number;
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
  /** Images by the generation that was found; none when the scenario has no generations. */
  readonly generations: ReadonlyMap<string, number>;
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

/** Where a crash comes, and what has gone before it. */
interface Crash {
  readonly source: SimFs;
  readonly position: number;
  readonly policy: CrashPolicy;
  /** The crashes before, and images of them. */
  readonly before: readonly CrashPlace[];
  readonly count: PolicyCount;
}

class Explorer {
  readonly #scenario: Scenario;
  readonly #options: Required<Omit<ExploreOptions, "only">> & Pick<ExploreOptions, "only">;
  readonly #counts = new Map<CrashPolicy, PolicyCount>();
  readonly #generations = new Map<string, number>();
  readonly #oracle: Oracle;
  readonly #fs: SimFs;
  readonly #pool = new ContentPool();
  /** What has been judged since the last fact, by what it was judged for. */
  readonly #known = new Map<string, ImageSet>();
  /** What somebody has looked at of files with these paths. */
  readonly #importance = new Map<string, FileImportance>();
  #judged = 0;
  #withEvents = 0;
  #deep = 0;

  constructor(scenario: Scenario, options: ExploreOptions) {
    this.#scenario = scenario;
    const { policies = EXPLORED_POLICIES } = options;
    this.#options = {
      limit: 64,
      isExhaustive: false,
      work: 2 ** 20,
      seed: 0,
      depth: 2,
      recoverEvery: 16,
      recoverAll: [],
      recoverPolicies: policies,
      recoverLimit: 2,
      deepEvery: 64,
      ...options,
      policies,
    };
    for (const kind of ["kill", "cut", "lying", "kill after a cut", "kill after lies"]) {
      this.#known.set(kind, new ImageSet());
    }
    this.#oracle = new Oracle(DRIVER_DIR, scenario.options);
    let fs = new SimFs({ seed: this.#options.seed });
    // Whoever is killed between making a directory and syncing the one above leaves a directory that the
    // next process may have no right to make durable. So it is there from the beginning.
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
    for (const policy of policies) this.#counts.set(policy, emptyCount());
    const { trace } = this.#fs;
    for (let position = 0; position <= trace.length; position++) {
      if (position > 0) this.#take(trace[position - 1]);
      // A permission changes nothing on the disk, and a claim holds for the step before it.
      if (position > 0 && factOf(trace[position - 1]) && !isClaim(trace[position - 1])) continue;
      if (isClaim(trace[position])) continue;
      for (const policy of policies) {
        const count = this.#counts.get(policy)!;
        this.#crash({ source: this.#fs, position, policy, before: [], count });
      }
    }
    this.#assertGenerations();
    return {
      scenario: this.#scenario.name,
      steps: trace.length,
      policies: this.#counts,
      judged: this.#judged,
      withEvents: this.#withEvents,
      generations: this.#generations,
    };
  }

  #take(step: SimStep): void {
    // Nobody is told that the system has forgotten what it was given.
    const isDropped = step.type === "sync" && step.outcome === "reverted";
    const fact: OracleFact | undefined = isDropped ? { type: "dropped" } : factOf(step);
    if (fact === undefined) return;
    this.#oracle.take(fact);
    for (const known of this.#known.values()) known.clear();
  }

  /** Judges what a crash may leave. */
  #crash(crash: Crash): void {
    const { source, position, policy, before, count } = crash;
    const { only, seed, limit, recoverLimit, isExhaustive } = this.#options;
    const space = source.crashSpace(policy, { position, seed });
    const level = before.length;
    if (only !== undefined) {
      const place = only[level];
      if (place === undefined || place.position !== position || place.policy !== policy) return;
      this.#meet(crash, space.image(place.image), new ImageSet());
      return;
    }
    const most = level === 0 ? limit : recoverLimit;
    const refused = new ImageSet();
    const isEnumerated = isExhaustive && !space.isEndless || space.ways <= most
      ? this.#walk(crash, space, refused)
      : this.#draw(crash, space, refused, most);
    if (level === 0) {
      count.steps++;
      count.ways += space.ways;
      if (isEnumerated) count.enumerated++;
    } else {
      count.recoverySteps++;
      if (isEnumerated) count.recoveryEnumerated++;
    }
  }

  /** Meets every image; says whether that was all. */
  #walk(crash: Crash, space: CrashSpace, refused: ImageSet): boolean {
    const kinds = kindsOf(crash);
    const walk = space.walk({
      pool: this.#pool,
      isKnown: (key) => this.#isKnown(key, kinds, refused),
      importanceOf: (path) => this.#importance.get(path) ?? "none",
      work: this.#options.work,
    });
    for (;;) {
      const { done, value } = walk.next();
      if (done) return value && !space.isEndless;
      this.#meet(crash, value, refused);
    }
  }

  #draw(crash: Crash, space: CrashSpace, refused: ImageSet, limit: number): boolean {
    const kinds = kindsOf(crash);
    for (let nth = 0; nth < limit; nth++) {
      const image = space.image(nth);
      if (!this.#isKnown(image.key(this.#pool), kinds, refused)) this.#meet(crash, image, refused);
    }
    return false;
  }

  #isKnown(key: ImageKey, kinds: readonly string[], refused: ImageSet): boolean {
    for (const kind of kinds) if (this.#known.get(kind)!.has(key)) return true;
    return refused.has(key);
  }

  /** Judges an image, and crashes the recovery from it when it is its turn. */
  #meet(crash: Crash, image: CrashImage, refused: ImageSet): void {
    const { position, policy, before, count } = crash;
    const { only, depth, recoverEvery, recoverAll, deepEvery } = this.#options;
    const level = before.length;
    const places = [...before, { position, policy, image: image.id }];
    const isTurn = level === 0
      ? recoverAll.includes(policy) || (recoverEvery > 0 && count.judged % recoverEvery === 0)
      : this.#deep++ % deepEvery === 0;
    if (level === 0) count.judged++;
    else count.recoveries++;
    const isOpen = this.#judge(crash, image, places, refused);
    const isRecovered = only === undefined
      ? level + 1 < depth && isTurn
      : only.length > places.length;
    if (isOpen && isRecovered) this.#crashRecovery(image, places, count);
  }

  /** Opens what a crash has left, and crashes that at each step. */
  #crashRecovery(image: CrashImage, before: readonly CrashPlace[], count: PolicyCount): void {
    const source = this.#diskOf(image);
    this.#open(source, before.length);
    for (let position = 1; position <= source.trace.length; position++) {
      for (const policy of this.#options.recoverPolicies) {
        this.#crash({ source, position, policy, before, count });
      }
    }
  }

  /** Whether it opened. */
  #judge(
    crash: Crash,
    image: CrashImage,
    places: readonly CrashPlace[],
    refused: ImageSet,
  ): boolean {
    this.#judged++;
    const { source, position, policy, count } = crash;
    const powerCut = places.some((place) => place.policy !== "processKill");
    const isLying = places.some((place) => UNTRUSTED.has(place.policy));
    const excuse = HOLEY.has(policy)
      ? (error: StoreError) => holeOf(error, this.#diskOf(image), source, position)
      : undefined;
    const disk = this.#diskOf(image);
    const looks = disk.watchLooks();
    const key = image.key(this.#pool);
    try {
      const verdict = this.#oracle.judge(disk, { powerCut, isLying, ...(excuse && { excuse }) });
      if (verdict.type === "refused") {
        refused.add(key, key.contents.map(() => true));
        const reason = verdict.reason.replace(/\d+/g, "#");
        count.refusals.set(reason, (count.refusals.get(reason) ?? 0) + 1);
        return false;
      }
      if (verdict.events > 0) this.#withEvents++;
      if (!isLying) this.#checkGeneration(image);
    } catch (error) {
      if (!(error instanceof OracleViolation)) throw error;
      throw new OracleViolation(this.#describe(error, places, source), { cause: error });
    }
    const [kind] = kindsOf(crash);
    // Of what a process has left, it matters what is durable, too.
    this.#known.get(kind)!.add(
      key,
      policy === "processKill"
        ? key.contents.map(() => true)
        : image.paths.flatMap((path) => this.#lookAt(path, looks.get(path)!)),
    );
    return true;
  }

  /** Whether somebody has looked at the size of a file, and at its bytes. */
  #lookAt(path: string, { atSize, atBytes }: FileLook): [boolean, boolean] {
    if (atBytes) this.#importance.set(path, "bytes");
    else if (atSize && !this.#importance.has(path)) this.#importance.set(path, "size");
    return [atSize, atBytes];
  }

  #checkGeneration(image: CrashImage): void {
    const { generations } = this.#scenario;
    if (generations === undefined) return;
    const found = generations.of(this.#open(this.#diskOf(image), 0));
    if (!generations.all.includes(found)) {
      throw new OracleViolation(`it is ${found}, and should be ${generations.all.join(" or ")}`);
    }
    this.#generations.set(found, (this.#generations.get(found) ?? 0) + 1);
  }

  #assertGenerations(): void {
    const { generations, name } = this.#scenario;
    if (generations === undefined || this.#options.only !== undefined) return;
    for (const generation of generations.all) {
      if (!this.#generations.has(generation)) {
        throw new OracleViolation(`${name}: no crash leaves ${generation}`);
      }
    }
  }

  #open(fs: SimFs, life: number): Store {
    return Store.open(DRIVER_DIR, {
      ...this.#scenario.options,
      fs,
      clock: new SimClock(),
      // No two lives of a journal draw the same ids.
      entropy: new SimEntropy(LIFE_SEED + life),
    });
  }

  #diskOf(image: CrashImage): SimFs {
    return new SimFs({ seed: this.#fs.seed }, image.build());
  }

  #describe(error: OracleViolation, places: readonly CrashPlace[], source: SimFs): string {
    const { seed } = this.#options;
    const { position } = places[places.length - 1];
    const steps = source.trace.slice(Math.max(0, position - 8), position).map(lineOfStep);
    return [
      `${this.#scenario.name}: ${error.message}`,
      `found again by explore(scenario, ${JSON.stringify({ seed, only: places })})`,
      "the last steps before the crash:",
      ...steps.map((line) => `  ${line}`),
    ].join("\n");
  }
}

/** Lives after those of drivers and before those of oracles. */
const LIFE_SEED = 500_000;

function emptyCount(): PolicyCount {
  return {
    steps: 0,
    enumerated: 0,
    ways: 0,
    judged: 0,
    recoverySteps: 0,
    recoveryEnumerated: 0,
    recoveries: 0,
    refusals: new Map(),
  };
}

/**
 * What an image is judged for, and after that what asks for more: whoever has stood that need not be judged
 * for this. A sound image is sound on every honest disk; only refusals depend on which.
 */
function kindsOf({ policy, before }: Crash): readonly string[] {
  const isLying = UNTRUSTED.has(policy) || before.some((place) => UNTRUSTED.has(place.policy));
  if (policy !== "processKill") return isLying ? ["lying", "cut"] : ["cut"];
  if (isLying) return ["kill after lies", "kill after a cut", "kill"];
  const isCut = before.some((place) => place.policy !== "processKill");
  return isCut ? ["kill after a cut", "kill"] : ["kill"];
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

/** Why a refusal is legal: the hole it is about. See the top of the file. */
export function holeOf(
  error: StoreError,
  image: SimFs,
  source: SimFs,
  position: number,
): string | undefined {
  if (!(error instanceof CorruptionError)) return undefined;
  const { path, offset, reason } = error;
  const found = bytesOf(image, path);
  if (found === undefined) return undefined;
  // What was seen there since the last sync: something that was lost may have been taken back meanwhile.
  const versions: Uint8Array[] = [];
  for (const policy of ["processKill", "ordered"] as const) {
    for (const left of source.crashImages(policy, { position, limit: VERSIONS_MAX })) {
      const bytes = bytesOf(left, path);
      if (bytes !== undefined) versions.push(bytes);
    }
  }
  const [left] = source.crashImages("durable", { position });
  const durable = bytesOf(left, path);
  // Behind the end of a file there is nothing, as in space that was never written.
  const at = (bytes: Uint8Array | undefined, i: number) => bytes?.[i] ?? 0;
  const end = Math.max(found.byteLength, ...versions.map(({ byteLength }) => byteLength));
  let isLost = false;
  for (let i = offset; i < end; i++) {
    const before = at(durable, i);
    const now = at(found, i);
    if (isLost && now !== before) return reason;
    isLost ||= versions.some((bytes) => at(bytes, i) !== before) &&
      (now === before || versions.every((bytes) => at(bytes, i) !== now));
  }
  return undefined;
}

/** Of no file there are more writes between two syncs, in what is small enough to be explored. */
const VERSIONS_MAX = 256;

function bytesOf(fs: SimFs, path: string): Uint8Array | undefined {
  return fs.stat(path) === undefined ? undefined : fs.readFile(path, Number.MAX_SAFE_INTEGER);
}
