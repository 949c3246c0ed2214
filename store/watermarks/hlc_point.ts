/**
 * Points in the history of a journal: a place in its sequence, and the wall time of the event there.
 *
 * Two orders exist, and using the wrong one is the classic mistake. The **sequence axis** looks at
 * `globalSequence` alone: every watermark, wait and invariant goes by it. The **lattice order** looks
 * at `wallMs` first: it is for comparing points of different runs. They differ where the wall clock of
 * a later event is behind that of an earlier one.
 *
 * @module
 */

/** A place in the journal and the wall time that belongs to it. Inclusive: the event there counts. */
export interface HlcPoint {
  /** Milliseconds since the Unix epoch. */
  readonly wallMs: number;
  /** The place in the whole journal. */
  readonly globalSequence: number;
}

/** Before anything happened. */
export const HLC_ORIGIN: HlcPoint = Object.freeze({ wallMs: 0, globalSequence: 0 });

/**
 * Compares in lattice order: by `wallMs`, and where those are equal by `globalSequence`. Negative when
 * `a` comes first, so it can sort.
 *
 * @example The wall clock counts first
 * ```ts
 * import { compareHlc } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const before = { wallMs: 1, globalSequence: 10 };
 * const after = { wallMs: 9_999, globalSequence: 5 };
 * assert.ok(compareHlc(before, after) < 0);
 * ```
 */
export function compareHlc(a: HlcPoint, b: HlcPoint): number {
  return a.wallMs - b.wallMs || a.globalSequence - b.globalSequence;
}

/** The later of two points in lattice order: their join. */
export function maxHlc(a: HlcPoint, b: HlcPoint): HlcPoint {
  return compareHlc(a, b) >= 0 ? a : b;
}

/** The earlier of two points in lattice order: their meet. */
export function minHlc(a: HlcPoint, b: HlcPoint): HlcPoint {
  return compareHlc(a, b) <= 0 ? a : b;
}

/** Whether a watermark at `point` has come as far as `target`. Being equal is enough. */
export function covers(point: HlcPoint, target: HlcPoint): boolean {
  return point.globalSequence >= target.globalSequence;
}

/** The point further on in the sequence; of two at the same place the one that is later in lattice order. */
export function maxBySequence(a: HlcPoint, b: HlcPoint): HlcPoint {
  return compareBySequence(a, b) >= 0 ? a : b;
}

/** The point less far on in the sequence; of two at the same place the one that is earlier in lattice order. */
export function minBySequence(a: HlcPoint, b: HlcPoint): HlcPoint {
  return compareBySequence(a, b) <= 0 ? a : b;
}

/** Compares on the sequence axis; wall times decide between points at the same place. */
export function compareBySequence(a: HlcPoint, b: HlcPoint): number {
  return a.globalSequence - b.globalSequence || a.wallMs - b.wallMs;
}
