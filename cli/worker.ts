/**
 * `batpak worker`: runs a handler over the events of a journal until Ctrl-C.
 *
 * The handler is a file of the user's own, in a realm of its own. Here are the cursor, the checkpoint and the
 * supervision: the journal is opened for reading, beside whoever writes to it, and followed. Standard output
 * belongs to the handler, so everything this command says goes to standard error.
 *
 * @module
 */
import { type Command, InvalidArgumentError } from "commander";
import {
  type Checkpoint,
  type CursorWorker,
  CursorWorkerError,
  type CursorWorkerStatus,
  loadCheckpoint,
  type ReadOnlyStore,
  type RestartPolicy,
  startCursorWorker,
  UnitDeath,
} from "../mod.ts";
import { CommandError, ExitCode } from "./errors.ts";
import type { Host } from "./host.ts";
import { openForReading } from "./journal.ts";
import {
  addJsonOption,
  addRegionOptions,
  durationOf,
  type RegionFlags,
  regionOf,
  U32_MAX,
  wholeNumber,
} from "./options.ts";
import { formatCount, type Output, plural } from "./output.ts";
import type { Session } from "./session.ts";

interface WorkerFlags extends RegionFlags {
  readonly module: string;
  readonly checkpoint: string;
  readonly batch?: number;
  readonly idle?: number;
  readonly restart?: RestartPolicy;
  readonly handlerTimeout?: number;
  readonly startTimeout?: number;
  readonly init?: unknown;
  readonly once?: true;
}

/** Often enough that nobody waits for it. */
const LOOK_MS = 50;
/** Seldom enough for a log. */
const PROGRESS_MS = 10_000;
/** A handler that takes longer than this to come to an end after Ctrl-C is worth a word. */
const PATIENCE_MS = 1_000;

/** A look lists the directory: at the library's 10 ms that would take a twentieth of a core, all day. */
const IDLE_MS = 50;
const BATCH_SIZE_MAX = 65_536;
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** Adds the command to the program. */
export function addWorkerCommand(program: Command, session: Session): void {
  const command = program
    .command("worker")
    .summary("run a handler over the events, until Ctrl-C")
    .description(
      "Starts a file of yours in a realm of its own and gives it the events that pass all filters, in order " +
        "and in batches, those to come included. The file calls serveCursorWorker(handler) from " +
        '"@batpak/batpak/worker". A batch that was handled is committed under the checkpoint, and the next ' +
        "run goes on behind it; one that was not is given again. Ctrl-C lets the batch in hand come to its " +
        "end, commits it, and ends with exit code 0; another Ctrl-C a second later ends at once. Without " +
        "filters the store's own events come too.",
    )
    .argument("<dir>", "the journal's directory")
    .requiredOption("--module <file>", "the file that calls serveCursorWorker")
    .requiredOption("--checkpoint <id>", "the name under which its place is kept");
  addRegionOptions(command)
    .option("--batch <count>", "at most so many events at once, 64", wholeNumber(1, BATCH_SIZE_MAX))
    .option("--idle <duration>", "look for new events so often, 50ms", millisecondsOf)
    .option(
      "--restart <policy>",
      'how often a handler that fails is started again: "once", or a number within a time, as 5/1m',
      restartOf,
    )
    .option("--handler-timeout <duration>", "give up a batch that takes longer", millisecondsOf)
    .option("--start-timeout <duration>", "how long the file may take to load, 10s", millisecondsOf)
    .option("--init <json>", "what the handler finds in context.init", jsonOf)
    .option("--once", "end when there are no more events");
  addJsonOption(command).action(
    (dir: string, flags: WorkerFlags) => runWorker(session, dir, flags),
  );
}

async function runWorker(session: Session, dir: string, flags: WorkerFlags): Promise<void> {
  const { host } = session;
  const region = regionOf(flags);
  const startRealm = realmOf(host, flags.module);
  using interrupt = host.catchInterrupt();
  using store = openForReading(dir, "nothing");
  // Read here only to say where the worker begins: by the time one can look, it may have gone on.
  const checkpoint = loadCheckpoint(store.dir, flags.checkpoint);
  const watch = new Watch(session, store, flags, checkpoint);
  const worker = startCursorWorker(store, region, {
    checkpointId: flags.checkpoint,
    batchSize: flags.batch,
    idleSleepMs: flags.idle ?? IDLE_MS,
    restart: flags.restart,
    worker: startRealm,
    init: flags.init,
    handlerTimeoutMs: flags.handlerTimeout,
    startTimeoutMs: flags.startTimeout,
    signal: interrupt.signal,
    onCrash: ({ message }) => watch.sayCrash(message, worker.status),
  });
  await watch.follow(worker, interrupt.signal);
}

/** What starts the file in a realm, once it is certain that there is one. */
function realmOf(host: Host, module: string): () => Worker {
  try {
    return host.workerOf(module);
  } catch (cause) {
    const reason = (cause as { code?: unknown } | null)?.code === "ENOENT"
      ? "there is no such file"
      : cause instanceof Error
      ? cause.message
      : String(cause);
    throw new CommandError("WORKER_MODULE", `Cannot start "${module}": ${reason}`, {
      facts: { module },
      exitCode: ExitCode.USAGE,
      cause,
    });
  }
}

/** Says what a worker does, and how it ended. */
class Watch {
  readonly #output: Output;
  readonly #host: Host;
  readonly #store: ReadOnlyStore;
  readonly #flags: WorkerFlags;
  /** What there was when it began: `--once` does not run after a writer that never rests. */
  readonly #nextSequence: number;
  #hasStarted = false;
  #restarts = 0;
  /** What was committed when it was said last. */
  #committed: number | undefined;
  #saidMs: number;
  #interruptedMs: number | undefined;
  #isImpatient = false;

  constructor(
    { host, output }: Session,
    store: ReadOnlyStore,
    flags: WorkerFlags,
    checkpoint: Checkpoint | undefined,
  ) {
    this.#host = host;
    this.#output = output;
    this.#store = store;
    this.#flags = flags;
    this.#nextSequence = store.stats().nextSequence;
    this.#saidMs = host.nowMs();
    this.#committed = checkpoint?.started ? checkpoint.position : undefined;
  }

  /**
   * Waits until the worker has ended.
   *
   * @throws {CommandError} when its handler could not be started, or failed too often; else as the worker.
   */
  async follow(worker: CursorWorker, interrupted: AbortSignal): Promise<void> {
    const end = new AbortController();
    let error: unknown;
    const ended = worker.join().catch((thrown) => error = thrown).finally(() => end.abort());
    while (!end.signal.aborted) {
      await this.#host.sleep(LOOK_MS, end.signal);
      this.#look(worker, interrupted);
    }
    await ended;
    const { status } = worker;
    if (!this.#hasStarted && status.deliveries > 0) this.#sayStart();
    this.#sayRestarts(status);
    if (error !== undefined) throw this.#explained(error, status);
    this.#sayEnd(status);
    if (status.end === "crashed") throw this.#crashed(status);
  }

  #look(worker: CursorWorker, interrupted: AbortSignal): void {
    const { status } = worker;
    const { state, committed } = status;
    if (state === "starting" || state === "ended") return;
    if (!this.#hasStarted) this.#sayStart();
    if (state !== "reviving") this.#sayRestarts(status);
    const nowMs = this.#host.nowMs();
    if (nowMs - this.#saidMs >= PROGRESS_MS && committed !== this.#committed) {
      this.#sayProgress(status, nowMs);
    }
    // It is idle between two looks for events, never between two batches.
    const hasAll = state === "idle" || (committed ?? -1) >= this.#nextSequence - 1;
    if (this.#flags.once === true && hasAll) worker.stop();
    if (interrupted.aborted) this.#sayWaiting(nowMs);
  }

  #sayStart(): void {
    this.#hasStarted = true;
    const { checkpoint } = this.#flags;
    const position = this.#committed;
    const nextSequence = this.#nextSequence;
    const where = position === undefined
      ? "with the first event"
      : `behind sequence ${formatCount(position)}`;
    this.#output.note(
      `batpak: worker "${checkpoint}" begins ${where}; the journal's next sequence is ` +
        formatCount(nextSequence),
      { note: "started", checkpointId: checkpoint, position: position ?? null, nextSequence },
    );
  }

  #sayProgress({ committed, deliveries }: CursorWorkerStatus, nowMs: number): void {
    this.#saidMs = nowMs;
    this.#committed = committed;
    const { nextSequence } = this.#store.stats();
    this.#output.note(
      `batpak: handled up to sequence ${
        formatCount(committed ?? 0)
      }; the journal's next sequence is ` +
        formatCount(nextSequence),
      { note: "progress", position: committed ?? null, nextSequence, deliveries },
    );
  }

  /** Says that the handler failed; {@linkcode follow} says what becomes of it. */
  sayCrash(message: string, status: CursorWorkerStatus): void {
    if (!this.#hasStarted) this.#sayStart();
    this.#sayRestarts(status);
    this.#output.note(`batpak: the handler failed: ${message}`, { note: "crash", message });
  }

  /** Says that it was started again, unless that has been said. */
  #sayRestarts({ restarts }: CursorWorkerStatus): void {
    if (restarts === this.#restarts) return;
    this.#restarts = restarts;
    this.#output.note("batpak: started it again, with the batch that was not handled", {
      note: "restart",
      restarts,
    });
  }

  /** A handler that takes its time looks like a command that did not hear. */
  #sayWaiting(nowMs: number): void {
    this.#interruptedMs ??= nowMs;
    if (this.#isImpatient || nowMs - this.#interruptedMs < PATIENCE_MS) return;
    this.#isImpatient = true;
    this.#output.note(
      "batpak: waiting for the handler to finish its batch; another Ctrl-C ends at once, and the batch " +
        "comes again",
      { note: "stopping" },
    );
  }

  #sayEnd({ end, committed, deliveries, restarts }: CursorWorkerStatus): void {
    const where = committed === undefined
      ? "with nothing committed"
      : `at sequence ${formatCount(committed)}`;
    this.#output.note(
      `batpak: ended ${where}, after ${plural(deliveries, "batch", "batches")}` +
        (end === "handler" ? ": its handler said so" : ""),
      { note: "stopped", reason: end, position: committed ?? null, deliveries, restarts },
    );
  }

  /** The error in terms of the command: that there is no realm to speak of is about the file. */
  #explained(error: unknown, { deliveries }: CursorWorkerStatus): unknown {
    const death = error instanceof CursorWorkerError ? error.cause : undefined;
    if (!(death instanceof UnitDeath) || deliveries > 0) return error;
    const { module } = this.#flags;
    // A runtime says on more lines where in the file it was, and has printed them already.
    const [reason] = death.message.replace("The realm of the handler is gone: ", "").split("\n");
    // Bun ends a worker that has nothing to wait for; Deno lets it wait.
    const remedy = /^it(?: ended|s file did not call)/.test(reason)
      ? '; it has to call serveCursorWorker(handler) from "@batpak/batpak/worker" at its top'
      : "";
    return new CommandError("WORKER_MODULE", `Cannot start "${module}": ${reason}${remedy}`, {
      facts: { module },
      cause: error,
    });
  }

  #crashed({ restarts, lastCrash = "" }: CursorWorkerStatus): CommandError {
    return new CommandError(
      "WORKER_CRASHED",
      `Cannot go on: the handler failed, and was started again ${
        plural(restarts, "time")
      } already, as ` +
        `--restart says: ${lastCrash}. The batch comes again in the next run`,
      { facts: { restarts, lastCrash } },
    );
  }
}

function millisecondsOf(text: string): number {
  const durationMs = Math.round(durationOf(text) / 1000);
  if (durationMs >= 1 && durationMs <= TIMEOUT_MS_MAX) return durationMs;
  throw new InvalidArgumentError("Give a duration of 1ms to 24d.");
}

function restartOf(text: string): RestartPolicy {
  if (text === "once") return { kind: "once" };
  const [count, within, ...rest] = text.split("/");
  if (within === undefined || rest.length > 0) {
    throw new InvalidArgumentError('Give "once", or a number within a time, as in 5/1m.');
  }
  return {
    kind: "bounded",
    maxRestarts: wholeNumber(0, U32_MAX)(count),
    withinMs: millisecondsOf(within),
  };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new InvalidArgumentError('Give JSON, as in {"to":"shop@example.com"}.');
  }
}
