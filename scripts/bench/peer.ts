/**
 * What a peer has to do to be compared: keep the same events in order, find one by its id, refuse an id
 * or an entity's clock that is taken, and read everything back. Each does it as its users would, and
 * with the fast settings they would choose.
 *
 * A peer is no equal: it keeps no hash of anything, no chain, and gives no receipt. Where there was a
 * choice it got the cheaper way, so that a lead over it means something.
 *
 * Peers are never needed. One that is not there is reported as missing, with the reason.
 *
 * @module
 */
import { runtime } from "../../platform/runtime.ts";
import type { StoreFile } from "../../platform/fs.ts";
import type { Order } from "./orders.ts";

/** Everybody the journal is compared with, except the bare loop. */
export type PeerName = "node:sqlite" | "bun:sqlite" | "lmdb" | "deno-kv";

/** What an insert promises when it returns: to survive the program, or a power cut as well. */
export type Durability = "written" | "durable";

/** Another way to keep events. */
export interface Peer {
  readonly name: PeerName;
  /** What the module says it is. */
  readonly version: string;
  /** How it is set up for each promise, in words for the report. */
  readonly settings: Readonly<Record<Durability, string>>;
  /** Where it has no check of itself, it takes no part in `verify`. */
  readonly canCheck: boolean;
  /** Whether its answers are promises. */
  readonly isAsync: boolean;
  /** A slow one does so many times less in a slice: what is compared are rates. Default 1. */
  readonly shareOfSlice?: number;
  /** Opens or makes its files at `path`. */
  open(path: string, durability: Durability): PeerTable | Promise<PeerTable>;
}

/** A peer that is not there. */
export interface MissingPeer {
  readonly name: string;
  readonly reason: string;
}

/** Loading a peer. */
export type PeerSearch = { readonly peer: Peer } | { readonly missing: MissingPeer };

/** Some peers answer at once, and others with a promise. */
export type Answer<T> = T | Promise<T>;

/** A way to read the events. */
export interface EventReader {
  /** The total of one order, by the id of its event: a point read with its payload decoded. */
  totalCentsOf(id: string): Answer<number>;
  /** The total of the newest order: what is asked to see that a journal is open. */
  latestTotalCents(): Answer<number>;
  /** The sum of all totals: every payload, decoded, in order. */
  sumTotals(): Answer<number>;
  /** The sum of all clocks: sequence, entity, scope, kind and clock of every event, in order. */
  sumClocks(): Answer<number>;
  /** Checks everything that can be checked. Throws when something is wrong. */
  check(): void;
  /** Lets go of files. */
  close(): Answer<void>;
}

/** The events of a peer. */
export interface PeerTable extends EventReader {
  /** Adds an event, in a transaction of its own. Throws when its id or its clock is taken. */
  insert(row: EventRow): Answer<void>;
  /** Adds events in one transaction. */
  insertBatch(rows: readonly EventRow[]): Answer<void>;
  /**
   * Adds an event in a durable transaction that it shares with those that others add meanwhile. Where
   * there is no such thing, whoever wants that has to gather batches.
   */
  insertShared?(row: EventRow): Promise<void>;
  /**
   * The sum of all totals, by someone who asks again and again for what comes after the last event they
   * have seen. Absent where that is not compared.
   */
  followTotals?(following: PeerFollowing): number;
  /** Makes the files durable from outside, without the peer doing any of its own work earlier. */
  settle(): void;
}

/** How a table is followed. */
export interface PeerFollowing {
  /** Events that are asked for at a time. */
  readonly batchSize: number;
  /** Whether the place is stored after each batch, in a transaction of its own. */
  readonly saves: boolean;
}

/** An event as a peer is handed it. */
export interface EventRow {
  /** Its place in the whole, counted from 1. */
  readonly seq: number;
  readonly id: string;
  readonly entity: string;
  readonly scope: string;
  readonly kind: number;
  readonly clock: number;
  readonly ts: number;
  readonly order: Order;
}

/**
 * The files of a peer, to be made durable from outside. They are opened once and kept: closing one would
 * drop the locks that SQLite has on it.
 */
export class PeerFiles {
  readonly #paths: readonly string[];
  readonly #files: StoreFile[] = [];

  /** @param paths what is there once the peer has written. */
  constructor(paths: readonly string[]) {
    this.#paths = paths;
  }

  /** Syncs them all. */
  settle(): void {
    if (this.#files.length === 0) {
      for (const path of this.#paths) this.#files.push(runtime.fs.open(path, "write"));
    }
    for (const file of this.#files) file.sync("all");
  }

  /** Lets go of them, once the peer has let go. */
  close(): void {
    for (const file of this.#files) file.close();
  }
}
