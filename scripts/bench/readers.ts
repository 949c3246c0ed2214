/**
 * Those who read, as contestants. Every one of them checks that it saw what was written, so that nobody
 * wins by leaving something out.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Fixture } from "./library.ts";
import { clocksUpTo, totalCentsOf, totalCentsUpTo } from "./orders.ts";
import type { Answer, EventReader } from "./peer.ts";
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
  /** Whether answers are promises. */
  readonly isAsync?: boolean;
  /** Opens the events. */
  readonly open: () => Answer<EventReader>;
}

/** A reader of the events of `fixture`. */
export async function makeReader(fixture: Fixture, options: ReaderOptions): Promise<Subject> {
  const { name, reading, open } = options;
  if (reading === "open") return makeOpener(fixture, options);
  const reader = await open();
  const close = () => reader.close();
  switch (reading) {
    case "get":
      return { ...makeGetter(fixture, reader, options), close };
    case "replay": {
      const expected = totalCentsUpTo(fixture.events);
      return { name, slice: () => checkSum(fixture, reader.sumTotals(), expected), close };
    }
    case "scan": {
      const expected = clocksUpTo(fixture.events);
      return { name, slice: () => checkSum(fixture, reader.sumClocks(), expected), close };
    }
    case "verify": {
      const slice = () => {
        reader.check();
        return fixture.events;
      };
      return { name, slice, close };
    }
  }
}

/** Gets one event after the other, by id. */
function makeGetter(
  { ids, idStep }: Fixture,
  reader: EventReader,
  { name, gets, isAsync }: ReaderOptions,
): Omit<Subject, "close"> {
  let place = 0;
  const advance = () => place = (place + GET_STEP) % ids.length;
  const call = () => {
    advance();
    checkOrder(reader.totalCentsOf(ids[place]) as number, place * idStep);
  };
  if (!isAsync) {
    const slice = () => {
      for (let i = 0; i < gets; i++) call();
      return gets;
    };
    return { name, call, slice };
  }
  const slice = async () => {
    for (let i = 0; i < gets; i++) {
      advance();
      checkOrder(await reader.totalCentsOf(ids[place]), place * idStep);
    }
    return gets;
  };
  return { name, slice };
}

/** Opens again and again. Open means that it has said what the newest order is. */
function makeOpener({ events }: Fixture, { name, isAsync, open }: ReaderOptions): Subject {
  let reader: EventReader | undefined;
  const close = async () => {
    await reader?.close();
    reader = undefined;
  };
  const slice = () => {
    reader = open() as EventReader;
    checkOrder(reader.latestTotalCents() as number, events - 1);
    return events;
  };
  const sliceLater = async () => {
    reader = await open();
    checkOrder(await reader.latestTotalCents(), events - 1);
    return events;
  };
  return { name, slice: isAsync ? sliceLater : slice, rest: close, close };
}

function checkOrder(totalCents: number, n: number): void {
  if (totalCents !== totalCentsOf(n)) throw new Error(`Order ${n} came back as another one`);
}

function checkSum(fixture: Fixture, sum: Answer<number>, expected: number): Answer<number> {
  if (typeof sum !== "number") return sum.then((sum) => checkSum(fixture, sum, expected));
  assert.equal(sum, expected, "a reader saw what was written");
  return fixture.events;
}

/** A prime, so that every event is met before one is met again, and never next to the last one. */
const GET_STEP = 48_271;
