/**
 * What can go wrong in the journal, as classes a caller would catch.
 *
 * Every error says what happened, where, and what to do; the facts are fields; `code` is stable and
 * survives a worker boundary. Wrong arguments that no caller would catch are a plain `TypeError` or
 * `RangeError`. A failure below the store, in files, arrives as the `cause` of {@linkcode StoreIoError}.
 *
 * @module
 */

import type { IoFault } from "../platform/fs.ts";
import type { BackupFinding } from "./copies/backup.ts";
import type { EventId } from "./ids.ts";

/** The stable codes of {@linkcode StoreError}. */
export type StoreErrorCode =
  | "ALREADY_CONSUMED"
  | "ASYNC_VALIDATION"
  | "BACKUP"
  | "BATCH_FAILED"
  | "CHECKPOINT_AHEAD"
  | "CHECKPOINT_BUSY"
  | "CHECKPOINT_CORRUPT"
  | "CHECKPOINT_ID"
  | "CHECKPOINT_REGION_MISMATCH"
  | "CHECKPOINT_WRITE"
  | "CLOCK_CONFLICT"
  | "CLOCK_OVERFLOW"
  | "COMPACTION"
  | "CONDITION_CONFLICT"
  | "CONFIGURATION"
  | "COORDINATE"
  | "COPY_SOURCE"
  | "COPY_TARGET"
  | "CORRUPTION"
  | "CURSOR_WORKER"
  | "DECODE"
  | "EVENT_KIND"
  | "EVENT_PRUNED"
  | "EVENT_REGISTRY"
  | "EXTENSION_KEY"
  | "FENCE_ACTIVE"
  | "FENCE_CANCELLED"
  | "FENCE_NOT_ACTIVE"
  | "FUTURE_VERSION"
  | "GATE"
  | "HOST"
  | "ID"
  | "IDEMPOTENCY"
  | "IMPORT_EVENT"
  | "IMPORT_PROVENANCE"
  | "IMPORT_SOURCE_CLOSED"
  | "INVALID_CLOCK"
  | "INVARIANT_VIOLATION"
  | "IO"
  | "JOURNAL_CHANGING"
  | "JOURNAL_NOT_FOUND"
  | "LIFECYCLE_BUSY"
  | "NEVER_SKIP"
  | "REGION"
  | "RESERVED_KIND"
  | "SERIALIZATION"
  | "STORE_CLOSED"
  | "STORE_IN_USE"
  | "STORE_LOCKED"
  | "TAG"
  | "TOO_LARGE"
  | "VALIDATION"
  | "WAIT_TIMEOUT"
  | "WRITER_CRASHED";

/** The root of every error the journal throws on purpose. */
export abstract class StoreError extends Error {
  /** Stable, for programs. */
  abstract readonly code: StoreErrorCode;
}

/** An option has a value the store cannot work with. Nothing was opened: correct it and open again. */
export class ConfigurationError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "ConfigurationError";
  /** Stable, for programs. */
  override readonly code = "CONFIGURATION";
  /** The option, in dotted form. */
  readonly option: string;

  /**
   * Says what happened.
   *
   * @param reason what is wrong and what would be right, without a full stop.
   */
  constructor(option: string, reason: string) {
    super(`Cannot use option "${option}": ${reason}`);
    this.option = option;
  }
}

/**
 * Another live handle, here or in another process, writes to this directory. Wait until it is closed, or
 * open read-only. Never delete the lock file: the system frees the lock when its holder ends, and without
 * the file two writers could get in.
 */
export class StoreLockedError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "StoreLockedError";
  /** Stable, for programs. */
  override readonly code = "STORE_LOCKED";
  /** The canonical directory. */
  readonly path: string;

  /**
   * Says what happened.
   *
   * @param path the canonical directory.
   */
  constructor(path: string) {
    super(
      `Cannot open "${path}" for writing: another process, or another handle in this one, is writing ` +
        "there. Wait until it is done, or read beside it",
    );
    this.path = path;
  }
}

/** There is no journal in this directory. Check the path, or open it for writing to begin one. */
export class JournalNotFoundError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "JournalNotFoundError";
  /** Stable, for programs. */
  override readonly code = "JOURNAL_NOT_FOUND";
  /** The directory, as it was given. */
  readonly path: string;

  /**
   * Says what happened.
   *
   * @param path the directory; `cause` is what the system said, if it did.
   */
  constructor(path: string, cause?: unknown) {
    super(`Cannot read "${path}": there is no journal here`, { cause });
    this.path = path;
  }
}

/** The handle was closed, or the event's bytes were not read before it was. Open again and read again. */
export class StoreClosedError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "StoreClosedError";
  /** Stable, for programs. */
  override readonly code = "STORE_CLOSED";

  /**
   * Says what happened.
   *
   * @param action what was attempted, as an infinitive.
   */
  constructor(action: string) {
    super(`Cannot ${action}: the store is closed`);
  }
}

/**
 * The operating system refused or failed a file operation. The {@linkcode IoFault} in `cause` says
 * which. After a failed append nothing of it is visible and the next one may succeed.
 */
export class StoreIoError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "StoreIoError";
  /** Stable, for programs. */
  override readonly code = "IO";
  /** The failed call. */
  readonly fault: IoFault;

  /**
   * Says what happened.
   *
   * @param action what was attempted, as an infinitive.
   */
  constructor(action: string, fault: IoFault) {
    super(`Cannot ${action}: ${fault.message}`, { cause: fault });
    this.fault = fault;
  }
}

/**
 * The writer has given up for the life of this handle, because a sync failed or a failed write could
 * not be undone: after that, no later success proves anything about earlier bytes. Reads still work.
 * Close and open again; recovery decides what survived.
 */
export class WriterCrashedError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "WriterCrashedError";
  /** Stable, for programs. */
  override readonly code = "WRITER_CRASHED";

  /**
   * Says what happened.
   *
   * @param action what was attempted; `cause` is the first failure.
   */
  constructor(action: string, cause: unknown) {
    const reason = cause instanceof Error ? `: ${cause.message}` : "";
    super(`Cannot ${action}: the writer stopped after a failed sync or repair${reason}`, { cause });
  }
}

/**
 * Bytes on disk are not what was written there, and not merely cut short by a crash. Nothing was
 * changed. Run `batpak verify` for all findings, and restore the named segment from a copy.
 */
export class CorruptionError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "CorruptionError";
  /** Stable, for programs. */
  override readonly code = "CORRUPTION";
  /** The damaged file. */
  readonly path: string;
  /** The segment, or `undefined` when another file is damaged. */
  readonly segmentId: number | undefined;
  /** Bytes from the start of the file. */
  readonly offset: number;
  /** What is wrong there. */
  readonly reason: string;

  /**
   * Says what happened.
   *
   * @param options where and what.
   */
  constructor(options: { path: string; segmentId?: number; offset: number; reason: string }) {
    const { path, segmentId, offset, reason } = options;
    super(`Cannot trust "${path}" at offset ${offset}: ${reason}`);
    this.path = path;
    this.segmentId = segmentId;
    this.offset = offset;
    this.reason = reason;
  }
}

/** A file was written by a newer batpak. Nothing was changed: upgrade this program. */
export class FutureVersionError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "FutureVersionError";
  /** Stable, for programs. */
  override readonly code = "FUTURE_VERSION";
  /** The file. */
  readonly path: string;
  /** Its version. */
  readonly found: number;
  /** The newest version this program reads. */
  readonly supported: number;

  /**
   * Says what happened.
   *
   * @param options the file and the two versions.
   */
  constructor(options: { path: string; found: number; supported: number }) {
    const { path, found, supported } = options;
    super(
      `Cannot read "${path}": it has format version ${found}, and this program reads up to ${supported}`,
    );
    this.path = path;
    this.found = found;
    this.supported = supported;
  }
}

/** A clock as a condition or a fact: `"none"` when the entity's lane has no event yet. */
export type ClockState = "none" | number;

/** The facts of a {@linkcode ClockConflictError}. */
export interface ClockConflict {
  /** The entity. */
  readonly entity: string;
  /** The lane. */
  readonly lane: number;
  /** What the caller expected. */
  readonly expected: ClockState;
  /** Where it is. */
  readonly actual: ClockState;
}

/**
 * The entity has moved on since it was read. Nothing was written: read it again, decide again, and
 * append at the new clock.
 */
export class ClockConflictError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "ClockConflictError";
  /** Stable, for programs. */
  override readonly code = "CLOCK_CONFLICT";
  /** Who, where, and both clocks. */
  readonly conflict: ClockConflict;

  /**
   * Says what happened.
   *
   * @param conflict who, where, and both clocks.
   */
  constructor(conflict: ClockConflict) {
    const { entity, lane, expected, actual } = conflict;
    const where = lane === 0 ? `"${entity}"` : `"${entity}" on lane ${lane}`;
    const state = actual === "none" ? "it has no event" : `it is at clock ${actual}`;
    const what = expected === "none" ? "the first event" : `an event after clock ${expected}`;
    super(`Cannot append ${what} of ${where}: ${state}`);
    this.conflict = conflict;
  }
}

/**
 * Events that the append was conditional on not existing do exist. Nothing was written: read them,
 * decide again, and append with `after` set to what you have read.
 */
export class ConditionConflictError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "ConditionConflictError";
  /** Stable, for programs. */
  override readonly code = "CONDITION_CONFLICT";
  /** The first conflicting events in commit order, at most 16: sequence and id. */
  readonly conflicts: readonly { readonly globalSequence: number; readonly eventId: EventId }[];

  /**
   * Says what happened.
   *
   * @param conflicts the first of them, in commit order.
   */
  constructor(conflicts: readonly { globalSequence: number; eventId: EventId }[]) {
    const first = conflicts[0];
    super(
      `Cannot append: the condition fails on event ${first?.eventId} at sequence ${first?.globalSequence}` +
        (conflicts.length > 1 ? ` and ${conflicts.length - 1} more` : ""),
    );
    this.conflicts = conflicts;
  }
}

/** The entity's lane has used all 2^32 clocks. Nothing was written: go on in another lane. */
export class ClockOverflowError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "ClockOverflowError";
  /** Stable, for programs. */
  override readonly code = "CLOCK_OVERFLOW";
  /** The entity. */
  readonly entity: string;

  /**
   * Says what happened.
   *
   * @param entity the entity.
   */
  constructor(entity: string) {
    super(`Cannot append to "${entity}": its clock is at the maximum; use another lane`);
    this.entity = entity;
  }
}

/** The clock gave a time before 1970 or past the safe range. Nothing was written: fix the clock. */
export class InvalidClockError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "InvalidClockError";
  /** Stable, for programs. */
  override readonly code = "INVALID_CLOCK";
  /** What the clock said, in microseconds. */
  readonly timestampUs: number;

  /**
   * Says what happened.
   *
   * @param timestampUs what the clock said.
   */
  constructor(timestampUs: number) {
    super(
      `Cannot append at time ${timestampUs} µs: a timestamp is a whole number of microseconds ` +
        "since 1970, at least 0 and at most 2^53 - 1",
    );
    this.timestampUs = timestampUs;
  }
}

/** The kind belongs to the store. Nothing was written: use a kind of a category other than 0x0 and 0xD. */
export class ReservedKindError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "ReservedKindError";
  /** Stable, for programs. */
  override readonly code = "RESERVED_KIND";
  /** The raw kind. */
  readonly kind: number;

  /**
   * Says what happened.
   *
   * @param kind the raw kind.
   */
  constructor(kind: number) {
    super(
      `Cannot append an event of kind 0x${kind.toString(16).toUpperCase().padStart(4, "0")}: ` +
        "categories 0x0 and 0xD are reserved for the store",
    );
    this.kind = kind;
  }
}

/** Something is over a limit. Nothing was written: split it, or raise the limit named here. */
export class TooLargeError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "TooLargeError";
  /** Stable, for programs. */
  override readonly code = "TOO_LARGE";
  /** What was measured. */
  readonly what: string;
  /** Its size or count. */
  readonly actual: number;
  /** The limit. */
  readonly limit: number;

  /**
   * Says what happened.
   *
   * @param options what, how much, and the limit; `option` names the setting that holds it.
   */
  constructor(
    options: { what: string; unit: string; actual: number; limit: number; option?: string },
  ) {
    const { what, unit, actual, limit, option } = options;
    super(
      `Cannot append ${what} of ${actual} ${unit}: the limit is ${limit}${
        option ? ` (option "${option}")` : ""
      }`,
    );
    this.what = what;
    this.actual = actual;
    this.limit = limit;
  }
}

/** One item made the whole batch fail; nothing of it was written. The `cause` says why. */
export class BatchError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "BatchError";
  /** Stable, for programs. */
  override readonly code = "BATCH_FAILED";
  /** The item, counted from 0. */
  readonly index: number;

  /**
   * Says what happened.
   *
   * @param index the item; `cause` is its error.
   */
  constructor(index: number, cause: Error) {
    super(`Cannot append the batch: item ${index}: ${cause.message}`, { cause });
    this.index = index;
  }
}

/**
 * The idempotency keys of a batch do not describe one operation: some items have keys and some do
 * not, a key stands twice, or only some were used before. Nothing was written.
 */
export class IdempotencyError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "IdempotencyError";
  /** Stable, for programs. */
  override readonly code = "IDEMPOTENCY";

  /**
   * Says what happened.
   *
   * @param reason what is wrong with the keys, without a full stop.
   */
  constructor(reason: string) {
    super(`Cannot append with these idempotency keys: ${reason}`);
  }
}

/** A value cannot become bytes, or bytes no value. The `cause` says why. */
export class SerializationError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "SerializationError";
  /** Stable, for programs. */
  override readonly code = "SERIALIZATION";

  /**
   * Says what happened.
   *
   * @param action what was attempted; `cause` is the codec's error.
   */
  constructor(action: string, cause: unknown) {
    super(`Cannot ${action}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** Why a directory cannot become a copy, in the order of the checks. */
export type CopyTargetRefusal =
  /** It is a symbolic link, and what it leads to may change. */
  | "SymbolicLink"
  /** It, or something above it, is a file. */
  | "NotADirectory"
  /** It is the directory that is copied. */
  | "SameDirectory"
  /** It is inside the directory that is copied. */
  | "InsideSource"
  /** The directory that is copied is inside it. */
  | "AroundSource"
  /** There is something in it. */
  | "NotEmpty";

/** A copy cannot go there. Nothing was written: name a directory that is new or empty. */
export class CopyTargetError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "CopyTargetError";
  /** Stable, for programs. */
  override readonly code = "COPY_TARGET";
  /** The broken rule. */
  readonly reason: CopyTargetRefusal;
  /** The directory, as it was given. */
  readonly path: string;

  /**
   * Says which rule is broken.
   *
   * @param reason the broken rule; `path` breaks it; `action` is what was attempted.
   */
  constructor(reason: CopyTargetRefusal, path: string, action: "copy" | "restore" = "copy") {
    super(
      `Cannot ${action} to "${path}": ${
        COPY_TARGET_REFUSALS[reason]
      }; name a directory that is new or empty`,
    );
    this.reason = reason;
    this.path = path;
  }
}

const COPY_TARGET_REFUSALS: Readonly<Record<CopyTargetRefusal, string>> = {
  SymbolicLink: "it is a symbolic link",
  NotADirectory: "a file is in the way",
  SameDirectory: "it is the directory to be copied",
  InsideSource: "it is inside the directory to be copied",
  AroundSource: "the directory to be copied is inside it",
  NotEmpty: "it is not empty",
};

/**
 * The files of the journal were replaced while they were copied, again and again. Nothing is left of the
 * copy: wait until the other process has finished compacting, and copy again.
 */
export class CopySourceError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "CopySourceError";
  /** Stable, for programs. */
  override readonly code = "COPY_SOURCE";
  /** The file that had changed in the last attempt. */
  readonly path: string;
  /** How it had changed. */
  readonly reason: string;
  /** How often it was tried. */
  readonly attempts: number;

  /**
   * Says what happened.
   *
   * @param options which file, how it had changed, and how often it was tried.
   */
  constructor(options: { path: string; reason: string; attempts: number }) {
    const { path, reason, attempts } = options;
    super(
      `Cannot copy the journal: "${path}" was replaced meanwhile (${reason}), and again in each of ` +
        `${attempts} attempts`,
    );
    this.path = path;
    this.reason = reason;
    this.attempts = attempts;
  }
}

/**
 * A backup is not what it should be, so it was not restored and nothing is left of the attempt; or it
 * could not be made. The findings say what is wrong: take another backup, or, when they are about files
 * that do not belong there, move those away.
 */
export class BackupError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "BackupError";
  /** Stable, for programs. */
  override readonly code = "BACKUP";
  /** The directory of the backup. */
  readonly path: string;
  /** What is wrong, as `verifyBackup` lists it; at least one. */
  readonly findings: readonly BackupFinding[];

  /**
   * Says what happened.
   *
   * @param action what was attempted, as an infinitive; `findings` say what is wrong.
   */
  constructor(action: string, path: string, findings: readonly BackupFinding[]) {
    const [first] = findings;
    const more = findings.length === 1 ? "" : ` (and ${findings.length - 1} more)`;
    super(`Cannot ${action} "${path}": ${first?.file}: ${first?.reason}${more}`);
    this.path = path;
    this.findings = findings;
  }
}

/**
 * The journal is being compacted, or something else is being done to its files as a whole. Let that come
 * to its end, or abandon it, and try again. Appends and reads go on meanwhile.
 */
export class LifecycleBusyError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "LifecycleBusyError";
  /** Stable, for programs. */
  override readonly code = "LIFECYCLE_BUSY";

  /**
   * Says what happened.
   *
   * @param action what was attempted, as an infinitive.
   */
  constructor(action: string) {
    super(`Cannot ${action}: a compaction of this handle has not come to its end`);
  }
}

/**
 * A compaction could neither be finished nor undone, or one from before stands in the way. Nothing is
 * lost, and the store goes on serving: both the old and the new segments are there as far as they count,
 * and `compaction.pending` says which. Mend the cause, then close and open again, which settles it.
 */
export class CompactionError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "CompactionError";
  /** Stable, for programs. */
  override readonly code = "COMPACTION";

  /**
   * Says what happened.
   *
   * @param reason why, without a full stop; `cause` is what the system said.
   */
  constructor(action: string, reason: string, cause?: unknown) {
    super(`Cannot ${action}: ${reason}`, { cause });
  }
}

/** The event has been pruned: its bytes are gone. Only its place in the sequence is known. */
export class EventPrunedError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "EventPrunedError";
  /** Stable, for programs. */
  override readonly code = "EVENT_PRUNED";
  /** Its place in the journal. */
  readonly globalSequence: number;

  /**
   * Says what happened.
   *
   * @param globalSequence its place in the journal.
   */
  constructor(globalSequence: number) {
    super(`Cannot read the event at sequence ${globalSequence}: it has been pruned`);
    this.globalSequence = globalSequence;
  }
}

/**
 * A writer replaces the journal's segments faster than they can be read. Nothing is wrong with it: try
 * again when the compaction has come to its end.
 */
export class JournalChangingError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "JournalChangingError";
  /** Stable, for programs. */
  override readonly code = "JOURNAL_CHANGING";
  /** The directory. */
  readonly path: string;

  /**
   * Says what happened.
   *
   * @param path the directory; `cause` is what was met last.
   */
  constructor(path: string, cause: unknown) {
    super(`Cannot read "${path}": its segments are being replaced, again and again`, { cause });
    this.path = path;
  }
}
