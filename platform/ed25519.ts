/**
 * Ed25519 signatures (RFC 8032), synchronous, with raw 32-byte keys.
 *
 * The runtimes want keys wrapped in DER. Both wrappings are fixed bytes in front of the raw key:
 *
 * | Key     | Wrapping        | Bytes in front                     |
 * | ------- | --------------- | ---------------------------------- |
 * | private | PKCS #8         | `302e020100300506032b657004220420` |
 * | public  | SPKI (RFC 8410) | `302a300506032b6570032100`         |
 *
 * A signature must mean the same everywhere, and the runtimes differ at the edges: Bun accepts public
 * keys of 33 bytes and encodings that Deno refuses, and both accept keys of small order, for which
 * anybody can make signatures. We check those ourselves, and refuse them.
 *
 * @module
 */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";

/** Bytes of a seed, the private half of a key. */
export const ED25519_SEED_SIZE = 32;
/** Bytes of a public key. */
export const ED25519_PUBLIC_KEY_SIZE = 32;
/** Bytes of a signature. */
export const ED25519_SIGNATURE_SIZE = 64;

/** Makes signatures with one key. The seed cannot be had back from it. */
export interface Ed25519Signer {
  /** 32 bytes: what {@linkcode ed25519Verify} needs. */
  readonly publicKey: Uint8Array;
  /** The 64-byte signature of `message`: always the same for the same message. */
  sign(message: Uint8Array): Uint8Array;
}

const PRIVATE_KEY_PREFIX = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
const PUBLIC_KEY_PREFIX = [48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];

/** Parsing a public key takes Deno 8 µs, and a journal has few signers: this many stay parsed. */
const PARSED_KEY_COUNT_MAX = 256;
const parsedKeys = new Map<string, KeyObject>();

/** 2²⁵⁵ - 19, the prime of the field that coordinates are in. */
const FIELD_PRIME = 2n ** 255n - 19n;
const SIGN_BIT = 2n ** 255n;

/** The y coordinates of the eight points whose order divides 8. Each one but ±1 belongs to two. */
const SMALL_ORDER_Y: ReadonlySet<bigint> = new Set([
  0n,
  1n,
  FIELD_PRIME - 1n,
  0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n,
  0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
]);

/**
 * Makes a signer from a 32-byte seed. The seed is copied; wipe yours when you can.
 *
 * @throws {RangeError} when the seed has another size
 *
 * @example Sign and verify
 * ```ts
 * import { equal } from "node:assert/strict";
 *
 * const signer = ed25519Signer(new Uint8Array(32).fill(7));
 * const message = new TextEncoder().encode("paid");
 * equal(ed25519Verify(signer.publicKey, message, signer.sign(message)), true);
 * equal(ed25519Verify(signer.publicKey, message, new Uint8Array(64)), false);
 * ```
 */
export function ed25519Signer(seed: Uint8Array): Ed25519Signer {
  if (seed.byteLength !== ED25519_SEED_SIZE) {
    throw new RangeError(`Cannot make a signer: the seed has ${seed.byteLength} bytes, not 32`);
  }
  const der = new Uint8Array([...PRIVATE_KEY_PREFIX, ...seed]);
  const key = createPrivateKey({ key: der as Buffer, format: "der", type: "pkcs8" });
  der.fill(0);
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  return {
    publicKey: new Uint8Array(spki.subarray(-ED25519_PUBLIC_KEY_SIZE)),
    // A closure: whatever prints the signer shows a function, and no key.
    sign: (message) => new Uint8Array(sign(null, message, key)),
  };
}

/**
 * Says whether `signature` was made over `message` with the private half of `publicKey`. Never throws: what
 * is not a key or not a signature verifies nothing.
 */
export function ed25519Verify(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (publicKey.byteLength !== ED25519_PUBLIC_KEY_SIZE) return false;
  if (signature.byteLength !== ED25519_SIGNATURE_SIZE) return false;
  try {
    const key = parsePublicKey(publicKey);
    return key !== undefined && verify(null, message, key, signature);
  } catch {
    // The bytes are no point on the curve: Deno says so when it parses them, Bun when it verifies.
    return false;
  }
}

/** Wraps a public key, or returns `undefined` when its encoding or its order disqualify it. */
function parsePublicKey(publicKey: Uint8Array): KeyObject | undefined {
  const name = String.fromCharCode(...publicKey);
  const known = parsedKeys.get(name);
  if (known !== undefined) return known;

  const y = yCoordinate(publicKey);
  if (y >= FIELD_PRIME || SMALL_ORDER_Y.has(y)) return undefined;
  const der = new Uint8Array([...PUBLIC_KEY_PREFIX, ...publicKey]);
  const key = createPublicKey({ key: der as Buffer, format: "der", type: "spki" });

  if (parsedKeys.size === PARSED_KEY_COUNT_MAX) {
    // A map lists its oldest key first.
    for (const oldest of parsedKeys.keys()) {
      parsedKeys.delete(oldest);
      break;
    }
  }
  parsedKeys.set(name, key);
  return key;
}

/** A public key is its y coordinate, little-endian, with the sign of x in the top bit. */
function yCoordinate(publicKey: Uint8Array): bigint {
  let y = 0n;
  for (let index = ED25519_PUBLIC_KEY_SIZE - 1; index >= 0; index--) {
    y = y << 8n | BigInt(publicKey[index]);
  }
  return y & (SIGN_BIT - 1n);
}
