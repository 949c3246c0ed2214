/**
 * Namespaces: which names are below a prefix, where `:` separates the levels. `order` is above `order:1`
 * and `order:1:line:2`, and not above `orders`.
 *
 * Built when first asked for and kept up from then on, each new name once; a question costs what its
 * answer is long, however many names there are.
 *
 * @module
 */

import { Interner, NAME_UNKNOWN } from "./interner.ts";
import { PostingLists } from "./postings.ts";

const COLON = 0x3a;
/** A name of more levels is compared one by one: its prefixes would take more memory than it is worth. */
const LEVELS_MAX = 32;

/** The names below each prefix of an interner's names. */
export class Namespaces {
  readonly #names: Interner;
  readonly #prefixes: Interner = new Interner();
  /** Names by prefix number, ascending. */
  readonly #below: PostingLists = new PostingLists();
  /** Names of too many levels. */
  readonly #deep: number[] = [];
  #built = 0;
  /** The last answer: whoever follows a region asks for the same prefix again and again. */
  #last: { readonly prefix: string; readonly built: number; readonly names: Set<number> } = {
    prefix: "",
    built: 0,
    names: new Set(),
  };

  /** @param names whose prefixes to follow. */
  constructor(names: Interner) {
    this.#names = names;
  }

  /**
   * The numbers of the name that is `prefix`, if there is one, and of all names below it. `text` is the
   * prefix as well. The set is not the caller's to change.
   */
  setUnder(text: string, prefix: Uint8Array, size: number): ReadonlySet<number> {
    const built = this.#names.count;
    if (this.#last.prefix !== text || this.#last.built !== built) {
      this.#last = { prefix: text, built, names: new Set(this.under(prefix, size)) };
    }
    return this.#last.names;
  }

  /** As {@linkcode setUnder}, as a list. */
  under(prefix: Uint8Array, size: number): number[] {
    this.#build();
    const numbers: number[] = [];
    const exact = this.#names.find(prefix, 0, size);
    if (exact !== NAME_UNKNOWN) numbers.push(exact);
    const number = this.#prefixes.find(prefix, 0, size);
    if (number !== NAME_UNKNOWN) {
      for (const name of this.#below.rows(number, 0, Infinity, false)) numbers.push(name);
    }
    for (const name of this.#deep) {
      if (name !== exact && this.#isBelow(name, prefix, size)) numbers.push(name);
    }
    return numbers;
  }

  /** Bytes of memory in the typed arrays. */
  get memorySize(): number {
    return this.#prefixes.memorySize + this.#below.memorySize;
  }

  #isBelow(name: number, prefix: Uint8Array, size: number): boolean {
    const bytes = this.#names.arena;
    const start = this.#names.startOf(name);
    if (this.#names.startOf(name + 1) - start <= size || bytes[start + size] !== COLON) {
      return false;
    }
    for (let i = 0; i < size; i++) if (bytes[start + i] !== prefix[i]) return false;
    return true;
  }

  #build(): void {
    for (; this.#built < this.#names.count; this.#built++) {
      const bytes = this.#names.arena;
      const start = this.#names.startOf(this.#built);
      const end = this.#names.startOf(this.#built + 1);
      let levels = 0;
      for (let at = start; at < end; at++) if (bytes[at] === COLON) levels++;
      if (levels > LEVELS_MAX) {
        this.#deep.push(this.#built);
        continue;
      }
      for (let at = start; at < end; at++) {
        if (bytes[at] !== COLON) continue;
        let prefix = this.#prefixes.find(bytes, start, at - start);
        if (prefix === NAME_UNKNOWN) prefix = this.#prefixes.add(bytes, start, at - start);
        this.#below.push(prefix, this.#built);
      }
    }
  }
}
