/**
 * What README and its chart call things.
 *
 * @module
 */
import type { RuntimeName } from "./options.ts";
import { type BenchRun, formatFigure, type Unit } from "./results.ts";

const WORKLOAD_TITLES: Readonly<Record<string, string>> = {
  "append": "one event, written",
  "append-batch-256": "batches of 256, written",
  "append-durable": "one event, durable",
  "get": "get by id, decoded",
  "replay": "replay, payloads decoded",
  "scan": "scan of headers",
  "open-index": "open from the index file",
  "open-footers": "open from segment footers",
  "open-frames": "open from frames",
  "verify": "verify everything",
  "memory-1000": "memory of the index, 1,000 entities",
  "memory-100000": "memory of the index, 100,000 entities",
};

/** A workload in a few words. */
export function titleOfWorkload(name: string): string {
  return WORKLOAD_TITLES[name] ?? name;
}

/** A runtime's own name. */
export function titleOfRuntime(name: RuntimeName): string {
  return name === "deno" ? "Deno" : "Bun";
}

/** A runtime with its version. */
export function titleOfRun({ runtime, runtimeVersion }: BenchRun): string {
  return `${titleOfRuntime(runtime)} ${runtimeVersion}`;
}

/** A peer, as prose. */
export function titleOfPeer(name: string): string {
  return name === "deno-kv" ? "Deno KV" : name;
}

/** A figure with as many digits as another run would confirm, and its unit. */
export function shortFigure(unit: Unit, value: number): string {
  return formatFigure(unit, Number(value.toPrecision(3)));
}
