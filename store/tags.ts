/**
 * Tags: short labels on an event that regions and append conditions can ask for.
 *
 * @module
 */

import { StoreError } from "./errors.ts";
import { hasControlCharacter, utf8Size } from "./utf8.ts";

/** The most different tags an event may have. */
export const TAG_COUNT_MAX = 32;
/** The most bytes a tag may take in UTF-8. */
export const TAG_SIZE_MAX = 256;

/** Why tags were refused. */
export type TagRefusal =
  | "NotString"
  | "Empty"
  | "TooLong"
  | "ControlChar"
  | "LoneSurrogate"
  | "TooMany";

/** A tag breaks a rule, or there are too many. Nothing was written: correct the one at `index`. */
export class TagError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "TagError";
  /** Stable, for programs. */
  override readonly code = "TAG";
  /** The broken rule. */
  readonly reason: TagRefusal;
  /** The first tag that breaks it, counted from 0. */
  readonly index: number;

  /**
   * Says which rule is broken.
   *
   * @param reason the broken rule; `index` is the first tag that breaks it.
   */
  constructor(reason: TagRefusal, index: number) {
    super(`Cannot use tag ${index}: ${DESCRIPTIONS[reason]}`);
    this.reason = reason;
    this.index = index;
  }
}

/**
 * The tags as they will be stored: checked, each once, in the order of their first appearance, in an
 * array that cannot change.
 *
 * A tag is a non-empty string of at most 256 bytes in UTF-8 without control characters.
 *
 * @throws {TagError} when a tag breaks a rule, or more than 32 different ones are given.
 */
export function normalizeTags(tags: readonly string[]): readonly string[] {
  if (!Array.isArray(tags)) throw new TypeError("Cannot use tags that are not an array");
  if (tags.length === 0) return NO_TAGS;
  const normalized: string[] = [];
  for (let index = 0; index < tags.length; index++) {
    const tag = tags[index];
    if (normalized.includes(tag)) continue;
    validateTag(tag, index);
    if (normalized.length === TAG_COUNT_MAX) throw new TagError("TooMany", index);
    normalized.push(tag);
  }
  return Object.freeze(normalized);
}

function validateTag(tag: string, index: number): void {
  if (typeof tag !== "string") throw new TagError("NotString", index);
  if (tag.length === 0) throw new TagError("Empty", index);
  // The first comparison spares a hostile tag the counting.
  if (tag.length > TAG_SIZE_MAX || utf8Size(tag) > TAG_SIZE_MAX) {
    throw new TagError("TooLong", index);
  }
  if (hasControlCharacter(tag)) throw new TagError("ControlChar", index);
  if (!tag.isWellFormed()) throw new TagError("LoneSurrogate", index);
}

const NO_TAGS: readonly string[] = Object.freeze([]);

const DESCRIPTIONS: Readonly<Record<TagRefusal, string>> = {
  NotString: "it is not a string",
  Empty: "it is empty",
  TooLong: `it has more than ${TAG_SIZE_MAX} bytes`,
  ControlChar: "it contains a control character",
  LoneSurrogate: "it contains half a surrogate pair",
  TooMany: `an event has at most ${TAG_COUNT_MAX} different tags`,
};
