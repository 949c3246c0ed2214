import assert from "node:assert/strict";
import { symlinkSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { watchLifeline } from "./lifeline.ts";
import { runtime } from "./runtime.ts";
import { commandHere, findBun, fixture, inTempDir, start } from "./testdata/processes.ts";

const HOLDER = fixture("lock_holder.ts");

test("a lock keeps out another process, until that is killed", () =>
  inTempDir(async (dir) => {
    await exclude(`${dir}/lock`, commandHere(HOLDER, dir));
  }));

// One direction is enough, because the test checks who is refused both ways.
if (runtime.name === "deno") {
  test("Deno and Bun respect each other's locks", () =>
    inTempDir(async (dir) => {
      const bun = findBun();
      assert.ok(bun !== undefined, "Bun is a development dependency: run deno install");
      await exclude(`${dir}/lock`, [bun, HOLDER]);
    }));
}

test("a lock is not inherited by the processes we start", () =>
  inTempDir(async (dir) => {
    const lock = runtime.fs.tryLock(`${dir}/lock`)!;
    const child = await start([...commandHere(HOLDER, dir), `${dir}/other`]);
    assert.equal(child.firstLine, "locked");
    lock.release();
    const again = runtime.fs.tryLock(`${dir}/lock`);
    assert.ok(again);
    again.release();
    await child.kill("SIGKILL");
  }));

test("a lock file that is a symbolic link is refused", () =>
  inTempDir((dir) => {
    writeFileSync(`${dir}/elsewhere`, "");
    symlinkSync(`${dir}/elsewhere`, `${dir}/lock`);
    assert.throws(() => runtime.fs.tryLock(`${dir}/lock`), { name: "IoFault", code: "ELOOP" });
  }));

test("locking and releasing leaks no descriptors", () =>
  inTempDir((dir) => {
    const held = runtime.fs.tryLock(`${dir}/held`)!;
    for (let round = 0; round < 5_000; round++) {
      assert.equal(runtime.fs.tryLock(`${dir}/held`), undefined);
      runtime.fs.tryLock(`${dir}/free`)!.release();
    }
    held.release();
  }));

// Bun does not close the files of a realm that ends, so its locks stayed, and a store whose realm had died
// could not be opened again in that process. Now whoever finds a file locked releases what the dead left.
test("a lock goes with its realm, however that ends, and no earlier", () =>
  inTempDir(async (dir) => {
    const path = `${dir}/lock`;
    for (const how of ["terminate", "exit", "throw"]) {
      const worker = new Worker(new URL("./testdata/lock_realm.ts", import.meta.url), {
        type: "module",
      });
      worker.addEventListener("error", (event) => event.preventDefault());
      const said = (word: string) =>
        new Promise<void>((resolve) =>
          worker.addEventListener("message", ({ data }) => {
            if (data === word) resolve();
          })
        );
      await said("ready");
      const locked = said("locked");
      worker.postMessage({ path });
      await locked;
      // Not earlier: the realm has to have its lifeline first.
      const gone = new Promise<void>((resolve) => {
        watchLifeline(path, resolve);
        worker.addEventListener("close", () => resolve());
      });
      for (let i = 0; i < 3; i++) assert.equal(runtime.fs.tryLock(path), undefined, how);
      if (how === "terminate") worker.terminate();
      else worker.postMessage(how);
      await gone;
      let lock = runtime.fs.tryLock(path);
      // Deno lets go of the lifeline first, and of files a moment later.
      for (let tries = 0; lock === undefined; tries++) {
        assert.ok(tries < 10_000, how);
        await new Promise<void>((resolve) => runtime.scheduler.delay(1, resolve));
        lock = runtime.fs.tryLock(path);
      }
      assert.equal(runtime.fs.tryLock(path), undefined, "what was released is locked again");
      lock.release();
    }
  }));

/** Has this process and another take turns at a lock. */
async function exclude(path: string, holder: string[]): Promise<void> {
  const ours = runtime.fs.tryLock(path)!;
  const refused = await start([...holder, path]);
  assert.equal(refused.firstLine, "refused");
  await refused.kill("SIGKILL");

  ours.release();
  const theirs = await start([...holder, path]);
  assert.equal(theirs.firstLine, "locked");
  assert.equal(runtime.fs.tryLock(path), undefined);
  await theirs.kill("SIGKILL");

  const again = runtime.fs.tryLock(path);
  assert.ok(again);
  again.release();
}
