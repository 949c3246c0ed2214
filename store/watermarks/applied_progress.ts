/**
 * How far each projection has come, and what that makes of the `applied` watermark: as far as the
 * slowest of them.
 *
 * @module
 */

import { compareBySequence, type HlcPoint, maxBySequence } from "./hlc_point.ts";
import type { Watermarks } from "./watermarks.ts";

/** The registry of the projections of one open store. */
export class AppliedProgress {
  readonly #watermarks: Watermarks;
  readonly #projections = new Map<string, HlcPoint>();
  readonly #lanes = new Map<number, Map<string, HlcPoint>>();

  /**
   * Made by the store.
   *
   * @internal
   */
  constructor(watermarks: Watermarks) {
    this.#watermarks = watermarks;
  }

  /** The id of a projection of an entity: projections of different types are different ones. */
  static idOf(type: string, entity: string): string {
    return `${type}:${entity}`;
  }

  /**
   * Takes a projection in at the place where `applied` is now, and so holds it there until the projection
   * is heard of. One that is known stays where it is.
   */
  register(id: string): void {
    if (!this.#projections.has(id)) {
      this.#projections.set(id, this.#watermarks.point("applied"));
    }
  }

  /** As {@linkcode register}, for a projection of an entity. */
  registerFor(type: string, entity: string): void {
    this.register(AppliedProgress.idOf(type, entity));
  }

  /**
   * A projection has come to this point of the journal. The first word of one that nobody knew may take
   * `applied` back to where it is; after that it never goes back.
   */
  notifyApplied(id: string, point: HlcPoint): void {
    raise(this.#projections, id, point);
    this.#update();
  }

  /**
   * A projection has come to this point on a lane. One that nobody knew starts where `applied` is, so
   * that it takes nothing back.
   */
  notifyAppliedOnLane(id: string, lane: number, point: HlcPoint): void {
    this.register(id);
    let known = this.#lanes.get(lane);
    if (known === undefined) this.#lanes.set(lane, known = new Map());
    if (!known.has(id)) known.set(id, this.#watermarks.point("applied", lane));
    raise(this.#projections, id, point);
    raise(known, id, point);
    this.#update();
    const { wallMs, globalSequence } = lowestOf(known);
    this.#watermarks.setAppliedOnLane(lane, wallMs, globalSequence);
  }

  /** Lets a projection go. When it was the last one, `applied` stays where it is. */
  unregister(id: string): void {
    this.#projections.delete(id);
    for (const known of this.#lanes.values()) known.delete(id);
    if (this.#projections.size > 0) this.#update();
  }

  #update(): void {
    const { wallMs, globalSequence } = lowestOf(this.#projections);
    this.#watermarks.setApplied(wallMs, globalSequence);
  }
}

function raise(points: Map<string, HlcPoint>, id: string, point: HlcPoint): void {
  const known = points.get(id);
  points.set(id, known === undefined ? point : maxBySequence(known, point));
}

/** @param points at least one. */
function lowestOf(points: ReadonlyMap<string, HlcPoint>): HlcPoint {
  let lowest: HlcPoint | undefined;
  for (const point of points.values()) {
    if (lowest === undefined || compareBySequence(point, lowest) < 0) lowest = point;
  }
  return lowest as HlcPoint;
}
