/**
 * Tries to lock the file named on the command line, says how that went, and holds on until it is killed
 * or its standard input ends.
 */
import process from "node:process";
import { runtime } from "../runtime.ts";

const lock = runtime.fs.tryLock(process.argv[2]);
console.log(lock ? "locked" : "refused");
process.stdin.on("end", () => process.exit()).resume();
