import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Coordinate, MemoryFs, Store } from "../mod.ts";
import {
  appendHistory,
  commitEventId,
  commitMade,
  entityOfPath,
  fileChanged,
  HISTORY_OPTIONS,
  pathOfEntity,
} from "./commit_journal.ts";
import type { Commit } from "./git_history.ts";

function commit(n: number, more: Partial<Commit> = {}): Commit {
  return {
    hash: String(n).padStart(40, "0"),
    parents: n === 1 ? [] : [String(n - 1).padStart(40, "0")],
    author: "Ann",
    authoredAt: n,
    subject: `commit ${n}`,
    files: [],
    ...more,
  };
}

test("entityOfPath() is easy to read", () => {
  assert.equal(entityOfPath("mod.ts"), "file:mod.ts");
  assert.equal(entityOfPath("src/store/frame.ts"), "file:src:store:frame.ts");
  assert.equal(entityOfPath("a b/ü=1|2:3%.txt"), "file:a b:ü%3D1%7C2%3A3%25.txt");
  assert.equal(entityOfPath("a...b\n"), "file:a%2E%2E.b%0A");
});

test("entityOfPath() gives a valid entity for every path, and pathOfEntity() finds the way back", () => {
  const level = fc.string({ unit: "grapheme", minLength: 1 }).filter((text) => !text.includes("/"));
  const odd = fc.array(fc.constantFrom("..", ".", ":", "%", "%2E", "|", "=", "a", "\n", "\x7f"), {
    minLength: 1,
  }).map((parts) => parts.join(""));
  const path = fc.array(fc.oneof(level, odd), { minLength: 1, maxLength: 6 })
    .map((levels) => levels.join("/"));
  fc.assert(fc.property(path, (path) => {
    const entity = entityOfPath(path);
    Coordinate.of(entity, "scope");
    assert.equal(pathOfEntity(entity), path);
  }));
});

test("entityOfPath() names a path that is too long by its hash", () => {
  const entity = entityOfPath("long/".repeat(500));
  assert.match(entity, /^file:%long:[0-9a-f]{64}$/);
  Coordinate.of(entity, "scope");
  assert.equal(pathOfEntity(entity), undefined);
  assert.notEqual(entityOfPath("%long/x"), "file:%long:x");
});

test("appendHistory() links commits and files by cause, once however often it runs", () => {
  using store = Store.open("journal", { ...HISTORY_OPTIONS, fs: new MemoryFs() });
  const commits = [
    commit(1, { files: [{ type: "added", path: "a/b.ts" }] }),
    commit(2, { files: [{ type: "renamed", from: "a/b.ts", path: "a/c.ts" }] }),
  ];
  const history = { path: "/somewhere", name: "pro/ject", commits, isPartial: false };
  const receipt = appendHistory(store, history);
  assert.equal(receipt.eventId, commitEventId(commits[1].hash));
  assert.equal(receipt.coordinate.scope, "pro-ject");
  assert.deepEqual(store.causes(receipt.eventId).map(({ eventId }) => eventId), [
    commitEventId(commits[0].hash),
  ]);
  const [renamed] = store.effects(receipt.eventId);
  assert.deepEqual(renamed.decode(fileChanged), {
    path: "a/c.ts",
    change: "renamed",
    from: "a/b.ts",
    commit: commits[1].hash,
  });
  assert.deepEqual(renamed.tags, ["author:Ann", `commit:${commits[1].hash}`]);
  assert.equal(renamed.correlationId, receipt.eventId);

  const { eventCount } = store.stats();
  assert.equal(appendHistory(store, history).eventId, receipt.eventId);
  assert.equal(store.stats().eventCount, eventCount);
});

test("appendHistory() takes a commit that changed more files than a batch holds", () => {
  using store = Store.open("journal", { ...HISTORY_OPTIONS, fs: new MemoryFs() });
  const files = Array.from(
    { length: 2500 },
    (_, n) => ({ type: "added" as const, path: `${"folder/".repeat(60)}${n}` }),
  );
  const { eventId } = appendHistory(store, {
    path: "/somewhere",
    name: "project",
    commits: [commit(1, { files, author: "x\x1b[31m".repeat(99), subject: "s".repeat(9999) })],
    isPartial: false,
  });
  assert.equal(store.effects(eventId).length, 2500);
  const { author, subject } = store.get(eventId)!.decode(commitMade);
  assert.doesNotMatch(author, /\p{Control}/u);
  assert.equal([...author].length, 60);
  assert.equal(subject.length, 500);
});
