/**
 * What runs in a worker file of your own.
 *
 * @module
 */

export { serveStore } from "./host/serve_store.ts";
export { type ServeOptions, StoreHost } from "./host/store_host.ts";
