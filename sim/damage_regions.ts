/**
 * The kinds of files that a journal consists of, and the regions of each, as its codec lays them out.
 *
 * @module
 */

import { BASE_RECORD_NAME } from "../store/compaction/base_record.ts";
import { MARKER_NAME } from "../store/compaction/compaction_marker.ts";
import { SOURCE_SUFFIX, STAGED_SUFFIX } from "../store/compaction/segment_set.ts";
import {
  CAUSATION_ID_OFFSET,
  CONTENT_HASH_OFFSET,
  EVENT_ID_OFFSET,
  FRAME_HEADER_SIZE,
  ID_SIZE,
  payloadStartOf,
  PREV_HASH_OFFSET,
  tagsOf,
  tagsStartOf,
} from "../store/frame.ts";
import { HASH_SIZE } from "../store/hash.ts";
import { INDEX_FILE_NAME } from "../store/index/index_file.ts";
import { FOOTER_HEADER_SIZE, footerSizeOf } from "../store/index/segment_footer.ts";
import { decodeSegmentHeader } from "../store/segment_header.ts";
import { segmentIdOf } from "../store/segment_log.ts";
import { STORE_META_NAME } from "../store/store_meta.ts";
import { type FramePlace, type Specimen, SPECIMEN_DIR } from "./damage_specimens.ts";

/** What a file of a journal is. */
export type FileKind =
  | "active segment"
  | "sealed segment"
  | "sealed segment without a footer"
  | "merged segment"
  | "merge being written"
  | "source set aside"
  | "source that was merged"
  | "store.meta"
  | "journal.base"
  | "compaction.pending"
  | "index.fbati"
  | "checkpoint"
  | "lock"
  | "quarantine"
  | "staged file"
  | "unknown name";

/** All of them, with the name in FORMAT.md. */
export const FILE_KINDS: Readonly<Record<FileKind, string>> = {
  "active segment": "NNNNNN.fbat",
  "sealed segment": "NNNNNN.fbat",
  "sealed segment without a footer": "NNNNNN.fbat",
  "merged segment": "NNNNNN.fbat",
  "merge being written": "NNNNNN.fbat.compact-new",
  "source set aside": "NNNNNN.fbat.compact-src",
  "source that was merged": "NNNNNN.fbat",
  "store.meta": "store.meta",
  "journal.base": "journal.base",
  "compaction.pending": "compaction.pending",
  "index.fbati": "index.fbati",
  "checkpoint": "cursors/ID.ckpt",
  "lock": ".batpak.lock",
  "quarantine": "quarantine/SEGMENT.OFFSET.C",
  "staged file": ".stage-N",
  "unknown name": "",
};

/** The kinds that a file might be; anything but one is a mistake. */
export function kindsOf(specimen: Specimen, name: string): FileKind[] {
  const tests: Record<FileKind, (name: string) => boolean> = {
    "active segment": (name) => isSegment(name) && name === lastSegment(specimen),
    "sealed segment": (name) => isSealed(specimen, name) && hasFooter(specimen, name),
    "sealed segment without a footer": (name) =>
      isSealed(specimen, name) && !hasFooter(specimen, name),
    "merged segment": (name) => isSegment(name) && isMerged(specimen, name),
    "merge being written": (name) => name.endsWith(STAGED_SUFFIX),
    "source set aside": (name) => name.endsWith(SOURCE_SUFFIX),
    "source that was merged": (name) => isSegment(name) && !specimen.frames.has(name),
    "store.meta": (name) => name === STORE_META_NAME,
    "journal.base": (name) => name === BASE_RECORD_NAME,
    "compaction.pending": (name) => name === MARKER_NAME,
    "index.fbati": (name) => name === INDEX_FILE_NAME,
    "checkpoint": (name) => /^cursors\/[^/]+\.ckpt$/.test(name),
    "lock": (name) => name === ".batpak.lock" || /^cursors\/[^/]+\.lock$/.test(name),
    "quarantine": (name) => name.startsWith("quarantine/"),
    "staged file": (name) => /(?:^|\/)\.stage-\d+$/.test(name),
    "unknown name": (name) => name === "notes.txt",
  };
  return (Object.keys(tests) as FileKind[]).filter((kind) => tests[kind](name));
}

/** Every file below the directory of a specimen. */
export function filesOf(specimen: Specimen): string[] {
  const names: string[] = [];
  const visit = (prefix: string) => {
    for (const { name, kind } of specimen.fs.list(`${SPECIMEN_DIR}/${prefix}`)) {
      if (kind === "dir") visit(`${prefix}${name}/`);
      else names.push(prefix + name);
    }
  };
  visit("");
  return names;
}

/** A part of a file. */
export interface FileRegion {
  /** What it is; the same name may stand for several parts. */
  readonly name: string;
  /** Where it starts. */
  readonly start: number;
  /** Where it ends. */
  readonly end: number;
  /** What a refusal is about, and where it points to: the frame, the header, or the file. */
  readonly unitStart: number;
  /** Where that ends. */
  readonly unitEnd: number;
  /** Which bits belong to it; default all. */
  readonly bits?: (offset: number) => number;
}

/** The regions of a file. */
export function regionsOf(specimen: Specimen, kind: FileKind, name: string): FileRegion[] {
  const bytes = bytesOf(specimen, name);
  const regions = new Regions(bytes);
  switch (kind) {
    case "active segment":
    case "sealed segment":
    case "sealed segment without a footer":
    case "merged segment":
      segmentRegions(regions, specimen, name);
      break;
    case "source set aside":
      if (specimen.frames.has(name)) segmentRegions(regions, specimen, name);
      break;
    case "store.meta":
      regions.fields(["magic", 6], ["version", 2], ["checksum", 4], ["id", ID_SIZE], [
        "created",
        8,
      ]);
      break;
    case "journal.base":
      regions.fields(
        ["magic", 6],
        ["version", 2],
        ["head checksum", 4],
        ["id", ID_SIZE],
        ["first segment", 4],
        ["first sequence", 8],
        ["last timestamp", 8],
        ["last hash", HASH_SIZE],
        ["counts", 4 + 8],
        ["reserved", 8],
        ["chains", bytes.byteLength - 100 - HASH_SIZE - 64 - 4],
        ["key id", HASH_SIZE],
        ["signature", 64],
        ["checksum", 4],
      );
      break;
    case "compaction.pending":
      regions.fields(
        ["magic", 6],
        ["version", 2],
        ["checksum", 4],
        ["id", ID_SIZE],
        ["compaction id", ID_SIZE],
        ["merged segment", 4 + 8 + 4],
        ["sources", bytes.byteLength - 60],
      );
      break;
    case "index.fbati":
      regions.fields(["magic", 6], ["version", 2], ["checksum", 4], ["zeros", 4]);
      regions.add("image", 16, bytes.byteLength);
      break;
    case "checkpoint":
      checkpointRegions(regions);
      break;
  }
  if (regions.end < bytes.byteLength) regions.add("bytes", regions.end, bytes.byteLength);
  return regions.list;
}

/** Collects regions, and holds that they lie side by side. */
class Regions {
  readonly list: FileRegion[] = [];
  readonly bytes: Uint8Array;
  /** Where the next one starts. */
  end = 0;
  #unitStart = 0;
  #unitEnd: number;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#unitEnd = bytes.byteLength;
  }

  /** What refusals of the next regions are about. */
  unit(start: number, end: number): void {
    this.#unitStart = start;
    this.#unitEnd = end;
  }

  add(name: string, start: number, end: number): void {
    if (start !== this.end || end < start || end > this.bytes.byteLength) {
      throw new Error(`Cannot lay out "${name}" from ${start} to ${end} behind ${this.end}`);
    }
    this.end = end;
    const unit = { unitStart: this.#unitStart, unitEnd: this.#unitEnd };
    if (!name.endsWith("version")) {
      this.list.push({ name, start, end, ...unit });
      return;
    }
    // A newer version is another refusal than one that nobody wrote.
    const isRaised = (offset: number, bit: number) => (this.bytes[offset] & 1 << bit) === 0;
    for (const raised of [true, false]) {
      const bits = (offset: number) => {
        let mask = 0;
        for (let bit = 0; bit < 8; bit++) if (isRaised(offset, bit) === raised) mask |= 1 << bit;
        return mask;
      };
      this.list.push({
        name: `${name}, ${raised ? "raised" : "lowered"}`,
        start,
        end,
        ...unit,
        bits,
      });
    }
  }

  fields(...fields: readonly (readonly [name: string, size: number])[]): void {
    for (const [name, size] of fields) this.add(name, this.end, this.end + size);
  }
}

/** Whose events are the store's own. */
const LIFECYCLE = "batpak:store";

function segmentRegions(regions: Regions, specimen: Specimen, name: string): void {
  const { bytes } = regions;
  const frames = specimen.frames.get(name) ?? [];
  const isActive = name === lastSegment(specimen);
  const framesStart = frames[0]?.start ?? bytes.byteLength;
  regions.unit(0, framesStart);
  regions.fields(["header: magic", 4], ["header: size", 4]);
  // The keys of the map, and what stands in front of each value, never change.
  let at = 9;
  regions.add("header: keys", 8, at);
  while (at < framesStart) {
    const keySize = bytes[at] & 0x1f;
    const key = new TextDecoder().decode(bytes.subarray(at + 1, at + 1 + keySize));
    const [markerSize, valueSize] = valueAt(bytes, at + 1 + keySize);
    const value = at + 1 + keySize + markerSize;
    regions.add("header: keys", at, value);
    regions.add(key === "version" ? "header: version" : `header: values`, value, value + valueSize);
    at = value + valueSize;
  }
  // A writer reads it when it opens: the event of the open follows it in its chain.
  const newestOwn = specimen.events.findLast(({ entity }) => entity === LIFECYCLE)?.sequence;
  for (const place of frames) {
    regions.unit(place.start, place.end);
    const isOwn = place.sequence === newestOwn;
    const sealedName = isOwn ? "the store's newest event" : "a frame";
    frameRegions(
      regions,
      isActive ? frameNameOf(specimen, frames, place) : sealedName,
      place.start,
    );
  }
  const { end } = regions;
  if (end === bytes.byteLength) return;
  regions.unit(end, bytes.byteLength);
  if (footerSizeOf(bytes.subarray(end)) === bytes.byteLength - end) {
    regions.fields(
      ["footer: magic", 4],
      ["footer: size", 4],
      ["footer: checksum", 4],
      ["footer: version and zeros", FOOTER_HEADER_SIZE - 12],
    );
    regions.add("footer: image", regions.end, bytes.byteLength);
    return;
  }
  const used = bytes.findLastIndex((byte) => byte !== 0) + 1;
  if (used > end) regions.add("torn tail", end, used);
  regions.add("space", regions.end, bytes.byteLength);
}

/** Where a frame of the active segment stands: what decides what becomes of it. */
function frameNameOf(
  specimen: Specimen,
  frames: readonly FramePlace[],
  { sequence, start, groupStart }: FramePlace,
): string {
  const last = frames[frames.length - 1];
  const isKnown = sequence < specimen.indexEnd;
  const isLastKnown = sequence === specimen.indexEnd - 1;
  if (groupStart === last.groupStart) {
    if (isKnown) return "the last group, saved";
    // Nothing says which group the frames behind it are of.
    const isFirst = sequence < last.sequence && start === groupStart;
    return isFirst ? "the last group, first frame" : "the last group";
  }
  return isLastKnown ? "the last frame saved" : isKnown ? "a frame saved" : "a frame not saved";
}

function frameRegions(regions: Regions, name: string, start: number): void {
  const body = start + FRAME_HEADER_SIZE;
  const { bytes } = regions;
  regions.add(`${name}: size`, start, start + 4);
  regions.add(`${name}: checksum`, start + 4, body);
  let extensions = tagsStartOf(bytes, body) + 3;
  for (const tag of tagsOf(bytes, body)) extensions += 3 + new TextEncoder().encode(tag).byteLength;
  const payload = payloadStartOf(bytes, body);
  const ends: [element: string, end: number][] = [
    ["array", body + 3],
    ["sequence", body + EVENT_ID_OFFSET - 2],
    ["ids", body + CAUSATION_ID_OFFSET + ID_SIZE],
    ["numbers", body + PREV_HASH_OFFSET - 2],
    ["hashes", body + CONTENT_HASH_OFFSET + HASH_SIZE],
    ["coordinate", tagsStartOf(bytes, body)],
    ["tags", extensions],
    ["extensions", payload],
  ];
  for (const [element, end] of ends) regions.add(`${name}: ${element}`, regions.end, end);
  // The payload is the last, so the frame ends with it.
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(start);
  regions.add(`${name}: payload`, payload, body + size);
}

function checkpointRegions(regions: Regions): void {
  const { bytes } = regions;
  regions.add("map", 0, 1);
  let at = 1;
  while (at < bytes.byteLength) {
    const [keyMarker, keySize] = valueAt(bytes, at);
    const keyEnd = at + keyMarker + keySize;
    const key = new TextDecoder().decode(bytes.subarray(at + keyMarker, keyEnd));
    const [markerSize, valueSize] = valueAt(bytes, keyEnd);
    // Which byte the key of the checksum begins with, it has to begin with; the name is what makes it one.
    const isNamed = key === "checksum";
    regions.add(`key ${key}`, at, isNamed ? at + keyMarker : keyEnd);
    if (isNamed) regions.add("key checksum: name", regions.end, keyEnd);
    regions.add(key, keyEnd, keyEnd + markerSize + valueSize);
    at = regions.end;
  }
}

/** Sizes of a MessagePack marker and of what it announces, for what stands in headers and checkpoints. */
function valueAt(bytes: Uint8Array, at: number): [markerSize: number, valueSize: number] {
  const marker = bytes[at];
  if (marker < 0x80 || (marker >= 0xc0 && marker <= 0xc3)) return [1, 0];
  if (marker >= 0xa0 && marker < 0xc0) return [1, marker & 0x1f];
  switch (marker) {
    case 0xc4:
    case 0xd9:
      return [2, bytes[at + 1]];
    case 0xcd:
      return [1, 2];
    case 0xce:
      return [1, 4];
    case 0xcf:
      return [1, 8];
  }
  throw new Error(`Cannot lay out a value that begins with ${marker} at ${at}`);
}

/** The bytes of a file of a specimen. */
export function bytesOf(specimen: Specimen, name: string): Uint8Array {
  return specimen.fs.readFile(`${SPECIMEN_DIR}/${name}`, Number.MAX_SAFE_INTEGER);
}

function isSegment(name: string): boolean {
  return segmentIdOf(name) !== undefined;
}

/** The name of the newest segment. */
export function lastSegment(specimen: Specimen): string | undefined {
  return specimen.fs.list(SPECIMEN_DIR).map(({ name }) => name).findLast(isSegment);
}

function isMerged(specimen: Specimen, name: string): boolean {
  const decoded = decodeSegmentHeader(bytesOf(specimen, name));
  return decoded.type === "header" && decoded.header.merge !== undefined;
}

function isSealed(specimen: Specimen, name: string): boolean {
  return isSegment(name) && specimen.frames.has(name) && !isMerged(specimen, name) &&
    name !== lastSegment(specimen);
}

function hasFooter(specimen: Specimen, name: string): boolean {
  const bytes = bytesOf(specimen, name);
  return bytes.byteLength > specimen.frames.get(name)!.at(-1)!.end;
}
