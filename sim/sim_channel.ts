/**
 * Messages between realms that are simulated in one: each arrives in a turn that the scheduler decides, so
 * that the messages of several clients overtake each other as the seed says, and those of one never do.
 *
 * @module
 */

import { shareLifeline } from "../delivery/host/realm_lifeline.ts";
import type { Cancel } from "../platform/scheduler.ts";
import type { SimScheduler } from "./sim_scheduler.ts";

type Listener = (event: { data: unknown }) => void;

/** The part of a `MessagePort` that the library uses. */
class SimPort {
  other!: SimPort;
  readonly #scheduler: SimScheduler;
  readonly #listeners = new Map<string, Set<Listener>>();
  #onmessage: Listener | null = null;
  /** What has been posted and not delivered. A turn is asked for only for the first of them. */
  readonly #inbox: unknown[] = [];
  #isOpen = true;

  constructor(scheduler: SimScheduler) {
    this.#scheduler = scheduler;
  }

  get onmessage(): Listener | null {
    return this.#onmessage;
  }

  set onmessage(listener: Listener | null) {
    this.#onmessage = listener;
    this.start();
  }

  start(): void {
    if (this.#inbox.length > 0) this.#askForTurn();
  }

  postMessage(message: unknown, transfer: Transferable[] = []): void {
    const copy = structuredClone(message, { transfer });
    if (this.#isOpen && this.other.#isOpen) this.other.#receive(copy);
  }

  addEventListener(type: string, listener: Listener): void {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(listener));
  }

  removeEventListener(type: string, listener: Listener): void {
    this.#listeners.get(type)?.delete(listener);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#inbox.length = 0;
    this.#scheduler.delay(0, () => this.other.#dispatch("close", undefined));
  }

  #receive(message: unknown): void {
    this.#inbox.push(message);
    if (this.#inbox.length === 1) this.#askForTurn();
  }

  #askForTurn(): void {
    if (this.#onmessage === null && (this.#listeners.get("message")?.size ?? 0) === 0) return;
    this.#scheduler.delay(0, () => {
      if (this.#inbox.length === 0) return;
      const message = this.#inbox.shift();
      // The next one has to wait for a turn of its own, like those of other ports.
      if (this.#inbox.length > 0) this.#askForTurn();
      this.#dispatch("message", message);
    });
  }

  #dispatch(type: string, data: unknown): void {
    if (type === "message") this.#onmessage?.({ data });
    for (const listener of [...this.#listeners.get(type) ?? []]) listener({ data });
  }
}

// Those who take a port make sure that they are given one.
Object.setPrototypeOf(SimPort.prototype, MessagePort.prototype);

/**
 * Waits for what a realm sets up when its first client connects, which takes real time. To be called
 * before a simulation with clients.
 *
 * @returns what lets go of it, after the simulation.
 */
export async function readyForClients(): Promise<Cancel> {
  const lifeline = shareLifeline();
  await lifeline.name;
  return lifeline.release;
}

/** Two ports that are connected, as `new MessageChannel()` makes them, in simulated time. */
export function newSimChannel(
  scheduler: SimScheduler,
): { readonly port1: MessagePort; readonly port2: MessagePort } {
  const [port1, port2] = [new SimPort(scheduler), new SimPort(scheduler)];
  port1.other = port2;
  port2.other = port1;
  return { port1: port1 as unknown as MessagePort, port2: port2 as unknown as MessagePort };
}
