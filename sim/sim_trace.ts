/**
 * A trace and a directory in words, and as a number that is the same wherever they are.
 *
 * @module
 */

import { crc32 } from "../platform/checksum.ts";
import type { StoreFs } from "../platform/fs.ts";
import type { SimStep } from "./sim_disk.ts";
import { Fold64 } from "./sim_random.ts";

/** A step as one line: what a failing run prints. */
export function describeStep(step: SimStep): string {
  switch (step.type) {
    case "write": {
      const { path, position, bytes } = step;
      const checksum = crc32(bytes).toString(16).padStart(8, "0");
      return `write ${path} ${position}+${bytes.byteLength} ${checksum}`;
    }
    case "resize":
      return `resize ${step.path} to ${step.size}`;
    case "sync":
    case "syncDir":
      return `${step.type} ${step.path}${step.outcome === "honored" ? "" : ` (${step.outcome})`}`;
    case "create":
      return `create ${step.kind} ${step.path}`;
    case "rename":
      return `rename ${step.source} to ${step.path}`;
    case "mark":
      return `mark ${step.label}${step.data === undefined ? "" : ` ${JSON.stringify(step.data)}`}`;
    default:
      return `${step.type} ${step.path}`;
  }
}

/** Sixteen digits for a trace: two runs with the same ones did the same. */
export function digestTrace(trace: readonly SimStep[]): string {
  const digest = new Fold64();
  const encoder = new TextEncoder();
  for (const step of trace) digest.bytes(encoder.encode(`${describeStep(step)}\n`));
  return digest.toString();
}

/** Sixteen digits for everything below a directory: names, kinds, sizes and bytes. */
export function digestTree(fs: StoreFs, dir = "/"): string {
  const digest = new Fold64();
  const encoder = new TextEncoder();
  const visit = (path: string): void => {
    for (const { name, kind } of fs.list(path)) {
      const child = path === "/" ? `/${name}` : `${path}/${name}`;
      digest.bytes(encoder.encode(`${kind} ${child}\n`));
      if (kind === "dir") visit(child);
      if (kind !== "file") continue;
      const bytes = fs.readFile(child, Number.MAX_SAFE_INTEGER);
      digest.fold(bytes.byteLength).fold(crc32(bytes));
    }
  };
  visit(dir);
  return digest.toString();
}
