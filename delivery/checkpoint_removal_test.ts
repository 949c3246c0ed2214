import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs } from "../platform/memory.ts";
import { SimFs } from "../sim/sim_fs.ts";
import { StoreIoError } from "../store/errors.ts";
import {
  CheckpointBusyError,
  listCheckpoints,
  loadCheckpoint,
  removeCheckpoint,
  saveCheckpoint,
} from "./checkpoint.ts";
import { CheckpointIdError } from "./checkpoint_id.ts";

const AT_SEVEN = { position: 7, started: true };

function newFs(): MemoryFs {
  const fs = new MemoryFs();
  fs.createDirAll("journal");
  return fs;
}

test("removeCheckpoint() removes the file durably and says whether there was one", () => {
  const fs = newFs();
  assert.equal(removeCheckpoint("journal", "mailer", { fs }), false);
  assert.equal(fs.stat("journal/cursors"), undefined);
  saveCheckpoint("journal", "mailer", AT_SEVEN, { fs });
  saveCheckpoint("journal", "other", AT_SEVEN, { fs });
  assert.equal(removeCheckpoint("journal", "mailer", { fs }), true);
  assert.equal(loadCheckpoint("journal", "mailer", { fs }), undefined);
  assert.equal(loadCheckpoint("journal", "other", { fs })?.position, 7);
  assert.equal(removeCheckpoint("journal", "mailer", { fs }), false);
  assert.throws(() => removeCheckpoint("journal", "../x", { fs }), CheckpointIdError);
});

test("removeCheckpoint() leaves alone what somebody works under", () => {
  const fs = newFs();
  saveCheckpoint("journal", "mailer", AT_SEVEN, { fs });
  const lock = fs.tryLock("journal/cursors/mailer.lock");
  assert.ok(lock);
  assert.throws(() => removeCheckpoint("journal", "mailer", { fs }), CheckpointBusyError);
  assert.equal(loadCheckpoint("journal", "mailer", { fs })?.position, 7);
  lock.release();
  assert.equal(removeCheckpoint("journal", "mailer", { fs }), true);
});

test("removeCheckpoint() reports a file that cannot be removed, and lets go of the lock", () => {
  const fs = newFs();
  saveCheckpoint("journal", "mailer", AT_SEVEN, { fs });
  fs.failNext({ op: "remove", code: "EACCES" });
  assert.throws(() => removeCheckpoint("journal", "mailer", { fs }), StoreIoError);
  // Gone, but a power cut might bring it back: whoever removed it has to know.
  fs.failNext({ op: "syncDir", code: "EIO" });
  assert.throws(() => removeCheckpoint("journal", "mailer", { fs }), StoreIoError);
  assert.equal(fs.faultsFired, 2);
});

test("listCheckpoints() says who works when it is asked to, takes nothing and makes nothing", () => {
  const fs = newFs();
  saveCheckpoint("journal", "idle", AT_SEVEN, { fs });
  saveCheckpoint("journal", "working", AT_SEVEN, { fs });
  fs.publish("journal/cursors/broken.ckpt", new Uint8Array());
  const lock = fs.tryLock("journal/cursors/working.lock");
  assert.ok(lock);
  const busy = () =>
    listCheckpoints("journal", { fs, consumers: true }).map(({ id, isBusy }) => [id, isBusy]);
  assert.deepEqual(busy(), [["broken", false], ["idle", false], ["working", true]]);
  assert.equal(fs.stat("journal/cursors/broken.lock"), undefined);
  assert.ok(listCheckpoints("journal", { fs }).every((listing) => !("isBusy" in listing)));
  lock.release();
  assert.deepEqual(busy(), [["broken", false], ["idle", false], ["working", false]]);
  fs.tryLock("journal/cursors/idle.lock")?.release();
});

test("removeCheckpoint() is durable when it has to be called twice", () => {
  // The sync behind the removal had failed, and the second call found nothing to remove, said so, and left it
  // to a power cut to bring the checkpoint back. A removal that finds nothing is made durable, too.
  const fs = new SimFs();
  fs.createDirAll("journal");
  saveCheckpoint("journal", "mailer", AT_SEVEN, { fs });
  fs.armFaultOn("SyncDir", 1, { path: "cursors" });
  assert.throws(() => removeCheckpoint("journal", "mailer", { fs }), StoreIoError);
  fs.assertAllFired();
  assert.equal(removeCheckpoint("journal", "mailer", { fs }), false);
  const after = fs.crash("durable");
  assert.equal(after.stat("journal/cursors")?.kind, "dir");
  assert.equal(loadCheckpoint("journal", "mailer", { fs: after }), undefined);
});
