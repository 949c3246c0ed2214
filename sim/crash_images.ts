/**
 * What a disk can look like after the power was cut: one policy for each kind of disk there is.
 *
 * | Policy          | Bytes that were not synced                           | Names that were not synced       | Stands for                                              |
 * | --------------- | ---------------------------------------------------- | -------------------------------- | ------------------------------------------------------- |
 * | `processKill`   | all are there, and still not durable                 | the same                         | `kill -9`: the page cache survives                      |
 * | `durable`       | none                                                 | none                             | the least that every honest disk leaves                 |
 * | `ordered`       | of each file the first so many writes                | none                             | a file system that keeps the order of writes of a file  |
 * | `anyPrefix`     | of each file any prefix, cut at any byte             | of each directory the first ones | ext4 or xfs, with files that only grow                  |
 * | `reordered`     | the same                                             | any that do not need a lost one  | file systems that log directories apart from each other |
 * | `subset`        | any pages of 4,096 bytes; the size before the data   | the same                         | write-back of dirty pages in any order: zero tails      |
 * | `torn`          | any sectors of 512 bytes, or one cut at a byte       | the same                         | disks that write a page in more than one piece          |
 * | `garbage`       | as `torn`, and what is lost may be filled with noise | the same                         | `data=writeback`: stale blocks in a grown file          |
 * | `brokenSectors` | the same, and noise takes whole sectors with it,     | the same                         | cheap flash without power-loss protection               |
 * |                 | durable bytes included                               |                                  |                                                         |
 * | `lying`         | syncs that were answered may not have happened       | the same                         | a disk whose cache ignores flushes                      |
 *
 * A sector or page may also stand as it was between two writes to it. What is durable is never taken, but by
 * the last two. Which of these images a store must open, and which it may refuse, is the oracle's business.
 *
 * All images are enumerated when there are no more than asked for. Otherwise they are drawn: first
 * everything lost and everything kept, then others.
 *
 * @module
 */

import {
  applyToContent,
  Content,
  type DirNode,
  type FileNode,
  type FileStep,
  keysOf,
  type NameStep,
  type Node,
  type SimDisk,
  type SimStep,
} from "./sim_disk.ts";
import type { SimRandom } from "./sim_random.ts";

/** What a crash may take; see the top of the file. */
export const CRASH_POLICIES = [
  "processKill",
  "durable",
  "ordered",
  "anyPrefix",
  "reordered",
  "subset",
  "torn",
  "garbage",
  "brokenSectors",
  "lying",
] as const;

/** One of {@linkcode CRASH_POLICIES}. */
export type CrashPolicy = typeof CRASH_POLICIES[number];

const PAGE_SIZE = 4096;
const SECTOR_SIZE = 512;

/** One image, drawn at random. `lying` is not for a disk but for a trace: see {@linkcode lyingDisks}. */
export function sampleImage(disk: SimDisk, policy: CrashPolicy, random: SimRandom): SimDisk {
  if (policy === "processKill") return disk.clone();
  if (policy === "durable") return disk.image();
  return new ImageSpace(disk, policy).draw(random);
}

/** All images when there are at most `limit`, else `limit` of them. */
export function* imagesOf(
  disk: SimDisk,
  policy: CrashPolicy,
  limit: number,
  random: SimRandom,
): Generator<SimDisk> {
  if (policy === "processKill" || policy === "durable") {
    yield sampleImage(disk, policy, random);
    return;
  }
  const space = new ImageSpace(disk, policy, limit);
  if (space.count <= limit) {
    yield* space.all(random);
    return;
  }
  for (let i = 0; i < limit; i++) {
    if (i === 0) yield space.extreme(false, random);
    else if (i === 1) yield space.extreme(true, random);
    else yield space.draw(random);
  }
}

/**
 * Disks on which some of the syncs of a trace did not happen, though they were answered: all
 * combinations when there are at most `limit`, else each of them alone, all together, and combinations.
 */
export function* lyingDisks(
  base: SimDisk,
  trace: readonly SimStep[],
  position: number,
  limit: number,
  random: SimRandom,
): Generator<SimDisk> {
  const syncs: number[] = [];
  for (let i = 0; i < position; i++) {
    const step = trace[i];
    if ((step.type === "sync" || step.type === "syncDir") && step.outcome === "honored") {
      syncs.push(i);
    }
  }
  const without = (isDropped: (nth: number) => boolean): SimDisk => {
    const dropped = new Set(syncs.filter((_, nth) => isDropped(nth)));
    const disk = base.clone();
    for (let i = 0; i < position; i++) if (!dropped.has(i)) disk.apply(trace[i]);
    return disk;
  };
  if (syncs.length < 31 && 2 ** syncs.length <= limit) {
    for (let bits = 0; bits < 2 ** syncs.length; bits++) {
      yield without((nth) => (bits >> nth & 1) === 1);
    }
    return;
  }
  for (let i = 0; i < limit; i++) {
    if (i === 0) {
      yield without(() => true);
    } else if (i <= syncs.length && syncs.length <= limit / 2) {
      yield without((nth) => nth === i - 1);
    } else {
      const rate = random.pick(RATES);
      yield without(() => random.chance(rate));
    }
  }
}

/** How much of an image is kept, roughly: small and large crashes find different things. */
const RATES: readonly number[] = [0.02, 0.2, 0.5, 0.8, 0.98];

/** Of one file, what may be there. An axis is one decision; its last value is everything. */
interface FileSpace {
  readonly file: FileNode;
  readonly axes: readonly number[];
  build(choices: readonly number[], random: SimRandom, isDrawn: boolean): Content;
}

/** Everything that a crash may leave of a disk. */
class ImageSpace {
  /** How many images there are, when that is no more than asked for; more otherwise. */
  readonly count: number;
  readonly #disk: SimDisk;
  readonly #files: FileSpace[];
  readonly #names: NameSpace;

  constructor(disk: SimDisk, policy: CrashPolicy, limit = 0) {
    this.#disk = disk;
    this.#files = survivors(disk).map((file) => fileSpace(file, policy));
    this.#names = new NameSpace(disk.pendingNames, policy);
    let count = this.#names.count(limit);
    for (const { axes } of this.#files) for (const axis of axes) count *= axis;
    this.count = count;
  }

  *all(random: SimRandom): Generator<SimDisk> {
    const axes = this.#files.flatMap((file) => file.axes);
    for (const kept of this.#names.all()) {
      const choices = axes.map(() => 0);
      for (;;) {
        yield this.#image(choices, kept, random, false);
        let axis = 0;
        while (axis < axes.length && ++choices[axis] === axes[axis]) choices[axis++] = 0;
        if (axis === axes.length) break;
      }
    }
  }

  extreme(isKept: boolean, random: SimRandom): SimDisk {
    const choices = this.#files.flatMap(({ axes }) => axes.map((axis) => isKept ? axis - 1 : 0));
    return this.#image(choices, this.#disk.pendingNames.map(() => isKept), random, false);
  }

  draw(random: SimRandom): SimDisk {
    const rate = random.pick(RATES);
    const choices = this.#files.flatMap(({ axes }) =>
      axes.map((axis) => random.chance(rate) ? axis - 1 : random.below(axis))
    );
    return this.#image(choices, this.#names.draw(random), random, true);
  }

  #image(
    choices: readonly number[],
    kept: readonly boolean[],
    random: SimRandom,
    isDrawn: boolean,
  ): SimDisk {
    const contents = new Map<number, Content>();
    let start = 0;
    for (const { file, axes, build } of this.#files) {
      contents.set(file.id, build(choices.slice(start, start += axes.length), random, isDrawn));
    }
    return this.#disk.image((file) => {
      // A file may have two names; each image has its own content.
      return contents.get(file.id) ?? file.durable.share();
    }, (index) => kept[index]);
  }
}

/** Files that may be there after a crash, and that have something to lose. */
function survivors(disk: SimDisk): FileNode[] {
  const seen = new Set<number>();
  const files: FileNode[] = [];
  const visit = (node: Node): void => {
    if (seen.has(node.id)) return;
    seen.add(node.id);
    if (node.kind === "dir") visitDir(node);
    if (node.kind !== "file") return;
    void node.durable;
    if (node.log.length > 0) files.push(node);
  };
  const visitDir = (dir: DirNode): void => {
    for (const node of dir.durable.values()) visit(node);
  };
  visit(disk.root);
  for (const { node } of disk.pendingNames) visit(disk.node(node));
  return files.sort((a, b) => a.id - b.id);
}

function fileSpace(file: FileNode, policy: CrashPolicy): FileSpace {
  switch (policy) {
    case "ordered":
      return {
        file,
        axes: [file.log.length + 1],
        build: ([count]) => {
          const content = file.durable.share();
          for (let i = 0; i < count; i++) applyToContent(content, file.log[i]);
          return content;
        },
      };
    case "anyPrefix":
    case "reordered":
      return prefixSpace(file);
    case "subset":
      return new UnitSpace(file, PAGE_SIZE, policy);
    default:
      return new UnitSpace(file, SECTOR_SIZE, policy);
  }
}

/** Prefixes that may be cut at any byte of a write. */
function prefixSpace(file: FileNode): FileSpace {
  const sizeOf = (step: FileStep) => step.type === "write" ? step.bytes.byteLength : 1;
  const total = file.log.reduce((sum, step) => sum + sizeOf(step), 0);
  const build = ([choice]: readonly number[], random: SimRandom, isDrawn: boolean): Content => {
    const content = file.durable.share();
    let left = choice;
    // Between two writes is where most crashes are; drawn by bytes, a long write would take them all.
    if (isDrawn && random.chance(0.5)) {
      const count = random.below(file.log.length + 1);
      left = file.log.slice(0, count).reduce((sum, step) => sum + sizeOf(step), 0);
    }
    for (const step of file.log) {
      const size = sizeOf(step);
      if (left < size) {
        if (step.type === "write") content.write(step.bytes, 0, left, step.position);
        break;
      }
      applyToContent(content, step);
      left -= size;
    }
    return content;
  };
  return { file, axes: [total + 1], build };
}

/** Pages or sectors that each stand as they were after one of the steps that changed them; and the size. */
class UnitSpace implements FileSpace {
  readonly file: FileNode;
  readonly axes: number[];
  readonly build: FileSpace["build"];
  readonly #unit: number;
  readonly #policy: CrashPolicy;
  /** Units that something changed, ascending. */
  readonly #units: number[];
  readonly #sizes: number[];
  /** What each step of the log changed. */
  readonly #ranges: { start: number; end: number }[] = [];
  /** Behind all bytes that ever were. */
  readonly #end: number;

  constructor(file: FileNode, unit: number, policy: CrashPolicy) {
    this.file = file;
    this.#unit = unit;
    this.#policy = policy;
    const { durable } = file;
    let { used } = durable;
    let { size } = durable;
    let end = used;
    const sizes = new Set([size]);
    const versions = new Map<number, number>();
    for (const step of file.log) {
      const range = step.type === "write"
        ? { start: step.position, end: step.position + step.bytes.byteLength }
        : { start: Math.min(step.size, used), end: used };
      size = step.type === "write" ? Math.max(size, range.end) : step.size;
      used = step.type === "write" ? Math.max(used, range.end) : Math.min(used, step.size);
      end = Math.max(end, used);
      // The last size comes last, so that the last choice of each axis is everything.
      sizes.delete(size);
      sizes.add(size);
      this.#ranges.push(range);
      for (const index of unitsOf(range, unit)) versions.set(index, (versions.get(index) ?? 0) + 1);
    }
    this.#end = end;
    this.#units = [...versions.keys()].sort((a, b) => a - b);
    this.#sizes = [...sizes];
    this.axes = [...this.#units.map((index) => versions.get(index)! + 1), sizes.size];
    this.build = (choices, random, isDrawn) => this.#build(choices, random, isDrawn);
  }

  #build(choices: readonly number[], random: SimRandom, isDrawn: boolean): Content {
    const { log, durable } = this.file;
    const unit = this.#unit;
    const bytes = new Uint8Array(this.#end);
    bytes.set(durable.bytes.subarray(0, durable.used));
    const chosen = new Map(this.#units.map((index, i) => [index, choices[i]]));
    const seen = new Map<number, number>();
    const torn = this.#tear(choices, random, isDrawn);
    const lost: { start: number; end: number }[] = [];
    for (const [i, step] of log.entries()) {
      for (const index of unitsOf(this.#ranges[i], unit)) {
        const version = (seen.get(index) ?? 0) + 1;
        seen.set(index, version);
        const start = Math.max(this.#ranges[i].start, index * unit);
        let end = Math.min(this.#ranges[i].end, (index + 1) * unit);
        if (version > chosen.get(index)!) {
          if (step.type === "write") lost.push({ start, end });
          continue;
        }
        // The newest thing in a torn sector is there up to a byte.
        if (torn?.index === index && version === chosen.get(index)) end = Math.min(end, torn.end);
        if (end <= start) continue;
        if (step.type === "resize") bytes.fill(0, start, end);
        else bytes.set(step.bytes.subarray(start - step.position, end - step.position), start);
      }
    }
    this.#addNoise(bytes, lost, random);
    const content = new Content();
    content.bytes = bytes;
    content.used = bytes.byteLength;
    content.size = bytes.byteLength;
    content.resize(this.#sizes[choices[choices.length - 1]]);
    return content;
  }

  /** Where a sector is cut, in some images. */
  #tear(choices: readonly number[], random: SimRandom, isDrawn: boolean) {
    if (this.#policy === "subset" || !isDrawn || random.chance(0.5)) return undefined;
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

function* unitsOf(range: { start: number; end: number }, unit: number): Generator<number> {
  if (range.end <= range.start) return;
  const last = Math.floor((range.end - 1) / unit);
  for (let index = Math.floor(range.start / unit); index <= last; index++) yield index;
}

/** Steps of names that may be kept: any that does not need one that is lost. */
class NameSpace {
  readonly #needs: number[][];

  constructor(steps: readonly NameStep[], policy: CrashPolicy) {
    this.#needs = steps.map((step, index) => {
      const keys = new Set(keysOf(step));
      const needs: number[] = [];
      for (let before = 0; before < index; before++) {
        if (policy === "ordered") break;
        const earlier = steps[before];
        // On a disk that keeps the order within a directory, everything before it in the same one.
        const isNeeded = policy === "anyPrefix"
          ? dirsOf(earlier).some((dir) => dirsOf(step).includes(dir))
          : keysOf(earlier).some((key) => keys.has(key));
        // And whatever is in a directory needs the directory.
        if (isNeeded || (earlier.type === "create" && dirsOf(step).includes(earlier.node))) {
          needs.push(before);
        }
      }
      return needs;
    });
    if (policy === "ordered") this.#needs = steps.map(() => [NEVER]);
  }

  /** How many ways there are, counted no further than a little above `limit`. */
  count(limit: number): number {
    let count = 0;
    for (const _kept of this.all()) if (++count > limit) break;
    return count;
  }

  *all(kept: boolean[] = []): Generator<readonly boolean[]> {
    const index = kept.length;
    if (index === this.#needs.length) {
      yield kept;
      return;
    }
    yield* this.all([...kept, false]);
    if (this.#mayKeep(index, kept)) yield* this.all([...kept, true]);
  }

  draw(random: SimRandom): boolean[] {
    const rate = random.pick(RATES);
    const kept: boolean[] = [];
    for (let i = 0; i < this.#needs.length; i++) {
      const isWanted = random.chance(rate);
      kept.push(isWanted && this.#mayKeep(i, kept));
    }
    return kept;
  }

  #mayKeep(index: number, kept: readonly boolean[]): boolean {
    return this.#needs[index].every((needed) => kept[needed] === true);
  }
}

/** No step has this index, so whoever needs it is never kept. */
const NEVER = -1;

function dirsOf(step: NameStep): number[] {
  return step.type === "rename" ? [step.dir, step.targetDir] : [step.dir];
}
