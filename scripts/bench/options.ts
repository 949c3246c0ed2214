/**
 * What the command line of the benchmark may say, and how much work each size means.
 *
 * @module
 */
import { parseArgs } from "node:util";

/** A runtime that rows are measured on. */
export type RuntimeName = "deno" | "bun";

/** The three sizes, as multiples of the smallest. */
export const SCALES = [1, 4, 16] as const;
/** One of them. */
export type Scale = typeof SCALES[number];
/** The size on which peers are raced. */
export const RACE_SCALE: Scale = 4;

/** How much work a run does. The sizes are the smallest of three; the others are 4 and 16 times as large. */
export interface BenchSize {
  /** Events that are written, and that the reading rows find. */
  readonly events: number;
  /** Events that `append-durable` writes. */
  readonly durableEvents: number;
  /** Counted slices of each contestant. */
  readonly slices: number;
  /** Counted rounds of a writing row over the three sizes. */
  readonly writeRounds: number;
  /** Counted rounds of a reading row over the three sizes. */
  readonly readRounds: number;
  /** Calls whose time is taken one by one; a row that waits for the disk takes a tenth. */
  readonly latencySamples: number;
}

/** The command line, understood. */
export interface BenchOptions {
  readonly size: BenchSize;
  readonly quick: boolean;
  /** Asked for by name; both otherwise. */
  readonly runtime: RuntimeName | undefined;
  /** Asked for by name; all otherwise. */
  readonly only: readonly string[] | undefined;
  /** The workload to take apart instead of measuring. */
  readonly profile: string | undefined;
  /** Where the results go besides the screen. */
  readonly json: string | undefined;
  /** The folder in which the data lies while the run lasts. */
  readonly dir: string | undefined;
}

/** The command line is wrong; the message says how. */
export class UsageError extends Error {
  /** The class, for messages. */
  override readonly name = "UsageError";
}

/** The size that answers questions: sixteen times this is a million. */
const FULL_SIZE: BenchSize = {
  events: 62_500,
  durableEvents: 500,
  slices: 5,
  writeRounds: 3,
  readRounds: 5,
  latencySamples: 20_000,
};

/** The size that shows that everything works. Its numbers mean little: nothing gets warm. */
const QUICK_SIZE: BenchSize = {
  events: 500,
  durableEvents: 10,
  slices: 3,
  writeRounds: 1,
  readRounds: 1,
  latencySamples: 1_000,
};

/** Fewer would leave nothing to divide into slices. */
const EVENTS_MIN = 100;

/** What the command line may say. */
export const USAGE = `Usage: deno task bench [options]

  --quick             a small run that only shows that everything works
  --events N          write and read N events, 4 N and 16 N (default ${FULL_SIZE.events}; at least ${EVENTS_MIN})
  --only NAME,...     only these workloads
  --runtime NAME      only deno, or only bun
  --json FILE         also write the results as JSON
  --dir DIR           put the data into a new folder in DIR, on the disk that is to be measured
  --profile NAME      show where the time of one workload goes, instead of measuring all; "open"
                      shows the phases of opening a journal`;

/** The names that the command line may use. */
export interface KnownNames {
  /** For `--only`. */
  readonly workloads: readonly string[];
  /** For `--profile`. */
  readonly profiles: readonly string[];
}

/**
 * Reads the command line.
 *
 * @throws {UsageError} when it makes no sense.
 */
export function parseOptions(
  args: readonly string[],
  { workloads, profiles }: KnownNames,
): BenchOptions {
  const values = readFlags(args);
  const { runtime } = values;
  if (runtime !== undefined && runtime !== "deno" && runtime !== "bun") {
    throw new UsageError(`there is no runtime "${runtime}": deno or bun`);
  }
  const only = values.only?.split(",").map((name) => name.trim()).filter((name) => name !== "");
  const profile = values.profile;
  for (const name of only ?? []) {
    if (!workloads.includes(name)) {
      throw new UsageError(`there is no workload "${name}": ${workloads.join(", ")}`);
    }
  }
  if (profile !== undefined && !profiles.includes(profile)) {
    throw new UsageError(`there is no profile of "${profile}": ${profiles.join(", ")}`);
  }
  const quick = values.quick ?? false;
  const size = quick ? QUICK_SIZE : FULL_SIZE;
  return {
    size: { ...size, events: parseCount(values.events) ?? size.events },
    quick,
    runtime,
    only,
    profile,
    json: values.json,
    dir: values.dir,
  };
}

function readFlags(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        quick: { type: "boolean" },
        events: { type: "string" },
        only: { type: "string" },
        runtime: { type: "string" },
        json: { type: "string" },
        dir: { type: "string" },
        profile: { type: "string" },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function parseCount(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const count = Number(text);
  if (!Number.isSafeInteger(count) || count < EVENTS_MIN) {
    throw new UsageError(`--events ${text} is not a whole number of at least ${EVENTS_MIN}`);
  }
  return count;
}
