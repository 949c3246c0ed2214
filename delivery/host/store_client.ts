/**
 * A store that another realm has, through promises.
 *
 * Whatever one client asks for is done in the order it was asked, appends and reads alike, and everything
 * that is asked for within a turn goes in one message. At most so much is on its way at a time; what comes
 * on top of it waits here, and is sent as answers come back.
 *
 * When the realm of the store dies, all calls that are open fail with a {@linkcode HostError} that says so,
 * as soon as the runtime tells, or once the host has not answered a question for so long.
 *
 * @module
 */

import { newChannel, type WorkerLike } from "../../platform/realm.ts";
import { watchLifeline } from "../../platform/lifeline.ts";
import { runtime } from "../../platform/runtime.ts";
import type { Cancel, Scheduler } from "../../platform/scheduler.ts";
import type { AppendOptions } from "../../store/append.ts";
import { assertKnownKeys, assertUint } from "../../store/assert.ts";
import type { CoordinateLike } from "../../store/coordinate.ts";
import type { StoreError } from "../../store/errors.ts";
import type { EventDefinition } from "../../store/event_definition.ts";
import type { EventKind } from "../../store/event_kind.ts";
import { type EventId, type OperationKey, parseId } from "../../store/ids.ts";
import type { AncestorWalk, EventsOptions, StoreStats } from "../../store/journal_reader.ts";
import { Receipt, type ReceiptVerification } from "../../store/receipt.ts";
import { Region, type RegionLike } from "../../store/region.ts";
import type { BatchItem, BatchOptions } from "../../store/store.ts";
import type { DurabilityGate } from "../../store/store.ts";
import type { StoredEvent } from "../../store/stored_event.ts";
import type { FrontierView, WatermarkKind } from "../../store/watermarks/frontier_view.ts";
import type { HlcPoint } from "../../store/watermarks/hlc_point.ts";
import { LaneNotSharedError, SharedFrontier } from "../../store/watermarks/shared_frontier.ts";
import type { WaitOptions } from "../../store/watermarks/wait.ts";
import { type Channel, PortChannel } from "./channel.ts";
import { ClientFence } from "./client_fence.ts";
import { decodeError } from "./error_codec.ts";
import { GrowingBytes } from "./growing_bytes.ts";
import { HostError, type HostFailure } from "./host_error.ts";
import {
  AnswerReader,
  type CallAnswer,
  type ClientNotice,
  type HelloMessage,
  type HostNotice,
  PROTOCOL_VERSION,
  type WelcomeMessage,
} from "./messages.ts";
import {
  askAncestors,
  askAt,
  askCauses,
  askEffects,
  askGet,
  askGetByKey,
  askLatest,
  askPages,
  askShutdown,
  askStats,
  askSync,
  askVerifyReceipt,
  type Call,
  type Page,
  type Question,
  unpackEvents,
  type WalkTarget,
} from "./questions.ts";
import { shareLifeline } from "./realm_lifeline.ts";
import { NO_OPTIONS, RequestWriter } from "./request_writer.ts";
import { type LineUser, WorkerLine } from "./worker_line.ts";

/** How a client connects, and how much it may have on its way. */
export interface ClientOptions {
  /** How long connecting may take, in milliseconds: 1 to 600,000. Default 10,000. */
  readonly connectTimeoutMs?: number;
  /**
   * How long the host may be silent while something is open, in milliseconds: 100 to 86,400,000. After half
   * of it the host is asked whether it is there, and after all of it taken for dead. It has to be longer
   * than the longest thing the host does in one go. Default 30,000.
   */
  readonly silenceMaxMs?: number;
  /** What may be on its way at a time. The limits of the host hold as well. */
  readonly inFlight?: {
    /** Requests, 1 to 65,536. Default 1,024. */
    readonly requests?: number;
    /** Bytes, 1,024 to 268,435,456; a single larger request goes alone. Default 8,388,608 (8 MiB). */
    readonly bytes?: number;
  };
  /** Timers. Default: those of the runtime. */
  readonly scheduler?: Scheduler;
}

/** What may be said beside the options of an append. */
export interface GateOption {
  /**
   * Answers only when a watermark covers the append, or the last one of a batch. It never causes a sync.
   * When it fails, the events are in the journal all the same.
   */
  readonly gate?: DurabilityGate;
}

/** Options of an append through a client. */
export type ClientAppendOptions = AppendOptions & GateOption;

const CLIENT_OPTIONS: ReadonlySet<string> = new Set([
  "connectTimeoutMs",
  "silenceMaxMs",
  "inFlight",
  "scheduler",
]);

/** Requests that have gathered so far are sent even within a turn, so that the host has work meanwhile. */
const FLUSH_COUNT = 64;
const FLUSH_SIZE = 64 << 10;
/** How often a turn may go on asking for more before what it has asked for is sent. */
const LINGER_MAX = 16;
/** How long a worker that has thrown may take to show that it goes on all the same. */
const ERROR_GRACE_MS = 1000;
/** How long the last messages of a port may take that is closed. */
const CLOSE_GRACE_MS = 20;
const NO_REGION: RegionLike = Region.all();
const ID_MAX = 2 ** 32 - 1;

/** Somebody who waits for an answer. */
interface Pending {
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
  readonly isBatch: boolean;
  /** Bytes of the request; none for a wait, which takes no part in what may be on its way. */
  readonly size: number | undefined;
}

/** A request that waits until there is room for it. */
type Parked =
  & { readonly size: number }
  & ({ readonly bytes: Uint8Array } | {
    readonly message: object;
  });

/**
 * A store in another realm. {@linkcode StoreClient.connect} makes one.
 *
 * Its methods are those of `Store`, with promises; events and receipts are the same classes, and errors
 * too. Events that come from it stand alone: they can be read for ever, also when the store is closed. A
 * receipt of a store with a signing key is signed when it arrives.
 *
 * What is special here:
 *
 * - An append is encoded when it is called, so its payload may be changed afterwards.
 * - A definition belongs to this realm: it checks and stamps payloads here. That two clients mean different
 *   things by one kind is not noticed.
 * - A {@linkcode HostError} with `outcomeUnknown` leaves open whether the append was done.
 *
 * @example A worker that has the store, and a client
 * ```ts ignore
 * import { EventKind, StoreClient } from "@batpak/batpak";
 *
 * // store_worker.ts: serveStore(() => Store.open("journal"));
 * const worker = new Worker(new URL("./store_worker.ts", import.meta.url), { type: "module" });
 * await using client = await StoreClient.connect(worker);
 *
 * await client.append({ entity: "user:1", scope: "app" }, EventKind.DATA, "hello", {
 *   durability: "durable",
 * });
 * ```
 */
export class StoreClient {
  /** Which journal this is: a UUID. */
  readonly storeId: string;
  /** The canonical directory, as the host has it. */
  readonly dir: string;
  readonly #channel: Channel;
  readonly #scheduler: Scheduler;
  readonly #silenceMaxMs: number;
  readonly #requestsMax: number;
  readonly #bytesMax: number;
  readonly #writer: RequestWriter;
  readonly #storeIdBytes: Uint8Array;
  readonly #onClose: (reason: HostFailure) => void;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  /** Requests of this turn. */
  readonly #out = new GrowingBytes();
  #outCount = 0;
  #flushIsPlanned = false;
  /** Requests beyond what may be on its way. */
  #parked: Parked[] = [];
  #parkedStart = 0;
  #inFlightCount = 0;
  /** Of those that are pending: the ones that wait for a watermark. */
  #waitCount = 0;
  #inFlightBytes = 0;
  /** Why nothing more can be asked for. */
  #end: HostError | undefined;
  #heard = false;
  #isAsked = false;
  #cancelWatch: Cancel | undefined;
  readonly #frontier: SharedFrontier;
  readonly #ended = new AbortController();
  readonly #cancelLifeline: Cancel;

  /** Made by {@linkcode StoreClient.connect}. */
  private constructor(
    channel: Channel,
    welcome: WelcomeMessage,
    options: ResolvedClientOptions,
    onClose: (reason: HostFailure) => void,
  ) {
    this.#channel = channel;
    this.#scheduler = options.scheduler;
    this.#silenceMaxMs = options.silenceMaxMs;
    this.#requestsMax = Math.min(options.requestsMax, welcome.inFlightMax.requests);
    this.#bytesMax = Math.min(options.bytesMax, welcome.inFlightMax.bytes);
    this.#writer = new RequestWriter(welcome.limits);
    this.#onClose = onClose;
    this.#frontier = new SharedFrontier(welcome.frontier);
    this.#cancelLifeline = watchLifeline(
      welcome.lifeline,
      () => this.#fail(diedError("the realm of the store has ended")),
    );
    this.storeId = welcome.storeId;
    this.dir = welcome.dir;
    this.#storeIdBytes = parseId(welcome.storeId);
  }

  /**
   * Connects to the store that a worker serves, or through a port to it. A worker may be connected to
   * before it is ready, and as often as one likes.
   *
   * @param target a worker whose file calls `serveStore`, or a port of `openPort`, which is used up.
   * @throws {HostError} when nobody answers in time, the worker cannot be started, or it is closed.
   * @throws {StoreError} whatever opening the store threw there.
   * @throws {RangeError} when an option is out of its range.
   */
  static async connect(
    target: WorkerLike | MessagePort,
    options: ClientOptions = {},
  ): Promise<StoreClient> {
    const resolved = resolveClientOptions(options);
    if (target instanceof MessagePort) return await StoreClient.#meetPort(target, resolved);
    if (typeof target?.postMessage !== "function") {
      throw new TypeError("Cannot connect to what is neither a Worker nor a MessagePort");
    }
    return await StoreClient.#meetWorker(target, resolved);
  }

  static async #meetPort(
    port: MessagePort,
    options: ResolvedClientOptions,
  ): Promise<StoreClient> {
    const share = shareLifeline();
    try {
      const lifeline = await share.name;
      const onClose = () => share.release();
      return await StoreClient.#meet(new PortChannel(port), options, { onClose, lifeline });
    } catch (error) {
      share.release();
      throw error;
    }
  }

  static async #meetWorker(
    worker: WorkerLike,
    options: ResolvedClientOptions,
  ): Promise<StoreClient> {
    let client: StoreClient | undefined;
    let onGone: (error: unknown) => void = () => {};
    const gone = new Promise<never>((_, reject) => onGone = reject);
    gone.catch(() => {});
    const { scheduler, connectTimeoutMs } = options;
    const fail = (error: HostError) => {
      onGone(error);
      if (client !== undefined) client.#fail(error);
    };
    const user: LineUser = {
      onGone: fail,
      onSuspect(error) {
        if (client !== undefined) return client.#suspect(error);
        scheduler.delay(ERROR_GRACE_MS, () => client === undefined && fail(error));
      },
      onRefused: (message) =>
        fail(decodeError((message as { error: Uint8Array }).error) as HostError),
    };
    const line = WorkerLine.use(worker, scheduler, user);
    let expire: Cancel = () => {};
    try {
      const late = new Promise<never>((_, reject) => {
        const giveUp = () => reject(silentError(connectTimeoutMs));
        expire = scheduler.delay(connectTimeoutMs, giveUp);
      });
      const shared = await Promise.race([line.ready, gone, late]);
      expire();
      const meeting = StoreClient.#meet(shared.open(), options, {
        onClose: (reason) => line.leave(user, reason),
      });
      // Nobody would have one that comes too late.
      gone.catch(() => meeting.then((client) => client.disconnect(), () => {}));
      client = await Promise.race([meeting, gone]);
      return client;
    } catch (error) {
      expire();
      line.leave(user);
      throw error;
    }
  }

  /** Says hello, and waits for the answer. */
  static async #meet(
    channel: Channel,
    options: ResolvedClientOptions,
    { onClose = () => {}, lifeline }: {
      readonly onClose?: (reason: HostFailure) => void;
      readonly lifeline?: string;
    },
  ): Promise<StoreClient> {
    return await new Promise((resolve, reject) => {
      let client: StoreClient | undefined;
      const refuse = (error: unknown) => {
        expire();
        channel.close();
        reject(error);
      };
      const { connectTimeoutMs, scheduler } = options;
      const expire = scheduler.delay(
        connectTimeoutMs,
        () => refuse(silentError(connectTimeoutMs)),
      );
      channel.listen({
        onBytes(bytes) {
          if (client !== undefined) client.#receiveBytes(bytes);
        },
        onObject(message) {
          if (client !== undefined) return client.#receive(message);
          const answer = message as WelcomeMessage | HostNotice;
          if (answer.type === "end") return refuse(decodeError(answer.error));
          if (answer.type !== "welcome") return;
          expire();
          client = new StoreClient(channel, answer, options, onClose);
          resolve(client);
        },
        onEnd() {
          // What was posted last may be overtaken by this.
          scheduler.delay(CLOSE_GRACE_MS, () => {
            const error = diedError("the realm of the store has ended");
            if (client !== undefined) client.#fail(error);
            else refuse(error);
          });
        },
        onUnsent(message, error) {
          if (client !== undefined) client.#unsent(message, error);
        },
      });
      channel.post({ type: "hello", version: PROTOCOL_VERSION, lifeline } satisfies HelloMessage);
    });
  }

  /**
   * As `Store.append`: the promise is fulfilled when the event is written, or with `durability: "durable"`
   * durable. Appends of one client are done in the order of the calls, whether or not they are awaited.
   *
   * Waits while there is no room for it on the way.
   *
   * @throws {HostError} when the host is gone or cannot be reached.
   * @throws as `Store.append`; the promise rejects, nothing is thrown at once.
   */
  append<Input>(
    coordinate: CoordinateLike,
    kind: EventKind | EventDefinition<Input, unknown>,
    payload: NoInfer<Input>,
    options: ClientAppendOptions = NO_OPTIONS,
  ): Promise<Receipt> {
    const plainKind = kind as EventKind | EventDefinition;
    if (options.gate === undefined) {
      return this.#append(coordinate, plainKind, payload, options, undefined);
    }
    const { gate, ...rest } = options;
    return this.#gated(this.#append(coordinate, plainKind, payload, rest, undefined), gate);
  }

  /**
   * As `Store.appendBatch`.
   *
   * @throws {HostError} when the host is gone or cannot be reached.
   * @throws as `Store.appendBatch`; the promise rejects, nothing is thrown at once.
   */
  appendBatch<const Inputs extends readonly unknown[]>(
    items: { readonly [Index in keyof Inputs]: BatchItem<Inputs[Index]> },
    options: BatchOptions & GateOption = NO_OPTIONS,
  ): Promise<Receipt[]> {
    const plainItems = items as readonly BatchItem[];
    const { gate, ...rest } = options;
    const receipts = this.#appendBatch(plainItems, rest, undefined);
    return gate === undefined ? receipts : this.#gated(receipts, gate);
  }

  /**
   * As `Store.beginFence`: what is appended through it becomes visible at once, or never. While it is open
   * nobody else can append. The host cancels it when this client is closed, or its realm ends.
   *
   * @throws {FenceActiveError} when a fence is open, of this client or of another one.
   * @throws {HostError} when the host is gone or cannot be reached.
   */
  async beginFence(): Promise<ClientFence> {
    const token = await this.#call({ name: "beginFence", args: [] }) as number;
    return new ClientFence({
      append: (token, coordinate, kind, payload, options) =>
        this.#append(coordinate, kind, payload, options, token),
      appendBatch: (token, items, options) => this.#appendBatch(items, options, token),
      end: async (token, isCommit) => {
        await this.#call({ name: "endFence", args: [token, isCommit] });
      },
    }, token);
  }

  /**
   * As `Store.frontier`: the watermarks, read from shared memory without a message.
   *
   * @throws as `SharedFrontier.view`.
   */
  frontier(): FrontierView {
    return this.#frontier.view();
  }

  /**
   * As `Store.waitFor`: watches shared memory, and asks the host only about a lane that is not in it.
   *
   * @throws {HostError} when the host ends meanwhile.
   * @throws as `Store.waitFor`.
   */
  async waitFor(
    kind: WatermarkKind,
    target: number | HlcPoint,
    options: WaitOptions,
  ): Promise<void> {
    this.#assertOpen(`wait for "${kind}"`);
    const { signal } = options;
    const ended = this.#ended.signal;
    const either = signal === undefined ? ended : AbortSignal.any([signal, ended]);
    try {
      await this.#frontier.waitFor(kind, target, { ...options, signal: either });
    } catch (error) {
      if (!(error instanceof LaneNotSharedError)) throw error;
      const { timeoutMs, lane } = options;
      const sequence = typeof target === "number" ? target : target.globalSequence;
      const id = this.#nextId;
      const asked = this.#wait({ name: "waitFor", args: [kind, sequence, { timeoutMs, lane }] });
      await abortable(asked, signal, () => this.#notify({ type: "abandon", id }));
    }
  }

  /** As {@linkcode waitFor}: it survives a power cut. */
  waitForDurable(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.waitFor("durable", target, options);
  }

  /** As {@linkcode waitFor}: readers may see it. */
  waitForVisible(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.waitFor("visible", target, options);
  }

  /** As {@linkcode waitFor}: every registered projection has taken it in. */
  waitForApplied(target: number | HlcPoint, options: WaitOptions): Promise<void> {
    return this.waitFor("applied", target, options);
  }

  /** As `Store.sync`. */
  sync(): Promise<void> {
    return this.#ask(askSync());
  }

  /** As `Store.get`. */
  get(eventId: EventId | string): Promise<StoredEvent | undefined> {
    return this.#ask(askGet(eventId));
  }

  /** As `Store.getByKey`. */
  async getByKey(idempotencyKey: string | OperationKey): Promise<StoredEvent | undefined> {
    return await this.#ask(askGetByKey(idempotencyKey));
  }

  /** As `Store.at`. */
  at(globalSequence: number): Promise<StoredEvent | undefined> {
    return this.#ask(askAt(globalSequence));
  }

  /** As `Store.latest`. */
  latest(entity: string, lane = 0): Promise<StoredEvent | undefined> {
    return this.#ask(askLatest(entity, lane));
  }

  /** As `Store.query`: all events of a region. {@linkcode events} takes less memory. */
  async query(region: RegionLike = NO_REGION): Promise<StoredEvent[]> {
    return await Array.fromAsync(this.events(region));
  }

  /** As `Store.queryAfter`: a page of a region. */
  async queryAfter(
    region: RegionLike,
    after: number | undefined,
    limit: number,
  ): Promise<StoredEvent[]> {
    return await Array.fromAsync(
      this.events(region, after === undefined ? { limit } : { after, limit }),
    );
  }

  /**
   * As `Store.events`: the events of a region one by one, as they were there when the walk began. They come
   * in pages of at most 1,024 events and about 1 MiB, each asked for when the one before is used up.
   */
  events(
    region: RegionLike = NO_REGION,
    options: EventsOptions = {},
  ): AsyncIterableIterator<StoredEvent> {
    return this.#walk({ region }, options);
  }

  /** As `Store.byEntity`, in pages as {@linkcode events}. */
  byEntity(
    entity: string,
    options: EventsOptions & { readonly lane?: number } = {},
  ): AsyncIterableIterator<StoredEvent> {
    const { lane, ...bounds } = options;
    return this.#walk({ entity, lane }, bounds);
  }

  /** As `Store.walkAncestors`. */
  walkAncestors(eventId: EventId | string, limit = Infinity): Promise<AncestorWalk> {
    return this.#ask(askAncestors(eventId, limit));
  }

  /** As `Store.causes`. */
  causes(eventId: EventId | string, limit = Infinity): Promise<StoredEvent[]> {
    return this.#ask(askCauses(eventId, limit));
  }

  /** As `Store.effects`. */
  effects(eventId: EventId | string): Promise<StoredEvent[]> {
    return this.#ask(askEffects(eventId));
  }

  /** As `Store.stats`. */
  stats(): Promise<StoreStats> {
    return this.#ask(askStats());
  }

  /** As `Store.verifyReceipt`. */
  verifyReceipt(receipt: Receipt): Promise<ReceiptVerification> {
    return this.#ask(askVerifyReceipt(receipt));
  }

  /**
   * A port for a further client of the same store, to be transferred to the realm that wants to use it:
   * `StoreClient.connect(port)` or `BlockingStoreClient.connect(port)` there. It has its own order, its own
   * limits and its own end.
   *
   * @param options `mayShutdown` lets it close the store, if this client may. Default false.
   * @throws {HostError} when this client is closed or the host is gone.
   */
  openPort(options: { readonly mayShutdown?: boolean } = {}): MessagePort {
    this.#assertOpen("open a port");
    const { port1, port2 } = newChannel();
    const mayShutdown = options.mayShutdown === true;
    this.#notify({ type: "open", port: port1, mayShutdown }, [port1]);
    return port2;
  }

  /**
   * Closes the store for everybody, and with it the worker that serves it. Everything that was asked for
   * before is done and answered. Once it is closed, or its realm has died, there is nothing more to do, and
   * that is no error.
   *
   * @throws {HostError} when this client may not do that: only those that are connected to the worker
   * itself may, and those that they let.
   * @throws {WriterCrashedError} when closing could not make everything durable. The store is closed.
   */
  async shutdown(): Promise<void> {
    if (this.#end?.reason === "closed" || this.#end?.reason === "died") return;
    this.#assertOpen("close the store");
    try {
      await this.#ask(askShutdown());
    } catch (error) {
      if (!(error instanceof HostError && error.reason === "closed")) throw error;
      if (error.cause !== undefined) throw error.cause;
    }
  }

  /**
   * Ends this client, once everything it has asked for is answered. Nobody else notices, and the store
   * stays open. A second call does nothing.
   */
  async close(): Promise<void> {
    if (this.#end !== undefined) return;
    // Waiting behind everything else, in order.
    while (this.#pending.size > this.#waitCount && this.#end === undefined) {
      this.#flush();
      await new Promise<void>((resolve) => this.#idle.push(resolve));
    }
    this.disconnect();
  }

  /**
   * Ends this client at once. What is open fails with a {@linkcode HostError}, and may have been done.
   */
  disconnect(): void {
    if (this.#end !== undefined) return;
    try {
      this.#channel.post({ type: "bye" } satisfies ClientNotice);
    } catch {
      // There is nobody to say it to.
    }
    this.#fail(new HostError("go on", "disconnected", "this client is closed"));
  }

  /** As {@linkcode close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Who waits for everything to be answered. */
  #idle: (() => void)[] = [];

  async *#walk(
    target: WalkTarget,
    options: EventsOptions,
  ): AsyncIterableIterator<StoredEvent> {
    const pages = askPages(target, options);
    let step = pages.next();
    while (!step.done) {
      const page = await this.#call(step.value) as Page;
      yield* unpackEvents(page.bytes);
      step = pages.next(page);
    }
  }

  async #ask<Answer>(question: Question<Answer>): Promise<Answer> {
    let step = question.next();
    while (!step.done) step = question.next(await this.#call(step.value));
    return step.value;
  }

  #call({ name, args }: Call): Promise<unknown> {
    this.#assertOpen(`ask for "${name}"`);
    const id = this.#newId();
    const parked = { size: 0, message: { type: "call", id, name, args } };
    if (this.#isFull(0)) this.#parked.push(parked);
    else this.#depart(parked);
    return this.#expect(id, 0, false);
  }

  /** As {@linkcode StoreClient.#call}, at once: what it waits for may be behind it, and needs the room. */
  #wait({ name, args }: Call): Promise<unknown> {
    this.#assertOpen(`ask for "${name}"`);
    const id = this.#newId();
    this.#flush();
    this.#channel.post({ type: "call", id, name, args });
    this.#waitCount++;
    return this.#expect(id, undefined, false);
  }

  #append(
    coordinate: CoordinateLike,
    kind: EventKind | EventDefinition,
    payload: unknown,
    options: AppendOptions,
    fence: number | undefined,
  ): Promise<Receipt> {
    try {
      this.#assertOpen("append");
      const id = this.#newId();
      const size = this.#writer.append(this.#out, id, coordinate, kind, payload, options, fence);
      return this.#sendWritten(id, this.#out.size - size, false);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #appendBatch(
    items: readonly BatchItem[],
    options: BatchOptions,
    fence: number | undefined,
  ): Promise<Receipt[]> {
    try {
      this.#assertOpen("append a batch");
      if (items.length === 0) return Promise.resolve([]);
      const id = this.#newId();
      const size = this.#writer.batch(this.#out, id, items, options, fence);
      return this.#sendWritten(id, this.#out.size - size, true);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #gated<T extends Receipt | Receipt[]>(
    answer: Promise<T>,
    gate: DurabilityGate,
  ): Promise<T> {
    const receipts = await answer;
    const { watermark, ...options } = gate;
    const last = receipts instanceof Receipt ? receipts : receipts.at(-1);
    if (last !== undefined) await this.waitFor(watermark, last.globalSequence, options);
    return receipts;
  }

  /** Sends the request that has been written from `start` on, now or when there is room for it. */
  #sendWritten(id: number, start: number, isBatch: boolean): Promise<never> {
    const out = this.#out;
    const size = out.size - start;
    if (this.#isFull(size)) {
      this.#parked.push({ size, bytes: new Uint8Array(out.copyFrom(start)) });
      out.size = start;
    } else {
      this.#inFlightCount++;
      this.#inFlightBytes += size;
      this.#wrote();
    }
    return this.#expect(id, size, isBatch);
  }

  #expect(id: number, size: number | undefined, isBatch: boolean): Promise<never> {
    if (this.#cancelWatch === undefined) this.#watch();
    return new Promise<never>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, isBatch, size });
    });
  }

  #isFull(size: number): boolean {
    return this.#parked.length > this.#parkedStart || this.#inFlightCount >= this.#requestsMax ||
      (this.#inFlightBytes + size > this.#bytesMax && this.#inFlightCount > 0);
  }

  /** Sends one that has waited, or need not wait. */
  #depart(parked: Parked): void {
    this.#inFlightCount++;
    this.#inFlightBytes += parked.size;
    if ("bytes" in parked) {
      this.#out.append(parked.bytes);
      return this.#wrote();
    }
    // It comes after what was asked for before.
    this.#flush();
    this.#channel.post(parked.message);
  }

  #wrote(): void {
    if (++this.#outCount >= FLUSH_COUNT || this.#out.size >= FLUSH_SIZE) return this.#flush();
    if (this.#flushIsPlanned) return;
    this.#flushIsPlanned = true;
    this.#linger(this.#outCount, LINGER_MAX);
  }

  /** Sends when nothing more comes within this turn. */
  #linger(seen: number, rest: number): void {
    queueMicrotask(() => {
      if (rest > 0 && this.#outCount > seen) return this.#linger(this.#outCount, rest - 1);
      this.#flushIsPlanned = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#outCount === 0) return;
    this.#outCount = 0;
    if (this.#end !== undefined) this.#out.size = 0;
    else this.#channel.postBytes(this.#out);
  }

  #notify(notice: ClientNotice, transfer?: readonly MessagePort[]): void {
    if (this.#end !== undefined) return;
    this.#flush();
    this.#channel.post(notice, transfer);
  }

  #receive(message: unknown): void {
    if (this.#end !== undefined) return;
    this.#heard = true;
    this.#receiveObject(message as CallAnswer | HostNotice);
    this.#received();
  }

  #receiveBytes(bytes: Uint8Array): void {
    if (this.#end !== undefined) return;
    this.#heard = true;
    this.#receiveAnswers(bytes);
    this.#received();
  }

  #received(): void {
    this.#unpark();
    if (this.#pending.size === this.#waitCount) {
      for (const resolve of this.#idle.splice(0)) resolve();
    }
  }

  /** What was asked for cannot be copied, and nobody else will answer it. */
  #unsent(message: unknown, error: unknown): void {
    this.#settle((message as { id: number }).id)?.reject(error);
    this.#received();
  }

  #receiveAnswers(message: Uint8Array): void {
    const answers = new AnswerReader(message, this.#storeIdBytes);
    while (answers.next()) {
      const pending = this.#settle(answers.id);
      if (pending === undefined) continue;
      if (answers.isFailure) pending.reject(decodeError(answers.error()));
      else if (!pending.isBatch) pending.resolve(answers.receipt() as never);
      else {
        const receipts: Receipt[] = [];
        for (let i = 0; i < answers.count; i++) receipts.push(answers.receipt());
        pending.resolve(receipts as never);
      }
    }
  }

  #receiveObject(answer: CallAnswer | HostNotice): void {
    switch (answer.type) {
      case "done":
        return this.#settle(answer.id)?.resolve(answer.value as never);
      case "failed":
        return this.#settle(answer.id)?.reject(decodeError(answer.error));
      case "end":
        return this.#fail(decodeError(answer.error) as HostError);
    }
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending === undefined) return undefined;
    this.#pending.delete(id);
    if (pending.size === undefined) this.#waitCount--;
    else {
      this.#inFlightCount--;
      this.#inFlightBytes -= pending.size;
    }
    return pending;
  }

  /** Sends what has waited for room, as far as there is some. */
  #unpark(): void {
    while (this.#parkedStart < this.#parked.length) {
      const next = this.#parked[this.#parkedStart];
      if (
        this.#inFlightCount >= this.#requestsMax ||
        (this.#inFlightBytes + next.size > this.#bytesMax && this.#inFlightCount > 0)
      ) break;
      this.#parkedStart++;
      this.#depart(next);
    }
    if (this.#parkedStart === this.#parked.length) {
      this.#parked = [];
      this.#parkedStart = 0;
    } else if (this.#parkedStart > 1024) {
      this.#parked.splice(0, this.#parkedStart);
      this.#parkedStart = 0;
    }
  }

  /** Looks now and then whether the host still says something while it has something to say. */
  #watch(): void {
    this.#cancelWatch = this.#scheduler.delay(this.#silenceMaxMs / 2, () => {
      this.#cancelWatch = undefined;
      if (this.#end !== undefined || this.#pending.size === 0) {
        this.#isAsked = false;
        return;
      }
      if (!this.#heard && this.#isAsked) {
        return this.#fail(
          diedError(`the realm of the store has not answered for ${this.#silenceMaxMs} ms`),
        );
      }
      this.#isAsked = !this.#heard;
      this.#heard = false;
      this.#notify({ type: "ping" });
      this.#watch();
    });
  }

  /** The worker has thrown something. If it does not answer any more, it is gone. */
  #suspect(error: HostError): void {
    if (this.#end !== undefined) return;
    this.#heard = false;
    this.#notify({ type: "ping" });
    this.#scheduler.delay(ERROR_GRACE_MS, () => {
      if (!this.#heard) this.#fail(error);
    });
  }

  /** Everything that is open fails, and whatever comes. */
  #fail(error: HostError): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    this.#ended.abort(error);
    this.#cancelLifeline();
    this.#cancelWatch?.();
    this.#channel.close();
    this.#onClose(error.reason);
    const parkedCount = this.#parked.length - this.#parkedStart;
    let sentCount = this.#pending.size - this.#waitCount - parkedCount;
    this.#parked = [];
    this.#parkedStart = 0;
    // In the order they were made: those that had not left yet were surely not done.
    for (const { reject, size } of this.#pending.values()) {
      reject(ending(error, size !== undefined && sentCount-- > 0));
    }
    this.#waitCount = 0;
    this.#pending.clear();
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  #assertOpen(action: string): void {
    if (this.#end === undefined) return;
    throw new HostError(action, this.#end.reason, this.#end.detail);
  }

  #newId(): number {
    const id = this.#nextId;
    this.#nextId = id === ID_MAX ? 1 : id + 1;
    return id;
  }
}

/** Options with their defaults. */
export interface ResolvedClientOptions {
  readonly connectTimeoutMs: number;
  readonly silenceMaxMs: number;
  readonly requestsMax: number;
  readonly bytesMax: number;
  readonly scheduler: Scheduler;
}

function resolveClientOptions(options: ClientOptions): ResolvedClientOptions {
  assertKnownKeys("connect", options, CLIENT_OPTIONS);
  const { inFlight = {} } = options;
  assertKnownKeys("connect", inFlight, new Set(["requests", "bytes"]));
  return {
    connectTimeoutMs: inRange("connectTimeoutMs", options.connectTimeoutMs, 10_000, 1, 600_000),
    silenceMaxMs: inRange("silenceMaxMs", options.silenceMaxMs, 30_000, 100, 86_400_000),
    requestsMax: inRange("inFlight.requests", inFlight.requests, 1024, 1, 65_536),
    bytesMax: inRange("inFlight.bytes", inFlight.bytes, 8 << 20, 1024, 1 << 28),
    scheduler: options.scheduler ?? runtime.scheduler,
  };
}

function inRange(
  name: string,
  value: number | undefined,
  fallback: number,
  min: number,
  max: number,
): number {
  if (value === undefined) return fallback;
  if (assertUint(name, value, max) >= min) return value;
  throw new RangeError(`Cannot use ${name} ${value}: give a whole number of ${min} to ${max}`);
}

/** The end of a client, for a call that was open then. */
function ending(error: HostError, wasSent: boolean): StoreError {
  if (!(error instanceof HostError)) return error;
  const { reason, detail, cause } = error;
  // A host that closes has answered everything it did.
  const outcomeUnknown = wasSent && reason !== "closed";
  return new HostError("do this", reason, detail, { outcomeUnknown, cause });
}

function diedError(detail: string): HostError {
  return new HostError("go on", "died" satisfies HostFailure, detail);
}

function silentError(timeoutMs: number): HostError {
  const detail = `no store has answered within ${timeoutMs} ms: does the worker call serveStore()?`;
  return new HostError("connect", "timeout", detail);
}

/** Gives up on a promise when a signal aborts. */
function abortable<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  onAbort: () => void,
): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => {
      onAbort();
      reject(signal.reason);
    };
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
