/**
 * What a command says: data on standard output, all else on standard error, for people or for programs.
 *
 * Data is gathered and written in large pieces. Whoever waits for input or for time flushes first, and
 * so does everything that goes to standard error, so the two streams tell one story.
 *
 * @module
 */
import type { StoredEvent } from "../mod.ts";
import { errorToJson } from "./errors.ts";
import type { Host } from "./host.ts";
import { payloadToJson } from "./payload_json.ts";

const FLUSH_LENGTH = 64 << 10;

/** Writes for one run of the command. */
export class Output {
  /** Whether a program reads it. */
  readonly json: boolean;
  readonly #host: Host;
  #buffered = "";

  /** @param json whether a program reads it. */
  constructor(host: Host, json: boolean) {
    this.#host = host;
    this.json = json;
  }

  /** Data as text; a line, unless it ends in one. */
  text(text: string): void {
    this.#buffered += text.endsWith("\n") ? text : `${text}\n`;
    if (this.#buffered.length >= FLUSH_LENGTH) this.flush();
  }

  /** Data as one line of JSON. */
  record(value: unknown): void {
    this.text(JSON.stringify(value));
  }

  /** An event as one line of JSON. */
  event(event: StoredEvent): void {
    this.record(eventToJson(event));
  }

  /** A remark, which is not data: as text, or with `--json` as `facts`. */
  note(text: string, facts: Record<string, unknown>): void {
    this.flush();
    this.#host.writeError(this.json ? `${JSON.stringify(facts)}\n` : `${text}\n`);
  }

  /** Why the command failed; `hint` says where to read on. */
  error(error: unknown, hint?: string): void {
    this.flush();
    const facts = errorToJson(error);
    const lines = this.json ? [JSON.stringify({ error: { ...facts, hint } })] : [
      `batpak: ${facts.message}`,
      ...(facts.later ?? []).map(({ message }) => `batpak: and after that: ${message}`),
      ...(hint === undefined ? [] : [hint]),
    ];
    this.#host.writeError(`${lines.join("\n")}\n`);
  }

  /** Hands over what has been gathered. */
  flush(): void {
    const text = this.#buffered;
    if (text === "") return;
    this.#buffered = "";
    this.#host.writeOut(text);
  }
}

/**
 * An event as plain data, its payload without loss. An opaque payload looks like one that is a byte
 * string in MessagePack, and `import` has to know: then there is a field that says so.
 */
export function eventToJson(event: StoredEvent): Record<string, unknown> {
  const plain = event.toJSON();
  const isOpaque = event.payloadEncoding === "opaque";
  return {
    ...plain,
    ...(isOpaque ? { payloadEncoding: "opaque" } : {}),
    payload: payloadToJson(plain.payload),
  };
}

/** A whole number for people. */
export function formatCount(count: number): string {
  return count.toLocaleString("en-US");
}

/** A count and what is counted. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** A size for people. */
export function formatBytes(size: number): string {
  if (size < 1000) return plural(size, "byte");
  const units = ["kB", "MB", "GB", "TB"];
  let value = size / 1000;
  let unit = 0;
  while (value >= 999.95 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toFixed(1)} ${units[unit]}`;
}
