/**
 * Everything that a crash may leave of a disk: any outcome for its names that the kind of disk allows, and
 * for each file that is there then, any content.
 *
 * The outcomes for names come first, each once. What is lost with its name cannot be chosen for, and neither
 * can what has only one content. A walk chooses for the files that matter first: when those are known, so is
 * whatever stands in the others.
 *
 * @module
 */

import type {
  CrashImage,
  CrashPolicy,
  CrashSpace,
  FileImportance,
  ImageId,
  WalkLimits,
} from "./crash_images.ts";
import { type FileSpace, fileSpace } from "./file_space.ts";
import { type ContentPool, type ImageKey, NOT_CHOSEN, shapeOf } from "./image_set.ts";
import {
  type Content,
  type DirNode,
  type FileNode,
  keysOf,
  type NameStep,
  type Node,
  type SimDisk,
} from "./sim_disk.ts";
import type { SimRandom } from "./sim_random.ts";

/** How much of an image is kept, roughly: small and large crashes find different things. */
export const RATES: readonly number[] = [0.02, 0.2, 0.5, 0.8, 0.98];

/** More outcomes for names than this are not enumerated. */
const NAME_WAYS_MAX = 4096;

/** One outcome for the names of a disk. */
interface Tree {
  /** Its number among those that differ. */
  readonly index: number;
  readonly kept: readonly boolean[];
  readonly shape: string;
  readonly paths: readonly string[];
  readonly files: readonly FileNode[];
}

/** Everything that a crash may leave of a disk; see the top of the file. */
export class ImageSpace implements CrashSpace {
  /** In how many ways a crash may choose. */
  readonly ways: number;
  /** Whether there is more than can be chosen. */
  readonly isEndless: boolean;
  readonly #disk: SimDisk;
  readonly #random: SimRandom;
  readonly #spaces = new Map<number, FileSpace>();
  readonly #names: NameSpace;
  /** Every outcome for the names; none when there are too many. */
  readonly #trees: readonly Tree[] | undefined;

  /**
   * What may be left of a disk, by its kind.
   *
   * @param random decides what is drawn.
   */
  constructor(disk: SimDisk, policy: CrashPolicy, random: SimRandom) {
    this.#disk = disk;
    this.#random = random;
    this.isEndless = policy === "garbage" || policy === "brokenSectors";
    for (const file of policy === "durable" ? [] : survivors(disk)) {
      this.#spaces.set(file.id, fileSpace(file, policy));
    }
    const pending = policy === "durable" ? [] : disk.pendingNames;
    this.#names = new NameSpace(pending, policy);
    this.#trees = this.#plant();
    this.ways = this.#trees === undefined ? Infinity : this.#trees.reduce(
      (sum, { files }) => sum + files.reduce((product, file) => product * this.#waysOf(file), 1),
      0,
    );
  }

  /** One image. */
  image(id: ImageId): CrashImage {
    if (typeof id === "number") return this.#draw(id);
    const tree = this.#trees![id[0]];
    const contents = new Map<number, Content>();
    let next = 1;
    for (const file of tree.files) {
      if (!this.#spaces.has(file.id)) continue;
      contents.set(file.id, this.#build(file, id[next], id[next + 1]));
      next += 2;
    }
    return this.#imageOf(id, tree, contents);
  }

  /** All images that are not known when it is their turn. */
  *walk({ pool, isKnown, importanceOf, work }: WalkLimits): Generator<CrashImage, boolean> {
    if (this.#trees === undefined) return false;
    const budget = { work };
    const bytes = new Map<string, BytesChoices>();
    const bytesOf = (file: FileNode, size: number): BytesChoices => {
      const name = `${file.id} ${size}`;
      let choices = bytes.get(name);
      if (choices === undefined) {
        const { ways } = this.#spaces.get(file.id)!.sizes[size];
        choices = new BytesChoices(ways, (way) => this.#build(file, size, way), budget);
        bytes.set(name, choices);
      }
      return choices;
    };
    for (const tree of this.#trees) {
      const { shape, files, paths } = tree;
      const open = files.map((_, i) => i).filter((i) => this.#spaces.has(files[i].id));
      const contents = files.flatMap((file) =>
        this.#spaces.has(file.id)
          ? [NOT_CHOSEN, NOT_CHOSEN]
          : [file.durable.size, pool.idOf(file.durable)]
      );
      if (isKnown({ shape, contents })) continue;
      if (open.length === 0) {
        yield this.#imageOf([tree.index], tree, new Map());
        continue;
      }
      const order = orderOf(open, (i) => importanceOf(paths[i]));
      const sizeAt = new Map<number, number>();
      const chosen = new Map<number, BytesChoice>();
      const choose = ({ i, isSize }: Decision, nth: number): number | undefined => {
        if (isSize) {
          sizeAt.set(i, nth);
          return this.#spaces.get(files[i].id)!.sizes[nth]?.size;
        }
        const choice = bytesOf(files[i], sizeAt.get(i)!).at(nth, pool);
        if (choice !== undefined) chosen.set(i, choice);
        return choice?.id;
      };
      // Depth first: for each decision in the order, the number of its next choice.
      const next: number[] = [0];
      let isNews = false;
      while (next.length > 0) {
        if (budget.work-- <= 0) return false;
        const depth = next.length - 1;
        const at = 2 * order[depth].i + (order[depth].isSize ? 0 : 1);
        contents[at] = NOT_CHOSEN;
        // What came of the last image may have shown that it does not matter what is chosen here.
        const isDone = isNews && isKnown({ shape, contents });
        const number = isDone ? undefined : choose(order[depth], next[depth]++);
        if (number === undefined) {
          if (budget.work <= 0) return false;
          next.pop();
          continue;
        }
        contents[at] = number;
        isNews = false;
        if (isKnown({ shape, contents })) continue;
        if (next.length < order.length) {
          next.push(0);
          continue;
        }
        const id = [tree.index, ...open.flatMap((i) => [sizeAt.get(i)!, chosen.get(i)!.way])];
        const built = new Map(open.map((i) => [files[i].id, chosen.get(i)!.content]));
        yield this.#imageOf(id, tree, built);
        isNews = true;
      }
    }
    return true;
  }

  #imageOf(id: ImageId, tree: Tree, contents: ReadonlyMap<number, Content>): CrashImage {
    const { shape, paths, files, kept } = tree;
    return {
      id,
      paths,
      key: (pool): ImageKey => ({
        shape,
        contents: files.flatMap((file) => {
          const content = contents.get(file.id) ?? file.durable;
          return [content.size, pool.idOf(content)];
        }),
      }),
      build: () =>
        this.#disk.image(
          // Each image has its own content.
          (file) => (contents.get(file.id) ?? file.durable).share(),
          (index) => kept[index],
        ),
    };
  }

  #waysOf(file: FileNode): number {
    const space = this.#spaces.get(file.id);
    return space === undefined ? 1 : space.sizes.reduce((sum, { ways }) => sum + ways, 0);
  }

  #build(file: FileNode, size: number, way: number): Content {
    const random = this.#random;
    const noise = this.isEndless ? random.stream(`noise ${file.id} ${size} ${way}`) : random;
    return this.#spaces.get(file.id)!.sizes[size].build(way, noise);
  }

  #draw(nth: number): CrashImage {
    const contents = new Map<number, Content>();
    if (nth < 2) {
      const isKept = nth === 1;
      for (const space of this.#spaces.values()) contents.set(space.file.id, space.extreme(isKept));
      return this.#imageOf(nth, this.#treeOf(-1, this.#names.extreme(isKept)), contents);
    }
    const random = this.#random.stream(`image ${nth}`);
    const rate = random.pick(RATES);
    for (const space of this.#spaces.values()) {
      contents.set(space.file.id, space.draw(random, rate));
    }
    return this.#imageOf(nth, this.#treeOf(-1, this.#names.draw(random)), contents);
  }

  #plant(): Tree[] | undefined {
    const trees = new Map<string, Tree>();
    let count = 0;
    for (const kept of this.#names.all()) {
      if (++count > NAME_WAYS_MAX) return undefined;
      const tree = this.#treeOf(trees.size, kept);
      const text = `${tree.shape}${tree.files.map(({ id }) => id)}`;
      if (!trees.has(text)) trees.set(text, tree);
    }
    return [...trees.values()];
  }

  #treeOf(index: number, kept: readonly boolean[]): Tree {
    const { shape, files } = shapeOf(this.#disk.listing((step) => kept[step]));
    return { index, kept, shape, paths: [...files.keys()], files: [...files.values()] };
  }
}

/** Something to decide about a file: how large it is, or then what is in it. */
interface Decision {
  readonly i: number;
  readonly isSize: boolean;
}

/** Decisions in an order in which those come last that are the least likely to matter. */
function orderOf(open: readonly number[], importanceOf: (i: number) => FileImportance): Decision[] {
  const first: Decision[] = [];
  const sizes: Decision[] = [];
  const rest: Decision[] = [];
  for (const i of open) {
    const [size, bytes] = [{ i, isSize: true }, { i, isSize: false }];
    const importance = importanceOf(i);
    if (importance === "bytes") first.push(size, bytes);
    else {
      (importance === "size" ? sizes : rest).push(size);
      rest.push(bytes);
    }
  }
  return [...first, ...sizes, ...rest];
}

interface BytesChoice {
  readonly way: number;
  readonly content: Content;
  readonly id: number;
}

/** The contents that a file may have, each once, found when somebody asks. */
class BytesChoices {
  readonly #ways: number;
  readonly #build: (way: number) => Content;
  readonly #budget: { work: number };
  readonly #found: BytesChoice[] = [];
  readonly #ids = new Set<number>();
  #next = 0;

  constructor(ways: number, build: (way: number) => Content, budget: { work: number }) {
    this.#ways = ways;
    this.#build = build;
    this.#budget = budget;
  }

  /** The one with this number; none behind the last, or when there is no time left. */
  at(index: number, pool: ContentPool): BytesChoice | undefined {
    while (this.#found.length <= index && this.#next < this.#ways && this.#budget.work-- > 0) {
      const way = this.#next++;
      const content = this.#build(way);
      const id = pool.idOf(content);
      if (this.#ids.has(id)) continue;
      this.#ids.add(id);
      this.#found.push({ way, content, id });
    }
    return this.#found[index];
  }
}

/** What a process that is killed leaves: everything, and what of that is durable. */
export class KilledSpace implements CrashSpace {
  /** There is nothing to choose. */
  readonly ways = 1;
  /** Nothing is left out. */
  readonly isEndless = false;
  readonly #disk: SimDisk;

  /** What is left of this disk. */
  constructor(disk: SimDisk) {
    this.#disk = disk;
  }

  /** The only one there is. */
  image(id: ImageId): CrashImage {
    return { id, paths: [], key: (pool) => this.#key(pool), build: () => this.#disk.clone() };
  }

  /** That one, unless it is known. */
  *walk({ pool, isKnown }: WalkLimits): Generator<CrashImage, boolean> {
    const image = this.image([]);
    if (!isKnown(image.key(pool))) yield image;
    return true;
  }

  #key(pool: ContentPool): ImageKey {
    const seen = shapeOf(this.#disk.listing("seen"));
    const durable = shapeOf(this.#disk.listing());
    const contents = [
      ...[...seen.files.values()].map(({ content }) => content),
      ...[...durable.files.values()].map((file) => file.durable),
    ];
    return {
      shape: `${seen.shape}\n${durable.shape}`,
      contents: contents.flatMap((content) => [content.size, pool.idOf(content)]),
    };
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

  /** All of them: for each step, whether it is kept. */
  *all(kept: boolean[] = []): Generator<readonly boolean[]> {
    const index = kept.length;
    if (index === this.#needs.length) {
      yield kept;
      return;
    }
    yield* this.all([...kept, false]);
    if (this.#mayKeep(index, kept)) yield* this.all([...kept, true]);
  }

  /** Everything kept that may be, or nothing. */
  extreme(isKept: boolean): boolean[] {
    const kept: boolean[] = [];
    for (let i = 0; i < this.#needs.length; i++) kept.push(isKept && this.#mayKeep(i, kept));
    return kept;
  }

  /** Some of them. */
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
