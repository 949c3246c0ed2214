/**
 * The runtime's files, except that frames are not written: what an append costs without its system
 * call. A journal on it cannot be read back.
 *
 * @module
 */
import type { OpenMode, StoreFile, StoreFs, SyncMode } from "../../platform/fs.ts";

/** `fs`, with files whose positional writes and syncs do nothing. */
export function silentFs(fs: StoreFs): StoreFs {
  return new Proxy(fs, {
    get(target, property) {
      if (property === "open") {
        return (path: string, mode: OpenMode) => new SilentFile(target.open(path, mode));
      }
      const value: unknown = Reflect.get(target, property);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** A real class, so that the calls of the hot path cost what they cost with a real file. */
class SilentFile implements StoreFile {
  readonly #file: StoreFile;

  constructor(file: StoreFile) {
    this.#file = file;
  }

  get path(): string {
    return this.#file.path;
  }

  readAt(target: Uint8Array, targetStart: number, size: number, position: number): number {
    return this.#file.readAt(target, targetStart, size, position);
  }

  writeAt(_source: Uint8Array, _sourceStart: number, _size: number, _position: number): void {}

  append(source: Uint8Array): void {
    this.#file.append(source);
  }

  sync(_mode: SyncMode): void {}

  size(): number {
    return this.#file.size();
  }

  resize(size: number): void {
    this.#file.resize(size);
  }

  close(): void {
    this.#file.close();
  }
}
