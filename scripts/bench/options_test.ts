import assert from "node:assert/strict";
import { test } from "node:test";
import { parseOptions, UsageError } from "./options.ts";

const NAMES = { workloads: ["append", "get", "memory"], profiles: ["append", "get", "open"] };

test("parseOptions() reads what the help says", () => {
  const options = parseOptions(
    ["--quick", "--only", "append, get", "--runtime", "bun", "--json", "out.json", "--dir", "d"],
    NAMES,
  );
  assert.equal(options.quick, true);
  assert.deepEqual(options.only, ["append", "get"]);
  assert.equal(options.runtime, "bun");
  assert.equal(options.json, "out.json");
  assert.equal(options.dir, "d");
});

test("parseOptions() takes both runtimes, all workloads and the full size otherwise", () => {
  const options = parseOptions([], NAMES);
  assert.equal(options.runtime, undefined);
  assert.equal(options.only, undefined);
  assert.equal(options.profile, undefined);
  assert.equal(options.size.events * 16, 1_000_000);
  assert.ok(options.size.slices >= 5);
});

test("parseOptions() believes the last of two flags, as a parent needs it", () => {
  assert.equal(parseOptions(["--json", "a", "--json", "b"], NAMES).json, "b");
  assert.equal(parseOptions(["--events", "1000", "--events", "2000"], NAMES).size.events, 2000);
});

test("parseOptions() refuses what makes no sense", () => {
  for (
    const [args, message] of [
      [["--fast"], /fast/],
      [["--runtime", "node"], /there is no runtime "node": deno or bun/],
      [["--only", "append,put"], /there is no workload "put": append, get, memory/],
      [["--only", "open"], /there is no workload "open"/],
      [["--profile", "memory"], /there is no profile of "memory": append, get, open/],
      [["--events", "12"], /--events 12 is not a whole number of at least 100/],
      [["--events", "many"], /--events many is not a whole number/],
      [["append"], /append/],
    ] as const
  ) {
    assert.throws(() => parseOptions(args, NAMES), (error) => {
      assert.ok(error instanceof UsageError);
      assert.match(error.message, message);
      return true;
    });
  }
});
