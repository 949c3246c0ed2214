// Everything at once, on real files, with real processes and real kills: producers, fences, consumers,
// compactions, realms that die and owners that are killed and followed by others. The never-skip checker
// watches over all consumers.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type ReadOnlyStore, SigningKey, Store, verifyJournal } from "../mod.ts";
import { seededRandom } from "./support_api/journal.ts";
import {
  auditClaims,
  auditConsumer,
  auditEvents,
  auditOwners,
  count,
  type Counts,
  readOutcomes,
} from "./support_api/stress_audit.ts";
import { REGIONS, sleep, StressConsumer } from "./support_api/stress_consumer.ts";
import { padded } from "./support_api/stress_notes.ts";
import type { OwnerOrder } from "./testdata/stress_owner.ts";

const SECONDS = Number(process.env.BATPAK_STRESS_SECONDS ?? 12);
/** How long it may go on until enough has happened, on a machine that has other things to do. */
const PATIENCE_SECONDS = 60;
/** How long an owner may live, once it is ready. */
const LIFE_MS_MAX = SECONDS > 30 ? 5_000 : 2_500;
const OWNER = fileURLToPath(new URL("testdata/stress_owner.ts", import.meta.url));
/** What has to happen at least once, or the run proves nothing. */
const NEEDED = [
  "kills",
  "ends in order",
  "producers killed",
  "realms of the store killed",
  "realm deaths",
  "crashes",
  "cancelling",
  "vanishing",
  "fences cancelled by an open",
  "compactions performed",
  "acknowledged append",
  "acknowledged batch",
  "acknowledged fence",
];

function startRealm(): Worker {
  return new Worker(new URL("testdata/stress_realm.ts", import.meta.url), { type: "module" });
}

/** A program in this runtime that may read and write files, and nothing else. */
function commandFor(program: string): string[] {
  if (process.versions.bun !== undefined) return [process.execPath, program];
  const permissions = ["--no-prompt", "--allow-read", "--allow-write", "--allow-env"];
  return [process.execPath, "run", "--quiet", ...permissions, program];
}

/** A process that owns the journal for a while. */
class Owner {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown[]>;
  readonly ready: Promise<void>;
  readonly broken: string[] = [];
  #onFencing: () => void = () => {};

  constructor(order: OwnerOrder) {
    const [command, ...args] = commandFor(OWNER);
    this.#child = spawn(command, [...args, JSON.stringify(order)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#exited = once(this.#child, "exit");
    this.ready = new Promise((resolve, reject) => {
      createInterface({ input: this.#child.stdout! }).on("line", (line) => {
        if (line === "ready") resolve();
        else if (line === "fencing") this.#onFencing();
        else this.broken.push(line);
      });
      void this.#exited.then(([code]) => reject(new Error(`the owner ended with code ${code}`)));
    });
    // Whoever does not wait for it kills it earlier.
    this.ready.catch(() => {});
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Resolves when the next fence has begun, or a second has passed. */
  async fencing(): Promise<void> {
    await Promise.race([new Promise<void>((resolve) => this.#onFencing = resolve), sleep(1_000)]);
  }

  async kill(): Promise<void> {
    process.kill(this.#child.pid!, "SIGKILL");
    await this.#exited;
  }

  /** Has it end by itself, and returns its exit code. */
  async end(): Promise<unknown> {
    process.kill(this.#child.pid!, "SIGTERM");
    const [code] = await this.#exited;
    return code;
  }

  /** As {@linkcode kill}, whether or not it is still there. */
  async dispose(): Promise<void> {
    if (!this.hasEnded) await this.kill();
  }
}

/** One run. */
class Stress {
  readonly #dir: string;
  readonly #notesDir: string;
  readonly #seed: number;
  readonly #random: () => number;
  readonly #counts: Counts = {};
  readonly #broken: string[] = [];
  #owner: Owner | undefined;
  #reader: ReadOnlyStore | undefined;
  #consumers: StressConsumer[] = [];

  constructor(root: string, seed: number) {
    this.#dir = join(root, "journal");
    this.#notesDir = join(root, "notes");
    this.#seed = seed;
    this.#random = seededRandom(seed);
    mkdirSync(this.#notesDir);
  }

  async run(): Promise<string> {
    const startMs = performance.now();
    for (let generation = 0;; generation++) {
      await this.#generation(generation);
      this.#auditGeneration();
      const seconds = (performance.now() - startMs) / 1000;
      if (seconds > SECONDS + PATIENCE_SECONDS) break;
      if (seconds > SECONDS && this.#missing().length === 0) break;
    }
    return await this.#finish();
  }

  /** Lets go of everything, also when the run has failed. */
  async dispose(): Promise<void> {
    await this.#owner?.dispose();
    await Promise.all(this.#consumers.map((consumer) => consumer.stop()));
    this.#reader?.close();
  }

  async #generation(generation: number): Promise<void> {
    const random = this.#random;
    const seed = this.#seed + generation * 104_729;
    const owner = this.#owner = new Owner({
      dir: this.#dir,
      notesDir: this.#notesDir,
      generation,
      seed,
    });
    // The first one is given the time to make a journal, and to fill it.
    if (generation > 0 && random() < 0.15) {
      // In the middle of its recovery, perhaps.
      await sleep(random() * 800);
      await owner.kill();
      count(this.#counts, "kills");
    } else {
      await owner.ready;
      this.#reader ??= this.#follow();
      const isOrderly = random() < 0.25;
      await sleep(300 + random() * LIFE_MS_MAX);
      assert.ok(!owner.hasEnded, "the owner goes on until it is told to end");
      if (isOrderly) {
        assert.equal(await owner.end(), 0, "an end in order");
        count(this.#counts, "ends in order");
      } else {
        if (random() < 0.5) await owner.fencing();
        await owner.kill();
        count(this.#counts, "kills");
      }
    }
    this.#broken.push(...owner.broken);
  }

  /** Opens the reader that outlives all owners, with its two consumers. */
  #follow(): ReadOnlyStore {
    const reader = Store.openReadOnly(this.#dir);
    const onBroken = (what: string) => this.#broken.push(what);
    const common = { seed: this.#seed + 5, onBroken };
    const pathOf = (name: string) => `${this.#notesDir}/${name}.0000`;
    this.#consumers = [
      new StressConsumer(reader, {
        ...common,
        name: "reader-function",
        path: pathOf("reader-function"),
      }),
      new StressConsumer(reader, {
        ...common,
        name: "reader-realm",
        path: pathOf("reader-realm"),
        startRealm,
      }),
    ];
    return reader;
  }

  /** What can be looked at between two owners: nobody writes. */
  #auditGeneration(): void {
    assert.deepEqual(this.#broken, []);
    if (this.#reader === undefined) return;
    this.#reader.refresh();
    // Taking a view checks what holds in it.
    this.#reader.frontier();
    auditEvents(this.#reader, readOutcomes(this.#notesDir, {}), {});
    const { intact, findings } = verifyJournal(this.#dir);
    assert.ok(intact, JSON.stringify(findings));
  }

  /** What has not happened yet. */
  #missing(): string[] {
    const counts = { ...this.#counts };
    readOutcomes(this.#notesDir, counts);
    auditOwners(this.#notesDir, counts);
    const reader = this.#reader;
    assert.ok(reader !== undefined, "a generation was ready");
    for (const name of Object.keys(REGIONS)) {
      auditConsumer(reader, this.#notesDir, name, counts, false);
    }
    return NEEDED.filter((name) => counts[name] === undefined);
  }

  /** Has everybody come to the end, and holds the journal and its followers to all notes. */
  async #finish(): Promise<string> {
    const counts = this.#counts;
    const store = Store.open(this.#dir, {
      signingKeys: [SigningKey.fromSeed(new Uint8Array(32).fill(7))],
    });
    const onBroken = (what: string) => this.#broken.push(what);
    for (const consumer of this.#consumers) consumer.calm();
    for (const name of ["owner-function", "owner-realm"]) {
      const order = {
        name,
        path: `${this.#notesDir}/${name}.${padded(9999)}`,
        seed: this.#seed,
        onBroken,
        ...(name === "owner-realm" && { startRealm }),
      };
      this.#consumers.push(new StressConsumer(store, order, true));
    }
    const names = ["reader-function", "reader-realm", "owner-function", "owner-realm"];
    for (const [i, name] of names.entries()) {
      const last = store.query(REGIONS[name]).at(-1)?.globalSequence;
      const startMs = performance.now();
      while (this.#consumers[i].committed !== last) {
        const isLate = performance.now() - startMs > 60_000;
        assert.ok(!isLate, `${name} is at ${this.#consumers[i].committed} of ${last}`);
        await sleep(5);
      }
    }
    await Promise.all(this.#consumers.map((consumer) => consumer.stop()));
    this.#consumers = [];
    assert.deepEqual(this.#broken, []);

    const outcomes = readOutcomes(this.#notesDir, counts);
    auditOwners(this.#notesDir, counts);
    auditEvents(store, outcomes, counts);
    auditClaims(outcomes, counts, (receipt) => store.verifyReceipt(receipt));
    for (const name of names) {
      const report = auditConsumer(store, this.#notesDir, name, counts, true);
      count(counts, "delivered", report.deliveredCount);
      count(counts, "redelivered", report.redeliveredCount);
    }
    const { nextSequence, segmentCount } = store.stats();
    count(counts, "events", nextSequence);
    count(counts, "segments", segmentCount);
    store.close();
    const { intact, findings } = verifyJournal(this.#dir);
    assert.ok(intact, JSON.stringify(findings));
    for (const name of [...NEEDED, "redelivered", "receipts verified"]) {
      assert.ok((counts[name] ?? 0) > 0, `nothing of "${name}" in ${JSON.stringify(counts)}`);
    }
    return Object.entries(counts).map(([name, value]) => `${name} ${value}`).join(", ");
  }
}

test(
  "producers, fences, consumers, kills and reopens, all at once: nothing is lost, skipped or half there",
  { timeout: (SECONDS + PATIENCE_SECONDS + 120) * 1000 },
  async () => {
    const seed = Number(process.env.BATPAK_SEED ?? Date.now() % 1_000_000);
    const root = realpathSync(mkdtempSync(join(tmpdir(), "batpak-stress-")));
    const command =
      `BATPAK_SEED=${seed} BATPAK_STRESS_SECONDS=${SECONDS} deno task test tests/stress_test.ts`;
    const stress = new Stress(root, seed);
    let summary: string;
    try {
      try {
        summary = await stress.run();
      } finally {
        await stress.dispose();
      }
    } catch (error) {
      // The evidence stays: the same seed does not give the same threads.
      throw new Error(`${command}: ${(error as Error).message}; see ${root}`, { cause: error });
    }
    rmSync(root, { recursive: true });
    console.log(`${command}: ${summary}`);
  },
);
