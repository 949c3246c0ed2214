import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryFs } from "../platform/memory.ts";
import { StoreClosedError } from "./errors.ts";
import { EventKind } from "./event_kind.ts";
import { Holders, StoreInUseError } from "./holders.ts";
import { Store } from "./store.ts";

const USER = { entity: "user:1", scope: "app" };

test("close() is refused while somebody holds the store, and changes nothing", () => {
  const fs = new MemoryFs();
  const store = Store.open("journal", { fs });
  const release = store.hold('cursor worker "mail"', () => assert.fail("nobody closed it"));
  const release2 = store.hold("a client", () => assert.fail("nobody closed it"));
  assert.throws(() => store.close(), (error: StoreInUseError) => {
    assert.equal(error.constructor, StoreInUseError);
    assert.equal(error.code, "STORE_IN_USE");
    assert.deepEqual(error.holders, ['cursor worker "mail"', "a client"]);
    assert.equal(
      error.message,
      'Cannot close: the store is in use by cursor worker "mail" and 1 more; stop and join them first',
    );
    return true;
  });
  const { globalSequence } = store.append(USER, EventKind.DATA, 1);
  assert.equal(globalSequence, 1);
  release2();
  release2();
  assert.throws(() => store.close(), { holders: ['cursor worker "mail"'] });
  release();
  store.close();
  store.close();
  assert.throws(() => store.hold("too late", () => {}), StoreClosedError);
  // The open, the event and the close: the refused ones left nothing.
  using again = Store.openReadOnly("journal", { fs });
  assert.equal(again.stats().eventCount, 3);
});

test("using closes a store that is held, and tells the holders once", () => {
  const fs = new MemoryFs();
  let gone = 0;
  let release: () => void;
  {
    using store = Store.open("journal", { fs });
    store.append(USER, EventKind.DATA, 1);
    release = store.hold("worker", () => {
      gone++;
      assert.throws(() => store.append(USER, EventKind.DATA, 2), StoreClosedError);
    });
    store.hold("another", () => void gone++);
  }
  assert.equal(gone, 2);
  release();
  using again = Store.open("journal", { fs });
  assert.equal(again.query({ entity: "user:1" }).length, 1);
});

test("using lets go of a store whose writer has stopped, also when it is held", () => {
  const fs = new MemoryFs();
  let gone = 0;
  {
    using store = Store.open("journal", { fs });
    store.hold("worker", () => void gone++);
    fs.failNext({ op: "sync", code: "EIO" });
    assert.throws(() => store.append(USER, EventKind.DATA, 1, { durability: "durable" }), {
      code: "WRITER_CRASHED",
    });
    assert.throws(() => store.close(), { code: "STORE_IN_USE" });
  }
  assert.equal(gone, 1);
  Store.open("journal", { fs }).close();
});

test("a reader that is held is not closed either, but by using", () => {
  const fs = new MemoryFs();
  using store = Store.open("journal", { fs });
  store.append(USER, EventKind.DATA, 1);
  let gone = 0;
  {
    using reader = Store.openReadOnly("journal", { fs });
    const release = reader.hold("worker", () => assert.fail("it let go before"));
    assert.throws(() => reader.close(), { code: "STORE_IN_USE", holders: ["worker"] });
    assert.equal(reader.query({ entity: "user:1" }).length, 1);
    release();
    reader.hold("another", () => void gone++);
  }
  assert.equal(gone, 1);
});

test("Holders tells each holder once, and nobody who has let go", () => {
  const holders = new Holders();
  const told: string[] = [];
  const first = holders.add("a", () => {
    told.push("a");
    first();
    second();
  });
  const second = holders.add("b", () => told.push("b"));
  holders.add("c", () => told.push("c"));
  assert.deepEqual(holders.names, ["a", "b", "c"]);
  holders.dismiss();
  holders.dismiss();
  assert.deepEqual(told, ["a", "c"]);
  assert.deepEqual(holders.names, []);
  holders.assertNone("close");
});
