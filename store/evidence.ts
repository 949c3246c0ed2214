/**
 * Evidence: a hash that says two reports are about the same facts.
 *
 * The body of a report is plain data. Its canonical form is MessagePack with the keys of every object in
 * the order of their UTF-16 code units (as RFC 8785 orders them), and every number in its shortest form.
 * So the same facts give the same bytes whichever way an object was put together, and other programs
 * can compute them.
 *
 * What has no one form is refused rather than guessed at: `undefined`, `NaN`, a bigint, a `Date`, an
 * instance of a class, half a surrogate pair.
 *
 * @module
 */

import { Encoder } from "@msgpack/msgpack";
import { blake3, toHex } from "./hash.ts";

/** Objects and arrays inside each other; deeper than any report, and an end to one that contains itself. */
const DEPTH_MAX = 32;

/**
 * The BLAKE3 of a body's canonical bytes, in hex.
 *
 * @throws {TypeError} naming the place of a value that has no canonical form.
 */
export function evidenceHash(body: unknown): string {
  return toHex(blake3(evidenceBytes(body)));
}

/**
 * The canonical bytes of a body.
 *
 * @throws {TypeError} naming the place of a value that has no canonical form.
 */
export function evidenceBytes(body: unknown): Uint8Array {
  return new Encoder({ sortKeys: true, maxDepth: DEPTH_MAX + 1 }).encode(plainOf(body, "body", 0));
}

/** A copy of the value, so that a getter is asked once and a negative zero is none. */
function plainOf(value: unknown, place: string, depth: number): unknown {
  if (depth > DEPTH_MAX) refuse(place, `it is more than ${DEPTH_MAX} levels deep`);
  switch (typeof value) {
    case "boolean":
      return value;
    case "string":
      if (!value.isWellFormed()) refuse(place, "half a surrogate pair has no UTF-8 form");
      return value;
    case "number":
      if (!Number.isFinite(value)) refuse(place, `${value} is no number`);
      // A negative zero equals zero, and so does its form.
      return value === 0 ? 0 : value;
    case "object":
      break;
    default:
      return refuse(place, `a value of type ${typeof value} has no canonical form`);
  }
  if (value === null || value instanceof Uint8Array) return value;
  if (Array.isArray(value)) {
    // Not map(): it leaves out what is missing.
    return Array.from(value, (item, i) => plainOf(item, `${place}[${i}]`, depth + 1));
  }
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    refuse(place, "it is neither plain data nor bytes");
  }
  const plain: Record<string, unknown> = Object.create(null);
  for (const [key, item] of Object.entries(value)) {
    if (!key.isWellFormed()) refuse(place, "a key has half a surrogate pair");
    plain[key] = plainOf(item, `${place}.${key}`, depth + 1);
  }
  return plain;
}

function refuse(place: string, reason: string): never {
  throw new TypeError(`Cannot take evidence of ${place}: ${reason}`);
}
