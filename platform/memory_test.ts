import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs, type MemoryOp } from "./memory.ts";

test("failNext() fails the nth matching call, once, and counts it", () => {
  const fs = withFile("a");
  const file = fs.open("/a", "write");
  fs.failNext({ op: "sync", code: "EIO", nth: 3 });
  file.sync("all");
  file.sync("data");
  assert.equal(fs.faultsFired, 0);
  assert.throws(() => file.sync("all"), { code: "EIO", op: "sync", path: "/a" });
  file.sync("all");
  assert.equal(fs.faultsFired, 1);
});

test("failNext() counts only calls on the path it was given", () => {
  const fs = withFile("a");
  fs.publish("/b", bytes("b"));
  fs.failNext({ op: "open", code: "EMFILE", path: "b" });
  fs.open("/a", "read").close();
  assert.throws(() => fs.open("/b", "read"), { code: "EMFILE" });
});

test("a failing writeAt() lets through the bytes it was told to", () => {
  const fs = withFile("0123456789");
  const file = fs.open("/a", "write");
  fs.failNext({ op: "writeAt", code: "EIO" });
  assert.throws(() => file.writeAt(bytes("abcdef"), 0, 6, 2), { code: "EIO" });
  assert.equal(text(fs, "/a"), "0123456789");

  fs.failNext({ op: "writeAt", code: "ENOSPC", after: 2 });
  assert.throws(() => file.writeAt(bytes("abcdef"), 1, 5, 9), { code: "ENOSPC" });
  assert.equal(text(fs, "/a"), "012345678bc");

  fs.failNext({ op: "writeAt", code: "ENOSPC", after: 100 });
  assert.throws(() => file.append(bytes("xyz")), { code: "ENOSPC" });
  assert.equal(text(fs, "/a"), "012345678bcxyz");
});

test("publish() that fails at any step before the rename leaves the old file alone", () => {
  const steps: MemoryOp[] = [
    "stage",
    "open",
    "writeAt",
    "sync",
    "publish",
    "rejectSymlink",
    "rename",
  ];
  for (const op of steps) {
    const fs = withFile("old");
    fs.failNext({ op, code: "EIO" });
    assert.throws(() => fs.publish("/a", bytes("new")), { code: "EIO", op });
    assert.equal(text(fs, "/a"), "old", op);
    assert.deepEqual(fs.list("/").map(({ name }) => name), ["a"], op);
  }
});

test("publish() that cannot sync the directory has published all the same", () => {
  const fs = withFile("old");
  fs.failNext({ op: "syncDir", code: "EIO" });
  assert.throws(() => fs.publish("/a", bytes("new")), { code: "EIO", op: "syncDir" });
  assert.equal(text(fs, "/a"), "new");
  assert.deepEqual(fs.list("/").map(({ name }) => name), ["a"]);
});

test("publish() reports the first failure when cleaning up fails too", () => {
  const fs = withFile("old");
  fs.failNext({ op: "sync", code: "EIO" });
  fs.failNext({ op: "remove", code: "EROFS" });
  assert.throws(() => fs.publish("/a", bytes("new")), { code: "EIO", op: "sync" });
  assert.equal(fs.faultsFired, 2);
});

test("every operation can be made to fail, and then does nothing", () => {
  const attempts: Record<Exclude<MemoryOp, "publish" | "writeAt">, (fs: MemoryFs) => unknown> = {
    canonicalize: (fs) => fs.canonicalize("/a"),
    clone: (fs) => fs.clone("/a", "/b", "reflink"),
    copy: (fs) => fs.copy("/a", "/b"),
    createDirAll: (fs) => fs.createDirAll("/d"),
    link: (fs) => fs.link("/a", "/b"),
    list: (fs) => fs.list("/"),
    open: (fs) => fs.open("/b", "createNew"),
    readAt: (fs) => fs.open("/a", "read").readAt(new Uint8Array(1), 0, 1, 0),
    readFile: (fs) => fs.readFile("/a", 10),
    rejectSymlink: (fs) => fs.rejectSymlink("/a", "a test"),
    remove: (fs) => fs.removeIfPresent("/a"),
    removeDirAll: (fs) => fs.removeDirAll("/full"),
    rename: (fs) => fs.rename("/a", "/b"),
    resize: (fs) => fs.open("/a", "write").resize(0),
    size: (fs) => fs.open("/a", "read").size(),
    stage: (fs) => fs.stage("/"),
    stat: (fs) => fs.stat("/a"),
    sync: (fs) => fs.open("/a", "write").sync("data"),
    syncDir: (fs) => fs.syncDir("/"),
    tryLock: (fs) => fs.tryLock("/lock"),
  };
  for (const [op, attempt] of Object.entries(attempts)) {
    const fs = withFile("old");
    fs.createDirAll("/full");
    fs.failNext({ op: op as MemoryOp, code: "EIO" });
    assert.throws(() => attempt(fs), { name: "IoFault", code: "EIO", op });
    assert.deepEqual(fs.list("/").map(({ name }) => name), ["a", "full"], op);
    assert.equal(text(fs, "/a"), "old", op);
    attempt(fs);
  }
});

test("snapshot() is what the next process finds: no locks, no faults, and its own bytes", () => {
  const fs = withFile("abc");
  fs.createDirAll("/d/e");
  fs.publish("/d/e/f", bytes("f"));
  fs.link("/a", "/d/b");
  fs.symlink("/a", "/l");
  fs.tryLock("/lock");
  fs.failNext({ op: "open", code: "EIO" });

  const after = fs.snapshot();
  fs.remove("/d/e/f");
  const file = after.open("/a", "write");
  file.append(bytes("d"));

  assert.equal(text(fs, "/a"), "abc");
  assert.equal(text(after, "/d/e/f"), "f");
  assert.equal(text(after, "/d/b"), "abcd", "two names are still one file");
  assert.equal(after.stat("/l")?.kind, "symlink");
  assert.ok(after.tryLock("/lock"));
  assert.equal(fs.tryLock("/lock"), undefined);
});

test("links in a circle end in ELOOP", () => {
  const fs = new MemoryFs();
  fs.symlink("/two", "/one");
  fs.symlink("one", "/two");
  assert.throws(() => fs.list("/one"), { code: "ELOOP" });
  assert.throws(() => fs.readFile("/one/a", 10), { code: "ELOOP" });
});

test("a link's target may be relative, and climb", () => {
  const fs = new MemoryFs();
  fs.createDirAll("/d/e");
  fs.publish("/d/a", bytes("a"));
  fs.symlink("../../d", "/d/e/up");
  assert.equal(text(fs, "/d/e/up/a"), "a");
  assert.equal(fs.canonicalize("/d/e/up/a"), "/d/a");
});

function withFile(content: string): MemoryFs {
  const fs = new MemoryFs();
  fs.publish("/a", bytes(content));
  return fs;
}

function bytes(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}

function text(fs: MemoryFs, path: string): string {
  return new TextDecoder().decode(fs.readFile(path, 1_000));
}
