/**
 * Makes a failing plan smaller, for as long as it fails in the same way: fewer lives, fewer acts, fewer
 * faults, plainer events and options.
 *
 * It is greedy and knows nothing of the store: it leaves something out, runs the plan, and keeps what still
 * fails. What comes out is a plan like any other, small enough to be read and to be kept as a test.
 *
 * @module
 */

import type { PlanEvent, PlanLife, PlanOptions, SimAct, SimPlan } from "./plan.ts";
import { PlanFailure, runPlan } from "./plan_run.ts";

/** What came of it. */
export interface Shrunk {
  /** The smallest plan that was found. */
  readonly plan: SimPlan;
  /** How it fails. */
  readonly failure: PlanFailure;
  /** Runs that this took. */
  readonly runs: number;
}

/** How long it may take. */
export interface ShrinkOptions {
  /** Runs at most. Default 3,000. */
  readonly runsMax?: number;
  /** Runs a plan, and throws when it fails. Default {@linkcode runPlan}. */
  readonly run?: (plan: SimPlan) => unknown;
}

/** Makes a failing plan smaller. */
export function shrinkPlan(failure: PlanFailure, options: ShrinkOptions = {}): Shrunk {
  return new Shrinker(failure, options).run();
}

/** What a failure is about, whatever its numbers are. */
export function failureKind({ message }: Error): string {
  const [first] = message.split("\n");
  return first.replace(/^.*? steps: /, "").replace(/[0-9a-f-]{8,}/g, "#").replace(/\d+/g, "#");
}

const PLAINEST: PlanOptions = {
  segmentMaxBytes: 64 << 10,
  syncEveryNEvents: 0,
  indexFile: false,
  footers: false,
  saveEveryNEvents: 0,
  fdBudget: 64,
  chainVerification: "crc",
  syncMode: "data",
};

class Shrinker {
  readonly #kind: string;
  readonly #run: (plan: SimPlan) => unknown;
  readonly #runsMax: number;
  #plan: SimPlan;
  #failure: PlanFailure;
  #runs = 0;

  constructor(failure: PlanFailure, { run = runPlan, runsMax = 3000 }: ShrinkOptions) {
    this.#kind = failureKind(failure);
    this.#run = run;
    this.#runsMax = runsMax;
    this.#failure = failure;
    this.#plan = failure.plan;
  }

  run(): Shrunk {
    let before: string | undefined;
    while (before !== JSON.stringify(this.#plan)) {
      before = JSON.stringify(this.#plan);
      for (const history of [0, 1]) {
        if (history < this.#plan.history && this.#try({ ...this.#plan, history })) break;
      }
      this.#dropLives();
      this.#dropActs();
      this.#plainDisks();
      this.#plainActs();
      this.#plainOptions();
    }
    return { plan: this.#plan, failure: this.#failure, runs: this.#runs };
  }

  /** Keeps a plan when it fails like the one we have. */
  #try(plan: SimPlan): boolean {
    if (this.#runs >= this.#runsMax) return false;
    this.#runs++;
    try {
      this.#run(plan);
    } catch (error) {
      if (!(error instanceof PlanFailure) || failureKind(error) !== this.#kind) return false;
      this.#plan = plan;
      this.#failure = error;
      return true;
    }
    return false;
  }

  #tryLife(index: number, change: Partial<PlanLife>): boolean {
    const lives = this.#plan.lives.map((life, i) => i === index ? { ...life, ...change } : life);
    return this.#try({ ...this.#plan, lives });
  }

  #dropLives(): void {
    for (let index = this.#plan.lives.length - 1; index >= 0; index--) {
      const lives = this.#plan.lives.filter((_, i) => i !== index);
      if (lives.length > 0) this.#try({ ...this.#plan, lives });
    }
  }

  /** Half of them at a time, then a quarter, and at last one by one. */
  #dropActs(): void {
    for (let index = this.#plan.lives.length - 1; index >= 0; index--) {
      if (this.#plan.lives[index].probes.length > 0) this.#tryLife(index, { probes: [] });
      for (let size = this.#plan.lives[index].acts.length; size >= 1; size = Math.floor(size / 2)) {
        for (let end = this.#plan.lives[index].acts.length; end > 0; end -= size) {
          const { acts } = this.#plan.lives[index];
          const start = Math.max(0, end - size);
          this.#tryLife(index, { acts: [...acts.slice(0, start), ...acts.slice(end)] });
        }
      }
    }
  }

  #plainDisks(): void {
    for (const [index, { disk, crash }] of this.#plan.lives.entries()) {
      this.#tryLife(index, { disk: { faults: disk.faults } });
      for (const kind of Object.keys(disk.faults)) {
        const { faults } = this.#plan.lives[index].disk;
        const left = Object.fromEntries(Object.entries(faults).filter(([name]) => name !== kind));
        this.#tryLife(index, { disk: { ...this.#plan.lives[index].disk, faults: left } });
      }
      for (const policy of ["processKill", "durable", "ordered"] as const) {
        if (policy === crash.policy || this.#tryLife(index, { crash: { ...crash, policy } })) break;
      }
      if (crash.at !== 1) {
        this.#tryLife(index, { crash: { ...this.#plan.lives[index].crash, at: 1 } });
      }
    }
  }

  #plainActs(): void {
    for (let index = 0; index < this.#plan.lives.length; index++) {
      for (let i = 0; i < this.#plan.lives[index].acts.length; i++) {
        // Of the act as it is by now: what was kept may have plainer forms of its own.
        for (let n = 0;; n++) {
          const { acts } = this.#plan.lives[index];
          const changes = plainer(acts[i]);
          if (n >= changes.length) break;
          const act = { ...acts[i], ...changes[n] } as SimAct;
          if (JSON.stringify(act) === JSON.stringify(acts[i])) continue;
          this.#tryLife(index, { acts: acts.map((old, at) => at === i ? act : old) });
        }
      }
    }
  }

  #plainOptions(): void {
    for (const [name, value] of Object.entries(PLAINEST)) {
      const options = { ...this.#plan.options, [name]: value };
      if (this.#plan.options[name as keyof PlanOptions] !== value) {
        this.#try({ ...this.#plan, options });
      }
    }
  }
}

const PLAIN_EVENT: PlanEvent = { entity: 0, lane: 0, size: 8 };

/** Plainer forms of an act, each to be tried for itself. */
function plainer(act: SimAct): object[] {
  switch (act.do) {
    case "append":
      return [
        { event: PLAIN_EVENT },
        { event: { ...act.event, lane: 0 } },
        { event: { ...act.event, size: 8 } },
        { event: { ...act.event, key: undefined } },
        { condition: undefined },
        { durable: false },
      ];
    case "batch":
    case "stage": {
      const half = Math.ceil(act.events.length / 2);
      const events = [
        act.events.slice(0, half),
        act.events.slice(0, -1),
        act.events.map(() => PLAIN_EVENT),
        act.events.map(({ key: _, ...event }) => event),
      ];
      const fewer = events.filter(({ length }) => length > 0).map((events) => ({ events }));
      return act.do === "stage" ? fewer : [...fewer, { durable: false }];
    }
    case "compact":
      return [{ strategy: "merge" }, { inSteps: false }, { seal: false }];
    case "compactionSteps":
      return [{ count: 1 }, { count: act.count - 1 || 1 }];
    case "prune":
      return [{ seal: false }];
    case "copy":
      return [{ how: "snapshot" }, { share: "copy" }];
    case "import":
      return [{ count: 1 }, { chunkSize: 4 }, { durable: false }];
    case "checkpoint":
      return [{ count: 1 }, { id: "all" }, { commit: true }];
    case "time":
      return [{ us: 0 }];
    default:
      return [];
  }
}
