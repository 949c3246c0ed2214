// What is durable when, what a crash leaves, and what can be made to fail.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SIM_MUTATIONS, SIM_OPS, type SimOp } from "./sim_faults.ts";
import { SimFs } from "./sim_fs.ts";
import { digestTree } from "./sim_trace.ts";

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Names and texts of everything in the root directory, one level deep. */
function tree(fs: SimFs, dir = "/"): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { name, kind } of fs.list(dir)) {
    const path = dir === "/" ? `/${name}` : `${dir}/${name}`;
    if (kind === "dir") Object.assign(found, tree(fs, path));
    else found[path] = new TextDecoder().decode(fs.readFile(path, 1_000_000));
  }
  return found;
}

/** A disk with one file whose bytes and name are durable. */
function withFile(text: string, path = "/a"): SimFs {
  const fs = new SimFs();
  fs.publish(path, bytes(text));
  return fs;
}

/** Makes a file of durable bytes; its name is not. */
function put(fs: SimFs, path: string, text: string): void {
  const file = fs.open(path, "createNew");
  file.append(bytes(text));
  file.sync("all");
  file.close();
}

test("a crash takes what was written behind the last sync", () => {
  const fs = withFile("0123456789");
  const file = fs.open("/a", "write");
  file.append(bytes("ABC"));
  file.sync("data");
  file.append(bytes("DEF"));
  file.writeAt(bytes("x"), 0, 1, 0);
  assert.deepEqual(tree(fs), { "/a": "x123456789ABCDEF" });
  assert.deepEqual(tree(fs.crash()), { "/a": "0123456789ABC" });
});

test("a crash takes back a cut, and an extension, that was not synced", () => {
  const fs = withFile("0123456789");
  const file = fs.open("/a", "write");
  file.resize(3);
  file.append(bytes("abc"));
  assert.deepEqual(tree(fs), { "/a": "012abc" });
  assert.deepEqual(tree(fs.crash()), { "/a": "0123456789" });
});

test("after a crash, the old file system and its files are dead, and locks are free", () => {
  const fs = withFile("abc");
  const file = fs.open("/a", "write");
  const lock = fs.tryLock("/lock");
  fs.syncDir("/");
  const after = fs.crash();
  assert.throws(() => fs.list("/"), { code: "EIO", message: /the machine has crashed/ });
  assert.throws(() => file.size(), { code: "EIO" });
  assert.throws(() => file.writeAt(bytes("x"), 0, 1, 0), { code: "EIO" });
  file.close();
  lock?.release();
  assert.ok(after.tryLock("/lock"));
  assert.deepEqual(tree(after), { "/a": "abc", "/lock": "" });
});

// The seven states of names that a simulated disk has to be able to be in.

test("state 1: the staged name is durable, the final one absent", () => {
  const fs = new SimFs();
  fs.stage("/").append(bytes("new"));
  fs.syncDir("/");
  assert.deepEqual(Object.keys(tree(fs.crash())), ["/.stage-0"]);
});

test("state 2: a rename without a sync of the directory is undone", () => {
  const fs = withFile("abc");
  fs.rename("/a", "/b");
  assert.deepEqual(tree(fs), { "/b": "abc" });
  assert.deepEqual(tree(fs.crash()), { "/a": "abc" });
});

test("state 3: a file that was moved away comes back with all its durable bytes", () => {
  const fs = withFile("abc");
  fs.publish("/b", bytes("old"));
  fs.rename("/a", "/c");
  fs.rename("/b", "/a");
  assert.deepEqual(tree(fs), { "/a": "old", "/c": "abc" });
  assert.deepEqual(tree(fs.crash()), { "/a": "abc", "/b": "old" });
});

test("state 4: a file that was removed comes back, cut to what is durable", () => {
  const fs = withFile("abc");
  const file = fs.open("/a", "write");
  file.append(bytes("def"));
  fs.remove("/a");
  file.append(bytes("ghi"));
  assert.deepEqual(tree(fs), {});
  assert.deepEqual(tree(fs.crash()), { "/a": "abc" });
});

test("state 5: the staged and the final name are both there", () => {
  const fs = withFile("old");
  fs.stage("/").append(bytes("new"));
  fs.syncDir("/");
  assert.deepEqual(tree(fs.crash()), { "/.stage-0": "", "/a": "old" });
});

test("state 6: a publication that fails leaves no final name, before a crash and after", () => {
  const fs = new SimFs().withFaultOn("PersistTemp");
  assert.throws(() => fs.publish("/a", bytes("new")), { code: "EIO", op: "publish" });
  assert.deepEqual(tree(fs), {});
  assert.deepEqual(tree(fs.crash()), {});
});

test("state 7: of names whose sync was a lie, none is there", () => {
  const fs = new SimFs();
  fs.armFaultOn("SyncDir", 1, { instead: "lie", sticky: true });
  put(fs, "/a", "abc");
  fs.syncDir("/");
  fs.publish("/b", bytes("def"));
  fs.createDirAll("/c/d");
  fs.assertAllFired();
  assert.equal(fs.faultsFired, 4);
  assert.deepEqual(fs.crash().list("/"), []);
});

test("a removal that was synced is for good, and so is the file made anew under the name", () => {
  const fs = withFile("abc");
  fs.remove("/a");
  fs.syncDir("/");
  put(fs, "/a", "new");
  assert.deepEqual(tree(fs.crash()), {});
});

test("a rename between directories is durable, or not, as a whole", () => {
  for (const synced of ["/x", "/y"]) {
    const fs = new SimFs();
    fs.createDirAll("/x");
    fs.createDirAll("/y");
    put(fs, "/x/a", "abc");
    fs.rename("/x/a", "/y/b");
    fs.syncDir(synced);
    fs.syncDir("/x");
    assert.deepEqual(tree(fs.crash()), { "/y/b": "abc" });
  }
});

test("createDirAll() makes its directories durable, and no name in them", () => {
  const fs = new SimFs();
  fs.createDirAll("/x/y");
  put(fs, "/x/y/a", "abc");
  const after = fs.crash();
  assert.deepEqual(after.list("/x/y"), []);
});

test("createDirAll() relies on no directory whose name may not be durable", () => {
  // Where two directories were made before the first sync, and that failed, the upper one was taken for
  // durable because the lower one was in it. Now nothing is in a directory before its name is durable, and an
  // empty one counts as new.
  const fs = new SimFs();
  fs.armFaultOn("SyncDir", 1);
  assert.throws(() => fs.createDirAll("/x/y"), { op: "syncDir" });
  const killed = fs.crash("processKill");
  assert.deepEqual(killed.list("/x"), []);
  assert.deepEqual(killed.crashImage("durable").list("/"), []);
  for (const path of ["/x/y", "/x/z"]) {
    const again = killed.crashImage("processKill");
    again.createDirAll(path);
    assert.deepEqual(again.crash().list("/x"), [{ name: path.slice(3), kind: "dir" }]);
  }
});

test("an image goes on as a disk of its own", () => {
  const fs = withFile("abc");
  const after = fs.crash();
  const [one] = after.crashImages("durable");
  const file = one.open("/a", "write");
  file.append(bytes("def"));
  assert.deepEqual(tree(after), { "/a": "abc" });
  assert.deepEqual(tree(one), { "/a": "abcdef" });
  assert.deepEqual(tree(one.crash()), { "/a": "abc" });
});

test("every operation can be made to fail before it has done anything, and after", () => {
  const attempts: Record<SimOp, (fs: SimFs) => unknown> = {
    Canonicalize: (fs) => fs.canonicalize("/a"),
    Clone: (fs) => fs.clone("/a", "/b", "hardlink"),
    Copy: (fs) => fs.copy("/a", "/b"),
    CreateNew: (fs) => fs.open("/b", "createNew"),
    Link: (fs) => fs.link("/a", "/b"),
    List: (fs) => fs.list("/"),
    Lock: (fs) => fs.tryLock("/a"),
    MkDir: (fs) => fs.createDirAll("/d"),
    Open: (fs) => fs.open("/a", "read"),
    PersistTemp: (fs) => fs.publish("/a", bytes("new")),
    Read: (fs) => fs.open("/a", "read").readAt(new Uint8Array(1), 0, 1, 0),
    ReadFile: (fs) => fs.readFile("/a", 10),
    RejectSymlink: (fs) => fs.rejectSymlink("/a", "a test"),
    Remove: (fs) => fs.removeIfPresent("/a"),
    RemoveDir: (fs) => fs.removeDirAll("/empty"),
    Rename: (fs) => fs.rename("/a", "/b"),
    Resize: (fs) => fs.open("/a", "write").resize(0),
    Size: (fs) => fs.open("/a", "read").size(),
    Stage: (fs) => fs.stage("/"),
    Stat: (fs) => fs.stat("/a"),
    Sync: (fs) => fs.open("/a", "write").sync("data"),
    SyncDir: (fs) => fs.syncDir("/"),
    Write: (fs) => fs.open("/a", "write").writeAt(bytes("x"), 0, 1, 0),
  };
  for (const op of SIM_OPS) {
    const fs = withFile("old");
    fs.createDirAll("/empty");
    const before = digestTree(fs);
    fs.armFaultOn(op);
    const message = new RegExp(`SimFs: injected fault on ${op}\\b`);
    assert.throws(() => attempts[op](fs), { name: "IoFault", code: "EIO", message });
    assert.equal(digestTree(fs), before, op);
    fs.assertAllFired();

    const expected = withFile("old");
    expected.createDirAll("/empty");
    attempts[op](expected);
    fs.armFaultOn(op, 1, { when: "after", code: "ENOSPC" });
    assert.throws(() => attempts[op](fs), { code: "ENOSPC", message }, op);
    assert.equal(digestTree(fs), digestTree(expected), op);
  }
});

test("faults count their own operation from when they were armed, 1 being the next", () => {
  const fs = withFile("a");
  fs.stat("/a");
  fs.armFaultOn("Stat", 2);
  assert.equal(fs.operationsSeen("Stat"), 0);
  fs.stat("/a");
  fs.list("/");
  assert.equal(fs.operationsSeen("Stat"), 1);
  assert.throws(() => fs.stat("/a"), { op: "stat" });
  fs.stat("/a");
  assert.equal(fs.operationsSeen("Stat"), 3);
  assert.equal(fs.faultsFired, 1);
  assert.throws(() => fs.armFaultOn("Stat", 0), RangeError);
  assert.throws(() => fs.armFaultOn("Fly" as SimOp), RangeError);
});

test("faults may be bound to a path, stick, and be taken back", () => {
  const fs = withFile("a");
  put(fs, "/log", "b");
  fs.armFaultOn("ReadFile", 1, { path: "log", sticky: true, code: "EACCES" });
  assert.equal(fs.readFile("/a", 10).byteLength, 1);
  assert.throws(() => fs.readFile("/log", 10), { code: "EACCES" });
  assert.throws(() => fs.readFile("/log", 10), { code: "EACCES" });
  assert.equal(fs.readFile("/a", 10).byteLength, 1);
  fs.disarm();
  assert.equal(fs.readFile("/log", 10).byteLength, 1);
  fs.armFaultOn("Rename", 1, { path: "log" });
  assert.throws(() => fs.rename("/log", "/b"), { op: "rename" });
});

test("armFaultAt() strikes one call, whatever it is", () => {
  const count = (() => {
    const fs = new SimFs();
    fs.publish("/a", bytes("abc"));
    return fs.operationCount;
  })();
  assert.equal(count, 8);
  const struck: string[] = [];
  for (let index = 0; index < count; index++) {
    const fs = new SimFs();
    fs.armFaultAt(index);
    assert.throws(() => fs.publish("/a", bytes("abc")), (error: { op: string }) => {
      struck.push(error.op);
      return true;
    });
    fs.assertAllFired();
  }
  assert.deepEqual(struck, [
    "stage",
    "open",
    "writeAt",
    "publish",
    "sync",
    "rejectSymlink",
    "rename",
    "syncDir",
  ]);
});

test("assertAllFired() names the faults that never fired", () => {
  const fs = withFile("a").withFaultOn("Rename", 2, { path: "b" });
  fs.armFaultAt(fs.operationCount + 5);
  assert.throws(() => fs.assertAllFired(), /never fired: Rename on "b" \(2 short\), any call/);
});

test("a write may get through in part", () => {
  const fs = withFile("0123");
  const file = fs.open("/a", "write");
  fs.armFaultOn("Write", 1, { partial: 2, code: "ENOSPC" });
  assert.throws(() => file.append(bytes("abcdef")), { code: "ENOSPC" });
  assert.deepEqual(tree(fs), { "/a": "0123ab" });
});

test("a sync that fails loses, reverts, or keeps what was to be synced", () => {
  const after = { lost: "", reverted: "", failed: "" };
  for (const sync of ["lost", "reverted", "failed"] as const) {
    const fs = withFile("0123");
    const file = fs.open("/a", "write");
    file.append(bytes("ab"));
    file.writeAt(bytes("x"), 0, 1, 0);
    fs.armFaultOn("Sync", 1, { sync });
    assert.throws(() => file.sync("all"), { code: "EIO", op: "sync" });
    after[sync] = tree(fs)["/a"];
    // The one behind it succeeds, whatever it is worth.
    file.sync("all");
    after[sync] += ` ${tree(fs.crash())["/a"]}`;
  }
  assert.deepEqual(after, {
    // The size is no part of what was lost.
    lost: "x123ab 0123\0\0",
    reverted: "0123\0\0 0123\0\0",
    failed: "x123ab x123ab",
  });
});

test("what is written after a sync that lost something can be made durable", () => {
  const fs = withFile("0123");
  const file = fs.open("/a", "write");
  file.append(bytes("ab"));
  fs.armFaultOn("Sync");
  assert.throws(() => file.sync("all"), { op: "sync" });
  file.writeAt(bytes("cd"), 0, 2, 6);
  file.sync("all");
  assert.deepEqual(tree(fs.crash()), { "/a": "0123\0\0cd" });
});

test("a sync may lie, and fail though it did its work", () => {
  const fs = withFile("0123");
  const file = fs.open("/a", "write");
  file.append(bytes("ab"));
  fs.armFaultOn("Sync", 1, { instead: "lie" });
  file.sync("all");
  const [lied] = fs.crashImages("durable");
  assert.deepEqual(tree(lied), { "/a": "0123" });
  fs.armFaultOn("Sync", 1, { when: "after" });
  assert.throws(() => file.sync("all"), { op: "sync" });
  assert.deepEqual(tree(fs.crash()), { "/a": "0123ab" });
});

test("a read may be short, and is never mistaken for the end", () => {
  const fs = withFile("0123456789");
  const file = fs.open("/a", "read");
  const target = new Uint8Array(10);
  fs.armFaultOn("Read", 1, { instead: "short", partial: 3 });
  assert.equal(file.readAt(target, 0, 10, 0), 3);
  fs.armFaultOn("Read", 1, { instead: "short", partial: 0 });
  assert.equal(file.readAt(target, 0, 10, 8), 1);
  fs.armFaultOn("Read", 1, { instead: "short" });
  assert.equal(file.readAt(target, 0, 10, 10), 0);
});

test("a disk that is full takes what fits", () => {
  const fs = new SimFs({ diskSize: 8 });
  const file = fs.open("/a", "createNew");
  file.resize(1_000);
  file.writeAt(bytes("01234"), 0, 5, 0);
  assert.throws(() => file.writeAt(bytes("56789"), 0, 5, 5), { code: "ENOSPC", op: "writeAt" });
  assert.equal(fs.usedSize, 8);
  file.writeAt(bytes("x"), 0, 1, 0);
  file.resize(2);
  put(fs, "/b", "012345");
  assert.throws(() => fs.copy("/b", "/c"), { code: "ENOSPC" });
  assert.deepEqual(tree(fs), { "/a": "x1", "/b": "012345" });
  fs.remove("/b");
  assert.equal(fs.usedSize, 2);
});

test("a disk may be read-only, and run out of handles", () => {
  const fs = withFile("a");
  fs.isReadOnly = true;
  assert.throws(() => fs.publish("/a", bytes("b")), { code: "EROFS" });
  assert.throws(() => fs.remove("/a"), { code: "EROFS" });
  assert.deepEqual(tree(fs), { "/a": "a" });

  const few = new SimFs({ openFilesMax: 1 });
  const file = few.open("/a", "createNew");
  assert.throws(() => few.open("/a", "read"), { code: "EMFILE" });
  file.close();
  file.close();
  few.open("/a", "read");
  assert.throws(() => few.open("/a", "read"), { code: "EMFILE" });
});

test("a disk that freezes takes no change behind the first fault", () => {
  const fs = new SimFs({ freezeOnFault: true });
  put(fs, "/a", "abc");
  fs.armFaultOn("Rename");
  assert.throws(() => fs.rename("/a", "/b"), { code: "EIO" });
  assert.throws(() => fs.remove("/a"), { code: "EROFS", message: /frozen after a fault/ });
  assert.throws(() => fs.open("/c", "createNew"), { code: "EROFS" });
  assert.deepEqual(tree(fs), { "/a": "abc" });
  fs.disarm();
  fs.remove("/a");
  assert.ok(SIM_MUTATIONS.has("Write") && !SIM_MUTATIONS.has("Read"));
});

test("planned faults come at the same calls, whatever other kinds there are", () => {
  const failing = (faults: ConstructorParameters<typeof SimFs>[0]) => {
    const fs = new SimFs(faults);
    const failed: number[] = [];
    for (let i = 0; i < 200; i++) {
      try {
        fs.readFile("/none", 0);
      } catch (error) {
        if ((error as { code: string }).code === "EIO") failed.push(i);
      }
      try {
        fs.syncDir("/");
      } catch {
        // Another kind.
      }
    }
    return failed;
  };
  const alone = failing({ seed: 7, faults: { readError: 0.1 } });
  assert.ok(alone.length > 5 && alone.length < 40, `${alone}`);
  assert.deepEqual(failing({ seed: 7, faults: { readError: 0.1, dirSyncError: 0.5 } }), alone);
  assert.notDeepEqual(failing({ seed: 8, faults: { readError: 0.1 } }), alone);
  assert.deepEqual(failing({ seed: 7 }), []);
});

test("a plan is refused when it names no fault, or no probability", () => {
  assert.throws(() => new SimFs({ faults: { meteor: 1 } as never }), RangeError);
  assert.throws(() => new SimFs({ faults: { readError: 2 } }), RangeError);
});

test("the trace has every step of a publication, and marks where they were made", () => {
  const fs = new SimFs();
  fs.mark("begin", { n: 1 });
  fs.publish("/a", bytes("abc"));
  fs.mark("end");
  const types = fs.trace.map((step) => step.type === "mark" ? step.label : step.type);
  assert.deepEqual(types, ["begin", "create", "write", "sync", "rename", "syncDir", "end"]);
});
