// Spec 2.3, and what section 2 says of the options that exist.
import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { MemoryFs } from "../platform/memory.ts";
import { DIR, manualClock, openIn, ORDER, PLACED } from "../tests/support_api/journal.ts";
import { spiedFs } from "../tests/support_api/spied_fs.ts";
import { ConfigurationError } from "./errors.ts";
import { SigningKey } from "./receipt.ts";
import { Store } from "./store.ts";
import type { StoreOptions } from "./store_options.ts";

/** Every numeric option with its least and its greatest value. */
const RANGES: readonly (readonly [option: string, min: number, max: number])[] = [
  ["segmentMaxBytes", 1, 2 ** 31],
  ["fdBudget", 1, 65_536],
  ["singleAppendMaxBytes", 1, 64 << 20],
  ["batch.maxSize", 1, 4096],
  ["batch.maxBytes", 1, 16 << 20],
  ["sync.everyNEvents", 0, 2 ** 32 - 1],
];

function withOption(option: string, value: unknown): StoreOptions {
  const [name, part] = option.split(".");
  return part === undefined ? { [name]: value } : { [name]: { [part]: value } };
}

function assertRefused(options: StoreOptions, option: string): void {
  for (const open of [Store.open, Store.openReadOnly]) {
    const fs = new MemoryFs();
    assert.throws(() => open(DIR, { fs, ...options }), (error) => {
      assert.ok(error instanceof ConfigurationError, String(error));
      assert.equal(error.code, "CONFIGURATION");
      assert.equal(error.option, option);
      return true;
    });
    assert.equal(fs.stat(DIR), undefined, "nothing was touched");
  }
}

test("open() refuses numbers outside the range of an option, and touches nothing", () => {
  for (const [option, min, max] of RANGES) {
    for (const value of [min - 1, max + 1, 1.5, NaN, Infinity, "10", null, 10n]) {
      assertRefused(withOption(option, value), option);
    }
  }
});

test("open() accepts the least and the greatest number of every option", () => {
  for (const [option, min, max] of RANGES) {
    for (const value of [min, max]) {
      // One byte is too little for the payload of the store's own events.
      if (option === "singleAppendMaxBytes" && value === min) continue;
      using store = openIn(new MemoryFs(), withOption(option, value));
      assert.equal(store.append(ORDER, PLACED, 1).clock, 0, `${option} ${value}`);
    }
  }
});

test("a limit for appends does not apply to what the store records about itself", () => {
  // What went wrong: a small `singleAppendMaxBytes`, which the options allow, made every open fail,
  // because the report of the open is an event too. A limit is about what callers append.
  const fs = new MemoryFs();
  using store = openIn(fs, { singleAppendMaxBytes: 1 });
  assert.equal(store.append(ORDER, PLACED, 1).clock, 0);
  assert.throws(() => store.append(ORDER, PLACED, "ab"), { code: "TOO_LARGE", limit: 1 });
});

test("open() refuses words that an option does not know", () => {
  assertRefused({ chainVerification: "full" as "crc" }, "chainVerification");
  assertRefused({ signingPolicy: "always" as "required" }, "signingPolicy");
  assertRefused({ sync: { mode: "fsync" as "all" } }, "sync.mode");
  assertRefused({ tailPolicy: "ignore" as "repair" }, "tailPolicy");
});

test("open() refuses options that there are not, and says which there are", () => {
  assertRefused({ segmentMaxByte: 1 } as StoreOptions, "segmentMaxByte");
  assertRefused({ sync: { everyNEvent: 1 } } as unknown as StoreOptions, "sync.everyNEvent");
  assertRefused({ batch: { size: 1 } } as unknown as StoreOptions, "batch.size");
  assertRefused({ batch: 5 } as unknown as StoreOptions, "batch");
  assert.throws(
    () => openIn(new MemoryFs(), { fdBudgets: 1 } as StoreOptions),
    /there is no such option; there are fdBudget, chainVerification/,
  );
});

test("open() refuses keys that are none", () => {
  assertRefused({ signingKeys: [new Uint8Array(32) as unknown as SigningKey] }, "signingKeys");
  assertRefused({ verifyingKeys: [new Uint8Array(31)] }, "verifyingKeys");
  assertRefused({ verifyingKeys: ["key" as unknown as Uint8Array] }, "verifyingKeys");
  for (const size of [0, 31, 33]) {
    assert.throws(() => SigningKey.fromSeed(new Uint8Array(size)), {
      code: "CONFIGURATION",
      option: "signingKeys",
    });
  }
});

test("required signing without a key refuses to open, and opens with one", () => {
  assertRefused({ signingPolicy: "required" }, "signingPolicy");
  assertRefused(
    { signingPolicy: "required", verifyingKeys: [new Uint8Array(32)] },
    "signingPolicy",
  );
  const key = SigningKey.fromSeed(new Uint8Array(32).fill(1));
  using store = openIn(new MemoryFs(), { signingPolicy: "required", signingKeys: [key] });
  assert.deepEqual(store.verifyReceipt(store.append(ORDER, PLACED, 1)), {
    valid: true,
    outcome: "signed",
  });
});

// "Each setter actually reaches the runtime", one test for each that nothing else shows.

test("segmentMaxBytes decides when segments roll, and a file exceeds it by one event at most", () => {
  const fs = new MemoryFs();
  {
    const coldStart = { footers: false };
    using store = openIn(fs, { segmentMaxBytes: 4000, coldStart });
    for (let i = 0; i < 60; i++) store.append(ORDER, PLACED, new Uint8Array(100));
    assert.ok(store.stats().segmentCount > 4, `${store.stats().segmentCount} segments`);
  }
  for (const { name } of fs.list(DIR)) {
    if (!name.endsWith(".fbat")) continue;
    const { size } = fs.stat(`${DIR}/${name}`)!;
    assert.ok(size < 4000 + 400, `${name} has ${size} bytes`);
  }
});

test("fdBudget bounds the files that are open for reading", () => {
  const inner = new MemoryFs();
  {
    using store = openIn(inner, { segmentMaxBytes: 1 });
    for (let i = 0; i < 20; i++) store.append(ORDER, PLACED, { i });
  }
  for (const fdBudget of [1, 2]) {
    let openCount = 0;
    let openMax = 0;
    const fs = spiedFs(inner, (op) => {
      if (op === "open") openMax = Math.max(openMax, ++openCount);
      if (op === "close") openCount--;
    });
    using reader = Store.openReadOnly(DIR, { fs, fdBudget });
    openMax = openCount;
    const payloads = reader.query({ kind: PLACED }).map(({ payload }) => payload);
    assert.deepEqual(payloads, Array.from({ length: 20 }, (_, i) => ({ i })));
    // The next file is opened before the oldest is let go.
    assert.ok(openMax <= fdBudget + 1, `${openMax} files were open`);
  }
});

test("sync.mode is what files are asked for", () => {
  for (const mode of ["all", "data"] as const) {
    const modes: unknown[] = [];
    const inner = new MemoryFs();
    const fs = new Proxy(inner, {
      get(target, name) {
        const value = Reflect.get(target, name, target);
        if (name !== "open") return typeof value === "function" ? value.bind(target) : value;
        return (...args: Parameters<MemoryFs["open"]>) => {
          const file = target.open(...args);
          const sync = file.sync.bind(file);
          file.sync = (asked) => {
            modes.push(asked);
            sync(asked);
          };
          return file;
        };
      },
    });
    const store = openIn(fs, { sync: { mode } });
    modes.length = 0;
    store.append(ORDER, PLACED, 1, { durability: "durable" });
    assert.deepEqual(modes, [mode]);
    store.close();
  }
});

test("events given at open are checked before anything is touched", () => {
  const fs = new MemoryFs();
  const definition = (name: string) => ({
    name,
    kind: PLACED,
    version: 1,
    validate: (payload: unknown) => payload,
    decode: (payload: unknown) => payload,
  });
  assert.throws(() => openIn(fs, { events: [definition("a"), definition("b")] }), {
    code: "EVENT_REGISTRY",
    collisions: [{ kind: PLACED, first: "a", second: "b" }],
  });
  assert.equal(fs.stat(DIR), undefined);
});

test("the observer is called once after a successful open, and what it throws is its own affair", () => {
  const fs = new MemoryFs();
  for (const open of [Store.open, Store.openReadOnly]) {
    const seen: unknown[] = [];
    using store = open(DIR, {
      fs,
      openReportObserver(report) {
        seen.push(report);
        throw new Error("an onlooker trips");
      },
    });
    assert.deepEqual(seen, [store.openReport]);
  }
  let called = false;
  const openReportObserver = () => called = true;
  assert.throws(() => openIn(fs, { openReportObserver, fdBudget: 0 }), { code: "CONFIGURATION" });
  assert.equal(called, false);
});

test("clock and entropy are where time and chance come from", () => {
  const clock = manualClock(5_000_000);
  let drawn = 0;
  const entropy = {
    fill(target: Uint8Array) {
      drawn++;
      target.fill(0xab);
    },
  };
  using store = openIn(new MemoryFs(), { clock, entropy });
  const receipt = store.append(ORDER, PLACED, 1);
  assert.equal(receipt.timestampUs, 5_000_000);
  // 5,000 ms is 0x1388; everything else is chance.
  assert.equal(receipt.eventId, "00000000-1388-7bab-abab-abababababab");
  assert.ok(drawn > 0);
});

test("a print of a store shows no secret of its keys", () => {
  const seed = Uint8Array.from({ length: 32 }, (_, i) => 200 + i);
  const key = SigningKey.fromSeed(seed);
  using store = openIn(new MemoryFs(), { signingKeys: [key] });
  for (const value of [key, store, { signingKeys: [key] }]) {
    const text = inspect(value, { depth: 5, showHidden: true, maxArrayLength: null }) +
      JSON.stringify(value);
    assert.ok(!text.includes("200, 201, 202"), text);
    assert.ok(!text.replace(/\s/g, "").includes("200,201,202"), text);
    assert.ok(!text.toLowerCase().includes("c8c9cacb"), text);
  }
});
