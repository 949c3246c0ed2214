/**
 * `deno task bench:peers`: installs the peers that are npm packages and that Deno's own installer cannot
 * install, in the versions that `peers/package-lock.json` pins. It takes npm, which runs no install
 * scripts: the packages bring what they need already built.
 *
 * The benchmark runs without them, and says so.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { findLmdb, PEERS_DIR } from "./lmdb_peer.ts";

function main(): number {
  const npm = process.platform === "win32" ? "npm.cmd" : "npm";
  const { status, error } = spawnSync(
    npm,
    ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
    { cwd: PEERS_DIR, stdio: "inherit" },
  );
  if (error !== undefined || status !== 0) {
    console.error(`Cannot install the peers: ${error?.message ?? `npm ended with code ${status}`}`);
    return 1;
  }
  const search = findLmdb();
  if ("missing" in search) {
    console.error(`Installed lmdb, but ${search.missing.reason}`);
    return 1;
  }
  console.log(`lmdb ${search.peer.version} is there`);
  return 0;
}

if (import.meta.main) process.exitCode = main();
