/**
 * The lifeline of this realm, by which those who talk to it find out that it has ended. One serves all
 * connections, and is held while there are some: held for nobody, it would keep the program running.
 *
 * @module
 */

import { takeLifeline } from "../../platform/lifeline.ts";
import { runtime } from "../../platform/runtime.ts";
import type { Cancel } from "../../platform/scheduler.ts";
import { toHex } from "../../store/hash.ts";

interface Lifeline {
  readonly name: string;
  readonly taken: Promise<Cancel>;
  userCount: number;
}

let current: Lifeline | undefined;

/** A share in the lifeline of this realm. */
export interface LifelineShare {
  /** Its name, once it is held: told earlier, somebody could take this realm for dead. */
  readonly name: Promise<string>;
  /** Gives the share back; a second call does nothing. */
  readonly release: Cancel;
}

/** Takes a share. */
export function shareLifeline(): LifelineShare {
  const lifeline = current ??= newLifeline();
  lifeline.userCount++;
  let isReleased = false;
  return {
    name: lifeline.taken.then(() => lifeline.name),
    release() {
      if (isReleased) return;
      isReleased = true;
      if (--lifeline.userCount > 0) return;
      // Whoever still watches this one would take its end for ours, so the next one has another name.
      if (current === lifeline) current = undefined;
      void lifeline.taken.then((letGo) => letGo());
    },
  };
}

function newLifeline(): Lifeline {
  const id = new Uint8Array(16);
  runtime.entropy.fill(id);
  const name = `batpak:${toHex(id)}`;
  return { name, taken: takeLifeline(name), userCount: 0 };
}
