import assert from "node:assert/strict";
import { test } from "node:test";
import type { StandardSchemaV1 } from "@standard-schema/spec";
import {
  AsyncValidationError,
  checkDefinitions,
  DecodeError,
  defineEvent,
  type EventDefinition,
  type EventInput,
  type EventOutput,
  EventRegistry,
  EventRegistryError,
  UpcastChainError,
  ValidationError,
} from "./event_definition.ts";
import { EventKind } from "./event_kind.ts";

interface OrderPlaced {
  readonly totalCents: number;
}

/** A schema as a library would make it: `check` answers with a value or with issues. */
function schemaOf<Input, Output = Input>(
  check: (value: unknown) => StandardSchemaV1.Result<Output> | Promise<never>,
): StandardSchemaV1<Input, Output> {
  return { "~standard": { version: 1, vendor: "test", validate: check } };
}

/** Wants `total`, fills in `currency`, drops everything else. */
const orderSchema = schemaOf<
  { total: number; currency?: string },
  { total: number; currency: string }
>((value) => {
  const { total, currency = "EUR" } = Object(value);
  if (typeof total !== "number") {
    return { issues: [{ message: "expected a number", path: ["total"] }] };
  }
  return { value: { total, currency } };
});

test("defineEvent() returns a frozen definition", () => {
  const definition = defineEvent<OrderPlaced>({ name: "order.placed", kind: "F:001" });
  assert.equal(definition.name, "order.placed");
  assert.equal(definition.kind, 0xf001);
  assert.equal(definition.version, 1);
  assert.ok(Object.isFrozen(definition));
  const kind = EventKind.custom(0x1, 0x002);
  assert.equal(defineEvent({ name: "a", kind, version: 65535, upcast: steps(65535) }).kind, kind);
});

function steps(version: number): Record<number, (payload: unknown) => unknown> {
  const entries = Array.from({ length: version - 1 }, (_, i) => [i + 1, (p: unknown) => p]);
  return Object.fromEntries(entries);
}

test("defineEvent() refuses a kind that is reserved or none", () => {
  const define = (kind: EventKind | string) => () => defineEvent({ name: "a", kind });
  assert.throws(define("0:001"), { reason: "ReservedSystemCategory" });
  assert.throws(define("D:001"), { reason: "ReservedEffectCategory" });
  assert.throws(define(EventKind.TOMBSTONE), { reason: "ReservedSystemCategory" });
  assert.throws(define("order"), { reason: "Malformed" });
  assert.throws(define(0x10000 as EventKind), { reason: "RawOutOfRange" });
});

test("defineEvent() refuses version 0 and everything else that is no version", () => {
  for (const version of [0, -1, 1.5, 65536, NaN]) {
    assert.throws(() => defineEvent({ name: "a", kind: "F:001", version }), RangeError);
  }
});

test("defineEvent() refuses a nameless event and a schema of another kind", () => {
  for (const name of ["", "a\nb", 1 as unknown as string]) {
    assert.throws(() => defineEvent({ name, kind: "F:001" }), TypeError);
  }
  for (const schema of [{}, null, 1, { parse: () => 1 }]) {
    assert.throws(
      () =>
        defineEvent({ name: "a", kind: "F:001", schema: schema as unknown as StandardSchemaV1 }),
      TypeError,
    );
  }
});

test("a chain with gaps is refused where it is defined, missing versions ascending", () => {
  assert.throws(
    () => defineEvent({ name: "a", kind: "F:001", version: 5, upcast: { 3: (v) => v } }),
    (error) => {
      assert.ok(error instanceof UpcastChainError);
      assert.equal(error.code, "EVENT_REGISTRY");
      assert.deepEqual([error.event, error.kind, error.version], ["a", 0xf001, 5]);
      assert.deepEqual(error.missingVersions, [1, 2, 4]);
      return true;
    },
  );
  assert.throws(() => defineEvent({ name: "a", kind: "F:001", version: 2 }), UpcastChainError);
});

test("a step from a version that is not an earlier one is refused", () => {
  for (const from of [0, 2, 3, -1, 1.5]) {
    const upcast = { 1: (v: unknown) => v, [from]: (v: unknown) => v };
    assert.throws(() => defineEvent({ name: "a", kind: "F:001", version: 2, upcast }), RangeError);
  }
});

test("validate() returns what the schema makes of the payload", () => {
  const definition = defineEvent({ name: "order", kind: "F:001", schema: orderSchema });
  assert.deepEqual(definition.validate({ total: 5 }), { total: 5, currency: "EUR" });
});

test("validate() without a schema returns the payload itself", () => {
  const definition = defineEvent<OrderPlaced>({ name: "order", kind: "F:001" });
  const payload = { totalCents: 5 };
  assert.equal(definition.validate(payload), payload);
});

test("validate() says what is wrong, and where", () => {
  const definition = defineEvent({
    name: "order",
    kind: "F:001",
    schema: schemaOf<unknown>(() => ({
      issues: [
        { message: "expected a number", path: ["items", { key: 0 }, "quantity"] },
        { message: "odd", path: [Symbol("s")] },
        { message: "too few" },
      ],
    })),
  });
  assert.throws(() => definition.validate({}), (error) => {
    assert.ok(error instanceof ValidationError);
    assert.equal(error.code, "VALIDATION");
    assert.equal(error.event, "order");
    assert.deepEqual(error.issues, [
      { message: "expected a number", path: ["items", 0, "quantity"] },
      { message: "odd", path: ["Symbol(s)"] },
      { message: "too few", path: [] },
    ]);
    assert.equal(
      error.message,
      'Cannot accept this payload of "order": items[0].quantity: expected a number (and 2 more)',
    );
    assert.deepEqual(structuredClone(error.issues), error.issues);
    return true;
  });
});

test("a schema that answers with a promise is refused, and its rejection hurts nobody", async () => {
  const definition = defineEvent({
    name: "order",
    kind: "F:001",
    schema: schemaOf<unknown>(() => Promise.reject(new Error("nobody waits for me"))),
  });
  assert.throws(() => definition.validate({}), AsyncValidationError);
  assert.throws(() => definition.decode({}, 1), { code: "ASYNC_VALIDATION", event: "order" });
  // An unhandled rejection would end the process within these turns of the event loop.
  await new Promise((resolve) => setTimeout(resolve, 5));
});

const threeVersions = defineEvent({
  name: "order",
  kind: "F:001",
  version: 3,
  schema: orderSchema,
  upcast: {
    1: ({ sum }) => ({ amount: sum }),
    2: ({ amount }) => ({ total: amount, currency: "USD" }),
  },
});

test("decode() lifts an older payload one version at a time", () => {
  const current = { total: 7, currency: "USD" };
  assert.deepEqual(threeVersions.decode({ sum: 7 }, 1), current);
  assert.deepEqual(threeVersions.decode({ amount: 7 }, 2), current);
  assert.deepEqual(threeVersions.decode(current, 3), current);
});

test("decode() takes version 0 as current", () => {
  assert.deepEqual(threeVersions.decode({ total: 7 }, 0), { total: 7, currency: "EUR" });
});

test("decode() is as tolerant as the schema: it fills in and leaves out", () => {
  assert.deepEqual(threeVersions.decode({ total: 7, unknown: 1 }, 3), {
    total: 7,
    currency: "EUR",
  });
});

test("decode() reads back what validate() returned", () => {
  const stored = threeVersions.validate({ total: 7 });
  assert.deepEqual(threeVersions.decode(stored, 3), stored);
});

test("decode() without a schema returns the stored value", () => {
  const definition = defineEvent<OrderPlaced>({ name: "order", kind: "F:001" });
  const stored = { totalCents: 1 };
  assert.equal(definition.decode(stored, 1), stored);
});

function decodeErrorOf(act: () => unknown): DecodeError {
  try {
    act();
  } catch (error) {
    assert.ok(error instanceof DecodeError);
    assert.equal(error.code, "DECODE");
    return error;
  }
  assert.fail("it was decoded");
}

test("decode() refuses a payload from the future", () => {
  const error = decodeErrorOf(() => threeVersions.decode({ total: 1 }, 4));
  assert.equal(error.reason, "FutureVersion");
  assert.deepEqual(
    [error.event, error.kind, error.version, error.storedVersion],
    ["order", 0xf001, 3, 4],
  );
});

test("decode() names the step that failed", () => {
  const failure = new Error("no amount");
  const definition = defineEvent({
    name: "order",
    kind: "F:001",
    version: 3,
    upcast: {
      1: (v) => v,
      2: () => {
        throw failure;
      },
    },
  });
  const error = decodeErrorOf(() => definition.decode({}, 1));
  assert.equal(error.reason, "UpcastFailed");
  assert.equal(error.storedVersion, 2);
  assert.equal(error.cause, failure);
});

test("decode() refuses a step that returns a promise", async () => {
  const definition = defineEvent({
    name: "order",
    kind: "F:001",
    version: 2,
    upcast: { 1: () => Promise.reject(new Error("nobody waits for me")) },
  });
  const error = decodeErrorOf(() => definition.decode({}, 1));
  assert.equal(error.reason, "UpcastFailed");
  assert.match(error.message, /returned a promise/);
  await new Promise((resolve) => setTimeout(resolve, 5));
});

test("decode() says why a stored payload is not valid", () => {
  const error = decodeErrorOf(() => threeVersions.decode({ total: "7" }, 3));
  assert.equal(error.reason, "Invalid");
  assert.ok(error.cause instanceof ValidationError);
  assert.deepEqual(error.cause.issues, [{ message: "expected a number", path: ["total"] }]);
  assert.match(error.message, /total: expected a number$/);
});

test("decode() reports a schema that throws as invalid", () => {
  const failure = new Error("broken schema");
  const definition = defineEvent({
    name: "order",
    kind: "F:001",
    schema: schemaOf<unknown>(() => {
      throw failure;
    }),
  });
  assert.equal(decodeErrorOf(() => definition.decode({}, 1)).cause, failure);
});

test("a DecodeError about another kind shows both", () => {
  const error = new DecodeError("KindMismatch", {
    definition: threeVersions,
    storedVersion: 1,
    foundKind: EventKind.DATA,
  });
  assert.equal(error.foundKind, 0x1000);
  assert.equal(
    error.message,
    'Cannot decode "order": the event has kind 0x1000, and the definition 0xF001',
  );
});

test("an EventRegistry takes the same definition twice, and no other of its kind", () => {
  const registry = new EventRegistry();
  const other = defineEvent({ name: "other", kind: "F:001" });
  registry.add(threeVersions);
  registry.add(threeVersions);
  assert.equal(registry.size, 1);
  assert.throws(() => registry.add(other), (error) => {
    assert.ok(error instanceof EventRegistryError);
    assert.deepEqual(error.collisions, [{ kind: 0xf001, first: "order", second: "other" }]);
    return true;
  });
  assert.equal(registry.get(threeVersions.kind), threeVersions);
  assert.equal(registry.get(EventKind.DATA), undefined);
  assert.deepEqual([...registry], [threeVersions]);
});

test("checkDefinitions() names every collision, ordered by kind", () => {
  const define = (name: string, kind: string) => defineEvent({ name, kind });
  const [a, b, c, d] = [
    define("a", "F:002"),
    define("b", "F:002"),
    define("c", "F:002"),
    define("d", "1:001"),
  ];
  checkDefinitions([a, d, a]);
  assert.throws(() => checkDefinitions([a, b, c, d, define("e", "1:001")]), (error) => {
    assert.ok(error instanceof EventRegistryError);
    assert.deepEqual(error.collisions, [
      { kind: 0x1001, first: "d", second: "e" },
      { kind: 0xf002, first: "a", second: "b" },
      { kind: 0xf002, first: "a", second: "c" },
    ]);
    return true;
  });
});

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true
  : false;

test("types come from the schema, or from the type that was named", () => {
  const inferred = defineEvent({ name: "order", kind: "F:001", schema: orderSchema });
  const _input: Same<EventInput<typeof inferred>, { total: number; currency?: string }> = true;
  const _output: Same<EventOutput<typeof inferred>, { total: number; currency: string }> = true;
  const named = defineEvent<OrderPlaced>({ name: "order", kind: "F:001" });
  const _named: Same<EventInput<typeof named>, OrderPlaced> = true;
  const _decoded: Same<EventOutput<typeof named>, OrderPlaced> = true;
  const unnamed = defineEvent({ name: "order", kind: "F:001" });
  const _unnamed: Same<EventInput<typeof unnamed>, unknown> = true;
  const definitions: EventDefinition[] = [inferred, named, unnamed];
  assert.equal(definitions.length, 3);

  // @ts-expect-error the payload has another shape
  assert.throws(() => inferred.validate({ sum: 1 }), ValidationError);
  // @ts-expect-error the payload has another shape
  named.validate({ total: 1 });
});

test("a schema that does not accept what it returns does not compile", () => {
  const dateOfText = schemaOf<string, Date>((value) => ({ value: new Date(String(value)) }));
  // @ts-expect-error a Date is stored, and the schema reads text
  defineEvent({ name: "a", kind: "F:001", schema: dateOfText });
  const trimmed = schemaOf<string, string>((value) => ({ value: String(value).trim() }));
  defineEvent({ name: "a", kind: "F:001", schema: trimmed });
});
