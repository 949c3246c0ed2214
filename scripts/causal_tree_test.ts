import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs, Store } from "../mod.ts";
import { drawCausalTree, fit } from "./causal_tree.ts";
import { appendHistory, commitEventId, HISTORY_OPTIONS } from "./commit_journal.ts";
import type { Commit } from "./git_history.ts";

function hash(n: number): string {
  return String(n).repeat(40);
}

function commit(n: number, parents: number[], paths: string[] = []): Commit {
  return {
    hash: hash(n),
    parents: parents.map(hash),
    author: "Ann",
    authoredAt: n,
    subject: `commit ${n}`,
    files: paths.map((path) => ({ type: "added", path })),
  };
}

test("drawCausalTree() unfolds the way to the newest commit and shows the rest in short", () => {
  using store = Store.open("journal", { ...HISTORY_OPTIONS, fs: new MemoryFs() });
  const commits = [
    commit(1, []),
    commit(2, [1], ["a", "b", "c"]),
    commit(3, [2]),
    commit(4, [2], ["d\x1b[31m"]),
    commit(5, [4, 3], ["e", "f"]),
  ];
  appendHistory(store, { path: "/p", name: "p", commits, isPartial: false });
  const newest = commitEventId(hash(5));
  assert.deepEqual(drawCausalTree(store, newest, { width: 80, commits: 3, effects: 2 }), [
    "2222222 commit 2",
    "├─ added a",
    "├─ added b",
    "├─ … 1 more file",
    "├─ 3333333 commit 3 (a branch)",
    "└─ 4444444 commit 4",
    "   ├─ added d·[31m",
    "   └─ 5555555 commit 5",
    "      ├─ added e",
    "      └─ added f",
  ]);
  assert.deepEqual(drawCausalTree(store, newest, { width: 12, commits: 1, effects: 1 }), [
    "5555555 com…",
    "├─ added e",
    "└─ … 1 more…",
  ]);
});

test("fit() counts columns and never cuts a character in half", () => {
  assert.equal(fit("abc", 3), "abc");
  assert.equal(fit("abcd", 3), "ab…");
  assert.equal(fit("日本語", 6), "日本語");
  assert.equal(fit("日本語", 5), "日本…");
  assert.equal(fit("日本語", 4), "日…");
  assert.equal(fit("👍👍👍", 4), "👍…");
  assert.equal(fit("e\u0301x", 2), "e\u0301x");
  assert.equal(fit("a\tb\u202ec", 9), "a·b·c");
});
