/**
 * Options of a store: their defaults, and what is wrong with a value.
 *
 * @module
 */

import type { Clock } from "../platform/clock.ts";
import type { Entropy } from "../platform/entropy.ts";
import type { StoreFs, SyncMode } from "../platform/fs.ts";
import { runtime } from "../platform/runtime.ts";
import type { Scheduler } from "../platform/scheduler.ts";
import { ConfigurationError } from "./errors.ts";
import type { EventDefinition } from "./event_definition.ts";
import { GROUP_COUNT_MAX } from "./frame.ts";
import type { OpenReport } from "./open_report.ts";
import { SigningKey } from "./receipt.ts";

/** Options for reading. */
export interface ReadOptions {
  /** Open segment files kept at a time, at least 1. Default 64. */
  readonly fdBudget?: number;
  /**
   * `"recompute"` hashes every event while opening and refuses a journal whose chain does not verify;
   * `"crc"`, the default, checks the checksum of every frame.
   */
  readonly chainVerification?: "crc" | "recompute";
  /** Keys; each verifies receipts, and the last one signs. Default none. */
  readonly signingKeys?: readonly SigningKey[];
  /** Public keys of 32 bytes that verify receipts besides those of `signingKeys`. */
  readonly verifyingKeys?: readonly Uint8Array[];
  /** What an open may take instead of reading every frame. */
  readonly coldStart?: {
    /** Read `index.fbati`, and in a writer save it. Default true. */
    readonly indexFile?: boolean;
    /** Read the footers of sealed segments, and in a writer add them. Default true. */
    readonly footers?: boolean;
    /**
     * Also save the index file after so many events, at the next sync, in a writer; 0 leaves it to the
     * close. A save takes
     * about 0.1 µs for each event of the journal, so each next one waits for half as many events again
     * as there are. Default 1,000,000.
     */
    readonly saveEveryNEvents?: number;
  };
  /** Called once, after a successful open. What it throws is ignored. */
  readonly openReportObserver?: (report: OpenReport) => void;
  /** Files. Default: those of the runtime. */
  readonly fs?: StoreFs;
  /** Time. Default: the system's. */
  readonly clock?: Clock;
  /** Timers and turns, for everything that waits. Default: those of the event loop. */
  readonly scheduler?: Scheduler;
}

/** Options for writing. */
export interface StoreOptions extends ReadOptions {
  /**
   * When segments roll: before the next append once the active one has this many bytes. 1 to
   * 2,147,483,648; default 67,108,864 (64 MiB). A file exceeds it by at most one group, and by its
   * index footer once it is sealed.
   */
  readonly segmentMaxBytes?: number;
  /**
   * Payload and extension bytes of one event, 1 to 67,108,864. Default 16,777,216 (16 MiB). An extension
   * counts with its key, its value and eight bytes more.
   */
  readonly singleAppendMaxBytes?: number;
  /** Limits of a batch. */
  readonly batch?: {
    /** Items, 1 to 4096. Default 256. */
    readonly maxSize?: number;
    /** Payload and extension bytes of all items, 1 to 16,777,216. Default 1,048,576 (1 MiB). */
    readonly maxBytes?: number;
  };
  /** When what is written becomes durable. */
  readonly sync?: {
    /**
     * Weakens durability when raised: up to this many acknowledged events can be lost to a power cut,
     * never to a crash of the program. 1 makes each append durable before it returns, 0 leaves it to
     * `sync()` and `close()`. Default 1000.
     */
    readonly everyNEvents?: number;
    /**
     * `"data"` (fdatasync, default) makes the bytes durable and whatever is needed to read them, sizes
     * included; `"all"` (fsync) adds times and modes, which nobody here reads.
     */
    readonly mode?: SyncMode;
  };
  /**
   * What an open does with an end that is no whole event.
   *
   * - `"repair"`, the default, cuts a torn tail and refuses when sound events follow the damage.
   * - `"failClosed"` refuses a torn tail too, and changes nothing.
   * - `"cutAtDamage"` gives up events: it cuts the newest segment at the first damage. The group that the
   *   damage is in goes as a whole, and so do sound events behind it, also when they had been
   *   acknowledged. For a journal that `"repair"` refuses: after a power cut that lost a page of what was
   *   not synced yet, or when the log ends before what the index file knows was synced. All that is cut is
   *   kept in `quarantine/`. Sealed segments are never cut.
   */
  readonly tailPolicy?: TailPolicy;
  /** `"required"` refuses to open without a signing key. Default `"optional"`. */
  readonly signingPolicy?: "optional" | "required";
  /** Definitions to register now, so that two that claim one kind are found before anything is written. */
  readonly events?: readonly EventDefinition[];
  /** Chance. Default: the system's. */
  readonly entropy?: Entropy;
}

/** See {@linkcode StoreOptions.tailPolicy}. */
export type TailPolicy = "repair" | "failClosed" | "cutAtDamage";

/** Options with every default in place. */
export interface ResolvedOptions {
  readonly fdBudget: number;
  readonly chainVerification: "crc" | "recompute";
  readonly signingKeys: readonly SigningKey[];
  readonly verifyingKeys: readonly Uint8Array[];
  readonly coldStart: {
    readonly indexFile: boolean;
    readonly footers: boolean;
    readonly saveEveryNEvents: number;
  };
  readonly openReportObserver: ((report: OpenReport) => void) | undefined;
  readonly fs: StoreFs;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly entropy: Entropy;
  readonly segmentMaxBytes: number;
  readonly singleAppendMaxBytes: number;
  readonly batchMaxSize: number;
  readonly batchMaxBytes: number;
  readonly syncEveryNEvents: number;
  readonly syncMode: SyncMode;
  readonly tailPolicy: TailPolicy;
  readonly events: readonly EventDefinition[];
}

const KNOWN_OPTIONS = new Set([
  "fdBudget",
  "chainVerification",
  "signingKeys",
  "verifyingKeys",
  "coldStart",
  "openReportObserver",
  "fs",
  "clock",
  "scheduler",
  "segmentMaxBytes",
  "singleAppendMaxBytes",
  "batch",
  "sync",
  "tailPolicy",
  "signingPolicy",
  "events",
  "entropy",
]);

/**
 * Checks options and fills in the defaults.
 *
 * @throws {ConfigurationError} naming the option and what it may be.
 */
export function resolveOptions(options: StoreOptions): ResolvedOptions {
  rejectUnknown("", options, KNOWN_OPTIONS);
  const { batch = {}, sync = {}, coldStart = {} } = options;
  rejectUnknown("batch.", batch, new Set(["maxSize", "maxBytes"]));
  rejectUnknown("sync.", sync, new Set(["everyNEvents", "mode"]));
  rejectUnknown(
    "coldStart.",
    coldStart,
    new Set(["indexFile", "footers", "saveEveryNEvents"]),
  );
  const signingKeys = listOf("signingKeys", options.signingKeys);
  for (const key of signingKeys) {
    if (!(key instanceof SigningKey)) {
      throw new ConfigurationError("signingKeys", "make keys with SigningKey.fromSeed()");
    }
  }
  const verifyingKeys = listOf("verifyingKeys", options.verifyingKeys);
  for (const key of verifyingKeys) {
    if (!(key instanceof Uint8Array) || key.byteLength !== 32) {
      throw new ConfigurationError("verifyingKeys", "a public key is a Uint8Array of 32 bytes");
    }
  }
  const signingPolicy = oneOf("signingPolicy", options.signingPolicy, ["optional", "required"]);
  if (signingPolicy === "required" && signingKeys.length === 0) {
    throw new ConfigurationError("signingPolicy", '"required" needs a key in "signingKeys"');
  }
  return {
    fdBudget: integer("fdBudget", options.fdBudget, 64, 1, 65_536),
    chainVerification: oneOf("chainVerification", options.chainVerification, ["crc", "recompute"]),
    signingKeys,
    verifyingKeys: [...verifyingKeys, ...signingKeys.map((key) => key.publicKey)],
    coldStart: {
      indexFile: flag("coldStart.indexFile", coldStart.indexFile, true),
      footers: flag("coldStart.footers", coldStart.footers, true),
      saveEveryNEvents: integer(
        "coldStart.saveEveryNEvents",
        coldStart.saveEveryNEvents,
        1_000_000,
        0,
        2 ** 32 - 1,
      ),
    },
    openReportObserver: options.openReportObserver,
    fs: having("fs", options.fs ?? runtime.fs, "open", "publish", "tryLock"),
    clock: having("clock", options.clock ?? runtime.clock, "nowUs", "monotonicUs"),
    scheduler: having("scheduler", options.scheduler ?? runtime.scheduler, "delay", "turn"),
    entropy: having("entropy", options.entropy ?? runtime.entropy, "fill"),
    segmentMaxBytes: integer("segmentMaxBytes", options.segmentMaxBytes, 64 << 20, 1, 2 ** 31),
    singleAppendMaxBytes: integer(
      "singleAppendMaxBytes",
      options.singleAppendMaxBytes,
      16 << 20,
      1,
      64 << 20,
    ),
    batchMaxSize: integer("batch.maxSize", batch.maxSize, 256, 1, GROUP_COUNT_MAX),
    batchMaxBytes: integer("batch.maxBytes", batch.maxBytes, 1 << 20, 1, 16 << 20),
    syncEveryNEvents: integer("sync.everyNEvents", sync.everyNEvents, 1000, 0, 2 ** 32 - 1),
    syncMode: oneOf("sync.mode", sync.mode, ["data", "all"]),
    tailPolicy: oneOf("tailPolicy", options.tailPolicy, ["repair", "failClosed", "cutAtDamage"]),
    events: listOf("events", options.events),
  };
}

/** Refuses a directory that is no path. */
export function assertDir(dir: string): void {
  if (typeof dir === "string" && dir !== "") return;
  throw new TypeError("Cannot open a journal: the directory is not a path");
}

function listOf<T>(option: string, value: readonly T[] | undefined): readonly T[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new ConfigurationError(option, "it is not an array");
  return value;
}

/** An object that a caller brings, when it has the methods that will be called first. */
function having<T extends object>(option: string, value: T, ...methods: (keyof T & string)[]): T {
  for (const method of methods) {
    if (typeof value?.[method] !== "function") {
      throw new ConfigurationError(option, `it has no method "${method}"`);
    }
  }
  return value;
}

function rejectUnknown(prefix: string, options: object, known: ReadonlySet<string>): void {
  if (typeof options !== "object" || options === null) {
    throw new ConfigurationError(prefix.slice(0, -1) || "options", "it is not an object");
  }
  for (const key of Object.keys(options)) {
    if (!known.has(key)) {
      throw new ConfigurationError(
        prefix + key,
        `there is no such option; there are ${[...known].join(", ")}`,
      );
    }
  }
}

function integer(
  option: string,
  value: number | undefined,
  fallback: number,
  min: number,
  max: number,
): number {
  if (value === undefined) return fallback;
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max) {
    throw new ConfigurationError(
      option,
      `${String(value)} is not a whole number of ${min} to ${max}`,
    );
  }
  return value;
}

function flag(option: string, value: boolean | undefined, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value !== "boolean") {
    throw new ConfigurationError(option, `${String(value)} is not true or false`);
  }
  return value;
}

function oneOf<T extends string>(
  option: string,
  value: T | undefined,
  allowed: readonly [T, ...T[]],
): T {
  if (value === undefined) return allowed[0];
  if (!allowed.includes(value)) {
    throw new ConfigurationError(
      option,
      `${JSON.stringify(value)} is not ${allowed.map((word) => `"${word}"`).join(" or ")}`,
    );
  }
  return value;
}
