/**
 * How a command fails: what it says, and with which exit code.
 *
 * | Code | Means                                                                                        |
 * | ---: | -------------------------------------------------------------------------------------------- |
 * |    0 | fine                                                                                         |
 * |    1 | it failed                                                                                    |
 * |    2 | the command line is wrong                                                                    |
 * |    3 | the journal, or a checkpoint, is damaged                                                     |
 * |    4 | a conflict: the entity has moved on, keys contradict, or a checkpoint is of another region   |
 * |    5 | another process is writing to the journal, or works under the checkpoint                     |
 * |  130 | interrupted                                                                                  |
 *
 * @module
 */
import { IoFault, StoreError, type StoreErrorCode } from "../mod.ts";
import { OutputClosedError } from "./host.ts";

/** Exit codes, by meaning. */
export const ExitCode = {
  FINE: 0,
  FAILURE: 1,
  USAGE: 2,
  DAMAGE: 3,
  CONFLICT: 4,
  LOCKED: 5,
  INTERRUPTED: 130,
} as const;

/** A failure that the command itself finds. */
export class CommandError extends Error {
  /** The class, for messages and logs. */
  override readonly name = "CommandError";
  /** Stable, for programs. */
  readonly code: string;
  /** What else a program may want to know. */
  readonly facts: Readonly<Record<string, unknown>>;
  /** The exit code. */
  readonly exitCode: number;

  /** @param code stable, for programs; `message` is for people and ends without a full stop. */
  constructor(
    code: string,
    message: string,
    options: { facts?: Record<string, unknown>; exitCode?: number; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.facts = options.facts ?? {};
    this.exitCode = options.exitCode ?? ExitCode.FAILURE;
  }
}

/** The command line is wrong. Nothing was touched. */
export function usageError(message: string, facts: Record<string, unknown> = {}): CommandError {
  return new CommandError("USAGE", message, { facts, exitCode: ExitCode.USAGE });
}

/** An error as a program gets it. */
export interface ErrorJson {
  /** Stable. */
  readonly code: string;
  /** For people. */
  readonly message: string;
  /** What went wrong after it. */
  readonly later?: readonly ErrorJson[];
  /** The facts, each under its own name. */
  readonly [fact: string]: unknown;
}

/**
 * What went wrong, in the order it did. An error while a failure was being cleaned up, as when the
 * store cannot be closed either, comes as a `SuppressedError` that has both inside; the first of them
 * is why the command failed.
 */
export function errorsIn(error: unknown): readonly unknown[] {
  if (!(error instanceof SuppressedError)) return [error];
  const errors = [...errorsIn(error.suppressed), ...errorsIn(error.error)];
  // That nobody reads the output any more is no failure beside a real one.
  const failures = errors.filter((error) => !(error instanceof OutputClosedError));
  return failures.length > 0 ? failures : errors;
}

/** The exit code for `error`. */
export function exitCodeOf(error: unknown): number {
  const [first] = errorsIn(error);
  if (first instanceof CommandError) return first.exitCode;
  if (!(first instanceof StoreError)) return ExitCode.FAILURE;
  return EXIT_CODES[first.code] ?? ExitCode.FAILURE;
}

/**
 * An error as plain data: its code, its message, and its own fields; under `later` what else went wrong
 * because of it.
 */
export function errorToJson(error: unknown): ErrorJson {
  const [first, ...later] = errorsIn(error).map(oneToJson);
  return later.length === 0 ? first : { ...first, later };
}

function oneToJson(error: unknown): ErrorJson {
  if (error instanceof CommandError) {
    return { code: error.code, message: error.message, ...error.facts };
  }
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof StoreError || error instanceof IoFault) {
    const facts: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(error)) {
      if (!["name", "code", "message", "stack", "cause", "fault"].includes(name)) {
        facts[name] = value;
      }
    }
    const { fault } = error as { fault?: unknown };
    if (fault instanceof IoFault) {
      facts.fault = { code: fault.code, op: fault.op, path: fault.path };
    }
    return { code: error.code, message, ...facts };
  }
  return { code: "UNEXPECTED", message };
}

/** What stands in arguments and breaks a rule is a wrong command line. */
const EXIT_CODES: Partial<Record<StoreErrorCode, number>> = {
  CHECKPOINT_ID: ExitCode.USAGE,
  COORDINATE: ExitCode.USAGE,
  COPY_TARGET: ExitCode.USAGE,
  EVENT_KIND: ExitCode.USAGE,
  ID: ExitCode.USAGE,
  REGION: ExitCode.USAGE,
  RESERVED_KIND: ExitCode.USAGE,
  TAG: ExitCode.USAGE,
  CHECKPOINT_AHEAD: ExitCode.DAMAGE,
  CHECKPOINT_CORRUPT: ExitCode.DAMAGE,
  CORRUPTION: ExitCode.DAMAGE,
  CHECKPOINT_REGION_MISMATCH: ExitCode.CONFLICT,
  CLOCK_CONFLICT: ExitCode.CONFLICT,
  CONDITION_CONFLICT: ExitCode.CONFLICT,
  IDEMPOTENCY: ExitCode.CONFLICT,
  CHECKPOINT_BUSY: ExitCode.LOCKED,
  STORE_LOCKED: ExitCode.LOCKED,
};
