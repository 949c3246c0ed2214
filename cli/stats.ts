/**
 * `batpak stats`: what a journal holds.
 *
 * @module
 */
import type { Command } from "commander";
import { EventKind, type ReadOnlyStore } from "../mod.ts";
import { openForReading } from "./journal.ts";
import { addJsonOption } from "./options.ts";
import { formatBytes, formatCount } from "./output.ts";
import type { Session } from "./session.ts";

interface KindCount {
  readonly kind: string;
  /** What the library calls it, when it has a name. */
  readonly name?: string;
  readonly count: number;
}

/** Adds the command to the program. */
export function addStatsCommand(program: Command, session: Session): void {
  const command = program
    .command("stats")
    .summary("count events, segments and bytes")
    .description(
      "Prints how many events, entities, segments and bytes there are, and how many events of each kind. " +
        "Retired events, which a retention has taken out of queries, are counted without their kind.",
    )
    .argument("<dir>", "the journal's directory");
  addJsonOption(command).action((dir: string) => {
    using store = openForReading(dir);
    const stats = store.stats();
    const { eventCount, retiredCount, entityCount, firstSequence, nextSequence } = stats;
    const { segmentCount, logBytes, diskBytes, indexBytes } = stats;
    const kinds = countKinds(store);
    const { dir: path, storeId } = store;
    if (session.output.json) {
      session.output.record({
        dir: path,
        storeId,
        eventCount,
        retiredCount,
        entityCount,
        firstSequence,
        nextSequence,
        segmentCount,
        logBytes,
        diskBytes,
        indexBytes,
        kinds,
      });
      return;
    }
    session.output.text(columns([
      ["journal", storeId],
      ["directory", path],
      ["events", formatCount(eventCount)],
      ...(retiredCount === 0 ? [] : [["retired", formatCount(retiredCount)]]),
      ["entities", formatCount(entityCount)],
      ...(firstSequence === 0 ? [] : [["first sequence", formatCount(firstSequence)]]),
      ["next sequence", formatCount(nextSequence)],
      ["segments", formatCount(segmentCount)],
      ["log", formatBytes(logBytes)],
      ["on disk", formatBytes(diskBytes)],
      ["index in memory", formatBytes(indexBytes)],
    ]));
    session.output.text("");
    session.output.text(columns([
      ["kind", "events"],
      ...kinds.map(({ kind, name, count }) => [
        name === undefined ? kind : `${kind} ${name}`,
        formatCount(count),
      ]),
      ...(retiredCount === 0 ? [] : [["retired, of any kind", formatCount(retiredCount)]]),
    ]));
  });
}

function countKinds(store: ReadOnlyStore): KindCount[] {
  const counts = new Map<EventKind, number>();
  for (const { kind } of store.events()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => a - b).map(([kind, count]) => {
    const name = NAMES.get(kind);
    return { kind: EventKind.format(kind), ...(name !== undefined && { name }), count };
  });
}

/** Names for the kinds that have one. */
const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(EventKind).flatMap(([name, kind]) =>
    typeof kind === "number" ? [[kind, name]] : []
  ),
);

/** Rows of two cells, the second ones below each other. */
function columns(rows: readonly (readonly string[])[]): string {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `${label.padEnd(width)}  ${value}`).join("\n");
}
