import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { EventKind, MemoryFs, Store, verifyJournal } from "../../mod.ts";
import { encodePayload } from "../../store/payload.ts";
import { driverNames, EventTable, loadDriver } from "./event_table.ts";
import { buildLibrary, JournalView } from "./library.ts";
import { clocksUpTo, entityOf, orderOf, SCOPE, totalCentsOf, totalCentsUpTo } from "./orders.ts";
import { framesOf, RawFile } from "./raw_file.ts";
import { makeReader } from "./readers.ts";
import { JournalWriter, TableWriter } from "./writers.ts";

function inTempDir<T>(action: (dir: string) => T): T {
  const dir = mkdtempSync(join(tmpdir(), "batpak_bench_test_"));
  const clean = () => rmSync(dir, { recursive: true });
  const result = action(dir);
  if (result instanceof Promise) return result.finally(clean) as T;
  clean();
  return result;
}

const DRIVERS = driverNames().map(loadDriver).filter((driver) => driver !== undefined);

test("an order has about 60 bytes of MessagePack", () => {
  for (const n of [0, 1, 199_999]) {
    const size = encodePayload(orderOf(n)).byteLength;
    assert.ok(size >= 55 && size <= 65, `${size} bytes`);
  }
});

test("JournalWriter writes the orders one after the other, slice by slice", () => {
  for (const mode of ["single", "durable", "batch"] as const) {
    const fs = new MemoryFs();
    const writer = new JournalWriter("journal", { mode, eventsPerSlice: 512 }, { fs });
    assert.equal(writer.slice(), 512);
    assert.equal(writer.slice(), 512);
    assert.ok(writer.bytesPerEvent() > 200);
    writer.close();
    assert.equal(verifyJournal("journal", { fs }).intact, true);
    using store = Store.open("journal", { fs });
    const events = store.query({ scope: SCOPE });
    assert.equal(events.length, 1024);
    assert.equal(events[1023].entity, entityOf(1023));
    assert.equal(events[1023].clock, 1);
    assert.equal(events[1023].kind, EventKind.custom(0xf, 1));
    assert.deepEqual(events[1023].payload, orderOf(1023));
  }
});

test("TableWriter writes the same orders, with every module there is", () =>
  inTempDir((dir) => {
    assert.ok(DRIVERS.length > 0, "this runtime has SQLite");
    for (const driver of DRIVERS) {
      for (const mode of ["single", "durable", "batch"] as const) {
        const path = join(dir, `${driver.name.replace(":", "_")}_${mode}.db`);
        const writer = new TableWriter(driver, path, { mode, eventsPerSlice: 512 });
        assert.equal(writer.slice(), 512);
        assert.equal(writer.slice(), 512);
        writer.close();
        const table = new EventTable(driver, path, "NORMAL");
        assert.equal(table.sumTotals(), totalCentsUpTo(1024));
        assert.equal(table.sumClocks(), clocksUpTo(1024));
        table.check();
        table.close();
      }
    }
  }));

test("a library holds the same events for everybody, and readers see when it does not", () =>
  inTempDir(async (dir) => {
    let number = 0;
    const library = await buildLibrary(3000, DRIVERS, {
      fs: new MemoryFs(),
      path: (name) => join(dir, `${number++}_${name}`),
      pause: () => Promise.resolve(),
    }).catch((error) => assert.fail(error));
    assert.equal(library.ids.length, 3072);
    for (const driver of DRIVERS) {
      const open = () => new EventTable(driver, library.tablePaths.get(driver.name)!, "NORMAL");
      const table = open();
      assert.equal(table.totalCentsOf(library.ids[77]), totalCentsOf(77));
      assert.throws(() => table.totalCentsOf("nobody"), /There is no event nobody/);
      table.close();
      const shorter = { ...library, ids: library.ids.slice(1) };
      const replay = makeReader(shorter, { name: driver.name, reading: "replay", gets: 1, open });
      assert.throws(() => replay.slice(), /a reader saw what was written/);
      replay.close();
    }
  }));

test("JournalView reads what was written, and every reading works on it", () =>
  inTempDir(async (dir) => {
    const fs = new MemoryFs();
    const library = await buildLibrary(1000, [], {
      fs,
      path: (name) => join(dir, name),
      pause: () => Promise.resolve(),
    });
    const view = new JournalView(library.journalDir, fs);
    assert.equal(view.totalCentsOf(library.ids[5]), totalCentsOf(5));
    assert.equal(view.sumTotals(), totalCentsUpTo(1024));
    assert.equal(view.sumClocks(), clocksUpTo(1024));
    view.close();
    for (const reading of ["get", "replay", "scan", "open", "verify"] as const) {
      const reader = makeReader(library, {
        name: "batpak",
        reading,
        gets: 100,
        open: () => new JournalView(library.journalDir, fs),
      });
      assert.equal(reader.slice(), reading === "get" ? 100 : 1024);
      reader.rest?.();
      reader.close();
    }
  }));

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
