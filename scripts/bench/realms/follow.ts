/**
 * A handler in a realm of its own: adds up the totals of all orders, and says the sum to whoever started
 * the realm.
 *
 * @module
 */
import { serveCursorWorker } from "../../../delivery/worker.ts";
import { type FollowTask, totalsHandler } from "../followers.ts";

const scope = globalThis as unknown as { postMessage(message: unknown): void };
let handler: ReturnType<typeof totalsHandler> | undefined;

serveCursorWorker<FollowTask>((batch, { init }) => {
  handler ??= totalsHandler(init, (sum) => scope.postMessage({ sum }));
  return handler(batch);
});
