/**
 * What a seed stands for: a few lives of one journal, each with a disk, some acts and an end.
 *
 * A plan is plain JSON. It says everything that happens, so whoever has it needs no seed to repeat it, and
 * it can be made smaller by hand or by `shrink.ts`: every act stands for itself, and one that has nothing to
 * act on is passed over.
 *
 * Each seed also draws what it leaves out: a run that never compacts gets further with its fences than one
 * that does a little of everything.
 *
 * @module
 */

import type { CrashPolicy } from "./crash_images.ts";
import type { SimFaultPlan } from "./sim_faults.ts";
import { SimRandom } from "./sim_random.ts";

/** An event to append. */
export interface PlanEvent {
  /** Which entity, from 0. */
  readonly entity: number;
  /** Its lane. */
  readonly lane: number;
  /** Bytes of its payload, at least 8. */
  readonly size: number;
  /** The number of its idempotency key; keys come again. */
  readonly key?: number;
}

/** What a condition of an append is: one that holds, or one that does not. */
export type PlanCondition = "clock" | "wrongClock" | "nothingNew" | "somethingNew";

/** Something that is done with a store. */
export type SimAct =
  | {
    readonly do: "append";
    readonly event: PlanEvent;
    readonly durable: boolean;
    readonly condition?: PlanCondition;
  }
  | { readonly do: "batch"; readonly events: readonly PlanEvent[]; readonly durable: boolean }
  | { readonly do: "sync" }
  | { readonly do: "fence" }
  | { readonly do: "stage"; readonly events: readonly PlanEvent[] }
  | { readonly do: "endFence"; readonly end: "commit" | "cancel" }
  | {
    /** All at once, or, with `inSteps`, only begun. `keep` gives up each so-manieth event. */
    readonly do: "compact";
    readonly strategy: "merge" | "retention" | "tombstone";
    readonly keep: number;
    readonly seal: boolean;
    readonly inSteps: boolean;
  }
  | { readonly do: "compactionSteps"; readonly count: number }
  | { readonly do: "abandonCompaction" }
  | { readonly do: "prune"; readonly part: number; readonly seal: boolean }
  | {
    readonly do: "copy";
    readonly how: "snapshot" | "fork";
    readonly share: "hardlink" | "copy";
  }
  | {
    readonly do: "import";
    readonly count: number;
    readonly chunkSize: number;
    readonly durable: boolean;
  }
  | {
    /** Reads so many events behind a checkpoint, and commits that, or not. */
    readonly do: "checkpoint";
    readonly id: "app" | "user" | "all";
    readonly count: number;
    readonly commit: boolean;
  }
  | { readonly do: "read" }
  | { readonly do: "time"; readonly us: number }
  | { readonly do: "reopen" };

/** How a store is opened. */
export interface PlanOptions {
  /** Bytes of a segment. */
  readonly segmentMaxBytes: number;
  /** A sync after so many events; 0 for none. */
  readonly syncEveryNEvents: number;
  /** Whether the index file is used. */
  readonly indexFile: boolean;
  /** Whether footers are used. */
  readonly footers: boolean;
  /** The index file is saved after so many events; 0 for only at a close. */
  readonly saveEveryNEvents: number;
  /** Files that may be open at a time. */
  readonly fdBudget: number;
  /** How much an open looks at chains. */
  readonly chainVerification: "crc" | "recompute";
  /** How files are synced. */
  readonly syncMode: "data" | "all";
}

/** The disk of a life. */
export interface PlanDisk {
  /** Faults that come by themselves. */
  readonly faults: SimFaultPlan;
  /** So many bytes fit in addition to what is there. */
  readonly room?: number;
  /** So many files can be open at a time. */
  readonly openFilesMax?: number;
}

/** A crash that is looked at. */
export interface PlanCrash {
  /** What the disk is like. */
  readonly policy: CrashPolicy;
  /** When: a part of the steps that could be meant, from 0 to 1. */
  readonly at: number;
  /** Which of the images. */
  readonly seed: number;
}

/** The life of a process. */
export interface PlanLife {
  /** Its disk. */
  readonly disk: PlanDisk;
  /** What it does after it has opened the store. */
  readonly acts: readonly SimAct[];
  /** Other ends that it could have had, at any step; each is judged, and not gone on from. */
  readonly probes: readonly PlanCrash[];
  /** Its end, during its last act, or during the open when there is none. */
  readonly crash: PlanCrash;
}

/** Some lives of a journal; see the top of the file. */
export interface SimPlan {
  /** Decides what is random beyond the plan: faults, and which of several crash images. */
  readonly seed: number;
  /** How the store is opened in each life. */
  readonly options: PlanOptions;
  /**
   * So many events are there, and durable, before the first of the lives begins; without one, the first
   * life makes the journal.
   */
  readonly history: number;
  /** At least one. */
  readonly lives: readonly PlanLife[];
}

/** Everything that a run may leave out. */
const ACTS: Readonly<Record<SimAct["do"], number>> = {
  append: 30,
  batch: 12,
  sync: 6,
  fence: 5,
  stage: 8,
  endFence: 6,
  compact: 6,
  compactionSteps: 8,
  abandonCompaction: 1,
  prune: 3,
  copy: 3,
  import: 3,
  checkpoint: 8,
  read: 3,
  time: 3,
  reopen: 4,
};

/** What an honest disk may leave. */
const HONEST_POLICIES: readonly CrashPolicy[] = [
  "processKill",
  "durable",
  "ordered",
  "anyPrefix",
  "reordered",
  "subset",
  "torn",
  "garbage",
];

/** Most plans are small: more of them fit in an hour. What takes many acts is left to the others. */
const LARGE_CHANCE = 0.2;
const SMALL = { lives: 2, acts: 12, probes: 1 } as const;
const LARGE = { lives: 4, acts: 28, probes: 2 } as const;

/** The plan of a seed. */
export function planOf(seed: number): SimPlan {
  const random = new SimRandom(seed).stream("plan");
  const weights = swarmOf(random);
  const options = optionsOf(random);
  const isFaulty = random.chance(0.5);
  const history = random.chance(0.1) ? 0 : random.between(1, 6);
  const lives: PlanLife[] = [];
  const size = random.chance(LARGE_CHANCE) ? LARGE : SMALL;
  const count = random.between(1, size.lives);
  // A disk that lies is the last one: whatever comes after it proves nothing.
  const isLying = random.chance(0.15);
  for (let n = 0; n < count; n++) {
    const isLast = n === count - 1;
    const disk = diskOf(random, isFaulty, isLying && isLast);
    const acts: SimAct[] = [];
    const actCount = random.chance(0.1) ? 0 : random.between(1, size.acts);
    for (let i = 0; i < actCount; i++) acts.push(actOf(random, weights));
    const policies = isLying && isLast ? ["lying", "durable", "ordered"] as const : HONEST_POLICIES;
    const probes = Array.from(
      { length: random.between(0, size.probes) },
      () => crashOf(random, policies),
    );
    lives.push({ disk, acts, probes, crash: crashOf(random, policies) });
  }
  return { seed, options, history, lives };
}

/** Whether a plan's disk lies in this life: then only what is seen has to be true. */
export function isLying({ disk, crash, probes }: PlanLife): boolean {
  return (disk.faults.syncLie ?? 0) > 0 || (disk.faults.dirSyncLie ?? 0) > 0 ||
    [crash, ...probes].some(({ policy }) => policy === "lying");
}

/** How often each act comes; about a third of them never. */
function swarmOf(random: SimRandom): Record<SimAct["do"], number> {
  const weights: Record<string, number> = {};
  for (const [name, weight] of Object.entries(ACTS)) {
    const isOff = random.chance(0.35) && name !== "append";
    weights[name] = isOff ? 0 : weight * random.pick([0.5, 1, 1, 3]);
  }
  // Each means nothing without the other.
  if (weights.fence === 0) weights.stage = weights.endFence = 0;
  if (weights.compact === 0) weights.compactionSteps = weights.abandonCompaction = 0;
  return weights as Record<SimAct["do"], number>;
}

function optionsOf(random: SimRandom): PlanOptions {
  return {
    segmentMaxBytes: random.pick([512, 700, 900, 1500, 4000, 64 << 10]),
    syncEveryNEvents: random.pick([0, 1, 2, 3, 7, 1000]),
    indexFile: random.chance(0.8),
    footers: random.chance(0.8),
    saveEveryNEvents: random.pick([0, 0, 1, 3, 10]),
    fdBudget: random.pick([1, 2, 64]),
    chainVerification: random.chance(0.8) ? "crc" : "recompute",
    syncMode: random.chance(0.8) ? "data" : "all",
  };
}

function diskOf(random: SimRandom, isFaulty: boolean, isLying: boolean): PlanDisk {
  const faults: Record<string, number> = {};
  if (isFaulty && random.chance(0.7)) {
    for (const kind of FAULTS) {
      if (random.chance(0.3)) faults[kind] = random.pick([0.005, 0.02, 0.1]);
    }
  }
  if (random.chance(0.3)) faults.shortRead = random.pick([0.05, 0.5]);
  if (isLying && random.chance(0.7)) {
    // What was answered and not done may be gone again when one of these strikes: nobody can live there.
    delete faults.syncLost;
    delete faults.syncReverted;
    faults.syncLie = random.pick([0.1, 0.5, 1]);
    if (random.chance(0.5)) faults.dirSyncLie = random.pick([0.1, 0.5, 1]);
  }
  return {
    faults: faults as SimFaultPlan,
    ...(isFaulty && random.chance(0.1) ? { room: random.between(100, 6000) } : {}),
    ...(isFaulty && random.chance(0.05) ? { openFilesMax: random.between(2, 6) } : {}),
  };
}

const FAULTS = [
  "createError",
  "dirSyncError",
  "failAfter",
  "openError",
  "readError",
  "removeError",
  "renameError",
  "resizeError",
  "shortWrite",
  "syncLost",
  "syncReverted",
  "writeError",
] as const;

function crashOf(random: SimRandom, policies: readonly CrashPolicy[]): PlanCrash {
  // Many crashes come after the last step, not within one.
  const at = random.chance(0.25) ? 1 : random.below(1001) / 1000;
  return { policy: random.pick(policies), at, seed: random.nextU32() };
}

function eventOf(random: SimRandom): PlanEvent {
  const size = random.chance(0.1) ? random.between(200, 3000) : random.between(8, 60);
  return {
    entity: random.below(4),
    lane: random.chance(0.8) ? 0 : random.between(1, 2),
    size,
    ...(random.chance(0.4) ? { key: random.below(40) } : {}),
  };
}

function eventsOf(random: SimRandom): PlanEvent[] {
  const count = random.chance(0.1) ? random.between(5, 20) : random.between(1, 4);
  const events = Array.from({ length: count }, () => eventOf(random));
  // A batch has keys for all or for none, and no key twice.
  if (random.chance(0.7)) return events.map(({ key: _, ...event }) => event);
  const first = 100 + random.below(30);
  return events.map((event, n) => ({ ...event, key: first * 100 + n }));
}

function actOf(random: SimRandom, weights: Readonly<Record<SimAct["do"], number>>): SimAct {
  const entries = Object.entries(weights) as [SimAct["do"], number][];
  const total = entries.reduce((sum, [, weight]) => sum + weight, 0);
  let left = random.below(Math.ceil(total * 100)) / 100;
  const [name] = entries.find(([, weight]) => (left -= weight) < 0) ?? entries[0];
  switch (name) {
    case "append": {
      const condition = random.chance(0.25)
        ? random.pick<PlanCondition>(["clock", "wrongClock", "nothingNew", "somethingNew"])
        : undefined;
      const { key, ...event } = eventOf(random);
      return {
        do: name,
        // A key that is known answers whatever the condition says.
        event: condition === undefined && key !== undefined ? { ...event, key } : event,
        durable: random.chance(0.3),
        ...(condition === undefined ? {} : { condition }),
      };
    }
    case "batch":
      return { do: name, events: eventsOf(random), durable: random.chance(0.3) };
    case "stage":
      return { do: name, events: eventsOf(random).map(({ key: _, ...event }) => event) };
    case "endFence":
      return { do: name, end: random.chance(0.65) ? "commit" : "cancel" };
    case "compact":
      return {
        do: name,
        strategy: random.pick(["merge", "merge", "retention", "tombstone"]),
        keep: random.between(2, 5),
        seal: random.chance(0.5),
        inSteps: random.chance(0.4),
      };
    case "compactionSteps":
      return { do: name, count: random.between(1, 6) };
    case "prune":
      return { do: name, part: random.below(101) / 100, seal: random.chance(0.3) };
    case "copy":
      return {
        do: name,
        how: random.pick(["snapshot", "fork"]),
        share: random.pick(["hardlink", "copy"]),
      };
    case "import":
      return {
        do: name,
        count: random.between(1, 9),
        chunkSize: random.between(1, 4),
        durable: random.chance(0.3),
      };
    case "checkpoint":
      return {
        do: name,
        id: random.pick(["app", "user", "all"]),
        count: random.between(1, 6),
        commit: random.chance(0.8),
      };
    case "time":
      return { do: name, us: random.pick([-5_000_000, -1, 0, 1, 1000, 60_000_000]) };
    default:
      return { do: name };
  }
}
