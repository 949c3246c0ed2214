/**
 * A handler that is a function in this realm.
 *
 * @module
 */

import { assert } from "../store/assert.ts";
import type { JournalReader } from "../store/journal_reader.ts";
import type { StoredEvent } from "../store/stored_event.ts";
import {
  type CursorWorkerAction,
  type CursorWorkerContext,
  HandlerCrash,
  type HandlerUnit,
} from "./handler_unit.ts";

/**
 * Handles a batch, which is never empty, and says what came of it. What it throws is a crash, and so is
 * returning anything but an action: silence must not commit.
 */
export type CursorWorkerHandler<
  S extends JournalReader = JournalReader,
  Action extends CursorWorkerAction = CursorWorkerAction,
> = (
  batch: readonly StoredEvent[],
  context: CursorWorkerContext<S>,
) => Action | Promise<Action>;

/** Calls a function. It lives as long as this realm, so it never dies. */
export class FunctionUnit implements HandlerUnit {
  #handler: CursorWorkerHandler | undefined;
  #context: CursorWorkerContext | undefined;

  /** Calls `handler`, and holds on to it until {@linkcode close}. */
  constructor(handler: CursorWorkerHandler) {
    this.#handler = handler;
  }

  /** As {@linkcode HandlerUnit.start}. */
  start(context: CursorWorkerContext): Promise<void> {
    this.#context = context;
    return Promise.resolve();
  }

  /** As {@linkcode HandlerUnit.handle}. */
  async handle(batch: readonly StoredEvent[]): Promise<unknown> {
    const handler = this.#handler;
    const context = this.#context;
    assert(handler !== undefined && context !== undefined, "a batch comes between start and close");
    try {
      return await handler(batch, context);
    } catch (error) {
      throw HandlerCrash.of(error);
    }
  }

  /** As {@linkcode HandlerUnit.revive}. */
  revive(): Promise<boolean> {
    return Promise.resolve(false);
  }

  /** As {@linkcode HandlerUnit.close}. */
  close(): Promise<void> {
    this.#handler = undefined;
    this.#context = undefined;
    return Promise.resolve();
  }
}
