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
import { boundLengths } from "./length_bound.ts";

/** Looks at every object on its way in, and refuses those that would come back as something else. */
class RoundTripCodec extends ExtensionCodec {
  override tryToEncode(object: unknown, context: undefined): ReturnType<
    ExtensionCodec["tryToEncode"]
  > {
    const prototype = Object.getPrototypeOf(object);
    if (prototype === Object.prototype || prototype === Array.prototype) return null;
    // The tag tells built-in objects apart, whose content is not in their properties, from instances
    // of the caller's own classes, which are read back as plain objects.
    const tag = Object.prototype.toString.call(object).slice(8, -1);
    if (!ROUND_TRIP_TAGS.has(tag)) {
      throw new TypeError(`a ${tag} would come back as something else: convert it first`);
    }
    if (object instanceof Date && Number.isNaN(object.getTime())) {
      throw new TypeError("an invalid Date has no MessagePack form");
    }
    return super.tryToEncode(object, context);
  }
}

const ROUND_TRIP_TAGS: ReadonlySet<string> = new Set(["Object", "Array", "Uint8Array", "Date"]);
const markedTextDecoder = new TextDecoder("utf-8", { ignoreBOM: true });
const codec = new RoundTripCodec();
const encoder = makeEncoder();
const decoder = makeDecoder();

/**
 * An encoder that refuses what the library would silently change. The library copies an encoder that
 * is used while it is in use, as a getter of a payload can do; its copies have to be like it.
 */
function makeEncoder(): Encoder {
  // Safe integers stay numbers and 64-bit integers stay bigints, in both directions.
  const made = new Encoder({ useBigInt64: true, ignoreUndefined: true, extensionCodec: codec });
  const encodeBigInt64 = made["encodeBigInt64"].bind(made);
  made["encodeBigInt64"] = (value: bigint) => {
    if (value < -(2n ** 63n) || value >= 2n ** 64n) {
      throw new RangeError(`a bigint of more than 64 bits has no MessagePack form: ${value}`);
    }
    encodeBigInt64(value);
  };
  const encodeString = made["encodeString"].bind(made);
  made["encodeString"] = (text: string) => {
    if (!text.isWellFormed()) throw new TypeError("half a surrogate pair has no UTF-8 form");
    encodeString(text);
  };
  const encodeNumber = made["encodeNumber"].bind(made);
  made["encodeNumber"] = (value: number) => {
    // Integers have no negative zero.
    if (Object.is(value, -0)) made["encodeNumberAsFloat"](value);
    else encodeNumber(value);
  };
  made["clone"] = makeEncoder;
  return made;
}

/**
 * A decoder whose byte strings are the caller's own, and no views of the bytes it reads, and which keeps
 * the byte order mark that the library takes from the front of long texts.
 */
function makeDecoder(): Decoder {
  const made = new Decoder({ useBigInt64: true });
  const decodeUtf8String = made["decodeUtf8String"].bind(made);
  made["decodeUtf8String"] = (size: number, offset: number) => {
    const bytes = made["bytes"];
    const start = made["pos"] + offset;
    const text = decodeUtf8String(size, offset);
    const isMarked = size >= 3 && bytes[start] === 0xef && bytes[start + 1] === 0xbb &&
      bytes[start + 2] === 0xbf;
    return isMarked ? markedTextDecoder.decode(bytes.subarray(start, start + size)) : text;
  };
  const decodeBinary = made["decodeBinary"].bind(made);
  made["decodeBinary"] = (size: number, offset: number) => decodeBinary(size, offset).slice();
  made["clone"] = makeDecoder;
  return boundLengths(made);
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
