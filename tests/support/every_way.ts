/**
 * Reading a journal by every way there is.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { MemoryFs } from "../../platform/memory.ts";
import type { JournalReader } from "../../store/journal_reader.ts";
import { verifyJournal } from "../../store/verify.ts";
import { DIR, openReader, openStore } from "./journal.ts";

/** Reads copies of a journal by every way there is, which all have to say the same, and verifies them. */
export function everyWay(
  fs: MemoryFs,
  check: (reader: JournalReader, way: string) => void,
): void {
  const tree = () => fs.snapshot();
  for (
    const [way, coldStart] of [
      ["frames", { indexFile: false, footers: false }],
      ["footers", { indexFile: false, footers: true }],
      ["index", { indexFile: true, footers: true }],
    ] as const
  ) {
    {
      using reader = openReader(tree(), { coldStart });
      check(reader, `reader, ${way}`);
    }
    const copy = tree();
    {
      using store = openStore(copy, { coldStart });
      check(store, `writer, ${way}`);
    }
    {
      using store = openStore(copy, { coldStart: { indexFile: true, footers: true } });
      check(store, `again, ${way}`);
    }
    assert.deepEqual(verifyJournal(DIR, { fs: copy }).findings, [], way);
  }
}
