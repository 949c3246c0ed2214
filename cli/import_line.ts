/**
 * One line of an import: JSON that describes one event.
 *
 * | Field           | Type             | Notes                                        |
 * | --------------- | ---------------- | -------------------------------------------- |
 * | `entity`        | string           | required                                     |
 * | `scope`         | string           | required                                     |
 * | `payload`       | any JSON         | required; stand-ins as in `payload_json.ts`  |
 * | `kind`          | string           | `"F:001"` or `"0xF001"`; default `"1:000"`   |
 * | `key`           | string           | idempotency key                              |
 * | `tags`          | array of strings |                                              |
 * | `causationId`   | string or null   | an id                                        |
 * | `correlationId` | string or null   | an id                                        |
 * | `lane`          | number           | default 0                                    |
 *
 * Here is judged what JSON and its types can say. What a coordinate, a tag or an id may be is judged by
 * the store, which refuses the whole group.
 *
 * @module
 */
import { type BatchItem, EventKind } from "../mod.ts";
import { LossyNumberError, parseJson } from "./json_text.ts";
import { payloadFromJson } from "./payload_json.ts";

/** A line is not an event. Its `cause` is the error of the store, when that is who refuses it. */
export class LineError extends Error {
  /** The class, for messages and logs. */
  override readonly name = "LineError";
}

/** An event to be imported. */
export interface ImportItem extends BatchItem {
  /** Always as it stands in the line. */
  readonly idempotencyKey?: string;
}

/**
 * Reads a line; `undefined` when it is blank.
 *
 * @throws {LineError} when it is not an event; the message says why.
 */
export function parseImportLine(bytes: Uint8Array): ImportItem | undefined {
  const text = decodeText(bytes);
  if (text.trim() === "") return undefined;
  const fields = parseObject(text);
  for (const name of Object.keys(fields)) {
    if (!FIELDS.has(name)) {
      throw new LineError(
        `there is no field ${JSON.stringify(name)}; there are ${[...FIELDS].join(", ")}`,
      );
    }
  }
  if (!("payload" in fields)) throw new LineError('the field "payload" is missing');
  const kind = optional(fields, "kind", "string", 'a string such as "F:001"');
  return {
    entity: required(fields, "entity"),
    scope: required(fields, "scope"),
    kind: kind === undefined ? EventKind.DATA : parseKind(kind),
    payload: parsePayload(fields.payload),
    idempotencyKey: optional(fields, "key", "string", "a string"),
    tags: parseTags(fields.tags),
    causationId: parseId(fields, "causationId"),
    correlationId: parseId(fields, "correlationId"),
    lane: optional(fields, "lane", "number", "a number"),
  };
}

const FIELDS: ReadonlySet<string> = new Set([
  "entity",
  "scope",
  "kind",
  "payload",
  "key",
  "tags",
  "causationId",
  "correlationId",
  "lane",
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
