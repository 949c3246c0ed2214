/**
 * `batpak repair`: puts the end of a journal in order that a crash or a power cut has left.
 *
 * What any writer does when it opens, said out loud; and, when asked, what no writer does by itself:
 * cutting the newest segment at damage that sound events follow.
 *
 * @module
 */
import type { Command } from "commander";
import {
  CorruptionError,
  JournalNotFoundError,
  Store,
  type TailPolicy,
  verifyJournal,
  type VerifyReport,
} from "../mod.ts";
import { CommandError, errorToJson, ExitCode } from "./errors.ts";
import { asCommandError, openForWriting } from "./journal.ts";
import { addJsonOption } from "./options.ts";
import { formatBytes, type Output, plural } from "./output.ts";
import type { Session } from "./session.ts";

/** Adds the command to the program. */
export function addRepairCommand(program: Command, session: Session): void {
  const command = program
    .command("repair")
    .summary("cut what a crash left at the end")
    .description(
      "Cuts what a crash left after the last whole event, as every writer does when it opens, and " +
        "keeps the cut bytes in quarantine/. Damage that sound events follow, and a log that ends before " +
        "what its index file knows was synced, is refused with exit code 3, and nothing is changed, " +
        "unless --cut-at-damage is given. Damage in an older segment is never cut.",
    )
    .argument("<dir>", "the journal's directory")
    .option(
      "--cut-at-damage",
      "cut the newest segment at its first damage: gives up the events behind it, and the whole " +
        "group that it is in, acknowledged or not",
    );
  addJsonOption(command).action((dir: string, { cutAtDamage }: { cutAtDamage?: boolean }) => {
    assertJournal(dir);
    const { output } = session;
    const report = verifyJournal(dir);
    if (!cutAtDamage) refuseLoss(report);
    // What is sound behind the damage cannot be counted any more once it is cut.
    const soundEvents = cutAtDamage ? report.events : undefined;
    using store = openForRepair(dir, output, cutAtDamage ? "cutAtDamage" : "repair");
    const { repairs, oddities, restoredEntries } = store.openReport;
    const cutBytes = repairs.reduce((sum, { size }) => sum + size, 0);
    const soundEventsCut = soundEvents === undefined
      ? undefined
      : Math.max(0, soundEvents - restoredEntries);
    if (output.json) {
      output.record({ repairs, cutBytes, events: restoredEntries, soundEventsCut, oddities });
    } else if (repairs.length === 0) {
      // What was odd has been said, and may have been put right.
      output.text(oddities.length === 0 ? "Nothing to repair." : "Nothing to cut.");
    } else {
      const given = soundEventsCut === undefined || soundEventsCut === 0
        ? ""
        : `, ${plural(soundEventsCut, "sound event")} among them`;
      output.text(
        `Cut ${formatBytes(cutBytes)}${given}; what remains: ${plural(restoredEntries, "event")}.`,
      );
    }
  });
}

/** Acknowledged events that are gone are given up by whoever says so, and not by the way. */
function refuseLoss({ findings }: VerifyReport): void {
  const lost = findings.find(({ type }) => type === "lost");
  if (lost === undefined) return;
  throw new CommandError(
    "CORRUPTION",
    `Cannot repair: ${lost.file} says that ${lost.reason}. Nothing was changed; restore the newest segment ` +
      "from a copy, or give those events up with --cut-at-damage",
    { facts: { ...lost }, exitCode: ExitCode.DAMAGE },
  );
}

/** Opens the journal, which repairs it. A refusal says what else can be done. */
function openForRepair(dir: string, output: Output, tailPolicy: TailPolicy): Store {
  try {
    // Every frame is to be looked at, not only what an index has not seen.
    const coldStart = { indexFile: false, footers: false };
    return openForWriting(dir, output, { tailPolicy, coldStart });
  } catch (error) {
    const canCut = error instanceof CorruptionError && error.segmentId !== undefined &&
      tailPolicy === "repair";
    if (!canCut) throw error;
    const { code, message, ...facts } = errorToJson(error);
    throw new CommandError(
      code,
      `${message}. Nothing was changed; in the newest segment --cut-at-damage gives up the events ` +
        "behind the damage, and the group that it is in",
      { facts, exitCode: ExitCode.DAMAGE, cause: error },
    );
  }
}

/** A repair must not begin a journal where there is none. Other refusals are for the repair itself. */
function assertJournal(dir: string): void {
  try {
    Store.openReadOnly(dir).close();
  } catch (error) {
    if (error instanceof JournalNotFoundError) throw asCommandError(error, dir, "nothing");
  }
}
