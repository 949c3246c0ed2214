/**
 * What a crash may leave of one file: any of some sizes, and for each size any of some contents.
 *
 * Sizes come first because some files are only ever asked how large they are.
 *
 * @module
 */

import { bytesEqual } from "../store/hash.ts";
import type { CrashPolicy } from "./crash_images.ts";
import { applyToContent, Content, type FileNode, type FileStep } from "./sim_disk.ts";
import type { SimRandom } from "./sim_random.ts";

const PAGE_SIZE = 4096;
const SECTOR_SIZE = 512;

/** Of one file, what may be there. */
export interface FileSpace {
  /** Which. */
  readonly file: FileNode;
  /** What may be there, by its size. */
  readonly sizes: readonly SizeSpace[];
  /** Nothing of what was not synced, or everything. */
  extreme(isKept: boolean): Content;
  /** Something in between, of which some is finer than what is enumerated. */
  draw(random: SimRandom, rate: number): Content;
}

/** What may be there of one size. */
export interface SizeSpace {
  /** That size. */
  readonly size: number;
  /** In how many ways it may have come about; some give the same content. */
  readonly ways: number;
  /** The content of one of them. */
  build(way: number, noise: SimRandom): Content;
}

/** What a disk of this kind may leave of a file; not of kinds that do not choose. */
export function fileSpace(file: FileNode, policy: CrashPolicy): FileSpace {
  switch (policy) {
    case "ordered":
      return new PrefixSpace(file, 1);
    case "anyPrefix":
    case "reordered":
      return new PrefixSpace(file, Infinity);
    case "subset":
      return new UnitSpace(file, PAGE_SIZE, policy);
    default:
      return new UnitSpace(file, SECTOR_SIZE, policy);
  }
}

/** The first steps of the log; a write may be cut, too. */
class PrefixSpace implements FileSpace {
  readonly file: FileNode;
  readonly sizes: readonly SizeSpace[];
  /** Into how many pieces each step may be cut. */
  readonly #pieces: readonly number[];
  readonly #total: number;

  /** @param piecesMax 1 when writes are not cut. */
  constructor(file: FileNode, piecesMax: number) {
    this.file = file;
    this.#pieces = file.log.map((step) =>
      step.type === "write" ? Math.min(piecesMax, step.bytes.byteLength) : 1
    );
    this.#total = this.#pieces.reduce((sum, count) => sum + count, 0);
    const bySize = new Map<number, number[]>();
    for (let length = 0; length <= this.#total; length++) {
      const { size } = this.#prefix(length);
      const same = bySize.get(size);
      if (same === undefined) bySize.set(size, [length]);
      else same.push(length);
    }
    this.sizes = [...bySize].map(([size, lengths]) => ({
      size,
      ways: lengths.length,
      build: (way) => this.#content(lengths[way]),
    }));
  }

  extreme(isKept: boolean): Content {
    return this.#content(isKept ? this.#total : 0);
  }

  draw(random: SimRandom, rate: number): Content {
    let length = random.chance(rate) ? this.#total : random.below(this.#total + 1);
    // Between two writes is where most crashes are; drawn by bytes, a long write would take them all.
    if (random.chance(0.5)) {
      const count = random.below(this.#pieces.length + 1);
      length = this.#pieces.slice(0, count).reduce((sum, pieces) => sum + pieces, 0);
    }
    return this.#content(length);
  }

  #content(length: number): Content {
    const content = this.file.durable.share();
    const { whole, cut } = this.#prefix(length);
    const { log } = this.file;
    for (let i = 0; i < whole; i++) applyToContent(content, log[i]);
    const step = log[whole];
    if (cut > 0 && step.type === "write") content.write(step.bytes, 0, cut, step.position);
    return content;
  }

  /** How many steps so many pieces are, and bytes of the next; and the size of the file then. */
  #prefix(length: number): { whole: number; cut: number; size: number } {
    const { log, durable } = this.file;
    let { size } = durable;
    let left = length;
    for (let whole = 0; whole < log.length; whole++) {
      const step = log[whole];
      if (left < this.#pieces[whole]) {
        const isCut = left > 0 && step.type === "write";
        return { whole, cut: left, size: isCut ? Math.max(size, step.position + left) : size };
      }
      size = sizeAfter(step, size);
      left -= this.#pieces[whole];
    }
    return { whole: log.length, cut: 0, size };
  }
}

function sizeAfter(step: FileStep, size: number): number {
  return step.type === "resize" ? step.size : Math.max(size, step.position + step.bytes.byteLength);
}

/** Pages or sectors that each stand as they were after one of the steps that changed them; and the size. */
class UnitSpace implements FileSpace {
  readonly file: FileNode;
  readonly sizes: readonly SizeSpace[];
  readonly #unit: number;
  readonly #policy: CrashPolicy;
  /** Units that something changed, ascending. */
  readonly #units: readonly number[];
  /** For each of them, in how many states it may be: the last one is everything. */
  readonly #axes: readonly number[];
  /** What each step of the log touched, and the units in which that made a difference. */
  readonly #touched: { start: number; end: number; units: number[] }[] = [];
  /** Behind all bytes that ever were. */
  readonly #end: number;

  constructor(file: FileNode, unit: number, policy: CrashPolicy) {
    this.file = file;
    this.#unit = unit;
    this.#policy = policy;
    const { durable, log } = file;
    let { used, size } = durable;
    let end = used;
    const sizes = new Set([size]);
    for (const step of log) {
      const { start, end: stop } = step.type === "write"
        ? { start: step.position, end: step.position + step.bytes.byteLength }
        : { start: Math.min(step.size, used), end: used };
      size = sizeAfter(step, size);
      used = step.type === "write" ? Math.max(used, stop) : Math.min(used, step.size);
      end = Math.max(end, used);
      // The last size comes last.
      sizes.delete(size);
      sizes.add(size);
      this.#touched.push({ start, end: stop, units: [] });
    }
    this.#end = end;
    // Zeros that are zeroed once more are nothing to choose for.
    const bytes = new Uint8Array(end);
    bytes.set(durable.bytes.subarray(0, durable.used));
    const versions = new Map<number, number>();
    for (const [i, step] of log.entries()) {
      const before = bytes.slice();
      const touched = this.#touched[i];
      applyWithin(bytes, step, touched.start, touched.end);
      for (const index of unitsOf(touched, unit)) {
        const [start, stop] = [index * unit, (index + 1) * unit];
        if (bytesEqual(bytes.subarray(start, stop), before.subarray(start, stop))) continue;
        touched.units.push(index);
        versions.set(index, (versions.get(index) ?? 0) + 1);
      }
    }
    this.#units = [...versions.keys()].sort((a, b) => a - b);
    this.#axes = this.#units.map((index) => versions.get(index)! + 1);
    const ways = this.#axes.reduce((product, axis) => product * axis, 1);
    this.sizes = [...sizes].map((size) => ({
      size,
      ways,
      build: (way, noise) => this.#build(this.#choicesOf(way), size, noise),
    }));
  }

  extreme(isKept: boolean): Content {
    const { size } = isKept ? this.sizes[this.sizes.length - 1] : this.sizes[0];
    return this.#build(this.#axes.map((axis) => isKept ? axis - 1 : 0), size);
  }

  draw(random: SimRandom, rate: number): Content {
    const below = (count: number) => random.chance(rate) ? count - 1 : random.below(count);
    const choices = this.#axes.map(below);
    const { size } = this.sizes[below(this.sizes.length)];
    return this.#build(choices, size, random, this.#tear(choices, random));
  }

  #choicesOf(way: number): number[] {
    let left = way;
    return this.#axes.map((axis) => {
      const choice = left % axis;
      left = Math.floor(left / axis);
      return choice;
    });
  }

  #build(
    choices: readonly number[],
    size: number,
    noise?: SimRandom,
    torn?: { readonly index: number; readonly end: number },
  ): Content {
    const { log, durable } = this.file;
    const unit = this.#unit;
    const bytes = new Uint8Array(this.#end);
    bytes.set(durable.bytes.subarray(0, durable.used));
    const chosen = new Map(this.#units.map((index, i) => [index, choices[i]]));
    const seen = new Map<number, number>();
    const lost: { start: number; end: number }[] = [];
    for (const [i, step] of log.entries()) {
      const touched = this.#touched[i];
      for (const index of touched.units) {
        const version = (seen.get(index) ?? 0) + 1;
        seen.set(index, version);
        const start = Math.max(touched.start, index * unit);
        let end = Math.min(touched.end, (index + 1) * unit);
        if (version > chosen.get(index)!) {
          if (step.type === "write") lost.push({ start, end });
          continue;
        }
        // The newest thing in a torn sector is there up to a byte.
        if (torn?.index === index && version === chosen.get(index)) end = Math.min(end, torn.end);
        if (end > start) applyWithin(bytes, step, start, end);
      }
    }
    if (noise !== undefined) this.#addNoise(bytes, lost, noise);
    const content = new Content();
    content.bytes = bytes;
    content.used = content.size = bytes.byteLength;
    content.resize(size);
    return content;
  }

  /** Where a sector is cut, in some images. */
  #tear(choices: readonly number[], random: SimRandom) {
    if (this.#policy === "subset" || random.chance(0.5)) return undefined;
    const nth = random.below(this.#units.length || 1);
    const index = this.#units[nth];
    if (index === undefined || choices[nth] === 0) return undefined;
    return { index, end: index * this.#unit + random.below(this.#unit) };
  }

  #addNoise(
    bytes: Uint8Array,
    lost: readonly { start: number; end: number }[],
    random: SimRandom,
  ): void {
    if (this.#policy !== "garbage" && this.#policy !== "brokenSectors") return;
    const noisy = new Map<number, boolean>();
    for (const { start, end } of lost) {
      const index = Math.floor(start / this.#unit);
      let isNoisy = noisy.get(index);
      if (isNoisy === undefined) {
        noisy.set(index, isNoisy = random.chance(0.5));
        if (isNoisy && this.#policy === "brokenSectors") {
          random.fill(
            bytes,
            index * this.#unit,
            Math.min((index + 1) * this.#unit, bytes.byteLength),
          );
        }
      }
      if (!isNoisy || this.#policy !== "garbage") continue;
      // Only where nothing durable stood.
      const { used } = this.file.durable;
      if (end > used) random.fill(bytes, Math.max(start, used), end);
    }
  }
}

/** Does to the bytes from `start` to `end` what a step that touches them says. */
function applyWithin(bytes: Uint8Array, step: FileStep, start: number, end: number): void {
  if (step.type === "resize") bytes.fill(0, start, end);
  else bytes.set(step.bytes.subarray(start - step.position, end - step.position), start);
}

function* unitsOf(range: { start: number; end: number }, unit: number): Generator<number> {
  if (range.end <= range.start) return;
  const last = Math.floor((range.end - 1) / unit);
  for (let index = Math.floor(range.start / unit); index <= last; index++) yield index;
}
