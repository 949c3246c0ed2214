import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, realpathSync, renameSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { loadCheckpoint } from "../mod.ts";
import { findBun } from "../platform/testdata/processes.ts";
import { inTempDir, parseLines, type Ran, runProcess } from "../tests/command.ts";
import {
  checkDenort,
  type CompilePlan,
  compilerArgs,
  explainDenoFailure,
  isTheCommand,
  planOf,
} from "./compile_plan.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const COMMAND = fileURLToPath(new URL("../cli/main.ts", import.meta.url));
/** By path: Bun bundles a path, and not a URL. */
const WORKER_MODULE = fileURLToPath(new URL("../delivery/worker.ts", import.meta.url));
const MAIN_MODULE = fileURLToPath(new URL("../mod.ts", import.meta.url));

const PLAN: CompilePlan = {
  runtime: "deno",
  entry: "/app/main.ts",
  isCommand: false,
  workers: ["/app/mailer.ts", "/app/store.ts"],
  out: "/app/main",
  target: undefined,
  extra: [],
};

/** The Bun that runs us, or the installed one. */
function bunHere(): string {
  const bun = process.versions.bun === undefined ? findBun() : process.execPath;
  assert.ok(bun !== undefined, "Bun is a development dependency");
  return bun;
}

/** Runs a program in a folder, without anything on standard input. */
async function runIn(
  cwd: string,
  [program, ...args]: readonly string[],
  env: Record<string, string> = {},
): Promise<Ran> {
  const child = spawn(program, args, { cwd, env: { ...process.env, ...env } });
  child.stdin.end();
  const said = { out: "", err: "" };
  child.stdout.setEncoding("utf8").on("data", (text) => said.out += text);
  child.stderr.setEncoding("utf8").on("data", (text) => said.err += text);
  const [code] = await once(child, "close");
  return { code, ...said };
}

test("planOf() builds the command when nothing is said, into the folder one is in", () => {
  assert.deepEqual(planOf([], { cwd: "/somewhere", root: ROOT }), {
    runtime: "deno",
    entry: COMMAND,
    isCommand: true,
    workers: [],
    out: "/somewhere/batpak",
    target: undefined,
    extra: [],
  });
});

test("planOf() takes a program, its workers, and flags for the compiler behind --", () =>
  inTempDir((dir) => {
    for (const name of ["shop.ts", "mailer.ts", "owner.ts"]) writeFileSync(`${dir}/${name}`, "");
    const workers = ["--worker", "mailer.ts", "--worker", `${dir}/owner.ts`];
    const flags = ["--runtime", "bun", "--target", "bun-linux-arm64"];
    const args = ["shop.ts", ...workers, ...flags, "--", "--minify", "--out"];
    assert.deepEqual(planOf(args, { cwd: dir, root: ROOT }), {
      runtime: "bun",
      entry: `${dir}/shop.ts`,
      isCommand: false,
      workers: [`${dir}/mailer.ts`, `${dir}/owner.ts`],
      out: `${dir}/shop`,
      target: "bun-linux-arm64",
      extra: ["--minify", "--out"],
    });
    const places = { cwd: dir, root: ROOT };
    assert.equal(planOf(["shop.ts", "--out", "bin/app"], places).out, `${dir}/bin/app`);
    const wrong: [string[], RegExp][] = [
      [["--runtime", "node"], /^Error: Cannot build for "node": the runtimes are deno and bun$/],
      [["shop.ts", "mailer.ts"], /more than one program: name workers with --worker/],
      [["nothing.ts"], /Cannot build from ".*nothing\.ts": there is no such file/],
      [["shop.ts", "--worker", "x.ts"], /Cannot build from ".*x\.ts": there is no such file/],
      [["--what"], /--what/],
    ];
    for (const [line, message] of wrong) assert.throws(() => planOf(line, places), message);
  }));

test("compilerArgs() tells Deno of every worker, and keeps development tools out", () => {
  assert.deepEqual(compilerArgs({ ...PLAN, target: "aarch64-apple-darwin" }), [
    "compile",
    "--quiet",
    "--node-modules-dir=none",
    "--exclude-unused-npm",
    "--no-check",
    "--no-prompt",
    "--allow-read",
    "--allow-write",
    "--allow-env",
    "--include",
    "/app/mailer.ts",
    "--include",
    "/app/store.ts",
    "--target",
    "aarch64-apple-darwin",
    "--output",
    "/app/main",
    "/app/main.ts",
  ]);
});

test("compilerArgs() gives Deno the permissions that are asked for instead of its own", () => {
  for (const flag of ["--allow-net", "-A", "--allow-all", "--deny-read=/etc", "--allow-read=."]) {
    const args = compilerArgs({ ...PLAN, extra: [flag] });
    assert.deepEqual(args.filter((arg) => /^(?:-A|--allow|--deny)/.test(arg)), [flag]);
  }
  const icon = compilerArgs({ ...PLAN, extra: ["--no-terminal"] });
  assert.ok(icon.includes("--allow-read") && icon.includes("--no-terminal"));
});

test("compilerArgs() gives Bun the workers as entry points", () => {
  const plan: CompilePlan = { ...PLAN, runtime: "bun", extra: ["--minify"] };
  assert.deepEqual(compilerArgs(plan), [
    "build",
    "--compile",
    "--outfile=/app/main",
    "--minify",
    "/app/main.ts",
    "/app/mailer.ts",
    "/app/store.ts",
  ]);
  assert.deepEqual(
    compilerArgs({ ...plan, isCommand: true, target: "bun-darwin-x64" }).slice(2, 7),
    [
      "--target=bun-darwin-x64",
      "--compile-autoload-package-json",
      "--no-compile-autoload-dotenv",
      "--no-compile-autoload-bunfig",
      "--outfile=/app/main",
    ],
  );
});

test("a base binary that cannot be had is explained with what to do", () => {
  const url = "https://dl.deno.land/release/v2.9.6/denort-x86_64-unknown-linux-gnu.zip";
  const output =
    `Caused by:\n    1: error sending request for url (${url}): client error (Connect)`;
  assert.equal(
    explainDenoFailure(output, undefined),
    `Cannot get the base binary that Deno puts a program into: ${url} cannot be downloaded. Download it ` +
      'where that works, unpack it, and set DENORT_BIN to the path of "denort"; or use --runtime bun',
  );
  assert.equal(
    explainDenoFailure("    1: Invalid object: Not an ELF file", "/tools/denort"),
    'Cannot build with DENORT_BIN="/tools/denort": it has to be "denort" of the same version as Deno, ' +
      "for the system that is built for",
  );
  assert.equal(
    explainDenoFailure("error: Module not found", undefined),
    "Cannot build: what Deno said stands above",
  );
});

test("checkDenort() refuses what is no file, before anything is built", () =>
  inTempDir((dir) => {
    writeFileSync(`${dir}/denort`, "a stand-in");
    checkDenort(undefined);
    checkDenort(`${dir}/denort`);
    for (const path of [`${dir}/nothing`, dir, ""]) {
      assert.throws(() => checkDenort(path), {
        message:
          `Cannot use DENORT_BIN="${path}": there is no such file. It has to be the path of an ` +
          'unpacked "denort", or not be set',
      });
    }
    assert.ok(isTheCommand("0.1.0\n"));
    assert.ok(!isTheCommand("deno 2.9.6 (stable)"));
  }));

test(
  "deno compile with a stand-in for the base binary: it is used, and what is wrong with it is explained",
  { skip: process.versions.deno === undefined && "needs Deno itself, which Bun does not bring" },
  () =>
    inTempDir(async (dir) => {
      const script = fileURLToPath(new URL("compile.ts", import.meta.url));
      const flags = ["--allow-read", "--allow-write", "--allow-env", "--allow-run"];
      const compile = [process.execPath, "run", "--quiet", "--no-prompt", ...flags, script];
      const env = { INIT_CWD: dir, DENORT_BIN: `${dir}/denort` };
      const missing = await runIn(dir, compile, env);
      assert.equal(missing.code, 1);
      assert.match(missing.err, /^Cannot use DENORT_BIN=".*denort": there is no such file/);
      writeFileSync(`${dir}/denort`, "a stand-in, and no program");
      const used = await runIn(dir, compile, env);
      assert.equal(used.code, 1);
      assert.match(used.err, /^Cannot build with DENORT_BIN=".*denort": it has to be "denort"/m);
      // Deno itself is a program, and puts up with anything behind its end; but it is not ours.
      const taken = await runIn(dir, compile, { ...env, DENORT_BIN: process.execPath });
      assert.equal(taken.code, 1, taken.out);
      assert.match(taken.err, /^Cannot build with DENORT_BIN="/m);
      assert.ok(!existsSync(`${dir}/batpak`));
    }),
);

test(
  "the command as an executable of Bun appends, queries, verifies and runs a worker outside of the project",
  () =>
    inTempDir(async (temp) => {
      const dir = realpathSync(temp);
      const plan = planOf(["--runtime", "bun", "--out", "bin"], { cwd: dir, root: ROOT });
      const built = await runIn(dir, [bunHere(), ...compilerArgs(plan)]);
      assert.equal(built.code, 0, built.err);
      const bin = [`${dir}/bin`];
      const journal = `${dir}/journal`;
      const place = ["--entity", "order:1", "--scope", "shop"];
      const appended = await runProcess(
        ["append", journal, ...place, '{"n":1}', "--json"],
        "",
        bin,
      );
      assert.equal(appended.code, 0, appended.err);
      const queried = await runProcess(["query", journal], undefined, bin);
      assert.equal(queried.code, 0, queried.err);
      assert.deepEqual(parseLines(queried.out).map(({ payload }) => payload), [{ n: 1 }]);
      const verified = await runProcess(["verify", journal], undefined, bin);
      assert.equal(verified.code, 0, verified.err);
      assert.match(verified.out, /^Intact: 3 events /);

      // A file that was not there when it was built, and that imports others.
      writeFileSync(`${dir}/words.ts`, 'export const greeting: string = "handled";\n');
      writeFileSync(
        `${dir}/handler.ts`,
        `import { serveCursorWorker } from ${JSON.stringify(WORKER_MODULE)};
import { greeting } from "./words.ts";
serveCursorWorker((batch) => {
  console.log(greeting, batch.map(({ entity }): string => entity).join());
  return "continue";
});
`,
      );
      const args = ["--module", `${dir}/handler.ts`, "--checkpoint", "m", "--entity", "order"];
      const worked = await runProcess(["worker", journal, ...args, "--once"], undefined, bin);
      assert.equal(worked.code, 0, worked.err);
      assert.equal(worked.out, "handled order:1\n");
      assert.equal(loadCheckpoint(journal, "m")?.position, 1);
    }),
);

test("a program as an executable of Bun finds the worker that went in with it", () =>
  inTempDir(async (temp) => {
    const dir = realpathSync(temp);
    mkdirSync(`${dir}/source/workers`, { recursive: true });
    writeFileSync(
      `${dir}/source/main.ts`,
      `import { EventKind, startCursorWorker, Store } from ${JSON.stringify(MAIN_MODULE)};
using store = Store.open(process.argv[2]);
store.append({ entity: "order:1", scope: "shop" }, EventKind.DATA, { n: 1 });
const worker = startCursorWorker(store, { entity: "order" }, {
  checkpointId: "m",
  worker: () => new Worker(new URL("./workers/handler.ts", import.meta.url), { type: "module" }),
});
await worker.join();
console.log("committed", worker.status.committed);
`,
    );
    writeFileSync(
      `${dir}/source/workers/handler.ts`,
      `import { serveCursorWorker } from ${JSON.stringify(WORKER_MODULE)};
serveCursorWorker((batch) => {
  console.log("handled", batch[0].payload);
  return "stop";
});
`,
    );
    const args = ["source/main.ts", "--worker", "source/workers/handler.ts", "--runtime", "bun"];
    const plan = planOf(args, { cwd: dir, root: ROOT });
    const built = await runIn(dir, [bunHere(), ...compilerArgs(plan)]);
    assert.equal(built.code, 0, built.err);
    // Nothing of the source is needed any more.
    renameSync(`${dir}/source`, `${dir}/gone`);
    assert.ok(!existsSync(`${dir}/source`));
    const ran = await runProcess([`${dir}/journal`], undefined, [plan.out]);
    assert.equal(ran.code, 0, ran.err);
    assert.equal(ran.out, "handled {\n  n: 1,\n}\ncommitted 1\n");
  }));
