/**
 * The supervisor of a cursor worker: polls, hands over, and commits what was handled.
 *
 * ```
 * start   load the checkpoint, start the unit                       any error: end
 * loop    while nobody said stop, which is looked at between batches
 *           nothing there      → wait for something to become visible
 *           continue           → commit                             fails: roll back, end
 *           stop               → commit, end                        fails: roll back, end
 *           stopWithRollback   → roll back, end
 *           crash              → roll back; end when the budget says so
 *           death of the unit  → roll back; end when the budget says so, or it cannot be revived
 * end     close the unit, let go of checkpoint and store
 * ```
 *
 * What is promised rests on three rules. Only a handler that said so moves the committed position. A roll
 * back restores that position in memory and writes nothing. And what replaces a cursor after a crash begins
 * at the committed position in memory, not at what was polled last, nor at what a file says.
 *
 * The first error is kept for `join()`; later ones are its consequences.
 *
 * @module
 */

import type { CursorHost, CursorPosition } from "../store/cursor.ts";
import type { CursorGapConfig } from "../store/cursor_gaps.ts";
import { JournalChangingError, StoreClosedError, StoreError } from "../store/errors.ts";
import { withIo } from "../store/io.ts";
import type { JournalReader } from "../store/journal_reader.ts";
import type { Region } from "../store/region.ts";
import type { StoredEvent } from "../store/stored_event.ts";
import { CheckpointWriteError } from "./checkpoint.ts";
import type { CheckpointId } from "./checkpoint_id.ts";
import { crashText } from "./crash_text.ts";
import { bindCursor, type DurableCursor } from "./durable_cursor.ts";
import { HandlerCrash, type HandlerUnit, UnitDeath } from "./handler_unit.ts";
import { RestartBudget, type RestartPolicy } from "./restart_budget.ts";

/** What is called when something happens. */
export interface CursorWorkerCallbacks {
  /**
   * Called for each crash of the handler, before it is decided whether it is started again. The message
   * says what was thrown; `cause` is it, when the handler runs in this realm.
   */
  readonly onCrash?: (crash: Error) => void;
  /** Called once, when the handler has crashed once more than the restart policy allows. */
  readonly onRestartBudgetExhausted?: (crash: Error) => void;
  /** Called when a batch was handled and could not be committed. `join()` rejects with the same error. */
  readonly onCheckpointFailure?: (checkpointId: string, error: Error) => void;
}

/** What a supervisor works with. */
export interface Supervision {
  /** Who it is, for those who want to close the store. */
  readonly name: string;
  readonly store: JournalReader;
  readonly region: Region;
  readonly batchSize: number;
  readonly idleSleepMs: number;
  readonly restart: RestartPolicy;
  readonly gaps: CursorGapConfig;
  readonly checkpointId: CheckpointId | undefined;
  readonly callbacks: CursorWorkerCallbacks;
  readonly signal: AbortSignal | undefined;
}

/** What a supervisor is doing. */
export type CursorWorkerState =
  /** Loading the checkpoint, and getting the handler ready. */
  | "starting"
  /** Looking for events, or waiting for some. */
  | "idle"
  /** Waiting for the handler to settle a batch. */
  | "handling"
  /** Getting the handler ready again, after its realm died. */
  | "reviving"
  /** It has let go of everything. */
  | "ended";

/** Why a worker has ended. */
export type CursorWorkerEnd =
  /** Somebody told it to stop, or the store was closed under it. */
  | "stopped"
  /** The handler said `"stop"` or `"stopWithRollback"`. */
  | "handler"
  /** The handler crashed once more than the restart policy allows. `join()` counts this as an end in order. */
  | "crashed"
  /** Something went wrong, and `join()` says what. */
  | "failed";

/** How far a worker has come, at the moment of asking. */
export interface CursorWorkerStatus {
  /** What it is doing. */
  readonly state: CursorWorkerState;
  /** Why it has ended; `undefined` before. */
  readonly end: CursorWorkerEnd | undefined;
  /** Sequence of the last event the handler was given; after a roll back, or at the end, `committed`. */
  readonly position: number | undefined;
  /** Sequence of the last event that is committed: the next worker begins behind it. */
  readonly committed: number | undefined;
  /** Batches that the handler was given, those included that it was given again. */
  readonly deliveries: number;
  /** How often it was started again after a crash. */
  readonly restarts: number;
  /** What the last crash said. */
  readonly lastCrash: string | undefined;
}

/**
 * The worker could not go on for a reason that lies in nobody's data: the realm of its handler died and was
 * not started again, a callback threw, or there is a bug. The batch it was in the middle of is not
 * committed. Mend the cause, and start another worker: it gets that batch again.
 */
export class CursorWorkerError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "CursorWorkerError";
  /** Stable, for programs. */
  override readonly code = "CURSOR_WORKER";
  /** The checkpoint of the worker, if it has one. */
  readonly checkpointId: string | undefined;
  /** What had gone wrong before, if something had. */
  readonly earlier: Error | undefined;

  /**
   * Says what happened.
   *
   * @param reason why, without a full stop; `cause` is what was thrown.
   */
  constructor(
    reason: string,
    facts: {
      readonly cause: unknown;
      readonly checkpointId?: string;
      readonly earlier?: Error;
    },
  ) {
    const { cause, checkpointId, earlier } = facts;
    const whose = checkpointId === undefined ? "" : ` "${checkpointId}"`;
    super(`Cannot go on with the cursor worker${whose}: ${reason}`, { cause });
    this.checkpointId = checkpointId;
    this.earlier = earlier;
  }
}

/** Drives one unit over one cursor, from {@linkcode run} to its end. */
export class Supervisor {
  readonly #it: Supervision;
  readonly #host: CursorHost;
  readonly #stop = new AbortController();
  readonly #onAbort = (): void => this.stop();
  readonly #letGo: () => void;
  #unit: HandlerUnit | undefined;
  #durable: DurableCursor | undefined;
  #budget: RestartBudget | undefined;
  #state: CursorWorkerState = "starting";
  #end: CursorWorkerEnd | undefined;
  #deliveries = 0;
  #lastCrash: string | undefined;
  #isStoreGone = false;
  /** The first error. */
  #slot: Error | undefined;
  /** What ended it from outside of the handler, which says more than what may be in the slot. */
  #death: CursorWorkerError | undefined;

  /**
   * Holds the store from now on.
   *
   * @throws {StoreClosedError} when it is closed.
   */
  constructor(it: Supervision, unit: HandlerUnit) {
    this.#it = it;
    this.#unit = unit;
    this.#host = it.store.cursorHost();
    this.#letGo = it.store.hold(it.name, () => {
      this.#isStoreGone = true;
      this.stop();
    });
    if (it.signal?.aborted === true) this.stop();
    else it.signal?.addEventListener("abort", this.#onAbort);
  }

  /** What it is doing, and how far it has come. */
  get status(): CursorWorkerStatus {
    const isEnded = this.#state === "ended";
    const committed = sequenceOf(this.#durable?.committed);
    return {
      state: this.#state,
      end: isEnded ? this.#end : undefined,
      // Whatever it was given after that, the next worker is given again.
      position: isEnded ? committed : sequenceOf(this.#durable?.cursor.position),
      committed,
      deliveries: this.#deliveries,
      restarts: this.#budget?.granted ?? 0,
      lastCrash: this.#lastCrash,
    };
  }

  /** What `join()` has to throw, once it has ended. */
  get error(): Error | undefined {
    return this.#death ?? this.#slot;
  }

  /** Ends it after the batch it is in the middle of. Wakes it when it waits. */
  stop(): void {
    this.#end ??= "stopped";
    this.#stop.abort();
  }

  /** Runs until it ends. Never rejects: {@linkcode error} says what went wrong. */
  async run(): Promise<void> {
    try {
      // Whoever starts a worker has the handle before anything happens.
      await this.#host.scheduler.turn();
      await this.#work();
    } catch (error) {
      this.#die(error);
    }
    await this.#finish();
  }

  get #isStopping(): boolean {
    return this.#stop.signal.aborted;
  }

  async #work(): Promise<void> {
    const { batchSize } = this.#it;
    const { scheduler, visibility } = this.#host;
    if (!this.#begin()) return;
    if (!this.#isStopping) await this.#startUnit();
    while (!this.#isStopping) {
      this.#state = "idle";
      // Taken before the look: what becomes visible after the look is not slept through.
      const seen = visibility.count;
      const batch = this.#poll(batchSize);
      if (batch === undefined) return;
      if (batch.length === 0) {
        await this.#wait(seen);
      } else {
        await this.#deliver(batch);
        // Messages, timers and other workers get their turn between two batches.
        await scheduler.turn();
      }
    }
  }

  /** Loads the checkpoint and makes the cursor. Also when it is to stop: a bad checkpoint is worth knowing. */
  #begin(): boolean {
    // A store that is closed has let go of its directory, and somebody else may have it.
    if (this.#isStoreGone) return false;
    const { store, region, checkpointId, gaps, restart } = this.#it;
    try {
      this.#durable = withIo("start a cursor worker", () => {
        return bindCursor(store, region, checkpointId, { gaps });
      });
    } catch (error) {
      return this.#fail(error);
    }
    this.#budget = new RestartBudget(restart, this.#host.clock);
    return true;
  }

  async #startUnit(): Promise<void> {
    try {
      await this.#unit?.start({
        store: this.#it.store,
        witness: this.#durable?.witness,
        signal: this.#stop.signal,
        takeGaps: () => this.#durable?.cursor.takeGaps() ?? [],
      });
    } catch (error) {
      if (!(error instanceof UnitDeath)) throw error;
      this.#lastCrash = error.message;
      this.#fail(this.#deathOf(error));
    }
  }

  /** The next batch, empty when there is none; `undefined` when it cannot go on. */
  #poll(batchSize: number): StoredEvent[] | undefined {
    try {
      return this.#durable?.cursor.pollBatch(batchSize);
    } catch (error) {
      this.#fail(error);
      return undefined;
    }
  }

  /** Waits until there may be more: a writer in this realm says so, any other has to be looked after. */
  async #wait(seen: number): Promise<void> {
    const { refresh, scheduler, visibility } = this.#host;
    // Before the wait and not behind it: there it would come between an event and its handler.
    await scheduler.turn();
    if (this.#isStopping) return;
    try {
      refresh?.();
    } catch (error) {
      // It is being compacted, faster than it can be read: the next look finds it at rest.
      if (!(error instanceof JournalChangingError)) return void this.#fail(error);
    }
    const { signal } = this.#stop;
    await visibility.park(seen, this.#it.idleSleepMs, { scheduler, signal });
  }

  /** Hands over a batch, and does what the handler says. */
  async #deliver(batch: readonly StoredEvent[]): Promise<void> {
    this.#state = "handling";
    this.#deliveries++;
    let action: unknown;
    try {
      action = await this.#unit?.handle(batch);
    } catch (error) {
      if (error instanceof HandlerCrash) return this.#crashed(error);
      if (error instanceof UnitDeath) return await this.#died(error);
      // The journal's own trouble, as when its bytes are damaged: the handler is not to blame.
      this.#rollBack();
      return void this.#fail(error);
    }
    switch (action) {
      case "continue":
        return this.#commit();
      case "stop":
        this.#commit();
        return this.#endBy("handler");
      case "stopWithRollback":
        this.#rollBack();
        return this.#endBy("handler");
      default:
        this.#crashed(nonsense(action));
    }
  }

  /** Moves the committed position, on disk first. When that fails nothing has moved, and this is the end. */
  #commit(): void {
    const { checkpointId, callbacks } = this.#it;
    // Without its lock the directory may be somebody else's by now.
    if (this.#isStoreGone) {
      this.#rollBack();
      return this.#lose();
    }
    try {
      this.#durable?.commit();
    } catch (error) {
      this.#rollBack();
      this.#fail(error);
      if (checkpointId !== undefined && error instanceof CheckpointWriteError) {
        callbacks.onCheckpointFailure?.(checkpointId, error);
      }
    }
  }

  /** Back to what is committed. Writes nothing. */
  #rollBack(): void {
    this.#durable?.rollback();
  }

  #crashed(crash: HandlerCrash): void {
    this.#rollBack();
    this.#lastCrash = crash.message;
    // Its events could not be read any more, most likely: no fault of the handler.
    if (this.#isStoreGone) return this.#lose();
    this.#it.callbacks.onCrash?.(crash);
    if (!this.#mayRestart(crash)) return this.#endBy("crashed");
    this.#replaceCursor();
  }

  /** The realm of the handler is gone. Whether it had handled the batch, nobody knows: it comes again. */
  async #died(death: UnitDeath): Promise<void> {
    this.#rollBack();
    for (let last = death;;) {
      this.#lastCrash = last.message;
      if (this.#isStoreGone) return this.#lose();
      this.#it.callbacks.onCrash?.(last);
      // Nobody needs another realm to stop in.
      if (this.#isStopping || !this.#mayRestart(last)) return void this.#fail(this.#deathOf(last));
      this.#state = "reviving";
      try {
        if (await this.#unit?.revive()) return this.#replaceCursor();
        return void this.#fail(this.#deathOf(last));
      } catch (error) {
        if (!(error instanceof UnitDeath)) throw error;
        last = error;
      }
    }
  }

  #mayRestart(crash: HandlerCrash | UnitDeath): boolean {
    if (this.#budget?.tryRestart() === true) return true;
    this.#it.callbacks.onRestartBudgetExhausted?.(crash);
    return false;
  }

  /** Goes on at the committed position with a cursor that has seen nothing. */
  #replaceCursor(): void {
    try {
      this.#durable?.rebuild();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The store was closed in the middle of a batch, which is not committed. */
  #lose(): void {
    if (this.#it.checkpointId !== undefined) this.#fail(new StoreClosedError("commit a batch"));
  }

  #endBy(end: CursorWorkerEnd): void {
    this.#end = end;
    this.#stop.abort();
  }

  /** Keeps the first error, and ends it. What no caller would expect is a death. Always false. */
  #fail(error: unknown): false {
    if (error instanceof StoreError) this.#slot ??= error;
    else this.#die(error);
    this.#stop.abort();
    return false;
  }

  #die(cause: unknown): void {
    this.#death ??= new CursorWorkerError(`it died outside of its handler: ${crashText(cause)}`, {
      cause,
      checkpointId: this.#it.checkpointId,
      earlier: this.#slot,
    });
    this.#stop.abort();
  }

  #deathOf(death: UnitDeath): CursorWorkerError {
    const { checkpointId } = this.#it;
    return new CursorWorkerError(death.message, { cause: death, checkpointId });
  }

  async #finish(): Promise<void> {
    this.#stop.abort();
    this.#it.signal?.removeEventListener("abort", this.#onAbort);
    try {
      await this.#unit?.close();
    } catch (error) {
      this.#die(error);
    }
    try {
      this.#durable?.close();
    } catch (error) {
      this.#fail(error);
    }
    // What the handler holds on to can go, and the handle may stay.
    this.#unit = undefined;
    this.#letGo();
    if (this.error !== undefined) this.#end = "failed";
    this.#state = "ended";
  }
}

function sequenceOf(position: CursorPosition | undefined): number | undefined {
  return position?.started ? position.position : undefined;
}

function nonsense(action: unknown): HandlerCrash {
  const what = typeof action === "string" ? JSON.stringify(action) : typeof action;
  return new HandlerCrash(
    `the handler returned ${action === null ? "null" : what}: ` +
      'say "continue", "stop" or "stopWithRollback"',
  );
}
