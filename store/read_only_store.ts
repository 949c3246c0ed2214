/**
 * The store for reading: beside a live writer, without a lock, changing nothing.
 *
 * @module
 */

import { IoFault } from "../platform/fs.ts";
import {
  CorruptionError,
  JournalChangingError,
  JournalNotFoundError,
  StoreClosedError,
  StoreIoError,
} from "./errors.ts";
import type { CopySource } from "./copies/journal_copy.ts";
import { JournalReader } from "./journal_reader.ts";
import type { OpenReport } from "./open_report.ts";
import { GROUP_COUNT_MAX } from "./frame.ts";
import { ID_SIZE } from "./ids.ts";
import { type LoadedJournal, loadJournal } from "./index/cold_start.ts";
import { canonicalJournal, observe, readStoreId, refuseUnlessIntact } from "./opening.ts";
import { withIo } from "./io.ts";
import { type JournalLoader, LayoutChange } from "./recovery.ts";
import {
  assertDir,
  type ReadOptions,
  type ResolvedOptions,
  resolveOptions,
} from "./store_options.ts";
import type { EventSource } from "./stored_event.ts";
import { bootstrapOf } from "./watermarks/bootstrap.ts";
import type { FrontierView } from "./watermarks/frontier_view.ts";
import { Watermarks } from "./watermarks/watermarks.ts";

/** How often a journal is read again whose segments are replaced meanwhile. */
const ATTEMPT_COUNT_MAX = 20;

/** Reads a journal that somebody may be compacting or pruning: again, when its files were replaced. */
function loadBesideWriter(dir: string, options: ResolvedOptions): LoadedJournal<void> {
  for (let attempt = 1;; attempt++) {
    const before = layoutOf(dir, options);
    try {
      return loadJournal(dir, options, {
        storeId: readStoreId(dir, options),
        isWriter: false,
        walk: (loader) => loader.loadBesideWriter(true),
      });
    } catch (error) {
      // Files of two moments do not fit together, and that looks like damage.
      const isMixed = error instanceof CorruptionError && layoutOf(dir, options) !== before;
      if (!isMixed && !isLayoutChange(error)) throw error;
      if (attempt < ATTEMPT_COUNT_MAX) continue;
      throw error instanceof IoFault ? error : new JournalChangingError(dir, error);
    }
  }
}

/** Names and sizes of everything that counts, but the size of what is being written to. */
function layoutOf(dir: string, { fs }: ResolvedOptions): string {
  const names = fs.list(dir).map(({ name }) => name).filter((name) => LAYOUT_NAME.test(name));
  const active = names.findLast((name) => name.endsWith(".fbat"));
  const facts = names.map((name) =>
    name === active ? name : `${name} ${fs.stat(`${dir}/${name}`)?.size}`
  );
  return facts.join();
}

const LAYOUT_NAME = /\.fbat(?:$|\.)|^compaction\.pending$|^journal\.base$/;

/**
 * From where on what could be seen is not what can be seen now; `undefined` when all of it is the same.
 * A commit of a fence may have been taken back, and then what it had shown is hidden again.
 */
function firstRetracted(before: EventSource, after: EventSource): number | undefined {
  const difference = firstDifference(before, after);
  const beforeEnd = before.firstSequence + before.index.visibleCount;
  const afterEnd = after.firstSequence + after.index.visibleCount;
  return afterEnd < beforeEnd ? Math.min(afterEnd, difference ?? afterEnd) : difference;
}

/**
 * The sequence of the first event that is another one now, or is not there any more; `undefined` when all
 * are the same. A writer takes back its newest group at most, so nothing in front of that is compared.
 */
function firstDifference(before: EventSource, after: EventSource): number | undefined {
  const end = before.firstSequence + before.index.count;
  const start = Math.max(
    before.firstSequence + before.index.firstRow,
    after.firstSequence + after.index.firstRow,
    end - GROUP_COUNT_MAX,
  );
  const afterEnd = after.firstSequence + after.index.count;
  for (let sequence = start; sequence < end; sequence++) {
    if (sequence >= afterEnd || !isSameEvent(before, after, sequence)) return sequence;
  }
  return undefined;
}

function isSameEvent(a: EventSource, b: EventSource, sequence: number): boolean {
  const aRow = sequence - a.firstSequence;
  const bRow = sequence - b.firstSequence;
  const aBytes = a.index.idBytesOf(aRow);
  const aStart = a.index.idStartOf(aRow);
  const bBytes = b.index.idBytesOf(bRow);
  const bStart = b.index.idStartOf(bRow);
  for (let i = 0; i < ID_SIZE; i++) if (aBytes[aStart + i] !== bBytes[bStart + i]) return false;
  return true;
}

/** Whether a file was replaced or removed between two looks. */
function isLayoutChange(error: unknown): boolean {
  const fault = error instanceof StoreIoError ? error.fault : error;
  return error instanceof LayoutChange || (fault instanceof IoFault && fault.code === "ENOENT");
}

/**
 * A journal open for reading, beside whoever writes. Made by {@linkcode Store.openReadOnly}. It shows
 * the journal as of the open or the last {@linkcode refresh}, always in whole groups.
 *
 * @example Follow a writer
 * ```ts
 * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const fs = new MemoryFs();
 * using store = Store.open("journal", { fs });
 * using reader = Store.openReadOnly("journal", { fs });
 * store.append({ entity: "user:1", scope: "app" }, EventKind.DATA, "hello");
 *
 * assert.equal(reader.query({ entity: "user:1" }).length, 0);
 * assert.equal(reader.refresh(), 1);
 * assert.equal(reader.query({ entity: "user:1" })[0].payload, "hello");
 * ```
 */
export class ReadOnlyStore extends JournalReader {
  #loader: JournalLoader;
  /** Events with a sequence below this have been synced here. */
  #durableSequence = 0;

  private constructor(
    facts: {
      dir: string;
      source: EventSource;
      options: ResolvedOptions;
      storeId: Uint8Array;
      loader: JournalLoader;
      openReport: OpenReport;
    },
  ) {
    super(facts);
    this.#loader = facts.loader;
    this.source.recover = (error) => this.#recover(error);
  }

  /** As {@linkcode Store.openReadOnly}. */
  static open(dir: string, options: ReadOptions = {}): ReadOnlyStore {
    assertDir(dir);
    const resolved = resolveOptions(options);
    const { clock } = resolved;
    const startedUs = clock.monotonicUs();
    return withIo(`open "${dir}" for reading`, () => {
      const path = canonicalJournal(resolved.fs, dir);
      const loaded = loadBesideWriter(path, resolved);
      const { source, loader } = loaded;
      if (resolved.chainVerification === "recompute" && source.log.segments.length > 0) {
        refuseUnlessIntact(path, resolved);
      }
      const elapsedUs = Math.round(clock.monotonicUs() - startedUs);
      const openReport: OpenReport = {
        ...loaded.facts,
        mode: "read",
        segments: source.log.segments.length,
        elapsedUs,
        phaseRestoreIndexUs: elapsedUs,
        repairs: [],
        oddities: [...loader.oddities],
      };
      const { storeId } = loader;
      if (storeId === undefined) throw new JournalNotFoundError(dir);
      const store = new ReadOnlyStore({
        dir: path,
        source,
        options: resolved,
        storeId,
        loader,
        openReport,
      });
      observe(resolved, openReport);
      return store;
    });
  }

  /**
   * Whether an event survives a power cut is the writer's to say; a reader only knows that it was
   * written.
   */
  override get durableSequence(): undefined {
    return undefined;
  }

  /** As {@linkcode JournalReader.frontier}. */
  override frontier(): FrontierView {
    if (this.closed) throw new StoreClosedError("look at the frontier");
    const { clock, scheduler } = this.options;
    const watermarks = new Watermarks({ clock, scheduler });
    watermarks.reset(withIo("look at the frontier", () => bootstrapOf(this.source)));
    return watermarks.view();
  }

  /**
   * Takes in what has been appended since the open or the last refresh, and says by how many events what
   * can be seen has grown: those behind an open fence come all at once when it is committed. When the journal has been compacted or pruned meanwhile, it is read anew, and payloads that were
   * erased are gone here too. Events that were read before keep their place; those that have been pruned
   * cannot be read any more.
   *
   * @throws {JournalChangingError} when segments are replaced faster than they can be read.
   * @throws {CorruptionError} when sound frames follow damage: it is no torn end, and reading on would
   * skip events.
   */
  refresh(): number {
    if (this.closed) throw new StoreClosedError("refresh");
    const before = this.#visibleEnd;
    withIo("refresh", () => {
      try {
        if (this.#loader.isLayoutChanged(false)) this.#reload();
        else this.#loader.loadBesideWriter(false);
      } catch (error) {
        // Segments that no longer follow those that were read look like damage. Damage stays damage when
        // it is read anew.
        if (!(error instanceof CorruptionError) && !isLayoutChange(error)) throw error;
        this.#reload();
      }
    });
    const { index, firstSequence } = this.source;
    const end = this.#visibleEnd;
    const start = Math.min(before, end);
    const added = end - start -
      index.cancelledWithin(start - firstSequence, end - firstSequence);
    if (added > 0) this.visibility.raise();
    return added;
  }

  get #nextSequence(): number {
    return this.source.firstSequence + this.source.index.count;
  }

  get #visibleEnd(): number {
    return this.source.firstSequence + this.source.index.visibleCount;
  }

  /** A read found something else than what was there: so it may, when the files have been replaced. */
  #recover(error: unknown): boolean {
    const mayBe = error instanceof CorruptionError ||
      (error instanceof StoreIoError && error.fault.code === "ENOENT");
    if (this.closed || !mayBe) return false;
    return withIo("read an event", () => {
      if (!this.#isReplaced()) return false;
      this.#reload();
      return true;
    });
  }

  #isReplaced(): boolean {
    try {
      return this.#loader.isLayoutChanged(true);
    } catch (error) {
      if (isLayoutChange(error)) return true;
      throw error;
    }
  }

  /** Reads the journal anew. Sequences stay, so events that were read before keep their place. */
  #reload(): void {
    const { source: fresh, loader } = loadBesideWriter(this.dir, this.options);
    if (loader.storeId === undefined) throw new JournalNotFoundError(this.dir);
    const { source } = this;
    const retractedFrom = firstRetracted(source, fresh);
    if (retractedFrom !== undefined) {
      source.retractions.push(retractedFrom);
      this.#durableSequence = Math.min(this.#durableSequence, retractedFrom);
    }
    source.log.close();
    source.index = fresh.index;
    source.log = fresh.log;
    source.firstSequence = fresh.firstSequence;
    this.#loader = loader;
  }

  /**
   * As of a reader, under whom another process may replace segments.
   *
   * @internal
   */
  protected override copySource(action: string): CopySource {
    return { ...super.copySource(action), refresh: () => void this.refresh() };
  }

  /**
   * Looks for what the writer has appended.
   *
   * @internal
   */
  protected override refreshOf(): () => number {
    return () => this.refresh();
  }

  /**
   * Makes an event survive a power cut: somebody is about to rely on having seen it, and its writer may
   * not have synced it. Sealed segments are durable, so it is a matter of the newest one, and a sync does
   * not ask who wrote what it syncs.
   *
   * @internal
   */
  protected override makeDurable(sequence: number): void {
    if (this.closed) throw new StoreClosedError("make an event durable");
    // Not all that has been read: what a fence still hides becomes visible by an event behind it, and then
    // that one has to be durable too.
    const visibleEnd = () => this.source.firstSequence + this.source.index.visibleCount;
    withIo("make an event durable", () => {
      // A segment is replaced only after it was sealed, so a second look finds a newer one.
      for (let attempt = 1; sequence >= this.#durableSequence; attempt++) {
        const { source } = this;
        const end = visibleEnd();
        const segment = source.log.segments.at(-1);
        if (segment === undefined || sequence < segment.firstRow + source.firstSequence) return;
        try {
          this.#syncFile(segment.path);
          this.#durableSequence = end;
          // It was seen, and the commit of its fence was taken back: it is hidden, and durable.
          if (sequence >= end) return;
        } catch (error) {
          if (attempt === ATTEMPT_COUNT_MAX || !isLayoutChange(error)) throw error;
          this.refresh();
        }
      }
    });
  }

  #syncFile(path: string): void {
    const file = this.options.fs.open(path, "read");
    try {
      file.sync("data");
    } finally {
      file.close();
    }
  }

  /**
   * Lets go of the files. Reads fail afterwards; a second call does nothing.
   *
   * @throws {StoreInUseError} while workers follow the store: stop and join them first.
   */
  override close(): void {
    if (!this.closed) this.holders.assertNone("close");
    this.#letGo();
  }

  /** As {@linkcode close}, and never refused: workers that follow the store are told to stop. */
  override [Symbol.dispose](): void {
    this.#letGo();
  }

  #letGo(): void {
    this.closed = true;
    this.holders.dismiss();
    this.source.log.close();
    // Whoever waits for more finds that there will be no more.
    this.visibility.wake();
  }
}
