/** Random values that several tests want. */
import fc from "fast-check";

/** What JSON can say and a journal takes: everything but the key `__proto__`, which decoders refuse. */
export const jsonPayloads: fc.Arbitrary<unknown> = fc.jsonValue({ maxDepth: 3 })
  .map((value): unknown => JSON.parse(JSON.stringify(value)))
  .filter((value) => !JSON.stringify(value).includes('"__proto__":'));

/**
 * Objects with up to `keyCountMax` of the keys of `model`. A region of all filters at once selects
 * nothing, and nothing is an answer that many wrong programs give.
 */
export function someOf<T extends object>(
  model: { [K in keyof T]: fc.Arbitrary<T[K]> },
  keyCountMax: number,
): fc.Arbitrary<Partial<T>> {
  const keys = Object.keys(model) as (keyof T)[];
  return fc.tuple(fc.record(model), fc.shuffledSubarray(keys, { maxLength: keyCountMax })).map((
    [all, some],
  ) => Object.fromEntries(some.map((key) => [key, all[key]])) as Partial<T>);
}
