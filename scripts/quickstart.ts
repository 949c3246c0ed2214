/**
 * `deno task quickstart`: a first journal, filled with the history of a git checkout, and everything a
 * journal is good for, step by step. Each step says what it does, shows what came of it, and how long
 * it took; each claim it makes is checked, and one that does not hold ends it with exit code 1.
 *
 * ```sh
 * deno task quickstart                      # the history of this project
 * deno task quickstart -- ../elsewhere      # of another checkout
 * deno task quickstart -- --dir ./journal   # keep the journal
 * ```
 *
 * It runs on Bun too: `bun scripts/quickstart.ts`.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  CorruptionError,
  type Finding,
  Receipt,
  SigningKey,
  Store,
  type StoredEvent,
  verifyJournal,
  verifyReceipt,
} from "../mod.ts";
import { drawCausalTree, fit } from "./causal_tree.ts";
import {
  appendHistory,
  authorTag,
  type CommitMade,
  commitMade,
  fileChanged,
  HISTORY_OPTIONS,
} from "./commit_journal.ts";
import { GitError, type GitHistory, readHistory } from "./git_history.ts";
import { flipByte, repairChecksum, segmentFile } from "./tamper.ts";

const USAGE = "Usage: deno task quickstart [-- [--dir <new folder>] [<git checkout>]]";
/** Enough to be real and few enough to be quick. */
const LIMITS = { commits: 2000, files: 50_000 };
const PAGE_SIZE = 100;

/** Says what happens. */
class Narrator {
  readonly #startMs = performance.now();
  readonly #isPlain = process.stdout.isTTY !== true || process.env.NO_COLOR !== undefined;
  readonly width: number = Math.min(100, process.stdout.columns || 80);
  #steps = 0;

  title(text: string): void {
    console.log(this.#style("1", text));
  }

  /** A step: its title, what it says while it runs, and how long it took. */
  step<T>(title: string, run: () => T): T {
    console.log(`\n${this.#style("1", `${++this.#steps}. ${title}`)}`);
    const startMs = performance.now();
    const result = run();
    const elapsedMs = performance.now() - startMs;
    console.log(this.#style("2", `   (${elapsedMs.toFixed(elapsedMs < 10 ? 1 : 0)} ms)`));
    return result;
  }

  /** A sentence or two, on as many lines as they take. */
  say(text: string): void {
    let line = "";
    for (const word of text.split(" ")) {
      if (line !== "" && line.length + 1 + word.length > this.width - 3) {
        this.show(line);
        line = word;
      } else {
        line = line === "" ? word : `${line} ${word}`;
      }
    }
    this.show(line);
  }

  /** A line of a list or a picture, cut where the terminal ends. */
  show(text: string): void {
    console.log(`   ${fit(text, this.width - 3)}`);
  }

  end(text: string): void {
    const seconds = ((performance.now() - this.#startMs) / 1000).toFixed(1);
    console.log(`\n${this.#style("1", `All ${this.#steps} steps held, in ${seconds} s.`)} ${text}`);
  }

  #style(code: string, text: string): string {
    return this.#isPlain ? text : `\x1b[${code}m${text}\x1b[0m`;
  }
}

function main(args: readonly string[]): number {
  const options = parseOptions(args);
  if (options === "help") {
    console.log(USAGE);
    return 0;
  }
  if (options === undefined) return 2;
  const scratch = mkdtempSync(join(tmpdir(), "batpak-quickstart-"));
  try {
    run(options.checkout, options.dir ?? join(scratch, "journal"), scratch);
    if (options.dir !== undefined) console.log(`The journal is in ${options.dir}.`);
    return 0;
  } catch (error) {
    if (error instanceof GitError) console.error(`\n${error.message}`);
    else if (error instanceof assert.AssertionError) {
      console.error(`\nThis did not hold: ${error.message}`);
    } else throw error;
    return 1;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function parseOptions(
  args: readonly string[],
): { checkout: string; dir?: string } | "help" | undefined {
  try {
    const { values, positionals } = parseArgs({
      // The task hands over the "--" that separates its own arguments.
      args: args[0] === "--" ? args.slice(1) : [...args],
      options: { dir: { type: "string" }, help: { type: "boolean", short: "h" } },
      allowPositionals: true,
    });
    if (values.help) return "help";
    if (positionals.length > 1) throw new TypeError(USAGE);
    const dir = values.dir === undefined ? undefined : resolve(values.dir);
    if (dir !== undefined && existsSync(dir) && readdirSync(dir).length > 0) {
      throw new TypeError(`Cannot begin a journal in "${dir}": it is not empty; name a new folder`);
    }
    const here = fileURLToPath(new URL("..", import.meta.url));
    return { checkout: positionals[0] ?? here, dir };
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

function run(checkout: string, dir: string, scratch: string): void {
  const tell = new Narrator();
  tell.title(
    "batpak: an event journal in one directory. Its first events are the history of a project.",
  );
  const history = tell.step(`Read the git history of ${resolve(checkout)}`, () => {
    const history = readHistory(checkout, LIMITS);
    const files = count(history.commits.map(({ files }) => files.length));
    const part = history.isPartial ? "the newest " : "";
    tell.say(
      `${part}${plural(history.commits.length, "commit")} with ${plural(files, "file change")}.`,
    );
    return history;
  });
  const key = SigningKey.fromSeed(new Uint8Array(randomBytes(32)));
  const receiptText = useJournal(tell, history, dir, key);

  tell.step("Verify every byte", () => {
    const report = verifyJournal(dir);
    const { events, chains, bytes } = report;
    assert.equal(report.findingCount, 0, "a journal as it was written has no findings");
    tell.say(
      `${number(events)} events in ${number(chains)} chains, ${number(bytes)} bytes: intact.`,
    );
    tell.say("Checked: checksums, the hash of each payload and header, each link, the sequence.");
  });
  checkReceipt(tell, receiptText, key);
  tamper(tell, dir, join(scratch, "copy"));
  tell.end("Next: README.md, or deno task batpak --help.");
}

/** Everything that needs the journal to be open. Returns a receipt as text. */
function useJournal(tell: Narrator, history: GitHistory, dir: string, key: SigningKey): string {
  const { commits } = history;
  using store = Store.open(dir, { ...HISTORY_OPTIONS, signingKeys: [key] });
  const fileCount = count(commits.map(({ files }) => files.length));

  const receipt = tell.step("Append it: one event per commit and per changed file", () => {
    const startMs = performance.now();
    const receipt = appendHistory(store, history);
    const rate = Math.round(
      (commits.length + fileCount) * 1000 / Math.max(1, performance.now() - startMs),
    );
    assert.equal(store.query({ kind: commitMade.kind }).length, commits.length);
    assert.equal(store.query({ kind: fileChanged.kind }).length, fileCount);
    tell.say(`${number(commits.length + fileCount)} events, ${number(rate)} a second.`);
    tell.say("A commit and its files are one batch: the journal has all of it, or nothing.");
    tell.say(
      "Each file is an entity with its own history; each commit is caused by its parent, and each " +
        "change of a file by its commit.",
    );
    tell.say(
      `The newest commit is event ${receipt.eventId} at sequence ${receipt.globalSequence}. Its ` +
        "receipt is signed with a fresh Ed25519 key.",
    );
    assert.equal(receipt.signature?.byteLength, 64);
    assert.deepEqual(store.verifyReceipt(receipt), { valid: true, outcome: "signed" });
    return receipt;
  });

  tell.step("Append it again", () => {
    const before = store.stats().eventCount;
    const again = appendHistory(store, history);
    assert.equal(store.stats().eventCount, before, "a repeated append writes nothing");
    assert.equal(again.eventId, receipt.eventId);
    tell.say(
      "Nothing was written: every event has an idempotency key made of its commit's hash, and the " +
        "second append under a key returns the first receipt.",
    );
  });

  query(tell, store, history, fileCount);
  walk(tell, store);

  tell.step("From an older commit to the newest: what each one caused", () => {
    const lines = drawCausalTree(store, receipt.eventId, {
      width: tell.width - 3,
      commits: 5,
      effects: 2,
    });
    assert.ok(lines.length > 0 && lines.length <= 40);
    assert.ok(lines.some((line) => line.includes(commits[commits.length - 1].hash.slice(0, 7))));
    for (const line of lines) tell.show(line);
  });
  return JSON.stringify(receipt);
}

function query(tell: Narrator, store: Store, { commits }: GitHistory, fileCount: number): void {
  tell.step("Query", () => {
    const changed = commits.flatMap(({ files }) => files.map(({ path }) => path));
    const folder = mostFrequent(changed.filter((path) => /^[\w-]+\//.test(path)).map(firstLevel));
    if (folder !== undefined) {
      const events = store.query({ entity: `file:${folder}` });
      const expected = changed.filter((path) => path === folder || firstLevel(path) === folder);
      assert.equal(events.length, expected.length, "a prefix selects the folder and nothing else");
      tell.say(`By entity: file:${folder} and all below it, ${plural(events.length, "change")}.`);
    }
    const author = mostFrequent(commits.map(({ author }) => authorTag(author)))!;
    const authored = store.query({ kind: commitMade.kind, tags: [author] });
    const expected = commits.filter((commit) => authorTag(commit.author) === author).length;
    assert.equal(authored.length, expected, "a tag selects the author's commits");
    tell.say(`By kind and tag: commit.made of ${author}, ${plural(authored.length, "event")}.`);
  });

  tell.step(`Read everything, in pages of ${PAGE_SIZE}`, () => {
    let pages = 0;
    let events = 0;
    let after: number | undefined;
    for (;;) {
      const page = store.queryAfter({ kind: fileChanged.kind }, after, PAGE_SIZE);
      if (page.length === 0) break;
      for (const event of page) assert.equal(typeof event.decode(fileChanged).path, "string");
      pages++;
      events += page.length;
      after = page[page.length - 1].globalSequence;
    }
    assert.equal(events, fileCount, "pages leave nothing out and repeat nothing");
    tell.say(
      `${plural(events, "file change")} in ${plural(pages, "page")}. The last sequence of a page ` +
        "is where the next one begins, and a sequence never changes.",
    );
  });
}

function walk(tell: Narrator, store: Store): void {
  const entity = mostFrequent(
    store.query({ kind: fileChanged.kind }).map((event) => event.entity),
  );
  if (entity === undefined) return;
  tell.step(`Walk the history of ${fit(entity, 60)}, newest first`, () => {
    const newest = store.latest(entity)!;
    const { ancestors, boundary } = store.walkAncestors(newest.eventId);
    assert.equal(boundary.type, "ReachedGenesis", "the history is complete");
    assert.equal(ancestors.length, newest.clock + 1, "a clock counts the events before");
    for (const event of ancestors.slice(0, 5)) {
      const { change } = event.decode(fileChanged);
      const commit = commitOf(store, event);
      tell.show(`clock ${event.clock}: ${change} by ${commit.hash.slice(0, 7)} ${commit.subject}`);
    }
    if (ancestors.length > 5) tell.show(`… and ${number(ancestors.length - 5)} more`);
    tell.say("Each event names the hash of the one before it; the walk has checked every link.");
  });
}

function commitOf(store: Store, event: StoredEvent): CommitMade {
  const [cause] = store.causes(event.eventId, 1);
  return cause.decode(commitMade);
}

/** Somebody with the receipt, the public key and nothing else. */
function checkReceipt(tell: Narrator, text: string, key: SigningKey): void {
  tell.step("Check the receipt without the journal", () => {
    const publicKeys = [key.publicKey];
    const check = (json: string) =>
      verifyReceipt(Receipt.fromClaim(JSON.parse(json)), { publicKeys });
    const genuine = check(text);
    assert.deepEqual(genuine, { valid: true, outcome: "signed" });
    tell.say("Genuine: it is signed by the key, over a hash of the whole event.");

    // The header is the event without its payload, in hexadecimal: here is the commit's hash.
    const claim = JSON.parse(text);
    const at = claim.header.indexOf(Buffer.from("commit:").toString("hex")) + 2 * "commit:".length;
    const digit = claim.header.startsWith("30", at) ? "31" : "30";
    const header = claim.header.slice(0, at) + digit + claim.header.slice(at + 2);
    const swapped = check(JSON.stringify({ ...claim, header }));
    assert.deepEqual(swapped, { valid: false, outcome: "invalid", reason: "EventHashMismatch" });
    tell.say(`For another commit: refused, ${swapped.reason}.`);

    const signature = (claim.signature.startsWith("0") ? "1" : "0") + claim.signature.slice(1);
    const forged = check(JSON.stringify({ ...claim, signature }));
    assert.deepEqual(forged, { valid: false, outcome: "invalid", reason: "InvalidSignature" });
    tell.say(`With another signature: refused, ${forged.reason}.`);
  });
}

function tamper(tell: Narrator, dir: string, copy: string): void {
  cpSync(dir, copy, { recursive: true });
  let position;
  let sequence: number;
  let about: string;
  {
    using reader = Store.openReadOnly(dir);
    const events = reader.query({ kind: commitMade.kind });
    const event = events[Math.floor((events.length - 1) / 2)];
    position = event.position;
    sequence = event.globalSequence;
    about = `event ${event.globalSequence}, commit ${event.decode(commitMade).hash.slice(0, 7)}`;
  }
  const file = basename(segmentFile(copy, position.segmentId));

  tell.step("Flip one byte in a copy", () => {
    const at = flipByte(copy, position);
    tell.say(`Byte ${at} of ${file}, in the payload of ${about}.`);
    const { intact, findings } = verifyJournal(copy);
    assert.equal(intact, false);
    const [finding] = findings;
    assertFound(finding);
    tell.say(`Verify finds it: ${describe(finding)}`);
    using store = Store.openReadOnly(copy);
    assert.throws(() => store.at(sequence)?.payload, CorruptionError);
    assert.throws(() => Store.open(copy, { chainVerification: "recompute" }), CorruptionError);
    tell.say("Whoever reads the event is told, and so is whoever opens it to check everything.");
  });

  tell.step("Make the checksum right again, as a forger would", () => {
    repairChecksum(copy, position);
    const { intact, findings } = verifyJournal(copy);
    assert.equal(intact, false);
    const [finding] = findings;
    assertFound(finding);
    assert.equal(finding.type, "content");
    tell.say(`Verify still finds it: ${describe(finding)}`);
    tell.say("To hide that, one would have to change the event's hash, which its receipt knows.");
  });

  function assertFound(finding: Finding): void {
    assert.equal(finding.segmentId, position!.segmentId, "the finding names the segment");
    assert.equal(finding.offset, position!.offset, "the finding names the offset of the event");
    assert.ok(finding.reason.length > 0);
  }
}

function describe({ file, offset, type, reason }: Finding): string {
  return `${file}, offset ${offset}, ${type}: ${reason}`;
}

function firstLevel(path: string): string {
  return path.split("/", 1)[0];
}

function mostFrequent(texts: readonly string[]): string | undefined {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  let best: string | undefined;
  for (const [text, found] of counts) {
    if (best === undefined || found > counts.get(best)!) best = text;
  }
  return best;
}

function count(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}

function plural(value: number, noun: string): string {
  return `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
}

function number(value: number): string {
  return value.toLocaleString("en-US");
}

if (import.meta.main) process.exit(main(process.argv.slice(2)));
