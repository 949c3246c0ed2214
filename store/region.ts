/**
 * Regions: which events a query, a cursor or a subscription is about.
 *
 * A region is a set of filters, all of which must hold; one that is absent holds for every event. Its
 * {@linkcode Region.identity} is stored with a durable cursor, which then refuses to go on under
 * another region, so that text is a promise to the disk: the same filters give the same bytes for ever,
 * and different filters give different ones.
 *
 * @module
 */

import { StoreError } from "./errors.ts";
import { EventKind } from "./event_kind.ts";
import { normalizeTags } from "./tags.ts";

/** A category to filter by: 0 to 15, reserved ones included. */
export type EventCategory = number & {
  /** Keeps a category from being mixed up with another number; nothing has this at run time. */
  readonly __brand: "EventCategory";
};

/** Why a region was refused. */
export type RegionRefusal =
  | "CategoryOutOfRange"
  | "KindOutOfRange"
  | "ClockOutOfRange"
  | "InvertedClockRange"
  | "LaneOutOfRange"
  | "InvalidText";

/** A filter has a value that no event could match. The message names it: correct it and ask again. */
export class RegionError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "RegionError";
  /** Stable, for programs. */
  override readonly code = "REGION";
  /** What is wrong. */
  readonly reason: RegionRefusal;

  /**
   * Says which rule is broken.
   *
   * @param reason what is wrong; `message` says it to a person, numbers included.
   */
  constructor(reason: RegionRefusal, message: string) {
    super(message);
    this.reason = reason;
  }
}

/** The functions behind the name {@linkcode EventCategory}. */
export interface EventCategoryNamespace {
  /**
   * The category with this number; the reserved 0x0 and 0xD may be asked for.
   *
   * @throws {RegionError} when it is not a whole number of 0 to 15.
   */
  of(category: number): EventCategory;
  /** The category of a kind. */
  ofKind(kind: EventKind): EventCategory;
}

/** Makes categories to filter by. */
export const EventCategory: EventCategoryNamespace = Object.freeze({
  of(category: number): EventCategory {
    if (!isWithin(category, 0xf)) {
      throw new RegionError(
        "CategoryOutOfRange",
        `Cannot filter by category ${category}: a category is a whole number of 0 to 15`,
      );
    }
    return category as EventCategory;
  },
  ofKind: (kind: EventKind): EventCategory => EventKind.category(kind) as EventCategory,
});

/** A filter on what an event says: one kind, all kinds of a category, or any kind. */
export type KindFilter =
  | { readonly type: "exact"; readonly kind: EventKind }
  | { readonly type: "category"; readonly category: EventCategory }
  | { readonly type: "any" };

/** The functions behind the name {@linkcode KindFilter}. */
export interface KindFilterNamespace {
  /**
   * Events of this kind.
   *
   * @throws {RegionError} when it is not a whole number of 0 to 65535.
   */
  exact(kind: EventKind): KindFilter;
  /**
   * Events of every kind of this category.
   *
   * @throws {RegionError} when it is not a whole number of 0 to 15.
   */
  category(category: number): KindFilter;
  /** Events of every kind. Selects what no filter selects, but is another checkpoint identity. */
  readonly any: KindFilter;
  /** Whether `kind` passes `filter`. */
  matches(filter: KindFilter, kind: number): boolean;
}

/** Makes filters on what an event says. */
export const KindFilter: KindFilterNamespace = Object.freeze({
  exact(kind: EventKind): KindFilter {
    if (!isWithin(kind, 0xffff)) {
      throw new RegionError(
        "KindOutOfRange",
        `Cannot filter by kind ${kind}: a kind is a whole number of 0 to 65535`,
      );
    }
    return Object.freeze({ type: "exact", kind });
  },
  category(category: number): KindFilter {
    return Object.freeze({ type: "category", category: EventCategory.of(category) });
  },
  any: Object.freeze({ type: "any" }),
  matches(filter: KindFilter, kind: number): boolean {
    switch (filter.type) {
      case "exact":
        return kind === filter.kind;
      case "category":
        return kind >>> 12 === filter.category;
      case "any":
        return true;
    }
  },
});

/** A range of clocks, both ends included. */
export interface ClockRange {
  /** The first clock. */
  readonly start: number;
  /** The last clock. */
  readonly end: number;
}

/** The functions behind the name {@linkcode ClockRange}. */
export interface ClockRangeNamespace {
  /**
   * The clocks from `start` to `end`, both included.
   *
   * @throws {RegionError} when one is not a whole number of 0 to 2^32 - 1, or `start` is after `end`.
   */
  of(start: number, end: number): ClockRange;
}

/** Makes ranges of clocks. */
export const ClockRange: ClockRangeNamespace = Object.freeze({
  of(start: number, end: number): ClockRange {
    for (const clock of [start, end]) {
      if (!isWithin(clock, U32_MAX)) {
        throw new RegionError(
          "ClockOutOfRange",
          `Cannot filter by clock ${clock}: a clock is a whole number of 0 to ${U32_MAX}`,
        );
      }
    }
    if (start > end) {
      throw new RegionError(
        "InvertedClockRange",
        `Cannot filter by clocks ${start} to ${end}: the range ends before it starts`,
      );
    }
    return Object.freeze({ start, end });
  },
});

/** The filters of a region as a plain object, for a literal or a message to another realm. */
export interface RegionFilters {
  /** This entity and everything below it, as in {@linkcode Region.withEntity}. */
  readonly entity?: string;
  /** Exactly this scope. */
  readonly scope?: string;
  /**
   * Exactly this kind: itself, its text such as `"F:001"`, or whatever has it, such as a definition.
   * `"any"` selects all, under an identity of its own. Excludes `category`.
   */
  readonly kind?: EventKind | string | { readonly kind: EventKind };
  /** Every kind of this category, 0 to 15. Excludes `kind`. */
  readonly category?: number;
  /** Exactly this lane. */
  readonly lane?: number;
  /** Clocks from the first to the second, both included. */
  readonly clock?: readonly [start: number, end: number];
  /** All of these tags. */
  readonly tags?: readonly string[];
}

/** Anything {@linkcode Region.from} takes. */
export type RegionLike = Region | RegionFilters;

/** What {@linkcode Region.matchesEvent} looks at. */
export interface RegionEvent {
  /** The entity. */
  readonly entity: string;
  /** The scope. */
  readonly scope: string;
  /** The raw kind. */
  readonly kind: number;
  /** The lane; when it is not known, a region that asks for one does not match. */
  readonly lane?: number;
  /** The tags; when they are not known, a region that asks for some does not match. */
  readonly tags?: readonly string[];
}

/**
 * Which events: a set of filters that must all hold. A value that cannot change; every `with…` returns
 * a new region.
 *
 * @example Ask for the orders of one shop
 * ```ts
 * import { EventKind, Region } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const region = Region.entity("order").withScope("shop");
 * const kind = EventKind.custom(0xF, 1);
 *
 * assert.ok(region.matchesEvent({ entity: "order:1001", scope: "shop", kind }));
 * assert.ok(!region.matchesEvent({ entity: "orders", scope: "shop", kind }));
 * assert.equal(Region.from({ entity: "order", scope: "shop" }).identity(), region.identity());
 * ```
 */
export class Region {
  /** This entity and everything below it. */
  readonly entityPrefix: string | undefined;
  /** Exactly this scope. */
  readonly scope: string | undefined;
  /** What the event says. */
  readonly fact: KindFilter | undefined;
  /** Its place in its entity's lane. */
  readonly clockRange: ClockRange | undefined;
  /** Exactly this lane. */
  readonly lane: number | undefined;
  /** All of these tags, sorted; `undefined` when none is asked for. */
  readonly tags: readonly string[] | undefined;

  static readonly #all = new Region({});

  private constructor(filters: RegionFields) {
    this.entityPrefix = filters.entityPrefix;
    this.scope = filters.scope;
    this.fact = filters.fact;
    this.clockRange = filters.clockRange;
    this.lane = filters.lane;
    this.tags = filters.tags;
    Object.freeze(this);
  }

  /** Every event, the store's own included. */
  static all(): Region {
    return Region.#all;
  }

  /** As {@linkcode Region.withEntity} on every event. */
  static entity(prefix: string): Region {
    return Region.#all.withEntity(prefix);
  }

  /** As {@linkcode Region.withScope} on every event. */
  static scope(scope: string): Region {
    return Region.#all.withScope(scope);
  }

  /**
   * The region of a literal. A filter that is absent or `undefined` does not filter.
   *
   * @throws {RegionError} when a filter has a value that no event could match.
   * @throws {TagError} when a tag is not valid.
   * @throws {TypeError} when there is a key that is no filter, or both `kind` and `category`.
   */
  static from(like: RegionLike): Region {
    if (like instanceof Region) return like;
    if (typeof like !== "object" || like === null) {
      throw new TypeError("Cannot use a region that is not an object of filters");
    }
    for (const key of Object.keys(like)) {
      if (!FILTER_NAMES.has(key)) {
        throw new TypeError(
          `Cannot filter by "${key}": the filters are ${[...FILTER_NAMES].join(", ")}`,
        );
      }
    }
    const { entity, scope, kind, category, lane, clock, tags } = like;
    if (kind !== undefined && category !== undefined) {
      throw new TypeError('Cannot filter by both "kind" and "category": leave one out');
    }
    let region = Region.#all;
    if (entity !== undefined) region = region.withEntity(entity);
    if (scope !== undefined) region = region.withScope(scope);
    if (kind === "any") region = region.withFact(KindFilter.any);
    else if (kind !== undefined) region = region.withFact(KindFilter.exact(kindIn(kind)));
    if (category !== undefined) region = region.withFactCategory(category);
    if (clock !== undefined) region = region.withClockRange(ClockRange.of(clock[0], clock[1]));
    if (lane !== undefined) region = region.withLane(lane);
    if (tags !== undefined) region = region.withTags(tags);
    return region;
  }

  /**
   * Only events of this entity and of everything below it, where `:` separates the levels: `user`
   * selects `user` and `user:1`, and not `users`.
   *
   * @throws {RegionError} when it contains what no entity can: `|`, `=`, or half a surrogate pair.
   */
  withEntity(prefix: string): Region {
    return new Region({ ...this, entityPrefix: validText(prefix, "entity") });
  }

  /**
   * Only events of exactly this scope.
   *
   * @throws {RegionError} when it contains what no scope can: `|`, `=`, or half a surrogate pair.
   */
  withScope(scope: string): Region {
    return new Region({ ...this, scope: validText(scope, "scope") });
  }

  /**
   * Only events whose kind passes `filter`.
   *
   * @throws {RegionError} when the filter holds a number that is no kind or no category.
   */
  withFact(filter: KindFilter): Region {
    return new Region({ ...this, fact: validFact(filter) });
  }

  /**
   * Only events of this category.
   *
   * @throws {RegionError} when it is not a whole number of 0 to 15.
   */
  withFactCategory(category: number): Region {
    return new Region({ ...this, fact: KindFilter.category(category) });
  }

  /**
   * Only events at these clocks of their entity's lane.
   *
   * @throws {RegionError} when it is not a range of clocks.
   */
  withClockRange(range: ClockRange): Region {
    return new Region({ ...this, clockRange: ClockRange.of(range.start, range.end) });
  }

  /**
   * Only events of this lane.
   *
   * @throws {RegionError} when it is not a whole number of 0 to 2^32 - 1.
   */
  withLane(lane: number): Region {
    if (!isWithin(lane, U32_MAX)) {
      throw new RegionError(
        "LaneOutOfRange",
        `Cannot filter by lane ${lane}: a lane is a whole number of 0 to ${U32_MAX}`,
      );
    }
    return new Region({ ...this, lane });
  }

  /**
   * Only events that have all of these tags; no tags, no filter.
   *
   * @throws {TagError} when a tag is not valid, or there are more than an event can have.
   */
  withTags(tags: readonly string[]): Region {
    const sorted = Object.freeze([...normalizeTags(tags)].sort());
    return new Region({ ...this, tags: sorted.length === 0 ? undefined : sorted });
  }

  /**
   * Whether an event that has just been appended is in this region. The clock range is left out on
   * purpose: it selects history, and a live subscription follows all that is new.
   */
  matchesEvent(event: RegionEvent): boolean {
    if (this.entityPrefix !== undefined && !entityMatches(this.entityPrefix, event.entity)) {
      return false;
    }
    if (this.lane !== undefined && event.lane !== this.lane) return false;
    if (this.scope !== undefined && event.scope !== this.scope) return false;
    if (this.fact !== undefined && !KindFilter.matches(this.fact, event.kind)) return false;
    return this.tags === undefined || tagsInclude(event.tags, this.tags);
  }

  /**
   * The text that stands for this region in a checkpoint:
   * `entity=…|scope=…|fact=…|clock=…`, then `|lane=…` and `|tags=…` when they are set.
   *
   * A filter that is absent is `*`. A literal `*` is written `**`, `**` as `***` and so on, so that it
   * is not taken for an absent one.
   */
  identity(): string {
    const { clockRange, lane, tags } = this;
    const clock = clockRange === undefined ? "*" : `${clockRange.start}-${clockRange.end}`;
    return `entity=${identityOfText(this.entityPrefix)}|scope=${identityOfText(this.scope)}` +
      `|fact=${identityOfFact(this.fact)}|clock=${clock}` +
      (lane === undefined ? "" : `|lane=${lane}`) +
      (tags === undefined ? "" : `|tags=${tags.map(encodeURIComponent).join(",")}`);
  }

  /**
   * The region that has this identity, or `undefined` when none has: what a checkpoint says it follows.
   *
   * @example What a checkpoint is about
   * ```ts
   * import { Region } from "@batpak/batpak";
   * import assert from "node:assert/strict";
   *
   * const identity = Region.entity("order").identity();
   * assert.deepEqual(Region.fromIdentity(identity)?.toJSON(), { entity: "order" });
   * assert.equal(Region.fromIdentity("orders"), undefined);
   * ```
   */
  static fromIdentity(identity: string): Region | undefined {
    const match = IDENTITY.exec(identity);
    if (match === null) return undefined;
    const [, entity, scope, fact, clock, lane, tags] = match;
    try {
      let region = Region.#all;
      if (entity !== "*") region = region.withEntity(textOfIdentity(entity));
      if (scope !== "*") region = region.withScope(textOfIdentity(scope));
      if (fact !== "none") region = region.withFact(factOfIdentity(fact));
      if (clock !== "*") {
        const [start, end] = clock.split("-").map(Number);
        region = region.withClockRange(ClockRange.of(start, end));
      }
      if (lane !== undefined) region = region.withLane(Number(lane));
      if (tags !== undefined) region = region.withTags(tags.split(",").map(decodeURIComponent));
      // What can be said in two ways was not said by us.
      return region.identity() === identity ? region : undefined;
    } catch {
      return undefined;
    }
  }

  /** The filters as a plain object; {@linkcode Region.from} reads them back. */
  toJSON(): RegionFilters {
    const { entityPrefix, scope, fact, clockRange, lane, tags } = this;
    return {
      ...(entityPrefix !== undefined && { entity: entityPrefix }),
      ...(scope !== undefined && { scope }),
      ...(fact?.type === "exact" && { kind: fact.kind }),
      ...(fact?.type === "any" && { kind: "any" as const }),
      ...(fact?.type === "category" && { category: fact.category }),
      ...(lane !== undefined && { lane }),
      ...(clockRange !== undefined && { clock: [clockRange.start, clockRange.end] as const }),
      ...(tags !== undefined && { tags }),
    };
  }
}

/**
 * Whether `entity` is `prefix` or stands below it, where `:` separates the levels. It compares whole
 * levels and never globs, so an empty prefix selects only entities that begin with `:`.
 */
export function entityMatches(prefix: string, entity: string): boolean {
  return entity.startsWith(prefix) &&
    (entity.length === prefix.length || entity.charCodeAt(prefix.length) === COLON);
}

interface RegionFields {
  readonly entityPrefix?: string;
  readonly scope?: string;
  readonly fact?: KindFilter;
  readonly clockRange?: ClockRange;
  readonly lane?: number;
  readonly tags?: readonly string[];
}

function kindIn(kind: EventKind | string | { readonly kind: EventKind }): EventKind {
  if (typeof kind === "string") return EventKind.parse(kind);
  return typeof kind === "object" && kind !== null ? kind.kind : kind;
}

function validText(text: string, component: "entity" | "scope"): string {
  if (typeof text !== "string") {
    throw new TypeError(`Cannot filter by an ${component} that is not a string`);
  }
  // No coordinate contains a separator, and with one in it an identity could be read in two ways.
  if (text.includes("|") || text.includes("=") || !text.isWellFormed()) {
    throw new RegionError(
      "InvalidText",
      `Cannot filter by ${component} ${JSON.stringify(text)}: ` +
        'no coordinate contains "|", "=" or half a surrogate pair',
    );
  }
  return text;
}

function validFact(filter: KindFilter): KindFilter {
  switch (filter.type) {
    case "exact":
      return KindFilter.exact(filter.kind);
    case "category":
      return KindFilter.category(filter.category);
    case "any":
      return KindFilter.any;
    default:
      throw new TypeError("Cannot filter by a fact that KindFilter did not make");
  }
}

function tagsInclude(tags: readonly string[] | undefined, wanted: readonly string[]): boolean {
  if (tags === undefined) return false;
  for (const tag of wanted) {
    if (!tags.includes(tag)) return false;
  }
  return true;
}

function identityOfText(text: string | undefined): string {
  if (text === undefined) return "*";
  return /^\*+$/.test(text) ? `${text}*` : text;
}

function identityOfFact(fact: KindFilter | undefined): string {
  switch (fact?.type) {
    case undefined:
      return "none";
    case "exact": {
      const category = EventKind.category(fact.kind).toString(16);
      return `exact:${category}:${EventKind.typeId(fact.kind).toString(16)}`;
    }
    case "category":
      return `category:${fact.category.toString(16)}`;
    case "any":
      return "any";
  }
}

function textOfIdentity(text: string): string {
  return /^\*+$/.test(text) ? text.slice(1) : text;
}

function factOfIdentity(text: string): KindFilter {
  const [type, category = "", typeId = ""] = text.split(":");
  if (type === "any") return KindFilter.any;
  if (type === "category") return KindFilter.category(Number.parseInt(category, 16));
  return KindFilter.exact(
    (Number.parseInt(category, 16) << 12 | Number.parseInt(typeId, 16)) as EventKind,
  );
}

function isWithin(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}

const U32_MAX = 0xffff_ffff;
const IDENTITY =
  /^entity=([^|=]*)\|scope=([^|=]*)\|fact=([^|=]*)\|clock=([^|=]*)(?:\|lane=(\d+))?(?:\|tags=([^|=]*))?$/;
const COLON = 0x3a;
const FILTER_NAMES: ReadonlySet<string> = new Set([
  "entity",
  "scope",
  "kind",
  "category",
  "lane",
  "clock",
  "tags",
]);
