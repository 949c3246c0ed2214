/** Holds a lifeline, and then ends as it is told. */
import process from "node:process";
import { holdLifeline } from "../lifeline.ts";

const scope = globalThis as unknown as Worker & { close?(): void };
scope.addEventListener("message", async ({ data }) => {
  if (data.hold !== undefined) {
    await holdLifeline(data.hold);
    scope.postMessage("held");
  } else if (data === "close" && scope.close !== undefined) {
    scope.close();
  } else if (data === "throw") {
    throw new Error("thrown");
  } else {
    process.exit(3);
  }
});
scope.postMessage("ready");
