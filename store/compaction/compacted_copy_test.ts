// Copies of journals that have been compacted and pruned, and compactions of journals that share files.
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs } from "../../platform/memory.ts";
import { runtime } from "../../platform/runtime.ts";
import { DIR, KIND, openStore, USER } from "../../tests/support/journal.ts";
import { censusOf, openAnew } from "../../tests/support/journal_checks.ts";
import { SeededEntropy } from "../../tests/support/seeded_entropy.ts";
import { inTempDir } from "../../tests/support/temp_dir.ts";
import { restoreBackup, verifyBackup } from "../copies/backup.ts";
import { Store } from "../store.ts";
import { verifyJournal } from "../verify.ts";

/** A journal with a base, a merged segment with erased events in it, and plain segments. */
function worked(): { fs: MemoryFs; store: Store } {
  const fs = new MemoryFs();
  const store = openStore(fs, { segmentMaxBytes: 600, coldStart: {} });
  for (let i = 0; i < 40; i++) store.append(USER, KIND, { i }, { idempotencyKey: `key ${i}` });
  store.prune({ below: 10 });
  store.compact({
    strategy: { type: "retention", keep: ({ clock }) => clock % 3 !== 0 },
    mergedSegmentMaxBytes: 3000,
  });
  for (let i = 40; i < 50; i++) store.append(USER, KIND, { i }, { idempotencyKey: `key ${i}` });
  return { fs, store };
}

test("snapshots, forks and backups of a compacted and pruned journal are the same journal", () => {
  const { fs, store } = worked();
  const census = censusOf(store);
  const snapshot = store.snapshot("/snapshot");
  assert.equal(snapshot.events, census.length);
  store.fork("/fork");
  store.backup("/backup");
  assert.deepEqual(verifyBackup("/backup", { fs }).findings, []);
  restoreBackup("/backup", "/restored", { fs });
  for (const dir of ["/snapshot", "/fork", "/restored"]) {
    assert.deepEqual(verifyJournal(dir, { fs }).findings, [], dir);
    const copy = Store.open(dir, { fs, entropy: new SeededEntropy(77) });
    assert.deepEqual(censusOf(copy).slice(0, census.length), census, dir);
    assert.equal(copy.append(USER, KIND, 0, { idempotencyKey: "key 45" }).replayed, true);
    // And each goes on by itself.
    assert.equal(copy.prune({ below: 30 }).outcome, "performed");
    assert.notEqual(copy.compact({ minSegments: 1, seal: true }).outcome, "failed");
    copy.close();
    assert.deepEqual(verifyJournal(dir, { fs }).findings, [], dir);
  }
  assert.deepEqual(censusOf(store), census);
  assert.deepEqual(censusOf(openAnew(fs.snapshot(), {})).slice(0, census.length), census);
});

test("a compaction, an erasure and a prune of one journal leave a fork that shares its files alone", () =>
  inTempDir((dir) => {
    for (const share of ["hardlink", "reflink"] as const) {
      const store = Store.open(`${dir}/${share}`, { fs: runtime.fs, segmentMaxBytes: 2_000 });
      for (let i = 0; i < 60; i++) store.append(USER, KIND, { i });
      store.fork(`${dir}/${share}-fork`, { share });
      store.compact({
        strategy: { type: "tombstone", keep: () => false },
        minSegments: 1,
        mergedSegmentMaxBytes: 5_000,
      });
      store.prune({ below: 30 });
      store.close();
      using fork = Store.openReadOnly(`${dir}/${share}-fork`);
      const numbers = fork.query({ kind: KIND }).map(({ payload }) => (payload as { i: number }).i);
      assert.deepEqual(numbers, Array.from({ length: 60 }, (_, i) => i));
      assert.deepEqual(verifyJournal(`${dir}/${share}-fork`).findings, []);
      assert.deepEqual(verifyJournal(`${dir}/${share}`).findings, []);
    }
  }));

test("a copy between two steps of a compaction is whole", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { segmentMaxBytes: 3_000 });
  for (let i = 0; i < 40; i++) store.append(USER, KIND, { i, filling: "x".repeat(600) });
  const compaction = store.compaction({ stepMaxBytes: 4_096, mergedSegmentMaxBytes: 9_000 });
  let count = 0;
  while (compaction.step()) {
    const census = censusOf(store);
    store.snapshot(`/copy-${count}`);
    assert.deepEqual(verifyJournal(`/copy-${count}`, { fs }).findings, []);
    const copy = Store.openReadOnly(`/copy-${count}`, { fs });
    assert.deepEqual(censusOf(copy), census);
    count++;
  }
  assert.ok(count > 3);
  assert.equal(fs.stat(`${DIR}/compaction.pending`), undefined);
});
