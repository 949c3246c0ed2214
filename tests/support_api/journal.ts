/** What tests of the public API share: a place to open, events to append, and ways to look at bytes. */
import { clockFrom } from "../../platform/system_clock.ts";
import type { Clock } from "../../platform/clock.ts";
import type { StoreFs } from "../../platform/fs.ts";
import { EventKind } from "../../store/event_kind.ts";
import { Store } from "../../store/store.ts";
import type { StoreOptions } from "../../store/store_options.ts";
import type { StoredEvent } from "../../store/stored_event.ts";

/** Where the tests keep their journal. */
export const DIR = "/journal";
/** A kind an application may use, and another. */
export const PLACED: EventKind = EventKind.custom(0xf, 0x001);
export const PAID: EventKind = EventKind.custom(0xf, 0x002);
/** A coordinate, and another. */
export const ORDER = { entity: "order:1", scope: "shop" } as const;
export const OTHER = { entity: "order:2", scope: "shop" } as const;

/** Opens the journal that lies in `fs`. */
export function openIn(fs: StoreFs, options: StoreOptions = {}): Store {
  return Store.open(DIR, { fs, ...options });
}

/** The events that the store did not append by itself. */
export function ownEvents(events: readonly StoredEvent[]): StoredEvent[] {
  return events.filter(({ kind }) => !EventKind.isReserved(kind));
}

/** Every segment, by name, as it lies on the disk: equal before and after means nothing was written. */
export function segmentBytes(fs: StoreFs, dir = DIR): Map<string, Uint8Array> {
  const segments = new Map<string, Uint8Array>();
  for (const { name } of fs.list(dir)) {
    if (name.endsWith(".fbat")) segments.set(name, fs.readFile(`${dir}/${name}`, 2 ** 31));
  }
  return segments;
}

/** A clock that says what it is told. */
export function manualClock(startUs = 1_700_000_000_000_000): Clock & { us: number } {
  const time = { us: startUs };
  return Object.assign(time, clockFrom(() => time.us));
}

/** Everything an event says, for comparing it with another reading of it. */
export function factsOf(event: StoredEvent): Record<string, unknown> {
  return { ...event.toJSON(), extensions: event.extensions, position: event.position };
}

/** A small generator of numbers, so that a test that rolls dice can say its seed. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
