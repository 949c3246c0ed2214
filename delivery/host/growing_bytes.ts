/**
 * Bytes that are written one after the other and then sent away as a whole.
 *
 * @module
 */

const SIZE_MIN = 4096;
/** A buffer that one large message has made larger than this is let go with it. */
const KEPT_SIZE_MAX = 1 << 20;

/** A buffer that grows. */
export class GrowingBytes {
  /** What has been written, up to {@linkcode size}. It may be another array after {@linkcode reserve}. */
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(SIZE_MIN);
  /** Bytes written. */
  size = 0;

  /** Makes room for `size` more bytes behind those that are written, and returns where they begin. */
  reserve(size: number): number {
    const needed = this.size + size;
    if (needed > this.bytes.byteLength) {
      const grown = new Uint8Array(Math.max(needed, this.bytes.byteLength * 2));
      grown.set(this.bytes.subarray(0, this.size));
      this.bytes = grown;
    }
    return this.size;
  }

  /** A copy of what has been written from `start`, in a buffer of its own. */
  copyFrom(start: number): ArrayBuffer {
    return this.bytes.buffer.slice(start, this.size);
  }

  /** As {@linkcode copyFrom}, of everything, which is forgotten here. */
  take(): ArrayBuffer {
    const taken = this.copyFrom(0);
    this.size = 0;
    if (this.bytes.byteLength > KEPT_SIZE_MAX) this.bytes = new Uint8Array(SIZE_MIN);
    return taken;
  }

  /** Writes bytes behind the others. */
  append(bytes: Uint8Array): void {
    const start = this.reserve(bytes.byteLength);
    this.bytes.set(bytes, start);
    this.size = start + bytes.byteLength;
  }
}
