/**
 * Disks that are really full: a small file system of its own, mounted for a test, and filled to the brim.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
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
  const root = mkdtempSync(join(tmpdir(), "batpak-disk-"));
  const dir = join(root, "disk");
  mkdirSync(dir);
  try {
    if (kind === "tmpfs") run("mount", "-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", dir);
    else {
      const image = join(root, "image");
      writeFileSync(image, "");
      truncateSync(image, bytes);
      // Nothing reserved for root, who we are.
      run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", image);
      run("mount", "-o", "loop", image, dir);
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
    free,
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
      // Lazily, when a process that was killed has not gone yet.
      if (spawnSync("umount", [dir]).status !== 0) run("umount", "-l", dir);
      rmSync(root, { recursive: true });
    },
  };
}

function run(command: string, ...args: string[]): void {
  const { status, error, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status === 0) return;
  throw new Error(error?.message ?? `${command}: ${stderr.trim().split("\n")[0]}`);
}
