/**
 * The end of a worker file: the store that this worker has, for whoever connects to the worker.
 *
 * @module
 */

import { wireToParent } from "../../platform/realm.ts";
import { runtime } from "../../platform/runtime.ts";
import { StoreError } from "../../store/errors.ts";
import type { Store } from "../../store/store.ts";
import { encodeError } from "./error_codec.ts";
import { HostError } from "./host_error.ts";
import { type ServeOptions, StoreHost } from "./store_host.ts";

/** What the worker and the realm that started it say to each other, beside whatever else they say. */
export type WorkerNotice =
  /** Is a store served here? */
  | { readonly type: "batpak:who" }
  /** One is, or one was meant to be. */
  | { readonly type: "batpak:here" }
  /** A client will speak through this port. */
  | { readonly type: "batpak:connect"; readonly port: MessagePort }
  /** The store is closed and the realm ends. */
  | { readonly type: "batpak:exited" };

/**
 * Opens a store in this worker and serves it to clients. To be called once, in a worker file of your own;
 * the realm that started the worker hands it to `StoreClient.connect`.
 *
 * When the store cannot be opened, whoever connects gets the error. The worker ends when the store is
 * closed, by `StoreHost.close` or by a client that may; it then holds no lock any more.
 *
 * @param open opens the store; called once, now.
 * @returns the host, or `undefined` when the store could not be opened.
 * @throws {RangeError} when an option is out of its range.
 *
 * @example A worker file
 * ```ts ignore
 * import { Store } from "@batpak/batpak";
 * import { serveStore } from "@batpak/batpak/worker";
 *
 * serveStore(() => Store.open("journal"));
 * ```
 */
export function serveStore(open: () => Store, options: ServeOptions = {}): StoreHost | undefined {
  const wire = wireToParent();
  let host: StoreHost | undefined;
  let failure: unknown;
  try {
    const store = open();
    try {
      host = new StoreHost(store, options, () => {
        wire.post({ type: "batpak:exited" } satisfies WorkerNotice);
        // What has been posted to others has to leave first.
        void runtime.scheduler.turn().then(() => runtime.scheduler.turn()).then(() => wire.close());
      });
    } catch (error) {
      store.close();
      throw error;
    }
  } catch (error) {
    failure = error;
  }
  wire.listen((message) => {
    const notice = message as Partial<WorkerNotice> | null;
    if (notice?.type === "batpak:who") {
      wire.post({ type: "batpak:here" } satisfies WorkerNotice);
    } else if (notice?.type === "batpak:connect" && notice.port instanceof MessagePort) {
      if (host !== undefined) host.accept(notice.port, true);
      else notice.port.postMessage({ type: "end", error: encodeError(startError(failure)) });
    }
  });
  wire.post({ type: "batpak:here" } satisfies WorkerNotice);
  return host;
}

/** A caller knows how to catch ours. Anything else that `open` threw is the cause of one of ours. */
function startError(failure: unknown): unknown {
  if (failure instanceof StoreError || failure instanceof TypeError) return failure;
  if (failure instanceof RangeError) return failure;
  const detail = failure instanceof Error ? failure.message : String(failure);
  return new HostError("serve a store", "died", detail, { cause: failure });
}
