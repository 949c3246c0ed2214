/**
 * {@linkcode StoreFs} on `node:fs`: everything Deno and Bun have in common, which is all but locks and
 * reflinks.
 *
 * The two disagree in places, and the callers must not notice:
 *
 * | What                         | Deno 2.9             | Bun 1.4      | Here                         |
 * | ---------------------------- | -------------------- | ------------ | ---------------------------- |
 * | `unlink` an empty directory  | removes it           | `EISDIR`     | looks first, refuses         |
 * | copy a file onto itself      | `EINVAL`             | works        | changes nothing              |
 * | reflink that cannot be       | copies, says nothing | `ENOTSUP`    | only Bun may try             |
 * | order of a directory listing | as the system has it | likewise     | sorted                       |
 * | error without a permission   | has no code          | –            | `EACCES`                     |
 *
 * No file is opened through a symbolic link in the last component: `O_NOFOLLOW` where the system has
 * it, a look beforehand on Windows. Windows cannot sync a directory either; there `syncDir` trusts
 * the file system's own journal.
 *
 * Nothing but the given paths is touched, so under Deno read and write permission for the directory
 * is all it takes.
 *
 * @module
 */
import { closeSync, constants, fstatSync, fsyncSync, linkSync, lstatSync } from "node:fs";
import {
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmdirSync,
  type Stats,
  unlinkSync,
} from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import {
  type ClonePreference,
  type CloneStrategy,
  type DirEntry,
  type FileInfo,
  type FileKind,
  type FileLock,
  IoFault,
  type OpenMode,
  type StagedFile,
  type StoreFile,
  type StoreFs,
} from "./fs.ts";
import { faultFrom, NodeFile } from "./node_file.ts";
import { createStaged, publishBytes, TemporaryFile } from "./staged_file.ts";

const WINDOWS = process.platform === "win32";
const NO_FOLLOW: number = WINDOWS ? 0 : constants.O_NOFOLLOW;
const DIRECTORY: number = WINDOWS ? 0 : constants.O_DIRECTORY;

const OPEN_FLAGS: Record<OpenMode, number> = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR,
  createNew: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
};
const LOCK_FLAGS: number = constants.O_RDWR | constants.O_CREAT;
/** What a new file may be used for, before the umask has its say. */
const CREATE_MODE = 0o666;

/** Copies go through a buffer of at most this many bytes. */
const COPY_BUFFER_SIZE_MAX = 1024 * 1024;

/** From cheap to certain; `clone` starts at the preference and walks down. */
const CLONE_LADDER: readonly CloneStrategy[] = ["reflink", "hardlink", "copy"];

/** A lock file that is replaced while we take the lock is tried again this often. */
const LOCK_ATTEMPT_COUNT_MAX = 8;

/** The part of a directory entry or of a stat result that says what it is. */
interface Kinded {
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

/** The common part of the adapters; a runtime adds its lock, and a reflink if it has an honest one. */
export abstract class NodeFs implements StoreFs {
  /** Which adapter this is. */
  abstract readonly name: string;

  /**
   * Takes an exclusive advisory lock that any process can see on the open file `fd`, without waiting.
   *
   * @param fd stays open for as long as the lock is held, and belongs to the caller
   * @returns what releases the lock, or `undefined` when somebody else has it
   */
  protected abstract lockDescriptor(path: string, fd: number): (() => void) | undefined;

  /**
   * Makes `target`, which does not exist, share the blocks of `source`. Returns only when it does; a
   * runtime that cannot tell must leave this as it is.
   */
  protected reflink(source: string, target: string): void {
    const message = `no reflink from "${source}" on this runtime`;
    throw new IoFault({ code: "ENOTSUP", op: "clone", path: target, message });
  }

  /** The absolute path with links resolved. */
  canonicalize(path: string): string {
    try {
      return realpathSync(path);
    } catch (error) {
      throw faultFrom(error, "canonicalize", path);
    }
  }

  /** Makes a directory and its parents. `EEXIST` or `ENOTDIR` when a file is in the way. */
  createDirAll(path: string): void {
    const missing: string[] = [];
    let top = path;
    try {
      while (statLink(top, "createDirAll") === undefined) {
        missing.push(top);
        const parent = dirname(top);
        if (parent === top || !this.mayRead(parent)) break;
        top = parent;
      }
      if (missing.length === 0) this.makeDirs(path);
      // Whoever made an empty one may have been stopped before its name was durable.
      if (isEmptyDirectory(top)) this.#syncAbove(top);
      // One after the other: what is in a directory shows that the directory's own name is durable.
      for (const directory of missing.reverse()) {
        this.makeDirs(directory);
        this.#syncAbove(directory);
      }
    } catch (error) {
      throw error instanceof IoFault ? error : faultFrom(error, "createDirAll", path);
    }
  }

  #syncAbove(directory: string): void {
    const parent = dirname(directory);
    if (parent === directory || !this.mayRead(parent)) return;
    try {
      this.syncDir(parent);
    } catch (error) {
      // A directory that may be written and not read: whoever made it so knows why.
      if (!(error instanceof IoFault && (error.code === "EACCES" || error.code === "EPERM"))) {
        throw error;
      }
    }
  }

  /** Makes a directory and its parents. */
  protected makeDirs(path: string): void {
    mkdirSync(path, { recursive: true });
  }

  /** Whether a path may be read without asking anybody. */
  protected mayRead(_path: string): boolean {
    return true;
  }

  /** The names in a directory, sorted by code unit. */
  list(path: string): DirEntry[] {
    try {
      return readdirSync(path, { withFileTypes: true })
        .map((entry) => ({ name: entry.name, kind: kindOf(entry) }))
        .sort((a, b) => (a.name < b.name ? -1 : 1));
    } catch (error) {
      throw faultFrom(error, "list", path);
    }
  }

  /** Size and kind, links not followed. */
  stat(path: string): FileInfo | undefined {
    const stats = statLink(path, "stat");
    return stats && { size: stats.size, kind: kindOf(stats) };
  }

  /** Throws `ELOOP` when the last component is a symbolic link. */
  rejectSymlink(path: string, purpose: string): void {
    if (!statLink(path, "rejectSymlink")?.isSymbolicLink()) return;
    const message = `${purpose} must not go through a symbolic link`;
    throw new IoFault({ code: "ELOOP", op: "rejectSymlink", path, message });
  }

  /** Opens a file. */
  open(path: string, mode: OpenMode): StoreFile {
    return openFile(path, OPEN_FLAGS[mode], "open");
  }

  /** A whole file of at most `sizeMax` bytes. */
  readFile(path: string, sizeMax: number): Uint8Array {
    const file = openFile(path, constants.O_RDONLY, "readFile");
    try {
      const size = file.size();
      if (size > sizeMax) {
        const message = `${size} bytes, at most ${sizeMax} expected`;
        throw new IoFault({ code: "EFBIG", op: "readFile", path, message });
      }
      const bytes = new Uint8Array(size);
      const count = readFully(file, bytes, size, 0);
      return count === size ? bytes : bytes.subarray(0, count);
    } finally {
      file.close();
    }
  }

  /** A temporary file in `dir`. */
  stage(dir: string): StagedFile {
    return new TemporaryFile(this, dir);
  }

  /** Replaces the file at `path` with `bytes`, atomically and durably. */
  publish(path: string, bytes: Uint8Array): void {
    publishBytes(this, path, bytes);
  }

  /** Renames; replaces a file at `target`. */
  rename(source: string, target: string): void {
    try {
      renameSync(source, target);
    } catch (error) {
      throw faultFrom(error, "rename", target);
    }
  }

  /** Removes a file or a link, never a directory. */
  remove(path: string): void {
    // Deno's unlink would remove an empty directory, so look first.
    if (statLink(path, "remove")?.isDirectory()) {
      throw new IoFault({ code: "EISDIR", op: "remove", path });
    }
    try {
      unlinkSync(path);
    } catch (error) {
      throw faultFrom(error, "remove", path);
    }
  }

  /** Removes a file if it is there; says whether it was. */
  removeIfPresent(path: string): boolean {
    try {
      this.remove(path);
      return true;
    } catch (error) {
      if (error instanceof IoFault && error.code === "ENOENT") return false;
      throw error;
    }
  }

  /** Removes a directory and everything in it. `ENOTDIR` on a file, `ELOOP` on a link. */
  removeDirAll(path: string): void {
    const stats = statLink(path, "removeDirAll");
    if (stats === undefined) return;
    if (!stats.isDirectory()) {
      const code = stats.isSymbolicLink() ? "ELOOP" : "ENOTDIR";
      throw new IoFault({ code, op: "removeDirAll", path });
    }
    for (const { name, kind } of this.list(path)) {
      const child = join(path, name);
      if (kind === "dir") this.removeDirAll(child);
      else this.remove(child);
    }
    try {
      rmdirSync(path);
    } catch (error) {
      throw faultFrom(error, "removeDirAll", path);
    }
  }

  /** Makes the names in a directory durable. On Windows this does nothing: see the top of the file. */
  syncDir(path: string): void {
    if (WINDOWS) return;
    const fd = openDescriptor(path, constants.O_RDONLY | DIRECTORY, "syncDir");
    try {
      fsyncSync(fd);
    } catch (error) {
      throw faultFrom(error, "syncDir", path);
    } finally {
      closeSync(fd);
    }
  }

  /** Copies bytes, by way of a temporary file: `target` is never half a copy. Nothing is synced. */
  copy(source: string, target: string): number {
    const size = checkCopy("copy", source, target);
    if (source === target) return size;
    const [staged, copied] = copyToStaged(source, dirname(target));
    this.#replace(staged, target);
    return copied;
  }

  /** Gives a file a second name. */
  link(source: string, target: string): void {
    checkSource("link", source);
    link(source, target, "link");
  }

  /** Copies by the cheapest means that works, by way of a temporary name, and says which it was. */
  clone(source: string, target: string, preference: ClonePreference): CloneStrategy {
    checkCopy("clone", source, target);
    if (source === target) return "hardlink";
    const dir = dirname(target);
    let failure: unknown;
    for (const strategy of CLONE_LADDER.slice(CLONE_LADDER.indexOf(preference))) {
      // Linked already. To link once more and rename would do nothing, and leave the temporary name.
      if (strategy === "hardlink" && isSameFile(source, target)) return strategy;
      let staged: string;
      try {
        staged = this.#cloneToStaged(source, dir, strategy);
      } catch (error) {
        failure = error;
        continue;
      }
      this.#replace(staged, target);
      return strategy;
    }
    throw failure;
  }

  /** Takes an exclusive advisory lock, creating the file when it is absent. */
  tryLock(path: string): FileLock | undefined {
    for (let attempt = 0; attempt < LOCK_ATTEMPT_COUNT_MAX; attempt++) {
      const fd = openDescriptor(path, LOCK_FLAGS, "tryLock");
      let unlock: (() => void) | undefined;
      try {
        unlock = this.lockDescriptor(path, fd);
        if (unlock === undefined) {
          closeSync(fd);
          return undefined;
        }
        // Between opening and locking, the file may have been removed and made again. Then our lock
        // is on a file that nobody else will ever find.
        if (isFileAt(path, fd)) return new NodeLock(path, fd, unlock);
        unlock();
      } catch (error) {
        unlock?.();
        closeSync(fd);
        throw faultFrom(error, "tryLock", path);
      }
      closeSync(fd);
    }
    throw new IoFault({ code: "EBUSY", op: "tryLock", path, message: "it keeps being replaced" });
  }

  #cloneToStaged(source: string, dir: string, strategy: CloneStrategy): string {
    switch (strategy) {
      case "reflink":
        return createStaged(dir, (staged) => this.#reflinkNew(source, staged))[0];
      case "hardlink":
        return createStaged(dir, (staged) => link(source, staged, "clone"))[0];
      case "copy":
        return copyToStaged(source, dir)[0];
    }
  }

  #reflinkNew(source: string, staged: string): void {
    try {
      this.reflink(source, staged);
    } catch (error) {
      const fault = faultFrom(error, "clone", staged);
      // With EEXIST the name was somebody else's; after any other failure it is our debris.
      if (!(fault instanceof IoFault && fault.code === "EEXIST")) this.removeIfPresent(staged);
      throw fault;
    }
  }

  #replace(staged: string, target: string): void {
    try {
      this.rename(staged, target);
    } catch (error) {
      // Only after a failure: once the rename is done, the name may be somebody else's stage.
      this.removeIfPresent(staged);
      throw error;
    }
  }
}

/** A lock as a descriptor that is held open; when it is closed, by us or by our death, it is free. */
class NodeLock implements FileLock {
  readonly path: string;
  readonly #fd: number;
  readonly #unlock: () => void;
  #released = false;

  constructor(path: string, fd: number, unlock: () => void) {
    this.path = path;
    this.#fd = fd;
    this.#unlock = unlock;
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    try {
      this.#unlock();
    } finally {
      closeSync(this.#fd);
    }
  }
}

function kindOf(entry: Kinded): FileKind {
  if (entry.isFile()) return "file";
  if (entry.isDirectory()) return "dir";
  return entry.isSymbolicLink() ? "symlink" : "other";
}

/** Whether there is a directory with nothing in it. One that may not be listed is not ours. */
function isEmptyDirectory(path: string): boolean {
  if (!statLink(path, "createDirAll")?.isDirectory()) return false;
  try {
    return readdirSync(path).length === 0;
  } catch {
    return false;
  }
}

function statLink(path: string, op: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    throw faultFrom(error, op, path);
  }
}

function openDescriptor(path: string, flags: number, op: string): number {
  if (WINDOWS && statLink(path, op)?.isSymbolicLink()) {
    throw new IoFault({ code: "ELOOP", op, path });
  }
  // A directory may be reached through a link; what is in it may not be one.
  const noFollow = (flags & DIRECTORY) === 0 ? NO_FOLLOW : 0;
  try {
    return openSync(path, flags | noFollow, CREATE_MODE);
  } catch (error) {
    throw faultFrom(error, op, path);
  }
}

function openFile(path: string, flags: number, op: string): NodeFile {
  const fd = openDescriptor(path, flags, op);
  // The system refuses to open a directory for writing. For reading it does not.
  if (flags === constants.O_RDONLY && fstatSync(fd).isDirectory()) {
    closeSync(fd);
    throw new IoFault({ code: "EISDIR", op, path });
  }
  return new NodeFile(path, fd);
}

/** Reads until `size` bytes are there or the file ends; returns how many there were. */
function readFully(file: StoreFile, target: Uint8Array, size: number, position: number): number {
  let count = 0;
  while (count < size) {
    const got = file.readAt(target, count, size - count, position + count);
    if (got === 0) break;
    count += got;
  }
  return count;
}

/** Checks the source of a copy or link, and returns its size. */
function checkSource(op: string, source: string): number {
  const stats = statLink(source, op);
  if (stats === undefined) throw new IoFault({ code: "ENOENT", op, path: source });
  if (stats.isFile()) return stats.size;
  const message = `a ${kindOf(stats)} is not a regular file`;
  throw new IoFault({ code: "EINVAL", op, path: source, message });
}

/** Checks both ends of a copy, and returns the size of the source. */
function checkCopy(op: string, source: string, target: string): number {
  const size = checkSource(op, source);
  const there = statLink(target, op);
  if (there?.isDirectory()) throw new IoFault({ code: "EISDIR", op, path: target });
  if (there?.isSymbolicLink()) throw new IoFault({ code: "ELOOP", op, path: target });
  return size;
}

function copyToStaged(source: string, dir: string): [path: string, size: number] {
  const input = openFile(source, OPEN_FLAGS.read, "copy");
  try {
    const [path, output] = createStaged(
      dir,
      (path) => openFile(path, OPEN_FLAGS.createNew, "copy"),
    );
    try {
      const buffer = new Uint8Array(Math.min(Math.max(input.size(), 1), COPY_BUFFER_SIZE_MAX));
      let size = 0;
      for (;;) {
        const count = readFully(input, buffer, buffer.byteLength, size);
        output.writeAt(buffer, 0, count, size);
        size += count;
        if (count < buffer.byteLength) return [path, size];
      }
    } catch (error) {
      unlinkSync(path);
      throw error;
    } finally {
      output.close();
    }
  } finally {
    input.close();
  }
}

function link(source: string, target: string, op: string): void {
  try {
    linkSync(source, target);
  } catch (error) {
    throw faultFrom(error, op, target);
  }
}

/** Whether two paths are names of one file. */
function isSameFile(one: string, two: string): boolean {
  const [first, second] = [statLink(one, "clone"), statLink(two, "clone")];
  // 0 is how a system says that it does not number its files.
  return !!first?.ino && first.dev === second?.dev && first.ino === second.ino;
}

/** Whether `path` still names the file that `fd` has open. */
function isFileAt(path: string, fd: number): boolean {
  const named = lstatSync(path, { throwIfNoEntry: false });
  if (named === undefined) return false;
  const opened = fstatSync(fd);
  return named.dev === opened.dev && named.ino === opened.ino;
}
