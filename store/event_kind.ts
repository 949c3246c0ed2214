/**
 * Kinds: what an event says, as one number of 16 bits that is the same on disk, on the wire and under
 * a signature.
 *
 * | Bits    | Field      | Range                                                      |
 * | ------- | ---------- | ---------------------------------------------------------- |
 * | 15 – 12 | `category` | 0 to 15; 0x0 (system) and 0xD (effects) belong to the store |
 * | 11 – 0  | `typeId`   | 0 to 4,095                                                 |
 *
 * @module
 */

import { StoreError } from "./errors.ts";

/** What an event says: a category in the upper four bits and a type id in the lower twelve. */
export type EventKind = number & {
  /** Keeps a kind from being mixed up with another number; nothing has this at run time. */
  readonly __brand: "EventKind";
};

/** Why a kind was refused. */
export type EventKindRefusal =
  | "CategoryOutOfRange"
  | "ReservedSystemCategory"
  | "ReservedEffectCategory"
  | "TypeIdOutOfRange"
  | "RawOutOfRange"
  | "Malformed";

/** A number or a text is not a kind an application may use. Choose a category of 1 to 12, 14 or 15. */
export class EventKindError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "EventKindError";
  /** Stable, for programs. */
  override readonly code = "EVENT_KIND";
  /** The broken rule. */
  readonly reason: EventKindRefusal;
  /** What breaks it: the category, the type id, the raw kind, or the text. */
  readonly value: number | string;

  /**
   * Says which rule is broken.
   *
   * @param reason the broken rule; `value` is what breaks it.
   */
  constructor(reason: EventKindRefusal, value: number | string) {
    super(describe(reason, value));
    this.reason = reason;
    this.value = value;
  }
}

/** The functions and the well-known kinds behind the name {@linkcode EventKind}. */
export interface EventKindNamespace {
  /**
   * The kind of `typeId` in `category`.
   *
   * @throws {EventKindError} when the category is not 0 to 15, is reserved (0x0, 0xD), or the type id
   * is not 0 to 0xFFF, in this order.
   */
  custom(category: number, typeId: number): EventKind;
  /** As `custom`, but hands the error back instead of throwing it. */
  tryCustom(category: number, typeId: number): EventKind | EventKindError;
  /**
   * The kind with this number, reserved ones included; for numbers that were kinds before.
   *
   * @throws {EventKindError} when it is not a whole number of 0 to 0xFFFF.
   */
  fromRaw(raw: number): EventKind;
  /**
   * Reads `F:001` (category and type id) or `0xF001`, in hexadecimal, reserved kinds included.
   *
   * @throws {EventKindError} when the text is neither.
   */
  parse(text: string): EventKind;
  /** `0x` and four upper-case digits; `parse` reads it back. */
  format(kind: EventKind): string;
  /** The upper four bits. */
  category(kind: EventKind): number;
  /** The lower twelve bits. */
  typeId(kind: EventKind): number;
  /** Whether the store says it about itself: category 0x0. */
  isSystem(kind: EventKind): boolean;
  /** Whether it is about the delivery of other events: category 0xD. */
  isEffect(kind: EventKind): boolean;
  /** Whether only the store may append it: a system or an effect kind. */
  isReserved(kind: EventKind): boolean;

  /** An application's data, for programs that need no more than one kind. */
  readonly DATA: EventKind;
  /** The store was created. */
  readonly SYSTEM_INIT: EventKind;
  /** The store was shut down. */
  readonly SYSTEM_SHUTDOWN: EventKind;
  /** A sign of life. */
  readonly SYSTEM_HEARTBEAT: EventKind;
  /** The configuration changed. */
  readonly SYSTEM_CONFIG_CHANGE: EventKind;
  /** A checkpoint was taken. */
  readonly SYSTEM_CHECKPOINT: EventKind;
  /** A batch begins; format 1 only. */
  readonly SYSTEM_BATCH_BEGIN: EventKind;
  /** A batch is complete; format 1 only. */
  readonly SYSTEM_BATCH_COMMIT: EventKind;
  /** The store was opened. */
  readonly SYSTEM_OPEN_COMPLETED: EventKind;
  /** The store was closed. */
  readonly SYSTEM_CLOSE_COMPLETED: EventKind;
  /** What follows is staged behind a fence. */
  readonly SYSTEM_FENCE_BEGIN: EventKind;
  /** What was staged is visible. */
  readonly SYSTEM_FENCE_COMMIT: EventKind;
  /** What was staged is hidden for ever. */
  readonly SYSTEM_FENCE_CANCEL: EventKind;
  /** A gate denied a proposal. */
  readonly SYSTEM_DENIAL: EventKind;
  /** Stands where an event was erased. */
  readonly TOMBSTONE: EventKind;
  /** A handler failed. */
  readonly EFFECT_ERROR: EventKind;
  /** A handler will be tried again. */
  readonly EFFECT_RETRY: EventKind;
  /** A handler is done. */
  readonly EFFECT_ACK: EventKind;
  /** A handler asks for less. */
  readonly EFFECT_BACKPRESSURE: EventKind;
  /** A handler was cancelled. */
  readonly EFFECT_CANCEL: EventKind;
  /** A handler met a conflict. */
  readonly EFFECT_CONFLICT: EventKind;
  /** Asks for a sign of life; an application's kind by number, the system's by convention. */
  readonly SYSTEM_HEARTBEAT_REQUEST: EventKind;
  /** Answers with a sign of life; an application's kind by number, the system's by convention. */
  readonly SYSTEM_HEARTBEAT_ACK: EventKind;
}

/**
 * Makes, reads and asks about kinds.
 *
 * @example Name what happened
 * ```ts
 * import { EventKind } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const orderPlaced = EventKind.custom(0xF, 1);
 *
 * assert.equal(EventKind.format(orderPlaced), "0xF001");
 * assert.equal(EventKind.parse("F:001"), orderPlaced);
 * assert.throws(() => EventKind.custom(0x0, 1), { reason: "ReservedSystemCategory" });
 * ```
 */
export const EventKind: EventKindNamespace = Object.freeze({
  custom,
  tryCustom,
  fromRaw,
  parse,
  format,
  category,
  typeId,
  isSystem: (kind: EventKind) => category(kind) === SYSTEM_CATEGORY,
  isEffect: (kind: EventKind) => category(kind) === EFFECT_CATEGORY,
  isReserved: (kind: EventKind) => isReservedCategory(category(kind)),

  DATA: 0x1000 as EventKind,
  SYSTEM_INIT: 0x0001 as EventKind,
  SYSTEM_SHUTDOWN: 0x0002 as EventKind,
  SYSTEM_HEARTBEAT: 0x0003 as EventKind,
  SYSTEM_CONFIG_CHANGE: 0x0004 as EventKind,
  SYSTEM_CHECKPOINT: 0x0005 as EventKind,
  SYSTEM_BATCH_BEGIN: 0x0006 as EventKind,
  SYSTEM_BATCH_COMMIT: 0x0007 as EventKind,
  SYSTEM_OPEN_COMPLETED: 0x0008 as EventKind,
  SYSTEM_CLOSE_COMPLETED: 0x0009 as EventKind,
  SYSTEM_FENCE_BEGIN: 0x000a as EventKind,
  SYSTEM_FENCE_COMMIT: 0x000b as EventKind,
  SYSTEM_FENCE_CANCEL: 0x000c as EventKind,
  SYSTEM_DENIAL: 0x000f as EventKind,
  TOMBSTONE: 0x0ffe as EventKind,
  EFFECT_ERROR: 0xd001 as EventKind,
  EFFECT_RETRY: 0xd002 as EventKind,
  EFFECT_ACK: 0xd004 as EventKind,
  EFFECT_BACKPRESSURE: 0xd005 as EventKind,
  EFFECT_CANCEL: 0xd006 as EventKind,
  EFFECT_CONFLICT: 0xd007 as EventKind,
  SYSTEM_HEARTBEAT_REQUEST: 0xfa01 as EventKind,
  SYSTEM_HEARTBEAT_ACK: 0xfa02 as EventKind,
});

const KNOWN_KINDS: ReadonlySet<unknown> = new Set(Object.values(EventKind));

/** Whether this program has a name for a kind. */
export function isKnownKind(kind: EventKind): boolean {
  return KNOWN_KINDS.has(kind);
}

const SYSTEM_CATEGORY = 0x0;
const EFFECT_CATEGORY = 0xd;

function custom(category: number, typeId: number): EventKind {
  const kind = tryCustom(category, typeId);
  if (kind instanceof EventKindError) throw kind;
  return kind;
}

function tryCustom(category: number, typeId: number): EventKind | EventKindError {
  if (!isWithin(category, 0xf)) return new EventKindError("CategoryOutOfRange", category);
  if (category === SYSTEM_CATEGORY) return new EventKindError("ReservedSystemCategory", category);
  if (category === EFFECT_CATEGORY) return new EventKindError("ReservedEffectCategory", category);
  if (!isWithin(typeId, 0xfff)) return new EventKindError("TypeIdOutOfRange", typeId);
  return ((category << 12) | typeId) as EventKind;
}

function fromRaw(raw: number): EventKind {
  if (!isWithin(raw, 0xffff)) throw new EventKindError("RawOutOfRange", raw);
  return raw as EventKind;
}

function parse(text: string): EventKind {
  const match = KIND_PATTERN.exec(text);
  if (match === null) throw new EventKindError("Malformed", text);
  const [, category, typeId, raw] = match;
  const digits = raw ?? category + typeId.padStart(3, "0");
  return Number.parseInt(digits, 16) as EventKind;
}

function format(kind: EventKind): string {
  return `0x${kind.toString(16).toUpperCase().padStart(4, "0")}`;
}

function category(kind: EventKind): number {
  return kind >>> 12;
}

function typeId(kind: EventKind): number {
  return kind & 0xfff;
}

function isReservedCategory(category: number): boolean {
  return category === SYSTEM_CATEGORY || category === EFFECT_CATEGORY;
}

function isWithin(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}

function describe(reason: EventKindRefusal, value: number | string): string {
  switch (reason) {
    case "CategoryOutOfRange":
      return `Cannot use category ${value}: a category is a whole number of 0 to 15`;
    case "ReservedSystemCategory":
      return "Cannot use category 0x0: it is reserved for the store";
    case "ReservedEffectCategory":
      return "Cannot use category 0xD: it is reserved for the store";
    case "TypeIdOutOfRange":
      return `Cannot use type id ${value}: a type id is a whole number of 0 to 4095`;
    case "RawOutOfRange":
      return `Cannot use ${value} as a kind: a kind is a whole number of 0 to 65535`;
    case "Malformed":
      return `Cannot read ${JSON.stringify(value)} as a kind: write "F:001" or "0xF001"`;
  }
}

const KIND_PATTERN = /^(?:([0-9a-f]):([0-9a-f]{1,3})|0x([0-9a-f]{4}))$/i;
