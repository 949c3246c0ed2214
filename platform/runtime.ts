/**
 * The platform that this program runs on.
 *
 * Both adapters are always imported: neither touches its runtime before it is used, and plain imports
 * are what every bundler and single-file compiler understands.
 *
 * @module
 */
import process from "node:process";
import { BunFs } from "./bun.ts";
import type { Clock } from "./clock.ts";
import { DenoFs } from "./deno.ts";
import type { Entropy } from "./entropy.ts";
import type { StoreFs } from "./fs.ts";
import type { Scheduler } from "./scheduler.ts";
import { SystemClock } from "./system_clock.ts";
import { SystemEntropy } from "./system_entropy.ts";
import { SystemScheduler } from "./system_scheduler.ts";

/** Everything the store takes from the runtime. */
export interface Runtime {
  /** Which runtime this is. */
  readonly name: "deno" | "bun";
  /** Its files. */
  readonly fs: StoreFs;
  /** Its time. */
  readonly clock: Clock;
  /** Its chance. */
  readonly entropy: Entropy;
  /** Its timers. */
  readonly scheduler: Scheduler;
}

/**
 * The running runtime. One per realm; it holds no state that matters to two stores.
 *
 * @throws {Error} on import, when this is neither Deno nor Bun
 */
export const runtime: Runtime = detectRuntime();

function detectRuntime(): Runtime {
  const clock = new SystemClock();
  const entropy = new SystemEntropy();
  const scheduler = new SystemScheduler();
  if (process.versions.deno) return { name: "deno", fs: new DenoFs(), clock, entropy, scheduler };
  if (process.versions.bun) return { name: "bun", fs: new BunFs(), clock, entropy, scheduler };
  throw new Error("Cannot run here: batpak needs Deno 2.9 or Bun 1.4, and this is neither");
}
