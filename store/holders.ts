/**
 * Who needs a store to stay open: workers that follow it, clients that a host serves.
 *
 * `close()` is refused while there are any, because closing under them would leave a batch handled and not
 * committed. `using` cannot be refused: it has to let go of the directory whatever else went wrong, and it
 * must not wait. So it tells the holders, who stop, and closes at once; what they had not committed by
 * then is delivered again to the next worker.
 *
 * @module
 */

import { StoreError } from "./errors.ts";

/**
 * The store is in use, so it was not closed, and everything goes on. Stop those who use it and wait for
 * them (`await worker.stopAndJoin()`), then close.
 */
export class StoreInUseError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "StoreInUseError";
  /** Stable, for programs. */
  override readonly code = "STORE_IN_USE";
  /** Who uses it, in the order they came. */
  readonly holders: readonly string[];

  /**
   * Says what happened.
   *
   * @param action what was attempted, as an infinitive; `holders` are those in the way, at least one.
   */
  constructor(action: string, holders: readonly string[]) {
    const [first] = holders;
    const more = holders.length === 1 ? "" : ` and ${holders.length - 1} more`;
    super(`Cannot ${action}: the store is in use by ${first}${more}; stop and join them first`);
    this.holders = holders;
  }
}

/** The holders of one store. */
export class Holders {
  readonly #holders = new Set<{ readonly name: string; readonly onGone: () => void }>();

  /** Who holds it, in the order they came. */
  get names(): string[] {
    return [...this.#holders].map(({ name }) => name);
  }

  /**
   * Holds the store.
   *
   * @param onGone called when it is closed all the same; it must not throw.
   * @returns what lets go of it; a second call does nothing.
   */
  add(name: string, onGone: () => void): () => void {
    const holder = { name, onGone };
    this.#holders.add(holder);
    return () => void this.#holders.delete(holder);
  }

  /**
   * Refuses an action that nobody may be in the way of.
   *
   * @throws {StoreInUseError} naming the holders.
   */
  assertNone(action: string): void {
    if (this.#holders.size > 0) throw new StoreInUseError(action, this.names);
  }

  /** Tells everybody that the store is closed under them. */
  dismiss(): void {
    for (const holder of [...this.#holders]) {
      if (this.#holders.delete(holder)) holder.onGone();
    }
  }
}
