/**
 * Durable cursors: a cursor whose place outlives the process.
 *
 * The place on disk never lies, by three rules:
 *
 * 1. It moves only when somebody says that what was given has been handled: {@linkcode DurableCursor.commit}.
 * 2. Going back restores what was committed last, and writes nothing.
 * 3. What it points at is durable before it is: a checkpoint that survives a power cut while its event
 *    does not would make the consumer skip the event that takes its sequence.
 *
 * So a crash at any moment gives an event again, and never leaves one out. A handler has to bear that.
 *
 * @module
 */

import type { FileLock } from "../platform/fs.ts";
import type { CursorGapConfig } from "../store/cursor_gaps.ts";
import {
  type Cursor,
  type CursorHost,
  type CursorPosition,
  withoutRetracted,
} from "../store/cursor.ts";
import { type EventId, formatId } from "../store/ids.ts";
import { withIo } from "../store/io.ts";
import type { JournalReader } from "../store/journal_reader.ts";
import { printAs } from "../store/print.ts";
import { Region, type RegionLike } from "../store/region.ts";
import {
  type Checkpoint,
  CheckpointAheadError,
  CheckpointFile,
  CheckpointRegionMismatchError,
  CheckpointWriteError,
  encodeCheckpoint,
} from "./checkpoint.ts";
import { CheckpointId } from "./checkpoint_id.ts";
import { type AtLeastOnce, mintAtLeastOnce } from "./witness.ts";

/** How a durable cursor begins. */
export interface BindOptions {
  /**
   * Whether it goes on from its checkpoint. Without, it begins in front of everything, and the checkpoint
   * is replaced by the first commit. Default true.
   */
  readonly load?: boolean;
  /** As `gaps` of a cursor. */
  readonly gaps?: CursorGapConfig;
  /** As `refreshMinMs` of a cursor. */
  readonly refreshMinMs?: number;
  /** As `refreshMaxMs` of a cursor. */
  readonly refreshMaxMs?: number;
}

const START: CursorPosition = Object.freeze({ position: 0, started: false });

/**
 * A cursor over `region` that goes on where the last one with this id was, in this process or another.
 * Works on a reader too, beside a live writer.
 *
 * @param id of the checkpoint; `undefined` keeps the place in memory only, and {@linkcode
 * DurableCursor.commit} writes nothing.
 * @throws {CheckpointAheadError} when the journal does not have what was handled; nothing is skipped.
 * @throws {CheckpointBusyError} when another consumer works under the id.
 * @throws {CheckpointCorruptError} when the file is no checkpoint.
 * @throws {CheckpointIdError} when it is no id.
 * @throws {CheckpointRegionMismatchError} when the checkpoint is of another region.
 * @throws {CheckpointWriteError} when `cursors/` cannot be made, or nothing can be locked there.
 * @throws {StoreClosedError} when the store has been closed.
 * @throws {StoreIoError} when the checkpoint cannot be read.
 *
 * @example Go on after a restart
 * ```ts
 * import { bindCursor, EventKind, MemoryFs, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * using store = Store.open("journal", { fs: new MemoryFs() });
 * const order = { entity: "order:1", scope: "shop" };
 * for (const n of [1, 2, 3]) store.append(order, EventKind.DATA, n);
 *
 * {
 *   using mailer = bindCursor(store, { entity: "order" }, "mailer");
 *   assert.deepEqual(mailer.cursor.pollBatch(2).map((event) => event.payload), [1, 2]);
 *   mailer.commit(); // they were sent
 *   assert.equal(mailer.cursor.poll()?.payload, 3); // and this one was not
 * }
 *
 * using again = bindCursor(store, { entity: "order" }, "mailer");
 * assert.equal(again.cursor.poll()?.payload, 3);
 * ```
 */
export function bindCursor(
  reader: JournalReader,
  region: RegionLike,
  id: string | undefined,
  options: BindOptions = {},
): DurableCursor {
  const { load = true, ...cursorOptions } = options;
  const following = Region.from(region);
  const make = (from?: CursorPosition): Cursor =>
    reader.cursor(following, from === undefined ? cursorOptions : { ...cursorOptions, from });
  const host = reader.cursorHost();
  // Made first: it checks the options, and that the store is open.
  const cursor = make();
  if (id === undefined) return new DurableCursor(host, make, cursor, undefined);
  const file = new CheckpointFile(reader.dir, CheckpointId.parse(id), host.fs);
  const lock = file.lock();
  try {
    file.tidy();
    const position = load ? startOf(host, file, following) : START;
    return new DurableCursor(host, make, position.started ? make(position) : cursor, {
      file,
      lock,
    });
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Where a checkpoint says to start, once nothing speaks against it. */
function startOf(host: CursorHost, file: CheckpointFile, region: Region): CursorPosition {
  const checkpoint = file.load();
  if (checkpoint === undefined) return START;
  const expected = region.identity();
  if (checkpoint.regionIdentity !== expected) {
    throw new CheckpointRegionMismatchError(file.path, checkpoint.regionIdentity, expected);
  }
  assertHandled(host, file, checkpoint);
  return { position: checkpoint.position, started: checkpoint.started };
}

/** Refuses a checkpoint of events that the journal does not have. */
function assertHandled(
  host: CursorHost,
  file: CheckpointFile,
  { position, started, eventId }: Checkpoint,
): void {
  if (!started) return;
  const nextSequence = () => host.source.firstSequence + host.source.index.count;
  // A reader may be behind the one who saved it.
  if (position >= nextSequence()) host.refresh?.();
  const known = position < nextSequence() ? eventIdAt(host, position) : undefined;
  if (position < nextSequence() && (eventId === null || known === null || known === eventId)) {
    return;
  }
  throw new CheckpointAheadError(file.path, position, nextSequence());
}

/** The id of the event at a sequence, or `null` when it has been pruned. */
function eventIdAt({ source }: CursorHost, sequence: number): EventId | null {
  const { index, firstSequence } = source;
  const row = sequence - firstSequence;
  return row < index.firstRow ? null : formatId(index.idBytesOf(row), index.idStartOf(row));
}

/** A cursor and what of it is committed. Made by {@linkcode bindCursor}. */
export class DurableCursor {
  /** The checkpoint, when there is one. */
  readonly id: CheckpointId | undefined;
  /** Its file, when there is one. */
  readonly path: string | undefined;
  /** Proof that what it gives is given at least once; only with a checkpoint. */
  readonly witness: AtLeastOnce | undefined;
  readonly #host: CursorHost;
  readonly #make: (from?: CursorPosition) => Cursor;
  readonly #bound: { readonly file: CheckpointFile; readonly lock: FileLock } | undefined;
  #cursor: Cursor;
  #committed: CursorPosition;
  /** How many retractions there were when that was committed. */
  #retractionsSeen: number;
  #closed = false;

  /**
   * Made by {@linkcode bindCursor}.
   *
   * @internal
   */
  constructor(
    host: CursorHost,
    make: (from?: CursorPosition) => Cursor,
    cursor: Cursor,
    bound: { readonly file: CheckpointFile; readonly lock: FileLock } | undefined,
  ) {
    this.#host = host;
    this.#make = make;
    this.#bound = bound;
    this.#cursor = cursor;
    this.#committed = cursor.position;
    this.#retractionsSeen = host.source.retractions.length;
    this.id = bound?.file.id;
    this.path = bound?.file.path;
    this.witness = bound === undefined ? undefined : mintAtLeastOnce(bound.file.id);
  }

  /** Gives the events. {@linkcode rebuild} puts another one in its place. */
  get cursor(): Cursor {
    return this.#cursor;
  }

  /**
   * Where a restart would go on. Goes back only when a writer in another process has taken back what was
   * handled, because its write had failed: what stands there now has not been.
   */
  get committed(): CursorPosition {
    const { retractions } = this.#host.source;
    this.#committed = withoutRetracted(this.#committed, retractions, this.#retractionsSeen);
    this.#retractionsSeen = retractions.length;
    return this.#committed;
  }

  /**
   * Says that everything the cursor gave so far has been handled. Returns once that is on disk, and what
   * was handled too.
   *
   * @throws {CheckpointWriteError} when it could not be written. What was committed before still holds:
   * call {@linkcode rollback} to be given the rest again.
   * @throws {TypeError} after {@linkcode close}.
   */
  commit(): void {
    if (this.#closed) throw new TypeError("Cannot commit: the cursor has let go of its checkpoint");
    let { position } = this.#cursor;
    if (this.#bound !== undefined) {
      const { file } = this.#bound;
      if (position.started) this.#makeDurable(file, position.position);
      // A reader may have looked again meanwhile, and found that events were taken back.
      ({ position } = this.#cursor);
      file.publish(encodeCheckpoint({
        ...position,
        regionIdentity: this.#cursor.region.identity(),
        eventId: position.started ? eventIdAt(this.#host, position.position) : null,
      }));
    }
    this.#committed = position;
    this.#retractionsSeen = this.#host.source.retractions.length;
  }

  /** Goes back to what was committed last, and writes nothing. */
  rollback(): void {
    this.#cursor.restore(this.committed);
  }

  /**
   * Puts a new cursor in the place of the old one, at what was committed last, whatever state the old one
   * is in. Reads and writes nothing.
   *
   * @throws {StoreClosedError} when the store has been closed.
   */
  rebuild(): void {
    const { committed } = this;
    this.#cursor = committed.started ? this.#make(committed) : this.#make();
  }

  /** Lets go of the checkpoint, and commits nothing. A second call does nothing. */
  close(): void {
    this.#closed = true;
    this.#bound?.lock.release();
  }

  /** As {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  #makeDurable(file: CheckpointFile, sequence: number): void {
    try {
      withIo("commit", () => this.#host.makeDurable(sequence));
    } catch (error) {
      throw new CheckpointWriteError(file.id, error);
    }
  }
}

printAs(DurableCursor, ({ id, committed }) => ({ id, committed }));
