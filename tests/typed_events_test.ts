// Typed events through the store: schemas of two libraries, versions, upcasts, kinds that collide.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as v from "valibot";
import { z } from "zod";
import {
  AsyncValidationError,
  DecodeError,
  defineEvent,
  EventKind,
  EventRegistryError,
  MemoryFs,
  Store,
  type StoredEvent,
  ValidationError,
} from "../mod.ts";

const ORDER = { entity: "order:1", scope: "shop" };

/** A journal after `work`, closed and opened again: everything is read from the file. */
function reopened(fs: MemoryFs, work: (store: Store) => void): Store {
  {
    using store = Store.open("journal", { fs });
    work(store);
  }
  return Store.open("journal", { fs });
}

function ofOrder(store: Store): StoredEvent[] {
  return store.query({ entity: ORDER.entity });
}

// Two libraries, one definition each of the same event

const zodPlaced = defineEvent({
  name: "order.placed",
  kind: "F:001",
  schema: z.object({
    customer: z.string().min(1),
    items: z.array(z.object({ sku: z.string(), quantity: z.number().int().positive() })).min(1),
    currency: z.enum(["EUR", "USD"]).default("EUR"),
  }),
});

const valibotPlaced = defineEvent({
  name: "order.placed",
  kind: "F:001",
  schema: v.object({
    customer: v.pipe(v.string(), v.minLength(1)),
    items: v.pipe(
      v.array(v.object({
        sku: v.string(),
        quantity: v.pipe(v.number(), v.integer(), v.minValue(1)),
      })),
      v.minLength(1),
    ),
    currency: v.optional(v.picklist(["EUR", "USD"]), "EUR"),
  }),
});

const DEFINITIONS = { zod: zodPlaced, valibot: valibotPlaced };

for (const [library, placed] of Object.entries(DEFINITIONS)) {
  test(`${library}: a payload is checked, completed, stored and read back typed`, () => {
    using store = reopened(new MemoryFs(), (store) => {
      store.append(ORDER, placed, { customer: "c:7", items: [{ sku: "tea", quantity: 2 }] });
    });
    const [event] = ofOrder(store);
    assert.ok(event.is(placed));
    assert.equal(event.payloadVersion, 1);
    // The default was filled in when the event happened, not when it is read.
    assert.deepEqual(event.payload, {
      customer: "c:7",
      items: [{ sku: "tea", quantity: 2 }],
      currency: "EUR",
    });
    const { items: [{ quantity }], currency } = event.decode(placed);
    assert.equal(quantity * 2, 4);
    assert.equal(currency.toLowerCase(), "eur");
  });

  test(`${library}: a payload that does not fit is refused with path and words, and not written`, () => {
    using store = Store.open("journal", { fs: new MemoryFs() });
    const bad = { customer: "c:7", items: [{ sku: "tea", quantity: 0 }] };
    for (
      const act of [
        () => store.append(ORDER, placed, bad),
        () => {
          try {
            store.appendBatch([{ ...ORDER, kind: placed, payload: bad }]);
          } catch (error) {
            throw (error as Error).cause;
          }
        },
      ]
    ) {
      assert.throws(act, (error) => {
        assert.ok(error instanceof ValidationError, String(error));
        assert.equal(error.event, "order.placed");
        assert.deepEqual(error.issues.map(({ path }) => path), [["items", 0, "quantity"]]);
        assert.match(
          error.message,
          /^Cannot accept this payload of "order.placed": items\[0\].quantity: ./,
        );
        return true;
      });
    }
    assert.equal(store.stats().eventCount, 1);
  });

  test(`${library}: what is stored is checked when it is read, too`, () => {
    using store = reopened(new MemoryFs(), (store) => {
      // An untyped append asks no schema.
      store.append(ORDER, EventKind.custom(0xf, 1), { customer: "", items: [] });
    });
    const [event] = ofOrder(store);
    assert.equal(event.payloadVersion, 0);
    assert.throws(() => event.decode(placed), (error) => {
      assert.ok(error instanceof DecodeError);
      assert.equal(error.reason, "Invalid");
      assert.ok(error.cause instanceof ValidationError);
      assert.deepEqual(error.cause.issues.map(({ path }) => path), [["customer"], ["items"]]);
      return true;
    });
    assert.deepEqual(event.payload, { customer: "", items: [] }, "the event itself is unharmed");
  });
}

test("an asynchronous schema is refused at the append, whatever its library", () => {
  const schemas = {
    zod: z.string().refine((text) => Promise.resolve(text !== "")),
    valibot: v.pipeAsync(v.string(), v.checkAsync((text) => Promise.resolve(text !== ""))),
  };
  using store = Store.open("journal", { fs: new MemoryFs() });
  for (const [library, schema] of Object.entries(schemas)) {
    const kind = library === "zod" ? "F:00A" : "F:00B";
    const definition = defineEvent({ name: `async.${library}`, kind, schema });
    assert.throws(() => store.append(ORDER, definition, "text"), (error) => {
      assert.ok(error instanceof AsyncValidationError, String(error));
      assert.equal(error.code, "ASYNC_VALIDATION");
      assert.equal(error.event, `async.${library}`);
      return true;
    });
  }
  assert.equal(store.stats().eventCount, 1);
});

// Versions

const placedV1 = defineEvent({
  name: "order.placed",
  kind: "F:001",
  schema: z.object({ total: z.number() }),
});
const placedV2 = defineEvent({
  name: "order.placed",
  kind: "F:001",
  version: 2,
  schema: z.object({ totalCents: z.number().int() }),
  upcast: { 1: ({ total }) => ({ totalCents: Math.round(total * 100) }) },
});
const placedV3 = defineEvent({
  name: "order.placed",
  kind: "F:001",
  version: 3,
  schema: z.object({ amount: z.object({ cents: z.number().int(), currency: z.string() }) }),
  upcast: {
    1: ({ total }) => ({ totalCents: Math.round(total * 100) }),
    2: ({ totalCents }) => ({ amount: { cents: totalCents, currency: "EUR" } }),
  },
});

test("one journal, three versions of a program: every event is read in today's shape", () => {
  const fs = new MemoryFs();
  reopened(fs, (store) => store.append(ORDER, placedV1, { total: 12.5 })).close();
  reopened(fs, (store) => store.append(ORDER, placedV2, { totalCents: 700 })).close();
  using store = reopened(fs, (store) => {
    store.append(ORDER, placedV3, { amount: { cents: 1, currency: "USD" } });
    // Without a definition: taken as today's shape.
    store.append(ORDER, placedV3.kind, { amount: { cents: 2, currency: "CHF" } });
  });
  const events = ofOrder(store);
  assert.deepEqual(events.map(({ payloadVersion }) => payloadVersion), [1, 2, 3, 0]);
  assert.deepEqual(events.map((event) => event.decode(placedV3).amount), [
    { cents: 1250, currency: "EUR" },
    { cents: 700, currency: "EUR" },
    { cents: 1, currency: "USD" },
    { cents: 2, currency: "CHF" },
  ]);
  // Nothing is rewritten: the log has what was appended.
  assert.deepEqual(events[0].payload, { total: 12.5 });
});

test("an event of a newer program is refused by an older one, and stays readable untyped", () => {
  using store = reopened(new MemoryFs(), (store) => {
    store.append(ORDER, placedV3, { amount: { cents: 1, currency: "USD" } });
  });
  const [event] = ofOrder(store);
  const refusals = [() => event.decode(placedV1), () => event.decode(placedV2)];
  for (const [i, decode] of refusals.entries()) {
    assert.throws(decode, (error) => {
      assert.ok(error instanceof DecodeError);
      assert.equal(error.reason, "FutureVersion");
      assert.deepEqual([error.storedVersion, error.version], [3, i + 1]);
      return true;
    });
  }
  assert.deepEqual(event.payload, { amount: { cents: 1, currency: "USD" } });
});

test("a step that fails is named by the version it starts from", () => {
  using store = reopened(new MemoryFs(), (store) => store.append(ORDER, placedV1.kind, null));
  const broken = defineEvent<{ a: number }>({
    name: "order.placed",
    kind: "F:001",
    version: 2,
    upcast: {
      1: () => {
        throw new Error("cannot lift");
      },
    },
  });
  store.append(ORDER, placedV1, { total: 1 });
  const event = store.latest(ORDER.entity)!;
  assert.throws(() => event.decode(broken), (error) => {
    assert.ok(error instanceof DecodeError);
    assert.equal(error.reason, "UpcastFailed");
    assert.equal(error.storedVersion, 1);
    return true;
  });
});

// Kinds

const rival = defineEvent<string>({ name: "order.rival", kind: "F:001" });
const COLLISION = { kind: 0xf001, first: "order.placed", second: "order.rival" };

test("two definitions of one kind are found at the open, before anything is touched", () => {
  const fs = new MemoryFs();
  assert.throws(
    () => Store.open("journal", { fs, events: [zodPlaced, rival] }),
    (error) => {
      assert.ok(error instanceof EventRegistryError);
      assert.deepEqual(error.collisions, [COLLISION]);
      return true;
    },
  );
  assert.deepEqual(fs.list("/"), []);
  using store = Store.open("journal", {
    fs,
    events: [zodPlaced, zodPlaced],
  });
  assert.ok(store);
});

test("two definitions of one kind are found at first use, and nothing is written", () => {
  using store = Store.open("journal", { fs: new MemoryFs(), events: [placedV1] });
  const isCollision = (error: unknown): true => {
    assert.ok(error instanceof EventRegistryError, String(error));
    assert.equal(error.code, "EVENT_REGISTRY");
    assert.deepEqual(error.collisions, [COLLISION]);
    return true;
  };
  assert.throws(() => store.append(ORDER, rival, "text"), isCollision);
  assert.throws(
    () => store.appendBatch([{ ...ORDER, kind: rival, payload: "text" }]),
    (error: Error) => isCollision(error.cause),
  );
  assert.equal(store.stats().eventCount, 1);
  assert.equal(store.append(ORDER, placedV1, { total: 1 }).clock, 0);
});

test("an untyped append needs no definition, and disturbs none", () => {
  using store = Store.open("journal", { fs: new MemoryFs(), events: [placedV1] });
  store.append(ORDER, placedV1.kind, { total: 1, more: true });
  assert.deepEqual(store.latest(ORDER.entity)!.decode(placedV1), { total: 1 });
});
