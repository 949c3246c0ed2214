/**
 * Import: events of another journal, appended here again with a note of where they come from. Not a
 * merge: what is imported gets its own place, clock, time and chain here.
 *
 * An event's id here is an idempotency key made of a *namespace* and its id there. That is the whole
 * mechanism: whoever imports the same events under the same namespace again finds them known, so an
 * import that was killed is finished by repeating it, and one that runs every night adds what is new.
 * Under another namespace the same events are other events, and are imported a second time.
 *
 * The source is walked in commit order up to where it ended when the call began, so a journal that
 * imports from itself comes to an end. What is to be imported is gathered into pages, and each page is
 * one batch: all of it, or nothing. A page knows the ids in it, so that where pages end changes nothing
 * but the groups of the log.
 *
 * Carried over byte for byte: the payload, and how it is encoded. As they are: kind, coordinate, lane,
 * depth, flags, tags, payload version, correlation id, receipt extensions. A cause is translated to its
 * copy when that is here by then, and left out otherwise. The payload is held against its content hash
 * first: a damaged one must not get a sound hash here.
 *
 * @module
 */

import { AppendDraft, isDurable, prepareCoordinate } from "../append.ts";
import { assertKnownKeys } from "../assert.ts";
import { readU32 } from "../bytes.ts";
import {
  BatchError,
  CorruptionError,
  StoreClosedError,
  StoreError,
  TooLargeError,
} from "../errors.ts";
import { EventKind } from "../event_kind.ts";
import { type ExtensionEntries, withStoreExtension } from "../extensions.ts";
import {
  CAUSATION_ID_OFFSET,
  CONTENT_HASH_OFFSET,
  CORRELATION_ID_OFFSET,
  depthOf,
  EVENT_ID_OFFSET,
  extensionsOf,
  flagsOf,
  isZero,
  PAYLOAD_MESSAGEPACK,
  PAYLOAD_OPAQUE,
  payloadEncodingOf,
  payloadOf,
  payloadVersionOf,
  tagsOf,
} from "../frame.ts";
import { blake3Into, HASH_SIZE } from "../hash.ts";
import { formatId, ID_SIZE, operationBytes, parseId } from "../ids.ts";
import {
  decodeProvenance,
  IMPORT_NAMESPACE_SIZE_MAX,
  PROVENANCE_KEY,
  ProvenanceEncoder,
} from "./import_provenance.ts";
import { JournalReader } from "../journal_reader.ts";
import { Region, type RegionLike } from "../region.ts";
import { segmentName } from "../segment_log.ts";
import { Slab } from "../slab.ts";
import type { StoredEvent } from "../stored_event.ts";
import { normalizeTags } from "../tags.ts";
import { utf8Size } from "../utf8.ts";

/** What to import, and how. */
export interface ImportOptions {
  /**
   * Names where the events come from, 1 to 1,024 bytes. Default: the id of the source's journal.
   *
   * It is part of the id that every imported event gets, so it has to stay the same from run to run:
   * under another one everything is imported again. The default stays the same when the journal is moved,
   * and is shared by its copies. Two journals that import from each other should share one name, or
   * each takes back what it has given, over and over.
   *
   * A copy of a journal, as `fork` makes it, has the journal's id. Without a name of its own it is taken
   * for what it is: events that both have are known, and only what the other has alone is imported.
   */
  readonly namespace?: string;
  /** Which events of the source. Default: all but the store's own, which are never imported. */
  readonly region?: RegionLike;
  /** Only events after this sequence of the source: the `sourceHighWatermark` of the last run. */
  readonly after?: number;
  /**
   * Look at no more than so many events of the region, and return: for whoever wants to do something
   * else in between. Go on with `after`; a report without `sourceHighWatermark` is the end.
   */
  readonly limit?: number;
  /**
   * The most events of one page, at least 1; default 256, and never more than `batch.maxSize`. A page
   * also ends before it has more than `batch.maxBytes`.
   */
  readonly chunkSize?: number;
  /** Whether to import an event. It has to be `true` or `false`. */
  readonly filter?: (event: StoredEvent) => boolean;
  /**
   * Called with the counts so far, after each page and every 4,096 events. What it throws ends the
   * import, and what is written stays.
   */
  readonly onProgress?: (report: ImportReport) => void;
  /** `"durable"` syncs each page before the next; see {@linkcode AppendOptions.durability}. */
  readonly durability?: "written" | "durable";
}

/** What an import did. */
export interface ImportReport {
  /** Events that were appended. */
  readonly imported: number;
  /** Events that had been imported before under this namespace. */
  readonly deduplicated: number;
  /** The source's own events, which are about the source. */
  readonly skippedReserved: number;
  /** Events that the filter left out. */
  readonly skippedFiltered: number;
  /** Events that the source has itself imported under this namespace. */
  readonly skippedReimported: number;
  /** Events whose payload has been erased. */
  readonly skippedErased: number;
  /**
   * The sequence of the last event of the source that was looked at and, if it was to be imported,
   * written; `undefined` when there was none. Nothing up to there is left to do.
   */
  readonly sourceHighWatermark: number | undefined;
  /** Batches that were written. */
  readonly pages: number;
  /** The place here of the first event that was imported. */
  readonly firstSequence: number | undefined;
  /** The place here of the last one; events that a filter appended may stand between. */
  readonly lastSequence: number | undefined;
}

/**
 * One event of the source cannot be appended here; the `cause` says why. Nothing of its page was
 * written, and everything before is: raise the limit, or leave the event out with a `filter`, and import
 * again.
 */
export class ImportEventError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "ImportEventError";
  /** Stable, for programs. */
  override readonly code = "IMPORT_EVENT";
  /** Its place in the source. */
  readonly sourceSequence: number;
  /** What was done before. */
  readonly report: ImportReport;

  /**
   * Says what happened.
   *
   * @param sourceSequence its place in the source; `report` is what was done before.
   */
  constructor(sourceSequence: number, report: ImportReport, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(`Cannot import the event at sequence ${sourceSequence} of the source: ${reason}`, {
      cause,
    });
    this.sourceSequence = sourceSequence;
    this.report = report;
  }
}

/**
 * The journal to import from was closed, before or during the import. What was written stays: open the
 * source again and repeat the import.
 */
export class ImportSourceClosedError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "ImportSourceClosedError";
  /** Stable, for programs. */
  override readonly code = "IMPORT_SOURCE_CLOSED";
  /** The directory of the source. */
  readonly path: string;

  /**
   * Says what happened.
   *
   * @param path the directory of the source.
   */
  constructor(path: string) {
    super(`Cannot import events from "${path}": the source is closed`);
    this.path = path;
  }
}

/** The journal that imports, as far as an import needs it. */
export interface ImportTarget {
  /** Which journal it is; `undefined` while there is none. */
  readonly storeId: string | undefined;
  /** Whether an event has this id, sixteen bytes. */
  isKnown(id: Uint8Array): boolean;
  /** What writes; without it, it is only counted what would be written. */
  readonly writer?: ImportWriter;
}

/** How an import writes. */
export interface ImportWriter {
  readonly limits: {
    readonly batchMaxSize: number;
    readonly batchMaxBytes: number;
    readonly singleAppendMaxBytes: number;
  };
  /** Writes the first `count` drafts as one group, and returns the sequence of the first. */
  commit(drafts: readonly AppendDraft[], count: number, durable: boolean): number;
  /** Makes everything durable. */
  sync(): void;
}

/**
 * Counts what {@linkcode Store.importEvents} would do with these options, and writes nothing. `target`
 * may be open for reading; `undefined` stands for a journal that does not exist yet. Whether the target
 * would take each event is not tried, and there are no pages and no sequences in the report.
 *
 * @throws as {@linkcode Store.importEvents}, but for what writing may throw.
 *
 * @example Look before importing
 * ```ts
 * import { EventKind, MemoryFs, previewImport, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * using till = Store.open("till-7", { fs: new MemoryFs() });
 * till.append({ entity: "sale:1", scope: "shop" }, EventKind.DATA, { cents: 450 });
 *
 * assert.equal(previewImport(till, undefined, { region: { scope: "shop" } }).imported, 1);
 * ```
 */
export function previewImport(
  source: JournalReader,
  target: JournalReader | undefined,
  options: ImportOptions = {},
): ImportReport {
  return runImport(source, options, {
    storeId: target?.storeId,
    isKnown: (id) => target?.get(formatId(id)) !== undefined,
  });
}

/** Runs an import; see {@linkcode Store.importEvents}. */
export function runImport(
  source: JournalReader,
  options: ImportOptions,
  target: ImportTarget,
): ImportReport {
  return new EventImport(source, options, target).run();
}

/** One import. */
class EventImport {
  readonly #source: JournalReader;
  readonly #target: ImportTarget;
  readonly #region: Region;
  readonly #after: number | undefined;
  readonly #limit: number;
  /** Where the source ended when the import began. */
  readonly #ceiling: number;
  readonly #filter: ImportOptions["filter"];
  readonly #onProgress: ImportOptions["onProgress"];
  readonly #durable: boolean;
  readonly #namespace: string;
  /** Whether source and target are copies of one journal, so that events keep their ids. */
  readonly #isCopy: boolean;
  readonly #ids: DerivedIds;
  readonly #provenance: ProvenanceEncoder;
  readonly #copies = new Slab();
  readonly #hash: Uint8Array = new Uint8Array(HASH_SIZE);
  readonly #causeId: Uint8Array = new Uint8Array(ID_SIZE);

  // The page: drafts that are not written yet, the sequence of each in the source, and their ids.
  readonly #pageSize: number;
  readonly #drafts: AppendDraft[] = [];
  readonly #sequences: number[] = [];
  readonly #page: PageIds;
  #staged = 0;
  #stagedBytes = 0;

  #imported = 0;
  #deduplicated = 0;
  #skippedReserved = 0;
  #skippedFiltered = 0;
  #skippedReimported = 0;
  #skippedErased = 0;
  #sourceHighWatermark: number | undefined;
  /** Up to where all is dealt with, while there is a page. */
  #settledWatermark: number | undefined;
  #pages = 0;
  #firstSequence: number | undefined;
  #lastSequence: number | undefined;
  #sinceProgress = 0;

  constructor(source: JournalReader, options: ImportOptions, target: ImportTarget) {
    if (!(source instanceof JournalReader)) {
      throw new TypeError("Cannot import events from what is no journal: give an open store");
    }
    assertKnownKeys("import events", options, IMPORT_OPTIONS);
    const { namespace, region = Region.all(), after, filter, onProgress } = options;
    this.#source = source;
    this.#target = target;
    this.#ceiling = this.#ceilingOf(source);
    this.#region = Region.from(region);
    this.#after = after;
    this.#limit = assertCount("limit", options.limit, Infinity);
    assertFunction("filter", filter);
    assertFunction("onProgress", onProgress);
    this.#filter = filter;
    this.#onProgress = onProgress;
    this.#durable = isDurable(options.durability);
    const chunkSize = assertCount("chunkSize", options.chunkSize, CHUNK_SIZE_DEFAULT);
    this.#pageSize = Math.min(chunkSize, target.writer?.limits.batchMaxSize ?? chunkSize);
    this.#page = new PageIds(target.writer === undefined ? 0 : this.#pageSize);
    this.#namespace = assertNamespace(namespace ?? source.storeId);
    this.#isCopy = namespace === undefined && source.storeId === target.storeId;
    this.#ids = new DerivedIds(this.#namespace);
    this.#provenance = new ProvenanceEncoder(this.#namespace, parseId(source.storeId));
  }

  run(): ImportReport {
    const range = { before: this.#ceiling, after: this.#after, limit: this.#limit };
    for (const event of this.#source.events(this.#region, range)) {
      this.#look(event);
      this.#sourceHighWatermark = event.globalSequence;
      if (++this.#sinceProgress >= PROGRESS_EVENTS) this.#progress();
    }
    this.#flush();
    // What an earlier run wrote has to be as durable as what this one did.
    if (this.#durable && this.#deduplicated > 0) this.#target.writer?.sync();
    return this.#report();
  }

  /** Counts an event, and takes it into the page when it is to be imported. */
  #look(event: StoredEvent): void {
    const sequence = event.globalSequence;
    if (EventKind.isReserved(event.kind)) {
      this.#skippedReserved++;
      return;
    }
    if (this.#filter !== undefined && !this.#isWanted(event)) {
      this.#skippedFiltered++;
      return;
    }
    const body = this.#bodyOf(event);
    const extensions = extensionsOf(body, 0);
    if (this.#isReimported(extensions, sequence)) {
      this.#skippedReimported++;
      return;
    }
    const payload = payloadOf(body, 0);
    if (payload === undefined) {
      this.#skippedErased++;
      return;
    }
    const draft = this.#drafts[this.#staged] ??= new AppendDraft();
    if (this.#isCopy && this.#isKnownAt(body, EVENT_ID_OFFSET)) {
      this.#deduplicated++;
      return;
    }
    this.#ids.derive(body, EVENT_ID_OFFSET, draft.eventId);
    if (this.#target.isKnown(draft.eventId) || this.#page.has(draft.eventId)) {
      this.#deduplicated++;
      return;
    }
    const { writer } = this.#target;
    if (writer === undefined) {
      this.#imported++;
      return;
    }
    this.#assertSound(event, body, payload);
    try {
      this.#fill(draft, event, body, payload, extensions);
      assertSize(draft, writer.limits.singleAppendMaxBytes);
    } catch (error) {
      throw this.#blame(sequence, error);
    }
    this.#stage(draft, sequence, writer);
  }

  #isWanted(event: StoredEvent): boolean {
    const wanted: unknown = this.#filter!(event);
    if (typeof wanted === "boolean") return wanted;
    throw new TypeError("Cannot import with a filter that returns neither true nor false");
  }

  #isReimported(extensions: ExtensionEntries, sequence: number): boolean {
    for (const [key, value] of extensions) {
      if (key !== PROVENANCE_KEY) continue;
      try {
        return decodeProvenance(value).sourceNamespace === this.#namespace;
      } catch (error) {
        throw this.#blame(sequence, error);
      }
    }
    return false;
  }

  /** The log's checksum says that these bytes were written, not that they are the event's. */
  #assertSound(event: StoredEvent, body: Uint8Array, payload: Uint8Array): void {
    blake3Into(payload, 0, payload.byteLength, this.#hash);
    for (let i = 0; i < HASH_SIZE; i++) {
      if (this.#hash[i] === body[CONTENT_HASH_OFFSET + i]) continue;
      const { segmentId, offset } = event.position;
      throw new CorruptionError({
        path: `${this.#source.dir}/${segmentName(segmentId)}`,
        segmentId,
        offset,
        reason: "the payload does not match its content hash",
      });
    }
  }

  /** Fills a draft with all but its place here. Its id is there already. */
  #fill(
    draft: AppendDraft,
    event: StoredEvent,
    body: Uint8Array,
    payload: Uint8Array,
    extensions: ExtensionEntries,
  ): void {
    const encoding = payloadEncodingOf(body, 0);
    if (encoding !== PAYLOAD_MESSAGEPACK && encoding !== PAYLOAD_OPAQUE) {
      // Bytes under a key of the source would be unreadable here for ever.
      throw new TypeError(`its payload encoding ${encoding} is not one this program can carry`);
    }
    const provenance = this.#provenance.encode(body);
    draft.extensions = withStoreExtension(
      extensions,
      PROVENANCE_KEY,
      this.#copies.copy(provenance, 0, provenance.byteLength),
    );
    const tags = tagsOf(body, 0);
    draft.tags = tags.length === 0 ? tags : normalizeTags(tags);
    prepareCoordinate(draft, event.entity, event.scope);
    draft.lane = event.lane;
    draft.depth = depthOf(body, 0);
    draft.kind = event.kind;
    draft.flags = flagsOf(body, 0);
    draft.payloadEncoding = encoding;
    draft.payloadVersion = payloadVersionOf(body, 0);
    draft.payload = payload;
    draft.keyed = true;
    draft.correlated = true;
    for (let i = 0; i < ID_SIZE; i++) draft.correlationId[i] = body[CORRELATION_ID_OFFSET + i];
    this.#translateCause(body, draft.causationId);
    let size = payload.byteLength;
    for (const [key, value] of draft.extensions) size += 3 + key.length + 5 + value.byteLength;
    draft.countedSize = size;
  }

  /** Only a cause that is here before its effect counts, so that it does not matter where pages end. */
  #translateCause(body: Uint8Array, causationId: Uint8Array): void {
    const id = this.#causeId;
    if (isZero(body, CAUSATION_ID_OFFSET, CAUSATION_ID_OFFSET + ID_SIZE)) id.fill(0);
    else if (!(this.#isCopy && this.#isKnownAt(body, CAUSATION_ID_OFFSET))) {
      this.#ids.derive(body, CAUSATION_ID_OFFSET, id);
      if (!this.#page.has(id) && !this.#target.isKnown(id)) id.fill(0);
    }
    for (let i = 0; i < ID_SIZE; i++) causationId[i] = id[i];
  }

  /** Whether the target has the event whose id stands in a body. Leaves the id in `#causeId`. */
  #isKnownAt(body: Uint8Array, offset: number): boolean {
    const id = this.#causeId;
    for (let i = 0; i < ID_SIZE; i++) id[i] = body[offset + i];
    return this.#target.isKnown(id);
  }

  #stage(draft: AppendDraft, sequence: number, { limits }: ImportWriter): void {
    const at = this.#staged;
    // An event alone may be larger than a batch, as one that is appended alone.
    if (at > 0 && this.#stagedBytes + draft.countedSize > limits.batchMaxBytes) {
      this.#flush();
      this.#drafts[at] = this.#drafts[0];
      this.#drafts[0] = draft;
    }
    if (this.#staged === 0) this.#settledWatermark = this.#sourceHighWatermark;
    this.#sourceHighWatermark = sequence;
    this.#sequences[this.#staged] = sequence;
    this.#page.add(draft.eventId);
    this.#stagedBytes += draft.countedSize;
    if (++this.#staged === this.#pageSize) this.#flush();
  }

  /** Writes the page. */
  #flush(): void {
    const { writer } = this.#target;
    if (this.#staged === 0 || writer === undefined) return;
    // That is the caller's code, and may have imported the same events itself.
    if (this.#filter !== undefined || this.#onProgress !== undefined) this.#dropKnown();
    const count = this.#staged;
    if (count > 0) {
      let first: number;
      try {
        first = writer.commit(this.#drafts, count, this.#durable);
      } catch (error) {
        if (!(error instanceof BatchError)) throw error;
        throw this.#blame(this.#sequences[error.index], error.cause);
      }
      this.#pages++;
      this.#imported += count;
      this.#firstSequence ??= first;
      this.#lastSequence = first + count - 1;
      for (let i = 0; i < count; i++) this.#drafts[i].release();
    }
    this.#staged = 0;
    this.#stagedBytes = 0;
    this.#page.clear();
    this.#progress();
  }

  #dropKnown(): void {
    let kept = 0;
    for (let i = 0; i < this.#staged; i++) {
      const draft = this.#drafts[i];
      if (this.#target.isKnown(draft.eventId)) {
        this.#deduplicated++;
        continue;
      }
      this.#drafts[i] = this.#drafts[kept];
      this.#drafts[kept] = draft;
      this.#sequences[kept] = this.#sequences[i];
      kept++;
    }
    this.#staged = kept;
  }

  #progress(): void {
    this.#sinceProgress = 0;
    this.#onProgress?.(this.#report());
  }

  #report(): ImportReport {
    return Object.freeze({
      imported: this.#imported,
      deduplicated: this.#deduplicated,
      skippedReserved: this.#skippedReserved,
      skippedFiltered: this.#skippedFiltered,
      skippedReimported: this.#skippedReimported,
      skippedErased: this.#skippedErased,
      sourceHighWatermark: this.#staged === 0 ? this.#sourceHighWatermark : this.#settledWatermark,
      pages: this.#pages,
      firstSequence: this.#firstSequence,
      lastSequence: this.#lastSequence,
    });
  }

  #blame(sequence: number, cause: unknown): ImportEventError {
    return new ImportEventError(sequence, this.#report(), cause);
  }

  #ceilingOf(source: JournalReader): number {
    try {
      return source.stats().nextSequence;
    } catch (error) {
      throw this.#describeClosed(error);
    }
  }

  #bodyOf(event: StoredEvent): Uint8Array {
    try {
      return event.bodyBytes;
    } catch (error) {
      throw this.#describeClosed(error);
    }
  }

  /** That the source is closed, now or since a callback, is not to be taken for this journal. */
  #describeClosed(error: unknown): unknown {
    return error instanceof StoreClosedError
      ? new ImportSourceClosedError(this.#source.dir)
      : error;
  }
}

/** Makes ids here of ids there: {@linkcode OperationKey}s that differ in their last component only. */
class DerivedIds {
  readonly #bytes: Uint8Array;
  readonly #digest: Uint8Array = new Uint8Array(HASH_SIZE);

  constructor(namespace: string) {
    this.#bytes = operationBytes(KEY_DOMAIN, [namespace, "0".repeat(ID_SIZE * 2)]);
  }

  /** Writes the id here of the event whose id there stands at `start` to the front of `target`. */
  derive(source: Uint8Array, start: number, target: Uint8Array): void {
    const bytes = this.#bytes;
    let at = bytes.byteLength - ID_SIZE * 2;
    for (let i = 0; i < ID_SIZE; i++) {
      const byte = source[start + i];
      bytes[at++] = HEX_DIGITS.charCodeAt(byte >>> 4);
      bytes[at++] = HEX_DIGITS.charCodeAt(byte & 0xf);
    }
    blake3Into(bytes, 0, bytes.byteLength, this.#digest);
    for (let i = 0; i < ID_SIZE; i++) target[i] = this.#digest[i];
  }
}

/** The ids of one page, which no index knows yet. They are digests, so any four bytes of one will hash. */
class PageIds {
  readonly #ids: Uint8Array;
  /** Open addressing; 0 is empty, else position + 1. */
  readonly #table: Uint32Array;
  #count = 0;

  constructor(capacity: number) {
    this.#ids = new Uint8Array(capacity * ID_SIZE);
    let size = 4;
    while (size < capacity * 2) size *= 2;
    this.#table = new Uint32Array(size);
  }

  has(id: Uint8Array): boolean {
    return this.#count > 0 && this.#table[this.#slotOf(id)] !== 0;
  }

  add(id: Uint8Array): void {
    const slot = this.#slotOf(id);
    this.#ids.set(id, this.#count * ID_SIZE);
    this.#table[slot] = ++this.#count;
  }

  clear(): void {
    this.#table.fill(0);
    this.#count = 0;
  }

  /** Where an id stands, or would. */
  #slotOf(id: Uint8Array): number {
    const mask = this.#table.length - 1;
    for (let slot = readU32(id, 0) & mask;; slot = (slot + 1) & mask) {
      const entry = this.#table[slot];
      if (entry === 0) return slot;
      const start = (entry - 1) * ID_SIZE;
      let i = 0;
      while (i < ID_SIZE && this.#ids[start + i] === id[i]) i++;
      if (i === ID_SIZE) return slot;
    }
  }
}

function assertNamespace(namespace: string): string {
  if (typeof namespace !== "string" || namespace === "" || !namespace.isWellFormed()) {
    throw new TypeError("Cannot import under a namespace that is empty or no text");
  }
  const size = utf8Size(namespace);
  if (size > IMPORT_NAMESPACE_SIZE_MAX) {
    throw new RangeError(
      `Cannot import under a namespace of ${size} bytes: at most ${IMPORT_NAMESPACE_SIZE_MAX} fit`,
    );
  }
  return namespace;
}

function assertCount(name: string, count: number | undefined, fallback: number): number {
  if (count === undefined) return fallback;
  if (Number.isInteger(count) && count >= 1) return count;
  throw new RangeError(`Cannot import with ${name} ${count}: give a whole number, at least 1`);
}

function assertFunction(name: string, value: unknown): void {
  if (value === undefined || typeof value === "function") return;
  throw new TypeError(`Cannot import with a ${name} that is no function`);
}

function assertSize(draft: AppendDraft, limit: number): void {
  if (draft.countedSize <= limit) return;
  throw new TooLargeError({
    what: "an event",
    unit: "bytes",
    actual: draft.countedSize,
    limit,
    option: "singleAppendMaxBytes",
  });
}

const KEY_DOMAIN = "batpak.import";
const HEX_DIGITS = "0123456789abcdef";
const CHUNK_SIZE_DEFAULT = 256;
/** A callback for every event would cost more than the event. */
const PROGRESS_EVENTS = 4096;
const IMPORT_OPTIONS: ReadonlySet<string> = new Set([
  "namespace",
  "region",
  "after",
  "limit",
  "chunkSize",
  "filter",
  "onProgress",
  "durability",
]);
