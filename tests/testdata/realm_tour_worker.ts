/** The realm of the program beside it. */
import { writeFileSync } from "node:fs";
import { serveCursorWorker } from "../../delivery/worker.ts";

let sum = 0;
serveCursorWorker<string>((batch, { init: dir }) => {
  for (const event of batch) sum += (event.payload as { n: number }).n;
  if (batch[batch.length - 1].clock < 99) return "continue";
  let writing = "done";
  try {
    writeFileSync(`${dir}/mine`, "");
  } catch {
    writing = "refused";
  }
  (globalThis as unknown as Worker).postMessage({ said: { sum, writing } });
  return "stop";
});
