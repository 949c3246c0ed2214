/**
 * Options that several commands share, and how their values are read. A value that is wrong is refused
 * here, with its flag and what would be right, before anything is opened.
 *
 * @module
 */
import { type Command, InvalidArgumentError, Option } from "commander";
import { EventId, EventKind, Region, type StoredEvent, validateCoordinate } from "../mod.ts";

/** The filters that make a region. */
export interface RegionFlags {
  readonly entity?: string;
  readonly scope?: string;
  readonly kind?: EventKind;
  readonly category?: number;
  readonly tag?: readonly string[];
  readonly lane?: number;
}

/** The filters of the commands that select events. */
export interface FilterFlags extends RegionFlags {
  readonly system?: true;
}

/** Which events a command is about. */
export interface Selection {
  readonly region: Region;
  /** Whether the event is one to show. The region says nothing about the store's own events. */
  includes(event: StoredEvent): boolean;
}

/** The largest number that goes into 32 bits. */
export const U32_MAX = 0xffff_ffff;

/** Adds `--json`, which every command has. */
export function addJsonOption(command: Command): Command {
  return command.option("--json", "write for programs: JSON, also for errors");
}

/** Adds the filters. */
export function addFilterOptions(command: Command): Command {
  return addRegionOptions(command)
    .option("--system", "also the store's own events, unless --kind or --category ask already");
}

/** Adds the filters of a region, which says nothing about the store's own events. */
export function addRegionOptions(command: Command): Command {
  return command
    .option("--entity <prefix>", "this entity, and those below it: user selects user:1", prefix)
    .option("--scope <scope>", "exactly this scope", scopeFilter)
    .addOption(
      new Option("--kind <kind>", 'exactly this kind, as "F:001" or "0xF001"')
        .argParser(kindOf).conflicts("category"),
    )
    .option("--category <digit>", "all kinds of this category, one hexadecimal digit", categoryOf)
    .option("--tag <tag>", "this tag; give it again for events that have all of them", collectTag)
    .option("--lane <number>", "exactly this lane", wholeNumber(0, U32_MAX));
}

/** What the filters select. */
export function selectionOf(flags: FilterFlags): Selection {
  const { kind, category } = flags;
  const showsAll = flags.system === true || kind !== undefined || category !== undefined;
  return {
    region: regionOf(flags),
    includes: (event) => showsAll || !EventKind.isReserved(event.kind),
  };
}

/** The region that the filters make. */
export function regionOf({ entity, scope, kind, category, lane, tag }: RegionFlags): Region {
  return Region.from({ entity, scope, kind, category, lane, tags: tag });
}

/** Reads a duration such as `90s`, `12h` or `30d`, as microseconds. */
export function durationOf(text: string): number {
  const match = /^(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d|w)$/.exec(text);
  const unit = DURATION_UNITS.get(match?.[2] ?? "");
  if (match === null || unit === undefined) {
    throw new InvalidArgumentError("Give a number and a unit: ms, s, m, h, d or w, as in 30d.");
  }
  return Math.round(Number(match[1]) * unit);
}

/** Reads a size such as `5000`, `100kB` or `2GB`, as bytes. */
export function sizeOf(text: string): number {
  const match = /^(\d{1,15})(kB|MB|GB|TB)?$/.exec(text);
  const size = match === null ? NaN : Number(match[1]) * (SIZE_UNITS.get(match[2] ?? "") ?? 1);
  if (!Number.isSafeInteger(size)) {
    throw new InvalidArgumentError("Give a number of bytes, or of kB, MB, GB or TB, as in 100MB.");
  }
  return size;
}

const SECOND_US = 1_000_000;
const DURATION_UNITS: ReadonlyMap<string, number> = new Map([
  ["ms", 1000],
  ["s", SECOND_US],
  ["m", 60 * SECOND_US],
  ["h", 3_600 * SECOND_US],
  ["d", 86_400 * SECOND_US],
  ["w", 604_800 * SECOND_US],
]);
const SIZE_UNITS: ReadonlyMap<string, number> = new Map([
  ["kB", 1e3],
  ["MB", 1e6],
  ["GB", 1e9],
  ["TB", 1e12],
]);

/** Reads a whole number of `min` to `max`. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const number = /^\d{1,16}$/.test(text) ? Number(text) : NaN;
    if (!(number >= min && number <= max)) {
      const range = max === Number.MAX_SAFE_INTEGER ? `at least ${min}` : `${min} to ${max}`;
      throw new InvalidArgumentError(`Give a whole number, ${range}.`);
    }
    return number;
  };
}

/** Reads a place in the journal. */
export const sequenceOf: (text: string) => number = wholeNumber(0, Number.MAX_SAFE_INTEGER);

/** Reads a kind. */
export function kindOf(text: string): EventKind {
  return checked(() => EventKind.parse(text));
}

/** Reads a kind that may be appended. */
export function appendableKindOf(text: string): EventKind {
  return checked(() => {
    const kind = EventKind.parse(text);
    return EventKind.custom(EventKind.category(kind), EventKind.typeId(kind));
  });
}

/** Reads an id. */
export function eventIdOf(text: string): EventId {
  try {
    return EventId.parse(text);
  } catch {
    throw new InvalidArgumentError(
      'An id is a UUID, as 0196f3b2-8c00-7abc-8def-0123456789ab: "query" prints each event with its own.',
    );
  }
}

/** Reads an entity. */
export function entityOf(text: string): string {
  checked(() => validateCoordinate(text, "scope"));
  return text;
}

/** Reads a scope. */
export function scopeOf(text: string): string {
  checked(() => validateCoordinate("entity", text));
  return text;
}

/** Reads one more tag. */
export function collectTag(text: string, tags: readonly string[] = []): readonly string[] {
  return checked(() => {
    Region.from({ tags: [...tags, text] });
    return [...tags, text];
  });
}

function prefix(text: string): string {
  if (text === "") throw new InvalidArgumentError("It is empty; leave it out to select them all.");
  checked(() => Region.entity(text));
  return text;
}

function scopeFilter(text: string): string {
  checked(() => Region.scope(text));
  return text;
}

/** One digit is hexadecimal, as in a kind; 10 to 15 can only be meant as decimal. */
function categoryOf(text: string): number {
  const category = /^(?:0x)?[0-9a-f]$/i.test(text)
    ? Number.parseInt(text, 16)
    : /^1[0-5]$/.test(text)
    ? Number(text)
    : NaN;
  if (Number.isNaN(category)) {
    throw new InvalidArgumentError('Give one hexadecimal digit: "F" for all kinds like F:001.');
  }
  return category;
}

/** Turns a refusal of the library into one of the command line, which names the flag. */
function checked<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new InvalidArgumentError(`${error instanceof Error ? error.message : String(error)}.`);
  }
}
