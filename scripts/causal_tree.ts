/**
 * What led to an event, drawn as a tree: each commit with its effects below it, oldest first, the way
 * to the newest one unfolded, side branches as one line.
 *
 * ```
 * 3f2a91c Lay the first stone
 * ├─ added mod.ts
 * ├─ … 80 more files
 * └─ 9b01d77 Add the command
 *    └─ added cli/main.ts
 * ```
 *
 * @module
 */
import type { EventId, JournalReader, StoredEvent } from "../mod.ts";
import { commitMade, fileChanged } from "./commit_journal.ts";

/** How large a tree may become. */
export interface TreeSize {
  /** Columns of a line. */
  readonly width: number;
  /** Commits on the way to the newest one, that one included. */
  readonly commits: number;
  /** Files, and side branches, shown of each. */
  readonly effects: number;
}

/** Draws the newest causes of the commit with this id, and their effects. */
export function drawCausalTree(reader: JournalReader, newest: EventId, size: TreeSize): string[] {
  const path = [newest, ...reader.causes(newest, size.commits - 1).map(({ eventId }) => eventId)];
  const onPath = new Set(path);
  const lines: string[] = [];

  function draw(id: EventId, indent: string): void {
    const effects = reader.effects(id);
    const files = effects.filter((effect) => effect.is(fileChanged));
    const commits = effects.filter((effect) => effect.is(commitMade));
    const branches = commits.filter(({ eventId }) => !onPath.has(eventId));
    const rows: string[] = [
      ...files.slice(0, size.effects).map(describe),
      ...more(files.length - size.effects, "file"),
      ...branches.slice(0, size.effects).map((branch) => `${describe(branch)} (a branch)`),
      ...more(branches.length - size.effects, "branch", "branches"),
    ];
    const child = commits.find(({ eventId }) => onPath.has(eventId));
    for (const [index, row] of rows.entries()) {
      const isLast = child === undefined && index === rows.length - 1;
      add(`${indent}${isLast ? "└─ " : "├─ "}${row}`);
    }
    if (child === undefined) return;
    add(`${indent}└─ ${describe(child)}`);
    draw(child.eventId, `${indent}   `);
  }

  function add(line: string): void {
    lines.push(fit(line, size.width));
  }

  const root = path[path.length - 1];
  const event = reader.get(root);
  if (event === undefined) return [];
  add(describe(event));
  draw(root, "");
  return lines;
}

/** As much of `text` as fits into so many columns, free of what a terminal would obey. */
export function fit(text: string, width: number): string {
  const clean = text.replace(UNPRINTABLE, "·");
  let columns = 0;
  let end = 0;
  let endWithEllipsis = 0;
  for (const char of clean) {
    columns += columnsOf(char);
    if (columns > width) return `${clean.slice(0, endWithEllipsis)}…`;
    end += char.length;
    if (columns < width) endWithEllipsis = end;
  }
  return clean;
}

function describe(event: StoredEvent): string {
  if (event.is(commitMade)) {
    const { hash, subject } = event.decode(commitMade);
    return `${hash.slice(0, 7)} ${subject}`;
  }
  const { change, path, from } = event.decode(fileChanged);
  return from === undefined ? `${change} ${path}` : `${change} ${from} → ${path}`;
}

function more(count: number, one: string, many = `${one}s`): string[] {
  return count > 0 ? [`… ${count} more ${count === 1 ? one : many}`] : [];
}

/** East Asian characters and pictures take two columns, marks that combine take none. */
function columnsOf(char: string): number {
  if (/\p{Mark}|\u200d|\ufe0f/u.test(char)) return 0;
  return WIDE.test(char) ? 2 : 1;
}

/** Controls, and what turns the direction of writing around. */
// deno-lint-ignore no-control-regex
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;
