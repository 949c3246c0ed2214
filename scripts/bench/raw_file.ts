/**
 * The floor under every durable append: the same frames, written and synced one by one by a bare loop
 * into a file that already has its size. Nothing is hashed, indexed or answered.
 *
 * @module
 */
import { MemoryFs, Store } from "../../mod.ts";
import type { StoreFile } from "../../platform/fs.ts";
import { runtime } from "../../platform/runtime.ts";
import { entityOf, ORDER_PLACED, orderOf, SCOPE } from "./orders.ts";

/** Frames as the store writes them. */
export interface Frames {
  readonly bytes: Uint8Array;
  /** Where each frame starts, and behind the last one its end. */
  readonly starts: Uint32Array;
}

/** Writes the first `count` orders into a journal in memory, and returns their frames. */
export function framesOf(count: number): Frames {
  const fs = new MemoryFs();
  const store = Store.open("journal", { fs });
  const starts = new Uint32Array(count + 1);
  let path = "";
  for (let n = 0; n < count; n++) {
    const receipt = store.append({ entity: entityOf(n), scope: SCOPE }, ORDER_PLACED, orderOf(n));
    const { segmentId, offset, size } = receipt.position;
    starts[n] = offset;
    starts[n + 1] = offset + size;
    path = `${store.dir}/${String(segmentId).padStart(6, "0")}.fbat`;
  }
  store.close();
  return { bytes: fs.readFile(path, 2 ** 31), starts };
}

/** The bare loop. */
export class RawFile {
  readonly #file: StoreFile;
  readonly #frames: Frames;
  #next = 0;
  #end = 0;

  /** Makes the file at `path` with room for `count` frames, which are taken from `frames` in turn. */
  constructor(path: string, frames: Frames, count: number) {
    this.#frames = frames;
    this.#file = runtime.fs.open(path, "createNew");
    const { starts } = frames;
    const frameCount = starts.length - 1;
    const meanSize = (starts[frameCount] - starts[0]) / frameCount;
    this.#file.resize(Math.ceil(meanSize * (count + frameCount)));
    this.#file.sync("all");
  }

  /** Writes the next `count` frames with one call and syncs them, with fdatasync. */
  append(count = 1): void {
    const { bytes, starts } = this.#frames;
    const frameCount = starts.length - 1;
    // Near the end of those there are, it begins again with the first.
    if (this.#next + count > frameCount) this.#next = 0;
    const start = starts[this.#next];
    const size = starts[this.#next + count] - start;
    this.#file.writeAt(bytes, start, size, this.#end);
    this.#file.sync("data");
    this.#end += size;
    this.#next = (this.#next + count) % frameCount;
  }

  /** Where the frames end. */
  get end(): number {
    return this.#end;
  }

  /** Lets go of the file. */
  close(): void {
    this.#file.close();
  }
}
