/**
 * The rows: for each workload who takes part, and how long it goes on.
 *
 * A row has two halves. In the *race*, batpak and its peers take turns on the middle size. For the
 * *growth*, batpak alone does the same at all three sizes, the sizes taking turns, so that a cost which
 * grows faster than the journal shows.
 *
 * A name in {@linkcode RESERVED_NAMES} gets its row when the library can do what it stands for. There
 * are no rows of zeros.
 *
 * @module
 */
import { rmSync } from "node:fs";
import type { StoreOptions } from "../../mod.ts";
import type { StoreFs } from "../../platform/fs.ts";
import { runtime as platform } from "../../platform/runtime.ts";
import { type FollowerOptions, JournalFollower, PeerFollower } from "./followers.ts";
import { HostClients, PeerGroup } from "./group_commit.ts";
import {
  type ColdStart,
  ColdStartError,
  type Fixture,
  type JournalFixture,
  JournalView,
  openFrom,
  writeJournal,
  writeTable,
} from "./library.ts";
import {
  figureOf,
  growthExponent,
  type Lap,
  type Latencies,
  latenciesOf,
  quantile,
  race,
  sampleLatencies,
} from "./measure.ts";
import { type BenchSize, RACE_SCALE, type RuntimeName, type Scale, SCALES } from "./options.ts";
import type { MissingPeer, Peer } from "./peer.ts";
import { findPeers, type Peers } from "./peers.ts";
import { framesOf } from "./raw_file.ts";
import { makeReader, type Reading } from "./readers.ts";
import {
  type BenchRow,
  costOf,
  type GrowthPoint,
  type PeerResult,
  ratioOf,
  type Unit,
} from "./results.ts";
import type { Scratch } from "./scratch.ts";
import { type HandlerPlace, measureWakeUps } from "./wake_ups.ts";
import {
  BATCH_EVENTS,
  JournalGrower,
  JournalWriter,
  PeerWriter,
  RawWriter,
  type Subject,
  type WriterOptions,
} from "./writers.ts";

/** What a workload may use. */
export interface BenchContext {
  readonly runtime: RuntimeName;
  readonly size: BenchSize;
  readonly scratch: Scratch;
  /** The files of journals. Default: those of the runtime. */
  readonly fs?: StoreFs;
  /** Whom to compare with. Default: whoever is there. */
  readonly peers?: Peers;
}

/** One row of the table. */
export interface Workload {
  /** As in the JSON. */
  readonly name: string;
  /** Measures the row. */
  measure(bench: Bench): Promise<BenchRow>;
  /** The journal, ready to go, for a profiler to look at. */
  enter?(bench: Bench): Promise<Subject>;
}

/** How a journal to read is laid out: in segments of the default size, or so small that nearly all are sealed. */
type Layout = "default" | "sealed";

/** An order takes some 270 bytes, so the smallest journal has four segments of this size: 4 MB in a full run. */
function optionsOf(layout: Layout, { events }: BenchSize): StoreOptions {
  return layout === "sealed" ? { segmentMaxBytes: events * 64 } : {};
}

/** What all rows of a run share. */
export class Bench {
  readonly runtime: RuntimeName;
  readonly size: BenchSize;
  readonly scratch: Scratch;
  readonly fs: StoreFs;
  /** Whom to compare with. */
  readonly peers: Peers;
  readonly #journals = new Map<string, JournalFixture>();
  readonly #tables = new Map<string, Fixture>();

  /** @param context where, on what, and how much. */
  constructor(
    { runtime, size, scratch, fs = platform.fs, peers = findPeers(runtime) }: BenchContext,
  ) {
    this.runtime = runtime;
    this.size = size;
    this.scratch = scratch;
    this.fs = fs;
    this.peers = peers;
  }

  /** Lets signals in. */
  readonly pause = (): Promise<void> => this.scratch.pause();

  /** A journal to read, written when the first reader comes. */
  async journal(scale: Scale, layout: Layout = "default"): Promise<JournalFixture> {
    const key = `${layout} ${scale}`;
    let journal = this.#journals.get(key);
    if (journal === undefined) {
      journal = await writeJournal(
        {
          path: this.scratch.path("journal"),
          events: this.size.events * scale,
          pause: this.pause,
        },
        { fs: this.fs, ...optionsOf(layout, this.size) },
      );
      this.#journals.set(key, journal);
    }
    return journal;
  }

  /** A peer's table to read. */
  async table(peer: Peer, scale: Scale = RACE_SCALE): Promise<Fixture> {
    const key = `${peer.name} ${scale}`;
    let table = this.#tables.get(key);
    if (table === undefined) {
      table = await writeTable(peer, {
        path: this.scratch.path("table"),
        events: this.size.events * scale,
        pause: this.pause,
      });
      this.#tables.set(key, table);
    }
    return table;
  }
}

/** Every workload there is, in the order of the table. */
export const WORKLOADS: readonly Workload[] = [
  writing("append", "single"),
  writing(`append-batch-${BATCH_EVENTS}`, "batch"),
  writing("append-durable", "durable"),
  reading("get", "get"),
  reading("replay", "replay"),
  reading("scan", "scan"),
  reading("open-index", "open", { coldStart: "index" }),
  reading("open-footers", "open", { coldStart: "footers", layout: "sealed" }),
  reading("open-frames", "open", { coldStart: "frames" }),
  reading("verify", "verify"),
  memory("memory-1000", undefined),
  memory("memory-100000", 100_000),
  ...[1, 16, 64, 256].map((callers) => groupCommit(callers)),
  groupCommit(256, 1),
  ...[64, 256, 1024].map((batchSize) => following({ batchSize, saves: false, ownRealm: false })),
  ...[64, 256, 1024].map((batchSize) => following({ batchSize, saves: true, ownRealm: false })),
  ...[64, 256, 1024].map((batchSize) => following({ batchSize, saves: false, ownRealm: true })),
  ...[64, 256, 1024].map((batchSize) => following({ batchSize, saves: true, ownRealm: true })),
  wakeUp("here"),
  wakeUp("realm"),
  wakeUp("process"),
];

/** Names that are spoken for, and have no row yet. */
export const RESERVED_NAMES: readonly string[] = ["projection", "subscription"];

/** Slices before the counted ones. The first still compiles, the second has run on the result. */
const WARM_UPS = 2;
/** Different frames for the bare loop. More would only take memory. */
const FRAMES_MAX = 1000;

function writing(name: string, mode: WriterOptions["mode"]): Workload {
  const eventsAt = (size: BenchSize, scale: Scale) =>
    (mode === "durable" ? size.durableEvents : size.events) * scale;
  const raceOptions = (size: BenchSize) => ({
    mode,
    eventsPerSlice: Math.ceil(eventsAt(size, RACE_SCALE) / size.slices),
  });

  function enter({ size, scratch, fs }: Bench): Promise<Subject> {
    return Promise.resolve(new JournalWriter(scratch.path("journal"), raceOptions(size), { fs }));
  }

  async function enterPeers({ size, scratch, peers }: Bench): Promise<Subject[]> {
    const options = raceOptions(size);
    const subjects: Subject[] = [];
    if (mode === "durable") {
      const frames = framesOf(Math.min(eventsAt(size, RACE_SCALE), FRAMES_MAX));
      const count = options.eventsPerSlice * (WARM_UPS + size.slices);
      subjects.push(new RawWriter(scratch.path("raw"), frames, { ...options, count }));
    }
    for (const peer of peers.present) {
      const table = await peer.open(
        scratch.path("table"),
        mode === "durable" ? "durable" : "written",
      );
      subjects.push(new PeerWriter(peer, table, options));
    }
    return subjects;
  }

  function grow({ size, scratch, fs }: Bench): Subject[] {
    return SCALES.map((scale) =>
      new JournalGrower(
        () => scratch.path("journal"),
        { mode, eventsPerSlice: eventsAt(size, scale) },
        { fs },
      )
    );
  }

  async function measure(bench: Bench): Promise<BenchRow> {
    const { size } = bench;
    const [journal, ...others] = [await enter(bench), ...await enterPeers(bench)];
    const row = await measureRow({
      name,
      unit: "events/s",
      bench,
      journal,
      others,
      absent: [],
      samples: mode === "single" ? size.latencySamples : size.latencySamples / 10,
    });
    return {
      ...row,
      ...await measureGrowth(bench, row.unit, grow(bench), {
        slices: size.writeRounds,
        // The race has just done the same.
        warmUps: 0,
      }),
    };
  }
  return { name, measure, enter };
}

/** How the journal of a reading row is opened. */
interface Opening {
  /** Which way; however the store wants to by default. */
  readonly coldStart?: ColdStart;
  readonly layout?: Layout;
}

function reading(name: string, what: Reading, opening: Opening = {}): Workload {
  const { coldStart, layout } = opening;
  const unit: Unit = what === "open" ? "ms" : "events/s";
  const gets = (size: BenchSize, scale: Scale) => Math.ceil(size.events * scale / GETS_SHARE);

  async function enterAt(scale: Scale, bench: Bench): Promise<Subject> {
    const journal = await bench.journal(scale, layout);
    return makeReader(journal, {
      name: "batpak",
      reading: what,
      gets: gets(bench.size, scale),
      open: () => new JournalView(journal, bench.fs, coldStart),
    });
  }

  async function enterPeer(peer: Peer, bench: Bench): Promise<Subject> {
    const table = await bench.table(peer);
    return makeReader(table, {
      name: peer.name,
      reading: what,
      gets: Math.ceil(gets(bench.size, RACE_SCALE) / (peer.shareOfSlice ?? 1)),
      isAsync: peer.isAsync,
      open: () => peer.open(table.path, "written"),
    });
  }

  const enter = (bench: Bench) => enterAt(RACE_SCALE, bench);

  async function measure(bench: Bench): Promise<BenchRow> {
    const { size, peers } = bench;
    const unavailable = await whyNot(bench, opening);
    if (unavailable !== undefined) {
      const events = size.events * RACE_SCALE;
      return { workload: name, unit, events, unavailable, peers: [], absent: [], growth: [] };
    }
    const journal = await enter(bench);
    const others: Subject[] = [];
    const absent: MissingPeer[] = [];
    for (const peer of peers.present) {
      if (what !== "verify" || peer.canCheck) others.push(await enterPeer(peer, bench));
      else absent.push({ name: peer.name, reason: "it has no check of itself" });
    }
    const samples = what === "get" ? size.latencySamples : 0;
    const row = await measureRow({ name, unit, bench, journal, others, absent, samples });
    const sizes: Subject[] = [];
    for (const scale of SCALES) sizes.push(await enterAt(scale, bench));
    const growth = await measureGrowth(bench, unit, sizes, {
      slices: size.readRounds,
      // The first slice also opens.
      warmUps: 1,
    });
    return { ...row, ...growth };
  }
  return { name, measure, enter };
}

/** Of the events that there are, one in so many is read by id. */
const GETS_SHARE = 4;

/** Why a journal does not open the way that a row is about, if it does not. */
async function whyNot(bench: Bench, { coldStart, layout }: Opening): Promise<string | undefined> {
  if (coldStart === undefined) return undefined;
  const { path } = await bench.journal(1, layout);
  try {
    openFrom(coldStart, path, bench.fs).close();
    return undefined;
  } catch (error) {
    if (error instanceof ColdStartError) return error.message;
    throw error;
  }
}

/**
 * Memory of the index, by its own count, while it grows with the journal. Nothing is timed, so it is
 * measured once.
 */
function memory(name: string, entityCount: number | undefined): Workload {
  async function measure(bench: Bench): Promise<BenchRow> {
    const growth: GrowthPoint[] = [];
    for (const scale of SCALES) {
      const { events, indexBytes } = entityCount === undefined
        ? await bench.journal(scale)
        : await writeAndRemove(bench, scale, entityCount);
      growth.push({ events, figure: figureOf([indexBytes / events]) });
    }
    const { events, figure } = growth[SCALES.indexOf(RACE_SCALE)];
    const unit = "bytes/event";
    return {
      workload: name,
      unit,
      events,
      batpak: figure,
      peers: [],
      absent: [],
      ...withExponent(unit, growth),
    };
  }
  return { name, measure };
}

async function writeAndRemove(
  { size, scratch, fs, pause }: Bench,
  scale: Scale,
  entityCount: number,
): Promise<JournalFixture> {
  const path = scratch.path("journal");
  const options = { path, events: size.events * scale, pause };
  const journal = await writeJournal(options, { fs, entityCount });
  rmSync(path, { recursive: true, force: true });
  return journal;
}

/**
 * So many callers that wait for one durable append each.
 *
 * @param clients whom the callers share; each has its own otherwise.
 */
function groupCommit(callers: number, clients?: number): Workload {
  const name = clients === undefined ? `group-commit-${callers}` : `group-commit-${callers}-shared`;

  async function measure(bench: Bench): Promise<BenchRow> {
    const { size, scratch, peers } = bench;
    // Many callers do many times as much in the same time.
    const eventsPerSlice = Math.ceil(size.durableEvents * RACE_SCALE / size.slices) *
      Math.min(callers, GROUP_SLICE_FACTOR_MAX);
    const options = { callers, eventsPerSlice, clients };
    const journal = await HostClients.start(scratch.path("journal"), options);
    const frames = framesOf(FRAMES_MAX);
    const count = eventsPerSlice * (WARM_UPS + size.slices);
    const others: Subject[] = [
      new RawWriter(scratch.path("raw"), frames, { eventsPerSlice, count, unit: callers }),
    ];
    for (const peer of peers.present) {
      const table = await peer.open(scratch.path("table"), "durable");
      others.push(new PeerGroup(peer, table, options));
    }
    return await measureRow({
      name,
      unit: "events/s",
      bench,
      journal,
      others,
      absent: [],
      samples: 0,
      sample: () => journal.sample(Math.max(callers, size.latencySamples / 10)),
    });
  }
  return { name, measure };
}

/** A slice of 64 callers has as many events as one of 32. */
const GROUP_SLICE_FACTOR_MAX = 32;

/** A handler that is given the whole journal in batches. */
function following(options: FollowerOptions & { readonly ownRealm: boolean }): Workload {
  const { batchSize, saves, ownRealm } = options;
  const name = `cursor${ownRealm ? "-realm" : ""}-${batchSize}${saves ? "-saved" : ""}`;
  const enterAt = async (scale: Scale, bench: Bench): Promise<Subject> =>
    new JournalFollower(await bench.journal(scale), bench.fs, options);
  // Starting a realm costs about as much as ten thousand events, which are to be few among many.
  const scale = ownRealm ? RACE_SCALE : 1;
  const enter = (bench: Bench) => enterAt(scale, bench);

  async function measure(bench: Bench): Promise<BenchRow> {
    const { size, peers } = bench;
    const others: Subject[] = [];
    const absent: MissingPeer[] = [];
    for (const peer of ownRealm ? [] : peers.present) {
      const fixture = await bench.table(peer, scale);
      const table = await peer.open(fixture.path, "durable");
      if (table.followTotals !== undefined) {
        others.push(new PeerFollower(peer.name, table, fixture, options));
      } else {
        await table.close();
        absent.push({ name: peer.name, reason: "it is not compared in this" });
      }
    }
    const journal = await enter(bench);
    const unit = "events/s";
    const row = await measureRow({
      name,
      unit,
      bench,
      journal,
      others,
      absent,
      samples: 0,
      // A realm is a new one in every slice.
      ...(ownRealm && { warmUps: 1 }),
    });
    // The other batches would only say the same again.
    if (batchSize !== BATCH_EVENTS || saves !== ownRealm) return row;
    const sizes: Subject[] = [];
    for (const scale of SCALES) sizes.push(await enterAt(scale, bench));
    const rounds = { slices: size.writeRounds, warmUps: 0 };
    return { ...row, ...await measureGrowth(bench, unit, sizes, rounds) };
  }
  return ownRealm ? { name, measure } : { name, measure, enter };
}

/** How long it takes from an append to the handler. */
function wakeUp(place: HandlerPlace): Workload {
  const name = place === "here" ? "wake" : `wake-${place}`;

  async function measure({ size, scratch, pause }: Bench): Promise<BenchRow> {
    await pause();
    const events = Math.ceil(size.latencySamples / WAKE_UP_SHARE);
    const warmUps = Math.ceil(events / 10);
    const dir = scratch.path("journal");
    const all = await measureWakeUps(dir, place, { events: warmUps + events });
    const times = all.subarray(warmUps);
    // Their middles say how steady the figure is.
    const perSlice = Math.floor(events / size.slices);
    const middles = Array.from(
      { length: size.slices },
      (_, i) => quantile(times.slice(i * perSlice, (i + 1) * perSlice).sort(), 0.5),
    );
    return {
      workload: name,
      unit: "us",
      events,
      batpak: figureOf(middles),
      ...latenciesOf(times.slice()),
      peers: [],
      absent: [],
      growth: [],
    };
  }
  return { name, measure };
}

/** Of the calls that are timed otherwise, one in so many: between two the handler has to fall asleep. */
const WAKE_UP_SHARE = 20;

interface RowOptions {
  readonly name: string;
  readonly unit: Unit;
  readonly bench: Bench;
  readonly journal: Subject;
  readonly others: readonly Subject[];
  /** Peers that are there, and cannot do this. */
  readonly absent: readonly MissingPeer[];
  /** Calls to be timed one by one; 0 when single calls mean nothing. */
  readonly samples: number;
  /** Slices before the counted ones. */
  readonly warmUps?: number;
  /** Times calls in a way of its own. */
  readonly sample?: () => Promise<Latencies>;
}

/** The race, without the growth. Lets go of everybody. */
async function measureRow(options: RowOptions): Promise<BenchRow> {
  const { name, unit, bench, journal, others, absent, samples, sample } = options;
  const { warmUps = WARM_UPS } = options;
  try {
    const [laps, ...otherLaps] = await race([journal, ...others], {
      slices: bench.size.slices,
      warmUps,
      pause: bench.pause,
    });
    await bench.pause();
    const latencies = samples > 0 && journal.call !== undefined
      ? sampleLatencies(journal.call, samples)
      : await sample?.();
    const figure = figureOf(laps.map((lap) => valueOf(lap, unit)));
    const peers: PeerResult[] = otherLaps.map((laps, i) => {
      const peer = figureOf(laps.map((lap) => valueOf(lap, unit)));
      const ratio = ratioOf(unit, figure.median, peer.median);
      return { name: others[i].name, figure: peer, ratio };
    });
    return {
      workload: name,
      unit,
      events: sum(laps) / (unit === "ms" ? laps.length : 1),
      batpak: figure,
      ...latencies,
      bytesPerEvent: journal.bytesPerEvent && Number(journal.bytesPerEvent().toPrecision(4)),
      peers,
      absent,
      growth: [],
    };
  } finally {
    for (const subject of [journal, ...others]) await subject.close();
  }
}

/** The same at every size. Lets go of everybody. */
async function measureGrowth(
  { pause }: Bench,
  unit: Unit,
  sizes: readonly Subject[],
  rounds: { readonly slices: number; readonly warmUps: number },
): Promise<Pick<BenchRow, "growth" | "exponent">> {
  try {
    const laps = await race(sizes, { ...rounds, pause });
    const growth = laps.map((laps): GrowthPoint => ({
      events: laps[0].events,
      figure: figureOf(laps.map((lap) => valueOf(lap, unit))),
    }));
    return withExponent(unit, growth);
  } finally {
    for (const subject of sizes) await subject.close();
  }
}

function withExponent(
  unit: Unit,
  growth: readonly GrowthPoint[],
): Pick<BenchRow, "growth" | "exponent"> {
  const points = growth.map((point) => ({ events: point.events, cost: costOf(unit, point) }));
  return { growth, exponent: Number(growthExponent(points).toFixed(3)) };
}

function valueOf({ events, elapsedMs }: Lap, unit: Unit): number {
  return unit === "ms" ? elapsedMs : events / elapsedMs * 1000;
}

function sum(laps: readonly Lap[]): number {
  return laps.reduce((sum, { events }) => sum + events, 0);
}
