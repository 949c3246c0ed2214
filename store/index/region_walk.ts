/**
 * A walk over the rows of a region that goes on where it was: what a cursor follows a journal with.
 *
 * A query compiles its region and opens its lists anew each time; whoever asks again and again for what
 * is new would pay that each time. A walk keeps its places in the lists, and looks at names again only
 * when there are new ones of the sort it filters by. What it has walked over it never looks at again,
 * so asking a walk that is at the end costs next to nothing, however selective the region.
 *
 * @module
 */

import { writeUtf8 } from "../frame.ts";
import type { Region } from "../region.ts";
import { utf8Size } from "../utf8.ts";
import type { EventIndex } from "./event_index.ts";
import { type Interner, NAME_UNKNOWN } from "./interner.ts";
import type { PostingLists, PostingPlace } from "./postings.ts";
import { findName, NAME_SIZE_MAX, RowFilter } from "./region_query.ts";

const COLON = 0x3a;
/** Merging more lists than this costs more than walking over the rows between. */
const MERGED_LISTS_MAX = 8;

/** A list and the place in it. */
interface Walked {
  readonly lists: PostingLists;
  readonly place: PostingPlace;
}

/** The rows of a region, ascending, for as long as the journal grows. */
export class RegionWalk {
  /** What it walks over; another index needs another walk. */
  readonly index: EventIndex;
  readonly #region: Region;
  readonly #includeRetired: boolean;
  readonly #members: EntityMembers | undefined;

  /** How many names and kinds there were when the region was compiled last. */
  #scopesSeen = -1;
  #tagsSeen = -1;
  #kindsSeen = -1;
  #membersSeen = -1;
  /** Lists are chosen again when there are more rows than this. */
  #rowsPlanned = -1;

  /** `undefined` while a name that nobody uses makes the region empty; every row matches without. */
  #filter: RowFilter | "all" | undefined;
  /** The lists that are walked, or none: then all rows are. */
  #walked: Walked[] = [];
  /** Rows below this have been walked over, and the places in the lists stand here. */
  #at = -1;

  /** @param includeRetired also gives events that queries leave out. */
  constructor(index: EventIndex, region: Region, includeRetired = false) {
    this.index = index;
    this.#region = region;
    this.#includeRetired = includeRetired;
    if (region.entityPrefix !== undefined) this.#members = new EntityMembers(region.entityPrefix);
  }

  /**
   * Puts the first rows of the region from `start` up to but not including `end` into `rows`, at most
   * `max`, in commit order. Rows that nobody may see are left out.
   *
   * @returns where to go on: behind the last row when there are `max`, else `end`.
   */
  take(start: number, end: number, max: number, rows: number[]): number {
    rows.length = 0;
    if (max === 0 || start >= end) return start;
    this.#refresh(start);
    if (start !== this.#at) this.#seek(start);
    const filter = this.#filter;
    return this.#at = filter === undefined
      ? end
      : this.#walked.length === 0
      ? this.#takeFromAll(filter, end, max, rows)
      : this.#walked.length === 1
      ? this.#takeFromList(filter, end, max, rows)
      : this.#takeFromLists(filter, end, max, rows);
  }

  #takeFromAll(filter: RowFilter | "all", end: number, max: number, rows: number[]): number {
    const { index } = this;
    const skipRetired = !this.#includeRetired;
    for (let row = this.#at; row < end; row++) {
      if (filter === "all") {
        if (skipRetired && index.isRetired(row)) continue;
      } else if (!filter.matches(row)) continue;
      if (index.isHidden(row)) continue;
      if (rows.push(row) === max) return row + 1;
    }
    return end;
  }

  #takeFromList(filter: RowFilter | "all", end: number, max: number, rows: number[]): number {
    const { index } = this;
    const { lists, place } = this.#walked[0];
    for (;;) {
      const row = lists.peek(place);
      if (row === -1 || row >= end) return end;
      place.at++;
      if (filter !== "all" && !filter.matches(row) || index.isHidden(row)) continue;
      if (rows.push(row) === max) return row + 1;
    }
  }

  #takeFromLists(filter: RowFilter | "all", end: number, max: number, rows: number[]): number {
    const { index } = this;
    const walked = this.#walked;
    for (;;) {
      let first = end;
      let place: PostingPlace | undefined;
      for (const candidate of walked) {
        const row = candidate.lists.peek(candidate.place);
        if (row !== -1 && row < first) {
          first = row;
          place = candidate.place;
        }
      }
      if (place === undefined) return end;
      place.at++;
      if (filter !== "all" && !filter.matches(first) || index.isHidden(first)) continue;
      if (rows.push(first) === max) return first + 1;
    }
  }

  #seek(start: number): void {
    for (const { lists, place } of this.#walked) lists.seek(place, start);
    this.#at = start;
  }

  /** Compiles the region when there is something new that could matter to it. */
  #refresh(start: number): void {
    const { index } = this;
    const { scope, tags, fact } = this.#region;
    const members = this.#members?.update(index.entities) ?? 0;
    const isKnown = members === this.#membersSeen &&
      (scope === undefined || this.#scopesSeen === index.scopes.count) &&
      (tags === undefined || this.#tagsSeen === index.tags.count) &&
      (fact === undefined || this.#kindsSeen === index.kindCount);
    if (isKnown && index.count <= this.#rowsPlanned) return;
    this.#membersSeen = members;
    this.#scopesSeen = index.scopes.count;
    this.#tagsSeen = index.tags.count;
    this.#kindsSeen = index.kindCount;
    this.#rowsPlanned = index.count * 2;
    this.#filter = this.#compile();
    this.#walked = this.#filter === undefined ? [] : this.#plan(start);
    this.#seek(start);
  }

  #compile(): RowFilter | "all" | undefined {
    const { index } = this;
    const region = this.#region;
    const scope = region.scope === undefined ? NAME_UNKNOWN : findName(index.scopes, region.scope);
    if (region.scope !== undefined && scope === NAME_UNKNOWN) return undefined;
    if (this.#members?.numbers.length === 0) return undefined;
    const tags: number[] = [];
    for (const tag of region.tags ?? []) {
      const number = findName(index.tags, tag);
      if (number === NAME_UNKNOWN) return undefined;
      tags.push(number);
    }
    if (this.#kindLists()?.length === 0) return undefined;
    const isAll = region.scope === undefined && this.#members === undefined && tags.length === 0 &&
      region.lane === undefined && region.clockRange === undefined &&
      (region.fact === undefined || region.fact.type === "any");
    if (isAll) return "all";
    return new RowFilter(index, region, {
      entities: this.#members,
      scope,
      tags,
      includeRetired: this.#includeRetired,
    });
  }

  /** The lists of the kinds that the region selects, when it selects by kind. */
  #kindLists(): number[] | undefined {
    const { fact } = this.#region;
    if (fact === undefined || fact.type === "any") return undefined;
    const lists: number[] = [];
    for (const [kind, list] of this.index.kinds()) {
      if (fact.type === "exact" ? kind === fact.kind : kind >>> 12 === fact.category) {
        lists.push(list);
      }
    }
    return lists;
  }

  /** Chooses the lists with the fewest rows from `start` on, as if rows were spread evenly. */
  #plan(start: number): Walked[] {
    const { index } = this;
    const { scope, tags } = this.#region;
    const candidates: { lists: PostingLists; numbers: readonly number[] }[] = [];
    if (this.#members !== undefined) {
      candidates.push({ lists: index.byEntity, numbers: this.#members.numbers });
    }
    if (scope !== undefined) {
      candidates.push({ lists: index.byScope, numbers: [findName(index.scopes, scope)] });
    }
    for (const tag of tags ?? []) {
      candidates.push({ lists: index.byTag, numbers: [findName(index.tags, tag)] });
    }
    const kinds = this.#kindLists();
    if (kinds !== undefined) candidates.push({ lists: index.byKind, numbers: kinds });
    let best: (typeof candidates)[number] | undefined;
    let bestCost = index.count;
    for (const candidate of candidates) {
      const { lists, numbers } = candidate;
      if (numbers.length > MERGED_LISTS_MAX) continue;
      let cost = 0;
      // Each step of a merge looks at every list.
      for (const number of numbers) cost += lists.count(number) * numbers.length;
      if (cost < bestCost) [best, bestCost] = [candidate, cost];
    }
    if (best === undefined) return [];
    const { lists, numbers } = best;
    return numbers.map((list) => {
      const place = { list, block: 0, at: 0 };
      lists.seek(place, start);
      return { lists, place };
    });
  }
}

/** The entities below a prefix, each new name looked at once. */
class EntityMembers {
  /** Their numbers: the first few, which is how many matter. */
  readonly numbers: number[] = [];
  readonly #prefix: Uint8Array | undefined;
  #bits: Uint8Array = new Uint8Array(16);
  #looked = 0;
  #count = 0;

  constructor(prefix: string) {
    const size = utf8Size(prefix);
    if (size > NAME_SIZE_MAX) return;
    this.#prefix = new Uint8Array(size);
    writeUtf8(this.#prefix, 0, prefix);
  }

  has(entity: number): boolean {
    return (this.#bits[entity >>> 3] & (1 << (entity & 7))) !== 0;
  }

  /** Takes in the names that are new, and says how many members there are as far as lists matter. */
  update(names: Interner): number {
    const { count } = names;
    if (this.#looked < count) this.#look(names, count);
    return Math.min(this.#count, MERGED_LISTS_MAX + 1);
  }

  #look(names: Interner, count: number): void {
    if (count > this.#bits.length * 8) {
      const bits = new Uint8Array(Math.max(this.#bits.length * 2, (count >>> 3) + 1));
      bits.set(this.#bits);
      this.#bits = bits;
    }
    for (; this.#looked < count; this.#looked++) {
      if (!this.#isBelow(names, this.#looked)) continue;
      this.#bits[this.#looked >>> 3] |= 1 << (this.#looked & 7);
      this.#count++;
      if (this.numbers.length <= MERGED_LISTS_MAX) this.numbers.push(this.#looked);
    }
  }

  #isBelow(names: Interner, name: number): boolean {
    const prefix = this.#prefix;
    if (prefix === undefined) return false;
    const bytes = names.arena;
    const start = names.startOf(name);
    const size = names.startOf(name + 1) - start;
    const prefixSize = prefix.byteLength;
    if (size !== prefixSize && !(size > prefixSize && bytes[start + prefixSize] === COLON)) {
      return false;
    }
    for (let i = 0; i < prefixSize; i++) if (bytes[start + i] !== prefix[i]) return false;
    return true;
  }
}
