/**
 * Errors as bytes, so that what is thrown in one realm is caught in another one as an instance of the same
 * class, with its message, its fields and its causes.
 *
 * A class is known by its name, from the modules below; a test holds them to what `mod.ts` exports. An error of
 * a class that is not in it arrives as the nearest thing: with a code as a plain {@linkcode StoreError},
 * otherwise as an `Error`. Constructors do not run again: fields are taken over as they were.
 *
 * @module
 */

import { decode, encode } from "@msgpack/msgpack";
import { IoFault } from "../../platform/fs.ts";
import * as checkpoint from "../checkpoint.ts";
import * as checkpointId from "../checkpoint_id.ts";
import * as neverSkip from "../never_skip.ts";
import * as realmUnit from "../realm/realm_unit.ts";
import * as supervisor from "../supervisor.ts";
import * as witness from "../witness.ts";
import * as coordinate from "../../store/coordinate.ts";
import * as importEvents from "../../store/copies/import_events.ts";
import * as importProvenance from "../../store/copies/import_provenance.ts";
import * as storeErrors from "../../store/errors.ts";
import * as eventDefinition from "../../store/event_definition.ts";
import * as eventKind from "../../store/event_kind.ts";
import * as extensions from "../../store/extensions.ts";
import * as fence from "../../store/fence.ts";
import * as gates from "../../store/gates.ts";
import * as holders from "../../store/holders.ts";
import * as ids from "../../store/ids.ts";
import * as region from "../../store/region.ts";
import * as tags from "../../store/tags.ts";
import * as frontierView from "../../store/watermarks/frontier_view.ts";
import * as sharedFrontier from "../../store/watermarks/shared_frontier.ts";
import * as wait from "../../store/watermarks/wait.ts";
import { HostError } from "./host_error.ts";

/** What an error class has that matters here. */
interface ErrorClass {
  readonly name: string;
  readonly prototype: Error;
}

/** Where errors are defined. Whatever such a module exports that is an error keeps its identity. */
const MODULES: readonly Readonly<Record<string, unknown>>[] = [
  checkpoint,
  checkpointId,
  neverSkip,
  realmUnit,
  supervisor,
  witness,
  coordinate,
  importEvents,
  importProvenance,
  storeErrors,
  eventDefinition,
  eventKind,
  extensions,
  fence,
  gates,
  holders,
  ids,
  region,
  tags,
  frontierView,
  sharedFrontier,
  wait,
];

const CLASSES: ReadonlyMap<string, ErrorClass> = new Map(
  [
    ...MODULES.flatMap((module) => Object.values(module)).filter(isErrorClass),
    HostError,
    IoFault,
    Error,
    TypeError,
    RangeError,
    SyntaxError,
  ].map((type) => [type.name, type]),
);

function isErrorClass(value: unknown): value is ErrorClass {
  return typeof value === "function" && value.prototype instanceof Error;
}

/** A chain of causes, and what is inside of fields, is followed so deep. */
const DEPTH_MAX = 8;

/** An error in plain words. */
interface PlainError {
  readonly type: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** The bytes of an error, or of whatever else was thrown. */
export function encodeError(error: unknown): Uint8Array<ArrayBuffer> {
  return encode(plainOf(error, 0), { ignoreUndefined: true });
}

/** What {@linkcode encodeError} was given, as well as it can be had. */
export function decodeError(bytes: Uint8Array): unknown {
  return valueOf(decode(bytes));
}

/**
 * A value as MessagePack can say it. Every map in it is one of ours and says what it stands for, so that
 * nothing of an error's fields is taken for something else.
 */
function plainOf(value: unknown, depth: number): unknown {
  switch (typeof value) {
    case "boolean":
    case "number":
    case "string":
      return value;
    case "undefined":
      return { type: "undefined" };
    case "bigint":
      return { type: "bigint", text: String(value) };
    case "object":
      break;
    default:
      return String(value);
  }
  if (value === null || value instanceof Uint8Array) return value;
  if (depth >= DEPTH_MAX) return value instanceof Error ? value.message : "…";
  if (value instanceof Error) return { type: "error", error: plainErrorOf(value, depth) };
  if (Array.isArray(value)) return value.map((item) => plainOf(item, depth + 1));
  return { type: "object", fields: fieldsOf(value, Object.keys(value), depth) };
}

function plainErrorOf(error: Error, depth: number): PlainError {
  const keys = Object.keys(error).filter((key) => key !== "message" && key !== "stack");
  if (Object.hasOwn(error, "cause")) keys.push("cause");
  // The name on the prototype is the class; one that is a field may be anything.
  const { name } = error.constructor;
  const type = CLASSES.has(name) ? name : error.name;
  return { type, message: error.message, fields: fieldsOf(error, keys, depth) };
}

function fieldsOf(
  value: object,
  keys: readonly string[],
  depth: number,
): Readonly<Record<string, unknown>> {
  const fields: Record<string, unknown> = {};
  for (const key of keys) {
    if (key === "__proto__") continue;
    fields[key] = plainOf((value as Record<string, unknown>)[key], depth + 1);
  }
  return fields;
}

function valueOf(plain: unknown): unknown {
  if (typeof plain !== "object" || plain === null || plain instanceof Uint8Array) return plain;
  if (Array.isArray(plain)) return plain.map(valueOf);
  const { type, text, fields, error } = plain as {
    type: string;
    text: string;
    fields: Readonly<Record<string, unknown>>;
    error: PlainError;
  };
  switch (type) {
    case "undefined":
      return undefined;
    case "bigint":
      return BigInt(text);
    case "object":
      return valuesOf(fields);
    default:
      return errorOf(error);
  }
}

function valuesOf(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, valueOf(value)]));
}

function errorOf({ type, message, fields }: PlainError): Error {
  const { cause, ...values } = valuesOf(fields);
  // A real error, which runtimes print and clone as one, that takes on the class.
  const error = "cause" in fields ? new Error(message, { cause }) : new Error(message);
  const known = CLASSES.get(type);
  if (known !== undefined) Object.setPrototypeOf(error, known.prototype);
  else if (typeof values.code === "string") {
    Object.setPrototypeOf(error, storeErrors.StoreError.prototype);
  }
  if (known === undefined && values.name === undefined) values.name = type;
  Object.assign(error, values);
  return error;
}
