/**
 * The corpus: runs that are kept, with what came of them.
 *
 * A row names a run completely, by seed, and says how it ended, in a digest over what happened and what was
 * there afterwards. Rows are of two origins. One that has *graduated* stands for a kind of run that we want
 * to keep seeing. One that was *found* broke a promise once, and stands for its repair.
 *
 * Every row is run again by every test run, on both runtimes. A digest changes when the store writes other
 * bytes; `deno task corpus --update` pins the new ones, once both runtimes agree about them, and whoever
 * reviews that sees which runs have changed, and whether one of them ends in another way than before.
 *
 * A kind of run is one entry of {@linkcode CORPUS_KINDS}: how its row is read, and how it is run.
 *
 * @module
 */

import {
  type RecoveryClass,
  runForkFault,
  runImportFault,
  runImportSameStore,
} from "./copy_faults.ts";
import { OracleViolation } from "./oracle.ts";
import type { SimPlan } from "./plan.ts";
import { PlanFailure, runPlan } from "./plan_run.ts";
import { cellOf, runCell, VacuousRunError } from "./recovery_matrix.ts";
import { Fold64 } from "./sim_random.ts";

/** What names a run, by kind. */
export interface CorpusRuns {
  /** A cell of the recovery matrix. */
  readonly matrix: { readonly cell: string; readonly seed: number; readonly steps: number };
  /** A fork or import on a disk that crashes. */
  readonly copy: { readonly run: CopyRunName; readonly seed: number };
  /** Lives of a journal, as a plan. */
  readonly swarm: { readonly plan: SimPlan };
}

/** Which of the runs of `copy_faults.ts`. */
export type CopyRunName = "fork" | "import" | "import into itself";

/** The kinds of rows there are. */
export type CorpusKindName = keyof CorpusRuns;

/** A run that may become a row. */
export type CorpusCandidate = {
  readonly [Kind in CorpusKindName]: { readonly kind: Kind } & CorpusRuns[Kind];
}[CorpusKindName];

/** How a run ended. */
export interface CorpusEnd {
  /** Sixteen digits over what happened. */
  readonly digest: string;
  /** What was left. */
  readonly outcome: RecoveryClass;
}

/** Why a row is there. */
export interface CorpusNote {
  /** Whether it has broken a promise once. */
  readonly origin: "graduated" | "found";
  /** What it stands for, in a line. */
  readonly reason: string;
}

/** A run, its end, and why it is kept. */
export type CorpusRow = CorpusCandidate & CorpusEnd & CorpusNote;

/** A row as it stands in the file, where seeds are text. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** A kind of run. */
export interface CorpusKind<Run> {
  /**
   * Reads what names a run.
   *
   * @throws {CorpusLabelError} when there is no such run.
   */
  parse(json: JsonObject): Run;
  /** Runs it. A broken promise is an {@linkcode OracleViolation}. */
  run(run: Run): CorpusEnd;
}

/** A row that names what does not exist. */
export class CorpusLabelError extends Error {
  /** The class, for messages and logs. */
  override readonly name = "CorpusLabelError";
  /** What it says. */
  readonly label: unknown;

  /** Says what is not known. */
  constructor(what: string, label: unknown) {
    super(`Cannot take a row with the ${what} ${JSON.stringify(label)}: there is no such thing`);
    this.label = label;
  }
}

/** Why a candidate does not become a row. */
export type GraduationRefusal =
  /** It names what does not exist. */
  | { readonly type: "unknownLabel"; readonly label: unknown }
  /** Nobody says what it stands for. */
  | { readonly type: "noReason" }
  /** It never comes to where it is to be cut. */
  | { readonly type: "noBoundary" }
  /** Its fault never strikes. */
  | { readonly type: "noFault" }
  /** It had nothing to lose. */
  | { readonly type: "emptyHistory" }
  /** It breaks a promise: that is a defect, and becomes a row once it is repaired. */
  | { readonly type: "illegalRecovery"; readonly violation: string }
  /** Two runs of it are not the same. */
  | { readonly type: "notDeterministic"; readonly first: CorpusEnd; readonly second: CorpusEnd };

/** What came of a candidate. */
export type Graduation =
  | { readonly type: "graduated"; readonly row: CorpusRow }
  | { readonly type: "refused"; readonly refusal: GraduationRefusal };

/** A row that no longer ends as it says. */
export interface CorpusDrift {
  /** As it is kept. */
  readonly row: CorpusRow;
  /** What came of it now: an end, or the reason for none. */
  readonly now: Graduation;
}

/** How rows of each kind are read and run. */
export type CorpusKinds = {
  readonly [Kind in CorpusKindName]: CorpusKind<CorpusRuns[Kind]>;
};

/** The kinds there are. */
export const CORPUS_KINDS: CorpusKinds = {
  matrix: {
    parse: ({ cell, seed, steps }) => {
      if (typeof cell !== "string" || cellOf(cell) === undefined) {
        throw new CorpusLabelError("cell", cell);
      }
      return { cell, seed: numberOf("seed", seed), steps: countOf("steps", steps) };
    },
    run: ({ cell, seed, steps }) => runCell(cellOf(cell)!, seed, steps),
  },
  copy: {
    parse: ({ run, seed }) => {
      if (run !== "fork" && run !== "import" && run !== "import into itself") {
        throw new CorpusLabelError("run", run);
      }
      return { run, seed: numberOf("seed", seed) };
    },
    run: ({ run, seed }) => {
      if (run === "fork") return runForkFault(seed);
      const { digest } = run === "import" ? runImportFault(seed) : runImportSameStore(seed);
      // Whatever a crash has taken, the repetition has made whole.
      return { digest, outcome: "committedPrefix" };
    },
  },
  swarm: { parse: ({ plan }) => ({ plan: planIn(plan) }), run: runSwarm },
};

/** Runs a plan: the digest is of all its lives. */
function runSwarm({ plan }: CorpusRuns["swarm"]): CorpusEnd {
  try {
    const { digest, events, refusals } = runPlan(plan);
    const outcome = refusals.length > 0 ? "refused" : events > 0 ? "committedPrefix" : "rolledBack";
    return { digest: new Fold64().bytes(new TextEncoder().encode(digest)).toString(), outcome };
  } catch (error) {
    if (!(error instanceof PlanFailure)) throw error;
    throw new OracleViolation(error.message, { cause: error });
  }
}

/** A plan names everything it does, so little can be wrong with it that its run would not show. */
function planIn(value: unknown): SimPlan {
  const plan = value as SimPlan | null | undefined;
  if (
    typeof plan !== "object" || plan === null || !Array.isArray(plan.lives) ||
    plan.lives.length === 0 || !Number.isSafeInteger(plan.seed)
  ) throw new CorpusLabelError("plan", value);
  return plan;
}

const OUTCOMES: readonly unknown[] = ["committedPrefix", "rolledBack", "refused"];

/**
 * Reads the rows of a file.
 *
 * @throws {CorpusLabelError} when one says what is not known, and {@linkcode TypeError} when it is no row.
 */
export function parseCorpus(json: unknown, kinds: CorpusKinds = CORPUS_KINDS): CorpusRow[] {
  if (!Array.isArray(json)) throw new TypeError("Cannot read a corpus that is no list of rows");
  return json.map((row: JsonObject): CorpusRow => {
    const { digest, outcome, origin, reason } = row;
    if (typeof digest !== "string" || !/^[0-9a-f]{16}$/.test(digest) || /^0*$/.test(digest)) {
      throw new CorpusLabelError("digest", digest);
    }
    if (!OUTCOMES.includes(outcome)) throw new CorpusLabelError("outcome", outcome);
    if (origin !== "graduated" && origin !== "found") throw new CorpusLabelError("origin", origin);
    if (typeof reason !== "string" || reason === "") throw new CorpusLabelError("reason", reason);
    const end = { digest, outcome: outcome as RecoveryClass, origin, reason } as const;
    return { ...parseCandidate(row, kinds), ...end };
  });
}

/**
 * Reads what names a run.
 *
 * @throws {CorpusLabelError} when there is no such run.
 */
export function parseCandidate(
  json: JsonObject,
  kinds: CorpusKinds = CORPUS_KINDS,
): CorpusCandidate {
  const { kind } = json;
  if (typeof kind !== "string" || !Object.hasOwn(kinds, kind)) {
    throw new CorpusLabelError("kind", kind);
  }
  const run = kinds[kind as CorpusKindName].parse(json);
  return { kind, ...run } as CorpusCandidate;
}

/** The file that rows make, one field a line, so that a change of a digest is a change of a line. */
export function formatCorpus(rows: readonly CorpusRow[]): string {
  const json = rows.map((row) => {
    const { kind, digest, outcome, origin, reason, ...run } = row;
    const seed = "seed" in run ? { seed: String(run.seed) } : {};
    return { kind, ...run, ...seed, digest, outcome, origin, reason };
  });
  return `${JSON.stringify(json, null, 2)}\n`;
}

/** Runs a candidate twice; it becomes a row when both runs keep every promise, and are the same. */
export function graduate(
  json: JsonObject,
  note: CorpusNote,
  kinds: CorpusKinds = CORPUS_KINDS,
): Graduation {
  return attempt(json, note, kinds, 2);
}

/**
 * Runs every row again, and returns those that end in another way than they say.
 *
 * @throws {RangeError} when there are none: an empty corpus holds nobody to anything.
 */
export function driftsOf(
  rows: readonly CorpusRow[],
  kinds: CorpusKinds = CORPUS_KINDS,
): CorpusDrift[] {
  if (rows.length === 0) throw new RangeError("Cannot check a corpus that has no rows");
  return rows.flatMap((row): CorpusDrift[] => {
    // Its digest stands there, so once is enough to see whether it repeats.
    const now = attempt({ ...row }, row, kinds, 1);
    return now.type === "graduated" && isSame(now.row, row) ? [] : [{ row, now }];
  });
}

function attempt(
  json: JsonObject,
  { origin, reason }: CorpusNote,
  kinds: CorpusKinds,
  runCount: 1 | 2,
): Graduation {
  if (reason === "") return refused({ type: "noReason" });
  try {
    const candidate = parseCandidate(json, kinds);
    const first = endOf(candidate, kinds);
    const second = runCount === 1 ? first : endOf(candidate, kinds);
    if (!isSame(first, second)) return refused({ type: "notDeterministic", first, second });
    return { type: "graduated", row: { ...candidate, ...first, origin, reason } };
  } catch (error) {
    if (error instanceof CorpusLabelError) {
      return refused({ type: "unknownLabel", label: error.label });
    }
    if (error instanceof VacuousRunError) {
      const types = { boundary: "noBoundary", fault: "noFault", history: "emptyHistory" } as const;
      return refused({ type: types[error.reason] });
    }
    if (error instanceof OracleViolation) {
      return refused({ type: "illegalRecovery", violation: error.message });
    }
    throw error;
  }
}

function endOf(candidate: CorpusCandidate, kinds: CorpusKinds): CorpusEnd {
  const { run } = kinds[candidate.kind] as CorpusKind<CorpusCandidate>;
  const { digest, outcome } = run(candidate);
  return { digest, outcome };
}

/** What names a row, in a line that is not too long for a test. */
export function describeRow(row: CorpusRow): string {
  const { digest: _, outcome: __, origin: ___, reason, ...run } = row;
  const text = JSON.stringify(run);
  return `${text.length > LINE_SIZE_MAX ? `${text.slice(0, LINE_SIZE_MAX)}…` : text} (${reason})`;
}

const LINE_SIZE_MAX = 120;

function refused(refusal: GraduationRefusal): Graduation {
  return { type: "refused", refusal };
}

function isSame(a: CorpusEnd, b: CorpusEnd): boolean {
  return a.digest === b.digest && a.outcome === b.outcome;
}

/** Seeds are text in a file, because other programs read it, too. */
function numberOf(what: string, value: unknown): number {
  const isText = typeof value === "string" && /^(0|[1-9]\d*)$/.test(value);
  const number = isText ? Number(value) : value;
  if (!Number.isSafeInteger(number) || (number as number) < 0) {
    throw new CorpusLabelError(what, value);
  }
  return number as number;
}

function countOf(what: string, value: unknown): number {
  const count = numberOf(what, value);
  if (count === 0) throw new CorpusLabelError(what, value);
  return count;
}
