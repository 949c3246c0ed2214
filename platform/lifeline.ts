/**
 * Lifelines: how a realm finds out that another one has ended, however that came about.
 *
 * A worker that calls `close()`, is terminated, or runs into `exit` says nothing to anybody in Deno. But
 * the locks of the Web Locks API are the runtime's: it lets go of those of a realm that ends. So a realm
 * holds a lock for as long as it lives, and who waits for that lock gets it when the realm has really
 * ended: also after `terminate()`, which does not interrupt a busy realm in Deno. Bun has no such locks,
 * and needs none: its workers report their end with a `close` event.
 *
 * @module
 */

import type { Cancel } from "./scheduler.ts";

interface Locks {
  request(
    name: string,
    options: { readonly signal?: AbortSignal },
    callback: () => unknown,
  ): Promise<unknown>;
}

/** Not there in Bun, and not in every type library. */
function locksHere(): Locks | undefined {
  return (globalThis as { navigator?: { locks?: Locks } }).navigator?.locks;
}

/** Whether this runtime has lifelines. Where it has none, a worker reports its end by an event. */
export function hasLifelines(): boolean {
  return locksHere() !== undefined;
}

/**
 * Holds a lifeline until this realm ends. Does nothing where there are none.
 *
 * @param name known to nobody but the two realms.
 */
export function holdLifeline(name: string): Promise<void> {
  const locks = locksHere();
  if (locks === undefined) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const holdForever = () => new Promise(() => resolve());
    locks.request(name, {}, holdForever).catch(reject);
  });
}

/**
 * As {@linkcode holdLifeline}, until it is let go of. A lifeline that is held keeps a program running in
 * Deno, so a realm that is to end by itself has to let go.
 *
 * @returns what lets go of it, once it is held.
 */
export function takeLifeline(name: string): Promise<Cancel> {
  const locks = locksHere();
  if (locks === undefined) return Promise.resolve(() => {});
  return new Promise((resolve, reject) => {
    locks.request(name, {}, () => new Promise<void>((release) => resolve(release))).catch(reject);
  });
}

/** Calls back once when the realm that holds the lifeline has ended; never where there are none. */
export function watchLifeline(name: string, onEnd: () => void): Cancel {
  const controller = new AbortController();
  // Calling it off rejects the request, which is nobody's concern.
  locksHere()?.request(name, { signal: controller.signal }, onEnd).catch(() => {});
  return () => controller.abort();
}
