/**
 * Kills processes over a journal, one after the other, and holds it to what each of them was told.
 *
 * A moment is chosen in one of two ways. Without help, the parent waits until the process says that it
 * begins something, and kills it so many microseconds later. With `strace`, the kernel kills it in front of
 * its n-th write, sync, rename, …: steps that take no time are hit like any other, and the same order dies
 * at the same place again.
 *
 * @module
 */
import assert from "node:assert/strict";
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  bindCursor,
  CorruptionError,
  JournalNotFoundError,
  loadCheckpoint,
  type ReadOnlyStore,
  Store,
  verifyJournal,
} from "../../mod.ts";
import { seededRandom } from "./journal.ts";
import type { CuttableDisk } from "./small_disk.ts";
import { count, type Counts } from "./stress_audit.ts";
import { countOpen, Ledger } from "./torture_ledger.ts";
import { CHECKPOINT_ID, KEY, type Note, REGION, STEPS, type WriterOrder } from "./torture_load.ts";
import { type Moment, runUntil } from "./torture_moment.ts";
import type { Program } from "./torture_programs.ts";

const WRITER = fileURLToPath(new URL("../testdata/torture_writer.ts", import.meta.url));
/** What a kernel can be asked to kill in front of; a name that a machine does not have is left out. */
const CALLS: readonly { readonly names: string; readonly countMax: number }[] = [
  { names: "?pwrite64", countMax: 150 },
  { names: "?fdatasync", countMax: 40 },
  { names: "?fsync", countMax: 80 },
  { names: "?rename,?renameat,?renameat2", countMax: 40 },
  { names: "?unlink,?unlinkat", countMax: 25 },
  { names: "?ftruncate", countMax: 40 },
  // What it would have said next. In front of an answer, the work is done.
  { names: "?write", countMax: 200 },
];

/** What is to be done. */
export interface KillOptions {
  /** A directory of its own. On a violation it is left as evidence. */
  readonly root: string;
  readonly seed: number;
  /** What the processes run on, one of them at a time. */
  readonly programs: readonly Program[];
  /** Whether `strace` is there. */
  readonly canTrace: boolean;
  /** Journals lie on this disk, and its power is cut, instead of a process killed. */
  readonly disk?: CuttableDisk;
  readonly counts: Counts;
}

/** Rounds of kills over one journal after the other. */
export class Kills {
  readonly #options: KillOptions;
  readonly #random: () => number;
  #round = 0;
  #journals = 0;
  #roundsLeft = 0;
  #dir = "";
  #copiesDir = "";
  #ledger: Ledger;

  /** Nothing is done yet. */
  constructor(options: KillOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed);
    this.#ledger = new Ledger(options.counts);
  }

  /** Runs a process, kills it, and looks at what it leaves. */
  async round(): Promise<void> {
    if (this.#roundsLeft === 0) this.#begin();
    this.#round++;
    this.#roundsLeft--;
    await this.#life();
    // Where nobody repairs anything.
    const isThorough = this.#round % 8 === 0;
    using reader = this.#openReader();
    const powerCut = this.#options.disk !== undefined;
    if (reader !== undefined) {
      this.#ledger.judge(reader, { thorough: isThorough, powerCut });
      // Before the first open has come to its end, store.meta may be missing, and verify says so.
      if (isThorough && this.#ledger.hasOpened) assertIntact(this.#dir);
    } else assert.ok(!this.#ledger.hasOpened, "there is no journal");
    this.#ledger.settleCheckpoint(loadCheckpoint(this.#dir, CHECKPOINT_ID));
    this.#judgeCopies(reader);
    if (this.#roundsLeft === 0) this.#checkAsWriter(true);
    // Else the next process finds it as this one left it.
    else if (this.#random() < 0.2) this.#checkAsWriter(false);
    if (this.#roundsLeft === 0) this.#remove();
  }

  /** Looks at the last journal once more. */
  finish(): void {
    if (this.#roundsLeft === 0) return;
    this.#checkAsWriter(true);
    this.#remove();
  }

  #begin(): void {
    const { disk, root } = this.#options;
    const base = join(disk?.dir ?? root, `journal-${this.#journals++}`);
    this.#dir = join(base, "data");
    this.#copiesDir = join(base, "copies");
    mkdirSync(this.#copiesDir, { recursive: true });
    this.#ledger = new Ledger(this.#options.counts);
    this.#roundsLeft = 10 + Math.floor(this.#random() * 25);
  }

  #remove(): void {
    count(this.#options.counts, "journals");
    rmSync(join(this.#dir, ".."), { recursive: true });
    rmSync(join(this.#options.root, `notes-${this.#journals}.log`));
    this.#roundsLeft = 0;
  }

  async #life(): Promise<void> {
    const { programs, canTrace, seed, counts, disk } = this.#options;
    const random = this.#random;
    const below = (end: number) => Math.floor(random() * end);
    const program = programs[below(programs.length)];
    const focus = STEPS[below(STEPS.length)];
    const beginsLarge = disk === undefined && random() < 0.08;
    const isTraced = canTrace && !beginsLarge && random() < 0.3;
    // Some end by themselves, unless they are killed meanwhile.
    const isShort = isTraced || random() < 0.15;
    const order: WriterOrder = {
      dir: this.#dir,
      copiesDir: this.#copiesDir,
      life: `${this.#round}`,
      seed: seed + this.#round * 104_729,
      focus,
      ...(isShort && { steps: 20 + below(60) }),
      beginsLarge,
      retries: this.#ledger.retriesFor(random),
    };
    let command = [...program.command(WRITER), JSON.stringify(order)];
    let moment: Moment | undefined;
    if (isTraced) {
      const { names, countMax } = CALLS[below(CALLS.length)];
      // The first ones are those of the open.
      const nth = 1 + below(random() < 0.4 ? 8 : countMax);
      const injection = `inject=${names}:signal=SIGKILL:when=${nth}`;
      const quiet = ["-f", "-qq", "-o", "/dev/null", "-e", `trace=${names}`];
      command = ["strace", ...quiet, "-e", injection, ...command];
    } else if (beginsLarge) {
      const grownBy = 1 + below(800_000);
      moment = { phase: "batch", nth: 1, delayUs: 0, lifeMs: 2_000, dir: this.#dir, grownBy };
    } else {
      const phases = [focus, "open", "commit", "idle", "close", "retry", "any"];
      moment = {
        phase: random() < 0.6 ? focus : phases[below(phases.length)],
        // Some live long enough to have a past.
        nth: 1 + below(random() < 0.4 ? 3 : 25),
        delayUs: random() < 0.3 ? 0 : random() * (random() < 0.5 ? 400 : 4_000),
        // Whatever happens, it dies in the end.
        lifeMs: (40 + random() * 160) * (disk === undefined ? 1 : 4),
      };
    }
    this.#log({ round: this.#round, program: program.name, moment, command });
    this.#ledger.begin();
    const { lines, isKilled } = await runUntil(command, moment, disk);
    if (disk !== undefined) {
      if (!isKilled) disk.keep();
      disk.cutPower();
      count(counts, "power cuts");
    }
    for (const line of lines) this.#log(line);
    for (const line of lines) this.#ledger.take(JSON.parse(line) as Note);
    count(counts, `lives on ${program.name}`);
    if (isKilled) {
      const { phase } = this.#ledger;
      count(counts, isTraced ? "kills in front of a system call" : "kills after a delay");
      count(counts, `kills during ${phase === "idle" ? "a pause" : phase}`);
      this.#countLeftovers();
    } else count(counts, "ends in order");
  }

  /** Keeps what was said, for whoever has to find out what happened. */
  #log(what: unknown): void {
    const line = typeof what === "string" ? what : JSON.stringify(what);
    appendFileSync(join(this.#options.root, `notes-${this.#journals}.log`), `${line}\n`);
  }

  /** What a kill has left says better than any note what it has hit. */
  #countLeftovers(): void {
    for (const folder of [this.#dir, join(this.#dir, "cursors"), join(this.#dir, "quarantine")]) {
      if (!existsSync(folder)) continue;
      for (const name of readdirSync(folder)) {
        const what = leftoverIn(folder, name);
        if (what !== undefined) count(this.#options.counts, `left half-way: ${what}`);
      }
    }
  }

  #openReader(): ReadOnlyStore | undefined {
    try {
      return Store.openReadOnly(this.#dir, { signingKeys: [KEY] });
    } catch (error) {
      if (!(error instanceof JournalNotFoundError)) throw error;
      return undefined;
    }
  }

  /** Opens it for writing here, so that this runtime repairs what the other one has left. */
  #checkAsWriter(isLast: boolean): void {
    const { counts } = this.#options;
    const store = Store.open(this.#dir, {
      signingKeys: [KEY],
      chainVerification: this.#random() < 0.3 ? "recompute" : "crc",
    });
    const { openReport: { repairs, oddities, path } } = store;
    countOpen(counts, { repairs: repairs.length, oddities, path });
    this.#ledger.judge(store, { thorough: isLast });
    if (isLast) {
      using bound = bindCursor(store, REGION, CHECKPOINT_ID);
      this.#ledger.finishConsumer(store, bound.cursor.pollBatch(1_000_000));
    }
    store.close();
    const { findings } = verifyJournal(this.#dir, { verifyingKeys: [KEY.publicKey] });
    assert.deepEqual(findings.filter(({ type }) => type !== "unusable"), []);
    for (const folder of [this.#dir, join(this.#dir, "cursors")]) {
      if (!existsSync(folder)) continue;
      const left = readdirSync(folder).filter((name) => /compact|\.stage/.test(name));
      // A checkpoint's are removed by whoever works under its name next.
      if (folder === this.#dir || isLast) assert.deepEqual(left, [], folder);
    }
    count(counts, "checks by a writer here");
  }

  /** What was reported is whole; what was not is whole, or no journal at all. */
  #judgeCopies(source: ReadOnlyStore | undefined): void {
    for (const { target, nextSequence } of this.#ledger.takeCopies()) {
      let copy: ReadOnlyStore;
      try {
        copy = Store.openReadOnly(target);
      } catch (error) {
        const isRefusal = error instanceof JournalNotFoundError || error instanceof CorruptionError;
        if (nextSequence !== undefined || !isRefusal) throw error;
        count(this.#options.counts, "copies cut short, and refused");
        rmSync(target, { recursive: true, force: true });
        continue;
      }
      const { firstSequence, ...stats } = copy.stats();
      if (nextSequence !== undefined) assert.equal(stats.nextSequence, nextSequence, target);
      assert.ok(source !== undefined);
      for (let sequence = firstSequence; sequence < stats.nextSequence; sequence++) {
        const ours: Uint8Array | undefined = source.at(sequence)?.eventHash;
        const theirs = copy.at(sequence)?.eventHash;
        // The source may have been pruned since.
        if (ours !== undefined) assert.deepEqual(theirs, ours, `${target}: ${sequence}`);
      }
      copy.close();
      assertIntact(target);
      count(this.#options.counts, "copies compared with their source");
      rmSync(target, { recursive: true });
    }
  }
}

/** What was being written under a temporary name; `undefined` when the name is none. */
function leftoverIn(folder: string, name: string): string | undefined {
  if (name.endsWith(".compact-new")) return "a merged segment";
  if (name.endsWith(".compact-src")) return "a compaction, before its end";
  if (!name.startsWith(".stage-")) return undefined;
  if (folder.endsWith("cursors")) return "a checkpoint";
  if (folder.endsWith("quarantine")) return "a repair";
  const magic = readFileSync(join(folder, name)).subarray(0, 6).toString("latin1");
  if (magic === "FBATIX") return "an index file";
  if (magic === "FBATSM") return "store.meta";
  if (magic.startsWith("FBAT")) return "a roll";
  return magic === "" ? "a file without a byte" : "another file";
}

function assertIntact(dir: string): void {
  const { intact, findings } = verifyJournal(dir, { verifyingKeys: [KEY.publicKey] });
  assert.ok(intact, `${dir}: ${JSON.stringify(findings)}`);
}
