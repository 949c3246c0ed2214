/**
 * What a host does for a call, by its name. Arguments come from another realm, so each is looked at here,
 * or by the function of the store that it goes to.
 *
 * @module
 */

import type { EventId } from "../../store/ids.ts";
import { formatId, ID_SIZE } from "../../store/ids.ts";
import type { EventsOptions } from "../../store/journal_reader.ts";
import { Receipt, type ReceiptClaim } from "../../store/receipt.ts";
import type { RegionFilters } from "../../store/region.ts";
import type { Store } from "../../store/store.ts";
import type { StoredEvent } from "../../store/stored_event.ts";
import type { WatermarkKind } from "../../store/watermarks/frontier_view.ts";
import type { WaitOptions } from "../../store/watermarks/wait.ts";
import { encodeError } from "./error_codec.ts";
import { HostError } from "./host_error.ts";
import { type AncestorPage, packEvents, type Page, PAGE_COUNT_MAX } from "./questions.ts";

/** For whom a call is answered. */
export interface CallTarget {
  readonly store: Store;
  readonly mayShutdown: boolean;
  sync(): void;
  shutdown(): void;
  beginFence(): number;
  endFence(token: number, isCommit: boolean): void;
  /** Aborts when nobody waits any more for what the call waits for. */
  waitSignal(): AbortSignal;
}

/** Takes whatever a client has sent: each of them checks what it is given. */
type Answer = (target: CallTarget, ...args: never[]) => unknown;

const ANSWERS: Readonly<Record<string, Answer>> = {
  sync: (target) => target.sync(),
  get: ({ store }, eventId: string) => pack(store.get(eventId)),
  getByKey({ store }, id: Uint8Array) {
    if (!(id instanceof Uint8Array) || id.byteLength !== ID_SIZE) {
      throw new TypeError("Cannot get an event by a key that is not 16 bytes");
    }
    return pack(store.get(formatId(id)));
  },
  at: ({ store }, globalSequence: number) => pack(store.at(globalSequence)),
  latest: ({ store }, entity: string, lane: number) => pack(store.latest(entity, lane)),
  page({ store }, target: PageTarget, options: EventsOptions, countMax: number): Page {
    const end = store.endSequence;
    const before = options.before === undefined ? end : Math.min(options.before, end);
    const bounds = { ...options, before };
    const events = "entity" in target
      ? store.byEntity(target.entity, { ...bounds, lane: target.lane })
      : store.events(target.region, bounds);
    return { ...packEvents(events, pageCount(countMax)), before };
  },
  ancestors(
    { store },
    eventId: string,
    limit: number,
    countMax: number,
    skipFirst: boolean,
  ): AncestorPage {
    const skipped = skipFirst ? 1 : 0;
    const wanted = Math.min(limit, pageCount(countMax));
    const { ancestors, boundary } = store.walkAncestors(eventId, wanted + skipped);
    const found = ancestors.slice(skipped);
    const { bytes, count } = packEvents(found, found.length);
    // The rest comes with the next page.
    if (count < found.length) return { bytes, count, boundary: { type: "LimitReached" } };
    return boundary.type === "ReadFailure"
      ? { bytes, count, boundary: { ...boundary, error: encodeError(boundary.error) } }
      : { bytes, count, boundary };
  },
  causes({ store }, eventId: string, limit: number, countMax: number): Page {
    const wanted = Math.min(limit, pageCount(countMax));
    const causes = store.causes(eventId, wanted);
    const { bytes, count, done } = packEvents(causes, causes.length);
    return { bytes, count, done: done && count < wanted, before: 0 };
  },
  effects({ store }, eventId: EventId, after: number, countMax: number): Page {
    const effects = store.effects(eventId).filter((event) => event.globalSequence > after);
    return { ...packEvents(effects, pageCount(countMax)), before: 0 };
  },
  stats: ({ store }) => store.stats(),
  verifyReceipt: ({ store }, claim: ReceiptClaim) => store.verifyReceipt(Receipt.fromClaim(claim)),
  beginFence: (target) => target.beginFence(),
  endFence: (target, token: number, isCommit: boolean) => target.endFence(token, isCommit === true),
  waitFor: (target, kind: WatermarkKind, sequence: number, options: WaitOptions) => {
    const { timeoutMs, lane } = options;
    return target.store.waitFor(kind, sequence, { timeoutMs, lane, signal: target.waitSignal() });
  },
  shutdown(target) {
    if (!target.mayShutdown) {
      throw new HostError("close the store", "notAllowed", "this client may not do that");
    }
    target.shutdown();
  },
};

type PageTarget =
  | { readonly region: RegionFilters }
  | { readonly entity: string; readonly lane?: number };

/**
 * What a call comes to.
 *
 * @throws whatever the store throws, and `TypeError` for a call that there is not.
 */
export function answerCall(target: CallTarget, name: string, args: readonly unknown[]): unknown {
  if (!Object.hasOwn(ANSWERS, name)) {
    throw new TypeError(`Cannot answer the call "${name}": there is no such call`);
  }
  return ANSWERS[name](target, ...args as never[]);
}

function pack(event: StoredEvent | undefined): Uint8Array {
  return packEvents(event === undefined ? [] : [event], 1).bytes;
}

function pageCount(countMax: number): number {
  if (Number.isInteger(countMax) && countMax >= 1) return Math.min(countMax, PAGE_COUNT_MAX);
  throw new RangeError(`Cannot make pages of ${countMax} events`);
}
