/**
 * Indexes and footers made without a journal: from events as a test says them.
 *
 * @module
 */
import { EventIndex } from "../../store/index/event_index.ts";
import {
  encodeFrame,
  FRAME_HEADER_SIZE,
  FrameDraft,
  frameSizeBound,
  sealFrame,
} from "../../store/frame.ts";

/** An event, as far as an index knows it. */
export interface Row {
  readonly id: Uint8Array;
  readonly entity: string;
  readonly scope: string;
  readonly lane: number;
  readonly clock: number;
  readonly kind: number;
  readonly tags: readonly string[];
  readonly cause?: Uint8Array;
  /** Where its frame starts. */
  readonly offset: number;
}

/** The index of these events, filled as by a reader of frames. */
export function indexOfRows(rows: readonly Row[]): EventIndex {
  const index = new EventIndex();
  for (const row of rows) addRow(index, row);
  return index;
}

/** Adds an event from the bytes of a frame. */
export function addRow(index: EventIndex, row: Row): void {
  const draft = new FrameDraft();
  draft.eventId.set(row.id);
  if (row.cause !== undefined) draft.causationId.set(row.cause);
  draft.entity = row.entity;
  draft.scope = row.scope;
  draft.lane = row.lane;
  draft.clock = row.clock;
  draft.kind = row.kind;
  draft.tags = row.tags;
  const bytes = new Uint8Array(frameSizeBound(draft));
  sealFrame(bytes, 0, encodeFrame(draft, bytes, 0), draft.payload);
  index.add(bytes, FRAME_HEADER_SIZE, row.offset, undefined);
}

/** Sixteen bytes that end in `n`. */
export function idOf(n: number): Uint8Array {
  const id = new Uint8Array(16);
  id[0] = 1;
  new DataView(id.buffer).setUint32(12, n);
  return id;
}

/** The clocks that chains give their events, and frames one behind the other from `framesStart`. */
export function placed(
  events: readonly (Pick<Row, "entity" | "scope" | "lane" | "kind" | "tags"> & {
    readonly cause?: number;
  })[],
  framesStart: number,
): Row[] {
  const clocks = new Map<string, number>();
  return events.map(({ cause, ...event }, i) => {
    const chain = `${event.lane} ${event.entity}`;
    const clock = clocks.get(chain) ?? 0;
    clocks.set(chain, clock + 1);
    return {
      ...event,
      id: idOf(i + 1),
      cause: cause === undefined ? undefined : idOf(cause + 1),
      clock,
      offset: framesStart + i * 300,
    };
  });
}
