/**
 * Where the programs of the torture run, and what the machine lends to it.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { findBun } from "../../platform/testdata/processes.ts";

/** A runtime on this machine. */
export interface Program {
  readonly name: "deno" | "bun";
  /** How to run a program in it, with nothing but access to files. */
  readonly command: (file: string) => string[];
}

/** The runtime that this runs in. */
export function programHere(): Program {
  return process.versions.bun === undefined ? deno(process.execPath) : bun(process.execPath);
}

/**
 * The other one; `undefined` when it is not there. Only Deno looks: one direction is enough, because the
 * two take turns.
 */
export function programBeside(): Program | undefined {
  if (process.versions.bun !== undefined) return undefined;
  const path = process.env.BUN_BIN || findBun();
  return path === undefined ? undefined : bun(path);
}

/** Why `strace` cannot be used; `undefined` when it can. */
export function noStrace(): string | undefined {
  if (process.platform !== "linux") return "needs strace, which is of Linux";
  const probe = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=none", "true"];
  const { status, error } = spawnSync("strace", probe, { stdio: "ignore" });
  if (error !== undefined) return "needs strace, which is not installed";
  return status === 0 ? undefined : "needs strace, which may not trace here";
}

function deno(path: string): Program {
  const options = ["run", "--quiet", "--no-prompt", "--allow-read", "--allow-write"];
  return { name: "deno", command: (file) => [path, ...options, file] };
}

function bun(path: string): Program {
  return { name: "bun", command: (file) => [path, file] };
}
