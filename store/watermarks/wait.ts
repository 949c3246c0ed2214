/**
 * Waiting for a watermark: what to wait for, for how long, and when it is over.
 *
 * Whoever sleeps, in this realm or another, asks again after every wake-up, always in this order: has
 * the writer stopped; does the caller still want it; is it there; can it still come; is the time up. So
 * a wake-up by itself satisfies nothing, and a stopped writer is never mistaken for success.
 *
 * @module
 */

import type { Clock } from "../../platform/clock.ts";
import { assertKnownKeys, assertUint } from "../assert.ts";
import { StoreClosedError, StoreError, WriterCrashedError } from "../errors.ts";
import { WATERMARK_KINDS, type WatermarkKind } from "./frontier_view.ts";
import type { HlcPoint } from "./hlc_point.ts";

/** How to wait for a watermark. */
export interface WaitOptions {
  /** The longest to wait, in milliseconds. With 0 it is a question that is answered at once. */
  readonly timeoutMs: number;
  /** Wait for the watermark of this lane, not for that of the whole journal. */
  readonly lane?: number;
  /** Gives up waiting, with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * The watermark had not come so far when the time was up. Nothing was changed by waiting. Waiting never
 * causes a sync: when it is for `durable`, somebody has to call one.
 */
export class WaitTimeoutError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "WaitTimeoutError";
  /** Stable, for programs. */
  override readonly code = "WAIT_TIMEOUT";
  /** The watermark. */
  readonly watermark: WatermarkKind;
  /** The sequence it should have come to. */
  readonly target: number;
  /** The time that was given, in milliseconds. */
  readonly waitedMs: number;
  /** The lane, when it was the watermark of one. */
  readonly lane: number | undefined;

  /**
   * Says what happened.
   *
   * @param options what was waited for, and for how long.
   */
  constructor(
    options: { watermark: WatermarkKind; target: number; waitedMs: number; lane?: number },
  ) {
    const { watermark, target, waitedMs, lane } = options;
    const hint = watermark === "durable" ? ". Only a sync moves it, and waiting causes none" : "";
    super(
      `Cannot ${actionOf(watermark, target, lane)}: it was not there within ${waitedMs} ms${hint}`,
    );
    this.watermark = watermark;
    this.target = target;
    this.waitedMs = waitedMs;
    this.lane = lane;
  }
}

/** What a wait asks about each time. */
export interface WaitState {
  /** Whether the writer has stopped for good, and why if that is known. */
  readonly poisoned: boolean;
  readonly cause?: unknown;
  /** Whether the store is closed, so that nothing moves any more. */
  readonly closed: boolean;
  /** The sequence the watermark is at. */
  readonly reached: number;
}

/** One wait: begins when it is made. */
export class Wait {
  /** The watermark's place in {@linkcode WATERMARK_KINDS}. */
  readonly kind: number;
  /** The sequence. */
  readonly target: number;
  /** The lane, when there is one. */
  readonly lane: number | undefined;
  /** Gives up. */
  readonly signal: AbortSignal | undefined;
  readonly #watermark: WatermarkKind;
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  readonly #startUs: number;
  /** Sleeps that took their whole time: so much has passed, even if the clock stands still. */
  #sleptMs = 0;
  #remainingMs: number;

  /**
   * @throws {TypeError} when the kind or an option is none.
   * @throws {RangeError} when the target, the lane or the time is out of its range.
   */
  constructor(
    kind: WatermarkKind,
    target: number | HlcPoint,
    options: WaitOptions,
    clock: Clock,
  ) {
    this.kind = WATERMARK_KINDS.indexOf(kind);
    if (this.kind === -1) {
      throw new TypeError(
        `Cannot wait for "${kind}": the watermarks are ${WATERMARK_KINDS.join(", ")}`,
      );
    }
    assertKnownKeys("wait", options, WAIT_OPTIONS);
    const { timeoutMs, lane, signal } = options;
    if (!Number.isFinite(timeoutMs) || timeoutMs < 0) {
      throw new RangeError(
        `Cannot use timeoutMs ${timeoutMs}: give a number of milliseconds, 0 or more; no wait is endless`,
      );
    }
    if (lane !== undefined) assertUint("lane", lane, LANE_MAX);
    const sequence = typeof target === "number" ? target : target.globalSequence;
    this.target = assertUint("target", sequence, Number.MAX_SAFE_INTEGER);
    this.lane = lane;
    this.signal = signal;
    this.#watermark = kind;
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
    this.#startUs = clock.monotonicUs();
    this.#remainingMs = timeoutMs;
  }

  /**
   * For how long to sleep at most: what was left of its time when it was last asked whether it is over, in
   * whole milliseconds, and no longer than a timer can take.
   */
  get sleepMs(): number {
    return Math.min(Math.ceil(this.#remainingMs), SLEEP_MS_MAX);
  }

  /** What it does, for messages. */
  get action(): string {
    return actionOf(this.#watermark, this.target, this.lane);
  }

  /** Tells that a sleep of so long was not cut short. */
  sleptOut(sleptMs: number): void {
    this.#sleptMs += sleptMs;
  }

  /**
   * Whether the watermark is there. When not there is time left.
   *
   * @throws {WriterCrashedError} when the writer has stopped, wherever the watermark is.
   * @throws the signal's reason, when it has aborted.
   * @throws {StoreClosedError} when the store is closed.
   * @throws {WaitTimeoutError} when the time is up.
   */
  isOver({ poisoned, cause, closed, reached }: WaitState): boolean {
    if (poisoned) throw new WriterCrashedError(this.action, cause);
    this.signal?.throwIfAborted();
    if (reached >= this.target) return true;
    if (closed) throw new StoreClosedError(this.action);
    const elapsedMs = (this.#clock.monotonicUs() - this.#startUs) / 1_000;
    this.#remainingMs = this.#timeoutMs - Math.max(elapsedMs, this.#sleptMs);
    if (this.#remainingMs > 0) return false;
    throw new WaitTimeoutError({
      watermark: this.#watermark,
      target: this.target,
      waitedMs: this.#timeoutMs,
      lane: this.lane,
    });
  }
}

/** The longest delay of a scheduler: a sleep that asks for more would be shorter than it thinks. */
const SLEEP_MS_MAX = 2 ** 31 - 1;
/** Lanes are 32-bit numbers. */
const LANE_MAX = 2 ** 32 - 1;
const WAIT_OPTIONS: ReadonlySet<string> = new Set(["timeoutMs", "lane", "signal"]);

function actionOf(watermark: WatermarkKind, target: number, lane: number | undefined): string {
  const where = lane === undefined ? "" : ` on lane ${lane}`;
  return `wait until sequence ${target} is ${watermark}${where}`;
}
