/**
 * Locks of realms that have ended, on Bun.
 *
 * Bun does not close the files of a worker that ends, so a lock that it held stays, and nobody in the
 * process could open that store again. The kernel cannot help: it knows of processes. So whoever locks a
 * file leaves a mark, which says which thread holds the lock, and through which descriptor; and whoever
 * finds a file locked looks for a mark of a thread that is no more, and closes that descriptor.
 *
 * A mark is a file in memory that has no name but the one that the kernel shows for its descriptor. It goes
 * with the process, as the lock does, and the lock file stays as it is. Its one byte is taken away by the
 * one who closes the descriptor, under a lock on the mark: the number may belong to somebody else soon, and
 * must not be closed twice.
 *
 * This needs what Linux shows under `/proc`. Elsewhere such a lock stays until the process ends.
 *
 * @module
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readlinkSync,
} from "node:fs";

/** What has to be asked of the system besides. */
export interface LockCalls {
  /** Locks an open file, exclusively and without waiting, and says whether it could. */
  tryLock(fd: number): boolean;
  /** The number of this thread. */
  threadId(): number;
  /** Makes a file in memory, and returns its descriptor, or -1. */
  makeMemoryFile(name: string): number;
}

const DESCRIPTORS = "/proc/self/fd";
const THREADS = "/proc/self/task";

/** Says that this thread holds the lock on `fd`. Returns what takes that back. */
export function markLock(fd: number, calls: LockCalls): () => void {
  const mark = calls.makeMemoryFile(`${nameOf(fd)}${calls.threadId()} ${fd}`);
  if (mark < 0) return () => {};
  ftruncateSync(mark, 1);
  return () => closeSync(mark);
}

/** Releases a lock on the file `fd` that a thread has left behind, and says whether there was one. */
export function releaseLeftLock(fd: number, calls: LockCalls): boolean {
  const prefix = `/memfd:${nameOf(fd)}`;
  for (const descriptor of readdirSync(DESCRIPTORS)) {
    const link = linkOf(descriptor);
    if (!link?.startsWith(prefix)) continue;
    const [thread, held] = link.slice(prefix.length).split(" ");
    if (existsSync(`${THREADS}/${thread}`)) continue;
    if (!isSameFile(Number(held), fd)) continue;
    if (release(Number(held), descriptor, link, calls)) return true;
  }
  return false;
}

function release(held: number, descriptor: string, link: string, calls: LockCalls): boolean {
  let mark: number;
  try {
    // Opened anew: a lock belongs to what was opened, and this one has to keep out other threads.
    mark = openSync(`${DESCRIPTORS}/${descriptor}`, "r+");
  } catch {
    return false;
  }
  try {
    // The number may have come to mean another file, and somebody else may have been faster.
    if (linkOf(String(mark)) !== link || !calls.tryLock(mark)) return false;
    if (fstatSync(mark).size === 0) return false;
    ftruncateSync(mark, 0);
    closeSync(held);
    return true;
  } finally {
    closeSync(mark);
  }
}

/** Begins the name of the marks of a file. */
function nameOf(fd: number): string {
  const { dev, ino } = fstatSync(fd);
  return `batpak-lock ${dev} ${ino} `;
}

/** A runtime that does close the files of its dead realms may have given the number to somebody else. */
function isSameFile(held: number, fd: number): boolean {
  try {
    return nameOf(held) === nameOf(fd);
  } catch {
    return false;
  }
}

function linkOf(descriptor: string): string | undefined {
  try {
    return readlinkSync(`${DESCRIPTORS}/${descriptor}`);
  } catch {
    // Closed meanwhile.
    return undefined;
  }
}
