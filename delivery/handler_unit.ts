/**
 * What a supervised cursor worker drives: a handler, wherever it runs. The supervisor owns the cursor, the
 * checkpoint, the restart budget and the handle; a unit only hands over batches and says what came of it.
 *
 * @module
 */

import type { StoredEvent } from "../store/stored_event.ts";

/**
 * What a handler says about the batch it was given.
 *
 * - `"continue"`: it is done; commit it and go on.
 * - `"stop"`: it is done; commit it and end.
 * - `"stopWithRollback"`: it is not done; end, and let the next worker have it again.
 */
export type CursorWorkerAction = "continue" | "stop" | "stopWithRollback";

/** The handler threw. The unit itself is alive, and can be given the batch again. */
export class HandlerCrash extends Error {
  /** The class, for messages and logs. */
  override readonly name = "HandlerCrash";
}

/** The realm of the handler is gone: it died, hung, or could not be started. */
export class UnitDeath extends Error {
  /** The class, for messages and logs. */
  override readonly name = "UnitDeath";
}

/** A handler in this realm or in another one. One batch at a time. */
export interface HandlerUnit {
  /**
   * Gets ready for the first batch. Called once.
   *
   * @throws {UnitDeath} when it cannot.
   */
  start(): Promise<void>;
  /**
   * Hands over a batch, which is never empty, and waits until the handler has settled it.
   *
   * @throws {HandlerCrash} when the handler threw.
   * @throws {UnitDeath} when its realm died or hung: it may or may not have handled the batch.
   */
  handle(batch: readonly StoredEvent[]): Promise<CursorWorkerAction>;
  /**
   * Gets ready again after a death, when the restart budget allows it.
   *
   * @returns whether it could: a realm that was handed in as it is cannot be started again.
   */
  revive(): Promise<boolean>;
  /** Ends it, whatever state it is in. Called once, last. */
  close(): Promise<void>;
}
