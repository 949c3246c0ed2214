/**
 * A file system in memory: for tests, for journals that need not outlive the process, and as the
 * plainest statement of what {@linkcode StoreFs} means.
 *
 * Paths are separated by `/` and start at the root, with or without a leading slash. Names and bytes
 * are one truth: what is written is there, and syncs succeed without effect. Behaviour at the edges
 * (removed files stay readable through open handles, a rename between two names of one file does
 * nothing) is that of POSIX, because the store meets it there.
 *
 * Any operation can be told to fail; see {@linkcode MemoryFs.failNext}. To crash, take a
 * {@linkcode MemoryFs.snapshot} and open that.
 *
 * @module
 */
import {
  type ClonePreference,
  type CloneStrategy,
  type DirEntry,
  type FileInfo,
  type FileLock,
  type IoCode,
  IoFault,
  type OpenMode,
  type StagedFile,
  type StoreFile,
  type StoreFs,
  type SyncMode,
} from "./fs.ts";
import { checkOffset } from "./offset.ts";
import { publishBytes, TemporaryFile } from "./staged_file.ts";

/** What can be made to fail. `"append"` is not here: it arrives as `"writeAt"`, a stage's included. */
export type MemoryOp =
  | "canonicalize"
  | "clone"
  | "copy"
  | "createDirAll"
  | "link"
  | "list"
  | "open"
  | "publish"
  | "readAt"
  | "readFile"
  | "rejectSymlink"
  | "remove"
  | "removeDirAll"
  | "rename"
  | "resize"
  | "size"
  | "stage"
  | "stat"
  | "sync"
  | "syncDir"
  | "tryLock"
  | "writeAt";

/** One failure to come; see {@linkcode MemoryFs.failNext}. */
export interface MemoryFault {
  /** Which operation fails. */
  readonly op: MemoryOp;
  /** How it fails. */
  readonly code: IoCode;
  /** Which call fails, counting the matching ones from now on; 1, the default, is the next. */
  readonly nth?: number;
  /** Count only calls whose path contains this. A rename, copy, link or clone goes by its target. */
  readonly path?: string;
  /** For `"writeAt"`: this many bytes reach the file before the failure. Default: 0. */
  readonly after?: number;
}

/** A file's bytes; several names and handles may share them. */
class FileNode {
  readonly kind = "file";
  /** The bytes from `size` on are room to grow, and hold whatever a longer file left there. */
  bytes: Uint8Array = new Uint8Array(0);
  size = 0;
  locked = false;
}

interface DirNode {
  readonly kind: "dir";
  readonly entries: Map<string, Node>;
}

interface LinkNode {
  readonly kind: "symlink";
  readonly target: string;
}

type Node = FileNode | DirNode | LinkNode;

/** Where a path leads: the directory that holds the name, and what the name stands for, if anything. */
interface Place {
  readonly parent: DirNode;
  readonly name: string;
  readonly node: Node | undefined;
  /** The path with all links on the way resolved. */
  readonly path: string;
}

/** As many links as one path may lead through. */
const LINK_COUNT_MAX = 40;
/** The first room a file gets when it is written to. */
const CAPACITY_MIN = 4096;

/** A file system in memory; see the top of the file. */
export class MemoryFs implements StoreFs {
  /** `"memory"`. */
  readonly name = "memory";
  readonly #root: DirNode;
  #faults: { readonly fault: MemoryFault; left: number }[] = [];
  #faultsFired = 0;

  /** Starts empty. */
  constructor() {
    this.#root = newDir();
  }

  /** How many planted faults have fired: a test that plants one should see it here. */
  get faultsFired(): number {
    return this.#faultsFired;
  }

  /**
   * Plants a failure. It fires once, on the `nth` call that matches, and that call has no effect, apart
   * from the bytes that `after` lets through. A failing `sync` loses nothing here, for there is
   * nothing to lose: the store must not rely on it.
   *
   * @example A disk that fills up in the middle of a write
   * ```ts
   * import { MemoryFs } from "@batpak/batpak";
   * import { equal, throws } from "node:assert/strict";
   *
   * const fs = new MemoryFs();
   * const file = fs.open("/log", "createNew");
   * fs.failNext({ op: "writeAt", code: "ENOSPC", after: 2 });
   * throws(() => file.append(new Uint8Array(5)), { code: "ENOSPC" });
   * equal(file.size(), 2);
   * equal(fs.faultsFired, 1);
   * ```
   */
  failNext(fault: MemoryFault): void {
    this.#faults.push({ fault, left: fault.nth ?? 1 });
  }

  /**
   * A copy of everything as it is now, with no locks, no open files and no faults: what the next
   * process would find.
   */
  snapshot(): MemoryFs {
    const copy = new MemoryFs();
    copyEntries(this.#root, copy.#root, new Map());
    return copy;
  }

  /** Makes a symbolic link at `path` that leads to `target`, which need not exist. */
  symlink(target: string, path: string): void {
    const place = this.#find(path, "symlink");
    if (place.node) throw new IoFault({ code: "EEXIST", op: "symlink", path });
    place.parent.entries.set(place.name, { kind: "symlink", target });
  }

  /** The path from the root, with links resolved. */
  canonicalize(path: string): string {
    this.#enter("canonicalize", path);
    const place = this.#find(path, "canonicalize", { follow: true });
    if (!place.node) throw new IoFault({ code: "ENOENT", op: "canonicalize", path });
    return place.path;
  }

  /** Makes a directory and its parents. */
  createDirAll(path: string): void {
    this.#enter("createDirAll", path);
    let prefix = "";
    const names = split(path);
    for (const [index, name] of names.entries()) {
      prefix += `/${name}`;
      const { parent, name: leaf, node } = this.#find(prefix, "createDirAll", { follow: true });
      if (node?.kind === "dir") continue;
      if (node) {
        const code = index === names.length - 1 ? "EEXIST" : "ENOTDIR";
        throw new IoFault({ code, op: "createDirAll", path });
      }
      parent.entries.set(leaf, newDir());
    }
  }

  /** The names in a directory, sorted by code unit. */
  list(path: string): DirEntry[] {
    this.#enter("list", path);
    return [...this.#dir(path, "list").entries]
      .map(([name, { kind }]): DirEntry => ({ name, kind }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Size and kind, links not followed. */
  stat(path: string): FileInfo | undefined {
    this.#enter("stat", path);
    const node = this.#lookUp(path, "stat");
    return node && { size: node.kind === "file" ? node.size : 0, kind: node.kind };
  }

  /** Throws `ELOOP` when the last component is a symbolic link. */
  rejectSymlink(path: string, purpose: string): void {
    this.#enter("rejectSymlink", path);
    if (this.#lookUp(path, "rejectSymlink")?.kind !== "symlink") return;
    const message = `${purpose} must not go through a symbolic link`;
    throw new IoFault({ code: "ELOOP", op: "rejectSymlink", path, message });
  }

  /** Opens a file. */
  open(path: string, mode: OpenMode): StoreFile {
    this.#enter("open", path);
    const node = mode === "createNew" ? this.#create(path, "open") : this.#file(path, "open");
    const enter = (op: MemoryOp, into?: PartialWrite): void => this.#enter(op, path, into);
    return new MemoryFile(path, node, mode !== "read", enter);
  }

  /** A whole file of at most `sizeMax` bytes. */
  readFile(path: string, sizeMax: number): Uint8Array {
    this.#enter("readFile", path);
    const { bytes, size } = this.#file(path, "readFile");
    if (size <= sizeMax) return bytes.slice(0, size);
    const message = `${size} bytes, at most ${sizeMax} expected`;
    throw new IoFault({ code: "EFBIG", op: "readFile", path, message });
  }

  /** A temporary file in `dir`. */
  stage(dir: string): StagedFile {
    this.#enter("stage", dir);
    return new MemoryStagedFile(this, dir, (path) => this.#enter("publish", path));
  }

  /** Replaces the file at `path` with `bytes`. */
  publish(path: string, bytes: Uint8Array): void {
    publishBytes(this, path, bytes);
  }

  /** Renames; replaces a file at `target`. */
  rename(source: string, target: string): void {
    this.#enter("rename", target);
    const from = this.#find(source, "rename");
    const to = this.#find(target, "rename");
    if (!from.node) throw new IoFault({ code: "ENOENT", op: "rename", path: source });
    if (from.node === to.node) return;
    if (to.node?.kind === "dir") throw new IoFault({ code: "EISDIR", op: "rename", path: target });
    if (from.node.kind === "dir" && to.node) {
      throw new IoFault({ code: "ENOTDIR", op: "rename", path: target });
    }
    from.parent.entries.delete(from.name);
    to.parent.entries.set(to.name, from.node);
  }

  /** Removes a file or a link, never a directory. */
  remove(path: string): void {
    this.#enter("remove", path);
    const { parent, name, node } = this.#find(path, "remove");
    if (!node) throw new IoFault({ code: "ENOENT", op: "remove", path });
    if (node.kind === "dir") throw new IoFault({ code: "EISDIR", op: "remove", path });
    parent.entries.delete(name);
  }

  /** Removes a file if it is there; says whether it was. Fails as `"remove"`. */
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
    this.#enter("removeDirAll", path);
    const { parent, name, node } = this.#find(path, "removeDirAll");
    if (!node) return;
    if (node.kind !== "dir") {
      const code = node.kind === "symlink" ? "ELOOP" : "ENOTDIR";
      throw new IoFault({ code, op: "removeDirAll", path });
    }
    parent.entries.delete(name);
  }

  /** Checks that the directory is there; names are durable as it is. */
  syncDir(path: string): void {
    this.#enter("syncDir", path);
    this.#dir(path, "syncDir");
  }

  /** Copies bytes. */
  copy(source: string, target: string): number {
    this.#enter("copy", target);
    const node = this.#copySource(source, target, "copy");
    if (source !== target) this.#replace(target, copyFile(node), "copy");
    return node.size;
  }

  /** Gives a file a second name. */
  link(source: string, target: string): void {
    this.#enter("link", target);
    const node = this.#regular(source, "link");
    const { parent, name, node: taken } = this.#find(target, "link");
    if (taken) throw new IoFault({ code: "EEXIST", op: "link", path: target });
    parent.entries.set(name, node);
  }

  /** Links, or copies when asked to: there are no reflinks here. */
  clone(source: string, target: string, preference: ClonePreference): CloneStrategy {
    this.#enter("clone", target);
    const node = this.#copySource(source, target, "clone");
    if (source === target) return "hardlink";
    const strategy = preference === "copy" ? "copy" : "hardlink";
    this.#replace(target, strategy === "copy" ? copyFile(node) : node, "clone");
    return strategy;
  }

  /** Takes a lock that other handles of this `MemoryFs` respect; its snapshots do not. */
  tryLock(path: string): FileLock | undefined {
    this.#enter("tryLock", path);
    const node = this.#lookUp(path, "tryLock")
      ? this.#file(path, "tryLock")
      : this.#create(path, "tryLock");
    if (node.locked) return undefined;
    node.locked = true;
    let released = false;
    const release = (): void => {
      if (!released) node.locked = false;
      released = true;
    };
    return { path, release };
  }

  /** Every operation passes here first, so that it can fail before it has done anything. */
  #enter(op: MemoryOp, path: string, partial?: PartialWrite): void {
    if (this.#faults.length === 0) return;
    for (const planted of this.#faults) {
      const { fault } = planted;
      if (fault.op !== op || !path.includes(fault.path ?? "")) continue;
      if (--planted.left > 0) continue;
      this.#faults = this.#faults.filter((other) => other !== planted);
      this.#faultsFired++;
      partial?.(fault.after ?? 0);
      throw new IoFault({ code: fault.code, op, path, message: "planted fault" });
    }
  }

  /** Walks to a path. Links on the way are followed; one at the end only when asked to. */
  #find(path: string, op: string, options?: { follow: boolean }): Place {
    let names = split(path);
    let trail: { name: string; dir: DirNode }[] = [{ name: "", dir: this.#root }];
    let linkCount = 0;
    for (let index = 0;; index++) {
      const { dir: parent } = trail[trail.length - 1];
      const at = trail.map(({ name }) => name).join("/");
      if (index >= names.length) {
        return { parent, name: ".", node: parent, path: at || "/" };
      }
      const name = names[index];
      const last = index === names.length - 1;
      if (name === "..") {
        if (trail.length > 1) trail.pop();
        continue;
      }
      const node = parent.entries.get(name);
      if (node?.kind === "symlink" && (!last || options?.follow)) {
        if (++linkCount > LINK_COUNT_MAX) throw new IoFault({ code: "ELOOP", op, path });
        if (node.target.startsWith("/")) trail = trail.slice(0, 1);
        names = [...split(node.target), ...names.slice(index + 1)];
        index = -1;
        continue;
      }
      if (last) return { parent, name, node, path: `${at}/${name}` };
      if (node?.kind !== "dir") {
        throw new IoFault({ code: node ? "ENOTDIR" : "ENOENT", op, path });
      }
      trail.push({ name, dir: node });
    }
  }

  /** What is at a path, links not followed. A missing parent makes it `undefined` too. */
  #lookUp(path: string, op: string): Node | undefined {
    try {
      return this.#find(path, op).node;
    } catch (error) {
      if (error instanceof IoFault && error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  #dir(path: string, op: string): DirNode {
    const { node } = this.#find(path, op, { follow: true });
    if (node?.kind === "dir") return node;
    throw new IoFault({ code: node ? "ENOTDIR" : "ENOENT", op, path });
  }

  #file(path: string, op: string): FileNode {
    const { node } = this.#find(path, op);
    switch (node?.kind) {
      case "file":
        return node;
      case "dir":
        throw new IoFault({ code: "EISDIR", op, path });
      case "symlink":
        throw new IoFault({ code: "ELOOP", op, path });
      default:
        throw new IoFault({ code: "ENOENT", op, path });
    }
  }

  #create(path: string, op: string): FileNode {
    const { parent, name, node } = this.#find(path, op);
    if (node) throw new IoFault({ code: "EEXIST", op, path });
    const created = new FileNode();
    parent.entries.set(name, created);
    return created;
  }

  #regular(path: string, op: string): FileNode {
    const { node } = this.#find(path, op);
    if (node?.kind === "file") return node;
    throw new IoFault({ code: node ? "EINVAL" : "ENOENT", op, path });
  }

  #copySource(source: string, target: string, op: string): FileNode {
    const node = this.#regular(source, op);
    const { node: there } = this.#find(target, op);
    if (there?.kind === "dir") throw new IoFault({ code: "EISDIR", op, path: target });
    if (there?.kind === "symlink") throw new IoFault({ code: "ELOOP", op, path: target });
    return node;
  }

  #replace(path: string, node: FileNode, op: string): void {
    const { parent, name } = this.#find(path, op);
    parent.entries.set(name, node);
  }
}

/** Writes the first `size` bytes of what a failing call was about to write. */
type PartialWrite = (size: number) => void;

class MemoryFile implements StoreFile {
  readonly path: string;
  readonly #node: FileNode;
  readonly #writable: boolean;
  readonly #enter: (op: MemoryOp, partial?: PartialWrite) => void;
  #closed = false;

  constructor(
    path: string,
    node: FileNode,
    writable: boolean,
    enter: (op: MemoryOp, partial?: PartialWrite) => void,
  ) {
    this.path = path;
    this.#node = node;
    this.#writable = writable;
    this.#enter = enter;
  }

  readAt(target: Uint8Array, targetStart: number, size: number, position: number): number {
    checkRange(target, targetStart, size);
    checkOffset("position", position);
    this.#check("readAt");
    const end = Math.min(position + size, this.#node.size);
    if (end <= position) return 0;
    target.set(this.#node.bytes.subarray(position, end), targetStart);
    return end - position;
  }

  writeAt(source: Uint8Array, sourceStart: number, size: number, position: number): void {
    checkRange(source, sourceStart, size);
    checkOffset("position", position);
    const write = (count: number): void => {
      if (count > 0) writeBytes(this.#node, source, sourceStart, count, position);
    };
    this.#check("writeAt", (after) => write(Math.min(after, size)));
    if (!this.#writable) throw new IoFault({ code: "EBADF", op: "writeAt", path: this.path });
    write(size);
  }

  append(source: Uint8Array): void {
    this.writeAt(source, 0, source.byteLength, this.#node.size);
  }

  sync(_mode: SyncMode): void {
    this.#check("sync");
  }

  size(): number {
    this.#check("size");
    return this.#node.size;
  }

  resize(size: number): void {
    checkOffset("size", size);
    this.#check("resize");
    if (!this.#writable) throw new IoFault({ code: "EINVAL", op: "resize", path: this.path });
    extend(this.#node, size);
    this.#node.size = size;
  }

  close(): void {
    this.#closed = true;
  }

  #check(op: MemoryOp, partial?: PartialWrite): void {
    if (this.#closed) {
      throw new IoFault({ code: "EBADF", op, path: this.path, message: "the file is closed" });
    }
    this.#enter(op, partial);
  }
}

/** A stage whose publication can fail before it begins. */
class MemoryStagedFile extends TemporaryFile {
  readonly #enterPublish: (path: string) => void;

  constructor(fs: MemoryFs, dir: string, enterPublish: (path: string) => void) {
    super(fs, dir);
    this.#enterPublish = enterPublish;
  }

  override publish(path: string): void {
    try {
      this.#enterPublish(path);
    } catch (error) {
      this.discard();
      throw error;
    }
    super.publish(path);
  }
}

function newDir(): DirNode {
  return { kind: "dir", entries: new Map() };
}

function split(path: string): string[] {
  return path.split("/").filter((name) => name !== "" && name !== ".");
}

function checkRange(bytes: Uint8Array, start: number, size: number): void {
  if (start >= 0 && size >= 0 && start + size <= bytes.byteLength) return;
  throw new RangeError(`Cannot use ${size} bytes from ${start} of an array of ${bytes.byteLength}`);
}

function writeBytes(
  node: FileNode,
  source: Uint8Array,
  sourceStart: number,
  size: number,
  position: number,
): void {
  const end = position + size;
  extend(node, position);
  reserve(node, end);
  const whole = sourceStart === 0 && size === source.byteLength;
  node.bytes.set(whole ? source : source.subarray(sourceStart, sourceStart + size), position);
  node.size = Math.max(node.size, end);
}

/** Makes the bytes between the end of the file and `size` zeros. */
function extend(node: FileNode, size: number): void {
  if (size <= node.size) return;
  reserve(node, size);
  node.bytes.fill(0, node.size, size);
  node.size = size;
}

/** Room for `size` bytes; doubling, so that a file of n appends is copied only log n times. */
function reserve(node: FileNode, size: number): void {
  if (size <= node.bytes.byteLength) return;
  const grown = new Uint8Array(Math.max(size, node.bytes.byteLength * 2, CAPACITY_MIN));
  grown.set(node.bytes.subarray(0, node.size));
  node.bytes = grown;
}

function copyFile(node: FileNode): FileNode {
  const copy = new FileNode();
  copy.bytes = node.bytes.slice(0, node.size);
  copy.size = node.size;
  return copy;
}

/** Copies a tree. `copies` keeps files that have several names one file. */
function copyEntries(source: DirNode, target: DirNode, copies: Map<FileNode, FileNode>): void {
  for (const [name, node] of source.entries) {
    if (node.kind === "dir") {
      const dir = newDir();
      copyEntries(node, dir, copies);
      target.entries.set(name, dir);
    } else if (node.kind === "file") {
      const copy = copies.get(node) ?? copyFile(node);
      copies.set(node, copy);
      target.entries.set(name, copy);
    } else {
      target.entries.set(name, node);
    }
  }
}
