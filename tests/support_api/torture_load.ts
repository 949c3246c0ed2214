/**
 * What a tortured process is told, what it says, and what its events are like.
 *
 * It speaks in lines, one JSON each: before a call what it is about to ask, after the call what was
 * answered. A kill takes nothing of what was written to a pipe, so what was answered and not said is at
 * most one call, and that one was announced.
 *
 * @module
 */
import { EventKind, type ReceiptClaim, SigningKey, type StoredEvent } from "../../mod.ts";
import { hashOf } from "./stress_load.ts";

/** Where all events of the torture are. */
export const SCOPE = "torture";
/** The consumer that the tortured process has. */
export const CHECKPOINT_ID = "torture";
/** What it follows. */
export const REGION = { scope: SCOPE } as const;
/** What signs receipts. */
export const KEY: SigningKey = SigningKey.fromSeed(new Uint8Array(32).fill(7));
/** A kind that keeps its payload, one that loses it, and one that leaves queries too. */
export const LASTING: EventKind = EventKind.custom(0xe, 1);
export const FADING: EventKind = EventKind.custom(0xe, 2);
export const RETIRING: EventKind = EventKind.custom(0xe, 3);

/** What a step of a process does. */
export const STEPS = [
  "append",
  "batch",
  "fence",
  "sync",
  "compact",
  "prune",
  "checkpoint",
  "copy",
  "reopen",
] as const;

/** One of them. */
export type StepName = (typeof STEPS)[number];

/** One event of a plan. */
export interface Item {
  readonly entity: string;
  readonly lane: number;
  readonly kind: number;
}

/** Something to be appended, all or nothing. */
export interface Plan {
  /** Names it, and nothing else ever. */
  readonly op: string;
  readonly form: "append" | "batch" | "fence";
  readonly items: readonly Item[];
  readonly isKeyed: boolean;
  readonly isDurable: boolean;
  /** Whether its events have a megabyte each. */
  readonly isLarge: boolean;
}

/** What a process is told. */
export interface WriterOrder {
  readonly dir: string;
  /** Copies of the journal go here, under names of their own. */
  readonly copiesDir: string;
  /** Names this life of the writer. */
  readonly life: string;
  readonly seed: number;
  /** What it does most. */
  readonly focus: StepName;
  /** After so many steps it closes the store and ends by itself; without, it goes on for ever. */
  readonly steps?: number;
  /** Whether its first step is a batch so large that a kill can come in the middle of the write. */
  readonly beginsLarge?: boolean;
  /** Plans of earlier lives to be asked for once more, keyed all of them. */
  readonly retries: readonly Plan[];
}

/** What it says. */
export type Note =
  /**
   * It is about to do this, and can be killed in the middle of it. Everything below `durable` survives a
   * power cut.
   */
  | { readonly t: "phase"; readonly name: string; readonly durable?: number }
  | {
    readonly t: "opened";
    readonly repairs: number;
    readonly oddities: readonly string[];
    readonly path: string;
    readonly nextSequence: number;
    /** Where its consumer goes on: behind this sequence, -1 for the beginning. */
    readonly committed: number;
  }
  | { readonly t: "try"; readonly plan: Plan }
  | { readonly t: "retry"; readonly op: string }
  /** The fence of a plan is about to end so; before, nobody may see anything of it. */
  | { readonly t: "ending"; readonly op: string; readonly end: "commit" | "cancel" }
  | {
    readonly t: "ack";
    readonly op: string;
    readonly claims: readonly ReceiptClaim[];
    readonly replayed: boolean;
  }
  /** It was refused, and nothing of it is there. */
  | { readonly t: "no"; readonly op: string; readonly code: string }
  | { readonly t: "compacting"; readonly strategy: "merge" | "tombstone" | "retention" }
  | {
    readonly t: "compacted";
    readonly outcome: string;
    /** Everything below this sequence that a rule gives up has no payload any more. */
    readonly erasedBelow: number;
  }
  | { readonly t: "pruning"; readonly below: number }
  | { readonly t: "pruned"; readonly outcome: string; readonly first: number }
  | { readonly t: "copying"; readonly target: string }
  | { readonly t: "copied"; readonly nextSequence: number }
  | { readonly t: "given"; readonly sequences: readonly number[] }
  | { readonly t: "committing"; readonly sequence: number }
  | { readonly t: "committed" }
  | { readonly t: "closed"; readonly durable: number }
  /** Something that should never be. */
  | { readonly t: "broken"; readonly what: string };

/** What a process is doing from this note on, until the next one that says so. */
export function phaseOf(note: Note): string | undefined {
  switch (note.t) {
    case "phase":
      return note.name;
    case "opened":
      return "idle";
    case "try":
      return note.plan.form;
    case "retry":
      return "retry";
    case "ending":
      return note.end;
    case "compacting":
      return "compact";
    case "pruning":
      return "prune";
    case "copying":
      return "copy";
    case "committing":
      return "checkpoint";
    case "closed":
      return "closed";
  }
  return undefined;
}

/** What an event carries. */
export function payloadOf({ op, items, isLarge }: Plan, i: number): unknown {
  const hash = hashOf(tagOf(op, i));
  const size = isLarge ? 1_100_000 : hash % 64 === 0 ? 12_000 : (hash >>> 8) % 300;
  return { op, i, of: items.length, filling: String.fromCharCode(97 + hash % 26).repeat(size) };
}

/** The tag that an event keeps when its payload is erased. */
export function tagOf(op: string, i: number): string {
  return `op:${op}#${i}`;
}

/** The key of an event whose plan has keys. */
export function keyOf(op: string, i: number): string {
  return `${op}/${i}`;
}

/** Which item of which plan an event is. */
export function originOf({ tags }: StoredEvent): { readonly op: string; readonly i: number } {
  const found = /^op:(.*)#(\d+)$/.exec(tags[0] ?? "");
  if (found === null) throw new Error(`an event has the tags ${JSON.stringify(tags)}`);
  return { op: found[1], i: Number(found[2]) };
}
