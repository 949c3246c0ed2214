/**
 * What a client and its session speak through: a port of their own, or a channel of a
 * {@linkcode SharedLine}. Requests and answers are bytes, everything else is an object; both arrive in the
 * order they were sent.
 *
 * @module
 */

import { type TransferList, wireOfPort } from "../../platform/realm.ts";
import type { GrowingBytes } from "./growing_bytes.ts";

/** Who listens to a channel. */
export interface ChannelListener {
  /** Bytes have come. They are nobody else's. */
  onBytes(bytes: Uint8Array<ArrayBuffer>): void;
  /** Anything else has come. */
  onObject(message: unknown): void;
  /** The other side has ended it, or is gone. What it sent last may still come, through a port. */
  onEnd(): void;
  /** A message that was posted cannot be sent, because it holds what cannot be copied. */
  onUnsent(message: unknown, error: unknown): void;
}

/** One end of a two-way channel. */
export interface Channel {
  /** Sends an object, as `Wire.post`. One that cannot be copied is refused here or by `onUnsent`. */
  post(message: unknown, transfer?: TransferList): void;
  /** Sends all that is in `bytes`, which is empty then. */
  postBytes(bytes: GrowingBytes): void;
  /** Sets who gets what comes. */
  listen(listener: ChannelListener): void;
  /** Ends it. Nothing arrives any more. */
  close(): void;
}

/** A channel that has a port for itself. */
export class PortChannel implements Channel {
  /** The port, for whoever finds out that it is a line. */
  readonly port: MessagePort;

  constructor(port: MessagePort) {
    this.port = port;
  }

  post(message: unknown, transfer: TransferList = []): void {
    this.port.postMessage(message, [...transfer]);
  }

  postBytes(bytes: GrowingBytes): void {
    const taken = bytes.take();
    this.port.postMessage(taken, [taken]);
  }

  listen(listener: ChannelListener): void {
    this.port.addEventListener("close", () => listener.onEnd());
    wireOfPort(this.port).listen((message) => {
      if (message instanceof ArrayBuffer) listener.onBytes(new Uint8Array(message));
      else listener.onObject(message);
    });
  }

  close(): void {
    this.port.close();
  }
}
