/**
 * The lifeline of this realm, by which those who talk to it find out that it has ended. One serves
 * everybody.
 *
 * @module
 */

import { holdLifeline } from "../../platform/lifeline.ts";
import { runtime } from "../../platform/runtime.ts";
import { toHex } from "../../store/hash.ts";

let held: Promise<string> | undefined;

/** Its name, once it is held: told earlier, somebody could take this realm for dead. */
export function realmLifeline(): Promise<string> {
  return held ??= hold();
}

async function hold(): Promise<string> {
  const name = new Uint8Array(16);
  runtime.entropy.fill(name);
  const lifeline = `batpak:${toHex(name)}`;
  await holdLifeline(lifeline);
  return lifeline;
}
