/**
 * Runs the contract below the directory named on the command line, and prints what came of it as JSON: the
 * verdict of each case, and the code of an attempt to read the file named second.
 */
import process from "node:process";
import { CONTRACT, judge } from "../contract.ts";
import { IoFault } from "../fs.ts";
import { runtime } from "../runtime.ts";

const [dir, outside] = process.argv.slice(2);
const verdicts = CONTRACT.map((contractCase, index) => {
  const world = { fs: runtime.fs, dir: `${dir}/${index}` };
  world.fs.createDirAll(world.dir);
  const verdict = judge(contractCase, world);
  const reason = verdict.type === "failed" ? String(verdict.error) : undefined;
  return { family: contractCase.family, name: contractCase.name, type: verdict.type, reason };
});

let outsideCode = "readable";
try {
  runtime.fs.readFile(outside, 1_000_000);
} catch (error) {
  outsideCode = error instanceof IoFault ? error.code : String(error);
}
runtime.clock.nowUs();
runtime.entropy.fill(new Uint8Array(16));
console.log(JSON.stringify({ verdicts, outsideCode }));
