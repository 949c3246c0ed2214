/**
 * Checkpoint ids: the name under which a consumer's place is kept, and the stem of a file.
 *
 * @module
 */

import { StoreError } from "../store/errors.ts";
import { utf8Size } from "../store/utf8.ts";

/** The most bytes an id may take in UTF-8. File systems usually allow about 250. */
export const CHECKPOINT_ID_SIZE_MAX = 1024;

/** The name of a checkpoint. Made by {@linkcode CheckpointId.parse}. */
export type CheckpointId = string & {
  /** Keeps an id from being mixed up with another string; nothing has this at run time. */
  readonly __brand: "CheckpointId";
};

/** Why a checkpoint id was refused. */
export type CheckpointIdRefusal =
  | "notString"
  | "empty"
  | "tooLong"
  | "nulByte"
  | "controlChar"
  | "pathTraversal"
  | "forbiddenSeparator"
  | "loneSurrogate";

/** A text cannot name a checkpoint. The message says which rule it breaks: choose another. */
export class CheckpointIdError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "CheckpointIdError";
  /** Stable, for programs. */
  override readonly code = "CHECKPOINT_ID";
  /** What is wrong. */
  readonly reason: CheckpointIdRefusal;
  /** Bytes of the id, when it is too long. */
  readonly size: number | undefined;
  /** The most bytes there may be, when it is too long. */
  readonly sizeMax: number | undefined;

  /**
   * Says which rule is broken.
   *
   * @param reason what is wrong; `size` in bytes, of an id that is too long.
   */
  constructor(reason: CheckpointIdRefusal, size?: number) {
    super(`Cannot use the checkpoint id: ${reasonText(reason, size)}`);
    this.reason = reason;
    this.size = size;
    this.sizeMax = size === undefined ? undefined : CHECKPOINT_ID_SIZE_MAX;
  }
}

/** The functions behind the name {@linkcode CheckpointId}. */
export interface CheckpointIdNamespace {
  /**
   * The id that a text is. It is the stem of a file name as it stands, so it must not lead anywhere
   * else; letters of any script, spaces, colons and backslashes are fine.
   *
   * @throws {CheckpointIdError} with the first rule that it breaks.
   *
   * @example What is no id
   * ```ts
   * import { CheckpointId, CheckpointIdError } from "@batpak/batpak";
   * import assert from "node:assert/strict";
   *
   * assert.equal(CheckpointId.parse("billing mailer"), "billing mailer");
   * assert.throws(
   *   () => CheckpointId.parse("../secrets"),
   *   (error) => error instanceof CheckpointIdError && error.reason === "pathTraversal",
   * );
   * ```
   */
  parse(text: string): CheckpointId;
}

/** Makes checkpoint ids. */
export const CheckpointId: CheckpointIdNamespace = Object.freeze({
  parse(text: string): CheckpointId {
    if (typeof text !== "string") throw new CheckpointIdError("notString");
    if (text === "") throw new CheckpointIdError("empty");
    const size = utf8Size(text);
    if (size > CHECKPOINT_ID_SIZE_MAX) throw new CheckpointIdError("tooLong", size);
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (unit === 0) throw new CheckpointIdError("nulByte");
      if (unit < 0x20 || unit === 0x7f) throw new CheckpointIdError("controlChar");
    }
    if (text.includes("/") || text.includes("..")) throw new CheckpointIdError("pathTraversal");
    if (text.includes("|") || text.includes("=")) throw new CheckpointIdError("forbiddenSeparator");
    // Two such ids would be one file.
    if (!text.isWellFormed()) throw new CheckpointIdError("loneSurrogate");
    return text as CheckpointId;
  },
});

function reasonText(reason: CheckpointIdRefusal, size: number | undefined): string {
  switch (reason) {
    case "notString":
      return "it is not a string";
    case "empty":
      return "it is empty";
    case "tooLong":
      return `it takes ${size} bytes, and at most ${CHECKPOINT_ID_SIZE_MAX} are allowed`;
    case "nulByte":
      return "it contains a NUL byte";
    case "controlChar":
      return "it contains a control character";
    case "pathTraversal":
      return 'it contains "/" or "..": a path-traversal';
    case "forbiddenSeparator":
      return 'it contains "|" or "="';
    case "loneSurrogate":
      return "it contains half a surrogate pair";
  }
}
