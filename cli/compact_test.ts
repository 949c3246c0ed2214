import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { EventKind, Store } from "../mod.ts";
import { inTempDir, parseLines, runHere, runProcess } from "../tests/command.ts";

/** A journal of thirty events in several segments. */
function fill(dir: string): string {
  using store = Store.open(dir, { segmentMaxBytes: 1000 });
  for (let n = 0; n < 30; n++) {
    store.append({ entity: `user:${n % 2}`, scope: "app" }, EventKind.DATA, { n });
  }
  return dir;
}

function segmentsIn(dir: string): number {
  return readdirSync(dir).filter((name) => name.endsWith(".fbat")).length;
}

async function payloadsIn(dir: string): Promise<unknown[]> {
  return parseLines((await runHere(["query", dir])).out).map(({ payload }) => payload ?? null);
}

test("compact merges, and says what it made", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    const before = segmentsIn(dir);
    const text = await runProcess(["compact", dir]);
    assert.equal(text.code, 0, text.err);
    assert.match(text.out, /^Made 1 segment of \d+: \d.* less than before\.\n$/);
    assert.equal(text.err, "");
    assert.ok(before > 3);
    assert.equal(segmentsIn(dir), 2);
    assert.equal((await payloadsIn(dir)).length, 30);
    const again = await runHere(["compact", dir]);
    assert.equal(again.code, 0);
    assert.equal(
      again.out,
      "Nothing to do: there is 1 sealed segment, and minSegments asks for 2: lower it, or seal the newest.\n",
    );
    assert.equal((await runHere(["verify", dir])).code, 0);
  });
});

test("compact --strategy tombstone erases payloads that a limit leaves no room for", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    const args = ["--strategy", "tombstone", "--max-count", "5", "--entity", "user:1", "--seal"];
    const dry = await runHere(["compact", dir, ...args, "--dry-run"]);
    assert.match(dry.out, /^Would make 1 segment of \d+, erasing \d+ events: /);
    assert.ok((await payloadsIn(dir)).every((payload) => payload !== null));
    const { code, out } = await runHere(["compact", dir, ...args, "--json"]);
    assert.equal(code, 0);
    const report = JSON.parse(out);
    assert.deepEqual([report.outcome, report.eventsErased, report.body.strategy], [
      "performed",
      10,
      "tombstone",
    ]);
    const payloads = await payloadsIn(dir);
    assert.equal(payloads.filter((payload) => payload === null).length, 10);
    const verified = await runHere(["verify", dir]);
    assert.match(verified.out, /^Intact: .*, 10 erased\n$/);
  });
});

test("compact --strategy retention takes events out of queries", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    const args = ["--strategy", "retention", "--max-age", "0s", "--seal", "--min-segments", "1"];
    const { code, out } = await runHere(["compact", dir, ...args]);
    assert.equal(code, 0);
    assert.match(out, /erasing 30 events/);
    assert.deepEqual(await payloadsIn(dir), []);
    const verified = await runHere(["verify", dir]);
    assert.match(verified.out, /30 erased, 30 of them retired\n$/);
  });
});

test("compact refuses what makes no sense, before anything is opened", async () => {
  await inTempDir(async (dir) => {
    for (
      const [args, message] of [
        [["--max-count", "5"], /merge by limits or filters/],
        [["--entity", "user"], /merge by limits or filters/],
        [["--strategy", "retention"], /give --max-age, --max-count or --max-bytes/],
        [["--strategy", "tombstone", "--max-age", "5"], /a number and a unit/],
        [["--strategy", "tombstone", "--max-bytes", "5 MB"], /a number of bytes/],
        [["--strategy", "squash"], /squash/],
        [["--min-segments", "0"], /whole number/],
      ] as const
    ) {
      const { code, err } = await runHere(["compact", `${dir}/none`, ...args]);
      assert.equal(code, 2, args.join(" "));
      assert.match(err, message);
    }
    const missing = await runHere(["compact", `${dir}/none`]);
    assert.equal(missing.code, 1);
    assert.doesNotMatch(missing.err, /begin one/);
    assert.equal(existsSync(`${dir}/none`), false);
  });
});

test("compact says when it failed, and that nothing is lost", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    writeFileSync(`${dir}/000001.fbat.compact-src`, "not ours");
    const { code, err, out } = await runHere(["compact", dir]);
    assert.equal(code, 1);
    assert.match(
      err,
      /Cannot compact: Cannot rename .*; 0 merged segments stay, and nothing is lost/,
    );
    assert.equal(out, "");
    const json = await runHere(["compact", dir, "--json"]);
    const { error } = JSON.parse(json.err.trim().split("\n").at(-1)!);
    assert.deepEqual([error.code, error.report.outcome], ["COMPACTION_FAILED", "failed"]);
    assert.equal((await payloadsIn(dir)).length, 30);
  });
});

test("compact that is interrupted leaves the rest as it was", async () => {
  await inTempDir(async (dir) => {
    {
      using store = Store.open(dir, { segmentMaxBytes: 1 << 20 });
      for (let n = 0; n < 40; n++) {
        store.append({ entity: "e", scope: "s" }, EventKind.DATA, "x".repeat(300_000));
      }
    }
    const before = segmentsIn(dir);
    const controller = new AbortController();
    let turns = 0;
    const { code, err } = await runHere(["compact", dir], {
      host: {
        turn: () => {
          if (++turns === 2) controller.abort();
          return Promise.resolve();
        },
        catchInterrupt: () => ({ signal: controller.signal, [Symbol.dispose]() {} }),
      },
    });
    assert.equal(code, 130);
    assert.match(err, /interrupted; 0 merged segments stay, the rest is as it was/);
    assert.equal(segmentsIn(dir), before);
    assert.equal((await runHere(["verify", dir])).code, 0);
  });
});

test("compact shows how far it is on a terminal", async () => {
  await inTempDir(async (dir) => {
    {
      using store = Store.open(dir, { segmentMaxBytes: 1 << 20 });
      for (let n = 0; n < 60; n++) {
        store.append({ entity: "e", scope: "s" }, EventKind.DATA, "x".repeat(300_000));
      }
    }
    let nowMs = 0;
    const host = { isErrorTerminal: true, nowMs: () => nowMs += 200 };
    const { code, err } = await runHere(["compact", dir], { host });
    assert.equal(code, 0);
    assert.match(err, /Compacting: [\d,]+ kB, [\d,]+ kB\/s, \d+ %/);
    assert.equal(err.match(/100 %/g)?.length, 1);
  });
});

test("prune removes the oldest segments, and says where the journal begins", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    const size = statSync(`${dir}/000001.fbat`).size;
    const dry = await runHere(["prune", dir, "--below", "15", "--dry-run"]);
    assert.match(
      dry.out,
      /^Would remove \d+ events in \d+ segments, .*; the journal would begin at sequence \d+\.\n$/,
    );
    assert.equal(statSync(`${dir}/000001.fbat`).size, size);
    const { code, out } = await runHere(["prune", dir, "--below", "15", "--json"]);
    assert.equal(code, 0);
    const { dryRun, outcome, firstSequence } = JSON.parse(out);
    assert.deepEqual([dryRun, outcome], [false, "performed"]);
    assert.equal(existsSync(`${dir}/000001.fbat`), false);
    const events = parseLines((await runHere(["query", dir])).out);
    assert.equal(events[0].globalSequence, firstSequence);
    const verified = await runHere(["verify", dir]);
    assert.equal(verified.code, 0);
    assert.match(verified.out, new RegExp(`${firstSequence} before them pruned\n$`));
    const again = await runHere(["prune", dir, "--below", "15"]);
    assert.match(again.out, /^Nothing to do: no sealed segment has all of its events below/);
  });
});

test("prune needs a journal and a place", async () => {
  await inTempDir(async (dir) => {
    assert.equal((await runHere(["prune", dir])).code, 2);
    assert.equal((await runHere(["prune", dir, "--below", "-1"])).code, 2);
    assert.equal((await runHere(["prune", `${dir}/none`, "--below", "3"])).code, 1);
    assert.equal(existsSync(`${dir}/none`), false);
  });
});

test("dry runs of compact and prune write nothing, also beside a live writer", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    using _writer = Store.open(dir);
    const tree = () =>
      readdirSync(dir).map((
        name,
      ) => [name, statSync(`${dir}/${name}`).mtimeMs, readFileSync(`${dir}/${name}`)]);
    const before = tree();
    const erasing = ["--strategy", "tombstone", "--max-count", "5", "--seal"];
    const commands = [["compact", dir], ["compact", dir, ...erasing], [
      "prune",
      dir,
      "--below",
      "15",
    ]];
    for (const command of commands) {
      const text = await runHere([...command, "--dry-run"]);
      assert.equal(text.code, 0, text.err);
      assert.match(text.out, /^Would (?:make|remove) /);
      assert.equal(text.err, "");
      const json = JSON.parse((await runHere([...command, "--dry-run", "--json"])).out);
      assert.deepEqual([json.dryRun, json.body.dryRun, json.outcome], [true, true, "performed"]);
    }
    assert.deepEqual(tree(), before);
    // Without it they want the lock.
    assert.equal((await runHere(["prune", dir, "--below", "15"])).code, 5);
  });
});
