/** A realm that owns watermarks, and one that waits for those of another. */
import { wireToParent } from "../../../platform/realm.ts";
import { runtime } from "../../../platform/runtime.ts";
import { StoreError } from "../../errors.ts";
import type { WatermarkKind } from "../frontier_view.ts";
import { SharedFrontier } from "../shared_frontier.ts";
import { Watermarks } from "../watermarks.ts";

/** What it can be told to do. */
export type RealmTask =
  /** Own watermarks; answers with their memory. */
  | { type: "own" }
  /** Append until the word is 1, so that every point has the wall time {@linkcode wallOf} its sequence. */
  | { type: "hammer"; stop: SharedArrayBuffer; laneCount: number }
  /** Append one event for each that becomes visible there, and begin with one of them. */
  | { type: "play"; memory: SharedArrayBuffer; rounds: number; begins: boolean }
  /** Block; answers how it ended. */
  | {
    type: "block";
    memory: SharedArrayBuffer;
    kind: WatermarkKind;
    target: number;
    timeoutMs: number;
    lane?: number;
  }
  /** Block until something is visible; answers for how long. */
  | { type: "park"; memory: SharedArrayBuffer; timeoutMs: number };

/** So that the two halves of a point can be told to belong together. The test knows it too. */
function wallOf(sequence: number): number {
  return sequence * 3 + 1;
}

function hammer(watermarks: Watermarks, stop: SharedArrayBuffer, laneCount: number): void {
  const stopped = new Int32Array(stop);
  const group = [0, 1, 1, 2].map((lane) => ({ lane }));
  let spun = 0;
  for (let sequence = 1; Atomics.load(stopped, 0) === 0;) {
    for (let i = 0; i < 200; i++) {
      const lane = sequence % laneCount;
      if (i % 7 === 0) {
        // A group has one wall time, so it is that of its last event, on one lane.
        for (const item of group) item.lane = lane;
        watermarks.appendGroup(group, 4, wallOf(sequence + 3), sequence);
        sequence += 4;
      } else {
        watermarks.append(lane, wallOf(sequence), sequence);
        sequence++;
      }
      if (i % 20 === 0) watermarks.synced();
      if (i % 50 === 0) watermarks.setApplied(wallOf(sequence - 1), sequence - 1);
      // A real append takes longer than this.
      for (let spin = 0; spin < 300; spin++) spun = (spun * 31 + spin) | 0;
    }
  }
}

function play(watermarks: Watermarks, task: RealmTask & { type: "play" }): void {
  const other = new SharedFrontier(task.memory);
  const kinds: WatermarkKind[] = ["visible", "accepted", "written", "emitted"];
  for (let round = 1; round <= task.rounds; round++) {
    const kind = kinds[round % kinds.length];
    if (task.begins) watermarks.append(0, round, round);
    other.blockUntil(kind, round, { timeoutMs: 60_000, lane: round % 2 === 0 ? 0 : undefined });
    if (!task.begins) watermarks.append(0, round, round);
  }
}

function block({ memory, kind, target, timeoutMs, lane }: RealmTask & { type: "block" }): string {
  try {
    const options = lane === undefined ? { timeoutMs } : { timeoutMs, lane };
    new SharedFrontier(memory).blockUntil(kind, target, options);
    return "there";
  } catch (error) {
    return error instanceof StoreError ? error.code : String(error);
  }
}

const wire = wireToParent();
let watermarks: Watermarks | undefined;
wire.listen((message) => {
  const task = message as RealmTask;
  if (task.type === "own") {
    watermarks = new Watermarks(runtime);
    wire.post(watermarks.memory);
  } else if (task.type === "hammer") {
    hammer(watermarks as Watermarks, task.stop, task.laneCount);
    wire.post("done");
  } else if (task.type === "play") {
    play(watermarks as Watermarks, task);
    wire.post("done");
  } else if (task.type === "block") {
    wire.post(block(task));
  } else {
    const frontier = new SharedFrontier(task.memory);
    const startUs = runtime.clock.monotonicUs();
    frontier.block(frontier.visibilityEpoch, task.timeoutMs);
    wire.post(runtime.clock.monotonicUs() - startUs);
  }
});
wire.post("ready");
