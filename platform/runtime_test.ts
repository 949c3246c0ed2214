import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import process from "node:process";
import { CONTRACT } from "./contract.ts";
import { runtime } from "./runtime.ts";
import { commandHere, fixture, inTempDir, start } from "./testdata/processes.ts";

interface Verdict {
  readonly family: string;
  readonly name: string;
  readonly type: string;
  readonly reason?: string;
}

test("runtime is the one we run on", () => {
  assert.equal(runtime.name, "Deno" in globalThis ? "deno" : "bun");
  assert.equal(runtime.fs.name, runtime.name);
});

// Only Bun can build an executable without downloading something first.
if (runtime.name === "bun") {
  test("a single-file executable finds its locks", () =>
    inTempDir(async (dir) => {
      const program = `${dir}/program`;
      const args = ["build", "--compile", fixture("lock_holder.ts"), "--outfile", program];
      assert.equal(spawnSync(process.execPath, args, { cwd: dir }).status, 0);
      const running = await start([program, `${dir}/lock`]);
      assert.equal(running.firstLine, "locked");
      assert.equal(runtime.fs.tryLock(`${dir}/lock`), undefined);
      await running.kill("SIGKILL");
    }));
}

// Only Deno has permissions.
if (runtime.name === "deno") {
  test("the adapter needs read and write permission for the directory, and no other", () =>
    inTempDir((dir) => {
      const [command, ...args] = commandHere(fixture("contract_runner.ts"), dir);
      const outside = fixture("contract_runner.ts");
      const { stdout, stderr } = spawnSync(command, [...args, dir, outside], { encoding: "utf8" });
      assert.equal(stderr, "");

      const report: { verdicts: Verdict[]; outsideCode: string } = JSON.parse(stdout);
      assert.equal(report.verdicts.length, CONTRACT.length);
      assert.deepEqual(report.verdicts.filter(({ type }) => type === "failed"), []);
      // Deno makes no links without full access, so those cases do not count here.
      const qualified = report.verdicts.filter(({ type }) => type === "qualified");
      assert.deepEqual(new Set(qualified.map(({ family }) => family)), new Set(["symlinks"]));
      // And it really was shut in.
      assert.equal(report.outsideCode, "EACCES");
    }));
}
