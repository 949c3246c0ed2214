/**
 * Witnesses: what a handler can show for how it was given an event.
 *
 * Nothing is delivered exactly once by itself. A handler that wants its effect exactly once puts two
 * things together: the proof that the events come at least once, which only the library makes, and a key
 * of its own under which the effect is done once. {@linkcode ObservedOnce} is the two of them, to be
 * handed to whatever does the effect, and to be taken apart there once.
 *
 * A witness is bound to its realm. What arrives on the other side of a `postMessage` is a plain object that
 * every check refuses.
 *
 * @module
 */

import { StoreError } from "../store/errors.ts";
import { bytesEqual } from "../store/hash.ts";
import { printAs } from "../store/print.ts";
import type { CheckpointId } from "./checkpoint_id.ts";

/** Bytes of an {@linkcode ObservationKey}. */
export const OBSERVATION_KEY_SIZE = 32;

/** Only this file has it, so nobody else can call the constructor. */
const MINT = Symbol("AtLeastOnce");
let mint: (checkpointId: CheckpointId) => AtLeastOnce;

/**
 * Proof that events are delivered at least once, kept in a checkpoint. Nobody can make one: a worker with
 * a checkpoint id hands it to its handler.
 */
export class AtLeastOnce {
  readonly #checkpointId: CheckpointId;

  private constructor(key: symbol, checkpointId: CheckpointId) {
    if (key !== MINT) {
      throw new TypeError("Cannot make an AtLeastOnce: a durable worker hands it to its handler");
    }
    this.#checkpointId = checkpointId;
    Object.freeze(this);
  }

  static {
    mint = (checkpointId) => new AtLeastOnce(MINT, checkpointId);
  }

  /** Whether a value is a witness that was made in this realm, and not one that looks like it. */
  static is(value: unknown): value is AtLeastOnce {
    return typeof value === "object" && value !== null && #checkpointId in value;
  }

  /** The checkpoint that it is kept in. */
  get checkpointId(): CheckpointId {
    return this.#checkpointId;
  }

  /** Whether both are about the same checkpoint. */
  equals(other: AtLeastOnce): boolean {
    return AtLeastOnce.is(other) && other.#checkpointId === this.#checkpointId;
  }
}

/**
 * The proof for a checkpoint that delivery is about to be kept in. Only for those who keep it there: the
 * package does not export it.
 *
 * @internal
 */
export function mintAtLeastOnce(checkpointId: CheckpointId): AtLeastOnce {
  return mint(checkpointId);
}

/**
 * The key under which an effect is done once: 32 bytes of the caller's own, such as a hash of what the
 * effect is about. Not the idempotency key of an append.
 */
export class ObservationKey {
  readonly #bytes: Uint8Array;

  private constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    Object.freeze(this);
  }

  /**
   * The key of these bytes, which are copied.
   *
   * @throws {RangeError} when they are not 32.
   * @throws {TypeError} when they are no `Uint8Array`.
   */
  static fromBytes(bytes: Uint8Array): ObservationKey {
    if (!(bytes instanceof Uint8Array)) {
      throw new TypeError("Cannot make an observation key of what is no Uint8Array");
    }
    if (bytes.byteLength !== OBSERVATION_KEY_SIZE) {
      throw new RangeError(
        `Cannot make an observation key of ${bytes.byteLength} bytes: it takes ${OBSERVATION_KEY_SIZE}`,
      );
    }
    return new ObservationKey(bytes.slice());
  }

  /** Whether a value is a key that was made in this realm. */
  static is(value: unknown): value is ObservationKey {
    return typeof value === "object" && value !== null && #bytes in value;
  }

  /** Its 32 bytes, as a copy. */
  asBytes(): Uint8Array {
    return this.#bytes.slice();
  }

  /** Whether both have the same bytes. */
  equals(other: ObservationKey): boolean {
    return ObservationKey.is(other) && bytesEqual(this.#bytes, other.#bytes);
  }
}

/**
 * An {@linkcode ObservedOnce} was taken apart a second time. Its effect may have been done: make a new one
 * for each delivery, and take it apart where the effect is done.
 */
export class AlreadyConsumedError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "AlreadyConsumedError";
  /** Stable, for programs. */
  override readonly code = "ALREADY_CONSUMED";

  /** Says what happened. */
  constructor() {
    super("Cannot take an ObservedOnce apart twice: its parts were handed out before");
  }
}

/**
 * That an event was observed, by whom it is delivered at least once, and under which key its effect is to
 * be done once. It has to be used: to drop one without {@linkcode intoParts} is to drop an effect.
 *
 * @example What takes it apart does the effect
 * ```ts
 * import { type AtLeastOnce, ObservationKey, ObservedOnce } from "@batpak/batpak";
 * import assert from "node:assert/strict";
 *
 * const done = new Set<string>();
 * function charge(observed: ObservedOnce): void {
 *   const { key } = observed.intoParts();
 *   done.add(key.asBytes().join());
 * }
 * // In the handler of a worker with a checkpoint id, which is handed the witness:
 * const onEvent = (witness: AtLeastOnce, key: ObservationKey) => charge(new ObservedOnce(witness, key));
 *
 * const key = ObservationKey.fromBytes(new Uint8Array(32).fill(7));
 * assert.throws(() => onEvent({} as AtLeastOnce, key), TypeError);
 * assert.equal(done.size, 0);
 * ```
 */
export class ObservedOnce {
  readonly #atLeastOnce: AtLeastOnce;
  readonly #key: ObservationKey;
  #isConsumed = false;

  /**
   * Puts the two together.
   *
   * @throws {TypeError} when one of them is not what it claims to be, as after a `postMessage`.
   */
  constructor(atLeastOnce: AtLeastOnce, key: ObservationKey) {
    if (!AtLeastOnce.is(atLeastOnce)) {
      throw new TypeError("Cannot observe without an AtLeastOnce that a worker in this realm gave");
    }
    if (!ObservationKey.is(key)) {
      throw new TypeError("Cannot observe without a key of ObservationKey.fromBytes()");
    }
    this.#atLeastOnce = atLeastOnce;
    this.#key = key;
  }

  /** Whether a value is one that was made in this realm. */
  static is(value: unknown): value is ObservedOnce {
    return typeof value === "object" && value !== null && #key in value;
  }

  /** Whether {@linkcode intoParts} has been called. */
  get isConsumed(): boolean {
    return this.#isConsumed;
  }

  /**
   * Takes it apart, once.
   *
   * @throws {AlreadyConsumedError} the second time.
   */
  intoParts(): { readonly atLeastOnce: AtLeastOnce; readonly key: ObservationKey } {
    if (this.#isConsumed) throw new AlreadyConsumedError();
    this.#isConsumed = true;
    return { atLeastOnce: this.#atLeastOnce, key: this.#key };
  }
}

printAs(AtLeastOnce, ({ checkpointId }) => ({ checkpointId }));
printAs(ObservedOnce, ({ isConsumed }) => ({ isConsumed }));
