// design.md 5: in Deno, a journal needs its own directory and nothing else. In Bun there is nothing to
// deny, and the same program has to say the same.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, realpathSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runtime } from "../platform/runtime.ts";
import { commandHere, inTempDir } from "../platform/testdata/processes.ts";

const TOUR = fileURLToPath(new URL("testdata/store_tour.ts", import.meta.url));
const REALM_TOUR = fileURLToPath(new URL("testdata/realm_tour.ts", import.meta.url));
const PROJECT = fileURLToPath(new URL("..", import.meta.url));

test("a program that may read and write one directory can do everything with a journal in it", () =>
  inTempDir((folder) => {
    const dir = `${realpathSync(folder)}/inside`;
    const outside = `${realpathSync(folder)}/outside`;
    // Not even to make its directory may it look at the one above: on a terminal, Deno would ask.
    mkdirSync(outside);
    const [command, ...args] = commandHere(TOUR, dir);
    const { stdout, stderr, status } = spawnSync(command, [...args, dir, outside], {
      encoding: "utf8",
    });
    assert.equal(stderr, "");
    assert.equal(status, 0);
    const signed = { valid: true, outcome: "signed" };
    assert.deepEqual(JSON.parse(stdout), {
      replayed: true,
      payloads: Array.from({ length: 51 }, (_, n) => ({ n })),
      verdicts: [signed, signed, signed],
      ancestors: 51,
      segments: 2,
      findings: [],
      intact: true,
      // And it really was shut in.
      outsideCode: runtime.name === "deno" ? "EACCES" : "opened",
    });
  }));

test("the realm of a cursor worker needs to read the journal's directory, and nothing else", () =>
  inTempDir((folder) => {
    const dir = realpathSync(folder);
    const [command, ...args] = commandHere(REALM_TOUR, dir);
    if (runtime.name === "deno") {
      // Deno lets no worker load its modules that the program itself may not read.
      const read = args.findIndex((arg) => arg.startsWith("--allow-read="));
      args[read] += `,${PROJECT}`;
      args.splice(read, 0, "--unstable-worker-options");
    }
    const { stdout, stderr, status } = spawnSync(command, [...args, dir], { encoding: "utf8" });
    assert.equal(stderr, "");
    assert.equal(status, 0);
    assert.deepEqual(JSON.parse(stdout), {
      sum: 4950,
      writing: runtime.name === "deno" ? "refused" : "done",
    });
  }));
