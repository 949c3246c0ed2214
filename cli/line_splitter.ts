/**
 * Lines out of chunks of bytes. Memory holds one chunk and one unfinished line, however long the input.
 *
 * @module
 */

/** One line, without its end. */
export interface Line {
  /** Counted from 1. */
  readonly number: number;
  /** Its bytes; often a view into the chunk, so to be used before the next one comes. */
  readonly bytes: Uint8Array;
  /** Bytes of the input up to and including this line. */
  readonly inputEnd: number;
}

/** A line is longer than anything it could be. */
export class LineTooLongError extends Error {
  /** The class, for messages and logs. */
  override readonly name = "LineTooLongError";
  /** The line, counted from 1. */
  readonly line: number;

  /** @param line counted from 1; `sizeMax` is the most bytes a line may have. */
  constructor(line: number, sizeMax: number) {
    super(`the line has more than ${sizeMax} bytes`);
    this.line = line;
  }
}

const NEWLINE = 0x0a;

/** Takes chunks, gives lines. */
export class LineSplitter {
  readonly #sizeMax: number;
  /** The beginning of a line, in pieces. */
  #pieces: Uint8Array[] = [];
  #piecesSize = 0;
  #number = 0;
  #inputEnd = 0;

  /** @param sizeMax the most bytes a line may have. */
  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax;
  }

  /**
   * The lines that end in this chunk.
   *
   * @throws {LineTooLongError} when one does not end in time.
   */
  *push(chunk: Uint8Array): IterableIterator<Line> {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      const piece = chunk.subarray(start, end < 0 ? chunk.byteLength : end);
      if (this.#piecesSize + piece.byteLength > this.#sizeMax) {
        throw new LineTooLongError(this.#number + 1, this.#sizeMax);
      }
      if (end < 0) {
        // A copy: whoever made the chunk may use its memory again.
        if (piece.byteLength > 0) this.#keep(piece.slice());
        return;
      }
      yield this.#take(piece, 1);
      start = end + 1;
    }
  }

  /** The last line, when it does not end in a newline. */
  end(): Line | undefined {
    return this.#pieces.length === 0 ? undefined : this.#take(new Uint8Array(0), 0);
  }

  #keep(piece: Uint8Array): void {
    this.#pieces.push(piece);
    this.#piecesSize += piece.byteLength;
  }

  #take(last: Uint8Array, endSize: number): Line {
    let bytes = last;
    if (this.#pieces.length > 0) {
      this.#keep(last);
      bytes = new Uint8Array(this.#piecesSize);
      let offset = 0;
      for (const piece of this.#pieces) {
        bytes.set(piece, offset);
        offset += piece.byteLength;
      }
      this.#pieces = [];
      this.#piecesSize = 0;
    }
    this.#number++;
    this.#inputEnd += bytes.byteLength + endSize;
    return { number: this.#number, bytes, inputEnd: this.#inputEnd };
  }
}
