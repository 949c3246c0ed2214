// A program and its worker, built into one executable: no file of the project is there when it runs.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Store } from "../mod.ts";
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

test("a store in a worker works inside a single executable that Bun has built", () =>
  inTempDir((dir) => {
    const bun = runtime.name === "bun" ? process.execPath : findBun();
    assert.ok(bun !== undefined, "Bun is a development dependency");
    const program = `${dir}/program`;
    const sources = [`${FOLDER}/store_main.ts`, `${FOLDER}/store_worker.ts`];
    const built = spawnSync(bun, ["build", "--compile", ...sources, "--outfile", program], {
      encoding: "utf8",
    });
    assert.equal(built.status, 0, built.stderr);
    mkdirSync(`${dir}/elsewhere`);
    const { stdout, stderr, status } = spawnSync(program, [], {
      cwd: `${dir}/elsewhere`,
      env: { ...process.env, JOURNAL_DIR: `${dir}/journal` },
      encoding: "utf8",
    });
    assert.equal(stderr, "");
    assert.equal(status, 0);
    assert.deepEqual(JSON.parse(stdout), {
      lastClock: 99,
      payload: { n: 99 },
      eventCount: 101,
      durableSequence: 101,
    });
    // It has closed its store, and let go of the lock.
    Store.open(`${dir}/journal`).close();
  }));
