/**
 * What every {@linkcode StoreFs} has to keep: one named case per promise in `fs.ts`.
 *
 * Each case gets an empty directory of its own and uses nothing but the public interface, so the same
 * list holds the adapters, the file system in memory and a simulator to the same behaviour. A case that
 * cannot run somewhere is *qualified*: reported, and never counted as passed.
 *
 * @module
 */
import assert from "node:assert/strict";
import { crc32 } from "./checksum.ts";
import { type FileKind, IoFault, type OpenMode, type StoreFs } from "./fs.ts";
import { isStagedName } from "./staged_file.ts";

/** Where a case runs. */
export interface ContractWorld {
  /** The file system under test. */
  readonly fs: StoreFs;
  /** An empty directory for this case alone. */
  readonly dir: string;
  /** Makes a symbolic link, where links can be made. */
  readonly symlink?: (target: string, path: string) => void;
}

/** One promise. */
export interface ContractCase {
  /** The promise in words; unique. */
  readonly name: string;
  /** What it is about. */
  readonly family: "handles" | "names" | "publish" | "copies" | "symlinks" | "locks";
  /** Throws when the promise is broken. */
  readonly run: (world: ContractWorld) => void;
}

/** How a case ended. */
export type ContractVerdict =
  | { readonly type: "passed" }
  | { readonly type: "failed"; readonly error: unknown }
  | { readonly type: "qualified"; readonly reason: string };

/** Runs one case and says how it ended. */
export function judge(contractCase: ContractCase, world: ContractWorld): ContractVerdict {
  try {
    contractCase.run(world);
    return { type: "passed" };
  } catch (error) {
    if (error instanceof Qualified) return { type: "qualified", reason: error.message };
    return { type: "failed", error };
  }
}

/** Every promise, in the order of `fs.ts`. */
export const CONTRACT: readonly ContractCase[] = [
  ...family("handles", {
    'open("createNew") makes an empty file': ({ fs, dir }) => {
      const file = fs.open(`${dir}/a`, "createNew");
      assert.equal(file.path, `${dir}/a`);
      assert.equal(file.size(), 0);
      file.close();
      assert.deepEqual(fs.stat(`${dir}/a`), { size: 0, kind: "file" });
    },
    'open("createNew") refuses a name that is taken': ({ fs, dir }) => {
      put(fs, `${dir}/a`, "old");
      fs.createDirAll(`${dir}/d`);
      fault("EEXIST", () => fs.open(`${dir}/a`, "createNew"));
      fault("EEXIST", () => fs.open(`${dir}/d`, "createNew"));
      assert.equal(get(fs, `${dir}/a`), "old");
    },
    "open() needs an existing file, or for a new one its directory": ({ fs, dir }) => {
      fault("ENOENT", () => fs.open(`${dir}/a`, "read"));
      fault("ENOENT", () => fs.open(`${dir}/a`, "write"));
      fault("ENOENT", () => fs.open(`${dir}/none/a`, "createNew"));
      assert.deepEqual(fs.list(dir), []);
    },
    "open() of a directory is EISDIR, and through a file ENOTDIR": ({ fs, dir }) => {
      fs.createDirAll(`${dir}/d`);
      put(fs, `${dir}/a`, "a");
      fault("EISDIR", () => fs.open(`${dir}/d`, "read"));
      fault("EISDIR", () => fs.open(`${dir}/d`, "write"));
      for (const mode of MODES) fault("ENOTDIR", () => fs.open(`${dir}/a/b`, mode));
    },
    "a file opened for reading cannot be changed": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "old");
      withFile(fs, `${dir}/a`, "read", (file) => {
        fault("EBADF", () => file.writeAt(bytes("new"), 0, 3, 0));
        fault("EBADF", () => file.append(bytes("new")));
        assert.throws(() => file.resize(0), IoFault);
      });
      assert.equal(get(fs, `${dir}/a`), "old");
    },
    "writeAt() writes its part of the source at its position, and nothing else": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "0123456789");
      withFile(fs, `${dir}/a`, "write", (file) => file.writeAt(bytes("abcdef"), 1, 3, 4));
      assert.equal(get(fs, `${dir}/a`), "0123bcd789");
    },
    "writeAt() past the end fills the gap with zeros": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "ab");
      withFile(fs, `${dir}/a`, "write", (file) => file.writeAt(bytes("c"), 0, 1, 5));
      assert.equal(get(fs, `${dir}/a`), "ab\0\0\0c");
    },
    "append() adds at the end, wherever others have moved it": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "a");
      withFile(fs, `${dir}/a`, "write", (one) =>
        withFile(fs, `${dir}/a`, "write", (two) => {
          one.append(bytes("b"));
          two.append(bytes("cd"));
          one.append(bytes("e"));
          one.append(bytes(""));
          assert.equal(one.size(), 5);
        }));
      assert.equal(get(fs, `${dir}/a`), "abcde");
    },
    "readAt() fills the part of the target it was given, and nothing else": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "0123456789");
      withFile(fs, `${dir}/a`, "read", (file) => {
        const target = bytes("......");
        assert.equal(file.readAt(target, 2, 3, 4), 3);
        assert.equal(text(target), "..456.");
      });
    },
    "readAt() is short at the end, and 0 past it": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "0123456789");
      withFile(fs, `${dir}/a`, "read", (file) => {
        const target = bytes("....");
        assert.equal(file.readAt(target, 0, 4, 8), 2);
        assert.equal(text(target), "89..");
        assert.equal(file.readAt(target, 0, 4, 10), 0);
        assert.equal(file.readAt(target, 0, 4, 1_000_000), 0);
        assert.equal(text(target), "89..");
      });
    },
    "reads and writes of nothing do nothing": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "abc");
      withFile(fs, `${dir}/a`, "write", (file) => {
        const target = bytes("..");
        assert.equal(file.readAt(target, 2, 0, 0), 0);
        file.writeAt(target, 2, 0, 100);
        file.writeAt(target, 0, 0, 0);
      });
      assert.equal(get(fs, `${dir}/a`), "abc");
    },
    "handles do not move each other": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "0123456789");
      withFile(fs, `${dir}/a`, "write", (one) =>
        withFile(fs, `${dir}/a`, "read", (two) => {
          const target = bytes("...");
          assert.equal(two.readAt(target, 0, 3, 3), 3);
          one.writeAt(bytes("x"), 0, 1, 0);
          assert.equal(one.readAt(target, 0, 3, 7), 3);
          assert.equal(two.readAt(target, 0, 3, 0), 3);
          assert.equal(text(target), "x12");
        }));
    },
    "a position or size that is not a whole number from 0 up is a RangeError": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "abc");
      withFile(fs, `${dir}/a`, "write", (file) => {
        for (const wrong of [-1, 0.5, NaN, Infinity]) {
          assert.throws(() => file.readAt(bytes("."), 0, 1, wrong), RangeError);
          assert.throws(() => file.writeAt(bytes("x"), 0, 1, wrong), RangeError);
          assert.throws(() => file.resize(wrong), RangeError);
        }
      });
      assert.equal(get(fs, `${dir}/a`), "abc");
    },
    "bytes outside the array are a RangeError": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "abc");
      withFile(fs, `${dir}/a`, "write", (file) => {
        assert.throws(() => file.readAt(bytes("."), 0, 2, 0), RangeError);
        assert.throws(() => file.writeAt(bytes("xy"), 1, 2, 0), RangeError);
      });
      assert.equal(get(fs, `${dir}/a`), "abc");
    },
    "resize() cuts, and extends with zeros, even where bytes have been": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "0123456789");
      withFile(fs, `${dir}/a`, "write", (file) => {
        file.resize(4);
        assert.equal(file.size(), 4);
        file.resize(6);
        assert.equal(get(fs, `${dir}/a`), "0123\0\0");
        file.resize(2);
        file.writeAt(bytes("x"), 0, 1, 5);
        assert.equal(get(fs, `${dir}/a`), "01\0\0\0x");
      });
    },
    "sync() succeeds in both modes and keeps the bytes": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "abc");
      withFile(fs, `${dir}/a`, "write", (file) => {
        file.append(bytes("d"));
        file.sync("data");
        file.append(bytes("e"));
        file.sync("all");
      });
      withFile(fs, `${dir}/a`, "read", (file) => file.sync("all"));
      assert.equal(get(fs, `${dir}/a`), "abcde");
    },
    "what one handle writes, all see at once": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "");
      withFile(fs, `${dir}/a`, "read", (reader) =>
        withFile(fs, `${dir}/a`, "write", (writer) => {
          writer.append(bytes("abc"));
          const target = bytes("...");
          assert.equal(reader.size(), 3);
          assert.equal(reader.readAt(target, 0, 3, 0), 3);
          assert.equal(text(target), "abc");
          assert.deepEqual(fs.stat(`${dir}/a`), { size: 3, kind: "file" });
        }));
    },
    "close() can be called twice, and then everything else is EBADF": ({ fs, dir }) => {
      const file = fs.open(`${dir}/a`, "createNew");
      file.append(bytes("abc"));
      file.close();
      file.close();
      fault("EBADF", () => file.readAt(bytes("."), 0, 1, 0));
      fault("EBADF", () => file.writeAt(bytes("x"), 0, 1, 0));
      fault("EBADF", () => file.append(bytes("x")));
      fault("EBADF", () => file.sync("all"));
      fault("EBADF", () => file.size());
      fault("EBADF", () => file.resize(0));
      assert.equal(get(fs, `${dir}/a`), "abc");
    },
    "a removed or replaced file stays readable through its handle": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "old a");
      put(fs, `${dir}/b`, "old b");
      withFile(fs, `${dir}/a`, "read", (a) =>
        withFile(fs, `${dir}/b`, "read", (b) => {
          fs.remove(`${dir}/a`);
          fs.publish(`${dir}/b`, bytes("new b"));
          const target = bytes(".....");
          assert.equal(a.readAt(target, 0, 5, 0), 5);
          assert.equal(text(target), "old a");
          assert.equal(b.readAt(target, 0, 5, 0), 5);
          assert.equal(text(target), "old b");
        }));
    },
    "a failure says what was done, where, and how it failed": ({ fs, dir }) => {
      const failure = fault("ENOENT", () => fs.open(`${dir}/a`, "read"));
      assert.equal(failure.op, "open");
      assert.equal(failure.path, `${dir}/a`);
      assert.match(failure.message, /^Cannot open ".*a": ENOENT/);
    },
  }),

  ...family("names", {
    "createDirAll() makes parents, and accepts what is there": ({ fs, dir }) => {
      fs.createDirAll(`${dir}/d/e/f`);
      fs.createDirAll(`${dir}/d/e/f`);
      fs.createDirAll(dir);
      assert.equal(fs.stat(`${dir}/d/e/f`)?.kind, "dir");
    },
    "createDirAll() refuses a file in the way": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "a");
      fault("EEXIST", () => fs.createDirAll(`${dir}/a`));
      fault("ENOTDIR", () => fs.createDirAll(`${dir}/a/b`));
      assert.equal(get(fs, `${dir}/a`), "a");
    },
    "list() sorts by code unit and says what things are": ({ fs, dir }) => {
      for (const name of ["é", "b", "a10", "a9", "B", "~"]) put(fs, `${dir}/${name}`, "");
      fs.createDirAll(`${dir}/a`);
      assert.deepEqual(listing(fs, dir), [
        ["B", "file"],
        ["a", "dir"],
        ["a10", "file"],
        ["a9", "file"],
        ["b", "file"],
        ["~", "file"],
        ["é", "file"],
      ]);
      assert.deepEqual(fs.list(`${dir}/a`), []);
    },
    "list() is ENOTDIR on a file and ENOENT on nothing": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "a");
      fault("ENOTDIR", () => fs.list(`${dir}/a`));
      fault("ENOENT", () => fs.list(`${dir}/none`));
    },
    "stat() tells absent from unreachable": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "abc");
      assert.deepEqual(fs.stat(`${dir}/a`), { size: 3, kind: "file" });
      assert.equal(fs.stat(dir)?.kind, "dir");
      assert.equal(fs.stat(`${dir}/b`), undefined);
      assert.equal(fs.stat(`${dir}/none/b`), undefined);
      fault("ENOTDIR", () => fs.stat(`${dir}/a/b`));
    },
    "canonicalize() resolves dots, and needs the path to exist": ({ fs, dir }) => {
      const root = fs.canonicalize(dir);
      fs.createDirAll(`${dir}/d/e`);
      assert.equal(fs.canonicalize(`${dir}/d/./e/../e/`), `${root}/d/e`);
      assert.equal(fs.canonicalize(root), root);
      fault("ENOENT", () => fs.canonicalize(`${dir}/none`));
    },
    "readFile() reads it all, up to exactly sizeMax": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "0123456789");
      put(fs, `${dir}/b`, "");
      assert.equal(text(fs.readFile(`${dir}/a`, 10)), "0123456789");
      fault("EFBIG", () => fs.readFile(`${dir}/a`, 9));
      assert.equal(fs.readFile(`${dir}/b`, 0).byteLength, 0);
    },
    "readFile() says ENOENT only when nothing is there": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "a");
      fault("ENOENT", () => fs.readFile(`${dir}/none`, 10));
      fault("EISDIR", () => fs.readFile(dir, 10));
      fault("ENOTDIR", () => fs.readFile(`${dir}/a/b`, 10));
    },
    "remove() removes a file, and a file made anew starts empty": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "abc");
      fs.remove(`${dir}/a`);
      assert.equal(fs.stat(`${dir}/a`), undefined);
      fault("ENOENT", () => fs.remove(`${dir}/a`));
      withFile(fs, `${dir}/a`, "createNew", (file) => assert.equal(file.size(), 0));
    },
    "remove() never removes a directory, empty or not": ({ fs, dir }) => {
      fs.createDirAll(`${dir}/empty`);
      fs.createDirAll(`${dir}/full`);
      put(fs, `${dir}/full/a`, "a");
      fault("EISDIR", () => fs.remove(`${dir}/empty`));
      fault("EISDIR", () => fs.remove(`${dir}/full`));
      fault("EISDIR", () => fs.removeIfPresent(`${dir}/empty`));
      assert.deepEqual(listing(fs, dir), [["empty", "dir"], ["full", "dir"]]);
    },
    "removeIfPresent() says whether something was there": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "a");
      assert.equal(fs.removeIfPresent(`${dir}/a`), true);
      assert.equal(fs.removeIfPresent(`${dir}/a`), false);
      assert.equal(fs.removeIfPresent(`${dir}/none/a`), false);
    },
    "removeDirAll() removes everything below, and accepts nothing": ({ fs, dir }) => {
      fs.createDirAll(`${dir}/d/e/f`);
      put(fs, `${dir}/d/a`, "a");
      put(fs, `${dir}/d/e/b`, "b");
      put(fs, `${dir}/other`, "o");
      fs.removeDirAll(`${dir}/d`);
      fs.removeDirAll(`${dir}/d`);
      assert.deepEqual(listing(fs, dir), [["other", "file"]]);
      fault("ENOTDIR", () => fs.removeDirAll(`${dir}/other`));
      assert.equal(get(fs, `${dir}/other`), "o");
    },
    "rename() moves and replaces": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "a");
      put(fs, `${dir}/b`, "b");
      fs.createDirAll(`${dir}/d`);
      fs.rename(`${dir}/a`, `${dir}/b`);
      fs.rename(`${dir}/b`, `${dir}/d/c`);
      assert.deepEqual(listing(fs, dir), [["d", "dir"]]);
      assert.equal(get(fs, `${dir}/d/c`), "a");
    },
    "rename() onto itself keeps the file": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "a");
      fs.rename(`${dir}/a`, `${dir}/a`);
      assert.equal(get(fs, `${dir}/a`), "a");
      fault("ENOENT", () => fs.rename(`${dir}/b`, `${dir}/b`));
    },
    "rename() between two names of one file does nothing": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "a");
      fs.link(`${dir}/a`, `${dir}/b`);
      fs.rename(`${dir}/a`, `${dir}/b`);
      assert.deepEqual(listing(fs, dir), [["a", "file"], ["b", "file"]]);
    },
    "rename() that fails leaves the source": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "a");
      fs.createDirAll(`${dir}/d`);
      fault("EISDIR", () => fs.rename(`${dir}/a`, `${dir}/d`));
      fault("ENOENT", () => fs.rename(`${dir}/a`, `${dir}/none/a`));
      fault("ENOENT", () => fs.rename(`${dir}/b`, `${dir}/c`));
      assert.deepEqual(listing(fs, dir), [["a", "file"], ["d", "dir"]]);
      assert.equal(get(fs, `${dir}/a`), "a");
    },
    "syncDir() needs a directory": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "a");
      fs.syncDir(dir);
      fault("ENOENT", () => fs.syncDir(`${dir}/none`));
      fault("ENOTDIR", () => fs.syncDir(`${dir}/a`));
    },
  }),

  ...family("publish", {
    "publish() makes a file and leaves no other name": ({ fs, dir }) => {
      fs.publish(`${dir}/a`, bytes("new"));
      fs.publish(`${dir}/empty`, bytes(""));
      assert.equal(get(fs, `${dir}/a`), "new");
      assert.equal(get(fs, `${dir}/empty`), "");
      assert.deepEqual(listing(fs, dir), [["a", "file"], ["empty", "file"]]);
    },
    "publish() replaces a file, whatever the sizes": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "the old one");
      fs.publish(`${dir}/a`, bytes("new"));
      assert.equal(get(fs, `${dir}/a`), "new");
    },
    "a stage has no final name until it is published": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "old");
      const staged = fs.stage(dir);
      staged.append(bytes("n"));
      staged.append(bytes("ew"));
      assert.equal(get(fs, `${dir}/a`), "old");
      assert.deepEqual(fs.list(dir).map(({ name }) => isStagedName(name)), [true, false]);
      staged.publish(`${dir}/a`);
      assert.equal(get(fs, `${dir}/a`), "new");
      assert.deepEqual(listing(fs, dir), [["a", "file"]]);
    },
    "a stage that is discarded leaves nothing, as often as it is discarded": ({ fs, dir }) => {
      const staged = fs.stage(dir);
      staged.append(bytes("new"));
      staged.discard();
      staged.discard();
      assert.deepEqual(fs.list(dir), []);
      fault("EBADF", () => staged.publish(`${dir}/a`));
    },
    "discarding a published stage does nothing": ({ fs, dir }) => {
      const staged = fs.stage(dir);
      staged.publish(`${dir}/a`);
      staged.discard();
      fault("EBADF", () => staged.publish(`${dir}/b`));
      assert.deepEqual(listing(fs, dir), [["a", "file"]]);
    },
    "stages do not get in each other's way": ({ fs, dir }) => {
      const one = fs.stage(dir);
      const two = fs.stage(dir);
      one.append(bytes("one"));
      two.append(bytes("two"));
      two.publish(`${dir}/b`);
      const three = fs.stage(dir);
      three.append(bytes("three"));
      one.publish(`${dir}/a`);
      three.publish(`${dir}/c`);
      assert.equal(get(fs, `${dir}/a`), "one");
      assert.equal(get(fs, `${dir}/b`), "two");
      assert.equal(get(fs, `${dir}/c`), "three");
    },
    "what a crash left staged is never reused": ({ fs, dir }) => {
      fs.stage(dir).append(bytes("left behind"));
      const [{ name }] = fs.list(dir);
      fs.publish(`${dir}/a`, bytes("new"));
      assert.equal(get(fs, `${dir}/${name}`), "left behind");
      assert.equal(get(fs, `${dir}/a`), "new");
    },
    "publish() onto a directory fails and leaves no temporary name": ({ fs, dir }) => {
      fs.createDirAll(`${dir}/d`);
      fault("EISDIR", () => fs.publish(`${dir}/d`, bytes("new")));
      assert.deepEqual(listing(fs, dir), [["d", "dir"]]);
    },
    "stage() and publish() need the directory": ({ fs, dir }) => {
      fault("ENOENT", () => fs.stage(`${dir}/none`));
      fault("ENOENT", () => fs.publish(`${dir}/none/a`, bytes("new")));
      const staged = fs.stage(dir);
      fault("ENOENT", () => staged.publish(`${dir}/none/a`));
      assert.deepEqual(fs.list(dir), []);
    },
  }),

  ...family("copies", {
    "copy() copies, and the copy is independent": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "abc");
      put(fs, `${dir}/b`, "a longer one");
      assert.equal(fs.copy(`${dir}/a`, `${dir}/b`), 3);
      withFile(fs, `${dir}/a`, "write", (file) => file.writeAt(bytes("x"), 0, 1, 0));
      assert.equal(get(fs, `${dir}/b`), "abc");
      assert.deepEqual(listing(fs, dir), [["a", "file"], ["b", "file"]]);
    },
    "copy() copies more than a buffer holds": ({ fs, dir }) => {
      const large = Uint8Array.from({ length: 2_500_000 }, (_, index) => index % 251);
      fs.publish(`${dir}/a`, large);
      assert.equal(fs.copy(`${dir}/a`, `${dir}/b`), large.byteLength);
      assert.equal(crc32(fs.readFile(`${dir}/b`, large.byteLength)), crc32(large));
    },
    "copy() of nothing is an empty file": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "");
      assert.equal(fs.copy(`${dir}/a`, `${dir}/b`), 0);
      assert.equal(get(fs, `${dir}/b`), "");
    },
    "copy() onto itself changes nothing, by any spelling or name": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "abc");
      fs.link(`${dir}/a`, `${dir}/b`);
      for (const target of ["a", "./a", "b"]) {
        assert.equal(fs.copy(`${dir}/a`, `${dir}/${target}`), 3);
        assert.equal(get(fs, `${dir}/a`), "abc");
        assert.equal(get(fs, `${dir}/b`), "abc");
      }
    },
    "copy() and clone() that fail leave everything as it was": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "a");
      fs.createDirAll(`${dir}/d`);
      const attempts = [
        (source: string, target: string) => fs.copy(source, target),
        (source: string, target: string) => fs.clone(source, target, "reflink"),
        (source: string, target: string) => fs.clone(source, target, "copy"),
      ];
      for (const attempt of attempts) {
        fault("EISDIR", () => attempt(`${dir}/a`, `${dir}/d`));
        fault("ENOENT", () => attempt(`${dir}/a`, `${dir}/none/b`));
        fault("ENOENT", () => attempt(`${dir}/none`, `${dir}/b`));
        fault("EINVAL", () => attempt(`${dir}/d`, `${dir}/b`));
        assert.deepEqual(listing(fs, dir), [["a", "file"], ["d", "dir"]]);
        assert.equal(get(fs, `${dir}/a`), "a");
      }
    },
    "link() gives the same bytes a second name": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "abc");
      fs.link(`${dir}/a`, `${dir}/b`);
      withFile(fs, `${dir}/a`, "write", (file) => file.writeAt(bytes("x"), 0, 1, 0));
      assert.equal(get(fs, `${dir}/b`), "xbc");
      fs.remove(`${dir}/a`);
      assert.equal(get(fs, `${dir}/b`), "xbc");
    },
    "link() refuses a taken name, and anything but a regular file": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "a");
      put(fs, `${dir}/b`, "b");
      fs.createDirAll(`${dir}/d`);
      fault("EEXIST", () => fs.link(`${dir}/a`, `${dir}/b`));
      fault("EEXIST", () => fs.link(`${dir}/a`, `${dir}/d`));
      fault("ENOENT", () => fs.link(`${dir}/none`, `${dir}/c`));
      fault("EINVAL", () => fs.link(`${dir}/d`, `${dir}/c`));
      assert.equal(get(fs, `${dir}/b`), "b");
    },
    "clone() never climbs above the preference, and reports what it did": ({ fs, dir }) => {
      const ladder = ["reflink", "hardlink", "copy"] as const;
      for (const preference of ladder) {
        fs.publish(`${dir}/a`, bytes("abc"));
        put(fs, `${dir}/${preference}`, "an old one");
        const strategy = fs.clone(`${dir}/a`, `${dir}/${preference}`, preference);
        assert.ok(ladder.indexOf(strategy) >= ladder.indexOf(preference), strategy);
        assert.equal(get(fs, `${dir}/${preference}`), "abc");
        withFile(fs, `${dir}/a`, "write", (file) => file.writeAt(bytes("x"), 0, 1, 0));
        const expected = strategy === "hardlink" ? "xbc" : "abc";
        assert.equal(get(fs, `${dir}/${preference}`), expected, strategy);
      }
      assert.deepEqual(fs.list(dir).filter(({ name }) => isStagedName(name)), []);
    },
    "clone() onto itself keeps the file, by any spelling or name": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "abc");
      fs.link(`${dir}/a`, `${dir}/b`);
      for (const target of ["a", "./a", "b"]) {
        for (const preference of ["hardlink", "copy"] as const) {
          fs.clone(`${dir}/a`, `${dir}/${target}`, preference);
          assert.equal(get(fs, `${dir}/a`), "abc");
          assert.deepEqual(listing(fs, dir), [["a", "file"], ["b", "file"]]);
        }
      }
    },
    "clone() by copy parts what a link had joined": ({ fs, dir }) => {
      put(fs, `${dir}/a`, "abc");
      fs.link(`${dir}/a`, `${dir}/b`);
      assert.equal(fs.clone(`${dir}/a`, `${dir}/b`, "copy"), "copy");
      withFile(fs, `${dir}/a`, "write", (file) => file.writeAt(bytes("x"), 0, 1, 0));
      assert.equal(get(fs, `${dir}/b`), "abc");
    },
  }),

  ...family("symlinks", {
    "open() and readFile() refuse a link": (world) => {
      const { fs, dir } = world;
      put(fs, `${dir}/a`, "a");
      symlink(world, `${dir}/a`, `${dir}/l`);
      fault("ELOOP", () => fs.open(`${dir}/l`, "read"));
      fault("ELOOP", () => fs.open(`${dir}/l`, "write"));
      fault("ELOOP", () => fs.readFile(`${dir}/l`, 10));
    },
    'open("createNew") takes a link for a taken name, even one to nothing': (world) => {
      const { fs, dir } = world;
      symlink(world, `${dir}/none`, `${dir}/l`);
      fault("EEXIST", () => fs.open(`${dir}/l`, "createNew"));
      assert.equal(fs.stat(`${dir}/none`), undefined);
    },
    "rejectSymlink() refuses a link, says why, and minds nothing else": (world) => {
      const { fs, dir } = world;
      put(fs, `${dir}/a`, "a");
      symlink(world, `${dir}/a`, `${dir}/l`);
      fs.rejectSymlink(`${dir}/a`, "the index");
      fs.rejectSymlink(`${dir}/none`, "the index");
      fs.rejectSymlink(dir, "the index");
      assert.match(
        fault("ELOOP", () => fs.rejectSymlink(`${dir}/l`, "the index")).message,
        /index/,
      );
    },
    "stat() and list() report the link itself": (world) => {
      const { fs, dir } = world;
      symlink(world, `${dir}/none`, `${dir}/l`);
      assert.equal(fs.stat(`${dir}/l`)?.kind, "symlink");
      assert.deepEqual(listing(fs, dir), [["l", "symlink"]]);
    },
    "canonicalize() follows links": (world) => {
      const { fs, dir } = world;
      const root = fs.canonicalize(dir);
      fs.createDirAll(`${dir}/d/e`);
      symlink(world, `${dir}/d`, `${dir}/l`);
      symlink(world, `${dir}/none`, `${dir}/m`);
      assert.equal(fs.canonicalize(`${dir}/l`), `${root}/d`);
      assert.equal(fs.canonicalize(`${dir}/l/e`), `${root}/d/e`);
      fault("ENOENT", () => fs.canonicalize(`${dir}/m`));
    },
    "a directory may be reached through a link": (world) => {
      const { fs, dir } = world;
      fs.createDirAll(`${dir}/d`);
      symlink(world, `${dir}/d`, `${dir}/l`);
      fs.publish(`${dir}/l/a`, bytes("a"));
      fs.syncDir(`${dir}/l`);
      assert.deepEqual(listing(fs, `${dir}/l`), [["a", "file"]]);
      assert.equal(get(fs, `${dir}/d/a`), "a");
    },
    "remove() removes the link, and removeDirAll() does not follow one": (world) => {
      const { fs, dir } = world;
      fs.createDirAll(`${dir}/d`);
      fs.createDirAll(`${dir}/other`);
      put(fs, `${dir}/other/a`, "a");
      symlink(world, `${dir}/other`, `${dir}/d/l`);
      symlink(world, `${dir}/other`, `${dir}/l`);
      fault("ELOOP", () => fs.removeDirAll(`${dir}/l`));
      fs.remove(`${dir}/l`);
      fs.removeDirAll(`${dir}/d`);
      assert.deepEqual(listing(fs, dir), [["other", "dir"]]);
      assert.equal(get(fs, `${dir}/other/a`), "a");
    },
    "publish() and copies do not write through a link": (world) => {
      const { fs, dir } = world;
      put(fs, `${dir}/a`, "old");
      put(fs, `${dir}/b`, "new");
      symlink(world, `${dir}/a`, `${dir}/l`);
      fault("ELOOP", () => fs.publish(`${dir}/l`, bytes("new")));
      fault("ELOOP", () => fs.copy(`${dir}/b`, `${dir}/l`));
      fault("ELOOP", () => fs.clone(`${dir}/b`, `${dir}/l`, "hardlink"));
      assert.equal(get(fs, `${dir}/a`), "old");
      assert.deepEqual(listing(fs, dir), [["a", "file"], ["b", "file"], ["l", "symlink"]]);
    },
    "a link is no regular file to copy from": (world) => {
      const { fs, dir } = world;
      put(fs, `${dir}/a`, "a");
      symlink(world, `${dir}/a`, `${dir}/l`);
      fault("EINVAL", () => fs.copy(`${dir}/l`, `${dir}/b`));
      fault("EINVAL", () => fs.clone(`${dir}/l`, `${dir}/b`, "reflink"));
      fault("EINVAL", () => fs.link(`${dir}/l`, `${dir}/b`));
      assert.equal(fs.stat(`${dir}/b`), undefined);
    },
    "tryLock() refuses a link, even one to nothing": (world) => {
      const { fs, dir } = world;
      put(fs, `${dir}/a`, "a");
      symlink(world, `${dir}/a`, `${dir}/l`);
      symlink(world, `${dir}/none`, `${dir}/m`);
      fault("ELOOP", () => fs.tryLock(`${dir}/l`));
      fault("ELOOP", () => fs.tryLock(`${dir}/m`));
      assert.equal(fs.stat(`${dir}/none`), undefined);
      fs.tryLock(`${dir}/a`)!.release();
    },
  }),

  ...family("locks", {
    "tryLock() lets one in, and the next one after release()": ({ fs, dir }) => {
      const lock = fs.tryLock(`${dir}/lock`);
      assert.equal(lock?.path, `${dir}/lock`);
      assert.equal(fs.tryLock(`${dir}/lock`), undefined);
      assert.equal(fs.tryLock(`${dir}/./lock`), undefined);
      lock.release();
      const next = fs.tryLock(`${dir}/lock`);
      assert.ok(next);
      next.release();
    },
    "release() twice does not free the lock of the next one": ({ fs, dir }) => {
      const first = fs.tryLock(`${dir}/lock`)!;
      first.release();
      const second = fs.tryLock(`${dir}/lock`)!;
      first.release();
      assert.equal(fs.tryLock(`${dir}/lock`), undefined);
      second.release();
    },
    "a lock outlives other handles of its file": ({ fs, dir }) => {
      const lock = fs.tryLock(`${dir}/lock`)!;
      withFile(fs, `${dir}/lock`, "write", (file) => assert.equal(file.size(), 0));
      withFile(fs, `${dir}/lock`, "read", () => {});
      assert.equal(fs.tryLock(`${dir}/lock`), undefined);
      lock.release();
    },
    "a lock file keeps its bytes and stays behind": ({ fs, dir }) => {
      put(fs, `${dir}/lock`, "abc");
      fs.tryLock(`${dir}/lock`)!.release();
      assert.equal(get(fs, `${dir}/lock`), "abc");
      fs.tryLock(`${dir}/new`)!.release();
      assert.equal(get(fs, `${dir}/new`), "");
    },
    "locks on two files have nothing to do with each other": ({ fs, dir }) => {
      const one = fs.tryLock(`${dir}/one`)!;
      const two = fs.tryLock(`${dir}/two`)!;
      assert.ok(one && two);
      one.release();
      assert.equal(fs.tryLock(`${dir}/two`), undefined);
      two.release();
    },
    "a lock is on the file, so a file made anew is free": ({ fs, dir }) => {
      const old = fs.tryLock(`${dir}/lock`)!;
      fs.remove(`${dir}/lock`);
      const fresh = fs.tryLock(`${dir}/lock`)!;
      assert.ok(fresh);
      old.release();
      assert.equal(fs.tryLock(`${dir}/lock`), undefined);
      fresh.release();
    },
    "tryLock() needs the directory, and a file": ({ fs, dir }) => {
      fs.createDirAll(`${dir}/d`);
      fault("ENOENT", () => fs.tryLock(`${dir}/none/lock`));
      fault("EISDIR", () => fs.tryLock(`${dir}/d`));
    },
  }),
];

/** Thrown by a case that cannot run in this world. */
class Qualified extends Error {}

const MODES: readonly OpenMode[] = ["read", "write", "createNew"];

function family(
  family: ContractCase["family"],
  cases: Record<string, ContractCase["run"]>,
): ContractCase[] {
  return Object.entries(cases).map(([name, run]) => ({ name, family, run }));
}

function fault(code: string, action: () => unknown): IoFault {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof IoFault, `expected ${code}, got ${error}`);
    assert.equal(error.code, code, error.message);
    return error;
  }
  assert.fail(`expected ${code}, and nothing failed`);
}

function symlink(world: ContractWorld, target: string, path: string): void {
  if (!world.symlink) throw new Qualified("no way to make a symbolic link here");
  world.symlink(target, path);
}

function withFile<T>(
  fs: StoreFs,
  path: string,
  mode: OpenMode,
  action: (file: ReturnType<StoreFs["open"]>) => T,
): T {
  const file = fs.open(path, mode);
  try {
    return action(file);
  } finally {
    file.close();
  }
}

function put(fs: StoreFs, path: string, content: string): void {
  withFile(fs, path, "createNew", (file) => file.append(bytes(content)));
}

function get(fs: StoreFs, path: string): string {
  return text(fs.readFile(path, 1_000_000));
}

function listing(fs: StoreFs, path: string): [name: string, kind: FileKind][] {
  return fs.list(path).map(({ name, kind }) => [name, kind]);
}

function bytes(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}

function text(content: Uint8Array): string {
  return new TextDecoder().decode(content);
}
