/**
 * A handler in a realm of its own that notes how late it gets each event.
 *
 * @module
 */
import { serveCursorWorker } from "../../../delivery/worker.ts";
import { latenessHandler, type WakeTask } from "../wake_ups.ts";

const scope = globalThis as unknown as { postMessage(message: unknown): void };
let handler: ReturnType<typeof latenessHandler> | undefined;

serveCursorWorker<WakeTask>((batch, { init }) => {
  handler ??= latenessHandler(init, (latenessUs) => scope.postMessage({ latenessUs }));
  return handler(batch);
});
