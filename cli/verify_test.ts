import assert from "node:assert/strict";
import { appendFileSync, chmodSync, readFileSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { EventKind, type Finding, Store, type VerifyReport } from "../mod.ts";
import { flipBit, inTempDir, runHere, runProcess, segmentPath } from "../tests/command.ts";
import { describeReport } from "./verify.ts";

function fill(dir: string, count = 10) {
  using store = Store.open(dir);
  return Array.from(
    { length: count },
    (_, n) => store.append({ entity: `e:${n % 3}`, scope: "s" }, EventKind.DATA, { n }),
  );
}

test("verify finds nothing in a journal as it was written", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    const text = await runHere(["verify", dir]);
    assert.equal(text.code, 0);
    assert.match(text.out, /^Intact: 12 events in 1 segment and 4 chains, [\d.]+ kB\n$/);
    const json = await runHere(["verify", dir, "--json"]);
    assert.equal(json.code, 0);
    const { intact, events, findings } = JSON.parse(json.out);
    assert.deepEqual({ intact, events, findings }, { intact: true, events: 12, findings: [] });
  });
});

test("verify exits with 3 for a flipped bit, and names segment, offset and reason", async () => {
  await inTempDir(async (dir) => {
    const receipts = fill(dir);
    const { offset, size } = receipts[4].position;
    flipBit(segmentPath(dir), offset + size - 1);
    const text = await runProcess(["verify", dir]);
    assert.equal(text.code, 3, text.err);
    const [finding, summary] = text.out.split("\n");
    assert.ok(finding.startsWith(`${basename(segmentPath(dir))}, offset ${offset}, frame: `));
    assert.match(summary, /^DAMAGED: 1 finding/);

    const json = await runProcess(["verify", dir, "--json"]);
    assert.equal(json.code, 3);
    const { intact, findings } = JSON.parse(json.out);
    assert.equal(intact, false);
    assert.equal(findings[0].segmentId, 1);
    assert.equal(findings[0].offset, offset);
  });
});

test("verify reports a torn tail, which is no damage", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    appendFileSync(segmentPath(dir), new Uint8Array([0, 0, 1, 0, 1, 2, 3, 4, 5]));
    const { code, out } = await runHere(["verify", dir]);
    assert.equal(code, 0);
    assert.match(out, /offset \d+, tail: /);
    assert.match(out, /^Intact but for its end, which the next open for writing repairs: 12/m);

    const repaired = await runHere(["append", dir, "--entity", "e", "--scope", "s", "1"]);
    assert.equal(repaired.code, 0);
    assert.match(repaired.err, /repaired the end of segment 1: 9 bytes .* are kept in quarantine/);
    assert.match((await runHere(["verify", dir])).out, /^Intact: /);
  });
});

/** Gives a file the format version 7: a number of two bytes, so many bytes behind a word. */
function makeFuture(path: string, word: string, distance: number): void {
  const bytes = readFileSync(path);
  bytes[bytes.indexOf(word) + word.length + distance + 1] = 7;
  writeFileSync(path, bytes);
}

test("verify asks for a newer program, and cries no damage, where one has written", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    makeFuture(`${dir}/store.meta`, "FBATSM", 0);
    const text = await runHere(["verify", dir]);
    assert.equal(text.code, 1);
    assert.match(text.out, /^store\.meta, offset 0, future: .* version 7, from a newer program$/m);
    assert.match(
      text.out,
      /^No damage found, but a newer batpak wrote 1 file: upgrade to check it\./m,
    );
    assert.doesNotMatch(text.out, /DAMAGED|Intact/);
    const json = await runHere(["verify", dir, "--json"]);
    assert.equal(json.code, 1);
    assert.equal(JSON.parse(json.out).findings[0].type, "future");

    appendFileSync(segmentPath(dir), new Uint8Array([0, 0, 1, 0, 1, 2, 3, 4, 5]));
    assert.equal((await runHere(["verify", dir])).code, 1, "a torn tail is no damage");
    flipBit(segmentPath(dir), 500);
    const both = await runHere(["verify", dir]);
    assert.equal(both.code, 3);
    assert.match(both.out, /^DAMAGED: /m);
  });
});

test("verify says how many files it could not check", async () => {
  await inTempDir(async (dir) => {
    fill(dir);
    makeFuture(`${dir}/store.meta`, "FBATSM", 0);
    // In the header of a segment, a number has its type in front of it.
    makeFuture(segmentPath(dir), "version", 1);
    const { code, out } = await runHere(["verify", dir]);
    assert.equal(code, 1);
    assert.match(out, /a newer batpak wrote 2 files: upgrade to check them\. Read 0 events/);
  });
});

// A file that we may not read was called damaged.
test("verify cries no damage over a file that could not be read", async () => {
  const unreadable: Finding = {
    type: "file",
    file: "000001.fbat",
    segmentId: 1,
    offset: 0,
    reason: 'Cannot open "journal/000001.fbat": EACCES (permission denied)',
  };
  const report: VerifyReport = {
    intact: false,
    storeId: undefined,
    segments: 1,
    events: 0,
    erased: 0,
    retired: 0,
    pruned: 0,
    chains: 0,
    bytes: 0,
    findings: [unreadable],
    findingCount: 1,
  };
  assert.match(describeReport(report), /^No damage found, but 1 file could not be read\. Read 0/);
  const future: Finding = { ...unreadable, type: "future", reason: "from a newer program" };
  assert.match(
    describeReport({ ...report, findings: [unreadable, future], findingCount: 2 }),
    /^No damage found, but 1 file could not be read, and a newer batpak wrote 1 file: upgrade/,
  );
  for (const reason of ["it is not a regular file", 'Cannot use "x": ELOOP (a link)']) {
    const findings = [unreadable, { ...unreadable, reason }];
    assert.match(describeReport({ ...report, findings, findingCount: 2 }), /^DAMAGED: 2 findings/);
  }
  assert.match(describeReport({ ...report, findingCount: 2 }), /^DAMAGED/, "one is not shown");

  await inTempDir(async (dir) => {
    fill(dir);
    chmodSync(segmentPath(dir), 0o000);
    const { code, out } = await runHere(["verify", dir]);
    // Root may read everything.
    const isRoot = process.getuid?.() === 0;
    assert.equal(code, isRoot ? 0 : 1);
    assert.match(out, isRoot ? /^Intact/m : /^No damage found, but 1 file could not be read/m);
  });
});

test("verify shows progress on a terminal", async () => {
  await inTempDir(async (dir) => {
    {
      using store = Store.open(dir, { batch: { maxSize: 4096 } });
      const item = { entity: "e", scope: "s", kind: EventKind.DATA, payload: 1 };
      for (let n = 0; n < 10; n++) store.appendBatch(Array.from({ length: 4096 }, () => item));
    }
    // A clock that runs ahead, as if each look at it took its time.
    let nowMs = 0;
    const host = { isErrorTerminal: true, nowMs: () => nowMs += 200 };
    const { code, err } = await runHere(["verify", dir], { host });
    assert.equal(code, 0);
    assert.match(err, /Verifying: [\d,]+ events, [\d,]+ events\/s, \d+ %/);
  });
});
