/**
 * The store for reading: beside a live writer, without a lock, changing nothing.
 *
 * @module
 */

import { JournalNotFoundError, StoreClosedError } from "./errors.ts";
import type { CopySource } from "./journal_copy.ts";
import { JournalReader } from "./journal_reader.ts";
import type { OpenReport } from "./open_report.ts";
import { loadJournal } from "./cold_start.ts";
import { canonicalJournal, observe, readStoreId, refuseUnlessIntact } from "./opening.ts";
import { withIo } from "./io.ts";
import type { JournalLoader } from "./recovery.ts";
import {
  assertDir,
  type ReadOptions,
  type ResolvedOptions,
  resolveOptions,
} from "./store_options.ts";
import type { EventSource } from "./stored_event.ts";

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
  readonly #loader: JournalLoader;

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
  }

  /** As {@linkcode Store.openReadOnly}. */
  static open(dir: string, options: ReadOptions = {}): ReadOnlyStore {
    assertDir(dir);
    const resolved = resolveOptions(options);
    const { clock } = resolved;
    const startedUs = clock.monotonicUs();
    return withIo(`open "${dir}" for reading`, () => {
      const path = canonicalJournal(resolved.fs, dir);
      const loaded = loadJournal(path, resolved, {
        storeId: readStoreId(path, resolved),
        isWriter: false,
        walk: (loader) => loader.loadBesideWriter(true),
      });
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

  /**
   * Takes in what has been appended since the open or the last refresh, and says how many events that
   * was.
   *
   * @throws {CorruptionError} when sound frames follow damage: it is no torn end, and reading on would
   * skip events.
   */
  refresh(): number {
    if (this.closed) throw new StoreClosedError("refresh");
    const before = this.source.index.count;
    withIo("refresh", () => this.#loader.loadBesideWriter(false));
    return this.source.index.count - before;
  }

  /**
   * As of a reader, under whom another process may replace segments.
   *
   * @internal
   */
  protected override copySource(action: string): CopySource {
    return { ...super.copySource(action), refresh: () => void this.refresh() };
  }

  /** Lets go of the files. Reads fail afterwards; a second call does nothing. */
  override close(): void {
    this.closed = true;
    this.source.log.close();
  }

  /** As {@linkcode close}. */
  override [Symbol.dispose](): void {
    this.close();
  }
}
