/**
 * Where the watermarks of an opened journal start: what has been read is accepted, written and durable, and
 * of it readers see what no fence hides.
 *
 * @module
 */

import { CorruptionError } from "../errors.ts";
import { timestampOf } from "../frame.ts";
import type { EventSource } from "../stored_event.ts";
import { HLC_ORIGIN, type HlcPoint } from "./hlc_point.ts";
import type { FrontierBootstrap, LaneBootstrap } from "./watermarks.ts";

/**
 * The start of a journal as it is in the index. Reads one frame for the journal, and one for each lane, or two
 * where its newest event is hidden.
 */
export function bootstrapOf(source: EventSource): FrontierBootstrap {
  const { index } = source;
  let visibleRow = index.visibleCount - 1;
  while (visibleRow >= index.firstRow && index.isHidden(visibleRow)) visibleRow--;
  // The store's own events are on lane 0, and the newest of all is nearly always one of them or near it.
  const lanes: LaneBootstrap[] = [mainLane(source)];
  for (const [lane, rows] of index.sideLanes()) {
    lanes.push({ lane, ...pointsOf(source, rows.last, rows.visible) });
  }
  return { ...pointsOf(source, index.count - 1, visibleRow), lanes };
}

/** Walks back from the end to the newest event on lane 0. */
function mainLane(source: EventSource): LaneBootstrap {
  const { index } = source;
  const isMain = (row: number) => index.laneOf(index.chainOf(row)) === 0;
  let last = index.count - 1;
  while (last >= index.firstRow && !isMain(last)) last--;
  let visible = last;
  while (visible >= index.firstRow && (!isMain(visible) || index.isHidden(visible))) visible--;
  return { lane: 0, ...pointsOf(source, last, visible) };
}

/** The points of the newest row and of the newest visible one, which are nearly always one and the same. */
function pointsOf(
  source: EventSource,
  last: number,
  visible: number,
): { durable: HlcPoint; visible: HlcPoint } {
  const durable = pointOf(source, last);
  return { durable, visible: visible === last ? durable : pointOf(source, visible) };
}

/**
 * The point of an event; the origin when there is no such row. The newest event of a lane may be an old one,
 * and opening does not look at old frames: one that is damaged has no time, and refuses nothing.
 */
function pointOf({ index, log, firstSequence }: EventSource, row: number): HlcPoint {
  if (row < index.firstRow) return HLC_ORIGIN;
  let wallMs = 0;
  try {
    const body = log.locate(row);
    wallMs = Math.floor(timestampOf(log.located, body) / 1000);
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error;
  }
  return { wallMs, globalSequence: firstSequence + row };
}
