/**
 * The process and the terminal: the one file of the command that knows it is a process.
 *
 * Everything else asks a {@linkcode Host}, so a test can hand in another one. Writing is synchronous
 * and complete: when a call returns, the bytes have left, and nothing is lost when the process ends.
 *
 * @module
 */
import { closeSync, createReadStream, fstatSync, openSync, realpathSync, writeSync } from "node:fs";
import process from "node:process";
import { setImmediate, setTimeout } from "node:timers";
import { pathToFileURL } from "node:url";

/** What a command needs of the world around it. */
export interface Host {
  /** The command line, without the program's name. */
  readonly args: readonly string[];
  /** Whether somebody types the input. */
  readonly isInputTerminal: boolean;
  /** Whether somebody watches standard error. */
  readonly isErrorTerminal: boolean;
  /** Columns of that terminal. */
  readonly errorColumns: number;
  /**
   * Writes all of `text` to standard output.
   *
   * @throws {OutputClosedError} when nobody reads it any more.
   */
  writeOut(text: string): void;
  /** Writes all of `text` to standard error. That nobody reads it is no error. */
  writeError(text: string): void;
  /**
   * Opens a file, or standard input for `"-"`.
   *
   * @throws {Error} of the runtime when it cannot be opened.
   */
  openInput(path: string): Input;
  /**
   * What starts the module in this file as a worker.
   *
   * @throws {Error} of the runtime when there is no such file.
   */
  workerOf(path: string): () => Worker;
  /** Milliseconds on a clock that does not jump. */
  nowMs(): number;
  /** Waits; an abort ends the wait early, without an error. */
  sleep(durationMs: number, signal: AbortSignal): Promise<void>;
  /** Lets everything that is due happen, a signal of the system above all. */
  turn(): Promise<void>;
  /** Turns Ctrl-C, or a request to end, into an abort. Another one a second later ends the process. */
  catchInterrupt(): Interrupt;
}

/** Bytes to read from start to end. */
export interface Input {
  /** How messages call it. */
  readonly name: string;
  /** Bytes there are; `undefined` when nobody knows. */
  readonly size: number | undefined;
  /** The bytes, piece by piece. Ends early, without an error, when `signal` aborts. */
  chunks(signal?: AbortSignal): AsyncIterable<Uint8Array>;
}

/** A caught interrupt. Disposing it gives the signals back to the system. */
export interface Interrupt extends Disposable {
  /** Aborted by the first signal. */
  readonly signal: AbortSignal;
}

/** Nobody reads standard output any more, as behind `| head`. The command has nothing left to do. */
export class OutputClosedError extends Error {
  /** The class, for messages and logs. */
  override readonly name = "OutputClosedError";
}

/** Ends this process. */
export function exit(code: number): never {
  process.exit(code);
}

/** The process we are. */
export function processHost(): Host {
  return {
    args: process.argv.slice(2),
    isInputTerminal: process.stdin.isTTY === true,
    isErrorTerminal: process.stderr.isTTY === true,
    // A terminal that does not know its width says 0.
    errorColumns: process.stderr.columns || 80,
    writeOut(text) {
      try {
        writeAll(STDOUT, text);
      } catch (error) {
        if (CLOSED_CODES.has(codeOf(error))) {
          throw new OutputClosedError("standard output is closed");
        }
        throw error;
      }
    },
    writeError(text) {
      try {
        writeAll(STDERR, text);
      } catch (error) {
        if (!CLOSED_CODES.has(codeOf(error))) throw error;
      }
    },
    openInput,
    workerOf(path) {
      // Absolute: a worker would look for anything else beside the program, not where the user is.
      const { href } = pathToFileURL(realpathSync(path));
      return () => new Worker(href, { type: "module" });
    },
    nowMs: () => performance.now(),
    sleep,
    turn: () => new Promise((resolve) => setImmediate(resolve)),
    catchInterrupt,
  };
}

const STDOUT = 1;
const STDERR = 2;
const SIGNALS = ["SIGINT", "SIGTERM"] as const;
/** One Ctrl-C can arrive twice: from the terminal, and from a task runner that passes it on. */
const REPEAT_MS = 1000;
const INTERRUPTED = 130;
/** Large enough that the cost is per byte, small enough to be nothing. */
const CHUNK_SIZE = 256 << 10;
/**
 * A pipe takes this much whole or not at all. Of a larger piece a full pipe may take a part, and in
 * Deno the error does not say how much that was: it would be written twice.
 */
const PIECE_SIZE = 4096;
const encoder = new TextEncoder();
const pause = new Int32Array(new SharedArrayBuffer(4));

function writeAll(fd: number, text: string): void {
  const bytes = encoder.encode(text);
  for (let start = 0; start < bytes.byteLength;) {
    try {
      start += writeSync(fd, bytes.subarray(start, start + PIECE_SIZE));
    } catch (error) {
      // Whoever shares the pipe may have made it non-blocking. Then a full one is no failure.
      if (codeOf(error) !== "EAGAIN" && codeOf(error) !== "EWOULDBLOCK") throw error;
      Atomics.wait(pause, 0, 0, 2);
    }
  }
}

function openInput(path: string): Input {
  if (path === "-") {
    return {
      name: "standard input",
      size: undefined,
      chunks: (signal) => chunksOf(process.stdin, signal),
    };
  }
  // Opened here and not by the stream, so that a missing file is an error now.
  const fd = openSync(path, "r");
  const info = fstatSync(fd);
  if (info.isDirectory()) {
    closeSync(fd);
    throw Object.assign(new Error(`"${path}" is a directory`), { code: "EISDIR" });
  }
  return {
    name: path,
    size: info.isFile() ? info.size : undefined,
    chunks: (signal) => chunksOf(createReadStream(path, { fd, highWaterMark: CHUNK_SIZE }), signal),
  };
}

/** The pieces of a stream. Ends early, without an error, when `signal` aborts. */
export async function* chunksOf(
  stream: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncIterable<Uint8Array> {
  const iterator = stream[Symbol.asyncIterator]();
  // One listener that knows the wait of the moment. A race against one promise for the whole input
  // would leave a reaction on it for each piece, and with the reaction the piece.
  let wake = (): void => {};
  const onAbort = () => wake();
  signal?.addEventListener("abort", onAbort);
  try {
    while (signal?.aborted !== true) {
      // Input may never come, so the wait for it must not outlast the interrupt.
      const next = await new Promise<IteratorResult<Uint8Array> | undefined>((resolve, reject) => {
        wake = () => resolve(undefined);
        iterator.next().then(resolve, reject);
      });
      if (next === undefined || next.done === true) return;
      yield next.value;
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

function sleep(durationMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(end, durationMs);
    signal.addEventListener("abort", end);
    function end(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    }
  });
}

function catchInterrupt(): Interrupt {
  const controller = new AbortController();
  let firstMs: number | undefined;
  function abort(): void {
    const nowMs = performance.now();
    firstMs ??= nowMs;
    if (nowMs - firstMs > REPEAT_MS) process.exit(INTERRUPTED);
    controller.abort();
  }
  for (const name of SIGNALS) process.on(name, abort);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const name of SIGNALS) process.off(name, abort);
    },
  };
}

/** What a write says when nobody reads any more: a pipe's word for it, and a socket's. */
const CLOSED_CODES: ReadonlySet<unknown> = new Set(["EPIPE", "ECONNRESET"]);

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null)?.code;
}
