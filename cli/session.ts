/**
 * One run of the command: the world, the output, and how it ended.
 *
 * @module
 */
import type { Host } from "./host.ts";
import type { Output } from "./output.ts";
import { ExitCode } from "./errors.ts";

/** What a command is handed. */
export interface Session {
  /** The process and the terminal. */
  readonly host: Host;
  /** Where it writes. */
  readonly output: Output;
  /** The exit code, unless it throws. */
  exitCode: number;
}

/** A session at its start. */
export function newSession(host: Host, output: Output): Session {
  return { host, output, exitCode: ExitCode.FINE };
}
