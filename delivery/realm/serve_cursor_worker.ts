/**
 * The realm's side of a cursor worker that runs in a Web Worker of the user's own.
 *
 * The host owns the cursor, the checkpoint and the decision to go on. Here, positions come in, events are
 * read from the segment files, the handler is called, and what it said goes back.
 *
 * @module
 */

import type { StoreFs } from "../../platform/fs.ts";
import { holdLifeline } from "../../platform/lifeline.ts";
import { type Wire, wireToParent } from "../../platform/realm.ts";
import { runtime } from "../../platform/runtime.ts";
import type { SharedWords } from "../../platform/shared_words.ts";
import { GapBuffer, type GapObservation } from "../../store/cursor_gaps.ts";
import type { StoredEvent } from "../../store/stored_event.ts";
import { CheckpointId } from "../checkpoint_id.ts";
import { crashText } from "../crash_text.ts";
import type { CursorWorkerAction } from "../handler_unit.ts";
import { type AtLeastOnce, mintAtLeastOnce } from "../witness.ts";
import { FrameReader, UnreadableFrame } from "./frame_reader.ts";
import {
  type HostMessage,
  PROTOCOL_VERSION,
  type RealmMessage,
  STOP_WORD,
  tagged,
  untagged,
  versionText,
} from "./protocol.ts";

/** Files that are kept open. A batch rarely spans more. */
const FD_BUDGET = 8;
/** Files that nobody has read for so long are closed. */
const FILE_IDLE_MS = 1000;

/** What a handler in a realm of its own has at hand, the same for every batch of the realm's life. */
export interface CursorRealmContext<Init = unknown> {
  /** What the host gave as `init`, as a copy that is this realm's own. */
  readonly init: Init;
  /**
   * Proof that delivery is at least once for the worker's checkpoint, made in this realm; absent when the
   * worker keeps none.
   */
  readonly witness: AtLeastOnce | undefined;
  /** The gaps observed since the last call, when the worker observes them. A crash forgets them. */
  takeGaps(): GapObservation[];
  /**
   * Aborts when the worker is told to stop: the batch is still settled as the handler says. Aborts too when
   * the host has given this realm up because the handler took too long: what it says then is not heard any
   * more. A handler that never yields can look at `signal.aborted`, which is up to date all the same, and
   * should, when it computes for long: Deno cannot end it otherwise.
   */
  readonly signal: AbortSignal;
}

/**
 * Handles a batch, which is never empty, and says what came of it. What it throws is a crash, and so is
 * returning anything but an action: silence must not commit.
 */
export type CursorRealmHandler<
  Init = unknown,
  Result = CursorWorkerAction | Promise<CursorWorkerAction>,
> = (batch: readonly StoredEvent[], context: CursorRealmContext<Init>) => Result;

/** What else a realm can be told. */
export interface CursorRealmOptions<Init = unknown> {
  /** Gets ready for the first batch. What it throws means that the worker cannot start. */
  readonly setup?: (context: CursorRealmContext<Init>) => void | Promise<void>;
  /** Where segment files are read; default: the file system of the runtime. */
  readonly fs?: StoreFs;
}

/**
 * Makes this Web Worker the realm of a supervised cursor worker: call it once, at the top of the worker's
 * file. `startCursorWorker` in the realm that owns the store does the rest.
 *
 * Events come straight from the segment files, in order, with the same guarantees as in the store's own
 * realm: at least once, and nothing skipped. In Deno the realm needs `--allow-read` for the journal's
 * directory, and its files have to be readable to load them. An event that the handler keeps keeps the bytes that were read with it, up
 * to a mebibyte.
 *
 * Nothing that the handler throws ends the realm: its state is there when it gets the batch again. An
 * exception outside of it does: the host starts the realm anew when it has been given a function for that
 * and the restart budget allows it.
 *
 * @param handler called with one batch at a time. Say what `init` is where you take it, as in
 * `async (batch, { init }: CursorRealmContext<{ from: string }>) => …`, and TypeScript infers the rest.
 * @throws {Error} when the realm serves already.
 *
 * @example A worker file that counts
 * ```ts ignore
 * import { serveCursorWorker } from "@batpak/batpak/worker";
 *
 * let count = 0;
 * serveCursorWorker((batch) => {
 *   count += batch.length;
 *   return "continue";
 * });
 * ```
 */
export function serveCursorWorker<
  Init = unknown,
  // Without the const, TypeScript takes the only action that an async handler returns for a mere string.
  const Result extends CursorWorkerAction | Promise<CursorWorkerAction> =
    | CursorWorkerAction
    | Promise<CursorWorkerAction>,
>(
  handler: CursorRealmHandler<Init, Result>,
  options: CursorRealmOptions<Init> = {},
): void {
  if (isServing) throw new Error("Cannot serve a second cursor worker: this realm serves one");
  isServing = true;
  new CursorRealm<Init>(handler, options, wireToParent());
}

let isServing = false;

/** One session with one host. */
class CursorRealm<Init> {
  readonly #handler: CursorRealmHandler<Init>;
  readonly #setup: CursorRealmOptions<Init>["setup"];
  readonly #reader: FrameReader;
  readonly #wire: Wire;
  #context: CursorRealmContext<Init> | undefined;
  #gaps: GapBuffer | undefined;
  #stop = new AbortController();
  #batchCount = 0;
  #isWatchingFiles = false;

  constructor(
    handler: CursorRealmHandler<Init>,
    { setup, fs = runtime.fs }: CursorRealmOptions<Init>,
    wire: Wire,
  ) {
    this.#handler = handler;
    this.#setup = setup;
    this.#reader = new FrameReader(fs, { fdBudget: FD_BUDGET });
    this.#wire = wire;
    wire.listen((data) => {
      const message = untagged<HostMessage>(data);
      if (message !== undefined) this.#receive(message);
    });
    this.#hello();
  }

  #post(message: RealmMessage): void {
    this.#wire.post(tagged(message));
  }

  #hello(): void {
    this.#post({ type: "hello", version: PROTOCOL_VERSION });
  }

  #receive(message: HostMessage): void {
    switch (message.type) {
      case "greet":
        return this.#hello();
      case "start":
        return void this.#start(message);
      case "batch":
        return this.#handle(message);
      case "stop":
        return this.#stop.abort();
      case "end":
        return this.#end();
    }
  }

  async #start(
    { version, init, checkpointId, gaps, control, lifeline }: Extract<
      HostMessage,
      { type: "start" }
    >,
  ): Promise<void> {
    try {
      if (version !== PROTOCOL_VERSION) throw new Error(versionText(version));
      if (this.#context !== undefined) throw new Error("the realm serves another cursor worker");
      await holdLifeline(lifeline);
      const buffer = this.#gaps = new GapBuffer(gaps);
      const words = new Int32Array(control) as SharedWords;
      this.#context = {
        init: init as Init,
        // One that came over the line would prove nothing.
        witness: checkpointId === undefined
          ? undefined
          : mintAtLeastOnce(CheckpointId.parse(checkpointId)),
        takeGaps: () => buffer.take(),
        signal: liveSignal(this.#stop, words),
      };
      await this.#setup?.(this.#context);
      this.#post({ type: "ready" });
    } catch (error) {
      this.#post({ type: "failed", text: crashText(error) });
    }
  }

  #handle({ number, segments, frames, gaps }: Extract<HostMessage, { type: "batch" }>): void {
    this.#batchCount++;
    for (const gap of gaps) this.#gaps?.push(gap);
    let batch: StoredEvent[];
    try {
      batch = this.#reader.read(segments, frames);
    } catch (error) {
      this.#post(
        error instanceof UnreadableFrame
          ? { type: "unreadable", number, problem: error.problem }
          : { type: "failed", text: crashText(error) },
      );
      return;
    }
    this.#watchFiles();
    const crash = (error: unknown) => {
      this.#gaps?.take();
      this.#post({ type: "crashed", number, text: crashText(error) });
    };
    const settle = (result: unknown) =>
      this.#post({ type: "settled", number, result: sendable(result) });
    try {
      const result: unknown = this.#handler(batch, this.#context!);
      // Without a promise there is nothing to wait for, and the answer is on its way a little sooner.
      if (isThenable(result)) Promise.resolve(result).then(settle, crash);
      else settle(result);
    } catch (error) {
      crash(error);
    }
  }

  /** Closes the files when no batch has come for a while. */
  #watchFiles(): void {
    if (this.#isWatchingFiles) return;
    this.#isWatchingFiles = true;
    const seen = this.#batchCount;
    runtime.scheduler.delay(FILE_IDLE_MS, () => {
      this.#isWatchingFiles = false;
      if (this.#batchCount === seen) this.#reader.closeFiles();
      else this.#watchFiles();
    });
  }

  #end(): void {
    this.#stop.abort();
    this.#reader.closeFiles();
    this.#wire.close();
  }
}

/** A signal that knows of a request to stop before the message about it could be delivered. */
function liveSignal(controller: AbortController, words: SharedWords): AbortSignal {
  const { signal } = controller;
  let isAborting = false;
  Object.defineProperty(signal, "aborted", {
    get() {
      const isAborted = () => Reflect.get(AbortSignal.prototype, "aborted", signal);
      if (!isAborting && !isAborted() && Atomics.load(words, STOP_WORD) !== 0) {
        // Aborting looks here again, and has to see that it has not happened yet.
        isAborting = true;
        controller.abort();
      }
      return isAborted();
    },
  });
  return signal;
}

function isThenable(value: unknown): boolean {
  return typeof value === "object" && value !== null && "then" in value;
}

/** What the handler returned, or its type where that cannot be sent. No action is anything but a string. */
function sendable(result: unknown): unknown {
  const type = typeof result;
  return type === "object" || type === "function" || type === "symbol" ? { type } : result;
}
