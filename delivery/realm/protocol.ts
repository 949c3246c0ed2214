/**
 * What a host and the realm of a cursor worker say to each other.
 *
 * ```
 * realm → host   hello        here I am, and I speak this version
 * host  → realm  greet        are you there? (a hello that nobody heard is said again)
 *                start        everything but events           → ready, or failed
 *                batch        where the frames are            → settled, crashed or unreadable
 *                stop         the worker was told to stop: no answer
 *                end          that was all: the realm ends
 * ```
 *
 * The messages go over the worker's own line, beside whatever the user's program sends there, so each of
 * them says whose it is. One batch is under way at a time, and its number comes back with the answer.
 * A hello, a greeting and a failed answer are never changed in another version: they are what two
 * versions need to find out that they do not fit.
 *
 * @module
 */

import type { CursorGapConfig, GapObservation } from "../../store/cursor_gaps.ts";
import type { PlacedSegment } from "../../store/frame_places.ts";

/** The version of all of this. A host and a realm work together only when it is the same. */
export const PROTOCOL_VERSION = 1;

/** Whose messages these are. */
const TAG = "batpak:cursor-worker";

/** The word of the control block that is 1 once the worker has been told to stop. */
export const STOP_WORD = 0;
/** Words in the control block. */
export const CONTROL_WORD_COUNT = 1;

/** What the host says. */
export type HostMessage =
  | { readonly type: "greet" }
  | {
    readonly type: "start";
    readonly version: number;
    /** The user's data. */
    readonly init: unknown;
    /** What the realm mints its witness from; absent without a checkpoint. */
    readonly checkpointId: string | undefined;
    /** How many gaps the realm keeps for its handler. */
    readonly gaps: CursorGapConfig;
    /** Words that both share. */
    readonly control: SharedArrayBuffer;
    /** The lock that the realm holds for as long as it lives. */
    readonly lifeline: string;
  }
  | {
    readonly type: "batch";
    readonly number: number;
    readonly segments: readonly PlacedSegment[];
    readonly frames: Float64Array<ArrayBuffer>;
    /** Observed since the batch before. */
    readonly gaps: readonly GapObservation[];
  }
  | { readonly type: "stop" }
  | { readonly type: "end" };

/** What the realm says. */
export type RealmMessage =
  | { readonly type: "hello"; readonly version: number }
  | { readonly type: "ready" }
  | { readonly type: "failed"; readonly text: string }
  /** The handler returned this, or a description of what cannot be sent. */
  | { readonly type: "settled"; readonly number: number; readonly result: unknown }
  | { readonly type: "crashed"; readonly number: number; readonly text: string }
  | { readonly type: "unreadable"; readonly number: number; readonly problem: FrameProblem };

/** Why a frame could not be read where it was said to be. The handler was not called. */
export interface FrameProblem {
  /** The event. */
  readonly sequence: number;
  /** The file it was looked for in. */
  readonly path: string;
  readonly segmentId: number;
  /** CRC-32 of the header that was expected. */
  readonly headerCrc: number;
  /** Where it was looked for. */
  readonly offset: number;
  /** What was there instead; or what the system said, with its code. */
  readonly reason: string;
  /** Only when the system refused. */
  readonly fault?: { readonly code: string; readonly op: string };
}

/** A message as it goes over the line. */
export function tagged<T extends HostMessage | RealmMessage>(message: T): T & { batpak: string } {
  return { batpak: TAG, ...message };
}

/** The message in what came over the line, or `undefined` when it is somebody else's. */
export function untagged<T extends HostMessage | RealmMessage>(data: unknown): T | undefined {
  if (typeof data !== "object" || data === null) return undefined;
  return (data as { batpak?: unknown }).batpak === TAG ? data as T : undefined;
}

/** What to say to a realm or host of another version. */
export function versionText(other: unknown): string {
  return `the worker's file and the program around it come from different versions of batpak ` +
    `(protocols ${other} and ${PROTOCOL_VERSION}): build both with the same one`;
}
