import assert from "node:assert/strict";
import { test } from "node:test";
import { parseOptions, UsageError } from "./options.ts";

const WORKLOADS = ["append", "get"];

test("parseOptions() reads what the help says", () => {
  const options = parseOptions(
    ["--quick", "--only", "append, get", "--runtime", "bun", "--json", "out.json", "--dir", "d"],
    WORKLOADS,
  );
  assert.equal(options.quick, true);
  assert.deepEqual(options.only, ["append", "get"]);
  assert.equal(options.runtime, "bun");
  assert.equal(options.json, "out.json");
  assert.equal(options.dir, "d");
});

test("parseOptions() takes both runtimes, all workloads and the full size otherwise", () => {
  const options = parseOptions([], WORKLOADS);
  assert.equal(options.runtime, undefined);
  assert.equal(options.only, undefined);
  assert.equal(options.profile, undefined);
  assert.equal(options.size.events, 200_000);
  assert.ok(options.size.slices >= 5);
});

test("parseOptions() believes the last of two flags, as a parent needs it", () => {
  assert.equal(parseOptions(["--json", "a", "--json", "b"], WORKLOADS).json, "b");
  assert.equal(parseOptions(["--events", "1000", "--events", "2000"], []).size.events, 2000);
});

test("parseOptions() refuses what makes no sense", () => {
  for (
    const [args, message] of [
      [["--fast"], /fast/],
      [["--runtime", "node"], /there is no runtime "node": deno or bun/],
      [["--only", "append,put"], /there is no workload "put": append, get/],
      [["--profile", "put"], /there is no workload "put"/],
      [["--events", "12"], /--events 12 is not a whole number of at least 1000/],
      [["--events", "many"], /--events many is not a whole number/],
      [["append"], /append/],
    ] as const
  ) {
    assert.throws(() => parseOptions(args, WORKLOADS), (error) => {
      assert.ok(error instanceof UsageError);
      assert.match(error.message, message);
      return true;
    });
  }
});
