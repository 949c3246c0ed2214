/**
 * Child processes that are waited for: their output is collected, and none of them can hang a run.
 *
 * @module
 */
import { stripVTControlCharacters } from "node:util";

/** What became of a child. */
export interface ChildResult {
  /** Its exit code; a child that was stopped for taking too long has a code above 0 too. */
  readonly code: number;
  /** Standard output and standard error, in the order they arrived. */
  readonly output: string;
  /** Whether it was stopped because its time was up. */
  readonly timedOut: boolean;
}

/** How a child is run. */
export interface ChildOptions {
  /** Working directory. */
  readonly cwd: string;
  /** Added to the environment. */
  readonly env?: Record<string, string>;
  /** After so long the child is killed. */
  readonly timeoutMs: number;
}

/** How long the pipes of a finished child may stay open; a grandchild can hold on to them. */
const DRAIN_MS = 2_000;

/**
 * Runs `program` to its end without standard input.
 *
 * @throws {Deno.errors.NotFound} when there is no such program.
 */
export async function runChild(
  program: string,
  args: readonly string[],
  options: ChildOptions,
): Promise<ChildResult> {
  const child = new Deno.Command(program, {
    args: [...args],
    cwd: options.cwd,
    // Colours would only get in the way in a log. Not every command listens, so they are cut out too.
    env: { ...options.env, NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();

  let output = "";
  const drained = Promise.all([child.stdout, child.stderr].map(async (stream) => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) output += decoder.decode(chunk, { stream: true });
  }));

  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill("SIGKILL");
  }, options.timeoutMs);
  const status = await child.status;
  clearTimeout(timer);

  await atMost(DRAIN_MS, drained);
  return { code: status.code, output: stripVTControlCharacters(output), timedOut };
}

async function atMost(limitMs: number, work: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, limitMs);
  });
  await Promise.race([work, limit]);
  clearTimeout(timer);
}
