/**
 * The frontier: how far each of the six watermarks has come, seen at one moment.
 *
 * A view is taken in one piece, so what holds between the watermarks holds in it, and each view is
 * checked for that. On the sequence axis, for the journal and for each lane:
 *
 * ```
 * accepted ≥ written ≥ durable        accepted ≥ visible ≥ applied        emitted ≥ visible
 * ```
 *
 * and no lane is durable further than the journal. `visible` may be ahead of `durable`, while a sync is
 * not due yet, or behind it, while a fence hides what it stages.
 *
 * @module
 */

import { StoreError } from "../errors.ts";
import type { HlcPoint } from "./hlc_point.ts";

/**
 * How far something has come:
 *
 * - `accepted`: an event has its place in the journal
 * - `written`: the system has its bytes, so it survives the death of the program
 * - `durable`: a sync has covered it, so it survives a power cut
 * - `visible`: readers may see it
 * - `applied`: every projection that takes part has taken it in
 * - `emitted`: whoever listens has been told
 */
export type WatermarkKind =
  | "accepted"
  | "written"
  | "durable"
  | "visible"
  | "applied"
  | "emitted";

/** The kinds in the order they are stored. */
export const WATERMARK_KINDS: readonly WatermarkKind[] = [
  "accepted",
  "written",
  "durable",
  "visible",
  "applied",
  "emitted",
];

/** A watermark's place among the six. */
export const ACCEPTED = 0;
/** See {@linkcode ACCEPTED}. */
export const WRITTEN = 1;
/** See {@linkcode ACCEPTED}. */
export const DURABLE = 2;
/** See {@linkcode ACCEPTED}. */
export const VISIBLE = 3;
/** See {@linkcode ACCEPTED}. */
export const APPLIED = 4;
/** See {@linkcode ACCEPTED}. */
export const EMITTED = 5;

/** Two watermarks contradict each other: a bug in batpak, or shared memory that somebody wrote to. */
export class InvariantViolationError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "InvariantViolationError";
  /** Stable, for programs. */
  override readonly code = "INVARIANT_VIOLATION";
  /** What should hold, as in `"written >= durable"`. */
  readonly invariant: string;
  /** The lane; `undefined` for the journal as a whole. */
  readonly lane: number | undefined;
  /** The sequence that should be the higher one, or equal. */
  readonly higher: number;
  /** The sequence that should be the lower one, or equal. */
  readonly lower: number;

  /**
   * Says what happened.
   *
   * @param options which invariant, where, and both sequences.
   */
  constructor(options: { invariant: string; lane?: number; higher: number; lower: number }) {
    const { invariant, lane, higher, lower } = options;
    const where = lane === undefined ? "" : ` on lane ${lane}`;
    super(
      `Cannot trust the frontier${where}: ${invariant} does not hold between ${higher} and ${lower}`,
    );
    this.invariant = invariant;
    this.lane = lane;
    this.higher = higher;
    this.lower = lower;
  }
}

/** The six watermarks of a lane. */
export interface LaneFrontierView extends Readonly<Record<WatermarkKind, HlcPoint>> {
  /** The lane. */
  readonly lane: number;
  /** By how many sequences `visible` is ahead of `durable`; negative when it is behind. */
  readonly visibleMinusDurableSeq: number;
}

/** The six watermarks of a journal and of its lanes, at one moment. */
export class FrontierView implements Readonly<Record<WatermarkKind, HlcPoint>> {
  /** The newest event that has its place. */
  readonly accepted: HlcPoint;
  /** The newest event that the system has. */
  readonly written: HlcPoint;
  /** The newest event that survives a power cut, and all before it do. */
  readonly durable: HlcPoint;
  /** The newest event that readers may see. */
  readonly visible: HlcPoint;
  /** How far every projection that takes part has come. */
  readonly applied: HlcPoint;
  /** The newest event that listeners have been told of. */
  readonly emitted: HlcPoint;
  /** By how many sequences `visible` is ahead of `durable`; negative when it is behind. */
  readonly visibleMinusDurableSeq: number;
  /** The lanes that have moved, in ascending order. */
  readonly lanes: readonly LaneFrontierView[];
  /**
   * Whether `lanes` has all of them. Only a view from shared memory can lack some: the store has had
   * more lanes than fit there. Ask its host then.
   */
  readonly lanesComplete: boolean;
  /** For how long the oldest event that is not durable has been waiting; `null` when there is none. */
  readonly oldestPendingWriteAgeMs: number | null;

  /**
   * Copies a view out of memory and checks it.
   *
   * @internal
   * @throws {InvariantViolationError} when watermarks contradict each other.
   */
  constructor(source: FrontierSource) {
    const { points, lanes } = source;
    checkPoints(points, 0, undefined);
    this.accepted = pointAt(points, 0, ACCEPTED);
    this.written = pointAt(points, 0, WRITTEN);
    this.durable = pointAt(points, 0, DURABLE);
    this.visible = pointAt(points, 0, VISIBLE);
    this.applied = pointAt(points, 0, APPLIED);
    this.emitted = pointAt(points, 0, EMITTED);
    this.visibleMinusDurableSeq = this.visible.globalSequence - this.durable.globalSequence;
    this.lanes = lanes.map((lane) => laneView(lane, this.durable)).sort((a, b) => a.lane - b.lane);
    this.lanesComplete = source.lanesComplete;
    this.oldestPendingWriteAgeMs = source.oldestPendingWriteAgeMs;
  }

  /**
   * The watermarks of a lane; `undefined` when it is not in the view, because nothing has happened there,
   * or because `lanesComplete` is false.
   */
  lane(lane: number): LaneFrontierView | undefined {
    return this.lanes.find((view) => view.lane === lane);
  }
}

/** Six points in memory: a wall time and a sequence for each kind, from `base` on. */
export interface LanePoints {
  readonly lane: number;
  readonly points: Float64Array;
  readonly base: number;
}

/** What a view is made of. Nothing may write to it meanwhile. */
export interface FrontierSource {
  readonly points: Float64Array;
  readonly lanes: readonly LanePoints[];
  readonly lanesComplete: boolean;
  readonly oldestPendingWriteAgeMs: number | null;
}

/** Reads a point out of memory. */
export function pointAt(points: Float64Array, base: number, kind: number): HlcPoint {
  const index = base + kind * 2;
  return { wallMs: points[index], globalSequence: points[index + 1] };
}

function laneView({ lane, points, base }: LanePoints, durable: HlcPoint): LaneFrontierView {
  checkPoints(points, base, lane);
  const view = {
    lane,
    accepted: pointAt(points, base, ACCEPTED),
    written: pointAt(points, base, WRITTEN),
    durable: pointAt(points, base, DURABLE),
    visible: pointAt(points, base, VISIBLE),
    applied: pointAt(points, base, APPLIED),
    emitted: pointAt(points, base, EMITTED),
  };
  const higher = durable.globalSequence;
  const lower = view.durable.globalSequence;
  if (higher < lower) {
    throw new InvariantViolationError({
      invariant: "durable of the journal >= durable of the lane",
      lane,
      higher,
      lower,
    });
  }
  return { ...view, visibleMinusDurableSeq: view.visible.globalSequence - lower };
}

/** Pairs of watermarks of which the first is never behind the second. */
const ORDERED: readonly (readonly [number, number])[] = [
  [ACCEPTED, WRITTEN],
  [WRITTEN, DURABLE],
  [ACCEPTED, VISIBLE],
  [VISIBLE, APPLIED],
  [EMITTED, VISIBLE],
];

function checkPoints(points: Float64Array, base: number, lane: number | undefined): void {
  for (const [first, second] of ORDERED) {
    const higher = points[base + first * 2 + 1];
    const lower = points[base + second * 2 + 1];
    if (!(higher >= lower)) {
      const invariant = `${WATERMARK_KINDS[first]} >= ${WATERMARK_KINDS[second]}`;
      throw new InvariantViolationError({ invariant, lane, higher, lower });
    }
  }
}
