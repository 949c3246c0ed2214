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
  "group-commit-1": "1 durable client",
  "group-commit-16": "16 durable clients",
  "group-commit-64": "64 durable clients",
  "group-commit-256": "256 durable clients",
  "group-commit-256-shared": "256 durable callers of one client",
  "cursor-64": "cursor, batches of 64",
  "cursor-256": "cursor, batches of 256",
  "cursor-1024": "cursor, batches of 1,024",
  "cursor-64-saved": "cursor, 64, checkpoint each",
  "cursor-256-saved": "cursor, 256, checkpoint each",
  "cursor-1024-saved": "cursor, 1,024, checkpoint each",
  "cursor-realm-64": "own realm, batches of 64",
  "cursor-realm-256": "own realm, batches of 256",
  "cursor-realm-1024": "own realm, batches of 1,024",
  "cursor-realm-64-saved": "own realm, 64, checkpoint each",
  "cursor-realm-256-saved": "own realm, 256, checkpoint each",
  "cursor-realm-1024-saved": "own realm, 1,024, checkpoint each",
  "wake": "append to handler, this realm",
  "wake-realm": "append to handler, its own realm",
  "wake-process": "append to handler, another process",
};

/** Whether it is about those who follow the journal or wait for it, which have a table of their own. */
export function isDelivery(name: string): boolean {
  return /^(?:group-commit|cursor|wake)(?:-|$)/.test(name);
}

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
