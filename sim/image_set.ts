/**
 * Images that are known already, so that none is judged twice.
 *
 * An image is known when an earlier one had the same names, the same bytes in every file that was *looked
 * into* while that one was judged, and the same size of every file whose size was asked for. Nothing else of a disk reaches a program, so its run would be the
 * same, step by step; what stands in a temporary file that is only ever removed makes no difference.
 *
 * Bytes are compared, not their checksums: an image that is passed over for one that only looks the same
 * would be a hole in what is said to be everything.
 *
 * @module
 */

import { crc32 } from "../platform/checksum.ts";
import { bytesEqual } from "../store/hash.ts";
import type { Content, Node } from "./sim_disk.ts";

/** Stands for a size or a content that has not been chosen yet. */
export const NOT_CHOSEN: number = -1;

/** What makes an image that image. */
export interface ImageKey {
  /** Names and kinds, as one text. */
  readonly shape: string;
  /** Of each file, in the order of the shape: its size, and the number of its content in a pool. */
  readonly contents: readonly number[];
}

/** Gives equal contents the same number. */
export class ContentPool {
  readonly #byChecksum = new Map<number, { content: Content; used: number; id: number }[]>();
  #count = 0;

  /** The number of a content; it has to stay as it is. */
  idOf(content: Content): number {
    const { bytes, size } = content;
    let { used } = content;
    while (used > 0 && bytes[used - 1] === 0) used--;
    const view = bytes.subarray(0, used);
    const checksum = crc32(view, size);
    let alike = this.#byChecksum.get(checksum);
    if (alike === undefined) this.#byChecksum.set(checksum, alike = []);
    for (const other of alike) {
      if (other.used !== used || other.content.size !== size) continue;
      if (bytesEqual(other.content.bytes.subarray(0, used), view)) return other.id;
    }
    const id = this.#count++;
    alike.push({ content: content.share(), used, id });
    return id;
  }
}

/** A set of images; see the top of the file. */
export class ImageSet {
  /** By shape: which sizes and contents were looked at, as a mask, and what those were. */
  readonly #shapes = new Map<string, Map<string, Set<string>>>();

  /** Takes in an image, and for each number of its key whether it was looked at. */
  add({ shape, contents }: ImageKey, isLooked: readonly boolean[]): void {
    let masks = this.#shapes.get(shape);
    if (masks === undefined) this.#shapes.set(shape, masks = new Map());
    const mask = isLooked.map((looked) => looked ? "x" : "-").join("");
    let known = masks.get(mask);
    if (known === undefined) masks.set(mask, known = new Set());
    known.add(textOf(contents, mask)!);
  }

  /** Whether it is known, whatever is chosen for what is {@linkcode NOT_CHOSEN}. */
  has({ shape, contents }: ImageKey): boolean {
    const masks = this.#shapes.get(shape);
    if (masks === undefined) return false;
    for (const [mask, known] of masks) {
      const text = textOf(contents, mask);
      if (text !== undefined && known.has(text)) return true;
    }
    return false;
  }

  /** Forgets everything. */
  clear(): void {
    this.#shapes.clear();
  }
}

/** The numbers that matter; none when one of them is not chosen. */
function textOf(contents: readonly number[], mask: string): string | undefined {
  let text = "";
  for (let i = 0; i < contents.length; i++) {
    if (mask[i] !== "x") continue;
    if (contents[i] === NOT_CHOSEN) return undefined;
    text += `${contents[i]} `;
  }
  return text;
}

/** Names and kinds as one text, and the files among them, each by its first name. */
export function shapeOf(
  listing: readonly (readonly [path: string, node: Node])[],
): { readonly shape: string; readonly files: Map<string, Node & { kind: "file" }> } {
  const files = new Map<string, Node & { kind: "file" }>();
  const first = new Map<Node, string>();
  let shape = "";
  for (const [path, node] of listing) {
    const same = first.get(node);
    first.set(node, path);
    shape += node.kind === "symlink"
      ? `${path}>${node.target}\n`
      : `${path}${node.kind === "dir" ? "/" : same === undefined ? "" : `=${same}`}\n`;
    if (node.kind === "file" && same === undefined) files.set(path, node);
  }
  return { shape, files };
}
