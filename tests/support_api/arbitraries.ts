/** Random values that several tests want. */
import fc from "fast-check";

/** What JSON can say and a journal takes: everything but the key `__proto__`, which decoders refuse. */
export const jsonPayloads: fc.Arbitrary<unknown> = fc.jsonValue({ maxDepth: 3 })
  .map((value): unknown => JSON.parse(JSON.stringify(value)))
  .filter((value) => !JSON.stringify(value).includes('"__proto__":'));
