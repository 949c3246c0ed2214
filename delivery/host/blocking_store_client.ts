/**
 * A store that another realm has, for callers who cannot wait for promises: every call blocks this realm
 * until its answer is here.
 *
 * A request goes through the port, as those of `StoreClient` do. The host posts the answer and then rings a
 * bell, a word in shared memory that this realm sleeps on. It looks for messages only after it has read the
 * bell, and sleeps only while the bell has not been rung since, so no answer is slept through.
 *
 * @module
 */

import { takeMessage } from "../../platform/realm.ts";
import { runtime } from "../../platform/runtime.ts";
import { blockWhile, type SharedWords } from "../../platform/shared_words.ts";
import type { Clock } from "../../platform/clock.ts";
import type { AppendOptions } from "../../store/append.ts";
import { assertKnownKeys, assertUint } from "../../store/assert.ts";
import type { CoordinateLike } from "../../store/coordinate.ts";
import type { EventDefinition } from "../../store/event_definition.ts";
import type { EventKind } from "../../store/event_kind.ts";
import { type EventId, type OperationKey, parseId } from "../../store/ids.ts";
import type { AncestorWalk, EventsOptions, StoreStats } from "../../store/journal_reader.ts";
import type { Receipt, ReceiptVerification } from "../../store/receipt.ts";
import { Region, type RegionLike } from "../../store/region.ts";
import type { BatchItem, BatchOptions } from "../../store/store.ts";
import type { StoredEvent } from "../../store/stored_event.ts";
import type { FrontierView, WatermarkKind } from "../../store/watermarks/frontier_view.ts";
import type { HlcPoint } from "../../store/watermarks/hlc_point.ts";
import { SharedFrontier } from "../../store/watermarks/shared_frontier.ts";
import type { WaitOptions } from "../../store/watermarks/wait.ts";
import { decodeError } from "./error_codec.ts";
import { GrowingBytes } from "./growing_bytes.ts";
import { HostError } from "./host_error.ts";
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
  askStats,
  askSync,
  askVerifyReceipt,
  type Call,
  type Page,
  type Question,
  unpackEvents,
  type WalkTarget,
} from "./questions.ts";
import { NO_OPTIONS, RequestWriter } from "./request_writer.ts";
import { isHosting } from "./store_host.ts";

/** How long a blocking client waits. */
export interface BlockingClientOptions {
  /** How long a call may block, connecting included, in milliseconds: 1 to 86,400,000. Default 30,000. */
  readonly timeoutMs?: number;
  /** Time. Default: that of the runtime. */
  readonly clock?: Clock;
}

/**
 * A store in another realm, for synchronous callers. {@linkcode BlockingStoreClient.connect} makes one from a
 * port of `StoreClient.openPort` or `StoreHost.openPort`.
 *
 * Its methods are those of `Store`. Each blocks the whole realm: in a worker that is what workers are for;
 * on a main thread nothing else runs meanwhile. One call is on its way at a time, so a durable append costs
 * a round trip and a sync.
 *
 * @example In a worker that was sent a port
 * ```ts ignore
 * import { BlockingStoreClient, EventKind } from "@batpak/batpak";
 *
 * self.onmessage = ({ data: port }) => {
 *   using store = BlockingStoreClient.connect(port);
 *   store.append({ entity: "user:1", scope: "app" }, EventKind.DATA, "hello");
 * };
 * ```
 */
export class BlockingStoreClient {
  /** Which journal this is: a UUID. */
  readonly storeId: string;
  /** The canonical directory, as the host has it. */
  readonly dir: string;
  readonly #line: BlockingLine;
  readonly #writer: RequestWriter;
  readonly #frontier: SharedFrontier;
  readonly #out = new GrowingBytes();

  /** Made by {@linkcode BlockingStoreClient.connect}. */
  private constructor(line: BlockingLine, welcome: WelcomeMessage) {
    this.#line = line;
    this.#writer = new RequestWriter(welcome.limits);
    this.#frontier = new SharedFrontier(welcome.frontier);
    this.storeId = welcome.storeId;
    this.dir = welcome.dir;
  }

  /**
   * Connects through a port, which is used up.
   *
   * @throws {HostError} when this realm serves a store itself, since it would wait for itself, or when
   * nobody answers in time.
   * @throws {RangeError} when an option is out of its range.
   */
  static connect(port: MessagePort, options: BlockingClientOptions = {}): BlockingStoreClient {
    assertKnownKeys("connect", options, BLOCKING_OPTIONS);
    const { timeoutMs = 30_000, clock = runtime.clock } = options;
    if (assertUint("timeoutMs", timeoutMs, 86_400_000) === 0) {
      throw new RangeError("Cannot use timeoutMs 0: give a whole number of 1 to 86400000");
    }
    if (!(port instanceof MessagePort)) {
      throw new TypeError(
        "Cannot connect to what is not a MessagePort: see StoreClient.openPort()",
      );
    }
    if (isHosting()) {
      const detail = "this realm serves a store, and would wait for itself; use the store directly";
      throw new HostError("block for a store", "sameRealm", detail);
    }
    const line = new BlockingLine(port, timeoutMs, clock);
    return new BlockingStoreClient(line, line.welcome());
  }

  /**
   * As `Store.append`.
   *
   * @throws {HostError} when no answer comes in time or the host is gone; with `outcomeUnknown` a repetition
   * under the same idempotency key settles whether it was done.
   * @throws as `Store.append`.
   */
  append<Input>(
    coordinate: CoordinateLike,
    kind: EventKind | EventDefinition<Input, unknown>,
    payload: NoInfer<Input>,
    options: AppendOptions = NO_OPTIONS,
  ): Receipt {
    const start = this.#out.size;
    const id = this.#line.newId();
    const definition = kind as EventKind | EventDefinition;
    this.#writer.append(this.#out, id, coordinate, definition, payload, options, undefined);
    return this.#send(id, start)[0];
  }

  /**
   * As `Store.appendBatch`.
   *
   * @throws as {@linkcode append}, and as `Store.appendBatch`.
   */
  appendBatch<const Inputs extends readonly unknown[]>(
    items: { readonly [Index in keyof Inputs]: BatchItem<Inputs[Index]> },
    options: BatchOptions = NO_OPTIONS,
  ): Receipt[] {
    if (items.length === 0) return [];
    const id = this.#line.newId();
    const size = this.#writer.batch(
      this.#out,
      id,
      items as readonly BatchItem[],
      options,
      undefined,
    );
    return this.#send(id, this.#out.size - size);
  }

  /** As `Store.sync`. */
  sync(): void {
    this.#ask(askSync());
  }

  /** As `Store.get`. */
  get(eventId: EventId | string): StoredEvent | undefined {
    return this.#ask(askGet(eventId));
  }

  /** As `Store.getByKey`. */
  getByKey(idempotencyKey: string | OperationKey): StoredEvent | undefined {
    return this.#ask(askGetByKey(idempotencyKey));
  }

  /** As `Store.at`. */
  at(globalSequence: number): StoredEvent | undefined {
    return this.#ask(askAt(globalSequence));
  }

  /** As `Store.latest`. */
  latest(entity: string, lane = 0): StoredEvent | undefined {
    return this.#ask(askLatest(entity, lane));
  }

  /** As `Store.query`. */
  query(region: RegionLike = Region.all()): StoredEvent[] {
    return [...this.events(region)];
  }

  /** As `Store.queryAfter`. */
  queryAfter(region: RegionLike, after: number | undefined, limit: number): StoredEvent[] {
    return [...this.events(region, after === undefined ? { limit } : { after, limit })];
  }

  /** As `Store.events`, in pages of at most 1,024 events and about 1 MiB. */
  events(
    region: RegionLike = Region.all(),
    options: EventsOptions = {},
  ): IterableIterator<StoredEvent> {
    return this.#walk({ region }, options);
  }

  /** As `Store.byEntity`, in pages as {@linkcode events}. */
  byEntity(
    entity: string,
    options: EventsOptions & { readonly lane?: number } = {},
  ): IterableIterator<StoredEvent> {
    const { lane, ...bounds } = options;
    return this.#walk({ entity, lane }, bounds);
  }

  /** As `Store.walkAncestors`. */
  walkAncestors(eventId: EventId | string, limit = Infinity): AncestorWalk {
    return this.#ask(askAncestors(eventId, limit));
  }

  /** As `Store.causes`. */
  causes(eventId: EventId | string, limit = Infinity): StoredEvent[] {
    return this.#ask(askCauses(eventId, limit));
  }

  /** As `Store.effects`. */
  effects(eventId: EventId | string): StoredEvent[] {
    return this.#ask(askEffects(eventId));
  }

  /** As `Store.stats`. */
  stats(): StoreStats {
    return this.#ask(askStats());
  }

  /** As `Store.verifyReceipt`. */
  verifyReceipt(receipt: Receipt): ReceiptVerification {
    return this.#ask(askVerifyReceipt(receipt));
  }

  /** As `Store.frontier`: the watermarks, read from shared memory without a message. */
  frontier(): FrontierView {
    return this.#frontier.view();
  }

  /**
   * Blocks until a watermark has come to a sequence, watching shared memory.
   *
   * @throws as `SharedFrontier.blockUntil`.
   */
  waitFor(kind: WatermarkKind, target: number | HlcPoint, options: WaitOptions): void {
    this.#frontier.blockUntil(kind, target, options);
  }

  /** Ends this client. The store stays open. A second call does nothing. */
  close(): void {
    this.#line.close();
  }

  /** As {@linkcode close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  *#walk(target: WalkTarget, options: EventsOptions): IterableIterator<StoredEvent> {
    const pages = askPages(target, options);
    let step = pages.next();
    while (!step.done) {
      const page = this.#line.call(step.value) as Page;
      yield* unpackEvents(page.bytes);
      step = pages.next(page);
    }
  }

  #ask<Answer>(question: Question<Answer>): Answer {
    let step = question.next();
    while (!step.done) step = question.next(this.#line.call(step.value));
    return step.value;
  }

  /** Sends the request that was written last, which may have been written while another was prepared. */
  #send(id: number, start: number): Receipt[] {
    const request = this.#out.copyFrom(start);
    this.#out.size = start;
    return this.#line.append(request, id, parseId(this.storeId));
  }
}

const BLOCKING_OPTIONS: ReadonlySet<string> = new Set(["timeoutMs", "clock"]);

/** A port and the bell that rings when something has come through it. */
class BlockingLine {
  readonly #port: MessagePort;
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  readonly #bell: SharedWords = new Int32Array(new SharedArrayBuffer(4));
  #nextId = 1;
  #end: HostError | undefined;

  constructor(port: MessagePort, timeoutMs: number, clock: Clock) {
    this.#port = port;
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
  }

  newId(): number {
    const id = this.#nextId;
    this.#nextId = id === 2 ** 32 - 1 ? 1 : id + 1;
    return id;
  }

  /** Says hello. */
  welcome(): WelcomeMessage {
    const bell = this.#bell.buffer;
    this.#port.postMessage(
      { type: "hello", version: PROTOCOL_VERSION, bell } satisfies HelloMessage,
    );
    return this.#await("connect", (message) => {
      const answer = message as WelcomeMessage;
      return answer.type === "welcome" ? { value: answer } : undefined;
    });
  }

  /** Sends a request of an append, and waits for its receipts. */
  append(request: ArrayBuffer, id: number, storeId: Uint8Array): Receipt[] {
    this.#assertOpen("append");
    this.#port.postMessage(request, [request]);
    return this.#await("append", (message) => {
      if (!(message instanceof ArrayBuffer)) return undefined;
      const answers = new AnswerReader(new Uint8Array(message), storeId);
      while (answers.next()) {
        // An answer that comes too late is to a call that has given up.
        if (answers.id !== id) continue;
        if (answers.isFailure) throw decodeError(answers.error());
        const receipts: Receipt[] = [];
        for (let i = 0; i < answers.count; i++) receipts.push(answers.receipt());
        return { value: receipts };
      }
      return undefined;
    });
  }

  /** Makes a call, and waits for what comes of it. */
  call({ name, args }: Call): unknown {
    const action = `ask for "${name}"`;
    this.#assertOpen(action);
    const id = this.newId();
    this.#port.postMessage({ type: "call", id, name, args });
    return this.#await(action, (message) => {
      const answer = message as CallAnswer;
      if (answer.id !== id) return undefined;
      if (answer.type === "failed") throw decodeError(answer.error);
      return { value: answer.value };
    });
  }

  close(): void {
    if (this.#end !== undefined) return;
    this.#end = new HostError("go on", "disconnected", "this client is closed");
    this.#port.postMessage({ type: "bye" } satisfies ClientNotice);
    this.#port.close();
  }

  #await<T>(action: string, read: (message: unknown) => { readonly value: T } | undefined): T {
    const limitUs = this.#clock.monotonicUs() + this.#timeoutMs * 1000;
    while (true) {
      const rung = Atomics.load(this.#bell, 0);
      const taken = takeMessage(this.#port);
      if (taken === undefined) {
        const restMs = (limitUs - this.#clock.monotonicUs()) / 1000;
        if (restMs <= 0) {
          const detail = `no answer came within ${this.#timeoutMs} ms`;
          throw new HostError(action, "timeout", detail, { outcomeUnknown: action !== "connect" });
        }
        blockWhile(this.#bell, 0, rung, restMs);
        continue;
      }
      const notice = taken.message as HostNotice;
      if (notice.type === "end") throw this.#ended(decodeError(notice.error), action);
      const found = read(taken.message);
      if (found !== undefined) return found.value;
    }
  }

  #ended(error: unknown, action: string): unknown {
    this.#port.close();
    if (!(error instanceof HostError)) return error;
    this.#end = error;
    const { reason, detail, cause } = error;
    const outcomeUnknown = reason !== "closed" && action !== "connect";
    return new HostError(action, reason, detail, { outcomeUnknown, cause });
  }

  #assertOpen(action: string): void {
    if (this.#end === undefined) return;
    throw new HostError(action, this.#end.reason, this.#end.detail);
  }
}
