/**
 * The six watermarks of a store, for the journal and for each lane: moved by the realm that owns the
 * store, read by everybody.
 *
 * Five only rise, on the sequence axis; `applied` is set. `durable` never claims more than is both
 * accepted and written, whoever asks. Once the writer has stopped, `durable` stays where it is for ever,
 * and every wait fails.
 *
 * The methods for each append take plain numbers, allocate nothing, and cost some tens of nanoseconds.
 * Each is one section of the seqlock in `frontier_memory.ts`, so other realms see all of it or nothing.
 * Nothing that could throw runs inside a section.
 *
 * A wait parks on the signal of its kind. That is raised only when a watermark of this kind moves to or
 * past the nearest target, so appends do not wake those who wait for a sync.
 *
 * @module
 */

import type { Clock } from "../../platform/clock.ts";
import type { Scheduler } from "../../platform/scheduler.ts";
import { type SharedWords, wakeWord } from "../../platform/shared_words.ts";
import { Signal } from "../signal.ts";
import {
  FRONTIER_MEMORY_SIZE,
  FRONTIER_STATES,
  LANE_DIRTY,
  LANE_NUMBER,
  LANE_SLOTS,
  LANE_STAGED,
  LANE_STRIDE,
  LANES_INDEX,
  LAYOUT,
  NOT_PENDING,
  numbersOf,
  PENDING_SINCE_INDEX,
  POINTS_STRIDE,
  STATE_CLOSED,
  WORD_EPOCH,
  WORD_GENERATION,
  WORD_LANE_COUNT,
  WORD_LAYOUT,
  WORD_PARKED,
  WORD_POISON,
  WORD_STATE,
  WORD_WAITERS_APPEND,
  WORD_WAITERS_APPLIED,
  WORD_WAITERS_DURABLE,
  wordsOf,
} from "./frontier_memory.ts";
import {
  ACCEPTED,
  APPLIED,
  DURABLE,
  EMITTED,
  FrontierView,
  type LanePoints,
  pointAt,
  VISIBLE,
  WATERMARK_KINDS,
  type WatermarkKind,
  WRITTEN,
} from "./frontier_view.ts";
import { HLC_ORIGIN, type HlcPoint, maxBySequence } from "./hlc_point.ts";
import { Wait, type WaitOptions } from "./wait.ts";

/** What watermarks need. */
export interface WatermarksOptions {
  /** For the age of what is not durable, and for how long a wait has taken. */
  readonly clock: Clock;
  /** For waiting. */
  readonly scheduler: Scheduler;
}

/** Where a lane starts from. */
export interface LaneBootstrap {
  /** The lane. */
  readonly lane: number;
  /** Its highest event, hidden or not. */
  readonly durable: HlcPoint;
  /** Its highest visible event; the origin when there is none. */
  readonly visible: HlcPoint;
}

/** Where watermarks start from. */
export interface FrontierBootstrap {
  /** For accepted, written and durable. */
  readonly durable: HlcPoint;
  /** For visible, applied and emitted. */
  readonly visible: HlcPoint;
  /** Every lane with an event; when there is none, lane 0 starts at the origin. */
  readonly lanes: Iterable<LaneBootstrap>;
}

/** The watermarks of one open store. */
export class Watermarks {
  /** What a {@linkcode SharedFrontier} of another realm reads. */
  readonly memory: SharedArrayBuffer = new SharedArrayBuffer(FRONTIER_MEMORY_SIZE);
  readonly #words: SharedWords = wordsOf(this.memory);
  /** In shared memory: the points of the journal, when the pending age starts, the first lanes. */
  readonly #numbers: Float64Array = numbersOf(this.memory);
  /** The lanes that have no place in shared memory. */
  #moreNumbers: Float64Array = new Float64Array(0);
  /** Lane to slot; slots count through shared memory first. */
  readonly #slots = new Map<number, number>();
  /** Slots of lanes with something that is written and not durable. */
  readonly #dirty: number[] = [];
  /** Slots of lanes with something that was staged and is not published. */
  readonly #staged: number[] = [];

  /** The lane of the last append, and where its numbers are. */
  #lane = -1;
  #laneSlot = -1;
  #lanePoints: Float64Array = this.#numbers;
  #laneBase = 0;

  readonly #clock: Clock;
  readonly #scheduler: Scheduler;
  #pendingSinceUs = 0;
  #poisoned = false;
  #cause: unknown;
  readonly #moved: readonly Signal[] = WATERMARK_KINDS.map(() => new Signal());
  /** By kind: the lowest target of those who wait, or lower. */
  readonly #nearest: number[] = WATERMARK_KINDS.map(() => Infinity);
  /** The lowest of those that an append moves. */
  #nearestOfAppend = Infinity;

  constructor({ clock, scheduler }: WatermarksOptions) {
    this.#clock = clock;
    this.#scheduler = scheduler;
    this.#numbers[PENDING_SINCE_INDEX] = NOT_PENDING;
    Atomics.store(this.#words, WORD_LAYOUT, LAYOUT);
  }

  /** Watermarks that all start at one point, for the journal and for lane 0. */
  static fromPoint(point: HlcPoint, options: WatermarksOptions): Watermarks {
    const watermarks = new Watermarks(options);
    const lanes = [{ lane: 0, durable: point, visible: point }];
    watermarks.reset({ durable: point, visible: point, lanes });
    return watermarks;
  }

  /** Whether the writer has stopped. */
  get poisoned(): boolean {
    return this.#poisoned;
  }

  /** Where a watermark is; on a lane that nothing has happened on, at the origin. */
  point(kind: WatermarkKind, lane?: number): HlcPoint {
    const index = WATERMARK_KINDS.indexOf(kind);
    if (lane === undefined) return pointAt(this.#numbers, 0, index);
    const slot = this.#slots.get(lane);
    if (slot === undefined) return HLC_ORIGIN;
    return pointAt(this.#pointsOf(slot), this.#baseOf(slot), index);
  }

  /**
   * All of them at this moment.
   *
   * @throws {InvariantViolationError} when they contradict each other.
   */
  view(): FrontierView {
    const lanes: LanePoints[] = [];
    for (const [lane, slot] of this.#slots) {
      lanes.push({ lane, points: this.#pointsOf(slot), base: this.#baseOf(slot) });
    }
    return new FrontierView({
      points: this.#numbers,
      lanes,
      lanesComplete: true,
      oldestPendingWriteAgeMs: this.oldestPendingWriteAgeMs,
    });
  }

  /** For how long the oldest event that is not durable has been waiting; `null` when there is none. */
  get oldestPendingWriteAgeMs(): number | null {
    if (this.#numbers[PENDING_SINCE_INDEX] === NOT_PENDING) return null;
    return Math.floor(Math.max(0, this.#clock.monotonicUs() - this.#pendingSinceUs) / 1_000);
  }

  /**
   * Puts everything where a recovered journal is, and forgets what was before, but for the writer's
   * having stopped.
   *
   * A lane that is visible further than it is durable is durable that far: what readers were shown came
   * from the disk. So is the journal.
   */
  reset({ durable, visible, lanes }: FrontierBootstrap): void {
    const starts = [...lanes];
    if (starts.length === 0) starts.push({ lane: 0, durable: HLC_ORIGIN, visible: HLC_ORIGIN });
    this.#moreNumbers = new Float64Array(Math.max(0, starts.length - LANE_SLOTS) * LANE_STRIDE);
    this.#begin();
    this.#slots.clear();
    this.#dirty.length = 0;
    this.#staged.length = 0;
    this.#numbers.fill(0);
    this.#numbers[PENDING_SINCE_INDEX] = NOT_PENDING;
    placeAll(this.#numbers, 0, durable, visible);
    for (const start of starts) {
      const slot = this.#slots.get(start.lane) ?? this.#place(start.lane);
      placeAll(this.#pointsOf(slot), this.#baseOf(slot), start.durable, start.visible);
    }
    this.#lane = -1;
    this.#end(true, true);
    this.wake();
  }

  // ---- What an append moves ----

  /** An event has its place, its bytes are with the system, and readers may see it: all in one. */
  append(lane: number, wallMs: number, sequence: number): void {
    if (lane !== this.#lane) this.#select(lane);
    const words = this.#words;
    const numbers = this.#numbers;
    if (sequence <= numbers[ACCEPTED * 2 + 1] || sequence <= numbers[EMITTED * 2 + 1]) {
      return this.#appendAgain(wallMs, sequence);
    }
    // Nothing has come so far yet, so there is nothing to compare: this is what every append pays.
    const starts = numbers[PENDING_SINCE_INDEX] === NOT_PENDING;
    if (starts) this.#pendingSinceUs = this.#clock.monotonicUs();
    const points = this.#lanePoints;
    const base = this.#laneBase;
    Atomics.add(words, WORD_GENERATION, 1);
    if (starts) numbers[PENDING_SINCE_INDEX] = wallMs;
    numbers[ACCEPTED * 2] = wallMs;
    numbers[ACCEPTED * 2 + 1] = sequence;
    numbers[WRITTEN * 2] = wallMs;
    numbers[WRITTEN * 2 + 1] = sequence;
    numbers[VISIBLE * 2] = wallMs;
    numbers[VISIBLE * 2 + 1] = sequence;
    numbers[EMITTED * 2] = wallMs;
    numbers[EMITTED * 2 + 1] = sequence;
    points[base + ACCEPTED * 2] = wallMs;
    points[base + ACCEPTED * 2 + 1] = sequence;
    points[base + WRITTEN * 2] = wallMs;
    points[base + WRITTEN * 2 + 1] = sequence;
    points[base + VISIBLE * 2] = wallMs;
    points[base + VISIBLE * 2 + 1] = sequence;
    points[base + EMITTED * 2] = wallMs;
    points[base + EMITTED * 2 + 1] = sequence;
    if (points[base + LANE_DIRTY] === 0) this.#markDirty();
    this.#end(true, false);
    if (sequence >= this.#nearestOfAppend) this.#wakeReached();
  }

  /** As {@linkcode append}, on the lane that is selected, where some watermark has come so far before. */
  #appendAgain(wallMs: number, sequence: number): void {
    const starts = this.#startsPending(sequence);
    this.#begin();
    if (starts) this.#numbers[PENDING_SINCE_INDEX] = wallMs;
    this.#raiseStaged(wallMs, sequence);
    this.#raisePublished(wallMs, sequence);
    this.#end(true, false);
    if (sequence >= this.#nearestOfAppend) this.#wakeReached();
  }

  /**
   * As {@linkcode append} for each of a group, with one wall time and one sequence after the other.
   *
   * @param items the lane of each; those from `count` on do not count.
   */
  appendGroup(
    items: readonly { readonly lane: number }[],
    count: number,
    wallMs: number,
    firstSequence: number,
  ): void {
    if (count === 0) return;
    this.#know(items, count);
    const starts = this.#startsPending(firstSequence + count - 1);
    this.#begin();
    if (starts) this.#numbers[PENDING_SINCE_INDEX] = wallMs;
    for (let i = endOfRun(items, count, 0); i < count; i = endOfRun(items, count, i + 1)) {
      const { lane } = items[i];
      if (lane !== this.#lane) this.#select(lane);
      this.#raiseStaged(wallMs, firstSequence + i);
      this.#raisePublished(wallMs, firstSequence + i);
    }
    this.#end(true, false);
    if (firstSequence + count > this.#nearestOfAppend) this.#wakeReached();
  }

  /** An event has its place and its bytes are with the system; nobody may see it yet. */
  stage(lane: number, wallMs: number, sequence: number): void {
    if (lane !== this.#lane) this.#select(lane);
    const starts = this.#startsPending(sequence);
    this.#begin();
    if (starts) this.#numbers[PENDING_SINCE_INDEX] = wallMs;
    this.#raiseStaged(wallMs, sequence);
    this.#markStaged();
    this.#end(false, false);
    if (sequence >= this.#nearestOfAppend) this.#wakeReached();
  }

  /** As {@linkcode stage} for each of a group. */
  stageGroup(
    items: readonly { readonly lane: number }[],
    count: number,
    wallMs: number,
    firstSequence: number,
  ): void {
    if (count === 0) return;
    this.#know(items, count);
    const starts = this.#startsPending(firstSequence + count - 1);
    this.#begin();
    if (starts) this.#numbers[PENDING_SINCE_INDEX] = wallMs;
    for (let i = endOfRun(items, count, 0); i < count; i = endOfRun(items, count, i + 1)) {
      const { lane } = items[i];
      if (lane !== this.#lane) this.#select(lane);
      this.#raiseStaged(wallMs, firstSequence + i);
      this.#markStaged();
    }
    this.#end(false, false);
    if (firstSequence + count > this.#nearestOfAppend) this.#wakeReached();
  }

  /**
   * A fence has ended with this event. When it is committed, what was staged since the last one may be seen,
   * on every lane; when not, that stays as it is. All in one, with {@linkcode append} of the event itself.
   */
  endFence(isCommit: boolean, lane: number, wallMs: number, sequence: number): void {
    if (lane !== this.#lane) this.#select(lane);
    const starts = this.#startsPending(sequence);
    this.#begin();
    if (starts) this.#numbers[PENDING_SINCE_INDEX] = wallMs;
    this.#endStaged(isCommit);
    this.#raiseStaged(wallMs, sequence);
    this.#raisePublished(wallMs, sequence);
    this.#end(true, false);
    if (sequence >= this.#nearestOfAppend) this.#wakeReached();
  }

  /** A sync has succeeded: everything that was both accepted and written is durable. */
  synced(): void {
    this.advanceDurable(Infinity, Infinity);
  }

  // ---- One by one ----

  /** An event has its place. */
  advanceAccepted(lane: number, wallMs: number, sequence: number): void {
    if (lane !== this.#lane) this.#select(lane);
    const starts = this.#startsPending(sequence);
    this.#begin();
    if (starts) this.#numbers[PENDING_SINCE_INDEX] = wallMs;
    this.#raiseAccepted(wallMs, sequence);
    this.#end(false, false);
    if (sequence >= this.#nearestOfAppend) this.#wakeReached();
  }

  /** The system has an event's bytes. */
  advanceWritten(lane: number, wallMs: number, sequence: number): void {
    if (lane !== this.#lane) this.#select(lane);
    this.#begin();
    this.#raiseWritten(wallMs, sequence);
    this.#end(false, false);
    if (sequence >= this.#nearestOfAppend) this.#wakeReached();
  }

  /**
   * Everything up to here survives a power cut, as far as it was accepted and written. A lane is durable
   * as far as it was written once all of that is covered, and until then where it was.
   *
   * Does nothing once the writer has stopped: after a failed sync the system may have dropped the pages,
   * so a later success proves nothing about them.
   */
  advanceDurable(wallMs: number, sequence: number): void {
    if (this.#poisoned) return;
    const numbers = this.#numbers;
    let kind = ACCEPTED;
    if (isBefore(numbers, WRITTEN * 2, numbers[kind * 2], numbers[kind * 2 + 1])) kind = WRITTEN;
    if (isBefore(numbers, kind * 2, wallMs, sequence)) {
      wallMs = numbers[kind * 2];
      sequence = numbers[kind * 2 + 1];
    }
    this.#begin();
    raise(numbers, DURABLE * 2, wallMs, sequence);
    const durable = numbers[DURABLE * 2 + 1];
    this.#raiseDurableLanes(durable);
    if (durable >= numbers[ACCEPTED * 2 + 1]) numbers[PENDING_SINCE_INDEX] = NOT_PENDING;
    this.#bump();
    this.#notify(WORD_WAITERS_DURABLE);
    if (durable >= this.#nearest[DURABLE]) this.#wakeKind(DURABLE);
  }

  /** Readers may see an event. */
  advanceVisible(lane: number, wallMs: number, sequence: number): void {
    if (lane !== this.#lane) this.#select(lane);
    this.#begin();
    raise(this.#numbers, VISIBLE * 2, wallMs, sequence);
    raise(this.#lanePoints, this.#laneBase + VISIBLE * 2, wallMs, sequence);
    this.#end(true, false);
    if (sequence >= this.#nearestOfAppend) this.#wakeReached();
  }

  /** Whoever listens has been told of an event. */
  advanceEmitted(lane: number, wallMs: number, sequence: number): void {
    if (lane !== this.#lane) this.#select(lane);
    this.#begin();
    raise(this.#numbers, EMITTED * 2, wallMs, sequence);
    raise(this.#lanePoints, this.#laneBase + EMITTED * 2, wallMs, sequence);
    this.#end(false, false);
    if (sequence >= this.#nearestOfAppend) this.#wakeReached();
  }

  /** Visible and emitted, for the journal and no lane. */
  advanceVisibleAndEmitted(wallMs: number, sequence: number): void {
    this.#begin();
    raise(this.#numbers, VISIBLE * 2, wallMs, sequence);
    raise(this.#numbers, EMITTED * 2, wallMs, sequence);
    this.#end(true, false);
    if (sequence >= this.#nearestOfAppend) this.#wakeReached();
  }

  /** Puts `applied` of the journal here, ahead or back. */
  setApplied(wallMs: number, sequence: number): void {
    this.#setApplied(this.#numbers, 0, wallMs, sequence);
  }

  /** Puts `applied` of a lane here, ahead or back. */
  setAppliedOnLane(lane: number, wallMs: number, sequence: number): void {
    if (lane !== this.#lane) this.#select(lane);
    this.#setApplied(this.#lanePoints, this.#laneBase, wallMs, sequence);
  }

  #setApplied(points: Float64Array, base: number, wallMs: number, sequence: number): void {
    this.#begin();
    points[base + APPLIED * 2] = wallMs;
    points[base + APPLIED * 2 + 1] = sequence;
    this.#bump();
    this.#notify(WORD_WAITERS_APPLIED);
    if (sequence >= this.#nearest[APPLIED]) this.#wakeKind(APPLIED);
  }

  // ---- The end ----

  /**
   * The writer has stopped, for good. All who wait fail with `WriterCrashedError`, here and in other
   * realms, and `durable` stays where it is. There is no way back.
   *
   * @param cause the first failure.
   */
  poison(cause?: unknown): void {
    if (this.#poisoned) return;
    this.#poisoned = true;
    this.#cause = cause;
    this.#begin();
    Atomics.store(this.#words, WORD_POISON, 1);
    this.#end(true, true);
    this.wake();
  }

  /** The store is about to close: what is awaited may still come. */
  closing(): void {
    this.#setState(FRONTIER_STATES.indexOf("closing"));
  }

  /** The store is closed: all who wait for what is not there fail with `StoreClosedError`. */
  close(): void {
    this.#setState(STATE_CLOSED);
  }

  #setState(state: number): void {
    if (Atomics.load(this.#words, WORD_STATE) >= state) return;
    this.#begin();
    Atomics.store(this.#words, WORD_STATE, state);
    this.#end(true, true);
    this.wake();
  }

  // ---- Waiting ----

  /**
   * Waits until a watermark has come to a sequence: to be there is enough. Never causes a sync.
   *
   * Waiting for sequence 0 succeeds at once, on every lane: that is where watermarks start.
   *
   * @throws {WriterCrashedError} when the writer has stopped, wherever the watermark is.
   * @throws {WaitTimeoutError} when the time is up; not before.
   * @throws {StoreClosedError} when the store is closed and the watermark is not there.
   * @throws the signal's reason, when it aborts.
   * @throws {RangeError} when the target, the lane or the time is out of its range.
   * @throws {TypeError} when the kind or an option is none.
   */
  async waitFor(
    kind: WatermarkKind,
    target: number | HlcPoint,
    options: WaitOptions,
  ): Promise<void> {
    const wait = new Wait(kind, target, options, this.#clock);
    const { lane, signal } = wait;
    const moved = this.#moved[wait.kind];
    // From the look to the park nothing else runs in this realm, and nobody else moves a watermark.
    while (
      !wait.isOver({
        poisoned: this.#poisoned,
        cause: this.#cause,
        closed: Atomics.load(this.#words, WORD_STATE) === STATE_CLOSED,
        reached: this.point(kind, lane).globalSequence,
      })
    ) {
      this.#nearest[wait.kind] = Math.min(this.#nearest[wait.kind], wait.target);
      this.#updateNearestOfAppend();
      const seen = moved.count;
      const { sleepMs } = wait;
      await moved.park(seen, sleepMs, { scheduler: this.#scheduler, signal });
      if (moved.count === seen) wait.sleptOut(sleepMs);
    }
  }

  /** As {@linkcode waitFor}, for `accepted`. */
  waitForAccepted(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.waitFor("accepted", target, options);
  }

  /** As {@linkcode waitFor}, for `written`. */
  waitForWritten(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.waitFor("written", target, options);
  }

  /** As {@linkcode waitFor}, for `durable`. */
  waitForDurable(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.waitFor("durable", target, options);
  }

  /** As {@linkcode waitFor}, for `visible`. */
  waitForVisible(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.waitFor("visible", target, options);
  }

  /** As {@linkcode waitFor}, for `applied`. */
  waitForApplied(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.waitFor("applied", target, options);
  }

  /** As {@linkcode waitFor}, for `emitted`. */
  waitForEmitted(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.waitFor("emitted", target, options);
  }

  /** Makes all who wait look again, though nothing has moved. */
  wake(): void {
    this.#nearest.fill(Infinity);
    this.#nearestOfAppend = Infinity;
    for (const moved of this.#moved) moved.raise();
  }

  #wakeReached(): void {
    const numbers = this.#numbers;
    for (const kind of APPEND_KINDS) {
      if (numbers[kind * 2 + 1] >= this.#nearest[kind]) this.#wakeKind(kind);
    }
  }

  #wakeKind(kind: number): void {
    this.#nearest[kind] = Infinity;
    this.#updateNearestOfAppend();
    this.#moved[kind].raise();
  }

  #updateNearestOfAppend(): void {
    this.#nearestOfAppend = Infinity;
    for (const kind of APPEND_KINDS) {
      this.#nearestOfAppend = Math.min(this.#nearestOfAppend, this.#nearest[kind]);
    }
  }

  // ---- Sections of the seqlock ----

  #begin(): void {
    Atomics.add(this.#words, WORD_GENERATION, 1);
  }

  #bump(): void {
    Atomics.add(this.#words, WORD_GENERATION, 1);
  }

  /** Ends a section of what appends move, or of everything. */
  #end(published: boolean, everything: boolean): void {
    this.#bump();
    this.#notify(WORD_WAITERS_APPEND);
    if (everything) {
      this.#notify(WORD_WAITERS_DURABLE);
      this.#notify(WORD_WAITERS_APPLIED);
    }
    if (published) {
      Atomics.add(this.#words, WORD_EPOCH, 1);
      if (Atomics.load(this.#words, WORD_PARKED) !== 0) wakeWord(this.#words, WORD_EPOCH);
    }
  }

  #notify(waiters: number): void {
    if (Atomics.load(this.#words, waiters) !== 0) wakeWord(this.#words, WORD_GENERATION);
  }

  // ---- Inside a section ----

  #raiseStaged(wallMs: number, sequence: number): void {
    this.#raiseAccepted(wallMs, sequence);
    this.#raiseWritten(wallMs, sequence);
  }

  /** The journal's keeps the first point that came to a sequence. */
  #raiseAccepted(wallMs: number, sequence: number): void {
    const numbers = this.#numbers;
    if (sequence > numbers[ACCEPTED * 2 + 1]) {
      numbers[ACCEPTED * 2] = wallMs;
      numbers[ACCEPTED * 2 + 1] = sequence;
    }
    raise(this.#lanePoints, this.#laneBase + ACCEPTED * 2, wallMs, sequence);
  }

  #raiseWritten(wallMs: number, sequence: number): void {
    const points = this.#lanePoints;
    const base = this.#laneBase;
    raise(this.#numbers, WRITTEN * 2, wallMs, sequence);
    raise(points, base + WRITTEN * 2, wallMs, sequence);
    if (points[base + LANE_DIRTY] === 0) this.#markDirty();
  }

  #markDirty(): void {
    this.#lanePoints[this.#laneBase + LANE_DIRTY] = 1;
    this.#dirty.push(this.#laneSlot);
  }

  #raisePublished(wallMs: number, sequence: number): void {
    const numbers = this.#numbers;
    const points = this.#lanePoints;
    const base = this.#laneBase;
    raise(numbers, VISIBLE * 2, wallMs, sequence);
    raise(numbers, EMITTED * 2, wallMs, sequence);
    raise(points, base + VISIBLE * 2, wallMs, sequence);
    raise(points, base + EMITTED * 2, wallMs, sequence);
  }

  #markStaged(): void {
    const index = this.#laneBase + LANE_STAGED;
    if (this.#lanePoints[index] !== 0) return;
    this.#lanePoints[index] = 1;
    this.#staged.push(this.#laneSlot);
  }

  /** While a fence is open, what a lane has accepted last is what it has staged last. */
  #endStaged(isCommit: boolean): void {
    for (let i = 0; i < this.#staged.length; i++) {
      const points = this.#pointsOf(this.#staged[i]);
      const base = this.#baseOf(this.#staged[i]);
      points[base + LANE_STAGED] = 0;
      if (!isCommit) continue;
      const wallMs = points[base + ACCEPTED * 2];
      const sequence = points[base + ACCEPTED * 2 + 1];
      raise(points, base + VISIBLE * 2, wallMs, sequence);
      raise(points, base + EMITTED * 2, wallMs, sequence);
    }
    this.#staged.length = 0;
  }

  /** A lane that was not written to since it was last covered has nothing to gain. */
  #raiseDurableLanes(durable: number): void {
    const dirty = this.#dirty;
    let kept = 0;
    for (let i = 0; i < dirty.length; i++) {
      const slot = dirty[i];
      const points = this.#pointsOf(slot);
      const base = this.#baseOf(slot);
      const wallMs = points[base + WRITTEN * 2];
      const sequence = points[base + WRITTEN * 2 + 1];
      if (durable >= sequence) {
        raise(points, base + DURABLE * 2, wallMs, sequence);
        points[base + LANE_DIRTY] = 0;
      } else {
        dirty[kept++] = slot;
      }
    }
    dirty.length = kept;
  }

  // ---- Lanes ----

  /** Whether accepting this makes the pending age start; then it has. */
  #startsPending(sequence: number): boolean {
    const numbers = this.#numbers;
    if (numbers[PENDING_SINCE_INDEX] !== NOT_PENDING || sequence <= numbers[ACCEPTED * 2 + 1]) {
      return false;
    }
    this.#pendingSinceUs = this.#clock.monotonicUs();
    return true;
  }

  /** Makes sure that nothing has to be allocated for these lanes any more. */
  #know(items: readonly { readonly lane: number }[], count: number): void {
    for (let i = 0; i < count; i++) {
      const { lane } = items[i];
      if (lane !== this.#lane) this.#select(lane);
    }
  }

  /** Makes this the lane of the last append. One that is new starts at the origin. */
  #select(lane: number): void {
    let slot = this.#slots.get(lane);
    if (slot === undefined) {
      const needed = (this.#slots.size + 1 - LANE_SLOTS) * LANE_STRIDE;
      if (needed > this.#moreNumbers.length) {
        const grown = new Float64Array(Math.max(needed, this.#moreNumbers.length * 2));
        grown.set(this.#moreNumbers);
        this.#moreNumbers = grown;
      }
      this.#begin();
      slot = this.#place(lane);
      this.#bump();
    }
    this.#lane = lane;
    this.#laneSlot = slot;
    this.#lanePoints = this.#pointsOf(slot);
    this.#laneBase = this.#baseOf(slot);
  }

  /** Gives a lane the next slot, which is all zeros. */
  #place(lane: number): number {
    const slot = this.#slots.size;
    this.#slots.set(lane, slot);
    this.#pointsOf(slot)[this.#baseOf(slot) + LANE_NUMBER] = lane;
    Atomics.store(this.#words, WORD_LANE_COUNT, slot + 1);
    return slot;
  }

  #pointsOf(slot: number): Float64Array {
    return slot < LANE_SLOTS ? this.#numbers : this.#moreNumbers;
  }

  #baseOf(slot: number): number {
    return slot < LANE_SLOTS ? LANES_INDEX + slot * LANE_STRIDE : (slot - LANE_SLOTS) * LANE_STRIDE;
  }
}

/** The kinds that an append moves. */
const APPEND_KINDS: readonly number[] = [ACCEPTED, WRITTEN, VISIBLE, EMITTED];

/** The last of the items from `start` on that are on one lane: only it decides how far the lane comes. */
function endOfRun(
  items: readonly { readonly lane: number }[],
  count: number,
  start: number,
): number {
  let end = start;
  while (end + 1 < count && items[end + 1].lane === items[end].lane) end++;
  return end;
}

/** Moves a point ahead on the sequence axis; wall times decide at the same place. */
function raise(points: Float64Array, index: number, wallMs: number, sequence: number): void {
  if (isBefore(points, index, wallMs, sequence)) {
    points[index] = wallMs;
    points[index + 1] = sequence;
  }
}

function isBefore(points: Float64Array, index: number, wallMs: number, sequence: number): boolean {
  const reached = points[index + 1];
  return sequence > reached || (sequence === reached && wallMs > points[index]);
}

function placeAll(points: Float64Array, base: number, durable: HlcPoint, visible: HlcPoint): void {
  const covered = maxBySequence(durable, visible);
  for (let kind = 0; kind * 2 < POINTS_STRIDE; kind++) {
    const { wallMs, globalSequence } = kind <= DURABLE ? covered : visible;
    points[base + kind * 2] = wallMs;
    points[base + kind * 2 + 1] = globalSequence;
  }
}
