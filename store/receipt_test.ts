// Spec 4.7 and 5.7: receipts; every outcome of a verification, against the journal and without it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { MemoryFs } from "../platform/memory.ts";
import { DIR, openIn, ORDER, OTHER, PAID, PLACED } from "../tests/support_api/journal.ts";
import { writeU64 } from "./bytes.ts";
import { EventKind } from "./event_kind.ts";
import {
  CAUSATION_ID_OFFSET,
  CONTENT_HASH_OFFSET,
  CORRELATION_ID_OFFSET,
  ENTITY_OFFSET,
  EVENT_ID_OFFSET,
  PREV_HASH_OFFSET,
} from "./frame.ts";
import { Denial, GateSet } from "./gates.ts";
import { blake3, fromHex, toHex } from "./hash.ts";
import { formatId } from "./ids.ts";
import {
  Receipt,
  type ReceiptClaim,
  type ReceiptFailure,
  type ReceiptVerification,
  SigningKey,
  verifyReceipt,
} from "./receipt.ts";
import { Store } from "./store.ts";

const OLD_KEY = SigningKey.fromSeed(new Uint8Array(32).fill(1));
const KEY = SigningKey.fromSeed(new Uint8Array(32).fill(2));
const STRANGER = SigningKey.fromSeed(new Uint8Array(32).fill(3));
const SIGNED: ReceiptVerification = { valid: true, outcome: "signed" };
const UNSIGNED: ReceiptVerification = { valid: true, outcome: "unsigned" };

function invalid(reason: ReceiptFailure): ReceiptVerification {
  return { valid: false, outcome: "invalid", reason };
}

/** An append that uses every field. */
function appendRich(store: Store): Receipt {
  return store.append(ORDER, PLACED, { total: 12 }, {
    lane: 3,
    depth: 2,
    flags: 0x42,
    tags: ["customer:7"],
    extensions: { "app.audit": Uint8Array.of(0xaa, 0xbb, 0xcc) },
    correlationId: formatId(new Uint8Array(16).fill(0x11)),
    causationId: formatId(new Uint8Array(16).fill(0x22)),
  });
}

/** The claim after a change, read back as a receipt. */
function claimed(receipt: Receipt, change: Partial<ReceiptClaim>): Receipt {
  return Receipt.fromClaim({ ...receipt.toJSON(), ...change });
}

/** A receipt for another header, consistent in itself, and signed by `key` if there is one. */
function forged(receipt: Receipt, edit: (header: Uint8Array) => void, key?: SigningKey): Receipt {
  const header = receipt.header;
  edit(header);
  const claim: ReceiptClaim = {
    ...receipt.toJSON(),
    header: toHex(header),
    eventHash: toHex(blake3(header)),
    eventId: formatId(header, EVENT_ID_OFFSET),
    contentHash: toHex(header.slice(CONTENT_HASH_OFFSET, CONTENT_HASH_OFFSET + 32)),
    globalSequence: Number(new DataView(header.buffer, header.byteOffset).getBigUint64(4)),
  };
  const unsigned = Receipt.fromClaim({ ...claim, keyId: null, signature: null });
  return key === undefined ? unsigned : Receipt.fromClaim({
    ...claim,
    keyId: toHex(key.keyId),
    signature: toHex(key.sign(unsigned.cover())),
  });
}

// What a receipt says

test("a receipt says what was appended, and where", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const receipt = appendRich(store);
  const event = store.get(receipt.eventId)!;
  assert.equal(receipt.storeId, store.storeId);
  assert.equal(receipt.globalSequence, 1);
  assert.equal(receipt.clock, 0);
  assert.equal(receipt.lane, 3);
  assert.equal(receipt.kind, PLACED);
  assert.deepEqual({ ...receipt.coordinate.toJSON() }, { ...ORDER });
  assert.equal(receipt.timestampUs, event.timestampUs);
  assert.deepEqual(receipt.contentHash, event.contentHash);
  assert.deepEqual(receipt.prevHash, new Uint8Array(32));
  assert.deepEqual(receipt.eventHash, event.eventHash);
  assert.deepEqual(receipt.header, event.headerBytes);
  assert.deepEqual(receipt.extensions, { "app.audit": Uint8Array.of(0xaa, 0xbb, 0xcc) });
  assert.deepEqual(receipt.position, event.position);
  assert.equal(receipt.keyId, null);
  assert.equal(receipt.signature, null);
  // The hashes are what they say they are.
  assert.deepEqual(receipt.contentHash, blake3(event.payloadBytes!));
  assert.deepEqual(receipt.eventHash, blake3(receipt.header));
  // And the frame is where the receipt says.
  const { segmentId, offset, size } = receipt.position;
  const file = fs.readFile(`${DIR}/${String(segmentId).padStart(6, "0")}.fbat`, 1 << 30);
  const frame = file.subarray(offset, offset + size);
  assert.equal(new DataView(frame.buffer, frame.byteOffset).getUint32(0), size - 8);
  assert.deepEqual(frame.subarray(8, 8 + receipt.header.byteLength), receipt.header);
});

test("a receipt stays what it was, whatever is appended and whatever is done to its bytes", () => {
  using store = openIn(new MemoryFs(), { signingKeys: [KEY] });
  const receipt = appendRich(store);
  const before = receipt.toJSON();
  for (let i = 0; i < 300; i++) store.append(OTHER, PAID, new Uint8Array(200));
  for (const bytes of [receipt.contentHash, receipt.prevHash, receipt.eventHash, receipt.header]) {
    bytes.fill(0xff);
  }
  receipt.extensions["app.audit"].fill(0xff);
  assert.deepEqual(receipt.toJSON(), before);
  assert.deepEqual(store.verifyReceipt(receipt), SIGNED);
});

test("what is done to the bytes of a signature or a key id changes no receipt and no key", () => {
  // What went wrong: both were handed out themselves. Who wrote into the key id of one receipt changed
  // the key, and every receipt it signed afterwards was refused.
  const key = SigningKey.fromSeed(new Uint8Array(32).fill(9));
  const publicKey = key.publicKey.slice();
  using store = openIn(new MemoryFs(), { signingKeys: [key] });
  const receipt = appendRich(store);
  receipt.keyId!.fill(0);
  receipt.signature!.fill(0);
  receipt.cover().fill(0);
  assert.deepEqual(store.verifyReceipt(receipt), SIGNED);
  assert.deepEqual(store.verifyReceipt(appendRich(store)), SIGNED);
  assert.deepEqual(key.keyId, blake3(publicKey));
});

test("bytes that a receipt or an event hands out have a buffer of their own", () => {
  // A view of a larger buffer would carry other events along when it is sent to another realm.
  using store = openIn(new MemoryFs(), { signingKeys: [KEY] });
  const receipt = appendRich(store);
  const event = store.get(receipt.eventId)!;
  for (
    const bytes of [
      receipt.contentHash,
      receipt.prevHash,
      receipt.eventHash,
      receipt.header,
      receipt.keyId!,
      receipt.signature!,
      receipt.cover(),
      receipt.extensions["app.audit"],
      event.contentHash,
      event.prevHash,
      event.eventHash,
      event.headerBytes,
      event.payloadBytes!,
      event.extensions["app.audit"],
    ]
  ) assert.equal(bytes.buffer.byteLength, bytes.byteLength);
});

// Signing

test("without keys a receipt is unsigned, and good", () => {
  using store = openIn(new MemoryFs());
  const receipt = appendRich(store);
  assert.deepEqual(store.verifyReceipt(receipt), UNSIGNED);
  assert.deepEqual(verifyReceipt(receipt), UNSIGNED);
});

test("with a key every receipt is signed: single, batch, denial, replay", () => {
  using store = openIn(new MemoryFs(), { signingKeys: [KEY] });
  const key = { idempotencyKey: "k" };
  const receipts = [
    store.append(ORDER, PLACED, 1, key),
    ...store.appendBatch([
      { ...ORDER, kind: PLACED, payload: 1 },
      { ...ORDER, kind: PLACED, payload: 2 },
    ]),
    store.appendDenial(ORDER, {
      proposedKind: PLACED,
      gates: new GateSet(),
      denial: new Denial("a", "b"),
    }),
    store.append(ORDER, PLACED, 1, key),
  ];
  for (const receipt of receipts) {
    assert.deepEqual(receipt.keyId, KEY.keyId);
    assert.equal(receipt.signature?.byteLength, 64);
    assert.deepEqual(store.verifyReceipt(receipt), SIGNED);
    assert.deepEqual(verifyReceipt(receipt, { publicKeys: [KEY.publicKey] }), SIGNED);
  }
  // Ed25519 signs the same facts the same way.
  assert.deepEqual(receipts.at(-1)?.toJSON(), receipts[0].toJSON());
});

test("the signature covers 57 bytes: version, journal, sequence, event hash", () => {
  using store = openIn(new MemoryFs(), { signingKeys: [KEY] });
  const receipt = appendRich(store);
  const cover = toHex(receipt.cover());
  assert.equal(
    cover,
    "02" + store.storeId.replaceAll("-", "") + "0000000000000001" + toHex(receipt.eventHash),
  );
  assert.deepEqual(receipt.signature, KEY.sign(fromHex(cover)!));
});

test("rotation: the last key signs, and every key verifies", () => {
  const fs = new MemoryFs();
  const open = (signingKeys: SigningKey[]) => openIn(fs, { signingKeys });
  let old: Receipt;
  {
    using store = open([OLD_KEY]);
    old = appendRich(store);
    assert.deepEqual(old.keyId, OLD_KEY.keyId);
  }
  using store = open([OLD_KEY, KEY]);
  const young = appendRich(store);
  assert.deepEqual(young.keyId, KEY.keyId);
  assert.deepEqual(store.verifyReceipt(old), SIGNED);
  assert.deepEqual(store.verifyReceipt(young), SIGNED);
  // A replay is signed anew, by the key of today, over the facts of then.
  const again = store.append(ORDER, PLACED, 1, { idempotencyKey: "k" });
  store.close();
  using rotated = open([KEY, STRANGER]);
  const replayed = rotated.append(ORDER, PLACED, 1, { idempotencyKey: "k" });
  assert.deepEqual(replayed.keyId, STRANGER.keyId);
  assert.deepEqual(replayed.eventHash, again.eventHash);
  assert.deepEqual(rotated.verifyReceipt(again), SIGNED);
  assert.deepEqual(rotated.verifyReceipt(old), invalid("UnknownSigningKey"));
});

test("receipts verify after a reopen, on a reader, and with nothing but a public key", () => {
  const fs = new MemoryFs();
  let receipt: Receipt;
  {
    using store = openIn(fs, { signingKeys: [KEY] });
    receipt = appendRich(store);
  }
  using reader = Store.openReadOnly(DIR, { fs, verifyingKeys: [KEY.publicKey] });
  using keyed = Store.openReadOnly(DIR, { fs, signingKeys: [KEY] });
  using keyless = Store.openReadOnly(DIR, { fs });
  using writer = openIn(fs, { signingKeys: [KEY] });
  assert.deepEqual(reader.verifyReceipt(receipt), SIGNED);
  assert.deepEqual(keyed.verifyReceipt(receipt), SIGNED);
  assert.deepEqual(writer.verifyReceipt(receipt), SIGNED);
  // Signed by somebody this reader does not know is not the same as unsigned.
  assert.deepEqual(keyless.verifyReceipt(receipt), invalid("UnknownSigningKey"));
});

test("a receipt taken before the key is there is the key's only when it is replayed", () => {
  const fs = new MemoryFs();
  let unsigned: Receipt;
  {
    using store = openIn(fs);
    unsigned = store.append(ORDER, PLACED, 1, { idempotencyKey: "k" });
  }
  using store = openIn(fs, { signingKeys: [KEY] });
  assert.deepEqual(store.verifyReceipt(unsigned), invalid("UnsignedReceiptRejected"));
  assert.deepEqual(
    store.verifyReceipt(store.append(ORDER, PLACED, 1, { idempotencyKey: "k" })),
    SIGNED,
  );
});

// Every failure, exact, against the journal

test("a receipt of another journal is a StoreMismatch", () => {
  using store = openIn(new MemoryFs());
  using other = openIn(new MemoryFs());
  assert.deepEqual(store.verifyReceipt(appendRich(other)), invalid("StoreMismatch"));
  const renamed = claimed(appendRich(other), { storeId: store.storeId });
  assert.deepEqual(store.verifyReceipt(renamed), invalid("MissingCommittedEvent"));
});

test("a receipt of an event that a crash took is a MissingCommittedEvent", () => {
  const fs = new MemoryFs();
  using store = openIn(fs);
  const crashed = fs.snapshot();
  const receipt = appendRich(store);
  using again = openIn(crashed);
  assert.deepEqual(again.verifyReceipt(receipt), invalid("MissingCommittedEvent"));
});

test("every field of a receipt that differs from the journal is told by its own reason", () => {
  using store = openIn(new MemoryFs(), { signingKeys: [KEY] });
  store.append(ORDER, PAID, "before", { lane: 3 });
  const receipt = appendRich(store);
  const extensionAt = indexOf(receipt.header, [0xaa, 0xbb, 0xcc]);
  const tagAt = indexOf(receipt.header, [...new TextEncoder().encode("customer:7")]);
  const scopeAt = ENTITY_OFFSET + ORDER.entity.length + 3;
  const flip = (at: number) => (header: Uint8Array) => header[at] ^= 1;
  const { position } = receipt;
  const cases: readonly (readonly [string, Receipt, ReceiptFailure])[] = [
    ["id", forged(receipt, flip(EVENT_ID_OFFSET + 9), KEY), "MissingCommittedEvent"],
    ["sequence", forged(receipt, (bytes) => writeU64(bytes, 4, 1), KEY), "SequenceMismatch"],
    [
      "segment",
      claimed(receipt, { position: { ...position, segmentId: 2 } }),
      "DiskPositionMismatch",
    ],
    [
      "offset",
      claimed(receipt, { position: { ...position, offset: position.offset + 1 } }),
      "DiskPositionMismatch",
    ],
    [
      "size",
      claimed(receipt, { position: { ...position, size: position.size - 1 } }),
      "DiskPositionMismatch",
    ],
    ["payload", forged(receipt, flip(CONTENT_HASH_OFFSET), KEY), "ContentHashMismatch"],
    ["extension", forged(receipt, flip(extensionAt), KEY), "ExtensionsMismatch"],
    ["extension key", forged(receipt, flip(extensionAt - 6), KEY), "ExtensionsMismatch"],
    ["correlation", forged(receipt, flip(CORRELATION_ID_OFFSET), KEY), "EventHashMismatch"],
    ["causation", forged(receipt, flip(CAUSATION_ID_OFFSET), KEY), "EventHashMismatch"],
    ["time", forged(receipt, flip(67 + 7), KEY), "EventHashMismatch"],
    ["clock", forged(receipt, flip(76 + 3), KEY), "EventHashMismatch"],
    ["lane", forged(receipt, flip(81 + 3), KEY), "EventHashMismatch"],
    ["depth", forged(receipt, flip(86 + 3), KEY), "EventHashMismatch"],
    ["kind", forged(receipt, flip(91 + 1), KEY), "EventHashMismatch"],
    ["flags", forged(receipt, flip(94), KEY), "EventHashMismatch"],
    ["payload encoding", forged(receipt, flip(96), KEY), "EventHashMismatch"],
    ["payload version", forged(receipt, flip(98 + 1), KEY), "EventHashMismatch"],
    ["predecessor", forged(receipt, flip(PREV_HASH_OFFSET), KEY), "EventHashMismatch"],
    ["entity", forged(receipt, flip(ENTITY_OFFSET), KEY), "EventHashMismatch"],
    ["scope", forged(receipt, flip(scopeAt), KEY), "EventHashMismatch"],
    ["tag", forged(receipt, flip(tagAt), KEY), "EventHashMismatch"],
    ["event hash", claimed(receipt, { eventHash: "00".repeat(32) }), "EventHashMismatch"],
  ];
  for (const [field, other, reason] of cases) {
    assert.deepEqual(store.verifyReceipt(other), invalid(reason), field);
  }
  assert.deepEqual(store.verifyReceipt(forged(receipt, () => {}, KEY)), SIGNED);
});

test("every fault of a signature is told by its own reason, against the journal and without", () => {
  using store = openIn(new MemoryFs(), { signingKeys: [OLD_KEY, KEY] });
  const receipt = appendRich(store);
  const another = appendRich(store);
  const publicKeys = [OLD_KEY.publicKey, KEY.publicKey];
  const { signature } = receipt.toJSON();
  const wrongBit = (signature![0] === "0" ? "1" : "0") + signature!.slice(1);
  const zeros = "00".repeat(32);
  const cases: readonly (readonly [Partial<ReceiptClaim>, ReceiptFailure])[] = [
    [{ keyId: null, signature: null }, "UnsignedReceiptRejected"],
    [{ keyId: zeros, signature: null }, "UnsignedReceiptRejected"],
    [{ signature: null }, "MissingSignature"],
    [{ keyId: null }, "ZeroKeyWithSignature"],
    [{ keyId: zeros }, "ZeroKeyWithSignature"],
    [{ keyId: toHex(STRANGER.keyId) }, "UnknownSigningKey"],
    [{ keyId: toHex(OLD_KEY.keyId) }, "InvalidSignature"],
    [{ signature: wrongBit }, "InvalidSignature"],
    [{ signature: "00".repeat(64) }, "InvalidSignature"],
    [{ signature: "ff".repeat(64) }, "InvalidSignature"],
    [{ signature: another.toJSON().signature }, "InvalidSignature"],
  ];
  for (const [change, reason] of cases) {
    const other = claimed(receipt, change);
    assert.deepEqual(store.verifyReceipt(other), invalid(reason), JSON.stringify(change));
    assert.deepEqual(verifyReceipt(other, { publicKeys }), invalid(reason), reason);
  }
});

test("what is no Receipt is a TypeError, and not a verdict", () => {
  using store = openIn(new MemoryFs());
  const receipt = appendRich(store);
  for (const value of [receipt.toJSON(), undefined, null, {}, "receipt"]) {
    assert.throws(() => store.verifyReceipt(value as Receipt), TypeError);
    assert.throws(() => store.verifyDenialReceipt(value as Receipt), TypeError);
    assert.throws(() => verifyReceipt(value as Receipt), TypeError);
  }
});

// Without the journal

test("verifyReceipt() needs nothing but the receipt and a key, and the payload if there is one", () => {
  using store = openIn(new MemoryFs(), { signingKeys: [KEY] });
  const receipt = appendRich(store);
  const text = JSON.stringify(receipt);
  const payload = store.get(receipt.eventId)!.payloadBytes!;
  store.close();
  const copy = Receipt.fromClaim(JSON.parse(text));
  const publicKeys = [KEY.publicKey];
  assert.deepEqual(verifyReceipt(copy, { publicKeys }), SIGNED);
  assert.deepEqual(verifyReceipt(copy, { publicKeys, payload }), SIGNED);
  payload[0] ^= 1;
  assert.deepEqual(verifyReceipt(copy, { publicKeys, payload }), invalid("PayloadMismatch"));
  // Any bit of the header.
  for (const at of [3, 12, 70, 96, 120, 150, ENTITY_OFFSET]) {
    const header = receipt.header;
    header[at + 1] ^= 1;
    const claim = { ...JSON.parse(text), header: toHex(header) };
    let other: Receipt;
    try {
      other = Receipt.fromClaim(claim);
    } catch (error) {
      assert.ok(error instanceof TypeError);
      continue;
    }
    assert.deepEqual(verifyReceipt(other, { publicKeys }), invalid("EventHashMismatch"), `${at}`);
  }
  // A consistent forgery has no signature to show.
  const other = forged(receipt, (header) => header[ENTITY_OFFSET] ^= 1);
  assert.deepEqual(
    verifyReceipt(
      claimed(other, { keyId: copy.toJSON().keyId, signature: copy.toJSON().signature }),
      {
        publicKeys,
      },
    ),
    invalid("InvalidSignature"),
  );
  assert.deepEqual(
    verifyReceipt(claimed(copy, { storeId: formatId(new Uint8Array(16)) }), { publicKeys }),
    invalid("InvalidSignature"),
  );
});

test("a receipt goes through JSON and structuredClone and comes out the same", () => {
  for (const signingKeys of [[], [KEY]]) {
    using store = openIn(new MemoryFs(), { signingKeys });
    const receipt = appendRich(store);
    const claim = receipt.toJSON();
    assert.deepEqual(Object.keys(claim), [
      "version",
      "storeId",
      "eventId",
      "globalSequence",
      "position",
      "contentHash",
      "eventHash",
      "header",
      "keyId",
      "signature",
    ]);
    assert.equal(claim.version, 2);
    for (const copy of [JSON.parse(JSON.stringify(receipt)), structuredClone(claim)]) {
      assert.deepEqual(copy, claim);
      assert.deepEqual(Receipt.fromClaim(copy).toJSON(), claim);
      assert.deepEqual(store.verifyReceipt(Receipt.fromClaim(copy)).valid, true);
    }
  }
});

test("fromClaim() refuses a form that is broken with a TypeError, and judges nothing else", () => {
  using store = openIn(new MemoryFs(), { signingKeys: [KEY] });
  const claim = appendRich(store).toJSON();
  const { position } = claim;
  const broken: readonly (readonly [Record<string, unknown>, RegExp])[] = [
    [{ version: 1 }, /version 1/],
    [{ version: 3 }, /version 3/],
    [{ header: "xyz" }, /header is not hexadecimal/],
    [{ header: claim.header + "0" }, /header is not hexadecimal/],
    [{ header: claim.header.slice(0, -2) }, /Cannot read the receipt/],
    [{ header: claim.header + "00" }, /Cannot read the receipt/],
    [{ header: undefined }, /header is not hexadecimal/],
    [{ eventHash: claim.eventHash.slice(2) }, /event hash is not 32 bytes/],
    [{ contentHash: "00".repeat(32) }, /fields contradict its header/],
    [{ eventId: store.storeId }, /fields contradict its header/],
    [{ globalSequence: 2 }, /fields contradict its header/],
    [{ keyId: "00" }, /key id is not 32 bytes/],
    [{ signature: "00" }, /signature is not 64 bytes/],
    [{ signature: undefined }, /signature is not 64 bytes/],
    [{ position: null }, /position is not three numbers/],
    [{ position: { ...position, offset: -1 } }, /position is not three numbers/],
    [{ position: { ...position, size: "1" } }, /position is not three numbers/],
    [{ storeId: "journal" }, /Cannot read the receipt/],
    [{ storeId: 5 }, /Cannot read the receipt/],
  ];
  for (const [change, message] of broken) {
    assert.throws(
      () => Receipt.fromClaim({ ...claim, ...change } as ReceiptClaim),
      { name: "TypeError", message },
      JSON.stringify(change).slice(0, 100),
    );
  }
  for (const value of [null, undefined, "{}", 5, []]) {
    assert.throws(() => Receipt.fromClaim(value as unknown as ReceiptClaim), TypeError);
  }
});

// Denials

test("a denial verifies as one, and nothing else does", () => {
  const fs = new MemoryFs();
  using store = openIn(fs, { signingKeys: [KEY] });
  const denied = store.appendDenial(ORDER, {
    proposedKind: PLACED,
    gates: new GateSet(),
    denial: new Denial("funds", "not enough money"),
  });
  const placed = store.append(ORDER, PLACED, 1);
  assert.equal(denied.kind, EventKind.SYSTEM_DENIAL);
  assert.deepEqual(store.verifyDenialReceipt(denied), SIGNED);
  assert.deepEqual(store.verifyReceipt(denied), SIGNED);
  assert.deepEqual(store.verifyDenialReceipt(placed), invalid("DenialKindMismatch"));
  using reader = Store.openReadOnly(DIR, { fs, verifyingKeys: [KEY.publicKey] });
  assert.deepEqual(reader.verifyDenialReceipt(denied), SIGNED);
  assert.deepEqual(reader.verifyDenialReceipt(placed), invalid("DenialKindMismatch"));
  const missing = forged(denied, (header) => header[EVENT_ID_OFFSET + 9] ^= 1, KEY);
  assert.deepEqual(store.verifyDenialReceipt(missing), invalid("MissingCommittedEvent"));
  const unsigned = claimed(denied, { keyId: null, signature: null });
  assert.deepEqual(store.verifyDenialReceipt(unsigned), invalid("UnsignedReceiptRejected"));
});

// Keys

test("a key is named by BLAKE3 of its public key, and shows only what is public", () => {
  const seed = Uint8Array.from({ length: 32 }, (_, i) => 100 + i);
  const key = SigningKey.fromSeed(seed);
  assert.deepEqual(key.keyId, blake3(key.publicKey));
  assert.deepEqual(JSON.parse(JSON.stringify(key)), {
    keyId: toHex(key.keyId),
    publicKey: toHex(key.publicKey),
  });
  const shown = [
    JSON.stringify(key),
    String(key),
    inspect(key, { showHidden: true, depth: 10, showProxy: true }),
    inspect({ ...key }, { showHidden: true, depth: 10 }),
    Object.getOwnPropertyNames(key).join(),
  ].join("\n");
  assert.ok(!shown.includes(toHex(seed)));
  assert.ok(!shown.replace(/\s/g, "").includes("100,101,102,103"), shown);
  // The seed was copied: what becomes of it is the caller's affair.
  const message = Uint8Array.of(1);
  const before = key.sign(message);
  seed.fill(0);
  assert.deepEqual(key.sign(message), before);
});

function indexOf(bytes: Uint8Array, pattern: readonly number[]): number {
  for (let at = 0; at + pattern.length <= bytes.byteLength; at++) {
    if (pattern.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  assert.fail("the bytes are there");
}
