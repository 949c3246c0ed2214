/**
 * What becomes of a journal when its files rot: one outcome for each kind of file, each region of it, and each
 * kind of damage.
 *
 * {@linkcode DAMAGE_TABLE} is data; `damage_cells.ts` does the damage, and `damage_judge.ts` says what came of it. A
 * cell is a kind of file, a region and a damage, with the places where that damage can strike. Every cell belongs to exactly one row: where
 * nobody has said what is to be expected there is no test, so that is an error.
 *
 * Damage to the very last group of the newest segment cannot be told from a write that a crash has torn. What
 * can be known about it is in the table: `index.fbati` tells, when it was saved behind that group; otherwise
 * the bytes are kept in `quarantine/` where there are any, and where the end of the file is gone at the end of
 * a group, or reads as zeros, nothing is left that could tell.
 *
 * @module
 */

import { BASE_RECORD_NAME } from "../store/compaction/base_record.ts";
import { MARKER_NAME } from "../store/compaction/compaction_marker.ts";
import {
  type DamageCell,
  type DamageKind,
  END_DAMAGES,
  FILE_DAMAGES,
  REGION_DAMAGES,
} from "./damage_cells.ts";
import type { CursorVerdict, Observation, Verdict, Verification } from "./damage_judge.ts";
import type { FileKind } from "./damage_regions.ts";
import { COMPACTION_STAGES, type Specimen } from "./damage_specimens.ts";

/** What has to be seen, in each way to look. */
export interface DamageOutcome extends Observation {
  /** What a consumer sees whose checkpoint it is. */
  readonly cursor?: CursorVerdict;
}

/** A row of the table. */
export interface DamageRow {
  /** The specimens it is about. */
  readonly on: readonly string[];
  readonly kind: FileKind;
  /** The regions; `"file"` for what happens to a file as a whole. A trailing `*` stands for any rest. */
  readonly regions: readonly string[];
  readonly damages: readonly DamageKind[];
  readonly outcome: DamageOutcome;
  /** What refusals may name besides: the other file that the damaged one does not fit. */
  readonly names?: readonly string[];
  /** Whether its specimens are about this row only, and other cells of them belong to none. */
  readonly isAlone?: true;
}

function reads(verdict: Verdict, write: Verdict, verify: Verification): DamageOutcome {
  return { index: verdict, footers: verdict, frames: verdict, write, verify };
}

const EXACT = reads("exact", "exact", "intact");
const REFUSED = reads("refused", "refused", "damage");
const NEWER = reads("newer", "newer", "newer");
const TORN = reads("prefix", "cut", "tail");
const UNNOTICED = reads("prefix", "unnoticed", "intact");
/** What the index does not look at, frames do. */
const WHEN_READ: DamageOutcome = {
  index: "refused when read",
  footers: "refused when read",
  frames: "refused",
  write: "refused when read",
  verify: "damage",
};
/** The same, where there is no footer that could stand in. */
const WHEN_READ_BY_INDEX: DamageOutcome = { ...WHEN_READ, footers: "refused" };
/** The end of the log is gone, and an index file knows it. */
const LOST: DamageOutcome = {
  index: "refused",
  footers: "prefix",
  frames: "prefix",
  write: "refused",
  verify: "lost",
};
const FOOTER_UNUSED: DamageOutcome = { ...EXACT, footers: "told", verify: "unusable" };
const INDEX_UNUSED: DamageOutcome = { ...EXACT, index: "told", write: "told", verify: "unusable" };
const SETTLED: DamageOutcome = { ...EXACT, write: "told" };
const FOOTER_SETTLED: DamageOutcome = { ...SETTLED, verify: "unusable" };
/** Nothing that was an event is gone; what was not is kept. */
const TAIL: DamageOutcome = { ...EXACT, write: "cut", verify: "tail" };

function consumer(cursor: CursorVerdict): DamageOutcome {
  return { ...EXACT, cursor };
}

const CLOSED = ["closed"] as const;
const KILLED = ["killed", "torn"] as const;
const [WRITING, ANNOUNCED, ASIDE, COMMITTED, REMOVING, REMOVED] = COMPACTION_STAGES;
const PENDING = [ANNOUNCED, ASIDE, COMMITTED, REMOVING, REMOVED] as const;
const SEALED = ["sealed segment", "sealed segment without a footer", "merged segment"] as const;
const ANY_REGION = REGION_DAMAGES;
const FLIP: readonly DamageKind[] = ["a flipped bit"];
const ZERO: readonly DamageKind[] = ["zeros"];
const FLIP_ZERO: readonly DamageKind[] = [...FLIP, ...ZERO];
const CUT: readonly DamageKind[] = ["cut off here"];
const LONGER: readonly DamageKind[] = ["zeros behind it", "garbage behind it"];
const SWAPPED_PAGE: DamageKind = "a page swapped with another file's";
const OVERWRITTEN: readonly DamageKind[] = [
  "a page of zeros",
  "a page twice",
  "a page of another file",
];
const REPLACED: readonly DamageKind[] = [
  "missing",
  "empty",
  "of another journal",
  "swapped with its neighbour",
  "also under the next number",
];
const FILE: readonly string[] = ["file"];
const RAISED = "header: version, raised";
const LOWERED = "header: version, lowered";
const CHECKPOINT_FIELDS: readonly string[] = [
  "map",
  "key position",
  "position",
  "key started",
  "started",
  "key process_boot_ns",
  "process_boot_ns",
  "key region_identity",
  "region_identity",
  "key event_id",
  "event_id",
  "checksum",
];

/** Headers of segments, but for their version. */
const HEADER = ["header: magic", "header: size", "header: keys", "header: values"] as const;
/** What a header is made of, with what a flipped or lost version makes of it. */
function headerRows(
  row: Pick<DamageRow, "on" | "kind" | "names">,
  outcome: DamageOutcome = REFUSED,
  newer: DamageOutcome = NEWER,
): DamageRow[] {
  return [
    { ...row, regions: [...HEADER, LOWERED], damages: FLIP_ZERO, outcome },
    { ...row, regions: [RAISED], damages: FLIP, outcome: newer },
  ];
}

/** A small file with one checksum over all of it. */
function checkedFile(row: Pick<DamageRow, "on" | "kind">, regions: readonly string[]): DamageRow[] {
  return [
    { ...row, regions: [...regions, "version, lowered"], damages: ANY_REGION, outcome: REFUSED },
    { ...row, regions: ["version, raised"], damages: FLIP, outcome: NEWER },
    {
      ...row,
      regions: FILE,
      damages: ["empty", "zeros behind it", "garbage behind it"],
      outcome: REFUSED,
    },
  ];
}

/** A file that nobody reads. */
function unread(
  on: readonly string[],
  kind: FileKind,
  outcome: DamageOutcome = EXACT,
): DamageRow {
  return {
    on,
    kind,
    regions: ["bytes", "file"],
    damages: [...ANY_REGION, ...FILE_DAMAGES],
    outcome,
  };
}

/** The table. */
export const DAMAGE_TABLE: readonly DamageRow[] = [
  // ---- Sealed segments --------------------------------------------------------------------------
  ...SEALED.flatMap((kind): DamageRow[] => {
    const row = { on: CLOSED, kind };
    const hasFooter = kind !== "sealed segment without a footer";
    const whenRead = hasFooter ? WHEN_READ : WHEN_READ_BY_INDEX;
    const names = kind === "merged segment" ? { names: [BASE_RECORD_NAME] } : {};
    return [
      ...headerRows(row),
      { ...row, regions: ["a frame: *"], damages: FLIP_ZERO, outcome: whenRead },
      { ...row, regions: ["header: *", "a frame: *"], damages: CUT, outcome: REFUSED },
      ...(hasFooter
        ? [{ ...row, regions: ["footer: *"], damages: ANY_REGION, outcome: FOOTER_UNUSED }]
        : []),
      { ...row, regions: ["frames"], damages: OVERWRITTEN, outcome: whenRead },
      // The merged one and its neighbour, of which one has no footer.
      {
        ...row,
        regions: ["frames"],
        damages: [SWAPPED_PAGE],
        outcome: kind === "merged segment" ? WHEN_READ_BY_INDEX : whenRead,
      },
      { ...row, ...names, regions: FILE, damages: REPLACED, outcome: REFUSED },
      { ...row, regions: FILE, damages: LONGER, outcome: FOOTER_UNUSED },
    ];
  }),
  {
    on: CLOSED,
    kind: "sealed segment",
    regions: FILE,
    // As it was before it was sealed: with frames missing, and no footer.
    damages: ["an older copy"],
    outcome: WHEN_READ_BY_INDEX,
  },
  // A writer has to read this one when it opens.
  {
    on: [WRITING],
    kind: "sealed segment",
    regions: ["the store's newest event: *"],
    damages: FLIP_ZERO,
    outcome: { ...WHEN_READ, write: "refused" },
    isAlone: true,
  },

  // ---- The active segment -----------------------------------------------------------------------
  ...[CLOSED, KILLED].flatMap((on): DamageRow[] => {
    const row = { on, kind: "active segment" as const };
    return [
      ...headerRows(row),
      { ...row, regions: ["header: *"], damages: CUT, outcome: LOST },
      { ...row, regions: ["a frame saved: *"], damages: FLIP_ZERO, outcome: WHEN_READ_BY_INDEX },
      { ...row, regions: ["a frame saved: *"], damages: CUT, outcome: LOST },
      {
        ...row,
        regions: ["frames"],
        damages: [...OVERWRITTEN, SWAPPED_PAGE],
        outcome: WHEN_READ_BY_INDEX,
      },
      {
        ...row,
        regions: FILE,
        damages: ["of another journal", "swapped with its neighbour", "also under the next number"],
        outcome: REFUSED,
      },
      { ...row, regions: FILE, damages: ["missing", "empty"], outcome: LOST },
      { ...row, regions: ["groups, some of them saved"], damages: END_DAMAGES, outcome: LOST },
    ];
  }),
  ...((row): DamageRow[] => [
    { ...row, regions: ["the last group, saved: *"], damages: ANY_REGION, outcome: LOST },
    { ...row, regions: FILE, damages: ["an older copy"], outcome: LOST },
    { ...row, regions: FILE, damages: ["zeros behind it"], outcome: EXACT },
    { ...row, regions: FILE, damages: ["garbage behind it"], outcome: TAIL },
  ])({ on: CLOSED, kind: "active segment" as const }),
  ...((row): DamageRow[] => [
    // Frames follow that were never saved, and are sound: they show that this is no torn end.
    {
      ...row,
      regions: ["the last frame saved: *", "a frame not saved: *"],
      damages: FLIP_ZERO,
      outcome: REFUSED,
    },
    { ...row, regions: ["the last frame saved: *"], damages: CUT, outcome: LOST },
    // What the next two are about may have been durable, and nobody can tell. See the top of the file.
    { ...row, regions: ["a frame not saved: *"], damages: CUT, outcome: TORN },
    { ...row, regions: ["the last group: *"], damages: ANY_REGION, outcome: TORN },
    // Sound frames follow, and nothing says that they are of the same group.
    { ...row, regions: ["the last group, first frame: *"], damages: FLIP_ZERO, outcome: REFUSED },
    { ...row, regions: ["the last group, first frame: *"], damages: CUT, outcome: TORN },
    {
      ...row,
      regions: ["groups, none of them saved"],
      damages: END_DAMAGES,
      outcome: UNNOTICED,
    },
    { ...row, regions: FILE, damages: ["an older copy"], outcome: UNNOTICED },
    { ...row, regions: FILE, damages: ["garbage behind it"], outcome: TAIL },
    { ...row, regions: ["torn tail"], damages: FLIP, outcome: TAIL },
    { ...row, regions: ["space"], damages: FLIP, outcome: TAIL },
  ])({ on: KILLED, kind: "active segment" as const }),
  ...([["killed", EXACT], ["torn", TAIL]] as const).map(([on, outcome]): DamageRow => ({
    on: [on],
    kind: "active segment",
    regions: ["space", "file"],
    damages: ["cut off here", "zeros behind it"],
    outcome,
  })),
  {
    on: ["torn"],
    kind: "active segment",
    regions: ["torn tail"],
    damages: ["cut off here"],
    outcome: TAIL,
  },
  { on: ["torn"], kind: "active segment", regions: ["torn tail"], damages: ZERO, outcome: EXACT },

  // A last group of one event.
  {
    on: [WRITING],
    kind: "active segment",
    regions: ["the last group: *"],
    damages: ANY_REGION,
    outcome: TORN,
    isAlone: true,
  },

  // ---- Small files ------------------------------------------------------------------------------
  ...((row): DamageRow[] => [
    ...checkedFile(row, ["magic", "checksum", "id", "created"]),
    {
      ...row,
      regions: FILE,
      damages: ["missing"],
      outcome: { ...EXACT, write: "told", verify: "damage" },
    },
    {
      ...row,
      regions: FILE,
      damages: ["of another journal"],
      outcome: REFUSED,
      names: [BASE_RECORD_NAME],
    },
  ])({ on: CLOSED, kind: "store.meta" as const }),
  ...((row): DamageRow[] => [
    ...checkedFile(row, [
      "magic",
      "head checksum",
      "id",
      "first segment",
      "first sequence",
      "last timestamp",
      "last hash",
      "counts",
      "reserved",
      "chains",
      "key id",
      "signature",
      "checksum",
    ]),
    {
      ...row,
      regions: FILE,
      damages: ["missing", "of another journal", "an older copy"],
      outcome: REFUSED,
      names: ["000006.fbat"],
    },
  ])({ on: CLOSED, kind: "journal.base" as const }),
  ...((row): DamageRow[] => [
    {
      ...row,
      regions: ["magic", "version, lowered", "checksum", "zeros", "image"],
      damages: ANY_REGION,
      outcome: INDEX_UNUSED,
    },
    { ...row, regions: ["version, raised"], damages: FLIP, outcome: INDEX_UNUSED },
    {
      ...row,
      regions: FILE,
      damages: ["empty", "zeros behind it", "garbage behind it", "of another journal"],
      outcome: INDEX_UNUSED,
    },
    { ...row, regions: FILE, damages: ["missing", "an older copy"], outcome: EXACT },
  ])({ on: CLOSED, kind: "index.fbati" as const }),
  ...((row): DamageRow[] => [
    {
      ...row,
      regions: CHECKPOINT_FIELDS,
      damages: ANY_REGION,
      outcome: consumer("CheckpointCorruptError"),
    },
    // Without that name it is a checkpoint of an older program, which says the same.
    {
      ...row,
      regions: ["key checksum: name"],
      damages: FLIP_ZERO,
      outcome: consumer("exact"),
    },
    {
      ...row,
      regions: ["key checksum: name"],
      damages: CUT,
      outcome: consumer("CheckpointCorruptError"),
    },
    // The byte in front of the name says how long it is.
    {
      ...row,
      regions: ["key checksum"],
      damages: FLIP_ZERO,
      outcome: consumer("exact or CheckpointCorruptError"),
    },
    {
      ...row,
      regions: ["key checksum"],
      damages: CUT,
      outcome: consumer("CheckpointCorruptError"),
    },
    { ...row, regions: FILE, damages: LONGER, outcome: consumer("exact") },
    { ...row, regions: FILE, damages: ["empty"], outcome: consumer("CheckpointCorruptError") },
    { ...row, regions: FILE, damages: ["missing"], outcome: consumer("from the start") },
    { ...row, regions: FILE, damages: ["an older copy"], outcome: consumer("given again") },
    {
      ...row,
      regions: FILE,
      damages: ["swapped with its neighbour"],
      outcome: consumer("CheckpointRegionMismatchError"),
    },
    {
      ...row,
      regions: FILE,
      damages: ["of another journal"],
      outcome: consumer("CheckpointAheadError"),
    },
  ])({ on: CLOSED, kind: "checkpoint" as const }),
  unread(CLOSED, "lock"),
  unread(CLOSED, "quarantine"),
  unread(CLOSED, "unknown name"),

  // ---- A compaction that was cut short ----------------------------------------------------------
  unread([WRITING], "staged file", SETTLED),
  unread([WRITING, ANNOUNCED, ASIDE], "merge being written", SETTLED),
  ...PENDING.flatMap((stage): DamageRow[] => {
    const row = { on: [stage], kind: "compaction.pending" as const };
    return [
      ...checkedFile(row, [
        "magic",
        "checksum",
        "id",
        "compaction id",
        "merged segment",
        "sources",
      ]),
      { ...row, regions: FILE, damages: ["of another journal"], outcome: REFUSED },
      // Where nothing has been replaced, or all of it, the names alone say what counts.
      {
        ...row,
        regions: FILE,
        damages: ["missing"],
        outcome: stage === REMOVED ? EXACT : SETTLED,
      },
    ];
  }),
  // Nothing but this file has its events, and no index is believed.
  ...((row): DamageRow[] => [
    ...headerRows(row),
    {
      ...row,
      regions: ["a frame: *", "the store's newest event: *"],
      damages: FLIP_ZERO,
      outcome: REFUSED,
    },
    {
      ...row,
      regions: ["header: *", "a frame: *", "the store's newest event: *"],
      damages: CUT,
      outcome: REFUSED,
    },
    { ...row, regions: ["footer: *"], damages: ANY_REGION, outcome: FOOTER_SETTLED },
    { ...row, regions: FILE, damages: LONGER, outcome: FOOTER_SETTLED },
    {
      ...row,
      regions: FILE,
      damages: ["missing", "empty", "of another journal"],
      outcome: REFUSED,
      names: [MARKER_NAME],
    },
  ])({ on: [ASIDE], kind: "source set aside" as const }),
  unread([COMMITTED, REMOVING], "source set aside", SETTLED),
  unread([COMMITTED], "source that was merged", SETTLED),
  ...[COMMITTED, REMOVING, REMOVED].flatMap((stage): DamageRow[] => {
    const row = { on: [stage], kind: "merged segment" as const, names: [MARKER_NAME] };
    // While all its sources are there, a writer goes back to them.
    const isUndone = stage === COMMITTED;
    const frames: DamageOutcome = { ...REFUSED, write: isUndone ? "told" : "refused" };
    const footer: DamageOutcome = {
      ...EXACT,
      write: isUndone ? "told" : "refused",
      verify: "unusable",
    };
    const all = ["a frame: *", "the store's newest event: *"];
    return [
      ...headerRows(row, REFUSED, { ...REFUSED, verify: "newer" }),
      { ...row, regions: ["header: *"], damages: CUT, outcome: REFUSED },
      { ...row, regions: all, damages: ANY_REGION, outcome: frames },
      { ...row, regions: ["frames"], damages: OVERWRITTEN, outcome: frames },
      { ...row, regions: ["footer: *"], damages: ANY_REGION, outcome: footer },
      { ...row, regions: FILE, damages: LONGER, outcome: footer },
      {
        ...row,
        regions: FILE,
        damages: ["missing"],
        outcome: isUndone ? SETTLED : REFUSED,
      },
      {
        ...row,
        regions: FILE,
        damages: REPLACED.filter((damage) => damage !== "missing").concat("an older copy"),
        outcome: REFUSED,
      },
    ];
  }),
];

/**
 * The row that a cell belongs to; `undefined` when the specimen is there for other cells.
 *
 * @throws {Error} when nobody has said what to expect, or two rows do.
 */
export function rowOf(specimen: Specimen, cell: DamageCell): DamageRow | undefined {
  const { kind, region, damage } = cell;
  const known = DAMAGE_TABLE.filter((row) => row.kind === kind && row.on.includes(specimen.name));
  const rows = known.filter((row) => isAbout(row, cell));
  if (rows.length === 1) return rows[0];
  if (rows.length === 0 && known.every(({ isAlone }) => isAlone)) return undefined;
  throw new Error(
    `Cannot tell what to expect on "${specimen.name}" of ${kind}, ${region}, ${damage}: ` +
      `${rows.length} rows are about it`,
  );
}

/** Whether a row is about something. */
function isAbout(row: DamageRow, cell: Pick<DamageCell, "kind" | "region" | "damage">): boolean {
  return row.kind === cell.kind && row.damages.includes(cell.damage) &&
    row.regions.some((region) =>
      region.endsWith("*") ? cell.region.startsWith(region.slice(0, -1)) : region === cell.region
    );
}
