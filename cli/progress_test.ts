import assert from "node:assert/strict";
import { test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import type { Host } from "./host.ts";
import { formatDuration, Progress } from "./progress.ts";

function terminal(isErrorTerminal: boolean, columns = 80) {
  const world = { nowMs: 0, text: "" };
  const host = {
    isErrorTerminal,
    errorColumns: columns,
    nowMs: () => world.nowMs,
    writeError: (text: string) => void (world.text += text),
  } as Host;
  return { world, host };
}

test("Progress shows count, rate, share and time left on a terminal, and clears its line", () => {
  const { world, host } = terminal(true);
  const progress = new Progress(host, { label: "Importing:", unit: "events", totalBytes: 4000 });
  progress.update({ count: 1, bytes: 1 });
  assert.equal(world.text, "", "nothing before a moment has passed");
  world.nowMs = 2000;
  progress.update({ count: 5000, bytes: 1000 });
  assert.equal(
    stripVTControlCharacters(world.text).trim(),
    "Importing: 5,000 events, 2,500 events/s, 25 %, 6 s left",
  );
  progress[Symbol.dispose]();
  assert.ok(world.text.endsWith("\r\x1b[K"));
});

test("Progress says once that everything is done, and goes on when something begins anew", () => {
  const { world, host } = terminal(true);
  using progress = new Progress(host, { label: "Copying:", unit: "kB", totalBytes: 4000 });
  for (const bytes of [2000, 4000, 4000, 4000, 1000, 4000]) {
    world.nowMs += 200;
    progress.update({ count: bytes / 1000, bytes });
  }
  const shares = [...world.text.matchAll(/(\d+) %/g)].map(([, share]) => Number(share));
  assert.deepEqual(shares, [50, 100, 25, 100]);
});

test("Progress keeps to the width of the terminal", () => {
  const { world, host } = terminal(true, 20);
  const progress = new Progress(host, { label: "Importing:", unit: "events" });
  world.nowMs = 2000;
  progress.update({ count: 5_000_000, bytes: 1000 });
  assert.equal(stripVTControlCharacters(world.text).trim(), "Importing: 5,000,00");
});

test("Progress says nothing where nobody watches", () => {
  const { world, host } = terminal(false);
  using progress = new Progress(host, { label: "Importing:", unit: "events" });
  world.nowMs = 5000;
  progress.update({ count: 5000, bytes: 1000 });
  progress.clear();
  assert.equal(world.text, "");
});

test("formatDuration() uses the two largest units", () => {
  assert.deepEqual([100, 59_000, 61_000, 3_700_000].map(formatDuration), [
    "1 s",
    "59 s",
    "1 min 1 s",
    "1 h 1 min",
  ]);
});
