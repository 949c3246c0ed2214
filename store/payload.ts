/**
 * Payloads: values as MessagePack, or the caller's own bytes.
 *
 * What comes back equals what was appended for everything JSON can say, and for `bigint` (64 bits),
 * `Date` and `Uint8Array`. A property whose value is `undefined` is left out, as JSON leaves it out. A
 * value that could not be read back is refused when it is appended, not when it is read.
 *
 * @module
 */

import { Decoder, Encoder, ExtensionCodec } from "@msgpack/msgpack";
import { SerializationError } from "./errors.ts";
import { PAYLOAD_MESSAGEPACK, PAYLOAD_OPAQUE } from "./frame.ts";

/** Looks at every object on its way in, and refuses those that would come back as something else. */
class RoundTripCodec extends ExtensionCodec {
  override tryToEncode(object: unknown, context: undefined): ReturnType<
    ExtensionCodec["tryToEncode"]
  > {
    if (
      object instanceof Map || object instanceof Set || object instanceof RegExp ||
      object instanceof Promise || object instanceof Error || object instanceof ArrayBuffer ||
      (ArrayBuffer.isView(object) && !(object instanceof Uint8Array))
    ) {
      throw new TypeError(
        `a ${object.constructor.name} would come back as something else: convert it first`,
      );
    }
    return super.tryToEncode(object, context);
  }
}

// Safe integers stay numbers and 64-bit integers stay bigints, in both directions.
const decoder = new Decoder({ useBigInt64: true });
const encoder = new Encoder({
  useBigInt64: true,
  ignoreUndefined: true,
  extensionCodec: new RoundTripCodec(),
});
refuseWideIntegers();
copyByteStrings();

/** The library would hand out views of the bytes it reads, and those are the store's own. */
function copyByteStrings(): void {
  const decodeBinary = decoder["decodeBinary"].bind(decoder);
  decoder["decodeBinary"] = (size: number, offset: number) => decodeBinary(size, offset).slice();
}

/** The library would write a bigint of more than 64 bits modulo 2^64. */
function refuseWideIntegers(): void {
  const encodeBigInt64 = encoder["encodeBigInt64"].bind(encoder);
  encoder["encodeBigInt64"] = (value: bigint) => {
    if (value < -(2n ** 63n) || value >= 2n ** 64n) {
      throw new RangeError(`a bigint of more than 64 bits has no MessagePack form: ${value}`);
    }
    encodeBigInt64(value);
  };
}

/**
 * The MessagePack bytes of a value. They are borrowed: the next call overwrites them.
 *
 * @throws {SerializationError} when the value has no MessagePack form, or would not come back.
 */
export function encodePayload(value: unknown): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = encoder.encodeSharedRef(value);
  } catch (error) {
    throw new SerializationError("encode the payload", error);
  }
  if (mayHoldProtoKey(bytes)) decodeMessagePack(bytes, "append a payload that cannot be read back");
  return bytes;
}

/**
 * The value of a payload. Opaque bytes come back as they are. Nothing in it is a view of `bytes`.
 *
 * @throws {SerializationError} when the bytes are not one MessagePack value.
 */
export function decodePayload(bytes: Uint8Array, encoding: number): unknown {
  if (encoding === PAYLOAD_OPAQUE) return bytes.slice();
  if (encoding !== PAYLOAD_MESSAGEPACK) {
    throw new SerializationError(
      "decode the payload",
      new Error(`payload encoding ${encoding} is not one this program reads`),
    );
  }
  return decodeMessagePack(bytes, "decode the payload");
}

function decodeMessagePack(bytes: Uint8Array, action: string): unknown {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    throw new SerializationError(action, error);
  }
}

/**
 * Whether the key `__proto__` may stand in the bytes. Decoders refuse it, so a value that has it must
 * be refused while the caller can still do something about it.
 */
function mayHoldProtoKey(bytes: Uint8Array): boolean {
  for (let i = bytes.indexOf(PROTO_MARKER); i >= 0; i = bytes.indexOf(PROTO_MARKER, i + 1)) {
    let matched = 0;
    while (matched < PROTO.length && bytes[i + 1 + matched] === PROTO.charCodeAt(matched)) {
      matched++;
    }
    if (matched === PROTO.length) return true;
  }
  return false;
}

const PROTO = "__proto__";
/** The marker of a MessagePack string of nine bytes. */
const PROTO_MARKER = 0xa0 | PROTO.length;
