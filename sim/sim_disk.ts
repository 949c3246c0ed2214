/**
 * What a simulated disk holds: what a running process sees, what a power cut leaves, and what lies between
 * the two.
 *
 * A disk changes only by {@linkcode SimStep}s. The file system makes them, the trace keeps them, and
 * whoever wants the disk as it was after some of them applies those to the disk it began with. Steps
 * name files and directories by number, so they mean the same on every copy of a disk.
 *
 * Of each file there is the content that processes see, the content that is durable, and the log of steps
 * that lead from the one to the other: `syncedCount` of them have been made durable, and those behind may
 * or may not reach the disk. Of names there is the same, for the disk as a whole: a directory is durable as
 * it was at its last sync.
 *
 * @module
 */

import type { FileKind } from "../platform/fs.ts";

/** The bytes of a file. Everything from `used` to `size` is zeros and takes no memory. */
export class Content {
  /** The file's bytes up to `used`; anything behind is left over. */
  bytes: Uint8Array = EMPTY;
  /** Where the zeros begin. */
  used = 0;
  /** The size of the file. */
  size = 0;
  /** Whether another content has the same array: then it is copied before it is written to. */
  #isShared = false;

  /** A content of its own with the same bytes, which are copied when one of the two is written to. */
  share(): Content {
    const copy = new Content();
    this.#isShared = copy.#isShared = true;
    copy.bytes = this.bytes;
    copy.used = this.used;
    copy.size = this.size;
    return copy;
  }

  /** Writes; what lies between the end and `position` becomes zeros. */
  write(source: Uint8Array, sourceStart: number, count: number, position: number): void {
    if (count === 0) return;
    const end = position + count;
    this.#own(end);
    if (position > this.used) this.bytes.fill(0, this.used, position);
    const whole = sourceStart === 0 && count === source.byteLength;
    this.bytes.set(whole ? source : source.subarray(sourceStart, sourceStart + count), position);
    if (end > this.used) this.used = end;
    if (end > this.size) this.size = end;
  }

  /** Cuts, or extends with zeros. */
  resize(size: number): void {
    this.size = size;
    if (this.used > size) this.used = size;
  }

  /** Copies up to `count` bytes from `position`; says how many there were. */
  read(target: Uint8Array, targetStart: number, count: number, position: number): number {
    const end = Math.min(position + count, this.size);
    if (end <= position) return 0;
    const usedEnd = Math.min(end, this.used);
    if (usedEnd > position) target.set(this.bytes.subarray(position, usedEnd), targetStart);
    if (end > usedEnd) {
      const zerosStart = Math.max(usedEnd, position);
      target.fill(0, targetStart + zerosStart - position, targetStart + end - position);
    }
    return end - position;
  }

  /** A copy of all of it. */
  toBytes(): Uint8Array {
    const copy = new Uint8Array(this.size);
    copy.set(this.bytes.subarray(0, this.used));
    return copy;
  }

  /** An array of our own with room for `size` bytes. */
  #own(size: number): void {
    const { byteLength } = this.bytes;
    if (!this.#isShared && size <= byteLength) return;
    // Doubling, so that a file of n appends is copied only log n times.
    const room = size <= byteLength ? byteLength : Math.max(size, byteLength * 2, 512);
    const grown = new Uint8Array(room);
    grown.set(this.bytes.subarray(0, this.used));
    this.bytes = grown;
    this.#isShared = false;
  }
}

const EMPTY = new Uint8Array(0);

/** What somebody has looked at of a file. */
export interface FileLook {
  /** How large it is. */
  atSize: boolean;
  /** What is in it. */
  atBytes: boolean;
}

/** A file; several names and handles may stand for it. */
export class FileNode {
  /** What it is. */
  readonly kind = "file";
  /** Its number on this disk and every copy. */
  readonly id: number;
  /** What processes see. */
  content: Content;
  /** Steps that have changed `content` and not yet `durable`. */
  log: FileStep[] = [];
  /** How many of `log` a sync has made durable. */
  syncedCount = 0;
  /** How many names it has. */
  links = 0;
  /** Whether somebody holds its lock. */
  isLocked = false;
  /** What anybody has looked at; its copies on other disks share this. */
  look: FileLook;
  #durable: Content;

  /** A file whose content is durable. */
  constructor(
    id: number,
    content: Content,
    durable: Content = content.share(),
    look: FileLook = { atSize: false, atBytes: false },
  ) {
    this.id = id;
    this.content = content;
    this.#durable = durable;
    this.look = look;
  }

  /** What a power cut is sure to leave. `log` then holds only what it may take. */
  get durable(): Content {
    for (let i = 0; i < this.syncedCount; i++) applyToContent(this.#durable, this.log[i]);
    this.log.splice(0, this.syncedCount);
    this.syncedCount = 0;
    return this.#durable;
  }

  /**
   * Gives up the bytes that are not durable: they will never reach the disk, whatever is synced later. The
   * size they gave the file is no part of them: file systems keep it elsewhere, and sync it with the next
   * file that comes along.
   */
  loseUnsynced(): void {
    const kept = this.log.slice(0, this.syncedCount);
    let { size } = this.#durable;
    for (const [i, step] of this.log.entries()) {
      const before = size;
      size = step.type === "resize"
        ? step.size
        : Math.max(size, step.position + step.bytes.byteLength);
      if (i < this.syncedCount || size === before) continue;
      kept.push({ type: "resize", node: step.node, path: step.path, size });
    }
    this.log = kept;
  }

  /** A copy, with what is not durable yet. */
  clone(): FileNode {
    const copy = new FileNode(this.id, this.content.share(), this.durable.share(), this.look);
    copy.log = this.log.slice();
    return copy;
  }
}

/** A directory. */
export class DirNode {
  /** What it is. */
  readonly kind = "dir";
  /** Its number on this disk and every copy. */
  readonly id: number;
  /** What processes see. */
  readonly entries: Map<string, Node>;
  #durable: Map<string, Node> | undefined;

  /** A directory whose names are durable. */
  constructor(id: number, entries: Map<string, Node> = new Map()) {
    this.id = id;
    this.entries = entries;
  }

  /** What a power cut is sure to leave. To be read only. */
  get durable(): ReadonlyMap<string, Node> {
    return this.#durable ?? this.entries;
  }

  /** What a power cut is sure to leave, to be changed apart from what processes see. */
  durableApart(): Map<string, Node> {
    return this.#durable ??= new Map(this.entries);
  }
}

/** A symbolic link. */
export interface LinkNode {
  /** What it is. */
  readonly kind: "symlink";
  /** Its number on this disk and every copy. */
  readonly id: number;
  /** Where it leads. */
  readonly target: string;
}

/** What a name can stand for. */
export type Node = FileNode | DirNode | LinkNode;

/** Some bytes were written. They are the trace's own. */
export interface WriteStep {
  /** What was done. */
  readonly type: "write";
  /** The file. */
  readonly node: number;
  /** The name it was opened with. */
  readonly path: string;
  /** Where. */
  readonly position: number;
  /** What. */
  readonly bytes: Uint8Array;
}

/** A file was cut, or extended with zeros. */
export interface ResizeStep {
  /** What was done. */
  readonly type: "resize";
  /** The file. */
  readonly node: number;
  /** The name it was opened with. */
  readonly path: string;
  /** To so many bytes. */
  readonly size: number;
}

/** A step that changes the content of a file. */
export type FileStep = WriteStep | ResizeStep;

/**
 * How a sync ended:
 *
 * - `"honored"`: what was written is durable;
 * - `"dropped"`: it said so, and it is not; a later sync may still do it;
 * - `"failed"`: it said no, and did nothing; a later sync may still do it;
 * - `"lost"`: it said no, and the system forgot that there is something to write;
 * - `"reverted"`: the same, and what processes see is the old content again.
 */
export type SyncOutcome = "honored" | "dropped" | "failed" | "lost" | "reverted";

/** A file was synced. */
export interface SyncStep {
  /** What was done. */
  readonly type: "sync";
  /** The file. */
  readonly node: number;
  /** The name it was opened with. */
  readonly path: string;
  /** How it ended. */
  readonly outcome: SyncOutcome;
}

/** A name was given to something new. */
export interface CreateStep {
  /** What was done. */
  readonly type: "create";
  /** What it is. */
  readonly kind: Exclude<FileKind, "other">;
  /** Its number. */
  readonly node: number;
  /** The directory. */
  readonly dir: number;
  /** The name. */
  readonly name: string;
  /** The whole path. */
  readonly path: string;
  /** Where a symbolic link leads. */
  readonly leadsTo?: string;
}

/** A file got one more name. */
export interface LinkStep {
  /** What was done. */
  readonly type: "link";
  /** The file. */
  readonly node: number;
  /** The directory. */
  readonly dir: number;
  /** The name. */
  readonly name: string;
  /** The whole path. */
  readonly path: string;
}

/** A name was removed. */
export interface UnlinkStep {
  /** What was done. */
  readonly type: "unlink";
  /** What it stood for. */
  readonly node: number;
  /** The directory. */
  readonly dir: number;
  /** The name. */
  readonly name: string;
  /** The whole path. */
  readonly path: string;
}

/** A name moved, in one piece, and replaced what was there. */
export interface RenameStep {
  /** What was done. */
  readonly type: "rename";
  /** What moved. */
  readonly node: number;
  /** The directory it was in. */
  readonly dir: number;
  /** The name it had. */
  readonly name: string;
  /** The directory it is in now. */
  readonly targetDir: number;
  /** The name it has now. */
  readonly targetName: string;
  /** The whole path before. */
  readonly source: string;
  /** The whole path now. */
  readonly path: string;
}

/** A step that changes names. */
export type NameStep = CreateStep | LinkStep | UnlinkStep | RenameStep;

/** A directory was synced. */
export interface SyncDirStep {
  /** What was done. */
  readonly type: "syncDir";
  /** The directory. */
  readonly node: number;
  /** Its path. */
  readonly path: string;
  /** How it ended; never `"lost"` or `"reverted"`. */
  readonly outcome: SyncOutcome;
}

/** Something the program under test did or was told, put into the trace by whoever drives it. */
export interface MarkStep {
  /** What was done. */
  readonly type: "mark";
  /** What happened: `"submitted"`, `"receipt"`, `"durable"`, … */
  readonly label: string;
  /** Whatever the driver needs to judge what is there after a crash. */
  readonly data: unknown;
}

/** One entry of a trace. */
export type SimStep = FileStep | SyncStep | NameStep | SyncDirStep | MarkStep;

/** A disk; see the top of the file. */
export class SimDisk {
  /** The root directory, which is always durable. */
  readonly root: DirNode;
  /** Steps that names have taken and that are not durable, oldest first. */
  pendingNames: NameStep[] = [];
  #nextId: number;
  readonly #nodes = new Map<number, Node>();

  /** An empty disk. */
  constructor(root: DirNode = new DirNode(0), nextId = 1) {
    this.root = root;
    this.#nextId = nextId;
    this.#nodes.set(root.id, root);
  }

  /** A number for something new. */
  newId(): number {
    return this.#nextId++;
  }

  /** A node by its number, which it must have. */
  node(id: number): Node {
    const node = this.#nodes.get(id);
    if (node === undefined) throw new Error(`Cannot find node ${id}: the trace is of another disk`);
    return node;
  }

  /** Does what a step says. */
  apply(step: SimStep): void {
    switch (step.type) {
      case "write":
      case "resize": {
        const file = this.#file(step.node);
        applyToContent(file.content, step);
        file.log.push(step);
        return;
      }
      case "sync":
        return this.#sync(this.#file(step.node), step.outcome);
      case "syncDir":
        if (step.outcome === "honored") this.#syncDir(step.node);
        return;
      case "mark":
        return;
      case "create":
        this.#nodes.set(step.node, newNode(step));
        if (step.node >= this.#nextId) this.#nextId = step.node + 1;
        break;
      default:
    }
    this.#applyName(step);
  }

  /**
   * A disk as a power cut could leave it.
   *
   * @param contentOf the content of a file; without, what is durable.
   * @param keeps whether a step of `pendingNames` reached the disk; without, none did.
   */
  image(contentOf?: (file: FileNode) => Content, keeps?: (index: number) => boolean): SimDisk {
    const changed = this.#namesLeft(keeps);
    const copies = new Map<number, Node>();
    const disk = new SimDisk(new DirNode(this.root.id), this.#nextId);
    const copyDir = (source: DirNode, target: DirNode): void => {
      for (const [name, node] of changed.get(source) ?? source.durable) {
        let copy = copies.get(node.id);
        if (copy === undefined) {
          copy = node.kind === "file"
            ? new FileNode(
              node.id,
              contentOf?.(node) ?? node.durable.share(),
              undefined,
              node.look,
            )
            : node.kind === "dir"
            ? new DirNode(node.id)
            : node;
          copies.set(node.id, copy);
          disk.#nodes.set(node.id, copy);
          if (node.kind === "dir") copyDir(node, copy as DirNode);
        }
        if (copy.kind === "file") copy.links++;
        target.entries.set(name, copy);
      }
    };
    copyDir(this.root, disk.root);
    return disk;
  }

  /**
   * Every path in order, and what it stands for.
   *
   * @param keeps as for {@linkcode image}; or `"seen"`, for what processes see.
   */
  listing(keeps?: "seen" | ((index: number) => boolean)): [path: string, node: Node][] {
    const changed = keeps === "seen" ? undefined : this.#namesLeft(keeps);
    const found: [string, Node][] = [];
    const visit = (dir: DirNode, path: string): void => {
      const names = changed === undefined ? dir.entries : changed.get(dir) ?? dir.durable;
      for (const [name, node] of [...names].sort(([a], [b]) => a < b ? -1 : 1)) {
        found.push([`${path}/${name}`, node]);
        if (node.kind === "dir") visit(node, `${path}/${name}`);
      }
    };
    visit(this.root, "");
    return found;
  }

  /** Everything as it is, with what is not durable yet, and no locks. Handles have no part in it. */
  clone(): SimDisk {
    const copies = new Map<number, Node>();
    const copyOf = (node: Node): Node => {
      let copy = copies.get(node.id);
      if (copy !== undefined) return copy;
      copy = node.kind === "file"
        ? node.clone()
        : node.kind === "dir"
        ? new DirNode(node.id)
        : node;
      copies.set(node.id, copy);
      if (node.kind === "dir") copyNames(node, copy as DirNode);
      return copy;
    };
    const copyNames = (source: DirNode, target: DirNode): void => {
      for (const [name, node] of source.entries) {
        const copy = copyOf(node);
        if (copy.kind === "file") copy.links++;
        target.entries.set(name, copy);
      }
      if (source.durable === source.entries) return;
      const durable = target.durableApart();
      durable.clear();
      for (const [name, node] of source.durable) durable.set(name, copyOf(node));
    };
    const root = new DirNode(this.root.id);
    copies.set(root.id, root);
    copyNames(this.root, root);
    // What came and went in between may still be on its way.
    for (const step of this.pendingNames) {
      copyOf(this.node(step.node));
      copyOf(this.node(step.dir));
      if (step.type === "rename") copyOf(this.node(step.targetDir));
    }
    const disk = new SimDisk(root, this.#nextId);
    for (const [id, node] of copies) disk.#nodes.set(id, node);
    disk.pendingNames = this.pendingNames.slice();
    return disk;
  }

  /** The names of directories in which something was kept that is not durable. */
  #namesLeft(keeps: ((index: number) => boolean) | undefined): Map<DirNode, Map<string, Node>> {
    const changed = new Map<DirNode, Map<string, Node>>();
    const namesOf = (dir: DirNode): Map<string, Node> => {
      let names = changed.get(dir);
      if (names === undefined) changed.set(dir, names = new Map(dir.durable));
      return names;
    };
    if (keeps !== undefined) {
      this.pendingNames.forEach((step, index) => {
        if (keeps(index)) this.#changeNames(step, namesOf);
      });
    }
    return changed;
  }

  #file(id: number): FileNode {
    const node = this.node(id);
    if (node.kind !== "file") throw new Error(`Cannot change node ${id}: it is no file`);
    return node;
  }

  #dir(id: number): DirNode {
    const node = this.node(id);
    if (node.kind !== "dir") {
      throw new Error(`Cannot change names in node ${id}: it is no directory`);
    }
    return node;
  }

  #sync(file: FileNode, outcome: SyncOutcome): void {
    if (outcome === "honored") {
      file.syncedCount = file.log.length;
    } else if (outcome === "lost") {
      file.loseUnsynced();
    } else if (outcome === "reverted") {
      file.loseUnsynced();
      const { size } = file.content;
      file.content = file.durable.share();
      file.content.resize(size);
    }
  }

  /**
   * Makes durable what names in a directory have been through, and what that stands on: a rename out of
   * another directory, and how the name got there.
   */
  #syncDir(id: number): void {
    const { pendingNames } = this;
    if (pendingNames.length === 0) return;
    const wanted = new Set<string>();
    const isDurable: boolean[] = [];
    for (let i = pendingNames.length - 1; i >= 0; i--) {
      const step = pendingNames[i];
      const keys = keysOf(step);
      const isMeant = step.dir === id || (step.type === "rename" && step.targetDir === id);
      isDurable[i] = isMeant || keys.some((key) => wanted.has(key));
      if (isDurable[i]) { for (const key of keys) wanted.add(key); }
    }
    this.pendingNames = pendingNames.filter((step, i) => {
      if (isDurable[i]) this.#changeNames(step, (dir) => dir.durableApart());
      return !isDurable[i];
    });
  }

  #applyName(step: NameStep): void {
    const dir = this.#dir(step.dir);
    // What is durable must not change with what is seen.
    dir.durableApart();
    const replaced = step.type === "rename"
      ? this.#dir(step.targetDir).entries.get(step.targetName)
      : undefined;
    if (step.type === "rename") this.#dir(step.targetDir).durableApart();
    this.#changeNames(step, (changed) => changed.entries);
    const node = this.node(step.node);
    if (node.kind === "file" && step.type !== "rename") {
      node.links += step.type === "unlink" ? -1 : 1;
    }
    if (replaced?.kind === "file") replaced.links--;
    this.pendingNames.push(step);
  }

  #changeNames(step: NameStep, namesOf: (dir: DirNode) => Map<string, Node>): void {
    const names = namesOf(this.#dir(step.dir));
    switch (step.type) {
      case "create":
      case "link":
        names.set(step.name, this.node(step.node));
        return;
      case "unlink":
        names.delete(step.name);
        return;
      case "rename":
        names.delete(step.name);
        namesOf(this.#dir(step.targetDir)).set(step.targetName, this.node(step.node));
    }
  }
}

/** The names that a step is about, each with its directory. */
export function keysOf(step: NameStep): string[] {
  const key = `${step.dir}/${step.name}`;
  return step.type === "rename" ? [key, `${step.targetDir}/${step.targetName}`] : [key];
}

/** Does to a content what a step says. */
export function applyToContent(content: Content, step: FileStep): void {
  if (step.type === "write") content.write(step.bytes, 0, step.bytes.byteLength, step.position);
  else content.resize(step.size);
}

function newNode(step: CreateStep): Node {
  switch (step.kind) {
    case "file":
      return new FileNode(step.node, new Content());
    case "dir":
      return new DirNode(step.node);
    case "symlink":
      return { kind: "symlink", id: step.node, target: step.leadsTo ?? "" };
  }
}
