import assert from "node:assert/strict";
import { test } from "node:test";
import config from "../deno.json" with { type: "json" };
import { Store } from "../mod.ts";
import { inTempDir, parseLines, runHere, runProcess, startProcess } from "../tests/command.ts";
import { OutputClosedError } from "./host.ts";
import { VERSION } from "./version.ts";

const COMMANDS = [
  "append",
  "import",
  "get",
  "query",
  "walk",
  "tail",
  "worker",
  "cursors",
  "verify",
  "repair",
  "stats",
];

test("batpak --version prints the version of the package", async () => {
  assert.equal(VERSION, config.version);
  assert.deepEqual(await runHere(["--version"]), { code: 0, out: `${VERSION}\n`, err: "" });
});

test("batpak --help names every command and every exit code", async () => {
  const { code, out, err } = await runHere(["--help"]);
  assert.equal(code, 0);
  assert.equal(err, "");
  for (const name of COMMANDS) assert.match(out, new RegExp(`^  ${name}\\b`, "m"));
  assert.match(
    out,
    /0 fine, 1 failure, 2 usage, 3 damage found, 4 conflict, 5 locked by another writer or\nconsumer, 130 interrupted/,
  );
});

test("batpak help prints the help, of a command too, and exits with 0", async () => {
  assert.deepEqual(await runHere(["help"]), await runHere(["--help"]));
  for (const name of COMMANDS) {
    const ran = await runHere(["help", name]);
    assert.deepEqual(ran, await runHere([name, "--help"]));
    assert.equal(ran.code, 0);
  }
  assert.equal((await runHere(["help", "frobnicate"])).code, 2);
});

test("every command has its own --help, and knows --json", async () => {
  for (const name of COMMANDS) {
    const { code, out } = await runHere([name, "--help"]);
    assert.equal(code, 0);
    assert.match(out, new RegExp(`^Usage: batpak ${name} `));
    assert.match(out, /--json/);
  }
});

test("a wrong command line exits with 2, names the flag, and touches nothing", async () => {
  await inTempDir(async (dir) => {
    const journal = `${dir}/journal`;
    const event = ["append", journal, "--entity", "e", "--scope", "s"];
    const cases: [readonly string[], RegExp][] = [
      [[], /name a command/],
      [["frobnicate", journal], /unknown command 'frobnicate'/],
      [["stats"], /missing required argument 'dir'/],
      [["stats", journal, "extra"], /too many arguments/],
      [["stats", journal, "--frob"], /unknown option '--frob'/],
      [["query", journal, "--entit", "x"], /unknown option '--entit' \(Did you mean --entity\?\)/],
      [["append", journal, "--scope", "s", "1"], /'--entity <entity>' not specified/],
      [["append", journal, "--entity", "a/b", "--scope", "s", "1"], /'--entity .* contains "\/"/],
      [["append", journal, "--entity", "e", "--scope", "", "1"], /'--scope .* scope is empty/],
      [[...event, "--kind", "0:001", "1"], /'--kind .* reserved/],
      [[...event, "--kind", "F001", "1"], /'--kind .* write "F:001" or "0xF001"/],
      [[...event, "--expect", "-1", "1"], /'--expect .*"none"/],
      [[...event, "--lane", "4294967296", "1"], /'--lane .* 0 to 4294967295/],
      [[...event, "--tag", "", "1"], /'--tag .* empty/],
      [[...event, "--causation", "x", "1"], /'--causation .* UUID/],
      [[...event, "--key", "", "1"], /empty idempotency key/],
      [[...event, "{total: 1}"], /payload as JSON: .*; in a shell, quote it/],
      [[...event, '{"$bytes": "%"}'], /stands for no value/],
      [["get", journal, "x"], /argument 'id'.* UUID/],
      [["query", journal, "--kind", "F:001", "--category", "F"], /cannot be used with/],
      [["query", journal, "--category", "G"], /'--category .* hexadecimal digit/],
      [["query", journal, "--entity", ""], /'--entity <prefix>' .* is empty/],
      [["query", journal, "--limit", "many"], /'--limit .* whole number/],
      [["walk", journal, "x", "--causes", "--effects"], /UUID|cannot be used with/],
      [["tail", journal, "-n", "x"], /'-n, --lines .* whole number/],
    ];
    for (const [args, message] of cases) {
      const text = await runHere(args);
      if (args.includes("--key")) Store.open(journal).close();
      assert.equal(text.code, 2, `${args.join(" ")}: ${text.err}`);
      assert.equal(text.out, "");
      assert.match(text.err, message);
      assert.match(text.err, /^Run "batpak.* --help" for what it takes$/m);

      const json = await runHere([...args, "--json"]);
      assert.equal(json.code, 2);
      if (args.length === 0) continue;
      const [{ error }] = parseLines(json.err) as [{ error: { code: string; message: string } }];
      assert.match(error.code, /^(?:USAGE|ID)$/);
      assert.match(error.message, message);
    }
  });
});

test("reading commands fail with 1 where there is no journal, and make no directory", async () => {
  await inTempDir(async (dir) => {
    const id = "0196f3b2-8c00-7abc-8def-0123456789ab";
    for (const place of [`${dir}/absent`, dir]) {
      for (const args of [["get", place, id], ["walk", place, id]]) {
        await assertNoJournal(args);
      }
      for (const name of ["query", "tail", "verify", "stats"]) await assertNoJournal([name, place]);
    }
  });
  async function assertNoJournal(args: string[]): Promise<void> {
    const text = await runHere(args);
    assert.equal(text.code, 1, text.err);
    assert.match(text.err, /Cannot read a journal in ".*": the directory/);
    const json = await runHere([...args, "--json"]);
    const [{ error }] = parseLines(json.err) as [{ error: { code: string; dir: string } }];
    assert.equal(error.code, "NO_JOURNAL");
    assert.equal(error.dir, args[1]);
  }
});

test("a closed standard output ends a command quietly", async () => {
  await inTempDir(async (dir) => {
    await runHere(["append", dir, "--entity", "e", "--scope", "s", "1"]);
    const writeOut = () => {
      throw new OutputClosedError("closed");
    };
    assert.deepEqual(await runHere(["query", dir], { host: { writeOut } }), {
      code: 0,
      out: "",
      err: "",
    });
  });
});

test("a reader that stops reading, as head does, ends a real command quietly", async () => {
  await inTempDir(async (dir) => {
    {
      using store = Store.open(dir);
      for (let n = 0; n < 40; n++) {
        const items = Array.from({ length: 100 }, () => ({
          entity: "e",
          scope: "s",
          kind: 0x1000 as never,
          payload: "x".repeat(100),
        }));
        store.appendBatch(items);
      }
    }
    const running = startProcess(["query", dir]);
    await new Promise((resolve) => running.child.stdout.once("data", resolve));
    running.child.stdout.destroy();
    const { code, err } = await running.ended;
    assert.deepEqual({ code, err }, { code: 0, err: "" });
  });
});

test("the command needs no permission beyond reading, writing and the environment", async () => {
  await inTempDir(async (dir) => {
    const ran = await runProcess(["append", dir, "--entity", "e", "--scope", "s", "--json", "1"]);
    assert.equal(ran.code, 0, ran.err);
    assert.equal(JSON.parse(ran.out).globalSequence, 1);
    assert.equal((await runProcess(["verify", dir])).code, 0);
  });
});

test("a second writer exits with 5 while the first one lives", async () => {
  await inTempDir(async (dir) => {
    const holder = startProcess(["import", dir]);
    // A journal is begun by the first group of lines, and 256 of them are one.
    const line = '{"entity":"e","scope":"s","payload":1}\n';
    holder.child.stdin.write(line.repeat(256));
    await holder.until(({ err }) => err.includes("began a new journal"));
    const args = ["append", dir, "--entity", "e", "--scope", "s", "1"];
    const text = await runProcess(args);
    assert.equal(text.code, 5);
    assert.match(text.err, /another process, .* is writing there\. Wait .* or read beside it/);
    const json = await runProcess([...args, "--json"]);
    assert.equal(json.code, 5);
    assert.equal(JSON.parse(json.err).error.code, "STORE_LOCKED");
    // Reading goes on beside it.
    assert.equal((await runProcess(["stats", dir])).code, 0);

    holder.child.stdin.end(line);
    assert.equal((await holder.ended).code, 0);
    assert.equal((await runProcess(args)).code, 0);
  });
});
