/**
 * Results as a chart: for each workload and runtime a bar that says how many times as good the journal
 * is as the peer that is hardest to beat, and the figures in words beside it. To the right of the line it
 * is better, to the left worse; the axis is logarithmic, so that twice and half are equally far away. It
 * ends at a tenth, or the bars that matter would be too short to compare: a bar that goes on to the left
 * ends in a point, and its words say how far it goes.
 *
 * The picture follows the reader's light or dark mode and has no background of its own.
 *
 * @module
 */
import type { RuntimeName } from "./options.ts";
import { type BenchRow, type BenchRun, bestPeer, formatRatio, type PeerResult } from "./results.ts";
import { shortFigure, titleOfPeer, titleOfRun, titleOfWorkload } from "./wording.ts";

/** A row that has somebody to be compared with. */
interface Bar {
  readonly row: BenchRow;
  readonly runtime: RuntimeName;
  readonly best: PeerResult;
}

const WIDTH = 900;
const TOP = 64;
/** Where the axis begins and ends; names to the left of it, figures to the right. */
const AXIS_START = 190;
const AXIS_END = 590;
const FIGURES_START = 610;
/** A tenth. */
const FIRST_DECADE = -1;
const BAR_HEIGHT = 13;
const BAR_STEP = 17;
const GROUP_GAP = 13;

const STYLE = `
    text { font: 12px system-ui, sans-serif; fill: #1f2328; }
    .title { font-size: 14px; font-weight: 600; }
    .axis { font-size: 11px; fill: #59636e; }
    .grid { stroke: #d1d9e0; }
    .even { stroke: #59636e; stroke-width: 1.5; }
    .deno { fill: #1971c2; }
    .bun { fill: #e8590c; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; }
      .axis { fill: #9198a1; }
      .grid { stroke: #3d444d; }
      .even { stroke: #9198a1; }
      .deno { fill: #4dabf7; }
      .bun { fill: #ffa94d; }
    }
  `;

/**
 * The chart of some runs.
 *
 * @throws {Error} when there is nothing to compare.
 */
export function drawChart(runs: readonly BenchRun[]): string {
  const groups = barGroups(runs);
  if (groups.length === 0) throw new Error("There is nothing to compare: no row has a peer");
  const ratios = groups.flatMap((bars) => bars.map(({ best }) => best.ratio));
  const last = Math.max(1, Math.ceil(Math.log10(Math.max(...ratios))));
  const xOf = (ratio: number) =>
    AXIS_START +
    (Math.log10(ratio) - FIRST_DECADE) / (last - FIRST_DECADE) * (AXIS_END - AXIS_START);

  const body: string[] = [];
  let y = TOP;
  for (const bars of groups) {
    const middle = y + (bars.length * BAR_STEP - (BAR_STEP - BAR_HEIGHT)) / 2;
    body.push(text(AXIS_START - 14, middle, titleOfWorkload(bars[0].row.workload), "end"));
    for (const bar of bars) {
      body.push(...drawBar(bar, y, xOf));
      y += BAR_STEP;
    }
    y += GROUP_GAP;
  }
  const bottom = y - GROUP_GAP + 4;

  const grid: string[] = [];
  for (let decade = FIRST_DECADE; decade <= last; decade++) {
    const x = round(xOf(10 ** decade));
    const kind = decade === 0 ? "even" : "grid";
    grid.push(`<line class="${kind}" x1="${x}" y1="${TOP - 8}" x2="${x}" y2="${bottom}"/>`);
    grid.push(text(x, bottom + 14, formatDecade(decade), "middle", "axis"));
  }

  const height = bottom + 30;
  const title = "How many times as fast as the fastest peer";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" ` +
    `height="${height}" role="img">`,
    `<title>${escape(title)}</title>`,
    `<style>${STYLE}</style>`,
    text(AXIS_START, 14, title, "start", "title"),
    ...legend(runs),
    ...grid,
    ...body,
    "</svg>",
    "",
  ].join("\n");
}

/** The bars of each workload together, in the order of the first run. */
function barGroups(runs: readonly BenchRun[]): Bar[][] {
  const groups = new Map<string, Bar[]>();
  for (const { runtime, rows } of runs) {
    for (const row of rows) {
      const best = bestPeer(row);
      if (best === undefined) continue;
      const bars = groups.get(row.workload);
      const bar = { row, runtime, best };
      if (bars === undefined) groups.set(row.workload, [bar]);
      else bars.push(bar);
    }
  }
  return [...groups.values()];
}

function drawBar({ row, runtime, best }: Bar, y: number, xOf: (ratio: number) => number): string[] {
  const figure = shortFigure(row.unit, row.batpak!.median);
  const words = `${figure}, ${formatRatio(best.ratio)} ${titleOfPeer(best.name)}`;
  return [
    barShape(runtime, xOf(1), xOf(best.ratio), y),
    text(FIGURES_START, y + BAR_HEIGHT / 2, words, "start"),
  ];
}

/** From `even` to `end`, or to the edge and a point. */
function barShape(kind: string, even: number, end: number, y: number): string {
  const middle = y + BAR_HEIGHT / 2;
  if (end < AXIS_START) {
    const shoulder = AXIS_START + BAR_HEIGHT / 2;
    return `<path class="${kind}" d="M${AXIS_START} ${middle} L${shoulder} ${y} H${round(even)} ` +
      `V${y + BAR_HEIGHT} H${shoulder} Z"/>`;
  }
  const x = Math.min(even, end);
  // A bar of no length would look like a missing one.
  const width = Math.max(Math.abs(even - end), 1);
  return `<rect class="${kind}" x="${round(x)}" y="${y}" width="${round(width)}" ` +
    `height="${BAR_HEIGHT}" rx="2"/>`;
}

function legend(runs: readonly BenchRun[]): string[] {
  return runs.flatMap((run, i) => {
    const x = AXIS_START + i * 120;
    return [
      `<rect class="${run.runtime}" x="${x}" y="32" width="12" height="12" rx="2"/>`,
      text(x + 18, 38, titleOfRun(run), "start"),
    ];
  });
}

/** Text whose middle is at `y`. */
function text(x: number, y: number, words: string, anchor: string, kind?: string): string {
  const attributes = kind === undefined ? "" : ` class="${kind}"`;
  return `<text${attributes} x="${round(x)}" y="${round(y)}" text-anchor="${anchor}" ` +
    `dominant-baseline="central">${escape(words)}</text>`;
}

function formatDecade(decade: number): string {
  return `${decade < 0 ? (10 ** decade).toFixed(-decade) : 10 ** decade} ×`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escape(words: string): string {
  return words.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
