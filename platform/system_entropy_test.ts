import assert from "node:assert/strict";
import { test } from "node:test";
import { SystemEntropy } from "./system_entropy.ts";

test("SystemEntropy fills the whole target and nothing around it, whatever the size", () => {
  const entropy = new SystemEntropy();
  for (const size of [0, 1, 16, 65_535, 65_536, 65_537, 200_000]) {
    const around = new Uint8Array(size + 2);
    entropy.fill(around.subarray(1, size + 1));
    assert.equal(around[0], 0);
    assert.equal(around[size + 1], 0);
    // A run of 64 zeros has a chance of 2⁻⁵¹²: then a part was left out.
    for (let start = 1; start + 64 <= size; start += 64) {
      assert.ok(around.subarray(start, start + 64).some((byte) => byte !== 0), `at ${start}`);
    }
  }
});

test("SystemEntropy does not repeat itself", () => {
  const entropy = new SystemEntropy();
  const seen = new Set<string>();
  for (let round = 0; round < 1_000; round++) {
    const id = new Uint8Array(16);
    entropy.fill(id);
    seen.add(id.join());
  }
  assert.equal(seen.size, 1_000);
});
