import assert from "node:assert/strict";
import { test } from "node:test";
import * as surface from "../mod.ts";
import {
  BatchError,
  ClockConflictError,
  ConditionConflictError,
  CorruptionError,
  defineEvent,
  HostError,
  IoFault,
  StoreError,
  StoreIoError,
  TooLargeError,
  ValidationError,
  WriterCrashedError,
} from "../mod.ts";
import { decodeError, encodeError } from "../delivery/host/error_codec.ts";

function carried<T>(error: T): T {
  return decodeError(encodeError(error)) as T;
}

/** Everything an error says, itself included. */
function facts(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const own = Object.fromEntries(
    Object.entries(error).map(([key, value]) => [key, facts(value)]),
  );
  return {
    ...own,
    type: Object.getPrototypeOf(error),
    message: error.message,
    cause: facts(error.cause),
    hasCause: Object.hasOwn(error, "cause"),
  };
}

test("decodeError() gives an instance of every error class that mod.ts exports, with its fields", () => {
  const classes = Object.values(surface as Record<string, unknown>).filter((value) =>
    typeof value === "function" && value.prototype instanceof StoreError
  ) as { name: string; prototype: StoreError }[];
  assert.ok(classes.length >= 35, `there are ${classes.length}`);
  for (const type of classes) {
    // Made without its constructor, whose arguments nobody here knows.
    const sample: Error = Object.setPrototypeOf(new Error("a message"), type.prototype);
    Object.assign(sample, { name: type.name, code: "A_CODE", fact: { list: [1, "two"] } });
    const copy = carried(sample);
    assert.equal(Object.getPrototypeOf(copy), type.prototype, type.name);
    assert.deepEqual(facts(copy), facts(sample), type.name);
  }
});

test("decodeError() gives back errors as they are thrown, causes and all", () => {
  const fault = new IoFault({ code: "ENOSPC", op: "sync", path: "/journal/1" });
  const conflict = { entity: "user:1", lane: 0, expected: "none", actual: 4 } as const;
  for (
    const error of [
      new ClockConflictError(conflict),
      new BatchError(
        3,
        new TooLargeError({ what: "an event", unit: "bytes", actual: 9, limit: 8 }),
      ),
      new StoreIoError("append", fault),
      new WriterCrashedError("sync", fault),
      new CorruptionError({ path: "/journal/1", offset: 12, reason: "zeros" }),
      new ValidationError("order", [{ message: "too small", path: ["items", 0] }]),
      new ConditionConflictError([]),
      new HostError("append", "died", "it is gone", { outcomeUnknown: true }),
      new TypeError("a type"),
      new RangeError("a range"),
      new Error("plain", { cause: undefined }),
    ]
  ) {
    const copy = carried(error);
    assert.deepEqual(facts(copy), facts(error));
    assert.ok(copy instanceof Error);
    assert.equal(String(copy), String(error));
  }
});

test("decodeError() makes the nearest thing of an error whose class it does not know", () => {
  class Unknown extends StoreError {
    override readonly name = "UnknownError";
    override readonly code = "NEVER_SKIP";
    readonly where = 7;
  }
  const ours = carried<StoreError>(new Unknown("lost"));
  assert.ok(ours instanceof StoreError);
  assert.deepEqual(
    [ours.name, ours.code, ours.message, (ours as Unknown).where],
    ["UnknownError", "NEVER_SKIP", "lost", 7],
  );
  class Foreign extends Error {
    override readonly name = "ForeignError";
  }
  const foreign = carried(new Foreign("theirs"));
  assert.ok(!(foreign instanceof StoreError));
  assert.deepEqual([foreign.name, foreign.message], ["ForeignError", "theirs"]);
});

test("encodeError() takes whatever can be thrown", () => {
  for (const thrown of ["text", 7, undefined, null, 7n, [1, [2]], { a: { type: "error" } }]) {
    assert.deepEqual(carried<unknown>(thrown), thrown);
  }
  assert.equal(carried<unknown>(Symbol("s")), "Symbol(s)");
  const circle: { self?: unknown } = {};
  circle.self = circle;
  assert.equal(typeof carried<unknown>(circle), "object");
  const deep = new Error("outside", { cause: new Error("inside") });
  (deep.cause as Error).cause = deep;
  assert.equal((carried(deep).cause as Error).message, "inside");
  const event = defineEvent({ name: "order", kind: "F:001" });
  const strange = Object.assign(new Error("odd"), { event, bytes: Uint8Array.of(1) });
  assert.deepEqual(carried(strange).bytes, Uint8Array.of(1));
});
