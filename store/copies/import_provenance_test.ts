import assert from "node:assert/strict";
import { test } from "node:test";
import { Decoder } from "@msgpack/msgpack";
import { ID_SIZE } from "../ids.ts";
import { decodeProvenance, ImportProvenanceError, ProvenanceEncoder } from "./import_provenance.ts";
import { blake3, HASH_SIZE, toHex } from "../hash.ts";
import { encodeFrame, FRAME_HEADER_SIZE, FrameDraft, sealFrame } from "../frame.ts";

/** A frame body whose every field is told apart from the others. */
function bodyOf(): Uint8Array {
  const draft = new FrameDraft();
  draft.globalSequence = 2 ** 40 + 7;
  draft.eventId.set(Uint8Array.from({ length: ID_SIZE }, (_, i) => i + 1));
  draft.timestampUs = 1_700_000_000_000_001;
  draft.kind = 0xf00a;
  draft.contentHash.fill(0xcc);
  draft.entity = "e";
  draft.scope = "s";
  const target = new Uint8Array(400);
  const end = sealFrame(target, 0, encodeFrame(draft, target, 0), new Uint8Array(0));
  return target.slice(FRAME_HEADER_SIZE, end);
}

function encoded(namespace = "a", storeId = new Uint8Array(ID_SIZE).fill(0x55)): Uint8Array {
  return new ProvenanceEncoder(namespace, storeId).encode(bodyOf()).slice();
}

function text(value: string): string {
  return toHex(new TextEncoder().encode(value));
}

const EVENT_HASH = blake3(bodyOf().subarray(0, -5));

test("provenance has the documented bytes", () => {
  const field = (name: string, value: string) =>
    (0xa0 + name.length).toString(16) + text(name) + value;
  assert.equal(
    toHex(encoded("till 7")),
    "89" + field("schema_version", "cd0001") +
      field("source_namespace", "da0006" + text("till 7")) +
      field("source_store_id", "c410" + "55".repeat(16)) +
      field("source_event_id", "c4100102030405060708090a0b0c0d0e0f10") +
      field("source_global_sequence", "cf0000010000000007") +
      field("source_kind", "cdf00a") +
      field("source_content_hash", "c420" + "cc".repeat(32)) +
      field("source_event_hash", "c420" + toHex(EVENT_HASH)) +
      field("source_timestamp_us", "cf00060a24181e4001"),
  );
});

test("provenance is MessagePack for anybody", () => {
  assert.deepEqual(new Decoder().decode(encoded()), {
    schema_version: 1,
    source_namespace: "a",
    source_store_id: new Uint8Array(16).fill(0x55),
    source_event_id: Uint8Array.from({ length: 16 }, (_, i) => i + 1),
    source_global_sequence: 2 ** 40 + 7,
    source_kind: 0xf00a,
    source_content_hash: new Uint8Array(HASH_SIZE).fill(0xcc),
    source_event_hash: EVENT_HASH,
    source_timestamp_us: 1_700_000_000_000_001,
  });
});

test("decodeProvenance() reads back what was written, namespaces of every size included", () => {
  for (const namespace of ["a", "Kasse № 7 🧾", "n".repeat(1024)]) {
    assert.deepEqual(decodeProvenance(encoded(namespace)), {
      schemaVersion: 1,
      sourceNamespace: namespace,
      sourceStoreId: "55555555-5555-5555-5555-555555555555",
      sourceEventId: "01020304-0506-0708-090a-0b0c0d0e0f10",
      sourceGlobalSequence: 2 ** 40 + 7,
      sourceKind: 0xf00a,
      sourceContentHash: new Uint8Array(HASH_SIZE).fill(0xcc),
      sourceEventHash: EVENT_HASH,
      sourceTimestampUs: 1_700_000_000_000_001,
    });
  }
});

test("decodeProvenance() refuses a newer schema version, and says which it is", () => {
  const newer = encoded();
  newer[1 + 15 + 2] = 2;
  for (const bytes of [newer, newer.subarray(0, 40), Uint8Array.of(0x8f, ...newer.subarray(1))]) {
    assert.throws(() => decodeProvenance(bytes), (error) => {
      assert.ok(error instanceof ImportProvenanceError);
      assert.equal(error.code, "IMPORT_PROVENANCE");
      assert.deepEqual([error.reason, error.found, error.supported], ["FutureVersion", 2, 1]);
      return true;
    });
  }
});

test("decodeProvenance() refuses bytes cut, added or changed where no value stands", () => {
  const sound = encoded();
  const malformed = { code: "IMPORT_PROVENANCE", reason: "Malformed" };
  for (let size = 0; size < sound.byteLength; size++) {
    assert.throws(() => decodeProvenance(sound.subarray(0, size)), malformed, `${size} bytes`);
  }
  assert.throws(() => decodeProvenance(Uint8Array.of(...sound, 0)), malformed);
  const zero = encoded();
  zero[1 + 15 + 2] = 0;
  assert.throws(() => decodeProvenance(zero), malformed, "schema version 0");
  const nameless = new ProvenanceEncoder("", new Uint8Array(ID_SIZE)).encode(bodyOf());
  assert.throws(() => decodeProvenance(nameless), malformed, "no namespace");
  const notText = encoded();
  notText[1 + 15 + 3 + 17 + 3] = 0xff;
  assert.throws(() => decodeProvenance(notText), malformed, "a namespace that is not UTF-8");
  const unsafe = encoded();
  unsafe.fill(0xff, unsafe.byteLength - 8);
  assert.throws(() => decodeProvenance(unsafe), malformed, "a time past the safe range");

  // Every byte that holds no value: the values are what a decoded twin differs in.
  let refused = 0;
  for (let i = 0; i < sound.byteLength; i++) {
    const changed = sound.slice();
    changed[i] ^= 0x01;
    try {
      assert.notDeepEqual(decodeProvenance(changed), decodeProvenance(sound), `byte ${i}`);
    } catch (error) {
      assert.ok(error instanceof ImportProvenanceError, `byte ${i}: ${error}`);
      refused++;
    }
  }
  // A number of eight bytes whose first one is not zero is not safe.
  assert.equal(refused, sound.byteLength - (1 + 16 + 16 + 7 + 2 + 32 + 32 + 7));
});
