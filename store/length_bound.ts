/**
 * MessagePack from somebody who may not mean well: five bytes claim an array of billions, and the library
 * makes it before it looks for the elements. One inside the other, a hundred bytes take all memory.
 *
 * @module
 */

import type { Decoder } from "@msgpack/msgpack";

/**
 * Has a decoder refuse arrays and maps that claim more elements than there are bytes, all of them together,
 * with a `RangeError`: every element takes a byte at least.
 *
 * @returns the decoder.
 */
export function boundLengths(decoder: Decoder): Decoder {
  let declared = 0;
  for (const push of ["pushArrayState", "pushMapState"] as const) {
    const original = decoder[push].bind(decoder);
    decoder[push] = (size: number) => {
      if (decoder["stack"].length === 0) declared = 0;
      declared += size;
      if (declared > decoder["bytes"].byteLength) {
        throw new RangeError("the lengths in it are greater than the payload");
      }
      original(size);
    };
  }
  return decoder;
}
