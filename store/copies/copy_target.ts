/**
 * Where a copy goes: a directory that is new or empty, filled file by file so that nothing half-made ever
 * looks whole.
 *
 * Each file is staged, synced and renamed to its name, and the directory is synced, before the next one
 * begins. What comes last is what makes the copy count, so the order is the caller's promise: without
 * the oldest segment no journal opens, without its manifest a backup is none. When something fails, what
 * was made is removed in the opposite order, the last file first, and where that cannot be removed, the
 * rest stays too.
 *
 * Nobody else may write to the directory meanwhile. A name that turns up there is not replaced.
 *
 * @module
 */

import {
  type ClonePreference,
  type CloneStrategy,
  IoFault,
  type StagedFile,
  type StoreFs,
} from "../../platform/fs.ts";
import { isStagedName } from "../../platform/staged_file.ts";
import { CopyTargetError } from "../errors.ts";

/** A directory that becomes a copy. */
export class CopyTarget {
  /** The absolute path, links resolved. */
  readonly dir: string;
  readonly #fs: StoreFs;
  /** As it was given, for messages. */
  readonly #path: string;
  readonly #existed: boolean;
  /** Paths that have been published, or were about to be. */
  readonly #files: string[] = [];
  readonly #dirs: string[] = [];

  private constructor(fs: StoreFs, path: string, place: Place) {
    this.#fs = fs;
    this.#path = path;
    this.dir = place.dir;
    this.#existed = place.exists;
  }

  /**
   * Checks that a copy of `source`, a canonical path, can go to `path`. Writes nothing.
   *
   * @throws {CopyTargetError} when it cannot.
   */
  static check(fs: StoreFs, path: string, source: string): CopyTarget {
    if (typeof path !== "string" || path === "") {
      throw new TypeError("Cannot copy: the target is not a path");
    }
    const place = placeOf(fs, path, source);
    const { dir } = place;
    if (dir === source) throw new CopyTargetError("SameDirectory", path);
    if (isInside(dir, source)) throw new CopyTargetError("InsideSource", path);
    if (isInside(source, dir)) throw new CopyTargetError("AroundSource", path);
    if (place.exists && fs.list(dir).length > 0) throw new CopyTargetError("NotEmpty", path);
    return new CopyTarget(fs, path, place);
  }

  /** Makes the directory. What `action` throws undoes everything. */
  fill<T>(action: () => T): T {
    try {
      this.#fs.createDirAll(this.dir);
      return action();
    } catch (error) {
      this.#abandon();
      throw error;
    }
  }

  /** Makes a directory in it. */
  makeDir(name: string): void {
    const path = `${this.dir}/${name}`;
    this.#dirs.push(path);
    this.#fs.createDirAll(path);
  }

  /** Makes a file of what `write` puts into the stage, durable before this returns. */
  publish(name: string, write: (staged: StagedFile) => void): void {
    const path = this.#claim(name);
    const staged = this.#fs.stage(parentOf(path));
    try {
      write(staged);
      this.#files.push(path);
      staged.publish(path);
    } catch (error) {
      discard(staged);
      throw error;
    }
  }

  /** Makes a file by {@linkcode StoreFs.clone}, as `check` finds it right, durable before this returns. */
  publishClone(
    name: string,
    options: {
      readonly source: string;
      readonly preference: ClonePreference;
      readonly check: (path: string) => void;
    },
  ): CloneStrategy {
    const path = this.#claim(name);
    // A clone is neither checked nor synced when it gets its name, so it gets a temporary one first.
    const staged = `${parentOf(path)}/.stage-1`;
    const strategy = this.#fs.clone(options.source, staged, options.preference);
    options.check(staged);
    const file = this.#fs.open(staged, "read");
    try {
      file.sync("all");
    } finally {
      file.close();
    }
    this.#files.push(path);
    this.#fs.rename(staged, path);
    this.#fs.syncDir(parentOf(path));
    return strategy;
  }

  /** The path of a name that must not be taken: a rename would replace what is there. */
  #claim(name: string): string {
    const path = `${this.dir}/${name}`;
    if (this.#fs.stat(path) !== undefined) throw new CopyTargetError("NotEmpty", this.#path);
    return path;
  }

  /** Removes what was made, as far as that goes. The failure before it is the one worth reporting. */
  #abandon(): void {
    const fs = this.#fs;
    try {
      const [last, ...others] = this.#files.reverse();
      if (last !== undefined) {
        // Without it nothing opens, so it goes first, and for good. Where it cannot be removed, all of
        // them stay: some of them could look whole.
        if (fs.removeIfPresent(last)) fs.syncDir(parentOf(last));
        for (const path of others) fs.removeIfPresent(path);
      }
      for (const dir of [...this.#dirs, this.dir]) {
        if (fs.stat(dir) === undefined) continue;
        for (const { name } of fs.list(dir)) if (isStagedName(name)) fs.remove(`${dir}/${name}`);
        fs.syncDir(dir);
        const isOurs = dir !== this.dir || !this.#existed;
        if (isOurs && fs.list(dir).length === 0) fs.removeDirAll(dir);
      }
    } catch {
      // What is left does not open: see the top of the file.
    }
  }
}

/** A path resolved, and whether there is a directory. */
interface Place {
  readonly dir: string;
  readonly exists: boolean;
}

/** Where a path leads, also when the end of it does not exist yet. */
function placeOf(fs: StoreFs, path: string, source: string): Place {
  // A canonical path says how this system writes them.
  const separator = source.startsWith("/") ? "/" : "\\";
  const trimmed = path.replace(/(?:\/+\.?)+$/, "") || "/";
  const kind = kindOf(fs, trimmed, path);
  if (kind === "symlink") throw new CopyTargetError("SymbolicLink", path);
  if (kind === "dir") return { dir: fs.canonicalize(trimmed), exists: true };
  if (kind !== undefined) throw new CopyTargetError("NotADirectory", path);

  let above = trimmed;
  const missing: string[] = [];
  try {
    do {
      const at = Math.max(above.lastIndexOf("/"), above.lastIndexOf(separator));
      missing.unshift(above.slice(at + 1));
      above = at < 0 ? "." : above.slice(0, at) || "/";
    } while (kindOf(fs, above, path) === undefined);
    const base = fs.canonicalize(above);
    const names: string[] = [];
    for (const name of [...base.split(separator), ...missing]) {
      // What does not exist is no link, so two dots in it mean what they say.
      if (name === "..") names.pop();
      else if (name !== "" && name !== ".") names.push(name);
    }
    const dir = (base.startsWith("/") ? "/" : "") + names.join(separator);
    return missing.includes("..") ? placeOf(fs, dir, source) : { dir, exists: false };
  } catch (error) {
    // A process that may not look above the target, and a target that is not there: nothing that exists
    // can be it, and the source, which may be read, is not above it.
    if (error instanceof IoFault && (error.code === "EACCES" || error.code === "EPERM")) {
      return { dir: trimmed, exists: false };
    }
    throw error;
  }
}

function kindOf(fs: StoreFs, path: string, given: string): string | undefined {
  try {
    return fs.stat(path)?.kind;
  } catch (error) {
    if (error instanceof IoFault && error.code === "ENOTDIR") {
      throw new CopyTargetError("NotADirectory", given);
    }
    throw error;
  }
}

function isInside(path: string, dir: string): boolean {
  const next = path[dir.length];
  return dir === "/" || (path.startsWith(dir) && (next === "/" || next === "\\"));
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}

function discard(staged: StagedFile): void {
  try {
    staged.discard();
  } catch {
    // It has a temporary name, and abandoning the copy looks for those.
  }
}
