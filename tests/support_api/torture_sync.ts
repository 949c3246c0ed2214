/**
 * Syncs that the kernel refuses: `strace` has one of them fail with EIO, in a process that uses a journal.
 *
 * @module
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Store, verifyJournal } from "../../mod.ts";
import { count, type Counts } from "./stress_audit.ts";
import type { Program } from "./torture_programs.ts";

const SYNCER = fileURLToPath(new URL("../testdata/torture_syncer.ts", import.meta.url));

/** Which sync fails. */
export interface FailedSync {
  /** `fdatasync` is of frames; `fsync` of files that get a name, of directories, and of sizes. */
  readonly call: "fdatasync" | "fsync";
  /** Counted from 1. */
  readonly nth: number;
}

/** Runs a process in which one sync fails; returns how often its writer stopped, and whether it was told. */
export async function failSync(
  program: Program,
  dir: string,
  options: FailedSync & { readonly seed: number; readonly counts: Counts },
): Promise<{ readonly stopped: number; readonly refused: number }> {
  const { call, nth, seed, counts } = options;
  const about = `${call} ${nth} on ${program.name}, seed ${seed}`;
  const log = `${dir}.strace`;
  const [command, ...args] = [
    ...["strace", "-f", "-qq", "-o", log, "-e", `trace=${call}`],
    ...["-e", `inject=${call}:error=EIO:when=${nth}`],
    ...program.command(SYNCER),
    dir,
    `${seed}`,
  ];
  const { stdout } = await promisify(execFile)(command, args, { timeout: 60_000 });
  const lines = stdout.trimEnd().split("\n");
  assert.equal(lines.at(-1), "done", `${about}: ${lines.at(-1)}`);
  const stopped = lines.filter((line) => line === "stopped").length;
  const refused = lines.filter((line) => line === "refused").length;
  const isRefused = readFileSync(log, "utf8").includes("INJECTED");
  rmSync(log);
  // A footer or an index file may be worth no error. Frames always are.
  if (isRefused && call === "fdatasync") {
    assert.ok(stopped + refused > 0, `${about}: nobody was told`);
  }
  if (!isRefused) assert.equal(stopped + refused, 0, about);
  using reader = Store.openReadOnly(dir);
  let acknowledged = 0;
  for (const line of lines) {
    const [sequence, id] = line.split(" ");
    if (id === undefined) continue;
    assert.equal(reader.get(id)?.globalSequence, Number(sequence), `${about}: ${line} is lost`);
    acknowledged++;
  }
  assert.ok(acknowledged > 0, about);
  const { findings } = verifyJournal(dir);
  assert.deepEqual(findings, [], about);
  const outcome = stopped > 0
    ? "the writer stopped"
    : refused > 0
    ? "refused, and went on"
    : isRefused
    ? "worth no error"
    : "came too late";
  count(counts, `sync failed, ${call}: ${outcome}`);
  return { stopped, refused };
}
