/**
 * A journal on a disk that is really full.
 *
 * Whatever meets the end of the disk has to say so by a typed error, and what was acknowledged stays. Once
 * there is room again the store goes on, through the same handle unless its writer has stopped, and
 * through the next one in any case. Readers do not care how full it is.
 *
 * @module
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import {
  bindCursor,
  CheckpointWriteError,
  EventKind,
  IoFault,
  JournalNotFoundError,
  type JournalReader,
  Store,
  StoreError,
  verifyJournal,
  WriterCrashedError,
} from "../../mod.ts";
import { seededRandom } from "./journal.ts";
import { type DiskKind, mountSmallDisk, type SmallDisk } from "./small_disk.ts";
import { count, type Counts } from "./stress_audit.ts";
import { sleep } from "./stress_consumer.ts";
import type { Program } from "./torture_programs.ts";

const FILLER = fileURLToPath(new URL("../testdata/torture_filler.ts", import.meta.url));

/** What can meet the end of the disk. */
export const SQUEEZES = [
  "append",
  "durable append",
  "batch",
  "fence",
  "roll",
  "compaction",
  "prune",
  "snapshot",
  "index save",
  "checkpoint",
  "open of a new journal",
  "close",
  "repair",
] as const;

/** One of them. */
export type Squeeze = (typeof SQUEEZES)[number];

const DISK_BYTES = 4 << 20;
const KIND = EventKind.custom(0xe, 4);
const AT = { entity: "thing:1", scope: "full" };
/** After so many the journal is held to everything, and another one begun. */
const SQUEEZES_PER_JOURNAL = 2 * SQUEEZES.length;

/** Squeezes journals on a disk of this kind, so many times. */
export function squeezeJournals(
  kind: DiskKind,
  options: { readonly seed: number; readonly squeezes: number; readonly counts: Counts },
): void {
  const { seed, squeezes, counts } = options;
  using disk = mountSmallDisk(kind, DISK_BYTES);
  let journal: SqueezedJournal | undefined;
  for (let i = 0; i < squeezes; i++) {
    journal ??= new SqueezedJournal(disk, seed + i, counts);
    journal.squeeze(SQUEEZES[i % SQUEEZES.length]);
    if ((i + 1) % SQUEEZES_PER_JOURNAL !== 0 && i + 1 < squeezes) continue;
    journal.finish();
    journal = undefined;
  }
}

/** A journal on a small disk, and what was promised about it. */
class SqueezedJournal {
  readonly #disk: SmallDisk;
  readonly #random: () => number;
  readonly #counts: Counts;
  readonly #dir: string;
  /** What was acknowledged: ids and numbers, by sequence. */
  readonly #acknowledged = new Map<number, { readonly id: string; readonly n: number }>();
  /** Numbers that may be there: the sync of their append has failed. */
  readonly #unknown = new Set<number>();
  #first = 0;
  #count = 0;
  /** How often its end was torn. */
  #torn = 0;
  #store: Store;

  constructor(disk: SmallDisk, seed: number, counts: Counts) {
    this.#disk = disk;
    this.#random = seededRandom(seed);
    this.#counts = counts;
    this.#dir = join(disk.dir, `journal-${seed}`);
    this.#store = this.#open();
    for (let i = 0; i < 120; i++) this.#append();
  }

  /** Fills the disk, does one thing until it fails, and looks at what is left. */
  squeeze(what: Squeeze): void {
    const { kind } = this.#disk;
    const left = this.#below(4) === 0 ? 0 : this.#below(what === "compaction" ? 60_000 : 20_000);
    const about = `${kind}, ${what}, ${left} bytes left`;
    this.#disk.fill(left);
    let error: unknown;
    try {
      for (let tries = 0; tries < 100 && this.#try(what); tries++);
    } catch (caught) {
      error = caught;
      assertNoSpace(error, about);
    }
    count(this.#counts, `${kind} full, ${what}: ${(error as Error)?.name ?? "no error"}`);
    if (error !== undefined) count(this.#counts, `${kind} full: errors`);
    if (what === "close") this.#restartWhenFull(about);
    else if (what === "repair") {
      this.#restartWhenFull(about);
      // Whichever open it was that cut it off, it had a place for it first.
      const kept = readdirSync(join(this.#dir, "quarantine"));
      assert.equal(kept.length, ++this.#torn, about);
    } else if (isStopped(this.#store)) {
      this.#judge(this.#store, about);
      count(this.#counts, `${kind} full: writer stopped`);
      assert.throws(() => this.#store.close(), { code: "WRITER_CRASHED" });
      this.#restartWhenFull(about);
    } else {
      this.#judge(this.#store, about);
      this.#judgeFromOutside(about);
      // Now and then somebody restarts the program before anybody makes room.
      if (this.#below(3) === 0) {
        this.#closeWhenFull(about);
        this.#restartWhenFull(about);
      }
    }
    this.#disk.free();
    // Through the same handle, if its writer has not stopped.
    this.#append();
    this.#append("durable");
    this.#judge(this.#store, `${about}, and room again`);
    this.#judgeFromOutside(about);
    count(this.#counts, `${kind} full: went on when there was room again`);
  }

  /** Closes it, holds it to everything, and removes it. */
  finish(): void {
    this.#disk.free();
    this.#store.close();
    this.#store = this.#open();
    this.#judge(this.#store, "the end");
    this.#store.close();
    assert.deepEqual(verifyJournal(this.#dir).findings, []);
    rmSync(this.#dir, { recursive: true });
  }

  #below(end: number): number {
    return Math.floor(this.#random() * end);
  }

  #open(): Store {
    return Store.open(this.#dir, {
      segmentMaxBytes: 8_000,
      sync: { everyNEvents: 25 },
      coldStart: { saveEveryNEvents: 20 },
    });
  }

  /** Does one thing, and says whether to do it again. */
  #try(what: Squeeze): boolean {
    const store = this.#store;
    switch (what) {
      case "append":
        this.#append();
        return true;
      case "durable append":
        this.#append("durable");
        return true;
      case "roll":
        // Segments are small, so nothing else is needed.
        this.#append("written", 3_000);
        return true;
      case "index save":
        // An index is worth no error, so only the append may fail.
        this.#append();
        store.sync();
        return true;
      case "batch":
        this.#appendBatch();
        return true;
      case "fence":
        this.#fence();
        return true;
      case "compaction": {
        const { outcome, cause, reason } = store.compact({ minSegments: 1, seal: true });
        if (outcome === "failed") throw cause ?? new Error(reason);
        return false;
      }
      case "prune": {
        const { outcome, cause, reason, firstSequence } = store.prune({ below: this.#first + 30 });
        this.#first = firstSequence;
        for (const sequence of this.#acknowledged.keys()) {
          if (sequence < firstSequence) this.#acknowledged.delete(sequence);
        }
        if (outcome === "failed") throw cause ?? new Error(reason);
        return outcome === "performed";
      }
      case "snapshot": {
        const target = join(this.#disk.dir, "copy");
        try {
          store.snapshot(target);
          assert.deepEqual(verifyJournal(target).findings, []);
        } catch (error) {
          assert.throws(() => Store.openReadOnly(target), JournalNotFoundError);
          throw error;
        } finally {
          rmSync(target, { recursive: true, force: true });
        }
        return false;
      }
      case "checkpoint":
        return this.#checkpoint();
      case "open of a new journal": {
        const dir = join(this.#disk.dir, "another");
        try {
          Store.open(dir).close();
        } catch (error) {
          // The next one begins it, whatever this one has left.
          this.#disk.free();
          Store.open(dir).close();
          assert.deepEqual(verifyJournal(dir).findings, []);
          throw error;
        } finally {
          rmSync(dir, { recursive: true, force: true });
        }
        return false;
      }
      case "close":
        this.#closeWhenFull(what);
        return false;
      case "repair":
        store.close();
        this.#disk.free();
        this.#tear();
        this.#disk.fill(this.#below(9_000));
        return false;
    }
  }

  #append(durability: "written" | "durable" = "written", size = this.#below(400)): void {
    const n = this.#count++;
    try {
      const payload = { n, filling: "x".repeat(size) };
      const receipt = this.#store.append(AT, KIND, payload, { durability });
      this.#acknowledged.set(receipt.globalSequence, { id: receipt.eventId, n });
    } catch (error) {
      // After any other failure nothing of it is left.
      if (error instanceof WriterCrashedError) this.#unknown.add(n);
      throw error;
    }
  }

  #appendBatch(): void {
    const items = Array.from({ length: 1 + this.#below(20) }, () => {
      const filling = "x".repeat(this.#below(400));
      return { ...AT, kind: KIND, payload: { n: this.#count++, filling } };
    });
    try {
      this.#store.appendBatch(items).forEach(({ globalSequence, eventId }, i) =>
        this.#acknowledged.set(globalSequence, { id: eventId, n: items[i].payload.n })
      );
    } catch (error) {
      if (error instanceof WriterCrashedError) {
        for (const { payload: { n } } of items) this.#unknown.add(n);
      }
      throw error;
    }
  }

  #fence(): void {
    const fence = this.#store.beginFence();
    const staged: number[] = [];
    try {
      for (let i = 0; i < 5; i++) {
        const n = this.#count++;
        staged.push(n);
        fence.append(AT, KIND, { n, filling: "x".repeat(this.#below(400)) });
      }
      fence.commit().forEach(({ globalSequence, eventId }, i) =>
        this.#acknowledged.set(globalSequence, { id: eventId, n: staged[i] })
      );
    } catch (error) {
      // Whoever does not know what to do next cancels it: that counts, also when it cannot be written.
      if (!(error instanceof WriterCrashedError)) fence[Symbol.dispose]();
      else for (const n of staged) this.#unknown.add(n);
      throw error;
    }
  }

  #checkpoint(): boolean {
    using bound = bindCursor(this.#store, { scope: AT.scope }, "squeezed");
    const before = bound.committed;
    const given = bound.cursor.pollBatch(1 + this.#below(3));
    try {
      bound.commit();
    } catch (error) {
      assert.ok(error instanceof CheckpointWriteError, String(error));
      assert.deepEqual(bound.committed, before);
      bound.rollback();
      const sequences = given.map(({ globalSequence }) => globalSequence);
      const again = bound.cursor.pollBatch(given.length);
      assert.deepEqual(again.map(({ globalSequence }) => globalSequence), sequences);
      throw error;
    }
    return given.length > 0;
  }

  /** Leaves what a process that was killed in the middle of a write would leave: half of an event. */
  #tear(): void {
    const newest = readdirSync(this.#dir).filter((name) => /^\d+\.fbat$/.test(name)).sort().at(-1)!;
    const half = new Uint8Array(300 + this.#below(3_000)).fill(1 + this.#below(255));
    appendFileSync(join(this.#dir, newest), half);
  }

  /** It may fail to say all it wants, and lets go of the journal in any case. */
  #closeWhenFull(about: string): void {
    try {
      this.#store.close();
      count(this.#counts, `${this.#disk.kind} full: closed all the same`);
    } catch (error) {
      assertNoSpace(error, about);
      count(this.#counts, `${this.#disk.kind} full: close failed`);
    }
  }

  /** A reader works on a full disk; a writer does too, or says so and changes nothing. */
  #restartWhenFull(about: string): void {
    this.#judgeFromOutside(about);
    try {
      this.#store = this.#open();
      count(this.#counts, `${this.#disk.kind} full: opened all the same`);
    } catch (error) {
      assertNoSpace(error, about);
      count(this.#counts, `${this.#disk.kind} full: open refused`);
      this.#judgeFromOutside(about);
      this.#disk.free();
      this.#store = this.#open();
    }
    this.#judge(this.#store, about);
    this.#settle();
  }

  #judgeFromOutside(about: string): void {
    using reader = Store.openReadOnly(this.#dir);
    this.#judge(reader, `${about}, from outside`);
  }

  /** What was acknowledged is there, and nothing else but what nobody knows. */
  #judge(reader: JournalReader, about: string): void {
    const found = new Set<number>();
    for (const event of reader.query({ scope: AT.scope })) {
      const { globalSequence, eventId } = event;
      const { n } = event.payload as { n: number };
      const known = this.#acknowledged.get(globalSequence);
      if (known === undefined) {
        assert.ok(this.#unknown.has(n), `${n} at ${globalSequence} came back: ${about}`);
        continue;
      }
      assert.deepEqual({ id: eventId, n }, known, about);
      found.add(globalSequence);
    }
    for (const [sequence, { n }] of this.#acknowledged) {
      assert.ok(found.has(sequence), `${n} at ${sequence} is lost: ${about}`);
    }
  }

  /** What nobody knew is known after an open. */
  #settle(): void {
    for (const event of this.#store.query({ scope: AT.scope })) {
      const { n } = event.payload as { n: number };
      const { globalSequence, eventId } = event;
      if (this.#unknown.has(n)) this.#acknowledged.set(globalSequence, { id: eventId, n });
    }
    this.#unknown.clear();
  }
}

/**
 * Kills processes that write to a full disk, opens what they leave while it is still full, and then makes
 * room.
 */
export async function killWhenFull(
  kind: DiskKind,
  options: {
    readonly seed: number;
    readonly kills: number;
    readonly programs: readonly Program[];
    readonly counts: Counts;
  },
): Promise<void> {
  const { seed, kills, programs, counts } = options;
  const random = seededRandom(seed);
  using disk = mountSmallDisk(kind, DISK_BYTES);
  for (let round = 0; round < kills; round++) {
    const dir = join(disk.dir, `journal-${round - round % 4}`);
    const about = `${kind}, kill ${round}`;
    const [command, ...args] = programs[round % programs.length].command(FILLER);
    const child = spawn(command, [...args, dir, `${seed + round}`], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const closed = once(child, "close");
    const acknowledged: [sequence: number, id: string][] = [];
    let refused = 0;
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const take = async (isEnough: () => boolean) => {
      while (!isEnough()) {
        const { value, done } = await lines.next();
        if (done) return;
        const [first, second] = (value as string).split(" ");
        // The last line may be cut short.
        if (first === "broken") assert.fail(`${about}: ${value}`);
        if (first === "ENOSPC") refused++;
        else if (second?.length === 36) acknowledged.push([Number(first), second]);
      }
    };
    await take(() => acknowledged.length > 20);
    disk.fill(Math.floor(random() * 12_000));
    const enough = 1 + Math.floor(random() * 6);
    await take(() => refused >= enough);
    child.kill("SIGKILL");
    await take(() => false);
    await closed;
    assert.ok(refused > 0, `${about}: the disk was full`);
    count(counts, `${kind} full: kills`);
    count(counts, `${kind} full: refused to those killed`, refused);
    const judge = (reader: JournalReader) => {
      for (const [sequence, id] of acknowledged) {
        assert.equal(reader.get(id)?.globalSequence, sequence, `${sequence} is lost: ${about}`);
      }
    };
    const judgeFromOutside = () => {
      using reader = Store.openReadOnly(dir);
      judge(reader);
      return reader.stats().nextSequence;
    };
    const nextSequence = judgeFromOutside();
    try {
      const store = Store.open(dir);
      judge(store);
      count(counts, `${kind} full: opened after a kill`);
      store.close();
    } catch (error) {
      assertNoSpace(error, about);
      count(counts, `${kind} full: open refused after a kill`);
      assert.ok(judgeFromOutside() >= nextSequence, about);
    }
    disk.free();
    const store = Store.open(dir);
    judge(store);
    store.append(AT, KIND, "room again", { durability: "durable" });
    store.close();
    assert.deepEqual(verifyJournal(dir).findings, [], about);
    if (round % 4 === 3) rmSync(dir, { recursive: true });
    // Its pages go only when the last of the process has gone.
    await sleep(0);
  }
}

function isStopped(store: Store): boolean {
  try {
    store.sync();
    return false;
  } catch (error) {
    assert.ok(error instanceof WriterCrashedError, String(error));
    return true;
  }
}

/** It is one of ours, and what the system said is in it. */
function assertNoSpace(error: unknown, about: string): void {
  // A compaction reports what it met.
  assert.ok(
    error instanceof StoreError || error instanceof IoFault,
    `${about}: ${(error as Error).stack}`,
  );
  let cause: unknown = error;
  while (cause instanceof Error && !(cause instanceof IoFault)) cause = cause.cause;
  assert.ok(cause instanceof IoFault, `${about}: ${error.stack}`);
  assert.equal(cause.code, "ENOSPC", about);
}
