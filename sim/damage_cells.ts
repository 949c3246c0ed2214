/**
 * The cells of the damage table: every region of every kind of file, every kind of damage, and the places where it
 * can strike.
 *
 * @module
 */

import {
  appendBytes,
  duplicateFile,
  duplicatePage,
  flipBit,
  misdirectPage,
  missing,
  staleCopy,
  swapFiles,
  swapPages,
  truncate,
  zeroPage,
  zeroRange,
} from "./damage.ts";
import type { Damage } from "./damage_judge.ts";
import {
  bytesOf,
  type FileKind,
  type FileRegion,
  filesOf,
  kindsOf,
  lastSegment,
  regionsOf,
} from "./damage_regions.ts";
import { type Specimen, SPECIMEN_DIR } from "./damage_specimens.ts";
import { segmentIdOf, segmentName } from "../store/segment_log.ts";
import { bytesEqual } from "../store/hash.ts";
import type { SimFs } from "./sim_fs.ts";

/** What happens to a region. */
export const REGION_DAMAGES = ["a flipped bit", "zeros", "cut off here"] as const;
/** What happens to a file. */
export const FILE_DAMAGES = [
  "missing",
  "empty",
  "of another journal",
  "an older copy",
  "swapped with its neighbour",
  "also under the next number",
  "zeros behind it",
  "garbage behind it",
] as const;
/** What happens to pages of a segment that hold frames, and others behind them. */
export const PAGE_DAMAGES = [
  "a page of zeros",
  "a page twice",
  "a page of another file",
  "a page swapped with another file's",
] as const;
/** What happens to the end of a segment. */
export const END_DAMAGES = ["cut off between groups", "zeros to the end"] as const;

/** All of it. */
export type DamageKind = (
  | typeof REGION_DAMAGES
  | typeof FILE_DAMAGES
  | typeof PAGE_DAMAGES
  | typeof END_DAMAGES
)[number];

/** A region of a kind of file, and a damage. */
export interface DamageCell {
  readonly kind: FileKind;
  readonly region: string;
  readonly damage: DamageKind;
  /** Where the damage can strike. */
  readonly strikes: readonly Strike[];
}

/** One way to do it. */
export interface Strike {
  /** Where, for the report. */
  readonly where: string;
  readonly apply: () => Damage;
}

/** What the damages need beside a specimen. */
export interface CellOptions {
  /** Another journal, in which everything stands at the same place. */
  readonly foreign: Specimen;
}

/** All cells of a kind of file on a specimen. */
export function cellsOf(specimen: Specimen, kind: FileKind, options: CellOptions): DamageCell[] {
  const cells = new Map<string, DamageCell & { strikes: Strike[] }>();
  for (const file of filesOf(specimen)) {
    if (kindsOf(specimen, file)[0] !== kind) continue;
    for (const { region, damage, strike } of strikesOf(specimen, kind, file, options)) {
      const key = `${region} ${damage}`;
      let cell = cells.get(key);
      if (cell === undefined) cells.set(key, cell = { kind, region, damage, strikes: [] });
      cell.strikes.push(strike);
    }
  }
  return [...cells.values()];
}

/** A way to do damage, and the cell it belongs to. */
interface PlacedStrike {
  readonly region: string;
  readonly damage: DamageKind;
  readonly strike: Strike;
}

const PAGE_SIZE = 64;
/** A region with more bytes than this is struck at so many of them. */
const REGION_SIZE_MAX = 2048;
const GARBAGE = Uint8Array.from({ length: 77 }, (_, i) => (i * 37 + 11) & 0xff);

function* strikesOf(
  specimen: Specimen,
  kind: FileKind,
  file: string,
  { foreign }: CellOptions,
): Generator<PlacedStrike> {
  const { fs } = specimen;
  const path = `${SPECIMEN_DIR}/${file}`;
  const bytes = bytesOf(specimen, file);
  for (const region of regionsOf(specimen, kind, file)) {
    yield* regionStrikes(specimen, file, region);
  }

  const whole = (
    damage: DamageKind,
    apply: () => SimFs,
    files: readonly string[] = [],
  ): PlacedStrike => ({
    region: "file",
    damage,
    strike: { where: file, apply: () => ({ fs: apply(), files: [file, ...files] }) },
  });
  const names = filesOf(specimen);
  const segments = names.filter((name) => segmentIdOf(name) !== undefined);
  const behind = segments.find((name) => name > file);
  yield whole("missing", () => missing(fs, path), behind === undefined ? [] : [behind]);
  if (bytes.byteLength > 0) yield whole("empty", () => truncate(fs, path, 0));
  yield whole("zeros behind it", () => appendBytes(fs, path, new Uint8Array(100)));
  yield whole("garbage behind it", () => appendBytes(fs, path, GARBAGE));
  for (
    const [damage, others] of [
      ["of another journal", [foreign.fs]],
      ["an older copy", specimen.earlier],
    ] as const
  ) {
    const other = others.find((fs) =>
      fs.stat(path) !== undefined && !bytesEqual(bytes, fs.readFile(path, Number.MAX_SAFE_INTEGER))
    );
    if (other !== undefined) yield whole(damage, () => staleCopy(fs, path, other));
  }
  const neighbour = names.find((name) =>
    name !== file && kindsOf(specimen, name)[0] === kind &&
    !bytesEqual(bytes, bytesOf(specimen, name))
  ) ?? (segments.includes(file) ? segments.find((name) => name !== file) : undefined);
  if (neighbour !== undefined) {
    const swap = () => swapFiles(fs, path, `${SPECIMEN_DIR}/${neighbour}`);
    yield whole("swapped with its neighbour", swap, [neighbour]);
  }
  const frames = specimen.frames.get(file);
  if (!segments.includes(file) || frames === undefined) return;
  const next = segmentName(segmentIdOf(segments.at(-1)!)! + 1);
  const renumber = () => duplicateFile(fs, path, `${SPECIMEN_DIR}/${next}`);
  yield whole("also under the next number", renumber, [next]);

  // Pages that hold nothing but frames; of the newest segment, only in front of its last group.
  const isActive = kind === "active segment";
  const last = frames[frames.length - 1];
  const pagesEnd = isActive ? last.groupStart : last.end;
  const page = Math.ceil(frames[0].start / PAGE_SIZE);
  const source = page + 1;
  if ((source + 1) * PAGE_SIZE <= pagesEnd) {
    const size = { pageSize: PAGE_SIZE };
    const places = frames.filter(({ start, end }) =>
      start < (page + 1) * PAGE_SIZE && end > page * PAGE_SIZE
    );
    const paged = (damage: DamageKind, apply: () => SimFs): PlacedStrike => ({
      region: "frames",
      damage,
      strike: { where: file, apply: () => ({ fs: apply(), files: [file], places }) },
    });
    yield paged("a page of zeros", () => zeroPage(fs, path, page, PAGE_SIZE));
    yield paged("a page twice", () => duplicatePage(fs, path, { source, target: page, ...size }));
    const others = segments.filter((name) => name !== file && specimen.frames.has(name));
    const isFull = (name: string) => specimen.frames.get(name)!.at(-1)!.end >= 512;
    const other = others.find((name) => isFull(name) && kindsOf(specimen, name)[0] === kind) ??
      others.find((name) => isFull(name) && name !== segments.at(-1));
    if (other !== undefined) {
      const sourcePath = `${SPECIMEN_DIR}/${other}`;
      const place = { sourcePath, source, target: page, ...size };
      yield paged("a page of another file", () => misdirectPage(fs, path, place));
      const swap = () => swapPages(fs, path, sourcePath, { page: source + 1, ...size });
      yield {
        region: "frames",
        damage: "a page swapped with another file's",
        strike: { where: file, apply: () => ({ fs: swap(), files: [file, other] }) },
      };
    }
  }
  if (!isActive) return;
  for (const { start, groupStart } of frames) {
    if (start !== groupStart) continue;
    const region = endRegionOf(specimen, file, start);
    const end = (damage: DamageKind, apply: () => SimFs): PlacedStrike => ({
      region,
      damage,
      strike: { where: `${file} at ${start}`, apply: () => ({ fs: apply(), files: [file] }) },
    });
    yield end("cut off between groups", () => truncate(fs, path, start));
    yield end("zeros to the end", () => zeroRange(fs, path, start, bytes.byteLength));
  }
}

/** What a loss from `start` on is a loss of. */
function endRegionOf(specimen: Specimen, file: string, start: number): string {
  const first = specimen.frames.get(file)!.find((frame) => frame.start === start)!;
  const isSaved = first.sequence < specimen.indexEnd;
  return `groups, ${isSaved ? "some" : "none"} of them saved`;
}

function* regionStrikes(
  specimen: Specimen,
  file: string,
  region: FileRegion,
): Generator<PlacedStrike> {
  const { fs } = specimen;
  const path = `${SPECIMEN_DIR}/${file}`;
  const { name, start, end, unitStart, unitEnd, bits } = region;
  const places = [{ start: unitStart, end: unitEnd }];
  const strike = (damage: DamageKind, where: string, apply: () => SimFs): PlacedStrike => ({
    region: name,
    damage,
    strike: { where: `${file} ${where}`, apply: () => ({ fs: apply(), files: [file], places }) },
  });
  // Of what goes on and on, some bytes will do.
  const stride = Math.ceil((end - start) / REGION_SIZE_MAX);
  for (let offset = start; offset < end; offset += stride) {
    for (let bit = 0; bit < 8; bit++) {
      if (bits !== undefined && (bits(offset) & 1 << bit) === 0) continue;
      yield strike("a flipped bit", `${offset}.${bit}`, () => flipBit(fs, path, offset, bit));
    }
  }
  if (name.endsWith("raised")) return;
  if (bytesOf(specimen, file).subarray(start, end).some((byte) => byte !== 0)) {
    yield strike("zeros", `${start} to ${end}`, () => zeroRange(fs, path, start, end));
  }
  const bytes = bytesOf(specimen, file);
  const isGroupStart = specimen.frames.get(file)?.some(({ groupStart }) =>
    groupStart === unitStart
  );
  for (let size = Math.max(start, unitStart + 1); size < end; size += stride) {
    const { region, damage, strike: cut } = strike(
      "cut off here",
      `at ${size}`,
      () => truncate(fs, path, size),
    );
    // Sizes begin with zeros, and zeros are the end of the log.
    const isEnd = isGroupStart && file === lastSegment(specimen) &&
      bytes.subarray(unitStart, size).every((byte) => byte === 0);
    // So that there is nothing left of it.
    if (name === "torn tail" && bytes.subarray(start, size).every((byte) => byte === 0)) continue;
    yield isEnd
      ? {
        region: endRegionOf(specimen, file, unitStart),
        damage: "cut off between groups",
        strike: cut,
      }
      : { region, damage, strike: cut };
  }
}
