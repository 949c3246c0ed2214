/**
 * From what a caller says to what a frame needs. Everything about an append that can be judged without
 * looking at the journal is judged here.
 *
 * @module
 */

import { assertUint } from "./assert.ts";
import { type CoordinateLike, validateCoordinate } from "./coordinate.ts";
import { ReservedKindError } from "./errors.ts";
import type { EventDefinition, EventRegistry } from "./event_definition.ts";
import { EventKind } from "./event_kind.ts";
import { type Extensions, normalizeExtensions } from "./extensions.ts";
import { FrameDraft, PAYLOAD_MESSAGEPACK, PAYLOAD_OPAQUE, writeUtf8 } from "./frame.ts";
import { HASH_SIZE, NO_BYTES } from "./hash.ts";
import { type EventId, ID_SIZE, idempotencyId, type OperationKey, parseIdInto } from "./ids.ts";
import { encodePayload } from "./payload.ts";
import type { RegionLike } from "./region.ts";
import { normalizeTags } from "./tags.ts";

/** A condition under which an append must not happen. */
export interface AppendCondition {
  /** Which events count. Default: all. */
  readonly region?: RegionLike;
  /** Only events that bear all of these tags. */
  readonly tags?: readonly string[];
  /** Only events behind this sequence: the last one the caller has read. Default: all. */
  readonly after?: number;
}

/** What an append may say beyond who, what and which payload. */
export interface AppendOptions {
  /**
   * Where the entity's lane has to be: `"none"` without an event, or the clock of its newest event.
   * Otherwise nothing is written.
   */
  readonly expectedClock?: "none" | number;
  /**
   * Names the operation. The first append under a key decides; every later one under the same key, in
   * this process or after a restart, returns the first receipt and writes nothing, whatever else it
   * says. Keys are shared by the whole journal. A plain key has 1 to 1024 bytes.
   */
  readonly idempotencyKey?: string | OperationKey;
  /** The event this one follows from. It need not be in this journal. */
  readonly causationId?: EventId;
  /** The event that began the story. Default: this one. */
  readonly correlationId?: EventId;
  /** A branch of the entity's history, with its own clock and chain; 0 to 2^32 - 1. Default 0. */
  readonly lane?: number;
  /** The caller's label for how deep a branch is; 0 to 2^32 - 1. Default 0. */
  readonly depth?: number;
  /** Eight bits for the caller. The reference gives 1, 2 and 8 meanings: see {@linkcode EventFlags}. */
  readonly flags?: number;
  /** At most 32 tags to find the event by. Repeated ones count once. */
  readonly tags?: readonly string[];
  /** Bytes to be carried by the receipt and covered by the event hash, under keys like `app.audit`. */
  readonly extensions?: Extensions;
  /** Conditions; the append fails when an event matches any of them. */
  readonly failIf?: AppendCondition | readonly AppendCondition[];
  /**
   * `"durable"` answers after a sync. `"written"`, the default, answers when the system has the bytes:
   * they survive the program, and a power cut only after the next sync.
   */
  readonly durability?: "written" | "durable";
  /** `"opaque"` stores a `Uint8Array` payload byte for byte. Default `"messagepack"`. */
  readonly payloadEncoding?: "messagepack" | "opaque";
}

/** Meanings the reference gives to flag bits. */
export const EventFlags: Readonly<Record<"REQUIRES_ACK" | "TRANSACTIONAL" | "REPLAY", number>> =
  Object.freeze({ REQUIRES_ACK: 0x01, TRANSACTIONAL: 0x02, REPLAY: 0x08 });

/** A frame draft, and what the append path keeps beside it. */
export class AppendDraft extends FrameDraft {
  /** Whether the event id is an idempotency key. */
  keyed = false;
  /** Whether the caller gave a correlation id. */
  correlated = false;
  expectedClock: "none" | number | undefined;
  /** Payload and extension bytes, which the limits are about. */
  countedSize = 0;
  /** The entity and scope as UTF-8. */
  readonly entityBytes: Uint8Array = new Uint8Array(NAME_SIZE_MAX);
  entitySize = 0;
  readonly scopeBytes: Uint8Array = new Uint8Array(NAME_SIZE_MAX);
  scopeSize = 0;
  /** Hashes are written here, append after append. */
  readonly eventHash: Uint8Array = new Uint8Array(HASH_SIZE);
  /** Places in the writer's buffer. */
  payloadStart = 0;
  frameStart = 0;
  frameEnd = 0;

  /** Checks the names, which is only needed when the journal does not know them. */
  assertCoordinate(): void {
    validateCoordinate(this.entity, this.scope);
  }

  /** Lets go of the caller's bytes. */
  release(): void {
    this.payload = NO_BYTES;
  }
}

/** No valid name is longer in UTF-8. */
const NAME_SIZE_MAX = 1024;
const U32_MAX = 2 ** 32 - 1;

/**
 * Fills a draft with everything but its place in the journal.
 *
 * @param internal lets the store use kinds that callers may not.
 */
export function prepareDraft(
  draft: AppendDraft,
  registry: EventRegistry,
  coordinate: CoordinateLike,
  kind: EventKind | EventDefinition,
  payload: unknown,
  options: AppendOptions,
  internal = false,
): void {
  prepareCoordinate(draft, coordinate);
  let value = payload;
  if (typeof kind === "number") {
    if (!Number.isInteger(kind) || kind < 0 || kind > 0xffff) {
      throw new RangeError(
        `Cannot append an event of kind ${kind}: give a whole number of 16 bits`,
      );
    }
    if (!internal && (EventKind.isReserved(kind) || kind === EventKind.TOMBSTONE)) {
      throw new ReservedKindError(kind);
    }
    draft.kind = kind;
    draft.payloadVersion = 0;
  } else {
    if (typeof kind?.validate !== "function") {
      throw new TypeError("Cannot append: give an EventKind or the result of defineEvent()");
    }
    registry.add(kind);
    value = kind.validate(payload);
    draft.kind = kind.kind;
    draft.payloadVersion = kind.version;
  }
  prepareLabels(draft, options);
  prepareIds(draft, options);
  preparePayload(draft, value, options);
}

function prepareCoordinate(draft: AppendDraft, { entity, scope }: CoordinateLike): void {
  // A name that is too long for the buffer, or no name at all, gets its proper error here.
  if (
    typeof entity !== "string" || typeof scope !== "string" ||
    entity.length * 3 > NAME_SIZE_MAX || scope.length * 3 > NAME_SIZE_MAX
  ) validateCoordinate(entity, scope);
  draft.entity = entity;
  draft.scope = scope;
  draft.entitySize = writeUtf8(draft.entityBytes, 0, entity);
  draft.scopeSize = writeUtf8(draft.scopeBytes, 0, scope);
  // Half a surrogate pair is written as the replacement character, which may be a name that is known.
  const isAscii = draft.entitySize === entity.length && draft.scopeSize === scope.length;
  if (!isAscii && !(entity.isWellFormed() && scope.isWellFormed())) {
    validateCoordinate(entity, scope);
  }
}

function prepareLabels(draft: AppendDraft, options: AppendOptions): void {
  const { expectedClock, lane = 0, depth = 0, flags = 0, tags, extensions, durability } = options;
  if (expectedClock !== undefined && expectedClock !== "none") {
    assertUint("expectedClock", expectedClock, U32_MAX);
  }
  if (durability !== undefined && durability !== "written" && durability !== "durable") {
    throw new TypeError(`Cannot append with durability "${durability}": "written" or "durable"`);
  }
  draft.expectedClock = expectedClock;
  draft.lane = lane === 0 ? 0 : assertUint("lane", lane, U32_MAX);
  draft.depth = depth === 0 ? 0 : assertUint("depth", depth, U32_MAX);
  draft.flags = flags === 0 ? 0 : assertUint("flags", flags, 0xff);
  draft.tags = tags === undefined ? NONE : normalizeTags(tags);
  draft.extensions = extensions === undefined ? NONE : normalizeExtensions(extensions);
}

function prepareIds(draft: AppendDraft, options: AppendOptions): void {
  const { idempotencyKey, correlationId, causationId } = options;
  draft.keyed = idempotencyKey !== undefined;
  if (idempotencyKey !== undefined) draft.eventId.set(idempotencyId(idempotencyKey));
  draft.correlated = correlationId !== undefined;
  if (correlationId !== undefined) parseIdInto(correlationId, draft.correlationId, 0);
  if (causationId !== undefined) parseIdInto(causationId, draft.causationId, 0);
  else for (let i = 0; i < ID_SIZE; i++) draft.causationId[i] = 0;
}

function preparePayload(draft: AppendDraft, value: unknown, options: AppendOptions): void {
  const { payloadEncoding } = options;
  if (payloadEncoding === "opaque") {
    if (!(value instanceof Uint8Array)) {
      throw new TypeError("Cannot append an opaque payload that is not a Uint8Array");
    }
    draft.payloadEncoding = PAYLOAD_OPAQUE;
    draft.payload = value;
  } else {
    if (payloadEncoding !== undefined && payloadEncoding !== "messagepack") {
      throw new TypeError(
        `Cannot append with payload encoding "${payloadEncoding}": "messagepack" or "opaque"`,
      );
    }
    draft.payloadEncoding = PAYLOAD_MESSAGEPACK;
    draft.payload = encodePayload(value);
  }
  let size = draft.payload.byteLength;
  for (const [key, bytes] of draft.extensions) size += 3 + key.length + 5 + bytes.byteLength;
  draft.countedSize = size;
}

const NONE: readonly never[] = Object.freeze([]);
