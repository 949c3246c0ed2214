/**
 * What the stress test appends. Everything about an event follows from its plan and its place in it, so
 * whoever meets the event can tell whether it is as it was sent.
 *
 * @module
 */
import { type BatchItem, EventKind, type StoredEvent } from "../../mod.ts";
import type { Plan, PlannedItem } from "./stress_notes.ts";

/** The scope of everything that the stress test appends. */
export const SCOPE = "stress";
/** A kind whose payloads are kept. */
export const KEPT: EventKind = EventKind.custom(0xf, 0x001);
/** A kind whose payloads a compaction may erase. */
export const FADING: EventKind = EventKind.custom(0xf, 0x002);

const ENTITY_COUNT = 12;
const LANE_COUNT = 3;
const ONCE_COUNT = 40;

/** What an event carries. */
export interface StressPayload {
  readonly op: string;
  readonly i: number;
  readonly of: number;
  readonly filling: string;
}

/** A plan made up by chance. */
export function planOf(op: string, form: Plan["form"], random: () => number): Plan {
  const upTo = (count: number) => Math.floor(random() * count);
  const itemCount = form === "append" ? 1 : form === "batch" ? 2 + upTo(8) : 1 + upTo(20);
  const items = Array.from({ length: itemCount }, (): PlannedItem => ({
    entity: `stress:${upTo(ENTITY_COUNT)}`,
    lane: random() < 0.7 ? 0 : upTo(LANE_COUNT),
  }));
  return {
    op,
    form,
    kind: random() < 0.75 ? KEPT : FADING,
    items,
    isKeyed: random() < 0.6,
    isDurable: random() < 0.4,
    ...(form !== "fence" && random() < 0.1 && { once: `once:${upTo(ONCE_COUNT)}` }),
  };
}

/** An item of a plan, as a batch takes it. */
export function itemOf(plan: Plan, i: number): BatchItem {
  const { op, items, kind, isKeyed, once } = plan;
  return {
    ...items[i],
    scope: SCOPE,
    kind: kind as EventKind,
    payload: payloadOf(op, i, items.length),
    tags: [tagOf(op, i), ...(once !== undefined && i === 0 ? [once] : [])],
    ...(isKeyed && { idempotencyKey: tagOf(op, i) }),
  };
}

function payloadOf(op: string, i: number, of: number): StressPayload {
  const hash = hashOf(tagOf(op, i));
  const size = hash % 50 === 0 ? 3_000 : (hash >>> 8) % 250;
  return { op, i, of, filling: String.fromCharCode(97 + hash % 26).repeat(size) };
}

/** The tag that an event keeps when its payload is erased. */
function tagOf(op: string, i: number): string {
  return `op:${op}#${i}`;
}

/** Which item of which plan an event is. */
export function originOf({ tags }: StoredEvent): { readonly op: string; readonly i: number } {
  const tag = tags.find((tag) => tag.startsWith("op:"));
  const found = /^op:(.*)#(\d+)$/.exec(tag ?? "");
  if (found === null) throw new Error(`an event has the tags ${JSON.stringify(tags)}`);
  return { op: found[1], i: Number(found[2]) };
}

/** What is wrong with an event by itself; `undefined` when it is as it was sent. */
export function faultOf(event: StoredEvent): string | undefined {
  if (event.scope !== SCOPE) return undefined;
  const { op, i } = originOf(event);
  if (event.isErased) {
    return event.kind === FADING ? undefined : `${op}#${i} of kind ${event.kind} is erased`;
  }
  const { of } = event.payload as StressPayload;
  const expected = JSON.stringify(payloadOf(op, i, of));
  const actual = JSON.stringify(event.payload);
  return actual === expected ? undefined : `${op}#${i} carries ${actual}`;
}

/** FNV-1a. */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}
