import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { EventKind, importProvenance, Store, verifyJournal } from "../mod.ts";
import {
  flipBit,
  inTempDir,
  parseLines,
  runHere,
  segmentPath,
  startProcess,
} from "../tests/command.ts";

const KIND = EventKind.custom(0xf, 1);

/** Makes a journal of `count` events after the one of its opening, and before that of its closing. */
function writeJournal(dir: string, count: number): void {
  using store = Store.open(dir);
  for (let start = 0; start < count; start += 250) {
    store.appendBatch(Array.from({ length: Math.min(250, count - start) }, (_, i) => ({
      entity: `order:${(start + i) % 7}`,
      scope: (start + i) % 2 === 0 ? "shop" : "market",
      kind: KIND,
      payload: { n: start + i },
    })));
  }
}

/** The `n` of each event, in commit order. */
function numbers(dir: string): number[] {
  using store = Store.openReadOnly(dir);
  return store.query({ kind: KIND }).map((event) => (event.payload as { n: number }).n);
}

function range(end: number): number[] {
  return Array.from({ length: end }, (_, n) => n);
}

/** Every file of a directory and its bytes, or `undefined` when there is none. */
function filesOf(dir: string): [string, Uint8Array][] | undefined {
  if (!existsSync(dir)) return undefined;
  return readdirSync(dir).map((name) => [name, new Uint8Array(readFileSync(`${dir}/${name}`))]);
}

/** The facts of a run with `--json`, without what the clock says. */
async function facts(args: readonly string[]): Promise<Record<string, unknown>> {
  const { code, out, err } = await runHere([...args, "--json"]);
  assert.equal(code, 0, err);
  const { elapsedMs, ...rest } = JSON.parse(out);
  assert.equal(typeof elapsedMs, "number");
  return rest;
}

test("import --from appends the events of another journal, and again only what is new", async () => {
  await inTempDir(async (dir) => {
    const [a, b] = [`${dir}/a`, `${dir}/b`];
    writeJournal(a, 5000);
    const storeId = Store.openReadOnly(a).storeId;
    const first = await runHere(["import", b, "--from", a]);
    assert.equal(first.code, 0, first.err);
    assert.match(
      first.out,
      /^5,000 events imported from .*\/a; left out: 2 of the store's own in .* s\n$/,
    );
    assert.deepEqual(numbers(b), range(5000));
    assert.deepEqual(await facts(["import", b, "--from", a]), {
      imported: 0,
      deduplicated: 5000,
      skippedReserved: 2,
      skippedFiltered: 0,
      skippedReimported: 0,
      skippedErased: 0,
      sourceHighWatermark: 5001,
      pages: 0,
      firstSequence: null,
      lastSequence: null,
      namespace: storeId,
      dryRun: false,
      interrupted: false,
    });
    assert.deepEqual(verifyJournal(b).findings, []);
  });
});

test("import --from takes filters, a namespace, a place to start and a size of batches", async () => {
  await inTempDir(async (dir) => {
    const [a, b] = [`${dir}/a`, `${dir}/b`];
    writeJournal(a, 100);
    const args = ["import", b, "--from", a, "--scope", "shop", "--entity", "order:2"];
    const found = await facts([
      ...args,
      "--after",
      "10",
      "--namespace",
      "till 7",
      "--chunk-size",
      "3",
    ]);
    // n is 2, 16, 30, 44, 58, 72, 86, and its sequence is one more.
    const { imported, pages, namespace, sourceHighWatermark, firstSequence, lastSequence } = found;
    assert.deepEqual(
      { imported, pages, namespace, sourceHighWatermark, firstSequence, lastSequence },
      {
        imported: 6,
        pages: 2,
        namespace: "till 7",
        sourceHighWatermark: 87,
        firstSequence: 1,
        lastSequence: 6,
      },
    );
    assert.deepEqual(numbers(b), [16, 30, 44, 58, 72, 86]);
    using store = Store.openReadOnly(b);
    const [event] = store.query({ kind: KIND });
    assert.equal(importProvenance(event)?.sourceNamespace, "till 7");
    assert.equal(importProvenance(event)?.sourceGlobalSequence, 17);
  });
});

test("import --from --dry-run counts the same, writes nothing and makes nothing", async () => {
  await inTempDir(async (dir) => {
    const [a, b] = [`${dir}/a`, `${dir}/b`];
    writeJournal(a, 5000);
    const args = ["import", b, "--from", a];
    const written = { pages: null, firstSequence: null, lastSequence: null, dryRun: null };
    for (const flags of [["--scope", "shop"], []]) {
      const before = filesOf(b);
      const dry = await facts([...args, ...flags, "--dry-run"]);
      const after = filesOf(b);
      assert.deepEqual(after, before);
      assert.equal(dry.dryRun, true);
      assert.deepEqual([dry.pages, dry.firstSequence, dry.lastSequence], [0, null, null]);
      const real = await facts([...args, ...flags]);
      assert.deepEqual({ ...dry, ...written }, { ...real, ...written });
    }
    const text = await runHere([...args, "--dry-run"]);
    assert.match(
      text.out,
      /^0 events would be imported from .*; left out: 5,000 imported before, 2 of/,
    );
  });
});

test("import --from reads beside a live writer, and imports a journal into itself", async () => {
  await inTempDir(async (dir) => {
    writeJournal(`${dir}/a`, 10);
    using writer = Store.open(`${dir}/a`);
    writer.append({ entity: "order:1", scope: "shop" }, KIND, { n: 10 });
    assert.equal((await facts(["import", `${dir}/b`, "--from", `${dir}/a`])).imported, 11);
    const itself = ["import", `${dir}/b`, "--from", `${dir}/b`, "--namespace", "again"];
    assert.equal((await facts(itself.slice(0, 4))).imported, 0, "it has them all");
    assert.equal((await facts(itself)).imported, 11);
    const { imported, deduplicated, skippedReimported } = await facts(itself);
    assert.deepEqual([imported, deduplicated, skippedReimported], [0, 11, 11]);
  });
});

test("import says what does not go together, before anything is touched", async () => {
  await inTempDir(async (dir) => {
    writeJournal(`${dir}/a`, 1);
    const from = ["--from", `${dir}/a`];
    const cases: [string[], RegExp][] = [
      [
        [`${dir}/b`, "events.ndjson", ...from],
        /and from lines at once: leave out --from or "events/,
      ],
      [[`${dir}/b`, "-", ...from], /and from lines at once: leave out --from or "-"/],
      [[`${dir}/b`, "--namespace", "x"], /Cannot use --namespace for lines: .* --from names/],
      [[`${dir}/b`, "--dry-run"], /Cannot use --dry-run for lines/],
      [[`${dir}/b`, "--entity", "x"], /Cannot use --entity for lines/],
      [[`${dir}/b`, "--chunk-size", "3"], /Cannot use --chunk-size for lines/],
      [[`${dir}/b`, ...from, "--namespace", ""], /Give a name of 1 to 1024 bytes/],
      [[`${dir}/b`, ...from, "--chunk-size", "0"], /whole number, 1 to 4096/],
      [[`${dir}/b`, ...from, "--after", "x"], /whole number/],
      [[`${dir}/b`, ...from, "--kind", "F:001", "--category", "F"], /cannot be used with/],
      [[`${dir}/b`, ...from, "--system"], /unknown option '--system'/],
    ];
    for (const [args, message] of cases) {
      const { code, err } = await runHere(["import", ...args], { input: "{}" });
      assert.equal(code, 2, args.join(" "));
      assert.match(err, message);
    }
    const absent = await runHere(["import", `${dir}/b`, "--from", `${dir}/absent`]);
    assert.equal(absent.code, 1);
    assert.match(absent.err, /Cannot read a journal in ".*absent": the directory does not exist/);
    assert.deepEqual(readdirSync(dir), ["a"]);
  });
});

test("import --from a damaged journal says so with the code for damage", async () => {
  await inTempDir(async (dir) => {
    writeJournal(`${dir}/a`, 10);
    flipBit(segmentPath(`${dir}/a`), 1_500);
    const { code, err } = await runHere(["import", `${dir}/b`, "--from", `${dir}/a`]);
    assert.equal(code, 3);
    assert.match(err, /Cannot trust/);
    assert.match(err, /\nRun "batpak verify \S+\/a" for all that is wrong there\n$/);
    using target = Store.openReadOnly(`${dir}/b`);
    assert.equal(target.stats().eventCount, 2, "nothing but its own open and close");
  });
});

test("import --from shows progress on a terminal", async () => {
  await inTempDir(async (dir) => {
    writeJournal(`${dir}/a`, 20_000);
    // A clock that moves on at each look.
    let nowMs = 0;
    const host = { isErrorTerminal: true, nowMs: () => nowMs += 101 };
    const { err } = await runHere(["import", `${dir}/b`, "--from", `${dir}/a`], { host });
    const shown = [...err.matchAll(/Importing: ([\d,]+) events, [\d,]+ events\/s, (\d+) %/g)];
    assert.deepEqual(
      shown.map(([, count, percent]) => `${count} ${percent}`),
      ["4,095 20", "8,191 40", "12,287 61", "16,383 81", "20,000 100"],
    );
  });
});

test("import --from ends behind a whole page on Ctrl-C, and goes on when it is repeated", async () => {
  await inTempDir(async (dir) => {
    writeJournal(`${dir}/a`, 20_000);
    const args = ["import", `${dir}/b`, "--from", `${dir}/a`];
    const controller = new AbortController();
    let turns = 0;
    const host = {
      turn: () => {
        if (++turns === 2) controller.abort();
        return Promise.resolve();
      },
      catchInterrupt: () => ({ signal: controller.signal, [Symbol.dispose]() {} }),
    };
    const { code, err } = await runHere(args, { host });
    assert.equal(code, 130);
    assert.match(err, /interrupted\. 8,191 events imported from .*import again to go on/);
    assert.deepEqual(numbers(`${dir}/b`), range(8191));
    assert.equal((await runHere(args)).code, 0);
    assert.deepEqual(numbers(`${dir}/b`), range(20_000));
  });
});

test("an import killed at any moment is completed by repeating it, without duplicates", async () => {
  await inTempDir(async (dir) => {
    const count = 60_000;
    writeJournal(`${dir}/a`, count);
    const args = ["import", `${dir}/b`, "--from", `${dir}/a`, "--chunk-size", "16"];
    let killedAtWork = 0;
    for (const delayMs of [0, 40, 90, 150]) {
      const running = startProcess(args);
      const before = existsSync(`${dir}/b`) ? numbers(`${dir}/b`).length : 0;
      // From when it writes on.
      await untilGrown(`${dir}/b`, before, running.ended);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      running.child.kill("SIGKILL");
      await running.ended;
      const left = numbers(`${dir}/b`);
      assert.deepEqual(left, range(left.length), "what was imported is a beginning of the source");
      if (left.length > before && left.length < count) killedAtWork++;
    }
    assert.ok(killedAtWork > 0, "at least one was killed while it imported");
    const { imported, deduplicated } = await facts(args);
    assert.equal(Number(imported) + Number(deduplicated), count);
    assert.deepEqual(numbers(`${dir}/b`), range(count));
    assert.equal((await facts(args)).imported, 0);
    assert.deepEqual(verifyJournal(`${dir}/b`).findings, []);
    assert.deepEqual(
      parseLines((await runHere(["query", `${dir}/b`, "--limit", "1"])).out).length,
      1,
    );
  });
});

/** Waits until a journal has more events than before, or the process has ended. */
async function untilGrown(dir: string, before: number, ended: Promise<unknown>): Promise<void> {
  let over = false;
  ended.then(() => over = true);
  const deadlineMs = performance.now() + 30_000;
  while (!over) {
    try {
      if (numbers(dir).length > before) return;
    } catch {
      // There is no journal yet.
    }
    assert.ok(performance.now() < deadlineMs, "the import began in time");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
