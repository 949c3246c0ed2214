/**
 * Chance that a seed repeats: everything random in a simulation comes from here.
 *
 * Each consumer draws from a stream of its own, which it gets by name. So a draw that is added in one place
 * moves nothing in another, and a kind of fault that is switched off leaves the rest of the run as it was.
 *
 * The generator is wyrand: one 64-bit addition and one 128-bit product for each number. It is worked out in
 * halves of 32 bits, because a `bigint` takes ten times as long.
 *
 * @module
 */

/** wyrand's increment. */
const STEP_HI = 0x2d358dcc;
const STEP_LO = 0xaa6c78a5;
/** What wyrand mixes its state with. */
const MIX_HI = 0x8bb84b93;
const MIX_LO = 0x962eacc9;

const TWO_32 = 2 ** 32;

/** A repeatable generator. */
export class SimRandom {
  #hi: number;
  #lo: number;
  /** The upper half of the number drawn last; the lower half is what {@linkcode nextU32} returns. */
  #outHi = 0;

  /** @param seed a whole number from 0 to 2⁵³ - 1. */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new RangeError(`Cannot use ${seed} as a seed: it must be a whole number from 0 up`);
    }
    this.#hi = Math.floor(seed / TWO_32);
    this.#lo = seed >>> 0;
  }

  /** A generator whose seed has 64 bits, which no number holds. */
  static ofHalves(hi: number, lo: number): SimRandom {
    const random = new SimRandom(lo >>> 0);
    random.#hi = hi >>> 0;
    return random;
  }

  /**
   * A generator of its own, decided by this one's state and the name. Draws nothing: ask before the first
   * draw, and the streams of a seed never change.
   */
  stream(name: string): SimRandom {
    const digest = new Fold64();
    for (let i = 0; i < name.length; i++) digest.fold(name.charCodeAt(i));
    const stream = new SimRandom(0);
    stream.#hi = (this.#hi ^ digest.hi) >>> 0;
    stream.#lo = (this.#lo ^ digest.lo) >>> 0;
    return stream;
  }

  /** The lower half of the next 64 bits. */
  nextU32(): number {
    let carried = this.#lo + STEP_LO;
    const al = carried >>> 0;
    carried = this.#hi + STEP_HI + (carried >= TWO_32 ? 1 : 0);
    const ah = carried >>> 0;
    this.#lo = al;
    this.#hi = ah;
    const bl = (al ^ MIX_LO) >>> 0;
    const bh = (ah ^ MIX_HI) >>> 0;
    // The product in four words of 32 bits; sums of a few of them are exact in a double.
    const lowHi = upperHalf(al, bl);
    const sum1 = lowHi + (Math.imul(al, bh) >>> 0) + (Math.imul(ah, bl) >>> 0);
    const sum2 = upperHalf(al, bh) + upperHalf(ah, bl) + (Math.imul(ah, bh) >>> 0) +
      Math.floor(sum1 / TWO_32);
    const word3 = upperHalf(ah, bh) + Math.floor(sum2 / TWO_32);
    this.#outHi = (sum1 ^ word3) >>> 0;
    return (Math.imul(al, bl) ^ sum2) >>> 0;
  }

  /** The next 64 bits as two halves of 32. */
  nextU64(): { readonly hi: number; readonly lo: number } {
    const lo = this.nextU32();
    return { hi: this.#outHi, lo };
  }

  /** A whole number from 0 up to but not including `end`, which is at most 2³². */
  below(end: number): number {
    return Math.floor((this.nextU32() / TWO_32) * end);
  }

  /** A whole number of `min` to `max`, both included. */
  between(min: number, max: number): number {
    return min + this.below(max - min + 1);
  }

  /** True with this probability, from 0 to 1. Always draws. */
  chance(probability: number): boolean {
    return this.nextU32() < probability * TWO_32;
  }

  /** One of several. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)];
  }

  /** Brings an array into another order, in place. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [items[i], items[j]] = [items[j], items[i]];
    }
    return items;
  }

  /** Fills `target` from `start` up to `end`. */
  fill(target: Uint8Array, start = 0, end: number = target.byteLength): void {
    let i = start;
    for (; i + 4 <= end; i += 4) {
      const bits = this.nextU32();
      target[i] = bits;
      target[i + 1] = bits >>> 8;
      target[i + 2] = bits >>> 16;
      target[i + 3] = bits >>> 24;
    }
    while (i < end) {
      let bits = this.nextU32();
      for (let n = 0; n < 4 && i < end; n++, bits >>>= 8) target[i++] = bits;
    }
  }
}

/** FNV-1a of 64 bits: a short name for a long history. */
export class Fold64 {
  /** Upper half. */
  hi = 0xcbf29ce4;
  /** Lower half. */
  lo = 0x84222325;

  /** Feeds the eight bytes of a whole number from 0 to 2⁵³ - 1, least significant first. */
  fold(token: number): this {
    return this.foldHalves(Math.floor(token / TWO_32), token >>> 0);
  }

  /** Feeds the eight bytes of two halves, least significant first. */
  foldHalves(hi: number, lo: number): this {
    for (let shift = 0; shift < 32; shift += 8) this.#byte((lo >>> shift) & 0xff);
    for (let shift = 0; shift < 32; shift += 8) this.#byte((hi >>> shift) & 0xff);
    return this;
  }

  /** Feeds bytes as they are. */
  bytes(bytes: Uint8Array): this {
    for (let i = 0; i < bytes.byteLength; i++) this.#byte(bytes[i]);
    return this;
  }

  /** Sixteen hexadecimal digits. */
  toString(): string {
    return this.hi.toString(16).padStart(8, "0") + this.lo.toString(16).padStart(8, "0");
  }

  /** The prime is 2⁴⁰ + 0x1b3. */
  #byte(byte: number): void {
    const lo = (this.lo ^ byte) >>> 0;
    const low = lo * 0x1b3;
    this.hi = (this.hi * 0x1b3 + Math.floor(low / TWO_32) + ((lo << 8) >>> 0)) >>> 0;
    this.lo = low >>> 0;
  }
}

/** The upper 32 bits of the product of two numbers of 32 bits. */
function upperHalf(a: number, b: number): number {
  const ah = a >>> 16;
  const al = a & 0xffff;
  const bh = b >>> 16;
  const bl = b & 0xffff;
  const t = ah * bl + ((al * bl) >>> 16);
  return ah * bh + (t >>> 16) + ((al * bh + (t & 0xffff)) >>> 16);
}
