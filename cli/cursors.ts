/**
 * `batpak cursors`: where the consumers of a journal are.
 *
 * @module
 */
import type { Command } from "commander";
import {
  CheckpointAheadError,
  type CheckpointListing,
  listCheckpoints,
  type ReadOnlyStore,
  Region,
  removeCheckpoint,
} from "../mod.ts";
import { CommandError, type ErrorJson, errorToJson, ExitCode } from "./errors.ts";
import { openForReading } from "./journal.ts";
import { addJsonOption } from "./options.ts";
import { formatCount } from "./output.ts";
import type { Session } from "./session.ts";

interface CursorsFlags {
  readonly remove?: string;
}

/** Adds the command to the program. */
export function addCursorsCommand(program: Command, session: Session): void {
  const command = program
    .command("cursors")
    .summary("list checkpoints, and how far behind each is")
    .description(
      "Prints for each checkpoint the sequence of the last event that its consumer has handled, how many " +
        "events of its region came after it, and whether a consumer works under it right now. One that no " +
        "consumer could go on from is listed with the reason, and the exit code is 3. To see who works, " +
        "each lock is taken for a moment: a consumer that starts in just that moment is refused.",
    )
    .argument("<dir>", "the journal's directory")
    .option("--remove <id>", "forget a checkpoint, unless a consumer works under it");
  addJsonOption(command).action((dir: string, { remove }: CursorsFlags) => {
    using store = openForReading(dir, "nothing");
    if (remove === undefined) list(session, store);
    else forget(session, store, remove);
  });
}

/** One line of the list. */
interface Row {
  readonly id: string;
  /** The file. */
  readonly path: string;
  /** Sequence of the last event that was handled; `null` when none was, or nobody knows. */
  readonly position: number | null;
  /** The region that is followed; `null` when the checkpoint does not say. */
  readonly regionIdentity: string | null;
  /** How many visible events came after it; `null` when nobody knows. */
  readonly lag: number | null;
  /** Whether these are events of the region, or of all the journal because the region is not known. */
  readonly lagOf: "region" | "journal";
  /** Whether a consumer works under it. */
  readonly isBusy: boolean;
  /** Why no consumer could go on from it. */
  readonly problem?: ErrorJson;
}

function list(session: Session, store: ReadOnlyStore): void {
  const { output } = session;
  const listings = listCheckpoints(store.dir, { consumers: true });
  // Meanwhile a consumer may have handled what came after the journal was opened.
  store.refresh();
  const rows = listings.map((listing) => rowOf(listing, store));
  if (rows.some(({ problem }) => problem !== undefined)) session.exitCode = ExitCode.DAMAGE;
  if (output.json) {
    for (const row of rows) output.record(row);
  } else if (rows.length === 0) {
    output.text("There is no checkpoint.");
  } else {
    output.text(table(rows));
    for (const { id, problem } of rows) {
      if (problem !== undefined) output.text(`\n${id}: ${problem.message}`);
    }
  }
}

function rowOf(listing: CheckpointListing, store: ReadOnlyStore): Row {
  const { id, path, isBusy = false } = listing;
  if (listing.type === "broken") {
    const problem = errorToJson(listing.error);
    const unknown = { position: null, regionIdentity: null, lag: null, lagOf: "journal" } as const;
    return { id, path, ...unknown, isBusy, problem };
  }
  const { position, started, regionIdentity } = listing.checkpoint;
  const region = regionIdentity === null ? undefined : Region.fromIdentity(regionIdentity);
  const { nextSequence } = store.stats();
  const isAhead = started && position >= nextSequence;
  return {
    id,
    path,
    position: started ? position : null,
    regionIdentity,
    lag: isAhead ? null : countAfter(store, region, started ? position : undefined),
    lagOf: region === undefined ? "journal" : "region",
    isBusy,
    ...(isAhead && {
      problem: errorToJson(new CheckpointAheadError(path, position, nextSequence)),
    }),
  };
}

function countAfter(
  store: ReadOnlyStore,
  region: Region | undefined,
  after: number | undefined,
): number {
  let count = 0;
  for (const _ of store.events(region, { after })) count++;
  return count;
}

/** Cells below each other, numbers to the right. */
function table(rows: readonly Row[]): string {
  const lines = [["checkpoint", "position", "behind", "", "region"], ...rows.map(cellsOf)];
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  return lines.map((line) =>
    line.map((cell, i) => i === 1 || i === 2 ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))
      .join("  ").trimEnd()
  ).join("\n");
}

function cellsOf({ id, position, lag, lagOf, isBusy, problem, regionIdentity }: Row): string[] {
  return [
    id,
    position === null ? "-" : formatCount(position),
    lag === null ? "?" : `${formatCount(lag)}${lagOf === "journal" ? " of all" : ""}`,
    problem !== undefined ? "broken" : isBusy ? "working" : "",
    regionIdentity ?? "unknown",
  ];
}

function forget({ output }: Session, store: ReadOnlyStore, id: string): void {
  if (!removeCheckpoint(store.dir, id)) {
    throw new CommandError("NOT_FOUND", `Cannot find checkpoint "${id}" of this journal`, {
      facts: { checkpointId: id },
    });
  }
  if (output.json) output.record({ removed: id });
  else {
    output.text(
      `Removed checkpoint "${id}": the next consumer under it begins with the first event of its region.`,
    );
  }
}
