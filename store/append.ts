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
import { Region, type RegionLike } from "./region.ts";
import { normalizeTags } from "./tags.ts";

/** A condition under which an append must not happen. */
export interface AppendCondition {
  /** Which events count. Default: all. */
  readonly region?: RegionLike;
  /** Only events that bear all of these tags. */
  readonly tags?: readonly string[];
  /** Only events after this sequence: the last one the caller has read. Default: all. */
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
  /**
   * The version of the payload, 0 to 65,535, for programs that carry events without their definitions.
   * A definition stamps its own. Default 0: whoever reads it takes it for the current shape.
   */
  readonly payloadVersion?: number;
}

/** Meanings the reference gives to flag bits. */
export const EventFlags: Readonly<Record<"REQUIRES_ACK" | "TRANSACTIONAL" | "REPLAY", number>> =
  Object.freeze({ REQUIRES_ACK: 0x01, TRANSACTIONAL: 0x02, REPLAY: 0x08 });

/** A condition as the store checks it. */
export interface CompiledCondition {
  readonly region: Region;
  readonly after: number | undefined;
}

/**
 * Reads conditions, once and before anything else is decided.
 *
 * @throws {RangeError} when `after` is not a sequence.
 */
export function compileConditions(
  failIf: AppendOptions["failIf"],
): readonly CompiledCondition[] {
  if (failIf === undefined) return NONE;
  const conditions: readonly AppendCondition[] = Array.isArray(failIf) ? failIf : [failIf];
  return conditions.map((condition) => {
    if (typeof condition !== "object" || condition === null) {
      throw new TypeError("Cannot append under a condition that is not an object");
    }
    for (const key of Object.keys(condition)) {
      // A misspelt filter would be no filter, and conflict with every event.
      if (key !== "region" && key !== "tags" && key !== "after") {
        throw new TypeError(
          `Cannot append under a condition with "${key}": a condition has region, tags and after`,
        );
      }
    }
    const { region = Region.all(), tags, after } = condition;
    let compiled = Region.from(region);
    if (tags !== undefined) compiled = compiled.withTags([...(compiled.tags ?? []), ...tags]);
    if (after !== undefined && !(Number.isSafeInteger(after) && after >= -1)) {
      throw new RangeError(`Cannot append under a condition with after ${after}: give a sequence`);
    }
    return { region: compiled, after };
  });
}

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
  /** The earlier item of the batch that it names as its cause. */
  causationItem: number | undefined;

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
 * Schemas, getters and proxies are the caller's code, and may append themselves. So all of it runs
 * before the first field of the draft is set: another append in between would take the same draft.
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
  if (typeof coordinate !== "object" || coordinate === null) {
    throw new TypeError("Cannot append at a coordinate that is no object: give { entity, scope }");
  }
  const { entity, scope } = coordinate;
  const { lane = 0, depth = 0, flags = 0, expectedClock, payloadEncoding } = options;
  const { idempotencyKey, correlationId, causationId, tags, extensions } = options;
  const { payloadVersion } = options;
  const normalTags = tags === undefined ? NONE : normalizeTags(tags);
  const entries = extensions === undefined ? NONE : normalizeExtensions(extensions);
  const keyedId = idempotencyKey === undefined ? undefined : idempotencyId(idempotencyKey);
  let value = payload;
  let rawKind: EventKind;
  let version = 0;
  if (typeof kind === "number") {
    rawKind = kind;
    if (payloadVersion !== undefined) {
      version = assertUint("payloadVersion", payloadVersion, 0xffff);
    }
  } else {
    if (payloadVersion !== undefined) {
      throw new TypeError("Cannot append with a payloadVersion and a definition: that has its own");
    }
    if (typeof kind?.validate !== "function") {
      throw new TypeError("Cannot append: give an EventKind or the result of defineEvent()");
    }
    rawKind = kind.kind;
    version = assertUint("the version of a definition", kind.version, 0xffff);
    refuseKind(rawKind, internal);
    registry.add(kind);
    value = kind.validate(payload);
  }
  refuseKind(rawKind, internal);
  const bytes = encode(value, payloadEncoding);

  // From here on, only our own code.
  prepareCoordinate(draft, entity, scope);
  draft.kind = rawKind;
  draft.payloadVersion = version;
  draft.payloadEncoding = payloadEncoding === "opaque" ? PAYLOAD_OPAQUE : PAYLOAD_MESSAGEPACK;
  draft.payload = bytes;
  draft.expectedClock = expectedClock === undefined || expectedClock === "none"
    ? expectedClock
    : assertUint("expectedClock", expectedClock, U32_MAX);
  draft.lane = lane === 0 ? 0 : assertUint("lane", lane, U32_MAX);
  draft.depth = depth === 0 ? 0 : assertUint("depth", depth, U32_MAX);
  draft.flags = flags === 0 ? 0 : assertUint("flags", flags, 0xff);
  draft.tags = normalTags;
  draft.extensions = entries;
  draft.keyed = keyedId !== undefined;
  if (keyedId !== undefined) draft.eventId.set(keyedId);
  draft.correlated = correlationId !== undefined;
  if (correlationId !== undefined) parseIdInto(correlationId, draft.correlationId, 0);
  if (causationId !== undefined) parseIdInto(causationId, draft.causationId, 0);
  else for (let i = 0; i < ID_SIZE; i++) draft.causationId[i] = 0;
  let size = bytes.byteLength;
  for (let i = 0; i < entries.length; i++) {
    size += 3 + entries[i][0].length + 5 + entries[i][1].byteLength;
  }
  draft.countedSize = size;
}

/**
 * Refuses a kind that a caller may not append.
 *
 * @param internal lets the store use kinds that callers may not.
 */
export function refuseKind(kind: EventKind, internal: boolean): void {
  if (!Number.isInteger(kind) || kind < 0 || kind > 0xffff) {
    throw new RangeError(`Cannot append an event of kind ${kind}: give a whole number of 16 bits`);
  }
  if (!internal && EventKind.isReserved(kind)) throw new ReservedKindError(kind);
}

/** The payload bytes: borrowed, from the encoder or from the caller. */
function encode(value: unknown, encoding: AppendOptions["payloadEncoding"]): Uint8Array {
  if (encoding === "opaque") {
    if (value instanceof Uint8Array) {
      // Another realm could write to shared memory between the hash and the copy.
      return typeof SharedArrayBuffer !== "undefined" && value.buffer instanceof SharedArrayBuffer
        ? value.slice()
        : value;
    }
    throw new TypeError("Cannot append an opaque payload that is not a Uint8Array");
  }
  if (encoding !== undefined && encoding !== "messagepack") {
    throw new TypeError(
      `Cannot append with payload encoding "${encoding}": "messagepack" or "opaque"`,
    );
  }
  return encodePayload(value);
}

/** Sets the names of a draft. What needs more than a look at them is left to the journal. */
export function prepareCoordinate(draft: AppendDraft, entity: string, scope: string): void {
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

/** What an append may say. */
export const APPEND_OPTIONS: ReadonlySet<string> = new Set([
  "expectedClock",
  "idempotencyKey",
  "causationId",
  "correlationId",
  "lane",
  "depth",
  "flags",
  "tags",
  "extensions",
  "failIf",
  "durability",
  "payloadEncoding",
  "payloadVersion",
]);

/** Whether an append has to be durable before it returns. */
export function isDurable(durability: AppendOptions["durability"]): boolean {
  if (durability === undefined || durability === "written") return false;
  if (durability === "durable") return true;
  throw new TypeError(`Cannot append with durability "${durability}": "written" or "durable"`);
}

const NONE: readonly never[] = Object.freeze([]);
