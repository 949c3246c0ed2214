/**
 * The frontier as other realms see it: in shared memory, without a message.
 *
 * Why no view is torn and no wake-up is lost is said in `frontier_memory.ts`. The realm that owns the
 * store must not block here: it would wait for itself.
 *
 * @module
 */

import type { Clock } from "../../platform/clock.ts";
import { runtime } from "../../platform/runtime.ts";
import { blockWhile, type SharedWords, sleepWhile, wakeWord } from "../../platform/shared_words.ts";
import { StoreError, WriterCrashedError } from "../errors.ts";
import {
  FRONTIER_MEMORY_SIZE,
  FRONTIER_STATES,
  LANE_NUMBER,
  LANE_SLOTS,
  LANE_STRIDE,
  LANES_INDEX,
  LAYOUT,
  NOT_PENDING,
  numbersOf,
  PENDING_SINCE_INDEX,
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
  APPLIED,
  DURABLE,
  FrontierView,
  type LanePoints,
  type WatermarkKind,
} from "./frontier_view.ts";
import type { HlcPoint } from "./hlc_point.ts";
import { Wait, type WaitOptions } from "./wait.ts";

/** What becomes of a store. */
export type FrontierState = "open" | "closing" | "closed";

/** How long an owner may take for one update before it counts as dead. It takes well under 1 µs. */
const STUCK_MS_MAX = 1_000;
/** How often to look at once again before sleeping a millisecond: its owner may have no core just now. */
const SPINS = 200;

/**
 * The store has had more lanes than fit into shared memory, and this is not one of those that do. Ask
 * the host of the store.
 */
export class LaneNotSharedError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "LaneNotSharedError";
  /** Stable, for programs. */
  override readonly code = "HOST";
  /** The lane. */
  readonly lane: number;

  /**
   * Says what happened.
   *
   * @param action what was attempted, as an infinitive.
   */
  constructor(action: string, lane: number) {
    super(
      `Cannot ${action}: only the first ${LANE_SLOTS} lanes of a store are in shared memory. Ask its host`,
    );
    this.lane = lane;
  }
}

/**
 * Reads the watermarks of a store in another realm, and waits for them, without a message.
 *
 * Has the journal's and those of the first 64 lanes that the store came to know.
 */
export class SharedFrontier {
  readonly #words: SharedWords;
  readonly #numbers: Float64Array;
  readonly #clock: Clock;
  /** What the last read copied. */
  readonly #copy: Float64Array;
  #poisoned = false;
  #closed = false;
  #laneCount = 0;

  /**
   * Takes the shared memory of a store.
   *
   * @param memory as its host handed it out.
   * @param clock measures waiting.
   * @throws {TypeError} when it is not the memory of a frontier, or of another release.
   */
  constructor(memory: SharedArrayBuffer, clock: Clock = runtime.clock) {
    if (!(memory instanceof SharedArrayBuffer) || memory.byteLength !== FRONTIER_MEMORY_SIZE) {
      throw new TypeError("Cannot read a frontier: this is not the shared memory of one");
    }
    this.#words = wordsOf(memory);
    if (Atomics.load(this.#words, WORD_LAYOUT) !== LAYOUT) {
      throw new TypeError("Cannot read a frontier: its owner runs another release of batpak");
    }
    this.#numbers = numbersOf(memory);
    this.#copy = new Float64Array(this.#numbers.length);
    this.#clock = clock;
  }

  /** What becomes of the store. */
  get state(): FrontierState {
    return FRONTIER_STATES[Atomics.load(this.#words, WORD_STATE)];
  }

  /** Whether the writer has stopped, for good. */
  get poisoned(): boolean {
    return Atomics.load(this.#words, WORD_POISON) !== 0;
  }

  /**
   * All watermarks at one moment. The age of what is not durable is by the wall clock, as realms do not
   * share a monotonic one.
   *
   * @throws {InvariantViolationError} when they contradict each other.
   * @throws {WriterCrashedError} when the owner was ended in the middle of an update.
   */
  view(): FrontierView {
    this.#read("read the frontier", LANE_SLOTS);
    const points = this.#copy;
    const lanes: LanePoints[] = [];
    for (let slot = 0; slot < Math.min(this.#laneCount, LANE_SLOTS); slot++) {
      const base = LANES_INDEX + slot * LANE_STRIDE;
      lanes.push({ lane: points[base + LANE_NUMBER], points, base });
    }
    const since = points[PENDING_SINCE_INDEX];
    return new FrontierView({
      points,
      lanes,
      lanesComplete: this.#laneCount <= LANE_SLOTS,
      oldestPendingWriteAgeMs: since === NOT_PENDING
        ? null
        : Math.max(0, Math.floor(this.#clock.nowUs() / 1_000 - since)),
    });
  }

  /**
   * Waits until a watermark has come to a sequence: to be there is enough. Never causes a sync.
   *
   * @throws {WriterCrashedError} when the writer has stopped, wherever the watermark is.
   * @throws {WaitTimeoutError} when the time is up; not before.
   * @throws {StoreClosedError} when the store is closed and the watermark is not there.
   * @throws {LaneNotSharedError} when the lane is not in shared memory.
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
    this.#look(wait);
    if (wait.isOver(this.#state(wait))) return;
    const words = this.#words;
    const waiters = waitersOf(wait.kind);
    Atomics.add(words, waiters, 1);
    // Nobody can call off the sleep of a word, so an abort wakes all: those who are not meant sleep on.
    const wake = () => wakeWord(words, WORD_GENERATION);
    wait.signal?.addEventListener("abort", wake);
    try {
      for (;;) {
        const generation = this.#look(wait);
        if (wait.isOver(this.#state(wait))) return;
        const { sleepMs } = wait;
        if (await sleepWhile(words, WORD_GENERATION, generation, sleepMs)) wait.sleptOut(sleepMs);
      }
    } finally {
      wait.signal?.removeEventListener("abort", wake);
      Atomics.sub(words, waiters, 1);
    }
  }

  /**
   * As {@linkcode waitFor}, and blocks the realm meanwhile: no message arrives and no timer runs, so a
   * signal can only abort it beforehand. Never call it in the realm that owns the store.
   *
   * @throws as {@linkcode waitFor}.
   */
  blockUntil(kind: WatermarkKind, target: number | HlcPoint, options: WaitOptions): void {
    const wait = new Wait(kind, target, options, this.#clock);
    this.#look(wait);
    if (wait.isOver(this.#state(wait))) return;
    const words = this.#words;
    const waiters = waitersOf(wait.kind);
    Atomics.add(words, waiters, 1);
    try {
      for (;;) {
        const generation = this.#look(wait);
        if (wait.isOver(this.#state(wait))) return;
        const { sleepMs } = wait;
        if (blockWhile(words, WORD_GENERATION, generation, sleepMs)) wait.sleptOut(sleepMs);
      }
    } finally {
      Atomics.sub(words, waiters, 1);
    }
  }

  /** Counts what has become visible; wraps. Read it, look at the journal, then park. */
  get visibilityEpoch(): number {
    return Atomics.load(this.#words, WORD_EPOCH);
  }

  /**
   * Is fulfilled when something has become visible since `seen` was read, when the store closes or its
   * writer stops, or when the time has passed.
   */
  async park(seen: number, timeoutMs: number): Promise<void> {
    Atomics.add(this.#words, WORD_PARKED, 1);
    try {
      await sleepWhile(this.#words, WORD_EPOCH, seen, timeoutMs);
    } finally {
      Atomics.sub(this.#words, WORD_PARKED, 1);
    }
  }

  /** As {@linkcode park}, and blocks the realm meanwhile. */
  block(seen: number, timeoutMs: number): void {
    Atomics.add(this.#words, WORD_PARKED, 1);
    try {
      blockWhile(this.#words, WORD_EPOCH, seen, timeoutMs);
    } finally {
      Atomics.sub(this.#words, WORD_PARKED, 1);
    }
  }

  /** Reads what a wait asks about. Returns the generation it belongs to. */
  #look(wait: Wait): number {
    return this.#read(wait.action, wait.lane === undefined ? 0 : LANE_SLOTS);
  }

  #state(wait: Wait) {
    return {
      poisoned: this.#poisoned,
      closed: this.#closed,
      reached: wait.lane === undefined
        ? this.#copy[wait.kind * 2 + 1]
        : this.#reachedOnLane(wait, wait.lane),
    };
  }

  #reachedOnLane(wait: Wait, lane: number): number {
    for (let slot = 0; slot < Math.min(this.#laneCount, LANE_SLOTS); slot++) {
      const base = LANES_INDEX + slot * LANE_STRIDE;
      if (this.#copy[base + LANE_NUMBER] === lane) return this.#copy[base + wait.kind * 2 + 1];
    }
    if (this.#laneCount > LANE_SLOTS && !this.#poisoned) {
      throw new LaneNotSharedError(wait.action, lane);
    }
    return 0;
  }

  /** Copies the journal's numbers and those of the first slots. Returns the generation they belong to. */
  #read(action: string, slots: number): number {
    const words = this.#words;
    let stuckAt = 0;
    let stuckMs = 0;
    for (let attempt = 1;; attempt++) {
      const generation = Atomics.load(words, WORD_GENERATION);
      if ((generation & 1) === 0) {
        this.#copyNumbers(slots);
        // Adding 0, and not loading: see frontier_memory.ts.
        if (Atomics.add(words, WORD_GENERATION, 0) === generation) return generation;
      } else if (attempt % SPINS === 0) {
        stuckMs = generation === stuckAt ? stuckMs + 1 : 0;
        stuckAt = generation;
        if (stuckMs > STUCK_MS_MAX) {
          throw new WriterCrashedError(
            action,
            new Error("its realm ended in the middle of an update"),
          );
        }
        blockWhile(words, WORD_GENERATION, generation, 1);
      }
    }
  }

  #copyNumbers(slots: number): void {
    const words = this.#words;
    const numbers = this.#numbers;
    const copy = this.#copy;
    this.#poisoned = Atomics.load(words, WORD_POISON) !== 0;
    this.#closed = Atomics.load(words, WORD_STATE) === STATE_CLOSED;
    this.#laneCount = Atomics.load(words, WORD_LANE_COUNT);
    const end = LANES_INDEX + Math.min(slots, this.#laneCount) * LANE_STRIDE;
    for (let i = 0; i < end; i++) copy[i] = numbers[i];
  }
}

/** Who is notified when a watermark of this kind moves. */
function waitersOf(kind: number): number {
  if (kind === DURABLE) return WORD_WAITERS_DURABLE;
  return kind === APPLIED ? WORD_WAITERS_APPLIED : WORD_WAITERS_APPEND;
}
