// What the compiler takes for a handler. `deno check` is the test; at run time nothing here is called.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type CursorRealmContext,
  type CursorWorkerAction,
  serveCursorWorker,
} from "../delivery/worker.ts";
import { startCursorWorker, type Store } from "../mod.ts";

interface Settings {
  readonly from: string;
}

/** Every way to write a handler that does its work and goes on, of which README shows one. */
function handlers(store: Store): void {
  const send = (...words: unknown[]) => Promise.resolve(words);
  serveCursorWorker(async (batch) => {
    for (const event of batch) await send(event.payload);
    return "continue";
  });
  serveCursorWorker(async (batch, { init }: CursorRealmContext<Settings>) => {
    for (const event of batch) await send(init.from, event.payload);
    return "continue";
  });
  serveCursorWorker<Settings>((batch, { init, signal }) => {
    void send(init.from, batch);
    return signal.aborted ? "stop" : "continue";
  });
  serveCursorWorker(async (): Promise<CursorWorkerAction> => {
    await send();
    return "stopWithRollback";
  });
  // @ts-expect-error a word that is no action
  serveCursorWorker(() => "done");
  // @ts-expect-error silence commits nothing
  serveCursorWorker(async () => void await send());
  startCursorWorker(store, {}, {}, async (batch) => {
    await send(batch);
    return "continue";
  });
  // @ts-expect-error a word that is no action
  startCursorWorker(store, {}, {}, () => "done");
}

test("the types of handlers are what they should be", () => {
  assert.equal(typeof handlers, "function");
});
