/**
 * `deno task corpus`: runs the rows of the corpus again, and pins them anew when the store has come to write
 * other bytes.
 *
 * ```sh
 * deno task corpus                                                       # says which rows have changed
 * deno task corpus --update                                              # pins their new digests
 * deno task corpus --update --outcomes                                   # also where a run ends otherwise
 * deno task corpus --add '{"kind":"matrix","cell":"honest disk","seed":7,"steps":64}' --reason "…"
 * ```
 *
 * Nothing is written before Deno and Bun agree on every digest, nor where `CI` is set: what a merge depends
 * on must not repair itself. A row whose run breaks a promise is never pinned. It is a defect. A row that ends
 * in another way than before, more or less being left, is pinned only when that was asked for: whoever asks
 * has looked, and its reason may have to be another one.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  type CorpusRow,
  describeRow,
  driftsOf,
  formatCorpus,
  graduate,
  type Graduation,
  type JsonObject,
  parseCorpus,
} from "../sim/corpus.ts";

const FILE = new URL("../sim/corpus.json", import.meta.url);

/**
 * Runs all rows again, twice each.
 *
 * @throws {Error} when one of them is refused: it says which, and why.
 */
export function pinned(rows: readonly CorpusRow[]): CorpusRow[] {
  return rows.map((row) => rowOf(graduate({ ...row }, row), describeRow(row)));
}

/**
 * Refuses outcomes that have changed.
 *
 * @throws {Error} naming the rows.
 */
export function assertOutcomes(before: readonly CorpusRow[], after: readonly CorpusRow[]): void {
  const changed = before.flatMap((row, i) =>
    row.outcome === after[i].outcome
      ? []
      : [`${describeRow(row)}: ${row.outcome} is ${after[i].outcome} now`]
  );
  if (changed.length === 0) return;
  throw new Error(
    `Cannot pin other outcomes without --outcomes; look at them first:\n${changed.join("\n")}`,
  );
}

/**
 * Refuses to pin anything where nobody looks at it.
 *
 * @throws {Error} when `CI` is set.
 */
export function assertMayPin(env: Readonly<Record<string, string | undefined>>): void {
  if (env.CI === undefined || env.CI === "") return;
  throw new Error("Cannot pin the corpus where CI is set: do it where somebody looks at it");
}

function rowOf(graduation: Graduation, what: string): CorpusRow {
  if (graduation.type === "graduated") return graduation.row;
  throw new Error(`Cannot pin ${what}: ${JSON.stringify(graduation.refusal)}`);
}

async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      update: { type: "boolean", default: false },
      outcomes: { type: "boolean", default: false },
      add: { type: "string" },
      found: { type: "boolean", default: false },
      reason: { type: "string", default: "" },
      stdin: { type: "boolean", default: false },
    },
  });
  // What the other runtime is asked to do.
  if (values.stdin) {
    const rows = parseCorpus(JSON.parse(readFileSync(0, "utf8")));
    process.stdout.write(formatCorpus(pinned(rows)));
    return;
  }
  const rows = parseCorpus(JSON.parse(readFileSync(FILE, "utf8")));
  if (!values.update && values.add === undefined) {
    const drifts = driftsOf(rows);
    for (const { row, now } of drifts) {
      const end = now.type === "graduated"
        ? `${now.row.outcome} ${now.row.digest}`
        : JSON.stringify(now.refusal);
      console.log(`${describeRow(row)}: ${row.outcome} ${row.digest} is ${end} now`);
    }
    console.log(`${rows.length - drifts.length} of ${rows.length} rows end as they did`);
    if (drifts.length > 0) process.exitCode = 1;
    return;
  }
  assertMayPin(process.env);
  if (values.add !== undefined) {
    const origin = values.found ? "found" : "graduated";
    const json = JSON.parse(values.add) as JsonObject;
    rows.push(rowOf(graduate(json, { origin, reason: values.reason }), values.add));
  }
  const after = pinned(rows);
  if (!values.outcomes) assertOutcomes(rows, after);
  const here = formatCorpus(after);
  // It is a program of Deno, and this file is one of both.
  const { findBun } = await import("./bun.ts");
  const { path } = await findBun();
  const { status, stdout, stderr } = spawnSync(path, [fileURLToPath(import.meta.url), "--stdin"], {
    input: formatCorpus(rows),
    encoding: "utf8",
    maxBuffer: 64 << 20,
  });
  if (status !== 0) throw new Error(`Cannot pin the corpus: Bun says\n${stderr}`);
  if (stdout !== here) {
    throw new Error("Cannot pin the corpus: Deno and Bun do not agree on every digest");
  }
  writeFileSync(FILE, here);
  console.log(`${rows.length} rows are pinned, and Deno and Bun agree on them`);
}

if (import.meta.main) await main(process.argv.slice(2));
