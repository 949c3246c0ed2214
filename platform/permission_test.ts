import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { CONTRACT } from "./contract.ts";
import { runtime } from "./runtime.ts";
import { commandHere, fixture, inTempDir } from "./testdata/processes.ts";

interface Verdict {
  readonly family: string;
  readonly name: string;
  readonly type: string;
  readonly reason?: string;
}

const options = { skip: runtime.name !== "deno" };

test(
  "Deno needs read and write permission for the directory, and no other",
  options,
  () =>
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
    }),
);
