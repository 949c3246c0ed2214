import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { projectFiles } from "../scripts/project_files.ts";
import { checkLayering, formatViolation, isChecked } from "./layering.ts";
import { lineOf, maskSource, scanImports } from "./source_scan.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

test("the package keeps its layers", () => {
  const sources = new Map<string, string>();
  for (const file of projectFiles(ROOT)) {
    if (isChecked(file)) sources.set(file, readFileSync(join(ROOT, file), "utf8"));
  }
  assert.notEqual(sources.size, 0, "there is something to check");
  const found = checkLayering(sources).map(formatViolation);
  assert.equal(found.length, 0, `the layers are broken:\n${found.join("\n")}\n`);
});

/** Checks one planted file, and gives back the lines that would be reported. */
function plant(file: string, source: string): string[] {
  return checkLayering(new Map([[file, source]])).map(formatViolation);
}

/** Each of these breaks a rule on its first line, and `problem` is what the report says about it. */
const PLANTED: ReadonlyArray<{ file: string; source: string; problem: string }> = [
  {
    file: "store/journal.ts",
    source: `import { Cursor } from "../delivery/cursor.ts";`,
    problem: "store/ imports delivery/ (../delivery/cursor.ts)",
  },
  {
    file: "store/journal.ts",
    source: `import type { Cursor } from "../delivery/cursor.ts";`,
    problem: "store/ imports delivery/ (../delivery/cursor.ts)",
  },
  {
    file: "delivery/cursor.ts",
    source: `export * from "../mod.ts";`,
    problem: "delivery/ imports mod.ts (../mod.ts)",
  },
  {
    file: "platform/memory.ts",
    source: `export { FRAME_HEADER_SIZE } from "../store/frame.ts";`,
    problem: "platform/ imports store/ (../store/frame.ts)",
  },
  {
    file: "cli/verify.ts",
    source: `import "../store/store.ts";`,
    problem: "cli/ imports store/ (../store/store.ts)",
  },
  {
    file: "sim/world.ts",
    source: `const cli = await import("../cli/main.ts");`,
    problem: "sim/ imports cli/ (../cli/main.ts)",
  },
  {
    file: "store/store_test.ts",
    source: `import { Cursor } from "../delivery/cursor.ts";`,
    problem: "store/ imports delivery/ (../delivery/cursor.ts)",
  },
  {
    file: "store/journal.ts",
    source: `import { temporary } from "../tests/temporary.ts";`,
    problem: "imports ../tests/temporary.ts, which is not part of the package",
  },
  {
    file: "mod.ts",
    source: `import { findBun } from "./scripts/bun.ts";`,
    problem: "imports ./scripts/bun.ts, which is not part of the package",
  },
  {
    file: "store/checksum.ts",
    source: `import { crc32 } from "node:zlib";`,
    problem: "imports node:zlib, which belongs to a runtime",
  },
  {
    file: "cli/verify.ts",
    source: `import { dlopen } from "bun:ffi";`,
    problem: "imports bun:ffi, which belongs to a runtime",
  },
  {
    file: "store/journal.ts",
    source: `import fc from "fast-check";`,
    problem: "imports fast-check, which store/ does not depend on",
  },
  {
    file: "store/journal_test.ts",
    source: `import fc from "npm:fast-check@4.10.2";`,
    problem: "imports npm:fast-check@4.10.2, which store/ does not depend on",
  },
  {
    file: "delivery/loader.ts",
    source: "const module = await import(name);",
    problem: "imports a module whose name is computed",
  },
  {
    file: "store/journal.ts",
    source: `const file = Deno.openSync("x");`,
    problem: "names a runtime (Deno)",
  },
  {
    file: "sim/world.ts",
    source: `if (typeof globalThis.Bun === "object") stop();`,
    problem: "names a runtime (globalThis.Bun)",
  },
  {
    file: "cli/main.ts",
    source: `const color = process.env.NO_COLOR === undefined;`,
    problem: "names a runtime (process.)",
  },
  {
    file: "store/journal.ts",
    source: "const nowUs = Date.now() * 1000;",
    problem: "finds out the time by itself (Date.now)",
  },
  {
    file: "mod.ts",
    source: "const today = new Date();",
    problem: "finds out the time by itself (new Date)",
  },
  {
    file: "delivery/cursor.ts",
    source: "const startMs = performance.now();",
    problem: "finds out the time by itself (performance.)",
  },
  {
    file: "store/journal.ts",
    source: "const jitter = Math.random();",
    problem: "rolls dice by itself (Math.random)",
  },
  {
    file: "store/journal.ts",
    source: "crypto.getRandomValues(bytes);",
    problem: "rolls dice by itself (getRandomValues)",
  },
  {
    file: "sim/world.ts",
    source: "const id = crypto.randomUUID();",
    problem: "rolls dice by itself (randomUUID)",
  },
  {
    file: "delivery/cursor.ts",
    source: "setTimeout(poll, 10);",
    problem: "waits by itself (setTimeout)",
  },
  {
    file: "delivery/cursor.ts",
    source: "globalThis.setInterval(poll, 10);",
    problem: "waits by itself (globalThis.setInterval)",
  },
  {
    file: "store/client.ts",
    source: "Atomics.wait(flags, 0, 0);",
    problem: "waits by itself (Atomics.wait)",
  },
  {
    file: "delivery/pool.ts",
    source: "const worker = new Worker(url);",
    problem: "starts a worker by itself (new Worker)",
  },
  {
    file: "cli/worker.ts",
    source: "const worker = new Worker(url);",
    problem: "starts a worker by itself (new Worker)",
  },
  {
    file: "platform/deno.ts",
    source: `const url = new URL("./worker.ts", import.meta.url);`,
    problem: "depends on where the package lies (import.meta)",
  },
  {
    file: "store/journal.ts",
    source: "console.log(frame);",
    problem: "prints (console.)",
  },
  {
    file: "store/journal.ts",
    source: "const text = `now ${`it is ${Date.now()}`} o'clock`;",
    problem: "finds out the time by itself (Date.now)",
  },
];

for (const { file, source, problem } of PLANTED) {
  test(`checkLayering() reports ${file}: ${source}`, () => {
    const found = plant(file, source);
    assert.equal(found.length, 1, found.join("\n"));
    assert.ok(found[0].startsWith(`${file}:1: ${problem}; `), found[0]);
  });
}

test("checkLayering() says where, what and what to do", () => {
  const source =
    `/** Opens a journal. */\nimport { a } from "./a.ts";\n\nconst now = Date.now();\n`;
  assert.deepEqual(plant("store/journal.ts", source), [
    "store/journal.ts:4: finds out the time by itself (Date.now); " +
    "take it from the Clock that was handed in",
  ]);
});

test("checkLayering() leaves alone what is allowed", () => {
  const sources = new Map([
    ["mod.ts", `export { Store } from "./store/store.ts";\nexport * from "./delivery/cursor.ts";`],
    ["cli/main.ts", `import { Store } from "../mod.ts";\nimport { write } from "./host.ts";`],
    ["cli/host.ts", `import { stdout } from "node:process";\nconst args = Deno.args;`],
    ["delivery/cursor.ts", `import { Store } from "../store/store.ts";`],
    ["store/store.ts", `import { blake3 } from "hash-wasm";\nimport "../platform/fs.ts";`],
    [
      "store/store_test.ts",
      `import fc from "fast-check";\nimport { World } from "../sim/world.ts";`,
    ],
    ["platform/bun.ts", `const ffi = await import(name);\nsetTimeout(poll, Date.now());`],
    ["sim/world.ts", `import { Store } from "../mod.ts";`],
    ["tests/promise_test.ts", `import "../store/store.ts";\nDeno.exit(Date.now());`],
    ["scripts/bench.ts", `import "../delivery/cursor.ts";\nconst startMs = performance.now();`],
  ]);
  assert.deepEqual(checkLayering(sources).map(formatViolation), []);
});

test("checkLayering() ignores comments, strings, templates and regular expressions", () => {
  const source = [
    "// Date.now() would tie us to this machine",
    "/* new Worker(url) */ const a = 1 / 2; // setTimeout",
    "/**",
    " * ```ts",
    ` * import { x } from "../delivery/x.ts"; Deno.exit();`,
    " * ```",
    " */",
    `const b = "Date.now() // not a comment"; const c = 'it\\'s Math.random()';`,
    "const d = `console.log ${b} Bun.file`; const e = /process\\.[/*]/.test(b);",
    "clock.setTimeout(a); this.#console.log(b); report.process.count;",
  ].join("\n");
  assert.deepEqual(plant("store/journal.ts", source), []);
});

test("checkLayering() reports a circle of imports once, and lets types close one", () => {
  const circle = checkLayering(
    new Map([
      ["store/a.ts", `import { b } from "./b.ts";`],
      ["store/b.ts", `import { c } from "./c.ts";`],
      ["store/c.ts", `\nexport { a } from "./a.ts";`],
    ]),
  );
  assert.deepEqual(circle.map(({ file, line, problem }) => [file, line, problem]), [[
    "store/c.ts",
    2,
    "closes a circle of imports (store/a.ts → store/b.ts → store/c.ts → store/a.ts)",
  ]]);
  const ofTypes = checkLayering(
    new Map([
      ["store/a.ts", `import { b } from "./b.ts";`],
      ["store/b.ts", `import type { A } from "./a.ts";`],
    ]),
  );
  assert.deepEqual(ofTypes, []);
});

test("scanImports() finds every way to import", () => {
  const source = [
    `import a from "./1.ts";`,
    `import b, { type B, c as d } from './2.ts';`,
    `import * as e from "./3.ts";`,
    `import {\n  f,\n  g,\n} from "./4.ts";`,
    `import type { H } from "./5.ts";`,
    `export * from "./6.ts";`,
    `export * as i from "./7.ts";`,
    `export type { J } from "./8.ts";`,
    `import "./9.ts";`,
    `const k = await import("./10.ts");`,
    `type L = typeof import("./11.ts");`,
    `import json from "./12.json" with { type: "json" };`,
    `import type M from "./13.ts";`,
    `import type, { N } from "./14.ts";`,
  ].join("\n");
  const byOffset = scanImports(source).sort((a, b) => a.offset - b.offset);
  assert.deepEqual(
    byOffset.map(({ specifier, eager }) => [specifier, eager]),
    [
      ["./1.ts", true],
      ["./2.ts", true],
      ["./3.ts", true],
      ["./4.ts", true],
      ["./5.ts", false],
      ["./6.ts", true],
      ["./7.ts", true],
      ["./8.ts", false],
      ["./9.ts", true],
      ["./10.ts", false],
      ["./11.ts", false],
      ["./12.json", true],
      ["./13.ts", false],
      ["./14.ts", true],
    ],
  );
});

test("scanImports() is not taken in by exports that import nothing", () => {
  const source = [
    `export interface Range {\n  from: "start";\n}`,
    `export type { Range as R };`,
    `export const from = "x";`,
    `export function read(from: "x") {}`,
    `const text = 'import a from "./b.ts"';`,
  ].join("\n");
  assert.deepEqual(scanImports(source), []);
});

test("maskSource() tells a division from a regular expression", () => {
  const source = "a = i++ / 2 / b.of / c[0] / 'd'; return /e'/.test(f) || !/[/g]'/u;";
  const masked = "a = i++ / 2 / b.of / c[0] / ' '; return /  /.test(f) || !/     /u;";
  assert.equal(maskSource(source), masked);
});

test("maskSource() keeps the length and the lines of the source", () => {
  const source = "a /* b\nc */ `d ${ e + '}' } f`; // g\nh = i / j / k;\n";
  const masked = "a     \n     `  ${ e + ' ' }  `;     \nh = i / j / k;\n";
  assert.equal(maskSource(source), masked);
  assert.equal(lineOf(source, source.indexOf("h")), 3);
});
