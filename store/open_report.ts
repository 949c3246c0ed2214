/**
 * What opening a journal found and did. A writable open records it as the payload of its
 * `SYSTEM_OPEN_COMPLETED` event, so the journal remembers its own repairs.
 *
 * @module
 */

import type { Repair } from "./recovery.ts";

/** What opening a journal found and did. */
export interface OpenReport {
  /** Where the index came from: `"frames"` means that every frame was read and checked. */
  readonly path: "frames";
  /** `"write"`, or `"read"` beside whoever writes. */
  readonly mode: "write" | "read";
  /** Segments found. */
  readonly segments: number;
  /** Events restored, before the event that this open itself adds. */
  readonly restoredEntries: number;
  /** Bytes of frames that were read. */
  readonly scannedBytes: number;
  /** Microseconds the whole open took, on the monotonic clock. */
  readonly elapsedUs: number;
  /** Microseconds of it spent on reading frames and building the index. */
  readonly phaseRestoreIndexUs: number;
  /** What recovery cut off the end; empty after a clean close. */
  readonly repairs: readonly Repair[];
  /** What else was odd and harmless, in words: leftovers of an interrupted write, foreign names. */
  readonly oddities: readonly string[];
}
