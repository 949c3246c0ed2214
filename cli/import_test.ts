import assert from "node:assert/strict";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { defineEvent, EventId, EventKind, Store, verifyJournal } from "../mod.ts";
import { inTempDir, parseLines, runHere, startProcess } from "../tests/command.ts";

function line(n: number, more: Record<string, unknown> = {}): string {
  return JSON.stringify({ entity: `order:${n % 10}`, scope: "shop", payload: { n }, ...more });
}

function lines(count: number, more: (n: number) => Record<string, unknown> = () => ({})): string[] {
  return Array.from({ length: count }, (_, n) => line(n, more(n)));
}

/** The `n` of each event, in commit order. */
function imported(dir: string): number[] {
  using store = Store.openReadOnly(dir);
  return store.query({ scope: "shop" }).map((event) => (event.payload as { n: number }).n);
}

test("import appends one event for each line, in order and in groups", async () => {
  await inTempDir(async (dir) => {
    const file = `${dir}/events.ndjson`;
    writeFileSync(file, lines(1000).join("\n"));
    const { code, out, err } = await runHere(["import", `${dir}/journal`, file]);
    assert.equal(code, 0, err);
    assert.match(out, /^1,000 events imported from 1,000 lines in .* events\/s\n$/);
    assert.deepEqual(imported(`${dir}/journal`), Array.from({ length: 1000 }, (_, n) => n));
    assert.equal(verifyJournal(`${dir}/journal`).intact, true);
  });
});

test("import reads standard input, skips blank lines, and takes any line end", async () => {
  await inTempDir(async (dir) => {
    const input = `\n${line(0)}\r\n  \n${line(1)}`;
    const { code, out } = await runHere(["import", dir, "-", "--json"], { input });
    assert.equal(code, 0);
    const { elapsedMs, ...facts } = JSON.parse(out);
    assert.deepEqual(facts, { lines: 4, imported: 2, known: 0, skipped: 0, interrupted: false });
    assert.equal(typeof elapsedMs, "number");
    assert.deepEqual(imported(dir), [0, 1]);
  });
});

test("import stores every field of a line", async () => {
  await inTempDir(async (dir) => {
    const cause = "0196f3b2-8c00-7abc-8def-0123456789ab";
    const input = line(0, {
      kind: "F:001",
      key: "k",
      tags: ["a"],
      causationId: cause,
      correlationId: null,
      lane: 3,
      payload: { n: 0, bytes: { $bytes: "AAEC" } },
    });
    assert.equal((await runHere(["import", dir], { input })).code, 0);
    using store = Store.openReadOnly(dir);
    const [event] = store.query({ entity: "order:0" });
    assert.equal(event.kind, 0xf001);
    assert.deepEqual(event.tags, ["a"]);
    assert.equal(event.causationId, cause);
    assert.equal(event.correlationId, event.eventId);
    assert.equal(event.lane, 3);
    assert.deepEqual(event.payload, { n: 0, bytes: new Uint8Array([0, 1, 2]) });
  });
});

test("import refuses a bad line, names it, and writes nothing of its group", async () => {
  const cases: [string, string, RegExp][] = [
    ['{"entity":', "BAD_LINE", /it is not JSON/],
    ['{"entity" 1}', "BAD_LINE", /it is not JSON: (?!JSON|.*column)/],
    [
      '{"entity":"e","scope":"s","payload":{"id":9007199254740993}}',
      "BAD_LINE",
      /^the number 9007199254740993 would be .*; write \{"\$bigint":"9007199254740993"\} to keep it$/,
    ],
    ['{"entity":"e","scope":"s","payload":1e400}', "BAD_LINE", /1e400 would be stored as Infinity/],
    ["[1]", "BAD_LINE", /it is not a JSON object/],
    [line(0, { paylod: 1 }), "BAD_LINE", /there is no field "paylod"; there are entity, scope/],
    ['{"entity":"e","scope":"s"}', "BAD_LINE", /the field "payload" is missing/],
    ['{"scope":"s","payload":1}', "BAD_LINE", /the field "entity" is missing/],
    [line(0, { entity: 5 }), "BAD_LINE", /the field "entity" is a number and not a string/],
    [line(0, { tags: ["a", 1] }), "BAD_LINE", /"tags" is an array and not an array of nothing but/],
    [line(0, { key: null }), "BAD_LINE", /the field "key" is null/],
    [line(0, { lane: "1" }), "BAD_LINE", /the field "lane" is a string and not a number/],
    [line(0, { kind: "F001" }), "BAD_LINE", /write "F:001"/],
    [line(0, { payload: { $bytes: "%" } }), "BAD_LINE", /stands for no value/],
    [line(0, { entity: "a/b" }), "COORDINATE", /the entity contains "\/"/],
    [line(0, { kind: "0:001" }), "RESERVED_KIND", /reserved/],
    [line(0, { tags: [""] }), "TAG", /it is empty/],
    [line(0, { causationId: "x" }), "ID", /UUID/],
    [line(0, { lane: -1 }), "BAD_LINE", /lane/],
  ];
  for (const [bad, code, reason] of cases) {
    await inTempDir(async (dir) => {
      const all = lines(600);
      all[299] = bad;
      const ran = await runHere(["import", dir, "--json"], { input: all.join("\n") });
      assert.equal(ran.code, 1, bad);
      assert.equal(ran.out, "");
      const { error } = parseLines(ran.err).at(-1) as { error: Record<string, unknown> };
      assert.match(error.reason as string, reason);
      const { line, lines: before, imported: count, known } = error;
      assert.deepEqual({ code: error.code, line, before, count, known }, {
        code,
        line: 300,
        before: 256,
        count: 256,
        known: 0,
      });
      assert.deepEqual(imported(dir), Array.from({ length: 256 }, (_, n) => n));
      assert.equal(verifyJournal(dir).intact, true);
    });
  }
});

// The store refuses such a key before the line is in a group, and the import blamed the first line of
// the group, or none at all. It names the line now.
test("import refuses a line whose key no event can have, and names that line", async () => {
  // The last of each is the bad one.
  const cases = [
    [line(0, { key: "k1" }), line(1, { key: "" })],
    [line(0, { key: "k1" }), line(1, { key: "k2" }), line(2, { key: "" })],
    [line(0), line(1), line(2, { key: "k".repeat(1025) })],
    [line(0, { key: "" })],
  ];
  for (const all of cases) {
    await inTempDir(async (dir) => {
      const bad = all.length;
      const input = [...all, line(9, { key: "k9" })].join("\n");
      const json = await runHere(["import", dir, "--json"], { input });
      assert.equal(json.code, 1);
      const { error } = parseLines(json.err).at(-1) as { error: Record<string, unknown> };
      const { code, line: named, lines, imported: count } = error;
      assert.deepEqual([code, named, lines, count], ["ID", bad, 0, 0]);
      assert.match(error.reason as string, /idempotency key/);
      assert.deepEqual(readdirSync(dir), []);

      const text = await runHere(["import", dir], { input });
      assert.equal(text.code, 1);
      const lost = bad === 1 ? "it" : `its group, lines 1 to ${bad}, `;
      assert.match(
        text.err,
        new RegExp(`Cannot import line ${bad}: .*idempotency key.*Nothing of ${lost}.*was written`),
      );
    });
  }
});

// The failure to close took the place of the failure, and with it went the line and the exit code.
test("import names the bad line also when the journal cannot be closed", async () => {
  await inTempDir(async (dir) => {
    const input = `${line(0)}\n{}`;
    // Where there is no journal yet, a bad line opens none.
    Store.open(dir).close();
    const text = await withFailingClose(() => runHere(["import", dir], { input }));
    assert.equal(text.code, 1);
    assert.match(
      text.err,
      /^batpak: Cannot import line 2: .*\nbatpak: and after that: Cannot close it\n$/m,
    );
    const json = await withFailingClose(() => runHere(["import", dir, "--json"], { input }));
    assert.equal(json.code, 1);
    const { error } = parseLines(json.err).at(-1) as { error: Record<string, unknown> };
    const { code, line: bad, later } = error;
    assert.deepEqual({ code, bad, later }, {
      code: "BAD_LINE",
      bad: 2,
      later: [{ code: "UNEXPECTED", message: "Cannot close it" }],
    });
  });
});

/** Runs `action` while every store says that it could not be closed. */
async function withFailingClose<T>(action: () => Promise<T>): Promise<T> {
  const { close } = Store.prototype;
  Store.prototype.close = function () {
    close.call(this);
    throw new Error("Cannot close it");
  };
  try {
    return await action();
  } finally {
    Store.prototype.close = close;
  }
}

test("import says in words which line was bad and how far it came", async () => {
  await inTempDir(async (dir) => {
    const all = lines(300);
    all[299] = "{}";
    const { code, err } = await runHere(["import", dir], { input: all.join("\n") });
    assert.equal(code, 1);
    assert.match(
      err,
      /Cannot import line 300: the field "payload" is missing\. Nothing of its group, lines 257 to 300, was written\. Before: 256 events imported from 256 lines$/m,
    );
  });
});

test("import names a line that is not UTF-8", async () => {
  await inTempDir(async (dir) => {
    const file = `${dir}/events.ndjson`;
    writeFileSync(file, new Uint8Array([0x22, 0xff, 0x22]));
    const { code, err } = await runHere(["import", `${dir}/journal`, file]);
    assert.equal(code, 1);
    assert.match(err, /Cannot import line 1: it is not UTF-8/);
  });
});

test("import makes nothing when the file is not there", async () => {
  await inTempDir(async (dir) => {
    const ran = startProcess(["import", `${dir}/journal`, `${dir}/absent`]);
    const { code, err } = await ran.ended;
    assert.equal(code, 1);
    assert.match(err, /Cannot read ".*absent": there is no such file/);
    assert.equal((await runHere(["stats", `${dir}/journal`])).code, 1);
  });
});

test("import takes lines with and without keys side by side, and repeated keys once", async () => {
  await inTempDir(async (dir) => {
    const input = lines(100, (n) => n % 5 < 3 ? { key: `k${Math.floor(n / 2)}` } : {}).join("\n");
    const first = await runHere(["import", dir, "--json"], { input });
    assert.equal(first.code, 0, first.err);
    const { imported: count, known } = JSON.parse(first.out);
    assert.equal(count + known, 100);
    const keyed = new Set(parseLines(input).flatMap(({ key }) => key ?? [])).size;
    assert.equal(count, 40 + keyed);
    assert.equal(imported(dir).length, count);
  });
});

test("importing keyed lines again adds only what is missing", async () => {
  await inTempDir(async (dir) => {
    const all = lines(1000, (n) => ({ key: `k${n}` }));
    await runHere(["import", dir], {
      input: [...all.slice(0, 300), ...all.slice(500, 520)].join("\n"),
    });
    const { code, out } = await runHere(["import", dir, "--json"], { input: all.join("\n") });
    assert.equal(code, 0);
    assert.equal(JSON.parse(out).imported, 680);
    assert.equal(JSON.parse(out).known, 320);
    assert.equal(new Set(imported(dir)).size, 1000);
    assert.equal(imported(dir).length, 1000);
  });
});

test("import writes lines that are larger than any batch", async () => {
  await inTempDir(async (dir) => {
    const big = line(1, { payload: { n: 1, text: "x".repeat(20 << 20) } });
    const medium = (n: number) => line(n, { payload: { n, text: "x".repeat(700_000) } });
    const input = [line(0), big, medium(2), medium(3), medium(4), line(5)].join("\n");
    const { code, err } = await runHere(["import", dir], { input });
    assert.equal(code, 0, err);
    assert.deepEqual(imported(dir), [0, 1, 2, 3, 4, 5]);
  });
});

test("import shows progress on a terminal, and only there", async () => {
  await inTempDir(async (dir) => {
    const file = `${dir}/events.ndjson`;
    writeFileSync(file, lines(3000).join("\n"));
    const shown = await runHere(["import", `${dir}/a`, file], { host: { isErrorTerminal: true } });
    assert.match(shown.err, /Importing: [\d,]+ events, [\d,]+ events\/s, \d+ %/);
    const silent = await runHere(["import", `${dir}/b`, file]);
    assert.doesNotMatch(silent.err, /Importing/);
  });
});

/** Waits until somebody has opened a journal that had been opened and closed once. */
async function untilOpened(dir: string): Promise<void> {
  const deadlineMs = performance.now() + 30_000;
  for (;;) {
    using store = Store.openReadOnly(dir);
    if (store.stats().nextSequence > 2) return;
    assert.ok(performance.now() < deadlineMs, "the journal was opened in time");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

// The journal was opened, and begun, before the first line was read, and a bad first line left an empty
// one behind. It is begun by the first group that can be written.
test("import begins no journal when nothing of the first group can be written", async () => {
  const cases = [
    ["{"],
    [line(0), "{}"],
    [line(0, { entity: "a/b" })],
    [line(0), line(1, { tags: [""] })],
    [line(0, { key: "" })],
    [line(0, { kind: "0:001" })],
  ];
  for (const all of cases) {
    await inTempDir(async (dir) => {
      const { code, err } = await runHere(["import", `${dir}/new`], { input: all.join("\n") });
      assert.equal(code, 1, all.join());
      assert.match(err, new RegExp(`^batpak: Cannot import line ${all.length}: `), all.join());
      assert.equal(existsSync(`${dir}/new`), false, all.join());
    });
  }
});

test("import of no lines begins a journal, as any import that succeeds", async () => {
  await inTempDir(async (dir) => {
    const { code, err } = await runHere(["import", dir], { input: "\n" });
    assert.equal(code, 0);
    assert.match(err, /began a new journal/);
    assert.deepEqual(imported(dir), []);
  });
});

/** A journal with one of everything that a line can say. */
function writeSampler(dir: string): void {
  const order = { entity: "order:1", scope: "shop" };
  const placed = defineEvent({ name: "p", kind: "F:001", version: 2, upcast: { 1: (p) => p } });
  using store = Store.open(dir);
  const first = store.append(order, placed, { n: 0, big: 2n ** 60n, bytes: new Uint8Array([1]) }, {
    tags: ["a", "b"],
    lane: 3,
    depth: 4,
    flags: 129,
  });
  const opaque = { payloadEncoding: "opaque", causationId: first.eventId } as const;
  store.append(order, EventKind.custom(0xf, 2), new Uint8Array([0xc1, 0xff]), {
    ...opaque,
    correlationId: first.eventId,
  });
  store.append(order, EventKind.DATA, new Uint8Array([0xc1, 0xff]), {
    causationId: EventId.parse("0196f3b2-8c00-7abc-8def-0123456789ab"),
  });
}

/** What a line carries over, causes aside. */
function carried(dir: string): unknown[] {
  using store = Store.openReadOnly(dir);
  return store.query({ scope: "shop" }).map((event) => ({
    entity: event.entity,
    scope: event.scope,
    kind: event.kind,
    lane: event.lane,
    depth: event.depth,
    flags: event.flags,
    tags: event.tags,
    payload: event.payload,
    payloadEncoding: event.payloadEncoding,
    payloadVersion: event.payloadVersion,
    contentHash: event.contentHash,
    correlationId: event.correlationId,
  }));
}

// The lines that query prints were refused for their first field that an import does not set.
test("import takes what query printed, every field that a line can carry, and only once", async () => {
  await inTempDir(async (dir) => {
    writeSampler(`${dir}/a`);
    const printed = (await runHere(["query", `${dir}/a`, "--system"])).out;
    assert.equal(parseLines(printed).length, 5);
    for (const [count, known] of [[3, 0], [0, 3]]) {
      const { code, out, err } = await runHere(["import", `${dir}/b`, "--json"], {
        input: printed,
      });
      assert.equal(code, 0, err);
      const facts = JSON.parse(out);
      assert.deepEqual([facts.imported, facts.known, facts.skipped], [count, known, 2]);
    }
    assert.deepEqual(carried(`${dir}/b`), carried(`${dir}/a`));
    using store = Store.openReadOnly(`${dir}/b`);
    const [first, second, third] = store.query({ scope: "shop" });
    // The cause came along in the same group; the other one is not known, and stays as it was.
    assert.equal(second.causationId, first.eventId);
    assert.equal(third.causationId, "0196f3b2-8c00-7abc-8def-0123456789ab");
    // Printed again they are importable again, and that is somebody else's copy of a copy.
    const again = (await runHere(["query", `${dir}/b`])).out;
    assert.equal((await runHere(["import", `${dir}/c`], { input: again })).code, 0);
    assert.deepEqual(carried(`${dir}/c`), carried(`${dir}/a`));
  });
});

test("import translates the cause of a printed event also when that came with an earlier import", async () => {
  await inTempDir(async (dir) => {
    writeSampler(`${dir}/a`);
    const [one, two] = (await runHere(["query", `${dir}/a`])).out.split("\n");
    for (const input of [one, two]) {
      assert.equal((await runHere(["import", `${dir}/b`], { input })).code, 0);
    }
    // Into the journal it was printed from it goes with its own cause, which is there.
    assert.equal((await runHere(["import", `${dir}/a`], { input: two })).code, 0);
    using b = Store.openReadOnly(`${dir}/b`);
    const [first, second] = b.query({ scope: "shop" });
    assert.equal(second.causationId, first.eventId);
    using a = Store.openReadOnly(`${dir}/a`);
    const events = a.query({ scope: "shop" });
    assert.equal(events.length, 4);
    assert.equal(events[3].causationId, events[0].eventId);
  });
});

test("import skips a printed event whose payload is erased, and refuses a line that lost its own", async () => {
  await inTempDir(async (dir) => {
    const id = "0196f3b2-8c00-7abc-8def-0123456789ab";
    const erased = JSON.stringify({ entity: "order:1", scope: "shop", eventId: id, clock: 0 });
    const { code, out } = await runHere(["import", dir, "--json"], {
      input: `${erased}\n${line(0)}`,
    });
    assert.equal(code, 0);
    assert.equal(JSON.parse(out).skipped, 1);
    assert.deepEqual(imported(dir), [0]);
    const text = await runHere(["import", dir], { input: erased });
    assert.match(
      text.out,
      /^0 events imported from 1 line, 1 of a store's own or erased skipped in/,
    );
  });
});

test("import refuses a field that cannot be set, unless the line is a printed event", async () => {
  const id = "0196f3b2-8c00-7abc-8def-0123456789ab";
  const cases: [string, RegExp][] = [
    [line(0, { clock: 3 }), /the field "clock" cannot be set; .*"eventId" of a printed event/],
    [line(0, { eventHash: "00" }), /the field "eventHash" cannot be set/],
    [line(0, { eventId: "x" }), /an id is a UUID/],
    [line(0, { eventId: 7 }), /the field "eventId" is a number/],
    [line(0, { eventId: id, cluck: 1 }), /there is no field "cluck"/],
    [line(0, { payloadEncoding: "json" }), /neither "messagepack" nor "opaque"/],
    [line(0, { payloadEncoding: "opaque" }), /opaque payload that is not a Uint8Array/],
    [line(0, { payloadVersion: 65_536 }), /payloadVersion 65536/],
    [line(0, { depth: "1" }), /the field "depth" is a string/],
    [line(0, { flags: 256 }), /flags 256/],
  ];
  for (const [bad, reason] of cases) {
    await inTempDir(async (dir) => {
      const { code, err } = await runHere(["import", dir], { input: bad });
      assert.equal(code, 1, bad);
      assert.match(err, reason, bad);
    });
  }
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`import ends behind a whole group on ${signal}, and says how far it came`, async () => {
    await inTempDir(async (dir) => {
      const running = startProcess(["import", dir]);
      let stopped = false;
      running.ended.then(() => stopped = true);
      // More than it can be done with: it has to be interrupted at work.
      const feeding = (async () => {
        for (let start = 0; !stopped && start < 5_000_000; start += 1000) {
          const text = Array.from({ length: 1000 }, (_, i) => `${line(start + i)}\n`).join("");
          if (!running.child.stdin.write(text)) {
            await new Promise((resolve) => {
              running.child.stdin.once("drain", resolve);
              running.ended.then(resolve);
            });
          }
        }
      })();
      await running.until(({ err }) => err.includes("began a new journal"));
      await new Promise((resolve) => setTimeout(resolve, 300));
      running.signal(signal);
      const { code, out, err } = await running.ended;
      await feeding;
      assert.equal(code, 130, err);
      assert.equal(out, "");
      const said = /interrupted\. ([\d,]+) events imported from ([\d,]+) lines/.exec(err);
      assert.ok(said, err);
      const count = Number(said[1].replaceAll(",", ""));
      assert.equal(Number(said[2].replaceAll(",", "")), count);
      assert.match(err, new RegExp(`go on with line ${count + 1},`));
      assert.deepEqual(imported(dir), Array.from({ length: count }, (_, n) => n));

      const report = verifyJournal(dir);
      assert.deepEqual(report.findings, []);
      using store = Store.open(dir);
      assert.deepEqual(store.openReport.repairs, [], "it was closed cleanly");
    });
  });
}

test("import writes what it has when it is interrupted while it waits for input", async () => {
  await inTempDir(async (dir) => {
    // It opens a journal that exists before it reads.
    Store.open(dir).close();
    const running = startProcess(["import", dir, "--json"]);
    await untilOpened(dir);
    running.child.stdin.write(`${line(0)}\n${line(1)}\n{"entity":"half a li`);
    await new Promise((resolve) => setTimeout(resolve, 300));
    // A task runner passes on the Ctrl-C that the terminal has already delivered.
    running.signal("SIGINT");
    running.signal("SIGINT");
    const { code, out } = await running.ended;
    assert.equal(code, 130);
    const { lines, imported: count, interrupted } = JSON.parse(out);
    assert.deepEqual({ lines, count, interrupted }, { lines: 2, count: 2, interrupted: true });
    assert.deepEqual(imported(dir), [0, 1]);
  });
});
