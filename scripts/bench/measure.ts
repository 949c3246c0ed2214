/**
 * Measuring on a machine that also does other things.
 *
 * What is compared takes turns in short slices: batpak, peer, batpak, peer, and the other way round in
 * the next round, so that a busy moment or a full cache hits all alike. What counts is the median of
 * the slices, and how far apart they lie is said too. Single calls are timed in a pass of their own,
 * because reading the time costs time.
 *
 * @module
 */

/** Somebody who takes turns. Whoever cannot work without promises may, and pays for them. */
export interface Contestant {
  /** Who it is, in tables and JSON. */
  readonly name: string;
  /** Prepares the next slice, off the clock. */
  ready?(): void | Promise<void>;
  /** Does the next slice of work, and returns how many events that was. */
  slice(): number | Promise<number>;
  /** Tidies up after a slice, off the clock. */
  rest?(): void | Promise<void>;
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

/** A counted slice. */
export interface Lap {
  readonly events: number;
  readonly elapsedMs: number;
}

/** Lets all take turns, and returns the counted slices of each, in the order of the contestants. */
export async function race(
  contestants: readonly Contestant[],
  { slices, warmUps, pause }: RaceOptions,
): Promise<Lap[][]> {
  const laps = contestants.map((): Lap[] => []);
  for (let round = -warmUps; round < slices; round++) {
    for (let turn = 0; turn < contestants.length; turn++) {
      // Whoever comes behind a heavy writer may inherit its dirty pages, so the order changes.
      const place = round % 2 === 0 ? turn : contestants.length - 1 - turn;
      const contestant = contestants[place];
      await pause();
      await contestant.ready?.();
      const startMs = performance.now();
      const slice = contestant.slice();
      const events = typeof slice === "number" ? slice : await slice;
      const elapsedMs = Math.max(performance.now() - startMs, CLOCK_STEP_MS);
      await contestant.rest?.();
      if (round >= 0) laps[place].push({ events, elapsedMs });
    }
  }
  return laps;
}

/** Nothing real takes no time at all; a coarse clock may say so. */
const CLOCK_STEP_MS = 1e-4;

/** What was measured several times. */
export interface Figure {
  /** The one to quote. */
  readonly median: number;
  /** Half of the samples lie within so much of the median, as a share of it: 0.03 is 3 %. */
  readonly spread: number;
  /** All of them, in the order of measuring. */
  readonly samples: readonly number[];
}

/** Sums up samples, rounded to the four digits that mean something. */
export function figureOf(samples: readonly number[]): Figure {
  const middle = median(samples);
  const deviations = samples.map((sample) => Math.abs(sample - middle));
  return {
    median: fourDigits(middle),
    spread: Number((middle === 0 ? 0 : median(deviations) / Math.abs(middle)).toFixed(4)),
    samples: samples.map(fourDigits),
  };
}

function fourDigits(value: number): number {
  return Number(value.toPrecision(4));
}

/** The middle of the values; the mean of the two in the middle when their number is even. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError("Cannot take the median of nothing");
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >>> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** A size, and what it cost. */
export interface CostPoint {
  readonly events: number;
  readonly cost: number;
}

/**
 * How cost grows with size: the slope of the line through the points, by least squares, with both axes
 * logarithmic. 1 means that four times the events cost four times as much, 2 sixteen times.
 */
export function growthExponent(points: readonly CostPoint[]): number {
  const xs = points.map(({ events }) => Math.log(events));
  const ys = points.map(({ cost }) => Math.log(cost));
  const meanX = mean(xs);
  const meanY = mean(ys);
  let covariance = 0;
  let variance = 0;
  for (let i = 0; i < xs.length; i++) {
    covariance += (xs[i] - meanX) * (ys[i] - meanY);
    variance += (xs[i] - meanX) ** 2;
  }
  if (!(variance > 0)) throw new RangeError("Cannot tell how cost grows from a single size");
  return covariance / variance;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
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
  return latenciesOf(timesUs);
}

/** What so many times, in microseconds, come to. Sorts them. */
export function latenciesOf(timesUs: Float64Array): Latencies {
  timesUs.sort();
  return {
    p50us: fourDigits(quantile(timesUs, 0.5)),
    p99us: fourDigits(quantile(timesUs, 0.99)),
  };
}

/** The smallest of the sorted values that at least this share of them does not exceed. */
export function quantile(sorted: Float64Array, share: number): number {
  if (sorted.length === 0) throw new RangeError("Cannot take a quantile of nothing");
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)];
}
