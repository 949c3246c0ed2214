/** Starts other processes for the tests: this runtime, or the other one. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { runtime } from "../runtime.ts";

/** A program in this directory. */
export function fixture(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url));
}

/** Runs `action` with an empty directory that is removed afterwards. */
export async function inTempDir<T>(action: (dir: string) => T | Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), "batpak-"));
  try {
    return await action(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** How to start a program in this runtime; in Deno with nothing but access to `dir`. */
export function commandHere(program: string, dir: string): string[] {
  if (runtime.name === "bun") return [process.execPath, program];
  const permissions = [`--allow-read=${dir}`, `--allow-write=${dir}`];
  return [process.execPath, "run", "--no-prompt", ...permissions, program];
}

/** Bun's executable when it is installed as a development dependency and runs on this machine. */
export function findBun(): string | undefined {
  const names = [`bun-${process.platform}-${process.arch}`];
  if (process.platform === "linux") names.push(`${names[0]}-musl`);
  try {
    const bun = createRequire(createRequire(import.meta.url).resolve("bun/package.json"));
    for (const name of names) {
      const executable = join(dirname(bun.resolve(`@oven/${name}/package.json`)), "bin/bun");
      if (spawnSync(executable, ["--version"]).status === 0) return executable;
    }
  } catch {
    // Not installed.
  }
  return undefined;
}

/** A process that has said its first line. */
export interface Running {
  /** What it said. */
  readonly firstLine: string;
  /** Ends it, and waits until the system has cleaned up after it. */
  kill(signal: "SIGTERM" | "SIGKILL"): Promise<void>;
}

/** Starts a process and waits for its first line. */
export async function start([command, ...args]: string[]): Promise<Running> {
  const child: ChildProcess = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const lines = createInterface({ input: child.stdout! });
  const [firstLine] = await Promise.race([once(lines, "line"), exited]);
  return {
    firstLine: String(firstLine),
    async kill(signal) {
      child.kill(signal);
      await exited;
    },
  };
}
