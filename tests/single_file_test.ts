// A program and its worker, built into one executable: no file of the project is there when it runs.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runtime } from "../platform/runtime.ts";
import { findBun, inTempDir } from "../platform/testdata/processes.ts";

const FOLDER = fileURLToPath(new URL("testdata/single_file", import.meta.url));

test("a cursor worker's realm works inside a single executable that Bun has built", () =>
  inTempDir((dir) => {
    const bun = runtime.name === "bun" ? process.execPath : findBun();
    assert.ok(bun !== undefined, "Bun is a development dependency");
    const program = `${dir}/program`;
    const built = spawnSync(
      bun,
      ["build", "--compile", `${FOLDER}/main.ts`, `${FOLDER}/handler.ts`, "--outfile", program],
      { encoding: "utf8" },
    );
    assert.equal(built.status, 0, built.stderr);
    // Somewhere else, where nothing of the project lies.
    mkdirSync(`${dir}/elsewhere`);
    const { stdout, stderr, status } = spawnSync(program, [`${dir}/journal`], {
      cwd: `${dir}/elsewhere`,
      encoding: "utf8",
    });
    assert.equal(stderr, "");
    assert.equal(status, 0);
    assert.deepEqual(JSON.parse(stdout), { sum: 124750, end: "handler", committed: 500 });
  }));
