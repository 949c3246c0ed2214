/**
 * Results as the section of README that says how fast it is. It stands between two markers, and a test
 * makes it again from the results that lie beside this file: nobody writes a figure into README by hand.
 *
 * @module
 */
import { RACE_SCALE, SCALES } from "./options.ts";
import {
  type BenchRow,
  type BenchRun,
  formatExponent,
  formatRatio,
  formatSpread,
  formatWhole,
  RAW_NAME,
} from "./results.ts";
import {
  isDelivery,
  shortFigure,
  titleOfPeer,
  titleOfRun,
  titleOfRuntime,
  titleOfWorkload,
} from "./wording.ts";

const BEGIN = "<!-- bench:begin -->";
const END = "<!-- bench:end -->";

const SCALE_MAX = SCALES[SCALES.length - 1];

/** Where the chart lies, seen from README. */
export const CHART_PATH = "scripts/bench/chart.svg";

/**
 * Puts the section into the text of a README.
 *
 * @throws {Error} when the text does not have one place for it.
 */
export function updateReadme(readme: string, runs: readonly BenchRun[]): string {
  const begin = readme.indexOf(BEGIN);
  const end = readme.indexOf(END);
  if (begin < 0 || end < begin || readme.indexOf(BEGIN, begin + 1) >= 0) {
    throw new Error(`Cannot find where to put the figures: README needs ${BEGIN} and ${END}, once`);
  }
  const before = readme.slice(0, begin + BEGIN.length);
  return `${before}\n\n${formatSection(runs)}\n\n${readme.slice(end)}`;
}

/** The section: how it was measured, the chart, a table for each runtime, and what it was set up like. */
export function formatSection(runs: readonly BenchRun[]): string {
  return [
    "<!-- Made by `deno task bench:report`. deno-fmt-ignore-start -->",
    wrap(introduction(runs)),
    `![How many times as fast as the fastest peer, for each workload](${CHART_PATH})`,
    ...runs.flatMap(runParts),
    peerTable(runs),
    ...remarks(runs),
    "<!-- deno-fmt-ignore-end -->",
  ].join("\n\n");
}

function introduction(runs: readonly BenchRun[]): string {
  const [{ batpakVersion, date, machine, events }] = runs;
  const { processor, cores, memoryGiB, system, architecture } = machine;
  const quick = runs.some((run) => run.quick)
    ? "**A quick run, which only shows that everything works.** "
    : "";
  return `${quick}batpak ${batpakVersion} on ${runs.map(titleOfRun).join(" and ")}, ${date}, ` +
    `${system} ${architecture}, ${processor}, ${cores} cores, ${memoryGiB} GiB. Events of about 60 ` +
    "bytes over 1,000 entities. In each row everybody took turns on " +
    `${formatWhole(events * RACE_SCALE)} events, or as many as the row says: behind batpak's ` +
    "figure stands, for each peer, how many times as good batpak is, and the peer's own figure. The " +
    `last two columns are batpak alone, on ${
      formatWhole(events * SCALE_MAX)
    } events, and how the ` +
    `cost of everything grew up to there from ${
      formatWhole(events)
    }: an exponent of 1.00 is linear. ` +
    "Figures are medians, and half of the samples lie within ±. Trust ratios more than rates.";
}

function runParts(run: BenchRun): string[] {
  const delivery = run.rows.filter(({ workload }) => isDelivery(workload));
  return [
    `**${titleOfRun(run)}**`,
    resultTable(run),
    ...delivery.length === 0 ? [] : [deliveryTable(delivery)],
    ...notes(run),
  ];
}

/** Those who follow and those who wait: how long they wait is said, and seldom how cost grows. */
function deliveryTable(rows: readonly BenchRow[]): string {
  const peers = peerNames(rows);
  const us = (value: number | undefined) =>
    value === undefined ? "" : shortFigure("us", value).replace(" µs", "");
  const lines = [
    ["Delivery", "batpak", "±", "p50 µs", "p99 µs", ...peers.map(titleOfPeer), "exponent"],
    ...rows.map((row) => [
      titleOfWorkload(row.workload),
      shortFigure(row.unit, row.batpak!.median),
      formatSpread(row.batpak!),
      us(row.p50us),
      us(row.p99us),
      ...peers.map((name) => peerCell(row, name)),
      formatExponent(row.exponent),
    ]),
  ];
  return table(lines, new Set([0]));
}

/** One line for each workload, one column for each peer. */
function resultTable(run: BenchRun): string {
  const { events } = run;
  const rows = run.rows.filter(({ workload }) => !isDelivery(workload));
  const peers = peerNames(rows);
  const largest = formatWhole(events * SCALE_MAX);
  const lines = [
    ["Workload", "batpak", "±", ...peers.map(titleOfPeer), `at ${largest}`, "exponent"],
    ...rows.map((row) => resultLine(row, peers, events)),
  ];
  return table(lines, new Set([0]));
}

function resultLine(row: BenchRow, peers: readonly string[], events: number): string[] {
  const { workload, unit, batpak, growth, exponent } = row;
  if (batpak === undefined) {
    return [titleOfWorkload(workload), "not available", "", ...peers.map(() => ""), "", ""];
  }
  const largest = growth.at(-1);
  const isSmaller = largest !== undefined && largest.events < events;
  return [
    titleOfWorkload(workload) + (isSmaller ? ` (${formatWhole(row.events)})` : ""),
    shortFigure(unit, batpak.median),
    formatSpread(batpak),
    ...peers.map((name) => peerCell(row, name)),
    largest === undefined ? "" : shortFigure(unit, largest.figure.median) +
      (isSmaller ? ` (${formatWhole(largest.events)})` : ""),
    formatExponent(exponent),
  ];
}

function peerCell({ unit, peers, absent }: BenchRow, name: string): string {
  const peer = peers.find((peer) => peer.name === name);
  if (peer !== undefined) {
    return `${formatRatio(peer.ratio)} (${shortFigure(unit, peer.figure.median)})`;
  }
  return absent.some((peer) => peer.name === name) ? "cannot" : "";
}

/** Those with a column: the bare loop is in one row only, and has a sentence. */
function peerNames(rows: readonly BenchRow[]): string[] {
  const names = new Set(rows.flatMap(({ peers }) => peers.map(({ name }) => name)));
  names.delete(RAW_NAME);
  return [...names];
}

/** What has no place in the table. */
function notes({ rows, missing }: BenchRun): string[] {
  const lines: string[] = [];
  for (const { workload, peers } of rows) {
    const raw = peers.find(({ name }) => name === RAW_NAME);
    if (raw === undefined) continue;
    const figure = shortFigure("events/s", raw.figure.median);
    const share = formatRatio(raw.ratio).replace(" ×", "");
    lines.push(
      isDelivery(workload)
        ? `- A bare loop, as many to a sync: ${figure}; "${
          titleOfWorkload(workload)
        }" do ${share} of it.`
        : `- A bare loop of write and fdatasync does ${figure}: ` +
          `a durable append does ${share} of that.`,
    );
  }
  const appended = rows.find(({ workload }) => workload === "append");
  if (appended?.bytesPerEvent !== undefined) {
    lines.push(`- Such an event takes ${Math.round(appended.bytesPerEvent)} bytes in the log.`);
  }
  for (const { workload, unavailable } of rows) {
    if (unavailable !== undefined) {
      lines.push(`- No "${titleOfWorkload(workload)}": ${unavailable}.`);
    }
  }
  for (const { name, reason } of missing) {
    lines.push(`- Without ${titleOfPeer(name)}: ${reason}.`);
  }
  return lines.length === 0 ? [] : [lines.join("\n")];
}

/** Who the peers are, and how they are set up: the same on every runtime. */
function peerTable(runs: readonly BenchRun[]): string {
  const lines = new Map<string, string[]>();
  for (const run of runs) {
    for (const { name, version, settings } of run.peers) {
      const where = `${version} on ${titleOfRuntime(run.runtime)}`;
      const line = lines.get(name);
      if (line !== undefined) line[1] += `, ${where}`;
      else lines.set(name, [titleOfPeer(name), where, settings.written, settings.durable]);
    }
  }
  const headings = ["Peer", "Version", "Set up to be written", "Set up to be durable"];
  return table([headings, ...lines.values()], new Set(headings.keys()));
}

function remarks(runs: readonly BenchRun[]): string[] {
  const rows = runs.flatMap(({ rows }) => rows);
  const checkless = new Set(
    rows.filter(({ workload }) => !isDelivery(workload))
      .flatMap(({ absent }) => absent.map(({ name }) => name)),
  );
  const cannot = checkless.size === 0
    ? ""
    : ` ${[...checkless].map(titleOfPeer).join(" and ")} cannot check themselves.`;
  return [
    wrap(
      "Every peer finds an event by its id, and refuses an id or an entity's clock that is taken; none " +
        "keeps hashes, chains or receipts. In `open`, the journal gets its index into memory, which " +
        `the others leave on disk.${cannot}`,
    ),
    ...rows.some(({ workload }) => isDelivery(workload)) ? [wrap(DELIVERY_REMARK)] : [],
  ];
}

const DELIVERY_REMARK =
  "Durable clients are in another realm than the store and wait for each append; peers are called where " +
  "they write, LMDB with asynchronous transactions, and SQLite with one transaction for all that ask " +
  "within a turn. A cursor's handler decodes every payload. A checkpoint is durable, and in a " +
  "peer a row that is. Peers follow by asking for what comes after the last event. A process that " +
  "follows looks every 10 ms; handlers of the writer are woken.";

/** A table whose columns line up in the source as well. */
function table(lines: readonly (readonly string[])[], textColumns: ReadonlySet<number>): string {
  const widths = lines[0].map((_, column) =>
    Math.max(3, ...lines.map((cells) => cells[column].length))
  );
  const [head, ...body] = lines.map((cells) =>
    cells.map((cell, column) =>
      textColumns.has(column) ? cell.padEnd(widths[column]) : cell.padStart(widths[column])
    )
  );
  const rule = widths.map((width, column) =>
    textColumns.has(column) ? "-".repeat(width) : `${"-".repeat(width - 1)}:`
  );
  return [head, rule, ...body].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

const LINE_WIDTH = 100;

/** Fills lines with words. */
function wrap(text: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > LINE_WIDTH) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].join("\n");
}
