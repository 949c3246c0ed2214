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
import type { BenchResult } from "./report.ts";
import { RESERVED_NAMES, WORKLOADS } from "./workloads.ts";

const PROGRAM = fileURLToPath(new URL("../bench.ts", import.meta.url));
const COMMAND = runtime.name === "deno" ? ["run", "--allow-all", PROGRAM] : [PROGRAM];

/** The benchmark in this runtime, with its data and results below `dir`. */
function commandLine(dir: string, ...args: string[]): [string, string[]] {
  return [process.execPath, [...COMMAND, "--runtime", runtime.name, "--dir", dir, ...args]];
}

function run(dir: string, ...args: string[]) {
  const [program, all] = commandLine(dir, ...args);
  return spawnSync(program, all, { encoding: "utf8" });
}

function resultsOf(dir: string, ...args: string[]): BenchResult[] {
  const json = join(dir, "results.json");
  const { status, stderr } = run(dir, ...args, "--json", json);
  assert.equal(status, 0, stderr);
  const results = JSON.parse(readFileSync(json, "utf8"));
  rmSync(json);
  return results;
}

async function inTempDir(action: (dir: string) => void | Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "batpak_bench_test_"));
  try {
    await action(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

test("a quick run has every row, every peer, and numbers that can be", () =>
  inTempDir((dir) => {
    const results = resultsOf(dir, "--quick");
    assert.deepEqual(results.map(({ workload }) => workload), [
      "append",
      "append-batch-256",
      "append-durable",
      "get",
      "replay",
      "scan",
      "open-frames",
      "verify",
    ]);
    const databases = runtime.name === "bun" ? ["node:sqlite", "bun:sqlite"] : ["node:sqlite"];
    for (const result of results) {
      const { workload, events, perSecond, peers } = result;
      assert.equal(result.runtime, runtime.name);
      assert.ok(Number.isSafeInteger(events) && events > 0, workload);
      assert.deepEqual(
        Object.keys(peers),
        workload === "append-durable" ? ["raw-fdatasync", ...databases] : databases,
      );
      for (const rate of [perSecond, ...Object.values(peers)]) {
        assert.ok(rate > 10 && rate < 1e9, `${workload}: ${rate} events per second`);
      }
      const isSampled = ["append", "append-batch-256", "append-durable", "get"].includes(workload);
      assert.equal(result.p50us !== undefined, isSampled, workload);
      if (isSampled) assert.ok(result.p50us! > 0 && result.p99us! >= result.p50us!, workload);
      const writes = workload.startsWith("append");
      assert.equal(result.bytesPerEvent !== undefined, writes, workload);
      // The frame alone has 200 bytes, and the order 63.
      if (writes) assert.ok(result.bytesPerEvent! > 200 && result.bytesPerEvent! < 400, workload);
    }
    assert.deepEqual(readdirSync(dir), [], "the data is gone");
  }));

test("two runs of one workload measure twice", () =>
  inTempDir((dir) => {
    const args = ["--quick", "--only", "append"];
    const [first] = resultsOf(dir, ...args);
    const [second] = resultsOf(dir, ...args, "--events", "1000");
    assert.equal(first.events, 5000);
    assert.equal(second.events, 1000);
    assert.notEqual(first.perSecond, second.perSecond);
    assert.notEqual(first.peers["node:sqlite"], second.peers["node:sqlite"]);
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

test("a wrong command line is explained, and nothing is measured", () =>
  inTempDir((dir) => {
    const { status, stdout, stderr } = run(dir, "--only", "worker");
    assert.equal(status, 2);
    assert.equal(stdout, "");
    assert.match(stderr, /there is no workload "worker"/);
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
