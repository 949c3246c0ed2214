/**
 * `deno task torture`: real crashes. Kills processes that use a journal at random moments and in front of
 * chosen system calls, cuts the power of a disk, fills one for real, has the kernel refuse syncs, and lets
 * processes fight for the lock; holds the journal to everything that any of them was told.
 *
 * ```sh
 * deno task torture                              # 300 kills on Deno, on Bun, and on both in turn
 * deno task torture --runtime bun --rounds 50    # on one of them
 * deno task torture --seed 7 --part kills        # the same orders again; the moments are the machine's
 * deno task torture --minutes 60                 # with one seed after the other, until the time is over
 * ```
 *
 * A small disk has to be mounted, which only root may, and refusing a sync takes `strace`; what this machine
 * does not allow is skipped, and the reason printed. A violation leaves the directory behind as evidence,
 * with what the processes said in `notes.log`, and ends the run with exit code 1.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import { type DiskKind, mountCuttableDisk, noSmallDisk } from "../tests/support_api/small_disk.ts";
import type { Counts } from "../tests/support_api/stress_audit.ts";
import { killWhenFull, squeezeJournals, SQUEEZES } from "../tests/support_api/torture_disk.ts";
import { Kills } from "../tests/support_api/torture_kills.ts";
import { fight } from "../tests/support_api/torture_lock.ts";
import {
  noStrace,
  type Program,
  programBeside,
  programHere,
} from "../tests/support_api/torture_programs.ts";
import { failSync } from "../tests/support_api/torture_sync.ts";

const RUNTIMES = ["deno", "bun", "mixed"] as const;
const PARTS = ["kills", "power", "disk", "sync", "lock"] as const;
const DISKS: readonly DiskKind[] = ["tmpfs", "ext4"];
/** Between two lines that say that it goes on. */
const PROGRESS_MS = 10_000;
const LOCK_SECONDS = 20;
const POWER_DISK_BYTES = 16 << 20;
/** How much the file system orders, and how often it writes by itself. */
const POWER_OPTIONS = ["data=ordered", "data=writeback,commit=1"];

type Runtime = (typeof RUNTIMES)[number];
type Part = (typeof PARTS)[number];

/** One run on one runtime, or on both in turn. */
interface Run {
  readonly runtime: Runtime;
  readonly programs: readonly Program[];
  readonly rounds: number;
  readonly seed: number;
  readonly counts: Counts;
  readonly root: string;
}

const TORTURES: Readonly<Record<Part, (run: Run) => Promise<void>>> = {
  async kills({ rounds, root, seed, programs, counts }) {
    const reason = noStrace();
    if (reason !== undefined) console.log(`skipped: kills in front of system calls: ${reason}`);
    const kills = new Kills({ root, seed, programs, canTrace: reason === undefined, counts });
    let saidMs = performance.now();
    for (let round = 1; round <= rounds; round++) {
      try {
        await kills.round();
      } catch (error) {
        throw new Error(`round ${round}: ${(error as Error).message}`, { cause: error });
      }
      if (performance.now() - saidMs < PROGRESS_MS) continue;
      saidMs = performance.now();
      console.log(`  kills: ${round} rounds, ${counts["torn tails repaired"] ?? 0} torn tails`);
    }
    kills.finish();
  },

  async power({ rounds, root, seed, programs, counts }) {
    const reason = noSmallDisk("ext4");
    if (reason !== undefined) {
      console.log(`skipped: power cuts: ${reason}`);
      return;
    }
    for (const [i, options] of POWER_OPTIONS.entries()) {
      using disk = mountCuttableDisk(POWER_DISK_BYTES, options);
      const kills = new Kills({ root, seed: seed + i, programs, canTrace: false, counts, disk });
      try {
        for (let round = 0; round < rounds / 4; round++) await kills.round();
        kills.finish();
      } catch (error) {
        copyFileSync(disk.image, join(root, "image"));
        throw new Error(`ext4 with ${options}: ${(error as Error).message}`, { cause: error });
      }
      console.log(`  power: ${counts["power cuts"]} cuts of ext4 with ${options}`);
    }
  },

  async disk({ rounds, seed, programs, counts }) {
    for (const kind of DISKS) {
      const reason = noSmallDisk(kind);
      if (reason !== undefined) {
        console.log(`skipped: a full ${kind}: ${reason}`);
        continue;
      }
      const squeezes = Math.max(SQUEEZES.length, rounds);
      // In pieces, so that somebody who waits hears something.
      for (let at = 0; at < squeezes; at += 96) {
        squeezeJournals(kind, {
          seed: seed + at,
          squeezes: Math.min(96, squeezes - at),
          counts,
        });
        console.log(`  disk: ${kind} was full, ${counts[`${kind} full: errors`]} errors`);
      }
      await killWhenFull(kind, { seed, kills: Math.ceil(rounds / 10), programs, counts });
    }
  },

  async sync({ rounds, root, seed, programs, counts }) {
    const reason = noStrace();
    if (reason !== undefined) {
      console.log(`skipped: syncs that fail: ${reason}`);
      return;
    }
    const nthMax = Math.min(40, Math.ceil(rounds / 12));
    for (const call of ["fdatasync", "fsync"] as const) {
      for (let nth = 1; nth <= nthMax; nth++) {
        const program = programs[nth % programs.length];
        const dir = join(root, `${call}-${nth}`);
        await failSync(program, dir, { call, nth, seed: seed + nth, counts });
        rmSync(dir, { recursive: true });
      }
    }
    console.log("  sync: every refused sync was dealt with");
  },

  async lock({ rounds, root, seed, programs, counts }) {
    const seconds = Math.min(LOCK_SECONDS, Math.ceil(rounds / 10));
    await fight({ root: join(root, "lock"), seed, seconds, fighters: 5, programs, counts });
    console.log(`  lock: ${counts["lock: contests won"]} turns`);
  },
};

/** Runs the parts, and says whether all held. */
async function torture(run: Omit<Run, "root">, parts: readonly Part[]): Promise<boolean> {
  const { runtime, rounds, seed } = run;
  let isSound = true;
  for (const part of parts) {
    const root = realpathSync(mkdtempSync(join(tmpdir(), `batpak-torture-${part}-`)));
    try {
      await TORTURES[part]({ ...run, root });
      rmSync(root, { recursive: true });
    } catch (error) {
      isSound = false;
      console.error(error);
      console.error(`evidence: ${root}`);
      const again = `--runtime ${runtime} --part ${part} --rounds ${rounds} --seed ${seed}`;
      console.error(`again: deno task torture ${again}`);
    }
  }
  return isSound;
}

/** Runs the parts, again and again with the next seed when there is a time, and says what happened. */
async function tortureFor(
  minutes: number,
  run: Omit<Run, "root" | "counts">,
  parts: readonly Part[],
): Promise<boolean> {
  const startMs = performance.now();
  const counts: Counts = {};
  let isSound = true;
  let seed = run.seed;
  do {
    console.log(`${run.runtime}, seed ${seed}`);
    isSound = await torture({ ...run, seed: seed++, counts }, parts);
  } while (isSound && performance.now() < startMs + minutes * 60_000);
  console.log(`${run.runtime}, ${Math.round((performance.now() - startMs) / 1000)} s:`);
  for (const [name, value] of Object.entries(counts).sort(([a], [b]) => a < b ? -1 : 1)) {
    console.log(`  ${String(value).padStart(8)}  ${name}`);
  }
  if (Object.keys(counts).length === 0) console.log("  nothing could be done here");
  return isSound;
}

function oneOf<T extends string>(name: string, value: string, choices: readonly T[]): T {
  if ((choices as readonly string[]).includes(value)) return value as T;
  throw new RangeError(`Cannot use --${name} ${value}: choose of ${choices.join(", ")}`);
}

/** The other runtime is its own parent, so that all of a run is on one runtime. */
function tortureOnBun(args: readonly string[]): boolean {
  const program = programBeside();
  if (program === undefined) throw new Error('Cannot find Bun: run "deno install"');
  const command = program.command(fileURLToPath(import.meta.url));
  const { status } = spawnSync(command[0], [...command.slice(1), ...args], { stdio: "inherit" });
  return status === 0;
}

async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      runtime: { type: "string", default: "all" },
      rounds: { type: "string", default: "300" },
      seed: { type: "string" },
      minutes: { type: "string", default: "0" },
      part: { type: "string", default: "all" },
    },
  });
  const chosen = oneOf("runtime", values.runtime, [...RUNTIMES, "both", "all"]);
  const part = oneOf("part", values.part, [...PARTS, "all"]);
  const seed = Number(values.seed ?? Math.floor(performance.timeOrigin) % 1_000_000);
  const rounds = Number(values.rounds);
  const minutes = Number(values.minutes);
  if (!Number.isInteger(seed) || !(rounds >= 1) || !(minutes >= 0)) {
    throw new RangeError("Cannot torture: --seed, --rounds and --minutes are numbers");
  }
  const runtimes = chosen === "all"
    ? RUNTIMES
    : chosen === "both"
    ? RUNTIMES.slice(0, 2)
    : [chosen];
  let isSound = true;
  for (const runtime of runtimes) {
    if (runtime === "bun" && process.versions.bun === undefined) {
      isSound = tortureOnBun([
        ...["--runtime", "bun", "--part", part, "--rounds", `${rounds}`, "--seed", `${seed}`],
        ...["--minutes", `${minutes / runtimes.length}`],
      ]) && isSound;
      continue;
    }
    const beside = runtime === "mixed" ? programBeside() : undefined;
    if (runtime === "mixed" && beside === undefined) {
      throw new Error('Cannot find Bun: run "deno install"');
    }
    const programs = beside === undefined ? [programHere()] : [programHere(), beside];
    const parts = part === "all" ? PARTS : [part];
    const run = { runtime, programs, rounds, seed };
    isSound = await tortureFor(minutes / runtimes.length, run, parts) && isSound;
  }
  if (!isSound) process.exitCode = 1;
}

await main(process.argv.slice(2));
