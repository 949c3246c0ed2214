import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Store, verifyJournal } from "../mod.ts";

/** Nobody's settings but these. */
const GIT_ENV = {
  ...process.env,
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_AUTHOR_NAME: "Ännchen | von = Tharau",
  GIT_AUTHOR_EMAIL: "a@example.com",
  GIT_COMMITTER_NAME: "C",
  GIT_COMMITTER_EMAIL: "c@example.com",
};

function git(cwd: string, ...args: string[]): void {
  const { status, stderr } = spawnSync("git", args, { cwd, env: GIT_ENV });
  assert.equal(status, 0, String(stderr));
}

/** A history with a merge, a rename, a removal, and names that nobody should give. */
function makeCheckout(dir: string): void {
  mkdirSync(join(dir, "src/deep"), { recursive: true });
  git(dir, "init", "-q", "-b", "main");
  const commit = (subject: string, files: Record<string, string>) => {
    for (const [path, text] of Object.entries(files)) writeFileSync(join(dir, path), text);
    git(dir, "add", "-A");
    git(dir, "commit", "-q", "--allow-empty", "-m", subject);
  };
  commit("First: \x1b[31mred", {
    "src/main.ts": "one\n".repeat(20),
    "src/a=b|c:d%20.ts": "odd",
    "src/deep/ünï çödé 日本.ts": "unicode",
    "src/...dots..ts": "dots",
  });
  commit("Change main", { "src/main.ts": "one\n".repeat(20) + "two\n" });
  git(dir, "checkout", "-q", "-b", "side");
  commit("On the side", { "src/side file.ts": "side" });
  git(dir, "checkout", "-q", "main");
  commit("Change main again", { "src/main.ts": "one\n".repeat(20) + "three\n" });
  git(dir, "merge", "-q", "--no-ff", "-m", "Merge side", "side");
  renameSync(join(dir, "src/main.ts"), join(dir, "src/renamed main.ts"));
  commit("Rename main", {});
  rmSync(join(dir, "src/...dots..ts"));
  commit("Remove dots", {});
  commit("Nothing at all", {});
}

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
  readonly elapsedMs: number;
}

async function quickstart(args: readonly string[], env: NodeJS.ProcessEnv = GIT_ENV): Promise<Ran> {
  const script = fileURLToPath(new URL("quickstart.ts", import.meta.url));
  // With the permissions of the task and no others.
  const permissions = ["--allow-read", "--allow-write", "--allow-env", "--allow-run=git"];
  const runtimeArgs = process.versions.bun === undefined
    ? ["run", "--quiet", "--no-prompt", ...permissions, script]
    : [script];
  const startMs = performance.now();
  const child = spawn(process.execPath, [...runtimeArgs, ...args], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  child.stdout!.setEncoding("utf8").on("data", (text) => out += text);
  child.stderr!.setEncoding("utf8").on("data", (text) => err += text);
  const [code] = await once(child, "close");
  return { code, out, err, elapsedMs: performance.now() - startMs };
}

async function inTempDir(action: (dir: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "batpak-quickstart-test-"));
  try {
    await action(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

test("the quickstart makes its claims about a small history with odd names, in time", async () => {
  await inTempDir(async (dir) => {
    const checkout = join(dir, "a project");
    mkdirSync(checkout);
    makeCheckout(checkout);
    const journal = join(dir, "journal");
    const { code, out, err, elapsedMs } = await quickstart(["--", "--dir", journal, checkout]);
    assert.equal(err, "");
    assert.equal(code, 0);
    assert.ok(elapsedMs < 10_000, `it took ${elapsedMs} ms`);
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(out, /\x1b/, "no colour, and nothing of a commit's message, in a pipe");
    for (
      const claim of [
        "8 commits with 9 file changes.",
        "17 events, ",
        "Nothing was written: ",
        "file:src and all below it, 9 changes.",
        "commit.made of author:Ännchen | von = Tharau, 8 events.",
        "9 file changes in 1 page.",
        "Walk the history of file:src:main.ts, newest first",
        "clock 2: modified by ",
        "clock 0: added by ",
        "19 events in 15 chains, ",
        "Genuine: ",
        "For another commit: refused, EventHashMismatch.",
        "With another signature: refused, InvalidSignature.",
        "frame: the frame's checksum does not match",
        "content: the payload does not have its content hash",
        "All 11 steps held, ",
      ]
    ) assert.ok(out.replaceAll("\n   ", " ").includes(claim), `${claim}\n${out}`);
    assert.match(out, /├─ renamed src\/main\.ts → src\/renamed main\.ts|└─ renamed/);

    assert.deepEqual(verifyJournal(journal).findings, []);
    using store = Store.openReadOnly(journal);
    const entities = new Set(store.query({ entity: "file" }).map(({ entity }) => entity));
    assert.ok(entities.has("file:src:a%3Db%7Cc%3Ad%2520.ts"));
    assert.ok(entities.has("file:src:deep:ünï çödé 日本.ts"));
    assert.ok(entities.has("file:src:%2E%2E.dots%2E.ts"));
  });
});

test("the quickstart takes a shallow clone with one commit", async () => {
  await inTempDir(async (dir) => {
    const checkout = join(dir, "project");
    mkdirSync(checkout);
    makeCheckout(checkout);
    git(dir, "clone", "-q", "--depth", "1", `file://${checkout}`, "clone");
    const { code, out, err } = await quickstart([join(dir, "clone")]);
    assert.equal(code, 0, err);
    assert.match(out, /1 commit with 4 file changes\./);
    assert.match(out, /All 11 steps held/);
  });
});

test("the quickstart takes the newest part of a long history", async () => {
  await inTempDir(async (dir) => {
    git(dir, "init", "-q", "-b", "main");
    const count = 2100;
    let stream = "";
    for (let n = 0; n < count; n++) {
      const data = `${n}`;
      stream += `commit refs/heads/main\ncommitter C <c@example.com> ${n} +0000\n` +
        `data ${data.length}\n${data}\nM 100644 inline file${
          n % 7
        }\ndata ${data.length}\n${data}\n`;
    }
    const { status } = spawnSync("git", ["fast-import", "--quiet"], { cwd: dir, input: stream });
    assert.equal(status, 0);
    const { code, out, err, elapsedMs } = await quickstart([dir]);
    assert.equal(code, 0, err);
    assert.match(out, /the newest 2,000 commits with 2,000 file changes/);
    assert.ok(elapsedMs < 10_000, `it took ${elapsedMs} ms`);
  });
});

test("the quickstart says what to do where there is no history", async () => {
  await inTempDir(async (dir) => {
    const nowhere = await quickstart([dir], { ...GIT_ENV, GIT_CEILING_DIRECTORIES: tmpdir() });
    assert.equal(nowhere.code, 1);
    assert.match(nowhere.err, /Cannot read a history in .*not a git repository.*-- PATH/);

    git(dir, "init", "-q");
    const empty = await quickstart([dir]);
    assert.equal(empty.code, 1);
    assert.match(empty.err, /it has no commit yet; make one first/);

    const absent = await quickstart([join(dir, "absent")]);
    assert.equal(absent.code, 1);
    assert.match(absent.err, /-- PATH/);

    const gitless = await quickstart([dir], { ...GIT_ENV, PATH: dir });
    assert.equal(gitless.code, 1);
    assert.match(gitless.err, /Cannot run git: it is not installed/);
  });
});

test("the quickstart refuses a wrong command line, and a folder that is not empty", async () => {
  await inTempDir(async (dir) => {
    for (const args of [["--frob"], ["one", "two"]]) assert.equal((await quickstart(args)).code, 2);
    writeFileSync(join(dir, "something"), "");
    const { code, err } = await quickstart(["--dir", dir]);
    assert.equal(code, 2);
    assert.match(err, /it is not empty; name a new folder/);
    assert.deepEqual(readdirSync(dir), ["something"]);
  });
});
