/**
 * Prints the damage table of `sim/damage_table.ts` as Markdown.
 *
 * ```sh
 * deno run scripts/damage_table.ts
 * ```
 *
 * @module
 */
import { type DamageKind, FILE_DAMAGES, REGION_DAMAGES } from "../sim/damage_cells.ts";
import { DAMAGE_TABLE, type DamageOutcome, type DamageRow } from "../sim/damage_table.ts";

/** Rows that say the same of one kind of file are one line. */
interface Line {
  readonly kinds: Set<string>;
  readonly on: Set<string>;
  readonly what: string;
  readonly outcome: DamageOutcome;
}

function main(): void {
  const found = new Map<string, { kind: string; on: string; what: Set<string>; row: DamageRow }>();
  for (const row of DAMAGE_TABLE) {
    for (const on of row.on) {
      const key = JSON.stringify([row.kind, on, row.outcome]);
      const line = found.get(key) ?? { kind: row.kind, on, what: new Set(), row };
      found.set(key, line);
      for (const what of whatOf(row)) line.what.add(what);
    }
  }
  const lines = new Map<string, Line>();
  for (const { kind, on, what, row: { outcome } } of found.values()) {
    const text = [...what].join("; ");
    const key = JSON.stringify([text, outcome]);
    const line = lines.get(key) ?? { kinds: new Set(), on: new Set(), what: text, outcome };
    lines.set(key, line);
    line.kinds.add(kind);
    line.on.add(on);
  }
  console.log(
    "| File | Journal | What happened | By index | By footers | By frames | Writing | `verify` |",
  );
  console.log("| --- | --- | --- | --- | --- | --- | --- | --- |");
  for (const { kinds, on, what, outcome } of lines.values()) {
    const { index, footers, frames, write, verify, cursor } = outcome;
    const words = cursor === undefined
      ? [index, footers, frames, write, verify]
      : [`consumer: ${cursor}`, "", "", "", verify];
    console.log(`| ${[[...kinds].join(", "), [...on].join(", "), what, ...words].join(" | ")} |`);
  }
}

function whatOf({ regions, damages }: DamageRow): string[] {
  if (FILE_DAMAGES.every((damage) => damages.includes(damage))) return ["anything"];
  const isFile = regions.includes("file");
  const ofRegions = damages.filter((damage) => !isFile || isOfRegion(damage)).join(", ");
  const places = regions.filter((region) => region !== "file").map(shortOf);
  return [
    ...[...new Set(places)].map((place) => `${place}: ${ofRegions}`),
    ...(isFile ? [damages.filter((damage) => !isOfRegion(damage)).join(", ")] : []),
  ];
}

function isOfRegion(damage: DamageKind): boolean {
  return REGION_DAMAGES.some((known) => known === damage);
}

function shortOf(region: string): string {
  return region.replace(/^header: (?:magic|size|keys|values|version, lowered|\*)$/, "header")
    .replace(/: \*$/, "").replace("header: version, raised", "header, a newer version");
}

main();
