/**
 * A signal: a counter that goes up when something has happened, and the callers who wait for that.
 *
 * Whoever waits says which count they have seen. If it has moved on since, there is nothing to wait for,
 * so "looked, found nothing, it happened, waited" cannot lose a wake-up. The count goes up first, and
 * then everybody is woken.
 *
 * @module
 */

import type { Scheduler } from "../platform/scheduler.ts";

/** Counts, and wakes. Raising it costs next to nothing while nobody waits. */
export class Signal {
  #count = 0;
  readonly #parked = new Set<() => void>();

  /** How often it has been raised. */
  get count(): number {
    return this.#count;
  }

  /** How many callers are waiting. */
  get parkedCount(): number {
    return this.#parked.size;
  }

  /** Counts one more, and wakes everybody who waits. */
  raise(): void {
    this.#count++;
    if (this.#parked.size > 0) this.wake();
  }

  /** Wakes everybody without counting: to look again at something else. */
  wake(): void {
    for (const wake of [...this.#parked]) wake();
  }

  /**
   * Is fulfilled when the count is not `seen`, when somebody wakes it, when the signal aborts, or when the
   * time has passed. Never rejects: the caller looks again in any case.
   */
  park(
    seen: number,
    timeoutMs: number,
    { scheduler, signal }: { readonly scheduler: Scheduler; readonly signal?: AbortSignal },
  ): Promise<void> {
    if (this.#count !== seen || signal?.aborted === true || timeoutMs <= 0) {
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const wake = () => {
        this.#parked.delete(wake);
        cancel();
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const cancel = scheduler.delay(timeoutMs, wake);
      this.#parked.add(wake);
      signal?.addEventListener("abort", wake);
    });
  }
}
