// An oracle that finds nothing proves nothing: each promise is broken on purpose here.
import assert from "node:assert/strict";
import { test } from "node:test";
import { type EventKind, Store } from "../mod.ts";
import { Driver, DRIVER_DIR, FACT_MARK } from "./driver.ts";
import { Oracle, type OracleFact, OracleViolation } from "./oracle.ts";
import { SimFs } from "./sim_fs.ts";

/** What a run has told. */
function factsOf({ trace }: SimFs): OracleFact[] {
  return trace.flatMap((step) =>
    step.type === "mark" && step.label === FACT_MARK ? [step.data as OracleFact] : []
  );
}

function oracleOf(facts: readonly OracleFact[]): Oracle {
  const oracle = new Oracle(DRIVER_DIR);
  for (const fact of facts) oracle.take(fact);
  return oracle;
}

/** A run with something of everything, and the disk it leaves when its process dies. */
function tour(): { facts: OracleFact[]; left: () => SimFs } {
  const driver = new Driver(new SimFs(), { segmentMaxBytes: 900 });
  driver.open();
  driver.append({ key: "first" });
  driver.batch(
    [{ entity: "user:2", key: "second" }, { key: "third" }].map((event) => ({ ...event, lane: 1 })),
  );
  driver.sync();
  driver.beginFence();
  driver.stage([{}, {}]);
  driver.endFence("commit");
  driver.beginFence();
  driver.stage([{}]);
  driver.endFence("cancel");
  const mailer = driver.bind("mailer", { scope: "app" });
  mailer.bound.cursor.pollBatch(2);
  mailer.commit();
  driver.append({ key: "last" });
  const { fs } = driver;
  return { facts: factsOf(fs), left: () => [...fs.crashImages("processKill")][0] };
}

const KILLED = { powerCut: false };

function assertViolation(judge: () => unknown, message: RegExp, about?: string): void {
  assert.throws(judge, (error) => {
    assert.ok(error instanceof OracleViolation, String(error));
    assert.match(error.message, message, about);
    return true;
  }, about);
}

test("an oracle finds nothing wrong with a journal that is as it was promised", () => {
  const { facts, left } = tour();
  assert.deepEqual(oracleOf(facts).judge(left(), KILLED), { type: "sound", events: 6 });
});

test("an oracle asks only for what is durable after a power cut", () => {
  const driver = new Driver(new SimFs());
  driver.open();
  driver.append({}, "durable");
  driver.append();
  const { fs } = driver;
  const left = () => [...fs.crashImages("durable")][0];
  const oracle = oracleOf(factsOf(fs));
  assert.deepEqual(oracle.judge(left(), { powerCut: true }), { type: "sound", events: 1 });
  assertViolation(() => oracle.judge(left(), KILLED), /what was acknowledged at 2 is not there/);
});

test("an oracle tells when something was not promised as it is", () => {
  const { facts, left } = tour();
  const submitted = (group: number) =>
    facts.find((fact): fact is OracleFact & { type: "submitted" } =>
      fact.type === "submitted" && fact.group === group
    )!;
  const changed = (
    change: (fact: OracleFact) => OracleFact | readonly OracleFact[] | undefined,
  ): Oracle => oracleOf(facts.flatMap((fact) => change(fact) ?? []));
  const withGroup = (group: number, change: Partial<OracleFact & { type: "submitted" }>) =>
    changed((fact) =>
      fact.type === "submitted" && fact.group === group ? { ...fact, ...change } : fact
    );
  const [first] = submitted(1).events;
  const cases: [string, Oracle, RegExp][] = [
    [
      "bytes",
      withGroup(1, { events: [{ ...first, payload: Uint8Array.of(9, 9, 9, 9) }] }),
      /1 was invented/,
    ],
    [
      "entity",
      withGroup(1, { events: [{ ...first, entity: "user:9" }] }),
      /not as it was submitted/,
    ],
    ["lane", withGroup(1, { events: [{ ...first, lane: 7 }] }), /not as it was submitted/],
    ["key", withGroup(1, { events: [{ ...first, key: "other" }] }), /1 is not found by its key/],
    [
      "half of a group",
      withGroup(2, {
        events: [...submitted(2).events, {
          ...first,
          payload: Uint8Array.of(1, 2, 3, 4),
          key: "x",
        }],
      }),
      /2 of 3 events of a group are there/,
    ],
    [
      "order in a group",
      withGroup(2, { events: submitted(2).events.toReversed() }),
      /was acknowledged at|is item 1 of its group, and 0 is next/,
    ],
    [
      "a fence that is not committed",
      changed((fact) => fact.type === "committing" || fact.type === "committed" ? undefined : fact),
      /its fence is not committed/,
    ],
    [
      "a fence that should be seen",
      changed((fact) => {
        const { fence } = fact as OracleFact & { type: "uncommitted" };
        return fact.type === "uncommitted" ? { type: "committed", fence, receipts: [] } : fact;
      }),
      /what was acknowledged at \d+ is not there/,
    ],
    [
      "a group that was refused",
      changed((fact) =>
        fact.type === "acknowledged" && fact.group === 1 ? { type: "refused", group: 1 } : fact
      ),
      /1 came back/,
    ],
    [
      "a place",
      changed((fact) =>
        fact.type === "acknowledged" && fact.group === 1 ? { ...fact, sequences: [0] } : fact
      ),
      /1 was acknowledged at 0/,
    ],
    [
      "a receipt",
      changed((fact) => {
        if (fact.type !== "acknowledged" || fact.group !== 1) return fact;
        const other = facts.findLast((fact) => fact.type === "acknowledged")!;
        return { ...fact, receipts: other.receipts! };
      }),
      /a retry of first is answered with another receipt/,
    ],
    [
      "a checkpoint that is behind",
      changed((fact) =>
        fact.type === "checkpointing" || fact.type === "checkpointed"
          ? { ...fact, sequence: 99 }
          : fact
      ),
      /checkpoint mailer is at \d, and should be at 99/,
    ],
    [
      "erased",
      oracleOf([...facts, { type: "erasing", sequences: [1] }, { type: "erased", sequences: [1] }]),
      /1 was erased, and has/,
    ],
    [
      "pruned",
      oracleOf([...facts, { type: "pruned", first: 4 }]),
      /it begins at 0, and should at 4/,
    ],
    [
      "a copy",
      oracleOf([...facts, { type: "copied", target: "/copy", next: 3 }]),
      /the copy in \/copy does not open/,
    ],
  ];
  for (const [name, oracle, message] of cases) {
    assertViolation(() => oracle.judge(left(), KILLED), message, name);
  }
});

test("an oracle tells when something came that nobody submitted", () => {
  const { facts, left } = tour();
  const fs = left();
  const store = Store.open(DRIVER_DIR, { fs });
  store.append({ entity: "user:1", scope: "app" }, 0xc007 as EventKind, "who was that?");
  store.close();
  assertViolation(() => oracleOf(facts).judge(fs, KILLED), /was invented/);
});

test("an oracle takes no refusal that has no excuse", () => {
  const driver = new Driver(new SimFs());
  driver.open();
  driver.append({}, "durable");
  const { fs } = driver;
  const path = `${DRIVER_DIR}/000001.fbat`;
  const damaged = () => {
    const bytes = fs.readFile(path, 1 << 20);
    bytes[300] ^= 1;
    return fs.withFile(path, bytes);
  };
  const oracle = oracleOf(factsOf(fs));
  assertViolation(() => oracle.judge(damaged(), KILLED), /^a reader: CorruptionError/);
  const excuse = ({ code }: { readonly code: string }) => `it is ${code}`;
  assert.deepEqual(oracle.judge(damaged(), { powerCut: false, excuse }), {
    type: "refused",
    reason: "it is CORRUPTION",
  });
});

test("of a disk that lies, an oracle asks only that it does not lie about events", () => {
  const driver = new Driver(new SimFs());
  driver.open();
  driver.append({}, "durable");
  driver.batch([{}, {}], { durability: "durable" });
  driver.close();
  const facts = factsOf(driver.fs);
  const lying = { powerCut: true, isLying: true };
  const verdicts = new Set<string>();
  for (const image of driver.fs.crashImages("lying", { limit: 100 })) {
    const verdict = oracleOf(facts).judge(image, lying);
    verdicts.add(verdict.type === "sound" ? `${verdict.events} events` : verdict.reason);
  }
  assert.ok(verdicts.has("0 events") && verdicts.has("3 events"), [...verdicts].join());
  // Half of a batch is not an old truth.
  const [whole] = driver.fs.crashImages("processKill");
  const torn = facts.map((fact) =>
    fact.type === "submitted" && fact.events.length === 2
      ? { ...fact, events: fact.events.slice(0, 1) }
      : fact
  );
  assertViolation(() => oracleOf(torn).judge(whole, lying), /invented/);
});
