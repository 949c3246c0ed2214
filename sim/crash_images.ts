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
 * everything lost and everything kept, then others. Cuts within a sector and noise are only ever drawn. Whoever
 * wants every image, and none twice, walks through a {@linkcode CrashSpace}.
 *
 * @module
 */

import { ImageSpace, KilledSpace } from "./image_space.ts";
import { ContentPool, type ImageKey } from "./image_set.ts";
import { LyingSpace } from "./lying_space.ts";
import type { SimDisk, SimStep } from "./sim_disk.ts";
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

/**
 * Which image of a space. A number is one that is drawn; a list says what became of the names and of each file
 * that there is a choice for.
 */
export type ImageId = number | readonly number[];

/** One thing that a crash may leave. */
export interface CrashImage {
  /** To find it again in the same space. */
  readonly id: ImageId;
  /** The paths of its files, in the order of the contents of its key. */
  readonly paths: readonly string[];
  /** What tells it from others. */
  key(pool: ContentPool): ImageKey;
  /** The disk, anew at each call. */
  build(): SimDisk;
}

/** What of a file matters to those who find it. */
export type FileImportance = "bytes" | "size" | "none";

/** What limits a walk. */
export interface WalkLimits {
  /** Gives contents their numbers. */
  readonly pool: ContentPool;
  /** Whether an image need not be met, whatever is chosen for what is not chosen yet. */
  readonly isKnown: (key: ImageKey) => boolean;
  /** What of a file is likely to matter: that is chosen first. */
  readonly importanceOf: (path: string) => FileImportance;
  /** So many choices may be looked at before the walk gives up. */
  readonly work: number;
}

/** Everything that a crash may leave. The disk must not change while it is in use. */
export interface CrashSpace {
  /** In how many ways a crash may choose, of which some leave the same. */
  readonly ways: number;
  /** Whether there is more than can be chosen: noise, and cuts within a sector. */
  readonly isEndless: boolean;
  /** One image. */
  image(id: ImageId): CrashImage;
  /** All images that are not known when it is their turn; returns whether that was all, and not given up. */
  walk(limits: WalkLimits): Generator<CrashImage, boolean>;
}

/** A disk that has come some way along a trace. */
export interface DiskHistory {
  /** As it is now; not to be changed. */
  readonly disk: SimDisk;
  /** As it was in the beginning. */
  readonly base: SimDisk;
  /** What has happened since. */
  readonly trace: readonly SimStep[];
  /** How much of that. */
  readonly position: number;
}

/** Everything that a crash may leave. */
export function crashSpace(
  history: DiskHistory,
  policy: CrashPolicy,
  random: SimRandom,
): CrashSpace {
  if (policy === "processKill") return new KilledSpace(history.disk);
  if (policy === "lying") return new LyingSpace(history, random);
  return new ImageSpace(history.disk, policy, random);
}

/** One image, drawn at random. */
export function sampleImage(history: DiskHistory, policy: CrashPolicy, random: SimRandom): SimDisk {
  // The first two of those that are drawn are everything lost and everything kept.
  return crashSpace(history, policy, random).image(2).build();
}

/** All images when there are at most `limit`, else `limit` of them. */
export function* imagesOf(
  history: DiskHistory,
  policy: CrashPolicy,
  limit: number,
  random: SimRandom,
): Generator<SimDisk> {
  const space = crashSpace(history, policy, random);
  if (space.ways > limit) {
    for (let nth = 0; nth < limit; nth++) yield space.image(nth).build();
    return;
  }
  const pool = new ContentPool();
  const walk = { pool, isKnown: () => false, work: Infinity };
  for (const image of space.walk({ ...walk, importanceOf: () => "bytes" })) yield image.build();
}
