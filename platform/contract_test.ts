import assert from "node:assert/strict";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { CONTRACT, type ContractWorld, judge } from "./contract.ts";
import { MemoryFs } from "./memory.ts";
import { runtime } from "./runtime.ts";

const WORLDS: Record<string, (run: (world: ContractWorld) => void) => void> = {
  [runtime.name]: (run) => {
    const dir = mkdtempSync(join(tmpdir(), "batpak-"));
    try {
      run({ fs: runtime.fs, dir, symlink: symlinkSync });
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
  memory: (run) => {
    const fs = new MemoryFs();
    fs.createDirAll("/store");
    run({ fs, dir: "/store", symlink: (target, path) => fs.symlink(target, path) });
  },
};

for (const [name, inWorld] of Object.entries(WORLDS)) {
  for (const contractCase of CONTRACT) {
    test(`${name}: ${contractCase.family}: ${contractCase.name}`, () => {
      inWorld((world) => {
        const verdict = judge(contractCase, world);
        if (verdict.type === "failed") throw verdict.error;
        assert.deepEqual(verdict, { type: "passed" });
      });
    });
  }
}

test("CONTRACT has as many promises as we think, each with a name of its own", () => {
  assert.equal(CONTRACT.length, 73);
  assert.equal(new Set(CONTRACT.map(({ name }) => name)).size, CONTRACT.length);
});
