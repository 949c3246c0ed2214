/**
 * A file system that passes every call on, so that a test can look at calls, spoil them, or die.
 *
 * @module
 */
import type {
  ClonePreference,
  CloneStrategy,
  DirEntry,
  FileInfo,
  FileLock,
  OpenMode,
  StagedFile,
  StoreFile,
  StoreFs,
  SyncMode,
} from "../../platform/fs.ts";
import { IoFault } from "../../platform/fs.ts";
import { publishBytes, TemporaryFile } from "../../platform/staged_file.ts";

/** Passes every call on to `inner`. Stages are made of the calls of this object, so they can be seen. */
export class WrappedFs implements StoreFs {
  readonly name = "wrapped";
  readonly inner: StoreFs;

  constructor(inner: StoreFs) {
    this.inner = inner;
  }

  /**
   * Called before every operation that changes something, with what is about to happen. `partial` is
   * there for a write: it lets through that many bytes and no more.
   */
  protected before(_op: string, _path: string, _partial?: (size: number) => void): void {}

  /** Called before every read of bytes; says how many of `size` may be read at once. */
  protected beforeRead(_path: string, size: number): number {
    return size;
  }

  canonicalize(path: string): string {
    return this.inner.canonicalize(path);
  }
  createDirAll(path: string): void {
    this.before("createDirAll", path);
    this.inner.createDirAll(path);
  }
  list(path: string): DirEntry[] {
    return this.inner.list(path);
  }
  stat(path: string): FileInfo | undefined {
    return this.inner.stat(path);
  }
  rejectSymlink(path: string, purpose: string): void {
    this.inner.rejectSymlink(path, purpose);
  }
  open(path: string, mode: OpenMode): StoreFile {
    if (mode === "createNew") this.before("create", path);
    return new WrappedFile(
      this.inner.open(path, mode),
      (op, partial) => this.before(op, path, partial),
      (size) => this.beforeRead(path, size),
    );
  }
  readFile(path: string, sizeMax: number): Uint8Array {
    return this.inner.readFile(path, sizeMax);
  }
  stage(dir: string): StagedFile {
    return new TemporaryFile(this, dir);
  }
  publish(path: string, bytes: Uint8Array): void {
    publishBytes(this, path, bytes);
  }
  rename(source: string, target: string): void {
    this.before("rename", target);
    this.inner.rename(source, target);
  }
  remove(path: string): void {
    this.before("remove", path);
    this.inner.remove(path);
  }
  removeIfPresent(path: string): boolean {
    this.before("remove", path);
    return this.inner.removeIfPresent(path);
  }
  removeDirAll(path: string): void {
    this.before("removeDirAll", path);
    this.inner.removeDirAll(path);
  }
  syncDir(path: string): void {
    this.before("syncDir", path);
    this.inner.syncDir(path);
  }
  copy(source: string, target: string): number {
    this.before("copy", target);
    return this.inner.copy(source, target);
  }
  link(source: string, target: string): void {
    this.before("link", target);
    this.inner.link(source, target);
  }
  clone(source: string, target: string, preference: ClonePreference): CloneStrategy {
    this.before("clone", target);
    return this.inner.clone(source, target, preference);
  }
  tryLock(path: string): FileLock | undefined {
    return this.inner.tryLock(path);
  }
}

/** Passes every call on to `inner`. */
class WrappedFile implements StoreFile {
  readonly path: string;
  readonly #inner: StoreFile;
  readonly #before: (op: string, partial?: (size: number) => void) => void;
  readonly #beforeRead: (size: number) => number;

  constructor(
    inner: StoreFile,
    before: (op: string, partial?: (size: number) => void) => void,
    beforeRead: (size: number) => number,
  ) {
    this.path = inner.path;
    this.#inner = inner;
    this.#before = before;
    this.#beforeRead = beforeRead;
  }

  readAt(target: Uint8Array, targetStart: number, size: number, position: number): number {
    return this.#inner.readAt(target, targetStart, this.#beforeRead(size), position);
  }
  writeAt(source: Uint8Array, sourceStart: number, size: number, position: number): void {
    this.#before("writeAt", (count) => {
      this.#inner.writeAt(source, sourceStart, Math.min(count, size), position);
    });
    this.#inner.writeAt(source, sourceStart, size, position);
  }
  append(source: Uint8Array): void {
    this.writeAt(source, 0, source.byteLength, this.#inner.size());
  }
  sync(mode: SyncMode): void {
    this.#before("sync");
    this.#inner.sync(mode);
  }
  size(): number {
    return this.#inner.size();
  }
  resize(size: number): void {
    this.#before("resize");
    this.#inner.resize(size);
  }
  close(): void {
    this.#inner.close();
  }
}

/** Writes down every change, in order. */
export class RecordingFs extends WrappedFs {
  /** `"operation path"`, oldest first. */
  readonly changes: string[] = [];

  protected override before(op: string, path: string): void {
    this.changes.push(`${op} ${path}`);
  }
}

/**
 * A process that dies: after `changeCount` changes nothing has any effect any more, and everything
 * throws. A write that is cut off by it leaves its first half. Look at what is left in `inner`.
 */
export class DyingFs extends WrappedFs {
  /** Whether it has died. */
  dead = false;
  #left: number;

  constructor(inner: StoreFs, changeCount: number) {
    super(inner);
    this.#left = changeCount;
  }

  protected override before(op: string, path: string, partial?: (size: number) => void): void {
    if (!this.dead) {
      if (this.#left-- > 0) return;
      this.dead = true;
      partial?.(37);
    }
    throw new IoFault({ code: "EIO", op, path, message: "the process is dead" });
  }
}

/** Reads that return fewer bytes than asked for, now and then as few as one. */
export class ShortReadFs extends WrappedFs {
  readonly #next: () => number;

  /** `next` says how many bytes the next read may give; at least 1 is given. */
  constructor(inner: StoreFs, next: () => number) {
    super(inner);
    this.#next = next;
  }

  protected override beforeRead(_path: string, size: number): number {
    return Math.max(1, Math.min(size, this.#next()));
  }
}
