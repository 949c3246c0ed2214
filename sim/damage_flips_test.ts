// Every bit of every byte of a whole journal, flipped; every file of it, cut to every size; and two damages at once.
// What comes of it is what the table says. By default a bit of each byte is drawn, and each strike is looked at in
// one way, by turns; BATPAK_DAMAGE=all flips all of them and looks in every way, BATPAK_DAMAGE=write and so on in one.
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { type Damage, DamageViolation, type Handle, observe } from "./damage_judge.ts";
import { type FileKind, filesOf, kindsOf } from "./damage_regions.ts";
import {
  closedSpecimen,
  killedSpecimen,
  smallSpecimen,
  type Specimen,
} from "./damage_specimens.ts";
import { cellsOf, type DamageKind, type Strike } from "./damage_cells.ts";
import { rowOf } from "./damage_table.ts";
import { SPECIMEN_DIR } from "./damage_specimens.ts";
import { SimRandom } from "./sim_random.ts";

const SEED = Number(process.env.BATPAK_SEED ?? Date.now() % 0x7fffffff);
const HANDLES: readonly Handle[] = ["index", "footers", "frames", "verify", "write"];
const WANTED = process.env.BATPAK_DAMAGE;
const IS_ALL = WANTED !== undefined;
if (IS_ALL && WANTED !== "all" && !HANDLES.some((handle) => handle === WANTED)) {
  throw new Error(`Cannot look in the way "${WANTED}": ways are all, ${HANDLES.join(", ")}`);
}

const SMALL = smallSpecimen();
const FOREIGN = smallSpecimen(2);

/** Every strike of some kinds of damage to any file, and what the table expects of it. */
function* strikesOf(
  specimen: Specimen,
  foreign: Specimen,
  damages: readonly DamageKind[],
): Generator<
  { readonly strike: Strike; readonly cell: string; readonly expected: Record<Handle, string> }
> {
  const kinds = new Set<FileKind>(filesOf(specimen).flatMap((name) => kindsOf(specimen, name)));
  for (const kind of kinds) {
    for (const cell of cellsOf(specimen, kind, { foreign })) {
      if (!damages.includes(cell.damage)) continue;
      const { outcome } = rowOf(specimen, cell)!;
      for (const strike of cell.strikes) {
        yield { strike, cell: `${kind}, ${cell.region}, ${cell.damage}`, expected: outcome };
      }
    }
  }
}

/** The ways to look at the next strike; writing is the slowest. */
function handlesOf(turn: number): readonly Handle[] {
  if (IS_ALL) return HANDLES.filter((handle) => WANTED === "all" || WANTED === handle);
  return [turn % 16 === 0 ? "write" : HANDLES[turn % 4]];
}

function checkStrike(
  turn: number,
  found: ReturnType<typeof strikesOf> extends Generator<infer T> ? T : never,
): void {
  const { strike, cell, expected } = found;
  const damage = strike.apply();
  for (const handle of handlesOf(turn)) {
    const about = `${cell}, ${strike.where}, ${handle} (seed ${SEED})`;
    assert.equal(observe(SMALL, damage, handle), expected[handle], about);
  }
}

test(`no flipped bit of a whole journal gives wrong data, or less than there was (seed ${SEED})`, () => {
  const size = filesOf(SMALL).reduce(
    (sum, name) => sum + SMALL.fs.stat(`${SPECIMEN_DIR}/${name}`)!.size,
    0,
  );
  assert.ok(size > 3500 && size <= 4096, `${size} bytes`);
  assert.equal(filesOf(SMALL).filter((name) => name.endsWith(".fbat")).length, 3);
  const random = new SimRandom(SEED);
  // By the byte that they are about.
  const bytes = new Map<string, Parameters<typeof checkStrike>[1][]>();
  let bits = 0;
  for (const found of strikesOf(SMALL, FOREIGN, ["a flipped bit"])) {
    const byte = found.strike.where.split(".").slice(0, -1).join(".");
    if (!bytes.has(byte)) bytes.set(byte, []);
    bytes.get(byte)!.push(found);
    bits++;
  }
  assert.equal(bits, size * 8, "every bit of every file is in the table");
  let turn = random.below(16);
  for (const flips of bytes.values()) {
    for (const found of IS_ALL ? flips : [random.pick(flips)]) checkStrike(turn++, found);
  }
});

test(`no file of a whole journal can be cut to any size and give wrong data (seed ${SEED})`, () => {
  let turn = new SimRandom(SEED).below(16);
  let cuts = 0;
  for (
    const found of strikesOf(SMALL, FOREIGN, ["cut off here", "cut off between groups", "empty"])
  ) {
    checkStrike(turn++, found);
    cuts++;
  }
  assert.ok(cuts > 3000, `${cuts} cuts`);
});

test(`two damages at once give exact data or a refusal, never wrong or silently less (seed ${SEED})`, () => {
  const random = new SimRandom(SEED).stream("pairs");
  const pairs = IS_ALL ? 1000 : 25;
  const words = new Set<string>();
  for (
    const [specimen, foreign] of [
      [closedSpecimen(), closedSpecimen(2)],
      [killedSpecimen(), killedSpecimen(2)],
    ]
  ) {
    const kinds = [...new Set(filesOf(specimen).flatMap((name) => kindsOf(specimen, name)))];
    const cells = kinds.flatMap((kind) => cellsOf(specimen, kind, { foreign }));
    for (let n = 0; n < pairs; n++) {
      const [one, other] = [random.pick(cells), random.pick(cells)];
      const [first, second] = [random.pick(one.strikes), random.pick(other.strikes)];
      const damage = both(specimen, first, second);
      if (damage === undefined) continue;
      for (const handle of HANDLES) {
        const about =
          `${specimen.name}: ${one.kind}, ${one.damage}, ${first.where}; ${other.kind}, ` +
          `${other.damage}, ${second.where}; ${handle} (seed ${SEED})`;
        words.add(wordOf(about, () => observe(specimen, damage, handle)));
      }
    }
  }
  // Of so few pairs none may be harmless; all of one kind would mean that nothing was damaged.
  assert.ok(words.has("refused") && words.has("damage") && words.size >= 4, [...words].join());
});

/** Both on one disk; nothing when they are to the same file, where the second might undo the first. */
function both(specimen: Specimen, first: Strike, second: Strike): Damage | undefined {
  const [one, other] = [first.apply(), second.apply()];
  const files = [...one.files, ...other.files];
  if (new Set(files).size < files.length) return undefined;
  let { fs } = one;
  for (const name of other.files) {
    const path = `${SPECIMEN_DIR}/${name}`;
    const bytes = other.fs.stat(path) === undefined
      ? undefined
      : other.fs.readFile(path, Number.MAX_SAFE_INTEGER);
    fs = fs.withFile(path, bytes);
  }
  // Whichever is met first may be named, and what does not fit it.
  return { fs, files: filesOf(specimen).concat(files) };
}

function wordOf(about: string, look: () => string): string {
  try {
    return look();
  } catch (error) {
    if (error instanceof DamageViolation) throw new DamageViolation(`${about}: ${error.message}`);
    throw new Error(about, { cause: error });
  }
}
