/**
 * Who is there to be compared with.
 *
 * @module
 */
import { findKv } from "./kv_peer.ts";
import { findLmdb } from "./lmdb_peer.ts";
import type { RuntimeName } from "./options.ts";
import type { MissingPeer, Peer, PeerSearch } from "./peer.ts";
import { findSqlite } from "./sqlite_peer.ts";

/** The peers of a runtime. */
export interface Peers {
  /** Those that are there, in the order of the tables. */
  readonly present: readonly Peer[];
  /** Those that are not, with the reasons. */
  readonly missing: readonly MissingPeer[];
}

/** Looks for all peers that a runtime can have. */
export function findPeers(runtime: RuntimeName): Peers {
  return sortOut([
    findSqlite("node:sqlite"),
    ...runtime === "bun" ? [findSqlite("bun:sqlite")] : [],
    findLmdb(),
    ...runtime === "deno" ? [findKv()] : [],
  ]);
}

/** Tells those that were found from those that were not. */
export function sortOut(searches: readonly PeerSearch[]): Peers {
  return {
    present: searches.flatMap((search) => "peer" in search ? [search.peer] : []),
    missing: searches.flatMap((search) => "missing" in search ? [search.missing] : []),
  };
}
