/**
 * What can go wrong between a client and the realm that has the store.
 *
 * @module
 */

import { StoreError } from "../../store/errors.ts";

/** Why a call to a store in another realm came to nothing. */
export type HostFailure =
  /** The host has closed its store. What was not answered was not done. */
  | "closed"
  /** The realm of the store has ended, or says nothing any more. */
  | "died"
  /** No answer came within the time limit. */
  | "timeout"
  /** This client was closed. */
  | "disconnected"
  /** The host has ended the connection, because of what it was sent. */
  | "cutOff"
  /** The other side speaks another version of the protocol. */
  | "version"
  /** This realm has the store itself, and would wait for itself. */
  | "sameRealm"
  /** What was asked for is not for this client. */
  | "notAllowed";

/**
 * A store in another realm cannot be reached, or did not answer. With `outcomeUnknown` the call may or may
 * not have been done: an append that has an idempotency key can simply be repeated once the journal is
 * open again, and is done once.
 *
 * | Reason         | Remedy                                                                     |
 * | -------------- | -------------------------------------------------------------------------- |
 * | `closed`       | open the journal again, in a new worker                                    |
 * | `died`         | start a new worker; repeat appends under their idempotency keys. While it  |
 * |                | finds the store locked, the old one is still ending: try again             |
 * | `timeout`      | repeat under the idempotency key, or allow more time                       |
 * | `disconnected` | connect again                                                              |
 * | `cutOff`       | keep to the protocol: use the client of the same version                   |
 * | `version`      | use one version of batpak in all realms                                    |
 * | `sameRealm`    | call the store directly, or use the promises of `StoreClient`              |
 * | `notAllowed`   | ask through the client that started the worker                             |
 */
export class HostError extends StoreError {
  /** The class, for messages and logs. */
  override readonly name = "HostError";
  /** Stable, for programs. */
  override readonly code = "HOST";
  /** What went wrong. */
  readonly reason: HostFailure;
  /** What the message says about it. */
  readonly detail: string;
  /** Whether what was asked for may have been done all the same. */
  readonly outcomeUnknown: boolean;

  /**
   * Says what happened.
   *
   * @param reason what went wrong; `detail` says more, without a full stop.
   */
  constructor(
    action: string,
    reason: HostFailure,
    detail: string,
    options: { readonly outcomeUnknown?: boolean; readonly cause?: unknown } = {},
  ) {
    const { outcomeUnknown = false, cause } = options;
    super(
      `Cannot ${action}: ${detail}` +
        (outcomeUnknown
          ? ". It may have been done: repeat it under its idempotency key to settle that"
          : ""),
      { cause },
    );
    this.reason = reason;
    this.detail = detail;
    this.outcomeUnknown = outcomeUnknown;
  }
}
