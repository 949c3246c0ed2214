/**
 * SQLite: an events table as one would write it. Write-ahead log, prepared statements, a unique index on
 * the id and one on the entity and its clock, and the settings that made it fastest here. Payloads are
 * JSON: about twenty bytes longer than MessagePack, and faster, because the runtimes parse it natively.
 *
 * @module
 */
import process from "node:process";
import type { Order } from "./orders.ts";
import {
  type Durability,
  type EventRow,
  type Peer,
  PeerFiles,
  type PeerFollowing,
  type PeerSearch,
  type PeerTable,
} from "./peer.ts";

/** A module through which SQLite is reached. */
export type SqliteModule = "node:sqlite" | "bun:sqlite";

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

/** Loads a module. */
export function findSqlite(name: SqliteModule): PeerSearch {
  // An import by name would break the runtime that lacks the module.
  let module: Record<string, unknown> | undefined;
  try {
    module = process.getBuiltinModule(name) as Record<string, unknown> | undefined;
  } catch {
    // Told below.
  }
  const Database = module?.[name === "bun:sqlite" ? "Database" : "DatabaseSync"];
  if (typeof Database !== "function") {
    return { missing: { name, reason: "this runtime does not have it" } };
  }
  return { peer: sqlitePeer(name, Database as DatabaseClass) };
}

function sqlitePeer(name: SqliteModule, Database: DatabaseClass): Peer {
  const memory = new Database(":memory:");
  const { version } = memory.prepare("SELECT sqlite_version() AS version").get() as {
    version: string;
  };
  memory.close();
  return {
    name,
    version: `SQLite ${version}`,
    settings: {
      written: "WAL, synchronous NORMAL, 64 MiB cache, checkpoint every 10,000 pages, JSON",
      durable: "WAL, synchronous FULL, 64 MiB cache, JSON",
    },
    isAsync: false,
    canCheck: true,
    open: (path, durability) => new SqliteTable(new Database(path), path, durability),
  };
}

/** The default of 2 MiB makes random reads slower. */
const CACHE_KIB = 65_536;
/** By default every 1,000 pages. Batches like it rarer; syncs do not, because the log would grow. */
const CHECKPOINT_PAGES = 10_000;

/** Rows fetched at a time when reading on: larger pages are no faster, and take memory. */
const PAGE_ROWS = 1000;

type PayloadRow = { readonly payload: string };
type HeaderRow = { readonly clock: number };

class SqliteTable implements PeerTable {
  readonly #database: SqliteDatabase;
  readonly #files: PeerFiles;
  readonly #begin: SqliteStatement;
  readonly #commit: SqliteStatement;
  readonly #insert: SqliteStatement;
  readonly #byId: SqliteStatement;
  readonly #latest: SqliteStatement;
  readonly #payloadPage: SqliteStatement;
  readonly #headerPage: SqliteStatement;

  constructor(database: SqliteDatabase, path: string, durability: Durability) {
    this.#database = database;
    this.#files = new PeerFiles([path, `${path}-wal`]);
    database.exec("PRAGMA journal_mode = WAL");
    database.exec(`PRAGMA cache_size = -${CACHE_KIB}`);
    if (durability === "durable") {
      database.exec("PRAGMA synchronous = FULL");
    } else {
      database.exec("PRAGMA synchronous = NORMAL");
      database.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    }
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
      CREATE UNIQUE INDEX IF NOT EXISTS events_entity ON events (entity, clock);
    `);
    this.#begin = database.prepare("BEGIN");
    this.#commit = database.prepare("COMMIT");
    this.#insert = database.prepare("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    this.#byId = database.prepare("SELECT payload FROM events WHERE id = ?");
    this.#latest = database.prepare("SELECT payload FROM events ORDER BY seq DESC LIMIT 1");
    this.#payloadPage = database.prepare(
      "SELECT seq, payload FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
    );
    this.#headerPage = database.prepare(
      "SELECT seq, entity, scope, kind, clock FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
    );
  }

  insert({ seq, id, entity, scope, kind, clock, ts, order }: EventRow): void {
    this.#insert.run(seq, id, entity, scope, kind, clock, ts, JSON.stringify(order));
  }

  insertBatch(rows: readonly EventRow[]): void {
    this.#begin.run();
    for (const row of rows) this.insert(row);
    this.#commit.run();
  }

  totalCentsOf(id: string): number {
    const row = this.#byId.get(id) as PayloadRow | null | undefined;
    if (!row) throw new Error(`There is no event ${id}`);
    return totalCentsIn(row);
  }

  latestTotalCents(): number {
    return totalCentsIn(this.#latest.get() as PayloadRow);
  }

  sumTotals(): number {
    let sum = 0;
    this.#forEachRow<PayloadRow>(this.#payloadPage, (row) => sum += totalCentsIn(row));
    return sum;
  }

  sumClocks(): number {
    let sum = 0;
    this.#forEachRow<HeaderRow>(this.#headerPage, ({ clock }) => sum += clock);
    return sum;
  }

  followTotals({ batchSize, saves }: PeerFollowing): number {
    this.#database.exec(
      "CREATE TABLE IF NOT EXISTS checkpoints (id TEXT PRIMARY KEY, position INTEGER NOT NULL)",
    );
    const save = this.#database.prepare("INSERT OR REPLACE INTO checkpoints VALUES ('bench', ?)");
    let sum = 0;
    let last = 0;
    for (;;) {
      const rows = this.#payloadPage.all(last, batchSize) as (PayloadRow & { seq: number })[];
      if (rows.length === 0) return sum;
      for (const row of rows) sum += totalCentsIn(row);
      last = rows[rows.length - 1].seq;
      if (saves) save.run(last);
    }
  }

  /** The structure of the file, and the indexes against the table: there are no hashes to check. */
  check(): void {
    const row = this.#database.prepare("PRAGMA integrity_check").get();
    const { integrity_check: result } = row as { integrity_check: string };
    if (result !== "ok") throw new Error(`SQLite finds fault with its table: ${result}`);
  }

  settle(): void {
    this.#files.settle();
  }

  close(): void {
    this.#database.close();
    this.#files.close();
  }

  #forEachRow<Row>(page: SqliteStatement, visit: (row: Row) => void): void {
    let last = 0;
    for (;;) {
      const rows = page.all(last, PAGE_ROWS) as (Row & { seq: number })[];
      for (const row of rows) visit(row);
      if (rows.length < PAGE_ROWS) return;
      last = rows[rows.length - 1].seq;
    }
  }
}

function totalCentsIn({ payload }: PayloadRow): number {
  return (JSON.parse(payload) as Order).totalCents;
}
