/**
 * The files of the project, as the scripts and the layering test see them.
 *
 * @module
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";

/**
 * Lists the project's files below `root`, sorted, relative to it and with forward slashes. Hidden
 * folders, installed packages and coverage reports are not part of the project.
 */
export function projectFiles(root: string): string[] {
  const files: string[] = [];
  collect(root, "", files);
  return files.sort();
}

/** Tells whether both runtimes take `path` for a test file. */
export function isTestFile(path: string): boolean {
  return path.endsWith("_test.ts");
}

function collect(root: string, folder: string, files: string[]): void {
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
    if (entry.isFile()) {
      files.push(path);
    } else if (entry.isDirectory() && !isForeign(entry.name)) {
      collect(root, path, files);
    }
  }
}

function isForeign(folderName: string): boolean {
  return folderName.startsWith(".") || folderName === "node_modules" || folderName === "coverage";
}
