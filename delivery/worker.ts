/**
 * What a Web Worker of your own calls to work for a journal that another realm has open.
 *
 * A worker file imports this module, and nothing here starts a worker or looks for one: which file a worker
 * is made of is yours to say, so it works from source, from a bundle and inside a single executable.
 *
 * @module
 */
export {
  type CursorRealmContext,
  type CursorRealmHandler,
  type CursorRealmOptions,
  serveCursorWorker,
} from "./realm/serve_cursor_worker.ts";
export type { CursorWorkerAction } from "./handler_unit.ts";
export type { StoredEvent } from "../store/stored_event.ts";
export { serveStore } from "./host/serve_store.ts";
export { type ServeOptions, StoreHost } from "./host/store_host.ts";
export { AlreadyConsumedError, AtLeastOnce, ObservationKey, ObservedOnce } from "./witness.ts";
export type { CheckpointId } from "./checkpoint_id.ts";
