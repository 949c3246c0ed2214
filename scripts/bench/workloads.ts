/**
 * The rows: for each workload who takes part, and how long it goes on.
 *
 * A name in {@linkcode RESERVED_NAMES} gets its row when the library can do what it stands for. There
 * are no rows of zeros.
 *
 * @module
 */
import type { StoreFs } from "../../platform/fs.ts";
import { runtime as platform } from "../../platform/runtime.ts";
import { driverNames, EventTable, loadDriver, type SqliteDriver } from "./event_table.ts";
import { buildLibrary, JournalView, type Library } from "./library.ts";
import { type Latencies, race, sampleLatencies } from "./measure.ts";
import type { BenchSize, RuntimeName } from "./options.ts";
import { framesOf } from "./raw_file.ts";
import { makeReader, type Reading } from "./readers.ts";
import type { BenchResult } from "./report.ts";
import type { Scratch } from "./scratch.ts";
import {
  BATCH_EVENTS,
  JournalWriter,
  RawWriter,
  type Subject,
  TableWriter,
  type WriterOptions,
} from "./writers.ts";

/** What a workload may use. */
export interface BenchContext {
  readonly runtime: RuntimeName;
  readonly size: BenchSize;
  readonly scratch: Scratch;
  /** The files of journals. Default: those of the runtime. */
  readonly fs?: StoreFs;
  /** The SQLite modules to compare with. Default: those that there are. */
  readonly drivers?: readonly SqliteDriver[];
}

/** One row of the table. */
export interface Workload {
  /** As in the JSON. */
  readonly name: string;
  /** Counted events of each contestant. */
  events(size: BenchSize): number;
  /** Calls to be timed one by one; 0 when single calls mean nothing. */
  samples(size: BenchSize): number;
  /** The journal, ready to go. */
  enter(bench: Bench): Promise<Subject>;
  /** The others; only those that this runtime has. */
  enterPeers(bench: Bench): Promise<Subject[]>;
  /** Who should be among the others. */
  peerNames(): string[];
}

/** What all rows of a run share. */
export class Bench {
  readonly runtime: RuntimeName;
  readonly size: BenchSize;
  readonly scratch: Scratch;
  readonly fs: StoreFs;
  /** The SQLite modules that there are. */
  readonly drivers: readonly SqliteDriver[];
  #library: Library | undefined;

  /** @param context where, on what, and how much. */
  constructor(
    { runtime, size, scratch, fs = platform.fs, drivers = availableDrivers() }: BenchContext,
  ) {
    this.runtime = runtime;
    this.size = size;
    this.scratch = scratch;
    this.fs = fs;
    this.drivers = drivers;
  }

  /** What readers read, written when the first of them comes. */
  async library(): Promise<Library> {
    return this.#library ??= await buildLibrary(this.size.events, this.drivers, {
      fs: this.fs,
      path: (name) => this.scratch.path(name),
      pause: () => this.scratch.pause(),
    });
  }
}

function availableDrivers(): SqliteDriver[] {
  return driverNames().map(loadDriver).filter((driver) => driver !== undefined);
}

/** Every workload there is, in the order of the table. */
export const WORKLOADS: readonly Workload[] = [
  writing("append", "single"),
  writing(`append-batch-${BATCH_EVENTS}`, "batch"),
  writing("append-durable", "durable"),
  reading("get", "get"),
  reading("replay", "replay"),
  reading("scan", "scan"),
  reading("open-frames", "open"),
  reading("verify", "verify"),
];

/** Names that are spoken for, and have no row yet. */
export const RESERVED_NAMES: readonly string[] = [
  "open-index",
  "open-footers",
  "group-commit-256",
  "worker",
];

/** Measures one row. */
export async function measure(workload: Workload, bench: Bench): Promise<BenchResult> {
  const { size, scratch } = bench;
  const pause = () => scratch.pause();
  const subjects = [await workload.enter(bench)];
  try {
    subjects.push(...await workload.enterPeers(bench));
    const [journal, ...peers] = subjects;
    const rates = await race(subjects, { slices: size.slices, warmUps: WARM_UPS, pause });
    await pause();
    const samples = workload.samples(size);
    let latencies: Latencies | undefined;
    if (samples > 0 && journal.call !== undefined) {
      latencies = sampleLatencies(journal.call, samples);
    }
    return {
      workload: workload.name,
      runtime: bench.runtime,
      events: workload.events(size),
      perSecond: Math.round(rates.get(journal.name)!),
      ...latencies,
      bytesPerEvent: journal.bytesPerEvent?.(),
      peers: Object.fromEntries(peers.map(({ name }) => [name, Math.round(rates.get(name)!)])),
    };
  } finally {
    for (const subject of subjects) subject.close();
  }
}

/** Slices before the counted ones. The first still compiles, the second has run on the result. */
const WARM_UPS = 2;

function writing(name: string, mode: WriterOptions["mode"]): Workload {
  function eventsPerSlice(size: BenchSize): number {
    const events = (mode === "durable" ? size.durableEvents : size.events) / size.slices;
    return mode === "batch" ? Math.ceil(events / BATCH_EVENTS) * BATCH_EVENTS : Math.ceil(events);
  }
  return {
    name,
    events: (size) => eventsPerSlice(size) * size.slices,
    samples: ({ latencySamples }) => mode === "single" ? latencySamples : latencySamples / 10,
    peerNames: () => [...mode === "durable" ? ["raw-fdatasync"] : [], ...driverNames()],
    enter({ size, scratch, fs }) {
      const options = { mode, eventsPerSlice: eventsPerSlice(size) };
      return Promise.resolve(new JournalWriter(scratch.path("journal"), options, { fs }));
    },
    enterPeers({ size, scratch, drivers }) {
      const options = { mode, eventsPerSlice: eventsPerSlice(size) };
      const peers: Subject[] = drivers.map((driver) =>
        new TableWriter(driver, scratch.path("table.db"), options)
      );
      if (mode === "durable") {
        const frames = framesOf(Math.min(size.durableEvents, FRAMES_MAX));
        const count = options.eventsPerSlice * (WARM_UPS + size.slices);
        peers.unshift(new RawWriter(scratch.path("raw"), frames, { ...options, count }));
      }
      return Promise.resolve(peers);
    },
  };
}

/** Different frames for the bare loop. More would only take memory. */
const FRAMES_MAX = 1000;

function reading(name: string, what: Reading): Workload {
  function gets({ gets, slices }: BenchSize): number {
    return Math.ceil(gets / slices);
  }
  return {
    name,
    events: (size) => what === "get" ? gets(size) * size.slices : wholeBatches(size.events),
    samples: ({ latencySamples }) => what === "get" ? latencySamples : 0,
    peerNames: () => driverNames(),
    async enter(bench) {
      const library = await bench.library();
      return makeReader(library, {
        name: "batpak",
        reading: what,
        gets: gets(bench.size),
        open: () => new JournalView(library.journalDir, bench.fs),
      });
    },
    async enterPeers(bench) {
      const library = await bench.library();
      return bench.drivers.map((driver) =>
        makeReader(library, {
          name: driver.name,
          reading: what,
          gets: gets(bench.size),
          open: () => new EventTable(driver, library.tablePaths.get(driver.name)!, "NORMAL"),
        })
      );
    },
  };
}

/** A library is written in whole batches. */
function wholeBatches(events: number): number {
  return Math.ceil(events / BATCH_EVENTS) * BATCH_EVENTS;
}
