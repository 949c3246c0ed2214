/**
 * JSON from outside, and no number changed on the way in.
 *
 * `JSON.parse` makes a double of every number, so `9007199254740993` silently becomes
 * `9007199254740992`, and `1e400` becomes `Infinity`. A journal that proves what was appended must not
 * store something else, so such a text is refused. Which double a fraction becomes is no loss that
 * anybody means: `0.1` is printed again as `0.1`.
 *
 * @module
 */

/** A number stands in the text that would be stored as another one. */
export class LossyNumberError extends RangeError {
  /** The class, for messages and logs. */
  override readonly name = "LossyNumberError";
}

/**
 * What a JSON text says.
 *
 * @throws {SyntaxError} when it is not JSON; the message is a short reason.
 * @throws {LossyNumberError} when it holds a number that would change.
 */
export function parseJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(reasonOf(error), { cause: error });
  }
  if (SUSPECT.test(text)) checkNumbers(text);
  return value;
}

/**
 * Without a match no number can change. Integers of up to 15 digits fit a double, and so few digits
 * overflow only with an exponent of three. Digits of a fraction do not count.
 */
const SUSPECT = /(?:^|[^.\d])\d{16}|\d[eE]\+?\d{3}/;
/** Where a string or a number begins, in a text that is known to be JSON. */
const START = /["\-\d]/g;
const NUMBER = /-?\d+(\.\d+)?([eE][+-]?\d+)?/y;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** The `bigint` that a payload can hold. */
const BIGINT_MIN = -(2n ** 63n);
const BIGINT_MAX = 2n ** 64n - 1n;
/** A literal in a message is cut to this length. */
const SHOWN_LENGTH_MAX = 60;

function checkNumbers(text: string): void {
  let offset = 0;
  for (;;) {
    START.lastIndex = offset;
    const start = START.exec(text)?.index;
    if (start === undefined) return;
    if (text.charCodeAt(start) === QUOTE) {
      offset = endOfString(text, start);
      continue;
    }
    NUMBER.lastIndex = start;
    const [literal, fraction, exponent] = NUMBER.exec(text)!;
    checkNumber(literal, fraction === undefined && exponent === undefined);
    offset = start + literal.length;
  }
}

function endOfString(text: string, start: number): number {
  let offset = start + 1;
  for (;;) {
    const unit = text.charCodeAt(offset);
    if (unit === QUOTE) return offset + 1;
    offset += unit === BACKSLASH ? 2 : 1;
  }
}

function checkNumber(literal: string, isInteger: boolean): void {
  const number = Number(literal);
  if (!Number.isFinite(number)) throw new LossyNumberError(describeLoss(literal, number));
  if (!isInteger || Number.isSafeInteger(number)) return;
  // What we print for a large double is its shortest form, and must be taken back.
  if (String(number) === literal || BigInt(number) === BigInt(literal)) return;
  throw new LossyNumberError(describeLoss(literal, number));
}

function describeLoss(literal: string, number: number): string {
  const shown = literal.length > SHOWN_LENGTH_MAX
    ? `${literal.slice(0, SHOWN_LENGTH_MAX)}…`
    : literal;
  const isBigint = Number.isFinite(number) && BigInt(literal) >= BIGINT_MIN &&
    BigInt(literal) <= BIGINT_MAX;
  const remedy = isBigint ? `{"$bigint":"${literal}"}` : "it as a string";
  return `the number ${shown} would be stored as ${number}; write ${remedy} to keep it`;
}

/** Each engine has its own way to say it, and none of them knows that the text is one line of many. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/^JSON Parse error: /, "").replace(/ \(line \d+ column \d+\)/, "");
}
