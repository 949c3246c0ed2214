/**
 * The folder in which a run keeps its data, and the promise that it goes away again, also when the run
 * fails or somebody presses Ctrl-C.
 *
 * A benchmark works in long synchronous stretches, in which no signal is seen. So a signal only leaves
 * a note, {@linkcode Scratch.pause} looks at it between the slices, and everything is tidied up on the
 * ordinary way out.
 *
 * @module
 */
import { mkdtempSync, rmSync, statfsSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** Somebody wants the run to end. */
export class InterruptedError extends Error {
  /** The class, for messages. */
  override readonly name = "InterruptedError";
}

/** How the system says that a folder lies in memory. */
const TMPFS_MAGIC = 0x01021994;
/** Kept across restarts, so almost never in memory, which the ordinary temporary folder may be. */
const DISK_TEMP = "/var/tmp";

/** A fresh folder, for as long as the run lasts. */
export class Scratch {
  /** The folder. */
  readonly dir: string;
  /** Called when a signal arrives, for those who have children to tell. */
  onInterrupt: (() => void) | undefined;
  #interrupted = false;
  #nextNumber = 1;
  readonly #note = (): void => {
    this.#interrupted = true;
    this.onInterrupt?.();
  };

  /** @param parent the folder to put it in; the system's choice otherwise. */
  constructor(parent?: string) {
    this.dir = mkdtempSync(join(parent ?? defaultParent(), "batpak_bench_"));
    process.on("SIGINT", this.#note);
    process.on("SIGTERM", this.#note);
  }

  /** Whether a signal has arrived. */
  get interrupted(): boolean {
    return this.#interrupted;
  }

  /** A path in the folder that nobody uses yet. */
  path(name: string): string {
    return join(this.dir, `${this.#nextNumber++}_${name}`);
  }

  /** Whether the folder lies in memory, where nothing can be said about a disk. */
  isInMemory(): boolean {
    try {
      return statfsSync(this.dir).type === TMPFS_MAGIC;
    } catch {
      return false;
    }
  }

  /**
   * Lets signals in.
   *
   * @throws {InterruptedError} when one has arrived.
   */
  async pause(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 0));
    if (this.#interrupted) throw new InterruptedError("interrupted");
  }

  /** Removes the folder and everything in it. */
  [Symbol.dispose](): void {
    process.off("SIGINT", this.#note);
    process.off("SIGTERM", this.#note);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function defaultParent(): string {
  try {
    if (statSync(DISK_TEMP).isDirectory()) return DISK_TEMP;
  } catch {
    // Not on this system.
  }
  return tmpdir();
}
