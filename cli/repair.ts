/**
 * `batpak repair`: puts the end of a journal in order that a crash or a power cut has left.
 *
 * What any writer does when it opens, said out loud; and, when asked, what no writer does by itself:
 * cutting the newest segment at damage that sound events follow.
 *
 * @module
 */
import type { Command } from "commander";
import { JournalNotFoundError, Store } from "../mod.ts";
import { asCommandError, openForWriting } from "./journal.ts";
import { addJsonOption } from "./options.ts";
import { formatBytes, plural } from "./output.ts";
import type { Session } from "./session.ts";

/** Adds the command to the program. */
export function addRepairCommand(program: Command, session: Session): void {
  const command = program
    .command("repair")
    .summary("put the end of a journal in order")
    .description(
      "Cuts what a crash left behind the last whole event, as every writer does when it opens, and " +
        "keeps the cut bytes in quarantine/. Damage that sound events follow is refused, unless " +
        "--cut-at-damage is given.",
    )
    .argument("<dir>", "the journal's directory")
    .option(
      "--cut-at-damage",
      "give up the events behind the damage in the newest segment, acknowledged or not",
    );
  addJsonOption(command).action((dir: string, { cutAtDamage }: { cutAtDamage?: boolean }) => {
    assertJournal(dir);
    const { output } = session;
    using store = openForWriting(dir, output, {
      tailPolicy: cutAtDamage === true ? "cutAtDamage" : "repair",
    });
    const { repairs, restoredEntries } = store.openReport;
    const cutBytes = repairs.reduce((sum, { size }) => sum + size, 0);
    if (output.json) output.record({ repairs, cutBytes, events: restoredEntries });
    else if (repairs.length === 0) output.text("Nothing to repair.");
    else {
      output.text(
        `Cut ${formatBytes(cutBytes)}; what remains: ${plural(restoredEntries, "event")}.`,
      );
    }
  });
}

/** A repair must not begin a journal where there is none. Other refusals are for the repair itself. */
function assertJournal(dir: string): void {
  try {
    Store.openReadOnly(dir).close();
  } catch (error) {
    if (error instanceof JournalNotFoundError) throw asCommandError(error, dir);
  }
}
