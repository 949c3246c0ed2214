/**
 * Event definitions: the bond between a kind, the shape of its payload, and the shapes it had before.
 *
 * A definition looks at a payload twice. Before an append, {@linkcode EventDefinition.validate} runs the
 * schema, and **what the schema returns is what is stored**: a default is filled in once, when the event
 * happens, and not again by every later version of the program. After a read,
 * {@linkcode EventDefinition.decode} lifts an older payload step by step to the current version and
 * runs the same schema, so a handler never sees a shape it was not written for. The types make sure
 * that the schema accepts what it returns.
 *
 * Versions count from 1. Adding an optional field, adding one with a default, and removing one need no
 * new version; a renamed, retyped or newly required field needs one, and a step in `upcast`.
 *
 * @module
 */

import { StoreError } from "./errors.ts";
import { EventKind } from "./event_kind.ts";
import { hasControlCharacter } from "./utf8.ts";

/** A pure step from a payload of one version to a payload of the next. */
// deno-lint-ignore no-explicit-any -- an old shape has no type in today's program
export type UpcastStep = (payload: any) => unknown;

/** What every definition has. */
export interface EventOptions {
  /** What the event is called, in messages and tools. */
  readonly name: string;
  /** Its kind, or the text of one such as `"F:001"`; not a reserved one. */
  readonly kind: EventKind | string;
  /** The version of the payload's shape, 1 to 65535; 1 unless given. */
  readonly version?: number;
  /** For each earlier version, the step to the next one: `{ 1: (v1) => v2, 2: (v2) => v3 }`. */
  readonly upcast?: Readonly<Record<number, UpcastStep>>;
}

/**
 * A validator that speaks version 1 of Standard Schema, as most validation libraries do. The interface
 * is written out here, so that it costs no dependency.
 */
export interface EventSchema<Input = unknown, Output = Input> {
  /** What the standard prescribes. */
  readonly "~standard": {
    /** The version of the standard. */
    readonly version: 1;
    /** The library. */
    readonly vendor: string;
    /** Checks a value. The store accepts no promise. */
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    /** Carries the types; nothing is there at run time. */
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** The answer of a schema: a value, or what is wrong. */
export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

/** One thing that a schema finds wrong. */
export interface SchemaIssue {
  /** What is wrong. */
  readonly message: string;
  /** Where, from the outside in. */
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** What a schema accepts. */
export type SchemaInput<Schema extends EventSchema> = NonNullable<
  Schema["~standard"]["types"]
>["input"];

/** What a schema returns. */
export type SchemaOutput<Schema extends EventSchema> = NonNullable<
  Schema["~standard"]["types"]
>["output"];

/** A definition whose payloads a schema checks. */
export interface SchemaEventOptions<Schema extends EventSchema> extends EventOptions {
  /**
   * Any validator that speaks Standard Schema. It must answer synchronously and accept what it
   * returns, because that is what is stored.
   */
  readonly schema: Schema & SelfAccepting<Schema>;
}

/** A definition whose payloads only the compiler checks. */
export interface PlainEventOptions extends EventOptions {
  /** Not given: the payload is stored and returned as it is. */
  readonly schema?: undefined;
}

/** Anything, if the schema accepts what it returns; otherwise a type that says what is wrong. */
export type SelfAccepting<Schema extends EventSchema> = SchemaOutput<Schema> extends
  SchemaInput<Schema> ? unknown
  : { readonly "the schema does not accept what it returns": never };

/** An event the program knows: made by {@linkcode defineEvent}, and frozen. */
export interface EventDefinition<Input = unknown, Output = Input> {
  /** What the event is called. */
  readonly name: string;
  /** What it says. */
  readonly kind: EventKind;
  /** The version of the payload's shape, written with every event. */
  readonly version: number;
  /**
   * The payload as it will be stored.
   *
   * @throws {ValidationError} when it does not have the shape of the event.
   * @throws {AsyncValidationError} when the schema answers with a promise.
   */
  validate(payload: Input): Output;
  /**
   * A stored payload in its current shape. A payload of version 0 was written without a definition
   * and is taken as current.
   *
   * @throws {DecodeError} when it is from the future, a step fails, or the result is not valid.
   * @throws {AsyncValidationError} when the schema answers with a promise.
   */
  decode(payload: unknown, storedVersion: number): Output;
}

/** The payload to append for a definition. */
export type EventInput<Definition extends EventDefinition> = Definition extends
  EventDefinition<infer Input, unknown> ? Input : never;

/** The payload read back with a definition. */
export type EventOutput<Definition extends EventDefinition> = Definition extends
  EventDefinition<infer _Input, infer Output> ? Output : never;

/**
 * Binds a kind to the shape of its payload.
 *
 * With a schema, types come from the schema. Without one, name the payload's type; then only the
 * compiler checks it.
 *
 * @throws {UpcastChainError} when a version above 1 has no step from each earlier version.
 * @throws {EventKindError} when the kind is reserved or is not a kind.
 * @throws {RangeError} when the version is not 1 to 65535, or a step starts from a version that is not
 * an earlier one.
 *
 * @example Define an event, and change its shape later
 * ```ts
 * import { defineEvent } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * interface OrderPlaced {
 *   totalCents: number;
 * }
 * const orderPlaced = defineEvent<OrderPlaced>({
 *   name: "order.placed",
 *   kind: "F:001",
 *   version: 2,
 *   upcast: { 1: ({ total }) => ({ totalCents: total * 100 }) },
 * });
 *
 * assert.deepEqual(orderPlaced.decode({ total: 12 }, 1), { totalCents: 1200 });
 * ```
 */
export function defineEvent<Schema extends EventSchema>(
  options: SchemaEventOptions<Schema>,
): EventDefinition<SchemaInput<Schema>, SchemaOutput<Schema>>;
/** Binds a kind to a type that only the compiler checks. */
export function defineEvent<Payload>(options: PlainEventOptions): EventDefinition<Payload>;
export function defineEvent(
  options: EventOptions & { readonly schema?: EventSchema },
): EventDefinition {
  const { name, version = 1, schema, upcast = {} } = options;
  validateName(name);
  const kind = definableKind(options.kind);
  validateVersion(name, version);
  validateSchema(name, schema);
  const facts = { name, kind, version };
  const steps = completeSteps(facts, upcast);

  return Object.freeze({
    ...facts,
    validate: (payload: unknown): unknown => runSchema(name, schema, payload),
    decode(payload: unknown, storedVersion: number): unknown {
      if (storedVersion > version) {
        throw new DecodeError("FutureVersion", { definition: facts, storedVersion });
      }
      // Version 0 was written without a definition: whoever wrote it meant the current shape.
      const current = storedVersion === 0 ? payload : lift(facts, steps, payload, storedVersion);
      try {
        return runSchema(name, schema, current);
      } catch (cause) {
        if (cause instanceof AsyncValidationError) throw cause;
        throw new DecodeError("Invalid", { definition: facts, storedVersion, cause });
      }
    },
  });
}

/**
 * The definitions a store knows, at most one for a kind.
 *
 * @example Refuse two meanings for one kind
 * ```ts
 * import { defineEvent, EventRegistry } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const registry = new EventRegistry();
 * registry.add(defineEvent({ name: "order.placed", kind: "F:001" }));
 *
 * assert.throws(() => registry.add(defineEvent({ name: "order.paid", kind: "F:001" })), {
 *   code: "EVENT_REGISTRY",
 * });
 * ```
 */
export class EventRegistry {
  readonly #definitions = new Map<EventKind, EventDefinition>();

  /** How many definitions there are. */
  get size(): number {
    return this.#definitions.size;
  }

  /**
   * Adds a definition; adding the same one again does nothing.
   *
   * @throws {EventRegistryError} when another definition has its kind.
   */
  add(definition: EventDefinition): void {
    const first = this.#definitions.get(definition.kind);
    if (first === definition) return;
    if (first !== undefined) throw new EventRegistryError([collisionOf(first, definition)]);
    this.#definitions.set(definition.kind, definition);
  }

  /** The definition of a kind. */
  get(kind: EventKind): EventDefinition | undefined {
    return this.#definitions.get(kind);
  }

  /** All definitions, in the order they were added. */
  [Symbol.iterator](): IterableIterator<EventDefinition> {
    return this.#definitions.values();
  }
}

/**
 * Checks that no two definitions claim one kind, for a program that wants to know before it opens a
 * store. The same definition may stand in the list twice.
 *
 * @throws {EventRegistryError} naming every collision, ordered by kind.
 */
export function checkDefinitions(definitions: Iterable<EventDefinition>): void {
  const firsts = new Map<EventKind, EventDefinition>();
  const collisions: KindCollision[] = [];
  for (const definition of new Set(definitions)) {
    const first = firsts.get(definition.kind);
    if (first === undefined) firsts.set(definition.kind, definition);
    else collisions.push(collisionOf(first, definition));
  }
  if (collisions.length === 0) return;
  throw new EventRegistryError(collisions.sort((a, b) => a.kind - b.kind));
}

/** One thing that is wrong with a payload. */
export interface ValidationIssue {
  /** What is wrong, in the words of the schema. */
  readonly message: string;
  /** Where, from the outside in; empty for the payload itself. */
  readonly path: readonly (string | number)[];
}

/** The payload does not have the shape of its event. Nothing was written: correct what `issues` names. */
export class ValidationError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "ValidationError";
  /** Stable, for programs. */
  override readonly code = "VALIDATION";
  /** The name of the event. */
  readonly event: string;
  /** What is wrong, and where; at least one. */
  readonly issues: readonly ValidationIssue[];

  /**
   * Says what is wrong with a payload.
   *
   * @param event the name of the event; `issues` are what the schema found.
   */
  constructor(event: string, issues: readonly ValidationIssue[]) {
    const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : "";
    super(`Cannot accept this payload of "${event}": ${describeIssue(issues[0])}${more}`);
    this.event = event;
    this.issues = issues;
  }
}

/**
 * The schema answered with a promise, and an append does not wait. Nothing was written: do what the
 * schema waits for before the append, and leave it a check that answers at once.
 */
export class AsyncValidationError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "AsyncValidationError";
  /** Stable, for programs. */
  override readonly code = "ASYNC_VALIDATION";
  /** The name of the event. */
  readonly event: string;

  /**
   * Says whose schema is asynchronous.
   *
   * @param event the name of the event.
   */
  constructor(event: string) {
    super(
      `Cannot validate "${event}": its schema answered with a promise. ` +
        "Do the asynchronous part before the append, and give the event a synchronous schema",
    );
    this.event = event;
  }
}

/** Why a stored payload could not be decoded. */
export type DecodeFailure =
  | "KindMismatch"
  | "Erased"
  | "FutureVersion"
  | "UpcastFailed"
  | "Invalid";

/**
 * A stored payload is not what the definition expects. The event itself is unharmed: read it without a
 * definition to see it as it was written.
 *
 * | Reason          | Remedy                                                                        |
 * | --------------- | ----------------------------------------------------------------------------- |
 * | `KindMismatch`  | ask with the definition of the kind that was found                            |
 * | `Erased`        | a compaction has erased the payload: look at `isErased` first                 |
 * | `FutureVersion` | a newer program wrote it: upgrade this one                                    |
 * | `UpcastFailed`  | correct the step from `storedVersion`; `cause` is what it threw               |
 * | `Invalid`       | make the schema tolerate it, or raise the version; `cause` says what is wrong |
 */
export class DecodeError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "DecodeError";
  /** Stable, for programs. */
  override readonly code = "DECODE";
  /** What went wrong. */
  readonly reason: DecodeFailure;
  /** The name of the event that was expected. */
  readonly event: string;
  /** The kind of the definition. */
  readonly kind: EventKind;
  /** The kind of the stored event; another one only for `KindMismatch`. */
  readonly foundKind: EventKind;
  /** The version of the definition. */
  readonly version: number;
  /** The version the payload has; for `UpcastFailed`, the one the failing step starts from. */
  readonly storedVersion: number;

  /**
   * Says what went wrong.
   *
   * @param reason what went wrong; `facts` name the definition and what was found.
   */
  constructor(
    reason: DecodeFailure,
    facts: {
      definition: Pick<EventDefinition, "name" | "kind" | "version">;
      storedVersion: number;
      foundKind?: EventKind;
      cause?: unknown;
    },
  ) {
    const { definition, storedVersion, foundKind = definition.kind, cause } = facts;
    super(
      `Cannot decode "${definition.name}": ` +
        describeFailure(reason, definition, storedVersion, foundKind, cause),
      { cause },
    );
    this.reason = reason;
    this.event = definition.name;
    this.kind = definition.kind;
    this.foundKind = foundKind;
    this.version = definition.version;
    this.storedVersion = storedVersion;
  }
}

/** Two definitions that claim one kind. */
export interface KindCollision {
  /** The kind. */
  readonly kind: EventKind;
  /** The name of the definition that had it. */
  readonly first: string;
  /** The name of the definition that wanted it too. */
  readonly second: string;
}

/** Several definitions claim one kind. Nothing was opened or written: give one of them another kind. */
export class EventRegistryError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "EventRegistryError";
  /** Stable, for programs. */
  override readonly code = "EVENT_REGISTRY";
  /** Who collides with whom; at least one. */
  readonly collisions: readonly KindCollision[];

  /**
   * Says who collides with whom.
   *
   * @param collisions at least one.
   */
  constructor(collisions: readonly KindCollision[]) {
    const list = collisions.map(({ kind, first, second }) =>
      `"${first}" and "${second}" have kind ${EventKind.format(kind)}`
    );
    super(`Cannot register these events: ${list.join("; ")}`);
    this.collisions = collisions;
  }
}

/**
 * A definition of a later version cannot read all the earlier ones. Add a step for each of
 * `missingVersions` to `upcast`.
 */
export class UpcastChainError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "UpcastChainError";
  /** Stable, for programs. */
  override readonly code = "EVENT_REGISTRY";
  /** The name of the event. */
  readonly event: string;
  /** The kind of the event. */
  readonly kind: EventKind;
  /** The version of the definition. */
  readonly version: number;
  /** The versions no step starts from, ascending. */
  readonly missingVersions: readonly number[];

  /**
   * Says which steps are missing.
   *
   * @param definition the incomplete one; `missingVersions` are those no step starts from.
   */
  constructor(
    definition: Pick<EventDefinition, "name" | "kind" | "version">,
    missingVersions: readonly number[],
  ) {
    const { name, kind, version } = definition;
    super(
      `Cannot define version ${version} of "${name}": "upcast" has no step from version ` +
        missingVersions.join(", "),
    );
    this.event = name;
    this.kind = kind;
    this.version = version;
    this.missingVersions = missingVersions;
  }
}

function collisionOf(first: EventDefinition, second: EventDefinition): KindCollision {
  return { kind: first.kind, first: first.name, second: second.name };
}

type DefinitionFacts = Pick<EventDefinition, "name" | "kind" | "version">;

function validateName(name: string): void {
  if (typeof name !== "string" || name.length === 0 || hasControlCharacter(name)) {
    throw new TypeError(
      `Cannot define an event named ${JSON.stringify(name)}: ` +
        "a name is a non-empty string without control characters",
    );
  }
}

function definableKind(kind: EventKind | string): EventKind {
  const known = typeof kind === "string" ? EventKind.parse(kind) : EventKind.fromRaw(kind);
  return EventKind.custom(EventKind.category(known), EventKind.typeId(known));
}

function validateVersion(name: string, version: number): void {
  if (!Number.isInteger(version) || version < 1 || version > VERSION_MAX) {
    throw new RangeError(
      `Cannot define version ${version} of "${name}": a version is a whole number of 1 to ${VERSION_MAX}`,
    );
  }
}

function validateSchema(name: string, schema: EventSchema | undefined): void {
  if (schema !== undefined && typeof schema?.["~standard"]?.validate !== "function") {
    throw new TypeError(
      `Cannot define "${name}": its schema does not implement Standard Schema version 1`,
    );
  }
}

/** The steps from version 1 on; the step at `index` starts from version `index + 1`. */
function completeSteps(
  definition: DefinitionFacts,
  upcast: Readonly<Record<number, UpcastStep>>,
): readonly UpcastStep[] {
  const { name, version } = definition;
  for (const from of Object.keys(upcast)) {
    if (String(Number(from)) !== from || !isEarlierVersion(Number(from), version)) {
      throw new RangeError(
        `Cannot define version ${version} of "${name}": "upcast" has a step from version ${from}, ` +
          "which is not an earlier one",
      );
    }
  }
  const steps: UpcastStep[] = [];
  const missing: number[] = [];
  for (let from = 1; from < version; from++) {
    const step = upcast[from];
    if (typeof step === "function") steps.push(step);
    else missing.push(from);
  }
  if (missing.length > 0) throw new UpcastChainError(definition, missing);
  return steps;
}

function isEarlierVersion(from: number, version: number): boolean {
  return Number.isInteger(from) && from >= 1 && from < version;
}

function lift(
  definition: DefinitionFacts,
  steps: readonly UpcastStep[],
  payload: unknown,
  storedVersion: number,
): unknown {
  let value = payload;
  for (let from = storedVersion; from < definition.version; from++) {
    try {
      value = steps[from - 1](value);
      if (isThenable(value)) {
        ignoreRejection(value);
        throw new TypeError("the step returned a promise, and a step must return the payload");
      }
    } catch (cause) {
      throw new DecodeError("UpcastFailed", { definition, storedVersion: from, cause });
    }
  }
  return value;
}

function runSchema(
  name: string,
  schema: EventSchema | undefined,
  payload: unknown,
): unknown {
  if (schema === undefined) return payload;
  const result = schema["~standard"].validate(payload);
  if (isThenable(result)) {
    ignoreRejection(result);
    throw new AsyncValidationError(name);
  }
  if (result.issues) throw new ValidationError(name, result.issues.map(plainIssue));
  return result.value;
}

/** An issue that survives a message to another realm: no symbols, no objects of the schema. */
function plainIssue(issue: SchemaIssue): ValidationIssue {
  const path = (issue.path ?? []).map((segment) => {
    const key = typeof segment === "object" ? segment.key : segment;
    return typeof key === "symbol" ? String(key) : key;
  });
  return { message: issue.message, path };
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === "function";
}

/** Nobody will wait for this promise, so its rejection must not end the process. */
function ignoreRejection(promise: PromiseLike<unknown>): void {
  promise.then(undefined, () => {});
}

function describeIssue(issue: ValidationIssue | undefined): string {
  if (issue === undefined) return "the schema named no reason";
  if (issue.path.length === 0) return issue.message;
  const path = issue.path.map((key, index) =>
    typeof key === "number" ? `[${key}]` : index === 0 ? key : `.${key}`
  );
  return `${path.join("")}: ${issue.message}`;
}

function describeFailure(
  reason: DecodeFailure,
  definition: DefinitionFacts,
  storedVersion: number,
  foundKind: EventKind,
  cause: unknown,
): string {
  switch (reason) {
    case "KindMismatch":
      return `the event has kind ${EventKind.format(foundKind)}, ` +
        `and the definition ${EventKind.format(definition.kind)}`;
    case "Erased":
      return "its payload has been erased";
    case "FutureVersion":
      return `the payload has version ${storedVersion}, ` +
        `and this program knows up to ${definition.version}`;
    case "UpcastFailed":
      return `the step from version ${storedVersion} failed: ${messageOf(cause)}`;
    case "Invalid":
      return `the stored payload is not valid: ${messageOf(cause)}`;
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

const VERSION_MAX = 0xffff;
