/**
 * What every consumer that runs in the background has in common.
 *
 * @module
 */

/** The handle of something that consumes a journal in the background. */
export interface CanalHandle {
  /** Asks it to end after what it is doing now. Returns at once; a second call does nothing. */
  stop(): void;
  /** Waits until it has ended by itself; never asks it to. Rejects with what went wrong, if something did. */
  join(): Promise<void>;
  /** Asks it to end, and waits until it has. */
  stopAndJoin(): Promise<void>;
}
