/**
 * Images: typed arrays written one behind the other, so that reading them back is one read and a view
 * of each. What they hold can always be made again from the frames; nothing here is an authority.
 *
 * | Section  | Bytes                | Notes                                      |
 * | -------- | -------------------- | ------------------------------------------ |
 * | number   | 8                    | float64                                    |
 * | words    | 4 each               | uint32, zeros behind an odd number of them |
 * | bytes    | 1 each               | zeros behind, up to a multiple of 8        |
 *
 * Every section begins at a multiple of 8. Numbers and words are in the order of the machine that
 * wrote them: an image begins with {@linkcode ORDER_MARK}, and a machine of the other order turns it
 * down and reads the frames.
 *
 * @module
 */

/** The first number of every image. */
export const ORDER_MARK = 0x0102_0304;

/** The bytes are not an image of ours. Whoever reads one catches it and does without. */
export class ImageError extends Error {
  override readonly name = "ImageError";
}

/** Collects sections. Arrays are kept by reference until they are written. */
export class ImageWriter {
  /** The sections, in order. */
  readonly parts: Uint8Array[] = [];
  /** Bytes of all parts. */
  size = 0;

  /** Adds a number. */
  number(value: number): void {
    this.#push(new Uint8Array(Float64Array.of(value).buffer));
  }

  /** Adds the first `count` words. */
  words(words: Uint32Array, count: number = words.length): void {
    this.bytes(new Uint8Array(words.buffer, words.byteOffset, count * 4));
  }

  /** Adds bytes. */
  bytes(bytes: Uint8Array): void {
    this.#push(bytes);
    const rest = bytes.byteLength & 7;
    if (rest !== 0) this.#push(new Uint8Array(8 - rest));
  }

  #push(bytes: Uint8Array): void {
    this.parts.push(bytes);
    this.size += bytes.byteLength;
  }
}

/** Takes sections off an image as views of it. Throws `ImageError` where it is not long enough. */
export class ImageReader {
  readonly #buffer: ArrayBuffer;
  readonly #end: number;
  #at: number;

  /** @param bytes the sections; they begin at a multiple of 8 of their buffer. */
  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.#buffer = bytes.buffer;
    this.#at = bytes.byteOffset;
    this.#end = bytes.byteOffset + bytes.byteLength;
    if (this.#at % 8 !== 0) throw new ImageError("it is not aligned");
  }

  /** A number. */
  number(): number {
    return new Float64Array(this.#buffer, this.#take(8), 1)[0];
  }

  /** A whole number of 0 up to and including `max`. */
  count(max: number): number {
    const value = this.number();
    if (Number.isInteger(value) && value >= 0 && value <= max) return value;
    throw new ImageError(`it has a count of ${value}, and ${max} would be the most`);
  }

  /** Words. */
  words(count: number): Uint32Array<ArrayBuffer> {
    return new Uint32Array(this.#buffer, this.#take(count * 4), count);
  }

  /** Bytes. */
  bytes(size: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#buffer, this.#take(size), size);
  }

  /** Bytes not taken yet. */
  get rest(): number {
    return this.#end - this.#at;
  }

  /** Where a section of `size` bytes begins. */
  #take(size: number): number {
    const start = this.#at;
    const end = start + size + (-size & 7);
    if (!(end <= this.#end)) throw new ImageError("it ends early");
    this.#at = end;
    return start;
  }
}

/** Throws when what an image says is not so. */
export function assertImage(condition: boolean, problem: string): asserts condition {
  if (!condition) throw new ImageError(problem);
}
