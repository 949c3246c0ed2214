/**
 * Reads TypeScript as far as the layering test needs it: what is code and what only looks like code,
 * and which modules a file imports.
 *
 * A rule that searched the raw text would trip over every comment that explains the rule. So comments
 * and the contents of strings, templates and regular expressions are blanked first, character for
 * character: offsets and line numbers stay those of the file.
 *
 * @module
 */

/** One import, re-export or `import()`. */
export interface ImportRecord {
  /** The module as written, or `undefined` when it is computed. */
  readonly specifier: string | undefined;
  /** Where it stands, in UTF-16 code units. */
  readonly offset: number;
  /**
   * Whether loading the file loads the module too: not so for `import type`, and `import()` waits
   * until somebody calls it.
   */
  readonly eager: boolean;
}

const CLAUSE = String.raw`(?:[\w$]+|\*(?:\s*as\s+[\w$]+)?|\{[^{}]*\})`;

/** `import a, { b } from "x"`, `export * from "x"`: the `type` keyword, and the quote at the end. */
const FROM = new RegExp(
  String.raw`\b(?:import|export)\s*(\btype\b(?!\s*(?:,|from\b)))?\s*` +
    String.raw`${CLAUSE}(?:\s*,\s*${CLAUSE})?\s*\bfrom\s*(["'])`,
  "g",
);

/** `import "x"`. */
const BARE = /\bimport\s*(["'])/g;

/** `import(…)`, with the quote when a plain string follows. */
const CALL = /(?<![.\w$])import\s*\(\s*(["'])?/g;

/** Words after which a slash starts a regular expression and does not divide. */
const OPERATOR_WORDS = new Set(
  ("return typeof case in of delete void throw new else do instanceof yield await")
    .split(" "),
);

/** Lists what `source` imports, in the order of its text for each kind of import. */
export function scanImports(source: string): ImportRecord[] {
  const code = maskSource(source);
  const records: ImportRecord[] = [];
  for (const match of code.matchAll(FROM)) {
    records.push(recordAt(source, match, match[2], match[1] === undefined));
  }
  for (const match of code.matchAll(BARE)) records.push(recordAt(source, match, match[1], true));
  for (const match of code.matchAll(CALL)) records.push(recordAt(source, match, match[1], false));
  return records;
}

/** Blanks all of `source` that is not code; quotes and line ends stay. */
export function maskSource(source: string): string {
  return new Masker(source).run();
}

/** The line of `offset`, counted from 1. */
export function lineOf(source: string, offset: number): number {
  return source.slice(0, offset).split("\n").length;
}

/** The match ends with the opening quote, so the specifier is what follows up to the same quote. */
function recordAt(
  source: string,
  match: RegExpExecArray,
  quote: string | undefined,
  eager: boolean,
): ImportRecord {
  const start = match.index + match[0].length;
  const specifier = quote === undefined
    ? undefined
    : source.slice(start, source.indexOf(quote, start));
  return { specifier, offset: match.index, eager };
}

class Masker {
  readonly #source: string;
  #masked = "";
  #offset = 0;

  constructor(source: string) {
    this.#source = source;
  }

  run(): string {
    while (this.#offset < this.#source.length) this.#code();
    return this.#masked;
  }

  /** One step of code: a character, or whatever starts here. */
  #code(): void {
    const rest = this.#source.slice(this.#offset, this.#offset + 2);
    const char = rest[0];
    if (rest === "//") this.#blankTo(endOr(this.#source, "\n", this.#offset));
    else if (rest === "/*") this.#blankTo(endOr(this.#source, "*/", this.#offset + 2, 2));
    else if (char === '"' || char === "'") this.#string(char);
    else if (char === "`") this.#template();
    else if (char === "/" && this.#startsRegExp()) this.#regExp();
    else this.#keep(1);
  }

  #string(quote: string): void {
    this.#keep(1);
    while (!this.#atEnd() && this.#char() !== quote && this.#char() !== "\n") this.#blankChar();
    this.#keep(1);
  }

  /** Text is blanked, `${…}` is code again, with braces and templates of its own. */
  #template(): void {
    this.#keep(1);
    while (!this.#atEnd() && this.#char() !== "`") {
      if (this.#source.startsWith("${", this.#offset)) this.#substitution();
      else this.#blankChar();
    }
    this.#keep(1);
  }

  #substitution(): void {
    this.#keep(2);
    for (let depth = 1; depth > 0 && !this.#atEnd();) {
      if (this.#char() === "{") depth += 1;
      if (this.#char() === "}") depth -= 1;
      this.#code();
    }
  }

  #regExp(): void {
    this.#keep(1);
    let inClass = false;
    while (!this.#atEnd() && this.#char() !== "\n" && (inClass || this.#char() !== "/")) {
      if (this.#char() === "[") inClass = true;
      if (this.#char() === "]") inClass = false;
      this.#blankChar();
    }
    this.#keep(1);
  }

  /** A slash divides when a value stands before it; otherwise a regular expression starts. */
  #startsRegExp(): boolean {
    const before = this.#masked.trimEnd();
    const [, dot, word] = before.match(/(\.?)([\w$]+)$/) ?? [];
    if (word !== undefined) return dot === "" && OPERATOR_WORDS.has(word);
    return !/(?:[)\]}"'`]|\+\+|--)$/.test(before);
  }

  #atEnd(): boolean {
    return this.#offset >= this.#source.length;
  }

  #char(): string {
    return this.#source[this.#offset];
  }

  /** Blanks a character; an escaped one goes together with its backslash. */
  #blankChar(): void {
    this.#blankTo(this.#offset + (this.#char() === "\\" ? 2 : 1));
  }

  #blankTo(end: number): void {
    this.#masked += this.#source.slice(this.#offset, end).replace(/[^\n]/g, " ");
    this.#offset = end;
  }

  #keep(count: number): void {
    this.#masked += this.#source.slice(this.#offset, this.#offset + count);
    this.#offset += count;
  }
}

/** Where `mark` stands from `start` on, `extra` characters further, or the end of `text`. */
function endOr(text: string, mark: string, start: number, extra = 0): number {
  const found = text.indexOf(mark, start);
  return found === -1 ? text.length : found + extra;
}
