import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runtime } from "../../platform/runtime.ts";
import { type BenchRow, type BenchRun, parseResults } from "./results.ts";
import { RESERVED_NAMES, WORKLOADS } from "./workloads.ts";

const PROGRAM = fileURLToPath(new URL("../bench.ts", import.meta.url));
const COMMAND = runtime.name === "deno"
  ? ["run", "--allow-all", "--unstable-kv", PROGRAM]
  : [PROGRAM];

/** The benchmark in this runtime, with its data and results below `dir`. */
function commandLine(dir: string, ...args: string[]): [string, string[]] {
  return [process.execPath, [...COMMAND, "--runtime", runtime.name, "--dir", dir, ...args]];
}

function run(dir: string, ...args: string[]) {
  const [program, all] = commandLine(dir, ...args);
  return spawnSync(program, all, { encoding: "utf8" });
}

function resultsOf(dir: string, ...args: string[]): readonly BenchRun[] {
  const json = join(dir, "results.json");
  const { status, stderr } = run(dir, ...args, "--json", json);
  assert.equal(status, 0, stderr);
  const { runs } = parseResults(readFileSync(json, "utf8"));
  rmSync(json);
  return runs;
}

async function inTempDir(action: (dir: string) => void | Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "batpak_bench_test_"));
  try {
    await action(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

test("a quick run has every row, every peer that is there, and numbers that can be", () =>
  inTempDir((dir) => {
    const [run] = resultsOf(dir, "--quick");
    const { runtime: name, quick, rows, peers, missing } = run;
    assert.equal(name, runtime.name);
    assert.equal(quick, true);
    assert.deepEqual(rows.map(({ workload }) => workload), [
      "append",
      "append-batch-256",
      "append-durable",
      "get",
      "replay",
      "scan",
      "open-index",
      "open-footers",
      "open-frames",
      "verify",
      "memory-1000",
      "memory-100000",
      "group-commit-1",
      "group-commit-16",
      "group-commit-64",
      "group-commit-256",
      "group-commit-256-shared",
      "cursor-64",
      "cursor-256",
      "cursor-1024",
      "cursor-64-saved",
      "cursor-256-saved",
      "cursor-1024-saved",
      "cursor-realm-64",
      "cursor-realm-256",
      "cursor-realm-1024",
      "cursor-realm-64-saved",
      "cursor-realm-256-saved",
      "cursor-realm-1024-saved",
      "wake",
      "wake-realm",
      "wake-process",
    ]);
    const there = peers.map(({ name }) => name);
    const databases = runtime.name === "bun"
      ? ["node:sqlite", "bun:sqlite", "lmdb"]
      : ["node:sqlite", "lmdb", "deno-kv"];
    // LMDB is there when it was installed, and the others always.
    const notThere = missing.map(({ name }) => name);
    assert.deepEqual(notThere.filter((name) => name !== "lmdb"), []);
    assert.deepEqual(databases.filter((name) => !notThere.includes(name)), there);
    for (const row of rows) checkRow(row, there);
    assert.deepEqual(readdirSync(dir), [], "the data is gone");
  }));

function checkRow(row: BenchRow, there: readonly string[]): void {
  const { workload, unit, events, batpak, growth, exponent } = row;
  const isOpen = workload.startsWith("open");
  const isMemory = workload.startsWith("memory");
  const isGroup = workload.startsWith("group-commit");
  const isCursor = workload.startsWith("cursor");
  const isRealm = workload.startsWith("cursor-realm");
  const isWakeUp = workload.startsWith("wake");
  assert.equal(
    unit,
    isOpen ? "ms" : isMemory ? "bytes/event" : isWakeUp ? "us" : "events/s",
    workload,
  );
  assert.equal(row.unavailable, undefined);
  assert.ok(Number.isSafeInteger(events) && events > 0, workload);
  const peers = row.peers.map(({ name }) => name);
  const absent = row.absent.map(({ name }) => name);
  assert.deepEqual(
    [...peers, ...absent].sort(),
    isMemory || isRealm || isWakeUp
      ? []
      : [...workload === "append-durable" || isGroup ? ["raw-fdatasync"] : [], ...there].sort(),
    workload,
  );
  if (absent.length > 0) assert.ok(workload === "verify" || isCursor, workload);
  for (const { median, spread, samples } of [batpak!, ...row.peers.map(({ figure }) => figure)]) {
    assert.ok(median > 0.001 && median < 1e9, `${workload}: ${median} ${unit}`);
    assert.ok(spread >= 0 && spread < 10, workload);
    assert.equal(samples.length, isMemory ? 1 : 3);
  }
  for (const { name, figure, ratio } of row.peers) {
    const [better, worse] = unit === "ms" ? [figure, batpak!] : [batpak!, figure];
    const expected = better.median / worse.median;
    assert.ok(Math.abs(ratio / expected - 1) < 0.01, `${workload}: ${ratio} × ${name}`);
  }
  const isGrown = !isGroup && !isWakeUp &&
    (!isCursor || ["cursor-256", "cursor-realm-256-saved"].includes(workload));
  const base = workload === "append-durable" ? 10 : workload === "get" ? 125 : 500;
  const sizes = growth.map(({ events }) => events);
  assert.deepEqual(sizes, isGrown ? [base, 4 * base, 16 * base] : [], workload);
  if (isGrown) assert.ok(Math.abs(exponent!) < 5, `${workload}: ${exponent}`);
  else assert.equal(exponent, undefined);
  const isSampled = ["append", "append-batch-256", "append-durable", "get"].includes(workload) ||
    isGroup || isWakeUp;
  assert.equal(row.p50us !== undefined, isSampled, workload);
  if (isSampled) assert.ok(row.p50us! > 0 && row.p99us! >= row.p50us!, workload);
  const writes = workload.startsWith("append") || isGroup;
  assert.equal(row.bytesPerEvent !== undefined, writes, workload);
  // The frame alone has 200 bytes, and the order 63.
  if (writes) assert.ok(row.bytesPerEvent! > 200 && row.bytesPerEvent! < 400, workload);
}

test("two runs of one workload measure twice", () =>
  inTempDir((dir) => {
    const args = ["--quick", "--only", "append"];
    const [{ rows: [first] }] = resultsOf(dir, ...args);
    const [{ rows: [second] }] = resultsOf(dir, ...args, "--events", "300");
    assert.deepEqual(first.growth.map(({ events }) => events), [500, 2000, 8000]);
    assert.deepEqual(second.growth.map(({ events }) => events), [300, 1200, 4800]);
    assert.notDeepEqual(first.batpak, second.batpak);
    assert.notDeepEqual(first.peers[0].figure, second.peers[0].figure);
  }));

test("the profile of append shows the stages and what they do not explain", () =>
  inTempDir((dir) => {
    const { status, stdout, stderr } = run(dir, "--quick", "--profile", "append");
    assert.equal(status, 0, stderr);
    assert.match(stdout, /hash the header +[\d,]+/);
    assert.match(stdout, /sum of the stages +[\d,]+/);
    assert.match(stdout, /not explained by the stages +-?[\d,]+/);
    assert.deepEqual(readdirSync(dir), []);
  }));

test("the profile of an open shows its phases", () =>
  inTempDir((dir) => {
    const { status, stdout, stderr } = run(dir, "--quick", "--profile", "open");
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^Opening 8,000 events from index/);
    assert.match(stdout, /Opening 8,000 events from frames, in milliseconds\n\n {2}\w/);
    assert.match(stdout, /\n {2}not in any phase +-?\d+\.\d\d/);
    assert.match(stdout, /\n {2}the whole +\d+\.\d\d +100 %/);
    assert.deepEqual(readdirSync(dir), []);
  }));

test("a wrong command line is explained, and nothing is measured", () =>
  inTempDir((dir) => {
    const { status, stdout, stderr } = run(dir, "--only", "projection");
    assert.equal(status, 2);
    assert.equal(stdout, "");
    assert.match(stderr, /there is no workload "projection"/);
    assert.match(stderr, /Usage: deno task bench/);
  }));

test("Ctrl-C ends a run and removes its data", () =>
  inTempDir(async (dir) => {
    const [program, args] = commandLine(dir);
    const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.on("data", (chunk) => stderr += chunk);
    await once(child.stderr, "data");
    const exited = once(child, "exit");
    child.kill("SIGINT");
    const [code, signal] = await exited;
    // Deno takes the exit code 130 for the signal that it stands for.
    assert.ok(code === 130 || signal === "SIGINT", stderr);
    assert.match(stderr, /Interrupted/);
    assert.deepEqual(readdirSync(dir), []);
  }));

test("no row has a name that is kept for something else", () => {
  const names = new Set(WORKLOADS.map(({ name }) => name));
  assert.equal(names.size, WORKLOADS.length);
  assert.deepEqual(RESERVED_NAMES.filter((name) => names.has(name)), []);
});
