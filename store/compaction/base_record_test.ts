import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { crc32 } from "../../platform/checksum.ts";
import { MemoryFs } from "../../platform/memory.ts";
import {
  type BaseChain,
  type BaseFacts,
  BaseRecordWriter,
  type BaseResult,
  chainSize,
  readBaseHead,
  readBaseRecord,
} from "./base_record.ts";
import { writeU16, writeU32 } from "../bytes.ts";
import { blake3, toHex } from "../hash.ts";
import { SigningKey } from "../receipt.ts";

const bytesOf = (first: number, size: number) =>
  Uint8Array.from({ length: size }, (_, i) => first + i);
const chain = (entity: string, lane: number, clock: number): BaseChain => ({
  entity: new TextEncoder().encode(entity),
  lane,
  clock,
  eventHash: bytesOf(clock, 32),
});
const CHAINS = [chain("a", 0, 7), chain("é:1", 3, 0)];

function factsOf(chains: readonly BaseChain[]): BaseFacts {
  return {
    storeId: bytesOf(0xa0, 16),
    firstSegmentId: 5,
    firstSequence: 2_000_000,
    lastTimestampUs: 1_700_000_000_000_000,
    lastHash: bytesOf(0x10, 32),
    chainCount: chains.length,
    chainsSize: chains.reduce((sum, { entity }) => sum + chainSize(entity.byteLength), 0),
  };
}

function encode(chains: readonly BaseChain[], key?: SigningKey): Uint8Array {
  const fs = new MemoryFs();
  const staged = fs.stage("/");
  const writer = new BaseRecordWriter(staged, factsOf(chains));
  for (const head of chains) writer.add(head);
  writer.finish(key);
  staged.publish("/base");
  return fs.readFile("/base", 2 ** 30);
}

function read(bytes: Uint8Array): BaseResult<unknown> & { chains: BaseChain[] } {
  const fs = new MemoryFs();
  const file = fs.open("/base", "createNew");
  file.append(bytes);
  const chains: BaseChain[] = [];
  const result = readBaseRecord(file, ({ entity, lane, clock, eventHash }) => {
    chains.push({ entity: entity.slice(), lane, clock, eventHash: eventHash.slice() });
    return undefined;
  });
  return { ...result, chains };
}

test("a base record has the documented bytes", () => {
  const body = "464241544a42" + "0001" + "9a0a85a8" + "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf" +
    "00000005" +
    "00000000001e8480" + "00060a24181e4000" +
    "101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f" + "00000002" +
    "0000000000000059" + "0000000000000000" +
    "0001" + "61" + "00000000" + "00000007" + toHex(bytesOf(7, 32)) +
    "0004" + "c3a93a31" + "00000003" + "00000000" + toHex(bytesOf(0, 32));
  const bytes = toHex(encode(CHAINS));
  assert.equal(bytes.slice(0, body.length), body);
  assert.equal(bytes.slice(body.length, -8), "00".repeat(96));
  assert.equal(
    bytes.slice(-8),
    crc32(encode(CHAINS).subarray(0, -4)).toString(16).padStart(8, "0"),
  );
});

test("a base record reads back as what was written, also when it is larger than a block", () => {
  const many = Array.from({ length: 40_000 }, (_, i) => chain(`entity:${i}`, i % 3, i));
  for (const chains of [CHAINS, many]) {
    const bytes = encode(chains);
    const found = read(bytes);
    assert.ok(found.type === "base");
    assert.deepEqual(found.chains, chains);
    const { keyId, signature, cover, size, ...facts } = found.base as BaseFacts & {
      keyId: unknown;
      signature: Uint8Array;
      cover: Uint8Array;
      size: number;
    };
    assert.deepEqual(facts, factsOf(chains));
    assert.deepEqual([keyId, signature.every((byte) => byte === 0)], [undefined, true]);
    assert.equal(size, bytes.byteLength);
    assert.equal(
      toHex(cover),
      "03" + toHex(facts.storeId) + "00000000001e8480" + toHex(blake3(bytes.subarray(0, -100))),
    );
  }
});

test("a signed base record names its key, and its signature covers everything in front", () => {
  const key = SigningKey.fromSeed(new Uint8Array(32).fill(9));
  const found = read(encode(CHAINS, key));
  assert.ok(found.type === "base");
  const { keyId, signature, cover } = found.base as Record<string, Uint8Array>;
  assert.equal(toHex(keyId), toHex(key.keyId));
  assert.equal(toHex(signature), toHex(key.sign(cover)));
});

test("no flipped bit, no missing byte and no byte more goes unnoticed", () => {
  const bytes = encode(CHAINS);
  for (let i = 0; i < bytes.byteLength * 8; i++) {
    bytes[i >> 3] ^= 1 << (i & 7);
    assert.notEqual(read(bytes).type, "base", `bit ${i}`);
    bytes[i >> 3] ^= 1 << (i & 7);
  }
  for (let size = 0; size < bytes.byteLength; size++) {
    assert.equal(read(bytes.slice(0, size)).type, "corrupt", `${size} bytes`);
  }
  assert.equal(read(Uint8Array.of(...bytes, 0)).type, "corrupt");
});

test("a newer version is refused before anything else is looked at", () => {
  const bytes = encode(CHAINS);
  writeU16(bytes, 6, 2);
  const file = new MemoryFs().open("/base", "createNew");
  file.append(bytes);
  assert.deepEqual(readBaseHead(file), { type: "future", version: 2, supported: 1 });
});

/** What is wrong with a record whose checksums were made to fit. */
function forged(change: (bytes: Uint8Array) => void): string {
  const bytes = encode(CHAINS);
  change(bytes);
  writeU32(bytes, 8, crc32(bytes.subarray(12, 100)));
  writeU32(bytes, bytes.byteLength - 4, crc32(bytes.subarray(0, -4)));
  const found = read(bytes);
  return found.type === "corrupt" ? found.reason : found.type;
}

test("no number is believed, whatever the checksums say", () => {
  assert.equal(forged(() => {}), "base");
  assert.equal(forged((bytes) => writeU32(bytes, 28, 1)), "it has a number out of its range");
  assert.equal(forged((bytes) => writeU32(bytes, 32, 0xffff)), "base");
  assert.equal(
    forged((bytes) => writeU32(bytes, 32, 0xffffff)),
    "it has a number out of its range",
  );
  assert.equal(forged((bytes) => writeU32(bytes, 80, 0)), "it has a number out of its range");
  assert.equal(forged((bytes) => writeU32(bytes, 80, 3)), "it has 2 chains and says 3");
  assert.equal(
    forged((bytes) => writeU32(bytes, 88, 0xffff_ffff)),
    "the file has 289 bytes, and its head speaks of 4294967295 more",
  );
  assert.equal(forged((bytes) => bytes[99] = 1), "it has a number out of its range");
  assert.equal(forged((bytes) => writeU16(bytes, 100, 0)), "it has an entity of 0 bytes");
  assert.equal(forged((bytes) => writeU16(bytes, 100, 1025)), "it has an entity of 1025 bytes");
  assert.equal(forged((bytes) => writeU16(bytes, 100, 1000)), "it has 0 chains and says 2");
  assert.equal(forged((bytes) => bytes[102] = 0xff), "an entity is not UTF-8");
  assert.match(forged((bytes) => bytes[102] = 0), /entity/i);
});

test("what a reader says about a chain is what is wrong with the record", () => {
  const file = new MemoryFs().open("/base", "createNew");
  file.append(encode(CHAINS));
  const result = readBaseRecord(file, ({ lane }) => lane === 3 ? "not this one" : undefined);
  assert.deepEqual(result, { type: "corrupt", reason: "not this one" });
});

test("reading throws at nothing", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
    assert.equal(read(bytes).type, "corrupt");
  }));
});
