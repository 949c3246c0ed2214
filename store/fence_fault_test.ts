// Fences on a disk that fails and in a process that dies: at every change of the files, whatever was
// committed is seen, nothing that was cancelled or left open is, and the store goes on.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { StoreFs } from "../platform/fs.ts";
import { MemoryFs } from "../platform/memory.ts";
import { powerCuts, type Refusal, refusing, watchedFs } from "../tests/support/changing_fs.ts";
import { everyWay } from "../tests/support/every_way.ts";
import {
  DIR,
  item,
  KIND,
  openReader,
  openStore,
  payloadsOf,
  USER,
} from "../tests/support/journal.ts";
import { StoreIoError, WriterCrashedError } from "./errors.ts";
import type { Store } from "./store.ts";
import type { StoreOptions } from "./store_options.ts";

/** What is done, one after the other: what of it should be seen has a name in capitals. */
const DONE = [
  { type: "plain", payloads: ["A"] },
  { type: "commit", payloads: ["B0", "B1", "B2"] },
  { type: "cancel", payloads: ["c0", "c1", "c2"] },
  { type: "plain", payloads: ["D"] },
  { type: "cancel", payloads: ["e0", "e1", "e2"] },
  { type: "commit", payloads: ["F0", "F1", "F2"] },
  { type: "batch", payloads: ["G0", "G1"] },
] as const;
type Deed = (typeof DONE)[number];

function does(store: Store, { type, payloads }: Deed): void {
  if (type === "plain") return void store.append(USER, KIND, payloads[0]);
  if (type === "batch") return void store.appendBatch(payloads.map((payload) => item(payload)));
  using fence = store.beginFence();
  fence.append(USER, KIND, payloads[0], { lane: 1 });
  fence.appendBatch(payloads.slice(1).map((payload) => item(payload)));
  if (type === "commit") fence.commit();
  else fence.cancel();
}

function seenOf({ type, payloads }: Deed): readonly string[] {
  return type === "cancel" ? [] : payloads;
}

const FORMS: readonly (readonly [string, StoreOptions])[] = [
  ["one segment, no sync", {}],
  ["small segments, a sync for each event", { segmentMaxBytes: 700, sync: { everyNEvents: 1 } }],
  [
    "small segments with every index",
    {
      segmentMaxBytes: 900,
      sync: { everyNEvents: 3 },
      coldStart: { indexFile: true, footers: true, saveEveryNEvents: 4 },
    },
  ],
];

for (const [form, options] of FORMS) {
  for (const refusal of ["once", "once, too late", "from then on"] as const) {
    test(`every file operation among fences fails ${refusal}: ${form}`, { timeout: 60_000 }, () => {
      const refused = new Set<string>();
      for (let number = 0;; number++) {
        const op = withRefusal(number, refusal, options);
        if (op === undefined) break;
        refused.add(op);
      }
      assert.ok(refused.has("writeAt") && refused.has("sync"), [...refused].join());
    });
  }

  test(`a process that dies at every change among fences: ${form}`, () => {
    const fs = new MemoryFs();
    openStore(fs, options).close();
    const acknowledged: string[] = [];
    let doubtful: readonly string[] = [];
    const images: { image: MemoryFs; about: string; certain: string[]; all: string[] }[] = [];
    const watched = watchedFs(fs, ({ op, path }, run) => {
      const about = `${images.length}: before ${op} ${path}`;
      const certain = [...acknowledged];
      images.push({ image: fs.snapshot(), about, certain, all: [...certain, ...doubtful] });
      return run();
    });
    const store = openStore(watched, options);
    for (const deed of DONE) {
      doubtful = seenOf(deed);
      does(store, deed);
      acknowledged.push(...doubtful);
      doubtful = [];
    }
    store.beginFence().append(USER, KIND, "open");
    store.close();
    assert.deepEqual(look(fs), ["A", "B0", "B1", "B2", "D", "F0", "F1", "F2", "G0", "G1"]);
    assert.ok(images.length > 20, `${images.length} images`);
    for (const [i, { image, about, certain, all }] of images.entries()) {
      const found = look(image);
      assert.deepEqual(found, found.length > certain.length ? all : certain, about);
      if (i % 9 > 0) continue;
      everyWay(image, (reader) => assert.deepEqual(payloadsOf(reader), found, about));
    }
  });

  test(`a power cut at every change among fences: ${form}`, () => {
    const fs = new MemoryFs();
    openStore(fs, options).close();
    const images = powerCuts(fs, DIR, (watched) => {
      const store = openStore(watched, options);
      for (const deed of DONE) does(store, deed);
      store.beginFence().append(USER, KIND, "open");
      store.close();
    });
    const prefixes = new Set([""]);
    let prefix = "";
    for (const deed of DONE) {
      prefixes.add(prefix += seenOf(deed).map((name) => `${name} `).join(""));
    }
    for (const [i, image] of images.entries()) {
      const found = look(image).map((name) => `${name} `).join("");
      assert.ok(prefixes.has(found), `image ${i}: ${found}`);
    }
  });
}

/** Says which operation was refused, or `undefined` when there are not so many. */
function withRefusal(number: number, refusal: Refusal, options: StoreOptions): string | undefined {
  const inner = new MemoryFs();
  openStore(inner, options).close();
  const guard = refusing(inner, number, refusal);
  let store = openStore(guard.fs, options);
  guard.isArmed = true;
  const seen: string[] = [];
  const about = () => `${number}: ${refusal}, ${guard.refused()?.op} ${guard.refused()?.path}`;
  for (const deed of DONE) {
    // One that fails is done again: the disk refuses once.
    for (let attempt = 0; attempt < 2; attempt++) {
      try {
        does(store, deed);
        seen.push(...seenOf(deed));
        break;
      } catch (error) {
        assert.ok(error instanceof StoreIoError || error instanceof WriterCrashedError, about());
        assert.deepEqual(payloadsOf(store), seen, about());
        if (refusal === "from then on") guard.isArmed = false;
        const stopped = error instanceof WriterCrashedError;
        if (!stopped) {
          // Refused and cancelled by its own dispose: the store is as it was.
          store.append(USER, KIND, `after ${deed.payloads[0]}`);
          seen.push(`after ${deed.payloads[0]}`);
          continue;
        }
        assert.throws(() => store.close(), WriterCrashedError);
        store = openStore(guard.fs, options);
        const found = payloadsOf(store);
        const all = [...seen, ...seenOf(deed)];
        assert.deepEqual(found, found.length > seen.length ? all : seen, about());
        if (found.length === seen.length) continue;
        seen.push(...seenOf(deed));
        break;
      }
    }
    assert.deepEqual(payloadsOf(store), seen, about());
  }
  const refused = guard.refused();
  guard.isArmed = false;
  assert.deepEqual(look(inner), seen, about());
  store.close();
  if (number % 13 > 0) assert.deepEqual(look(inner), seen, about());
  else everyWay(inner, (reader) => assert.deepEqual(payloadsOf(reader), seen, about()));
  return refused?.op;
}

function look(fs: StoreFs): string[] {
  using reader = openReader(fs);
  return payloadsOf(reader) as string[];
}
