/**
 * Where the frames of some events are, in a form that goes to another realm in one piece, so that it can
 * read them from the files by itself.
 *
 * @module
 */

import { EventPrunedError } from "./errors.ts";
import type { EventSource, StoredEvent } from "./stored_event.ts";

/** Numbers for each frame: the sequence of its event, its offset in the file, and its size in bytes. */
export const NUMBERS_PER_FRAME = 3;

/** A file that some of the frames are in. */
export interface PlacedSegment {
  /** Its id. */
  readonly id: number;
  /** The file, by the name it has now. */
  readonly path: string;
  /** CRC-32 of its header: what tells it from another file under its name. */
  readonly headerCrc: number;
  /** Bytes of its header. */
  readonly headerSize: number;
  /** How many of the frames it has. */
  readonly count: number;
}

/** Where frames are. Holds until a compaction or a prune moves them. */
export interface FramePlaces {
  /** The files, in the order of the frames. */
  readonly segments: readonly PlacedSegment[];
  /** {@linkcode NUMBERS_PER_FRAME} numbers for each frame. */
  readonly frames: Float64Array<ArrayBuffer>;
}

/**
 * Finds the frames of events of one journal.
 *
 * @throws {EventPrunedError} when one of them is gone.
 */
export function framePlacesOf(
  { index, log, firstSequence }: EventSource,
  events: readonly StoredEvent[],
): FramePlaces {
  const frames = new Float64Array(events.length * NUMBERS_PER_FRAME);
  const segments: { -readonly [K in keyof PlacedSegment]: PlacedSegment[K] }[] = [];
  let segmentIndex = -1;
  for (let i = 0; i < events.length; i++) {
    const { globalSequence } = events[i];
    const row = globalSequence - firstSequence;
    if (row < index.firstRow) throw new EventPrunedError(globalSequence);
    const at = log.segmentIndexOf(row);
    if (at !== segmentIndex) {
      const { id, path, headerCrc, framesStart } = log.segments[at];
      segments.push({ id, path, headerCrc, headerSize: framesStart, count: 0 });
      segmentIndex = at;
    }
    segments[segments.length - 1].count++;
    const offset = index.offsetOf(row);
    frames[i * NUMBERS_PER_FRAME] = globalSequence;
    frames[i * NUMBERS_PER_FRAME + 1] = offset;
    frames[i * NUMBERS_PER_FRAME + 2] = log.frameEndOf(row, at) - offset;
  }
  return { segments, frames };
}
