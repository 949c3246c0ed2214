/**
 * Where failures of files become errors of the store.
 *
 * @module
 */

import { IoFault } from "../platform/fs.ts";
import { StoreIoError } from "./errors.ts";

/** Runs `action`, turning a file-system failure into a {@linkcode StoreIoError}. */
export function withIo<T>(what: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof IoFault) throw new StoreIoError(what, error);
    throw error;
  }
}
