/**
 * Journals to damage: small, with one of everything, and with every word they hold written down.
 *
 * The truth about a specimen is what a reader says of it while it is whole, by frames alone, and the
 * receipts that its appends were answered with.
 *
 * @module
 */

import {
  bindCursor,
  type Checkpoint,
  EventKind,
  type FindingType,
  loadCheckpoint,
  type Receipt,
  Store,
  type StoredEvent,
  type StoreOptions,
  verifyJournal,
} from "../mod.ts";
import { SOURCE_SUFFIX } from "../store/compaction/segment_set.ts";
import { groupRemainingOf } from "../store/frame.ts";
import { bytesEqual } from "../store/hash.ts";
import { segmentName } from "../store/segment_log.ts";
import { edited } from "./damage.ts";
import { SimClock } from "./sim_clock.ts";
import { SimEntropy } from "./sim_entropy.ts";
import { SimFs } from "./sim_fs.ts";

/** Where the journals are. */
export const SPECIMEN_DIR = "/journal";
/** The consumers that have a checkpoint, and what they follow. */
export const CONSUMERS = {
  /** Has handled some events. */
  mailer: { scope: "app" },
  /** Has handled none. */
  novice: { entity: "user" },
} as const;

/** An event and where it stands. */
export interface KnownEvent {
  /** Its place in the journal. */
  readonly sequence: number;
  /** What an index knows of it. */
  readonly text: string;
  /** Its header, as in a receipt. */
  readonly header: Uint8Array;
  /** Its payload; `undefined` when it was erased. */
  readonly payload: Uint8Array | undefined;
  /** Its id. */
  readonly eventId: string;
  /** Whose it is. */
  readonly entity: string;
  /** Whether queries leave it out. */
  readonly isRetired: boolean;
}

/** Where a frame stands. */
export interface FramePlace {
  /** Where it starts. */
  readonly start: number;
  /** Where it ends. */
  readonly end: number;
  /** Its event's place in the journal. */
  readonly sequence: number;
  /** Where the frame starts that its group begins with. */
  readonly groupStart: number;
}

/** A journal, and what it has to say. */
export interface Specimen {
  /** Which. */
  readonly name: string;
  /** The disk, on which everything is durable. */
  readonly fs: SimFs;
  /** Its events, in order. */
  readonly events: readonly KnownEvent[];
  /** Receipts of those that callers appended and that are still there. */
  readonly receipts: readonly Receipt[];
  /** Frames by the name of their file. A file whose frames do not count has none. */
  readonly frames: ReadonlyMap<string, readonly FramePlace[]>;
  /** Events from this sequence on are not in `index.fbati`. */
  readonly indexEnd: number;
  /** Checkpoints by their id. */
  readonly checkpoints: ReadonlyMap<string, Checkpoint>;
  /** What verification says of it while it is whole. */
  readonly findings: readonly FindingType[];
  /** The same journal at earlier times, the latest first. */
  readonly earlier: readonly SimFs[];
}

const KIND = EventKind.custom(0xc, 0x7);

/** Opens a specimen for writing, as everybody does who works on one. */
export function openSpecimen(fs: SimFs, options: StoreOptions = {}, life = 99): Store {
  return Store.open(SPECIMEN_DIR, {
    fs,
    clock: new SimClock(),
    entropy: new SimEntropy(life),
    segmentMaxBytes: 600,
    ...options,
  });
}

/** Whoever makes a specimen. */
class Maker {
  fs: SimFs;
  readonly receipts: Receipt[] = [];
  readonly #seed: number;
  readonly #isPlain: boolean;
  #store: Store | undefined;
  #lives = 0;
  #count = 0;

  /** @param isPlain whether its events are as small as they can be. */
  constructor(seed: number, isPlain = false) {
    this.#seed = seed;
    this.#isPlain = isPlain;
    this.fs = new SimFs({ seed });
    this.fs.createDirAll(SPECIMEN_DIR);
  }

  get store(): Store {
    if (this.#store === undefined) throw new Error("Cannot work on a specimen that is not open");
    return this.#store;
  }

  open(options: StoreOptions = {}): void {
    this.#store = openSpecimen(this.fs, options, this.#seed * 100 + ++this.#lives);
  }

  close(): void {
    this.store.close();
    this.#store = undefined;
  }

  kill(): void {
    this.fs = this.fs.crash("processKill");
    this.#store = undefined;
  }

  append(count = 1): void {
    for (let i = 0; i < count; i++) this.receipts.push(...this.store.appendBatch([this.#item()]));
  }

  batch(count: number): void {
    const items = Array.from({ length: count }, () => this.#item());
    this.receipts.push(...this.store.appendBatch(items));
  }

  /** Appends until so many segments more have begun. */
  roll(count = 1): void {
    const wanted = this.store.stats().segmentCount + count;
    while (this.store.stats().segmentCount < wanted) this.append();
  }

  /** Hands a consumer some events, and commits. */
  consume(id: keyof typeof CONSUMERS, count = 2): void {
    const bound = bindCursor(this.store, CONSUMERS[id], id);
    if (count > 0) bound.cursor.pollBatch(count);
    bound.commit();
    bound.close();
  }

  #item() {
    const n = ++this.#count;
    if (this.#isPlain) {
      const payload = Uint8Array.of(n, this.#seed);
      return { entity: "e", scope: "s", kind: KIND, payload, payloadEncoding: "opaque" as const };
    }
    return {
      entity: n % 3 === 0 ? "user:2" : "user:1",
      scope: n % 4 === 0 ? "shop" : "app",
      lane: n % 5 === 0 ? 3 : 0,
      kind: KIND,
      payload: Uint8Array.from({ length: 21 }, (_, i) => (n * 31 + i * 7 + this.#seed) & 0xff),
      payloadEncoding: "opaque" as const,
      idempotencyKey: `key ${n} of ${this.#seed}`,
      tags: ["odd", `t${n % 2}`],
      extensions: { "example.note": Uint8Array.of(n, this.#seed) },
    };
  }
}

/**
 * One of everything: pruned, merged, sealed with and without an index footer, repaired once, consumed, closed.
 *
 * @param seed another one makes another journal, in which everything stands at the same place.
 */
export function closedSpecimen(seed = 1): Specimen {
  const maker = new Maker(seed);
  const earlier = makeRich(maker);
  maker.consume("mailer");
  earlier.unshift(maker.fs.snapshot());
  maker.append(2);
  maker.batch(2);
  maker.append();
  maker.consume("mailer");
  maker.consume("novice", 0);
  maker.close();
  const notes = new TextEncoder().encode("whatever somebody has put here");
  return specimenOf(
    "closed",
    maker,
    earlier,
    maker.fs.withFile(`${SPECIMEN_DIR}/notes.txt`, notes),
  );
}

/** As small as it gets with two sealed segments, an active one, and indexes of all of it: 4 KiB. */
export function smallSpecimen(seed = 1): Specimen {
  const maker = new Maker(seed, true);
  maker.open({ segmentMaxBytes: 400 });
  maker.append(3);
  const earlier = [maker.fs.snapshot()];
  maker.close();
  // What the table says of a closed journal holds for it, too.
  return specimenOf("closed", maker, earlier);
}

/** The same, killed: behind the last event is space that was taken in advance. */
export function killedSpecimen(seed = 1): Specimen {
  const maker = new Maker(seed);
  const earlier = makeRich(maker);
  maker.append(1);
  maker.close();
  earlier.unshift(maker.fs.snapshot());
  maker.open({ segmentMaxBytes: 1 << 20, sync: { everyNEvents: 0 } });
  maker.append(2);
  maker.batch(3);
  maker.kill();
  return specimenOf("killed", maker, earlier);
}

/** The same, killed in the middle of a write: half of a group stands behind the last event. */
export function tornSpecimen(seed = 1): Specimen {
  const { fs, earlier, ...rest } = killedSpecimen(seed);
  const [name, places] = [...rest.frames].at(-1)!;
  const { end } = places.at(-1)!;
  const torn = edited(fs, `${SPECIMEN_DIR}/${name}`, (bytes) => {
    const { groupStart } = places.at(-1)!;
    // The group before it once more, which is as good as any: its sequences are not those that are due.
    bytes.copyWithin(end, groupStart, groupStart + 100);
    return bytes;
  });
  return { ...rest, fs: torn, earlier, findings: [], name: "torn" };
}

/** Stages of a compaction that were found on the way, by what stands in the directory. */
export const COMPACTION_STAGES = [
  "a merge is being written",
  "a merge is announced",
  "a source is set aside",
  "a merge is committed",
  "a merge has removed a source",
  "a merge has removed its sources",
] as const;

/** A compaction, stopped at each step that leaves other files. */
export function compactionSpecimens(seed = 1): Specimen[] {
  const maker = new Maker(seed);
  maker.open();
  maker.append();
  maker.roll(3);
  maker.append();
  const earlier = [maker.fs.snapshot()];
  const from = maker.fs.trace.length;
  maker.store.compact();
  const specimens = new Map<string, Specimen>();
  for (let position = from; position <= maker.fs.trace.length; position++) {
    for (const fs of maker.fs.crashImages("processKill", { position })) {
      const stage = stageOf(fs);
      // The last of each stage: by then a file that is being written is whole.
      if (stage !== undefined) specimens.set(stage, specimenOf(stage, maker, earlier, fs));
    }
  }
  return [...specimens.values()];
}

function stageOf(fs: SimFs): (typeof COMPACTION_STAGES)[number] | undefined {
  const names = fs.list(SPECIMEN_DIR).map(({ name }) => name);
  const isThere = (part: string) => names.some((name) => name.endsWith(part));
  if (!isThere(".pending")) return isThere(".compact-new") ? COMPACTION_STAGES[0] : undefined;
  if (isThere(".compact-new")) return COMPACTION_STAGES[isThere(".compact-src") ? 2 : 1];
  const segments = names.filter((name) => name.endsWith(".fbat")).length;
  if (segments === 2) return isThere(".compact-src") ? undefined : COMPACTION_STAGES[5];
  return COMPACTION_STAGES[segments === 5 ? 3 : 4];
}

/** Returns what the disk was like meanwhile. */
function makeRich(maker: Maker): SimFs[] {
  maker.open();
  maker.roll(2);
  maker.kill();
  const name = maker.fs.list(SPECIMEN_DIR).findLast((entry) => entry.name.endsWith(".fbat"))!.name;
  maker.fs = edited(maker.fs, `${SPECIMEN_DIR}/${name}`, (bytes) => {
    bytes.set(new TextEncoder().encode("what a crash has left"), bytes.byteLength - 100);
    return bytes.subarray(0, bytes.byteLength - 50);
  });
  maker.open({ coldStart: { footers: false } });
  maker.store.prune({ below: 3 });
  const pruned = maker.fs.snapshot();
  maker.roll(2);
  maker.store.compact();
  maker.roll();
  maker.store.prune({ below: maker.store.stats().nextSequence - 1 });
  maker.close();
  maker.open();
  maker.roll(3);
  maker.store.compact();
  maker.close();
  maker.open({ coldStart: { footers: false } });
  maker.roll();
  const unsealed = maker.fs.snapshot();
  maker.close();
  maker.open();
  maker.roll();
  maker.close();
  maker.open({ segmentMaxBytes: 1 << 20 });
  return [unsealed, pruned];
}

function specimenOf(
  name: string,
  maker: Maker,
  earlier: readonly SimFs[],
  fs: SimFs = maker.fs.snapshot(),
): Specimen {
  const reader = Store.openReadOnly(SPECIMEN_DIR, {
    fs: fs.snapshot(),
    coldStart: { indexFile: false, footers: false },
  });
  const { firstSequence, nextSequence } = reader.stats();
  const events: KnownEvent[] = [];
  const frames = new Map<string, FramePlace[]>();
  let lastGroupEnd = -1;
  for (let sequence = firstSequence; sequence < nextSequence; sequence++) {
    const event = reader.at(sequence);
    if (event === undefined) {
      throw new Error(`Cannot make "${name}": sequence ${sequence} is hidden`);
    }
    const { eventId, entity, isRetired, headerBytes: header, payloadBytes: payload } = event;
    const text = textOf(event);
    events.push({ sequence, text, header, payload, eventId, entity, isRetired });
    const { segmentId, offset, size } = event.position;
    const segment = segmentName(segmentId);
    const isThere = fs.stat(`${SPECIMEN_DIR}/${segment}`) !== undefined;
    const file = isThere ? segment : segment + SOURCE_SUFFIX;
    const places = frames.get(file) ?? [];
    const groupEnd = sequence + groupRemainingOf(header, 0);
    const groupStart = groupEnd === lastGroupEnd ? places.at(-1)!.groupStart : offset;
    lastGroupEnd = groupEnd;
    places.push({ start: offset, end: offset + size, sequence, groupStart });
    frames.set(file, places);
  }
  reader.close();
  const indexed = Store.openReadOnly(SPECIMEN_DIR, { fs: fs.snapshot() });
  const { indexFileEntries } = indexed.openReport;
  indexed.close();
  const checkpoints = new Map<string, Checkpoint>();
  for (const id of Object.keys(CONSUMERS)) {
    const checkpoint = loadCheckpoint(SPECIMEN_DIR, id, { fs });
    if (checkpoint !== undefined) checkpoints.set(id, checkpoint);
  }
  return {
    name,
    fs,
    events,
    receipts: maker.receipts.filter(({ globalSequence }) => globalSequence >= firstSequence),
    frames,
    indexEnd: firstSequence + indexFileEntries,
    checkpoints,
    findings: verifyJournal(SPECIMEN_DIR, { fs }).findings.map(({ type }) => type),
    earlier,
  };
}

/** What the index says of an event, in one line. */
function textOf(event: StoredEvent): string {
  const { globalSequence, eventId, entity, scope, kind, clock, lane, isRetired } = event;
  return [globalSequence, eventId, entity, scope, kind, clock, lane, isRetired].join(" ");
}

/**
 * Whether an event is the one that is known, in everything that it says. Reads its frame.
 */
export function isKnown(event: StoredEvent, known: KnownEvent): boolean {
  if (textOf(event) !== known.text) return false;
  const { headerBytes, payloadBytes } = event;
  return bytesEqual(headerBytes, known.header) &&
    (payloadBytes === undefined || known.payload === undefined
      ? payloadBytes === known.payload
      : bytesEqual(payloadBytes, known.payload));
}
