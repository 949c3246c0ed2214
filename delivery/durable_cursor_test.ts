import assert from "node:assert/strict";
import { test } from "node:test";
import type { StoreFs } from "../platform/fs.ts";
import { MemoryFs } from "../platform/memory.ts";
import { runtime } from "../platform/runtime.ts";
import type { Cursor, CursorPosition } from "../store/cursor.ts";
import { StoreClosedError, StoreIoError, WriterCrashedError } from "../store/errors.ts";
import type { JournalReader } from "../store/journal_reader.ts";
import { Region } from "../store/region.ts";
import { Store } from "../store/store.ts";
import { verifyJournal } from "../store/verify.ts";
import { watchedFs } from "../tests/support/changing_fs.ts";
import { DIR, KIND, openReader, openStore, USER } from "../tests/support/journal.ts";
import { RegrettingFs } from "../tests/support/regretting_fs.ts";
import { inTempDir } from "../tests/support/temp_dir.ts";
import {
  CheckpointAheadError,
  CheckpointBusyError,
  CheckpointCorruptError,
  CheckpointRegionMismatchError,
  CheckpointWriteError,
  loadCheckpoint,
  saveCheckpoint,
} from "./checkpoint.ts";
import { CheckpointIdError } from "./checkpoint_id.ts";
import { bindCursor, type DurableCursor } from "./durable_cursor.ts";
import { NeverSkipChecker } from "./never_skip.ts";
import { AtLeastOnce } from "./witness.ts";

const ID = "batpak-test-cursor";
const REGION = { entity: "user" };
const IDENTITY = Region.from(REGION).identity();

function append(store: Store, count: number): void {
  for (let n = 0; n < count; n++) store.append(USER, KIND, n);
}

function sequences(cursor: DurableCursor, max: number): number[] {
  return cursor.cursor.pollBatch(max).map(({ globalSequence }) => globalSequence);
}

/** A journal of 10 events, in memory and on the disk, and a handle for reading each of them. */
function everywhere(action: (reader: JournalReader, fs: StoreFs) => void): void {
  const memory = new MemoryFs();
  {
    using store = openStore(memory);
    append(store, 10);
    const image = memory.snapshot();
    action(store, memory);
    using reader = openReader(image);
    action(reader, reader.cursorHost().fs);
  }
  inTempDir((dir) => {
    using store = Store.open(`${dir}/${DIR}`);
    append(store, 10);
    action(store, runtime.fs);
    runtime.fs.removeDirAll(`${store.dir}/cursors`);
    using reader = Store.openReadOnly(`${dir}/${DIR}`);
    action(reader, runtime.fs);
  });
}

test("C-15 S002-5 a cursor with an id and load goes on from its checkpoint", () => {
  everywhere((reader, fs) => {
    const at7 = { position: 7, started: true, regionIdentity: IDENTITY };
    saveCheckpoint(reader.dir, ID, at7, { fs });
    using bound = bindCursor(reader, REGION, ID, { load: true });
    assert.deepEqual(bound.cursor.position, { position: 7, started: true });
    assert.deepEqual(bound.committed, { position: 7, started: true });
    assert.equal(bound.path, `${reader.dir}/cursors/${ID}.ckpt`);
    assert.deepEqual(sequences(bound, 100), [8, 9, 10]);
  });
});

test("C-15 S002-5 a cursor with an id and without load begins in front of everything", () => {
  everywhere((reader, fs) => {
    const at7 = { position: 7, started: true, regionIdentity: IDENTITY };
    saveCheckpoint(reader.dir, ID, at7, { fs });
    using bound = bindCursor(reader, REGION, ID, { load: false });
    assert.deepEqual(bound.cursor.position, { position: 0, started: false });
    assert.equal(loadCheckpoint(reader.dir, ID, { fs })?.position, 7);
    assert.deepEqual(sequences(bound, 2), [1, 2]);
  });
});

test("C-15 S002-5 a cursor without an id keeps nothing, whether it is told to load or not", () => {
  everywhere((reader, fs) => {
    for (const load of [true, false]) {
      using bound = bindCursor(reader, REGION, undefined, { load });
      assert.deepEqual(bound.cursor.position, { position: 0, started: false });
      assert.deepEqual([bound.id, bound.path, bound.witness], [undefined, undefined, undefined]);
      assert.deepEqual(sequences(bound, 2), [1, 2]);
      bound.commit();
      assert.deepEqual(sequences(bound, 1), [3]);
      bound.rollback();
      assert.deepEqual(sequences(bound, 1), [3]);
      assert.equal(fs.stat(`${reader.dir}/cursors`), undefined);
    }
  });
});

test("without a checkpoint a durable cursor begins in front of everything", () => {
  everywhere((reader) => {
    using bound = bindCursor(reader, {}, ID);
    assert.deepEqual(bound.cursor.position, { position: 0, started: false });
    assert.equal(bound.cursor.poll()?.globalSequence, 0);
  });
});

test("commit() keeps the place, rollback() goes back to it, and a new handle goes on from it", () => {
  everywhere((reader, fs) => {
    {
      using bound = bindCursor(reader, REGION, ID);
      assert.deepEqual(sequences(bound, 3), [1, 2, 3]);
      bound.commit();
      assert.deepEqual(sequences(bound, 3), [4, 5, 6]);
      bound.rollback();
      assert.deepEqual(sequences(bound, 2), [4, 5]);
      assert.deepEqual(bound.committed, { position: 3, started: true });
    }
    assert.deepEqual(loadCheckpoint(reader.dir, ID, { fs }), {
      position: 3,
      started: true,
      processBootNs: null,
      regionIdentity: IDENTITY,
      eventId: reader.at(3)?.eventId,
    });
    using again = bindCursor(reader, REGION, ID);
    assert.deepEqual(sequences(again, 100), [4, 5, 6, 7, 8, 9, 10]);
    again.commit();
    again.commit();
    assert.deepEqual(sequences(again, 100), []);
  });
});

test("committing before anything was given writes a place in front of everything", () => {
  everywhere((reader, fs) => {
    using bound = bindCursor(reader, REGION, ID);
    bound.commit();
    const { position, started, eventId } = loadCheckpoint(reader.dir, ID, { fs }) ?? {};
    assert.deepEqual([position, started, eventId], [0, false, null]);
  });
});

test("rebuild() makes a new cursor at the committed place, without looking at the file", () => {
  everywhere((reader, fs) => {
    using bound = bindCursor(reader, REGION, ID);
    const first = bound.cursor;
    sequences(bound, 2);
    bound.rebuild();
    assert.notEqual(bound.cursor, first);
    assert.deepEqual(sequences(bound, 2), [1, 2]);
    bound.commit();
    sequences(bound, 5);
    fs.remove(`${reader.dir}/cursors/${ID}.ckpt`);
    bound.rebuild();
    assert.deepEqual(sequences(bound, 2), [3, 4]);
  });
});

test("a checkpoint of another region, or of none, is refused", () => {
  everywhere((reader, fs) => {
    for (const regionIdentity of [Region.entity("other").identity(), null]) {
      const record = { position: 1, started: true, regionIdentity };
      saveCheckpoint(reader.dir, ID, record, { fs });
      assert.throws(() => bindCursor(reader, REGION, ID), (error) => {
        assert.ok(error instanceof CheckpointRegionMismatchError);
        assert.equal(error.code, "CHECKPOINT_REGION_MISMATCH");
        assert.equal(error.path, `${reader.dir}/cursors/${ID}.ckpt`);
        assert.deepEqual([error.stored, error.expected], [regionIdentity, IDENTITY]);
        return true;
      });
    }
    // The id is free again, and nothing was changed.
    assert.equal(loadCheckpoint(reader.dir, ID, { fs })?.position, 1);
    bindCursor(reader, REGION, ID, { load: false }).close();
  });
});

test("a corrupt checkpoint is refused, and the id is free again", () => {
  everywhere((reader, fs) => {
    const path = `${reader.dir}/cursors/${ID}.ckpt`;
    fs.createDirAll(`${reader.dir}/cursors`);
    fs.publish(path, new TextEncoder().encode("not-msgpack"));
    for (let n = 0; n < 2; n++) {
      assert.throws(
        () => bindCursor(reader, REGION, ID),
        (error) => error instanceof CheckpointCorruptError && error.path === path,
      );
    }
  });
});

test("a checkpoint behind the end of the journal, or of another event, is refused", () => {
  everywhere((reader, fs) => {
    const other = reader.at(5)?.eventId;
    const path = `${reader.dir}/cursors/${ID}.ckpt`;
    for (
      const record of [
        { position: 11, eventId: null },
        { position: 2 ** 50, eventId: null },
        { position: 4, eventId: other },
      ]
    ) {
      const { position } = record;
      const full = { ...record, started: true, regionIdentity: IDENTITY };
      saveCheckpoint(reader.dir, ID, full, { fs });
      assert.throws(() => bindCursor(reader, REGION, ID), (error) => {
        assert.ok(error instanceof CheckpointAheadError);
        assert.equal(error.code, "CHECKPOINT_AHEAD");
        assert.deepEqual([error.path, error.position, error.nextSequence], [path, position, 11]);
        assert.match(error.message, /Remove the file/);
        return true;
      });
    }
    const right = { position: 5, started: true, regionIdentity: IDENTITY, eventId: other };
    saveCheckpoint(reader.dir, ID, right, { fs });
    using bound = bindCursor(reader, REGION, ID);
    assert.deepEqual(sequences(bound, 1), [6]);
  });
});

test("a checkpoint of events that were pruned goes on with what is left", () => {
  const fs = new MemoryFs();
  const store = openStore(fs, { segmentMaxBytes: 1000 });
  append(store, 20);
  const bound = bindCursor(store, REGION, ID);
  assert.deepEqual(sequences(bound, 2), [1, 2]);
  bound.commit();
  bound.close();
  const { firstSequence } = store.prune({ below: 10 });
  assert.ok(firstSequence > 3);
  store.close();
  using again = openStore(fs, { segmentMaxBytes: 1000 });
  using rebound = bindCursor(again, REGION, ID);
  assert.deepEqual(sequences(rebound, 2), [firstSequence, firstSequence + 1]);
});

test("a reader that is behind the checkpoint looks again before it says that it is ahead", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  append(store, 3);
  using reader = openReader(fs);
  append(store, 3);
  {
    using bound = bindCursor(store, REGION, ID);
    assert.equal(sequences(bound, 5).length, 5);
    bound.commit();
  }
  using bound = bindCursor(reader, REGION, ID);
  assert.deepEqual(sequences(bound, 5), [6]);
});

test("an id is for one consumer at a time", () => {
  everywhere((reader) => {
    const first = bindCursor(reader, REGION, ID);
    for (const load of [true, false]) {
      assert.throws(
        () => bindCursor(reader, REGION, ID, { load }),
        (error) => error instanceof CheckpointBusyError && error.id === ID,
      );
    }
    bindCursor(reader, REGION, `${ID}-2`).close();
    first.close();
    first.close();
    assert.throws(() => first.commit(), TypeError);
    bindCursor(reader, REGION, ID).close();
  });
});

test("what a crash left of a save is tidied by the next one who binds, unless somebody saves", () => {
  everywhere((reader, fs) => {
    const folder = `${reader.dir}/cursors`;
    const staged = () => fs.list(folder).filter(({ name }) => name.startsWith(".stage-")).length;
    const other = bindCursor(reader, REGION, `${ID}-other`);
    fs.open(`${folder}/.stage-0`, "createNew").close();
    bindCursor(reader, REGION, ID).close();
    assert.equal(staged(), 1);
    other.close();
    bindCursor(reader, REGION, ID).close();
    assert.equal(staged(), 0);
  });
});

test("C-25 a commit that fails says so, and the events come again", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  append(store, 4);
  using bound = bindCursor(store, REGION, ID);
  sequences(bound, 1);
  bound.commit();
  assert.deepEqual(sequences(bound, 2), [2, 3]);
  fs.failNext({ op: "publish", code: "ENOSPC", path: ".ckpt" });
  assert.throws(
    () => bound.commit(),
    (error) => error instanceof CheckpointWriteError && error.id === ID,
  );
  assert.equal(fs.faultsFired, 1);
  assert.deepEqual(bound.committed, { position: 1, started: true });
  assert.equal(loadCheckpoint(store.dir, ID, { fs })?.position, 1);
  bound.rollback();
  assert.deepEqual(sequences(bound, 2), [2, 3]);
  bound.commit();
  assert.equal(loadCheckpoint(store.dir, ID, { fs })?.position, 3);
});

test("a commit syncs what was handled first, and only when it is not durable", () => {
  const memory = new MemoryFs();
  const changes: string[] = [];
  const fs = watchedFs(memory, ({ op, path }, run) => {
    if (op === "sync") changes.push(path.endsWith(".fbat") ? "sync segment" : "sync checkpoint");
    return run();
  });
  using store = openStore(fs);
  append(store, 2);
  using bound = bindCursor(store, REGION, ID);
  sequences(bound, 1);
  changes.length = 0;
  bound.commit();
  assert.deepEqual(changes, ["sync segment", "sync checkpoint"]);
  assert.equal(store.durableSequence, 3);
  sequences(bound, 1);
  changes.length = 0;
  bound.commit();
  assert.deepEqual(changes, ["sync checkpoint"]);

  using reader = openReader(fs);
  using other = bindCursor(reader, REGION, "other");
  append(store, 1);
  reader.refresh();
  for (const expected of [["sync segment", "sync checkpoint"], ["sync checkpoint"]]) {
    sequences(other, 1);
    changes.length = 0;
    other.commit();
    assert.deepEqual(changes, expected);
  }
});

test("a reader syncs again for what a fence showed since it synced: its end has to be durable too", () => {
  const memory = new MemoryFs();
  let syncs = 0;
  const fs = watchedFs(memory, ({ op, path }, run) => {
    if (op === "sync" && path.endsWith(".fbat")) syncs++;
    return run();
  });
  using store = openStore(fs);
  append(store, 6);
  using reader = openReader(fs);
  let visible = 3;
  Object.defineProperty(reader.cursorHost().source.index, "visibleCount", { get: () => visible });
  using bound = bindCursor(reader, REGION, ID);
  const commitSyncs = () => {
    const before = syncs;
    bound.commit();
    return syncs - before;
  };
  assert.deepEqual(sequences(bound, 1), [1]);
  assert.equal(commitSyncs(), 1);
  assert.deepEqual(sequences(bound, 9), [2]);
  assert.equal(commitSyncs(), 0);
  visible = 7;
  assert.deepEqual(sequences(bound, 9), [3, 4, 5, 6]);
  assert.equal(commitSyncs(), 1);
});

test("a writer that cannot sync, and a reader that cannot, save no checkpoint", () => {
  for (const isReader of [false, true]) {
    const fs = new MemoryFs();
    using store = openStore(fs);
    append(store, 2);
    using reader = openReader(fs);
    using bound = bindCursor(isReader ? reader : store, REGION, ID);
    sequences(bound, 1);
    fs.failNext({ op: "sync", code: "EIO" });
    assert.throws(() => bound.commit(), (error) => {
      return error instanceof CheckpointWriteError &&
        (isReader || error.cause instanceof WriterCrashedError);
    });
    assert.equal(loadCheckpoint(store.dir, ID, { fs }), undefined);
    assert.equal(bound.committed.started, false);
  }
});

test("a reader syncs the newest segment on real files, also after it was sealed and replaced", () => {
  inTempDir((dir) => {
    using store = Store.open(`${dir}/${DIR}`, { sync: { everyNEvents: 0 }, segmentMaxBytes: 2000 });
    append(store, 3);
    using reader = Store.openReadOnly(`${dir}/${DIR}`);
    using bound = bindCursor(reader, REGION, ID);
    assert.deepEqual(sequences(bound, 2), [1, 2]);
    bound.commit();
    sequences(bound, 1);
    append(store, 40);
    store.compact();
    bound.commit();
    assert.equal(loadCheckpoint(reader.dir, ID)?.position, 3);
  });
});

test("a segment that is gone when a reader syncs it was sealed before: the reader looks again", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, { segmentMaxBytes: 800 });
  append(store, 3);
  using reader = openReader(fs);
  using bound = bindCursor(reader, REGION, ID);
  const seen = sequences(bound, 3);
  append(store, 40);
  store.prune({ below: 30 });
  bound.commit();
  assert.equal(loadCheckpoint(store.dir, ID, { fs })?.position, seen.at(-1));
});

/**
 * What a power cut may leave of `fs` in the worst case: of each segment what was synced, of everything
 * else all there is. Called after every change.
 */
function powerCutAfterEach(
  memory: MemoryFs,
  visit: (image: MemoryFs) => void,
): StoreFs {
  const synced = new Map<string, Uint8Array>();
  const bytesOf = (path: string) => memory.readFile(path, 2 ** 30);
  return watchedFs(memory, ({ op, path, target }, run) => {
    const result = run();
    if (op === "sync" && path.endsWith(".fbat")) synced.set(path, bytesOf(path));
    // A segment's header is synced before it gets its name.
    if (op === "rename" && target?.endsWith(".fbat")) synced.set(target, bytesOf(target));
    const image = memory.snapshot();
    for (const [path, bytes] of synced) {
      if (image.removeIfPresent(path)) image.publish(path, bytes);
    }
    visit(image);
    return result;
  });
}

test("a checkpoint never says more than the journal that a power cut leaves", () => {
  for (const isReader of [false, true]) {
    const memory = new MemoryFs();
    let imageCount = 0;
    let withCheckpoint = 0;
    let isArmed = false;
    const fs = powerCutAfterEach(memory, (image) => {
      if (!isArmed) return;
      imageCount++;
      const checkpoint = loadCheckpoint(`/${DIR}`, ID, { fs: image });
      using store = openStore(image);
      using bound = bindCursor(store, REGION, ID);
      if (checkpoint?.started !== true) return;
      withCheckpoint++;
      assert.ok(store.stats().nextSequence > checkpoint.position + 1, "the open is one more");
      assert.equal(store.at(checkpoint.position)?.eventId, checkpoint.eventId);
      assert.deepEqual(bound.committed, { position: checkpoint.position, started: true });
    });
    using store = openStore(fs, { segmentMaxBytes: 1500 });
    using reader = openReader(fs);
    using bound = bindCursor(isReader ? reader : store, REGION, ID);
    isArmed = true;
    for (let n = 0; n < 20; n++) {
      append(store, 3);
      reader.refresh();
      sequences(bound, n % 5);
      bound.commit();
    }
    isArmed = false;
    assert.ok(store.stats().segmentCount > 3);
    assert.ok(imageCount > 100 && withCheckpoint > 50, `${imageCount} ${withCheckpoint}`);
  }
});

test("a checkpoint that somebody saved in front of the sync is found out after a power cut", () => {
  const memory = new MemoryFs();
  let last = memory;
  const fs = powerCutAfterEach(memory, (image) => void (last = image));
  using store = openStore(fs);
  append(store, 5);
  const record = { position: 5, started: true, regionIdentity: IDENTITY };
  saveCheckpoint(store.dir, ID, { ...record, eventId: store.at(5)?.eventId }, { fs });
  using recovered = openStore(last, { entropy: runtime.entropy });
  assert.throws(() => bindCursor(recovered, REGION, ID), CheckpointAheadError);
  // Other events have taken the sequences: the position alone would not tell.
  append(recovered, 10);
  assert.throws(() => bindCursor(recovered, REGION, ID), CheckpointAheadError);
});

test("a consumer that is killed anywhere, and goes on from its checkpoint, skips nothing", () => {
  const memory = new MemoryFs();
  /** What the consumer was given, and had committed then, one behind the other. */
  const steps: { events: number[]; committed: CursorPosition }[] = [];
  const images: { image: MemoryFs; stepCount: number }[] = [];
  let isArmed = false;
  const fs = watchedFs(memory, (_, run) => {
    const result = run();
    if (isArmed) images.push({ image: memory.snapshot(), stepCount: steps.length });
    return result;
  });
  using store = openStore(fs, { segmentMaxBytes: 1500 });
  using bound = bindCursor(store, REGION, ID);
  isArmed = true;
  for (let n = 0; n < 12; n++) {
    append(store, 2);
    steps.push({ events: sequences(bound, 1 + n % 3), committed: bound.committed });
    bound.commit();
    steps.push({ events: [], committed: bound.committed });
  }
  isArmed = false;
  assert.ok(images.length > 50);
  for (const { image, stepCount } of images) {
    const checker = new NeverSkipChecker();
    for (const { events, committed } of steps.slice(0, stepCount)) {
      checker.delivered(events.map((globalSequence) => ({ globalSequence })));
      checker.committed(committed);
    }
    using recovered = openStore(image);
    using again = bindCursor(recovered, REGION, ID);
    checker.restarted(again.committed);
    for (;;) {
      const events = again.cursor.pollBatch(4);
      if (events.length === 0) break;
      checker.delivered(events);
    }
    checker.finish(recovered, REGION);
  }
});

test("bindCursor() refuses what is no id, a closed store, and options that nobody reads", () => {
  const store = openStore(new MemoryFs());
  assert.throws(() => bindCursor(store, REGION, "../up"), CheckpointIdError);
  assert.throws(() => bindCursor(store, REGION, ID, { lode: true } as never), TypeError);
  store.close();
  assert.throws(() => bindCursor(store, REGION, ID), StoreClosedError);
});

test("O-02 the witness of a durable cursor names exactly its checkpoint", () => {
  using store = openStore(new MemoryFs());
  using bound = bindCursor(store, REGION, "billing mailer");
  assert.ok(AtLeastOnce.is(bound.witness));
  assert.equal(bound.witness.checkpointId, "billing mailer");
});

test("a journal with checkpoints opens, verifies, copies and closes as one without", () => {
  const fs = new MemoryFs();
  {
    using store = openStore(fs);
    append(store, 3);
    using bound = bindCursor(store, REGION, ID);
    sequences(bound, 2);
    bound.commit();
    store.snapshot("copy");
    store.backup("backup");
  }
  {
    using store = openStore(fs);
    assert.deepEqual(store.openReport.oddities, []);
    assert.equal(loadCheckpoint(DIR, ID, { fs })?.position, 2);
  }
  assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
  assert.equal(fs.stat("copy/cursors"), undefined);
  assert.equal(fs.stat("backup/cursors"), undefined);
});

test("bindCursor() does without tidying when the folder cannot be listed", () => {
  // Listing was outside of what a failing disk was expected in, and its raw fault got out. Leftovers harm
  // nobody, so binding goes on without them.
  const fs = new MemoryFs();
  using store = openStore(fs);
  append(store, 2);
  bindCursor(store, REGION, ID).close();
  fs.failNext({ op: "list", code: "EIO", path: "cursors" });
  using cursor = bindCursor(store, REGION, ID);
  assert.equal(fs.faultsFired, 1);
  assert.deepEqual(sequences(cursor, 9), [1, 2]);
});

/**
 * A reader beside a writer that takes back `{ bad: true }`, which had all arrived. `look` is called while it
 * was there; then others stand in its place.
 */
function besideRegret(
  action: (reader: JournalReader) => { look: () => void; after: () => void },
  batch = 1,
): void {
  const memory = new MemoryFs();
  const fs = new RegrettingFs(memory);
  using store = openStore(fs);
  append(store, 3);
  using reader = openReader(memory);
  const { look, after } = action(reader);
  fs.look = () => {
    reader.refresh();
    look();
  };
  fs.regret = true;
  const bad = Array.from({ length: batch }, () => ({ ...USER, kind: KIND, payload: "bad" }));
  assert.throws(() => store.appendBatch(bad), StoreIoError);
  fs.regret = false;
  for (const n of [3, 4, 5]) store.append(USER, KIND, n);
  reader.refresh();
  after();
}

function payloads(cursor: { pollBatch: Cursor["pollBatch"] }, max = 100): unknown[] {
  return cursor.pollBatch(max).map(({ payload }) => payload);
}

// A reader's cursor that had been given an event which its writer then took back went on behind the place
// where it had been, and skipped what was appended there. It goes back to that place now.
for (const batch of [1, 3]) {
  test(`a cursor skips nothing when ${batch} events that it gave were taken back`, () => {
    besideRegret((reader) => {
      const cursor = reader.cursor(REGION);
      const elsewhere = reader.cursor({ entity: "nobody" });
      const seen: unknown[] = [];
      const look = () => {
        seen.push(...payloads(cursor));
        assert.deepEqual(payloads(elsewhere), []);
      };
      return {
        look,
        after() {
          assert.deepEqual(seen, [0, 1, 2, ...Array.from({ length: batch }, () => "bad")]);
          assert.deepEqual(cursor.position, { position: 3, started: true });
          assert.deepEqual(elsewhere.position, { position: 0, started: false });
          assert.deepEqual(payloads(cursor), [3, 4, 5]);
          assert.deepEqual(cursor.position, { position: 6, started: true });
        },
      };
    }, batch);
  });
}

test("a durable cursor skips nothing when an event that it committed was taken back", () => {
  for (const goBack of ["rollback", "rebuild"] as const) {
    besideRegret((reader) => {
      const durable = bindCursor(reader, REGION, ID);
      return {
        look() {
          durable.cursor.pollBatch(100);
          if (!durable.committed.started) durable.commit();
        },
        after() {
          durable[goBack]();
          assert.deepEqual(durable.committed, { position: 3, started: true });
          assert.deepEqual(payloads(durable.cursor, 1), [3]);
          durable.commit();
          durable.close();
          using again = bindCursor(reader, REGION, ID);
          assert.deepEqual(payloads(again.cursor), [4, 5]);
        },
      };
    });
  }
});

test("a commit says where the cursor is left when what it gave was taken back", () => {
  besideRegret((reader) => {
    const durable = bindCursor(reader, REGION, ID);
    return {
      look: () => void durable.cursor.pollBatch(100),
      after() {
        durable.commit();
        durable.close();
        using again = bindCursor(reader, REGION, ID);
        assert.deepEqual(again.committed, { position: 3, started: true });
        assert.deepEqual(payloads(again.cursor), [3, 4, 5]);
      },
    };
  });
});

// The commit of a fence was taken back after a reader had seen it: its cursor stood behind the end of what
// can be seen, and committing failed as a bug of ours. It is in front of the fence again now.
for (const end of ["commit", "cancel"] as const) {
  test(`a durable cursor is in front of a fence whose commit was taken back, then ${end}`, () => {
    const memory = new MemoryFs();
    const fs = new RegrettingFs(memory);
    using store = openStore(fs);
    append(store, 2);
    const fence = store.beginFence();
    fence.append(USER, KIND, "staged");
    using reader = openReader(memory);
    const durable = bindCursor(reader, REGION, ID);
    assert.deepEqual(payloads(durable.cursor), [0, 1]);
    const seen: unknown[] = [];
    fs.look = () => {
      reader.refresh();
      seen.push(...payloads(durable.cursor));
    };
    fs.regret = true;
    assert.throws(() => fence.commit(), StoreIoError);
    fs.regret = false;
    assert.deepEqual(seen, ["staged"]);

    store.sync();
    reader.refresh();
    assert.deepEqual(payloads(durable.cursor), []);
    durable.commit();
    assert.deepEqual(durable.committed, { position: 3, started: true }); // the begin of the fence
    fence[end]();
    append(store, 1);
    reader.refresh();
    assert.deepEqual(payloads(durable.cursor), end === "commit" ? ["staged", 0] : [0]);
    durable.commit();
    durable.close();
  });
}
