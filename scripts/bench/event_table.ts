/**
 * The peer: an events table in SQLite, as one would write it. Write-ahead log, prepared statements,
 * JSON payloads, an index on the id and one on the entity's history.
 *
 * It is a peer and no equal: it keeps no hash of anything, no chain, and gives no receipt. Where there
 * was a choice it got the cheaper way, so that a lead over it means something.
 *
 * @module
 */
import process from "node:process";
import type { StoreFile } from "../../platform/fs.ts";
import { runtime } from "../../platform/runtime.ts";
import type { EventReader } from "./library.ts";
import type { Order } from "./orders.ts";

/** A module of the runtime through which SQLite is reached. */
export interface SqliteDriver {
  /** The module. */
  readonly name: "node:sqlite" | "bun:sqlite";
  /** Opens or makes a database. */
  open(path: string): SqliteDatabase;
}

/** What both modules have in common. */
interface SqliteDatabase {
  exec(sql: string): unknown;
  prepare(sql: string): SqliteStatement;
  close(): void;
}

interface SqliteStatement {
  run(...values: (string | number)[]): unknown;
  get(...values: (string | number)[]): unknown;
  all(...values: (string | number)[]): unknown[];
}

type DatabaseClass = new (path: string) => SqliteDatabase;

/** The modules that this runtime should have. */
export function driverNames(): SqliteDriver["name"][] {
  return process.versions.bun ? ["node:sqlite", "bun:sqlite"] : ["node:sqlite"];
}

/** Loads a module, or returns `undefined` when this runtime does not have it. */
export function loadDriver(name: SqliteDriver["name"]): SqliteDriver | undefined {
  // An import by name would break the runtime that lacks the module.
  let module: Record<string, unknown> | undefined;
  try {
    module = process.getBuiltinModule(name) as Record<string, unknown> | undefined;
  } catch {
    return undefined;
  }
  const Database = module?.[name === "bun:sqlite" ? "Database" : "DatabaseSync"];
  if (typeof Database !== "function") return undefined;
  return { name, open: (path) => new (Database as DatabaseClass)(path) };
}

/** When SQLite syncs: FULL after each transaction, NORMAL at checkpoints. */
export type Synchronous = "NORMAL" | "FULL";

/** An event as the table holds it. */
export interface EventRow {
  readonly id: string;
  readonly entity: string;
  readonly scope: string;
  readonly kind: number;
  readonly clock: number;
  readonly ts: number;
  readonly payload: string;
}

/** Rows fetched at a time when reading on: larger pages are no faster, and take memory. */
const PAGE_ROWS = 1000;

/** A table of events. */
export class EventTable implements EventReader {
  readonly #path: string;
  readonly #database: SqliteDatabase;
  readonly #insert: SqliteStatement;
  readonly #byId: SqliteStatement;
  readonly #payloadPage: SqliteStatement;
  readonly #headerPage: SqliteStatement;
  /** Opened by {@linkcode settle}, and kept: closing one would drop the locks SQLite has on the file. */
  readonly #files: StoreFile[] = [];

  /** Opens the database at `path`, with the table in it. */
  constructor(driver: SqliteDriver, path: string, synchronous: Synchronous) {
    this.#path = path;
    const database = this.#database = driver.open(path);
    database.exec("PRAGMA journal_mode = WAL");
    database.exec(`PRAGMA synchronous = ${synchronous}`);
    database.exec(`
      CREATE TABLE IF NOT EXISTS events (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        entity TEXT NOT NULL,
        scope TEXT NOT NULL,
        kind INTEGER NOT NULL,
        clock INTEGER NOT NULL,
        ts INTEGER NOT NULL,
        payload TEXT NOT NULL
      );
      CREATE UNIQUE INDEX IF NOT EXISTS events_id ON events (id);
      CREATE INDEX IF NOT EXISTS events_entity ON events (entity, clock);
    `);
    this.#insert = database.prepare(
      "INSERT INTO events (id, entity, scope, kind, clock, ts, payload) VALUES (?, ?, ?, ?, ?, ?, ?)",
    );
    this.#byId = database.prepare("SELECT payload FROM events WHERE id = ?");
    this.#payloadPage = database.prepare(
      "SELECT seq, payload FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
    );
    this.#headerPage = database.prepare(
      "SELECT seq, entity, scope, kind, clock FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
    );
  }

  /** Adds an event; a transaction of its own unless {@linkcode transact} is around it. */
  insert({ id, entity, scope, kind, clock, ts, payload }: EventRow): void {
    this.#insert.run(id, entity, scope, kind, clock, ts, payload);
  }

  /** Does the work in one transaction. */
  transact(work: () => void): void {
    this.#database.exec("BEGIN");
    work();
    this.#database.exec("COMMIT");
  }

  totalCentsOf(id: string): number {
    const row = this.#byId.get(id) as Pick<EventRow, "payload"> | null;
    if (!row) throw new Error(`There is no event ${id}`);
    return (JSON.parse(row.payload) as Order).totalCents;
  }

  sumTotals(): number {
    let sum = 0;
    this.#forEachPage(this.#payloadPage, (row) => {
      sum += (JSON.parse(row.payload) as Order).totalCents;
    });
    return sum;
  }

  sumClocks(): number {
    let sum = 0;
    this.#forEachPage(this.#headerPage, (row) => {
      sum += row.clock;
    });
    return sum;
  }

  /** The structure of the file, and the indexes against the table: there are no hashes to check. */
  check(): void {
    const row = this.#database.prepare("PRAGMA integrity_check").get();
    const { integrity_check: result } = row as { integrity_check: string };
    if (result !== "ok") throw new Error(`SQLite finds fault with its table: ${result}`);
  }

  /** Makes the files durable from outside, without SQLite doing any of its own work earlier. */
  settle(): void {
    if (this.#files.length === 0) {
      for (const path of [this.#path, `${this.#path}-wal`]) {
        this.#files.push(runtime.fs.open(path, "write"));
      }
    }
    for (const file of this.#files) file.sync("all");
  }

  close(): void {
    this.#database.close();
    for (const file of this.#files) file.close();
  }

  #forEachPage(page: SqliteStatement, visit: (row: EventRow) => void): void {
    let last = 0;
    for (;;) {
      const rows = page.all(last, PAGE_ROWS) as (EventRow & { seq: number })[];
      for (const row of rows) visit(row);
      if (rows.length < PAGE_ROWS) return;
      last = rows[rows.length - 1].seq;
    }
  }
}
