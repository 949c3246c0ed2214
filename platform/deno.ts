/**
 * The file system on Deno. Needs `--allow-read` and `--allow-write` for the directory of the store,
 * and no other permission.
 *
 * @module
 */
import { fstatSync } from "node:fs";
import { IoFault } from "./fs.ts";
import { NodeFs } from "./node_fs.ts";

/**
 * Files through `node:fs`, locks through `Deno.FsFile`, which takes a `flock(2)` lock: the same kind
 * as on Bun, so the two see each other. There are no reflinks, because Deno copies in silence when
 * the file system cannot share blocks; clones start at the hard link.
 */
export class DenoFs extends NodeFs {
  /** `"deno"`. */
  readonly name = "deno";

  /** `node:fs` looks at the parents first, which takes a permission that the user has not given. */
  protected override makeDirs(path: string): void {
    Deno.mkdirSync(path, { recursive: true });
  }

  /** Deno asks the user on a terminal, and a library has no business making it ask. */
  protected override mayRead(path: string): boolean {
    return Deno.permissions.querySync({ name: "read", path }).state === "granted";
  }

  /**
   * Only a `Deno.FsFile` can be locked, and `Deno.openSync` follows links. So it opens the path a second
   * time, and must arrive at the very file that `fd` reached without following any.
   */
  protected override lockDescriptor(path: string, fd: number): (() => void) | undefined {
    const file = Deno.openSync(path, { read: true, write: true });
    let locked = false;
    try {
      const expected = fstatSync(fd);
      const actual = file.statSync();
      // Both numbers are null where Deno does not know them.
      if (actual.ino !== null && (actual.ino !== expected.ino || actual.dev !== expected.dev)) {
        const message = "it was replaced while it was being opened";
        throw new IoFault({ code: "EBUSY", op: "tryLock", path, message });
      }
      locked = file.tryLockSync(true);
    } finally {
      if (!locked) file.close();
    }
    return locked ? () => file.close() : undefined;
  }
}
