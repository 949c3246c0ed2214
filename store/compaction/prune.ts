/**
 * Pruning: the oldest segments go, and a signed record stays of what the rest needs to know of them.
 *
 * 1. The record is written: for every chain that had an event, the clock and hash of its newest one.
 * 2. It is published as `journal.base`, in one rename that the directory's sync makes durable. **This is
 *    the commit**: from here on the journal begins at the segment it names.
 * 3. This handle forgets what was pruned.
 * 4. The segments go. What a crash leaves of them does not count, and the next writable open removes it.
 *
 * A failure before 2 changes nothing. When the sync of 2 fails, the record stands under its name and every
 * segment is still there: both states are whole, and a power cut decides between them. This handle goes on
 * with the pruned one, which is what every other process sees, and removes nothing.
 *
 * @module
 */

import { IoFault, type StoreFs } from "../../platform/fs.ts";
import { assert, assertKnownKeys, assertUint } from "../assert.ts";
import {
  BASE_RECORD_NAME,
  type BaseChain,
  type BaseFacts,
  type BaseRecord,
  BaseRecordWriter,
  type BaseSigner,
  chainSize,
  readBaseRecord,
  signatureProblem,
} from "./base_record.ts";
import { headerOf, type LifecycleHost, settleEarlier } from "./compaction.ts";
import { CompactionError, CorruptionError, StoreIoError } from "../errors.ts";
import { evidenceHash } from "../evidence.ts";
import { payloadStartOf, timestampOf } from "../frame.ts";
import { blake3Into, bytesEqual, HASH_SIZE, toHex } from "../hash.ts";
import type { EventIndex } from "../index/event_index.ts";
import { INDEX_FILE_NAME } from "../index/index_file.ts";
import { NAME_UNKNOWN } from "../index/interner.ts";
import type { Segment } from "../segment_log.ts";
import { readBase } from "./segment_set.ts";

/** Options of a prune. */
export interface PruneOptions {
  /** Segments whose events all have a sequence below this go. */
  readonly below: number;
  /** Seals the active segment first, when it has an event, so that it may go too. Default `false`. */
  readonly seal?: boolean;
  /** Says what would be done, and does nothing. Default `false`. */
  readonly dryRun?: boolean;
}

/** Something that a prune met and went on. */
export interface PruneFinding {
  /** What it is about. */
  readonly type:
    /** The directory could not be synced after the commit: a power cut may undo it. Nothing was removed. */
    | "CommitNotDurable"
    /** A file that does not count any more could not be removed; the next open for writing does. */
    | "LeftoverNotRemoved"
    /** The record before was not signed by a key that is known here: nobody can vouch for the new one. */
    | "NotSigned";
  /** What the system said, or what is wrong with the signature. */
  readonly reason: string;
}

/** The facts of a prune that its evidence hash covers. */
export interface PruneEvidence {
  /** The version of this shape, 1. */
  readonly schemaVersion: 1;
  /** What was asked for. */
  readonly below: number;
  /** How it ended. */
  readonly outcome: PruneReport["outcome"];
  /** The segments that went. */
  readonly segmentIds: readonly number[];
  /** The segment that the journal begins with. */
  readonly firstSegmentId: number;
  /** The sequence it begins at. */
  readonly firstSequence: number;
  /** Event hash of the last event that is gone, in hex; `null` when none ever went. */
  readonly lastHash: string | null;
  /** Events that went. */
  readonly eventsPruned: number;
  /** How many bytes smaller the files are. */
  readonly bytesReclaimed: number;
  /** Whether nothing was done, only said. */
  readonly dryRun: boolean;
  /** What it met. */
  readonly findings: readonly PruneFinding[];
}

/** What a prune did. */
export interface PruneReport {
  /**
   * `"performed"`: the journal begins later now. `"skipped"`: no segment lies below as a whole.
   * `"failed"`: it stopped at `reason`, and nothing has changed.
   */
  readonly outcome: "performed" | "skipped" | "failed";
  /** Why it was skipped, or failed. */
  readonly reason?: string;
  /** The error it failed with. */
  readonly cause?: unknown;
  /** Segments that went. */
  readonly segmentsRemoved: number;
  /** How many bytes smaller the files are. */
  readonly bytesReclaimed: number;
  /** Events that went. */
  readonly eventsPruned: number;
  /** The sequence the journal begins at. */
  readonly firstSequence: number;
  /** The same and more as evidence. */
  readonly body: PruneEvidence;
  /** BLAKE3 of the canonical bytes of `body`, in hex. */
  readonly bodyHash: string;
}

/** What a prune needs of the store. */
export interface PruneHost extends LifecycleHost {
  /** Signs the record, when there is a key. */
  readonly signer: BaseSigner | undefined;
  /** Public keys that the record before may be signed with. */
  readonly verifyingKeys: readonly Uint8Array[];
}

const OPTIONS: ReadonlySet<string> = new Set(["below", "seal", "dryRun"]);

/** As `Store.prune`, or, when `isPlan`, as `JournalReader.planPrune`. */
export function prune(host: PruneHost, options: PruneOptions, isPlan = false): PruneReport {
  if (typeof options !== "object" || options === null) {
    throw new TypeError("Cannot prune: say what to remove, as in { below: 1000 }");
  }
  assertKnownKeys("prune", options, OPTIONS);
  assertUint("below", options.below, Number.MAX_SAFE_INTEGER);
  return new Prune(host, isPlan ? { ...options, dryRun: true } : options).run();
}

/** Where a segment begins. */
type Start = Pick<Segment, "id" | "firstRow">;

/** Whether the event of a row, if there is one, was staged behind a fence that was cancelled, or may be yet. */
function isInHiddenFence(index: EventIndex, row: number): boolean {
  return row < index.count && index.isHidden(row);
}

class Prune {
  readonly #host: PruneHost;
  readonly #options: PruneOptions;
  readonly #findings: PruneFinding[] = [];
  #segmentIds: readonly number[] = [];
  /** What the journal begins with afterwards. */
  #first: Start | undefined;
  #lastHash: Uint8Array | undefined;
  #eventsPruned = 0;
  #bytesReclaimed = 0;

  constructor(host: PruneHost, options: PruneOptions) {
    this.#host = host;
    this.#options = options;
  }

  run(): PruneReport {
    const { source } = this.#host;
    const { below, seal = false, dryRun = false } = this.#options;
    try {
      if (!dryRun) settleEarlier("prune", this.#host);
      if (seal && !dryRun) this.#host.seal();
      const starts = this.#starts(seal);
      let count = 0;
      while (
        count + 1 < starts.length && source.firstSequence + starts[count + 1].firstRow <= below
      ) count++;
      // What says that a fence was cancelled has to stay as long as an event of it.
      while (count > 0 && isInHiddenFence(source.index, starts[count].firstRow)) count--;
      if (count === 0) {
        return this.#end("skipped", {
          reason: starts.length === 1
            ? "there is no sealed segment"
            : `no sealed segment has all of its events below sequence ${below}; ` +
              `${source.firstSequence + starts[1].firstRow} is the lowest that removes one`,
        });
      }
      this.#pruneFirst(count, starts[count], dryRun);
      return this.#end("performed", {});
    } catch (error) {
      const isFailure = error instanceof IoFault || error instanceof StoreIoError ||
        error instanceof CorruptionError;
      if (!isFailure) throw error;
      return this.#end("failed", { reason: error.message, cause: error });
    }
  }

  /**
   * Where segments begin. With `seal` a dry run counts the one that would be begun, as what is written to
   * may go then.
   */
  #starts(seal: boolean): readonly Start[] {
    const { index, log } = this.#host.source;
    const active = log.segments[log.segments.length - 1];
    if (!seal || active.firstRow === index.count) return log.segments;
    return [...log.segments, { id: active.id + 1, firstRow: index.count }];
  }

  /** @param first what the journal begins with afterwards. */
  #pruneFirst(count: number, first: Start, dryRun: boolean): void {
    const { fs, dir, source } = this.#host;
    const { index, log } = source;
    const gone = log.segments.slice(0, count);
    const active = log.segments.at(-1);
    // What is written to has space behind its end that sealing it would cut.
    const sizes = gone.map((segment) =>
      segment === active ? segment.end : fs.stat(segment.path)?.size ?? 0
    );
    let isDurable = true;
    if (!dryRun) isDurable = this.#publish(log.segments[count]);
    // From here on it is done, and nothing may fail it.
    this.#segmentIds = gone.map(({ id }) => id);
    this.#first = first;
    this.#eventsPruned = first.firstRow - gone[0].firstRow;
    this.#bytesReclaimed = sizes.reduce((sum, size) => sum + size, 0);
    if (dryRun) return;
    log.replace(0, count, []);
    index.dropBelow(first.firstRow);
    if (!isDurable) return;
    for (const path of [`${dir}/${INDEX_FILE_NAME}`, ...gone.map(({ path }) => path)]) {
      this.#attempt(() => fs.removeIfPresent(path));
    }
    this.#attempt(() => fs.syncDir(dir));
  }

  #attempt(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof IoFault)) throw error;
      this.#findings.push({ type: "LeftoverNotRemoved", reason: error.message });
    }
  }

  /** Publishes the record of everything before a segment, and says whether it is durable. */
  #publish(first: Segment): boolean {
    const { id: firstSegmentId, firstRow: boundary } = first;
    const { fs, dir, storeId, source, signer } = this.#host;
    const { index, log, firstSequence } = source;
    /** Row + 1 of the last event of each chain before the boundary. */
    const last = new Uint32Array(index.chainCount);
    for (let row = index.firstRow; row < boundary; row++) last[index.chainOf(row)] = row + 1;

    // Chains of the record before, whose newest event did not move on.
    let chainCount = 0;
    let chainsSize = 0;
    const before = forEachKept(this.#host, last, ({ entity }) => {
      chainCount++;
      chainsSize += chainSize(entity.byteLength);
    });
    // A signature over what an unsigned record said would make somebody else's words ours.
    const unsigned = before && signer && signatureProblem(before, this.#host.verifyingKeys);
    if (unsigned !== undefined) this.#findings.push({ type: "NotSigned", reason: unsigned });
    for (let chain = 0; chain < last.length; chain++) {
      if (last[chain] === 0) continue;
      const entity = index.entityOf(chain);
      chainCount++;
      chainsSize += chainSize(index.entities.startOf(entity + 1) - index.entities.startOf(entity));
    }
    const body = log.locate(boundary - 1);
    const lastTimestampUs = timestampOf(log.located, body);
    const lastHash = new Uint8Array(HASH_SIZE);
    blake3Into(log.located, body, payloadStartOf(log.located, body), lastHash);
    // Every later open holds the two against each other, and would refuse the journal.
    if (!bytesEqual(lastHash, headerOf(fs, first).previousHash)) {
      throw new CorruptionError({
        path: first.path,
        segmentId: firstSegmentId,
        offset: 0,
        reason: "the header names another event as the last one before the segment",
      });
    }
    const facts: BaseFacts = {
      storeId,
      firstSegmentId,
      firstSequence: firstSequence + boundary,
      lastTimestampUs,
      lastHash,
      chainCount,
      chainsSize,
    };

    const staged = fs.stage(dir);
    try {
      const writer = new BaseRecordWriter(staged, facts);
      forEachKept(this.#host, last, (head) => writer.add(head));
      // In the order of the log, so that reading each chain's newest event is one walk through it.
      const eventHash = new Uint8Array(HASH_SIZE);
      for (let row = index.firstRow; row < boundary; row++) {
        const chain = index.chainOf(row);
        if (last[chain] !== row + 1) continue;
        const at = log.locate(row);
        blake3Into(log.located, at, payloadStartOf(log.located, at), eventHash);
        // Later nobody can read it any more, and the next event of the chain needs it.
        if (index.headOf(chain) === row) index.setHeadHash(chain, eventHash);
        const { arena } = index.entities;
        const entity = index.entityOf(chain);
        writer.add({
          entity: arena.subarray(
            index.entities.startOf(entity),
            index.entities.startOf(entity + 1),
          ),
          lane: index.laneOf(chain),
          clock: index.clockOf(row),
          eventHash,
        });
      }
      writer.finish(unsigned === undefined ? signer : undefined);
      this.#lastHash = lastHash;
      staged.publish(`${dir}/${BASE_RECORD_NAME}`);
      return true;
    } catch (error) {
      // Nothing is left to discard once it has its name.
      staged.discard();
      if (!(error instanceof IoFault)) throw error;
      // It may have its name already, and then it is what everybody goes by.
      if (!isInForce(fs, dir, facts, error)) throw error;
      this.#findings.push({ type: "CommitNotDurable", reason: error.message });
      return false;
    }
  }

  #end(
    outcome: PruneReport["outcome"],
    why: { readonly reason?: string; readonly cause?: unknown },
  ): PruneReport {
    const { source } = this.#host;
    const { below, dryRun = false } = this.#options;
    const { log, firstSequence } = source;
    const first = this.#first ?? log.segments[0];
    const facts = {
      bytesReclaimed: this.#bytesReclaimed,
      eventsPruned: this.#eventsPruned,
      firstSequence: firstSequence + first.firstRow,
    };
    const body: PruneEvidence = {
      schemaVersion: 1,
      below,
      outcome,
      segmentIds: this.#segmentIds,
      firstSegmentId: first.id,
      lastHash: outcome === "performed" && this.#lastHash !== undefined
        ? toHex(this.#lastHash)
        : null,
      ...facts,
      dryRun,
      findings: this.#findings,
    };
    return {
      outcome,
      ...(why.reason !== undefined && { reason: why.reason }),
      ...(why.cause !== undefined && { cause: why.cause }),
      segmentsRemoved: this.#segmentIds.length,
      ...facts,
      body,
      bodyHash: evidenceHash(body),
    };
  }
}

/** The chains of the record there is, if there is one, that have no later event in `last`. */
function forEachKept(
  { fs, dir, source }: PruneHost,
  last: Uint32Array,
  action: (head: BaseChain) => void,
): BaseRecord | undefined {
  const path = `${dir}/${BASE_RECORD_NAME}`;
  if (fs.stat(path) === undefined) return undefined;
  const { index } = source;
  const file = fs.open(path, "read");
  try {
    const result = readBaseRecord(file, (head) => {
      const entity = index.entities.find(head.entity, 0, head.entity.byteLength);
      const chain = entity === NAME_UNKNOWN ? -1 : index.findChain(entity, head.lane);
      if (chain < 0) return "it names a chain that this journal does not have";
      if (last[chain] === 0) action(head);
      return undefined;
    });
    if (result.type === "base") return result.base;
    const reason = result.type === "corrupt"
      ? result.reason
      : `it has format version ${result.version}`;
    throw new CorruptionError({ path, offset: 0, reason });
  } finally {
    file.close();
  }
}

/** Whether a record whose publication failed stands under its name all the same. */
function isInForce(fs: StoreFs, dir: string, facts: BaseFacts, cause: unknown): boolean {
  try {
    const found = readBase(fs, dir, facts.storeId);
    return found !== undefined && found.firstSegmentId === facts.firstSegmentId &&
      bytesEqual(found.lastHash, facts.lastHash);
  } catch (error) {
    assert(error instanceof Error, "what is thrown is an error");
    throw new CompactionError(
      "prune",
      `${(cause as Error).message}; and whether it was done cannot be read (${error.message}). ` +
        "Nothing is lost: close and open the journal again",
      error,
    );
  }
}
