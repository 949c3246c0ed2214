/**
 * The store in a realm of its own, and the sessions of those who use it from elsewhere.
 *
 * Appends are executed as their messages arrive, and are written then. Those that have to be durable wait:
 * the sync comes when every message that has arrived meanwhile has been worked off, or so many wait, and
 * answers them all. So one sync serves all clients that wait for one, and nobody waits for a timer.
 *
 * What holds for each client:
 *
 * - Its requests are done in the order it sent them, and its appends answered in that order: one that
 *   need not be durable is answered at once, unless an earlier one of the same client waits.
 * - It may have so much on its way and no more, and wait for so many things beside that. One that sends more, or something that is no request, is
 *   told so and cut off. Nobody else notices, and what it had asked for before stands.
 * - When it is gone, what was started for it ends: see {@linkcode Session.atEnd}.
 *
 * A failed sync fails all that wait for it, with a `WriterCrashedError`, and every append after it: they
 * may have been written, and a reopen tells.
 *
 * @module
 */

import { newChannel } from "../../platform/realm.ts";
import { watchLifeline } from "../../platform/lifeline.ts";
import { runtime } from "../../platform/runtime.ts";
import type { Scheduler } from "../../platform/scheduler.ts";
import { type SharedWords, wakeWord } from "../../platform/shared_words.ts";
import { AppendDraft } from "../../store/append.ts";
import { assertKnownKeys, assertUint } from "../../store/assert.ts";
import {
  BatchError,
  StoreClosedError,
  type StoreError,
  WriterCrashedError,
} from "../../store/errors.ts";
import { type Fence, FenceNotActiveError } from "../../store/fence.ts";
import type { Receipt } from "../../store/receipt.ts";
import type { Store } from "../../store/store.ts";
import { type Channel, PortChannel } from "./channel.ts";
import { decodeDraft, draftEnd, MalformedMessage } from "./draft_codec.ts";
import { encodeError } from "./error_codec.ts";
import { GrowingBytes } from "./growing_bytes.ts";
import { answerCall, type CallTarget } from "./host_calls.ts";
import { HostError } from "./host_error.ts";
import {
  type CallAnswer,
  type CallMessage,
  type HelloMessage,
  type HostNotice,
  PROTOCOL_VERSION,
  RequestReader,
  type WelcomeMessage,
  writeFailure,
  writeOneReceipt,
  writeReceipts,
} from "./messages.ts";
import { shareLifeline } from "./realm_lifeline.ts";
import { SharedLine } from "./shared_line.ts";

/** How a store serves its clients. */
export interface ServeOptions {
  /**
   * Appends that may wait for one sync, 1 to 65,536; then it is not put off any longer. Fewer answer the
   * first ones sooner, more share a sync among more. Default 1,024.
   */
  readonly commitCountMax?: number;
  /**
   * Requests that one client may have on their way, and waits for a watermark beside them, 1 to 65,536.
   * Default 4,096.
   */
  readonly clientRequestsMax?: number;
  /**
   * Bytes that one client may have on their way, 1,024 to 268,435,456. A single larger request is served
   * when it is alone. Default 16,777,216 (16 MiB).
   */
  readonly clientBytesMax?: number;
  /** Clients at a time, 1 to 65,536. Default 4,096. */
  readonly clientsMax?: number;
  /** Turns of the event loop. Default: those of the runtime. */
  readonly scheduler?: Scheduler;
}

const SERVE_OPTIONS: ReadonlySet<string> = new Set([
  "commitCountMax",
  "clientRequestsMax",
  "clientBytesMax",
  "clientsMax",
  "scheduler",
]);

/** Channels that one message of a line may open beyond what the host takes: each gets a refusal. */
const OPENS_SPARE = 4096;

/** Realms that have a store must not block for one: it may be their own. */
let hostCount = 0;

/** Whether this realm has a store that it serves. */
export function isHosting(): boolean {
  return hostCount > 0;
}

/**
 * A store that clients in other realms use. The realm that has it goes on using it directly.
 *
 * @example A store in this realm, and a client of it
 * ```ts
 * import { EventKind, MemoryFs, Store, StoreClient, StoreHost } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * using store = Store.open("journal", { fs: new MemoryFs() });
 * const host = new StoreHost(store);
 * // The port may as well be sent to a worker.
 * const client = await StoreClient.connect(host.openPort());
 *
 * const receipt = await client.append({ entity: "user:1", scope: "app" }, EventKind.DATA, "hello");
 *
 * assert.equal(store.get(receipt.eventId)?.payload, "hello");
 * await client.close();
 * host.close();
 * ```
 */
export class StoreHost {
  /** The store. */
  readonly store: Store;
  readonly #limits: Required<ServeOptions>;
  readonly #sessions = new Set<Session>();
  /** Ports that carry many sessions, and what ends their watch. */
  readonly #lines = new Map<SharedLine, () => void>();
  /** Sessions in which an append waits for a sync. */
  #waiting: Session[] = [];
  #waitingCount = 0;
  #turnIsPlanned = false;
  #closed = false;
  readonly #onClose: () => void;
  #letGo: () => void;

  /**
   * Serves a store, and keeps it open: `close()` of the store is refused until {@linkcode close} was called.
   * When it is closed by `using` all the same, clients are told as {@linkcode close} tells them.
   *
   * @throws {RangeError} when an option is out of its range.
   * @throws {StoreClosedError} when the store is closed.
   * @throws {TypeError} when there is no such option.
   */
  constructor(store: Store, options: ServeOptions = {}, onClose: () => void = () => {}) {
    this.store = store;
    this.#limits = limitsOf(options);
    this.#onClose = onClose;
    this.#letGo = this.#hold();
    hostCount++;
  }

  #hold(): () => void {
    return this.store.hold("a StoreHost", () => this.#lose());
  }

  /** How many clients are connected. */
  get clientCount(): number {
    return this.#sessions.size;
  }

  /**
   * A port for one client: `StoreClient.connect(port)`, in this realm or, once it has been transferred, in
   * another one.
   *
   * @param options `mayShutdown` lets that client close the store. Default false.
   * @throws {HostError} after {@linkcode close}.
   */
  openPort(options: { readonly mayShutdown?: boolean } = {}): MessagePort {
    if (this.#closed) throw closedError("open a port");
    const { port1, port2 } = newChannel();
    this.accept(port1, options.mayShutdown === true);
    return port2;
  }

  /**
   * Closes the store, and tells all clients. Appends that wait are made durable and answered first, and
   * fences of clients that are open are cancelled. A second call does nothing.
   *
   * @throws {StoreInUseError} when somebody in this realm follows the store. Nothing was done.
   * @throws {WriterCrashedError} when a sync fails or has failed. The clients are told all the same, and the
   * lock is released.
   */
  close(): void {
    if (this.#closed) return;
    this.#letGo();
    try {
      this.store.assertNotHeld("close");
    } catch (error) {
      this.#letGo = this.#hold();
      throw error;
    }
    let failure: unknown;
    try {
      for (const session of this.#sessions) session.cancelFences();
      this.commit();
      this.store.close();
    } catch (error) {
      failure = error;
    }
    this.#end(failure);
    if (failure !== undefined) throw failure;
  }

  /** The store was closed under it. */
  #lose(): void {
    this.commit();
    this.#end(undefined);
  }

  #end(failure: unknown): void {
    this.#closed = true;
    hostCount--;
    const end = closedError("go on", failure);
    for (const session of [...this.#sessions]) session.end(end);
    for (const line of this.#lines.keys()) {
      line.flush();
      this.#closeSoon(line);
    }
    this.#onClose();
  }

  /**
   * Takes in a client, or a line of many.
   *
   * @internal
   */
  accept(port: MessagePort, mayShutdown: boolean): void {
    this.#begin(new PortChannel(port), mayShutdown);
  }

  /**
   * Takes a port for a line: each of its channels is a client.
   *
   * @internal
   */
  acceptLine(port: MessagePort, lifeline: string | undefined, mayShutdown: boolean): void {
    const { clientsMax } = this.#limits;
    const line = new SharedLine(port, {
      onOpen: (channel) => this.#begin(channel, mayShutdown),
      opensMax: clientsMax + OPENS_SPARE,
      onEnd: (reason) => {
        if (reason === undefined) return this.#endLine(line);
        this.#refuse(port, new HostError("go on with this line", "cutOff", reason.message));
        this.#closeSoon(line);
      },
    });
    const cancel = lifeline === undefined
      ? () => {}
      : watchLifeline(lifeline, () => this.#endLine(line));
    this.#lines.set(line, cancel);
    if (this.#lines.size <= clientsMax) return;
    this.#refuse(port, new HostError("connect", "cutOff", `there are ${clientsMax} lines already`));
    this.#closeSoon(line);
  }

  #begin(channel: Channel, mayShutdown: boolean): void {
    const session = new Session(channel, {
      host: this,
      limits: this.#limits,
      mayShutdown,
      onEnd: () => this.#sessions.delete(session),
    });
    this.#sessions.add(session);
    if (this.#closed) session.end(closedError("connect"));
    else if (this.#sessions.size > this.#limits.clientsMax) {
      session.end(
        new HostError("connect", "cutOff", `there are ${this.#limits.clientsMax} clients already`),
      );
    }
  }

  #refuse(port: MessagePort, reason: HostError): void {
    port.postMessage({ type: "end", error: encodeError(reason) } satisfies HostNotice);
  }

  /** A port that is closed at once may take back what was posted last. */
  #closeSoon(line: SharedLine): void {
    const { scheduler } = this.#limits;
    void scheduler.turn().then(() => scheduler.turn()).then(() => this.#endLine(line));
  }

  #endLine(line: SharedLine): void {
    this.#lines.get(line)?.();
    this.#lines.delete(line);
    line.close();
  }

  /**
   * Remembers that an append of a session waits for the next sync.
   *
   * @internal
   */
  wait(session: Session): void {
    if (session.waitingCount === 1) this.#waiting.push(session);
    if (++this.#waitingCount >= this.#limits.commitCountMax) return this.commit();
    if (this.#turnIsPlanned) return;
    this.#turnIsPlanned = true;
    void this.#limits.scheduler.turn().then(() => {
      this.#turnIsPlanned = false;
      this.commit();
    });
  }

  /**
   * Syncs, and answers everybody who waits for that.
   *
   * @internal
   */
  commit(): void {
    if (this.#waitingCount === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingCount = 0;
    let failure: unknown;
    try {
      this.store.sync();
    } catch (error) {
      // Closing syncs as well. What a close could not sync may have been written.
      if (!(error instanceof StoreClosedError)) failure = error;
      else if (!this.store.isAllDurable) failure = new WriterCrashedError("append", error);
    }
    for (const session of waiting) session.settle(failure);
  }
}

/** What a session needs of its host. */
interface SessionFacts {
  readonly host: StoreHost;
  readonly limits: Required<ServeOptions>;
  readonly mayShutdown: boolean;
  readonly onEnd: () => void;
}

/** One client, as the host sees it. */
export class Session implements CallTarget {
  readonly mayShutdown: boolean;
  readonly #host: StoreHost;
  readonly #limits: Required<ServeOptions>;
  readonly #onEnd: () => void;
  readonly #channel: Channel;
  readonly #ends = new Set<() => void>();
  /** The calls that wait for something, and the one that is being answered. */
  readonly #waits = new Map<
    number,
    { readonly controller: AbortController; readonly callOff: () => void }
  >();
  #callId = 0;
  readonly #fences = new Map<number, { readonly fence: Fence; readonly callOff: () => void }>();
  #state: "new" | "open" | "ended" = "new";
  #bell: SharedWords | undefined;
  /** Answers that have not been sent. */
  readonly #out = new GrowingBytes();
  /** The appends that wait for a sync: id, and where their answers begin and end in `#out`. */
  #held: number[] = [];
  #heldBytes = 0;
  /** Requests and their bytes that have not been answered. */
  #openCount = 0;
  #openBytes = 0;

  constructor(channel: Channel, { host, limits, mayShutdown, onEnd }: SessionFacts) {
    this.#host = host;
    this.#limits = limits;
    this.mayShutdown = mayShutdown;
    this.#onEnd = onEnd;
    this.#channel = channel;
    channel.listen({
      onBytes: (bytes) => this.#receive(bytes, true),
      onObject: (message) => this.#receive(message, false),
      onEnd: () => this.end(undefined),
      onUnsent: (message, error) => {
        const { id } = message as CallAnswer;
        this.#post({ type: "failed", id, error: encodeError(error) });
      },
    });
  }

  /** The store. */
  get store(): Store {
    return this.#host.store;
  }

  /** Aborts when the client abandons the call that is being answered, or is gone. */
  waitSignal(): AbortSignal {
    const { clientRequestsMax } = this.#limits;
    if (this.#waits.size >= clientRequestsMax) {
      throw new RangeError(`Cannot wait for more than ${clientRequestsMax} things at a time`);
    }
    const controller = new AbortController();
    const callOff = this.atEnd(() => controller.abort());
    this.#waits.set(this.#callId, { controller, callOff });
    return controller.signal;
  }

  /** How many appends wait for a sync. */
  get waitingCount(): number {
    return this.#held.length / 3;
  }

  /**
   * Has something done when the client is gone, whichever way it goes. Returns what calls that off.
   */
  atEnd(action: () => void): () => void {
    this.#ends.add(action);
    return () => void this.#ends.delete(action);
  }

  /** Makes everything durable, and answers everybody who waits for it. */
  sync(): void {
    this.#host.commit();
    this.store.sync();
  }

  /**
   * Begins a fence, which is cancelled when the client goes and it is still open. Returns its token.
   *
   * @throws as `Store.beginFence`.
   */
  beginFence(): number {
    const fence = this.store.beginFence();
    const callOff = this.atEnd(() => fence[Symbol.dispose]());
    this.#fences.set(fence.token, { fence, callOff });
    return fence.token;
  }

  /** A fence of this client that has not ended. */
  fenceOf(token: number): Fence {
    const found = this.#fences.get(token);
    if (found === undefined) throw new FenceNotActiveError("use");
    return found.fence;
  }

  /** Commits a fence, or cancels it. One that could not be committed is still open. */
  endFence(token: number, isCommit: boolean): void {
    const fence = this.fenceOf(token);
    try {
      if (isCommit) fence.commit();
      else fence.cancel();
    } finally {
      if (fence.state !== "open") {
        this.#fences.get(token)?.callOff();
        this.#fences.delete(token);
      }
    }
  }

  /** Cancels the fences that this client has left open. */
  cancelFences(): void {
    for (const { fence, callOff } of this.#fences.values()) {
      callOff();
      fence[Symbol.dispose]();
    }
    this.#fences.clear();
  }

  /** Closes the host. */
  shutdown(): void {
    this.#host.close();
  }

  /** The sync has been tried: answers what waited for it. */
  settle(failure: unknown): void {
    if (failure !== undefined) this.#failHeld(failure);
    this.#openCount -= this.waitingCount;
    this.#openBytes -= this.#heldBytes;
    this.#held.length = 0;
    this.#heldBytes = 0;
    this.#flush();
  }

  /** Ends it, and says why unless the client knows. A second call does nothing. */
  end(reason: StoreError | undefined): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    if (reason === undefined) this.#channel.close();
    else {
      this.#post({ type: "end", error: encodeError(reason) });
      // A port that is closed at once may take back what was posted last.
      const { scheduler } = this.#limits;
      void scheduler.turn().then(() => scheduler.turn()).then(() => this.#channel.close());
    }
    for (const action of this.#ends) quietly(action);
    this.#ends.clear();
    this.#onEnd();
  }

  #receive(message: unknown, isBytes: boolean): void {
    if (this.#state === "ended") return;
    try {
      if (this.#state === "new") this.#welcome(message as HelloMessage);
      else if (isBytes) this.#receiveRequests(message as Uint8Array);
      else this.#receiveObject(message);
    } catch (error) {
      // Whatever one client sends must not end the realm of all.
      this.end(
        new HostError("go on with this client", "cutOff", messageOf(error), { cause: error }),
      );
    }
  }

  #welcome(hello: HelloMessage): void {
    if (hello?.type !== "hello") throw new MalformedMessage("it did not say hello");
    if (hello.version !== PROTOCOL_VERSION) {
      const detail = `it speaks version ${hello.version}, and the host version ${PROTOCOL_VERSION}`;
      return this.end(new HostError("serve this client", "version", detail));
    }
    if (hello.line === true) return this.#becomeLine(hello);
    if (hello.bell !== undefined) this.#bell = bellOf(hello.bell);
    if (typeof hello.lifeline === "string") {
      this.atEnd(watchLifeline(hello.lifeline, () => this.end(undefined)));
    }
    this.#state = "open";
    const lifeline = shareLifeline();
    this.atEnd(lifeline.release);
    void lifeline.name.then((name) => this.#greet(name));
  }

  /** Those that come through this port are clients, and this is none. */
  #becomeLine({ lifeline }: HelloMessage): void {
    if (!(this.#channel instanceof PortChannel)) {
      throw new MalformedMessage("it opens a line in a line");
    }
    this.#state = "ended";
    this.#onEnd();
    const name = typeof lifeline === "string" ? lifeline : undefined;
    this.#host.acceptLine(this.#channel.port, name, this.mayShutdown);
  }

  #greet(lifeline: string): void {
    if (this.#state === "ended") return;
    const { store } = this;
    const welcome: WelcomeMessage = {
      type: "welcome",
      version: PROTOCOL_VERSION,
      storeId: store.storeId,
      dir: store.dir,
      inFlightMax: { requests: this.#limits.clientRequestsMax, bytes: this.#limits.clientBytesMax },
      limits: store.appendLimits,
      lifeline,
      frontier: store.frontierMemory,
    };
    this.#post(welcome);
  }

  #receiveRequests(message: Uint8Array): void {
    const requests = new RequestReader(message);
    try {
      while (requests.next()) {
        this.#charge(requests.size);
        this.#execute(requests);
      }
    } finally {
      if (this.#held.length === 0) this.#flush();
    }
  }

  /** Does an append and writes its answer, for now or for later. */
  #execute(request: RequestReader): void {
    const { id, size, more } = request;
    const { store } = this;
    let waits = request.durable;
    // What comes before the first append that waits need not wait.
    if (waits && this.#held.length === 0) this.#flush();
    const start = this.#out.size;
    try {
      const target = more?.fence === undefined ? store : this.fenceOf(more.fence);
      if (request.isBatch) {
        assertBatchCount(request.count, store);
        writeReceipts(this.#out, id, appendBatch(target, request));
      } else writeOneReceipt(this.#out, id, append(target, request));
      waits ||= store.syncIsDue;
    } catch (error) {
      if (error instanceof MalformedMessage) throw error;
      this.#out.size = start;
      writeFailure(this.#out, id, encodeError(error));
      waits = false;
    }
    if (!waits) return this.#discharge(size);
    this.#held.push(id, start, this.#out.size);
    this.#heldBytes += size;
    this.#host.wait(this);
  }

  #receiveObject(message: unknown): void {
    const { type } = (message ?? {}) as { type?: unknown };
    switch (type) {
      case "call":
        return this.#receiveCall(message as CallMessage);
      case "abandon":
        return this.#waits.get((message as { id: number }).id)?.controller.abort();
      case "ping":
        return this.#post({ type: "pong" });
      case "open": {
        const { port, mayShutdown } = message as { port: unknown; mayShutdown: unknown };
        if (!(port instanceof MessagePort)) throw new MalformedMessage("it opens no port");
        return this.#host.accept(port, this.mayShutdown && mayShutdown === true);
      }
      case "bye":
        return this.end(undefined);
      default:
        throw new MalformedMessage("it sent a message that nobody knows");
    }
  }

  #receiveCall({ id, name, args }: CallMessage): void {
    if (!Number.isInteger(id) || typeof name !== "string" || !Array.isArray(args)) {
      throw new MalformedMessage("it sent a call that is none");
    }
    if (this.#waits.has(id)) throw new MalformedMessage("two of its calls have the same id");
    this.#charge(0);
    let value: unknown;
    this.#callId = id;
    try {
      value = answerCall(this, name, args);
    } catch (error) {
      return this.#answer({ type: "failed", id, error: encodeError(error) });
    } finally {
      // What it waits for may be what the same client sends next, so waits leave room for that.
      this.#discharge(0);
    }
    if (!(value instanceof Promise)) return this.#answer({ type: "done", id, value });
    value.then(
      (value) => this.#answer({ type: "done", id, value }),
      (error) => this.#answer({ type: "failed", id, error: encodeError(error) }),
    );
  }

  #answer(answer: CallAnswer): void {
    this.#waits.get(answer.id)?.callOff();
    this.#waits.delete(answer.id);
    if (this.#state === "ended") return;
    this.#post(answer);
  }

  #charge(size: number): void {
    const { clientRequestsMax, clientBytesMax } = this.#limits;
    const isAlone = this.#openCount === 0;
    this.#openCount++;
    this.#openBytes += size;
    if (this.#openCount > clientRequestsMax || (this.#openBytes > clientBytesMax && !isAlone)) {
      throw new MalformedMessage("it sent more than it was allowed to have on its way");
    }
  }

  #discharge(size: number): void {
    this.#openCount--;
    this.#openBytes -= size;
  }

  /** Turns the answers of appends that waited for a sync into its failure. The others stay. */
  #failHeld(failure: unknown): void {
    const error = encodeError(failure);
    const answers = this.#out.bytes.slice(0, this.#out.size);
    this.#out.size = 0;
    let from = 0;
    for (let i = 0; i < this.#held.length; i += 3) {
      this.#out.append(answers.subarray(from, this.#held[i + 1]));
      writeFailure(this.#out, this.#held[i], error);
      from = this.#held[i + 2];
    }
    this.#out.append(answers.subarray(from));
  }

  #flush(): void {
    if (this.#out.size === 0) return;
    try {
      this.#channel.postBytes(this.#out);
    } catch {
      // A port whose other side is gone. Its end is announced in its own way, if at all.
    }
    this.#ring();
  }

  #post(message: WelcomeMessage | CallAnswer | HostNotice): void {
    try {
      this.#channel.post(message);
    } catch {
      // As above.
    }
    this.#ring();
  }

  #ring(): void {
    if (this.#bell === undefined) return;
    // After the message: whoever is woken finds it.
    Atomics.add(this.#bell, 0, 1);
    wakeWord(this.#bell, 0);
  }
}

/** Drafts are filled and used up within one call, so that all sessions share them. */
const draft = new AppendDraft();
const batchDrafts: AppendDraft[] = [];

/** What drafts are appended to: the store, or a fence of it. */
type DraftTarget = Pick<Fence, "appendDraft" | "appendDrafts">;

function append(target: DraftTarget, { bytes, drafts, more }: RequestReader): Receipt {
  decodeDraft(bytes, drafts, draft);
  if (draft.causationItem !== undefined) {
    throw new MalformedMessage("an append that is alone names another item");
  }
  try {
    return target.appendDraft(draft, more?.failIf);
  } finally {
    draft.release();
  }
}

/** A client of ours would not send it, and here it would take memory that stays. */
function assertBatchCount(count: number, store: Store): void {
  if (count > store.appendLimits.batchMaxSize) throw new MalformedMessage("a batch is too large");
}

function appendBatch(
  target: DraftTarget,
  { bytes, drafts, count, more }: RequestReader,
): Receipt[] {
  while (batchDrafts.length < count) batchDrafts.push(new AppendDraft());
  let at = drafts;
  try {
    for (let i = 0; i < count; i++) {
      const item = batchDrafts[i];
      try {
        decodeDraft(bytes, at, item);
      } catch (error) {
        throw error instanceof MalformedMessage ? error : new BatchError(i, error as Error);
      }
      if (item.expectedClock !== undefined || (item.causationItem ?? -1) >= i) {
        throw new MalformedMessage("an item of a batch says what none can say");
      }
      at = draftEnd(bytes, at, bytes.byteLength);
    }
    return target.appendDrafts(batchDrafts, count, more?.failIf);
  } finally {
    for (let i = 0; i < count; i++) batchDrafts[i].release();
  }
}

function bellOf(bell: unknown): SharedWords {
  if (bell instanceof SharedArrayBuffer && bell.byteLength === 4) return new Int32Array(bell);
  throw new MalformedMessage("its bell is none");
}

function limitsOf(options: ServeOptions): Required<ServeOptions> {
  assertKnownKeys("serve a store", options, SERVE_OPTIONS);
  const limit = (name: keyof ServeOptions, fallback: number, min: number, max: number): number => {
    const value = (options[name] ?? fallback) as number;
    if (assertUint(name, value, max) >= min) return value;
    throw new RangeError(`Cannot use ${name} ${value}: give a whole number of ${min} to ${max}`);
  };
  return {
    commitCountMax: limit("commitCountMax", 1024, 1, 65_536),
    clientRequestsMax: limit("clientRequestsMax", 4096, 1, 65_536),
    clientBytesMax: limit("clientBytesMax", 16 << 20, 1024, 1 << 28),
    clientsMax: limit("clientsMax", 4096, 1, 65_536),
    scheduler: options.scheduler ?? runtime.scheduler,
  };
}

function closedError(action: string, cause?: unknown): HostError {
  return new HostError(action, "closed", "the host has closed the store", { cause });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function quietly(action: () => void): void {
  try {
    action();
  } catch {
    // It is for a client that is gone.
  }
}
