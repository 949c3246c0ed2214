/**
 * Measuring on a machine that also does other things.
 *
 * What is compared takes turns in short slices: batpak, peer, batpak, peer, and the other way round in
 * the next round, so that a busy moment or a full cache hits all alike. What counts is the median of
 * the slices. Single calls are timed in a pass of their own, because reading the time costs time.
 *
 * @module
 */

/** Somebody who takes turns. */
export interface Contestant {
  /** Who it is, in tables and JSON. */
  readonly name: string;
  /** Does the next slice of work, and returns how many events that was. */
  slice(): number;
  /** Tidies up after a slice, off the clock. */
  rest?(): void;
}

/** How long a race is. */
export interface RaceOptions {
  /** Counted slices of each. */
  readonly slices: number;
  /** Slices before those, for compilers and caches. */
  readonly warmUps: number;
  /** Called between slices, where a run may be interrupted. */
  readonly pause: () => Promise<void>;
}

/** Lets all take turns, and returns the events per second of each, by name. */
export async function race(
  contestants: readonly Contestant[],
  { slices, warmUps, pause }: RaceOptions,
): Promise<Map<string, number>> {
  const rates = contestants.map((): number[] => []);
  for (let round = -warmUps; round < slices; round++) {
    for (let turn = 0; turn < contestants.length; turn++) {
      // Whoever comes behind a heavy writer may inherit its dirty pages, so the order changes.
      const place = round % 2 === 0 ? turn : contestants.length - 1 - turn;
      await pause();
      const startMs = performance.now();
      const events = contestants[place].slice();
      const elapsedMs = performance.now() - startMs;
      contestants[place].rest?.();
      if (round >= 0) rates[place].push(events / Math.max(elapsedMs, CLOCK_STEP_MS) * 1000);
    }
  }
  return new Map(contestants.map(({ name }, place) => [name, median(rates[place])]));
}

/** The middle of the values; the mean of the two in the middle when their number is even. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError("Cannot take the median of nothing");
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >>> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** How long single calls take. */
export interface Latencies {
  /** Half of the calls take at most this, in microseconds. */
  readonly p50us: number;
  /** 99 of 100 calls take at most this. */
  readonly p99us: number;
}

/** Times `count` calls one by one. */
export function sampleLatencies(call: () => void, count: number): Latencies {
  const timesUs = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const startMs = performance.now();
    call();
    timesUs[i] = (performance.now() - startMs) * 1000;
  }
  timesUs.sort();
  return { p50us: quantile(timesUs, 0.5), p99us: quantile(timesUs, 0.99) };
}

/** The smallest of the sorted values that at least this share of them does not exceed. */
export function quantile(sorted: Float64Array, share: number): number {
  if (sorted.length === 0) throw new RangeError("Cannot take a quantile of nothing");
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
}

/** Nothing real takes no time at all; a coarse clock may say so. */
const CLOCK_STEP_MS = 1e-4;
