/**
 * How often something that crashes may be started again.
 *
 * The window of a bounded policy tumbles: it begins when the budget is made, and a crash that finds it
 * expired begins the next one. It is measured in whole milliseconds of the monotonic clock, rounded down,
 * and exactly `withinMs` is still inside. A restart that is refused changes nothing.
 *
 * @module
 */

import type { Clock } from "../platform/clock.ts";
import { assertKnownKeys, assertUint } from "../store/assert.ts";

/**
 * How often a handler that crashes is started again.
 *
 * - `once`: one time in the whole life of the worker. A handler that always crashes runs twice.
 * - `bounded`: at most `maxRestarts` times within `withinMs` milliseconds. A handler that always crashes
 *   runs `maxRestarts` + 1 times; with 0 the first crash is the end.
 */
export type RestartPolicy =
  | { readonly kind: "once" }
  | { readonly kind: "bounded"; readonly maxRestarts: number; readonly withinMs: number };

/**
 * A frozen copy of a policy, without what does not belong there.
 *
 * @throws {TypeError} when it is none.
 * @throws {RangeError} when a number is out of its range.
 */
export function checkRestartPolicy(policy: RestartPolicy): RestartPolicy {
  const kind = (policy as RestartPolicy | null)?.kind;
  if (kind === "once") {
    assertKnownKeys('use the restart policy "once"', policy, ONCE_KEYS);
    return Object.freeze({ kind });
  }
  if (kind === "bounded") {
    assertKnownKeys('use the restart policy "bounded"', policy, BOUNDED_KEYS);
    const { maxRestarts, withinMs } = policy as RestartPolicy & { kind: "bounded" };
    return Object.freeze({
      kind,
      maxRestarts: assertUint("maxRestarts", maxRestarts, 2 ** 32 - 1),
      withinMs: assertUint("withinMs", withinMs, Number.MAX_SAFE_INTEGER),
    });
  }
  throw new TypeError(
    'Cannot use this restart policy: its kind is neither "once" nor "bounded"',
  );
}

const ONCE_KEYS: ReadonlySet<string> = new Set(["kind"]);
const BOUNDED_KEYS: ReadonlySet<string> = new Set(["kind", "maxRestarts", "withinMs"]);

/** Counts restarts against a policy. */
export class RestartBudget {
  readonly #policy: RestartPolicy;
  readonly #clock: Pick<Clock, "monotonicUs">;
  #windowStartUs: number;
  #used = 0;
  #granted = 0;

  /** Begins now, and with it the first window. */
  constructor(policy: RestartPolicy, clock: Pick<Clock, "monotonicUs">) {
    this.#policy = checkRestartPolicy(policy);
    this.#clock = clock;
    this.#windowStartUs = clock.monotonicUs();
  }

  /** Restarts granted in the window as it was at the last crash; in `once`, ever. */
  get used(): number {
    return this.#used;
  }

  /** Restarts granted so far. */
  get granted(): number {
    return this.#granted;
  }

  /** Asks for a restart after a crash that has just happened. */
  tryRestart(): boolean {
    const policy = this.#policy;
    if (policy.kind === "bounded") {
      const nowUs = this.#clock.monotonicUs();
      // A clock that went backwards has not let any time pass.
      const elapsedMs = Math.floor(Math.max(0, nowUs - this.#windowStartUs) / 1000);
      if (elapsedMs > policy.withinMs) {
        this.#used = 0;
        this.#windowStartUs = nowUs;
      }
    }
    if (this.#used >= (policy.kind === "once" ? 1 : policy.maxRestarts)) return false;
    this.#used++;
    this.#granted++;
    return true;
  }
}
