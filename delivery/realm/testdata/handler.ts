/**
 * The realm of a cursor worker in tests: notes what it was given, and fails as it is told.
 *
 * What it notes goes to a file, one line for each batch, written before the handler returns: what has been
 * handled is known, whatever becomes of the realm.
 *
 * @module
 */
import { appendFileSync, existsSync, writeFileSync } from "node:fs";
import process from "node:process";
import { type CursorWorkerAction, serveCursorWorker } from "../../worker.ts";

/** What the handler is to do. */
export interface Plan {
  /** The file for its notes. */
  readonly notes: string;
  /** What goes wrong in the batch that has this sequence. */
  readonly at?: number;
  readonly fault?:
    | "throw"
    | "throwText"
    | "reject"
    | "hang"
    | "dieBefore"
    | "dieAfter"
    | "uncaught"
    | "unclonable"
    | "number"
    | "stop"
    | "stopWithRollback"
    | "waitForStop"
    | "spinUntilStop";
  /** It goes wrong only while this file is not there, and makes it. */
  readonly once?: string;
  /** Whether every event is noted in full. */
  readonly inFull?: boolean;
  /** What setup does instead of nothing. */
  readonly setup?: "throw" | "hang";
}

/** One line of the notes. */
export interface Note {
  readonly sequences: readonly number[];
  /** How many batches this realm has been given, this one included. */
  readonly callCount: number;
  readonly events?: readonly unknown[];
}

let callCount = 0;

serveCursorWorker<Plan>((batch, { init, signal }) => {
  callCount++;
  const { notes, at, fault, once, inFull } = init;
  const isDue = fault !== undefined &&
    batch.some(({ globalSequence }) => globalSequence === at) &&
    (once === undefined || !existsSync(once));
  if (isDue && once !== undefined) writeFileSync(once, "");
  if (isDue && fault === "dieBefore") process.exit(3);
  const note: Note = {
    sequences: batch.map(({ globalSequence }) => globalSequence),
    callCount,
    ...(inFull && { events: batch.map((event) => event.toJSON()) }),
  };
  const bigints = (_: string, value: unknown) => typeof value === "bigint" ? `${value}n` : value;
  appendFileSync(notes, JSON.stringify(note, bigints) + "\n");
  if (!isDue) return "continue";
  switch (fault) {
    case "throw":
      throw new RangeError("the handler's own words");
    case "throwText":
      // deno-lint-ignore no-throw-literal
      throw "only text";
    case "reject":
      return Promise.reject(17);
    case "hang":
      return new Promise(() => {});
    case "dieAfter":
      process.exit(3);
      break;
    case "uncaught":
      queueMicrotask(() => {
        throw new Error("outside of the handler");
      });
      return new Promise(() => {});
    case "unclonable":
      return (() => {}) as unknown as CursorWorkerAction;
    case "number":
      return 42 as unknown as CursorWorkerAction;
    case "waitForStop":
      return new Promise((resolve) => signal.addEventListener("abort", () => resolve("continue")));
    case "spinUntilStop":
      while (!signal.aborted);
      return "continue";
    case "stop":
    case "stopWithRollback":
      return fault;
  }
  return "continue";
}, {
  setup({ init }) {
    if (init.setup === "throw") throw new Error("not ready for this");
    if (init.setup === "hang") return new Promise(() => {});
  },
});
