/**
 * What opening a journal found and did. A writable open records it as the payload of its
 * `SYSTEM_OPEN_COMPLETED` event, so the journal remembers its own repairs.
 *
 * @module
 */

import type { Repair } from "./recovery.ts";

/**
 * What became of `index.fbati`: `"ignored"` when it could not be used, and then `oddities` says why;
 * `"notTried"` when an option or a pending repair forbade it.
 */
export type IndexFileStatus = "loaded" | "missing" | "ignored" | "notTried";

/** What opening a journal found and did. */
export interface OpenReport {
  /**
   * The best that the index came from: `"index"` is `index.fbati`, `"footers"` are the footers of sealed
   * segments, `"frames"` means that every frame was read and checked.
   */
  readonly path: "index" | "footers" | "frames";
  /** Pieces the index was put together from: the index file, each footer, and one for all frames. */
  readonly chunks: number;
  /** `"write"`, or `"read"` beside whoever writes. */
  readonly mode: "write" | "read";
  /** Segments found. */
  readonly segments: number;
  /** Events restored, before the event that this open itself adds. */
  readonly restoredEntries: number;
  /** Events of them that the index file gave. */
  readonly indexFileEntries: number;
  /** Events of them that footers gave. */
  readonly footerEntries: number;
  /** Events of them that were read from their frames. */
  readonly tailEntries: number;
  /** What became of the index file. */
  readonly indexFile: IndexFileStatus;
  /** Bytes of frames that were read. */
  readonly scannedBytes: number;
  /** Microseconds the whole open took, on the monotonic clock. */
  readonly elapsedUs: number;
  /** Microseconds of it until the index was complete. */
  readonly phaseRestoreIndexUs: number;
  /** Microseconds spent on the index file. */
  readonly phaseIndexFileUs: number;
  /** Microseconds spent on footers. */
  readonly phaseFootersUs: number;
  /** Microseconds spent on headers and frames. */
  readonly phaseFramesUs: number;
  /** What recovery cut off the end; empty after a clean close. */
  readonly repairs: readonly Repair[];
  /** What else was odd and harmless, in words: leftovers of an interrupted write, foreign names. */
  readonly oddities: readonly string[];
  /**
   * How often each kind occurs that is reserved to the store and that this program does not know, by
   * its text form: a newer program wrote them. They are kept and read like any other.
   */
  readonly unknownReservedKinds: Readonly<Record<string, number>>;
}
