import assert from "node:assert/strict";
import { test } from "node:test";
import { AtLeastOnce, mintAtLeastOnce } from "../delivery/witness.ts";
import * as surface from "../mod.ts";

test("O-05 the package exports the witness, and nothing that makes one", () => {
  assert.equal(surface.AtLeastOnce, AtLeastOnce);
  const exported: unknown[] = Object.values(surface);
  assert.equal(exported.includes(mintAtLeastOnce), false);
  assert.deepEqual(Object.keys(surface).filter((name) => /mint/i.test(name)), []);
});
