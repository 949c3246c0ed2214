/**
 * Messages between realms, the same way for a worker, its parent, and a port.
 *
 * @module
 */

import process from "node:process";
import { receiveMessageOnPort } from "node:worker_threads";

/** What a realm can send to another one besides data, giving it up. */
export type TransferList = readonly (ArrayBuffer | MessagePort)[];

/** One end of a two-way line to another realm. Messages arrive in the order they were sent. */
export interface Wire {
  /** Sends a message. It is copied, but for what is in the list, which this realm gives up. */
  post(message: unknown, transfer?: TransferList): void;
  /** Sets who gets the messages. Those that came before are delivered first, each in its own turn. */
  listen(onMessage: (message: unknown) => void): void;
  /** Ends it. Nothing arrives any more. */
  close(): void;
}

/** A worker that the user has started, or the means to start one. */
export interface WorkerLike {
  /** As `Worker.postMessage`. */
  postMessage(message: unknown, transfer: Transferable[]): void;
  /** As `Worker.terminate`. */
  terminate(): void;
  /** As `Worker.addEventListener`, for `message`, `error`, `messageerror` and `close`. */
  addEventListener(type: string, listener: (event: Event) => void): void;
  /** As `Worker.removeEventListener`. */
  removeEventListener(type: string, listener: (event: Event) => void): void;
}

/** Says that a worker has failed or is gone. */
export interface WorkerFailure {
  /** `"error"`: it threw or could not be loaded; `"close"`: it ended. Not every runtime tells the second. */
  readonly type: "error" | "close";
  /** What it said, when it said something. */
  readonly message: string;
}

/**
 * A line to a worker. Nobody else's messages of the worker get lost: listeners are added, never replaced.
 *
 * @param onFailure called when it throws outside of a handler, cannot be loaded, or ends.
 */
export function wireToWorker(
  worker: WorkerLike,
  onFailure: (failure: WorkerFailure) => void,
): Wire {
  let deliver: ((event: Event) => void) | undefined;
  const onError = (event: Event) => {
    // Otherwise the error of a realm ends the whole program.
    event.preventDefault();
    onFailure({ type: "error", message: textOf((event as Partial<ErrorEvent>).message ?? "") });
  };
  const onMessageError = () =>
    onFailure({ type: "error", message: "a message of it could not be read" });
  const onClose = () => onFailure({ type: "close", message: "" });
  worker.addEventListener("error", onError);
  worker.addEventListener("messageerror", onMessageError);
  worker.addEventListener("close", onClose);
  return {
    post: (message, transfer = []) => worker.postMessage(message, [...transfer]),
    listen(onMessage) {
      if (deliver !== undefined) worker.removeEventListener("message", deliver);
      deliver = (event) => onMessage((event as MessageEvent).data);
      worker.addEventListener("message", deliver);
    },
    close() {
      if (deliver !== undefined) worker.removeEventListener("message", deliver);
      worker.removeEventListener("messageerror", onMessageError);
      worker.removeEventListener("close", onClose);
      // The listener for errors stays: one that comes late must not end the program either.
    },
  };
}

/**
 * The error in the text of an error event. Deno says how it came about in front of it, and Bun shows the
 * source in front and the stack behind.
 */
function textOf(message: string): string {
  const line = /^(?:Uncaught (?:\(in promise\) )?)?[A-Za-z]\w*: .*$/m.exec(message)?.[0] ?? message;
  return line.replace(/^Uncaught (?:\(in promise\) )?/, "").replace(/^error: /, "Error: ").trim();
}

/** A line through a port, of a `MessageChannel` or one that was received. */
export function wireOfPort(port: MessagePort): Wire {
  return {
    post: (message, transfer = []) => port.postMessage(message, [...transfer]),
    // Setting this starts the port.
    listen: (onMessage) => void (port.onmessage = (event) => onMessage(event.data)),
    close: () => port.close(),
  };
}

/** A message that has arrived at a port whose messages nobody listens for; `undefined` when none has. */
export function takeMessage(port: MessagePort): { readonly message: unknown } | undefined {
  return receiveMessageOnPort(port as never);
}

/** The line from a worker to the realm that started it. Listens at once, as a worker has to. */
export function wireToParent(): Wire {
  const scope = globalThis as unknown as WorkerLike & { close?(): void };
  const waiting: unknown[] = [];
  let receive: ((message: unknown) => void) | undefined;
  const onMessage = (event: Event) => {
    const { data } = event as MessageEvent;
    if (receive === undefined) waiting.push(data);
    else receive(data);
  };
  scope.addEventListener("message", onMessage);
  return {
    post: (message, transfer = []) => scope.postMessage(message, [...transfer]),
    listen(onMessage) {
      receive = onMessage;
      for (const message of waiting.splice(0)) queueMicrotask(() => receive?.(message));
    },
    close() {
      scope.removeEventListener("message", onMessage);
      // Bun gives its workers no close(); there, exit ends the worker and not the program.
      if (typeof scope.close === "function") scope.close();
      else process.exit();
    },
  };
}

/** Two ports that are connected. */
export function newChannel(): { readonly port1: MessagePort; readonly port2: MessagePort } {
  return new MessageChannel();
}
