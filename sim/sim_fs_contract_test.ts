import assert from "node:assert/strict";
import { test } from "node:test";
import { CONTRACT, judge } from "../platform/contract.ts";
import { SimFs } from "./sim_fs.ts";

for (const contractCase of CONTRACT) {
  test(`sim: ${contractCase.family}: ${contractCase.name}`, () => {
    const fs = new SimFs();
    fs.createDirAll("/store");
    const symlink = (target: string, path: string) => fs.symlink(target, path);
    const verdict = judge(contractCase, { fs, dir: "/store", symlink });
    if (verdict.type === "failed") throw verdict.error;
    assert.deepEqual(verdict, { type: "passed" });
  });
}
