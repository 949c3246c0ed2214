/**
 * Progress: one line on a terminal that says how far something is, how fast, and how long it will take.
 * Where nobody watches it says nothing.
 *
 * @module
 */
import type { Host } from "./host.ts";
import { formatCount } from "./output.ts";

/** How far something is. */
export interface Progressed {
  /** What is counted. */
  readonly count: number;
  /** Bytes done, for percentage and time left. */
  readonly bytes: number;
}

/** Often enough to look alive. */
const INTERVAL_MS = 100;
/** A rate of less is a guess. */
const ESTIMATE_AFTER_MS = 500;
const CLEAR_LINE = "\r\x1b[K";

/** The line. Clears itself when it is disposed of. */
export class Progress implements Disposable {
  readonly #host: Host;
  readonly #label: string;
  readonly #unit: string;
  readonly #totalBytes: number | undefined;
  readonly #startMs: number;
  #shownMs = 0;
  #shown = false;
  #isComplete = false;

  /** @param options what is done and what is counted; `totalBytes` when the size is known. */
  constructor(host: Host, options: { label: string; unit: string; totalBytes?: number }) {
    this.#host = host;
    this.#label = options.label;
    this.#unit = options.unit;
    this.#totalBytes = options.totalBytes;
    this.#startMs = host.nowMs();
    this.#shownMs = this.#startMs;
  }

  /** Shows how far it is, unless that was shown a moment ago. */
  update(done: Progressed): void {
    if (!this.#host.isErrorTerminal) return;
    // What still happens behind the last byte changes nothing that is shown.
    const isComplete = this.#totalBytes !== undefined && done.bytes >= this.#totalBytes;
    if (isComplete && this.#isComplete) return;
    const nowMs = this.#host.nowMs();
    if (nowMs - this.#shownMs < INTERVAL_MS) return;
    this.#shownMs = nowMs;
    this.#shown = true;
    this.#isComplete = isComplete;
    const line = this.#lineOf(done, nowMs - this.#startMs);
    this.#host.writeError(CLEAR_LINE + line.slice(0, Math.max(0, this.#host.errorColumns - 1)));
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#shown) this.#host.writeError(CLEAR_LINE);
    this.#shown = false;
  }

  /** As {@linkcode clear}. */
  [Symbol.dispose](): void {
    this.clear();
  }

  #lineOf({ count, bytes }: Progressed, elapsedMs: number): string {
    const rate = Math.round(count * 1000 / Math.max(1, elapsedMs));
    const parts = [
      `${this.#label} ${formatCount(count)} ${this.#unit}`,
      `${formatCount(rate)} ${this.#unit}/s`,
    ];
    const total = this.#totalBytes;
    if (total !== undefined && total > 0) {
      parts.push(`${Math.floor(100 * Math.min(1, bytes / total))} %`);
      if (elapsedMs >= ESTIMATE_AFTER_MS && bytes > 0 && bytes < total) {
        parts.push(`${formatDuration(elapsedMs * (total - bytes) / bytes)} left`);
      }
    }
    return parts.join(", ");
  }
}

/** A duration for people. */
export function formatDuration(durationMs: number): string {
  const seconds = Math.ceil(durationMs / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
