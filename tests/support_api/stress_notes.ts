/**
 * What the parts of the stress test write down for each other: who tried what, and what came of it.
 *
 * A note is written by one call before or after what it is about, so that a kill leaves an honest record.
 * Each life of a process or realm has a file of its own, so a kill can only cut the last line of one; a
 * realm and the host of its worker share a file, and the system keeps their notes in order.
 *
 * @module
 */
import { closeSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import type { CursorPosition, ReceiptClaim } from "../../mod.ts";

/** One item of a plan. */
export interface PlannedItem {
  readonly entity: string;
  readonly lane: number;
}

/** Something to be appended, all or nothing. It is all that is needed to try the same again. */
export interface Plan {
  /** Names it, and nothing else ever. */
  readonly op: string;
  readonly form: "append" | "batch" | "fence";
  readonly kind: number;
  readonly items: readonly PlannedItem[];
  /** Whether its items have idempotency keys. */
  readonly isKeyed: boolean;
  readonly isDurable: boolean;
  /** A tag that at most one visible event may have, and that it is only appended without. */
  readonly once?: string;
}

/** What a producer writes down. */
export type ProducerNote =
  | { readonly t: "try"; readonly plan: Plan }
  /** A plan of an earlier life whose outcome nobody knew. */
  | { readonly t: "retry"; readonly op: string }
  | { readonly t: "begun"; readonly op: string }
  | { readonly t: "staged"; readonly op: string; readonly sequences: readonly number[] }
  | { readonly t: "committing" | "cancelling" | "cancelled" | "vanishing"; readonly op: string }
  | {
    readonly t: "ack";
    readonly op: string;
    readonly sequences: readonly number[];
    readonly ids: readonly string[];
    readonly replayed: boolean;
    readonly claim?: ReceiptClaim;
  }
  /** It certainly was not done. */
  | { readonly t: "no"; readonly op: string; readonly code: string }
  /** It may have been done. */
  | { readonly t: "unknown"; readonly op: string }
  | { readonly t: "waited"; readonly ms: number }
  | BrokenNote;

/** What a consumer, its host and its realm write down. */
export type ConsumerNote =
  | { readonly t: "start"; readonly from: CursorPosition }
  | { readonly t: "given"; readonly realm: string; readonly sequences: readonly number[] }
  | { readonly t: "committed"; readonly sequence: number }
  | { readonly t: "crash"; readonly committed: number | null; readonly text: string }
  | { readonly t: "end"; readonly end: string; readonly error: string | null }
  | BrokenNote;

/** What the realm of the store writes down. */
export type OwnerNote =
  | {
    readonly t: "opened";
    readonly repairs: number;
    readonly oddities: readonly string[];
    readonly elapsedUs: number;
  }
  | {
    readonly t: "compacted";
    readonly outcome: string;
    readonly merges: number;
    readonly erased: number;
  }
  | { readonly t: "refused"; readonly code: string }
  | { readonly t: "killedProducer"; readonly number: number }
  | { readonly t: "killedStore" }
  | BrokenNote;

/** Something that should never be. */
export interface BrokenNote {
  readonly t: "broken";
  readonly what: string;
}

/** A file of notes, open for more. */
export class Notes<Note> {
  readonly #file: number;

  constructor(path: string) {
    this.#file = openSync(path, "a");
  }

  write(note: Note): void {
    writeSync(this.#file, `${JSON.stringify(note)}\n`);
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** The notes in a file. A last line without its end was being written. */
export function readNotes<Note>(path: string): Note[] {
  return readFileSync(path, "utf8").split("\n").slice(0, -1).map((line) => JSON.parse(line));
}

/** The paths of notes whose name begins like this, in the order of their names. */
export function notesPaths(dir: string, prefix: string): string[] {
  return readdirSync(dir).filter((name) => name.startsWith(prefix)).sort().map((name) =>
    `${dir}/${name}`
  );
}

/** For names that sort as numbers do. */
export function padded(number: number): string {
  return String(number).padStart(4, "0");
}
