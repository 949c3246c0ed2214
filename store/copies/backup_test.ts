import assert from "node:assert/strict";
import { test } from "node:test";
import type { StoreFs } from "../../platform/fs.ts";
import { MemoryFs, type MemoryOp } from "../../platform/memory.ts";
import {
  DIR,
  item,
  KIND,
  openReader,
  openStore,
  payloadsOf,
  USER,
} from "../../tests/support/journal.ts";
import { flipBit, fsOf, readFile, readTree, writeFile } from "../../tests/support/journal_bytes.ts";
import { inTempDir } from "../../tests/support/temp_dir.ts";
import { DyingFs } from "../../tests/support/wrapped_fs.ts";
import { type BackupFinding, restoreBackup, verifyBackup } from "./backup.ts";
import { BackupError, CopyTargetError, CorruptionError, StoreIoError } from "../errors.ts";
import { evidenceHash } from "../evidence.ts";
import { blake3, fromHex, toHex } from "../hash.ts";
import { type Receipt, SigningKey } from "../receipt.ts";
import { Store } from "../store.ts";
import type { StoreOptions } from "../store_options.ts";
import { verifyJournal } from "../verify.ts";

const BACKUP = "backup";
const RESTORED = "restored";
const SMALL: StoreOptions = { segmentMaxBytes: 700 };
const KEY = SigningKey.fromSeed(new Uint8Array(32).fill(3));
const OTHER_KEY = SigningKey.fromSeed(new Uint8Array(32).fill(4));
const encoder = new TextEncoder();

function fill(store: Store, count: number): Receipt[] {
  const receipts: Receipt[] = [];
  for (let n = 0; n < count; n++) {
    const entity = `user:${n % 3}`;
    receipts.push(store.append({ entity, scope: "app" }, KIND, n, { idempotencyKey: `key-${n}` }));
  }
  if (count > 0) receipts.push(...store.appendBatch([item("a"), item("b")]));
  return receipts;
}

/** A backup of a journal of several segments, in a file system of its own. */
function backedUp(options: StoreOptions = {}, count = 12): MemoryFs {
  const fs = new MemoryFs();
  const store = openStore(fs, { ...SMALL, ...options });
  fill(store, count);
  store.backup(BACKUP);
  return fs;
}

interface Envelope {
  body: Record<string, unknown> & { files: { name: string; size: number; digest: string }[] };
  bodyHash: string;
  keyId: string | null;
  signature: string | null;
  [more: string]: unknown;
}

function manifestOf(fs: StoreFs): Envelope {
  return JSON.parse(new TextDecoder().decode(readFile(fs, `${BACKUP}/manifest.json`)));
}

/** Changes a manifest; `sealed` makes its hashes fit again, as a forger would. */
function forge(fs: StoreFs, change: (envelope: Envelope) => void, sealed = true): void {
  const envelope = manifestOf(fs);
  change(envelope);
  if (sealed) {
    const { backupId: _, ...rest } = envelope.body;
    envelope.body.backupId = evidenceHash(rest);
    envelope.bodyHash = evidenceHash(envelope.body);
  }
  writeFile(fs, `${BACKUP}/manifest.json`, encoder.encode(JSON.stringify(envelope)));
}

function findingsOf(fs: StoreFs, keys: readonly Uint8Array[] = []): readonly BackupFinding[] {
  const { findings, intact, findingCount } = verifyBackup(BACKUP, { fs, verifyingKeys: keys });
  assert.equal(intact, findings.length === 0);
  assert.equal(findingCount, findings.length);
  return findings;
}

/** Type and file of every finding, and that a restore is refused because of them and leaves nothing. */
function refusedFindings(fs: StoreFs, keys: readonly Uint8Array[] = []): [string, string][] {
  const findings = findingsOf(fs, keys);
  for (const dryRun of [true, false]) {
    assert.throws(
      () => restoreBackup(BACKUP, RESTORED, { fs, verifyingKeys: keys, dryRun }),
      (error) => {
        assert.ok(error instanceof BackupError, String(error));
        assert.equal(error.code, "BACKUP");
        assert.equal(error.path, BACKUP);
        // A restore stops at the first file with a finding, verification goes on.
        const all = findings.map((finding) => JSON.stringify(finding));
        for (const finding of error.findings) assert.ok(all.includes(JSON.stringify(finding)));
        assert.ok(error.findings.length > 0);
        return true;
      },
    );
    assert.equal(fs.stat(RESTORED), undefined);
  }
  return findings.map(({ type, file }) => [type, file]);
}

function opens(fs: StoreFs, dir: string): boolean {
  if (fs.stat(dir) === undefined) return false;
  const names = fs.list(dir).map(({ name }) => name).filter((name) => !name.startsWith(".stage-"));
  if (names.length === 0) return false;
  try {
    Store.open(dir, { fs }).close();
    return true;
  } catch (error) {
    assert.ok(error instanceof CorruptionError, String(error));
    return false;
  }
}

for (const count of [0, 1, 30]) {
  const what = ["an empty journal", "one segment", "many segments"][[0, 1, 30].indexOf(count)];
  test(`backup() and restoreBackup() of ${what} give the same journal again`, () => {
    const fs = new MemoryFs();
    const options = count === 1 ? {} : SMALL;
    using store = openStore(fs, options);
    const receipts = fill(store, count);
    const report = store.backup(BACKUP);
    const verification = verifyBackup(BACKUP, { fs });
    assert.deepEqual(verification.findings, []);
    assert.equal(verification.intact, true);
    assert.equal(verification.manifestHash, report.manifestHash);
    assert.deepEqual(verification.files, report.files);
    const proof = restoreBackup(BACKUP, RESTORED, { fs });
    assert.equal(proof.target, "/restored");
    assert.deepEqual(proof.files, report.files);
    assert.deepEqual(proof.findings, []);
    for (const field of ["backupId", "storeId", "events", "nextSequence", "bytes"] as const) {
      assert.equal(proof[field], report[field], field);
    }
    assert.equal(proof.manifestHash, report.manifestHash);
    const { bodyHash, target: _, ...body } = proof;
    assert.equal(bodyHash, evidenceHash({ schemaVersion: 1, ...body }));

    // What is restored is what a snapshot is.
    store.snapshot("copy");
    assert.deepEqual(readTree(fs, RESTORED), readTree(fs, "copy"));
    assert.deepEqual(verifyJournal(RESTORED, { fs }).findings, []);
    using restored = Store.open(RESTORED, { fs, ...options });
    assert.deepEqual(restored.openReport.repairs, []);
    assert.deepEqual(payloadsOf(restored), payloadsOf(store));
    for (const receipt of receipts) assert.equal(restored.verifyReceipt(receipt).valid, true);
    if (count > 0) {
      const replayed = restored.append(USER, KIND, 0, { idempotencyKey: "key-0" });
      assert.deepEqual(replayed.eventHash, receipts[0].eventHash);
    }
  });
}

test("backups and restores on real files, also by a reader", () =>
  inTempDir((folder) => {
    using store = Store.open(`${folder}/${DIR}`, { ...SMALL, signingKeys: [KEY] });
    const receipts = fill(store, 20);
    using reader = Store.openReadOnly(`${folder}/${DIR}`);
    const keys = [KEY.publicKey];
    assert.equal(store.backup(`${folder}/a`).signed, true);
    assert.equal(reader.backup(`${folder}/b`).signed, false);
    assert.equal(verifyBackup(`${folder}/a`, { verifyingKeys: keys }).signature, "signed");
    assert.equal(verifyBackup(`${folder}/b`).signature, "unsigned");
    restoreBackup(`${folder}/a`, `${folder}/x/y`, { verifyingKeys: keys });
    restoreBackup(`${folder}/b`, `${folder}/z`);
    for (const dir of [`${folder}/x/y`, `${folder}/z`]) {
      assert.deepEqual(verifyJournal(dir).findings, []);
      using restored = Store.open(dir, { signingKeys: [KEY] });
      for (const receipt of receipts) {
        assert.equal(restored.verifyReceipt(receipt).valid, true);
      }
    }
    assert.throws(() => restoreBackup(`${folder}/a`, `${folder}/a/segments/x`), {
      name: "CopyTargetError",
      reason: "InsideSource",
    });
    assert.throws(() => restoreBackup(`${folder}/a`, folder), { reason: "AroundSource" });
  }));

test("the manifest is canonical JSON, and says what is there", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, { ...SMALL, signingKeys: [OTHER_KEY, KEY] });
  fill(store, 5);
  const report = store.backup(BACKUP);
  const bytes = readFile(fs, `${BACKUP}/manifest.json`);
  const text = new TextDecoder().decode(bytes);
  const { body, bodyHash, keyId, signature } = manifestOf(fs);
  assert.equal(toHex(blake3(bytes)), report.manifestHash);
  assert.ok(text.endsWith('"}\n'));
  assert.ok(text.startsWith('{"body":{"backupId":"'));
  assert.doesNotMatch(text.trim(), /\s/);
  assert.deepEqual(Object.keys(body), [
    "backupId",
    "createdUs",
    "events",
    "files",
    "lastEventHash",
    "nextSequence",
    "schemaVersion",
    "storeId",
  ]);
  assert.equal(body.schemaVersion, 1);
  assert.equal(body.storeId, store.storeId);
  assert.equal(body.events, 8);
  assert.equal(body.nextSequence, 8);
  assert.equal(body.lastEventHash, toHex(store.at(7)!.eventHash));
  const tree = readTree(fs, BACKUP);
  tree.delete("manifest.json");
  assert.deepEqual(
    body.files,
    [...tree].map(([name, bytes]) => ({
      digest: toHex(blake3(bytes)),
      name,
      size: bytes.byteLength,
    })),
  );
  assert.deepEqual([...tree.keys()].slice(0, 2), ["segments/000001.fbat", "segments/000002.fbat"]);
  const { backupId, ...rest } = body;
  assert.equal(backupId, evidenceHash(rest));
  assert.equal(bodyHash, evidenceHash(body));
  assert.equal(bodyHash, report.bodyHash);
  assert.equal(keyId, toHex(KEY.keyId));
  // 04 and the hash: not the cover of a receipt, which begins with 02, nor of another domain.
  const cover = Uint8Array.of(4, ...fromHex(bodyHash)!);
  assert.equal(signature, toHex(KEY.sign(cover)));
});

test("a backup does not open as a journal, for nobody", () => {
  const fs = backedUp();
  const before = readTree(fs, BACKUP);
  assert.throws(() => Store.open(BACKUP, { fs }), CorruptionError);
  assert.throws(() => Store.openReadOnly(BACKUP, { fs }), CorruptionError);
  fs.removeIfPresent(`${BACKUP}/.batpak.lock`);
  assert.deepEqual(readTree(fs, BACKUP), before);
});

test("a backup takes the base record along, and a restore brings it back", () => {
  const fs = new MemoryFs();
  using store = openStore(fs, SMALL);
  fill(store, 6);
  const base = Uint8Array.from({ length: 2_500_000 }, (_, i) => i % 251);
  writeFile(fs, `${DIR}/journal.base`, base);
  store.backup(BACKUP);
  assert.equal(manifestOf(fs).body.files[0].name, "journal.base");
  restoreBackup(BACKUP, RESTORED, { fs });
  assert.deepEqual(readFile(fs, `${RESTORED}/journal.base`), base);
});

test("restoreBackup() with dryRun gives the same proof and writes nothing", () => {
  const fs = backedUp();
  const before = readTree(fs, "");
  const dry = restoreBackup(BACKUP, RESTORED, { fs, dryRun: true });
  assert.deepEqual(readTree(fs, ""), before);
  assert.equal(fs.stat(RESTORED), undefined);
  assert.throws(() => restoreBackup(BACKUP, DIR, { fs, dryRun: true }), { reason: "NotEmpty" });
  assert.deepEqual(restoreBackup(BACKUP, RESTORED, { fs }), dry);
});

test("a restore goes to a directory that is new or empty, and nowhere else", () => {
  const fs = backedUp();
  fs.symlink("/nowhere", "link");
  for (
    const [path, reason] of [
      ["link", "SymbolicLink"],
      [`${BACKUP}/manifest.json`, "NotADirectory"],
      [BACKUP, "SameDirectory"],
      [`${BACKUP}/x`, "InsideSource"],
      ["/", "AroundSource"],
      [DIR, "NotEmpty"],
    ]
  ) {
    assert.throws(() => restoreBackup(BACKUP, path, { fs }), (error) => {
      assert.ok(error instanceof CopyTargetError);
      assert.equal(error.reason, reason);
      return true;
    });
  }
});

test("verifyBackup() finds what is missing, added, cut, changed or no file", () => {
  const first = "segments/000001.fbat";
  const cases: [(fs: MemoryFs) => void, [string, string][]][] = [
    [(fs) => fs.remove(`${BACKUP}/${first}`), [["MissingFile", first]]],
    [(fs) => fs.remove(`${BACKUP}/store.meta`), [["MissingFile", "store.meta"]]],
    [(fs) => writeFile(fs, `${BACKUP}/extra`, new Uint8Array(1)), [["UnexpectedFile", "extra"]]],
    [
      (fs) => writeFile(fs, `${BACKUP}/segments/000099.fbat`, new Uint8Array(1)),
      [["UnexpectedFile", "segments/000099.fbat"]],
    ],
    [(fs) => fs.createDirAll(`${BACKUP}/cursors`), [["UnexpectedFile", "cursors"]]],
    [(fs) => {
      const bytes = readFile(fs, `${BACKUP}/${first}`);
      writeFile(fs, `${BACKUP}/${first}`, bytes.slice(1));
    }, [["SizeMismatch", first]]],
    [(fs) => {
      const bytes = readFile(fs, `${BACKUP}/${first}`);
      writeFile(fs, `${BACKUP}/${first}`, flipBit(bytes, bytes.byteLength - 1));
    }, [["DigestMismatch", first]]],
    [(fs) => {
      fs.remove(`${BACKUP}/${first}`);
      fs.symlink("/journal/000001.fbat", `${BACKUP}/${first}`);
    }, [["UnreadableFile", first]]],
    [(fs) => {
      fs.remove(`${BACKUP}/store.meta`);
      fs.createDirAll(`${BACKUP}/store.meta`);
    }, [["UnreadableFile", "store.meta"]]],
  ];
  for (const [damage, expected] of cases) {
    const fs = backedUp();
    damage(fs);
    assert.deepEqual(refusedFindings(fs), expected);
  }
});

test("findings come sorted, by type and then by file, with what was expected and observed", () => {
  const fs = backedUp();
  const path = (n: number) => `${BACKUP}/segments/00000${n}.fbat`;
  const third = readFile(fs, path(3));
  writeFile(fs, path(3), flipBit(third, 400));
  writeFile(fs, path(2), flipBit(readFile(fs, path(2)), 400));
  writeFile(fs, path(1), new Uint8Array(5));
  fs.remove(path(4));
  writeFile(fs, `${BACKUP}/a`, new Uint8Array(0));
  const findings = findingsOf(fs);
  assert.deepEqual(findings.map(({ type, file }) => [type, file]), [
    ["MissingFile", "segments/000004.fbat"],
    ["UnexpectedFile", "a"],
    ["SizeMismatch", "segments/000001.fbat"],
    ["DigestMismatch", "segments/000002.fbat"],
    ["DigestMismatch", "segments/000003.fbat"],
  ]);
  const [, , size, , digest] = findings;
  assert.deepEqual([size.observed, size.expected], [5, manifestOf(fs).body.files[0].size]);
  assert.deepEqual([digest.expected, digest.observed], [
    toHex(blake3(third)),
    toHex(blake3(flipBit(third, 400))),
  ]);
});

test("verifyBackup() finds what is wrong with a manifest, and believes nothing of it", () => {
  const put = (text: string | Uint8Array) => (fs: MemoryFs) =>
    writeFile(
      fs,
      `${BACKUP}/manifest.json`,
      typeof text === "string" ? encoder.encode(text) : text,
    );
  const edit = (change: (envelope: Envelope) => void) => (fs: MemoryFs) => forge(fs, change);
  const cases: [(fs: MemoryFs) => void, RegExp][] = [
    [(fs) => fs.remove(`${BACKUP}/manifest.json`), /ENOENT/],
    [put(new Uint8Array((16 << 20) + 1)), /EFBIG/],
    [put(""), /not JSON/],
    [put("{"), /not JSON/],
    [put(Uint8Array.of(0x22, 0xff, 0x22)), /not JSON/],
    [put("[".repeat(1 << 20)), /not JSON/],
    [put("null"), /not an object with a body/],
    [put("[]"), /not an object with a body/],
    [put('{"body":7}'), /not an object with a body/],
    [put('{"body":{}}'), /no schema version/],
    [put('{"body":{"schemaVersion":1}}'), /it has no field "bodyHash"/],
    [edit((envelope) => void (envelope.more = 1)), /it has a field "more"/],
    [edit(({ body }) => void (body.more = 1)), /it has a field "more"/],
    [edit(({ body }) => void delete body.events), /it has no field "events"/],
    [edit(({ body }) => void (body.events = -1)), /"events"/],
    [edit(({ body }) => void (body.events = 0.5)), /"events"/],
    [edit(({ body }) => void (body.nextSequence = 2 ** 53)), /"nextSequence"/],
    [edit(({ body }) => void (body.storeId = "x")), /"storeId"/],
    [edit(({ body }) => void (body.lastEventHash = "00")), /"lastEventHash"/],
    [edit(({ body }) => void (body.files = {} as never)), /"files"/],
    [edit(({ body }) => void (body.files[1] = 7 as never)), /file 1: it is not an object/],
    [edit(({ body }) => void (body.files[0].size = -1)), /file 0: its field "size"/],
    [edit(({ body }) => void (body.files[0].digest = "A".repeat(64))), /file 0: .*"digest"/],
    [edit(({ body }) => void (body.files[0].name = 7 as never)), /file 0: its field "name"/],
    [edit((envelope) => void (envelope.keyId = "no")), /"keyId"/],
    [edit((envelope) => void (envelope.signature = "no")), /"signature"/],
  ];
  for (const [damage, reason] of cases) {
    const fs = backedUp({}, 3);
    damage(fs);
    const [finding] = findingsOf(fs);
    assert.deepEqual(refusedFindings(fs), [["Manifest", "manifest.json"]], String(reason));
    assert.match(finding.reason, reason);
  }
  assert.deepEqual(
    verifyBackup("nowhere", { fs: new MemoryFs() }).findings.map(({ type }) => type),
    ["Manifest"],
  );
});

test("verifyBackup() looks no further into a manifest of another schema version", () => {
  const fs = backedUp();
  forge(fs, ({ body }) => {
    body.schemaVersion = 2;
    body.invention = true;
  });
  assert.deepEqual(findingsOf(fs), [{
    type: "UnsupportedSchemaVersion",
    file: "manifest.json",
    reason: "it has schema version 2, and this program reads 1",
    expected: 1,
    observed: 2,
  }]);
  refusedFindings(fs);
});

test("a manifest names files of a journal, each once, and no way out of the backup", () => {
  const names = [
    "../journal/000001.fbat",
    "/etc/passwd",
    "segments/../store.meta",
    "segments/../../journal/000001.fbat",
    "segments/1.fbat",
    "segments/000000.fbat",
    "segments/",
    "segments",
    "000001.fbat",
    "manifest.json",
    ".batpak.lock",
    "index.fbati",
    "journal.base/x",
    "",
    "store.meta\0",
  ];
  for (const name of names) {
    const fs = backedUp({}, 3);
    forge(fs, ({ body }) => void body.files.push({ name, size: 1, digest: "0".repeat(64) }));
    const types = refusedFindings(fs).map(([type]) => type);
    assert.equal(types[0], "ForbiddenFile", name);
  }
  const twice = backedUp({}, 3);
  forge(twice, ({ body }) => void body.files.push(body.files[0]));
  assert.deepEqual(refusedFindings(twice), [["DuplicateFile", "segments/000001.fbat"]]);
  const hollow = backedUp({}, 3);
  forge(hollow, ({ body }) => void (body.files = []));
  assert.deepEqual(
    refusedFindings(hollow),
    [
      ["IncompleteManifest", "manifest.json"],
      ["IncompleteManifest", "manifest.json"],
      ["UnexpectedFile", "segments/000001.fbat"],
      ["UnexpectedFile", "segments/000002.fbat"],
      ["UnexpectedFile", "store.meta"],
    ],
  );
});

test("a manifest that was changed has other hashes", () => {
  const fs = backedUp();
  forge(fs, ({ body }) => void (body.events = 1), false);
  const [first, second] = findingsOf(fs);
  assert.deepEqual(refusedFindings(fs).map(([type]) => type), [
    "BodyHashMismatch",
    "BodyHashMismatch",
  ]);
  assert.match(first.reason, /^its body hash/);
  assert.match(second.reason, /^its id/);
  assert.notEqual(first.expected, first.observed);
  // Written in another way it is the same manifest.
  const pretty = backedUp();
  const text = JSON.stringify(manifestOf(pretty), null, 2);
  writeFile(pretty, `${BACKUP}/manifest.json`, encoder.encode(text));
  assert.deepEqual(findingsOf(pretty), []);
});

test("a signature is checked when there are keys, and is of one backup alone", () => {
  const signed = backedUp({ signingKeys: [KEY] });
  assert.deepEqual(findingsOf(signed, [OTHER_KEY.publicKey, KEY.publicKey]), []);
  assert.equal(verifyBackup(BACKUP, { fs: signed }).signature, "unchecked");
  assert.deepEqual(refusedFindings(signed, [OTHER_KEY.publicKey]), [
    ["UnknownSigningKey", "manifest.json"],
  ]);
  const unsigned = backedUp();
  assert.deepEqual(refusedFindings(unsigned, [KEY.publicKey]), [
    ["UnsignedManifest", "manifest.json"],
  ]);
  // Forged as a whole, with hashes that fit.
  const forged = backedUp({ signingKeys: [KEY] });
  forge(forged, ({ body }) => void (body.createdUs = 1));
  assert.deepEqual(refusedFindings(forged, [KEY.publicKey]), [
    ["InvalidSignature", "manifest.json"],
  ]);
  assert.deepEqual(findingsOf(forged), []);
  for (const lacking of ["keyId", "signature"] as const) {
    const half = backedUp({ signingKeys: [KEY] });
    forge(half, (envelope) => void (envelope[lacking] = null), false);
    const [[type]] = refusedFindings(half, [KEY.publicKey]);
    assert.equal(type, lacking === "keyId" ? "UnknownSigningKey" : "InvalidSignature");
  }
  const proof = restoreBackup(BACKUP, RESTORED, { fs: signed, verifyingKeys: [KEY.publicKey] });
  assert.equal(proof.signature, "signed");
});

test("a backup whose files are of another journal, or of none, is refused", () => {
  const replace = (name: string, bytes: (old: Uint8Array) => Uint8Array) => {
    const fs = backedUp();
    const path = `${BACKUP}/${name}`;
    const changed = bytes(readFile(fs, path));
    writeFile(fs, path, changed);
    forge(fs, ({ body }) => {
      const file = body.files.find((file) => file.name === name)!;
      file.size = changed.byteLength;
      file.digest = toHex(blake3(changed));
    });
    return refusedFindings(fs);
  };
  const foreign = new MemoryFs();
  Store.open("other", { fs: foreign }).close();
  const first = "segments/000001.fbat";
  const other = readFile(foreign, "other/000001.fbat");
  assert.deepEqual(replace(first, () => other), [["ForeignFile", first]]);
  assert.deepEqual(replace(first, () => new Uint8Array(0)), [["ForeignFile", first]]);
  assert.deepEqual(replace(first, (old) => flipBit(old, 30)), [["ForeignFile", first]]);
  assert.deepEqual(
    replace("segments/000002.fbat", () => readFile(backedUp(), `${BACKUP}/${first}`)),
    [["ForeignFile", "segments/000002.fbat"]],
  );
  const meta = readFile(foreign, "other/store.meta");
  assert.deepEqual(replace("store.meta", () => meta), [["ForeignFile", "store.meta"]]);
  assert.deepEqual(replace("store.meta", (old) => flipBit(old, 7, 3)), [
    ["ForeignFile", "store.meta"],
  ]);
});

test("a backup or restore that fails at any call leaves nothing, and says so with a typed error", () => {
  const ops: readonly MemoryOp[] = [
    "canonicalize",
    "createDirAll",
    "list",
    "open",
    "publish",
    "readAt",
    "readFile",
    "rejectSymlink",
    "rename",
    "size",
    "stage",
    "stat",
    "sync",
    "syncDir",
    "writeAt",
  ];
  for (const kind of ["backup", "restore"] as const) {
    const fired = new Set<MemoryOp>();
    for (const op of ops) {
      for (let nth = 1;; nth++) {
        const fs = kind === "restore" ? backedUp({}, 4) : new MemoryFs();
        const store = kind === "backup" ? openStore(fs, SMALL) : undefined;
        if (store !== undefined) fill(store, 4);
        const target = kind === "backup" ? BACKUP : RESTORED;
        fs.failNext({ op, nth, code: "ENOSPC", after: 10 });
        const about = `${kind}, ${op} ${nth}`;
        let done = false;
        try {
          if (store !== undefined) store.backup(target);
          else restoreBackup(BACKUP, target, { fs });
          done = true;
        } catch (error) {
          const isTyped = error instanceof StoreIoError ||
            // What cannot be read of a backup is a finding.
            (kind === "restore" && error instanceof BackupError) ||
            (kind === "backup" && (error as Error).name === "WriterCrashedError" && nth === 1);
          assert.ok(isTyped, `${about}: ${error}`);
          assert.match((error as Error).message, /ENOSPC/, about);
        }
        if (fs.faultsFired === 0) {
          const image = fs.snapshot();
          assert.equal(done, true, about);
          if (kind === "backup") assert.deepEqual(findingsOf(image), []);
          else assert.deepEqual(verifyJournal(RESTORED, { fs: image }).findings, []);
          break;
        }
        fired.add(op);
        assert.equal(done, false, `${about}: the failure was swallowed`);
        assert.equal(fs.stat(target), undefined, about);
      }
    }
    for (const op of ["open", "readAt", "rename", "stage", "sync", "syncDir", "writeAt"]) {
      assert.ok(fired.has(op as MemoryOp), `${kind}: ${op} was never called`);
    }
  }
});

test("a full disk in the middle of a restore is no finding of the backup", () => {
  const fs = backedUp();
  fs.failNext({ op: "writeAt", code: "ENOSPC", nth: 3, path: RESTORED });
  assert.throws(() => restoreBackup(BACKUP, RESTORED, { fs }), (error) => {
    assert.ok(error instanceof StoreIoError, String(error));
    assert.equal(error.fault.code, "ENOSPC");
    return true;
  });
  assert.deepEqual(findingsOf(fs), []);
});

test("a crash at any moment of a backup or restore leaves nothing that counts, or all of it", () => {
  for (const kind of ["backup", "restore"] as const) {
    let none = 0;
    let whole = 0;
    for (let changes = 0;; changes++) {
      const memory = new MemoryFs();
      const store = openStore(memory, SMALL);
      fill(store, 6);
      store.backup(BACKUP);
      const source = openReader(new DyingFs(memory, changes));
      let finished = false;
      try {
        if (kind === "backup") source.backup("target");
        else restoreBackup(BACKUP, "target", { fs: new DyingFs(memory, changes) });
        finished = true;
      } catch (error) {
        assert.ok(error instanceof StoreIoError, String(error));
      }
      const image = memory.snapshot();
      const counts = kind === "backup"
        ? verifyBackup("target", { fs: image }).intact
        : opens(image, "target");
      if (counts) whole++;
      else none++;
      if (kind === "backup") assert.equal(opens(image, "target"), false);
      else if (counts) {
        using restored = Store.openReadOnly("target", { fs: image });
        assert.equal(payloadsOf(restored).length, 8);
      }
      if (!finished) continue;
      assert.equal(counts, true);
      break;
    }
    assert.ok(none > 15, `${kind}: ${none}`);
    // Finished, and dead before the last sync of the directory.
    assert.equal(whole, 2, kind);
  }
});

test("onProgress hears of a verification and of a restore", () => {
  const fs = new MemoryFs();
  using store = openStore(fs);
  for (let n = 0; n < 4; n++) store.append(USER, KIND, new Uint8Array(1_000_000));
  const { bytes } = store.backup(BACKUP);
  for (
    const run of [
      (onProgress: (progress: { bytes: number; totalBytes: number }) => void) =>
        verifyBackup(BACKUP, { fs, onProgress }),
      (onProgress: (progress: { bytes: number; totalBytes: number }) => void) =>
        restoreBackup(BACKUP, RESTORED, { fs, onProgress }),
    ]
  ) {
    const heard: number[] = [];
    run((progress) => {
      assert.equal(progress.totalBytes, bytes);
      heard.push(progress.bytes);
    });
    assert.ok(heard.length >= 5);
    assert.equal(heard.at(-1), bytes);
    assert.deepEqual(heard, heard.toSorted((a, b) => a - b));
  }
});

test("wrong arguments are refused before anything is touched", () => {
  const fs = backedUp({}, 1);
  const wrong = { keys: [] } as unknown as undefined;
  assert.throws(() => verifyBackup(BACKUP, wrong), TypeError);
  assert.throws(() => restoreBackup(BACKUP, RESTORED, wrong), TypeError);
  assert.throws(() => openReader(fs).backup("x", wrong), TypeError);
  const short = [new Uint8Array(31)];
  assert.throws(() => verifyBackup(BACKUP, { fs, verifyingKeys: short }), TypeError);
  assert.throws(() => restoreBackup(BACKUP, "x", { fs, verifyingKeys: short }), TypeError);
  assert.throws(() => verifyBackup("", { fs }), TypeError);
  assert.throws(() => restoreBackup(BACKUP, "", { fs }), TypeError);
  const clock = { bootId: "x", nowUs: () => -1, monotonicUs: () => 0 };
  assert.throws(() => openReader(fs, { clock }).backup("x"), { name: "InvalidClockError" });
  assert.equal(fs.stat("x"), undefined);
  assert.deepEqual(readTree(fsOf(readTree(fs, BACKUP)), "journal"), readTree(fs, BACKUP));
});
