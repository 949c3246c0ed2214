/**
 * A history as events: what the quickstart appends.
 *
 * | Event          | Entity          | Cause               | Tags                 |
 * | -------------- | --------------- | ------------------- | -------------------- |
 * | `commit.made`  | `commit:<hash>` | its first parent    | `author:…`           |
 * | `file.changed` | `file:a:b.ts`   | its commit          | `author:…`, `commit:…` |
 *
 * All of them live in the scope of the project's name. A commit and its files are one batch: the
 * journal has all of it or nothing. Each event is appended under a key made of the commit's hash, so
 * appending a history twice changes nothing; and as the id of such an event follows from its key, a
 * commit can name its parent as its cause without looking it up.
 *
 * @module
 */
import { createHash } from "node:crypto";
import {
  type BatchItem,
  COORDINATE_COMPONENT_SIZE_MAX,
  defineEvent,
  type EventDefinition,
  type EventId,
  OperationKey,
  type Receipt,
  type Store,
  type StoreOptions,
} from "../mod.ts";
import type { ChangeType, Commit, GitHistory } from "./git_history.ts";

/** What a commit says. */
export interface CommitMade {
  /** The hash, in full. */
  readonly hash: string;
  /** The hashes of its parents. The first is the cause; a merge has more. */
  readonly parents: readonly string[];
  /** The first line of its message. */
  readonly subject: string;
  /** The author's name. */
  readonly author: string;
  /** When it was written. */
  readonly authoredAt: Date;
  /** Files it changed. */
  readonly fileCount: number;
}

/** What a changed file says. */
export interface FileChanged {
  /** The path as git has it; the entity may be another spelling of it. */
  readonly path: string;
  /** What happened to it. */
  readonly change: ChangeType;
  /** The path before, when it was renamed or copied. */
  readonly from?: string;
  /** The commit's hash. */
  readonly commit: string;
}

/** A commit was made. */
export const commitMade: EventDefinition<CommitMade> = defineEvent<CommitMade>({
  name: "commit.made",
  kind: "C:001",
});

/** A commit changed a file. */
export const fileChanged: EventDefinition<FileChanged> = defineEvent<FileChanged>({
  name: "file.changed",
  kind: "F:001",
});

/** Files of one batch. With the longest paths there are, they stay below the bytes of a batch. */
const BATCH_FILES = 1000;
const SUBJECT_LENGTH_MAX = 500;
const NAME_LENGTH_MAX = 60;

/** The options a store needs to take a history. */
export const HISTORY_OPTIONS: StoreOptions = {
  batch: { maxSize: BATCH_FILES + 1, maxBytes: 16 << 20 },
  events: [commitMade, fileChanged],
};

/** Appends all commits, oldest first, and returns the receipt of the newest one. */
export function appendHistory(store: Store, { commits, name }: GitHistory): Receipt {
  const scope = scopeOfName(name);
  let newest: Receipt | undefined;
  for (const commit of commits) newest = appendCommit(store, scope, commit);
  if (newest === undefined) throw new RangeError("Cannot append a history without a commit");
  return newest;
}

/** The id of the event that says a commit was made, whether or not it is in the journal. */
export function commitEventId(hash: string): EventId {
  return commitKey(hash).id;
}

/**
 * The entity of a file. `/` separates folders in a path and `:` the levels of an entity; what an entity
 * must not contain is percent-encoded, so {@linkcode pathOfEntity} finds the way back. A path that is
 * too long is named by its hash, and only its payload has it.
 */
export function entityOfPath(path: string): string {
  const levels = path.split("/").map((level) =>
    level.replace(MUST_ENCODE, percentEncode).replace(/\.(?=\.)/g, "%2E")
  );
  const entity = `file:${levels.join(":")}`;
  if (new TextEncoder().encode(entity).byteLength <= COORDINATE_COMPONENT_SIZE_MAX) return entity;
  return `file:%long:${createHash("sha256").update(path).digest("hex")}`;
}

/** The path of a file's entity; `undefined` for one that was too long. */
export function pathOfEntity(entity: string): string | undefined {
  if (entity.startsWith("file:%long:")) return undefined;
  return entity.slice("file:".length).split(":").map(decodeURIComponent).join("/");
}

/** The tag of an author, as events bear it. */
export function authorTag(author: string): string {
  return `author:${labelOf(author, NAME_LENGTH_MAX)}`;
}

function appendCommit(store: Store, scope: string, commit: Commit): Receipt {
  const { hash, parents, author, authoredAt, files } = commit;
  const key = commitKey(hash);
  const about: BatchItem = {
    entity: `commit:${hash}`,
    scope,
    kind: commitMade,
    payload: {
      hash,
      parents,
      subject: labelOf(commit.subject, SUBJECT_LENGTH_MAX),
      author: labelOf(author, NAME_LENGTH_MAX),
      authoredAt: new Date(authoredAt * 1000),
      fileCount: files.length,
    } satisfies CommitMade,
    idempotencyKey: key,
    causationId: parents.length > 0 ? commitEventId(parents[0]) : undefined,
    tags: [authorTag(author)],
  };
  const changes = files.map(({ type, path, from }, index): BatchItem => ({
    entity: entityOfPath(path),
    scope,
    kind: fileChanged,
    payload: { path, change: type, from, commit: hash } satisfies FileChanged,
    idempotencyKey: OperationKey.of("git.file", [hash, String(index)]),
    causationId: key.id,
    correlationId: key.id,
    tags: [authorTag(author), `commit:${hash}`],
  }));
  const [receipt] = store.appendBatch([about, ...changes.slice(0, BATCH_FILES)]);
  for (let start = BATCH_FILES; start < changes.length; start += BATCH_FILES) {
    store.appendBatch(changes.slice(start, start + BATCH_FILES));
  }
  return receipt;
}

function commitKey(hash: string): OperationKey {
  return OperationKey.of("git.commit", [hash]);
}

function scopeOfName(name: string): string {
  return labelOf(name, NAME_LENGTH_MAX).replace(/[/|=]|\.(?=\.)/g, "-") || "project";
}

/** Text on one line, without what a terminal would obey, and not too long. */
function labelOf(text: string, lengthMax: number): string {
  // deno-lint-ignore no-control-regex
  const clean = text.toWellFormed().replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ");
  const chars = [...clean.trim()];
  return chars.length <= lengthMax ? chars.join("") : `${chars.slice(0, lengthMax - 1).join("")}…`;
}

// deno-lint-ignore no-control-regex
const MUST_ENCODE = /[\u0000-\u001f\u007f%:|=]/g;

function percentEncode(char: string): string {
  return `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}
