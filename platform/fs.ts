/**
 * Files, as the store needs them: positional, synchronous, and honest about durability.
 *
 * The store never names a runtime. It is handed a {@linkcode StoreFs} and relies on exactly what is
 * written here; `contract.ts` holds every adapter to the same list of obligations. Mechanics only:
 * what a sync *means* for an event is decided in `store/`.
 *
 * Two truths are kept apart on purpose. The bytes of a file are durable after
 * {@linkcode StoreFile.sync}; its *name* is durable after {@linkcode StoreFs.syncDir} on the directory
 * that holds it. {@linkcode StoreFs.publish} does both, in the order that leaves either the old complete
 * file or the new complete file, whatever happens in between.
 *
 * Every failure is an {@linkcode IoFault}: callers match on its `code`, never on a class or a message.
 *
 * @module
 */

/** What a sync has to cover: `"all"` is fsync, `"data"` is fdatasync. */
export type SyncMode = "all" | "data";

/** What a directory entry is, with symbolic links reported as themselves. */
export type FileKind = "file" | "dir" | "symlink" | "other";

/** One name in a directory. */
export interface DirEntry {
  /** The last component of the path. */
  readonly name: string;
  /** What it is; links are not followed. */
  readonly kind: FileKind;
}

/** Size and kind of a path. */
export interface FileInfo {
  /** Bytes. */
  readonly size: number;
  /** What it is. */
  readonly kind: FileKind;
}

/**
 * How {@linkcode StoreFs.open} opens. `"read"` and `"write"` need an existing file (`ENOENT`
 * otherwise); `"write"` also reads; `"createNew"` makes an empty one, also reads, and fails with
 * `EEXIST` when the name is taken. No mode follows a symbolic link in the last component (`ELOOP`).
 */
export type OpenMode = "read" | "write" | "createNew";

/** How {@linkcode StoreFs.clone} made the copy. */
export type CloneStrategy = "reflink" | "hardlink" | "copy";

/** Where {@linkcode StoreFs.clone} starts on the ladder reflink, hard link, copy. */
export type ClonePreference = "reflink" | "hardlink" | "copy";

/** An open file. All positions and sizes are bytes; no call depends on, or moves, a shared cursor. */
export interface StoreFile {
  /** The path it was opened with. */
  readonly path: string;
  /**
   * Reads up to `size` bytes at `position` into `target` from `targetStart`. May return fewer; 0 means
   * end of file.
   */
  readAt(target: Uint8Array, targetStart: number, size: number, position: number): number;
  /**
   * Writes `size` bytes of `source` from `sourceStart` at `position`, all of them or it throws. After a
   * throw any prefix may have reached the file: the caller truncates or gives up.
   */
  writeAt(source: Uint8Array, sourceStart: number, size: number, position: number): void;
  /** Writes all of `source` at the current end of the file. Same failure rule as `writeAt`. */
  append(source: Uint8Array): void;
  /** Makes the bytes written so far durable. The name is a separate matter. */
  sync(mode: SyncMode): void;
  /** The size of the file now. */
  size(): number;
  /** Cuts the file, or extends it with zeros. */
  resize(size: number): void;
  /** Releases the handle; a second call does nothing. */
  close(): void;
}

/** A file being prepared under a temporary name beside its final one. */
export interface StagedFile {
  /** Adds bytes. */
  append(source: Uint8Array): void;
  /**
   * Syncs the bytes, renames onto `path` (replacing a file there), syncs the directory. On an error
   * before the rename the old file at `path`, or its absence, is intact and the temporary name is gone.
   * When only the last step fails, the new file is in place and complete, but a power cut may bring
   * the old one back.
   */
  publish(path: string): void;
  /** Removes the temporary file; does nothing after `publish` or a second call. */
  discard(): void;
}

/** An exclusive advisory lock. The kernel releases it when the process dies. */
export interface FileLock {
  /** The lock file. It stays when the lock goes. */
  readonly path: string;
  /** Releases the lock; a second call does nothing. */
  release(): void;
}

/** A file system. One adapter per runtime, one in memory, and the simulator's. */
export interface StoreFs {
  /** Which adapter this is, for reports: `"deno"`, `"bun"`, `"memory"`, … */
  readonly name: string;

  /** The absolute path with links resolved. `ENOENT` when it does not exist. */
  canonicalize(path: string): string;
  /**
   * Makes a directory and its parents, and their names durable in every directory above that the
   * process may read. Fine when it is there, an error when a file is in the way. A directory that is there
   * and empty counts as new: whoever made it may have been stopped before its name was durable.
   */
  createDirAll(path: string): void;
  /** The names in a directory, sorted by code unit. `ENOTDIR` on a file, `ENOENT` when absent. */
  list(path: string): DirEntry[];
  /** Size and kind without following a link in the last component, or `undefined` when absent. */
  stat(path: string): FileInfo | undefined;
  /** Throws `ELOOP`, naming `purpose`, when the last component is a symbolic link. */
  rejectSymlink(path: string, purpose: string): void;

  /** Opens a file; see {@linkcode OpenMode}. `EISDIR` for a directory. */
  open(path: string, mode: OpenMode): StoreFile;
  /**
   * A whole file. `EFBIG` when it is larger than `sizeMax`, before anything is allocated; `EISDIR` for
   * a directory; `ENOENT` only when it really is absent.
   */
  readFile(path: string, sizeMax: number): Uint8Array;

  /** A uniquely named temporary file in `dir`, so that the final rename stays on one file system. */
  stage(dir: string): StagedFile;
  /** Replaces the file at `path` with `bytes`, atomically and durably: stage, append, publish. */
  publish(path: string, bytes: Uint8Array): void;
  /**
   * Renames; replaces a file at `target`. Visible at once, durable after `syncDir`. The same path twice
   * keeps the file; a directory at `target` is `EISDIR` and the source stays.
   */
  rename(source: string, target: string): void;
  /** Removes a file. A directory is refused (`EISDIR`), never removed. Durable after `syncDir`. */
  remove(path: string): void;
  /** Removes a file if it is there; says whether it was. Other errors still throw. */
  removeIfPresent(path: string): boolean;
  /** Removes a directory and everything in it; links are removed, not followed. Absent is fine. */
  removeDirAll(path: string): void;
  /** Makes names created, renamed or removed in this directory durable. */
  syncDir(path: string): void;

  /**
   * Copies bytes and returns how many. Refuses a source that is not a regular file (`EINVAL`) and a
   * directory as target (`EISDIR`). The same path twice changes nothing.
   */
  copy(source: string, target: string): number;
  /** Gives a file a second name. `EEXIST` when the name is taken. Only for immutable files. */
  link(source: string, target: string): void;
  /**
   * Copies by the cheapest means that works, from `preference` down the ladder, and says which it
   * really was. Replaces a file at `target`. Hard links share bytes: only for immutable files.
   */
  clone(source: string, target: string, preference: ClonePreference): CloneStrategy;

  /**
   * Takes an exclusive advisory lock on a file, creating it when absent, or returns `undefined` when
   * somebody else holds it: another handle of this process counts. Never follows a link (`ELOOP`).
   */
  tryLock(path: string): FileLock | undefined;
}

/** POSIX-like codes that callers match on. Others pass through as they came. */
export type IoCode =
  | "ENOENT"
  | "EEXIST"
  | "EISDIR"
  | "ENOTDIR"
  | "ENOTEMPTY"
  | "EINVAL"
  | "ENOSPC"
  | "EFBIG"
  | "EIO"
  | "ELOOP"
  | "EMFILE"
  | "EACCES"
  | "EPERM"
  | "EROFS"
  | "EXDEV"
  | "EBADF"
  | "EWOULDBLOCK"
  | (string & Record<never, never>);

/**
 * An operating-system call failed. `code` says how, `op` and `path` where; the runtime's own error is
 * the `cause`. What to do depends on the code: `ENOSPC` free space, `EACCES` and `EPERM` fix
 * permissions, `EIO` distrust the disk.
 */
export class IoFault extends Error {
  /** Always `"IoFault"`. */
  override readonly name = "IoFault";
  /** The POSIX-like code. */
  readonly code: IoCode;
  /** The operation that failed, in the words of {@linkcode StoreFs}. */
  readonly op: string;
  /** The path it worked on. */
  readonly path: string;

  /**
   * Describes one failed operation.
   *
   * @param options `message` overrides the text of the cause
   */
  constructor(
    options: { code: IoCode; op: string; path: string; message?: string; cause?: unknown },
  ) {
    const { code, op, path, cause } = options;
    const reason = options.message ?? (cause instanceof Error ? reasonOf(cause, code) : "");
    super(`Cannot ${VERBS[op] ?? op} "${path}": ${code}${reason ? ` (${reason})` : ""}`, { cause });
    this.code = code;
    this.op = op;
    this.path = path;
  }

  /** Wraps whatever a runtime threw, reading its `code`; an `IoFault` passes through. */
  static from(error: unknown, op: string, path: string): IoFault {
    if (error instanceof IoFault) return error;
    const code = (error as { code?: unknown } | null)?.code;
    return new IoFault({ code: typeof code === "string" ? code : "EIO", op, path, cause: error });
  }
}

/** What an operation does, for people. */
const VERBS: Readonly<Record<string, string>> = {
  canonicalize: "find",
  createDirAll: "make directory",
  readAt: "read",
  readFile: "read",
  rejectSymlink: "use",
  removeDirAll: "remove directory",
  resize: "resize",
  syncDir: "sync directory",
  tryLock: "lock",
  writeAt: "write",
};

/** The runtime's own words, without the code in front and the call behind, which stand there already. */
function reasonOf(cause: Error, code: string): string {
  const text = cause.message.startsWith(`${code}: `)
    ? cause.message.slice(code.length + 2)
    : cause.message;
  return text.replace(/, [a-z]+(?: '.*)?$/, "");
}
