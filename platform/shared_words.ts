/**
 * Words that realms share: changed by one, waited for by others.
 *
 * Waiting for a word to differ from the value that was read is what makes a wake-up impossible to lose:
 * if it changed between the look and the wait, there is no wait.
 *
 * @module
 */

/** Words in shared memory. */
export type SharedWords = Int32Array<SharedArrayBuffer>;

/**
 * Blocks the realm until a word is no longer `value`, somebody calls {@linkcode wakeWord}, or the time
 * has passed. Never call it where only this realm could change the word.
 *
 * @returns whether it was the time.
 */
export function blockWhile(
  words: SharedWords,
  index: number,
  value: number,
  timeoutMs: number,
): boolean {
  return Atomics.wait(words, index, value, timeoutMs) === "timed-out";
}

/**
 * As {@linkcode blockWhile}, without blocking: fulfilled then. Whoever sleeps keeps the program running,
 * as with a timer.
 *
 * @returns whether it was the time.
 */
export async function sleepWhile(
  words: SharedWords,
  index: number,
  value: number,
  timeoutMs: number,
): Promise<boolean> {
  const sleep = Atomics.waitAsync(words, index, value, timeoutMs);
  if (!sleep.async) return sleep.value === "timed-out";
  // Deno ends a program that has nothing but such a sleep, as if nobody waited for it.
  const hold = setInterval(() => {}, HOLD_MS);
  try {
    return await sleep.value === "timed-out";
  } finally {
    clearInterval(hold);
  }
}

/** Long: the timer has nothing to do. */
const HOLD_MS = 3_600_000;

/** Wakes everybody who waits for a word. */
export function wakeWord(words: SharedWords, index: number): void {
  Atomics.notify(words, index);
}
