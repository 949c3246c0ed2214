/**
 * A process, and the moment that it is killed at.
 *
 * @module
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type { CuttableDisk } from "./small_disk.ts";
import { sleep } from "./stress_consumer.ts";
import { type Note, phaseOf } from "./torture_load.ts";

/** A process that says nothing for so long hangs. */
const SILENCE_MS_MAX = 60_000;

/** When to kill. */
export interface Moment {
  /** What it has to say that it does. */
  readonly phase: string;
  /** For the how many-th time. */
  readonly nth: number;
  /** And how much later. */
  readonly delayUs: number;
  /** In any case after so long, once it is open. */
  readonly lifeMs: number;
  /** Not before the newest segment in `dir` has so many bytes more on the disk. */
  readonly grownBy?: number;
  readonly dir?: string;
}

/** Bytes that the newest segment really has, space taken in advance left out. */
function newestSize(dir: string): number {
  const newest = readdirSync(dir).filter((name) => /^\d+\.fbat$/.test(name)).sort().at(-1);
  return newest === undefined ? 0 : statSync(join(dir, newest)).blocks * 512;
}

/** Returns when the moment has come; a timer would be too coarse. */
function waitFor({ delayUs, grownBy, dir }: Moment): void {
  const startMs = performance.now();
  if (grownBy !== undefined && dir !== undefined) {
    // The batch may roll the segment first.
    for (const size = newestSize(dir); performance.now() < startMs + 500;) {
      const now = newestSize(dir);
      if (now < size || now >= size + grownBy) return;
    }
  }
  while (performance.now() < startMs + delayUs / 1000);
}

/**
 * Runs a process until it ends or the moment has come; returns the lines that it has finished. With a disk
 * it is stopped first, and what has reached the disk by then is kept.
 */
export async function runUntil(
  [command, ...args]: string[],
  moment: Moment | undefined,
  disk: CuttableDisk | undefined,
): Promise<{ readonly lines: readonly string[]; readonly isKilled: boolean }> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const closed = once(child, "close");
  const lines: string[] = [];
  let rest = "";
  let seen = 0;
  let isDone = false;
  let end: ReturnType<typeof setTimeout> | undefined;
  let kept: Promise<void> | undefined;
  const keepAndKill = async (disk: CuttableDisk, pid: number) => {
    if (child.exitCode !== null) return;
    // Not by the method of the child, which takes the first signal for the last, in Deno.
    process.kill(pid, "SIGSTOP");
    // It may just have ended by itself.
    if (!await hasStopped(pid)) return;
    try {
      disk.keep();
    } finally {
      process.kill(pid, "SIGKILL");
    }
  };
  const kill = () => {
    if (isDone) return;
    isDone = true;
    if (disk === undefined) child.kill("SIGKILL");
    else kept = keepAndKill(disk, child.pid!);
  };
  let isSilent = false;
  const silence = setTimeout(() => {
    isSilent = true;
    kill();
  }, SILENCE_MS_MAX);
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    // A last line without its end is being said.
    rest = parts.pop()!;
    lines.push(...parts);
    if (moment === undefined || isDone) return;
    for (const line of parts) {
      const phase = phaseOf(JSON.parse(line) as Note);
      if (phase === undefined) continue;
      end ??= setTimeout(kill, moment.lifeMs);
      if (phase !== moment.phase && moment.phase !== "any") continue;
      if (++seen !== moment.nth) continue;
      waitFor(moment);
      return kill();
    }
  });
  const [code, signal] = await closed as [number | null, string | null];
  clearTimeout(silence);
  clearTimeout(end);
  await kept;
  assert.ok(!isSilent, `it hangs: its last words are ${lines.at(-1)}`);
  const isKilled = signal === "SIGKILL" || code === 137;
  // What it says of itself is thrown when its lines are read.
  const isExplained = lines.some((line) => line.startsWith('{"t":"broken"'));
  assert.ok(isKilled || code === 0 || isExplained, `it ended with code ${code}, signal ${signal}`);
  return { lines, isKilled };
}

/**
 * Resolves when no thread of a process runs any more, those in the middle of a sync included; says whether
 * it is still there.
 */
async function hasStopped(pid: number): Promise<boolean> {
  for (;; await sleep(1)) {
    try {
      const states = readdirSync(`/proc/${pid}/task`).map((task) => {
        const stat = readFileSync(`/proc/${pid}/task/${task}/stat`, "utf8");
        return stat[stat.lastIndexOf(")") + 2];
      });
      if (states.every((state) => state === "T")) return true;
      if (states.every((state) => state === "Z")) return false;
    } catch (error) {
      // A thread, or all of them, have ended meanwhile.
      if (!existsSync(`/proc/${pid}`)) return false;
      if (!["ENOENT", "ESRCH"].includes((error as { code?: string }).code ?? "")) throw error;
    }
  }
}
