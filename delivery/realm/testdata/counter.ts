/**
 * The realm of a cursor worker for measuring: counts, and decodes payloads when it is told to.
 *
 * @module
 */
import { serveCursorWorker } from "../../worker.ts";

let sum = 0;
serveCursorWorker<{ readonly decodes: boolean }>((batch, { init }) => {
  for (const event of batch) sum += init.decodes ? (event.payload as { total: number }).total : 1;
  return "continue";
});
