/**
 * Invariants, stated positively. A failure is a bug of ours, never a matter of input.
 *
 * @module
 */

/** Throws when an invariant does not hold. */
export function assert(condition: boolean, invariant: string): asserts condition {
  if (!condition) throw new Error(`Invariant broken: ${invariant}. This is a bug in batpak`);
}

/**
 * A caller's number, when it is whole and within 0 to `max`.
 *
 * @throws {RangeError} naming the argument and its range.
 */
export function assertUint(name: string, value: number, max: number): number {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new RangeError(`Cannot use ${name} ${value}: give a whole number of 0 to ${max}`);
  }
  return value;
}

/**
 * Refuses options that nobody reads: a misspelt one would be no option at all.
 *
 * @throws {TypeError} naming the key.
 */
export function assertKnownKeys(
  action: string,
  options: object,
  known: ReadonlySet<string>,
): void {
  for (const key in options) {
    if (!known.has(key)) {
      throw new TypeError(
        `Cannot ${action} with option "${key}": there are ${[...known].join(", ")}`,
      );
    }
  }
}
