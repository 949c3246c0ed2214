/**
 * A file system that can be crashed: the real store runs on it, and then the power is cut.
 *
 * It keeps every promise of `StoreFs`, with two truths: what processes see at once, and what is durable,
 * which is less. Bytes are durable after a sync of the file, names after a sync of the directory, and
 * {@linkcode SimFs.crash} takes the rest, or some of it. Nothing here depends on time, on the runtime, or on
 * chance without a seed: the same seed gives the same bytes and the same trace everywhere.
 *
 * The trace holds every change and every sync in order. A driver puts marks between them
 * ({@linkcode SimFs.mark}), so that one run can be crashed at each of its steps afterwards:
 * {@linkcode SimFs.crashImages}.
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
} from "../platform/fs.ts";
import { checkOffset } from "../platform/offset.ts";
import { createStaged, publishBytes, TemporaryFile } from "../platform/staged_file.ts";
import {
  type CrashPolicy,
  type CrashSpace,
  crashSpace,
  type DiskHistory,
  imagesOf,
  sampleImage,
} from "./crash_images.ts";
import {
  type DirNode,
  type FileLook,
  type FileNode,
  type NameStep,
  type Node,
  SimDisk,
  type SimStep,
} from "./sim_disk.ts";
import {
  SIM_MUTATIONS,
  simFault,
  type SimFaultKind,
  type SimFaultOptions,
  type SimFaultPlan,
  SimFaults,
  type SimOp,
  type Strike,
  syncOutcomeOf,
} from "./sim_faults.ts";
import { SimRandom } from "./sim_random.ts";

/** What a simulated disk is like. */
export interface SimFsOptions {
  /** Decides the schedule of faults, and what a crash takes. Default 0. */
  readonly seed?: number;
  /** Which faults come by themselves. Default none. */
  readonly faults?: SimFaultPlan;
  /** Bytes that fit on the disk; what a file is extended by in advance takes no space. Default no end. */
  readonly diskSize?: number;
  /** Files that can be open at a time; one more is `EMFILE`. Default no end. */
  readonly openFilesMax?: number;
  /** Whether the first fault makes every later change fail, so that no clean-up heals the disk. */
  readonly freezeOnFault?: boolean;
}

/** A call that a program has made. */
export interface SimCall {
  /** What it asked for. */
  readonly op: SimOp;
  /** Of which path. */
  readonly path: string;
  /** Bytes it asked for; only of reads and writes. */
  readonly size: number | undefined;
}

/** What a crash image is to be like. */
export interface CrashImagesOptions {
  /** So many steps of the trace have been taken. Default all. */
  readonly position?: number;
  /** All images when there are no more than this, and otherwise so many at random. Default 64. */
  readonly limit?: number;
  /** Decides what is drawn. Default that of the disk. */
  readonly seed?: number;
}

/** As many links as one path may lead through. */
const LINK_COUNT_MAX = 40;
const SLAB_SIZE = 64 << 10;

interface Place {
  readonly parent: DirNode;
  readonly name: string;
  readonly node: Node | undefined;
  /** The path with all links on the way resolved. */
  readonly path: string;
}

/** A file system that can be crashed; see the top of the file. */
export class SimFs implements StoreFs {
  /** `"sim"`. */
  readonly name = "sim";
  /** Decides the schedule of faults, and what a crash takes. */
  readonly seed: number;
  /** Whether every change fails with `EROFS`. */
  isReadOnly = false;
  readonly #disk: SimDisk;
  /** The disk as it was before the first step of the trace, once there is one. */
  #base: SimDisk | undefined;
  readonly #trace: SimStep[] = [];
  readonly #faults: SimFaults;
  readonly #random: SimRandom;
  readonly #diskSize: number;
  readonly #openFilesMax: number;
  #openFiles = 0;
  #locks = 0;
  #calls: SimCall[] | undefined;
  #usedSize = 0;
  #isDead = false;
  /** A disk that has come some way along the trace, for those who look at one position after another. */
  #walker: { disk: SimDisk; position: number } | undefined;
  #slab = new Uint8Array(0);
  #slabEnd = 0;

  /** An empty disk, or, for those who have one, what is on it. */
  constructor(options: SimFsOptions = {}, disk: SimDisk = new SimDisk()) {
    this.seed = options.seed ?? 0;
    this.#random = new SimRandom(this.seed);
    this.#faults = new SimFaults(this.#random, options.faults, options.freezeOnFault);
    this.#diskSize = options.diskSize ?? Infinity;
    this.#openFilesMax = options.openFilesMax ?? Infinity;
    this.#disk = disk;
    if (this.#diskSize !== Infinity) this.#usedSize = usedSizeOf(disk.root);
  }

  // ---- what a test asks of it -----------------------------------------------------------------------

  /** Every change, sync and mark so far. */
  get trace(): readonly SimStep[] {
    return this.#trace;
  }

  /** Calls so far, reads included. The next call has this index. */
  get operationCount(): number {
    return this.#faults.operationCount;
  }

  /** How many calls have been struck by a fault, armed or planned. */
  get faultsFired(): number {
    return this.#faults.fired;
  }

  /** How often each planned kind has struck. */
  get plannedFaultsFired(): ReadonlyMap<SimFaultKind, number> {
    return this.#faults.plannedFired;
  }

  /** Bytes in files; counted only when the disk has a size. */
  get usedSize(): number {
    return this.#usedSize;
  }

  /** Whether no fault strikes, and handles never run out; planned faults draw nothing meanwhile. */
  get faultsArePaused(): boolean {
    return this.#faults.arePaused;
  }

  set faultsArePaused(arePaused: boolean) {
    this.#faults.arePaused = arePaused;
  }

  /** Files that are open now. */
  get openFileCount(): number {
    return this.#openFiles;
  }

  /** Locks that are held now. */
  get heldLockCount(): number {
    return this.#locks;
  }

  /** Writes down every call from now on, also those that fail, and returns the list, which grows. */
  recordCalls(): readonly SimCall[] {
    return this.#calls = [];
  }

  /** Calls of an operation since a fault was armed on it last, or since the beginning. */
  operationsSeen(op: SimOp): number {
    return this.#faults.seen(op);
  }

  /** As {@linkcode armFaultOn}, and returns the file system: for one that is handed on at once. */
  withFaultOn(op: SimOp, nth = 1, options: SimFaultOptions = {}): this {
    this.armFaultOn(op, nth, options);
    return this;
  }

  /**
   * Makes the `nth` call of an operation from now on fail, the next one being 1. The count of the
   * operation begins anew. Several faults may be armed at a time.
   */
  armFaultOn(op: SimOp, nth = 1, options: SimFaultOptions = {}): void {
    this.#faults.armOn(op, nth, options);
  }

  /**
   * Makes the call with this index fail, whatever it is; see {@linkcode operationCount}. What sticks goes by
   * the operation that it struck, and by the path in the options if there is one.
   */
  armFaultAt(index: number, options: SimFaultOptions = {}): void {
    this.#faults.armAt(index, options);
  }

  /** Takes back every armed fault, and thaws the disk. */
  disarm(): void {
    this.#faults.disarm();
  }

  /** Throws when an armed fault has never fired: then nothing was tested. */
  assertAllFired(): void {
    this.#faults.assertAllFired();
  }

  /** Puts into the trace what the program under test did or was told. */
  mark(label: string, data?: unknown): void {
    this.#trace.push({ type: "mark", label, data });
  }

  /**
   * Cuts the power, or kills the process, and returns what the next process finds. This one is dead: every
   * later call of it, and of its files, throws.
   *
   * @param policy what the disk is like; see `crash_images.ts`. Default: nothing that was not synced.
   * @param seed decides what is taken. Default: that of the disk.
   */
  crash(policy: CrashPolicy = "durable", seed: number = this.seed): SimFs {
    const left = this.crashImage(policy, { seed });
    this.#isDead = true;
    return left;
  }

  /**
   * One of the disks that the next process could find; which one is drawn. This one goes on.
   *
   * @param policy what the disk is like; see `crash_images.ts`.
   * @param options when, and what decides.
   * @param next what the disk is like for the next process. Default: as honest and as large as they come.
   */
  crashImage(
    policy: CrashPolicy,
    options: Pick<CrashImagesOptions, "position" | "seed"> = {},
    next: SimFsOptions = {},
  ): SimFs {
    const { position = this.#trace.length, seed = this.seed } = options;
    const random = this.#crashRandom(seed, position);
    const disk = sampleImage(this.#historyAt(position), policy, random);
    return new SimFs({ seed: this.seed, ...next }, disk);
  }

  /**
   * What the next process could find, each on a disk of its own, when a crash came after `position` steps of
   * the trace. Goes on from where the last call stood, so ask for rising positions.
   */
  *crashImages(policy: CrashPolicy, options: CrashImagesOptions = {}): Generator<SimFs> {
    const { position = this.#trace.length, limit = 64, seed } = options;
    const random = this.#crashRandom(seed, position);
    for (const disk of imagesOf(this.#historyAt(position), policy, limit, random)) {
      yield new SimFs({ seed: this.seed }, disk);
    }
  }

  /** As {@linkcode crashImages}, for whoever knows some of the images already. */
  crashSpace(
    policy: CrashPolicy,
    options: Pick<CrashImagesOptions, "position" | "seed"> = {},
  ): CrashSpace {
    const { position = this.#trace.length, seed } = options;
    return crashSpace(this.#historyAt(position), policy, this.#crashRandom(seed, position));
  }

  /**
   * From now on notices what somebody looks at of the files that are there, on this disk or one that a crash
   * leaves of it. Names and kinds do not count, and writing does not either.
   *
   * @returns by their paths now, what has been looked at; it goes on changing.
   */
  watchLooks(): ReadonlyMap<string, Readonly<FileLook>> {
    const looks = new Map<string, FileLook>();
    for (const [path, node] of this.#disk.listing("seen")) {
      if (node.kind === "file") {
        looks.set(path, node.look = { atSize: false, atBytes: false });
      }
    }
    return looks;
  }

  /**
   * A copy of everything as processes see it, with nothing that is not durable, no locks and no faults.
   *
   * @param options of the copy. Default: as an ordinary one, with the seed of this one.
   */
  snapshot(options: SimFsOptions = {}): SimFs {
    return new SimFs({ seed: this.seed, ...options }, seenOn(this.#disk));
  }

  /** A copy on which a file is another one, or, without bytes, not there; all of it durable. */
  withFile(path: string, bytes: Uint8Array | undefined): SimFs {
    const copy = this.snapshot();
    copy.removeIfPresent(path);
    if (bytes !== undefined) {
      const file = copy.open(path, "createNew");
      file.append(bytes);
      file.close();
    }
    return copy.snapshot();
  }

  /** Makes a symbolic link at `path` that leads to `target`, which need not exist. */
  symlink(target: string, path: string): void {
    const place = this.#find(path, "Link");
    if (place.node) throw new IoFault({ code: "EEXIST", op: "symlink", path });
    const node = this.#disk.newId();
    const { parent, name } = place;
    this.#do({
      type: "create",
      kind: "symlink",
      node,
      dir: parent.id,
      name,
      path,
      leadsTo: target,
    });
  }

  // ---- StoreFs --------------------------------------------------------------------------------------

  /** The path from the root, with links resolved. */
  canonicalize(path: string): string {
    const late = this.#enter("Canonicalize", path);
    const place = this.#find(path, "Canonicalize", true);
    if (!place.node) throw new IoFault({ code: "ENOENT", op: "canonicalize", path });
    if (late) throw late.error;
    return place.path;
  }

  /**
   * Makes a directory and its parents, one after the other, each with its name durable before there is
   * anything in it. One that is there and empty counts as new.
   */
  createDirAll(path: string): void {
    const names = split(path);
    for (let count = 1; count <= names.length; count++) {
      const above = `/${names.slice(0, count - 1).join("/")}`;
      const here = `/${names.slice(0, count).join("/")}`;
      const isLast = count === names.length;
      const { parent, name, node } = this.#find(here, "MkDir", true);
      if (node !== undefined && node.kind !== "dir") {
        throw simError("MkDir", path, isLast ? "EEXIST" : "ENOTDIR");
      }
      const late = node === undefined || isLast ? this.#enter("MkDir", here) : undefined;
      if (node === undefined) {
        const id = this.#disk.newId();
        this.#do({ type: "create", kind: "dir", node: id, dir: parent.id, name, path: here });
      }
      if (late) throw late.error;
      if (node === undefined || node.entries.size === 0) this.syncDir(above);
    }
  }

  /** The names in a directory, sorted by code unit. */
  list(path: string): DirEntry[] {
    const late = this.#enter("List", path);
    const entries = [...this.#dir(path, "List").entries]
      .map(([name, { kind }]): DirEntry => ({ name, kind }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    if (late) throw late.error;
    return entries;
  }

  /** Size and kind, links not followed. */
  stat(path: string): FileInfo | undefined {
    const late = this.#enter("Stat", path);
    const node = this.#lookUp(path, "Stat");
    if (late) throw late.error;
    if (node?.kind === "file") node.look.atSize = true;
    return node && { size: node.kind === "file" ? node.content.size : 0, kind: node.kind };
  }

  /** Throws `ELOOP` when the last component is a symbolic link. */
  rejectSymlink(path: string, purpose: string): void {
    const late = this.#enter("RejectSymlink", path);
    if (late) throw late.error;
    if (this.#lookUp(path, "RejectSymlink")?.kind !== "symlink") return;
    const message = `${purpose} must not go through a symbolic link`;
    throw new IoFault({ code: "ELOOP", op: "rejectSymlink", path, message });
  }

  /** Opens a file. */
  open(path: string, mode: OpenMode): StoreFile {
    const op = mode === "createNew" ? "CreateNew" : "Open";
    const late = this.#enter(op, path);
    if (this.#openFiles >= this.#openFilesMax && !this.faultsArePaused) {
      throw simFault(op, path, "EMFILE", `${this.#openFiles} files are open`);
    }
    const node = mode === "createNew" ? this.#create(path, op) : this.#file(path, op);
    if (late) throw late.error;
    this.#openFiles++;
    return new SimFile(path, node, mode !== "read", this.#handles);
  }

  /** A whole file of at most `sizeMax` bytes. */
  readFile(path: string, sizeMax: number): Uint8Array {
    const late = this.#enter("ReadFile", path);
    const { content, look } = this.#file(path, "ReadFile");
    if (late) throw late.error;
    look.atSize = look.atBytes = true;
    if (content.size <= sizeMax) return content.toBytes();
    const message = `${content.size} bytes, at most ${sizeMax} expected`;
    throw new IoFault({ code: "EFBIG", op: "readFile", path, message });
  }

  /** A temporary file in `dir`: a real one, whose steps are in the trace. */
  stage(dir: string): StagedFile {
    const late = this.#enter("Stage", dir);
    const staged = new SimStagedFile(this, dir, (path) => this.#enter("PersistTemp", path));
    if (late) {
      // Somebody's leftover: it is there, and nobody has been told, nor given the file.
      this.#openFiles--;
      throw late.error;
    }
    return staged;
  }

  /** Replaces the file at `path` with `bytes`. */
  publish(path: string, bytes: Uint8Array): void {
    publishBytes(this, path, bytes);
  }

  /** Renames; replaces a file at `target`. */
  rename(source: string, target: string): void {
    const late = this.#enter("Rename", target, source);
    this.#rename(source, target, "Rename");
    if (late) throw late.error;
  }

  /** Removes a file or a link, never a directory. */
  remove(path: string): void {
    const late = this.#enter("Remove", path);
    const place = this.#find(path, "Remove");
    const { node } = place;
    if (!node) throw simError("Remove", path, "ENOENT");
    if (node.kind === "dir") throw simError("Remove", path, "EISDIR");
    this.#unlink(place, path);
    if (late) throw late.error;
  }

  /** Removes a file if it is there; says whether it was. Counts as `Remove`. */
  removeIfPresent(path: string): boolean {
    try {
      this.remove(path);
      return true;
    } catch (error) {
      if (error instanceof IoFault && error.code === "ENOENT") return false;
      throw error;
    }
  }

  /** Removes a directory and everything in it, file by file: each counts as `Remove`. */
  removeDirAll(path: string): void {
    const place = this.#find(path, "RemoveDir");
    const { node } = place;
    if (node !== undefined && node.kind !== "dir") {
      throw simError("RemoveDir", path, node.kind === "symlink" ? "ELOOP" : "ENOTDIR");
    }
    const children = node === undefined ? [] : [...node.entries].sort(([a], [b]) => a < b ? -1 : 1);
    for (const [name, child] of children) {
      if (child.kind === "dir") this.removeDirAll(`${path}/${name}`);
      else this.remove(`${path}/${name}`);
    }
    const late = this.#enter("RemoveDir", path);
    if (node !== undefined) this.#unlink(place, path);
    if (late) throw late.error;
  }

  /** Makes names in this directory durable. */
  syncDir(path: string): void {
    const strike = this.#strike("SyncDir", path);
    const dir = this.#dir(path, "SyncDir");
    const outcome = strike === undefined || strike.when === "after"
      ? "honored"
      : strike.instead === "lie"
      ? "dropped"
      : "failed";
    this.#do({ type: "syncDir", node: dir.id, path, outcome });
    if (strike !== undefined && outcome !== "dropped") throw strike.error;
  }

  /** Copies bytes, by way of a temporary name. Nothing of the copy is durable. */
  copy(source: string, target: string): number {
    const late = this.#enter("Copy", target, source);
    const node = this.#copySource(source, target, "Copy");
    const { size } = node.content;
    if (source !== target) this.#copyTo(node, target, "Copy");
    if (late) throw late.error;
    return size;
  }

  /** Gives a file a second name. */
  link(source: string, target: string): void {
    const late = this.#enter("Link", target, source);
    const node = this.#regular(source, "Link");
    this.#link(node, target, "Link");
    if (late) throw late.error;
  }

  /** Links, or copies when asked to, by way of a temporary name: there are no reflinks here. */
  clone(source: string, target: string, preference: ClonePreference): CloneStrategy {
    const late = this.#enter("Clone", target, source);
    const node = this.#copySource(source, target, "Clone");
    const strategy = preference === "copy" && source !== target ? "copy" : "hardlink";
    if (strategy === "copy") {
      this.#copyTo(node, target, "Clone");
    } else if (this.#lookUp(target, "Clone") !== node) {
      const [staged] = createStaged(parentOf(target), (path) => this.#link(node, path, "Clone"));
      this.#rename(staged, target, "Clone");
    }
    if (late) throw late.error;
    return strategy;
  }

  /** Takes a lock that other handles of this disk respect. A crash takes it back. */
  tryLock(path: string): FileLock | undefined {
    const late = this.#enter("Lock", path);
    if (late) throw late.error;
    const node = this.#lookUp(path, "Lock") ? this.#file(path, "Lock") : this.#create(path, "Lock");
    if (node.isLocked) return undefined;
    node.isLocked = true;
    this.#locks++;
    let released = false;
    const release = (): void => {
      if (released) return;
      released = true;
      node.isLocked = false;
      this.#locks--;
    };
    return { path, release };
  }

  // ---- how it is done -------------------------------------------------------------------------------

  /** What open files need. */
  readonly #handles: SimHandles = {
    strike: (op, path, size) => this.#strike(op, path, undefined, size),
    write: (path, node, source, start, size, position) => {
      this.#write(path, node, source, start, size, position);
    },
    do: (step) => this.#do(step),
    shrink: (node, size) => {
      if (node.content.used > size) this.#usedSize -= node.content.used - size;
    },
    closed: () => void this.#openFiles--,
  };

  /** Every call passes here; one that fails before its effect ends here. */
  #enter(op: SimOp, path: string, otherPath?: string): Strike | undefined {
    const strike = this.#strike(op, path, otherPath);
    if (strike !== undefined && strike.when !== "after") throw strike.error;
    return strike;
  }

  #strike(op: SimOp, path: string, otherPath?: string, size?: number): Strike | undefined {
    if (this.#isDead) throw simFault(op, path, "EIO", "the machine has crashed");
    this.#calls?.push({ op, path, size });
    const strike = this.#faults.enter(op, path, otherPath);
    if (this.isReadOnly && SIM_MUTATIONS.has(op)) {
      throw simFault(op, path, "EROFS", "the disk is read-only");
    }
    return strike;
  }

  #do(step: SimStep): void {
    this.#base ??= this.#disk.clone();
    this.#trace.push(step);
    this.#disk.apply(step);
  }

  /** Writes what fits on the disk. */
  #write(
    path: string,
    node: FileNode,
    source: Uint8Array,
    start: number,
    size: number,
    position: number,
  ): void {
    let count = size;
    if (this.#diskSize !== Infinity) {
      const { used } = node.content;
      // A gap in front of it takes space too, or a file could hold more than the disk.
      count = Math.min(size, Math.max(0, this.#diskSize - this.#usedSize + used - position));
      this.#usedSize += Math.max(0, position + count - used);
    }
    if (count > 0) {
      const bytes = this.#keep(source, start, count);
      this.#do({ type: "write", node: node.id, path, position, bytes });
    }
    if (count < size) throw simFault("Write", path, "ENOSPC", `${count} of ${size} bytes fit`);
  }

  /** The trace's own copy of some bytes. A typed array for each would cost more than the copy. */
  #keep(source: Uint8Array, start: number, size: number): Uint8Array {
    if (size > SLAB_SIZE / 4) return source.slice(start, start + size);
    if (this.#slabEnd + size > this.#slab.byteLength) {
      // Small at first: most simulated disks live for a few writes.
      this.#slab = new Uint8Array(Math.max(size, this.#slab.byteLength === 0 ? 4096 : SLAB_SIZE));
      this.#slabEnd = 0;
    }
    const kept = this.#slab.subarray(this.#slabEnd, this.#slabEnd += size);
    kept.set(
      start === 0 && size === source.byteLength ? source : source.subarray(start, start + size),
    );
    return kept;
  }

  #rename(source: string, target: string, op: SimOp): void {
    const from = this.#find(source, op);
    const to = this.#find(target, op);
    if (!from.node) throw simError(op, source, "ENOENT");
    if (from.node === to.node) return;
    if (to.node?.kind === "dir") throw simError(op, target, "EISDIR");
    if (from.node.kind === "dir" && to.node) throw simError(op, target, "ENOTDIR");
    if (to.node?.kind === "file" && to.node.links === 1) this.#usedSize -= to.node.content.used;
    this.#do({
      type: "rename",
      node: from.node.id,
      dir: from.parent.id,
      name: from.name,
      targetDir: to.parent.id,
      targetName: to.name,
      source,
      path: target,
    });
  }

  #unlink({ parent, name, node }: Place, path: string): void {
    if (node?.kind === "file" && node.links === 1) this.#usedSize -= node.content.used;
    this.#do({ type: "unlink", node: node!.id, dir: parent.id, name, path });
  }

  #link(node: FileNode, path: string, op: SimOp): void {
    const { parent, name, node: taken } = this.#find(path, op);
    if (taken) throw simError(op, path, "EEXIST");
    this.#do({ type: "link", node: node.id, dir: parent.id, name, path });
  }

  /** A new file. It is the disk's own. */
  #create(path: string, op: SimOp): FileNode {
    const { parent, name, node } = this.#find(path, op);
    if (node) throw simError(op, path, "EEXIST");
    const id = this.#disk.newId();
    this.#do({ type: "create", kind: "file", node: id, dir: parent.id, name, path });
    return this.#disk.node(id) as FileNode;
  }

  #copyTo(source: FileNode, target: string, op: SimOp): void {
    const bytes = source.content.toBytes();
    source.look.atSize = source.look.atBytes = true;
    const [staged, node] = createStaged(parentOf(target), (path) => this.#create(path, op));
    try {
      this.#write(staged, node, bytes, 0, bytes.byteLength, 0);
      this.#rename(staged, target, op);
    } catch (error) {
      this.#unlink(this.#find(staged, op), staged);
      throw error;
    }
  }

  /** Walks to a path. Links on the way are followed; one at the end only when asked to. */
  #find(path: string, op: SimOp, follow = false): Place {
    let names = split(path);
    let dirs: DirNode[] = [this.#disk.root];
    let at = "";
    const trail: string[] = [""];
    let linkCount = 0;
    for (let index = 0;; index++) {
      const parent = dirs[dirs.length - 1];
      if (index >= names.length) return { parent, name: ".", node: parent, path: at || "/" };
      const name = names[index];
      const isLast = index === names.length - 1;
      if (name === "..") {
        if (dirs.length > 1) {
          dirs.pop();
          trail.pop();
          at = trail[trail.length - 1];
        }
        continue;
      }
      const node = parent.entries.get(name);
      if (node?.kind === "symlink" && (!isLast || follow)) {
        if (++linkCount > LINK_COUNT_MAX) throw simError(op, path, "ELOOP");
        if (node.target.startsWith("/")) {
          dirs = dirs.slice(0, 1);
          trail.length = 1;
          at = "";
        }
        names = [...split(node.target), ...names.slice(index + 1)];
        index = -1;
        continue;
      }
      if (isLast) return { parent, name, node, path: `${at}/${name}` };
      if (node?.kind !== "dir") throw simError(op, path, node ? "ENOTDIR" : "ENOENT");
      dirs.push(node);
      trail.push(at = `${at}/${name}`);
    }
  }

  /** What is at a path, links not followed. A missing parent makes it `undefined` too. */
  #lookUp(path: string, op: SimOp): Node | undefined {
    try {
      return this.#find(path, op).node;
    } catch (error) {
      if (error instanceof IoFault && error.code === "ENOENT") return undefined;
      throw error;
    }
  }

  #dir(path: string, op: SimOp): DirNode {
    const { node } = this.#find(path, op, true);
    if (node?.kind === "dir") return node;
    throw simError(op, path, node ? "ENOTDIR" : "ENOENT");
  }

  #file(path: string, op: SimOp): FileNode {
    const { node } = this.#find(path, op);
    switch (node?.kind) {
      case "file":
        return node;
      case "dir":
        throw simError(op, path, "EISDIR");
      case "symlink":
        throw simError(op, path, "ELOOP");
      default:
        throw simError(op, path, "ENOENT");
    }
  }

  #regular(path: string, op: SimOp): FileNode {
    const { node } = this.#find(path, op);
    if (node?.kind === "file") return node;
    throw simError(op, path, node ? "EINVAL" : "ENOENT");
  }

  #copySource(source: string, target: string, op: SimOp): FileNode {
    const node = this.#regular(source, op);
    const { node: there } = this.#find(target, op);
    if (there?.kind === "dir") throw simError(op, target, "EISDIR");
    if (there?.kind === "symlink") throw simError(op, target, "ELOOP");
    return node;
  }

  #historyAt(position: number): DiskHistory {
    const base = this.#base ?? this.#disk;
    return { disk: this.#history(position), base, trace: this.#trace, position };
  }

  /** The disk after so many steps of the trace; not to be changed. */
  #history(position: number): SimDisk {
    if (position === this.#trace.length) return this.#disk;
    if (!(position >= 0 && position < this.#trace.length)) {
      throw new RangeError(`Cannot crash at step ${position}: there are ${this.#trace.length}`);
    }
    if (this.#walker === undefined || this.#walker.position > position) {
      this.#walker = { disk: (this.#base ?? this.#disk).clone(), position: 0 };
    }
    const { disk } = this.#walker;
    while (this.#walker.position < position) disk.apply(this.#trace[this.#walker.position++]);
    return disk;
  }

  #crashRandom(seed = this.seed, position = this.#trace.length): SimRandom {
    return new SimRandom(seed).stream(`crash ${position}`);
  }
}

/** What an open file asks of its file system. */
interface SimHandles {
  strike(op: SimOp, path: string, size: number | undefined): Strike | undefined;
  write(
    path: string,
    node: FileNode,
    source: Uint8Array,
    start: number,
    size: number,
    position: number,
  ): void;
  do(step: SimStep): void;
  /** A file is about to be cut. */
  shrink(node: FileNode, size: number): void;
  closed(): void;
}

/** An open file. It stands for the file, whatever becomes of the name. */
class SimFile implements StoreFile {
  readonly path: string;
  readonly #node: FileNode;
  readonly #isWritable: boolean;
  readonly #fs: SimHandles;
  #isClosed = false;

  constructor(path: string, node: FileNode, isWritable: boolean, fs: SimHandles) {
    this.path = path;
    this.#node = node;
    this.#isWritable = isWritable;
    this.#fs = fs;
  }

  readAt(target: Uint8Array, targetStart: number, size: number, position: number): number {
    checkRange(target, targetStart, size);
    checkOffset("position", position);
    const strike = this.#enter("Read", size);
    const { look } = this.#node;
    look.atSize = look.atBytes = true;
    if (strike === undefined) return this.#node.content.read(target, targetStart, size, position);
    if (strike.instead !== "short") throw strike.error;
    // Fewer than there are, and never none: that would be the end of the file.
    const there = Math.min(size, this.#node.content.size - position);
    const part = strike.partial ?? Math.floor((strike.fraction ?? 0.5) * there);
    const count = Math.min(there, Math.max(1, part));
    return this.#node.content.read(target, targetStart, count, position);
  }

  writeAt(source: Uint8Array, sourceStart: number, size: number, position: number): void {
    checkRange(source, sourceStart, size);
    checkOffset("position", position);
    const strike = this.#enter("Write", size);
    if (!this.#isWritable) throw simError("Write", this.path, "EBADF");
    const count = strike === undefined || strike.when === "after"
      ? size
      : Math.min(size, strike.partial ?? Math.floor((strike.fraction ?? 0) * size));
    if (count > 0) this.#fs.write(this.path, this.#node, source, sourceStart, count, position);
    if (strike !== undefined) throw strike.error;
  }

  append(source: Uint8Array): void {
    this.#node.look.atSize = true;
    this.writeAt(source, 0, source.byteLength, this.#node.content.size);
  }

  sync(_mode: SyncMode): void {
    const strike = this.#enter("Sync");
    const outcome = strike === undefined ? "honored" : syncOutcomeOf(strike);
    this.#fs.do({ type: "sync", node: this.#node.id, path: this.path, outcome });
    if (strike !== undefined && outcome !== "dropped") throw strike.error;
  }

  size(): number {
    const strike = this.#enter("Size");
    if (strike !== undefined) throw strike.error;
    this.#node.look.atSize = true;
    return this.#node.content.size;
  }

  resize(size: number): void {
    checkOffset("size", size);
    const strike = this.#enter("Resize");
    if (!this.#isWritable) throw simError("Resize", this.path, "EINVAL");
    if (strike !== undefined && strike.when !== "after") throw strike.error;
    this.#node.look.atSize = true;
    if (size !== this.#node.content.size) {
      this.#fs.shrink(this.#node, size);
      this.#fs.do({ type: "resize", node: this.#node.id, path: this.path, size });
    }
    if (strike !== undefined) throw strike.error;
  }

  close(): void {
    if (!this.#isClosed) this.#fs.closed();
    this.#isClosed = true;
  }

  #enter(op: SimOp, size?: number): Strike | undefined {
    if (this.#isClosed) throw simFault(op, this.path, "EBADF", "the file is closed");
    return this.#fs.strike(op, this.path, size);
  }
}

/** A stage whose publication can fail as a whole. */
class SimStagedFile extends TemporaryFile {
  readonly #enterPublish: (path: string) => Strike | undefined;

  constructor(fs: SimFs, dir: string, enterPublish: (path: string) => Strike | undefined) {
    super(fs, dir);
    this.#enterPublish = enterPublish;
  }

  override publish(path: string): void {
    let late: Strike | undefined;
    try {
      late = this.#enterPublish(path);
    } catch (error) {
      this.discard();
      throw error;
    }
    super.publish(path);
    if (late) throw late.error;
  }
}

function simError(op: SimOp, path: string, code: IoCode): IoFault {
  const { op: word } = simFault(op, path, code, "");
  return new IoFault({ code, op: word, path });
}

/** The names in a path, of which a journal has few. */
function split(path: string): readonly string[] {
  let names = SPLIT.get(path);
  if (names === undefined) {
    if (SPLIT.size >= SPLIT_COUNT_MAX) SPLIT.clear();
    names = path.split("/").filter((name) => name !== "" && name !== ".");
    SPLIT.set(path, names);
  }
  return names;
}

const SPLIT = new Map<string, readonly string[]>();
const SPLIT_COUNT_MAX = 10_000;

function parentOf(path: string): string {
  const end = path.lastIndexOf("/");
  return end === -1 ? "." : path.slice(0, end) || "/";
}

function checkRange(bytes: Uint8Array, start: number, size: number): void {
  if (start >= 0 && size >= 0 && start + size <= bytes.byteLength) return;
  throw new RangeError(`Cannot use ${size} bytes from ${start} of an array of ${bytes.byteLength}`);
}

function usedSizeOf(root: DirNode): number {
  const seen = new Set<number>();
  const sizeOf = (dir: DirNode): number => {
    let size = 0;
    for (const node of dir.entries.values()) {
      if (seen.has(node.id)) continue;
      seen.add(node.id);
      if (node.kind === "file") size += node.content.used;
      if (node.kind === "dir") size += sizeOf(node);
    }
    return size;
  };
  return sizeOf(root);
}

/** Everything that processes see, as if it were durable. */
function seenOn(disk: SimDisk): SimDisk {
  const steps: readonly NameStep[] = disk.pendingNames;
  return disk.image((file) => file.content.share(), (index) => index < steps.length);
}
