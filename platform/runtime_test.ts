import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import process from "node:process";
import { runtime } from "./runtime.ts";
import { fixture, inTempDir, start } from "./testdata/processes.ts";

test("runtime is the one we run on", () => {
  assert.equal(runtime.name, "Deno" in globalThis ? "deno" : "bun");
  assert.equal(runtime.fs.name, runtime.name);
});

test(
  "a single-file executable finds its locks",
  { skip: runtime.name !== "bun" },
  () =>
    inTempDir(async (dir) => {
      const program = `${dir}/program`;
      const args = ["build", "--compile", fixture("lock_holder.ts"), "--outfile", program];
      assert.equal(spawnSync(process.execPath, args, { cwd: dir }).status, 0);
      const running = await start([program, `${dir}/lock`]);
      assert.equal(running.firstLine, "locked");
      assert.equal(runtime.fs.tryLock(`${dir}/lock`), undefined);
      await running.kill("SIGKILL");
    }),
);
