/**
 * Journals with indexes, and the ways to open them.
 *
 * @module
 */
import type { StoreFs } from "../../platform/fs.ts";
import type { OpenReport } from "../../store/open_report.ts";
import type { ReadOnlyStore } from "../../store/read_only_store.ts";
import { decodeSegmentHeader } from "../../store/segment_header.ts";
import { segmentIdOf, segmentName } from "../../store/segment_log.ts";
import type { Store } from "../../store/store.ts";
import type { ReadOptions, StoreOptions } from "../../store/store_options.ts";
import { DIR, FRAMES_ONLY, openReader, openStore } from "./journal.ts";
import type { Tree } from "./journal_bytes.ts";

/** Every way to read a journal. */
export const COLD_STARTS = Object.freeze(
  {
    index: { indexFile: true, footers: true },
    footers: { indexFile: false, footers: true },
    frames: FRAMES_ONLY,
  } as const,
);

/** Opens for writing with indexes, and with a clock and chance that repeat themselves. */
export function openIndexed(fs: StoreFs, options: StoreOptions = {}): Store {
  return openStore(fs, { coldStart: {}, ...options });
}

/** Opens for reading with indexes. */
export function readIndexed(fs: StoreFs, options: ReadOptions = {}): ReadOnlyStore {
  return openReader(fs, { coldStart: {}, ...options });
}

/** Where an open took its events from. */
export function sourcesOf(report: OpenReport): Record<string, unknown> {
  const { path, chunks, indexFile, indexFileEntries, footerEntries, tailEntries } = report;
  return { path, chunks, indexFile, indexFileEntries, footerEntries, tailEntries };
}

/** Names of the segments of a tree, in order. */
export function segmentNames(tree: Tree): string[] {
  return [...tree.keys()].filter((name) => segmentIdOf(name) !== undefined).sort();
}

/** Where the frames of a sealed segment end: the header of the next one says so. */
export function framesEndOf(tree: Tree, segmentId: number): number {
  const next = tree.get(segmentName(segmentId + 1));
  const decoded = next === undefined ? undefined : decodeSegmentHeader(next);
  if (decoded?.type !== "header") throw new Error(`segment ${segmentId} is not sealed`);
  return decoded.header.previousSize;
}

/** The index footer of a sealed segment; empty when it has none. */
export function footerOf(tree: Tree, segmentId: number): Uint8Array<ArrayBuffer> {
  const bytes = tree.get(segmentName(segmentId)) ?? new Uint8Array(0);
  // A copy that begins its own buffer, as what was read from a file does.
  return new Uint8Array(bytes.subarray(framesEndOf(tree, segmentId)));
}

/** The tree with another footer behind a sealed segment. */
export function withFooter(tree: Tree, segmentId: number, footer: Uint8Array): Tree {
  const name = segmentName(segmentId);
  const frames = (tree.get(name) ?? new Uint8Array(0)).subarray(0, framesEndOf(tree, segmentId));
  const bytes = new Uint8Array(frames.byteLength + footer.byteLength);
  bytes.set(frames);
  bytes.set(footer, frames.byteLength);
  return new Map(tree).set(name, bytes);
}

/** The path of a file of the journal. */
export function pathOf(name: string): string {
  return `${DIR}/${name}`;
}
