import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProfile } from "./profile.ts";

const frame = (functionName: string, path = "") => ({
  functionName,
  url: path === "" ? "" : new URL(`../../${path}`, import.meta.url).href,
});

test("formatProfile() adds up samples by function, the busiest first, and leaves out idle time", () => {
  const profile = {
    nodes: [
      { id: 1, callFrame: frame("(root)") },
      { id: 2, callFrame: frame("append", "store/store.ts") },
      { id: 3, callFrame: frame("blake3", "store/hash.ts") },
      { id: 4, callFrame: frame("append", "store/store.ts") },
      { id: 5, callFrame: frame("(idle)") },
      { id: 6, callFrame: frame("", "node_modules/.deno/a@1/node_modules/a/b.js") },
    ],
    samples: [3, 2, 3, 4, 3, 5, 1, 3, 3, 3, 3, 6],
  };
  assert.equal(
    formatProfile(profile),
    "  70.0  blake3  store/hash.ts\n" +
      "  20.0  append  store/store.ts\n" +
      "  10.0  (anonymous)  a/b.js",
  );
});

test("formatProfile() takes hit counts where there are no samples", () => {
  const profile = {
    nodes: [
      { id: 1, hitCount: 1, callFrame: frame("a") },
      { id: 2, hitCount: 3, callFrame: frame("b") },
    ],
  };
  assert.equal(formatProfile(profile), "  75.0  b\n  25.0  a");
});
