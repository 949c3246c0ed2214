/**
 * The `batpak` command for tests: in this process with a made-up terminal, or as a process of its own.
 *
 * @module
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { Host } from "../cli/host.ts";
import { runCli } from "../cli/main.ts";

/** What a run left behind. */
export interface Ran {
  /** The exit code. */
  readonly code: number | null;
  /** Standard output. */
  readonly out: string;
  /** Standard error. */
  readonly err: string;
}

/** How a run is set up. */
export interface RunOptions {
  /** What stands on standard input. */
  readonly input?: string;
  /** Changes to the world, when it is made up. */
  readonly host?: Partial<Host>;
}

/** Runs `action` with the path of an empty directory that is removed afterwards. */
export async function inTempDir<T>(action: (dir: string) => T | Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), "batpak-cli-"));
  try {
    return await action(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Runs a command in this process. */
export async function runHere(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  let out = "";
  let err = "";
  let nowMs = 0;
  const host: Host = {
    args,
    isInputTerminal: false,
    isErrorTerminal: false,
    errorColumns: 80,
    writeOut: (text) => void (out += text),
    writeError: (text) => void (err += text),
    openInput(path) {
      const bytes = path === "-"
        ? new TextEncoder().encode(options.input ?? "")
        : new Uint8Array(readFileSync(path));
      return { name: path, size: path === "-" ? undefined : bytes.byteLength, chunks };
      // Pieces of an odd size, so that lines and characters are cut.
      async function* chunks() {
        for (let start = 0; start < bytes.byteLength; start += 4099) {
          yield await Promise.resolve(bytes.slice(start, start + 4099));
        }
      }
    },
    workerOf() {
      throw new Error("A worker needs a process: run it there");
    },
    nowMs: () => nowMs += 25,
    sleep: () => Promise.resolve(),
    turn: () => Promise.resolve(),
    catchInterrupt: () => ({ signal: new AbortController().signal, [Symbol.dispose]() {} }),
    ...options.host,
  };
  const code = await runCli(host);
  return { code, out, err };
}

/** Runs a command as a process; `program` as in {@linkcode startProcess}. */
export async function runProcess(
  args: readonly string[],
  input?: string,
  program?: readonly string[],
): Promise<Ran> {
  const running = startProcess(args, program);
  running.child.stdin.end(input ?? "");
  return await running.ended;
}

/** A process that has been started. */
export interface Running {
  readonly child: ChildProcessWithoutNullStreams;
  /** What it has said so far. */
  readonly said: { readonly out: string; readonly err: string };
  /** Resolves when it is over. */
  readonly ended: Promise<Ran>;
  /** Sends it a signal. */
  signal(name: "SIGINT" | "SIGTERM" | "SIGKILL"): void;
  /** Waits until what it has said is as wanted. */
  until(wanted: (said: { readonly out: string; readonly err: string }) => boolean): Promise<void>;
}

/** Starts a command as a process; `program` is what runs it, when it is not this source. */
export function startProcess(
  args: readonly string[],
  [program, ...programArgs]: readonly string[] = commandHere(),
): Running {
  const child = spawn(program, [...programArgs, ...args], { stdio: ["pipe", "pipe", "pipe"] });
  const said = { out: "", err: "" };
  child.stdout.setEncoding("utf8").on("data", (text) => said.out += text);
  child.stderr.setEncoding("utf8").on("data", (text) => said.err += text);
  // A command that ends early leaves input behind, and that is no failure of the test.
  child.stdin.on("error", () => {});
  const ended = once(child, "close").then(([code]) => ({ code, ...said }));
  return {
    child,
    said,
    ended,
    // Not child.kill(): after that, Deno reports the signal even when the child caught it.
    signal: (name) => void process.kill(child.pid!, name),
    async until(wanted) {
      const deadlineMs = performance.now() + 30_000;
      while (!wanted(said)) {
        if (performance.now() > deadlineMs || child.exitCode !== null) {
          throw new Error(`The command did not say what was wanted: ${JSON.stringify(said)}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
  };
}

/** The command in this runtime, with the permissions of the task and no others. */
function commandHere(): string[] {
  const main = fileURLToPath(new URL("../cli/main.ts", import.meta.url));
  if (process.versions.bun !== undefined) return [process.execPath, main];
  const permissions = ["--no-prompt", "--allow-read", "--allow-write", "--allow-env"];
  return [process.execPath, "run", "--quiet", ...permissions, main];
}

/** The lines of NDJSON. */
export function parseLines(text: string): Record<string, unknown>[] {
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

/** The path of the only segment of a journal. */
export function segmentPath(dir: string): string {
  const names = readdirSync(dir).filter((name) => name.endsWith(".fbat"));
  if (names.length !== 1) throw new Error(`There is not one segment: ${names.join(", ")}`);
  return join(dir, names[0]);
}

/** Flips one bit of a file. */
export function flipBit(path: string, offset: number): void {
  const bytes = readFileSync(path);
  bytes[offset] ^= 1;
  writeFileSync(path, bytes);
}
