/**
 * How far each projection has come, and what that makes of the `applied` watermark: as far as the
 * slowest of them.
 *
 * A projection counts from its first run on, one for each entity, so there may be very many: what is
 * asked for after each run, the lowest point, is kept in a heap.
 *
 * @module
 */

import { assert, assertUint } from "../assert.ts";
import { compareBySequence, type HlcPoint, maxBySequence } from "./hlc_point.ts";
import type { Watermarks } from "./watermarks.ts";

/** The registry of the projections of one open store. */
export class AppliedProgress {
  readonly #watermarks: Watermarks;
  readonly #journal = new PointHeap();
  readonly #lanes = new Map<number, PointHeap>();

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
    if (!this.#journal.has(id)) this.#journal.raise(id, this.#watermarks.point("applied"));
  }

  /** As {@linkcode register}, for a projection of an entity. */
  registerFor(type: string, entity: string): void {
    this.register(AppliedProgress.idOf(type, entity));
  }

  /**
   * A projection has come to this point of the journal. The first word of one that nobody knew may take
   * `applied` back to where it is; after that it never goes back.
   *
   * @throws {RangeError} when that is no point, or nobody can see so far yet.
   */
  notifyApplied(id: string, point: HlcPoint): void {
    this.#assertVisible(point);
    this.#journal.raise(id, point);
    this.#update();
  }

  /**
   * A projection has come to this point on a lane. One that nobody knew starts where `applied` is, so
   * that it takes nothing back.
   *
   * @throws {RangeError} when that is no lane or point, or nobody can see so far on the lane yet.
   */
  notifyAppliedOnLane(id: string, lane: number, point: HlcPoint): void {
    assertUint("lane", lane, 2 ** 32 - 1);
    this.#assertVisible(point, lane);
    let known = this.#lanes.get(lane);
    if (known === undefined) this.#lanes.set(lane, known = new PointHeap());
    this.register(id);
    if (!known.has(id)) known.raise(id, this.#watermarks.point("applied", lane));
    this.#journal.raise(id, point);
    known.raise(id, point);
    this.#update();
    const { wallMs, globalSequence } = known.lowest;
    this.#watermarks.setAppliedOnLane(lane, wallMs, globalSequence);
  }

  /** Lets a projection go. When it was the last one, `applied` stays where it is. */
  unregister(id: string): void {
    this.#journal.delete(id);
    for (const known of this.#lanes.values()) known.delete(id);
    if (this.#journal.size > 0) this.#update();
  }

  /** Nobody can have applied what nobody could see; believed, it would make every view contradict itself. */
  #assertVisible({ wallMs, globalSequence }: HlcPoint, lane?: number): void {
    assertUint("globalSequence", globalSequence, Number.MAX_SAFE_INTEGER);
    assertUint("wallMs", wallMs, Number.MAX_SAFE_INTEGER);
    const visible = this.#watermarks.point("visible", lane).globalSequence;
    if (globalSequence <= visible) return;
    const where = lane === undefined ? "" : ` on lane ${lane}`;
    throw new RangeError(
      `Cannot have applied sequence ${globalSequence}${where}: nothing behind ${visible} is visible`,
    );
  }

  #update(): void {
    const { wallMs, globalSequence } = this.#journal.lowest;
    this.#watermarks.setApplied(wallMs, globalSequence);
  }
}

interface Entry {
  readonly id: string;
  point: HlcPoint;
  /** Where it is in the heap. */
  index: number;
}

/** A point for each id, and the lowest of them: a binary heap. */
class PointHeap {
  readonly #entries = new Map<string, Entry>();
  readonly #heap: Entry[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** The lowest point, on the sequence axis. */
  get lowest(): HlcPoint {
    assert(this.#heap.length > 0, "somebody is registered");
    return this.#heap[0].point;
  }

  has(id: string): boolean {
    return this.#entries.has(id);
  }

  /** Takes an id in, or moves it ahead. */
  raise(id: string, point: HlcPoint): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) {
      const added = { id, point, index: this.#heap.length };
      this.#entries.set(id, added);
      this.#heap.push(added);
      this.#rise(added);
    } else {
      entry.point = maxBySequence(entry.point, point);
      this.#sink(entry);
    }
  }

  delete(id: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#entries.delete(id);
    const last = this.#heap.pop() as Entry;
    if (last === entry) return;
    this.#put(last, entry.index);
    this.#rise(last);
    this.#sink(last);
  }

  #rise(entry: Entry): void {
    while (entry.index > 0) {
      const parent = this.#heap[(entry.index - 1) >> 1];
      if (compareBySequence(parent.point, entry.point) <= 0) return;
      this.#swap(parent, entry);
    }
  }

  #sink(entry: Entry): void {
    for (;;) {
      const left = this.#heap[entry.index * 2 + 1];
      const right = this.#heap[entry.index * 2 + 2];
      if (left === undefined) return;
      const lower = right !== undefined && compareBySequence(right.point, left.point) < 0
        ? right
        : left;
      if (compareBySequence(entry.point, lower.point) <= 0) return;
      this.#swap(entry, lower);
    }
  }

  #swap(above: Entry, below: Entry): void {
    const { index } = above;
    this.#put(above, below.index);
    this.#put(below, index);
  }

  #put(entry: Entry, index: number): void {
    this.#heap[index] = entry;
    entry.index = index;
  }
}
