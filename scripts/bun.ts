/**
 * Finds the Bun that the lock file pins and, run as a program, hands it its arguments:
 *
 * ```sh
 * deno task bun test store/frame_test.ts
 * ```
 *
 * Bun is a development dependency like any other. Its npm package holds no runtime: that comes in a
 * package per platform, and a postinstall script moves it into place. Deno does not run such scripts
 * and we do not ask it to, so the binary stays in the platform package. npm runs the script, and then
 * it is gone from there. We look in both places, and believe a binary only once it has told us its
 * version.
 *
 * @module
 */
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import config from "../deno.json" with { type: "json" };

/** A Bun that runs on this machine. */
export interface BunProgram {
  /** Where it is. */
  readonly path: string;
  /** What it says it is. */
  readonly version: string;
}

/** The version the project is tested with. */
export const BUN_VERSION: string = config.imports.bun.slice("npm:bun@".length);

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const PROGRAM = Deno.build.os === "windows" ? "bun.exe" : "bun";

/**
 * Finds Bun: the one `BUN_BIN` names, of whatever version; else the installed package; else one on
 * the `PATH`. The last two only count in the pinned version, so that a test means the same everywhere.
 *
 * @throws {Error} when there is none; the message says what to do.
 */
export async function findBun(): Promise<BunProgram> {
  const chosen = Deno.env.get("BUN_BIN");
  if (chosen) {
    const version = await askVersion(chosen);
    if (version === undefined) throw new Error(`Cannot run Bun at BUN_BIN=${chosen}`);
    return { path: chosen, version };
  }
  for (const path of [...installedPaths(), ...searchPaths()]) {
    if (!existsFile(path)) continue;
    makeExecutable(path);
    const version = await askVersion(path);
    if (version === BUN_VERSION) return { path, version };
  }
  throw new Error(
    `Cannot find Bun ${BUN_VERSION}: run "deno install", or set BUN_BIN to the path of a Bun`,
  );
}

/** Where `deno install` and npm leave the binary, the likelier place first. */
function* installedPaths(): Generator<string> {
  const modules = join(ROOT, "node_modules");
  // Linux gets two packages, for glibc and for musl; the wrong one does not start.
  const prefix = `bun-${platformName()}`;
  const store = join(modules, ".deno");
  for (const name of folderNames(store)) {
    if (!name.startsWith(`@oven+${prefix}`) || !name.endsWith(`@${BUN_VERSION}`)) continue;
    const oven = join(store, name, "node_modules", "@oven");
    for (const inner of folderNames(oven)) yield join(oven, inner, "bin", PROGRAM);
  }
  const oven = join(modules, "@oven");
  for (const name of folderNames(oven)) {
    if (name.startsWith(prefix)) yield join(oven, name, "bin", PROGRAM);
  }
  // The postinstall script gives the binary this name on every platform.
  yield join(modules, "bun", "bin", "bun.exe");
}

function* searchPaths(): Generator<string> {
  for (const folder of (Deno.env.get("PATH") ?? "").split(delimiter)) {
    if (folder !== "") yield join(folder, PROGRAM);
  }
}

/** As in the names of Bun's platform packages. */
function platformName(): string {
  return `${Deno.build.os}-${Deno.build.arch === "x86_64" ? "x64" : "aarch64"}`;
}

function folderNames(folder: string): string[] {
  try {
    return Array.from(Deno.readDirSync(folder), (entry) => entry.name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function existsFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** Some archives lose the permission bits on their way. Not ours to change, then it may run anyway. */
function makeExecutable(path: string): void {
  if (Deno.build.os === "windows" || ((Deno.statSync(path).mode ?? 0) & 0o111) !== 0) return;
  try {
    Deno.chmodSync(path, 0o755);
  } catch {
    // Asking for its version tells.
  }
}

/** The version `path` prints, or `undefined` when it does not run on this machine. */
async function askVersion(path: string): Promise<string | undefined> {
  try {
    const { success, stdout } = await new Deno.Command(path, {
      args: ["--version"],
      stdin: "null",
      stderr: "null",
    }).output();
    return success ? new TextDecoder().decode(stdout).trim() : undefined;
  } catch {
    return undefined;
  }
}

async function main(args: string[]): Promise<number> {
  let bun: BunProgram;
  try {
    bun = await findBun();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    return 1;
  }
  const child = new Deno.Command(bun.path, {
    args,
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn();
  return (await child.status).code;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
