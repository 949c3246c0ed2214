/**
 * The file system on Bun.
 *
 * @module
 */
import { constants, copyFileSync } from "node:fs";
import process from "node:process";
import { IoFault } from "./fs.ts";
import { type LockCalls, markLock, releaseLeftLock } from "./left_locks.ts";
import { NodeFs } from "./node_fs.ts";

/** `flock(2)`: exclusive, without waiting. */
const LOCK_EX_NB = 2 | 4;
/** `memfd_create(2)`: not for the processes we start. */
const MFD_CLOEXEC = 1;

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
  ): { symbols: Record<string, (...args: (number | Uint8Array)[]) => number> };
  read: { i32(pointer: number, offset: number): number };
}

/** `flock` from the C library: 0, or the code of what went wrong. */
type Flock = (fd: number, operation: number) => 0 | string;

/** What belongs to locking. */
interface Locking {
  readonly flock: Flock;
  /** For locks that realms leave behind, where the system can tell. */
  readonly calls: LockCalls | undefined;
}

/** Found on the first lock; a realm that only reads never loads it. */
let locking: Locking | undefined;

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
    const { flock, calls } = locking ??= loadLocking(path);
    let code = flock(fd, LOCK_EX_NB);
    if (isRefusal(code) && calls !== undefined && releaseLeftLock(fd, calls)) {
      code = flock(fd, LOCK_EX_NB);
    }
    if (code === 0) return calls === undefined ? () => {} : markLock(fd, calls);
    if (isRefusal(code)) return undefined;
    throw new IoFault({ code, op: "tryLock", path, message: "flock failed" });
  }

  /** Only Linux and macOS fail rather than copy. */
  protected override reflink(source: string, target: string): void {
    if (!(process.platform in LIBRARIES)) return super.reflink(source, target);
    copyFileSync(source, target, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL);
  }
}

function isRefusal(code: 0 | string): boolean {
  return code === "EWOULDBLOCK" || code === "EAGAIN";
}

function loadLocking(path: string): Locking {
  // An import of "bun:ffi" would break every program that Deno checks or bundles with this file in it.
  const ffi = process.getBuiltinModule("bun:ffi") as unknown as Ffi | undefined;
  const library = LIBRARIES[process.platform];
  let cause: unknown;
  for (const name of library?.names ?? []) {
    try {
      const flock = bindFlock(ffi!, name, library.errno);
      return { flock, calls: bindCalls(ffi!, name, flock) };
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

/** What only Linux has; `undefined` where it is missing. */
function bindCalls(ffi: Ffi, library: string, flock: Flock): LockCalls | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    const { symbols } = ffi.dlopen(library, {
      gettid: { args: [], returns: "i32" },
      memfd_create: { args: ["ptr", "u32"], returns: "i32" },
    });
    return {
      tryLock: (fd) => flock(fd, LOCK_EX_NB) === 0,
      threadId: () => symbols.gettid(),
      makeMemoryFile: (name) =>
        symbols.memfd_create(new TextEncoder().encode(`${name}\0`), MFD_CLOEXEC),
    };
  } catch {
    return undefined;
  }
}
