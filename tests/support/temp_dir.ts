/**
 * Directories on the real disk.
 *
 * @module
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs `action` with an empty directory that is removed afterwards. */
export function inTempDir<T>(action: (dir: string) => T): T {
  const dir = mkdtempSync(join(tmpdir(), "batpak-"));
  try {
    return action(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** As {@linkcode inTempDir}, for an action that takes its time. */
export async function withTempDir<T>(action: (dir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), "batpak-"));
  try {
    return await action(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}
