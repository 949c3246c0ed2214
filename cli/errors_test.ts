import assert from "node:assert/strict";
import { test } from "node:test";
import { ClockConflictError } from "../mod.ts";
import { errorsIn, errorToJson, ExitCode, exitCodeOf, usageError } from "./errors.ts";
import { OutputClosedError } from "./host.ts";

const conflict = new ClockConflictError({ entity: "e", lane: 0, expected: "none", actual: 3 });
const closing = new Error("Cannot close");

/** As `using` makes them: the later error has the earlier one in it. */
function suppressed(first: unknown, later: unknown): SuppressedError {
  return new SuppressedError(later, first);
}

test("errorsIn() gives the errors in the order they happened", () => {
  assert.deepEqual(errorsIn(closing), [closing]);
  assert.deepEqual(errorsIn(suppressed(conflict, closing)), [conflict, closing]);
  const third = new Error("third");
  assert.deepEqual(errorsIn(suppressed(suppressed(conflict, closing), third)), [
    conflict,
    closing,
    third,
  ]);
});

test("errorsIn() forgets a closed output beside a failure", () => {
  const closed = new OutputClosedError("closed");
  assert.deepEqual(errorsIn(suppressed(closed, closing)), [closing]);
  assert.deepEqual(errorsIn(suppressed(closed, closed)), [closed, closed]);
});

// The failure to close hid the failure before it, and every exit code was 1. Now the first one counts.
test("the first error decides what is said and the exit code, and the later ones are told", () => {
  const error = suppressed(conflict, closing);
  assert.equal(exitCodeOf(error), ExitCode.CONFLICT);
  assert.equal(exitCodeOf(suppressed(usageError("Cannot do that"), closing)), ExitCode.USAGE);
  const { code, message, later } = errorToJson(error);
  assert.deepEqual({ code, message, later }, {
    code: "CLOCK_CONFLICT",
    message: conflict.message,
    later: [{ code: "UNEXPECTED", message: "Cannot close" }],
  });
  assert.equal("later" in errorToJson(conflict), false);
});
