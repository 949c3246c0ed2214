/**
 * Faults that an operation may survive, and why. Whatever is not listed here has to fail the operation.
 *
 * @module
 */

import type { Flavour } from "./fault_sweep.ts";
import type { SimOp } from "./sim_faults.ts";
import type { SimCall } from "./sim_fs.ts";

/** A call that was struck, and what was going on. */
export interface StruckCall {
  /** The name of the operation. */
  readonly operation: string;
  /** What the operation calls when nothing fails. */
  readonly calls: readonly SimCall[];
  /** Which of them was struck. */
  readonly index: number;
  /** How. */
  readonly flavour: Flavour;
}

/** A kind of call whose failure need not fail the operation. */
interface Tolerance {
  /** Why. */
  readonly why: string;
  /** The calls. */
  readonly ops: readonly SimOp[];
  /** Their paths. */
  readonly path: RegExp;
  /** What else has to be so. */
  readonly when?: (call: StruckCall) => boolean;
}

const READS: readonly SimOp[] = ["List", "Open", "Read", "ReadFile", "Size", "Stat"];

/** All of them. */
const TOLERANCES: readonly Tolerance[] = [
  {
    why: "what is behind an index file can be read without it",
    ops: READS,
    path: /\/index\.fbati$/,
  },
  {
    why: "a file that cannot be extended in advance is extended by what is written",
    ops: ["Resize"],
    path: /\.fbat$/,
    when: ({ calls, index }) => calls[index + 1]?.op === "Write",
  },
  {
    why: "the frames are safe before the footer is written behind them",
    ops: ["Write", "Sync"],
    path: /\.fbat$/,
    when: isFooter,
  },
  {
    why: "what stands in a footer can be read without it",
    ops: ["Read"],
    path: /\.fbat$/,
    when: isFooterRead,
  },
  {
    why: "an index is saved for the next open, which can do without it",
    ops: [
      "Stage",
      "CreateNew",
      "Write",
      "PersistTemp",
      "Sync",
      "RejectSymlink",
      "Rename",
      "SyncDir",
    ],
    path: /^\/journal(\/\.stage-\d+|\/index\.fbati)?$/,
    when: isIndexSave,
  },
  {
    why: "a close that cannot be recorded makes everything durable all the same",
    ops: ["Write"],
    path: /\.fbat$/,
    when: ({ operation }) => operation.startsWith("close"),
  },
  {
    why: "what could not be read is read again, and reported then",
    ops: ["Open", "Size", "Read"],
    path: /\.fbat$/,
    when: isVerifiedAgain,
  },
  {
    why: "there was nothing to remove",
    ops: ["Remove"],
    path: /\.compact-(new|src)$|\/000002\.fbat$|\/index\.fbati$/,
    when: ({ flavour }) => flavour.options.when === "after",
  },
  {
    why: "leftovers of a checkpoint harm nobody, and the next one removes them",
    ops: ["List"],
    path: /\/cursors$/,
    when: ({ operation }) => operation.startsWith("cursor bind"),
  },
];

/** Why an operation may succeed although a call has failed; `undefined` when it may not. */
export function toleranceOf(call: StruckCall): string | undefined {
  const { op, path } = call.calls[call.index];
  return TOLERANCES.find((tolerance) =>
    tolerance.ops.includes(op) && tolerance.path.test(path) && (tolerance.when?.(call) ?? true)
  )?.why;
}

/** Behind the footer and its sync comes the next segment. */
function isFooter({ calls, index }: StruckCall): boolean {
  const write = calls[index].op === "Write" ? index : index - 1;
  return calls[write]?.op === "Write" && calls[write].path === calls[index].path &&
    calls[write + 1]?.op === "Sync" && calls[write + 2]?.op === "Stage";
}

/** Its head says how large the rest is. */
function isFooterRead({ calls, index }: StruckCall): boolean {
  return [index, index - 1].some((head) =>
    calls[head].op === "Read" && calls[head].size === 16 && calls[head].path === calls[index].path
  );
}

/** Between the stage of an index file and the sync that makes its name durable. */
function isIndexSave({ calls, index }: StruckCall): boolean {
  const isIndex = ({ op, path }: SimCall) => op === "PersistTemp" && path.endsWith("/index.fbati");
  const publication = calls.findLastIndex(isIndex);
  const end = calls.findIndex(({ op }, i) => i > publication && op === "SyncDir");
  const stage = calls.findLastIndex(({ op }, i) => i < publication && op === "Stage");
  return stage <= index && index <= end;
}

/** To verify, headers are looked at several times. */
function isVerifiedAgain({ operation, calls, index }: StruckCall): boolean {
  const { op, path, size } = calls[index];
  return (operation === "verify" || operation === "open, everything hashed") &&
    calls.some((call, i) =>
      i > index && call.op === op && call.path === path && call.size === size
    );
}
