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
  const count = ids.length;
  let reader = open();
  const close = () => reader.close();

  let place = 0;
  function call(): void {
    // A prime step meets every event once before it meets one again, and never its neighbour.
    place = (place + GET_STEP) % count;
    const total = reader.totalCentsOf(ids[place]);
    if (total !== totalCentsOf(place)) throw new Error(`${name} read another order`);
  }

  switch (reading) {
    case "get":
      return {
        name,
        call,
        slice() {
          for (let i = 0; i < gets; i++) call();
          return gets;
        },
        close,
      };
    case "replay": {
      const expected = totalCentsUpTo(count);
      return {
        name,
        slice() {
          assert.equal(reader.sumTotals(), expected);
          return count;
        },
        close,
      };
    }
    case "scan": {
      const expected = clocksUpTo(count);
      return {
        name,
        slice() {
          assert.equal(reader.sumClocks(), expected);
          return count;
        },
        close,
      };
    }
    case "open":
      return {
        name,
        // Ready means that it has answered something.
        slice() {
          reader = open();
          call();
          return count;
        },
        rest: () => reader.close(),
        close,
      };
    case "verify":
      return {
        name,
        slice() {
          reader.check();
          return count;
        },
        close,
      };
  }
}

/** A prime, far larger than a page of events and no divisor of any size in use. */
const GET_STEP = 48_271;
