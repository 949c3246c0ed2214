/**
 * Payloads as JSON, both ways, and nothing lost between.
 *
 * A payload may hold what JSON has no form for. Each of these is written as an object with one key:
 *
 * | Value                                | JSON                                      |
 * | ------------------------------------ | ----------------------------------------- |
 * | `Uint8Array`                         | `{"$bytes": "AAEC"}`, base64              |
 * | `bigint`                             | `{"$bigint": "9007199254740993"}`         |
 * | `Date`                               | `{"$date": "2026-01-31T12:00:00.000Z"}`   |
 * | `NaN`, `Infinity`, `-Infinity`, `-0` | `{"$number": "NaN"}`                      |
 *
 * An object that happens to look like one of them gets one more `$` in front, which reading takes off
 * again: `{"$bytes": 1}` is written `{"$$bytes": 1}`.
 *
 * @module
 */

/** A value as JSON has it. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/** A payload in a form that `JSON.stringify` writes without loss; `undefined` when it was erased. */
export function payloadToJson(value: unknown): JsonValue | undefined {
  switch (typeof value) {
    case "bigint":
      return { $bigint: String(value) };
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0)
        ? value
        : { $number: Object.is(value, -0) ? "-0" : String(value) };
    case "string":
    case "boolean":
    case "undefined":
      return value;
  }
  if (value === null) return null;
  if (value instanceof Uint8Array) return { $bytes: toBase64(value) };
  if (value instanceof Date) return { $date: value.toISOString() };
  if (Array.isArray(value)) return value.map((item) => payloadToJson(item) ?? null);
  const entries = Object.entries(value as object);
  const plain = entries.map(([key, item]) => [key, payloadToJson(item)]);
  if (entries.length === 1 && LOOKALIKE.test(entries[0][0])) plain[0][0] = `$${entries[0][0]}`;
  return Object.fromEntries(plain);
}

/**
 * The payload that parsed JSON stands for.
 *
 * @throws {RangeError} when a stand-in holds a text it cannot hold.
 */
export function payloadFromJson(json: unknown): unknown {
  if (typeof json !== "object" || json === null) return json;
  if (Array.isArray(json)) return json.map(payloadFromJson);
  const entries = Object.entries(json);
  if (entries.length === 1 && LOOKALIKE.test(entries[0][0])) {
    const [[key, value]] = entries;
    if (key.startsWith("$$")) return { [key.slice(1)]: payloadFromJson(value) };
    if (typeof value === "string") return fromStandIn(key, value);
  }
  return Object.fromEntries(entries.map(([key, value]) => [key, payloadFromJson(value)]));
}

const LOOKALIKE = /^\$+(?:bytes|bigint|date|number)$/;
const NUMBERS: ReadonlyMap<string, number> = new Map([
  ["NaN", NaN],
  ["Infinity", Infinity],
  ["-Infinity", -Infinity],
  ["-0", -0],
]);
/** Base64 of more bytes than this at once would be more arguments than a call may have. */
const BASE64_STEP = 0x8000;

function fromStandIn(key: string, text: string): unknown {
  switch (key) {
    case "$bigint":
      if (/^-?\d+$/.test(text)) return BigInt(text);
      break;
    case "$date": {
      const date = new Date(text);
      if (!Number.isNaN(date.getTime())) return date;
      break;
    }
    case "$number": {
      const number = NUMBERS.get(text);
      if (number !== undefined) return number;
      break;
    }
    case "$bytes": {
      const bytes = fromBase64(text);
      if (bytes !== undefined) return bytes;
      break;
    }
  }
  throw new RangeError(
    `{"${key}": ${JSON.stringify(text)}} stands for no value; ` +
      `if it is meant as it is, write {"$${key}": …}`,
  );
}

function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (let start = 0; start < bytes.byteLength; start += BASE64_STEP) {
    binary += String.fromCharCode(...bytes.subarray(start, start + BASE64_STEP));
  }
  return btoa(binary);
}

function fromBase64(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch {
    return undefined;
  }
}
