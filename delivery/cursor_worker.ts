/**
 * Cursor workers: a handler that is given every event of a region, in order, in batches, for as long as the
 * journal grows; with a checkpoint, over crashes and restarts of the program too.
 *
 * @module
 */

import { assertKnownKeys, assertUint } from "../store/assert.ts";
import { type CursorGapConfig, GapBuffer } from "../store/cursor_gaps.ts";
import type { JournalReader } from "../store/journal_reader.ts";
import { printAs } from "../store/print.ts";
import { Region, type RegionLike } from "../store/region.ts";
import type { CanalHandle } from "./canal.ts";
import { CheckpointId } from "./checkpoint_id.ts";
import { type CursorWorkerHandler, FunctionUnit } from "./function_unit.ts";
import type { CursorWorkerAction, HandlerUnit } from "./handler_unit.ts";
import { type RealmOptions, RealmUnit } from "./realm/realm_unit.ts";
import { checkRestartPolicy, type RestartPolicy } from "./restart_budget.ts";
import { type CursorWorkerCallbacks, type CursorWorkerStatus, Supervisor } from "./supervisor.ts";

/** How a worker works: what can be used again for another one. */
export interface CursorWorkerSettings {
  /** As many events as the handler is given at once, 1 to 65,536. Default 64. */
  readonly batchSize?: number;
  /**
   * The longest wait when there is nothing to do, in milliseconds, 1 to 2,147,483,647. Default 10. A worker
   * of a writer is woken by each append, and one of a reader looks this often for what was appended.
   */
  readonly idleSleepMs?: number;
  /** How often the handler is started again after it crashed. Default `{ kind: "once" }`. */
  readonly restart?: RestartPolicy;
  /**
   * Keeps what was handled in `cursors/<id>.ckpt` beside the journal, and begins there. Without it, each
   * worker begins with the first event. One worker at a time for each id; an id stays with its region.
   */
  readonly checkpointId?: string;
  /** Whether the handler can ask which holes cancelled fences have left. Default: it cannot. */
  readonly gaps?: CursorGapConfig;
}

/** How a worker works, and who is told. */
export interface CursorWorkerOptions extends CursorWorkerSettings, CursorWorkerCallbacks {
  /** Stops the worker when it aborts, as {@linkcode CursorWorker.stop} does. */
  readonly signal?: AbortSignal;
}

const TIMEOUT_MS_MAX = 2 ** 31 - 1;
const BATCH_SIZE_MAX = 65_536;
const OPTIONS: ReadonlySet<string> = new Set([
  "batchSize",
  "idleSleepMs",
  "restart",
  "checkpointId",
  "gaps",
  "onCrash",
  "onRestartBudgetExhausted",
  "onCheckpointFailure",
  "signal",
]);
const REALM_OPTIONS: ReadonlySet<string> = new Set([
  "worker",
  "init",
  "handlerTimeoutMs",
  "startTimeoutMs",
]);

/**
 * Starts a worker: `handler` is given the events of `region`, oldest first, and says after each batch whether
 * it is done. Returns at once; what goes wrong from here on is what {@linkcode CursorWorker.join} rejects
 * with.
 *
 * - Every visible event is given at least once, and none is skipped. With a checkpoint that holds over
 *   restarts of the program and power cuts: a batch is committed after the handler has said so, and after
 *   its events are durable. A crash in between gives it again, so a handler has to cope with that.
 * - What is committed is never given again.
 * - One batch at a time. A handler may be async; one that blocks, blocks everything in this realm.
 * - A handler that throws, or returns anything but an action, has crashed. It is started again at what is
 *   committed, as often as `restart` allows: once in the worker's life, unless you say more. After that the
 *   worker ends, `join()` is fulfilled all the same, and `status.end` is `"crashed"`. A mailer wants
 *   something like `{ kind: "bounded", maxRestarts: 5, withinMs: 60_000 }`, and a look at `status`.
 * - The worker keeps the store open: closing it is refused until {@linkcode CursorWorker.join} has been
 *   fulfilled. It also keeps the program running.
 * - A worker of a reader refreshes that reader.
 *
 * @param handler a function, or a unit that runs one elsewhere.
 * @throws {CheckpointIdError} when the checkpoint id is none.
 * @throws {RangeError} when a number is out of its range.
 * @throws {RegionError} when the region has a filter that no event could match.
 * @throws {StoreClosedError} when the store is closed.
 * @throws {TypeError} when an option or the handler is none.
 *
 * @example Send a mail for every order, also for those that came while nobody was looking
 * ```ts
 * import { EventKind, MemoryFs, startCursorWorker, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * using store = Store.open("journal", { fs: new MemoryFs() });
 * for (const n of [1, 2, 3]) {
 *   store.append({ entity: `order:${n}`, scope: "shop" }, EventKind.DATA, { n });
 * }
 *
 * const mails: string[] = [];
 * // Stopped and waited for at the end of the block, before the store is closed.
 * await using worker = startCursorWorker(store, { entity: "order" }, {
 *   checkpointId: "mailer",
 * }, (batch) => {
 *   for (const event of batch) mails.push(event.entity);
 *   return mails.length < 3 ? "continue" : "stop";
 * });
 *
 * await worker.join();
 * assert.deepEqual(mails, ["order:1", "order:2", "order:3"]);
 * assert.equal(worker.status.committed, 3);
 * ```
 */
export function startCursorWorker<
  S extends JournalReader,
  // Without the const, TypeScript takes the only action that an async handler returns for a mere string.
  const Action extends CursorWorkerAction,
>(
  store: S,
  region: RegionLike,
  options: CursorWorkerOptions,
  handler: CursorWorkerHandler<S, Action> | HandlerUnit,
): CursorWorker;
/**
 * Starts a worker whose handler runs in a realm of its own: a Web Worker of yours, whose file calls
 * `serveCursorWorker` of `@batpak/batpak/worker`. All that is promised above holds for it too, and besides:
 *
 * - The realm is told where events are and reads them from the segment files by itself, so a handler that
 *   computes for long blocks nobody else. The journal has to lie in real files; in Deno the realm needs
 *   `--allow-read` for its directory.
 * - When the realm dies, or the handler takes longer than `handlerTimeoutMs`, the batch was not settled, and
 *   is given again to a new realm, if `worker` is a function and `restart` allows it. A death counts like a
 *   crash. The new realm is not started before the old one has ended, or five seconds have passed: Deno
 *   cannot interrupt a handler that computes, so a long computation should look at `signal.aborted`.
 * - A handler that never comes back is waited for when there is no `handlerTimeoutMs`.
 * - Events are as the store had them when the batch was handed over, erasures included.
 * - Damaged events, and files that cannot be read, end the worker with the error that reading them through
 *   the store throws.
 *
 * @throws {StoreIoError} when `worker` is a function and throws.
 *
 * @example Handle orders in a worker of your own
 * ```ts ignore
 * // main.ts
 * import { startCursorWorker, Store } from "@batpak/batpak";
 *
 * using store = Store.open("journal");
 * await using worker = startCursorWorker(store, { entity: "order" }, {
 *   checkpointId: "mailer",
 *   worker: () => new Worker(new URL("./mailer.ts", import.meta.url), { type: "module" }),
 *   init: { from: "shop@example.com" },
 *   handlerTimeoutMs: 60_000,
 * });
 * await worker.join(); // leaving the block would stop it
 *
 * // mailer.ts
 * import { type CursorRealmContext, serveCursorWorker } from "@batpak/batpak/worker";
 *
 * serveCursorWorker(async (batch, { init }: CursorRealmContext<{ from: string }>) => {
 *   for (const event of batch) await sendMail(init.from, event.payload);
 *   return "continue";
 * });
 * ```
 */
export function startCursorWorker(
  store: JournalReader,
  region: RegionLike,
  options: CursorWorkerOptions & RealmOptions,
): CursorWorker;
export function startCursorWorker(
  store: JournalReader,
  region: RegionLike,
  options: CursorWorkerOptions & Partial<RealmOptions>,
  handler?: CursorWorkerHandler | HandlerUnit,
): CursorWorker {
  const known = handler === undefined ? new Set([...OPTIONS, ...REALM_OPTIONS]) : OPTIONS;
  assertKnownKeys("start a cursor worker", options, known);
  const { onCrash, onRestartBudgetExhausted, onCheckpointFailure, signal } = options;
  const callbacks = { onCrash, onRestartBudgetExhausted, onCheckpointFailure };
  for (const [name, callback] of Object.entries(callbacks)) {
    if (callback !== undefined && typeof callback !== "function") {
      throw new TypeError(`Cannot start a cursor worker: "${name}" is no function`);
    }
  }
  // Found out later, the store would be held for ever by a worker that never began.
  if (signal !== undefined && typeof signal?.addEventListener !== "function") {
    throw new TypeError('Cannot start a cursor worker: "signal" is no AbortSignal');
  }
  const settings = settingsOf(options);
  const { checkpointId } = settings;
  const wanted = Region.from(region);
  const unit = handler === undefined ? realmOf(options, settings) : unitOf(handler);
  try {
    const supervisor = new Supervisor({
      ...settings,
      name: `batpak-cursor-worker ${checkpointId ?? wanted.identity()}`,
      store,
      region: wanted,
      callbacks,
      signal,
    }, unit);
    return new CursorWorker(supervisor, settings, callbacks);
  } catch (error) {
    // Nobody else knows of the realm that has just been started.
    void unit.close();
    throw error;
  }
}

/** Settings with every default in place. */
export type ResolvedCursorWorkerSettings =
  & Readonly<Required<Omit<CursorWorkerSettings, "checkpointId">>>
  & {
    /** See {@linkcode CursorWorkerSettings.checkpointId}. */
    readonly checkpointId: CheckpointId | undefined;
  };

function settingsOf(options: CursorWorkerSettings): ResolvedCursorWorkerSettings {
  const { batchSize = 64, idleSleepMs = 10, restart = { kind: "once" }, checkpointId } = options;
  const { gaps = { kind: "disabled" } } = options;
  // It knows what is wrong with a configuration.
  new GapBuffer(gaps);
  return Object.freeze({
    batchSize: assertCount("batchSize", batchSize, BATCH_SIZE_MAX),
    idleSleepMs: assertCount("idleSleepMs", idleSleepMs, TIMEOUT_MS_MAX),
    restart: checkRestartPolicy(restart),
    checkpointId: checkpointId === undefined ? undefined : CheckpointId.parse(checkpointId),
    gaps: Object.freeze({ ...gaps }),
  });
}

/** With 0 there would be no progress, or no rest. */
function assertCount(name: string, value: number, max: number): number {
  if (value === 0) throw new RangeError(`Cannot use ${name} 0: give a whole number of 1 to ${max}`);
  return assertUint(name, value, max);
}

/** Starts the realm of a worker. */
function realmOf(
  { worker, init, handlerTimeoutMs, startTimeoutMs }: Partial<RealmOptions>,
  { gaps }: CursorWorkerSettings,
): HandlerUnit {
  if (worker === undefined) {
    throw new TypeError('Cannot start a cursor worker: give it a handler, or a "worker"');
  }
  if (typeof worker !== "function" && typeof worker?.postMessage !== "function") {
    throw new TypeError(
      'Cannot start a cursor worker: "worker" is neither a Worker nor a function',
    );
  }
  const timeouts = { handlerTimeoutMs, startTimeoutMs };
  for (const [name, value] of Object.entries(timeouts)) {
    if (value !== undefined) assertCount(name, value, TIMEOUT_MS_MAX);
  }
  return new RealmUnit({ worker, init, ...timeouts }, gaps);
}

function unitOf(handler: CursorWorkerHandler | HandlerUnit): HandlerUnit {
  if (typeof handler === "function") return new FunctionUnit(handler);
  if (typeof handler?.handle === "function" && typeof handler.close === "function") return handler;
  throw new TypeError("Cannot start a cursor worker: the handler is no function");
}

/**
 * The handle of a worker that runs in the background; made by {@linkcode startCursorWorker}. Letting go of
 * it with `using` stops the worker and does not wait; `await using` also waits.
 */
export class CursorWorker implements CanalHandle {
  /**
   * How it works, every default in place: give it to another worker to have it work the same way. Callbacks
   * and `signal` are not part of it, because they belong to this one.
   */
  readonly settings: ResolvedCursorWorkerSettings;
  readonly #supervisor: Supervisor;
  readonly #ended: Promise<void>;
  /** Whether somebody has been told what went wrong. */
  #isTold = false;
  readonly #callbacks: readonly string[];

  /**
   * Begins.
   *
   * @internal
   */
  constructor(
    supervisor: Supervisor,
    settings: ResolvedCursorWorkerSettings,
    callbacks: CursorWorkerCallbacks,
  ) {
    this.settings = settings;
    this.#supervisor = supervisor;
    this.#callbacks = Object.entries(callbacks)
      .filter(([, callback]) => callback !== undefined)
      .map(([name]) => name);
    this.#ended = supervisor.run();
  }

  /** What it is doing, and how far it has come. */
  get status(): CursorWorkerStatus {
    return this.#supervisor.status;
  }

  /**
   * Tells it to end after the batch it is in the middle of, which is settled as its handler says. Returns
   * at once, and wakes it when it waits. A handler sees it by `context.signal`; one that never returns
   * cannot be stopped.
   */
  stop(): void {
    this.#supervisor.stop();
  }

  /**
   * Waits until it has ended by itself: because somebody stopped it, its handler said so, its handler crashed
   * too often, or something went wrong. The store can be closed then. May be called more than once.
   *
   * Never wait for it in its own handler: neither would end.
   *
   * @throws {CheckpointAheadError} when the checkpoint is about events that the journal has lost.
   * @throws {CheckpointBusyError} when another worker has the checkpoint.
   * @throws {CheckpointCorruptError} when the checkpoint cannot be read.
   * @throws {CheckpointRegionMismatchError} when it is about another region.
   * @throws {CheckpointWriteError} when a batch was handled and could not be committed: the next worker is
   * given it again.
   * @throws {BatchTooLargeError} when a batch is too large for a handler in another realm.
   * @throws {CorruptionError} when a handler in another realm cannot be given an event, because its bytes
   * are damaged.
   * @throws {CursorWorkerError} when it died outside of its handler.
   * @throws {StoreClosedError} when the store was closed in the middle of a batch, which is not committed.
   * @throws {StoreIoError} when the checkpoint, or the journal of a reader, cannot be read.
   */
  async join(): Promise<void> {
    await this.#ended;
    const { error } = this.#supervisor;
    if (error === undefined) return;
    this.#isTold = true;
    throw error;
  }

  /**
   * Tells it to end, and waits until it has.
   *
   * @throws as {@linkcode join}.
   */
  stopAndJoin(): Promise<void> {
    this.stop();
    return this.join();
  }

  /** As {@linkcode stop}: does not wait, and throws nothing. */
  [Symbol.dispose](): void {
    this.stop();
  }

  /**
   * As {@linkcode stopAndJoin}, and silent about what somebody was told by {@linkcode join}: one error is
   * better than two.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    const isTold = this.#isTold;
    try {
      await this.stopAndJoin();
    } catch (error) {
      if (!isTold) throw error;
    }
  }

  static {
    printAs(CursorWorker, (worker) => ({
      ...worker.settings,
      callbacks: worker.#callbacks,
      status: worker.status,
    }));
  }
}
