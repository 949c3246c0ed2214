import assert from "node:assert/strict";
import { test } from "node:test";
import { type CloneStrategy, IoFault, type StoreFs } from "../../platform/fs.ts";
import { MemoryFs, type MemoryOp } from "../../platform/memory.ts";
import { runtime } from "../../platform/runtime.ts";
import {
  DIR,
  item,
  killedJournal,
  KIND,
  openReader,
  openStore,
  payloadsOf,
  USER,
} from "../../tests/support/journal.ts";
import {
  concat,
  eventHashAt,
  flipBit,
  framesOf,
  fsOf,
  readFile,
  readTree,
  trimmed,
  writeFile,
} from "../../tests/support/journal_bytes.ts";
import { inTempDir } from "../../tests/support/temp_dir.ts";
import { DyingFs, WrappedFs } from "../../tests/support/wrapped_fs.ts";
import {
  CopySourceError,
  CopyTargetError,
  type CopyTargetRefusal,
  CorruptionError,
  JournalNotFoundError,
  StoreClosedError,
  StoreIoError,
  WriterCrashedError,
} from "../errors.ts";
import { toHex } from "../hash.ts";
import type { CopyReport } from "./journal_copy.ts";
import type { JournalReader } from "../journal_reader.ts";
import type { Receipt } from "../receipt.ts";
import { decodeSegmentHeader, encodeSegmentHeader } from "../segment_header.ts";
import { Store } from "../store.ts";
import type { StoreOptions } from "../store_options.ts";
import { verifyJournal } from "../verify.ts";

const COPY = "copy";
const SMALL: StoreOptions = { segmentMaxBytes: 700 };
/** Every operation that a copy may meet. */
const OPS: readonly MemoryOp[] = [
  "canonicalize",
  "clone",
  "copy",
  "createDirAll",
  "link",
  "list",
  "open",
  "publish",
  "readAt",
  "readFile",
  "rejectSymlink",
  "remove",
  "removeDirAll",
  "rename",
  "resize",
  "size",
  "stage",
  "stat",
  "sync",
  "syncDir",
  "tryLock",
  "writeAt",
];

/** Appends events under keys, so that there are receipts and retries, and a batch. */
function fill(store: Store, count: number): Receipt[] {
  const receipts: Receipt[] = [];
  for (let n = 0; n < count; n++) {
    const entity = `user:${n % 3}`;
    receipts.push(store.append({ entity, scope: "app" }, KIND, n, { idempotencyKey: `key-${n}` }));
  }
  if (count > 0) receipts.push(...store.appendBatch([item("a"), item("b")]));
  return receipts;
}

/** Where the journal lies in `fs`, and a copy beside it. */
function openAt(fs: StoreFs, dir: string, options: StoreOptions = {}): Store {
  return Store.open(dir, { fs, sync: { everyNEvents: 0 }, ...options });
}

/** Everything that can be asked of both sides. */
function factsOf(reader: JournalReader): unknown {
  return reader.query().map((event) => ({
    ...event.toJSON(),
    eventHash: toHex(event.eventHash),
    position: event.position,
  }));
}

/** Holds a copy to its report and to the journal it was made of. */
function assertIsCopy(
  fs: StoreFs,
  report: CopyReport,
  source: JournalReader,
  receipts: readonly Receipt[],
  options: StoreOptions = {},
): void {
  const { target } = report;
  const tree = readTree(fs, target);
  assert.deepEqual(
    [...tree.keys()],
    [...report.segments.map(({ file }) => file), "store.meta"],
    "nothing else is in it",
  );
  assert.equal(report.files, tree.size);
  let bytes = 0;
  for (const file of tree.values()) bytes += file.byteLength;
  assert.equal(report.bytes, bytes);
  for (const { file, size } of report.segments) assert.equal(tree.get(file)!.byteLength, size);
  assert.equal(report.storeId, source.storeId);
  assert.equal(verifyJournal(target, { fs }).findingCount, 0);

  using copy = Store.openReadOnly(target, { fs });
  assert.deepEqual(factsOf(copy), factsOf(source));
  assert.equal(copy.stats().nextSequence, report.nextSequence);
  assert.equal(copy.stats().eventCount, report.events);
  const last = copy.at(report.nextSequence - 1);
  assert.equal(report.lastEventHash, last === undefined ? null : toHex(last.eventHash));
  for (const receipt of receipts) assert.equal(copy.verifyReceipt(receipt).valid, true);

  using writable = openAt(fs, target, options);
  assert.deepEqual(writable.openReport.repairs, []);
  assert.deepEqual(writable.openReport.oddities, []);
  if (receipts.length > 0) {
    const replayed = writable.append(USER, KIND, "other", { idempotencyKey: "key-0" });
    assert.equal(replayed.replayed, true);
    assert.equal(replayed.eventId, receipts[0].eventId);
    assert.deepEqual(replayed.eventHash, receipts[0].eventHash);
  }
}

/** Whether a directory opens for anybody. An empty one does not count: there is nothing of a journal. */
function opens(fs: StoreFs, dir: string): boolean {
  const info = fs.stat(dir);
  if (info === undefined) return false;
  const names = fs.list(dir).map(({ name }) => name).filter((name) => !name.startsWith(".stage-"));
  try {
    Store.openReadOnly(dir, { fs }).close();
    return true;
  } catch (error) {
    if (!(error instanceof CorruptionError || error instanceof JournalNotFoundError)) throw error;
  }
  if (names.length === 0) return false;
  try {
    openAt(fs, dir).close();
    return true;
  } catch (error) {
    assert.ok(error instanceof CorruptionError, String(error));
    return false;
  }
}

for (const count of [0, 1, 30]) {
  const what = ["an empty journal", "one segment", "many segments"][[0, 1, 30].indexOf(count)];
  test(`snapshot() of ${what} is a journal with the same events, receipts and retries`, () => {
    const fs = new MemoryFs();
    const options = count === 1 ? {} : SMALL;
    using store = openStore(fs, options);
    const receipts = fill(store, count);
    const report = store.snapshot(COPY);
    assert.equal(report.kind, "snapshot");
    assert.equal(report.target, "/copy");
    assert.equal(report.segments.length > 1, count > 1);
    assert.deepEqual(report.strategyCounts, {
      reflink: 0,
      hardlink: 0,
      copy: report.segments.length,
    });
    assertIsCopy(fs, report, store, receipts, options);
  });

  test(`fork() of ${what} is one too, with the sealed segments shared`, () => {
    const fs = new MemoryFs();
    using store = openStore(fs, SMALL);
    const receipts = fill(store, count);
    const report = store.fork(COPY);
    const sealed = report.segments.length - 1;
    assert.equal(report.kind, "fork");
    assert.deepEqual(report.strategyCounts, { reflink: 0, hardlink: sealed, copy: 1 });
    assert.deepEqual(
      report.segments.map(({ segmentId, strategy }) => [segmentId, strategy]),
      report.segments.map((_, i) => [i + 1, i < sealed ? "hardlink" : "copy"]),
    );
    assertIsCopy(fs, report, store, receipts, SMALL);
  });
}

test("copies on real files, by every strategy, also by a reader", () =>
  inTempDir((folder) => {
    const { fs } = runtime;
    using store = openAt(fs, `${folder}/${DIR}`, SMALL);
    const receipts = fill(store, 30);
    using reader = Store.openReadOnly(`${folder}/${DIR}`);
    assertIsCopy(fs, store.snapshot(`${folder}/a`), store, receipts, SMALL);
    assertIsCopy(fs, reader.snapshot(`${folder}/b/deeper/c`), store, receipts, SMALL);
    for (const share of ["reflink", "hardlink", "copy"] as const) {
      const report = store.fork(`${folder}/${share}`, { share, verify: share === "hardlink" });
      const ladder: CloneStrategy[] = ["reflink", "hardlink", "copy"];
      const allowed = ladder.slice(ladder.indexOf(share));
      for (const { strategy } of report.segments) assert.ok(allowed.includes(strategy), strategy);
      const sealed = report.segments.length - 1;
      if (share === "hardlink") assert.equal(report.strategyCounts.hardlink, sealed);
      assert.equal(report.segments.at(-1)!.strategy, "copy");
      assertIsCopy(fs, report, store, receipts, SMALL);
    }
    // The other way round, nothing has happened to the source.
    assert.equal(verifyJournal(`${folder}/${DIR}`).findingCount, 0);
  }));

test("a copy ends at the last whole group, whatever the writer has taken in advance", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  fill(store, 3);
  const path = `${DIR}/000001.fbat`;
  const { segments } = store.snapshot(COPY);
  assert.ok(readFile(fs, path).byteLength > segments[0].size, "there is space in advance");
  assert.deepEqual(readFile(fs, `${COPY}/000001.fbat`), trimmed(readFile(fs, path)));
  // A group in the making: a reader copies up to the one before.
  const tree = killedJournal((store) => {
    fill(store, 3);
  });
  const whole = trimmed(tree.get("000001.fbat")!);
  const torn = fsOf(new Map(tree).set("000001.fbat", whole.slice(0, -1)));
  using reader = openReader(torn);
  const report = reader.snapshot(COPY);
  assert.equal(report.events, 4, "the batch of two is not there");
  assert.equal(report.segments[0].size, framesOf(whole)[3].end);
  assert.deepEqual(readFile(torn, `${COPY}/000001.fbat`), whole.slice(0, framesOf(whole)[3].end));
});

test("a copy leaves behind what is no part of a journal, and takes the base record along", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, SMALL);
  fill(store, 10);
  fs.createDirAll(`${DIR}/quarantine`);
  fs.createDirAll(`${DIR}/cursors`);
  const others = [".stage-7", "index.fbati", "quarantine/x", "cursors/a", "notes.txt", "1.fbat"];
  for (const name of others) writeFile(fs, `${DIR}/${name}`, Uint8Array.of(1));
  const base = Uint8Array.from({ length: 3_000_000 }, (_, i) => i % 251);
  writeFile(fs, `${DIR}/journal.base`, base);
  const report = store.snapshot(COPY);
  const names = report.segments.map(({ file }) => file);
  const tree = readTree(fs, COPY);
  assert.deepEqual([...tree.keys()], [...names, "journal.base", "store.meta"]);
  assert.deepEqual(tree.get("journal.base"), base);
  assert.equal(report.files, names.length + 2);
  assert.deepEqual([...readTree(fs, store.fork("fork").target).keys()], [...tree.keys()]);
});

test("a copy takes sealed segments whole, with what stands behind their frames", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, SMALL);
  fill(store, 10);
  const path = `${DIR}/000001.fbat`;
  const longer = concat(readFile(fs, path), new Uint8Array(5000).fill(0xfe));
  writeFile(fs, path, longer);
  store.snapshot(COPY);
  assert.deepEqual(readFile(fs, `${COPY}/000001.fbat`), longer);
  store.fork("fork", { verify: true });
  assert.deepEqual(readFile(fs, "fork/000001.fbat"), longer);
});

test("a copy of a journal without store.meta gets one, with the same id", () => {
  const tree = killedJournal((store) => void fill(store, 3));
  tree.delete("store.meta");
  const fs = fsOf(tree);
  using reader = openReader(fs);
  const report = reader.snapshot(COPY);
  using copy = Store.openReadOnly(COPY, { fs });
  assert.equal(copy.storeId, reader.storeId);
  assert.equal(report.files, 2);
  assert.equal(verifyJournal(COPY, { fs }).findingCount, 0);
});

test("bodyHash says that two copies are of the same events, made in the same way", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, SMALL);
  fill(store, 10);
  const first = store.snapshot("a");
  const second = store.snapshot("b");
  assert.match(first.bodyHash, /^[0-9a-f]{64}$/);
  assert.equal(second.bodyHash, first.bodyHash);
  assert.equal(openReader(fs).snapshot("c").bodyHash, first.bodyHash);
  assert.notEqual(store.fork("d").bodyHash, first.bodyHash);
  store.append(USER, KIND, "one more");
  assert.notEqual(store.snapshot("e").bodyHash, first.bodyHash);
});

test("planCopy() says what would be copied, refuses where it cannot go, and writes nothing", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, SMALL);
  fill(store, 10);
  using reader = openReader(fs);
  const before = readTree(fs, "");
  const plan = reader.planCopy(COPY);
  assert.throws(() => reader.planCopy(DIR), { reason: "SameDirectory" });
  assert.deepEqual(readTree(fs, ""), before);
  assert.equal(fs.stat(COPY), undefined);
  const report = store.snapshot(COPY);
  const { storeId, target, files, events, nextSequence, bytes } = report;
  assert.deepEqual(plan, {
    storeId,
    target,
    files,
    events,
    nextSequence,
    bytes,
    segments: report.segments.map(({ segmentId, file, size }, i) => ({
      segmentId,
      file,
      size,
      sealed: i < report.segments.length - 1,
    })),
  });
});

test("onProgress hears of every block, from nothing to everything", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, { segmentMaxBytes: 3_000_000 });
  for (let n = 0; n < 8; n++) store.append(USER, KIND, new Uint8Array(1_000_000));
  for (const verify of [true, false]) {
    const heard: number[] = [];
    const { bytes } = store.snapshot(`${COPY}-${verify}`, {
      verify,
      onProgress(progress) {
        assert.equal(progress.totalBytes, bytes_());
        heard.push(progress.bytes);
      },
    });
    assert.equal(heard[0], 0);
    assert.equal(heard.at(-1), bytes);
    for (let i = 1; i < heard.length; i++) {
      const step = heard[i] - heard[i - 1];
      assert.ok(step >= 0 && step <= 1 << 20, `${step}`);
    }
    assert.ok(heard.length > 8);
  }
  function bytes_(): number {
    return 36 + store.stats().logBytes;
  }
});

test("a copy goes to a directory that is new or empty, and nowhere else", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, SMALL);
  fill(store, 5);
  fs.createDirAll("other/below");
  fs.createDirAll("empty");
  fs.createDirAll("full");
  writeFile(fs, "full/a", new Uint8Array(1));
  writeFile(fs, "file", new Uint8Array(1));
  fs.symlink("/empty", "link");
  fs.symlink("/nowhere", "dangling");
  fs.symlink("/journal", "linked");
  const refused: [string, CopyTargetRefusal][] = [
    ["link", "SymbolicLink"],
    ["link/", "SymbolicLink"],
    ["link/.", "SymbolicLink"],
    ["dangling", "SymbolicLink"],
    ["linked", "SymbolicLink"],
    ["file", "NotADirectory"],
    ["file/below", "NotADirectory"],
    ["file/below/deeper", "NotADirectory"],
    [DIR, "SameDirectory"],
    ["/journal/", "SameDirectory"],
    ["other/../journal", "SameDirectory"],
    ["none/../journal", "SameDirectory"],
    ["none/gone/../../journal/.", "SameDirectory"],
    [`${DIR}/copy`, "InsideSource"],
    [`${DIR}/copy/deeper`, "InsideSource"],
    ["linked/copy", "InsideSource"],
    ["none/../linked/copy", "InsideSource"],
    ["/", "AroundSource"],
    [".", "AroundSource"],
    ["none/..", "AroundSource"],
    ["full", "NotEmpty"],
    ["other", "NotEmpty"],
  ];
  const before = readTree(fs, "");
  for (const [path, reason] of refused) {
    for (
      const copy of [
        () => store.snapshot(path),
        () => store.fork(path),
        () => store.backup(path),
        () => store.planCopy(path),
      ]
    ) {
      assert.throws(copy, (error) => {
        assert.ok(error instanceof CopyTargetError, String(error));
        assert.deepEqual([error.reason, error.path, error.code], [reason, path, "COPY_TARGET"]);
        return true;
      }, path);
    }
  }
  assert.deepEqual(readTree(fs, ""), before);
  assert.equal(fs.stat("none"), undefined);
  // What a journal's name begins with does not make a directory one inside it.
  for (const path of ["empty", "journal2", "other/below", "new/x/../y/", "./dot"]) {
    assertIsCopy(fs, store.snapshot(path), store, []);
  }
  assert.equal(fs.stat("new/y")?.kind, "dir");
  assert.throws(() => store.snapshot(""), TypeError);
});

test("a copy goes to no directory on the disk that is not new or empty", () =>
  inTempDir((folder) => {
    const { fs } = runtime;
    using store = openAt(fs, `${folder}/${DIR}`);
    assert.throws(() => store.snapshot(folder), { reason: "AroundSource" });
    assert.throws(() => store.snapshot(`${folder}/${DIR}`), { reason: "SameDirectory" });
    assert.throws(() => store.snapshot(`${folder}/x/../${DIR}/`), { reason: "SameDirectory" });
    assert.throws(() => store.snapshot(`${folder}/${DIR}/x/y`), { reason: "InsideSource" });
    assert.throws(() => store.snapshot(`${folder}/${DIR}/store.meta`), { reason: "NotADirectory" });
    assert.throws(() => store.snapshot(`${folder}/${DIR}/store.meta/x`), {
      reason: "NotADirectory",
    });
    assert.deepEqual(fs.list(folder).map(({ name }) => name), [DIR]);
  }));

test("a copy does not replace what turns up in its directory", () => {
  const memory = new MemoryFs();
  class CrowdedFs extends WrappedFs {
    protected override before(op: string, path: string): void {
      if (op !== "create" || !path.includes(`${COPY}/`)) return;
      if (this.inner.stat(`${COPY}/000002.fbat`) === undefined) {
        writeFile(this.inner, `${COPY}/000002.fbat`, Uint8Array.of(7));
      }
    }
  }
  using store = openStore(new CrowdedFs(memory), SMALL);
  fill(store, 5);
  assert.throws(() => store.snapshot(COPY), { name: "CopyTargetError", reason: "NotEmpty" });
  assert.deepEqual(readTree(memory, COPY), new Map([["000002.fbat", Uint8Array.of(7)]]));
});

test("a copy that fails at any call leaves nothing, and says so with a typed error", () => {
  for (const kind of ["snapshot", "fork", "share", "reader"] as const) {
    const fired = new Set<MemoryOp>();
    for (const op of OPS) {
      for (const existing of [false, true]) {
        for (let nth = 1;; nth++) {
          const fs = new MemoryFs();
          // Not closed: a fault that has not fired would meet the close.
          const store = openStore(fs, SMALL);
          fill(store, 6);
          store.sync();
          const reader = openReader(fs);
          if (existing) fs.createDirAll(COPY);
          const about = `${kind}, ${op} ${nth}, ${existing}`;
          fs.failNext({ op, nth, code: "ENOSPC", after: 10 });
          let report: CopyReport | undefined;
          try {
            report = kind === "snapshot"
              ? store.snapshot(COPY)
              : kind === "reader"
              ? reader.snapshot(COPY)
              : store.fork(COPY, { share: kind === "share" ? "hardlink" : "copy" });
          } catch (error) {
            assert.ok(error instanceof StoreIoError, `${about}: ${error}`);
            assert.equal(error.fault.code, "ENOSPC", about);
          }
          if (fs.faultsFired === 0) {
            // The fault is still waiting in there, so look at an image.
            const image = fs.snapshot();
            assertIsCopy(image, report!, openReader(image), []);
            break;
          }
          fired.add(op);
          assert.equal(report, undefined, `${about}: the failure was swallowed`);
          assert.equal(fs.stat(COPY)?.kind, existing ? "dir" : undefined, about);
          if (existing) assert.deepEqual(fs.list(COPY), [], about);
          // The next attempt works.
          assertIsCopy(fs, store.snapshot(COPY), store, []);
        }
      }
    }
    const expected = ["createDirAll", "list", "open", "publish", "readAt", "readFile", "rename"];
    const all = [...expected, "size", "stage", "stat", "sync", "syncDir", "writeAt"];
    for (const op of kind === "share" ? [...all, "clone"] : all) {
      assert.ok(fired.has(op as MemoryOp), `${kind}: ${op} was never called`);
    }
  }
});

test("where a failed copy cannot be removed, what is left does not open", () => {
  let removals = 0;
  for (let nth = 1;; nth++) {
    const fs = new MemoryFs();
    using store = openStore(fs, SMALL);
    fill(store, 6);
    store.sync();
    // The disk fills up in a late write, or the last directory sync fails, and then removing fails too.
    const last = store.stats().segmentCount + 1;
    let fired = 0;
    for (const fault of [{ op: "syncDir", nth: last }, { op: "rename", nth: last }] as const) {
      const image = fs.snapshot();
      using victim = openStore(image);
      image.failNext({ ...fault, code: "EIO", path: COPY });
      image.failNext({ op: "remove", nth, code: "EROFS", path: COPY });
      assert.throws(() => victim.snapshot(COPY), StoreIoError);
      const isComplete = image.stat(`${COPY}/000001.fbat`) !== undefined;
      if (isComplete) assert.equal(verifyJournal(COPY, { fs: image }).findingCount, 0);
      else assert.equal(opens(image, COPY), false, `${fault.op}, removal ${nth}`);
      fired += image.faultsFired - 1;
    }
    removals += fired;
    if (fired === 0) break;
  }
  assert.ok(removals > 5);
});

test("a crash at any moment of a copy leaves nothing that opens, or all of it", () => {
  for (const kind of ["snapshot", "fork", "deep"] as const) {
    let whole = 0;
    let none = 0;
    for (let changes = 0;; changes++) {
      const memory = new MemoryFs();
      {
        using store = openStore(memory, SMALL);
        fill(store, 6);
      }
      const events = Store.openReadOnly(DIR, { fs: memory }).stats().eventCount;
      // Opening a writer changes things too, so it opens first and dies in the copy.
      const dying = new DyingFs(memory, changes + changesOfOpen());
      const store = openStore(dying, SMALL);
      let finished = false;
      try {
        if (kind === "snapshot") store.snapshot(COPY);
        else store.fork(COPY, { share: kind === "deep" ? "copy" : "hardlink" });
        finished = true;
      } catch (error) {
        assert.ok(error instanceof StoreIoError || error instanceof WriterCrashedError);
      }
      const image = memory.snapshot();
      if (opens(image, COPY)) {
        whole++;
        using copy = Store.openReadOnly(COPY, { fs: image });
        assert.equal(copy.query().filter(({ kind }) => kind === KIND).length, 8);
        assert.ok(copy.stats().eventCount > events);
      } else {
        none++;
        assert.equal(finished, false);
      }
      if (finished) break;
    }
    assert.ok(none > 20, `${kind}: ${none}`);
    assert.ok(whole >= 1);
  }

  /** Changes that opening the journal makes, counted on another one. */
  function changesOfOpen(): number {
    let count = 0;
    class CountingFs extends WrappedFs {
      protected override before(): void {
        count++;
      }
    }
    const fs = new MemoryFs();
    {
      using store = openStore(fs, SMALL);
      fill(store, 6);
    }
    const store = openStore(new CountingFs(fs), SMALL);
    const counted = count;
    store.close();
    return counted;
  }
});

test("an image taken at every step of a copy does not open before the last", () => {
  const memory = new MemoryFs();
  const images: [step: string, image: MemoryFs][] = [];
  class WatchedFs extends WrappedFs {
    protected override before(op: string, path: string): void {
      if (path.includes(COPY)) images.push([`${op} ${path}`, memory.snapshot()]);
    }
  }
  using store = openStore(new WatchedFs(memory), SMALL);
  fill(store, 6);
  for (const share of [undefined, "hardlink", "copy"] as const) {
    images.length = 0;
    const target = `${COPY}-${share}`;
    if (share === undefined) store.snapshot(target);
    else store.fork(target, { share });
    const opened = images.filter(([, image]) => opens(image, target));
    // Only the sync of the directory comes after the name of the oldest segment.
    assert.deepEqual(opened.map(([step]) => step.split(" ")[0]), ["syncDir"]);
    assert.equal(opened[0], images.at(-1));
    assert.ok(images.length > 15);
  }
});

test("a fork and its origin are isolated: appends and replaced segments stay on their side", () => {
  const check = (fs: StoreFs, folder: string) => {
    const origin = `${folder}${DIR}`;
    const forked = `${folder}${COPY}`;
    using store = openAt(fs, origin, SMALL);
    fill(store, 12);
    store.fork(forked);
    const before = readTree(fs, forked);
    fill2(store, "origin");
    assert.deepEqual(readTree(fs, forked), before, "what the origin appends");
    {
      using fork = openAt(fs, forked, SMALL);
      const originBefore = readTree(fs, origin);
      fill2(fork, "fork");
      assert.deepEqual(readTree(fs, origin), originBefore, "what the fork appends");
      assert.equal(payloadsOf(fork).includes("origin 3"), false);
      assert.equal(payloadsOf(fork).includes("fork 3"), true);
    }
    assert.equal(payloadsOf(store).includes("fork 3"), false);
    // As a compaction does it, on either side.
    for (const [side, other] of [[origin, forked], [forked, origin]]) {
      const untouched = readTree(fs, other);
      fs.publish(`${side}/000001.fbat`, Uint8Array.of(1, 2, 3));
      assert.deepEqual(readTree(fs, other), untouched, `replaced in ${side}`);
    }
  };
  check(new MemoryFs(), "");
  inTempDir((folder) => check(runtime.fs, `${folder}/`));

  function fill2(store: Store, who: string): void {
    for (let n = 0; n < 5; n++) store.append(USER, KIND, `${who} ${n}`);
  }
});

test("a copy by a writer is durable first, and refused once the writer has stopped", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  fill(store, 3);
  assert.ok(store.durableSequence < store.stats().nextSequence);
  store.snapshot("a");
  assert.equal(store.durableSequence, store.stats().nextSequence);
  store.append(USER, KIND, 1);
  fs.failNext({ op: "sync", code: "EIO" });
  assert.throws(() => store.fork("b"), WriterCrashedError);
  assert.throws(() => store.snapshot("b"), WriterCrashedError);
  assert.equal(fs.stat("b"), undefined);
  // A reader can still save what was written.
  assert.equal(openReader(fs).snapshot("b").events, 7);
});

test("copies are refused of a closed handle and with options that nobody reads", () => {
  const fs = new MemoryFs();
  const store = openStore(fs);
  const reader = openReader(fs);
  const wrong = { shares: "copy" } as unknown as undefined;
  assert.throws(() => store.snapshot(COPY, wrong), TypeError);
  assert.throws(() => store.fork(COPY, wrong), TypeError);
  assert.throws(() => store.fork(COPY, { share: "symlink" as "copy" }), TypeError);
  store.close();
  reader.close();
  assert.throws(() => store.snapshot(COPY), StoreClosedError);
  assert.throws(() => store.fork(COPY), StoreClosedError);
  assert.throws(() => reader.snapshot(COPY), StoreClosedError);
  assert.throws(() => reader.planCopy(COPY), StoreClosedError);
  assert.equal(fs.stat(COPY), undefined);
});

test("a copy that is checked refuses damage, with segment and offset, and leaves nothing", () => {
  const tree = killedJournal((store) => void fill(store, 12), SMALL);
  const second = tree.get("000002.fbat")!;
  const [frame, other] = framesOf(second);
  assert.ok(other !== undefined, "a frame that is not the last");
  const fs = fsOf(tree);
  using store = openStore(fs, SMALL);
  using reader = openReader(fs);
  writeFile(fs, `${DIR}/000002.fbat`, flipBit(second, frame.offset + 50));
  for (
    const copy of [
      () => store.snapshot(COPY),
      () => store.fork(COPY, { verify: true }),
      () => store.fork(COPY, { verify: true, share: "copy" }),
      () => reader.snapshot(COPY),
      () => reader.backup(COPY),
    ]
  ) {
    assert.throws(copy, {
      name: "CorruptionError",
      segmentId: 2,
      offset: frame.offset,
      reason: "the frame's checksum does not match",
    });
    assert.equal(fs.stat(COPY), undefined);
  }
  // Unchecked, damage is copied along, as whoever wants to look at it may wish.
  store.snapshot(COPY, { verify: false });
  assert.deepEqual(readFile(fs, `${COPY}/000002.fbat`), readFile(fs, `${DIR}/000002.fbat`));
});

test("a copy that is checked refuses sound frames in another order", () => {
  const tree = killedJournal((store) => void fill(store, 12), SMALL);
  const [name, bytes] = [...tree].find(([, bytes]) => {
    const frames = bytes[0] === 0x46 && bytes[4] === 0 ? framesOf(bytes) : [];
    // The last one is looked at in any case, and the others have to be of one size.
    return frames.length > 2 &&
      frames[0].end - frames[0].offset === frames[1].end - frames[1].offset;
  })!;
  const [one, two] = framesOf(bytes);
  const fs = fsOf(tree);
  using store = openStore(fs, SMALL);
  const swapped = bytes.slice();
  swapped.set(bytes.subarray(one.offset, one.end), two.offset);
  swapped.set(bytes.subarray(two.offset, two.end), one.offset);
  writeFile(fs, `${DIR}/${name}`, swapped);
  assert.throws(() => store.snapshot(COPY), {
    name: "CorruptionError",
    offset: one.offset,
    reason: `the event has sequence ${two.sequence}, and ${one.sequence} is next`,
  });
});

test("a writer whose segment is gone, or is another, is damaged", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, SMALL);
  fill(store, 12);
  const path = `${DIR}/000002.fbat`;
  const bytes = readFile(fs, path);
  const [first] = framesOf(bytes);
  const cases: [Uint8Array | undefined, RegExp][] = [
    [undefined, /it is gone/],
    [readFile(fs, `${DIR}/000003.fbat`), /it begins at sequence/],
    [bytes.slice(0, -1), /bytes, and \d+ were expected/],
    [bytes.slice(0, 20), /it has another header/],
    [concat(bytes.slice(0, first.offset), bytes.slice(first.end), bytes), /its last frame is/],
  ];
  for (const [replacement, reason] of cases) {
    fs.removeIfPresent(path);
    if (replacement !== undefined) writeFile(fs, path, replacement);
    for (const verify of [true, false]) {
      assert.throws(() => store.snapshot(COPY, { verify }), {
        name: "CorruptionError",
        segmentId: 2,
        reason,
      });
      assert.equal(fs.stat(COPY), undefined);
    }
  }
});

/** Another process that replaces a sealed segment, in the middle of copies, so many times. */
class CompactingFs extends WrappedFs {
  #left: number;
  #generation = 0n;
  readonly #how: "replaced" | "gone";

  constructor(inner: MemoryFs, times: number, how: "replaced" | "gone" = "replaced") {
    super(inner);
    this.#left = times;
    this.#how = how;
  }

  protected override before(op: string, path: string): void {
    // The third segment is being published, so the second comes next.
    if (op !== "rename" || !path.endsWith("000003.fbat") || this.#left === 0) return;
    this.#left--;
    const victim = `${DIR}/000002.fbat`;
    if (this.#how === "gone") return this.inner.remove(victim);
    const bytes = readFile(this.inner, victim);
    const decoded = decodeSegmentHeader(bytes);
    assert.ok(decoded.type === "header");
    const header = encodeSegmentHeader({ ...decoded.header, createdNs: ++this.#generation });
    this.inner.publish(victim, concat(header, bytes.slice(decoded.end)));
  }
}

test("a reader begins its copy again when another process replaces a segment meanwhile", () => {
  for (const kind of ["snapshot", "backup"] as const) {
    const memory = new MemoryFs();
    {
      using store = openStore(memory, SMALL);
      fill(store, 12);
    }
    using reader = openReader(new CompactingFs(memory, 3));
    const heard: number[] = [];
    const options = { onProgress: ({ bytes }: { bytes: number }) => void heard.push(bytes) };
    if (kind === "backup") {
      reader.backup(COPY, options);
      assert.equal(heard.filter((bytes) => bytes === 0).length, 4);
      continue;
    }
    const report = reader.snapshot(COPY, options);
    assert.equal(heard.filter((bytes) => bytes === 0).length, 4, "three attempts failed");
    assert.deepEqual(
      readFile(memory, `${COPY}/000002.fbat`),
      readFile(memory, `${DIR}/000002.fbat`),
    );
    assertIsCopy(memory, report, openReader(memory), []);
  }
});

test("a reader gives up on a journal that keeps changing, and leaves nothing", () => {
  const memory = new MemoryFs();
  {
    using store = openStore(memory, SMALL);
    fill(store, 12);
  }
  using reader = openReader(new CompactingFs(memory, 9, "replaced"));
  assert.throws(() => reader.snapshot(COPY), (error) => {
    assert.ok(error instanceof CopySourceError, String(error));
    assert.deepEqual([error.attempts, error.path], [5, "/journal/000002.fbat"]);
    assert.equal(error.reason, "it has another header than when the copy began");
    return true;
  });
  assert.equal(memory.stat(COPY), undefined);
});

test("a reader that finds a segment gone, and nothing in its place, says that the journal is damaged", () => {
  const memory = new MemoryFs();
  {
    using store = openStore(memory, SMALL);
    fill(store, 12);
  }
  using reader = openReader(new CompactingFs(memory, 1, "gone"));
  assert.throws(() => reader.snapshot(COPY), {
    name: "CorruptionError",
    path: "/journal/000003.fbat",
  });
  assert.equal(memory.stat(COPY), undefined);
});

test("a reader that takes in what was appended copies it, and not before", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, SMALL);
  fill(store, 4);
  using reader = openReader(fs);
  const sequence = reader.stats().nextSequence;
  for (let n = 0; n < 9; n++) store.append(USER, KIND, `later ${n}`);
  const first = reader.snapshot("a");
  assert.equal(first.nextSequence, sequence);
  assert.equal(verifyJournal("a", { fs }).findingCount, 0);
  // What was the newest segment to the reader has been sealed since: it still ends where it was read to.
  assert.ok(readFile(fs, `a/${first.segments.at(-1)!.file}`).byteLength > 0);
  reader.refresh();
  const second = reader.snapshot("b");
  assert.equal(second.nextSequence, store.stats().nextSequence);
  assertIsCopy(fs, second, reader, []);
});

test("lastEventHash is the event hash of the newest event", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, SMALL);
  fill(store, 5);
  const { lastEventHash, segments } = store.snapshot(COPY);
  const newest = readFile(fs, `${COPY}/${segments.at(-1)!.file}`);
  const { offset } = framesOf(newest).at(-1)!;
  assert.equal(lastEventHash, toHex(eventHashAt(newest, offset)));
});

test("a copy can be copied, and a callback that throws undoes it", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, SMALL);
  const receipts = fill(store, 12);
  const { bodyHash } = store.snapshot("a");
  using copy = Store.openReadOnly("a", { fs });
  const report = copy.snapshot("b");
  assert.equal(report.bodyHash, bodyHash);
  assertIsCopy(fs, report, copy, receipts, SMALL);
  const ours = new Error("enough");
  assert.throws(
    () =>
      copy.snapshot("c", {
        onProgress({ bytes }) {
          if (bytes > 1000) throw ours;
        },
      }),
    (error) => error === ours,
  );
  assert.equal(fs.stat("c"), undefined);
  assert.ok(!(ours instanceof IoFault));
});
