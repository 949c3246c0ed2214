// Which images each policy allows, and that it finds all of them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CRASH_POLICIES, type CrashPolicy, type WalkLimits } from "./crash_images.ts";
import { ContentPool, ImageSet } from "./image_set.ts";
import { SimFs } from "./sim_fs.ts";

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** What is on a disk, in one line; zeros are dots. */
function shown(fs: SimFs): string {
  return fs.list("/").filter(({ kind }) => kind === "file").map(({ name }) => {
    const text = new TextDecoder("latin1").decode(fs.readFile(`/${name}`, 1_000_000));
    return `${name}=${text.replaceAll("\0", ".")}`;
  }).join(" ");
}

/** All images, without those that look the same. */
function images(fs: SimFs, policy: CrashPolicy, limit = 5_000): string[] {
  return [...new Set([...fs.crashImages(policy, { limit })].map(shown))].sort();
}

/** A file with durable bytes "0123", "ab" and then "cd" written behind them. */
function appended(): SimFs {
  const fs = new SimFs();
  fs.publish("/a", bytes("0123"));
  const file = fs.open("/a", "write");
  file.append(bytes("ab"));
  file.append(bytes("cd"));
  return fs;
}

test("processKill leaves everything, and a power cut behind it may still take it", () => {
  const fs = appended();
  fs.rename("/a", "/b");
  const after = fs.crash("processKill");
  assert.equal(shown(after), "b=0123abcd");
  assert.deepEqual(images(after, "durable"), ["a=0123"]);
  const file = after.open("/b", "write");
  file.sync("data");
  assert.deepEqual(images(after, "durable"), ["a=0123abcd"]);
  after.syncDir("/");
  assert.deepEqual(images(after, "durable"), ["b=0123abcd"]);
});

test("ordered leaves the first so many writes of a file, and no name", () => {
  const fs = appended();
  fs.rename("/a", "/b");
  assert.deepEqual(images(fs, "ordered"), ["a=0123", "a=0123ab", "a=0123abcd"]);
});

test("anyPrefix cuts at every byte, and keeps the first names of a directory", () => {
  const fs = appended();
  assert.deepEqual(images(fs, "anyPrefix"), [
    "a=0123",
    "a=0123a",
    "a=0123ab",
    "a=0123abc",
    "a=0123abcd",
  ]);
  const names = new SimFs();
  names.publish("/a", bytes("a"));
  names.publish("/b", bytes("b"));
  names.rename("/a", "/c");
  names.remove("/b");
  assert.deepEqual(images(names, "anyPrefix"), ["a=a b=b", "b=b c=a", "c=a"]);
  assert.deepEqual(images(names, "reordered"), ["a=a", "a=a b=b", "b=b c=a", "c=a"]);
});

test("reordered keeps the order of what happened to one name", () => {
  const fs = new SimFs();
  fs.publish("/a", bytes("old"));
  fs.rename("/a", "/b");
  fs.publish("/x", bytes("x"));
  // The publication has synced the directory.
  assert.deepEqual(images(fs, "reordered"), ["b=old x=x"]);
  fs.open("/c", "createNew").close();
  fs.rename("/c", "/a");
  fs.remove("/x");
  assert.deepEqual(images(fs, "reordered"), [
    "a= b=old",
    "a= b=old x=x",
    "b=old",
    "b=old c=",
    "b=old c= x=x",
    "b=old x=x",
  ]);
});

test("a file in a directory needs the directory", () => {
  const fs = new SimFs();
  fs.armFaultOn("SyncDir", 1, { instead: "lie", sticky: true });
  fs.createDirAll("/d");
  fs.open("/d/a", "createNew").close();
  const seen = new Set<string>();
  for (const image of fs.crashImages("reordered")) {
    seen.add(
      image.stat("/d") === undefined ? "none" : image.list("/d").map(({ name }) => name).join(),
    );
  }
  assert.deepEqual([...seen].sort(), ["", "a", "none"]);
});

test("subset leaves any pages, and a size that ran ahead of them", () => {
  const fs = new SimFs();
  const file = fs.open("/a", "createNew");
  fs.syncDir("/");
  const page = (letter: string) => bytes(letter.repeat(4096));
  file.append(page("a"));
  file.append(page("b"));
  const short = images(fs, "subset").map((image) => image.replace(/(.)\1{4095}/g, "$1"));
  assert.deepEqual(short, ["a=", "a=.", "a=..", "a=.b", "a=a", "a=a.", "a=ab"]);
});

test("a page may be as it was between two writes, and never a mixture", () => {
  const fs = new SimFs();
  fs.publish("/a", bytes("0000"));
  const file = fs.open("/a", "write");
  file.writeAt(bytes("11"), 0, 2, 0);
  file.writeAt(bytes("22"), 0, 2, 2);
  assert.deepEqual(images(fs, "subset"), ["a=0000", "a=1100", "a=1122"]);
});

test("a cut that is not durable may have zeroed what it cut, or not", () => {
  const fs = new SimFs();
  fs.publish("/a", bytes("0123"));
  const file = fs.open("/a", "write");
  file.resize(2);
  file.append(bytes("x"));
  assert.deepEqual(
    images(fs, "subset"),
    [
      "a=01",
      "a=01..",
      "a=01.",
      "a=012",
      "a=0123",
      "a=01x",
      "a=01x.",
    ].sort(),
  );
});

test("torn leaves any sectors, and some that are cut at a byte", () => {
  const fs = new SimFs();
  const file = fs.open("/a", "createNew");
  fs.syncDir("/");
  file.append(bytes("a".repeat(512) + "b".repeat(512)));
  const short = images(fs, "torn").map((image) => image.replace(/(.)\1{511}/g, "$1"));
  assert.deepEqual(short, ["a=", "a=..", "a=.b", "a=a.", "a=ab"]);
  // Drawn, when they are too many to enumerate.
  const cut = images(fs, "torn", 7).concat(
    ...[1, 2, 3, 4, 5].map((seed) => [...fs.crashImages("torn", { limit: 4, seed })].map(shown)),
  );
  assert.ok(cut.some((image) => /=a{1,511}\.|b{1,511}\.+$/.test(image)), "one is cut at a byte");
});

test("garbage puts noise where something was lost, and leaves durable bytes alone", () => {
  const fs = new SimFs();
  fs.publish("/a", bytes("durable"));
  const file = fs.open("/a", "write");
  file.append(bytes("x".repeat(100)));
  let noisy = 0;
  let whole = 0;
  for (const policy of ["garbage", "brokenSectors"] as const) {
    for (let seed = 0; seed < 20; seed++) {
      for (const image of fs.crashImages(policy, { seed })) {
        const content = shown(image).slice(2);
        if (policy === "garbage") assert.equal(content.slice(0, 7), "durable");
        if (!content.startsWith("durable")) whole++;
        if (!/^durable(x|\.)*$/.test(content)) noisy++;
      }
    }
  }
  assert.ok(noisy > 0, "there is noise");
  assert.ok(whole > 0, "and under brokenSectors it takes durable bytes");
});

test("lying drops each sync, and what stood on it", () => {
  const fs = new SimFs();
  const file = fs.open("/a", "createNew");
  fs.syncDir("/");
  file.append(bytes("1"));
  file.sync("all");
  file.append(bytes("2"));
  file.sync("all");
  assert.deepEqual(images(fs, "lying"), ["", "a=", "a=1", "a=12"]);
  // None, one or both of those of the file, with or without that of the directory.
  assert.equal([...fs.crashImages("lying", { limit: 6 })].length, 6);
  assert.equal([...fs.crashImages("lying", { limit: 3 })].length, 3);
});

test("crashImages() shows the disk as it was at any step, in any order", () => {
  const fs = new SimFs();
  fs.publish("/a", bytes("1"));
  const end = fs.trace.length;
  fs.remove("/a");
  fs.syncDir("/");
  fs.publish("/b", bytes("2"));
  assert.deepEqual([...fs.crashImages("durable")].map(shown), ["b=2"]);
  assert.deepEqual([...fs.crashImages("durable", { position: end })].map(shown), ["a=1"]);
  assert.deepEqual([...fs.crashImages("durable", { position: 0 })].map(shown), [""]);
  assert.deepEqual([...fs.crashImages("durable", { position: end + 2 })].map(shown), [""]);
  assert.throws(() => [...fs.crashImages("durable", { position: 99 })], RangeError);
});

test("no policy takes what is durable, but lying and brokenSectors", () => {
  for (const policy of CRASH_POLICIES) {
    if (policy === "lying") continue;
    const fs = new SimFs();
    fs.publish("/a", bytes("0123"));
    fs.publish("/b", bytes("4567"));
    for (const image of fs.crashImages(policy)) assert.equal(shown(image), "a=0123 b=4567", policy);
  }
});

test("the same seed draws the same images, another one others", () => {
  const drawn = (seed: number) => {
    const fs = new SimFs();
    const file = fs.open("/a", "createNew");
    fs.syncDir("/");
    for (let i = 0; i < 40; i++) file.append(bytes(`${i % 10}`));
    return [...fs.crashImages("anyPrefix", { seed, limit: 10 })].map(shown);
  };
  assert.deepEqual(drawn(1), drawn(1));
  assert.notDeepEqual(drawn(1), drawn(2));
});

test("more images than asked for are drawn: everything lost, everything kept, and others", () => {
  const fs = new SimFs();
  fs.publish("/a", bytes(""));
  const file = fs.open("/a", "write");
  for (let i = 0; i < 50; i++) file.append(bytes("x"));
  const drawn = [...fs.crashImages("anyPrefix", { limit: 12 })].map((image) => shown(image).length);
  assert.equal(drawn.length, 12);
  assert.deepEqual(drawn.slice(0, 2), [2, 52]);
  assert.ok(new Set(drawn).size > 4, `${drawn}`);
});

test("crash() draws one image of every policy, and the seed decides which", () => {
  for (const policy of CRASH_POLICIES) {
    const drawn = (seed: number) => {
      const fs = appended();
      const file = fs.open("/a", "write");
      file.sync("all");
      for (let i = 0; i < 30; i++) file.append(bytes(`${i % 10}`));
      return shown(fs.crash(policy, seed));
    };
    assert.equal(drawn(1), drawn(1), policy);
    const seen = new Set(Array.from({ length: 10 }, (_, seed) => drawn(seed)));
    const isSure = policy === "processKill" || policy === "durable";
    assert.equal(seen.size === 1, isSure, `${policy}: ${[...seen]}`);
    if (policy !== "lying" && policy !== "brokenSectors") {
      for (const image of seen) assert.ok(image.startsWith("a=0123abcd"), `${policy}: ${image}`);
    }
  }
});

/** A directory, a file that was synced and changed, one that is new, and one that was renamed. */
function busy(): SimFs {
  const fs = appended();
  const file = fs.open("/a", "write");
  file.sync("all");
  file.append(bytes("ef"));
  file.resize(7);
  fs.open("/new", "createNew").append(bytes("n"));
  fs.rename("/new", "/newer");
  file.append(bytes("gh"));
  return fs;
}

function limits(more: Partial<WalkLimits> = {}): WalkLimits {
  const pool = new ContentPool();
  return { pool, isKnown: () => false, importanceOf: () => "bytes", work: 10_000, ...more };
}

/** Walks to the end; says whether that was all. */
function walked(fs: SimFs, policy: CrashPolicy, more: Partial<WalkLimits> = {}) {
  const walk = fs.crashSpace(policy).walk(limits(more));
  const found: string[] = [];
  for (;;) {
    const { done, value } = walk.next();
    if (done) return { isAll: value, found };
    found.push(shown(new SimFs({}, value.build())));
  }
}

test("a walk meets every image once", () => {
  for (const policy of CRASH_POLICIES) {
    // Noise is different each time.
    if (policy === "garbage" || policy === "brokenSectors") continue;
    const { isAll, found } = walked(busy(), policy);
    assert.equal(isAll, true, policy);
    // Of a lying disk, it comes to an image in more than one way.
    if (policy !== "lying") assert.equal(new Set(found).size, found.length, policy);
    assert.deepEqual([...new Set(found)].sort(), images(busy(), policy), policy);
  }
  // Six contents of "/a"; the other file is not there, or has one of two names and of two contents.
  assert.equal(walked(busy(), "anyPrefix").found.length, 6 * (1 + 2 * 2));
});

test("every image that is met or drawn is found again by its id", () => {
  for (const policy of CRASH_POLICIES) {
    const fs = busy();
    const again = (id: number | readonly number[]) =>
      shown(new SimFs({}, fs.crashSpace(policy).image(id).build()));
    for (const image of fs.crashSpace(policy).walk(limits())) {
      const id = JSON.parse(JSON.stringify(image.id));
      assert.equal(again(id), shown(new SimFs({}, image.build())), `${policy} ${id}`);
    }
    for (let nth = 0; nth < 10; nth++) assert.equal(again(nth), again(nth), `${policy} ${nth}`);
  }
});

test("a walk passes over what is known, and over what does not matter", () => {
  const known = new ImageSet();
  const pool = new ContentPool();
  const fs = busy();
  const walk = fs.crashSpace("anyPrefix").walk(
    limits({ pool, isKnown: (key) => known.has(key), importanceOf: () => "none" }),
  );
  const found: string[] = [];
  for (const image of walk) {
    // Nobody looks what is in any file, only how large "/a" is.
    const key = image.key(pool);
    known.add(key, image.paths.flatMap((path) => [path === "/a", false]));
    found.push(
      shown(new SimFs({}, image.build())).replace(/(?<==)\S+/g, (text) => `${text.length}`),
    );
  }
  assert.deepEqual(found.sort(), [
    "a=10",
    "a=10 new=",
    "a=10 newer=",
    "a=7",
    "a=7 new=",
    "a=7 newer=",
    "a=8",
    "a=8 new=",
    "a=8 newer=",
    "a=9",
    "a=9 new=",
    "a=9 newer=",
  ]);
});

test("zeros that are cut off, and may still be there, are nothing to choose for", () => {
  const fs = new SimFs();
  fs.publish("/a", bytes("0".repeat(512) + "\0".repeat(512 * 40)));
  fs.open("/a", "write").resize(512);
  const space = fs.crashSpace("torn");
  assert.equal(space.ways, 2);
  assert.deepEqual(
    [...space.walk(limits())].map((image) =>
      new SimFs({}, image.build()).readFile("/a", 1_000_000).byteLength
    ),
    [512 * 41, 512],
  );
});

test("a walk that has no time left says so", () => {
  for (const policy of ["anyPrefix", "torn", "lying"] as const) {
    assert.equal(walked(busy(), policy, { work: 5 }).isAll, false, policy);
  }
});
