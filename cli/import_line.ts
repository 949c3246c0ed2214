/**
 * One line of an import: JSON that describes one event.
 *
 * | Field             | Type             | Notes                                        |
 * | ----------------- | ---------------- | -------------------------------------------- |
 * | `entity`          | string           | required                                     |
 * | `scope`           | string           | required                                     |
 * | `payload`         | any JSON         | required; stand-ins as in `payload_json.ts`  |
 * | `payloadEncoding` | string           | `"opaque"` for a payload of `$bytes`         |
 * | `payloadVersion`  | number           | default 0                                    |
 * | `kind`            | string           | `"F:001"` or `"0xF001"`; default `"1:000"`   |
 * | `key`             | string           | idempotency key                              |
 * | `tags`            | array of strings |                                              |
 * | `causationId`     | string or null   | an id                                        |
 * | `correlationId`   | string or null   | an id                                        |
 * | `lane`, `depth`   | number           | default 0                                    |
 * | `flags`           | number           | default 0                                    |
 *
 * A line that `query` or `tail` printed is one, too. It is known by its `eventId`, which becomes its key,
 * so that importing it again changes nothing. What an import cannot set is its business there, and left
 * aside: `globalSequence`, `clock`, `timestampUs`, `prevHash`, `contentHash` and `eventHash`. In a line
 * without `eventId` these are refused: somebody meant something by them. The store's own events and
 * those whose payload was erased are skipped.
 *
 * Here is judged what JSON and its types can say. What a coordinate, a tag or an id may be is judged by
 * the store, which refuses the whole group.
 *
 * @module
 */
import { type BatchItem, EventId, EventKind } from "../mod.ts";
import { LossyNumberError, parseJson } from "./json_text.ts";
import { payloadFromJson } from "./payload_json.ts";

/** A line is not an event. Its `cause` is the error of the store, when that is who refuses it. */
export class LineError extends Error {
  /** The class, for messages and logs. */
  override readonly name = "LineError";
}

/** An event to be imported. */
export interface ImportItem extends BatchItem {
  /** As it stands in the line, or the id of an event that was printed. */
  readonly idempotencyKey?: string;
}

/** What a line says. */
export type ParsedLine =
  | { readonly type: "blank" }
  /** An event that was printed and has nothing to import: the store's own, or an erased one. */
  | { readonly type: "skipped" }
  | {
    readonly type: "event";
    readonly item: ImportItem;
    /** Whether it was printed by the command: then its cause may have been imported, too. */
    readonly printed: boolean;
  };

/**
 * Reads a line.
 *
 * @throws {LineError} when it is not an event; the message says why.
 */
export function parseImportLine(bytes: Uint8Array): ParsedLine {
  const text = decodeText(bytes);
  if (text.trim() === "") return { type: "blank" };
  const fields = parseObject(text);
  const printed = "eventId" in fields;
  for (const name of Object.keys(fields)) {
    if (FIELDS.has(name) || (printed && PRINTED_FIELDS.has(name))) continue;
    throw new LineError(
      PRINTED_FIELDS.has(name)
        ? `the field "${name}" cannot be set; it stands only beside the "eventId" of a printed event`
        : `there is no field ${JSON.stringify(name)}; there are ${[...FIELDS].join(", ")}`,
    );
  }
  const eventId = printed ? parseEventId(required(fields, "eventId")) : undefined;
  const kindText = optional(fields, "kind", "string", 'a string such as "F:001"');
  const kind = kindText === undefined ? EventKind.DATA : parseKind(kindText);
  if (printed && (EventKind.isReserved(kind) || !("payload" in fields))) return { type: "skipped" };
  if (!("payload" in fields)) throw new LineError('the field "payload" is missing');
  const item = {
    entity: required(fields, "entity"),
    scope: required(fields, "scope"),
    kind,
    payload: parsePayload(fields.payload),
    payloadEncoding: parseEncoding(fields.payloadEncoding),
    payloadVersion: optional(fields, "payloadVersion", "number", "a number"),
    idempotencyKey: optional(fields, "key", "string", "a string") ?? eventId,
    tags: parseTags(fields.tags),
    causationId: parseId(fields, "causationId"),
    correlationId: parseId(fields, "correlationId"),
    lane: optional(fields, "lane", "number", "a number"),
    depth: optional(fields, "depth", "number", "a number"),
    flags: optional(fields, "flags", "number", "a number"),
  };
  return { type: "event", item, printed };
}

const FIELDS: ReadonlySet<string> = new Set([
  "entity",
  "scope",
  "kind",
  "payload",
  "payloadEncoding",
  "payloadVersion",
  "key",
  "tags",
  "causationId",
  "correlationId",
  "lane",
  "depth",
  "flags",
]);
/** What else a printed event says. */
const PRINTED_FIELDS: ReadonlySet<string> = new Set([
  "eventId",
  "globalSequence",
  "clock",
  "timestampUs",
  "prevHash",
  "contentHash",
  "eventHash",
]);

type Fields = Readonly<Record<string, unknown>>;

function decodeText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new LineError("it is not UTF-8");
  }
}

function parseObject(text: string): Fields {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (error) {
    if (error instanceof LossyNumberError) throw new LineError(error.message);
    throw new LineError(`it is not JSON: ${messageOf(error)}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new LineError("it is not a JSON object");
  }
  return value as Fields;
}

function required(fields: Fields, name: string): string {
  if (!(name in fields)) throw new LineError(`the field "${name}" is missing`);
  return optional(fields, name, "string", "a string")!;
}

function optional(
  fields: Fields,
  name: string,
  type: "string",
  wanted: string,
): string | undefined;
function optional(
  fields: Fields,
  name: string,
  type: "number",
  wanted: string,
): number | undefined;
function optional(fields: Fields, name: string, type: string, wanted: string): unknown {
  const value = fields[name];
  if (value !== undefined && typeof value !== type) {
    throw new LineError(`the field "${name}" is ${typeName(value)} and not ${wanted}`);
  }
  return value;
}

/** An event as the command prints it says `null` when it has no cause. */
function parseId(fields: Fields, name: string): ImportItem["causationId"] {
  if (fields[name] === null) return undefined;
  return optional(fields, name, "string", "the id of an event") as ImportItem["causationId"];
}

/** The id of a printed event, in the one form that makes the same key each time. */
function parseEventId(text: string): string {
  try {
    return EventId.parse(text);
  } catch (error) {
    throw new LineError(messageOf(error));
  }
}

function parseEncoding(value: unknown): ImportItem["payloadEncoding"] {
  if (value === undefined || value === "messagepack" || value === "opaque") return value;
  throw new LineError('the field "payloadEncoding" is neither "messagepack" nor "opaque"');
}

function parseKind(text: string): EventKind {
  try {
    return EventKind.parse(text);
  } catch (error) {
    throw new LineError(messageOf(error));
  }
}

function parseTags(value: unknown): readonly string[] | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || value.some((tag) => typeof tag !== "string")) {
    throw new LineError(
      `the field "tags" is ${typeName(value)} and not an array of nothing but strings`,
    );
  }
  return value;
}

function parsePayload(value: unknown): unknown {
  try {
    return payloadFromJson(value);
  } catch (error) {
    throw new LineError(`the payload cannot be read: ${messageOf(error)}`);
  }
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const decoder = new TextDecoder("utf-8", { fatal: true });
