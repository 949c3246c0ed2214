// Each file call of each operation fails once, in a way that the seed draws; `deno task sweep` goes further.
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { EventKind } from "../mod.ts";
import { DRIVER_DIR } from "./driver.ts";
import { flavoursOf, sweep } from "./fault_sweep.ts";
import { OracleViolation } from "./oracle.ts";
import { SWEPT_OPERATIONS, type SweptOperation } from "./swept_operations.ts";

const SEED = Number(process.env.BATPAK_SEED ?? 1);

for (const operation of SWEPT_OPERATIONS) {
  test(`a failing file call in "${operation.name}" breaks no promise (seed ${SEED})`, () => {
    const report = sweep(operation, { seed: SEED, flavours: 1, thorough: false });
    assert.equal(report.runs, report.calls);
    assert.ok(report.fired >= report.runs, `${report.fired} faults fired in ${report.runs} runs`);
    assert.ok(report.withEvents > 0, "no image had an event");
    const tolerated = [...report.tolerated.values()].reduce((sum, count) => sum + count, 0);
    assert.equal(report.threw + tolerated, report.runs);
  });
}

test("flavoursOf() fails a write before, after and in the middle, for once and from then on", () => {
  const names = flavoursOf({ op: "Write", path: "/journal/000001.fbat", size: 100 }).map((
    { name },
  ) => name);
  assert.deepEqual(names, [
    "EIO, once",
    "EIO, path",
    "EIO, kind",
    "EIO, frozen",
    "EIO, after, once",
    "EIO, after, path",
    "EIO, after, kind",
    "EIO, after, frozen",
    "ENOSPC, once",
    "ENOSPC, kind",
    "ENOSPC after 1 bytes, once",
    "ENOSPC after 1 bytes, path",
    "ENOSPC after 1 bytes, frozen",
    "ENOSPC after 8 bytes, once",
    "ENOSPC after 8 bytes, path",
    "ENOSPC after 8 bytes, frozen",
    "ENOSPC after 50 bytes, once",
    "ENOSPC after 50 bytes, path",
    "ENOSPC after 50 bytes, frozen",
    "ENOSPC after 99 bytes, once",
    "ENOSPC after 99 bytes, path",
    "ENOSPC after 99 bytes, frozen",
  ]);
});

/** A run of an append, of which something is wrong. */
const BROKEN: Readonly<Record<string, { readonly wrong: RegExp; readonly operation: Broken }>> = {
  "swallows the fault": {
    wrong: /it succeeded, and nothing says that it may/,
    operation: {
      start: (driver) => {
        driver.open();
        return {
          run: () => {
            try {
              driver.append();
            } catch {
              // As if nothing had happened.
            }
          },
        };
      },
    },
  },
  "throws something of its own": {
    wrong: /it threw what it does not document: TypeError/,
    operation: {
      start: (driver) => {
        driver.open();
        return {
          run: () => {
            try {
              driver.append();
            } catch {
              throw new TypeError("no idea");
            }
          },
        };
      },
    },
  },
  "promises what it has not done": {
    wrong: /what was acknowledged at \d+ is not there/,
    operation: {
      start: (driver) => {
        driver.open();
        return {
          run: () => {
            driver.tell({
              type: "submitted",
              group: 999,
              events: [{
                entity: "a",
                scope: "b",
                lane: 0,
                kind: EventKind.DATA,
                payload: Uint8Array.of(1),
              }],
            });
            driver.tell({ type: "acknowledged", group: 999, sequences: [9] });
            driver.append();
          },
        };
      },
    },
  },
  "leaves a file open": {
    wrong: /[12] files are left open/,
    operation: {
      start: (driver) => {
        driver.open();
        driver.append();
        return {
          run: () => {
            driver.append();
            driver.fs.open(`${DRIVER_DIR}/000001.fbat`, "read");
          },
        };
      },
    },
  },
};
type Broken = Omit<SweptOperation, "name">;

for (const [name, { wrong, operation }] of Object.entries(BROKEN)) {
  test(`sweep() notices an operation that ${name}, and says how to find it again`, () => {
    const swept = { name, ...operation };
    let message = "";
    assert.throws(() => sweep(swept), (error) => {
      assert.ok(error instanceof OracleViolation, String(error));
      ({ message } = error);
      return true;
    });
    assert.match(message, wrong);
    const only = JSON.parse(/sweep\(operation, (.*)\)/.exec(message)![1].replace("only", '"only"'))
      .only;
    assert.throws(() => sweep(swept, { only }), (error) => {
      assert.equal((error as Error).message, message);
      return true;
    });
  });
}
