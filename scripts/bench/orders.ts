/**
 * The workload `order`: a thousand entities take turns, in one scope, with a payload of about 60 bytes
 * of MessagePack. Everybody who is measured writes the same events, and pays for building them.
 *
 * @module
 */
import { EventKind } from "../../mod.ts";

/** What an event says. */
export interface Order {
  readonly orderId: number;
  readonly customer: string;
  readonly status: string;
  readonly totalCents: number;
  readonly items: number;
}

/** The one scope. */
export const SCOPE = "shop";

/** The one kind. */
export const ORDER_PLACED: EventKind = EventKind.custom(0xf, 1);

/** How many entities there are. */
export const ENTITY_COUNT = 1000;

/** A program gets such names with the request. Making them is not part of an append. */
const ENTITIES: readonly string[] = entityNames(ENTITY_COUNT);
const CUSTOMERS: readonly string[] = Array.from({ length: 97 }, (_, i) => `c${100 + i}`);

/** The entity of event `n`, counted from 0. */
export function entityOf(n: number): string {
  return ENTITIES[n % ENTITY_COUNT];
}

/** The names of so many entities. */
export function entityNames(count: number): string[] {
  const digits = String(count - 1).length;
  return Array.from(
    { length: count },
    (_, i) => `order:${String(i).padStart(Math.max(4, digits), "0")}`,
  );
}

/** The place of event `n` in its entity's history. */
export function clockOf(n: number): number {
  return Math.floor(n / ENTITY_COUNT);
}

/** The payload of event `n`, a new object as in any program. */
export function orderOf(n: number): Order {
  return {
    orderId: 1_000_000 + n,
    customer: CUSTOMERS[n % CUSTOMERS.length],
    status: "placed",
    totalCents: totalCentsOf(n),
    items: 1 + n % 9,
  };
}

/** The total of event `n`. */
export function totalCentsOf(n: number): number {
  return 100 + (n * 7919) % 50_000;
}

/** The sum of the totals of the first `count` events, to see that a reader really read them. */
export function totalCentsUpTo(count: number): number {
  return sumUpTo(count, totalCentsOf);
}

/** The sum of the clocks of the first `count` events. */
export function clocksUpTo(count: number): number {
  return sumUpTo(count, clockOf);
}

function sumUpTo(count: number, valueOf: (n: number) => number): number {
  let sum = 0;
  for (let n = 0; n < count; n++) sum += valueOf(n);
  return sum;
}
