/**
 * Compaction: neighbouring sealed segments become one, and payloads that a rule gives up are left out.
 *
 * Headers never change, so sequences, chains, receipts and idempotent replay survive it. The active
 * segment is never touched. A compaction is a series of transactions, one for each run of neighbours:
 *
 * 1. Everything appended is made durable: a rule may have counted on the newest events.
 * 2. The merged segment is written under `.compact-new`, in bounded steps, and synced. Until it is
 *    whole, nothing else has happened, and it counts for nothing.
 * 3. The marker is published: it says which files belong together.
 * 4. The first source gets the name `.compact-src`; the directory is synced.
 * 5. The merged segment gets the first source's name. **This is the commit**; the directory is synced.
 * 6. The index and the log of this handle go over to it, in one turn.
 * 7. The sources go, and the saved index with them, which is about segments that are no more. It goes
 *    here and not earlier, so that a compaction that fails costs nobody the saved index; and before the
 *    marker, because without one it would be believed. The directory is synced.
 * 8. The marker goes; the directory is synced.
 *
 * A failure before 5 undoes what was done: only names that this transaction made are removed, and the
 * original is renamed, never replaced by anything but itself. When the sync of 5 fails, the merged
 * segment stands under its name and every source is still there, so both states are whole and a power cut
 * decides between them. This handle goes on with the merged segment, because that is what every other
 * process sees from now on; the sources and the marker stay until a later sync succeeds. A failure in 7
 * or 8 leaves files behind that the marker says do not count; the next compaction or open removes them.
 *
 * @module
 */

import { crc32 } from "../../platform/checksum.ts";
import type { Clock } from "../../platform/clock.ts";
import { IoFault, type StoreFile, type StoreFs } from "../../platform/fs.ts";
import { assert, assertKnownKeys, assertUint } from "../assert.ts";
import {
  type CompactionMarker,
  encodeMarker,
  MARKER_NAME,
  SOURCE_COUNT_MAX,
} from "./compaction_marker.ts";
import {
  CompactionError,
  CorruptionError,
  InvalidClockError,
  LifecycleBusyError,
  StoreIoError,
} from "../errors.ts";
import { STATE_ERASED, STATE_RETIRED } from "../index/event_index.ts";
import { evidenceHash } from "../evidence.ts";
import {
  erasedFrameSize,
  eraseFrame,
  FRAME_HEADER_SIZE,
  sequenceOf,
  timestampOf,
} from "../frame.ts";
import { FrameScanner, readRange } from "../frame_scanner.ts";
import { Blake3Stream, bytesEqual, toHex } from "../hash.ts";
import { INDEX_FILE_NAME } from "../index/index_file.ts";
import {
  type CompiledRule,
  compileRule,
  judge,
  measure,
  type RetentionRule,
  type RowSet,
  RuleFailure,
} from "./retention.ts";
import { encodeFooter } from "../index/segment_footer.ts";
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  MERGED_HEADER_SIZE,
  type SegmentHeader,
} from "../segment_header.ts";
import { lastIdOf, type Segment, segmentName } from "../segment_log.ts";
import {
  clearPendingCompaction,
  readSegmentSet,
  restoreSource,
  settleCompaction,
  SOURCE_SUFFIX,
  STAGED_SUFFIX,
} from "./segment_set.ts";
import type { EventSource } from "../stored_event.ts";

/** What a compaction is for. */
export type CompactionStrategy =
  /** Fewer, larger segments; every event stays as it is. */
  | { readonly type: "merge" }
  /**
   * Erases payloads for good, and what `keep` gives up leaves queries too: `query`, `events`, `byEntity`.
   * Its header stays, and with it sequence, chain, receipts, idempotent replay, clocks and conditions:
   * `get`, `at` and `latest` still give the event, and a `failIf` that means it still fails.
   */
  | { readonly type: "retention"; readonly keep: RetentionRule }
  /** Erases payloads for good: what `keep` gives up stays in every answer, without its payload. */
  | { readonly type: "tombstone"; readonly keep: RetentionRule };

/** Options of a compaction. */
export interface CompactionOptions {
  /** What it is for. Default: merge. */
  readonly strategy?: CompactionStrategy;
  /**
   * With fewer sealed segments than this nothing is done. At least 1; default 2 for a merge, and 1 where
   * something is to be erased.
   */
  readonly minSegments?: number;
  /** Seals the active segment first, when it has an event, so that it takes part. Default `false`. */
  readonly seal?: boolean;
  /**
   * How large a merged segment may get, in bytes of frames: 1 to 2,147,483,648; default 268,435,456. A
   * segment that has half of it is not merged any more, and rewritten only to erase.
   */
  readonly mergedSegmentMaxBytes?: number;
  /**
   * About how many bytes a step works on, at least 4,096. Default 4,194,304 (4 MiB). Two steps of each
   * merged segment are as long as it has events, some 0.1 µs for each: its index footer, and its commit.
   */
  readonly stepMaxBytes?: number;
  /** Says what would be done, and does nothing. Default `false`. */
  readonly dryRun?: boolean;
  /** Called after every step. */
  readonly onProgress?: (progress: CompactionProgress) => void;
}

/** How far a compaction is. */
export interface CompactionProgress {
  /** Asking the rule; writing merged segments; done. */
  readonly phase: "judging" | "merging" | "done";
  /** Bytes of merged segments written so far. */
  readonly bytes: number;
  /** How many there will be, once that is known. */
  readonly totalBytes: number | undefined;
  /** Transactions committed so far. */
  readonly transactions: number;
}

/** Something that a compaction met and went on. */
export interface CompactionFinding {
  /** What it is about. */
  readonly type:
    /** The directory could not be synced after the commit: a power cut may bring back the sources. */
    | "CommitNotDurable"
    /** A file that does not count any more could not be removed; the next compaction or open does. */
    | "LeftoverNotRemoved"
    /** What was done was undone. */
    | "RolledBack";
  /** What the system said. */
  readonly reason: string;
}

/** One merged segment, and what it was made of. */
export interface CompactionMerge {
  /** Its id, which is that of its first source. */
  readonly mergedSegmentId: number;
  /** The segments it replaced. */
  readonly sourceSegmentIds: readonly number[];
  /** BLAKE3 of its file, in hex; `null` in a dry run. */
  readonly outputHash: string | null;
}

/** The facts of a compaction that its evidence hash covers. */
export interface CompactionEvidence {
  /** The version of this shape, 1. */
  readonly schemaVersion: 1;
  /** Hash of what was to be done, in hex: equal for equal inputs. */
  readonly compactionId: string;
  /** The lowest id among the sealed segments; `null` without one. */
  readonly inputSegmentIdLow: number | null;
  /** The highest id among them; `null` without one. */
  readonly inputSegmentIdHigh: number | null;
  /** What it was for. */
  readonly strategy: CompactionStrategy["type"];
  /** The option `minSegments`. */
  readonly minSegments: number;
  /** The segment being written to. */
  readonly activeSegmentId: number;
  /** How many sealed segments there were. */
  readonly sealedSegmentCount: number;
  /** What was merged, in order. */
  readonly merges: readonly CompactionMerge[];
  /** How it ended. */
  readonly outcome: CompactionReport["outcome"];
  /** How many segments fewer there are. */
  readonly segmentsRemoved: number;
  /** How many bytes smaller the files are; a rewrite that saves less than its header costs is negative. */
  readonly bytesReclaimed: number;
  /** Events that lost their payload; in a retention also those that had none, and left queries. */
  readonly eventsErased: number;
  /** Whether nothing was done, only said. */
  readonly dryRun: boolean;
  /** What it met. */
  readonly findings: readonly CompactionFinding[];
}

/** What a compaction did. */
export interface CompactionReport {
  /**
   * `"performed"`: all of it. `"skipped"`: there was nothing to do. `"failed"`: it stopped at `reason`;
   * the transactions before that are done, that one has been undone, and nothing is lost.
   */
  readonly outcome: "performed" | "skipped" | "failed";
  /** Why it was skipped, or failed. */
  readonly reason?: string;
  /** The error it failed with. */
  readonly cause?: unknown;
  /** How many segments fewer there are. */
  readonly segmentsRemoved: number;
  /** How many bytes smaller the files are. */
  readonly bytesReclaimed: number;
  /** Events that lost their payload; in a retention also those that had none, and left queries. */
  readonly eventsErased: number;
  /** Transactions that were committed, one for each merged segment. */
  readonly transactions: number;
  /** The same and more as evidence. */
  readonly body: CompactionEvidence;
  /** BLAKE3 of the canonical bytes of `body`, in hex. */
  readonly bodyHash: string;
}

/** What replacing or removing segments needs of the store. */
export interface LifecycleHost {
  readonly fs: StoreFs;
  readonly dir: string;
  readonly source: EventSource;
  /** Sixteen bytes. */
  readonly storeId: Uint8Array;
  /** Seals the active segment when it has an event. */
  readonly seal: () => void;
}

/** What a compaction needs besides. */
export interface CompactionHost extends LifecycleHost {
  readonly clock: Clock;
  /** Throws when the store is closed or its writer has stopped. */
  readonly assertWritable: () => void;
  /** A new id of sixteen bytes. */
  readonly newId: () => Uint8Array;
  /** Makes everything appended durable. */
  readonly sync: () => void;
  /** Whether merged segments end in an index footer, as other sealed segments do. */
  readonly footers: boolean;
  /** Called when the compaction has come to its end, whichever. */
  readonly release: () => void;
}

/**
 * A compaction in steps of bounded work, made by {@linkcode Store.compaction}. Appends and reads between
 * steps are fine. Whoever does not want to finish it abandons it: what it has committed stays, and of the
 * rest nothing is left.
 *
 * @example Compact a little at a time
 * ```ts
 * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * using store = Store.open("journal", { fs: new MemoryFs(), segmentMaxBytes: 1000 });
 * const user = { entity: "user:1", scope: "app" };
 * for (let n = 0; n < 20; n++) store.append(user, EventKind.DATA, { n });
 *
 * using compaction = store.compaction();
 * while (compaction.step()) store.append(user, EventKind.DATA, "meanwhile");
 *
 * assert.equal(compaction.report?.outcome, "performed");
 * assert.deepEqual(store.query({ entity: "user:1" })[19].payload, { n: 19 });
 * ```
 */
export class Compaction implements Disposable {
  readonly #host: CompactionHost;
  readonly #options: ResolvedCompaction;
  readonly #steps: Generator<void, CompactionReport>;
  readonly #findings: CompactionFinding[] = [];
  readonly #merges: CompactionMerge[] = [];
  #report: CompactionReport | undefined;
  #isRunning = false;
  #isAbandoned = false;
  #phase: CompactionProgress["phase"] = "judging";
  #bytes = 0;
  #totalBytes: number | undefined;
  #transactions = 0;
  #segmentsRemoved = 0;
  #bytesReclaimed = 0;
  #eventsErased = 0;
  /** Why the marker of the last transaction is still there, if it is. */
  #leftBehind: string | undefined;

  /**
   * Made by the store.
   *
   * @internal
   */
  constructor(host: CompactionHost, options: CompactionOptions) {
    this.#host = host;
    this.#options = resolveCompaction(options);
    this.#steps = this.#run();
  }

  /** What it did; `undefined` until it has come to its end. */
  get report(): CompactionReport | undefined {
    return this.#report;
  }

  /** How far it is. */
  get progress(): CompactionProgress {
    return {
      phase: this.#phase,
      bytes: this.#bytes,
      totalBytes: this.#totalBytes,
      transactions: this.#transactions,
    };
  }

  /**
   * Does the next piece of work, and says whether there is more.
   *
   * @throws {CompactionError} when it could neither be finished nor undone; reads and appends go on.
   * @throws {LifecycleBusyError} when it is called by code that a step runs.
   * @throws {StoreClosedError} when the store has been closed.
   * @throws {WriterCrashedError} when the writer has stopped.
   */
  step(): boolean {
    if (this.#report !== undefined || this.#isAbandoned) return false;
    if (this.#isRunning) throw new LifecycleBusyError("go on with the compaction");
    this.#isRunning = true;
    try {
      this.#host.assertWritable();
      const { done, value } = this.#steps.next();
      if (done) {
        this.#phase = "done";
        this.#report = value;
        this.#host.release();
      }
    } catch (error) {
      // A step that throws is the last one; what it had begun it has cleaned up.
      this.#isAbandoned = true;
      this.#steps.return(undefined as never);
      this.#host.release();
      throw error;
    } finally {
      this.#isRunning = false;
    }
    this.#options.onProgress?.(this.progress);
    return this.#report === undefined && !this.#isAbandoned;
  }

  /** Takes every step there is, and returns the report. */
  finish(): CompactionReport {
    while (this.step());
    const report = this.#report;
    if (report === undefined) {
      throw new CompactionError("finish the compaction", "it has been abandoned");
    }
    return report;
  }

  /** Leaves it. What has been committed stays; the rest leaves nothing. A second call does nothing. */
  abandon(): void {
    if (this.#report !== undefined || this.#isAbandoned) return;
    this.#isAbandoned = true;
    // Code that a step runs may want this; the step then ends by itself.
    if (!this.#isRunning) this.#steps.return(undefined as never);
    this.#host.release();
  }

  /** As {@linkcode abandon}, when it has not come to its end. */
  [Symbol.dispose](): void {
    this.abandon();
  }

  *#run(): Generator<void, CompactionReport> {
    const { log } = this.#host.source;
    const { minSegments, strategy, rule, stepMaxBytes, dryRun } = this.#options;
    let sealed: Segment[] = [];
    try {
      sealed = log.segments.slice(0, -1);
      if (dryRun) {
        // Sealing would only give the newest segment a successor.
        const { firstRow } = log.segments[log.segments.length - 1];
        if (this.#options.seal && firstRow < log.nextRow) sealed = [...log.segments];
      } else {
        settleEarlier("compact", this.#host);
        if (this.#options.seal) this.#host.seal();
        sealed = log.segments.slice(0, -1);
      }
      if (sealed.length < minSegments) {
        const there = sealed.length === 1
          ? "is 1 sealed segment"
          : `are ${sealed.length} sealed segments`;
        return this.#end(sealed, "skipped", {
          reason:
            `there ${there}, and minSegments asks for ${minSegments}: lower it, or seal the newest`,
        });
      }
      const doomed = rule === undefined ? undefined : yield* judge({
        source: this.#host.source,
        rule,
        retires: strategy === "retention",
        start: sealed[0].firstRow,
        end: log.segments[sealed.length]?.firstRow ?? log.nextRow,
        nowUs: this.#now(),
        stepMaxBytes,
        assertOpen: () => this.#assertGoingOn(),
      });
      const runs = yield* this.#plan(sealed, doomed);
      if (runs.length === 0) {
        return this.#end(sealed, "skipped", { reason: "there is nothing to merge or to erase" });
      }
      this.#phase = "merging";
      this.#totalBytes = runs.reduce((sum, run) => sum + run.size, 0);
      for (const run of runs) {
        if (dryRun) {
          this.#pretend(run);
          continue;
        }
        // Another marker in the place of one that is still needed would leave its files to nobody.
        if (this.#leftBehind !== undefined) {
          return this.#end(sealed, "failed", { reason: this.#leftBehind });
        }
        yield* this.#transact(run, doomed);
        // A commit is a step of its own.
        yield;
      }
      return this.#end(sealed, "performed", {});
    } catch (error) {
      if (!isFailure(error)) throw error;
      return this.#end(sealed, "failed", {
        reason: error.message,
        cause: error instanceof RuleFailure && error.cause !== undefined ? error.cause : error,
      });
    }
  }

  #now(): number {
    const nowUs = Math.floor(this.#host.clock.nowUs());
    if (!(nowUs >= 0 && nowUs <= Number.MAX_SAFE_INTEGER)) throw new InvalidClockError(nowUs);
    return nowUs;
  }

  /** Throws when code that a step has run closed the store, or gave up the compaction. */
  #assertGoingOn(): void {
    this.#host.assertWritable();
    if (this.#isAbandoned) throw new CompactionError("go on compacting", "it has been abandoned");
  }

  /** Runs of neighbours that fit a merged segment, where merging or erasing is worth it. */
  *#plan(sealed: readonly Segment[], doomed: RowSet | undefined): Generator<void, Run[]> {
    const { source } = this.#host;
    const { mergedSegmentMaxBytes, stepMaxBytes } = this.#options;
    const bounds = sealed.map(({ firstRow }) => firstRow);
    bounds.push(source.log.segments[sealed.length]?.firstRow ?? source.log.nextRow);
    const saved = doomed === undefined || doomed.count === 0
      ? undefined
      : yield* measure(source, doomed, { bounds, stepMaxBytes });
    const runs: Run[] = [];
    let open: Run = { segments: [], size: 0, erased: 0 };
    const close = () => {
      if (open.segments.length > 1 || open.erased > 0) runs.push(open);
      open = { segments: [], size: 0, erased: 0 };
    };
    for (const [i, segment] of sealed.entries()) {
      let erased = 0;
      if (saved !== undefined && doomed !== undefined) {
        for (let row = bounds[i]; row < bounds[i + 1]; row++) if (doomed.has(row)) erased++;
      }
      const size = segment.end - segment.framesStart - (saved?.[i] ?? 0);
      const isLarge = size * 2 >= mergedSegmentMaxBytes;
      if (
        isLarge || open.size + size > mergedSegmentMaxBytes ||
        open.segments.length === SOURCE_COUNT_MAX
      ) close();
      open.segments.push(segment);
      open.size += size;
      open.erased += erased;
      if (isLarge) close();
    }
    close();
    return runs;
  }

  #pretend({ segments, size, erased }: Run): void {
    const sourceSize = segments.reduce((sum, { end }) => sum + end, 0);
    this.#merges.push({
      mergedSegmentId: segments[0].id,
      sourceSegmentIds: segments.map(({ id }) => id),
      outputHash: null,
    });
    this.#segmentsRemoved += segments.length - 1;
    this.#bytesReclaimed += sourceSize - MERGED_HEADER_SIZE - size;
    this.#eventsErased += erased;
  }

  *#transact(run: Run, doomed: RowSet | undefined): Generator<void, void> {
    const { fs } = this.#host;
    const paths = this.#pathsOf(run);
    if (fs.stat(paths.source) !== undefined) {
      // Renaming onto it would destroy what may be somebody's only copy.
      throw new IoFault({
        code: "EEXIST",
        op: "rename",
        path: paths.source,
        message: "a file of that name is there, and nobody knows what it is",
      });
    }
    // Without a marker it is what another compaction left, and counts for nothing.
    fs.removeIfPresent(paths.staged);
    let staged: Staged | undefined;
    try {
      staged = yield* this.#stage(run, doomed, paths.staged);
      yield* this.#hash(staged, paths.staged);
      this.#assertGoingOn();
    } catch (error) {
      staged = undefined;
      throw error;
    } finally {
      // Also when it is abandoned between two steps.
      if (staged?.checked !== true) removeQuietly(fs, paths.staged);
    }
    this.#commit(run, staged, paths);
  }

  #pathsOf(run: Run): Paths {
    const final = `${this.#host.dir}/${segmentName(run.segments[0].id)}`;
    return { final, staged: final + STAGED_SUFFIX, source: final + SOURCE_SUFFIX };
  }

  /** Writes the merged segment, whole and synced, under a name that counts for nothing. */
  *#stage(run: Run, doomed: RowSet | undefined, path: string): Generator<void, Staged> {
    const { fs, source, newId } = this.#host;
    const { stepMaxBytes, strategy } = this.#options;
    const { segments } = run;
    const first = segments[0];
    const last = segments[segments.length - 1];
    const next = source.log.segments[source.log.segments.indexOf(last) + 1];
    assert(next !== undefined, "a sealed segment is followed by another");
    const erasure = strategy === "retention" ? "retired" : "erased";
    const offsets = new Uint32Array(next.firstRow - first.firstRow);
    let file: StoreFile | undefined;
    let input: StoreFile | undefined;
    try {
      file = fs.open(path, "createNew");
      const out = new OutputBlock(file, MERGED_HEADER_SIZE);
      let row = first.firstRow;
      let lastTimestampUs = 0;
      let work = 0;
      for (const [i, segment] of segments.entries()) {
        const endRow = segments[i + 1]?.firstRow ?? next.firstRow;
        input = fs.open(segment.path, "read");
        // Exactly its frames: what stands behind them is not the log.
        const scanner = new FrameScanner(input, segment.framesStart, segment.end);
        while (scanner.next() === "frame") {
          const { bytes, body, bodySize } = scanner;
          if (row >= endRow || sequenceOf(bytes, body) !== row + source.firstSequence) {
            refuseSource(segment, scanner.offset, "the frame is not the one that belongs here");
          }
          offsets[row - first.firstRow] = out.position;
          if (doomed?.has(row) === true) {
            const size = erasedFrameSize(bytes, body);
            const at = out.reserve(size);
            eraseFrame(bytes, body, erasure, out.bytes, at);
          } else {
            const size = FRAME_HEADER_SIZE + bodySize;
            const at = out.reserve(size);
            out.bytes.set(bytes.subarray(body - FRAME_HEADER_SIZE, body + bodySize), at);
          }
          row++;
          lastTimestampUs = timestampOf(bytes, body);
          work += FRAME_HEADER_SIZE + bodySize;
          if (work < stepMaxBytes) continue;
          out.flush();
          // So that the last sync has little left to do.
          file.sync("data");
          this.#bytes += work;
          work = 0;
          yield;
          this.#assertGoingOn();
        }
        if (scanner.offset !== segment.end || row !== endRow) {
          refuseSource(segment, scanner.offset, scanner.reason || "there is no frame here");
        }
        input.close();
        input = undefined;
      }
      out.flush();
      this.#bytes += work;
      const framesEnd = out.position;
      assert(
        framesEnd === MERGED_HEADER_SIZE + run.size && framesEnd < 2 ** 32,
        "a merged segment has the size that was planned",
      );
      const firstHeader = headerOf(fs, first);
      const header: SegmentHeader = {
        storeId: firstHeader.storeId,
        segmentId: first.id,
        createdNs: firstHeader.createdNs,
        firstSequence: firstHeader.firstSequence,
        previousSize: firstHeader.previousSize,
        previousHash: firstHeader.previousHash,
        merge: {
          lastSegmentId: lastIdOf(last),
          sealedSize: last.merge?.sealedSize ?? last.end,
          framesEnd,
          compactionId: newId(),
        },
      };
      if (this.#host.footers && offsets.length > 0) {
        file.sync("data");
        yield;
        this.#assertGoingOn();
        // Behind the frames, and before the last sync: once it has its name the file does not change.
        const footer = encodeFooter(source.index, {
          start: first.firstRow,
          end: next.firstRow,
          firstSequence: header.firstSequence,
          framesEnd,
          lastTimestampUs,
          lastHash: headerOf(fs, next).previousHash,
          offsets,
          ...(doomed !== undefined && { states: this.#statesOf(first.firstRow, offsets, doomed) }),
        });
        for (let at = 0; at < footer.byteLength;) {
          const size = Math.min(stepMaxBytes, footer.byteLength - at);
          file.writeAt(footer, at, size, framesEnd + at);
          at += size;
          file.sync("data");
          yield;
          this.#assertGoingOn();
        }
      }
      const headerBytes = encodeSegmentHeader(header);
      file.writeAt(headerBytes, 0, headerBytes.byteLength, 0);
      file.sync("all");
      return {
        header,
        offsets,
        doomed,
        framesEnd,
        headerCrc: crc32(headerBytes),
        size: file.size(),
        crc: 0,
        hash: "",
        checked: false,
      };
    } finally {
      input?.close();
      file?.close();
    }
  }

  /** What will have become of each payload. */
  #statesOf(start: number, { length }: Uint32Array, doomed: RowSet): Uint8Array {
    const { index } = this.#host.source;
    const states = new Uint8Array(length);
    for (let i = 0; i < length; i++) {
      states[i] = doomed.has(start + i) ? this.#doomedState() : index.stateOf(start + i);
    }
    return states;
  }

  #doomedState(): number {
    return this.#options.strategy === "retention" ? STATE_RETIRED : STATE_ERASED;
  }

  /** Reads back what was written, for its checksum and hash. */
  *#hash(staged: Staged, path: string): Generator<void, void> {
    const { stepMaxBytes } = this.#options;
    const file = this.#host.fs.open(path, "read");
    try {
      const hash = new Blake3Stream();
      const block = new Uint8Array(Math.min(BLOCK_SIZE, staged.size));
      let work = 0;
      for (let at = 0; at < staged.size;) {
        const size = readRange(file, block, 0, Math.min(block.byteLength, staged.size - at), at);
        if (size === 0) {
          throw new CorruptionError({ path, offset: at, reason: "what was written is not there" });
        }
        const bytes = block.subarray(0, size);
        hash.update(bytes);
        staged.crc = crc32(bytes, staged.crc);
        at += size;
        work += size;
        if (work < stepMaxBytes) continue;
        work = 0;
        yield;
        this.#assertGoingOn();
      }
      staged.hash = toHex(hash.digest());
      staged.checked = true;
    } finally {
      file.close();
    }
  }

  /** Steps 3 to 8, in one turn. */
  #commit(run: Run, staged: Staged, paths: Paths): void {
    const { fs, dir, storeId, source } = this.#host;
    const { segments } = run;
    const { merge } = staged.header;
    assert(merge !== undefined, "a merged segment says so");
    const marker: CompactionMarker = {
      storeId,
      compactionId: merge.compactionId,
      mergedId: segments[0].id,
      stagedSize: staged.size,
      stagedCrc: staged.crc,
      sourceIds: segments.map(({ id }) => id),
    };
    const sourceSize = segments.reduce((sum, { path }) => sum + (fs.stat(path)?.size ?? 0), 0);
    let isSourceTouched = false;
    try {
      this.#host.sync();
      fs.publish(`${dir}/${MARKER_NAME}`, encodeMarker(marker));
      isSourceTouched = true;
      fs.rename(paths.final, paths.source);
      // Before the commit: its rename must never become durable without this one.
      fs.syncDir(dir);
      fs.rename(paths.staged, paths.final);
    } catch (error) {
      this.#rollBack(segments[0], paths, { isSourceTouched, error });
      throw error;
    }
    // Committed. From here on nothing may fail the compaction, only leave something behind.
    const isDurable = this.#attempt("CommitNotDurable", () => fs.syncDir(dir));
    this.#swap(run, staged, paths.final);
    this.#merges.push({
      mergedSegmentId: marker.mergedId,
      sourceSegmentIds: marker.sourceIds,
      outputHash: staged.hash,
    });
    this.#transactions++;
    this.#segmentsRemoved += segments.length - 1;
    this.#bytesReclaimed += sourceSize - staged.size;
    this.#eventsErased += run.erased;
    assert(source.log.segments.length > 1, "the active segment stays");
    if (!isDurable) return;
    // Each for itself: one that cannot be removed is no reason to leave the others.
    let isClean = true;
    for (
      const path of [
        ...marker.sourceIds.slice(1).map((id) => `${dir}/${segmentName(id)}`),
        paths.source,
        `${dir}/${INDEX_FILE_NAME}`,
      ]
    ) isClean = this.#attempt("LeftoverNotRemoved", () => fs.removeIfPresent(path)) && isClean;
    if (!isClean) return;
    // The marker says that the sources do not count, so they go first, for good.
    this.#attempt("LeftoverNotRemoved", () => {
      fs.syncDir(dir);
      clearPendingCompaction(fs, dir);
    });
  }

  /** Whether something that may fail did not; a finding when it did. */
  #attempt(type: CompactionFinding["type"], action: () => void): boolean {
    try {
      action();
      return true;
    } catch (error) {
      if (!(error instanceof IoFault)) throw error;
      this.#findings.push({ type, reason: error.message });
      this.#leftBehind = error.message;
      return false;
    }
  }

  /** Undoes what a transaction has done before its commit. Removes nothing that it did not make. */
  #rollBack(
    first: Segment,
    paths: Paths,
    failure: { readonly isSourceTouched: boolean; readonly error: unknown },
  ): void {
    const { fs, dir, source } = this.#host;
    const { isSourceTouched, error } = failure;
    try {
      if (isSourceTouched) restoreSource(fs, dir, first.id);
      fs.removeIfPresent(paths.staged);
      clearPendingCompaction(fs, dir);
    } catch (rollbackError) {
      // Reads go on from wherever the original is now.
      const isAside = exists(fs, paths.source);
      if (isAside) source.log.relocate(first, paths.source);
      const why = (error as Error).message;
      throw new CompactionError(
        "compact",
        `${why}; undoing it failed too (${(rollbackError as Error).message}). Nothing is lost: ` +
          "close and open the journal again, which settles it",
        rollbackError,
      );
    }
    this.#findings.push({ type: "RolledBack", reason: (error as Error).message });
  }

  /** Makes this handle read from the merged segment, all in one turn. */
  #swap({ segments }: Run, staged: Staged, path: string): void {
    const { index, log } = this.#host.source;
    const at = log.segments.indexOf(segments[0]);
    assert(at >= 0, "the sources are part of the log");
    const first = segments[0].firstRow;
    const { offsets, framesEnd, headerCrc, header } = staged;
    for (let i = 0; i < offsets.length; i++) index.moveFrame(first + i, offsets[i]);
    log.replace(at, segments.length, [{
      id: header.segmentId,
      path,
      firstRow: first,
      framesStart: MERGED_HEADER_SIZE,
      end: framesEnd,
      headerCrc,
      ...(header.merge !== undefined && { merge: header.merge }),
    }]);
    const { doomed } = staged;
    if (doomed === undefined) return;
    for (let i = 0; i < offsets.length; i++) {
      if (doomed.has(first + i)) index.setState(first + i, this.#doomedState());
    }
  }

  #end(
    sealed: readonly Segment[],
    outcome: CompactionReport["outcome"],
    why: { readonly reason?: string; readonly cause?: unknown },
  ): CompactionReport {
    const { minSegments, strategy, dryRun } = this.#options;
    const { log } = this.#host.source;
    const inputs = {
      schemaVersion: 1,
      inputSegmentIdLow: sealed[0]?.id ?? null,
      inputSegmentIdHigh: sealed.at(-1)?.id ?? null,
      strategy,
      minSegments,
      activeSegmentId: log.segments[log.segments.length - 1].id,
      sealedSegmentCount: sealed.length,
      dryRun,
    } as const;
    const counts = {
      segmentsRemoved: this.#segmentsRemoved,
      bytesReclaimed: this.#bytesReclaimed,
      eventsErased: this.#eventsErased,
    };
    const body: CompactionEvidence = {
      ...inputs,
      compactionId: evidenceHash({
        ...inputs,
        sourceSegmentIds: sealed.map(({ id }) => id),
      }),
      merges: this.#merges,
      outcome,
      ...counts,
      findings: this.#findings.toSorted(byTypeAndReason),
    };
    return {
      outcome,
      ...(why.reason !== undefined && { reason: why.reason }),
      ...(why.cause !== undefined && { cause: why.cause }),
      ...counts,
      transactions: this.#transactions,
      body,
      bodyHash: evidenceHash(body),
    };
  }
}

/** Neighbours that become one segment. */
interface Run {
  readonly segments: Segment[];
  /** Bytes of frames they will have. */
  size: number;
  /** Payloads they will lose. */
  erased: number;
}

interface Paths {
  readonly final: string;
  readonly staged: string;
  readonly source: string;
}

/** A merged segment that is complete, and has no name yet. */
interface Staged {
  readonly header: SegmentHeader;
  /** Where the frame of each row starts. */
  readonly offsets: Uint32Array;
  readonly framesEnd: number;
  readonly headerCrc: number;
  /** Bytes of the file. */
  readonly size: number;
  crc: number;
  hash: string;
  /** Whether it has been read back. */
  checked: boolean;
  /** The rows that lose their payload. */
  readonly doomed: RowSet | undefined;
}

const BLOCK_SIZE = 1 << 20;

/** Gathers frames, so that they are written with few calls. */
class OutputBlock {
  bytes: Uint8Array = new Uint8Array(BLOCK_SIZE);
  readonly #file: StoreFile;
  #start: number;
  #used = 0;

  constructor(file: StoreFile, start: number) {
    this.#file = file;
    this.#start = start;
  }

  /** The file offset of what is added next. */
  get position(): number {
    return this.#start + this.#used;
  }

  /** Makes room, and says where in {@linkcode bytes}. */
  reserve(size: number): number {
    if (this.#used + size > this.bytes.byteLength) {
      this.flush();
      if (size > this.bytes.byteLength) this.bytes = new Uint8Array(size);
    }
    const at = this.#used;
    this.#used += size;
    return at;
  }

  flush(): void {
    this.#file.writeAt(this.bytes, 0, this.#used, this.#start);
    this.#start += this.#used;
    this.#used = 0;
  }
}

/** Options with every default in place. */
interface ResolvedCompaction {
  readonly strategy: CompactionStrategy["type"];
  readonly rule: CompiledRule | undefined;
  readonly minSegments: number;
  readonly seal: boolean;
  readonly mergedSegmentMaxBytes: number;
  readonly stepMaxBytes: number;
  readonly dryRun: boolean;
  readonly onProgress: ((progress: CompactionProgress) => void) | undefined;
}

const OPTIONS: ReadonlySet<string> = new Set([
  "strategy",
  "minSegments",
  "seal",
  "mergedSegmentMaxBytes",
  "stepMaxBytes",
  "dryRun",
  "onProgress",
]);

function resolveCompaction(options: CompactionOptions): ResolvedCompaction {
  assertKnownKeys("compact", options, OPTIONS);
  const { strategy = { type: "merge" }, seal = false, dryRun = false, onProgress } = options;
  const { type } = strategy;
  if (type !== "merge" && type !== "retention" && type !== "tombstone") {
    throw new TypeError(
      `Cannot compact with strategy "${
        String(type)
      }": there are "merge", "retention" and "tombstone"`,
    );
  }
  assertKnownKeys("compact", strategy, new Set(type === "merge" ? ["type"] : ["type", "keep"]));
  return {
    strategy: type,
    rule: strategy.type === "merge" ? undefined : compileRule(strategy.keep),
    minSegments: atLeast(
      "minSegments",
      options.minSegments ?? (type === "merge" ? 2 : 1),
      1,
      2 ** 32 - 1,
    ),
    seal,
    mergedSegmentMaxBytes: atLeast(
      "mergedSegmentMaxBytes",
      options.mergedSegmentMaxBytes ?? 256 << 20,
      1,
      2 ** 31,
    ),
    stepMaxBytes: atLeast("stepMaxBytes", options.stepMaxBytes ?? 4 << 20, 4096, 2 ** 31),
    dryRun,
    onProgress,
  };
}

function atLeast(name: string, value: number, min: number, max: number): number {
  if (assertUint(name, value, max) >= min) return value;
  throw new RangeError(`Cannot use ${name} ${value}: give a whole number of ${min} to ${max}`);
}

/**
 * Ends a compaction of before, whose marker could not be removed or which could not be undone.
 *
 * @throws {CompactionError} when that does not work, or this handle reads from what it would remove.
 */
export function settleEarlier(action: string, host: LifecycleHost): void {
  const { fs, dir, storeId, source } = host;
  const refuse = (reason: string, cause?: unknown): never => {
    throw new CompactionError(
      action,
      `an earlier change of its segments has not come to its end: ${reason}`,
      cause,
    );
  };
  const { log } = source;
  try {
    const set = readSegmentSet(fs, dir, { storeId, thorough: true });
    const { pending, leftovers } = set;
    if (set.base !== undefined && set.base.firstSegmentId !== log.segments[0].id) {
      refuse("the journal was pruned, and this handle does not know; close and open it again");
    }
    for (const { name } of leftovers) {
      // What an abandoned one could not remove. It counts for nothing.
      if (name.endsWith(STAGED_SUFFIX)) removeQuietly(fs, `${dir}/${name}`);
    }
    if (pending === undefined) return;
    const { compactionId } = pending.marker;
    const isHere = log.segments.some(({ merge }) =>
      merge !== undefined && bytesEqual(merge.compactionId, compactionId)
    );
    if (isHere !== pending.isCommitted) {
      refuse("this handle reads from the other side of it; close and open the journal again");
    }
    settleCompaction(fs, dir, pending);
    for (const segment of log.segments) {
      const path = `${dir}/${segmentName(segment.id)}`;
      if (segment.path !== path) log.relocate(segment, path);
    }
  } catch (error) {
    if (!(error instanceof IoFault || error instanceof CorruptionError)) throw error;
    refuse(error.message, error);
  }
}

/** Errors that end a compaction, and are no fault of ours. */
function isFailure(error: unknown): error is Error {
  return error instanceof IoFault || error instanceof StoreIoError ||
    error instanceof CorruptionError || error instanceof RuleFailure;
}

/**
 * The header of a segment.
 *
 * @throws {CorruptionError} when it cannot be read.
 */
export function headerOf(fs: StoreFs, segment: Segment): SegmentHeader {
  const file = fs.open(segment.path, "read");
  try {
    const bytes = new Uint8Array(segment.framesStart);
    readRange(file, bytes, 0, bytes.byteLength, 0);
    const decoded = decodeSegmentHeader(bytes);
    if (decoded.type === "header" && decoded.header.segmentId === segment.id) return decoded.header;
    return refuseSource(segment, 0, "its header cannot be read");
  } finally {
    file.close();
  }
}

function refuseSource(segment: Segment, offset: number, reason: string): never {
  const { path, id } = segment;
  throw new CorruptionError({ path, segmentId: id, offset, reason });
}

/** It has a name that counts for nothing, so whoever opens the journal next removes it. */
function removeQuietly(fs: StoreFs, path: string): void {
  try {
    fs.removeIfPresent(path);
  } catch (error) {
    if (!(error instanceof IoFault)) throw error;
  }
}

function exists(fs: StoreFs, path: string): boolean {
  try {
    return fs.stat(path) !== undefined;
  } catch (error) {
    if (!(error instanceof IoFault)) throw error;
    return false;
  }
}

function byTypeAndReason(a: CompactionFinding, b: CompactionFinding): number {
  const left = `${a.type} ${a.reason}`;
  const right = `${b.type} ${b.reason}`;
  return left < right ? -1 : left > right ? 1 : 0;
}
