/**
 * Processes that fight for one journal.
 *
 * Each opens it for writing in a loop, appends when it wins, and goes; some are killed while they own it,
 * some stopped for a while. Three things say that there is never more than one owner: a witness file that
 * only one can make, the journal itself, in which the events of two owners would mix, and the clock of an
 * entity that each owner goes on with from where the last one left it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { EventKind, Store, StoreLockedError, verifyJournal } from "../../mod.ts";
import { seededRandom } from "./journal.ts";
import { count, type Counts } from "./stress_audit.ts";
import { sleep } from "./stress_consumer.ts";
import type { Program } from "./torture_programs.ts";

const FIGHTER = fileURLToPath(new URL("../testdata/torture_fighter.ts", import.meta.url));
const ONLOOKER = fileURLToPath(new URL("../testdata/torture_onlooker.ts", import.meta.url));
/** What every owner appends to: its clock is the token that is handed from one to the next. */
export const TOKEN = { entity: "lock:token", scope: "fight" } as const;
/** Nobody may wait longer for an answer, on a machine that has other things to do. */
const ANSWER_MS_MAX = 10_000;
/** Nor for a turn. */
const TURN_MS_MAX = 30_000;

/** What a fighter is told. */
export interface FighterOrder {
  readonly dir: string;
  readonly witness: string;
  readonly name: string;
  readonly seed: number;
}

/** What it says. */
export type FighterNote =
  /** Somebody else has it; how long the answer took. */
  | { readonly t: "lost"; readonly ms: number }
  /** It owns the journal; `opened` is the sequence of its open event, `found` whose witness was there. */
  | {
    readonly t: "won";
    readonly ms: number;
    readonly opened: number;
    readonly found: string | null;
  }
  | { readonly t: "ack"; readonly sequence: number; readonly clock: number }
  /** It is about to let go. */
  | { readonly t: "leaving" }
  | { readonly t: "left" }
  | { readonly t: "broken"; readonly what: string };

/** What an onlooker says; `seen` is how many events there were. */
export type OnlookerNote =
  | { readonly t: "seen"; readonly seen: number }
  | { readonly t: "broken"; readonly what: string };

/** How a fight is held. */
export interface FightOptions {
  /** A directory of its own. On a violation it is left as evidence. */
  readonly root: string;
  readonly seed: number;
  readonly seconds: number;
  readonly fighters: number;
  /** What they run on, in turn. */
  readonly programs: readonly Program[];
  readonly counts: Counts;
}

/** A process that fights, and what it has said. */
class Fighter {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown[]>;
  readonly notes: FighterNote[] = [];
  /** Whether it owns the journal, by its own word. */
  isOwner = false;
  lastTurnMs = performance.now();

  constructor(program: Program, order: FighterOrder) {
    this.name = order.name;
    const [command, ...args] = program.command(FIGHTER);
    this.#child = spawn(command, [...args, JSON.stringify(order)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#exited = once(this.#child, "close");
    createInterface({ input: this.#child.stdout! }).on("line", (line) => this.#take(line));
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  signal(signal: "SIGSTOP" | "SIGCONT" | "SIGKILL"): void {
    // The method of the child would do nothing after its first signal, in Deno.
    if (!this.hasEnded) process.kill(this.#child.pid!, signal);
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.#exited;
  }

  #take(line: string): void {
    let note: FighterNote;
    try {
      note = JSON.parse(line);
    } catch {
      // A kill has cut it.
      return;
    }
    this.notes.push(note);
    if (note.t === "won") {
      this.isOwner = true;
      this.lastTurnMs = performance.now();
    }
    if (note.t === "leaving") this.isOwner = false;
  }
}

/** Has processes fight for a journal, and holds it to what they were told. */
export async function fight(options: FightOptions): Promise<void> {
  const { root, seed, seconds, programs, counts } = options;
  const random = seededRandom(seed);
  const dir = join(root, "journal");
  const witness = join(root, "witness");
  mkdirSync(dir, { recursive: true });
  const killed = new Set<string>();
  const all: Fighter[] = [];
  const slots: Fighter[] = [];
  const enter = (slot: number) => {
    const name = `${slot}.${all.length}`;
    const order = { dir, witness, name, seed: seed + 31 * all.length };
    const fighter = new Fighter(programs[slot % programs.length], order);
    slots[slot] = fighter;
    all.push(fighter);
  };
  for (let slot = 0; slot < options.fighters; slot++) enter(slot);
  const onlookers = programs.map((program) => new Onlooker(program, dir));
  try {
    const endMs = performance.now() + seconds * 1000;
    const turns = () =>
      all.reduce((sum, { notes }) => sum + notes.filter(({ t }) => t === "won").length, 0);
    // On a machine that is slow it takes longer until enough has happened.
    const hasHistory = () => turns() > 2 * slots.length && killed.size > 0;
    while (performance.now() < endMs || (!hasHistory() && performance.now() < endMs + 60_000)) {
      await sleep(20 + random() * 120);
      for (const { hasEnded, notes } of slots) {
        assert.ok(!hasEnded, `a fighter ended by itself: ${JSON.stringify(notes.at(-1))}`);
      }
      const owner = slots.find(({ isOwner }) => isOwner);
      const dice = random();
      if (dice < 0.25) {
        // The owner, if there is one just now; else anybody who has begun to fight.
        const victim = owner ?? slots[Math.floor(random() * slots.length)];
        if (victim.notes.length === 0) continue;
        killed.add(victim.name);
        count(counts, victim.isOwner ? "lock: owners killed" : "lock: others killed");
        await victim.kill();
        enter(slots.indexOf(victim));
      } else if (dice < 0.45 && owner !== undefined) await stop(owner, dir, counts);
    }
    const now = performance.now();
    for (const { name, lastTurnMs, notes } of slots) {
      assert.ok(now - lastTurnMs < TURN_MS_MAX, `${name} had no turn for ${now - lastTurnMs} ms`);
      assert.ok(notes.length > 0 || now - lastTurnMs < ANSWER_MS_MAX, `${name} has no answer`);
    }
  } finally {
    for (const { name } of slots) killed.add(name);
    await Promise.all(slots.map((fighter) => fighter.kill()));
    await Promise.all(onlookers.map((onlooker) => onlooker.end(counts)));
    writeFileSync(
      join(root, "notes.json"),
      JSON.stringify(all.map(({ name, notes }) => ({ name, notes }))),
    );
  }
  audit(dir, all, killed, counts);
}

/** Stops the owner for a while: nobody else gets in, and whoever reads does not care. */
async function stop(owner: Fighter, dir: string, counts: Counts): Promise<void> {
  owner.signal("SIGSTOP");
  try {
    // What it had said before is on its way.
    await sleep(30);
    if (!owner.isOwner) return;
    const read = () => {
      using reader = Store.openReadOnly(dir);
      return reader.stats().nextSequence;
    };
    const before = read();
    const startMs = performance.now();
    assert.throws(() => Store.open(dir), StoreLockedError);
    await sleep(150);
    assert.throws(() => Store.open(dir), StoreLockedError);
    assert.ok(performance.now() - startMs < ANSWER_MS_MAX, "a refusal does not wait");
    assert.equal(read(), before, "nobody writes while the owner is stopped");
    assert.ok(owner.isOwner);
    count(counts, "lock: owners stopped, and kept their lock");
  } finally {
    owner.signal("SIGCONT");
  }
}

/** A process that reads beside them. */
class Onlooker {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown[]>;
  readonly #notes: OnlookerNote[] = [];

  constructor(program: Program, dir: string) {
    const [command, ...args] = program.command(ONLOOKER);
    this.#child = spawn(command, [...args, dir], { stdio: ["ignore", "pipe", "inherit"] });
    this.#exited = once(this.#child, "close");
    createInterface({ input: this.#child.stdout! }).on(
      "line",
      (line) => line.endsWith("}") && this.#notes.push(JSON.parse(line)),
    );
  }

  async end(counts: Counts): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exited;
    const broken = this.#notes.find(({ t }) => t === "broken");
    assert.equal(broken, undefined, JSON.stringify(broken));
    count(counts, "lock: looks of readers beside them", this.#notes.length);
    assert.ok(this.#notes.length > 0, "an onlooker has looked");
  }
}

/** One owner after the other, by everything there is. */
function audit(
  dir: string,
  fighters: readonly Fighter[],
  killed: ReadonlySet<string>,
  counts: Counts,
): void {
  using reader = Store.openReadOnly(dir);
  /** Open events, each of which belongs to one turn. */
  const opens = new Map<number, string>();
  const acknowledged = new Map<number, { readonly name: string; readonly clock: number }>();
  for (const { name, notes } of fighters) {
    for (const note of notes) {
      switch (note.t) {
        case "broken":
          assert.fail(`${name}: ${note.what}`);
          break;
        case "lost":
          count(counts, "lock: contests lost");
          assert.ok(note.ms < ANSWER_MS_MAX, `${name} waited ${note.ms} ms to be refused`);
          break;
        case "won":
          count(counts, "lock: contests won");
          assert.ok(!opens.has(note.opened), `two have opened at ${note.opened}`);
          opens.set(note.opened, name);
          if (note.found !== null) {
            assert.ok(killed.has(note.found), `${name} met ${note.found}, who was alive`);
            count(counts, "lock: witnesses that the dead have left");
          }
          break;
        case "ack":
          assert.ok(!acknowledged.has(note.sequence), `two have got ${note.sequence}`);
          acknowledged.set(note.sequence, { name, clock: note.clock });
      }
    }
  }
  let owner: string | undefined;
  let clock = -1;
  let found = 0;
  const { firstSequence, nextSequence } = reader.stats();
  for (let sequence = firstSequence; sequence < nextSequence; sequence++) {
    const event = reader.at(sequence);
    assert.ok(event !== undefined, `${sequence} is there`);
    if (event.kind === EventKind.SYSTEM_OPEN_COMPLETED) {
      // One that was killed before it could say so has no turn, and appends nothing.
      owner = opens.get(sequence);
      opens.delete(sequence);
    }
    if (event.scope !== TOKEN.scope) continue;
    const { name } = event.payload as { readonly name: string };
    assert.equal(owner, name, `${sequence} is of ${name}, and ${owner} owned the journal`);
    assert.equal(event.clock, ++clock, `the token at ${sequence}`);
    const known = acknowledged.get(sequence);
    if (known !== undefined) {
      assert.deepEqual({ name, clock }, known, `${sequence} is what was acknowledged`);
      found++;
    }
  }
  assert.equal(found, acknowledged.size, "everything acknowledged is there");
  assert.equal(opens.size, 0, "every turn begins with an open event");
  count(counts, "lock: events acknowledged", found);
  const { intact, findings } = verifyJournal(dir);
  assert.ok(intact, JSON.stringify(findings));
}
