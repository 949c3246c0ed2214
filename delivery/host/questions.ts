/**
 * What a client can ask for, each written once for both kinds of client: a generator that yields calls and
 * is handed what came of them. The one client awaits each answer, the other one blocks for it.
 *
 * Whatever may be large comes in pages: a page holds so many events, or so many bytes of them, and at least
 * one.
 *
 * @module
 */

import { readU32, readU64, writeU32, writeU64 } from "../../store/bytes.ts";
import type { EventId, OperationKey } from "../../store/ids.ts";
import { idempotencyId } from "../../store/ids.ts";
import type {
  AncestorBoundary,
  AncestorWalk,
  EventsOptions,
  StoreStats,
} from "../../store/journal_reader.ts";
import type { Receipt, ReceiptVerification } from "../../store/receipt.ts";
import { Region, type RegionLike } from "../../store/region.ts";
import { StoredEvent } from "../../store/stored_event.ts";
import { decodeError } from "./error_codec.ts";
import { GrowingBytes } from "./growing_bytes.ts";
import { plainRegion } from "./messages.ts";

/** One call: what it is called at the host, and with what. */
export interface Call {
  readonly name: string;
  readonly args: readonly unknown[];
}

/** Calls one after the other until there is an answer. */
export type Question<Answer> = Generator<Call, Answer, unknown>;

/** A page of events. */
export interface Page {
  /** The events, as {@linkcode packEvents} gives them. */
  readonly bytes: Uint8Array;
  /** How many there are. */
  readonly count: number;
  /** Whether these were the last. */
  readonly done: boolean;
  /** Only events before this were there when the walk began: for the pages that follow. */
  readonly before: number;
}

/** A page of a walk over ancestors. */
export interface AncestorPage {
  readonly bytes: Uint8Array;
  readonly count: number;
  readonly boundary:
    | Exclude<AncestorBoundary, { readonly type: "ReadFailure" }>
    | { readonly type: "ReadFailure"; readonly eventId: EventId; readonly error: Uint8Array };
}

/** Events in a page at most, when nobody says otherwise. */
export const PAGE_COUNT_MAX = 1024;
/** Bytes in a page, but for its last event. */
const PAGE_SIZE_MAX = 1 << 20;
const EVENT_FIXED_SIZE = 20;

/**
 * Takes events until a page is full: u64 segment, u32 offset, u32 size of the frame, u32 size of the body,
 * and the body of each.
 */
export function packEvents(
  events: Iterable<StoredEvent>,
  countMax: number,
): { readonly bytes: Uint8Array; readonly count: number; readonly done: boolean } {
  const out = new GrowingBytes();
  let count = 0;
  for (const event of events) {
    const body = event.bodyBytes;
    // It was looked at only to know that it is there: the next page begins with it.
    if (count === countMax || (count > 0 && out.size + body.byteLength > PAGE_SIZE_MAX)) {
      return { bytes: new Uint8Array(out.take()), count, done: false };
    }
    const { segmentId, offset, size } = event.position;
    const at = out.reserve(EVENT_FIXED_SIZE + body.byteLength);
    writeU64(out.bytes, at, segmentId);
    writeU32(out.bytes, at + 8, offset);
    writeU32(out.bytes, at + 12, size);
    writeU32(out.bytes, at + 16, body.byteLength);
    out.bytes.set(body, at + EVENT_FIXED_SIZE);
    out.size = at + EVENT_FIXED_SIZE + body.byteLength;
    count++;
  }
  return { bytes: new Uint8Array(out.take()), count, done: true };
}

/** The events of {@linkcode packEvents}. They need no store, and share the bytes. */
export function unpackEvents(bytes: Uint8Array): StoredEvent[] {
  const events: StoredEvent[] = [];
  for (let at = 0; at < bytes.byteLength;) {
    const start = at + EVENT_FIXED_SIZE;
    const end = start + readU32(bytes, at + 16);
    const position = {
      segmentId: readU64(bytes, at),
      offset: readU32(bytes, at + 8),
      size: readU32(bytes, at + 12),
    };
    events.push(StoredEvent.fromFrame(bytes.subarray(start, end), position));
    at = end;
  }
  return events;
}

/** One event, or none. */
function* askOne(name: string, ...args: readonly unknown[]): Question<StoredEvent | undefined> {
  const bytes = (yield { name, args }) as Uint8Array;
  return unpackEvents(bytes)[0];
}

/** As `Store.get`. */
export function askGet(eventId: EventId | string): Question<StoredEvent | undefined> {
  return askOne("get", eventId);
}

/** As `Store.getByKey`. */
export function askGetByKey(key: string | OperationKey): Question<StoredEvent | undefined> {
  return askOne("getByKey", idempotencyId(key));
}

/** As `Store.at`. */
export function askAt(globalSequence: number): Question<StoredEvent | undefined> {
  return askOne("at", globalSequence);
}

/** As `Store.latest`. */
export function askLatest(entity: string, lane: number): Question<StoredEvent | undefined> {
  return askOne("latest", entity, lane);
}

/** What is walked over: a region, or one entity. */
export type WalkTarget =
  | { readonly region: RegionLike }
  | { readonly entity: string; readonly lane: number | undefined };

/** One page after the other; the client decides when it asks for the next. */
export function* askPages(
  target: WalkTarget,
  options: EventsOptions,
): Generator<Call, void, unknown> & Iterator<Call, void, unknown> {
  const plain = "region" in target ? { region: plainRegion(Region.from(target.region)) } : target;
  let { limit = Infinity } = options;
  let at = options;
  while (true) {
    const page = (yield {
      name: "page",
      args: [plain, { ...at, limit }, PAGE_COUNT_MAX],
    }) as Page;
    limit -= page.count;
    if (page.done || limit <= 0 || page.count === 0) return;
    const last = lastSequenceOf(page.bytes);
    at = options.reverse === true
      ? { ...options, before: last }
      : { ...options, after: last, before: page.before };
  }
}

function lastSequenceOf(bytes: Uint8Array): number {
  const events = unpackEvents(bytes);
  return events[events.length - 1].globalSequence;
}

/** As `Store.walkAncestors`. */
export function* askAncestors(eventId: EventId | string, limit: number): Question<AncestorWalk> {
  const ancestors: StoredEvent[] = [];
  let from = eventId;
  while (true) {
    const asked = limit - ancestors.length;
    const isFirst = ancestors.length === 0;
    const { bytes, boundary } = (yield {
      name: "ancestors",
      args: [from, asked, PAGE_COUNT_MAX, !isFirst],
    }) as AncestorPage;
    const found = unpackEvents(bytes);
    ancestors.push(...found);
    if (
      boundary.type === "LimitReached" && found.length > 0 && ancestors.length < limit
    ) {
      from = found[found.length - 1].eventId;
      continue;
    }
    if (boundary.type !== "ReadFailure") return { ancestors, boundary };
    const error = decodeError(boundary.error) as Error;
    return { ancestors, boundary: { ...boundary, error } };
  }
}

/** As `Store.causes`. */
export function* askCauses(eventId: EventId | string, limit: number): Question<StoredEvent[]> {
  const causes: StoredEvent[] = [];
  let from = eventId;
  while (true) {
    const page = (yield {
      name: "causes",
      args: [from, limit - causes.length, PAGE_COUNT_MAX],
    }) as Page;
    const found = unpackEvents(page.bytes);
    causes.push(...found);
    if (page.done || causes.length >= limit) return causes;
    from = found[found.length - 1].eventId;
  }
}

/** As `Store.effects`. */
export function* askEffects(eventId: EventId | string): Question<StoredEvent[]> {
  const effects: StoredEvent[] = [];
  while (true) {
    const after = effects[effects.length - 1]?.globalSequence ?? -1;
    const page = (yield { name: "effects", args: [eventId, after, PAGE_COUNT_MAX] }) as Page;
    effects.push(...unpackEvents(page.bytes));
    if (page.done) return effects;
  }
}

/** As `Store.stats`. */
export function* askStats(): Question<StoreStats> {
  return (yield { name: "stats", args: [] }) as StoreStats;
}

/** As `Store.verifyReceipt`. */
export function* askVerifyReceipt(receipt: Receipt): Question<ReceiptVerification> {
  return (yield { name: "verifyReceipt", args: [receipt.toJSON()] }) as ReceiptVerification;
}

/** As `Store.sync`. */
export function* askSync(): Question<void> {
  yield { name: "sync", args: [] };
}

/** Closes the store. */
export function* askShutdown(): Question<void> {
  yield { name: "shutdown", args: [] };
}
