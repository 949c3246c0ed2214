import assert from "node:assert/strict";
import { renameSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { NodeFs } from "./node_fs.ts";
import { runtime } from "./runtime.ts";
import { inTempDir } from "./testdata/processes.ts";

const { fs } = runtime;

// Linux has devices that fail on demand.
if (process.platform === "linux") {
  test("a full disk is ENOSPC", () => {
    const file = fs.open("/dev/full", "write");
    assert.throws(() => file.writeAt(new Uint8Array(8), 0, 8, 0), {
      name: "IoFault",
      code: "ENOSPC",
      op: "writeAt",
      path: "/dev/full",
    });
    file.close();
  });

  test("a sync that the system refuses is reported with its code", () => {
    const file = fs.open("/dev/null", "write");
    assert.throws(() => file.sync("all"), { name: "IoFault", code: "EINVAL", op: "sync" });
    assert.throws(() => file.sync("data"), { name: "IoFault", code: "EINVAL", op: "sync" });
    file.close();
  });

  test("list() calls a device what it is: something else", () => {
    assert.equal(fs.list("/dev").find(({ name }) => name === "null")?.kind, "other");
    assert.equal(fs.stat("/dev/null")?.kind, "other");
  });
}

test("positions go past 4 GiB", () =>
  inTempDir((dir) => {
    const position = 2 ** 32 + 10;
    const file = fs.open(`${dir}/sparse`, "createNew");
    file.writeAt(new Uint8Array([7]), 0, 1, position);
    assert.equal(file.size(), position + 1);
    const target = new Uint8Array(2);
    assert.equal(file.readAt(target, 0, 2, position - 1), 2);
    assert.deepEqual([...target], [0, 7]);
    file.close();
  }));

test("a closed file does not write to the file that got its descriptor", () =>
  inTempDir((dir) => {
    const first = fs.open(`${dir}/first`, "createNew");
    first.close();
    const second = fs.open(`${dir}/second`, "createNew");
    assert.throws(() => first.append(new Uint8Array(8)), { code: "EBADF" });
    first.close();
    second.append(new Uint8Array(1));
    assert.equal(second.size(), 1);
    second.close();
  }));

test("a name that is too long passes its code through", () =>
  inTempDir((dir) => {
    const path = `${dir}/${"a".repeat(300)}`;
    assert.throws(() => fs.open(path, "createNew"), { name: "IoFault", code: "ENAMETOOLONG" });
  }));

test("createDirAll() syncs above what is missing or empty, before anything is in it", () =>
  inTempDir((root) => {
    const synced: string[] = [];
    class Watched extends ReplacingFs {
      override syncDir(path: string): void {
        synced.push(path);
        super.syncDir(path);
      }
    }
    const watched = new Watched();
    const made = (path: string): string[] => {
      synced.length = 0;
      watched.createDirAll(path);
      return synced.map((directory) => directory.replace(root, "root"));
    };
    writeFileSync(`${root}/file`, "");
    assert.deepEqual(made(`${root}/a/b`), ["root", "root/a"]);
    assert.deepEqual(made(`${root}/a/b`), ["root/a"]);
    assert.deepEqual(made(`${root}/a`), []);
    writeFileSync(`${root}/a/b/file`, "");
    assert.deepEqual(made(`${root}/a/b`), []);
    assert.deepEqual(made(`${root}/a/c`), ["root/a"]);
  }));

test("tryLock() starts over when the file is replaced under it, and gives up in the end", () =>
  inTempDir((dir) => {
    const fs = new ReplacingFs();
    fs.replacements = 2;
    const lock = fs.tryLock(`${dir}/lock`)!;
    assert.equal(fs.unlocked, 2);
    lock.release();
    assert.equal(fs.unlocked, 3);

    fs.replacements = 100;
    assert.throws(() => fs.tryLock(`${dir}/lock`), { name: "IoFault", code: "EBUSY" });
    assert.equal(fs.unlocked, 3 + 100 - fs.replacements);
  }));

/** Somebody else puts a new file in place of the lock file, between our opening and locking it. */
class ReplacingFs extends NodeFs {
  readonly name = "replacing";
  replacements = 0;
  unlocked = 0;

  protected override lockDescriptor(path: string): () => void {
    if (this.replacements > 0) {
      this.replacements--;
      writeFileSync(`${path}.new`, "");
      renameSync(`${path}.new`, path);
    }
    return () => void this.unlocked++;
  }
}
