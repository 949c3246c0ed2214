/**
 * The structure of the project as rules: who may import whom, and who may know which runtime this is,
 * what time it is, or how the dice fall.
 *
 * ```
 * cli → mod.ts → delivery → store → platform        sim → mod.ts, delivery, store, platform
 * ```
 *
 * The rules are worth a test because everything else rests on them. The journal runs on two runtimes
 * because only `platform/` names one; a simulated crash can be replayed from its seed because nothing
 * above `platform/` finds out the time or rolls dice by itself.
 *
 * `tests/` and `scripts/` are free. A unit test keeps the direction of imports, with `sim/` and
 * `tests/` at hand, and is free otherwise.
 *
 * @module
 */
import { posix } from "node:path";
import { isTestFile } from "../scripts/project_files.ts";
import { lineOf, maskSource, scanImports } from "./source_scan.ts";

/** Tells whether a file is a test, or a program that tests run as another process. */
function isTestCode(file: string): boolean {
  return isTestFile(file) || file.includes("/testdata/");
}

/** A rule that a line breaks. */
export interface Violation {
  /** The file, relative to the project. */
  readonly file: string;
  /** The line, counted from 1. */
  readonly line: number;
  /** What is wrong. */
  readonly problem: string;
  /** What to do about it. */
  readonly remedy: string;
}

/** Names of the layers; `tests` stands for everything that may import anything. */
type LayerName = "surface" | "cli" | "delivery" | "store" | "platform" | "sim" | "tests";

interface Layer {
  /** The other layers it may import. */
  readonly below: readonly LayerName[];
  /** The npm packages it may import. A new one is a decision: see CONTRIBUTING. */
  readonly packages: readonly string[];
}

const CHECKED_LAYERS: ReadonlyMap<LayerName, Layer> = new Map([
  ["surface", { below: ["delivery", "store", "platform"], packages: ["@standard-schema/spec"] }],
  ["cli", { below: ["surface"], packages: ["commander"] }],
  [
    "delivery",
    { below: ["store", "platform"], packages: ["@msgpack/msgpack", "@standard-schema/spec"] },
  ],
  [
    "store",
    { below: ["platform"], packages: ["hash-wasm", "@msgpack/msgpack", "@standard-schema/spec"] },
  ],
  ["platform", { below: [], packages: [] }],
  ["sim", { below: ["surface", "delivery", "store", "platform"], packages: [] }],
]);

/** The one file of the command that talks to the terminal and the process. */
const CLI_HOST = "cli/host.ts";

interface TextRule {
  readonly layers: readonly LayerName[];
  /** What must not stand in code. Where a whole family counts, a method of the same name does not. */
  readonly pattern: RegExp;
  readonly problem: string;
  readonly remedy: string;
}

const LIBRARY: readonly LayerName[] = ["surface", "delivery", "store", "sim"];

/** A global: not a property of something, unless of the global object. */
function globalName(names: string): RegExp {
  return new RegExp(String.raw`(?:\b(?:globalThis|self)\s*\.\s*|(?<![.#\w$]))(?:${names})`, "g");
}

const TEXT_RULES: readonly TextRule[] = [
  {
    layers: [...LIBRARY, "cli"],
    pattern: globalName(String.raw`Deno\b|Bun\b|process\s*\.|Buffer\b|require\s*\(`),
    problem: "names a runtime",
    remedy: `let platform/ do it and hand it in (the command has ${CLI_HOST})`,
  },
  {
    layers: LIBRARY,
    pattern: /\bDate\s*\.\s*now\b|\bnew\s+Date\b|\bperformance\s*\.|\bTemporal\s*\.\s*Now\b/g,
    problem: "finds out the time by itself",
    remedy: "take it from the Clock that was handed in",
  },
  {
    layers: LIBRARY,
    pattern: /\bMath\s*\.\s*random\b|\bgetRandomValues\b|\brandomUUID\b/g,
    problem: "rolls dice by itself",
    remedy: "take the bytes from the Entropy that was handed in",
  },
  {
    layers: LIBRARY,
    pattern: globalName(
      String.raw`set(?:Timeout|Interval|Immediate)\b|Atomics\s*\.\s*wait(?:Async)?\b`,
    ),
    problem: "waits by itself",
    remedy: "wait through platform/, so that a simulation can decide what happens meanwhile",
  },
  {
    layers: [...LIBRARY, "platform", "cli"],
    pattern: /\bnew\s+Worker\b/g,
    problem: "starts a worker by itself",
    remedy:
      `take a worker, or a function that makes one, from the user (the command has ${CLI_HOST})`,
  },
  {
    layers: [...LIBRARY, "platform"],
    pattern: /\bimport\s*\.\s*meta\b/g,
    problem: "depends on where the package lies",
    remedy: "take the path or URL from the user: a published package is an https URL",
  },
  {
    layers: [...LIBRARY, "platform"],
    pattern: globalName(String.raw`console\s*\.`),
    problem: "prints",
    remedy: "return it, report it or throw it: a library does not own the terminal",
  },
];

/** Checks every file of `sources`, which maps paths relative to the project to their text. */
export function checkLayering(sources: ReadonlyMap<string, string>): Violation[] {
  const violations: Violation[] = [];
  for (const [file, source] of sources) {
    const name = layerOf(file);
    const layer = CHECKED_LAYERS.get(name);
    if (layer === undefined) continue;
    checkImports(file, source, name, layer, violations);
    if (!isTestCode(file)) checkText(file, source, name, violations);
  }
  checkCycles(sources, violations);
  return violations;
}

/** Formats a violation as one line that an editor can jump from. */
export function formatViolation({ file, line, problem, remedy }: Violation): string {
  return `${file}:${line}: ${problem}; ${remedy}`;
}

/** Tells whether the rules have anything to say about `file`. */
export function isChecked(file: string): boolean {
  return file.endsWith(".ts") && CHECKED_LAYERS.has(layerOf(file));
}

/** A file at the root belongs to the public surface, like `mod.ts`. */
function layerOf(file: string): LayerName {
  const [folder, ...inside] = file.split("/");
  if (inside.length === 0) return "surface";
  return CHECKED_LAYERS.has(folder as LayerName) ? folder as LayerName : "tests";
}

function checkImports(
  file: string,
  source: string,
  name: LayerName,
  layer: Layer,
  violations: Violation[],
): void {
  for (const { specifier, offset } of scanImports(source)) {
    const complaint = specifier === undefined
      ? judgeComputed(file, name)
      : isRelative(specifier)
      ? judgeRelative(file, specifier, name, layer)
      : judgePackage(file, specifier, name, layer);
    if (complaint !== undefined) {
      violations.push({ file, line: lineOf(source, offset), ...complaint });
    }
  }
}

type Complaint = Pick<Violation, "problem" | "remedy">;

/** An adapter may hide a module that the other runtime does not have. Nobody else has a reason. */
function judgeComputed(file: string, name: LayerName): Complaint | undefined {
  if (name === "platform" || isTestCode(file)) return undefined;
  return {
    problem: "imports a module whose name is computed",
    remedy: "write the name out, so that tools and readers can follow it",
  };
}

function judgeRelative(
  file: string,
  specifier: string,
  name: LayerName,
  layer: Layer,
): Complaint | undefined {
  const target = layerOf(resolveImport(file, specifier));
  if (target === name || layer.below.includes(target)) return undefined;
  if (isTestCode(file) && (target === "sim" || target === "tests")) return undefined;
  if (target === "tests") {
    return {
      problem: `imports ${specifier}, which is not part of the package`,
      remedy: "nothing may import tests/ or scripts/: move what is needed next to its user",
    };
  }
  return {
    problem: `${whereOf(name)} imports ${whereOf(target)} (${specifier})`,
    remedy: layer.below.length === 0
      ? `${whereOf(name)} stands alone`
      : `${whereOf(name)} may import ${layer.below.map(whereOf).join(", ")} and itself`,
  };
}

function judgePackage(
  file: string,
  specifier: string,
  name: LayerName,
  layer: Layer,
): Complaint | undefined {
  if (/^(?:node|bun):/.test(specifier)) {
    if (name === "platform" || file === CLI_HOST || isTestCode(file)) return undefined;
    return {
      problem: `imports ${specifier}, which belongs to a runtime`,
      remedy: `let platform/ do it and hand it in (the command has ${CLI_HOST})`,
    };
  }
  if (layer.packages.includes(specifier)) return undefined;
  // A unit test has the development dependencies, but those too by the names in deno.json.
  if (isTestCode(file) && !specifier.includes(":")) return undefined;
  return {
    problem: `imports ${specifier}, which ${whereOf(name)} does not depend on`,
    remedy: "do without, or add the package to deno.json and to the layer in tests/layering.ts",
  };
}

function checkText(file: string, source: string, name: LayerName, violations: Violation[]): void {
  const code = maskSource(source);
  for (const rule of TEXT_RULES) {
    if (!rule.layers.includes(name) || file === CLI_HOST) continue;
    for (const match of code.matchAll(rule.pattern)) {
      violations.push({
        file,
        line: lineOf(source, match.index),
        problem: `${rule.problem} (${match[0].replace(/\s+/g, " ")})`,
        remedy: rule.remedy,
      });
    }
  }
}

/**
 * Reports each loop of imports once, at the import that closes it. Types alone may form one: they are
 * gone before anything is loaded.
 */
function checkCycles(sources: ReadonlyMap<string, string>, violations: Violation[]): void {
  const finished = new Set<string>();
  const trail: string[] = [];

  function visit(file: string): void {
    const source = sources.get(file);
    if (source === undefined || finished.has(file)) return;
    trail.push(file);
    for (const { specifier, offset, eager } of scanImports(source)) {
      if (!eager || specifier === undefined || !isRelative(specifier)) continue;
      const target = resolveImport(file, specifier);
      const start = trail.indexOf(target);
      if (start === -1) {
        visit(target);
        continue;
      }
      violations.push({
        file,
        line: lineOf(source, offset),
        problem: `closes a circle of imports (${[...trail.slice(start), target].join(" → ")})`,
        remedy: 'move what both need below them, or write "import type" where it is only types',
      });
    }
    trail.pop();
    finished.add(file);
  }

  for (const file of sources.keys()) visit(file);
}

function isRelative(specifier: string): boolean {
  return specifier.startsWith("./") || specifier.startsWith("../");
}

function resolveImport(file: string, specifier: string): string {
  return posix.join(posix.dirname(file), specifier);
}

function whereOf(name: LayerName): string {
  return name === "surface" ? "mod.ts" : `${name}/`;
}
