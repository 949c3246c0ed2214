/**
 * An event as it is read back. What the index knows is answered from memory; the rest of the header
 * and the payload are read from the log when somebody touches them, checked, and kept.
 *
 * Where there is no index, as in the realm of a worker, an event is its frame: everything is answered
 * from those bytes, and with the same words.
 *
 * @module
 */

import type { EventDefinition } from "./event_definition.ts";
import { DecodeError } from "./event_definition.ts";
import { type EventIndex, STATE_PRESENT, STATE_RETIRED } from "./index/event_index.ts";
import type { EventKind } from "./event_kind.ts";
import { EventPrunedError } from "./errors.ts";
import { EventKind as Kinds } from "./event_kind.ts";
import { Coordinate } from "./coordinate.ts";
import {
  CAUSATION_ID_OFFSET,
  clockOf,
  CONTENT_HASH_OFFSET,
  CORRELATION_ID_OFFSET,
  depthOf,
  ENTITY_OFFSET,
  entitySizeOf,
  type Erasure,
  erasureOf,
  EVENT_ID_OFFSET,
  extensionsOf,
  flagsOf,
  isZero,
  kindOf,
  laneOf,
  PAYLOAD_MESSAGEPACK,
  PAYLOAD_OPAQUE,
  payloadEncodingOf,
  payloadOf,
  payloadStartOf,
  payloadVersionOf,
  PREV_HASH_OFFSET,
  readUtf8,
  scopeSizeOf,
  scopeStartOf,
  sequenceOf,
  tagsOf,
  timestampOf,
} from "./frame.ts";
import { blake3, HASH_SIZE, toHex } from "./hash.ts";
import { type EventId, formatId, ID_SIZE } from "./ids.ts";
import { decodePayload } from "./payload.ts";
import { printAs } from "./print.ts";
import type { SegmentLog } from "./segment_log.ts";

/** Where an event's frame is. */
export interface LogPosition {
  /** The segment. */
  readonly segmentId: number;
  /** Where the frame starts in the segment's file, in bytes. */
  readonly offset: number;
  /** Bytes of the frame. */
  readonly size: number;
}

/** What events read from. A reader whose journal was compacted or pruned beside it begins it anew. */
export interface EventSource {
  index: EventIndex;
  log: SegmentLog;
  /** Sequence of row 0. */
  firstSequence: number;
  /**
   * Where events were taken back by their writer, in the order a reader noticed: from each of these
   * sequences on there were other events then, or none.
   */
  readonly retractions: number[];
  /** Mends what a failed read may have met, and says whether it is worth another try. */
  recover?: (error: unknown) => boolean;
}

/** An event as plain data, for JSON. */
export interface EventJson {
  /** Place in the journal. */
  readonly globalSequence: number;
  /** The id. */
  readonly eventId: string;
  /** Whose fact it is. */
  readonly entity: string;
  /** The boundary the entity lives in. */
  readonly scope: string;
  /** What it says, as `0x` and four digits. */
  readonly kind: string;
  /** Place in the entity's lane. */
  readonly clock: number;
  /** The lane. */
  readonly lane: number;
  /** The caller's depth label. */
  readonly depth: number;
  /** The caller's flag bits. */
  readonly flags: number;
  /** Microseconds since 1970. */
  readonly timestampUs: number;
  /** The id of the event that began the story. */
  readonly correlationId: string;
  /** The id of its cause, or `null`. */
  readonly causationId: string | null;
  /** The tags. */
  readonly tags: readonly string[];
  /** The version of the definition it was appended with; 0 without one. */
  readonly payloadVersion: number;
  /** Event hash of its predecessor, in hex. */
  readonly prevHash: string;
  /** BLAKE3 of the payload bytes, in hex. */
  readonly contentHash: string;
  /** BLAKE3 of the header, in hex. */
  readonly eventHash: string;
  /** The payload, decoded; not there when it was erased. */
  readonly payload?: unknown;
  /** Whether the payload has been erased; only there when it has. */
  readonly erased?: true;
  /** Whether the event has left queries too; only there when it has. */
  readonly retired?: true;
}

/**
 * An event in the journal. Cheap to hold: 1,000,000 of them take no payload into memory until
 * somebody asks. Reading a field that is not in memory needs the store to be open.
 *
 * @example Read an event back
 * ```ts
 * import { EventKind, MemoryFs, Store } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * using store = Store.open("journal", { fs: new MemoryFs() });
 * const { eventId } = store.append({ entity: "user:1", scope: "app" }, EventKind.DATA, { hi: 1 });
 * const event = store.get(eventId);
 *
 * assert.equal(event?.entity, "user:1");
 * assert.deepEqual(event?.payload, { hi: 1 });
 * ```
 */
export class StoredEvent {
  /** Place in the journal. */
  readonly globalSequence: number;
  /** Absent when the event stands alone; its body is there from the beginning then. */
  readonly #source: EventSource | undefined;
  /** Where it was, when it stands alone. */
  readonly #position: LogPosition | undefined;
  #body: Uint8Array | undefined;
  #payload: unknown;
  #payloadDecoded = false;

  /**
   * Made by the store. Without a source it stands alone: see {@linkcode StoredEvent.fromFrame}.
   *
   * @internal
   */
  constructor(
    source: EventSource | undefined,
    globalSequence: number,
    body?: Uint8Array,
    position?: LogPosition,
  ) {
    this.#source = source;
    this.#position = position;
    this.#body = body;
    this.globalSequence = globalSequence;
  }

  /**
   * An event that needs no index and no open store: it answers everything from the body of its frame.
   *
   * @param body a body that `bodyProblem` found sound, and nothing but it. It becomes the event's own.
   * @param position where the frame is.
   *
   * @internal
   */
  static fromFrame(body: Uint8Array, position: LogPosition): StoredEvent {
    return new StoredEvent(undefined, sequenceOf(body, 0), body, position);
  }

  /** Where the index has it. A reader's rows move when older events are pruned beside it. */
  #rowIn({ index, firstSequence }: EventSource): number {
    const row = this.globalSequence - firstSequence;
    if (row < index.firstRow) throw new EventPrunedError(this.globalSequence);
    return row;
  }

  /** The id. */
  get eventId(): EventId {
    const source = this.#source;
    if (source === undefined) return formatId(this.bodyBytes, EVENT_ID_OFFSET);
    const row = this.#rowIn(source);
    return formatId(source.index.idBytesOf(row), source.index.idStartOf(row));
  }
  /** Whose fact it is. */
  get entity(): string {
    const source = this.#source;
    if (source === undefined) {
      const body = this.bodyBytes;
      return readUtf8(body, ENTITY_OFFSET, entitySizeOf(body, 0)) ?? "";
    }
    const { index } = source;
    return index.entities.text(index.entityOf(index.chainOf(this.#rowIn(source))));
  }
  /** The boundary the entity lives in. */
  get scope(): string {
    const source = this.#source;
    if (source === undefined) {
      const body = this.bodyBytes;
      return readUtf8(body, scopeStartOf(body, 0), scopeSizeOf(body, 0)) ?? "";
    }
    return source.index.scopes.text(source.index.scopeOf(this.#rowIn(source)));
  }
  /** Entity and scope together. */
  get coordinate(): Coordinate {
    return Coordinate.of(this.entity, this.scope);
  }
  /** What it says. */
  get kind(): EventKind {
    const source = this.#source;
    return (source === undefined
      ? kindOf(this.bodyBytes, 0)
      : source.index.kindOf(this.#rowIn(source))) as EventKind;
  }
  /** Place in the entity's lane, from 0. */
  get clock(): number {
    const source = this.#source;
    return source === undefined
      ? clockOf(this.bodyBytes, 0)
      : source.index.clockOf(this.#rowIn(source));
  }
  /** The lane; 0 unless the caller chose another. */
  get lane(): number {
    const source = this.#source;
    return source === undefined
      ? laneOf(this.bodyBytes, 0)
      : source.index.laneOf(source.index.chainOf(this.#rowIn(source)));
  }
  /** Where the frame is. */
  get position(): LogPosition {
    const source = this.#source;
    if (source === undefined) return this.#position!;
    const { index, log } = source;
    const row = this.#rowIn(source);
    const segmentIndex = log.segmentIndexOf(row);
    const offset = index.offsetOf(row);
    return {
      segmentId: log.segments[segmentIndex].id,
      offset,
      size: log.frameEndOf(row, segmentIndex) - offset,
    };
  }

  /** The caller's depth label. This and the fields below are read from the log. */
  get depth(): number {
    return depthOf(this.bodyBytes, 0);
  }
  /** The caller's eight flag bits. */
  get flags(): number {
    return flagsOf(this.bodyBytes, 0);
  }
  /** Microseconds since 1970, never less than that of an earlier event. */
  get timestampUs(): number {
    return timestampOf(this.bodyBytes, 0);
  }
  /** The id of the event that began the story it belongs to; its own, when it began one. */
  get correlationId(): EventId {
    return formatId(this.bodyBytes, CORRELATION_ID_OFFSET);
  }
  /** The id of the event it follows from. */
  get causationId(): EventId | undefined {
    const body = this.bodyBytes;
    if (isZero(body, CAUSATION_ID_OFFSET, CAUSATION_ID_OFFSET + ID_SIZE)) return undefined;
    return formatId(body, CAUSATION_ID_OFFSET);
  }
  /** The tags. */
  get tags(): readonly string[] {
    return tagsOf(this.bodyBytes, 0);
  }
  /** The receipt extensions, as copies. */
  get extensions(): Readonly<Record<string, Uint8Array>> {
    return Object.fromEntries(extensionsOf(this.bodyBytes, 0));
  }
  /** The version of the definition it was appended with; 0 without one. */
  get payloadVersion(): number {
    return payloadVersionOf(this.bodyBytes, 0);
  }
  /**
   * How the payload is stored: as MessagePack, as bytes of the caller's own, or in a way that this
   * program does not read.
   */
  get payloadEncoding(): "messagepack" | "opaque" | "unknown" {
    const encoding = payloadEncodingOf(this.bodyBytes, 0);
    return encoding === PAYLOAD_MESSAGEPACK
      ? "messagepack"
      : encoding === PAYLOAD_OPAQUE
      ? "opaque"
      : "unknown";
  }
  /** Event hash of the event before it in its entity's lane; zeros for the first. */
  get prevHash(): Uint8Array {
    return this.bodyBytes.slice(PREV_HASH_OFFSET, PREV_HASH_OFFSET + HASH_SIZE);
  }
  /** BLAKE3 of the payload bytes. */
  get contentHash(): Uint8Array {
    return this.bodyBytes.slice(CONTENT_HASH_OFFSET, CONTENT_HASH_OFFSET + HASH_SIZE);
  }
  /** BLAKE3 of the header: every field but the payload, which `contentHash` stands for. */
  get eventHash(): Uint8Array {
    return blake3(this.headerBytes);
  }
  /** The bytes that the event hash covers, as a copy. */
  get headerBytes(): Uint8Array {
    const body = this.bodyBytes;
    return body.slice(0, payloadStartOf(body, 0));
  }

  /** Whether the payload has been erased; the header and the chain stay. */
  get isErased(): boolean {
    const source = this.#source;
    return source === undefined
      ? this.#erasure() !== undefined
      : source.index.stateOf(this.#rowIn(source)) !== STATE_PRESENT;
  }
  /** Whether retention has taken the event out of queries; its payload is erased too. */
  get isRetired(): boolean {
    const source = this.#source;
    return source === undefined
      ? this.#erasure() === "retired"
      : source.index.stateOf(this.#rowIn(source)) === STATE_RETIRED;
  }
  /** The payload bytes as stored, as a copy; `undefined` when they were erased. */
  get payloadBytes(): Uint8Array | undefined {
    return payloadOf(this.bodyBytes, 0)?.slice();
  }
  /**
   * The payload, decoded at the first touch; `undefined` when it was erased.
   *
   * @throws {SerializationError} when the bytes are not a payload.
   * @throws {CorruptionError} when the bytes in the log are not the ones that were written.
   */
  get payload(): unknown {
    if (!this.#payloadDecoded) {
      this.#payload = this.#decodePayload();
      this.#payloadDecoded = true;
    }
    return this.#payload;
  }

  /** Whether the event is of the definition's kind. */
  is(definition: EventDefinition): boolean {
    return this.kind === definition.kind;
  }

  /**
   * The payload in the definition's current shape, lifted from an older version when need be.
   *
   * @throws {DecodeError} when the event is of another kind, erased, from a newer program, or not valid.
   */
  decode<Input, Output>(definition: EventDefinition<Input, Output>): Output {
    if (this.kind !== definition.kind) {
      throw new DecodeError("KindMismatch", {
        definition,
        storedVersion: this.payloadVersion,
        foundKind: this.kind,
      });
    }
    if (this.isErased) {
      throw new DecodeError("Erased", { definition, storedVersion: this.payloadVersion });
    }
    return definition.decode(this.payload, this.payloadVersion);
  }

  /**
   * The event as plain data: ids and hashes as text, everything decoded. A payload that JSON cannot say,
   * such as a `bigint`, is left as it is, for the caller to convert.
   */
  toJSON(): EventJson {
    return {
      globalSequence: this.globalSequence,
      eventId: this.eventId,
      entity: this.entity,
      scope: this.scope,
      kind: Kinds.format(this.kind),
      clock: this.clock,
      lane: this.lane,
      depth: this.depth,
      flags: this.flags,
      timestampUs: this.timestampUs,
      correlationId: this.correlationId,
      causationId: this.causationId ?? null,
      tags: this.tags,
      payloadVersion: this.payloadVersion,
      prevHash: toHex(this.prevHash),
      contentHash: toHex(this.contentHash),
      eventHash: toHex(this.eventHash),
      ...(this.isErased
        ? { erased: true, ...(this.isRetired && { retired: true }) }
        : { payload: this.payload }),
    };
  }

  #decodePayload(): unknown {
    let bytes = this.#body;
    let body = 0;
    if (bytes === undefined) {
      // Decoding keeps nothing of the bytes, so a payload alone needs no copy of them.
      const source = this.#source!;
      body = this.#locate(source);
      bytes = source.log.located;
    }
    const payload = payloadOf(bytes, body);
    return payload === undefined
      ? undefined
      : decodePayload(payload, payloadEncodingOf(bytes, body));
  }

  /**
   * The frame's body, read once. Not a copy: not for callers.
   *
   * @internal
   */
  get bodyBytes(): Uint8Array {
    if (this.#body === undefined) {
      const source = this.#source!;
      // Locating may begin the source anew, so its log is looked up afterwards.
      const body = this.#locate(source);
      this.#body = source.log.copyOfLocated(body);
    }
    return this.#body;
  }

  /** What the frame itself says has become of the payload. */
  #erasure(): Erasure | undefined {
    const body = this.bodyBytes;
    return erasureOf(body, 0, body.byteLength);
  }

  /** Where the body starts in the log's `located` bytes. */
  #locate(source: EventSource): number {
    // A writer may replace the segment again while the journal is read anew.
    for (let attempt = 1;; attempt++) {
      try {
        return source.log.locate(this.#rowIn(source));
      } catch (error) {
        if (attempt === ATTEMPT_COUNT_MAX || source.recover?.(error) !== true) throw error;
      }
    }
  }
}

/** How often an event is looked for whose segment is replaced meanwhile. */
const ATTEMPT_COUNT_MAX = 20;

// Only what is in memory: printing an event reads nothing from the log.
printAs(StoredEvent, (event) => {
  const { globalSequence } = event;
  try {
    const { eventId, entity, scope, kind, clock, lane } = event;
    return { eventId, globalSequence, entity, scope, kind: Kinds.format(kind), clock, lane };
  } catch (error) {
    if (error instanceof EventPrunedError) return { globalSequence, pruned: true };
    throw error;
  }
});
