/** The worker of the program beside it: adds up what the events say. */
import { serveCursorWorker } from "../../../delivery/worker.ts";

let sum = 0;
serveCursorWorker<{ last: number }>((batch, { init, witness }) => {
  for (const event of batch) sum += (event.payload as { n: number }).n;
  const [last] = batch.slice(-1);
  if ((last.payload as { n: number }).n < init.last) return "continue";
  if (witness?.checkpointId !== "single-file") throw new Error("no witness");
  (globalThis as unknown as Worker).postMessage({ sum });
  return "stop";
});
