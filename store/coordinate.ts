/**
 * Coordinates: whose event it is, and the boundary it lives in.
 *
 * The rules below keep a coordinate printable, safe to use in a path, and unambiguous in the identity
 * of a region, where `|` and `=` separate the parts. They are checked in a fixed order, so the same bad
 * coordinate is refused for the same reason everywhere:
 *
 * | Order | Reason               | Refused                                             |
 * | ----: | -------------------- | --------------------------------------------------- |
 * |     1 | `NotString`          | a part that is not a string                         |
 * |     2 | `EmptyEntity`        | an empty entity, then an empty scope                |
 * |     3 | `EntityTooLong`      | an entity of more than 1,024 bytes, then a scope    |
 * |     4 | `NulByte`            | U+0000                                              |
 * |     4 | `ControlChar`        | U+0001 to U+001F and U+007F, whichever stands first |
 * |     5 | `PathTraversal`      | `/` or `..`                                         |
 * |     6 | `ForbiddenSeparator` | `\|` or `=`                                         |
 * |     7 | `LoneSurrogate`      | half a surrogate pair, which UTF-8 cannot carry     |
 *
 * Orders 4 to 7 are checked for the entity and after it for the scope.
 *
 * @module
 */

import { StoreError } from "./errors.ts";
import { utf8Size } from "./utf8.ts";

/** The most bytes an entity, or a scope, may take in UTF-8. */
export const COORDINATE_COMPONENT_SIZE_MAX = 1024;

/** Anything that names an entity and a scope; a plain object will do. */
export interface CoordinateLike {
  /** Whose event it is. */
  readonly entity: string;
  /** The boundary it lives in. */
  readonly scope: string;
}

/** A part of a coordinate. */
export type CoordinateComponent = "entity" | "scope";

/** Why a coordinate was refused. */
export type CoordinateRefusal =
  | "NotString"
  | "EmptyEntity"
  | "EmptyScope"
  | "EntityTooLong"
  | "ScopeTooLong"
  | "NulByte"
  | "ControlChar"
  | "PathTraversal"
  | "ForbiddenSeparator"
  | "LoneSurrogate";

/** An entity or a scope breaks a rule. Nothing was written: choose another name for it. */
export class CoordinateError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "CoordinateError";
  /** Stable, for programs. */
  override readonly code = "COORDINATE";
  /** The broken rule. */
  readonly reason: CoordinateRefusal;
  /** The part that breaks it. */
  readonly component: CoordinateComponent;
  /** Bytes of that part, when it is too long. */
  readonly size: number | undefined;
  /** The most bytes it may have, when it is too long. */
  readonly max: number | undefined;

  /**
   * Says which rule is broken.
   *
   * @param options the rule, the part, and the two sizes of a part that is too long.
   */
  constructor(
    options: {
      reason: CoordinateRefusal;
      component: CoordinateComponent;
      size?: number;
      max?: number;
    },
  ) {
    const { reason, component, size, max } = options;
    super(`Cannot use this coordinate: the ${component} ${describe(reason, size, max)}`);
    this.reason = reason;
    this.component = component;
    this.size = size;
    this.max = max;
  }
}

/**
 * Whose event it is and the boundary it lives in. A value that cannot change: equal when both parts
 * are equal.
 *
 * @example Name the place of an event
 * ```ts
 * import { Coordinate } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const order = Coordinate.of("order:1001", "shop");
 *
 * assert.equal(String(order), "order:1001@shop");
 * assert.ok(order.equals({ entity: "order:1001", scope: "shop" }));
 * ```
 */
export class Coordinate implements CoordinateLike {
  /** Whose event it is. */
  readonly entity: string;
  /** The boundary it lives in. */
  readonly scope: string;

  private constructor(entity: string, scope: string) {
    this.entity = entity;
    this.scope = scope;
    Object.freeze(this);
  }

  /**
   * Makes a coordinate.
   *
   * @throws {CoordinateError} when a part breaks a rule; `reason` and `component` say which. Choose
   * another name.
   */
  static of(entity: string, scope: string): Coordinate {
    validateCoordinate(entity, scope);
    return new Coordinate(entity, scope);
  }

  /**
   * Makes a coordinate of a decoded value, checking it like new.
   *
   * @throws {CoordinateError} when it is not an object with a valid entity and a valid scope.
   */
  static from(value: unknown): Coordinate {
    if (value instanceof Coordinate) {
      value.validate();
      return value;
    }
    const { entity, scope } = Object(value) as CoordinateLike;
    return Coordinate.of(entity, scope);
  }

  /**
   * Checks the rules again, for a value that did not come from {@linkcode Coordinate.of}.
   *
   * @throws {CoordinateError} when a part breaks a rule.
   */
  validate(): void {
    validateCoordinate(this.entity, this.scope);
  }

  /** Whether `other` names the same place. */
  equals(other: CoordinateLike): boolean {
    return this.entity === other.entity && this.scope === other.scope;
  }

  /** `entity@scope`, for people. An entity may contain `@`, so this does not parse back. */
  toString(): string {
    return `${this.entity}@${this.scope}`;
  }

  /** The two parts; {@linkcode Coordinate.from} reads them back. */
  toJSON(): { entity: string; scope: string } {
    return { entity: this.entity, scope: this.scope };
  }
}

/**
 * Checks an entity and a scope without making a {@linkcode Coordinate}.
 *
 * @throws {CoordinateError} naming the first rule that is broken, in the order of this module's table.
 */
export function validateCoordinate(entity: string, scope: string): void {
  if (typeof entity !== "string") refuse("NotString", "entity");
  if (typeof scope !== "string") refuse("NotString", "scope");
  if (entity.length === 0) refuse("EmptyEntity", "entity");
  if (scope.length === 0) refuse("EmptyScope", "scope");
  validateSize(entity, "EntityTooLong", "entity");
  validateSize(scope, "ScopeTooLong", "scope");
  validateText(entity, "entity");
  validateText(scope, "scope");
}

function validateSize(
  text: string,
  reason: CoordinateRefusal,
  component: CoordinateComponent,
): void {
  // No code unit takes more than three bytes, so most names need no counting.
  if (text.length * 3 <= COORDINATE_COMPONENT_SIZE_MAX) return;
  const size = utf8Size(text);
  if (size > COORDINATE_COMPONENT_SIZE_MAX) {
    throw new CoordinateError({ reason, component, size, max: COORDINATE_COMPONENT_SIZE_MAX });
  }
}

function validateText(text: string, component: CoordinateComponent): void {
  let traverses = false;
  let separates = false;
  let isAscii = true;
  let previous = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit === 0) refuse("NulByte", component);
    if (unit < 0x20 || unit === 0x7f) refuse("ControlChar", component);
    if (unit === SLASH || (unit === DOT && previous === DOT)) traverses = true;
    if (unit === PIPE || unit === EQUALS) separates = true;
    if (unit >= 0x80) isAscii = false;
    previous = unit;
  }
  if (traverses) refuse("PathTraversal", component);
  if (separates) refuse("ForbiddenSeparator", component);
  if (!isAscii && !text.isWellFormed()) refuse("LoneSurrogate", component);
}

function refuse(reason: CoordinateRefusal, component: CoordinateComponent): never {
  throw new CoordinateError({ reason, component });
}

function describe(reason: CoordinateRefusal, size?: number, max?: number): string {
  switch (reason) {
    case "NotString":
      return "is not a string";
    case "EmptyEntity":
    case "EmptyScope":
      return "is empty";
    case "EntityTooLong":
    case "ScopeTooLong":
      return `has ${size} bytes, and at most ${max} fit`;
    case "NulByte":
      return "contains a NUL character";
    case "ControlChar":
      return "contains a control character";
    case "PathTraversal":
      return 'contains "/" or ".."';
    case "ForbiddenSeparator":
      return 'contains "|" or "="';
    case "LoneSurrogate":
      return "contains half a surrogate pair";
  }
}

const SLASH = 0x2f;
const DOT = 0x2e;
const PIPE = 0x7c;
const EQUALS = 0x3d;
