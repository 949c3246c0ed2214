/**
 * Groups of lines: the unit an import writes in.
 *
 * A group is written as one batch: all of it, or nothing. It ends after 256 lines or 1 MiB of them,
 * and where lines with a key and lines without meet, because a batch has keys on all items or on none.
 * A line whose key is known is counted and left out before it gets into a group, so importing the same
 * keyed lines again after an interruption adds just what is missing.
 *
 * A journal that does not exist is begun by the first group that can be written: lines that are bad
 * leave nothing behind. What the store thinks of that group is found out in memory first.
 *
 * @module
 */
import {
  BatchError,
  CorruptionError,
  IdError,
  MemoryFs,
  Store,
  StoreError,
  StoreIoError,
  WriterCrashedError,
} from "../mod.ts";
import { type ImportItem, LineError, parseImportLine } from "./import_line.ts";
import { STORE_LIMITS } from "./journal.ts";
import { type Line, LineTooLongError } from "./line_splitter.ts";

/** As many as a store takes in one batch by default. */
const GROUP_LINES_MAX = 256;
/**
 * Bytes of the lines of a group. MessagePack is at most three times as large as the JSON it stands for
 * (`1.5` takes nine bytes), which leaves a group far below what a batch may have.
 */
const GROUP_BYTES_MAX = 1 << 20;

/** Gathers lines into groups and writes them. */
export class Importer {
  /** Lines that have been dealt with, all of them and all before them. */
  lines = 0;
  /** Events that were appended. */
  imported = 0;
  /** Lines whose key was known. */
  known = 0;
  /** Printed events that have nothing to import. */
  skipped = 0;
  /** The line that is being dealt with. */
  current = 0;
  readonly #open: () => Store;
  #store: Store | undefined;
  /** Takes the first group of a journal that does not exist, to see whether it can be written. */
  #rehearsal: Store | undefined;
  #items: ImportItem[] = [];
  /** The line of each item. */
  #numbers: number[] = [];
  /** The item of each key. */
  readonly #keys = new Map<string, number>();
  #bytes = 0;
  #knownInGroup = 0;
  #skippedInGroup = 0;

  /** @param open opens the journal that the groups go to; `exists` says whether there is one. */
  constructor(open: () => Store, exists: boolean) {
    this.#open = open;
    // Another writer, or damage, is something to say before the first line is waited for.
    if (exists) this.#store = open();
    else this.#rehearsal = Store.open("rehearsal", { ...STORE_LIMITS, fs: new MemoryFs() });
  }

  /** The journal, which exists from now on. */
  get store(): Store {
    this.#store ??= this.#open();
    this.#rehearsal = undefined;
    return this.#store;
  }

  /** Closes the journal, if it was opened. */
  [Symbol.dispose](): void {
    this.#store?.close();
  }

  /** Takes a line, and says whether a group was written. */
  add({ number, bytes }: Line): boolean {
    this.current = number;
    const line = parseImportLine(bytes);
    if (line.type === "skipped") this.#skippedInGroup++;
    if (line.type !== "event") return this.#pass(number);
    let { item } = line;
    const key = item.idempotencyKey;
    if (key !== undefined && this.#isKnown(key)) {
      this.#knownInGroup++;
      return this.#pass(number);
    }
    let wrote = false;
    if (
      this.#items.length > 0 &&
      (this.#bytes + bytes.byteLength > GROUP_BYTES_MAX ||
        (key === undefined) !== (this.#keys.size === 0))
    ) {
      this.#write(number - 1);
      wrote = true;
    }
    if (line.printed) item = this.#withCause(item);
    if (key !== undefined) this.#keys.set(key, this.#items.length);
    this.#items.push(item);
    this.#numbers.push(number);
    this.#bytes += bytes.byteLength;
    if (this.#items.length < GROUP_LINES_MAX) return wrote;
    this.#write(number);
    return true;
  }

  /** Writes what has been gathered. */
  flush(): void {
    this.#write(this.current);
  }

  /** A line that adds nothing. Many of them are a group too: the caller gets its turn. */
  #pass(number: number): boolean {
    if (this.#items.length > 0) return false;
    this.#finish(number);
    return number % GROUP_LINES_MAX === 0;
  }

  /** What is known of the journal: nothing, as long as there is none. */
  get #known(): Store {
    return this.#rehearsal ?? this.store;
  }

  #isKnown(key: string): boolean {
    if (this.#keys.has(key)) return true;
    try {
      return this.#known.getByKey(key) !== undefined;
    } catch (error) {
      if (!(error instanceof IdError)) throw error;
      // The line is in no group yet, so only here is known whose key it is.
      throw new LineError(error.message, { cause: error });
    }
  }

  /**
   * An event that was printed names its cause by the id that had there. When that came from lines, too, it
   * is the copy here that is meant, unless the very event is here as well.
   */
  #withCause(item: ImportItem): ImportItem {
    const { causationId } = item;
    if (causationId === undefined) return item;
    const { causationId: _, ...rest } = item;
    const earlier = this.#keys.get(causationId);
    if (earlier !== undefined) return { ...rest, causationItem: earlier };
    try {
      if (this.#known.get(causationId) !== undefined) return item;
    } catch (error) {
      // No id at all: the store says so when it is appended.
      if (error instanceof IdError) return item;
      throw error;
    }
    return { ...rest, causationId: this.#known.getByKey(causationId)?.eventId ?? causationId };
  }

  #write(lastLine: number): void {
    const items = this.#items;
    if (items.length > 0) {
      if (this.#rehearsal !== undefined) appendTo(this.#rehearsal, items);
      appendTo(this.store, items);
    }
    this.imported += items.length;
    this.#finish(lastLine);
  }

  #finish(lastLine: number): void {
    this.lines = lastLine;
    this.known += this.#knownInGroup;
    this.skipped += this.#skippedInGroup;
    this.#knownInGroup = this.#skippedInGroup = 0;
    this.#items = [];
    this.#numbers = [];
    this.#keys.clear();
    this.#bytes = 0;
  }

  /** The line that is to blame for an error, and what is wrong with it; `undefined` when none is. */
  blame(error: unknown): Blame | undefined {
    const lastOfGroup = this.#numbers.at(-1) ?? 0;
    if (error instanceof LineError) {
      return { line: this.current, groupEnd: this.current, cause: error.cause ?? error };
    }
    if (error instanceof LineTooLongError) {
      return { line: error.line, groupEnd: error.line, cause: error };
    }
    if (error instanceof BatchError) {
      return { line: this.#numbers[error.index], groupEnd: lastOfGroup, cause: error.cause };
    }
    if (this.#items.length !== 1 || isAboutStore(error)) return undefined;
    return { line: lastOfGroup, groupEnd: lastOfGroup, cause: error };
  }
}

function appendTo(store: Store, items: readonly ImportItem[]): void {
  if (items.length > 1) {
    store.appendBatch(items);
    return;
  }
  // One event may be larger than any batch.
  const [{ entity, scope, kind, payload, causationItem: _, ...options }] = items;
  store.append({ entity, scope }, kind, payload, options);
}

/** Whose fault it was that a group could not be written. */
export interface Blame {
  /** The line. */
  readonly line: number;
  /** The last line that was not written because of it. */
  readonly groupEnd: number;
  /** What is wrong with it. */
  readonly cause: unknown;
}

/** Whether an error of an append says nothing about the event. */
function isAboutStore(error: unknown): boolean {
  return !(error instanceof StoreError || error instanceof TypeError ||
    error instanceof RangeError) ||
    error instanceof StoreIoError || error instanceof WriterCrashedError ||
    error instanceof CorruptionError;
}
