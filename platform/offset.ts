/**
 * Positions and sizes in files.
 *
 * @module
 */

/**
 * Refuses what the runtimes would silently reinterpret: they take a position of -1 as "wherever the
 * cursor is" and a size of -1 as 0, and either one would overwrite the start of a file.
 *
 * @throws {RangeError} when `value` is not a whole number from 0 up
 */
export function checkOffset(what: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`Cannot use ${value} as ${what}: it must be a whole number from 0 up`);
  }
}
