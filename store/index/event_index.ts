/**
 * The index: what queries and appends need to know of every event, in flat typed arrays. It is derived
 * from the frames and can always be derived again; nothing in it is an authority.
 *
 * Sequences are dense, so an event's row is its sequence minus the first sequence of the journal, and
 * the columns need no key. A *chain* is one entity on one lane: the thing that has a clock and a hash
 * head. Columns come in chunks of 65,536 rows, so growing never copies more than the first chunk.
 *
 * | Column     | Bytes | Meaning                                                  |
 * | ---------- | ----: | -------------------------------------------------------- |
 * | `eventId`  |    16 | the id                                                   |
 * | `offset`   |     4 | where the frame starts in its segment                    |
 * | `chain`    |     4 | which entity and lane                                    |
 * | `scope`    |     4 | interned                                                 |
 * | `clock`    |     4 | place in the chain                                       |
 * | `previous` |     4 | row + 1 of the event before it in the chain, 0 for none  |
 * | `cause`    |     4 | row + 1 of its cause, when that is in this journal       |
 * | `tagSet`   |     4 | where its tags stand in the tag arena, 0 for none        |
 * | `kind`     |     2 | raw kind                                                 |
 * | `state`    |     1 | whether it still has its payload, and stands in queries  |
 *
 * The columns of a chunk share one buffer, so that a full chunk is saved, and read back, as it is.
 *
 * **Fences.** Between the event that begins a fence and the one that ends it stand only staged events, so
 * what readers may see is all rows below a bound, but for those of cancelled fences, which bear a bit. The
 * index finds both out from the kinds of the events it is given, whichever way they come: from an append,
 * from frames or from a footer.
 *
 * @module
 */

import { assert } from "../assert.ts";
import { readU16, readU32 } from "../bytes.ts";
import { EventKind } from "../event_kind.ts";
import {
  CAUSATION_ID_OFFSET,
  clockOf,
  ENTITY_OFFSET,
  entitySizeOf,
  EVENT_ID_OFFSET,
  ID_SIZE,
  kindOf,
  laneOf,
  scopeSizeOf,
  scopeStartOf,
  tagsStartOf,
} from "../frame.ts";
import { HASH_SIZE } from "../hash.ts";
import { assertImage, type ImageReader, type ImageWriter } from "./image.ts";
import { grown, Interner, NAME_UNKNOWN } from "./interner.ts";
import { Namespaces } from "./namespaces.ts";
import { PostingLists } from "./postings.ts";
import { globalNumbers, type SegmentColumns } from "./segment_footer.ts";

const CHUNK_SHIFT = 16;
const CHUNK_ROWS = 1 << CHUNK_SHIFT;
const CHUNK_MASK = CHUNK_ROWS - 1;
const FIRST_CHUNK_ROWS = 256;

/** Says that there is no such row. */
export const ROW_NONE: number = -1;

/** The event has its payload. */
export const STATE_PRESENT = 0;
/** The payload is gone; the event stays in every answer. */
export const STATE_ERASED = 1;
/** The payload is gone, and queries leave the event out. Its header still counts for everything else. */
export const STATE_RETIRED = 2;

/** A bit of the state of a row: its fence was cancelled, and nobody may see it, ever. */
const STATE_CANCELLED = 4;
const STATE_ERASURE_MASK = 3;

/** Rows from `start` up to but not including `end`. */
export interface Rows {
  readonly start: number;
  readonly end: number;
}

/** Bytes of a row in all columns. */
export const ROW_SIZE: number = ID_SIZE + 7 * 4 + 2 + 1;

/** The columns of up to 65,536 rows, one behind the other in a buffer. */
class Chunk {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly eventId: Uint8Array;
  readonly offset: Uint32Array;
  readonly chain: Uint32Array;
  readonly scope: Uint32Array;
  readonly clock: Uint32Array;
  readonly previous: Uint32Array;
  readonly cause: Uint32Array;
  readonly tagSet: Uint32Array;
  readonly kind: Uint16Array;
  readonly state: Uint8Array;

  constructor(
    readonly capacity: number,
    buffer: ArrayBuffer = new ArrayBuffer(capacity * ROW_SIZE),
    start: number = 0,
  ) {
    let at = start;
    const words = () => {
      const column = new Uint32Array(buffer, at, capacity);
      at += column.byteLength;
      return column;
    };
    this.bytes = new Uint8Array(buffer, start, capacity * ROW_SIZE);
    this.eventId = new Uint8Array(buffer, at, capacity * ID_SIZE);
    at += this.eventId.byteLength;
    this.offset = words();
    this.chain = words();
    this.scope = words();
    this.clock = words();
    this.previous = words();
    this.cause = words();
    this.tagSet = words();
    this.kind = new Uint16Array(buffer, at, capacity);
    at += this.kind.byteLength;
    this.state = new Uint8Array(buffer, at, capacity);
  }

  /** A chunk of another capacity with the first `rows` rows of this one. */
  resized(capacity: number, rows: number): Chunk {
    const target = new Chunk(capacity);
    target.eventId.set(this.eventId.subarray(0, rows * ID_SIZE));
    target.offset.set(this.offset.subarray(0, rows));
    target.chain.set(this.chain.subarray(0, rows));
    target.scope.set(this.scope.subarray(0, rows));
    target.clock.set(this.clock.subarray(0, rows));
    target.previous.set(this.previous.subarray(0, rows));
    target.cause.set(this.cause.subarray(0, rows));
    target.tagSet.set(this.tagSet.subarray(0, rows));
    target.kind.set(this.kind.subarray(0, rows));
    target.state.set(this.state.subarray(0, rows));
    return target;
  }
}

interface SavedLists {
  readonly entities: Interner;
  readonly scopes: Interner;
  readonly tags: Interner;
  readonly byEntity: PostingLists;
  readonly byScope: PostingLists;
  readonly byTag: PostingLists;
  readonly byKind: PostingLists;
}

/** The journal's events, by row. */
export class EventIndex {
  readonly #chunks: Chunk[] = [];
  #count = 0;
  #entityCount = 0;
  #retiredCount = 0;
  /** The first row staged behind a fence that has not ended, or -1. */
  #stagedStart = -1;
  #cancelledCount = 0;
  readonly #cancelledRanges: Rows[] = [];
  #firstRow = 0;

  /** Entities, scopes and tags as numbers. */
  readonly entities: Interner;
  readonly scopes: Interner;
  readonly tags: Interner;
  /** Which entities are below which prefix. */
  readonly namespaces: Namespaces;
  /** Rows by entity number, scope number, tag number, and kind number. */
  readonly byEntity: PostingLists;
  readonly byScope: PostingLists;
  readonly byTag: PostingLists;
  readonly byKind: PostingLists;
  readonly #kindNumbers = new Map<number, number>();

  // Chains: entity on a lane.
  #chainCount = 0;
  #chainEntity: Uint32Array = new Uint32Array(16);
  #chainLane: Uint32Array = new Uint32Array(16);
  /** Row + 1 of the newest event, 0 for none. */
  #chainHead: Uint32Array = new Uint32Array(16);
  /** Clock of the newest event, when there is one. */
  #chainClock: Uint32Array = new Uint32Array(16);
  /** 1 when the chain began before row 0, whether or not it has a row. */
  #chainHasBase: Uint8Array = new Uint8Array(16);
  #chainHeadHash: Uint8Array = new Uint8Array(16 * HASH_SIZE);
  #headHashKnown: Uint8Array = new Uint8Array(16);
  /** Chain + 1 of each entity's lane 0. */
  #mainChain: Uint32Array = new Uint32Array(16);
  readonly #sideChains = new Map<number, Map<number, number>>();

  /** Open addressing over event ids; 0 is empty, else row + 1. Built when first needed. */
  #idTable: Uint32Array | undefined;

  /** Runs of `[count, tag…]`; offset 0 is never used. */
  #tagArena: Uint32Array = new Uint32Array(16);
  #tagArenaUsed = 1;

  // Effects: built when first asked for, kept up from then on.
  #effects: { readonly lists: PostingLists; built: number } | undefined;

  /** @param saved the names and lists of an image; the rest is filled in by {@linkcode restore}. */
  constructor(saved?: SavedLists) {
    this.entities = saved?.entities ?? new Interner();
    this.scopes = saved?.scopes ?? new Interner();
    this.tags = saved?.tags ?? new Interner();
    this.byEntity = saved?.byEntity ?? new PostingLists();
    this.byScope = saved?.byScope ?? new PostingLists();
    this.byTag = saved?.byTag ?? new PostingLists();
    this.byKind = saved?.byKind ?? new PostingLists();
    this.namespaces = new Namespaces(this.entities);
  }

  /** How many rows there are. */
  get count(): number {
    return this.#count;
  }

  /**
   * Rows below this may be seen by readers: all of them, but those behind the begin of a fence that has
   * not ended.
   */
  get visibleCount(): number {
    return this.#stagedStart < 0 ? this.#count : this.#stagedStart;
  }

  /** Whether a fence has begun and not ended. */
  get isFenceOpen(): boolean {
    return this.#stagedStart >= 0;
  }

  /** Whether no reader may see a row: it is staged behind a fence, or its fence was cancelled. */
  isHidden(row: number): boolean {
    return (this.#stagedStart >= 0 && row >= this.#stagedStart) || this.isCancelled(row);
  }

  /** Whether a row's fence was cancelled. */
  isCancelled(row: number): boolean {
    return this.#cancelledCount > 0 &&
      (this.#chunks[row >>> CHUNK_SHIFT].state[row & CHUNK_MASK] & STATE_CANCELLED) !== 0;
  }

  /** How many rows from `start` up to but not including `end` cancelled fences hide for ever. */
  cancelledWithin(start: number, end: number): number {
    let count = 0;
    // The newest are asked about most, and there may be many.
    for (let i = this.#cancelledRanges.length - 1; i >= 0; i--) {
      const range = this.#cancelledRanges[i];
      if (range.end <= start) break;
      count += Math.max(0, Math.min(end, range.end) - Math.max(start, range.start));
    }
    return count;
  }

  /** The rows that cancelled fences hide for ever, ascending. */
  cancelledRanges(): readonly Rows[] {
    return this.#cancelledRanges;
  }

  /** The first row that is still there: those before it have been pruned. */
  get firstRow(): number {
    return this.#firstRow;
  }

  /**
   * Says that the rows before this one have been pruned. Their ids are forgotten, and an event may have
   * one of them again; chains go on from where they were. The columns stay until the journal is opened
   * again.
   */
  dropBelow(row: number): void {
    this.#firstRow = row;
    this.#idTable = undefined;
  }

  /** How many entities have an event. */
  get entityCount(): number {
    return this.#entityCount;
  }

  /** How many chains there are. */
  get chainCount(): number {
    return this.#chainCount;
  }

  /**
   * The number of an entity or scope that stands as UTF-8 in `bytes`, or `NAME_UNKNOWN`. Names are
   * added by {@linkcode add}.
   */
  findEntity(bytes: Uint8Array, start: number, size: number): number {
    return this.entities.find(bytes, start, size);
  }

  /** The chain of an entity's lane, or -1. */
  findChain(entity: number, lane: number): number {
    if (lane === 0) {
      return entity < this.#mainChain.length ? this.#mainChain[entity] - 1 : -1;
    }
    return this.#sideChains.get(entity)?.get(lane) ?? -1;
  }

  /** Row of the newest event of a chain, or `ROW_NONE`. */
  headOf(chain: number): number {
    return chain < 0 ? ROW_NONE : this.#chainHead[chain] - 1;
  }

  /** Whether a chain has an event, here or before row 0. */
  hasHead(chain: number): boolean {
    return chain >= 0 && (this.#chainHead[chain] !== 0 || this.#chainHasBase[chain] === 1);
  }

  /** Clock of the newest event of a chain that {@linkcode hasHead}. */
  headClockOf(chain: number): number {
    return this.#chainClock[chain];
  }

  /**
   * Says that a chain's newest event stands before row 0: the journal has been pruned up to there. The
   * chain goes on from its clock and hash.
   */
  addBaseChain(
    head: {
      readonly entity: Uint8Array;
      readonly lane: number;
      readonly clock: number;
      readonly eventHash: Uint8Array;
    },
  ): void {
    assert(this.#count === 0, "what stands before row 0 is known before any row");
    const { entity: name, lane, clock, eventHash } = head;
    let entity = this.entities.find(name, 0, name.byteLength);
    if (entity === NAME_UNKNOWN) entity = this.entities.add(name, 0, name.byteLength);
    const chain = this.#internChain(entity, lane);
    this.#chainHasBase[chain] = 1;
    this.#chainClock[chain] = clock;
    this.setHeadHash(chain, eventHash);
  }

  /** All head hashes; a chain's begins at `chain * HASH_SIZE`, when it is known. */
  get headHashes(): Uint8Array {
    return this.#chainHeadHash;
  }

  /** Whether a chain's head hash has been set since its newest event was added. */
  isHeadHashKnown(chain: number): boolean {
    return this.#headHashKnown[chain] === 1;
  }

  /** Sets the event hash of a chain's newest event. */
  setHeadHash(chain: number, eventHash: Uint8Array): void {
    const start = chain * HASH_SIZE;
    for (let i = 0; i < HASH_SIZE; i++) this.#chainHeadHash[start + i] = eventHash[i];
    this.#headHashKnown[chain] = 1;
  }

  /** The lanes other than 0 that have an event, each with the rows of its newest and newest visible one. */
  sideLanes(): Map<number, { last: number; visible: number }> {
    const lanes = new Map<number, { last: number; visible: number }>();
    for (const chains of this.#sideChains.values()) {
      for (const [lane, chain] of chains) {
        const last = this.headOf(chain);
        let visible = last;
        while (visible >= this.#firstRow && this.isHidden(visible)) {
          visible = this.previousOf(visible);
        }
        const known = lanes.get(lane);
        lanes.set(lane, {
          last: Math.max(last, known?.last ?? ROW_NONE),
          visible: Math.max(visible, known?.visible ?? ROW_NONE),
        });
      }
    }
    return lanes;
  }

  /** The entity of a chain. */
  entityOf(chain: number): number {
    return this.#chainEntity[chain];
  }

  /** The lane of a chain. */
  laneOf(chain: number): number {
    return this.#chainLane[chain];
  }

  /**
   * Adds the event whose sound frame body begins at `body` as the next row, and returns the row. Its
   * frame starts at `offset` of its segment. Without `eventHash` the chain's head hash is unknown
   * until {@linkcode setHeadHash}: opening a million events need not hash them.
   */
  add(bytes: Uint8Array, body: number, offset: number, eventHash: Uint8Array | undefined): number {
    const row = this.#count;
    const chunk = this.#chunkFor(row);
    const at = row & CHUNK_MASK;

    const entityStart = body + ENTITY_OFFSET;
    const entitySize = entitySizeOf(bytes, body);
    let entity = this.entities.find(bytes, entityStart, entitySize);
    if (entity === NAME_UNKNOWN) entity = this.entities.add(bytes, entityStart, entitySize);
    const scopeStart = scopeStartOf(bytes, body);
    const scopeSize = scopeSizeOf(bytes, body);
    let scope = this.scopes.find(bytes, scopeStart, scopeSize);
    if (scope === NAME_UNKNOWN) scope = this.scopes.add(bytes, scopeStart, scopeSize);
    const kind = kindOf(bytes, body);
    const chain = this.#internChain(entity, laneOf(bytes, body));

    const idStart = body + EVENT_ID_OFFSET;
    for (let i = 0; i < ID_SIZE; i++) chunk.eventId[at * ID_SIZE + i] = bytes[idStart + i];
    chunk.offset[at] = offset;
    chunk.chain[at] = chain;
    chunk.scope[at] = scope;
    chunk.clock[at] = this.#chainClock[chain] = clockOf(bytes, body);
    chunk.previous[at] = this.#chainHead[chain];
    chunk.cause[at] = this.#causeOf(bytes, body + CAUSATION_ID_OFFSET);
    chunk.tagSet[at] = this.#addTags(bytes, body, row);
    chunk.kind[at] = kind;

    if (isFenceKind(kind)) this.#trackFence(row, kind);
    this.#chainHead[chain] = row + 1;
    if (eventHash === undefined) this.#headHashKnown[chain] = 0;
    else this.setHeadHash(chain, eventHash);
    this.#list(row, entity, scope, kind);
    return row;
  }

  /**
   * Adds all rows of a segment from its footer. Checks first, and adds nothing when the columns do not
   * fit what is there: every row has to follow its chain, and to lead somewhere.
   *
   * @returns what does not fit, or `undefined`.
   */
  addSegment(columns: SegmentColumns, framesStart: number): string | undefined {
    const problem = this.#problemOf(columns, framesStart);
    if (problem !== undefined) return problem;
    const entityNumbers = globalNumbers(columns.entities, this.entities);
    const scopeNumbers = globalNumbers(columns.scopes, this.scopes);
    const tagNumbers = globalNumbers(columns.tags, this.tags);
    const { count, chainEntity, chainLane, tagArena } = columns;
    const chains = new Uint32Array(chainEntity.length);
    for (let i = 0; i < chains.length; i++) {
      chains[i] = this.#internChain(entityNumbers[chainEntity[i]], chainLane[i]);
    }
    for (let i = 0; i < count; i++) {
      const row = this.#count;
      const chunk = this.#chunkFor(row);
      const at = row & CHUNK_MASK;
      const chain = chains[columns.chain[i]];
      const scope = scopeNumbers[columns.scope[i]];
      for (let k = 0; k < ID_SIZE; k++) {
        chunk.eventId[at * ID_SIZE + k] = columns.eventId[i * ID_SIZE + k];
      }
      chunk.offset[at] = columns.offset[i];
      chunk.chain[at] = chain;
      chunk.scope[at] = scope;
      chunk.clock[at] = this.#chainClock[chain] = columns.clock[i];
      chunk.previous[at] = this.#chainHead[chain];
      const cause = columns.cause[i];
      chunk.cause[at] = cause === 0 || cause > row ? 0 : row - cause + 1;
      const set = columns.tagSet[i];
      if (set !== 0) chunk.tagSet[at] = this.#addTagRun(tagArena, set, tagNumbers, row);
      const kind = columns.kind[i];
      chunk.kind[at] = kind;
      this.#chainHead[chain] = row + 1;
      this.#headHashKnown[chain] = 0;
      if (isFenceKind(kind)) this.#trackFence(row, kind);
      this.#list(row, this.#chainEntity[chain], scope, kind);
      if (columns.state[i] !== STATE_PRESENT) this.setState(row, columns.state[i]);
    }
    return undefined;
  }

  #problemOf(columns: SegmentColumns, framesStart: number): string | undefined {
    const { count, chainEntity, chainLane, entities, tagArena, tags } = columns;
    const clocks = new Float64Array(chainEntity.length);
    const mainChains = new Uint8Array(entities.count);
    const sideChains = new Set<string>();
    for (let i = 0; i < clocks.length; i++) {
      const local = chainEntity[i];
      const lane = chainLane[i];
      if (local >= entities.count) return "a chain has no entity";
      const isNew = lane === 0
        ? mainChains[local]++ === 0
        : sideChains.size < sideChains.add(`${local} ${lane}`).size;
      if (!isNew) return "a chain is there twice";
      const start = entities.startOf(local);
      const size = entities.startOf(local + 1) - start;
      const entity = this.entities.find(entities.arena, start, size);
      const chain = entity === NAME_UNKNOWN ? -1 : this.findChain(entity, lane);
      clocks[i] = this.hasHead(chain) ? this.#chainClock[chain] + 1 : 0;
    }
    let offset = framesStart - 1;
    let tagWords = 1;
    for (let i = 0; i < count; i++) {
      if (columns.offset[i] <= offset) return "its frames do not follow one another";
      offset = columns.offset[i];
      const chain = columns.chain[i];
      const set = columns.tagSet[i];
      // Each row has a run of its own, so that all of them together are walked once.
      if (set !== 0) tagWords += 1 + tagArena[set];
      if (
        chain >= chainEntity.length || columns.scope[i] >= columns.scopes.count ||
        columns.state[i] > STATE_RETIRED ||
        (set !== 0 && !(tagWords <= tagArena.length && isTagRun(tagArena, set, tags.count)))
      ) return "a row leads nowhere";
      if (columns.clock[i] !== clocks[chain]) return "an event does not follow its chain";
      clocks[chain]++;
    }
    return offset < columns.framesEnd ? undefined : "its frames go on behind their end";
  }

  /** Moves what readers may see, at the row of an event that begins or ends a fence. */
  #trackFence(row: number, kind: number): void {
    if (kind === EventKind.SYSTEM_FENCE_BEGIN) {
      if (this.#stagedStart < 0) this.#stagedStart = row + 1;
      return;
    }
    if (kind === EventKind.SYSTEM_FENCE_CANCEL && this.#stagedStart >= 0) {
      this.#cancel({ start: this.#stagedStart, end: row });
    }
    this.#stagedStart = -1;
  }

  #cancel(range: Rows): void {
    if (range.start >= range.end) return;
    for (let row = range.start; row < range.end; row++) {
      this.#chunks[row >>> CHUNK_SHIFT].state[row & CHUNK_MASK] |= STATE_CANCELLED;
    }
    this.#cancelledCount += range.end - range.start;
    this.#cancelledRanges.push(range);
  }

  /** Puts a row into the lists, and counts it. */
  #list(row: number, entity: number, scope: number, kind: number): void {
    if (this.byEntity.count(entity) === 0) this.#entityCount++;
    this.byEntity.push(entity, row);
    this.byScope.push(scope, row);
    this.byKind.push(this.#internKind(kind), row);
    this.#count = row + 1;
    if (this.#idTable !== undefined) this.#placeId(row);
    if (this.#effects !== undefined) this.#indexEffects();
  }

  #chunkFor(row: number): Chunk {
    let chunk = this.#chunks[row >>> CHUNK_SHIFT];
    if (chunk === undefined) {
      chunk = new Chunk(row === 0 ? FIRST_CHUNK_ROWS : CHUNK_ROWS);
      this.#chunks.push(chunk);
    } else if (row === chunk.capacity) {
      chunk = chunk.resized(Math.min(CHUNK_ROWS, chunk.capacity * 4), row);
      this.#chunks[0] = chunk;
    }
    return chunk;
  }

  /** Where a row's frame starts in its segment. */
  offsetOf(row: number): number {
    return this.#chunks[row >>> CHUNK_SHIFT].offset[row & CHUNK_MASK];
  }
  /** A row's chain. */
  chainOf(row: number): number {
    return this.#chunks[row >>> CHUNK_SHIFT].chain[row & CHUNK_MASK];
  }
  /** A row's scope number. */
  scopeOf(row: number): number {
    return this.#chunks[row >>> CHUNK_SHIFT].scope[row & CHUNK_MASK];
  }
  /** A row's clock. */
  clockOf(row: number): number {
    return this.#chunks[row >>> CHUNK_SHIFT].clock[row & CHUNK_MASK];
  }
  /** A row's raw kind. */
  kindOf(row: number): number {
    return this.#chunks[row >>> CHUNK_SHIFT].kind[row & CHUNK_MASK];
  }
  /** The row before it in its chain, or `ROW_NONE`. */
  previousOf(row: number): number {
    return this.#chunks[row >>> CHUNK_SHIFT].previous[row & CHUNK_MASK] - 1;
  }
  /** The row of its cause, or `ROW_NONE` when it has none in this journal. */
  causeOf(row: number): number {
    return this.#chunks[row >>> CHUNK_SHIFT].cause[row & CHUNK_MASK] - 1;
  }
  /** The bytes that hold a row's id, from {@linkcode idStartOf}. */
  idBytesOf(row: number): Uint8Array {
    return this.#chunks[row >>> CHUNK_SHIFT].eventId;
  }
  /** Where a row's id starts in {@linkcode idBytesOf}. */
  idStartOf(row: number): number {
    return (row & CHUNK_MASK) * ID_SIZE;
  }

  /** Whether a row's event has its payload: `STATE_PRESENT`, `STATE_ERASED` or `STATE_RETIRED`. */
  stateOf(row: number): number {
    return this.#chunks[row >>> CHUNK_SHIFT].state[row & CHUNK_MASK] & STATE_ERASURE_MASK;
  }

  /** Says that a row's event has lost its payload. */
  setState(row: number, state: number): void {
    const chunk = this.#chunks[row >>> CHUNK_SHIFT];
    const at = row & CHUNK_MASK;
    const before = chunk.state[at];
    if ((before & STATE_ERASURE_MASK) === STATE_RETIRED) this.#retiredCount--;
    if (state === STATE_RETIRED) this.#retiredCount++;
    chunk.state[at] = (before & STATE_CANCELLED) | state;
  }

  /** How many rows queries leave out. */
  get retiredCount(): number {
    return this.#retiredCount;
  }

  /** Whether queries leave a row out. */
  isRetired(row: number): boolean {
    return this.#retiredCount > 0 && this.stateOf(row) === STATE_RETIRED;
  }

  /** Says that a row's frame stands elsewhere now. */
  moveFrame(row: number, offset: number): void {
    this.#chunks[row >>> CHUNK_SHIFT].offset[row & CHUNK_MASK] = offset;
  }

  /** Whether a row bears every one of these tag numbers. */
  hasTags(row: number, tags: readonly number[]): boolean {
    const set = this.#chunks[row >>> CHUNK_SHIFT].tagSet[row & CHUNK_MASK];
    if (set === 0) return tags.length === 0;
    const count = this.#tagArena[set];
    for (const tag of tags) {
      let found = false;
      for (let i = 1; i <= count && !found; i++) found = this.#tagArena[set + i] === tag;
      if (!found) return false;
    }
    return true;
  }

  /** The tag numbers of a row. */
  tagsOf(row: number): Uint32Array {
    const set = this.#chunks[row >>> CHUNK_SHIFT].tagSet[row & CHUNK_MASK];
    return set === 0 ? NO_TAGS : this.#tagArena.subarray(set + 1, set + 1 + this.#tagArena[set]);
  }

  /** The list number of a kind in `byKind`, or -1 when no event has it. */
  findKind(kind: number): number {
    return this.#kindNumbers.get(kind) ?? -1;
  }

  /** How many kinds there are. */
  get kindCount(): number {
    return this.#kindNumbers.size;
  }

  /** Every kind there is, with its list number in `byKind`. */
  kinds(): IterableIterator<[kind: number, list: number]> {
    return this.#kindNumbers.entries();
  }

  /** The row of an event id, or `ROW_NONE`. The first call builds the table. */
  findId(id: Uint8Array, start: number): number {
    const table = this.#idTable ?? this.#buildIdTable();
    const mask = table.length - 1;
    for (let slot = hashId(id, start) & mask;; slot = (slot + 1) & mask) {
      const entry = table[slot];
      if (entry === 0) return ROW_NONE;
      const row = entry - 1;
      const bytes = this.#chunks[row >>> CHUNK_SHIFT].eventId;
      const rowStart = (row & CHUNK_MASK) * ID_SIZE;
      let i = 0;
      while (i < ID_SIZE && bytes[rowStart + i] === id[start + i]) i++;
      // What was cancelled never happened: its key may be used again, and another row may have its id.
      if (i === ID_SIZE && !this.isCancelled(row)) return row;
    }
  }

  /** The rows that name a row as their cause, ascending. The first call reads the cause column. */
  effectsOf(row: number, end: number): IterableIterator<number> {
    if (this.#effects === undefined) this.#effects = { lists: new PostingLists(), built: 0 };
    this.#indexEffects();
    return this.#effects.lists.rows(row, 0, end, false);
  }

  /**
   * Adds everything to an image but what is built when asked for. Two indexes of the same frames have
   * the same image, whichever way they were filled: that is how verification compares them.
   */
  save(image: ImageWriter): void {
    image.number(this.#count);
    image.number(this.#stagedStart + 1);
    for (const names of [this.entities, this.scopes, this.tags]) names.save(image);
    for (const lists of [this.byEntity, this.byScope, this.byTag, this.byKind]) lists.save(image);
    image.number(this.#kindNumbers.size);
    image.words(Uint32Array.from(this.#kindNumbers.keys()));
    image.number(this.#tagArenaUsed);
    image.words(this.#tagArena, this.#tagArenaUsed);
    const chains = this.#chainCount;
    image.number(chains);
    image.words(this.#chainEntity, chains);
    image.words(this.#chainLane, chains);
    image.words(this.#chainHead, chains);
    image.words(this.#chainClock, chains);
    image.bytes(this.#chainHasBase.subarray(0, chains));
    for (let first = 0; first < this.#count; first += CHUNK_ROWS) {
      const rows = Math.min(CHUNK_ROWS, this.#count - first);
      const chunk = this.#chunks[first >>> CHUNK_SHIFT];
      image.bytes(
        rows === CHUNK_ROWS ? chunk.bytes : chunk.resized(savedCapacity(rows), rows).bytes,
      );
    }
  }

  /**
   * The index of an image. Full chunks stay where they are; every number that leads somewhere is
   * checked to lead into the index.
   *
   * @throws {ImageError} when something does not.
   */
  static restore(image: ImageReader): EventIndex {
    const count = image.count(image.rest / ROW_SIZE);
    const staged = image.count(count + 1);
    const entities = Interner.restore(image);
    const scopes = Interner.restore(image);
    const tags = Interner.restore(image);
    const index = new EventIndex({
      entities,
      scopes,
      tags,
      byEntity: PostingLists.restore(image, count),
      byScope: PostingLists.restore(image, count),
      byTag: PostingLists.restore(image, count),
      byKind: PostingLists.restore(image, count),
    });
    for (const kind of image.words(image.count(0x10000))) {
      const isNew = !index.#kindNumbers.has(kind);
      assertImage(kind <= 0xffff && isNew, "a kind is there twice, or is none");
      index.#internKind(kind);
    }
    const tagArenaUsed = image.count(image.rest / 4);
    assertImage(tagArenaUsed > 0, "there is no tag arena");
    index.#tagArena = image.words(tagArenaUsed);
    index.#tagArenaUsed = tagArenaUsed;
    index.#restoreChains(image, count);
    let tagWords = 1;
    for (let first = 0; first < count; first += CHUNK_ROWS) {
      const rows = Math.min(CHUNK_ROWS, count - first);
      const capacity = rows === CHUNK_ROWS ? CHUNK_ROWS : savedCapacity(rows);
      const { buffer, byteOffset } = image.bytes(capacity * ROW_SIZE);
      const chunk = new Chunk(capacity, buffer, byteOffset);
      tagWords = index.#checkChunk(chunk, first, rows, tagWords);
      // A chunk that will grow needs room of its own: all there can be, behind the first. It begins
      // with nothing but its rows, whatever stands behind them in the image.
      index.#chunks.push(
        rows === CHUNK_ROWS
          ? chunk
          : chunk.resized(first > 0 ? CHUNK_ROWS : capacityFor(rows), rows),
      );
    }
    index.#count = count;
    index.#stagedStart = staged - 1;
    for (let entity = 0; entity < entities.count; entity++) {
      if (index.byEntity.count(entity) > 0) index.#entityCount++;
    }
    return index;
  }

  /**
   * Takes a chain's head before row 0 from the base record, once the index of an image has the rest.
   * Says whether the image knew of it.
   */
  confirmBaseChain(head: Parameters<EventIndex["addBaseChain"]>[0]): boolean {
    const entity = this.entities.find(head.entity, 0, head.entity.byteLength);
    const chain = entity === NAME_UNKNOWN ? -1 : this.findChain(entity, head.lane);
    if (chain < 0 || this.#chainHasBase[chain] !== 1) return false;
    if (this.#chainHead[chain] === 0) {
      this.#chainClock[chain] = head.clock;
      this.setHeadHash(chain, head.eventHash);
    }
    return true;
  }

  #restoreChains(image: ImageReader, rowCount: number): void {
    const chains = image.count(image.rest / 16);
    const entity = image.words(chains);
    const lane = image.words(chains);
    const head = image.words(chains);
    const clock = image.words(chains);
    const hasBase = image.bytes(chains);
    for (let chain = 0; chain < chains; chain++) {
      assertImage(
        entity[chain] < this.entities.count && head[chain] <= rowCount,
        "a chain leads nowhere",
      );
      const isNew = this.#internChain(entity[chain], lane[chain]) === chain;
      assertImage(isNew, "a chain is there twice");
      this.#chainHead[chain] = head[chain];
      this.#chainClock[chain] = clock[chain];
      this.#chainHasBase[chain] = hasBase[chain];
    }
  }

  /** Checks the rows of a chunk of an image. Returns how many words of the tag arena they account for. */
  #checkChunk(chunk: Chunk, first: number, rows: number, tagWordsBefore: number): number {
    const chains = this.#chainCount;
    const scopes = this.scopes.count;
    const tags = this.tags.count;
    const arena = this.#tagArena;
    let tagWords = tagWordsBefore;
    let sound = true;
    for (let i = 0; i < rows; i++) {
      const row = first + i;
      const set = chunk.tagSet[i];
      sound = sound && chunk.chain[i] < chains && chunk.scope[i] < scopes &&
        chunk.previous[i] <= row && chunk.cause[i] <= row &&
        (chunk.state[i] & STATE_ERASURE_MASK) <= STATE_RETIRED &&
        chunk.state[i] <= STATE_CANCELLED + STATE_RETIRED;
      if (set !== 0 && sound) {
        // Each row has a run of its own, so that all of them together are walked once.
        tagWords += 1 + arena[set];
        sound = tagWords <= arena.length && isTagRun(arena, set, tags);
      }
      const state = chunk.state[i];
      if ((state & STATE_ERASURE_MASK) === STATE_RETIRED) this.#retiredCount++;
      if ((state & STATE_CANCELLED) !== 0) this.#addCancelled(row);
    }
    assertImage(sound, "a row leads nowhere");
    return tagWords;
  }

  /** Counts a cancelled row of an image; they come in order. */
  #addCancelled(row: number): void {
    this.#cancelledCount++;
    const ranges = this.#cancelledRanges;
    const last = ranges.at(-1);
    // Two fences never touch: the events that end and begin them stand between.
    if (last?.end === row) ranges[ranges.length - 1] = { start: last.start, end: row + 1 };
    else ranges.push({ start: row, end: row + 1 });
  }

  /** Bytes of memory in the typed arrays. */
  get memorySize(): number {
    let size = this.#chainEntity.byteLength * 4 + this.#chainHeadHash.byteLength +
      this.#mainChain.byteLength + this.#tagArena.byteLength + (this.#idTable?.byteLength ?? 0) +
      (this.#effects?.lists.memorySize ?? 0) + this.namespaces.memorySize;
    for (const chunk of this.#chunks) size += chunk.bytes.byteLength;
    for (const names of [this.entities, this.scopes, this.tags]) size += names.memorySize;
    for (const lists of [this.byEntity, this.byScope, this.byTag, this.byKind]) {
      size += lists.memorySize;
    }
    return size;
  }

  #internChain(entity: number, lane: number): number {
    const known = this.findChain(entity, lane);
    if (known >= 0) return known;
    const chain = this.#chainCount++;
    if (chain >= this.#chainEntity.length) {
      this.#chainEntity = grown(this.#chainEntity);
      this.#chainLane = grown(this.#chainLane);
      this.#chainHead = grown(this.#chainHead);
      this.#chainClock = grown(this.#chainClock);
      const hasBase = new Uint8Array(this.#chainEntity.length);
      hasBase.set(this.#chainHasBase);
      this.#chainHasBase = hasBase;
      const hashes = new Uint8Array(this.#chainEntity.length * HASH_SIZE);
      hashes.set(this.#chainHeadHash);
      this.#chainHeadHash = hashes;
      const known = new Uint8Array(this.#chainEntity.length);
      known.set(this.#headHashKnown);
      this.#headHashKnown = known;
    }
    this.#chainEntity[chain] = entity;
    this.#chainLane[chain] = lane;
    if (lane === 0) {
      while (entity >= this.#mainChain.length) this.#mainChain = grown(this.#mainChain);
      this.#mainChain[entity] = chain + 1;
    } else {
      let lanes = this.#sideChains.get(entity);
      if (lanes === undefined) this.#sideChains.set(entity, lanes = new Map());
      lanes.set(lane, chain);
    }
    return chain;
  }

  #internKind(kind: number): number {
    const known = this.#kindNumbers.get(kind);
    if (known !== undefined) return known;
    const number = this.#kindNumbers.size;
    this.#kindNumbers.set(kind, number);
    return number;
  }

  #causeOf(bytes: Uint8Array, start: number): number {
    let any = 0;
    for (let i = 0; i < ID_SIZE; i++) any |= bytes[start + i];
    return any === 0 ? 0 : this.findId(bytes, start) + 1;
  }

  #addTags(bytes: Uint8Array, body: number, row: number): number {
    let at = tagsStartOf(bytes, body);
    const count = readU16(bytes, at + 1);
    if (count === 0) return 0;
    const set = this.#tagArenaUsed;
    this.#tagArenaUsed += 1 + count;
    while (this.#tagArenaUsed > this.#tagArena.length) this.#tagArena = grown(this.#tagArena);
    this.#tagArena[set] = count;
    at += 3;
    for (let i = 1; i <= count; i++) {
      const size = readU16(bytes, at + 1);
      let tag = this.tags.find(bytes, at + 3, size);
      if (tag === NAME_UNKNOWN) tag = this.tags.add(bytes, at + 3, size);
      this.#tagArena[set + i] = tag;
      // A forged frame may repeat a tag; a posting list may not repeat a row.
      if (this.byTag.last(tag) !== row) this.byTag.push(tag, row);
      at += 3 + size;
    }
    return set;
  }

  #addTagRun(
    source: Uint32Array,
    start: number,
    numbers: Uint32Array,
    row: number,
  ): number {
    const count = source[start];
    const set = this.#tagArenaUsed;
    this.#tagArenaUsed += 1 + count;
    while (this.#tagArenaUsed > this.#tagArena.length) this.#tagArena = grown(this.#tagArena);
    this.#tagArena[set] = count;
    for (let i = 1; i <= count; i++) {
      const tag = this.#tagArena[set + i] = numbers[source[start + i]];
      if (this.byTag.last(tag) !== row) this.byTag.push(tag, row);
    }
    return set;
  }

  #buildIdTable(): Uint32Array {
    let capacity = 1024;
    while (capacity < this.#count * 2) capacity *= 2;
    this.#idTable = new Uint32Array(capacity);
    for (let row = this.#firstRow; row < this.#count; row++) this.#placeId(row);
    return this.#idTable;
  }

  #placeId(row: number): void {
    let table = this.#idTable;
    assert(table !== undefined, "the id table is built before rows are placed in it");
    if ((row + 1) * 3 > table.length * 2) {
      this.#idTable = table = new Uint32Array(table.length * 2);
      for (let earlier = this.#firstRow; earlier < row; earlier++) this.#placeInto(table, earlier);
    }
    this.#placeInto(table, row);
  }

  #placeInto(table: Uint32Array, row: number): void {
    const mask = table.length - 1;
    let slot = hashId(this.idBytesOf(row), this.idStartOf(row)) & mask;
    // The first event with an id keeps it: an idempotent replay has to find the original.
    while (table[slot] !== 0) slot = (slot + 1) & mask;
    table[slot] = row + 1;
  }

  #indexEffects(): void {
    const effects = this.#effects;
    assert(effects !== undefined, "effects are being kept");
    for (; effects.built < this.#count; effects.built++) {
      const cause = this.causeOf(effects.built);
      if (cause !== ROW_NONE) effects.lists.push(cause, effects.built);
    }
  }
}

/** Whether an event of this kind begins or ends a fence. */
function isFenceKind(kind: number): boolean {
  return kind >= EventKind.SYSTEM_FENCE_BEGIN && kind <= EventKind.SYSTEM_FENCE_CANCEL;
}

const NO_TAGS = new Uint32Array(0);

/** Whether a run of tags lies in the arena and names tags that there are. */
function isTagRun(arena: Uint32Array, start: number, tagCount: number): boolean {
  const count = arena[start];
  if (!(start + count < arena.length)) return false;
  for (let i = 1; i <= count; i++) if (arena[start + i] >= tagCount) return false;
  return true;
}

/** Rows of the last chunk of an image: columns begin at multiples of their width. */
function savedCapacity(rows: number): number {
  return rows + (-rows & 7);
}

/** The capacity that a first chunk of so many rows has grown to. */
function capacityFor(rows: number): number {
  let capacity = FIRST_CHUNK_ROWS;
  while (capacity < rows) capacity *= 4;
  return Math.min(CHUNK_ROWS, capacity);
}

/** Ids are random in their last eight bytes, or a hash; the multiply spreads what a caller makes up. */
function hashId(bytes: Uint8Array, start: number): number {
  const word = readU32(bytes, start + 12) ^ Math.imul(readU32(bytes, start + 8), 0x9e3779b1) ^
    Math.imul(readU32(bytes, start + 4) ^ readU32(bytes, start), 0x85ebca6b);
  return (word ^ (word >>> 15)) >>> 0;
}
