/**
 * Writing footers and index files: whatever stops it, the events are safe, and the store goes on or says
 * why it does not.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { IoFault } from "../../platform/fs.ts";
import { MemoryFs } from "../../platform/memory.ts";
import { answersOf } from "../../tests/support/answers.ts";
import {
  COLD_STARTS,
  footerOf,
  framesEndOf,
  openIndexed,
  pathOf,
  readIndexed,
  segmentNames,
  withFooter,
} from "../../tests/support/cold_start.ts";
import { FixedClock } from "../../tests/support/fixed_clock.ts";
import { DIR, FRAMES_ONLY, KIND, openReader, USER } from "../../tests/support/journal.ts";
import { framesOf, fsOf, readTree, type Tree } from "../../tests/support/journal_bytes.ts";
import { SeededEntropy } from "../../tests/support/seeded_entropy.ts";
import { DyingFs, RecordingFs, WrappedFs } from "../../tests/support/wrapped_fs.ts";
import { StoreError } from "../errors.ts";
import { decodeIndexFile, INDEX_FILE_NAME, readIndexFile } from "./index_file.ts";
import type { Store } from "../store.ts";
import type { StoreOptions } from "../store_options.ts";
import { verifyJournal } from "../verify.ts";

const FIRST = "000001.fbat";
const SECOND = "000002.fbat";
/** Every append rolls; every sync is one at which the index file may be saved. */
const EACH = { segmentMaxBytes: 1, sync: { everyNEvents: 1 } };

/** Fails one change, the one with this number, and nothing after it. */
class FailingFs extends WrappedFs {
  fired = false;
  #left: number;
  readonly #code: string;

  constructor(inner: MemoryFs, number: number, code: string) {
    super(inner);
    this.#left = number;
    this.#code = code;
  }

  protected override before(op: string, path: string, partial?: (size: number) => void): void {
    if (this.#left-- !== 0) return;
    this.fired = true;
    partial?.(37);
    throw new IoFault({ code: this.#code, op, path, message: "planted fault" });
  }
}

/** Fails every change that it is told to from now on. */
class FullFs extends WrappedFs {
  full: (op: string, path: string) => boolean = () => false;

  protected override before(op: string, path: string, partial?: (size: number) => void): void {
    if (!this.full(op, path)) return;
    partial?.(5);
    throw new IoFault({ code: "ENOSPC", op, path, message: "planted fault" });
  }
}

/** Ids of the events that were acknowledged, and the errors that others ended in. */
interface Course {
  readonly ids: string[];
  readonly errors: Error[];
}

/** Opens, appends across two rolls and several index saves, and closes; goes on after errors. */
function course(fs: StoreOptions["fs"]): Course {
  const ids: string[] = [];
  const errors: Error[] = [];
  const attempt = (action: () => void) => {
    try {
      action();
    } catch (error) {
      assert.ok(error instanceof StoreError, String(error));
      errors.push(error);
    }
  };
  let store: Store | undefined;
  attempt(() => {
    store = openIndexed(fs as MemoryFs, {
      segmentMaxBytes: 900,
      sync: { everyNEvents: 2 },
      coldStart: { saveEveryNEvents: 3 },
      clock: new FixedClock(1_800_000_000_000_000),
      entropy: new SeededEntropy(3),
    });
  });
  for (let i = 0; i < 8; i++) {
    attempt(() => {
      if (store === undefined) return;
      if (i % 3 === 2) {
        const items = [0, 1].map((n) => ({ ...USER, kind: KIND, payload: { i, n } }));
        ids.push(...store.appendBatch(items).map(({ eventId }) => eventId));
      } else {
        ids.push(store.append({ ...USER, entity: `user:${i % 2}` }, KIND, { i }).eventId);
      }
    });
  }
  attempt(() => store?.close());
  return { ids, errors };
}

/** The journal that a course begins with: a few events, closed, with an index file. */
const BEFORE: Tree = (() => {
  const fs = new MemoryFs();
  const store = openIndexed(fs);
  for (let i = 0; i < 3; i++) store.append(USER, KIND, `before ${i}`);
  store.close();
  return readTree(fs, DIR);
})();
const BEFORE_IDS = openReader(fsOf(BEFORE)).query().map(({ eventId }) => eventId);

/** Holds a journal to what was acknowledged: for reading on every path, and for writing on one. */
function checkSafe(fs: MemoryFs, ids: readonly string[], about: string, way = 0): void {
  let expected: Record<string, unknown> | undefined;
  for (const coldStart of Object.values(COLD_STARTS)) {
    using reader = readIndexed(fs, { coldStart });
    const answers = answersOf(reader);
    expected ??= answers;
    assert.deepEqual(answers, expected, about);
  }
  const known = new Set(expected?.all as string[]);
  for (const id of [...BEFORE_IDS, ...ids]) assert.ok(known.has(id), `${about}: ${id}`);
  const { intact, findings } = verifyJournal(DIR, { fs });
  assert.equal(intact, true, about);
  assert.deepEqual(findings.filter(({ type }) => type !== "tail" && type !== "unusable"), []);

  const coldStart = Object.values(COLD_STARTS)[way % 3];
  const beside = fs.snapshot();
  using reader = readIndexed(beside, { coldStart });
  const store = openIndexed(beside, { coldStart });
  for (const id of ids) assert.equal(store.get(id)?.eventId, id, about);
  store.append(USER, KIND, "goes on");
  assert.equal(reader.refresh(), 2, about);
  store.close();
  assert.deepEqual(verifyJournal(DIR, { fs: beside }).findings, [], about);
}

const CHANGES = (() => {
  const fs = new RecordingFs(fsOf(BEFORE));
  const { errors } = course(fs);
  assert.deepEqual(errors, []);
  return fs.changes;
})();

test("the course of these tests rolls, adds footers, and saves the index file now and then", () => {
  const fs = fsOf(BEFORE);
  const { ids } = course(fs);
  assert.equal(ids.length, 10);
  const tree = readTree(fs, DIR);
  assert.ok(segmentNames(tree).length >= 3);
  for (let id = 1; id < segmentNames(tree).length; id++) {
    assert.ok(footerOf(tree, id).byteLength > 0);
  }
  const saves = CHANGES.filter((change) => change === `rename /${pathOf(INDEX_FILE_NAME)}`);
  assert.ok(saves.length >= 3);
  checkSafe(fs, ids, "nothing went wrong");
});

test("a crash at any change, also in the middle of a write, loses nothing that was acknowledged", () => {
  for (let changeCount = 0; changeCount < CHANGES.length; changeCount++) {
    const inner = fsOf(BEFORE);
    const fs = new DyingFs(inner, changeCount);
    const { ids } = course(fs);
    assert.equal(fs.dead, true);
    const about = `died at ${changeCount}: ${CHANGES[changeCount]}`;
    checkSafe(inner.snapshot(), ids, about, changeCount);
  }
});

test("a fault at any change loses nothing, and the store goes on or says that it has stopped", () => {
  for (let number = 0; number < CHANGES.length; number++) {
    const code = number % 2 === 0 ? "ENOSPC" : "EIO";
    const about = `${code} at ${number}: ${CHANGES[number]}`;
    const inner = fsOf(BEFORE);
    const fs = new FailingFs(inner, number, code);
    const { ids, errors } = course(fs);
    assert.equal(fs.fired, true);
    const names = errors.map(({ name }) => name);
    assert.ok(
      names.every((name) => name === "StoreIoError" || name === "WriterCrashedError"),
      `${about}: ${names}`,
    );
    // Once it has stopped, it stays stopped; a mere fault costs one call.
    const stopped = names.indexOf("WriterCrashedError");
    if (stopped < 0) assert.ok(names.length <= 1, `${about}: ${names}`);
    else assert.ok(names.slice(stopped).every((name) => name === "WriterCrashedError"), about);
    checkSafe(inner.snapshot(), ids, about, number);
  }
});

test("a fault while the index file is saved is nobody's error", () => {
  let saves = 0;
  for (const [number, change] of CHANGES.entries()) {
    if (!change.includes("/.stage-") && !change.includes(INDEX_FILE_NAME)) continue;
    // Segments are staged as well.
    const rest = CHANGES.slice(number);
    const target = rest.find((change) => change.startsWith("rename"));
    if (!target?.endsWith(INDEX_FILE_NAME)) continue;
    saves++;
    const inner = fsOf(BEFORE);
    const { ids, errors } = course(new FailingFs(inner, number, "ENOSPC"));
    assert.deepEqual(errors, [], change);
    assert.equal(ids.length, 10);
    assert.deepEqual(inner.list(DIR).filter(({ name }) => name.startsWith(".stage")), []);
    assert.notEqual(readIndexFile(inner, DIR).type, "unusable");
    if (saves % 5 === 0) checkSafe(inner, ids, change);
  }
  assert.ok(saves > 20);
});

// ---- Footers ----

/** A store whose first segment holds its open and nothing else: the next append rolls. */
function aboutToRoll(fs: WrappedFs, options: StoreOptions = {}): Store {
  return openIndexed(fs, { ...EACH, ...options });
}

/** What happens to the first segment's file, and what is published, when it is rolled. */
function changesOfRoll(): readonly string[] {
  const fs = new RecordingFs(new MemoryFs());
  const store = aboutToRoll(fs);
  fs.changes.length = 0;
  store.append(USER, KIND, "rolls");
  store.close();
  const end = fs.changes.findIndex((change) => change === `writeAt /${DIR}/${SECOND}`);
  return fs.changes.slice(0, end);
}

test("a roll syncs, cuts, adds the footer, syncs, and then publishes the next segment", () => {
  const first = `/${DIR}/${FIRST}`;
  const staged = `/${DIR}/.stage-0`;
  assert.deepEqual(changesOfRoll().slice(0, 10), [
    `resize ${first}`,
    `sync ${first}`,
    `writeAt ${first}`,
    `sync ${first}`,
    `create ${staged}`,
    `writeAt ${staged}`,
    `sync ${staged}`,
    `rename /${DIR}/${SECOND}`,
    `syncDir /${DIR}`,
    `resize /${DIR}/${SECOND}`,
  ]);
});

/** Fails the change with this number, counted from the roll. */
function rollThatFails(numbers: readonly number[]): { inner: MemoryFs; store: Store; fs: FullFs } {
  const inner = new MemoryFs();
  const fs = new FullFs(inner);
  const store = aboutToRoll(fs);
  let at = 0;
  fs.full = () => numbers.includes(at++);
  return { inner, store, fs };
}

const FOOTER_WRITE = 2;
const FOOTER_SYNC = 3;
const STAGE_CREATE = 4;
const RENAME = 7;

test("a footer that cannot be written is left out, and the roll goes on", () => {
  for (const number of [FOOTER_WRITE, FOOTER_SYNC]) {
    const { inner, store } = rollThatFails([number]);
    const receipt = store.append(USER, KIND, "rolls");
    assert.equal(receipt.position.segmentId, 2);
    store.append(USER, KIND, "and again");
    store.close();
    const tree = readTree(inner, DIR);
    assert.equal(footerOf(tree, 1).byteLength, 0);
    assert.ok(footerOf(tree, 2).byteLength > 0);
    assert.deepEqual(verifyJournal(DIR, { fs: inner }).findings, []);
    using reader = readIndexed(inner, { coldStart: { indexFile: false } });
    assert.deepEqual(reader.openReport.oddities, []);
    assert.equal(reader.stats().eventCount, 4);
  }
});

test("a footer that can be neither written nor cut off stops the writer", () => {
  // The write, then the cut; or the write, then the sync of the cut.
  for (const numbers of [[2, 3], [2, 4], [3, 4], [3, 5]]) {
    const { inner, store } = rollThatFails(numbers);
    assert.throws(() => store.append(USER, KIND, "rolls"), { name: "WriterCrashedError" });
    assert.throws(() => store.append(USER, KIND, "never"), { name: "WriterCrashedError" });
    assert.throws(() => store.close(), { name: "WriterCrashedError" });
    assert.deepEqual(segmentNames(readTree(inner, DIR)), [FIRST]);
    using again = openIndexed(inner);
    assert.equal(again.openReport.restoredEntries, 1);
    again.append(USER, KIND, "goes on");
  }
});

test("a roll whose next segment cannot be begun cuts the footer off, and appends go on", () => {
  for (const number of [STAGE_CREATE, STAGE_CREATE + 1, STAGE_CREATE + 2, RENAME, RENAME + 1]) {
    const { inner, store, fs } = rollThatFails([number]);
    assert.throws(() => store.append(USER, KIND, "rolls"), {
      name: "StoreIoError",
      message: /^Cannot begin segment 2: /,
    });
    assert.deepEqual(segmentNames(readTree(inner, DIR)), [FIRST]);
    const bytes = readTree(inner, DIR).get(FIRST) ?? new Uint8Array(0);
    assert.equal(framesOf(bytes).at(-1)?.end, bytes.byteLength, "the footer is gone");
    fs.full = (op, path) => op === "rename" && path.endsWith(SECOND);
    // Time and again, and nothing piles up.
    for (let i = 0; i < 3; i++) {
      assert.throws(() => store.append(USER, KIND, "rolls"), { name: "StoreIoError" });
    }
    assert.deepEqual(readTree(inner, DIR).get(FIRST), bytes);
    fs.full = () => false;
    const receipt = store.append(USER, KIND, "goes on");
    assert.equal(receipt.position.segmentId, 2);
    assert.equal(receipt.globalSequence, 1);
    store.close();
    const tree = readTree(inner, DIR);
    assert.ok(footerOf(tree, 1).byteLength > 0, "and written again");
    assert.deepEqual(verifyJournal(DIR, { fs: inner }).findings, []);
    assert.equal(readIndexed(inner).stats().eventCount, 3);
  }
});

test("a store that cannot roll closes all the same, and the segment goes on later", () => {
  const inner = new MemoryFs();
  const fs = new FullFs(inner);
  const store = aboutToRoll(fs);
  fs.full = (op, path) => op === "rename" && path.endsWith(SECOND);
  assert.throws(() => store.append(USER, KIND, "rolls"), { name: "StoreIoError" });
  // Its own event has no room, which keeps nothing else from being put in order.
  store.close();
  const bytes = readTree(inner, DIR).get(FIRST) ?? new Uint8Array(0);
  assert.equal(framesOf(bytes).at(-1)?.end, bytes.byteLength);
  assert.deepEqual(verifyJournal(DIR, { fs: inner }).findings, []);
  using again = openIndexed(inner);
  assert.deepEqual(again.openReport.oddities, []);
  assert.equal(again.append(USER, KIND, "goes on").position.segmentId, 1);
});

test("a roll whose next segment cannot be begun nor the footer cut off stops the writer", () => {
  const { inner, store, fs } = rollThatFails([]);
  let renamed = false;
  fs.full = (op, path) => {
    if (op === "rename") renamed = true;
    return renamed && (op === "rename" || (op === "resize" && path.endsWith(FIRST)));
  };
  assert.throws(() => store.append(USER, KIND, "rolls"), { name: "WriterCrashedError" });
  assert.throws(() => store.close(), { name: "WriterCrashedError" });
  using reader = readIndexed(inner);
  assert.equal(reader.stats().eventCount, 1);
  using again = openIndexed(inner);
  assert.deepEqual(again.openReport.oddities, [
    "removed the index footer of segment 1, which goes on",
  ]);
});

test("a footer at the end of the active segment is removed by the next writer, and no reader minds", () => {
  for (const coldStart of Object.values(COLD_STARTS)) {
    const fs = withFooterLeft();
    const bytes = readTree(fs, DIR).get(FIRST) ?? new Uint8Array(0);
    const framesEnd = framesOf(bytes).at(-1)?.end ?? 0;
    assert.ok(framesEnd < bytes.byteLength);
    using reader = readIndexed(fs, { coldStart });
    assert.deepEqual(reader.openReport.oddities, []);
    assert.equal(reader.stats().eventCount, 1);
    assert.equal(reader.refresh(), 0);
    assert.deepEqual(verifyJournal(DIR, { fs }).findings.map(({ type }) => type), ["tail"]);

    const entropy = new SeededEntropy(2);
    using store = openIndexed(fs, { ...EACH, segmentMaxBytes: 1 << 20, coldStart, entropy });
    assert.deepEqual(store.openReport.oddities, [
      "removed the index footer of segment 1, which goes on",
    ]);
    assert.deepEqual(store.openReport.repairs, []);
    assert.equal(fs.stat(pathOf("quarantine")), undefined);
    const receipt = store.append(USER, KIND, "goes on");
    assert.equal(receipt.position.segmentId, 1);
    assert.equal(reader.refresh(), 2);
    assert.equal(reader.get(receipt.eventId)?.payload, "goes on");
    store.close();
    assert.deepEqual(verifyJournal(DIR, { fs }).findings, []);
  }
});

/** A journal whose writer died between the footer and the next segment. */
function withFooterLeft(): MemoryFs {
  return diedAt(STAGE_CREATE);
}

/** A journal whose writer died at this change of its first roll. */
function diedAt(number: number): MemoryFs {
  const inner = new MemoryFs();
  let opened = 0;
  {
    const fs = new RecordingFs(new MemoryFs());
    aboutToRoll(fs);
    opened = fs.changes.length;
  }
  const fs = new DyingFs(inner, opened + number);
  const store = aboutToRoll(fs);
  assert.throws(() => store.append(USER, KIND, "rolls"));
  assert.equal(fs.dead, true);
  return inner.snapshot();
}

test("a footer that a crash has cut short is a torn tail", () => {
  const fs = diedAt(FOOTER_WRITE);
  const bytes = readTree(fs, DIR).get(FIRST) ?? new Uint8Array(0);
  const framesEnd = framesOf(bytes).at(-1)?.end ?? 0;
  assert.equal(bytes.byteLength, framesEnd + 37);
  {
    using reader = readIndexed(fs);
    assert.equal(reader.stats().eventCount, 1);
  }
  assert.throws(() => openIndexed(fs.snapshot(), { tailPolicy: "failClosed" }), {
    name: "CorruptionError",
    reason: 'there is an index footer here, but the tail policy is "failClosed"',
  });
  using store = openIndexed(fs);
  const [repair] = store.openReport.repairs;
  assert.equal(repair.segmentId, 1);
  assert.equal(repair.offset, framesEnd);
  assert.equal(repair.reason, "there is an index footer here");
  assert.match(repair.quarantine, /^quarantine\/000001\.fbat\.\d+\.[0-9a-f]{8}$/);
});

test("a whole footer at the end is no torn tail, even where those are refused", () => {
  using store = openIndexed(withFooterLeft(), { tailPolicy: "failClosed" });
  assert.deepEqual(store.openReport.oddities, [
    "removed the index footer of segment 1, which goes on",
  ]);
});

test("a footer left behind and one that is damaged since are told apart", () => {
  const fs = withFooterLeft();
  const path = pathOf(FIRST);
  const file = fs.open(path, "write");
  file.writeAt(Uint8Array.of(0xff), 0, 1, file.size() - 40);
  file.close();
  using store = openIndexed(fs);
  assert.deepEqual(store.openReport.repairs.map(({ reason }) => reason), [
    "there is an index footer here",
  ]);
  assert.equal(store.stats().eventCount, 2);
});

test("time never runs backwards over a crash between a roll and its first event", () => {
  // The newest event is known by its footer alone then, or by the index file.
  const fs = diedAt(9);
  assert.deepEqual(segmentNames(readTree(fs, DIR)), [FIRST, SECOND]);
  const last = openReader(fs).at(0)?.timestampUs ?? 0;
  for (const coldStart of Object.values(COLD_STARTS)) {
    const beside = fs.snapshot();
    using store = openIndexed(beside, { coldStart, clock: new FixedClock(1000, 0) });
    assert.equal(store.openReport.restoredEntries, 1);
    assert.equal(store.at(1)?.timestampUs, last);
    assert.equal(store.append(USER, KIND, "now").timestampUs, last);
    store.close();
    assert.deepEqual(verifyJournal(DIR, { fs: beside }).findings, []);
  }
});

test("a store without footers adds none, and reads those of others", () => {
  const fs = new MemoryFs();
  {
    using store = openIndexed(fs, { ...EACH, coldStart: { footers: false } });
    for (let i = 0; i < 3; i++) store.append(USER, KIND, i);
  }
  const tree = readTree(fs, DIR);
  for (let id = 1; id < segmentNames(tree).length; id++) {
    assert.equal(footerOf(tree, id).byteLength, 0);
  }
  {
    using store = openIndexed(fs, { ...EACH, coldStart: {} });
    for (let i = 0; i < 3; i++) store.append(USER, KIND, i);
  }
  using reader = readIndexed(fs, { coldStart: { indexFile: false } });
  const { footerEntries, tailEntries } = reader.openReport;
  assert.ok(footerEntries > 0 && tailEntries > 1);
  assert.deepEqual(answersOf(reader), answersOf(openReader(fs)));
});

test("a footer is the same bytes whether its index came from appends, frames or footers", () => {
  const whole = new MemoryFs();
  const options = { segmentMaxBytes: 2500, sync: { everyNEvents: 1 } };
  {
    using store = openIndexed(whole, options);
    for (let i = 0; i < 30; i++) store.append(USER, KIND, i, { tags: [`t${i % 3}`] });
  }
  const tree = readTree(whole, DIR);
  // Taken away the last two segments, each path writes the footer of the one before once more.
  for (const coldStart of Object.values(COLD_STARTS)) {
    const names = segmentNames(tree);
    const rest = new Map(tree);
    for (const name of names.slice(-1)) rest.delete(name);
    const lastId = names.length - 1;
    const frames = (rest.get(names[lastId - 1]) ?? new Uint8Array(0))
      .slice(0, framesEndOf(tree, lastId));
    rest.set(names[lastId - 1], frames);
    rest.delete(INDEX_FILE_NAME);
    const fs = fsOf(rest);
    using store = openIndexed(fs, {
      ...options,
      segmentMaxBytes: 1,
      coldStart: { ...coldStart, footers: true },
    });
    // Its open rolled: the segment has just been sealed as it was.
    assert.equal(store.at(store.stats().eventCount - 1)?.position.segmentId, lastId + 1);
    const footer = footerOf(readTree(fs, DIR), lastId);
    assert.deepEqual(footer, footerOf(tree, lastId));
  }
  assert.deepEqual(withFooter(tree, 1, footerOf(tree, 1)).get(FIRST), tree.get(FIRST));
});

// ---- The index file ----

/** How many events the saved index file knows, or -1. */
function savedCount(fs: MemoryFs): number {
  const found = readIndexFile(fs, DIR);
  return found.type === "index" ? found.index.count : -1;
}

test("the index file is saved after so many events, and then after half as many again as there are", () => {
  const fs = new MemoryFs();
  const store = openIndexed(fs, { sync: { everyNEvents: 1 }, coldStart: { saveEveryNEvents: 10 } });
  const saves: [eventCount: number, saved: number][] = [];
  let last = savedCount(fs);
  assert.equal(last, -1);
  for (let i = 0; i < 120; i++) {
    store.append(USER, KIND, i);
    const saved = savedCount(fs);
    if (saved !== last) saves.push([store.stats().eventCount, saved]);
    last = saved;
  }
  // A save holds what was there before the append that it came with: 10, 20, 30, 45, 67 and 100.
  assert.deepEqual(saves, [[11, 10], [21, 20], [31, 30], [46, 45], [68, 67], [101, 100]]);
  store.close();
  assert.equal(savedCount(fs), 122);
});

test("saving waits for the sync that makes the events durable", () => {
  const inner = new MemoryFs();
  const fs = new RecordingFs(inner);
  const store = openIndexed(fs, { sync: { everyNEvents: 4 }, coldStart: { saveEveryNEvents: 2 } });
  let last = savedCount(inner);
  const saves: number[] = [];
  for (let i = 0; i < 20; i++) {
    fs.changes.length = 0;
    store.append(USER, KIND, i, i === 17 ? { durability: "durable" } : {});
    const saved = savedCount(inner);
    if (saved === last) continue;
    saves.push(saved);
    last = saved;
    const synced = fs.changes.indexOf(`sync /${pathOf(FIRST)}`);
    const staged = fs.changes.findIndex((change) => change.startsWith("create"));
    assert.ok(synced >= 0 && synced < staged, fs.changes.join("\n"));
  }
  assert.deepEqual(saves, [4, 8, 12, 18]);
});

test("a store that is told not to saves no index file, and one with an interval of 0 at close only", () => {
  const without = new MemoryFs();
  {
    using store = openIndexed(without, { ...EACH, coldStart: { indexFile: false } });
    for (let i = 0; i < 20; i++) store.append(USER, KIND, i);
  }
  assert.equal(readIndexFile(without, DIR).type, "missing");
  const atClose = new MemoryFs();
  const store = openIndexed(atClose, { ...EACH, coldStart: { saveEveryNEvents: 0 } });
  for (let i = 0; i < 20; i++) store.append(USER, KIND, i);
  assert.equal(savedCount(atClose), -1);
  store.close();
  assert.equal(savedCount(atClose), 22);
});

test("a save in the append that rolled has an empty last segment, and is as good as any", () => {
  const fs = new MemoryFs();
  const store = openIndexed(fs, { ...EACH, coldStart: { saveEveryNEvents: 1 } });
  // The sync of the open saves too.
  store.append(USER, KIND, "rolls");
  store.append(USER, KIND, "rolls and saves");
  const tree = readTree(fs, DIR);
  const decoded = decodeIndexFile(new Uint8Array(tree.get(INDEX_FILE_NAME) ?? []));
  assert.equal(decoded.type, "index");
  const { journal } = decoded as Extract<typeof decoded, { type: "index" }>;
  assert.deepEqual(journal.segments.map(({ firstRow }) => firstRow), [0, 1, 2]);
  assert.equal(journal.segments[2].framesStart, journal.segments[2].end);
  using reader = readIndexed(fsOf(tree));
  const { indexFileEntries, tailEntries, oddities } = reader.openReport;
  assert.deepEqual([indexFileEntries, tailEntries, oddities], [2, 1, []]);
  assert.deepEqual(verifyJournal(DIR, { fs: fsOf(tree) }).findings, []);
});

test("a close on a full disk keeps the events and the index file of before", () => {
  const inner = fsOf(BEFORE);
  const fs = new FullFs(inner);
  const store = openIndexed(fs, { entropy: new SeededEntropy(2) });
  const { eventId } = store.append(USER, KIND, "last");
  fs.full = (op) => op === "writeAt" || op === "create";
  store.close();
  fs.full = () => false;
  const tree = readTree(inner, DIR);
  assert.deepEqual(tree.get(INDEX_FILE_NAME), BEFORE.get(INDEX_FILE_NAME));
  assert.deepEqual(inner.list(DIR).filter(({ name }) => name.startsWith(".stage")), []);
  const { length } = BEFORE_IDS;
  using reader = readIndexed(inner);
  assert.equal(reader.get(eventId)?.payload, "last");
  const { indexFileEntries, tailEntries, oddities } = reader.openReport;
  assert.deepEqual([indexFileEntries, tailEntries, oddities], [length, 2, []]);
  checkSafe(inner, [eventId], "a full disk");
});

test("a store that has stopped saves no index file", () => {
  const inner = new MemoryFs();
  const fs = new FullFs(inner);
  const store = openIndexed(fs, { ...EACH, segmentMaxBytes: 1 << 20 });
  fs.full = (op) => op === "sync";
  assert.throws(() => store.append(USER, KIND, "x"), { name: "WriterCrashedError" });
  fs.full = () => false;
  assert.throws(() => store.close(), { name: "WriterCrashedError" });
  assert.equal(readIndexFile(inner, DIR).type, "missing");
});

test("a crash while the index file is saved leaves the one of before, and a leftover is tidied", () => {
  const inner = fsOf(BEFORE);
  const recording = new RecordingFs(fsOf(BEFORE));
  openIndexed(recording).close();
  const renames = recording.changes.lastIndexOf(`rename /${pathOf(INDEX_FILE_NAME)}`);
  const dying = new DyingFs(inner, renames);
  openIndexed(dying).close();
  assert.equal(dying.dead, true);
  const fs = inner.snapshot();
  assert.deepEqual(readTree(fs, DIR).get(INDEX_FILE_NAME), BEFORE.get(INDEX_FILE_NAME));
  assert.equal(fs.list(DIR).some(({ name }) => name === ".stage-0"), true);
  using store = openIndexed(fs);
  assert.deepEqual(store.openReport.oddities, [
    "removed .stage-0, left by an interrupted write",
  ]);
  assert.equal(store.openReport.indexFile, "loaded");
});

test("readers change nothing, whatever they find", () => {
  const fs = new RecordingFs(fsOf(BEFORE));
  for (const coldStart of [{}, FRAMES_ONLY]) {
    using reader = readIndexed(fs, { coldStart });
    reader.refresh();
  }
  assert.deepEqual(fs.changes, []);
});
