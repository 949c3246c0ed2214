import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { Encoder } from "@msgpack/msgpack";
import type { StoreFs } from "../platform/fs.ts";
import { MemoryFs } from "../platform/memory.ts";
import { runtime } from "../platform/runtime.ts";
import { StoreIoError } from "../store/errors.ts";
import { toHex } from "../store/hash.ts";
import { EventId } from "../store/ids.ts";
import { Region } from "../store/region.ts";
import { inTempDir } from "../tests/support/temp_dir.ts";
import {
  CheckpointBusyError,
  CheckpointCorruptError,
  type CheckpointInit,
  CheckpointWriteError,
  encodeCheckpoint,
  listCheckpoints,
  loadCheckpoint,
  saveCheckpoint,
} from "./checkpoint.ts";
import { CheckpointIdError } from "./checkpoint_id.ts";

const ID = "batpak-test-cursor";
const PATH = `/j/cursors/${ID}.ckpt`;
const EVENT_ID = EventId.parse("01a1fea6-59c5-7828-aa54-8eb2a2cf1535");

/** In memory and on the disk. */
function everywhere(action: (fs: StoreFs, dir: string) => void): void {
  const fs = new MemoryFs();
  fs.createDirAll("/j");
  action(fs, "/j");
  inTempDir((dir) => action(runtime.fs, dir));
}

/** A journal's directory whose checkpoint file has these bytes. */
function withFile(bytes: Uint8Array): MemoryFs {
  const fs = new MemoryFs();
  fs.createDirAll("/j/cursors");
  fs.publish(PATH, bytes);
  return fs;
}

function loadedFrom(value: unknown): ReturnType<typeof loadCheckpoint> {
  return loadCheckpoint("/j", ID, {
    fs: withFile(new Encoder({ useBigInt64: true }).encode(value)),
  });
}

test("C-11 S000-2 a checkpoint comes back as it was saved", () => {
  const record = {
    position: 42,
    started: true,
    processBootNs: null,
    regionIdentity: Region.entity("entity:roundtrip").identity(),
    eventId: null,
  };
  assert.equal(record.regionIdentity, "entity=entity:roundtrip|scope=*|fact=none|clock=*");
  everywhere((fs, dir) => {
    saveCheckpoint(dir, ID, record, { fs });
    assert.deepEqual(loadCheckpoint(dir, ID, { fs }), record);
    const next = { ...record, position: 2 ** 53 - 1, processBootNs: 7, eventId: EVENT_ID };
    saveCheckpoint(dir, ID, next, { fs });
    assert.deepEqual(loadCheckpoint(dir, ID, { fs }), next);
  });
});

test("C-12 a checkpoint that was never saved is absent, with or without its directory", () => {
  everywhere((fs, dir) => {
    assert.equal(loadCheckpoint(dir, ID, { fs }), undefined);
    assert.equal(loadCheckpoint(`${dir}/none`, ID, { fs }), undefined);
    saveCheckpoint(dir, "other", { position: 0, started: false }, { fs });
    assert.equal(loadCheckpoint(dir, ID, { fs }), undefined);
  });
});

test("C-13 S000-1 checkpoints are files of cursors/ and nowhere else", () => {
  everywhere((fs, dir) => {
    saveCheckpoint(dir, ID, { position: 1, started: true }, { fs });
    assert.deepEqual(fs.list(dir).map(({ name }) => name), ["cursors"]);
    assert.deepEqual(fs.list(`${dir}/cursors`).map(({ name }) => name), [
      `${ID}.ckpt`,
      `${ID}.lock`,
    ]);
  });
  assert.equal(existsSync(`${ID}.ckpt`), false);
});

test("encodeCheckpoint() writes the documented bytes", () => {
  const text = (value: string) =>
    (0xa0 + value.length).toString(16) + toHex(new TextEncoder().encode(value));
  assert.equal(
    toHex(encodeCheckpoint({ position: 7, started: true })),
    "86" + text("position") + "07" + text("started") + "c3" + text("process_boot_ns") + "c0" +
      text("region_identity") + "c0" + text("event_id") + "c0" + text("checksum") + "cec4529633",
  );
  const large = toHex(encodeCheckpoint({
    position: 2 ** 40,
    started: true,
    regionIdentity: "r",
    eventId: EVENT_ID,
  }));
  assert.equal(
    large,
    "86" + text("position") + "cf0000010000000000" + text("started") + "c3" +
      text("process_boot_ns") + "c0" + text("region_identity") + "a172" + text("event_id") +
      "c410" + EVENT_ID.replaceAll("-", "") + text("checksum") + "cea0c56be9",
  );
});

test("a flipped bit in a checkpoint never makes another checkpoint of it", () => {
  // A checkpoint had no checksum: one bit made a consumer that had handled nothing skip the first event, and
  // in others the position was only as good as the event id beside it. It has one now.
  for (
    const init of [
      { position: 0, started: false },
      { position: 7, started: true },
      { position: 7, started: true, eventId: EVENT_ID, regionIdentity: "entity=a|scope=*" },
    ] satisfies CheckpointInit[]
  ) {
    const whole = encodeCheckpoint(init);
    const expected = loadCheckpoint("/j", ID, { fs: withFile(whole) });
    let refused = 0;
    for (let at = 0; at < whole.byteLength * 8; at++) {
      const bytes = whole.slice();
      bytes[at >> 3] ^= 1 << (at & 7);
      try {
        // In the name of the key, a flipped bit makes an older file of it, which says the same.
        assert.deepEqual(loadCheckpoint("/j", ID, { fs: withFile(bytes) }), expected);
      } catch (error) {
        assert.ok(error instanceof CheckpointCorruptError, `bit ${at}: ${error}`);
        refused++;
      }
    }
    assert.ok(refused > whole.byteLength * 8 - 80, `${refused} refused`);
  }
});

test("a checkpoint of an older or newer program is read", () => {
  const old = { position: 3, started: true };
  const record = { ...old, processBootNs: null, regionIdentity: null, eventId: null };
  assert.deepEqual(loadedFrom(old), record);
  assert.deepEqual(
    loadedFrom({ ...old, later: { a: [1, 2] }, process_boot_ns: 2n ** 63n }),
    { ...record, processBootNs: 2n ** 63n },
  );
  const bytes = encodeCheckpoint(old);
  const longer = new Uint8Array(bytes.byteLength + 3).fill(0xc1);
  longer.set(bytes);
  assert.deepEqual(loadCheckpoint("/j", ID, { fs: withFile(longer) }), record);
});

test("what is no checkpoint is corrupt, and the error says where and why", () => {
  const cases: [unknown, RegExp][] = [
    [[1], /not a map/],
    [null, /not a map/],
    [{}, /"position"/],
    [{ position: -1, started: true }, /"position"/],
    [{ position: 1.5, started: true }, /"position"/],
    [{ position: 2n ** 60n, started: true }, /"position"/],
    [{ position: "1", started: true }, /"position"/],
    [{ position: 1 }, /"started"/],
    [{ position: 1, started: 1 }, /"started"/],
    [{ position: 1, started: false }, /not started/],
    [{ position: 1, started: true, region_identity: 5 }, /"region_identity"/],
    [{ position: 1, started: true, process_boot_ns: -1 }, /"process_boot_ns"/],
    [{ position: 1, started: true, event_id: new Uint8Array(15) }, /"event_id"/],
    [{ position: 1, started: true, event_id: EVENT_ID }, /"event_id"/],
  ];
  for (const [value, reason] of cases) {
    assert.throws(() => loadedFrom(value), (error) => {
      assert.ok(error instanceof CheckpointCorruptError, String(error));
      assert.equal(error.code, "CHECKPOINT_CORRUPT");
      assert.equal(error.path, PATH);
      assert.match(error.reason, reason);
      return true;
    });
  }
});

test("bytes that are no MessagePack are corrupt: cut anywhere, noise, or absurd lengths", () => {
  const whole = encodeCheckpoint({ position: 7, started: true, eventId: EVENT_ID });
  const files = [
    new TextEncoder().encode("not-msgpack"),
    new Uint8Array(0),
    Uint8Array.of(0xc1),
    Uint8Array.of(0xdf, 0xff, 0xff, 0xff, 0xff),
    Uint8Array.of(0x81, 0xa1, 0x78, 0xdd, 0xff, 0xff, 0xff, 0xff),
    new Uint8Array(60_000).fill(0x91),
    new Uint8Array(64 * 1024 + 1).fill(0x80),
    ...Array.from(whole, (_, size) => whole.slice(0, size)),
  ];
  for (const bytes of files) {
    assert.throws(
      () => loadCheckpoint("/j", ID, { fs: withFile(bytes) }),
      CheckpointCorruptError,
    );
  }
});

test("a checkpoint that cannot be read is neither absent nor corrupt", () => {
  const fs = withFile(encodeCheckpoint({ position: 7, started: true }));
  fs.failNext({ op: "readFile", code: "EIO" });
  assert.throws(() => loadCheckpoint("/j", ID, { fs }), (error) => {
    return error instanceof StoreIoError && error.fault.code === "EIO";
  });
  everywhere((fs, dir) => {
    fs.createDirAll(`${dir}/cursors/${ID}.ckpt`);
    assert.throws(() => loadCheckpoint(dir, ID, { fs }), StoreIoError);
  });
});

test("cursors/ and what is in it must not lead elsewhere", () => {
  const fs = new MemoryFs();
  fs.createDirAll("/j");
  fs.createDirAll("/elsewhere");
  fs.symlink("/elsewhere", "/j/cursors");
  const isLoop = (error: unknown) => error instanceof StoreIoError && error.fault.code === "ELOOP";
  assert.throws(() => loadCheckpoint("/j", ID, { fs }), isLoop);
  assert.throws(() => listCheckpoints("/j", { fs }), isLoop);
  assert.throws(
    () => saveCheckpoint("/j", ID, { position: 1, started: true }, { fs }),
    CheckpointWriteError,
  );
  assert.deepEqual(fs.list("/elsewhere"), []);
  fs.remove("/j/cursors");
  fs.createDirAll("/j/cursors");
  fs.symlink("/elsewhere", PATH);
  assert.throws(() => loadCheckpoint("/j", ID, { fs }), isLoop);
});

test("C-25 a save that fails says so, and the checkpoint before is intact", () => {
  const before: CheckpointInit = { position: 1, started: true };
  const after: CheckpointInit = { position: 2, started: true };
  for (const op of ["stage", "writeAt", "sync", "publish", "rename", "tryLock"] as const) {
    const fs = withFile(encodeCheckpoint(before));
    fs.failNext({ op, code: "ENOSPC" });
    assert.throws(() => saveCheckpoint("/j", ID, after, { fs }), (error) => {
      assert.ok(error instanceof CheckpointWriteError);
      assert.deepEqual([error.code, error.id], ["CHECKPOINT_WRITE", ID]);
      assert.equal((error.cause as { code?: string }).code, "ENOSPC");
      return true;
    });
    assert.equal(fs.faultsFired, 1);
    assert.equal(loadCheckpoint("/j", ID, { fs })?.position, 1);
    assert.deepEqual(fs.list("/j/cursors").filter(({ name }) => name.startsWith(".")), []);
    saveCheckpoint("/j", ID, after, { fs });
    assert.equal(loadCheckpoint("/j", ID, { fs })?.position, 2);
  }
  everywhere((fs, dir) => {
    fs.createDirAll(`${dir}/cursors/${ID}.ckpt`);
    assert.throws(() => saveCheckpoint(dir, ID, after, { fs }), CheckpointWriteError);
  });
});

test("C-25 a save survives whatever a crash leaves of it: the old checkpoint or the new one", () => {
  for (const op of ["rename", "syncDir"] as const) {
    const fs = withFile(encodeCheckpoint({ position: 1, started: true }));
    fs.failNext({ op, code: "EIO" });
    assert.throws(() => saveCheckpoint("/j", ID, { position: 2, started: true }, { fs }));
    const found = loadCheckpoint("/j", ID, { fs: fs.snapshot() });
    assert.equal(found?.position, op === "rename" ? 1 : 2);
  }
});

test("a checkpoint of somebody at work cannot be moved", () => {
  everywhere((fs, dir) => {
    saveCheckpoint(dir, ID, { position: 1, started: true }, { fs });
    const lock = fs.tryLock(`${dir}/cursors/${ID}.lock`);
    assert.throws(
      () => saveCheckpoint(dir, ID, { position: 2, started: true }, { fs }),
      (error) => error instanceof CheckpointBusyError && error.code === "CHECKPOINT_BUSY",
    );
    lock?.release();
    assert.equal(loadCheckpoint(dir, ID, { fs })?.position, 1);
  });
});

test("ids are checked before anything is touched, records too", () => {
  const fs = new MemoryFs();
  const record = { position: 1, started: true };
  assert.throws(() => saveCheckpoint("/j", "../up", record, { fs }), CheckpointIdError);
  assert.throws(() => loadCheckpoint("/j", "", { fs }), CheckpointIdError);
  for (const position of [-1, 0.5, NaN, 2 ** 53]) {
    assert.throws(() => saveCheckpoint("/j", ID, { position, started: true }, { fs }), TypeError);
  }
  assert.throws(() => saveCheckpoint("/j", ID, { position: 3, started: false }, { fs }), TypeError);
  assert.deepEqual(fs.list("/"), []);
});

test("a name that is too long for the file system fails as a save that failed", () => {
  inTempDir((dir) => {
    assert.throws(
      () => saveCheckpoint(dir, "x".repeat(1000), { position: 1, started: true }),
      CheckpointWriteError,
    );
  });
});

test("listCheckpoints() lists all, broken ones with their error", () => {
  everywhere((fs, dir) => {
    assert.deepEqual(listCheckpoints(dir, { fs }), []);
    saveCheckpoint(dir, "b", { position: 5, started: true }, { fs });
    saveCheckpoint(dir, "a", { position: 0, started: false }, { fs });
    fs.publish(`${dir}/cursors/bad.ckpt`, Uint8Array.of(1));
    fs.publish(`${dir}/cursors/x=y.ckpt`, encodeCheckpoint({ position: 5, started: true }));
    fs.publish(`${dir}/cursors/notes.txt`, Uint8Array.of(1));
    const listings = listCheckpoints(dir, { fs });
    assert.deepEqual(
      listings.map((listing) =>
        listing.type === "checkpoint"
          ? [listing.id, listing.checkpoint.position]
          : [listing.id, listing.error.code]
      ),
      [["a", 0], ["b", 5], ["bad", "CHECKPOINT_CORRUPT"], ["x=y", "CHECKPOINT_ID"]],
    );
    assert.equal(listings[2].path, `${dir}/cursors/bad.ckpt`);
  });
});
