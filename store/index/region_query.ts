/**
 * Finding the rows of a region. The cheapest filter that the index has lists for gives the candidates;
 * every filter is then applied to each, so which list was chosen can never change an answer.
 *
 * @module
 */

import type { EventIndex } from "./event_index.ts";
import { utf8Size } from "../utf8.ts";
import { writeUtf8 } from "../frame.ts";
import { NAME_UNKNOWN } from "./interner.ts";
import type { Region } from "../region.ts";

/** Rows from `start` up to but not including `end`. */
export interface RowRange {
  readonly start: number;
  readonly end: number;
  /** Newest first. */
  readonly reverse?: boolean;
  /** Also rows that queries leave out: what a condition of an append has to see. */
  readonly includeRetired?: boolean;
}

/** A list of candidates, or all rows. */
type Candidates =
  | { readonly type: "none" }
  | { readonly type: "all" }
  | {
    readonly type: "lists";
    /** How many rows and lists there are. */
    readonly size: number;
    readonly listCount: number;
    readonly open: (range: RowRange) => IterableIterator<number>[];
  };

/** The rows of a region within a range, in commit order or, reversed, against it. */
export function* rowsOf(
  index: EventIndex,
  region: Region,
  range: RowRange,
): IterableIterator<number> {
  const compiled = compile(index, region, range.includeRetired === true);
  if (compiled === undefined) return;
  const { filter } = compiled;
  const candidates = cheapest(compiled.candidates, range, index.count);
  if (candidates.type === "none") return;
  if (candidates.type === "all") {
    const { start, end, reverse } = range;
    const count = end - start;
    for (let i = 0; i < count; i++) {
      const row = reverse ? end - 1 - i : start + i;
      if (filter.matches(row)) yield row;
    }
    return;
  }
  for (const row of merged(candidates.open(range), range.reverse === true)) {
    if (filter.matches(row)) yield row;
  }
}

interface CompiledRegion {
  readonly candidates: Candidates[];
  readonly filter: RowFilter;
}

/** Turns names into numbers once; `undefined` when a name nobody uses makes the region empty. */
function compile(
  index: EventIndex,
  region: Region,
  includeRetired: boolean,
): CompiledRegion | undefined {
  const candidates: Candidates[] = [];
  const { entityPrefix, scope, fact, tags } = region;
  const single = (lists: EventIndex["byEntity"], list: number): Candidates => ({
    type: "lists",
    size: lists.count(list),
    listCount: 1,
    open: ({ start, end, reverse }) => [lists.rows(list, start, end, reverse === true)],
  });

  let entities: ReadonlySet<number> | undefined;
  if (entityPrefix !== undefined) {
    entities = matchingEntities(index, entityPrefix);
    if (entities.size === 0) return undefined;
    const members = entities;
    let size = 0;
    for (const entity of members) size += index.byEntity.count(entity);
    candidates.push({
      type: "lists",
      size,
      listCount: members.size,
      open: ({ start, end, reverse }) =>
        Array.from(members, (entity) => index.byEntity.rows(entity, start, end, reverse === true)),
    });
  }
  let scopeNumber = NAME_UNKNOWN;
  if (scope !== undefined) {
    scopeNumber = findName(index.scopes, scope);
    if (scopeNumber === NAME_UNKNOWN) return undefined;
    candidates.push(single(index.byScope, scopeNumber));
  }
  const tagNumbers: number[] = [];
  for (const tag of tags ?? []) {
    const number = findName(index.tags, tag);
    if (number === NAME_UNKNOWN) return undefined;
    tagNumbers.push(number);
    candidates.push(single(index.byTag, number));
  }
  if (fact !== undefined && fact.type !== "any") {
    const lists: number[] = [];
    let size = 0;
    for (const [kind, list] of index.kinds()) {
      if (fact.type === "exact" ? kind === fact.kind : kind >>> 12 === fact.category) {
        lists.push(list);
        size += index.byKind.count(list);
      }
    }
    if (lists.length === 0) return undefined;
    candidates.push({
      type: "lists",
      size,
      listCount: lists.length,
      open: ({ start, end, reverse }) =>
        lists.map((list) => index.byKind.rows(list, start, end, reverse === true)),
    });
  }

  const filter = new RowFilter(index, region, {
    entities,
    scope: scopeNumber,
    tags: tagNumbers,
    includeRetired,
  });
  return { candidates, filter };
}

/** The numbers of a region's names. */
export interface RegionNumbers {
  /** Entities of the region; `undefined` when it does not filter by entity. */
  readonly entities: { has(entity: number): boolean } | undefined;
  /** Of no meaning when the region does not filter by scope. */
  readonly scope: number;
  readonly tags: readonly number[];
  /** Whether events that queries leave out are wanted too. */
  readonly includeRetired: boolean;
}

/** Every filter of a region, applied to one row at a time. */
export class RowFilter {
  readonly #index: EventIndex;
  readonly #numbers: RegionNumbers;
  /** The filters, and -1 or a range that holds everything for those that are absent. */
  readonly #scope: number;
  readonly #lane: number;
  readonly #kind: number;
  readonly #category: number;
  readonly #clockStart: number;
  readonly #clockEnd: number;

  /** @param numbers of the names that the region has. */
  constructor(index: EventIndex, region: Region, numbers: RegionNumbers) {
    const { fact, clockRange } = region;
    this.#index = index;
    this.#numbers = numbers;
    this.#scope = region.scope === undefined ? -1 : numbers.scope;
    this.#lane = region.lane ?? -1;
    this.#kind = fact?.type === "exact" ? fact.kind : -1;
    this.#category = fact?.type === "category" ? fact.category : -1;
    this.#clockStart = clockRange?.start ?? 0;
    this.#clockEnd = clockRange?.end ?? Infinity;
  }

  /** Whether a row is in the region. */
  matches(row: number): boolean {
    const index = this.#index;
    const { entities, tags, includeRetired } = this.#numbers;
    if (index.isCancelled(row)) return false;
    if (!includeRetired && index.isRetired(row)) return false;
    const chain = index.chainOf(row);
    if (this.#scope >= 0 && index.scopeOf(row) !== this.#scope) return false;
    if (this.#kind >= 0 && index.kindOf(row) !== this.#kind) return false;
    if (this.#category >= 0 && index.kindOf(row) >>> 12 !== this.#category) return false;
    if (entities !== undefined && !entities.has(index.entityOf(chain))) return false;
    if (this.#lane >= 0 && index.laneOf(chain) !== this.#lane) return false;
    if (this.#clockEnd !== Infinity) {
      const clock = index.clockOf(row);
      if (clock < this.#clockStart || clock > this.#clockEnd) return false;
    }
    return tags.length === 0 || index.hasTags(row, tags);
  }
}

function cheapest(
  candidates: readonly Candidates[],
  range: RowRange,
  rowCount: number,
): Candidates {
  if (range.end <= range.start) return { type: "none" };
  const rangeSize = range.end - range.start;
  let best: Candidates = { type: "all" };
  let bestCost = rangeSize;
  for (const candidate of candidates) {
    if (candidate.type !== "lists") continue;
    const cost = costOf(candidate, rangeSize / rowCount);
    if (cost < bestCost) [best, bestCost] = [candidate, cost];
  }
  return best;
}

/**
 * About how many steps a walk over lists takes: one for each row in the range (as if rows were spread
 * evenly), more when many lists are merged; one to begin each list; and one for each block on the way to
 * the range.
 */
function costOf(candidate: Candidates & { readonly type: "lists" }, share: number): number {
  const { size, listCount } = candidate;
  const merging = Math.max(1, Math.log2(listCount));
  return size * share * merging + listCount + size / BLOCK_ROWS_MAX;
}

/** Rows in a full block of a posting list. */
const BLOCK_ROWS_MAX = 512;

/** The entity with this name and every one below it. */
function matchingEntities(index: EventIndex, prefix: string): ReadonlySet<number> {
  if (utf8Size(prefix) > NAME_SIZE_MAX) return new Set();
  return index.namespaces.setUnder(prefix, scratch, writeUtf8(scratch, 0, prefix));
}

/** The number of a name, or `NAME_UNKNOWN`. */
export function findName(names: EventIndex["entities"], name: string): number {
  if (utf8Size(name) > NAME_SIZE_MAX || !name.isWellFormed()) return NAME_UNKNOWN;
  return names.find(scratch, 0, writeUtf8(scratch, 0, name));
}

/** No entity, scope or tag is longer. */
export const NAME_SIZE_MAX = 1024;
const scratch = new Uint8Array(NAME_SIZE_MAX * 3);

/** Several ordered lists of different rows as one. */
function* merged(lists: IterableIterator<number>[], reverse: boolean): IterableIterator<number> {
  if (lists.length === 1) {
    yield* lists[0];
    return;
  }
  // A binary heap of the next row of each list.
  const sign = reverse ? -1 : 1;
  const heap: { row: number; list: IterableIterator<number> }[] = [];
  for (const list of lists) {
    const { value, done } = list.next();
    if (!done) heap.push({ row: value * sign, list });
  }
  for (let i = (heap.length >> 1) - 1; i >= 0; i--) siftDown(heap, i);
  while (heap.length > 0) {
    const top = heap[0];
    yield top.row * sign;
    const { value, done } = top.list.next();
    if (done) {
      const last = heap.pop();
      if (heap.length === 0 || last === undefined) return;
      heap[0] = last;
    } else {
      top.row = value * sign;
    }
    siftDown(heap, 0);
  }
}

function siftDown(heap: { row: number }[], start: number): void {
  const item = heap[start];
  let at = start;
  for (;;) {
    let child = at * 2 + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && heap[child + 1].row < heap[child].row) child++;
    if (heap[child].row >= item.row) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = item;
}
