/**
 * Disks that are really full: a small file system of its own, mounted for a test, and filled to the brim.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** `"ext4"` is a real one, in a file: blocks are found late, and a sync can be what runs out of them. */
export type DiskKind = "tmpfs" | "ext4";

/** A disk that can be filled. */
export interface SmallDisk extends Disposable {
  readonly kind: DiskKind;
  /** Where it is mounted. */
  readonly dir: string;
  /** Fills it, but for about so many bytes. */
  fill(leftBytes: number): void;
  /** Makes room again. */
  free(): void;
}

/** Why there can be no such disk here; `undefined` when there can. */
export function noSmallDisk(kind: DiskKind): string | undefined {
  if (process.platform !== "linux") return "mounts a small disk, which is done for Linux only";
  if (process.getuid?.() !== 0) return "mounts a small disk, which only root may";
  try {
    mountSmallDisk(kind, 8 << 20)[Symbol.dispose]();
    return undefined;
  } catch (error) {
    return `mounts a small disk, which does not work here: ${(error as Error).message}`;
  }
}

/** Mounts an empty disk of about so many bytes; disposing it removes it. */
export function mountSmallDisk(kind: DiskKind, bytes: number): SmallDisk {
  // Without a journal of its own there is more room for ours.
  return mountDisk(kind, bytes, ["-O", "^has_journal"], "defaults");
}

/** A disk whose power can be cut. */
export interface CuttableDisk extends SmallDisk {
  /** The file that the disk is in: what has reached it survives. */
  readonly image: string;
  /**
   * Keeps what has reached the disk by now. Whoever writes to it has to be stopped, or the copy may be of
   * no moment at all.
   */
  keep(): void;
  /** Goes on with what was kept last, as after a power cut. Nobody may have a file open. */
  cutPower(): void;
}

/**
 * Mounts an empty ext4 with a journal.
 *
 * @param options as `mount -o` takes them: how much its journal orders, and how often it writes by itself.
 */
export function mountCuttableDisk(bytes: number, options: string): CuttableDisk {
  return mountDisk("ext4", bytes, [], options);
}

/** A disk that promises more than there is below it, as thin volumes do. */
export interface ThinDisk extends Disposable {
  /** Where it is mounted. */
  readonly dir: string;
  /** Lets nothing new reach what is below it: writes go well, and syncs fail. */
  fillBelow(): void;
  /** Makes room below it again. */
  freeBelow(): void;
  /** Forgets everything that only memory knows. Nobody may have a file open. */
  remount(): void;
}

/** Mounts an ext4 that lies in a tmpfs which is smaller than it is. */
export function mountThinDisk(): ThinDisk {
  const below = mountSmallDisk("tmpfs", 12 << 20);
  const root = mkdtempSync(join(tmpdir(), "batpak-thin-"));
  const image = join(below.dir, "image");
  const mount = () => run("mount", "-o", "loop", image, root);
  try {
    writeFileSync(image, "");
    truncateSync(image, 32 << 20);
    // A journal of its own would meet the end first, and then nothing can be written any more.
    run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", image);
    mount();
  } catch (error) {
    below[Symbol.dispose]();
    throw error;
  }
  return {
    dir: root,
    fillBelow: () => below.fill(0),
    freeBelow: () => below.free(),
    remount() {
      run("umount", root);
      mount();
    },
    [Symbol.dispose]() {
      unmount(root);
      rmSync(root, { recursive: true });
      below[Symbol.dispose]();
    },
  };
}

function mountDisk(
  kind: DiskKind,
  bytes: number,
  features: readonly string[],
  options: string,
): CuttableDisk {
  const root = mkdtempSync(join(tmpdir(), "batpak-disk-"));
  const dir = join(root, "disk");
  const image = join(root, "image");
  const kept = join(root, "kept");
  const mountImage = () => run("mount", "-o", `loop,${options}`, image, dir);
  mkdirSync(dir);
  try {
    if (kind === "tmpfs") run("mount", "-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", dir);
    else {
      writeFileSync(image, "");
      truncateSync(image, bytes);
      // Nothing reserved for root, who we are.
      run("mkfs.ext4", "-q", "-F", "-m", "0", ...features, image);
      mountImage();
    }
  } catch (error) {
    rmSync(root, { recursive: true });
    throw error;
  }
  const filler = join(dir, "filler");
  const free = () => rmSync(filler, { force: true });
  return {
    kind,
    dir,
    image,
    free,
    keep() {
      // Until two looks agree: the system writes now and then by itself.
      do copyFileSync(image, kept); while (!readFileSync(image).equals(readFileSync(kept)));
    },
    cutPower() {
      run("umount", dir);
      renameSync(kept, image);
      mountImage();
    },
    fill(leftBytes) {
      const fd = openSync(filler, "a");
      try {
        for (let block = 1 << 20; block >= 512;) {
          try {
            writeSync(fd, new Uint8Array(block));
          } catch (error) {
            if ((error as { code?: string }).code !== "ENOSPC") throw error;
            block /= 2;
          }
        }
        // Not what the calls have said: one that fails may have written a part.
        ftruncateSync(fd, Math.max(0, fstatSync(fd).size - leftBytes));
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
    },
    [Symbol.dispose]() {
      unmount(dir);
      rmSync(root, { recursive: true });
    },
  };
}

/** Lazily, when somebody who was killed, or has failed, still has a file open. */
function unmount(dir: string): void {
  if (spawnSync("umount", [dir]).status !== 0) run("umount", "-l", dir);
}

function run(command: string, ...args: string[]): void {
  const { status, error, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status === 0) return;
  throw new Error(error?.message ?? `${command}: ${stderr.trim().split("\n")[0]}`);
}
