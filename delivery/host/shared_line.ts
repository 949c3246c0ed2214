/**
 * Many channels over one port. A message between realms costs the same whether it holds one request or a
 * thousand, so all that the channels of a realm post within a turn travels in one message.
 *
 * A message is the bytes of some records, or `{bytes, objects}` when some of them are objects:
 *
 * | Offset | Size | Field     | Notes                                                                |
 * | -----: | ---: | --------- | -------------------------------------------------------------------- |
 * |      0 |    4 | `channel` | the client's side counts them from 1, in the order they are opened   |
 * |      4 |    4 | `size`    | of the bytes that follow; {@linkcode OBJECT} is the next of `objects`, {@linkcode CLOSE} the end |
 * |      8 |    n | `bytes`   |                                                                      |
 *
 * A channel opens with its first record. Records for one that has ended are late, and dropped; any other
 * number is the end of the line, and so is whatever is no record. When the port dies, all channels end.
 *
 * @module
 */

import { readU32, writeU32 } from "../../store/bytes.ts";
import { type TransferList, type Wire, wireOfPort } from "../../platform/realm.ts";
import type { Channel, ChannelListener } from "./channel.ts";
import { MalformedMessage } from "./draft_codec.ts";
import { GrowingBytes } from "./growing_bytes.ts";

const RECORD_HEADER_SIZE = 8;
const OBJECT = 2 ** 32 - 1;
const CLOSE = OBJECT - 1;
/** Bytes from here on are handed over instead of copied once more. */
const TRANSFER_SIZE_MIN = 32 << 10;
/** So much is sent even within a turn, so that the other side has work meanwhile. */
const FLUSH_SIZE = 256 << 10;
/** How often a turn may go on posting before what it has posted is sent. */
const LINGER_MAX = 16;

/** What a line is for. */
export interface LineOptions {
  /** Takes in a channel that the other side has opened. Without it there are none. */
  readonly onOpen?: (channel: Channel) => void;
  /** Channels that one message may open. */
  readonly opensMax?: number;
  /** An object has come that belongs to no channel. */
  readonly onObject?: (message: unknown) => void;
  /** The port is gone, or its messages are no records. Called once, after the channels were told. */
  readonly onEnd: (reason: MalformedMessage | undefined) => void;
}

/** Several messages as one. */
interface Packet {
  readonly bytes: ArrayBuffer;
  readonly objects: readonly unknown[];
}

/** Channels over one port. */
export class SharedLine {
  readonly #wire: Wire;
  readonly #options: LineOptions;
  readonly #channels = new Map<number, LineChannel>();
  readonly #out = new GrowingBytes();
  #objects: unknown[] = [];
  #flushIsPlanned = false;
  #postCount = 0;
  /** The channel that was opened last. */
  #lastId = 0;
  /** `ending`: the port is gone, and what it still brings counts; `cut`: nothing counts any more. */
  #state: "open" | "ending" | "cut" | "closed" = "open";

  /** Takes over a port. */
  constructor(port: MessagePort, options: LineOptions) {
    this.#wire = wireOfPort(port);
    this.#options = options;
    port.addEventListener("close", () => this.#end(undefined));
    this.#wire.listen((message) => this.#receive(message));
  }

  /** How many channels are open. */
  get channelCount(): number {
    return this.#channels.size;
  }

  /** Opens a channel. The other side learns of it with the first thing that is posted. */
  open(): Channel {
    return this.#add(this.#lastId + 1);
  }

  /** Sends what has been posted, now. */
  flush(): void {
    if (this.#out.size === 0) return;
    const bytes = this.#out.take();
    const objects = this.#objects;
    if (objects.length === 0) return this.#send(bytes, [bytes]);
    this.#objects = [];
    try {
      // Not every runtime gives back what was in the list when a message cannot be copied.
      this.#wire.post({ bytes, objects } satisfies Packet);
    } catch {
      this.#sendApart(new Uint8Array(bytes), objects);
    }
  }

  /** Ends all channels without a word, and the port. What has been posted leaves first. */
  close(): void {
    if (this.#state === "closed") return;
    this.flush();
    this.#state = "closed";
    this.#wire.close();
    this.#endChannels();
    this.#channels.clear();
  }

  /**
   * Posts an object on a channel.
   *
   * @internal
   */
  postObject(id: number, message: unknown, transfer: TransferList): void {
    if (this.#state === "closed") return;
    if (transfer.length > 0) return this.#postAlone(id, message, transfer);
    this.#header(id, OBJECT);
    this.#objects.push(message);
    this.#plan();
  }

  /**
   * Posts bytes on a channel.
   *
   * @internal
   */
  postBytes(id: number, bytes: GrowingBytes): void {
    if (this.#state === "closed") return;
    if (bytes.size >= TRANSFER_SIZE_MIN) {
      const taken = bytes.take();
      return this.postObject(id, taken, [taken]);
    }
    this.#header(id, bytes.size);
    this.#out.append(bytes.bytes.subarray(0, bytes.size));
    bytes.size = 0;
    this.#plan();
  }

  /**
   * Forgets a channel, and tells the other side.
   *
   * @internal
   */
  closeChannel(id: number): void {
    if (!this.#channels.delete(id) || this.#state === "closed") return;
    this.#header(id, CLOSE);
    this.#plan();
  }

  #header(id: number, size: number): void {
    const at = this.#out.reserve(RECORD_HEADER_SIZE);
    writeU32(this.#out.bytes, at, id);
    writeU32(this.#out.bytes, at + 4, size);
    this.#out.size = at + RECORD_HEADER_SIZE;
  }

  #plan(): void {
    this.#postCount++;
    if (this.#out.size >= FLUSH_SIZE) return this.flush();
    if (this.#flushIsPlanned) return;
    this.#flushIsPlanned = true;
    this.#linger(this.#postCount, LINGER_MAX);
  }

  /** Sends when nothing more comes within this turn. */
  #linger(seen: number, rest: number): void {
    queueMicrotask(() => {
      if (rest > 0 && this.#postCount > seen) return this.#linger(this.#postCount, rest - 1);
      this.#flushIsPlanned = false;
      this.flush();
    });
  }

  /**
   * Sends an object that hands something over, at once: this realm may block next for what comes through
   * a port that it has just given away.
   */
  #postAlone(id: number, message: unknown, transfer: TransferList): void {
    this.flush();
    this.#header(id, OBJECT);
    this.#wire.post({ bytes: this.#out.take(), objects: [message] } satisfies Packet, transfer);
  }

  #send(message: unknown, transfer: TransferList): void {
    try {
      this.#wire.post(message, transfer);
    } catch {
      // A port whose other side is gone. Its end is announced in its own way, if at all.
    }
  }

  /** One of the objects cannot be copied. Each record goes alone then, so that the others arrive. */
  #sendApart(bytes: Uint8Array, objects: readonly unknown[]): void {
    let next = 0;
    for (let at = 0; at < bytes.byteLength;) {
      const id = readU32(bytes, at);
      const size = readU32(bytes, at + 4);
      const end = at + RECORD_HEADER_SIZE + (size < CLOSE ? size : 0);
      const record = bytes.slice(at, end).buffer;
      at = end;
      if (size !== OBJECT) {
        this.#send(record, [record]);
        continue;
      }
      const message = objects[next++];
      try {
        this.#wire.post({ bytes: record, objects: [message] } satisfies Packet);
      } catch (error) {
        this.#channels.get(id)?.listener?.onUnsent(message, error);
      }
    }
  }

  #receive(message: unknown): void {
    if (this.#isDeaf()) return;
    let failure: { readonly error: unknown } | undefined;
    try {
      if (message instanceof ArrayBuffer) failure = this.#deliver(message, []);
      else {
        const { bytes, objects } = (message ?? {}) as Partial<Packet>;
        if (bytes instanceof ArrayBuffer && Array.isArray(objects)) {
          failure = this.#deliver(bytes, objects);
        } else if (this.#options.onObject !== undefined) this.#options.onObject(message);
        else throw new MalformedMessage("a message on its line is none");
      }
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      return this.#end(error);
    }
    // Everybody has got theirs: now the program may hear of it, as if it had been the only one.
    if (failure !== undefined) throw failure.error;
  }

  /** Hands each record to its channel, and returns the first thing that a listener has thrown. */
  #deliver(
    message: ArrayBuffer,
    objects: readonly unknown[],
  ): { readonly error: unknown } | undefined {
    const bytes = new Uint8Array(message);
    const lastBefore = this.#lastId;
    let failure: { readonly error: unknown } | undefined;
    let next = 0;
    for (let at = 0; at < bytes.byteLength;) {
      if (bytes.byteLength - at < RECORD_HEADER_SIZE) {
        throw new MalformedMessage("a record on its line is cut short");
      }
      const id = readU32(bytes, at);
      const size = readU32(bytes, at + 4);
      const start = at + RECORD_HEADER_SIZE;
      at = size < CLOSE ? start + size : start;
      if (at > bytes.byteLength) {
        throw new MalformedMessage("a record on its line is longer than its message");
      }
      if (size === OBJECT && next === objects.length) {
        throw new MalformedMessage("a record on its line has no object");
      }
      const object = size === OBJECT ? objects[next++] : undefined;
      let channel = this.#channels.get(id);
      try {
        if (channel === undefined) channel = this.#opened(id, lastBefore);
        if (channel === undefined) continue;
        if (size === CLOSE) {
          this.#channels.delete(id);
          channel.listener?.onEnd();
        } else if (size !== OBJECT) channel.listener?.onBytes(bytes.subarray(start, at));
        else if (object instanceof ArrayBuffer) {
          channel.listener?.onBytes(new Uint8Array(object));
        } else channel.listener?.onObject(object);
      } catch (error) {
        if (error instanceof MalformedMessage) throw error;
        failure ??= { error };
      }
      if (this.#isDeaf()) return failure;
    }
    if (next < objects.length) throw new MalformedMessage("an object on its line has no record");
    return failure;
  }

  /** The channel that a record opens; none when it comes too late. */
  #opened(id: number, lastBefore: number): LineChannel | undefined {
    const { onOpen, opensMax = Infinity } = this.#options;
    if (id !== 0 && id <= this.#lastId) return undefined;
    if (onOpen === undefined || id !== this.#lastId + 1) {
      throw new MalformedMessage("a record on its line is for a channel that nobody has opened");
    }
    if (id - lastBefore > opensMax) {
      throw new MalformedMessage("its line opens too many channels at a time");
    }
    const channel = this.#add(id);
    onOpen(channel);
    return channel;
  }

  #add(id: number): LineChannel {
    const channel = new LineChannel(this, id);
    this.#lastId = id;
    this.#channels.set(id, channel);
    return channel;
  }

  #end(reason: MalformedMessage | undefined): void {
    if (this.#state !== "open") return;
    this.#state = reason === undefined ? "ending" : "cut";
    this.#endChannels();
    this.#options.onEnd(reason);
  }

  #isDeaf(): boolean {
    return this.#state === "cut" || this.#state === "closed";
  }

  #endChannels(): void {
    for (const channel of [...this.#channels.values()]) channel.listener?.onEnd();
  }
}

/** A channel of a line. */
class LineChannel implements Channel {
  listener: ChannelListener | undefined;
  readonly #line: SharedLine;
  readonly #id: number;

  constructor(line: SharedLine, id: number) {
    this.#line = line;
    this.#id = id;
  }

  post(message: unknown, transfer: TransferList = []): void {
    if (this.listener !== undefined) this.#line.postObject(this.#id, message, transfer);
  }

  postBytes(bytes: GrowingBytes): void {
    if (this.listener !== undefined) this.#line.postBytes(this.#id, bytes);
  }

  listen(listener: ChannelListener): void {
    this.listener = listener;
  }

  close(): void {
    this.listener = undefined;
    this.#line.closeChannel(this.#id);
  }
}
