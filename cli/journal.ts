/**
 * Opening a journal for a command.
 *
 * @module
 */
import { JournalNotFoundError, type ReadOnlyStore, Store, type StoreOptions } from "../mod.ts";
import { CommandError } from "./errors.ts";
import { formatBytes, type Output } from "./output.ts";

/** The most bytes of an event and of a batch: as much as the store allows. */
export const STORE_LIMITS = {
  singleAppendMaxBytes: 64 << 20,
  batch: { maxBytes: 16 << 20 },
} as const satisfies StoreOptions;

/** What to say where there is no journal: what begins one, or, where that would not help, nothing. */
type Advice = "begin" | "nothing";

/**
 * Opens a journal for reading, beside whoever writes to it.
 *
 * @throws {CommandError} when there is none; no directory is made.
 */
export function openForReading(dir: string, advice: Advice = "begin"): ReadOnlyStore {
  try {
    return Store.openReadOnly(dir);
  } catch (error) {
    throw asCommandError(error, dir, advice);
  }
}

/** Whether there is a journal. One that cannot be read is one: opening it says why. */
export function isJournal(dir: string): boolean {
  try {
    Store.openReadOnly(dir).close();
  } catch (error) {
    return !(error instanceof JournalNotFoundError);
  }
  return true;
}

/**
 * Opens a journal for writing that has to be there.
 *
 * @throws {CommandError} when there is none; no directory is made.
 */
export function openExisting(dir: string, output: Output): Store {
  openForReading(dir, "nothing").close();
  return openForWriting(dir, output);
}

/** Opens a journal for writing, begins one when there is none, and says what else it did. */
export function openForWriting(dir: string, output: Output, options: StoreOptions = {}): Store {
  const store = Store.open(dir, {
    ...options,
    ...STORE_LIMITS,
  });
  const { segments, repairs, oddities } = store.openReport;
  if (segments === 0) {
    output.note(`batpak: began a new journal in ${store.dir}`, {
      note: "began",
      dir: store.dir,
      storeId: store.storeId,
    });
  }
  for (const repair of repairs) {
    const { segmentId, offset, size, reason, quarantine } = repair;
    const kept = quarantine === ""
      ? "nothing was kept, because the file was empty or held only zeros"
      : `they are kept in ${quarantine}`;
    output.note(
      `batpak: repaired the end of segment ${segmentId}: ${formatBytes(size)} from offset ` +
        `${offset} were cut (${reason}); ${kept}`,
      { note: "repaired", ...repair },
    );
  }
  for (const oddity of oddities) {
    output.note(`batpak: ${oddity}`, { note: "odd", message: oddity });
  }
  return store;
}

/** An error as the command reports it: that there is no journal is said in terms of the command. */
export function asCommandError(error: unknown, dir: string, advice: Advice = "begin"): unknown {
  if (!(error instanceof JournalNotFoundError)) return error;
  return new CommandError(
    "NO_JOURNAL",
    `Cannot read a journal in "${dir}": the directory ${
      error.cause === undefined ? "holds none" : "does not exist"
    }${advice === "begin" ? '; "batpak append" and "batpak import" begin one' : ""}`,
    { facts: { dir } },
  );
}
