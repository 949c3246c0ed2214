/**
 * Where the time of a workload goes, seen by the profiler of the engine: it stops the program about a
 * thousand times a second and notes where it is. What the compiler put inline counts for the function
 * it is in.
 *
 * The journal's files are in memory meanwhile. On a virtual machine the signal that stops the program
 * may have to wait for the next system call, and then a `write` that takes a quarter of the time is
 * seen in four of five samples.
 *
 * For `append` there is a second view, {@linkcode formatStages}, that does not depend on the engine.
 *
 * @module
 */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { MemoryFs } from "../../mod.ts";
import { formatStages } from "./append_stages.ts";
import { Bench, type BenchContext, type Workload } from "./workloads.ts";
import type { Subject } from "./writers.ts";

/** The part of a V8 profile that we read; Bun has the same form. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly hitCount?: number;
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
    };
  }[];
  /** Ids of nodes, in order of time. */
  readonly samples?: readonly number[];
}

/** `node:inspector`, with promises. */
interface InspectorSession {
  connect(): void;
  post(method: string): Promise<unknown>;
  disconnect(): void;
}

/** A workload that a profiler can look at. */
export type ProfiledWorkload = Required<Pick<Workload, "name" | "enter">>;

/** Takes a workload apart, and says what was found. */
export async function profileWorkload(
  workload: ProfiledWorkload,
  context: Pick<BenchContext, "runtime" | "size" | "scratch">,
): Promise<string> {
  const parts: string[] = [];
  const nobody = { present: [], missing: [] };
  const bench = new Bench({ ...context, fs: new MemoryFs(), peers: nobody });
  const subject = await workload.enter(bench);
  try {
    await runSlice(subject, bench);
    const profile = await record(async () => {
      for (let i = 0; i < bench.size.slices; i++) await runSlice(subject, bench);
    });
    parts.push(
      profile === undefined
        ? `This runtime has no profiler for ${workload.name}`
        : `Where ${workload.name} spends its time when its files are in memory, ` +
          `in percent of the samples\n\n` +
          formatProfile(profile),
    );
  } finally {
    await subject.close();
  }
  if (workload.name === "append") parts.push(await formatStages(context));
  return parts.join("\n\n");
}

async function runSlice(subject: Subject, { scratch }: Bench): Promise<void> {
  await scratch.pause();
  await subject.slice();
  await subject.rest?.();
}

/** Does the work under the profiler; `undefined` when there is none. */
async function record(work: () => Promise<void>): Promise<CpuProfile | undefined> {
  const inspector = process.getBuiltinModule("node:inspector/promises") as unknown as
    | { Session: new () => InspectorSession }
    | undefined;
  if (inspector === undefined) return undefined;
  const session = new inspector.Session();
  try {
    session.connect();
    await session.post("Profiler.enable");
    await session.post("Profiler.start");
  } catch {
    return undefined;
  }
  await work();
  const { profile } = await session.post("Profiler.stop") as { profile: CpuProfile };
  session.disconnect();
  return profile;
}

/** The functions in which most samples were taken. */
export function formatProfile(profile: CpuProfile): string {
  const names = new Map<number, string>();
  const counts = new Map<string, number>();
  let total = 0;
  const count = (name: string, hits: number) => {
    if (IDLE.has(name)) return;
    counts.set(name, (counts.get(name) ?? 0) + hits);
    total += hits;
  };
  for (const node of profile.nodes) {
    const name = nameOf(node.callFrame);
    names.set(node.id, name);
    if (profile.samples === undefined) count(name, node.hitCount ?? 0);
  }
  for (const id of profile.samples ?? []) count(names.get(id) ?? "(unknown)", 1);
  const rows = [...counts].sort((a, b) => b[1] - a[1]).slice(0, ROWS_MAX);
  return rows.map(([name, hits]) => `${(100 * hits / total).toFixed(1).padStart(6)}  ${name}`)
    .join("\n");
}

/** Nobody's time. */
const IDLE: ReadonlySet<string> = new Set(["(root)", "(program)", "(idle)"]);
const ROWS_MAX = 25;
const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/**
 * A function and its file, relative to the project. Not the line: Deno counts those of the JavaScript
 * that it made.
 */
function nameOf({ functionName, url }: CpuProfile["nodes"][number]["callFrame"]): string {
  const name = functionName === "" ? "(anonymous)" : functionName;
  if (url === "") return name;
  const path = url.startsWith("file:") ? fileURLToPath(url) : url;
  const file = path.startsWith(ROOT) ? path.slice(ROOT.length) : path;
  const inPackage = file.lastIndexOf("node_modules/");
  return `${name}  ${inPackage < 0 ? file : file.slice(inPackage + "node_modules/".length)}`;
}
