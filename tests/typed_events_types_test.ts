// What the compiler promises. `deno check` is the test; at run time these functions are only counted.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { z } from "zod";
import {
  type AppendOptions,
  type BatchItem,
  Coordinate,
  defineEvent,
  type EventDefinition,
  type EventId,
  type EventInput,
  EventKind,
  type EventOutput,
  MemoryFs,
  OperationKey,
  type Receipt,
  type ReceiptVerification,
  Store,
} from "../mod.ts";

/** True only when both types are the same. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true
  : false;
const proven = <Claim extends true>(claim?: Claim): void => void claim;

const ORDER = { entity: "order:1", scope: "shop" };
const plain = defineEvent<{ totalCents: number }>({ name: "plain", kind: "F:001" });
const withZod = defineEvent({
  name: "zod",
  kind: "F:002",
  schema: z.object({ total: z.number(), currency: z.string().default("EUR") }),
});
const withValibot = defineEvent({
  name: "valibot",
  kind: "F:003",
  schema: v.object({ total: v.number(), currency: v.optional(v.string(), "EUR") }),
});
const KIND = EventKind.custom(0xf, 0x004);

/** Everything below is checked and never run. */
const claims: readonly ((store: Store) => void)[] = [
  function inputsAndOutputsAreInferred() {
    proven<Same<EventInput<typeof plain>, { totalCents: number }>>();
    proven<Same<EventOutput<typeof plain>, { totalCents: number }>>();
    proven<Same<EventInput<typeof withZod>, { total: number; currency?: string | undefined }>>();
    proven<Same<EventOutput<typeof withZod>, { total: number; currency: string }>>();
    proven<
      Same<EventInput<typeof withValibot>, { total: number; currency?: string | undefined }>
    >();
    proven<Same<EventOutput<typeof withValibot>, { total: number; currency: string }>>();
  },
  function anAppendTakesWhatTheDefinitionTakes(store) {
    proven<Same<ReturnType<typeof store.append>, Receipt>>();
    store.append(ORDER, plain, { totalCents: 1 });
    store.append(ORDER, withZod, { total: 1 });
    store.append(ORDER, withZod, { total: 1, currency: "USD" });
    store.append(ORDER, withValibot, { total: 1 });
    // @ts-expect-error: a string is no number
    store.append(ORDER, plain, { totalCents: "1" });
    // @ts-expect-error: the total is missing
    store.append(ORDER, plain, {});
    // @ts-expect-error: there is no such field
    store.append(ORDER, plain, { totalCents: 1, tip: 2 });
    // @ts-expect-error: the payload is missing
    store.append(ORDER, plain);
    // @ts-expect-error: a currency is a string
    store.append(ORDER, withZod, { total: 1, currency: 5 });
    // @ts-expect-error: the total is missing
    store.append(ORDER, withValibot, { currency: "EUR" });
  },
  function anUntypedAppendTakesAnything(store) {
    store.append(ORDER, KIND, { any: ["thing", 1, null, new Date(), 5n] });
    store.append(ORDER, KIND, undefined);
    store.append(Coordinate.of("a", "b"), EventKind.DATA, 1);
    // @ts-expect-error: a number is no kind
    store.append(ORDER, 0xf001, 1);
    // @ts-expect-error: a text is no kind; `EventKind.parse()` makes one
    store.append(ORDER, "F:001", 1);
    // @ts-expect-error: the scope is missing
    store.append({ entity: "order:1" }, KIND, 1);
  },
  function aReadGivesWhatTheDefinitionGives(store) {
    const event = store.latest("order:1")!;
    proven<Same<typeof event.payload, unknown>>();
    const decoded = event.decode(withZod);
    proven<Same<typeof decoded, { total: number; currency: string }>>();
    // @ts-expect-error: there is no such field
    event.decode(plain).total;
    // @ts-expect-error: a kind is no definition
    event.decode(KIND);
  },
  function aBatchTakesTypedAndUntypedItems(store) {
    const receipts = store.appendBatch([
      { ...ORDER, kind: KIND, payload: { any: "thing" } },
      { ...ORDER, kind: KIND, payload: 1, causationItem: 0, tags: ["a"], lane: 1 },
    ]);
    proven<Same<typeof receipts, Receipt[]>>();
    // @ts-expect-error: conditions stand on the batch
    store.appendBatch([{ ...ORDER, kind: KIND, payload: 1, failIf: {} }]);
    // @ts-expect-error: durability stands on the batch
    store.appendBatch([{ ...ORDER, kind: KIND, payload: 1, durability: "durable" }]);
    // @ts-expect-error: the payload is missing
    store.appendBatch([{ ...ORDER, kind: KIND }]);
  },
  function aBatchTakesDefinitionsAsTheyAre(store) {
    store.appendBatch([
      { ...ORDER, kind: plain, payload: { totalCents: 1 } },
      { ...ORDER, kind: withZod, payload: { total: 1 } },
    ]);
    Store.open("journal", { events: [plain, withZod, withValibot] });
  },
  function optionsAreTold(store) {
    const options: AppendOptions = {
      expectedClock: "none",
      idempotencyKey: OperationKey.of("a", ["b"]),
      durability: "durable",
      failIf: [{ tags: ["a"], after: 1 }, { region: { entity: "a" } }],
    };
    store.append(ORDER, KIND, 1, options);
    // @ts-expect-error: "none" or a number
    store.append(ORDER, KIND, 1, { expectedClock: "first" });
    // @ts-expect-error: a string is no id; `EventId.parse()` makes one
    store.append(ORDER, KIND, 1, { causationId: "0196f3b2-8c00-7abc-8def-0123456789ab" });
    // @ts-expect-error: there is no such condition
    store.append(ORDER, KIND, 1, { failIf: { tag: ["a"] } });
    // @ts-expect-error: there is no such option
    store.append(ORDER, KIND, 1, { expectedVersion: 1 });
    const receipt = store.append(ORDER, KIND, 1);
    proven<Same<typeof receipt.eventId, EventId>>();
    store.append(ORDER, KIND, 2, { causationId: receipt.eventId });
  },
  function aSchemaMustAcceptWhatItReturns() {
    defineEvent({
      name: "lengths",
      kind: "F:005",
      // @ts-expect-error: it takes a string and returns a number, which it would not take again
      schema: z.string().transform((text) => text.length),
    });
    defineEvent({
      name: "lengths",
      kind: "F:005",
      // @ts-expect-error: the same in another library
      schema: v.pipe(v.string(), v.transform((text) => text.length)),
    });
  },
  function aReaderCannotWrite() {
    const reader = Store.openReadOnly("journal");
    reader.query();
    // @ts-expect-error: a reader does not append
    reader.append(ORDER, KIND, 1);
    // @ts-expect-error: a reader does not append
    reader.appendBatch([]);
    // @ts-expect-error: a reader does not sync
    reader.sync();
    // @ts-expect-error: a reader has no limits for writing
    Store.openReadOnly("journal", { segmentMaxBytes: 1 });
  },
  function aVerificationIsReadByItsOutcome(store) {
    const verified: ReceiptVerification = store.verifyReceipt(store.append(ORDER, KIND, 1));
    if (verified.valid) {
      proven<Same<typeof verified.outcome, "signed" | "unsigned">>();
      // @ts-expect-error: there is no reason when it is valid
      verified.reason;
    } else {
      verified.reason satisfies string;
    }
  },
  function theItemsOfABatchAreOfTheirDefinitions(store) {
    store.appendBatch([
      { ...ORDER, kind: plain, payload: { totalCents: 1 } },
      { ...ORDER, kind: KIND, payload: ["anything"] },
    ]);
    // @ts-expect-error: the payload of an item is that of its definition
    store.appendBatch([{ ...ORDER, kind: plain, payload: { totalCents: "1" } }]);
    const items = ["1", "2"].map((totalCents) => ({
      ...ORDER,
      kind: plain,
      payload: { totalCents },
    }));
    // @ts-expect-error: also when the items are made somewhere else
    store.appendBatch(items);
    const any: BatchItem[] = [];
    store.appendBatch(any);
  },
  function aReceiptIsTheStoresToMake() {
    const definition: EventDefinition<{ totalCents: number }> = plain;
    proven<Same<EventInput<typeof definition>, { totalCents: number }>>();
  },
];

test("the types of typed events are what they should be", () => {
  assert.equal(claims.length, 12);
  // The definitions above are real, and the store takes them.
  using store = Store.open("journal", { fs: new MemoryFs() });
  store.append(ORDER, plain, { totalCents: 1 });
  store.append(ORDER, withZod, { total: 1 });
  store.append(ORDER, withValibot, { total: 1 });
  assert.deepEqual(store.query(ORDER).map(({ payload }) => payload), [
    { totalCents: 1 },
    { total: 1, currency: "EUR" },
    { total: 1, currency: "EUR" },
  ]);
});
