import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { EventKind, MemoryFs, Store, verifyJournal } from "../../mod.ts";
import { runtime } from "../../platform/runtime.ts";
import { encodePayload } from "../../store/payload.ts";
import { ColdStartError, JournalView, openFrom, writeJournal, writeTable } from "./library.ts";
import { findLmdb } from "./lmdb_peer.ts";
import { clocksUpTo, entityOf, orderOf, SCOPE, totalCentsOf, totalCentsUpTo } from "./orders.ts";
import { findPeers, sortOut } from "./peers.ts";
import { framesOf, RawFile } from "./raw_file.ts";
import { makeReader } from "./readers.ts";
import { JournalGrower, JournalWriter, PeerWriter, RowMaker } from "./writers.ts";

async function inTempDir(action: (dir: string) => void | Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "batpak_bench_test_"));
  try {
    await action(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const pause = () => Promise.resolve();
const PEERS = findPeers(runtime.name);

test("an order has about 60 bytes of MessagePack", () => {
  for (const n of [0, 1, 999_999]) {
    const size = encodePayload(orderOf(n)).byteLength;
    assert.ok(size >= 55 && size <= 65, `${size} bytes`);
  }
});

test("JournalWriter writes the orders one after the other, slice by slice", () => {
  for (const mode of ["single", "durable", "batch"] as const) {
    const fs = new MemoryFs();
    const writer = new JournalWriter("journal", { mode, eventsPerSlice: 600 }, { fs });
    assert.equal(writer.slice(), 600);
    assert.equal(writer.slice(), 600);
    assert.ok(writer.bytesPerEvent() > 200);
    writer.close();
    assert.equal(verifyJournal("journal", { fs }).intact, true);
    using store = Store.open("journal", { fs });
    const events = store.query({ scope: SCOPE });
    assert.equal(events.length, 1200);
    assert.equal(events[1199].entity, entityOf(1199));
    assert.equal(events[1199].clock, 1);
    assert.equal(events[1199].kind, EventKind.custom(0xf, 1));
    assert.deepEqual(events[1199].payload, orderOf(1199));
  }
});

test("JournalGrower writes a journal from its first event on in every slice, and removes it", () =>
  inTempDir((dir) => {
    const fs = new MemoryFs();
    const paths: string[] = [];
    const path = () => {
      paths.push(join(dir, `journal${paths.length}`));
      return paths.at(-1)!;
    };
    const grower = new JournalGrower(path, { mode: "batch", eventsPerSlice: 300 }, { fs });
    for (let i = 0; i < 2; i++) {
      grower.ready();
      assert.equal(grower.slice(), 300);
      grower.rest();
    }
    grower.close();
    assert.equal(paths.length, 2);
    for (const path of paths) {
      using store = Store.openReadOnly(path, { fs });
      assert.equal(store.query({ scope: SCOPE }).length, 300);
    }
  }));

test("every peer that is there stores and finds the same orders", () =>
  inTempDir(async (dir) => {
    assert.ok(PEERS.present.length > 0, "every runtime has SQLite");
    let number = 0;
    for (const peer of PEERS.present) {
      for (const mode of ["single", "durable", "batch"] as const) {
        const path = join(dir, `table${number++}`);
        const durability = mode === "durable" ? "durable" : "written";
        const rows = new RowMaker(1);
        // A batch that is not full, and half of the share of a slow one.
        const [eventsPerSlice, shareOfSlice] = mode === "batch" ? [300, 1] : [80, 2];
        const options = { mode, eventsPerSlice };
        const table = await peer.open(path, durability);
        const writer = new PeerWriter({ ...peer, shareOfSlice }, table, options, rows);
        const written = mode === "batch" ? 300 : 40;
        assert.equal(await writer.slice(), written, peer.name);
        assert.equal(await writer.slice(), written, peer.name);
        writer.rest();
        await writer.close();

        const count = rows.sampledIds.length;
        assert.equal(count, 2 * written);
        const again = await peer.open(path, durability);
        assert.equal(await again.sumTotals(), totalCentsUpTo(count), peer.name);
        assert.equal(await again.sumClocks(), clocksUpTo(count), peer.name);
        assert.equal(await again.totalCentsOf(rows.sampledIds[77]), totalCentsOf(77));
        assert.equal(await again.latestTotalCents(), totalCentsOf(count - 1));
        await assert.rejects(async () => await again.totalCentsOf("nobody"), /no event nobody/);
        if (peer.canCheck) again.check();
        else assert.throws(() => again.check(), /has no check of itself/);
        await again.close();
      }
    }
  }));

test("every peer refuses an id that is taken, and an entity's clock that is taken", () =>
  inTempDir(async (dir) => {
    for (const peer of PEERS.present) {
      const table = await peer.open(join(dir, peer.name.replace(":", "_")), "written");
      const row = new RowMaker().next();
      const other = { ...row, seq: 2, id: "another", clock: 7 };
      await table.insert(row);
      await assert.rejects(async () => await table.insert({ ...other, id: row.id }), peer.name);
      await assert.rejects(async () => await table.insert({ ...other, clock: 0 }), peer.name);
      await table.insert(other);
      assert.equal(await table.sumClocks(), 7, peer.name);
      await table.close();
    }
  }));

test("a peer that cannot be had is missing with the reason, and is no error", () =>
  inTempDir((dir) => {
    const nowhere = findLmdb(dir);
    const [sqlite] = PEERS.present;
    assert.deepEqual(sortOut([{ peer: sqlite }, nowhere]), {
      present: [sqlite],
      missing: [{ name: "lmdb", reason: 'not installed: "deno task bench:peers" does that' }],
    });
    const names = [...PEERS.present, ...PEERS.missing].map(({ name }) => name).sort();
    assert.deepEqual(
      names,
      runtime.name === "deno"
        ? ["deno-kv", "lmdb", "node:sqlite"]
        : ["bun:sqlite", "lmdb", "node:sqlite"],
    );
    for (const { reason } of PEERS.missing) assert.doesNotMatch(reason, /[/\\]\w+[/\\]/);
  }));

test("a fixture holds the same events for everybody, and readers see when it does not", () =>
  inTempDir(async (dir) => {
    for (const peer of PEERS.present) {
      const path = join(dir, peer.name.replace(":", "_"));
      const table = await writeTable(peer, { path, events: 3000, pause });
      assert.equal(table.ids.length, 3000);
      const open = () => peer.open(path, "written");
      const options = { name: peer.name, gets: 100, isAsync: peer.isAsync, open };
      for (const reading of ["get", "replay", "scan", "open"] as const) {
        const reader = await makeReader(table, { ...options, reading });
        assert.equal(await reader.slice(), reading === "get" ? 100 : 3000);
        await reader.rest?.();
        await reader.close();
      }
      const shorter = { ...table, events: 2999, ids: table.ids.slice(1) };
      for (const reading of ["get", "replay", "scan", "open"] as const) {
        const reader = await makeReader(shorter, { ...options, reading });
        await assert.rejects(async () => await reader.slice(), /came back as another|a reader saw/);
        await reader.close();
      }
    }
  }));

test("JournalView reads what was written, and every reading works on it", async () => {
  const fs = new MemoryFs();
  const journal = await writeJournal({ path: "journal", events: 1000, pause }, { fs });
  assert.ok(journal.indexBytes > 1000 * 40);
  const view = new JournalView(journal, fs);
  assert.equal(view.totalCentsOf(journal.ids[5]), totalCentsOf(5));
  assert.equal(view.latestTotalCents(), totalCentsOf(999));
  assert.equal(view.sumTotals(), totalCentsUpTo(1000));
  assert.equal(view.sumClocks(), clocksUpTo(1000));
  view.close();
  for (const reading of ["get", "replay", "scan", "open", "verify"] as const) {
    const reader = await makeReader(journal, {
      name: "batpak",
      reading,
      gets: 100,
      open: () => new JournalView(journal, fs),
    });
    assert.equal(reader.slice(), reading === "get" ? 100 : 1000);
    await reader.rest?.();
    await reader.close();
  }
});

test("writeJournal() keeps the ids of some orders of a large journal, at even distances", async () => {
  const fs = new MemoryFs();
  const events = 65_536 + 100;
  const journal = await writeJournal({ path: "journal", events, pause }, { fs });
  assert.equal(journal.idStep, 2);
  assert.equal(journal.ids.length, events / 2);
  const view = new JournalView(journal, fs);
  for (const place of [0, 1, 128, 32_817]) {
    assert.equal(view.totalCentsOf(journal.ids[place]), totalCentsOf(2 * place));
  }
  view.close();
});

test("writeJournal() spreads events over as many entities as it is told", async () => {
  const fs = new MemoryFs();
  const options = { fs, entityCount: 100_000 };
  await writeJournal({ path: "journal", events: 1500, pause }, options);
  using store = Store.openReadOnly("journal", { fs });
  assert.equal(store.query({ scope: SCOPE }).length, 1500);
  assert.equal(store.latest("order:01499")?.clock, 0);
});

test("openFrom() opens the way that it is told, or says that it did not", async () => {
  const fs = new MemoryFs();
  const journal = await writeJournal(
    { path: "journal", events: 2000, pause },
    { fs, segmentMaxBytes: 64 << 10 },
  );
  for (const coldStart of ["frames", "index", "footers"] as const) {
    const store = openFrom(coldStart, journal.path, fs);
    assert.equal(store.openReport.path, coldStart);
    store.close();
  }
  Store.open("small", { fs, coldStart: { indexFile: false } }).close();
  for (const coldStart of ["index", "footers"] as const) {
    assert.throws(() => openFrom(coldStart, "small", fs), (error) => {
      assert.ok(error instanceof ColdStartError);
      assert.match(error.message, new RegExp(`opened from frames, not from ${coldStart}`));
      return true;
    });
    // The lock is free again; and there is no index file yet.
    Store.open("small", { fs, coldStart: { indexFile: false } }).close();
    fs.removeIfPresent("small/index.fbati");
  }
});

test("RawFile writes the frames of the journal, one after the other", () =>
  inTempDir((dir) => {
    const frames = framesOf(10);
    assert.equal(frames.starts.length, 11);
    const path = join(dir, "raw");
    const file = new RawFile(path, frames, 25);
    for (let i = 0; i < 25; i++) file.append();
    assert.ok(file.end > 25 * 200);
    file.close();
  }));
