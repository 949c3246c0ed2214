import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import {
  bindCursor,
  EventKind,
  loadCheckpoint,
  NeverSkipChecker,
  saveCheckpoint,
  Store,
} from "../mod.ts";
import {
  inTempDir,
  parseLines,
  type Ran,
  runHere,
  type Running,
  runProcess,
  startProcess,
} from "../tests/command.ts";

const ORDERS = { entity: "order" };

/** A file that another test's worker is made of. Its `init` says where to note, and what goes wrong. */
function testdata(name: string): string {
  return fileURLToPath(new URL(`../delivery/realm/testdata/${name}`, import.meta.url));
}

/** A journal, a handler that notes what it is given, and the command between them. */
class Fixture implements Disposable {
  readonly store: Store;
  readonly #notes: string;

  constructor(dir: string) {
    this.store = Store.open(`${dir}/journal`, { segmentMaxBytes: 20_000 });
    this.#notes = `${dir}/notes`;
  }

  get dir(): string {
    return this.store.dir;
  }

  append(count: number): void {
    for (let i = 0; i < count; i++) {
      this.store.append({ entity: `order:${i % 3}`, scope: "shop" }, EventKind.DATA, i);
      this.store.append({ entity: "other", scope: "shop" }, EventKind.DATA, i);
    }
  }

  /** The command line for a worker over all orders; `plan` is what the handler does. */
  args(plan: Record<string, unknown> = {}, ...flags: string[]): string[] {
    const init = JSON.stringify({ notes: this.#notes, ...plan });
    const module = testdata("handler.ts");
    const required = ["--module", module, "--checkpoint", "mailer", "--entity", ORDERS.entity];
    return ["worker", this.dir, ...required, "--init", init, ...flags];
  }

  /** The batches that were handled, as sequences. A line that is being written is none yet. */
  get batches(): number[][] {
    const text = existsSync(this.#notes) ? readFileSync(this.#notes, "utf8") : "";
    return parseLines(text.slice(0, text.lastIndexOf("\n") + 1))
      .map(({ sequences }) => sequences as number[]);
  }

  get sequences(): number[] {
    return this.store.query(ORDERS).map(({ globalSequence }) => globalSequence);
  }

  /** What the next run begins behind. */
  get committed(): number | undefined {
    const checkpoint = loadCheckpoint(this.dir, "mailer");
    return checkpoint?.started ? checkpoint.position : undefined;
  }

  /** Waits until so many batches have been handled. */
  async untilHandled(running: Running, batchCount: number): Promise<void> {
    await running.until(() => this.batches.length >= batchCount);
  }

  [Symbol.dispose](): void {
    this.store.close();
  }
}

function withJournal(action: (fixture: Fixture) => Promise<void>): Promise<void> {
  return inTempDir(async (dir) => {
    using fixture = new Fixture(dir);
    await action(fixture);
  });
}

/** The remarks of a run with `--json`, less what the runtime prints. */
function notesOf({ err }: Ran): Record<string, unknown>[] {
  return parseLines(err.split("\n").filter((line) => line.startsWith("{")).join("\n"));
}

function errorOf(ran: Ran): Record<string, unknown> {
  return notesOf(ran).at(-1)?.error as Record<string, unknown>;
}

test("worker --once hands over what there is, in order and in batches, and goes on the next time", () =>
  withJournal(async (fixture) => {
    fixture.append(5);
    const first = await runProcess(fixture.args({}, "--once", "--batch", "2", "--json"));
    assert.equal(first.code, 0, first.err);
    assert.equal(first.out, "");
    // Sequence 0 is the open event, and every second one is somebody else's.
    assert.deepEqual(fixture.batches, [[1, 3], [5, 7], [9]]);
    assert.deepEqual(notesOf(first), [
      { note: "started", checkpointId: "mailer", position: null, nextSequence: 11 },
      { note: "stopped", reason: "stopped", position: 9, deliveries: 3, restarts: 0 },
    ]);
    fixture.append(1);
    const second = await runProcess(fixture.args({}, "--once", "--json"));
    assert.equal(second.code, 0, second.err);
    assert.deepEqual(fixture.batches.slice(3), [[11]]);
    assert.deepEqual(notesOf(second), [
      { note: "started", checkpointId: "mailer", position: 9, nextSequence: 13 },
      { note: "stopped", reason: "stopped", position: 11, deliveries: 1, restarts: 0 },
    ]);
    const third = await runProcess(fixture.args({}, "--once"));
    assert.equal(third.code, 0);
    assert.equal(
      third.err,
      'batpak: worker "mailer" begins behind sequence 11; the journal\'s next sequence is 13\n' +
        "batpak: ended at sequence 11, after 0 batches\n",
    );
    assert.equal(fixture.batches.length, 4);
  }));

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`worker follows a live writer; ${signal} commits the batch in hand and ends with 0`, () =>
    withJournal(async (fixture) => {
      const checker = new NeverSkipChecker();
      fixture.append(3);
      const at = 17;
      const running = startProcess(fixture.args({ at, fault: "waitForStop" }, "--batch", "4"));
      await fixture.untilHandled(running, 1);
      assert.deepEqual(fixture.batches, [[1, 3, 5]]);
      // Written here, while it runs there.
      fixture.append(4);
      await running.until(() => fixture.batches.flat().includes(13));
      fixture.append(2);
      await running.until(() => fixture.batches.flat().includes(at));
      // The handler of this batch comes back when it is told to stop, and not before.
      assert.ok((fixture.committed ?? 0) < at);
      running.signal(signal);
      const ran = await running.ended;
      assert.equal(ran.code, 0, ran.err);
      assert.equal(fixture.committed, fixture.batches.flat().at(-1));
      for (const sequences of fixture.batches) {
        checker.delivered(sequences.map((globalSequence) => ({ globalSequence })));
      }
      const before = fixture.batches.length;
      fixture.append(2);
      checker.restarted({ position: fixture.committed!, started: true });
      const next = await runProcess(fixture.args({}, "--once"));
      assert.equal(next.code, 0, next.err);
      for (const sequences of fixture.batches.slice(before)) {
        checker.delivered(sequences.map((globalSequence) => ({ globalSequence })));
      }
      const report = checker.finish(fixture.store, ORDERS);
      assert.equal(report.redeliveredCount, 0);
      assert.deepEqual(fixture.batches.flat(), fixture.sequences);
    }));
}

test("a worker killed at any moment is given at most one batch again, and nothing is skipped", () =>
  withJournal(async (fixture) => {
    const seed = Number(process.env.BATPAK_SEED ?? Date.now() % 1_000_000);
    let state = seed + 1;
    const random = () => (state = state * 48271 % 0x7fffffff) / 0x7fffffff;
    const batchSize = 5;
    const checker = new NeverSkipChecker();
    let seen = 0;
    const tell = () => {
      const { batches } = fixture;
      for (const sequences of batches.slice(seen)) {
        checker.delivered(sequences.map((globalSequence) => ({ globalSequence })));
      }
      seen = batches.length;
    };
    for (let round = 0; round < 6; round++) {
      fixture.append(300);
      const running = startProcess(fixture.args({}, "--batch", String(batchSize)));
      if (random() < 0.8) await fixture.untilHandled(running, seen + 1);
      await new Promise((resolve) => setTimeout(resolve, random() * 40));
      running.signal("SIGKILL");
      await running.ended;
      tell();
      const position = fixture.committed;
      checker.restarted({ position: position ?? 0, started: position !== undefined });
      // What was noted behind the checkpoint comes again.
      const again = fixture.batches.flat().filter((sequence) => sequence > (position ?? -1));
      assert.ok(new Set(again).size <= batchSize, `${again}: BATPAK_SEED=${seed}, round ${round}`);
    }
    const last = await runProcess(fixture.args({}, "--once"));
    assert.equal(last.code, 0, `${last.err}: BATPAK_SEED=${seed}`);
    tell();
    const report = checker.finish(fixture.store, ORDERS);
    assert.equal(report.restartCount, 6);
    assert.ok(report.redeliveredCount <= 6 * batchSize, `BATPAK_SEED=${seed}`);
  }));

test("a handler that throws is started again as --restart says, and then it is the end", () =>
  withJournal(async (fixture) => {
    fixture.append(4);
    const plan = { at: 5, fault: "throw" };
    const ran = await runProcess(fixture.args(plan, "--once", "--batch", "1", "--json"));
    assert.equal(ran.code, 1);
    const { code, restarts, lastCrash } = errorOf(ran);
    assert.deepEqual({ code, restarts, lastCrash }, {
      code: "WORKER_CRASHED",
      restarts: 1,
      lastCrash: "the handler's own words",
    });
    assert.deepEqual(fixture.batches, [[1], [3], [5], [5]]);
    assert.equal(fixture.committed, 3);
    const kinds = notesOf(ran).map(({ note }) => note);
    assert.deepEqual(kinds, ["started", "crash", "restart", "crash", "stopped", undefined]);
    const stopped = notesOf(ran).find(({ note }) => note === "stopped");
    assert.equal(stopped?.reason, "crashed");

    // The same, once: it is given the batch again, and goes on.
    const once = `${fixture.dir}/../once`;
    const args = fixture.args({ ...plan, once }, "--once", "--restart", "3/1m", "--json");
    const mended = await runProcess(args);
    assert.equal(mended.code, 0, mended.err);
    assert.equal(fixture.committed, 7);
    const { restarts: made } = notesOf(mended).at(-1) as { restarts: number };
    assert.equal(made, 1);
  }));

test("a handler that says stop ends the command with 0", () =>
  withJournal(async (fixture) => {
    fixture.append(4);
    const ran = await runProcess(fixture.args({ at: 3, fault: "stop" }, "--batch", "1"));
    assert.equal(ran.code, 0, ran.err);
    assert.match(ran.err, /ended at sequence 3, after 2 batches: its handler said so\n$/);
    const back = await runProcess(fixture.args({ at: 5, fault: "stopWithRollback" }, "--json"));
    assert.equal(back.code, 0, back.err);
    assert.equal(notesOf(back).at(-1)?.reason, "handler");
    assert.equal(fixture.committed, 3);
  }));

test("a handler that hangs is given up after --handler-timeout, and its batch comes again", () =>
  withJournal(async (fixture) => {
    fixture.append(3);
    const once = `${fixture.dir}/../once`;
    const args = fixture.args({ at: 3, fault: "spinUntilStop", once }, "--batch", "1", "--once");
    const ran = await runProcess([...args, "--handler-timeout", "300ms"]);
    assert.equal(ran.code, 0, ran.err);
    assert.match(ran.err, /the handler did not come back within 300 ms/);
    assert.deepEqual(fixture.batches, [[1], [3], [3], [5]]);

    fixture.append(1);
    const hangs = fixture.args({ at: 7, fault: "hang" }, "--handler-timeout", "200ms", "--json");
    const failed = await runProcess([...hangs, "--restart", "0/1m"]);
    assert.equal(failed.code, 1);
    assert.equal(errorOf(failed).code, "CURSOR_WORKER");
    assert.equal(fixture.committed, 5);
  }));

test("a handler that never comes back: the second Ctrl-C ends the command, and the batch comes again", () =>
  withJournal(async (fixture) => {
    fixture.append(2);
    const running = startProcess(fixture.args({ at: 3, fault: "hang" }, "--batch", "1"));
    await fixture.untilHandled(running, 2);
    running.signal("SIGINT");
    await running.until(({ err }) => err.includes("another Ctrl-C ends at once"));
    running.signal("SIGINT");
    const ran = await running.ended;
    assert.equal(ran.code, 130, ran.err);
    assert.equal(fixture.committed, 1);
    const next = await runProcess(fixture.args({}, "--once"));
    assert.equal(next.code, 0, next.err);
    assert.deepEqual(fixture.batches, [[1], [3], [3]]);
  }));

test("a realm that dies in the middle of a batch is started again", () =>
  withJournal(async (fixture) => {
    fixture.append(3);
    const once = `${fixture.dir}/../once`;
    const plan = { at: 3, fault: "uncaught", once };
    const ran = await runProcess(fixture.args(plan, "--batch", "1", "--once", "--json"));
    assert.equal(ran.code, 0, ran.err);
    assert.deepEqual(fixture.batches, [[1], [3], [3], [5]]);
    assert.equal(notesOf(ran).at(-1)?.restarts, 1);
  }));

test("a file that cannot be a worker is refused with its name and the reason", () =>
  withJournal(async (fixture) => {
    fixture.append(1);
    const broken = `${fixture.dir}/../broken.ts`;
    writeFileSync(broken, "const x: = 1;\n");
    const missing = `${fixture.dir}/../missing.ts`;
    writeFileSync(missing, 'import "./nowhere.ts";\n');
    const wrong: [string, RegExp][] = [
      [testdata("throws_at_top.ts"), /^Cannot start "[^"]*throws_at_top.ts": ./],
      [broken, /^Cannot start "[^"]*broken.ts": SyntaxError: /],
      [missing, /^Cannot start "[^"]*missing.ts": .*nowhere\.ts/],
      [testdata("serves_nothing.ts"), /; it has to call serveCursorWorker\(handler\) from /],
    ];
    for (const [module, message] of wrong) {
      const args = ["worker", fixture.dir, "--module", module, "--checkpoint", "m", "--json"];
      const ran = await runProcess([...args, "--start-timeout", "2s"]);
      assert.equal(ran.code, 1, ran.err);
      const error = errorOf(ran);
      assert.equal(error.code, "WORKER_MODULE");
      assert.equal(error.module, module);
      assert.match(String(error.message), message);
    }
    assert.equal(loadCheckpoint(fixture.dir, "m"), undefined);
    const absent = ["worker", fixture.dir, "--module", "no.ts", "--checkpoint", "m"];
    const ran = await runProcess(absent);
    assert.equal(ran.code, 2);
    assert.match(ran.err, /^batpak: Cannot start "no\.ts": there is no such file\n/);
  }));

test("a checkpoint that the worker cannot go on from is refused, and stays as it is", () =>
  withJournal(async (fixture) => {
    fixture.append(2);
    const identity = (entity: string) => `entity=${entity}|scope=*|fact=none|clock=*`;
    const refusals: [string, number, () => void][] = [
      ["CHECKPOINT_REGION_MISMATCH", 4, () =>
        saveCheckpoint(fixture.dir, "mailer", {
          position: 1,
          started: true,
          regionIdentity: identity("other"),
        })],
      ["CHECKPOINT_AHEAD", 3, () =>
        saveCheckpoint(fixture.dir, "mailer", {
          position: 1000,
          started: true,
          regionIdentity: identity("order"),
        })],
      ["CHECKPOINT_CORRUPT", 3, () => writeFileSync(`${fixture.dir}/cursors/mailer.ckpt`, "?")],
    ];
    mkdirSync(`${fixture.dir}/cursors`);
    for (const [code, exitCode, prepare] of refusals) {
      prepare();
      const path = `${fixture.dir}/cursors/mailer.ckpt`;
      const before = readFileSync(path);
      const ran = await runProcess(fixture.args({}, "--once", "--json"));
      assert.deepEqual([errorOf(ran).code, ran.code], [code, exitCode], ran.err);
      assert.deepEqual(readFileSync(path), before);
    }
    using _busy = bindCursor(fixture.store, ORDERS, "other mailer");
    const ran = await runProcess([...fixture.args(), "--checkpoint", "other mailer", "--json"]);
    assert.deepEqual([errorOf(ran).code, ran.code], ["CHECKPOINT_BUSY", 5], ran.err);
    assert.deepEqual(fixture.batches, []);
  }));

test("worker says now and then how far it is, when it has moved", () =>
  withJournal(async (fixture) => {
    fixture.append(1);
    const controller = new AbortController();
    let nowMs = 0;
    const running = runHere(fixture.args({}, "--json"), {
      host: {
        workerOf: (path) => () => new Worker(pathToFileURL(path).href, { type: "module" }),
        catchInterrupt: () => ({ signal: controller.signal, [Symbol.dispose]() {} }),
        // Ten seconds pass between two looks.
        nowMs: () => nowMs += 10_000,
        sleep: () => new Promise((resolve) => setTimeout(resolve, 10)),
      },
    });
    const until = async (position: number) => {
      while (fixture.committed !== position) await new Promise((done) => setTimeout(done, 10));
      // And it is looked at once more.
      await new Promise((done) => setTimeout(done, 100));
    };
    await until(1);
    fixture.append(1);
    await until(3);
    controller.abort();
    const ran = await running;
    assert.equal(ran.code, 0, ran.err);
    assert.deepEqual(notesOf(ran).filter(({ note }) => note !== "stopping"), [
      { note: "started", checkpointId: "mailer", position: null, nextSequence: 3 },
      { note: "progress", position: 1, nextSequence: 3, deliveries: 1 },
      { note: "progress", position: 3, nextSequence: 5, deliveries: 2 },
      { note: "stopped", reason: "stopped", position: 3, deliveries: 2, restarts: 0 },
    ]);
  }));

test("worker refuses a wrong command line before it opens anything", async () => {
  const args = (...flags: string[]) => ["worker", "no", "--module", "m.ts", ...flags];
  const wrong: [string[], RegExp][] = [
    [["worker", "no", "--checkpoint", "c"], /required option '--module/],
    [args(), /required option '--checkpoint/],
    [args("--checkpoint", "c", "--batch", "0"), /--batch.*1 to 65536/],
    [args("--checkpoint", "c", "--idle", "25d"), /--idle.*1ms to 24d/],
    [args("--checkpoint", "c", "--restart", "often"), /--restart.*as in 5\/1m/],
    [args("--checkpoint", "c", "--restart", "5/1m/2"), /--restart.*as in 5\/1m/],
    [args("--checkpoint", "c", "--restart", "-1/1m"), /--restart.*whole number/],
    [args("--checkpoint", "c", "--init", "{"), /--init.*Give JSON/],
  ];
  for (const [line, message] of wrong) {
    const ran = await runHere(line);
    assert.equal(ran.code, 2, ran.err);
    assert.match(ran.err, message);
  }
  const host = { workerOf: () => () => assert.fail("nothing is started") };
  const nowhere = await runHere(args("--checkpoint", "c"), { host });
  assert.equal(nowhere.code, 1);
  assert.match(nowhere.err, /^batpak: Cannot read a journal in "no": the directory does not exist/);
});
