/**
 * Replacing a file so that a crash leaves the old one or the new one, never a mixture.
 *
 * The new bytes go to a temporary name in the directory of the final one, and then:
 *
 * 1. sync the temporary file: its name must not come to stand for bytes that are not there yet
 * 2. rename it onto the final name: the one step that readers can see
 * 3. sync the directory: until then a power cut may bring the old name back
 *
 * A crash before step 2 leaves a temporary file behind. {@linkcode isStagedName} recognises it, and
 * whoever holds the lock of the directory may remove it.
 *
 * Built on the other operations of {@linkcode StoreFs}, so every adapter can use it and every fault an
 * adapter injects reaches it.
 *
 * @module
 */
import { dirname } from "node:path";
import { IoFault, type StagedFile, type StoreFile, type StoreFs } from "./fs.ts";

/** How every temporary name begins. */
const STAGED_NAME_PREFIX = ".stage-";
const STAGED_NAME = /^\.stage-\d+$/;

/** Says whether `name`, the last component of a path, belongs to a {@linkcode StagedFile}. */
export function isStagedName(name: string): boolean {
  return STAGED_NAME.test(name);
}

/**
 * Calls `create` with one temporary path after the other until it does not fail with `EEXIST`. Always
 * counts from 0, so that the names depend on the directory and on nothing else.
 *
 * @returns the path that was free, and what `create` made of it
 */
export function createStaged<T>(dir: string, create: (path: string) => T): [string, T] {
  for (let n = 0;; n++) {
    const path = `${dir}/${STAGED_NAME_PREFIX}${n}`;
    try {
      return [path, create(path)];
    } catch (error) {
      if (!(error instanceof IoFault && error.code === "EEXIST")) throw error;
    }
  }
}

/** A {@linkcode StagedFile} made of the operations of any {@linkcode StoreFs}. */
export class TemporaryFile implements StagedFile {
  readonly #fs: StoreFs;
  readonly #path: string;
  readonly #file: StoreFile;
  #size = 0;
  #done = false;

  /** Creates the temporary file in `dir`, which must exist. */
  constructor(fs: StoreFs, dir: string) {
    this.#fs = fs;
    [this.#path, this.#file] = createStaged(dir, (path) => fs.open(path, "createNew"));
  }

  /** Adds bytes at the end. After an error the temporary file is gone. */
  append(source: Uint8Array): void {
    try {
      this.#file.writeAt(source, 0, source.byteLength, this.#size);
    } catch (error) {
      this.#abandon();
      throw error;
    }
    this.#size += source.byteLength;
  }

  /**
   * Syncs, renames, syncs the directory. When only the last step fails, the new file is in place and
   * complete, but a power cut may bring the old one back.
   */
  publish(path: string): void {
    if (this.#done) {
      throw new IoFault({ code: "EBADF", op: "publish", path, message: "the stage is over" });
    }
    try {
      this.#file.sync("all");
      this.#file.close();
      this.#fs.rejectSymlink(path, "publish");
      this.#fs.rename(this.#path, path);
    } catch (error) {
      this.#abandon();
      throw error;
    }
    this.#done = true;
    this.#fs.syncDir(dirname(path));
  }

  /** Removes the temporary file; does nothing after `publish` or a second call. */
  discard(): void {
    if (this.#done) return;
    this.#done = true;
    this.#file.close();
    this.#fs.removeIfPresent(this.#path);
  }

  /** Discards on the way out of another failure, which is the one worth reporting. */
  #abandon(): void {
    try {
      this.discard();
    } catch {
      // The leftover has a temporary name, so nobody will take it for data.
    }
  }
}

/** Replaces the file at `path` with `bytes`: stage, append, publish. */
export function publishBytes(fs: StoreFs, path: string, bytes: Uint8Array): void {
  const staged = fs.stage(dirname(path));
  staged.append(bytes);
  staged.publish(path);
}
