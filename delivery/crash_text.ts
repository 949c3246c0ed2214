/**
 * What to say about something that was thrown.
 *
 * @module
 */

/** The text for what carries none. */
const UNKNOWN = "unknown panic";

/** The message of an `Error`, a string as it is, and `"unknown panic"` for all else. Never fails. */
export function crashText(thrown: unknown): string {
  if (typeof thrown === "string") return thrown;
  try {
    // An error of another realm is no instance of this one's Error; `Error.isError` is too new to rely on.
    if (thrown instanceof Error || Object.prototype.toString.call(thrown) === "[object Error]") {
      const { message } = thrown as Error;
      if (typeof message === "string") return message;
    }
  } catch {
    // A getter or a proxy that throws says nothing either.
  }
  return UNKNOWN;
}
