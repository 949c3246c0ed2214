/**
 * Posting lists: for each name, the rows that bear it, ascending. All lists share one arena of 32-bit
 * words, so a hundred thousand entities with three events each cost words, not objects.
 *
 * A list is a chain of blocks that double from 4 to 512 rows. A block is `[previous, next, count,
 * capacity, rows…]`; both links are arena offsets, 0 for none.
 *
 * @module
 */

import { assertImage, type ImageReader, type ImageWriter } from "./image.ts";
import { grown } from "./interner.ts";

const BLOCK_PREVIOUS = 0;
const BLOCK_NEXT = 1;
const BLOCK_COUNT = 2;
const BLOCK_CAPACITY = 3;
const BLOCK_ROWS = 4;
const CAPACITY_MIN = 4;
const CAPACITY_MAX = 512;

/** A place in a list; see {@linkcode PostingLists.seek}. */
export interface PostingPlace {
  readonly list: number;
  /** Offset of the block, or 0 in front of a list that had no rows. */
  block: number;
  /** Index of the row in the block. */
  at: number;
}

/** Many ascending lists of rows, numbered by the caller. */
export class PostingLists {
  /** Offset 0 is never a block, so that 0 can mean none. */
  #arena: Uint32Array = new Uint32Array(1024);
  #arenaUsed = BLOCK_ROWS;
  #heads: Uint32Array = new Uint32Array(16);
  #tails: Uint32Array = new Uint32Array(16);
  #counts: Uint32Array = new Uint32Array(16);
  /** Lists up to here may have rows. */
  #listCount = 0;

  /** Adds a row, larger than every row of the list. */
  push(list: number, row: number): void {
    while (list >= this.#heads.length) {
      this.#heads = grown(this.#heads);
      this.#tails = grown(this.#tails);
      this.#counts = grown(this.#counts);
    }
    if (list >= this.#listCount) this.#listCount = list + 1;
    let tail = this.#tails[list];
    if (tail === 0 || this.#arena[tail + BLOCK_COUNT] === this.#arena[tail + BLOCK_CAPACITY]) {
      tail = this.#addBlock(list, tail);
    }
    const count = this.#arena[tail + BLOCK_COUNT];
    this.#arena[tail + BLOCK_ROWS + count] = row;
    this.#arena[tail + BLOCK_COUNT] = count + 1;
    this.#counts[list]++;
  }

  /** How many rows a list has. */
  count(list: number): number {
    return list < this.#counts.length ? this.#counts[list] : 0;
  }

  /** The last row of a list, or -1. */
  last(list: number): number {
    if (this.count(list) === 0) return -1;
    const tail = this.#tails[list];
    return this.#arena[tail + BLOCK_ROWS + this.#arena[tail + BLOCK_COUNT] - 1];
  }

  /** The rows from `start` up to but not including `end`, ascending or, reversed, descending. */
  *rows(list: number, start: number, end: number, reverse: boolean): IterableIterator<number> {
    if (this.count(list) === 0) return;
    let block = this.#blockAt(list, reverse ? end - 1 : start);
    while (block !== 0) {
      const arena = this.#arena;
      const count = arena[block + BLOCK_COUNT];
      const first = arena[block + BLOCK_ROWS];
      const last = arena[block + BLOCK_ROWS + count - 1];
      if (reverse ? last < start : first >= end) return;
      if (last >= start && first < end) {
        for (let i = 0; i < count; i++) {
          const row = arena[block + BLOCK_ROWS + (reverse ? count - 1 - i : i)];
          if (row >= start && row < end) yield row;
        }
      }
      block = arena[block + (reverse ? BLOCK_PREVIOUS : BLOCK_NEXT)];
    }
  }

  /**
   * Moves a place to the first row of its list from `start` on. It stays valid while lists grow: blocks
   * never move, so whoever follows a list goes on where they were.
   */
  seek(place: PostingPlace, start: number): void {
    place.block = 0;
    place.at = 0;
    if (this.count(place.list) === 0) return;
    place.block = this.#blockAt(place.list, start);
    for (let row = this.peek(place); row !== -1 && row < start; row = this.peek(place)) place.at++;
  }

  /** The row at a place, or -1 when its list has no more so far. */
  peek(place: PostingPlace): number {
    const arena = this.#arena;
    if (place.block === 0) {
      if (this.count(place.list) === 0) return -1;
      place.block = this.#heads[place.list];
    }
    if (place.at === arena[place.block + BLOCK_COUNT]) {
      const next = arena[place.block + BLOCK_NEXT];
      if (next === 0) return -1;
      place.block = next;
      place.at = 0;
    }
    return arena[place.block + BLOCK_ROWS + place.at];
  }

  /** Adds the lists to an image. */
  save(image: ImageWriter): void {
    image.number(this.#listCount);
    image.number(this.#arenaUsed);
    image.words(this.#heads, this.#listCount);
    image.words(this.#tails, this.#listCount);
    image.words(this.#counts, this.#listCount);
    image.words(this.#arena, this.#arenaUsed);
  }

  /**
   * The lists of an image, of rows below `rowCount`. Every link is followed once, so that none leads
   * astray.
   */
  static restore(image: ImageReader, rowCount: number): PostingLists {
    const lists = new PostingLists();
    const listCount = image.count(image.rest / 12);
    const used = image.count(image.rest / 4);
    const heads = image.words(listCount);
    const tails = image.words(listCount);
    const counts = image.words(listCount);
    const arena = image.words(used);
    assertImage(used >= BLOCK_ROWS, "lists have no arena");
    let walked = 0;
    for (let list = 0; list < listCount; list++) {
      let rows = 0;
      let previous = 0;
      let lastRow = -1;
      for (let block = heads[list]; block !== 0;) {
        assertImage(block > previous && block + BLOCK_ROWS <= used, "a list runs astray");
        const count = arena[block + BLOCK_COUNT];
        const capacity = arena[block + BLOCK_CAPACITY];
        assertImage(
          arena[block + BLOCK_PREVIOUS] === previous && count > 0 && count <= capacity &&
            capacity <= CAPACITY_MAX && block + BLOCK_ROWS + capacity <= used,
          "a list has a block of the wrong size",
        );
        // Each list alone comes to an end, but a million lists of one block would not.
        walked += BLOCK_ROWS + capacity;
        assertImage(walked <= used, "lists share their rows");
        const end = block + BLOCK_ROWS + count;
        for (let at = block + BLOCK_ROWS; at < end; at++) {
          assertImage(arena[at] > lastRow, "a list is not ascending");
          lastRow = arena[at];
        }
        rows += count;
        previous = block;
        block = arena[block + BLOCK_NEXT];
      }
      assertImage(
        rows === counts[list] && previous === tails[list] && lastRow < rowCount,
        "a list has another length than it says",
      );
    }
    lists.#heads = heads;
    lists.#tails = tails;
    lists.#counts = counts;
    lists.#listCount = listCount;
    lists.#arena = arena;
    lists.#arenaUsed = used;
    return lists;
  }

  /**
   * The block where a row is or would be, or one beside it: found from whichever end of the list is
   * nearer. Whoever follows the newest rows finds them at once.
   */
  #blockAt(list: number, row: number): number {
    const arena = this.#arena;
    let block = this.#heads[list];
    const first = arena[block + BLOCK_ROWS];
    const last = this.last(list);
    if (row <= first) return block;
    if (row >= last) return this.#tails[list];
    if (row - first <= last - row) {
      for (let next = block; next !== 0 && arena[next + BLOCK_ROWS] <= row;) {
        block = next;
        next = arena[next + BLOCK_NEXT];
      }
      return block;
    }
    block = this.#tails[list];
    while (arena[block + BLOCK_ROWS] > row) block = arena[block + BLOCK_PREVIOUS];
    return block;
  }

  /** Bytes of memory in the typed arrays. */
  get memorySize(): number {
    return this.#arena.byteLength + this.#heads.byteLength * 3;
  }

  #addBlock(list: number, tail: number): number {
    const capacity = tail === 0
      ? CAPACITY_MIN
      : Math.min(CAPACITY_MAX, this.#arena[tail + BLOCK_CAPACITY] * 2);
    const block = this.#arenaUsed;
    this.#arenaUsed += BLOCK_ROWS + capacity;
    while (this.#arenaUsed > this.#arena.length) this.#arena = grown(this.#arena);
    this.#arena[block + BLOCK_PREVIOUS] = tail;
    this.#arena[block + BLOCK_CAPACITY] = capacity;
    if (tail === 0) this.#heads[list] = block;
    else this.#arena[tail + BLOCK_NEXT] = block;
    this.#tails[list] = block;
    return block;
  }
}
