/**
 * The file system on Bun.
 *
 * @module
 */
import { constants, copyFileSync } from "node:fs";
import process from "node:process";
import { IoFault } from "./fs.ts";
import { NodeFs } from "./node_fs.ts";

/** `flock(2)`: exclusive, without waiting. */
const LOCK_EX_NB = 2 | 4;

/** Where `flock` may live, and what the C library calls the function that finds `errno`. */
const LIBRARIES: Record<string, { names: readonly string[]; errno: string }> = {
  linux: {
    names: ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"],
    errno: "__errno_location",
  },
  darwin: { names: ["libSystem.B.dylib"], errno: "__error" },
};

/** As much of `bun:ffi` as we use. Its own types are Bun's, and Deno checks this file too. */
interface Ffi {
  dlopen(
    name: string,
    symbols: Record<string, { args: readonly string[]; returns: string }>,
  ): { symbols: Record<string, (...args: number[]) => number> };
  read: { i32(pointer: number, offset: number): number };
}

/** `flock` from the C library: 0, or the code of what went wrong. */
type Flock = (fd: number, operation: number) => 0 | string;

/** Found on the first lock; a realm that only reads never loads it. */
let flock: Flock | undefined;

/**
 * Files through `node:fs`, locks through the C library's `flock`, reflinks through the system call,
 * which fails when blocks cannot be shared. On Windows there are no locks (`ENOTSUP`), so no store can be
 * opened there.
 */
export class BunFs extends NodeFs {
  /** `"bun"`. */
  readonly name = "bun";

  /** Locks `fd` itself; closing it is what unlocks it. */
  protected override lockDescriptor(path: string, fd: number): (() => void) | undefined {
    flock ??= loadFlock(path);
    const code = flock(fd, LOCK_EX_NB);
    if (code === 0) return () => {};
    if (code === "EWOULDBLOCK" || code === "EAGAIN") return undefined;
    throw new IoFault({ code, op: "tryLock", path, message: "flock failed" });
  }

  /** Only Linux and macOS fail rather than copy. */
  protected override reflink(source: string, target: string): void {
    if (!(process.platform in LIBRARIES)) return super.reflink(source, target);
    copyFileSync(source, target, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL);
  }
}

function loadFlock(path: string): Flock {
  // An import of "bun:ffi" would break every program that Deno checks or bundles with this file in it.
  const ffi = process.getBuiltinModule("bun:ffi") as unknown as Ffi | undefined;
  const library = LIBRARIES[process.platform];
  let cause: unknown;
  for (const name of library?.names ?? []) {
    try {
      return bindFlock(ffi!, name, library.errno);
    } catch (error) {
      cause = error;
    }
  }
  const message = `no flock on ${process.platform}, and a store needs a lock`;
  throw new IoFault({ code: "ENOTSUP", op: "tryLock", path, message, cause });
}

function bindFlock(ffi: Ffi, library: string, errno: string): Flock {
  const { symbols } = ffi.dlopen(library, {
    flock: { args: ["i32", "i32"], returns: "i32" },
    [errno]: { args: [], returns: "ptr" },
  });
  const codes = process.getBuiltinModule("node:os").constants.errno;
  return (fd, operation) => {
    if (symbols.flock(fd, operation) === 0) return 0;
    const number = ffi.read.i32(symbols[errno](), 0);
    return Object.entries(codes).find(([, value]) => value === number)?.[0] ?? "EIO";
  };
}
