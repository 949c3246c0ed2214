import assert from "node:assert/strict";
import { rmSync, truncateSync } from "node:fs";
import { test } from "node:test";
import { EventKind, Store } from "../mod.ts";
import { inTempDir, parseLines, runHere, segmentPath, startProcess } from "../tests/command.ts";

/** The payloads of the lines that are whole; a running command may be in the middle of one. */
function payloads(out: string): unknown[] {
  return parseLines(out.slice(0, out.lastIndexOf("\n") + 1)).map(({ payload }) => payload);
}

test("tail prints the newest ten events, oldest first", async () => {
  await inTempDir(async (dir) => {
    {
      using store = Store.open(dir);
      for (let n = 0; n < 15; n++) {
        store.append({ entity: `e:${n % 2}`, scope: "s" }, EventKind.DATA, n);
      }
    }
    const ran = await runHere(["tail", dir]);
    assert.equal(ran.code, 0);
    assert.deepEqual(payloads(ran.out), [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    assert.deepEqual(payloads((await runHere(["tail", dir, "-n", "2"])).out), [13, 14]);
    assert.deepEqual(payloads((await runHere(["tail", dir, "-n", "0"])).out), []);
    const filtered = await runHere(["tail", dir, "-n", "2", "--entity", "e:0"]);
    assert.deepEqual(payloads(filtered.out), [12, 14]);
    const own = await runHere(["tail", dir, "-n", "1", "--system"]);
    assert.equal(parseLines(own.out)[0].kind, "0x0009");
  });
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  test(`tail --follow shows what another process appends, until ${signal}`, async () => {
    await inTempDir(async (dir) => {
      using store = Store.open(dir);
      store.append({ entity: "e", scope: "s" }, EventKind.DATA, 1);
      const running = startProcess(["tail", dir, "--follow", "--entity", "e"]);
      await running.until(({ out }) => payloads(out).length === 1);
      store.append({ entity: "other", scope: "s" }, EventKind.DATA, "not this");
      store.append({ entity: "e", scope: "s" }, EventKind.DATA, 2);
      await running.until(({ out }) => payloads(out).length === 2);
      const item = { entity: "e", scope: "s", kind: EventKind.DATA };
      store.appendBatch([{ ...item, payload: 3 }, { ...item, payload: 4 }]);
      await running.until(({ out }) => payloads(out).length === 4);
      running.signal(signal);
      const { code, out, err } = await running.ended;
      assert.deepEqual({ code, err }, { code: 0, err: "" });
      assert.deepEqual(payloads(out), [1, 2, 3, 4]);
    });
  });
}

// In a journal without events it asked for what comes behind sequence -1, and the first event was the end
// of it. Now that event is shown, and so are those that follow.
for (const withMeta of [true, false]) {
  const what = withMeta ? "a journal without events" : "a journal that has only just begun";
  test(`tail --follow shows the first events of ${what}`, async () => {
    await inTempDir(async (dir) => {
      let start: number;
      {
        using store = Store.open(dir);
        start = store.at(0)!.position.offset;
      }
      truncateSync(segmentPath(dir), start);
      rmSync(`${dir}/index.fbati`);
      // It is written behind the first segment.
      if (!withMeta) rmSync(`${dir}/store.meta`);
      const controller = new AbortController();
      let looks = 0;
      const { code, out, err } = await runHere(["tail", dir, "--follow"], {
        host: {
          catchInterrupt: () => ({ signal: controller.signal, [Symbol.dispose]() {} }),
          sleep() {
            if (looks++ < 2) {
              using store = Store.open(dir);
              store.append({ entity: "e", scope: "s" }, EventKind.DATA, looks);
            } else controller.abort();
            return Promise.resolve();
          },
        },
      });
      assert.deepEqual({ code, err }, { code: 0, err: "" });
      assert.deepEqual(payloads(out), [1, 2]);
    });
  });
}

test("tail --follow goes on when the writer ends and another one begins", async () => {
  await inTempDir(async (dir) => {
    Store.open(dir, { segmentMaxBytes: 1000 }).close();
    const running = startProcess(["tail", dir, "-f", "-n", "0", "--json"]);
    for (let n = 0; n < 3; n++) {
      {
        using store = Store.open(dir, { segmentMaxBytes: 1000 });
        for (let i = 0; i < 10; i++) {
          store.append({ entity: "e", scope: "s" }, EventKind.DATA, n * 10 + i);
        }
      }
      // The first time it may begin to look only now.
      if (n > 0) await running.until(({ out }) => payloads(out).at(-1) === n * 10 + 9);
      else await new Promise((resolve) => setTimeout(resolve, 1500));
    }
    running.signal("SIGINT");
    const { code, out, err } = await running.ended;
    assert.deepEqual({ code, err }, { code: 0, err: "" });
    const seen = payloads(out) as number[];
    assert.deepEqual(seen, Array.from({ length: seen.length }, (_, i) => 30 - seen.length + i));
    assert.ok(seen.length >= 20);
  });
});
