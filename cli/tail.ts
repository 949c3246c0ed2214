/**
 * `batpak tail`: the newest events, and with `--follow` those to come.
 *
 * It reads beside whoever writes, here or in another process, and takes no lock. An event shows up when
 * its whole group has been written.
 *
 * @module
 */
import type { Command } from "commander";
import type { ReadOnlyStore, StoredEvent } from "../mod.ts";
import { openForReading } from "./journal.ts";
import {
  addFilterOptions,
  addJsonOption,
  type FilterFlags,
  type Selection,
  selectionOf,
  sequenceOf,
} from "./options.ts";
import type { Session } from "./session.ts";

interface TailFlags extends FilterFlags {
  readonly follow?: true;
  readonly lines: number;
}

/**
 * Fast enough for a person, and cheap: a look lists the directory and reads what is new at the end of
 * the newest segment.
 */
const POLL_MS = 100;

/** Adds the command to the program. */
export function addTailCommand(program: Command, session: Session): void {
  const command = program
    .command("tail")
    .summary("print the newest events, and follow new ones")
    .description(
      "Prints the newest events that pass all filters, oldest of them first, each as one line of " +
        "JSON. With --follow it goes on with each event that is appended, until Ctrl-C.",
    )
    .argument("<dir>", "the journal's directory")
    .option("-f, --follow", "go on with new events")
    .option("-n, --lines <count>", "so many of those that are there", sequenceOf, 10);
  addFilterOptions(command);
  addJsonOption(command).action(
    (dir: string, flags: TailFlags) => runTail(session, dir, flags),
  );
}

async function runTail(session: Session, dir: string, flags: TailFlags): Promise<void> {
  const { host, output } = session;
  const selection = selectionOf(flags);
  using interrupt = flags.follow ? host.catchInterrupt() : undefined;
  using store = openForReading(dir);
  for (const event of newest(store, selection, flags.lines)) output.event(event);
  if (interrupt === undefined) return;
  let { nextSequence } = store.stats();
  for (;;) {
    output.flush();
    await host.sleep(POLL_MS, interrupt.signal);
    if (interrupt.signal.aborted) return;
    if (store.refresh() === 0) continue;
    const after = nextSequence === 0 ? undefined : nextSequence - 1;
    for (const event of store.events(selection.region, { after })) {
      if (selection.includes(event)) output.event(event);
    }
    ({ nextSequence } = store.stats());
  }
}

function newest(store: ReadOnlyStore, selection: Selection, count: number): StoredEvent[] {
  const events: StoredEvent[] = [];
  if (count === 0) return events;
  for (const event of store.events(selection.region, { reverse: true })) {
    if (!selection.includes(event)) continue;
    events.push(event);
    if (events.length === count) break;
  }
  return events.reverse();
}
