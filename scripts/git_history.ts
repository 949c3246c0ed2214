/**
 * The history of a git checkout, as plain values: what the quickstart fills its journal with.
 *
 * One `git log` tells everything. Its output is asked for with a NUL behind each field, so that no name
 * of a file or an author, however odd, can be taken for something else:
 *
 * ```
 * hash NUL parents NUL author NUL seconds NUL subject NUL NUL [LF status NUL path NUL …]
 * ```
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { basename, resolve } from "node:path";

/** What happened to a file. */
export type ChangeType = "added" | "modified" | "removed" | "renamed" | "copied" | "retyped";

/** A file that a commit changed. */
export interface FileChange {
  /** What happened to it. */
  readonly type: ChangeType;
  /** Its path in the checkout. What is not UTF-8 in it reads U+FFFD. */
  readonly path: string;
  /** Its path before, when it was renamed or copied. */
  readonly from?: string;
}

/** A commit, and what it changed. */
export interface Commit {
  /** The hash, in full. */
  readonly hash: string;
  /** The hashes of its parents, in order; none for the first commit, and where a shallow clone ends. */
  readonly parents: readonly string[];
  /** The author's name. */
  readonly author: string;
  /** When it was written, in seconds since 1970. */
  readonly authoredAt: number;
  /** The first line of its message. */
  readonly subject: string;
  /** What it changed. A merge changes nothing of its own. */
  readonly files: readonly FileChange[];
}

/** The newest part of a history. */
export interface GitHistory {
  /** The checkout's root. */
  readonly path: string;
  /** What the project is called: the name of its folder. */
  readonly name: string;
  /** Oldest first; each parent that is here stands before its children. */
  readonly commits: readonly Commit[];
  /** Whether there are older commits that were left out. */
  readonly isPartial: boolean;
}

/** There is no history to read. The message says what to do about it. */
export class GitError extends Error {
  /** The class, for messages and logs. */
  override readonly name = "GitError";
}

/** How much of a long history to read. */
export interface HistoryLimits {
  /** Commits, the newest ones. */
  readonly commits: number;
  /** Changed files of all of them, but never less than one commit. */
  readonly files: number;
}

/**
 * Reads the history that leads to the commit checked out at `path`.
 *
 * @throws {GitError} when there is no git, no checkout or no commit.
 */
export function readHistory(path: string, limits: HistoryLimits): GitHistory {
  const root = git(path, ["rev-parse", "--show-toplevel"]).trimEnd();
  try {
    git(root, ["rev-parse", "--verify", "--quiet", "HEAD"]);
  } catch {
    throw new GitError(`Cannot read a history in "${root}": it has no commit yet; make one first`);
  }
  const output = git(root, [
    ...["-c", "log.showSignature=false", "-c", "core.quotePath=false"],
    ...["log", "-z", "--topo-order", `--max-count=${limits.commits + 1}`],
    ...["--name-status", "--find-renames", "-l200", "--no-ext-diff", "--no-color"],
    ...["--encoding=UTF-8", "--format=%H%x00%P%x00%an%x00%at%x00%s%x00", "HEAD", "--"],
  ]);
  const newestFirst = parseLog(output);
  let fileCount = 0;
  const end = newestFirst.findIndex((commit, index) => {
    fileCount += commit.files.length;
    return index === limits.commits || (index > 0 && fileCount > limits.files);
  });
  const commits = (end === -1 ? newestFirst : newestFirst.slice(0, end)).reverse();
  return { path: root, name: basename(root), commits, isPartial: end !== -1 };
}

/** Reads what `git log` printed, in its order. */
export function parseLog(output: string): Commit[] {
  const fields = output.split("\0");
  const commits: Commit[] = [];
  let at = 0;
  const next = () => fields[at++] ?? fail(`it ends after ${at - 1} fields`);
  while (at < fields.length) {
    const hash = next().trimStart();
    if (hash === "") continue;
    if (!HASH.test(hash)) fail(`${JSON.stringify(hash)} is not the hash of a commit`);
    const parents = next().split(" ").filter((parent) => parent !== "");
    const author = next();
    const authoredAt = Number(next());
    const subject = next();
    const files: FileChange[] = [];
    // In front of the first status stands a line feed, and sometimes an empty field.
    for (;;) {
      const field = fields[at]?.trimStart();
      if (field === undefined || HASH.test(field)) break;
      at++;
      if (field === "") continue;
      const type = CHANGES[field[0]] ?? fail(`${JSON.stringify(field)} is not a kind of change`);
      files.push(
        type === "renamed" || type === "copied"
          ? { type, from: next(), path: next() }
          : { type, path: next() },
      );
    }
    commits.push({ hash, parents, author, authoredAt, subject, files });
  }
  return commits;
}

const HASH = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

const CHANGES: Readonly<Record<string, ChangeType>> = {
  A: "added",
  M: "modified",
  D: "removed",
  R: "renamed",
  C: "copied",
  T: "retyped",
};

function fail(reason: string): never {
  throw new GitError(`Cannot read the output of git log: ${reason}`);
}

function git(path: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync("git", ["-C", resolve(path), ...args], {
    maxBuffer: 1 << 29,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const remedy = "give the folder of a checkout: deno task quickstart -- PATH";
  if (error !== undefined) {
    const { code, message } = error as { code?: unknown; message: string };
    throw new GitError(
      code === "ENOENT"
        ? "Cannot run git: it is not installed; install it and try again"
        : `Cannot run git: ${message}`,
    );
  }
  if (status !== 0) {
    // What git adds on further lines is its own remedy, and may be the better one.
    const [reason, ...more] = new TextDecoder().decode(stderr).trim().split("\n");
    const problem = reason.replace(/^fatal: /, "");
    throw new GitError(
      [`Cannot read a history in "${path}": ${problem}; ${remedy}`, ...more].join("\n"),
    );
  }
  return new TextDecoder().decode(stdout);
}
