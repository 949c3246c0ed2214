/**
 * Those who read, as contestants. Every one of them checks that it saw what was written, so that nobody
 * wins by leaving something out.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { EventReader, Library } from "./library.ts";
import { clocksUpTo, totalCentsOf, totalCentsUpTo } from "./orders.ts";
import type { Subject } from "./writers.ts";

/** What is read: single events by id, or everything in one way or another. */
export type Reading = "get" | "replay" | "scan" | "open" | "verify";

/** What a reader is told. */
export interface ReaderOptions {
  /** Who it is. */
  readonly name: string;
  /** What to read. */
  readonly reading: Reading;
  /** Reads in a slice of `get`; all other slices read everything once. */
  readonly gets: number;
  /** Opens the events. */
  readonly open: () => EventReader;
}

/** A reader of the events of `library`. */
export function makeReader({ ids }: Library, options: ReaderOptions): Subject {
  const { name, reading, gets, open } = options;
  if (reading === "open") return makeOpener(name, ids, open);
  const reader = open();
  const close = () => reader.close();
  if (reading === "get") {
    let place = 0;
    const call = () => {
      place = (place + GET_STEP) % ids.length;
      getOne(reader, ids, place);
    };
    const slice = () => {
      for (let i = 0; i < gets; i++) call();
      return gets;
    };
    return { name, call, slice, close };
  }
  const readAll = reading === "replay"
    ? checking(() => reader.sumTotals(), totalCentsUpTo(ids.length))
    : reading === "scan"
    ? checking(() => reader.sumClocks(), clocksUpTo(ids.length))
    : () => reader.check();
  const slice = () => {
    readAll();
    return ids.length;
  };
  return { name, slice, close };
}

/** Opens again and again. Open means that it has answered something. */
function makeOpener(name: string, ids: readonly string[], open: () => EventReader): Subject {
  let reader: EventReader | undefined;
  const close = () => {
    reader?.close();
    reader = undefined;
  };
  const slice = () => {
    reader = open();
    getOne(reader, ids, 0);
    return ids.length;
  };
  return { name, slice, rest: close, close };
}

function getOne(reader: EventReader, ids: readonly string[], place: number): void {
  if (reader.totalCentsOf(ids[place]) !== totalCentsOf(place)) {
    throw new Error(`Event ${ids[place]} came back as another one`);
  }
}

function checking(read: () => number, expected: number): () => void {
  return () => assert.equal(read(), expected, "a reader saw what was written");
}

/** A prime, so that every event is met before one is met again, and never next to the last one. */
const GET_STEP = 48_271;
