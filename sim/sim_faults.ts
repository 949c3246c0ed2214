/**
 * What goes wrong on a simulated disk while it runs: single faults that a test arms, and a schedule that a
 * seed decides.
 *
 * @module
 */

import { type IoCode, IoFault } from "../platform/fs.ts";
import type { SimRandom } from "./sim_random.ts";
import type { SyncOutcome } from "./sim_disk.ts";

/**
 * Everything a program can ask of a simulated disk. `PersistTemp` is the publication of a staged file as a
 * whole; the sync, rename and directory sync it consists of count as themselves, too. `Size` is that of an
 * open file.
 */
export const SIM_OPS = [
  "Canonicalize",
  "Clone",
  "Copy",
  "CreateNew",
  "Link",
  "List",
  "Lock",
  "MkDir",
  "Open",
  "PersistTemp",
  "Read",
  "ReadFile",
  "RejectSymlink",
  "Remove",
  "RemoveDir",
  "Rename",
  "Resize",
  "Size",
  "Stage",
  "Stat",
  "Sync",
  "SyncDir",
  "Write",
] as const;

/** One of {@linkcode SIM_OPS}. */
export type SimOp = typeof SIM_OPS[number];

/** The operations that change what is on the disk. */
export const SIM_MUTATIONS: ReadonlySet<SimOp> = new Set([
  "Clone",
  "Copy",
  "CreateNew",
  "Link",
  "MkDir",
  "PersistTemp",
  "Remove",
  "RemoveDir",
  "Rename",
  "Resize",
  "Stage",
  "Sync",
  "SyncDir",
  "Write",
]);

/** The words of `StoreFs` for an operation, as an {@linkcode IoFault} has them. */
const STORE_WORDS: Readonly<Record<SimOp, string>> = {
  Canonicalize: "canonicalize",
  Clone: "clone",
  Copy: "copy",
  CreateNew: "open",
  Link: "link",
  List: "list",
  Lock: "tryLock",
  MkDir: "createDirAll",
  Open: "open",
  PersistTemp: "publish",
  Read: "readAt",
  ReadFile: "readFile",
  RejectSymlink: "rejectSymlink",
  Remove: "remove",
  RemoveDir: "removeDirAll",
  Rename: "rename",
  Resize: "resize",
  Size: "size",
  Stage: "stage",
  Stat: "stat",
  Sync: "sync",
  SyncDir: "syncDir",
  Write: "writeAt",
};

/** How an armed fault strikes. */
export interface SimFaultOptions {
  /** How the call fails. Default `"EIO"`. */
  readonly code?: IoCode;
  /**
   * Whether it fails without having done anything (`"before"`, the default), or having done everything
   * (`"after"`).
   */
  readonly when?: "before" | "after";
  /** For `Write`: so many bytes are written before it fails. For a short `Read`: so many are read. */
  readonly partial?: number;
  /** Whether all later calls of the operation fail too, on the same path if there is one. Default false. */
  readonly sticky?: boolean;
  /** Only calls whose path contains this count. A rename, copy, link or clone goes by either path. */
  readonly path?: string;
  /**
   * For `Sync` that fails before its effect: what becomes of the bytes that were to be made durable.
   * `"lost"`, the default, is what Linux does: they are read back as written, no later sync writes them,
   * and a power cut takes them. `"reverted"`: so they are, and at once. `"failed"`: they wait for the next
   * sync.
   */
  readonly sync?: "lost" | "reverted" | "failed";
  /**
   * Instead of failing: `"lie"`, for `Sync` and `SyncDir`, says that all is durable, and nothing is;
   * `"short"`, for `Read`, gives fewer bytes than there are, at least one.
   */
  readonly instead?: "lie" | "short";
}

/** What befalls a call. */
export interface Strike extends SimFaultOptions {
  /** Instead of `partial`: so much of it, from 0 up to 1. */
  readonly fraction?: number;
  /** What to throw, unless it is no failure. */
  readonly error: IoFault;
}

type PlannedFault = SimFaultOptions & Pick<Strike, "fraction">;

interface ArmedFault {
  readonly op: SimOp | undefined;
  readonly options: SimFaultOptions;
  /** Calls that have to come before the one that it strikes; 0 strikes. */
  left: number;
  /** The operation it sticks to, once it has struck. */
  struck: SimOp | undefined;
  fired: number;
}

/**
 * Kinds of faults that a schedule can bring. Those that are not about syncs or reads fail with the code a
 * real system would give, before anything is done; `"failAfter"` does what it was told and fails all the
 * same.
 */
export type SimFaultKind =
  | "createError"
  | "dirSyncError"
  | "dirSyncLie"
  | "failAfter"
  | "openError"
  | "readError"
  | "removeError"
  | "renameError"
  | "resizeError"
  | "shortRead"
  | "shortWrite"
  | "syncLie"
  | "syncLost"
  | "syncReverted"
  | "writeError";

/**
 * A schedule: how probable each kind of fault is for each call that it can befall, from 0 to 1. A kind that
 * is left out never comes, and the others come where they would have come with it.
 */
export type SimFaultPlan = Readonly<Partial<Record<SimFaultKind, number>>>;

const PLANNED: Readonly<Record<SimFaultKind, { ops: readonly SimOp[]; fault: SimFaultOptions }>> = {
  createError: { ops: ["CreateNew", "MkDir"], fault: { code: "ENOSPC" } },
  dirSyncError: { ops: ["SyncDir"], fault: {} },
  dirSyncLie: { ops: ["SyncDir"], fault: { instead: "lie" } },
  failAfter: {
    ops: ["Copy", "CreateNew", "Link", "Remove", "Rename", "Resize", "SyncDir", "Write"],
    fault: { when: "after" },
  },
  openError: { ops: ["Open"], fault: { code: "EMFILE" } },
  readError: { ops: ["Read", "ReadFile"], fault: {} },
  removeError: { ops: ["Remove", "RemoveDir"], fault: {} },
  renameError: { ops: ["Rename"], fault: {} },
  resizeError: { ops: ["Resize"], fault: { code: "ENOSPC" } },
  shortRead: { ops: ["Read"], fault: { instead: "short" } },
  shortWrite: { ops: ["Write"], fault: { code: "ENOSPC" } },
  syncLie: { ops: ["Sync"], fault: { instead: "lie" } },
  syncLost: { ops: ["Sync"], fault: { sync: "lost" } },
  syncReverted: { ops: ["Sync"], fault: { sync: "reverted" } },
  writeError: { ops: ["Write"], fault: {} },
};

/** Decides which calls fail, and how. */
export class SimFaults {
  /** Calls so far; the next one has this index. */
  operationCount = 0;
  /** Whether no call is struck, only counted. */
  arePaused = false;
  /** Whether the first fault makes every later change fail. */
  readonly freezes: boolean;
  readonly #seen = new Map<SimOp, number>();
  #armed: ArmedFault[] = [];
  #fired = 0;
  /** What had fired when a freeze was lifted last. */
  #firedAtThaw = 0;
  readonly #planned = new Map<
    SimOp,
    { fault: PlannedFault; kind: SimFaultKind; rate: number; random: SimRandom }[]
  >();
  readonly #plannedFired = new Map<SimFaultKind, number>();

  /** @param random whose streams decide the schedule. */
  constructor(random: SimRandom, plan: SimFaultPlan = {}, freezes = false) {
    this.freezes = freezes;
    for (const [name, rate] of Object.entries(plan)) {
      const kind = name as SimFaultKind;
      if (PLANNED[kind] === undefined) throw new RangeError(`Cannot plan "${kind}": no such fault`);
      if (!(rate >= 0 && rate <= 1)) {
        throw new RangeError(`Cannot plan "${kind}" with probability ${rate}: it is from 0 to 1`);
      }
      if (rate === 0) continue;
      const stream = random.stream(`fault ${kind}`);
      for (const op of PLANNED[kind].ops) {
        const planned = this.#planned.get(op) ?? [];
        planned.push({ fault: PLANNED[kind].fault, kind, rate, random: stream });
        this.#planned.set(op, planned);
      }
    }
  }

  /** How many calls have been struck. */
  get fired(): number {
    return this.#fired;
  }

  /** How often each planned kind has struck. */
  get plannedFired(): ReadonlyMap<SimFaultKind, number> {
    return this.#plannedFired;
  }

  /** Calls of an operation since it was armed last, or since the beginning. */
  seen(op: SimOp): number {
    return this.#seen.get(op) ?? 0;
  }

  /** Arms a fault; the count of the operation begins anew. */
  armOn(op: SimOp, nth: number, options: SimFaultOptions): void {
    if (!SIM_OPS.includes(op)) throw new RangeError(`Cannot arm "${op}": no such operation`);
    assertCount(nth);
    this.#seen.set(op, 0);
    this.#armed.push({ op, options, left: nth, struck: undefined, fired: 0 });
  }

  /** Arms a fault for the call with an index, whatever it is. */
  armAt(index: number, options: SimFaultOptions): void {
    const left = index - this.operationCount + 1;
    assertCount(left);
    this.#armed.push({ op: undefined, options, left, struck: undefined, fired: 0 });
  }

  /** Takes back every armed fault, and thaws. */
  disarm(): void {
    this.#armed = [];
    this.#firedAtThaw = this.#fired;
  }

  /** Throws when an armed fault has not struck: then it has tested nothing. */
  assertAllFired(): void {
    const idle = this.#armed.filter(({ fired }) => fired === 0);
    if (idle.length === 0) return;
    const names = idle.map(({ op, left, options: { path } }) =>
      `${op ?? "any call"}${path === undefined ? "" : ` on "${path}"`} (${left} short)`
    );
    throw new Error(`Cannot count this as tested: armed faults never fired: ${names.join(", ")}`);
  }

  /** Every call passes here once. */
  enter(op: SimOp, path: string, otherPath: string | undefined): Strike | undefined {
    this.operationCount++;
    this.#seen.set(op, (this.#seen.get(op) ?? 0) + 1);
    if (this.arePaused) return undefined;
    let options: PlannedFault | undefined;
    for (const armed of this.#armed) {
      const struck = this.#strikes(armed, op, path, otherPath);
      if (struck) options ??= armed.options;
    }
    options ??= this.#planFor(op);
    if (options === undefined) {
      if (this.freezes && this.#fired > this.#firedAtThaw && SIM_MUTATIONS.has(op)) {
        return strikeOf(op, path, { code: "EROFS" }, "frozen after a fault");
      }
      return undefined;
    }
    this.#fired++;
    return strikeOf(op, path, options, `injected fault on ${op}`);
  }

  #strikes(armed: ArmedFault, op: SimOp, path: string, otherPath: string | undefined): boolean {
    const wanted = armed.op ?? armed.struck;
    if (wanted !== undefined && wanted !== op) return false;
    const { path: part, sticky } = armed.options;
    const isElsewhere = part !== undefined && !path.includes(part) && !otherPath?.includes(part);
    // A call with an index is struck whatever its path; only those after it go by theirs.
    if (isElsewhere && wanted !== undefined) return false;
    if (armed.left > 0) armed.left--;
    if (armed.left > 0 || (armed.fired > 0 && !sticky)) return false;
    armed.struck = op;
    armed.fired++;
    return true;
  }

  #planFor(op: SimOp): PlannedFault | undefined {
    const planned = this.#planned.get(op);
    if (planned === undefined) return undefined;
    let options: PlannedFault | undefined;
    for (const { fault, kind, rate, random } of planned) {
      // Each draws, whether another has struck already: its stream must not depend on the others.
      const strikes = random.chance(rate);
      const fraction = random.nextU32() / 2 ** 32;
      if (!strikes || options !== undefined) continue;
      this.#plannedFired.set(kind, (this.#plannedFired.get(kind) ?? 0) + 1);
      options = kind === "shortWrite" || kind === "shortRead" ? { ...fault, fraction } : fault;
    }
    return options;
  }
}

/** How a sync that is struck ends. */
export function syncOutcomeOf(strike: Strike): SyncOutcome {
  if (strike.instead === "lie") return "dropped";
  if (strike.when === "after") return "honored";
  return strike.sync ?? "lost";
}

/** A failure in the words of the simulated disk. */
export function simFault(op: SimOp, path: string, code: IoCode, reason: string): IoFault {
  return new IoFault({ code, op: STORE_WORDS[op], path, message: `SimFs: ${reason}` });
}

function strikeOf(op: SimOp, path: string, options: PlannedFault, reason: string): Strike {
  return { ...options, error: simFault(op, path, options.code ?? "EIO", reason) };
}

function assertCount(nth: number): void {
  if (Number.isSafeInteger(nth) && nth >= 1) return;
  throw new RangeError(`Cannot arm call ${nth}: the next one is 1`);
}
