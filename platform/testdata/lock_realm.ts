/** Locks the file that it is told of, and then ends as it is told. */
import process from "node:process";
import { holdLifeline } from "../lifeline.ts";
import { runtime } from "../runtime.ts";

const scope = globalThis as unknown as Worker;
let lock: unknown;
scope.addEventListener("message", async ({ data }) => {
  if (data.path !== undefined) {
    await holdLifeline(data.path);
    lock = runtime.fs.tryLock(data.path);
    scope.postMessage(lock === undefined ? "refused" : "locked");
  } else if (data === "throw") {
    throw new Error("thrown");
  } else {
    process.exit(3);
  }
});
scope.postMessage("ready");
