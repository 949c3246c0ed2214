/**
 * The one line that this realm has to a worker with a store. All clients of the worker share it. It begins
 * with the first of them and ends with the last, so that a program that has closed its clients ends by
 * itself.
 *
 * @module
 */

import {
  newChannel,
  type Wire,
  wireToWorker,
  type WorkerFailure,
  type WorkerLike,
} from "../../platform/realm.ts";
import type { Cancel, Scheduler } from "../../platform/scheduler.ts";
import { HostError, type HostFailure } from "./host_error.ts";
import { type HelloMessage, PROTOCOL_VERSION } from "./messages.ts";
import { shareLifeline } from "./realm_lifeline.ts";
import type { WorkerNotice } from "./serve_store.ts";
import { SharedLine } from "./shared_line.ts";

/** How often somebody who may not be listening yet is asked whether they are there. */
const KNOCK_MS = 25;

/** Workers whose store is closed: nobody is there any more who could say so. */
const exitedWorkers = new WeakSet<object>();
/** The lines to those that are in use. */
const lines = new WeakMap<object, WorkerLine>();

/** Somebody who uses the line. */
export interface LineUser {
  /** The worker is gone, or has closed its store. */
  onGone(error: HostError): void;
  /** The worker has thrown: it may be gone or not. */
  onSuspect(error: HostError): void;
  /** The host has ended the line as a whole: the message that says why. */
  onRefused(message: unknown): void;
}

/** The line of this realm to a worker. */
export class WorkerLine {
  /** Fulfilled when somebody is there. */
  readonly ready: Promise<SharedLine>;
  readonly #worker: WorkerLike;
  readonly #wire: Wire;
  readonly #users = new Set<LineUser>();
  readonly #lifeline = shareLifeline();
  #cancelKnock: Cancel = () => {};
  #shared: SharedLine | undefined;
  #state: "knocking" | "met" | "ended" = "knocking";

  private constructor(worker: WorkerLike, scheduler: Scheduler) {
    this.#worker = worker;
    this.#wire = wireToWorker(worker, (failure) => this.#failed(failure));
    this.ready = this.#meet(scheduler).then((port) => this.#begin(port));
    // Whoever waits for it hears of it.
    this.ready.catch(() => {});
  }

  /**
   * The line to a worker, for one more user.
   *
   * @throws {HostError} when its store is closed.
   */
  static use(worker: WorkerLike, scheduler: Scheduler, user: LineUser): WorkerLine {
    if (exitedWorkers.has(worker)) throw exitedError("connect");
    let line = lines.get(worker);
    if (line === undefined) {
      line = new WorkerLine(worker, scheduler);
      lines.set(worker, line);
    }
    line.#users.add(user);
    return line;
  }

  /** A user goes, and says why. A second call does nothing. */
  leave(user: LineUser, reason?: HostFailure): void {
    if (reason === "closed") exitedWorkers.add(this.#worker);
    if (!this.#users.delete(user) || this.#users.size > 0) return;
    this.#retire();
    this.#cancelKnock();
    this.#shared?.close();
    this.#wire.close();
    this.#lifeline.release();
  }

  /** Knocks until somebody answers, or everybody has left. */
  #meet(scheduler: Scheduler): Promise<MessagePort> {
    return new Promise((resolve) => {
      this.#wire.listen((message) => {
        const { type } = (message ?? {}) as Partial<WorkerNotice>;
        if (type === "batpak:exited") {
          exitedWorkers.add(this.#worker);
          this.#gone(exitedError("go on"));
        } else if (type === "batpak:here" && this.#state === "knocking") {
          this.#state = "met";
          this.#cancelKnock();
          const { port1, port2 } = newChannel();
          this.#wire.post({ type: "batpak:connect", port: port1 } satisfies WorkerNotice, [port1]);
          resolve(port2);
        }
      });
      // It may not be listening yet, and not every runtime keeps what is sent until then.
      const knock = () => {
        if (this.#state !== "knocking") return;
        this.#wire.post({ type: "batpak:who" } satisfies WorkerNotice);
        this.#cancelKnock = scheduler.delay(KNOCK_MS, knock);
      };
      knock();
    });
  }

  /** Says hello for all. */
  async #begin(port: MessagePort): Promise<SharedLine> {
    const lifeline = await this.#lifeline.name;
    const hello: HelloMessage = { type: "hello", version: PROTOCOL_VERSION, lifeline, line: true };
    this.#shared = new SharedLine(port, {
      onObject: (message) => {
        this.#retire();
        for (const user of [...this.#users]) user.onRefused(message);
      },
      onEnd: () => this.#retire(),
    });
    port.postMessage(hello);
    if (this.#state === "ended") this.#shared.close();
    return this.#shared;
  }

  #failed(failure: WorkerFailure): void {
    const { type, message } = failure;
    const detail = type === "close"
      ? "the worker that has the store has ended"
      : `the worker that has the store has failed${message === "" ? "" : ` (${message})`}`;
    const error = new HostError("go on", "died" satisfies HostFailure, detail);
    if (type === "close") return this.#gone(error);
    // One that threw may be gone or not: not every runtime ends it.
    for (const user of [...this.#users]) user.onSuspect(error);
  }

  #gone(error: HostError): void {
    this.#retire();
    for (const user of [...this.#users]) user.onGone(error);
  }

  /** Whoever comes now gets another one. */
  #retire(): void {
    this.#state = "ended";
    if (lines.get(this.#worker) === this) lines.delete(this.#worker);
  }
}

function exitedError(action: string): HostError {
  return new HostError(action, "closed", "the host has closed the store");
}
