// Each cell of the damage table, struck at some of its places; BATPAK_DAMAGE=all strikes at every one.
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { type DamageViolation, type Handle, observe, observeCursor } from "./damage_judge.ts";
import { FILE_KINDS, type FileKind, filesOf, kindsOf } from "./damage_regions.ts";
import {
  closedSpecimen,
  compactionSpecimens,
  CONSUMERS,
  killedSpecimen,
  type Specimen,
  SPECIMEN_DIR,
  tornSpecimen,
} from "./damage_specimens.ts";
import { cellsOf, type DamageCell, type Strike } from "./damage_cells.ts";
import { DAMAGE_TABLE, type DamageRow, rowOf } from "./damage_table.ts";
import { crc32 } from "../platform/checksum.ts";
import { edited, flipBit } from "./damage.ts";
import { SimRandom } from "./sim_random.ts";

const SEED = Number(process.env.BATPAK_SEED ?? Date.now() % 0x7fffffff);
const IS_ALL = process.env.BATPAK_DAMAGE === "all";
/** Places of a cell that are struck. */
const STRIKE_COUNT = 1;
const HANDLES: readonly Handle[] = ["index", "footers", "frames", "write", "verify"];

const SPECIMENS = specimens(1);
const FOREIGN = specimens(2);

function specimens(seed: number): Map<string, Specimen> {
  const all = [
    closedSpecimen(seed),
    killedSpecimen(seed),
    tornSpecimen(seed),
    ...compactionSpecimens(seed),
  ];
  return new Map(all.map((specimen) => [specimen.name, specimen]));
}

/** What the table has rows for. */
const SUBJECTS = new Map<string, { specimen: Specimen; kind: FileKind }>();
for (const { on, kind } of DAMAGE_TABLE) {
  for (const name of on) {
    SUBJECTS.set(`${name}, ${kind}`, { specimen: SPECIMENS.get(name)!, kind });
  }
}

/** Rows that a cell was found for. */
const USED = new Set<DamageRow>();

/** Some places of a cell, or all of them. */
function drawn(strikes: readonly Strike[], random: SimRandom): Strike[] {
  if (IS_ALL || strikes.length <= STRIKE_COUNT) return [...strikes];
  return Array.from({ length: STRIKE_COUNT }, () => strikes[random.below(strikes.length)]);
}

function check(specimen: Specimen, cell: DamageCell, row: DamageRow, strike: Strike): void {
  const damage = strike.apply();
  const struck = { ...damage, files: [...damage.files, ...row.names ?? []] };
  const { cursor, ...expected } = row.outcome;
  const about = `${specimen.name}, ${cell.kind}, ${cell.region}, ${cell.damage}, ${strike.where} ` +
    `(seed ${SEED})`;
  for (const handle of HANDLES) {
    assert.equal(
      wordOf(() => observe(specimen, struck, handle)),
      expected[handle],
      `${about}, ${handle}`,
    );
  }
  if (cursor === undefined) return;
  const id = Object.keys(CONSUMERS).find((id) =>
    strike.where.includes(id)
  ) as keyof typeof CONSUMERS;
  const found = wordOf(() => observeCursor(specimen, struck, id));
  assert.ok(cursor.split(" or ").includes(found), `${about}: ${found}, not ${cursor}`);
}

function wordOf(look: () => string): string {
  try {
    return look();
  } catch (error) {
    const { name, message, stack } = error as DamageViolation;
    return name === "DamageViolation" ? `${name}: ${message}` : stack ?? message;
  }
}

for (const [name, { specimen, kind }] of SUBJECTS) {
  test(`every damage to ${name} has the outcome that the table says`, () => {
    const random = new SimRandom(SEED).stream(name);
    const cells = cellsOf(specimen, kind, { foreign: FOREIGN.get(specimen.name)! });
    assert.ok(cells.length >= 3, `${cells.length} cells`);
    for (const cell of cells) {
      const row = rowOf(specimen, cell);
      if (row === undefined) continue;
      USED.add(row);
      for (const strike of drawn(cell.strikes, random)) check(specimen, cell, row, strike);
    }
  });
}

test("the table has no row that is about nothing, and none that names a region or damage that is not there", () => {
  const about = DAMAGE_TABLE.filter((row) => !USED.has(row)).map(({ on, kind, regions, damages }) =>
    `${on.join()} ${kind} ${regions.join()} ${damages.join()}`
  );
  assert.deepEqual(about, []);
});

test("every file of every journal is of exactly one kind, and the table has rows for all kinds", () => {
  const kinds = new Set<FileKind>();
  for (const specimen of SPECIMENS.values()) {
    for (const name of filesOf(specimen)) {
      const found = kindsOf(specimen, name);
      assert.equal(found.length, 1, `${specimen.name}: ${name} is ${found.join()}`);
      kinds.add(found[0]);
    }
  }
  assert.deepEqual([...kinds].sort(), Object.keys(FILE_KINDS).sort());
  assert.deepEqual([...new Set(DAMAGE_TABLE.map(({ kind }) => kind))].sort(), [...kinds].sort());
});

test("observe() takes neither wrong data nor fewer events for exact, nor a refusal without its place", () => {
  const specimen = SPECIMENS.get("closed")!;
  const [file, places] = [...specimen.frames][0];
  const path = `${SPECIMEN_DIR}/${file}`;
  const { start, end } = places[1];
  // A forger makes the checksum fit.
  const forged = edited(specimen.fs, path, (bytes) => {
    bytes[end - 1] ^= 1;
    new DataView(bytes.buffer, bytes.byteOffset)
      .setUint32(start + 4, crc32(bytes.subarray(start + 8, end)));
    return bytes;
  });
  const violation = (message: RegExp) => ({ name: "DamageViolation", message });
  const whole = { fs: specimen.fs, files: [file] };
  for (const handle of ["index", "footers", "frames", "write"] as const) {
    assert.throws(
      () => observe(specimen, { fs: forged, files: [file] }, handle),
      violation(/^the event at \d+ is wrong$/),
    );
    const last = specimen.events.at(-1)!;
    const longer = {
      ...specimen,
      events: [...specimen.events, { ...last, sequence: last.sequence + 1 }],
    };
    assert.throws(
      () => observe(longer, whole, handle),
      violation(/^events from \d+ on are missing/),
    );
  }
  const damaged = flipBit(specimen.fs, path, 2);
  assert.throws(
    () => observe(specimen, { fs: damaged, files: ["store.meta"] }, "index"),
    violation(/^the refusal names ".*000006\.fbat" and not one of store\.meta$/),
  );
  const places0 = [{ start: 500, end: 600 }];
  assert.throws(
    () => observe(specimen, { fs: damaged, files: [file], places: places0 }, "index"),
    violation(/^offset 0 is none of 500 to 600/),
  );
});
