/**
 * The host's side of a cursor worker that runs in a Web Worker of the user's own: a handler unit that hands
 * over where the events are, and never their bytes.
 *
 * | What happens to the realm                          | What the host sees                      |
 * | -------------------------------------------------- | --------------------------------------- |
 * | its file cannot be loaded, or throws at top level  | the worker's `error` event              |
 * | its file never calls `serveCursorWorker`           | no hello within `startTimeoutMs`        |
 * | it throws outside of the handler                   | the worker's `error` event              |
 * | it closes itself, exits, is terminated by somebody | its lifeline (Deno), `close` event (Bun)|
 * | it ends before it has said that it is ready        | `startTimeoutMs` (Deno), `close` (Bun)  |
 * | the handler does not come back                     | `handlerTimeoutMs`, when it is given    |
 *
 * All of these are a {@linkcode UnitDeath}, and the realm is terminated, whatever is left of it. Bun ends a
 * realm in the middle of a loop. Deno 2.9 does not: a handler that computes without end is given up and
 * computes on, and the program ends only by `Deno.exit()`, unless the handler looks at `signal.aborted`,
 * which is true from then on. There is no heartbeat: a handler that computes for an hour could not answer,
 * and is alive. Without `handlerTimeoutMs` a handler that never comes back is waited for.
 *
 * Frames move when the journal is compacted. A realm that does not find one says so, and is given fresh
 * places; only what is not found where it certainly is counts as damage.
 *
 * @module
 */

import { IoFault } from "../../platform/fs.ts";
import { hasLifelines, watchLifeline } from "../../platform/lifeline.ts";
import { type Wire, wireToWorker, type WorkerLike } from "../../platform/realm.ts";
import { runtime } from "../../platform/runtime.ts";
import type { Cancel, Scheduler } from "../../platform/scheduler.ts";
import { type SharedWords, wakeWord } from "../../platform/shared_words.ts";
import { assert } from "../../store/assert.ts";
import type { CursorHost } from "../../store/cursor.ts";
import type { CursorGapConfig } from "../../store/cursor_gaps.ts";
import {
  CorruptionError,
  EventPrunedError,
  JournalChangingError,
  StoreClosedError,
  StoreError,
  StoreIoError,
} from "../../store/errors.ts";
import { type FramePlaces, framePlacesOf, NUMBERS_PER_FRAME } from "../../store/frame_places.ts";
import { toHex } from "../../store/hash.ts";
import type { StoredEvent } from "../../store/stored_event.ts";
import { crashText } from "../crash_text.ts";
import {
  type CursorWorkerContext,
  HandlerCrash,
  type HandlerUnit,
  UnitDeath,
} from "../handler_unit.ts";
import {
  CONTROL_WORD_COUNT,
  type FrameProblem,
  type HostMessage,
  PROTOCOL_VERSION,
  type RealmMessage,
  STOP_WORD,
  tagged,
  untagged,
  versionText,
} from "./protocol.ts";

/** How long a realm may take to load its modules and get ready. */
const START_TIMEOUT_MS_DEFAULT = 10_000;
/** How long a realm that was asked to end is waited for before it is terminated. */
const END_GRACE_MS = 500;
/** How long a terminated realm is waited for. Deno cannot interrupt one that computes. */
const TERMINATION_MS_MAX = 5_000;
/** How often a batch is given fresh places, as often as a store looks for a frame. */
const ATTEMPT_COUNT_MAX = 20;
/** Bytes of frames in one batch: the realm holds all of them. */
const BATCH_SIZE_MAX = 512 * 1024 * 1024;
const LIFELINE_ID_SIZE = 16;

/**
 * A batch has more bytes than another realm should be made to hold. Nothing was handled: give the worker
 * a smaller `batchSize`. A batch of one event always fits.
 */
export class BatchTooLargeError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "BatchTooLargeError";
  /** Stable, for programs. */
  override readonly code = "TOO_LARGE";
  /** Bytes of its frames. */
  readonly size: number;

  /**
   * Says what happened.
   *
   * @param size bytes of the batch's frames.
   */
  constructor(size: number) {
    super(
      `Cannot hand ${size} bytes of events to another realm in one batch: the limit is ` +
        `${BATCH_SIZE_MAX}, so use a smaller "batchSize"`,
    );
    this.size = size;
  }
}

/** A worker whose file calls `serveCursorWorker`, and what to give it. */
export interface RealmOptions {
  /**
   * The worker, or a function that starts one. Only with a function can it be started again after its death.
   * It belongs to the cursor worker from here on, and is terminated with it.
   */
  readonly worker: WorkerLike | (() => WorkerLike);
  /** Handed to the handler as `context.init`: anything that `structuredClone` copies. */
  readonly init?: unknown;
  /**
   * How long the handler may take for a batch, the reading of its events included; default: for ever. A
   * realm that takes longer is terminated and its batch delivered again.
   */
  readonly handlerTimeoutMs?: number;
  /** How long the realm may take to load its modules and get ready; default: 10 seconds. */
  readonly startTimeoutMs?: number;
}

/** Drives a handler in another realm. */
export class RealmUnit implements HandlerUnit {
  readonly #options: RealmOptions;
  readonly #gaps: CursorGapConfig;
  #context: CursorWorkerContext | undefined;
  #realm: RemoteRealm;
  #batchNumber = 0;

  /**
   * Starts the worker, if it is to be started.
   *
   * @param gaps how many gaps the realm is to keep for its handler.
   * @throws {StoreIoError} when the function that makes the worker throws.
   */
  constructor(options: RealmOptions, gaps: CursorGapConfig = { kind: "disabled" }) {
    this.#options = options;
    this.#gaps = gaps;
    this.#realm = this.#makeRealm();
  }

  /** As {@linkcode HandlerUnit.start}. */
  async start(context: CursorWorkerContext): Promise<void> {
    this.#context = context;
    const onStop = () => this.#realm.requestStop();
    if (context.signal.aborted) onStop();
    else context.signal.addEventListener("abort", onStop, { once: true });
    await this.#startRealm();
  }

  /**
   * As {@linkcode HandlerUnit.handle}.
   *
   * @throws {StoreError} when the events cannot be read: as reading them through the store would say.
   */
  async handle(batch: readonly StoredEvent[]): Promise<unknown> {
    assert(this.#context !== undefined, "a batch comes between start and close");
    const host = this.#context.store.cursorHost();
    const gaps = this.#context.takeGaps();
    for (let attempt = 1;; attempt++) {
      if (host.isClosed()) throw new StoreClosedError("hand over a batch");
      const places = placesOf(host, batch);
      const number = ++this.#batchNumber;
      const reply = await this.#realm.exchange(
        {
          type: "batch",
          number,
          segments: places.segments,
          frames: places.frames,
          gaps: attempt === 1 ? gaps : [],
        },
        [places.frames.buffer],
        {
          isReply: (message) => isSettlement(message) && message.number === number,
          timeoutMs: this.#options.handlerTimeoutMs,
          timeoutText: `the handler did not come back within ${this.#options.handlerTimeoutMs} ms`,
        },
      );
      assert(isSettlement(reply), "nothing else is taken for a reply");
      switch (reply.type) {
        case "settled":
          return reply.result;
        case "crashed":
          throw new HandlerCrash(reply.text);
        case "unreadable": {
          const error = errorOf(reply.problem);
          if (!mayHaveMoved(host, batch, reply.problem, error)) throw error;
          if (attempt === ATTEMPT_COUNT_MAX) throw new JournalChangingError(host.dir, error);
        }
      }
    }
  }

  /**
   * As {@linkcode HandlerUnit.revive}. Waits until the old realm has ended, if it does so within a few
   * seconds, so that two of them do
   * not run the handler at the same time.
   *
   * @throws {UnitDeath} when the new realm does not get ready.
   */
  async revive(): Promise<boolean> {
    if (typeof this.#options.worker !== "function") return false;
    await this.#realm.terminate();
    try {
      this.#realm = this.#makeRealm();
    } catch (error) {
      throw new UnitDeath((error as Error).message, { cause: error });
    }
    await this.#startRealm();
    return true;
  }

  /** As {@linkcode HandlerUnit.close}. Waits until the realm has ended, for a few seconds at most. */
  close(): Promise<void> {
    return this.#realm.end();
  }

  #makeRealm(): RemoteRealm {
    const { worker } = this.#options;
    let made: WorkerLike;
    try {
      made = typeof worker === "function" ? worker() : worker;
    } catch (cause) {
      const fault = new IoFault({ code: "EIO", op: "start", path: "worker", cause });
      throw new StoreIoError("start a cursor worker", fault);
    }
    return new RemoteRealm(made);
  }

  async #startRealm(): Promise<void> {
    const { init, startTimeoutMs = START_TIMEOUT_MS_DEFAULT } = this.#options;
    const { store, witness, signal } = this.#context!;
    const id = new Uint8Array(LIFELINE_ID_SIZE);
    runtime.entropy.fill(id);
    await this.#realm.start({
      start: {
        type: "start",
        version: PROTOCOL_VERSION,
        init,
        checkpointId: witness?.checkpointId,
        gaps: this.#gaps,
        control: this.#realm.control.buffer,
        lifeline: `batpak:${toHex(id)}`,
      },
      timeoutMs: startTimeoutMs,
      scheduler: store.cursorHost().scheduler,
      signal,
    });
  }
}

/** Anything else with the number of the batch is no answer: taken for one, it would be asked for ever. */
function isSettlement(message: RealmMessage): message is Settlement {
  const { type } = message;
  return type === "settled" || type === "crashed" || type === "unreadable";
}

type Settlement = Extract<RealmMessage, { readonly number: number }>;

function placesOf({ source }: CursorHost, batch: readonly StoredEvent[]): FramePlaces {
  let places: FramePlaces;
  try {
    places = framePlacesOf(source, batch);
  } catch (error) {
    // As a handler in this realm would meet it. The next poll leaves out what is gone.
    if (error instanceof EventPrunedError) throw HandlerCrash.of(error);
    throw error;
  }
  const { frames } = places;
  let size = 0;
  for (let i = 2; i < frames.length; i += NUMBERS_PER_FRAME) size += frames[i];
  if (size > BATCH_SIZE_MAX && batch.length > 1) throw new BatchTooLargeError(size);
  return places;
}

/** Whether the frame that was not found may be found elsewhere, or now. */
function mayHaveMoved(
  host: CursorHost,
  batch: readonly StoredEvent[],
  { sequence, path, headerCrc, offset }: FrameProblem,
  error: StoreError,
): boolean {
  if (host.source.recover?.(error) === true) return true;
  const event = batch.find(({ globalSequence }) => globalSequence === sequence);
  assert(event !== undefined, "the realm speaks of an event of the batch");
  const { segments: [segment], frames } = placesOf(host, [event]);
  return segment.path !== path || segment.headerCrc !== headerCrc || frames[1] !== offset;
}

interface Exchange {
  readonly isReply: (message: RealmMessage) => boolean;
  /** Absent: for ever. */
  readonly timeoutMs: number | undefined;
  readonly timeoutText: string;
}

/** One worker, from its start to its end. */
class RemoteRealm {
  readonly #worker: WorkerLike;
  /** Words that the realm can look at while it computes. */
  readonly control: SharedWords = new Int32Array(
    new SharedArrayBuffer(CONTROL_WORD_COUNT * Int32Array.BYTES_PER_ELEMENT),
  );
  #scheduler: Scheduler = runtime.scheduler;
  readonly #wire: Wire;
  /** Why it is of no use any more. */
  #death: UnitDeath | undefined;
  /** The answer that is being waited for. */
  #waiting: { isReply(message: RealmMessage): boolean; settle(outcome: Outcome): void } | undefined;
  #hello: Extract<RealmMessage, { type: "hello" }> | undefined;
  #cancelLifeline: Cancel = () => {};
  /** Whether its end will be noticed. */
  #isWatched = !hasLifelines();
  #hasEnded = false;
  /** Set while somebody waits for the end. */
  #onEnd: (() => void) | undefined;

  constructor(worker: WorkerLike) {
    this.#worker = worker;
    this.#wire = wireToWorker(worker, ({ type, message }) => {
      if (type === "close") this.#noticeEnd();
      else this.#die(message === "" ? "it failed, and did not say why" : message);
    });
    this.#wire.listen((data) => {
      const message = untagged<RealmMessage>(data);
      if (message !== undefined) this.#receive(message);
    });
  }

  /**
   * Waits until it is there and ready.
   *
   * @throws {UnitDeath} when it cannot be, or is not in time.
   */
  async start(
    { start, timeoutMs, scheduler, signal }: {
      readonly start: Extract<HostMessage, { type: "start" }>;
      readonly timeoutMs: number;
      readonly scheduler: Scheduler;
      readonly signal: AbortSignal;
    },
  ): Promise<void> {
    this.#scheduler = scheduler;
    const giveUp = () => this.#waiting?.settle({});
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      if (signal.aborted) return;
      // A realm that was there before anybody listened says it again.
      const hello = this.#hello ?? await this.#exchange({ type: "greet" }, [], {
        isReply: ({ type }) => type === "hello",
        timeoutMs,
        timeoutText: `its file did not call serveCursorWorker within ${timeoutMs} ms`,
      });
      if (hello === undefined) return;
      if (hello.type === "hello" && hello.version !== PROTOCOL_VERSION) {
        throw this.#die(versionText(hello.version));
      }
      const ready = await this.#exchange(start, [], {
        isReply: ({ type }) => type === "ready",
        timeoutMs,
        timeoutText: `its setup did not come back within ${timeoutMs} ms`,
      });
      if (ready === undefined || !hasLifelines()) return;
      this.#cancelLifeline = watchLifeline(start.lifeline, () => this.#noticeEnd());
      this.#isWatched = true;
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  }

  /** Tells the handler that it is to come to an end, also while it computes. */
  requestStop(): void {
    Atomics.store(this.control, STOP_WORD, 1);
    wakeWord(this.control, STOP_WORD);
    this.post({ type: "stop" });
  }

  /** Sends a message, when there is somebody to get it. */
  post(message: HostMessage, transfer: readonly ArrayBuffer[] = []): void {
    if (this.#death === undefined) this.#wire.post(tagged(message), transfer);
  }

  /**
   * Sends a message and waits for its answer.
   *
   * @throws {UnitDeath} when the realm dies meanwhile, has died before, or is too slow, which it then dies of.
   */
  async exchange(
    message: HostMessage,
    transfer: readonly ArrayBuffer[],
    exchange: Exchange,
  ): Promise<RealmMessage> {
    const reply = await this.#exchange(message, transfer, exchange);
    assert(reply !== undefined, "only a start is given up");
    return reply;
  }

  #exchange(
    message: HostMessage,
    transfer: readonly ArrayBuffer[],
    { isReply, timeoutMs, timeoutText }: Exchange,
  ): Promise<RealmMessage | undefined> {
    if (this.#death !== undefined) return Promise.reject(this.#death);
    assert(this.#waiting === undefined, "one thing is asked at a time");
    return new Promise((resolve, reject) => {
      const cancel = timeoutMs === undefined
        ? undefined
        : this.#scheduler.delay(timeoutMs, () => this.#die(timeoutText));
      this.#waiting = {
        isReply,
        settle: ({ message, death }) => {
          this.#waiting = undefined;
          cancel?.();
          if (death !== undefined) reject(death);
          else resolve(message);
        },
      };
      try {
        this.post(message, transfer);
      } catch (error) {
        // What the user gave as `init` cannot be copied.
        this.#die(crashText(error), error);
      }
    });
  }

  /** Asks it to end, and sees to it. Never rejects. */
  async end(): Promise<void> {
    this.post({ type: "end" });
    if (this.#death === undefined && this.#isWatched) await this.#waitForEnd(END_GRACE_MS);
    await this.terminate();
  }

  /** Ends it at once, and waits until it has ended, but not for ever. Never rejects. */
  async terminate(): Promise<void> {
    this.#die("it was terminated");
    if (this.#isWatched) await this.#waitForEnd(TERMINATION_MS_MAX);
    this.#cancelLifeline();
    this.#wire.close();
  }

  #receive(message: RealmMessage): void {
    if (message.type === "failed") this.#die(message.text);
    else if (this.#waiting?.isReply(message)) this.#waiting.settle({ message });
    if (message.type === "hello") this.#hello ??= message;
  }

  #noticeEnd(): void {
    this.#hasEnded = true;
    this.#onEnd?.();
    this.#die("it ended, and did not say why");
  }

  /** Gives it up, for the first reason there is, and lets whoever waits for an answer know. */
  #die(reason: string, cause?: unknown): UnitDeath {
    if (this.#death !== undefined) return this.#death;
    // The only word that reaches a realm that computes, where a runtime cannot interrupt it.
    this.requestStop();
    this.#death = new UnitDeath(`The realm of the handler is gone: ${reason}`, { cause });
    this.#worker.terminate();
    this.#waiting?.settle({ death: this.#death });
    return this.#death;
  }

  #waitForEnd(timeoutMs: number): Promise<void> {
    if (this.#hasEnded) return Promise.resolve();
    return new Promise((resolve) => {
      const settle = () => {
        this.#onEnd = undefined;
        cancel();
        resolve();
      };
      const cancel = this.#scheduler.delay(timeoutMs, settle);
      this.#onEnd = settle;
    });
  }
}

/** How waiting for an answer ends: with it, with a death, or with neither when it is given up. */
interface Outcome {
  readonly message?: RealmMessage;
  readonly death?: UnitDeath;
}

/** The error that reading through the store would throw. */
function errorOf({ path, segmentId, offset, reason, fault }: FrameProblem): StoreError {
  if (fault === undefined) return new CorruptionError({ path, segmentId, offset, reason });
  const { code, op } = fault;
  return new StoreIoError("read an event", new IoFault({ code, op, path, message: reason }));
}
