// A simulated disk against the file system in memory, operation by operation; and its history against itself.
//
//   BATPAK_SEED=42 deno task test sim/sim_fs_model_test.ts
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import type { StoreFile, StoreFs } from "../platform/fs.ts";
import { IoFault } from "../platform/fs.ts";
import { MemoryFs } from "../platform/memory.ts";
import { CRASH_POLICIES } from "./crash_images.ts";
import { SimFs } from "./sim_fs.ts";
import { SimRandom } from "./sim_random.ts";
import { describeStep, digestTrace, digestTree } from "./sim_trace.ts";

const SEED = Number(process.env.BATPAK_SEED ?? Date.now() % 1_000_000);
const RUNS = 60;

/** Files that are open, by where they were opened: the same on both disks. */
type Handles = StoreFile[];

/** One operation, drawn once and done to each disk. Says what came of it. */
type Action = (fs: StoreFs, handles: Handles) => unknown;

const NAMES = ["/a", "/b", "/d/a", "/d/b", "/d/e/a", "/none/a", "/d", "/d/e"];

function draw(random: SimRandom): Action {
  const path = random.pick(NAMES);
  const other = random.pick(NAMES);
  const size = random.below(20);
  const position = random.below(20);
  const which = random.below(1_000);
  const bytes = new Uint8Array(size).fill(65 + random.below(26));
  const onHandle = (use: (file: StoreFile) => unknown): Action => (_fs, handles) =>
    handles.length === 0 ? "no handle" : use(handles[which % handles.length]);
  switch (random.below(18)) {
    case 0:
      return (fs) => fs.createDirAll(path);
    case 1:
      return (fs, handles) => void handles.push(fs.open(path, "createNew"));
    case 2:
      return (fs, handles) => void handles.push(fs.open(path, which % 2 === 0 ? "read" : "write"));
    case 3:
    case 4:
      return onHandle((file) => file.writeAt(bytes, 0, size, position));
    case 5:
      return onHandle((file) => file.append(bytes));
    case 6:
      return onHandle((file) => file.resize(size));
    case 7:
      return onHandle((file) => file.sync("data"));
    case 8:
      return onHandle((file) => {
        const target = new Uint8Array(20);
        return [file.readAt(target, 0, size, position), target.join()];
      });
    case 9:
      return (fs) => fs.rename(path, other);
    case 10:
      return (fs) => fs.removeIfPresent(path);
    case 11:
      return (fs) => fs.syncDir(path);
    case 12:
      return (fs) => fs.publish(path, bytes);
    case 13:
      return (fs) => fs.copy(path, other);
    case 14:
      return (fs) => fs.link(path, other);
    case 15:
      return (fs) => fs.clone(path, other, which % 2 === 0 ? "copy" : "hardlink");
    case 16:
      return (fs) => which % 5 === 0 ? fs.removeDirAll(path) : fs.stat(path);
    default:
      return (fs) => fs.readFile(path, 1_000).join();
  }
}

function outcome(action: Action, fs: StoreFs, handles: Handles): unknown {
  try {
    return action(fs, handles);
  } catch (error) {
    if (!(error instanceof IoFault)) throw error;
    return `${error.op} ${error.code}`;
  }
}

test("a simulated disk answers like the one in memory", () => {
  console.log(`sim_fs_model_test: BATPAK_SEED=${SEED}`);
  for (let run = 0; run < RUNS; run++) {
    const random = new SimRandom(SEED).stream(`run ${run}`);
    const sim = new SimFs();
    const memory = new MemoryFs();
    const handles: [Handles, Handles] = [[], []];
    for (let i = 0; i < 120; i++) {
      const action = draw(random);
      const expected = outcome(action, memory, handles[1]);
      const where = `seed ${SEED} run ${run} operation ${i}`;
      assert.deepEqual(outcome(action, sim, handles[0]), expected, where);
      if (i % 20 === 19) assert.equal(digestTree(sim), digestTree(memory), where);
    }
    // Everything that was asked for is kept by this crash.
    const expected = digestTree(memory);
    assert.equal(digestTree(sim.snapshot()), expected);
    assert.equal(digestTree(sim.crash("processKill")), expected);
  }
});

test("a crash in the past is the crash there would have been", () => {
  console.log(`sim_fs_model_test: BATPAK_SEED=${SEED}`);
  for (let run = 0; run < RUNS / 2; run++) {
    const random = new SimRandom(SEED).stream(`past ${run}`);
    const actions = Array.from({ length: 50 }, () => draw(random));
    const whole = new SimFs();
    const handles: Handles = [];
    // How long the trace was behind each operation.
    const positions = actions.map((action) => {
      outcome(action, whole, handles);
      return whole.trace.length;
    });
    for (const count of [0, 7, 20, 33, 49]) {
      const part = new SimFs();
      const partHandles: Handles = [];
      for (const action of actions.slice(0, count + 1)) outcome(action, part, partHandles);
      const position = positions[count];
      for (const policy of CRASH_POLICIES) {
        const options = { position, limit: 8 };
        const now = [...part.crashImages(policy, options)].map((image) => digestTree(image));
        const then = [...whole.crashImages(policy, options)].map((image) => digestTree(image));
        assert.deepEqual(then, now, `seed ${SEED} run ${run} operation ${count} ${policy}`);
      }
    }
  }
});

test("what every power cut leaves is there after each of them", () => {
  console.log(`sim_fs_model_test: BATPAK_SEED=${SEED}`);
  let images = 0;
  for (let run = 0; run < RUNS / 2; run++) {
    const random = new SimRandom(SEED).stream(`durable ${run}`);
    const fs = new SimFs();
    // Nobody else touches this one.
    fs.publish("/kept", new Uint8Array([1, 2, 3]));
    const log = fs.open("/kept", "write");
    const handles: Handles = [];
    for (let i = 0; i < 40; i++) {
      outcome(draw(random), fs, handles);
      log.append(new Uint8Array([4]));
    }
    for (
      const policy of ["ordered", "anyPrefix", "reordered", "subset", "torn", "garbage"] as const
    ) {
      for (const image of fs.crashImages(policy, { limit: 10 })) {
        images++;
        const bytes = image.readFile("/kept", 1_000);
        const trace = () => fs.trace.map(describeStep).join("\n");
        assert.deepEqual([...bytes.subarray(0, 3)], [1, 2, 3], `seed ${SEED}\n${trace()}`);
      }
    }
  }
  assert.ok(images > 100, `${images} images`);
});

test("the same operations leave the same trace and the same images", () => {
  const digests = () => {
    const random = new SimRandom(12).stream("same");
    const fs = new SimFs({ seed: 12, faults: { writeError: 0.1, syncLost: 0.1, failAfter: 0.05 } });
    const handles: Handles = [];
    for (let i = 0; i < 300; i++) outcome(draw(random), fs, handles);
    const images = CRASH_POLICIES.map((policy) =>
      [...fs.crashImages(policy, { limit: 5 })].map((image) => digestTree(image)).join(" ")
    );
    return [digestTrace(fs.trace), `${fs.faultsFired}`, ...images];
  };
  assert.deepEqual(digests(), digests());
});
