/**
 * What a supervised cursor worker drives: a handler, wherever it runs. The supervisor owns the cursor, the
 * checkpoint, the restart budget and the handle; a unit only hands over batches and says what came of it.
 *
 * The calls come one at a time and in this order: `start` once, unless the worker is told to stop before;
 * then `handle`, again and again; `revive` only after a `handle` that ended in a {@linkcode UnitDeath}; and
 * `close` once, last, in any case.
 *
 * @module
 */

import type { GapObservation } from "../store/cursor_gaps.ts";
import type { JournalReader } from "../store/journal_reader.ts";
import type { StoredEvent } from "../store/stored_event.ts";
import { crashText } from "./crash_text.ts";
import type { AtLeastOnce } from "./witness.ts";

/**
 * What a handler says about the batch it was given.
 *
 * - `"continue"`: it is done; commit it and go on.
 * - `"stop"`: it is done; commit it and end.
 * - `"stopWithRollback"`: it is not done; end, and let the next worker have it again.
 */
export type CursorWorkerAction = "continue" | "stop" | "stopWithRollback";

/** What a handler has at hand, the same for every batch of a worker's life. */
export interface CursorWorkerContext<S extends JournalReader = JournalReader> {
  /** The store that the worker follows. Reading it, and appending to it, is fine. */
  readonly store: S;
  /**
   * Proof that the events are delivered at least once, when the worker has a checkpoint. Half of an effect
   * that is done exactly once; a key of the handler's own is the other.
   */
  readonly witness: AtLeastOnce | undefined;
  /** The gaps observed since the last call, when the worker observes them. A crash forgets them. */
  takeGaps(): GapObservation[];
  /** Aborts when the worker is told to stop. The batch is still settled as the handler says. */
  readonly signal: AbortSignal;
}

/** The handler threw. The unit itself is alive, and can be given the batch again. */
export class HandlerCrash extends Error {
  /** The class, for messages and logs. */
  override readonly name = "HandlerCrash";

  /**
   * Says what was thrown.
   *
   * @param text as {@linkcode crashText} gives it; `cause` is what was thrown, where it is at hand.
   */
  constructor(text: string, options?: ErrorOptions) {
    super(text, options);
  }

  /** The crash of a handler that threw this. */
  static of(thrown: unknown): HandlerCrash {
    return new HandlerCrash(crashText(thrown), { cause: thrown });
  }
}

/** The realm of the handler is gone: it died, hung, or could not be started. The message says which. */
export class UnitDeath extends Error {
  /** The class, for messages and logs. */
  override readonly name = "UnitDeath";
}

/** A handler in this realm or in another one. One batch at a time. */
export interface HandlerUnit {
  /**
   * Gets ready for the first batch. May give up, without an error, when `context.signal` aborts: no batch
   * will come.
   *
   * @throws {UnitDeath} when it cannot.
   */
  start(context: CursorWorkerContext): Promise<void>;
  /**
   * Hands over a batch, which is never empty, and waits until the handler has settled it. What the
   * handler returned is passed on as it is: the supervisor takes what is no action for a crash.
   *
   * @throws {HandlerCrash} when the handler threw.
   * @throws {UnitDeath} when its realm died or hung: it may or may not have handled the batch.
   */
  handle(batch: readonly StoredEvent[]): Promise<unknown>;
  /**
   * Gets ready again after a death, when the restart budget allows it.
   *
   * @returns whether it could: a realm that was handed in as it is cannot be started again.
   */
  revive(): Promise<boolean>;
  /** Ends it, whatever state it is in, also when it was never started. Called once, last. */
  close(): Promise<void>;
}
